"""Large networks of nonlinear branches against pencil work, Kirchhoff, the dense circuit and ngspice; both ways."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from ngspice_oracle import needs_ngspice
from ngspice_oracle import operating_point as ngspice
from scipy.optimize import brentq

from freqprop_lab.elements import CAPACITOR, ELEMENTS, MOSFET
from freqprop_lab.network import GROUND, Branch, Network, barabasi_albert
from simulated_bench import analyses, newton
from simulated_bench.choice import MOST_DENSE, as_dense, connected
from simulated_bench.circuit import Circuit, CircuitError, Connection
from simulated_bench.newton import Equilibrium, NewtonCircuit

approx = pytest.approx

RESISTOR, DIODE, ANTIPARALLEL, JUNCTION = (ELEMENTS[k] for k in ("resistor", "diode", "antiparallel", "junction"))
BETA, THRESHOLD = 5e-4, 0.7


@pytest.fixture(params=["compiled", "NumPy alone"])
def either(request, monkeypatch):
    if request.param == "NumPy alone":
        monkeypatch.setattr(newton, "kernels", None)
    elif newton.kernels is None:
        pytest.skip("numba is not installed")


def torus(side: int, gates: np.ndarray, modulation: float = 0.02) -> Network:
    """A periodic grid of transistors: each node joined to the next in its row and its column."""
    node = np.arange(side * side).reshape(side, side)
    plus = np.concatenate([node.ravel(), node.ravel()])
    minus = np.concatenate([np.roll(node, -1, axis=1).ravel(), np.roll(node, -1, axis=0).ravel()])
    branches = tuple(
        Branch(f"M{i}", f"n{p}", f"n{m}", MOSFET, (BETA, THRESHOLD, modulation, float(gate)))
        for i, (p, m, gate) in enumerate(zip(plus, minus, gates, strict=True))
    )
    return Network(tuple(f"n{i}" for i in range(side * side)), branches)


def drawn(seed: int, fewest: int, most: int) -> tuple[Network, list[Connection], np.ndarray]:
    """A random network of every law that is known, and sources of every kind, two of them stiff."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(fewest, most + 1))
    tree = barabasi_albert(n, n - 1 + int(rng.integers(0, n)), 1.0, rng)
    branches = [Branch(b.name, b.plus, b.minus, RESISTOR, (float(10 ** rng.uniform(-4, -1)),)) for b in tree.branches]
    for number in range(1 + n // 2):
        plus, minus = (f"n{i}" for i in rng.choice(n, 2, replace=False))
        minus = GROUND if rng.random() < 0.4 else minus
        width, Is = float(rng.uniform(0.025, 0.05)), float(10 ** rng.uniform(-14, -8))
        element, theta = (
            (DIODE, (1e-16, width)),  # ngspice's reverse tail, Is / 20 at most, must not count
            (ANTIPARALLEL, (1e-16, width)),
            (JUNCTION, (Is, width, 1e-20)),
            (MOSFET, (float(10 ** rng.uniform(-4, -3)), 0.7, float(rng.choice([0, 0.02])), float(rng.uniform(0, 6)))),
            (CAPACITOR, (1e-9,)),
        )[int(rng.integers(5))]
        branches.append(Branch(f"X{number}", plus, minus, element, theta))
    a, b, c, d, e, f = rng.choice(n, 6, replace=False).tolist()
    connections = [
        Connection(a, -1, "voltage"),
        Connection(b, c if seed % 2 else -1, "voltage", float(10 ** rng.uniform(1, 4))),
        Connection(c, d, "current"),
        Connection(e, f, "voltage"),  # ties two free nodes
    ]
    x = np.array([*rng.uniform(-5, 5, 2), rng.uniform(-3e-3, 3e-3), rng.uniform(-1, 1)])
    return Network(tree.nodes, tuple(branches)), connections, x


def left_over(network: Network, connections: list[Connection], x: np.ndarray, found: Equilibrium) -> float:
    """The largest sum of currents at nodes that no stiff source touches, A, added up without rounding."""
    at: dict[str, list[float]] = {name: [] for name in (*network.nodes, GROUND)}
    names = (*network.nodes, GROUND)
    for branch, current in zip(network.branches, found.currents.tolist(), strict=True):
        at[branch.plus].append(-current)
        at[branch.minus].append(current)
    stiff = {GROUND}
    for number, each in enumerate(connections):
        if each.kind == "voltage" and not each.resistance:
            stiff |= {names[each.plus], names[each.minus]}
            continue
        current = float(x[number]) if each.kind == "current" else -float(found.resistors[number])
        at[names[each.plus]].append(current)
        at[names[each.minus]].append(-current)
    return max(abs(math.fsum(terms)) for name, terms in at.items() if name not in stiff)


# --- by hand --------------------------------------------------------------------------------------------------------


def test_a_string_of_equal_transistors_shares_the_squares_of_the_overdrives(either):
    # The same current through each: beta/2 (e_k+1^2 - e_k^2) is the same, so e^2 is linear from 3.5^2 to 4^2.
    names = tuple(f"n{i}" for i in range(11))
    ends = [*pairwise(names), (names[-1], GROUND)]
    branches = tuple(Branch(f"M{i}", *end, MOSFET, (BETA, 0.7, 0.0, 4.7)) for i, end in enumerate(ends))
    found = NewtonCircuit(Network(names, branches), [Connection(0, -1, "voltage")]).equilibrium(np.array([0.5]))
    e = np.sqrt(np.linspace(3.5**2, 4.0**2, 12))[:-1]
    assert found.volts == approx(4.0 - e, rel=1e-12)
    assert found.currents == approx(np.full(11, 0.5 * BETA * (16 - 3.5**2) / 11), rel=1e-12)


@pytest.mark.parametrize("volts", [-3.0, 0.1, 1.0, 50.0])
def test_a_diode_behind_a_resistor_sits_where_both_currents_agree(volts, either):
    branches = (Branch("R", "s", "n", RESISTOR, (1e-3,)), Branch("D", "n", GROUND, DIODE, (1e-8, 0.03)))
    circuit = NewtonCircuit(Network(("s", "n"), branches), [Connection(0, -1, "voltage")])
    root = brentq(lambda v: 1e-8 * math.expm1(v / 0.03) - (volts - v) / 1e3, -4.0, 1.5, xtol=1e-15, rtol=1e-15)
    assert circuit.operating_point(np.array([volts]))[1] == approx(root, rel=1e-12)


def test_a_source_behind_a_resistor_and_a_tie_between_free_nodes(either):
    # 3 V behind 1 kOhm into a; 1 V stiff from a to b; 1 kOhm from each to ground: a + b = 3 - a, b = a - 1
    branches = tuple(Branch(f"R{n}", n, GROUND, RESISTOR, (1e-3,)) for n in "ab")
    connections = [Connection(0, -1, "voltage", 1e3), Connection(0, 1, "voltage")]
    found = NewtonCircuit(Network(("a", "b"), branches), connections).equilibrium(np.array([3.0, 1.0]))
    assert found.volts == approx([4 / 3, 1 / 3], rel=1e-14)
    assert found.resistors == approx([(4 / 3 - 3) * 1e-3, 0.0], rel=1e-14)


def test_where_every_node_is_held_nothing_is_solved(either):
    network = Network(("a",), (Branch("D", "a", GROUND, DIODE, (1e-8, 0.03)),))
    found = NewtonCircuit(network, [Connection(0, -1, "voltage")]).equilibrium(np.array([0.3]))
    assert found.volts.tolist() == [0.3]
    assert found.currents == approx([1e-8 * math.expm1(10)], rel=1e-14)


# --- against the dense circuit, Kirchhoff and ngspice ---------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_the_dense_circuit_gets_the_same(seed, either):
    network, connections, x = drawn(seed, 7, 40)
    dense, large = Circuit(network, connections), NewtonCircuit(network, connections)
    found, wanted = large.equilibrium(x), analyses.operating_point(dense, x)
    assert dense.n_free <= MOST_DENSE  # else it were our twin that we are held against
    assert found.volts == approx(wanted.volts, rel=1e-11, abs=1e-11)
    assert found.currents == approx(wanted.currents, rel=1e-9, abs=1e-11 * wanted.largest_current)
    assert found.largest == approx(wanted.largest_current, rel=1e-9)
    assert found.residual <= 1e-12 * found.largest
    assert left_over(network, connections[:1] + connections[1:], x, found) <= 1e-12 * found.largest
    change = np.random.default_rng(seed).normal(size=len(x)) * np.array([1, 1, 1e-3, 1])
    slope = dense.tangent(wanted.volts, x, change)
    assert large.tangent(found.volts, x, change) == approx(slope, rel=1e-8, abs=1e-9 * np.abs(slope).max())


@needs_ngspice
@pytest.mark.parametrize("seed", range(4))
def test_random_networks_of_over_200_nodes_agree_with_ngspice(seed, tmp_path):
    network, connections, x = drawn(100 + seed, 200, 300)
    found = NewtonCircuit(network, connections).equilibrium(x)
    assert found.volts == approx(ngspice(network, connections, x, tmp_path), rel=1e-9, abs=1e-12)


@needs_ngspice
def test_a_grid_of_transistors_agrees_with_ngspice(tmp_path):
    network = torus(15, np.random.default_rng(0).uniform(1.5, 6, 450))
    connections = [Connection(0, -1, "voltage"), Connection(112, -1, "voltage"), Connection(50, -1, "current")]
    x = np.array([0.0, 1.0, 2e-4])
    volts = NewtonCircuit(network, connections).operating_point(x)
    assert volts == approx(ngspice(network, connections, x, tmp_path), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_compiled_or_not_the_numbers_are_the_same(seed, monkeypatch):
    if newton.kernels is None:
        pytest.skip("numba is not installed")
    network, connections, x = drawn(200 + seed, 200, 300)
    compiled = NewtonCircuit(network, connections).equilibrium(x)
    monkeypatch.setattr(newton, "kernels", None)
    plain = NewtonCircuit(network, connections).equilibrium(x)
    assert plain.volts == approx(compiled.volts, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_kirchhoffs_law_holds_on_large_networks(seed):
    network, connections, x = drawn(300 + seed, 500, 900)
    found = NewtonCircuit(network, connections).equilibrium(x)
    assert left_over(network, connections, x, found) <= 1e-12 * found.largest


# --- what comes again ------------------------------------------------------------------------------------------------


def test_equal_questions_get_equal_answers_and_a_kept_factor_the_same_within_rounding():
    rng = np.random.default_rng(1)
    network = torus(12, rng.uniform(2, 5, 288))
    connections = [Connection(0, -1, "voltage"), Connection(77, -1, "voltage")]
    x, gates = np.array([0.0, 0.5]), rng.uniform(2, 5, 288)
    fresh = NewtonCircuit(network, connections)
    fresh.program_gates(gates)
    wanted = fresh.operating_point(x)
    used = NewtonCircuit(network, connections)
    used.operating_point(2 * x)
    used.follow_gates(gates)
    assert used.operating_point(x) == approx(wanted, rel=1e-12, abs=1e-13)
    used.program_gates(gates)
    assert used.operating_point(x).tobytes() == wanted.tobytes()


def test_a_kept_factor_spares_factors():
    rng = np.random.default_rng(2)
    gates = rng.uniform(2, 5, 800)
    circuit = NewtonCircuit(torus(20, gates), [Connection(0, -1, "voltage"), Connection(210, -1, "voltage")])
    x = np.array([0.0, 0.3])
    volts = circuit.operating_point(x)
    before = circuit.n_factors
    for _ in range(5):
        circuit.follow_gates(gates + 1e-4 * rng.normal(size=800))
        volts = circuit.operating_point(x, volts)
    if newton.kernels is not None:
        assert circuit.n_factors == before
    residual = circuit.equilibrium(x, volts)
    assert residual.residual <= 1e-12 * residual.largest


def test_a_batch_is_the_same_as_one_after_the_other(either):
    network, connections, x = drawn(5, 30, 30)
    circuit = NewtonCircuit(network, connections)
    batch = np.outer([1.0, 0.9, -0.5], x)
    together = circuit.operating_point(batch)
    assert together == approx(np.stack([circuit.operating_point(one) for one in batch]), rel=1e-11, abs=1e-12)


def test_programmed_conductances_take_the_place_of_the_listed_ones(either):
    branches = (
        Branch("R1", "s", "n", RESISTOR, (1e-3,)),
        Branch("M", "n", GROUND, MOSFET, (1e-30, 0.7, 0.0, 3.0)),
        Branch("R2", "n", GROUND, RESISTOR, (1e-3,), tunable=True),
    )
    circuit = NewtonCircuit(Network(("s", "n"), branches), [Connection(0, -1, "voltage")])
    circuit.program(np.array([3e-3]))
    assert circuit.conductances.tolist() == [3e-3]
    assert circuit.operating_point(np.array([8.0])) == approx([8.0, 2.0])


# --- hard cases, and what has no answer ------------------------------------------------------------------------------


@pytest.mark.parametrize("theta", [(1e-15, 0.026), (1e-30, 5e-3), (1e-9, 1e-4)])
def test_ladders_of_diodes_with_a_hard_turn_on(theta, either):
    names = tuple(f"n{i}" for i in range(250))
    branches = [Branch(f"R{i}", names[i], names[i + 1], RESISTOR, (1e-2,)) for i in range(249)]
    branches += [Branch(f"D{i}", name, GROUND, DIODE, theta) for i, name in enumerate(names)]
    network, connections = Network(names, tuple(branches)), [Connection(0, -1, "voltage", 0.1)]
    found = NewtonCircuit(network, connections).equilibrium(np.array([5.0]))
    assert left_over(network, connections, np.array([5.0]), found) <= 1e-12 * found.largest


@pytest.mark.parametrize("seed", range(4))
def test_grids_settle_far_into_saturation(seed, either):
    network = torus(15, np.random.default_rng(seed).uniform(1.0, 6.0, 450), 0.02 * (seed % 2))
    connections = [Connection(0, -1, "voltage"), Connection(112, -1, "voltage")]
    circuit = NewtonCircuit(network, connections)
    for volts in (0.01, 2.0, 10.0, -3.0):
        x = np.array([volts, 0.0])
        found = circuit.equilibrium(x)
        assert left_over(network, connections, x, found) <= 1e-12 * found.largest


def test_conductances_over_fourteen_decades(either):
    rng = np.random.default_rng(0)
    tree = barabasi_albert(300, 600, 1.0, rng)
    branches = [Branch(b.name, b.plus, b.minus, RESISTOR, (float(10 ** rng.uniform(-12, 2)),)) for b in tree.branches]
    branches += [Branch(f"D{i}", f"n{i}", GROUND, ANTIPARALLEL, (1e-14, 0.0259)) for i in range(0, 300, 2)]
    network, connections = Network(tree.nodes, tuple(branches)), [Connection(0, -1, "voltage")]
    found = NewtonCircuit(network, connections).equilibrium(np.array([5.0]))
    assert left_over(network, connections, np.array([5.0]), found) <= 1e-12 * found.largest


def test_an_island_behind_transistors_that_are_off_is_named(either):
    # Every transistor at nodes n112 and n113 is off, and a current enters n112.
    gates = np.full(450, 5.0)
    network = torus(15, gates)
    island = {"n112", "n113"}
    branches = tuple(
        Branch(b.name, b.plus, b.minus, MOSFET, (BETA, THRESHOLD, 0.0, 5.0 if {b.plus, b.minus} == island else 0.0))
        if {b.plus, b.minus} & island
        else b
        for b in network.branches
    )
    connections = [Connection(0, -1, "voltage"), Connection(112, -1, "current")]
    circuit = NewtonCircuit(Network(network.nodes, branches), connections)
    left = r"1e-06 A are left over at node n112 \(branches .*\)"
    told = f"{left}; next to nothing holds the voltage of node n112, n113: add a branch there"
    with pytest.raises(CircuitError, match=told):
        circuit.operating_point(np.array([1.0, 1e-6]))


def test_floating_parts_loops_and_other_laws_are_refused_by_name():
    diode = Branch("D", "a", "b", DIODE, (1e-9, 0.03))
    network = Network(("a", "b", "c"), (diode, Branch("R", "c", GROUND, RESISTOR, (1.0,))))
    with pytest.raises(CircuitError, match="node a, b lies in a part with no path to ground"):
        NewtonCircuit(network, [Connection(2, -1, "current")])
    with pytest.raises(CircuitError, match="form a loop; give one of them a resistance"):
        NewtonCircuit(network, [Connection(0, -1, "voltage"), Connection(0, -1, "voltage")])
    strange = Network(("a",), (Branch("D7", "a", GROUND, ELEMENTS["series-diode"], (1e-9, 0.03, 1.0)),))
    with pytest.raises(CircuitError, match="branch D7 has a law that the sparse solver does not know.*solver: dense"):
        NewtonCircuit(strange, [Connection(0, -1, "voltage")])


def test_a_source_without_a_number_is_named():
    network = Network(("a",), (Branch("D", "a", GROUND, DIODE, (1e-9, 0.03)),))
    circuit = NewtonCircuit(network, [Connection(0, -1, "current")])
    with pytest.raises(CircuitError, match="the current source between a and ground has no finite value"):
        circuit.operating_point(np.array([np.nan]))


# --- who takes it ----------------------------------------------------------------------------------------------------


def test_large_nonlinear_networks_are_solved_sparsely_by_themselves():
    connections = [Connection(0, -1, "voltage"), Connection(5, -1, "voltage")]
    small, large = (torus(side, np.full(2 * side**2, 4.0)) for side in (3, 20))
    assert isinstance(connected(small, connections), Circuit)
    assert isinstance(connected(large, connections), NewtonCircuit)
    assert isinstance(connected(large, connections, solver="dense"), Circuit)
    assert isinstance(connected(small, connections, solver="sparse"), NewtonCircuit)
    dense = Circuit(large, connections)
    point = analyses.operating_point(dense, np.array([0.0, 1.0]))
    assert dense.twin is not None
    assert point.volts == approx(dense.operating_point(np.array([0.0, 1.0])), rel=1e-11, abs=1e-12)


def test_an_operating_point_has_what_the_dense_one_has():
    network, connections, x = drawn(3, 30, 30)
    dense = analyses.operating_point(Circuit(network, connections), x)
    sparse = analyses.operating_point(NewtonCircuit(network, connections), x)
    assert sparse.source_currents == approx(dense.source_currents, rel=1e-9, abs=1e-12)
    of = list(network.nodes[:3])
    assert analyses.sensitivities(sparse, of).by_sources == approx(
        analyses.sensitivities(dense, of).by_sources, rel=1e-7, abs=1e-9
    )


def test_a_nudge_is_answered_as_the_dense_circuit_does(either):
    network, connections, x = drawn(4, 30, 30)
    nudge, f = np.array([0.0, 0.0, 1e-5, 0.0]), np.sin(2 * np.pi * np.arange(20) / 20)
    dense, sparse = Circuit(network, connections), NewtonCircuit(network, connections)
    for samples in (None, f):
        wanted, found = (analyses.a_and_b(circuit, x, nudge, samples) for circuit in (dense, sparse))
        assert found[0] == approx(wanted[0], rel=1e-10, abs=1e-11)
        assert found[1] == approx(wanted[1], rel=1e-8, abs=1e-9 * np.abs(wanted[1]).max())


def test_what_needs_dense_matrices_sees_the_present_gates():
    circuit = NewtonCircuit(torus(4, np.full(32, 4.0)), [Connection(0, -1, "voltage"), Connection(7, -1, "voltage")])
    gates = np.random.default_rng(3).uniform(2, 6, 32)
    circuit.program_gates(gates)
    x = np.array([0.0, 1.0])
    assert as_dense(circuit).operating_point(x) == approx(circuit.operating_point(x), rel=1e-11, abs=1e-12)
