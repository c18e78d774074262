"""The `network` section of a bench or experiment file, and the CSV table of branches that it may name."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, model_validator

from freqprop_lab.config._netlist_file import read_netlist
from freqprop_lab.config._schema import Section, fault
from freqprop_lab.config._text import FileError, read_text
from freqprop_lab.config._units import Amperes, Volts, parse_quantity
from freqprop_lab.elements import ELEMENTS
from freqprop_lab.names import cut, nearest
from freqprop_lab.netlist import NetlistError, Note, port_named, to_network
from freqprop_lab.network import (
    GROUND,
    Branch,
    Network,
    NetworkError,
    Port,
    barabasi_albert,
    choose_ports,
    draw_missing_ports,
    hidden_layer,
    square_grid,
)


def printable(name: str) -> str:
    """Refuse a file's name that no folder could hold. Raises ValueError."""
    if not name.isprintable():
        raise ValueError(f"{name[:40]!a} is not the name of a file")
    return name


def _count_or_pairs(value: Any) -> Any:
    """Check the ports here: a union's own messages would speak of both its members. Numbers may name nodes."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError(f"{value} ports are too few; at least 1 is needed, or leave the field out")
        return value
    if not isinstance(value, list) or not value:
        raise ValueError(f"{cut(repr(value))} is neither a number of ports nor a list such as {_PORTS_EXAMPLE}")
    return [_pair(number, port) for number, port in enumerate(value)]


def _pair(number: int, port: Any) -> list[str]:
    nodes = [str(node) if isinstance(node, int) else node for node in port] if isinstance(port, list) else []
    if len(nodes) not in (1, 2) or not all(isinstance(node, str) and node for node in nodes):
        message = f"{cut(repr(port))} is not a port; one or two nodes in brackets are wanted, such as {_PORTS_EXAMPLE}"
        raise fault(message, number)
    return nodes


_PORTS_EXAMPLE = "[[n0, n1], [n2, ground]]"
Ports = Annotated[int | list[list[str]] | None, BeforeValidator(_count_or_pairs)]

_COLUMNS = ("name", "plus", "minus", "kind", "value", "lowest", "highest")
_NEEDED = ("plus", "minus", "kind", "value")
_KINDS = {"tunable": "resistor", "resistor": "resistor", "diode": "diode", "antiparallel": "antiparallel"}
_MOST_BRANCHES = 1_000_000
_LARGEST_INCIDENCE = 100_000_000_000  # nodes x branches: 10^5 and 10^6 take about 2 GB; a bench may take less
_LIKE_GROUND = ("gnd", "earth", "0v", "ground")


class _WithPorts(Section):
    inputs: Ports = None
    outputs: Ports = None

    @model_validator(mode="after")
    def _ports_fit(self) -> _WithPorts:
        if isinstance(self.inputs, list) != isinstance(self.outputs, list):
            listed, other = ("inputs", "outputs") if isinstance(self.inputs, list) else ("outputs", "inputs")
            raise fault(f"it lists nodes, so {other} must do so too; list both, or neither", listed)
        for name, ports in (("input", self.inputs), ("output", self.outputs)):
            _check_pairs(name, ports if isinstance(ports, list) else [])
        return self


def _check_pairs(what: str, ports: Sequence[Sequence[str]]) -> None:
    driven: dict[str, int] = {}
    for number, port in enumerate(ports):
        if port[0] == "ground":
            raise fault("ground can only be the second node of a port", f"{what}s", number)
        if len(port) == 2 and port[0] == port[1]:
            raise fault(f'it has the node "{cut(port[0])}" at both ends', f"{what}s", number)
        for node in port:
            if what == "input" and node != "ground" and driven.setdefault(node, number) != number:
                message = f'node "{cut(node)}" is driven by {what} {driven[node] + 1} already; a node takes one'
                raise fault(message, f"{what}s", number)


def _check_size(n_nodes: int, n_branches: int, *inside: str) -> None:
    if n_nodes * n_branches > _LARGEST_INCIDENCE:
        message = (
            f"{n_nodes} nodes and {n_branches} branches are too many for a simulated network: their product may be up "
            f"to {_LARGEST_INCIDENCE}"
        )
        raise fault(message, *inside)


class BarabasiAlbertSection(_WithPorts):
    """A Barabasi-Albert tree plus random edges (the paper's appendix A)."""

    kind: Literal["barabasi-albert"]
    nodes: int = Field(40, ge=2, le=100_000)
    edges: int = Field(390, ge=1, le=10_000_000)

    @model_validator(mode="after")
    def _edges_fit(self) -> BarabasiAlbertSection:
        most = self.nodes * (self.nodes - 1) // 2
        if not self.nodes - 1 <= self.edges <= most:
            message = (
                f"{self.edges} edges on {self.nodes} nodes; a connected network without parallel branches has "
                f"{self.nodes - 1} to {most}"
            )
            raise fault(message, "edges" if "edges" in self.model_fields_set else "nodes")
        _check_size(self.nodes, self.edges, "edges" if "edges" in self.model_fields_set else "nodes")
        return self


class GridSection(_WithPorts):
    """A square grid."""

    kind: Literal["grid"]
    rows: int = Field(ge=1, le=1000)
    columns: int = Field(ge=1, le=1000)

    @model_validator(mode="after")
    def _has_edges(self) -> GridSection:
        if self.rows * self.columns < 2:
            raise fault("a grid of one node has no branch; take at least 1 row and 2 columns", "columns")
        _check_size(self.rows * self.columns, 2 * self.rows * self.columns, "rows")
        return self


class HiddenLayerSection(_WithPorts):
    """Inputs, one hidden layer with diodes to ground, differential outputs."""

    kind: Literal["hidden-layer"]
    hidden: int = Field(ge=1, le=10_000)
    diodes: Literal["alternating", "antiparallel", "none"] = "alternating"
    saturation_current: Annotated[Amperes, Field(gt=0)] = 10e-9
    emission_voltage: Annotated[Volts, Field(gt=0)] = 30e-3

    @model_validator(mode="after")
    def _makes_its_ports(self) -> HiddenLayerSection:
        if isinstance(self.inputs, list):
            raise fault("a hidden layer makes its own ports; give a number, or leave it out", "inputs")
        return self


class CsvSection(_WithPorts):
    """A table of branches. Its ports are listed, or drawn among the nodes."""

    kind: Literal["csv"]
    file: Annotated[str, Field(min_length=1), AfterValidator(printable)]


def _patterns(given: Any) -> Any:
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not listed or not all(isinstance(one, str) and one for one in listed):
        raise ValueError("names of resistors are wanted, such as R*, or a list of them")
    return listed


class SpiceSection(_WithPorts):
    """A SPICE netlist. tunable: which of its resistors, by patterns such as R*.

    Ports that are not listed are the netlist's own: its voltage sources, and what `.save v(a) v(b,c)` names.
    """

    kind: Literal["spice"]
    file: Annotated[str, Field(min_length=1), AfterValidator(printable)]
    tunable: Annotated[list[str], BeforeValidator(_patterns)]

    @model_validator(mode="after")
    def _ports_fit(self) -> SpiceSection:
        for name, ports in (("input", self.inputs), ("output", self.outputs)):
            _check_pairs(name, ports if isinstance(ports, list) else [])
        return self


NetworkSection = Annotated[
    BarabasiAlbertSection | GridSection | HiddenLayerSection | CsvSection | SpiceSection, Field(discriminator="kind")
]


AnyNetworkSection = BarabasiAlbertSection | GridSection | HiddenLayerSection | CsvSection | SpiceSection


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

    Raises NetworkError, and FileError for a CSV file or a netlist.
    """
    if isinstance(section, SpiceSection):
        return _of_netlist(section, folder, ports_wanted, ports)
    n_inputs = _count("input", section.inputs, ports_wanted[0], default=4)
    n_outputs = _count("output", section.outputs, ports_wanted[1], default=3)
    if isinstance(section, HiddenLayerSection):
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
    return choose_ports(network, n_inputs, n_outputs, ports)


def _count(what: str, given: Ports, wanted: int | None, default: int) -> int:
    listed = len(given) if isinstance(given, list) else given
    if listed is not None and wanted is not None and listed != wanted:
        raise NetworkError(f"the network has {listed} {what} ports, the task needs {wanted}")
    return listed or wanted or default


def _ports(names: Sequence[Sequence[str]]) -> list[Port]:
    return [Port(*name) for name in names]


def _of_netlist(
    section: SpiceSection, folder: Path, ports_wanted: tuple[int | None, int | None], rng: np.random.Generator
) -> Network:
    """Build a netlist's network; ports that neither the section nor the netlist names are drawn, as for any other."""
    network = read_board(section, folder)[0]
    n_inputs = _count("input", _listed(section.inputs, network.inputs), ports_wanted[0], default=4)
    n_outputs = _count("output", _listed(section.outputs, network.outputs), ports_wanted[1], default=3)
    return draw_missing_ports(network, n_inputs, n_outputs, rng)


def _listed(given: Ports, there: Sequence[Port]) -> Ports:
    return [[port.plus, port.minus] for port in there] if there else given


def read_board(section: SpiceSection, folder: Path) -> tuple[Network, tuple[Note, ...]]:
    """Return the network of a netlist's section, its ports as far as somebody names them, and what was left out.

    Raises FileError with the netlist's line.
    """
    path = folder / section.file
    netlist = read_netlist(path)
    inputs, outputs = (
        [port_named(nodes) for nodes in ports] if isinstance(ports, list) else None
        for ports in (section.inputs, section.outputs)
    )
    try:
        network, notes = to_network(netlist, section.tunable, inputs, outputs)
    except NetlistError as error:
        raise FileError(path, str(error), error.line) from None
    if len(network.nodes) * len(network.branches) > _LARGEST_INCIDENCE:
        raise FileError(
            path, f"{len(network.nodes)} nodes and {len(network.branches)} branches are more than can be handled"
        )
    return network, (*netlist.notes, *notes)


def read_branches(path: Path) -> Network:
    """Read a table of branches: plus, minus, kind, value and, if wanted, name, lowest, highest.

    kind: tunable, resistor, diode or antiparallel. value: "10 kOhm" or "0.1 mS"; a diode's is "10 nA / 30 mV"
    (saturation current / emission voltage). lowest, highest: a tunable branch's bounds, written in the same unit as
    the value. Raises FileError with the line.
    """
    rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True, skipinitialspace=True)
    branches: list[Branch] = []
    lines: dict[str, int] = {}
    first = 1  # line where the row begins: a quoted cell may run over several
    try:
        header = [name.strip() for name in next(rows, [])]
        _check_header(path, header)
        first = rows.line_num + 1
        for row in rows:
            if any(cell.strip() for cell in row):
                branches.append(_branch(path, first, header, row))
                name = branches[-1].name
                if name in lines:
                    message = f'branch name "{cut(name)}" stands in line {lines[name]} already; give each its own'
                    raise FileError(path, message, first)
                lines[name] = first
            if len(branches) > _MOST_BRANCHES:
                raise FileError(path, f"holds more than {_MOST_BRANCHES} branches", first)
            first = rows.line_num + 1
    except csv.Error as error:
        raise FileError(path, f"is not a valid CSV table: {error}{quote_hint(error)}", first) from None
    if not branches:
        raise FileError(path, "lists no branch", 1)
    nodes = dict.fromkeys(node for branch in branches for node in (branch.plus, branch.minus) if node != GROUND)
    if len(nodes) * len(branches) > _LARGEST_INCIDENCE:
        raise FileError(path, f"{len(nodes)} nodes and {len(branches)} branches are more than can be handled")
    try:
        return Network(tuple(nodes), tuple(branches))
    except NetworkError as error:
        raise FileError(path, str(error), lines.get(error.branch or "")) from None


def quote_hint(error: csv.Error) -> str:
    """Say what to do about a CSV error that speaks of quotes, or of the end."""
    if "unexpected end" in str(error):
        return "; a quote that opens here is never closed"
    return '; inside quotes a quote is written twice ("")' if "expected after" in str(error) else ""


def _check_header(path: Path, header: Sequence[str]) -> None:
    if len(header) == 1 and ";" in header[0]:
        raise FileError(path, "its columns are separated by semicolons; separate them by commas", 1)
    for number, name in enumerate(header):
        if name not in _COLUMNS:
            message = f'unknown column "{cut(name)}".{nearest(name, _COLUMNS)} Allowed: {", ".join(_COLUMNS)}'
            raise FileError(path, message, 1)
        if name in header[:number]:
            raise FileError(path, f'two columns are named "{name}"', 1)
    for name in _NEEDED:
        if name not in header:
            raise FileError(path, f'column "{name}" is missing; needed are {", ".join(_NEEDED)}', 1)


def _branch(path: Path, line: int, header: Sequence[str], row: Sequence[str]) -> Branch:
    if len(row) != len(header):
        raise FileError(path, f"this row has {len(row)} fields, the header has {len(header)}", line)
    cell = {name: value.strip() for name, value in zip(header, row, strict=True)}
    name = cell.get("name") or f"{cell['plus']}-{cell['minus']}"
    try:
        _check_ends(cell)
        if cell["kind"] not in _KINDS:
            allowed = f"allowed: {', '.join(_KINDS)}.{nearest(cell['kind'], _KINDS)}"
            raise ValueError(f'kind is "{cut(cell["kind"])}"; {allowed}')
        if _KINDS[cell["kind"]] == "resistor":
            return _resistor(name, cell)
        theta = _diode(cell)
    except ValueError as error:
        raise FileError(path, f'branch "{cut(name)}": {error}', line) from None
    return Branch(name, cell["plus"], cell["minus"], ELEMENTS[_KINDS[cell["kind"]]], theta)


def _check_ends(cell: Mapping[str, str]) -> None:
    for column in ("plus", "minus"):
        node = cell[column]
        if not node:
            raise ValueError(f'column "{column}" is empty; the name of a node is wanted, or {GROUND}')
        if not node.isprintable():
            raise ValueError(f'column "{column}" holds {node[:40]!a}; the name of a node is printable text')
        if node.lower() in _LIKE_GROUND and node != GROUND:
            raise ValueError(f'column "{column}" is "{node}"; the node at 0 V is written "{GROUND}"')


def _diode(cell: Mapping[str, str]) -> tuple[float, float]:
    for column in ("lowest", "highest"):
        if cell.get(column):
            raise ValueError(f'column "{column}" is "{cut(cell[column])}"; only a tunable branch has bounds')
    current, stroke, voltage = cell["value"].partition("/")
    if not stroke:
        raise ValueError(
            f'value is "{cut(cell["value"])}"; a {cell["kind"]} takes saturation current / emission voltage, '
            'such as "10 nA / 30 mV"'
        )
    theta = parse_quantity(current, "A")[0], parse_quantity(voltage, "V")[0]
    if min(theta) <= 0:
        raise ValueError(f'value is "{cut(cell["value"])}"; both the current and the voltage must be above 0')
    return theta


def _resistor(name: str, cell: Mapping[str, str]) -> Branch:
    tunable = cell["kind"] == "tunable"
    value, unit = _above_zero("value", cell, "S", "Ohm")
    bounds: list[float | None] = [None, None]
    for place, column in enumerate(("lowest", "highest")):
        if not cell.get(column):
            continue
        if not tunable:
            raise ValueError(f'column "{column}" is "{cut(cell[column])}"; only a tunable branch has bounds')
        bounds[place], other = _above_zero(column, cell, "S", "Ohm")
        if other != unit:
            raise ValueError(f"{column} is {cell[column]}, the value is {cell['value']}; give both in {unit}")
    low, high = bounds
    if low is not None and high is not None and low >= high:
        raise ValueError(f"lowest {cell['lowest']} is not below highest {cell['highest']}; are they swapped?")
    if (low is not None and value < low) or (high is not None and value > high):
        limits = f"{cell.get('lowest') or 'anything'} to {cell.get('highest') or 'anything'}"
        raise ValueError(f"value {cell['value']} lies outside its bounds, {limits}")
    if unit == "Ohm":
        value, low, high = 1 / value, high and 1 / high, low and 1 / low
    return Branch(name, cell["plus"], cell["minus"], ELEMENTS["resistor"], (value,), tunable, low, high)


def _above_zero(column: str, cell: Mapping[str, str], *units: str) -> tuple[float, str]:
    """Read a cell whose unit must be written: 10000 alone might be siemens or ohms."""
    number, unit = parse_quantity(cell[column], *units, bare=False)
    if number <= 0:
        raise ValueError(f"{column} is {cell[column]}; it must be above 0")
    if not math.isfinite(1 / number):
        raise ValueError(f"{column} is {cell[column]}; that is too near to 0")
    return number, unit
