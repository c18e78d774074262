"""Training a periodic grid of transistors, beside ngspice in the same run: python benchmarks/transistors.py [--quick].

N x N nodes, each joined to the next in its row and in its column by a level-1 NMOS whose gate is what is learnt (the
scaling case of PyCLLN, 2026). Three nodes are driven, two read. An update: the free state; the nudged state, a current
pulling the outputs to their targets; then every gate moves by alpha times the difference of the squared voltages across
its transistor, free less nudged, within bounds (coupled learning). So each update solves two new networks. We start
each state from the last; ngspice's .op has no such start. It gets new gates by `alter` or by a new netlist, whichever
it does faster; its gmin is in our network too. Both run on one thread, in turn; voltages and gates are compared before
anything is timed.
"""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _campaign import Row

COMMAND = "python benchmarks/transistors.py"
_BETA, _THRESHOLD, _MODULATION = 5e-4, 0.7, 0.02  # A/V^2, V, 1/V
_LOWEST, _HIGHEST = 1.5, 6.0  # V, of the gates
_ALPHA, _GAMMA = 50.0, 1e-3  # 1/V, S
_PUBLISHED = {3: "0.38 ms", 10: "4.0 ms", 30: "0.12 s", 50: "0.97 s", 100: "31 s"}
_GMIN = 1e-12  # S, ngspice's own, from each end of a transistor to its bulk: with less its pivots take 10 times as long
_TIGHT = "reltol=1e-10 vntol=1e-13 abstol=1e-16 itl1=2000"
_AS_IT_COMES = ""
_EQUAL = 1e-8  # V


@dataclass(frozen=True)
class Problem:
    """An N x N grid. ends: nodes of each transistor, (2, edge); levels, targets: V, (example, input or output)."""

    side: int
    ends: Any
    gates: Any
    inputs: list[int]
    outputs: list[int]
    levels: Any
    targets: Any


def _problem(side: int) -> Problem:
    import numpy as np

    rng = np.random.default_rng(side)
    node = np.arange(side * side).reshape(side, side)
    ends = [np.concatenate([node.ravel(), node.ravel()])]
    ends.append(np.concatenate([np.roll(node, -1, axis=1).ravel(), np.roll(node, -1, axis=0).ravel()]))
    inputs = [0, side - 1, side * side // 2 + side // 2]
    outputs = [side * side // 3, 2 * side * side // 3 + 1]
    levels = np.column_stack([np.zeros(4), rng.uniform(0.0, 0.5, (4, 2))])
    return Problem(
        side, np.stack(ends), rng.uniform(2, 5, 2 * side * side), inputs, outputs, levels, rng.uniform(0.1, 0.3, (4, 2))
    )


class Peer(ABC):
    """What both share: the update, apart from how a state is found. volts: V, of the last nudged state, (node,)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.volts: Any = None

    def run(self, n_updates: int) -> Any:
        """Do so many updates from the start; return the gates, V."""
        import numpy as np

        problem, gates = self.problem, self.problem.gates
        plus, minus = problem.ends
        for update in range(n_updates):
            example = update % len(problem.levels)
            self.take(gates, problem.levels[example])
            free = self.state(np.zeros(2))
            self.volts = nudged = self.state(_GAMMA * (problem.targets[example] - free[problem.outputs]))
            moved = (free[plus] - free[minus]) ** 2 - (nudged[plus] - nudged[minus]) ** 2
            gates = np.clip(gates + _ALPHA * moved, _LOWEST, _HIGHEST)
        return gates

    @abstractmethod
    def take(self, gates: Any, levels: Any) -> None:
        """Take the gates of an update and the levels of its example, V."""

    @abstractmethod
    def state(self, nudge: Any) -> Any:
        """Return the node voltages, V, with currents, A, into the outputs."""


class Ours(Peer):
    """The sparse Newton method."""

    def __init__(self, problem: Problem) -> None:
        import numpy as np

        from freqprop_lab.elements import ELEMENTS, MOSFET
        from freqprop_lab.network import GROUND, Branch, Network
        from simulated_bench.circuit import Connection
        from simulated_bench.newton import NewtonCircuit

        super().__init__(problem)
        names = tuple(f"n{i}" for i in range(problem.side**2))
        branches = tuple(
            Branch(f"M{i}", names[plus], names[minus], MOSFET, (_BETA, _THRESHOLD, _MODULATION, gate))
            for i, (plus, minus, gate) in enumerate(zip(*problem.ends, problem.gates.tolist(), strict=True))
        )
        branches += tuple(
            Branch(f"R{i}", name, GROUND, ELEMENTS["resistor"], (4 * _GMIN,)) for i, name in enumerate(names)
        )
        wired = [Connection(node, -1, "voltage") for node in problem.inputs]
        wired += [Connection(node, -1, "current") for node in problem.outputs]
        self.circuit = NewtonCircuit(Network(names, branches), wired)
        self._levels = np.zeros(3)

    def run(self, n_updates: int) -> Any:
        """Begin without a factor and from rest, so that every run is the same."""
        self.circuit.program_gates(self.problem.gates)
        self.volts = None
        return super().run(n_updates)

    def take(self, gates: Any, levels: Any) -> None:
        """Keep the factor: the gates have moved a little."""
        self.circuit.follow_gates(gates)
        self._levels = levels

    def state(self, nudge: Any) -> Any:
        """Begin at the last state."""
        import numpy as np

        self.volts = self.circuit.operating_point(np.concatenate([self._levels, nudge]), self.volts)
        return self.volts


class Spice(Peer):
    """libngspice in this process, .op for each state."""

    def __init__(self, problem: Problem, options: str) -> None:
        from _ngspice import Ngspice

        super().__init__(problem)
        self._spice, self._options = Ngspice(), options
        self._loaded = False
        self.alters = True
        self.alters = self._is_faster_by_altering()

    def _is_faster_by_altering(self) -> bool:
        seconds = {}
        for self.alters in (True, False):
            self.run(2)
            seconds[self.alters] = min(_seconds(self, 2) for _ in range(2))
        return seconds[True] < seconds[False]

    def take(self, gates: Any, levels: Any) -> None:
        """Alter every source, or load the netlist anew."""
        spice, problem = self._spice, self.problem
        spice.command("destroy all")
        if self.alters and self._loaded:
            for k, gate in enumerate(gates.tolist()):
                spice.command(f"alter vg{k} {gate!r}")
            for k, volts in enumerate(levels.tolist()):
                spice.command(f"alter vi{k} {volts!r}")
            return
        lines = ["grid", f".options temp=27 tnom=27 {self._options}"]
        lines += [f"vg{k} g{k} 0 {gate!r}" for k, gate in enumerate(gates.tolist())]
        lines += [f"m{k} n{p} g{k} n{m} 0 t W=1u L=1u" for k, (p, m) in enumerate(problem.ends.T.tolist())]
        lines += [
            f"vi{k} n{node} 0 {v!r}" for k, (node, v) in enumerate(zip(problem.inputs, levels.tolist(), strict=True))
        ]
        lines += [f"io{k} 0 n{node} 0" for k, node in enumerate(problem.outputs)]
        law = f"LEVEL=1 VTO={_THRESHOLD} KP={_BETA} LAMBDA={_MODULATION} IS=1e-40"
        spice.command("remcirc")
        spice.load([*lines, f".model t NMOS({law})", ".end"])
        self._loaded = True

    def state(self, nudge: Any) -> Any:
        """Alter the currents, solve, read every node."""
        import numpy as np

        spice = self._spice
        for k, amperes in enumerate(nudge.tolist()):
            spice.command(f"alter io{k} {amperes!r}")
        spice.command("op")
        return np.array([spice.value(f"v(n{i})") for i in range(self.problem.side**2)])


def _seconds(peer: Peer, n_updates: int) -> float:
    """Return the seconds of an update; the first of them begins from rest."""
    began = time.perf_counter()
    peer.run(n_updates)
    return (time.perf_counter() - began) / n_updates


def _difference(ours: Ours, spice: Spice, n_updates: int) -> tuple[float, float]:
    """Return the largest difference of voltages and of gates after some updates, V."""
    import numpy as np

    mine, theirs = ours.run(n_updates), spice.run(n_updates)
    return float(np.abs(ours.volts - spice.volts).max()), float(np.abs(mine - theirs).max())


def against_ngspice(side: int, n_pairs: int) -> list[Row]:
    """Return how long ngspice takes beside us, with tight tolerances and with its own, and how far voltages differ."""
    problem = _problem(side)
    ours, n_edges = Ours(problem), 2 * side**2
    n_ours, n_theirs = max(4, 2000 // side**2), max(2, 40 // side)
    rows = []
    for words, options in (("tolerances tightened", _TIGHT), ("its own tolerances", _AS_IT_COMES)):
        spice = Spice(problem, options)
        volts, gates = _difference(ours, spice, 2 if side > 10 else 4)
        if options is _TIGHT and not max(volts, gates) <= _EQUAL:
            raise AssertionError(f"ngspice has other voltages by {volts:.2g} V, and other gates by {gates:.2g} V")
        pairs = []
        for _ in range(n_pairs):
            theirs = _seconds(spice, n_theirs)
            pairs.append((_seconds(ours, n_ours), theirs))
        ratios = sorted(theirs / mine for mine, theirs in pairs)
        mine, theirs = (min(times) for times in zip(*pairs, strict=True))
        how = "alter" if spice.alters else "a new netlist"
        rows.append(
            Row(
                f"ngspice in process ({words}; gates by {how}) / ours, an update of {n_edges} transistors",
                f"{ratios[-1]:.0f}x (median {ratios[len(ratios) // 2]:.0f}x; {_time(theirs)} and {_time(mine)})",
                COMMAND,
            )
        )
        rows.append(
            Row(f"largest difference of node voltages, {n_edges} transistors, {words}", f"{volts:.1e} V", COMMAND)
        )
    return rows


def alone(side: int, n_turns: int) -> list[Row]:
    """Return how long we take, and what a network costs to begin with."""
    problem = _problem(side)
    began = time.perf_counter()
    ours = Ours(problem)
    ready = time.perf_counter() - began
    n_edges, n_updates = 2 * side**2, max(4, 2000 // side**2)
    ours.run(2)
    best = min(_seconds(ours, n_updates) for _ in range(n_turns))
    factors = ours.circuit.n_factors
    ours.run(n_updates)
    factors = ours.circuit.n_factors - factors
    words = f"an update of {n_edges} transistors, {side} x {side} (PyCLLN's own figure: {_PUBLISHED[side]})"
    figure = f"{_time(best)}; {factors / n_updates:.2g} factors made; {_time(ready)} to begin with"
    return [Row(words, figure, COMMAND)]


def crossover(sizes: Sequence[int], n_turns: int) -> list[Row]:
    """Return the first equilibrium of a network, its plan included, and the next, by dense and by sparse matrices."""
    import numpy as np

    from simulated_bench.circuit import Circuit
    from simulated_bench.newton import NewtonCircuit

    told: dict[str, list[str]] = {"the first": [], "the next": []}
    for side in sizes:
        ours = Ours(_problem(side))
        network, wired = ours.circuit.network, ours.circuit.connections
        x = np.concatenate([ours.problem.levels[1], np.zeros(2)])
        seconds = np.full((2, 2), np.inf)
        for kind, make in enumerate((Circuit, NewtonCircuit)):
            for _ in range(n_turns):
                began = time.perf_counter()
                circuit = make(network, wired)
                circuit.operating_point(x)
                first = time.perf_counter() - began
                circuit.program(np.zeros(0))
                began = time.perf_counter()
                circuit.operating_point(x)
                seconds[kind] = np.minimum(seconds[kind], (first, time.perf_counter() - began))
        for which, (dense, sparse) in zip(told, seconds.T.tolist(), strict=True):
            told[which].append(f"{side**2}: {_time(dense)}, {_time(sparse)}")
    return [
        Row(f"{which} equilibrium from rest, dense and sparse, by nodes", "; ".join(figures), COMMAND)
        for which, figures in told.items()
    ]


def steps_with_diodes(sizes: Sequence[int], n_turns: int) -> list[Row]:
    """Return a training step of hidden layers of diodes in blocks, dense and sparse, by hidden nodes."""
    import numpy as np

    from freqprop_lab.bench import open_bench
    from freqprop_lab.config import BenchRequest, check_bench, parse_yaml
    from freqprop_lab.values import BlockPlan
    from freqprop_lab.waveform import Sine

    told = []
    for n_hidden in sizes:
        seconds = []
        for solver in ("dense", "sparse"):
            text = f"bench: numeric\nsolver: {solver}\n"
            text += f"network: {{kind: hidden-layer, hidden: {n_hidden}, inputs: 4, outputs: 2}}\n"
            text += "meter: {range: 100 V}\nsource: {limit: 100 V}\n"
            bench = open_bench(check_bench(parse_yaml(text, Path("bench.yaml")), Path()), BenchRequest(0))
            rng = np.random.default_rng(n_hidden)
            n_tunable, ports = len(bench.network.tunable), (len(bench.network.inputs), len(bench.network.outputs))
            start = rng.uniform(1e-5, 1e-3, n_tunable)
            levels, targets = rng.uniform(-2, 2, (4, ports[0])), rng.uniform(-0.2, 0.2, (4, ports[1]))
            ends = np.full(n_tunable, 1e-6), np.full(n_tunable, 1e-2)
            plan = BlockPlan(levels, targets, np.arange(8) % 4, start, *ends, 1e-4, 1e-4, "squared", Sine())
            times = []
            for _ in range(n_turns + 1):
                began = time.perf_counter()
                bench.run_block(plan)
                times.append((time.perf_counter() - began) / len(plan.order))
            seconds.append(min(times[1:]))
        told.append(f"{n_hidden}: {_time(seconds[0])}, {_time(seconds[1])}")
    return [
        Row("a training step of a hidden layer of diodes, dense and sparse, by hidden nodes", "; ".join(told), COMMAND)
    ]


def _time(seconds: float) -> str:
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def rows(*, quick: bool = False) -> list[Row]:
    """Return times, ratios and differences."""
    n_pairs = 2 if quick else 5
    made: list[Row] = []
    for side in (3, 10) if quick else (3, 10, 30):
        try:
            made += against_ngspice(side, n_pairs)
        except OSError as error:
            print(f"note: {error}")
    for side in (3, 10, 30) if quick else (3, 10, 30, 50, 100):
        made += alone(side, n_pairs)
    made += crossover((4, 6, 8, 10, 14, 20) if quick else (4, 6, 8, 10, 14, 20, 30), n_pairs)
    made += steps_with_diodes((30, 100, 300) if quick else (30, 100, 200, 300, 500, 1000), n_pairs)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return [*made, Row("load of the machine meanwhile (1, 5, 15 min)", f"{load} on {os.cpu_count()} cores", COMMAND)]


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:110} {row.figure}", flush=True)
