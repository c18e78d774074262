"""The breadboard: what is truly there, whatever anybody believes. Instruments put values on it and look at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from freqprop_lab.network import Network
from freqprop_lab.values import Array, Feedback
from freqprop_lab.waveform import Waveform
from simulated_bench.circuit import Circuit, Connection, Following

_SAME_F = 14  # decimals in which two values of f count as one


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

    records: how many records have been taken, which is the clock that drift goes by.
    """

    def __init__(self, network: Network, connections: Sequence[Connection], gauge: int | None) -> None:
        self.network = network
        self.connections = tuple(connections)
        self.records = 0
        self.feedback: Feedback | None = None
        self.excitation = Excitation(self.idle_levels(), np.zeros(len(connections)))
        self._gauge = gauge
        self._conductances = network.own_conductances
        self._circuits: dict[bytes, Circuit] = {}
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
        for circuit in self._circuits.values():
            circuit.program(values)

    @property
    def start(self) -> Array | None:
        """Node voltages from which the next equilibrium is looked for; part of what a checkpoint holds."""
        return self._start

    @start.setter
    def start(self, volts: Array | None) -> None:
        self._start = volts

    def circuit(self, levels: Array) -> tuple[Circuit, Array]:
        """Return the circuit of the connected sources, and which they are."""
        live = ~np.isnan(levels)
        key = live.tobytes()
        if key not in self._circuits:
            connected = [connection for connection, on in zip(self.connections, live, strict=True) if on]
            # A clamp to ground ties a floating network by itself; a gauge beside it would carry current.
            tied = any(connection.kind == "voltage" and connection.minus == -1 for connection in connected)
            self._circuits[key] = Circuit(self.network, connected, None if tied else self._gauge)
            self._circuits[key].program(self._conductances)
        return self._circuits[key], live

    def static_and_nudge(self) -> tuple[Array, Array]:
        """Return the node voltages of the levels, and those per unit of f, of a linear network, (node,) each."""
        circuit, live = self.circuit(self.excitation.levels)
        amplitudes = self.excitation.nudge[live]
        static = circuit.operating_point(self.excitation.static[live])
        return static, circuit.operating_point(amplitudes) if amplitudes.any() else np.zeros_like(static)

    def tangent(self) -> tuple[Array, Array]:
        """Return the node voltages of the levels, and their derivative along the amplitudes, (node,) each."""
        circuit, live = self.circuit(self.excitation.levels)
        levels = self.excitation.static[live]
        static = circuit.operating_point(levels, self._start)
        return static, circuit.tangent(static, levels, self.excitation.nudge[live])

    def volts(self, f: Array) -> Array:
        """Return the node voltages, (len(f), node), while the nudge's waveform is at the values f."""
        linear = self.network.is_linear and self.feedback is None
        if linear and self.excitation.converter is None:
            static, nudge = self.static_and_nudge()
            return static + f[:, None] * nudge
        circuit, live = self.circuit(self.excitation.levels)
        # A quasi-static network answers to f alone: equal values of f need one equilibrium.
        distinct, which = np.unique(np.round(f, _SAME_F), return_inverse=True)
        values = self.excitation.values(distinct)[:, live]
        if linear:
            return np.asarray(circuit.operating_point(values)[which])
        self._start = circuit.operating_point(self.excitation.static[live], self._start)
        following = None if self.feedback is None else Following(distinct, self.feedback)
        return np.asarray(circuit.operating_point(values, self._start, following)[which])


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
