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
_SETTLED = 1e-6  # of a parameter's standard uncertainty


@dataclass(frozen=True)
class Belief:
    """What is believed of parameters beforehand: values and standard uncertainties, (parameter,) each."""

    values: Array
    uncertainty: Array


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


def estimate(model: Model, shared: Belief, own: Sequence[Belief]) -> Estimate:
    """Return the parameters that explain the readings best, from what is believed of them.

    model(state, shared parameters, own parameters) gives residuals and derivatives. Raises EstimateError where no
    step lowers the misfit from the start on.
    """
    x, ys = shared.values.copy(), [belief.values.copy() for belief in own]
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


def _tried(model: Model, x: Array, ys: Sequence[Array]) -> list[Linearised] | None:
    try:
        return [model(state, x, y) for state, y in enumerate(ys)]
    except ValueError:  # beyond what the model can describe: a shorter step then
        return None


def _cost(at: Sequence[Linearised], x: Array, ys: Sequence[Array], shared: Belief, own: Sequence[Belief]) -> float:
    total = sum(float(each.residuals @ each.residuals) for each in at) + _pull(x, shared)
    return total + sum(_pull(y, belief) for y, belief in zip(ys, own, strict=True))


def _pull(values: Array, belief: Belief) -> float:
    return float((((values - belief.values) / belief.uncertainty) ** 2).sum())


class _Normal:
    """The normal equations at a point: shared ones after the states' own are eliminated (Schur)."""

    def __init__(
        self, at: Sequence[Linearised], x: Array, ys: Sequence[Array], shared: Belief, own: Sequence[Belief]
    ) -> None:
        self._at, self._x, self._ys, self._own, self._shared = at, x, ys, own, shared
        self._prior = 1 / shared.uncertainty**2
        self._data = np.zeros((len(x), len(x)))
        self._rhs = -self._prior * (x - shared.values)
        self._blocks: list[tuple[Array, Array, Array]] = []
        reduced = np.diag(self._prior)
        for each, y, belief in zip(at, ys, own, strict=True):
            prior = 1 / belief.uncertainty**2
            H_ss = each.own.T @ each.own + np.diag(prior)
            H_sg = each.own.T @ each.shared
            r_s = each.own.T @ each.residuals - prior * (y - belief.values)
            inverse = np.asarray(np.linalg.inv(H_ss), dtype=np.float64)
            H_gg = each.shared.T @ each.shared
            self._data += H_gg
            reduced = reduced + H_gg - H_sg.T @ inverse @ H_sg
            self._rhs = self._rhs + each.shared.T @ each.residuals - H_sg.T @ inverse @ r_s
            self._blocks.append((inverse, H_sg, r_s))
        self._covariance = np.asarray(np.linalg.inv(reduced), dtype=np.float64)

    def step(self) -> tuple[Array, list[Array]]:
        dx = self._covariance @ self._rhs
        return dx, [inverse @ (r_s - H_sg @ dx) for inverse, H_sg, r_s in self._blocks]

    def in_uncertainties(self, dx: Array, dys: Sequence[Array]) -> float:
        """Return the largest component of a step over the standard uncertainty there."""
        largest = float((np.abs(dx) / np.sqrt(np.diag(self._covariance))).max(initial=0.0))
        for dy, (inverse, _, _) in zip(dys, self._blocks, strict=True):
            largest = max(largest, float((np.abs(dy) / np.sqrt(np.diag(inverse))).max(initial=0.0)))
        return largest

    def estimate(self) -> Estimate:
        """Return everything with its uncertainties: of type B what of the covariance the beliefs bring."""
        C = self._covariance
        # H^-1 P H^-1, its blocks: with F = -inverse H_sg, a state's own rows of H^-1 are F C (shared), and so on.
        followers = [-inverse @ H_sg for inverse, H_sg, _ in self._blocks]
        priors = [1 / belief.uncertainty**2 for belief in self._own]
        B = np.diag(self._prior)
        for F, prior in zip(followers, priors, strict=True):
            B = B + F.T @ (prior[:, None] * F)
        shared_b = np.einsum("ij,jk,ik->i", C, B, C)
        shared_all = np.diag(C)
        own_a, own_b, own_covariance = [], [], []
        for s, (F, (inverse, _, _)) in enumerate(zip(followers, self._blocks, strict=True)):
            # Row of H^-1 over shared: F C; over its own: inverse + F C F'; over another state's: F C F_other'.
            FC = F @ C
            own_covariance.append(inverse + FC @ F.T)
            whole = np.diag(own_covariance[-1])
            variance = (FC**2) @ self._prior
            for other, (F_other, prior) in enumerate(zip(followers, priors, strict=True)):
                row = FC @ F_other.T + (inverse if other == s else 0.0)
                variance = variance + (row**2) @ prior
            own_b.append(np.sqrt(np.minimum(variance, whole)))
            own_a.append(np.sqrt(np.maximum(whole - variance, 0.0)))
        n_readings = sum(len(each.residuals) for each in self._at)
        chi_square = sum(float(each.residuals @ each.residuals) for each in self._at)
        pulled = _pull(self._x, self._shared) + sum(_pull(y, b) for y, b in zip(self._ys, self._own, strict=True))
        return Estimate(
            self._x,
            np.sqrt(np.maximum(shared_all - shared_b, 0.0)),
            np.sqrt(np.minimum(shared_b, shared_all)),
            C,
            tuple(self._ys),
            tuple(own_a),
            tuple(own_b),
            tuple(own_covariance),
            # Each belief is a reading too, and each parameter takes one away again.
            chi_square + pulled,
            n_readings,
        )
