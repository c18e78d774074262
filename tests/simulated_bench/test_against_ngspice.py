"""Random circuits of every kind of element that ngspice has, held against its .op and .ac."""

from __future__ import annotations

import numpy as np
import pytest
from ngspice_oracle import NgspiceDiode, ac, needs_ngspice, operating_point

from freqprop_lab.elements import CAPACITOR, ELEMENTS, MOSFET
from freqprop_lab.network import GROUND, Branch, Network, barabasi_albert
from simulated_bench import analyses
from simulated_bench.circuit import Circuit, Connection

RESISTOR = ELEMENTS["resistor"]


def drawn(seed: int, most_nodes: int = 60) -> tuple[Network, list[Connection], np.ndarray]:
    """Draw 2 to most_nodes nodes, conductances over three decades, and every kind of part between any two nodes."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, most_nodes + 1))
    n_edges = min(n * (n - 1) // 2, n - 1 + int(rng.integers(0, n)))
    tree = barabasi_albert(n, n_edges, 1.0, rng)
    branches = [Branch(b.name, b.plus, b.minus, RESISTOR, (float(10 ** rng.uniform(-4, -1)),)) for b in tree.branches]
    for number in range(1 + n // 4):
        plus, minus = (f"n{i}" for i in rng.choice(n, 2, replace=False))
        minus = GROUND if rng.random() < 0.4 else minus
        width = float(rng.uniform(0.025, 0.05))
        # Shockley's law in reverse lacks ngspice's tail, Is / 20 at most: small enough with 1e-16 A.
        kinds = (
            (NgspiceDiode(float(10 ** rng.uniform(-14, -8)), width), ()),
            (ELEMENTS["antiparallel"], (1e-16, width)),
            (ELEMENTS["diode"], (1e-16, width)),
            (ELEMENTS["series-diode"], (1e-16, width, float(10 ** rng.uniform(-1, 3)))),
            (MOSFET, (float(10 ** rng.uniform(-4, -3)), 0.7, float(rng.choice([0.0, 0.02])), float(rng.uniform(0, 6)))),
            (CAPACITOR, (float(10 ** rng.uniform(-9, -6)),)),
        )
        element, theta = kinds[int(rng.integers(len(kinds)))]
        branches.append(Branch(f"X{number}", plus, minus, element, theta))
    a, b = rng.choice(n, 2, replace=False).tolist()
    connections = [Connection(a, -1, "voltage"), Connection(b, -1, "voltage", float(10 ** rng.uniform(1, 4)))]
    x = [float(rng.uniform(-5, 5)), float(rng.uniform(-5, 5))]
    if n > 3:
        c, d = rng.choice(n, 2, replace=False).tolist()
        connections.append(Connection(c, d, "current"))
        x.append(float(rng.uniform(-3e-3, 3e-3)))
    return Network(tree.nodes, tuple(branches)), connections, np.array(x)


def check(seed: int, folder, most_nodes: int = 60) -> None:
    network, connections, x = drawn(seed, most_nodes)
    circuit = Circuit(network, connections)
    point = analyses.operating_point(circuit, x)
    told = f"seed {seed}, {len(network.nodes)} nodes"
    assert point.residual <= 1e-12 * point.largest_current or not circuit.is_reciprocal, told
    theirs = operating_point(network, connections, x, folder)
    assert point.volts == pytest.approx(theirs, rel=1e-9, abs=1e-12), told
    hertz = float(10 ** np.random.default_rng(seed).uniform(1, 5))
    stimulus = np.zeros(len(x))
    stimulus[1] = 1.0
    ours = analyses.ac(point, stimulus, np.array([hertz])).volts[0]
    theirs = ac(network, connections, x, 1, hertz, folder)
    assert np.abs(ours - theirs).max() <= 1e-9 * np.abs(theirs).max() + 1e-12, told


@needs_ngspice
@pytest.mark.parametrize("seed", range(30))
def test_random_circuits_agree_with_ngspice(seed, tmp_path):
    print(f"seed {seed}")
    check(seed, tmp_path)


@needs_ngspice
@pytest.mark.prove
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_300_random_circuits_agree_with_ngspice(seed, tmp_path):
    print(f"seed {seed}")
    check(seed, tmp_path, 200)
