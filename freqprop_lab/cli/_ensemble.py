"""`freqprop train --seeds`: which seeds, what is told while they run, and the table over all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from freqprop_lab.config import ExperimentSettings
    from freqprop_lab.session import Ensemble, SeedRun, Spread

_MOST_SEEDS = 10_000


class Seeds(click.ParamType[tuple[int, ...]]):
    """Seeds: a half-open range such as 0:20, or a list such as 0,3,7, or several of either."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the seeds, in order."""
        if isinstance(value, tuple):
            return value
        seeds: list[int] = []
        for part in str(value).split(","):
            ends = part.split(":")
            if len(ends) > 2 or not all(end.strip().isdecimal() for end in ends):
                self.fail(f'"{value}": say a range such as 0:20 (20 is left out), or a list such as 0,3,7', param, ctx)
            first, last = int(ends[0]), int(ends[-1]) if len(ends) > 1 else int(ends[0]) + 1
            if last - first + len(seeds) > _MOST_SEEDS:
                self.fail(f'"{value}": more than {_MOST_SEEDS} seeds', param, ctx)
            seeds += range(first, last)
        if not seeds or len(set(seeds)) < len(seeds):
            self.fail(f'"{value}": ' + ("a seed twice" if seeds else "no seed; 0:20 is 0 to 19"), param, ctx)
        return tuple(seeds)


def train_seeds(
    experiment: ExperimentSettings,
    seeds: tuple[int, ...],
    rows: tuple[tuple[str, str], ...],
    *,
    bench: Path | None,
    run: Path | None,
    start_from: Path | None,
    options: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> None:
    """Train all seeds, print the summary, and end with the exit status: 0 all done, 1 some failed, 130 interrupted."""
    from freqprop_lab import session  # noqa: PLC0415

    done = session.train_seeds(
        experiment,
        seeds,
        bench=bench,
        wishes=session.BenchWishes(options["nodes"], options["edges"]),
        run=run,
        start_from=start_from,
        tell=_teller(quiet=options["quiet"]),
        arguments={name: value for name, value in arguments.items() if name != "seeds"},
    )
    if options["as_json"]:
        click.echo(json.dumps(done.as_dict()))
    else:
        _show(done, rows)
    stopped, idle = done.of("stopped"), done.of("not begun")
    if stopped or idle:
        raise KeyboardInterrupt(_how_to_go_on(stopped, idle))
    if done.of("failed"):
        raise SystemExit(1)


def _teller(*, quiet: bool) -> Callable[[SeedRun, int], None]:
    def tell(run: SeedRun, left: int) -> None:
        if run.status == "failed":
            click.echo(f"freqprop: seed {run.seed}: {run.message}", err=True)
        elif run.status != "not begun" and not quiet:
            took = "" if run.result is None else f" in {run.result.seconds:.1f} s"
            click.echo(f"seed {run.seed}: {run.status}{took}, {left} left", err=True)

    return tell


def _how_to_go_on(stopped: list[SeedRun], idle: list[SeedRun]) -> str:
    told = "stopped; every bench is safe and nothing is lost."
    if stopped:
        told += " Go on with: " + ", ".join(f"freqprop resume {run.run}" for run in stopped) + "."
    if idle:
        told += f" Not begun: --seeds {','.join(str(run.seed) for run in idle)}"
    return told


def _show(ensemble: Ensemble, rows: tuple[tuple[str, str], ...]) -> None:
    done = ensemble.of("done")
    click.echo(f"{len(done)} of {len(ensemble.runs)} seeds done; mean +- standard error (sd over seeds)")
    if done:
        before, after = ensemble.spread("untrained"), ensemble.spread("trained")
        click.echo(f"{'':36}{'untrained':>30}{'trained':>30}")
        for name, label in rows:
            if name in before or name in after:
                click.echo(f"{label:36}{_words(before.get(name)):>30}{_words(after.get(name)):>30}")
    for run in ensemble.runs:
        click.echo(f"seed {run.seed}: {run.run}" + ("" if run.status == "done" else f" ({run.status})"))


def _words(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    if spread.stderr is None or spread.sd is None:
        return f"{spread.mean:.4g}"
    return f"{spread.mean:.4g} +- {spread.stderr:.2g} ({spread.sd:.2g})"
