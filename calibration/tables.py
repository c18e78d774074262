"""From an element's resistance at some of its values to all of them: a monotone map, and how well it is known.

Piecewise cubic, monotone where the points are (Fritsch and Carlson 1980, SIAM J. Numer. Anal. 17, 238): resistance
against nominal resistance where the element has codes, whose track is nearly straight; else ln G against ln of nominal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freqprop_lab.values import Array

_FEWEST_FOR_CHECK = 5  # points, so that one may be left out
_FINER = 8.0  # a cubic's error of third order, from gaps twice as wide to those that there are
_RISES = 1e-9  # relative: the least by which a table goes up from one point to the next
_NUDGED = 1e-3  # of a standard uncertainty, for derivatives


@dataclass(frozen=True)
class Points:
    """What was measured of one element: nominal, S, rising; true: S; type_a, type_b: relative; each (point,)."""

    nominal: Array
    true: Array
    type_a: Array
    type_b: Array
    has_codes: bool

    def placed(self, nominal: Array) -> Array:
        """Return the abscissa of nominal conductances: rising with them."""
        return -1 / nominal if self.has_codes else np.log(nominal)

    @property
    def heights(self) -> Array:
        """The ordinate: minus the resistance, or ln G."""
        return -1 / self.true if self.has_codes else np.log(self.true)

    @property
    def per_relative(self) -> Array:
        """By how much an ordinate moves for a relative change of the conductance."""
        return 1 / self.true if self.has_codes else np.ones(len(self.true))

    def conductances(self, heights: Array) -> Array:
        """Turn ordinates back into S."""
        return -1 / heights if self.has_codes else np.exp(heights)


@dataclass(frozen=True)
class Table:
    """An element's map: nominal and true conductances, S, rising, and relative uncertainties, (value,) each.

    type_b holds what the interpolation may be off by.
    """

    nominal: Array
    true: Array
    type_a: Array
    type_b: Array


def tables(elements: Sequence[Points], wanted: Sequence[Array]) -> list[Table]:
    """Return the maps of all elements at the nominal values that are wanted, S, (value,) each.

    How far interpolation is off is told by leaving points out, of all elements of one kind together.
    """
    bends = {
        kind: _bend([each for each in elements if each.has_codes is kind])
        for kind in {each.has_codes for each in elements}
    }
    return [_table(each, nominal, bends[each.has_codes]) for each, nominal in zip(elements, wanted, strict=True)]


def _table(points: Points, nominal: Array, bend: Array) -> Table:
    x, y = points.placed(points.nominal), points.heights
    at = points.placed(nominal)
    heights = _through(x, y, at)
    step = _NUDGED * np.maximum(points.type_a, 1e-12) * points.per_relative
    moved = _through(x, y + np.diag(step), at)
    scatter = ((moved - heights) / step[:, None] * (points.type_a * points.per_relative)[:, None]) ** 2
    true = points.conductances(heights)
    relative = true if points.has_codes else np.ones(len(true))
    place = np.clip(np.searchsorted(x, at) - 1, 0, max(len(x) - 2, 0))
    share = np.clip((at - x[place]) / np.maximum(x[np.minimum(place + 1, len(x) - 1)] - x[place], 1e-300), 0, 1)
    between = np.zeros(len(at))
    if len(bend) == len(x):
        # Nothing at the points themselves, all of it midway.
        between = np.maximum(bend[place], bend[place + 1]) / _FINER * 4 * share * (1 - share)
    type_b = np.hypot(np.interp(at, x, points.type_b), between)
    return Table(nominal, _rising(true), np.sqrt(scatter.sum(axis=0)) * relative, type_b)


def _bend(elements: Sequence[Points]) -> Array:
    """Return by how much a point is missed, rms, relative, that the map does not know, (point,); noise taken off.

    Empty where elements differ in their number of points, or have too few.
    """
    counts = {len(each.nominal) for each in elements}
    if len(counts) != 1 or min(counts) < _FEWEST_FOR_CHECK:
        return np.zeros(0)
    n_points = counts.pop()
    square = np.zeros(n_points)
    for left_out in range(1, n_points - 1):
        kept = np.arange(n_points) != left_out
        missed, noise = np.zeros(len(elements)), np.zeros(len(elements))
        for number, each in enumerate(elements):
            x, y = each.placed(each.nominal), each.heights
            guess = _through(x[kept], y[kept], x[[left_out]])[0]
            missed[number] = (guess - y[left_out]) / each.per_relative[left_out]
            a = each.type_a[left_out - 1 : left_out + 2] * each.per_relative[left_out - 1 : left_out + 2]
            noise[number] = (a[1] ** 2 + (a[0] ** 2 + a[2] ** 2) / 2) / each.per_relative[left_out] ** 2
        square[left_out] = max(float((missed**2 - noise).mean()), 0.0)
    square[0], square[-1] = square[1], square[-2]
    return np.sqrt(square)


def _through(x: Array, y: Array, at: Array) -> Array:
    """Return the monotone cubic through points (x,), y: (..., x), at other places; the end's slope beyond the ends."""
    from scipy.interpolate import PchipInterpolator  # noqa: PLC0415 - half a second

    if len(x) == 1:
        return np.asarray(y[..., :1] + (at - x[0]))
    return np.asarray(PchipInterpolator(x, y, axis=-1, extrapolate=True)(at))


def _rising(true: Array) -> Array:
    """Return values that rise by a trace at least, as noise may not let them."""
    least = 1 + _RISES * np.arange(len(true))
    return np.asarray(np.maximum.accumulate(true / least) * least)
