"""`resistors`: what every tunable element really has, in circuit, by what it is told to have.

The elements go through their values together. In each state of the network constant levels, channel by channel; then
all states are fitted at once, gains and offsets shared, conductances each state's own. At last some values are visited
again, from above and from below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration._numbers import percent, rounded
from calibration.drives import one_at_a_time, sizes, subject_conductances
from calibration.errors import ProcedureError
from calibration.levels import LevelsFit, State
from calibration.options import option, samples, volts
from calibration.procedure import Findings, ListedProcedure, Measurement, Taken
from calibration.record_names import RESIDUALS, TABLE
from calibration.records import Points, Quantity
from calibration.subject import Subject
from calibration.tables import Points as Measured
from calibration.tables import Table, tables
from calibration.visits import Visits
from freqprop_lab.names import few, shown
from freqprop_lab.values import Array, ChannelDrive

WIPER = "wiper and wire resistance"
REPEATABILITY, HYSTERESIS = "repeatability", "hysteresis"
_GRID = 65  # values of a continuous element's table
_SPAN = 10.0  # either way from a unit of conductance, where a continuous element has no bounds
_TARGETS = (1 / 3, 2 / 3)  # of the way through the values: what is visited again
_FOLLOWS = 0.2  # of what it is told, in ln: an element that moves less is stuck
_ROUNDING = 1e-9
_TELLS = 0.5  # of its tolerance: an element that is known no better is not seen by these ports
_FAR = 0.5  # of an element's value off its nominal
_ASSUMED = (
    "the network between the nodes is linear, and settled before each record",
    "meters draw no current; an element's resistance does not hang on the voltage across it",
    "between the values that were visited an element's resistance is smooth and monotone",
    "an element keeps its value while it is not told another",
)


@dataclass(frozen=True)
class Resistors(ListedProcedure):
    """All elements through their values together, and some of the values again from above and from below."""

    points: int = option(17, "Values of each element that are visited, at least 2; 0: all codes.", low=0)
    samples: int = samples(2000)
    volts: float = volts()
    again: int = option(3, "How often two of the values are visited again, at least 2; 0: no hysteresis.", low=0)

    name = "resistors"
    title = "conductance by code of every tunable element"
    goes_by = ("gains",)
    needs = ("gains before it", "a known series resistor, or an ammeter, as reference of absolute values")

    def __post_init__(self) -> None:
        """Refuse a table of one point, and a scatter of one visit. Raises ProcedureError."""
        super().__post_init__()
        if self.points == 1:
            raise ProcedureError("resistors: --points is 1; at least 2 make a curve, and 0 stands for all codes")
        if self.again == 1:
            raise ProcedureError("resistors: --again is 1; at least 2 show a scatter, and 0 leaves it out")

    def measurements(self, subject: Subject) -> list[Measurement]:
        """Return the records of all states, one after the other, and one that puts the elements back."""
        visits = self._visits(subject)
        periods = subject.periods_for(self.samples)
        still = ChannelDrive(subject.resting.copy())
        listed = []
        for number, (values, before) in enumerate(visits):
            if before is not None:
                listed.append(Measurement(still, before, n_periods=1, says="on the way"))
            says, drives = f"state {number + 1} of {len(visits)}", self._drives(subject, visits, values)
            listed.append(Measurement(drives[0], values, n_periods=periods, says=says))
            listed += [Measurement(drive, n_periods=periods, says=says) for drive in drives[1:]]
        return [*listed, Measurement(still, subject.conductances, n_periods=1, says="as it was")]

    def evaluate(self, subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]) -> Findings:
        """Fit all states at once, and make a map of every element."""
        states, came_from = self._states(subject, measured, taken)
        fit = LevelsFit(subject, states)
        visits = Visits.of(fit.found, [state.tunable for state in states], came_from, self._n_main(subject))
        codes = tuple(rungs is not None for rungs in subject.ladder)
        elements = visits.points(codes)
        found = tables(elements, [self._wanted(subject, k) for k in range(len(elements))])
        stuck = [not _follows(each) for each in elements]
        labels = tuple(subject.element_channels[name] for name in subject.network.tunable_names)
        quantities = [_table_quantity(labels, found, stuck)]
        if (np.array(codes) & subject.reaches_end).any():
            quantities.append(_wiper_quantity(labels, elements, np.array(codes) & subject.reaches_end))
        known = _known(subject, visits)
        if self.again:
            quantities += [
                _of_visits(REPEATABILITY, labels, visits.repeatability, visits.repeatability_doubt, visits, known),
                _of_visits(HYSTERESIS, labels, visits.hysteresis, visits.hysteresis_doubt, visits, known),
            ]
        words = [*_stuck_words(subject, labels, elements, stuck), *_far_words(subject, labels, elements, stuck)]
        words += _unseen_words(subject, known)
        verdict = fit.verdict(words, _told_words(visits, self.again))  # not bad: the others' tables are to be used
        return Findings(
            tuple(quantities),
            verdict,
            {"states": len(states)},
            _ASSUMED,
            {
                RESIDUALS: fit.residuals(),
                "levels": states[0].levels,
                "volts": np.array([state.volts for state in states]),
                "noise": np.array([state.noise for state in states]),
                "nominal": np.array([state.tunable for state in states]),
                "true": np.exp(np.array(fit.found.own[: len(states)])),
            },
        )

    def _values(self, subject: Subject, element: int) -> Array:
        """Return the nominal values of an element that are visited, S, rising."""
        rungs = subject.ladder[element]
        count = self.points or _GRID
        # Chebyshev's places: a curve through points is worst near the ends, so they are dense there.
        share = (1 - np.cos(np.pi * np.arange(count) / (count - 1))) / 2
        if rungs is None:
            low, high = np.log(_bounds(subject, element))
            return np.asarray(np.exp(low + (high - low) * share))
        if not self.points or self.points >= len(rungs):
            return rungs
        ohms = 1 / rungs[-1] + (1 / rungs[0] - 1 / rungs[-1]) * share
        nearest = np.abs(1 / rungs[:, None] - ohms).argmin(axis=0)
        return np.asarray(rungs[np.unique(nearest)])

    def _wanted(self, subject: Subject, element: int) -> Array:
        rungs = subject.ladder[element]
        return np.geomspace(*_bounds(subject, element), _GRID) if rungs is None else rungs

    def _n_main(self, subject: Subject) -> int:
        return max(len(self._values(subject, k)) for k in range(len(subject.network.tunable)))

    def _visits(self, subject: Subject) -> list[tuple[Array, Array | None]]:
        """Return what is programmed, state by state, S, (tunable,), and what before it without a measurement."""
        if not len(subject.network.tunable):
            raise ProcedureError("this bench has no tunable elements; there is nothing to calibrate")
        each = [self._values(subject, k) for k in range(len(subject.network.tunable))]
        n_main = max(len(values) for values in each)
        # All go together, so that none is lost among others a hundred times as large; up over every other value, and
        # down over the rest, so that hysteresis has both signs.
        sweep = [*range(0, n_main, 2), *range(n_main - 1 - n_main % 2, 0, -2)]
        shares = np.array(sweep) / max(n_main - 1, 1)
        main = [np.array([values[round(share * (len(values) - 1))] for values in each]) for share in shares]
        visits: list[tuple[Array, Array | None]] = [(state, None) for state in main]
        lowest, highest = (np.array([values[end] for values in each]) for end in (0, -1))
        for _ in range(self.again):
            for share in _TARGETS:
                target = np.array([values[round(share * (len(values) - 1))] for values in each])
                visits += [(target, highest), (target, lowest)]  # in R from below, then from above
        return visits

    def _drives(
        self, subject: Subject, visits: Sequence[tuple[Array, Array | None]], values: Array
    ) -> list[ChannelDrive]:
        """Return the drives of a state: voltages as far as the highest state allows, currents by powers of two.

        A current moves its node by its size over what conducts there; few sizes keep few values of its converter.
        """
        programmed = np.array([state for state, _ in visits])
        there = replace(subject, conductances=np.maximum(programmed.max(axis=0), subject.conductances))
        least = sizes(there, self.volts, subject_conductances(subject, programmed.min(axis=0)))
        own = sizes(there, self.volts, subject_conductances(subject, values))
        current = subject.live & ~subject.voltage
        times = np.where(current, 2 ** np.floor(np.log2(np.where(current, own / least, 1.0)) + _ROUNDING), 1.0)
        return one_at_a_time(subject, least * times)

    def _states(
        self, subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]
    ) -> tuple[list[State], list[Array]]:
        """Return the readings of each state, and what the elements had before it, S, (tunable,)."""
        visits = self._visits(subject)
        n_drives = len(self._drives(subject, visits, visits[0][0]))
        states, came_from, first = [], [], 0
        had = subject.conductances
        for _, before in visits:
            if before is not None:
                had, first = taken[first].conductances, first + 1
            part = slice(first, first + n_drives)
            states.append(State.of(measured[part], taken[part]))
            came_from.append(had)
            had, first = taken[first].conductances, first + n_drives
        return states, came_from


def _bounds(subject: Subject, element: int) -> tuple[float, float]:
    """Return the lowest and highest value of a continuous element that is visited, S."""
    low, high = float(subject.conductance_low[element]), float(subject.conductance_high[element])
    unit = subject.scales.siemens
    low = low if low > 0 else min(unit / _SPAN, float(subject.conductances[element]))
    return low, high if np.isfinite(high) else max(unit * _SPAN, float(subject.conductances[element]))


def _follows(points: Measured) -> bool:
    told = np.log(points.nominal)
    if len(told) < 2:
        return True
    # The median: a belief far from the truth may still pull one point.
    return bool(np.median(np.diff(np.log(points.true)) / np.diff(told)) > _FOLLOWS)


def _table_quantity(labels: tuple[str, ...], found: Sequence[Table], stuck: Sequence[bool]) -> Quantity:
    longest = max(len(table.nominal) for table in found)
    nominal, true, a, b = (np.full((len(found), longest), np.nan) for _ in range(4))
    for row, (table, is_stuck) in enumerate(zip(found, stuck, strict=True)):
        part = slice(0, len(table.nominal))
        nominal[row, part] = table.nominal
        if not is_stuck:
            true[row, part] = table.true
            a[row, part], b[row, part] = table.true * table.type_a, table.true * table.type_b
    return Quantity(TABLE, "S", labels, true, a, b, Points("nominal", "S", nominal))


def _wiper_quantity(labels: tuple[str, ...], elements: Sequence[Measured], told: NDArray[np.bool_]) -> Quantity:
    """Return the resistance at the code where nothing of the track is left; NaN of those that may not go there."""
    rows = np.full((3, len(elements)), np.nan)
    for number, (each, is_told) in enumerate(zip(elements, told, strict=True)):
        if is_told:
            ohms = 1 / each.true[-1]
            rows[:, number] = ohms, ohms * each.type_a[-1], ohms * each.type_b[-1]
    return Quantity(WIPER, "Ohm", labels, rows[0], rows[1], rows[2])


def _known(subject: Subject, visits: Visits) -> NDArray[np.bool_]:
    """Say of which elements the readings tell at all, (element,): of the others a belief comes back at every visit."""
    doubt = np.hypot(visits.type_a, visits.type_b).max(axis=0)
    return np.asarray(doubt < _TELLS * subject.belief_in_branches()[subject.network.tunable])


def _of_visits(
    name: str, labels: tuple[str, ...], values: Array, doubt: Array, visits: Visits, known: NDArray[np.bool_]
) -> Quantity:
    freedom, nothing = np.full(len(values), float(visits.freedom)), np.zeros(len(values))
    told, stderr = (np.where(known, each, np.nan) for each in (values, doubt))
    return Quantity(name, "1", labels, told, stderr, nothing, degrees_of_freedom=freedom)


def _stuck_words(
    subject: Subject, labels: Sequence[str], elements: Sequence[Measured], stuck: Sequence[bool]
) -> list[str]:
    names = subject.network.tunable_names
    return [
        f"{label} (branch {name}) does not follow what it is told: it stays near "
        f"{rounded(1 / float(np.median(each.true)), 'Ohm', 4)}. "
        "Look at its control line, or replace the part"
        for label, name, each, is_stuck in zip(labels, names, elements, stuck, strict=True)
        if is_stuck
    ]


def _far_words(
    subject: Subject, labels: Sequence[str], elements: Sequence[Measured], stuck: Sequence[bool]
) -> list[str]:
    names = subject.network.tunable_names
    far = [
        f"{label} (branch {name}: {np.median(each.nominal / each.true):.3g} times its nominal resistance)"
        for label, name, each, is_stuck in zip(labels, names, elements, stuck, strict=True)
        if not is_stuck and abs(np.log(np.median(each.true / each.nominal))) > np.log1p(_FAR)
    ]
    if not far:
        return []
    return [
        f"{few(far)}: is another part in its place, or are two control lines exchanged? Run freqprop calibrate wiring"
    ]


def _unseen_words(subject: Subject, known: NDArray[np.bool_]) -> list[str]:
    names = [name for name, is_known in zip(subject.network.tunable_names, known, strict=True) if not is_known]
    if not names:
        return []
    return [
        f"{shown(names)}: hardly better known than before, these ports don't tell them; freqprop calibrate network "
        "says where a source would help"
    ]


def _to(scatter: float) -> str:
    return f"to {percent(scatter)}" if scatter else "as exactly as it can be read"


def _told_words(visits: Visits, again: int) -> list[str]:
    relative = np.hypot(visits.type_a, visits.type_b)
    half, most = np.percentile(relative, [50, 95])
    words = [f"half of all conductances are known to {percent(half)}, 95 of 100 to {percent(most)}, of themselves"]
    if again:
        words.append(
            f"a value that is set again comes back {_to(visits.common_repeatability)}; from above it differs "
            f"from below by {percent(abs(float(np.median(visits.hysteresis))))}"
        )
    return words
