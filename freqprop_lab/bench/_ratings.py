"""What the parts on the table bear, held against the worst that a run could do to them, before anything is driven.

The worst case needs no simulation: in a network of resistors and diodes every node lies between the lowest and the
highest voltage that the sources put on it, whatever the conductances are. So no two nodes are further apart than that
span, and no element of conductance G carries more than G times it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freqprop_lab.bench._bench import Bench
from freqprop_lab.config import RatingsSection
from freqprop_lab.values import Array

_REMEDY = "lower scales.voltage, or bound the conductances lower"


@dataclass(frozen=True)
class Margin:
    """One rating: the worst that could happen, what is allowed, and where. remedy: what to change if it is too much."""

    what: str
    worst: float
    allowed: float
    unit: str
    where: str
    remedy: str
    at_least: bool = False

    @property
    def is_kept(self) -> bool:
        """True where the worst case stays within the rating."""
        beyond = self.allowed - self.worst if self.at_least else self.worst - self.allowed
        return beyond <= 1e-9 * abs(self.allowed)


def margins(bench: Bench, ratings: RatingsSection, levels: Array, highest: Array) -> list[Margin]:
    """Return the margins of a run: levels (example, input), V or A; highest: conductances in reach, S, (tunable,).

    Only ratings that the bench file gives are looked at.
    """
    low, high = bench.source_span(levels, ratings.nudge)
    span = high - low
    worst = int(highest.argmax()) if len(highest) else 0
    largest = float(highest[worst]) if len(highest) else 0.0
    name = bench.network.tunable_names[worst] if len(highest) else "-"
    everywhere = f"between any two nodes ({low:.4g} to {high:.4g} V)"
    found = []
    if ratings.rails is not None:
        below, above = ratings.rails
        remedy = "move common_mode, or lower scales.voltage or ratings.nudge"
        found.append(Margin("lowest terminal", low, below, "V", "the lower rail", remedy, at_least=True))
        found.append(Margin("highest terminal", high, above, "V", "the upper rail", remedy))
    if ratings.voltage is not None:
        remedy = f"lower scales.voltage to {_share(ratings.voltage, span):.3g} of what it is"
        found.append(Margin("voltage across an element", span, ratings.voltage, "V", everywhere, remedy))
    if ratings.current is not None:
        where = f"branch {name} at {_ohms(largest)}"
        found.append(Margin("current in an element", largest * span, ratings.current, "A", where, _REMEDY))
    if ratings.power is not None:
        where = f"branch {name} at {_ohms(largest)}"
        found.append(Margin("power in an element", largest * span**2, ratings.power, "W", where, _REMEDY))
    return found


def rated_conductance(bench: Bench, ratings: RatingsSection, levels: Array) -> float:
    """Return the largest conductance, S, at which no element exceeds its current or power in the worst case.

    2.5 mA at 5 V leaves a potentiometer of 10 kOhm no less than 2 kOhm: 5:1 of its range.
    """
    low, high = bench.source_span(levels, ratings.nudge)
    span = high - low
    if span <= 0:
        return np.inf
    current = np.inf if ratings.current is None else ratings.current / span
    power = np.inf if ratings.power is None else ratings.power / span**2
    return float(min(current, power))


def _share(allowed: float, worst: float) -> float:
    return allowed / worst if worst > 0 else 1.0


def _ohms(conductance: float) -> str:
    return f"{1 / conductance:.4g} Ohm" if conductance > 0 else "no conductance at all"
