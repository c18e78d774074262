"""A bench of 16 nodes, opened and programmed, for the tests of `bias` and `gradient`."""

from pathlib import Path
from typing import Any

import numpy as np

from calibration.procedure import Findings
from calibration.records import Quantity
from calibration.registry import make_procedure
from calibration.running import run_procedure
from freqprop_lab.bench import Bench, open_bench
from freqprop_lab.config import BenchRequest, check_bench, parse_yaml

FILE = """
bench: numeric
name: sixteen
hardware_seed: {seed}
network: {{kind: barabasi-albert, nodes: 16, edges: 32, inputs: 3, outputs: 2}}
scales: {{conductance: 0.1 mS}}
inputs: {inputs}
nudge: {nudge}
sampling: {{frequency: {frequency}, samples_per_period: 20, periods: 5}}
{more}
"""
RESISTOR = "{source: resistor, resistance: 1 kOhm}"


def opened(
    seed: int,
    more: str = "meter: {noise: 1 mV}",
    *,
    inputs: str = RESISTOR,
    nudge: str = RESISTOR,
    frequency: str = "100 Hz",
) -> Bench:
    text = FILE.format(seed=seed, inputs=inputs, nudge=nudge, frequency=frequency, more=more)
    bench = open_bench(check_bench(parse_yaml(text, Path("bench.yaml")), Path()), BenchRequest(seed=seed))
    rng = np.random.default_rng(seed)
    bench.program(np.exp(rng.uniform(np.log(2e-5), np.log(5e-4), len(bench.network.tunable))))
    return bench


def findings(bench: Bench, procedure: str, **options: Any) -> Findings:
    made = make_procedure(procedure, **options)
    return run_procedure(bench, made)


def quantity(found: Findings, name: str) -> Quantity:
    return next(each for each in found.quantities if each.name == name)
