"""The waveforms that there are. Each is a plain value, equal to another one with the same parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freqprop_lab.waveform._waveform import Array, Phases, Waveform

_TURN = 2 * np.pi
_FEWEST_VALUES = 3
_NO_HARMONIC = 1e-14  # of the largest value: below it a coefficient is rounding
_OVERSAMPLED = 64  # points between two values of a Sampled among which its extremes are looked for


@dataclass(frozen=True)
class Sine(Waveform):
    """f = sin(2 pi p), the paper's nudge (eq. 3.3). Its delay can't be told from its sign (Proposition 1)."""

    name = "sine"
    lowest, highest, mean, rms = -1.0, 1.0, 0.0, float(np.sqrt(0.5))
    last_harmonic = 1

    def at(self, phase: Phases) -> Array:
        """Return sin(2 pi p)."""
        return np.asarray(np.sin(_TURN * phase), dtype=np.float64)

    def slope(self, phase: Phases) -> Array:
        """Return 2 pi cos(2 pi p)."""
        return np.asarray(_TURN * np.cos(_TURN * phase), dtype=np.float64)

    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return 1 / (2i) at the first harmonic, nothing above."""
        return _padded([-0.5j], count)


@dataclass(frozen=True)
class RectifiedSine(Waveform):
    """f = |sin(pi p)| (section 5), or 2 |sin(pi p)| - 1 where it is centred. Read without synchrony.

    The paper's omega is pi times the rate of repetition. Centred, the same peak carries twice the signal.
    """

    centred: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """`abs-sine`, or `centred-abs-sine`."""
        return "centred-abs-sine" if self.centred else "abs-sine"

    @property
    def lowest(self) -> float:  # type: ignore[override]
        """0, or -1 where it is centred."""
        return -1.0 if self.centred else 0.0

    highest = 1.0

    @property
    def mean(self) -> float:  # type: ignore[override]
        """2 / pi, or 4 / pi - 1."""
        return 4 / np.pi - 1 if self.centred else 2 / np.pi

    @property
    def rms(self) -> float:  # type: ignore[override]
        """sqrt(1/2), or sqrt(3 - 8 / pi)."""
        return float(np.sqrt(3 - 8 / np.pi)) if self.centred else float(np.sqrt(0.5))

    def at(self, phase: Phases) -> Array:
        """Return |sin(pi p)|, centred or not."""
        f = np.abs(np.sin(np.pi * phase))
        return np.asarray(2 * f - 1 if self.centred else f, dtype=np.float64)

    def slope(self, phase: Phases) -> Array:
        """Return pi cos(pi p) within the arch, whatever arch it is."""
        inside = np.pi * np.cos(np.pi * np.mod(phase, 1.0))
        return np.asarray(2 * inside if self.centred else inside, dtype=np.float64)

    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return 2 / (pi (1 - 4 k^2)), twice that where it is centred: every harmonic is present."""
        k = np.arange(1, count + 1)
        return ((4 if self.centred else 2) / (np.pi * (1 - 4.0 * k**2))).astype(np.complex128)


@dataclass(frozen=True)
class TwoTone(Waveform):
    """f = (sin(2 pi p) + k sin(4 pi p + phi)) / its peak: read without synchrony, and odd where phi is 0.

    k = 0.65 is the best compromise between noise and the margin of the sign at equal peak (docs/lock-in.md). phi: rad.
    """

    k: float = 0.65
    phi: float = 0.0

    name = "two-tone"
    mean = 0.0
    last_harmonic = 2

    def __post_init__(self) -> None:
        if not (np.isfinite(self.k) and np.isfinite(self.phi) and self.k != 0):
            raise ValueError(f"TwoTone(k={self.k}, phi={self.phi}): both must be finite, and k not 0 (else take Sine)")

    @property
    def lowest(self) -> float:  # type: ignore[override]
        """The smallest value; -1 where phi is 0."""
        low, high = _two_tone_extremes(self.k, self.phi)
        return low / max(-low, high)

    @property
    def highest(self) -> float:  # type: ignore[override]
        """The largest value; 1 where phi is 0."""
        low, high = _two_tone_extremes(self.k, self.phi)
        return high / max(-low, high)

    @property
    def rms(self) -> float:  # type: ignore[override]
        """sqrt((1 + k^2) / 2) / the peak."""
        return float(np.sqrt((1 + self.k**2) / 2)) / self._peak

    @property
    def _peak(self) -> float:
        low, high = _two_tone_extremes(self.k, self.phi)
        return max(-low, high)

    def at(self, phase: Phases) -> Array:
        """Return the two sines over their common peak."""
        x = _TURN * np.asarray(phase)
        return np.asarray((np.sin(x) + self.k * np.sin(2 * x + self.phi)) / self._peak, dtype=np.float64)

    def slope(self, phase: Phases) -> Array:
        """Return the derivative by p."""
        x = _TURN * np.asarray(phase)
        return np.asarray(_TURN * (np.cos(x) + 2 * self.k * np.cos(2 * x + self.phi)) / self._peak, dtype=np.float64)

    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return the two that there are."""
        return _padded([-0.5j / self._peak, -0.5j * self.k * np.exp(1j * self.phi) / self._peak], count)


@lru_cache(maxsize=64)
def _two_tone_extremes(k: float, phi: float) -> tuple[float, float]:
    """Return the extremes of sin x + k sin(2x + phi): the derivative is a quartic in z = exp(ix)."""
    turned = 2 * k * np.exp(1j * phi)
    roots = np.roots([turned, 1, 0, 1, np.conj(turned)])
    x = np.angle(roots)  # those off the unit circle are no extremes, but harmless: the function there lies between
    for _ in range(3):
        bend = -np.sin(x) - 4 * k * np.sin(2 * x + phi)
        curved = np.abs(bend) > 1e-9 * (1 + abs(k))  # elsewhere the root is as good as it gets
        x = x - np.where(curved, (np.cos(x) + 2 * k * np.cos(2 * x + phi)) / np.where(curved, bend, 1.0), 0.0)
    values = np.sin(x) + k * np.sin(2 * x + phi)
    return float(values.min()), float(values.max())


@dataclass(frozen=True)
class Sawtooth(Waveform):
    """f = 2p - 1 from 0 to 1, then back at once. Read without synchrony, but broadband."""

    name = "sawtooth"
    lowest, highest, mean, rms = -1.0, 1.0, 0.0, float(np.sqrt(1 / 3))
    jumps = (0.0,)

    def at(self, phase: Phases) -> Array:
        """Return 2p - 1 of the phase within its period."""
        return np.asarray(2 * np.mod(phase, 1.0) - 1, dtype=np.float64)

    def slope(self, phase: Phases) -> Array:
        """Return 2."""
        return np.full(np.shape(phase), 2.0)

    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return i / (pi k)."""
        return np.asarray(1j / (np.pi * np.arange(1, count + 1)), dtype=np.complex128)


@dataclass(frozen=True)
class Pulse(Waveform):
    """f = 1 for the first share `duty` of the period, -1 for the rest. The most signal at a given peak."""

    duty: float = 0.25

    name = "pulse"
    lowest, highest, rms = -1.0, 1.0, 1.0

    def __post_init__(self) -> None:
        if not 0 < self.duty < 1:
            raise ValueError(f"Pulse(duty={self.duty}): a share of the period is wanted, between 0 and 1")

    @property
    def mean(self) -> float:  # type: ignore[override]
        """2 duty - 1."""
        return 2 * self.duty - 1

    @property
    def jumps(self) -> tuple[float, ...]:  # type: ignore[override]
        """Both edges."""
        return (0.0, self.duty)

    def at(self, phase: Phases) -> Array:
        """Return 1 or -1."""
        return np.where(np.mod(phase, 1.0) < self.duty, 1.0, -1.0)

    def slope(self, phase: Phases) -> Array:
        """Return 0: it is flat between its edges."""
        return np.zeros(np.shape(phase))

    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return (1 - exp(-2 pi i k duty)) / (pi i k)."""
        k = np.arange(1, count + 1)
        return np.asarray((1 - np.exp(-1j * _TURN * k * self.duty)) / (1j * np.pi * k), dtype=np.complex128)


@dataclass(frozen=True)
class Square(Waveform):
    """f = 1 for half a period, -1 for the other: for synchronised meters only (Proposition 1)."""

    name = "square"
    lowest, highest, mean, rms = -1.0, 1.0, 0.0, 1.0
    jumps = (0.0, 0.5)

    def at(self, phase: Phases) -> Array:
        """Return 1 or -1."""
        return np.where(np.mod(phase, 1.0) < 0.5, 1.0, -1.0)

    def slope(self, phase: Phases) -> Array:
        """Return 0."""
        return np.zeros(np.shape(phase))

    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return 2 / (pi i k) at odd k, 0 at even k."""
        k = np.arange(1, count + 1)
        return np.where(k % 2 == 1, 2 / (1j * np.pi * k), 0.0)


@dataclass(frozen=True)
class Triangle(Waveform):
    """f rises from 0 to 1, falls to -1 and comes back, straight: for synchronised meters only (Proposition 1)."""

    name = "triangle"
    lowest, highest, mean, rms = -1.0, 1.0, 0.0, float(np.sqrt(1 / 3))

    def at(self, phase: Phases) -> Array:
        """Return 1 - 4 |p - 1/4| of the phase, the period taken from -1/4 to 3/4."""
        return np.asarray(1 - 4 * np.abs(np.mod(np.asarray(phase) + 0.25, 1.0) - 0.5), dtype=np.float64)

    def slope(self, phase: Phases) -> Array:
        """Return 4 or -4."""
        return np.where(np.mod(np.asarray(phase) + 0.25, 1.0) < 0.5, 4.0, -4.0)

    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return 4 / (i pi^2 k^2) at odd k, its sign in turn, 0 at even k."""
        k = np.arange(1, count + 1)
        sign = np.where(k % 4 == 1, 1.0, -1.0)
        return np.where(k % 2 == 1, 4 * sign / (1j * np.pi**2 * k**2), 0.0)


@dataclass(frozen=True)
class Sampled(Waveform):
    """A period given by values at equal steps of phase; f is the one Fourier sum of that many harmonics through them.

    values: (value,), at least 3. An even number of them leaves the highest harmonic out, which no sampling can place.
    """

    values: tuple[float, ...]

    name = "sampled"

    def __init__(self, values: ArrayLike | Sequence[float]) -> None:
        taken = np.asarray(values, dtype=np.float64)
        if taken.ndim != 1 or taken.size < _FEWEST_VALUES or not np.isfinite(taken).all():
            raise ValueError(
                f"Sampled takes at least {_FEWEST_VALUES} finite values in one row; these have the shape {taken.shape}"
            )
        if np.ptp(taken) == 0:
            raise ValueError(f"Sampled: all values are {taken[0]:g}; a constant carries no error signal")
        object.__setattr__(self, "values", tuple(taken.tolist()))
        if np.abs(self._taken).max() < _NO_HARMONIC * np.abs(taken).max():
            raise ValueError(
                f"Sampled: {taken.size} values that only alternate hold no harmonic that they determine; give more "
                "values a period"
            )

    @cached_property
    def _spectrum(self) -> NDArray[np.complex128]:
        return np.fft.rfft(np.array(self.values)) / len(self.values)

    @property
    def last_harmonic(self) -> int:  # type: ignore[override]
        """Number of harmonics that so many values determine."""
        return (len(self.values) - 1) // 2

    @property
    def mean(self) -> float:  # type: ignore[override]
        """Mean of the values."""
        return float(self._spectrum[0].real)

    @property
    def rms(self) -> float:  # type: ignore[override]
        """Root of the mean square, by Parseval."""
        return float(np.sqrt(self.mean**2 + 2 * (np.abs(self._taken) ** 2).sum()))

    @property
    def lowest(self) -> float:  # type: ignore[override]
        """Smallest value on a grid 64 times as fine."""
        return self._extremes[0]

    @property
    def highest(self) -> float:  # type: ignore[override]
        """Largest value on a grid 64 times as fine."""
        return self._extremes[1]

    @property
    def _taken(self) -> NDArray[np.complex128]:
        return self._spectrum[1 : self.last_harmonic + 1]

    @cached_property
    def _extremes(self) -> tuple[float, float]:
        n_points = _OVERSAMPLED * len(self.values)
        spectrum = np.zeros(n_points // 2 + 1, dtype=np.complex128)
        spectrum[0], spectrum[1 : self.last_harmonic + 1] = self.mean, self._taken
        fine = np.fft.irfft(spectrum, n_points) * n_points
        return float(fine.min()), float(fine.max())

    def at(self, phase: Phases) -> Array:
        """Return the Fourier sum."""
        return self._summed(phase, self._taken) + self.mean

    def slope(self, phase: Phases) -> Array:
        """Return the Fourier sum of the derivative."""
        return self._summed(phase, self._taken * 1j * _TURN * np.arange(1, self.last_harmonic + 1))

    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return those of the values' transform."""
        return _padded(self._taken[:count], count)

    def _summed(self, phase: Phases, coefficients: NDArray[np.complex128]) -> Array:
        turn = np.exp(1j * _TURN * np.asarray(phase, dtype=np.float64))
        total = np.zeros_like(turn)
        for coefficient in coefficients[::-1]:  # Horner's scheme: one multiplication a harmonic
            total = (total + coefficient) * turn
        return np.asarray(2 * total.real)


def _padded(first: Sequence[complex] | NDArray[np.complex128], count: int) -> NDArray[np.complex128]:
    coefficients = np.zeros(count, dtype=np.complex128)
    n_given = min(len(first), count)
    coefficients[:n_given] = first[:n_given]
    return coefficients
