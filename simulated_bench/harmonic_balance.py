"""The steady periodic response of a nonlinear network with capacitance, without waiting for it: harmonic balance.

The free voltages are u(t) = Re sum U_k exp(i k w t), k = 0..H. Kirchhoff's law, harmonic by harmonic, reads

    I_k[u, x] + i k w (C U_k + C' X_k) = 0

with I_k the harmonics of the currents that leave the free nodes, which are worked out at 4 H instants (twice what H
harmonics need, so that those that the junctions make beyond H hardly fold back onto those that are kept), and C' X_k
the charge that stiff sources move. The step is a chord's: factors of (J + i k w C), J the mean over the period of the
small-signal conductances, one complex matrix a harmonic. Where that gains too little, the same factors precondition
GMRES on the exact derivative. H doubles until two solutions agree. Source: Kundert, Sangiovanni-Vincentelli, IEEE
Trans. CAD 5, 521 (1986).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lu_factor, lu_solve

from freqprop_lab.names import shown
from freqprop_lab.values import Array
from freqprop_lab.waveform import Waveform
from simulated_bench.circuit import Circuit, CircuitError

ComplexArray = NDArray[np.complex128]

_FIRST_HARMONICS = 8
_OVERSAMPLED = 4  # instants per harmonic
_MOST_ITERATIONS = 60
_MOST_HALVINGS = 12
_ARRIVED = 1e-13  # of the largest voltage
_GOOD_ENOUGH = 0.2  # what a chord step must leave of the residual; more, and GMRES takes over
_SMALLEST_SHARE = 1e-3  # of the nudge
_SMALLER, _LARGER = 0.25, 2.0
_GMRES_TOLERANCE, _GMRES_ROUNDS = 1e-4, 200
_NOTHING = 1e-100


@dataclass(frozen=True)
class PeriodicResponse:
    """Node voltages that repeat with a period.

    harmonics: complex amplitudes of the free voltages, V, (harmonic, free), k = 0 first. change: the largest difference
    to the solution with half as many, V: an estimate of the error. residual: the largest violation of Kirchhoff's law
    in any harmonic that is kept, A.
    """

    circuit: Circuit
    sources: Array
    nudge: Array
    waveform: Waveform
    frequency: float
    harmonics: ComplexArray
    change: float
    residual: float

    def volts(self, times: Array) -> Array:
        """Return the voltages of all nodes, V, (node, time), at times in s; phase 0 of the nudge is at time 0."""
        phase = np.asarray(times, dtype=np.float64) * self.frequency
        turns = np.exp(2j * np.pi * phase[:, None] * np.arange(len(self.harmonics)))
        u = (turns @ self.harmonics).real
        x = self.sources + self.waveform.at(phase)[:, None] * self.nudge
        return np.asarray((u @ self.circuit.S.T + x @ self.circuit.D.T).T)

    def a_and_b(self, n_samples: int = 1024) -> tuple[Array, Array]:
        """Return a and b of every node, V, (node,) each: the fit of a + b f over a period, as a lock-in reads it."""
        phases = np.arange(n_samples) / n_samples
        f = self.waveform.at(phases)
        volts = self.volts(phases / self.frequency)
        centred = f - f.mean()
        b = volts @ centred / (centred @ centred)
        return np.asarray(volts.mean(axis=1) - b * f.mean()), np.asarray(b)


def harmonic_balance(
    circuit: Circuit,
    sources: Array,
    nudge: Array,
    waveform: Waveform,
    frequency: float,
    capacitance: Array | None = None,
    tolerance: float = 1e-7,
    most_harmonics: int = 1024,
) -> PeriodicResponse:
    """Return the periodic response to sources + f(frequency t) nudge on the connections, V or A, (source,).

    capacitance: F, (node,), from each node to ground, beside the network's capacitors. tolerance: of how far voltages
    swing; harmonics are added until as many again change no node by more. Waveforms with kinks, where nodes follow at
    once, need many: then `simulated_bench.transient` is the better way. Raises CircuitError where the harmonics don't
    suffice or no balance is found.
    """
    x0, x1 = np.asarray(sources, dtype=np.float64), np.asarray(nudge, dtype=np.float64)
    if not (np.isfinite(frequency) and frequency > 0):
        raise ValueError(f"frequency is {frequency:g} Hz, it must be above 0")
    rest = circuit.operating_point(x0)
    charges = circuit.capacitances(rest, capacitance)
    n_harmonics = _FIRST_HARMONICS
    U: ComplexArray = np.zeros((n_harmonics + 1, circuit.n_free), dtype=np.complex128)
    U[0] = rest[circuit.roots]
    previous: ComplexArray | None = None
    change, where = np.inf, 0
    while n_harmonics <= most_harmonics:
        balance = _Balance(circuit, charges, x0, x1, waveform, frequency, n_harmonics)
        U, residual = balance.solve(U)
        if circuit.n_free == 0:
            return PeriodicResponse(circuit, x0, x1, waveform, frequency, U, 0.0, 0.0)
        swing = float(np.ptp(balance.voltages(U), axis=0).max())
        if previous is not None:
            padded = np.zeros_like(U)
            padded[: len(previous)] = previous
            apart = np.abs(balance.voltages(U) - balance.voltages(padded)).max(axis=0)
            change, where = float(apart.max()), int(apart.argmax())
            if change <= tolerance * swing + 1e-14 * float(np.abs(U).max()):
                return PeriodicResponse(circuit, x0, x1, waveform, frequency, U, change, residual)
        previous = U
        n_harmonics *= 2
        U = np.concatenate([U, np.zeros((n_harmonics + 1 - len(U), circuit.n_free))])
    raise CircuitError(
        f"{most_harmonics} harmonics are not enough: the last doubling still moved node "
        f"{circuit.network.nodes[circuit.roots[where]]} by {change:.3g} V; ask for more (most_harmonics), for a larger "
        "tolerance, or follow the waveform through time (simulated_bench.transient)"
    )


class _Balance:
    """Kirchhoff's law in so many harmonics."""

    def __init__(
        self,
        circuit: Circuit,
        charges: Array,
        x0: Array,
        x1: Array,
        waveform: Waveform,
        frequency: float,
        n_harmonics: int,
    ) -> None:
        self._circuit, self._n_harmonics = circuit, n_harmonics
        self._n = _OVERSAMPLED * n_harmonics
        self._x0 = x0
        self._moving = waveform.at(np.arange(self._n) / self._n)[:, None] * x1
        self._C = circuit.S.T @ charges @ circuit.S
        self._turn = 2j * np.pi * frequency * np.arange(n_harmonics + 1)
        self._displaced = self._turn[:, None] * (self._harmonics(self._moving) @ (circuit.S.T @ charges @ circuit.D).T)

    def voltages(self, U: ComplexArray) -> Array:
        """Return the free voltages at the instants, V, (instant, free)."""
        spectrum = np.zeros((self._n // 2 + 1, U.shape[1]), dtype=np.complex128)
        spectrum[: len(U)] = 0.5 * self._n * U
        spectrum[0] = self._n * U[0].real
        return np.asarray(np.fft.irfft(spectrum, self._n, axis=0))

    def solve(self, U: ComplexArray) -> tuple[ComplexArray, float]:
        """Return the harmonics and what is left over in the worst, A; with the whole nudge at once, else by steps."""
        found, residual, left = self._iterate(U, 1.0)
        if found is not None:
            return found, residual
        share, step, at = 0.0, 0.25, np.zeros_like(U)
        at[0] = self._circuit.operating_point(self._x0)[self._circuit.roots]
        while step >= _SMALLEST_SHARE:
            ahead = min(1.0, share + step)
            found, residual, left = self._iterate(at, ahead)
            if found is None:
                step *= _SMALLER
                continue
            at, share, step = found, ahead, step * _LARGER
            if share == 1.0:
                return at, residual
        names = [self._circuit.network.nodes[self._circuit.roots[int(left.argmax())]]]
        raise CircuitError(
            f"no periodic balance found with {self._n_harmonics} harmonics: {left.max():.3g} A are left over at node "
            f"{shown(names)} with {share:.3g} of the nudge; lower it, or follow it through time"
        )

    def _iterate(self, U: ComplexArray, share: float) -> tuple[ComplexArray | None, float, Array]:
        left, conductances = self._left_over(U, share)
        size, previous = float(np.abs(left).max(initial=0.0)), np.inf
        mean = conductances.mean(axis=0)
        chord = self._chord(mean)
        for _ in range(_MOST_ITERATIONS):
            if size > _GOOD_ENOUGH * previous:
                mean = conductances.mean(axis=0)
                chord = self._chord(mean)
                step = self._newton_step(conductances, chord, left)
            else:
                step = chord(-left)
            largest = float(np.abs(U).max(initial=0.0))
            if not np.isfinite(step).all():
                return None, size, np.abs(left).max(axis=0, initial=0.0)
            if np.abs(step).max(initial=0.0) <= _ARRIVED * largest + _NOTHING:
                return U, size, np.abs(left).max(axis=0, initial=0.0)
            fraction = 1.0
            for _halving in range(_MOST_HALVINGS):
                fresh, there = self._left_over(U + fraction * step, share)
                now = float(np.abs(fresh).max(initial=0.0))
                if np.isfinite(now) and (now < size or np.abs(step).max() <= 1e-9 * largest):
                    break
                fraction *= 0.5
            else:
                return None, size, np.abs(left).max(axis=0, initial=0.0)
            small = fraction * float(np.abs(step).max()) <= 1e-11 * largest
            if small and now >= 0.5 * size:  # rounding is what is left
                return U, size, np.abs(left).max(axis=0, initial=0.0)
            U, left, conductances = U + fraction * step, fresh, there
            previous, size = size, now
        return None, size, np.abs(left).max(axis=0, initial=0.0)

    def _left_over(self, U: ComplexArray, share: float) -> tuple[ComplexArray, Array]:
        """Return what Kirchhoff's law misses in each harmonic, A, (harmonic, free), and K at each instant, S."""
        leaving, conductances = self._circuit.leaving(self.voltages(U), self._x0 + share * self._moving)
        left = self._harmonics(leaving) + self._turn[:, None] * (U @ self._C.T) + share * self._displaced
        return left, conductances

    def _harmonics(self, values: Array) -> ComplexArray:
        """Return the complex amplitudes of what has these values at the instants, (harmonic, ...)."""
        found = np.fft.rfft(values, axis=0)[: self._n_harmonics + 1] * (2 / self._n)
        found[0] *= 0.5
        return np.asarray(found)

    def _chord(self, mean: Array) -> Callable[[ComplexArray], ComplexArray]:
        factors = [lu_factor(mean + turn * self._C, check_finite=False) for turn in self._turn]

        def solve(left: ComplexArray) -> ComplexArray:
            rows = [lu_solve(factor, row, check_finite=False) for factor, row in zip(factors, left, strict=True)]
            found = np.array(rows, dtype=np.complex128)
            found[0] = found[0].real
            return found

        return solve

    def _newton_step(
        self, conductances: Array, chord: Callable[[ComplexArray], ComplexArray], left: ComplexArray
    ) -> ComplexArray:
        """Return the exact derivative's step, by GMRES with the chord's factors before it."""
        from scipy.sparse.linalg import LinearOperator, gmres  # noqa: PLC0415

        shape = left.shape

        def packed(z: ComplexArray) -> Array:
            return np.concatenate([z.real.ravel(), z[1:].imag.ravel()])

        def unpacked(real: Array) -> ComplexArray:
            z = real[: left.size].reshape(shape).astype(np.complex128)
            z[1:] += 1j * real[left.size :].reshape(shape[0] - 1, shape[1])
            return z

        def product(real: Array) -> Array:
            z = unpacked(real)
            currents = (conductances @ self.voltages(z)[:, :, None])[:, :, 0]
            return packed(chord(self._harmonics(currents) + self._turn[:, None] * (z @ self._C.T)))

        rhs = packed(chord(-left))
        operator = LinearOperator((rhs.size, rhs.size), matvec=product, dtype=np.float64)
        step, _ = gmres(operator, rhs, rtol=_GMRES_TOLERANCE, restart=_GMRES_ROUNDS, maxiter=2)
        return unpacked(np.asarray(step, dtype=np.float64))
