"""Frequency propagation: delta theta = -alpha d2E/(dtheta dx)(a) . b (paper eq. 3.5, and 6.2 with its sign mended)."""

from __future__ import annotations

import numpy as np

from freqprop_lab.network import Network
from freqprop_lab.rules._averaging import averaged, is_significant
from freqprop_lab.rules._rule import Block, Example, Measurement, Process, Rule
from freqprop_lab.tasks import Objective
from freqprop_lab.values import Array, BlockPlan, Drive, Feedback, Nudge, NudgeKind, Response, Update
from freqprop_lab.waveform import Waveform


class FrequencyPropagation(Rule):
    """Two measurements: free, for the outputs and the cost's gradient g; nudged, for a and b.

    alpha: S/V^2. gamma: S, amperes of nudge per volt of error (for the clamped nudge: volts per volt). kind: CURRENT
    (open loop, current -gamma f g into the outputs: the default), FEEDBACK (eq. 3.3 as printed) or CLAMPED (Remark 2,
    no gradient). free_activation: take a from the free record, whose noise is independent of b's. significance: repeat
    the nudged record until the update is so many times its standard error, most_records times at most.
    """

    name = "freq-prop"

    def __init__(
        self,
        network: Network,
        alpha: float,
        gamma: float,
        waveform: Waveform,
        kind: NudgeKind = NudgeKind.CURRENT,
        *,
        free_activation: bool = False,
        significance: float = 0.0,
        most_records: int = 1,
    ) -> None:
        self.network, self.alpha, self.gamma, self.waveform, self.kind = network, alpha, gamma, waveform, kind
        self.free_activation = free_activation
        self.significance, self.most_records = significance, most_records
        self.needs = frozenset({kind})

    def process(self, example: Example) -> Process:
        """Yield the free and the nudged measurement."""
        free = yield Measurement(Drive(example.levels))
        outputs = self.network.read_outputs(free.a)
        gradient = example.objective.gradient(outputs)
        drive = Drive(example.levels, self._nudge(example.objective, gradient, free))
        records = [(yield Measurement(drive))]
        nudged = records[0]
        while len(records) < self.most_records and not self._is_worth_it(free, nudged):
            records.append((yield Measurement(drive)))
            nudged = averaged(records)
        delta = -self.alpha * self._product(free, nudged)
        return Update(delta, outputs, example.objective.value(outputs), nudged)

    def _is_worth_it(self, free: Response, nudged: Response) -> bool:
        return is_significant(self.network, free if self.free_activation else nudged, nudged, self.significance)

    def plan(self, block: Block) -> BlockPlan | None:
        """Return the block, where the nudge is the open-loop current."""
        if self.kind is not NudgeKind.CURRENT:
            return None
        return BlockPlan(
            block.levels,
            block.targets,
            block.order,
            block.wished,
            block.lowest,
            block.highest,
            self.alpha,
            self.gamma,
            block.cost,
            self.waveform,
            self.kind,
            block.temperature,
            block.volts,
            block.accumulate,
            block.stochastic,
            free_activation=self.free_activation,
            significance=self.significance,
        )

    def _nudge(self, objective: Objective, gradient: Array, free: Response) -> Nudge:
        if self.kind is NudgeKind.FEEDBACK:
            feedback = Feedback(self.gamma, lambda v: (objective.gradient(v), objective.curvature(v)))
            return Nudge(np.zeros_like(gradient), self.waveform, self.kind, feedback=feedback)
        if self.kind is NudgeKind.CLAMPED:
            # Towards the target, so against the gradient of the squared cost: v + gamma f (y - v).
            return Nudge(-self.gamma * gradient, self.waveform, self.kind, held=free.a)
        return Nudge(-self.gamma * gradient, self.waveform, self.kind)

    def _product(self, free: Response, nudged: Response) -> Array:
        """Return d2E/(dtheta dx)(a) . b of every tunable branch, (tunable,), 0 where an end is not read."""
        network, element = self.network, self.network.tunable_element
        theta = np.ones((len(element.parameters), len(network.tunable)))
        a = network.across_tunable(free.a if self.free_activation else nudged.a)
        b = network.across_tunable(nudged.b)
        product = element.d2E_dtheta_dx(theta, a)[0] * b
        if not self.free_activation:
            product = product - element.d3E_dtheta_dx2(theta, a)[0] * _shared_noise(network, nudged)
        return np.asarray(np.nan_to_num(product, nan=0.0))


def _shared_noise(network: Network, response: Response) -> Array:
    """Return what noise alone adds to the mean of a_jk b_jk, V^2, (tunable,): see docs/lock-in.md."""
    shared = np.append(response.ab_bias, 0.0)
    plus, minus = network.tunable_ends
    return np.asarray(shared[plus] + shared[minus])
