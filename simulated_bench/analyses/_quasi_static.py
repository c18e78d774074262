"""The answer of a network without capacitance to a nudge: node voltages are a function of f alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freqprop_lab.values import Array
from simulated_bench.circuit import Circuit
from simulated_bench.newton import NewtonCircuit

_SAME_F = 14  # decimals in which two values of f count as one


def response(
    circuit: Circuit | NewtonCircuit,
    sources: Array,
    nudge: Array,
    f: Array,
    nodes: Sequence[str] | None = None,
    start: Array | None = None,
) -> Array:
    """Return the voltages of nodes (None: of all), V, (node, sample), with sources + f nudge on the connections.

    sources, nudge: V or A, (source,). f: (sample,). A linear network: two solves. Others: one equilibrium for each
    distinct value of f, from the one at rest. Raises CircuitError.
    """
    x0, x1, at = (np.asarray(each, dtype=np.float64) for each in (sources, nudge, f))
    which = slice(None) if nodes is None else [circuit.network.index[name] for name in nodes]
    if circuit.is_linear:
        static, per_f = circuit.operating_point(np.stack([x0, x1]))
        return np.asarray((static + at[:, None] * per_f).T[which])
    distinct, place = np.unique(np.round(at, _SAME_F), return_inverse=True)
    rest = circuit.operating_point(x0, start)
    volts = circuit.operating_point(x0 + distinct[:, None] * x1, rest)
    return np.asarray(volts[place].T[which])


def a_and_b(
    circuit: Circuit | NewtonCircuit, sources: Array, nudge: Array, f: Array | None = None, start: Array | None = None
) -> tuple[Array, Array]:
    """Return a and b of every node, V, (node,) each: v = a + b f, fitted to the samples f by least squares.

    A linear network's are exact, and need no f. f None on others: the limit of a small nudge, the operating point and
    the tangent there. Raises ValueError for an f that is constant, CircuitError where there is no equilibrium.
    """
    x0, x1 = np.asarray(sources, dtype=np.float64), np.asarray(nudge, dtype=np.float64)
    if circuit.is_linear:
        static, per_f = circuit.operating_point(np.stack([x0, x1]))
        return static, per_f
    if f is None:
        static = circuit.operating_point(x0, start)
        return static, circuit.tangent(static, x0, x1)
    centred = f - f.mean()
    power = float(centred @ centred)
    if power == 0:
        raise ValueError(f"the nudge is {f.flat[0]:g} at all {f.size} samples, so b is undefined")
    volts = response(circuit, x0, x1, f, start=start)
    b = volts @ centred / power
    return np.asarray(volts.mean(axis=1) - b * f.mean()), np.asarray(b)
