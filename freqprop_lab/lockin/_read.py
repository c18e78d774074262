"""The paper's own readings, by name, for comparison and teaching; and the average of a record without nudge."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from freqprop_lab.lockin._arguments import Given, refuse_gaps
from freqprop_lab.lockin._basis import ROUNDING, Timing
from freqprop_lab.lockin._moments import NEARLY_NOTHING, projected
from freqprop_lab.values import Array, Flag, Response
from freqprop_lab.waveform import RectifiedSine, Waveform

_SURELY = 23.9  # chi^2 of one degree of freedom that chance exceeds once in a million
_SURELY_TWO = 27.6  # of two
_SEEN = 1e-9  # of the level: what the halves differ by less than this is rounding
_FEWEST_IN_A_PERIOD = 5
_FEWEST_TO_HALVE = 8


def read_projection(given: Given) -> Response:
    """Project on f, known at every sample: b = sum v (f - <f>) / sum (f - <f>)^2, of which eq. 3.4 is the sine's.

    Where all channels are in phase, halves of a record that differ are flagged as not settled.
    """
    timing = _whole(given)
    n_samples, differ = timing.n_samples, None
    if given.known is None:
        f, columns, power, f_mean, f_square, halves = _template(given.waveform, timing)
        products, squares = projected(given.volts, columns)
        level, b = products[..., 0] / n_samples, products[..., 1] / power
        left = squares - n_samples * level**2 - power * b**2
        differ = (products[..., 2:] ** 2 / halves).sum(axis=-1)
    else:
        f = given.waveform.at(timing.phases + (given.known * given.frequency)[:, None])
        f_mean, f_square = f.mean(axis=-1), (f**2).sum(axis=-1)
        centred = f - f_mean[:, None]
        power = (centred**2).sum(axis=-1)
        _refuse_constant(given.waveform, float(power.min()), n_samples)
        b = np.einsum("rcn,cn->rc", given.volts, centred) / power
        level, squares = given.volts.mean(axis=-1), np.full(b.shape, np.inf)
        left = np.zeros(b.shape)
    if not np.isfinite(b).all():
        refuse_gaps(given.volts)
    a = level - b * f_mean
    small = left < NEARLY_NOTHING * squares
    if small.any():  # lost in the rounding of the sum of squares: sample by sample then
        modelled = a[..., None] + b[..., None] * f
        left[small] = ((given.volts - modelled)[small] ** 2).sum(axis=-1)
    variance = left / (n_samples - 2)
    covariance = np.empty((*a.shape, 2, 2))
    covariance[..., 0, 0] = variance * f_square / (n_samples * power)
    covariance[..., 1, 1] = variance / power
    covariance[..., 0, 1] = covariance[..., 1, 0] = -variance * f_mean / power
    stderr = np.sqrt(covariance[..., 1, 1])
    confidence = ndtr(np.divide(np.abs(b), stderr, out=np.zeros_like(b), where=stderr > 0))
    flags = None
    if differ is not None:
        unsettled = (differ > _SURELY_TWO * variance) & (differ > _SEEN**2 * squares)
        flags = unsettled * np.uint8(Flag.NOT_SETTLED)
    return Response(a, b, covariance, np.sqrt(variance), sign_confidence=confidence, flags=flags)


@lru_cache(maxsize=32)
def _template(waveform: Waveform, timing: Timing) -> tuple[Array, Array, float, float, float, Array]:
    """Return f at the samples; the columns 1, f less its mean, and both with the first half turned over; their squares.

    f, columns, sum of (f - <f>)^2, <f>, sum of f^2, and the squares of the columns that tell the halves apart.
    """
    f = waveform.at(timing.phases)
    centred = f - f.mean()
    power = float(centred @ centred)
    _refuse_constant(waveform, power, timing.n_samples)
    columns = np.stack([np.ones(len(f)), centred], axis=1)
    half = int(timing.n_periods / 2) / timing.n_periods * len(f)  # whole periods, or nothing
    place = np.arange(len(f)) + 0.5
    sign = np.where(place > len(f) - half, 1.0, np.where(place < half, -1.0, 0.0))
    halves = columns * sign[:, None]
    halves = halves - columns @ np.linalg.solve(columns.T @ columns, columns.T @ halves)
    squares = np.maximum((halves**2).sum(axis=0), 1e-300)
    stacked = np.ascontiguousarray(np.concatenate([columns, halves], axis=1))
    return f, stacked, power, float(f.mean()), float(f @ f), squares


def read_kink(given: Given) -> Response:
    """Read |sin|: a at the kink, where the second difference is largest, and b half a period on (eq. 5.2 and 5.3)."""
    if not isinstance(given.waveform, RectifiedSine):
        raise ValueError(f'method "kink" reads abs-sine, which has a kink; the waveform is {given.waveform.name}')
    n_in_period = _whole(given).samples_per_period
    if n_in_period is None or n_in_period < _FEWEST_IN_A_PERIOD:
        raise ValueError(
            f"{given.sample_rate / given.frequency:g} samples a period; the kink is read from a whole number of them, "
            f"at least {_FEWEST_IN_A_PERIOD}"
        )
    period = given.volts.reshape(*given.volts.shape[:-1], -1, n_in_period).mean(axis=-2)
    if not np.isfinite(period).all():
        refuse_gaps(given.volts)
    bend = np.roll(period, -1, axis=-1) - 2 * period + np.roll(period, 1, axis=-1)
    kink = np.abs(bend).argmax(axis=-1)
    at_kink = np.take_along_axis(period, kink[..., None], axis=-1)[..., 0]
    peak = np.take_along_axis(period, ((kink + n_in_period // 2) % n_in_period)[..., None], axis=-1)[..., 0]
    b = (peak - at_kink) / (given.waveform.highest - given.waveform.lowest)
    a = at_kink - given.waveform.lowest * b
    return Response(a, b, np.full((*a.shape, 2, 2), np.nan), delay=(-kink / n_in_period % 1) / given.frequency)


def average(volts: ArrayLike) -> Response:
    """Average records of a network that is not nudged: a with its standard error, b zero.

    volts: V, (..., channel, sample). A record whose halves differ by more than its noise is flagged as not settled.
    """
    samples = np.asarray(volts, dtype=np.float64)
    n_samples = samples.shape[-1]
    variance = samples.var(axis=-1, ddof=1)
    a = samples.mean(axis=-1)
    covariance = np.zeros((*a.shape, 2, 2))
    covariance[..., 0, 0] = variance / n_samples
    flags = np.zeros(a.shape, dtype=np.uint8)
    if n_samples >= _FEWEST_TO_HALVE:
        half = n_samples // 2
        first, last = samples[..., :half], samples[..., n_samples - half :]
        apart = last.mean(axis=-1) - first.mean(axis=-1)
        within = (first.var(axis=-1, ddof=1) + last.var(axis=-1, ddof=1)) / half
        flags[(apart**2 > _SURELY * within) & (np.abs(apart) > _SEEN * np.abs(a))] |= np.uint8(Flag.NOT_SETTLED)
    return Response(a, np.zeros(a.shape), covariance, np.sqrt(variance), flags=flags)


def _whole(given: Given) -> Timing:
    timing = Timing(given.frequency / given.sample_rate, given.volts.shape[-1])
    if not timing.is_whole:
        raise ValueError(
            f"{timing.n_samples} samples at {given.sample_rate:g} Hz hold {timing.n_periods:g} periods of "
            f'{given.frequency:g} Hz; this method must have whole periods, "harmonic" need not'
        )
    return timing


def _refuse_constant(waveform: Waveform, power: float, n_samples: int) -> None:
    if power < ROUNDING * n_samples:
        raise ValueError(f"{waveform.name} is constant at all {n_samples} samples, so b is undefined; sample it faster")
