"""How fast the simulated bench steps, beside its peers in the same run: python benchmarks/solver.py [--quick].

One step: the operating point, the outputs' error, the response to the nudge as 100 samples at every node, a and b, and
the update of all conductances. 40 nodes, 390 edges, node 0 grounded, currents into 4 pairs, 3 output pairs; with diodes
an antiparallel pair (1 nA, 25.9 mV) to ground at half the nodes. Peers take turns with us, one thread each; a ratio is
that of the best of the pairs of turns. Every peer's a and b are held against ours before anything is timed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _campaign import Row

COMMAND = "python benchmarks/solver.py"
_ALPHA, _GAMMA = 0.01, 0.1
_SATURATION, _EMISSION = 1e-9, 1.38064852e-23 / 1.6021766208e-19 * 300.15  # A, V: ngspice's Vt at 27 degrees
_PERIODS, _PER_PERIOD = 5, 20


@dataclass
class Problem:
    """A network and its examples, in the terms that every peer takes."""

    network: Any
    ends: Any
    inputs: Any
    outputs: Any
    diodes: list[int]
    levels: Any
    targets: Any
    start: Any


def _problem(n_diodes: int) -> Problem:
    import numpy as np

    from freqprop_lab.elements import ELEMENTS
    from freqprop_lab.network import Branch, Network, barabasi_albert, choose_ports

    rng = np.random.default_rng(40)
    drawn = choose_ports(barabasi_albert(40, 390, 1.0, rng), 4, 3, rng)
    pairs = list(range(1, 40, 2))[: n_diodes // 2]
    diodes = [
        Branch(f"D{i}", drawn.nodes[i], "ground", ELEMENTS["antiparallel"], (_SATURATION, _EMISSION), False)
        for i in pairs
    ]
    network = Network(drawn.nodes, (*drawn.branches, *diodes), drawn.inputs, drawn.outputs)
    return Problem(
        network,
        np.stack(network.tunable_ends),
        np.stack(network.input_ends),
        np.stack(network.output_ends),
        pairs,
        rng.uniform(0, 1, (10, 4)),
        rng.normal(scale=0.05, size=(10, 3)),
        rng.uniform(1e-5, 1, 390),
    )


class Ours:
    """The compiled block, all samples kept."""

    def __init__(self, problem: Problem, *, series: bool = True) -> None:
        import numpy as np

        from freqprop_lab.waveform import Sine
        from simulated_bench.blocks import Block, Parts, projection
        from simulated_bench.circuit import Circuit, Connection

        self.problem, n = problem, 390
        wired = [
            Connection(int(plus), int(minus), "current")
            for ends in (problem.inputs, problem.outputs)
            for plus, minus in ends.T
        ]
        circuit = Circuit(problem.network, wired, 0)
        self._block = Block(problem.network, wired, circuit, np.eye(7)[:, 4:])
        self._levels = np.hstack([problem.levels, np.zeros((10, 3))])
        self._limits = (np.full(7, np.inf), np.inf)
        self._parts = Parts(np.zeros(0), 0.0, np.ones(n), np.zeros(n, dtype=bool))
        self._record = projection(Sine(), _PER_PERIOD, _PERIODS)
        self._series = np.zeros((_PERIODS * _PER_PERIOD, 40)) if series else None
        self.response = np.zeros((2, 40))

    def run(self, n_steps: int) -> Any:
        """Do so many steps from the start; return the conductances."""
        import numpy as np

        from freqprop_lab.values import BlockPlan
        from freqprop_lab.waveform import Sine
        from simulated_bench.blocks import BlockState

        problem, start = self.problem, self.problem.start
        plan = BlockPlan(
            problem.levels,
            problem.targets,
            np.arange(n_steps) % 10,
            start,
            np.full(390, 1e-5),
            np.full(390, 20.0),
            _ALPHA,
            _GAMMA,
            "squared",
            Sine(),
        )
        state = BlockState(start.copy(), start.copy(), start.copy())
        outputs = np.empty((n_steps, 3))
        self._block.run(
            plan, self._levels, self._limits, self._parts, state, outputs, self.response, 0, self._record, self._series
        )
        return state.wished


class Peer(ABC):
    """What the peers share: the step, apart from how a and b are had."""

    def __init__(self, problem: Problem) -> None:
        import numpy as np

        self.problem = problem
        self.f = np.sin(2 * np.pi * np.arange(_PERIODS * _PER_PERIOD) / _PER_PERIOD)
        self.B = np.zeros((390, 40))
        self.B[np.arange(390), problem.ends[0]] += 1
        self.B[np.arange(390), problem.ends[1]] -= 1

    def run(self, n_steps: int) -> Any:
        """Do so many steps from the start; return the conductances."""
        import numpy as np

        problem, G = self.problem, self.problem.start
        for step in range(n_steps):
            example = step % 10
            a, b = self.respond(G, problem.levels[example], problem.targets[example])
            G = np.clip(G - _ALPHA * (self.B @ a) * (self.B @ b), 1e-5, 20)
        self.response = np.array([a, b])
        return G

    @abstractmethod
    def respond(self, G: Any, levels: Any, target: Any) -> tuple[Any, Any]:
        """Return a and b, (node,) each."""


class Sampled(Peer):
    """Solves for the node voltages of many currents, a sample each."""

    def respond(self, G: Any, levels: Any, target: Any) -> tuple[Any, Any]:
        """Return a and b, (node,) each."""
        import numpy as np

        problem = self.problem
        rest = np.zeros(40)
        np.add.at(rest, problem.inputs[0], levels)
        np.add.at(rest, problem.inputs[1], -levels)
        v0 = self.solve(G, rest[None], np.zeros(40))[0]
        nudge = np.zeros(40)
        error = v0[problem.outputs[0]] - v0[problem.outputs[1]] - target
        np.add.at(nudge, problem.outputs[0], -_GAMMA * error)
        np.add.at(nudge, problem.outputs[1], _GAMMA * error)
        v = self.solve(G, rest + self.f[:, None] * nudge, v0)
        return v.mean(axis=0), 2 * (self.f @ v) / len(self.f)

    @abstractmethod
    def solve(self, G: Any, currents: Any, start: Any) -> Any:
        """Return node voltages (case, node) for currents into the nodes; node 0 is grounded."""

    def stiffness(self, G: Any) -> Any:
        """Return B^T G B without node 0."""
        B = self.B[:, 1:]
        return B.T @ (G[:, None] * B)


class Naive(Sampled):
    """np.linalg.solve for each sample; with diodes Newton for each sample, from zero."""

    warm = False

    def solve(self, G: Any, currents: Any, start: Any) -> Any:
        """Return node voltages, one case after the other."""
        import numpy as np

        K, volts = self.stiffness(G), np.zeros(currents.shape)
        where = np.array(self.problem.diodes, dtype=int) - 1
        v = start[1:].copy()
        for case, pushed in enumerate(currents[:, 1:]):
            if not self.warm:
                v = np.zeros_like(v)
            for _ in range(100):
                J, r = K, pushed - K @ v
                if len(where):
                    u = v[where] / _EMISSION
                    J = K.copy()
                    J[where, where] += 2 * _SATURATION / _EMISSION * np.cosh(u)
                    r[where] -= 2 * _SATURATION * np.sinh(u)
                change = np.linalg.solve(J, r)
                if len(where):
                    change = np.clip(change, -2 * _EMISSION, 2 * _EMISSION)
                v = v + change
                if not len(where) or np.abs(change).max() < 1e-12:
                    break
            volts[case, 1:] = v
        return volts


class Warm(Naive):
    """Newton for each sample from the last one."""

    warm = True


class ManyAtOnce(Sampled):
    """One np.linalg.solve with 100 right-hand sides; linear only."""

    def solve(self, G: Any, currents: Any, start: Any) -> Any:  # noqa: ARG002 - a linear network needs none
        """Return node voltages, all cases at once."""
        import numpy as np

        volts = np.zeros(currents.shape)
        volts[:, 1:] = np.linalg.solve(self.stiffness(G), currents[:, 1:].T).T
        return volts


class Spice(Peer):
    """libngspice in this process: .op, then .tran over the five periods; a and b fitted to its own points."""

    def __init__(self, problem: Problem) -> None:
        from _ngspice import Ngspice

        super().__init__(problem)
        self._spice = Ngspice()

    def respond(self, G: Any, levels: Any, target: Any) -> tuple[Any, Any]:
        """Return a and b, (node,) each; the network is loaded anew, which is faster than altering 390 resistors."""
        import numpy as np

        problem, spice = self.problem, self._spice
        name = ["0", *(f"n{i}" for i in range(1, 40))]
        lines = ["step"]
        lines += [
            f"r{k} {name[p]} {name[m]} {1 / g!r}"
            for k, (p, m, g) in enumerate(zip(*problem.ends, G.tolist(), strict=True))
        ]
        lines += [
            f"i{k} {name[m]} {name[p]} {x!r}"
            for k, (p, m, x) in enumerate(zip(*problem.inputs, levels.tolist(), strict=True))
        ]
        lines += [f"io{k} {name[m]} {name[p]} dc 0 sin(0 0 1)" for k, (p, m) in enumerate(problem.outputs.T)]
        for node in problem.diodes:
            lines += [f"da{node} n{node} 0 dm", f"db{node} 0 n{node} dm"]
        lines += [f".model dm d(is={_SATURATION} n=1)", ".end"]
        spice.command("destroy all")
        spice.command("remcirc")
        spice.load(lines)
        spice.command("op")
        volts = np.array([0.0, *(spice.vector(f"v(n{i})")[0] for i in range(1, 40))])
        error = volts[problem.outputs[0]] - volts[problem.outputs[1]] - target
        for k, amperes in enumerate(-_GAMMA * error):
            spice.command(f"alter @io{k}[sin] = [ 0 {float(amperes)!r} 1 ]")
        spice.command(f"tran {1 / _PER_PERIOD} {_PERIODS} 0 {1 / _PER_PERIOD}")
        f = np.sin(2 * np.pi * spice.vector("time"))
        v = np.zeros((len(f), 40))
        for i in range(1, 40):
            v[:, i] = spice.vector(f"v(n{i})")
        fitted = np.linalg.lstsq(np.column_stack([np.ones(len(f)), f]), v, rcond=None)[0]
        return fitted[0], fitted[1]


def _seconds(run: Callable[[int], Any], n_steps: int) -> float:
    began = time.perf_counter()
    run(n_steps)
    return (time.perf_counter() - began) / n_steps


def _agree(ours: Ours, peer: Peer, tolerance: float) -> None:
    """Refuse to time what does something else."""
    import numpy as np

    ours.run(3)
    peer.run(3)
    off = np.abs(ours.response[1] - peer.response[1]).max() / np.abs(peer.response[1]).max()
    if not off < tolerance:
        raise AssertionError(f"{type(peer).__name__} has another b: {off:.2g} of the largest")


def _peers(problem: Problem, ours: Ours) -> dict[str, tuple[Peer, int]]:
    """Return the peers that can be had, and how many steps a turn each gets."""
    linear = not problem.diodes
    peers: dict[str, tuple[Peer, int]] = {}
    if linear:
        peers["naive NumPy, a solve a sample"] = (Naive(problem), 8)
        peers["NumPy, 100 right-hand sides at once"] = (ManyAtOnce(problem), 40)
    else:
        peers["naive Newton, each sample from zero"] = (Naive(problem), 3)
        peers["Newton, each sample from the last"] = (Warm(problem), 3)
    for peer, _ in peers.values():
        _agree(ours, peer, 1e-9 if linear else 1e-7)  # projected on 100 samples both
    try:
        spice = Spice(problem)
    except OSError as error:
        print(f"note: {error}")
        return peers
    _agree(ours, spice, 0.02)  # its default tolerances
    peers["libngspice in process, .op + .tran"] = (spice, 3)
    return peers


def _pairs(n_diodes: int, n_pairs: int) -> list[Row]:
    problem = _problem(n_diodes)
    ours = Ours(problem)
    title = f"40 nodes, 390 edges{f', {n_diodes} diodes' if n_diodes else ''}"
    peers = _peers(problem, ours)
    times: dict[str, list[float]] = {}
    own: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(n_pairs):
        for name, (peer, n_steps) in peers.items():
            times.setdefault(name, []).append(_seconds(peer.run, n_steps))
            own[name].append(_seconds(ours.run, 1000))
    bare = Ours(problem, series=False)
    alone = min(_seconds(bare.run, 1000) for _ in range(max(n_pairs, 3)))
    fastest = min(min(values) for values in own.values())
    rows = [
        Row(f"a step with its 100-sample series, {title}", f"{fastest * 1e6:.1f} us", COMMAND),
        Row(f"the same without the series, {title}", f"{alone * 1e6:.1f} us", COMMAND),
    ]
    for name, values in times.items():
        ratios = sorted(theirs / mine for theirs, mine in zip(values, own[name], strict=True))
        figure = f"{ratios[-1]:.0f}x (median {ratios[len(ratios) // 2]:.0f}x; {min(values) * 1e6:.0f} us)"
        rows.append(Row(f"{name} / ours, {title}", figure, COMMAND))
    return rows


def _floor() -> Row:
    """Say what the step would take if every multiplication and addition ran at the speed of a large matrix product."""
    import numpy as np

    n = 39
    flops = n**3 / 3 + 2 * 2 * n**2 + 100 * 40 * 6 + 390 * 12  # factor, two solves, series and fit, update and assembly
    A = np.random.default_rng(0).normal(size=(600, 600))
    best = min(_seconds(lambda _: A @ A, 1) for _ in range(10))
    rate = 2 * 600**3 / best
    figure = f"{flops / rate * 1e6:.1f} us ({flops / 1e3:.0f} kflop at {rate / 1e9:.0f} GFLOP/s)"
    why = "rows of 39 and less fill vectors badly, no fused multiply-add without fastmath, scattered assembly"
    return Row(f"floor of the linear step; in the way: {why}", figure, COMMAND)


def _ensemble(*, quick: bool) -> Row:
    from freqprop_lab.config import parse_experiment
    from freqprop_lab.session import train_seeds

    text = f"name: seeds\nepochs: {20 if quick else 1500}\ntask: {{kind: iris}}\n"
    text += "conductances: {start: [1.0e-5, 1], bounds: [1.0e-5, 20]}\n"
    experiment = parse_experiment(text, Path("seeds.yaml"))
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(1 if quick else 2):
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                train_seeds(experiment, range(2 if quick else 6), run=Path(folder) / str(turn), n_workers=workers)
                seconds[workers].append(time.perf_counter() - began)
    ratio = max(one / two for one, two in zip(seconds[1], seconds[2], strict=True))
    figure = f"{ratio:.2f}x ({min(seconds[1]):.1f} s and {min(seconds[2]):.1f} s, start of the workers included)"
    return Row("freqprop train --seeds, two workers against one", figure, COMMAND)


def rows(*, quick: bool = False) -> list[Row]:
    """Return times and ratios."""
    n_pairs = 1 if quick else 5
    made = _pairs(0, n_pairs) + _pairs(40, n_pairs) + [_floor(), _ensemble(quick=quick)]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return [*made, Row("load of the machine meanwhile (1, 5, 15 min)", f"{load} on {os.cpu_count()} cores", COMMAND)]


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:100} {row.figure}")
