"""How well two measured vectors agree: a straight line with errors in both, and the cosine between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from freqprop_lab.values import Array

_MOST_STEPS = 50
_SETTLED = 1e-12
_DRAWS = 4000
_COVERAGE = 0.95


@dataclass(frozen=True)
class Line:
    """y = slope x + intercept, with standard uncertainties. misfit: root of chi^2 a degree of freedom.

    Where the points scatter by more than their own uncertainties say, those of the line are what the scatter says.
    """

    slope: float
    slope_uncertainty: float
    intercept: float
    intercept_uncertainty: float
    misfit: float
    degrees_of_freedom: int

    @property
    def coverage_factor(self) -> float:
        """Student's t for 95 % (GUM G.3)."""
        return float(stdtrit(max(self.degrees_of_freedom, 1), 0.5 + _COVERAGE / 2))


def line_through(x: Array, y: Array, x_uncertainty: Array, y_uncertainty: Array, *, origin: bool = False) -> Line:
    """Fit a line to points with uncertainties in both coordinates, (point,) each; origin: through (0, 0).

    Each residual counts by the variance u_y^2 + slope^2 u_x^2, the slope's last value in it: York's equations for
    uncorrelated errors. Source: York et al., Am. J. Phys. 72 (2004) 367, eq. 13. Raises ValueError for less points than
    the line has parameters.
    """
    n_parameters = 1 if origin else 2
    if len(x) < n_parameters:
        raise ValueError(f"{len(x)} points don't tell a line of {n_parameters} parameters")
    tiny = 1e-300
    slope = float(x @ y) / max(float(x @ x), tiny)
    centre_x = centre_y = 0.0
    for _ in range(_MOST_STEPS):
        weight = 1 / (y_uncertainty**2 + slope**2 * x_uncertainty**2 + tiny)
        if not origin:
            centre_x, centre_y = float(weight @ x / weight.sum()), float(weight @ y / weight.sum())
        u, v = x - centre_x, y - centre_y
        # The adjusted x of each point, which is what keeps the slope free of attenuation.
        beta = weight * (u * y_uncertainty**2 + slope * v * x_uncertainty**2)
        denominator = float((weight * beta) @ u)
        if abs(denominator) < tiny:
            break
        before, slope = slope, float((weight * beta) @ v / denominator)
        if abs(slope - before) <= _SETTLED * abs(slope):
            break
    intercept = centre_y - slope * centre_x
    middle = 0.0 if origin else float(weight @ beta / weight.sum())
    power = max(float(weight @ (beta - middle) ** 2), tiny)
    adjusted_x = centre_x + middle
    freedom = len(x) - n_parameters
    chi_square = float(weight @ (y - slope * x - intercept) ** 2)
    misfit = float(np.sqrt(chi_square / freedom)) if freedom else 1.0
    wider = max(1.0, misfit)
    by_slope = wider / np.sqrt(power)
    by_intercept = 0.0 if origin else float(np.sqrt(wider**2 / weight.sum() + (adjusted_x * by_slope) ** 2))
    return Line(slope, float(by_slope), float(intercept), by_intercept, misfit, freedom)


def cosine_between(x: Array, y: Array, x_uncertainty: Array, y_uncertainty: Array) -> tuple[float, float, float]:
    """Return the cosine of two vectors, (point,) each, and the ends of its 95 % interval.

    By propagation of distributions, as the cosine is bent at 1 (JCGM 101:2008, 5.9 and 7). Noise turns measured vectors
    away from each other, so draws about the measured ones lie too low: the interval is the draws' own, turned back by
    the difference of their median from the measured cosine, and ends at 1.
    """
    cosine = _cosine(x[None], y[None])[0]
    rng = np.random.default_rng(20240401)
    drawn_x = x + x_uncertainty * rng.standard_normal((_DRAWS, len(x)))
    drawn_y = y + y_uncertainty * rng.standard_normal((_DRAWS, len(y)))
    low, middle, high = np.quantile(_cosine(drawn_x, drawn_y), [0.025, 0.5, 0.975])
    back = cosine - middle
    return float(cosine), float(max(low + back, -1.0)), float(min(high + 2 * back, 1.0))


def _cosine(x: Array, y: Array) -> Array:
    size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.asarray((x * y).sum(axis=1) / np.maximum(size, 1e-300))
