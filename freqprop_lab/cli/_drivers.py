"""`freqprop drivers` and `freqprop discover`: what could be used here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

import click

_GROUPS = {"bench": "freqprop_lab.benches", "instrument": "freqprop_lab.instruments"}


@click.command()
def drivers() -> None:
    """List the kinds of bench and the instrument drivers: from which package, and which extra is missing."""
    click.echo(f"{'kind':12}{'name':20}{'package':26}state")
    for group, entry in _entries():
        package = entry.dist.name if entry.dist else "?"
        loaded, state = _loaded(entry)
        if loaded is not None and group == "instrument":
            state = _missing(loaded) or state
        click.echo(f"{group:12}{entry.name:20}{package:26}{state}")


@click.command()
@click.option("--network", is_flag=True, help="Also ask the local network, by broadcasts.")
def discover(*, network: bool) -> None:
    """Look for instruments and print lines to paste into a bench file. Nothing is written to any port.

    Without --network nothing is sent to the network either.
    """
    n_found = 0
    for group, entry in _entries():
        kind, _ = _loaded(entry) if group == "instrument" else (None, "")
        if kind is None or _missing(kind):
            continue
        for found in kind.discover(network=network):
            n_found += 1
            click.echo(f"{found.line:64}# {found.words}")
    if not n_found:
        click.echo("nothing found; instruments on the network are asked for with --network", err=True)


def _entries() -> Iterator[tuple[str, EntryPoint]]:
    for kind, group in _GROUPS.items():
        for entry in sorted(entry_points(group=group), key=lambda each: each.name):
            yield kind, entry


def _loaded(entry: EntryPoint) -> tuple[Any, str]:
    """Load what an entry names; a broken package is a line in the list, not the end of it."""
    try:
        return entry.load(), "ready"
    except Exception as error:  # noqa: BLE001 - whatever another package does wrong
        package = entry.dist.name if entry.dist else entry.value
        click.echo(f"warning: {entry.name} comes with the package {package}, which fails to load: {error}", err=True)
        return None, "broken"


def _missing(kind: Any) -> str:
    """Say which extra a driver lacks, if any."""
    if kind.library and find_spec(kind.library) is None:
        return f'needs an extra: pip install "freqprop-lab[{kind.extra}]"'
    return ""
