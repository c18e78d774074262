"""Numbers with units on the command line."""

from __future__ import annotations

import click


def quantity(name: str, value: str, *units: str) -> float:
    """Read a number in one of the units, or without one; name: of the option, for the message."""
    from freqprop_lab.config import parse_quantity  # noqa: PLC0415

    try:
        return parse_quantity(value, *units)[0]
    except ValueError as error:
        raise click.UsageError(f"{name}: {error}") from None
