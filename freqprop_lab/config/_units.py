"""Quantities in text: "10 kOhm", "2 ms", "5 mV"; SI floats inside. Each field has its own list of allowed units."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator

_SPELLINGS = {
    "V": ("V", "volt", "volts"),
    "A": ("A", "ampere", "amperes"),
    "S": ("S", "siemens"),
    "Ohm": ("Ohm", "ohm", "Ohms", "ohms", "\u03a9", "\u2126"),
    "s": ("s", "second", "seconds"),
    "Hz": ("Hz", "hertz"),
}


def parse_quantity(value: Any, *units: str) -> tuple[float, str]:
    """Return the SI value and which of `units` it was given in; a bare number is in the first of them.

    Raises ValueError saying what is allowed. quantiphy reads any word as a unit ("10 K"), hence our own list.
    """
    wanted = f"a number with the unit {' or '.join(units)}"
    if isinstance(value, bool) or value is None:
        raise ValueError(f"{value!r} is not a quantity; {wanted} is wanted")
    if isinstance(value, int | float):
        number, unit = float(value), units[0]
    else:
        number, unit = _of_text(str(value), wanted, units)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not finite; {wanted} is wanted")
    return number, unit


def _of_text(text: str, wanted: str, units: tuple[str, ...]) -> tuple[float, str]:
    from quantiphy import QuantiPhyError, Quantity  # noqa: PLC0415

    try:
        quantity = Quantity(text.strip().replace("µ", "u").replace("μ", "u"))
    except (QuantiPhyError, ValueError):
        raise ValueError(f'"{text}" is not a quantity; {wanted} is wanted, such as "{_example(units[0])}"') from None
    if not quantity.units:
        return float(quantity), units[0]
    for unit in units:
        if quantity.units in _SPELLINGS[unit]:
            return float(quantity), unit
    raise ValueError(f'"{text}" has the unit "{quantity.units}"; {wanted} is wanted, such as "{_example(units[0])}"')


def _example(unit: str) -> str:
    return {"V": "5 mV", "A": "10 nA", "S": "0.1 mS", "Ohm": "10 kOhm", "s": "2 ms", "Hz": "1 kHz"}[unit]


def _quantity(*units: str) -> Any:
    def parse(value: Any) -> float:
        return parse_quantity(value, *units)[0]

    return BeforeValidator(parse)


def _conductance(value: Any) -> float:
    number, unit = parse_quantity(value, "S", "Ohm")
    if unit == "Ohm":
        if number <= 0:
            raise ValueError(f"{value} is no resistance; it must be above 0")
        return 1 / number
    return number


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number; this field is in task units and takes none of its own")
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)


def _fraction(value: Any) -> float:
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip().removesuffix("%")) / 100
        except ValueError:
            raise ValueError(f'"{value}" is not a fraction; write 0.02 or 2 %') from None
    return _number(value)


Volts = Annotated[float, _quantity("V")]
Amperes = Annotated[float, _quantity("A")]
Ohms = Annotated[float, _quantity("Ohm")]
Seconds = Annotated[float, _quantity("s")]
Hertz = Annotated[float, _quantity("Hz")]
Siemens = Annotated[float, BeforeValidator(_conductance)]  # a resistance is turned into its conductance
Number = Annotated[float, BeforeValidator(_number)]  # in task units: finite, no unit
Fraction = Annotated[float, BeforeValidator(_fraction)]  # 0.02 or "2 %"
