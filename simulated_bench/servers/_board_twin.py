"""The resistor board's firmware in Python: bytes in, replies out. Written from docs/board-protocol.md.

It shares no line with the firmware or with the driver, its COBS and CRC included, so that each can be held against it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_LONGEST = 244  # encoded bytes before the 0
_IDENT, _SET, _SETN, _GET, _GETN, _ALIVE, _SAFE, _STORE = range(1, 9)
_OK, _UNKNOWN, _LENGTH, _CHANNEL, _CODE, _VALUE, _IDENT_FIRST, _CHIP, _WORN = range(9)
_BOOTED, _FALLEN = 0x40, 0x80
_SHORTEST_ALIVE, _LONGEST_ALIVE = 50, 60_000  # ms
_MOST_STORES = 10_000
_STEPS = 256

POWER_ON, RESET_LINE, WATCHDOG = 1, 2, 8


@dataclass(frozen=True)
class Part:
    """A kind of potentiometer chip. number: in IDENT. wipers: on a chip."""

    number: int
    taps: int
    wipers: int
    reads_back: bool


PARTS = {"MCP4251": Part(1, 257, 2, reads_back=True), "AD5206": Part(2, 256, 6, reads_back=False)}


@dataclass(frozen=True)
class Bank:
    """Chips of one part, as the board tells them. end_to_end, wiper: Ohm. safe: the code; None: the highest."""

    part: str
    chips: int
    end_to_end: int = 10_000
    wiper: int = 75
    safe: int | None = None

    @property
    def channels(self) -> int:
        """How many wipers it has."""
        return self.chips * PARTS[self.part].wipers

    @property
    def taps(self) -> int:
        """How many codes a wiper has."""
        return PARTS[self.part].taps

    @property
    def built_in_safe(self) -> int:
        """The safe code until another is stored."""
        return self.taps - 1 if self.safe is None else self.safe


@dataclass
class _Memory:
    """What a boot clears."""

    booted: bool = True
    fallen: bool = False
    overrun: bool = False
    alive: float = 0.0
    fed: float = 0.0
    runs: bool = False
    last: tuple[int, int] | None = None
    reply: bytes = b""
    frame: bytearray = field(default_factory=bytearray)


class BoardTwin:
    """The board. moved(codes, channels): of all codes, these channels' were set; now(): s."""

    def __init__(
        self,
        banks: Sequence[Bank],
        moved: Callable[[list[int], range], None],
        now: Callable[[], float],
        serial: int = 1,
    ) -> None:
        self._banks, self._moved, self._now, self._serial = list(banks), moved, now, serial
        self._bank_of = [bank for bank in self._banks for _ in range(bank.channels)]
        self.codes = [128] * len(self._bank_of)  # until the processor runs, the parts sit at mid-scale
        self.boots = -1
        self._stored: list[int] | None = None
        self._stores = 0
        self._payload = b""
        self.boot(POWER_ON)

    def boot(self, cause: int) -> None:
        """Start anew, all wipers safe; cause: a bit of MCUSR. What was stored, and the count of boots, stay."""
        self.boots = (self.boots + 1) & 0xFFFF
        self._cause, self._memory = cause, _Memory()
        self._safe = list(self._stored) if self._stored else [bank.built_in_safe for bank in self._banks]
        self._go_safe()

    def tick(self) -> None:
        """Look at the clock: a keep-alive that ran out sets all wipers to the safe codes, once."""
        memory = self._memory
        if memory.runs and self._now() - memory.fed >= memory.alive:
            self._go_safe()
            memory.fallen, memory.runs, memory.last = True, False, None

    def hear(self, data: bytes) -> list[bytes]:
        """Take bytes and return the replies, as they go on the wire."""
        frame, replies = self._memory.frame, []
        for byte in data:
            if byte:
                if len(frame) <= _LONGEST:
                    frame.append(byte)
                continue
            message = _unstuff(bytes(frame)) if len(frame) <= _LONGEST else None
            frame.clear()
            reply = None if message is None else self._answer(message)
            if reply is not None:
                replies.append(reply)
        return replies

    def _answer(self, message: bytes) -> bytes | None:
        if len(message) < 4 or _crc(message) != 0 or message[1] == 0 or message[0] & 0x80:
            return None
        memory = self._memory
        memory.fed = self._now()
        op, seq, payload, crc = message[0], message[1], message[2:-2], int.from_bytes(message[-2:], "big")
        if memory.last == (seq, crc):
            return memory.reply
        flags = (_BOOTED if memory.booted else 0) | (_FALLEN if memory.fallen else 0)
        status, told = self._execute(op, payload)
        if op == _IDENT and status == _OK:
            memory.booted = memory.fallen = False
        memory.runs = memory.alive > 0
        reply = bytes([op | 0x80, seq, flags | status]) + told
        memory.last, memory.reply = (seq, crc), _stuff(reply + _crc(reply).to_bytes(2, "big")) + b"\0"
        return memory.reply

    def _execute(self, op: int, payload: bytes) -> tuple[int, bytes]:
        banks = len(self._banks)
        handlers: dict[int, tuple[Callable[[int], bool], Callable[[], tuple[int, bytes]]]] = {
            _IDENT: (lambda n: n == 0, self._identify),
            _SET: (lambda n: n == 4, self._set_one),
            _SETN: (lambda n: n >= 5 and n == 3 + 2 * payload[2] and 1 <= payload[2] <= 118, self._set_batch),
            _GET: (lambda n: n == 2, lambda: self._get(struct.unpack(">H", payload)[0], 1)),
            _GETN: (lambda n: n == 3 and 1 <= payload[2] <= 118, lambda: self._get(*struct.unpack(">HB", payload))),
            _ALIVE: (lambda n: n == 2, self._keep_alive),
            _SAFE: (lambda n: n in (0, 2 * banks), self._make_safe),
            _STORE: (lambda n: n == 4, self._store),
        }
        if op not in handlers:
            return _UNKNOWN, bytes(2)
        fits, handle = handlers[op]
        if not fits(len(payload)):
            return _LENGTH, bytes(2)
        self._payload = payload
        return handle()

    def _identify(self) -> tuple[int, bytes]:
        memory = self._memory
        told = struct.pack(
            ">BHIBBBHBHB",
            1,
            len(self.codes),
            self._serial,
            1,
            0,
            self._cause,
            self.boots,
            memory.overrun,
            self._stores,
            len(self._banks),
        )
        for bank, safe in zip(self._banks, self._safe, strict=True):
            part = PARTS[bank.part]
            told += struct.pack(">BBHHH", part.number, part.reads_back, bank.channels, part.taps, _STEPS)
            told += struct.pack(">IHH", bank.end_to_end, bank.wiper, safe)
        memory.overrun = False
        return _OK, told

    def _set_one(self) -> tuple[int, bytes]:
        channel, code = struct.unpack(">HH", self._payload)
        status, told = self._set(channel, [code])
        return (status, told) if status else self._get(channel, 1)

    def _set_batch(self) -> tuple[int, bytes]:
        base, n = struct.unpack(">HB", self._payload[:3])
        return self._set(base, list(struct.unpack(f">{n}H", self._payload[3:])))

    def _set(self, base: int, codes: list[int]) -> tuple[int, bytes]:
        if self._memory.booted or self._memory.fallen:
            return _IDENT_FIRST, bytes(2)
        if base + len(codes) > len(self.codes):
            return _CHANNEL, struct.pack(">H", len(self.codes))
        for number, code in enumerate(codes, base):
            if code >= self._bank_of[number].taps:
                return _CODE, struct.pack(">H", number)
        self._move(base, codes)
        return _OK, struct.pack(">H", len(codes))

    def _get(self, base: int, n: int) -> tuple[int, bytes]:
        if base + n > len(self.codes):
            return _CHANNEL, struct.pack(">H", len(self.codes))
        return _OK, struct.pack(f">{n}H", *self.codes[base : base + n])

    def _keep_alive(self) -> tuple[int, bytes]:
        (ms,) = struct.unpack(">H", self._payload)
        if ms and not _SHORTEST_ALIVE <= ms <= _LONGEST_ALIVE:
            return _VALUE, self._payload
        self._memory.alive = ms / 1000
        return _OK, self._payload

    def _make_safe(self) -> tuple[int, bytes]:
        if self._payload:
            codes = [code for (code,) in struct.iter_unpack(">H", self._payload)]
            for number, (bank, code) in enumerate(zip(self._banks, codes, strict=True)):
                if code >= bank.taps:
                    return _CODE, struct.pack(">H", number)
            self._safe = codes
        self._go_safe()
        return _OK, struct.pack(">H", len(self.codes))

    def _store(self) -> tuple[int, bytes]:
        if self._payload != b"STOR":
            return _VALUE, struct.pack(">H", self._stores)
        if self._stored != self._safe:
            if self._stores >= _MOST_STORES:
                return _WORN, struct.pack(">H", self._stores)
            self._stores += 1
            self._stored = list(self._safe)
        return _OK, struct.pack(">H", self._stores)

    def _go_safe(self) -> None:
        safe = zip(self._banks, self._safe, strict=True)
        self._move(0, [code for bank, code in safe for _ in range(bank.channels)])

    def _move(self, base: int, codes: list[int]) -> None:
        self.codes[base : base + len(codes)] = codes
        self._moved(self.codes, range(base, base + len(codes)))


def _entry(value: int) -> int:
    value <<= 8
    for _ in range(8):
        value = value << 1 ^ (0x1021 if value & 0x8000 else 0)
    return value & 0xFFFF


_TABLE = [_entry(value) for value in range(256)]


def _crc(data: bytes) -> int:
    """CRC-16/CCITT-FALSE, a byte at a time over a table."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc << 8 & 0xFF00) ^ _TABLE[crc >> 8 ^ byte]
    return crc


def _stuff(message: bytes) -> bytes:
    out, mark = bytearray(1), 0
    for byte in message:
        if byte:
            out.append(byte)
        else:
            out[mark] = len(out) - mark
            mark = len(out)
            out.append(0)
    out[mark] = len(out) - mark
    return bytes(out)


def _unstuff(frame: bytes) -> bytes | None:
    out, left, first = bytearray(), 0, True
    for byte in frame:
        if left:
            out.append(byte)
            left -= 1
            continue
        if byte == 0xFF:
            return None
        if not first:
            out.append(0)
        left, first = byte - 1, False
    return bytes(out) if left == 0 else None
