"""From records of constant levels to one reading a node: its mean, and a standard error that scatter justifies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from calibration.ripple import Fitted, fitted, lines
from freqprop_lab.values import Array, Record

_BLOCKS = 20
_CHANCE = 1e-3  # that block means of white noise scatter so much
_FINEST = 1e-7  # V: nobody believes a mean to be better, whatever arithmetic says
_ENOUGH = 500  # samples of a record: they tell a converter's step, if it has one
_FEWEST_VALUES = 6
_WHOLE = 0.02  # of a step: what differences may be off from whole ones
_MOST_ROUNDS = 30


def readings(records: Sequence[Record]) -> tuple[Array, Array]:
    """Return mean and standard error of every node, V, (record, node) each; NaN where nothing reads.

    White noise: the scatter over the root of the number of samples. Hum and other lines are fitted beside the mean, so
    that they add nothing to it or to its doubt. Where the means of 20 blocks still scatter by more than white noise
    explains (drift, 1/f), theirs instead. What noise leaves of a converter's steps is added: see `left_of_steps`.
    Source: JCGM 100:2008, 4.2.3.
    """
    shape = len(records), len(records[0].volts)
    mean, variance, scatter = (np.full(shape, np.nan) for _ in range(3))
    for row, record in enumerate(records):
        read = np.isfinite(record.volts).all(axis=1)
        samples = record.volts[read]
        fit = fitted(samples, record.sample_rate, lines(samples, record.sample_rate))
        mean[row, read], variance[row, read] = fit.mean, _variance_of_mean(fit)
        scatter[row, read] = (fit.residuals**2).mean(axis=1)
    steps = converter_steps([record.volts for record in records])
    return mean, np.sqrt(variance + left_of_steps(steps, scatter) ** 2 + _FINEST**2)


def converter_steps(volts: Sequence[Array]) -> Array:
    """Return the step of each node's converter, V, (node,), from all its records, (node, sample); 0 where it has none.

    All values that a converter gives lie whole steps apart: the step is the largest that all differences are multiples
    of, down to what counts as nothing. One record without noise tells of none, several of different levels do.
    """
    found = np.zeros(len(volts[0]))
    for node in range(len(found)):
        by_record = [np.unique(each[node, :_ENOUGH]) for each in volts]
        values = np.unique(np.concatenate(by_record))
        # A few levels are multiples of something by chance; what one record jumps between is not.
        apart = [np.diff(values)] if len(values) >= _FEWEST_VALUES else [np.diff(each) for each in by_record]
        found[node] = _common_step(np.concatenate(apart)) if np.isfinite(values).all() else 0.0
    return found


def left_by_converters(records: Sequence[Record]) -> Array:
    """Return what the steps of the channels' converters leave of a mean's error, V rms, (node,); NaN: nothing reads."""
    scatter = np.array([record.volts.var(axis=1) for record in records])
    return np.asarray(left_of_steps(converter_steps([record.volts for record in records]), scatter)[0])


def left_of_steps(steps: Array, scatter: Array) -> Array:
    """Return what a converter's steps leave of a mean's error, V rms, (record, node).

    steps: V, (node,). scatter: mean squares of a record about its mean, V^2, (record, node); those of all records count
    together, since in one it hangs on where between two steps the level lies. Without noise a mean is off by a step
    over the root of 12 (GUM 4.3.7); noise of s smears each harmonic of that saw-tooth by exp(-2 pi^2 k^2 s^2 / step^2)
    (Widrow 1956), and what a mean is not off by is scatter.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(steps > 0, scatter.mean(axis=0) / steps**2, 0.0)
    return np.broadcast_to(steps * np.interp(relative, _SCATTER, _LEFT, right=0.0), scatter.shape)


def _smeared() -> tuple[Array, Array]:
    """Return the mean square scatter of records, and the rms error of their means, of noise of 0 to 1 step."""
    noise, order = np.linspace(0.0, 1.0, 201)[:, None], np.arange(1, 2001)
    squares = (np.exp(-4 * np.pi**2 * order**2 * noise**2) / (np.pi * order) ** 2).sum(axis=1) / 2
    return noise[:, 0] ** 2 + 1 / 12 - squares, np.sqrt(squares)


_SCATTER, _LEFT = _smeared()


def _common_step(differences: NDArray[np.float64]) -> float:
    """Return the largest number of which all differences are whole multiples, or 0 below what counts as nothing."""
    if not len(differences):
        return 0.0
    step = float(differences.min())
    for _ in range(_MOST_ROUNDS):
        if step < _FINEST:
            return 0.0
        left = np.abs(differences - step * np.round(differences / step))
        over = left > _WHOLE * step
        if not over.any():
            return step
        step = float(left[over].min())
    return 0.0


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
