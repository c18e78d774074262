"""Records that reach the end of the range: what is cut off still says that the voltage was there or beyond."""

from __future__ import annotations

import numpy as np
import pytest

from freqprop_lab.lockin import demodulate
from freqprop_lab.values import Flag
from freqprop_lab.waveform import RectifiedSine, TwoTone

RATE, FREQUENCY, N_SAMPLES = 48e3, 480.0, 1000
PHASES = np.arange(N_SAMPLES) * FREQUENCY / RATE


def records(waveform, n_records, sigma, seed):
    """a, b, delay (periods) and V, (record, sample): sizes of b from 0.5 to 2 V, of either sign."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n_records)
    b = rng.uniform(0.5, 2, n_records) * rng.choice([-1, 1], n_records)
    delay = rng.uniform(0, 1, n_records)
    clean = a[:, None] + b[:, None] * waveform.at(PHASES + delay[:, None])
    return a, b, delay, clean + sigma * rng.standard_normal(clean.shape)


def read(volts, waveform, **more):
    return demodulate(volts, RATE, waveform, FREQUENCY, synchronised=False, **more)


@pytest.mark.parametrize("waveform", [TwoTone(), RectifiedSine()], ids=lambda waveform: waveform.name)
def test_without_noise_what_is_left_of_a_clipped_record_tells_all(waveform):
    a, b, delay, volts = records(waveform, 12, 0.0, 1)
    low, high = np.quantile(volts, [0.08, 0.84], axis=1)
    clipped = np.clip(volts, low[:, None], high[:, None])
    response = read(clipped, waveform, limits=(low, high))
    assert response.a == pytest.approx(a, abs=1e-9)
    assert response.b == pytest.approx(b, abs=1e-9)
    apart = (response.delay * FREQUENCY - delay + 0.5) % 1 - 0.5
    assert np.abs(apart).max() < 1e-9
    assert response.flagged(Flag.CLIPPED).all()


@pytest.mark.parametrize("sigma", [0.02, 0.3])
@pytest.mark.parametrize("waveform", [TwoTone(), RectifiedSine()], ids=lambda waveform: waveform.name)
def test_16_per_cent_clipped_bias_nothing_and_the_errors_are_honest(waveform, sigma):
    n_records = 150
    a, b, _, volts = records(waveform, n_records, sigma, 2)
    low, high = volts.min(axis=1) - 1, np.quantile(volts, 0.84, axis=1)
    response = read(np.minimum(volts, high[:, None]), waveform, limits=(low, high))
    sure = response.sign_confidence > 0.99
    assert sure.mean() > (0.7 if waveform == RectifiedSine() and sigma > 0.1 else 0.99)
    for found, true, stderr in ((response.b, b, response.b_stderr), (response.a, a, response.a_stderr)):
        z = ((found - true) / stderr)[sure]
        # The mean of 100 and more deviates is known to 0.1, their spread to 7 %: four of these.
        assert abs(z.mean()) < 0.4
        assert z.std() == pytest.approx(1, abs=0.28)
    assert response.noise.mean() == pytest.approx(sigma, rel=0.03)


def test_read_as_they_are_such_records_are_far_off():
    _, b, _, volts = records(TwoTone(), 50, 0.02, 2)
    high = np.quantile(volts, 0.84, axis=1)
    response = read(np.minimum(volts, high[:, None]), TwoTone())
    assert np.median(np.abs(response.b - b) / response.b_stderr) > 5


def test_a_record_within_its_range_is_read_as_without_limits():
    _, _, _, volts = records(TwoTone(), 5, 0.05, 3)
    plain, limited = read(volts, TwoTone()), read(volts, TwoTone(), limits=(-10.0, 10.0))
    assert limited.b == pytest.approx(plain.b, abs=1e-12)
    assert limited.b_stderr == pytest.approx(plain.b_stderr, rel=1e-9)
    assert not limited.flags.any()


def test_missing_samples_and_clipping_go_together():
    a, b, _, volts = records(TwoTone(), 40, 0.02, 4)
    high = np.quantile(volts, 0.84, axis=1)
    valid = np.random.default_rng(5).random(volts.shape) > 0.1
    broken = np.where(valid, np.minimum(volts, high[:, None]), np.nan)
    response = read(broken, TwoTone(), limits=(np.full(40, -10.0), high), valid=valid)
    assert response.flagged(Flag.CLIPPED).all()
    assert response.flagged(Flag.MISSING).all()
    assert np.abs((response.b - b) / response.b_stderr).max() < 5
    assert np.abs((response.a - a) / response.a_stderr).max() < 5


def test_spikes_beyond_the_range_are_no_reason_to_believe_them():
    _, b, _, volts = records(TwoTone(), 40, 0.02, 6)
    rng = np.random.default_rng(7)
    spiked = volts + 100 * 0.02 * rng.choice([-1, 1], volts.shape) * (rng.random(volts.shape) < 0.01)
    high = np.full(40, 10.0)
    response = read(spiked, TwoTone(), limits=(-high, high), robust=True)
    assert np.abs((response.b - b) / response.b_stderr).max() < 5


def test_a_channel_that_never_leaves_the_end_of_its_range_has_nothing_to_say():
    _, _, _, volts = records(TwoTone(), 2, 0.02, 8)
    volts[1] = 10.0
    response = read(volts, TwoTone(), limits=(-10.0, 10.0))
    assert response.flagged(Flag.CLIPPED).tolist() == [False, True]
    assert np.isnan(response.a[1])
    assert np.isnan(response.b[1])
    assert np.isinf(response.b_stderr[1])
    assert np.isfinite(response.b_stderr[0])
