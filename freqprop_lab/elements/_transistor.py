"""A transistor as a resistor that a gate sets. It is no function of the voltage across it, and not reciprocal."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from freqprop_lab.elements._element import BOLTZMANN, Part
from freqprop_lab.waveform import Array


class TwoEnded(Part):
    """A branch whose current depends on the voltages of both its ends against ground, not on their difference alone.

    The laws: by_plus = d current / d v_plus, by_minus = d current / d v_minus. What enters at one end leaves at the
    other, so the stamp of a branch is [[p, m], [-p, -m]] with p = by_plus, m = by_minus: symmetric only if p = -m.
    There is no energy, and no gradient theorem.
    """

    @abstractmethod
    def current(self, theta: Array, v_plus: Array, v_minus: Array) -> Array:
        """Return the current from the plus to the minus end, A, (..., branch)."""

    @abstractmethod
    def jacobian(self, theta: Array, v_plus: Array, v_minus: Array) -> tuple[Array, Array]:
        """Return d current / d v_plus and d current / d v_minus, S."""

    @abstractmethod
    def current_by_theta(self, theta: Array, v_plus: Array, v_minus: Array) -> Array:
        """Return dI/dtheta, (parameter, ..., branch)."""

    @abstractmethod
    def noise(self, theta: Array, v_plus: Array, v_minus: Array, temperature: float) -> Array:
        """Return the spectral density of the noise current between the ends, A^2/Hz, one-sided."""


class Mosfet(TwoEnded):
    """An n-channel MOSFET, SPICE's level 1, gate and bulk at fixed voltages: a resistor that the gate sets (ALD1106).

    theta: beta = KP W / L, A/V^2; VTO, V; lambda, 1/V; gate, V against ground. Drain and source are whichever of plus
    and minus lies higher and lower: the law is odd under their exchange. No body effect, no current into the bulk.
    For lambda = 0, with e = max(gate - VTO - v, 0) at each end, I = beta (e_minus^2 - e_plus^2) / 2.

    **Frequency propagation holds only while the drain-source voltage is small.** The small-signal conductances seen at
    the two ends are beta e_plus and beta e_minus; they differ by beta v_ds, that is by v_ds / overdrive of either.
    So the response is reciprocal to first order in v_ds / (2 x mean overdrive) per transistor, the adjoint is not the
    measured response, and a step's direction is off by as much: 1 % at v_ds of 2 % of the overdrive; in saturation
    (one end pinched off) there is no resemblance left. tests/simulated_bench/test_transistors.py measures it.
    Source: Shichman, Hodges, IEEE JSSC 3, 285 (1968); ngspice manual, section MOSFETs, level 1.
    """

    kind = "mosfet"
    parameters = ("transconductance", "threshold", "modulation", "gate")
    units = ("A/V^2", "V", "1/V", "V")

    def fault(self, theta: tuple[float, ...]) -> str | None:
        """Allow thresholds and gates of either sign, and no modulation."""
        if not (np.isfinite(theta[0]) and theta[0] > 0):
            return f"transconductance is {theta[0]:g} A/V^2, it must be above 0"
        if not (np.isfinite(theta[2]) and theta[2] >= 0):
            return f"modulation is {theta[2]:g} 1/V, it must be at least 0"
        if not (np.isfinite(theta[1]) and np.isfinite(theta[3])):
            return f"threshold is {theta[1]:g} V and gate {theta[3]:g} V; both must be finite"
        return None

    def current(self, theta: Array, v_plus: Array, v_minus: Array) -> Array:
        """Return the current from the plus to the minus end."""
        beta, _, modulation, _ = theta
        e_plus, e_minus = _overdrives(theta, v_plus, v_minus)
        lengthened = 1 + modulation * np.abs(v_plus - v_minus)
        # (e- - e+)(e- + e+) / 2 keeps its digits where both ends are nearly at one voltage.
        return np.asarray(0.5 * beta * _gap(theta, v_plus, v_minus) * (e_minus + e_plus) * lengthened)

    def jacobian(self, theta: Array, v_plus: Array, v_minus: Array) -> tuple[Array, Array]:
        """Return beta e_plus and -beta e_minus, and what the modulation adds."""
        beta, _, modulation, _ = theta
        e_plus, e_minus = _overdrives(theta, v_plus, v_minus)
        x = v_plus - v_minus
        lengthened = 1 + modulation * np.abs(x)
        longer = 0.5 * beta * _gap(theta, v_plus, v_minus) * (e_minus + e_plus) * modulation * np.sign(x)
        return np.asarray(beta * e_plus * lengthened + longer), np.asarray(-beta * e_minus * lengthened - longer)

    def current_by_theta(self, theta: Array, v_plus: Array, v_minus: Array) -> Array:
        """Return dI by transconductance, threshold, modulation and gate."""
        beta, _, modulation, _ = theta
        e_plus, e_minus = _overdrives(theta, v_plus, v_minus)
        x = v_plus - v_minus
        gap, lengthened = _gap(theta, v_plus, v_minus), 1 + modulation * np.abs(x)
        shape = 0.5 * gap * (e_minus + e_plus)
        by_gate = beta * gap * lengthened
        return np.stack([shape * lengthened, -by_gate, beta * shape * np.abs(x), by_gate])

    def noise(self, theta: Array, v_plus: Array, v_minus: Array, temperature: float) -> Array:
        """Return 4 k T beta 2/3 (e+^2 + e+ e- + e-^2) / (e+ + e-): 4 k T G at rest, two thirds of it in saturation.

        Source: Tsividis, Operation and Modeling of the MOS Transistor, section 8.5 (strong inversion).
        """
        e_plus, e_minus = _overdrives(theta, v_plus, v_minus)
        both = e_plus + e_minus
        shape = (e_plus**2 + e_plus * e_minus + e_minus**2) / np.where(both > 0, both, 1.0)
        return np.asarray(4 * BOLTZMANN * temperature * theta[0] * (2 / 3) * shape)


def _overdrives(theta: Array, v_plus: Array, v_minus: Array) -> tuple[Array, Array]:
    """Return how far the gate lies above threshold at each end, V; 0 where the channel is pinched off."""
    above = theta[3] - theta[1]
    return np.maximum(above - v_plus, 0.0), np.maximum(above - v_minus, 0.0)


def _gap(theta: Array, v_plus: Array, v_minus: Array) -> Array:
    """Return e_minus - e_plus, with all digits of v_plus - v_minus where neither end is pinched off."""
    above = theta[3] - theta[1]
    return np.asarray(np.minimum(v_plus, above) - np.minimum(v_minus, above))
