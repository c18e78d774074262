"""Which virtual instrument stands in for which driver of a wired bench file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from freqprop_lab.config import Document, Fraction, Ohms, Seconds, Section, Volts, validate
from freqprop_lab.instruments import InstrumentError
from simulated_bench.lab import DaqSimulation
from simulated_bench.servers._board_twin import PARTS, Bank
from simulated_bench.servers._virtual import VirtualInstrument, Wires
from simulated_bench.servers.firmware_board import FirmwareBoard
from simulated_bench.servers.keysight_33500b import VirtualKeysight33500B
from simulated_bench.servers.memristor import VirtualMemristorBoard
from simulated_bench.servers.resistor_board import VirtualResistorBoard
from simulated_bench.servers.rigol_scope import VirtualRigolScope
from simulated_bench.settings import STEEPEST
from simulated_bench.wipers import drawn_shapes

if TYPE_CHECKING:
    from simulated_bench.lab import Factory, VirtualLab


class GeneratorSimulation(Section):
    """What the virtual generator is like. gain_error, offset: standard deviations over channels."""

    channels: int = Field(2, ge=1, le=2)
    gain_error: Annotated[Fraction, Field(ge=0)] = 0.0
    offset: Annotated[Volts, Field(ge=0)] = 0.0


class ScopeSimulation(Section):
    """What the virtual oscilloscope is like: standard deviations over channels; hidden_skew: of an untold lateness."""

    gain_error: Annotated[Fraction, Field(ge=0)] = 0.0
    offset: Annotated[Volts, Field(ge=0)] = 0.0
    hidden_skew: Annotated[Seconds, Field(ge=0)] = 0.0


class BoardSimulation(Section):
    """What the virtual board is like.

    twin: the board in Python, or its real firmware in a simulator (Linux). end_to_end, wiper: as the board tells them.
    tolerance: standard deviation of the true end-to-end resistance. wired: from which end the wiper is used.
    nonlinearity, wiper_spread, wire: as of a numeric bench's resistors.
    """

    twin: Literal["python", "firmware"] = "python"
    part: Literal["MCP4251", "AD5206"] = "MCP4251"
    end_to_end: Annotated[Ohms, Field(gt=0)] = 10_000.0
    wiper: Annotated[Ohms, Field(gt=0)] = 75.0
    tolerance: Annotated[Fraction, Field(ge=0)] = 0.0
    wired: Literal["B-W", "A-W"] = "B-W"
    nonlinearity: Annotated[Fraction, Field(ge=0, le=STEEPEST)] = 0.0
    wiper_spread: Annotated[Fraction, Field(ge=0)] = 0.0
    wire: Annotated[Ohms, Field(ge=0)] = 0.0


class NothingToSay(Section):
    """An instrument of which nothing can be set."""


def _daq(lab: VirtualLab, name: str, data: dict[str, Any], wires: Wires, options: Document) -> VirtualInstrument:
    try:
        from simulated_bench.servers.nidaqmx import NidaqmxServer  # noqa: PLC0415 - needs an extra
    except ImportError as error:
        raise InstrumentError(
            f'the virtual card "{name}" needs an extra that isn\'t installed: pip install "freqprop-lab[nidaq]" '
            f"({error})"
        ) from None
    simulated = validate(options, DaqSimulation)
    lab.err_outputs(name, wires, simulated.ao_gain_error, simulated.ao_offset)
    lab.err_inputs(name, wires, simulated.ai_gain_error, simulated.ai_offset, simulated.hidden_skew)
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
    simulated = validate(options, GeneratorSimulation)
    lab.err_outputs(name, wires, simulated.gain_error, simulated.offset)
    return VirtualKeysight33500B(name, lab.world, wires, simulated.channels)


def _scope(lab: VirtualLab, name: str, data: dict[str, Any], wires: Wires, options: Document) -> VirtualInstrument:
    del data
    simulated = validate(options, ScopeSimulation)
    lab.err_inputs(name, wires, simulated.gain_error, simulated.offset, simulated.hidden_skew)
    tied = [one if other == name else other for one, other in lab.model.triggers if name in (one, other)]
    return VirtualRigolScope(name, lab.world, wires, trigger=tied[0] if tied else None)


def _board(lab: VirtualLab, name: str, data: dict[str, Any], wires: Wires, options: Document) -> VirtualInstrument:
    simulated = validate(options, BoardSimulation)
    n_elements = max((int(element) for element in wires.tunes), default=0) + 1
    chips = -(-n_elements // PARTS[simulated.part].wipers)
    bank = Bank(simulated.part, chips, round(simulated.end_to_end), round(simulated.wiper))
    bends = (simulated.nonlinearity, simulated.wiper_spread, simulated.wire)
    shapes = drawn_shapes(*bends, bank.channels, lab.hidden[name]) if any(bends) else None
    kind = FirmwareBoard if simulated.twin == "firmware" else VirtualResistorBoard
    return kind(
        name,
        lab.world,
        wires,
        banks=[bank],
        tolerance=simulated.tolerance,
        rising=simulated.wired == "B-W",
        shapes=shapes,
        port=_port(str(data.get("resource", "")), r":(\d+)$"),
    )


def _memristors(lab: VirtualLab, name: str, data: dict[str, Any], wires: Wires, options: Document) -> VirtualInstrument:
    validate(options, NothingToSay)
    return VirtualMemristorBoard(name, lab.world, wires, port=_port(str(data.get("resource", "")), r":(\d+)$"))


def _port(resource: str, pattern: str) -> int:
    """Return the port that a resource line asks for; 0 lets the system choose."""
    found = re.search(pattern, resource)
    return int(found.group(1)) if found else 0


FACTORIES: dict[str, Factory] = {
    "nidaqmx": _daq,
    "keysight-33500b": _generator,
    "rigol-scope": _scope,
    "resistor-board": _board,
    "memristor-board": _memristors,
}
