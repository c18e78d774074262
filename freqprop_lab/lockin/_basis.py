"""The columns that a record is projected on: a constant, the nudge's harmonics, and what disturbs (drift, hum).

Beside them stand contrasts between the halves of the record, which tell whether the network had settled and whether
the frequency is right. Everything here depends on the timing alone, so it is made once and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.values import Array
from freqprop_lab.waveform import Waveform

ROUNDING = 1e-9  # of a sample or a period: closer than this is a whole number of them
_LARGEST_SHARE_LEFT_OUT = 2e-3  # of the waveform's variance, when it has harmonics without end
_MOST_HARMONICS = 12
_MOST_OF_BAND_LIMITED = 32
_SMALLEST_HARMONIC = 1e-9  # of the largest
_CONTRASTS = 3  # the constant, and both quadratures of the lowest harmonic


@dataclass(frozen=True)
class Timing:
    """How a record was taken: cycles of the nudge a sample, and the number of samples."""

    cycles_per_sample: float
    n_samples: int

    @property
    def n_periods(self) -> float:
        """Periods of the nudge in the record."""
        return self.cycles_per_sample * self.n_samples

    @property
    def is_whole(self) -> bool:
        """True where the record holds a whole number of periods."""
        return abs(self.n_periods - round(self.n_periods)) <= ROUNDING * max(1.0, self.n_periods)

    @property
    def samples_per_period(self) -> int | None:
        """Samples a period where that is a whole number and the record holds whole periods, else None."""
        per_period = 1 / self.cycles_per_sample
        commensurate = abs(per_period - round(per_period)) <= ROUNDING * per_period
        return round(per_period) if commensurate and self.is_whole else None

    @property
    def phases(self) -> Array:
        """Phase of the nudge at each sample, periods, (sample,)."""
        return np.arange(self.n_samples, dtype=np.float64) * self.cycles_per_sample


@dataclass(frozen=True)
class Disturbances:
    """What else is in the record: a polynomial of this degree, and hum at multiples of so many cycles a sample."""

    drift: int = 0
    hum: float | None = None
    n_hum: int = 0

    @property
    def n_columns(self) -> int:
        """Number of columns that they take."""
        return self.drift + 2 * self.n_hum


@dataclass(frozen=True)
class Harmonics:
    """The harmonics of a waveform that are fitted: their orders k, (harmonic,), and F_k. truncated: there are more."""

    orders: NDArray[np.intp]
    coefficients: NDArray[np.complex128]
    mean: float
    truncated: bool

    @cached_property
    def power(self) -> float:
        """Variance of the waveform that they carry."""
        return float(2 * (np.abs(self.coefficients) ** 2).sum())

    @cached_property
    def bend(self) -> float:
        """Mean square of the slope df/dp that they carry: what the delay is known by."""
        return float(2 * (np.abs(2 * np.pi * self.orders * self.coefficients) ** 2).sum())

    @cached_property
    def matched(self) -> NDArray[np.complex128]:
        """2 conj(F_k): what turns a record's harmonics V_k into its correlation with the nudge."""
        return 2 * np.conj(self.coefficients)


@lru_cache(maxsize=64)
def harmonics_of(waveform: Waveform, cycles_per_sample: float) -> Harmonics:
    """Choose the harmonics to fit at this sampling. Raises ValueError where it can't hold those that there are."""
    last = waveform.last_harmonic
    F = waveform.harmonics(last or _MOST_HARMONICS)
    present = np.abs(F) > _SMALLEST_HARMONIC * np.abs(F).max()
    truncated = last is None
    if truncated or present.sum() > _MOST_OF_BAND_LIMITED:
        carried = np.cumsum(2 * np.abs(F) ** 2) >= (1 - _LARGEST_SHARE_LEFT_OUT) * waveform.variance
        enough = int(carried.argmax()) + 1 if carried.any() else len(F)
        present[min(enough, _MOST_OF_BAND_LIMITED) :] = False
        truncated = True
    orders = np.flatnonzero(present) + 1
    held = orders * cycles_per_sample < 0.5 - ROUNDING
    if not held[0] or not (truncated or held.all()):
        beyond = int(orders[~held][0])
        raise ValueError(
            f"frequency: harmonic {beyond} of {waveform.name} lies at {beyond * cycles_per_sample:.4g} of the sample "
            f"rate; it must lie below half of it. Take more than {2 * beyond} samples a period"
        )
    orders = orders[held]
    return Harmonics(orders, F[orders - 1], waveform.mean, truncated)


@dataclass(frozen=True, eq=False)
class Basis:
    """Columns at the samples: constant, then cos and -sin of each harmonic, then the disturbances; (sample, column).

    gram: their products, (column, column). contrasts: (sample, contrast), made orthogonal to the columns; powers:
    their squares, (contrast,). stacked: both side by side, for one product with the record. flat: the columns are
    orthogonal, each harmonic's with the square n_samples / 2.
    """

    harmonics: Harmonics
    timing: Timing
    columns: Array
    gram: Array
    contrasts: Array
    powers: Array
    stacked: Array
    flat: bool

    @property
    def n_harmonic_columns(self) -> int:
        """Columns that belong to harmonics, two each."""
        return 2 * len(self.harmonics.orders)


@lru_cache(maxsize=32)
def basis_of(waveform: Waveform, timing: Timing, disturbances: Disturbances) -> Basis:
    """Make the columns of a waveform, a timing and what disturbs. Raises ValueError where they can't be told apart."""
    harmonics = harmonics_of(waveform, timing.cycles_per_sample)
    phases = timing.phases
    turned = np.exp(-2j * np.pi * phases[:, None] * harmonics.orders)
    columns = np.concatenate(
        [np.ones((timing.n_samples, 1)), _interleaved(turned), disturbance_columns(timing, disturbances)], axis=1
    )
    n_columns = columns.shape[1]
    if timing.n_samples < n_columns + 1:
        raise ValueError(
            f"volts: {timing.n_samples} samples a channel; the model has {n_columns} columns (a constant, "
            f"{len(harmonics.orders)} harmonics, drift and hum), so it needs at least {n_columns + 1} samples"
        )
    gram = columns.T @ columns
    _refuse_alike(gram, disturbances)
    contrasts = _contrasts(timing, turned[:, 0])
    contrasts = contrasts - columns @ np.linalg.solve(gram, columns.T @ contrasts)
    flat = timing.is_whole and not disturbances.n_columns
    stacked = np.ascontiguousarray(np.concatenate([columns, contrasts], axis=1))
    return Basis(harmonics, timing, columns, gram, contrasts, (contrasts**2).sum(axis=0), stacked, flat)


def disturbance_columns(timing: Timing, disturbances: Disturbances) -> Array:
    """Return the drift's Legendre polynomials and the hum's cosines and sines, (sample, column).

    The polynomials have the mean zero over the samples, so that a is the mean level of the record.
    """
    place = np.linspace(-1, 1, timing.n_samples)
    drift = np.polynomial.legendre.legvander(place, disturbances.drift)[:, 1:]
    drift = drift - drift.mean(axis=0)
    hum = np.zeros((timing.n_samples, 0))
    if disturbances.hum is not None:
        turns = np.arange(timing.n_samples)[:, None] * disturbances.hum * np.arange(1, disturbances.n_hum + 1)
        hum = _interleaved(np.exp(-2j * np.pi * turns))
    return np.concatenate([drift, hum], axis=1)


def _interleaved(turned: NDArray[np.complex128]) -> Array:
    """Return real and imaginary parts side by side, (sample, 2 x column)."""
    return np.ascontiguousarray(turned).view(np.float64)


def _contrasts(timing: Timing, lowest: NDArray[np.complex128]) -> Array:
    """Return the last half less the first of a constant and of the lowest harmonic; both hold whole periods if any do.

    Nothing can be said of a record that holds less than two periods.
    """
    n_half = int(timing.n_periods / 2 + ROUNDING)
    if n_half < 1:
        return np.zeros((timing.n_samples, 0))
    n_in_half = round(n_half / timing.cycles_per_sample)
    sign = np.zeros(timing.n_samples)
    sign[:n_in_half], sign[timing.n_samples - n_in_half :] = -1.0, 1.0
    return np.stack([sign, sign * lowest.real, sign * lowest.imag], axis=1)


def _refuse_alike(gram: Array, disturbances: Disturbances) -> None:
    """Raise where two columns are nearly the same: the record is too short for what it is to tell apart."""
    size = np.sqrt(np.diagonal(gram))
    if size.min() == 0 or np.linalg.eigvalsh(gram / np.outer(size, size))[0] < 1e-7:
        with_what = "drift and hum" if disturbances.n_columns else "its own constant part"
        raise ValueError(
            f"volts: the record is too short to tell the nudge from {with_what}; take more periods, or leave a part of "
            "the model out"
        )
