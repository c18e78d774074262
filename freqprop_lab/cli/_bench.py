"""`freqprop bench`: look at a bench before anything is driven."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from freqprop_lab.cli._live import draw, read, safe, scope, set_values, show_live
from freqprop_lab.cli._plugged import plugged_command, plugged_commands

if TYPE_CHECKING:
    from freqprop_lab.bench import Bench
    from freqprop_lab.values import Array

_MOST_ROWS = 24


class _BenchCommands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *plugged_commands("bench")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or plugged_command(f"bench {cmd_name}")


@click.group(cls=_BenchCommands)
def bench() -> None:
    """Look at benches, read and set them, serve virtual ones, make them safe."""


@bench.command()
@click.argument("bench_file", metavar="BENCH.yaml", type=click.Path(path_type=Path))
@click.option(
    "--experiment", type=click.Path(path_type=Path), help="Hold this experiment against it; iris if left out."
)
@click.option("--all", "show_all", is_flag=True, help="Show every channel, however many.")
@click.option("--live", is_flag=True, help="Also identify every instrument, and measure noise and loop time.")
def check(bench_file: Path, experiment: Path | None, *, show_all: bool, live: bool) -> None:
    """Say whether files, channels, nodes and limits agree, what would be driven where, and for how long."""
    from freqprop_lab import session  # noqa: PLC0415
    from freqprop_lab.advice import relaxation_note  # noqa: PLC0415
    from freqprop_lab.bench import describe_bench  # noqa: PLC0415
    from freqprop_lab.cli._templates import template_text  # noqa: PLC0415
    from freqprop_lab.config import parse_experiment, read_bench_file  # noqa: PLC0415

    settings = read_bench_file(bench_file)
    loaded = (
        session.load_experiment(experiment)
        if experiment is not None
        else parse_experiment(template_text("iris"), Path("iris.yaml"))
    )
    with session.load_bench(bench_file, loaded) as opened:
        network = opened.network
        click.echo(
            f"{opened.name}: {len(network.nodes)} nodes, {len(network.branches)} branches, "
            f"{len(network.tunable)} tunable; {opened.ports} ports; "
            f"{'synchronised' if opened.synchronised else 'not synchronised'}"
        )
        for topic, words in describe_bench(settings).items():
            click.echo(f"{topic}: {words}")
        _show_wiring(opened, show_all=show_all)
        job = session.prepare(loaded, opened)
        driven = job.task.levels * opened.level_scale
        click.echo(
            f"experiment {loaded.model.name}: {job.task.n_inputs} inputs at {driven.min():.4g} to {driven.max():.4g} "
            f"{'A' if opened.level_scale == opened.scales.amperes != opened.scales.volts else 'V'}, "
            f"{job.task.n_outputs} outputs; every level is within the limits"
        )
        _show_margins(opened, driven, job.highest)
        if opened.repeatable:
            opened.program(job.first_conductances())
            note = relaxation_note(opened, job.waveform)
            click.echo(f"relaxation: {note}" if note else "relaxation: fast enough for the nudge, or not simulated")
        _show_time(opened, len(job.task.train), loaded.model.epochs)
        if live:
            show_live(opened, len(job.task.train) * loaded.model.epochs)
    click.echo("ok: the bench is safe" if live else "ok: nothing was driven")


def _show_wiring(opened: Bench, *, show_all: bool) -> None:
    rows = opened.wiring_table()
    click.echo(f"{'instrument':14}{'channel':>8}  {'node':16}{'does':34}{'limits'}")
    for row in rows if show_all else rows[:_MOST_ROWS]:
        click.echo(f"{row.instrument:14}{row.channel:>8}  {row.node:16}{row.does:34}{row.limits}")
    if len(rows) > _MOST_ROWS and not show_all:
        click.echo(f"... and {len(rows) - _MOST_ROWS} more channels (--all shows them)")


def _show_margins(opened: Bench, levels: Array, highest: Array) -> None:
    from freqprop_lab.bench import margins  # noqa: PLC0415

    if opened.settings is None:
        return
    for margin in margins(opened, opened.settings.model.ratings, levels, highest):
        used = f"{margin.worst:.4g} of {margin.allowed:.4g} {margin.unit}"
        click.echo(f"worst case, {margin.what}: {used} ({margin.where})")


def _show_time(opened: Bench, n_examples: int, epochs: int) -> None:
    sampling = opened.sampling
    record = sampling.periods / sampling.frequency + sampling.settle
    steps = n_examples * epochs
    click.echo(
        f"a step takes two records of {record:.4g} s; "
        f"{steps} steps are {2 * record * steps / 60:.3g} min of signal alone"
    )
    if opened.repeatable:
        click.echo(f"on this bench it is arithmetic: about {_seconds_per_response(opened) * 2 * steps:.3g} s")


def _seconds_per_response(opened: Bench) -> float:
    """Time a few responses; only of a bench that is arithmetic, where nothing is driven."""
    import numpy as np  # noqa: PLC0415

    from freqprop_lab.values import Drive  # noqa: PLC0415

    drive = Drive(np.zeros(len(opened.network.inputs)))
    opened.respond(drive)
    began, count = time.perf_counter(), 20
    for _ in range(count):
        opened.respond(drive)
    return (time.perf_counter() - began) / count


for command in (set_values, read, scope, draw, safe):
    bench.add_command(command)
