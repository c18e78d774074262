"""Nodes with capacitance: pencil work on one pole, complex and exponential matrices, and SciPy's stiff integrator."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pytest import approx
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from freqprop_lab.bench import Bench
from freqprop_lab.config import FileError
from freqprop_lab.elements import ELEMENTS
from freqprop_lab.instruments import LimitError
from freqprop_lab.network import GROUND, Branch, Network
from freqprop_lab.values import BlockPlan, Drive, Nudge, NudgeKind
from freqprop_lab.waveform import RectifiedSine, Sine, Waveform
from simulated_bench.breadboard import Breadboard, Excitation
from simulated_bench.circuit import Connection
from simulated_bench.numeric import NumericBench
from simulated_bench.pieces import smooth_pieces

Array = NDArray[np.float64]
RESISTOR, DIODE, ANTIPARALLEL = (ELEMENTS[kind] for kind in ("resistor", "diode", "antiparallel"))


class Pulse(Waveform):
    """1 for three tenths of the period, -1 for the rest: jumps at phases that bisection does not hit by itself."""

    name, lowest, highest, mean, rms = "test-pulse", -1.0, 1.0, -0.4, 1.0

    def at(self, phase):
        return np.where(np.mod(phase, 1.0) < 0.3, 1.0, -1.0)

    def slope(self, phase):
        return np.zeros(np.shape(phase))

    def harmonics(self, count):
        k = np.arange(1, count + 1)
        return (1 - np.exp(-0.6j * np.pi * k)) / (1j * np.pi * k)


class Triangle(Waveform):
    """Kinks at a quarter and three quarters."""

    name, lowest, highest, mean, rms = "test-triangle", -1.0, 1.0, 0.0, 3**-0.5

    def at(self, phase):
        return 1 - 4 * np.abs(np.mod(np.asarray(phase) + 0.25, 1.0) - 0.5)

    def slope(self, phase):
        return np.where(np.mod(np.asarray(phase) + 0.25, 1.0) < 0.5, 4.0, -4.0)

    def harmonics(self, count):
        k = np.arange(1, count + 1)
        return np.where(k % 2 == 1, 4 * np.where(k % 4 == 1, 1, -1) / (1j * np.pi**2 * k**2), 0)


def resistor(name: str, plus: str, minus: str, siemens: float, *, tunable: bool = False) -> Branch:
    return Branch(name, plus, minus, RESISTOR, (siemens,), tunable=tunable)


def pole(capacitance: float = 100e-9) -> Breadboard:
    """One node with 1 kOhm to ground, fed by a current; 0.1 ms with 100 nF."""
    network = Network(("n",), (resistor("R", "n", GROUND, 1e-3),))
    return Breadboard(network, [Connection(0, -1, "current")], None, np.array([capacitance]))


def ladder(*, tunable: bool = False) -> Network:
    """Four nodes in a row, from 1 kOhm to 10 kOhm, the last of them to ground."""
    names = ("a", "b", "c", "d")
    rows = [("a", "b", 1e-3), ("b", "c", 5e-4), ("c", "d", 2e-4), ("d", GROUND, 1e-4), ("b", "d", 3e-4)]
    return Network(names, tuple(resistor(f"{p}{m}", p, m, g, tunable=tunable) for p, m, g in rows))


def conductance_matrix(network: Network, conductances: Array | None = None) -> Array:
    """G of all nodes, written out branch by branch: a nodal matrix as in any textbook."""
    size = len(network.nodes)
    G, number = np.zeros((size + 1, size + 1)), 0
    for place, branch in enumerate(network.branches):
        g = branch.theta[0]
        if branch.tunable and conductances is not None:
            g, number = conductances[number], number + 1
        i, j = int(network.plus[place]), int(network.minus[place])
        G[[i, j], [i, j]] += g
        G[[i, j], [j, i]] -= g
    return G[:size, :size]


def record(board: Breadboard, excitation: Excitation, times: Array, delays: Array | None = None) -> Array:
    nodes = np.arange(len(board.network.nodes))
    board.drive(excitation)
    return board.record(nodes, times, np.zeros(len(nodes)) if delays is None else delays)


# One pole, by hand: tau dv/dt + v = R i, with R = 1 kOhm and tau = 0.1 ms.


def test_a_step_of_current_charges_a_pole_exponentially():
    times = np.array([0.0, 0.5e-4, 1e-4, 3e-4, 1.0])
    volts = record(pole(), Excitation(np.array([2e-3]), np.zeros(1)), times)
    assert volts[0] == approx([0.0, *(2 * (1 - np.exp([-0.5, -1.0, -3.0]))), 2.0], abs=1e-15)


def test_the_next_record_leaves_from_where_the_last_drive_settled():
    board = pole()
    record(board, Excitation(np.array([2e-3]), np.zeros(1)), np.zeros(1))
    volts = record(board, Excitation(np.array([-1e-3]), np.zeros(1)), np.array([0.0, 1e-4]))
    assert volts[0] == approx([2.0, -1 + 3 * np.exp(-1.0)], abs=1e-15)


@pytest.mark.parametrize("x", [1e-3, 0.15, 1.0, 30.0])
def test_a_sine_on_a_pole_is_turned_and_damped_from_the_first_instant_on(x):
    """v = [sin - x cos] / (1 + x^2), and what the start at 0 adds, x / (1 + x^2) exp(-t / tau); x = omega tau."""
    tau = 1e-4
    frequency = x / (2 * np.pi * tau)
    times = np.linspace(0, 3 / frequency, 61)
    volts = record(pole(), Excitation(np.zeros(1), np.array([1e-3]), Sine(), frequency), times)
    turn = 2 * np.pi * frequency * times
    expected = (np.sin(turn) - x * np.cos(turn) + x * np.exp(-times / tau)) / (1 + x**2)
    assert volts[0] == approx(expected, abs=1e-14)  # the phase, 6 pi, is rounded to 4e-15


@pytest.mark.parametrize("x", [1e-3, 0.15, 1.0, 30.0])
def test_a_rectified_sine_on_a_pole(x):
    """Within an arch, v = [sin - x cos] / (1 + x^2) + K exp(-t / tau); K lets it end as it began. x = pi tau / T."""
    tau = 1e-4
    period = np.pi * tau / x
    phase = np.arange(20) / 20
    times = (40 + phase) * period
    volts = record(pole(), Excitation(np.zeros(1), np.array([1e-3]), RectifiedSine(), 1 / period), times)
    inside = (np.sin(np.pi * phase) - x * np.cos(np.pi * phase)) / (1 + x**2)
    fall = np.exp(-period / tau)
    K = 2 * x / (1 + x**2) / (1 - fall)
    periodic = inside + K * np.exp(-phase * period / tau)
    started = -(K - x / (1 + x**2)) * np.exp(-times / tau)  # v(0) = 0
    assert volts[0] == approx(periodic + started, abs=1e-13)  # the phase, 40 pi, is rounded to 3e-14


@pytest.mark.parametrize("turn", [0.01, 1.0, 50.0, 1e6])
def test_a_pulse_on_a_pole(turn):
    """v goes for 1 during 0.3 T and for -1 during 0.7 T, turn = T / tau relaxation times a period."""
    period = turn * 1e-4
    phase = np.array([0.0, 0.01, 0.2, 0.29, 0.31, 0.6, 0.99])
    times = np.ceil(40 / turn) * period + phase * period
    volts = record(pole(), Excitation(np.zeros(1), np.array([1e-3]), Pulse(), 1 / period), times)
    rise, fall = np.exp(-0.3 * turn), np.exp(-0.7 * turn)
    low = (1 - rise) * fall / (1 - rise * fall) - (1 - fall) / (1 - rise * fall)  # at phase 0
    high = 1 + (low - 1) * rise
    up, down = 1 + (low - 1) * np.exp(-phase * turn), -1 + (high + 1) * np.exp(-np.maximum(phase - 0.3, 0) * turn)
    assert volts[0] == approx(np.where(phase < 0.3, up, down), abs=1e-12)


def test_each_channel_is_looked_at_in_its_own_instant():
    board = Breadboard(
        Network(("n", "m"), (resistor("R", "n", GROUND, 1e-3), resistor("Q", "m", GROUND, 1e-3))),
        [Connection(0, -1, "current"), Connection(1, -1, "current")],
        None,
        np.full(2, 100e-9),
    )
    both = Excitation(np.full(2, 1e-3), np.full(2, 2e-3), RectifiedSine(), 1e3)
    times, delays = np.arange(40) / 20e3, np.array([0.0, 0.37e-4])
    late = record(board, both, times, delays)
    board.drive(Excitation(np.zeros(2), np.zeros(2)))
    assert late[0] == approx(record(board, both, times)[0], abs=1e-15)
    board.drive(Excitation(np.zeros(2), np.zeros(2)))
    assert late[1] == approx(record(board, both, times + 0.37e-4)[1], abs=1e-14)


# Networks.


def test_a_linear_network_relaxes_as_the_matrix_exponential():
    network, C = ladder(), np.array([1e-7, 2e-7, 3e-8, 5e-7])
    board = Breadboard(network, [Connection(0, -1, "current"), Connection(2, -1, "current")], None, C)
    i = np.array([1e-3, 0.0, -5e-4, 0.0])
    times = np.array([0.0, 1e-5, 1e-4, 1e-3, 1e-2])
    volts = record(board, Excitation(i[[0, 2]], np.zeros(2)), times)
    G = conductance_matrix(network)
    rates = G / C[:, None]
    settled = np.linalg.solve(G, i)
    for number, time in enumerate(times):
        assert volts[:, number] == approx(settled - expm(-rates * time) @ settled, abs=1e-13)
    assert board.relaxation_times() == approx(np.sort(1 / np.linalg.eigvals(rates).real), rel=1e-12)


def test_nodes_without_capacitance_follow_the_others_at_once():
    """b and d have none: eliminated by hand (Schur), and the two that are left obey the exponential."""
    network, C = ladder(), np.array([1e-7, 0.0, 3e-8, 0.0])
    board = Breadboard(network, [Connection(0, -1, "current"), Connection(1, -1, "current")], None, C)
    i = np.array([1e-3, 4e-4, 0.0, 0.0])
    times = np.array([0.0, 2e-5, 3e-4])
    volts = record(board, Excitation(i[:2], np.zeros(2)), times)
    G, slow, quick = conductance_matrix(network), [0, 2], [1, 3]
    across = np.linalg.solve(G[np.ix_(quick, quick)], np.column_stack([G[np.ix_(quick, slow)], i[quick]]))
    left = G[np.ix_(slow, slow)] - G[np.ix_(slow, quick)] @ across[:, :2]
    settled = np.linalg.solve(G, i)
    for number, time in enumerate(times):
        v = settled[slow] - expm(-left / C[slow][:, None] * time) @ settled[slow]
        assert volts[slow, number] == approx(v, abs=1e-13)
        assert volts[quick, number] == approx(across[:, 2] - across[:, :2] @ v, abs=1e-13)
    assert len(board.relaxation_times()) == 2


def test_a_stiff_floating_source_shares_its_jump_by_the_capacitances():
    """2 V appear between a (1 uF) and d (3 uF): the charge stays, so a goes to 1.5 V and d to -0.5 V at first."""
    board = Breadboard(ladder(), [Connection(0, 3, "voltage")], None, np.array([1e-6, 1e-6, 1e-6, 3e-6]))
    volts = record(board, Excitation(np.array([2.0]), np.zeros(1)), np.array([0.0, 10.0]))
    assert volts[:, 0] == approx([1.5, 0.0, 0.0, -0.5], abs=1e-14)
    # Settled: no current to ground, so d is at 0 V; and a - b - (c) - d divides as the conductances say.
    G = conductance_matrix(ladder())
    b, c = np.linalg.solve(G[1:3, 1:3], -2.0 * G[1:3, 0])
    assert volts[:, 1] == approx([2.0, b, c, 0.0], abs=1e-13)


def nudged_and_settled(bench: Bench, n_outputs: int, waveform: Waveform, size: float, n_periods: int = 3) -> Array:
    rng = np.random.default_rng(5)
    levels = rng.uniform(-1, 1, len(bench.network.inputs))
    bench.program(10 ** rng.uniform(-5, -3, len(bench.network.tunable)))
    nudge = Nudge(size * rng.uniform(0.5, 1, n_outputs), waveform)
    return bench.measure(Drive(levels, nudge), n_periods).volts


LINEAR = """bench: numeric
scales: {voltage: 1 V, conductance: 1 mS}
network: {kind: barabasi-albert, nodes: 25, edges: 80, inputs: 3, outputs: 2}
parts: {capacitance: 20 nF, capacitances: {n7: 100 nF, n3: 1 nF}}
sampling: {frequency: 1 kHz, settle: 60 ms}
"""


@pytest.mark.parametrize("skew", ["0 s", "1.3 us"])
def test_a_linear_network_at_omega_is_the_complex_solution(bench_of, skew):
    bench = bench_of(f"{LINEAR}meter: {{skew: {skew}}}\n")
    volts = nudged_and_settled(bench, 2, Sine(), 1e-5)
    # (G + i omega C) B = i at the nodes that no stiff source holds.
    network, board = bench.network, bench.breadboard
    rng = np.random.default_rng(5)
    rng.uniform(-1, 1, len(network.inputs))
    G = conductance_matrix(network, 10 ** rng.uniform(-5, -3, len(network.tunable)))
    amperes = np.zeros(25)
    for plus, minus, size in zip(*network.output_ends, 1e-5 * rng.uniform(0.5, 1, 2), strict=True):
        amperes[plus] += size
        if minus >= 0:
            amperes[minus] -= size
    driven = {int(node) for ends in network.input_ends for node in ends if node >= 0}
    free = np.array([node for node in range(25) if node not in driven])
    C = np.full(25, 20e-9)
    C[network.index["n7"]], C[network.index["n3"]] = 100e-9, 1e-9
    omega = 2e3 * np.pi
    B = np.zeros(25, dtype=complex)
    B[free] = np.linalg.solve((G + 1j * omega * np.diag(C))[np.ix_(free, free)], amperes[free])
    times = np.arange(60) / 20e3 + (1.3e-6 * np.arange(25)[:, None] if skew != "0 s" else 0)
    in_phase = B.real[:, None] * np.sin(omega * times) + B.imag[:, None] * np.cos(omega * times)
    moved = volts - (volts[:, :20] - in_phase[:, :20]).mean(axis=1)[:, None]
    assert board.relaxation_times()[-1] < 2e-3  # so that 60 ms forget the start
    assert np.abs(B.imag).max() > 0.1 * np.abs(B).max()
    assert np.abs(moved - in_phase).max() < 1e-10 * np.abs(B).max()


@pytest.mark.parametrize("waveform", [RectifiedSine(), Triangle()])
def test_a_nudge_with_kinks_is_as_integrated_piece_by_piece(waveform):
    network, C = ladder(), np.array([1e-7, 2e-7, 3e-8, 5e-7])
    board = Breadboard(network, [Connection(0, -1, "current")], None, C)
    times = np.arange(30) / 20e3
    volts = record(board, Excitation(np.array([2e-4]), np.array([1e-3]), waveform, 1e3), times)
    G = conductance_matrix(network)
    v, reference = np.zeros(4), []
    for number in range(30):  # every kink lies on this grid of 20 a period
        reference.append(v)

        def rate(t, v):
            i = np.array([2e-4 + 1e-3 * float(waveform.at(np.asarray(1e3 * t))), 0, 0, 0])
            return (i - G @ v) / C

        step = (times[number], times[number] + 1 / 20e3)
        v = solve_ivp(rate, step, v, method="Radau", rtol=1e-10, atol=1e-15, jac=-G / C[:, None]).y[:, -1]
    assert np.abs(volts - np.array(reference).T).max() < 1e-9 * np.ptp(volts)


def test_a_clamped_nudge_moves_a_network_with_capacitance(bench_of):
    bench = bench_of(LINEAR)
    rng = np.random.default_rng(5)
    levels = rng.uniform(-1, 1, 3)
    conductances = 10 ** rng.uniform(-5, -3, len(bench.network.tunable))
    bench.program(conductances)
    held = bench.respond(Drive(levels)).a
    volts = bench.measure(Drive(levels, Nudge(np.full(2, 0.1), Sine(), NudgeKind.CLAMPED, held))).volts
    network = bench.network
    G, C = conductance_matrix(network, conductances), np.full(25, 20e-9)
    C[network.index["n7"]], C[network.index["n3"]] = 100e-9, 1e-9
    moved = np.zeros(25)
    for plus, minus in zip(*network.output_ends, strict=True):
        moved[plus] += 0.1 if minus < 0 else 0.05
        if minus >= 0:
            moved[minus] -= 0.05
    driven = {int(node) for ends in (*network.input_ends, *network.output_ends) for node in ends if node >= 0}
    free = np.array([node for node in range(25) if node not in driven])
    Y = G + 2e3j * np.pi * np.diag(C)
    B = moved.astype(complex)
    B[free] = np.linalg.solve(Y[np.ix_(free, free)], -(Y @ moved)[free])
    phase = np.arange(100) / 20
    expected = held[:, None] + (B[:, None] * -1j * np.exp(2j * np.pi * phase)).real
    assert np.abs(volts - expected).max() < 1e-12


# Diodes.


def test_a_diode_and_a_capacitor_step_as_the_closed_form():
    """A diode alone discharges C: v' = -Is (exp(v / V) - 1) / C; 1 - exp(-v / V) falls as exp(-Is t / (C V))."""
    network = Network(("n",), (Branch("D", "n", GROUND, DIODE, (1e-8, 0.03)),))
    board = Breadboard(network, [Connection(0, -1, "current")], None, np.array([1e-7]))
    board.drive(Excitation(np.array([1e-4]), np.zeros(1), None, 1e3))
    times = np.array([0.0, 1e-7, 1e-5, 1e-4, 1e-2, 0.3, 1.0])
    volts = record(board, Excitation(np.zeros(1), np.zeros(1), None, 1e3), times)
    start = 0.03 * np.log(1 + 1e-4 / 1e-8)
    expected = -0.03 * np.log(1 - (1 - np.exp(-start / 0.03)) * np.exp(-1e-8 * times / (1e-7 * 0.03)))
    assert volts[0] == approx(expected, abs=1e-9 * start)


def diode_ladder() -> Network:
    junctions = (
        Branch("Db", "b", GROUND, ANTIPARALLEL, (1e-8, 0.03)),
        Branch("Dcd", "c", "d", DIODE, (1e-8, 0.03)),
    )
    return Network(ladder().nodes, ladder().branches + junctions)


def diode_reference(
    C: Array, before: float, level: float, size: float, waveform: Waveform, frequency: float, n_samples: int
) -> Array:
    """The diode ladder written out, by SciPy's Radau; 20 samples a period, among which are all kinks and jumps."""
    G = conductance_matrix(ladder())

    def current(v):
        b, x = 2e-8 * np.sinh(v[1] / 0.03), 1e-8 * np.expm1((v[2] - v[3]) / 0.03)
        return G @ v + np.array([0, b, x, -x])

    def rate(t, v, inside, on):
        near = np.clip(frequency * t * 20, inside + 1e-9, inside + 1 - 1e-9) / 20
        i = level + size * float(waveform.at(np.asarray(near))) if on else before
        return (np.array([i, 0, 0, 0]) - current(v)) / C

    options = {"method": "Radau", "rtol": 1e-10, "atol": 1e-13}
    v = solve_ivp(rate, (0, 1.0), np.zeros(4), args=(0, False), **options).y[:, -1]
    out = []
    for number in range(n_samples):
        out.append(v)
        step = (number / (20 * frequency), (number + 1) / (20 * frequency))
        v = solve_ivp(rate, step, v, args=(number, True), **options).y[:, -1]
    return np.array(out).T


@pytest.mark.parametrize(
    ("waveform", "frequency", "scale"),
    [(Sine(), 3e3, 1.0), (RectifiedSine(), 100.0, 1.0), (Pulse(), 3e3, 1.0), (RectifiedSine(), 1e3, 1e-4)],
)
def test_diodes_move_as_scipy_integrates_them(waveform, frequency, scale):
    """From the levels before, through the transient, to the periodic state: to 1e-8 of what the nudge moves.

    The last case is stiff: the layers after each kink are a hundred thousand times as thin as a period.
    """
    C = scale * np.array([1e-7, 2e-7, 3e-8, 5e-7])
    board = Breadboard(diode_ladder(), [Connection(0, -1, "current")], None, C)
    board.drive(Excitation(np.array([-2e-4]), np.zeros(1), None, frequency))
    times = np.arange(40) / (20 * frequency)
    volts = record(board, Excitation(np.array([3e-4]), np.array([2e-4]), waveform, frequency), times)
    reference = diode_reference(C, -2e-4, 3e-4, 2e-4, waveform, frequency, 40)
    assert np.abs(volts - reference).max() < 1e-8 * np.ptp(reference[:, 20:], axis=1).max()


def test_diodes_repeat_once_they_are_periodic_and_answer_delays():
    C = np.array([1e-7, 2e-7, 3e-8, 5e-7])
    board = Breadboard(diode_ladder(), [Connection(0, -1, "current")], None, C)
    nudged = Excitation(np.array([3e-4]), np.array([2e-4]), Pulse(), 100.0)
    times = np.arange(0, 400) / 2000
    volts = record(board, nudged, times)
    assert volts[:, 380:] == approx(volts[:, 360:380], abs=1e-12)
    board.drive(Excitation(np.zeros(1), np.zeros(1), None, 100.0))
    late = record(board, nudged, times[:-20], np.full(4, 20 / 2000))
    assert late == approx(volts[:, 20:], abs=1e-10)


def test_a_linear_network_is_the_same_by_steps_as_by_modes():
    """A diode that carries nothing (1e-30 A) sends the same network down the other path; two nodes without C."""
    C = np.array([1e-7, 0.0, 3e-8, 0.0])
    idle = Branch("D", "a", "c", DIODE, (1e-30, 10.0))
    networks = (ladder(), Network(ladder().nodes, (*ladder().branches, idle)))
    times, delays = np.arange(80) / 20e3, np.array([0.0, 1.7e-5, 0.0, 0.9e-5])
    for connection, size in ((Connection(1, -1, "current"), 1e-3), (Connection(0, 3, "voltage"), 0.3)):
        for waveform in (Sine(), RectifiedSine(), Pulse()):
            excitation = Excitation(np.array([size]), np.array([size]), waveform, 1e3)
            modes, steps = (record(Breadboard(n, [connection], None, C), excitation, times, delays) for n in networks)
            assert np.abs(steps - modes).max() < 1e-9 * np.ptp(modes)


BOLTZMANN_OVER_CHARGE = 1.38064852e-23 / 1.6021766208e-19  # ngspice's own constants


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
def test_ngspice_sees_the_same_transient(tmp_path):
    """A clipper: 1 kOhm, antiparallel diodes and 100 nF, 1 V at 1 kHz from rest on."""
    law = f"D(IS=10n N={0.03 / (BOLTZMANN_OVER_CHARGE * 300.15):.17g})"
    netlist = tmp_path / "tran.cir"
    netlist.write_text(
        "clipper\n.options temp=27 tnom=27 gmin=1e-20 reltol=1e-7 vntol=1e-11 abstol=1e-14 method=gear\n"
        f".model junction {law}\nV1 s 0 sin(0 1 1000)\nR1 s n 1k\nD1 n 0 junction\nD2 0 n junction\nC1 n 0 100n\n"
        ".control\nset numdgt=12\ntran 1u 2m 0 0.5u uic\nwrdata out.data v(n)\nquit\n.endc\n.end\n"
    )
    done = subprocess.run(
        ["ngspice", "-b", str(netlist)], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert (tmp_path / "out.data").exists(), done.stdout + done.stderr
    theirs = np.loadtxt(tmp_path / "out.data")
    network = Network(("n",), (Branch("D", "n", GROUND, ANTIPARALLEL, (1e-8, 0.03)),))
    board = Breadboard(network, [Connection(0, -1, "voltage", 1e3)], None, np.array([1e-7]))
    ours = record(board, Excitation(np.zeros(1), np.ones(1), Sine(), 1e3), theirs[:, 0])
    # ngspice has another law in reverse, where 10 nA of 1 mA flow, and its own steps.
    assert np.abs(ours[0] - theirs[:, 1]).max() < 2e-5 * np.ptp(theirs[:, 1])


# The bench.

DIODES = """bench: numeric
scales: {voltage: 1 V, conductance: 1 mS}
network: {kind: hidden-layer, hidden: 4, inputs: 3, outputs: 2, diodes: antiparallel}
inputs: {source: resistor, resistance: 1 kOhm}
parts: {capacitance: 5 nF, capacitance_spread: 10 %}
"""


def drives_of(bench: Bench, waveform: Waveform | None = None) -> list[Drive]:
    rng = np.random.default_rng(1)
    bench.program(rng.uniform(1e-4, 1e-3, len(bench.network.tunable)))
    sizes = (len(bench.network.inputs), len(bench.network.outputs))
    pairs = [(rng.uniform(-1, 1, sizes[0]), 1e-5 * rng.uniform(-1, 1, sizes[1])) for _ in range(3)]
    return [drive for x, i in pairs for drive in (Drive(x), Drive(x, Nudge(i, waveform or Sine())))]


@pytest.mark.parametrize("text", [LINEAR, DIODES])
def test_a_slow_nudge_finds_the_static_network(bench_of, text):
    """At omega tau of 1e-8 the in-phase response departs by 1e-16, and the quadrature is out of phase."""
    slow = bench_of(f"{text.replace('1 kHz, settle: 60 ms', '1e-3 Hz')}" + ("" if "sampling" in text else SLOW))
    ideal = bench_of(f"{text}ideal: true\n")
    for drive in drives_of(slow):
        drives_of(ideal)
        slow.measure(drive)  # so that the next record starts from these levels
        b, static = slow.respond(drive), ideal.respond(drive)
        assert np.abs(b.b - static.b).max() <= 3e-8 * np.abs(static.b).max()
        assert np.abs(b.a - static.a).max() <= 1e-8


SLOW = "sampling: {frequency: 1e-3 Hz}\n"


def test_the_static_gradient_stays_what_it_is(bench_of):
    bench, ideal = bench_of(LINEAR), bench_of(f"{LINEAR}ideal: true\n")
    drives_of(ideal)
    for drive in drives_of(bench)[1::2]:
        tangent = Drive(drive.levels, Nudge(drive.nudge.amplitudes, Sine(), NudgeKind.TANGENT))
        assert bench.respond(tangent).b.tobytes() == ideal.respond(tangent).b.tobytes()
        assert (
            np.abs(bench.respond(drive).b - ideal.respond(drive).b).max() > 1e-3 * np.abs(ideal.respond(drive).b).max()
        )


def test_a_bench_with_capacitance_has_no_closed_form(bench_of):
    bench = bench_of(LINEAR)
    order = np.zeros(1, dtype=np.intp)
    ones = np.ones(len(bench.network.tunable))
    plan = BlockPlan(np.ones((1, 3)), np.ones((1, 2)), order, ones, ones, ones, 0.1, 1e-3, "squared", Sine())
    assert not bench.can_run(plan)
    assert bench_of(f"{LINEAR}ideal: true\n").can_run(plan)


def test_a_record_that_is_not_left_to_settle_shows_it(bench_of):
    """The first record leaves from the safe state, at 0 V; the lead time of `settle` takes that out of the record."""
    hasty, patient = bench_of(LINEAR.replace(", settle: 60 ms", "")), bench_of(LINEAR)
    drives_of(patient)
    first = hasty.measure(drives_of(hasty)[0]).volts
    driven = {int(node) for ends in hasty.network.input_ends for node in ends if node >= 0}
    free = np.array([node for node in range(25) if node not in driven])
    assert first[free, 0] == approx(np.zeros(len(free)), abs=1e-14)
    settled = patient.measure(drives_of(patient)[0]).volts
    assert np.ptp(settled, axis=1) == approx(np.zeros(25), abs=1e-14)
    assert first[:, -1] == approx(settled[:, -1], abs=0.1)
    assert hasty.measure(drives_of(hasty)[0]).volts == approx(settled, abs=1e-13)  # it has been there all along


def test_many_un_nudged_drives_are_read_one_after_the_other(bench_of):
    bench, ideal = bench_of(LINEAR), bench_of(f"{LINEAR}ideal: true\n")
    levels = np.array([drive.levels for drive in drives_of(bench)])
    drives_of(ideal)
    assert bench.read_many(levels) == approx(ideal.read_many(levels), abs=1e-13)


@pytest.mark.parametrize("text", [LINEAR, DIODES])
@pytest.mark.parametrize("waveform", [Sine(), RectifiedSine()])
def test_a_resumed_bench_goes_on_to_the_last_bit(bench_of, text, waveform):
    faults = "meter: {noise: 1 mV}\nsource: {offset: 1 mV, gain_error: 1 %}\nresistors: {drift: 1 %}\n"
    text = f"{text.replace(', settle: 60 ms', '')}{faults}"
    whole, first, second = bench_of(text), bench_of(text), bench_of(text)
    drives = drives_of(whole, waveform)
    expected = [whole.measure(drive).volts for drive in drives]
    for drive in drives_of(first, waveform)[:3]:
        first.measure(drive)
    second.restore(first.state())
    for drive, volts in zip(drives[3:], expected[3:], strict=True):
        assert second.measure(drive).volts.tobytes() == volts.tobytes()


def test_without_capacitance_nothing_changes(bench_of):
    """Not a bit of the response, nothing in the checkpoint, and none of what else the hardware's seed draws."""
    faults = "hardware_seed: 3\nmeter: {gain_error: 1 %, offset: 1 mV}\nresistors: {tolerance: 5 %}\n"
    plain = LINEAR.replace("parts: {capacitance: 20 nF, capacitances: {n7: 100 nF, n3: 1 nF}}", faults)
    benches = [bench_of(plain), bench_of(f"{plain}parts: {{capacitance_spread: 20 %, capacitances: {{n1: 0 F}}}}\n")]
    charged = bench_of(f"{plain}parts: {{capacitance: 1 nF, capacitance_spread: 20 %}}\n")
    answers = [[bench.respond(drive) for drive in drives_of(bench)] for bench in benches]
    for one, other in zip(*answers, strict=True):
        assert one.a.tobytes() == other.a.tobytes()
        assert one.b.tobytes() == other.b.tobytes()
    assert [bench.state().keys() for bench in benches] == [{"noise", "records", "held", "true", "start"}] * 2
    assert [bench.relaxation_times().size for bench in benches] == [0, 0]
    settled = [charged.respond(drive) for drive in drives_of(charged)]
    assert settled[0].a == approx(answers[0][0].a, abs=1e-13)  # the same gains, offsets and tolerances


def test_the_spread_of_capacitances_belongs_to_the_hardware(bench_of):
    text = f"{LINEAR}hardware_seed: 4\n".replace("capacitance: 20 nF", "capacitance: 20 nF, capacitance_spread: 5 %")
    same, other_run = bench_of(text).breadboard.capacitance, bench_of(text, seed=9).breadboard.capacitance
    other_bench = bench_of(text.replace("seed: 4", "seed: 5")).breadboard.capacitance
    assert (same == other_run).all()
    assert (same != other_bench).all()
    listed = np.full(25, 20e-9)
    names = bench_of(text).network.index
    listed[names["n7"]], listed[names["n3"]] = 100e-9, 1e-9
    deviates = (same / listed - 1) / 0.05
    assert np.abs(deviates).max() < 4
    assert np.sqrt(np.mean(deviates**2)) == approx(1, abs=0.45)  # 25 of them: 3 sigma


def test_relaxation_times_at_a_diode_are_those_of_its_slope(bench_of):
    """tau = C / (G + Is / nVt exp(v / nVt)): at 0.3 V and 30 mV, exp(10)."""
    network = Network(("n",), (resistor("R", "n", GROUND, 1e-3), Branch("D", "n", GROUND, DIODE, (1e-8, 0.03))))
    board = Breadboard(network, [Connection(0, -1, "current")], None, np.array([1e-7]))
    board.drive(Excitation(np.array([0.3e-3 + 1e-8 * np.expm1(10)]), np.zeros(1)))
    assert board.relaxation_times() == approx([1e-7 / (1e-3 + 1e-8 / 0.03 * np.exp(10))], rel=1e-12)


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        ("parts:\n  capacitances:\n    n1: 1 nF\n    n99: 2 nF\n", 6, 'no node "n99". Did you mean "n9"'),
        ("parts:\n  capacitance: -1 pF\n", 4, "at least 0"),
        ("parts:\n  capacitances:\n    n1: -1 pF\n", 5, "at least 0"),
        ("parts:\n  capacitance: 5 mV\n", 4, "100 pF"),
        ("parts:\n  capacitance: 1 nF\nsource:\n  bits: 12\n", 6, "source.bits and parts.capacitance"),
    ],
)
def test_a_wrong_capacitance_is_refused_with_its_line(bench_of, change, line, said):
    text = "bench: numeric\nnetwork: {kind: barabasi-albert, nodes: 12, edges: 20, inputs: 2, outputs: 1}\n"
    with pytest.raises(FileError, match=said) as caught:
        bench_of(text + change)
    assert caught.value.line == line


def test_a_nudge_that_follows_the_state_is_refused(bench_of):
    bench = bench_of(LINEAR)
    drive = drives_of(bench)[0]
    with pytest.raises(LimitError, match="can't nudge by feedback"):
        bench.measure(Drive(drive.levels, Nudge(np.zeros(2), Sine(), NudgeKind.FEEDBACK)))


@pytest.mark.parametrize(("delays", "distinct"), [("each", 25), ("common", 1)])
def test_a_meter_that_runs_free_sees_the_same_network_later(bench_of, delays, distinct):
    bench = bench_of(f"{LINEAR}meter: {{synchronised: false, delays: {delays}}}\n")
    on_time = bench_of(LINEAR)
    late, there = (nudged_and_settled(one, 2, RectifiedSine(), 1e-5) for one in (bench, on_time))
    assert isinstance(bench, NumericBench)
    # The same mean over a period, whatever the delay (the mean of |sin| at 20 samples is that of any other to 1e-3).
    swing = np.ptp(there, axis=1).max()
    assert late.mean(axis=1) == approx(there.mean(axis=1), abs=2e-3 * swing)
    assert np.abs(late - there).max() > 0.05 * swing


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_a_passive_network_only_loses_energy_and_its_own_response_only_falls_with_frequency(seed):
    """Stored energy falls once nothing drives; and |Z(i omega)| of a port of resistors and capacitors falls."""
    rng = np.random.default_rng(seed)
    rows = [(f"n{i}", f"n{rng.integers(i)}" if i else GROUND) for i in range(6)] + [("n5", GROUND), ("n2", "n4")]
    branches = tuple(
        resistor(f"R{k}", p, m, float(10 ** rng.uniform(-5, -2))) for k, (p, m) in enumerate(rows) if p != m
    )
    network, C = Network(tuple(f"n{i}" for i in range(6)), branches), 10 ** rng.uniform(-9, -6, 6)
    board = Breadboard(network, [Connection(3, -1, "current")], None, C)
    board.drive(Excitation(np.array([1e-3]), np.zeros(1)))
    off = record(board, Excitation(np.zeros(1), np.zeros(1)), np.concatenate([[0], np.logspace(-7, 0, 40)]))
    energy = 0.5 * C @ off**2
    assert (np.diff(energy) <= 1e-15 * energy[0]).all()
    tau = board.relaxation_times()[-1]
    sizes = []
    for x in np.logspace(-2, 2, 9):
        frequency = x / (2 * np.pi * tau)
        board.drive(Excitation(np.zeros(1), np.zeros(1)))
        times = (np.ceil(45 * x) + np.arange(20) / 20) / frequency
        volts = record(board, Excitation(np.zeros(1), np.array([1e-3]), Sine(), frequency), times)[3]
        sizes.append(2 * abs(np.mean(volts * np.exp(-2j * np.pi * np.arange(20) / 20))))
    assert (np.diff(sizes) <= 1e-12 * sizes[0]).all()


# Smooth pieces.


@pytest.mark.parametrize(
    ("waveform", "breaks"), [(RectifiedSine(), []), (Pulse(), [0.3]), (Triangle(), [0.25, 0.75]), (Sine(), [])]
)
def test_pieces_end_where_a_waveform_has_its_kinks_and_jumps(waveform, breaks):
    pieces = smooth_pieces(waveform)
    starts = [piece.start for piece in pieces]
    assert pieces[0].start == 0
    assert [piece.end for piece in pieces] == [*starts[1:], 1.0]
    assert set(breaks) <= set(starts)
    for piece in pieces:
        inside = np.linspace(piece.start, piece.end, 102)[1:-1]
        assert piece.at(inside) == approx(waveform.at(inside), abs=2e-13)
