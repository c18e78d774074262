"""Values with uncertainties from readings and from what is believed beforehand: generalised least squares, GUM words.

Maximum of the posterior: minimise sum ((reading - model) / noise)^2 + sum ((theta - believed) / u)^2 by Gauss-Newton
with halved steps. Parameters are shared by all states of the network, or belong to one state alone (its tunable
conductances); the latter are eliminated state by state, so that many states cost as many small problems.

Covariance H^-1, H = J' W J + P: what scatter leaves (type A, GUM 4.2) is H^-1 J' W J H^-1, what belief and references
leave (type B, 4.3) is H^-1 P H^-1; they add up to it. At the truth H^-1 is the Cramer-Rao bound (with beliefs: van
Trees').
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.errors import EstimateError
from freqprop_lab.values import Array

_MOST_STEPS = 60
_MOST_HALVINGS = 20
_SINGULAR = 1e-12  # of a correlation matrix: smaller eigenvalues are rounding
_SETTLED = 1e-6  # of a parameter's standard uncertainty


@dataclass(frozen=True)
class Belief:
    """What is believed of parameters beforehand: values and standard uncertainties, (parameter,) each.

    covariance: of the first parameters, where they were found together, (first, first); their uncertainties are the
    roots of its diagonal then.
    """

    values: Array
    uncertainty: Array
    covariance: Array | None = None

    @property
    def information(self) -> Array:
        """The inverse of the covariance, in units of the uncertainties: 1 where nothing was found together."""
        found = np.eye(len(self.values))
        if self.covariance is not None:
            first = slice(0, len(self.covariance))
            unit = self.uncertainty[first]
            values, vectors = np.linalg.eigh(self.covariance / np.outer(unit, unit))
            found[first, first] = (vectors / np.maximum(values, _SINGULAR)) @ vectors.T
        return found

    @property
    def least_information(self) -> float:
        """A bound from below on its eigenvalues: those of a correlation matrix are no larger than its size."""
        return 1.0 if self.covariance is None else 1 / len(self.covariance)


@dataclass(frozen=True)
class Linearised:
    """A state's model at some parameters: its residuals over their noise, (reading,), and minus their derivatives.

    shared: (reading, shared parameter); own: (reading, own parameter).
    """

    residuals: Array
    shared: Array
    own: Array


Model = Callable[[int, Array, Array], Linearised]


@dataclass(frozen=True)
class Estimate:
    """Parameters with their uncertainties. shared: (parameter,); own: one (parameter,) for each state.

    type_a, type_b: standard uncertainties from scatter, and from belief and references. covariance: of the shared ones,
    own_covariance: of each state's own.
    chi_square, degrees_of_freedom: how well the model describes the readings; 1 a degree where it does.
    """

    shared: Array
    shared_type_a: Array
    shared_type_b: Array
    covariance: Array
    own: tuple[Array, ...]
    own_type_a: tuple[Array, ...]
    own_type_b: tuple[Array, ...]
    own_covariance: tuple[Array, ...]
    chi_square: float
    degrees_of_freedom: int

    @property
    def misfit(self) -> float:
        """The root of chi^2 a degree of freedom: 1 where the model and the noise explain the readings."""
        return float(np.sqrt(self.chi_square / max(self.degrees_of_freedom, 1)))


def estimate(
    model: Model, shared: Belief, own: Sequence[Belief], start: tuple[Array, Sequence[Array]] | None = None
) -> Estimate:
    """Return the parameters that explain the readings best, from what is believed of them.

    model(state, shared parameters, own parameters) gives residuals and derivatives. start: where the search begins;
    at what is believed, if None. Raises EstimateError where no step lowers the misfit from the start on.
    """
    x, ys = shared.values.copy(), [belief.values.copy() for belief in own]
    if start is not None:
        x, ys = start[0].copy(), [y.copy() for y in start[1]]
    at = [model(state, x, y) for state, y in enumerate(ys)]
    cost = _cost(at, x, ys, shared, own)
    for _ in range(_MOST_STEPS):
        normal = _Normal(at, x, ys, shared, own)
        dx, dys = normal.step()
        fraction = 1.0
        for _ in range(_MOST_HALVINGS):
            tried = x + fraction * dx, [y + fraction * dy for y, dy in zip(ys, dys, strict=True)]
            there = _tried(model, *tried)
            reached = np.inf if there is None else _cost(there, *tried, shared, own)
            if reached <= cost * (1 + 1e-12) + 1e-12:
                break
            fraction *= 0.5
        if there is None or not reached <= cost * (1 + 1e-12) + 1e-12:
            break  # rounding alone is left
        small = normal.in_uncertainties(dx, dys) * fraction
        x, ys, at, cost = *tried, there, reached
        if small < _SETTLED:
            break
    if not np.isfinite(cost):
        raise EstimateError("no parameters explain the readings; look at the wiring first")
    return _Normal(at, x, ys, shared, own).estimate()


def uncertainties_at(model: Model, x: Array, ys: Sequence[Array], shared: Belief, own: Sequence[Belief]) -> Estimate:
    """Return an estimate that is at these parameters, whatever the readings say: at the truth, what is possible."""
    at = [model(state, x, y) for state, y in enumerate(ys)]
    return _Normal(at, x, ys, shared, own).estimate()


def _tried(model: Model, x: Array, ys: Sequence[Array]) -> list[Linearised] | None:
    try:
        return [model(state, x, y) for state, y in enumerate(ys)]
    except ValueError:  # beyond what the model can describe: a shorter step then
        return None


def _cost(at: Sequence[Linearised], x: Array, ys: Sequence[Array], shared: Belief, own: Sequence[Belief]) -> float:
    total = sum(float(each.residuals @ each.residuals) for each in at) + _pull(x, shared)
    return total + sum(_pull(y, belief) for y, belief in zip(ys, own, strict=True))


def _pull(values: Array, belief: Belief) -> float:
    away = (values - belief.values) / belief.uncertainty
    return float(away @ away if belief.covariance is None else away @ belief.information @ away)


class _Normal:
    """The normal equations at a point: shared ones after the states' own are eliminated (Schur).

    In units of what is believed: every parameter's uncertainty is 1 there, and H = P + J' J loses no digits to units; P
    is 1 for what is believed one by one.
    """

    def __init__(
        self, at: Sequence[Linearised], x: Array, ys: Sequence[Array], shared: Belief, own: Sequence[Belief]
    ) -> None:
        self._at, self._x, self._ys, self._own, self._shared = at, x, ys, own, shared
        unit = shared.uncertainty
        self._prior = shared.information
        self._rhs = -self._prior @ ((x - shared.values) / unit)
        self._blocks: list[tuple[Array, Array, Array]] = []
        reduced = self._prior
        for each, y, belief in zip(at, ys, own, strict=True):
            by_shared, by_own = each.shared * unit, each.own * belief.uncertainty
            H_sg = by_own.T @ by_shared
            r_s = by_own.T @ each.residuals - (y - belief.values) / belief.uncertainty
            inverse = _inverse(by_own.T @ by_own + np.eye(len(y)))
            reduced = reduced + by_shared.T @ by_shared - H_sg.T @ inverse @ H_sg
            self._rhs = self._rhs + by_shared.T @ each.residuals - H_sg.T @ inverse @ r_s
            self._blocks.append((inverse, H_sg, r_s))
        self._covariance = _inverse(reduced, shared.least_information)

    def step(self) -> tuple[Array, list[Array]]:
        """Return the changes of the shared and of each state's own parameters."""
        dx = self._covariance @ self._rhs
        dys = [inverse @ (r_s - H_sg @ dx) for inverse, H_sg, r_s in self._blocks]
        own = [dy * belief.uncertainty for dy, belief in zip(dys, self._own, strict=True)]
        return dx * self._shared.uncertainty, own

    def in_uncertainties(self, dx: Array, dys: Sequence[Array]) -> float:
        """Return the largest component of a step over the standard uncertainty there."""
        doubt = np.sqrt(np.diag(self._covariance)) * self._shared.uncertainty
        largest = float((np.abs(dx) / doubt).max(initial=0.0))
        for dy, (inverse, _, _), belief in zip(dys, self._blocks, self._own, strict=True):
            doubt = np.sqrt(np.diag(inverse)) * belief.uncertainty
            largest = max(largest, float((np.abs(dy) / doubt).max(initial=0.0)))
        return largest

    def estimate(self) -> Estimate:
        """Return everything with its uncertainties: of type B what of the covariance the beliefs bring."""
        C, unit = self._covariance, self._shared.uncertainty
        # H^-1 P H^-1, its blocks; P is 1 for a state's own. With F = -inverse H_sg, their rows of H^-1 are F C,
        # F C F' + inverse (own), F C F_other' (another state's).
        followers = [-inverse @ H_sg for inverse, H_sg, _ in self._blocks]
        B = self._prior
        for F in followers:
            B = B + F.T @ F
        shared_b = np.einsum("ij,jk,ik->i", C, B, C)
        shared_all = np.diag(C)
        own_a, own_b, own_covariance = [], [], []
        for s, (F, (inverse, _, _), belief) in enumerate(zip(followers, self._blocks, self._own, strict=True)):
            FC = F @ C
            covariance = inverse + FC @ F.T
            whole = np.diag(covariance)
            variance = np.einsum("ij,jk,ik->i", FC, self._prior, FC)
            for other, F_other in enumerate(followers):
                variance = variance + ((FC @ F_other.T + (inverse if other == s else 0.0)) ** 2).sum(axis=1)
            own_b.append(np.sqrt(np.minimum(variance, whole)) * belief.uncertainty)
            own_a.append(np.sqrt(np.maximum(whole - variance, 0.0)) * belief.uncertainty)
            own_covariance.append(covariance * np.outer(belief.uncertainty, belief.uncertainty))
        pulled = _pull(self._x, self._shared) + sum(_pull(y, b) for y, b in zip(self._ys, self._own, strict=True))
        return Estimate(
            self._x,
            np.sqrt(np.maximum(shared_all - shared_b, 0.0)) * unit,
            np.sqrt(np.minimum(shared_b, shared_all)) * unit,
            C * np.outer(unit, unit),
            tuple(self._ys),
            tuple(own_a),
            tuple(own_b),
            tuple(own_covariance),
            # Each belief is a reading too, and each parameter takes one away again.
            sum(float(each.residuals @ each.residuals) for each in self._at) + pulled,
            sum(len(each.residuals) for each in self._at),
        )


def _inverse(H: Array, least: float = 1.0) -> Array:
    """Return the inverse of a symmetric matrix of which no eigenvalue is below the least, with a diagonal above 0.

    Its eigenvalues reach (belief / noise)^2, 1e10 and more on a bench without noise.
    """
    values, vectors = np.linalg.eigh(H)
    return np.asarray((vectors / np.maximum(values, least)) @ vectors.T)
