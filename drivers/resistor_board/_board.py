"""The resistor board as a TunableResistor: conductances to wiper codes and back, keep-alive, and recovery.

What a code is in siemens: `_ladder`. What goes over the line: `_frames` and `_link`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from drivers.resistor_board._frames import (
    MOST_CODES,
    BankReport,
    FrameError,
    Ident,
    Op,
    Reply,
    Status,
    parse_ident,
)
from drivers.resistor_board._ladder import Codes, Ladder
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

_Value = TypeVar("_Value")

_PARTS = {1: "MCP4251", 2: "AD5206"}
_CAUSES = {1: "power-on", 2: "its reset line", 4: "brown-out", 8: "its watchdog"}  # the highest bit counts
_FEEDS = 3  # signs of life within a keep-alive time
_PATIENCE = 1.0  # s; how long make_safe waits for the line, which the keep-alive may hold


@dataclass(frozen=True)
class BoardSettings:
    """What the driver needs of the bench file's section; s, Ohm. wiring, end_to_end, wiper: one, or one a bank."""

    resource: str
    baud: int = 500_000
    timeout: float = 0.3
    keep_alive: float = 2.0
    boot_wait: float = 3.0
    wiring: Sequence[str] = ("W-B",)
    end_to_end: Sequence[float] | None = None
    wiper: Sequence[float] | None = None


class ResistorBoard(TunableResistor):
    """The elements `names` of a board, in this order. Opens the connection; raises ConnectionLostError.

    A thread says ALIVE three times within `keep_alive` while the board is open, since a long measurement makes no call.
    So the wipers go to safe when the process ends in whatever way, or the cable does, not when a measurement is slow.
    """

    clock = "wipers"

    def __init__(self, name: str, settings: BoardSettings, names: Sequence[str]) -> None:
        self.name, self._settings = name, settings
        self._lock = threading.RLock()
        self._link = SerialLink(name, settings.resource, settings.baud, settings.timeout)
        self._trouble: InstrumentError | None = None  # found by the keep-alive; the next call raises it
        self._in_step = False  # False: the board must be identified before it is programmed
        self._closing = threading.Event()
        self._left = False  # closed, with the wipers where they were
        try:
            self._ident = self._connect(settings.boot_wait)
            self._ladders = self._make_ladders()
            self._channels = _channels(names, self._ident.channels)
            self._take_elements()
            self._found = self._codes_found()
            self._set_up()
        except BaseException:
            self._link.close()
            raise
        self._in_step = True
        self._feeder = threading.Thread(target=self._feed, name=f"keep-alive of {name}", daemon=True)
        self._feeder.start()

    def identify(self) -> Identity:
        """Ask the board; raises ConnectionLostError where it is another one, or has booted meanwhile."""
        with self._lock:
            self._raise_trouble()
            if not self._in_step:
                self._restore()
            self._check_same(self._ask_ident())
        parts = ", ".join(f"{bank.channels} of {_part(bank)}" for bank in self._ident.banks)
        major, minor = self._ident.firmware
        return Identity("freqprop-lab", f"resistor board: {parts}", f"{self._ident.serial:08X}", f"{major}.{minor}")

    def program(self, conductances: Array) -> Array:
        """Set the nearest code that each has; read them back from the chips that can tell."""
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
        with self._lock:
            self._raise_trouble()
            if not self._in_step:
                self._restore()
            codes = self._codes(wished)
            for batch in self._all_batches:
                payload = _span(self._channels[batch]) + codes[batch].astype(">u2").tobytes()
                self._ask(Op.SETN, payload)
            codes[self._reads_back] = self._get(self._told_batches)[self._reads_back]
        return self._conductances(codes)

    def read(self) -> Array:
        """Return what the chips tell; of those that can't, what the board sent them last."""
        with self._lock:
            self._raise_trouble()
            if not self._in_step:
                self._restore()
            return self._conductances(self._get(self._all_batches))

    def neighbours(self, conductances: Array) -> tuple[Array, Array]:
        """Return the conductances of the codes next below and next above."""
        wished = np.asarray(conductances, dtype=np.float64)
        lower, upper = np.empty(self.n_elements), np.empty(self.n_elements)
        for number, ladder in enumerate(self._ladders):
            mine = self._banks == number
            below, above = ladder.around(wished[mine])
            lower[mine], upper[mine] = ladder.rising[below], ladder.rising[above]
        return lower, upper

    def make_safe(self) -> None:
        """Set all wipers of the board to their highest resistance. Where that can't be said, its keep-alive does it."""
        if not self._lock.acquire(timeout=_PATIENCE):
            return  # the line is stuck, and a stuck line feeds no keep-alive
        try:
            if self._closing.is_set() and not self._left:
                return  # closing made it safe
            if not self._link.is_open:
                self._link.open()
            self._link.ask(Op.SAFE, self._safe_codes(), tries=2)
        except InstrumentError:  # an unpowered board holds nothing; one with power has its keep-alive
            self._in_step = False
        finally:
            if self._left:
                self._link.close()
            self._lock.release()

    def close(self) -> None:
        """Make safe, end the keep-alive, and give the port back."""
        if self._closing.is_set():
            return
        self.make_safe()
        self._closing.set()  # before the lock: the keep-alive looks at it once it holds the lock
        with self._lock:
            self._link.close()
        self._feeder.join(timeout=_PATIENCE)

    def leave(self) -> None:
        """Give the port back and leave the wipers where they are: the board's keep-alive is switched off first.

        They stay until somebody connects again, or the board boots.
        """
        if self._closing.is_set():
            return
        with self._lock:
            self._raise_trouble()
            self._ask(Op.ALIVE, bytes(2))
            self._left = True
            self._closing.set()
            self._link.close()
        self._feeder.join(timeout=_PATIENCE)

    def put_back(self) -> None:
        """Set every wiper of the board to the code that it had before opening sent it to safe."""
        with self._lock:
            self._raise_trouble()
            for span, codes in self._found:
                self._ask(Op.SETN, span + codes)

    def _codes_found(self) -> list[tuple[bytes, bytes]]:
        """Return what all wipers hold, used or not, in spans of channels; none where the board doesn't tell."""
        channels = np.arange(self._ident.channels)
        try:
            return [
                (span, self._ask(Op.GETN, span, length=2 * len(part)).payload)
                for part in np.split(channels, np.arange(MOST_CODES, len(channels), MOST_CODES))
                for span in [_span(part)]
            ]
        except InstrumentError:  # nobody may ever need it, and what is wrong with the board shows at its next answer
            return []

    def _connect(self, patience: float) -> Ident:
        """Open the port and wait for an answer: many boards boot when their port is opened."""
        self._link.close()
        self._link.open()
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                reply = self._link.ask(Op.IDENT, length=_IDENT_AT_LEAST, tries=1)
            except TimeLimitError:
                continue
            return self._parse_ident(reply)
        self._link.close()
        raise ConnectionLostError(
            f'board "{self.name}" ({self._link.resource}): nobody answers as a resistor board within {patience:g} s. '
            f"Look whether it is the right port, the firmware is on it, and its baud rate is {self._settings.baud}"
        )

    def _set_up(self) -> None:
        """Tell the board which codes are safe, as the wiring wants it, go there, and start its keep-alive."""
        self._ask(Op.SAFE, self._safe_codes())
        self._ask(Op.ALIVE, round(self._settings.keep_alive * 1000).to_bytes(2, "big"))

    def _restore(self) -> None:
        """Get in step again after a fault, on a new connection: a board that went away may be another one now."""
        ident = self._connect(self._settings.boot_wait)
        if _fixed(ident) != _fixed(self._ident):
            raise self._another(ident)
        self._ident = ident
        self._set_up()
        self._in_step, self._trouble = True, None

    def _raise_trouble(self) -> None:
        if self._closing.is_set():
            raise ConnectionLostError(f'board "{self.name}" is closed; open the bench again')
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble

    def _ask(self, op: Op, payload: bytes = b"", length: int = 2) -> Reply:
        try:
            reply = self._link.ask(op, payload, length)
        except InstrumentError:
            self._in_step = False
            raise
        if op is not Op.IDENT and (reply.booted or reply.fallen):
            raise self._fell_back("it booted" if reply.booted else "its keep-alive expired")
        if reply.status != Status.OK:
            raise self._refusal(op, reply)
        if op is not Op.IDENT and len(reply.payload) != length:
            raise self._nonsense(f"{len(reply.payload)} bytes in the answer to {op.name}, expected {length}")
        return reply

    def _ask_ident(self) -> Ident:
        reply = self._ask(Op.IDENT, length=_IDENT_AT_LEAST)
        ident = self._parse_ident(reply)
        if reply.booted or reply.fallen:
            why = f"it booted ({_cause(ident.reset_cause)})" if reply.booted else "its keep-alive expired"
            raise self._fell_back(why)
        return ident

    def _parse_ident(self, reply: Reply) -> Ident:
        try:
            return parse_ident(reply.payload)
        except FrameError as error:
            raise self._nonsense(str(error)) from error

    def _check_same(self, ident: Ident) -> None:
        if _fixed(ident) != _fixed(self._ident):
            raise self._another(ident)
        if ident.boots != self._ident.boots:
            raise self._fell_back(f"it booted ({_cause(ident.reset_cause)})")

    def _fell_back(self, why: str) -> ConnectionLostError:
        self._in_step = False
        return ConnectionLostError(
            f'board "{self.name}" ({self._link.resource}): {why} in the middle of the run, and all wipers fell back to '
            "safe. What was measured since is void; program() restores them. Look at its supply and at what pulls its "
            "reset line (opening the port elsewhere does), or make keep_alive longer"
        )

    def _another(self, ident: Ident) -> ConnectionLostError:
        self._link.close()
        self._in_step = False
        return ConnectionLostError(
            f'board "{self.name}" ({self._link.resource}): another board answers, number {ident.serial:08X} with '
            f"{ident.channels} channels instead of {self._ident.serial:08X} with {self._ident.channels}. "
            "Nothing was programmed. Plug the first one in, or open the bench again"
        )

    def _nonsense(self, what: str) -> ProtocolError:
        self._in_step = False
        return ProtocolError(
            f'board "{self.name}" ({self._link.resource}): {what}. Flash the firmware that belongs to this version '
            "(docs/board-protocol.md says how)"
        )

    def _refusal(self, op: Op, reply: Reply) -> ProtocolError:
        known = [status.value for status in Status]
        status = Status(reply.status).name if reply.status in known else f"status {reply.status}"
        if reply.status == Status.CHIP:
            causes = "the chip does not answer. Look at its supply, its select and its SDO wire"
            return ProtocolError(f'board "{self.name}", channel {reply.detail}: {causes}')
        return self._nonsense(f"{op.name} was refused with {status} ({reply.detail})")

    def _safe_codes(self) -> bytes:
        return b"".join(ladder.safe.to_bytes(2, "big") for ladder in self._ladders)

    def _make_ladders(self) -> list[Ladder]:
        banks, settings = self._ident.banks, self._settings
        wirings = _per_bank("wiring", settings.wiring, len(banks))
        told = [float(bank.end_to_end) for bank in banks], [float(bank.wiper) for bank in banks]
        tracks = _per_bank("end_to_end", settings.end_to_end or told[0], len(banks))
        wipers = _per_bank("wiper", settings.wiper or told[1], len(banks))
        for number, (track, wiper) in enumerate(zip(tracks, wipers, strict=True)):
            if track <= 0 or wiper <= 0:
                raise self._nonsense(
                    f"bank {number} tells {track:g} Ohm from end to end and {wiper:g} Ohm of wiper; "
                    "give end_to_end and wiper in the bench file, or"
                )
        return [Ladder.of(*each) for each in zip(banks, wirings, tracks, wipers, strict=True)]

    def _take_elements(self) -> None:
        banks = np.repeat(np.arange(len(self._ident.banks)), [bank.channels for bank in self._ident.banks])
        self._banks = banks[self._channels]
        self._reads_back = np.array([bank.reads_back for bank in self._ident.banks])[self._banks]
        self.n_elements = len(self._channels)
        self._all_batches = self._batches(np.arange(self.n_elements))
        self._told_batches = self._batches(np.flatnonzero(self._reads_back))
        self.abilities = frozenset({Ability.READ_BACK}) if self._reads_back.all() else frozenset()
        self.limits = ResistorLimits(
            np.array([self._ladders[bank].rising[0] for bank in self._banks]),
            np.array([self._ladders[bank].rising[-1] for bank in self._banks]),
        )

    def _codes(self, wished: Array) -> Codes:
        codes = np.empty(self.n_elements, dtype=np.intp)
        for number, ladder in enumerate(self._ladders):
            mine = self._banks == number
            codes[mine] = ladder.nearest(wished[mine])
        return codes

    def _conductances(self, codes: Codes) -> Array:
        found = np.empty(self.n_elements)
        for number, ladder in enumerate(self._ladders):
            mine = self._banks == number
            if (codes[mine] >= len(ladder.by_code)).any():
                raise self._nonsense(f"bank {number} holds code {codes[mine].max()}, which it can't have")
            found[mine] = ladder.by_code[codes[mine]]
        return found

    def _get(self, batches: list[Codes]) -> Codes:
        """Ask for the codes of these elements; of the others, nothing that means anything is returned."""
        codes = np.zeros(self.n_elements, dtype=np.intp)
        for batch in batches:
            reply = self._ask(Op.GETN, _span(self._channels[batch]), length=2 * len(batch))
            codes[batch] = np.frombuffer(reply.payload, dtype=">u2")
        return codes

    def _batches(self, elements: Codes) -> list[Codes]:
        """Return the elements in runs of neighbouring channels, none longer than a frame holds."""
        if not len(elements):
            return []
        rising = elements[np.argsort(self._channels[elements])]
        runs = np.split(rising, np.flatnonzero(np.diff(self._channels[rising]) != 1) + 1)
        return [run[start : start + MOST_CODES] for run in runs for start in range(0, len(run), MOST_CODES)]

    def _feed(self) -> None:
        while not self._closing.wait(self._settings.keep_alive / _FEEDS):
            with self._lock:
                if self._in_step and not self._closing.is_set():
                    try:
                        self._ask(Op.ALIVE, round(self._settings.keep_alive * 1000).to_bytes(2, "big"))
                    except InstrumentError as error:
                        self._trouble = error


_IDENT_AT_LEAST = 32  # bytes: one bank; what there is more of comes byte by byte


def _part(bank: BankReport) -> str:
    return _PARTS.get(bank.part, f"part {bank.part}")


def _cause(bits: int) -> str:
    return next((word for bit, word in sorted(_CAUSES.items(), reverse=True) if bits & bit), "cause unknown")


def _fixed(ident: Ident) -> tuple[int, list[tuple[int, ...]]]:
    """Return what stays the same as long as it is the same board."""
    return ident.serial, [(bank.part, bank.channels, bank.taps, bank.steps) for bank in ident.banks]


def _span(channels: Codes) -> bytes:
    return int(channels[0]).to_bytes(2, "big") + bytes([len(channels)])


def _channels(names: Sequence[str], n_channels: int) -> Codes:
    known = {str(channel): channel for channel in range(n_channels)}
    for name in names:
        if name not in known:
            raise ValueError(f'no element "{name}"; the board has 0 to {n_channels - 1}.{nearest(name, known)}')
    return np.array([known[name] for name in names], dtype=np.intp)


def _per_bank(field: str, values: Sequence[_Value], n_banks: int) -> list[_Value]:
    if len(values) not in (1, n_banks):
        raise ValueError(
            f'field "{field}" has {len(values)} values; the board has {n_banks} banks. Give one, or {n_banks}'
        )
    return list(values) * (n_banks if len(values) == 1 else 1)
