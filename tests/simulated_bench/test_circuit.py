"""The solver against pencil work, Kirchhoff, the minimum of the energy, SciPy's root finder and ngspice."""

from __future__ import annotations

import math
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, root

from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network import GROUND, Branch, Network, Port, barabasi_albert, hidden_layer
from freqprop_lab.values import Feedback
from simulated_bench.circuit import Circuit, CircuitError, Connection, Following

approx = pytest.approx

RESISTOR, DIODE, ANTIPARALLEL = (ELEMENTS[kind] for kind in ("resistor", "diode", "antiparallel"))
JUNCTION = (10e-9, 30e-3)  # Is, nVt of the paper-sized diode
HARD = (1e-15, 26e-3)


def resistor(name: str, plus: str, minus: str, ohm: float, *, tunable: bool = False) -> Branch:
    return Branch(name, plus, minus, RESISTOR, (1 / ohm,), tunable=tunable)


def diode(name: str, anode: str, cathode: str, theta=JUNCTION) -> Branch:
    return Branch(name, anode, cathode, DIODE, theta)


def pair(name: str, plus: str, minus: str, theta=JUNCTION) -> Branch:
    return Branch(name, plus, minus, ANTIPARALLEL, theta)


def volts_at(nodes: str, branches: list[Branch], connections: list[Connection], sources, gauge=None) -> dict:
    network = Network(tuple(nodes.split()), tuple(branches))
    volts = Circuit(network, connections, gauge).operating_point(np.array(sources, dtype=float))
    return dict(zip(network.nodes, volts.tolist(), strict=True))


# --- linear circuits, by hand ---------------------------------------------------------------------------------------


def test_a_voltage_divider():
    branches = [resistor("R1", "top", "tap", 2e3), resistor("R2", "tap", GROUND, 1e3)]
    assert volts_at("top tap", branches, [Connection(0, -1, "voltage")], [9.0]) == approx({"top": 9.0, "tap": 3.0})


@pytest.mark.parametrize(("fourth", "left", "right"), [(2e3, 20 / 3, 20 / 3), (1e3, None, None)])
def test_a_wheatstone_bridge(fourth, left, right):
    branches = [
        resistor("R1", "top", "left", 1e3),
        resistor("R2", "left", GROUND, 2e3),
        resistor("R3", "top", "right", 1e3),
        resistor("R4", "right", GROUND, fourth),
        resistor("meter", "left", "right", 2500 / 3),
    ]
    volts = volts_at("top left right", branches, [Connection(0, -1, "voltage")], [10.0])
    if left is not None:
        assert (volts["left"], volts["right"]) == (approx(left), approx(right))
    else:
        # Thevenin: 20/3 - 5 = 5/3 V behind 2000/3 + 500 = 3500/3 Ohm, and the meter's 2500/3: 5/3 x 2500/6000 V
        assert volts["left"] - volts["right"] == approx(25 / 36)


def test_an_r_2r_ladder_halves_at_each_step():
    branches = [resistor(f"S{i}", f"n{i}", f"n{i + 1}", 1e3) for i in range(4)]
    branches += [resistor(f"P{i}", f"n{i}", GROUND, 2e3) for i in range(1, 4)] + [resistor("end", "n4", GROUND, 1e3)]
    volts = volts_at("n0 n1 n2 n3 n4", branches, [Connection(0, -1, "voltage")], [8.0])
    assert list(volts.values()) == approx([8.0, 4.0, 2.0, 1.0, 0.5])


def test_a_current_goes_into_the_plus_node():
    branches = [resistor("R1", "a", GROUND, 1e3), resistor("R2", "b", GROUND, 500.0)]
    assert volts_at("a b", branches, [Connection(0, -1, "current")], [2e-3]) == approx({"a": 2.0, "b": 0.0})
    assert volts_at("a b", branches, [Connection(0, 1, "current")], [2e-3]) == approx({"a": 2.0, "b": -1.0})


def test_a_source_behind_a_resistor_is_its_norton_equivalent():
    branches = [resistor("R", "n", GROUND, 1e3)]
    assert volts_at("n", branches, [Connection(0, -1, "voltage", 3e3)], [12.0]) == approx({"n": 3.0})
    # Millman: (12 / 3k + 6 / 1k) / (1 / 3k + 1 / 1k + 1 / 1k) = 10 mA / (7/3 mS)
    two = [Connection(0, -1, "voltage", 3e3), Connection(0, -1, "voltage", 1e3)]
    assert volts_at("n", branches, two, [12.0, 6.0]) == approx({"n": 30 / 7})


def test_a_floating_source_shares_its_voltage_by_the_resistors():
    branches = [resistor("R1", "a", GROUND, 3e3), resistor("R2", "b", GROUND, 1e3)]
    # The same current through both: v_a / 3k = -v_b / 1k with v_a - v_b = 1
    assert volts_at("a b", branches, [Connection(0, 1, "voltage")], [1.0]) == approx({"a": 0.75, "b": -0.25})
    behind = [Connection(0, 1, "voltage", 4e3)]
    assert volts_at("a b", branches, behind, [1.0]) == approx({"a": 0.375, "b": -0.125})


def test_a_gauge_fixes_the_level_and_no_difference():
    branches = [resistor("R1", "a", "m", 1e3), resistor("R2", "m", "b", 3e3)]
    for gauge, a in ((0, 0.0), (1, 1.0), (2, 4.0)):  # how far a lies above the gauge: a itself, m, b
        volts = volts_at("a m b", branches, [Connection(0, 2, "voltage")], [4.0], gauge)
        assert volts == approx({"a": a, "m": a - 1.0, "b": a - 4.0})


def test_sources_in_series_add_up():
    branches = [resistor("R", "a", GROUND, 1e3)]
    stacked = [Connection(0, 1, "voltage"), Connection(1, -1, "voltage")]
    assert volts_at("a b", branches, stacked, [1.5, 2.0]) == approx({"a": 3.5, "b": 2.0})


def test_where_all_nodes_are_driven_nothing_is_solved_for():
    network = Network(("a", "b"), (resistor("R", "a", "b", 1e3), diode("D", "b", GROUND)))
    circuit = Circuit(network, [Connection(0, -1, "voltage"), Connection(1, -1, "voltage")])
    assert circuit.n_free == 0
    assert circuit.operating_point(np.array([3.0, -1.0])).tolist() == [3.0, -1.0]
    batch = np.array([[3.0, -1.0], [0.0, 2.0]])
    assert circuit.operating_point(batch).tolist() == batch.tolist()
    assert circuit.residual(batch, batch) == 0
    linear = Circuit(Network(("a",), (resistor("R", "a", GROUND, 1.0),)), [Connection(0, -1, "voltage")])
    assert linear.operating_point(np.array([3.0])).tolist() == [3.0]


def test_programmed_conductances_take_the_place_of_the_listed_ones():
    branches = (
        resistor("fixed", "top", "tap", 1e3),
        diode("D", GROUND, "tap", (1e-30, 1.0)),  # between the tunable ones, so that numbers differ from places
        resistor("tuned", "tap", GROUND, 1e3, tunable=True),
    )
    circuit = Circuit(Network(("top", "tap"), branches), [Connection(0, -1, "voltage")])
    for siemens, tap in ((1e-3, 4.0), (3e-3, 2.0), (7e-3, 1.0)):
        circuit.program(np.array([siemens]))
        assert circuit.operating_point(np.array([8.0])) == approx([8.0, tap])


# --- what has no solution -------------------------------------------------------------------------------------------


def circuit_error(nodes: str, branches: list[Branch], connections: list[Connection]) -> str:
    with pytest.raises(CircuitError) as caught:
        volts_at(nodes, branches, connections, np.ones(len(connections)))
    return str(caught.value)


@pytest.mark.parametrize(
    ("connections", "named"),
    [
        ([Connection(0, -1, "voltage"), Connection(0, -1, "voltage")], ("alpha", "ground")),
        ([Connection(0, 1, "voltage"), Connection(1, 2, "voltage"), Connection(2, 0, "voltage")], ("alpha", "gamma")),
    ],
    ids=["two on one node", "ring"],
)
def test_a_loop_of_stiff_sources_is_refused_by_name(connections, named):
    branches = [resistor(f"R{n}", n, GROUND, 1e3) for n in ("alpha", "beta", "gamma")]
    message = circuit_error("alpha beta gamma", branches, connections)
    assert "form a loop; give one of them a resistance" in message
    assert any(name in message for name in named)


@pytest.mark.parametrize("seed", range(20))
def test_a_part_on_current_sources_alone_floats(seed):
    # Rounding leaves such a matrix a tiny pivot of either sign: it must be told from the wiring.
    ohm = np.random.default_rng(seed).uniform(1, 10, 3)
    branches = [resistor("R1", "a", "b", ohm[0]), resistor("R2", "b", "c", ohm[1]), resistor("R3", "c", "a", ohm[2])]
    branches.append(resistor("R4", "held", GROUND, 1.0))
    message = circuit_error("a held b c", branches, [Connection(0, -1, "current")])
    assert message.startswith("node a, b, c lies in a part with no path to ground")


def test_a_floating_part_with_a_diode_in_it_is_refused_too():
    branches = [diode("D", "a", "b"), resistor("R1", "a", "b", 1e3), resistor("R2", "c", GROUND, 1e3)]
    assert circuit_error("a b c", branches, [Connection(2, -1, "voltage")]).startswith("node a, b lies in a part")


def test_a_node_whose_only_branch_is_programmed_to_nothing_is_named():
    branches = (resistor("R", "tap", "top", 1e3, tunable=True),)
    circuit = Circuit(Network(("top", "tap"), branches), [Connection(0, -1, "voltage")])
    circuit.program(np.zeros(1))
    with pytest.raises(CircuitError, match="node tap lies in a part with no path"):
        circuit.operating_point(np.array([1.0]))


# --- diodes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("volts", [-3.0, 0.1, 0.4, 1.0, 5.0])
def test_a_diode_behind_a_resistor_sits_where_both_currents_agree(volts):
    found = volts_at(
        "s n", [resistor("R", "s", "n", 1e3), diode("D", "n", GROUND)], [Connection(0, -1, "voltage")], [volts]
    )

    def too_much(v: float) -> float:
        return 1e-8 * math.expm1(v / 0.03) - (volts - v) / 1e3

    assert found["n"] == approx(brentq(too_much, -4.0, 1.0, xtol=1e-15, rtol=1e-15), rel=1e-12)


def test_a_clipper_passes_what_its_diode_blocks():
    circuit = Circuit(
        Network(("s", "n"), (resistor("R", "s", "n", 1e3), diode("D", "n", GROUND))), [Connection(0, -1, "voltage")]
    )
    clipped = circuit.operating_point(np.array([[-5.0], [5.0]]))[:, 1]
    assert clipped[0] == approx(-5.0 + 1e-5, abs=1e-12)  # Is x 1 kOhm is all that the blocked diode takes
    # 4.6 mA through Is: 0.03 ln(4.6e-3 / 1e-8) = 0.391
    assert clipped[1] == approx(0.391, abs=1e-3)


@given(v=st.floats(-0.6, 0.6))
def test_an_antiparallel_limiter_answers_the_inverse_of_its_characteristic(v):
    # Chosen the node's voltage, the source must stand at v + R 2 Is sinh(v / nVt).
    source = v + 1e3 * 2e-8 * math.sinh(v / 0.03)
    found = volts_at(
        "s n", [resistor("R", "s", "n", 1e3), pair("D", "n", GROUND)], [Connection(0, -1, "voltage")], [source]
    )
    assert found["n"] == approx(v, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("pattern", ["alternating", "antiparallel"])
@pytest.mark.parametrize("signs", [(-1, -1), (-1, 1), (1, -1), (1, 1)])
def test_the_xor_net_at_2_volts_agrees_with_a_general_root_finder(pattern, signs):
    network = hidden_layer(4, 3, 1, 1e-4, diodes=pattern)
    rng = np.random.default_rng(2)
    g = rng.uniform(1e-5, 1e-3, 18)
    x = 2.0 * np.array([signs[0], signs[1], -signs[0], -signs[1]])
    circuit = Circuit(network, [Connection(i, -1, "voltage") for i in range(4)])
    circuit.program(g)
    volts = circuit.operating_point(x)

    def out_of(free: np.ndarray, share: float) -> list[float]:
        """Return the currents out of h1, h2, h3, y+, y- at a share of the levels, A.

        Branches stand input by input at each hidden node, then the outputs.
        """
        h, y = free[:3], free[3:]
        hidden = [sum(g[4 * j + i] * (h[j] - share * x[i]) for i in range(4)) for j in range(3)]
        hidden = [hidden[j] + sum(g[12 + 2 * j + k] * (h[j] - y[k]) for k in range(2)) for j in range(3)]
        if pattern == "alternating":
            hidden = [
                hidden[0] + 1e-8 * math.expm1(h[0] / 0.03),
                hidden[1] - 1e-8 * math.expm1(-h[1] / 0.03),
                hidden[2] + 1e-8 * math.expm1(h[2] / 0.03),
            ]
        else:
            hidden = [hidden[j] + 2e-8 * math.sinh(h[j] / 0.03) for j in range(3)]
        outputs = [sum(g[12 + 2 * j + k] * (y[k] - h[j]) for j in range(3)) for k in range(2)]
        return [1e4 * current for current in (*hidden, *outputs)]

    found = root(out_of, np.zeros(5), args=(0.0,))
    for share in np.linspace(0.02, 1, 50):  # the levels are raised slowly: at once, the root finder loses its way
        found = root(out_of, found.x, args=(share,), tol=1e-14)
    assert np.abs(found.fun).max() < 1e-11
    assert volts[:4] == approx(x)
    assert volts[4:] == approx(found.x, abs=1e-11)


# --- laws, on drawn networks ----------------------------------------------------------------------------------------


@dataclass
class Drawn:
    """A random network with diodes, driven by three sources, and its branches' formulas written out again."""

    circuit: Circuit
    network: Network
    connections: list[Connection]
    sources: np.ndarray

    def across(self, volts: np.ndarray) -> list[float]:
        at = dict(zip(self.network.nodes, volts.tolist(), strict=True)) | {GROUND: 0.0}
        return [at[branch.plus] - at[branch.minus] for branch in self.network.branches]

    def currents(self, volts: np.ndarray) -> list[float]:
        found = []
        for branch, x in zip(self.network.branches, self.across(volts), strict=True):
            if branch.element is RESISTOR:
                found.append(branch.theta[0] * x)
            elif branch.element is DIODE:
                found.append(branch.theta[0] * math.expm1(x / branch.theta[1]))
            else:
                found.append(2 * branch.theta[0] * math.sinh(x / branch.theta[1]))
        return found

    def energy(self, volts: np.ndarray) -> float:
        """Eq. 2.6 with currents into the nodes, W; a source's resistor is a branch too."""
        held = {GROUND, self.network.nodes[self.connections[0].plus]}
        terms = []
        for branch, x in zip(self.network.branches, self.across(volts), strict=True):
            if {branch.plus, branch.minus} <= held:
                continue  # a constant; of a diode it can be 1e31 W, and hide the rest
            first, width = (*branch.theta, 0.0)[:2]
            if branch.element is RESISTOR:
                terms.append(0.5 * first * x**2)
            elif branch.element is DIODE:
                terms.append(first * (width * math.expm1(x / width) - x))
            else:
                terms.append(2 * first * width * (math.cosh(x / width) - 1))
        for connection, value in zip(self.connections, self.sources, strict=True):
            if connection.kind == "current":
                terms.append(-value * (volts[connection.plus] - volts[connection.minus]))
            elif connection.resistance:
                terms.append(0.5 * (volts[connection.plus] - value) ** 2 / connection.resistance)
        return math.fsum(terms)

    def left_over(self, volts: np.ndarray) -> tuple[float, float]:
        """Return the largest sum of currents at a node that no stiff source holds, and the largest current, A."""
        currents = self.currents(volts)
        out = dict.fromkeys((*self.network.nodes, GROUND), 0.0)
        for branch, current in zip(self.network.branches, currents, strict=True):
            out[branch.plus] += current
            out[branch.minus] -= current
        largest = max(map(abs, currents))
        stiff = {GROUND}
        for connection, value in zip(self.connections, self.sources.tolist(), strict=True):
            plus = self.network.nodes[connection.plus]
            if connection.kind == "current":
                out[plus] -= value
                out[self.network.nodes[connection.minus]] += value
                largest = max(largest, abs(value))
            elif connection.resistance:
                into = (value - volts[connection.plus]) / connection.resistance
                out[plus] -= into
                largest = max(largest, abs(into))
            else:
                stiff.add(plus)
        return max(abs(current) for node, current in out.items() if node not in stiff), largest


def draw(
    seed: int, n_nodes: int = 10, n_edges: int = 18, decades=(-4.0, -2.0), n_junctions: int = 5, theta=JUNCTION
) -> Drawn:
    rng = np.random.default_rng(seed)
    names = barabasi_albert(n_nodes, n_edges, 1.0, rng)
    branches = [
        Branch(b.name, b.plus, b.minus, RESISTOR, (float(10 ** rng.uniform(*decades)),), tunable=True)
        for b in names.branches
    ]
    for number in range(n_junctions):
        plus, minus = rng.choice(n_nodes, 2, replace=False).tolist()
        ends = [f"n{plus}", GROUND if rng.random() < 0.5 else f"n{minus}"]
        rng.shuffle(ends)
        branches.append(Branch(f"D{number}", ends[0], ends[1], DIODE if rng.random() < 0.6 else ANTIPARALLEL, theta))
    a, b, c, d = rng.choice(n_nodes, 4, replace=False).tolist()
    connections = [Connection(a, -1, "voltage"), Connection(b, -1, "voltage", 1e3), Connection(c, d, "current")]
    network = Network(names.nodes, tuple(branches), (), (Port(f"n{c}", f"n{d}"),))
    sources = rng.uniform(-3, 3, 3) * (1.0, 1.0, 1e-3)
    return Drawn(Circuit(network, connections), network, connections, sources)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), n_junctions=st.integers(0, 8))
def test_kirchhoff_holds_to_1e_12_of_the_largest_current(seed, n_junctions):
    drawn = draw(seed, n_junctions=n_junctions)
    volts = drawn.circuit.operating_point(drawn.sources)
    left_over, largest = drawn.left_over(volts)
    assert left_over < 1e-12 * largest
    assert drawn.circuit.residual(volts, drawn.sources) == approx(left_over, abs=1e-13 * largest)


def test_the_residual_of_a_wrong_state_is_the_current_that_is_missing():
    drawn = draw(3)
    volts = drawn.circuit.operating_point(drawn.sources)
    volts[(drawn.connections[0].plus + 1) % 10] += 0.05
    left_over, _ = drawn.left_over(volts)
    assert drawn.circuit.residual(volts, drawn.sources) == approx(left_over, rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), size=st.sampled_from([1e-3, 1e-2, 0.1]))
def test_every_other_state_has_a_higher_energy(seed, size):
    drawn = draw(seed)
    volts = drawn.circuit.operating_point(drawn.sources)
    least = drawn.energy(volts)
    rng = np.random.default_rng(seed)
    for _ in range(10):
        away = rng.normal(scale=size, size=volts.shape)
        away[drawn.connections[0].plus] = 0.0  # held by the stiff source
        assert drawn.energy(volts + away) > least


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_the_tangent_agrees_with_central_differences(seed):
    drawn = draw(seed)
    rng = np.random.default_rng(seed + 1)
    change = rng.uniform(-1, 1, 3) * (1.0, 1.0, 1e-3)
    # Some 1e-5 V: truncation (1e-5 / nVt)^2 / 6 = 2e-8, rounding 1e-15 / 1e-5.
    h = 1e-5
    solve = drawn.circuit.operating_point
    numeric = (solve(drawn.sources + h * change) - solve(drawn.sources - h * change)) / (2 * h)
    tangent = drawn.circuit.tangent(solve(drawn.sources), drawn.sources, change)
    assert tangent == approx(numeric, abs=1e-7 * np.abs(tangent).max())


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_where_newton_starts_does_not_matter(seed):
    drawn = draw(seed)
    volts = drawn.circuit.operating_point(drawn.sources)
    rng = np.random.default_rng(seed)
    for start in (volts, rng.uniform(-3, 3, volts.shape), np.full(volts.shape, 50.0)):
        assert drawn.circuit.operating_point(drawn.sources, start) == approx(volts, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("pattern", ["alternating", "antiparallel"])
@pytest.mark.parametrize("seed", range(5))
def test_without_drive_everything_comes_to_rest_at_zero(pattern, seed):
    network = hidden_layer(4, 3, 1, 1e-4, diodes=pattern)
    circuit = Circuit(network, [Connection(i, -1, "voltage") for i in range(4)])
    start = np.random.default_rng(seed).uniform(-1, 1, 9)
    assert circuit.operating_point(np.zeros(4), start) == approx(np.zeros(9), abs=1e-15)
    assert circuit.operating_point(np.zeros((3, 4))) == approx(np.zeros((3, 9)), abs=1e-15)


@pytest.mark.parametrize("n_junctions", [0, 5])
def test_a_batch_is_solved_as_each_of_its_members(n_junctions):
    drawn = draw(21, n_junctions=n_junctions)
    batch = drawn.sources * np.random.default_rng(4).uniform(-2, 2, (12, 1))
    together = drawn.circuit.operating_point(batch)
    alone = np.stack([drawn.circuit.operating_point(row) for row in batch])
    # One goes on until the last has arrived, so the last bits may differ.
    assert together == approx(alone, rel=1e-12, abs=1e-14)


def test_superposition_holds_without_diodes():
    drawn = draw(8, n_junctions=0)
    parts = [drawn.circuit.operating_point(row) for row in np.diag(drawn.sources)]
    assert sum(parts) == approx(drawn.circuit.operating_point(drawn.sources), rel=1e-12, abs=1e-14)


# --- a nudge that follows the state ---------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [-1.0, 0.0, 0.4, 1.0])
def test_a_following_nudge_on_one_node_is_one_more_conductance_to_the_target(f):
    # g1 (v - x) + g2 v = -s f (v - y), hence v = (g1 x + s f y) / (g1 + g2 + s f)
    g1, g2, s, x, y = 1e-3, 2e-3, 0.5e-3, 6.0, 1.0
    branches = (Branch("R1", "s", "n", RESISTOR, (g1,)), Branch("R2", "n", GROUND, RESISTOR, (g2,)))
    circuit = Circuit(Network(("s", "n"), branches, (Port("s"),), (Port("n"),)), [Connection(0, -1, "voltage")])
    squared = Feedback(s, lambda outputs: (outputs - y, np.eye(1)))
    volts = circuit.operating_point(np.array([[x]]), following=Following(np.array([f]), squared))
    assert volts == approx(np.array([[x, (g1 * x + s * f * y) / (g1 + g2 + s * f)]]), rel=1e-12)


def test_a_following_nudge_of_a_pair_enters_at_plus_and_leaves_at_minus():
    # Nodes p and m on 1 kOhm each to ground, s f = 1 mS, y = 3: G v_p = -1e-3 (v_p - v_m - 3), v_m = -v_p: v_p = 1
    branches = (resistor("R1", "p", GROUND, 1e3), resistor("R2", "m", GROUND, 1e3), resistor("R3", "s", GROUND, 1e3))
    network = Network(("s", "p", "m"), branches, (), (Port("p", "m"),))
    circuit = Circuit(network, [Connection(0, -1, "voltage")])
    squared = Feedback(2e-3, lambda outputs: (outputs - 3.0, np.eye(1)))
    volts = circuit.operating_point(np.array([[5.0]]), following=Following(np.array([0.5]), squared))
    assert volts == approx(np.array([[5.0, 1.0, -1.0]]), rel=1e-12)


def test_each_of_a_batch_follows_its_own_f():
    drawn = draw(5)
    feedback = Feedback(1e-4, lambda outputs: (np.tanh(outputs), np.diag(1 - np.tanh(outputs) ** 2)))
    f = np.array([0.0, 0.5, 1.0])
    batch = np.tile(drawn.sources, (3, 1))
    together = drawn.circuit.operating_point(batch, following=Following(f, feedback))
    assert together[0] == approx(drawn.circuit.operating_point(drawn.sources), rel=1e-11, abs=1e-13)
    for volts, value in zip(together, f, strict=True):
        # The nudge is a current -s f g(v) into the port: the same as the current source there, at that much more.
        output = drawn.network.read_outputs(volts)[0]
        equal = drawn.sources - np.array([0.0, 0.0, 1e-4 * value * math.tanh(output)])
        assert volts == approx(drawn.circuit.operating_point(equal), rel=1e-10, abs=1e-12)


# --- hard cases -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("volts", [-100.0, -20.0, 20.0, 100.0])
@pytest.mark.parametrize("ohm", [1.0, 1e6])
@pytest.mark.parametrize("element", [DIODE, ANTIPARALLEL], ids=["diode", "antiparallel"])
def test_hard_diodes_through_any_resistor(volts, ohm, element):
    found = volts_at(
        "s n",
        [resistor("R", "s", "n", ohm), Branch("D", "n", GROUND, element, HARD)],
        [Connection(0, -1, "voltage")],
        [volts],
    )["n"]
    both = element is ANTIPARALLEL
    current = 2e-15 * math.sinh(found / 0.026) if both else 1e-15 * math.expm1(found / 0.026)
    # Voltages have a last bit, 2e-16 of the source; through the resistor it is this many amperes, and more through
    # the diode's slope.
    last_bit = 2.3e-16 * abs(volts) / ohm + 2.3e-16 * abs(found) * abs(current) / 0.026
    assert abs((volts - found) / ohm - current) <= 1e-12 * abs(current) + 2 * last_bit


def test_diodes_in_a_row_share_the_voltage():
    nodes = [f"n{i}" for i in range(9)]
    # 1 mA through each of eight: v = nVt ln(1e-3 / 1e-15 + 1), and 1 V at the resistor of 1 kOhm
    each = 0.026 * math.log1p(1e12)
    branches = [resistor("R", "s", "n8", 1e3), resistor("end", "n0", GROUND, 1e-3)]
    branches += [diode(f"D{i}", f"n{i + 1}", f"n{i}", HARD) for i in range(8)]
    source = 1.0 + 8 * each + 1e-6
    volts = volts_at(" ".join(["s", *nodes]), branches, [Connection(0, -1, "voltage")], [source])
    assert [volts[f"n{i}"] for i in range(9)] == approx([1e-6 + i * each for i in range(9)], rel=1e-9)


def test_a_bridge_of_diodes_rectifies():
    branches = [
        diode("D1", "a", "plus", HARD),
        diode("D2", "b", "plus", HARD),
        diode("D3", "minus", "a", HARD),
        diode("D4", "minus", "b", HARD),
        resistor("load", "plus", "minus", 1e3),
        resistor("leak", "minus", GROUND, 1e6),
    ]
    for x in (20.0, -20.0):
        volts = volts_at(
            "a b plus minus", branches, [Connection(0, -1, "voltage"), Connection(1, -1, "voltage")], [x, 0]
        )
        load = volts["plus"] - volts["minus"]
        # Two conducting diodes carry the load's current (the leak takes some 1e-3 of it through one of them).
        assert load == approx(20.0 - 2 * 0.026 * math.log(load / 1e3 / 1e-15), abs=1e-3)


@pytest.mark.parametrize("decades", [(-9.0, 0.0), (-6.0, 3.0)])
@pytest.mark.parametrize("theta", [JUNCTION, HARD], ids=["10 nA", "hard"])
def test_conductances_of_nine_decades_converge_and_obey_kirchhoff(decades, theta):
    for seed in range(40):
        drawn = draw(seed, decades=decades, theta=theta)
        volts = drawn.circuit.operating_point(drawn.sources)
        left_over, largest = drawn.left_over(volts)
        # Between two nodes on a large conductance the last bit of a voltage is a current that nothing can remove:
        # at most 8 branches meet at their strongest, each off by half a bit of the largest voltage.
        slopes = [10 ** decades[1], *(abs(current) / theta[1] for current in drawn.currents(volts)[18:])]
        last_bit = 8 * 2.3e-16 * np.abs(volts).max() * max(slopes)
        assert left_over <= 1e-12 * largest + last_bit


# --- an independent simulator ---------------------------------------------------------------------------------------

BOLTZMANN_OVER_CHARGE = 1.38064852e-23 / 1.6021766208e-19  # ngspice's own constants


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
@pytest.mark.parametrize("seed", range(5))
def test_ngspice_finds_the_same_operating_point(seed, tmp_path):
    rng = np.random.default_rng(seed)
    tree = barabasi_albert(12, 24, 1.0, rng)
    branches = [Branch(b.name, b.plus, b.minus, RESISTOR, (float(10 ** rng.uniform(-4, -2)),)) for b in tree.branches]
    # All anodes at nodes that both sources raise above ground: ngspice has another law for a diode in reverse.
    branches += [diode(f"D{i}", f"n{node}", GROUND) for i, node in enumerate(rng.choice(12, 4, replace=False))]
    network = Network(tree.nodes, tuple(branches))
    sources = rng.uniform(1, 4, 2)
    volts = Circuit(network, [Connection(0, -1, "voltage", 50.0), Connection(1, -1, "voltage")]).operating_point(
        sources
    )
    assert (volts > 0).all()

    lines = ["operating point", ".options temp=27 tnom=27 gmin=1e-20 reltol=1e-10 vntol=1e-13 abstol=1e-16"]
    lines += [f".model junction D(IS=10n N={0.03 / (BOLTZMANN_OVER_CHARGE * 300.15):.17g})"]
    lines += [f"V0 s 0 {sources[0]:.17g}", "RS s n0 50", f"V1 n1 0 {sources[1]:.17g}"]
    for number, branch in enumerate(branches):
        if branch.element is RESISTOR:
            lines.append(f"R{number} {branch.plus} {branch.minus} {1 / branch.theta[0]:.17g}")
        else:
            lines.append(f"D{number} {branch.plus} 0 junction")
    lines += [
        ".control",
        "set numdgt=15",
        "op",
        *(f"print v({node})" for node in network.nodes),
        "quit",
        ".endc",
        ".end",
    ]
    netlist = tmp_path / "op.cir"
    netlist.write_text("\n".join(lines) + "\n")
    done = subprocess.run(["ngspice", "-b", str(netlist)], capture_output=True, text=True, timeout=30, check=False)
    printed = dict(line.split(" = ") for line in done.stdout.splitlines() if line.startswith("v(n"))
    theirs = [float(printed[f"v({node})"]) for node in network.nodes]
    # ngspice stops at reltol 1e-10.
    assert volts == approx(theirs, rel=1e-9)
