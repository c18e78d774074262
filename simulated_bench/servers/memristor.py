"""A virtual memristor programmer, written from docs/how-to/memristors.md, and the devices behind it.

The numbers of the devices are those of a model fitted to measured Knowm parts (galaguna/Stochastic_GMMS, after
Ostrovskii et al., Nanomaterials 12, 63); how fast they move above their thresholds is our choice. What the bench drives
through the network does not move them here, as it would on a table.
"""

from __future__ import annotations

import binascii
import math
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulated_bench.servers._serial_line import SerialLine
from simulated_bench.servers._virtual import Faults, VirtualInstrument, Wires
from simulated_bench.world import World

_IDENT, _PULSE, _READ, _SAFE, _COUNT = range(0x20, 0x25)
_OK, _UNKNOWN, _LENGTH, _CHANNEL, _VALUE = 0, 1, 2, 3, 5
_LONGEST = 64  # bytes of a frame
_LARGEST = 1500  # mV
_RELEASE = 0.5  # s of silence after which the board disconnects from the elements
_READ_WIDTH = 50e-6  # s


@dataclass
class Memristor:
    """One device. share: of it that is on, 0 to 1, so conductance = lowest + share (highest - lowest), S.

    A voltage above the on-threshold (V, another one each time) switches a share of what is off on; one below the
    off-threshold switches a share of what is on off. time: s, and steepness: V, of an exponential rate. The draws end
    at 2.5 deviations (the far tail of the off-threshold: 8), so 0.1 V of the on polarity moves nothing.
    """

    share: float
    lowest: float = 1 / 460e3
    highest: float = 1 / 13e3
    on: float = 0.2
    on_spread: float = 0.035
    off: float = -0.1
    off_spread: float = 0.013
    steepness: float = 0.1
    time: float = 25e-3

    @property
    def conductance(self) -> float:
        """The true conductance, S."""
        return self.lowest + self.share * (self.highest - self.lowest)

    def apply(self, volts: float, width: float, rng: np.random.Generator) -> None:
        """Let a voltage act for `width` seconds."""
        if volts > 0:
            beyond = volts - self.on - self.on_spread * float(np.clip(rng.standard_normal(), -2.5, 2.5))
            self.share += (1 - self.share) * self._moved(beyond, width)
        elif volts < 0:
            beyond = self.off - volts - self.off_spread * float(np.clip(rng.standard_t(3), -2.5, 8.0))
            self.share -= self.share * self._moved(beyond, width)

    def _moved(self, beyond: float, width: float) -> float:
        if beyond <= 0:
            return 0.0
        return -math.expm1(-math.expm1(beyond / self.steepness) * width / self.time)


@dataclass(frozen=True)
class Applied:
    """A pulse as the element saw it: V, s, and the current at its beginning, A."""

    element: int
    volts: float
    width: float
    current: float


class VirtualMemristorBoard(VirtualInstrument):
    """A programmer with n_elements on a serial line.

    Each device begins at what its branch of the world has, brought into the range of the device.
    """

    def __init__(
        self,
        name: str,
        world: World,
        wires: Wires,
        *,
        n_elements: int | None = None,
        serial: int = 0x3E3,
        port: int = 0,
    ) -> None:
        self.name, self.world, self.wires, self.faults = name, world, wires, Faults()
        n_elements = n_elements or max((int(each) for each in wires.tunes), default=0) + 1
        self.devices = [self._device(str(element)) for element in range(n_elements)]
        self.counts = [0] * n_elements
        self.applied: list[Applied] = []
        self.connected: int | None = None
        self._serial, self._port = serial, port
        self._lock = threading.RLock()
        self._line: SerialLine | None = None
        self._frame = bytearray()
        self._last: tuple[int, int] | None = None
        self._reply = b""
        self._heard_at = time.monotonic()
        for element in range(n_elements):
            self._show(element)

    @property
    def conductances(self) -> list[float]:
        """The true conductances of the devices, S, for whoever looks behind the board's back."""
        with self._lock:
            return [device.conductance for device in self.devices]

    def start(self) -> list[str]:
        """Listen; the TCP port first, then the pseudo-terminal where the system has one."""
        self._line = SerialLine(self._heard, lambda: None, self._tick, self.faults, self._port)
        self._line.start()
        return self._line.resources

    def stop(self) -> None:
        """Stop listening and end the threads."""
        line, self._line = self._line, None
        if line is not None:
            line.stop()

    def _device(self, element: str) -> Memristor:
        device, branch = Memristor(share=0.1), self.wires.tunes.get(element)
        if branch is not None:
            begins = self.world.conductance(branch)
            device.share = float(np.clip((begins - device.lowest) / (device.highest - device.lowest), 0.0, 1.0))
        return device

    def _show(self, element: int) -> None:
        branch = self.wires.tunes.get(str(element))
        if branch is not None:
            self.world.program({branch: self.devices[element].conductance})

    def _tick(self) -> None:
        with self._lock:
            if time.monotonic() - self._heard_at > _RELEASE:
                self.connected = None

    def _heard(self, data: bytes) -> None:
        for byte in data:
            if byte:
                self._frame.append(byte)
                del self._frame[:-_LONGEST]
                continue
            frame, self._frame = bytes(self._frame), bytearray()
            with self._lock:
                reply = self._answer(_unstuffed(frame))
            if reply is not None and self._line is not None:
                self._line.reply(reply)

    def _answer(self, message: bytes | None) -> bytes | None:
        if message is None or len(message) < 4 or binascii.crc_hqx(message, 0xFFFF) != 0:
            return None
        self._heard_at = time.monotonic()
        key = message[1], int.from_bytes(message[-2:], "big")
        if key != self._last:  # a repeated request gets its reply again, and no second pulse
            status, told = self._execute(message[0], message[2:-2])
            reply = bytes([message[0] | 0x80, message[1], status]) + told
            self._last = key
            self._reply = _stuffed(reply + binascii.crc_hqx(reply, 0xFFFF).to_bytes(2, "big")) + b"\0"
        return self._reply

    def _execute(self, op: int, payload: bytes) -> tuple[int, bytes]:
        handlers: dict[int, tuple[str, Callable[..., tuple[int, bytes]]]] = {
            _IDENT: (">", self._identify),
            _PULSE: (">HhH", self._pulse),
            _READ: (">HH", self._read),
            _SAFE: (">", self._release),
            _COUNT: (">H", lambda element: (_OK, struct.pack(">I", self.counts[element]))),
        }
        if op not in handlers:
            return _UNKNOWN, b"\0\0"
        layout, handle = handlers[op]
        if struct.calcsize(layout) != len(payload):
            return _LENGTH, b"\0\0"
        fields = struct.unpack(layout, payload)
        if fields and fields[0] >= len(self.devices):
            return _CHANNEL, struct.pack(">H", len(self.devices))
        return handle(*fields)

    def _identify(self) -> tuple[int, bytes]:
        return _OK, struct.pack(">BHIBBH", 1, len(self.devices), self._serial, 0, 1, _LARGEST)

    def _pulse(self, element: int, millivolts: int, width: int) -> tuple[int, bytes]:
        if abs(millivolts) > _LARGEST or width == 0:
            return _VALUE, struct.pack(">H", _LARGEST)
        volts, self.connected = millivolts / 1000, element
        current = abs(volts) * self.devices[element].conductance
        self.applied.append(Applied(element, volts, width * 1e-6, current))
        self.counts[element] += 1
        self._act(element, volts, width * 1e-6)
        return _OK, struct.pack(">I", self.counts[element])

    def _read(self, element: int, millivolts: int) -> tuple[int, bytes]:
        if millivolts > _LARGEST:
            return _VALUE, struct.pack(">H", _LARGEST)
        self.connected = element
        told = round(self.devices[element].conductance * 1e9)
        self._act(element, millivolts / 1000, _READ_WIDTH)
        return _OK, struct.pack(">I", told)

    def _release(self) -> tuple[int, bytes]:
        self.connected = None
        return _OK, struct.pack(">H", len(self.devices))

    def _act(self, element: int, volts: float, width: float) -> None:
        if not self.faults.stuck(str(element)):
            self.devices[element].apply(volts, width, self.world.rng)
            self._show(element)


def _stuffed(message: bytes) -> bytes:
    """Return the COBS of fewer than 254 bytes."""
    return b"".join(bytes([len(run) + 1]) + run for run in message.split(b"\0"))


def _unstuffed(frame: bytes) -> bytes | None:
    """Return what a COBS frame holds; None where its lengths do not add up."""
    runs, place = [], 0
    while place < len(frame):
        end = place + frame[place]
        if end > len(frame):
            return None
        runs.append(frame[place + 1 : end])
        place = end
    return b"\0".join(runs)
