"""Many runs of one experiment, over seeds and processes; what every benchmark here is made of."""

from __future__ import annotations

import math
import multiprocessing
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@dataclass(frozen=True)
class Row:
    """One line of docs/figures.md: what is claimed, what came out, and the command that makes it."""

    claim: str
    figure: str
    command: str


@dataclass(frozen=True)
class Outcome:
    """What one run came to: the objects of `--json`, and the trained scores by read-out where asked for."""

    untrained: dict[str, float | None]
    trained: dict[str, float | None]
    seconds: float
    by_readout: dict[str, dict[str, dict[str, float | None]]]


def run_one(template: str, changes: Mapping[str, Any], readouts: Sequence[str] = ()) -> Outcome:
    """Train a template with changes in a folder that is thrown away."""
    from freqprop_lab import Run, train
    from freqprop_lab.config import parse_experiment

    text = (files("freqprop_lab") / "data" / "templates" / f"{template}.yaml").read_text(encoding="utf-8")
    settings = parse_experiment(text, Path(f"{template}.yaml"))
    settings = settings.with_changes({tuple(name.split(".")): value for name, value in changes.items()})
    with tempfile.TemporaryDirectory() as folder:
        result = train(settings, run=Path(folder) / "run")
        again = {readout: _read_anew(Run(result.run), readout) for readout in readouts}
    return Outcome(result.untrained.as_dict(), result.trained.as_dict(), result.seconds, again)


def run_many(template: str, each: Iterable[Mapping[str, Any]], readouts: Sequence[str] = ()) -> list[Outcome]:
    """Train a template once for each set of changes, on two processes."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        jobs = [pool.submit(run_one, template, changes, readouts) for changes in each]
        return [job.result() for job in jobs]


def spread(values: Sequence[float]) -> str:
    """Write a mean with its standard error and the standard deviation over runs."""
    mean, deviation = sum(values) / len(values), standard_deviation(values)
    return f"{mean:.3f} +- {deviation / math.sqrt(len(values)):.3f} (sd {deviation:.3f})"


def standard_deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def column(outcomes: Sequence[Outcome], which: str, name: str) -> list[float]:
    """Return one score of all runs, of the `untrained` or the `trained` network."""
    return [float(getattr(outcome, which)[name]) for outcome in outcomes]


def _read_anew(run: Any, readout: str) -> dict[str, dict[str, float | None]]:
    """Score a finished run with another read-out, before and after training."""
    from freqprop_lab.session import load_bench, prepare, recorded_experiment
    from freqprop_lab.trainer import State

    experiment = recorded_experiment(run).with_changes(
        {("task", "readout"): readout, ("bench",): run.start["bench_file"]}
    )
    with load_bench(None, experiment) as bench:
        trainer = prepare(experiment, bench).trainer(State.of(run.checkpoint))
        scores = {}
        for when, row in (("untrained", 0), ("trained", -1)):
            bench.program(run["conductances"][row])
            scores[when] = trainer.score().as_dict()
    return scores
