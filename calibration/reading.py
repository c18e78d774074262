"""From a record of constant levels to one reading a node: its mean, and a standard error that scatter justifies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from freqprop_lab.values import Array, Record

_BLOCKS = 20
_CHANCE = 1e-3  # that block means of white noise scatter so much
_FINEST = 1e-7  # V: nobody believes a mean to be better, whatever arithmetic says


def readings(record: Record) -> tuple[Array, Array]:
    """Return mean and standard error of every node, V, (node,) each; NaN where nothing reads.

    White noise: the scatter over the root of the number of samples. Where the means of 20 blocks scatter by more than
    that explains (hum, drift, 1/f), theirs instead. A converter's step that noise doesn't blur is added as a uniform
    distribution (GUM 4.3.7). Source: JCGM 100:2008, 4.2.3.
    """
    volts = record.volts
    n_samples = volts.shape[1]
    with np.errstate(invalid="ignore"):
        mean = volts.mean(axis=1)
        variance = volts.var(axis=1, ddof=1) if n_samples > 1 else np.zeros(len(volts))
        white = variance / n_samples
        size = n_samples // _BLOCKS
        if size:
            blocks = volts[:, : size * _BLOCKS].reshape(len(volts), _BLOCKS, size).mean(axis=2)
            between = blocks.var(axis=1, ddof=1) / _BLOCKS
            ratio = np.divide(between, white, out=np.ones_like(white), where=white > 0)
            coloured = fdtrc(_BLOCKS - 1, n_samples - _BLOCKS, ratio) < _CHANCE
            white = np.where(coloured, between, white)
    unblurred = _unblurred_step(volts)
    return mean, np.sqrt(white + unblurred**2 / 12 + _FINEST**2)


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
