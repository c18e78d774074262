"""The statistics of the lock-in at small n; benchmarks/lockin.py makes the same figures in full.

Seeds are fixed. Tolerances are the claim's own plus three to four standard errors at this n, so that another seed, or
another version of NumPy, would pass too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from freqprop_lab.lockin import demodulate
from freqprop_lab.values import Drive, Nudge

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import _lockin_claims as claims

SEED = 7


@pytest.mark.parametrize("waveform", [claims.TWO_TONE, claims.CENTRED], ids=lambda waveform: waveform.name)
@pytest.mark.parametrize("snr", [0.5, 30.0])
def test_the_error_of_b_is_at_the_bound_whether_the_delay_is_known_or_not(waveform, snr):
    n = 1500
    found = claims.error_over_bound(waveform, snr, n, SEED)
    spread = 1 / np.sqrt(2 * n)  # relative standard error of an rms
    assert found["right"] > 0.95
    assert found["tied"] == pytest.approx(1.0, abs=0.05 + 3 * spread)
    assert found["free"] == pytest.approx(1.0, abs=0.05 + 3 * spread)
    # The same records: only the reading differs.
    assert found["free"] <= 1.02 * found["tied"]


@pytest.mark.parametrize("case", claims.COVERED, ids=lambda case: f"{case.waveform.name}, {case.name}")
def test_intervals_hold_the_truth_as_often_as_they_say(case):
    n = 250 if "hum" in case.how or "fit_frequency" in case.how else 1000
    told = claims.coverage_of(case, n, SEED)
    for name in "ab":
        for share in (0.68, 0.95):
            spread = np.sqrt(share * (1 - share) / told["n"])
            assert told[f"{name} {share:.0%}"] == pytest.approx(share, abs=0.03 + 3.5 * spread), name


def test_two_tones_at_snr_0_3_hardly_ever_show_the_wrong_sign():
    n = 2000
    wrong = claims.share_of_wrong_signs(claims.TWO_TONE, 0.3, n, SEED)
    assert wrong <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / n)


def test_a_delay_that_16_channels_share_shows_no_wrong_sign_at_snr_0_3():
    # Its own noise turns a sign at 5.6 standard errors of b: once in 10^8.
    assert claims.share_of_wrong_signs(claims.TWO_TONE, 0.3, 250, SEED, n_sharing=16) == 0


def test_wrong_signs_are_rarer_the_larger_the_waveforms_margin():
    waveforms = (claims.PRINTED, claims.CENTRED, claims.TWO_TONE, claims.PULSE)  # D: 0.12, 0.24, 0.51, 0.82
    shares = [claims.share_of_wrong_signs(waveform, 0.2, 600, SEED) for waveform in waveforms]
    assert shares == sorted(shares, reverse=True)  # 0.42, 0.24, 0.08 and 0.006 of 4000: far apart at this n


def test_sign_confidence_is_calibrated():
    told = claims.reliability(claims.TWO_TONE, 300, SEED)
    (_, right, n), *_ = [each for each in told if 0.9 <= each[0] < 0.95]
    spread = np.sqrt(0.9 * 0.1 / n)
    assert 0.86 - 3 * spread <= right <= 0.97 + 3 * spread
    assert [right for _, right, _ in told] == sorted(right for _, right, _ in told)


def test_spikes_cost_little_where_they_are_looked_for():
    cost = claims.rms_with_spikes(3.0, 512, SEED)  # the same noise with and without: their ratio hardly scatters
    assert cost["robust"] <= 1.15
    assert cost["plain"] > 5


@pytest.mark.parametrize("snr", [3.0, 30.0])
def test_clipped_samples_do_not_bias_b_where_the_range_is_told(snr):
    n = 256
    off = claims.bias_when_clipped(snr, n, SEED)
    assert abs(off["bias"]) < 2
    assert abs(off["bias"]) < 0.25 + 3 * off["rms"] / np.sqrt(n)  # it is far better than the claim
    assert off["rms"] == pytest.approx(
        1.0, abs=0.15
    )  # and the standard error is what b scatters by; 3.4 x 1 / sqrt(2n)


def test_hum_ten_times_as_large_as_b_costs_only_its_degrees_of_freedom():
    n = 128
    cost = claims.cost_of_hum(3.0, n, SEED)
    # 7 more columns of 1000, and what little of the nudge lies along them.
    assert cost["stderr"] == pytest.approx(1.0, abs=0.01)
    assert cost["rmse"] == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(
    "synchronised",
    [pytest.param(True, id="synchronised"), pytest.param(False, id="delay unknown", marks=pytest.mark.prove)],
)
def test_noise_alone_moves_no_conductance_in_ten_thousand_steps_of_abs_sine(synchronised):
    told = claims.drift_by_noise(10_000, SEED, synchronised=synchronised)
    mean, stderr = told["subtracted"]
    assert abs(mean) < 3.5 * stderr
    as_read, stderr = told["as read"]
    assert as_read > 20 * stderr  # without it all conductances drift up


def test_a_weak_error_signal_leaves_the_product_unbiased_too():
    # At twice its standard error b is half noise. The signs of |sin| are a coin's there, so only b^2 is looked at:
    # a = mean - b <f>, and with a = 0 the bias of a b is that of -<f> b^2.
    rng, waveform, n = np.random.default_rng(SEED), claims.PRINTED, 2000
    b = claims.either_sign(rng, np.full((1, n), 2 * claims.bound_of_b(waveform)))
    truth = claims.simulated(rng, waveform, b)
    found = truth.read(waveform, synchronised=False)
    squared = found.b**2 + found.ab_bias / waveform.mean
    assert squared.mean() == pytest.approx(b[0, 0] ** 2, abs=3.5 * squared.std() / np.sqrt(n))
    assert (found.b**2).mean() > 1.3 * b[0, 0] ** 2


def test_many_channels_are_read_in_bounded_memory():
    import tracemalloc

    volts = np.random.default_rng(SEED).standard_normal((20_000, 1000))
    tracemalloc.start()
    try:
        demodulate(volts, claims.RATE, claims.TWO_TONE, claims.FREQUENCY, synchronised=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6  # beside 160 MB of input: a block of 32 MB's worth at a time, and what is returned


def test_extrapolation_on_one_pole_leaves_what_the_series_says():
    # 1 / (1 + x^2) at x^2 = q and 4q, taken to 0: (4 / (1 + q) - 1 / (1 + 4q)) / 3, off by -4 q^2 / ((1 + q)(1 + 4q)).
    q = 0.15**2
    assert claims.left_after_extrapolation((0.15, 0.3)) == pytest.approx(-4 * q**2 / ((1 + q) * (1 + 4 * q)), rel=1e-9)
    assert abs(claims.left_after_extrapolation((0.15, 0.225, 0.3))) < 2.5e-4


def test_delays_are_learned_though_sources_hold_the_inputs(bench_of):
    meter = "meter: {synchronised: false, delays: each, noise: 1 mV}"
    bench = bench_of(f"bench: numeric\n{meter}\n", seed=SEED, ports=(2, 1))
    bench.program(np.full(len(bench.network.tunable), 0.5))
    delays = bench.learn_delays([Drive(np.zeros(2), Nudge(np.full(1, 20.0), claims.TWO_TONE))])
    held = np.unique(np.concatenate(bench.network.input_ends))
    assert np.isfinite(delays).all()  # there b is 0 whatever the delay; it was refused as too weak a sign
    response = bench.respond(Drive(np.ones(2), Nudge(np.ones(1), claims.TWO_TONE)))
    assert (np.abs(response.b[held]) < 5 * response.b_stderr[held]).all()
    assert response.delay is None
