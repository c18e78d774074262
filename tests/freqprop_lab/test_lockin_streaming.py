"""The streaming lock-in: what it says of blocks is what `demodulate` says of all of them at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import FREQUENCY, record, turned

from freqprop_lab.lockin import LockIn, demodulate
from freqprop_lab.waveform import RectifiedSine, Sampled, Sine, TwoTone

approx = pytest.approx
RATE = 2000.0

HOW = {
    "synchronised": {"synchronised": True},
    "each": {"synchronised": False},
    "known": {"synchronised": False, "delays": [1e-3, 2e-3, 0.0]},
    "shared": {"synchronised": False, "shared_delay": True, "skews": [0.0, 1e-4, 2e-4]},
}


@pytest.mark.parametrize("how", HOW.values(), ids=list(HOW))
@pytest.mark.parametrize("waveform", [TwoTone(), Sampled([0.0, 1.0, 0.5, -2.0, 0.3])], ids=lambda w: w.name)
@given(cuts=st.lists(st.integers(0, 237), max_size=6), level=st.sampled_from([0.0, 5.0, -300.0]))
@settings(max_examples=12, deadline=None)
def test_any_split_into_blocks_says_what_the_whole_record_says(how, waveform, cuts, level):
    rng = np.random.default_rng(3)
    volts = record(waveform, level, [1.0, -0.5, 0.3], 0.13, 237 / 20)
    volts = volts + rng.normal(scale=0.01, size=volts.shape)
    lock_in = LockIn(3, RATE, waveform, FREQUENCY, **how)
    for block in np.split(volts, sorted(cuts), axis=1):
        lock_in.feed(block)
    found, whole = lock_in.response, demodulate(volts, RATE, waveform, FREQUENCY, **how)
    assert lock_in.n_samples == 237
    assert found.a == approx(whole.a, abs=1e-9)
    assert found.b == approx(whole.b, abs=1e-9)
    assert found.covariance == approx(whole.covariance, rel=1e-6, abs=1e-12)
    assert found.noise == approx(whole.noise, rel=1e-6)
    assert found.tones == approx(whole.tones, abs=1e-10)
    assert found.sign_confidence == approx(whole.sign_confidence, abs=1e-6)
    if whole.delay is None:
        assert found.delay is None
    else:
        assert turned(found.delay * FREQUENCY, whole.delay * FREQUENCY) == approx(np.zeros(3), abs=1e-8)
        assert found.delay_stderr == approx(whole.delay_stderr, rel=1e-5)


@pytest.mark.parametrize("waveform", [TwoTone(), Sine()], ids=lambda w: w.name)
def test_far_into_a_stream_it_is_still_exact(waveform):
    lock_in = LockIn(2, 1.0, waveform, 1 / 23.7, synchronised=True)
    for first in range(0, 200_000, 10_007):
        phases = (np.arange(first, min(first + 10_007, 200_000)) / 23.7) % 1
        lock_in.feed(np.array([[2.0], [-1.0]]) + np.array([[0.3], [1e-3]]) * waveform.at(phases))
    assert lock_in.n_samples == 200_000
    assert lock_in.response.a == approx([2.0, -1.0], abs=1e-10)
    assert lock_in.response.b == approx([0.3, 1e-3], abs=1e-10)


def test_an_unknown_delay_is_exact_in_a_stream_of_200_000_samples():
    lock_in = LockIn(2, 1.0, TwoTone(), 1 / 23.7, synchronised=False)
    for first in range(0, 200_000, 50_000):
        phases = (np.arange(first, first + 50_000) / 23.7 + 0.21) % 1
        lock_in.feed(np.array([[2.0], [-1.0]]) + np.array([[0.3], [-0.1]]) * TwoTone().at(phases))
    assert lock_in.response.b == approx([0.3, -0.1], abs=1e-10)
    assert lock_in.response.delay == approx(np.full(2, 0.21 * 23.7), abs=1e-8)


@pytest.mark.parametrize(("per_period", "off"), [(20, 0.0079), (100, 0.0003)])
def test_a_rectified_sine_is_read_by_its_first_four_harmonics_and_what_folds_onto_them(per_period, off):
    # 2 F_k^2 with F_k = 2 / (pi (1 - 4 k^2)), over var f: 95.1, 3.8, 0.7 and 0.2 %: four harmonics carry 99.8 %.
    F = 2 / (np.pi * (1 - 4 * np.arange(1, 5) ** 2))
    folded = np.fft.fft(np.sin(np.pi * np.arange(per_period) / per_period)).real[1:5] / per_period
    lock_in = LockIn(1, per_period * FREQUENCY, RectifiedSine(), FREQUENCY, synchronised=True)
    lock_in.feed(record(RectifiedSine(), 0.7, 0.3, 0.0, 5, per_period))
    assert lock_in.response.b == approx([0.3 * (F @ folded) / (F @ F)], rel=1e-9)
    assert lock_in.response.b == approx([0.3 * (1 + off)], rel=1e-4)


def sizes(lock_in) -> dict[str, int]:
    return {name: value.nbytes for name, value in vars(lock_in).items() if isinstance(value, np.ndarray)}


def test_its_memory_does_not_grow():
    lock_in = LockIn(2, RATE, TwoTone(), FREQUENCY, synchronised=False)
    block = record(TwoTone(), [1.0, 2.0], [1.0, 0.5], 0.2)
    before = sizes(lock_in.feed(block))
    assert before
    for _ in range(200):
        lock_in.feed(block)
        assert lock_in.response.b == approx([1.0, 0.5], abs=1e-10)
    assert sizes(lock_in) == before
    assert not [value for value in vars(lock_in).values() if isinstance(value, list | dict)]


def test_too_few_samples_say_nothing_yet():
    lock_in = LockIn(1, RATE, TwoTone(), FREQUENCY, synchronised=False, wished=1.0)
    volts = record(TwoTone(), 1.0, 1.0, 0.2)
    assert not lock_in.is_reached
    with pytest.raises(ValueError, match="0 samples so far; at least 6, and a period of the nudge"):
        _ = lock_in.response
    lock_in.feed(volts[:, :19]).feed(volts[:, :0])
    assert not lock_in.is_reached
    with pytest.raises(ValueError, match=r"19 samples so far; .* \(20 samples\), are needed"):
        _ = lock_in.response
    assert lock_in.feed(volts[:, 19:21]).response.b == approx([1.0], abs=1e-9)


def test_a_wished_standard_error_is_reached_when_the_samples_are_enough():
    rng = np.random.default_rng(5)
    sigma, wished = 0.1, 0.01
    lock_in = LockIn(2, RATE, TwoTone(), FREQUENCY, synchronised=True, wished=wished)
    while not lock_in.is_reached:
        lock_in.feed(record(TwoTone(), 0.0, [1.0, 0.5], 0.0, 1) + rng.normal(scale=sigma, size=(2, 20)))
    # sigma sqrt(2.8902 / N) = wished: N = 289; the noisier of two channels decides, known to 1 / sqrt(2 N) = 4 %
    assert lock_in.n_samples == approx(289, rel=0.35)
    assert (lock_in.response.b_stderr <= wished).all()


def test_nothing_is_reached_where_nothing_is_wished():
    lock_in = LockIn(1, RATE, TwoTone(), FREQUENCY, synchronised=True).feed(record(TwoTone(), 1.0, 1.0))
    assert not lock_in.is_reached
