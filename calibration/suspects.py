"""Who did it: every cause of a change between two probes at constant levels, and how likely the change is by it.

A change r with covariance S is held against each cause that one part could be, its size free: a meter channel (one
reading moves), a source channel (its column of transfers), an element (Z b: by Sherman and Morrison the exact direction
of any change of one conductance); and against causes that many parts share: all conductances drift, all gains drift (S
grows by s^2 J J', s by maximum likelihood). The cause with the best likelihood is named; where another is nearly as
likely, both are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from calibration.direct_model import DirectModel, Solved, Sources
from calibration.drives import subject_conductances
from calibration.subject import Subject
from freqprop_lab.values import Array

_NEARLY = 3.0  # of log likelihood: 20 to 1
_SHARED_COST = 2.0  # of log likelihood: what many parts must explain better than one
_CALIBRATED = 0.03  # relative: how well a calibrated model tells what a change does
_OPEN = 0.02  # of its conductance: a branch that has no more is open, or shorted the other way round
_SILENT = 3.0  # standard uncertainties of an offset: a channel that reads no more reads nothing


@dataclass(frozen=True)
class Cause:
    """What could have changed: in words, and how likely the change is by it (log, up to a constant).

    element: which tunable one is meant, if one is, and what it would have now, S.
    """

    words: str
    likelihood: float
    element: int | None = None
    now: float = 0.0


class Suspects:
    """Every cause of a change that is known of, at the probe's levels and conductances, S, (tunable,).

    Directions and changes are (pattern, read node).
    """

    def __init__(self, subject: Subject, levels: Array, tunable: Array) -> None:
        self._subject = subject
        self._read = np.flatnonzero(subject.read)
        self._siemens = subject_conductances(subject, tunable)
        self._model = DirectModel(subject.network, subject.live_leads)
        self._levels = levels[:, subject.live]
        self._sources = Sources.ideal(subject.live_leads)
        self._solved: Solved = self._model.solve(self._siemens, self._sources, self._levels)
        self._expected = self._solved.volts[:, self._read]
        self._model_error = _CALIBRATED if subject.is_corrected else subject.assumed.tunable

    def likeliest(self, volts: Array, change: Array, variance: Array) -> list[Cause]:
        """Return the likeliest cause, and any that is nearly as likely. volts: V, (pattern, node)."""
        # What the model says of a change is no better than the model: by that share the change itself is in doubt.
        doubt = variance + (self._model_error * change) ** 2
        causes = [
            *self._meters(volts[:, self._read], change, doubt),
            *self._leads(change, doubt),
            *self._elements(change, doubt),
            *self._shared(change, doubt),
        ]
        causes.sort(key=lambda cause: -cause.likelihood)
        return [cause for cause in causes[:4] if cause.likelihood > causes[0].likelihood - _NEARLY]

    def called(self, element: int) -> str:
        """Return how a person knows a tunable branch: its name, and the channel that sets it."""
        name = self._subject.network.tunable_names[element]
        channel = self._subject.element_channels.get(name)
        return f"{name} ({channel})" if channel else name

    def _meters(self, volts: Array, change: Array, variance: Array) -> list[Cause]:
        found = []
        offset = self._subject.belief_in_meters()[1][self._read]
        for row, node in enumerate(self._read):
            name = self._subject.network.nodes[node]
            channel = self._subject.meter_channels[name]
            nothing = _SILENT * (offset[row] + np.sqrt(variance[:, row]))
            moves = np.abs(change[:, row]) > nothing
            silent = moves.any() and bool((np.abs(volts[:, row]) < nothing).all())
            for what, values in (("gain", self._expected[:, row]), ("offset", np.ones(len(change)))):
                direction = np.zeros(change.shape)
                direction[:, row] = values
                fit = Fit.of(direction, change, variance)
                size = f"{fit.size:+.3%}" if what == "gain" else f"{fit.size:+.3g} V"
                words = f"the {what} of meter channel {channel} at node {name} drifted by {size}"
                if silent:
                    words = f"the meter lead of node {name} is off ({channel} reads nothing): push it back in"
                found.append(Cause(words, fit.likelihood))
        return found

    def _leads(self, change: Array, variance: Array) -> list[Cause]:
        found = []
        for number, lead in enumerate(self._subject.live_leads):
            where = f"source channel {lead.name} at node {self._subject.node_of(lead)}"
            transfer = self._solved.transfer[self._read, number]
            fit = Fit.of(np.outer(self._levels[:, number], transfer), change, variance)
            failed = fit.size < -0.5
            words = f"{where} puts out nothing" if failed else f"the gain of {where} drifted by {fit.size:+.3%}"
            found.append(Cause(words, fit.likelihood))
            fit = Fit.of(np.outer(np.ones(len(change)), transfer), change, variance)
            found.append(Cause(f"the offset of {where} drifted by {fit.size:+.3g} {lead.unit}", fit.likelihood))
            if lead.resistance:
                ends = self._model.branch_of_lead(number)
                across = self._solved.volts @ ends - self._levels[:, number]
                before = float(self._sources.series[number])
                now, likelihood = self._conductance_now(ends, across, before, change, variance)
                words = f"the resistor of {where} changed from {1 / before:.4g} Ohm to {_ohms(now)}"
                if now < _OPEN * before:
                    words = f"the lead of {where} is off, or its resistor is open"
                found.append(Cause(words, likelihood))
        return found

    def _elements(self, change: Array, variance: Array) -> list[Cause]:
        network, found = self._subject.network, []
        position = {int(branch): number for number, branch in enumerate(network.tunable)}
        for number, branch in enumerate(network.branches):
            ends = self._model.branches[number]
            before = float(self._siemens[number])
            now, likelihood = self._conductance_now(ends, self._solved.volts @ ends, before, change, variance)
            element = position.get(number)
            called = branch.name if element is None else self.called(element)
            broken = self._broken(before, now)
            words = f"{called} {broken}" if broken else f"{called} changed from {_change(before, now)}"
            # What is open or shorted answers to no programming either: it is not asked.
            found.append(Cause(words, likelihood, None if broken else element, now))
        return found

    def _conductance_now(
        self, ends: Array, across: Array, before: float, change: Array, variance: Array
    ) -> tuple[float, float]:
        """Return the conductance of one branch that explains a change best, S, and how likely that is.

        v' = v - Z b s x with s = dG / (1 + dG b' Z b), whatever its size (Sherman and Morrison): s is fitted.
        """
        column = self._solved.impedance @ ends
        fit = Fit.of(-np.outer(across, column[self._read]), change, variance)
        left = 1 - fit.size * float(ends @ column)
        return (before + fit.size / left if left > 0 else np.inf), fit.likelihood

    def _broken(self, before: float, now: float) -> str:
        """Return what a branch is that conducts next to nothing, or everything; nothing where it is neither."""
        if now <= (_OPEN if self._subject.is_corrected else self._model_error) * before:
            return "is open: a wire is off, or the part is broken"
        return "is shorted" if now > before / _OPEN else ""

    def _shared(self, change: Array, variance: Array) -> list[Cause]:
        conductances = self._model.by_conductance(self._solved)[:, self._read] * self._siemens
        n_read = len(self._read)
        meters = np.zeros((*change.shape, n_read))
        meters[:, np.arange(n_read), np.arange(n_read)] = self._expected
        sources = self._solved.transfer[self._read] * self._levels[:, None, :]
        found = []
        for words, columns in (
            ("the conductances drift, all of them", conductances[..., self._subject.network.tunable]),
            ("the gains of the meter channels drift, all of them", meters),
            ("the gains of the source channels drift, all of them", sources),
        ):
            if columns.shape[-1] > 1:
                likelihood, size = _spread(columns.reshape(change.size, -1), change.ravel(), variance.ravel())
                found.append(Cause(f"{words}, by about {size:.2g} of their values", likelihood - _SHARED_COST))
        return found


@dataclass(frozen=True)
class Fit:
    """A change along one direction: its size, and the log likelihood of what is left over."""

    size: float
    likelihood: float

    @classmethod
    def of(cls, direction: Array, change: Array, variance: Array) -> Fit:
        """Fit by least squares; all arrays alike."""
        weight = direction / variance
        power = float((weight * direction).sum())
        size = float((weight * change).sum()) / power if power > 0 else 0.0
        return cls(size, -0.5 * float(((change - size * direction) ** 2 / variance).sum()))


def _change(before: float, now: float) -> str:
    return f"{before:.4g} to {now:.4g} S ({now / before - 1:+.3%})"


def _ohms(siemens: float) -> str:
    return f"{1 / siemens:.4g} Ohm" if 0 < siemens < np.inf else "nothing that a resistor has"


def _spread(columns: Array, change: Array, variance: Array) -> tuple[float, float]:
    """Return the log likelihood of independent changes of many parts, and their common size, relative."""
    white = columns / np.sqrt(variance)[:, None]
    values, vectors = np.linalg.eigh(white @ white.T)
    squares = (vectors.T @ (change / np.sqrt(variance))) ** 2
    values = np.maximum(values, 0.0)

    def against(log_size: float) -> float:
        spread = 1 + np.exp(2 * log_size) * values
        return float(0.5 * (squares / spread + np.log(spread)).sum())

    best = minimize_scalar(against, bounds=(np.log(1e-7), np.log(1.0)), method="bounded")
    return -float(best.fun), float(np.exp(best.x))
