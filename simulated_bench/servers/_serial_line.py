"""A serial line that isn't one: a TCP port on the loopback interface and, on POSIX, a pseudo-terminal.

Both lead to the same board, as two plugs of one cable would. What the board says goes to whoever spoke last.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable

from simulated_bench.servers._virtual import LOOPBACK, Fault, FaultKind, Faults

_TICK = 0.005  # s; how often the owner's clock is looked at
_WIRE_FAULTS = (
    FaultKind.DROP_REPLY,
    FaultKind.LATE_REPLY,
    FaultKind.HALF_REPLY,
    FaultKind.GARBAGE,
    FaultKind.DISCONNECT,
)


class SerialLine:
    """The line. heard(bytes): what came in; connected(): somebody opened the TCP port; tick(): called often.

    All three are called from the line's own thread.
    """

    def __init__(
        self,
        heard: Callable[[bytes], None],
        connected: Callable[[], None],
        tick: Callable[[], None],
        faults: Faults,
        port: int = 0,
    ) -> None:
        self._heard, self._connected, self._tick, self._faults = heard, connected, tick, faults
        self._server = socket.create_server((LOOPBACK, port))
        self._clients: list[socket.socket] = []
        self._pty: tuple[int, int] | None = None
        self._speaker: socket.socket | int | None = None
        self._late: list[threading.Timer] = []
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        self.resources = [f"socket://{LOOPBACK}:{self._server.getsockname()[1]}"]
        if hasattr(os, "openpty"):
            self.resources.append(self._open_pty())
        self._thread = threading.Thread(target=self._serve, name="serial line", daemon=True)

    def start(self) -> None:
        """Let bytes flow."""
        self._thread.start()

    def stop(self) -> None:
        """Close everything and end the thread; a second call does nothing."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        with self._lock:
            for timer in self._late:
                timer.cancel()
            self.pull()
            self._server.close()

    def pull(self) -> None:
        """Pull the cable out: the TCP connections end, and the pseudo-terminal is gone for good."""
        with self._lock:
            for client in self._clients:
                client.close()
            self._clients.clear()
            pty, self._pty, self._speaker = self._pty, None, None
            for end in pty or ():
                os.close(end)

    def reply(self, frame: bytes) -> None:
        """Send a reply, or what the next waiting fault makes of it."""
        fault = self._faults.take(*_WIRE_FAULTS)
        if fault is None:
            self.write(frame)
        elif fault.kind is FaultKind.LATE_REPLY:
            self._write_later(frame, fault)
        elif fault.kind is FaultKind.HALF_REPLY:
            self.write(frame[: len(frame) // 2])
        elif fault.kind is FaultKind.GARBAGE:
            # Neither the changed byte nor the one put in is 0, so the frame keeps its end.
            place = len(frame) // 2
            self.write(frame[:place] + bytes([frame[place] ^ 0xFF or 0x55]) + frame[place + 1 :])
        elif fault.kind is FaultKind.DISCONNECT:
            self.write(frame[: len(frame) // 2])
            self.pull()

    def write(self, data: bytes) -> None:
        """Send bytes to whoever spoke last; nobody hears them where he has gone."""
        with self._lock, contextlib.suppress(OSError):
            if isinstance(self._speaker, socket.socket):
                self._speaker.sendall(data)
            elif self._speaker is not None:
                os.write(self._speaker, data)

    def _write_later(self, frame: bytes, fault: Fault) -> None:
        timer = threading.Timer(fault.seconds, self.write, (frame,))
        timer.daemon = True
        self._late.append(timer)
        timer.start()

    def _open_pty(self) -> str:
        import tty  # noqa: PLC0415 - not on Windows

        board_end, host_end = os.openpty()
        tty.setraw(host_end)  # or the terminal would echo, and turn carriage returns into newlines
        os.set_blocking(board_end, False)
        # The host's end stays open here too: without it the other end fails whenever no host has it open.
        self._pty = board_end, host_end
        return os.ttyname(host_end)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                ends: list[socket.socket | int] = [self._server, *self._clients]
                if self._pty is not None:
                    ends.append(self._pty[0])
            with contextlib.suppress(OSError, ValueError):  # an end that was pulled meanwhile
                for end in select.select(ends, [], [], _TICK)[0]:
                    self._look_at(end)
            self._tick()

    def _look_at(self, end: socket.socket | int) -> None:
        if end is self._server:
            client, _ = self._server.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._clients.append(client)
            self._connected()
            return
        with self._lock:
            data = self._received(end) if isinstance(end, socket.socket) else os.read(end, 4096)
            self._speaker = end
        self._heard(data)

    def _received(self, client: socket.socket) -> bytes:
        try:
            data = client.recv(4096)
        except OSError:
            data = b""
        if not data:
            client.close()
            if client in self._clients:
                self._clients.remove(client)
        return data
