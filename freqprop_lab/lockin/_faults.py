"""What real records have beside noise: hum of a frequency that wanders, clocks that differ, spikes, clipping.

None of these is linear, so they are found in turns: fit the rest, look at what is left, and fit again. Frequencies are
moved by Gauss and Newton's method, jointly over the channels of a record.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from freqprop_lab.lockin import _phase
from freqprop_lab.lockin._arguments import Given, Options
from freqprop_lab.lockin._basis import Basis, Disturbances, Timing, basis_of
from freqprop_lab.lockin._fit import Delay, Fit, Moments, Search, as_columns, solved
from freqprop_lab.lockin._moments import moments_of, tones_of
from freqprop_lab.lockin._once import fit_once, late_of, predicted, response_of
from freqprop_lab.values import Array, Flag, Response

_MOST_TURNS = 32
_MOST_FILLED_IN = 12  # turns until which a mode of the delay must have been settled upon
_STILL = 1e-12  # of a cycle over the whole record
_STILL_OF_STDERR = 1e-4
_NEARLY_OF_STDERR = 0.5
_OUTLIER = 4.5  # standard deviations of the noise
_NORMAL_MAD = 0.6745  # median |x| of a standard normal deviate
_OFFSETS = np.arange(-4, 5) / 4  # cycles over the record by which the clocks may differ at the start
_HUM_WANDERS = 0.01  # relative
_FARTHEST = 40.0  # standard deviations beyond the end of the range: nothing more to be had there
_ROOT_OF_TURN = float(np.log(2 * np.pi) / 2)


def fit_in_turns(given: Given, options: Options) -> Response:
    """Fit records by turns until nothing changes any more."""
    turns = _Turns(given, options)
    for number in range(_MOST_TURNS):
        turns.fit_once()
        still = [turns.is_told_beyond_the_ends()]  # every part takes its turn, also after one that still moves
        still += [turns.move_frequency(), turns.move_hum(), turns.leave_out_spikes()]
        if all(still):
            break
        turns.fill_in_ends(number)
    return turns.response()


class _Turns:
    """What is known so far. now: the records as the next turn takes them; counts: which of their samples count.

    ends: 1 and -1 for samples at the upper and the lower end of the range, or None. hum: cycles a sample, or None.
    """

    fit: Fit
    basis: Basis
    moments: Moments
    flags: NDArray[np.uint8]
    modelled: Array

    def __init__(self, given: Given, options: Options) -> None:
        self.given, self.options, self.now = given, options, given
        self.told = np.ones(given.volts.shape) if given.weights is None else given.weights
        self.counts, self.ends = self.told, _ends_reached(given, self.told)
        self.start: Search | None = None
        self.before: Fit | None = None
        self.hum = None if options.hum is None else options.hum / given.sample_rate
        if self.hum is not None:
            _refuse_near(given, options, self.hum)
        if options.fit_frequency:
            self.now = replace(given, frequency=_first_frequency(given, options))
        if self.hum is not None:
            self.hum = _first_hum(self.now, options, self.hum)

    def fit_once(self) -> None:
        """Fit with everything but the delay as it now stands."""
        now, options = self.now, self.options
        timing = Timing(now.frequency / now.sample_rate, now.volts.shape[-1])
        disturbances = Disturbances(options.drift, self.hum, options.hum_harmonics if self.hum else 0)
        self.fit, self.moments, self.flags, self.basis = fit_once(now, timing, disturbances, options, self.start)
        self.modelled = predicted(now, self.fit, timing.phases, late_of(now, self.fit), self.basis)
        if self.ends is not None:
            inside = self.counts * (self.ends == 0)
            _mend_variance(self.given, self.fit, self.modelled, self.ends, inside, self.basis)

    def move_frequency(self) -> bool:
        """Move the nudge's frequency; say whether it stood still. The same holds of the next ones."""
        if not self.options.fit_frequency:
            return True
        now = self.now
        by_frequency = _moved_phase(self.fit, self.basis, late_of(now, self.fit), known=now.delay is Delay.KNOWN)
        change = self._joint_step(by_frequency)
        self.now = replace(now, frequency=now.frequency * (1 + change / self.basis.timing.n_periods))
        return abs(change) < _STILL

    def move_hum(self) -> bool:
        """Move the mains' frequency."""
        if self.hum is None:
            return True
        change = self._joint_step(_moved_hum(self.fit, self.basis, self.options.hum_harmonics))
        self.hum += change / self.basis.timing.n_samples
        return abs(change) < _STILL

    def leave_out_spikes(self) -> bool:
        """Choose anew which samples are spikes."""
        if not self.options.robust:
            return True
        wanted = self.told * _without_spikes(self.given.volts - self.modelled, self.modelled, self.told, self.ends)
        still = np.array_equal(wanted, self.counts)
        self.counts = wanted
        self.now = replace(self.now, weights=wanted)
        return still

    def is_told_beyond_the_ends(self) -> bool:
        """Say whether what lies beyond the ends of the range has come to rest, mode of the delay included."""
        if self.ends is None:
            return True
        return self.start is not None and self._has_moved_less(_STILL_OF_STDERR)

    def fill_in_ends(self, number: int) -> None:
        """Let the samples at the ends of the range say what they can; stay with the delay's mode once it is near."""
        if self.ends is not None:
            if self.start is not None or self._has_moved_less(_NEARLY_OF_STDERR) or number > _MOST_FILLED_IN:
                self.start = _start_of(self.fit)
            scoring = self.start is not None
            self.now = _censored(self.given, self.now, self.fit, self.modelled, self.ends, self.counts, scoring=scoring)
        self.before = self.fit

    def response(self) -> Response:
        """Put it into words."""
        response = response_of(self.now, self.fit, tones_of(self.moments, self.basis), self.flags)
        if self.ends is not None and response.flags is not None:
            response.flags[(self.ends != 0).any(axis=-1)] |= np.uint8(Flag.CLIPPED)
            n_inside = (self.told * (self.ends == 0)).sum(axis=-1)
            response = _unsaid(response, n_inside <= self.basis.columns.shape[1])
        frequency = np.full(len(self.given.volts), self.now.frequency) if self.options.fit_frequency else None
        return replace(response, frequency=frequency)

    def _joint_step(self, by_parameter: Array) -> float:
        weights = self.counts if self.now.weights is None else self.now.weights
        left = (self.now.volts - self.modelled) * weights
        return _joint_step(by_parameter, left, weights, self.basis, self.fit)

    def _has_moved_less(self, share: float) -> bool:
        return self.before is not None and _has_moved_less(self.fit, self.before, share)


def _unsaid(response: Response, silent: NDArray[np.bool_]) -> Response:
    """Take back what was made of channels that hardly left the end of their range: no number would be true."""
    return replace(
        response,
        a=np.where(silent, np.nan, response.a),
        b=np.where(silent, np.nan, response.b),
        covariance=np.where(silent[..., None, None], np.inf, response.covariance),
    )


def _start_of(fit: Fit) -> Search:
    """Return where the next turn begins: at this delay, and with this much trust in it."""
    cycles = np.zeros(fit.a.shape) if fit.cycles is None else fit.cycles
    return Search(cycles, fit.confidence, np.ones(fit.a.shape) if fit.mode is None else fit.mode)


def _ends_reached(given: Given, told: Array) -> NDArray[np.int8] | None:
    """Return 1 for samples at the upper end of the range, -1 for those at the lower one; None where nobody told it."""
    if given.limits is None:
        return None
    low, high = (end[:, None] for end in given.limits)
    return ((given.volts >= high).astype(np.int8) - (given.volts <= low).astype(np.int8)) * (told > 0).astype(np.int8)


def _censored(
    given: Given, now: Given, fit: Fit, modelled: Array, ends: NDArray[np.int8], counts: Array, *, scoring: bool
) -> Given:
    """Let a sample at the end of the range say what it does say: that the voltage was there or beyond.

    Leaving it out would bias the fit, since what stays was chosen by its noise. Its likelihood is a normal tail (the
    Tobit model; Amemiya, J. Econometrics 24, 1984). At first it is filled in by its expectation (the EM algorithm,
    which can't go astray); scoring: once near, it is a sample of lesser weight h (h - z), which goes fast and gives the
    covariance. z: standard deviations from the model to the end; h = phi(z) / Phi(-z).
    """
    sigma = np.sqrt(fit.variance)[..., None]
    z, hazard = _tail(given, modelled, ends, sigma)
    weight = np.clip(hazard * (hazard - z), 1e-12, 1.0) if scoring else np.ones(1)
    at_end = ends != 0
    volts = np.where(at_end, modelled + ends * sigma * hazard / weight, given.volts)
    weights = np.where(at_end, weight * (counts > 0), counts)
    return replace(now, volts=volts, weights=None if (weights == 1).all() else weights)


def _tail(given: Given, modelled: Array, ends: NDArray[np.int8], sigma: Array) -> tuple[Array, Array]:
    """Return z, how many standard deviations the end lies beyond the model, and h, the normal tail's hazard there."""
    assert given.limits is not None  # noqa: S101 - there are ends
    low, high = (end[:, None] for end in given.limits)
    z = np.clip(ends * (np.where(ends > 0, high, low) - modelled) / sigma, -_FARTHEST, _FARTHEST)
    return z, np.exp(-(z**2) / 2 - _ROOT_OF_TURN - log_ndtr(-z))


def _mend_variance(
    given: Given, fit: Fit, modelled: Array, ends: NDArray[np.int8], inside: Array, basis: Basis
) -> None:
    """Take the noise from the samples within the range, less what those at its ends say of it (same source)."""
    z, hazard = _tail(given, modelled, ends, np.sqrt(fit.variance)[..., None])
    n_fitted = basis.columns.shape[1] - basis.n_harmonic_columns + (2 if fit.cycles is not None else 1)
    beyond = (hazard * z * (ends != 0)).sum(axis=-1)
    count = np.maximum(inside.sum(axis=-1) - beyond - n_fitted, 1.0)
    variance = np.maximum((inside * (given.volts - modelled) ** 2).sum(axis=-1) / count, 1e-300)
    ratio = variance / fit.variance
    fit.covariance *= ratio[..., None, None]
    fit.variance = variance
    if fit.cycles_stderr is not None:
        fit.cycles_stderr = fit.cycles_stderr * np.sqrt(ratio)


def _has_moved_less(fit: Fit, before: Fit, share: float) -> bool:
    """Say whether neither a nor b moved by more than a share of its standard error since the turn before."""
    a_still = np.abs(fit.a - before.a) <= share * np.sqrt(fit.covariance[..., 0, 0]) + _STILL * np.abs(fit.a)
    b_still = np.abs(fit.b - before.b) <= share * np.sqrt(fit.covariance[..., 1, 1]) + _STILL * np.abs(fit.b)
    return bool((a_still & b_still).all())


def _without_spikes(left: Array, modelled: Array, told: Array, ends: NDArray[np.int8] | None) -> NDArray[np.bool_]:
    """Return which samples lie within the noise, whose size is taken from the median so that spikes don't widen it."""
    inside = told > 0 if ends is None else (told > 0) & (ends == 0)
    sizes = np.abs(left)
    scale = np.nanmedian(np.where(inside, sizes, np.nan), axis=-1, keepdims=True) / _NORMAL_MAD
    near = sizes <= _OUTLIER * scale + _STILL * np.abs(modelled)
    return near if ends is None else near | (ends != 0)


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
                    f"hum: harmonic {number} of {options.hum:g} Hz lies within {given.sample_rate / n_samples:.3g} Hz "
                    f"of harmonic {order} of the nudge; nudge at another frequency, or take a longer record"
                )


def _folded(turns: float) -> float:
    """Return where a frequency is seen, in cycles a sample."""
    return abs(turns - round(turns))
