"""Small signals about an operating point: the response at any frequency, and the noise of the parts themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.values import Array
from simulated_bench.analyses._operating_point import OperatingPoint
from simulated_bench.choice import as_dense
from simulated_bench.circuit import Circuit, CircuitError
from simulated_bench.linear_solves import refined

ComplexArray = NDArray[np.complex128]


@dataclass(frozen=True)
class SmallSignal:
    """The complex amplitudes of the node voltages, V, (frequency, node), at frequencies in Hz.

    residual: the largest violation of Kirchhoff's law, A.
    """

    frequencies: Array
    volts: ComplexArray
    residual: float


@dataclass(frozen=True)
class NoiseSpectrum:
    """Spectral densities of noise voltages at nodes, V^2/Hz, one-sided, (frequency, node).

    by_branch: what each branch's own noise adds, (frequency, node, branch); by_source: the series resistances'.
    """

    frequencies: Array
    density: Array
    by_branch: Array
    by_source: Array


def ac(point: OperatingPoint, stimulus: Array, frequencies: Array, capacitance: Array | None = None) -> SmallSignal:
    """Return the response of every node to small signals on the connections, at each frequency.

    stimulus: complex amplitudes, V or A, (source,). frequencies: Hz, (frequency,), 0 allowed. capacitance: F, (node,),
    from each node to ground, beside the network's capacitors. Solves (K + i omega C) u = what the sources push in.
    Raises CircuitError where that is singular.
    """
    circuit, x = as_dense(point.circuit), np.asarray(stimulus, dtype=np.complex128)
    assembled = _Assembled(circuit, point, capacitance)
    found = np.zeros((len(frequencies), len(circuit.network.nodes)), dtype=np.complex128)
    residual = 0.0
    for row, frequency in enumerate(np.asarray(frequencies, dtype=np.float64)):
        u, left = assembled.solve(2j * np.pi * frequency, x)
        found[row] = circuit.S @ u + circuit.D @ x
        residual = max(residual, left)
    return SmallSignal(np.asarray(frequencies, dtype=np.float64), found, residual)


def noise(
    point: OperatingPoint,
    nodes: Sequence[str],
    frequencies: Array,
    temperature: float = 300.0,
    capacitance: Array | None = None,
) -> NoiseSpectrum:
    """Return the noise voltages at nodes from the thermal and shot noise of every branch: no measurement has less.

    frequencies: Hz; temperature: K; capacitance as in `ac`. 4 k T G of a resistor, 2 q (I + 2 Is) of a junction, see
    each element's `noise`; sources themselves have none. A record of N samples at a rate r that are averaged (so
    over N / r seconds) leaves a variance of density x r / (2 N) where the density is flat.
    """
    circuit = as_dense(point.circuit)
    assembled = _Assembled(circuit, point, capacitance)
    which = [circuit.network.index[name] for name in nodes]
    u, x = point.volts[None, circuit.roots], point.sources[None]
    shape = (len(frequencies), len(nodes))
    by_branch = np.zeros((*shape, len(circuit.network.branches)))
    by_source = np.zeros((*shape, len(point.sources)))
    for row, frequency in enumerate(np.asarray(frequencies, dtype=np.float64)):
        adjoint = assembled.adjoint(2j * np.pi * frequency, circuit.S[which])
        for group in circuit.groups:
            density = np.abs(adjoint @ group.Q.T) ** 2 * group.noise(u, x, temperature)[0]
            own = group.numbers >= 0
            by_branch[row][:, group.numbers[own]] += density[:, own]
            by_source[row][:, -1 - group.numbers[~own]] += density[:, ~own]
    total = by_branch.sum(axis=2) + by_source.sum(axis=2)
    return NoiseSpectrum(np.asarray(frequencies, dtype=np.float64), total, by_branch, by_source)


class _Assembled:
    """K, C and what the sources push in, at an operating point."""

    def __init__(self, circuit: Circuit, point: OperatingPoint, capacitance: Array | None) -> None:
        self._circuit = circuit
        u, x = point.volts[None, circuit.roots], point.sources[None]
        nodal = circuit.capacitances(point.volts, capacitance)
        self._C, self._C_sources = circuit.S.T @ nodal @ circuit.S, circuit.S.T @ nodal @ circuit.D
        self._K = circuit.stiffness(point.volts, point.sources)
        self._rows = [(g.Q, g.by_free(u, x)[0], g.by_sources(u, x)[0]) for g in circuit.groups]
        self._injected = circuit.S.T @ circuit.injections

    def solve(self, s: complex, x: ComplexArray) -> tuple[ComplexArray, float]:
        """Return the free amplitudes at the complex frequency s, 1/s, and what Kirchhoff's law is violated by, A."""
        matrix = self._K + s * self._C
        pushed = self._injected @ x - s * (self._C_sources @ x)

        def left_over(u: ComplexArray) -> ComplexArray:
            out = pushed - s * (self._C @ u)
            for Q, by_free, by_sources in self._rows:
                out = out - Q.T @ (by_free @ u + by_sources @ x)
            return out

        solve = self._solver(matrix)
        first = solve(left_over(np.zeros(len(matrix), dtype=np.complex128)))
        u, _ = refined(solve, left_over, first)
        return u, float(np.abs(left_over(u)).max(initial=0.0))

    def adjoint(self, s: complex, asked: Array) -> ComplexArray:
        """Return what a current into each free node raises the asked voltages by, Ohm, (asked, free)."""
        return self._solver((self._K + s * self._C).T)(asked.T.astype(np.complex128)).T

    def _solver(self, matrix: ComplexArray) -> Callable[[ComplexArray], ComplexArray]:
        circuit = self._circuit

        def solve(rhs: ComplexArray) -> ComplexArray:
            try:
                return np.asarray(np.linalg.solve(matrix, rhs))
            except np.linalg.LinAlgError:
                names = ", ".join(circuit.network.nodes[i] for i in circuit.roots[:6])
                raise CircuitError(
                    f"no small-signal response: nothing holds one of the nodes {names}; add a branch to ground"
                ) from None

        return solve
