"""The most likely a, b and delay, given what a record has on the columns of a basis.

A record enters only by its moments: its products with the columns, and its square. So whole records, blocks of a stream
and records with samples left out are read by the same lines. Leading axes are (record, channel) throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from freqprop_lab.lockin import _phase
from freqprop_lab.lockin._basis import Basis, Harmonics
from freqprop_lab.values import Array

_SURE = 0.99


class Delay(Enum):
    """What is known of the nudge's delay."""

    KNOWN = "known"
    EACH = "each"  # every channel has its own
    SHARED = "shared"  # all channels of a record have the same one


@dataclass(frozen=True)
class Phase:
    """Delay, and the part of it that is known beforehand, periods: (channel,), or None where it is zero."""

    delay: Delay
    known: Array | None = None


@dataclass(frozen=True)
class Moments:
    """What a record has on its columns: products (record, channel, column), squares and n_samples (record, channel).

    gram: of the columns, (column, column), or (record, channel, column, column) where samples were left out.
    floor: V^2 a sample, below which a variance is rounding.
    """

    products: Array
    squares: Array
    n_samples: Array | int
    gram: Array
    floor: Array


@dataclass(frozen=True)
class Search:
    """A first delay, periods, (record, channel) or (record, 1); how sure the signs are, and the delay's mode."""

    cycles: Array
    confidence: Array
    mode: Array


@dataclass
class Fit:
    """What was found, (record, channel) each; covariance is of (a, b), (record, channel, 2, 2).

    variance: V^2 of the noise of a sample. cycles, cycles_stderr: the fitted delay, periods. confidence: of the sign;
    mode: of the delay alone, so that only noise can turn a sign. further: coefficients of the columns after 1 and f.
    """

    a: Array
    b: Array
    covariance: Array
    variance: Array
    confidence: Array
    cycles: Array | None = None
    cycles_stderr: Array | None = None
    mode: Array | None = None
    further: Array | None = None

    def widen_where_ambiguous(self, mean: float) -> NDArray[np.bool_]:
        """Let the standard errors cover the other sign where it is not ruled out; say where that is.

        The other sign has -b, and a higher by twice the mean of f times b.
        """
        ambiguous = np.zeros(self.a.shape, dtype=np.bool_)
        if self.mode is None or self.mode.min() >= _SURE:
            return ambiguous
        ambiguous |= self.mode < _SURE
        doubt = np.where(ambiguous, 1 - self.mode, 0.0) * (2 * self.b) ** 2
        self.covariance[..., 1, 1] += doubt
        self.covariance[..., 0, 0] += doubt * mean**2
        return ambiguous


def fit_flat(moments: Moments, basis: Basis, phase: Phase) -> Fit:
    """Fit records of whole periods, all samples there: the columns are orthogonal, and everything has a closed form."""
    harmonics, n = basis.harmonics, basis.timing.n_samples
    mean = moments.products[..., 0] / n
    V = _harmonics_of(moments.products, basis) / n
    w = V * harmonics.matched
    if phase.known is not None:
        w = w * _phase.turned_back(harmonics.orders, phase.known)
    power = harmonics.power
    found = None
    if phase.delay is Delay.KNOWN:
        c = w.sum(axis=-1).real
    else:
        grid, on_grid = _phase.correlations(w, harmonics.orders)
        weights = None
        if phase.delay is Delay.SHARED:
            left = moments.squares / n - mean**2 - 2 * (V.real**2 + V.imag**2).sum(axis=-1)
            weights = 1 / np.maximum(left, moments.floor)
        found = _phase.best_delay(w, harmonics.orders, weights, grid, on_grid)
        c = (w * _phase.turned_back(harmonics.orders, found)).sum(axis=-1).real
    b = c / power
    a = mean - b * harmonics.mean
    n_fitted = 2 + (0.0 if found is None else found.shape[-1] / b.shape[-1])
    variance = (moments.squares - n * (mean**2 + power * b**2)) / (n - n_fitted)
    variance = np.maximum(variance, moments.floor)
    covariance = np.empty((*b.shape, 2, 2))
    b_variance = variance / (n * power)
    covariance[..., 1, 1] = b_variance
    covariance[..., 0, 0] = variance / n + harmonics.mean**2 * b_variance
    covariance[..., 0, 1] = covariance[..., 1, 0] = -harmonics.mean * b_variance
    fit = Fit(a, b, covariance, variance, np.ones(b.shape))
    unit = np.sqrt(b_variance) * power
    if found is None:
        fit.confidence = ndtr(np.abs(c) / unit)
        return fit
    information = b**2 * (n * harmonics.bend) / variance
    if phase.delay is Delay.EACH:
        fit.confidence = _phase.sign_confidence(on_grid, c, unit, w, harmonics.orders)
        fit.mode = fit.confidence
    else:
        information = np.broadcast_to(information.sum(axis=-1, keepdims=True), b.shape)
        fit.confidence, fit.mode = _phase.shared_confidence(w, harmonics.orders, c, unit)
    fit.cycles = found if found.shape == b.shape else np.broadcast_to(found, b.shape)
    root = np.sqrt(information)
    fit.cycles_stderr = np.divide(1.0, root, out=np.full(root.shape, np.inf), where=root > 0)
    return fit


def look_for_delay(moments: Moments, basis: Basis, phase: Phase) -> Search:
    """Find the most likely delay from the harmonics alone, all other columns eliminated first.

    Where the columns are not orthogonal the nudge's power hangs on the delay, so a correlation counts by its own
    standard deviation.
    """
    harmonics, sigma, shaped = _eliminated(moments, basis)
    orders = harmonics.orders
    w = harmonics.matched * sigma
    if phase.known is not None:
        w = w * _phase.turned_back(orders, phase.known)

    def power(delays: Array) -> Array:
        """Return the power of a nudge at delays, ([record,] [channel,] delay)."""
        place = delays if phase.known is None else phase.known[:, None] + delays
        template = as_columns(2 * harmonics.coefficients * np.conj(_phase.turned_back(orders, place)))
        return np.asarray(((template @ shaped) * template).sum(axis=-1))

    solution = solved(moments.gram, moments.products)
    left = moments.squares - (solution * moments.products).sum(axis=-1)
    variance = np.maximum(left / (moments.n_samples - moments.products.shape[-1]), moments.floor)
    grid, plain = _phase.correlations(w, orders)
    powers = power(grid)
    usual = powers.mean(axis=-1)
    on_grid = plain * np.sqrt(usual[..., None] / powers)
    if phase.delay is Delay.EACH:
        place = np.abs(on_grid).argmax(axis=-1)
    else:
        place = (on_grid**2 / variance[..., None]).sum(axis=-2, keepdims=True).argmax(axis=-1)
    weights = None if phase.delay is Delay.EACH else 1 / variance
    onward = _phase.best_delay(w, orders, weights, grid, on_grid) - grid[place]
    # No farther than to the next delay tried: where the power changes, the correlation's peak is not the likelihood's.
    found = grid[place] + np.clip((onward + 0.5) % 1 - 0.5, -1 / len(grid), 1 / len(grid))
    at_best = np.take_along_axis(on_grid, np.broadcast_to(place, on_grid.shape[:-1])[..., None], axis=-1)[..., 0]
    unit = np.sqrt(variance * usual)
    evened = np.sqrt(usual[..., None] / power(_phase.fine_grid()))
    if phase.delay is Delay.EACH:
        confidence = _phase.sign_confidence(on_grid, at_best, unit, w, orders, evened)
        return Search(found, confidence, confidence)
    return Search(found, *_phase.shared_confidence(w, orders, at_best, unit, evened))


def _eliminated(moments: Moments, basis: Basis) -> tuple[Harmonics, NDArray[np.complex128], Array]:
    """Return what the record says of the harmonics, (record, channel, harmonic), once all other columns are fitted.

    Beside it the information on the harmonics' columns, (..., 2 harmonic, 2 harmonic): a Schur complement.
    """
    n_harmonic, gram = basis.n_harmonic_columns, moments.gram
    n_columns = gram.shape[-1]
    own = np.arange(1, 1 + n_harmonic)
    other = np.concatenate([[0], np.arange(1 + n_harmonic, n_columns)])
    across = gram[..., own[:, None], other]
    back = np.linalg.solve(gram[..., other[:, None], other], np.swapaxes(across, -1, -2))
    shaped = gram[..., own[:, None], own] - across @ back
    sigma = moments.products[..., own] - (moments.products[..., None, other] @ back)[..., 0, :]
    return basis.harmonics, np.ascontiguousarray(sigma).view(np.complex128), shaped


def as_columns(templates: NDArray[np.complex128]) -> Array:
    """Return the coefficients of a nudge on the columns cos and -sin, (..., 2 harmonic)."""
    return np.ascontiguousarray(templates).view(np.float64)


def solved(matrices: Array, rhs: Array) -> Array:
    """Solve for one vector each; the matrices may be one for all."""
    return np.asarray(np.linalg.solve(matrices, rhs[..., None])[..., 0])


def _harmonics_of(products: Array, basis: Basis) -> NDArray[np.complex128]:
    """Return the products with the harmonics' columns as complex numbers, (record, channel, harmonic)."""
    return np.ascontiguousarray(products[..., 1 : 1 + basis.n_harmonic_columns]).view(np.complex128)
