"""The iteration of _newton_kernels.py for machines without numba: NumPy for the branches, SuperLU for the steps.

The same equations, sums of two doubles and rules for when to stop, so that the results agree to the last digits or two;
K is factored anew at each step, and by subtraction.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

from freqprop_lab.elements import ELEMENTS, Element
from freqprop_lab.values import Array
from simulated_bench.connections import CircuitError
from simulated_bench.flat import Flat, empty_state

_MOST_ITERATIONS = 200
_MOST_HALVINGS = 30
_ROUNDING = 1e-14
_LOCAL, _GLOBAL, _FLOOR = 1e-13, 5e-13, 1e-22
_NOTHING = 1e-100
_KINDS = ("diode", "antiparallel", "junction")  # in the order of `Wiring.ends`


class Plain:
    """The same as `newton.Compiled`. state: of what was evaluated last; u: where the last attempt ended."""

    def __init__(self, flat: Flat) -> None:
        self._flat, self.state = flat, empty_state(flat)
        self._plus, self._minus = flat.wiring.plus.astype(np.intp), flat.wiring.minus.astype(np.intp)
        self._first, self._second = (flat.wiring.free[ends].astype(np.intp) for ends in (self._plus, self._minus))
        self._factor: SuperLU | None = None
        self.n_factors, self.largest = 0, 0.0
        self.u = np.zeros(flat.n_free + 1)

    def forget(self) -> None:
        """Do nothing: no factor is used twice."""

    def attempt(self, x: Array, start: Array, shunt: float) -> tuple[Array, bool]:
        """Iterate from start, (free + 1,), V; return where it ended and whether it arrived."""
        u, low, state = start.copy(), np.zeros(len(start)), self.state
        wiring = self._flat.wiring
        driven = float(np.abs(wiring.rise * x[wiring.rise_source]).max(initial=0.0))
        previous = np.inf
        self._evaluate(x, u, low, shunt)
        for _ in range(_MOST_ITERATIONS):
            self.u = u
            if not self._factored(shunt):
                return u, False
            step = np.append(self.solve(-state.F[:-1]), 0.0)
            if not np.isfinite(step).all():
                return u, False
            size = float(np.abs(step).max(initial=0.0))
            volts = max(driven, float(np.abs(u).max(initial=0.0)))
            if (size <= _ROUNDING * volts + _NOTHING or size >= 0.5 * previous) and self._balanced():
                return u, True
            previous = size
            u, low = self._moved(x, u, low, shunt, step)
        return u, False

    def _moved(self, x: Array, u: Array, low: Array, shunt: float, step: Array) -> tuple[Array, Array]:
        """Take as much of a step as does good; the state is that of where it ends."""
        state = self.state
        fraction = self._believed(step)
        noise = _LOCAL * float(state.scale[:-1].sum())
        before, descent = float(np.abs(state.F[:-1]).sum()), abs(float(state.F[:-1] @ step[:-1]))
        for _ in range(_MOST_HALVINGS + 1):
            there, there_low = _two_sum(u, fraction * step + low)
            self._evaluate(x, there, there_low, shunt)
            if len(self._flat.transistors):
                left = float(np.abs(state.F[:-1]).sum())
                overshot = not left <= before * (1 - 1e-4 * fraction) + noise
            else:
                overshot = not float(state.F[:-1] @ step[:-1]) <= 0.9 * descent
            if not overshot:
                break
            fraction *= 0.5
        return there, there_low

    def _balanced(self) -> bool:
        F, scale = np.abs(self.state.F[:-1]), self.state.scale[:-1]
        allowed = np.minimum(_LOCAL * scale, _GLOBAL * self.largest) + _FLOOR * self.largest + _NOTHING
        return bool((allowed >= F).all())

    def _believed(self, step: Array) -> float:
        """Return the fraction of a step over which every junction's tangent is a guide."""
        wiring, fraction = self._flat.wiring, 1.0
        change = step[self._first] - step[self._second]
        volts = self.state.high[self._plus] - self.state.high[self._minus]
        for kind, name in enumerate(_KINDS):
            own = slice(wiring.ends[kind], wiring.ends[kind + 1])
            if own.stop > own.start:
                theta = _rows(wiring.theta, ELEMENTS[name], own)
                fraction = min(fraction, float(ELEMENTS[name].believed(theta, volts[own], change[own]).min()))
        return fraction

    def evaluate(self, x: Array, u: Array) -> None:
        """Put into state what holds at the free voltages u, (free,)."""
        whole = np.append(u, 0.0)
        self._evaluate(x, whole, np.zeros(len(whole)), 0.0)

    def _evaluate(self, x: Array, u: Array, u_low: Array, shunt: float) -> None:
        wiring, state = self._flat.wiring, self.state
        high, low, currents, slopes, F, scale = state
        high[:], low[:] = u[wiring.free], u_low[wiring.free]
        for node, source, rise in zip(wiring.rise_node, wiring.rise_source, wiring.rise, strict=True):
            term, before = rise * x[source], high[node]
            high[node] = before + term
            part = high[node] - before
            low[node] += (before - (high[node] - part)) + (term - part)
        ends = wiring.ends
        volts, lost = _two_sum(high[self._plus], -high[self._minus])
        lost = lost + (low[self._plus] - low[self._minus])
        own_volts = np.append(x, 0.0)[np.where(wiring.own >= 0, wiring.own, -1)]
        less, rest = _two_sum(volts, -own_volts)
        volts = less + (rest + lost)
        resistors = slice(0, ends[0])
        currents[resistors] = wiring.theta[0, resistors] * volts[resistors]
        by_plus, by_minus = slopes[::2], slopes[1::2]
        by_plus[resistors] = by_minus[resistors] = wiring.theta[0, resistors]
        for kind, name in enumerate(_KINDS):
            own, element = slice(ends[kind], ends[kind + 1]), ELEMENTS[name]
            theta = _rows(wiring.theta, element, own)
            currents[own] = element.current(theta, volts[own])
            by_plus[own] = by_minus[own] = element.slope(theta, volts[own])
        self._channels(slice(ends[3], ends[4]), volts)
        F[:], scale[:] = 0.0, 0.0
        np.subtract.at(F, wiring.push_free, wiring.push * x[wiring.push_source])
        scale[:] = np.abs(F)
        self.largest = float(scale[:-1].max(initial=0.0))
        F += shunt * u
        scale += shunt * np.abs(u)
        size, n = np.abs(currents), len(F)
        F += np.bincount(self._first, currents, n) - np.bincount(self._second, currents, n)
        scale += np.bincount(self._first, size, n) + np.bincount(self._second, size, n)
        self.largest = max(self.largest, float(size[self._first != self._second].max(initial=0.0)))

    def _channels(self, own: slice, volts: Array) -> None:
        """Put the currents and slopes of the transistors into state; the law of `Mosfet`, in two doubles."""
        high, low, currents, slopes, _, _ = self.state
        theta = self._flat.wiring.theta[:, own]
        above = theta[3] - theta[1]
        overdrive = []
        for ends in (self._plus[own], self._minus[own]):
            total, lost = _two_sum(above, -high[ends])
            overdrive.append(np.maximum(total + (lost - low[ends]), 0.0))
        e_plus, e_minus = overdrive
        x = volts[own]
        gap = np.where((e_plus > 0) & (e_minus > 0), x, e_minus - e_plus)
        channel = 0.5 * theta[0] * gap * (e_minus + e_plus)
        lengthened, longer = 1 + theta[2] * np.abs(x), np.abs(channel) * theta[2]
        currents[own] = channel * lengthened
        slopes[::2][own] = theta[0] * e_plus * lengthened + longer
        slopes[1::2][own] = theta[0] * e_minus * lengthened + longer

    def linearise(self, x: Array, u: Array) -> None:
        """Factor K at the free voltages u, for `solve`. Raises CircuitError where it is singular."""
        self.evaluate(x, u)
        if not self._factored(0.0):
            raise CircuitError("next to nothing holds the voltage of some node: look for one that is all but cut off")

    def solve(self, rhs: Array) -> Array:
        """Return K^-1 rhs, V, (free,), with the factor that there is."""
        return np.asarray(self._factor.solve(rhs)) if self._factor is not None else np.zeros(len(rhs))

    def _factored(self, shunt: float) -> bool:
        n, slopes = self._flat.n_free, self.state.slopes
        if not n:
            return True
        row, column, which = self._flat.entries()
        off = sparse.coo_array((-slopes[which], (row, column)), shape=(n, n))
        diagonal = np.bincount(self._first, slopes[::2], n + 1) + np.bincount(self._second, slopes[1::2], n + 1)
        inside = self._first == self._second
        diagonal -= np.bincount(self._first[inside], slopes[::2][inside] + slopes[1::2][inside], n + 1)
        K = sparse.csc_array(off + sparse.diags_array(diagonal[:n] + shunt))
        self.n_factors += 1
        try:
            self._factor = splu(K, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        except RuntimeError:
            return False
        return True


def _rows(theta: Array, element: Element, own: slice) -> Array:
    return theta[: len(element.parameters), own]


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a + b, and what rounding lost of it (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
