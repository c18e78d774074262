"""Commands that other packages bring, by the entry point `freqprop_lab.commands`: "calibrate", "bench serve"."""

from __future__ import annotations

import click

_GROUP = "freqprop_lab.commands"


def plugged_commands(before: str) -> list[str]:
    """List the commands below `before` ("" or "bench") without loading them."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - costs more than all of --help beside it

    words = [entry.name.split() for entry in entry_points(group=_GROUP)]
    depth = len(before.split())
    return sorted(name[-1] for name in words if len(name) == depth + 1 and name[:depth] == before.split())


def plugged_command(name: str) -> click.Command | None:
    """Load the command of that name ("bench serve"); a broken package is told by name and left out."""
    from importlib.metadata import entry_points  # noqa: PLC0415

    for entry in entry_points(group=_GROUP):
        if entry.name == name:
            try:
                found = entry.load()
            except Exception as error:  # noqa: BLE001 - whatever another package does wrong
                package = entry.dist.name if entry.dist else entry.value
                raise click.ClickException(
                    f"{name} comes with the package {package}, which fails to load: {error}"
                ) from None
            if isinstance(found, click.Command):
                return found
    return None
