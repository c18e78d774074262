"""The libraries that only reports need: they come with an extra, and are imported where they are used."""

from __future__ import annotations

from importlib import import_module

_NEEDED = ("matplotlib", "networkx")


class MissingExtraError(Exception):
    """A library of the extra `report` isn't installed; the message holds the line that installs it."""


def require_libraries() -> None:
    """Raise MissingExtraError unless everything that a report needs can be imported."""
    for name in _NEEDED:
        try:
            import_module(name)
        except ImportError as error:
            raise MissingExtraError(
                'reports need an extra that isn\'t installed: pip install "freqprop-lab[report]" '
                f"({error}). Nothing was written"
            ) from error
