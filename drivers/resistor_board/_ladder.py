"""From wiper codes to conductances and back.

Model of an element: R = wiper + end_to_end * k / steps, k the steps of the resistor track between the terminals used:
the code for W-B, steps - code for A-W. steps is 256 for a part of 257 taps (MCP4251) and for one of 256 (AD5206, whose
last tap is one step short of A); the board tells it. A conductance is not linear in the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from drivers.resistor_board._frames import BankReport
from freqprop_lab.values import Array

Codes: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True)
class Ladder:
    """A bank's conductances by code, S; the same rising, which code each of those is, and that of the lowest."""

    by_code: Array
    rising: Array
    codes: Codes
    safe: int

    @classmethod
    def of(cls, bank: BankReport, wiring: str, end_to_end: float, wiper: float) -> Self:
        """Return the ladder of a bank; wiring: `A-W` or `W-B`; Ohm."""
        codes = np.arange(bank.taps)
        track = codes if wiring == "W-B" else bank.steps - codes
        by_code = 1 / (wiper + end_to_end * track / bank.steps)
        order = np.argsort(by_code)
        return cls(by_code, by_code[order], order, int(order[0]))

    def nearest(self, wished: Array) -> Codes:
        """Return the codes nearest in conductance; of two equally near, the one of lower conductance."""
        below, above = self.around(wished)
        lower = wished - self.rising[below] <= self.rising[above] - wished
        return np.asarray(self.codes[np.where(lower, below, above)])

    def around(self, wished: Array) -> tuple[Codes, Codes]:
        """Return the places next below and next above in `rising`; the same twice at a value, and beyond the ends."""
        above = np.minimum(np.searchsorted(self.rising, wished), len(self.rising) - 1)
        below = np.where(wished >= self.rising[above], above, np.maximum(above - 1, 0))
        return below, above
