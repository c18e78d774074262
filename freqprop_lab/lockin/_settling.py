"""Capacitance (Remark 1): how slow a network is, what that costs at a frequency, and how to undo it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freqprop_lab.values import Array, Response
from freqprop_lab.waveform import Waveform

_FEWEST_FREQUENCIES = 2


def extrapolate_to_static(responses: Sequence[Response], frequencies: ArrayLike) -> Response:
    """Extrapolate b to frequency zero from responses to one drive at two or more frequencies.

    responses: of synchronised records, the same channels each. frequencies: Hz, (response,), all different. The
    in-phase part of a linear network departs from the static one by a series in omega^2, so a polynomial in omega^2 of
    one degree less than there are frequencies removes as many terms: on one pole omega tau = 0.15 and 0.3 leave 0.18 %,
    a third frequency between them 0.02 % (docs/physics.md). Standard errors grow with it: those of independent records.
    a is their mean, weighted alike. Raises ValueError for fewer than two, or equal, frequencies.
    """
    hertz = np.asarray(frequencies, dtype=np.float64)
    if len(responses) < _FEWEST_FREQUENCIES or hertz.shape != (len(responses),):
        raise ValueError(
            f"{len(responses)} responses and {hertz.size} frequencies; at least two are wanted, one for each response"
        )
    if len(np.unique(hertz)) < len(hertz) or not (np.isfinite(hertz) & (hertz > 0)).all():
        raise ValueError(f"the frequencies are {hertz.tolist()} Hz; all must differ, and be above 0")
    weights = _weights_at_zero(hertz**2)
    a = np.mean([response.a for response in responses], axis=0)
    b = np.tensordot(weights, [response.b for response in responses], axes=1)
    covariances = np.array([response.covariance for response in responses])
    covariance = np.empty(covariances.shape[1:])
    covariance[..., 0, 0] = covariances[..., 0, 0].sum(axis=0) / len(responses) ** 2
    covariance[..., 1, 1] = np.tensordot(weights**2, covariances[..., 1, 1], axes=1)
    shared = np.tensordot(weights, covariances[..., 0, 1], axes=1) / len(responses)
    covariance[..., 0, 1] = covariance[..., 1, 0] = shared
    raised = [response.flags for response in responses if response.flags is not None]
    return Response(a, b, covariance, flags=np.bitwise_or.reduce(raised) if raised else None)


def _weights_at_zero(x: Array) -> Array:
    """Return Lagrange's weights of the polynomial through the points x, taken at 0; they add up to one."""
    apart = x[None, :] - x[:, None]
    np.fill_diagonal(apart, 1.0)
    shares = np.where(np.eye(len(x), dtype=np.bool_), 1.0, x[None, :] / apart)
    return np.asarray(shares.prod(axis=1))


def relaxation_time_of_step(volts: ArrayLike, sample_rate: float) -> Array:
    """Return the relaxation time of each channel from its record of a step, s, (..., channel).

    volts: V, (..., channel, sample), from the step on, long enough to come to rest: the last tenth is taken for that.
    The area under what is left to go, over its height: the mean relaxation time where several overlap, so the slowest
    is at least this. NaN where a channel does not move beyond its noise. Raises ValueError for less than 20 samples.
    """
    samples = np.asarray(volts, dtype=np.float64)
    n_samples = samples.shape[-1]
    if n_samples < 20:
        raise ValueError(f"volts holds {n_samples} samples a channel; a step needs at least 20")
    tail = samples[..., -max(2, n_samples // 10) :]
    final, noise = tail.mean(axis=-1, keepdims=True), tail.std(axis=-1, ddof=1)
    left = samples - final
    height = left[..., 0]
    # Trapezium rule: the first sample is at the step itself.
    area = left.sum(axis=-1) - left[..., 0] / 2
    moves = np.abs(height) > 5 * noise + 1e-9 * np.abs(final[..., 0])
    return np.asarray(np.divide(area, height, out=np.full(height.shape, np.nan), where=moves)) / sample_rate


def relaxation_time(response: Response, waveform: Waveform, frequency: float, *, synchronised: bool) -> Array:
    """Return the relaxation time of each channel, s, (..., channel), from how the tones of one record came back.

    One pole: tone k is b / (1 + j k omega tau). Synchronised, tau follows from the phase of the lowest tone (first
    order in omega tau); with an unknown delay from the ratio of two tones' sizes (second order, so it needs little
    noise). An effective time where several poles overlap. NaN where the tones contradict a pole.
    Raises ValueError for a response without tones, or with one tone and an unknown delay.
    """
    if response.tones is None:
        raise ValueError("this response has no tones; demodulate a record to get them")
    orders = np.flatnonzero(np.abs(waveform.harmonics(waveform.last_harmonic or 2)) > 0) + 1
    omega = 2 * np.pi * frequency
    first = response.tones[..., 0]
    if synchronised:
        late = -first.imag / np.where(first.real == 0, np.nan, first.real)
        return np.asarray(late / (orders[0] * omega))
    if len(orders) < 2 or response.tones.shape[-1] < 2:
        raise ValueError(f"waveform {waveform.name} has one tone; with an unknown delay two are needed, as in two-tone")
    second = np.abs(response.tones[..., 1]) ** 2
    ratio = np.abs(first) ** 2 / np.where(second == 0, np.nan, second)
    low, high = (orders[:2] * omega) ** 2
    # ratio = (1 + high tau^2) / (1 + low tau^2)
    slack = high - low * ratio
    square = (ratio - 1) / np.where(slack > 0, slack, np.nan)
    return np.asarray(np.sqrt(np.where(square >= 0, square, np.nan)))


def error_of_relaxation(frequency: float, relaxation_time: float, orders: NDArray[np.intp] | None = None) -> float:
    """Return by how much b falls short at a frequency, relative: (omega tau)^2 / (1 + (omega tau)^2) of one pole.

    orders: harmonics of the nudge; the highest counts.
    """
    x = 2 * np.pi * frequency * relaxation_time * (1 if orders is None else int(orders.max()))
    return float(x**2 / (1 + x**2))


def highest_frequency(relaxation_time: float, error: float, highest_order: int = 1) -> float:
    """Return the frequency, Hz, up to which one pole costs b no more than a relative error. 0 < error < 1."""
    if not (0 < error < 1 and relaxation_time > 0):
        raise ValueError(
            f"a relaxation time above 0 and an error between 0 and 1 are wanted, not {relaxation_time}, {error}"
        )
    return float(np.sqrt(error / (1 - error)) / (2 * np.pi * relaxation_time * highest_order))
