"""What may be wrong with a bench's wires and parts: one hypothesis is a set of faults, as plain data.

A hypothesis says for every meter channel which node it reads, for every source lead where it is, for every tunable
branch whose control line turns it, and which branches are not what is listed. Exchanges compose, so that three leads
mixed in a ring are two exchanges; equal hypotheses are equal however they were come by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import inf, log


class Part(Enum):
    """What a branch may be instead of what is listed."""

    OPEN = "open"
    SHORT = "short"
    WRONG = "wrong"  # another value, but it follows its setting
    STUCK = "stuck"  # it does not move when it is set


class Move(Enum):
    """One fault more, as the search tries it."""

    READS = "reads"  # two meter leads exchanged
    DRIVES = "drives"  # two source leads
    LINES = "lines"  # two control lines
    UNREAD = "unread"  # a meter lead pulled
    UNDRIVEN = "undriven"  # a source lead pulled
    MISREAD = "misread"  # a meter lead at another node, none in its place
    MISDRIVEN = "misdriven"  # a source lead
    PART = "part"
    UNGROUNDED = "ungrounded"  # all branches from a node to ground
    MIXED = "mixed"  # all meter leads anew


NOTHING = -1  # what a pulled lead is at


@dataclass(frozen=True)
class Hypothesis:
    """A set of faults.

    reads: the node number that each meter channel reads; drives: at whose place each lead is, or from the number of
    leads on, at which node; NOTHING: pulled. lines: whose control line turns each tunable branch. parts: branch numbers
    and what they are, in order.
    """

    reads: tuple[int, ...]
    drives: tuple[int, ...]
    lines: tuple[int, ...]
    parts: tuple[tuple[int, Part], ...] = ()

    def exchanged(self, what: Move, first: int, second: int) -> Hypothesis:
        """Return it with what stands at two places exchanged."""
        listed = list(getattr(self, what.value))
        listed[first], listed[second] = listed[second], listed[first]
        return replace(self, **{what.value: tuple(listed)})

    def placed(self, what: Move, place: int, at: int = NOTHING) -> Hypothesis:
        """Return it with one meter (READS) or source (DRIVES) lead somewhere else, or pulled."""
        listed = list(getattr(self, what.value))
        listed[place] = at
        return replace(self, **{what.value: tuple(listed)})

    def with_part(self, branch: int, part: Part | None) -> Hypothesis:
        """Return it with a branch that is something else, or as listed."""
        kept = {number: kind for number, kind in self.parts if number != branch}
        if part is not None:
            kept[branch] = part
        return replace(self, parts=tuple(sorted(kept.items())))

    def part(self, branch: int) -> Part | None:
        """Return what a branch is, None: as listed."""
        return dict(self.parts).get(branch)


@dataclass(frozen=True)
class Places:
    """Where faults can be: the faultless hypothesis, and what groups branches. grounds: branches by node to ground."""

    faultless: Hypothesis
    tunable: tuple[int, ...]
    n_branches: int
    n_nodes: int
    grounds: tuple[tuple[int, ...], ...]

    def ln_prior(self, hypothesis: Hypothesis) -> float:
        """Return the logarithm of how probable a hypothesis is before anything is measured, against the faultless."""
        plain, total = self.faultless, 0.0
        for what, rate, pulled in (("reads", 0.1, 0.05), ("drives", 0.1, 0.05), ("lines", 0.1, 0.0)):
            now, before = getattr(hypothesis, what), getattr(plain, what)
            gone = sum(place == NOTHING for place in now)
            if gone:
                total += gone * log(pulled / len(now)) if pulled else -inf
            n_moved = len(displaced(before, now))
            total += n_moved * log(_MISPLACED / (len(now) * self.n_nodes)) if n_moved else 0.0
            n_pairs = len(now) * (len(now) - 1) / 2
            total += sum(len(ring) - 1 for ring in rings(before, now)) * (log(rate / n_pairs) if n_pairs else 0.0)
        chosen = dict(hypothesis.parts)
        for group in self.grounds:
            if len(group) > 1 and all(chosen.get(branch) is Part.OPEN for branch in group):
                total += log(0.05 / len(self.grounds))
                chosen = {branch: kind for branch, kind in chosen.items() if branch not in group}
        for kind in chosen.values():
            places = len(self.tunable) if kind is Part.STUCK else self.n_branches
            total += log(_RATES[kind] / places)
        return total

    def reduced(self, hypothesis: Hypothesis) -> Iterator[Hypothesis]:
        """Yield every hypothesis with one fault less."""
        for what in (Move.READS, Move.DRIVES, Move.LINES):
            now, before = getattr(hypothesis, what.value), getattr(self.faultless, what.value)
            for ring in rings(before, now):
                for i, first in enumerate(ring):
                    for second in ring[:i]:
                        yield hypothesis.exchanged(what, first, second)
            for place in displaced(before, now):
                yield hypothesis.placed(what, place, before[place])
            for place, value in enumerate(now):
                if value == NOTHING:
                    missing = next(one for one in before if one not in now) if before[place] in now else before[place]
                    listed = (*now[:place], missing, *now[place + 1 :])
                    yield replace(hypothesis, **{what.value: listed})
        for branch, _ in hypothesis.parts:
            yield hypothesis.with_part(branch, None)


_MISPLACED = 0.05
_RATES = {Part.OPEN: 0.1, Part.SHORT: 0.1, Part.WRONG: 0.1, Part.STUCK: 0.03}  # a bench, before it is looked at


def rings(before: Sequence[int], now: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the places that exchanged what they hold among themselves, ring by ring."""
    where = {value: place for place, value in enumerate(before)}
    seen: set[int] = set()
    found = []
    for start in range(len(now)):
        ring: list[int] = []
        place: int | None = start
        while place is not None and place not in seen and now[place] != before[place]:
            seen.add(place)
            ring.append(place)
            place = where.get(now[place])
        if len(ring) > 1 and place == start:
            found.append(tuple(ring if len(ring) > 2 else sorted(ring)))
    return found


def displaced(before: Sequence[int], now: Sequence[int]) -> list[int]:
    """Return the places that hold what they should not, but are neither empty nor in a ring."""
    if before == now:
        return []
    whole = {place for ring in rings(before, now) for place in ring}
    changed = (place for place, pair in enumerate(zip(before, now, strict=True)) if pair[0] != pair[1])
    return [place for place in changed if now[place] != NOTHING and place not in whole]
