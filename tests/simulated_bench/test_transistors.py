"""How far a network of transistors is from the theorem: its response is reciprocal only at small voltage."""

from __future__ import annotations

import numpy as np
import pytest

from freqprop_lab.elements import ELEMENTS, MOSFET
from freqprop_lab.network import GROUND, Branch, Network
from simulated_bench import homotopies
from simulated_bench.analyses import operating_point, sensitivities
from simulated_bench.circuit import Circuit, CircuitError, Connection
from simulated_bench.newton import NewtonCircuit

BETA, THRESHOLD, GATE = 5e-4, 0.7, 4.7  # overdrive 4 V at ground


def grid(size: int, gates: np.ndarray, modulation: float = 0.0) -> Circuit:
    """A square grid of transistors, one corner driven, the opposite one through a transistor to ground."""
    names = [f"n{i}" for i in range(size * size)]
    edges = [(i, i + 1) for i in range(size * size) if (i + 1) % size]
    edges += [(i, i + size) for i in range(size * (size - 1))]
    ends = [(names[i], names[j]) for i, j in edges] + [(names[-1], GROUND)]
    branches = tuple(
        Branch(f"M{i}", *end, MOSFET, (BETA, THRESHOLD, modulation, float(gate)))
        for i, (end, gate) in enumerate(zip(ends, gates, strict=True))
    )
    return Circuit(Network(tuple(names), branches), [Connection(0, -1, "voltage")])


def asymmetry(circuit: Circuit, volts: float) -> float:
    """The largest |Z - Z^T| over the largest |Z|, Z the voltages per nudge current of the free nodes."""
    point = operating_point(circuit, np.array([volts]))
    Z = np.linalg.inv(circuit.stiffness(point.volts, point.sources))
    return float(np.abs(Z - Z.T).max() / np.abs(Z).max())


def test_the_small_signal_response_loses_its_symmetry_in_proportion_to_the_drive():
    gates = GATE + np.random.default_rng(0).uniform(-1, 1, 13)
    circuit = grid(3, gates)
    assert not circuit.is_reciprocal
    drives = np.array([1e-3, 1e-2, 0.1, 1.0])
    measured = np.array([asymmetry(circuit, v) for v in drives])
    # First order in v_ds over the overdrive: a tenth of the drive, a tenth of the asymmetry
    assert measured[1:3] / measured[:2] == pytest.approx([10, 10], rel=0.1)
    # What docs/solver.md says; each transistor's own is at most v_ds / (2 x 3 V).
    assert measured == pytest.approx([2.2e-5, 2.2e-4, 0.0022, 0.023], rel=0.03)
    assert (measured < drives / 6).all()


@pytest.mark.parametrize("volts", [1e-3, 0.05, 0.5])
def test_two_transistors_in_a_row_by_hand(volts):
    # From s through M1 to n through M2 to ground, beta and gate alike: with e = 4 - v the squares of e are shared
    # evenly, e_n^2 = (e_s^2 + 16) / 2. The current into n meets g1 + g2 = beta e_n + beta e_n, whichever way.
    branches = tuple(
        Branch(f"M{i}", *ends, MOSFET, (BETA, THRESHOLD, 0.0, GATE))
        for i, ends in enumerate((("s", "n"), ("n", GROUND)))
    )
    circuit = Circuit(Network(("s", "n"), branches), [Connection(0, -1, "voltage")])
    point = operating_point(circuit, np.array([volts]))
    e_n = np.sqrt(((4 - volts) ** 2 + 16) / 2)
    assert point.at("n") == pytest.approx(4 - e_n, rel=1e-10)
    found = sensitivities(point, ["n"])
    # dv_n / dx = e_s / (2 e_n), not 1/2 as a resistor that is the same from both ends would give
    assert found.by_sources[0, 0] == pytest.approx((4 - volts) / (2 * e_n), rel=1e-10)
    # By the gate of M1: -dI1/dV_gate / K, the drive's v_s - v_n over 2 e_n (with the sign of a wider channel)
    assert found.by_theta[0][0, 3] == pytest.approx((volts - point.at("n")) / (2 * e_n), rel=1e-9)


@pytest.mark.parametrize(("volts", "departs"), [(0.001, 6.1e-5), (0.01, 6.1e-4), (0.1, 0.0061), (1.0, 0.068)])
def test_freq_props_product_departs_from_the_gradient_as_the_drive_over_the_overdrive(volts, departs):
    # The loss is v_out; its gradient by each gate against what freq-prop would take: dI/dtheta at a times b, b the
    # voltage across the branch as the nudge moves it. On a reciprocal network the two are one.
    gates = GATE + np.random.default_rng(1).uniform(-1, 1, 13)
    circuit = grid(3, gates)
    network = circuit.network
    point = operating_point(circuit, np.array([volts]))
    gradient = np.array([row[0, 3] for row in sensitivities(point, ["n4"]).by_theta])
    nudge = np.zeros(9)
    nudge[4] = 1.0
    b = circuit.S @ np.linalg.solve(circuit.stiffness(point.volts, point.sources), circuit.S.T @ nudge)
    theta = np.array([branch.theta for branch in network.branches]).T
    grounded = np.append(point.volts, 0.0)
    local = MOSFET.current_by_theta(theta, grounded[network.plus], grounded[network.minus])[3]
    learnt = -local * network.across(b)
    departure = np.linalg.norm(learnt - gradient) / np.linalg.norm(gradient)
    assert departure == pytest.approx(departs, rel=0.03)  # what docs/solver.md says; in proportion to the drive


def test_transistors_that_are_all_off_leave_their_node_unheld():
    branches = (
        Branch("M1", "s", "n", MOSFET, (BETA, THRESHOLD, 0.0, 0.0)),
        Branch("M2", "n", GROUND, MOSFET, (BETA, THRESHOLD, 0.0, 0.0)),
    )
    circuit = Circuit(Network(("s", "n"), branches), [Connection(0, -1, "voltage"), Connection(1, -1, "current")])
    with pytest.raises(
        CircuitError, match="A are left over at node n .*M1, M2.*next to nothing holds the voltage of node n"
    ):
        operating_point(circuit, np.array([1.0, 1e-6]))


@pytest.mark.parametrize("seed", range(6))
def test_grids_settle_far_into_saturation(seed):
    rng = np.random.default_rng(seed)
    circuit = grid(5, rng.uniform(1.0, 6.0, 41), 0.02)
    for volts in (0.01, 2.0, 10.0, -3.0):
        point = operating_point(circuit, np.array([volts]))
        assert point.residual <= 1e-11 * point.largest_current


@pytest.mark.parametrize("kind", [Circuit, NewtonCircuit])
def test_voltages_that_run_away_are_refused(kind, monkeypatch):
    # 1.3 mA enter n0, where every transistor is pinched off: at 4e14 V the last bit of a voltage is some 0.1 V, and the
    # current that it stands for was once let pass as rounding.
    monkeypatch.setattr(homotopies, "_MOST_RISES", 5)
    transistors = [
        ("n1", "n0", (1.1e-4, 0.126, 0.02, 4.47)),
        ("n2", "n1", (3.98e-4, -0.978, 0.02, 7.14)),
        ("n3", "n0", (2.6e-6, 0.019, 0.0, 2.78)),
        ("n1", "n3", (2.68e-5, -0.919, 0.2, 7.82)),
    ]
    resistors = [(("n1", "n4"), 2.1e-6), (("n0", "n2"), 4.09e-3)]
    branches = [Branch(f"M{i}", plus, minus, MOSFET, theta) for i, (plus, minus, theta) in enumerate(transistors)]
    branches += [Branch(f"R{n}", *ends, ELEMENTS["resistor"], (g,)) for n, (ends, g) in enumerate(resistors)]
    branches.append(Branch("D", GROUND, "n3", ELEMENTS["diode"], (1e-15, 0.026)))
    connections = [Connection(1, -1, "voltage"), Connection(4, -1, "voltage", 1.405), Connection(0, 4, "current")]
    circuit = kind(Network(("n0", "n1", "n2", "n3", "n4"), tuple(branches)), connections)
    with pytest.raises(CircuitError, match="next to nothing holds the voltage of node n0, n2"):
        operating_point(circuit, np.array([9.1012, 8.3587, 1.2899e-3]))
