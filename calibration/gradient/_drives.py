"""What `calibrate gradient` drives: levels of a task's kind, and every way to nudge the outputs about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.procedure import Measurement
from freqprop_lab.values import Array, ChannelDrive
from freqprop_lab.waveform import Waveform

_MOST_HALVINGS = 5  # of the frequency, until the network follows, and of gamma, until it no longer bends
_DETOURS = (1.0, 0.93, 0.87, 0.81)  # about hum
_LINES = 3.0  # widths of a record's lines that hum must be away


@dataclass(frozen=True)
class Drives:
    """What will be driven.

    levels: V or A, (lead,). gradient: dC/dv, V, (output,). nudge: amplitudes of each output's by itself, V or A,
    (lead, output). gamma: S. together: all sources at once, strongly. frequency: Hz; periods: of a record.
    hum: Hz, its harmonics.
    """

    levels: Array
    gradient: Array
    nudge: Array
    gamma: float
    waveform: Waveform
    together: ChannelDrive
    frequency: float
    periods: int
    hum: tuple[float, ...] = ()

    @property
    def free(self) -> Measurement:
        """The levels alone."""
        return self._measurement(ChannelDrive(self.levels), "free record")

    @property
    def zero(self) -> Measurement:
        """The generator running, at no amplitude."""
        return self._nudged(np.zeros(len(self.levels)), "nudge of no amplitude")

    @property
    def full(self) -> Measurement:
        """The nudge as training has it."""
        return self._nudged(self.nudge.sum(axis=1), "nudge")

    @property
    def weak(self) -> list[Measurement]:
        """Half of it, a quarter, and so on: four times the periods leave the noise of half of b / gamma as it is."""
        both, halves = self.nudge.sum(axis=1), 0.5 ** np.arange(1, _MOST_HALVINGS + 1)
        return [self._nudged(both * share, "a weaker nudge", periods=4 * self.periods) for share in halves.tolist()]

    @property
    def slow(self) -> list[Measurement]:
        """It, at about half the frequency, a quarter, and so on."""
        both, halves = self.nudge.sum(axis=1), 0.5 ** np.arange(1, _MOST_HALVINGS + 1)
        return [self._nudged(both, "a slower nudge", frequency=self._apart(share)) for share in halves.tolist()]

    @property
    def ports(self) -> list[Measurement]:
        """Each output's part of it by itself."""
        return [self._nudged(one, f"output {number + 1} alone") for number, one in enumerate(self.nudge.T)]

    @property
    def all_together(self) -> list[Measurement]:
        """A strong nudge by all sources at once, at half the frequency and at all of it."""
        return [
            self._measurement(self.together, "all sources together", frequency=self._apart(share))
            for share in (0.5, 1.0)
        ]

    def _apart(self, share: float) -> float:
        """Return about a share of the frequency, Hz, so that none of its first tones meets the hum."""
        for detour in _DETOURS:
            frequency = self.frequency * share * detour
            width = _LINES * frequency / self.periods
            if all(abs(order * frequency - line) > width for order in (1, 2) for line in self.hum):
                return frequency
        return self.frequency * share

    def _nudged(
        self, amplitudes: Array, says: str, frequency: float | None = None, periods: int | None = None
    ) -> Measurement:
        drive = ChannelDrive(self.levels, amplitudes, self.waveform)
        return self._measurement(drive, says, frequency, periods)

    def _measurement(
        self, drive: ChannelDrive, says: str, frequency: float | None = None, periods: int | None = None
    ) -> Measurement:
        return Measurement(drive, n_periods=periods or self.periods, frequency=frequency or self.frequency, says=says)
