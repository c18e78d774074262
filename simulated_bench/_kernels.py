"""Compiled: whole blocks of training steps of a small network. Arrays in and out, status codes, nothing raised.

Nodes are numbered as in the network, ground after the last. Free voltages u are numbered in the order of elimination;
`free[node]` is a node's number there, or n_free where its voltage is known: row and column n_free are a waste bin, so
that no branch needs a question. v = S u + D x as in circuit.py, with D x in `known`.

The equation of a step is K u = r, K = P^T g P, with K kept as its upper triangle, row by row: inner loops run along
rows. The column after the bin holds the right-hand side, so that factoring also substitutes forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from freqprop_lab.values import Array

_P = ParamSpec("_P")
_R = TypeVar("_R")

DONE, BEYOND_LIMIT, MAY_OVERLOAD, NOT_POSITIVE, NOT_SETTLED = 0, 1, 2, 3, 4
SQUARED, ONE_SIDED, CROSS_ENTROPY = 0, 1, 2

_EPS = float(np.finfo(np.float64).eps)
_LARGEST_EXPONENT = 80.0  # as in elements.py
_FAR = 30.0  # n Vt: from here on the bend is a difference of currents, of which one is nothing beside the other
_MOST_ITERATIONS = 200
_MOST_HALVINGS = 30
_MOST_CHORDS = 60
_FREE_CHANGE = 2.0  # n Vt, as in circuit.py
_ROUNDING = 1e-14
_NEAR = 0.03  # n Vt: a Newton step this short leaves the factor good enough for the next
_CHORD = 0.1  # an old factor is kept while it shortens the step by as much


def _compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile at the first call and keep the code beside this file, or in the user's own cache where that is closed."""
    try:
        done: Callable[_P, _R] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder may be written at all: compiled anew in each process
        done = numba.njit(nogil=True, error_model="numpy")(function)
    return done


class Layout(NamedTuple):
    """What stays the same over a block. Indices are of nodes unless said; ground is node n_nodes.

    free: (node + 1,), number among the free voltages. plus, minus: ends of the tunable branches, (tunable,). fed: those
    of them that known voltages act on. stiffness: of all other linear branches, S, (free, free), upper triangle.
    nudge_push: A into the free nodes per ampere of nudge, (free, output). per_ampere: what each source puts out for it,
    (source, output). read_plus, read_minus: ends of the outputs. first_nudged: no free voltage before it is nudged.
    """

    free: NDArray[np.intp]
    plus: NDArray[np.intp]
    minus: NDArray[np.intp]
    fed: NDArray[np.intp]
    stiffness: Array
    nudge_push: Array
    per_ampere: Array
    read_plus: NDArray[np.intp]
    read_minus: NDArray[np.intp]
    first_nudged: int


class Diodes(NamedTuple):
    """The nonlinear branches, (junction,) each: ends, Is (A), n Vt (V), and whether it is an antiparallel pair."""

    plus: NDArray[np.intp]
    minus: NDArray[np.intp]
    saturation: Array
    emission: Array
    antiparallel: NDArray[np.bool_]


class Steps(NamedTuple):
    """What is to be done: a plan, and what its sources, parts and meter are.

    Per example. known: voltages, V, (example, node + 1); pushed: A into the free nodes by sources and fixed branches,
    (example, free); size: of the levels at the sources, (example, source); targets: V, (example, output).
    lowest, highest: S, (tunable,). limit: of each source, (source,); range: of the meter, V. cost: SQUARED...;
    temperature: V; unit: V, one task volt, for the gradient of the cross-entropy. ladder: the parts' conductances,
    rising, S; empty: any. wiper: Ohm; factor, stuck: (tunable,), what is true of a part.
    draws: (step, tunable) in 0..1 for stochastic rounding, or (0, 0): the nearest.
    f: distinct values of the waveform, (value,); to_a, to_b: their weights in a and b; to_doubt: in the sum of squares
    that the residual is; shared: what a V^2 of that adds to the mean of a b. Empty: closed form, linear only.
    """

    order: NDArray[np.intp]
    known: Array
    pushed: Array
    size: Array
    targets: Array
    alpha: float
    gamma: float
    cost: int
    temperature: float
    unit: float
    lowest: Array
    highest: Array
    limit: Array
    range: float
    accumulate: bool
    ladder: Array
    wiper: float
    factor: Array
    stuck: NDArray[np.bool_]
    draws: Array
    f: Array
    to_a: Array
    to_b: Array
    to_doubt: Array
    shared: float
    free_activation: bool


@_compiled
def factor(K: Array, n: int, lead: Array) -> int:
    """K = L D L^T in place, four pivots to a sweep. K: (n, columns), S, its upper triangle and right-hand sides.

    Overwrites K: D on the diagonal, L^T above it, L^-1 r in the columns from n on. lead: (n,), scratch. Returns -1, or
    the first row whose pivot is not positive beyond rounding.
    """
    columns = K.shape[1]
    for i in range(n):
        lead[i] = K[i, i] * (n * _EPS)
    k = 0
    while k < n:
        last = min(k + 4, n)
        for p in range(k, last):
            pivot = K[p, p]
            if not pivot > lead[p]:
                return p
            inverse = 1.0 / pivot
            for q in range(p + 1, last):
                share = K[p, q] * inverse
                for j in range(q, columns):
                    K[q, j] -= share * K[p, j]
        if last - k == 4:
            d0, d1, d2, d3 = 1.0 / K[k, k], 1.0 / K[k + 1, k + 1], 1.0 / K[k + 2, k + 2], 1.0 / K[k + 3, k + 3]
            for i in range(last, n):
                s0, s1, s2, s3 = K[k, i] * d0, K[k + 1, i] * d1, K[k + 2, i] * d2, K[k + 3, i] * d3
                for j in range(i, columns):
                    K[i, j] -= s0 * K[k, j] + s1 * K[k + 1, j] + s2 * K[k + 2, j] + s3 * K[k + 3, j]
        for p in range(k, last):
            inverse = 1.0 / K[p, p]
            for j in range(p + 1, n):
                K[p, j] *= inverse
        k = last
    return -1


@_compiled
def back_substitute(K: Array, n: int, y: Array, x: Array) -> None:
    """X = L^-T D^-1 y, (n,) each, with K as `factor` leaves it. Overwrites x only."""
    for k in range(n - 1, -1, -1):
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
        j = k + 1
        while j + 4 <= n:
            s0 += K[k, j] * x[j]
            s1 += K[k, j + 1] * x[j + 1]
            s2 += K[k, j + 2] * x[j + 2]
            s3 += K[k, j + 3] * x[j + 3]
            j += 4
        while j < n:
            s0 += K[k, j] * x[j]
            j += 1
        x[k] = y[k] / K[k, k] - ((s0 + s1) + (s2 + s3))


@_compiled
def solve(K: Array, n: int, first: int, r: Array, x: Array) -> None:
    """X = K^-1 r with K as `factor` leaves it; r is zero before `first`. Overwrites r and x, (n,) each."""
    for k in range(first, n):
        share = r[k]
        for j in range(k + 1, n):
            r[j] -= K[k, j] * share
    back_substitute(K, n, r, x)


@_compiled
def solve_many(K: Array, n: int, X: Array) -> None:
    """X = K^-1 X for all columns of X (n, column) at once, with K as `factor` leaves it. Overwrites X."""
    columns = X.shape[1]
    for k in range(n):
        for i in range(k + 1, n):
            share = K[k, i]
            for c in range(columns):
                X[i, c] -= share * X[k, c]
    for k in range(n - 1, -1, -1):
        inverse = 1.0 / K[k, k]
        for c in range(columns):
            X[k, c] *= inverse
        for j in range(k + 1, n):
            share = K[k, j]
            for c in range(columns):
                X[k, c] -= share * X[j, c]


@_compiled
def assemble(layout: Layout, g: Array, known: Array, pushed: Array, K: Array) -> None:
    """K = P^T g P and, in column n_free + 1, r = pushed - P^T g (known voltages). Overwrites K.

    K: (free + 1, free + 2), S and A, its upper triangle; the row and column n_free are the bin.
    """
    n = layout.stiffness.shape[0]
    for i in range(n):
        for j in range(i, n):
            K[i, j] = layout.stiffness[i, j]
        K[i, n] = 0.0
        K[i, n + 1] = pushed[i]
    free, plus, minus = layout.free, layout.plus, layout.minus
    for branch in range(len(plus)):
        i, j, siemens = free[plus[branch]], free[minus[branch]], g[branch]
        if i == j:  # held together
            continue
        K[i, i] += siemens
        K[j, j] += siemens
        K[min(i, j), max(i, j)] -= siemens
    for branch in layout.fed:
        amperes = g[branch] * (known[plus[branch]] - known[minus[branch]])
        K[free[plus[branch]], n + 1] -= amperes
        K[free[minus[branch]], n + 1] += amperes


@_compiled
def gradient(cost: int, temperature: float, unit: float, outputs: Array, target: Array, g: Array) -> None:
    """G = dC/dv, V, (output,) each: tasks/_costs.py, in volts. Overwrites g."""
    n = len(outputs)
    if cost == CROSS_ENTROPY:
        top, total, wanted = outputs[0], 0.0, target[0]
        for i in range(1, n):
            top, wanted = max(top, outputs[i]), max(wanted, target[i])
        for i in range(n):
            g[i] = math.exp((outputs[i] - top) / temperature)
            total += g[i]
        for i in range(n):
            g[i] = unit * (g[i] / total - (1.0 if target[i] == wanted else 0.0))
        return
    for i in range(n):
        g[i] = outputs[i] - target[i]
        if cost == ONE_SIDED and g[i] * np.sign(target[i]) >= 0:
            g[i] = 0.0


@_compiled
def realise(steps: Steps, wished: Array, step: int, held: Array, true: Array) -> None:
    """What the parts make of the wished conductances: what they tell, and what is true, S, (tunable,) each.

    The nearest value of the ladder, or one of the neighbours by a drawn number. Overwrites held and true.
    """
    ladder, top = steps.ladder, len(steps.ladder) - 1
    for branch in range(len(wished)):
        value = wished[branch]
        if top >= 0:
            above, end = 0, top  # the first that is not below
            while above < end:
                middle = (above + end) // 2
                if ladder[middle] < value:
                    above = middle + 1
                else:
                    end = middle
            below = above if value >= ladder[above] else max(above - 1, 0)
            low, high = ladder[below], ladder[above]
            if steps.draws.shape[0]:
                width = high - low if high > low else 1.0
                value = high if steps.draws[step, branch] < (value - low) / width else low
            else:
                value = low if value - low <= high - value else high
        held[branch] = value
        if not steps.stuck[branch]:
            if top >= 0:
                true[branch] = 1.0 / ((1.0 / value - steps.wiper) * steps.factor[branch] + steps.wiper)
            else:
                true[branch] = value * steps.factor[branch]


@_compiled
def junction(u: float, antiparallel: bool) -> tuple[float, float]:
    """Current over Is, and its derivative by u = x / n Vt: exp(u) - 1, or 2 sinh(u); tangents beyond 80."""
    if antiparallel and abs(u) < _LARGEST_EXPONENT:  # odd: one exponential for both
        e = math.expm1(abs(u))
        back = 1.0 / (1.0 + e)
        return math.copysign(e + e * back, u), 1.0 + e + back
    inside = min(u, _LARGEST_EXPONENT)
    grown, steepness = math.expm1(inside), math.exp(inside)
    grown += steepness * (u - inside)
    if antiparallel:
        inside = min(-u, _LARGEST_EXPONENT)
        back = math.exp(inside)
        grown -= math.expm1(inside) + back * (-u - inside)
        steepness += back
    return grown, steepness


@_compiled
def _imbalance(
    free: NDArray[np.intp], diodes: Diodes, K: Array, known: Array, u: Array, F: Array, scale: Array, across: Array
) -> None:
    """F = K u - r + I(Q u + W x): A that leave each free node too much; scale: the sum of their sizes, (free + 1,).

    Overwrites F, scale, and rows 0, 1 and 3 of across (V, A, S at the junctions).
    """
    n = len(K) - 1
    for i in range(n + 1):
        F[i] = -K[i, n + 1]
        scale[i] = abs(F[i])
    for i in range(n):
        volts = u[i]
        for j in range(n):
            through = K[i, j] * volts
            F[j] += through
            scale[j] += abs(through)
    for q in range(len(diodes.saturation)):
        plus, minus = diodes.plus[q], diodes.minus[q]
        p, m = free[plus], free[minus]
        volts = known[plus] - known[minus] + (u[p] if p < n else 0.0) - (u[m] if m < n else 0.0)
        grown, steepness = junction(volts / diodes.emission[q], diodes.antiparallel[q])
        amperes = diodes.saturation[q] * grown
        across[0, q], across[1, q] = volts, amperes
        across[3, q] = diodes.saturation[q] / diodes.emission[q] * steepness
        F[p] += amperes
        F[m] -= amperes
        scale[p] += abs(amperes)
        scale[m] += abs(amperes)


@_compiled
def _factor_slopes(free: NDArray[np.intp], diodes: Diodes, K: Array, J: Array, lead: Array, across: Array) -> int:
    """J = K + the junctions' slopes, factored; row 2 of across tells which slopes. Returns what `factor` does."""
    n = len(K) - 1
    for i in range(n):
        for j in range(i, n):
            J[i, j] = K[i, j]
    for q in range(len(diodes.saturation)):
        p, m = free[diodes.plus[q]], free[diodes.minus[q]]
        siemens = across[3, q]
        across[2, q] = siemens
        if p == m:
            continue
        J[p, p] += siemens
        J[m, m] += siemens
        J[min(p, m), max(p, m)] -= siemens
    for i in range(n):
        J[i, i] *= 1 + 1e-15  # as in circuit.py
    return factor(J, n, lead)


@_compiled
def _fraction(
    free: NDArray[np.intp],
    diodes: Diodes,
    K: Array,
    known: Array,
    u: Array,
    step: Array,
    across: Array,
    descent: float,
    trial: Array,
) -> float:
    """How much of a Newton step is taken: no junction runs up its exponential, and the energy falls (circuit.py).

    trial: (5, free + 1), scratch.
    """
    n = len(K) - 1
    fraction, longest = 1.0, 0.0
    for q in range(len(diodes.saturation)):
        p, m = free[diodes.plus[q]], free[diodes.minus[q]]
        change = (step[p] if p < n else 0.0) - (step[m] if m < n else 0.0)
        ahead = abs(change) / diodes.emission[q]
        longest = max(longest, ahead)
        if ahead <= _FREE_CHANGE:
            continue
        volts = across[0, q]
        _, now = junction(volts / diodes.emission[q], diodes.antiparallel[q])
        _, then = junction((volts + change) / diodes.emission[q], diodes.antiparallel[q])
        here = (-volts if change < 0 else volts) / diodes.emission[q]
        open_now = max(here, 0.0)
        beyond = here + ahead - open_now
        if then > now and beyond > _FREE_CHANGE:
            fraction = min(fraction, (open_now + math.log1p(beyond) - here) / ahead)
    if longest * fraction <= 1.0:  # no exponential can make up for the descent within one e-fold
        return fraction
    kept = across.copy()
    for _ in range(_MOST_HALVINGS):
        for i in range(n):
            trial[0, i] = u[i] + fraction * step[i]
        _imbalance(free, diodes, K, known, trial[0], trial[1], trial[2], kept)
        there = 0.0
        for i in range(n):
            there += trial[1, i] * step[i]
        if there <= 0.9 * abs(descent):
            break
        fraction *= 0.5
    return fraction


@_compiled
def _settle(
    free: NDArray[np.intp],
    diodes: Diodes,
    K: Array,
    J: Array,
    lead: Array,
    known: Array,
    u: Array,
    across: Array,
) -> tuple[int, int, float]:
    """Solve K u + I(Q u + W x) = r by damped Newton from u; an old factor is used again while that pays.

    Overwrites u, J (the factor) and across: V, A at the solution, and S in the factor. Returns status, free number, A.
    """
    n = len(K) - 1
    work = np.zeros((5, n + 1))
    F, scale, step = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n)
    highest, steepest = 0.0, np.inf
    for node in range(len(known)):
        highest = max(highest, abs(known[node]))
    for q in range(len(diodes.saturation)):
        steepest = min(steepest, diodes.emission[q])
    for i in range(n):  # the residual wants the other triangle too
        for j in range(i):
            K[i, j] = K[j, i]
    previous, stale = np.inf, False
    for _ in range(_MOST_ITERATIONS):
        _imbalance(free, diodes, K, known, u, F, scale, across)
        volts = highest
        for i in range(n):
            volts = max(volts, highest + abs(u[i]))
        while True:
            if not stale:
                where = _factor_slopes(free, diodes, K, J, lead, across)
                if where >= 0:
                    return NOT_POSITIVE, where, 0.0
            for i in range(n):
                work[0, i] = -F[i]
            solve(J, n, 0, work[0], step)
            size, descent = 0.0, 0.0
            for i in range(n):
                size = max(size, abs(step[i]))
                descent += F[i] * step[i]
            if stale and size > _CHORD * previous and size > _ROUNDING * volts:
                stale = False
                continue
            break
        balanced = True
        for i in range(n):
            balanced &= abs(F[i]) <= 1e-13 * scale[i] + 4 * _EPS * volts * K[i, i] + 1e-100
        if balanced and (size <= _ROUNDING * volts + 1e-100 or size >= 0.5 * previous):
            return DONE, 0, 0.0
        fraction = _fraction(free, diodes, K, known, u, step, across, descent, work)
        for i in range(n):
            u[i] += fraction * step[i]
        previous = size
        stale = fraction == 1.0 and size <= _NEAR * steepest
    worst = 0
    for i in range(n):
        if abs(F[i]) > abs(F[worst]):
            worst = i
    return NOT_SETTLED, worst, abs(F[worst])


@_compiled
def _bend(diodes: Diodes, q: int, across: Array, dx: float) -> float:
    """I(x + dx) - I(x) - c dx of a junction, A; c: the slope that is in the factor."""
    change = dx / diodes.emission[q]
    here = across[0, q] / diodes.emission[q]
    if abs(here) + abs(change) > _FAR:
        grown, _ = junction(here + change, diodes.antiparallel[q])
        return float(diodes.saturation[q] * grown - across[1, q] - across[2, q] * dx)
    square = change * change
    if square < 0.09:  # Taylor's, to the last bit
        sinh = 1 + square / 72 * (1 + square / 110 * (1 + square / 156))
        sinh = change * (1 + square / 6 * (1 + square / 20 * (1 + square / 42 * sinh)))
        cosh_1 = 1 + square / 90 * (1 + square / 132)
        cosh_1 = square / 2 * (1 + square / 12 * (1 + square / 30 * (1 + square / 56 * cosh_1)))
    else:
        e = math.expm1(change)
        sinh, cosh_1 = 0.5 * (e + e / (1 + e)), 0.5 * e * (e / (1 + e))
    if diodes.antiparallel[q]:  # sinh(h + c) = sinh h cosh c + cosh h sinh c
        sine = across[1, q]
        cosine = math.sqrt(sine * sine + 4 * diodes.saturation[q] ** 2)
        return float(sine * cosh_1 + cosine * sinh - across[2, q] * dx)
    return float((across[1, q] + diodes.saturation[q]) * (sinh + cosh_1) - across[2, q] * dx)


@_compiled
def _swing(
    free: NDArray[np.intp],
    diodes: Diodes,
    nudge_push: Array,
    f: Array,
    K: Array,
    J: Array,
    lead: Array,
    known: Array,
    u: Array,
    nudge: Array,
    first: Array,
    X: Array,
    across: Array,
) -> tuple[int, int, float]:
    """X = what each value of f adds to u, V, (free, value): chord Newton with the factor at rest, all values at once.

    J X = f J first - (the junctions' bend), first: J^-1 of the nudge. Where that does not shrink, damped Newton for one
    value after the other. Overwrites X; then also J and across.
    """
    n, n_values = len(K) - 1, len(f)
    padded = (n_values + 3) // 4 * 4  # whole vectors
    new, old = np.zeros((n + 1, padded)), np.zeros((n + 1, padded))
    size, volts = 0.0, 0.0
    for i in range(n):
        size, volts = max(size, abs(first[i])), max(volts, abs(u[i]))
        for k in range(n_values):
            old[i, k] = f[k] * first[i]
    enough = max(1e-13 * size, 8 * _EPS * volts)
    previous = np.inf
    for _ in range(_MOST_CHORDS):
        for i in range(n + 1):
            for k in range(padded):
                new[i, k] = 0.0
        for q in range(len(diodes.saturation)):
            p, m = free[diodes.plus[q]], free[diodes.minus[q]]
            for k in range(n_values):
                if f[k] == 0:
                    continue
                amperes = _bend(diodes, q, across, old[p, k] - old[m, k])
                new[p, k] -= amperes
                new[m, k] += amperes
        solve_many(J, n, new)
        change = 0.0
        for i in range(n):
            for k in range(n_values):
                new[i, k] += f[k] * first[i]
                change = max(change, abs(new[i, k] - old[i, k]))
        for k in range(n_values):
            new[n, k] = 0.0
        old, new = new, old
        if change <= enough:
            for i in range(n):
                for k in range(n_values):
                    X[i, k] = old[i, k]
            return DONE, 0, 0.0
        if not change <= 0.5 * previous:
            break
        previous = change
    rest, there = np.zeros(n), np.zeros(n)
    for i in range(n):
        rest[i] = K[i, n + 1]
    status, where, amperes = DONE, 0, 0.0
    for k in range(n_values):
        for i in range(n):
            there[i] = u[i]
            K[i, n + 1] = rest[i]
            for j in range(len(nudge)):
                K[i, n + 1] += f[k] * nudge_push[i, j] * nudge[j]
        status, where, amperes = _settle(free, diodes, K, J, lead, known, there, across)
        if status != DONE:
            break
        for i in range(n):
            X[i, k] = there[i] - u[i]
    return status, where, amperes


@_compiled
def _demodulate(layout: Layout, steps: Steps, a: Array, X: Array, b: Array, read_a: Array, doubt: Array) -> float:
    """A and b of the samples a + X, and the residual's square, V and V^2, (node + 1,). Returns the largest |sample|."""
    n, largest = layout.stiffness.shape[0], 0.0
    for node in range(len(layout.free) - 1):
        where = layout.free[node]
        largest = max(largest, abs(a[node]))
        read_a[node], b[node], doubt[node] = a[node], 0.0, 0.0
        if where == n:
            continue
        off = 0.0
        for k in range(len(steps.f)):
            off += steps.to_a[k] * X[where, k]
            b[node] += steps.to_b[k] * X[where, k]
            largest = max(largest, abs(a[node] + X[where, k]))
        read_a[node] += off
        for k in range(len(steps.f)):
            doubt[node] += steps.to_doubt[k] * (X[where, k] - off - b[node] * steps.f[k]) ** 2
    return largest


@_compiled
def _sample(free: NDArray[np.intp], a: Array, X: Array, series: Array, which: NDArray[np.intp]) -> None:
    """Series = the samples a + X at the values of f that `which` says, V, (sample, node)."""
    n, n_nodes = len(X), series.shape[1]
    for sample in range(len(which)):
        for node in range(n_nodes):
            where = free[node]
            series[sample, node] = a[node] + (X[where, which[sample]] if where < n else 0.0)


@_compiled
def _sample_and_fit(f: Array, to_a: Array, to_b: Array, a: Array, b: Array, series: Array, read_a: Array) -> None:
    """Series = a + b f, V, (sample, node); read_a and b are then fitted to it, by the weights of each sample."""
    n_nodes = series.shape[1]
    for sample in range(len(f)):
        for node in range(n_nodes):
            series[sample, node] = a[node] + f[sample] * b[node]
    for node in range(n_nodes):
        read_a[node] = 0.0
        b[node] = 0.0
    for sample in range(len(f)):
        for node in range(n_nodes):
            read_a[node] += to_a[sample] * series[sample, node]
            b[node] += to_b[sample] * series[sample, node]


@_compiled
def run(
    layout: Layout,
    diodes: Diodes | None,
    steps: Steps,
    first: int,
    wished: Array,
    held: Array,
    true: Array,
    starts: Array,
    outputs: Array,
    response: Array,
    series: Array,
    which: NDArray[np.intp],
) -> tuple[int, int, int, float]:
    """Do steps first, first + 1, ... of a block (eq. 3.4 and 3.5, open-loop nudge).

    Overwrites wished, held, true (S, (tunable,)), outputs (V, (step, output)), starts (V, (example + 1, free): where
    Newton starts, NaN where an example has not been solved yet, the last row that of the step before; or (1, free)),
    response (V, (2, node): a and b of the last step), and series (V, (sample, node)): the last step's samples at the
    values f[which], unless it is empty; then a and b are taken from them.
    Returns status, step, free number and amperes. BEYOND_LIMIT, MAY_OVERLOAD: that step is not done, and for others to
    look at; NOT_POSITIVE: the pivot of that free voltage; NOT_SETTLED: amperes left over there.
    """
    n, n_nodes, n_out = layout.stiffness.shape[0], len(layout.free) - 1, layout.nudge_push.shape[1]
    free, plus, minus = layout.free, layout.plus, layout.minus
    K, lead = np.zeros((n + 1, n + 2)), np.zeros(n)
    J, X = np.zeros((n + 1, n + 2)), np.zeros((n, len(steps.f)))
    across = np.zeros((4, 0 if diodes is None else len(diodes.saturation)))
    y, r, x, u = np.zeros(n), np.zeros(n), np.zeros(n + 1), np.zeros(n)
    g, nudge = np.zeros(n_out), np.zeros(n_out)
    a, b, read_a = np.zeros(n_nodes + 1), np.zeros(n_nodes + 1), np.zeros(n_nodes + 1)
    doubt = np.zeros(n_nodes + 1)
    for step in range(first, len(steps.order)):
        example = steps.order[step]
        known = steps.known[example]
        assemble(layout, true, known, steps.pushed[example], K)
        if diodes is not None:
            row = example if len(starts) > 1 and not np.isnan(starts[example, 0]) else len(starts) - 1
            for i in range(n):
                u[i] = starts[row, i]
            status, where, amperes = _settle(free, diodes, K, J, lead, known, u, across)
            if status != DONE:
                return status, step, where, amperes
            for i in range(n):
                x[i] = u[i]
                starts[-1, i] = u[i]
                if len(starts) > 1:
                    starts[example, i] = u[i]
        else:
            where = factor(K, n, lead)
            if where >= 0:
                return NOT_POSITIVE, step, where, 0.0
            for i in range(n):
                y[i] = K[i, n + 1]
            back_substitute(K, n, y, x)
        for node in range(n_nodes):
            a[node] = known[node] + x[free[node]]
        for i in range(n_out):
            outputs[step, i] = a[layout.read_plus[i]] - a[layout.read_minus[i]]
        gradient(steps.cost, steps.temperature, steps.unit, outputs[step], steps.targets[example], g)
        for i in range(n_out):
            nudge[i] = -steps.gamma * g[i]
        for source in range(len(steps.limit)):
            asked = 0.0
            for i in range(n_out):
                asked += layout.per_ampere[source, i] * nudge[i]
            if abs(asked) + steps.size[example, source] > steps.limit[source]:
                return BEYOND_LIMIT, step, source, 0.0
        for i in range(n):
            r[i] = 0.0
        for i in range(layout.first_nudged, n):
            for j in range(n_out):
                r[i] += layout.nudge_push[i, j] * nudge[j]
        if diodes is not None:
            solve(J, n, layout.first_nudged, r, x)
            status, where, amperes = _swing(
                free, diodes, layout.nudge_push, steps.f, K, J, lead, known, u, nudge, x, X, across
            )
            if status != DONE:
                return status, step, where, amperes
            largest = _demodulate(layout, steps, a, X, b, read_a, doubt)
        else:
            solve(K, n, layout.first_nudged, r, x)
            largest = 0.0
            for node in range(n_nodes):
                b[node] = x[free[node]]
                read_a[node] = a[node]
                largest = max(largest, abs(a[node]) + abs(b[node]))
        if largest >= steps.range:
            return MAY_OVERLOAD, step, 0, 0.0
        if len(series):
            if diodes is not None:
                _sample(free, a, X, series, which)
            else:
                _sample_and_fit(steps.f, steps.to_a, steps.to_b, a, b, series, read_a)
        shown = a if steps.free_activation else read_a
        for branch in range(len(plus)):
            p, m = plus[branch], minus[branch]
            product = (shown[p] - shown[m]) * (b[p] - b[m])
            if diodes is not None and not steps.free_activation:
                product -= steps.shared * (doubt[p] + doubt[m])
            base = wished[branch] if steps.accumulate else held[branch]
            wished[branch] = min(max(base - steps.alpha * product, steps.lowest[branch]), steps.highest[branch])
        realise(steps, wished, step, held, true)
        for node in range(n_nodes):
            response[0, node], response[1, node] = read_a[node], b[node]
    return DONE, len(steps.order), 0, 0.0
