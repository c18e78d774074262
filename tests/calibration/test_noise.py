"""`noise`: rms, effective bits, hum and 1/f are those that were put in, and words say what to do about them."""

from __future__ import annotations

import numpy as np
import pytest
from benches import by_name, findings, opened

from calibration.procedure import Taken
from calibration.procedures.noise import Noise, named
from calibration.subject import subject_of
from freqprop_lab.values import Record

RATE = 20_000.0


def noisy(more_meter, frequency="1 kHz", periods=5):
    meter = "meter: {noise: 1 mV" + more_meter + "}\n"
    sampling = f"sampling: {{frequency: {frequency}, samples_per_period: 20, periods: {periods}}}\n"
    return opened(1, replaced={"meter": meter, "sampling": sampling})


def test_white_noise_of_a_millivolt():
    found = findings(noisy(""), "noise")
    told = by_name(found)
    assert found.verdict.status == "good"
    assert told["noise"].values == pytest.approx(1e-3, rel=0.03)
    # 20 V over 1 mV sqrt(12): log2 of 5773 is 12.5
    assert told["effective bits"].values == pytest.approx(12.495, abs=0.04)
    # 1 mV^2 over 10 kHz of bandwidth; 100 samples a record, b of a sine: sqrt(2 / 100)
    assert np.median(told["spectrum"].values) == pytest.approx(1e-3 / np.sqrt(RATE / 2), rel=0.03)
    assert np.median(told["noise of a reading"].values) == pytest.approx(1e-4, rel=0.05)
    assert np.median(told["noise of b"].values) == pytest.approx(1e-3 * np.sqrt(2 / 100), rel=0.05)
    assert "lines" not in told
    assert np.isnan(told["corner of 1/f"].values).all()


def test_hum_is_named_and_what_to_do_is_said():
    found = findings(noisy(", hum: 4 mV", "110 Hz", 5), "noise", samples=11_000)
    lines = by_name(found)["lines"]
    assert lines.points is not None
    assert lines.points.values == pytest.approx([50.0], abs=0.01)
    low, high = lines.interval()
    assert ((low <= 4e-3) & (high >= 4e-3)).mean() > 0.7  # of 16 channels
    assert found.verdict.status == "doubtful"
    # 11 periods of 110 Hz are 5 of 50 Hz.
    assert any("set lockin.hum: 50 Hz, or sampling.periods: 11" in words for words in found.verdict.words)


def test_hum_at_the_nudge_itself_asks_for_another_frequency():
    found = findings(noisy(", hum: 2 mV, hum_frequency: 100 Hz", "100 Hz"), "noise")
    assert any("Nudge at" in words and "harmonic 2 of 50 Hz hum" in words for words in found.verdict.words)


def test_names_of_lines():
    assert named(50.01, 0.1) == "50 Hz hum"
    assert named(180.0, 0.1) == "harmonic 3 of 60 Hz hum"
    assert named(137.2, 0.1) == "a line at 137.2 Hz"


def test_a_noisy_channel_and_1_over_f_are_named():
    """A record made by hand: white noise of 1 mV, channel 3 with 8 mV, channel 5 with a corner at 200 Hz."""
    bench = noisy("")
    subject, rng = subject_of(bench), np.random.default_rng(9)
    volts = 1e-3 * rng.standard_normal((16, 20_000))
    volts[3] *= 8
    f = np.fft.rfftfreq(20_000, 1 / RATE)
    spectrum = np.fft.rfft(volts[5])
    spectrum[1:] *= np.sqrt(1 + 200 / f[1:])
    volts[5] = np.fft.irfft(spectrum, 20_000)
    nothing = np.zeros(16)
    taken = Taken(Record(volts, RATE, nothing, nothing, nothing), subject.conductances, 1000.0)
    found = Noise().evaluate(subject, [], [taken])
    assert any("meter/3 (node n3) has 8" in words for words in found.verdict.words)
    corner = by_name(found)["corner of 1/f"]
    assert np.flatnonzero(np.isfinite(corner.values)).tolist() == [5]
    assert corner.values[5] == pytest.approx(200, abs=4 * corner.standard_uncertainty[5])
    assert any("1/f noise rules at meter/5" in words for words in found.verdict.words)
