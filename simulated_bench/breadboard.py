"""The breadboard: what is truly there, whatever anybody believes. Instruments put values on it and look at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.names import shown
from freqprop_lab.network import Network
from freqprop_lab.values import Array, Feedback
from freqprop_lab.waveform import Waveform
from simulated_bench.choice import refuse_large
from simulated_bench.circuit import Circuit, CircuitError, Connection, Following
from simulated_bench.flat import unknown
from simulated_bench.newton import NewtonCircuit
from simulated_bench.pieces import smooth_pieces
from simulated_bench.relaxation import Relaxation
from simulated_bench.sparse import SparseCircuit
from simulated_bench.transient import Course, Transient

_SAME_F = 14  # decimals in which two values of f count as one
_DENSE_NODES = 200  # linear ones; measured: benchmarks/scaling.py
_DENSE_DIODES = 200  # nodes of a nonlinear network, beyond which a training step is faster sparse; measured:
# benchmarks/transistors.py


@dataclass(frozen=True)
class Excitation:
    """What the sources put out on each connection, V or A: gain x converter(levels + f amplitudes) + offset.

    A level of NaN: disconnected. converter: what a DAC of few bits makes of a value; None: the value itself.
    """

    levels: Array
    amplitudes: Array
    waveform: Waveform | None = None
    frequency: float = 0.0
    gain: Array | float = 1.0
    offset: Array | float = 0.0
    converter: Callable[[Array], Array] | None = None

    def values(self, f: Array) -> Array:
        """Return what is on the connections while the waveform is at the values f, (len(f), connection)."""
        asked = self.levels + f[:, None] * self.amplitudes
        return np.asarray(self.gain * (asked if self.converter is None else self.converter(asked)) + self.offset)

    @property
    def static(self) -> Array:
        """What is on the connections while f is zero."""
        return np.asarray(self.values(np.zeros(1))[0])

    @property
    def nudge(self) -> Array:
        """What a unit of f adds, where there is no converter."""
        return np.asarray(self.gain * self.amplitudes)


class Breadboard:
    """The wired network with its true values. `conductances` are the true ones of the tunable branches, S.

    records: how many records have been taken, which is the clock that drift goes by. capacitance: F, (node,), from
    each node to ground; None: the voltages follow the sources at once. solver: `dense`, `sparse`, or `auto`, which is
    sparse for large networks without capacitance, linear ones and those of diodes; the rest is dense, and refused with
    a CircuitError where that would be too large. is_sparse: linear and solved so; is_newton: nonlinear and solved so.
    """

    def __init__(
        self,
        network: Network,
        connections: Sequence[Connection],
        gauge: int | None,
        capacitance: Array | None = None,
        solver: Literal["auto", "dense", "sparse"] = "auto",
    ) -> None:
        self.network = network
        self.connections = tuple(connections)
        self.records = 0
        self.feedback: Feedback | None = None
        self.excitation = Excitation(self.idle_levels(), np.zeros(len(connections)))
        self.capacitance = capacitance if capacitance is not None and capacitance.any() else None
        chosen = self._chosen(solver)
        self.is_sparse, self.is_newton = chosen and network.is_linear, chosen and not network.is_linear
        self._before = self.excitation.static
        self._gauge = gauge
        self._conductances = network.own_conductances
        self._circuits: dict[bytes, Circuit] = {}
        self._sparse: dict[bytes, SparseCircuit] = {}
        self._newton: dict[bytes, NewtonCircuit] = {}
        self._relaxations: dict[bytes, Relaxation] = {}  # of the present conductances
        self._start: Array | None = None

    def idle_levels(self) -> Array:
        """Return the levels of sources at rest: all at zero."""
        return np.zeros(len(self.connections))

    @property
    def conductances(self) -> Array:
        """True conductances of the tunable branches, S, (tunable,)."""
        return self._conductances

    @conductances.setter
    def conductances(self, values: Array) -> None:
        self._conductances = values
        self._relaxations.clear()
        for circuit in self._circuits.values():
            circuit.program(values)
        for large in self._sparse.values():
            large.program(values)
        for nonlinear in self._newton.values():
            nonlinear.program(values)

    def rewire(self, network: Network) -> None:
        """Take another network of the same nodes and tunable branches: something happened to a fixed one."""
        if network is self.network:
            return
        self.network = network
        self._circuits.clear()
        self._sparse.clear()
        self._relaxations.clear()

    @property
    def start(self) -> Array | None:
        """Node voltages from which the next equilibrium is looked for; part of what a checkpoint holds."""
        return self._start

    @start.setter
    def start(self, volts: Array | None) -> None:
        self._start = volts

    def drive(self, excitation: Excitation) -> None:
        """Put an excitation on the connections; the network is taken to have settled on the levels of the one before.

        Its nudge begins now, at phase 0: this is the instant from which `record` counts.
        """
        self._before = self.excitation.static
        self.excitation = excitation

    def circuit(self, levels: Array) -> tuple[Circuit, Array]:
        """Return the dense circuit of the connected sources, and which they are."""
        live = ~np.isnan(levels)
        key = live.tobytes()
        if key not in self._circuits:
            refuse_large(self.network, "this drive")
            self._circuits[key] = Circuit(self.network, *self._connected(live))
            self._circuits[key].program(self._conductances)
        return self._circuits[key], live

    def linear_circuit(self, levels: Array) -> tuple[Circuit | SparseCircuit, Array]:
        """Return the circuit of the connected sources of a linear network, dense or sparse, and which they are."""
        return self.sparse_circuit(levels) if self.is_sparse else self.circuit(levels)

    def nonlinear_circuit(self, levels: Array) -> tuple[Circuit | NewtonCircuit, Array]:
        """Return the circuit of the connected sources of a nonlinear network, dense or sparse, and which they are."""
        if not self.is_newton:
            return self.circuit(levels)
        live = ~np.isnan(levels)
        key = live.tobytes()
        if key not in self._newton:
            self._newton[key] = NewtonCircuit(self.network, *self._connected(live))
            self._newton[key].program(self._conductances)
        return self._newton[key], live

    def sparse_circuit(self, levels: Array) -> tuple[SparseCircuit, Array]:
        """Return the sparse circuit of the connected sources of a linear network, and which they are."""
        live = ~np.isnan(levels)
        key = live.tobytes()
        if key not in self._sparse:
            self._sparse[key] = SparseCircuit(self.network, *self._connected(live))
            self._sparse[key].program(self._conductances)
        return self._sparse[key], live

    def _connected(self, live: Array) -> tuple[list[Connection], int | None]:
        connected = [connection for connection, on in zip(self.connections, live, strict=True) if on]
        # A clamp to ground ties a floating network by itself; a gauge beside it would carry current.
        tied = any(connection.kind == "voltage" and connection.minus == -1 for connection in connected)
        return connected, None if tied else self._gauge

    def _chosen(self, solver: str) -> bool:
        """Say whether a sparse solver is taken. Raises CircuitError where it can't be, or the other is too large."""
        linear, still = self.network.is_linear, self.capacitance is None
        strange = [] if linear else unknown(self.network)
        if solver == "sparse" and not still:
            raise CircuitError("solver: sparse has no transients; a network with capacitance needs solver: dense")
        if solver == "sparse" and strange:
            raise CircuitError(f"solver: sparse does not know the law of branch {shown(strange)}; take solver: dense")
        most = _DENSE_NODES if linear else _DENSE_DIODES
        if solver == "sparse" or (solver == "auto" and still and not strange and len(self.network.nodes) > most):
            return True
        what = "solver: dense" if still and not strange else "a network with capacitance"
        refuse_large(self.network, f"the law of branch {shown(strange)}" if strange and still else what)
        return False

    def static_and_nudge(self) -> tuple[Array, Array]:
        """Return the node voltages of the levels, and those per unit of f, of a linear network, (node,) each."""
        circuit, live = self.linear_circuit(self.excitation.levels)
        amplitudes = self.excitation.nudge[live]
        static = circuit.operating_point(self.excitation.static[live])
        return static, circuit.operating_point(amplitudes) if amplitudes.any() else np.zeros_like(static)

    def tangent(self) -> tuple[Array, Array]:
        """Return the node voltages of the levels, and their derivative along the amplitudes, (node,) each."""
        if self.is_sparse:
            return self.static_and_nudge()
        circuit, live = self.nonlinear_circuit(self.excitation.levels)
        levels = self.excitation.static[live]
        static = circuit.operating_point(levels, self._start)
        return static, circuit.tangent(static, levels, self.excitation.nudge[live])

    def volts(self, f: Array) -> Array:
        """Return the node voltages, (len(f), node), while the nudge's waveform is at the values f."""
        linear = self.network.is_linear and self.feedback is None
        if linear and self.excitation.converter is None:
            static, nudge = self.static_and_nudge()
            return static + f[:, None] * nudge
        # A quasi-static network answers to f alone: equal values of f need one equilibrium.
        distinct, which = np.unique(np.round(f, _SAME_F), return_inverse=True)
        if linear:
            either, live = self.linear_circuit(self.excitation.levels)
            return np.asarray(either.operating_point(self.excitation.values(distinct)[:, live])[which])
        if self.feedback is None:
            any_circuit, live = self.nonlinear_circuit(self.excitation.levels)
            self._start = any_circuit.operating_point(self.excitation.static[live], self._start)
            values = self.excitation.values(distinct)[:, live]
            return np.asarray(any_circuit.operating_point(values, self._start)[which])
        circuit, live = self.circuit(self.excitation.levels)
        values = self.excitation.values(distinct)[:, live]
        self._start = circuit.operating_point(self.excitation.static[live], self._start)
        following = Following(distinct, self.feedback)
        return np.asarray(circuit.operating_point(values, self._start, following)[which])

    def record(self, nodes: NDArray[np.intp], times: Array, delays: Array) -> Array:
        """Return the voltages of nodes, (channel,), at times + each one's delay since `drive`, (channel, sample), V.

        Only where there is capacitance. Linear networks: exact. Others: see `Transient`. Raises CircuitError. A channel
        that is early sees what was there before.
        """
        if len(delays) and times[0] + delays.min() < 0:
            return self._early_record(nodes, times, delays)
        now, capacitance = self.excitation, self.capacitance
        if capacitance is None:
            raise TypeError("without capacitance there is nothing to wait for; ask `volts`")
        if self.feedback is not None or (now.converter is not None and now.amplitudes.any()):
            what = "a nudge that follows the state" if self.feedback is not None else "a nudge from a converter of bits"
            raise CircuitError(f"{what} is not worked out where nodes have capacitance; take parts.capacitance out")
        before, static = self._settled(self._before), self._settled(now.static)
        circuit, live = self.circuit(now.levels)
        nudge = now.nudge[live]
        if self.network.is_linear:
            per_f = circuit.operating_point(nudge) if now.waveform is not None and nudge.any() else None
            moving = None if per_f is None or now.waveform is None else (per_f, now.waveform, now.frequency)
            return self._relaxation(now.static).volts(nodes, times, delays, static, before, moving)
        pieces = () if now.waveform is None or not nudge.any() else smooth_pieces(now.waveform)
        # Without a nudge the frequency is whatever it was, and sets no more than the first step.
        course = Course(now.static[live], nudge, pieces, 1 / now.frequency if now.frequency else 1.0)
        return Transient(circuit, capacitance).volts(nodes, times, delays, course, before, static)

    def _early_record(self, nodes: NDArray[np.intp], times: Array, delays: Array) -> Array:
        """Return the same where some channels begin before the drive does, which they must not be asked about."""
        before = self._settled(self._before)
        out = np.empty((len(nodes), len(times)))
        for channel, delay in enumerate(delays):
            late = np.flatnonzero(times + delay >= 0)
            out[channel] = before[nodes[channel]]
            if len(late):
                since = times[late] + delay
                out[channel, late] = self.record(nodes[[channel]], since, np.zeros(1))[0]
        return out

    def relaxation_times(self) -> Array:
        """Return the relaxation times 1 / lambda of the modes, s, the shortest first, at the present drive's levels.

        A nonlinear network is linearised at its operating point there. None without capacitance: (0,).
        """
        return np.zeros(0) if self.capacitance is None else self._relaxation(self.excitation.static).times

    def _settled(self, values: Array) -> Array:
        """Return the node voltages, (node,), once the network has settled on values at the connections."""
        circuit, live = self.circuit(values)
        if self.network.is_linear:
            return circuit.operating_point(values[live])
        self._start = circuit.operating_point(values[live], self._start)
        return self._start

    def _relaxation(self, values: Array) -> Relaxation:
        circuit, live = self.circuit(values)
        if self.capacitance is None:
            raise TypeError("without capacitance nothing relaxes")
        if not self.network.is_linear:
            return Relaxation(circuit.S, circuit.stiffness(self._settled(values), values[live]), self.capacitance)
        key = live.tobytes()
        if key not in self._relaxations:
            settled = np.zeros(len(self.network.nodes))
            stiffness = circuit.stiffness(settled, values[live])
            self._relaxations[key] = Relaxation(circuit.S, stiffness, self.capacitance)
        return self._relaxations[key]


def with_tolerance(network: Network, tolerance: float, rng: np.random.Generator) -> Network:
    """Return the network as it truly is: its fixed resistors off by normal deviates of the tolerance."""
    if not tolerance:
        return network
    factors = np.maximum(1 + tolerance * rng.standard_normal(len(network.branches)), 0.05)
    branches = tuple(
        replace(branch, theta=(branch.theta[0] * factor,)) if branch.element.linear and not branch.tunable else branch
        for branch, factor in zip(network.branches, factors.tolist(), strict=True)
    )
    return replace(network, branches=branches)


def with_true_resistances(
    connections: Sequence[Connection], tolerance: float, rng: np.random.Generator
) -> list[Connection]:
    """Return the sources' connections as they truly are: their series resistors off by normal deviates."""
    if not tolerance:
        return list(connections)
    factors = np.maximum(1 + tolerance * rng.standard_normal(len(connections)), 0.05).tolist()
    return [
        replace(wired, resistance=wired.resistance * factor) for wired, factor in zip(connections, factors, strict=True)
    ]
