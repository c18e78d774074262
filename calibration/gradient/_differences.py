"""Finite differences on the physical bench: what the outputs do while one conductance after the other is turned.

In u = ln G / G0 an output of a linear network is v = A + B / (1 + k exp u): a logistic curve, of which no derivative
up to the fifth is ever larger than the first. So a polynomial, c + s u + q u^2/2 + t u^3/6 + ..., with |q|, |t|, ...
<= |s| believed beforehand (rectangular, GUM 4.3.7), tells s as well as a central difference with the largest step does,
and the curvature's part in its doubt from all sizes of step that there are. The cost's slope is sum g s, with g = dC/dv
at the base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np

from freqprop_lab.values import Array

_SAME = 1e-9  # of ln G: nearer settings are one
_FINEST = 1e-12  # V
_ORDERS = 6  # of the polynomial: up to u^5


@dataclass(frozen=True)
class Point:
    """One setting of an element: S; outputs and their standard errors, V, (output,)."""

    conductance: float
    outputs: Array
    noise: Array


@dataclass(frozen=True)
class Slope:
    """Derivatives of the outputs by a conductance, V/S, (output,), and dC/dv there, V, (output,).

    noise, curvature: standard uncertainties of type A and B, V/S, (output,).
    """

    outputs: Array
    noise: Array
    curvature: Array
    gradient: Array

    @property
    def cost(self) -> float:
        """dC/dG, V^2/S."""
        return float(self.gradient @ self.outputs)

    @property
    def cost_noise(self) -> float:
        """Its standard uncertainty of type A."""
        return float(np.linalg.norm(self.gradient * self.noise))

    @property
    def cost_curvature(self) -> float:
        """Its standard uncertainty of type B."""
        return float(np.linalg.norm(self.gradient * self.curvature))

    @property
    def cost_uncertainty(self) -> float:
        """Both together."""
        return float(np.hypot(self.cost_noise, self.cost_curvature))

    @property
    def uncertainty(self) -> Array:
        """That of each output's, V/S, (output,)."""
        return np.hypot(self.noise, self.curvature)


def slope_at(base: Point, others: Sequence[Point], gradient: Array) -> Slope | None:
    """Return the derivatives at a base from settings about it; None where the element never moved.

    gradient: dC/dv at the base, V, (output,).
    """
    points = [base, *others]
    u = np.array([np.log(point.conductance / base.conductance) for point in points])
    if np.abs(u).max() < _SAME:
        return None
    columns = np.stack([u**order / factorial(order) for order in range(_ORDERS)], axis=1)
    found = np.empty((3, len(gradient)))
    for output in range(len(gradient)):
        volts = np.array([point.outputs[output] for point in points])
        noise = np.array([point.noise[output] for point in points])
        found[:, output] = _slope(columns, volts, np.hypot(noise, _FINEST))
    outputs, by_noise, by_curvature = found / base.conductance
    return Slope(outputs, by_noise, by_curvature, gradient)


def _slope(columns: Array, volts: Array, noise: Array) -> tuple[float, float, float]:
    """Return s with its uncertainties of type A and B, V: first to see how large it is, then with that belief.

    One least-squares problem, its last rows the beliefs: s is a sum over readings and beliefs, each with its own doubt.
    """
    weighted, readings = columns / noise[:, None], volts / noise
    straight = np.linalg.pinv(weighted[:, :2])[1]
    # Where s is lost in noise, that noise is what the others may be, no less.
    size = max(abs(float(straight @ readings)), float(np.linalg.norm(straight)))
    beliefs = np.eye(_ORDERS)[2:] * np.sqrt(3) / size
    row = np.linalg.pinv(np.vstack([weighted, beliefs]), rcond=1e-14)[1]
    by_reading, by_belief = row[: len(volts)], row[len(volts) :]
    return float(by_reading @ readings), float(np.linalg.norm(by_reading)), float(np.linalg.norm(by_belief))
