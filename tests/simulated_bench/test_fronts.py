"""The plan of a sparse factorization: every unknown once, and every child's rows in its parent."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from simulated_bench.fronts import fills_up, planned


def pairs(graph: nx.Graph) -> tuple[np.ndarray, np.ndarray]:
    ends = np.array(list(graph.edges), dtype=np.intp).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


GRAPHS = {
    "one node": nx.empty_graph(1),
    "apart": nx.empty_graph(5),
    "a path": nx.path_graph(17),
    "a star": nx.star_graph(12),
    "a ring": nx.cycle_graph(20),
    "all joined": nx.complete_graph(9),
    "a grid": nx.convert_node_labels_to_integers(nx.grid_2d_graph(9, 11, periodic=True)),
    "two parts": nx.disjoint_union(nx.path_graph(6), nx.complete_graph(7)),
    "random": nx.gnm_random_graph(60, 110, seed=1),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_every_unknown_is_eliminated_once_and_parents_hold_their_childrens_rows(name):
    graph = GRAPHS[name]
    n = graph.number_of_nodes()
    fronts, order = planned(*pairs(graph), n)
    assert sorted(order.tolist()) == list(range(n))
    assert fronts.pivots.sum() == n
    parents: dict[int, int] = {}
    for f in range(len(fronts.first)):
        parents |= dict.fromkeys(fronts.child[fronts.children[f] : fronts.children[f + 1]].tolist(), f)
    for f in range(len(fronts.first)):
        rows = fronts.rows[fronts.start[f] : fronts.start[f + 1]].tolist()
        assert rows == sorted(rows)
        assert bool(rows) == (f in parents) or n == 1
        if rows:
            above = parents[f]
            assert above > f
            whole = [*range(fronts.first[above], fronts.first[above] + fronts.pivots[above])]
            whole += fronts.rows[fronts.start[above] : fronts.start[above + 1]].tolist()
            inside = fronts.inside[fronts.start[f] : fronts.start[f + 1]].tolist()
            assert [whole[i] for i in inside] == rows


def test_the_fill_of_a_path_is_none_and_of_a_star_neither():
    for graph in (nx.path_graph(200), nx.star_graph(199)):
        fronts, _ = planned(*pairs(graph), 200)
        # Without fill there are 200 pivots and 199 entries; small fronts are joined, whatever zeros that takes
        assert fronts.widest < 30


def test_a_large_random_graph_fills_up_and_a_large_grid_does_not():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 20_000, (2, 100_000))
    assert fills_up(first, second, 20_000)
    node = np.arange(22_500).reshape(150, 150)
    first, second = np.tile(node.ravel(), 2), np.concatenate([np.roll(node, -1, axis).ravel() for axis in (0, 1)])
    assert not fills_up(first, second, 22_500)
    assert not fills_up(*rng.integers(0, 1000, (2, 10_000)), 1000)
