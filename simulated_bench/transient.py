"""How a nonlinear network with capacitance at its nodes moves: implicit steps through time, of high order.

Kirchhoff's law at the free nodes reads d/dt (C u + C' x) = -I(u, x), with x(t) = x0 + f(t) x1 the sources. A step is
the collocation polynomial of degree 7 at Radau's points (Radau IIA, L-stable, stiffly accurate, order 13 at its end),
so that nodes without capacitance are met exactly, and what lies between two steps is known as well as the steps. A
step is as long as the polynomial's last coefficient allows. Source: Hairer and Wanner, Solving Ordinary Differential
Equations II, sections IV.5 and VI.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from freqprop_lab.values import Array
from simulated_bench.circuit import Circuit, CircuitError
from simulated_bench.pieces import Piece

_STAGES = 7
_TOLERANCE = 1e-9  # of how far the drive moves a node: a polynomial's last coefficient, which is more than its error
_FINEST = 1e-12  # of the largest voltage: rounding is not far below
_PERIODIC = 1e-10  # of how far the drive moves a node: two periods that differ by less are one
_ROUNDING = 1e-14  # of the largest voltage
_MOST_ITERATIONS = 12
_QUADRATIC = 0.03  # a Newton step of s leaves about s^2 / n Vt: s is small enough at this part of its root
_SAME_INSTANT = 1e-12  # periods
_FIRST, _LONGEST = 0.02, 0.25  # periods: a longer step might miss what the nudge does
_SHORTER, _LONGER = 0.2, 4.0
_MOST_TRIALS = 60  # of one step
_REACH = 1.0  # of a step's length: so far ahead its polynomial is believed


@dataclass(frozen=True)
class Course:
    """What drives a circuit from t = 0 on: x0 + f x1, V or A, (source,) each; f by its pieces, `period` in s.

    Without pieces the sources stay at x0.
    """

    x0: Array
    x1: Array
    pieces: tuple[Piece, ...]
    period: float

    def sources(self, piece: Piece | None, phase: Array) -> Array:
        """Return the sources at phases (periods) of a piece, (phase, source)."""
        f = np.zeros(len(phase)) if piece is None else piece.at(phase)
        return np.asarray(self.x0 + f[:, None] * self.x1)


@dataclass(frozen=True)
class _Step:
    """From start to start + length, s: Legendre coefficients of u, (degree + 1, free).

    piece: what part of f, in the period that began at `began`, s.
    """

    start: float
    length: float
    coefficients: Array
    piece: Piece | None
    began: float


class Transient:
    """A circuit in motion. capacitance: F, (node,)."""

    def __init__(self, circuit: Circuit, capacitance: Array) -> None:
        self._circuit, self._capacitance = circuit, capacitance

    def volts(
        self, nodes: NDArray[np.intp], times: Array, delays: Array, course: Course, before: Array, static: Array
    ) -> Array:
        """Return the voltage of each of the nodes, (channel,), at times + its delay, (channel, sample), V.

        times, delays: s, (sample,), (channel,), since the drive began. before: V of all nodes until then; static: once
        the levels alone have settled, (node,). Accurate to 1e-8 of how far the nudge, if it were slow, would move the
        nodes (without one, of how far the levels do), and mostly to 1e-10, or to 1e-13 of the largest voltage where
        that is more. Raises CircuitError where no step can be taken.
        """
        instants = times + delays[:, None]
        moved = self._moved(course, before, static)
        if not moved:
            return np.repeat(static[nodes, None], len(times), axis=1)
        march = _March(self._circuit, self._capacitance, course, moved, float(np.abs([static, before]).max()))
        march.begin(before)
        repeats = march.until(float(instants.max()))
        distinct, which = np.unique(instants, return_inverse=True)
        if repeats is not None:
            early = 0.5 * _SAME_INSTANT * course.period
            within = repeats + np.mod(distinct - repeats + early, course.period) - early
            distinct = np.where(distinct > repeats, within, distinct)
        return self._between(march.steps, course, distinct)[which.reshape(instants.shape), nodes[:, None]]

    def _moved(self, course: Course, before: Array, static: Array) -> float:
        """Return how far a slow nudge would move the nodes, or the change of levels where there is no nudge, V."""
        if not (course.pieces and course.x1.any()):
            return float(np.abs(before - static).max())
        f = np.concatenate([piece.at(np.linspace(piece.start, piece.end, 33)) for piece in course.pieces])
        ends = course.x0 + np.array([[f.min()], [f.max()]]) * course.x1
        return float(np.abs(self._circuit.operating_point(ends, static) - static).max())

    def _between(self, steps: list[_Step], course: Course, times: Array) -> Array:
        """Return all nodes' voltages at times within the steps, (time, node)."""
        # Whoever looks at a jump a trillionth of a period early means the jump: one instant, counted in two ways.
        starts = np.array([step.start for step in steps])
        which = np.maximum(np.searchsorted(starts, times + _SAME_INSTANT * course.period, side="right") - 1, 0)
        out = np.empty((len(times), len(self._circuit.S)))
        for number in np.unique(which):
            step, here = steps[number], which == number
            place = np.clip((times[here] - step.start) / step.length, 0.0, 1.0)
            u = legendre.legvander(2 * place - 1, _STAGES) @ step.coefficients
            phase = (step.start + place * step.length - step.began) / course.period
            out[here] = u @ self._circuit.S.T + course.sources(step.piece, phase) @ self._circuit.D.T
        return out


class _March:
    """The steps through one record. moved: V, how far its drive moves the nodes; largest: V, the largest voltage."""

    def __init__(self, circuit: Circuit, capacitance: Array, course: Course, moved: float, largest: float) -> None:
        self.steps: list[_Step] = []
        self._circuit, self._capacitance, self._course = circuit, capacitance, course
        # The charge at a free node, of all that stiff sources tie together there, is charged u + shared x.
        self._charged: Array = circuit.S.T @ capacitance
        self._shared: Array = (circuit.S.T * capacitance) @ circuit.D
        self._slow: NDArray[np.bool_] = self._charged > 0
        self._tolerance = max(_TOLERANCE * moved, _FINEST * largest)
        self._same = max(_PERIODIC * moved, _ROUNDING * largest)
        self._arrived = max(_ROUNDING * largest, _QUADRATIC * float(np.sqrt(self._tolerance * circuit.steepest)))
        self._u = self._charge = np.zeros(circuit.n_free)
        self._next = _FIRST * course.period

    def begin(self, before: Array) -> None:
        """Take over the charges that the node voltages before the drive, (node,), leave at the free nodes."""
        self._u = before[self._circuit.roots]
        self._charge = self._circuit.S.T @ (self._capacitance * before)

    def until(self, end: float) -> float | None:
        """March beyond `end`, s; return when the period began that all further ones repeat, or None."""
        period = self._course.period
        if not self._course.pieces:
            self._through(None, 0.0, 0.0, end + period)
            return None
        number = 0  # of the period
        while number * period <= end + _SAME_INSTANT * period:
            began, at_first = number * period, self._u
            for piece in self._course.pieces:
                self._through(piece, began, began + piece.start * period, began + piece.end * period)
            if number and np.abs(self._u - at_first).max(initial=0.0) <= self._same:
                return began
            number += 1
        return None

    def _through(self, piece: Piece | None, began: float, start: float, stop: float) -> None:
        """March from start to stop, s, within which f is smooth."""
        x = self._sources(piece, began, np.array([start]))[0]
        # Charges stay where they are while the sources jump; nodes without any follow at once.
        tied = (self._charge - self._shared @ x) / np.where(self._slow, self._charged, 1.0)
        self._u = self._circuit.pinned(np.where(self._slow, tied, self._u), x, self._slow)
        now, last = start, None
        while now < stop:
            left = stop - now
            length = min(self._next, left if piece is None else _LONGEST * self._course.period)
            # Two halves rather than a long step and a stub.
            length = left if length >= left else min(length, 0.5 * left) if length > 0.5 * left else length
            last = self._step(piece, began, now, length, last)
            self.steps.append(last)
            now = stop if last.length == left else now + last.length
        self._charge = self._charged * self._u + self._shared @ self._sources(piece, began, np.array([stop]))[0]

    def _step(self, piece: Piece | None, began: float, start: float, length: float, last: _Step | None) -> _Step:
        """Take one step of at most this length, and propose the next one's."""
        previous = np.inf
        for _ in range(_MOST_TRIALS):
            stages = self._stages(piece, began, start, length, last)
            if stages is None:
                length *= _SHORTER
                continue
            coefficients = _TO_COEFFICIENTS @ np.concatenate([self._u[None], stages])
            error = float(np.abs(coefficients[-1]).max(initial=0.0))
            factor = 0.9 * (self._tolerance / (error + 1e-30 * self._tolerance)) ** (1 / _STAGES)
            # Where a step shorter than all that moves is no better than a longer one, it is rounding that is left.
            if error <= self._tolerance or (error > 0.5 * previous and length < self._fastest(piece, began, start)):
                self._u, self._next = stages[-1], length * min(_LONGER, max(1.0, factor))
                return _Step(start, length, coefficients, piece, began)
            length, previous = length * max(_SHORTER, factor), error
        raise CircuitError(
            f"no step from {start:.6g} s on: {length:.3g} s is still too long; check the parts (diodes with a very "
            "small emission voltage, capacitances far apart?)"
        )

    def _stages(
        self, piece: Piece | None, began: float, start: float, length: float, last: _Step | None
    ) -> Array | None:
        """Return u at Radau's points, (stage, free), by Newton's method; None where it finds nothing."""
        n = self._circuit.n_free
        x = self._sources(piece, began, start + length * _POINTS)
        u = np.repeat(self._u[None], _STAGES, axis=0)
        if last is not None:  # the last polynomial, continued, and not too far
            ahead = np.minimum((start + length * _POINTS - last.start) / last.length, 1 + _REACH)
            u = legendre.legvander(2 * ahead - 1, _STAGES) @ last.coefficients
        fixed = x @ self._shared.T - self._charge_now(piece, began, start)
        coupling = (_SLOPES / length)[:, None, :, None] * np.diag(self._charged)[None, :, None, :]
        diagonal = np.arange(_STAGES)
        for _ in range(_MOST_ITERATIONS):
            leaving, slope = self._circuit.leaving(u, x)
            unbalanced = _SLOPES @ (self._charged * u + fixed) / length + leaving
            matrix = coupling.copy()
            matrix[diagonal, :, diagonal, :] += slope
            try:
                step = np.linalg.solve(matrix.reshape(_STAGES * n, -1), -unbalanced.ravel()).reshape(_STAGES, n)
            except np.linalg.LinAlgError:
                return None
            if not np.isfinite(step).all():
                return None
            u = u + step
            if np.abs(step).max(initial=0.0) <= self._arrived:
                return u
        return None

    def _fastest(self, piece: Piece | None, began: float, start: float) -> float:
        """Return a time that is well below every relaxation time at the present voltages, s (Gershgorin's bound)."""
        x = self._sources(piece, began, np.array([start]))
        slope = np.diagonal(self._circuit.leaving(self._u[None], x)[1][0])
        return 0.02 * float((self._charged / slope)[self._slow].min(initial=np.inf))

    def _charge_now(self, piece: Piece | None, began: float, start: float) -> Array:
        return np.asarray(self._charged * self._u + self._shared @ self._sources(piece, began, np.array([start]))[0])

    def _sources(self, piece: Piece | None, began: float, times: Array) -> Array:
        return self._course.sources(piece, (times - began) / self._course.period)


def _radau() -> tuple[Array, Array, Array]:
    """Return Radau's points in (0, 1], the derivative there of what is 0 at 0, and the way to Legendre coefficients."""
    series = np.zeros(_STAGES + 1)
    series[_STAGES - 1 :] = -1, 1  # P_s - P_(s-1), which is 0 at 1
    points = np.sort(legendre.legroots(series).real)
    points[-1] = 1.0
    to_coefficients = np.linalg.inv(legendre.legvander(np.concatenate([[-1.0], points]), _STAGES))
    slopes = 2 * legendre.legval(points, legendre.legder(to_coefficients)).T
    return (points + 1) / 2, np.asarray(slopes[:, 1:]), to_coefficients


_POINTS, _SLOPES, _TO_COEFFICIENTS = _radau()
