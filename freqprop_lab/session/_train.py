"""Train, resume, and what a run came to: on every way out the bench is safe and the folder says how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freqprop_lab.bench import Bench, BenchChangedError, BenchWatch, open_bench
from freqprop_lab.config import ExperimentSettings
from freqprop_lab.runs import Run, RunContents, RunError, RunFolder, create_run, new_run_path
from freqprop_lab.session._calibration import (
    TakenRecords,
    note_records,
    refuse_damaged_records,
    refuse_other_records,
    take_records,
    words_beyond_tables,
    words_of_records,
)
from freqprop_lab.session._job import BenchWishes, load_bench, prepare, request_of
from freqprop_lab.session._record import recorded_bench, recorded_experiment, start_document, streams_document
from freqprop_lab.stopping import Interrupted, StopRequest, watch_signals
from freqprop_lab.tasks import Scores
from freqprop_lab.trainer import Progress, State, Trainer

RUNS = Path("runs")
_CHANGED = "bench_changed"  # in stop.json


@dataclass(frozen=True)
class Result:
    """What a run came to. seconds: of training, in this process. flagged: how many steps raised each flag."""

    run: Path
    epochs: int
    steps: int
    untrained: Scores
    trained: Scores
    seconds: float
    flagged: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as the object that `--json` prints."""
        return {
            "run": str(self.run),
            "epochs": self.epochs,
            "steps": self.steps,
            "untrained": self.untrained.as_dict(),
            "trained": self.trained.as_dict(),
            "seconds": round(self.seconds, 3),
            "flagged": dict(self.flagged),
        }


def train(
    experiment: ExperimentSettings,
    bench: Bench | None = None,
    *,
    run: str | Path | None = None,
    start_from: str | Path | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
    arguments: Mapping[str, Any] | None = None,
) -> Result:
    """Train an experiment on a bench; the run's folder holds everything that happened.

    bench: opened, and left safe whatever happens; the experiment's own if None. run: the folder; by name and time
    below runs/ if None. start_from: a run whose conductances to begin with. Ctrl-C finishes the step under way, leaves
    the bench safe and raises Interrupted, which says how to go on.
    """
    if bench is None:
        with load_bench(None, experiment) as own:
            return train(experiment, own, run=run, start_from=start_from, tell=tell, arguments=arguments)
    path = Path(run) if run is not None else new_run_path(RUNS, experiment.model.name)
    parent = Run(start_from) if start_from is not None else None
    with watch_signals() as stop, _left_safe(bench, "There is no run yet; begin anew"):
        job = prepare(experiment, bench)
        start = job.first_conductances() if parent is None else job.conductances_of(parent)
        trainer, untrained = job.begin(start)
        document, texts, copies = start_document(experiment, bench, untrained.as_dict(), arguments or {}, parent)
        contents = RunContents(
            document, streams_document(bench, experiment.model.task.cost), trainer.checkpoint(), texts, copies
        )
        with create_run(path, contents) as folder:
            trainer.log_state(folder, None)
            trainer.save(folder)
            return _run(trainer, folder, untrained, stop, tell)


def resume(
    path: str | Path,
    *,
    calibration: str | Path | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
    corrected: Callable[[str], None] = lambda _: None,
) -> Result:
    """Go on with a run where it was stopped or killed; it ends with the numbers of an uninterrupted one.

    calibration: a folder with records newer than the stop, to go by from here on, after the bench has changed; its
    numbers are others then. Without it a bench on which a probe saw a change is probed before the first step, and must
    be again as it was. note: is told what a person should hear of the records before the bench is driven; corrected:
    by which it is. A finished run is left as it is, and its result returned. Raises RunError where a record that the
    run goes by is damaged, or can't be used on the bench any more.
    """
    run = Run(path)
    if run.status == "success":
        return finished_result(run)
    experiment = recorded_experiment(run)
    with RunFolder(run.path) as folder:
        bench = _reopened(run, experiment, calibration, note)
        then = f"The run is as it was; go on with: freqprop resume {run.path}"
        with bench, watch_signals() as stop, _left_safe(bench, then):
            if words := words_of_records(bench):
                corrected(words)
            trainer = prepare(experiment, bench).trainer(State.of(folder.checkpoint))
            trainer.restore(folder.checkpoint)
            if words := words_beyond_tables(bench, trainer.state.wished):
                note(words)
            if trainer.watch is not None and calibration is not None:
                _probe_anew(trainer, trainer.watch, note)
            elif trainer.watch is not None and (run.stop or {}).get(_CHANGED):
                _refuse_unmended(trainer, trainer.watch, folder)
            folder.reopen()
            note_records(run, folder, bench, trainer.state.steps)
            return _run(trainer, folder, Scores(**run.start["untrained"]), stop, tell)


def _reopened(
    run: Run, experiment: ExperimentSettings, calibration: str | Path | None, note: Callable[[str], None]
) -> Bench:
    """Open a run's bench, corrected by what the run goes by or by newer records; else leave the folder as it was."""
    taken = TakenRecords() if calibration is None else take_records(run, Path(calibration))
    try:
        remedy = f"calibrate anew and go on with: freqprop resume {run.path} --calibration FOLDER"
        refuse_damaged_records(run, remedy, taken.newer.values())
        bench = open_bench(recorded_bench(run), request_of(experiment, BenchWishes(**run.start["wishes"])))
        try:
            for words in () if bench.correction is None else bench.correction.notes:
                note(words)
            refuse_other_records(run, bench, taken)
        except BaseException:
            bench.close()
            raise
    except BaseException:
        taken.give_back()
        raise
    return bench


def _probe_anew(trainer: Trainer, watch: BenchWatch, note: Callable[[str], None]) -> None:
    """Let the probe go by the bench as it is, and tell how that differs from how it was: a fault may be there still."""
    try:
        watch.check(trainer.bench)
    except BenchChangedError as change:
        note(f"against the first probe of this run {change}. From here on it is probed against what it is now")
    watch.begin(trainer.bench)


def _refuse_unmended(trainer: Trainer, watch: BenchWatch, folder: RunFolder) -> None:
    """Probe a bench that had changed. Raises BenchChangedError before any step where it still is not as it was."""
    try:
        watch.check(trainer.bench)
    except BenchChangedError as change:
        raise BenchChangedError(f"{change}. Nothing was trained. {_how_to_go_on(folder)}") from None


def finished_result(run: Run) -> Result:
    """Return what a finished run came to, from its own files."""
    stop = run.stop
    if stop is None or "result" not in stop:
        raise RunError(f"run {run.path} is not finished; go on with: freqprop resume {run.path}")
    result = stop["result"]
    untrained, trained = Scores(**result["untrained"]), Scores(**result["trained"])
    return Result(run.path, result["epochs"], result["steps"], untrained, trained, result["seconds"], result["flagged"])


def _run(
    trainer: Trainer, folder: RunFolder, untrained: Scores, stop: StopRequest, tell: Callable[[Progress], None]
) -> Result:
    """Train to the end, judge, and write stop.json; or write why it ended before."""
    began = time.monotonic()
    try:
        trainer.run(folder, stop, tell)
        state, seconds = trainer.state, time.monotonic() - began
        trained = trainer.score()
        result = Result(folder.path, state.epoch, state.steps, untrained, trained, seconds, state.flagged)
        _write_stop(folder, trainer, "success", "", {"result": result.as_dict()})
    except Interrupted as interrupt:
        _write_stop(folder, trainer, "abort", str(interrupt), {})
        trainer.bench.make_safe()
        raise _ToldInterrupted(
            f"{str(interrupt).capitalize()}. The bench is safe and nothing is lost. "
            f"Go on with: freqprop resume {folder.path}"
        ) from None
    except BenchChangedError as change:
        _write_stop(folder, trainer, "abort", str(change), {_CHANGED: True})
        raise BenchChangedError(f"{change}. {_how_to_go_on(folder)}") from None
    except Exception as error:
        with suppress(RunError):  # a full disk: the first error is the one to tell
            _write_stop(folder, trainer, "fail", f"{type(error).__name__}: {error}", {})
        raise
    return result


def _how_to_go_on(folder: RunFolder) -> str:
    return (
        "The bench is safe and nothing is lost. Mend it. Where that brings back what was (a lead was pushed back in), "
        f"go on with: freqprop resume {folder.path}. Where a part is another now, or drifted, run freqprop calibrate, "
        f"and go on with: freqprop resume {folder.path} --calibration FOLDER"
    )


def _write_stop(folder: RunFolder, trainer: Trainer, status: str, reason: str, more: Mapping[str, Any]) -> None:
    counts = {"steps": trainer.state.steps, "states": trainer.state.n_state_lines}
    folder.write_json(
        "stop.json", {"exit_status": status, "reason": reason, "time": time.time(), "num_events": counts, **more}
    )


class _ToldInterrupted(Interrupted):
    """One whose message says already that the bench is safe, and how to go on."""


@contextmanager
def _left_safe(bench: Bench, then: str) -> Iterator[None]:
    """Make the bench safe on every way out; a fault on the way does not hide the first one.

    then: what a person who asked to stop before the first step is told.
    """
    try:
        yield
    except Interrupted as interrupt:
        bench.make_safe()
        if isinstance(interrupt, _ToldInterrupted):
            raise
        raise _ToldInterrupted(f"{str(interrupt).capitalize()}. The bench is safe. {then}") from None
    except BaseException as error:
        try:
            bench.make_safe()
        except ExceptionGroup as faults:
            error.add_note(f"and the bench could not be made safe: {faults.exceptions}")
        raise
    bench.make_safe()
