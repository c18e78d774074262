"""Random benches with one fault of the nudge planted in each: what `calibrate gradient` has to find.

A bench has 12 to 20 nodes, twice as many tunable branches, 2 or 3 inputs and 2 outputs behind resistors, half of them
antiparallel diodes at some nodes, and small imperfections that are no fault: noise, gains and offsets as a calibration
leaves them. The strength of a fault is drawn too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CAUSES = (
    "gamma too large",
    "omega too fast",
    "skew uncorrected",
    "wrong sign of a port",
    "quantised update",
    "offset",
)
_FREQUENCY, _SAMPLES = 100.0, 20  # Hz, samples a period
_FIRST_SEED = 7000  # fixed before anything was tried

_FILE = """
bench: numeric
name: planted
hardware_seed: {seed}
network: {{kind: csv, file: branches.csv, inputs: {inputs}, outputs: {outputs}}}
scales: {{conductance: 0.1 mS}}
inputs: {{source: resistor, resistance: 1 kOhm}}
nudge: {{source: resistor, resistance: 1 kOhm}}
sampling: {{frequency: {frequency} Hz, samples_per_period: {samples}, periods: 5}}
source: {{gain_error: 0.1 %, offset: 0.2 mV}}
meter: {meter}
resistors: {resistors}
parts: {parts}
faults: {faults}
"""


@dataclass
class Planted:
    """A bench's file in the making, and the options of the procedure that suit it."""

    rng: np.random.Generator
    nodes: list[str]
    inputs: list[list[str]]
    outputs: list[list[str]]
    diodes: bool
    meter: dict[str, str] = field(default_factory=lambda: {"noise": "1 mV", "gain_error": "0.1 %", "offset": "0.2 mV"})
    resistors: dict[str, Any] = field(default_factory=lambda: {"tolerance": "0.5 %"})
    parts: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=lambda: {"gamma": 0.5})


@contextmanager
def planted_bench(cause: str | None, trial: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open bench number `trial` with a cause planted in it, or none; yield it and the procedure's options."""
    from freqprop_lab.bench import open_bench
    from freqprop_lab.config import BenchRequest, check_bench, parse_yaml

    number = 0 if cause is None else 1 + CAUSES.index(cause)
    seed = _FIRST_SEED + 1000 * number + trial
    rng = np.random.default_rng(seed)
    n_nodes, n_inputs = int(rng.integers(12, 21)), int(rng.integers(2, 4))
    nodes = [f"n{i}" for i in range(n_nodes)]
    ends = rng.permutation(nodes)[: 2 * (n_inputs + 2)].reshape(-1, 2).tolist()
    diodes = cause == "gamma too large" or bool(rng.integers(2))
    bench = Planted(rng, nodes, ends[:n_inputs], ends[n_inputs:], diodes)
    if cause is not None:
        _PLANT[cause](bench)
    text = _FILE.format(
        seed=seed,
        inputs=_flow(bench.inputs),
        outputs=_flow(bench.outputs),
        frequency=_FREQUENCY,
        samples=_SAMPLES,
        meter=_flow(bench.meter),
        resistors=_flow(bench.resistors),
        parts=_flow(bench.parts),
        faults=_flow(bench.faults),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "branches.csv").write_text(_branches(bench), encoding="utf-8")
        with open_bench(
            check_bench(parse_yaml(text, folder / "bench.yaml"), folder), BenchRequest(seed=seed)
        ) as opened:
            n_tunable = len(opened.network.tunable)
            opened.program(np.exp(rng.uniform(np.log(3e-5), np.log(5e-4), n_tunable)))
            yield opened, bench.options


def _branches(bench: Planted) -> str:
    rows, n_nodes, rng = ["plus,minus,kind,value"], len(bench.nodes), bench.rng
    pairs = {(int(rng.integers(0, i)), i) for i in range(1, n_nodes)}
    while len(pairs) < 2 * n_nodes:
        low, high = sorted(rng.integers(0, n_nodes, 2).tolist())
        if low < high:
            pairs.add((low, high))
    rows += [f"n{low},n{high},tunable,0.1 mS" for low, high in sorted(pairs)]
    if bench.diodes:
        at_outputs = [node for port in bench.outputs for node in port]
        others = [node for node in bench.nodes if node not in at_outputs]
        at = at_outputs + rng.permutation(others)[:4].tolist()
        rows += [f"{node},ground,antiparallel,1 uA / 30 mV" for node in at]
    return "\n".join(rows) + "\n"


def _gamma(bench: Planted) -> None:
    bench.options["gamma"] = float(bench.rng.uniform(25, 60))


def _omega(bench: Planted) -> None:
    bench.parts["capacitance"] = f"{bench.rng.uniform(0.7, 2.0):.3f} uF"


def _skew(bench: Planted) -> None:
    bench.meter["hidden_skew"] = f"{3e3 / _FREQUENCY / _SAMPLES:g} ms"


def _sign(bench: Planted) -> None:
    port = bench.outputs[int(bench.rng.integers(len(bench.outputs)))]
    bench.faults[["swapped_drives", "swapped_reads"][int(bench.rng.integers(2))]] = [port]


def _taps(bench: Planted) -> None:
    bench.resistors |= {"taps": int(bench.rng.choice([32, 64, 128])), "end_to_end": "50 kOhm", "wiper": "500 Ohm"}


def _offset(bench: Planted) -> None:
    bench.meter["pickup"] = f"{bench.rng.uniform(2, 6):.2f} mV"


_PLANT = dict(zip(CAUSES, (_gamma, _omega, _skew, _sign, _taps, _offset), strict=True))


def _flow(value: Any) -> str:
    """Write plain data as YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    return str(value)
