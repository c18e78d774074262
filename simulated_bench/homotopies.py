"""What finds an equilibrium where Newton's method alone does not: shunts that fade, and sources that rise.

This module knows no circuit: only a function that tries, from a start, with a share of the sources and with shunts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from freqprop_lab.values import Array

# share of the sources, start, shunt from every free node to ground (S): where it ends, and whether it has arrived
Attempt = Callable[[float, Array, float], tuple[Array, bool]]

_FIRST_SHUNT, _LAST_SHUNT = 10.0, 1e-18  # of the largest conductance at a node
_MOST_SHUNTS = 60
_SMALLEST_SHARE = 1e-4  # of the sources: less than that is no step
_SMALLER, _LARGER = 0.25, 2.0
_MOST_RISES = 300


def by_small_steps(attempt: Attempt, start: Array, largest: Callable[[], float]) -> tuple[Array, bool]:
    """Find one equilibrium; return it, or where the last attempt stood and False.

    From start, then from rest; then shunts to ground fade from ten times the largest conductance at a node, S, to
    nothing; then the sources rise from zero. Source: Nagel, SPICE2 (ERL-M520, 1975), and ngspice's gmin stepping.
    """
    last, rest = start, np.zeros_like(start)
    for begin in (start, rest):
        found, arrived = attempt(1.0, begin, 0.0)
        if arrived:
            return found, True
        last = found if np.isfinite(found).all() else last
    found, arrived = _fading_shunts(attempt, rest, largest())
    if arrived:
        return found, True
    last = found if np.isfinite(found).all() else last
    found, arrived = _rising_sources(attempt, rest)
    if arrived:
        return found, True
    return found if np.isfinite(found).all() else last, False


def _fading_shunts(attempt: Attempt, rest: Array, largest: float) -> tuple[Array, bool]:
    u, shunt, factor = rest, _FIRST_SHUNT * largest, 0.1
    for _ in range(_MOST_SHUNTS):
        found, arrived = attempt(1.0, u, shunt)
        if arrived:
            u = found
            if shunt <= _LAST_SHUNT * largest:
                break
            shunt, factor = shunt * factor, max(0.1, factor * factor)
        else:
            factor = np.sqrt(factor)
            shunt /= factor
            if factor > 0.99:
                break
    return attempt(1.0, u, 0.0)


def _rising_sources(attempt: Attempt, rest: Array) -> tuple[Array, bool]:
    u, share, step = rest, 0.0, 0.1
    for _ in range(_MOST_RISES):
        if step < _SMALLEST_SHARE:
            break
        ahead = min(1.0, share + step)
        found, arrived = attempt(ahead, u, 0.0)
        if arrived:
            u, share, step = found, ahead, step * _LARGER
            if share == 1.0:
                return u, True
        else:
            step *= _SMALLER
    return u, False
