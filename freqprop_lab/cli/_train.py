"""`freqprop train` and `freqprop resume`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from freqprop_lab.cli import _ensemble
from freqprop_lab.cli._arguments import WAVEFORM_NAMES, RunPath, run_argument
from freqprop_lab.cli._netlist import as_listed, network_changes, tell_of_netlist
from freqprop_lab.cli._progress import progress_line
from freqprop_lab.cli._templates import template_text

if TYPE_CHECKING:
    from freqprop_lab.bench import Bench
    from freqprop_lab.config import ExperimentSettings
    from freqprop_lab.session import Result

_ROWS = (
    ("test_accuracy", "accuracy, test half"),
    ("test_accuracy_as_published", "  as published (the test labels leak)"),
    ("train_accuracy", "accuracy, training half"),
    ("error", "error, task V"),
    ("separation", "separation of the classes, task V"),
    ("relative_error", "error / separation"),
    ("test_error", "error, test half, task V"),
    ("margin", "smallest margin, task V"),
    ("cost", "mean cost"),
)

_FLAGGED = {
    "clipped": "lower the drive, or widen the range",
    "missing": "lower the sample rate",
    "sign ambiguous": "more periods, a stronger nudge, or nudge.learn_delays",
    "not settled": "a longer sampling.settle",
    "wrong frequency": "the clocks differ: wire them together",
}

_LARGE_LOG = 2e9  # bytes

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
_quiet = click.option("--quiet", is_flag=True, help="Show no progress; faults, and how to resume, are always told.")


@click.command()
@click.argument("experiment", required=False, type=click.Path(path_type=Path))
@click.option("--bench", type=click.Path(path_type=Path), help="Bench file; the experiment's own if left out.")
@click.option("--epochs", type=click.IntRange(min=0), help="How many times all training examples are shown.")
@click.option("--seed", type=click.IntRange(min=0), help="Graph, ports, start, split, order, rounding and noise.")
@click.option(
    "--seeds",
    type=_ensemble.Seeds(),
    metavar="A:B",
    help="Many seeds at once: 0:20 (20 left out) or 0,3,7; numeric only.",
)
@click.option("--nodes", type=click.IntRange(min=2), help="Nodes of a network that the numeric bench builds.")
@click.option("--edges", type=click.IntRange(min=1), help="Edges of a network that the numeric bench builds.")
@click.option("--network", type=click.Path(path_type=Path), metavar="BOARD.cir", help="SPICE netlist to train.")
@click.option("--tunable", multiple=True, metavar="'R*'", help="Which of its resistors are tuned; may be repeated.")
@click.option("--inputs", metavar="'a; b,c'", help="Nodes or pairs that are driven; else its voltage sources.")
@click.option("--outputs", metavar="'a; b,c'", help="Nodes or pairs that are read; else what .save v(a) v(b,c) names.")
@click.option("--alpha", type=click.FloatRange(min=0, min_open=True), help="Learning rate, task units.")
@click.option("--nudge", type=click.Choice(WAVEFORM_NAMES), help="Waveform of the nudge.")
@click.option("--unsynchronised", is_flag=True, help="Meters run free: delays are unknown (takes two-tone).")
@click.option("--start-from", type=RunPath(), metavar="RUN", help="Begin with that run's conductances.")
@click.option("--run", type=click.Path(path_type=Path), metavar="FOLDER", help="Where the run is kept; below runs/.")
@_json
@_quiet
def train(
    experiment: Path | None, bench: Path | None, start_from: Path | None, run: Path | None, **options: Any
) -> None:
    """Train EXPERIMENT.yaml; without it the paper's Iris experiment, 40 nodes and 390 edges.

    Ctrl-C finishes the step under way, leaves the bench safe, and says how to resume. Exit status: 0 done, 1 failed,
    2 wrong use or wrong file, 130 interrupted.
    """
    from freqprop_lab import session  # noqa: PLC0415
    from freqprop_lab.runs import Run  # noqa: PLC0415

    if options["seeds"] and options["seed"] is not None:
        raise click.UsageError("--seed and --seeds: give one of them")
    settings = _experiment(experiment, options, own_bench=bench is None)
    wishes = session.BenchWishes(options["nodes"], options["edges"])
    given = {name: value for name, value in options.items() if value not in (None, False, ())}
    arguments = {name: str(value) for name, value in given.items()} | {"experiment": str(experiment or "iris")}
    if options["seeds"]:
        places = {"bench": bench, "run": run, "start_from": start_from}
        _ensemble.train_seeds(settings, options["seeds"], _ROWS, **places, options=options, arguments=arguments)
        return
    with session.load_bench(bench, settings, wishes) as opened:
        for note in () if opened.correction is None else opened.correction.notes:
            _note(note)  # also where no progress is wanted: it may be that nothing is corrected
        if not options["quiet"]:
            tell_of_netlist(settings, opened)
            _tell_what_is_left_out(opened.unread_branches())
            _say(session.words_of_records(opened))
            beyond = _beyond_at_start(settings, opened, start_from)
            _note(beyond)
            _tell_of_slowness(settings, opened)
            _tell_of_size(settings, opened)
        with progress_line(quiet=options["quiet"]) as tell:
            result = session.train(settings, opened, run=run, start_from=start_from, tell=tell, arguments=arguments)
        if not options["quiet"] and not beyond:
            _note(session.words_beyond_tables(opened, Run(result.run).checkpoint.arrays["wished"]))
        words = (
            f"{len(opened.network.nodes)} nodes, {len(opened.network.tunable)} tunable branches, {opened.ports} ports"
        )
    _show(result, as_json=options["as_json"], words=words)


@click.command()
@run_argument
@click.option("--calibration", type=click.Path(path_type=Path), help="Go by these newer records from here on.")
@_json
@_quiet
def resume(run: Path, calibration: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Go on with RUN (a folder, or `last`) where it was stopped or killed; it ends as if it had not been.

    A finished run is left as it is, and its result printed. After a probe saw the bench change, mend it; where it was
    calibrated anew for that, name the folder of its records.
    """
    from freqprop_lab import session  # noqa: PLC0415

    with progress_line(quiet=quiet) as tell:
        corrected = (lambda _: None) if quiet else _say
        result = session.resume(run, calibration=calibration, tell=tell, note=_note, corrected=corrected)
    _show(result, as_json=as_json, words="resumed")


def _experiment(path: Path | None, options: dict[str, Any], *, own_bench: bool) -> ExperimentSettings:
    from freqprop_lab.config import parse_experiment  # noqa: PLC0415
    from freqprop_lab.session import load_experiment  # noqa: PLC0415

    settings = load_experiment(path) if path is not None else parse_experiment(template_text("iris"), Path("iris.yaml"))
    changes = network_changes(options)
    if changes and path is None and own_bench:
        changes |= as_listed(changes["network",])
    for option, where in (
        ("epochs", ("epochs",)),
        ("seed", ("seed",)),
        ("alpha", ("rule", "alpha")),
        ("nudge", ("nudge", "waveform")),
    ):
        if options[option] is not None:
            changes[where] = options[option]
    if options["unsynchronised"]:
        changes["nudge", "unsynchronised"] = True
    return settings.with_changes(changes) if changes else settings


def _tell_what_is_left_out(unread: list[str]) -> None:
    if unread:
        from freqprop_lab.names import shown  # noqa: PLC0415

        click.echo(f"note: no meter reads both ends of {shown(unread)}; they keep their conductances", err=True)


def _beyond_at_start(settings: ExperimentSettings, bench: Bench, start_from: Path | None) -> str:
    """Say which of the first conductances no calibration tells of."""
    from freqprop_lab import session  # noqa: PLC0415
    from freqprop_lab.runs import Run  # noqa: PLC0415

    if bench.correction is None or bench.correction.conductances is None:
        return ""
    job = session.prepare(settings, bench)
    wished = job.first_conductances() if start_from is None else job.conductances_of(Run(start_from))
    return session.words_beyond_tables(bench, wished.clip(job.lowest, job.highest))


def _note(words: str) -> None:
    _say(words and f"note: {words}")


def _say(words: str) -> None:
    if words:
        click.echo(words, err=True)


def _tell_of_slowness(settings: ExperimentSettings, bench: Bench) -> None:
    if len(bench.relaxation_times()):
        from freqprop_lab import session  # noqa: PLC0415
        from freqprop_lab.advice import relaxation_note  # noqa: PLC0415

        job = session.prepare(settings, bench)
        bench.program(job.first_conductances())
        note = relaxation_note(bench, job.waveform)
        if note:
            click.echo(f"note: {note}", err=True)


def _tell_of_size(settings: ExperimentSettings, bench: Bench) -> None:
    from freqprop_lab import session  # noqa: PLC0415

    each = session.log_bytes(bench)
    total = each * settings.model.epochs
    if total > _LARGE_LOG:
        click.echo(
            f"note: the run's folder will take {total / 1e9:.1f} GB: each of {settings.model.epochs} epochs adds a, b "
            f"and all conductances, {each / 1e6:.1f} MB. Fewer epochs take less",
            err=True,
        )


def _show(result: Result, *, as_json: bool, words: str) -> None:
    if as_json:
        click.echo(json.dumps(result.as_dict()))
        return
    click.echo(f"{result.epochs} epochs, {result.steps} steps in {result.seconds:.1f} s ({words})")
    click.echo(f"{'':42}{'untrained':>12}{'trained':>12}")
    before, after = result.untrained.as_dict(), result.trained.as_dict()
    for name, label in _ROWS:
        if before[name] is not None:
            click.echo(f"{label:42}{_number(before, name):>12}{_number(after, name):>12}")
    for flag, count in result.flagged.items():
        click.echo(f"note: {count} of {result.steps} steps were flagged: {flag} ({_FLAGGED[flag]})")
    click.echo(f"run: {result.run}\nnext: freqprop report {result.run}")


def _number(scores: dict[str, float | None], name: str) -> str:
    value = scores[name]
    return "-" if value is None else f"{value:.4g}"
