"""What changed between two records, held against how well both are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.records._quantity import Points, Quantity
from calibration.records._record import CalibrationRecord
from freqprop_lab.names import shown
from freqprop_lab.values import Array

_SAME_POINT = 1e-9  # relative
_COMMON = (
    "both records name the same references, so type B is taken as common to both: what is equal in it cancels "
    "(GUM 5.2.2, correlation 1)"
)
_COMMON_SHEETS = (
    "neither record names a reference, so type B is that of the same data sheets and taken as common to both: what is "
    "equal in it cancels (GUM 5.2.2, correlation 1)"
)
_APART = "the records don't name the same references, so both type B uncertainties are added (correlation 0)"


@dataclass(frozen=True, eq=False)
class QuantityChange:
    """One quantity in both records, at the labels and points that they share; NaN where either is undetermined.

    old, new, change = new - old, its standard_uncertainty: in `unit`, (label,) or (label, point). ratio: the change in
    units of that uncertainty; infinite where something changed that is known exactly.
    """

    name: str
    unit: str
    labels: tuple[str, ...]
    points: Points | None
    old: Array
    new: Array
    standard_uncertainty: Array

    @property
    def change(self) -> Array:
        """New - old."""
        return self.new - self.old

    @property
    def ratio(self) -> Array:
        """The change in units of its standard uncertainty, signed."""
        change, doubt = self.change, self.standard_uncertainty
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.where((change == 0) & (doubt == 0), 0.0, change / doubt)


@dataclass(frozen=True)
class Drift:
    """One value that changed by more than k standard uncertainties. point: None where there are none."""

    quantity: str
    unit: str
    label: str
    point: float | None
    old: float
    new: float
    standard_uncertainty: float
    ratio: float
    point_unit: str = ""

    @property
    def change(self) -> float:
        """New - old."""
        return self.new - self.old


@dataclass(frozen=True, eq=False)
class Comparison:
    """What changed from one record to another. drifted: beyond k, the worst first. assumption: about type B.

    notes: what could not be compared, or makes the comparison doubtful, one sentence each.
    """

    k: float
    quantities: tuple[QuantityChange, ...]
    drifted: tuple[Drift, ...]
    assumption: str
    notes: tuple[str, ...] = ()


def compare(old: CalibrationRecord, new: CalibrationRecord, k: float = 2) -> Comparison:
    """Hold two records of one procedure against each other, by quantity, label and common point.

    k: from how many standard uncertainties of the change on a value counts as drifted. Type A uncertainties are taken
    as independent. Type B as common where both records name the same references, or none (its standard uncertainty is
    then the difference of the two), else as independent. Raises ValueError for different procedures, or k below 0.
    Source: GUM 5.1.2, 5.2.2.
    """
    if old.procedure != new.procedure:
        raise ValueError(f"a record of {old.procedure} can't be compared with one of {new.procedure}")
    if not k >= 0:
        raise ValueError(f"k is {k}; a number from 0 on is wanted")
    common = set(old.references) == set(new.references)
    notes = [*_differences(old, new)]
    changes = []
    for before in old.quantities:
        after = next((one for one in new.quantities if one.name == before.name), None)
        if after is not None and (problem := _unlike(before, after)):
            notes.append(f"{before.name}: {problem}")
        elif after is not None:
            changes.append(_change(before, after, notes, common=common))
    drifted = [drift for change in changes for drift in _beyond(change, k)]
    assumption = (_COMMON if old.references else _COMMON_SHEETS) if common else _APART
    drifted.sort(key=lambda drift: -abs(drift.ratio))
    return Comparison(k, tuple(changes), tuple(drifted), assumption, tuple(notes))


def _differences(old: CalibrationRecord, new: CalibrationRecord) -> list[str]:
    notes = _only([one.name for one in old.quantities], [one.name for one in new.quantities], "quantity", "")
    if old.bench != new.bench:
        notes.append(f'they are of different benches, "{old.bench}" and "{new.bench}"')
    if new.time < old.time:
        notes.append("the first record is the newer one")
    before = {instrument.name: instrument for instrument in old.instruments}
    for after in new.instruments:
        was = before.get(after.name)
        if was is not None and (was.manufacturer, was.model, was.serial) != (
            after.manufacturer,
            after.model,
            after.serial,
        ):
            notes.append(f'"{after.name}" was {was.words}, and now is {after.words}')
    return notes


def _only(old: list[str], new: list[str], what: str, where: str) -> list[str]:
    gone = [name for name in old if name not in new]
    come = [name for name in new if name not in old]
    notes = [f"{where}only in the old record: {what} {shown(gone)}"] if gone else []
    return notes + ([f"{where}only in the new record: {what} {shown(come)}"] if come else [])


def _unlike(old: Quantity, new: Quantity) -> str | None:
    if old.unit != new.unit:
        return f"in {old.unit or '1'} before and in {new.unit or '1'} now; not compared"
    axes = [(one.points.name, one.points.unit) if one.points else None for one in (old, new)]
    if axes[0] != axes[1]:
        return "not a table over the same points; not compared"
    return None


def _change(old: Quantity, new: Quantity, notes: list[str], *, common: bool) -> QuantityChange:
    """Bring the new values to the labels and points of the old ones; NaN where the new record has no such point."""
    notes += _only(list(old.labels), list(new.labels), "label", f"{old.name}: ")
    labels = tuple(label for label in old.labels if label in new.labels)
    rows_old = np.array([old.labels.index(label) for label in labels], dtype=np.intp)
    rows_new = np.array([new.labels.index(label) for label in labels], dtype=np.intp)
    points = None
    columns: NDArray[np.intp] | None = None
    if old.points is not None and new.points is not None:
        axis = old.points.of(len(old.labels))[rows_old]
        columns = _matching(axis, new.points.of(len(new.labels))[rows_new])
        points = Points(old.points.name, old.points.unit, axis)
        if (apart := int((columns < 0).sum() - np.isnan(axis).sum())) > 0:
            notes.append(f"{old.name}: {apart} of {np.isfinite(axis).sum()} points are not in the new record")

    def moved(array: Array) -> Array:
        taken = array[rows_new]
        return taken if columns is None else _taken(taken, columns)

    before, after = old.values[rows_old], moved(new.values)
    known = np.ones_like(before, dtype=np.bool_) if columns is None else columns >= 0
    for words, lost in (("now", ~np.isnan(before) & np.isnan(after)), ("before", np.isnan(before) & ~np.isnan(after))):
        rows = (lost & known).reshape(len(labels), -1).any(axis=1)
        if rows.any():
            notes.append(f"{old.name}: not determined {words}: {shown([labels[row] for row in np.flatnonzero(rows)])}")
    type_b_old, type_b_new = old.type_b[rows_old], moved(new.type_b)
    type_b = np.abs(type_b_new - type_b_old) if common else np.hypot(type_b_old, type_b_new)
    doubt = np.hypot(np.hypot(old.type_a[rows_old], moved(new.type_a)), type_b)
    return QuantityChange(old.name, old.unit, labels, points, before, after, doubt)


def _matching(old: Array, new: Array) -> NDArray[np.intp]:
    """Return for each old point, (label, point), the column of the same new one, -1 where there is none."""
    columns = np.full(old.shape, -1, dtype=np.intp)
    for row, (wanted, there) in enumerate(zip(old, new, strict=True)):
        order = np.argsort(there)  # NaN last
        ordered = there[order][: np.isfinite(there).sum()]
        if not ordered.size:
            continue
        right = np.searchsorted(ordered, wanted).clip(0, ordered.size - 1)
        left = (right - 1).clip(0)
        nearest = np.where(np.abs(ordered[left] - wanted) < np.abs(ordered[right] - wanted), left, right)
        same = np.abs(ordered[nearest] - wanted) <= _SAME_POINT * np.abs(wanted)
        columns[row, same] = order[nearest[same]]
    return columns


def _taken(array: Array, columns: NDArray[np.intp]) -> Array:
    if not array.shape[1]:
        return np.full(columns.shape, np.nan)
    return np.where(columns < 0, np.nan, np.take_along_axis(array, columns.clip(0), axis=1))


def _beyond(change: QuantityChange, k: float) -> list[Drift]:
    ratio = change.ratio
    with np.errstate(invalid="ignore"):
        places = np.argwhere(np.abs(ratio) > k)
    drifts = []
    for row, *column in places:
        place = (row, *column)
        point = None if change.points is None else float(change.points.values[place])
        numbers = (change.old, change.new, change.standard_uncertainty, ratio)
        old, new, doubt, times = (float(array[place]) for array in numbers)
        axis_unit = "" if change.points is None else change.points.unit
        drifts.append(Drift(change.name, change.unit, change.labels[row], point, old, new, doubt, times, axis_unit))
    return drifts
