"""Which virtual instrument stands in for which driver of a wired bench file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from freqprop_lab.config import Document, Section, validate
from simulated_bench.lab import DaqSimulation
from simulated_bench.servers._virtual import VirtualInstrument, Wires
from simulated_bench.servers.keysight_33500b import VirtualKeysight33500B
from simulated_bench.servers.nidaqmx import NidaqmxServer
from simulated_bench.servers.resistor_board import VirtualResistorBoard
from simulated_bench.servers.rigol_scope import VirtualRigolScope

if TYPE_CHECKING:
    from simulated_bench.lab import Factory, VirtualLab


class GeneratorSimulation(Section):
    """What the virtual generator is like."""

    channels: int = Field(2, ge=1, le=2)


class BoardSimulation(Section):
    """What the virtual board is like. twin: the board in Python, or its real firmware in a simulator (Linux)."""

    twin: Literal["python", "firmware"] = "python"


class NothingToSay(Section):
    """An instrument of which nothing can be set."""


def _daq(lab: VirtualLab, name: str, data: dict[str, Any], wires: Wires, options: Document) -> VirtualInstrument:
    simulated = validate(options, DaqSimulation)
    resource = str(data.get("resource", ""))
    return NidaqmxServer(
        name,
        lab.world,
        wires,
        device=resource.rsplit("/", 1)[-1] or "Dev1",
        n_ao=simulated.n_ao,
        n_ai=simulated.n_ai,
        range=simulated.range,
        ao_bits=simulated.ao_bits,
        ai_bits=simulated.ai_bits,
        multiplexed=simulated.multiplexed,
        port=simulated.port or _port(resource, r"^grpc://[^:/]+:(\d+)/"),
        noise=simulated.noise,
        also=tuple(data.get("also", ())),
    )


def _generator(lab: VirtualLab, name: str, data: dict[str, Any], wires: Wires, options: Document) -> VirtualInstrument:
    del data  # its ports are drawn
    return VirtualKeysight33500B(name, lab.world, wires, validate(options, GeneratorSimulation).channels)


def _scope(lab: VirtualLab, name: str, data: dict[str, Any], wires: Wires, options: Document) -> VirtualInstrument:
    del data
    validate(options, NothingToSay)
    tied = [one if other == name else other for one, other in lab.model.triggers if name in (one, other)]
    return VirtualRigolScope(name, lab.world, wires, trigger=tied[0] if tied else None)


def _board(lab: VirtualLab, name: str, data: dict[str, Any], wires: Wires, options: Document) -> VirtualInstrument:
    validate(options, BoardSimulation)
    return VirtualResistorBoard(name, lab.world, wires, port=_port(str(data.get("resource", "")), r":(\d+)$"))


def _port(resource: str, pattern: str) -> int:
    """Return the port that a resource line asks for; 0 lets the system choose."""
    found = re.search(pattern, resource)
    return int(found.group(1)) if found else 0


FACTORIES: dict[str, Factory] = {
    "nidaqmx": _daq,
    "keysight-33500b": _generator,
    "rigol-scope": _scope,
    "resistor-board": _board,
}
