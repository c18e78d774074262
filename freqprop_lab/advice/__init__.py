"""Advice before a run: which nudge a bench wants, how long a record, how high a frequency."""

from freqprop_lab.advice._bench import advise_nudge
from freqprop_lab.advice._nudge import Advice, Choice, Meter, Trade, recommend_nudge
from freqprop_lab.advice._relaxation import measured_relaxation_time, relaxation_note

__all__ = [
    "Advice",
    "Choice",
    "Meter",
    "Trade",
    "advise_nudge",
    "measured_relaxation_time",
    "recommend_nudge",
    "relaxation_note",
]
