"""`demodulate`: from records to responses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freqprop_lab.lockin import _phase
from freqprop_lab.lockin._arguments import Given, Options, checked, checked_method, checked_options
from freqprop_lab.lockin._basis import Basis, Disturbances, Timing, basis_of, disturbance_columns, harmonics_of
from freqprop_lab.lockin._faults import fit_in_turns
from freqprop_lab.lockin._fit import Delay, Fit, Moments, Phase, Search, fit_flat, look_for_delay
from freqprop_lab.lockin._moments import NEARLY_NOTHING, doubts_of, moments_of, tones_of
from freqprop_lab.lockin._read import read_kink, read_projection
from freqprop_lab.lockin._refine import Exact, Reduced, refine
from freqprop_lab.values import Array, Flag, Response
from freqprop_lab.waveform import Waveform

_VALUES_AT_ONCE = 1 << 22  # 32 MB of samples
_CLEARLY = 40.0  # b^2 over its variance
_DESIGN_AT_ONCE = 1 << 21  # values of columns at the samples
_NEARLY_LEVEL = 1e-6  # of a steady level's square: what varies on top of it should be looked at by itself


def demodulate(
    volts: ArrayLike,
    sample_rate: float,
    waveform: Waveform,
    frequency: float,
    *,
    synchronised: bool,
    delays: ArrayLike | None = None,
    skews: ArrayLike | None = None,
    shared_delay: bool = False,
    method: str = "harmonic",
    valid: ArrayLike | None = None,
    limits: tuple[ArrayLike, ArrayLike] | None = None,
    hum: float | None = None,
    hum_harmonics: int = 3,
    drift: int = 0,
    fit_frequency: bool = False,
    second_order: bool = False,
    robust: bool = False,
) -> Response:
    """Fit a and b of v(t) = a + b f(t + delay) + noise to records of a nudged network, with their covariance.

    volts: V, (channel, sample) or (batch, channel, sample). sample_rate: Hz. frequency: Hz, the waveform's rate of
    repetition; the record need not hold whole periods.

    What is known of the delay. synchronised: the first sample is taken at phase 0, later by the channel's delay.
    delays: s, (channel,), known beforehand (fixed wiring, learned once with a large nudge); then synchrony is not
    asked for. skews: s, (channel,), by which a multiplexed converter takes each channel later. Otherwise the delay is
    fitted: one for each channel, or, with shared_delay, one for all channels of a record, as a free-running meter has.

    Further parts of the model. valid: False for samples to leave out (broadcast to volts), which may be NaN. limits: V,
    the ends of the meter's range: a sample there says that the voltage was there or beyond (a censored fit). hum: Hz,
    the mains' frequency, fitted together with so many hum_harmonics. drift: degree of a polynomial, up to 3; a is then
    the mean level over the record.
    fit_frequency: the clocks differ; one frequency is fitted to all channels of a record. second_order: fit
    a + b f + c f^2, so that b is free of the network's second order. robust: leave out spikes.

    method: `harmonic`, the maximum likelihood for white noise; `projection`, eq. 3.4 for any waveform (synchronised
    records); `kink`, the two samples of eq. 5.2 and 5.3 as printed (|sin|), without standard errors.

    Standard errors are those of white noise, its variance the residual's. Exact without noise for band-limited
    waveforms and for |sin| and the triangle; with a jump in f (pulse, sawtooth) the delay is known to a sample only,
    which for a sawtooth makes a uncertain by as much as f rises in one. Where the sign of b is known to less than 99 %
    the flag says so, and b_stderr covers the other sign.
    Raises ValueError, TypeError for arguments that don't fit, and for an unsynchronised waveform of which Proposition 1
    says that a delay can't be told from a sign.
    """
    given = checked(
        volts,
        sample_rate,
        waveform,
        frequency,
        synchronised=synchronised,
        delays=delays,
        skews=skews,
        shared_delay=shared_delay,
        valid=valid,
        limits=limits,
    )
    options = checked_options(
        hum=hum,
        hum_harmonics=hum_harmonics,
        drift=drift,
        fit_frequency=fit_frequency,
        second_order=second_order,
        robust=robust,
    )
    checked_method(method, given, options)
    if method != "harmonic":
        return _joined([(read_kink if method == "kink" else read_projection)(given)], given.lead)
    return _joined([_respond(part, options) for part in _parts(given, options)], given.lead)


def _respond(given: Given, options: Options) -> Response:
    """Fit some records, in memory that does not grow with their number."""
    if options.is_joint or given.limits is not None:
        return fit_in_turns(given, options, fit_once)
    timing = Timing(given.frequency / given.sample_rate, given.volts.shape[-1])
    fit, moments, contrasts_flags, basis = fit_once(given, timing, Disturbances(options.drift), options)
    return response_of(given, fit, tones_of(moments, basis), contrasts_flags)


def fit_once(
    given: Given, timing: Timing, disturbances: Disturbances, options: Options, start: Search | None = None
) -> tuple[Fit, Moments, NDArray[np.uint8], Basis]:
    """Fit records with everything but the delay given; start: where it is known to lie near."""
    basis = basis_of(given.waveform, timing, disturbances)
    moments, contrasts = moments_of(given.volts, basis, given.weights)
    level = _large_level(moments)
    if level is not None:
        given = replace(given, volts=given.volts - level[..., None])
        moments, contrasts = moments_of(given.volts, basis, given.weights, level)
    fit = _fitted(given, basis, moments, disturbances, options, start)
    if _leaks(given, basis, disturbances, options):
        # What f has beyond the fitted harmonics would look like a difference between the halves.
        left = given.volts - predicted(given, fit, timing.phases, _late(given, fit), basis)
        _, contrasts = moments_of(left, basis, given.weights)
    flags = doubts_of(moments, contrasts, fit)
    if level is not None:
        fit.a = fit.a + level
    return fit, moments, flags, basis


def _fitted(
    given: Given, basis: Basis, moments: Moments, disturbances: Disturbances, options: Options, start: Search | None
) -> Fit:
    phase = Phase(given.delay, None if given.known is None else given.known * given.frequency)
    band_limited = _is_band_limited(basis, options)
    if band_limited and basis.flat and given.weights is None and start is None:
        fit = fit_flat(moments, basis, phase)
    else:
        search = None if phase.delay is Delay.KNOWN else start or look_for_delay(moments, basis, phase)
        columns = Reduced(moments, basis) if band_limited else _exact(given, basis, disturbances, options, moments)
        fit = refine(columns, phase, search, second_order=options.second_order)
    if band_limited:
        _mend_small_variances(given, fit, basis, moments.floor)
    return fit


def _is_band_limited(basis: Basis, options: Options) -> bool:
    return not (basis.harmonics.truncated or options.second_order)


def _is_folded(given: Given, basis: Basis, disturbances: Disturbances) -> bool:
    """Say whether all periods are sampled alike, so that one stands for all of them."""
    return basis.timing.samples_per_period is not None and given.weights is None and not disturbances.n_columns


def _leaks(given: Given, basis: Basis, disturbances: Disturbances, options: Options) -> bool:
    """Say whether harmonics that are not among the columns reach the contrasts between the halves."""
    return not (_is_band_limited(basis, options) or _is_folded(given, basis, disturbances))


def _large_level(moments: Moments) -> Array | None:
    """Return the level of each channel where it is so large that the squares lose what stands on it, else None."""
    level = moments.products[..., 0] / moments.n_samples
    steady = moments.n_samples * level**2
    if (moments.squares - steady < _NEARLY_LEVEL * steady).any():
        return np.asarray(level)
    return None


def _late(given: Given, fit: Fit) -> Array:
    """Return by how much f is turned, known and found, periods, (record, channel)."""
    late = np.zeros(fit.a.shape) if fit.cycles is None else fit.cycles
    return late if given.known is None else late + given.known * given.frequency


def _exact(given: Given, basis: Basis, disturbances: Disturbances, options: Options, moments: Moments) -> Exact:
    """Return the columns at the samples, or at the samples of one period where all periods are sampled alike."""
    volts, timing = given.volts, basis.timing
    per_period = timing.samples_per_period
    nothing = np.zeros((len(volts[0, 0]), 0))
    if per_period is None or not _is_folded(given, basis, disturbances):
        weights = np.ones(timing.n_samples) if given.weights is None else given.weights
        disturbing = disturbance_columns(timing, disturbances) if disturbances.n_columns else nothing
        within = np.zeros(volts.shape[:-1])
        points, phases = volts, timing.phases
    else:
        by_period = volts.reshape(*volts.shape[:-1], -1, per_period)
        points = by_period.mean(axis=-2)
        within = ((by_period - points[..., None, :]) ** 2).sum(axis=(-2, -1))
        phases, disturbing = timing.phases[:per_period], nothing[:per_period]
        weights = np.full(per_period, float(by_period.shape[-2]))
    return Exact(
        given.waveform,
        points,
        phases,
        weights,
        disturbing,
        options.second_order,
        moments.n_samples,
        moments.floor,
        within,
    )


def _mend_small_variances(given: Given, fit: Fit, basis: Basis, floor: Array) -> None:
    """Take the residual sample by sample where it is so small that the sum of squares has lost it in rounding."""
    n_samples = given.volts.shape[-1]
    small = fit.variance * n_samples < NEARLY_NOTHING * (fit.a**2 + fit.b**2) * n_samples
    if not small.any():
        return
    modelled = predicted(given, fit, basis.timing.phases, _late(given, fit), basis)
    weights = 1.0 if given.weights is None else given.weights[small]
    count = n_samples if given.weights is None else given.weights[small].sum(axis=-1)
    left = ((given.volts - modelled)[small] ** 2 * weights).sum(axis=-1)
    n_fitted = basis.columns.shape[1] - basis.n_harmonic_columns + (2 if fit.cycles is not None else 1)
    better = np.maximum(left / np.maximum(count - n_fitted, 1), floor[small])
    ratio = better / fit.variance[small]
    fit.covariance[small] *= ratio[:, None, None]
    fit.variance[small] = better
    if fit.cycles_stderr is not None:
        stderr = fit.cycles_stderr.copy()
        stderr[small] = stderr[small] * np.sqrt(ratio)
        fit.cycles_stderr = stderr


def predicted(given: Given, fit: Fit, phases: Array, late: Array, basis: Basis) -> Array:
    """Return what the model has at the samples, V, (record, channel, sample)."""
    f = given.waveform.at(phases + late[..., None])
    modelled = fit.a[..., None] + fit.b[..., None] * f
    further = fit.further
    if further is not None and further.shape[-1]:
        disturbing = basis.columns[:, 1 + basis.n_harmonic_columns :]
        n_disturbing = disturbing.shape[1]
        if further.shape[-1] > n_disturbing:
            modelled = modelled + further[..., :1] * f**2
        modelled = modelled + further[..., further.shape[-1] - n_disturbing :] @ disturbing.T
    return np.asarray(modelled)


def response_of(given: Given, fit: Fit, tones: NDArray[np.complex128], flags: NDArray[np.uint8]) -> Response:
    """Put a fit into words, (record, channel) in front; what is known of the phase is taken out of the tones."""
    if given.known is not None:
        orders = harmonics_of(given.waveform, given.frequency / given.sample_rate).orders
        tones = tones * _phase.turned_back(orders, given.known * given.frequency)
    bias = _product_bias(given, fit, tones)
    ambiguous = fit.widen_where_ambiguous(given.waveform.mean)
    flags = flags | ambiguous * np.uint8(Flag.SIGN_AMBIGUOUS)
    if given.missing is not None:
        flags[given.missing.any(axis=-1)] |= np.uint8(Flag.MISSING)
    delay = None if fit.cycles is None else fit.cycles / given.frequency
    delay_stderr = None if fit.cycles_stderr is None else fit.cycles_stderr / given.frequency
    noise = np.sqrt(fit.variance)
    return Response(
        fit.a, fit.b, fit.covariance, noise, delay, delay_stderr, fit.confidence, flags, tones, product_bias=bias
    )


def _product_bias(given: Given, fit: Fit, tones: NDArray[np.complex128]) -> Array | None:
    """Return what noise adds to the mean of a b, V^2, (record, channel); None where it is cov(a, b) itself.

    a is the record's mean less b <f>, so a b is off by -<f> times what b^2 is too large by. With the delay known that
    is var(b). A fitted delay is the one at which |b| is largest, so it is more: 1.5 var(b) where the nudge is clear (2
    in b^2, less what |b| itself is too large by), 2 to 3 in noise alone. There the tones tell, whose squares hold no
    delay: b^2 less its unbiased estimate from them.
    """
    if fit.cycles is None or given.waveform.mean == 0:
        return None
    harmonics = harmonics_of(given.waveform, given.frequency / given.sample_rate)
    variance = fit.covariance[..., 1, 1]
    share = 2 * np.abs(harmonics.coefficients) ** 2 / harmonics.power
    from_tones = (np.abs(tones) ** 2 * share).sum(axis=-1) - 2 * len(share) * variance
    clear = 1.5 if given.delay is Delay.EACH else 1.0
    weak = fit.b**2 < _CLEARLY * variance
    return np.asarray(fit.covariance[..., 0, 1] * np.where(weak, (fit.b**2 - from_tones) / variance, clear))


def _parts(given: Given, options: Options) -> Iterator[Given]:
    """Cut records into parts that are small enough to be fitted at once, never through what is fitted jointly."""
    n_records, n_channels, n_samples = given.volts.shape
    if options.is_joint:
        for record in range(n_records):
            yield _part(given, slice(record, record + 1), slice(None))
        return
    harmonics = harmonics_of(given.waveform, given.frequency / given.sample_rate)
    on_samples = harmonics.truncated or options.second_order or given.weights is not None
    at_once = (_DESIGN_AT_ONCE // 8 if on_samples else _VALUES_AT_ONCE) // n_samples
    if given.delay is Delay.SHARED or n_channels <= at_once:
        n_together = max(1, at_once // n_channels)
        for record in range(0, n_records, n_together):
            yield _part(given, slice(record, record + n_together), slice(None))
        return
    for record in range(n_records):
        for channel in range(0, n_channels, max(1, at_once)):
            yield _part(given, slice(record, record + 1), slice(channel, channel + max(1, at_once)))


def _part(given: Given, records: slice, channels: slice) -> Given:
    if given.volts[records, channels].shape == given.volts.shape:
        return given
    return replace(
        given,
        volts=given.volts[records, channels],
        known=None if given.known is None else given.known[channels],
        weights=None if given.weights is None else given.weights[records, channels],
        missing=None if given.missing is None else given.missing[records, channels],
        limits=None if given.limits is None else (given.limits[0][channels], given.limits[1][channels]),
    )


def _joined(responses: list[Response], lead: tuple[int, ...]) -> Response:
    """Put the parts' responses together again, with the leading axes of the volts that came."""
    fields: dict[str, Any] = {}
    for name, first in vars(responses[0]).items():
        if first is None:
            fields[name] = None
            continue
        own = first.shape[1 if name == "frequency" else 2 :]
        whole = first
        if len(responses) > 1:
            whole = np.concatenate([getattr(response, name).reshape(-1, *own) for response in responses])
        fields[name] = whole.reshape((*(lead[:-1] if name == "frequency" else lead), *own))
    return Response(**fields)
