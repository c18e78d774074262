"""The equilibrium of one drive, with the currents that prove it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freqprop_lab.values import Array
from simulated_bench.choice import as_fast
from simulated_bench.circuit import Circuit
from simulated_bench.connections import source_currents
from simulated_bench.newton import Equilibrium, NewtonCircuit


@dataclass(frozen=True)
class OperatingPoint:
    """Node voltages V, (node,), and branch currents A, (branch,), at which Kirchhoff's law holds.

    sources: what was on the connections, V or A, (source,). source_currents: A, (source,), out of each source's plus
    end into the network. residual:
    the largest violation of Kirchhoff's law at a node that is solved for, A, reckoned with the branch currents given
    here; these come from voltages in twice the digits, and obey the law better than the voltages as rounded.
    """

    circuit: Circuit | NewtonCircuit
    sources: Array
    volts: Array
    currents: Array
    source_currents: Array
    residual: float
    largest_current: float

    def at(self, node: str) -> float:
        """Return the voltage of a node by its name, V."""
        return float(np.append(self.volts, 0.0)[self.circuit.network.index[node]])

    def beyond_limits(self) -> dict[str, str]:
        """Return the branches that exceed their limits: name to what is exceeded, in words."""
        network = self.circuit.network
        across = network.across(self.volts)
        told = (
            (branch.name, branch.element.limits.exceeded(float(x), float(i)))
            for branch, x, i in zip(network.branches, across, self.currents, strict=True)
        )
        return {name: what for name, what in told if what is not None}


def operating_point(circuit: Circuit | NewtonCircuit, sources: Array, start: Array | None = None) -> OperatingPoint:
    """Return the equilibrium of one vector of sources, V or A, (source,).

    start: node voltages to begin from, V, (node,); without transistors the result doesn't depend on it. Kirchhoff's
    residual is under 1e-12 of the largest current. Large nonlinear networks are solved sparsely, whatever the circuit
    (choice.py). Raises CircuitError, naming node, branches and amperes, where it
    cannot be had.
    """
    x = np.asarray(sources, dtype=np.float64)
    fast = as_fast(circuit)
    found = _dense(fast, x, start) if isinstance(fast, Circuit) else fast.equilibrium(x, start)
    return OperatingPoint(
        circuit,
        x,
        found.volts,
        found.currents,
        source_currents(circuit.network, circuit.connections, x, found.currents, found.resistors),
        found.residual,
        found.largest,
    )


def _dense(circuit: Circuit, x: Array, start: Array | None) -> Equilibrium:
    settled = circuit.settle(x[None], start)
    volts = ((settled.u + settled.low) @ circuit.S.T + x[None] @ circuit.D.T)[0]
    currents, resistors = np.zeros(len(circuit.network.branches)), np.zeros(len(x))
    for group, flow in zip(circuit.groups, circuit.flows(settled.u, settled.low, x[None]), strict=True):
        own = group.numbers >= 0
        currents[group.numbers[own]] = flow[0, own]
        resistors[-1 - group.numbers[~own]] = flow[0, ~own]
    return Equilibrium(volts, currents, resistors, float(settled.residual[0]), float(settled.largest[0]))
