"""From a record of constant levels to one reading a node: its mean, and a standard error that scatter justifies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from calibration.ripple import Fitted, fitted, lines
from freqprop_lab.values import Array, Record

_BLOCKS = 20
_CHANCE = 1e-3  # that block means of white noise scatter so much
_FINEST = 1e-7  # V: nobody believes a mean to be better, whatever arithmetic says


def readings(record: Record) -> tuple[Array, Array]:
    """Return mean and standard error of every node, V, (node,) each; NaN where nothing reads.

    White noise: the scatter over the root of the number of samples. Hum and other lines are fitted beside the mean, so
    that they add nothing to it or to its doubt. Where the means of 20 blocks still scatter by more than white noise
    explains (drift, 1/f), theirs instead. A converter's step that noise doesn't blur is added as a uniform distribution
    (GUM 4.3.7). Source: JCGM 100:2008, 4.2.3.
    """
    volts = record.volts
    mean, error = (np.full(len(volts), np.nan) for _ in range(2))
    read = np.isfinite(volts).all(axis=1)
    samples = volts[read]
    fit = fitted(samples, record.sample_rate, lines(samples, record.sample_rate))
    variance = _variance_of_mean(fit)
    mean[read], error[read] = fit.mean, np.sqrt(variance + _unblurred_step(samples) ** 2 / 12 + _FINEST**2)
    return mean, error


def _variance_of_mean(fit: Fitted) -> Array:
    left = fit.residuals
    n_samples = left.shape[1]
    white: Array = (left**2).sum(axis=1) / max(n_samples - fit.n_fitted, 1) * fit.per_noise
    size = n_samples // _BLOCKS
    if not size:
        return white
    blocks = left[:, : size * _BLOCKS].reshape(len(left), _BLOCKS, size).mean(axis=2)
    between = blocks.var(axis=1, ddof=1) / _BLOCKS
    ratio = np.divide(between, white, out=np.ones_like(white), where=white > 0)
    coloured = fdtrc(_BLOCKS - 1, n_samples - _BLOCKS, ratio) < _CHANCE
    return np.asarray(np.where(coloured, between, white))


def _unblurred_step(volts: Array) -> Array:
    """Return the converter's step where a record shows three values or fewer, V, (node,); else 0.

    A single value tells of no step; then nothing is known beyond the finest.
    """
    steps = np.zeros(len(volts))
    for row, samples in enumerate(volts):
        values: NDArray[np.float64] = np.unique(samples[: 4 * _BLOCKS])
        if 2 <= len(values) <= 3 and len(np.unique(samples)) <= 3:
            steps[row] = float(np.diff(values).min())
    return steps
