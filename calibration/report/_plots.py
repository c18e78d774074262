"""The plots of a calibration record: values with 95 % intervals, tables with bands, residuals, the gradient."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration._numbers import measure, rounded, takes_prefix
from calibration._telling import (
    SHARES,
    Places,
    for_people,
    in_natural_order,
    is_bound,
    places_of,
    upper_end,
)
from calibration.record_names import (
    DIFFERENCE,
    LEVELS,
    METER_GAIN,
    PRODUCT,
    RESIDUALS,
    SERIES,
    SOURCE_GAIN,
    TABLE,
)
from calibration.records import COVERAGE_FACTOR, CalibrationRecord, Quantity
from freqprop_lab.names import shown
from freqprop_lab.report import Scale, scale_of
from freqprop_lab.values import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _VERMILLION, _GREY = "#0072B2", "#E69F00", "#D55E00", "#777777"
_MOST_LINES = 10  # as many as there are colours
_MOST_PANELS = 6  # of so many lines each, of one table
_UNKNOWN = 0.25  # of the value: a median interval that reaches farther either way, and nothing is to be seen of it
_MOST_UNTOLD = 4  # named in a title
_TALLER = 1.7  # of a panel: room for the names below it
_MOST_MOVED = 2  # sources in the name of a drive
_ALIKE = 0.02  # of the largest level: sources that differ by less were moved together
_MOST_DRIVES = 40  # named below a picture of residuals
_MOST_NAMED = 24  # channels beside a picture of residuals
_FEWEST_BINS, _MOST_BINS = 9, 40
_MOST_LABELS = 64
_SMALL = 0.1  # shares below this are drawn in per cent
_FEW_POINTS = 20  # so few that a line alone hides where they are
_WIDE, _HIGH = 11.0, 3.0  # inches
_GRADIENT = ("gradient", "finite difference")
_OF_VISITS = "repeatability"
_AS_DEVIATION = (SOURCE_GAIN, METER_GAIN)  # drawn as what they are off from 1
_ABOUT_ZERO = ("V", "A", "s")  # units of what is meant to be nothing
_STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
}


@dataclass(frozen=True)
class Picture:
    """A PNG, and in words what it shows."""

    png: bytes
    says: str


def pictures(record: CalibrationRecord) -> list[Picture]:
    """Draw what a record holds; an empty list where there is nothing to see."""
    drawn: list[Picture] = []
    told, places = for_people(record), places_of(record)
    product, difference = record.raw.get(PRODUCT), record.raw.get(DIFFERENCE)
    has_gradient = product is not None and difference is not None and product.shape == difference.shape
    beside = _GRADIENT if has_gradient else ()  # drawn against each other already
    drawable = [each for each in told if each.points is None and np.isfinite(each.values).any()]
    # One number is read, not drawn.
    singles = [_off_from_listed(each, places) for each in drawable if len(each.labels) > 1 and each.name not in beside]
    tables = [each for each in told if each.points is not None and np.isfinite(each.values).any()]
    singles += [at_one for each in tables if (at_one := _at_its_one_point(each)) is not None]
    tables = [each for each in tables if _at_its_one_point(each) is None]
    if singles:
        drawn.append(_panels(singles, _values, "Values with their 95 % intervals: "))
    for table in tables:
        drawn += _conductances(table, _untold_elements(table, told)) if table.name == TABLE else _spectra(table)
    residuals = record.raw.get(RESIDUALS)
    if residuals is not None and residuals.ndim == 2 and residuals.size:
        n_states = record.settings.get("states", 1)
        which = f" of the first of {n_states} states" if record.procedure == "resistors" else ""
        drawn.append(_residuals(np.asarray(residuals, dtype=np.float64), places, record.raw.get(LEVELS), which))
    if has_gradient:
        drawn.append(_gradient(record))
    return drawn


def _off_from_listed(quantity: Quantity, places: Places) -> Quantity:
    """Return series resistors as what they are off from what is listed, where all are: sizes apart make one scale."""
    if quantity.name != SERIES:
        return quantity
    by_label = {places.label(channel): ohms for channel, ohms in places.listed.items()}
    if not all(label in by_label for label in quantity.labels):
        return quantity
    listed = np.array([by_label[label] for label in quantity.labels])
    parts = (quantity.values / listed - 1, quantity.type_a / listed, quantity.type_b / listed)
    return Quantity(f"{SERIES} / listed - 1", "%", quantity.labels, *(100 * part for part in parts))


def _untold_elements(table: Quantity, told: tuple[Quantity, ...]) -> list[bool]:
    """Say of each row whether it is too little known to be drawn, or said by its record not to be told."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wide = table.expanded_uncertainty / np.abs(table.values)
    told_of_visits = next((each for each in told if each.name == _OF_VISITS and each.labels == table.labels), None)
    untold = np.array([not np.isfinite(row).any() or np.nanmedian(row) > _UNKNOWN for row in wide], dtype=bool)
    if told_of_visits is not None:
        untold |= np.isnan(told_of_visits.values)
    return [bool(each) for each in untold]


def _conductances(table: Quantity, untold: list[bool]) -> list[Picture]:
    """Draw the elements that are known, ten a panel, in their order; the farthest from 1 where they are too many."""
    assert table.points is not None  # noqa: S101 - a table
    known = [row for row, is_untold in enumerate(untold) if not is_untold]
    unknown = [label for label, is_untold in zip(table.labels, untold, strict=True) if is_untold]
    if not known:
        return []
    away = np.abs(table.values / table.points.of(len(table.labels)) - 1)
    most = _MOST_LINES * _MOST_PANELS
    shown_rows = [known[row] for row in _farthest(away[known], most)]
    more = f" (the {most} of {len(known)} that are farthest from 1)" if len(known) > most else ""
    more += f"; not drawn, since these readings don't tell them: {shown(unknown)}" if unknown else ""
    groups = [shown_rows[first : first + _MOST_LINES] for first in range(0, len(shown_rows), _MOST_LINES)]
    with _figure(len(groups)) as (figure, png):
        for number, rows in enumerate(groups):
            axes = figure.add_subplot(len(groups), 1, number + 1)
            _table(axes, table, rows, more if number == 0 else "")
        return [Picture(png(), f"True over nominal conductance of {len(shown_rows)} elements{more}")]


def _spectra(table: Quantity) -> list[Picture]:
    rows = _farthest(table.values, _MOST_LINES)
    more = f" (the {len(rows)} of {len(table.labels)} that are largest)" if len(rows) < len(table.labels) else ""
    with _figure(1) as (figure, png):
        _table(figure.add_subplot(1, 1, 1), table, rows, more)
        return [Picture(png(), f"{table.name}{more}")]


def _at_its_one_point(quantity: Quantity) -> Quantity | None:
    """Return a table of a single point as values by label, named after the point; None for any other."""
    assert quantity.points is not None  # noqa: S101 - a table
    points = quantity.points.values[np.isfinite(quantity.points.values)]
    if quantity.values.shape[1] != 1 or len(np.unique(points)) != 1:
        return None
    name = f"{quantity.name} at {measure(float(points.flat[0]), quantity.points.unit)}"
    parts = (quantity.values[:, 0], quantity.type_a[:, 0], quantity.type_b[:, 0])
    return Quantity(name, quantity.unit, quantity.labels, *parts)


@contextmanager
def _figure(rows: float) -> Iterator[tuple[Figure, Callable[[], bytes]]]:
    from matplotlib import style  # noqa: PLC0415
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with style.context(["default", _STYLE]):
        figure = Figure((_WIDE, _HIGH * rows), 90, layout="constrained")
        FigureCanvasAgg(figure)

        def png() -> bytes:
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", metadata={"Software": None})
            return buffer.getvalue()

        yield figure, png


def _panels(quantities: list[Quantity], draw: Callable[[Axes, Quantity], None], words: str) -> Picture:
    with _figure(len(quantities)) as (figure, png):
        for row, quantity in enumerate(quantities):
            draw(figure.add_subplot(len(quantities), 1, row + 1), quantity)
        return Picture(png(), words + ", ".join(quantity.name for quantity in quantities))


def _values(axes: Axes, quantity: Quantity) -> None:
    """Draw one value a label; gains as what they are off from 1. Intervals may be too short to see: told as well."""
    deviation = quantity.name in _AS_DEVIATION
    values = quantity.values - 1 if deviation else quantity.values
    doubts = quantity.expanded_uncertainty
    small = quantity.unit == "1" and np.nanmax(np.abs(values)) < _SMALL
    reach = np.abs(values) + np.nan_to_num(doubts)
    scale = _scale(reach, quantity.unit, share=deviation or small or quantity.name in SHARES)
    place = np.arange(len(values))
    pairs = zip(values.tolist(), doubts.tolist(), strict=True)
    bound = np.array([is_bound(quantity.name, *pair) for pair in pairs], dtype=bool)
    axes.errorbar(
        place[~bound],
        values[~bound] / scale.factor,
        doubts[~bound] / scale.factor,
        fmt="o",
        color=_BLUE,
        ecolor=_ORANGE,
        markersize=3.5,
        capsize=2,
    )
    if bound.any():
        ends = np.array([upper_end(value, doubt) for value, doubt in zip(values[bound], doubts[bound], strict=True)])
        axes.vlines(place[bound], 0, ends / scale.factor, color=_ORANGE)
        axes.plot(place[bound], ends / scale.factor, "v", color=_ORANGE, markersize=5)
    if deviation or quantity.unit in _ABOUT_ZERO:
        axes.axhline(0, color=_GREY, linewidth=0.8)
    known = doubts[np.isfinite(doubts)]
    half = float(np.median(known)) / scale.factor if len(known) else 0.0
    told = "95 % intervals" + (f", ±{half:.2g} {scale.unit}".rstrip() + " in the median" if half else "")
    told += "; triangles are upper bounds" if bound.any() else ""
    untold = [label for label, value in zip(quantity.labels, values, strict=True) if np.isnan(value)]
    told += f"; not told: {_few(untold)}" if untold else ""
    axes.set_title(f"{quantity.name}{' - 1' if deviation else ''}: {told}", parse_math=False)
    axes.set_ylabel(scale.unit)
    axes.ticklabel_format(axis="y", scilimits=(-4, 5), useOffset=False)
    axes.set_xlim(-0.6, len(values) - 0.4)
    if len(values) <= _MOST_LABELS:
        axes.set_xticks(place, quantity.labels, rotation=90, fontsize=7, parse_math=False)
    else:
        axes.set_xlabel("number in the list")


def _scale(values: Array, unit: str, *, share: bool) -> Scale:
    if share:
        return Scale("%", 0.01)
    return scale_of(values, unit) if takes_prefix(unit) else Scale(_printed(unit), 1.0)


def _few(labels: list[str]) -> str:
    more = f" and {len(labels) - _MOST_UNTOLD} more" if len(labels) > _MOST_UNTOLD else ""
    return ", ".join(labels[:_MOST_UNTOLD]) + more


def _printed(unit: str) -> str:
    return "" if unit == "1" else unit.replace("^2", "²")


def _table(axes: Axes, quantity: Quantity, rows: list[int], more: str) -> None:
    """Draw one curve a row with its band: conductances as the ratio to what was asked, spectra on logarithms."""
    assert quantity.points is not None  # noqa: S101 - a table
    points = quantity.points.of(len(quantity.labels))
    ratio = quantity.name == TABLE
    spectrum = quantity.points.unit == "Hz"
    for row in rows:
        x, y, doubt, label = points[row], quantity.values[row], quantity.expanded_uncertainty[row], quantity.labels[row]
        known = np.isfinite(x) & np.isfinite(y) & ((x > 0) | (not spectrum and not ratio))
        if ratio:
            y, doubt = y / x, doubt / x
        marker = "o" if known.sum() < _FEW_POINTS else ""
        (line,) = axes.plot(x[known], y[known], marker=marker, markersize=3, linewidth=1, label=label)
        axes.fill_between(x[known], (y - doubt)[known], (y + doubt)[known], color=line.get_color(), alpha=0.25)
    if spectrum:
        axes.set_xscale("log")
        if np.nanmax(quantity.values) > 0:  # a bench without noise has nothing to show on a logarithmic axis
            axes.set_yscale("log")
    elif ratio:
        axes.set_xscale("log")
        axes.axhline(1, color=_GREY, linewidth=0.8)
    what = "true over nominal conductance" if ratio else f"{quantity.name}, {_printed(quantity.unit)}"
    axes.set_title(f"{what}, with 95 % bands{more}", parse_math=False)
    axes.set_xlabel(f"{quantity.points.name}, {quantity.points.unit}", parse_math=False)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _farthest(sizes: Array, most: int) -> list[int]:
    """Return which rows of (label, point) reach highest, at most so many, in their order; NaN apart."""
    highest = np.max(np.where(np.isfinite(sizes), sizes, -np.inf), axis=1, initial=-np.inf)
    return sorted(np.argsort(-highest, kind="stable")[:most].tolist())


def _residuals(residuals: Array, places: Places, levels: Any, which: str) -> Picture:
    """Draw what the model leaves of the readings, over their noise: (drive, node); levels: (drive, lead), or None.

    which: of the readings, for the title.
    """
    meters = [places.label(channel) for channel in places.meters]
    if len(meters) == residuals.shape[1]:
        order = in_natural_order(meters)
        residuals, meters = residuals[:, order], [meters[row] for row in order]
    drives = _drives(levels, places)
    with _figure(_TALLER if drives else 1) as (figure, png):
        left, right = figure.subplots(1, 2, width_ratios=[2, 1])
        reach = max(4.0, float(np.nanmax(np.abs(residuals))))
        image = left.imshow(residuals.T, aspect="auto", cmap="RdBu", vmin=-reach, vmax=reach, interpolation="nearest")
        named = len(drives) == len(residuals) <= _MOST_DRIVES
        if named:
            left.set_xticks(np.arange(len(drives)), drives, rotation=90, fontsize=6, parse_math=False)
        left.set_xlabel("what is driven" if named else "number of the record")
        if len(meters) == residuals.shape[1] <= _MOST_NAMED:
            left.set_yticks(np.arange(len(meters)), meters, fontsize=6, parse_math=False)
        else:
            left.set_ylabel("number of the channel")
        left.grid(visible=False)
        left.set_title(f"reading - model{which}, in standard errors")
        figure.colorbar(image, ax=left)
        flat = residuals[np.isfinite(residuals)]
        n_bins = int(np.clip(2 * np.sqrt(flat.size), _FEWEST_BINS, _MOST_BINS))
        right.hist(flat, bins=n_bins, range=(-reach, reach), density=True, color=_BLUE, alpha=0.7)
        z = np.linspace(-4, 4, 200)
        right.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color=_VERMILLION)
        right.set_title("beside a normal distribution")
        return Picture(
            png(), f"Residuals of {flat.size} readings{which}, rms {np.sqrt((flat**2).mean()):.3g} standard errors"
        )


def _drives(levels: Any, places: Places) -> list[str]:
    """Say of each drive what moved, by the levels asked, V or A, (drive, lead); an empty list where nobody tells."""
    if levels is None or np.ndim(levels) != 2 or levels.shape[1] != len(places.sources):
        return []
    asked = np.asarray(levels, dtype=np.float64)
    leads = np.flatnonzero(np.isfinite(asked).all(axis=0))
    if not len(leads):
        return []
    near = _ALIKE * max(float(np.abs(asked[:, leads]).max()), 1e-300)
    still = np.median(asked[:, leads], axis=0)
    said = []
    for row in asked[:, leads]:
        moved = np.flatnonzero(np.abs(row - still) > near)
        named = [(places.sources[lead], float(level)) for lead, level in zip(leads, row, strict=True)]
        if len(row) > 1 and np.ptp(row) <= near:
            said.append(f"all at {rounded(float(row.mean()), places.units.get(named[0][0], 'V'), 2)}")
        elif not len(moved):
            said.append("at rest")
        else:
            chosen = [named[number] for number in moved[:_MOST_MOVED]]
            words = [f"{places.label(name)} {rounded(level, places.units.get(name, 'V'), 2)}" for name, level in chosen]
            said.append(", ".join(words) + (" ..." if len(moved) > _MOST_MOVED else ""))
    return said


def _gradient(record: CalibrationRecord) -> Picture:
    """Draw a b of the elements against the finite differences that the bench itself made, and what parts them."""
    raw: dict[str, Any] = dict(record.raw)
    x, y = (np.asarray(raw[name], dtype=np.float64).ravel() for name in (DIFFERENCE, PRODUCT))
    dx, dy = (
        np.asarray(raw.get(f"{name}_stderr", np.zeros_like(x)), dtype=np.float64).ravel()
        for name in (DIFFERENCE, PRODUCT)
    )
    labels = next((each.labels for each in record.quantities if len(each.labels) == len(x)), ())
    order = in_natural_order(labels) if labels else list(range(len(x)))
    x, y, dx, dy, labels = x[order], y[order], dx[order], dy[order], tuple(labels[row] for row in order if labels)
    with _figure(1) as (figure, png):
        axes, apart = figure.subplots(1, 2)
        axes.errorbar(
            x, y, COVERAGE_FACTOR * dy, COVERAGE_FACTOR * dx, fmt="o", color=_BLUE, ecolor=_ORANGE, markersize=4
        )
        ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
        axes.plot(ends, ends, color=_GREY, linewidth=0.8)
        axes.set_xlabel("finite difference on the bench, V²/S")
        axes.set_ylabel("a b / gamma, V²/S")
        axes.set_title("the gradient, measured in two ways, 95 % intervals")
        place = np.arange(len(x))
        doubt = COVERAGE_FACTOR * np.hypot(dx, dy)
        apart.errorbar(place, y - x, doubt, fmt="o", color=_BLUE, ecolor=_ORANGE, markersize=4, capsize=2)
        apart.axhline(0, color=_GREY, linewidth=0.8)
        if labels:
            apart.set_xticks(place, labels, rotation=90, fontsize=7, parse_math=False)
        apart.set_ylabel("a b / gamma - difference, V²/S")
        apart.set_title("what parts them")
        return Picture(png(), f"The gradient of {len(x)} elements by frequency propagation against finite differences")
