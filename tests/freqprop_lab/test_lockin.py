"""The lock-in against pencil work, the paper's integrals, and the scatter of many noisy records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freqprop_lab.lockin import demodulate, refuse_unidentifiable
from freqprop_lab.waveform import RectifiedSine, Sine, Waveform

approx = pytest.approx

RATE, FREQUENCY = 2000.0, 100.0  # 20 samples a period
waveforms = pytest.mark.parametrize("waveform", [Sine(), RectifiedSine()], ids=["sine", "abs-sine"])


@dataclass(frozen=True)
class Staircase(Waveform):
    """0, 1, 0, -1 at the four quarters of a period."""

    name = "staircase"

    def at(self, phase):
        return np.array([0.0, 1.0, 0.0, -1.0])[np.rint(4 * phase).astype(int) % 4]

    def harmonics(self, count):
        return np.full(count, np.nan + 0j)  # not asked for where the delay is known


def record(waveform, a, b, delay=0.0, n_periods=5, per_period=20):
    """V, (channel, sample), of a + b f(t + delay); a, b, delay (periods) one a channel."""
    a, b, delay = (np.atleast_1d(np.asarray(value, dtype=float))[:, None] for value in (a, b, delay))
    return a + b * waveform.at(np.arange(n_periods * per_period) / per_period + delay)


def read(volts, waveform, *, per_period=20, **more):
    more.setdefault("synchronised", False)
    return demodulate(volts, per_period * FREQUENCY, waveform, FREQUENCY, **more)


def test_a_b_and_their_standard_errors_for_four_samples():
    response = demodulate([[2.1, 1.5, 1.9, 2.5]], 4.0, Staircase(), 1.0, synchronised=True)
    # a = 8.0 / 4, b = (1.5 - 2.5) / 2; residual 0.1, 0, -0.1, 0, so sigma^2 = 0.02 / (4 - 2)
    assert response.a == approx([2.0])
    assert response.b == approx([-0.5])
    assert response.noise == approx([0.1])
    assert response.a_stderr == approx([0.05])
    assert response.b_stderr == approx([0.1 / np.sqrt(2)])
    assert response.ab_covariance == approx([0.0], abs=1e-18)


def test_the_rectified_sine_at_four_samples_by_the_normal_equations():
    response = demodulate([[1.0, 2.0, 4.0, 3.0]], 4.0, RectifiedSine(), 1.0, synchronised=True)
    # f = 0, s, 1, s with s = sqrt(1/2): sum f = 1 + 2s, sum f^2 = 2, sum v = 10, sum f v = 4 + 5s. Cramer:
    s = np.sqrt(0.5)
    sum_f = 1 + 2 * s
    determinant = 4 * 2 - sum_f**2
    a = (10 * 2 - sum_f * (4 + 5 * s)) / determinant
    b = (4 * (4 + 5 * s) - sum_f * 10) / determinant
    assert (response.a, response.b) == (approx([a]), approx([b]))
    residual = np.array([1 - a, 2 - a - b * s, 4 - a - b, 3 - a - b * s])
    variance = residual @ residual / 2
    assert response.covariance[0] == approx(variance / determinant * np.array([[2, -sum_f], [-sum_f, 4]]))


def test_equation_3_4_is_the_projection_over_whole_periods_of_a_sine():
    rng = np.random.default_rng(3)
    volts = rng.normal(size=(3, 100))
    response = read(volts, Sine(), synchronised=True)
    n = np.arange(100)
    # a = 1/T integral v dt, b = 2/T integral v sin(omega t) dt, as sums over the samples
    assert response.a == approx([sum(row) / 100 for row in volts], abs=1e-14)
    assert response.b == approx([2 / 100 * sum(row * np.sin(2 * np.pi * n / 20)) for row in volts], abs=1e-14)


@waveforms
def test_noiseless_records_are_read_exactly(waveform):
    a, b = np.array([0.0, 1.5, -3.0, 100.0]), np.array([1.0, -0.25, 0.0, 1e-3])
    response = read(record(waveform, a, b), waveform, synchronised=True)
    assert response.a == approx(a, abs=1e-12)
    assert response.b == approx(b, abs=1e-12)
    assert (response.b_stderr < 1e-12).all()


@waveforms
def test_known_delays_are_taken_out_channel_by_channel(waveform):
    delay = np.array([0.0, 0.013, 0.25, 0.4])  # periods
    a, b = np.array([1.0, 2.0, -1.0, 0.5]), np.array([0.3, -0.2, 0.1, 1.0])
    response = read(record(waveform, a, b, delay), waveform, synchronised=True, delays=delay / FREQUENCY)
    assert response.a == approx(a, abs=1e-12)
    assert response.b == approx(b, abs=1e-12)


def test_a_delay_that_nobody_knows_of_costs_its_cosine():
    response = read(record(Sine(), 0.0, 1.0, 1 / 6), Sine(), synchronised=True)
    assert response.b == approx([0.5])  # cos 60 degrees


@pytest.mark.parametrize(
    "how",
    [
        {"synchronised": True},
        {"synchronised": True, "delays": [0.0, 1e-3, 2e-3]},
        {},
        {"method": "kink"},
    ],
    ids=["projection", "delays", "arch", "kink"],
)
def test_a_batch_is_read_as_each_of_its_channels(how):
    rng = np.random.default_rng(5)
    volts = record(RectifiedSine(), [1, 2, 3], [1, -1, 2], [0.1, 0.37, 0.8]) + rng.normal(scale=0.01, size=(2, 3, 100))
    together = read(volts, RectifiedSine(), **how)
    assert together.a.shape == together.b.shape == (2, 3)
    assert together.covariance.shape == (2, 3, 2, 2)
    for i in range(2):
        for j in range(3):
            one_channel = dict(how)
            if "delays" in how:
                one_channel["delays"] = how["delays"][j : j + 1]
            alone = read(volts[i, j : j + 1], RectifiedSine(), **one_channel)
            assert together.a[i, j] == approx(alone.a[0], abs=1e-14)
            assert together.b[i, j] == approx(alone.b[0], abs=1e-14)
            assert together.covariance[i, j] == approx(alone.covariance[0], rel=1e-9, nan_ok=True)


@given(
    a=st.floats(-10, 10),
    b=st.one_of(st.just(0.0), st.floats(1e-3, 10), st.floats(-10, -1e-3)),
    delay=st.floats(0, 1),
    per_period=st.sampled_from([5, 6, 7, 8, 20]),
)
def test_a_rectified_sine_of_unknown_delay_is_read_exactly(a, b, delay, per_period):
    volts = record(RectifiedSine(), a, b, delay, per_period=per_period)
    response = read(volts, RectifiedSine(), per_period=per_period)
    assert response.a == approx([a], abs=1e-10)
    assert response.b == approx([b], abs=1e-10)
    if b:
        assert response.delay is not None
        apart = (response.delay[0] * FREQUENCY - delay + 0.5) % 1 - 0.5
        assert abs(apart) < 1e-10 / abs(b)


def test_delays_beyond_a_period_are_told_modulo_the_period():
    response = read(record(RectifiedSine(), 1.0, 2.0, 3.3), RectifiedSine())
    assert response.delay == approx([0.3 / FREQUENCY])


def test_the_kink_method_is_exact_where_samples_meet_kink_and_peak():
    delay = np.array([0.0, 0.25, 0.95, 0.5])
    a, b = np.array([1.0, 2.0, -1.0, 0.0]), np.array([0.5, -0.5, 3.0, -2.0])
    response = read(record(RectifiedSine(), a, b, delay), RectifiedSine(), method="kink")
    assert response.a == approx(a, abs=1e-12)  # v at the kink, eq. 5.2
    assert response.b == approx(b, abs=1e-12)  # v at the peak less a, eq. 5.3
    assert response.delay == approx(delay / FREQUENCY, abs=1e-12)
    assert np.isnan(response.b_stderr).all()


def test_the_kink_method_between_two_samples_errs_by_the_arch_there():
    response = read(record(RectifiedSine(), 0.0, 1.0, 0.02), RectifiedSine(), method="kink")
    # The nearest sample to the kink stands 0.02 of a period from it, and so does the one next to the peak.
    assert response.a == approx([np.sin(0.02 * np.pi)], abs=1e-12)
    assert response.b == approx([np.cos(0.02 * np.pi) - np.sin(0.02 * np.pi)], abs=1e-12)


def noisy(waveform, n_records, sigma, *, per_period=20, n_periods=5, b=1.0, delay=0.0, seed=11):
    clean = record(waveform, 0.7, b, delay, n_periods, per_period)
    rng = np.random.default_rng(seed)
    return clean + rng.normal(scale=sigma, size=(n_records, n_periods * per_period))


@pytest.mark.parametrize(
    ("waveform", "cov_ab", "var_a", "var_b"),
    [
        # var f = 1/2, mean 0
        (Sine(), 0.0, 1.0, 2.0),
        # mean 2/pi, mean square 1/2, var f = 1/2 - 4/pi^2 = 0.0947: -mean/var, mean square/var, 1/var
        (RectifiedSine(), -6.721, 5.279, 10.558),
    ],
    ids=["sine", "abs-sine"],
)
def test_scatter_of_synchronised_records_agrees_with_the_claimed_covariance(waveform, cov_ab, var_a, var_b):
    n_records, sigma = 6000, 0.01
    response = read(noisy(waveform, n_records, sigma), waveform, synchronised=True)
    unit = sigma**2 / 100
    scatter = np.cov(response.a, response.b) / unit
    # 6000 records know a variance to sqrt(2 / 6000) = 1.8 %; 20 samples a period know f's mean to 0.2 %.
    assert scatter[0, 0] == approx(var_a, rel=0.08)
    assert scatter[1, 1] == approx(var_b, rel=0.08)
    assert scatter[0, 1] == approx(cov_ab, rel=0.08, abs=0.1)
    claimed = response.covariance.mean(axis=0) / unit
    assert claimed == approx(np.array([[var_a, cov_ab], [cov_ab, var_b]]), rel=0.03, abs=1e-9)
    assert np.mean(response.a) == approx(0.7, abs=4 * np.sqrt(var_a * unit / n_records))
    assert np.mean(response.b) == approx(1.0, abs=4 * np.sqrt(var_b * unit / n_records))


@pytest.mark.parametrize(("b", "delay"), [(1.0, 0.025), (-1.0, 0.525), (1.0, 0.31)])
def test_scatter_of_the_arch_reading_agrees_with_the_claimed_covariance_at_high_snr(b, delay):
    response = read(noisy(RectifiedSine(), 6000, 1e-3, b=b, delay=delay), RectifiedSine())
    scatter = np.cov(response.a, response.b)
    claimed = response.covariance.mean(axis=0)
    assert np.sqrt(np.diag(scatter)) == approx(np.sqrt(np.diag(claimed)), rel=0.05)
    assert scatter[0, 1] == approx(claimed[0, 1], rel=0.1)
    # An unknown delay costs nothing: the bound on b is that of a synchronised reading.
    assert claimed[1, 1] == approx(10.558 * 1e-6 / 100, rel=0.03)


def test_the_arch_reading_finds_noise_and_sign_at_moderate_snr():
    response = read(noisy(RectifiedSine(), 500, 0.05, b=-1.0, delay=0.4), RectifiedSine())
    assert (response.b < 0).all()
    assert response.noise is not None
    assert np.mean(response.noise) == approx(0.05, rel=0.02)


def test_an_unsynchronised_sine_is_refused_with_the_reason_and_the_way_out():
    with pytest.raises(ValueError, match="Proposition 1") as caught:
        read(record(Sine(), 0.0, 1.0), Sine())
    assert "sine" in str(caught.value)
    assert "Choose abs-sine, or synchronise the meter" in str(caught.value)
    refuse_unidentifiable(RectifiedSine())


def good() -> np.ndarray:
    return record(RectifiedSine(), [1.0, 2.0], [1.0, 1.0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_and_infinite_samples_are_refused(value):
    volts = good()
    volts[1, 7] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        read(volts, RectifiedSine(), synchronised=True)


def test_one_channel_without_its_axis_is_refused():
    with pytest.raises(ValueError, match=r"shape \(100,\).*\(channel, sample\)"):
        read(good()[0], RectifiedSine(), synchronised=True)


def test_three_samples_are_too_few():
    with pytest.raises(ValueError, match=r"3 samples a channel; .* at least 4"):
        demodulate(np.zeros((1, 3)), 3.0, Sine(), 1.0, synchronised=True)


@pytest.mark.parametrize("n_samples", [99, 110, 5])
def test_a_record_of_broken_periods_is_refused(n_samples):
    with pytest.raises(ValueError, match="must hold whole periods"):
        read(np.zeros((1, n_samples)), RectifiedSine(), synchronised=True)


@pytest.mark.parametrize("frequency", [0.0, -100.0, np.nan])
def test_a_frequency_that_is_none_is_refused(frequency):
    with pytest.raises(ValueError, match="must hold whole periods"):
        demodulate(good(), RATE, RectifiedSine(), frequency, synchronised=True)


@pytest.mark.parametrize("delays", [None, [0.0, 1 / 400]], ids=["in phase", "one channel late"])
def test_a_nudge_that_is_constant_at_the_samples_is_refused(delays):
    volts = np.ones((2, 8))
    # Two samples a period meet both zeros of the sine; a quarter of a period later they'd meet its peaks.
    with pytest.raises(ValueError, match=r"sine is constant at all 8 samples.*faster"):
        demodulate(volts, 200.0, Sine(), 100.0, synchronised=True, delays=delays)


def test_delays_must_be_one_for_each_channel():
    for delays in ([1e-3, 1e-3, 1e-3], [1e-3, np.nan]):
        with pytest.raises(ValueError, match="one finite number of seconds for each of the 2 channels"):
            read(good(), RectifiedSine(), synchronised=True, delays=delays)


def test_known_delays_of_an_unsynchronised_record_contradict_each_other():
    with pytest.raises(ValueError, match="known delays belong to synchronised records"):
        read(good(), RectifiedSine(), delays=[0.0, 0.0])


def test_a_projection_needs_synchronised_records():
    with pytest.raises(ValueError, match="synchronise the meter"):
        read(good(), RectifiedSine(), method="projection")


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match='method "fft" is none of projection, arch, kink'):
        read(good(), RectifiedSine(), method="fft")


def test_an_arch_of_four_samples_is_refused():
    with pytest.raises(ValueError, match=r"4 samples a period; .* at least 5"):
        read(record(RectifiedSine(), 0.0, 1.0, per_period=4), RectifiedSine(), per_period=4)


def test_other_identifiable_waveforms_are_not_read_without_their_delay_so_far():
    @dataclass(frozen=True)
    class TwoTone(Staircase):
        name = "two-tone"

        def harmonics(self, count):
            return np.ones(count, dtype=complex)

    with pytest.raises(ValueError, match="read with abs-sine so far, not with two-tone"):
        read(good(), TwoTone())


def test_the_record_of_the_caller_stays_as_it_was():
    volts = good()
    before = volts.copy()
    read(volts, RectifiedSine())
    read(volts, RectifiedSine(), synchronised=True)
    assert (volts == before).all()
