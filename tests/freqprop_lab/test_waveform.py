"""Waveforms against their own Fourier sums, and Proposition 1 against a search over all delays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freqprop_lab.waveform import WAVEFORMS, RectifiedSine, Sine, Waveform, is_delay_identifiable

approx = pytest.approx

every_waveform = pytest.mark.parametrize("waveform", WAVEFORMS.values(), ids=list(WAVEFORMS))
PHASES = np.arange(4096) / 4096


@dataclass(frozen=True)
class HarmonicSum(Waveform):
    """sum 2 |F_k| cos(2 pi k p + arg F_k), for the harmonics given as (k, F_k)."""

    terms: tuple[tuple[int, complex], ...]

    name = "harmonic-sum"

    def at(self, phase):
        return sum((2 * np.real(F * np.exp(2j * np.pi * k * np.asarray(phase))) for k, F in self.terms), 0.0 * phase)

    def harmonics(self, count):
        coefficients = np.zeros(count, dtype=complex)
        for k, F in self.terms:
            if k <= count:
                coefficients[k - 1] += F
        return coefficients


def inverted_by_some_delay(waveform: Waveform) -> bool:
    """Search tau for f(t) + f(t + tau) = sup f + inf f at all t, on a grid that holds every 1/512."""
    f = waveform.at(np.arange(512) / 512)
    sums = f + np.stack([np.roll(f, -shift) for shift in range(512)])
    return bool(np.ptp(sums, axis=1).min() < 1e-9 * np.abs(f).max())


@every_waveform
def test_harmonics_agree_with_the_fourier_transform(waveform):
    spectrum = np.fft.rfft(waveform.at(PHASES)) / PHASES.size
    # The kink of |sin| aliases into the transform: its harmonics fall as 1 / (2 pi k^2), so 4096 samples leave 3e-8.
    assert waveform.harmonics(8) == approx(spectrum[1:9], abs=1e-7)


@every_waveform
def test_mean_rms_and_extremes_are_those_of_the_function(waveform):
    f = waveform.at(PHASES)
    assert waveform.mean == approx(f.mean(), abs=1e-6)
    assert waveform.rms == approx(np.sqrt((f**2).mean()), abs=1e-6)
    assert (waveform.lowest, waveform.highest) == approx((f.min(), f.max()), abs=1e-12)


@every_waveform
def test_the_period_is_one(waveform):
    assert waveform.at(PHASES - 3) == approx(waveform.at(PHASES), abs=1e-12)


def test_values_of_both_waveforms_at_eighths():
    half = np.sqrt(0.5)
    assert Sine().at(np.array([0, 1 / 8, 1 / 4, 3 / 4])) == approx([0, half, 1, -1], abs=1e-15)
    assert RectifiedSine().at(np.array([0, 1 / 4, 1 / 2, 3 / 4])) == approx([0, half, 1, half], abs=1e-15)


def test_a_sine_is_not_identifiable_and_a_rectified_one_is():
    assert not is_delay_identifiable(Sine())
    assert is_delay_identifiable(RectifiedSine())


@pytest.mark.parametrize(
    ("harmonics", "identifiable"),
    [
        ((1,), False),
        ((1, 2), True),  # the two-tone
        ((1, 3, 5), False),  # a square or a triangle: half a period turns it over
        ((2, 6), False),  # a quarter of a period does
        ((2, 4), True),
        ((4, 12, 20), False),
        ((3, 6), True),
        ((), False),  # a constant carries nothing
    ],
)
def test_harmonics_of_one_power_of_two_hide_the_sign(harmonics, identifiable):
    waveform = HarmonicSum(tuple((k, 0.3 / k + 0.1j) for k in harmonics))
    assert is_delay_identifiable(waveform) is identifiable


coefficients = st.complex_numbers(min_magnitude=0.05, max_magnitude=1, allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.integers(1, 12), coefficients, min_size=1, max_size=5))
def test_identifiable_is_what_no_delay_turns_upside_down(terms):
    waveform = HarmonicSum(tuple(terms.items()))
    assert is_delay_identifiable(waveform) is not inverted_by_some_delay(waveform)


@given(st.sampled_from([1, 2, 4]), st.dictionaries(st.sampled_from([1, 3, 5, 7]), coefficients, min_size=1))
def test_odd_multiples_of_one_frequency_are_never_identifiable(power, terms):
    waveform = HarmonicSum(tuple((power * k, F) for k, F in terms.items()))
    assert not is_delay_identifiable(waveform)
    assert inverted_by_some_delay(waveform)
