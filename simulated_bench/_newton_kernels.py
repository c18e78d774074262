"""Compiled: the equilibrium of a large network of nonlinear branches, by Newton's method on sparse fronts.

Nodes are numbered as in the network, ground after the last; free voltages in the order of elimination, and `free[node]`
is n where a voltage is known: place n of every array over free voltages is a waste bin. A voltage is the sum of two
doubles throughout, its high and its low part, so that a current is as exact as the law that gives it.

K = dF/du, F the current that leaves a node too much. A branch from plus to minus with p = dI/dv_plus >= 0 and
m = -dI/dv_minus >= 0 stamps [[p, -m], [-p, m]]: off the diagonal K is negative, and the excess of a column's diagonal
over the rest is what leads to known voltages. Elimination therefore only adds, multiplies and divides positive numbers,
kept as W = -K off the diagonal and as that excess (Grassmann, Taksar, Heyman, Operations Research 33, 1107 (1985)): no
pivoting is needed, and no digit is lost whatever the ratios.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba
import numpy as np

from freqprop_lab.values import Array
from simulated_bench.flat import Factor, State, Wiring
from simulated_bench.fronts import Fronts

_P = ParamSpec("_P")
_R = TypeVar("_R")

DONE, NOT_POSITIVE, NOT_SETTLED = 0, 1, 2

_LARGEST_EXPONENT = 80.0  # as in elements
_MOST_ITERATIONS = 200
_MOST_HALVINGS = 30
_FREE_CHANGE = 2.0  # n Vt, as in elements
_ROUNDING = 1e-14  # a step this small, of the largest voltage, changes nothing any more
_LOCAL, _GLOBAL, _FLOOR = 1e-13, 5e-13, 1e-22  # of the currents at a node; of the largest current, at most and at least
_NOTHING = 1e-100
_WORTH = 0.05  # a factor is used again while that leaves no more of the currents left over than this


def _compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile at the first call and keep the code."""
    try:
        done: Callable[_P, _R] = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})(
            function
        )
    except RuntimeError:  # no folder may be written: compiled anew in each process
        done = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(function)
    return done


def _exact(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile without contraction: sums of two doubles rest on each rounding."""
    try:
        done: Callable[_P, _R] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        done = numba.njit(nogil=True, error_model="numpy")(function)
    return done


@_exact
def expand(wiring: Wiring, x: Array, u: Array, u_low: Array, state: State) -> None:
    """Voltages of all nodes from the free ones and the sources: overwrites state.high and state.low."""
    high, low, n = state.high, state.low, len(u) - 1
    for node in range(len(high)):
        where = wiring.free[node]
        high[node] = u[where] if where < n else 0.0
        low[node] = u_low[where] if where < n else 0.0
    for k in range(len(wiring.rise)):
        node = wiring.rise_node[k]
        term = wiring.rise[k] * x[wiring.rise_source[k]]
        total = high[node] + term
        part = total - high[node]
        low[node] += (high[node] - (total - part)) + (term - part)
        high[node] = total


@_exact
def _difference(high: Array, low: Array, p: int, m: int) -> float:
    """Return the voltage from node p to node m, V, to the last digit."""
    a, b = high[p], high[m]
    total = a - b
    part = total - a
    return float(total + ((a - (total - part)) - (b + part) + (low[p] - low[m])))


@_exact
def _less(a: float, high: float, low: float) -> float:
    """Return a - (high + low), V, to the last digit."""
    total = a - high
    part = total - a
    return float(total + ((a - (total - part)) - (high + part) - low))


@_exact
def _driven_difference(high: Array, low: Array, p: int, m: int, own: float) -> float:
    """Return the voltage from node p to node m less a source's, V, to the last digit."""
    a, b = high[p], high[m]
    total = a - b
    part = total - a
    rest = (a - (total - part)) - (b + part) + (low[p] - low[m])
    less = total - own
    part = less - total
    return float(less + ((total - (less - part)) - (own + part) + rest))


@_compiled
def _exponential(u: float) -> tuple[float, float]:
    """Return exp(u) - 1 and exp(u), beyond 80 along the tangent."""
    inside = min(u, _LARGEST_EXPONENT)
    grown = math.expm1(inside)
    steepness = grown + 1.0 if grown > -0.5 else math.exp(inside)
    return grown + steepness * (u - inside), steepness


@_compiled
def evaluate(wiring: Wiring, x: Array, u: Array, u_low: Array, shunt: float, state: State) -> tuple[float, float]:
    """Currents and slopes of all branches and Kirchhoff's sums: overwrites all of state.

    x: (source,), V or A. shunt: S, from each free node to ground. Returns the largest current that meets a free node,
    A, and the sum of what is left over.
    """
    expand(wiring, x, u, u_low, state)
    free, plus, minus, theta = wiring.free, wiring.plus, wiring.minus, wiring.theta
    high, low, currents, slopes, F, scale = state
    n = len(u) - 1
    for i in range(n + 1):
        F[i] = 0.0
        scale[i] = 0.0
    largest = 0.0
    for k in range(len(wiring.push)):
        i = wiring.push_free[k]
        F[i] -= wiring.push[k] * x[wiring.push_source[k]]
    for i in range(n):
        scale[i] = abs(F[i])
        largest = max(largest, scale[i])
        if shunt > 0.0:
            F[i] += shunt * u[i]
            scale[i] += shunt * abs(u[i])
    for b in range(wiring.ends[0]):
        if wiring.own[b] < 0:
            volts = _difference(high, low, plus[b], minus[b])
        else:
            volts = _driven_difference(high, low, plus[b], minus[b], x[wiring.own[b]])
        currents[b] = theta[0, b] * volts
        slopes[2 * b] = theta[0, b]
        slopes[2 * b + 1] = theta[0, b]
    for b in range(wiring.ends[0], wiring.ends[1]):
        grown, steepness = _exponential(_difference(high, low, plus[b], minus[b]) / theta[1, b])
        currents[b] = theta[0, b] * grown
        slopes[2 * b] = theta[0, b] / theta[1, b] * steepness
        slopes[2 * b + 1] = slopes[2 * b]
    for b in range(wiring.ends[1], wiring.ends[2]):
        volts = _difference(high, low, plus[b], minus[b]) / theta[1, b]
        grown, steepness = _exponential(abs(volts))
        grown += min(grown / steepness, 1.0)  # exp(v) - exp(-v), with all digits however small
        currents[b] = theta[0, b] * (grown if volts > 0 else -grown)
        slopes[2 * b] = theta[0, b] / theta[1, b] * (steepness + 1.0 / steepness)
        slopes[2 * b + 1] = slopes[2 * b]
    for b in range(wiring.ends[2], wiring.ends[3]):
        volts = _difference(high, low, plus[b], minus[b])
        if volts < -3 * theta[1, b]:
            tail = (3 * theta[1, b] / (math.e * volts)) ** 3
            currents[b] = -theta[0, b] * (1 + tail) + theta[2, b] * volts
            slopes[2 * b] = 3 * theta[0, b] * tail / volts + theta[2, b]
        else:
            grown, steepness = _exponential(volts / theta[1, b])
            currents[b] = theta[0, b] * grown + theta[2, b] * volts
            slopes[2 * b] = theta[0, b] / theta[1, b] * steepness + theta[2, b]
        slopes[2 * b + 1] = slopes[2 * b]
    for b in range(wiring.ends[3], wiring.ends[4]):
        p, m = plus[b], minus[b]
        beta, above = theta[0, b], theta[3, b] - theta[1, b]
        e_plus = max(_less(above, high[p], low[p]), 0.0)
        e_minus = max(_less(above, high[m], low[m]), 0.0)
        volts = _difference(high, low, p, m)
        gap = volts if e_plus > 0.0 and e_minus > 0.0 else e_minus - e_plus
        channel = 0.5 * beta * gap * (e_minus + e_plus)
        lengthened = 1 + theta[2, b] * abs(volts)
        longer = abs(channel) * theta[2, b]
        currents[b] = channel * lengthened
        slopes[2 * b] = beta * e_plus * lengthened + longer
        slopes[2 * b + 1] = beta * e_minus * lengthened + longer
    for b in range(wiring.ends[4]):
        i, j = free[plus[b]], free[minus[b]]
        flow = currents[b]
        size = abs(flow)
        F[i] += flow
        F[j] -= flow
        scale[i] += size
        scale[j] += size
        if i != j:  # what flows between driven nodes is no measure for the others
            largest = max(largest, size)
    left = 0.0
    for i in range(n):
        left += abs(F[i])
    return largest, left


@_compiled
def factor(fronts: Fronts, wiring: Wiring, slopes: Array, shunt: float, made: Factor) -> int:
    """K = L U front by front, K by the slopes of the branches, S: overwrites made.

    Returns -1, or the first unknown whose pivot is not above zero and finite.
    """
    lower, upper, pivot, work, stack = made
    free, plus, minus = wiring.free, wiring.plus, wiring.minus
    n = len(pivot) - 1
    excess = np.empty(n + 1)
    for i in range(n):
        excess[i] = shunt
    for b in range(len(plus)):
        i, j = free[plus[b]], free[minus[b]]
        if i == n or j == n:  # a branch between two known voltages lands in the bin
            excess[i] += slopes[2 * b]
            excess[j] += slopes[2 * b + 1]
    for f in range(len(fronts.first)):
        base, size = np.intp(fronts.first[f]), np.intp(fronts.pivots[f])
        begin = np.intp(fronts.start[f])
        n_rows = np.intp(fronts.start[f + 1]) - begin
        width = size + n_rows
        rows = fronts.rows[begin : begin + n_rows]
        F = work[: width * width].reshape((width, width))
        F[:, :] = 0.0
        for k in range(wiring.begin[f], wiring.begin[f + 1]):
            work[wiring.place[k]] += slopes[wiring.branch[k]]
        for c in range(fronts.children[f], fronts.children[f + 1]):
            child = fronts.child[c]
            from_row = np.intp(fronts.start[child])
            n_from = np.intp(fronts.start[child + 1]) - from_row
            at = fronts.stack[child]
            inside = fronts.inside[from_row : from_row + n_from]
            left = stack[at : at + n_from * n_from]
            for i in range(n_from):
                into = F[inside[i]]
                for j in range(n_from):
                    into[inside[j]] += left[i * n_from + j]
        for k0 in range(0, size, 4):
            end = k0 + 4 if k0 + 4 < size else size
            for k in range(k0, end):
                own = excess[base + k]
                total = own
                for i in range(k + 1, width):
                    total += F[i, k]
                if not 0.0 < total < np.inf:
                    return int(base + k)
                pivot[base + k] = total
                inverse = 1.0 / total
                row = F[k]
                for i in range(k + 1, width):
                    F[i, k] *= inverse
                if own > 0.0:
                    share = own * inverse
                    for j in range(k + 1, size):
                        excess[base + j] += share * row[j]
                    for j in range(n_rows):
                        excess[rows[j]] += share * row[size + j]
                for i in range(k + 1, end):
                    by = F[i, k]
                    into = F[i]
                    for j in range(k + 1, width):
                        into[j] += by * row[j]
                for i in range(end, width):
                    by = F[i, k]
                    for j in range(k + 1, end):
                        F[i, j] += by * row[j]
            if end - k0 == 4:
                r0, r1, r2, r3 = F[k0], F[k0 + 1], F[k0 + 2], F[k0 + 3]
                for i in range(end, width):
                    into = F[i]
                    c0, c1, c2, c3 = into[k0], into[k0 + 1], into[k0 + 2], into[k0 + 3]
                    for j in range(end, width):
                        into[j] += c0 * r0[j] + c1 * r1[j] + c2 * r2[j] + c3 * r3[j]
            else:
                for k in range(k0, end):
                    row = F[k]
                    for i in range(end, width):
                        into = F[i]
                        by = into[k]
                        for j in range(end, width):
                            into[j] += by * row[j]
        at = fronts.values[f]
        for k in range(size):
            for j in range(k + 1, width):
                upper[at + k * width + j] = F[k, j]
                lower[at + k * width + j] = F[j, k]
        at = fronts.stack[f]
        for i in range(n_rows):
            for j in range(n_rows):
                stack[at + i * n_rows + j] = F[size + i, size + j]
    return -1


@_compiled
def solve(fronts: Fronts, made: Factor, y: Array) -> None:
    """Y = K^-1 y, (free + 1,): overwrites y, whose last place is a bin."""
    lower, upper, pivot = made.lower, made.upper, made.pivot
    for f in range(len(fronts.first)):
        base, size = np.intp(fronts.first[f]), np.intp(fronts.pivots[f])
        begin = np.intp(fronts.start[f])
        n_rows = np.intp(fronts.start[f + 1]) - begin
        rows = fronts.rows[begin : begin + n_rows]
        for k in range(size):
            at = fronts.values[f] + k * (size + n_rows)
            own = y[base + k]
            for j in range(k + 1, size):
                y[base + j] += lower[at + j] * own
            below = lower[at + size : at + size + n_rows]
            for j in range(n_rows):
                y[rows[j]] += below[j] * own
    for back in range(len(fronts.first)):
        f = len(fronts.first) - 1 - back
        base, size = np.intp(fronts.first[f]), np.intp(fronts.pivots[f])
        begin = np.intp(fronts.start[f])
        n_rows = np.intp(fronts.start[f + 1]) - begin
        rows = fronts.rows[begin : begin + n_rows]
        for k in range(size - 1, -1, -1):
            at = fronts.values[f] + k * (size + n_rows)
            total = y[base + k]
            for j in range(k + 1, size):
                total += upper[at + j] * y[base + j]
            right = upper[at + size : at + size + n_rows]
            for j in range(n_rows):
                total += right[j] * y[rows[j]]
            y[base + k] = total / pivot[base + k]


@_compiled
def believed(wiring: Wiring, state: State, step: Array) -> float:
    """Return the fraction of a step, 0 to 1, over which every junction's tangent is a guide; see Element.believed."""
    free, fraction = wiring.free, 1.0
    for b in range(wiring.ends[0], wiring.ends[3]):
        width = wiring.theta[1, b]
        change = step[free[wiring.plus[b]]] - step[free[wiring.minus[b]]]
        ahead = abs(change) / width
        if ahead <= _FREE_CHANGE:
            continue
        volts = _difference(state.high, state.low, wiring.plus[b], wiring.minus[b])
        paired = wiring.ends[1] <= b < wiring.ends[2]
        steeper = abs(volts + change) > abs(volts) if paired else change > 0.0
        here = (-volts if change < 0.0 else volts) / width
        open_now = max(here, 0.0)
        beyond = here + ahead - open_now
        if steeper and beyond > _FREE_CHANGE:
            fraction = min(fraction, (open_now + math.log1p(beyond) - here) / ahead)
    return fraction


@_exact
def _add(u: Array, u_low: Array, fraction: float, step: Array, to: Array, to_low: Array) -> None:
    """To + to_low = u + u_low + fraction step, V, sums of two doubles, (free,)."""
    for i in range(len(u) - 1):
        term = fraction * step[i] + u_low[i]
        total = u[i] + term
        part = total - u[i]
        to_low[i] = (u[i] - (total - part)) + (term - part)
        to[i] = total


@_compiled
def _balanced(state: State, largest: float) -> bool:
    """Say whether Kirchhoff's law holds to rounding: by the currents at each node, and by the largest of all."""
    for i in range(len(state.F) - 1):
        allowed = min(_LOCAL * state.scale[i], _GLOBAL * largest) + _FLOOR * largest + _NOTHING
        if not abs(state.F[i]) <= allowed:
            return False
    return True


@_compiled
def newton(
    fronts: Fronts,
    wiring: Wiring,
    x: Array,
    shunt: float,
    u: Array,
    u_low: Array,
    state: State,
    made: Factor,
    has_factor: bool,
) -> tuple[int, int, int, float, bool]:
    """F(u) = 0 by damped Newton from u, an old factor being used again while that pays.

    Overwrites u and u_low, V, (free + 1,), state, which belongs to them, and made. has_factor: made holds a factor of
    a K nearby. Without transistors the energy is convex, and a step is cut where it would rise again; with them the sum
    of the currents left over must fall. Returns a status, which free voltage it is about, factors made, the largest
    current, A, and whether made holds a factor.
    """
    n = len(u) - 1
    step, there, there_low = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)
    driven = 0.0
    for k in range(len(wiring.rise)):
        driven = max(driven, abs(wiring.rise[k] * x[wiring.rise_source[k]]))
    u[n], u_low[n] = 0.0, 0.0
    largest, left = evaluate(wiring, x, u, u_low, shunt, state)
    transistors = wiring.ends[4] > wiring.ends[3]
    stale, n_factors, previous, ratio = has_factor, 0, np.inf, 1.0
    is_made = has_factor
    for _ in range(_MOST_ITERATIONS):
        if not is_made:
            where = factor(fronts, wiring, state.slopes, shunt, made)
            n_factors += 1
            if where >= 0:
                return NOT_POSITIVE, where, n_factors, largest, False
            is_made, stale = True, False
        for i in range(n):
            step[i] = -state.F[i]
        step[n] = 0.0
        solve(fronts, made, step)
        step[n] = 0.0
        size, volts, noise, descent = 0.0, driven, 0.0, 0.0
        finite = True
        for i in range(n):
            size = max(size, abs(step[i]))
            finite &= abs(step[i]) < np.inf
            volts = max(volts, abs(u[i]))
            noise += state.scale[i]
            descent += state.F[i] * step[i]
        if not finite:
            if stale:
                is_made = False
                continue
            return NOT_SETTLED, 0, n_factors, largest, False
        small = size <= _ROUNDING * volts + _NOTHING or size >= 0.5 * previous
        if small and _balanced(state, largest):
            return DONE, 0, n_factors, largest, True
        noise *= _LOCAL
        fraction = believed(wiring, state, step)
        if stale and fraction < 1.0:
            is_made = False
            continue
        _add(u, u_low, fraction, step, there, there_low)
        before = left
        largest, left = evaluate(wiring, x, there, there_low, shunt, state)
        if stale and not left <= _WORTH * before and not _balanced(state, largest):
            if not left < before:  # back: the old factor leads astray
                largest, left = evaluate(wiring, x, u, u_low, shunt, state)
                is_made = False
                continue
            is_made = False
        elif not stale:
            for _ in range(_MOST_HALVINGS):
                if transistors:
                    overshot = not left <= before * (1 - 1e-4 * fraction) + noise
                else:
                    along = 0.0
                    for i in range(n):
                        along += state.F[i] * step[i]
                    overshot = not along <= 0.9 * abs(descent)
                if not overshot:
                    break
                fraction *= 0.5
                _add(u, u_low, fraction, step, there, there_low)
                largest, left = evaluate(wiring, x, there, there_low, shunt, state)
            stale = fraction == 1.0 and (left <= _WORTH * before or _balanced(state, largest))
            is_made = stale
        for i in range(n):
            u[i] = there[i]
            u_low[i] = there_low[i]
        ratio = min(size / previous, 1.0) if previous < np.inf else 1.0
        previous = size
        if is_made and ratio * size <= _ROUNDING * volts and _balanced(state, largest):
            return DONE, 0, n_factors, largest, True
    worst = 0
    for i in range(n):
        if abs(state.F[i]) > abs(state.F[worst]):
            worst = i
    return NOT_SETTLED, worst, n_factors, largest, is_made
