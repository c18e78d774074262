"""One open VISA resource, as a pipe: bytes out, a line or a block back, each within its deadline.

PyVISA is imported by `open_visa`. What goes wrong here is whatever PyVISA, its backend or the socket below it raises;
`meaning` says which of our errors that is. Measured with PyVISA 1.16.2 and pyvisa-py 0.8.1:

- a SOCKET opens on a port where nobody listens, and only the first query fails;
- a HiSLIP open ignores its time-out, and waits 5 s for a server that accepts and says nothing;
- a write waits for ever once the peer stops reading and the buffers are full;
- Nagle's algorithm holds back the second of two small writes by 40 ms, and the attribute that should turn it off
  raises on SOCKET.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from freqprop_lab.instruments import ConnectionLostError, InstrumentError, ProtocolError, TimeLimitError

_VI_ERROR_TMO = -1073807339  # of the VISA specification; PyVISA need not be loaded to know it
_SMALL = 4096  # bytes: below, a write always finds room in the socket's buffer
_CHUNK = 1 << 20
_SLICE = 0.1  # s: waits are cut into slices, or Windows delivers no Ctrl-C
_LONGEST_BLOCK = 1 << 30

Result = TypeVar("Result")


class Pipe(Protocol):
    """What a link talks through: VISA, or a script in a test. Raises anything; see `meaning`."""

    def send(self, data: bytes, deadline: float) -> None:
        """Send one message."""

    def receive_line(self, deadline: float) -> bytes:
        """Return one answer in text, without its end of line."""

    def receive_block(self, deadline: float) -> bytes:
        """Return what one answer `#<digits><length><bytes>` holds."""

    def clear(self, deadline: float) -> None:
        """Ask the instrument to drop what it was about to receive or to say. Raises nothing."""

    def close(self) -> None:
        """Give the connection back. Raises nothing."""


OpenPipe = Callable[[float], Pipe]


def meaning(error: Exception) -> type[InstrumentError]:
    """Say which of our errors one from PyVISA, its backend or the socket is."""
    if isinstance(error, TimeoutError) or getattr(error, "error_code", None) == _VI_ERROR_TMO:
        return TimeLimitError
    if isinstance(error, ValueError | AssertionError):  # a block's header; a HiSLIP header that can't be
        return ProtocolError
    if isinstance(error, RuntimeError) and "dropped" not in str(error):  # pyvisa-py's HiSLIP lost its place
        return ProtocolError
    return ConnectionLostError


class _Managers:
    """The resource managers of this process, one a backend: PyVISA's are not independent of each other."""

    def __init__(self) -> None:
        self._open: dict[str, Any] = {}
        self._lock = threading.Lock()

    def get(self, backend: str | None) -> Any:
        import pyvisa  # noqa: PLC0415 - an extra, and slow to load

        key = backend or ""  # PyVISA's own rule: the vendor's library where there is one, else pyvisa-py
        with self._lock:
            if key not in self._open:
                self._open[key] = pyvisa.ResourceManager(key)
            return self._open[key]


_MANAGERS = _Managers()


def open_visa(resource: str, backend: str | None, deadline: float) -> Pipe:
    """Open a resource within the deadline (s); backend: as PyVISA names them, `@py` or a library's path.

    Raises ImportError where the extra is missing, else anything; see `meaning`. Ctrl-C works as before afterwards:
    vendors' libraries take the signal for themselves when an open fails (pyvisa issue 894).
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        manager = _MANAGERS.get(backend)
        milliseconds = max(1, round(1000 * deadline))

        def opened() -> Any:
            return manager.open_resource(resource, open_timeout=milliseconds, timeout=milliseconds)

        return VisaPipe(bounded(opened, deadline, late=lambda found: found.close()))
    except Exception as error:
        _close_leftovers(error)
        raise
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGINT, before)  # also where it looks unchanged: the C library may have replaced it


def bounded(call: Callable[[], Result], deadline: float, late: Callable[[Result], object] | None = None) -> Result:
    """Return what call() returns, or raise TimeoutError at the deadline (s); a result that comes late goes to `late`.

    The call runs in a thread of its own, which is left behind where it hangs: there is no other way out of a library
    that waits without a time-out.
    """
    outcome: queue.SimpleQueue[tuple[list[Result], BaseException | None]] = queue.SimpleQueue()
    abandoned = threading.Event()

    def run() -> None:
        try:
            found = call()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the caller waits
            _close_leftovers(error)
            outcome.put(([], error))
        else:
            outcome.put(([found], None))
            if abandoned.is_set() and late is not None:
                with contextlib.suppress(Exception):
                    late(found)

    threading.Thread(target=run, name="scpi-bounded", daemon=True).start()
    ends = time.monotonic() + deadline
    try:
        results, error = _wait_for(outcome, ends)
    except BaseException:
        abandoned.set()
        raise
    if error is not None:
        raise error
    return results[0]


def _wait_for(outcome: queue.SimpleQueue[Result], ends: float) -> Result:
    while True:
        left = ends - time.monotonic()
        try:
            return outcome.get(timeout=max(0.0, min(_SLICE, left)))
        except queue.Empty:
            if left <= 0:
                raise TimeoutError("nothing happened in time") from None


def _close_leftovers(error: BaseException | None) -> None:
    """Close the sockets that pyvisa-py leaves open when opening HiSLIP fails: some instruments allow one or two."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            owner = frame.f_locals.get("self")
            if type(owner).__module__.startswith("pyvisa_py"):
                for name in ("_sync", "_async", "interface"):
                    left = getattr(owner, name, None)
                    if isinstance(left, socket.socket):
                        left.close()
        error = error.__cause__ or error.__context__


class VisaPipe:
    """A VISA resource. TCP sockets and serial ports end a message by a newline, all else by VISA's END."""

    def __init__(self, resource: Any) -> None:
        self._resource = resource
        name = str(resource.resource_name).upper()
        self._by_newline = name.endswith("::SOCKET") or name.startswith("ASRL")
        if self._by_newline:
            resource.read_termination = "\n"
        self._milliseconds = -1
        _send_at_once(resource)

    def send(self, data: bytes, deadline: float) -> None:
        """Send one message; a long one in a thread that can be given up."""
        self._set_deadline(deadline)
        message = data + b"\n" if self._by_newline or b"#" not in data else data
        if len(message) <= _SMALL:
            self._resource.write_raw(message)
        else:
            bounded(lambda: self._resource.write_raw(message), deadline)

    def receive_line(self, deadline: float) -> bytes:
        """Return one answer in text."""
        self._set_deadline(deadline)
        return bytes(self._resource.read_raw()).rstrip(b"\r\n")

    def receive_block(self, deadline: float) -> bytes:
        """Return what a block holds. Raises ValueError for what is none, or too short."""
        self._set_deadline(deadline)
        if not self._by_newline:
            return _content(bytes(self._resource.read_raw()))
        ends = time.monotonic() + deadline
        with self._no_warnings():
            n_digits = _n_digits(self._exactly(2, ends))
            length = _length(self._exactly(n_digits, ends))
            content = self._exactly(length, ends)
            end = self._exactly(1, ends)
        if end != b"\n":
            raise ValueError(f"{length} bytes of a block are followed by {end!r} instead of the end of the line")
        return content

    def clear(self, deadline: float) -> None:
        """Send a device clear where the wire has one; on sockets there is none, and closing does as much."""
        if not self._by_newline:
            with contextlib.suppress(Exception):
                bounded(self._resource.clear, deadline)

    def close(self) -> None:
        """Close; a peer that is gone can't keep it."""
        with contextlib.suppress(Exception):
            self._resource.close()

    def _exactly(self, count: int, ends: float) -> bytes:
        """Read so many bytes; a newline among them ends nothing."""
        got = bytearray()
        while len(got) < count:
            chunk, _ = self._resource.visalib.read(self._resource.session, min(count - len(got), _CHUNK))
            got += chunk
            if not chunk or time.monotonic() > ends:
                raise TimeoutError(f"{len(got)} of {count} bytes came")
        return bytes(got)

    def _no_warnings(self) -> contextlib.AbstractContextManager[Any]:
        from pyvisa.constants import StatusCode  # noqa: PLC0415 - loaded already, by whoever opened the resource

        ignored: contextlib.AbstractContextManager[Any] = self._resource.ignore_warning(
            StatusCode.success_max_count_read, StatusCode.success_device_not_present
        )
        return ignored

    def _set_deadline(self, deadline: float) -> None:
        milliseconds = max(1, round(1000 * deadline))
        if milliseconds != self._milliseconds:
            self._resource.timeout = milliseconds
            self._milliseconds = milliseconds


def _send_at_once(resource: Any) -> None:
    """Turn Nagle's algorithm off where pyvisa-py owns the socket: its own attribute raises; elsewhere do nothing."""
    sessions = getattr(resource.visalib, "sessions", {})
    found = getattr(sessions.get(resource.session) if isinstance(sessions, dict) else None, "interface", None)
    if isinstance(found, socket.socket):
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _content(answer: bytes) -> bytes:
    """Return what the block holds that is a whole answer."""
    n_digits = _n_digits(answer[:2])
    length = _length(answer[2 : 2 + n_digits])
    content = answer[2 + n_digits : 2 + n_digits + length]
    if len(content) < length:
        raise ValueError(f"a block of {length} bytes was announced, {len(content)} came")
    if answer[2 + n_digits + length :].strip(b"\r\n"):
        raise ValueError(f"a block of {length} bytes was announced, and more came")
    return content


def _n_digits(head: bytes) -> int:
    if len(head) != 2 or head[:1] != b"#" or head[1:] not in b"123456789":
        raise ValueError(f"a block begins with # and a digit, not with {head!r}")
    return int(head[1:])


def _length(digits: bytes) -> int:
    if not digits.isdigit() or int(digits) > _LONGEST_BLOCK:
        raise ValueError(f"the length of a block is a whole number up to {_LONGEST_BLOCK}, not {digits!r}")
    return int(digits)


def as_block(content: bytes) -> bytes:
    """Return the block `#<digits><length><bytes>` of IEEE 488.2."""
    length = str(len(content)).encode()
    return b"#" + str(len(length)).encode() + length + content


@contextlib.contextmanager
def our_errors(tell: Callable[[type[InstrumentError], str], InstrumentError]) -> Iterator[None]:
    """Turn whatever is raised inside into our errors, worded by `tell`; ours pass."""
    try:
        yield
    except InstrumentError:
        raise
    except Exception as error:  # six families of errors come out of VISA, one of them bare Exception
        raise tell(meaning(error), f"{type(error).__name__}: {error}") from error
