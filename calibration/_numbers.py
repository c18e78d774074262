"""Numbers with their units and doubts, as a person reads them."""

from __future__ import annotations

import math

_PREFIXES = {-4: "p", -3: "n", -2: "\N{MICRO SIGN}", -1: "m", 0: "", 1: "k", 2: "M", 3: "G"}
_PLAIN = ("", "1", "%")  # units that take no prefix
_POWER = "^"  # nor does one with a power: mV^2 is the square of a mV
_PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
_MOST_DIGITS = 12  # behind the point


def measure(value: float, unit: str) -> str:
    """Write a value to six digits with a prefix before its unit: 4.7 kOhm."""
    power = _power(value, unit)
    return _joined(f"{value / 1000.0**power:.6g}", power, unit)


def with_doubt(value: float, doubt: float, unit: str) -> str:
    """Write a value to the second digit of its doubt, both with the same prefix: (1.2340 +- 0.0012) mV (GUM 7.2.6)."""
    if math.isnan(value):
        return "not determined"
    if math.isnan(doubt):
        return f"{measure(value, unit)}, its uncertainty unknown"
    if not doubt:
        return f"{measure(value, unit)} exactly"
    power = _power(max(abs(value), doubt), unit)
    digits = max(0, 1 - math.floor(math.log10(doubt / 1000.0**power)))
    if digits > _MOST_DIGITS or not math.isfinite(doubt):
        return _joined(f"({value:.{_MOST_DIGITS}g} {_PLUS_MINUS} {doubt:.2g})", 0, unit)
    first, second = (f"{number / 1000.0**power:.{digits}f}" for number in (value, doubt))
    return _joined(f"({first} {_PLUS_MINUS} {second})", power, unit)


def takes_prefix(unit: str) -> bool:
    """Say whether a prefix before a unit means what it says."""
    return unit not in _PLAIN and _POWER not in unit


def _power(value: float, unit: str) -> int:
    if not takes_prefix(unit) or not value or not math.isfinite(value):
        return 0
    return max(min(math.floor(math.log10(abs(value)) / 3), max(_PREFIXES)), min(_PREFIXES))


def _joined(number: str, power: int, unit: str) -> str:
    return number if unit in ("", "1") else f"{number} {_PREFIXES[power]}{unit}"
