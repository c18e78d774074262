"""Names in messages: the nearest valid one, and lists that stay short."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from itertools import islice

_NAMES_SHOWN = 12
_LONGEST_SHOWN = 60
_MOST_COMPARED = 5000  # comparing costs about 10 microseconds a name


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is meant, as the end of a message; empty where none is near."""
    wanted = name[:_LONGEST_SHOWN]
    by_case: dict[str, str] = {}
    for other in islice(known, _MOST_COMPARED):
        by_case.setdefault(other.lower(), other)
    close = difflib.get_close_matches(wanted.lower(), list(by_case), n=1, cutoff=0.5)
    return f' Did you mean "{cut(by_case[close[0]])}"?' if close else ""


def shown(names: Sequence[str]) -> str:
    """List names, at most twelve of them."""
    return few([cut(name) for name in names], _NAMES_SHOWN)


def few(parts: Sequence[str], most: int = 4) -> str:
    """List parts of a sentence, at most so many of them, and say how many more there are."""
    more = f" and {len(parts) - most} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more


def cut(text: str) -> str:
    """Shorten what came from a file to what a message can hold."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."
