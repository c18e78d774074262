"""What a check could not have noticed: faults whose effect on these readings is too small to be told from nothing."""

from __future__ import annotations

from math import log

import numpy as np

from calibration.wiring.faults import SURE
from calibration.wiring.hypothesis import Move, Part
from calibration.wiring.model import Fit, Observed, around
from calibration.wiring.screen import Family, Screen

_TWICE = log(2.0)
_KINDS = {
    Move.READS: "meter leads",
    Move.DRIVES: "source leads",
    Move.LINES: "control lines",
    Move.UNREAD: "meter lead pulled",
    Move.UNDRIVEN: "source lead pulled",
    Part.OPEN: "open",
    Part.SHORT: "short",
    Part.STUCK: "stuck",
}


def unseen(observed: Observed, fitted: Fit) -> dict[str, list[list[str]]]:
    """Return, by the kind of fault, where one more would not have been named: names of nodes or branches.

    `twice` and `half`: branches whose conductance could be so much off. A fault is named if the readings that it
    would bring speak for it more than its rarity speaks against it, by 20 to 1; here without noise.
    """
    screen = Screen(observed, fitted.hypothesis, fitted.belief, *around(observed, fitted), fitted.point)
    found: dict[str, list[list[str]]] = {}
    for family in screen.families():
        kind = _KINDS.get(family.part or family.move)
        if kind is None:
            continue
        places = [_names(observed, family, number) for number in _hidden(observed, fitted, family)]
        if places:
            found[kind] = places
    rarity = -observed.places.ln_prior(observed.places.faultless.with_part(0, Part.WRONG))
    branches = [branch.name for branch in observed.network.branches]
    for name, ln_factor in (("twice", _TWICE), ("half", -_TWICE)):
        hidden = 0.5 * screen.effect_of(ln_factor) < rarity + log(SURE)
        chosen = [
            [branches[branch]] for branch in np.flatnonzero(hidden).tolist() if fitted.hypothesis.part(branch) is None
        ]
        if chosen:
            found[name] = chosen
    return found


def _hidden(observed: Observed, fitted: Fit, family: Family) -> list[int]:
    if not len(family.where):
        return []
    places = observed.places
    rarity = places.ln_prior(fitted.hypothesis) - places.ln_prior(family.made(family.where[0]))
    return [number for number, effect in enumerate(family.effect.tolist()) if 0.5 * effect < rarity + log(SURE)]


def _names(observed: Observed, family: Family, number: int) -> list[str]:
    nodes, where = observed.network.nodes, family.where[number]
    if family.move in (Move.READS, Move.UNREAD):
        return [nodes[observed.nodes[place]] for place in where]
    if family.move in (Move.DRIVES, Move.UNDRIVEN):
        return [observed.leads[place].name for place in where]
    if family.move is Move.LINES:
        return [observed.network.tunable_names[place] for place in where]
    return [observed.network.branches[place].name for place in where]
