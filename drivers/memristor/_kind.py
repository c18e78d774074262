"""The programmer's section of a bench file, and how it is opened."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from drivers.memristor._programmer import MemristorBoard, MemristorSettings
from freqprop_lab.bench import ChannelUse, InstrumentKind, Roles
from freqprop_lab.config import Amperes, Seconds, Section, Siemens, Volts

Pulse = Annotated[Volts, Field(gt=0, le=10)]


class MemristorSection(Section):
    """The programmer's fields.

    resource: /dev/ttyACM0, COM3, socket://127.0.0.1:PORT. timeout: of one reply. boot_wait: for the first answer.
    read_voltage: below threshold, from which on a voltage rewrites the weight. first_pulse, step, largest_pulse, width:
    the amplitudes of a ramp of pulses, and how long one lasts. tolerance: relative. most_pulses: of one element in one
    programming. compliance: what pulse times conductance may be when the pulse begins. lowest, highest: between which
    every wish is brought. life_pulses: of one element, ever.
    """

    driver: Literal["memristor-board"]
    resource: str = Field(min_length=1)
    baud: int = Field(default=500_000, ge=1200, le=4_000_000)
    timeout: Annotated[Seconds, Field(gt=0, le=10)] = 0.3
    boot_wait: Annotated[Seconds, Field(gt=0, le=60)] = 3.0
    read_voltage: Annotated[Volts, Field(ge=0.001, le=10)] = 0.1
    threshold: Pulse = 0.11
    first_pulse: Pulse = 0.25
    step: Annotated[Volts, Field(ge=0.001, le=10)] = 0.02
    largest_pulse: Pulse = 1.0
    width: Annotated[Seconds, Field(ge=1e-6, le=65e-3)] = 50e-6
    tolerance: float = Field(default=0.05, gt=0, lt=1)
    most_pulses: int = Field(default=200, ge=1, le=100_000)
    compliance: Annotated[Amperes, Field(gt=0, le=1e-3)] = 50e-6
    lowest: Annotated[Siemens, Field(gt=0)] = 1 / 400e3
    highest: Annotated[Siemens, Field(gt=0, le=1)] = 1 / 20e3
    life_pulses: int = Field(default=1_000_000, ge=1, lt=2**32)


class MemristorKind(InstrumentKind):
    """The entry point `memristor-board`. Its elements are `0` to `n - 1`."""

    model = MemristorSection
    library, extra = "serial", "serial"

    def open(self, name: str, settings: MemristorSection, use: ChannelUse) -> Roles:
        """Open the programmer for the elements that are used; the others get no pulse."""
        if use.drives or use.reads:
            raise ValueError("a memristor programmer drives and reads no nodes; list its elements under wiring.tunes")
        if not use.tunes:
            return Roles()
        wanted = MemristorSettings(**settings.model_dump(exclude={"driver"}))
        return Roles(resistors=MemristorBoard(name, wanted, use.tunes))

    def all_channels(self, settings: Any) -> ChannelUse:  # noqa: ARG002 - how many there are, only the board knows
        """Return one element, which every board has: to make one safe is to disconnect the programmer."""
        return ChannelUse(tunes=("0",))


MEMRISTOR_BOARD = MemristorKind()
