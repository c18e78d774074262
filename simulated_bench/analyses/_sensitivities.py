"""How voltages answer to parameters: one adjoint solve for each voltage, whatever the number of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freqprop_lab.network import GROUND, Port
from freqprop_lab.values import Array
from simulated_bench.analyses._operating_point import OperatingPoint
from simulated_bench.choice import as_dense


@dataclass(frozen=True)
class Sensitivities:
    """Derivatives of port voltages at an operating point.

    by_theta: for each branch of the network by its parameters, V per unit of theta, (port, parameter). tunable: by the
    conductances of the tunable branches, V/S, (port, tunable). by_sources: (port, source), dimensionless or Ohm.
    by_source_conductance: by 1 / the series resistance of each source, V/S, (port, source); 0 for those without.
    """

    by_theta: tuple[Array, ...]
    tunable: Array
    by_sources: Array
    by_source_conductance: Array


def sensitivities(point: OperatingPoint, of: Sequence[str | Port]) -> Sensitivities:
    """Return the derivatives of voltages, of nodes by name or of ports, by all parameters and sources.

    With K the small-signal conductances, K^T lambda = d voltage / du, and d voltage / dtheta = -lambda . Q^T dI/dtheta.
    Raises CircuitError where K is singular; KeyError for a node that there is not.
    """
    circuit, x = as_dense(point.circuit), point.sources
    network = circuit.network
    asked = np.zeros((len(of), len(network.nodes)))
    for row, what in enumerate(of):
        port = what if isinstance(what, Port) else Port(what)
        for name, sign in ((port.plus, 1.0), (port.minus, -1.0)):
            if name != GROUND:
                asked[row, network.index[name]] += sign
    adjoint = circuit.adjoint(point.volts, x, asked @ circuit.S)
    u = point.volts[None, circuit.roots]
    by_theta = [np.zeros((len(of), len(branch.theta))) for branch in network.branches]
    by_sources = asked @ circuit.D + adjoint @ circuit.S.T @ circuit.injections
    by_own = np.zeros((len(of), len(x)))
    for group in circuit.groups:
        entering = adjoint @ group.Q.T  # how much each branch's current raises the voltage asked for, negated
        by_sources = by_sources - entering @ group.by_sources(u, x[None])[0]
        for row, derivative in enumerate(group.by_theta(u, x[None])[:, 0]):
            for number, column in zip(group.numbers.tolist(), (-entering * derivative).T, strict=True):
                if number >= 0:
                    by_theta[number][:, row] = column
                else:
                    by_own[:, -1 - number] = column
    tunable = np.array([by_theta[i][:, 0] for i in network.tunable]).reshape(len(network.tunable), len(of)).T
    return Sensitivities(tuple(by_theta), tunable, by_sources, by_own)
