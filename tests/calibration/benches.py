"""Numeric benches to calibrate, and what is true of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibration.registry import make_procedure
from calibration.running import run_procedure
from freqprop_lab.bench import open_bench
from freqprop_lab.config import check_bench, parse_yaml

RESISTOR_COUPLED = """\
bench: numeric
name: {name}
hardware_seed: {seed}
network: {{kind: barabasi-albert, nodes: {nodes}, edges: {edges}, inputs: {inputs}, outputs: {outputs}}}
scales: {{conductance: 0.1 mS}}
common_mode: {common_mode}
inputs: {{source: resistor, resistance: 1 kOhm}}
nudge: {{source: resistor, resistance: 1 kOhm}}
sampling: {{frequency: 1 kHz, samples_per_period: 20, periods: 5}}
source: {{gain_error: 2 %, offset: 5 mV}}
meter: {{gain_error: 2 %, offset: 5 mV, noise: 1 mV}}
resistors: {{tolerance: 10 %}}
calibration:
  assume: {{source_gain: 2 %, source_offset: 5 mV, meter_gain: 2 %, meter_offset: 5 mV, tunable: 10 %,
           source_resistance: 0.01 %}}
"""


def opened(
    seed=0, *, nodes=16, edges=32, ports=(3, 2), common_mode="0 V", more="", name="bench", folder=Path(), replaced=None
):
    """Return an open bench of that hardware seed, its conductances spread over a decade.

    more: lines at the end of the file; replaced: lines that stand for those of the same field.
    """
    text = RESISTOR_COUPLED.format(
        seed=seed, nodes=nodes, edges=edges, inputs=ports[0], outputs=ports[1], common_mode=common_mode, name=name
    )
    for field, line in (replaced or {}).items():
        text = "".join(line if each.startswith(field + ":") else each for each in text.splitlines(keepends=True))
    text += more
    bench = open_bench(check_bench(parse_yaml(text, folder / "bench.yaml"), folder), corrected=False)
    rng = np.random.default_rng(1000 + seed)
    bench.program(np.exp(rng.uniform(np.log(5e-5), np.log(5e-4), len(bench.network.tunable))))
    return bench


def findings(bench, procedure, known=None, **options):
    """Return what a procedure finds on a bench."""
    made = make_procedure(procedure, **options)
    return run_procedure(bench, made, known=known)


def by_name(found):
    """Return the quantities of findings by name."""
    return {quantity.name: quantity for quantity in found.quantities}
