"""The unknown delay: where it is looked for, and how sure the sign of b is once it is found.

With w_k = 2 V_k conj(F_k), V_k the record's harmonics, c(d) = Re sum w_k exp(-2 pi i k d) is the correlation of the
record with a nudge delayed by d periods. The most likely delay is where |c| is largest, and the sign of b is that of c
there (docs/lock-in.md). Correlations are (..., channel); a delay that channels share has one value for all of them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from freqprop_lab.values import Array

Complex = NDArray[np.complex128]
Orders = NDArray[np.intp]

_FEWEST_DELAYS = 64
_DELAYS_A_HARMONIC = 32
_MOST_STEPS = 8
_ARRIVED = 6e-5  # periods over the highest order: a step this small leaves less than 1e-11, as c is even about its peak
_CLEAR = 40.0  # log-likelihood between the signs: beyond it nothing else need be looked at
_FINE = 256  # delays over which a likelihood is integrated


@lru_cache(maxsize=64)
def _grid(orders: tuple[int, ...], n_delays: int | None) -> tuple[Array, Array]:
    """Return delays evenly over a period, and what turns harmonics into the correlations there, (2 harmonic, delay)."""
    wanted = max(_FEWEST_DELAYS, _DELAYS_A_HARMONIC * orders[-1]) if n_delays is None else n_delays
    delays = np.arange(wanted) / wanted
    turned = np.conj(turned_back(np.array(orders), delays))
    return delays, np.ascontiguousarray(turned.view(np.float64).T)


@lru_cache(maxsize=64)
def _rates(orders: tuple[int, ...]) -> tuple[Complex, Complex]:
    """Return by what a derivative of c by the delay multiplies each term, and its powers 0, 1, 2, (harmonic, power)."""
    rate = -2j * np.pi * np.array(orders)
    return rate, np.stack([np.ones(len(rate)), rate, rate**2], axis=1)


def fine_grid() -> Array:
    """Return the delays over which a likelihood is integrated, periods."""
    return np.arange(_FINE) / _FINE


def turned_back(orders: Orders, delays: Array) -> Complex:
    """Return exp(-2 pi i k d), (..., harmonic)."""
    turned: Complex = np.exp(-2j * np.pi * delays[..., None] * orders)
    return turned


def correlations(w: Complex, orders: Orders, n_delays: int | None = None) -> tuple[Array, Array]:
    """Return delays, periods, and c at each of them, (..., channel, delay): one real product.

    n_delays: None for as many as let Newton's method arrive from the best of them.
    """
    delays, table = _grid(tuple(orders.tolist()), n_delays)
    return delays, np.ascontiguousarray(w).view(np.float64) @ table


def best_delay(w: Complex, orders: Orders, weights: Array | None, grid: Array, on_grid: Array) -> Array:
    """Return the delay where the likelihood is largest, periods, (..., channel), or (..., 1) where it is shared.

    w: (..., channel, harmonic). weights: None where each channel has its own delay; else what a channel's correlation
    squared counts in the common one, (..., channel). Newton's method on the derivative of c, or of the sum of squares.
    """
    if weights is None:
        delay = grid[np.abs(on_grid).argmax(axis=-1)]
    else:
        delay = grid[((weights[..., None] * on_grid**2).sum(axis=-2)).argmax(axis=-1)][..., None]
    rate, powers = _rates(tuple(orders.tolist()))
    farthest, arrived = 1 / len(grid), _ARRIVED / int(orders[-1])
    for _ in range(_MOST_STEPS):
        derivatives = ((w * np.exp(delay[..., None] * rate)) @ powers).real
        first, second = derivatives[..., 1], derivatives[..., 2]
        if weights is not None:
            c = derivatives[..., 0]
            first, second = (
                (weights * c * first).sum(axis=-1, keepdims=True),
                (weights * (first**2 + c * second)).sum(axis=-1, keepdims=True),
            )
        step = np.divide(first, second, out=np.zeros(first.shape), where=second != 0)
        step = np.minimum(np.maximum(step, -farthest), farthest)  # np.clip is slower on few channels
        delay = delay - step
        if np.abs(step).max() < arrived:
            break
    return np.asarray(delay % 1.0)


def sign_confidence(
    c: Array, at_best: Array, unit: Array, w: Complex, orders: Orders, evened: Array | float = 1.0
) -> Array:
    """Return the probability that the sign of b is right where each channel has a delay of its own, (..., channel).

    c: correlations on a grid, (..., channel, delay). at_best: c where it is largest in size. unit: standard deviation
    of c. The likelihood is integrated over all delays and amplitudes of either sign, all of them as likely before.
    evened: what a correlation at each delay of the fine grid is to be multiplied by, so that all have this unit.
    """
    other = np.maximum(np.where(at_best < 0, c.max(axis=-1), -c.min(axis=-1)), 0.0)
    unclear = at_best**2 - other**2 < (2 * _CLEAR) * unit**2
    confidence = np.ones(at_best.shape)
    if unclear.any():
        even = np.broadcast_to(evened, (*unclear.shape, _FINE))[unclear]
        z = correlations(w[unclear], orders, _FINE)[1] * even / unit[unclear][:, None]
        confidence[unclear] = _share_of_sign(z, np.sign(at_best)[unclear])
    return confidence


def _share_of_sign(z: Array, sign: Array) -> Array:
    """Integrate exp(z^2 / 2) Phi(+-z) over the delays, (channel, delay): amplitudes from 0 to infinity of each sign."""
    weight = np.exp((z**2 - (z**2).max(axis=-1, keepdims=True)) / 2)
    right = (weight * ndtr(sign[:, None] * z)).sum(axis=-1)
    wrong = (weight * ndtr(-sign[:, None] * z)).sum(axis=-1)
    return np.asarray(right / (right + wrong))


def shared_confidence(
    w: Complex, orders: Orders, at_best: Array, unit: Array, evened: Array | float = 1.0
) -> tuple[Array, Array]:
    """Return how sure each channel's sign is where all share one delay, and how sure the delay's mode is.

    w: (..., channel, harmonic). at_best, unit: (..., channel). Two arrays, (..., channel) and (..., 1): the first
    includes the noise of a weak channel, the second only asks whether all signs may be turned over together.
    """
    z = correlations(w, orders, _FINE)[1] * evened / unit[..., None]
    log = (z**2).sum(axis=-2) / 2
    weight = np.exp(log - log.max(axis=-1, keepdims=True))
    weight = (weight / weight.sum(axis=-1, keepdims=True))[..., None, :]
    aligned = np.sign(at_best)[..., None] * z
    strength = (np.abs(at_best / unit)[..., None] * aligned).sum(axis=-2, keepdims=True)
    mode = (weight * (strength > 0)).sum(axis=-1)
    return np.asarray((weight * ndtr(aligned)).sum(axis=-1)), np.asarray(mode)
