"""`bias`: pickup against the hidden truth, and what its subtraction is worth."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gradient_bench import FILE, RESISTOR, findings, opened, quantity
from pytest import approx

from calibration.errors import ProcedureError
from calibration.procedure import Taken
from calibration.registry import make_procedure
from calibration.subject import subject_of
from freqprop_lab.bench import open_bench
from freqprop_lab.config import check_bench, parse_yaml
from freqprop_lab.values import Record
from freqprop_lab.waveform import Sine

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from _bias_floor import PICKUP, final_error


def test_the_pickup_of_every_channel_is_within_its_doubt():
    deviations = []
    for seed in range(8):
        with opened(seed, "meter: {noise: 1 mV, pickup: 2 mV}") as bench:
            pickup = quantity(findings(bench, "bias", samples=2000), "pickup")
            deviations.append((pickup.values - bench.truth().meter_pickup) / pickup.standard_uncertainty)
            # 4 records of 2000 samples: 1 mV sqrt(2 / 8000)
            assert pickup.standard_uncertainty == approx(np.full(16, 1e-3 * np.sqrt(2 / 8000)), rel=0.05)
    z = np.concatenate(deviations)
    assert np.std(z) == approx(1.0, abs=0.25)  # 128 values: 6 %
    assert (np.abs(z) < 1.96).mean() >= 0.89


def test_the_update_bias_is_a_times_the_pickup_across_each_element():
    with opened(3, "meter: {pickup: 2 mV}") as bench:
        found = findings(bench, "bias", samples=200)
        pickup, network = bench.truth().meter_pickup, bench.network
        free = []  # by the circuit itself, the generator off
        for row in found.arrays["levels"]:
            circuit, live = bench.breadboard.linear_circuit(row)
            free.append(network.across_tunable(circuit.operating_point(row[live])))
        expected = (np.array(free) * network.across_tunable(pickup)).mean(axis=0)
    assert quantity(found, "update bias").values == approx(expected, abs=1e-9)


def test_a_quiet_bench_says_so():
    with opened(4) as bench:
        verdict = findings(bench, "bias", samples=2000).verdict
    assert verdict.status == "good"
    assert verdict.words[0].startswith("no pickup beyond ")


def test_a_pickup_is_named_with_its_channel_and_what_it_does():
    with opened(4, "meter: {noise: 1 mV, pickup: 2 mV}") as bench:
        found = findings(bench, "bias", samples=2000)
        worst = bench.network.nodes[int(np.argmax(np.abs(bench.truth().meter_pickup)))]
    assert found.verdict.status == "good"
    assert f"(node {worst})" in found.verdict.words[0]
    assert found.verdict.words[1].startswith("it is the same at 4 sets of levels")


def with_pickup(subject, measured, by_level):
    """Return records in which one channel picks up `by_level`, V, of the nudge, a number a record."""
    taken, rng = [], np.random.default_rng(21)
    for one, size in zip(measured, by_level, strict=True):
        n_samples = 20 * one.n_periods
        volts = 1e-3 * rng.standard_normal((16, n_samples))
        volts[5] += size * Sine().at(np.arange(n_samples) / 20)
        nothing = np.zeros(16)
        taken.append(Taken(Record(volts, 2000.0, nothing, nothing, nothing), subject.conductances, 100.0))
    return taken


def test_a_pickup_that_depends_on_the_levels_is_refused_as_a_correction():
    with opened(4) as bench:
        subject = subject_of(bench)
    procedure = make_procedure("bias", samples=2000)
    measured = procedure.measurements(subject)
    found = procedure.evaluate(subject, measured, with_pickup(subject, measured, [1e-3, 2e-3, 3e-3, 2e-3]))
    assert found.verdict.status == "bad"
    assert "depends on the levels, at meter/5 (node n5) by 2" in found.verdict.words[0]
    assert found.outcome["holds_at_all_levels"] is False
    pickup = quantity(found, "pickup")
    assert pickup.values[5] == approx(2e-3, abs=1e-4)
    assert pickup.type_b[5] == approx(2e-3 / np.sqrt(12), rel=0.1)
    assert not pickup.type_b[:5].any()
    steady = procedure.evaluate(subject, measured, with_pickup(subject, measured, [2e-3] * 4))
    assert steady.verdict.status == "good"


def test_what_a_correction_subtracts_already_is_not_found_again():
    with opened(4, "meter: {noise: 1 mV, pickup: 2 mV}") as bench:
        subject = replace(subject_of(bench), pickup=bench.truth().meter_pickup)
        procedure = make_procedure("bias", samples=2000)
        process = procedure.process(subject)
        taken, wanted = [], next(process)
        try:
            while True:
                record = bench.measure_channels(wanted.drive, wanted.n_periods)
                wanted = process.send(Taken(record, subject.conductances, 100.0))
                taken.append(record)
        except StopIteration as finished:
            found = finished.value
    assert found.verdict.words[0].startswith("no pickup beyond ")


def test_an_unsynchronised_bench_is_told_what_to_wire():
    with opened(4, "meter: {synchronised: false}") as bench, pytest.raises(ProcedureError, match="Wire a trigger"):
        findings(bench, "bias")


def test_training_stops_at_a_floor_which_the_subtraction_takes_away():
    """10 seeds: benchmarks/calibration_gradient.py."""
    for trial in range(2):
        floor = final_error(trial, pickup=PICKUP, corrected=False, epochs=120)
        assert floor > 5 * final_error(trial, pickup=PICKUP, corrected=True, epochs=120)


def test_a_bench_without_tunable_elements_has_its_pickup_told(tmp_path):
    (tmp_path / "network.csv").write_text(
        "name,plus,minus,kind,value\nR1,a,b,resistor,1 kOhm\nR2,b,ground,resistor,2 kOhm\n"
    )
    text = FILE.format(seed=3, inputs=RESISTOR, nudge=RESISTOR, frequency="100 Hz", more="meter: {pickup: 5 mV}")
    kind = "{kind: csv, file: network.csv, inputs: [[a]], outputs: [[b]]}"
    text = re.sub(r"network: .*", f"network: {kind}", text)
    with open_bench(check_bench(parse_yaml(text, tmp_path / "bench.yaml"), tmp_path)) as bench:
        found = findings(bench, "bias", samples=200)
        assert quantity(found, "pickup").values == approx(bench.truth().meter_pickup, abs=1e-12)
        assert found.verdict.words[1].endswith("subtracted once this record is in use")
