"""How sources are connected to a network, and what stiff ones do to it: they tie nodes, and take the equations away.

Every node voltage is v = S u + D x, with u the free voltages and x the source values. This module knows no branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from freqprop_lab.names import shown
from freqprop_lab.network import GROUND, Network
from freqprop_lab.values import Array


class CircuitError(Exception):
    """The circuit has no solution, or none was found; the message names nodes, and the residual in amperes."""


@dataclass(frozen=True)
class Connection:
    """A source's two wires: node numbers (-1: ground), what it imposes, and its series resistance (Ohm, 0: stiff)."""

    plus: int
    minus: int
    kind: Literal["voltage", "current"]
    resistance: float = 0.0


def floating(names: Sequence[str]) -> CircuitError:
    """Return the error that names nodes which nothing ties to a known voltage."""
    named = shown(list(names))
    return CircuitError(
        f"node {named} lies in a part with no path to ground or to a driven node; add a branch, or drive it"
    )


def refuse_no_number(network: Network, connections: Sequence[Connection], sources: Array) -> None:
    """Raise CircuitError for a source without a finite value; sources: V or A, (..., source)."""
    finite = np.isfinite(sources)
    if not finite.all():
        number = int(np.flatnonzero(~finite.reshape(-1, len(connections)).all(axis=0))[0])
        connection = connections[number]
        ends = [(*network.nodes, GROUND)[node] for node in (connection.plus, connection.minus)]
        raise CircuitError(f"the {connection.kind} source between {ends[0]} and {ends[1]} has no finite value")


def eliminate(
    names: Sequence[str], connections: Sequence[Connection], gauge: int | None
) -> tuple[Array, Array, NDArray[np.intp]]:
    """Tie nodes that stiff voltages hold together: v = S u + D x. Returns S, D and the root node of each free u.

    Raises CircuitError for a loop of stiff voltages, which nothing determines or nothing obeys.
    """
    n_nodes, n_sources = len(names), len(connections)
    ties: dict[int, list[tuple[int, Array]]] = {node: [] for node in range(-1, n_nodes)}
    if gauge is not None:
        ties[-1].append((gauge, np.zeros(n_sources)))
        ties[gauge].append((-1, np.zeros(n_sources)))
    for number, connection in enumerate(connections):
        if connection.kind == "voltage" and not connection.resistance:
            rise = np.eye(n_sources)[number]
            ties[connection.minus].append((connection.plus, rise))
            ties[connection.plus].append((connection.minus, -rise))
    D, root_of = np.zeros((n_nodes + 1, n_sources)), np.full(n_nodes + 1, -2)
    roots: list[int] = []
    for node in range(-1, n_nodes):
        if root_of[node] != -2:
            continue
        root_of[node] = node
        if node >= 0:
            roots.append(node)
        frontier = [node]
        while frontier:
            here = frontier.pop()
            for other, rise in ties[here]:
                if root_of[other] == -2:
                    root_of[other], D[other] = node, D[here] + rise
                    frontier.append(other)
                elif not np.array_equal(D[other], D[here] + rise):
                    looped = shown([(*names, GROUND)[node] for node in (here, other)])
                    raise CircuitError(f"the stiff sources at {looped} form a loop; give one of them a resistance")
    S = (root_of[:n_nodes, None] == np.array(roots, dtype=int)).astype(np.float64)
    return S, D[:n_nodes], np.array(roots, dtype=np.intp)


def tied(
    network: Network, connections: Sequence[Connection], gauge: int | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], sparse.csr_array]:
    """Tie nodes that stiff voltages hold together: v = S u + D x. Returns S, D and the roots, nothing of it dense.

    S: number of the free voltage of each node, (node,), -1 where it is held. roots: node of each free u. D: (node,
    source). Only nodes with a stiff source have a say, and few have.
    """
    n_nodes, n_sources = len(network.nodes), len(connections)
    stiff = [each for each in connections if each.kind == "voltage" and not each.resistance]
    held = sorted({node for each in stiff for node in (each.plus, each.minus)} | {-1 if gauge is None else gauge})
    held = [node for node in held if node >= 0]
    place = {-1: -1} | {node: number for number, node in enumerate(held)}
    among = [
        Connection(place[each.plus], place[each.minus], each.kind)
        if each.kind == "voltage" and not each.resistance
        else Connection(-1, -1, "current")
        for each in connections
    ]
    S, D, roots = eliminate([network.nodes[i] for i in held], among, None if gauge is None else place[gauge])
    root = np.arange(n_nodes)
    root[held] = -1
    number, which = np.nonzero(S)
    root[np.array(held, dtype=np.intp)[number]] = np.array(held, dtype=np.intp)[roots[which]]
    is_root = root == np.arange(n_nodes)
    numbers = np.cumsum(is_root) - 1
    free = np.where(root >= 0, numbers[root], -1)
    row, source = np.nonzero(D)
    rises = sparse.csr_array((D[row, source], (np.array(held, dtype=np.intp)[row], source)), shape=(n_nodes, n_sources))
    return free, np.flatnonzero(is_root), rises


def source_currents(
    network: Network, connections: Sequence[Connection], sources: Array, currents: Array, resistors: Array
) -> Array:
    """Return the current out of each source's plus end, A, (source,).

    currents: of the network's branches; resistors: of the sources' series resistances, A.
    """
    out = np.zeros(len(network.nodes) + 1)
    np.add.at(out, network.plus, currents)
    np.add.at(out, network.minus, -currents)
    found = np.zeros(len(sources))
    stiff: list[int] = []
    for number, connection in enumerate(connections):
        if connection.kind == "voltage" and not connection.resistance:
            stiff.append(number)
            continue
        found[number] = sources[number] if connection.kind == "current" else -resistors[number]
        out[connection.plus] -= found[number]
        out[connection.minus] += found[number]
    # Stiff sources form a forest: from its leaves inward, a node with one source left says what that one carries.
    while stiff:
        ends = [node for i in stiff for node in (connections[i].plus, connections[i].minus)]
        leaf = next(n for n in ends if n >= 0 and ends.count(n) == 1)
        number = next(i for i in stiff if leaf in (connections[i].plus, connections[i].minus))
        connection = connections[number]
        found[number] = out[leaf] if connection.plus == leaf else -out[leaf]
        out[connection.plus] -= found[number]
        out[connection.minus] += found[number]
        stiff.remove(number)
    return found
