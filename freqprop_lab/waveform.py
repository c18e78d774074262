"""Nudge waveforms f(p) of the phase p, and the test of Proposition 1 on them.

One period (p from 0 to 1) is one repetition of the waveform; `frequency` elsewhere is the rate of repetition in Hz.
A waveform is a plain value: it knows no circuit, no sampling and no instrument.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_HARMONICS_LOOKED_AT = 64
_SMALLEST_HARMONIC = 1e-12  # of the largest: below it a coefficient is rounding


class Waveform(ABC):
    """A periodic function f of the phase, dimensionless, at most 1 in size."""

    name: str
    lowest: float
    highest: float
    mean: float
    rms: float

    @abstractmethod
    def at(self, phase: NDArray[np.floating[Any]]) -> Array:
        """Return f at the phases (any shape, in periods; any real number)."""

    @abstractmethod
    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return F_1 to F_count of f(p) = sum F_k exp(2 pi i k p), (harmonic,)."""


@dataclass(frozen=True)
class Sine(Waveform):
    """f = sin(2 pi p), the paper's nudge (eq. 3.3). Its delay can't be told from its sign (Proposition 1)."""

    name = "sine"
    lowest, highest, mean, rms = -1.0, 1.0, 0.0, float(np.sqrt(0.5))

    def at(self, phase: NDArray[np.floating[Any]]) -> Array:
        """Return sin(2 pi p)."""
        return np.asarray(np.sin(2 * np.pi * phase), dtype=np.float64)

    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return 1 / (2i) at the first harmonic, nothing above."""
        coefficients = np.zeros(count, dtype=np.complex128)
        coefficients[:1] = -0.5j
        return coefficients


@dataclass(frozen=True)
class RectifiedSine(Waveform):
    """f = |sin(pi p)| (section 5): the paper's omega is pi times the rate of repetition. Read without synchrony."""

    name = "abs-sine"
    lowest, highest, mean, rms = 0.0, 1.0, 2 / np.pi, float(np.sqrt(0.5))

    def at(self, phase: NDArray[np.floating[Any]]) -> Array:
        """Return |sin(pi p)|."""
        return np.asarray(np.abs(np.sin(np.pi * phase)), dtype=np.float64)

    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return 2 / (pi (1 - 4 k^2)): every harmonic is present."""
        k = np.arange(1, count + 1)
        return (2 / (np.pi * (1 - 4.0 * k**2))).astype(np.complex128)


WAVEFORMS: dict[str, Waveform] = {waveform.name: waveform for waveform in (Sine(), RectifiedSine())}


def is_delay_identifiable(waveform: Waveform) -> bool:
    """Say whether (a, b) can be had from a + b f(t + delay) with the delay unknown (Proposition 1).

    Not so if and only if all harmonics present hold the same power of two: then, and only then, some delay turns f
    upside down. Looks at the first 64 harmonics.
    """
    size = np.abs(waveform.harmonics(_HARMONICS_LOOKED_AT))
    present = np.flatnonzero(size > _SMALLEST_HARMONIC * size.max(initial=0.0)) + 1
    powers_of_two = present & -present
    return len(set(powers_of_two.tolist())) > 1
