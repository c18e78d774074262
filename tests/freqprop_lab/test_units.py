"""Quantities in text, and the many ways of writing them that are refused rather than guessed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from freqprop_lab.config import Fraction, Number, Siemens, parse_quantity
from freqprop_lab.config._units import parse_duration

approx = pytest.approx


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("10 kOhm", "Ohm", 1e4),
        ("10kOhm", "Ohm", 1e4),
        ("10 KOhm", "Ohm", 1e4),
        ("2 MOhm", "Ohm", 2e6),
        ("2 mOhm", "Ohm", 2e-3),  # a capital M is mega, a small m milli: a thousand million apart
        ("4.7 kΩ", "Ohm", 4700),  # Greek capital omega
        ("4.7 k\u2126", "Ohm", 4700),  # the Ohm sign
        ("100 ohms", "Ohm", 100),
        ("2 ms", "s", 2e-3),
        ("2 µs", "s", 2e-6),  # the micro sign
        ("2 \u03bcs", "s", 2e-6),  # Greek small mu
        ("2 us", "s", 2e-6),
        ("3 s", "s", 3),
        ("5 mV", "V", 5e-3),
        ("-2.5 V", "V", -2.5),
        ("+1.5e-3 volts", "V", 1.5e-3),
        (".5 V", "V", 0.5),
        ("5. V", "V", 5),
        ("0.1 mS", "S", 1e-4),
        ("10 nA", "A", 1e-8),
        ("1.5 kHz", "Hz", 1500),
        ("1 MHz", "Hz", 1e6),
        (" 7 V ", "V", 7),
        ("12", "V", 12),
        ("1e-3", "V", 1e-3),
        (3, "V", 3),
        (0.25, "V", 0.25),
    ],
)
def test_a_quantity_in_text_has_its_si_value(text: object, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == (approx(value, rel=1e-14), unit)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "10 K",
            "10k",
            "5 mil",
            "5 %",
            "10 ppm",
            "5 A",
            "5 mV/s",
            "5 eV",
            "5 v",
            "5 V V",
            "V",
            "five V",
            "$5",
            "x = 5 V",
        ),
        *("1,5 V", "1,000 V", "1_000 V", "--5 V", "5 V;", "5 V -- level", "0x10 V", "1e V", "１０ V", "", " "),
        *("nan", "inf V", "1e999 V", True, None, [5], float("nan"), float("inf")),
    ],
)
def test_what_is_no_voltage_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="a number with the unit V, such as 5 mV, is wanted"):
        parse_quantity(text, "V")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90 s", 90), ("30 min", 1800), ("12 h", 43_200), ("1 d", 86_400), ("30 days", 2_592_000), ("2 weeks", 1_209_600)],
)
def test_a_duration_is_by_the_clock_or_the_calendar(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (30, '30 has no unit; .*: write "30 days"'),
        ("30", "has no unit"),
        ("3 months", "no unit of these"),
        ("nan days", "is no duration"),
        (None, "empty"),
        (True, "is no duration"),
        ("1e999 s", "not finite"),
    ],
)
def test_a_duration_without_a_known_unit_is_refused_with_an_example(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        parse_duration(value)
    assert "such as 12 h or 30 days" in str(error.value)


def test_the_unit_tells_which_of_two_was_meant() -> None:
    assert parse_quantity("10 kOhm", "S", "Ohm") == (1e4, "Ohm")
    assert parse_quantity("0.1 mS", "S", "Ohm") == (approx(1e-4), "S")
    assert parse_quantity(5, "S", "Ohm") == (5, "S")


@pytest.mark.parametrize("value", ["10000", 10000, "1e4"])
def test_a_number_without_unit_is_refused_where_two_are_possible(value: object) -> None:
    with pytest.raises(ValueError, match=r"has no unit; a number with the unit S or Ohm, such as 0\.1 mS or 10 kOhm"):
        parse_quantity(value, "S", "Ohm", bare=False)


def test_a_conductance_may_be_given_as_a_resistance() -> None:
    conductance = TypeAdapter(Siemens)
    assert conductance.validate_python("10 kOhm") == approx(1e-4)
    assert conductance.validate_python("0.1 mS") == approx(1e-4)
    with pytest.raises(ValidationError, match="0 Ohm is no resistance"):
        conductance.validate_python("0 Ohm")


@pytest.mark.parametrize(("text", "value"), [("50 %", 0.5), ("2%", 0.02), ("0.5 %", 0.005), (0.02, 0.02), (1, 1.0)])
def test_a_fraction_is_a_number_or_a_percentage(text: object, value: float) -> None:
    assert TypeAdapter(Fraction).validate_python(text) == approx(value, rel=1e-14)


@pytest.mark.parametrize("text", ["0.02", "2", "%", "2 % %", "nan %", "1e999 %", "two %", "2 V %", "1_0 %"])
def test_what_is_no_fraction_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a fraction; write"):
        TypeAdapter(Fraction).validate_python(text)


@pytest.mark.parametrize("value", ["1", "1 V", True, None, [1], math.nan, math.inf])
def test_a_number_in_task_units_is_a_finite_number(value: object) -> None:
    with pytest.raises(ValidationError, match="number"):
        TypeAdapter(Number).validate_python(value)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=12) | st.from_regex(r"[-+]?[0-9]{1,4}[.,]?[0-9]{0,3} ?[a-zA-Z%µΩ$]{0,4}", fullmatch=True))
def test_any_text_is_a_finite_quantity_or_a_value_error(text: str) -> None:
    try:
        value, unit = parse_quantity(text, "S", "Ohm")
    except ValueError:
        return
    assert math.isfinite(value)
    assert unit in ("S", "Ohm")


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.floats(-1e30, 1e30), st.sampled_from([("p", -12), ("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6)])
)
def test_a_prefix_is_its_power_of_ten(number: float, prefix: tuple[str, int]) -> None:
    letter, power = prefix
    assert parse_quantity(f"{number!r} {letter}V", "V")[0] == approx(number * 10.0**power, rel=1e-14)
