"""Random benches with random faults, every ordinary imperfection on, and how large a fault's effect would be.

The effect is worked out by `calibration.direct_model`, drive by drive, with dense covariances: not by the code that
searches for faults.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from calibration.direct_model import DirectModel, ModelError, Sources
from calibration.drives import sizes, subject_conductances
from calibration.subject import Subject, subject_of
from calibration.wiring.observe import states
from freqprop_lab.bench import open_bench
from freqprop_lab.config import check_bench, parse_yaml
from freqprop_lab.values import Array
from simulated_bench.numeric import NumericBench

KINDS = ("swapped_reads", "swapped_drives", "swapped_elements", "open", "shorted", "wrong", "ungrounded", "unread")
SEEN = 8.0  # standard errors, on the best drive
SAMPLES, VOLTS = 1000, 1.0
NOISE = 1e-3  # V, of a sample
GAIN, SERIES = 0.02, 0.01  # standard uncertainties that are believed, as in the file below
LARGEST_WRONG, SMALLEST_WRONG = 4.0, 1.2
BENCH = """\
bench: numeric
name: random
hardware_seed: {seed}
network: {{kind: csv, file: {file}, inputs: {inputs}, outputs: {outputs}}}
scales: {{conductance: 0.1 mS}}
inputs: {{source: resistor, resistance: 1 kOhm}}
nudge: {{source: resistor, resistance: 1 kOhm}}
sampling: {{frequency: 100 Hz, samples_per_period: 20, periods: 5}}
source: {{gain_error: 2 %, offset: 5 mV}}
meter: {{gain_error: 2 %, offset: 5 mV, noise: 1 mV, skew: 10 us, hidden_skew: 0.5 ms}}
resistors: {{tolerance: 2.5 %, nonlinearity: 1 %}}
parts: {{tolerance: 5 %, source_resistance_tolerance: 1 %}}
faults: {faults}
calibration:
  assume:
    {{source_gain: 2 %, source_offset: 5 mV, meter_gain: 2 %, meter_offset: 5 mV, source_resistance: 1 %,
     tunable: 3 %, fixed: 5 %}}
"""


@dataclass(frozen=True)
class Faulty:
    """A bench's faults: the section of its file, and (kind, sorted names) of each."""

    section: dict[str, Any] = field(default_factory=dict)
    named: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def without(self, number: int) -> Faulty:
        """Return all but one."""
        kept = [one for place, one in enumerate(self.named) if place != number]
        return faulty(kept, self.section.get("wrong", {}))


def faulty(named: Sequence[tuple[str, tuple[str, ...]]], wrong: dict[str, float]) -> Faulty:
    """Return faults by kind and names; wrong: the factors of conductance."""
    section: dict[str, Any] = {}
    for kind, names in named:
        if kind.startswith("swapped"):
            section.setdefault(kind, []).append(list(names))
        elif kind == "wrong":
            section.setdefault(kind, {})[names[0]] = wrong[names[0]]
        else:
            section.setdefault(kind, []).append(names[0])
    return Faulty(section, tuple(named))


@dataclass(frozen=True)
class Board:
    """A random board, still without faults: its file's parts, and where faults can be."""

    file: Path
    seed: int
    nodes: tuple[str, ...]
    branches: tuple[str, ...]
    tunable: tuple[str, ...]
    grounded: tuple[str, ...]
    inputs: list[list[str]]
    outputs: list[list[str]]

    @property
    def driven(self) -> tuple[str, ...]:
        """The nodes with a source."""
        return tuple(node for port in (*self.inputs, *self.outputs) for node in port)

    def bench(self, faults: Faulty) -> NumericBench:
        """Open it with faults."""
        text = BENCH.format(
            seed=self.seed,
            file=self.file,
            inputs=json.dumps(self.inputs),
            outputs=json.dumps(self.outputs),
            faults=json.dumps(faults.section),
        )
        bench = open_bench(check_bench(parse_yaml(text, Path("random.yaml")), Path()))
        assert isinstance(bench, NumericBench)
        return bench


def board(rng: np.random.Generator, seed: int, folder: Path) -> Board:
    """Draw a connected board of 16 to 40 nodes and twice as many branches, a few of them fixed, some to ground."""
    n = int(rng.integers(16, 41))
    nodes = tuple(f"n{number + 1}" for number in range(n))
    pairs: set[tuple[int, int]] = set()
    for node in range(1, n):
        for other in rng.choice(node, size=min(node, int(rng.integers(1, 3))), replace=False).tolist():
            pairs.add((other, node))
    while len(pairs) < 2 * n:
        first, second = sorted(rng.choice(n, 2, replace=False).tolist())
        pairs.add((first, second))
    rows, tunable = [], []
    for number, (first, second) in enumerate(sorted(pairs)):
        if rng.random() < 0.85:
            tunable.append(f"R{number + 1}")
            rows.append(f"R{number + 1},{nodes[first]},{nodes[second]},tunable,10 kOhm,1 kOhm,100 kOhm")
        else:
            ohms = rng.choice(["4.7 kOhm", "10 kOhm", "22 kOhm"])
            rows.append(f"R{number + 1},{nodes[first]},{nodes[second]},resistor,{ohms},,")
    branches = tuple(row.split(",")[0] for row in rows)
    grounded = tuple(nodes[node] for node in rng.choice(n, int(rng.integers(1, 4)), replace=False))
    rows += [f"G{number + 1},{node},ground,resistor,10 kOhm,," for number, node in enumerate(grounded)]
    file = folder / f"board{seed}.csv"
    file.write_text("name,plus,minus,kind,value,lowest,highest\n" + "\n".join(rows) + "\n", encoding="utf-8")
    ports = [nodes[node] for node in rng.permutation(n)[:8].tolist()]
    inputs, outputs = [ports[:2], ports[2:4], ports[4:5]], [ports[5:7], ports[7:]]
    return Board(file, seed, nodes, branches, tuple(tunable), grounded, inputs, outputs)


def drawn_faults(rng: np.random.Generator, on: Board, count: int) -> Faulty:
    """Draw so many faults; no lead, line or branch gets two."""
    named: list[tuple[str, tuple[str, ...]]] = []
    wrong, used = {}, set[tuple[str, str]]()
    pools = {
        "swapped_reads": ("meter", on.nodes, 2),
        "swapped_drives": ("source", on.driven, 2),
        "swapped_elements": ("part", on.tunable, 2),
        "open": ("part", on.branches, 1),
        "shorted": ("part", on.branches, 1),
        "wrong": ("part", on.branches, 1),
        "ungrounded": ("ground", on.grounded, 1),
        "unread": ("meter", on.nodes, 1),
    }
    while len(named) < count:
        kind = str(rng.choice(KINDS))
        of, pool, how_many = pools[kind]
        free = [name for name in pool if (of, name) not in used]
        if len(free) < how_many:
            continue
        names = tuple(sorted(str(name) for name in rng.choice(free, how_many, replace=False)))
        used |= {(of, name) for name in names}
        if kind == "wrong":
            size = rng.uniform(np.log(SMALLEST_WRONG), np.log(LARGEST_WRONG))
            wrong[names[0]] = float(np.round(np.exp(size * rng.choice([-1.0, 1.0])), 4))
        named.append((kind, names))
    return faulty(named, wrong)


def effects(subject: Subject, faults: Faulty) -> list[float]:
    """Return by how many standard errors each fault moves the readings of the best drive, the others being there.

    sqrt(d' S^-1 d), d the change at all nodes, S what noise and every belief (gains, series resistors, elements) make
    of the readings: a fault that these could pass for is small. As listed and set; gains and elements as believed.
    """
    found = []
    whole = [_predicted(subject, faults, tunable) for tunable in states(subject)]
    for number in range(len(faults.named)):
        best = 0.0
        for (readings, covariances), tunable in zip(whole, states(subject), strict=True):
            other, _ = _predicted(subject, faults.without(number), tunable)
            for drive in range(readings.shape[1]):
                d = readings[:, drive] - other[:, drive]
                best = max(best, float(d @ np.linalg.solve(covariances[drive], d)))
        found.append(float(np.sqrt(best)))
    return found


def _predicted(subject: Subject, faults: Faulty, tunable: Array) -> tuple[Array, list[Array]]:
    """Return half the difference of up and down, V, (node, lead), and its covariance for each lead, V^2."""
    network, section = subject.network, faults.section
    to = {name: name for name in network.nodes}
    for first, second in section.get("swapped_drives", []):
        to[first], to[second] = to[second], to[first]
    at = [to[subject.node_of(lead)] for lead in subject.live_leads]
    leads = tuple(replace(lead, plus=network.index[node]) for lead, node in zip(subject.live_leads, at, strict=True))
    G = _conductances(subject, section, tunable)
    model, sources = DirectModel(network, leads), Sources.ideal(leads)
    size = sizes(subject, VOLTS)[subject.live]
    solved = model.solve(G, sources, np.diag(size))
    by_G = model.by_conductance(solved) * G * subject.belief_in_branches()
    by_series = model.by_series(solved) * sources.series[model.behind] * SERIES
    order = list(range(len(network.nodes)))
    for first, second in section.get("swapped_reads", []):
        i, j = network.index[first], network.index[second]
        order[i], order[j] = order[j], order[i]
    gone = np.array([name in section.get("unread", []) for name in network.nodes])
    readings = np.where(gone[:, None], 0.0, solved.volts.T[order])
    variance, covariances = NOISE**2 / SAMPLES / 2, []
    for drive in range(len(size)):
        y = readings[:, drive]
        columns = np.concatenate([by_G[drive], by_series[drive]], axis=1)[order]
        columns = np.where(gone[:, None], 0.0, columns)
        S = columns @ columns.T + np.outer(y, y) * GAIN**2 + np.diag(y**2 * GAIN**2 + variance)
        covariances.append(S)
    return readings, covariances


def _conductances(subject: Subject, section: dict[str, Any], tunable: Array) -> Array:
    """Return what the branches conduct with faults, S."""
    names = [branch.name for branch in subject.network.branches]
    tunable_names = list(subject.network.tunable_names)
    programmed = tunable.copy()
    for first, second in section.get("swapped_elements", []):
        i, j = tunable_names.index(first), tunable_names.index(second)
        programmed[[i, j]] = programmed[[j, i]]
    G = subject_conductances(subject, programmed)
    for name, factor in section.get("wrong", {}).items():
        G[names.index(name)] *= factor
    for name in section.get("shorted", []):
        G[names.index(name)] += 10.0  # 0.1 Ohm, as the simulated bench has it
    for name in section.get("open", []):
        G[names.index(name)] = 1e-12
    for node in section.get("ungrounded", []):
        for number, branch in enumerate(subject.network.branches):
            if {branch.plus, branch.minus} == {node, "ground"}:
                G[number] = 1e-12
    return G


def seen_bench(rng: np.random.Generator, seed: int, count: int, folder: Path) -> tuple[NumericBench, Faulty, list[str]]:
    """Return a bench whose faults can all be seen, what they are, and the kinds of those that were drawn in vain."""
    on, vain = board(rng, seed, folder), []
    subject = subject_of(on.bench(Faulty()))
    while True:
        faults = drawn_faults(rng, on, count)
        try:
            seen = effects(subject, faults)
        except (ModelError, np.linalg.LinAlgError):
            continue
        small = [kind for (kind, _), effect in zip(faults.named, seen, strict=True) if effect < SEEN]
        if not small:
            return on.bench(faults), faults, vain
        vain += small
