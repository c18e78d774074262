"""`freqprop solve`: the operating point, or the AC response, of a SPICE netlist."""

from __future__ import annotations

import cmath
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from simulated_bench.netlist_solver import Solution


class _Hertz(click.ParamType[float]):
    name = "frequency"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return Hz."""
        from freqprop_lab.config import parse_quantity  # noqa: PLC0415

        try:
            number = parse_quantity(value, "Hz")[0]
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if number <= 0:
            self.fail(f"{value} must be above 0", param, ctx)
        return number


@click.command()
@click.argument("netlist", metavar="BOARD.cir", type=click.Path(path_type=Path))
@click.option("--ac", "frequency", type=_Hertz(), help="Phasors at this frequency (1kHz) instead of the DC voltages.")
@click.option("--currents", is_flag=True, help="Also the current of each element, from its first node to its second.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def solve(netlist: Path, frequency: float | None, *, currents: bool, as_json: bool) -> None:
    """Work out the SPICE netlist BOARD.cir as ngspice's .op would: node voltages, and Kirchhoff's residual.

    Read are R, C, D, V, I, .model D, .subckt and .param, as KiCad, LTspice and ngspice write them, at 27 C. What is
    left out is told on standard error. Exit status: 0 done, 1 no solution, 2 wrong use or wrong file.
    """
    from freqprop_lab.config import read_netlist  # noqa: PLC0415
    from simulated_bench.circuit import CircuitError  # noqa: PLC0415
    from simulated_bench.netlist_solver import operating_point, response  # noqa: PLC0415

    read = read_netlist(netlist)
    for note in read.notes:
        click.echo(f"note: {netlist}, line {note.line}: {note.text}", err=True)
    if frequency is not None and not any(getattr(one, "ac", 0) for one in read.elements):
        click.echo(f"note: {netlist}: no source has an AC magnitude (AC 1), so nothing moves", err=True)
    try:
        solution = operating_point(read) if frequency is None else response(read, frequency)
    except CircuitError as error:
        click.echo(f"freqprop: {netlist}: {error}", err=True)
        sys.exit(1)  # click's own way out is not heard of by our main
    if as_json:
        click.echo(json.dumps(_object(solution, currents=currents, phasors=frequency is not None)))
    else:
        _show(solution, currents=currents, phasors=frequency is not None)


def _object(solution: Solution, *, currents: bool, phasors: bool) -> dict[str, Any]:
    def plain(values: dict[str, complex]) -> dict[str, Any]:
        return {
            name: [complex(value).real, complex(value).imag] if phasors else value.real
            for name, value in values.items()
        }

    listed = {"currents": plain(solution.currents)} if currents else {}
    return {"nodes": plain(solution.volts), **listed, "residual": solution.residual}


def _show(solution: Solution, *, currents: bool, phasors: bool) -> None:
    tables = [("node", "V", solution.volts)] + ([("element", "A", solution.currents)] if currents else [])
    for what, unit, values in tables:
        wide = max(len(what), *(len(name) for name in values))
        click.echo(f"{what:{wide}}{unit:>16}" + (f"{'degrees':>12}" if phasors else ""))
        for name, value in values.items():
            click.echo(f"{name:{wide}}" + _number(complex(value), phasors=phasors))
    click.echo(f"Kirchhoff's residual: {solution.residual:.1e} A")


def _number(value: complex, *, phasors: bool) -> str:
    if phasors:
        return f"{abs(value):16.8g}{math.degrees(cmath.phase(value)):12.5g}"
    return f"{value.real:16.8g}"
