"""Commands that open a bench by hand: read it, set it, look at one record, make it safe."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from freqprop_lab.cli._quantities import quantity

if TYPE_CHECKING:
    from freqprop_lab.bench import Bench
    from freqprop_lab.values import Array

_bench_file = click.argument("bench_file", metavar="BENCH.yaml", type=click.Path(path_type=Path))
_settings = click.argument("settings", metavar="[NAME=VALUE]...", nargs=-1)


@click.command("set")
@_bench_file
@_settings
def set_values(bench_file: Path, settings: tuple[str, ...]) -> None:
    """Program branches (R3=10kOhm) and drive inputs (n0/n1=0.2V), read every node, and bring the sources to rest."""
    with _opened(bench_file) as bench:
        levels = _take(bench, settings)
        _show_nodes(bench, levels)
    click.echo("the sources are at rest; programmed conductances stay as far as the parts keep them")


@click.command()
@_bench_file
def read(bench_file: Path) -> None:
    """Read every node with the inputs at zero, and what the tunable elements hold."""
    import numpy as np  # noqa: PLC0415

    with _opened(bench_file) as bench:
        _show_nodes(bench, np.zeros(len(bench.network.inputs)))
        held = bench.read_back()
        for name, conductance in zip(bench.network.tunable_names, held, strict=True):
            click.echo(f"{name:16}{conductance:12.5g} S" if np.isfinite(conductance) else f"{name:16}{'unknown':>12}")


@click.command()
@_bench_file
@_settings
@click.option("--nudge", default="0 V", show_default=True, help="Size of the nudge on every output, volts of error.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("scope.png"), show_default=True)
def scope(bench_file: Path, settings: tuple[str, ...], nudge: str, out: Path) -> None:
    """Put on one drive, take one record, and draw it."""
    import numpy as np  # noqa: PLC0415

    from freqprop_lab.report import draw_record  # noqa: PLC0415
    from freqprop_lab.values import Drive, Nudge  # noqa: PLC0415
    from freqprop_lab.waveform import default_waveform  # noqa: PLC0415

    with _opened(bench_file) as bench:
        levels = _take(bench, settings)
        volts = quantity("--nudge", nudge, "V")
        waveform = default_waveform(synchronised=bench.synchronised)
        amplitudes = np.full(len(bench.network.outputs), volts * bench.scales.siemens)
        record = bench.measure(Drive(levels, Nudge(amplitudes, waveform) if volts else None))
    click.echo(f"wrote {draw_record(record, bench.network.nodes, out)}")


@click.command()
@_bench_file
@click.option("--out", type=click.Path(path_type=Path), default=Path("wiring.png"), show_default=True)
def draw(bench_file: Path, out: Path) -> None:
    """Draw the wiring of a wired bench file: what goes to which node, which element is which branch. Opens nothing."""
    from freqprop_lab.bench import WiredBenchFile, wired_network  # noqa: PLC0415
    from freqprop_lab.config import BenchRequest, read_bench_file  # noqa: PLC0415
    from freqprop_lab.report import draw_wiring  # noqa: PLC0415

    settings = read_bench_file(bench_file)
    model = settings.model
    if not isinstance(model, WiredBenchFile):
        raise click.UsageError(f"{bench_file} is no wired bench; there are no wires to draw")
    wiring = model.wiring
    network = wired_network(settings, model, BenchRequest())
    click.echo(f"wrote {draw_wiring(network, wiring.drives, wiring.reads, wiring.tunes, out)}")


@click.command()
@_bench_file
def safe(bench_file: Path) -> None:
    """Bring every instrument to safety, whatever runs or fails; says of each whether it could be reached."""
    from freqprop_lab.bench import make_file_safe  # noqa: PLC0415
    from freqprop_lab.config import read_bench_file  # noqa: PLC0415

    faults = 0
    for name, fault in make_file_safe(read_bench_file(bench_file)):
        click.echo(f"{name:16}{'safe' if fault is None else f'NOT SAFE: {fault}'}")
        faults += fault is not None
    if faults:
        raise click.ClickException(f"{faults} instruments could not be made safe: switch them off by hand")


def show_live(bench: Bench, n_steps: int) -> None:
    """Identify every instrument, measure the noise floor and the time of a loop."""
    import numpy as np  # noqa: PLC0415

    from freqprop_lab.values import Drive, Nudge  # noqa: PLC0415
    from freqprop_lab.waveform import default_waveform  # noqa: PLC0415

    told = {}  # the roles of one instrument answer alike
    for instrument in bench.instruments:
        who = instrument.identify()
        told[instrument.name] = f"{who.manufacturer} {who.model} {who.serial} {who.firmware}".rstrip()
    for name, words in told.items():
        click.echo(f"{name:16}{words}")
    lowest, highest = bench.conductance_limits()
    bench.program(np.clip(np.sqrt(lowest * highest), lowest, highest) if np.isfinite(highest).all() else lowest + 1.0)
    rest = Drive(np.zeros(len(bench.network.inputs)))
    noise = np.nanmax(bench.measure(rest).volts.std(axis=1))
    click.echo(f"noise floor: {noise:.3g} V rms on the noisiest node, inputs at zero")
    waveform = default_waveform(synchronised=bench.synchronised)
    nudged = Drive(rest.levels, Nudge(np.zeros(len(bench.network.outputs)), waveform))
    began, count = time.perf_counter(), 3
    for _ in range(count):
        bench.respond(rest)
        bench.respond(nudged)
        bench.program(bench.conductances)
    loop = (time.perf_counter() - began) / count
    click.echo(f"loop time: {loop:.3g} s a step; {n_steps} steps take about {loop * n_steps / 3600:.3g} h")


def _opened(bench_file: Path) -> Bench:
    from freqprop_lab.session import load_bench  # noqa: PLC0415

    return load_bench(bench_file)


def _take(bench: Bench, settings: tuple[str, ...]) -> Array:
    """Program the branches among NAME=VALUE and return the levels of the inputs, V, (input,)."""
    import numpy as np  # noqa: PLC0415

    from freqprop_lab.names import nearest, shown  # noqa: PLC0415

    inputs = [port.name for port in bench.network.inputs]
    branches = list(bench.network.tunable_names)
    levels = np.zeros(len(inputs))
    held = bench.read_back()
    lowest, highest = bench.conductance_limits()
    conductances = np.where(np.isfinite(held), held, lowest)
    for setting in settings:
        if not re.fullmatch(r"[^=]+=[^=]+", setting):
            raise click.UsageError(f'"{setting}" is no NAME=VALUE, such as R3=10kOhm or {inputs[0]}=0.2V')
        name, _, value = setting.partition("=")
        if name in inputs:
            levels[inputs.index(name)] = quantity(name, value, "V", "A")
        elif name in branches:
            number = branches.index(name)
            conductance = _conductance(name, value)
            if not lowest[number] <= conductance <= highest[number]:
                raise click.UsageError(
                    f"{name}: {conductance:.4g} S asked, it reaches {lowest[number]:.4g} to {highest[number]:.4g} S"
                )
            conductances[number] = conductance
        else:
            known = [*inputs, *branches]
            raise click.UsageError(f'no input or branch "{name}".{nearest(name, known)} There are: {shown(known)}')
    if any(setting.partition("=")[0] in branches for setting in settings):
        bench.program(conductances)
    bench.check_levels(levels[None])
    return levels


def _conductance(name: str, value: str) -> float:
    from freqprop_lab.config import parse_quantity  # noqa: PLC0415

    try:
        number, unit = parse_quantity(value, "S", "Ohm")
    except ValueError as error:
        raise click.UsageError(f"{name}: {error}") from None
    if number <= 0:
        raise click.UsageError(f"{name}: {value} must be above 0")
    return 1 / number if unit == "Ohm" else number


def _show_nodes(bench: Bench, levels: Array) -> None:
    from freqprop_lab.values import Drive  # noqa: PLC0415

    volts = bench.measure(Drive(levels)).volts
    for name, row in zip(bench.network.nodes, volts, strict=True):
        click.echo(f"{name:16}{row.mean():12.6f} V   rms {row.std():.3g} V")
