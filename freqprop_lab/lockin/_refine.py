"""Least squares on the nudge as it really is, and the delay refined by linearising it.

The columns are 1, f(p + d), its slope by d (where the delay is fitted), f^2 (where a second order is wished for), and
what disturbs. Where they come from differs: `Reduced` forms them from a record's moments, exact for a band-limited
nudge; `Exact` evaluates them at the samples, for any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import ndtr

from freqprop_lab.lockin._basis import Basis
from freqprop_lab.lockin._fit import Delay, Fit, Moments, Phase, Search, as_columns
from freqprop_lab.lockin._phase import turned_back
from freqprop_lab.values import Array
from freqprop_lab.waveform import Waveform

_MOST_STEPS = 15
_STEPS_OF_THE_STRONG = 6  # by then a channel whose b is more than rounding has arrived; the others never rest
_NEARLY_ARRIVED = 1e-9  # periods
_ARRIVED = 1e-14  # periods
_ARRIVED_OF_STDERR = 1e-3  # of the delay's standard error: noise lets the steps shrink by a factor each, no faster
_LARGEST_STEP = 0.02  # periods
_FARTHEST = 0.1  # periods from where the search put it
_STEPS_A_SAMPLE = 10  # places between two samples where a jump is looked for
_SAMPLES_AROUND = 1.2
_MOST_RECENTRED = 12  # where harmonics that are not fitted have put the search some samples off
_ALIKE = 1e-9  # relative: delays with misfits this near are one to the record
_LARGEST_BEND = 0.5  # c / b
SLOPE = 2  # where the slope's column stands


@dataclass(frozen=True)
class Normal:
    """Products of the columns, (record, channel, column, column), and those with the record, (record, channel, column).

    design: the columns themselves, (record, channel, point, column), where they are at hand.
    """

    gram: Array
    products: Array
    design: Array | None = None


class Columns(Protocol):
    """A source of normal equations for records, (record, channel)."""

    @property
    def n_samples(self) -> Array | int:
        """Samples that count."""

    @property
    def floor(self) -> Array:
        """V^2: a variance below it is rounding."""

    def normal(self, cycles: Array, bend: Array | None, *, slope: bool) -> Normal:
        """Return the normal equations at delays, periods, broadcast to (record, channel).

        bend: c / b of the second order, or None.
        """

    def misfit(self, normal: Normal, parameters: Array) -> Array:
        """Return the sum of squares that the columns leave, V^2, (record, channel)."""


@dataclass(frozen=True)
class Reduced:
    """Columns out of a record's moments."""

    moments: Moments
    basis: Basis

    @property
    def n_samples(self) -> Array | int:
        """Samples that count."""
        return self.moments.n_samples

    @property
    def floor(self) -> Array:
        """What is rounding, V^2."""
        return self.moments.floor

    def normal(self, cycles: Array, bend: Array | None, *, slope: bool) -> Normal:  # noqa: ARG002
        """See `Columns`; there is no second order here."""
        harmonics, n_columns = self.basis.harmonics, self.moments.gram.shape[-1]
        lead = self.moments.squares.shape
        turned = 2 * harmonics.coefficients * np.conj(turned_back(harmonics.orders, np.broadcast_to(cycles, lead)))
        n_harmonic = self.basis.n_harmonic_columns
        n_wanted = 2 + slope + n_columns - 1 - n_harmonic
        J = np.zeros((*lead, n_columns, n_wanted))
        J[..., 0, 0], J[..., 0, 1] = 1.0, harmonics.mean
        J[..., 1 : 1 + n_harmonic, 1] = as_columns(turned)
        if slope:
            J[..., 1 : 1 + n_harmonic, SLOPE] = as_columns(2j * np.pi * harmonics.orders * turned)
        rest = np.arange(n_columns - 1 - n_harmonic)
        J[..., 1 + n_harmonic + rest, 2 + slope + rest] = 1.0
        transposed = np.swapaxes(J, -1, -2)
        return Normal(transposed @ self.moments.gram @ J, (transposed @ self.moments.products[..., None])[..., 0])

    def misfit(self, normal: Normal, parameters: Array) -> Array:
        """See `Columns`."""
        return np.asarray(self.moments.squares - (parameters * normal.products).sum(axis=-1))


@dataclass(frozen=True)
class Exact:
    """Columns at the samples. volts: (record, channel, point). phases, weights: (point,) or (record, channel, point).

    Records of whole periods may be folded onto one: then a point's weight is the number of periods, and within is what
    the folding has lost of the squares.
    """

    waveform: Waveform
    volts: Array
    phases: Array
    weights: Array
    disturbing: Array
    second_order: bool
    n_samples: Array | int
    floor: Array
    within: Array

    def design(self, cycles: Array, bend: Array | None, *, slope: bool) -> Array:
        """Return the columns, (record, channel, point, column)."""
        lead = self.volts.shape[:-1]
        place = self.phases + np.broadcast_to(cycles, lead)[..., None]
        f = self.waveform.at(place)
        columns = [np.ones(f.shape), f]
        if slope:
            by_delay = self.waveform.slope(place)
            columns.append(by_delay if bend is None else by_delay * (1 + 2 * bend[..., None] * f))
        if self.second_order:
            columns.append(f**2)
        columns += [np.broadcast_to(column, f.shape) for column in self.disturbing.T]
        return np.stack(columns, axis=-1)

    def normal(self, cycles: Array, bend: Array | None, *, slope: bool) -> Normal:
        """See `Columns`."""
        D = self.design(cycles, bend, slope=slope)
        weighted = np.swapaxes(D * self.weights[..., None], -1, -2)
        return Normal(weighted @ D, (weighted @ self.volts[..., None])[..., 0], D)

    def misfit(self, normal: Normal, parameters: Array) -> Array:
        """See `Columns`."""
        assert normal.design is not None  # noqa: S101 - made by `normal` above
        left = self.volts - (normal.design @ parameters[..., None])[..., 0]
        return np.asarray((self.weights * left**2).sum(axis=-1) + self.within)


@dataclass(frozen=True)
class _Estimate:
    """Parameters, (record, channel, column), the inverse of their normal matrix, and the noise's variance."""

    parameters: Array
    inverse: Array
    variance: Array


def refine(columns: Columns, phase: Phase, search: Search | None, *, second_order: bool = False) -> Fit:
    """Fit a and b, and refine the delay that a search found; known delays (search None) are taken as they are."""
    known: Array = np.zeros(1) if phase.known is None else phase.known
    if search is None:
        estimate = _estimate(columns, known, None, phase, slope=False)
        fit = _as_fit(estimate)
        fit.confidence = ndtr(np.abs(fit.b) / np.sqrt(fit.covariance[..., 1, 1]))
        return fit
    if isinstance(columns, Exact) and columns.waveform.jumps:
        return _among_jumps(columns, phase, search, known)
    delay, bend = search.cycles, None
    for number in range(_MOST_STEPS):
        estimate = _estimate(columns, known + delay, bend, phase, slope=True)
        step, information = _step(estimate, phase)
        moved = np.clip(delay + step, search.cycles - _FARTHEST, search.cycles + _FARTHEST)
        step, delay = moved - delay, moved
        if second_order:
            b = estimate.parameters[..., 1]
            bend = np.divide(estimate.parameters[..., SLOPE + 1], b, out=np.zeros_like(b), where=b != 0)
        near = _NEARLY_ARRIVED if number >= _STEPS_OF_THE_STRONG else _ARRIVED
        if ((step**2 * information < _ARRIVED_OF_STDERR**2) | (np.abs(step) < near)).all():
            break
    # Once more where the delay now is; one that all channels share costs none of them a degree of freedom.
    estimate = _estimate(columns, known + delay, bend, phase, slope=phase.delay is Delay.EACH)
    if bend is not None:
        # The search knew nothing of the second order: where that rivals b, its sign is not to be trusted.
        trusted = np.abs(bend) < _LARGEST_BEND
        search = Search(search.cycles, np.where(trusted, search.confidence, 0.5), np.where(trusted, search.mode, 0.5))
    return _found(estimate, search, delay, information, slope=phase.delay is Delay.EACH)


def _among_jumps(columns: Exact, phase: Phase, search: Search, known: Array) -> Fit:
    """Try delays around the search's, closely: moving a jump past a sample is no small change, so nothing is linear.

    Between two jumps past samples the record does not tell the delay; for a waveform that slopes there (a sawtooth) a
    is then uncertain too, by the slope times half that interval, evenly.
    """
    spacing = 1 / (_STEPS_A_SAMPLE * _points_a_period(columns))
    n_around = round(_SAMPLES_AROUND * _STEPS_A_SAMPLE)
    shape = columns.floor.shape
    centre = np.broadcast_to(search.cycles, shape)
    for _ in range(_MOST_RECENTRED):
        misfit = np.full(shape, np.inf)
        first = last = centre
        for offset in np.arange(-n_around, n_around + 1) * spacing:
            there = centre + offset
            lost = _estimate(columns, known + there, None, phase, slope=False).variance
            if phase.delay is Delay.SHARED:
                lost = np.broadcast_to(lost.sum(axis=-1, keepdims=True), shape)
            better, alike = lost < misfit * (1 - _ALIKE), np.abs(lost - misfit) <= misfit * _ALIKE
            misfit = np.where(better, lost, misfit)
            first, last = np.where(better, there, first), np.where(better | alike, there, last)
        at_the_edge = np.abs((first + last) / 2 - centre) > (n_around - _STEPS_A_SAMPLE / 2) * spacing
        if not at_the_edge.any():
            break
        centre = np.where(at_the_edge, (first + last) / 2, centre)
    # All delays from first to last let the same samples see the same side of each jump.
    delay = (first + last) / 2
    width = 1 / _points_a_period(columns)
    best = _estimate(columns, known + delay, None, phase, slope=False)
    fit = _found(best, search, delay, np.full(shape, 12 / width**2))
    slope = float(np.mean(columns.waveform.slope(np.linspace(0, 1, 64, endpoint=False))))
    fit.covariance[..., 0, 0] += (slope * fit.b * width) ** 2 / 12
    return fit


def _points_a_period(columns: Exact) -> float:
    steps = np.diff(columns.phases, axis=-1)
    return float(1 / np.abs(steps).mean())


def _estimate(columns: Columns, cycles: Array, bend: Array | None, phase: Phase, *, slope: bool) -> _Estimate:
    normal = columns.normal(cycles, bend, slope=slope)
    M, r = normal.gram, normal.products
    # Scaled to unit diagonal, and a column that vanishes (b = 0 has no slope) is held at zero rather than divided by.
    size = np.sqrt(np.maximum(np.diagonal(M, axis1=-2, axis2=-1), 1e-300))
    scaled = M / size[..., :, None] / size[..., None, :]
    diagonal = np.einsum("...ii->...i", scaled)
    diagonal[...] = np.where(diagonal > 0, diagonal, 1.0)
    inverse = np.linalg.inv(scaled) / size[..., :, None] / size[..., None, :]
    parameters = (inverse @ r[..., None])[..., 0]
    n_fitted = parameters.shape[-1]
    if phase.delay is Delay.SHARED and not slope:
        n_fitted = n_fitted + 1 / parameters.shape[-2]
    left = columns.misfit(normal, parameters)
    variance = np.maximum(left / np.maximum(columns.n_samples - n_fitted, 1), columns.floor)
    return _Estimate(parameters, inverse, variance)


def _step(estimate: _Estimate, phase: Phase) -> tuple[Array, Array]:
    """Return how far the delay moves, periods, and the information on it, each as the delay is shaped."""
    b, moved = estimate.parameters[..., 1], estimate.parameters[..., SLOPE]
    variance = np.maximum(estimate.inverse[..., SLOPE, SLOPE], 1e-300) * estimate.variance
    weight = b / variance
    information = b * weight
    if phase.delay is Delay.SHARED:
        weight_moved = (weight * moved).sum(axis=-1, keepdims=True)
        information = information.sum(axis=-1, keepdims=True)
    else:
        weight_moved = weight * moved
    step = np.divide(weight_moved, information, out=np.zeros_like(information), where=information > 0)
    return np.clip(step, -_LARGEST_STEP, _LARGEST_STEP), information


def _as_fit(estimate: _Estimate, *, slope: bool = False) -> Fit:
    covariance = estimate.variance[..., None, None] * estimate.inverse[..., :2, :2]
    a, b = estimate.parameters[..., 0].copy(), estimate.parameters[..., 1].copy()
    further = estimate.parameters[..., 2 + slope :]
    return Fit(a, b, np.ascontiguousarray(covariance), estimate.variance, np.ones(a.shape), further=further)


def _found(estimate: _Estimate, search: Search, delay: Array, information: Array, *, slope: bool = False) -> Fit:
    fit = _as_fit(estimate, slope=slope)
    fit.confidence, fit.mode = search.confidence, search.mode
    fit.cycles = np.broadcast_to(delay % 1.0, fit.a.shape)
    with np.errstate(divide="ignore"):
        stderr = 1 / np.sqrt(information)
    fit.cycles_stderr = np.broadcast_to(stderr, fit.a.shape)
    return fit
