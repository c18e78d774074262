"""What is done with runs: list, draw, answer new rows, put into a bench."""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from freqprop_lab.cli._arguments import run_argument

if TYPE_CHECKING:
    from freqprop_lab.runs import Run


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects on standard output.")
def runs(folder: Path, *, as_json: bool) -> None:
    """List the runs in FOLDER (runs), oldest first."""
    from freqprop_lab.runs import list_runs  # noqa: PLC0415

    found = [_summary(run) for run in list_runs(folder)]
    if as_json:
        click.echo(json.dumps(found))
        return
    if not found:
        click.echo(f"no run in {folder}; make one with: freqprop train")
        return
    click.echo(f"{'run':38}{'began':18}{'status':13}{'steps':>8}{'error':>10}{'accuracy':>10}")
    for row in found:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["time"]))
        error, accuracy = (_short(row[name]) for name in ("error", "accuracy"))
        click.echo(f"{row['run']:38}{began:18}{row['status']:13}{row['steps']:>8}{error:>10}{accuracy:>10}")


@click.command()
@run_argument
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write; the run's own folder if left out.")
def report(run: Path, folder: Path | None) -> None:
    """Draw RUN (a folder, or `last`) as four panels (figure 2 of the paper), report.png, and as a page, report.html."""
    from freqprop_lab.report import write_report  # noqa: PLC0415
    from freqprop_lab.runs import Run  # noqa: PLC0415

    for path in write_report(Run(run), folder):
        click.echo(f"wrote {path}")


@click.command()
@run_argument
@click.option("--data", required=True, type=click.Path(path_type=Path), help="CSV file with the feature columns.")
@click.option("--bench", type=click.Path(path_type=Path), help="Bench to answer on; the run's own if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def evaluate(run: Path, data: Path, bench: Path | None, *, as_json: bool) -> None:
    """Let the trained network of RUN answer the rows of a CSV file: outputs (V), and the class or value read off."""
    from freqprop_lab.runs import Run  # noqa: PLC0415
    from freqprop_lab.session import evaluate_rows  # noqa: PLC0415

    answers = evaluate_rows(Run(run), data, bench)
    if answers.clipped:
        click.echo(f"note: {answers.clipped} rows were clipped to what the sources may give", err=True)
    if as_json:
        click.echo(json.dumps({"run": str(run), "rows": answers.as_rows(), "clipped": answers.clipped}))
        return
    table = csv.DictWriter(sys.stdout, answers.columns, lineterminator="\n")
    table.writeheader()
    table.writerows(answers.as_rows())


@click.command()
@run_argument
@click.option("--bench", required=True, type=click.Path(path_type=Path), help="Bench file.")
def apply(run: Path, bench: Path) -> None:
    """Program the conductances of RUN into a bench, read them back, and leave them there."""
    from freqprop_lab.runs import Run  # noqa: PLC0415
    from freqprop_lab.session import apply_conductances  # noqa: PLC0415

    applied = apply_conductances(Run(run), bench)
    click.echo(f"{len(applied.names)} branches programmed; sources are at rest, the conductances stay")
    click.echo(
        f"read back: {applied.n_wrong} differ from what was set; wished for and set differ by at most "
        f"{applied.largest_deviation:.2%} ({applied.worst})"
    )
    if applied.n_wrong:
        raise click.ClickException("the parts do not hold what was programmed; look at them before you rely on them")


def _summary(run: Run) -> dict[str, Any]:
    """Return what one line of the table says; a damaged run is listed as such, not hidden."""
    epochs = run.lines("epochs")
    scored = [line for line in epochs if "scores_test_accuracy" in line or "scores_train_accuracy" in line]
    accuracy = None
    if scored:
        accuracy = scored[-1].get("scores_test_accuracy", scored[-1].get("scores_train_accuracy"))
    return {
        "run": run.path.name,
        "time": run.start["time"],
        "status": run.status,
        "steps": len(run.rows("steps")),
        "error": epochs[-1]["error"] if epochs else None,
        "accuracy": accuracy,
    }


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
