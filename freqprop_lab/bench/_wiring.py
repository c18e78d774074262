"""How instruments are wired to a network: plain data, channel by channel. It knows no bench and opens nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.bench._legs import input_legs, nudge_legs
from freqprop_lab.config import BenchFile
from freqprop_lab.instruments import Meter, Source, TunableResistor
from freqprop_lab.network import Network
from freqprop_lab.values import Array

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Lead:
    """One source channel's wires: from node `minus` to node `plus` (numbers, -1: ground).

    A voltage behind a series resistance (Ohm, 0: stiff), or a current into `plus`. name: as the bench file has the
    channel, such as `daq/ao0`.
    """

    name: str
    plus: int
    minus: int
    kind: Literal["voltage", "current"]
    resistance: float = 0.0

    @property
    def unit(self) -> str:
        """Unit of its levels and amplitudes."""
        return "V" if self.kind == "voltage" else "A"

    @property
    def is_stiff(self) -> bool:
        """Whether it holds its node, whatever flows."""
        return self.kind == "voltage" and not self.resistance

    @property
    def is_behind_resistor(self) -> bool:
        """Whether it is a voltage with a series resistor."""
        return self.kind == "voltage" and self.resistance > 0


@dataclass(frozen=True)
class SourceWiring:
    """How one source's channels (rows) reach the ports (columns).

    from_inputs: (channel, input), channel value per unit of input level. from_outputs: (channel, output), channel
    amplitude per ampere of nudge. rest: (channel,), value with all levels at zero; NaN is a released channel.
    clamp: channels that hold output nodes when the nudge is clamped, the nodes they hold, and (channel of clamp,
    output) amplitudes per volt. leads: (channel,), where each is wired; empty where nobody said.
    """

    source: Source
    from_inputs: Array
    from_outputs: Array
    rest: Array
    clamp: tuple[Indices, Indices, Array] | None = None
    leads: tuple[Lead, ...] = ()


@dataclass(frozen=True)
class MeterWiring:
    """Which node each channel of a meter reads, (channel,); a node is read by one channel at most.

    names: of the channels, as the bench file has them, such as `daq/ai0`; by number where nobody said.
    """

    meter: Meter
    nodes: Indices
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Give numbers to channels without names."""
        if not self.names:
            object.__setattr__(self, "names", _numbered(self.meter.name, len(self.nodes)))


@dataclass(frozen=True)
class ResistorWiring:
    """Which tunable branch each element of a resistor instrument is, (element,), by its number among the tunable.

    names: of the elements, as the bench file has them, such as `board/3`; by number where nobody said.
    """

    resistor: TunableResistor
    branches: Indices
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Give numbers to elements without names."""
        if not self.names:
            object.__setattr__(self, "names", _numbered(self.resistor.name, len(self.branches)))


@dataclass(frozen=True)
class WiringRow:
    """One channel as a person would read it off the bench: where it goes, what it does, how far it may go."""

    instrument: str
    channel: int
    node: str
    does: str
    limits: str


def leads(network: Network, model: BenchFile, drives: Sequence[tuple[str, int]]) -> tuple[Lead, ...]:
    """Return the leads of ground-referred channels, given by name and node: as its port is driven, or stiff.

    Raises nothing: a channel at a node of no port is a stiff voltage there.
    """
    kinds: dict[int, tuple[Literal["voltage", "current"], float]] = {}
    for section, legs in ((model.inputs, input_legs(network, model)), (model.nudge, nudge_legs(network, model))):
        kind: Literal["voltage", "current"] = "current" if section.source == "current" else "voltage"
        kinds |= {leg.node: (kind, section.resistance or 0.0) for leg in legs}
    return tuple(Lead(name, node, -1, *kinds.get(node, ("voltage", 0.0))) for name, node in drives)


def _numbered(instrument: str, count: int) -> tuple[str, ...]:
    return tuple(f"{instrument}/{number}" for number in range(count))
