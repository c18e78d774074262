"""What a rule is. It knows networks and responses; it owns no bench, so it is tested by feeding it responses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.tasks import Objective
from freqprop_lab.values import Array, BlockPlan, Drive, NudgeKind, Response, Update


@dataclass(frozen=True)
class Example:
    """One example in SI units: levels, V or A, (input,), and what is wanted."""

    levels: Array
    objective: Objective


@dataclass(frozen=True)
class Measurement:
    """What a rule asks for: a drive, conductance offsets for its duration (S, (tunable,)), and a number of periods."""

    drive: Drive
    offsets: Array | None = None
    n_periods: int | None = None


@dataclass(frozen=True)
class Block:
    """Steps that could be done in one call, SI units: see `values.BlockPlan`."""

    levels: Array
    targets: Array
    order: NDArray[np.intp]
    wished: Array
    lowest: Array
    highest: Array
    cost: str
    temperature: float = 1.0
    volts: float = 1.0
    accumulate: bool = True
    stochastic: bool = False


Process = Generator[Measurement, Response, Update]


class Rule(ABC):
    """Says which measurements it needs for an example, and turns their responses into an update.

    needs: the ways of nudging that it asks of a bench.
    """

    name: ClassVar[str]
    needs: frozenset[NudgeKind]

    @abstractmethod
    def process(self, example: Example) -> Process:
        """Yield measurements, be sent their responses, return the update."""

    def plan(self, block: Block) -> BlockPlan | None:  # noqa: ARG002 - the answer of a rule without one
        """Return a block of steps as plain arrays, or None where the rule has to be run step by step."""
        return None
