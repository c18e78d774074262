"""Messages over HiSLIP (IVI-6.1): two connections a client, every message framed, every answer numbered.

As much of it as a client needs: initialise, data, maximum size, device clear, status, trigger, locks that are always
free. No overlap mode, no encryption, no service requests.
"""

from __future__ import annotations

import itertools
import socket
import struct

from simulated_bench.servers._socket import Device, Server

_HEADER = struct.Struct("!2sBBIQ")  # "HS", type, control code, parameter, length of what follows
(
    _INITIALIZE,
    _INITIALIZE_RESPONSE,
    _FATAL_ERROR,
    _ERROR,
    _LOCK,
    _LOCK_RESPONSE,
    _DATA,
    _DATA_END,
    _CLEAR_COMPLETE,
    _CLEAR_ACKNOWLEDGE,
    _REMOTE_LOCAL,
    _REMOTE_LOCAL_RESPONSE,
    _TRIGGER,
) = range(13)
_MAX_SIZE, _MAX_SIZE_RESPONSE, _ASYNC_INITIALIZE, _ASYNC_INITIALIZE_RESPONSE, _ASYNC_CLEAR = 15, 16, 17, 18, 19
_STATUS, _STATUS_RESPONSE, _ASYNC_CLEAR_ACKNOWLEDGE, _LOCK_INFO, _LOCK_INFO_RESPONSE = 21, 22, 23, 24, 25
_VERSION = 0x0100
_VENDOR = int.from_bytes(b"fp", "big")
_LARGEST = 1 << 26
_UNRECOGNIZED = 1


class HislipServer(Server):
    """The HiSLIP port of an instrument, 4880 on real ones."""

    def __init__(self, device: Device) -> None:
        self._sessions = itertools.count(1)
        super().__init__(device)

    def converse(self, connection: socket.socket) -> None:
        """See which of a client's two connections this is, and serve it."""
        first = _receive(connection)
        if first is None:
            return
        kind, _, _, _ = first
        if kind == _INITIALIZE:
            session = next(self._sessions) & 0xFFFF
            _send(connection, _INITIALIZE_RESPONSE, 0, _VERSION << 16 | session)
            self._converse_in_step(connection)
        elif kind == _ASYNC_INITIALIZE:
            _send(connection, _ASYNC_INITIALIZE_RESPONSE, 0, _VENDOR)
            self._converse_beside(connection)
        else:
            _send(connection, _FATAL_ERROR, 3, 0, b"Invalid Initialization sequence")

    def _converse_in_step(self, connection: socket.socket) -> None:
        waiting = bytearray()
        while (message := _receive(connection)) is not None:
            kind, control, number, content = message
            if kind in {_DATA, _DATA_END}:
                waiting += content
                if len(waiting) > _LARGEST:
                    return
                if kind == _DATA_END:
                    text, waiting = bytes(waiting), bytearray()
                    if not self._execute(connection, text, number):
                        return
            elif kind == _CLEAR_COMPLETE:
                waiting.clear()
                _send(connection, _CLEAR_ACKNOWLEDGE, control, 0)
            elif kind == _TRIGGER:
                self._device.execute(b"*TRG")
            else:
                _send(connection, _ERROR, _UNRECOGNIZED, 0, b"Unrecognized Message Type")

    def _execute(self, connection: socket.socket, text: bytes, number: int) -> bool:
        reply = self._device.execute(text.removesuffix(b"\n").removesuffix(b"\r"))
        if reply is None:
            return True
        whole = reply + b"\n"
        announced = False

        def send(part: bytes, count: int) -> None:
            nonlocal announced
            if not announced:  # a half reply is one whose header promises the whole
                connection.sendall(_HEADER.pack(b"HS", _DATA_END, 0, number, len(whole)))
                announced = True
            connection.sendall(part[:count])

        return self.answer(whole, send)

    def _converse_beside(self, connection: socket.socket) -> None:
        answers = {
            _LOCK: (_LOCK_RESPONSE, 1),
            _REMOTE_LOCAL: (_REMOTE_LOCAL_RESPONSE, 0),
            _ASYNC_CLEAR: (_ASYNC_CLEAR_ACKNOWLEDGE, 0),
            _LOCK_INFO: (_LOCK_INFO_RESPONSE, 0),
        }
        while (message := _receive(connection)) is not None:
            kind = message[0]
            if kind == _MAX_SIZE:
                _send(connection, _MAX_SIZE_RESPONSE, 0, 0, struct.pack("!Q", _LARGEST))
            elif kind == _STATUS:
                _send(connection, _STATUS_RESPONSE, self._device.status_byte(), 0)
            elif kind in answers:
                _send(connection, *answers[kind], 0)
            else:
                _send(connection, _ERROR, _UNRECOGNIZED, 0, b"Unrecognized Message Type")


def _receive(connection: socket.socket) -> tuple[int, int, int, bytes] | None:
    """Return the next message: type, control code, parameter, content; None at the end, or for what is no HiSLIP."""
    header = _exactly(connection, _HEADER.size)
    if header is None:
        return None
    prologue, kind, control, parameter, length = _HEADER.unpack(header)
    if prologue != b"HS" or length > _LARGEST:
        _send(connection, _FATAL_ERROR, 1, 0, b"Poorly formed message header")
        return None
    content = _exactly(connection, length)
    return None if content is None else (kind, control, parameter, content)


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    got = bytearray()
    while len(got) < count:
        data = connection.recv(min(count - len(got), 1 << 20))
        if not data:
            return None
        got += data
    return bytes(got)


def _send(connection: socket.socket, kind: int, control: int, parameter: int, content: bytes = b"") -> None:
    connection.sendall(_HEADER.pack(b"HS", kind, control, parameter, len(content)) + content)
