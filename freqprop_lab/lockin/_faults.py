"""What real records have beside noise: hum of a frequency that wanders, clocks that differ, spikes, clipping.

None of these is linear, so they are found in turns: fit the rest, look at what is left, and fit again. Frequencies are
moved by Gauss and Newton's method, jointly over the channels of a record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.lockin import _phase
from freqprop_lab.lockin._arguments import Given, Options
from freqprop_lab.lockin._basis import Basis, Disturbances, Timing, basis_of
from freqprop_lab.lockin._fit import Delay, Fit, Moments, as_columns, solved
from freqprop_lab.lockin._moments import moments_of, tones_of
from freqprop_lab.values import Array, Flag, Response

FitOnce = Callable[
    [Given, Timing, Disturbances, Options], tuple[Fit, Moments, NDArray[np.uint8], Basis]
]

_MOST_TURNS = 25
_STILL = 1e-12  # of a cycle over the whole record
_OUTLIER = 4.5  # standard deviations of the noise
_NEAR_THE_END = 3.0  # of them: what the model puts this near to the end of the range is left out whatever was read
_NORMAL_MAD = 0.6745  # median |x| of a standard normal deviate
_OFFSETS = np.arange(-4, 5) / 4  # cycles over the record by which the clocks may differ at the start
_HUM_WANDERS = 0.01  # relative


def fit_in_turns(given: Given, options: Options, fit_once: FitOnce) -> Response:
    """Fit records by turns until nothing changes any more."""
    from freqprop_lab.lockin._demodulate import predicted, response_of  # noqa: PLC0415 - they call each other

    n_samples = given.volts.shape[-1]
    turns_of_hum = None if options.hum is None else options.hum / given.sample_rate
    if turns_of_hum is not None:
        _refuse_near(given, options, turns_of_hum)
    clipped = _at_the_end(given)
    told = given.weights
    weights = told if clipped is None else (1.0 if told is None else told) * ~clipped
    now = replace(given, weights=weights)
    if options.fit_frequency:
        now = replace(now, frequency=_first_frequency(now, options))
    if turns_of_hum is not None:
        turns_of_hum = _first_hum(now, options, turns_of_hum)
    for _ in range(_MOST_TURNS):
        timing = Timing(now.frequency / now.sample_rate, n_samples)
        disturbances = Disturbances(options.drift, turns_of_hum, options.hum_harmonics if turns_of_hum else 0)
        fit, moments, flags, basis = fit_once(now, timing, disturbances, options)
        late = _late(fit, now)
        modelled = predicted(now, fit, timing.phases, late, basis)
        counted = np.ones(given.volts.shape) if now.weights is None else now.weights
        left = (now.volts - modelled) * counted
        moved = 0.0
        if options.fit_frequency:
            by_frequency = _moved_phase(fit, basis, late, known=now.delay is Delay.KNOWN)
            change = _joint_step(by_frequency, left, counted, basis, fit)
            now = replace(now, frequency=now.frequency * (1 + change / timing.n_periods))
            moved = max(moved, abs(change))
        if turns_of_hum is not None:
            change = _joint_step(_moved_hum(fit, basis, options.hum_harmonics), left, counted, basis, fit)
            turns_of_hum += change / n_samples
            moved = max(moved, abs(change))
        wanted = _wanted(now, fit, modelled, left, counted, told, clipped, robust=options.robust)
        changed = wanted is not None and (now.weights is None or not np.array_equal(wanted, now.weights))
        if moved < _STILL and not changed:
            break
        if changed:
            now = replace(now, weights=wanted)
    if clipped is not None:
        flags[clipped.any(axis=-1)] |= np.uint8(Flag.CLIPPED)
    response = response_of(now, fit, tones_of(moments, basis), flags)
    frequency = np.full(len(given.volts), now.frequency) if options.fit_frequency else None
    return replace(response, frequency=frequency)


def _at_the_end(given: Given) -> NDArray[np.bool_] | None:
    if given.limits is None:
        return None
    low, high = given.limits
    return np.asarray((given.volts <= low[:, None]) | (given.volts >= high[:, None]))


def _late(fit: Fit, given: Given) -> Array:
    late = np.zeros(fit.a.shape) if fit.cycles is None else fit.cycles
    return late if given.known is None else late + given.known * given.frequency


def _wanted(
    given: Given,
    fit: Fit,
    modelled: Array,
    left: Array,
    counted: Array,
    told: Array | None,
    clipped: NDArray[np.bool_] | None,
    *,
    robust: bool,
) -> Array | None:
    """Return which samples should count, given what the model says; None where all do in any case."""
    if clipped is None and not robust:
        return None
    counts = np.ones(given.volts.shape, dtype=np.bool_) if told is None else told > 0
    if clipped is not None and given.limits is not None:
        # Chosen by the model, not by the reading: leaving out high readings alone would bias what stays.
        margin = (_NEAR_THE_END * np.sqrt(fit.variance))[..., None]
        low, high = (end[:, None] for end in given.limits)
        counts = counts & ~clipped & (modelled > low + margin) & (modelled < high - margin)
    if robust:
        whole = given.volts - modelled
        sizes = np.ma.masked_array(np.abs(whole), ~counts)
        scale = np.asarray(np.ma.median(sizes, axis=-1).filled(0.0)) / _NORMAL_MAD
        counts = counts & (np.abs(whole) <= _OUTLIER * scale[..., None] + 1e-12 * np.abs(modelled))
    return counts.astype(np.float64)


def _first_frequency(given: Given, options: Options) -> float:
    """Look which frequency near the given one explains most, a quarter of a cycle over the record apart."""
    n_samples = given.volts.shape[-1]
    turns = given.frequency / given.sample_rate + _OFFSETS / n_samples
    explained = [_explained(given, Timing(float(turn), n_samples), Disturbances(options.drift)) for turn in turns]
    return float(turns[int(np.argmax(explained))] * given.sample_rate)


def _first_hum(given: Given, options: Options, turns_of_hum: float) -> float:
    """Look the same way for the mains' frequency, within one per cent."""
    n_samples = given.volts.shape[-1]
    timing = Timing(given.frequency / given.sample_rate, n_samples)
    n_each = int(_HUM_WANDERS * turns_of_hum * n_samples * 4 * options.hum_harmonics) + 1
    tried = turns_of_hum * (1 + _HUM_WANDERS * np.arange(-n_each, n_each + 1) / n_each)
    explained = [
        _explained(given, timing, Disturbances(options.drift, float(turn), options.hum_harmonics)) for turn in tried
    ]
    return float(tried[int(np.argmax(explained))])


def _explained(given: Given, timing: Timing, disturbances: Disturbances) -> float:
    basis = basis_of.__wrapped__(given.waveform, timing, disturbances)
    moments, _ = moments_of(given.volts, basis, given.weights)
    return float((solved(moments.gram, moments.products) * moments.products).sum())


def _moved_phase(fit: Fit, basis: Basis, late: Array, *, known: bool) -> Array:
    """Return how the model changes as one cycle is added over the record, V, (record, channel, sample)."""
    harmonics, timing = basis.harmonics, basis.timing
    turned = 2 * harmonics.coefficients * np.conj(_phase.turned_back(harmonics.orders, late))
    slope = as_columns(2j * np.pi * harmonics.orders * turned) @ basis.columns[:, 1 : 1 + basis.n_harmonic_columns].T
    share = np.arange(timing.n_samples) / timing.n_samples - (0.0 if known else 0.5)
    return np.asarray(fit.b[..., None] * slope * share)


def _moved_hum(fit: Fit, basis: Basis, n_hum: int) -> Array:
    """Return how the model changes as the hum gains one cycle over the record, V, (record, channel, sample)."""
    assert fit.further is not None  # noqa: S101 - hum was asked for
    coefficients = np.ascontiguousarray(fit.further[..., -2 * n_hum :]).view(np.complex128)
    turned = as_columns(coefficients * 2j * np.pi * np.arange(1, n_hum + 1)) @ basis.columns[:, -2 * n_hum :].T
    return np.asarray(turned * (np.arange(basis.timing.n_samples) / basis.timing.n_samples - 0.5))


def _joint_step(by_parameter: Array, left: Array, counted: Array, basis: Basis, fit: Fit) -> float:
    """Return how far a parameter that all channels share should move: by least squares, each by its own noise."""
    X = basis.columns
    weighted = by_parameter * counted
    inside = weighted @ X @ np.linalg.inv(basis.gram)
    free = by_parameter - inside @ X.T  # what the linear columns can't take over
    information = ((free**2 * counted).sum(axis=-1) / fit.variance).sum()
    gain = ((free * left).sum(axis=-1) / fit.variance).sum()
    return float(np.clip(gain / information, -0.25, 0.25)) if information > 0 else 0.0


def _refuse_near(given: Given, options: Options, turns_of_hum: float) -> None:
    """Raise ValueError where hum can't be told from the nudge, or from the DC part: within a cycle over the record."""
    n_samples = given.volts.shape[-1]
    turns = given.frequency / given.sample_rate
    orders = basis_of.__wrapped__(
        given.waveform, Timing(turns, n_samples), Disturbances(options.drift)
    ).harmonics.orders
    for number in range(1, options.hum_harmonics + 1):
        hum = _folded(number * turns_of_hum)
        if hum * n_samples < 1 - 1e-9:
            need = given.sample_rate / (turns_of_hum * number * given.sample_rate)
            raise ValueError(
                f"hum: harmonic {number} of {options.hum:g} Hz can't be told from the DC part in a record of "
                f"{n_samples / given.sample_rate:g} s; take at least {need / given.sample_rate:g} s, or leave hum out"
            )
        for order in orders:
            if abs(_folded(float(order) * turns) - hum) * n_samples < 1 - 1e-9:
                raise ValueError(
                    f"hum: harmonic {number} of {options.hum:g} Hz lies within {given.sample_rate / n_samples:.3g} Hz of "
                    f"harmonic {order} of the nudge; nudge at another frequency, or take a longer record"
                )


def _folded(turns: float) -> float:
    """Return where a frequency is seen, in cycles a sample."""
    return abs(turns - round(turns))
