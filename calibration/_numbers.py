"""Numbers with their units and doubts, as a person reads them."""

from __future__ import annotations

import math

_PREFIXES = {-4: "p", -3: "n", -2: "\N{MICRO SIGN}", -1: "m", 0: "", 1: "k", 2: "M", 3: "G"}
_PLAIN = ("", "1", "%")  # units that take no prefix
_POWER = "^"  # nor does one with a power: mV^2 is the square of a mV
_PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
_MOST_DIGITS = 12  # behind the point
_TYPICAL = 4  # digits of a number that nobody stated an uncertainty of
_LONG = 5  # digits behind the point: from there on a power of ten stands in their place


def measure(value: float, unit: str) -> str:
    """Write a value to six digits with a prefix before its unit: 4.7 kOhm."""
    power = _power(value, unit)
    return _joined(f"{value / 1000.0**power + 0.0:.6g}", power, unit)


def rounded(value: float, unit: str, digits: int = 3) -> str:
    """Write a value to a few digits with a prefix before its unit: 37.1 ns."""
    return measure(float(f"{value:.{digits}g}"), unit)


def percent(share: float, digits: int = 2) -> str:
    """Write a share in per cent to a few digits, whole ones always: 0.034 %, 46 %, 130 %."""
    number = 100 * share
    text = f"{number + 0.0:.0f}" if abs(number) >= 10**digits else f"{number + 0.0:.{digits}g}"
    return f"{text if 'e' not in text else _without_exponent(number, digits)} %"


def with_doubt(value: float, doubt: float, unit: str) -> str:
    """Write a value to the second digit of its doubt, both with the same prefix: (1.2340 +- 0.0012) mV (GUM 7.2.6)."""
    if math.isnan(value):
        return "not told"
    if math.isnan(doubt):
        return f"{rounded(value, unit, _TYPICAL)}, its uncertainty unknown"
    if not doubt:
        return f"{measure(value, unit)}, no uncertainty stated"
    power = _power(max(abs(value), doubt), unit)
    digits = _digits(doubt / 1000.0**power)
    if digits > _MOST_DIGITS or not math.isfinite(doubt):
        return _joined(f"({value + 0.0:.{_MOST_DIGITS}g} {_PLUS_MINUS} {doubt:.2g})", 0, unit)
    scale, factor = 1000.0**power, ""
    if digits >= _LONG and not takes_prefix(unit) and max(abs(value), doubt) < 1e-2:
        exponent = 3 * math.floor(math.log10(max(abs(value), doubt)) / 3)
        scale, factor = 10.0**exponent, f" x 10^{exponent}"
        digits = _digits(doubt / scale)
    first, second = (f"{round(number / scale, digits) + 0.0:.{digits}f}" for number in (value, doubt))
    return _joined(f"({first} {_PLUS_MINUS} {second}){factor}", power, unit)


def takes_prefix(unit: str) -> bool:
    """Say whether a prefix before a unit means what it says."""
    return unit not in _PLAIN and _POWER not in unit


def _digits(doubt: float) -> int:
    """Return how many digits behind the point show the second digit of a doubt."""
    return max(0, 1 - math.floor(math.log10(doubt))) if math.isfinite(doubt) else 0


def _without_exponent(number: float, digits: int) -> str:
    return f"{number:.{min(_digits(abs(number)) + digits - 2, _MOST_DIGITS)}f}" if number else "0"


def _power(value: float, unit: str) -> int:
    if not takes_prefix(unit) or not value or not math.isfinite(value):
        return 0
    largest = abs(float(f"{value:.6g}"))  # as it is written: 999.9999 V is 1 kV
    return max(min(math.floor(math.log10(largest) / 3), max(_PREFIXES)), min(_PREFIXES))


def _joined(number: str, power: int, unit: str) -> str:
    return number if unit in ("", "1") else f"{number} {_PREFIXES[power]}{unit}"
