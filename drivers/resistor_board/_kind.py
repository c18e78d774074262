"""The board's section of a bench file, and how it is opened."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from drivers.resistor_board._board import BoardSettings, ResistorBoard
from freqprop_lab.bench import ChannelUse, Found, InstrumentKind, Roles
from freqprop_lab.config import Ohms, Seconds, Section


def _listed(value: Any) -> Any:
    """One value stands for all banks."""
    return value if isinstance(value, list) else [value]


PerBank = BeforeValidator(_listed)
Wiring = Literal["A-W", "W-B"]


class ResistorBoardSection(Section):
    """The board's fields.

    resource: /dev/ttyACM0, COM3, socket://127.0.0.1:PORT. timeout: of one reply. keep_alive: after this long without a
    sign of life the board sets all wipers to safe. boot_wait: for an answer after opening, which resets many boards.
    wiring: which two terminals of the potentiometers are used, and so which code is the highest resistance.
    end_to_end, wiper: what was measured, instead of what the board tells. The last three: one value, or a list with one
    for each bank.
    """

    driver: Literal["resistor-board"]
    resource: str = Field(min_length=1)
    baud: int = Field(default=500_000, ge=1200, le=4_000_000)
    timeout: Annotated[Seconds, Field(gt=0, le=10)] = 0.3
    keep_alive: Annotated[Seconds, Field(ge=0.05, le=60)] = 2.0
    boot_wait: Annotated[Seconds, Field(gt=0, le=60)] = 3.0
    wiring: Annotated[list[Wiring], PerBank, Field(min_length=1)] = ["W-B"]
    end_to_end: Annotated[list[Annotated[Ohms, Field(gt=0)]], PerBank, Field(min_length=1)] | None = None
    wiper: Annotated[list[Annotated[Ohms, Field(gt=0)]], PerBank, Field(min_length=1)] | None = None


class ResistorBoardKind(InstrumentKind):
    """The entry point `resistor-board`. Its elements are `0` to `n - 1`, in the order of the board's banks."""

    model = ResistorBoardSection
    library, extra = "serial", "serial"

    def open(self, name: str, settings: ResistorBoardSection, use: ChannelUse) -> Roles:
        """Open the board for the elements that are used; the others stay at their safe code."""
        if use.drives or use.reads:
            raise ValueError("a resistor board drives and reads nothing; list its elements under wiring.tunes")
        if not use.tunes:
            return Roles()
        wanted = BoardSettings(**settings.model_dump(exclude={"driver"}))
        return Roles(resistors=ResistorBoard(name, wanted, use.tunes))

    def all_channels(self, settings: Any) -> ChannelUse:  # noqa: ARG002 - how many there are, only the board knows
        """Return one element, which every board has: to make one safe is to make the board safe."""
        return ChannelUse(tunes=("0",))

    def discover(self, *, network: bool) -> list[Found]:  # noqa: ARG002 - a serial port is on no network
        """List the serial ports that hang on USB; opening one could boot what is behind it, so nobody is asked."""
        try:
            from serial.tools.list_ports import comports  # noqa: PLC0415 - an extra, wanted here only
        except ImportError:
            return []
        return [
            Found(f"{{driver: resistor-board, resource: {port.device}}}", f"serial port: {port.description}")
            for port in comports()
            if port.vid is not None
        ]


RESISTOR_BOARD = ResistorBoardKind()
