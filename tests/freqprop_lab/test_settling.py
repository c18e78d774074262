"""Capacitance: relaxation times of a single pole, and the extrapolation to the static response, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from records import FREQUENCY, read

from freqprop_lab.lockin import (
    error_of_relaxation,
    extrapolate_to_static,
    highest_frequency,
    relaxation_time,
    relaxation_time_of_step,
)
from freqprop_lab.values import Flag, Response
from freqprop_lab.waveform import Sine, TwoTone

approx = pytest.approx


def response_of(b, stderr=0.0, a=0.0, shared=0.0, flags=None):
    """One channel's response."""
    covariance = np.array([[[4 * stderr**2, shared], [shared, stderr**2]]])
    return Response(np.array([a]), np.array([b]), covariance, flags=flags)


def one_pole(waveform, x, *, b=0.5, delay=0.0, n_periods=5, per_period=20):
    """The record of a node with capacitance: tone k is b / (1 + i k x), x = omega tau."""
    count = waveform.last_harmonic
    phases = np.arange(round(n_periods * per_period)) / per_period + delay
    F = waveform.harmonics(count)
    return sum(
        (2 * (F[k - 1] * b / (1 + 1j * k * x) * np.exp(2j * np.pi * k * phases)).real for k in range(1, count + 1)),
        1.0 + 0 * phases,
    )[None]


# A polynomial in s through the points s_i misses 1 / (1 + s) at s = 0 by the product of s_i / (1 + s_i); s = x^2:
# 0.022005 x 0.082569 = 0.18 %, 0.082569 x 0.264706 = 2.2 %, 0.038462 x 0.058824 x 0.082569 = 0.02 %.
@pytest.mark.parametrize(
    ("x", "left"),
    [
        ([0.15, 0.3], 0.0018169),
        ([0.3, 0.6], 0.0218565),
        ([0.2, 0.25, 0.3], 0.00018681),
        ([0.1, 0.2, 0.3], 0.00003144),
        ([0.3, 0.15], 0.0018169),
    ],
)
def test_what_extrapolation_leaves_of_a_single_pole(x, left):
    responses = [response_of(0.5 / (1 + one**2)) for one in x]
    static = extrapolate_to_static(responses, 1000 * np.array(x))
    assert static.b == approx([0.5 * (1 - left)], rel=1e-7)


def test_extrapolation_of_demodulated_records():
    x = [0.15, 0.3]
    responses = [read(one_pole(Sine(), one), Sine(), synchronised=True) for one in x]
    assert responses[1].b == approx([0.5 / 1.09])  # 8.3 % off at omega tau = 0.3
    static = extrapolate_to_static(responses, x)
    assert static.b == approx([0.5], rel=0.0019)
    assert static.a == approx([1.0])


def test_extrapolation_of_what_does_not_vary_changes_nothing_so_the_weights_add_up_to_one():
    for hertz in ([1.0, 2.0], [10.0, 30.0, 31.0], [5.0, 1.0, 7.0, 9.0]):
        static = extrapolate_to_static([response_of(0.3, a=0.7)] * len(hertz), hertz)
        assert static.b == approx([0.3], abs=1e-12)
        assert static.a == approx([0.7], abs=1e-12)


def test_standard_errors_of_the_extrapolation():
    # Weights at f and 2 f: (4/3, -1/3). sd = 0.1 sqrt(16 + 1) / 3; a is the mean of two: 0.2 / sqrt 2;
    # covariance of a and b: (4/3 - 1/3) / 2 of one record's.
    static = extrapolate_to_static([response_of(1.0, 0.1, shared=-0.003)] * 2, [50.0, 100.0])
    assert static.b_stderr == approx([0.1 * np.sqrt(17) / 3])
    assert static.a_stderr == approx([0.2 / np.sqrt(2)])
    assert static.ab_covariance == approx([-0.0015])


def test_flags_of_all_records_are_gathered():
    flags = [np.array([flag], dtype=np.uint8) for flag in (Flag.MISSING, Flag.NOT_SETTLED)]
    static = extrapolate_to_static([response_of(1.0, flags=flag) for flag in flags], [1.0, 2.0])
    assert static.flagged(Flag.MISSING).all()
    assert static.flagged(Flag.NOT_SETTLED).all()


@pytest.mark.parametrize(
    ("n_responses", "frequencies", "message"),
    [
        (1, [1.0], "1 responses and 1 frequencies; at least two"),
        (2, [1.0, 2.0, 3.0], "2 responses and 3 frequencies; at least two are wanted, one for each"),
        (2, [1.0, 1.0], r"frequencies are \[1.0, 1.0\] Hz; all must differ"),
        (2, [0.0, 1.0], "above 0"),
        (2, [np.nan, 1.0], "all must differ, and be above 0"),
    ],
)
def test_frequencies_that_can_not_be_extrapolated_are_refused(n_responses, frequencies, message):
    with pytest.raises(ValueError, match=message):
        extrapolate_to_static([response_of(1.0)] * n_responses, frequencies)


@pytest.mark.parametrize("tau", [2e-3, 1e-2])
def test_the_relaxation_time_of_an_exponential(tau):
    rate, level = 10_000.0, np.array([[1.0], [-2.0]])
    n = np.arange(2000)
    volts = 3.0 + level * np.exp(-n / (rate * tau))
    # Trapezium sum of exp(-n dt / tau): dt / 2 coth(dt / (2 tau)) = tau (1 + (dt / tau)^2 / 12 - ...); the tail, taken
    # for the end, holds exp(-18) of it over 20 tau.
    dt = 1 / rate
    expected = dt / 2 / np.tanh(dt / (2 * tau))
    assert relaxation_time_of_step(volts, rate) == approx(np.full(2, expected), rel=2e-6)
    assert relaxation_time_of_step(volts[0], rate) == approx(expected, rel=2e-6)


def test_two_time_constants_of_equal_weight_give_their_mean():
    n = np.arange(4000)
    volts = np.exp(-n / 50) / 2 + np.exp(-n / 150) / 2
    assert relaxation_time_of_step(volts, 1.0) == approx(100, rel=1e-4)


def test_a_channel_that_does_not_move_has_no_relaxation_time():
    rng = np.random.default_rng(1)
    n = np.arange(400)
    volts = np.stack([1 + rng.normal(scale=0.01, size=400), np.full(400, 2.0), np.exp(-n / 20)])
    found = relaxation_time_of_step(volts, 1.0)
    assert np.isnan(found).tolist() == [True, True, False]


def test_a_step_of_nineteen_samples_is_refused():
    with pytest.raises(ValueError, match="volts holds 19 samples a channel; a step needs at least 20"):
        relaxation_time_of_step(np.zeros((1, 19)), 1.0)


@pytest.mark.parametrize("waveform", [Sine(), TwoTone()], ids=lambda w: w.name)
@pytest.mark.parametrize("x", [0.0, 0.01, 0.3, 2.0])
@pytest.mark.parametrize("n_periods", [5, 4.3])
@pytest.mark.parametrize("b", [0.5, -0.5])
def test_the_relaxation_time_of_a_synchronised_record(waveform, x, n_periods, b):
    response = read(one_pole(waveform, x, b=b, n_periods=n_periods), waveform, synchronised=True)
    tau = relaxation_time(response, waveform, FREQUENCY, synchronised=True)
    assert tau * 2 * np.pi * FREQUENCY == approx([x], abs=1e-12)


@pytest.mark.parametrize("x", [0.1, 0.3, 2.0])
@pytest.mark.parametrize("n_periods", [5, 4.3])
def test_the_relaxation_time_from_two_tones_of_unknown_delay(x, n_periods):
    response = read(one_pole(TwoTone(), x, delay=0.37, n_periods=n_periods), TwoTone())
    tau = relaxation_time(response, TwoTone(), FREQUENCY, synchronised=False)
    assert tau * 2 * np.pi * FREQUENCY == approx([x], rel=1e-9)


def test_a_silent_channel_has_no_relaxation_time():
    volts = np.concatenate([one_pole(TwoTone(), 0.3), np.zeros((1, 100))])
    for synchronised in (True, False):
        response = read(volts, TwoTone(), synchronised=synchronised)
        found = relaxation_time(response, TwoTone(), FREQUENCY, synchronised=synchronised)
        assert np.isnan(found).tolist() == [False, True]


def test_tones_that_no_pole_makes_have_no_relaxation_time():
    # A pole weakens the second tone; here it is the stronger one, and there it is weaker than any pole makes it.
    tones = np.array([[1.0, 1.1], [1.0, 0.5], [1.0, 0.1]], dtype=complex)
    response = Response(np.zeros(3), np.ones(3), np.zeros((3, 2, 2)), tones=tones)
    assert np.isnan(relaxation_time(response, TwoTone(), FREQUENCY, synchronised=False)).all()


def test_relaxation_times_need_tones_and_two_of_them_without_synchrony():
    bare = response_of(1.0)
    with pytest.raises(ValueError, match="no tones"):
        relaxation_time(bare, Sine(), FREQUENCY, synchronised=True)
    known = read(one_pole(Sine(), 0.3), Sine(), synchronised=True)
    with pytest.raises(ValueError, match="waveform sine has one tone"):
        relaxation_time(known, Sine(), FREQUENCY, synchronised=False)


def test_the_highest_frequency_is_the_inverse_of_the_error():
    # (omega tau)^2 / (1 + (omega tau)^2) = 0.2 at omega tau = 1/2
    assert highest_frequency(1e-3, 0.2) == approx(0.5 / (2 * np.pi * 1e-3))
    assert error_of_relaxation(0.5 / (2 * np.pi * 1e-3), 1e-3) == approx(0.2)
    assert error_of_relaxation(0.25 / (2 * np.pi * 1e-3), 1e-3, np.array([1, 2])) == approx(0.2)
    for error in (1e-6, 0.01, 0.9):
        for order in (1, 2, 5):
            hertz = highest_frequency(3e-4, error, order)
            assert error_of_relaxation(hertz, 3e-4, np.array([1, order])) == approx(error)


@pytest.mark.parametrize(("tau", "error"), [(1e-3, 0.0), (1e-3, 1.0), (0.0, 0.1), (-1.0, 0.1), (np.nan, 0.1)])
def test_errors_and_times_that_are_none_are_refused(tau, error):
    with pytest.raises(ValueError, match="a relaxation time above 0 and an error between 0 and 1"):
        highest_frequency(tau, error)
