"""What a SCPI instrument is behind its wire: messages in, answers out, and the status model of IEEE 488.2 and SCPI.

A device is served over HiSLIP and a TCP socket at once, as instruments with a LAN port are. What it does with the
world is its subclass's; how bytes travel is `_hislip` and `_socket`.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterator

from simulated_bench.servers._hislip import HislipServer
from simulated_bench.servers._socket import SocketServer
from simulated_bench.servers._virtual import LOOPBACK, FaultKind, Faults, VirtualInstrument

Answer = str | bytes | None
Handler = Callable[[int, bytes], Answer]

_TEXTS = {
    -100: "Command error",
    -102: "Syntax error",
    -109: "Missing parameter",
    -113: "Undefined header",
    -160: "Block data error",
    -211: "Trigger ignored",
    -221: "Settings conflict",
    -222: "Data out of range",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -240: "Hardware error",
    -350: "Queue overflow",
}
_LONGEST_QUEUE = 20
_OPC, _QUERY_ERROR, _DEVICE_ERROR, _EXECUTION_ERROR, _COMMAND_ERROR, _POWER_ON = 1, 4, 8, 16, 32, 128
_ERRORS_WAIT, _EVENTS, _SERVICE = 4, 32, 64


class ScpiError(Exception):
    """What an instrument puts into its error queue."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(f"{code} {text}")
        self.code, self.text = code, text or _TEXTS.get(code, "Device-specific error")


class StatusModel:
    """The standard event register, the status byte, and the error queue."""

    def __init__(self) -> None:
        self._errors: deque[ScpiError] = deque()
        self._events, self._enabled, self._requests = _POWER_ON, 0, 0

    def report(self, error: ScpiError) -> None:
        """Queue an error; the last place of a full queue says that more were lost."""
        kinds = {1: _COMMAND_ERROR, 2: _EXECUTION_ERROR, 4: _QUERY_ERROR}
        self._events |= kinds.get(-error.code // 100, _DEVICE_ERROR)
        if len(self._errors) == _LONGEST_QUEUE:
            self._errors[-1] = ScpiError(-350)
        else:
            self._errors.append(error)

    def next_error(self) -> ScpiError:
        """Take the oldest error; code 0 where there is none."""
        return self._errors.popleft() if self._errors else ScpiError(0, "No error")

    def byte(self) -> int:
        """Return the status byte as *STB? gives it."""
        found = _ERRORS_WAIT * bool(self._errors) + _EVENTS * bool(self._events & self._enabled)
        return found + _SERVICE * bool(found & self._requests)

    def clear(self) -> None:
        """Do what *CLS does."""
        self._errors.clear()
        self._events = 0

    def common(self, header: str, argument: bytes) -> Answer:
        """Answer a common command of the status model."""
        if header == "*ESR?":
            events, self._events = self._events, 0
            return str(events)
        if header in {"*ESE", "*SRE"}:
            value = int(_number(argument))
            if not 0 <= value <= 255:
                raise ScpiError(-222)
            self._enabled, self._requests = (
                (value, self._requests) if header == "*ESE" else (self._enabled, value & ~_SERVICE)
            )
            return None
        if header in {"*OPC", "*CLS"}:
            if header == "*CLS":
                self.clear()
            else:
                self._events |= _OPC
            return None
        answers = {"*ESE?": self._enabled, "*SRE?": self._requests, "*STB?": self.byte(), "*OPC?": 1}
        if header not in answers:
            raise ScpiError(-113)
        return str(answers[header])


class ScpiDevice(VirtualInstrument):
    """A device with a parser; a subclass brings its identity, its commands and what *RST does.

    before_reply: called with each query's header before its answer goes out, which is where a test injects a fault
    into one answer of many.
    """

    error_format = '{code:+d},"{text}"'

    def __init__(self, name: str, idn: str) -> None:
        self.name, self.faults, self.idn = name, Faults(), idn
        self.before_reply: Callable[[str], None] | None = None
        self.received: list[bytes] = []
        self._status = StatusModel()
        self._commands: list[tuple[re.Pattern[str], Handler]] = []
        self._lock = threading.RLock()
        self._servers: list[HislipServer | SocketServer] = []
        self.on("SYSTem:ERRor[:NEXT]?", self._error)

    def start(self) -> list[str]:
        """Serve HiSLIP and a socket; return both resource lines, HiSLIP first."""
        hislip, plain = HislipServer(self), SocketServer(self)
        self._servers = [hislip, plain]
        return [
            f"TCPIP::{LOOPBACK}::hislip0,{hislip.port}::INSTR",
            f"TCPIP::{LOOPBACK}::{plain.port}::SOCKET",
        ]

    def stop(self) -> None:
        """Pull the plug: connections end, threads end, outputs are at 0 V."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.stop()
        with self._lock:
            self.reset()

    def reset(self) -> None:
        """Do what *RST does."""

    def trigger(self) -> None:
        """Do what *TRG does."""
        raise ScpiError(-113)

    def on(self, pattern: str, handler: Handler) -> None:
        """Let handler(number, argument) answer headers such as `[SOURce#:]VOLTage:OFFSet`.

        Brackets may be left out, capitals alone will do; # is a channel's number, 1 where it is left out.
        """
        self._commands.append((_compiled(pattern), handler))

    def execute(self, message: bytes) -> bytes | None:
        """Carry out one message; return its answers joined by semicolons, None where nothing was asked."""
        with self._lock:
            self.received.append(message)
            fault = self.faults.take(FaultKind.ERROR_CODE)
            if fault is not None:
                self._status.report(ScpiError(fault.code))
            answers: list[bytes] = []
            parent = ""
            try:
                for header, argument in _units(message):
                    answer, parent = self._carry_out(header, argument, parent)
                    if answer is not None:
                        answers.append(answer if isinstance(answer, bytes) else answer.encode())
            except ScpiError as error:
                self._status.report(error)  # what follows in the message is dropped, as 488.2 has it
        return b";".join(answers) if answers else None

    def status_byte(self) -> int:
        """Return what a serial poll reads."""
        with self._lock:
            return self._status.byte()

    def _carry_out(self, header: str, argument: bytes, parent: str) -> tuple[Answer, str]:
        if header.endswith("?") and self.before_reply is not None:
            self.before_reply(header)
        if header.startswith("*"):
            return self._common(header.upper(), argument), parent
        whole = header[1:] if header.startswith(":") else parent + header
        for pattern, handler in self._commands:
            found = pattern.fullmatch(whole)
            if found:
                numbers = [int(group) for group in found.groups() if group]
                return self._handle(handler, numbers[0] if numbers else 1, argument), _parent(whole)
        raise ScpiError(-113)

    def _common(self, header: str, argument: bytes) -> Answer:
        if header == "*IDN?":
            return self.idn
        if header == "*RST":
            self.reset()
            return None
        if header == "*TRG":
            self._try(self.trigger)
            return None
        return self._status.common(header, argument)

    def _handle(self, handler: Handler, number: int, argument: bytes) -> Answer:
        try:
            return handler(number, argument)
        except ScpiError as error:
            if -200 < error.code <= -100:
                raise
            self._status.report(error)  # an execution error leaves the rest of the message alone
            return None

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except ScpiError as error:
            self._status.report(error)

    def _error(self, number: int, argument: bytes) -> str:  # noqa: ARG002 - the signature of every handler
        error = self._status.next_error()
        return self.error_format.format(code=error.code, text=error.text)


def number_of(argument: bytes, lowest: float, highest: float) -> float:
    """Return a number within bounds. Raises ScpiError as an instrument would."""
    value = _number(argument)
    if not lowest <= value <= highest:
        raise ScpiError(-222)
    return value


def choice_of(argument: bytes, *allowed: str) -> str:
    """Return one of the words, in capitals; ON and OFF may also be written 1 and 0."""
    word = argument.decode("latin-1").strip().upper()
    word = {"1": "ON", "0": "OFF"}.get(word, word) if "ON" in allowed else word
    if not word:
        raise ScpiError(-109)
    for each in allowed:
        short = "".join(letter for letter in each if not letter.islower())
        if word in {each.upper(), short}:
            return short
    raise ScpiError(-224)


def accepted(value: str | float) -> None:
    """Take a setting that has no effect on the world."""


def block_of(argument: bytes) -> bytes:
    """Return what a block holds."""
    if not re.match(rb"#[1-9]", argument):
        raise ScpiError(-160)
    n_digits = argument[1] - ord("0")
    content = argument[2 + n_digits :]
    if len(content) != int(argument[2 : 2 + n_digits]):
        raise ScpiError(-160)
    return content


def _number(argument: bytes) -> float:
    if not argument.strip():
        raise ScpiError(-109)
    try:
        return float(argument)
    except ValueError:
        raise ScpiError(-224) from None


def _parent(header: str) -> str:
    return header.rpartition(":")[0] + ":" if ":" in header else ""


def _compiled(pattern: str) -> re.Pattern[str]:
    def word(found: re.Match[str]) -> str:
        text = found[0]
        short = "".join(letter for letter in text if not letter.islower())
        return f"(?:{short}|{text.upper()})"

    expression = pattern.replace("?", r"\?").replace("[", "(?:").replace("]", ")@").replace("#", r"([0-9]?)")
    expression = re.sub(r"[A-Za-z]+", word, expression)
    return re.compile(expression.replace("@", "?"), re.IGNORECASE)


def _units(message: bytes) -> Iterator[tuple[str, bytes]]:
    """Cut a message at its semicolons, those in strings and blocks apart; yield header and argument of each."""
    place = 0
    while place < len(message):
        end, quoted = place, False
        while end < len(message) and (quoted or message[end : end + 1] != b";"):
            if message[end : end + 1] == b'"':
                quoted = not quoted
            block = None if quoted else re.match(rb"#([1-9])", message[end : end + 2])
            if block:
                n_digits = int(block[1])
                digits = message[end + 2 : end + 2 + n_digits]
                end += 1 + n_digits + (int(digits) if digits.isdigit() else 0)
            end += 1
        unit = message[place:end]
        # Whitespace ends the header; what a block holds is left as it is.
        header, _, argument = unit.lstrip().partition(b" ")
        if header.strip():
            yield header.strip().decode("latin-1"), argument.lstrip(b" ")
        place = end + 1
