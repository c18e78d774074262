"""The smooth pieces of a waveform: where its kinks and jumps are, and a polynomial for each stretch between them.

They are found from the values of f alone, by bisection, so that a waveform that nobody here has heard of works as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import legendre

from freqprop_lab.values import Array
from freqprop_lab.waveform import Waveform

_DEGREE = 15
_RESOLVED = 1e-13  # of the largest |f|: what a polynomial may be off
_SHORTEST = 2.0**-40  # periods: what still has no polynomial then holds a jump, or a kink
_NODES, _ = legendre.leggauss(_DEGREE + 1)
_TO_COEFFICIENTS = np.linalg.inv(legendre.legvander(_NODES, _DEGREE))
_CHECKS = np.cos(np.pi * (np.arange(40) + 0.5) / 40)


@dataclass(frozen=True)
class Piece:
    """A stretch of the phase from `start` to `end`, periods, and f on it: Legendre coefficients, (degree + 1,)."""

    start: float
    end: float
    coefficients: Array

    def at(self, phase: Array) -> Array:
        """Return f at phases of the piece; at its ends the limit from inside."""
        x = (2 * phase - self.start - self.end) / (self.end - self.start)
        return np.asarray(legendre.legval(x, self.coefficients))


@lru_cache(maxsize=16)
def smooth_pieces(waveform: Waveform) -> tuple[Piece, ...]:
    """Return pieces that cover the phases 0 to 1, on each of which f is a polynomial to 1e-13 of its largest value.

    A jump is found to the last bit of its phase, a kink to 2^-40 periods.
    """
    scale = float(np.abs(waveform.at(np.arange(4096) / 4096)).max()) or 1.0
    breaks = [0.0]
    for piece in _bisected(waveform, 0.0, 1.0, scale):
        unresolved = piece.end - piece.start <= _SHORTEST and not _is_resolved(waveform, piece, scale)
        if unresolved and piece.start - breaks[-1] > 2 * _SHORTEST:
            breaks.append(_jump(waveform, piece.start, piece.end))
    pairs = zip(breaks, [*breaks[1:], 1.0], strict=True)
    return tuple(piece for start, end in pairs for piece in _bisected(waveform, start, end, scale))


def _bisected(waveform: Waveform, start: float, end: float, scale: float) -> list[Piece]:
    """Return pieces in their order, each halved until it is resolved or too short to matter."""
    done, waiting = [], [(start, end)]
    while waiting:
        start, end = waiting.pop()
        piece = _fit(waveform, start, end)
        if end - start <= _SHORTEST or _is_resolved(waveform, piece, scale):
            done.append(piece)
        else:
            middle = 0.5 * (start + end)
            waiting += [(middle, end), (start, middle)]
    return done


def _fit(waveform: Waveform, start: float, end: float) -> Piece:
    points = 0.5 * (start + end) + 0.5 * (end - start) * _NODES
    return Piece(start, end, _TO_COEFFICIENTS @ waveform.at(points))


def _is_resolved(waveform: Waveform, piece: Piece, scale: float) -> bool:
    points = 0.5 * (piece.start + piece.end) + 0.5 * (piece.end - piece.start) * _CHECKS
    return bool(np.abs(piece.at(points) - waveform.at(points)).max() <= _RESOLVED * scale)


def _jump(waveform: Waveform, start: float, end: float) -> float:
    """Narrow a jump down by bisection: f at the middle is like f at one of both ends."""
    low, high = waveform.at(np.array([start, end])).tolist()
    while start < (middle := 0.5 * (start + end)) < end:
        here = float(waveform.at(np.array([middle]))[0])
        start, end = (middle, end) if abs(here - low) < abs(here - high) else (start, middle)
    return end
