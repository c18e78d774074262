"""Lines in records: found where they are, named after nothing, and taken out without taking anything else."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.reading import readings
from calibration.ripple import clear_of_mains, fitted, lines, without_lines
from freqprop_lab.values import Record

RATE = 2000.0
TIMES = np.arange(1000) / RATE


def noisy(*tones, n_channels=4, level=0.0, seed=1):
    volts = 1e-3 * np.random.default_rng(seed).standard_normal((n_channels, len(TIMES))) + level
    for frequency, amplitude in tones:
        volts = volts + amplitude * np.sin(2 * np.pi * frequency * TIMES + 1)
    return volts


def record_of(volts):
    nothing = np.zeros(len(volts))
    return Record(volts, RATE, nothing, nothing, nothing)


def test_white_noise_has_no_lines():
    assert sum(len(lines(noisy(seed=seed), RATE)) for seed in range(100)) == 0


@pytest.mark.parametrize("frequency", [50.0, 50.4, 137.2])
def test_a_line_is_found_between_the_frequencies_that_a_record_determines(frequency):
    # 0.5 s determine every 2 Hz; 2 mV in 1 mV of noise tell a line to a hundredth of that.
    assert lines(noisy((frequency, 2e-3)), RATE) == pytest.approx([frequency], abs=0.04)


def test_amplitudes_are_those_that_were_put_in():
    found = fitted(noisy((50.0, 2e-3), (150.0, 1e-3)), RATE, np.array([50.0, 150.0]))
    # sigma sqrt(2 / N) = 45 uV
    assert found.amplitudes == pytest.approx(np.tile([2e-3, 1e-3], (4, 1)), abs=4 * 45e-6)


def test_what_is_kept_stays_whole():
    volts = noisy((100.0, 0.5), (130.0, 5e-3))
    left, others = without_lines(volts, RATE, np.array([100.0]))
    assert others == pytest.approx([130.0], abs=0.04)
    kept = fitted(left, RATE, np.array([100.0, 130.0])).amplitudes
    assert kept[:, 0] == pytest.approx(0.5, abs=2e-4)
    assert kept[:, 1] == pytest.approx(0.0, abs=2e-4)


def test_hum_adds_nothing_to_a_mean_nor_to_its_doubt():
    """51 Hz in half a second: 25.5 periods, whose mean alone would be off by 2 mV x 2 / (2 pi 25.5) x up to 1."""
    means = []
    for seed in range(60):
        (mean,), (error,) = readings([record_of(noisy((51.0, 2e-3), level=0.3, seed=seed))])
        assert error == pytest.approx(1e-3 / np.sqrt(1000), rel=0.15)  # white noise's
        means.append((mean - 0.3) / error)
    assert np.std(means) == pytest.approx(1.0, abs=4 / np.sqrt(2 * 240))


def test_a_node_that_nothing_reads_stays_unknown():
    volts = noisy()
    volts[2] = np.nan
    (mean,), (error,) = readings([record_of(volts)])
    assert np.isnan(mean[2])
    assert np.isnan(error[2])
    assert np.isfinite(mean[[0, 1, 3]]).all()


def test_the_lower_frequency_keeps_off_the_mains():
    for frequency in (100.0, 120.0, 1000.0):
        lower = clear_of_mains(frequency)
        assert 0.5 * frequency <= lower <= 0.8 * frequency
        for tone in (lower, 2 * lower):
            assert min(abs(tone - k * mains) for mains in (50, 60) for k in range(1, 40)) > 2
