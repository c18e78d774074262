"""From ports to legs: what a ground-referred channel at a node puts out for a level, and for an ampere of nudge."""

from __future__ import annotations

from dataclasses import dataclass

from freqprop_lab.config import BenchFile
from freqprop_lab.network import Network


@dataclass(frozen=True)
class Leg:
    """One channel's part in a port. node: where it is wired; gain: V (or A) per unit of the port; rest: V (or A)."""

    port: int
    node: int
    gain: float
    rest: float


def input_legs(network: Network, model: BenchFile) -> list[Leg]:
    """Return the legs of referred inputs: a voltage is shared about the common mode, a current goes in and out."""
    current = model.inputs.source == "current"
    legs = []
    for port, (plus, minus) in enumerate(zip(*(ends.tolist() for ends in network.input_ends), strict=True)):
        share = 1.0 if current or minus == -1 else 0.5
        rest = 0.0 if current else model.common_mode
        legs += [Leg(port, node, gain, rest) for node, gain in ((plus, share), (minus, -share)) if node >= 0]
    return legs


def nudge_legs(network: Network, model: BenchFile) -> list[Leg]:
    """Return the legs of ground-referred nudges, per ampere: a current, or the volts that drive it through R_s.

    A voltage u behind R is a current u / R and a branch 1 / R: R volts drive one ampere.
    """
    resistance = model.nudge.resistance
    size, rest = (1.0, 0.0) if resistance is None else (resistance, model.common_mode)
    legs = []
    for port, (plus, minus) in enumerate(zip(*(ends.tolist() for ends in network.output_ends), strict=True)):
        legs += [Leg(port, node, sign * size, rest) for node, sign in ((plus, 1.0), (minus, -1.0)) if node >= 0]
    return legs
