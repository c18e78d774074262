"""What `freqprop train --network BOARD.cir` makes of its options, and what it tells of the netlist."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from freqprop_lab.bench import Bench
    from freqprop_lab.config import ExperimentSettings, SpiceSection

_Changes = dict[tuple[str, ...], Any]
_BOUNDS = (1e-5, 20.0)  # of the default experiment


def network_changes(options: Mapping[str, Any]) -> _Changes:
    """Return the network section that --network, --tunable, --inputs and --outputs ask for, as a change."""
    path = options["network"]
    if path is None:
        for name in ("tunable", "inputs", "outputs"):
            if options[name]:
                raise click.UsageError(f"--{name} goes with --network BOARD.cir")
        return {}
    if not options["tunable"]:
        raise click.UsageError("--network needs --tunable: which resistors are tuned, such as --tunable 'R*'")
    section = {"kind": "spice", "file": str(Path(path).resolve()), "tunable": list(options["tunable"])}
    for name in ("inputs", "outputs"):
        if options[name]:
            section[name] = _ports(name, options[name])
    return {("network",): section}


def as_listed(section: Mapping[str, Any]) -> _Changes:
    """Return what else must be said where the default experiment trains a netlist: its own values, its own scale.

    The paper's network has conductances about 1 S, and a learning rate for them; a unit is then the power of ten next
    to the geometric mean of the netlist's tunable conductances. Raises FileError.
    """
    import numpy as np  # noqa: PLC0415

    from freqprop_lab.config import SpiceSection, read_board  # noqa: PLC0415

    network, _ = read_board(SpiceSection.model_validate(section), Path())
    unit = 10.0 ** round(float(np.log10(network.own_conductances).mean()))
    units = network.own_conductances / unit
    changes: _Changes = {("bench", "scales"): {"conductance": f"{unit:g} S"}, ("conductances", "start"): None}
    if units.min() < _BOUNDS[0] or units.max() > _BOUNDS[1]:
        changes["conductances", "bounds"] = _around(units)
    return changes


def _around(units: Any) -> list[float]:
    return [10.0 ** math.floor(math.log10(units.min()) - 1), 10.0 ** math.ceil(math.log10(units.max()) + 1)]


def tell_of_netlist(settings: ExperimentSettings, opened: Bench) -> None:
    """Tell on standard error what was left out of a netlist, and which ports nobody named."""
    found = _section(settings, opened)
    if found is None:
        return
    from freqprop_lab.config import read_board  # noqa: PLC0415

    section, folder = found
    path = folder / section.file
    network, notes = read_board(section, folder)
    shown = Path(section.file).name
    for note in notes:
        click.echo(f"note: {shown}, line {note.line}: {note.text}", err=True)
    given = (("inputs", section.inputs, network.inputs), ("outputs", section.outputs, network.outputs))
    for name, listed, there in given:
        ports = ", ".join(port.name for port in getattr(opened.network, name))
        if not there:
            told = f"nobody names its {name}; drawn by the seed: {ports}. Name them with --{name}"
            click.echo(f"note: {path.name}: {told}", err=True)
        elif not isinstance(listed, list):
            whose = "its voltage sources" if name == "inputs" else "what it saves"
            click.echo(f"note: {path.name}: {name} are {whose}: {ports}", err=True)


def _section(settings: ExperimentSettings, opened: Bench) -> tuple[SpiceSection, Path] | None:
    from freqprop_lab.config import SpiceSection  # noqa: PLC0415

    if isinstance(settings.model.network, SpiceSection):
        return settings.model.network, settings.folder
    if opened.settings is not None and isinstance(opened.settings.model.network, SpiceSection):
        return opened.settings.model.network, opened.settings.folder
    return None


def _ports(name: str, text: str) -> list[list[str]]:
    ports = [[node.strip() for node in port.split(",")] for port in text.split(";")]
    if not all(len(port) in (1, 2) and all(port) for port in ports):
        raise click.BadParameter(
            f'"{text}": ports are separated by semicolons, the two nodes of a port by a comma: "a; b,c"',
            param_hint=f"--{name}",
        )
    return ports
