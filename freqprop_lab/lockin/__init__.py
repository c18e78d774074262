"""Lock-in: from what the meters returned to the response of each channel.

Model of one channel: v(t) = a + b f(t + delay) + white noise; f the nudge waveform, a the activation, b the error
signal (paper eq. 3.4 and section 5). Arrays in, arrays out: this package knows no instrument.
"""

from freqprop_lab.lockin._arguments import METHODS, refuse_unidentifiable
from freqprop_lab.lockin._demodulate import demodulate
from freqprop_lab.lockin._read import average
from freqprop_lab.lockin._settling import (
    error_of_relaxation,
    extrapolate_to_static,
    highest_frequency,
    relaxation_time,
    relaxation_time_of_step,
)
from freqprop_lab.lockin._streaming import LockIn

__all__ = [
    "METHODS",
    "LockIn",
    "average",
    "demodulate",
    "error_of_relaxation",
    "extrapolate_to_static",
    "highest_frequency",
    "refuse_unidentifiable",
    "relaxation_time",
    "relaxation_time_of_step",
]
