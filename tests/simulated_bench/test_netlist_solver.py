"""The netlist solver on circuits with known answers: textbooks, symmetry, a pencil; and what it refuses to answer."""

from __future__ import annotations

import json
import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.optimize import brentq
from scipy.special import lambertw

from freqprop_lab.cli import main
from freqprop_lab.netlist import THERMAL_VOLTAGE, parse_netlist
from simulated_bench.circuit import CircuitError
from simulated_bench.netlist_solver import Solution, operating_point, response
from simulated_bench.solve import solve

approx = pytest.approx
VT = 1.38064852e-23 / 1.6021766208e-19 * 300.15  # V, k T / q at 27 C with ngspice's constants
NO_LEAK = ".options gmin=1e-30"  # where a book has Shockley's law alone


def dc(*lines: str) -> Solution:
    found = operating_point(parse_netlist("\n".join(["title", *lines])))
    largest = max(map(abs, found.currents.values()))
    assert found.residual <= 1e-12 * largest
    return found


def ac(hertz: float, *lines: str) -> dict[str, complex]:
    return response(parse_netlist("\n".join(["title", *lines])), hertz).volts


def test_the_thermal_voltage_is_ngspices() -> None:
    assert approx(VT, rel=1e-15) == THERMAL_VOLTAGE


# --- textbooks


def test_a_wheatstone_bridge() -> None:
    """Nilsson and Riedel, Electric Circuits, 3.6: balanced where R1 / R2 = R3 / Rx; Thevenin's theorem beside it."""
    balanced = dc("V1 a 0 10", "R1 a l 100", "R3 a r 200", "R2 l 0 150", "RX r 0 300", "RG l r 50")
    assert balanced.volts["l"] == approx(6, rel=1e-14)
    assert abs(balanced.currents["RG"]) < 1e-16
    off = dc("V1 a 0 10", "R1 a l 100", "R3 a r 200", "R2 l 0 100", "RX r 0 300", "RG l r 50")
    # Thevenin: 5 V and 6 V behind 100 || 100 = 50 and 200 || 300 = 120 Ohm, 50 Ohm between: -1 V / 220 Ohm.
    assert off.currents["RG"] == approx(-1 / 220, rel=1e-13)


@pytest.mark.parametrize("code", range(16))
def test_an_r_2r_ladder_is_a_converter(code: int) -> None:
    """Horowitz and Hill, The Art of Electronics, on R-2R ladders: four bits give code / 16 of the reference."""
    lines = ["R0 n0 0 20k"]
    for bit in range(4):
        lines += [f"V{bit} b{bit} 0 {8.0 if code >> bit & 1 else 0}", f"RB{bit} b{bit} n{bit} 20k"]
        if bit < 3:
            lines.append(f"RL{bit} n{bit} n{bit + 1} 10k")
    assert dc(*lines).volts["n3"] == approx(8 * code / 16, rel=1e-13, abs=1e-14)


def test_an_infinite_ladder_has_the_golden_resistance() -> None:
    """Feynman, Lectures II, 22-6: z = R + R z / (R + z), so z = R (1 + sqrt 5) / 2. Forty sections leave 0.146^40."""
    lines = ["I1 0 n0 1"]
    for section in range(40):
        lines += [f"RS{section} n{section} n{section + 1} 1", f"RP{section} n{section + 1} 0 1"]
    assert dc(*lines).volts["n0"] == approx((1 + math.sqrt(5)) / 2, rel=1e-14)


@pytest.mark.parametrize("size", [4, 9, 30])
def test_a_square_grid_tends_to_half_an_ohm(size: int) -> None:
    """The infinite grid has R / 2 between neighbours (Venezian, Am. J. Phys. 62 (1994) 1000).

    Closed to a torus, of 2 N^2 like branches, it has exactly (N^2 - 1) / (2 N^2): Foster's theorem, 1949.
    """
    lines, number = ["I1 0 n0_1 1"], 0
    for i in range(size):
        for j in range(size):
            for k, m in (((i + 1) % size, j), (i, (j + 1) % size)):
                ends = ["0" if one == (0, 0) else f"n{one[0]}_{one[1]}" for one in ((i, j), (k, m))]
                lines.append(f"R{number} {ends[0]} {ends[1]} 1")
                number += 1
    assert dc(*lines).volts["n0_1"] == approx((size**2 - 1) / (2 * size**2), rel=1e-12)


def test_a_cube_of_resistors_has_five_sixths() -> None:
    """Purcell, Electricity and Magnetism, problems of chapter 4: across the body diagonal of twelve 1 Ohm edges."""
    corners = ["0", *(f"c{i}" for i in range(1, 8))]
    edges = [(a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit]
    lines = [f"R{n} {corners[a]} {corners[b]} 1" for n, (a, b) in enumerate(edges)]
    assert dc("I1 0 c7 1", *lines).volts["c7"] == approx(5 / 6, rel=1e-14)


def test_millmans_theorem() -> None:
    """Millman, Proc. IRE 28 (1940) 413: V = sum E / R over sum 1 / R."""
    found = dc("V1 a 0 12", "V2 b 0 -6", "I1 0 m 2m", "R1 a m 1k", "R2 b m 2k", "R3 m 0 4k")
    assert found.volts["m"] == approx((12 / 1e3 - 6 / 2e3 + 2e-3) / (1 / 1e3 + 1 / 2e3 + 1 / 4e3), rel=1e-14)


def through_diodes(volts: float, ohms: float, Is: float, nVt: float) -> float:
    """Current of a resistor and a Shockley diode in series, in closed form.

    Banwell and Jayakumar, Electronics Letters 36 (2000) 291.
    """
    argument = Is * ohms / nVt * math.exp((volts + Is * ohms) / nVt)
    return nVt / ohms * float(lambertw(argument).real) - Is


def test_a_diode_clipper() -> None:
    """Sedra and Smith, Microelectronic Circuits, 6th ed., 4.6: a shunt diode holds the output near 0.6 V."""
    for volts in (0.2, 0.6, 5.0):
        found = dc(NO_LEAK, f"V1 in 0 {volts}", "R1 in out 1k", "D1 out 0 d", ".model d D(IS=10n N=1.9)")
        current = through_diodes(volts, 1e3, 1e-8, 1.9 * VT)
        assert found.volts["out"] == approx(volts - 1e3 * current, rel=1e-12)
        assert found.currents["D1"] == approx(current, rel=1e-12)


@pytest.mark.parametrize("volts", [10.0, -10.0])
def test_a_bridge_rectifier_gives_the_same_for_both_polarities(volts: float) -> None:
    """Sedra and Smith, 4.5.3: two diodes in series with the load conduct, whichever way the source points."""
    found = dc(
        NO_LEAK, f"V1 a b {volts}", "RB b 0 1", "D1 a p d", "D2 b p d", "D3 n a d", "D4 n b d", "RL p n 1k",
        ".model d D(IS=1p N=1.2)",
    )  # fmt: skip
    # The load carries the diodes' current less what the two that are closed let back, 1 pA each: 1e-10 of it.
    current = through_diodes(10.0, 1e3, 1e-12, 2 * 1.2 * VT)
    assert found.volts["p"] - found.volts["n"] == approx(1e3 * current, rel=1e-8)


def test_a_half_wave_rectifier() -> None:
    """Sedra and Smith, 4.5.1: one diode and a load; backwards ngspice's tail and gmin are all that flows."""
    lines = ("R1 in a 100", "D1 a out d", "RL out 0 900", ".model d D(IS=1n N=1.7 RS=0.5)")
    forward = dc("V1 in 0 8", *lines)
    assert forward.volts["out"] == approx(900 * through_diodes(8, 1000.5, 1e-9, 1.7 * VT), rel=1e-10)
    backward = dc("V1 in 0 -8", *lines)
    # -8 V but for some nanoamperes times a kilohm stand across the junction.
    tail = 1e-9 * (1 + (3 * 1.7 * VT / (math.e * -8)) ** 3) + 1e-12 * 8
    assert backward.volts["out"] == approx(-900 * tail, rel=1e-6)


def test_an_rc_corner() -> None:
    """Any textbook: at 1 / (2 pi R C) an RC low-pass gives 1 / (1 + j)."""
    hertz = 1 / (2 * math.pi * 1e3 * 1e-7)
    assert ac(hertz, "V1 in 0 AC 1", "R1 in out 1k", "C1 out 0 100n")["out"] == approx(1 / (1 + 1j), rel=1e-14)


def test_an_rc_ladder_turns_by_half_a_period() -> None:
    """Sedra and Smith, 6th ed., 17.2.2, the phase-shift oscillator: three sections give -1/29 at sqrt(6) / 2 pi R C."""
    lines = ["V1 n0 0 DC 3 AC 1"]
    for i in range(3):
        lines += [f"R{i} n{i} n{i + 1} 4.7k", f"C{i} n{i + 1} 0 2.2n"]
    assert ac(math.sqrt(6) / (2 * math.pi * 4.7e3 * 2.2e-9), *lines)["n3"] == approx(-1 / 29, rel=1e-13)


def test_a_twin_t_is_blind_at_one_frequency() -> None:
    """Horowitz and Hill on the twin-T notch: nothing passes at 1 / (2 pi R C)."""
    lines = (
        "V1 in 0 AC 1", "RA in a 10k", "RB a out 10k", "CA a 0 20n", "CB in b 10n", "CC b out 10n", "RC b 0 5k",
        "RL out 0 1meg",
    )  # fmt: skip
    hertz = 1 / (2 * math.pi * 10e3 * 10e-9)
    assert abs(ac(hertz, *lines)["out"]) < 1e-14
    assert abs(ac(2 * hertz, *lines)["out"]) > 0.1


def test_a_wien_network_passes_a_third() -> None:
    """Sedra and Smith, 6th ed., 17.2.1: 1/3 without a phase at 1 / (2 pi R C)."""
    lines = ("V1 in 0 AC 3", "R1 in m 10k", "C1 m out 16n", "R2 out 0 10k", "C2 out 0 16n")
    assert ac(1 / (2 * math.pi * 10e3 * 16e-9), *lines)["out"] == approx(1, rel=1e-13)


def test_the_small_signal_resistance_of_a_diode() -> None:
    """r = nVt / (I + Is): fed by a current, its phasor voltage is r times the phasor current."""
    found = ac(1e3, NO_LEAK, "I1 0 a DC 1m AC 1u", "D1 a 0 d", ".model d D(IS=1n N=1.5)")
    assert found["a"] == approx(1e-6 * 1.5 * VT / (1e-3 + 1e-9), rel=1e-12)


# --- hard ones


def test_small_and_large_resistances_side_by_side() -> None:
    """Adding conductances would lose the 2.5 pA to the last bit of 2.5 V times 1 kS: 0.4 pA."""
    found = dc("V1 in 0 5", "R1 in a 1e12", "R2 a b 1m", "R3 b 0 1e12")
    assert (found.volts["a"], found.volts["b"]) == approx((2.5, 2.5), rel=1e-14)
    assert found.currents["R2"] == approx(2.5e-12, rel=1e-13)


def test_a_shunt_of_little_resistance_at_a_high_voltage() -> None:
    found = dc("V1 in 0 325", "RS in a 10m", "R1 a 0 325k")
    assert found.currents["RS"] == approx(325 / 325000.01, rel=1e-13)


def test_forty_diodes_in_series() -> None:
    lines = [f"D{i} n{i} {'0' if i == 39 else f'n{i + 1}'} d" for i in range(40)]
    found = dc("V1 in 0 60", "R1 in n0 1k", *lines, ".model d D(IS=1f)")
    nVt = 1.0 * VT

    def missing(x: float) -> float:  # all forty are alike
        return 60 - 40 * x - 1e3 * (1e-15 * math.expm1(x / nVt) + 1e-12 * x)

    assert found.volts["n39"] == approx(brentq(missing, 0.5, 1.2, xtol=1e-15), rel=1e-12)


def test_a_long_chain_of_clippers_from_a_steep_start() -> None:
    """Antiparallel diodes at every node of a ladder, driven far beyond them: voltages fall from node to node."""
    lines = [".model d D(IS=1e-15 N=1 RS=0.01)", "V1 n0 0 300"]
    for i in range(30):
        lines += [f"R{i} n{i} n{i + 1} 10", f"DA{i} n{i + 1} 0 d", f"DB{i} 0 n{i + 1} d"]
    found = dc(*lines)
    volts = [found.volts[f"n{i}"] for i in range(31)]
    assert all(before > after > 0 for before, after in pairwise(volts))


def test_a_large_grid_goes_through_the_sparse_solver() -> None:
    size = 60
    lines, number = ["V1 n0_0 0 1", f"RG n{size - 1}_{size - 1} 0 1"], 0
    for i in range(size):
        for j in range(size):
            for k, m in ((i + 1, j), (i, j + 1)):
                if max(k, m) < size:
                    lines.append(f"R{number} n{i}_{j} n{k}_{m} 1")
                    number += 1
    found = dc(*lines)
    # Turned by half a turn the grid is itself: the middle of the way lies in the middle of its two ends.
    ends = found.volts["n0_0"] + found.volts[f"n{size - 1}_{size - 1}"]
    assert found.volts["n20_37"] + found.volts["n39_22"] == approx(ends, rel=1e-12)


def test_kirchhoff_holds_for_phasors() -> None:
    netlist = parse_netlist(
        "t\nV1 in 0 1 AC 1 30\nR1 in a 1k\nC1 a 0 1n\nD1 a 0 d\nI1 a 0 AC 1m\n.model d D(IS=1n CJO=1p)"
    )
    found = response(netlist, 1e5)
    at_a = np.array([found.currents[name] for name in ("R1", "C1", "D1", "I1")]) * [-1, 1, 1, 1]
    assert abs(at_a.sum()) <= 1e-12 * np.abs(at_a).max()
    assert found.residual <= 1e-12 * np.abs(at_a).max()


# --- what has no answer

NO_ANSWER = {
    "two voltage sources side by side": (
        ["V1 a 0 1", "R1 a 0 1", "V2 a 0 1"],
        r"voltage sources V1 \(line 2\), V2 \(line 4\) form a loop",
    ),
    "a loop of three": (
        ["V1 a 0 1", "V2 b a 1", "R1 b 0 1", "V3 b 0 2"],
        r"V1 \(line 2\), V2 \(line 3\), V3 \(line 5\) form a loop",
    ),
    "a source across itself": (["V1 a a 1", "R1 a 0 1"], r"V1 \(line 2\) form a loop"),
    "a floating part": (["R1 a 0 1", "R2 b c 1"], r"node b, c has no DC path to ground \(R2 \(line 3\)\)"),
    "a node between capacitors": (["R1 a 0 1", "C1 a b 1n", "C2 b 0 1n"], r"node b has no DC path.*C1 \(line 3\), C2"),
    "a current into nothing": (["R1 a 0 1", "I1 a b 1m"], r"node b has no DC path to ground \(I1 \(line 3\)\)"),
    "a bare junction across a stiff source": (
        ["V1 a 0 8", "D1 a 0 d", ".model d D"],
        r"D1 \(line 3\) stands at 8 V, 309 n Vt: no current in the world is that large",
    ),
    "a diode that breaks down": (
        ["V1 a 0 -20", "R1 a b 1k", "D1 b 0 z", ".model z D(BV=5.1)"],
        r"D1 \(line 4\) stands at -20 V, and its model breaks down at -5.1 V",
    ),
}


@pytest.mark.parametrize("name", NO_ANSWER)
def test_what_has_no_answer_gets_none(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, message = NO_ANSWER[name]
    with pytest.raises(CircuitError, match=message):
        dc(*lines)
    path = tmp_path / "board.cir"
    path.write_text("\n".join(["title", *lines]) + "\n")
    monkeypatch.setattr(sys, "argv", ["freqprop", "solve", str(path), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (1, "")
    assert told.err.splitlines()[-1].startswith(f"freqprop: {path}: ")


# --- the command

BOARD = "title\nV1 IN 0 3 AC 2\nR1 in out 1k\nR2 out 0 2k\nC1 out 0 1u\n.control\nop\n.endc\n.op\n.end\n"


def test_solve_prints_one_object(tmp_path: Path) -> None:
    path = tmp_path / "board.cir"
    path.write_text(BOARD)
    result = CliRunner().invoke(solve, [str(path), "--json", "--currents"])
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["nodes"] == approx({"in": 3.0, "out": 2.0})
    assert told["currents"] == approx({"V1": -1e-3, "R1": 1e-3, "R2": 1e-3, "C1": 0.0})
    assert 0 <= told["residual"] <= 1e-15
    assert f"note: {path}, line 6: the .control block up to line 8 is skipped" in result.stderr
    assert f"note: {path}, line 9: .op is left out" in result.stderr


def test_solve_prints_phasors(tmp_path: Path) -> None:
    path = tmp_path / "board.cir"
    path.write_text(BOARD)
    hertz = 1 / (2 * math.pi * 1e-6 * 2e3 / 3)  # the corner of 1k || 2k with 1 uF
    result = CliRunner().invoke(solve, [str(path), "--ac", f"{hertz!r} Hz", "--json"])
    out = 2 * (2 / 3) / (1 + 1j)
    assert json.loads(result.stdout)["nodes"]["out"] == approx([out.real, out.imag], rel=1e-12)
    table = CliRunner().invoke(solve, [str(path), "--ac", repr(hertz)]).stdout.splitlines()
    assert table[0].split() == ["node", "V", "degrees"]
    assert [float(word) for word in table[2].split()[1:]] == approx([abs(out), -45], rel=1e-4)


def test_solve_refuses_a_frequency_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "board.cir"
    path.write_text(BOARD)
    assert CliRunner().invoke(solve, [str(path), "--ac", "0"]).exit_code == 2
    assert CliRunner().invoke(solve, [str(path), "--ac", "5 V"]).exit_code == 2
