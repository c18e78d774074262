"""Messages over a TCP socket: a newline ends one, unless it lies in a block; blocks tell their own length."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from simulated_bench.servers._virtual import LOOPBACK, Fault, FaultKind, Faults

_REPLY_FAULTS = (
    FaultKind.DROP_REPLY,
    FaultKind.LATE_REPLY,
    FaultKind.HALF_REPLY,
    FaultKind.GARBAGE,
    FaultKind.DISCONNECT,
)
_PATIENCE = 5.0  # s that a thread may take to end
_LARGEST_MESSAGE = 1 << 26


class Device(Protocol):
    """What is served."""

    name: str
    faults: Faults

    def execute(self, message: bytes) -> bytes | None:
        """Carry out one message, and return its answer."""

    def status_byte(self) -> int:
        """Return the status byte."""


class Server(ABC):
    """Listens on a free port of the loopback interface; each connection has a thread, and stop() ends them all."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        self._run(self._accept)

    @abstractmethod
    def converse(self, connection: socket.socket) -> None:
        """Serve one connection until it ends."""

    def stop(self) -> None:
        """End every connection and every thread."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(_PATIENCE)

    def answer(self, reply: bytes, send: Callable[[bytes, int], None]) -> bool:
        """Send a reply through send(bytes, how many of them), with whatever fault waits. False ends the connection."""
        fault = self._device.faults.take(*_REPLY_FAULTS) or Fault(FaultKind.LATE_REPLY)
        half = max(1, len(reply) // 2)
        if fault.kind is FaultKind.LATE_REPLY:
            self._stopping.wait(fault.seconds)
            send(reply, len(reply))
        elif fault.kind is FaultKind.HALF_REPLY:
            send(reply, half)
            if fault.seconds:  # the rest, which by itself may look like a whole answer
                self._stopping.wait(fault.seconds)
                send(reply[half:], len(reply) - half)
        elif fault.kind is FaultKind.GARBAGE:
            send(reply[: half - 1] + bytes([reply[half - 1] ^ 0x80]) + reply[half:], len(reply))
        elif fault.kind is FaultKind.DISCONNECT:
            send(reply, half)
        return fault.kind is not FaultKind.DISCONNECT

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
            self._run(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._stopping.is_set():
                self.converse(connection)
        with self._lock:
            self._connections.discard(connection)

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"{self._device.name}-{type(self).__name__}", daemon=True)
        with self._lock:
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()


class SocketServer(Server):
    """The raw socket of an instrument, port 5025 on real ones."""

    def converse(self, connection: socket.socket) -> None:
        """Carry out one message after the other; an answer ends with a newline."""

        def send(reply: bytes, count: int) -> None:
            connection.sendall(reply[:count])

        waiting = bytearray()
        while data := connection.recv(1 << 16):
            waiting += data
            while (end := message_end(waiting)) is not None:
                message = bytes(waiting[:end]).removesuffix(b"\r")
                del waiting[: end + 1]
                reply = self._device.execute(message)
                if reply is not None and not self.answer(reply + b"\n", send):
                    return
            if len(waiting) > _LARGEST_MESSAGE:
                return


def message_end(waiting: bytes | bytearray) -> int | None:
    """Return where the newline is that ends the first message; None where more must come."""
    place = 0
    while True:
        newline = waiting.find(b"\n", place)
        block = re.compile(rb"(?<=[\s,])#([1-9])").search(waiting, place, newline if newline >= 0 else len(waiting))
        if block is None:
            return newline if newline >= 0 else None
        n_digits = int(block[1])
        digits = bytes(waiting[block.end() : block.end() + n_digits])
        if len(digits) < n_digits:
            return None
        place = block.end() + n_digits + (int(digits) if digits.isdigit() else 0)
        if place > len(waiting):
            return None
