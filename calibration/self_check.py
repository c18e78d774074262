"""The probe between epochs: one known drive at known conductances; what moved since the first one, and who did it.

Every channel's reading is compared with that of the first probe; a change r is held against its covariance S, and the
cause that is likeliest is named (`suspects`).

Elements that come from elsewhere don't come back exactly: hysteresis, pulses, contacts. So they always come from the
same side, and the first probe is repeated a few times, away and back, which tells by how much s of themselves they
scatter; S has s^2 J J' too, and a change is held against that.

With enough samples everything has moved. So a size can be set by which readings may move: only what they moved by
beyond that is held against S.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, ndtr

from calibration.direct_model import DirectModel, Sources
from calibration.drives import sizes, subject_conductances
from calibration.errors import CalibrationError, ModelError
from calibration.reading import left_by_converters, readings
from calibration.subject import Subject, subject_of
from calibration.suspects import Fit, Suspects
from freqprop_lab.bench import Bench, BenchChangedError, BenchWatch
from freqprop_lab.config import SelfCheckSection
from freqprop_lab.values import Array, ChannelDrive, Record

_PATTERNS = 4  # of levels: one for each probe, all of them to make sure and to name a cause
_LEAST = 0.4  # of its size: what every source leaves its rest by
_VISITS = 4  # of the elements to their first values: the first probe is the mean of these
_AWAY = 0.5  # of its conductance: where each element comes from
_SAME = 1e-9  # relative: closer than this two conductances are one
_SCATTERS = 2.0  # of log likelihood: what a scatter must explain to be believed, and how far its upper limit may lie
_SIZES = np.linspace(np.log(1e-7), np.log(1.0), 400)  # of a scatter that are tried, relative, log
_ALARM = 3.5  # standard uncertainties: from here on the other patterns are taken too
_MOVES = 0.3  # of what another value of an element should do: one that does less is stuck


class SelfCheck(BenchWatch):
    """One record of constant levels after so many epochs, at the conductances with which the run began.

    Elements are programmed with every source at rest: the probe's levels are made for the probe's conductances alone.
    """

    def __init__(self, section: SelfCheckSection) -> None:
        self.every, self._section = section.every, section
        self._first: NDArray[Any] = np.zeros((0, 0))
        self._noise: NDArray[Any] = np.zeros((0, 0))
        self._conductances: NDArray[Any] = np.zeros(0)
        self._left: NDArray[Any] = np.zeros(0)  # V, (node,): what the steps of converters leave of a reading's error
        self._scatter = 0.0  # relative, of an element that is set again

    def begin(self, bench: Bench) -> None:
        """Take every pattern of levels, at the conductances that the bench has now, which are left and come back to."""
        subject = self._look(bench)
        self._conductances = subject.conductances
        records = []
        for _ in range(_VISITS):
            self._arrive(bench, subject)
            records += self._records(bench, subject, range(_PATTERNS))
        bench.rest()
        visits, noises = (each.reshape(_VISITS, _PATTERNS, -1) for each in readings(records))
        variance = (noises**2).mean(axis=0)
        self._first, self._noise = visits.mean(axis=0), np.sqrt(variance / _VISITS)
        self._left = left_by_converters(records)  # one pattern alone tells of no steps
        read, columns = subject.read, self._columns(subject, _PATTERNS)
        flat = visits[:, :, read].reshape(_VISITS, -1)
        self._scatter = 0.0 if columns is None else _scatter(columns, flat, variance[:, read].ravel())

    def check(self, bench: Bench) -> None:
        """Probe at the first conductances, and put the present ones back. One pattern; all where that one moved."""
        trained = bench.conductances.copy()
        subject = replace(self._look(bench), conductances=self._conductances)  # by which currents are sized
        try:
            self._hold_against_first(bench, subject)
        except Exception:  # not KeyboardInterrupt: who can't wait wants safety, and nothing programmed before
            _program_at_rest(bench, trained)
            raise
        _program_at_rest(bench, trained)

    def _hold_against_first(self, bench: Bench, subject: Subject) -> None:
        self._arrive(bench, subject)
        volts, noise = self._probe(bench, subject, range(1))
        if self._chance(subject, volts, noise) > 2 * ndtr(-_ALARM):
            return
        volts, noise = self._probe(bench, subject, range(_PATTERNS))
        chance = self._chance(subject, volts, noise)
        if not chance >= 2 * ndtr(-self._section.k):  # what is no number is no reason to go on either
            raise BenchChangedError(self._words(bench, subject, volts, noise))

    def _arrive(self, bench: Bench, subject: Subject) -> None:
        """Bring the elements to their first conductances, each from the same side as ever."""
        _program_at_rest(bench, _elsewhere(subject, self._conductances))
        bench.program(self._conductances)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the first probe."""
        told = {"first": self._first, "noise": self._noise, "conductances": self._conductances}
        return told | {"left": self._left, "scatter": np.array([self._scatter])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go by a first probe that was taken before."""
        if state:
            self._first, self._noise, self._conductances = (state[name] for name in ("first", "noise", "conductances"))
            self._left = state.get("left", np.zeros(self._first.shape[1]))
            self._scatter = float(state["scatter"][0]) if "scatter" in state else 0.0

    def _look(self, bench: Bench) -> Subject:
        try:
            return subject_of(bench)
        except CalibrationError as error:
            raise BenchChangedError(f"calibration.self_check: {error}") from None

    def _probe(self, bench: Bench, subject: Subject, patterns: Iterable[int]) -> tuple[Array, Array]:
        """Return the readings and their noise, V, (pattern, node) each; finite wherever a channel reads."""
        return readings(self._records(bench, subject, patterns))

    def _records(self, bench: Bench, subject: Subject, patterns: Iterable[int]) -> list[Record]:
        levels, periods = _levels(subject, self._section.volts), subject.periods_for(self._section.samples)
        found = []
        for pattern in patterns:
            found.append(bench.measure_channels(ChannelDrive(levels[pattern]), periods))
            _refuse_gaps(subject, found[-1])
        return found

    def _change(self, subject: Subject, volts: Array, noise: Array) -> tuple[Array, Array]:
        """Return what moved since the first probe and its variance, V and V^2, (pattern, read node) each."""
        count, read = len(volts), np.flatnonzero(subject.read)
        variance = noise**2 + self._noise[:count] ** 2 + 2 * self._left**2
        return (volts - self._first[:count])[:, read], variance[:, read]

    def _chance(self, subject: Subject, volts: Array, noise: Array) -> float:
        change, variance = self._change(subject, volts, noise)
        change = np.sign(change) * np.maximum(np.abs(change) - self._let_pass(subject), 0.0)
        columns = self._columns(subject, len(change)) if self._scatter else None
        if columns is None:
            return float(chdtrc(change.size, float((change**2 / variance).sum())))
        covariance = np.diag(variance.ravel()) + self._scattered() * columns @ columns.T
        return float(chdtrc(change.size, float(change.ravel() @ np.linalg.solve(covariance, change.ravel()))))

    def _let_pass(self, subject: Subject) -> float:
        """Return by how much any reading may move without a word, V."""
        swings = np.ptp(self._first[:, subject.read], axis=0)
        return self._section.least * float(np.max(swings, initial=0.0)) / 2

    def _scattered(self) -> float:
        """Return the variance of ln G between a visit and the mean of the first ones, by scatter alone."""
        return self._scatter**2 * (1 + 1 / _VISITS)

    def _columns(self, subject: Subject, count: int) -> Array | None:
        """Return how readings move with the logarithm of each element's G, V, (pattern x read node, tunable).

        Of the first patterns, so many. None where the network is not of resistors alone.
        """
        try:
            model = DirectModel(subject.network, subject.live_leads)
            siemens = subject_conductances(subject, self._conductances)
            levels = _levels(subject, self._section.volts)[:count, subject.live]
            solved = model.solve(siemens, Sources.ideal(subject.live_leads), levels)
        except ModelError:
            return None
        found = (model.by_conductance(solved) * siemens)[:, subject.read][..., subject.network.tunable]
        return np.asarray(found.reshape(-1, len(subject.network.tunable)))

    def _words(self, bench: Bench, subject: Subject, volts: Array, noise: Array) -> str:
        change, variance = self._change(subject, volts, noise)
        columns = self._columns(subject, len(change))
        if columns is None:
            words = ["what it was can be told of a network of resistors only"]
        else:
            variance = variance + self._scattered() * (columns**2).sum(axis=1).reshape(change.shape)
            words = self._likely_words(bench, subject, volts, change, variance)
        pattern, worst = np.unravel_index(int(np.argmax(np.abs(change) / np.sqrt(variance))), change.shape)
        node = np.flatnonzero(subject.read)[worst]
        return (
            f"the bench {subject.name} has changed: {' or '.join(dict.fromkeys(words))}. The probe's reading of "
            f"{subject.channel_at(int(node))} moved by {change[pattern, worst]:+.3g} V, of which "
            f"{np.sqrt(variance[pattern, worst]):.2g} V is noise"
        )

    def _likely_words(self, bench: Bench, subject: Subject, volts: Array, change: Array, variance: Array) -> list[str]:
        suspects = Suspects(subject, _levels(subject, self._section.volts), self._conductances)
        likely = suspects.likeliest(volts, change, variance)
        element = likely[0].element
        if element is not None and self._is_stuck(bench, subject, element, volts[0]):
            held = f"{likely[0].now:.4g} S where {self._conductances[element]:.4g} S was programmed"
            return [f"{suspects.called(element)} is stuck: it stays at {held}"]
        return [cause.words for cause in likely]

    def _is_stuck(self, bench: Bench, subject: Subject, element: int, volts: Array) -> bool:
        """Program one element to another value, and say whether nothing comes of it. volts: V, (node,), before that."""
        low, high = subject.conductance_low[element], subject.conductance_high[element]
        before = float(self._conductances[element])
        asked = self._conductances.copy()
        asked[element] = before * 2 if before * 2 <= high else max(before / 2, low)
        bench.rest()
        set_to = bench.program(asked)
        levels = _levels(subject, self._section.volts)[:1]
        expected = [
            DirectModel(subject.network, subject.live_leads)
            .solve(subject_conductances(subject, tunable), Sources.ideal(subject.live_leads), levels[:, subject.live])
            .volts[0][subject.read]
            for tunable in (self._conductances, set_to)
        ]
        moved, noise = self._probe(bench, subject, range(1))
        wanted = expected[1] - expected[0]
        seen = Fit.of(wanted, (moved[0] - volts)[subject.read], noise[0][subject.read] ** 2).size
        return bool(wanted.any()) and abs(seen) < _MOVES


def _program_at_rest(bench: Bench, conductances: Array) -> None:
    bench.rest()
    bench.program(conductances)


def _refuse_gaps(subject: Subject, record: Record) -> None:
    """Raise BenchChangedError, naming the channel, for a record that is no whole reading of every node that is read."""
    gaps = (~np.isfinite(record.volts)).sum(axis=1) * subject.read
    for counts, what, remedy in (
        (record.clipped, "at the end of the range", "Look at its lead, or lower calibration.self_check.volts"),
        (np.maximum(record.missing, gaps), "missing", "Look at its cable, or lower the sample rate"),
    ):
        if counts.any():
            worst = int(counts.argmax())
            raise BenchChangedError(
                f"the bench {subject.name} can't be probed: {subject.channel_at(worst)} has {int(counts[worst])} of "
                f"{record.volts.shape[1]} samples {what}. {remedy}"
            )


def _elsewhere(subject: Subject, held: Array) -> Array:
    """Return another value for every element that has one, S: some half of what it holds, or twice at the lowest."""
    found = np.maximum(held * _AWAY, subject.conductance_low)
    found = np.where(found < held * (1 - _SAME), found, np.minimum(held / _AWAY, subject.conductance_high))
    for number, rungs in enumerate(subject.ladder):
        if rungs is None:
            continue
        below = rungs[rungs < held[number] * (1 - _SAME)]
        others = below if len(below) else rungs[rungs > held[number] * (1 + _SAME)]
        found[number] = others[np.abs(others - found[number]).argmin()] if len(others) else held[number]
    return found


def _scatter(columns: Array, visits: Array, variance: Array) -> float:
    """Return by how much of themselves elements scatter from visit to visit: the upper limit of 97.7 %.

    columns: V by ln G, (reading, tunable); visits: V, (visit, reading); variance: of their noise, V^2, (reading,).
    Along each singular vector of the columns over the noise, of value c, the visits scatter by 1 + s^2 c^2. 0 where
    noise explains them: what hides in it makes no alarm.
    """
    root = np.sqrt(variance)
    vectors, values, _ = np.linalg.svd(columns / root[:, None], full_matrices=False)
    squares = ((((visits - visits.mean(axis=0)) / root) @ vectors) ** 2).sum(axis=0)
    spread = 1 + np.exp(2 * _SIZES)[:, None] * values**2
    gained = 0.5 * (squares - squares / spread - (len(visits) - 1) * np.log(spread)).sum(axis=1)
    if gained.max() < _SCATTERS:
        return 0.0
    return float(np.exp(_SIZES[gained > gained.max() - _SCATTERS].max()))


def _levels(subject: Subject, volts: float) -> Array:
    """Return levels that differ from source to source and pattern to pattern, (pattern, lead), V or A.

    Always the same for the same leads: no two causes look alike, and none hangs on luck.
    """
    size = sizes(subject, volts)
    drawn = np.random.default_rng(_PATTERNS).uniform(-1, 1, (_PATTERNS, len(size)))
    return np.asarray(subject.resting + size * np.sign(drawn) * (_LEAST + (1 - _LEAST) * np.abs(drawn)))
