"""A task: which examples train and test, what levels they are driven with, what is wanted, and how answers are read.

Everything is in task units; who drives a bench multiplies by s_V. The task never touches a bench: where targets are
the network's own answers (class-means), it is handed a function that reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.config import CsvTask, Document, EncodingSection, FileError, IrisTask, TargetsSection, XorTask
from freqprop_lab.names import cut, nearest, shown
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
            smallest = float(np.where(self.levels == 0, np.inf, room).min())
            # A source that can't give 0 has no shrunk level either: left as it is, for the bench to refuse.
            encoding = replace(encoding, factor=min(1.0, smallest) if smallest > 0 else 1.0)
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
                raise FileError(path, f'no column "{cut(name)}"; needed are {shown(self.table.names)}', 1)
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


def build_task(
    settings: IrisTask | XorTask | CsvTask,
    folder: Path,
    rng: np.random.Generator,
    document: Document | None = None,
) -> Task:
    """Build a task from its section; folder is where its files are; rng draws the split.

    document: the experiment file that the section stands in, so that a message can name its line. Raises FileError
    where the table does not give what the section asks.
    """
    table = _table(settings, folder)
    where = _Place(table, document)
    train, test = _split(where, settings.split.train, rng)
    lowest, highest = table.features[train].min(axis=0), table.features[train].max(axis=0)
    for name, low, high in zip(table.names, lowest, highest, strict=True):
        if low == high:
            message = f'column "{cut(name)}" is {low:g} in every training example; leave it out of the features'
            raise FileError(table.path, message)
    encoding = Encoding(settings.inputs, lowest, highest)
    with np.errstate(all="ignore"):  # judged below
        levels = encoding.levels(table.features)
    if not np.isfinite(levels).all():
        example, number = np.argwhere(~np.isfinite(levels))[0]
        name = (table.names * 2)[int(number)] if number < 2 * len(table.names) else "bias"
        message = f'column "{cut(name)}" spans too wide or too narrow a range for example {example + 1} to have a level'
        raise FileError(table.path, message)
    n_outputs = _count_outputs(where, settings.targets, train)
    cost = make_cost(settings.cost, settings.temperature)
    return Task(table, train, test, encoding, levels, 0, settings.targets, n_outputs, cost, settings.readout)


@dataclass(frozen=True)
class _Place:
    """Where a fault is told: at the field of the experiment that must change, or in the table if none is known."""

    table: Table
    document: Document | None

    def fault(self, message: str, *field: str) -> FileError:
        """Return the error; field: its place in the section `task`."""
        where = ("task", *field)
        told = f'field "{".".join(where)}": {message}'
        if self.document is None:
            return FileError(self.table.path, told)
        return FileError(self.document.path, told, self.document.line(where))


def _table(settings: IrisTask | XorTask | CsvTask, folder: Path) -> Table:
    if isinstance(settings, IrisTask):
        return iris()
    if isinstance(settings, XorTask):
        return xor()
    targets = [settings.target] if isinstance(settings.target, str) else settings.target
    predicts_class = settings.predict == "class"
    return read_table(folder / settings.file, settings.features, targets, predicts_class=predicts_class)


def _count_outputs(where: _Place, wanted: TargetsSection, train: Numbers) -> int:
    table = where.table
    if table.values is not None:
        for name, column in zip(table.targets, table.values[train].T, strict=True):
            span = float(column.max()) - float(column.min())  # of Python's floats, which overflow in silence
            if span == 0 or not math.isfinite(1 / span) or not math.isfinite(span):
                message = f'column "{cut(name)}" is {column[0]:g} in every training example; there is nothing to learn'
                if span != 0:
                    message = f'column "{cut(name)}" spans too wide or too narrow a range, {span:g}'
                raise FileError(table.path, message)
        return int(table.values.shape[1])
    if wanted.codes is not None:
        strange = [name for name in wanted.codes if name not in table.classes]
        missing = [name for name in table.classes if name not in wanted.codes]
        if strange:
            message = f'the table has no class "{cut(strange[0])}".{nearest(strange[0], table.classes)}'
            raise where.fault(f"{message} There are: {shown(table.classes)}", "targets", "codes", strange[0])
        if missing:
            message = f"a code is missing for the class {shown(missing)}"
            raise where.fault(f"{message}; the table's classes are {shown(table.classes)}", "targets", "codes")
        return len(next(iter(wanted.codes.values())))
    return len(table.classes)


def _split(where: _Place, wanted: float, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Draw the training examples, the same share of each class; the order within the halves is the table's."""
    table = where.table
    n = len(table.features)
    if wanted > n:
        raise where.fault(f"{wanted:g} training examples are asked for, the table has {n}", "split", "train")
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
    for number, (group, share) in enumerate(zip(groups, counts.tolist(), strict=True)):
        if share > 0 and (share < len(group) or count == n or table.labels is None):
            continue
        kind, remedy = ("training", "raise it") if share == 0 else ("test", "lower it")
        what = "the table" if table.labels is None else f'class "{cut(table.classes[number])}"'
        rows = "1 row" if len(group) == 1 else f"{len(group)} rows"
        message = f"{what} ({rows}) would have no {kind} example in a split of {count} of {n}; {remedy}, or add rows"
        raise where.fault(message, "split", "train")
    train = np.sort(
        np.concatenate([rng.permutation(group)[:share] for group, share in zip(groups, counts, strict=True)])
    )
    test = np.setdiff1d(np.arange(n), train)
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
