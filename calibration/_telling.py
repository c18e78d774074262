"""How the quantities of a record are told to a person: labels that name a place, per cent, bounds, order of rows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration._numbers import percent, rounded, with_doubt
from calibration.record_names import (
    AT_LEAST,
    AT_MOST,
    BOUNDS,
    CAPACITANCE,
    CHANNELS,
    CONDUCTANCE,
    RELAXATION_TIME,
)
from calibration.records import CalibrationRecord, Quantity

SHARES = ("deviation", "repeatability", "hysteresis")  # told in per cent
_NOT_NEGATIVE = (  # what is below zero in these is noise alone
    CAPACITANCE,
    CONDUCTANCE,
    RELAXATION_TIME,
    "slowest relaxation time",
    "settling time",
    "repeatability",
    "deviation",
    "noise",
    "noise of a reading",
    "noise of b",
    "lines",
)


@dataclass(frozen=True)
class Places:
    """Where the channels of a record were wired: node or branch by channel.

    sources: the source channels in the order of raw arrays by lead. meters: the meter channels by their nodes, in the
    order of the network's. units: V or A, by source channel. listed: Ohm, of the series resistors in the bench file, by
    source channel. All empty for records that don't tell.
    """

    by_channel: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    listed: Mapping[str, float] = field(default_factory=dict)

    def label(self, channel: str) -> str:
        """Return how a person finds a channel: "n1 (meter/1)"; of a channel that nobody told, and all else, itself."""
        place = self.by_channel.get(channel)
        return channel if place is None else f"{place} ({channel})"


def places_of(record: CalibrationRecord) -> Places:
    """Return what the settings of a record tell of its channels; what is not of that form is passed over."""
    told = record.settings.get(CHANNELS)
    if not isinstance(told, dict):
        return Places()
    by_channel: dict[str, str] = {}
    units: dict[str, str] = {}
    listed: dict[str, float] = {}
    names: dict[str, list[str]] = {}
    for kind, what in (("sources", "node"), ("meters", "node"), ("elements", "branch")):
        rows = told.get(kind)
        for row in rows if isinstance(rows, list) else ():
            if not isinstance(row, dict) or not isinstance(row.get("channel"), str):
                continue
            channel: str = row["channel"]
            names.setdefault(kind, []).append(channel)
            if isinstance(row.get(what), str):
                by_channel[channel] = row[what]
            if isinstance(row.get("unit"), str):
                units[channel] = row["unit"]
            if isinstance(row.get("resistance"), int | float):
                listed[channel] = float(row["resistance"])
    return Places(by_channel, tuple(names.get("sources", ())), tuple(names.get("meters", ())), units, listed)


def for_people(record: CalibrationRecord) -> tuple[Quantity, ...]:
    """Return the quantities of a record as a person looks for them: places named, n2 before n10."""
    places = places_of(record)
    return tuple(_ordered(quantity, places) for quantity in record.quantities)


def words_of(quantity: Quantity, value: float, doubt: float, bound: str = "") -> str:
    """Write one value of a quantity with its expanded uncertainty; what can't be negative and is lost in it as a bound.

    bound: "at least" or "at most" where the value is one.
    """
    unit, factor = ("%", 100.0) if quantity.name in SHARES else (quantity.unit, 1.0)
    value, doubt = value * factor, doubt * factor
    if bound and not math.isnan(value):
        number = rounded(value, unit)
        return f"{number} or more" if bound == AT_LEAST else f"{number} or less"
    if is_bound(quantity.name, value, doubt):
        return f"below {rounded(upper_end(value, doubt), unit, 2)}"
    return with_doubt(value, doubt, unit)


def doubt_of(quantity: Quantity, doubt: float) -> str:
    """Write one standard uncertainty of a quantity; a dash where none is stated."""
    if not doubt or math.isnan(doubt):
        return "-"
    if quantity.name in SHARES:
        return percent(doubt)
    return rounded(doubt, quantity.unit)


def bounds_of(record: CalibrationRecord) -> dict[str, str]:
    """Return which quantities of a record are bounds: "at least" or "at most", by name."""
    told: Any = record.outcome.get(BOUNDS)
    return {name: way for name, way in told.items() if way in (AT_LEAST, AT_MOST)} if isinstance(told, dict) else {}


def is_bound(name: str, value: float, doubt: float) -> bool:
    """Say whether a value that can't be negative is lost in its expanded uncertainty: a bound alone is known."""
    return name in _NOT_NEGATIVE and doubt > 0 and value - doubt <= 0


def upper_end(value: float, doubt: float) -> float:
    """Return below what a value that can't be negative surely is; one read below zero counts as nothing."""
    return max(value, 0.0) + doubt


def in_natural_order(names: Sequence[str]) -> list[int]:
    """Return the numbers of names in the order in which a person looks for them: n2 before n10."""
    return sorted(range(len(names)), key=lambda number: _key(names[number]))


def _key(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts if part]


def _ordered(quantity: Quantity, places: Places) -> Quantity:
    of_places = {*places.by_channel, *places.by_channel.values()}
    if not any(label in of_places for label in quantity.labels):
        return quantity  # rows that are no places, or of a record that does not tell: in the order that they have
    labels = [places.label(label) for label in quantity.labels]
    order = np.array(in_natural_order(labels), dtype=np.intp)
    return _rows(quantity, order, tuple(labels[row] for row in order))


def _rows(quantity: Quantity, order: NDArray[np.intp], labels: tuple[str, ...]) -> Quantity:
    points, freedom = quantity.points, quantity.degrees_of_freedom
    if points is not None and points.values.ndim == 2:
        points = replace(points, values=points.values[order])
    return replace(
        quantity,
        labels=labels,
        points=points,
        values=quantity.values[order],
        type_a=quantity.type_a[order],
        type_b=quantity.type_b[order],
        degrees_of_freedom=None if freedom is None else freedom[order],
    )
