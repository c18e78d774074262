"""A task: which examples train and test, what levels they are driven with, what is wanted, and how answers are read.

Everything is in task units; who drives a bench multiplies by s_V. The task never touches a bench: where targets are
the network's own answers (class-means), it is handed a function that reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.config import CsvTask, EncodingSection, FileError, IrisTask, TargetsSection, XorTask
from freqprop_lab.tasks._costs import Cost, make_cost
from freqprop_lab.tasks._table import Table, iris, numbers, read_rows, read_table, xor
from freqprop_lab.values import Array

Numbers = NDArray[np.intp]
Read = Callable[[Array], Array]
Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Scores:
    """How good a network is. Accuracies are shares, the others task volts; None where the task has no such thing.

    error: mean over the training examples of the rms over the outputs of (output - target). separation: rms distance,
    per output, between the classes' mean outputs. margin: smallest v sign(target) over training examples and outputs,
    for targets given as codes.
    """

    test_accuracy: float | None
    test_accuracy_as_published: float | None
    train_accuracy: float | None
    error: float | None
    separation: float | None
    relative_error: float | None
    test_error: float | None = None
    margin: float | None = None
    cost: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """Return the scores by name."""
        return asdict(self)


@dataclass(frozen=True)
class Encoding:
    """How features become levels: linear between the training half's extremes, mirrored or centred, then the bias."""

    settings: EncodingSection
    lowest: Array
    highest: Array
    factor: float = 1.0  # below 1 where `outside: scale` had to shrink the inputs
    level_limits: tuple[Array, Array] | None = None

    def levels(self, features: Array) -> Array:
        """Return levels (example, input), before `outside` has its say."""
        scale = self.settings.scale
        unit = (features - self.lowest) / (self.highest - self.lowest)
        if self.settings.encoding == "centred":
            signals = scale * (2 * unit - 1)
        elif self.settings.encoding == "mirrored":
            signals = np.concatenate([scale * unit, scale * (1 - unit)], axis=1)
        else:
            signals = scale * unit
        bias = np.broadcast_to(np.array(self.settings.bias, dtype=np.float64), (len(features), len(self.settings.bias)))
        return np.concatenate([signals, bias], axis=1)

    def limited(self, features: Array) -> tuple[Array, int]:
        """Return levels within the limits as `outside` says, and how many examples had to be clipped."""
        levels = self.levels(features) * self.factor
        if self.settings.outside != "clip" or self.level_limits is None:
            return levels, 0
        clipped = np.clip(levels, *self.level_limits)
        return clipped, int((clipped != levels).any(axis=1).sum())


@dataclass(frozen=True)
class Task:
    """Examples with their halves, encoding, targets, cost and read-out. Arrays over all examples of the table."""

    table: Table
    train: Numbers
    test: Numbers
    encoding: Encoding
    levels: Array
    clipped: int
    target_settings: TargetsSection
    n_outputs: int
    cost: Cost
    readout: str

    @property
    def n_inputs(self) -> int:
        """Number of input ports."""
        return int(self.levels.shape[1])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, none for wanted values."""
        return self.table.classes

    def within(self, limits: tuple[Array, Array]) -> Task:
        """Return the task with its levels brought within a bench's limits (task volts, (input,) each), as told.

        With `outside: refuse` nothing changes: the bench will refuse, and name the channel.
        """
        encoding = replace(self.encoding, level_limits=limits)
        if self.encoding.settings.outside == "scale":
            with np.errstate(divide="ignore", invalid="ignore"):
                room = np.where(self.levels > 0, limits[1] / self.levels, limits[0] / self.levels)
            smallest = float(np.nanmin(np.where(self.levels == 0, np.inf, room)))
            encoding = replace(encoding, factor=min(1.0, smallest))
        levels, clipped = encoding.limited(self.table.features)
        return replace(self, encoding=encoding, levels=levels, clipped=clipped)

    def class_levels(self, half: Numbers) -> Array:
        """Return the mean input of each class over some examples, (class, input)."""
        labels = self.table.labels
        if labels is None:
            return np.zeros((0, self.n_inputs))
        return np.stack([self.levels[half[labels[half] == i]].mean(axis=0) for i in range(len(self.classes))])

    def fixed_targets(self) -> Array | None:
        """Return what is wanted by class, (class, output), or by example, where it does not hang on the network."""
        wanted = self.target_settings
        if wanted.kind == "one-hot":
            return wanted.low + (wanted.high - wanted.low) * np.eye(len(self.classes))
        if wanted.kind == "codes" and wanted.codes is not None:
            return np.array([wanted.codes[name] for name in self.classes])
        return None

    def class_targets(self, read: Read) -> Array:
        """Return what is wanted for each class, (class, output): fixed, or the network's answer to the mean input."""
        fixed = self.fixed_targets()
        return fixed if fixed is not None else read(self.class_levels(self.train))

    def targets(self, by_class: Array) -> Array:
        """Return what is wanted for every example of the table, (example, output)."""
        if self.table.labels is not None:
            return np.asarray(by_class[self.table.labels])
        return self._scaled_values()

    def answer(self, outputs: Array, references: Array) -> Numbers:
        """Read classes off outputs (example, output); references (class, output) are targets or mean outputs."""
        if self.readout == "argmax":
            return np.asarray(outputs.argmax(axis=-1), dtype=np.intp)
        distance = ((outputs[:, None, :] - references) ** 2).sum(axis=-1)
        return np.asarray(distance.argmin(axis=-1), dtype=np.intp)

    def values(self, outputs: Array) -> Array:
        """Turn outputs back into the units of the wanted columns (tasks that predict values)."""
        lowest, highest = self._value_range()
        wanted = self.target_settings
        return lowest + (outputs - wanted.low) / (wanted.high - wanted.low) * (highest - lowest)

    def encode_rows(self, path: Path) -> tuple[Array, int]:
        """Read new rows of the task's features from a CSV file; return their levels and how many were clipped."""
        header, rows, lines = read_rows(path)
        for name in self.table.names:
            if name not in header:
                raise FileError(path, f'no column "{name}"; needed are {", ".join(self.table.names)}', 1)
        return self.encoding.limited(numbers(path, header, rows, lines, self.table.names))

    def references(self, by_class: Array, train_outputs: Array) -> Array:
        """Return what answers are compared with: targets, or the training half's mean outputs by class."""
        if self.readout == "nearest-training-mean":
            return self._means(train_outputs, self.train)
        return by_class

    def score(self, by_class: Array, read: Read) -> Scores:
        """Read all examples, and the test half's mean inputs, and judge them by the training half's targets."""
        n_train, n_test, n_classes = len(self.train), len(self.test), len(self.classes)
        leaky = n_test > 0 and self.target_settings.kind == "class-means" and not self.target_settings.frozen
        leak_levels = self.class_levels(self.test) if leaky else np.zeros((0, self.n_inputs))
        outputs = read(np.concatenate([self.levels[self.train], self.levels[self.test], leak_levels]))
        train, test, leak = outputs[:n_train], outputs[n_train : n_train + n_test], outputs[n_train + n_test :]
        targets = self.targets(by_class)
        cost = float(self.cost.value(train, targets[self.train]).mean())
        graded = self.cost.name != "cross-entropy"
        error = _rms_error(train, targets[self.train]) if graded else None
        test_error = _rms_error(test, targets[self.test]) if graded and n_test else None
        labels = self.table.labels
        if labels is None:
            return Scores(None, None, None, error, None, None, test_error, cost=cost)
        means = self._means(train, self.train)
        separation = _separation(means)
        references = self.references(by_class, train)
        published = None
        if leaky and self.readout == "nearest-target":
            published = _share(self.answer(test, leak), labels[self.test])
        elif n_test and self.readout == "nearest-training-mean":
            published = _share(self.answer(test, self._means(test, self.test)), labels[self.test])
        return Scores(
            _share(self.answer(test, references), labels[self.test]) if n_test else None,
            published,
            _share(self.answer(train, references), labels[self.train]),
            error,
            separation if n_classes else None,
            error / separation if error is not None and separation > 0 else None,
            test_error,
            _margin(train, targets[self.train]) if self.target_settings.kind == "codes" else None,
            cost,
        )

    def _means(self, outputs: Array, half: Numbers) -> Array:
        labels = self.table.labels
        if labels is None:
            return np.zeros((0, self.n_outputs))
        return np.stack([outputs[labels[half] == i].mean(axis=0) for i in range(len(self.classes))])

    def _value_range(self) -> tuple[Array, Array]:
        values = self.table.values
        if values is None:
            raise TypeError("a task of classes has no values")
        return values[self.train].min(axis=0), values[self.train].max(axis=0)

    def _scaled_values(self) -> Array:
        lowest, highest = self._value_range()
        wanted, values = self.target_settings, self.table.values
        return wanted.low + (wanted.high - wanted.low) * (np.asarray(values) - lowest) / (highest - lowest)


def build_task(settings: IrisTask | XorTask | CsvTask, folder: Path, rng: np.random.Generator) -> Task:
    """Build a task from its section; folder is where its files are; rng draws the split.

    Raises FileError where the table does not give what the section asks.
    """
    table = _table(settings, folder)
    train, test = _split(table, settings.split.train, rng)
    lowest, highest = table.features[train].min(axis=0), table.features[train].max(axis=0)
    for name, low, high in zip(table.names, lowest, highest, strict=True):
        if low == high:
            message = f'column "{name}" is {low:g} in every training example; leave it out of the features'
            raise FileError(table.path, message)
    encoding = Encoding(settings.inputs, lowest, highest)
    levels = encoding.levels(table.features)
    n_outputs = _count_outputs(table, settings.targets, train)
    cost = make_cost(settings.cost, settings.temperature)
    return Task(table, train, test, encoding, levels, 0, settings.targets, n_outputs, cost, settings.readout)


def _table(settings: IrisTask | XorTask | CsvTask, folder: Path) -> Table:
    if isinstance(settings, IrisTask):
        return iris()
    if isinstance(settings, XorTask):
        return xor()
    targets = [settings.target] if isinstance(settings.target, str) else settings.target
    predicts_class = settings.predict == "class"
    return read_table(folder / settings.file, settings.features, targets, predicts_class=predicts_class)


def _count_outputs(table: Table, wanted: TargetsSection, train: Numbers) -> int:
    if table.values is not None:
        for name, column in zip(table.targets, table.values[train].T, strict=True):
            if np.ptp(column) == 0:
                raise FileError(table.path, f'column "{name}" is {column[0]:g} in every training example')
        return int(table.values.shape[1])
    if wanted.kind == "values":
        raise FileError(table.path, 'targets of the kind "values" are for a csv task that predicts values')
    if wanted.codes is not None:
        if set(wanted.codes) != set(table.classes):
            raise FileError(
                table.path, f"the classes are {', '.join(table.classes)}; targets.codes has {', '.join(wanted.codes)}"
            )
        return len(next(iter(wanted.codes.values())))
    return len(table.classes)


def _split(table: Table, wanted: float, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Draw the training examples, the same share of each class; the order within the halves is the table's."""
    n = len(table.features)
    if wanted > n:
        raise FileError(table.path, f"split.train is {wanted:g}, there are {n} examples")
    count = round(wanted * n) if wanted <= 1 else round(wanted)
    groups = (
        [np.arange(n)]
        if table.labels is None
        else [np.flatnonzero(table.labels == i) for i in range(len(table.classes))]
    )
    shares = np.array([len(group) * count / n for group in groups])
    counts = np.floor(shares).astype(int)
    for group in np.argsort(counts - shares, kind="stable")[: count - counts.sum()]:
        counts[group] += 1
    for group, share in zip(groups, counts.tolist(), strict=True):
        if share == 0:
            what = f'class "{table.classes[int(table.labels[group[0]])]}"' if table.labels is not None else "the table"
            raise FileError(
                table.path, f"{what} has no training example in a split of {count} of {n}; raise split.train"
            )
    train = np.sort(
        np.concatenate([rng.permutation(group)[:share] for group, share in zip(groups, counts, strict=True)])
    )
    test = np.setdiff1d(np.arange(n), train)
    if table.labels is not None and len(test) > 0 and len(set(table.labels[test].tolist())) < len(table.classes):
        raise FileError(table.path, f"a class has no test example in a split of {count} of {n}; lower split.train")
    return train.astype(np.intp), test.astype(np.intp)


def _share(answers: Numbers, labels: Numbers) -> float:
    return float((answers == labels).mean())


def _rms_error(outputs: Array, targets: Array) -> float:
    return float(np.sqrt(((outputs - targets) ** 2).mean(axis=-1)).mean())


def _separation(means: Array) -> float:
    """Return the rms over pairs of classes and over outputs of the difference of their mean outputs."""
    first, second = np.triu_indices(len(means), 1)
    return float(np.sqrt(((means[first] - means[second]) ** 2).mean()))


def _margin(outputs: Array, targets: Array) -> float | None:
    if not ((targets < 0).any() and (targets > 0).any()):
        return None
    return float((outputs * np.sign(targets)).min())
