"""Records made by hand for the lock-in's tests: v = a + b f(t + delay), evaluated as the model is written."""

from __future__ import annotations

import numpy as np

from freqprop_lab.lockin import demodulate
from freqprop_lab.values import Response
from freqprop_lab.waveform import Waveform

FREQUENCY = 100.0  # Hz


def record(waveform, a, b, delay=0.0, n_periods=5, per_period=20):
    """V, (channel, sample), of a + b f(t + delay); a, b, delay (periods) one a channel."""
    a, b, delay = (np.atleast_1d(np.asarray(value, dtype=float))[:, None] for value in (a, b, delay))
    return a + b * waveform.at(np.arange(round(n_periods * per_period)) / per_period + delay)


def read(volts, waveform, *, per_period=20, **more) -> Response:
    """Demodulate at FREQUENCY; unsynchronised unless told otherwise."""
    more.setdefault("synchronised", False)
    return demodulate(volts, per_period * FREQUENCY, waveform, FREQUENCY, **more)


def turned(one, other) -> np.ndarray:
    """How far two phases are apart, in periods, -1/2 to 1/2."""
    return (np.asarray(one) - np.asarray(other) + 0.5) % 1 - 0.5


class HandMade(Waveform):
    """What every waveform made in a test has beside its values."""

    lowest, highest, mean, rms = -1.0, 1.0, 0.0, 0.5

    def slope(self, phase):
        raise AssertionError("not asked for where the delay is known")

    def harmonics(self, count):
        raise AssertionError("not asked for by a projection")
