"""Elements: energy, current and slope belong together, and agree with what a pencil says of each part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from freqprop_lab.elements import ELEMENTS, Trainable

approx = pytest.approx

RESISTOR, DIODE, ANTIPARALLEL = (ELEMENTS[kind] for kind in ("resistor", "diode", "antiparallel"))
TEN_NANOAMPERE = np.array([[10e-9], [30e-3]])  # Is, nVt

kinds = pytest.mark.parametrize("kind", sorted(ELEMENTS))
# In units of each element's own scale: volts for a resistor, n Vt for a junction.
coordinates = st.floats(-30, 30)
first_parameters = st.floats(-9, 0).map(lambda exponent: 10.0**exponent)
emission_voltages = st.floats(0.02, 0.1)


def theta_of(kind: str, first: float, emission_voltage: float) -> np.ndarray:
    if kind == "junction":
        return np.array([first, emission_voltage, 1e-3 * first])[:, None]
    # The series resistance takes about n Vt at Is: both ends of the law are met.
    return np.array([first, emission_voltage, 0.3 * emission_voltage / first])[: len(ELEMENTS[kind].parameters), None]


def scale_of(kind: str, emission_voltage: float) -> float:
    return 1.0 if kind == "resistor" else emission_voltage


@kinds
@given(u=coordinates, first=first_parameters, width=emission_voltages)
def test_current_is_the_derivative_of_the_energy(kind, u, first, width):
    element, theta, scale = ELEMENTS[kind], theta_of(kind, first, width), scale_of(kind, width)
    x, h = np.array([u * scale]), 1e-4 * scale
    numeric = (element.energy(theta, x + h) - element.energy(theta, x - h)) / (2 * h)
    # Truncation is h^2 / 6 of a third derivative, at most 1e-8 / 6 of the slope; rounding eps energy / h.
    size = np.abs(element.slope(theta, x)) * scale + np.abs(element.energy(theta, x)) / scale + first * scale
    assert np.abs(numeric - element.current(theta, x)) <= 1e-8 * size


@kinds
@given(u=coordinates, first=first_parameters, width=emission_voltages)
def test_slope_is_the_derivative_of_the_current(kind, u, first, width):
    # There ngspice goes over to its tail: the slope is continuous, but not what this difference needs of it.
    assume(kind != "junction" or abs(u + 3) > 1e-3)
    element, theta, scale = ELEMENTS[kind], theta_of(kind, first, width), scale_of(kind, width)
    x, h = np.array([u * scale]), 1e-4 * scale
    numeric = (element.current(theta, x + h) - element.current(theta, x - h)) / (2 * h)
    size = np.abs(element.slope(theta, x)) + np.abs(element.current(theta, x)) / scale
    assert np.abs(numeric - element.slope(theta, x)) <= 1e-8 * size


@kinds
@given(first=first_parameters, width=emission_voltages)
def test_energy_and_current_are_zero_at_no_voltage(kind, first, width):
    theta = theta_of(kind, first, width)
    assert ELEMENTS[kind].energy(theta, np.zeros(1)) == 0
    assert ELEMENTS[kind].current(theta, np.zeros(1)) == 0


@kinds
@given(u=coordinates, v=coordinates, first=first_parameters, width=emission_voltages)
def test_energy_lies_below_its_chord(kind, u, v, first, width):
    element, theta, scale = ELEMENTS[kind], theta_of(kind, first, width), scale_of(kind, width)
    here, there = element.energy(theta, np.array([u]) * scale), element.energy(theta, np.array([v]) * scale)
    middle = element.energy(theta, np.array([(u + v) / 2]) * scale)
    rounding = 1e-14 * (np.abs(here) + np.abs(there) + first * scale)
    assert middle <= (here + there) / 2 + rounding


@kinds
@pytest.mark.parametrize("u", [-600.0, -50.0, 0.0, 50.0])
def test_slope_is_positive_however_far_reverse_biased(kind, u):
    theta = theta_of(kind, 1e-9, 0.03)
    assert ELEMENTS[kind].slope(theta, np.array([u * scale_of(kind, 0.03)])) > 0


def test_a_resistor_of_2_millisiemens_at_3_volts():
    theta, x = np.array([[2e-3]]), np.array([3.0])
    assert RESISTOR.energy(theta, x) == approx([9e-3])  # 0.002 x 9 / 2
    assert RESISTOR.current(theta, x) == approx([6e-3])
    assert RESISTOR.slope(theta, x) == approx([2e-3])


def test_a_diode_of_10_nanoampere_at_ten_n_vt():
    x, e10 = np.array([0.3]), 22026.465794806718
    assert DIODE.current(TEN_NANOAMPERE, x) == approx([10e-9 * (e10 - 1)], rel=1e-12)
    assert DIODE.slope(TEN_NANOAMPERE, x) == approx([10e-9 * e10 / 30e-3], rel=1e-12)
    # Is (nVt (e^10 - 1) - 0.3) = 1e-8 (0.03 x 22025.4658 - 0.3) = 1e-8 x 660.46397
    assert DIODE.energy(TEN_NANOAMPERE, x) == approx([1e-8 * (0.03 * (e10 - 1) - 0.3)], rel=1e-12)


def test_a_reverse_biased_diode_leaks_its_saturation_current():
    assert DIODE.current(TEN_NANOAMPERE, np.array([-5.0])) == approx([-10e-9], rel=1e-12)


def test_the_slope_of_a_reverse_biased_diode_keeps_its_digits():
    # e^-30 = 9.357622968840175e-14; (expm1(-30) + 1) would have three digits of it.
    assert DIODE.slope(TEN_NANOAMPERE, np.array([-0.9])) == approx([10e-9 / 30e-3 * 9.357622968840175e-14], rel=1e-9)


def test_antiparallel_diodes_are_two_hyperbolic_sines():
    x = np.array([-0.3, -0.01, 0.01, 0.3])
    assert ANTIPARALLEL.current(TEN_NANOAMPERE, x) == approx(20e-9 * np.sinh(x / 30e-3), rel=1e-12)
    assert ANTIPARALLEL.energy(TEN_NANOAMPERE, x) == approx(20e-9 * 30e-3 * (np.cosh(x / 30e-3) - 1), rel=1e-9)


@given(u=st.floats(-100, 100))
def test_antiparallel_diodes_are_odd_in_current_and_even_in_energy(u):
    x = np.array([u * 30e-3])
    assert ANTIPARALLEL.current(TEN_NANOAMPERE, -x) == -ANTIPARALLEL.current(TEN_NANOAMPERE, x)
    assert ANTIPARALLEL.energy(TEN_NANOAMPERE, -x) == ANTIPARALLEL.energy(TEN_NANOAMPERE, x)
    assert ANTIPARALLEL.slope(TEN_NANOAMPERE, -x) == ANTIPARALLEL.slope(TEN_NANOAMPERE, x)


@pytest.mark.parametrize("kind", ["diode", "antiparallel"])
def test_a_junction_is_finite_at_100_volts_either_way(kind):
    x = np.array([-100.0, 100.0])
    for value in (ELEMENTS[kind].energy, ELEMENTS[kind].current, ELEMENTS[kind].slope):
        assert np.isfinite(value(TEN_NANOAMPERE, x)).all()


@pytest.mark.parametrize("kind", ["diode", "antiparallel"])
def test_beyond_80_n_vt_the_current_goes_on_along_its_tangent(kind):
    element, edge = ELEMENTS[kind], 80 * 30e-3
    below, above = np.array([edge * (1 - 1e-9)]), np.array([edge * (1 + 1e-9)])
    for value in (element.energy, element.current, element.slope):
        assert value(TEN_NANOAMPERE, below) == approx(value(TEN_NANOAMPERE, above), rel=1e-6)
    # e^80 = 5.54062e34: at 90 nVt the tangent stands at Is e^80 (1 + 10), not at Is e^90.
    assert element.current(TEN_NANOAMPERE, np.array([90 * 30e-3])) == approx([10e-9 * 5.540622384e34 * 11], rel=1e-9)


@given(x=st.floats(-10, 10), g=first_parameters)
def test_what_rules_need_of_a_resistor_agrees_with_finite_differences(x, g):
    assert isinstance(RESISTOR, Trainable)
    theta, at, h = np.array([[g]]), np.array([x]), 1e-3
    step = np.array([[g * h]])
    by_theta = (RESISTOR.energy(theta + step, at) - RESISTOR.energy(theta - step, at)) / (2 * g * h)
    assert RESISTOR.dE_dtheta(theta, at)[0] == approx(by_theta, rel=1e-9, abs=1e-12)
    mixed = (RESISTOR.current(theta + step, at) - RESISTOR.current(theta - step, at)) / (2 * g * h)
    assert RESISTOR.d2E_dtheta_dx(theta, at)[0] == approx(mixed, rel=1e-9, abs=1e-12)
    third = (RESISTOR.slope(theta + step, at) - RESISTOR.slope(theta - step, at)) / (2 * g * h)
    assert RESISTOR.d3E_dtheta_dx2(theta, at)[0] == approx(third, rel=1e-9)


def test_batches_lead_and_branches_come_last():
    theta, x = np.array([[1.0, 2.0, 3.0]]), np.ones((4, 3))
    assert isinstance(RESISTOR, Trainable)
    assert RESISTOR.current(theta, x).shape == (4, 3)
    assert RESISTOR.slope(theta, x)[2].tolist() == [1.0, 2.0, 3.0]
    assert RESISTOR.d2E_dtheta_dx(theta, x).shape == (1, 4, 3)


def test_only_the_resistor_can_be_learnt():
    assert [kind for kind, element in ELEMENTS.items() if isinstance(element, Trainable)] == ["resistor"]


def test_a_junction_far_backwards_leaks_what_ngspice_says():
    # At -1 V, nVt 30 mV: 3 nVt / e = 33.11 mV, cubed 3.63e-5, which its tail lacks of Is; and 1 pA through gmin.
    current = ELEMENTS["junction"].current(np.array([[10e-9], [30e-3], [1e-12]]), np.array([-1.0]))
    assert current == approx(-10e-9 * (1 - (0.09 / np.e) ** 3) - 1e-12, rel=1e-12)


def test_a_junction_is_shockleys_ahead():
    ahead = np.linspace(-0.08, 0.6, 20)
    theta = np.array([[10e-9], [30e-3], [1e-30]])
    assert ELEMENTS["junction"].current(theta, ahead) == approx(DIODE.current(TEN_NANOAMPERE, ahead), rel=1e-12)
