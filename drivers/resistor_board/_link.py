"""The serial line to the board: a request and its reply, with a deadline, and every fault of the line told in ours.

A reply names its question (op and sequence number), so a late one is passed over, and a lost one is asked for again:
the board answers a repeated request from memory. The port's control lines are left as pyserial opens them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from drivers.resistor_board._frames import FrameError, Op, Reply, frame, parse_reply
from freqprop_lab.instruments import ConnectionLostError, TimeLimitError

_SLICE = 0.05  # s; no read of the port lasts longer
_SHORTEST = 9  # bytes on the wire of any reply: op, seq, status, two of payload, crc, COBS and its 0
_KEPT = 1024  # bytes of noise that are looked at before they are forgotten

Result = TypeVar("Result")


def faults_of_a_port() -> tuple[type[Exception], ...]:
    """Return what pyserial raises on a port: SerialException is an OSError, termios.error is not."""
    try:
        import termios  # noqa: PLC0415 - not on Windows
    except ImportError:
        return (OSError, ValueError)
    return (OSError, ValueError, termios.error)


class SerialLink:
    """One serial port. timeout: s, how long one reply may take; a request is tried `tries` times."""

    tries = 3

    def __init__(self, name: str, resource: str, baud: int, timeout: float) -> None:
        self.name, self.resource = name, resource
        self._baud, self._timeout = baud, timeout
        self._port: Any = None
        # Not 1: the board remembers its last request, which may be the first one of a program that was killed.
        self._seq = os.urandom(1)[0] % 255 + 1

    @property
    def is_open(self) -> bool:
        """Say whether there is a port to write to."""
        return self._port is not None

    def open(self) -> None:
        """Open the port, anew if it was open. Raises ConnectionLostError."""
        self.close()
        try:
            import serial  # noqa: PLC0415 - an extra, and naming a driver costs nothing
        except ImportError:
            raise ConnectionLostError(
                'driver "resistor-board" needs an extra that isn\'t installed: pip install "freqprop-lab[serial]"'
            ) from None
        self._port = self._guarded(
            lambda: serial.serial_for_url(
                self.resource,
                baudrate=self._baud,
                timeout=min(_SLICE, self._timeout),
                write_timeout=self._timeout,
                # Two programs on one board would take each other's replies.
                exclusive=None if "://" in self.resource else True,
            ),
            "can't be opened. Look whether the board is plugged in, the name is right (python -m "
            "serial.tools.list_ports lists them), no other program has it open, and you may use it (on Linux: the "
            "group dialout)",
        )

    def close(self) -> None:
        """Give the port back; a second call does nothing."""
        port, self._port = self._port, None
        if port is not None:
            # pyserial 3.5 forgets the socket of a socket:// port whose other end has gone, and leaves it open.
            inner = getattr(port, "_socket", None)
            with contextlib.suppress(*faults_of_a_port()):  # a port that is gone is closed
                port.close()
            if inner is not None:
                inner.close()

    def ask(self, op: Op, payload: bytes = b"", length: int = 2, tries: int | None = None) -> Reply:
        """Send a request and return its reply; `length` bytes of payload are expected in it.

        Raises TimeLimitError after the last try, ConnectionLostError where the port fails.
        """
        if self._port is None:
            raise ConnectionLostError(f'board "{self.name}" ({self.resource}) is not open; open the bench again')
        self._seq = self._seq % 255 + 1
        request = frame(op, self._seq, payload)
        tries = tries or self.tries
        for number in range(tries):
            # From the second try on, a 0 first: it ends what the board may hold of a torn request.
            self._write((b"\0" if number else b"") + request)
            reply = self._reply(op, self._seq, _SHORTEST - 2 + length)
            if reply is not None:
                return reply
        raise TimeLimitError(
            f'board "{self.name}" ({self.resource}): no answer to {op.name} in {tries} tries of {self._timeout:g} s. '
            "Its keep-alive sets all wipers to safe. Look at power, cable and baud rate; the next program() connects "
            "anew"
        )

    def _reply(self, op: Op, seq: int, wanted: int) -> Reply | None:
        """Return the reply to this request; None where it does not come in time, or comes damaged."""
        deadline = time.monotonic() + self._timeout
        got = b""
        while time.monotonic() < deadline:
            # All of it in one call; a refusal is shorter, and costs a slice of time.
            got += self._read(max(wanted - len(got), 1))
            while b"\0" in got:
                encoded, got = got.split(b"\0", 1)
                if not encoded:
                    continue
                try:
                    reply = parse_reply(encoded)
                except FrameError:
                    return None  # it was damaged on the way: ask again at once
                if reply.op == op and reply.seq == seq:
                    return reply
            got = got[-_KEPT:]
        return None

    def _write(self, sent: bytes) -> None:
        self._guarded(lambda: self._port.write(sent), _GONE)

    def _read(self, n_bytes: int) -> bytes:
        """Return at most n_bytes, fewer or none after a slice of time."""
        return self._guarded(lambda: bytes(self._port.read(n_bytes)), _GONE)

    def _guarded(self, call: Callable[[], Result], remedy: str) -> Result:
        try:
            return call()
        except faults_of_a_port() as error:
            self.close()
            raise ConnectionLostError(f'board "{self.name}": the port {self.resource} {remedy} ({error})') from error


_GONE = (
    "is gone. The board's keep-alive sets all wipers to safe. Look at cable and power; the next program() connects and "
    "programs anew"
)
