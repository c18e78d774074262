"""The `network` section of a bench or experiment file, and the CSV table of branches that it may name."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, TypeAdapter

from freqprop_lab.config._schema import Section
from freqprop_lab.config._text import FileError, read_text
from freqprop_lab.config._units import Amperes, Volts, parse_quantity
from freqprop_lab.elements import ELEMENTS
from freqprop_lab.names import nearest
from freqprop_lab.network import (
    Branch,
    Network,
    NetworkError,
    Port,
    barabasi_albert,
    choose_ports,
    hidden_layer,
    square_grid,
)

PortNames = Annotated[list[str], Field(min_length=1, max_length=2)]
Ports = int | list[PortNames] | None

_COLUMNS = ("name", "plus", "minus", "kind", "value", "lowest", "highest")
_NEEDED = ("plus", "minus", "kind", "value")
_KINDS = {"tunable": "resistor", "resistor": "resistor", "diode": "diode", "antiparallel": "antiparallel"}
_MOST_BRANCHES = 1_000_000


class _WithPorts(Section):
    inputs: Ports = None
    outputs: Ports = None


class BarabasiAlbertSection(_WithPorts):
    """A Barabasi-Albert tree plus random edges (the paper's appendix A)."""

    kind: Literal["barabasi-albert"]
    nodes: int = Field(40, ge=2, le=100_000)
    edges: int = Field(390, ge=1, le=10_000_000)


class GridSection(_WithPorts):
    """A square grid."""

    kind: Literal["grid"]
    rows: int = Field(ge=1, le=1000)
    columns: int = Field(ge=1, le=1000)


class HiddenLayerSection(_WithPorts):
    """Inputs, one hidden layer with diodes to ground, differential outputs."""

    kind: Literal["hidden-layer"]
    hidden: int = Field(ge=1, le=10_000)
    diodes: Literal["alternating", "antiparallel", "none"] = "alternating"
    saturation_current: Annotated[Amperes, Field(gt=0)] = 10e-9
    emission_voltage: Annotated[Volts, Field(gt=0)] = 30e-3


class CsvSection(_WithPorts):
    """A table of branches. Its ports are listed, or drawn among the nodes."""

    kind: Literal["csv"]
    file: str


NetworkSection = Annotated[
    BarabasiAlbertSection | GridSection | HiddenLayerSection | CsvSection, Field(discriminator="kind")
]


AnyNetworkSection = BarabasiAlbertSection | GridSection | HiddenLayerSection | CsvSection


def parse_network(data: Mapping[str, Any]) -> AnyNetworkSection:
    """Check a `network` section that stands alone; it has been checked before, in the file that it comes from."""
    checked: AnyNetworkSection = TypeAdapter(NetworkSection).validate_python(dict(data))
    return checked


def build_network(
    section: AnyNetworkSection,
    folder: Path,
    siemens: float,
    ports_wanted: tuple[int | None, int | None],
    graph: np.random.Generator,
    ports: np.random.Generator,
) -> Network:
    """Build the network of a section; folder is where its files are; ports_wanted: what the task needs, if known.

    Raises NetworkError, and FileError for a CSV file.
    """
    n_inputs = _count("input", section.inputs, ports_wanted[0], default=4)
    n_outputs = _count("output", section.outputs, ports_wanted[1], default=3)
    if isinstance(section, HiddenLayerSection):
        if isinstance(section.inputs, list) or isinstance(section.outputs, list):
            raise NetworkError(
                "a hidden layer makes its own ports; give inputs and outputs as numbers, or leave them out"
            )
        return hidden_layer(
            n_inputs,
            section.hidden,
            n_outputs,
            siemens,
            diodes=section.diodes,
            saturation_current=section.saturation_current,
            emission_voltage=section.emission_voltage,
        )
    if isinstance(section, BarabasiAlbertSection):
        network = barabasi_albert(section.nodes, section.edges, siemens, graph)
    elif isinstance(section, GridSection):
        network = square_grid(section.rows, section.columns, siemens)
    else:
        network = read_branches(folder / section.file)
    if isinstance(section.inputs, list) and isinstance(section.outputs, list):
        return network.with_ports(_ports(section.inputs), _ports(section.outputs))
    if isinstance(section.inputs, list) or isinstance(section.outputs, list):
        raise NetworkError("list both inputs and outputs as nodes, or neither")
    return choose_ports(network, n_inputs, n_outputs, ports)


def _count(what: str, given: Ports, wanted: int | None, default: int) -> int:
    listed = len(given) if isinstance(given, list) else given
    if listed is not None and wanted is not None and listed != wanted:
        raise NetworkError(f"the network has {listed} {what} ports, the task needs {wanted}")
    return listed or wanted or default


def _ports(names: Sequence[Sequence[str]]) -> list[Port]:
    return [Port(*name) for name in names]


def read_branches(path: Path) -> Network:
    """Read a table of branches: plus, minus, kind, value and, if wanted, name, lowest, highest.

    kind: tunable, resistor, diode or antiparallel. value: "10 kOhm" or "0.1 mS"; a diode's is "10 nA / 30 mV"
    (saturation current / emission voltage). lowest, highest: a tunable branch's bounds, written in the same unit as
    the value. Raises FileError with the line.
    """
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True, skipinitialspace=True)
    try:
        header = [name.strip() for name in rows.fieldnames or []]
        _check_header(path, header)
        rows.fieldnames = header
        branches: list[Branch] = []
        lines: dict[str, list[int | None]] = {}
        for row in rows:
            branch = _branch(path, rows.line_num, row)
            branches.append(branch)
            lines.setdefault(branch.name, []).append(rows.line_num)
            if len(branches) > _MOST_BRANCHES:
                raise FileError(path, f"holds more than {_MOST_BRANCHES} branches", rows.line_num)
    except csv.Error as error:
        raise FileError(path, f"is not a valid CSV table: {error}", rows.line_num) from None
    if not branches:
        raise FileError(path, "lists no branch", 1)
    nodes = dict.fromkeys(node for branch in branches for node in (branch.plus, branch.minus) if node != "ground")
    try:
        return Network(tuple(nodes), tuple(branches))
    except NetworkError as error:
        places = lines.get(error.branch or "", [None])
        raise FileError(path, str(error), places[-1]) from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    for name in header:
        if name not in _COLUMNS:
            raise FileError(
                path, f'unknown column "{name[:60]}".{nearest(name, _COLUMNS)} Allowed: {", ".join(_COLUMNS)}', 1
            )
    for name in _NEEDED:
        if name not in header:
            raise FileError(path, f'column "{name}" is missing; needed are {", ".join(_NEEDED)}', 1)


def _branch(path: Path, line: int, row: dict[str, str]) -> Branch:
    if None in row or None in row.values():
        raise FileError(path, "has another number of fields than the header", line)
    cell = {name: value.strip() for name, value in row.items()}
    name = cell.get("name") or f"{cell['plus']}-{cell['minus']}"
    if cell["kind"] not in _KINDS:
        raise FileError(
            path, f'kind is "{cell["kind"]}"; allowed: {", ".join(_KINDS)}.{nearest(cell["kind"], _KINDS)}', line
        )
    try:
        if _KINDS[cell["kind"]] == "resistor":
            return _resistor(name, cell)
        current, _, voltage = cell["value"].partition("/")
        if not voltage:
            raise ValueError(
                f'value is "{cell["value"]}"; a {cell["kind"]} takes saturation current / emission voltage, '
                'such as "10 nA / 30 mV"'
            )
        theta = (parse_quantity(current, "A")[0], parse_quantity(voltage, "V")[0])
    except ValueError as error:
        raise FileError(path, f'branch "{name}": {error}', line) from None
    return Branch(name, cell["plus"], cell["minus"], ELEMENTS[_KINDS[cell["kind"]]], theta)


def _resistor(name: str, cell: dict[str, str]) -> Branch:
    value, unit = parse_quantity(cell["value"], "S", "Ohm")
    if value <= 0:
        raise ValueError(f"value is {cell['value']}; it must be above 0")
    bounds: list[float | None] = [None, None]
    for place, column in enumerate(("lowest", "highest")):
        if cell.get(column):
            bounds[place], other = parse_quantity(cell[column], unit)
            if other != unit or bounds[place] is None or bounds[place] < 0:  # type: ignore[operator]
                raise ValueError(f"{column} is {cell[column]}; it must be in {unit}, as the value is, and not below 0")
    if None not in bounds and bounds[0] >= bounds[1]:  # type: ignore[operator]
        raise ValueError(f"lowest {cell['lowest']} is not below highest {cell['highest']}; are they swapped?")
    low, high = bounds
    if unit == "Ohm":
        value, low, high = 1 / value, 1 / high if high else None, 1 / low if low else None
    return Branch(
        name, cell["plus"], cell["minus"], ELEMENTS["resistor"], (value,), cell["kind"] == "tunable", low, high
    )
