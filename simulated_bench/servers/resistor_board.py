"""A virtual resistor board on a TCP port and a pseudo-terminal: the firmware's twin, its wipers in the world."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from simulated_bench.servers._board_twin import RESET_LINE, Bank, BoardTwin
from simulated_bench.servers._serial_line import SerialLine
from simulated_bench.servers._virtual import Faults, VirtualInstrument, Wires
from simulated_bench.wipers import Shapes
from simulated_bench.world import World

__all__ = ["Bank", "VirtualResistorBoard", "Wipers"]

_STEPS = 256


class Wipers:
    """The potentiometers as they truly are: from a channel's code to the conductance of the branch it is wired to.

    true: end-to-end and wiper resistance, Ohm, by bank; None: those that the board tells. tolerance: relative standard
    deviation of each element's end-to-end resistance, drawn from the world's generator. rising: the resistance grows
    with the code (wiper and B are wired). shapes: bends, wipers and wires of the channels. Of a fault the chips know
    nothing: they read back what they were sent.
    """

    def __init__(
        self,
        world: World,
        wires: Wires,
        banks: Sequence[Bank],
        faults: Faults,
        *,
        true: Sequence[tuple[float, float]] | None = None,
        tolerance: float = 0.0,
        rising: bool = True,
        shapes: Shapes | None = None,
    ) -> None:
        self._world, self._faults, self._rising = world, faults, rising
        self._branches = {int(element): branch for element, branch in wires.tunes.items()}
        told = true or [(float(bank.end_to_end), float(bank.wiper)) for bank in banks]
        self._parts = [pair for bank, pair in zip(banks, told, strict=True) for _ in range(bank.channels)]
        beyond = [channel for channel in self._branches if channel >= len(self._parts)]
        if beyond:
            raise ValueError(f"element {beyond[0]} is wired; the banks have 0 to {len(self._parts) - 1}")
        spread = world.rng.standard_normal(len(self._parts)) if tolerance else np.zeros(len(self._parts))
        self._factors = np.maximum(1 + tolerance * spread, 0.05)
        self._shapes = shapes
        self._told = [(bank.end_to_end, bank.wiper, bank.taps) for bank in banks for _ in range(bank.channels)]

    def conductance_of(self, channel: int, nominal: float) -> float:
        """Return what the code nearest to a nominal conductance truly gives, S: for tests."""
        end_to_end, wiper, taps = self._told[channel]
        ohms = [wiper + end_to_end * self._share(code) for code in range(taps)]
        code = int(np.abs(1 / np.array(ohms) - nominal).argmin())
        return 1 / self._ohms(channel, code)

    def _share(self, code: int) -> float:
        return (code if self._rising else _STEPS - code) / _STEPS

    def _ohms(self, channel: int, code: int) -> float:
        end_to_end, wiper = self._parts[channel]
        whole, share = end_to_end * self._factors[channel], self._share(code)
        if self._shapes is None:
            return float(wiper + whole * share)
        return float(self._shapes.of(channel).ohms(np.array([share]), whole, wiper)[0])

    def show(self, codes: Sequence[int], channels: range) -> None:
        """Give the world's branches the conductances of these channels' codes; a stuck wiper stays where it is."""
        true = {}
        for channel in channels:
            branch = self._branches.get(channel)
            if branch is not None and not self._faults.stuck(str(channel)):
                true[branch] = 1 / self._ohms(channel, codes[channel])
        if true:
            self._world.program(true)


class VirtualResistorBoard(VirtualInstrument):
    """A board around the world; elements are `0` to n - 1 through the banks.

    banks: as the board tells them; None: enough MCP4251 for `n_channels`, or for the wires. true, tolerance, rising,
    shapes: see `Wipers`. resets_on_connect: opening its TCP port boots it, as DTR does on many boards.
    """

    def __init__(
        self,
        name: str,
        world: World,
        wires: Wires,
        *,
        banks: Sequence[Bank] | None = None,
        n_channels: int | None = None,
        true: Sequence[tuple[float, float]] | None = None,
        tolerance: float = 0.0,
        rising: bool = True,
        resets_on_connect: bool = False,
        serial: int = 1,
        port: int = 0,
        shapes: Shapes | None = None,
    ) -> None:
        self.name, self.faults = name, Faults()
        n_channels = n_channels or max((int(each) for each in wires.tunes), default=0) + 1
        self.banks = list(banks or [Bank("MCP4251", (n_channels + 1) // 2, safe=None if rising else 0)])
        self.wipers = Wipers(
            world, wires, self.banks, self.faults, true=true, tolerance=tolerance, rising=rising, shapes=shapes
        )
        self._resets_on_connect, self._port = resets_on_connect, port
        self._lock = threading.RLock()
        self._line: SerialLine | None = None
        self._board = BoardTwin(self.banks, self.wipers.show, time.monotonic, serial)

    @property
    def codes(self) -> list[int]:
        """The wipers' codes, for whoever looks behind the board's back."""
        with self._lock:
            return list(self._board.codes)

    def start(self) -> list[str]:
        """Listen; the TCP port first, then the pseudo-terminal where the system has one."""
        self._line = SerialLine(self._heard, self._connected, self._tick, self.faults, self._port)
        self._line.start()
        return self._line.resources

    def stop(self) -> None:
        """Stop listening and end the threads."""
        line, self._line = self._line, None
        if line is not None:
            line.stop()

    def reset(self, cause: int = RESET_LINE) -> None:
        """Boot: wipers safe, nothing remembered but what is stored."""
        with self._lock:
            self._board.boot(cause)

    def pull(self) -> None:
        """Pull its cable out."""
        if self._line is not None:
            self._line.pull()

    def _heard(self, data: bytes) -> None:
        with self._lock:
            replies = self._board.hear(data)
        for reply in replies:
            if self._line is not None:
                self._line.reply(reply)

    def _connected(self) -> None:
        if self._resets_on_connect:
            self.reset()

    def _tick(self) -> None:
        with self._lock:
            self._board.tick()
