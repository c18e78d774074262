"""The board's frames: COBS with a 0 at the end, CRC-16/CCITT-FALSE, requests and replies (docs/board-protocol.md)."""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass
from enum import IntEnum

MOST_CODES = 118  # in one frame
PROTOCOL = 1
REPLY = 0x80
BOOTED, FALLEN, _CODE = 0x40, 0x80, 0x3F
_LONGEST_FRAME = 253  # bytes that COBS holds in one block, with its code
_HEAD, _BANK = struct.Struct(">BHIBBBHBHB"), struct.Struct(">BBHHHIHH")


class Op(IntEnum):
    """What a request asks."""

    IDENT = 1
    SET = 2
    SETN = 3
    GET = 4
    GETN = 5
    ALIVE = 6
    SAFE = 7
    STORE = 8


class Status(IntEnum):
    """How it went; IntEnum's names are those of docs/board-protocol.md."""

    OK = 0
    UNKNOWN_OP = 1
    BAD_LENGTH = 2
    BAD_CHANNEL = 3
    BAD_CODE = 4
    BAD_VALUE = 5
    IDENT_FIRST = 6
    CHIP = 7
    WORN = 8


class FrameError(ValueError):
    """Bytes that are no frame."""


def crc16(data: bytes) -> int:
    """Return the CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, not reflected; "123456789" gives 0x29B1."""
    return binascii.crc_hqx(data, 0xFFFF)


def cobs_encode(data: bytes) -> bytes:
    """Return data (at most 253 bytes) without a zero in it."""
    if len(data) > _LONGEST_FRAME:
        raise FrameError(f"{len(data)} bytes do not go into a frame; {_LONGEST_FRAME} do")
    return b"".join(bytes([len(run) + 1]) + run for run in data.split(b"\0"))


def cobs_decode(data: bytes) -> bytes:
    """Return what was encoded. Raises FrameError where nothing encodes to this."""
    runs, place = [], 0
    while place < len(data):
        end = place + data[place]
        if data[place] == 0 or end > len(data) or 0 in data[place:end]:
            raise FrameError("a frame's lengths do not add up")
        runs.append(data[place + 1 : end])
        place = end
    return b"\0".join(runs)


def frame(op: int, seq: int, payload: bytes = b"") -> bytes:
    """Return a request as it goes on the wire, the 0 at its end included."""
    body = bytes([op, seq]) + payload
    return cobs_encode(body + crc16(body).to_bytes(2, "big")) + b"\0"


@dataclass(frozen=True)
class Reply:
    """A reply whose CRC is right. booted, fallen: since the last IDENT the board booted; its keep-alive expired."""

    op: int
    seq: int
    status: int
    payload: bytes
    booted: bool
    fallen: bool

    @property
    def detail(self) -> int:
        """What was refused: a channel, a bank, a value."""
        return int.from_bytes(self.payload[:2], "big")


def parse_reply(encoded: bytes) -> Reply:
    """Return the reply of an encoded frame without its 0. Raises FrameError."""
    raw = cobs_decode(encoded)
    if len(raw) < 5 or crc16(raw) != 0 or not raw[0] & REPLY:
        raise FrameError("no reply, or not as it was sent")
    return Reply(
        raw[0] - REPLY, raw[1], raw[2] & _CODE, raw[3:-2], booted=bool(raw[2] & BOOTED), fallen=bool(raw[2] & FALLEN)
    )


@dataclass(frozen=True)
class BankReport:
    """A bank as the board tells it. steps: codes from end to end. end_to_end, wiper: Ohm."""

    part: int
    reads_back: bool
    channels: int
    taps: int
    steps: int
    end_to_end: int
    wiper: int
    safe: int


@dataclass(frozen=True)
class Ident:
    """Who the board is and how it fares. boots: counts its boots. overrun: bytes were lost since the last IDENT."""

    protocol: int
    channels: int
    serial: int
    firmware: tuple[int, int]
    reset_cause: int
    boots: int
    overrun: bool
    stores: int
    banks: tuple[BankReport, ...]


def parse_ident(payload: bytes) -> Ident:
    """Return what IDENT tells. Raises FrameError for one that does not hold together."""
    if len(payload) < _HEAD.size or payload[0] != PROTOCOL:
        spoken = f"version {payload[0]}" if payload else "nothing"
        raise FrameError(f"the board speaks {spoken} of the protocol, this driver version {PROTOCOL}")
    protocol, channels, serial, major, minor, cause, boots, flags, stores, n_banks = _HEAD.unpack_from(payload)
    if len(payload) != _HEAD.size + n_banks * _BANK.size:
        raise FrameError(f"IDENT promises {n_banks} banks and has {len(payload)} bytes")
    banks = tuple(
        BankReport(part, bool(told & 1), *rest) for part, told, *rest in _BANK.iter_unpack(payload[_HEAD.size :])
    )
    if sum(bank.channels for bank in banks) != channels or any(bank.taps < 2 or bank.steps < 1 for bank in banks):
        raise FrameError(f"IDENT promises {channels} channels, and its banks are others")
    return Ident(protocol, channels, serial, (major, minor), cause, boots, bool(flags & 1), stores, banks)
