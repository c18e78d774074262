"""Stopping: what Ctrl-C and SIGTERM mean while a bench is driven.

First: finish the step or block under way. Again, half a second later: make safe now. A third time: leave at once.
The handler itself sets a flag and notes the time; one key press can arrive twice within milliseconds.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SAME_PRESS = 0.5  # s
EXIT_INTERRUPTED = 130


class Interrupted(KeyboardInterrupt):
    """Somebody asked to stop; the message says what is safe and how to go on."""


class StopRequest:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.count = 0
        self._last = -_SAME_PRESS

    @property
    def wanted(self) -> bool:
        """True once somebody asked."""
        return self.count > 0

    def ask(self) -> None:
        """Note a request, unless it is the same key press again."""
        now = time.monotonic()
        if now - self._last < _SAME_PRESS:
            return
        self._last = now
        self.count += 1

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is Python's
        before = self.count
        self.ask()
        if self.count == before:
            return
        if self.count == 2:
            raise Interrupted("stopped in the middle of a step")
        if self.count > 2:
            os._exit(EXIT_INTERRUPTED)


@contextmanager
def watch_signals() -> Iterator[StopRequest]:
    """Take over SIGINT and SIGTERM while a bench is driven; give them back afterwards.

    In a thread other than the main one (where Python allows no handlers) nothing is taken over.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    watched = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, request._handle) for number in watched}
    try:
        yield request
    finally:
        for number, handler in before.items():
            # Libraries steal handlers; whatever stands there now, what we found is put back.
            signal.signal(number, handler)
