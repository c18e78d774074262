"""What elements had each time they were set: hysteresis, repeatability, and the mean at each nominal value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.estimate import Estimate
from calibration.tables import Points
from freqprop_lab.values import Array

_SAME = 1e-9  # relative: two nominal values closer than this are one


@dataclass(frozen=True)
class Visits:
    """All settings of all elements.

    (visit, element): nominal, S; log_true, ln of S, with its type A and B; from_above, +1 where the resistance came
    down to the value, -1 where it went up to it, 0 where it stayed. hysteresis: relative difference of the resistances
    reached from above and from below, (element,); repeatability: relative standard deviation of a setting, (element,),
    common_repeatability: of all elements together. freedom: degrees of both.
    """

    nominal: Array
    log_true: Array
    type_a: Array
    type_b: Array
    from_above: Array
    hysteresis: Array
    hysteresis_doubt: Array
    repeatability: Array
    repeatability_doubt: Array
    common_repeatability: float
    freedom: int

    @classmethod
    def of(cls, found: Estimate, nominal: Sequence[Array], came_from: Sequence[Array], n_main: int) -> Visits:
        """Sort what was fitted, state by state; from the state n_main on each pair is one of below and above."""
        told, before = np.array(nominal), np.array(came_from)
        parts = (found.own, found.own_type_a, found.own_type_b)
        y, a, b = (np.array(each[: len(told)]) for each in parts)  # beyond them: the state of an earlier record
        from_above = np.where(before < told * (1 - _SAME), 1.0, np.where(before > told * (1 + _SAME), -1.0, 0.0))
        again = y[n_main:]
        n_elements = y.shape[1]
        none = np.zeros(n_elements)
        if not len(again):
            return cls(told, y, a, b, from_above, none, none, none, none, 0.0, 0)
        apart = again[0::2] - again[1::2]  # ln G from below less from above: ln R from above less from below
        n_pairs = len(apart)
        hysteresis = apart.mean(axis=0)
        # What a pair scatters by is known, at best, to the readings' own noise.
        noise = (a[n_main:] ** 2).mean(axis=0)
        variance, freedom = _within_groups(again)
        spread = np.maximum(variance, noise)
        excess = variance - noise
        repeatability = np.sqrt(np.maximum(excess, 0.0))
        loose = variance * np.sqrt(2 / freedom)
        common = float(np.sqrt(max(excess.mean(), 0.0)))
        return cls(
            told,
            y,
            a,
            b,
            from_above,
            hysteresis,
            np.sqrt(2 * spread / n_pairs),
            repeatability,
            np.sqrt(repeatability**2 + loose) - repeatability,
            common,
            freedom,
        )

    def points(self, has_codes: Sequence[bool]) -> list[Points]:
        """Return each element's mean at each nominal value that it was told, in the middle of its hysteresis."""
        return [self._points(element, codes) for element, codes in enumerate(has_codes)]

    def _points(self, element: int, has_codes: bool) -> Points:
        nominal = self.nominal[:, element]
        middle = self.log_true[:, element] + self.from_above[:, element] * self.hysteresis[element] / 2
        type_a = np.hypot(self.type_a[:, element], self.common_repeatability)
        values = np.sort(nominal)
        values = values[np.concatenate([[True], np.diff(values) > _SAME * values[1:]])]
        rows = np.zeros((3, len(values)))
        for place, value in enumerate(values):
            own = np.abs(nominal - value) <= _SAME * value
            weights = 1 / np.maximum(type_a[own], 1e-12) ** 2
            shares = weights / weights.sum()
            lean = float((shares * self.from_above[own, element]).sum()) / 2
            a = np.hypot(1 / np.sqrt(weights.sum()), lean * self.hysteresis_doubt[element])
            rows[:, place] = (shares * middle[own]).sum(), a, (shares * self.type_b[own, element]).sum()
        return Points(values, np.exp(rows[0]), rows[1], rows[2], has_codes)


def _within_groups(again: Array) -> tuple[Array, int]:
    """Return the variance of settings of one value from one side, (element,), and its degrees of freedom.

    again: ln G, (visit, element), four visits a round, two rounds at least: two values, each from below and from above.
    """
    rounds = again.reshape(-1, 4, again.shape[1])
    return rounds.var(axis=0, ddof=1).mean(axis=0), 4 * (len(rounds) - 1)
