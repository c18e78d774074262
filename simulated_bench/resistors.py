"""Simulated tunable resistors: continuous ones, or digital potentiometers with codes, tolerance, faults and drift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freqprop_lab.instruments import (
    Ability,
    ConnectionLostError,
    Identity,
    LimitError,
    ResistorLimits,
    TunableResistor,
)
from freqprop_lab.values import Array
from simulated_bench.blocks import Parts
from simulated_bench.breadboard import Breadboard
from simulated_bench.settings import ResistorsSection

_DRIFT_RECORDS = 1000


class SimulatedResistors(TunableResistor):
    """One element for each tunable branch of the breadboard, in their order.

    It tells what its registers hold: a potentiometer reads back its code, not its resistance, so tolerance, stuck
    elements and drift stay hidden. rng: the hardware's.
    """

    abilities = frozenset({Ability.READ_BACK})

    def __init__(
        self, name: str, board: Breadboard, names: Sequence[str], settings: ResistorsSection, rng: np.random.Generator
    ) -> None:
        self.name, self.clock, self._board = name, "card", board
        self.n_elements = len(names)
        deviates = rng.standard_normal((2, self.n_elements))
        self._factor = np.maximum(1 + settings.tolerance * deviates[0], 0.05)
        self._drift = settings.drift * deviates[1] / _DRIFT_RECORDS
        drawn = rng.random(self.n_elements)
        if isinstance(settings.stuck, list):
            self._stuck = np.isin(np.array(names), np.array(settings.stuck))
        else:
            self._stuck = drawn < settings.stuck
        self._ladder = _nominal(settings)
        self._wiper = settings.wiper or 0.0
        ends = (0.0, np.inf) if self._ladder is None else (self._ladder[0], self._ladder[-1])
        self.limits = ResistorLimits(np.full(self.n_elements, ends[0]), np.full(self.n_elements, ends[1]))
        self.exact = self._ladder is None and not (settings.tolerance or settings.drift or self._stuck.any())
        self._held: Array | None = None
        self._true: Array | None = None
        self._open = True

    def identify(self) -> Identity:
        """Tell that they are simulated."""
        return Identity("freqprop-lab", "simulated tunable resistors")

    def program(self, conductances: Array) -> Array:
        """Set the nearest value that each has."""
        if not self._open:
            raise ConnectionLostError(f'tunable resistors "{self.name}" are closed; open the bench again')
        if np.isnan(conductances).any():
            element = int(np.isnan(conductances).argmax())
            raise LimitError(
                f'tunable resistors "{self.name}", element {element}: nan S asked. Nothing was sent. '
                "Look at the update that led there; a smaller alpha or gamma may help"
            )
        self._held = self._nearest(conductances)
        true = self._truth(self._held)
        if self._true is not None:
            true = np.where(self._stuck, self._true, true)
        self._true = true
        self._show()
        return self._held.copy()

    def read(self) -> Array:
        """Return what the registers hold."""
        return self._board.conductances.copy() if self._held is None else self._held.copy()

    def neighbours(self, conductances: Array) -> tuple[Array, Array]:
        """Return the values next below and next above."""
        if self._ladder is None:
            return super().neighbours(conductances)
        above = np.clip(np.searchsorted(self._ladder, conductances), 0, len(self._ladder) - 1)
        below = np.maximum(above - 1, 0)
        below = np.where(conductances >= self._ladder[above], above, below)
        return self._ladder[below], self._ladder[above]

    def make_safe(self) -> None:
        """Keep the values: a resistor drives nothing."""

    def close(self) -> None:
        """Nothing can be programmed any more."""
        self._open = False

    def pass_time(self) -> None:
        """Let the true values drift to where the breadboard's clock says."""
        if self.drifts:
            self._show()

    @property
    def drifts(self) -> bool:
        """True where the true values change with time."""
        return bool(self._drift.any())

    def parts(self) -> Parts:
        """Return what they are made of, for steps that are done elsewhere."""
        ladder = np.zeros(0) if self._ladder is None else self._ladder
        return Parts(ladder, self._wiper, self._factor, self._stuck)

    def state(self) -> tuple[Array | None, Array | None]:
        """Return what is held and what is true, for a checkpoint."""
        return self._held, self._true

    def restore(self, held: Array | None, true: Array | None) -> None:
        """Take up a checkpoint."""
        self._held, self._true = held, true
        if true is not None:
            self._show()

    def _show(self) -> None:
        if self._true is not None:
            self._board.conductances = self._true * np.exp(self._drift * self._board.records)

    def _nearest(self, conductances: Array) -> Array:
        below, above = self.neighbours(conductances)
        return np.where(conductances - below <= above - conductances, below, above)

    def _truth(self, nominal: Array) -> Array:
        """Return the true conductance: the end-to-end resistance, or a continuous element's value, is off."""
        if self._ladder is None:
            return np.asarray(nominal * self._factor)
        return np.asarray(1 / ((1 / nominal - self._wiper) * self._factor + self._wiper))


def _nominal(settings: ResistorsSection) -> Array | None:
    """Return the conductances of all codes, rising, S, (code,); None where the elements are continuous."""
    if settings.taps is None or settings.end_to_end is None or settings.wiper is None:
        return None
    codes = np.arange(settings.taps)[::-1]
    return np.asarray(1 / (settings.wiper + settings.end_to_end * codes / (settings.taps - 1)))
