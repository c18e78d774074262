"""By how much a source misses what it is asked for, beside gain and offset: its converter's steps, its nonlinearity.

A converter does so alike whenever it is asked for the same value, so each distinct value of a channel is a parameter.
How large they are is told by the readings themselves: the variance that makes them most likely (MacKay 1992, eq. 4.12).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.estimate import Estimate
from freqprop_lab.values import Array

_SAME = 12  # decimals, of a channel's largest value, in which two asked values are one
LARGEST = 1e-3  # of a channel's reach: where the search begins
_SMALLEST = 1e-7
_ROUNDS = 12
_NEXT_TO_NOTHING = 1e-12  # V or A
_SETTLED = 0.03


@dataclass(frozen=True)
class Steps:
    """Which parameter belongs to what was asked. index: (drive, lead) for each state; reach: V or A, (parameter,)."""

    index: tuple[NDArray[np.intp], ...]
    reach: Array

    @property
    def count(self) -> int:
        """Number of parameters."""
        return len(self.reach)

    @classmethod
    def of(cls, levels: Sequence[Array]) -> Steps:
        """Give a number to each distinct value of a lead, from what was asked in each state, V or A, (drive, lead)."""
        together = np.concatenate(levels)
        reach = np.ptp(together, axis=0) / 2
        scale = np.maximum(np.abs(together).max(axis=0), 1e-300)
        index, reaches, first = np.zeros(together.shape, dtype=np.intp), [], 0
        for lead in range(together.shape[1]):
            values, which = np.unique(np.round(together[:, lead] / scale[lead], _SAME), return_inverse=True)
            index[:, lead] = first + which
            reaches += [reach[lead]] * len(values)
            first += len(values)
        ends = np.cumsum([len(each) for each in levels])[:-1]
        # A channel that is asked for one value only has an offset and no steps: so small a reach leaves none.
        return cls(tuple(np.split(index, ends)), np.maximum(np.array(reaches), _NEXT_TO_NOTHING))

    def missed(self, parameters: Array, state: int) -> Array:
        """Return by how much the asked values are missed, V or A, (drive, lead)."""
        return np.asarray(parameters[self.index[state]])

    def columns(self, by_level: Array, state: int) -> Array:
        """Return derivatives by the parameters from those by each drive's levels, (drive, node, lead)."""
        found = np.zeros((*by_level.shape[:2], self.count))
        drives = np.arange(len(by_level))
        for lead in range(by_level.shape[2]):
            found[drives, :, self.index[state][:, lead]] += by_level[:, :, lead]
        return found

    def likeliest(self, estimated: Callable[[float, Estimate | None], Estimate], part: slice) -> float:
        """Return the standard deviation of the steps, relative to a channel's reach, that the readings show.

        estimated: the estimate under a belief in such steps, from an earlier one on; part: where they stand in its
        shared parameters.
        """
        size, found = LARGEST, None
        for _ in range(_ROUNDS):
            found = estimated(size, found)
            steps = found.shared[part] / self.reach
            variance = np.diag(found.covariance)[part] / self.reach**2
            determined = len(steps) - float(variance.sum()) / size**2
            # Two less: so is the variance of Student's t, since how large the steps are is itself told by few.
            determined = max(determined - 2, determined / 2, 1e-3)
            better = max(float(np.sqrt((steps**2).sum() / determined)), _SMALLEST)
            done = abs(np.log(better / size)) < _SETTLED or better == _SMALLEST
            size = min(better, LARGEST)
            if done:
                break
        return size
