"""Memristors as a TunableResistor: pulse, read, and pulse again until the conductance is near enough.

The loop is that of Alibart et al., Nanotechnology 23, 075201 (2012): polarity from the sign of what is missing, an
amplitude that grows a step a pulse and starts again when the sign turns. The protocol: docs/how-to/memristors.md.
"""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import cast

import numpy as np

from drivers.resistor_board._frames import Op as BoardOp
from drivers.resistor_board._frames import Status
from drivers.resistor_board._link import SerialLink
from freqprop_lab.instruments import (
    Ability,
    ConnectionLostError,
    Identity,
    InstrumentError,
    LimitError,
    ProtocolError,
    ResistorLimits,
    TimeLimitError,
    TunableResistor,
)
from freqprop_lab.names import nearest
from freqprop_lab.values import Array

PROTOCOL = 1
_IDENT = struct.Struct(">BHIBBH")  # protocol, elements, serial number, firmware major and minor, largest pulse in mV
_NANO = 1e-9  # S: what READ counts in
_PATIENCE = 1.0  # s; how long make_safe waits for the line


class Op(IntEnum):
    """What a request asks."""

    IDENT = 0x20
    PULSE = 0x21
    READ = 0x22
    SAFE = 0x23
    COUNT = 0x24


@dataclass(frozen=True)
class MemristorSettings:
    """What the driver needs of the bench file's section; V, s, A, S. See `MemristorSection` for what each means."""

    resource: str
    baud: int = 500_000
    timeout: float = 0.3
    boot_wait: float = 3.0
    read_voltage: float = 0.1
    threshold: float = 0.11
    first_pulse: float = 0.25
    step: float = 0.02
    largest_pulse: float = 1.0
    width: float = 50e-6
    tolerance: float = 0.05
    most_pulses: int = 200
    compliance: float = 50e-6
    lowest: float = 1 / 400e3
    highest: float = 1 / 20e3
    life_pulses: int = 1_000_000


class MemristorBoard(TunableResistor):
    """The elements `names` behind a programmer, in this order. Opens the connection.

    Raises LimitError for settings that would rewrite what they read, ConnectionLostError where nobody answers.
    """

    clock = "programmer"
    abilities = frozenset({Ability.READ_BACK})
    stays = True

    def __init__(self, name: str, settings: MemristorSettings, names: Sequence[str]) -> None:
        _refuse_what_rewrites(name, settings)
        self.name, self._settings = name, settings
        self._lock = threading.RLock()
        self._closed = False
        self._link = SerialLink(name, settings.resource, settings.baud, settings.timeout)
        try:
            self._serial, self._firmware, known, self._hardware_limit = self._connect()
            self._channels = _channels(names, known)
            self._refuse_what_it_cannot()
            self.n_elements = len(self._channels)
            self._pulses = self._count()
        except BaseException:
            self._link.close()
            raise
        self._in_step = True
        ends = np.full(self.n_elements, settings.lowest), np.full(self.n_elements, settings.highest)
        self.limits = ResistorLimits(*ends)

    @property
    def pulses(self) -> list[int]:
        """The pulses that each element got in its life, as the board last told."""
        with self._lock:
            return list(self._pulses)

    def identify(self) -> Identity:
        """Ask the board; raises ConnectionLostError where it is another one."""
        with self._lock:
            self._get_in_step()
            self._check_same(self._parse_ident(self._ask(Op.IDENT, length=_IDENT.size))[0])
        model = f"memristor programmer: {self.n_elements} elements used"
        return Identity("freqprop-lab", model, f"{self._serial:08X}", self._firmware)

    def program(self, conductances: Array) -> Array:
        """Pulse and read until each is within `tolerance`, S; return what was reached, near or not.

        A wish beyond the limits is brought to the nearer end first. An element ends where it is when `most_pulses`,
        its life, or the compliance allow no further pulse. Raises LimitError for NaN, and where an element that needs
        a pulse has had all of its life, before any pulse.
        """
        wished = self._checked(conductances)
        with self._at_work():
            held = [self._measure(element) for element in range(self.n_elements)]
            self._refuse_the_worn(held, wished)
            return np.array([self._tune(element, wished[element], held[element]) for element in range(self.n_elements)])

    def read(self) -> Array:
        """Measure all elements at the read voltage, S."""
        with self._at_work():
            return np.array([self._measure(element) for element in range(self.n_elements)])

    def make_safe(self) -> None:
        """Disconnect the programmer; the weights stay. Where that can't be said, the board does it after 0.5 s."""
        if not self._lock.acquire(timeout=_PATIENCE):
            return
        try:
            self._release()
        finally:
            self._lock.release()

    def close(self) -> None:
        """Disconnect, and give the port back; the weights stay."""
        with self._lock:
            if not self._closed:
                self._release()
                self._closed = True
                self._link.close()

    def _tune(self, element: int, wish: float, held: float) -> float:
        """Program and verify one element; return the conductance that was read last, S."""
        volts, last = 0.0, 0.0
        for _ in range(min(self._settings.most_pulses, self._settings.life_pulses - self._pulses[element])):
            if self._near(held, wish):
                break
            sign = math.copysign(1.0, wish - held)
            volts = self._capped(volts + self._settings.step if sign == last else self._settings.first_pulse, held)
            if volts <= self._settings.threshold:
                break  # the compliance leaves no pulse that would move anything
            self._pulse(element, sign * volts)
            held, last = self._measure(element), sign
        return held

    def _capped(self, volts: float, held: float) -> float:
        """Return an amplitude that exceeds neither cap at this conductance, in whole millivolts rounded down."""
        allowed = self._settings.compliance / (held + _NANO)  # READ rounds to a nanosiemens
        return math.floor(min(volts, self._settings.largest_pulse, allowed) * 1000 + 1e-6) / 1000

    def _near(self, held: float, wish: float) -> bool:
        return abs(held / wish - 1) < self._settings.tolerance

    def _pulse(self, element: int, volts: float) -> None:
        width = round(self._settings.width * 1e6)
        told = self._ask(Op.PULSE, struct.pack(">HhH", self._channels[element], round(volts * 1000), width), 4)
        self._pulses[element] = int.from_bytes(told, "big")

    def _measure(self, element: int) -> float:
        millivolts = round(self._settings.read_voltage * 1000)
        told = self._ask(Op.READ, struct.pack(">HH", self._channels[element], millivolts), 4)
        return int.from_bytes(told, "big") * _NANO

    def _count(self) -> list[int]:
        asked = [struct.pack(">H", channel) for channel in self._channels]
        return [int.from_bytes(self._ask(Op.COUNT, payload, 4), "big") for payload in asked]

    def _checked(self, conductances: Array) -> Array:
        wished = np.asarray(conductances, dtype=np.float64)
        if wished.shape != (self.n_elements,):
            raise LimitError(
                f'board "{self.name}": {wished.shape} conductances asked for {self.n_elements} elements. '
                "Nothing was sent. Give one for each"
            )
        if np.isnan(wished).any():
            element = int(np.isnan(wished).argmax())
            raise LimitError(
                f'board "{self.name}", element {element} (channel {self._channels[element]}): nan S asked. '
                "Nothing was sent. Look at the update that led there; a smaller alpha or gamma may help"
            )
        return np.clip(wished, self._settings.lowest, self._settings.highest)

    def _refuse_the_worn(self, held: list[float], wished: Array) -> None:
        for element, (now, wish) in enumerate(zip(held, wished, strict=True)):
            if self._pulses[element] >= self._settings.life_pulses and not self._near(now, wish):
                raise LimitError(
                    f'board "{self.name}", element {element} (channel {self._channels[element]}): {wish:.4g} S asked, '
                    f"it holds {now:.4g} S and has had {self._pulses[element]} pulses, life_pulses allows "
                    f"{self._settings.life_pulses}. No pulse was sent. Replace the part, or raise life_pulses if its "
                    "data sheet allows it"
                )

    def _refuse_what_it_cannot(self) -> None:
        if self._settings.largest_pulse > self._hardware_limit:
            raise LimitError(
                f'board "{self.name}": largest_pulse is {self._settings.largest_pulse:g} V, the board gives at most '
                f"{self._hardware_limit:g} V. No pulse was sent. Lower largest_pulse"
            )

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Hold the line; the elements go back to the network at the end, whatever happened."""
        with self._lock:
            self._get_in_step()
            try:
                yield
            except BaseException:
                self._release()
                raise
            self._ask(Op.SAFE)

    def _release(self) -> None:
        if self._link.is_open:
            with suppress(InstrumentError):  # the board disconnects by itself
                self._link.ask(cast("BoardOp", Op.SAFE), tries=2)

    def _get_in_step(self) -> None:
        """Connect anew after a fault, and ask for the counts: nobody knows whether a lost pulse arrived."""
        if self._closed:
            raise ConnectionLostError(f'board "{self.name}" is closed; open the bench again')
        if not self._in_step:
            self._check_same(self._connect()[0])
            self._pulses = self._count()
            self._in_step = True

    def _connect(self) -> tuple[int, str, int, float]:
        """Open the port and wait for an answer: many boards boot when their port is opened."""
        self._in_step = False
        self._link.close()
        self._link.open()
        for _ in range(max(1, round(self._settings.boot_wait / self._settings.timeout))):
            try:
                return self._parse_ident(self._ask(Op.IDENT, length=_IDENT.size, tries=1))
            except TimeLimitError:
                continue
        self._link.close()
        raise ConnectionLostError(
            f'board "{self.name}" ({self._settings.resource}): nobody answers as a memristor programmer within '
            f"{self._settings.boot_wait:g} s. Look whether it is the right port, and its baud rate is "
            f"{self._settings.baud}"
        )

    def _check_same(self, serial: int) -> None:
        if serial != self._serial:
            self._link.close()
            self._in_step = False
            raise ConnectionLostError(
                f'board "{self.name}" ({self._settings.resource}): another board answers, number {serial:08X} instead '
                f"of {self._serial:08X}. Nothing was programmed. Plug the first one in, or open the bench again"
            )

    def _parse_ident(self, payload: bytes) -> tuple[int, str, int, float]:
        """Return serial number, firmware, number of elements, and largest pulse (V)."""
        protocol, n_elements, serial, major, minor, largest = _IDENT.unpack(payload)
        if protocol != PROTOCOL:
            raise self._nonsense(f"it speaks version {protocol} of the protocol, this driver version {PROTOCOL}")
        return serial, f"{major}.{minor}", n_elements, largest / 1000

    def _ask(self, op: Op, payload: bytes = b"", length: int = 2, tries: int | None = None) -> bytes:
        """Return the payload of the answer; the link tries again, and the board does nothing twice."""
        try:
            reply = self._link.ask(cast("BoardOp", op), payload, length, tries)  # only its number and name are used
        except TimeLimitError as error:
            self._in_step = False
            raise TimeLimitError(f"{self._place}: no answer to {op.name}. {_WHAT_NOW}") from error
        except ConnectionLostError as error:
            self._in_step = False
            cause = error.__cause__ or error
            raise ConnectionLostError(f"{self._place}: the port is gone ({cause}). {_WHAT_NOW}") from error
        if reply.status != Status.OK:
            known = {status.value: status.name for status in Status}
            raise self._nonsense(f"{op.name} was refused with {known.get(reply.status, reply.status)} ({reply.detail})")
        if len(reply.payload) != length:
            raise self._nonsense(f"{len(reply.payload)} bytes in the answer to {op.name}, expected {length}")
        return reply.payload

    @property
    def _place(self) -> str:
        return f'board "{self.name}" ({self._settings.resource})'

    def _nonsense(self, what: str) -> ProtocolError:
        self._in_step = False
        return ProtocolError(f"{self._place}: {what}. Its firmware must follow docs/how-to/memristors.md")


_WHAT_NOW = (
    "The board disconnects from the elements by itself; they keep what they hold. Look at power, cable and baud rate; "
    "the next program() connects anew"
)


def _refuse_what_rewrites(name: str, settings: MemristorSettings) -> None:
    """Raise LimitError for settings with which the part would be harmed, or nothing could work."""
    if settings.read_voltage >= settings.threshold:
        raise LimitError(
            f'board "{name}": read_voltage is {settings.read_voltage:g} V, and from threshold = '
            f"{settings.threshold:g} V on a read rewrites the weight that it reads. Nothing was sent. "
            "Lower read_voltage"
        )
    if not settings.threshold < settings.first_pulse <= settings.largest_pulse:
        raise LimitError(
            f'board "{name}": first_pulse is {settings.first_pulse:g} V; it must lie above threshold '
            f"({settings.threshold:g} V), and not above largest_pulse ({settings.largest_pulse:g} V). "
            "Nothing was sent. Change first_pulse"
        )
    if not 0 < settings.lowest < settings.highest:
        raise LimitError(
            f'board "{name}": lowest is {settings.lowest:.4g} S, highest {settings.highest:.4g} S; they must rise, '
            "from above 0. Nothing was sent. A resistance counts as its conductance: the larger one is the lowest"
        )


def _channels(names: Sequence[str], n_elements: int) -> list[int]:
    known = {str(channel): channel for channel in range(n_elements)}
    for name in names:
        if name not in known:
            raise ValueError(f'no element "{name}"; the board has 0 to {n_elements - 1}.{nearest(name, known)}')
    return [known[name] for name in names]
