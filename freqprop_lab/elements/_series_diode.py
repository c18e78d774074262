"""A diode with the resistance of its leads and its bulk, solved by itself: no node of its own is needed."""

from __future__ import annotations

import numpy as np

from freqprop_lab.elements._basic import Diode, exponential
from freqprop_lab.elements._element import BOLTZMANN, ELEMENTARY_CHARGE, Element
from freqprop_lab.waveform import Array

_LARGEST_START = 80.0
_MOST_ITERATIONS = 60
_ARRIVED = 4e-16
_JUNCTION = Diode()


class SeriesDiode(Element):
    """Shockley diode in series with a resistance: I = Is (exp((x - Rs I) / nVt) - 1), anode at the plus end.

    Rs may be 0. The junction's own voltage y solves y + Rs Is (exp(y / nVt) - 1) = x by Newton's method from above,
    where a convex increasing function is met without overshoot, whatever Rs and however steep.
    """

    kind = "series-diode"
    parameters = ("saturation_current", "emission_voltage", "series_resistance")
    units = ("A", "V", "Ohm")

    def fault(self, theta: tuple[float, ...]) -> str | None:
        """Allow a series resistance of 0."""
        if not (np.isfinite(theta[2]) and theta[2] >= 0):
            return f"series_resistance is {theta[2]:g} Ohm, it must be at least 0"
        return _JUNCTION.fault(theta[:2])

    def energy(self, theta: Array, x: Array) -> Array:
        """Return the junction's energy plus Rs I^2 / 2."""
        y = self.junction_voltage(theta, x)
        return np.asarray(_JUNCTION.energy(theta[:2], y) + 0.5 * theta[2] * _JUNCTION.current(theta[:2], y) ** 2)

    def current(self, theta: Array, x: Array) -> Array:
        """Return the current that junction and resistance share."""
        return _JUNCTION.current(theta[:2], self.junction_voltage(theta, x))

    def slope(self, theta: Array, x: Array) -> Array:
        """Return g / (1 + Rs g), g the junction's slope."""
        g = _JUNCTION.slope(theta[:2], self.junction_voltage(theta, x))
        return np.asarray(g / (1 + theta[2] * g))

    def junction_voltage(self, theta: Array, x: Array) -> Array:
        """Return y, what of x falls across the junction itself, V, (..., branch)."""
        ratio = theta[2] * theta[0] / theta[1]
        X = np.asarray(x / theta[1], dtype=np.float64)
        safe = np.where(ratio > 0, ratio, 1.0)
        # Two bounds from above: the resistance takes a voltage of x's sign; the junction alone could not take more.
        log_bound = np.log1p(np.maximum(X, 0.0) / safe)
        forward = np.where((ratio > 0) & (log_bound <= _LARGEST_START), np.minimum(X, log_bound), X)
        u = np.where(X > 0, forward, np.minimum(X + ratio, 0.0))
        for _ in range(_MOST_ITERATIONS):
            grown, steepness, _ = exponential(u)
            step = (u + ratio * grown - X) / (1 + ratio * steepness)
            u = u - step
            if (np.abs(step) <= _ARRIVED * (np.abs(u) + np.abs(X))).all():
                break
        return np.asarray(u * theta[1])

    def believed(self, theta: Array, x: Array, change: Array) -> Array:
        """Return how far a change may go until the current has grown to what the tangent promised."""
        Is, nVt, Rs = theta
        opened = np.maximum(x, 0.0)
        further = np.maximum(x + change - opened, 0.0)
        promised = self.current(theta, opened) + self.slope(theta, opened) * further
        there = nVt * np.log1p(promised / Is) + Rs * promised
        shortened = np.where(further > 2 * nVt, (there - x) / np.where(further > 0, change, 1.0), 1.0)
        return np.asarray(np.clip(shortened, 0.0, 1.0))

    def current_by_theta(self, theta: Array, x: Array) -> Array:
        """Return dI/d(Is, nVt, Rs), from F(I, theta) = I - Is (exp((x - Rs I) / nVt) - 1) = 0."""
        y = self.junction_voltage(theta, x)
        g = _JUNCTION.slope(theta[:2], y)
        by_Is, by_nVt = _JUNCTION.current_by_theta(theta[:2], y)
        return np.asarray(np.stack([by_Is, by_nVt, -_JUNCTION.current(theta[:2], y) * g]) / (1 + theta[2] * g))

    def noise(self, theta: Array, x: Array, temperature: float) -> Array:
        """Return the junction's shot noise and the resistance's 4 k T Rs, as seen at the ends."""
        y = self.junction_voltage(theta, x)
        g = _JUNCTION.slope(theta[:2], y)
        shot = 2 * ELEMENTARY_CHARGE * (_JUNCTION.current(theta[:2], y) + 2 * theta[0])
        return np.asarray((shot + 4 * BOLTZMANN * temperature * theta[2] * g**2) / (1 + theta[2] * g) ** 2)
