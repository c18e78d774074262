"""`skew`: lateness that no meter tells, whatever the network; and capacitance, which looks like it and is not."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from benches import by_name, findings, opened

from calibration.records import CalibrationRecord

SAMPLE = 1 / 20_000  # s, of the benches: 1 kHz, 20 samples a period


def late(seed=0, more_meter="hidden_skew: 3 us, skew: 1 us", more=""):
    meter = "meter: {gain_error: 2 %, offset: 5 mV, noise: 1 mV, " + more_meter + "}\n"
    return opened(seed, more=more, replaced={"meter": meter})


def true_skews(bench):
    truth = bench.truth()
    return truth.meter_delay - truth.meter_skew


def test_skews_are_those_that_the_meter_does_not_tell():
    bench = late()
    found = findings(bench, "skew")
    skew = by_name(found)["skew"]
    assert skew.unit == "s"
    assert skew.labels == tuple(bench.meter_channels.values())
    z = (skew.values - true_skews(bench)) / skew.standard_uncertainty
    assert np.abs(z).max() < 4
    assert found.verdict.status == "good"


@pytest.mark.parametrize("seed", range(3))
def test_a_signal_of_a_hundred_times_the_noise_tells_skews_to_a_hundredth_of_a_sample(seed):
    bench = late(seed)
    skew = by_name(findings(bench, "skew", volts=0.1, samples=400))["skew"]
    assert np.abs(skew.values - true_skews(bench)).max() < 0.01 * SAMPLE
    assert skew.standard_uncertainty.max() < 0.01 * SAMPLE


def test_uncertainty_is_that_of_the_slope():
    """A delay is known to sigma / (b rms slope sqrt(N)); the slope of the two-tone by its definition."""
    skew = by_name(findings(late(), "skew", volts=0.5, samples=2000))["skew"]
    k, phases = 0.65, 2 * np.pi * np.arange(1000) / 1000
    peak = np.abs(np.sin(phases) + k * np.sin(2 * phases)).max()
    slope = 2 * np.pi * 1000 * np.sqrt((1 + 4 * k**2) / 2) / peak
    shares = np.array([1.0, 0.96, 0.93, 0.89])
    expected = 1e-3 / (0.5 * slope * np.sqrt(2000)) * np.sqrt((1 / shares**2).mean() / 4)
    assert np.median(skew.type_a) == pytest.approx(expected, rel=0.1)


def test_capacitance_is_told_from_lateness_and_taken_off_once_it_is_known():
    bench = late(4, more="parts: {capacitance: 2 nF}\n")
    alone = findings(bench, "skew")
    assert alone.verdict.status == "doubtful"
    assert "capacitance" in alone.verdict.words[0]
    found = findings(bench, "relaxation")
    record = CalibrationRecord(
        procedure="relaxation",
        bench=bench.name,
        time=datetime.now(UTC),
        instruments=(),
        quantities=found.quantities,
        verdict=found.verdict,
        raw=dict(found.arrays),
    )
    together = findings(bench, "skew", {"relaxation": record})
    assert together.verdict.status == "good"
    before, after = (np.abs(by_name(each)["skew"].values - true_skews(bench)).max() for each in (alone, together))
    assert before > 0.05 * SAMPLE
    assert after < 0.01 * SAMPLE


def test_a_meter_of_its_own_clock_has_skews_relative_to_its_first_channel():
    bench = late(5, "hidden_skew: 3 us, synchronised: false, delays: common")
    found = findings(bench, "skew")
    skew, delay = by_name(found)["skew"], bench.truth().meter_delay
    assert skew.values[0] == 0
    assert skew.values == pytest.approx(delay - delay[0], abs=5e-8)
    assert "free" in found.notes


def test_a_node_that_hardly_follows_is_named():
    bench = late(6, more="faults: {unread: [n5]}\n")
    found = findings(bench, "skew")
    assert found.verdict.status == "doubtful"
    assert "n5 see less than half" in found.verdict.words[0]
