"""Random netlists through the reader and the solver, held against ngspice: .op and .ac, node by node."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from freqprop_lab.config import read_netlist
from simulated_bench.netlist_solver import operating_point, response

pytestmark = pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")

# ngspice stops where two iterates agree to reltol; Newton has then doubled the digits once more.
TIGHT = ".options reltol=1e-10 vntol=1e-13 abstol=1e-16 itl1=1000"
LESS_TIGHT = ".options reltol=1e-8 vntol=1e-11 abstol=1e-14 itl1=1000"  # where its last digits never settle


def random_netlist(seed: int) -> tuple[list[str], float]:
    """2 to 60 nodes: a tree of resistors to ground, and then anything between any two nodes but loops of V.

    ngspice adds conductances, so it knows the current through 1 Ohm at 8 V to 1e-15 A: across a megohm that is 1e-9 V.
    Hence three decades of resistances; what we make of more is held against pencil work, beside.
    """
    rng = np.random.default_rng(seed)
    n_nodes = int(rng.integers(2, 61))
    nodes = ["0", *(f"n{i}" for i in range(1, n_nodes + 1))]

    def pair() -> tuple[str, str]:
        first, second = rng.choice(len(nodes), 2, replace=False)
        return nodes[first], nodes[second]

    def decades(low: float, high: float) -> str:
        return f"{10 ** rng.uniform(low, high):.12g}"

    lines = [f"R{i} {nodes[i]} {nodes[rng.integers(i)]} {decades(1, 4.5)}" for i in range(1, n_nodes + 1)]
    lines += ["RX{} {} {} {}".format(i, *pair(), decades(1, 4.5)) for i in range(n_nodes)]
    for number in range(3):
        parts = f"IS={decades(-15, -8)} N={rng.uniform(1, 2):.12g} CJO={decades(-12, -10)} TT={decades(-9, -7)}"
        series = f" RS={decades(0.3, 2)}" if number else ""
        lines.append(
            f".model dm{number} D({parts} VJ={rng.uniform(0.5, 1):.12g} M={rng.uniform(0.3, 0.5):.6g}{series})"
        )
    lines += ["C{} {} {} {}".format(i, *pair(), decades(-12, -6)) for i in range(int(rng.integers(0, n_nodes + 1)))]
    part = list(range(len(nodes)))  # which nodes voltage sources hold together
    for number in range(int(rng.integers(1, 2 + n_nodes // 8))):
        first, second = rng.choice(len(nodes), 2, replace=False)
        if part[first] != part[second]:
            part = [part[first] if one == part[second] else one for one in part]
            ac = f" AC {rng.uniform(0, 2):.6g} {rng.uniform(-180, 180):.6g}" if rng.random() < 0.7 else ""
            lines.append(f"V{number} {nodes[first]} {nodes[second]} {rng.uniform(-8, 8):.12g}{ac}")
    for number in range(int(rng.integers(0, n_nodes + 1))):
        first, second = rng.choice(len(nodes), 2, replace=False)
        area = f" area={rng.uniform(0.5, 3):.6g}" if rng.random() < 0.3 else ""
        kind, cathode = rng.integers(3), nodes[second]
        if kind == 0:  # a stiff source across bare junctions drives 1e100 A, where no digits are left
            cathode = f"d{number}"
            lines.append(f"RD{number} {cathode} {nodes[second]} {decades(1, 3)}")
        lines.append(f"D{number} {nodes[first]} {cathode} dm{kind}{area}")
    for number in range(int(rng.integers(0, 2 + n_nodes // 8))):
        plus, minus = pair()
        sign = rng.choice(["", "-"])
        lines.append(f"I{number} {plus} {minus} DC {sign}{decades(-6, -3)} AC {decades(-6, -3)}")
    return lines, float(10 ** rng.uniform(1, 7))


def by_ngspice(folder: Path, lines: list[str], nodes: tuple[str, ...], hertz: float) -> tuple[np.ndarray, np.ndarray]:
    """Node voltages and phasors as ngspice prints them, 16 digits."""
    prints = [f"print v({node})" for node in nodes]
    control = [".control", "set numdgt=16", "op", *prints, f"ac lin 1 {hertz!r} {hertz!r}", *prints, "quit", ".endc"]
    path = folder / "theirs.cir"
    for options in (TIGHT, LESS_TIGHT):
        path.write_text("\n".join(["random", options, *lines, *control, ".end"]) + "\n")
        done = subprocess.run(["ngspice", "-b", str(path)], capture_output=True, text=True, timeout=60, check=False)
        found = re.findall(r"^v\(\S+\) = (\S+)$", done.stdout, re.MULTILINE)
        if len(found) == 2 * len(nodes):
            break
    else:
        raise AssertionError(done.stdout + done.stderr)
    volts = np.array([float(one) for one in found[: len(nodes)]])
    phasors = np.array([complex(*map(float, one.split(","))) for one in found[len(nodes) :]])
    return volts, phasors


def agrees(seed: int, folder: Path) -> None:
    lines, hertz = random_netlist(seed)
    ours = folder / "ours.cir"
    ours.write_text("\n".join(["random", *lines, ".end"]) + "\n")
    netlist = read_netlist(ours)
    volts, phasors = by_ngspice(folder, lines, netlist.nodes, hertz)
    point, answer = operating_point(netlist), response(netlist, hertz)
    largest = max(map(abs, point.currents.values()))
    difference = np.abs(np.array(list(point.volts.values())) - volts)
    off = np.abs(np.array(list(answer.volts.values())) - phasors)
    print(
        f"seed {seed}: {len(netlist.nodes)} nodes, {len(netlist.elements)} elements, {hertz:.3g} Hz; of what is "
        f"allowed, .op is off by {(difference / np.maximum(1e-9 * np.abs(volts), 1e-12)).max():.1e}, "
        f".ac by {(off / np.maximum(1e-9 * np.abs(phasors), 1e-12)).max():.1e}"
    )
    assert (difference <= np.maximum(1e-9 * np.abs(volts), 1e-12)).all()
    assert (off <= np.maximum(1e-9 * np.abs(phasors), 1e-12)).all()
    assert point.residual <= 1e-12 * largest
    # Kirchhoff's law again, from the currents that are given out, summed in another order.
    for node in netlist.nodes:
        leaving = [(one.plus == node) - (one.minus == node) for one in netlist.elements]
        flows = np.array(list(point.currents.values())) * leaving
        assert abs(flows.sum()) <= 1e-12 * largest


@pytest.mark.parametrize("seed", range(20))
def test_a_random_netlist_agrees_with_ngspice(seed: int, tmp_path: Path) -> None:
    agrees(seed, tmp_path)


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_two_hundred_random_netlists_agree_with_ngspice(seed: int, tmp_path: Path) -> None:
    agrees(seed, tmp_path)
