"""The lock-in against pencil work, the paper's integrals, and the scatter of many noisy records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from records import FREQUENCY, HandMade, read, record

from freqprop_lab.lockin import demodulate
from freqprop_lab.waveform import RectifiedSine, Sampled, Sine, Triangle, TwoTone

approx = pytest.approx

# Band-limited, or evaluated as they are: read exactly.
EXACT = [Sine(), RectifiedSine(), RectifiedSine(centred=True), TwoTone(), TwoTone(0.6, 1.5), Triangle()]
EXACT += [Sampled([0.0, 1.0, 0.5, -2.0, 0.3, 0.7, 0.1])]
waveforms = pytest.mark.parametrize("waveform", EXACT, ids=lambda waveform: waveform.name)


@dataclass(frozen=True)
class Staircase(HandMade):
    """0, 1, 0, -1 at the four quarters of a period."""

    name = "staircase"

    def at(self, phase):
        return np.array([0.0, 1.0, 0.0, -1.0])[np.rint(4 * phase).astype(int) % 4]


def test_a_b_and_their_standard_errors_for_four_samples():
    response = demodulate([[2.1, 1.5, 1.9, 2.5]], 4.0, Staircase(), 1.0, synchronised=True, method="projection")
    # a = 8.0 / 4, b = (1.5 - 2.5) / 2; residual 0.1, 0, -0.1, 0, so sigma^2 = 0.02 / (4 - 2)
    assert response.a == approx([2.0])
    assert response.b == approx([-0.5])
    assert response.noise == approx([0.1])
    assert response.a_stderr == approx([0.05])
    assert response.b_stderr == approx([0.1 / np.sqrt(2)])
    assert response.ab_covariance == approx([0.0], abs=1e-18)


def test_the_rectified_sine_at_four_samples_by_the_normal_equations():
    response = demodulate([[1.0, 2.0, 4.0, 3.0]], 4.0, RectifiedSine(), 1.0, synchronised=True, method="projection")
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
        {"synchronised": True, "method": "projection"},
        {"delays": [0.0, 1e-3, 2e-3]},
        {},
        {"method": "kink"},
    ],
    ids=["synchronised", "projection", "delays", "unknown", "kink"],
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
        # mean 4/pi - 1, mean square 3 - 8/pi, four times the variance
        (RectifiedSine(centred=True), -0.7211, 1.1970, 2.6395),
        # mean 0, mean square 1.4225 / 2 over the peak squared, 1.43375^2
        (TwoTone(), 0.0, 1.0, 2.8902),
    ],
    ids=lambda value: getattr(value, "name", ""),
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


# mean, 1/var and mean square/var of each by hand, as above.
@pytest.mark.parametrize(
    ("waveform", "cov_ab", "var_a", "var_b"),
    [
        (RectifiedSine(), -6.721, 5.279, 10.558),
        (RectifiedSine(centred=True), -0.7211, 1.1970, 2.6395),
        (TwoTone(), 0.0, 1.0, 2.8902),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize(("b", "delay", "shared"), [(1.0, 0.025, False), (-1.0, 0.525, False), (1.0, 0.31, True)])
def test_an_unknown_delay_costs_nothing_but_the_sign(waveform, cov_ab, var_a, var_b, b, delay, shared):
    n_records, sigma = 4000, 1e-3
    volts = noisy(waveform, n_records, sigma, b=b, delay=delay)[:, None]
    response = read(volts, waveform, shared_delay=shared)
    unit = sigma**2 / 100
    scatter = np.cov(response.a[:, 0], response.b[:, 0]) / unit
    # 4000 records know a variance to 2.2 %; 20 samples a period know |sin|'s moments to 0.5 %.
    assert np.diag(scatter) == approx([var_a, var_b], rel=0.09)
    assert scatter[0, 1] == approx(cov_ab, rel=0.09, abs=0.12)
    assert response.covariance.mean(axis=(0, 1)) / unit == approx(
        np.array([[var_a, cov_ab], [cov_ab, var_b]]), rel=0.03, abs=1e-6
    )
    assert response.delay is not None
    apart = (response.delay[:, 0] * FREQUENCY - delay + 0.5) % 1 - 0.5
    # sigma / (|b| sqrt(N <f'^2>)); <f'^2> = (2 pi)^2 (1 + 4 k^2) / 2 / peak^2, or pi^2 / 2, four times that centred.
    bend = {"two-tone": 2 * np.pi**2 * 2.69 / 1.43375**2, "abs-sine": np.pi**2 / 2}.get(waveform.name, 2 * np.pi**2)
    assert apart.std() == approx(sigma / np.sqrt(100 * bend), rel=0.09)
    assert apart.mean() == approx(0, abs=4 * sigma / np.sqrt(100 * bend * n_records))
    assert response.delay_stderr is not None
    assert response.delay_stderr.mean() * FREQUENCY == approx(sigma / np.sqrt(100 * bend), rel=0.03)


def test_noise_and_sign_are_found_at_moderate_snr():
    response = read(noisy(RectifiedSine(), 500, 0.05, b=-1.0, delay=0.4), RectifiedSine())
    assert (response.b < 0).all()
    assert response.noise is not None
    assert np.mean(response.noise) == approx(0.05, rel=0.02)


def test_a_shared_delay_has_the_information_of_all_channels():
    sigma, b = 1e-3, np.array([1.0, 0.5, 0.1, 0.0])
    rng = np.random.default_rng(8)
    clean = record(TwoTone(), 0.0, b, 0.4)
    response = read(clean + rng.normal(scale=sigma, size=(1500, 4, 100)), TwoTone(), shared_delay=True)
    # <f'^2> as above; the information of the channels adds up as b^2: 1.26
    expected = sigma / np.sqrt(100 * 2 * np.pi**2 * 2.69 / 1.43375**2 * 1.26)
    assert response.delay is not None
    assert response.delay_stderr is not None
    assert (response.delay[:, 0] * FREQUENCY).std() == approx(expected, rel=0.09)
    assert response.delay_stderr.mean() * FREQUENCY == approx(expected, rel=0.03)
    # The noise's degrees of freedom: a and b of each channel, a quarter of the delay. sqrt of a variance: minus 1/4n.
    assert response.noise is not None
    assert (response.noise**2).mean() == approx(sigma**2, rel=4 * np.sqrt(2 / (97.75 * 6000)))
    assert response.b.std(axis=0) == approx(np.full(4, sigma * np.sqrt(2.8902 / 100)), rel=0.09)


@pytest.mark.parametrize("how", [{}, {"synchronised": True}, {"drift": 1}, {"second_order": True}], ids=str)
@pytest.mark.parametrize("n_periods", [5, 4.3])
@pytest.mark.parametrize("waveform", [TwoTone(), RectifiedSine()], ids=lambda waveform: waveform.name)
def test_the_mean_square_residual_is_the_variance_of_the_noise(waveform, n_periods, how):
    rng = np.random.default_rng(9)
    clean = record(waveform, 0.7, 1.0, 0.0 if "synchronised" in how else 0.3, n_periods)
    volts = clean + rng.normal(scale=0.01, size=(1500, clean.shape[1]))
    response = read(volts[:, None], waveform, **how)
    assert response.noise is not None
    # chi squared of about 96, or 82, degrees of freedom in each of 1500
    assert (response.noise**2).mean() == approx(1e-4, rel=4.5 * np.sqrt(2 / (80 * 1500)))


def good() -> np.ndarray:
    return record(RectifiedSine(), [1.0, 2.0], [1.0, 1.0])


def test_the_record_of_the_caller_stays_as_it_was():
    volts = good()
    before = volts.copy()
    read(volts, RectifiedSine())
    read(volts, RectifiedSine(), synchronised=True)
    assert (volts == before).all()
