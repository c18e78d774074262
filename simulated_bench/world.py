"""The world that virtual instruments share: one circuit, one clock, and trigger wires between them.

A server puts signals on terminals (one a source channel), looks at nodes, turns tunable elements, and fires triggers.
What one instrument drives is what every other one sees. Time is virtual: it stands still until somebody advances it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from freqprop_lab.network import GROUND, Network
from freqprop_lab.values import Array
from simulated_bench.circuit import Circuit, CircuitError, Connection
from simulated_bench.faults import TunableFaults

_LEAKAGE = 1e9  # Ohm, of a relay that is open
_SAME = 12  # decimals in which two instants of a nonlinear network count as alike


class Signal(Protocol):
    """What a source channel puts out, V or A, as a function of the world's time in seconds."""

    def at(self, times: Array) -> Array:
        """Return the values at times, (time,)."""


@dataclass(frozen=True)
class Constant:
    """A level."""

    value: float

    def at(self, times: Array) -> Array:
        """Return the level."""
        return np.full(times.shape, self.value)


@dataclass(frozen=True)
class Held:
    """Samples that a converter puts out one after the other from `start` on, each held until the next.

    before: the value until then. repeat: begin anew after the last; otherwise the last one stays.
    """

    samples: Array
    sample_rate: float
    start: float
    before: float
    repeat: bool = False

    def at(self, times: Array) -> Array:
        """Return the sample that is on at each time."""
        # A hundredth of a sample early is the same sample: instants of one clock, told apart by rounding only.
        number = np.floor((times - self.start) * self.sample_rate + 0.01).astype(np.intp)
        size = len(self.samples)
        inside = number % size if self.repeat else np.minimum(number, size - 1)
        return np.where(number < 0, self.before, self.samples[np.maximum(inside, 0)])


@dataclass(frozen=True)
class Misjudgement:
    """How a channel errs: what is truly put out or read is gain x value + offset (V or A), `delay` s late."""

    gain: float = 1.0
    offset: float = 0.0
    delay: float = 0.0


class World:
    """One breadboard with named terminals. Every public call may come from any server's thread.

    terminals: where each source channel is connected, by name such as `daq/ao0`. gauge: see `Circuit`. faults: of the
    tunable branches. `errors`: of source channels by terminal, and of meter channels by the like, `daq/ai0`.
    """

    def __init__(
        self,
        network: Network,
        terminals: Mapping[str, Connection],
        rng: np.random.Generator,
        gauge: int | None = None,
        faults: TunableFaults | None = None,
    ) -> None:
        self.network = network
        self.rng = rng
        self.errors: dict[str, Misjudgement] = {}
        self._faults = faults
        self._terminals = dict(terminals)
        self._gauge = gauge
        self._circuits: dict[tuple[str, ...], tuple[Circuit, int]] = {}
        self._signals: dict[str, Signal | None] = {name: Constant(0.0) for name in terminals}
        own: list[float] = network.own_conductances.tolist()
        self._conductances: dict[str, float] = dict(zip(network.tunable_names, own, strict=True))
        self._now = 0.0
        self._waiting: dict[str, list[Callable[[float], None]]] = {}
        self._lock = threading.RLock()

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._now += seconds

    def put(self, terminal: str, signal: Signal | None) -> None:
        """Put a signal on a terminal; it stays until another one takes its place. None disconnects the terminal."""
        with self._lock:
            if terminal not in self._signals:
                raise KeyError(f"no terminal {terminal}; there are {', '.join(self._signals)}")
            self._signals[terminal] = signal

    def level(self, terminal: str) -> float:
        """Return what its instrument thinks is on a terminal now: V or A; 0 where it is disconnected."""
        with self._lock:
            signal = self._signals[terminal]
            return 0.0 if signal is None else float(signal.at(np.array([self._now]))[0])

    def program(self, conductances: Mapping[str, float]) -> None:
        """Set the conductances that the elements of tunable branches truly have, S, by name."""
        with self._lock:
            self._conductances |= dict(conductances)
            for circuit, _ in self._circuits.values():
                circuit.program(self._true())

    def conductance(self, branch: str) -> float:
        """Return what the element of a tunable branch truly has, S."""
        return self._conductances[branch]

    def conductances(self) -> Array:
        """Return what the tunable branches truly conduct, faults and all, S, (tunable,)."""
        with self._lock:
            return self._true()

    def read(self, instrument: str, leads: Mapping[str, str | None], times: Array) -> Array:
        """Return what an instrument's channels read at times, V, (channel, time), each with its error.

        leads: the node that each channel is wired to; None: it reads 0 V, and its offset.
        """
        errors = [self.errors.get(f"{instrument}/{channel}", _NO_ERROR) for channel in leads]
        nodes, seen = list(leads.values()), np.zeros((len(leads), len(times)))
        for delay in {error.delay for error in errors}:
            rows = [row for row, node in enumerate(nodes) if node is not None and errors[row].delay == delay]
            if rows:
                seen[rows] = self.volts([nodes[row] or GROUND for row in rows], times + delay)
        for row, error in enumerate(errors):
            seen[row] = error.gain * seen[row] + error.offset
        return seen

    def volts(self, nodes: Sequence[str], times: Array) -> Array:
        """Return the true voltages of nodes at times, (node, time), V; ground reads 0."""
        with self._lock:
            live = {name: signal for name, signal in self._signals.items() if signal is not None}
            erring = ((self.errors.get(name, _NO_ERROR), signal) for name, signal in live.items())
            columns = [error.gain * signal.at(times) + error.offset for error, signal in erring]
            circuit, n_leaks = self._circuit_of(tuple(live))
            sources = np.stack([*columns, *[np.zeros(len(times))] * n_leaks], axis=1)
            distinct, which = np.unique(np.round(sources, _SAME), axis=0, return_inverse=True)
            found = circuit.operating_point(np.asarray(distinct, dtype=np.float64))
            grounded = np.concatenate([found, np.zeros((len(found), 1))], axis=1)
            places = [self.network.index[node] for node in nodes]
            return np.ascontiguousarray(grounded[np.ravel(which)][:, places].T)

    def _true(self) -> Array:
        own = np.array([self._conductances[name] for name in self.network.tunable_names])
        return own if self._faults is None else self._faults.conductances(own)

    def _circuit_of(self, live: tuple[str, ...]) -> tuple[Circuit, int]:
        """Return the circuit of the connected terminals, and how many leaks follow them; kept from call to call.

        A network that nothing else ties down hangs on the leakage of the disconnected terminals, as a real one would.
        """
        if live not in self._circuits:
            connected = [self._terminals[name] for name in live]
            dead = [terminal for name, terminal in self._terminals.items() if name not in live]
            leaks = [Connection(terminal.plus, terminal.minus, "voltage", _LEAKAGE) for terminal in dead]
            try:
                if not connected:
                    raise CircuitError("nothing is connected")
                circuit, n_leaks = Circuit(self.network, connected, self._gauge), 0
            except CircuitError:
                circuit, n_leaks = Circuit(self.network, [*connected, *leaks], self._gauge), len(leaks)
            circuit.program(self._true())
            self._circuits[live] = circuit, n_leaks
        return self._circuits[live]

    def wait_for(self, trigger: str, capture: Callable[[float], None]) -> Callable[[], None]:
        """Call capture(instant) once, when the trigger next fires; returns how to give up waiting."""
        with self._lock:
            self._waiting.setdefault(trigger, []).append(capture)

        def give_up() -> None:
            with self._lock:
                waiting = self._waiting.get(trigger, [])
                if capture in waiting:
                    waiting.remove(capture)

        return give_up

    def fire(self, trigger: str) -> float:
        """Fire a trigger now: whoever waits for it captures at this instant. Returns the instant.

        The source that fires has put its signal first, so a capture sees all of it.
        """
        with self._lock:
            instant = self._now
            for capture in self._waiting.pop(trigger, []):
                capture(instant)
            return instant


_NO_ERROR = Misjudgement()
