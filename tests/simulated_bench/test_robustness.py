"""Networks that lose digits, networks without an answer, and parts that Newton's method alone does not get past."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from fractions import Fraction

import numpy as np
import pytest

from freqprop_lab.elements import CAPACITOR, ELEMENTS, FromFunction, Tabulated
from freqprop_lab.network import GROUND, Branch, Network, barabasi_albert
from simulated_bench import homotopies
from simulated_bench.analyses import ac, operating_point
from simulated_bench.circuit import Circuit, CircuitError, Connection
from simulated_bench.linear_solves import eliminated

RESISTOR, DIODE, ANTIPARALLEL = (ELEMENTS[kind] for kind in ("resistor", "diode", "antiparallel"))


def exact(network: Network, driven: dict[str, float], into: dict[str, float]) -> np.ndarray:
    """Solve a network of resistors in rational numbers. driven: V; into: A."""
    free = [name for name in network.nodes if name not in driven]
    where = {name: i for i, name in enumerate(free)}
    n = len(free)
    K = [[Fraction(0)] * (n + 1) for _ in free]
    for name, current in into.items():
        if name in where:
            K[where[name]][n] += Fraction(current)
    for branch in network.branches:
        g = Fraction(branch.theta[0])
        for here, other in ((branch.plus, branch.minus), (branch.minus, branch.plus)):
            if here in where:
                row = K[where[here]]
                row[where[here]] += g
                if other in where:
                    row[where[other]] -= g
                elif other != GROUND:
                    row[n] += g * Fraction(driven[other])
    for k in range(n):
        pivot = next(i for i in range(k, n) if K[i][k])
        K[k], K[pivot] = K[pivot], K[k]
        for i in range(n):
            if i != k and K[i][k]:
                share = K[i][k] / K[k][k]
                K[i] = [a - share * b for a, b in zip(K[i], K[k], strict=True)]
    found = {name: K[i][n] / K[i][i] for name, i in where.items()}
    return np.array([float(found[name]) if name in found else driven[name] for name in network.nodes])


@pytest.mark.parametrize("decades", [(-5.0, 1.3), (-9.0, 0.0), (-12.0, 3.0), (-25.0, 0.0)])
@pytest.mark.parametrize("seed", range(4))
def test_any_ratio_of_conductances_keeps_its_digits(decades, seed):
    rng = np.random.default_rng(seed)
    tree = barabasi_albert(12, 20, 1.0, rng)
    branches = [Branch(b.name, b.plus, b.minus, RESISTOR, (float(10 ** rng.uniform(*decades)),)) for b in tree.branches]
    branches.append(Branch("anchor", "n7", GROUND, RESISTOR, (float(10 ** decades[0]),)))
    network = Network(tree.nodes, tuple(branches))
    into = float(10 ** decades[0])
    circuit = Circuit(network, [Connection(0, -1, "voltage"), Connection(5, -1, "current")])
    expected = exact(network, {"n0": 2.0}, {"n5": into})
    x = np.array([2.0, into])
    assert circuit.operating_point(x) == pytest.approx(expected, rel=1e-14)
    # Of 25 decades the weakest currents lie below the 32nd digit: refused, or right.
    with suppress(CircuitError) if decades[0] < -20 else nullcontext():
        point = operating_point(circuit, x)
        assert point.volts == pytest.approx(expected, rel=1e-14)
        assert point.residual <= 1e-12 * point.largest_current


def test_a_strong_part_behind_a_weak_anchor():
    # 1 nS holds a triangle of 1 S; a plain factor loses 1e-7 of the anchor. 1 nA makes exactly 1 V everywhere.
    branches = [
        Branch(f"R{i}", a, b, RESISTOR, (1.0,)) for i, (a, b) in enumerate((("a", "b"), ("b", "c"), ("c", "a")))
    ]
    branches.append(Branch("anchor", "a", GROUND, RESISTOR, (1e-9,)))
    circuit = Circuit(Network(("a", "b", "c"), tuple(branches)), [Connection(1, -1, "current")])
    volts = circuit.operating_point(np.array([1e-9]))
    # b stands above a by what 1 nA makes on 2/3 Ohm
    assert volts == pytest.approx([1.0, 1.0 + 2e-9 / 3, 1.0 + 1e-9 / 3], rel=2e-16)


def test_elimination_without_subtraction_by_hand():
    # Two nodes, 1 S between them, 1e-40 S and 2e-40 S to ground, 3e-40 A into the first: both at 1 V
    between = np.array([[0.0, 1.0], [1.0, 0.0]])
    found = eliminated(between, np.array([1e-40, 2e-40]), np.array([3e-40, 0.0]))
    assert found == pytest.approx([1.0, 1.0], rel=1e-15)


def test_diodes_among_nine_decades_are_settled_to_the_last_digit():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        tree = barabasi_albert(10, 18, 1.0, rng)
        branches = [
            Branch(b.name, b.plus, b.minus, RESISTOR, (float(10 ** rng.uniform(-9, 1)),)) for b in tree.branches
        ]
        for i in range(5):
            plus, minus = rng.choice(10, 2, replace=False).tolist()
            branches.append(Branch(f"D{i}", f"n{plus}", f"n{minus}", DIODE if i % 2 else ANTIPARALLEL, (1e-15, 0.026)))
        a, b = rng.choice(10, 2, replace=False).tolist()
        circuit = Circuit(
            Network(tree.nodes, tuple(branches)), [Connection(a, -1, "voltage"), Connection(b, -1, "voltage", 1e3)]
        )
        point = operating_point(circuit, rng.uniform(-20, 20, 2))
        assert point.residual <= 1e-12 * point.largest_current


@pytest.mark.parametrize("width", [1e-3, 1e-5, 1e-7])
def test_diodes_however_hard_they_turn_on(width):
    branches = (
        Branch("R", "s", "n", RESISTOR, (1e-3,)),
        Branch("D1", "n", "m", DIODE, (1e-12, width)),
        Branch("D2", "m", GROUND, DIODE, (1e-12, width)),
    )
    circuit = Circuit(Network(("s", "n", "m"), branches), [Connection(0, -1, "voltage")])
    point = operating_point(circuit, np.array([5.0]))
    # 5 V - 2 width ln(I / Is) on 1 kOhm
    assert point.currents == pytest.approx([(5 - 2 * width * np.log(5e-3 / 1e-12)) / 1e3] * 3, rel=2e-3)


def test_kinks_and_plateaus_are_got_past():
    # A current that all but stops between two cliffs: the tangent on the plateau points volts beyond the cliff.
    table = Tabulated([-3.0, -2.0, -1.999, 1.999, 2.0, 3.0], [-5.0, -1.0, -1e-9, 1e-9, 1.0, 5.0])

    def beyond(v: np.ndarray) -> np.ndarray:
        return np.maximum(np.abs(v) - 1, 0.0)

    steep = FromFunction(
        lambda v: 1e-9 * v + 1e6 * np.sign(v) * beyond(v) ** 3, slope=lambda v: 1e-9 + 3e6 * beyond(v) ** 2
    )
    branches = (
        Branch("R", "s", "n", RESISTOR, (1e-6,)),
        Branch("T", "n", "m", table, ()),
        Branch("F", "m", GROUND, steep, ()),
    )
    circuit = Circuit(Network(("s", "n", "m"), branches), [Connection(0, -1, "voltage")])
    for volts in (0.1, 3.5, 50.0, -1000.0):
        found = circuit.operating_point(np.array([volts]))
        # On a cliff of 1 kS the last bit of 2 V is 4e-13 A.
        assert circuit.residual(found, np.array([volts])) <= 1e-12 * abs(volts) * 1e-6 + 1e-12


def test_where_newton_alone_is_kept_from_arriving_shunts_or_sources_find_it(monkeypatch):
    # Newton's method is given too few iterations for a cold start, so that only small steps can arrive.
    branches = [Branch(f"R{i}", f"n{i}", f"n{i + 1}", RESISTOR, (1e-3,)) for i in range(6)]
    branches += [Branch(f"D{i}", f"n{i}", GROUND, ANTIPARALLEL, (1e-14, 0.026)) for i in range(1, 7)]
    circuit = Circuit(Network(tuple(f"n{i}" for i in range(7)), tuple(branches)), [Connection(0, -1, "voltage")])
    expected = circuit.operating_point(np.array([30.0]))
    monkeypatch.setattr("simulated_bench.circuit._MOST_ITERATIONS", 9)
    assert circuit.operating_point(np.array([30.0])) == pytest.approx(expected, rel=1e-11)
    monkeypatch.setattr(homotopies, "_fading_shunts", lambda attempt, rest, largest: (rest, False))
    assert circuit.operating_point(np.array([30.0])) == pytest.approx(expected, rel=1e-11)
    monkeypatch.setattr("simulated_bench.circuit._MOST_ITERATIONS", 1)
    with pytest.raises(
        CircuitError, match=r"no equilibrium found: .* A are left over at node n1 \(branches R0, R1, D1\)"
    ):
        circuit.operating_point(np.array([30.0]))


def test_one_of_a_batch_that_needs_small_steps_does_not_hold_up_the_others(monkeypatch):
    branches = (Branch("R", "s", "n", RESISTOR, (1e-3,)), Branch("D", "n", GROUND, DIODE, (1e-14, 0.026)))
    circuit = Circuit(Network(("s", "n"), branches), [Connection(0, -1, "voltage")])
    batch = np.array([[0.01], [40.0], [-1.0]])
    expected = circuit.operating_point(batch)
    monkeypatch.setattr("simulated_bench.circuit._MOST_ITERATIONS", 8)
    assert circuit.operating_point(batch) == pytest.approx(expected, rel=1e-11)


def test_what_only_a_capacitor_holds_floats_in_dc():
    branches = (Branch("C", "s", "n", CAPACITOR, (1e-6,)),)
    with pytest.raises(CircuitError, match="node n lies in a part with no path to ground"):
        Circuit(Network(("s", "n"), branches), [Connection(0, -1, "voltage")])


def test_ac_of_a_strong_part_behind_a_weak_anchor():
    branches = (
        Branch("R", "a", "b", RESISTOR, (1.0,)),
        Branch("anchor", "a", GROUND, RESISTOR, (1e-9,)),
    )
    circuit = Circuit(Network(("a", "b"), branches), [Connection(1, -1, "current")])
    point = operating_point(circuit, np.zeros(1))
    # 1 nF at node a: corner at 1 / (2 pi) Hz, where a stands at 1e9 / (1 + i)
    volts = ac(point, np.array([1.0]), np.array([1 / (2 * np.pi)]), np.array([1e-9, 0.0])).volts[0]
    assert volts[0] == pytest.approx(1e9 / (1 + 1j), rel=1e-14)
    assert volts[1] - volts[0] == pytest.approx(1.0, abs=2e-7)  # the last bit of 1e9


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_source_without_a_number_is_refused(value):
    branches = (Branch("R", "s", "n", RESISTOR, (1e-3,)), Branch("D", "n", GROUND, DIODE, (1e-14, 0.026)))
    circuit = Circuit(Network(("s", "n"), branches), [Connection(0, -1, "voltage")])
    for ask in (circuit.operating_point, lambda x: operating_point(circuit, x)):
        with pytest.raises(CircuitError, match="the voltage source between s and ground has no finite value"):
            ask(np.array([value]))


def test_where_all_nodes_are_driven_the_analyses_have_their_answers():
    branches = (Branch("R", "a", "b", RESISTOR, (1e-3,)), Branch("D", "b", GROUND, DIODE, (1e-9, 0.03)))
    circuit = Circuit(Network(("a", "b"), branches), [Connection(0, -1, "voltage"), Connection(1, -1, "voltage")])
    point = operating_point(circuit, np.array([1.0, 0.0]))
    assert point.currents == pytest.approx([1e-3, 0.0])
    assert point.source_currents == pytest.approx([1e-3, -1e-3])
    assert ac(point, np.array([1.0, 2.0]), np.array([50.0])).volts[0] == pytest.approx([1.0, 2.0])


def test_the_same_question_gets_the_same_bits():
    rng = np.random.default_rng(5)
    tree = barabasi_albert(10, 18, 1.0, rng)
    branches = (*tree.branches, Branch("D", "n2", "n4", DIODE, (1e-12, 0.03)))
    asked = [
        operating_point(Circuit(Network(tree.nodes, branches), [Connection(0, -1, "voltage")], 1), np.array([2.0]))
        for _ in range(2)
    ]
    assert asked[0].volts.tobytes() == asked[1].volts.tobytes()
    assert asked[0].currents.tobytes() == asked[1].currents.tobytes()
