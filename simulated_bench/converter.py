"""What a converter of finitely many bits makes of voltages."""

from __future__ import annotations

import numpy as np

from freqprop_lab.values import Array


def quantised(values: Array, highest: Array | float, bits: int) -> Array:
    """Return what a converter of so many bits makes of values: two's complement, zero among its 2^bits codes.

    The highest code lies one step below the range's end.
    """
    half = 2 ** (bits - 1)
    step = highest / half
    return np.asarray(np.clip(np.round(values / step), -half, half - 1) * step)
