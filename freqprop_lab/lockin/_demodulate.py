"""`demodulate`: from records to responses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from freqprop_lab.lockin._arguments import Given, Options, checked, checked_method, checked_options
from freqprop_lab.lockin._basis import Disturbances, Timing, harmonics_of
from freqprop_lab.lockin._faults import fit_in_turns
from freqprop_lab.lockin._fit import Delay
from freqprop_lab.lockin._moments import tones_of
from freqprop_lab.lockin._once import fit_once, response_of
from freqprop_lab.lockin._read import read_kink, read_projection
from freqprop_lab.values import Response
from freqprop_lab.waveform import Waveform

_VALUES_AT_ONCE = 1 << 22  # 32 MB of samples
_DESIGN_AT_ONCE = 1 << 21  # values of columns at the samples


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
    the ends of the meter's range: a sample there says that the voltage was there or beyond (a censored fit); a and b
    are NaN where hardly any lies within. hum: Hz, the mains' frequency, fitted together with so many hum_harmonics.
    drift: degree of a polynomial, up to 3; a is then the mean level over the record. fit_frequency: the clocks differ;
    one frequency is fitted to all channels of a record. second_order: fit a + b f + c f^2, so that b is free of the
    network's second order. robust: leave out spikes.

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
        return fit_in_turns(given, options)
    timing = Timing(given.frequency / given.sample_rate, given.volts.shape[-1])
    fit, moments, contrasts_flags, basis = fit_once(given, timing, Disturbances(options.drift), options)
    return response_of(given, fit, tones_of(moments, basis), contrasts_flags)


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
