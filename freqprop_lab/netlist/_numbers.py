"""Numbers as SPICE writes them: 4.7k, 10uF, 1meg. Letters after the scale are ignored, as in ngspice and LTspice.

Where the two, or two versions of one, read a number differently it is refused rather than read.
"""

from __future__ import annotations

import math
import re

from freqprop_lab.names import cut

_EXPONENTS = {"t": 12, "g": 9, "k": 3, "m": -3, "u": -6, "µ": -6, "μ": -6, "n": -9, "p": -12, "f": -15}
_MIL = 25.4e-6
_LONGEST = 60
NUMBER = re.compile(r"([+-]?)((?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eEdD]([+-]?[0-9]+))?([a-zA-ZµμΩ\u2126]*)")


def parse_number(text: str) -> float:
    """Return the number that a SPICE value stands for. Raises ValueError saying what is wanted."""
    shape = NUMBER.fullmatch(text)
    if shape is None or len(text) > _LONGEST:
        if re.match(r"[+-]?[0-9.]+[a-zA-Zµμ]+[0-9]", text):
            raise ValueError(
                f'"{cut(text)}" has digits behind its scale, which not all SPICEs read; write 4.7k, not 4k7'
            )
        raise ValueError(f'"{cut(text)}" is not a number such as 4.7k, 10u or 1meg')
    sign, digits, exponent, letters = shape.groups()
    letters = letters.lower()
    if letters.startswith("a"):
        raise ValueError(
            f'"{cut(text)}": newer ngspice reads A as 1e-18, others as amperes; leave it out, or write 1e-18'
        )
    if letters.startswith("e"):
        raise ValueError(f'"{cut(text)}" has an e without an exponent; write 1e3, or leave it out')
    power, factor = int(exponent or 0), 1.0
    if letters.startswith("meg"):
        power += 6
    elif letters.startswith("mil"):
        factor = _MIL
    else:
        power += _EXPONENTS.get(letters[:1], 0)
    # Through text, so that 10u is the double next to 1e-5, which 10 * 1e-6 is not.
    number = float(f"{sign}{digits}e{power}") * factor
    if not math.isfinite(number):
        raise ValueError(f'"{cut(text)}" is too large for a number')
    return number


def trap(text: str, kind: str) -> str | None:
    """Say where a number is not what many who write it mean: 1M is a thousandth, 1F of a capacitor 1e-15."""
    shape = NUMBER.fullmatch(text)
    letters = shape[4] if shape else ""
    if letters.startswith("M") and not letters.lower().startswith(("meg", "mil")):
        return f"{cut(text)} is read as {parse_number(text):g}: in SPICE M is milli, and mega is meg"
    if kind == "C" and letters.lower() in ("f", "farad", "farads"):
        return f"{cut(text)} is read as {parse_number(text):g} F: in SPICE F is femto; leave the unit out"
    return None
