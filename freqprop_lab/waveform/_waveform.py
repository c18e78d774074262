"""What a nudge waveform is: a periodic function of the phase, and what the lock-in needs to know of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Phases = NDArray[np.floating[Any]]


class Waveform(ABC):
    """A periodic function f of the phase p, dimensionless; one period is p from 0 to 1.

    lowest, highest: its extreme values; mean, rms over a period. last_harmonic: the highest one that it has; None
    where they go on for ever. jumps: the phases at which f itself is discontinuous.
    """

    name: str
    lowest: float
    highest: float
    mean: float
    rms: float
    last_harmonic: int | None = None
    jumps: tuple[float, ...] = ()

    @abstractmethod
    def at(self, phase: Phases) -> Array:
        """Return f at the phases (any shape, in periods; any real number)."""

    @abstractmethod
    def slope(self, phase: Phases) -> Array:
        """Return df/dp at the phases; at a kink or a jump that of either side."""

    @abstractmethod
    def harmonics(self, count: int) -> NDArray[np.complex128]:
        """Return F_1 to F_count of f(p) = sum F_k exp(2 pi i k p), (harmonic,)."""

    @property
    def variance(self) -> float:
        """Mean square of f about its mean: what the noise of b goes by."""
        return self.rms**2 - self.mean**2
