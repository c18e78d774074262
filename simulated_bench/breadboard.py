"""The breadboard: what is truly there, whatever anybody believes. Instruments put values on it and look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from freqprop_lab.network import Network
from freqprop_lab.values import Array, Feedback
from freqprop_lab.waveform import Waveform
from simulated_bench.circuit import Circuit, Connection, Following

_SAME_F = 14  # decimals in which two values of f count as one


@dataclass
class Excitation:
    """What the sources truly put out: level and amplitude of each connection (V or A), NaN level: disconnected."""

    levels: Array
    amplitudes: Array
    waveform: Waveform | None = None
    frequency: float = 0.0


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
            self._circuits[key] = Circuit(self.network, connected, self._gauge)
            self._circuits[key].program(self._conductances)
        return self._circuits[key], live

    def static_and_nudge(self) -> tuple[Array, Array]:
        """Return the node voltages of the levels, and those per unit of f, of a linear network, (node,) each."""
        circuit, live = self.circuit(self.excitation.levels)
        amplitudes = self.excitation.amplitudes[live]
        static = circuit.operating_point(self.excitation.levels[live])
        return static, circuit.operating_point(amplitudes) if amplitudes.any() else np.zeros_like(static)

    def tangent(self) -> tuple[Array, Array]:
        """Return the node voltages of the levels, and their derivative along the amplitudes, (node,) each."""
        circuit, live = self.circuit(self.excitation.levels)
        levels = self.excitation.levels[live]
        static = circuit.operating_point(levels, self._start)
        return static, circuit.tangent(static, levels, self.excitation.amplitudes[live])

    def volts(self, f: Array) -> Array:
        """Return the node voltages, (len(f), node), while the nudge's waveform is at the values f."""
        if self.network.is_linear and self.feedback is None:
            static, nudge = self.static_and_nudge()
            return static + f[:, None] * nudge
        circuit, live = self.circuit(self.excitation.levels)
        levels, amplitudes = self.excitation.levels[live], self.excitation.amplitudes[live]
        rest = circuit.operating_point(levels, self._start)
        self._start = rest
        # A quasi-static network answers to f alone: equal values of f need one equilibrium.
        distinct, which = np.unique(np.round(f, _SAME_F), return_inverse=True)
        following = None if self.feedback is None else Following(distinct, self.feedback)
        found = circuit.operating_point(levels + distinct[:, None] * amplitudes, rest, following)
        return np.asarray(found[which])


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
