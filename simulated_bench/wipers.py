"""What a tunable element truly has by what it is set to: bow and bend of the track, wiper, wire, hysteresis.

A track's share of its resistance at the share x of its codes is x + bow sin(pi x) + bend sin(2 pi x), ends fixed, with
|bow| + |bend| the nonlinearity; below 1 / (2 pi) that rises everywhere. A continuous element has no ends: the logarithm
of its conductance strays by bow sin(t / 2) + bend sin(t), t being that logarithm itself from a phase on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freqprop_lab.values import Array

_WIRE_SPREAD = 0.3
_SMALLEST = 0.05  # of a resistance: no spread makes less of it


@dataclass(frozen=True)
class Tracks:
    """The shapes of elements, (element,) each. bow, bend: relative, signed; phase: of a continuous element."""

    bow: Array
    bend: Array
    phase: Array

    def straying(self, share: Array) -> Array:
        """Return by how much the track is off at a share of its codes, of end to end, (element,)."""
        return np.asarray(self.bow * np.sin(np.pi * share) + self.bend * np.sin(2 * np.pi * share))

    def bent(self, conductances: Array) -> Array:
        """Return what continuous elements have that are set to these conductances, S, (element,)."""
        t = np.log(np.maximum(conductances, np.finfo(float).tiny)) + self.phase
        return np.asarray(conductances * np.exp(self.bow * np.sin(t / 2) + self.bend * np.sin(t)))


def drawn_tracks(nonlinearity: float, n_elements: int, rng: np.random.Generator) -> Tracks:
    """Draw the shapes of elements: how much is bow and how much bend, with which signs."""
    share, phase = rng.random(n_elements), rng.uniform(0, 4 * np.pi, n_elements)
    signs = rng.choice([-1.0, 1.0], (2, n_elements))
    return Tracks(nonlinearity * share * signs[0], nonlinearity * (1 - share) * signs[1], phase)


@dataclass(frozen=True)
class Shapes:
    """How elements differ from what is listed. wiper: factor of its resistance, wire: Ohm in series, (element,)."""

    tracks: Tracks
    wiper: Array
    wire: Array

    def of(self, element: int) -> Shapes:
        """Return those of one element."""
        one = slice(element, element + 1)
        tracks = Tracks(self.tracks.bow[one], self.tracks.bend[one], self.tracks.phase[one])
        return Shapes(tracks, self.wiper[one], self.wire[one])

    def ohms(self, share: Array, end_to_end: Array | float, wiper: Array | float) -> Array:
        """Return the true resistance of potentiometers at a share of their codes, Ohm, (element,)."""
        track = end_to_end * np.maximum(share + self.tracks.straying(share), 0.0)
        return np.asarray(track + wiper * self.wiper + self.wire)


def drawn_shapes(
    nonlinearity: float, wiper_spread: float, wire: float, n_elements: int, rng: np.random.Generator
) -> Shapes:
    """Draw shapes. wiper_spread: relative standard deviation; wire: its mean, Ohm, about which 30 % spread."""
    tracks = drawn_tracks(nonlinearity, n_elements, rng)
    deviates = rng.standard_normal((2, n_elements))
    wiper, wire_factor = (
        np.maximum(1 + spread * each, _SMALLEST)
        for spread, each in zip((wiper_spread, _WIRE_SPREAD), deviates, strict=True)
    )
    return Shapes(tracks, wiper, wire * wire_factor)
