"""The branches of a circuit, one group a kind: what flows in them, and how that answers to voltages and sources.

With the free voltages u and the source values x, the voltages across a group's branches are Q u + W x. Arrays of u and
x lead with the batch: (batch, free), (batch, source).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.elements import Element, TwoEnded
from freqprop_lab.values import Array


@dataclass(frozen=True)
class Junctions:
    """Elements: branches whose current is a function of the voltage across them.

    numbers: which branches of the network they are; -1 - i is the series resistance of connection i.
    """

    element: Element
    theta: Array
    Q: Array
    W: Array
    numbers: NDArray[np.intp]

    def across(self, u: Array, x: Array) -> Array:
        """Return the voltages across, V, (batch, branch)."""
        return np.asarray(u @ self.Q.T + x @ self.W.T)

    def currents(self, u: Array, x: Array) -> Array:
        """Return the currents from plus to minus ends, A, (batch, branch)."""
        return self.element.current(self.theta, self.across(u, x))

    def by_free(self, u: Array, x: Array) -> Array:
        """Return the derivatives of the currents by u, S, (batch, branch, free)."""
        return np.asarray(self.element.slope(self.theta, self.across(u, x))[:, :, None] * self.Q)

    def by_sources(self, u: Array, x: Array) -> Array:
        """Return the derivatives of the currents by x, (batch, branch, source)."""
        return np.asarray(self.element.slope(self.theta, self.across(u, x))[:, :, None] * self.W)

    def by_theta(self, u: Array, x: Array) -> Array:
        """Return the derivatives of the currents by the parameters, (parameter, batch, branch)."""
        return self.element.current_by_theta(self.theta, self.across(u, x))

    def noise(self, u: Array, x: Array, temperature: float) -> Array:
        """Return the density of the noise currents, A^2/Hz, (batch, branch)."""
        return self.element.noise(self.theta, self.across(u, x), temperature)


@dataclass(frozen=True)
class Channels:
    """Transistors: branches whose current depends on the voltages of both ends, which are S u + D x each."""

    element: TwoEnded
    theta: Array
    S_plus: Array
    D_plus: Array
    S_minus: Array
    D_minus: Array
    numbers: NDArray[np.intp]

    @property
    def Q(self) -> Array:  # noqa: N802
        """How u enters the voltages across, (branch, free)."""
        return np.asarray(self.S_plus - self.S_minus)

    @property
    def W(self) -> Array:  # noqa: N802
        """How x enters the voltages across, (branch, source)."""
        return np.asarray(self.D_plus - self.D_minus)

    def across(self, u: Array, x: Array) -> Array:
        """Return the voltages across, V, (batch, branch)."""
        v_plus, v_minus = self._ends(u, x)
        return v_plus - v_minus

    def currents(self, u: Array, x: Array) -> Array:
        """Return the currents from plus to minus ends, A, (batch, branch)."""
        return self.element.current(self.theta, *self._ends(u, x))

    def by_free(self, u: Array, x: Array) -> Array:
        """Return the derivatives of the currents by u, S, (batch, branch, free)."""
        by_plus, by_minus = self.element.jacobian(self.theta, *self._ends(u, x))
        return np.asarray(by_plus[:, :, None] * self.S_plus + by_minus[:, :, None] * self.S_minus)

    def by_sources(self, u: Array, x: Array) -> Array:
        """Return the derivatives of the currents by x, (batch, branch, source)."""
        by_plus, by_minus = self.element.jacobian(self.theta, *self._ends(u, x))
        return np.asarray(by_plus[:, :, None] * self.D_plus + by_minus[:, :, None] * self.D_minus)

    def by_theta(self, u: Array, x: Array) -> Array:
        """Return the derivatives of the currents by the parameters, (parameter, batch, branch)."""
        return self.element.current_by_theta(self.theta, *self._ends(u, x))

    def noise(self, u: Array, x: Array, temperature: float) -> Array:
        """Return the density of the noise currents, A^2/Hz, (batch, branch)."""
        return self.element.noise(self.theta, *self._ends(u, x), temperature)

    def _ends(self, u: Array, x: Array) -> tuple[Array, Array]:
        return (
            np.asarray(u @ self.S_plus.T + x @ self.D_plus.T),
            np.asarray(u @ self.S_minus.T + x @ self.D_minus.T),
        )


class ExactDifferences:
    """Q u + W x to the last digit of the difference, u being the unrounded sum of two doubles.

    Between two nodes at 5 V on 20 S the last bit of a voltage is 2e-14 A, more than the current in a branch of 10 uS
    may be wrong by. Kirchhoff's law is therefore checked with the voltages' low parts, terms summed one by one with
    what each addition loses (Neumaier). Entries of Q and W are whole numbers, so that products are exact.
    """

    def __init__(self, Q: Array, W: Array) -> None:
        n_free = Q.shape[1]
        joined = np.concatenate([Q, W, Q], axis=1)  # u, x, and last the low part of u
        most = int((joined != 0).sum(axis=1).max(initial=0))
        order = np.argsort(joined == 0, axis=1, kind="stable")[:, :most]
        self._where = order
        self._factor = np.take_along_axis(joined, order, axis=1)
        self._n_free = n_free

    def __call__(self, u: Array, low: Array, x: Array) -> Array:
        """Return the differences, V, (batch, branch); u, low: (batch, free), x: (batch, source)."""
        terms = np.concatenate([u, x, low], axis=1)
        total = np.zeros((len(u), len(self._where)))
        lost = np.zeros_like(total)
        for place in range(self._where.shape[1]):
            term = terms[:, self._where[:, place]] * self._factor[:, place]
            sum_ = total + term
            lost += np.where(np.abs(total) >= np.abs(term), (total - sum_) + term, (term - sum_) + total)
            total = sum_
        return total + lost
