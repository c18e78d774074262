"""What a netlist comes to once it is read: elements between nodes, in SI units, each with its line in the file."""

from __future__ import annotations

from dataclasses import dataclass

GROUND_NODE = "0"


class NetlistError(ValueError):
    """A netlist that can't be read, or can't be what is asked of it. line: from 1; None where it is the whole's."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Note:
    """What was left out, or read in a way that a person may not expect; line: where it stands."""

    line: int
    text: str


@dataclass(frozen=True)
class DiodeModel:
    """A `.model ... D`. Defaults are SPICE's: saturation A, series Ohm, junction capacitance F, transit s, breakdown V.

    breakdown: V below which the diode conducts backwards, None for never; that law is not followed, only refused.
    """

    name: str
    line: int
    saturation_current: float = 1e-14
    emission: float = 1.0
    series: float = 0.0
    junction_capacitance: float = 0.0
    junction_potential: float = 1.0
    grading: float = 0.5
    depletion: float = 0.5
    transit: float = 0.0
    breakdown: float | None = None
    breakdown_current: float = 1e-3


@dataclass(frozen=True)
class _TwoTerminal:
    """name: as written, `X1.R1` inside a subcircuit. plus, minus: nodes in lower case, "0" for ground."""

    name: str
    plus: str
    minus: str
    line: int


@dataclass(frozen=True)
class Resistor(_TwoTerminal):
    """Ohm, above 0."""

    ohms: float


@dataclass(frozen=True)
class Capacitor(_TwoTerminal):
    """F, at least 0."""

    farads: float


@dataclass(frozen=True)
class Diode(_TwoTerminal):
    """Anode at plus. area: how many such junctions side by side."""

    model: DiodeModel
    area: float = 1.0


@dataclass(frozen=True)
class VoltageSource(_TwoTerminal):
    """V: V(plus) - V(minus); ac: its phasor."""

    volts: float
    ac: complex = 0j


@dataclass(frozen=True)
class CurrentSource(_TwoTerminal):
    """A, from plus through the source to minus, as in SPICE; ac: its phasor."""

    amperes: float
    ac: complex = 0j


Element = Resistor | Capacitor | Diode | VoltageSource | CurrentSource


@dataclass(frozen=True)
class Netlist:
    """A flattened netlist. gmin: S, across every junction. saved: pairs of nodes, of `.save v(a) v(b,c)` and such."""

    title: str
    elements: tuple[Element, ...]
    gmin: float
    saved: tuple[tuple[str, str], ...]
    notes: tuple[Note, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes in the order in which they appear, ground left out."""
        ends = (node for element in self.elements for node in (element.plus, element.minus))
        return tuple(node for node in dict.fromkeys(ends) if node != GROUND_NODE)
