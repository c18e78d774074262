"""Simulated tunable resistors: continuous ones, or digital potentiometers with codes, tolerance, faults and drift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
from simulated_bench.faults import TunableFaults
from simulated_bench.settings import ResistorsSection
from simulated_bench.wipers import drawn_shapes

_DRIFT_RECORDS = 1000


class SimulatedResistors(TunableResistor):
    """One element for each tunable branch of the breadboard, in their order.

    It tells what its registers hold: a potentiometer reads back its code, not its resistance, so tolerance, stuck
    elements and drift stay hidden. rng: the hardware's; noise: the run's own, for what is new with every setting.
    """

    abilities = frozenset({Ability.READ_BACK})
    stays = True

    def __init__(
        self,
        name: str,
        board: Breadboard,
        names: Sequence[str],
        settings: ResistorsSection,
        rng: np.random.Generator,
        noise: np.random.Generator | None = None,
    ) -> None:
        self.name, self.clock, self._board = name, "card", board
        self.n_elements, self._names = len(names), tuple(names)
        deviates = rng.standard_normal((2, self.n_elements))
        self._factor = np.maximum(1 + settings.tolerance * deviates[0], 0.05)
        self._drift = settings.drift * deviates[1] / _DRIFT_RECORDS
        drawn = rng.random(self.n_elements)
        if isinstance(settings.stuck, list):
            self._stuck = np.isin(np.array(names), np.array(settings.stuck))
        else:
            self._stuck = drawn < settings.stuck
        own = rng.spawn(1)[0]  # what came later has a stream of its own, so that the draws above stay what they were
        of_all = (settings.nonlinearity, settings.wiper_spread, settings.wire)
        self._shapes = drawn_shapes(*of_all, self.n_elements, own)
        self._wiper = settings.wiper or 0.0
        self._settings, self._noise = settings, noise or np.random.default_rng()
        self._always_stuck, self._happens = self._stuck, False
        self._faults: TunableFaults | None = None
        self._ladder = _nominal(settings)
        ends = (0.0, np.inf) if self._ladder is None else (self._ladder[0], self._ladder[-1])
        self.limits = ResistorLimits(np.full(self.n_elements, ends[0]), np.full(self.n_elements, ends[1]))
        self._bends = bool(settings.nonlinearity or settings.wiper_spread or settings.wire)
        self._wavers = bool(settings.repeatability or settings.hysteresis)
        self.exact = self._ladder is None and not (settings.tolerance or settings.drift or self._stuck.any())
        self.exact = self.exact and not (self._bends or self._wavers)
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
        before, self._held = self._held, self._nearest(conductances)
        true = self._truth(self._turned(self._held))
        if self._wavers:
            true = self._wavered(true, before)
        if self._true is not None:
            true = np.where(self._stuck, self._true, true)
        self._true = true
        self._show()
        return self._held.copy()

    def read(self) -> Array:
        """Return what the registers hold."""
        if self._held is None:
            unset = self._board.conductances if self._faults is None else self._board.network.own_conductances
            return unset.copy()
        return self._held.copy()

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
        return self._happens or bool(self._drift.any())

    @property
    def stuck(self) -> NDArray[np.bool_]:
        """The elements that don't move any more, (element,)."""
        return self._stuck.copy()

    def now(self) -> Array:
        """Return what the branches truly conduct by now, S, (tunable,)."""
        return self._board.conductances.copy() if self._true is None else self._in_place(self._true)

    @property
    def is_plain(self) -> bool:
        """True where `parts` says all that is true of them."""
        return not (self._bends or self._wavers or self._happens) and self._faults is None

    def suffer(self, faults: TunableFaults | None, stuck: Sequence[str], *, happens: bool) -> None:
        """Take faults of the branches, and those whose elements are stuck from now on; happens: more may come."""
        self._faults, self._happens = faults, happens
        self._stuck = self._always_stuck | np.isin(np.array(self._names), np.array(stuck, dtype=str))
        self.exact = self.exact and faults is None and not happens
        self._show()

    def conductances_of(self, nominal: Array) -> Array:
        """Return what the branches would truly conduct, S, (tunable,), were the elements set to these conductances.

        For tests: nobody can ask that of a real one. Without what is new with every setting, in the middle of the
        hysteresis, at the present state of drift and faults; a stuck element has what it has.
        """
        true = self._truth(self._turned(self._nearest(nominal)))
        if self._true is not None:
            true = np.where(self._stuck, self._true, true)
        return self._in_place(true)

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
            self._board.conductances = self._in_place(self._true)
        elif self._faults is not None:
            self._board.conductances = self._faults.conductances(self._board.network.own_conductances)

    def _in_place(self, true: Array) -> Array:
        """Return what branches conduct by now, S, whose elements were true to these when they were set."""
        drifted = np.asarray(true * np.exp(self._drift * self._board.records))
        return drifted if self._faults is None else self._faults.conductances(drifted)

    def _turned(self, nominal: Array) -> Array:
        """Return what each element is set to where the control lines are as they are."""
        return nominal if self._faults is None else nominal[self._faults.source]

    def _wavered(self, true: Array, before: Array | None) -> Array:
        """Return what elements have after this setting: hysteresis by whence they come, and what no setting repeats.

        An element whose code stays is not moved. The first setting comes from below in R.
        """
        if self._held is None:
            raise TypeError("nothing is held yet")
        now = self._turned(self._held)
        was = np.full_like(now, np.inf) if before is None else self._turned(before)
        upward = now < was  # in R
        ratio = 1 + self._settings.hysteresis * np.where(upward, -0.5, 0.5)
        moved = now != was
        if self._settings.repeatability and moved.any():
            deviates = self._noise.standard_normal(int(moved.sum()))
            ratio[moved] *= np.maximum(1 + self._settings.repeatability * deviates, 0.05)
        there = true / ratio
        return there if self._true is None else np.where(moved, there, self._true)

    def _nearest(self, conductances: Array) -> Array:
        below, above = self.neighbours(conductances)
        return np.where(conductances - below <= above - conductances, below, above)

    def _truth(self, nominal: Array) -> Array:
        """Return the true conductance: the end-to-end resistance, or a continuous element's value, is off."""
        if self._ladder is None:
            true = np.asarray((self._shapes.tracks.bent(nominal) if self._bends else nominal) * self._factor)
            return np.asarray(true / (1 + true * self._shapes.wire)) if self._bends else true
        if not self._bends or self._settings.end_to_end is None:
            return np.asarray(1 / ((1 / nominal - self._wiper) * self._factor + self._wiper))
        share = (1 / nominal - self._wiper) / self._settings.end_to_end
        return np.asarray(1 / self._shapes.ohms(share, self._settings.end_to_end * self._factor, self._wiper))


def _nominal(settings: ResistorsSection) -> Array | None:
    """Return the conductances of all codes, rising, S, (code,); None where the elements are continuous."""
    if settings.taps is None or settings.end_to_end is None or settings.wiper is None:
        return None
    codes = np.arange(settings.taps)[::-1]
    return np.asarray(1 / (settings.wiper + settings.end_to_end * codes / (settings.taps - 1)))
