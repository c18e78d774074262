"""Elements that somebody measured, or wrote down as a function: nothing is known of them but that they increase."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from freqprop_lab.elements._element import Element, Limits, derivative
from freqprop_lab.waveform import Array

_LEAST_SLOPE, _LARGEST_SLOPE = 0.1, 3.0  # of a table's end interval, at its end
_PANEL_NODES, _PANEL_WEIGHTS = np.polynomial.legendre.leggauss(12)
_MOST_PANELS = 4000
_FALLING = 1e-9  # of the largest slope asked for: less is the rounding of differences


class Tabulated(Element):
    """A two-terminal element from a measured table: volts and amperes, (point,) each, both strictly increasing.

    Between points a monotone cubic (Fritsch and Butland's slopes, as in SciPy's PCHIP), beyond the ends the straight
    line of the end's slope. It has no parameters: theta is (). Raises ValueError for a table that is not increasing,
    naming the first row that is not. Source: Fritsch, Butland, SIAM J. Sci. Stat. Comput. 5, 300 (1984).
    """

    kind = "tabulated"
    parameters = ()
    units = ()

    def __init__(self, volts: ArrayLike, amperes: ArrayLike, limits: Limits | None = None) -> None:
        super().__init__(limits)
        self._x, self._y = _table(volts, amperes)
        self._d = _monotone_slopes(self._x, self._y)
        if self._x[0] < 0 < self._x[-1] and 0 not in self._x:
            # A point more on the same cubic: small currents near rest are not the difference of larger ones.
            here = self._hermite(np.zeros(1))
            place = int(np.searchsorted(self._x, 0.0))
            self._x, self._y, self._d = (
                np.insert(row, place, value) for row, value in zip((self._x, self._y, self._d), here, strict=True)
            )
        self._c, self._b = _cubics(self._x, self._y, self._d)
        h = np.diff(self._x)
        whole = h * (self._y[:-1] + h * (self._d[:-1] / 2 + h * (self._c / 3 + h * self._b / 4)))
        self._E = np.concatenate([[0.0], np.cumsum(whole)])
        self._at_zero = float(self._integral(np.zeros(1))[0])

    def energy(self, theta: Array, x: Array) -> Array:  # noqa: ARG002
        """Return the integral of the current from 0 to x."""
        return np.asarray(self._integral(x) - self._at_zero)

    def current(self, theta: Array, x: Array) -> Array:  # noqa: ARG002
        """Return the table's current."""
        i, s, below, above = self._place(x)
        inside = self._y[i] + s * (self._d[i] + s * (self._c[i] + s * self._b[i]))
        return np.asarray(inside + self._d[0] * below + self._d[-1] * above)

    def slope(self, theta: Array, x: Array) -> Array:  # noqa: ARG002
        """Return the derivative of the table's current."""
        i, s, _, _ = self._place(x)
        return np.asarray(self._d[i] + s * (2 * self._c[i] + 3 * s * self._b[i]))

    def _hermite(self, x: Array) -> tuple[float, float, float]:
        """Return a voltage within the table, and current and slope there."""
        self._c, self._b = _cubics(self._x, self._y, self._d)
        theta = np.zeros((0, 1))
        return float(x[0]), float(self.current(theta, x)[0]), float(self.slope(theta, x)[0])

    def _place(self, x: Array) -> tuple[np.ndarray, Array, Array, Array]:
        """Return interval, distance from its left end, and how far x lies below or above the table, V."""
        inside = np.clip(x, self._x[0], self._x[-1])
        i = np.clip(np.searchsorted(self._x, inside, side="right") - 1, 0, len(self._x) - 2)
        return i, inside - self._x[i], np.minimum(x - self._x[0], 0.0), np.maximum(x - self._x[-1], 0.0)

    def _integral(self, x: Array) -> Array:
        i, s, below, above = self._place(x)
        within = s * (self._y[i] + s * (self._d[i] / 2 + s * (self._c[i] / 3 + s * self._b[i] / 4)))
        outside = below * (self._y[0] + self._d[0] * below / 2) + above * (self._y[-1] + self._d[-1] * above / 2)
        return np.asarray(self._E[i] + within + outside)


class FromFunction(Element):
    """A two-terminal element from a function: current(x), A, of the voltage x, V, increasing, on arrays of any shape.

    slope and energy are worked out where they are not given: by differences (1e-11 of the current per width, if
    `width` is right) and by Gauss's quadrature. width: V over which the current bends (n Vt of a diode). It has no
    parameters: theta is (). Raises ValueError where the function is met with a negative slope or no number.
    """

    kind = "function"
    parameters = ()
    units = ()

    def __init__(
        self,
        current: Callable[[Array], Array],
        slope: Callable[[Array], Array] | None = None,
        energy: Callable[[Array], Array] | None = None,
        width: float = 1.0,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(limits)
        if not (np.isfinite(width) and width > 0):
            raise ValueError(f"width is {width:g} V, it must be above 0")
        self._current, self._slope, self._energy, self._width = current, slope, energy, width

    def energy(self, theta: Array, x: Array) -> Array:  # noqa: ARG002
        """Return the integral of the current from 0 to x."""
        if self._energy is not None:
            return np.asarray(self._energy(x) - self._energy(np.zeros_like(x)))
        n_panels = int(np.clip(np.ceil(np.abs(x).max(initial=0.0) / (2 * self._width)), 1, _MOST_PANELS))
        centres = (np.arange(n_panels) + 0.5) / n_panels
        # Shares of x at which the current is summed, (panel, node).
        shares = centres[:, None] + 0.5 * _PANEL_NODES / n_panels
        total = np.zeros(np.shape(x))
        for row in shares:
            for share, weight in zip(row, _PANEL_WEIGHTS, strict=True):
                total += weight * self._current(share * x)
        return np.asarray(0.5 * total * x / n_panels)

    def current(self, theta: Array, x: Array) -> Array:  # noqa: ARG002
        """Return the function."""
        found = np.asarray(self._current(x), dtype=np.float64)
        if found.shape != np.shape(x) or not np.isfinite(found).all():
            where = "" if found.shape != np.shape(x) else f" at {np.asarray(x)[~np.isfinite(found)].flat[0]:.6g} V"
            raise ValueError(f"the function of an element must return one finite current for each voltage{where}")
        return found

    def slope(self, theta: Array, x: Array) -> Array:  # noqa: ARG002
        """Return its derivative."""
        found = derivative(self._current, x, self._width) if self._slope is None else np.asarray(self._slope(x))
        falling = ~(found >= -_FALLING * np.abs(found).max(initial=0.0))
        if falling.any():
            at = np.asarray(x)[falling].flat[0]
            raise ValueError(
                f"the function of an element has no positive slope at {at:.6g} V; a network of elements that do not "
                "increase has no single equilibrium. Where it does rise there, give its slope, or a smaller width"
            )
        return np.maximum(found, 0.0)


def _table(volts: ArrayLike, amperes: ArrayLike) -> tuple[Array, Array]:
    x, y = np.array(volts, dtype=np.float64), np.array(amperes, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise ValueError(f"an I-V table needs two columns of at least 2 rows; volts {x.shape}, amperes {y.shape}")
    for name, column, unit in (("voltage", x, "V"), ("current", y, "A")):
        if not np.isfinite(column).all():
            raise ValueError(f"row {int(np.flatnonzero(~np.isfinite(column))[0]) + 1} of the table has no {name}")
        flat = np.flatnonzero(np.diff(column) <= 0)
        if flat.size:
            row = int(flat[0])
            raise ValueError(
                f"the {name} of an I-V table must rise from row to row: row {row + 1} has {column[row]:g} {unit}, row "
                f"{row + 2} {column[row + 1]:g} {unit}. Sort it by voltage; where noise makes it fall, average it first"
            )
    return x, y


def _cubics(x: Array, y: Array, d: Array) -> tuple[Array, Array]:
    """Return c and b of y + d s + c s^2 + b s^3 on each interval, s from its left end, (interval,) each."""
    h = np.diff(x)
    secant = np.diff(y) / h
    return (3 * secant - 2 * d[:-1] - d[1:]) / h, (d[:-1] + d[1:] - 2 * secant) / h**2


def _monotone_slopes(x: Array, y: Array) -> Array:
    """Return slopes at the points that keep a cubic through them increasing, (point,), all positive."""
    h = np.diff(x)
    secant = np.diff(y) / h
    if len(h) == 1:
        return np.repeat(secant, 2)
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    inner = (w1 + w2) / (w1 / secant[:-1] + w2 / secant[1:])
    return np.concatenate([[_end(h[0], h[1], *secant[:2])], inner, [_end(h[-1], h[-2], secant[-1], secant[-2])]])


def _end(h: float, next_h: float, secant: float, next_secant: float) -> float:
    """Return the slope at an end: the parabola's, kept positive since the straight line beyond goes on with it."""
    parabola = ((2 * h + next_h) * secant - h * next_secant) / (h + next_h)
    return float(np.clip(parabola, _LEAST_SLOPE * secant, _LARGEST_SLOPE * secant))
