"""One experiment over many seeds at once: a run folder each, in processes of their own, and one summary.

Processes, not threads: of a fast step about half is spent in Python, which only one thread runs at a time.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any

from freqprop_lab.bench import BenchKind
from freqprop_lab.config import ExperimentSettings, FileError, read_bench_file
from freqprop_lab.runs import new_run_path
from freqprop_lab.session._job import BenchWishes, default_bench, load_bench
from freqprop_lab.session._train import RUNS, Result, train
from freqprop_lab.stopping import Interrupted, watch_signals

_LOOK_EVERY = 0.1  # s
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
DONE, STOPPED, FAILED, NOT_BEGUN = "done", "stopped", "failed", "not begun"


@dataclass(frozen=True)
class SeedRun:
    """What became of one seed: its status, and its result or what was said instead."""

    seed: int
    run: Path
    status: str
    result: Result | None = None
    message: str = ""


@dataclass(frozen=True)
class Spread:
    """A score over seeds: mean, its standard error, and the standard deviation over seeds (None for a single one)."""

    mean: float
    stderr: float | None
    sd: float | None
    n: int


@dataclass(frozen=True)
class Ensemble:
    """The runs, in the order of the seeds."""

    runs: tuple[SeedRun, ...]

    def of(self, status: str) -> list[SeedRun]:
        """Return the runs that ended so."""
        return [run for run in self.runs if run.status == status]

    def spread(self, when: str) -> dict[str, Spread]:
        """Return each score of the `untrained` or the `trained` networks over the seeds that are done."""
        columns: dict[str, list[float]] = {}
        for run in self.of(DONE):
            if run.result is not None:
                for name, value in getattr(run.result, when).as_dict().items():
                    if value is not None:
                        columns.setdefault(name, []).append(float(value))
        return {name: _spread(values) for name, values in columns.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return it as the object that `--json` prints."""
        runs = [
            {"seed": run.seed, "run": str(run.run), "status": run.status, "message": run.message}
            | ({} if run.result is None else {"result": run.result.as_dict()})
            for run in self.runs
        ]
        scores = {
            when: {name: vars(spread) for name, spread in self.spread(when).items()}
            for when in ("untrained", "trained")
        }
        return {"runs": runs, **scores}


@dataclass(frozen=True)
class _Order:
    """What a worker is told to do."""

    experiment: ExperimentSettings
    seed: int
    run: Path
    bench: Path | None
    wishes: BenchWishes
    start_from: Path | None
    arguments: Mapping[str, Any]


def train_seeds(
    experiment: ExperimentSettings,
    seeds: Sequence[int],
    *,
    bench: Path | None = None,
    wishes: BenchWishes | None = None,
    run: str | Path | None = None,
    start_from: Path | None = None,
    tell: Callable[[SeedRun, int], None] = lambda _run, _left: None,
    arguments: Mapping[str, Any] | None = None,
    n_workers: int | None = None,
) -> Ensemble:
    """Train an experiment once for each seed, on all cores; each is the run that `train` with that seed would be.

    bench: its file, if it isn't the experiment's own; only one in arithmetic can be had several times. run: the folder
    that holds seed-N for each; by name, seed and time below runs/ if None. tell: called with each run that has ended,
    and how many are left. A seed that fails is told, and the others go on. Ctrl-C: those under way finish their block
    and can be resumed, and the others are not begun; no exception is raised, the runs tell. Raises FileError.
    """
    _refuse_wired(experiment, bench)
    name = experiment.model.name
    paths = [Path(run) / f"seed-{seed}" if run is not None else new_run_path(RUNS, f"{name}-{seed}") for seed in seeds]
    orders = [
        _Order(experiment, seed, path, bench, wishes or BenchWishes(), start_from, arguments or {})
        for seed, path in zip(seeds, paths, strict=True)
    ]
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # the workers' own: one core each
    n_workers = min(n_workers or _n_cores(), len(orders)) or 1
    ended: dict[int, SeedRun] = {}
    context = multiprocessing.get_context("spawn")
    with watch_signals() as stop, ProcessPoolExecutor(n_workers, context, initializer=_take_signals) as pool:
        with _signals_held():
            jobs = {pool.submit(_train_one, order): order for order in orders}
        passed_on = False
        while len(ended) < len(orders):
            try:
                for job in as_completed([job for job in jobs if jobs[job].seed not in ended], timeout=_LOOK_EVERY):
                    order = jobs[job]
                    ended[order.seed] = _outcome(job, order)
                    tell(ended[order.seed], len(orders) - len(ended))
            except TimeoutError:
                pass
            if stop.wanted and not passed_on:
                passed_on = True
                for job in jobs:
                    job.cancel()
                for process in multiprocessing.active_children():
                    if process.pid is not None:  # a second signal within half a second is taken for the same one
                        os.kill(process.pid, signal.SIGINT)
    return Ensemble(tuple(ended[seed] for seed in seeds))


def _outcome(job: Future[SeedRun], order: _Order) -> SeedRun:
    """Return what a worker sent, or what became of it."""
    if job.cancelled():
        return SeedRun(order.seed, order.run, NOT_BEGUN)
    error = job.exception()
    if error is not None:
        return SeedRun(order.seed, order.run, FAILED, message=f"its process died: {error}")
    return job.result()


def _refuse_wired(experiment: ExperimentSettings, bench: Path | None) -> None:
    settings = read_bench_file(bench) if bench is not None else experiment.bench() or default_bench()
    if not (isinstance(settings.kind, BenchKind) and settings.kind.in_arithmetic):
        raise FileError(
            settings.document.path,
            f"bench: {settings.model.bench} is one set of instruments, which can't run several seeds at once; take a "
            "numeric bench, or give one --seed after the other",
            settings.document.line(("bench",)),
        )


class _Asked:
    """Whether somebody asked this worker to stop before a run took the signals over."""

    stop = False


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let processes that are started now begin with their signals held back until `_take_signals` is there."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would let them go in between
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _take_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, _note)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature is Python's
    _Asked.stop = True


def _train_one(order: _Order) -> SeedRun:
    if _Asked.stop:
        return SeedRun(order.seed, order.run, NOT_BEGUN)
    asked = False

    def pass_on(_: object) -> None:
        nonlocal asked
        if _Asked.stop and not asked:  # it came while the bench was opened
            asked = True
            signal.raise_signal(signal.SIGINT)

    try:
        experiment = order.experiment.with_changes({("seed",): order.seed})
        arguments = {**order.arguments, "seed": str(order.seed)}
        with load_bench(order.bench, experiment, order.wishes) as bench:
            result = train(
                experiment, bench, run=order.run, start_from=order.start_from, tell=pass_on, arguments=arguments
            )
    except Interrupted as interrupt:
        _Asked.stop = True  # and no other is begun here
        return SeedRun(order.seed, order.run, STOPPED, message=str(interrupt))
    except Exception as error:  # noqa: BLE001 - the other seeds go on, and this one's fault is told
        return SeedRun(order.seed, order.run, FAILED, message=f"{error}" or type(error).__name__)
    return SeedRun(order.seed, order.run, DONE, result)


def _spread(values: Sequence[float]) -> Spread:
    n = len(values)
    mean = sum(values) / n
    if n == 1:
        return Spread(mean, None, None, 1)
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    return Spread(mean, sd / math.sqrt(n), sd, n)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
