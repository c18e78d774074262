"""A connection to one SCPI instrument, and the one rule that keeps its answers true.

A late answer is taken for the answer to the next question: after a time-out of 0.3 s, `*IDN?` returned the reading
asked for before it, and half of a number came back as a number (measured, SOCKET). A device clear does not mend
that on every wire. So after anything that did not end as it should, also a Ctrl-C in the middle of a query, the
connection is closed and opened again, and the instrument must say that it is the same one, before another byte is
believed. What it had been set to may be lost by then, so it gets its set-up anew.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence

from drivers.scpi._visa import OpenPipe, Pipe, as_block, open_visa, our_errors
from freqprop_lab.instruments import ConnectionLostError, Identity, InstrumentError, ProtocolError, TimeLimitError

LONGEST_SAFE = 1.0  # s: what each step of make_safe may take
_MOST_ERRORS = 20  # as many as error queues hold, or fewer
_ERROR = re.compile(r'([+-]?\d+)\s*(?:,\s*"?(.*?)"?)?\s*')
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_REMEDIES = {
    ConnectionLostError: "Check its power, its cable and the field resource in the bench file",
    TimeLimitError: "Raise the field deadline if it needs longer, else look at its screen and restart it",
    ProtocolError: "Check that resource and driver in the bench file name the same instrument",
}


class ScpiLink:
    """One instrument behind one lock.

    who: how messages call it, such as `source "gen"`. driver: its name in bench files. deadline: s, for each exchange.
    models: what its answer to *IDN? must match. setup: sent after every opening, the first and those after a fault;
    `generation` counts these, so that a driver knows when what it had set is gone. joined: the dialect takes several
    commands in one message. error_query: None for an instrument without an error queue.
    """

    def __init__(
        self,
        who: str,
        driver: str,
        resource: str,
        *,
        visa: str | None = None,
        deadline: float = 2.0,
        models: str = "",
        setup: Sequence[str] = (),
        joined: bool = True,
        identity_query: str = "*IDN?",
        error_query: str | None = "SYST:ERR?",
        open_pipe: OpenPipe | None = None,
    ) -> None:
        self.who, self.resource, self.deadline, self.generation = who, resource, deadline, 0
        self._driver, self._models, self._setup, self._joined = driver, re.compile(models), tuple(setup), joined
        self._identity_query, self._error_query = identity_query, error_query
        self._open_pipe: OpenPipe = open_pipe or (lambda seconds: open_visa(resource, visa, seconds))
        self._lock = threading.RLock()
        self._pipe: Pipe | None = None
        self._said = ""  # its answer to *IDN? when it was first opened
        self._doubtful = True  # whether an answer could be another question's
        self._closed = False
        with self._lock:
            self._open(deadline)

    @property
    def identity(self) -> Identity:
        """Who the instrument said it is when it was opened."""
        return Identity(*(*(part.strip() for part in self._said.split(",")[:4]), "", "", "", "")[:4])

    def command(self, *commands: str, about: str = "") -> None:
        """Send commands as one group, then read the error queue; raise ProtocolError with the instrument's words."""
        with self._exchange(about) as pipe:
            self._send(pipe, commands, self.deadline)
            self._raise_errors(pipe, commands, about, self.deadline)

    def query(self, question: str, about: str = "") -> str:
        """Ask, and return the answer."""
        with self._exchange(about) as pipe:
            return self._ask(pipe, question, about, self.deadline)

    def number(self, question: str, about: str = "") -> float:
        """Ask for a number."""
        with self._exchange(about) as pipe:
            answer = self._ask(pipe, question, about, self.deadline)
            try:
                return float(answer)
            except ValueError:
                raise self._senseless(question, answer, "a number", about) from None

    def write_block(self, header: str, content: bytes, about: str = "") -> None:
        """Send a command that ends with a block of bytes, then read the error queue."""
        with self._exchange(about) as pipe:
            pipe.send(header.encode() + as_block(content), self.deadline)
            self._raise_errors(pipe, (header,), about, self.deadline)

    def read_block(self, question: str, about: str = "") -> bytes:
        """Ask for a block, and return what it holds. One that breaks off is an error, never a shorter one."""
        with self._exchange(about) as pipe:
            pipe.send(question.encode(), self.deadline)
            return pipe.receive_block(self.deadline)

    def renew_if_doubtful(self) -> None:
        """Open anew where the last exchange ended badly; otherwise the next one would."""
        with self._exchange(""):
            pass

    def make_safe(self, *commands: str, confirm: str = "*OPC?") -> None:
        """Send commands, in whatever state the link is, and wait until they are done; nothing once it is closed.

        Takes at most four times `LONGEST_SAFE`. Raises InstrumentError where nobody can tell that they were done:
        whoever is told must go and look.
        """
        deadline = min(self.deadline, LONGEST_SAFE)
        with self._lock:
            if self._closed:
                return
            try:
                with self._exchange("", deadline) as pipe:
                    self._send(pipe, commands, deadline)
                    self._ask(pipe, confirm, "", deadline)
            except InstrumentError as error:
                message = f"{error}. It could not be made safe from here: switch its outputs off by hand"
                raise type(error)(message) from error

    def close(self) -> None:
        """Give the connection back; a second call does nothing."""
        with self._lock:
            self._closed = True
            self._drop(clear=False)

    def refused(self, kind: type[InstrumentError], what: str, about: str = "") -> InstrumentError:
        """Return an error that begins with who and where."""
        place = f", {about}" if about else ""
        return kind(f"{self.who}{place} ({self.resource}): {what}")

    @contextlib.contextmanager
    def _exchange(self, about: str, deadline: float | None = None) -> Iterator[Pipe]:
        """Hold the lock around what goes out and what comes back; doubt the link unless all of it went well."""
        with self._lock:
            if self._closed:
                raise self.refused(ConnectionLostError, "it is closed; open the bench again", about)
            if self._doubtful or self._pipe is None:
                self._open(min(deadline or self.deadline, self.deadline))
            assert self._pipe is not None  # noqa: S101 - _open raises or sets it
            self._doubtful = True
            with our_errors(lambda kind, words: self._tell(kind, words, about)):
                yield self._pipe
            self._doubtful = False

    def _open(self, deadline: float) -> None:
        """Open, or open again; believe nothing before the instrument has said who it is."""
        self._drop(clear=True)
        self._doubtful = True
        with our_errors(lambda kind, words: self._tell(kind, words, "")):
            try:
                self._pipe = self._open_pipe(deadline)
            except ImportError:
                raise ConnectionLostError(
                    f'driver "{self._driver}" needs an extra that isn\'t installed: pip install "freqprop-lab[visa]"'
                ) from None
            try:
                self._recognise(self._pipe, deadline)
                self._send(self._pipe, self._setup, deadline)
                self._raise_errors(self._pipe, self._setup, "", deadline)
            except BaseException:
                self._drop(clear=False)
                raise
        self.generation += 1
        self._doubtful = False

    def _recognise(self, pipe: Pipe, deadline: float) -> None:
        said = self._ask(pipe, self._identity_query, "", deadline)
        if self._said and said != self._said:
            message = (
                f'after the connection was renewed "{said:.80}" answers, where "{self._said:.80}" was. Nothing '
                "more was sent to it. Check the address, and whether the instrument was exchanged"
            )
            raise self.refused(ConnectionLostError, message)
        if not self._said and not self._models.search(said):
            message = (
                f'driver "{self._driver}" is not for this instrument, which calls itself "{said:.80}"; nothing was '
                "set. Check the field resource, or choose another driver"
            )
            raise self.refused(ProtocolError, message)
        self._said = said

    def _drop(self, *, clear: bool) -> None:
        if self._pipe is not None:
            if clear:
                self._pipe.clear(min(self.deadline, LONGEST_SAFE))
            self._pipe.close()
            self._pipe = None

    def _send(self, pipe: Pipe, commands: Sequence[str], deadline: float) -> None:
        if self._joined and commands:
            parts = [command if command.startswith(("*", ":")) else f":{command}" for command in commands]
            commands = [";".join(parts)]
        for command in commands:
            pipe.send(command.encode(), deadline)

    def _ask(self, pipe: Pipe, question: str, about: str, deadline: float) -> str:
        pipe.send(question.encode(), deadline)
        answer = pipe.receive_line(deadline).decode("latin-1").strip()
        if not answer or not _PRINTABLE.fullmatch(answer):
            raise self._senseless(question, answer, "a line of text", about)
        return answer

    def _raise_errors(self, pipe: Pipe, commands: Sequence[str], about: str, deadline: float) -> None:
        """Empty the error queue, and raise what was in it."""
        if self._error_query is None:
            return
        found: list[str] = []
        for _ in range(_MOST_ERRORS):
            answer = self._ask(pipe, self._error_query, about, deadline)
            shape = _ERROR.fullmatch(answer)
            if shape is None:
                raise self._senseless(self._error_query, answer, "a code and a text", about)
            if int(shape[1]) == 0:
                break
            found.append(f"{int(shape[1])} {shape[2] or ''}".strip())
        if found:
            self._doubtful = False  # the conversation itself is sound
            told = "; ".join(commands)
            message = (
                f'the instrument reports {", ".join(found)} after "{told:.120}". '
                "Check the settings in the bench file against its manual"
            )
            raise self.refused(ProtocolError, message, about)

    def _senseless(self, question: str, answer: str, wanted: str, about: str) -> InstrumentError:
        message = f"it answered {answer[:60]!r} to {question}; {wanted} was expected. {_REMEDIES[ProtocolError]}"
        return self.refused(ProtocolError, message, about)

    def _tell(self, kind: type[InstrumentError], words: str, about: str) -> InstrumentError:
        said = {
            TimeLimitError: f"no whole answer came within {self.deadline:g} s",
            ProtocolError: f"its answer makes no sense ({words})",
        }.get(kind, f"the connection failed ({words})")
        return self.refused(kind, f"{said}. {_REMEDIES[kind]}", about)
