"""What a trained network is good for: answering new rows, and being put into a bench."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freqprop_lab.bench import open_bench
from freqprop_lab.config import read_bench_file
from freqprop_lab.runs import Run
from freqprop_lab.session._calibration import refuse_damaged_records
from freqprop_lab.session._job import BenchWishes, Job, prepare, request_of
from freqprop_lab.session._record import recorded_bench, recorded_experiment
from freqprop_lab.trainer import State
from freqprop_lab.values import Array

_SAME = 1e-6  # relative: what counts as held when it is read back


@dataclass(frozen=True)
class Answers:
    """Outputs (row, output), V, and what was read off them: a class's name, or values (row, target)."""

    outputs: Array
    output_names: tuple[str, ...]
    answers: list[str] | Array
    answer_names: tuple[str, ...]
    clipped: int

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `as_rows`."""
        return ["row", *(f"V({name})" for name in self.output_names), *self.answer_names]

    def as_rows(self) -> list[dict[str, Any]]:
        """Return one dict a row."""
        rows = []
        for number, outputs in enumerate(self.outputs.tolist()):
            answer = self.answers[number]
            read = [answer] if isinstance(answer, str) else np.atleast_1d(answer).tolist()
            rows.append(dict(zip(self.columns, [number + 1, *outputs, *read], strict=True)))
        return rows


@dataclass(frozen=True)
class Applied:
    """What programming a bench came to. n_wrong: elements that do not hold what was set."""

    names: tuple[str, ...]
    n_wrong: int
    largest_deviation: float
    worst: str


def evaluate_rows(run: Run, data: Path, bench: Path | None = None) -> Answers:
    """Drive the trained network with the rows of a CSV file and read the answers.

    bench: a bench file to answer on, with the run's conductances; the run's own bench if None. Raises FileError;
    RunError where a calibration record that the run's own bench goes by is damaged.
    """
    experiment = recorded_experiment(run)
    if bench is None:
        refuse_damaged_records(run, "name a bench file with --bench")
    settings = recorded_bench(run) if bench is None else read_bench_file(bench)
    with open_bench(settings, request_of(experiment, _wishes(run))) as opened:
        job = prepare(experiment, opened)
        levels, clipped = job.task.encode_rows(data)
        opened.check_levels(levels * opened.level_scale)
        trainer = job.trainer(_state(run, job))
        opened.program(_realised(run, job))
        outputs = trainer.read(levels)
        task = job.task
        names = tuple(port.name for port in opened.network.outputs)
        volts = outputs * opened.scales.volts
        if not task.classes:
            return Answers(volts, names, task.values(outputs), task.table.targets, clipped)
        references = task.references(trainer.state.by_class, trainer.read(task.levels[task.train]))
        found = [task.classes[number] for number in task.answer(outputs, references)]
        return Answers(volts, names, found, task.table.targets or ("class",), clipped)


def apply_conductances(run: Run, bench: Path) -> Applied:
    """Program a bench with a run's wished conductances, read them back, and leave them there."""
    experiment = recorded_experiment(run)
    opened = open_bench(read_bench_file(bench), request_of(experiment, _wishes(run)))
    try:
        job = prepare(experiment, opened)
        wished = np.clip(_realised(run, job), job.lowest, job.highest)
        realised = opened.program(wished)
        held = opened.read_back()
        deviation = np.abs(realised / wished - 1)
        worst = int(deviation.argmax())
        wrong = int((np.abs(held - realised) > _SAME * realised).sum())
        names = opened.network.tunable_names
        opened.leave()
        return Applied(names, wrong, float(deviation[worst]), names[worst])
    except BaseException:
        opened.close()
        raise


def _wishes(run: Run) -> BenchWishes:
    return BenchWishes(**run.start["wishes"])


def _realised(run: Run, job: Job) -> Array:
    """Return the run's wished conductances in the units of the bench at hand, S."""
    return np.asarray(job.conductances_of(run) * (job.bench.scales.siemens / run.start["scales"]["siemens"]))


def _state(run: Run, job: Job) -> State:
    arrays = run.checkpoint.arrays
    return State(_realised(run, job), arrays["by_class"], arrays["order"], arrays["errors"])
