"""`offsets`, `gains` and `network`: constant levels, channel after channel, and what all readings say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration._numbers import rounded
from calibration.drives import all_alike, one_at_a_time, sizes, subject_conductances
from calibration.levels import LevelsFit, State
from calibration.options import samples, volts
from calibration.procedure import Findings, ListedProcedure, Measurement, Taken
from calibration.record_names import (
    CONDUCTANCE,
    LEVELS,
    METER_OFFSET,
    NOISE,
    PROGRAMMED,
    RESIDUALS,
    SOURCE_OFFSET,
    SOURCE_OFFSET_CURRENT,
    VOLTS,
)
from calibration.records import Quantity
from calibration.subject import Subject
from freqprop_lab.names import few, shown
from freqprop_lab.values import ChannelDrive

_FAR = 4.0  # standard uncertainties: one branch in ten thousand by chance
_ASSUMED = (
    "the network between the nodes is linear, and settled before each record",
    "meters draw no current; what they do draw counts as conductance to ground, and is not modelled",
    "noise is white over a record, or its blocks tell how far it is not",
)


@dataclass(frozen=True)
class _ConstantLevels(ListedProcedure):
    samples: int = samples(10_000)
    volts: float = volts()

    def drives(self, subject: Subject) -> list[ChannelDrive]:
        return one_at_a_time(subject, sizes(subject, self.volts))

    def measurements(self, subject: Subject) -> list[Measurement]:
        """Return a record for each drive, all at the present conductances."""
        periods = subject.periods_for(self.samples)
        return [Measurement(drive, n_periods=periods, says=self.title) for drive in self.drives(subject)]


@dataclass(frozen=True)
class Offsets(_ConstantLevels):
    """All voltages alike, at five levels: no current flows, so that conductances don't matter."""

    name = "offsets"
    title = "offsets of sources and meters"
    needs = ("every voltage source connected", "no branch to ground, or its conductance known")

    def drives(self, subject: Subject) -> list[ChannelDrive]:
        """Return five common levels."""
        return all_alike(subject, sizes(subject, self.volts))

    def evaluate(self, subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]) -> Findings:
        """Fit everything, and tell the offsets."""
        state = State.of(measured, taken)
        # Afresh: a record of gains has seen more of the offsets than this can, and what it knows of conductances, which
        # turn them into currents, would be missing here.
        fit = LevelsFit(subject, [state], afresh=True)
        kept = (SOURCE_OFFSET, SOURCE_OFFSET_CURRENT, METER_OFFSET)
        quantities = tuple(quantity for quantity in fit.instrument_quantities() if quantity.name in kept)
        raw = _raw_of(state, taken) | {RESIDUALS: fit.residuals()}
        return Findings(quantities, fit.verdict(), {}, _ASSUMED, raw)


@dataclass(frozen=True)
class Gains(_ConstantLevels):
    """Each channel up and down by itself, and all together."""

    name = "gains"
    title = "gains and offsets of sources and meters"
    needs = (
        "a reference for absolute values: a meter or source channel with a certificate",
        "one more for each input that is driven stiffly, or series resistors that are known",
    )

    def evaluate(self, subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]) -> Findings:
        """Fit everything, and tell what belongs to the instruments."""
        state = State.of(measured, taken)
        fit = LevelsFit(subject, [state], afresh=True)
        return Findings(
            fit.instrument_quantities(),
            fit.verdict(remarks=_untold(fit, without=CONDUCTANCE)),
            {},
            _ASSUMED,
            _raw_of(state, taken) | {RESIDUALS: fit.residuals()},
        )


@dataclass(frozen=True)
class NetworkConductances(_ConstantLevels):
    """The same drives, for the conductances: all of them at once, with their covariance."""

    name = "network"
    title = "conductances of all branches"
    goes_by = ("gains",)
    needs = ("gains, so that absolute values are traceable", "a known series resistor, or an ammeter, as reference")

    def evaluate(self, subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]) -> Findings:
        """Fit everything, and tell the conductances; which are not told by these ports, and what would help."""
        state = State.of(measured, taken)
        fit = LevelsFit(subject, [state])
        quantity, is_told = fit.conductance_quantity(), CONDUCTANCE not in fit.untold()
        help_needed = [] if is_told else [*_untold(fit, only=CONDUCTANCE), *_what_would_help(subject, fit)]
        verdict = fit.verdict([*_far_words(subject, quantity), *help_needed], _untold(fit, without=CONDUCTANCE))
        return Findings(
            (quantity, *fit.instrument_quantities()),
            verdict,
            {},
            _ASSUMED,
            _raw_of(state, taken) | {RESIDUALS: fit.residuals(), "covariance": fit.tunable_covariance()},
        )


def _raw_of(state: State, taken: Sequence[Taken]) -> dict[str, Any]:
    """Return what was asked and read, for the record."""
    return {
        LEVELS: state.levels,
        VOLTS: state.volts,
        NOISE: state.noise,
        PROGRAMMED: np.array([each.conductances for each in taken]),
    }


def _untold(fit: LevelsFit, *, only: str = "", without: str = "") -> list[str]:
    return [
        f"{name} of {shown(labels)} is hardly better known than before: these channels don't tell it"
        for name, labels in fit.untold().items()
        if name != without and only in ("", name)
    ]


def _what_would_help(subject: Subject, fit: LevelsFit) -> list[str]:
    """Say which node, if a source could be wired there, would tell most of what is not told."""
    gain = fit.gain_of_a_source_at()
    gain[[lead.plus for lead in subject.live_leads]] = 0.0  # there is one
    best = [subject.network.nodes[node] for node in np.argsort(-gain)[:2] if gain[node] > 0]
    if not best:
        return ["every node that could have a source has one: meters at more nodes would help, or larger --volts"]
    return [f"a source at node {best[0]} would help most{f', then at {best[1]}' if len(best) > 1 else ''}"]


def _far_words(subject: Subject, found: Quantity) -> list[str]:
    """Name the branches that are not what they are told or listed to be, by more than is believed of them."""
    listed, believed = subject_conductances(subject), subject.belief_in_branches()
    departs = np.log(found.values / listed)
    far = np.abs(departs) > _FAR * np.hypot(believed, found.standard_uncertainty / found.values)
    named = [
        f"{label} ({rounded(value, 'S', 4)} instead of {rounded(wanted, 'S', 4)})"
        for label, value, wanted, is_far in zip(found.labels, found.values, listed, far, strict=True)
        if is_far
    ]
    if not named:
        return []
    return [
        f"{few(named)}: further off than calibration.assume has it. Run freqprop calibrate wiring, or resistors where "
        "elements are not what they are told"
    ]
