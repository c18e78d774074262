"""ngspice as an independent witness: a network of ours written as its netlist, and what it prints read back."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from freqprop_lab.elements import CAPACITOR, ELEMENTS, MOSFET, FromFunction
from freqprop_lab.network import GROUND, Branch, Network
from simulated_bench.circuit import Connection

needs_ngspice = pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")

THERMAL = 1.38064852e-23 / 1.6021766208e-19 * 300.15  # V, ngspice's own constants at 27 degrees
# Its gmin would be one more conductance at each junction, its default reltol is 1e-3.
OPTIONS = ".options temp=27 tnom=27 gmin=1e-20 reltol=1e-10 vntol=1e-13 abstol=1e-16 itl1=2000"


class NgspiceDiode(FromFunction):
    """ngspice's own law: Shockley's down to -3 n Vt, -Is (1 + (3 n Vt / (e v))^3) below (dioload.c). One size each."""

    def __init__(self, Is: float, nVt: float) -> None:
        self.Is, self.nVt = Is, nVt

        def tail(v: np.ndarray) -> np.ndarray:
            return (3 * nVt / (np.e * np.minimum(v, -3 * nVt))) ** 3

        def grown(v: np.ndarray) -> np.ndarray:
            u = v / nVt
            return np.expm1(np.minimum(u, 80.0)) + np.exp(80.0) * np.maximum(u - 80.0, 0.0)

        super().__init__(
            lambda v: Is * np.where(v < -3 * nVt, -1 - tail(v), grown(v)),
            slope=lambda v: (
                Is
                * np.where(v < -3 * nVt, 3 * tail(v) / np.minimum(v, -3 * nVt), np.exp(np.minimum(v / nVt, 80.0)) / nVt)
            ),
            width=nVt,
        )


def deck(network: Network, connections: Sequence[Connection], sources: Sequence[str], commands: Sequence[str]) -> str:
    """Write a network as a netlist. sources: what each connection puts out, as ngspice writes it."""

    def node(name: str) -> str:
        return "0" if name == GROUND else name

    lines = ["circuit", OPTIONS]
    for number, branch in enumerate(network.branches):
        lines += _card(number, branch, node(branch.plus), node(branch.minus))
    for number, (connection, value) in enumerate(zip(connections, sources, strict=True)):
        plus, minus = (node((*network.nodes, GROUND)[end]) for end in (connection.plus, connection.minus))
        if connection.kind == "current":
            lines.append(f"I{number} {minus} {plus} {value}")  # SPICE's current flows from its first node to its second
        elif connection.resistance:
            lines += [
                f"V{number} in{number} {minus} {value}",
                f"RV{number} in{number} {plus} {connection.resistance!r}",
            ]
        else:
            lines.append(f"V{number} {plus} {minus} {value}")
    return "\n".join([*lines, ".control", "set numdgt=16", *commands, "quit", ".endc", ".end", ""])


def _card(number: int, branch: Branch, plus: str, minus: str) -> list[str]:
    element, theta = branch.element, branch.theta
    if element is ELEMENTS["resistor"]:
        return [f"R{number} {plus} {minus} {1 / theta[0]!r}"]
    if element is CAPACITOR:
        return [f"C{number} {plus} {minus} {theta[0]!r}"]
    if element is ELEMENTS["diode"]:
        return [f"D{number} {plus} {minus} M{number}", _model(number, theta)]
    if element is ELEMENTS["junction"]:  # its leakage is the gmin of the options
        return [f"D{number} {plus} {minus} M{number}", _model(number, theta[:2])]
    if element is ELEMENTS["antiparallel"]:
        cards = [f"D{number} {plus} {minus} M{number}", f"DB{number} {minus} {plus} M{number}"]
        return [*cards, _model(number, theta)]
    if element is ELEMENTS["series-diode"]:
        return [f"D{number} {plus} {minus} M{number}", _model(number, theta, f" RS={theta[2]!r}")]
    if isinstance(element, NgspiceDiode):
        return [f"D{number} {plus} {minus} M{number}", _model(number, (element.Is, element.nVt))]
    if element is MOSFET:
        beta, threshold, modulation, gate = theta
        return [
            f"VG{number} g{number} 0 {gate!r}",
            f"MT{number} {plus} g{number} {minus} bulk T{number} W=1u L=1u",
            f".model T{number} NMOS(LEVEL=1 VTO={threshold!r} KP={beta!r} LAMBDA={modulation!r} IS=1e-40)",
        ]
    raise TypeError(f"ngspice has no {branch.element.kind}")


def _model(number: int, theta: Sequence[float], more: str = "") -> str:
    return f".model M{number} D(IS={theta[0]!r} N={theta[1] / THERMAL!r}{more})"


def run(text: str, folder: Path) -> str:
    """Run a netlist in batch mode and return what it prints."""
    path = folder / "deck.cir"
    path.write_text(text)
    done = subprocess.run(
        ["ngspice", "-b", str(path)], capture_output=True, text=True, timeout=120, check=False, cwd=folder
    )
    return done.stdout + done.stderr


def operating_point(network: Network, connections: Sequence[Connection], x: np.ndarray, folder: Path) -> np.ndarray:
    """Return ngspice's .op of the nodes, V, (node,)."""
    text = deck(network, connections, [repr(v) for v in x.tolist()], ["op", *(f"print v({n})" for n in network.nodes)])
    text = text.replace(OPTIONS, OPTIONS + "\nVBULK bulk 0 -20")
    printed = dict(re.findall(r"^v\((\w+)\) = (\S+)", run(text, folder), flags=re.MULTILINE))
    return np.array([float(printed[name]) for name in network.nodes])


def ac(
    network: Network, connections: Sequence[Connection], x: np.ndarray, driven: int, hertz: float, folder: Path
) -> np.ndarray:
    """Return ngspice's .ac of the nodes at one frequency, V, (node,), complex, 1 V or A on one of the connections."""
    sources = [f"DC {v!r}" + (" AC 1" if i == driven else "") for i, v in enumerate(x.tolist())]
    parts = [f"print real(v({n})) imag(v({n}))" for n in network.nodes]
    text = deck(network, connections, sources, [f"ac lin 1 {hertz!r} {hertz!r}", *parts])
    text = text.replace(OPTIONS, OPTIONS + "\nVBULK bulk 0 -20")
    out = run(text, folder)
    real = dict(re.findall(r"^real\(v\((\w+)\)\) = (\S+)", out, flags=re.MULTILINE))
    imag = dict(re.findall(r"^imag\(v\((\w+)\)\) = (\S+)", out, flags=re.MULTILINE))
    return np.array([float(real[name]) + 1j * float(imag[name]) for name in network.nodes])
