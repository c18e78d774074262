"""A network with its sources connected, laid out in flat arrays: what the sparse Newton method takes, and no matrix.

Nodes are numbered as in the network, ground after the last. v = S u + D x as in circuit.py; here S is one number for
each node, and D the few nodes that a stiff source holds or ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from freqprop_lab.elements import AntiparallelDiodes, Diode, Junction, Mosfet, Store
from freqprop_lab.names import shown
from freqprop_lab.network import Network
from freqprop_lab.values import Array
from simulated_bench.connections import CircuitError, Connection, floating, tied
from simulated_bench.fronts import Fronts, fills_up, planned

Indices = NDArray[np.intp]
_Numbers = NDArray[np.uint32]
_LAWS = (Diode, AntiparallelDiodes, Junction, Mosfet)  # after the resistors, in the order of `Wiring.ends`


class Wiring(NamedTuple):
    """The branches, by kind: resistors, diodes, antiparallel pairs, junctions, transistors.

    free: (node + 1,). ends: where each kind ends, (5,). plus, minus: nodes, (branch,). theta: (4, branch), as the
    elements have them. own: of a resistor, the source in series with it, or -1, (branch,). rise_node, rise_source,
    rise: a source adds so much to a node's voltage, (rise,). push_free, push_source, push: and to what enters at a free
    voltage, A, (push,). place, branch: where in its front each branch stands off the diagonal, and 2 branch (+ 1), by
    fronts, which begin at `begin`, (front + 1,).
    """

    free: _Numbers
    ends: NDArray[np.intp]
    plus: _Numbers
    minus: _Numbers
    theta: Array
    own: NDArray[np.intp]
    rise_node: _Numbers
    rise_source: _Numbers
    rise: Array
    push_free: _Numbers
    push_source: _Numbers
    push: Array
    place: _Numbers
    branch: _Numbers
    begin: _Numbers


class Factor(NamedTuple):
    """L and U by fronts, rows of the pivots over all rows of the front, and the pivots, S; and working space."""

    lower: Array
    upper: Array
    pivot: Array
    front: Array
    stack: Array


class State(NamedTuple):
    """Voltages of the nodes, V, high and low, (node + 1,); currents, A, (branch,); slopes, S, (2 branch,).

    F: what leaves too much, and scale: the sum of all there, A, (free + 1,).
    """

    high: Array
    low: Array
    currents: Array
    slopes: Array
    F: Array
    scale: Array


@dataclass(frozen=True)
class Flat:
    """A network laid out. numbers: which branch of the network each is, -1 - i: the series resistance of connection i.

    tunable: where the tunable branches stand among all, (tunable,); transistors: the transistors, in the network's
    order. root: node of each free voltage, in the order of elimination, (free,). names: of those nodes.
    """

    network: Network
    wiring: Wiring
    fronts: Fronts
    numbers: Indices
    tunable: Indices
    transistors: Indices
    root: Indices

    @property
    def n_free(self) -> int:
        """Number of node voltages that are solved for."""
        return len(self.root)

    def named(self, free: NDArray[np.bool_]) -> list[str]:
        """Return the names of the nodes whose voltages these are, (free,)."""
        nodes = np.flatnonzero(np.append(free, False)[self.wiring.free[:-1]])
        return [self.network.nodes[i] for i in nodes]

    def entries(self) -> tuple[Indices, Indices, Indices]:
        """Return where each slope stands off the diagonal of K, negated: row, column (free, in order), and 2 branch."""
        i, j = (self.wiring.free[ends].astype(np.intp) for ends in (self.wiring.plus, self.wiring.minus))
        inner = np.flatnonzero((i < self.n_free) & (j < self.n_free) & (i != j))
        rows, columns = np.concatenate([j[inner], i[inner]]), np.concatenate([i[inner], j[inner]])
        return rows, columns, np.concatenate([2 * inner, 2 * inner + 1])


def empty_state(flat: Flat) -> State:
    """Return the arrays of a state, all zero."""
    n_nodes, n_branches, n = len(flat.wiring.free), len(flat.wiring.plus), flat.n_free
    return State(*(np.zeros(size) for size in (n_nodes, n_nodes, n_branches, 2 * n_branches, n + 1, n + 1)))


def knows(network: Network) -> bool:
    """Say whether every branch has a known law: resistors, diodes, pairs, junctions, transistors; capacitors."""
    return not unknown(network)


def unknown(network: Network) -> list[str]:
    """Return the branches whose law is none of these, by name."""
    return [
        branch.name
        for branch in network.branches
        if not (branch.element.linear or type(branch.element) in _LAWS or isinstance(branch.element, Store))
    ]


def laid_out(network: Network, connections: Sequence[Connection], gauge: int | None) -> Flat:
    """Lay a network out. Raises CircuitError for other branches, parts that float, and loops of stiff sources."""
    if strange := unknown(network):
        raise CircuitError(
            f"branch {shown(strange)} has a law that the sparse solver does not know; take solver: dense"
        )
    n_nodes = len(network.nodes)
    number_of, roots, D = tied(network, connections, gauge)
    behind = [i for i, each in enumerate(connections) if each.kind == "voltage" and each.resistance]
    kind = np.array([_kind(branch.element) for branch in network.branches], dtype=np.intp)
    by_kind = [np.flatnonzero(kind == k) for k in range(len(_LAWS) + 1)]
    numbers = np.concatenate([by_kind[0], -1 - np.array(behind, dtype=np.intp), *by_kind[1:]]).astype(np.intp)
    ends = np.cumsum([len(by_kind[0]) + len(behind), *(len(each) for each in by_kind[1:])])
    own = numbers >= 0
    plus, minus = np.empty(len(numbers), dtype=np.intp), np.empty(len(numbers), dtype=np.intp)
    plus[own], minus[own] = network.plus[numbers[own]], network.minus[numbers[own]]
    plus[~own], minus[~own] = ([getattr(connections[i], end) for i in behind] for end in ("plus", "minus"))
    theta = np.zeros((4, len(numbers)))
    for column, number in enumerate(numbers.tolist()):
        values = network.branches[number].theta if number >= 0 else (1 / connections[-1 - number].resistance,)
        theta[: len(values), column] = values
    natural = np.append(number_of, -1)
    first, second = natural[plus], natural[minus]
    inner = (first >= 0) & (second >= 0) & (first != second)
    _refuse_floating(network, number_of, first, second, len(roots))
    pairs = np.unique(np.sort(np.stack([first[inner], second[inner]]), axis=0), axis=1)
    if fills_up(pairs[0], pairs[1], len(roots)):
        raise CircuitError(
            f"{len(roots)} nodes, joined as they are, are too many for the sparse solver of nonlinear networks: the "
            "factor of its matrix would be all but dense. Networks with short ways, grids and layers, may be larger"
        )
    fronts, order = planned(pairs[0], pairs[1], len(roots))
    place_of = np.empty(len(roots) + 1, dtype=np.intp)
    place_of[order], place_of[-1] = np.arange(len(roots)), len(roots)
    free = place_of[natural]
    entering = _pushes(connections, free)
    place, branch, begin = _places(fronts, free[plus], free[minus], len(roots))
    rises = sparse.coo_array(D)
    place_of_number = np.full(len(network.branches), -1)
    place_of_number[numbers[own]] = np.flatnonzero(own)
    wiring = Wiring(
        free.astype(np.uint32),
        ends.astype(np.intp),
        (plus % (n_nodes + 1)).astype(np.uint32),
        (minus % (n_nodes + 1)).astype(np.uint32),
        theta,
        np.where(own, -1, -1 - numbers),
        rises.row.astype(np.uint32),
        rises.col.astype(np.uint32),
        rises.data.astype(np.float64),
        *entering,
        place,
        branch,
        begin,
    )
    return Flat(
        network,
        wiring,
        fronts,
        numbers,
        place_of_number[network.tunable],
        np.arange(ends[3], ends[4]),
        roots[order],
    )


def _kind(element: object) -> int:
    """Return the place of a branch's law, 0 for resistors, -1 for what carries no direct current."""
    if type(element) in _LAWS:
        return 1 + _LAWS.index(type(element))
    return -1 if isinstance(element, Store) else 0


def _pushes(connections: Sequence[Connection], free: Indices) -> tuple[_Numbers, _Numbers, Array]:
    """Return where current sources enter: the free voltage, the source, and the sign."""
    n_free = int(free.max(initial=0)) if len(free) else 0
    found = [
        (free[node], number, sign)
        for number, each in enumerate(connections)
        if each.kind == "current"
        for node, sign in ((each.plus, 1.0), (each.minus, -1.0))
        if free[node] < n_free
    ]
    table = np.array(found, dtype=np.float64).reshape(-1, 3)
    return table[:, 0].astype(np.uint32), table[:, 1].astype(np.uint32), np.ascontiguousarray(table[:, 2])


def _places(fronts: Fronts, i: Indices, j: Indices, n: int) -> tuple[_Numbers, _Numbers, _Numbers]:
    """Return where each branch between the free voltages i and j stands in its front, (branch,) each."""
    inner = np.flatnonzero((i < n) & (j < n) & (i != j))
    row, column = np.concatenate([j[inner], i[inner]]), np.concatenate([i[inner], j[inner]])
    which = np.concatenate([2 * inner, 2 * inner + 1])
    front_of = np.repeat(np.arange(len(fronts.first)), fronts.pivots.astype(np.intp))
    front = front_of[np.minimum(row, column)] if len(row) else row
    starts = fronts.start.astype(np.intp)
    lengths = starts[1:] - starts[:-1]
    keys = np.repeat(np.arange(len(fronts.first)), lengths) * (n + 1) + fronts.rows.astype(np.intp)
    first, pivots = fronts.first.astype(np.intp)[front], fronts.pivots.astype(np.intp)[front]
    local = []
    for unknown_ in (row, column):
        below = np.searchsorted(keys, front * (n + 1) + unknown_) - starts[front]
        local.append(np.where(unknown_ < first + pivots, unknown_ - first, pivots + below))
    place = local[0] * (pivots + lengths[front]) + local[1]
    by_front = np.argsort(front, kind="stable")
    begin = np.searchsorted(front[by_front], np.arange(len(fronts.first) + 1))
    return place[by_front].astype(np.uint32), which[by_front].astype(np.uint32), begin.astype(np.uint32)


def _refuse_floating(network: Network, number_of: Indices, first: Indices, second: Indices, n: int) -> None:
    if not n:
        return
    inner = (first >= 0) & (second >= 0)
    graph = sparse.coo_array((np.ones(inner.sum()), (first[inner], second[inner])), shape=(n, n))
    _, part = csgraph.connected_components(graph, directed=False)
    held = np.zeros(part.max() + 1, dtype=bool)
    held[part[np.maximum(first, second)[(first >= 0) != (second >= 0)]]] = True
    if not held.all():
        nodes = np.flatnonzero(np.append(~held[part], False)[number_of])
        raise floating([network.nodes[i] for i in nodes])
