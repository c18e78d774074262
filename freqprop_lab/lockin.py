"""Lock-in: from what the meters returned to the response of each channel.

Model of one channel: v(t) = a + b f(t + delay) + white noise; f the nudge waveform, a the activation, b the error
signal (paper eq. 3.4 and section 5). Arrays in, arrays out: this module knows no instrument.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from freqprop_lab.values import Array, Response
from freqprop_lab.waveform import RectifiedSine, Waveform, is_delay_identifiable

METHODS = ("projection", "arch", "kink")
_WHOLE = 1e-6  # how far a number of periods or samples may lie from a whole one


def demodulate(
    volts: ArrayLike,
    sample_rate: float,
    waveform: Waveform,
    frequency: float,
    *,
    synchronised: bool,
    delays: ArrayLike | None = None,
    method: str | None = None,
) -> Response:
    """Fit a and b, with their covariance, to records of a nudged network.

    volts: V, (..., channel, sample), whole periods of the nudge, none missing. sample_rate: Hz. frequency: Hz, the
    waveform's rate of repetition. synchronised: the first sample is taken at phase 0, later by the channel's delay.
    delays: s, (channel,), known delays of the channels (synchronised records only). method: `projection`
    (synchronised: least squares on f, of which eq. 3.4 is the form for a sine), `arch` (unsynchronised |sin|: the one
    arch between two kinks is fitted, so every sample counts) or `kink` (the two samples of eq. 5.2 and 5.3).
    Standard errors assume white noise, whose variance is the residual's; `kink` has no residual and gives NaN.
    Raises ValueError for arguments that don't fit, and for an unsynchronised waveform of which Proposition 1 says that
    a delay can't be told from a sign.
    """
    samples = _checked(volts)
    periods = frequency * samples.shape[-1] / sample_rate
    if not np.isfinite(periods) or periods <= 0 or abs(periods - round(periods)) > _WHOLE * max(1.0, periods):
        raise ValueError(
            f"{samples.shape[-1]} samples at {sample_rate:g} Hz hold {periods:g} periods of {frequency:g} Hz; "
            "the record must hold whole periods"
        )
    chosen = method or ("projection" if synchronised else "arch")
    if chosen not in METHODS:
        raise ValueError(f'lock-in method "{chosen}" is none of {", ".join(METHODS)}')
    if chosen == "projection":
        if not synchronised:
            raise ValueError("a projection needs synchronised records; leave method out, or synchronise the meter")
        return _project(samples, waveform, frequency / sample_rate, sample_rate, delays)
    refuse_unidentifiable(waveform)
    if delays is not None:
        raise ValueError("known delays belong to synchronised records; pass synchronised=True")
    if not isinstance(waveform, RectifiedSine):
        raise ValueError(f"records of unknown delay are read with abs-sine so far, not with {waveform.name}")
    period = _one_period(samples, sample_rate / frequency, round(periods))
    read = _read_arch if chosen == "arch" else _read_kink
    return read(period, round(periods), samples, frequency)


def refuse_unidentifiable(waveform: Waveform) -> None:
    """Raise ValueError where Proposition 1 says that (a, b) can't be had without knowing the delay."""
    if not is_delay_identifiable(waveform):
        raise ValueError(
            f"waveform {waveform.name}: delayed by half a period it is its own inverse, so with an unknown delay the "
            "sign of b can't be told (Proposition 1 of the paper). Choose abs-sine, or synchronise the meter with the "
            "source"
        )


def _checked(volts: ArrayLike) -> Array:
    samples = np.ascontiguousarray(volts, dtype=np.float64)
    if samples.ndim < 2:
        raise ValueError(
            f"volts has the shape {samples.shape}; it must be (channel, sample) or (batch, channel, sample)"
        )
    if samples.shape[-1] < 4:
        raise ValueError(f"volts holds {samples.shape[-1]} samples a channel; a fit of a and b needs at least 4")
    if not np.isfinite(samples).all():
        raise ValueError("volts holds NaN or infinite values; leave out channels with missing samples")
    return samples


def _project(
    volts: Array, waveform: Waveform, cycles_per_sample: float, sample_rate: float, delays: ArrayLike | None
) -> Response:
    """Least squares on (1, f). Without delays all channels share one basis, kept from call to call."""
    n_samples = volts.shape[-1]
    if delays is None or not np.any(delays):
        f, centred, power, f_mean, f_square = _basis(waveform, cycles_per_sample, n_samples)
        b = volts @ centred / power
        mean = volts.mean(axis=-1)
    else:
        late = np.asarray(delays, dtype=np.float64) * sample_rate * cycles_per_sample
        if late.shape not in {(), volts.shape[-2:-1]} or not np.isfinite(late).all():
            raise ValueError(f"delays must be one finite number of seconds for each of the {volts.shape[-2]} channels")
        f = waveform.at(np.arange(n_samples) * cycles_per_sample + np.atleast_1d(late)[:, None])
        f_mean, f_square = f.mean(axis=-1), (f**2).sum(axis=-1)
        centred = f - f_mean[:, None]
        power = (centred**2).sum(axis=-1)
        _refuse_constant(waveform, float(power.min()), n_samples)
        b = (volts * centred).sum(axis=-1) / power
        mean = volts.mean(axis=-1)
    a = mean - b * f_mean
    residual = volts - a[..., None] - b[..., None] * f
    variance = (residual**2).sum(axis=-1) / (n_samples - 2)
    covariance = np.empty((*a.shape, 2, 2))
    covariance[..., 0, 0] = variance * f_square / (n_samples * power)
    covariance[..., 1, 1] = variance / power
    covariance[..., 0, 1] = covariance[..., 1, 0] = -variance * f_mean / power
    return Response(a, b, covariance, noise=np.sqrt(variance))


@lru_cache(maxsize=32)
def _basis(waveform: Waveform, cycles_per_sample: float, n_samples: int) -> tuple[Array, Array, float, float, float]:
    """Return f at the samples, f less its mean, the latter's sum of squares, f's mean and sum of squares."""
    f = waveform.at(np.arange(n_samples) * cycles_per_sample)
    centred = f - f.mean()
    power = float(centred @ centred)
    _refuse_constant(waveform, power, n_samples)
    return f, centred, power, float(f.mean()), float(f @ f)


def _refuse_constant(waveform: Waveform, power: float, n_samples: int) -> None:
    if power < 1e-12 * n_samples:
        raise ValueError(f"{waveform.name} is constant at all {n_samples} samples, so b is undefined; sample it faster")


def _one_period(volts: Array, samples_per_period: float, n_periods: int) -> Array:
    """Average the periods of a record: every period is sampled at the same phases."""
    whole = round(samples_per_period)
    if abs(samples_per_period - whole) > _WHOLE * samples_per_period or whole < 5:
        raise ValueError(
            f"{samples_per_period:g} samples a period; records of unknown delay take a whole number, at least 5"
        )
    return np.asarray(volts.reshape(*volts.shape[:-1], n_periods, whole).mean(axis=-2))


def _read_arch(period: Array, n_periods: int, volts: Array, frequency: float) -> Response:
    """Fit a + b sin(pi (p + d)) to the one arch between two kinks; the kink lies before the best starting sample.

    For each starting sample the fit is linear in (a, b cos pi d, b sin pi d) and has the same design matrix.
    """
    n = period.shape[-1]
    phase = np.arange(n) / n
    design = np.stack([np.ones(n), np.sin(np.pi * phase), np.cos(np.pi * phase)], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    rolled = period[..., (np.arange(n)[:, None] + np.arange(n)) % n]  # (..., channel, start, sample)
    fitted = rolled @ (design @ inverse)
    misfit = ((rolled - fitted @ design.T) ** 2).sum(axis=-1)
    start = misfit.argmin(axis=-1)
    best = np.take_along_axis(fitted, start[..., None, None], axis=-2)[..., 0, :]
    a, across, along = best[..., 0], best[..., 1], best[..., 2]
    b = np.hypot(across, along) * np.where(across < 0, -1.0, 1.0)
    kink_before_start = np.arctan2(along * np.sign(b), np.abs(across)) / np.pi
    delay = ((kink_before_start - start / n) % 1) / frequency

    within = volts.reshape(*period.shape[:-1], n_periods, n) - period[..., None, :]
    smallest = np.take_along_axis(misfit, start[..., None], axis=-1)[..., 0]
    total = (within**2).sum(axis=(-2, -1)) + n_periods * smallest
    variance = total / (n_periods * n - 3)
    return Response(a, b, _arch_covariance(inverse / n_periods, best, variance), np.sqrt(variance), delay)


def _arch_covariance(inverse: Array, fitted: Array, variance: Array) -> Array:
    """Carry the covariance of (a, b cos, b sin) over to (a, b), where b is the length of the last two."""
    length = np.hypot(fitted[..., 1], fitted[..., 2])
    sign = np.where(fitted[..., 1] < 0, -1.0, 1.0)
    safe = np.where(length > 0, length, 1.0)
    jacobian = np.zeros((*length.shape, 2, 3))
    jacobian[..., 0, 0] = 1
    jacobian[..., 1, 1] = np.where(length > 0, sign * fitted[..., 1] / safe, 1.0)
    jacobian[..., 1, 2] = np.where(length > 0, sign * fitted[..., 2] / safe, 0.0)
    return np.asarray(variance[..., None, None] * (jacobian @ inverse @ np.swapaxes(jacobian, -1, -2)))


def _read_kink(period: Array, n_periods: int, volts: Array, frequency: float) -> Response:  # noqa: ARG001
    """Read a at the kink, where the second difference is largest, and b half a period from it (eq. 5.2, 5.3)."""
    n = period.shape[-1]
    bend = np.roll(period, -1, axis=-1) - 2 * period + np.roll(period, 1, axis=-1)
    kink = np.abs(bend).argmax(axis=-1)
    a = np.take_along_axis(period, kink[..., None], axis=-1)[..., 0]
    peak = np.take_along_axis(period, ((kink + n // 2) % n)[..., None], axis=-1)[..., 0]
    unknown = np.full((*a.shape, 2, 2), np.nan)
    return Response(a, peak - a, unknown, delay=(-kink / n % 1) / frequency)
