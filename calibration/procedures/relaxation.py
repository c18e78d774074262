"""`relaxation`: how slow the network is, node by node, and at which frequency that costs b no more than is wished.

Every source by itself, and all together, carry a two-tone about a level, at the nudge's frequency and at a lower one,
and once more with the elements turned down. Levels tell the conductances, phases the capacitances (`PhaseFit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration._numbers import percent, rounded
from calibration.capacitances import PhaseFit, Tones
from calibration.direct_model import DirectModel, Sources
from calibration.drives import in_step, sizes, subject_conductances, within_nudge_rating
from calibration.errors import ProcedureError
from calibration.levels import LevelsFit, State
from calibration.options import FRACTION, option, samples, volts
from calibration.procedure import Findings, ListedProcedure, Measurement, Taken
from calibration.record_names import AT_LEAST, AT_MOST, BOUNDS, CAPACITANCE, PROGRAMMED, RELAXATION_TIME
from calibration.records import Quantity, Verdict
from calibration.ripple import clear_of_mains, fitted, lines
from calibration.subject import Subject
from freqprop_lab.lockin import error_of_relaxation, highest_frequency
from freqprop_lab.names import shown
from freqprop_lab.values import Array, ChannelDrive, Record
from freqprop_lab.waveform import TwoTone

SLOWEST, BEST, SETTLING = "slowest relaxation time", "recommended frequency", "settling time"
_WAVEFORM = TwoTone()
_ORDERS = np.array([1, 2])
_TURNED = 3.0  # down: a node's lag then goes with its resistances, a channel's lateness does not
_WORTH = 1.5
_DROPPED = 0.1  # of the periods: what the step to the level leaves
_SEEN = 4.0  # standard uncertainties
_COVERED = 1.96
_LEAST = 1e-6  # of b: less is not worth a number
_UNSEEN = (
    "no capacitance was seen: the recommended frequency is a lower bound and the settling time an upper one, for 95 %; "
    "capacitances and times are as they were read, and below zero where noise makes them so"
)
_MISFIT = 1.5  # of phases: more is not node capacitance
_ASSUMED = (
    "capacitance lies between nodes and ground",
    "the network is linear, and its sources follow what they are asked at once",
    "a channel's lateness does not hang on what is driven",
    "elements keep their capacitance when they are turned",
)


@dataclass(frozen=True)
class Relaxation(ListedProcedure):
    """Every source by itself, and all together, at two frequencies and in two states of the network."""

    accuracy: float = option(0.01, "What relaxation may cost b.", unit=FRACTION, low=1e-6, high=0.5)
    samples: int = samples(4000)
    volts: float = volts("Level and tone together; less where a limit or a rating is nearer.")

    name = "relaxation"
    title = "relaxation times, capacitances, and the frequency that they allow"
    needs = ("meters that are synchronised with the sources",)

    def measurements(self, subject: Subject) -> list[Measurement]:
        """Return the records: state by state, drive by drive, at two frequencies; at last one that puts back."""
        if not subject.synchronised:
            raise ProcedureError(
                "relaxation is told from phases, and these meters start by themselves: wire a trigger from the source "
                "to them (triggers in the bench file)"
            )
        listed = []
        periods = max(subject.periods_for(self.samples), 4)
        for state, conductances in enumerate(_states(subject)):
            for number, drive in enumerate(_drives(subject, self.volts)):
                for which, frequency in enumerate(_frequencies(subject)):
                    first = number == 0 and which == 0
                    listed.append(
                        Measurement(
                            drive,
                            conductances if first else None,
                            periods,
                            frequency,
                            f"state {state + 1}, at {frequency:g} Hz",
                        )
                    )
        back = subject.conductances if len(subject.conductances) else None
        return [*listed, Measurement(ChannelDrive(subject.resting), back, 1, says="as it was")]

    def evaluate(self, subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]) -> Findings:
        """Fit conductances to the levels and capacitances to the phases."""
        n_states = len(_states(subject))
        per_state = (len(taken) - 1) // n_states
        parts = [slice(state * per_state, (state + 1) * per_state) for state in range(n_states)]
        settled = [Taken(_without_start(each.record, subject), each.conductances, each.frequency) for each in taken]
        levels = LevelsFit(subject, [State.of(measured[part], settled[part]) for part in parts])
        tones = [
            _tones(subject, state, measured[number], settled[number])
            for state, part in enumerate(parts)
            for number in range(part.start, part.stop)
            if _amplitudes(measured[number]).any()
        ]
        shared, own = levels.found.shared, levels.found.own[:n_states]
        siemens = [levels.conductances(shared, each) for each in own]
        slowest_told = 2 * np.pi * min(_frequencies(subject))
        fit = PhaseFit(
            subject.network,
            subject.live_leads,
            levels.sources(shared),
            siemens,
            tones,
            np.flatnonzero(subject.read),
            _largest(subject, siemens[0], levels.sources(shared), slowest_told),
            1 / (subject.sampling.frequency * subject.sampling.samples_per_period),
        )
        return self._findings(subject, levels, fit, taken)

    def _findings(self, subject: Subject, levels: LevelsFit, fit: PhaseFit, taken: Sequence[Taken]) -> Findings:
        times = Times.of(subject, levels, fit)
        # Where nothing is seen, what may hide in the noise counts.
        counts = times.slowest if times.is_seen else times.bound
        best = highest_frequency(counts, self.accuracy)
        settle = counts * float(np.log(1 / self.accuracy))
        # A bound has no interval of its own.
        relative = np.array(times.slowest_doubt) / counts if times.is_seen else np.full(2, np.nan)
        nodes = subject.network.nodes
        C, noise = (np.where(fit.free, each, np.nan) for each in (fit.capacitances, np.sqrt(np.diag(fit.covariance))))
        own = (subject.name,)
        quantities = (
            Quantity(CAPACITANCE, "F", nodes, C, noise, times.capacitance_doubt),
            Quantity(RELAXATION_TIME, "s", nodes, times.lag, *times.lag_doubt),
            _single(SLOWEST, "s", own, times.slowest, times.slowest_doubt),
            _single(BEST, "Hz", own, best, best * relative),
            _single(SETTLING, "s", own, settle, settle * relative),
        )
        words = self._words(subject, times, best, settle)
        late = error_of_relaxation(subject.sampling.frequency, counts) > self.accuracy
        if fit.found.misfit > _MISFIT:
            words.insert(
                0,
                f"phases depart from node capacitances by {fit.found.misfit:.3g} times their noise (1 is expected): "
                "look for capacitance across elements, an inductive lead, or sources that lag",
            )
        return Findings(
            quantities,
            Verdict("doubtful" if late or fit.found.misfit > _MISFIT else "good", tuple(words)),
            {"states": len(levels.states)},
            _ASSUMED,
            {
                "capacitance_covariance": fit.covariance,
                "lateness": fit.lateness,
                PROGRAMMED: np.array([each.conductances for each in taken]),
            },
            "" if times.is_seen else _UNSEEN,
            outcome={BOUNDS: {} if times.is_seen else {BEST: AT_LEAST, SETTLING: AT_MOST}},
        )

    def _words(self, subject: Subject, times: Times, best: float, settle: float) -> list[str]:
        frequency = subject.sampling.frequency
        if not times.is_seen:
            bound = times.bound
            return [
                f"no capacitance is seen: the network relaxes in less than {rounded(bound, 's')}, so that a sine of "
                f"{rounded(frequency, 'Hz', 6)} costs b less than "
                f"{percent(max(error_of_relaxation(frequency, bound), _LEAST))} of itself"
            ]
        nodes = np.array(subject.network.nodes)
        slow = nodes[np.argsort(-np.nan_to_num(times.lag))[:3]].tolist()
        cost = error_of_relaxation(frequency, times.slowest)
        words = [
            f"the slowest mode relaxes in {rounded(times.slowest, 's')}, the slowest nodes are {shown(slow)}; a sine "
            f"of {rounded(frequency, 'Hz', 6)} costs b up to {percent(cost)}",
            f"for {percent(self.accuracy)} nudge with a sine of {rounded(best, 'Hz')} at most, a two-tone of half "
            f"that, and set sampling.settle to {rounded(settle, 's', 2)} at least",
        ]
        if cost > self.accuracy:
            words.reverse()  # what to do comes first
        if subject.sampling.settle < settle:
            now = rounded(subject.sampling.settle, "s")
            words.append(f"sampling.settle is {now}: records begin before the levels stand")
        return words


@dataclass(frozen=True)
class Times:
    """Relaxation at the present conductances. lag: s, (node,), behind sources that all move together; slowest: s."""

    capacitance_doubt: Array  # F, (node,): what the doubt of the conductances brings
    lag: Array
    lag_doubt: tuple[Array, Array]  # type A and B
    slowest: float
    slowest_doubt: tuple[float, float]

    @property
    def bound(self) -> float:
        """The slowest time that may hide in the noise, s."""
        return self.slowest + _COVERED * float(np.hypot(*self.slowest_doubt))

    @property
    def is_seen(self) -> bool:
        """True where the slowest time is more than its doubt."""
        return self.slowest > _SEEN * float(np.hypot(*self.slowest_doubt))

    @classmethod
    def of(cls, subject: Subject, levels: LevelsFit, fit: PhaseFit) -> Times:
        """Return the times that capacitances make with the first state's conductances."""
        n = len(subject.network.nodes)
        Z = np.linalg.inv(fit.stiffness[0])[:n, :n]
        C, covariance = fit.capacitances, fit.covariance
        # Modes of K x = C x / tau: tau = x' C x / x' K x. With C'' = sqrt(C) they are those of C'' Z C''.
        root = np.sqrt(np.maximum(C, 0.0))
        values, vectors = np.linalg.eigh(root[:, None] * Z * root)
        slowest = max(float(values[-1]), 0.0)
        mode = Z @ (root * vectors[:, -1]) / np.sqrt(max(slowest, 1e-300))
        ends, siemens, by_states = fit.ends, fit.siemens(0), []
        for state, by_G in enumerate(fit.by_conductance()):
            lag_by, slowest_by = Z @ by_G, mode**2 @ by_G
            if state == 0:  # the present conductances also make the lag
                lag_by = lag_by - (Z @ ends.T) * (ends @ (Z @ C)) * siemens
                slowest_by = slowest_by - slowest * siemens * (ends @ mode) ** 2
            by_states.append(np.concatenate([by_G, lag_by, slowest_by[None]]))
        doubts = np.sqrt(np.diag(levels.covariance_by_conductance(by_states)))
        in_lag = np.sqrt(np.einsum("jk,kl,jl->j", Z, covariance, Z))
        # Where C is nothing the mode tells nothing of its doubt; that of the lags does.
        in_slowest = float(np.sqrt(mode**2 @ covariance @ mode**2))
        if slowest < _SEEN * in_slowest or not slowest:
            in_slowest = max(in_slowest, float(in_lag.max(initial=0.0)))
        return cls(
            doubts[:n],
            Z @ C,
            (in_lag, doubts[n : 2 * n]),
            slowest,
            (in_slowest, float(doubts[-1])),
        )


def _single(name: str, unit: str, labels: tuple[str, ...], value: float, doubt: Sequence[float] | Array) -> Quantity:
    return Quantity(name, unit, labels, np.array([value]), np.array([doubt[0]]), np.array([doubt[1]]))


def _states(subject: Subject) -> list[Array | None]:
    """Return what is programmed, S, (tunable,): what there is, and once more turned down, or else up."""
    held = subject.conductances
    if not len(held):
        return [None]
    down = np.maximum(held / _TURNED, subject.conductance_low)
    if np.median(held / down) >= _WORTH:
        return [held, down]
    up = np.minimum(held * _TURNED, subject.conductance_high)
    return [held, up] if np.median(up / held) >= _WORTH else [held]


def _frequencies(subject: Subject) -> tuple[float, float]:
    """Return the nudge's frequency, and a lower one, Hz."""
    return subject.sampling.frequency, clear_of_mains(subject.sampling.frequency)


def _drives(subject: Subject, volts: float) -> list[ChannelDrive]:
    """Return rest, all voltages together, and each live lead by itself: level and tone of half the size each."""
    # A current moves its node farthest where the least conducts.
    least = [subject_conductances(subject, state) for state in _states(subject)]
    size = np.min([sizes(subject, volts, siemens) for siemens in least], axis=0) / 2
    size, level = within_nudge_rating(subject, size), subject.resting
    moves = [in_step(subject, size)] if subject.voltage.any() else []
    for number in np.flatnonzero(subject.live):
        alone = np.zeros(len(level))
        alone[number] = size[number]
        moves.append(alone)
    return [ChannelDrive(level), *(ChannelDrive(level + move, move, _WAVEFORM) for move in moves)]


def _without_start(record: Record, subject: Subject) -> Record:
    """Leave out the first whole periods, in which the network still comes to its level."""
    per_period = subject.sampling.samples_per_period
    dropped = -(-int(_DROPPED * record.volts.shape[1]) // per_period) * per_period
    dropped = min(dropped, max(record.volts.shape[1] - 2 * per_period, 0))
    return Record(
        record.volts[:, dropped:], record.sample_rate, record.skews, record.clipped, record.missing, record.channels
    )


def _amplitudes(measurement: Measurement) -> Array:
    amplitudes = measurement.drive.amplitudes
    return np.zeros(len(measurement.drive.levels)) if amplitudes is None else amplitudes


def _tones(subject: Subject, state: int, measured: Measurement, taken: Taken) -> Tones:
    record, read = taken.record, subject.read
    kept = taken.frequency * _ORDERS.astype(float)
    volts, rate = record.volts[read], record.sample_rate
    others = lines(fitted(volts, rate, kept).residuals, rate)
    fit = fitted(volts, rate, np.concatenate([kept, others]))
    n_lines, n_samples = len(fit.frequencies), volts.shape[1]
    # v = Re(2 X exp(i omega t)), so that X is half of cosine less i sine.
    X = (fit.coefficients[:, 1:3] - 1j * fit.coefficients[:, 1 + n_lines : 3 + n_lines]) / 2
    F = _WAVEFORM.harmonics(2)
    sigma = np.sqrt((fit.residuals**2).sum(axis=1) / max(n_samples - fit.n_fitted, 1))
    omega = 2 * np.pi * kept
    seen = X / F * np.exp(-1j * omega * record.skews[read][:, None])
    doubt = np.maximum(sigma[:, None] / np.sqrt(2 * n_samples) / np.abs(F), 1e-9)
    return Tones(state, omega, _amplitudes(measured)[subject.live], seen, doubt)


def _largest(subject: Subject, siemens: Array, sources: Sources, omega: float) -> Array:
    """Return a capacitance that would stop a node's tone, F, (node,): nobody would believe in more."""
    model = DirectModel(subject.network, subject.live_leads)
    diagonal = np.diag(model.stiffness(siemens, sources))[: len(subject.network.nodes)]
    return np.maximum(diagonal, float(subject_conductances(subject).max()) * 1e-9) / omega
