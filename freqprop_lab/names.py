"""Names in messages: the nearest valid one, and lists that stay short."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_NAMES_SHOWN = 12


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is meant, as the end of a message; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""


def shown(names: Sequence[str]) -> str:
    """List names, at most twelve of them."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
