"""Proposition 1: which waveforms can be read with their delay unknown, and by how much."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from freqprop_lab.waveform._waveform import Waveform

_HARMONICS_LOOKED_AT = 64
_SMALLEST_HARMONIC = 1e-12  # of the largest: below it a coefficient is rounding
_HARMONICS_SUMMED = 4096
_DELAYS_TRIED = 4 * _HARMONICS_SUMMED


@lru_cache(maxsize=256)
def is_delay_identifiable(waveform: Waveform) -> bool:
    """Say whether (a, b) can be had from a + b f(t + delay) with the delay unknown (Proposition 1).

    Not so if and only if all harmonics present hold the same power of two: then, and only then, some delay turns f
    upside down. Looks at every harmonic of a band-limited waveform, at the first 64 of another.
    """
    size = np.abs(waveform.harmonics(waveform.last_harmonic or _HARMONICS_LOOKED_AT))
    present = np.flatnonzero(size > _SMALLEST_HARMONIC * size.max(initial=0.0)) + 1
    powers_of_two = present & -present
    return len(set(powers_of_two.tolist())) > 1


def distinguishability(waveform: Waveform) -> float:
    """Return D: how far f and the nearest delayed inversion of it are apart, rms, dimensionless.

    With g = f - mean and r = max over tau of -<g g_tau> / <g^2>: D = sqrt(<g^2> (1 - r^2)). It is 0 where Proposition
    1 fails; the larger |b| D sqrt(n_samples) / noise is, the rarer is a wrong sign. From 4096 harmonics and 16384
    delays: to about 1e-3 for a pulse, better for anything smoother.
    """
    if not is_delay_identifiable(waveform):
        return 0.0
    count = min(waveform.last_harmonic or _HARMONICS_SUMMED, _HARMONICS_SUMMED)
    power = np.zeros(_DELAYS_TRIED // 2 + 1)
    power[1 : count + 1] = np.abs(waveform.harmonics(count)) ** 2
    autocorrelation = np.fft.irfft(power, _DELAYS_TRIED) * _DELAYS_TRIED
    r = max(0.0, -float(autocorrelation.min()) / waveform.variance)
    return float(np.sqrt(waveform.variance * max(0.0, 1 - r**2)))
