"""Linear solves that keep their digits: refinement by the branches' currents, elimination without subtraction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.values import Array

Values = TypeVar("Values", NDArray[np.float64], NDArray[np.complex128])

_MOST_ROUNDS = 20
_SETTLED = 2.3e-16  # of the largest entry


def refined(
    solve: Callable[[Values], Values], left_over: Callable[[Values], Values], first: Values
) -> tuple[Values, float]:
    """Improve a solution until its last digits stand; return it and how much the last round still changed, V.

    solve: the change that removes a residual, from a factor that may have lost digits; left_over: the residual, by the
    branches rather than by the assembled matrix, in which a weak branch is lost beside a strong one.
    """
    y, previous = first, np.inf
    for _ in range(_MOST_ROUNDS):
        change = solve(left_over(y))
        size = float(np.abs(change).max(initial=0.0))
        if not np.isfinite(size) or size >= 0.5 * previous:
            return y, previous if np.isfinite(previous) else size
        y, previous = y + change, size
        if size <= _SETTLED * np.abs(y).max(initial=0.0):
            break
    return y, previous


def eliminated(between: Array, to_ground: Array, rhs: Array) -> Array:
    """Solve for the node voltages of a grounded network of conductances, with no digit lost in the pivots.

    between: S, (node, node), symmetric, nothing on its diagonal; to_ground: S, (node,), each at least 0; rhs: A,
    (..., node). Star-mesh elimination: conductances are only added, multiplied and divided, never subtracted, so every
    entry of the factor has its digits whatever the ratios (the argument of Grassmann, Taksar and Heyman, Operations
    Research 33, 1107 (1985)). Slower than LAPACK: for what that cannot do. Nodes without a path yield infinities.
    """
    W, anchor, y = np.array(between), np.array(to_ground), np.array(rhs)
    n = len(anchor)
    pivots = np.zeros(n)
    for k in range(n - 1, -1, -1):
        star = W[k, :k]
        pivots[k] = anchor[k] + star.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            share = star / pivots[k]
        W[:k, :k] += share[:, None] * star
        np.fill_diagonal(W[:k, :k], 0.0)
        anchor[:k] += share * anchor[k]
        y[..., :k] += y[..., k, None] * share
    for k in range(n):
        with np.errstate(divide="ignore", invalid="ignore"):
            y[..., k] = (y[..., k] + y[..., :k] @ W[k, :k]) / pivots[k]
    return y
