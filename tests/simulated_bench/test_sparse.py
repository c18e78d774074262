"""The sparse solver against pencil work, Kirchhoff, and the dense circuit; compiled and not."""

from __future__ import annotations

import time
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freqprop_lab import trainer
from freqprop_lab.config import FileError, parse_experiment
from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network import GROUND, Branch, Network, barabasi_albert, square_grid
from freqprop_lab.runs import Run
from freqprop_lab.session import train
from freqprop_lab.values import BlockPlan, Drive
from freqprop_lab.waveform import Sine
from simulated_bench import sparse
from simulated_bench.circuit import Circuit, CircuitError, Connection
from simulated_bench.sparse import SparseCircuit

approx = pytest.approx


@pytest.fixture(params=["compiled", "NumPy alone"])
def either(request, monkeypatch):
    if request.param == "NumPy alone":
        monkeypatch.setattr(sparse, "kernels", None)
    elif sparse.kernels is None:
        pytest.skip("numba is not installed")


def resistors(*listed: tuple[str, str, float]) -> list[Branch]:
    return [
        Branch(f"R{i}", plus, minus, ELEMENTS["resistor"], (1 / ohm,), tunable=True)
        for i, (plus, minus, ohm) in enumerate(listed)
    ]


def drawn_case(seed: int) -> tuple[Network, list[Connection], int | None, np.ndarray]:
    """A random network, sources of every kind at nodes of their own, and conductances over six decades."""
    rng = np.random.default_rng(seed)
    n_nodes = int(rng.integers(12, 60))
    network = barabasi_albert(n_nodes, int(rng.integers(n_nodes, 3 * n_nodes)), 1.0, rng)
    node = iter(rng.permutation(n_nodes).tolist())
    connections = [Connection(next(node), next(node), "current"), Connection(next(node), next(node), "voltage")]
    connections += [Connection(next(node), next(node), "voltage", float(rng.uniform(0.1, 1e4)))]
    connections += [Connection(next(node), next(node), "voltage")]
    gauge = None
    if seed % 3 == 0:
        gauge = 0  # all ports float
    else:
        kind = "voltage" if seed % 3 == 1 else "current"
        connections += [Connection(next(node), -1, "voltage", 50.0 * (seed % 2)), Connection(next(node), -1, kind)]
    return network, connections, gauge, np.exp(rng.uniform(np.log(1e-5), np.log(20), len(network.tunable)))


def kirchhoff(
    network: Network, connections: list[Connection], g: np.ndarray, volts: np.ndarray, x: np.ndarray, gauge: int | None
) -> tuple[float, float]:
    """The largest current left over at a node that no stiff source touches, and the largest there is, A."""
    left, largest = np.zeros(len(network.nodes) + 1), 0.0
    stiff = {-1, gauge}
    v = np.append(volts, 0.0)
    for plus, minus, siemens in zip(network.plus, network.minus, g, strict=True):
        current = siemens * (v[plus] - v[minus])
        left[plus], left[minus], largest = left[plus] - current, left[minus] + current, max(largest, abs(current))
    for each, value in zip(connections, x, strict=True):
        plus, minus = each.plus, each.minus
        if each.kind == "voltage" and not each.resistance:
            stiff |= {plus, minus}
            continue
        current = value if each.kind == "current" else (value - v[plus] + v[minus]) / each.resistance
        left[plus], left[minus], largest = left[plus] + current, left[minus] - current, max(largest, abs(current))
    largest = max(largest, np.abs(left[:-1]).max())  # what is left over at a stiff source is its current
    open_nodes = [i for i in range(len(network.nodes)) if i not in stiff]
    return float(np.abs(left[open_nodes]).max()), largest


# --- by hand --------------------------------------------------------------------------------------------------------


def test_an_r_2r_ladder_halves_at_each_step(either):
    listed = [(f"n{i}", f"n{i + 1}", 1e3) for i in range(4)] + [(f"n{i}", GROUND, 2e3) for i in range(1, 4)]
    network = Network(tuple(f"n{i}" for i in range(5)), tuple(resistors(*listed, ("n4", GROUND, 1e3))))
    circuit = SparseCircuit(network, [Connection(0, -1, "voltage")])
    assert circuit.operating_point(np.array([8.0])) == approx(np.array([8.0, 4.0, 2.0, 1.0, 0.5]), rel=1e-12)


def test_a_grid_of_four_squares_is_three_halves_of_a_resistor_from_corner_to_corner(either):
    """1 A enters a corner: 1/2 A on each side, 1/4 A on each branch that follows: 1/2 + 1/4 V, twice."""
    circuit = SparseCircuit(square_grid(3, 3, 1.0), [Connection(0, 8, "current")], gauge=8)
    volts = circuit.operating_point(np.array([1.0]))
    assert volts == approx(np.array([1.5, 1.0, 0.75, 1.0, 0.75, 0.5, 0.75, 0.5, 0.0]), rel=1e-12)


def test_a_stiff_voltage_between_free_nodes(either):
    """3 V between the ends of 1 and 2 Ohm to ground: the same 1 A through both, at +1 V and -2 V."""
    network = Network(("a", "b"), tuple(resistors(("a", GROUND, 1.0), ("b", GROUND, 2.0))))
    circuit = SparseCircuit(network, [Connection(0, 1, "voltage")])
    assert circuit.n_free == 1
    assert circuit.operating_point(np.array([3.0])) == approx(np.array([1.0, -2.0]), rel=1e-12)


def test_where_every_node_is_held_nothing_is_solved(either):
    network = Network(("a", "b"), tuple(resistors(("a", "b", 1.0))))
    circuit = SparseCircuit(network, [Connection(0, -1, "voltage"), Connection(1, -1, "voltage")])
    assert circuit.operating_point(np.array([2.0, 5.0])).tolist() == [2.0, 5.0]
    assert circuit.operating_point(np.eye(2)).tolist() == [[1.0, 0.0], [0.0, 1.0]]


# --- against the dense circuit, and Kirchhoff -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_dense_circuit_gets_the_same_voltages(seed, either):
    network, connections, gauge, g = drawn_case(seed)
    dense, large = Circuit(network, connections, gauge), SparseCircuit(network, connections, gauge)
    dense.program(g)
    large.program(g)
    sources = np.random.default_rng(seed).normal(size=(9, len(connections)))
    volts = large.operating_point(sources)
    wanted = dense.operating_point(sources)
    assert np.abs(volts - wanted).max(axis=1) / np.abs(wanted).max(axis=1) == approx(np.zeros(9), abs=1e-10)
    alone = large.operating_point(sources[3])
    assert np.abs(alone - wanted[3]).max() < 1e-10 * np.abs(wanted[3]).max()
    assert large.operating_point(sources[3:4])[0].tolist() == alone.tolist()
    assert large.tangent(volts[0], sources[0], sources[3]).tolist() == alone.tolist()
    assert large.roots.tolist() == dense.roots.tolist()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_kirchhoffs_law_holds(seed):
    network, connections, gauge, g = drawn_case(seed)
    circuit = SparseCircuit(network, connections, gauge)
    circuit.program(g)
    x = np.random.default_rng(seed).normal(size=len(connections))
    volts = circuit.operating_point(x)
    left, largest = kirchhoff(network, connections, g, volts, x, gauge)
    # Beside a stiff source between free nodes, the solver counts conductance times source voltage among the currents.
    largest += g.max() * np.abs(x).max()
    # The last bit of a voltage times up to 40 branches of 20 S is a current that nothing can remove.
    assert left < 1e-12 * largest + 40 * 20.0 * np.abs(volts).max() * 2e-16


def test_the_residual_is_in_amperes():
    network = Network(("a",), tuple(resistors(("a", GROUND, 2.0))))
    circuit = SparseCircuit(network, [Connection(0, -1, "current")])
    # 3 A enter and 5 V / 2 Ohm leave
    assert circuit.residual(np.array([5.0]), np.array([3.0])) == approx(0.5)


@pytest.mark.parametrize("ratio", [1e6, 1e9])
def test_a_chain_of_unequal_conductances(ratio, either):
    """Every second one is so many times the others: 1 A gives 1 V across each of the small ones."""
    listed = [(f"n{i}", GROUND if i == 39 else f"n{i + 1}", 1.0 if i % 2 else 1 / ratio) for i in range(40)]
    network = Network(tuple(f"n{i}" for i in range(40)), tuple(resistors(*listed)))
    circuit = SparseCircuit(network, [Connection(0, -1, "current")])
    volts = circuit.operating_point(np.array([1.0]))
    assert volts[0] == approx(20 + 20 / ratio, rel=1e-9)
    assert volts[39] == approx(1.0, rel=1e-9)


def test_a_start_near_by_gives_the_same(either):
    network, connections, gauge, g = drawn_case(1)
    circuit = SparseCircuit(network, connections, gauge)
    circuit.program(g)
    x = np.ones(len(connections))
    cold = circuit.operating_point(x)
    assert circuit.operating_point(x, start=cold * 1.01) == approx(cold, rel=1e-9, abs=1e-9)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_floating_parts_are_named_as_the_dense_circuit_names_them():
    network = Network(tuple("abcd"), tuple(resistors(("a", GROUND, 1.0), ("b", "c", 1.0), ("a", "d", 2.0))))
    told = []
    for kind in (Circuit, SparseCircuit):
        with pytest.raises(CircuitError) as refused:
            kind(network, [Connection(0, -1, "current")])
        told.append(str(refused.value))
    assert told[0] == told[1]
    assert told[0].startswith("node b, c lies in a part with no path to ground")


def test_a_loop_of_stiff_sources_is_refused():
    network = Network(("a", "b"), tuple(resistors(("a", "b", 1.0))))
    loop = [Connection(0, -1, "voltage"), Connection(1, -1, "voltage"), Connection(0, 1, "voltage")]
    with pytest.raises(CircuitError, match="form a loop; give one of them a resistance"):
        SparseCircuit(network, loop)


def test_nonlinear_branches_are_refused():
    network = Network(("a",), (Branch("D1", "a", GROUND, ELEMENTS["diode"], (1e-9, 0.03)),))
    with pytest.raises(CircuitError, match="branch D1 is not linear"):
        SparseCircuit(network, [Connection(0, -1, "current")])


def test_a_node_without_any_conductance_is_named(either):
    network = Network(("a", "b"), tuple(resistors(("a", GROUND, 1.0), ("a", "b", 1.0))))
    circuit = SparseCircuit(network, [Connection(0, -1, "current")])
    with pytest.raises(CircuitError, match="node b lies in a part"):
        circuit.program(np.array([1.0, 0.0]))


def test_a_part_cut_off_by_zeros_is_not_answered_with_numbers(either):
    listed = [("a", GROUND, 1.0), ("a", "b", 1.0), ("b", "c", 1.0)]
    circuit = SparseCircuit(Network(tuple("abc"), tuple(resistors(*listed))), [Connection(2, -1, "current")])
    circuit.program(np.array([1.0, 0.0, 1.0]))
    with pytest.raises(CircuitError, match=r"A are left over at node [bc]"):
        circuit.operating_point(np.array([1.0]))


# --- the bench ------------------------------------------------------------------------------------------------------


def bench_text(solver: str, network: str = "kind: barabasi-albert, nodes: 60, edges: 200", more: str = "") -> str:
    wide = "meter: {range: 1 GV}\n"
    return f"bench: numeric\nsolver: {solver}\nnetwork: {{{network}}}\n{wide}{more}"


def plan_for(bench, n_steps: int = 40, wide: bool = False) -> BlockPlan:
    rng = np.random.default_rng(5)
    n_tunable, n_outputs = len(bench.network.tunable), len(bench.network.outputs)
    levels = rng.uniform(0, 2, (10, len(bench.network.inputs)))
    start = np.exp(rng.uniform(np.log(1e-5), np.log(20), n_tunable)) if wide else rng.uniform(0.01, 1, n_tunable)
    ends = np.full(n_tunable, 1e-5), np.full(n_tunable, 20.0)
    targets = rng.normal(scale=0.1, size=(10, n_outputs))
    return BlockPlan(levels, targets, np.arange(n_steps) % 10, start, *ends, 0.05, 1.0, "squared", Sine())


WIRINGS = [
    "",
    "ports: floating\n",
    "inputs: {source: resistor, resistance: 10 Ohm}\n",
    "inputs: {source: current}\nports: floating\n",
    "common_mode: 0.5 V\n",
]


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("network", ["kind: barabasi-albert, nodes: 60, edges: 200", "kind: grid, rows: 8, columns: 9"])
def test_a_block_of_steps_is_the_same_as_on_dense_matrices(bench_of, network, wiring, either):
    ends = []
    for solver in ("dense", "sparse"):
        bench = bench_of(bench_text(solver, network, wiring))
        plan = plan_for(bench)
        assert bench.can_run(plan)
        assert bench.breadboard.is_sparse == (solver == "sparse")
        end = bench.run_block(plan)
        ends.append((end, bench.respond(Drive(plan.levels[3])), bench.read_many(plan.levels)))
    (dense, at_rest, outputs), (large, rest, read) = ends
    largest = np.abs(dense.response.b).max()
    assert largest > 0
    assert large.response.b == approx(dense.response.b, rel=0, abs=1e-9 * largest)
    assert large.response.a == approx(dense.response.a, rel=0, abs=1e-9)
    assert large.outputs == approx(dense.outputs, rel=0, abs=1e-9)
    assert large.wished == approx(dense.wished, rel=0, abs=1e-9)
    assert np.abs(large.wished - plan.wished).max() > 1e-5  # something was learnt
    assert rest.a == approx(at_rest.a, rel=0, abs=1e-9)
    assert read == approx(outputs, rel=0, abs=1e-9)


def test_a_grid_of_wide_conductances_is_solved_with_an_old_factor(bench_of, either):
    network = "kind: grid, rows: 16, columns: 16"
    dense, large = bench_of(bench_text("dense", network)), bench_of(bench_text("sparse", network))
    plan = plan_for(large, 20, wide=True)
    wanted, found = dense.run_block(plan), large.run_block(plan)
    circuit, _ = large.breadboard.sparse_circuit(large._wiring.rest)
    assert found.response.b == approx(wanted.response.b, rel=0, abs=1e-9 * np.abs(wanted.response.b).max())
    circuit.program(plan.wished)
    assert not circuit.keeps_factor
    circuit.consider_factor(300, 100)  # as many iterations as the diagonal takes there
    assert circuit.keeps_factor


def test_a_random_graph_is_never_factored():
    """Its factor would be dense: 3,000 nodes, 4.5 million numbers where K has 45,000."""
    network = barabasi_albert(3000, 22_500, 1.0, np.random.default_rng(0))
    circuit = SparseCircuit(network, [Connection(0, -1, "voltage")])
    circuit.consider_factor(300, 100)
    assert not circuit.keeps_factor


@pytest.mark.parametrize(
    "network", ["kind: barabasi-albert, nodes: 60, edges: 200", "kind: grid, rows: 24, columns: 24"]
)
def test_blocks_repeat_to_the_last_bit_whatever_happened_between(bench_of, network):
    first, again = bench_of(bench_text("sparse", network)), bench_of(bench_text("sparse", network))
    plan = plan_for(first, wide=True)
    half = first.run_block(plan)
    state = first.state()
    first.read_many(plan.levels)
    end = first.run_block(replace(plan, wished=half.wished))
    again.program(half.realised)  # as a resumed run does
    again.restore(state)
    resumed = again.run_block(replace(plan, wished=half.wished))
    assert resumed.wished.tobytes() == end.wished.tobytes()
    assert resumed.response.b.tobytes() == end.response.b.tobytes()
    assert again.read_many(plan.levels).tobytes() == first.read_many(plan.levels).tobytes()


def test_the_size_chooses(bench_of):
    assert not bench_of("bench: numeric\n").breadboard.is_sparse
    assert bench_of(bench_text("auto", "kind: barabasi-albert, nodes: 400, edges: 1000")).breadboard.is_sparse
    hidden = "kind: hidden-layer, hidden: 300, inputs: 2, outputs: 1"
    assert not bench_of(bench_text("auto", hidden)).breadboard.is_sparse


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (bench_text("sparse", more="parts: {capacitance: 1 nF}\n"), "capacitance needs solver: dense"),
        (bench_text("dense", "kind: grid, rows: 100, columns: 100"), "solver: dense is solved with dense matrices"),
        (bench_text("dense", "kind: hidden-layer, hidden: 5000"), "solver: dense is solved with dense matrices"),
    ],
)
def test_what_a_solver_can_not_do_is_refused_with_the_line(bench_of, text, told):
    with pytest.raises(FileError, match=told) as refused:
        bench_of(text)
    assert "bench.yaml, line " in str(refused.value)


def test_an_unknown_solver_is_refused(bench_of):
    with pytest.raises(FileError, match="solver"):
        bench_of(bench_text("spars"))


# --- large networks are built -----------------------------------------------------------------------------------------


def test_pairs_drawn_many_at_a_time_are_a_connected_graph_without_doubles():
    network = barabasi_albert(12_000, 30_000, 1.0, np.random.default_rng(3))
    graph = nx.Graph((branch.plus, branch.minus) for branch in network.branches)
    assert graph.number_of_edges() == len(network.branches) == 30_000
    assert graph.number_of_nodes() == 12_000
    assert nx.is_connected(graph)
    assert nx.number_of_selfloops(graph) == 0


def test_a_bench_of_many_nodes_learns_a_step(bench_of):
    bench = bench_of(bench_text("auto", "kind: grid, rows: 150, columns: 150"))
    plan = plan_for(bench, 2)
    end = bench.run_block(plan)
    gradient = 0.5 * ((end.outputs - plan.targets[:2]) ** 2).sum(axis=1)
    again = bench.run_block(replace(plan, wished=end.wished)).outputs
    assert (0.5 * ((again - plan.targets[:2]) ** 2).sum(axis=1) < gradient).all()


def test_a_run_has_the_same_bits_on_a_slow_machine(tmp_path, monkeypatch):
    """A clock that runs ten thousand times too slowly lets blocks seem quick: nothing of the run may change."""
    text = "name: sparse\nepochs: 2\ntask: {kind: iris}\nbench: {bench: numeric, solver: sparse, "
    text += "network: {kind: barabasi-albert, nodes: 300, edges: 1200}}\n"
    monotonic, bits = time.monotonic, []
    for name, slowness in (("fast", 1e-4), ("slow", 1.0)):
        monkeypatch.setattr(trainer.time, "monotonic", lambda factor=slowness: factor * monotonic())
        train(parse_experiment(text, tmp_path / "sparse.yaml"), run=tmp_path / name)
        bits.append(Run(tmp_path / name).checkpoint.arrays["wished"].tobytes())
    assert bits[0] == bits[1]
