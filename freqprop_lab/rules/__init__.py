"""Learning rules: generators that yield measurements, are sent responses, and end with an update."""

from freqprop_lab.rules._freq_prop import FrequencyPropagation
from freqprop_lab.rules._references import Adjoint, FiniteDifferences
from freqprop_lab.rules._rule import Block, Example, Measurement, Process, Rule

__all__ = ["Adjoint", "Block", "Example", "FiniteDifferences", "FrequencyPropagation", "Measurement", "Process", "Rule"]
