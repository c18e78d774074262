"""`wiring`: from measurements alone, which channel is on which node and which element is where; what is broken.

Everything is compared with the bench file. What is found comes as sentences for a person with a screwdriver; what
can't be told apart is told as alternatives, and what could not have been noticed is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.errors import ModelError, ProcedureError
from calibration.options import samples, volts
from calibration.procedure import Findings, ListedProcedure, Measurement, Taken
from calibration.record_names import CONDUCTANCE
from calibration.records import Quantity, Verdict
from calibration.subject import Subject
from calibration.wiring import (
    Alternative,
    Fault,
    Names,
    Observed,
    Outcome,
    Search,
    measurements,
    observed_of,
    told,
    unseen,
)
from calibration.wiring.faults import conductance
from calibration.wiring.model import Fit

_LEFT = 1.4  # chi^2 a reading: more is not explained by what was found
_TOLD = 3  # alternatives in a sentence
_ASSUMED = (
    "before anything is measured one bench in ten has a pair of swapped leads, one in ten an open, and so on; faults "
    "are independent",
    "gains, series resistors and elements are as well known as calibration.assume and its references say; a value is "
    "called wrong where that doesn't explain it",
    "a tunable element strays from setting to setting by half of what calibration.assume says of it",
    "no more than one channel is on a node, and the network is settled before each record",
)


@dataclass(frozen=True)
class Wiring(ListedProcedure):
    """Every lead up and down, in a few states of the network."""

    samples: int = samples(1000)
    volts: float = volts()

    name = "wiring"
    title = "which channel is on which node, and which element is where"
    needs = ("a network of resistors", "at least one source and one meter channel; the more nodes are read the better")

    def measurements(self, subject: Subject) -> list[Measurement]:
        """Return every lead up and down, in a few states of the network."""
        if not subject.live.any() or not subject.read.any():
            raise ProcedureError(
                "wiring needs at least one source channel that drives and one meter channel that reads"
            )
        return measurements(subject, self.volts, subject.periods_for(self.samples))

    def evaluate(self, subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]) -> Findings:
        """Search for what explains the readings, and put it into words."""
        observed = observed_of(subject, measured, taken)
        try:
            fits = Search(observed).run()
        except ModelError as error:
            raise ProcedureError(f"{error}: no branch to ground and no source holds it; add one, or drive it") from None
        return findings(observed, Names(subject.meter_channels, subject.element_channels), fits)


def findings(observed: Observed, names: Names, fits: Sequence[Fit]) -> Findings:
    """Return what fits of hypotheses, the likeliest first, say: faults, alternatives, what could not be noticed."""
    best = fits[0]
    sure, alternatives = told(observed, names, fits)
    hidden = unseen(observed, best)
    left = best.chi_square / observed.y.size
    quantities = [_odds(sure)] if sure else []
    quantities += _conductances(observed, best)
    outcome = Outcome(tuple(sure), tuple(alternatives), hidden, left, len(fits))
    raw = {
        "readings": observed.y,
        "noise": observed.sigma,
        "sizes": observed.sizes,
        "nominal": np.exp(observed.nominal),
    }
    verdict = _verdict(sure, alternatives, hidden, left)
    return Findings(tuple(quantities), verdict, {}, _ASSUMED, raw, outcome=outcome.to_plain())


def _verdict(
    sure: Sequence[Fault], alternatives: Sequence[Alternative], hidden: dict[str, list[list[str]]], left: float
) -> Verdict:
    # Names of nodes and branches stay as the bench file writes them, also where a sentence begins.
    words = [
        f"{fault.words.replace('the ', 'The ', 1) if fault.words.startswith('the ') else fault.words}."
        for fault in sure
    ]
    if alternatives:
        words.append(_either(alternatives))
    if left > _LEFT:
        words.append(
            f"What is left departs from the model by {np.sqrt(left):.3g} times the noise (1 is expected): there is "
            "something else that no few faults explain; mend what is named, and run this again."
        )
    if not words:
        seen = "No fault is seen, but not every fault would be"
        words.append(f"{seen}." if hidden else "Every channel and every element is where the bench file has it.")
    words += _hidden_words(hidden)
    if sure or left > _LEFT:
        return Verdict("bad", tuple(words))
    blind = bool(hidden.keys() - _MINOR)
    return Verdict("doubtful" if alternatives or blind else "good", tuple(words))


def _either(alternatives: Sequence[Alternative]) -> str:
    described, looks = [], []
    for one in alternatives[:_TOLD]:
        percent = f"{one.probability * 100:.0f} %"
        listed = "; and ".join(fault.words.split(":")[0] for fault in one.faults) or "nothing more is wrong"
        described.append(f"{listed} ({percent})")
        looks += [fault.look for fault in one.faults if fault.look not in looks]
    rest = f", or one of {len(alternatives) - _TOLD} more" if len(alternatives) > _TOLD else ""
    decide = " or ".join(looks[:2])
    return f"These readings can't tell these apart: either {'; or '.join(described)}{rest}. To decide, {decide}."


_MINOR = frozenset({"twice", "half"})  # kinds of faults that no sound check of wires has to notice
_HIDDEN_WORDS = {
    "meter leads": "swapped meter leads of",
    "source leads": "swapped source leads",
    "control lines": "swapped control lines of",
    "meter lead pulled": "a pulled meter lead at",
    "source lead pulled": "a pulled source lead",
    "open": "an open",
    "short": "a short across",
    "stuck": "an element that does not move at",
    "twice": "twice the conductance at",
    "half": "half the conductance at",
}


def _hidden_words(hidden: dict[str, list[list[str]]]) -> list[str]:
    named = {kind: ", ".join("/".join(place) for place in places) for kind, places in hidden.items()}
    if not named:
        return []
    parts = [f"{_HIDDEN_WORDS[kind]} {places}" for kind, places in named.items()]
    remedy = " Meters and sources at more nodes, or larger --volts, would show more." if named.keys() - _MINOR else ""
    return [f"This check could not have noticed: {'; '.join(parts)}.{remedy}"]


def _odds(sure: Sequence[Fault]) -> Quantity:
    labels = tuple(f"{fault.kind}: {', '.join(fault.where)}" for fault in sure)
    odds = np.array([fault.odds for fault in sure])
    unknown = np.full(len(odds), np.nan)  # they hang on what was believed of wires before
    return Quantity("odds", "1", labels, odds, unknown, unknown)


def _conductances(observed: Observed, fitted: Fit) -> list[Quantity]:
    """Return what the branches have that are not what is listed; all of the doubt counts as type B: most of it is."""
    chosen = [branch for branch, _ in fitted.hypothesis.parts if fitted.belief.free[branch]]
    if not chosen:
        return []
    values, doubt = np.array([conductance(fitted, branch) for branch in chosen]).T
    labels = tuple(observed.network.branches[branch].name for branch in chosen)
    return [Quantity(CONDUCTANCE, "S", labels, values, np.zeros(len(values)), values * doubt)]
