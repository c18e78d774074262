"""What other packages bring, found by entry points and only when a name is asked for."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from freqprop_lab.names import cut, nearest, shown

BENCHES = "freqprop_lab.benches"
INSTRUMENTS = "freqprop_lab.instruments"
CORRECTIONS = "freqprop_lab.corrections"


class PluginError(Exception):
    """A name that no installed package brings, or a package that can't be loaded."""


def names(group: str) -> list[str]:
    """List what is installed for a group, without loading it."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load(group: str, name: str) -> Any:
    """Load the entry of that name. Raises PluginError naming the nearest one, or the package that is broken."""
    for entry in entry_points(group=group):
        if entry.name == name:
            try:
                return entry.load()
            except Exception as error:
                package = entry.dist.name if entry.dist else entry.value
                raise PluginError(f'"{name}" comes with the package {package}, which fails to load: {error}') from error
    known = names(group)
    raise PluginError(f'"{cut(name)}" is not installed.{nearest(name, known)} Installed: {shown(known) or "none"}')
