"""The paper's recipe in plain NumPy, as the equations read: one solve for each sample, nothing shared with the program.

Sources are Lagrange multipliers (modified nodal analysis), diodes are solved by undamped Newton from the last sample,
a and b are the sums of equation 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Circuit:
    """Nodes by number (-1: ground), tunable branches, antiparallel diodes to ground, input and output pairs."""

    n_nodes: int
    branches: list[tuple[int, int]]
    diodes: list[int]
    saturation_current: float
    emission_voltage: float
    inputs: list[tuple[int, int]]
    outputs: list[tuple[int, int]]
    floating: bool

    def incidence(self) -> np.ndarray:
        rows = np.zeros((len(self.branches), self.n_nodes))
        for number, (plus, minus) in enumerate(self.branches):
            rows[number, plus] += 1
            rows[number, minus] -= 1
        return rows

    def constraints(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which combinations of node voltages the sources fix, and at what."""
        rows, values = [], []
        for (plus, minus), level in zip(self.inputs, x, strict=True):
            if self.floating:
                row = np.zeros(self.n_nodes)
                row[plus], row[minus] = 1, -1
                rows.append(row)
                values.append(level)
            else:
                for node, volts in ((plus, level / 2), (minus, -level / 2)):
                    rows.append(np.eye(self.n_nodes)[node])
                    values.append(volts)
        if self.floating and not self.diodes:
            rows.append(np.eye(self.n_nodes)[0])
            values.append(0.0)
        return np.array(rows), np.array(values)

    def solve(self, G: np.ndarray, x: np.ndarray, currents: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Node voltages at which L v + i_nl(v) = currents into the nodes, with the sources' rows fulfilled."""
        B = self.incidence()
        L = B.T @ (G[:, None] * B)
        A, fixed = self.constraints(x)
        m = len(fixed)
        v = start
        for _ in range(100 if self.diodes else 1):
            slope, extra = np.zeros(self.n_nodes), np.zeros(self.n_nodes)
            u = v[self.diodes] / self.emission_voltage
            slope[self.diodes] = 2 * self.saturation_current / self.emission_voltage * np.cosh(u)
            extra[self.diodes] = 2 * self.saturation_current * np.sinh(u)
            matrix = np.block([[L + np.diag(slope), A.T], [A, np.zeros((m, m))]])
            right = np.concatenate([currents - extra + slope * v, fixed])
            new = np.linalg.solve(matrix, right)[: self.n_nodes]
            change = np.abs(new - v).max()
            v = new
            if change < 1e-13:
                return v
        if self.diodes:
            raise AssertionError("the reference did not converge")
        return v

    def read(self, v: np.ndarray) -> np.ndarray:
        return np.array([v[plus] - v[minus] for plus, minus in self.outputs])


def step(
    circuit: Circuit,
    G: np.ndarray,
    x: np.ndarray,
    target: np.ndarray,
    alpha: float,
    gamma: float,
    samples_per_period: int,
    n_periods: int,
) -> np.ndarray:
    """One training step of section 4, open loop: the updated conductances before the bounds."""
    rest = circuit.solve(G, x, np.zeros(circuit.n_nodes), np.zeros(circuit.n_nodes))
    error = circuit.read(rest) - target
    a, b = np.zeros(circuit.n_nodes), np.zeros(circuit.n_nodes)
    n = samples_per_period * n_periods
    v = rest
    for sample in range(n):
        f = np.sin(2 * np.pi * sample / samples_per_period)
        currents = np.zeros(circuit.n_nodes)
        for (plus, minus), e in zip(circuit.outputs, error, strict=True):
            currents[plus] -= gamma * f * e
            currents[minus] += gamma * f * e
        v = circuit.solve(G, x, currents, v)
        a += v / n
        b += 2 * v * f / n
    B = circuit.incidence()
    return G - alpha * (B @ a) * (B @ b)
