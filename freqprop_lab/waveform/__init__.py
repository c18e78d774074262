"""Nudge waveforms f(p) of the phase p, and the test of Proposition 1 on them.

One period (p from 0 to 1) is one repetition of the waveform; `frequency` elsewhere is the rate of repetition in Hz.
A waveform is a plain value: it knows no circuit, no sampling and no instrument.
"""

from freqprop_lab.waveform._identifiability import distinguishability, is_delay_identifiable
from freqprop_lab.waveform._shapes import Pulse, RectifiedSine, Sampled, Sawtooth, Sine, Square, Triangle, TwoTone
from freqprop_lab.waveform._waveform import Array, Waveform

# What files and the command line may name, each with its usual parameters.
WAVEFORMS: dict[str, Waveform] = {
    waveform.name: waveform
    for waveform in (
        Sine(),
        TwoTone(),
        RectifiedSine(),
        RectifiedSine(centred=True),
        Pulse(),
        Sawtooth(),
        Square(),
        Triangle(),
    )
}


def default_waveform(*, synchronised: bool) -> Waveform:
    """Return the waveform that is meant where none is named: a sine, or two tones where the delay is unknown."""
    return Sine() if synchronised else TwoTone()


__all__ = [
    "WAVEFORMS",
    "Array",
    "Pulse",
    "RectifiedSine",
    "Sampled",
    "Sawtooth",
    "Sine",
    "Square",
    "Triangle",
    "TwoTone",
    "Waveform",
    "default_waveform",
    "distinguishability",
    "is_delay_identifiable",
]
