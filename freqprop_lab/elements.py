"""What a branch is: its energy (co-content, eq. 2.3), the current it draws, and what a learning rule needs of it.

x is the voltage across the branch (plus end less minus end), V, (..., branch); theta its parameters, (parameter,
branch). Everything is an array over branches of one kind. An element knows no network, no rule and no solver.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from freqprop_lab.waveform import Array

# Beyond this many n Vt the exponential is continued by its tangent: no solution lies there (exp(80) x 1 nA is more
# than 10^25 A), but a Newton iterate may, and must not overflow.
_LARGEST_EXPONENT = 80.0


class Element(ABC):
    """One kind of branch. `parameters` names the rows of theta, `units` their units."""

    kind: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]
    units: ClassVar[tuple[str, ...]]
    linear: ClassVar[bool] = False

    @abstractmethod
    def energy(self, theta: Array, x: Array) -> Array:
        """Return E(theta, x), W, (..., branch); zero at x = 0."""

    @abstractmethod
    def current(self, theta: Array, x: Array) -> Array:
        """Return dE/dx, A: the current from the plus to the minus end."""

    @abstractmethod
    def slope(self, theta: Array, x: Array) -> Array:
        """Return d2E/dx2, S: the small-signal conductance; positive for every element here."""


class Trainable(Element):
    """An element whose parameters can be learnt: the two local derivatives that every rule needs."""

    @abstractmethod
    def dE_dtheta(self, theta: Array, x: Array) -> Array:  # noqa: N802
        """Return dE/dtheta, (parameter, ..., branch): contrastive rules take its difference between two states."""

    @abstractmethod
    def d2E_dtheta_dx(self, theta: Array, x: Array) -> Array:  # noqa: N802
        """Return d2E/(dtheta dx), (parameter, ..., branch): freq-prop multiplies it, at a, by b."""

    @abstractmethod
    def d3E_dtheta_dx2(self, theta: Array, x: Array) -> Array:  # noqa: N802
        """Return d3E/(dtheta dx2): how much of cov(a, b) enters freq-prop's product on the average."""


class Resistor(Trainable):
    """A linear resistor: E = G x^2 / 2 (eq. 2.4)."""

    kind = "resistor"
    parameters = ("conductance",)
    units = ("S",)
    linear = True

    def energy(self, theta: Array, x: Array) -> Array:
        """Return G x^2 / 2."""
        return np.asarray(0.5 * theta[0] * x**2)

    def current(self, theta: Array, x: Array) -> Array:
        """Return G x."""
        return np.asarray(theta[0] * x)

    def slope(self, theta: Array, x: Array) -> Array:
        """Return G."""
        return np.broadcast_to(theta[0], np.shape(x))

    def dE_dtheta(self, theta: Array, x: Array) -> Array:  # noqa: ARG002, N802
        """Return x^2 / 2."""
        return 0.5 * x[None] ** 2

    def d2E_dtheta_dx(self, theta: Array, x: Array) -> Array:  # noqa: ARG002, N802
        """Return x."""
        return x[None]

    def d3E_dtheta_dx2(self, theta: Array, x: Array) -> Array:  # noqa: ARG002, N802
        """Return 1."""
        return np.ones((1, *x.shape))


class Diode(Element):
    """Shockley diode: I = Is (exp(x / nVt) - 1), anode at the plus end."""

    kind = "diode"
    parameters = ("saturation_current", "emission_voltage")
    units = ("A", "V")

    def energy(self, theta: Array, x: Array) -> Array:
        """Return Is (nVt (exp(x / nVt) - 1) - x)."""
        _, _, integral = _exponential(x / theta[1])
        return np.asarray(theta[0] * (theta[1] * integral - x))

    def current(self, theta: Array, x: Array) -> Array:
        """Return Is (exp(x / nVt) - 1)."""
        grown, _, _ = _exponential(x / theta[1])
        return np.asarray(theta[0] * grown)

    def slope(self, theta: Array, x: Array) -> Array:
        """Return Is / nVt exp(x / nVt)."""
        _, steepness, _ = _exponential(x / theta[1])
        return np.asarray(theta[0] / theta[1] * steepness)


class AntiparallelDiodes(Element):
    """Two equal diodes in opposite senses: I = 2 Is sinh(x / nVt)."""

    kind = "antiparallel"
    parameters = Diode.parameters
    units = Diode.units

    def energy(self, theta: Array, x: Array) -> Array:
        """Return 2 Is nVt (cosh(x / nVt) - 1)."""
        return _DIODE.energy(theta, x) + _DIODE.energy(theta, -x)

    def current(self, theta: Array, x: Array) -> Array:
        """Return 2 Is sinh(x / nVt)."""
        return _DIODE.current(theta, x) - _DIODE.current(theta, -x)

    def slope(self, theta: Array, x: Array) -> Array:
        """Return 2 Is / nVt cosh(x / nVt)."""
        return _DIODE.slope(theta, x) + _DIODE.slope(theta, -x)


class Junction(Element):
    """A diode as ngspice computes it: Shockley's law down to -3 nVt, a cubic tail below, and a leakage in parallel.

    The tail, -Is (1 + (3 nVt / (e x))^3), goes on with the same value and slope. Source: ngspice's dioload.c.
    """

    kind = "junction"
    parameters = ("saturation_current", "emission_voltage", "leakage")
    units = ("A", "V", "S")

    def energy(self, theta: Array, x: Array) -> Array:
        """Return the integral of the current from 0."""
        Is, nVt, leakage = theta
        ahead, behind = np.maximum(x, -3 * nVt), np.minimum(x, -3 * nVt)
        c3 = (3 * nVt / np.e) ** 3
        tail = -(behind + 3 * nVt) + 0.5 * c3 * (behind**-2.0 - (3 * nVt) ** -2.0)
        return np.asarray(_DIODE.energy(theta, ahead) + Is * tail + 0.5 * leakage * x**2)

    def current(self, theta: Array, x: Array) -> Array:
        """Return the current from anode to cathode."""
        Is, nVt, leakage = theta
        behind = np.minimum(x, -3 * nVt)
        tail = -Is * (1 + (3 * nVt / (np.e * behind)) ** 3)
        return np.asarray(np.where(x < -3 * nVt, tail, _DIODE.current(theta, x)) + leakage * x)

    def slope(self, theta: Array, x: Array) -> Array:
        """Return its derivative."""
        Is, nVt, leakage = theta
        behind = np.minimum(x, -3 * nVt)
        tail = 3 * Is * (3 * nVt / (np.e * behind)) ** 3 / behind
        return np.asarray(np.where(x < -3 * nVt, tail, _DIODE.slope(theta, x)) + leakage)


def _exponential(u: Array) -> tuple[Array, Array, Array]:
    """Return exp(u) - 1, exp(u), and the integral of exp from 0 to u; beyond 80 of exp's tangent there."""
    inside = np.minimum(u, _LARGEST_EXPONENT)
    beyond = u - inside
    grown = np.expm1(inside)
    steepness = np.exp(inside)  # not grown + 1, of which nothing is left below -37
    return grown + steepness * beyond, steepness, grown + steepness * (beyond + 0.5 * beyond**2)


_DIODE = Diode()
ELEMENTS: dict[str, Element] = {
    element.kind: element for element in (Resistor(), _DIODE, AntiparallelDiodes(), Junction())
}
