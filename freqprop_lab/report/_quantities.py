"""Quantities as a person reads them: one unit for a column, value and error to the same place; and flags in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from freqprop_lab.values import Flag

_PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
_MOST_DIGITS = 12


@dataclass(frozen=True)
class Scale:
    """A unit with its prefix, and what one of it is in SI."""

    unit: str
    factor: float

    def with_error(self, value: float, error: float) -> str:
        """Write `1.2345 ± 0.0012`: two digits of the error, the value to the same place. Without unit."""
        shown, doubt = value / self.factor, error / self.factor
        if not np.isfinite(shown):
            return "-"
        if not np.isfinite(doubt):
            return f"{shown:.6g}"
        if doubt == 0:
            return f"{shown:.{_MOST_DIGITS}g} ± 0"
        exponent = int(f"{doubt:.1e}".partition("e")[2])
        whole = int(f"{shown:.1e}".partition("e")[2]) if shown else 0
        decimals = 1 - exponent
        if decimals + whole > _MOST_DIGITS:  # below the rounding of the arithmetic
            return f"{shown:.{_MOST_DIGITS}g} ± {doubt:.0e}"
        return f"{shown:.{max(0, decimals)}f} ± {doubt:.{max(0, decimals)}f}"

    def of(self, value: float) -> str:
        """Write three digits of a value. Without unit."""
        shown = value / self.factor
        if not np.isfinite(shown):
            return "-"
        return f"{shown:#.3g}".rstrip(".") if abs(shown) < 1000 else f"{shown:.0f}"


def scale_of(values: ArrayLike, unit: str) -> Scale:
    """Choose the prefix that suits the largest of some values: 0.0123 V is read as 12.3 mV."""
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    largest = float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))
    # Rounded to three digits first, or 0.9999 V would be 1000 mV.
    exponent = int(f"{largest:.2e}".partition("e")[2]) // 3 * 3 if largest > 0 else 0
    exponent = min(max(exponent, min(_PREFIXES)), max(_PREFIXES))
    return Scale(f"{_PREFIXES[exponent]}{unit}", 10.0**exponent)


def flag_words(flags: int) -> list[str]:
    """Name the flags that a channel carries: "sign ambiguous"."""
    return [(flag.name or "").lower().replace("_", " ") for flag in Flag if flags & flag]
