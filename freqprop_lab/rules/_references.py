"""Rules that others are held against: the adjoint gradient, and finite differences of the cost."""

from __future__ import annotations

import numpy as np

from freqprop_lab.network import Network
from freqprop_lab.rules._freq_prop import FrequencyPropagation
from freqprop_lab.rules._rule import Example, Measurement, Process, Rule
from freqprop_lab.values import Drive, NudgeKind, Update
from freqprop_lab.waveform import Sine


class Adjoint(Rule):
    """The exact gradient: freq-prop with the derivative of the response instead of a finite nudge. Numeric only."""

    name = "adjoint"
    needs = frozenset({NudgeKind.TANGENT})

    def __init__(self, network: Network, alpha: float, gamma: float) -> None:
        self._exact = FrequencyPropagation(network, alpha, gamma, Sine(), NudgeKind.TANGENT)

    def process(self, example: Example) -> Process:
        """Yield the free measurement and the tangent."""
        return self._exact.process(example)


class FiniteDifferences(Rule):
    """-alpha gamma dC/dG by central differences: two measurements a branch, no theory. Patience on a real bench.

    difference: S, by which each conductance is moved up and down.
    """

    name = "finite-differences"
    needs: frozenset[NudgeKind] = frozenset()

    def __init__(self, network: Network, alpha: float, gamma: float, difference: float) -> None:
        self.network, self.alpha, self.gamma, self.difference = network, alpha, gamma, difference

    def process(self, example: Example) -> Process:
        """Yield a free measurement, then one with each conductance up and one with it down."""
        free = yield Measurement(Drive(example.levels))
        outputs = self.network.read_outputs(free.a)
        n_tunable = len(self.network.tunable)
        delta = np.empty(n_tunable)
        for branch in range(n_tunable):
            costs = []
            for sign in (1.0, -1.0):
                offsets = np.zeros(n_tunable)
                offsets[branch] = sign * self.difference
                moved = yield Measurement(Drive(example.levels), offsets)
                costs.append(example.objective.value(self.network.read_outputs(moved.a)))
            delta[branch] = -self.alpha * self.gamma * (costs[0] - costs[1]) / (2 * self.difference)
        return Update(delta, outputs, example.objective.value(outputs), free)
