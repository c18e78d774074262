"""The training loop, and nothing that knows which backend it runs on.

example -> levels -> free record -> a at the outputs -> cost gradient -> nudged record -> lock-in -> a, b -> rule
-> update of the wished conductances -> program -> realised conductances -> run log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.bench import Bench, BenchChangedError, BenchWatch
from freqprop_lab.rules import Block, Example, Measurement, Rule
from freqprop_lab.runs import Checkpoint, RunFolder
from freqprop_lab.stopping import Interrupted, StopRequest
from freqprop_lab.tasks import CrossEntropy, Objective, Scores, Task
from freqprop_lab.values import Array, BlockPlan, Flag, Response, Update

_CHECKPOINT_EVERY = 1.0  # s, on a bench that can repeat what is lost
_SAVE_EPOCHS_EVERY = 0.1  # s, there, between epochs: a short epoch is done again sooner than it is saved
_TELL_EVERY = 0.1  # s
_BLOCK_TIME = 0.1  # s, after which a block should be done, so that Ctrl-C is answered
_FEWEST_STEPS = 16  # of a block


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. lowest, highest: bounds of the wished conductances, S, (tunable,) each.

    accumulate: keep the wished conductances in full precision beside the realised ones. stochastic: round each wish to
    one of its two neighbours at random, so that the mean is the wish.
    """

    epochs: int
    lowest: Array
    highest: Array
    shuffle: bool = True
    accumulate: bool = True
    stochastic: bool = False
    evaluate_every: int = 10


@dataclass(frozen=True)
class Progress:
    """How far a run is. error: of the epoch under way, task volts; accuracy: of the last evaluation."""

    epoch: int
    epochs: int
    steps: int
    error: float | None
    accuracy: float | None
    seconds_left: float | None


@dataclass
class State:
    """Everything that the next step hangs on, beside the bench's own state and the generators.

    wished: S, (tunable,). by_class: targets of the classes, task volts. order: examples of the epoch under way;
    place: how many of them are done. errors: of those, task volts. flagged: how many steps raised each flag.
    """

    wished: Array
    by_class: Array
    order: NDArray[np.intp]
    errors: Array
    epoch: int = 0
    place: int = 0
    steps: int = 0
    n_state_lines: int = 0
    n_epoch_lines: int = 0
    flagged: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> State:
        """Return the state that a checkpoint holds."""
        arrays, values = checkpoint.arrays, checkpoint.values
        counts = {name: values[name] for name in ("epoch", "place", "n_state_lines", "n_epoch_lines", "flagged")}
        return cls(
            arrays["wished"], arrays["by_class"], arrays["order"], arrays["errors"], steps=checkpoint.seq_num, **counts
        )


class Trainer:
    """Trains a bench on a task by a rule, and logs it. It owns the bench while it runs; rules stay pure."""

    def __init__(
        self,
        bench: Bench,
        task: Task,
        rule: Rule,
        settings: TrainingSettings,
        streams: Mapping[str, np.random.Generator],
        state: State,
        watch: BenchWatch | None = None,
    ) -> None:
        self.bench, self.task, self.rule, self.settings, self.state = bench, task, rule, settings, state
        self.watch = watch  # probes the bench between epochs
        self._order, self._rounding = streams["order"], streams["rounding"]
        self._volts = bench.scales.volts
        self._levels = task.levels * bench.level_scale
        self._targets = task.targets(state.by_class)
        self._targets_move = task.target_settings.kind == "class-means" and not task.target_settings.frozen
        self._accuracy: float | None = None
        self._told = self._saved = time.monotonic()
        self._raised = 0
        self._block_steps = _FEWEST_STEPS

    def read(self, levels: Array) -> Array:
        """Return the outputs (example, output) of levels (example, input), both in task units."""
        if not len(levels):
            return np.zeros((0, len(self.bench.network.outputs)))
        return self.bench.read_many(levels * self.bench.level_scale) / self._volts

    def score(self) -> Scores:
        """Judge the network as it is; targets that move with it are measured anew."""
        by_class = self.task.class_targets(self.read) if self._targets_move else self.state.by_class
        return self.task.score(by_class, self.read)

    def run(self, log: RunFolder, stop: StopRequest, tell: Callable[[Progress], None]) -> None:
        """Train until the last epoch, or until somebody asks to stop (raises Interrupted, a checkpoint written)."""
        began, first, is_warm = time.monotonic(), self.state.steps, False
        while self.state.epoch < self.settings.epochs:
            if self.state.place == 0:
                self._begin_epoch()
            if self._runs_blocks():
                self._run_block(log)
            else:
                self._run_steps(log, stop, tell, (began, first))
            if self.state.place == len(self.task.train):
                self._end_epoch(log)
            if self._runs_blocks() and not is_warm:
                # The first block compiles: by its pace a run of seconds would take hours.
                began, first, is_warm = time.monotonic(), self.state.steps, True
            self._tell(tell, began, first)
            if stop.wanted and self.state.epoch < self.settings.epochs:
                self.save(log, sync=True)
                raise Interrupted(f"stopped after {self.state.steps} steps, in epoch {self.state.epoch}")
        self.save(log, sync=True)

    def save(self, log: RunFolder, *, sync: bool = False) -> None:
        """Write a checkpoint of everything."""
        log.save(self.checkpoint(), sync=sync)
        self._saved = time.monotonic()

    def log_state(self, log: RunFolder, response: Response | None) -> None:
        """Add a, b (V) and the realised conductances (S) to the log."""
        unknown = np.full(len(self.bench.network.nodes), np.nan)
        a, b = (unknown, unknown) if response is None else (response.a, response.b)
        row = np.concatenate([a, b, self.bench.conductances])
        log.append("states", row[None], [f'{{"seq_num": {self.state.steps}, "time": {time.time():.3f}}}'])
        self.state.n_state_lines += 1

    def step(self, number: int) -> Update:
        """Train on one example: run the rule's measurements, apply its update, program. Returns the update."""
        example = Example(
            self._levels[number], Objective(self.task.cost, np.atleast_1d(self._targets[number]), self._volts)
        )
        process = self.rule.process(example)
        measurement = next(process)
        self._raised = 0
        while True:
            response = self._respond(measurement)
            self._raised |= _raised(response)
            try:
                measurement = process.send(response)
            except StopIteration as finished:
                update: Update = finished.value
                self._apply(update.delta)
                return update

    def _respond(self, measurement: Measurement) -> Response:
        if measurement.offsets is None:
            return self.bench.respond(measurement.drive, measurement.n_periods)
        realised = self.bench.conductances
        self.bench.program(realised + measurement.offsets)
        try:
            return self.bench.respond(measurement.drive, measurement.n_periods)
        finally:
            self.bench.program(realised)

    def _apply(self, delta: Array) -> None:
        """Move the wished conductances, and program what comes nearest, or one of the neighbours at random."""
        settings = self.settings
        base = self.state.wished if settings.accumulate else self.bench.conductances
        wished = np.minimum(np.maximum(base + delta, settings.lowest), settings.highest)
        asked = wished
        if settings.stochastic:
            below, above = self.bench.neighbours(wished)
            width = np.where(above > below, above - below, 1.0)
            asked = np.where(self._rounding.random(len(wished)) < (wished - below) / width, above, below)
        self.state.wished = wished
        self.bench.program(asked)

    def _begin_epoch(self) -> None:
        task, state = self.task, self.state
        if self._targets_move:
            state.by_class = task.class_targets(self.read)
        self._targets = task.targets(state.by_class)
        state.order = self._order.permutation(task.train) if self.settings.shuffle else task.train.copy()
        state.errors = np.zeros(0)

    def _end_epoch(self, log: RunFolder) -> None:
        state = self.state
        state.epoch += 1
        state.place = 0
        last = state.epoch == self.settings.epochs
        line: dict[str, Any] = {"epoch": state.epoch, "seq_num": state.steps, "time": round(time.time(), 3)}
        line["error"] = _mean(state.errors)
        if last or state.epoch % self.settings.evaluate_every == 0:
            scores = self.score()
            self._accuracy = scores.train_accuracy if scores.test_accuracy is None else scores.test_accuracy
            line |= {f"scores_{name}": value for name, value in scores.as_dict().items() if value is not None}
        log.append_epoch(line)
        state.n_epoch_lines += 1
        self._look_after_bench(log)
        if last or not self.bench.repeatable or time.monotonic() - self._saved > _SAVE_EPOCHS_EVERY:
            self.save(log)

    def _look_after_bench(self, log: RunFolder) -> None:
        """Probe the bench where that is due. A change is raised with everything saved, so that the run can go on."""
        watch = self.watch
        if watch is None or self.state.epoch % watch.every:
            return
        try:
            watch.check(self.bench)
        except BenchChangedError:
            self.save(log, sync=True)
            raise

    def _runs_blocks(self) -> bool:
        plan = self._plan(1)
        return plan is not None and self.bench.can_run(plan)

    def _plan(self, n_steps: int) -> BlockPlan | None:
        """Return the next steps of the epoch as a block, where the rule has one."""
        state, cost = self.state, self.task.cost
        return self.rule.plan(
            Block(
                self._levels,
                self._targets * self._volts,
                state.order[state.place : state.place + n_steps],
                state.wished,
                self.settings.lowest,
                self.settings.highest,
                cost.name,
                cost.temperature if isinstance(cost, CrossEntropy) else 1.0,
                self._volts,
                self.settings.accumulate,
                self.settings.stochastic,
            )
        )

    def _run_block(self, log: RunFolder) -> None:
        """Do as many steps of the epoch in one call as take a moment; how fast the machine is never changes a bit."""
        plan = self._plan(self.bench.block_steps or self._block_steps)
        if plan is None:
            raise TypeError("the rule has a block now and then")
        if plan.stochastic:  # one generator's stream, whether it is drawn by steps or by blocks
            plan = replace(plan, draws=self._rounding.random((len(plan.order), len(plan.wished))))
        began = time.monotonic()
        result = self.bench.run_block(plan)
        pace = max(time.monotonic() - began, 1e-6) / len(plan.order)
        self._block_steps = max(_FEWEST_STEPS, int(_BLOCK_TIME / pace))
        self.state.wished = result.wished
        self._log_steps(log, plan.order, result.outputs)
        if self.state.place == len(self.state.order):
            self.log_state(log, result.response)
        elif time.monotonic() - self._saved > _CHECKPOINT_EVERY:
            self.save(log)

    def _run_steps(
        self, log: RunFolder, stop: StopRequest, tell: Callable[[Progress], None], since: tuple[float, int]
    ) -> None:
        """Do the rest of the epoch one step at a time; end early where somebody asks to stop."""
        order = self.state.order[self.state.place :]
        for number in order:
            update = self.step(int(number))
            for flag in Flag(self._raised):
                name = flag_name(flag)
                self.state.flagged[name] = self.state.flagged.get(name, 0) + 1
            self._log_steps(log, np.array([number]), update.outputs[None], self._raised)
            epoch_done = self.state.place == len(self.state.order)
            if epoch_done or not self.bench.repeatable:
                self.log_state(log, update.response)
            if not self.bench.repeatable or time.monotonic() - self._saved > _CHECKPOINT_EVERY:
                self.save(log)
            if time.monotonic() - self._told > _TELL_EVERY:
                self._tell(tell, *since)
            if stop.wanted:
                return

    def _log_steps(self, log: RunFolder, numbers: NDArray[np.intp], outputs: Array, flags: int = 0) -> None:
        """Add steps to the log: outputs (step, output), V, as they were before each update."""
        state = self.state
        read, wanted = outputs / self._volts, self._targets[numbers]
        errors = np.sqrt(((read - wanted) ** 2).mean(axis=1))
        if self.task.cost.name == "cross-entropy":
            errors = np.full(len(numbers), np.nan)
        costs = self.task.cost.value(read, wanted)
        rows = np.column_stack([errors, costs, outputs, wanted * self._volts])
        now, epoch = time.time(), state.epoch + 1
        shown = np.where(np.isnan(errors), costs, errors).tolist()
        raised = f', "flags": {flags}' if flags else ""
        lines = [
            f'{{"seq_num": {seq_num}, "time": {now:.3f}, "epoch": {epoch}, "example": {number}, "error": {error:.6g}'
            f"{raised}}}"
            for seq_num, (number, error) in enumerate(zip(numbers.tolist(), shown, strict=True), state.steps + 1)
        ]
        log.append("steps", rows, lines)
        state.steps += len(numbers)
        state.place += len(numbers)
        state.errors = np.concatenate([state.errors, np.array(shown)])

    def checkpoint(self) -> Checkpoint:
        """Return everything that the next step hangs on."""
        state = self.state
        bench_arrays: dict[str, NDArray[Any]] = {}
        bench_values: dict[str, Any] = {}
        for name, value in self.bench.state().items():
            (bench_arrays if isinstance(value, np.ndarray) else bench_values)[f"bench.{name}"] = value
        if self.bench.delays is not None:
            bench_arrays["delays"] = self.bench.delays
        if self.watch is not None:
            bench_arrays |= {f"watch.{name}": value for name, value in self.watch.state().items()}
        arrays = {
            "wished": state.wished,
            "realised": self.bench.conductances,
            "by_class": state.by_class,
            "order": state.order,
            "errors": state.errors,
        }
        values = {
            "epoch": state.epoch,
            "place": state.place,
            "n_state_lines": state.n_state_lines,
            "n_epoch_lines": state.n_epoch_lines,
            "flagged": state.flagged,
            "accuracy": self._accuracy,
            "generators": {"order": _generator_state(self._order), "rounding": _generator_state(self._rounding)},
        }
        return Checkpoint(state.steps, arrays | bench_arrays, values | bench_values)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Program a checkpoint's conductances, and put generators and bench where they stood."""
        arrays, values = checkpoint.arrays, checkpoint.values
        self._accuracy = values["accuracy"]
        self._order.bit_generator.state = values["generators"]["order"]
        self._rounding.bit_generator.state = values["generators"]["rounding"]
        self.bench.program(arrays["realised"])
        self.bench.delays = arrays.get("delays")
        held = {**arrays, **values}
        self.bench.restore({name.removeprefix("bench."): held[name] for name in held if name.startswith("bench.")})
        if self.watch is not None:
            self.watch.restore({name.removeprefix("watch."): held[name] for name in held if name.startswith("watch.")})

    def _tell(self, tell: Callable[[Progress], None], began: float, first: int) -> None:
        state, now = self.state, time.monotonic()
        self._told = now
        left = self.settings.epochs * len(self.task.train) - state.steps
        pace = (now - began) / (state.steps - first) if state.steps > first else None
        error = _mean(state.errors)
        tell(Progress(state.epoch, self.settings.epochs, state.steps, error, self._accuracy, pace and pace * left))


def _raised(response: Response) -> int:
    """Return the flags of a whole record: any channel's, but ambiguous signs only where most channels have them.

    b is zero at a node that its source holds, and so is not its sign's fault; a few weak nodes do no harm either.
    """
    if response.flags is None:
        return 0
    flags = int(np.bitwise_or.reduce(response.flags))
    most = response.flagged(Flag.SIGN_AMBIGUOUS).mean() > 0.5
    return flags if most else flags & ~int(Flag.SIGN_AMBIGUOUS)


def flag_name(flag: Flag) -> str:
    """Return a flag in words, such as `not settled`."""
    return (flag.name or "").replace("_", " ").lower()


def _mean(errors: Array) -> float | None:
    return float(errors.mean()) if len(errors) else None


def _generator_state(generator: np.random.Generator) -> Mapping[str, Any]:
    return generator.bit_generator.state
