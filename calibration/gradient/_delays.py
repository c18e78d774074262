"""How late each channel's samples are, told apart from how slow the network is: strong tones at several frequencies.

All sources move together, so that every node follows them with a positive response. A late channel turns the phase in
proportion to the frequency and leaves the size as it is; a slow node lowers the size too. Each channel is taken for one
pole behind a delay, T(omega) = b exp(i omega delay) / (1 + i omega tau): tau from sizes, then the delay from phases.
Only an effective time where poles overlap, so a delay comes out too positive by a part of tau on a slow network; exact
on a quick one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.values import Array

_SURELY = 3.0  # standard uncertainties of tau^2
_SLOWEST = 10.0  # radians of omega tau at the lowest frequency: beyond that only 1 / omega is seen


@dataclass(frozen=True)
class Delays:
    """Of each node, (node,): delay and its standard uncertainty, s. NaN where nothing was seen.

    lag: s, how late the node follows all sources at the lowest frequency, its channel's delay taken out.
    """

    delay: Array
    uncertainty: Array
    lag: Array


def fit_delays(
    tones: Sequence[NDArray[np.complex128]], frequencies: Sequence[float], uncertainties: Sequence[Array]
) -> Delays:
    """Fit delay and relaxation time to tones, (node, harmonic) of each record, at its frequency, Hz.

    uncertainties: of each tone's size, V, (node,), record by record. A delay and a lag together may turn the lowest
    tone by half a turn; more can't be told from less.
    """
    pairs = list(zip(frequencies, tones, uncertainties, strict=True))
    hertz = np.concatenate([frequency * np.arange(1, each.shape[1] + 1) for frequency, each, _ in pairs])
    order = np.argsort(hertz, kind="stable")
    omega = 2 * np.pi * hertz[order]
    T = np.concatenate(tones, axis=1)[:, order]
    doubt = np.concatenate([np.repeat(u[:, None], each.shape[1], axis=1) for _, each, u in pairs], axis=1)[:, order]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = doubt / np.abs(T)
        tau, tau_uncertainty = _relaxation(np.log(np.abs(T)), omega, relative)
        phases = _unwrapped(np.angle(T), omega)
        phase = phases + np.arctan(omega * tau[:, None])
        weight = (omega / relative) ** 2
        delay = (weight * phase / omega).sum(axis=1) / weight.sum(axis=1)
        scatter = (weight * (phase / omega - delay[:, None]) ** 2).sum(axis=1) / (T.shape[1] - 1)
        uncertainty = np.hypot(np.sqrt(np.maximum(scatter, 1.0) / weight.sum(axis=1)), tau_uncertainty)
        lag = delay - phases[:, 0] / omega[0]
    return Delays(delay, uncertainty, lag)


def _relaxation(sizes: Array, omega: Array, relative: Array) -> tuple[Array, Array]:
    """Return tau of each node, and its standard uncertainty, from ln of the tones' sizes, (node, tone).

    Gauss-Newton on ln b - ln(1 + omega^2 tau^2) / 2. Sizes that rise with frequency are no pole's: 0. Those that fall
    faster than one pole's get the slowest tau.
    """
    slowest = (_SLOWEST / omega.min()) ** 2
    square = np.full(len(sizes), 0.0)
    weight = 1 / relative**2
    centred = weight / weight.sum(axis=1, keepdims=True)
    for _ in range(30):
        inner = 1 + omega**2 * square[:, None]
        slope = -0.5 * omega**2 / inner
        residual = sizes + 0.5 * np.log(inner)
        residual = residual - (centred * residual).sum(axis=1, keepdims=True)
        slope = slope - (centred * slope).sum(axis=1, keepdims=True)
        step = (weight * slope * residual).sum(axis=1) / (weight * slope**2).sum(axis=1)
        square = np.clip(square + step, 0.0, np.minimum(4 * square + 1 / omega.max() ** 2, slowest))
    # tau^2 is what sizes tell; where it is not more than its doubt, it is taken to be none.
    doubt = 1 / np.sqrt((weight * slope**2).sum(axis=1))
    square = np.where(square > _SURELY * doubt, square, 0.0)
    tau = np.sqrt(square)
    with np.errstate(divide="ignore"):
        return tau, np.minimum(np.sqrt(doubt), doubt / (2 * tau))


def _unwrapped(phases: Array, omega: Array) -> Array:
    """Return phases, (node, tone), with the whole turns that the tone before, in proportion, leads to expect."""
    found = phases.copy()
    for tone in range(1, phases.shape[1]):
        expected = found[:, tone - 1] * omega[tone] / omega[tone - 1]
        found[:, tone] += 2 * np.pi * np.round((expected - phases[:, tone]) / (2 * np.pi))
    return found
