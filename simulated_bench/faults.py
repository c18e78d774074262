"""What somebody did wrong with wires and parts: leads exchanged, opens, shorts, wrong values, mishaps in mid-run.

The bench goes on believing its file. Here is what is true instead; both the numeric bench and the virtual lab take it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from freqprop_lab.config import Document, FileError, Number, Ohms, Section
from freqprop_lab.elements import ELEMENTS
from freqprop_lab.names import nearest
from freqprop_lab.network import GROUND, Branch, Network
from freqprop_lab.values import Array
from simulated_bench.circuit import Connection

LEAKAGE = 1e-12  # S, of a branch that is open

Pair = Annotated[list[str], Field(min_length=2, max_length=2)]
Factor = Annotated[Number, Field(gt=0)]


class FaultsSection(Section):
    """Faults of the wiring, nodes and branches by name.

    swapped_reads, swapped_drives: nodes whose meter or source leads are exchanged; swapped_elements: tunable branches
    whose control lines are. open: branches that conduct nothing; shorted: those with `short` across them; wrong: by how
    much the true conductance is larger than is believed. ungrounded: nodes whose branches to ground are missing;
    unread: nodes whose meter lead is pulled, so that its channel reads 0 V.
    """

    swapped_reads: list[Pair] = []
    swapped_drives: list[Pair] = []
    swapped_elements: list[Pair] = []
    open: list[str] = []
    shorted: list[str] = []
    short: Annotated[Ohms, Field(gt=0)] = 0.1
    wrong: dict[str, Factor] = {}
    ungrounded: list[str] = []
    unread: list[str] = []


class EventSection(Section):
    """What happens in mid-run, once so many records have been taken: one lead pulled, one branch open or stuck."""

    after: int = Field(ge=0)
    unread: str | None = None
    open: str | None = None
    stuck: str | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> EventSection:
        if (self.unread, self.open, self.stuck).count(None) != 2:
            raise ValueError("an event is one of unread, open, stuck, with the node or branch that it befalls")
        return self


class FaultsWithEvents(FaultsSection):
    """Faults of which some come later, in `events`."""

    events: list[EventSection] = []

    def by(self, records: int) -> FaultsWithEvents:
        """Return the faults that there are once so many records have been taken; what is stuck is not among them."""
        due = [event for event in self.events if records >= event.after]
        if not due:
            return self
        opened = [event.open for event in due if event.open is not None]
        pulled = [event.unread for event in due if event.unread is not None]
        return self.model_copy(update={"open": [*self.open, *opened], "unread": [*self.unread, *pulled]})

    def stuck_by(self, records: int) -> list[str]:
        """Return the tunable branches that are stuck once so many records have been taken."""
        return [event.stuck for event in self.events if event.stuck is not None and records >= event.after]


@dataclass(frozen=True)
class TunableFaults:
    """What faults make of the tunable branches, each (tunable,).

    source: number of the element whose control line turns each branch. factor: of the conductance; across: S, beside
    it; opened: conducts nothing.
    """

    source: NDArray[np.intp]
    factor: Array
    across: Array
    opened: NDArray[np.bool_]

    def conductances(self, elements: Array) -> Array:
        """Return what the branches conduct, S, from what the elements in them have, S."""
        return np.where(self.opened, LEAKAGE, elements * self.factor + self.across)


def of_tunable(network: Network, faults: FaultsSection) -> TunableFaults | None:
    """Return what faults make of the tunable branches of a network; None: nothing."""
    names = network.tunable_names
    gone = set(faults.open) | set(_to_ground(network, faults.ungrounded))
    if not (gone or faults.swapped_elements or faults.wrong or faults.shorted):
        return None
    found = TunableFaults(
        exchanged(names, faults.swapped_elements),
        np.array([faults.wrong.get(name, 1.0) for name in names]),
        np.array([1 / faults.short if name in faults.shorted else 0.0 for name in names]),
        np.array([name in gone for name in names], dtype=np.bool_),
    )
    moved = (found.source != np.arange(len(names))).any()
    return found if moved or (found.factor != 1).any() or found.across.any() or found.opened.any() else None


def with_faults(network: Network, faults: FaultsSection) -> Network:
    """Return the network with its fixed branches as faults leave them; tunable ones are `of_tunable`'s."""
    gone = set(faults.open) | set(_to_ground(network, faults.ungrounded))
    if not (gone or faults.shorted or faults.wrong):
        return network
    return replace(network, branches=tuple(_hurt(branch, gone, faults) for branch in network.branches))


def _hurt(branch: Branch, gone: Collection[str], faults: FaultsSection) -> Branch:
    if branch.tunable:
        return branch
    if branch.name in gone:
        return replace(branch, element=ELEMENTS["resistor"], theta=(LEAKAGE,))
    if branch.element.linear:
        siemens = branch.theta[0] * faults.wrong.get(branch.name, 1.0)
        return replace(branch, theta=(siemens + (1 / faults.short if branch.name in faults.shorted else 0.0),))
    if branch.name in faults.shorted:  # beside the short nothing is left of a junction
        return replace(branch, element=ELEMENTS["resistor"], theta=(1 / faults.short,))
    return branch


def _to_ground(network: Network, nodes: Collection[str]) -> list[str]:
    wanted = set(nodes)
    if not wanted:
        return []
    return [
        branch.name
        for branch in network.branches
        if (branch.plus == GROUND and branch.minus in wanted) or (branch.minus == GROUND and branch.plus in wanted)
    ]


def exchanged(names: Sequence[str], pairs: Iterable[Sequence[str]]) -> NDArray[np.intp]:
    """Return which of the names stands in each one's place once the pairs have been exchanged, one after the other."""
    order, place = np.arange(len(names), dtype=np.intp), {name: number for number, name in enumerate(names)}
    for one, other in pairs:
        first, second = place[one], place[other]
        order[[first, second]] = order[[second, first]]
    return order


def with_drives_exchanged(
    connections: Sequence[Connection], nodes: Sequence[str], pairs: Iterable[Sequence[str]]
) -> list[Connection]:
    """Return the connections with the leads at each pair of nodes exchanged; series resistors go with their leads."""
    to = np.append(exchanged(nodes, pairs), -1)
    return [replace(wired, plus=int(to[wired.plus]), minus=int(to[wired.minus])) for wired in connections]


def check_faults(
    faults: FaultsSection, network: Network, driven: Collection[str], read: Collection[str], document: Document
) -> None:
    """Raise FileError, with line and nearest name, for a name that is not there or can't have the fault.

    driven, read: the nodes that a source or meter channel is wired to. document: the section around `faults`.
    """
    branches = {branch.name: None for branch in network.branches}
    resistors = {branch.name: None for branch in network.branches if branch.element.linear}
    ends = [(branch.plus, branch.minus) for branch in network.branches]
    grounded = {node: None for pair in ends if GROUND in pair for node in pair if node != GROUND}
    tunable = dict.fromkeys(network.tunable_names)
    places: list[tuple[str, Iterable[str], Collection[str], str]] = [
        ("swapped_reads", _flat(faults.swapped_reads), read, "node that a meter reads"),
        ("swapped_drives", _flat(faults.swapped_drives), driven, "node that a source drives"),
        ("swapped_elements", _flat(faults.swapped_elements), tunable, "tunable branch"),
        ("open", faults.open, branches, "branch"),
        ("shorted", faults.shorted, branches, "branch"),
        ("wrong", faults.wrong, resistors, "resistor"),
        ("ungrounded", faults.ungrounded, grounded, "node with a branch to ground"),
        ("unread", faults.unread, read, "node that a meter reads"),
    ]
    if isinstance(faults, FaultsWithEvents):
        for event in faults.events:
            places.append(("events", _given(event.unread), read, "node that a meter reads"))
            places.append(("events", _given(event.open), branches, "branch"))
            places.append(("events", _given(event.stuck), tunable, "tunable branch"))
    for field, names, known, what in places:
        for name in names:
            if name not in known:
                message = f'faults.{field}: no {what} "{name}".{_meant(name, known)}'
                raise FileError(document.path, message, document.line(("faults", field)))


def _meant(name: str, known: Collection[str]) -> str:
    """Say which name is meant, as the end of a message: a branch from n1 to n0 may be called n0-n1."""
    turned = "-".join(reversed(name.split("-")))
    return f' Did you mean "{turned}"?' if turned in known else nearest(name, known)


def _flat(pairs: Iterable[Sequence[str]]) -> list[str]:
    return [name for pair in pairs for name in pair]


def _given(name: str | None) -> list[str]:
    return [] if name is None else [name]
