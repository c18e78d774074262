"""From hypotheses and their evidence to faults in words: what is sure, what can't be told apart, what can't be seen.

A fault is named once all that was tried makes it at least 20 times as likely as not. Where hypotheses that name other
faults are nearly as likely, all of them are told, with what to look at to decide; nobody guesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration._numbers import measure
from calibration.wiring.hypothesis import NOTHING, Hypothesis, Move, Part, displaced, rings
from calibration.wiring.model import Fit, Observed
from freqprop_lab.network import GROUND

SURE = 20.0  # to one: the odds from which a fault is named
_CAP = 1e9
_NEGLIGIBLE = 1e-9  # of probability
Key = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    kind: `meter leads`, `source leads`, `control lines`, `meter lead pulled`, `source lead pulled`, `meter lead
    misplaced`, `source lead misplaced`, `open`, `no ground`, `short`, `value` or `stuck`. where: names of the nodes or
    branches, of leads those that they should be on; of one that is misplaced also where it is.
    words: what to do about it, one sentence. look: what would decide, where it is not sure. odds: to one, after the
    readings; never above 1e9.
    """

    kind: str
    where: tuple[str, ...]
    words: str
    look: str
    odds: float = 0.0

    @property
    def key(self) -> Key:
        """What it is and where, without words."""
        return self.kind, self.where


@dataclass(frozen=True)
class Alternative:
    """One of several explanations that can't be told apart: faults, none of them sure, and how probable all that is."""

    faults: tuple[Fault, ...]
    probability: float


@dataclass(frozen=True)
class Names:
    """What channels are called, for words: of meters by node, of elements by branch."""

    meters: Mapping[str, str]
    elements: Mapping[str, str]


def told(observed: Observed, names: Names, fits: Sequence[Fit]) -> tuple[tuple[Fault, ...], tuple[Alternative, ...]]:
    """Return the faults that are sure, and the alternatives that can't be told apart: none, or at least two.

    fits: of all hypotheses that were tried, the likeliest first. What is less likely than not is not even a doubt.
    """
    weights = np.exp(np.array([one.ln_evidence for one in fits]) - fits[0].ln_evidence)
    weights /= weights.sum()
    named = [
        (named_in(observed, names, one), weight)
        for one, weight in zip(fits, weights.tolist(), strict=True)
        if weight > _NEGLIGIBLE
    ]
    probability: dict[Key, float] = {}
    for faults, weight in named:
        for fault in faults:
            probability[fault.key] = probability.get(fault.key, 0.0) + weight
    best = [replace(fault, odds=_odds(probability[fault.key])) for fault in named[0][0]]
    sure = tuple(fault for fault in best if fault.odds >= SURE)
    known = {fault.key for fault in sure}
    alternatives: dict[frozenset[Key], Alternative] = {}
    for faults, weight in named:
        rest = [fault for fault in faults if fault.key not in known]
        of = frozenset(fault.key for fault in rest)
        if of not in alternatives:
            rated = tuple(replace(fault, odds=_odds(probability[fault.key])) for fault in rest)
            alternatives[of] = Alternative(rated, 0.0)
        alternatives[of] = replace(alternatives[of], probability=alternatives[of].probability + weight)
    ranked = sorted(alternatives.values(), key=lambda one: -one.probability)
    kept = tuple(one for one in ranked if one.probability * SURE >= ranked[0].probability)
    return (sure, kept) if len(kept) > 1 and kept[0].faults else (sure, ())


def _odds(share: float) -> float:
    return min(share / max(1 - share, 1 / _CAP), _CAP)


def named_in(observed: Observed, names: Names, fitted: Fit) -> list[Fault]:
    """Return the faults that a hypothesis consists of."""
    hypothesis = fitted.hypothesis
    return [
        *_leads(observed, names, hypothesis),
        *_lines(observed, names, hypothesis),
        *_parts(observed, fitted),
    ]


def _leads(observed: Observed, names: Names, hypothesis: Hypothesis) -> list[Fault]:
    nodes, found = observed.network.nodes, []
    plain = observed.places.faultless
    at = [nodes[node] for node in observed.nodes]
    meters = [f"{node} ({names.meters[node]})" for node in at]
    driven = [GROUND if lead.plus < 0 else nodes[lead.plus] for lead in observed.leads]
    sources = [f"{node} ({lead.name})" for node, lead in zip(driven, observed.leads, strict=True)]
    for what, kind, called, places, reached in (
        (Move.READS, "meter", meters, at, [nodes[node] for node in hypothesis.reads]),
        (Move.DRIVES, "source", sources, driven, [(*driven, *nodes)[spot] for spot in hypothesis.drives]),
    ):
        now, before = getattr(hypothesis, what.value), getattr(plain, what.value)
        for ring in rings(before, now):
            where = tuple(places[place] for place in sorted(ring))
            listed = [called[place] for place in ring]
            look = f"pull the {kind} lead of {listed[0]} and run again"
            if len(ring) == 2:
                words = f"the {kind} leads of {listed[0]} and {listed[1]} are swapped: exchange them at the board"
            else:
                moves = ", ".join(f"that of {called[place]} is at {reached[place]}" for place in ring)
                words = f"{len(ring)} {kind} leads are mixed up: {moves}; put each where it belongs"
            found.append(Fault(f"{kind} leads", where, words, look))
        for place in displaced(before, now):
            look = f"pull the {kind} lead of {called[place]} and run again"
            words = f"the {kind} lead of {called[place]} is at {reached[place]} instead: put it where it belongs"
            found.append(Fault(f"{kind} lead misplaced", (places[place], reached[place]), words, look))
        for place, value in enumerate(now):
            if value == NOTHING:
                does = "reads nothing" if kind == "meter" else "drives nothing"
                words = f"the {kind} lead of {called[place]} {does}: it is pulled or broken; push it in at both ends"
                look = f"follow the {kind} lead of {called[place]} by hand"
                found.append(Fault(f"{kind} lead pulled", (places[place],), words, look))
    return found


def _lines(observed: Observed, names: Names, hypothesis: Hypothesis) -> list[Fault]:
    tunable, found = observed.network.tunable_names, []
    for ring in rings(observed.places.faultless.lines, hypothesis.lines):
        where = [tunable[place] for place in ring]
        called = [f"{name} ({names.elements.get(name, name)})" for name in where]
        if len(ring) == 2:
            words = (
                f"the control lines of {called[0]} and {called[1]} are swapped: exchange them, or their names in wiring"
            )
        else:
            moves = (
                f"{tunable[place]} is turned by {names.elements.get(tunable[line], tunable[line])}"
                for place, line in ((place, hypothesis.lines[place]) for place in ring)
            )
            words = f"{len(ring)} control lines are mixed up: {', '.join(moves)}; put each where it belongs"
        look = f"set {where[0]} alone to another value and see at which terminals the resistance changes"
        found.append(Fault("control lines", tuple(tunable[place] for place in sorted(ring)), words, look))
    return found


def _parts(observed: Observed, fitted: Fit) -> list[Fault]:
    branches, found = observed.network.branches, []
    opened = {branch for branch, part in fitted.hypothesis.parts if part is Part.OPEN}
    for group in observed.places.grounds:
        if not opened.issuperset(group):
            continue
        opened -= set(group)
        ends = branches[group[0]]
        node = ends.minus if ends.plus == GROUND else ends.plus
        listed = " and ".join(branches[one].name for one in group)
        words = f"{node} is not connected to ground: {listed} conducts nothing; put the missing wire or resistor in"
        look = f"measure the resistance between {node} and ground, everything switched off"
        found.append(Fault("no ground", (node,), words, look))
    for branch, part in fitted.hypothesis.parts:
        name = branches[branch].name
        between = f"{name} between {branches[branch].plus} and {branches[branch].minus}"
        look = f"measure across {name} with an ohmmeter, everything switched off"
        if part is Part.OPEN and branch in opened:
            words = f"{between} is open: press it into the board, or look for a broken leg"
            found.append(Fault("open", (name,), words, look))
        elif part is Part.SHORT:
            ohms = measure(_two_digits(1 / conductance(fitted, branch)[0]), "Ohm")
            words = (
                f"{between} is shorted ({ohms} or less): look for touching legs, a bridge of solder, a wire beside it"
            )
            found.append(Fault("short", (name,), words, look))
        elif part is Part.WRONG:
            found.append(Fault("value", (name,), f"{between} {_wrong_words(observed, fitted, branch)}", look))
        elif part is Part.STUCK:
            ohms = measure(_two_digits(1 / conductance(fitted, branch)[0]), "Ohm")
            words = (
                f"{between} does not move when it is set, it stays at about {ohms}: check its supply and control line"
            )
            found.append(Fault("stuck", (name,), words, look))
    return found


def conductance(fitted: Fit, branch: int) -> tuple[float, float]:
    """Return a branch's conductance in the last state, as it was before, S, and its relative standard uncertainty."""
    siemens = float(np.exp(fitted.belief.base[-1, branch] + fitted.point.shared[branch]))
    return siemens, float(fitted.doubt[branch])


def _wrong_words(observed: Observed, fitted: Fit, branch: int) -> str:
    siemens, doubt = conductance(fitted, branch)
    expected = float(np.exp(-fitted.belief.base[-1, branch]))
    ratio = 1 / siemens / expected
    percent = f"{abs(ratio - 1) * 100:.0f} % {'more' if ratio > 1 else 'less'}"
    tunable = observed.network.branches[branch].tunable
    where = f"{measure(_three_digits(expected), 'Ohm')} {'is set' if tunable else 'is listed'}"
    remedy = "look which part sits there" if tunable else "put the right resistor in, or correct the network's file"
    found = measure(_three_digits(1 / siemens), "Ohm")
    return f"is {found} where {where} ({percent}, known to {max(doubt * 100, 0.1):.2g} %): {remedy}"


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")
