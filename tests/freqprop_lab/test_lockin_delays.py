"""The unknown delay: found exactly without noise, shared, skewed, modulo the period; tones and a slow network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import FREQUENCY, read, record, turned

from freqprop_lab.lockin import demodulate
from freqprop_lab.values import Flag
from freqprop_lab.waveform import Pulse, RectifiedSine, Sampled, Sawtooth, Sine, Square, Triangle, TwoTone

approx = pytest.approx

SEVEN = Sampled([0.0, 1.0, 0.5, -2.0, 0.3, 0.7, 0.1])
IDENTIFIABLE = [TwoTone(), TwoTone(0.6, 1.5), TwoTone(-2.0), SEVEN, RectifiedSine(), RectifiedSine(centred=True)]
sizes = st.one_of(st.floats(1e-3, 10), st.floats(-10, -1e-3))


@pytest.mark.parametrize("waveform", IDENTIFIABLE, ids=lambda waveform: waveform.name)
@given(
    a=st.floats(-10, 10),
    b=st.lists(sizes, min_size=1, max_size=3),
    delay=st.floats(-2, 2),
    per_period=st.sampled_from([8, 9, 20, 7.3, 12.5, 31.4159]),
    n_periods=st.floats(2, 6),
    whole=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_b_and_delay_are_exact_without_noise(waveform, a, b, delay, per_period, n_periods, whole):
    """Also where the record holds no whole number of periods, or a period no whole number of samples."""
    n_periods = round(n_periods) if whole else n_periods
    delays = delay + 0.31 * np.arange(len(b))
    response = read(record(waveform, a, b, delays, n_periods, per_period), waveform, per_period=per_period)
    assert response.a == approx(np.full(len(b), a), abs=1e-10)
    assert response.b == approx(b, abs=1e-10)
    assert response.delay is not None
    assert turned(response.delay * FREQUENCY, delays) == approx(np.zeros(len(b)), abs=1e-10)
    assert (response.b_stderr < 1e-10).all()
    assert response.sign_confidence == approx(np.ones(len(b)))


@pytest.mark.parametrize("waveform", [Sine(), Triangle(), *IDENTIFIABLE], ids=lambda waveform: waveform.name)
@given(
    a=st.floats(-10, 10),
    b=st.one_of(st.just(0.0), sizes),
    delay=st.floats(-2, 2),
    per_period=st.sampled_from([8, 20, 7.3, 31.4159]),
    n_periods=st.floats(2, 6),
)
@settings(max_examples=10, deadline=None)
def test_a_and_b_are_exact_where_the_delay_is_known(waveform, a, b, delay, per_period, n_periods):
    volts = record(waveform, [a, -a], [b, 2 * b], [delay, 0.0], n_periods, per_period)
    for synchronised in (True, False):
        delays = np.array([delay, 0.0]) / FREQUENCY
        response = read(volts, waveform, per_period=per_period, synchronised=synchronised, delays=delays)
        assert response.a == approx([a, -a], abs=1e-10)
        assert response.b == approx([b, 2 * b], abs=1e-10)
        assert response.delay is None


# Places of an edge between two samples; on a sample itself rounding would put it on either side.
places = st.builds(
    lambda sample, between: (sample + between) / 40, st.integers(0, 39), st.sampled_from([0.1, 0.5, 0.9])
)


@given(b=sizes, delay=places, duty=st.sampled_from([0.25, 1 / 3, 0.1, 0.8]), n_periods=st.sampled_from([3, 2.6]))
@settings(max_examples=60, deadline=None)
def test_a_pulse_is_read_exactly_and_its_delay_to_a_sample(b, delay, duty, n_periods):
    waveform = Pulse(duty)
    response = read(record(waveform, 0.7, b, delay, n_periods, 40), waveform, per_period=40)
    assert response.b == approx([b], abs=1e-10)
    assert response.a == approx([0.7], abs=1e-10)
    assert response.delay is not None
    assert abs(turned(response.delay[0] * FREQUENCY, delay)) < 1 / 40


@given(b=sizes, delay=places, n_periods=st.sampled_from([3, 2.6]))
@settings(max_examples=60, deadline=None)
def test_a_sawtooth_gives_b_exactly_and_a_to_what_it_rises_in_a_sample(b, delay, n_periods):
    response = read(record(Sawtooth(), 0.7, b, delay, n_periods, 40), Sawtooth(), per_period=40)
    assert response.b == approx([b], abs=1e-10)
    assert abs(response.a[0] - 0.7) <= 2 * abs(b) / 40
    assert response.delay is not None
    assert abs(turned(response.delay[0] * FREQUENCY, delay)) < 1 / 40


@pytest.mark.parametrize("waveform", [Pulse(), Sawtooth()], ids=lambda waveform: waveform.name)
@pytest.mark.parametrize("n_periods", [2, 2.3])
def test_jumps_are_found_among_a_thousand_samples_a_period(waveform, n_periods):
    delays = (np.arange(0, 1000, 77) + 0.5) / 1000
    response = read(record(waveform, 0.7, 0.3, delays, n_periods, 1000), waveform, per_period=1000)
    assert response.b == approx(np.full(len(delays), 0.3), abs=1e-10)
    assert np.abs(turned(response.delay * FREQUENCY, delays)).max() < 1 / 1000


@pytest.mark.parametrize("waveform", IDENTIFIABLE, ids=lambda waveform: waveform.name)
@pytest.mark.parametrize("n_periods", [1.05, 1.15, 1.25, 1.4, 1.6, 1.8])
def test_little_more_than_a_period_is_enough(waveform, n_periods):
    delays = np.arange(50) / 50 + 0.003
    response = read(record(waveform, 0.7, 0.3, delays, n_periods, 40), waveform, per_period=40)
    assert response.b == approx(np.full(50, 0.3), abs=1e-9)
    assert turned(response.delay * FREQUENCY, delays) == approx(np.zeros(50), abs=1e-9)


@pytest.mark.parametrize("waveform", [Sine(), Square(), Triangle(), Pulse(0.5)], ids=lambda waveform: waveform.name)
def test_waveforms_that_hide_their_sign_are_refused_with_the_reason_and_the_way_out(waveform):
    with pytest.raises(ValueError, match="Proposition 1") as caught:
        read(record(waveform, 0.0, 1.0), waveform)
    assert waveform.name in str(caught.value)
    assert "Choose two-tone or abs-sine, or synchronise the meter" in str(caught.value)


@pytest.mark.parametrize("waveform", [*IDENTIFIABLE, Pulse(), Sawtooth()], ids=lambda waveform: waveform.name)
def test_the_sign_of_b_is_told_at_every_delay(waveform):
    delays = np.arange(40) / 40 + 0.003
    for sign in (1.0, -1.0):
        response = read(record(waveform, 2.0, np.full(40, sign), delays, per_period=32), waveform, per_period=32)
        assert response.b == approx(np.full(40, sign), abs=1e-9)
        assert response.sign_confidence is not None
        assert (response.sign_confidence > 0.999).all()
        assert not response.flagged(Flag.SIGN_AMBIGUOUS).any()


def test_delays_beyond_a_period_are_told_modulo_the_period():
    response = read(record(TwoTone(), 1.0, 2.0, [3.3, -1.7]), TwoTone())
    assert response.delay == approx([0.3 / FREQUENCY, 0.3 / FREQUENCY])


@pytest.mark.parametrize("waveform", [*IDENTIFIABLE, Pulse()], ids=lambda waveform: waveform.name)
@pytest.mark.parametrize("n_periods", [5, 4.3])
def test_skews_are_taken_off_before_a_shared_delay_is_looked_for(waveform, n_periods):
    skews = np.array(
        [0.0, 0.05, 0.1, 0.15]
    )  # periods; steps of one sample, so that a pulse's edges stay where they are
    a, b = np.array([1.0, 2.0, -1.0, 0.0]), np.array([0.3, -0.2, 1.0, 0.0])
    volts = record(waveform, a, b, 0.37 + skews, n_periods)
    response = read(volts, waveform, skews=skews / FREQUENCY, shared_delay=True)
    assert response.a == approx(a, abs=1e-10)
    assert response.b == approx(b, abs=1e-10)
    assert response.delay is not None
    assert response.delay == approx(np.full(4, response.delay[0]))
    assert turned(response.delay[0] * FREQUENCY, 0.37) == approx(0, abs=0.05 if waveform.jumps else 1e-10)


@pytest.mark.parametrize("n_periods", [5, 4.3])
def test_each_record_of_a_batch_has_a_shared_delay_of_its_own(n_periods):
    rng = np.random.default_rng(2)
    delays = rng.uniform(size=3)
    b = np.array([0.3, -0.2, 1.0])
    clean = np.stack([record(TwoTone(), [1.0, 2.0, -1.0], b, delay, n_periods) for delay in delays])
    volts = clean + rng.normal(scale=1e-3, size=clean.shape)
    together = read(volts, TwoTone(), shared_delay=True)
    assert together.a.shape == (3, 3)
    assert together.tones is not None
    assert together.tones.shape == (3, 3, 2)
    assert together.delay is not None
    for i, one in enumerate(volts):
        alone = read(one, TwoTone(), shared_delay=True)
        for name in ("a", "b", "covariance", "noise", "delay", "delay_stderr", "sign_confidence", "tones"):
            assert getattr(together, name)[i] == approx(getattr(alone, name), rel=1e-9, abs=1e-13), name
    assert turned(together.delay[:, 0] * FREQUENCY, delays) == approx(np.zeros(3), abs=1e-3)


@pytest.mark.parametrize("waveform", [TwoTone(), RectifiedSine(), Pulse(), Sawtooth()], ids=lambda wave: wave.name)
@pytest.mark.parametrize("n_periods", [5, 4.3])
def test_channels_of_unknown_delays_do_not_depend_on_each_other(waveform, n_periods):
    rng = np.random.default_rng(2)
    volts = record(waveform, [1, 2, 3], [1, -1, 0.1], [0.1, 0.4, 0.8], n_periods)
    volts = volts + rng.normal(scale=0.01, size=volts.shape)
    together = read(volts, waveform)
    for i in range(3):
        alone = read(volts[i : i + 1], waveform)
        for name in ("a", "b", "covariance", "noise", "delay", "delay_stderr", "sign_confidence"):
            # One channel's steps go on while another's are still needed, within a thousandth of a standard error.
            off = 2e-3 * float(together.b_stderr[i]) if name in "ab" else 0.0
            assert getattr(together, name)[i] == approx(getattr(alone, name)[0], rel=5e-3, abs=off), name


def test_a_channel_without_nudge_takes_its_delay_from_the_others_and_is_unsure_of_its_sign():
    rng = np.random.default_rng(4)
    volts = record(TwoTone(), 0.0, [1.0, 1.0, 0.0], 0.2) + rng.normal(scale=0.1, size=(3, 100))
    response = read(volts, TwoTone(), shared_delay=True)
    assert turned(response.delay[2] * FREQUENCY, 0.2) == approx(0, abs=0.02)
    assert response.sign_confidence is not None
    assert response.sign_confidence[2] < 0.99
    assert not response.flagged(Flag.SIGN_AMBIGUOUS).any()  # the common delay's mode is beyond doubt


@pytest.mark.parametrize("n_periods", [5, 4.3])
def test_tones_are_b_turned_by_the_delay(n_periods):
    delay, b = 0.13, -0.4
    expected = b * np.exp(2j * np.pi * np.array([1, 2]) * delay)
    volts = record(TwoTone(), 1.0, b, delay, n_periods)
    assert read(volts, TwoTone()).tones[0] == approx(expected, abs=1e-12)
    # What is known of the phase is taken out.
    assert read(volts, TwoTone(), delays=[delay / FREQUENCY]).tones[0] == approx(np.full(2, b), abs=1e-12)
    assert read(volts, TwoTone(), synchronised=True, skews=[delay / FREQUENCY]).tones[0] == approx(
        np.full(2, b), abs=1e-12
    )


def test_both_quadratures_of_a_node_with_capacitance():
    # One pole: the tone k is b / (1 + i k x), x = omega tau.
    b, x = 0.5, 0.3
    phases = np.arange(100) / 20
    F = TwoTone().harmonics(2)
    volts = 1.0 + sum(2 * (F[k - 1] * b / (1 + 1j * k * x) * np.exp(2j * np.pi * k * phases)).real for k in (1, 2))
    response = read(volts[None], TwoTone(), synchronised=True)
    assert response.tones[0] == approx(b / (1 + 1j * x * np.array([1, 2])), abs=1e-13)
    # b is the in-phase part of both tones, each weighed by its power: 1 and 0.65^2.
    weights = np.array([1, 0.65**2]) / (1 + 0.65**2)
    assert response.b == approx([b * (weights[0] / (1 + x**2) + weights[1] / (1 + 4 * x**2))], abs=1e-13)


def test_a_record_far_from_whole_periods_of_a_slow_nudge():
    # Two periods and a bit, seven samples each: every harmonic of the seven values, and nothing else.
    volts = record(SEVEN, 0.5, [1.0, -1.0], [0.2, 0.9], 2.3, 7.7)
    response = demodulate(volts, 7.7, SEVEN, 1.0, synchronised=False)
    assert response.b == approx([1.0, -1.0], abs=1e-10)
