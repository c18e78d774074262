"""Compiled: sparse conductance matrices as lists of neighbours, and conjugate gradients on them.

K is never formed. Row i of K u is the current that leaves free node i, summed over its branches as they stand,

    (K u)_i = held_i u_i + sum over entries k of row i of weight_k (u_i - u_column_k),

so that rounding is of the currents and not of conductance times voltage. Parallel branches are entries of their own.
Arrays in and out, nothing raised: status codes. `start` (free + 1,), `column`, `branch` (entry,) are uint32: a signed
index would be asked at each entry whether it counts from the end, which costs as much as the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from freqprop_lab.values import Array

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Indices = NDArray[np.uint32]

NOT_POSITIVE = -1


def _compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile at the first call and keep the code."""
    try:
        done: Callable[_P, _R] = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})(
            function
        )
    except RuntimeError:  # no folder may be written: compiled anew in each process
        done = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(function)
    return done


@_compiled
def fill(
    start: _Indices,
    branch: _Indices,
    held_start: _Indices,
    held_branch: _Indices,
    g: Array,
    weight: Array,
    held: Array,
    diagonal: Array,
) -> int:
    """diagonal_i = held_i + sum of weight_k, weight_k = g of branch_k, held_i = sum of g over held_branch, S.

    g: (branch,). Overwrites weight (entry,), held and diagonal (free,). Returns -1, or the first row whose diagonal is
    not above zero and finite.
    """
    for i in range(len(held)):
        own = 0.0
        for k in range(held_start[i], held_start[i + 1]):
            own += g[held_branch[k]]
        total = own
        for k in range(start[i], start[i + 1]):
            weight[k] = g[branch[k]]
            total += weight[k]
        held[i] = own
        diagonal[i] = total
        if not 0.0 < total < np.inf:
            return i
    return -1


@_compiled
def leftover(
    start: _Indices, column: _Indices, weight: Array, held: Array, rhs: Array, u: Array, r: Array
) -> tuple[float, float]:
    """R = rhs - K u, A, (free,): overwrites r. Returns ||r||^2 and the largest current of a branch, A.

    Currents to held nodes are counted together at each node, and together with what enters there.
    """
    square, largest = 0.0, 0.0
    for i in range(len(u)):
        here = u[i]
        entering = rhs[i] - held[i] * here
        largest = max(largest, abs(entering))
        left = 0.0
        for k in range(start[i], start[i + 1]):
            current = weight[k] * (here - u[column[k]])
            largest = max(largest, abs(current))
            left += current
        r[i] = entering - left
        square += r[i] * r[i]
    return square, largest


@_compiled
def multiply(start: _Indices, column: _Indices, weight: Array, held: Array, u: Array, y: Array) -> float:
    """Y = K u, A, (free,): overwrites y. Returns u . K u."""
    energy = 0.0
    for i in range(len(u)):
        here = u[i]
        k, end = start[i], start[i + 1]
        s0, s1, s2, s3 = held[i] * here, 0.0, 0.0, 0.0  # four sums: one would wait for itself
        while k + 4 <= end:
            s0 += weight[k] * (here - u[column[k]])
            s1 += weight[k + 1] * (here - u[column[k + 1]])
            s2 += weight[k + 2] * (here - u[column[k + 2]])
            s3 += weight[k + 3] * (here - u[column[k + 3]])
            k += 4
        while k < end:
            s1 += weight[k] * (here - u[column[k]])
            k += 1
        total = (s0 + s1) + (s2 + s3)
        y[i] = total
        energy += here * total
    return energy


@_compiled
def conjugate_gradients(
    start: _Indices,
    column: _Indices,
    weight: Array,
    held: Array,
    inverse: Array,
    u: Array,
    r: Array,
    stop: float,
    most: int,
) -> int:
    """Solve K d = r from d = 0 and add d to u, by conjugate gradients with the inverse diagonal (free,), 1/S.

    Ends once ||r||^2 <= stop, or after most iterations. Overwrites u and r, (free,): r is what is left by the
    recurrence. Returns the number of iterations, or NOT_POSITIVE.
    """
    n = len(u)
    p, q = np.empty(n), np.empty(n)
    rho, square = 0.0, 0.0
    for i in range(n):
        p[i] = inverse[i] * r[i]
        rho += r[i] * p[i]
        square += r[i] * r[i]
    for iteration in range(most):
        if square <= stop:
            return iteration
        energy = multiply(start, column, weight, held, p, q)
        if not energy > 0.0:
            return NOT_POSITIVE
        step = rho / energy
        square, following = 0.0, 0.0
        for i in range(n):
            u[i] += step * p[i]
            left = r[i] - step * q[i]
            r[i] = left
            square += left * left
            following += inverse[i] * left * left
        turn = following / rho
        rho = following
        for i in range(n):
            p[i] = inverse[i] * r[i] + turn * p[i]
    return most


@_compiled
def learn(
    plus: _Indices, minus: _Indices, a: Array, b: Array, alpha: float, lowest: Array, highest: Array, wished: Array
) -> None:
    """Wished -= alpha (a_plus - a_minus) (b_plus - b_minus), within lowest..highest: overwrites wished, S, (tunable,).

    a, b: V, (node + 1,), ground last; plus, minus: ends of the tunable branches. alpha: S/V^2.
    """
    for k in range(len(wished)):
        change = alpha * (a[plus[k]] - a[minus[k]]) * (b[plus[k]] - b[minus[k]])
        wished[k] = min(max(wished[k] - change, lowest[k]), highest[k])
