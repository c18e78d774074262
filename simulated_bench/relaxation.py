"""How a linear network with capacitance at its nodes relaxes: its modes, and what each makes of a periodic nudge.

Kirchhoff's law at the free nodes reads C dv/dt + K v = i(t). The modes of K x = lambda C x relax as exp(-lambda t),
each by itself, so that with a static drive, a nudge from t = 0 on and the voltages v0 before

    v(t) = a + b f(t) + sum over modes W [ P b (G(t) - f(t)) + exp(-lambda t) (P (v0 - a) - P b G(0)) ],

a and b the static answers, P what of the nodes' charges is in a mode, W its voltages, and G(t) the periodic answer of
a low-pass filter of unit gain, lambda / (lambda + d/dt), to f. That is exact; nothing steps through time here. Nodes
without capacitance follow at once, and so do those that stiff sources hold.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from freqprop_lab.values import Array
from freqprop_lab.waveform import Waveform
from simulated_bench.circuit import CircuitError
from simulated_bench.pieces import Piece, smooth_pieces

_MOST_HARMONICS = 64
_SAME_SERIES = 1e-13  # of f: so near must its few harmonics come for it to have no others
_SMALLEST_HARMONIC = 1e-15  # of the largest: below it a coefficient is rounding
_FORGOTTEN = 40.0  # relaxation times: exp(-40) is 4e-18
_GRADES = np.array([0.0, 0.05, 0.125, 0.25, 0.5, 1.0])  # of that: panels in which 12 points integrate exp to 1e-15
_MOST_AT_ONCE = 2_000_000  # values of f
_NEXT_TO_NOTHING = 1e-300
_SYMMETRIC = 1e-12  # of the largest conductance


class Relaxation:
    """The modes of a circuit. S: (node, free), as in `Circuit`; K: S, (free, free); capacitance: F, (node,).

    times: relaxation times 1 / lambda, s, rising, (mode,).
    """

    def __init__(self, S: Array, K: Array, capacitance: Array) -> None:
        if np.abs(K - K.T).max(initial=0.0) > _SYMMETRIC * np.abs(K).max(initial=0.0):
            raise CircuitError("a network with transistors has no modes of relaxation: its response isn't reciprocal")
        charged = S.T @ capacitance  # of what stiff sources tie together, the sum
        slow, quick = np.flatnonzero(charged > 0), np.flatnonzero(charged == 0)
        root = np.sqrt(charged[slow])
        follow = -np.linalg.solve(K[np.ix_(quick, quick)], K[np.ix_(quick, slow)])
        reduced = K[np.ix_(slow, slow)] + K[np.ix_(slow, quick)] @ follow
        rates, vectors = np.linalg.eigh(reduced / root[:, None] / root)
        # Rounding may leave a rate of 1e-16 of the largest below zero; K is positive definite, so none is.
        self._rates = np.maximum(rates, _NEXT_TO_NOTHING)[::-1]
        X = vectors[:, ::-1] / root[:, None]
        self._W: Array = S[:, slow] @ X + S[:, quick] @ (follow @ X)
        self._P: Array = (S[:, slow] @ X).T * capacitance

    @property
    def times(self) -> Array:
        """Relaxation times, s, the shortest first, (mode,)."""
        return np.asarray(1 / self._rates)

    def volts(
        self,
        nodes: NDArray[np.intp],
        times: Array,
        delays: Array,
        static: Array,
        before: Array,
        nudge: tuple[Array, Waveform, float] | None,
    ) -> Array:
        """Return the voltage of each of the nodes, (channel,), at times + its delay, (channel, sample), V.

        times, delays: s, (sample,), (channel,), since the drive began. static: V of all nodes once settled; before:
        those until then, (node,). nudge: the static answer per unit of f, V, (node,), the waveform, and Hz.
        """
        rest = self._P @ (before - static)
        moved = np.zeros((len(nodes), len(times)))
        if nudge is not None:
            per_f, waveform, frequency = nudge
            excited = self._P @ per_f
            turn = self._rates / frequency
            lag = _lag(waveform, turn)
            phases = frequency * (times + delays[:, None])
            moved = waveform.at(phases) * per_f[nodes, None] + lag.summed(self._W[nodes] * excited, phases)
            rest = rest - excited * (lag.at_zero() + waveform.at(np.zeros(1))[0])
        late = self._W[nodes] * rest * np.exp(-delays[:, None] * self._rates)
        return np.asarray(static[nodes, None] + moved + late @ np.exp(-self._rates[:, None] * times))


class _BandLimited:
    """G - f of a waveform of few harmonics: each is turned and damped by itself."""

    def __init__(self, harmonics: NDArray[np.complex128], turn: Array) -> None:
        self._number = np.arange(1, len(harmonics) + 1)
        behind = 2j * np.pi * self._number / turn[:, None]  # i k omega tau, (mode, harmonic)
        self._lag = -behind / (1 + behind) * harmonics

    def at_zero(self) -> Array:
        """Return it at phase 0, (mode,)."""
        return 2 * np.asarray(self._lag.real.sum(axis=1))

    def summed(self, weights: Array, phases: Array) -> Array:
        """Return the sum over modes of weights, (channel, mode), times it, at phases (channel, sample)."""
        turned = np.exp(2j * np.pi * phases[:, :, None] * self._number)
        return 2 * np.asarray(np.einsum("ck,csk->cs", weights @ self._lag, turned).real)


class _Piecewise:
    """G - f of any waveform, by Gauss's rule on its smooth pieces: to about 1e-12 of the largest |f|."""

    def __init__(self, waveform: Waveform, pieces: tuple[Piece, ...], turn: Array) -> None:
        self._waveform, self._turn = waveform, turn
        self._starts = np.array([piece.start for piece in pieces])
        ends = np.array([piece.end for piece in pieces])
        fed = self._fed(self._starts, ends)
        kept = np.exp(-(ends - self._starts)[:, None] * turn)
        g = np.zeros_like(turn)
        for feed, keep in zip(fed, kept, strict=True):
            g = g * keep + feed
        g = g / -np.expm1(-turn)  # what is left of itself after a period is in it too
        self._at_starts = np.empty_like(fed)
        for number, (feed, keep) in enumerate(zip(fed, kept, strict=True)):
            self._at_starts[number] = g
            g = g * keep + feed

    def at_zero(self) -> Array:
        """Return it at phase 0, (mode,)."""
        return np.asarray(self._at_starts[0] - self._waveform.at(np.zeros(1))[0])

    def summed(self, weights: Array, phases: Array) -> Array:
        """Return the sum over modes of weights, (channel, mode), times it, at phases (channel, sample)."""
        distinct, which = np.unique(np.mod(phases, 1.0), return_inverse=True)
        which = which.reshape(phases.shape)
        if len(distinct) <= phases.shape[1]:  # the channels share their phases
            lag = self._lag(distinct)
            return np.stack([lag[row] @ weight for row, weight in zip(which, weights, strict=True)])
        out = np.empty(phases.shape)
        for channel, row in enumerate(np.mod(phases, 1.0)):
            own, places = np.unique(row, return_inverse=True)
            out[channel] = (self._lag(own) @ weights[channel])[places]
        return out

    def _lag(self, phases: Array) -> Array:
        """Return it at phases from 0 to 1, (phase, mode)."""
        piece = np.searchsorted(self._starts, phases, side="right") - 1
        since = phases - self._starts[piece]
        g = self._at_starts[piece] * np.exp(-since[:, None] * self._turn) + self._fed(self._starts[piece], phases)
        return np.asarray(g - self._waveform.at(phases)[:, None])

    def _fed(self, starts: Array, ends: Array) -> Array:
        """Return what f from `start` to `end` has fed into each mode at `end`, (stretch, mode)."""
        out = np.empty((len(starts), len(self._turn)))
        step = max(1, _MOST_AT_ONCE // (len(self._turn) * len(_POINTS) or 1))
        for first in range(0, len(starts), step):
            here = slice(first, first + step)
            length = (ends - starts)[here, None]
            age = length * self._turn  # in relaxation times
            seen = np.minimum(age, _FORGOTTEN)
            back = length * np.minimum(1.0, _FORGOTTEN / np.maximum(age, _FORGOTTEN))
            f = self._waveform.at(ends[here, None, None] - back[:, :, None] * _POINTS)
            out[here] = seen * ((f * np.exp(-seen[:, :, None] * _POINTS)) @ _WEIGHTS)
        return out


def _lag(waveform: Waveform, turn: Array) -> _BandLimited | _Piecewise:
    """Return G - f for modes that relax by exp(-turn) a period."""
    harmonics = waveform.harmonics(_MOST_HARMONICS)
    size = np.abs(harmonics)
    number = np.flatnonzero(size > _SMALLEST_HARMONIC * size.max(initial=0.0))
    few = harmonics[: number[-1] + 1 if len(number) else 0]
    phases = np.linspace(0, 1, 4 * _MOST_HARMONICS + 1)
    series = waveform.mean + 2 * (few @ np.exp(2j * np.pi * np.outer(np.arange(1, len(few) + 1), phases))).real
    if np.abs(series - waveform.at(phases)).max() <= _SAME_SERIES:
        return _BandLimited(few, turn)
    return _Piecewise(waveform, smooth_pieces(waveform), turn)


def _graded() -> tuple[Array, Array]:
    points, weights = legendre.leggauss(12)
    widths = np.diff(_GRADES)
    placed = _GRADES[:-1, None] + widths[:, None] * (points + 1) / 2
    return placed.ravel(), np.asarray(widths[:, None] * weights / 2).ravel()


_POINTS, _WEIGHTS = _graded()
