"""Quantities in text: "10 kOhm", "2 ms", "5 mV"; SI floats inside. Each field has its own list of allowed units."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from freqprop_lab.names import cut

_SPELLINGS = {
    "V": ("V", "volt", "volts"),
    "A": ("A", "ampere", "amperes"),
    "S": ("S", "siemens"),
    "Ohm": ("Ohm", "ohm", "Ohms", "ohms"),  # and the Greek letter, which becomes Ohm first
    "s": ("s", "second", "seconds"),
    "Hz": ("Hz", "hertz"),
    "W": ("W", "watt", "watts"),
    "F": ("F", "farad", "farads"),
}
_EXAMPLES = {
    "V": "5 mV",
    "A": "10 nA",
    "S": "0.1 mS",
    "Ohm": "10 kOhm",
    "s": "2 ms",
    "Hz": "1 kHz",
    "W": "50 mW",
    "F": "100 pF",
}


# quantiphy alone would also take "1,5 V" as 15 V, "x = 5 V", "$5" and "1_000 V".
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\W\d_]*)", re.ASCII)


def parse_quantity(value: Any, *units: str, bare: bool = True) -> tuple[float, str]:
    """Return the SI value and which of `units` it was given in; a bare number is in the first of them, if allowed.

    Raises ValueError saying what is allowed. quantiphy reads any word as a unit ("5 mil"), and "10 K" as ten thousand
    of whatever is wanted, hence our own list of units, one of which must follow a prefix.
    """
    wanted = f"a number with the unit {' or '.join(units)}, such as {' or '.join(_EXAMPLES[unit] for unit in units)}"
    if value is None:
        raise ValueError(f"it is empty; {wanted}, is wanted")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{cut(repr(value))} is not a quantity; {wanted}, is wanted")
    if isinstance(value, str):
        number, unit = _of_text(value, wanted, units, bare)
    elif bare:
        number, unit = float(value), units[0]
    else:
        raise ValueError(f"{value} has no unit; {wanted}, is wanted")
    if not math.isfinite(number):
        raise ValueError(f"{cut(str(value))} is not finite; {wanted}, is wanted")
    return number, unit


def _of_text(text: str, wanted: str, units: tuple[str, ...], bare: bool) -> tuple[float, str]:
    from quantiphy import Quantity  # noqa: PLC0415 - takes its time, and --help needs none of it

    # Only the micro sign (two code points look alike) and Ohm (likewise) are letters beyond ASCII.
    plain = text.strip().translate({0xB5: "u", 0x3BC: "u", 0x3A9: "Ohm", 0x2126: "Ohm"})
    shape = _FORM.fullmatch(plain)
    if shape is None:
        if plain.lower().lstrip("+-.") in ("nan", "inf", "infinity"):
            raise ValueError(f'"{cut(text)}" is not finite; {wanted}, is wanted')
        raise ValueError(f'"{cut(text)}" is not a quantity; {wanted}, is wanted')
    digits, letters = shape.groups()
    if not letters and bare:
        return float(digits), units[0]
    if not letters:
        raise ValueError(f'"{cut(text)}" has no unit; {wanted}, is wanted')
    both = "e" in digits.lower()  # an exponent and a prefix, which quantiphy does not take together
    quantity = Quantity(f"{'1' if both else digits} {letters}")
    for unit in units:
        if quantity.units in _SPELLINGS[unit]:
            return float(quantity) * (float(digits) if both else 1.0), unit
    raise ValueError(f'"{cut(text)}" is not in {" or ".join(units)}; {wanted}, is wanted')


def _quantity(*units: str) -> Any:
    def parse(value: Any) -> float:
        return parse_quantity(value, *units)[0]

    return BeforeValidator(parse)


_TIMES = {
    "s": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "days": 86400.0,
    "week": 604800.0,
    "weeks": 604800.0,
}


def parse_duration(value: Any) -> float:
    """Return a time by the clock or the calendar in s: "90 min", "12 h", "30 days". Raises ValueError.

    A bare number is refused: nobody writes 30 for an age and means seconds.
    """
    wanted = "a number with s, min, h or days, such as 12 h or 30 days, is wanted"
    if value is None:
        raise ValueError(f"it is empty; {wanted}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f'{value:g} has no unit; {wanted}: write "{value:g} days" if those are meant')
    shape = _FORM.fullmatch(value.strip()) if isinstance(value, str) else None
    if shape is None:
        raise ValueError(f"{cut(repr(value))} is no duration; {wanted}")
    digits, unit = shape.groups()
    if unit not in _TIMES:
        said = f"is in no unit of these ({cut(unit)})" if unit else "has no unit"
        raise ValueError(f'"{cut(value)}" {said}; {wanted}')
    seconds = float(digits) * _TIMES[unit]
    if not math.isfinite(seconds):
        raise ValueError(f'"{cut(value)}" is not finite; {wanted}')
    return seconds


def _conductance(value: Any) -> float:
    number, unit = parse_quantity(value, "S", "Ohm")
    if unit == "Ohm":
        if number <= 0:
            raise ValueError(f"{value} is no resistance; it must be above 0")
        return 1 / number
    return number


def _number(value: Any) -> float:
    if isinstance(value, str):
        raise ValueError(f'"{cut(value)}" is not a number; this field is in task units and takes no unit of its own')
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{'it is empty' if value is None else cut(repr(value))}; a number is wanted")
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite; a finite number is wanted")
    return float(value)


def parse_fraction(value: Any) -> float:
    """Return a share: a number as it is, text in per cent. Raises ValueError saying what is allowed."""
    if not isinstance(value, str):
        return _number(value)
    shape = _FORM.fullmatch(value.strip().removesuffix("%").rstrip())
    if shape is None or shape[2] or not value.strip().endswith("%") or not math.isfinite(float(shape[1])):
        raise ValueError(f'"{cut(value)}" is not a fraction; write 0.02 or 2 %')
    return float(shape[1]) / 100


Watts = Annotated[float, _quantity("W")]
Volts = Annotated[float, _quantity("V")]
Amperes = Annotated[float, _quantity("A")]
Ohms = Annotated[float, _quantity("Ohm")]
Seconds = Annotated[float, _quantity("s")]
Duration = Annotated[float, BeforeValidator(parse_duration)]  # by clock or calendar: "12 h", "30 days"
Hertz = Annotated[float, _quantity("Hz")]
Farads = Annotated[float, _quantity("F")]
Siemens = Annotated[float, BeforeValidator(_conductance)]  # a resistance is turned into its conductance
Number = Annotated[float, BeforeValidator(_number)]  # in task units: finite, no unit
Fraction = Annotated[float, BeforeValidator(parse_fraction)]  # 0.02 or "2 %"
