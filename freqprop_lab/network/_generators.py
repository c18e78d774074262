"""Seeded generators of networks. Their tunable branches stand at one conductance unit until they are programmed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network._network import GROUND, Branch, Network, NetworkError, Port

_LARGE = 10_000  # nodes, from which on pairs are drawn many at a time; a seed gives other pairs then
DIODE_PATTERNS = ("alternating", "antiparallel", "none")


def barabasi_albert(n_nodes: int, n_edges: int, siemens: float, rng: np.random.Generator) -> Network:
    """Draw a Barabasi-Albert tree (one link a node) and add unique random edges up to n_edges.

    Appendix A, whose M - (N + 1) extra edges must read M - (N - 1). siemens: conductance that the branches start
    with. Raises NetworkError where n_edges is below n_nodes - 1 or above all pairs.
    """
    _check_counts(n_nodes, n_edges)
    ends: list[int] = []  # every node once for each of its links: drawing from it prefers the well connected
    pairs: list[tuple[int, int]] = []
    for node in range(1, n_nodes):
        neighbour = ends[rng.integers(len(ends))] if ends else 0
        pairs.append((neighbour, node))
        ends += [neighbour, node]
    taken = set(pairs)
    while len(pairs) < n_edges:
        for pair in _random_pairs(n_nodes, n_edges - len(pairs), rng):
            if pair not in taken:
                taken.add(pair)
                pairs.append(pair)
    return _of_pairs([f"n{i}" for i in range(n_nodes)], pairs, siemens)


def square_grid(rows: int, columns: int, siemens: float) -> Network:
    """Lay nodes on a square grid, each joined to its neighbours right and below."""
    if rows < 1 or columns < 1 or rows * columns < 2:
        raise NetworkError(f"a grid of {rows} x {columns} nodes has no edge; take at least 1 x 2")
    names = [f"r{row}c{column}" for row in range(rows) for column in range(columns)]
    number = np.arange(rows * columns).reshape(rows, columns)
    across = zip(number[:, :-1].ravel().tolist(), number[:, 1:].ravel().tolist(), strict=True)
    down = zip(number[:-1].ravel().tolist(), number[1:].ravel().tolist(), strict=True)
    return _of_pairs(names, [*across, *down], siemens)


def hidden_layer(
    n_inputs: int,
    n_hidden: int,
    n_outputs: int,
    siemens: float,
    *,
    diodes: str = "alternating",
    saturation_current: float = 10e-9,
    emission_voltage: float = 30e-3,
) -> Network:
    """Join each hidden node to every input and to both nodes of every output; diodes lead from it to ground.

    diodes: `alternating` (anode at hidden 1, 3, ..., cathode at 2, 4, ...), `antiparallel` (a pair at each) or `none`.
    saturation_current: A; emission_voltage: V. Inputs are ports to ground, outputs are pairs.
    """
    if min(n_inputs, n_hidden, n_outputs) < 1:
        raise NetworkError(f"a hidden layer of {n_inputs}, {n_hidden}, {n_outputs} nodes: each must be at least 1")
    inputs = [f"x{i + 1}" for i in range(n_inputs)]
    hidden = [f"h{i + 1}" for i in range(n_hidden)]
    outputs = [f"y{i + 1}{sign}" for i in range(n_outputs) for sign in "+-"]
    pairs = [(x, h) for h in hidden for x in inputs] + [(h, y) for h in hidden for y in outputs]
    resistor = ELEMENTS["resistor"]
    branches = [
        Branch(f"{first}-{second}", first, second, resistor, (siemens,), tunable=True) for first, second in pairs
    ]
    theta = (saturation_current, emission_voltage)
    for number, node in enumerate(hidden):
        if diodes == "alternating":
            plus, minus = (node, GROUND) if number % 2 == 0 else (GROUND, node)
            branches.append(Branch(f"D{number + 1}", plus, minus, ELEMENTS["diode"], theta))
        elif diodes == "antiparallel":
            branches.append(Branch(f"D{number + 1}", node, GROUND, ELEMENTS["antiparallel"], theta))
        elif diodes != "none":
            raise NetworkError(f'diode pattern "{diodes}" is none of {", ".join(DIODE_PATTERNS)}')
    ports = [Port(outputs[i], outputs[i + 1]) for i in range(0, 2 * n_outputs, 2)]
    return Network((*inputs, *hidden, *outputs), tuple(branches), tuple(Port(x) for x in inputs), tuple(ports))


def choose_ports(network: Network, n_inputs: int, n_outputs: int, rng: np.random.Generator) -> Network:
    """Choose node pairs for the inputs and outputs at random, no node twice.

    Raises NetworkError where the network has too few nodes.
    """
    needed = 2 * (n_inputs + n_outputs)
    if needed > len(network.nodes):
        raise NetworkError(
            f"{n_inputs} input and {n_outputs} output ports are pairs and need {needed} nodes; "
            f"the network has {len(network.nodes)}. Raise nodes, or take fewer inputs"
        )
    drawn = rng.choice(len(network.nodes), size=needed, replace=False).tolist()
    names: Sequence[str] = [network.nodes[i] for i in drawn]
    ports = [Port(names[i], names[i + 1]) for i in range(0, needed, 2)]
    return network.with_ports(ports[:n_inputs], ports[n_inputs:])


def draw_missing_ports(network: Network, n_inputs: int, n_outputs: int, rng: np.random.Generator) -> Network:
    """Draw node pairs for those of the inputs and outputs that a network has not, among nodes that no port has.

    Nodes that only a diode's series resistance reaches, #internal, are none. Raises NetworkError for too few nodes.
    """
    taken = {node for port in (*network.inputs, *network.outputs) for node in (port.plus, port.minus)}
    free = [node for node in network.nodes if node not in taken and "#" not in node]
    needed = 2 * ((0 if network.inputs else n_inputs) + (0 if network.outputs else n_outputs))
    if needed > len(free):
        raise NetworkError(
            f"its ports are named nowhere and would be drawn as pairs, which takes {needed} nodes; {len(free)} are "
            "free. Name them: --inputs and --outputs, or inputs and outputs of the network"
        )
    names = [free[i] for i in rng.choice(len(free), size=needed, replace=False).tolist()] if needed else []
    ports = [Port(names[i], names[i + 1]) for i in range(0, needed, 2)]
    inputs = network.inputs or tuple(ports[:n_inputs])
    outputs = network.outputs or tuple(ports[len(ports) - n_outputs :])
    return network.with_ports(inputs, outputs)


def _random_pairs(n_nodes: int, wanted: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw pairs of different nodes, the lower first: one, or as many as wanted where one by one would take minutes."""
    if n_nodes <= _LARGE:
        first, second = sorted(rng.choice(n_nodes, size=2, replace=False).tolist())
        return [(first, second)]
    ends = np.sort(rng.integers(n_nodes, size=(wanted, 2)), axis=1)
    return [(first, second) for first, second in ends.tolist() if first != second]


def _check_counts(n_nodes: int, n_edges: int) -> None:
    if n_nodes < 2:
        raise NetworkError(f"a network of {n_nodes} nodes has no edge; take at least 2")
    most = n_nodes * (n_nodes - 1) // 2
    if not n_nodes - 1 <= n_edges <= most:
        raise NetworkError(
            f"{n_edges} edges on {n_nodes} nodes: a connected network without parallel branches has "
            f"{n_nodes - 1} to {most}"
        )


def _of_pairs(names: Sequence[str], pairs: Sequence[tuple[int, int]], siemens: float) -> Network:
    resistor = ELEMENTS["resistor"]
    branches = [
        Branch(f"{names[first]}-{names[second]}", names[first], names[second], resistor, (siemens,), tunable=True)
        for first, second in pairs
    ]
    return Network(tuple(names), tuple(branches))
