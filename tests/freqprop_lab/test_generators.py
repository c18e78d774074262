"""Generated networks: Barabasi-Albert with extra edges, the grid, the hidden layer, and ports drawn on them."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from freqprop_lab.network import GROUND, Network, NetworkError, Port, barabasi_albert, choose_ports, hidden_layer
from freqprop_lab.network import square_grid as grid


def pairs_of(network: Network) -> list[tuple[str, str]]:
    return [(branch.plus, branch.minus) for branch in network.branches]


def drawn(n_nodes: int, n_edges: int, seed: int) -> Network:
    return barabasi_albert(n_nodes, n_edges, 1.0, np.random.default_rng(seed))


@pytest.mark.parametrize(("n_nodes", "n_edges"), [(2, 1), (5, 10), (40, 39), (40, 239), (40, 390)])
@pytest.mark.parametrize("seed", range(5))
def test_barabasi_albert_is_connected_and_has_each_pair_once(n_nodes, n_edges, seed):
    pairs = pairs_of(drawn(n_nodes, n_edges, seed))
    graph = nx.Graph(pairs)
    assert len(pairs) == n_edges == graph.number_of_edges()  # a pair drawn twice would count once in the graph
    assert graph.number_of_nodes() == n_nodes
    assert nx.is_connected(graph)
    assert nx.number_of_selfloops(graph) == 0
    assert nx.is_tree(nx.Graph(pairs[: n_nodes - 1]))


def test_the_seed_decides_the_graph():
    assert pairs_of(drawn(40, 239, 7)) == pairs_of(drawn(40, 239, 7))
    assert pairs_of(drawn(40, 239, 7)) != pairs_of(drawn(40, 239, 8))


def test_more_edges_with_the_same_seed_keep_the_tree():
    assert pairs_of(drawn(40, 239, 7))[:39] == pairs_of(drawn(40, 39, 7))


@pytest.mark.parametrize("n_edges", [3, 11])
def test_edges_that_no_such_graph_has_are_refused_with_the_range(n_edges):
    with pytest.raises(NetworkError, match=rf"{n_edges} edges on 5 nodes: .* has 4 to 10"):
        drawn(5, n_edges, 0)


def test_a_graph_of_one_node_is_refused():
    with pytest.raises(NetworkError, match="take at least 2"):
        drawn(1, 0, 0)


def test_well_connected_nodes_are_preferred():
    """The largest degree of a tree of 400 nodes: about sqrt(400) with preference, about log2(400) without."""
    rng = np.random.default_rng(1)
    preferred, uniform = [], []
    for _ in range(30):
        tree = nx.Graph(pairs_of(barabasi_albert(400, 399, 1.0, rng)))
        preferred.append(max(dict(tree.degree).values()))
        other = nx.Graph((int(rng.integers(node)), node) for node in range(1, 400))
        uniform.append(max(dict(other.degree).values()))
    assert np.mean(preferred) > 2 * np.mean(uniform)
    assert np.median(preferred) > max(uniform)


def test_a_third_node_takes_either_end_of_the_first_link_equally_often():
    ends = [pairs_of(drawn(3, 2, seed))[1][0] for seed in range(400)]
    # Both have one link: a fair coin, 200 +- 10.
    assert 150 < ends.count("n0") < 250


def test_the_fourth_node_takes_the_middle_one_half_of_the_time():
    middle = 0
    for seed in range(400):
        (_, _), (centre, _), (chosen, _) = pairs_of(drawn(4, 3, seed))
        middle += chosen == centre
    # Degrees 2, 1, 1: probability 1/2 by preference (200 +- 10), 1/3 without (133).
    assert 165 < middle < 235


def test_generated_branches_are_tunable_and_start_at_the_unit():
    network = barabasi_albert(5, 6, 1e-4, np.random.default_rng(0))
    assert network.own_conductances.tolist() == [1e-4] * 6


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (2, 1), (3, 4), (6, 6)])
def test_a_grid_joins_each_node_to_those_right_and_below(rows, columns):
    network = grid(rows, columns, 1.0)
    graph = nx.Graph(pairs_of(network))
    assert len(network.branches) == graph.number_of_edges() == 2 * rows * columns - rows - columns
    assert nx.is_isomorphic(graph, nx.grid_2d_graph(rows, columns))


def test_a_grid_of_one_node_is_refused():
    with pytest.raises(NetworkError, match="at least 1 x 2"):
        grid(1, 1, 1.0)


def test_the_hidden_layer_of_the_xor_net():
    network = hidden_layer(4, 3, 1, 1.0)
    assert network.nodes == ("x1", "x2", "x3", "x4", "h1", "h2", "h3", "y1+", "y1-")
    assert len(network.tunable) == 18  # 3 hidden x (4 inputs + 2 output nodes)
    assert network.inputs == (Port("x1"), Port("x2"), Port("x3"), Port("x4"))
    assert network.outputs == (Port("y1+", "y1-"),)
    tuned = {frozenset((network.branches[i].plus, network.branches[i].minus)) for i in network.tunable}
    others = ("x1", "x2", "x3", "x4", "y1+", "y1-")
    assert tuned == {frozenset((h, other)) for h in ("h1", "h2", "h3") for other in others}


def test_alternating_diodes_have_their_anode_at_hidden_1_and_3_and_their_cathode_at_2():
    diodes = [branch for branch in hidden_layer(4, 3, 1, 1.0).branches if branch.element.kind == "diode"]
    assert [(d.plus, d.minus) for d in diodes] == [("h1", GROUND), (GROUND, "h2"), ("h3", GROUND)]
    assert {d.theta for d in diodes} == {(10e-9, 30e-3)}
    assert not any(d.tunable for d in diodes)


def test_antiparallel_diodes_stand_at_each_hidden_node():
    network = hidden_layer(2, 3, 1, 1.0, diodes="antiparallel", saturation_current=1e-6, emission_voltage=0.05)
    pairs = [branch for branch in network.branches if branch.element.kind == "antiparallel"]
    assert [(d.plus, d.minus, d.theta) for d in pairs] == [(h, GROUND, (1e-6, 0.05)) for h in ("h1", "h2", "h3")]


def test_a_hidden_layer_without_diodes_is_linear():
    assert hidden_layer(2, 3, 2, 1.0, diodes="none").is_linear


def test_a_hidden_layer_refuses_what_it_does_not_know():
    with pytest.raises(NetworkError, match='diode pattern "zigzag" is none of alternating, antiparallel, none'):
        hidden_layer(2, 3, 2, 1.0, diodes="zigzag")
    with pytest.raises(NetworkError, match="2, 0, 1 nodes: each must be at least 1"):
        hidden_layer(2, 0, 1, 1.0)


@pytest.mark.parametrize("seed", range(20))
def test_drawn_ports_use_no_node_twice(seed):
    network = choose_ports(grid(4, 4, 1.0), 4, 3, np.random.default_rng(seed))
    used = [node for port in (*network.inputs, *network.outputs) for node in (port.plus, port.minus)]
    assert (len(network.inputs), len(network.outputs)) == (4, 3)
    assert len(set(used)) == 14


def test_ports_may_take_every_node_and_not_one_more():
    network = grid(2, 3, 1.0)
    assert len(choose_ports(network, 2, 1, np.random.default_rng(0)).inputs) == 2
    with pytest.raises(NetworkError, match="need 8 nodes; the network has 6"):
        choose_ports(network, 2, 2, np.random.default_rng(0))
