"""Resistors and diodes."""

from __future__ import annotations

import numpy as np

from freqprop_lab.elements._element import BOLTZMANN, ELEMENTARY_CHARGE, Element, Trainable
from freqprop_lab.waveform import Array

# Beyond this many n Vt the exponential is continued by its tangent: no solution lies there (exp(80) x 1 nA is more
# than 10^25 A), but a Newton iterate may, and must not overflow.
_LARGEST_EXPONENT = 80.0


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

    def noise(self, theta: Array, x: Array, temperature: float) -> Array:
        """Return 4 k T G."""
        return np.asarray(4 * BOLTZMANN * temperature * np.broadcast_to(theta[0], np.shape(x)))

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
        _, _, integral = exponential(x / theta[1])
        return np.asarray(theta[0] * (theta[1] * integral - x))

    def current(self, theta: Array, x: Array) -> Array:
        """Return Is (exp(x / nVt) - 1)."""
        grown, _, _ = exponential(x / theta[1])
        return np.asarray(theta[0] * grown)

    def slope(self, theta: Array, x: Array) -> Array:
        """Return Is / nVt exp(x / nVt)."""
        _, steepness, _ = exponential(x / theta[1])
        return np.asarray(theta[0] / theta[1] * steepness)

    def current_by_theta(self, theta: Array, x: Array) -> Array:
        """Return dI/dIs = exp(x / nVt) - 1 and dI/dnVt = -x / nVt slope."""
        grown, steepness, _ = exponential(x / theta[1])
        # Beyond 80 nVt the tangent turns with nVt as well; no solution lies there.
        return np.stack([grown, -theta[0] * x / theta[1] ** 2 * steepness])

    def noise(self, theta: Array, x: Array, temperature: float) -> Array:  # noqa: ARG002
        """Return 2 q (I + 2 Is): both streams of carriers, so that at rest it is Nyquist's 4 k T slope (for n = 1).

        SPICE's 2 q |I| leaves Is out. Source: van der Ziel, Noise in Solid State Devices and Circuits, 1986.
        """
        return np.asarray(2 * ELEMENTARY_CHARGE * (self.current(theta, x) + 2 * theta[0]))


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

    def current_by_theta(self, theta: Array, x: Array) -> Array:
        """Return the derivatives of 2 Is sinh(x / nVt) by Is and by nVt."""
        return _DIODE.current_by_theta(theta, x) - _DIODE.current_by_theta(theta, -x)

    def noise(self, theta: Array, x: Array, temperature: float) -> Array:
        """Return the shot noise of both, which are independent."""
        return _DIODE.noise(theta, x, temperature) + _DIODE.noise(theta, -x, temperature)


def exponential(u: Array) -> tuple[Array, Array, Array]:
    """Return exp(u) - 1, exp(u), and the integral of exp from 0 to u; beyond 80 of exp's tangent there."""
    inside = np.minimum(u, _LARGEST_EXPONENT)
    beyond = u - inside
    grown = np.expm1(inside)
    steepness = np.exp(inside)  # not grown + 1, of which nothing is left below -37
    return grown + steepness * beyond, steepness, grown + steepness * (beyond + 0.5 * beyond**2)


_DIODE = Diode()
