"""Random benches on which everything is wrong that may be, for calibration's figures; and the truth beside them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from calibration.levels import LevelsFit, State
from calibration.procedure import Findings
from calibration.records import CalibrationRecord
from calibration.registry import make_procedure
from calibration.running import run_procedure
from calibration.subject import Subject, subject_of
from freqprop_lab.bench import open_bench
from freqprop_lab.config import BenchRequest, check_bench, parse_yaml
from freqprop_lab.values import Array
from simulated_bench.numeric import NumericBench

# Sources and nudges behind resistors of 0.01 %, which are the reference beside one meter channel.
BENCH = """\
bench: numeric
name: random bench {seed}
hardware_seed: {seed}
network: {{kind: barabasi-albert, nodes: 16, edges: 32, inputs: 3, outputs: 2}}
common_mode: 0 V
scales: {{conductance: 0.1 mS}}
inputs: {{source: resistor, resistance: 1 kOhm}}
nudge: {{source: resistor, resistance: 1 kOhm}}
sampling: {{frequency: 100 Hz, samples_per_period: 20, periods: 5}}
source: {{gain_error: 2 %, offset: 5 mV, bits: 16}}
meter:
  {{gain_error: 2 %, offset: 5 mV, noise: {noise}, bits: 16, hum: {hum}, hidden_skew: 30 us, skew: 10 us, pickup: 1 mV,
   certified: {{nodes: [n0], gain: 0.01 %, offset: 0.1 mV}}}}
resistors: {{{resistors}}}
parts: {{source_resistance_tolerance: 0.01 %}}
calibration:
  assume:
    {{source_gain: 2 %, source_offset: 5 mV, meter_gain: 2 %, meter_offset: 5 mV, tunable: 20 %,
     source_resistance: 0.01 %}}
  references:
    - {{meter: n0, gain: 0.01 %, offset: 0.1 mV, certificate: "simulated, k = 1"}}
    - {{resistor: source/0, resistance: 0.01 %, certificate: "simulated, k = 1"}}
"""
POTENTIOMETERS = (
    "taps: 257, end_to_end: 10 kOhm, wiper: 75 Ohm, tolerance: 10 %, wiper_spread: 20 %, wire: 1 Ohm, "
    "nonlinearity: 2 %, repeatability: 0.02 %, hysteresis: 0.05 %"
)
CONTINUOUS = "tolerance: 20 %"


def random_bench(seed: int, resistors: str = POTENTIOMETERS, hum: str = "2 mV", noise: str = "1 mV") -> NumericBench:
    """Open a bench whose hidden truth and noise hang on the seed, its elements set between 0.1 and 1 mS."""
    text = BENCH.format(seed=seed, resistors=resistors, hum=hum, noise=noise)
    bench = open_bench(check_bench(parse_yaml(text, Path("bench.yaml")), Path()), BenchRequest(seed=seed))
    assert isinstance(bench, NumericBench)
    rng = np.random.default_rng(seed + 1000)
    bench.program(np.exp(rng.uniform(np.log(1e-4), np.log(1e-3), len(bench.network.tunable))))
    return bench


def found_by(
    bench: NumericBench, name: str, known: dict[str, CalibrationRecord] | None = None, **options: Any
) -> tuple[Findings, Subject]:
    """Run a procedure, what is known from others beside it; and the bench as the procedure saw it."""
    subject = subject_of(bench, known)
    procedure = make_procedure(name, **options)
    return run_procedure(bench, procedure, subject=subject), subject


def as_record(name: str, findings: Findings, bench: NumericBench) -> CalibrationRecord:
    """Return what a later procedure would find in the folder."""
    return findings.as_record(name, bench.name, datetime.now(UTC))


def fit_again(subject: Subject, findings: Findings, *, afresh: bool) -> LevelsFit:
    """Fit once more what a procedure of constant levels kept."""
    raw = {name: np.asarray(values, dtype=np.float64) for name, values in findings.arrays.items()}
    state = State(raw["levels"], raw["volts"], raw["noise"], raw["programmed"][-1])
    return LevelsFit(subject, [state], afresh=afresh)


def true_parameters(bench: NumericBench, fit: LevelsFit) -> tuple[Array, Array]:
    """Return what the fit's parameters truly are: the shared ones, and ln G of the tunable branches."""
    truth, layout, live = bench.truth(), fit.layout, fit.subject.live
    shared = fit.found.shared.copy()  # of a converter's steps, which nobody lists, what was found
    shared[layout.source_gain], shared[layout.source_offset] = truth.source_gain[live], truth.source_offset[live]
    shared[layout.meter_gain], shared[layout.meter_offset] = truth.meter_gain, truth.meter_offset
    shared[layout.series] = -np.log(truth.source_resistance[live])
    return shared, np.log(truth.tunable)
