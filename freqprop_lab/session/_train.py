"""Train, resume, and what a run came to: on every way out the bench is safe and the folder says how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freqprop_lab.bench import Bench, BenchChangedError, open_bench
from freqprop_lab.config import ExperimentSettings
from freqprop_lab.runs import Run, RunContents, RunError, RunFolder, create_run, new_run_path
from freqprop_lab.session._job import BenchWishes, load_bench, prepare, request_of
from freqprop_lab.session._record import (
    note_records,
    recorded_bench,
    recorded_experiment,
    start_document,
    streams_document,
    take_records,
)
from freqprop_lab.stopping import Interrupted, StopRequest, watch_signals
from freqprop_lab.tasks import Scores
from freqprop_lab.trainer import Progress, State, Trainer

RUNS = Path("runs")


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
    with watch_signals() as stop, _left_safe(bench):
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
) -> Result:
    """Go on with a run where it was stopped or killed; it ends with the numbers of an uninterrupted one.

    calibration: a folder of newer records to go by from here on, after the bench has changed; its numbers are others
    then. note: is told what a person should hear of the records before the bench is driven. A finished run is left as
    it is, and its result returned.
    """
    run = Run(path)
    if run.status == "success":
        return finished_result(run)
    if calibration is not None:
        take_records(run, Path(calibration))
    experiment = recorded_experiment(run)
    settings = recorded_bench(run)
    with RunFolder(run.path) as folder:
        request = request_of(experiment, BenchWishes(**run.start["wishes"]))
        with open_bench(settings, request) as bench, watch_signals() as stop, _left_safe(bench):
            for words in () if bench.correction is None else bench.correction.notes:
                note(words)
            trainer = prepare(experiment, bench).trainer(State.of(folder.checkpoint))
            trainer.restore(folder.checkpoint)
            if calibration is not None and trainer.watch is not None:
                trainer.watch.begin(bench)
            folder.reopen()
            note_records(run, folder, bench, trainer.state.steps)
            return _run(trainer, folder, Scores(**run.start["untrained"]), stop, tell)


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
        raise Interrupted(
            f"{str(interrupt).capitalize()}. The bench is safe and nothing is lost. "
            f"Go on with: freqprop resume {folder.path}"
        ) from None
    except BenchChangedError as change:
        _write_stop(folder, trainer, "abort", str(change), {})
        raise BenchChangedError(
            f"{change}. The bench is safe and nothing is lost. Mend it, calibrate anew where parts or leads were "
            f"changed, and go on with: freqprop resume {folder.path} --calibration FOLDER"
        ) from None
    except Exception as error:
        with suppress(RunError):  # a full disk: the first error is the one to tell
            _write_stop(folder, trainer, "fail", f"{type(error).__name__}: {error}", {})
        raise
    return result


def _write_stop(folder: RunFolder, trainer: Trainer, status: str, reason: str, more: Mapping[str, Any]) -> None:
    counts = {"steps": trainer.state.steps, "states": trainer.state.n_state_lines}
    folder.write_json(
        "stop.json", {"exit_status": status, "reason": reason, "time": time.time(), "num_events": counts, **more}
    )


@contextmanager
def _left_safe(bench: Bench) -> Iterator[None]:
    """Make the bench safe on every way out; a fault on the way does not hide the first one."""
    try:
        yield
    except BaseException as error:
        try:
            bench.make_safe()
        except ExceptionGroup as faults:
            error.add_note(f"and the bench could not be made safe: {faults.exceptions}")
        raise
    bench.make_safe()
