"""The diode as ngspice computes it: what netlists mean by a diode."""

from __future__ import annotations

import numpy as np

from freqprop_lab.elements._basic import Diode
from freqprop_lab.elements._element import Element
from freqprop_lab.waveform import Array

_DIODE = Diode()


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
