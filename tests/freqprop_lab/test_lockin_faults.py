"""Records with more in them than nudge and white noise: gaps, drift, hum, clocks, second order, spikes; and flags."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import FREQUENCY, read, record, turned

from freqprop_lab.lockin import demodulate
from freqprop_lab.values import Flag
from freqprop_lab.waveform import Pulse, RectifiedSine, Sawtooth, Sine, TwoTone

approx = pytest.approx

A, B, DELAY = np.array([0.7, -1.0, 0.0]), np.array([0.3, -0.2, 1.0]), np.array([0.1, 0.45, 0.8])
both = pytest.mark.parametrize(
    "waveform", [TwoTone(), RectifiedSine(), RectifiedSine(centred=True)], ids=lambda w: w.name
)
delays = pytest.mark.parametrize(
    "how",
    [{}, {"delays": DELAY / FREQUENCY}, {"skews": DELAY / FREQUENCY, "shared_delay": True}],
    ids=["each", "known", "shared"],
)


@both
@delays
@pytest.mark.parametrize("n_periods", [10, 9.3])
def test_samples_that_are_missing_cost_nothing_without_noise(waveform, how, n_periods):
    volts = record(waveform, A, B, DELAY, n_periods)
    valid = np.random.default_rng(1).uniform(size=volts.shape) > 0.3
    volts[~valid] = np.nan
    response = read(volts, waveform, valid=valid, **how)
    assert response.a == approx(A, abs=1e-10)
    assert response.b == approx(B, abs=1e-10)
    assert response.flagged(Flag.MISSING).all()
    assert not (response.flags & ~np.uint8(Flag.MISSING)).any()


def test_a_mask_of_the_samples_is_one_for_all_channels_and_records():
    volts = np.stack([record(TwoTone(), A, B, DELAY)] * 2)
    valid = np.arange(100) % 7 != 3
    volts[..., ~valid] = np.nan
    response = read(volts, TwoTone(), valid=valid)
    assert response.b == approx(np.stack([B, B]), abs=1e-10)
    assert response.flagged(Flag.MISSING).all()


def test_a_mask_that_leaves_nothing_out_changes_nothing():
    volts = record(TwoTone(), A, B, DELAY) + np.random.default_rng(3).normal(scale=0.01, size=(3, 100))
    with_mask, without = (read(volts, TwoTone(), valid=valid) for valid in (np.ones((3, 100), dtype=bool), None))
    assert (with_mask.b == without.b).all()
    assert not with_mask.flagged(Flag.MISSING).any()


@both
def test_only_channels_with_gaps_are_flagged(waveform):
    volts = record(waveform, A, B, DELAY)
    valid = np.ones(volts.shape, dtype=bool)
    valid[1, 5] = False
    response = read(volts, waveform, valid=valid)
    assert response.flagged(Flag.MISSING).tolist() == [False, True, False]


def test_what_is_missing_widens_the_standard_errors_as_fewer_samples_do():
    rng = np.random.default_rng(5)
    volts = record(TwoTone(), 0.0, 1.0, 0.3, 50) + rng.normal(scale=0.1, size=(400, 1000))
    valid = np.tile(np.arange(1000) % 2 == 0, (400, 1))
    response = read(volts[:, None], TwoTone(), valid=valid[:, None])
    # Every other sample: 500 of them, still ten a period. var f = 1 / 2.8902
    assert response.b_stderr.mean() == approx(0.1 * np.sqrt(2.8902 / 500), rel=0.02)
    assert response.b.std() == approx(0.1 * np.sqrt(2.8902 / 500), rel=0.15)


@both
@delays
@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("n_periods", [10, 9.3])
def test_a_drifting_level_is_fitted_and_a_is_its_mean_over_the_record(waveform, how, degree, n_periods):
    volts = record(waveform, A, B, DELAY, n_periods)
    # Polynomials of mean zero over the samples, the last sample a sample's width before the end.
    place = np.linspace(-1, 1, volts.shape[1])
    level = {1: place, 2: place**2, 3: place**3 - 0.2 * place**2}[degree]
    level = 5 * (level - level.mean())
    response = read(volts + level, waveform, drift=degree, **how)
    assert response.a == approx(A, abs=1e-10)
    assert response.b == approx(B, abs=1e-10)


@both
@delays
@pytest.mark.parametrize("mains", [50.0, 49.93, 50.2])
def test_hum_of_ten_b_and_an_unknown_frequency_changes_nothing(waveform, how, mains):
    # 40 periods of 100 Hz: 0.4 s, so 50 Hz stands 20 cycles from the nudge; its second harmonic would stand upon it.
    volts = record(waveform, A, B, DELAY, 40)
    t = np.arange(volts.shape[1]) / (20 * FREQUENCY)
    hum = 10 * B[:, None] * np.cos(2 * np.pi * mains * t + np.array([[0.0], [1.0], [2.0]]))
    response = read(volts + hum, waveform, hum=50.0, hum_harmonics=1, **how)
    assert response.a == approx(A, abs=1e-7)
    assert response.b == approx(B, abs=1e-7)
    assert not response.flags.any()


def test_three_harmonics_of_hum_at_a_rate_that_meets_none_of_the_nudge():
    t = np.arange(2000) / 1000.0
    clean = 0.4 + np.array([[0.2], [-0.1]]) * TwoTone().at(83.0 * t + 0.3)
    hum = sum(np.cos(2 * np.pi * 50.03 * k * t + k) / k for k in (1, 2, 3))
    from freqprop_lab.lockin import demodulate

    response = demodulate(clean + hum, 1000.0, TwoTone(), 83.0, synchronised=False, hum=50.0)
    assert response.b == approx([0.2, -0.1], abs=1e-8)
    assert response.a == approx([0.4, 0.4], abs=1e-8)


@both
@delays
@pytest.mark.parametrize("off", [3e-3, -2e-3, 1e-5])
def test_a_clock_that_differs_is_found_and_returned(waveform, how, off):
    # 20 periods: 0.3 % is a twentieth of a period over the record.
    true = FREQUENCY * (1 + off)
    t = np.arange(400) / 2000.0
    late = DELAY[:, None] / FREQUENCY
    volts = A[:, None] + B[:, None] * waveform.at(true * (t + late))
    response = read(volts, waveform, fit_frequency=True, **how)
    assert response.frequency is not None
    assert float(response.frequency) == approx(true, rel=1e-9)
    assert response.a == approx(A, abs=1e-9)
    assert response.b == approx(B, abs=1e-9)
    assert not response.flags.any()


def test_each_record_of_a_batch_has_a_frequency_of_its_own():
    t = np.arange(400) / 2000.0
    volts = np.stack([B[:, None] * TwoTone().at(FREQUENCY * (1 + off) * t + 0.2) for off in (1e-3, -1e-3)])
    response = read(volts, TwoTone(), fit_frequency=True)
    assert response.frequency == approx([100.1, 99.9], rel=1e-9)
    assert response.b == approx(np.stack([B, B]), abs=1e-9)


@pytest.mark.parametrize("waveform", [TwoTone(), RectifiedSine(), RectifiedSine(centred=True)], ids=lambda w: w.name)
@given(share=st.floats(-0.2, 0.2), delay=st.floats(0, 1), n_periods=st.sampled_from([5, 4.3]), known=st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_second_order_leaves_b_exact(waveform, share, delay, n_periods, known):
    f = (record(waveform, 0.0, 1.0, delay, n_periods))[0]
    b = np.array([0.3, -2.0])
    volts = 0.7 + b[:, None] * f + share * b[:, None] * f**2
    how = {"delays": np.full(2, delay / FREQUENCY)} if known else {}
    response = read(volts, waveform, second_order=True, **how)
    assert response.b == approx(b, abs=1e-10)
    assert response.a == approx([0.7, 0.7], abs=1e-10)


def test_without_it_the_second_order_adds_its_covariance_with_f_over_the_variance():
    c = 0.1
    for waveform, per_b in ((RectifiedSine(), 1.12), (RectifiedSine(centred=True), 0.24), (TwoTone(), 0.0)):
        f = record(waveform, 0.0, 1.0, 0.0, 5, 200)[0]
        response = read((f + c * f**2)[None], waveform, per_period=200, synchronised=True)
        assert response.b == approx([1 + c * per_b], abs=5e-4)  # the note's column, to its digits


@pytest.mark.parametrize("waveform", [TwoTone(), RectifiedSine(), Sine()], ids=lambda w: w.name)
@pytest.mark.parametrize("n_periods", [25, 24.4])
def test_spikes_are_left_out_where_that_is_asked_for(waveform, n_periods):
    rng = np.random.default_rng(6)
    sigma, n_records = 0.01, 300
    clean = record(waveform, 0.5, 0.3, 0.0, n_periods)
    volts = clean + rng.normal(scale=sigma, size=(n_records, clean.shape[1]))
    spikes = rng.uniform(size=volts.shape) < 0.01
    volts = volts + spikes * 100 * sigma * rng.choice([-1.0, 1.0], size=volts.shape)
    robust, plain = (read(volts, waveform, synchronised=True, robust=robust) for robust in (True, False))
    bound = sigma / np.sqrt(clean.shape[1] * waveform.variance)
    # 300 records know a scatter to 4 %; the issue allows 15 % above the bound
    assert bound * 0.88 < np.sqrt(((robust.b - 0.3) ** 2).mean()) < 1.15 * bound * 1.12
    assert np.sqrt(((plain.b - 0.3) ** 2).mean()) > 5 * bound
    assert (np.abs(robust.b - 0.3) < 2 * robust.b_stderr).mean() == approx(0.954, abs=0.04)


def test_a_robust_reading_without_spikes_or_noise_is_exact():
    volts = record(TwoTone(), A, B, DELAY)
    response = read(volts, TwoTone(), robust=True)
    assert response.b == approx(B, abs=1e-10)
    assert not response.flags.any()


def test_everything_at_once():
    rng = np.random.default_rng(7)
    true = FREQUENCY * (1 + 5e-4)
    t = np.arange(2000) / 2000.0
    clean = A[:, None] + B[:, None] * TwoTone().at(true * (t + DELAY[:, None] / FREQUENCY))
    hum = 0.5 * np.sin(2 * np.pi * 60.1 * t + 1) + 0.2 * np.cos(2 * np.pi * 3 * 60.1 * t)
    place = np.linspace(-1, 1, 2000)
    volts = clean + hum + 0.3 * place + rng.normal(scale=0.01, size=clean.shape)
    valid = rng.uniform(size=clean.shape) > 0.1
    volts[rng.uniform(size=clean.shape) < 0.01] += 1.0
    volts[~valid] = np.nan
    response = read(volts, TwoTone(), hum=60.0, drift=1, fit_frequency=True, robust=True, valid=valid)
    assert (np.abs(response.a - A) < 4 * response.a_stderr).all()
    assert (np.abs(response.b - B) < 4 * response.b_stderr).all()
    # White noise of 1790 samples, var f = 1 / 2.8902
    assert response.b_stderr == approx(np.full(3, 0.01 * np.sqrt(2.8902 / 1782)), rel=0.1)


# Flags


@both
@pytest.mark.parametrize("synchronised", [True, False])
def test_an_exponential_tail_is_flagged_as_not_settled(waveform, synchronised):
    volts = record(waveform, 0.5, 0.3, 0.0, 10)
    t = np.arange(200) / 2000.0
    rng = np.random.default_rng(2)
    volts = volts + 0.05 * np.exp(-t / 0.02) + rng.normal(scale=1e-3, size=200)
    response = read(volts, waveform, synchronised=synchronised)
    assert response.flagged(Flag.NOT_SETTLED).all()
    assert not response.flagged(Flag.WRONG_FREQUENCY).any()


@both
@pytest.mark.parametrize("synchronised", [True, False])
def test_a_frequency_that_is_off_is_flagged(waveform, synchronised):
    t = np.arange(400) / 2000.0
    rng = np.random.default_rng(2)
    volts = 0.5 + 0.3 * waveform.at(1.003 * FREQUENCY * t) + rng.normal(scale=1e-3, size=400)
    response = read(volts[None], waveform, synchronised=synchronised)
    assert response.flagged(Flag.WRONG_FREQUENCY).all()
    assert not response.flagged(Flag.NOT_SETTLED).any()


@pytest.mark.parametrize(
    "waveform", [TwoTone(), RectifiedSine(), RectifiedSine(centred=True), Pulse(), Sawtooth()], ids=lambda w: w.name
)
@pytest.mark.parametrize(("n_periods", "per_period"), [(10, 20), (9.3, 20), (9.3, 17.7)])
@pytest.mark.parametrize("sigma", [0.1, 1e-3, 1e-7, 0.0])
def test_clean_records_are_not_flagged(waveform, n_periods, per_period, sigma):
    rng = np.random.default_rng(12)
    clean = record(waveform, 0.5, 1.0, rng.uniform(size=500), n_periods, per_period)
    volts = clean + rng.normal(size=clean.shape) * sigma
    flags = read(volts, waveform, per_period=per_period).flags
    assert [Flag(int(flag)) for flag in np.unique(flags[flags > 0])] == []


@pytest.mark.parametrize("waveform", [Sine(), TwoTone(), RectifiedSine(), Pulse()], ids=lambda w: w.name)
def test_clean_synchronised_records_are_not_flagged(waveform):
    rng = np.random.default_rng(12)
    clean = record(waveform, 0.5, 1.0, 0.0, 10)
    volts = clean + rng.normal(scale=0.1, size=(2000, clean.shape[1]))
    assert not read(volts, waveform, synchronised=True).flags.any()


def test_a_weak_signal_is_flagged_as_ambiguous_and_its_standard_error_covers_the_other_sign():
    rng = np.random.default_rng(13)
    n_records, b = 1500, 0.1
    clean = record(RectifiedSine(), 0.5, b, 0.3, 10, 20)
    response = read(clean + rng.normal(scale=0.3, size=(n_records, 200)), RectifiedSine())
    ambiguous = response.flagged(Flag.SIGN_AMBIGUOUS)
    assert ambiguous.mean() > 0.9
    wrong = response.b < 0
    assert 0.2 < wrong.mean() < 0.6  # an SNR of 1/3 with |sin|: a third to a half
    # A wrong sign is 2 b away: the standard error covers that, 95 % of the time at least.
    assert (np.abs(response.b - b)[wrong & ambiguous] < 2 * response.b_stderr[wrong & ambiguous]).mean() > 0.95
    assert (np.abs(response.a - 0.5)[wrong & ambiguous] < 2 * response.a_stderr[wrong & ambiguous]).mean() > 0.95
    assert response.sign_confidence is not None
    assert (response.sign_confidence[ambiguous] < 0.99).all()
    assert response.sign_confidence.mean() == approx(1 - wrong.mean(), abs=0.1)


# Channels that say nothing


@pytest.mark.parametrize("level", [0.0, 1.0, -3.7, 1e3])
@pytest.mark.parametrize(
    ("waveform", "how"),
    [
        (TwoTone(), {}),
        (RectifiedSine(), {}),
        (Pulse(), {}),
        (Sawtooth(), {}),
        (Sine(), {"synchronised": True}),
        (TwoTone(), {"shared_delay": True}),
        (RectifiedSine(), {"shared_delay": True}),
        (TwoTone(), {"second_order": True}),
        (TwoTone(), {"robust": True}),
        (TwoTone(), {"fit_frequency": True}),
        (TwoTone(), {"drift": 2}),
        (TwoTone(), {"hum": 37.0, "hum_harmonics": 1}),
    ],
    ids=lambda value: getattr(value, "name", "-".join(value) if isinstance(value, dict) else ""),
)
@pytest.mark.parametrize("n_periods", [5, 4.3])
def test_constant_channels_have_no_b_and_that_for_certain(waveform, how, level, n_periods):
    volts = np.full((2, round(20 * n_periods)), level)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        response = read(volts, waveform, **how)
    assert response.a == approx(np.full(2, level), abs=1e-11 * max(1, abs(level)))
    assert response.b == approx(np.zeros(2), abs=1e-11 * max(1, abs(level)))
    assert np.isfinite(response.covariance).all()
    assert (response.b_stderr <= 1e-10 * max(1, abs(level))).all()
    assert not (response.flags & ~np.uint8(Flag.SIGN_AMBIGUOUS)).any()


@pytest.mark.parametrize("how", [{}, {"shared_delay": True}, {"drift": 1}, {"second_order": True}], ids=str)
@both
def test_a_constant_channel_beside_others_does_not_disturb_them(waveform, how):
    volts = record(waveform, A, B, 0.3)
    volts[1] = 0.25
    response = read(volts, waveform, **how)
    assert response.b == approx([B[0], 0.0, B[2]], abs=1e-10)
    assert response.a == approx([A[0], 0.25, A[2]], abs=1e-10)


@both
@pytest.mark.parametrize("n_periods", [10, 9.3])
@pytest.mark.parametrize("how", [{}, {"synchronised": True}, {"shared_delay": True}], ids=str)
def test_a_small_signal_on_a_large_level_keeps_its_digits(waveform, n_periods, how):
    # 1e3 V in float64 is known to 1.1e-13 V, so 1e-6 V of b to about 1e-7 of itself.
    volts = record(waveform, 1e3, [1e-6, -1e-6], 0.0 if "synchronised" in how else 0.3, n_periods)
    response = read(volts, waveform, **how)
    assert response.b == approx([1e-6, -1e-6], rel=1e-5)
    assert response.a == approx([1e3, 1e3], abs=1e-11)
    assert (response.b_stderr < 1e-12).all()
    assert not response.flagged(Flag.SIGN_AMBIGUOUS).any()
    assert turned(
        0 if response.delay is None else response.delay * FREQUENCY, 0 if response.delay is None else 0.3
    ) == approx(0, abs=1e-5)


def test_a_projection_flags_halves_that_differ_and_nothing_else():
    n_samples, rng = 1000, np.random.default_rng(12)
    f = Sine().at(np.arange(n_samples) / 100)
    clean = 1.0 + 0.5 * f + 0.1 * rng.standard_normal((500, n_samples))
    tail = np.exp(-np.arange(n_samples) / 200)
    growing = np.where(np.arange(n_samples) < n_samples // 2, 0.4, 0.6)
    for volts, flagged in ((clean, 0), (clean + tail, 500), (clean + (growing - 0.5) * f, 500)):
        found = demodulate(volts, 48e3, Sine(), 480.0, synchronised=True, method="projection")
        assert found.flagged(Flag.NOT_SETTLED).sum() == flagged
