"""An experiment and a bench, put together and held against each other before anything is driven."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freqprop_lab.bench import Bench, BenchWatch, margins, open_bench, rated_conductance, watch_of
from freqprop_lab.config import (
    BenchRequest,
    BenchSettings,
    ExperimentSettings,
    FileError,
    check_bench,
    parse_yaml,
    read_bench_file,
    read_experiment_file,
)
from freqprop_lab.instruments import LimitError
from freqprop_lab.names import shown
from freqprop_lab.rules import Adjoint, Example, FiniteDifferences, FrequencyPropagation, Rule
from freqprop_lab.runs import Run, RunError
from freqprop_lab.streams import random_streams
from freqprop_lab.tasks import Objective, Scores, Task, build_task
from freqprop_lab.trainer import State, Trainer, TrainingSettings
from freqprop_lab.values import Array, Drive, Nudge, NudgeKind
from freqprop_lab.waveform import WAVEFORMS, Waveform, default_waveform

_LOOPS = {"open": NudgeKind.CURRENT, "closed": NudgeKind.FEEDBACK, "clamped": NudgeKind.CLAMPED}


@dataclass(frozen=True)
class BenchWishes:
    """What the command line asks of a numeric bench that builds its network."""

    nodes: int | None = None
    edges: int | None = None


def load_experiment(path: str | Path, changes: Mapping[str, Any] | None = None) -> ExperimentSettings:
    """Read an experiment file; changes: fields to replace, such as {"epochs": 10, "rule.alpha": 0.1}.

    Raises FileError with file, line and field.
    """
    settings = read_experiment_file(Path(path))
    if not changes:
        return settings
    return settings.with_changes({tuple(name.split(".")): value for name, value in changes.items()})


def load_bench(
    path: str | Path | None = None, experiment: ExperimentSettings | None = None, wishes: BenchWishes | None = None
) -> Bench:
    """Open a bench: the file's, else the one that the experiment names or holds, else the default numeric one.

    A numeric bench takes seed, ports and network from the experiment. Raises FileError, InstrumentError.
    """
    settings: BenchSettings | None = read_bench_file(Path(path)) if path is not None else None
    if settings is None and experiment is not None:
        settings = experiment.bench()
    request = request_of(experiment, wishes or BenchWishes()) if experiment is not None else BenchRequest()
    return open_bench(settings or default_bench(), request)


def default_bench() -> BenchSettings:
    """Return the bench that is meant where none is named: numeric, ideal, referred ports."""
    return check_bench(parse_yaml("bench: numeric\n", Path("(default bench)")), Path())


def request_of(experiment: ExperimentSettings, wishes: BenchWishes) -> BenchRequest:
    """Return what an experiment asks of the bench that it runs on."""
    model = experiment.model
    task = build_task(model.task, experiment.folder, random_streams(model.seed)["split"], document=experiment.document)
    network = experiment.document.data.get("network")
    if network is not None and "file" in network:
        network = {**network, "file": str((experiment.folder / network["file"]).resolve())}
    ports = (task.n_inputs, task.n_outputs)
    return BenchRequest(model.seed, ports, network, wishes.nodes, wishes.edges, model.nudge.unsynchronised)


@dataclass(frozen=True)
class Job:
    """An experiment on a bench, checked: nothing has been driven yet. Bounds in S, (tunable,) each."""

    experiment: ExperimentSettings
    bench: Bench
    task: Task
    rule: Rule
    waveform: Waveform
    lowest: Array
    highest: Array
    streams: Mapping[str, np.random.Generator]
    watch: BenchWatch | None = None

    def trainer(self, state: State) -> Trainer:
        """Return a trainer that goes on from a state."""
        model = self.experiment.model
        settings = TrainingSettings(
            model.epochs,
            self.lowest,
            self.highest,
            model.shuffle,
            model.conductances.accumulate,
            model.conductances.rounding == "stochastic",
            model.evaluate_every,
        )
        return Trainer(self.bench, self.task, self.rule, settings, self.streams, state, self.watch)

    def begin(self, conductances: Array) -> tuple[Trainer, Scores]:
        """Program the first conductances, measure the targets and judge the untrained network."""
        wished = np.clip(conductances, self.lowest, self.highest)
        self.bench.program(wished)
        self._learn_delays()
        if self.watch is not None:
            self.watch.begin(self.bench)
        nothing = np.zeros((len(self.task.classes), self.task.n_outputs))
        state = State(wished, nothing, np.zeros(0, dtype=np.intp), np.zeros(0))
        trainer = self.trainer(state)
        state.by_class = self.task.class_targets(trainer.read) if self.task.classes else nothing
        return trainer, trainer.score()

    def examples(self, state: State, count: int) -> list[Example]:
        """Return some of the training examples, evenly spread, as a rule takes them."""
        levels, volts = self.task.levels * self.bench.level_scale, self.bench.scales.volts
        targets = self.task.targets(state.by_class)
        places = np.linspace(0, len(self.task.train) - 1, min(count, len(self.task.train))).round().astype(int)
        return [
            Example(levels[number], Objective(self.task.cost, np.atleast_1d(targets[number]), volts))
            for number in self.task.train[places]
        ]

    def _learn_delays(self) -> None:
        """Learn the delays of a free-running bench, one strongly nudged output after the other, where that is asked."""
        nudge, bench = self.experiment.model.nudge, self.bench
        if not nudge.learn_delays or bench.synchronised:
            return
        strength = bench.scales.gamma(nudge.gamma) * nudge.learn_delays * bench.scales.volts
        rest = np.zeros(len(bench.network.inputs))
        each = np.eye(len(bench.network.outputs)) * strength
        bench.learn_delays([Drive(rest, Nudge(amplitudes, self.waveform)) for amplitudes in each])

    def first_conductances(self) -> Array:
        """Draw the first conductances, S, (tunable,), or take those of the network's file."""
        settings, unit = self.experiment.model.conductances, self.bench.scales.siemens
        if settings.start is None:
            return self.bench.network.own_conductances
        low, high = (end * unit for end in settings.start)
        n_tunable = len(self.bench.network.tunable)
        if settings.distribution == "uniform":
            return self.streams["start"].uniform(low, high, n_tunable)
        return np.exp(self.streams["start"].uniform(np.log(low), np.log(high), n_tunable))

    def conductances_of(self, run: Run) -> Array:
        """Return the wished conductances that another run ended with. Raises RunError where the networks differ."""
        theirs = [branch["name"] for branch in run.start["network"]["branches"] if branch["tunable"]]
        ours = self.bench.network.tunable_names
        if tuple(theirs) != ours:
            strange = [name for name in theirs if name not in ours]
            differ = f"it has {shown(strange)}, which this bench has not" if strange else "theirs are not all of these"
            raise RunError(f"run {run.path} can't be started from: its tunable branches differ; {differ}")
        return np.asarray(run.checkpoint.arrays["wished"])


def prepare(experiment: ExperimentSettings, bench: Bench) -> Job:
    """Hold an experiment against a bench: ports, waveform, nudge, levels of the whole data set, bounds.

    Raises FileError for what must be changed in a file, levels that a source may not give included.
    """
    model, path = experiment.model, experiment.document.path
    streams = random_streams(model.seed)
    task = build_task(model.task, experiment.folder, streams["split"], document=experiment.document)
    _agree_on_ports(experiment, bench, task)
    named = model.nudge.waveform
    waveform = default_waveform(synchronised=bench.synchronised) if named is None else WAVEFORMS[named]
    _refuse_unreadable(experiment, bench, waveform)
    rule = _rule(experiment, bench, waveform)
    if not rule.needs <= bench.nudges:
        able = ", ".join(sorted(kind.value for kind in bench.nudges))
        wanted = ", ".join(sorted(kind.value for kind in rule.needs))
        raise FileError(path, f"rule {rule.name} nudges by {wanted}; bench {bench.name} can do {able}")
    lowest, highest = (limit / bench.level_scale for limit in bench.level_limits())
    task = task.within((lowest, highest))
    try:
        bench.check_levels(task.levels * bench.level_scale)
    except LimitError as error:
        remedy = "Lower task.inputs.scale or bias, or let task.inputs.outside clip or scale"
        where = experiment.document.line(("task", "inputs"))
        raise FileError(path, f'section "task.inputs": {error}. {remedy}', where) from None
    lowest, highest = _bounds(experiment, bench)
    highest = _within_ratings(bench, task.levels * bench.level_scale, lowest, highest)
    return Job(experiment, bench, task, rule, waveform, lowest, highest, streams, watch_of(bench))


def _refuse_unreadable(experiment: ExperimentSettings, bench: Bench, waveform: Waveform) -> None:
    """Refuse a nudge that the lock-in could not read on this bench, in the file where that is to be mended."""
    try:
        bench.refuse_waveform(waveform)
    except ValueError as error:
        settings, message = bench.settings, str(error)
        for section, starts in (("lockin", "hum"), ("sampling", "frequency"), ("sampling", "volts")):
            if settings is not None and message.startswith(starts):
                where = settings.document.line((section,))
                raise FileError(settings.document.path, f'section "{section}": {message}', where) from None
        where = experiment.document.line(("nudge", "waveform"))
        raise FileError(experiment.document.path, f'"nudge.waveform": {message}', where) from None


def _within_ratings(bench: Bench, levels: Array, lowest: Array, highest: Array) -> Array:
    """Return the bounds from above that the parts bear, S; refuse a run whose worst case they don't bear at all."""
    if bench.settings is None:
        return highest
    ratings = bench.settings.model.ratings
    limit = rated_conductance(bench, ratings, levels)
    highest = np.maximum(np.minimum(highest, limit), lowest)
    for margin in margins(bench, bench.settings.model.ratings, levels, highest):
        if not margin.is_kept:
            document = bench.settings.document
            message = (
                f"ratings: {margin.what}: {margin.worst:.4g} {margin.unit} in the worst case ({margin.where}), allowed "
                f"are {margin.allowed:.4g} {margin.unit}. Nothing was driven; {margin.remedy}"
            )
            raise FileError(document.path, message, document.line(("ratings",)))
    return highest


def _agree_on_ports(experiment: ExperimentSettings, bench: Bench, task: Task) -> None:
    for what, needed, there in (
        ("input", task.n_inputs, len(bench.network.inputs)),
        ("output", task.n_outputs, len(bench.network.outputs)),
    ):
        if needed != there:
            message = f"the task needs {needed} {what} ports, the network of bench {bench.name} has {there}"
            raise FileError(experiment.document.path, message, experiment.document.line(("task",)))


def _rule(experiment: ExperimentSettings, bench: Bench, waveform: Waveform) -> Rule:
    rule, nudge = experiment.model.rule, experiment.model.nudge
    alpha, gamma = bench.scales.alpha(rule.alpha), bench.scales.gamma(nudge.gamma)
    if rule.kind == "adjoint":
        return Adjoint(bench.network, alpha, gamma)
    if rule.kind == "finite-differences":
        return FiniteDifferences(bench.network, alpha, gamma, rule.difference * bench.scales.siemens)
    kind = _LOOPS[nudge.loop]
    if kind is NudgeKind.CLAMPED:
        gamma = nudge.gamma  # volts held per volt of error, on every bench
    free = rule.activation == "free"
    return FrequencyPropagation(
        bench.network,
        alpha,
        gamma,
        waveform,
        kind,
        free_activation=free,
        significance=rule.significance,
        most_records=rule.most_records if rule.significance else 1,
    )


def _bounds(experiment: ExperimentSettings, bench: Bench) -> tuple[Array, Array]:
    low, high = (end * bench.scales.siemens for end in experiment.model.conductances.bounds)
    lowest, highest = bench.conductance_limits()
    lowest, highest = np.maximum(lowest, low), np.minimum(highest, high)
    empty = np.flatnonzero(lowest > highest)
    if len(empty):
        name = bench.network.tunable_names[int(empty[0])]
        raise FileError(
            experiment.document.path,
            f'branch "{name}": the experiment keeps it within {low:.4g} and {high:.4g} S, the part only reaches '
            f"{bench.conductance_limits()[0][empty[0]]:.4g} to {bench.conductance_limits()[1][empty[0]]:.4g} S. "
            "Change conductances.bounds, or scales.conductance in the bench file",
            experiment.document.line(("conductances", "bounds")),
        )
    return lowest, highest
