"""Values with uncertainties from readings and from what is believed beforehand: generalised least squares, GUM words.

Maximum of the posterior: minimise sum ((reading - model) / noise)^2 + sum ((theta - believed) / u)^2 by Gauss-Newton
with halved steps. Parameters are shared by all states of the network, or belong to one state alone (its tunable
conductances); the latter are eliminated state by state, so that many states cost as many small problems.

Covariance H^-1, H = J' W J + P: what scatter leaves (type A, GUM 4.2) is H^-1 J' W J H^-1, what belief and references
leave (type B, 4.3) is the rest, H^-1 P H^-1. At the truth H^-1 is the Cramer-Rao bound (with beliefs: van Trees').
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calibration.errors import EstimateError
from freqprop_lab.values import Array

_MOST_STEPS = 60
_MOST_HALVINGS = 20
_SETTLED = 1e-6  # of a parameter's standard uncertainty


@dataclass(frozen=True)
class Belief:
    """What is believed of parameters beforehand: values and standard uncertainties, (parameter,) each.

    follows: of a state's own parameters, the number of the shared one that each strays from: believed is then its value
    plus that one. So what is one number in all states is not believed anew in each. None: they stray from the values.
    """

    values: Array
    uncertainty: Array
    follows: NDArray[np.intp] | None = None

    def away(self, parameters: Array, shared: Array) -> Array:
        """Return how far parameters are from what is believed, in uncertainties, (parameter,)."""
        values = self.values if self.follows is None else self.values + shared[self.follows]
        return np.asarray((parameters - values) / self.uncertainty)


@dataclass(frozen=True)
class Linearised:
    """A state's model at some parameters: its residuals over their noise, (reading,), and minus their derivatives.

    shared: (reading, shared parameter); own: (reading, own parameter).
    """

    residuals: Array
    shared: Array
    own: Array


Model = Callable[[int, Array, Array], Linearised]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Parameters with their uncertainties. shared: (parameter,); own: one (parameter,) for each state.

    type_a, type_b: standard uncertainties from scatter, and from belief and references. covariance: of the shared ones,
    own_covariance: of each state's own. followers: by how much a state's own move with the shared ones, (own, shared),
    and loose: their covariance where those stand still; both together give that of everything, see `through`.
    chi_square, degrees_of_freedom: how well the model describes the readings; 1 a degree where it does. is_settled:
    whether the search came to its end.
    """

    shared: Array
    shared_type_a: Array
    shared_type_b: Array
    covariance: Array
    own: tuple[Array, ...]
    own_type_a: tuple[Array, ...]
    own_type_b: tuple[Array, ...]
    own_covariance: tuple[Array, ...]
    followers: tuple[Array, ...]
    loose: tuple[Array, ...]
    chi_square: float
    degrees_of_freedom: int
    is_settled: bool = True

    @property
    def misfit(self) -> float:
        """The root of chi^2 a degree of freedom: 1 where the model and the noise explain the readings."""
        return float(np.sqrt(self.chi_square / max(self.degrees_of_freedom, 1)))

    def through(self, by_shared: Array, by_own: Sequence[Array]) -> Array:
        """Return the covariance of quantities by their derivatives: (quantity, shared), (quantity, own) of each state.

        All that parameters have in common counts, from state to state as well.
        """
        whole, found = by_shared, np.zeros((len(by_shared), len(by_shared)))
        for by, follower, loose in zip(by_own, self.followers, self.loose, strict=True):
            whole = whole + by @ follower
            found = found + by @ loose @ by.T
        return np.asarray(found + whole @ self.covariance @ whole.T)


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
    settled = False
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
            settled = there is not None  # rounding alone is left
            break
        small = normal.in_uncertainties(dx, dys) * fraction
        x, ys, at, cost = *tried, there, reached
        settled = small < _SETTLED
        if settled:
            break
    if not np.isfinite(cost):
        raise EstimateError("no parameters explain the readings; look at the wiring first")
    return replace(_Normal(at, x, ys, shared, own).estimate(), is_settled=settled)


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
    return sum(float(each.residuals @ each.residuals) for each in at) + _pull(x, ys, shared, own)


def _pull(x: Array, ys: Sequence[Array], shared: Belief, own: Sequence[Belief]) -> float:
    """Return by how much beliefs speak against parameters: each is a reading of its own."""
    aways = [shared.away(x, x), *(belief.away(y, x) for y, belief in zip(ys, own, strict=True))]
    return sum(float(away @ away) for away in aways)


class _Normal:
    """The normal equations at a point: shared ones after the states' own are eliminated (Schur).

    In units of what is believed: every parameter's uncertainty is 1 there, so that H = P + J' J loses no digits to
    units. What is believed of a state's own is readings too, the last rows of its design.
    """

    def __init__(
        self, at: Sequence[Linearised], x: Array, ys: Sequence[Array], shared: Belief, own: Sequence[Belief]
    ) -> None:
        self._at, self._x, self._ys, self._own, self._shared = at, x, ys, own, shared
        unit = shared.uncertainty
        self._rhs = -shared.away(x, x)
        self._states: list[_State] = []
        reduced = np.eye(len(x))
        for each, y, belief in zip(at, ys, own, strict=True):
            state = _State.of(each, x, y, unit, belief)
            reduced = reduced + state.by_shared.T @ state.by_shared - state.mixed.T @ state.inverse @ state.mixed
            self._rhs = self._rhs + state.by_shared.T @ state.residuals - state.mixed.T @ state.inverse @ state.rhs
            self._states.append(state)
        self._covariance = _inverse(reduced)

    def step(self) -> tuple[Array, list[Array]]:
        """Return the changes of the shared and of each state's own parameters."""
        dx = self._covariance @ self._rhs
        dys = [state.inverse @ (state.rhs - state.mixed @ dx) for state in self._states]
        own = [dy * belief.uncertainty for dy, belief in zip(dys, self._own, strict=True)]
        return dx * self._shared.uncertainty, own

    def in_uncertainties(self, dx: Array, dys: Sequence[Array]) -> float:
        """Return the largest component of a step over the standard uncertainty there."""
        doubt = np.sqrt(np.diag(self._covariance)) * self._shared.uncertainty
        largest = float((np.abs(dx) / doubt).max(initial=0.0))
        for dy, state, belief in zip(dys, self._states, self._own, strict=True):
            doubt = np.sqrt(np.diag(state.inverse)) * belief.uncertainty
            largest = max(largest, float((np.abs(dy) / doubt).max(initial=0.0)))
        return largest

    def estimate(self) -> Estimate:
        """Return everything with its uncertainties: of type A what of the covariance the readings' scatter brings."""
        C, unit = self._covariance, self._shared.uncertainty
        # Rows of H^-1 J', readings alone: C K' for the shared ones, K = J_shared + J_own F; F C K' for a state's own,
        # and inverse J_own' beside it in that state.
        scatter = np.zeros_like(C)
        for state in self._states:
            scatter = scatter + state.reduced.T @ state.reduced
        shared_a, shared_all = np.einsum("ij,jk,ik->i", C, scatter, C), np.diag(C)
        own_a, own_b, covariances = [], [], []
        for state, belief in zip(self._states, self._own, strict=True):
            FC = state.follower @ C
            covariance = state.inverse + FC @ state.follower.T
            whole = np.diag(covariance)
            beside = state.read_own @ state.inverse
            variance = np.einsum("ij,jk,ik->i", FC, scatter, FC) + (beside**2).sum(axis=0)
            variance = variance + 2 * ((state.reduced @ FC.T) * beside).sum(axis=0)
            own_a.append(np.sqrt(np.clip(variance, 0.0, whole)) * belief.uncertainty)
            own_b.append(np.sqrt(np.maximum(whole - variance, 0.0)) * belief.uncertainty)
            covariances.append(covariance * np.outer(belief.uncertainty, belief.uncertainty))
        units = [belief.uncertainty for belief in self._own]
        pairs = list(zip(self._states, units, strict=True))
        return Estimate(
            shared=self._x,
            shared_type_a=np.sqrt(np.clip(shared_a, 0.0, shared_all)) * unit,
            shared_type_b=np.sqrt(np.maximum(shared_all - shared_a, 0.0)) * unit,
            covariance=C * np.outer(unit, unit),
            own=tuple(self._ys),
            own_type_a=tuple(own_a),
            own_type_b=tuple(own_b),
            own_covariance=tuple(covariances),
            followers=tuple(state.follower * own[:, None] / unit for state, own in pairs),
            loose=tuple(state.inverse * np.outer(own, own) for state, own in pairs),
            # Each belief is a reading too, and each parameter takes one away again.
            chi_square=_cost(self._at, self._x, self._ys, self._shared, self._own),
            degrees_of_freedom=sum(len(each.residuals) for each in self._at),
        )


@dataclass(frozen=True, kw_only=True)
class _State:
    """One state's part of the normal equations, in units of what is believed.

    residuals: (row,), the readings first and then what is believed of its own; by_shared: (row, shared), by_own: (row,
    own), minus their derivatives. n_readings: of the rows.
    """

    residuals: Array
    by_shared: Array
    by_own: Array
    n_readings: int
    mixed: Array  # J_own' J_shared
    rhs: Array
    inverse: Array  # (J_own' J_own)^-1

    @classmethod
    def of(cls, at: Linearised, x: Array, y: Array, unit: Array, belief: Belief) -> _State:
        believed = np.zeros((len(y), len(x)))
        if belief.follows is not None:
            believed[np.arange(len(y)), belief.follows] = -unit[belief.follows] / belief.uncertainty
        by_shared = np.concatenate([at.shared * unit, believed])
        by_own = np.concatenate([at.own * belief.uncertainty, np.eye(len(y))])
        residuals = np.concatenate([at.residuals, -belief.away(y, x)])
        return cls(
            residuals=residuals,
            by_shared=by_shared,
            by_own=by_own,
            n_readings=len(at.residuals),
            mixed=by_own.T @ by_shared,
            rhs=by_own.T @ residuals,
            inverse=_inverse(by_own.T @ by_own),
        )

    @cached_property
    def follower(self) -> Array:
        """By how much its own parameters move with the shared ones, (own, shared)."""
        return np.asarray(-self.inverse @ self.mixed)

    @property
    def read_own(self) -> Array:
        """Minus the derivatives of the readings by its own parameters, (reading, own)."""
        return self.by_own[: self.n_readings]

    @cached_property
    def reduced(self) -> Array:
        """Those by the shared ones, its own following, (reading, shared)."""
        return np.asarray(self.by_shared[: self.n_readings] + self.read_own @ self.follower)


def _inverse(H: Array) -> Array:
    """Return the inverse of a symmetric matrix of which no eigenvalue is below 1: something is believed of everything.

    The largest reach (belief / noise)^2, 1e10 and more on a bench without noise.
    """
    values, vectors = np.linalg.eigh(H)
    return np.asarray((vectors / np.maximum(values, 1.0)) @ vectors.T)
