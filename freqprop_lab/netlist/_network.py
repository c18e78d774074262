"""From a netlist to a network that is trained: which resistors are tuned, where it is driven and read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from freqprop_lab.elements import ELEMENTS
from freqprop_lab.names import cut, nearest, shown
from freqprop_lab.netlist._elements import (
    GROUND_NODE,
    Capacitor,
    CurrentSource,
    Diode,
    DiodeModel,
    Netlist,
    NetlistError,
    Note,
    Resistor,
    VoltageSource,
)
from freqprop_lab.network import GROUND, Branch, Network, NetworkError, Port

# ngspice's own constants, and its 27 C.
THERMAL_VOLTAGE = 1.38064852e-23 / 1.6021766208e-19 * 300.15
_GROUNDS = (GROUND_NODE, "gnd", GROUND)


def inside_diode(name: str) -> str:
    """Return the node between a diode's series resistance and its junction, called as in ngspice."""
    return f"{name.lower()}#internal"


def to_network(
    netlist: Netlist, tunable: Iterable[str], inputs: Sequence[Port] | None, outputs: Sequence[Port] | None
) -> tuple[Network, tuple[Note, ...]]:
    """Make a network of a netlist, and tell what was left out.

    tunable: patterns (R*, R1, *.R?) of the names of the resistors that are tuned, capitals and small letters alike.
    inputs: where the bench drives; None: at the netlist's voltage sources, in their order. outputs: None: what
    `.save v(a) v(b,c)` and its kin name. A source that is no input is refused: a bench gives constant levels at inputs
    alone. Raises NetlistError with the line.
    """
    notes: list[Note] = []
    given = ports_of(netlist)
    inputs = given[0] if inputs is None else inputs
    outputs = given[1] if outputs is None else outputs
    chosen = _tunable(netlist, list(tunable))
    branches: list[Branch] = []
    for element in netlist.elements:
        if isinstance(element, Resistor):
            ends = _node(element.plus), _node(element.minus)
            theta = (1 / element.ohms,)
            branches.append(Branch(element.name, *ends, ELEMENTS["resistor"], theta, element.name in chosen))
        elif isinstance(element, Diode):
            branches += _diode(element, netlist.gmin)
            notes += _of_model(element.model)
        elif isinstance(element, Capacitor):
            notes.append(Note(element.line, f"{element.name} is left out: a capacitance is the bench file's to give"))
        else:
            notes.append(_driven(element, inputs))
    nodes = dict.fromkeys(node for branch in branches for node in (branch.plus, branch.minus) if node != GROUND)
    lines = {element.name: element.line for element in netlist.elements}
    try:
        return Network(tuple(nodes), tuple(branches), tuple(inputs), tuple(outputs)), tuple(dict.fromkeys(notes))
    except NetworkError as error:
        raise NetlistError(str(error), lines.get(error.branch or "")) from None


def ports_of(netlist: Netlist) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Return the ports that a netlist itself names: its voltage sources, and the voltages that it saves."""
    sources = [element for element in netlist.elements if isinstance(element, VoltageSource)]
    # A source upside down drives the same port: the bench gives the level, not the netlist.
    inputs = [_port(source.plus, source.minus) for source in sources]
    return tuple(inputs), tuple(_port(plus, minus) for plus, minus in netlist.saved)


def port_named(nodes: Sequence[str]) -> Port:
    """Return the port of one or two nodes as a person writes them."""
    return Port(*(_node(node.lower()) for node in nodes))


def _port(plus: str, minus: str) -> Port:
    return Port(_node(minus), GROUND) if plus == GROUND_NODE else Port(_node(plus), _node(minus))


def _node(node: str) -> str:
    return GROUND if node in _GROUNDS else node


def _tunable(netlist: Netlist, patterns: Sequence[str]) -> set[str]:
    resistors = [element.name for element in netlist.elements if isinstance(element, Resistor)]
    chosen: set[str] = set()
    for pattern in patterns:
        # A bracket is no set of letters here: buses are called R[3].
        plain = re.sub(r"\[", "[[]", pattern.lower())
        found = [name for name in resistors if fnmatchcase(name.lower(), plain)]
        if not found:
            listed = f" Its resistors: {shown(resistors)}" if resistors else " It has no resistor"
            message = f'tunable: no resistor is called "{cut(pattern)}".{nearest(pattern, resistors)}{listed}'
            raise NetlistError(message)
        chosen.update(found)
    return chosen


def _diode(diode: Diode, gmin: float) -> list[Branch]:
    model = diode.model
    plus, minus = _node(diode.plus), _node(diode.minus)
    theta = (model.saturation_current * diode.area, model.emission * THERMAL_VOLTAGE, gmin)
    if not model.series:
        return [Branch(diode.name, plus, minus, ELEMENTS["junction"], theta)]
    inside = inside_diode(diode.name)
    return [
        Branch(diode.name, inside, minus, ELEMENTS["junction"], theta),
        Branch(f"{diode.name}#rs", plus, inside, ELEMENTS["resistor"], (diode.area / model.series,)),
    ]


def _of_model(model: DiodeModel) -> list[Note]:
    left_out = ["its capacitance"] if model.junction_capacitance or model.transit else []
    if model.breakdown is not None:
        left_out.append(f"its breakdown at {model.breakdown:g} V")
    return [Note(model.line, f"model {model.name}: {' and '.join(left_out)} is left out")] if left_out else []


def _driven(source: VoltageSource | CurrentSource, inputs: Sequence[Port]) -> Note:
    ends = {_node(source.plus), _node(source.minus)}
    kind, unit, value = (
        ("voltage", "V", source.volts) if isinstance(source, VoltageSource) else ("current", "A", source.amperes)
    )
    for port in inputs:
        if ends == {port.plus, port.minus}:
            return Note(
                source.line, f"{source.name} ({value:g} {unit}) is left out: the bench drives input {port.name}"
            )
    where = _port(source.plus, source.minus).name
    message = (
        f"{source.name} is a {kind} source of {value:g} {unit} at {where}, which is no input; while it trains a bench "
        f"drives inputs alone. Name {where} among the inputs, and give its level as task.inputs.bias, or take it out"
    )
    raise NetlistError(message, source.line)
