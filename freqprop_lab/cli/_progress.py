"""Telling how far a run is: one live line on a terminal, a plain line now and then elsewhere. Standard error only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freqprop_lab.trainer import Progress

_PLAIN_EVERY = 5.0  # s


@contextmanager
def progress_line(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Give a function that shows progress; the line is cleared at the end."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        with Live(console=Console(stderr=True), refresh_per_second=8, transient=True) as live:
            yield lambda progress: live.update(Text(_words(progress)))
    else:
        yield _Plain().tell


class _Plain:
    """Lines for a log file: the first after a while, then one every five seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def tell(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last > _PLAIN_EVERY:
            self._last = now
            sys.stderr.write(f"{_words(progress)}\n")
            sys.stderr.flush()


def _words(progress: Progress) -> str:
    parts = [f"epoch {progress.epoch}/{progress.epochs}", f"step {progress.steps}"]
    if progress.error is not None:
        parts.append(f"error {progress.error:.4g}")
    if progress.accuracy is not None:
        parts.append(f"accuracy {progress.accuracy:.3f}")
    if progress.seconds_left is not None:
        parts.append(f"{_duration(progress.seconds_left)} left")
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
