"""The plots of a calibration record: values with 95 % intervals, tables with bands, residuals, the gradient."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration._numbers import measure, takes_prefix
from calibration.record_names import DIFFERENCE, METER_GAIN, METER_OFFSET, PRODUCT, RESIDUALS, SOURCE_GAIN, TABLE
from calibration.records import COVERAGE_FACTOR, CalibrationRecord, Quantity
from freqprop_lab.report import Scale, scale_of
from freqprop_lab.values import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _VERMILLION, _GREY = "#0072B2", "#E69F00", "#D55E00", "#777777"
_MOST_LINES = 10  # as many as there are colours
_MOST_NAMED = 24  # channels beside a picture of residuals
_FEWEST_BINS, _MOST_BINS = 9, 40
_MOST_LABELS = 64
_SMALL = 0.1  # shares below this are drawn in per cent
_FEW_POINTS = 20  # so few that a line alone hides where they are
_WIDE, _HIGH = 11.0, 3.0  # inches
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
    drawable = [each for each in record.quantities if each.points is None and np.isfinite(each.values).any()]
    singles = [each for each in drawable if len(each.labels) > 1]  # one number is read, not drawn
    tables = [each for each in record.quantities if each.points is not None and np.isfinite(each.values).any()]
    singles += [at_one for each in tables if (at_one := _at_its_one_point(each)) is not None]
    tables = [each for each in tables if _at_its_one_point(each) is None]
    if singles:
        drawn.append(_panels(singles, _values, "Values with their 95 % intervals: "))
    drawn += [_panels([table], _table, "") for table in tables]
    residuals = record.raw.get(RESIDUALS)
    if residuals is not None and residuals.ndim == 2 and residuals.size:
        meters = next((each.labels for each in record.quantities if each.name == METER_OFFSET), ())
        drawn.append(_residuals(np.asarray(residuals, dtype=np.float64), meters))
    product, difference = record.raw.get(PRODUCT), record.raw.get(DIFFERENCE)
    if product is not None and difference is not None and product.shape == difference.shape:
        drawn.append(_gradient(record))
    return drawn


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
def _figure(rows: int) -> Iterator[tuple[Figure, Callable[[], bytes]]]:
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
    small = quantity.unit == "1" and np.nanmax(np.abs(values)) < _SMALL
    reach = np.abs(values) + np.nan_to_num(quantity.expanded_uncertainty)
    scale = _scale(reach, quantity.unit, share=deviation or small)
    place = np.arange(len(values))
    axes.errorbar(
        place,
        values / scale.factor,
        quantity.expanded_uncertainty / scale.factor,
        fmt="o",
        color=_BLUE,
        ecolor=_ORANGE,
        markersize=3.5,
        capsize=2,
    )
    if deviation or quantity.unit in _ABOUT_ZERO:
        axes.axhline(0, color=_GREY, linewidth=0.8)
    half = float(np.nanmedian(quantity.expanded_uncertainty)) / scale.factor
    told = "95 % intervals" + (f", ±{half:.2g} {scale.unit}".rstrip() + " in the median" if half else "")
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


def _printed(unit: str) -> str:
    return "" if unit == "1" else unit.replace("^2", "²")


def _table(axes: Axes, quantity: Quantity) -> None:
    """Draw one curve a label with its band: conductances as the ratio to what was asked, spectra on logarithms."""
    assert quantity.points is not None  # noqa: S101 - a table
    points = quantity.points.of(len(quantity.labels))
    ratio = quantity.name == TABLE
    spectrum = quantity.points.unit == "Hz"
    worst = _farthest(np.abs(quantity.values / points - 1) if ratio else quantity.values)
    for row in worst:
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
    which = "farthest from 1" if ratio else "largest"
    is_cut = len(quantity.labels) > len(worst)
    more = f" (the {len(worst)} of {len(quantity.labels)} that are {which})" if is_cut else ""
    what = "true over nominal conductance" if ratio else f"{quantity.name}, {_printed(quantity.unit)}"
    axes.set_title(f"{what}, with 95 % bands{more}", parse_math=False)
    axes.set_xlabel(f"{quantity.points.name}, {quantity.points.unit}", parse_math=False)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _farthest(sizes: Array) -> list[int]:
    """Return which rows of (label, point) reach highest, in their order; NaN apart."""
    highest = np.max(np.where(np.isfinite(sizes), sizes, -np.inf), axis=1, initial=-np.inf)
    return sorted(np.argsort(-highest, kind="stable")[:_MOST_LINES].tolist())


def _residuals(residuals: Array, meters: tuple[str, ...]) -> Picture:
    """Draw what the model leaves of the readings, over their noise: (drive, node)."""
    with _figure(1) as (figure, png):
        left, right = figure.subplots(1, 2, width_ratios=[2, 1])
        reach = max(4.0, float(np.nanmax(np.abs(residuals))))
        image = left.imshow(residuals.T, aspect="auto", cmap="RdBu", vmin=-reach, vmax=reach, interpolation="nearest")
        left.set_xlabel("drive")
        if len(meters) == residuals.shape[1] <= _MOST_NAMED:
            left.set_yticks(np.arange(len(meters)), meters, fontsize=6, parse_math=False)
        else:
            left.set_ylabel("number of the channel")
        left.grid(visible=False)
        left.set_title("reading - model, in standard errors")
        figure.colorbar(image, ax=left)
        flat = residuals[np.isfinite(residuals)]
        n_bins = int(np.clip(2 * np.sqrt(flat.size), _FEWEST_BINS, _MOST_BINS))
        right.hist(flat, bins=n_bins, range=(-reach, reach), density=True, color=_BLUE, alpha=0.7)
        z = np.linspace(-4, 4, 200)
        right.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color=_VERMILLION)
        right.set_title("beside a normal distribution")
        return Picture(png(), f"Residuals of {flat.size} readings, rms {np.sqrt((flat**2).mean()):.3g} standard errors")


def _gradient(record: CalibrationRecord) -> Picture:
    """Draw a b of the elements against the finite differences that the bench itself made, and what parts them."""
    raw: dict[str, Any] = dict(record.raw)
    x, y = (np.asarray(raw[name], dtype=np.float64).ravel() for name in (DIFFERENCE, PRODUCT))
    dx, dy = (
        np.asarray(raw.get(f"{name}_stderr", np.zeros_like(x)), dtype=np.float64).ravel()
        for name in (DIFFERENCE, PRODUCT)
    )
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
        labels = next((each.labels for each in record.quantities if len(each.labels) == len(x)), ())
        if labels:
            apart.set_xticks(place, labels, rotation=90, fontsize=7, parse_math=False)
        apart.set_ylabel("a b / gamma - difference, V²/S")
        apart.set_title("what parts them")
        return Picture(png(), f"The gradient of {len(x)} elements by frequency propagation against finite differences")
