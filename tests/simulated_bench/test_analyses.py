"""The analyses by hand, by differences, by textbook and by ngspice's transient."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ngspice_oracle import THERMAL, deck, needs_ngspice, run
from scipy.integrate import quad
from scipy.special import lambertw

from freqprop_lab.elements import (
    BOLTZMANN,
    CAPACITOR,
    ELEMENTARY_CHARGE,
    ELEMENTS,
    MOSFET,
    Diode,
    FromFunction,
    Limits,
    Resistor,
    Tabulated,
)
from freqprop_lab.network import GROUND, Branch, Network, Port, barabasi_albert, square_grid
from freqprop_lab.waveform import RectifiedSine, Sine
from simulated_bench.analyses import a_and_b, ac, harmonic_balance, noise, operating_point, response, sensitivities
from simulated_bench.circuit import Circuit, CircuitError, Connection
from simulated_bench.pieces import smooth_pieces
from simulated_bench.transient import Course, Transient

approx = pytest.approx
RESISTOR, DIODE, ANTIPARALLEL, SERIES = (
    ELEMENTS[kind] for kind in ("resistor", "diode", "antiparallel", "series-diode")
)


def resistor(name: str, plus: str, minus: str, ohm: float, *, tunable: bool = False) -> Branch:
    return Branch(name, plus, minus, RESISTOR, (1 / ohm,), tunable=tunable)


def capacitor(name: str, plus: str, minus: str, farad: float) -> Branch:
    return Branch(name, plus, minus, CAPACITOR, (farad,))


def circuit(nodes: str, branches: list[Branch], *connections: Connection) -> Circuit:
    return Circuit(Network(tuple(nodes.split()), tuple(branches)), connections or (Connection(0, -1, "voltage"),))


def drawn(seed: int) -> tuple[Circuit, np.ndarray]:
    """Ten nodes, every kind of element, three sources of three kinds."""
    rng = np.random.default_rng(seed)
    tree = barabasi_albert(10, 18, 1.0, rng)
    branches = [
        Branch(b.name, b.plus, b.minus, RESISTOR, (float(10 ** rng.uniform(-4, -2)),), tunable=True)
        for b in tree.branches
    ]
    volts = np.linspace(-6, 6, 25)
    kinds = [
        (DIODE, (1e-9, 0.03)),
        (ANTIPARALLEL, (1e-9, 0.04)),
        (SERIES, (1e-9, 0.03, 200.0)),
        (Tabulated(volts, 1e-4 * np.arcsinh(3 * volts)), ()),
        (FromFunction(lambda v: 1e-3 * np.tanh(v) + 1e-5 * v), ()),
        (CAPACITOR, (1e-7,)),
    ]
    a, b, c, d = rng.choice(10, 4, replace=False).tolist()
    for number, (element, theta) in enumerate(kinds):
        plus, minus = rng.choice(10, 2, replace=False).tolist()
        # A diode across the stiff source would carry 1e19 A, and hide all else.
        ends = (f"n{plus}", GROUND if rng.random() < 0.5 and plus != a else f"n{minus}")
        branches.append(Branch(f"X{number}", *ends, element, theta))
    connections = [Connection(a, -1, "voltage"), Connection(b, -1, "voltage", 1e3), Connection(c, d, "current")]
    return Circuit(Network(tree.nodes, tuple(branches)), connections), rng.uniform(-3, 3, 3) * (1.0, 1.0, 1e-3)


# --- the operating point ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_kirchhoff_holds_for_the_currents_that_are_told(seed):
    made, x = drawn(seed)
    point = operating_point(made, x)
    out = np.zeros(11)
    np.add.at(out, made.network.plus, point.currents)
    np.add.at(out, made.network.minus, -point.currents)
    for connection, current in zip(made.connections, point.source_currents, strict=True):
        out[connection.plus] -= current
        out[connection.minus] += current
    assert point.residual <= 1e-12 * point.largest_current
    # Stiff sources' currents are what is missing at their nodes, so only those that are solved for can be wrong.
    assert np.abs(out).max() <= 1e-12 * max(point.largest_current, np.abs(point.source_currents).max())


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), size=st.sampled_from([1e-3, 1e-2, 0.3]))
def test_every_other_state_has_a_higher_energy(seed, size):
    made, x = drawn(seed)
    point = operating_point(made, x)
    network = made.network

    def energy(volts: np.ndarray) -> float:
        total = []
        for branch, v in zip(network.branches, network.across(volts), strict=True):
            if branch.element is not CAPACITOR:  # it holds no current in DC
                total.append(float(branch.element.energy(np.array(branch.theta)[:, None], np.array([v]))[0]))
        _, behind, current = made.connections
        total.append(0.5 * (volts[behind.plus] - x[1]) ** 2 / behind.resistance)
        total.append(-x[2] * (volts[current.plus] - volts[current.minus]))
        return math.fsum(total)

    least, rng = energy(point.volts), np.random.default_rng(seed)
    for _ in range(5):
        away = rng.normal(scale=size, size=10)
        away[made.connections[0].plus] = 0.0
        assert energy(point.volts + away) > least


def test_currents_of_sources_by_hand():
    # 9 V and 3 V stacked on 1 kOhm to ground, and 2 kOhm from the middle: 12 mA and 1.5 mA
    made = circuit(
        "top middle",
        [resistor("R1", "top", GROUND, 1e3), resistor("R2", "middle", GROUND, 2e3)],
        Connection(0, 1, "voltage"),
        Connection(1, -1, "voltage"),
    )
    point = operating_point(made, np.array([9.0, 3.0]))
    assert point.source_currents == approx([12e-3, 13.5e-3])
    assert point.currents == approx([12e-3, 1.5e-3])
    assert (point.at("top"), point.at(GROUND)) == (approx(12.0), 0.0)


def test_branches_beyond_their_limits_are_named():
    quarter = Resistor(Limits(watts=0.25))
    weak = Diode(Limits(amperes=0.1, volts=50))
    branches = [
        Branch("R1", "s", "n", quarter, (1e-2,)),  # (10 - 0.8) V on 100 Ohm: 0.85 W
        Branch("D1", "n", GROUND, weak, (1e-15, 0.026)),
        Branch("D2", GROUND, "s", weak, (1e-15, 0.026)),
    ]
    point = operating_point(circuit("s n", branches), np.array([10.0]))
    assert list(point.beyond_limits()) == ["R1"]
    assert "W, allowed 0.25 W" in point.beyond_limits()["R1"]
    assert operating_point(circuit("s n", branches), np.array([1.0])).beyond_limits() == {}


# --- sensitivities ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_sensitivities_agree_with_central_differences(seed):
    made, x = drawn(seed)
    network = made.network
    of = ["n3", Port("n5", "n8"), "n9"]
    at = operating_point(made, x)
    found = sensitivities(at, of)

    def read(theta: dict[int, tuple[float, ...]], x: np.ndarray, resistance: float = 1e3) -> np.ndarray:
        branches = tuple(
            Branch(b.name, b.plus, b.minus, b.element, theta.get(i, b.theta)) for i, b in enumerate(network.branches)
        )
        first, second, third = made.connections
        connections = [first, Connection(second.plus, second.minus, "voltage", resistance), third]
        point = operating_point(Circuit(Network(network.nodes, branches), connections), x, at.volts)
        return np.array([point.at("n3"), point.at("n5") - point.at("n8"), point.at("n9")])

    def check(ours: np.ndarray, size: float, moved) -> None:
        # Five points: truncation h^4, rounding 1e-15 / h, with h = 1e-3 of the parameter
        h = 1e-3 * size
        numeric = (moved(-2 * h) - 8 * moved(-h) + 8 * moved(h) - moved(2 * h)) / (12 * h)
        assert ours * size == approx(numeric * size, rel=1e-7, abs=1e-9)

    for i, branch in enumerate(network.branches):
        for row, value in enumerate(branch.theta):
            theta = list(branch.theta)

            def moved(by: float, i=i, row=row, theta=theta) -> np.ndarray:
                return read({i: tuple(v + by * (k == row) for k, v in enumerate(theta))}, x)

            if i % 6 == 0 or branch.element is not RESISTOR:
                check(found.by_theta[i][:, row], value, moved)
    for i, value in enumerate(x):
        check(found.by_sources[:, i], value, lambda by, i=i: read({}, x + by * np.eye(3)[i]))
    check(found.by_source_conductance[:, 1], 1e-3, lambda by: read({}, x, 1 / (1e-3 + by)))
    assert found.tunable == approx(np.array([found.by_theta[i][:, 0] for i in network.tunable]).T)


# --- the response to a nudge -----------------------------------------------------------------------------------------


def test_a_linear_response_is_a_plus_b_f_and_a_nonlinear_one_that_of_each_sample():
    branches = [resistor("R1", "s", "n", 1e3), resistor("R2", "n", GROUND, 3e3)]
    nudged = (Connection(0, -1, "voltage"), Connection(1, -1, "current"))
    f = np.sin(2 * np.pi * np.arange(40) / 20)
    linear = circuit("s n", branches, *nudged)
    x, nudge = np.array([4.0, 0.0]), np.array([0.0, 1e-3])
    # a: 4 x 3 / 4; b: 1 mA into 750 Ohm
    a, b = a_and_b(linear, x, nudge)
    assert (a, b) == (approx([4.0, 3.0]), approx([0.0, 0.75]))
    assert response(linear, x, nudge, f, ["n"]) == approx(np.array([3.0 + 0.75 * f]))

    bent = circuit("s n", [*branches, Branch("D", "n", GROUND, DIODE, (1e-9, 0.03))], *nudged)
    volts = response(bent, x, nudge, f)
    alone = np.stack([bent.operating_point(x + value * nudge) for value in f]).T
    assert volts == approx(alone, rel=1e-12)
    a, b = a_and_b(bent, x, 1e-4 * nudge, f)
    tangent_a, tangent_b = a_and_b(bent, x, 1e-4 * nudge)
    assert a == approx(tangent_a, rel=1e-6)  # off by gamma^2
    assert b[1] == approx(tangent_b[1], rel=1e-4)
    with pytest.raises(ValueError, match="constant|at all 3 samples"):
        a_and_b(bent, x, nudge, np.ones(3))


# --- AC and noise ----------------------------------------------------------------------------------------------------


def test_an_rc_low_pass_and_a_bridged_capacitor():
    branches = [resistor("R", "s", "n", 1e3), capacitor("C", "n", GROUND, 1e-6)]
    point = operating_point(circuit("s n", branches), np.array([0.0]))
    hertz = np.array([0.0, 10.0, 159.15494309189535, 1e5])
    found = ac(point, np.array([1.0]), hertz)
    assert found.volts[:, 1] == approx(1 / (1 + 2j * np.pi * hertz * 1e-3), rel=1e-13)
    assert found.residual < 1e-15
    # A capacitive divider 1 nF over 3 nF with a leak of 1 GOhm: 1/4 well above 1 / (2 pi 4 s)
    branches = [capacitor("C1", "s", "n", 1e-9), capacitor("C2", "n", GROUND, 3e-9), resistor("R", "n", GROUND, 1e9)]
    point = operating_point(circuit("s n", branches), np.array([1.0]))
    assert point.at("n") == 0.0
    assert abs(ac(point, np.array([1.0]), np.array([1e3])).volts[0, 1]) == approx(0.25, rel=1e-8)


def test_a_resistor_makes_4_k_t_r_and_a_capacitor_k_t_over_c():
    # Two resistors in parallel to ground: their noise is that of 750 Ohm
    branches = [resistor("R1", "n", GROUND, 1e3), resistor("R2", "n", GROUND, 3e3)]
    point = operating_point(circuit("n", branches, Connection(0, -1, "current")), np.array([1e-3]))
    spectrum = noise(point, ["n"], np.array([1.0, 1e6]), temperature=290.0)
    assert spectrum.density[:, 0] == approx([4 * BOLTZMANN * 290 * 750] * 2, rel=1e-13)
    # Each branch's share: 4 k T G_i R^2
    assert spectrum.by_branch[0, 0] == approx(4 * BOLTZMANN * 290 * np.array([1e-3, 1 / 3e3]) * 750**2)

    # Behind a source's resistance, with capacitance at the node: the integral over all frequencies is k T / C
    behind = circuit("n", [], Connection(0, -1, "voltage", 1e4))
    point = operating_point(behind, np.array([1.0]))
    capacitance = np.array([1e-9])

    def density(hertz: float) -> float:
        return float(noise(point, ["n"], np.array([hertz]), 300.0, capacitance).density[0, 0])

    corner = 1 / (2 * np.pi * 1e4 * 1e-9)
    total = quad(lambda u: density(corner * math.tan(u)) * corner / math.cos(u) ** 2, 0, math.pi / 2 - 1e-9)[0]
    assert total == approx(BOLTZMANN * 300 / 1e-9, rel=1e-6)


def test_a_conducting_diode_makes_shot_noise_across_its_own_slope():
    # 1 mA through a diode: 2 q I (nVt / I)^2, and from the current source nothing
    point = operating_point(
        circuit("n", [Branch("D", "n", GROUND, DIODE, (1e-14, 0.026))], Connection(0, -1, "current")), np.array([1e-3])
    )
    assert noise(point, ["n"], np.array([1e3])).density[0, 0] == approx(2 * ELEMENTARY_CHARGE * 1e-3 * 26**2, rel=1e-9)


@needs_ngspice
def test_noise_of_a_network_agrees_with_ngspice(tmp_path):
    branches = [
        resistor("R1", "s", "n", 1e3),
        resistor("R2", "n", "m", 2e3),
        resistor("R3", "m", GROUND, 5e3),
        Branch("D", "n", GROUND, DIODE, (1e-16, THERMAL)),
        capacitor("C", "m", GROUND, 1e-7),
    ]
    made = circuit("s n m", branches)
    point = operating_point(made, np.array([2.0]))
    ours = noise(point, ["m"], np.array([100.0, 1e3, 1e4]), 300.15).density[:, 0]
    commands = [f"noise v(m) V0 lin 1 {f!r} {f!r}\nsetplot previous\nprint onoise_spectrum" for f in (100.0, 1e3, 1e4)]
    commands = [command.replace("setplot previous", f"setplot noise{2 * i + 1}") for i, command in enumerate(commands)]
    out = run(deck(made.network, made.connections, ["DC 2 AC 1"], commands), tmp_path)
    theirs = [float(v) for v in re.findall(r"^onoise_spectrum = (\S+)", out, flags=re.MULTILINE)]
    # ngspice prints V per root hertz, with older constants.
    assert ours == approx(np.square(theirs), rel=1e-5)


# --- the periodic response -------------------------------------------------------------------------------------------


def clipper() -> tuple[Circuit, np.ndarray]:
    branches = [
        resistor("R1", "s", "n", 1e3),
        resistor("R2", "n", "m", 2e3),
        resistor("R3", "m", GROUND, 1e4),
        Branch("P", "n", GROUND, ANTIPARALLEL, (1e-16, 0.03)),
        Branch("D", "m", GROUND, SERIES, (1e-16, 0.028, 30.0)),
        capacitor("C", "n", "m", 2e-8),
    ]
    return circuit("s n m", branches), np.array([0.0, 1e-7, 5e-8])


def test_a_linear_network_has_the_response_of_ac():
    branches = [resistor("R", "s", "n", 1e3), resistor("L", "n", GROUND, 1e4), capacitor("C", "s", "n", 1e-7)]
    made = circuit("s n", branches)
    capacitance = np.array([0.0, 3e-7])
    found = harmonic_balance(made, np.array([2.0]), np.array([0.5]), Sine(), 700.0, capacitance)
    phasor = ac(operating_point(made, np.array([2.0])), np.array([0.5]), np.array([700.0]), capacitance).volts[0, 1]
    times = np.linspace(0, 3e-3, 50)
    expected = 20 / 11 + (phasor * np.exp(2j * np.pi * 700 * times)).imag
    assert found.volts(times)[1] == approx(expected, rel=1e-12)
    assert found.volts(times)[0] == approx(2 + 0.5 * np.sin(2 * np.pi * 700 * times))


@pytest.mark.parametrize("amplitude", [0.01, 0.5, 2.0])
def test_the_steady_state_is_what_a_transient_comes_to(amplitude):
    made, capacitance = clipper()
    plain = Circuit(
        Network(made.network.nodes, tuple(b for b in made.network.branches if b.element is not CAPACITOR)),
        made.connections,
    )
    x0, x1 = np.array([0.4]), np.array([amplitude])
    found = harmonic_balance(plain, x0, x1, Sine(), 400.0, capacitance)
    rest = plain.operating_point(x0)
    times = 0.02 + np.arange(40) / 40 / 400  # 8 periods, 30 time constants
    course = Course(x0, x1, smooth_pieces(Sine()), 1 / 400)
    expected = Transient(plain, capacitance).volts(np.arange(3), times, np.zeros(3), course, rest, rest)
    swing = np.ptp(expected, axis=1).max()
    assert np.abs(found.volts(times) - expected).max() < 1e-7 * swing
    assert found.residual < 1e-12 * 1e-3


@needs_ngspice
def test_ngspice_comes_to_the_same_steady_state(tmp_path):
    made, capacitance = clipper()
    found = harmonic_balance(made, np.array([0.4]), np.array([1.5]), Sine(), 400.0, capacitance)
    more = "\n".join(
        f"CX{i} {node} 0 {value!r}" for i, node in enumerate(("s", "n", "m")) if (value := float(capacitance[i]))
    )
    commands = ["tran 1u 25m 22.5m 0.5u", "wrdata out.txt v(n) v(m)"]
    text = deck(made.network, made.connections, ["sin(0.4 1.5 400)"], commands)
    text = text.replace("itl1=2000", f"method=gear maxord=4 trtol=0.01 chgtol=1e-20\n{more}").replace("1e-10", "1e-8")
    run(text, tmp_path)
    table = np.loadtxt(tmp_path / "out.txt")
    volts = found.volts(table[:, 0])  # at ngspice's own instants: it interpolates linearly
    for node, column in ((1, 1), (2, 3)):
        assert np.abs(volts[node] - table[:, column]).max() < 1e-5 * np.ptp(table[:, column])


def test_a_and_b_of_a_slow_nudge_are_the_quasi_static_ones():
    made, capacitance = clipper()
    x0, x1 = np.array([0.4]), np.array([0.2])
    slow = harmonic_balance(made, x0, x1, Sine(), 0.01, capacitance)
    f = Sine().at(np.arange(1024) / 1024)
    a, b = a_and_b(made, x0, x1, f)
    found = slow.a_and_b()
    assert found[0] == approx(a, rel=1e-7)
    assert found[1] == approx(b, rel=1e-6)


def test_too_few_harmonics_are_told_with_node_and_volts():
    made, capacitance = clipper()
    with pytest.raises(
        CircuitError, match=r"16 harmonics are not enough: the last doubling still moved node \w by .* V"
    ):
        harmonic_balance(
            made, np.zeros(1), np.ones(1), RectifiedSine(), 50.0, capacitance, tolerance=1e-9, most_harmonics=16
        )


# --- textbook circuits -----------------------------------------------------------------------------------------------


def test_wheatstone_bridge_off_balance():
    # Doebelin, Measurement Systems, chapter on bridge circuits: equal arms, one off by d: V_out / V = d / (4 + 2 d)
    d = 0.01
    arms = [("R1", "s", "a", 1.0), ("R2", "a", GROUND, 1.0), ("R3", "s", "b", 1.0), ("R4", "b", GROUND, 1 + d)]
    point = operating_point(circuit("s a b", [resistor(n, p, m, 1e3 * r) for n, p, m, r in arms]), np.array([1.0]))
    assert point.at("b") - point.at("a") == approx(d / (4 + 2 * d), rel=1e-12)


def test_infinite_ladder_is_the_golden_ratio():
    # Feynman Lectures II, 22-6: a ladder of equal series and shunt resistors has R (1 + sqrt 5) / 2 at its input.
    n = 40
    branches = [resistor(f"S{i}", f"n{i}", f"n{i + 1}", 1.0) for i in range(n)]
    branches += [resistor(f"P{i}", f"n{i + 1}", GROUND, 1.0) for i in range(n)]
    nodes = " ".join(f"n{i}" for i in range(n + 1))
    point = operating_point(circuit(nodes, branches), np.array([1.0]))
    assert 1 / point.source_currents[0] == approx((1 + math.sqrt(5)) / 2, rel=1e-12)


def test_neighbours_on_an_infinite_grid_see_half_a_resistor():
    # Atkinson, van Steenwijk, Am. J. Phys. 67, 486 (1999): neighbours on the infinite square lattice see R / 2.
    # On a finite grid the excess falls as 1 / size^2.
    def between_neighbours(size: int) -> float:
        grid = square_grid(size, size, 1.0)
        middle = size * (size // 2) + size // 2
        made = Circuit(grid, [Connection(middle, middle + 1, "current")], gauge=0)
        volts = made.operating_point(np.array([1.0]))
        return float(volts[middle] - volts[middle + 1])

    small, large = between_neighbours(11), between_neighbours(23)
    assert large == approx(0.5, abs=2e-3)
    assert abs(large - 0.5) < 0.3 * abs(small - 0.5)


def test_a_cube_of_resistors():
    # Purcell, Electricity and Magnetism, chapter 4: across a cube's body diagonal 5/6 R, face 3/4 R, edge 7/12 R.
    corners = [f"c{i}" for i in range(8)]
    edges = [(i, i ^ bit) for i in range(8) for bit in (1, 2, 4) if i < i ^ bit]
    branches = [resistor(f"R{i}{j}", corners[i], corners[j], 1.0) for i, j in edges]
    for other, expected in ((7, 5 / 6), (3, 3 / 4), (1, 7 / 12)):
        made = Circuit(Network(tuple(corners), tuple(branches)), [Connection(0, other, "current")], gauge=0)
        volts = made.operating_point(np.array([1.0]))
        assert volts[0] - volts[other] == approx(expected, rel=1e-13)


def test_a_diode_and_a_resistor_have_lamberts_w():
    # Banwell, Jayakumar, Electronics Letters 36, 291 (2000): I = nVt / R W(Is R / nVt exp((V + Is R) / nVt)) - Is
    Is, nVt, R, V = 1e-12, 0.026, 470.0, 1.2
    expected = nVt / R * lambertw(Is * R / nVt * math.exp((V + Is * R) / nVt)).real - Is
    two = operating_point(
        circuit("s n", [resistor("R", "s", "n", R), Branch("D", "n", GROUND, DIODE, (Is, nVt))]), np.array([V])
    )
    one = operating_point(circuit("s", [Branch("D", "s", GROUND, SERIES, (Is, nVt, R))]), np.array([V]))
    assert two.currents == approx([expected] * 2, rel=1e-11)
    assert one.currents == approx([expected], rel=1e-11)


def test_a_half_wave_rectifier_with_a_large_capacitor_holds_nearly_the_peak():
    # Sedra and Smith, Microelectronic Circuits, the peak rectifier: ripple V_p / (f C R) for a small ripple.
    branches = [
        Branch("D", "s", "n", SERIES, (1e-12, 0.026, 1.0)),
        resistor("R", "n", GROUND, 1e4),
        capacitor("C", "n", GROUND, 1e-4),
    ]
    found = harmonic_balance(circuit("s n", branches), np.zeros(1), np.array([10.0]), Sine(), 50.0, tolerance=1e-4)
    volts = found.volts(np.arange(2000) / 2000 / 50)[1]
    assert volts.mean() == approx(9.3, abs=0.25)
    assert np.ptp(volts) == approx(volts.mean() / (50 * 1e-4 * 1e4), rel=0.12)


def test_three_rc_sections_turn_by_half_a_turn_and_divide_by_29():
    # The phase-shift oscillator's network (Sedra and Smith, oscillators): three C-R high-pass sections at
    # w = 1 / (R C sqrt 6) give -1 / 29.
    branches = []
    for i in range(3):
        branches += [capacitor(f"C{i}", f"n{i}", f"n{i + 1}", 1e-8), resistor(f"R{i}", f"n{i + 1}", GROUND, 1e4)]
    point = operating_point(circuit("n0 n1 n2 n3", branches), np.zeros(1))
    hertz = 1 / (2 * np.pi * 1e4 * 1e-8 * math.sqrt(6))
    assert ac(point, np.ones(1), np.array([hertz])).volts[0, 3] == approx(-1 / 29, rel=1e-12)


def test_wien_network_passes_a_third_in_phase():
    # The same chapter, the Wien bridge: series R-C over parallel R-C passes 1/3 at 1 / (2 pi R C).
    branches = [
        resistor("R1", "s", "x", 1e4),
        capacitor("C1", "x", "n", 1e-8),
        resistor("R2", "n", GROUND, 1e4),
        capacitor("C2", "n", GROUND, 1e-8),
    ]
    point = operating_point(circuit("s x n", branches), np.zeros(1))
    hertz = 1 / (2 * np.pi * 1e-4)
    assert ac(point, np.ones(1), np.array([hertz])).volts[0, 2] == approx(1 / 3, rel=1e-12)


def test_a_transistor_with_its_gate_at_4_volts_is_a_resistor_at_small_voltage():
    # 1 / (beta (V_GS - V_T)), the ALD1106's use as a tunable resistor: 5e-4 x 3.3 -> 606 Ohm
    made = circuit("s", [Branch("M", "s", GROUND, MOSFET, (5e-4, 0.7, 0.0, 4.0))])
    point = operating_point(made, np.array([1e-3]))
    assert 1e-3 / point.currents[0] == approx(1 / (5e-4 * 3.3), rel=2e-4)
