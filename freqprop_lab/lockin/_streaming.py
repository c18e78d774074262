"""A lock-in that is fed samples as they come, in memory that does not grow."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from freqprop_lab.lockin._arguments import checked
from freqprop_lab.lockin._basis import Basis, Timing, harmonics_of
from freqprop_lab.lockin._demodulate import response_of
from freqprop_lab.lockin._fit import Delay, Moments, Phase, look_for_delay
from freqprop_lab.lockin._moments import tones_of
from freqprop_lab.lockin._refine import Reduced, refine
from freqprop_lab.values import Array, Response
from freqprop_lab.waveform import Waveform

_FLOOR = (4 * float(np.finfo(float).eps)) ** 2


class LockIn:
    """a and b of a stream of samples, with their standard errors, at any moment.

    n_channels, sample_rate (Hz), waveform, frequency (Hz), synchronised, delays, skews, shared_delay: as for
    `demodulate`; the first sample ever fed is the record's first. wished: V, the standard error of b at which every
    channel `is_reached`.

    Only the moments of the stream are kept: its products with the constant and the harmonics, and its square. So the
    answer is that of `demodulate` on all samples at once for a band-limited waveform; of another one the harmonics that
    carry 99.8 % of its variance are used. That costs the rest of its signal, and b is off by what the sampling folds
    onto them: 0.8 % for |sin| at 20 samples a period, 0.03 % at 100.
    """

    def __init__(
        self,
        n_channels: int,
        sample_rate: float,
        waveform: Waveform,
        frequency: float,
        *,
        synchronised: bool,
        delays: ArrayLike | None = None,
        skews: ArrayLike | None = None,
        shared_delay: bool = False,
        wished: float | None = None,
    ) -> None:
        self._given = checked(
            np.zeros((n_channels, 4)),
            sample_rate,
            waveform,
            frequency,
            synchronised=synchronised,
            delays=delays,
            skews=skews,
            shared_delay=shared_delay,
            valid=None,
            limits=None,
        )
        self._harmonics = harmonics_of(waveform, self._given.frequency / self._given.sample_rate)
        n_columns = 1 + 2 * len(self._harmonics.orders)
        self.wished = wished
        self.n_samples = 0
        self._gram = np.zeros((n_columns, n_columns))
        self._products = np.zeros((1, n_channels, n_columns))
        self._squares = np.zeros((1, n_channels))
        self._level: Array | None = None

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self._squares.shape[1]

    def feed(self, volts: ArrayLike) -> Self:
        """Take the next samples, V, (channel, sample), any number of them. Raises ValueError for gaps and shapes."""
        block = np.asarray(volts, dtype=np.float64)
        if block.ndim != 2 or block.shape[0] != self.n_channels:
            raise ValueError(
                f"volts has the shape {block.shape}; this lock-in takes (channel, sample) with "
                f"{self.n_channels} channels"
            )
        if not np.isfinite(block).all():
            raise ValueError("volts holds NaN or infinite values; a stream has no gaps")
        if block.shape[1] == 0:
            return self
        if self._level is None:
            self._level = block[
                :, 0
            ].copy()  # taken off first, so that a small signal on a large level keeps its digits
        block = block - self._level[:, None]
        turns = self._given.frequency / self._given.sample_rate
        # Phases are taken within a period first: far into a stream the digits behind the point are what counts.
        phases = np.mod((self.n_samples + np.arange(block.shape[1])) * turns, 1.0)
        turned = np.exp(-2j * np.pi * phases[:, None] * self._harmonics.orders)
        columns = np.concatenate([np.ones((len(phases), 1)), turned.view(np.float64)], axis=1)
        self._gram += columns.T @ columns
        self._products[0] += block @ columns
        self._squares[0] += np.einsum("cn,cn->c", block, block)
        self.n_samples += block.shape[1]
        return self

    @property
    def response(self) -> Response:
        """What all samples so far say. Raises ValueError while there are too few of them."""
        n_columns = len(self._gram)
        turns = self._given.frequency / self._given.sample_rate
        if self._level is None or self.n_samples <= n_columns or self.n_samples * turns < 1:
            raise ValueError(
                f"{self.n_samples} samples so far; at least {n_columns + 1}, and a period of the nudge "
                f"({1 / turns:.4g} samples), are needed"
            )
        basis = self._basis()
        floor = (self._squares + self.n_samples * self._level**2) * _FLOOR / self.n_samples + 1e-300
        moments = Moments(self._products, self._squares, self.n_samples, self._gram, floor)
        given = self._given
        phase = Phase(given.delay, None if given.known is None else given.known * given.frequency)
        search = None if phase.delay is Delay.KNOWN else look_for_delay(moments, basis, phase)
        fit = refine(Reduced(moments, basis), phase, search)
        fit.a = fit.a + self._level
        found = response_of(given, fit, tones_of(moments, basis), np.zeros(fit.a.shape, dtype=np.uint8))
        fields: dict[str, Any] = {name: value if value is None else value[0] for name, value in vars(found).items()}
        return Response(**fields)

    @property
    def is_reached(self) -> bool:
        """True once the standard error of b is as small as was wished on every channel."""
        turns = self._given.frequency / self._given.sample_rate
        if self.wished is None or self.n_samples <= len(self._gram) or self.n_samples * turns < 1:
            return False
        return bool((self.response.b_stderr <= self.wished).all())

    def _basis(self) -> Basis:
        """Return a basis without its columns: all that is asked of it here are the harmonics."""
        nothing = np.zeros((0, 0))
        timing = Timing(self._given.frequency / self._given.sample_rate, self.n_samples)
        return Basis(self._harmonics, timing, nothing, self._gram, nothing, nothing, nothing, flat=False)
