"""The elements beyond resistor and ideal diode: series resistance, tables, functions, capacitors, transistors."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from freqprop_lab.elements import (
    BOLTZMANN,
    CAPACITOR,
    ELEMENTARY_CHARGE,
    ELEMENTS,
    MOSFET,
    Element,
    FromFunction,
    Limits,
    Resistor,
    Tabulated,
)
from freqprop_lab.network import GROUND, Branch, Network, NetworkError

approx = pytest.approx
DIODE, ANTIPARALLEL, SERIES = (ELEMENTS[kind] for kind in ("diode", "antiparallel", "series-diode"))
NONE = np.zeros((0, 1))  # of an element without parameters


def check_laws(element: Element, theta: np.ndarray, x: float, scale: float) -> None:
    """Slope is the derivative of current, current that of energy, by central differences of second order."""
    h = 1e-4 * scale
    low, at, high = np.array([x - h]), np.array([x]), np.array([x + h])
    slope, current = element.slope(theta, at), element.current(theta, at)
    numeric = (element.energy(theta, high) - element.energy(theta, low)) / (2 * h)
    size = np.abs(slope) * scale + np.abs(current) + np.abs(element.energy(theta, at)) / scale
    assert np.abs(numeric - current) <= 3e-8 * size
    numeric = (element.current(theta, high) - element.current(theta, low)) / (2 * h)
    assert np.abs(numeric - slope) <= 3e-8 * (size / scale + np.abs(current) / scale)
    assert element.energy(theta, np.zeros(1)) == approx(0, abs=1e-300)
    assert slope >= 0


# --- a diode with series resistance ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    u=st.floats(-50, 200),
    decade=st.floats(-15, -3),
    width=st.floats(0.005, 0.1),
    ohm=st.one_of(st.just(0.0), st.floats(-9, 6).map(lambda e: 10.0**e)),
)
def test_a_series_diode_obeys_the_laws_of_an_element(u, decade, width, ohm):
    theta = np.array([[10.0**decade], [width], [ohm]])
    x = min(u, 60.0) * width if ohm == 0 else u * width
    check_laws(SERIES, theta, x, width)


@pytest.mark.parametrize("ohm", [1e-9, 1e-3, 1.0, 50.0, 1e3, 1e6])
@pytest.mark.parametrize("Is", [1e-18, 1e-14, 1e-8, 1e-3])
@pytest.mark.parametrize("x", [-20.0, -1.0, -1e-6, 1e-6, 0.3, 1.0, 20.0])
def test_the_current_of_a_series_diode_is_the_root_of_its_equation(ohm, Is, x):
    nVt = 0.02585
    low, high = sorted((0.0, x))

    def too_much(y: float) -> float:
        return y + ohm * Is * math.expm1(min(y / nVt, 700.0)) - x

    y = brentq(too_much, max(low, x if x < 0 else 0.0) - 1e-300, high if x < 0 else min(x, 2.0), xtol=1e-17, rtol=1e-15)
    # By whichever of both parts is the better conditioned.
    expected = Is * math.expm1(y / nVt) if abs(y) < 0.1 * abs(x) or y < 0.5 * x or ohm < 1 else (x - y) / ohm
    found = SERIES.current(np.array([[Is], [nVt], [ohm]]), np.array([x]))[0]
    assert found == approx(expected, rel=1e-9) or abs(found - expected) * ohm <= 1e-14 * abs(x)


def test_without_resistance_it_is_the_diode_and_with_much_of_it_the_resistor():
    x = np.array([-3.0, -0.01, 0.2, 0.5])
    plain, none = np.array([[1e-9] * 4, [0.03] * 4]), np.array([[1e-9] * 4, [0.03] * 4, [0.0] * 4])
    for law in ("energy", "current", "slope"):
        assert getattr(SERIES, law)(none, x) == approx(getattr(DIODE, law)(plain, x), rel=1e-13)
    # 10 V behind 1 MOhm: y = 0.03 ln(1e-5 / 1e-9) = 0.2763, so about 9.7237 uA, and y once more from that
    current = SERIES.current(np.array([[1e-9], [0.03], [1e6]]), np.array([10.0]))[0]
    assert current == approx((10 - 0.03 * math.log1p(current / 1e-9)) / 1e6, rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(x=st.floats(-5, 20), change=st.floats(-20, 20), ohm=st.sampled_from([0.0, 1.0, 1e4]))
def test_what_is_believed_of_a_step_never_passes_what_the_tangent_promised(x, change, ohm):
    theta = np.array([[1e-14], [0.026], [ohm]])
    x = min(x, 1.5) if ohm == 0 else x
    share = SERIES.believed(theta, np.array([x]), np.array([change]))[0]
    assert 0 <= share <= 1
    opened = max(x, 0.0)
    promised = SERIES.current(theta, np.array([opened])) + SERIES.slope(theta, np.array([opened])) * max(
        x + change - opened, 0.0
    )
    there = SERIES.current(theta, np.array([x + share * change]))
    assert there <= promised * (1 + 1e-6) + 1e-20 or x + change - opened <= 2 * 0.026


@pytest.mark.parametrize("kind", ["diode", "antiparallel", "series-diode"])
@settings(deadline=None, max_examples=60)
@given(u=st.floats(-20, 20))
def test_the_derivatives_by_the_parameters_are_those_of_the_current(kind, u):
    element = ELEMENTS[kind]
    theta = np.array([[1e-9], [0.03], [2e5]])[: len(element.parameters)]
    x = np.array([u * 0.03])
    found = element.current_by_theta(theta, x)
    numeric = Element.current_by_theta(element, theta, x)  # what an element without formulas falls back on
    size = np.abs(element.current(theta, x)) + 1e-9
    # A parameter's relative change by 1e-3 moves the exponent by up to 0.02: the differences are good to 1e-8.
    assert np.abs((found - numeric) * theta).max() <= 1e-6 * size.max()


# --- tables ----------------------------------------------------------------------------------------------------------

LAMP_VOLTS = np.array([-2.0, -1.0, -0.3, 0.0, 0.4, 1.0, 1.5, 3.0])
LAMP_AMPERES = np.array([-5e-3, -4e-3, -1.8e-3, 0.0, 2e-3, 3.5e-3, 6e-3, 7e-3])


@settings(deadline=None, max_examples=60)
@given(x=st.floats(-4, 5))
def test_a_table_obeys_the_laws_of_an_element(x):
    table = Tabulated(LAMP_VOLTS, LAMP_AMPERES)
    if np.abs(LAMP_VOLTS - x).min() < 1e-3:  # the slope has a kink at each point
        x += 2e-3
    check_laws(table, NONE, x, 0.3)
    assert table.slope(NONE, np.array([x])) > 0


def test_a_table_passes_its_points_and_goes_between_them_as_scipys_pchip():
    table, pchip = Tabulated(LAMP_VOLTS, LAMP_AMPERES), PchipInterpolator(LAMP_VOLTS, LAMP_AMPERES)
    assert table.current(NONE, LAMP_VOLTS) == approx(LAMP_AMPERES, rel=1e-14, abs=1e-18)
    inner = np.linspace(-1, 1.5, 101)  # the end intervals differ where PCHIP would let the slope vanish
    assert table.current(NONE, inner) == approx(pchip(inner), rel=1e-12, abs=1e-17)


def test_beyond_its_ends_a_table_goes_straight_on():
    table = Tabulated([0.0, 1.0], [0.0, 2e-3])
    assert table.current(NONE, np.array([-3.0, 4.0])) == approx([-6e-3, 8e-3])
    assert table.slope(NONE, np.array([-3.0, 0.5, 4.0])) == approx([2e-3] * 3)
    assert table.energy(NONE, np.array([-3.0, 4.0])) == approx([9e-3, 16e-3])  # G x^2 / 2


def test_a_fine_table_of_a_diode_is_the_diode():
    theta = np.array([[1e-9], [0.03]])
    volts = np.linspace(-0.5, 0.5, 4001)
    table = Tabulated(volts, DIODE.current(theta, volts))
    x = np.linspace(-0.1, 0.48, 57)
    assert table.current(NONE, x) == approx(DIODE.current(theta, x), rel=1e-6, abs=1e-15)
    assert table.energy(NONE, x) == approx(DIODE.energy(theta, x), rel=1e-6, abs=1e-16)


@pytest.mark.parametrize(
    ("volts", "amperes", "message"),
    [
        ([0, 1, 1, 2], [0, 1, 2, 3], "voltage of an I-V table must rise from row to row: row 2 has 1 V, row 3 1 V"),
        ([0, 1, 2], [0, 2, 1.5], "current of an I-V table must rise from row to row: row 2 has 2 A, row 3 1.5 A"),
        ([0, 1], [0], "needs two columns of at least 2 rows"),
        ([0], [0], "needs two columns of at least 2 rows"),
        ([0, np.nan], [0, 1], "row 2 of the table has no voltage"),
        ([0, 1], [0, np.inf], "row 2 of the table has no current"),
    ],
)
def test_a_table_that_does_not_rise_is_refused_by_its_row(volts, amperes, message):
    with pytest.raises(ValueError, match=message):
        Tabulated(volts, amperes)


# --- functions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [-7.0, -0.5, 0.0, 0.3, 2.0, 40.0])
def test_a_function_without_its_derivatives_gets_them(x):
    element = FromFunction(lambda v: 1e-3 * np.tanh(v) + 1e-4 * v)
    at = np.array([x])
    assert element.slope(NONE, at) == approx(1e-3 / np.cosh(at) ** 2 + 1e-4, rel=1e-9)
    # The integral of tanh is ln cosh, |x| - ln 2 far out.
    log_cosh = np.abs(at) + np.log1p(np.exp(-2 * np.abs(at))) - math.log(2)
    assert element.energy(NONE, at) == approx(1e-3 * log_cosh + 0.5e-4 * at**2, rel=1e-10, abs=1e-18)


def test_what_a_function_is_given_is_used():
    element = FromFunction(lambda v: v**3 + v, slope=lambda v: 3 * v**2 + 1, energy=lambda v: v**4 / 4 + v**2 / 2 + 7)
    check_laws(element, NONE, 1.3, 1.0)
    assert element.energy(NONE, np.array([2.0])) == approx([6.0])  # 16 / 4 + 4 / 2; the 7 is nobody's


def test_a_function_that_falls_or_fails_is_refused_with_the_voltage():
    with pytest.raises(ValueError, match="no positive slope at 2 V"):
        FromFunction(lambda v: -v).slope(NONE, np.array([2.0]))
    with pytest.raises(ValueError, match="one finite current for each voltage at 3 V"):
        FromFunction(lambda v: np.where(v > 2, np.nan, v)).current(NONE, np.array([3.0]))
    with pytest.raises(ValueError, match="width is 0 V"):
        FromFunction(lambda v: v, width=0.0)


# --- limits, capacitors, noise ---------------------------------------------------------------------------------------


def test_limits_are_told_with_what_is_allowed():
    limits = Limits(watts=0.25, volts=50.0, amperes=0.1)
    assert limits.exceeded(5.0, 0.04) is None
    assert limits.exceeded(-10.0, -0.04) == "0.4 W, allowed 0.25 W"
    assert limits.exceeded(-60.0, 1e-3) == "60 V, allowed 50 V"
    assert limits.exceeded(1.0, -0.2) == "0.2 A, allowed 0.1 A"
    assert Limits().exceeded(1e9, 1e9) is None
    assert Resistor(limits).limits is limits
    with pytest.raises(AttributeError):
        limits.watts = 1.0
    with pytest.raises(ValueError, match="watts is 0, it must be above 0"):
        Limits(watts=0.0)


def test_a_capacitor_of_2_microfarad_at_3_volts():
    theta, x = np.array([[2e-6]]), np.array([3.0])
    assert CAPACITOR.energy(theta, x) == approx([9e-6])
    assert CAPACITOR.charge(theta, x) == approx([6e-6])
    assert CAPACITOR.capacitance(theta, x) == approx([2e-6])


def test_noise_currents_by_hand():
    # 4 k T G at 300 K and 1 mS: 1.6568e-23 A^2/Hz
    assert ELEMENTS["resistor"].noise(np.array([[1e-3]]), np.array([2.0]), 300.0) == approx([1.656779e-23], rel=1e-6)
    Is, nVt = 1e-9, BOLTZMANN * 300 / ELEMENTARY_CHARGE
    theta = np.array([[Is], [nVt]])
    # At rest both streams of a diode make Nyquist's 4 k T Is / Vt; far forward 2 q I.
    assert DIODE.noise(theta, np.zeros(1), 300.0) == approx([4 * BOLTZMANN * 300 * Is / nVt], rel=1e-12)
    at = np.array([0.6])
    assert DIODE.noise(theta, at, 300.0) == approx(2 * ELEMENTARY_CHARGE * DIODE.current(theta, at), rel=1e-8)
    assert ANTIPARALLEL.noise(theta, np.zeros(1), 300.0) == approx([8 * ELEMENTARY_CHARGE * Is])
    # At rest a series diode is a resistance Rs + Vt / Is in thermal equilibrium.
    series = np.array([[Is], [nVt], [1e7]])
    expected = 4 * BOLTZMANN * 300 / (1e7 + nVt / Is)
    assert SERIES.noise(series, np.zeros(1), 300.0) == approx([expected], rel=1e-12)


# --- transistors -----------------------------------------------------------------------------------------------------

ALD = np.array([[5e-4], [0.7], [0.0], [3.0]])  # KP W / L, VTO, lambda, gate
LONG = np.array([[5e-4], [0.7], [0.05], [3.0]])


def test_a_transistor_by_hand_in_its_three_regions():
    def current(gate: float, drain: float, source: float, modulation: float = 0.0) -> float:
        theta = np.array([[5e-4], [0.7], [modulation], [gate]])
        return float(MOSFET.current(theta, np.array([drain]), np.array([source]))[0])

    assert current(0.5, 2.0, 0.0) == 0  # off
    # Triode: beta ((3 - 0.7) 0.5 - 0.125) = 5e-4 x 1.025
    assert current(3.0, 0.5, 0.0) == approx(5.125e-4)
    assert current(3.0, 0.0, 0.5) == approx(-5.125e-4)  # the same with the ends exchanged
    # Saturation: beta / 2 x 2.3^2, and 1 + 0.05 x 4 for lambda
    assert current(3.0, 4.0, 0.0) == approx(1.3225e-3)
    assert current(3.0, 4.0, 0.0, 0.05) == approx(1.587e-3)
    # The source at 1 V: overdrive 1.3, v_ds 0.2: beta (1.3 x 0.2 - 0.02)
    assert current(3.0, 1.2, 1.0) == approx(1.2e-4)


@settings(deadline=None, max_examples=60)
@given(v=st.floats(-3, 5), w=st.floats(-3, 5), theta=st.sampled_from(["plain", "long"]))
def test_the_jacobian_of_a_transistor_is_its_derivative_at_both_ends(v, w, theta):
    parameters = ALD if theta == "plain" else LONG
    if min(abs(v - 2.3), abs(w - 2.3), abs(v - w)) < 1e-3:  # the second derivative jumps there
        v, w = v + 0.01, w + 0.03
    h = 1e-5
    plus, minus = np.array([v]), np.array([w])
    by_plus, by_minus = MOSFET.jacobian(parameters, plus, minus)
    numeric = (MOSFET.current(parameters, plus + h, minus) - MOSFET.current(parameters, plus - h, minus)) / (2 * h)
    assert by_plus == approx(numeric, rel=1e-6, abs=1e-11)
    numeric = (MOSFET.current(parameters, plus, minus + h) - MOSFET.current(parameters, plus, minus - h)) / (2 * h)
    assert by_minus == approx(numeric, rel=1e-6, abs=1e-11)
    assert by_plus >= 0
    assert by_minus <= 0
    for row in range(4):
        step = np.zeros((4, 1))
        step[row] = 1e-6
        numeric = (
            MOSFET.current(parameters + step, plus, minus) - MOSFET.current(parameters - step, plus, minus)
        ) / 2e-6
        assert MOSFET.current_by_theta(parameters, plus, minus)[row] == approx(numeric, rel=1e-5, abs=1e-10)


def test_a_transistor_is_noisy_as_its_channel():
    at = np.array([1.0])
    conductance = 5e-4 * (3.0 - 0.7 - 1.0)
    rest = 4 * BOLTZMANN * 300 * conductance
    assert MOSFET.noise(ALD, at, at, 300.0) == approx([rest])
    assert MOSFET.noise(ALD, np.array([9.0]), at, 300.0) == approx([2 / 3 * rest])


# --- what a network takes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("element", "theta", "message"),
    [
        (SERIES, (1e-9, 0.03, -1.0), "series_resistance is -1 Ohm, it must be at least 0"),
        (SERIES, (0.0, 0.03, 1.0), "saturation_current is 0 A, it must be above 0"),
        (SERIES, (1e-9, 0.03), "a series-diode needs saturation_current, emission_voltage, series_resistance"),
        (CAPACITOR, (0.0,), "capacitance is 0 F, it must be above 0"),
        (MOSFET, (0.0, 0.7, 0.0, 3.0), "transconductance is 0 A/V^2"),
        (MOSFET, (1e-3, 0.7, -0.1, 3.0), "modulation is -0.1 1/V"),
        (MOSFET, (1e-3, np.nan, 0.1, 3.0), "both must be finite"),
    ],
)
def test_parameters_that_cannot_be_are_refused_by_branch(element, theta, message):
    with pytest.raises(NetworkError, match=re.escape(message)):
        Network(("a",), (Branch("X", "a", GROUND, element, theta),))


def test_zero_series_resistance_and_gates_of_either_sign_are_parts():
    Network(("a",), (Branch("D", "a", GROUND, SERIES, (1e-9, 0.03, 0.0)),))
    Network(("a",), (Branch("M", "a", GROUND, MOSFET, (1e-3, -0.7, 0.0, -1.0)),))
