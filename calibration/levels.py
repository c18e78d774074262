"""Gains, offsets and conductances at once, from readings of constant levels in one or more states of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from calibration.direct_model import DirectModel, Sources
from calibration.errors import ModelError
from calibration.estimate import Belief, Estimate, Linearised, estimate, uncertainties_at
from calibration.procedure import Measurement, Taken
from calibration.reading import readings
from calibration.record_names import (
    CONDUCTANCE,
    LEVELS,
    METER_GAIN,
    METER_OFFSET,
    NOISE,
    PROGRAMMED,
    SERIES,
    SOURCE_GAIN,
    SOURCE_OFFSET,
    SOURCE_OFFSET_CURRENT,
    VOLTS,
)
from calibration.records import Quantity, Status, Verdict
from calibration.steps import Steps
from calibration.subject import Subject
from freqprop_lab.names import shown
from freqprop_lab.values import Array

_TOLD = 0.5  # of its former uncertainty: what hasn't fallen below that was not told by the readings
_GOOD, _BAD = 1.3, 3.0  # misfit
_CHANCE = 1e-3  # that noise alone departs from the model by so much
_HELD = 1e-9  # of the largest impedance
_MOST = 70.0  # of |ln G|: 1e30 S


@dataclass(frozen=True)
class State:
    """Readings of one state of the network. levels: asked, V or A, (drive, lead).

    volts, noise: means and their standard errors, V, (drive, node). tunable: what the tunable branches are believed to
    have, S, (tunable,).
    """

    levels: Array
    volts: Array
    noise: Array
    tunable: Array

    @classmethod
    def of(cls, measured: Sequence[Measurement], taken: Sequence[Taken]) -> State:
        """Return what measurements in one state of the network say; the last tells what the elements hold."""
        volts, noise = readings([each.record for each in taken])
        levels = np.array([one.drive.levels for one in measured])
        return cls(levels, volts, noise, taken[-1].conductances)


@dataclass(frozen=True)
class _Layout:
    """Where shared parameters stand: gains and offsets of live leads and read nodes, ln of fixed conductances.

    deviation: of each tunable branch, in ln G, what all its values have in common. step: by how much a source misses
    each value that it was asked for, gain and offset apart (see `Steps`).
    """

    source_gain: slice
    source_offset: slice
    meter_gain: slice
    meter_offset: slice
    series: slice
    fixed: slice
    deviation: slice
    step: slice

    @classmethod
    def of(cls, *counts: int) -> _Layout:
        ends = np.cumsum([0, *counts]).tolist()
        return cls(*(slice(first, last) for first, last in pairwise(ends)))


class LevelsFit:
    """What the readings say; see the quantities. Raises ModelError, EstimateError, SubjectError.

    Believed beforehand: what the subject's section `assume` and its references say. Unless afresh, the readings of an
    earlier record of gains count too, as one more state: they, not what was made of them, since that rests on the same
    beliefs. An element's tolerance is one number in all states, from which each of its values strays a little more.
    Where readings depart from the model by more than their noise, it is taken to be that much larger (Birge 1932).
    found: of the given states, then of that of gains, if it was used. misfit: over the noise as read.
    """

    def __init__(self, subject: Subject, states: Sequence[State], *, afresh: bool = False) -> None:
        self.subject, self.states = subject, tuple(states)
        live, read = np.flatnonzero(subject.live), np.flatnonzero(subject.read)
        self._live, self._read = live, read
        self.model = DirectModel(subject.network, subject.live_leads)
        behind = self.model.behind
        n_branches = len(subject.network.branches)
        self._tunable = subject.network.tunable
        self._fixed = np.setdiff1d(np.arange(n_branches), self._tunable)
        known = None if afresh else self._state_of_gains()
        self._all_states = self.states if known is None else (*self.states, known)
        self.steps = Steps.of([state.levels[:, live] for state in self._all_states])
        n_fixed, n_tunable = len(self._fixed), len(self._tunable)
        counts = (len(live), len(live), len(read), len(read), len(behind), n_fixed, n_tunable, self.steps.count)
        self.layout = _Layout.of(*counts)
        self.shared, self.own = self._believed()
        self._stretch = 1.0
        self.step = self.steps.likeliest(self._with_steps, self.layout.step)
        self.found: Estimate = self._with_steps(self.step, n_states=len(self.own))
        self.misfit = self.found.misfit
        if self.misfit > 1 and chdtrc(self.found.degrees_of_freedom, self.found.chi_square) < _CHANCE:
            self._stretch = self.misfit
            self.found = self._with_steps(self.step, self.found, n_states=len(self.own))

    def _with_steps(self, size: float, before: Estimate | None = None, n_states: int = 1) -> Estimate:
        """Estimate under the belief that sources miss what they are asked for by so much of their reach."""
        self.shared.uncertainty[self.layout.step] = size * self.steps.reach
        own = self.own[:n_states]
        start = None if before is None else (before.shared, [*before.own, *(each.values for each in own)][:n_states])
        return estimate(self._linearised, self.shared, own, start)

    def bound(self, shared: Array, own: Sequence[Array]) -> Estimate:
        """Return the uncertainties that these drives allow at best, the parameters being these: Cramer and Rao."""
        return uncertainties_at(self._linearised, shared, own, self.shared, self.own)

    def _believed(self) -> tuple[Belief, list[Belief]]:
        subject, layout = self.subject, self.layout
        values, doubt = np.zeros(layout.step.stop), np.ones(layout.step.stop)
        gain, offset, series = subject.belief_in_sources()
        values[layout.source_gain], doubt[layout.source_gain] = 1.0, gain[self._live]
        doubt[layout.source_offset] = offset[self._live]
        meter_gain, meter_offset = subject.belief_in_meters()
        values[layout.meter_gain], doubt[layout.meter_gain] = 1.0, meter_gain[self._read]
        doubt[layout.meter_offset] = meter_offset[self._read]
        behind = self._live[self.model.behind]
        values[layout.series] = -np.log([subject.leads[i].resistance for i in behind])
        doubt[layout.series] = series[behind]
        in_branches = subject.belief_in_branches()
        listed = np.array([branch.theta[0] for branch in subject.network.branches])
        values[layout.fixed], doubt[layout.fixed] = np.log(listed[self._fixed]), in_branches[self._fixed]
        tolerance, deviation = in_branches[self._tunable], layout.deviation
        doubt[deviation] = tolerance
        follows, strays = np.arange(deviation.start, deviation.stop), subject.belief_in_strays
        own = [Belief(np.log(state.tunable), strays(state.tunable), follows) for state in self._all_states]
        return Belief(values, doubt), own

    def _state_of_gains(self) -> State | None:
        """Return what an earlier record of gains read, where it was taken with the channels that there are now."""
        record = self.subject.known.get("gains")
        if record is None:
            return None
        labels = {quantity.name: quantity.labels for quantity in record.quantities}
        names = tuple(lead.name for lead in self.subject.live_leads)
        if labels.get(SOURCE_GAIN) != names or labels.get(METER_GAIN) != self.subject.read_channels:
            return None
        levels, volts, noise, programmed = (record.raw.get(name) for name in (LEVELS, VOLTS, NOISE, PROGRAMMED))
        if levels is None or volts is None or noise is None or programmed is None:
            return None
        n_leads, n_nodes = len(self.subject.leads), len(self.subject.network.nodes)
        widths = tuple(array.shape[1] for array in (levels, volts, noise, programmed))
        if widths != (n_leads, n_nodes, n_nodes, len(self._tunable)):
            return None
        return State(levels, volts, noise, programmed[-1])

    def _linearised(self, number: int, shared: Array, own: Array) -> Linearised:
        state, layout, model = self._all_states[number], self.layout, self.model
        sources = self.sources(shared)
        conductances = self.conductances(shared, own)
        levels = state.levels[:, self._live] + self.steps.missed(shared[layout.step], number)
        solved = model.solve(conductances, sources, levels)
        gain, offset = shared[layout.meter_gain], shared[layout.meter_offset]
        read = self._read
        volts, noise = state.volts[:, read], state.noise[:, read] * self._stretch
        residuals = (volts - (gain * solved.volts[:, read] + offset)) / noise
        weight = gain / noise  # (drive, node)
        columns = np.zeros((*residuals.shape, len(shared)))
        transfer = solved.transfer[read]  # (node, lead)
        columns[..., layout.source_gain] = weight[..., None] * transfer * levels[:, None, :]
        columns[..., layout.source_offset] = weight[..., None] * transfer
        diagonal = np.arange(len(read))
        columns[:, diagonal, layout.meter_gain.start + diagonal] = solved.volts[:, read] / noise
        columns[:, diagonal, layout.meter_offset.start + diagonal] = 1 / noise
        columns[..., layout.step] = self.steps.columns(columns[..., layout.source_offset] * sources.gain, number)
        series = sources.series[model.behind]
        columns[..., layout.series] = weight[..., None] * model.by_series(solved)[:, read] * series
        by_branch = weight[..., None] * model.by_conductance(solved)[:, read] * conductances
        columns[..., layout.fixed] = by_branch[..., self._fixed]
        own_columns = by_branch[..., self._tunable]
        flat = residuals.size
        return Linearised(
            residuals.reshape(flat), columns.reshape(flat, -1), own_columns.reshape(flat, len(self._tunable))
        )

    def sources(self, shared: Array) -> Sources:
        """Return what the live source channels do by these parameters."""
        series = np.zeros(len(self._live))
        series[self.model.behind] = np.exp(shared[self.layout.series])
        return Sources(shared[self.layout.source_gain], shared[self.layout.source_offset], series)

    def conductances(self, shared: Array, own: Array) -> Array:
        """Return every branch's conductance by these parameters, S, (branch,). Raises ModelError beyond all parts."""
        if max(np.abs(shared[self.layout.fixed]).max(initial=0.0), np.abs(own).max(initial=0.0)) > _MOST:
            raise ModelError("a conductance beyond any part's was tried")
        found = np.zeros(len(self.subject.network.branches))
        found[self._fixed], found[self._tunable] = np.exp(shared[self.layout.fixed]), np.exp(own)
        return found

    # --- what is told

    def instrument_quantities(self) -> tuple[Quantity, ...]:
        """Return gains and offsets of sources and meters, and the series resistors."""
        layout = self.layout
        names = [lead.name for lead in self.subject.live_leads]
        volts = self.subject.voltage[self.subject.live]
        behind = [names[number] for number in self.model.behind]
        gain, offset = self._quantity(SOURCE_GAIN, "1", names, layout.source_gain), layout.source_offset
        listed = [
            gain,
            _chosen(self._quantity(SOURCE_OFFSET, "V", names, offset), volts),
            _chosen(self._quantity(SOURCE_OFFSET_CURRENT, "A", names, offset), ~volts),
            self._quantity(METER_GAIN, "1", self.subject.read_channels, layout.meter_gain),
            self._quantity(METER_OFFSET, "V", self.subject.read_channels, layout.meter_offset),
            _exponential(self._quantity(SERIES, "Ohm", behind, layout.series), -1.0),
        ]
        return tuple(quantity for quantity in listed if quantity.labels)

    def conductance_quantity(self, state: int = 0) -> Quantity:
        """Return the conductances of all branches in a state, S."""
        network, found = self.subject.network, self.found
        values, a, b = (np.zeros(len(network.branches)) for _ in range(3))
        fixed = self.layout.fixed
        for place, value, u_a, u_b in (
            (self._fixed, found.shared[fixed], found.shared_type_a[fixed], found.shared_type_b[fixed]),
            (self._tunable, found.own[state], found.own_type_a[state], found.own_type_b[state]),
        ):
            values[place], a[place], b[place] = value, u_a, u_b
        names = tuple(branch.name for branch in network.branches)
        return _exponential(Quantity(CONDUCTANCE, "S", names, values, a, b), 1.0)

    def _quantity(self, name: str, unit: str, labels: Sequence[str], part: slice) -> Quantity:
        found = self.found
        rows = (found.shared[part], found.shared_type_a[part], found.shared_type_b[part])
        return Quantity(name, unit, tuple(labels), *rows)

    def tunable_covariance(self, state: int = 0) -> Array:
        """Return the covariance of the tunable branches' conductances in a state, S^2, (tunable, tunable)."""
        siemens = np.exp(self.found.own[state])
        return np.asarray(self.found.own_covariance[state] * np.outer(siemens, siemens))

    def covariance_by_conductance(self, by_states: Sequence[Array]) -> Array:
        """Return the covariance of quantities by their derivatives by ln G of branches, then of series resistors.

        by_states: (quantity, branch + lead behind a resistor), state by state.
        """
        n_branches = len(self.subject.network.branches)
        together = np.sum(by_states, axis=0)
        by_shared = np.zeros((len(together), len(self.shared.values)))
        by_shared[:, self.layout.fixed] = together[:, self._fixed]
        by_shared[:, self.layout.series] = together[:, n_branches:]
        by_own = [by[:, self._tunable] for by in by_states]
        none = np.zeros((len(together), len(self._tunable)))
        return self.found.through(by_shared, [*by_own, *[none] * (len(self.own) - len(by_own))])

    def gain_of_a_source_at(self) -> Array:
        """Return how much of the doubt of the tunable branches a current into each node would take away, (node,).

        The sum of the relative variances of ln G that one record with as much signal as the strongest drive so far
        would remove, at the noise seen so far. Everything shared is taken as known.
        """
        state, found = self.states[0], self.found
        conductances = self.conductances(found.shared, found.own[0])
        still = np.zeros((1, len(self.subject.live_leads)))
        solved = self.model.solve(conductances, self.sources(found.shared), still)
        noise, C = float(np.nanmedian(state.noise)), found.own_covariance[0]
        reach = float(np.nanmax(np.ptp(state.volts, axis=0))) / 2
        Z, ends = solved.impedance, self.model.branches[self._tunable]
        gains = np.zeros(len(Z))
        movable = np.diag(Z) > _HELD * np.diag(Z).max(initial=0.0)  # not held by a stiff source
        for node in np.flatnonzero(movable):
            response = Z[:, node] * (reach / Z[node, node])
            by_branch = -(Z[self._read] @ ends.T) * (ends @ response) * conductances[self._tunable]
            spread = by_branch @ C @ by_branch.T + noise**2 * np.eye(len(self._read))
            removed = C @ by_branch.T @ np.linalg.solve(spread, by_branch @ C)
            gains[node] = float(np.trace(removed))
        return gains

    def untold(self) -> dict[str, list[str]]:
        """Return what the readings tell little of: quantity to labels whose uncertainty fell by less than half."""
        layout, found = self.layout, self.found
        names = [lead.name for lead in self.subject.live_leads]
        after = np.hypot(found.shared_type_a, found.shared_type_b)
        # A channel with a certificate was known before: nobody waits for these readings to tell it.
        weak = after > _TOLD * np.maximum(self.shared.uncertainty, self._by_data_sheet())
        branches = [branch.name for branch in self.subject.network.branches]
        own = (
            np.hypot(found.own_type_a[0], found.own_type_b[0])
            > _TOLD * self.subject.belief_in_branches()[self._tunable]
        )
        listed = {
            SOURCE_GAIN: [name for name, is_weak in zip(names, weak[layout.source_gain], strict=True) if is_weak],
            METER_GAIN: [
                n for n, is_weak in zip(self.subject.read_channels, weak[layout.meter_gain], strict=True) if is_weak
            ],
            CONDUCTANCE: [branches[i] for i, is_weak in zip(self._tunable, own, strict=True) if is_weak]
            + [branches[i] for i, is_weak in zip(self._fixed, weak[layout.fixed], strict=True) if is_weak],
        }
        return {name: labels for name, labels in listed.items() if labels}

    def _by_data_sheet(self) -> Array:
        """Return how well gains would be known without references and records, (shared parameter,); 0 else."""
        found, assumed = np.zeros(len(self.shared.values)), self.subject.assumed
        found[self.layout.source_gain], found[self.layout.meter_gain] = assumed.source_gain, assumed.meter_gain
        return found

    def verdict(self, problems: Sequence[str] = (), remarks: Sequence[str] = ()) -> Verdict:
        """Say whether model and noise explain the readings; with problems it is doubtful at best. The worst first."""
        misfit = self.misfit
        said = f"the readings depart from the model by {_times(misfit)} times their noise (1 is expected)"
        if not self.found.is_settled:
            problems = ["the search for the best values did not come to its end: take them with care", *problems]
        if misfit < _GOOD:
            return Verdict.of(problems, [said, *remarks])
        status: Status = "doubtful" if misfit < _BAD else "bad"
        remedy = "run freqprop calibrate wiring, mend what it names, and look for ripple"
        where = f"{remedy}: {said}, most of all at {shown(self._worst())}"
        return Verdict(status, (where, *problems, *remarks))

    def residuals(self, state: int = 0) -> Array:
        """Return what the model leaves of a state's readings, over their noise as read, (drive, read node)."""
        left = self._linearised(state, self.found.shared, self.found.own[state]).residuals * self._stretch
        return left.reshape(-1, len(self._read))

    def _worst(self) -> list[str]:
        squares = np.zeros(len(self._read))
        for number in range(len(self.states)):
            squares += (self.residuals(number) ** 2).sum(axis=0)
        nodes = self.subject.network.nodes
        return [nodes[self._read[i]] for i in np.argsort(-squares)[:3]]


def _times(ratio: float) -> str:
    """Write a ratio to three digits, without an exponent."""
    return f"{float(f'{ratio:.3g}'):.10g}"


def _chosen(quantity: Quantity, which: NDArray[np.bool_]) -> Quantity:
    labels = tuple(label for label, on in zip(quantity.labels, which, strict=True) if on)
    rows = (quantity.values[which], quantity.type_a[which], quantity.type_b[which])
    return replace(quantity, labels=labels, values=rows[0], type_a=rows[1], type_b=rows[2])


def _exponential(quantity: Quantity, sign: float) -> Quantity:
    """Turn ln of a value into the value, and relative uncertainties into absolute ones (GUM 5.1.2)."""
    values = np.exp(sign * quantity.values)
    return replace(quantity, values=values, type_a=values * quantity.type_a, type_b=values * quantity.type_b)
