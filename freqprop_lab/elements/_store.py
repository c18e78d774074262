"""Capacitors: parts that hold charge. In DC they are open; in AC and through time they carry its change."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from freqprop_lab.elements._element import Part
from freqprop_lab.waveform import Array


class Store(Part):
    """A branch whose charge is an increasing function of the voltage across it: charge = d energy / dx."""

    @abstractmethod
    def energy(self, theta: Array, x: Array) -> Array:
        """Return the energy stored, J, (..., branch); zero at x = 0."""

    @abstractmethod
    def charge(self, theta: Array, x: Array) -> Array:
        """Return the charge on the plus end, C."""

    @abstractmethod
    def capacitance(self, theta: Array, x: Array) -> Array:
        """Return d charge / dx, F."""


class Capacitor(Store):
    """A linear capacitor: E = C x^2 / 2. It dissipates nothing, so of its limits only the voltage counts in DC."""

    kind = "capacitor"
    parameters = ("capacitance",)
    units = ("F",)

    def energy(self, theta: Array, x: Array) -> Array:
        """Return C x^2 / 2."""
        return np.asarray(0.5 * theta[0] * x**2)

    def charge(self, theta: Array, x: Array) -> Array:
        """Return C x."""
        return np.asarray(theta[0] * x)

    def capacitance(self, theta: Array, x: Array) -> Array:
        """Return C."""
        return np.broadcast_to(theta[0], np.shape(x))
