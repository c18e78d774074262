"""Waveforms against their own Fourier sums, and Proposition 1 against a search over all delays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import HandMade

from freqprop_lab.waveform import (
    WAVEFORMS,
    Pulse,
    RectifiedSine,
    Sampled,
    Sawtooth,
    Sine,
    Square,
    Triangle,
    TwoTone,
    Waveform,
    default_waveform,
    distinguishability,
    is_delay_identifiable,
)

approx = pytest.approx

EVERY = {
    **WAVEFORMS,
    "turned two-tone": TwoTone(0.6, np.pi / 2),
    "negative two-tone": TwoTone(-3.0, 1.0),
    "third pulse": Pulse(1 / 3),
    "long pulse": Pulse(0.9),
    "five values": Sampled([0.0, 1.0, 0.5, -2.0, 0.3]),
    "six values": Sampled([0.0, 1.0, 0.5, -2.0, 0.3, 0.7]),
}
every_waveform = pytest.mark.parametrize("waveform", EVERY.values(), ids=list(EVERY))
PHASES = np.arange(4096) / 4096


@dataclass(frozen=True)
class HarmonicSum(HandMade):
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
    # A jump of 2 may be half a sample off where it is thought to be: 2 / 4096 of a period's mean.
    assert waveform.harmonics(8) == approx(spectrum[1:9], abs=6e-4 if waveform.jumps else 1e-7)
    assert waveform.harmonics(8).shape == (8,)
    assert waveform.harmonics(1) == approx(waveform.harmonics(8)[:1])


@every_waveform
def test_the_fourier_sum_is_the_function(waveform):
    k = np.arange(1, 4001 if waveform.last_harmonic is None else waveform.last_harmonic + 1)
    for phase in (0.11, 0.37, 0.83):
        f = waveform.mean + 2 * (waveform.harmonics(len(k)) * np.exp(2j * np.pi * k * phase)).real.sum()
        assert f == approx(float(waveform.at(np.array(phase))), abs=3e-3 if waveform.jumps else 2e-7)


@every_waveform
def test_mean_rms_and_extremes_are_those_of_the_function(waveform):
    f = waveform.at(PHASES)
    off = 6e-4 if waveform.jumps else 1e-6  # a grid of 4096 places a jump of 2 to that
    assert waveform.mean == approx(f.mean(), abs=off)
    assert waveform.rms == approx(np.sqrt((f**2).mean()), abs=off)
    assert waveform.variance == approx(f.var(), abs=2 * off)
    # Between two points of the grid f moves by its slope at a jump, by its bend elsewhere.
    size = np.abs(f).max()
    assert f.min() >= waveform.lowest - 3e-4 * size
    assert f.max() <= waveform.highest + 3e-4 * size
    assert (waveform.lowest, waveform.highest) == approx((f.min(), f.max()), abs=6e-4 * size)


@every_waveform
def test_the_slope_is_that_of_finite_differences(waveform):
    p = np.array([0.03, 0.11, 0.2, 0.37, 0.45, 0.61, 0.72, 0.83, 0.97, 3.21, -1.4])
    step = 1e-5
    by_difference = (waveform.at(p + step) - waveform.at(p - step)) / (2 * step)
    assert waveform.slope(p) == approx(by_difference, abs=1e-5, rel=1e-6)


@every_waveform
def test_the_period_is_one(waveform):
    inside = PHASES + 1e-7  # off the jumps, which rounding may put on either side
    assert waveform.at(inside - 3) == approx(waveform.at(inside), abs=1e-12)
    assert waveform.slope(inside - 3) == approx(waveform.slope(inside), abs=1e-10)


@every_waveform
def test_shapes_of_phases_are_kept(waveform):
    assert waveform.at(np.zeros((2, 3, 4))).shape == (2, 3, 4)
    assert waveform.slope(np.zeros((2, 3, 4))).shape == (2, 3, 4)


@every_waveform
def test_jumps_are_where_the_function_jumps(waveform):
    step = 1e-9
    apart = np.abs(waveform.at(PHASES + step) - waveform.at(PHASES - step)) > 0.1
    near = np.array([min((abs((p - jump + 0.5) % 1 - 0.5) for jump in waveform.jumps), default=1.0) for p in PHASES])
    assert not apart[near > 1e-3].any()
    for jump in waveform.jumps:
        p = np.array([jump - step, jump + step])
        assert abs(np.diff(waveform.at(p))[0]) == approx(2, abs=1e-6)


@pytest.mark.parametrize(
    ("waveform", "values"),
    [
        (Sine(), [0, np.sqrt(0.5), 1, -1]),
        (RectifiedSine(), [0, np.sin(np.pi / 8), np.sqrt(0.5), np.sqrt(0.5)]),
        (RectifiedSine(centred=True), [-1, 2 * np.sin(np.pi / 8) - 1, np.sqrt(2) - 1, np.sqrt(2) - 1]),
        (Sawtooth(), [-1, -0.75, -0.5, 0.5]),
        (Pulse(), [1, 1, -1, -1]),
        (Square(), [1, 1, 1, -1]),
        (Triangle(), [0, 0.5, 1, -1]),
        (Sampled([1.0, 2.0, 3.0, 2.0]), [1, 2 - np.sqrt(0.5), 2, 2]),  # 2 - cos(2 pi p): the second harmonic is none
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_values_at_eighths(waveform, values):
    assert waveform.at(np.array([0, 1 / 8, 1 / 4, 3 / 4])) == approx(values, abs=1e-15)


def test_a_two_tone_of_equal_tones_has_its_peak_where_cos_x_is_the_root_of_a_quadratic():
    # f' = cos x + 2 cos 2x = 4 c^2 + c - 2 = 0: c = (-1 + sqrt 33) / 8; f = sin x (1 + 2 c)
    c = (np.sqrt(33) - 1) / 8
    peak = np.sqrt(1 - c**2) * (1 + 2 * c)
    waveform = TwoTone(1.0)
    assert waveform.at(np.array([np.arccos(c) / (2 * np.pi), 1 / 4, 1 / 8])) == approx(
        [1, 1 / peak, (np.sqrt(0.5) + 1) / peak], abs=1e-14
    )
    assert waveform.rms == approx(1 / peak)
    assert (waveform.lowest, waveform.highest) == approx((-1, 1))


def test_a_two_tone_turned_by_a_right_angle_is_scaled_by_its_larger_extreme():
    # sin x + 0.6 cos 2x: -1.6 at x = -pi/2; its top where sin x = 1/2.4: 1/2.4 + 0.6 (1 - 2/2.4^2)
    waveform = TwoTone(0.6, np.pi / 2)
    assert waveform.lowest == approx(-1)
    assert waveform.highest == approx((1 / 2.4 + 0.6 * (1 - 2 / 2.4**2)) / 1.6)


@given(
    k=st.one_of(st.floats(1e-6, 1e6), st.floats(-1e6, -1e-6)),
    phi=st.floats(-10, 10),
)
@settings(max_examples=60)
def test_the_peak_of_any_two_tone_is_one(k, phi):
    f = np.abs(TwoTone(k, phi).at(PHASES)).max()
    # The grid misses the peak by at most (2 pi / 8192)^2 / 2 of its bend, which is at most four times the size.
    assert 1 - 2e-6 < f <= 1 + 1e-12


def test_sampled_goes_through_an_odd_number_of_values():
    values = [0.0, 1.0, 0.5, -2.0, 0.3]
    assert Sampled(values).at(np.arange(5) / 5) == approx(values, abs=1e-14)
    assert Sampled(values).last_harmonic == 2


def test_sampled_leaves_the_highest_harmonic_of_an_even_number_of_values_out():
    # 1, -1, 1, -1 is that harmonic alone; what stays of 1 + (1, -1, 1, -1) + (0, 1, 0, -1) is 1 + sin(2 pi p)
    waveform = Sampled([2.0, 1.0, 2.0, -1.0])
    assert waveform.last_harmonic == 1
    assert waveform.at(np.array([0.0, 0.25, 0.5, 0.75])) == approx([1, 2, 1, 0], abs=1e-15)
    assert waveform.mean == approx(1)
    assert waveform.rms == approx(np.sqrt(1.5))


def test_sampled_is_a_value():
    assert Sampled([1.0, 2.0, 4.0]) == Sampled(np.array([1, 2, 4]))
    assert hash(Sampled([1.0, 2.0, 4.0])) == hash(Sampled([1.0, 2.0, 4.0]))
    assert Sampled([1.0, 2.0, 4.0]) != Sampled([1.0, 2.0, 5.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sampled([1.0, 2.0]), r"at least 3 finite values.*\(2,\)"),
        (lambda: Sampled([[1.0, 2.0, 3.0]]), r"in one row.*\(1, 3\)"),
        (lambda: Sampled([1.0, np.nan, 2.0]), "finite"),
        (lambda: Sampled([2.0, 2.0, 2.0]), "all values are 2; a constant"),
        (lambda: Sampled([1.0, -1.0, 1.0, -1.0]), "harmonic"),
        (lambda: Pulse(0.0), r"Pulse\(duty=0.0\).*between 0 and 1"),
        (lambda: Pulse(1.0), "between 0 and 1"),
        (lambda: Pulse(np.nan), "between 0 and 1"),
        (lambda: TwoTone(0.0), r"TwoTone\(k=0.0.*k not 0"),
        (lambda: TwoTone(np.inf), "finite"),
        (lambda: TwoTone(0.5, np.nan), "finite"),
    ],
)
def test_parameters_that_make_no_waveform_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# The note's table at equal peak, by hand: var f and r = -min <g g_tau> / <g^2>; D = sqrt(var f (1 - r^2)).
# Pulse of duty d <= 1/2: <g^2> = 4 d (1 - d), least <g g_tau> = -4 d^2. Sawtooth: 1/3 - 2 tau (1 - tau), least -1/6.
# |sin|: <|sin cos|> - 4/pi^2 = 1/pi - 4/pi^2. Two-tone: (cos x + k^2 cos 2x) / 2 over the peak squared, least at
# cos x = -1 / (4 k^2): -(k^2 + 1 / (8 k^2)) / 2.
@pytest.mark.parametrize(
    ("waveform", "scatter_of_b", "margin"),
    [
        (Sine(), 1.41, 0.0),
        (Square(), 1.00, 0.0),
        (Triangle(), 1.73, 0.0),
        (RectifiedSine(), 3.25, 0.12),
        (RectifiedSine(centred=True), 1.63, 0.24),  # 1.625
        (Sawtooth(), 1.73, 0.50),
        (Pulse(1 / 4), 1.15, np.sqrt(2 / 3)),
        (Pulse(1 / 3), 1.06, np.sqrt(2 / 3)),
        (TwoTone(), 1.70, 0.51),
        # The note scales this one by half its range about its middle, 1.2042; here the peak is 1.6: 1.47, 0.58 there.
        (TwoTone(0.6, np.pi / 2), np.sqrt(2 / 1.36) * 1.6, np.sqrt(0.68 * (1 - ((0.36 + 1 / 2.88) / 1.36) ** 2)) / 1.6),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_table_of_noise_and_margin(waveform, scatter_of_b, margin):
    assert 1 / np.sqrt(waveform.variance) == approx(scatter_of_b, abs=0.0061)
    assert distinguishability(waveform) == approx(margin, abs=0.0051)


@pytest.mark.parametrize("waveform", [Sine(), Square(), Triangle()], ids=lambda waveform: waveform.name)
def test_no_margin_at_all_where_proposition_1_fails(waveform):
    assert not is_delay_identifiable(waveform)
    assert distinguishability(waveform) == 0


def test_the_margin_of_the_default_to_many_digits():
    k2, waveform = 0.65**2, TwoTone()
    variance = waveform.rms**2
    r = (k2 + 1 / (8 * k2)) / (1 + k2)
    assert distinguishability(waveform) == approx(np.sqrt(variance * (1 - r**2)), rel=1e-6)


def test_centring_doubles_the_margin_of_the_rectified_sine():
    r = (4 / np.pi**2 - 1 / np.pi) / (1 / 2 - 4 / np.pi**2)
    margin = np.sqrt((1 / 2 - 4 / np.pi**2) * (1 - r**2))
    assert distinguishability(RectifiedSine()) == approx(margin, rel=1e-5)
    assert distinguishability(RectifiedSine(centred=True)) == approx(2 * margin, rel=1e-5)


def test_names_are_keys_and_all_different():
    assert [waveform.name for waveform in WAVEFORMS.values()] == list(WAVEFORMS)
    assert len(WAVEFORMS) == 8


def test_a_sine_is_meant_where_the_phase_is_known_and_two_tones_where_it_is_not():
    assert default_waveform(synchronised=True) == Sine()
    assert default_waveform(synchronised=False) == TwoTone(0.65, 0.0)


def test_a_sine_is_not_identifiable_and_a_rectified_one_is():
    assert not is_delay_identifiable(Sine())
    for waveform in (RectifiedSine(), RectifiedSine(centred=True), TwoTone(), Pulse(), Sawtooth()):
        assert is_delay_identifiable(waveform)
        assert not inverted_by_some_delay(waveform)
    for waveform in (Square(), Triangle(), Pulse(0.5)):
        assert not is_delay_identifiable(waveform)


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


@given(st.lists(st.floats(-1, 1).map(lambda value: round(value, 3)), min_size=9, max_size=9).filter(np.ptp))
def test_identifiable_is_what_no_delay_turns_upside_down_also_for_sampled_waveforms(values):
    waveform = Sampled(values)
    assert is_delay_identifiable(waveform) is not inverted_by_some_delay(waveform)


@given(st.sampled_from([1, 2, 4]), st.dictionaries(st.sampled_from([1, 3, 5, 7]), coefficients, min_size=1))
def test_odd_multiples_of_one_frequency_are_never_identifiable(power, terms):
    waveform = HarmonicSum(tuple((power * k, F) for k, F in terms.items()))
    assert not is_delay_identifiable(waveform)
    assert inverted_by_some_delay(waveform)
