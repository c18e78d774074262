"""What every virtual instrument is: a server on the loopback interface that puts the world behind a real protocol."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

LOOPBACK = "127.0.0.1"


class FaultKind(Enum):
    """What can be made to go wrong on the wire, once each."""

    DROP_REPLY = "drop-reply"  # the answer never comes
    LATE_REPLY = "late-reply"  # it comes after `seconds`
    HALF_REPLY = "half-reply"  # its first half comes, then nothing
    GARBAGE = "garbage"  # a byte of it is changed
    DISCONNECT = "disconnect"  # the connection ends in the middle of it
    OVERLOAD = "overload"  # a channel reads the end of its range
    STUCK = "stuck"  # a channel (or element) keeps its value, until the fault is taken away
    ERROR_CODE = "error-code"  # the instrument reports `code`


@dataclass(frozen=True)
class Fault:
    """One fault. channel: of which one it is, where it is one's. seconds: how late. code: what is reported."""

    kind: FaultKind
    channel: str | None = None
    seconds: float = 0.0
    code: int = 0


class Faults:
    """The faults that are waiting to happen, in order; any thread may add and take them."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Let a fault happen at the next occasion."""
        with self._lock:
            self._waiting.append(fault)

    def take(self, *kinds: FaultKind, channel: str | None = None) -> Fault | None:
        """Take the first waiting fault of these kinds (and, if given, of this channel or of none), if there is one."""
        with self._lock:
            for fault in self._waiting:
                if fault.kind in kinds and (channel is None or fault.channel in (None, channel)):
                    self._waiting.remove(fault)
                    return fault
        return None

    def stuck(self, channel: str) -> bool:
        """Say whether a channel is stuck; it stays so until `clear`."""
        with self._lock:
            return any(fault.kind is FaultKind.STUCK and fault.channel == channel for fault in self._waiting)

    def clear(self) -> None:
        """Take all faults away."""
        with self._lock:
            self._waiting.clear()


@dataclass(frozen=True)
class Wires:
    """How an instrument is wired to the world.

    drives: terminal of the world by source channel (`ao0` -> `daq/ao0`). reads: node by meter channel. tunes: branch
    by element.
    """

    drives: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)
    tunes: Mapping[str, str] = field(default_factory=dict)


class VirtualInstrument(ABC):
    """A server around the world. `faults` is what a test or a person makes go wrong."""

    name: str
    faults: Faults

    @abstractmethod
    def start(self) -> list[str]:
        """Listen on the loopback interface; return the resource lines under which it is reached, the best one first."""

    @abstractmethod
    def stop(self) -> None:
        """Stop listening, end every thread, and forget; a second call does nothing."""
