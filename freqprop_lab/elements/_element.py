"""What every part is: its parameters and its limits; and the two kinds that a solver knows, elements and stores.

x is the voltage across the branch (plus end less minus end), V, (..., branch); theta its parameters, (parameter,
branch). Everything is an array over branches of one kind. An element knows no network, no rule and no solver.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from freqprop_lab.waveform import Array

BOLTZMANN = 1.380649e-23  # J/K, exact since 2019
ELEMENTARY_CHARGE = 1.602176634e-19  # C

# Fourth-order central differences: truncation (1e-3)^4 / 30, rounding 1e-16 / 1e-3, of the scale that is asked.
_OFFSETS = np.array([-2.0, -1.0, 1.0, 2.0])
_WEIGHTS = np.array([1.0, -8.0, 8.0, -1.0]) / 12
_STEP = 1e-3
_FREE_CHANGE = 2.0  # widths: a junction may change by this much before a step is shortened


@dataclass(frozen=True)
class Limits:
    """What a part bears: dissipation, W, and the absolute values of voltage and current, V and A; infinite if open."""

    watts: float = np.inf
    volts: float = np.inf
    amperes: float = np.inf

    def __post_init__(self) -> None:
        """Refuse a limit that nothing keeps."""
        for what in ("watts", "volts", "amperes"):
            if not getattr(self, what) > 0:
                raise ValueError(f"limits: {what} is {getattr(self, what):g}, it must be above 0")

    def exceeded(self, volts: float, amperes: float) -> str | None:
        """Return what a branch at this voltage and current exceeds, in words, or None."""
        for value, limit, unit in (
            (abs(volts * amperes), self.watts, "W"),
            (abs(volts), self.volts, "V"),
            (abs(amperes), self.amperes, "A"),
        ):
            if value > limit:
                return f"{value:.4g} {unit}, allowed {limit:g} {unit}"
        return None


class Part(ABC):
    """One kind of branch. `parameters` names the rows of theta, `units` their units.

    linear: a conductance and nothing else, its current is theta[0] x. limits: of each single part of this kind.
    """

    kind: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]
    units: ClassVar[tuple[str, ...]]
    linear: ClassVar[bool] = False
    limits: Limits

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = Limits() if limits is None else limits

    def fault(self, theta: tuple[float, ...]) -> str | None:
        """Return what is wrong with one branch's parameters, in words, or None; by default each must be above 0."""
        for value, name, unit in zip(theta, self.parameters, self.units, strict=True):
            if not (np.isfinite(value) and value > 0):
                return f"{name} is {value:g} {unit}, it must be above 0"
        return None


class Element(Part):
    """A branch whose current is an increasing function of the voltage across it, the derivative of an energy.

    The laws: current = d energy / dx, slope = d current / dx, slope > 0; so any network of these has one equilibrium,
    the minimum of the sum of energies (co-content, eq. 2.3), and a symmetric small-signal response.
    """

    @abstractmethod
    def energy(self, theta: Array, x: Array) -> Array:
        """Return E(theta, x), W, (..., branch); zero at x = 0."""

    @abstractmethod
    def current(self, theta: Array, x: Array) -> Array:
        """Return dE/dx, A: the current from the plus to the minus end."""

    @abstractmethod
    def slope(self, theta: Array, x: Array) -> Array:
        """Return d2E/dx2, S: the small-signal conductance; positive for every element here."""

    def width(self, theta: Array) -> Array:
        """Return the voltage by which the current grows e-fold, V, (branch,); infinite where it never does."""
        if "emission_voltage" in self.parameters:
            return np.asarray(theta[self.parameters.index("emission_voltage")])
        return np.full(np.shape(theta)[1], np.inf)

    def believed(self, theta: Array, x: Array, change: Array) -> Array:
        """Return the fraction, 0 to 1, of a change of x over which the tangent at x is a guide, (..., branch).

        Along an exponential that gets steeper: so far that the current grows to what the tangent promised.
        """
        width = self.width(theta)
        # Only a junction that gets steeper runs away; one that closes, or is still reverse biased, may go at once.
        steeper = self.slope(theta, x + change) > self.slope(theta, x)
        here = np.where(change < 0, -x, x) / width
        ahead = np.abs(change) / width
        open_now = np.maximum(here, 0.0)
        beyond = np.maximum(here + ahead - open_now, 0.0)
        runs = steeper & (beyond > _FREE_CHANGE)
        return np.asarray(np.where(runs, open_now + np.log1p(beyond) - here, 1.0) / np.where(runs, ahead, 1.0))

    def current_by_theta(self, theta: Array, x: Array) -> Array:
        """Return dI/dtheta, (parameter, ..., branch); here by central differences, to about 1e-12 of it."""
        found = np.zeros((len(self.parameters), *np.shape(x)))
        for row in range(len(self.parameters)):
            step = _STEP * np.abs(theta[row])
            for offset, weight in zip(_OFFSETS, _WEIGHTS, strict=True):
                moved = np.array(theta)
                moved[row] = theta[row] + offset * step
                found[row] += weight * self.current(moved, x)
            found[row] /= np.where(step > 0, step, 1.0)
        return found

    def noise(self, theta: Array, x: Array, temperature: float) -> Array:
        """Return the spectral density of the noise current in parallel with the branch, A^2/Hz, one-sided.

        Here 4 k T slope: Nyquist's law, which holds at rest; away from it only a model of the part can tell.
        """
        return np.asarray(4 * BOLTZMANN * temperature * self.slope(theta, x))


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

    def current_by_theta(self, theta: Array, x: Array) -> Array:
        """Return dI/dtheta, which is d2E/(dtheta dx)."""
        return self.d2E_dtheta_dx(theta, x)


def derivative(function: object, x: Array, scale: float) -> Array:
    """Return d function / dx by central differences of fourth order, for what bends over no less than `scale`."""
    if not callable(function):
        raise TypeError("what is to be differentiated must be callable")
    h = _STEP * scale
    terms = [weight * np.asarray(function(x + offset * h)) for offset, weight in zip(_OFFSETS, _WEIGHTS, strict=True)]
    return np.asarray(sum(terms) / h)
