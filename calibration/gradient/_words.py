"""The findings as sentences that say what to change on the bench, and to what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from calibration._numbers import percent, rounded
from calibration.gradient._comparison import Comparison, Size
from calibration.gradient._effects import Cause, Effect, Exchanged, Responses
from calibration.ports import leads_of_output, meters_of_output
from calibration.records import COVERAGE_FACTOR, Verdict
from calibration.subject import Subject
from freqprop_lab.names import shown
from freqprop_lab.values import Array

_NAMED = 3  # channels or elements in a sentence
_SEEN = 5.0  # standard uncertainties by which an update's effect must show, for its lack to mean anything
_EFFECTIVE = 0.7  # of the effect expected: less is too little
_GENTLEST = 0.5  # a change of gamma or of frequency is at least to half


@dataclass(frozen=True)
class Written:
    """What an update asked of the elements and what they say was set, S, (tunable,). alpha: S/V^2.

    effect: V^2, how the cost changed when it was programmed, with its standard uncertainty.
    """

    asked: Array
    realised: Array
    alpha: float
    effect: float
    effect_uncertainty: float

    @property
    def lost(self) -> Size:
        """How much of the update is not what was asked, relative to it."""
        whole = max(float(np.linalg.norm(self.asked)), 1e-300)
        return Size(float(np.linalg.norm(self.realised - self.asked)) / whole, 0.0)


@dataclass(frozen=True)
class Seen:
    """All that the words are about.

    chosen: the elements compared, by number among the tunable. exchanged: leads. step: S, the finest that one of them
    was seen to make.
    """

    subject: Subject
    responses: Responses
    comparison: Comparison
    chosen: list[int]
    exchanged: Exchanged
    written: Written
    step: float

    @property
    def expected_effect(self) -> float:
        """How the cost should change by what the elements say was set, V^2, to first order."""
        return float(np.nan_to_num(self.responses.product.values) @ self.written.realised)

    @property
    def is_without_effect(self) -> bool:
        """Whether the outputs show that the elements did not do what they say."""
        expected, written = self.expected_effect, self.written
        return (
            abs(expected) > _SEEN * written.effect_uncertainty
            and written.effect / expected < _EFFECTIVE - 2 * written.effect_uncertainty / abs(expected)
        )


def verdict(seen: Seen) -> tuple[Verdict, str | None]:
    """Return the verdict and the main cause in a few words; None where nothing is wrong, or nothing explains it."""
    compared, tolerance = seen.comparison, seen.comparison.tolerance
    total, lost = compared.total, seen.written.lost
    low, high = compared.cosine[1:]
    line = compared.line
    words = [
        f"the measured gradient departs from finite differences by {percent(total.beyond_noise)} of itself (noise "
        f"alone {percent(total.noise)}); cosine {compared.cosine[0]:.4f} ({low:.4f} to {high:.4f}), scale "
        f"{line.slope:.3f} +- {line.coverage_factor * line.slope_uncertainty:.3f}"
    ]
    if total.beyond_noise > tolerance:
        cause = compared.main_cause
        if cause is None:
            return Verdict("bad", (_unexplained(seen), *words)), None
        first = [_WORDS[cause](seen, compared.size(cause))]
        if lost.value > tolerance:
            first.append(_taps(seen, lost))
        return Verdict("bad", (*first, *words)), cause.value
    if lost.value > tolerance:
        return Verdict("doubtful", (_taps(seen, lost), *words)), Cause.TAPS.value
    if seen.is_without_effect:
        return Verdict("doubtful", (_without_effect(seen), *words)), Cause.TAPS.value
    words.append(_effect(seen))
    if total.noise > tolerance:
        times = (total.noise / tolerance) ** 2
        words.insert(
            0,
            f"too noisy to tell {percent(tolerance)}: take {times:.2g} times as many --samples, or raise --volts and "
            "--error",
        )
        return Verdict("doubtful", tuple(words)), None
    return Verdict("good", tuple(words)), None


def gamma_to_use(seen: Seen) -> float:
    """Return the gamma, S, at which the network's bend costs half of what is tolerated.

    From what it still costs the weakest nudge, which goes as gamma^2 where it is small.
    """
    responses = seen.responses
    weakest = responses.gamma * 0.5 ** len(responses.weak)
    return min(weakest * _less(seen, responses.bending()), _GENTLEST * responses.gamma)


def frequency_to_use(seen: Seen) -> float:
    """Return the frequency, Hz, at which settling costs half of what is tolerated.

    From what the slowest nudge still lacks, which goes as omega^2 where it is small.
    """
    responses = seen.responses
    return min(responses.slowest * _less(seen, responses.unsettled()), _GENTLEST * responses.frequency)


def _less(seen: Seen, left: Effect) -> float:
    """Return by what factor to lower what an effect goes with the square of, for it to be half of what is tolerated."""
    whole, size = (float(np.linalg.norm(values)) for values in (seen.comparison.difference, left.values[seen.chosen]))
    return float(np.sqrt(seen.comparison.tolerance / 2 * whole / max(size, 1e-12 * whole)))


def _gamma(seen: Seen, size: Size) -> str:
    gamma, fit, unit = seen.responses.gamma, gamma_to_use(seen), seen.subject.scales.gamma(1.0)
    return (
        f"gamma too large: the network bends under the nudge, which costs {percent(size.beyond_noise)}. Set gamma to "
        f"{fit / unit:.2g} or less ({rounded(fit, 'S')}; it was {gamma / unit:.3g})"
    )


def _omega(seen: Seen, size: Size) -> str:
    responses = seen.responses
    lag, b = responses.delays.lag, responses.full.b
    known = ~np.isnan(lag) & ~np.isnan(b)
    late = max(float(np.average(lag[known], weights=b[known] ** 2)), 0.0)
    degrees = 360 * late * responses.frequency / 2
    return (
        f"omega too fast: the network does not settle, which costs {percent(size.beyond_noise)} (at half the "
        f"frequency its nodes lag by {degrees:.0f} degrees). Set sampling.frequency to {frequency_to_use(seen):.3g} Hz "
        f"or less (it was {responses.frequency:.4g} Hz)"
    )


def _skew(seen: Seen, size: Size) -> str:
    late = seen.responses.delays.delay
    named = [f"{seen.subject.channel_at(node)} by {rounded(late[node], 's')}" for node in _largest(late)]
    return (
        f"skew uncorrected: channels are read later (or, below zero, earlier) than is known, which costs "
        f"{percent(size.beyond_noise)}: {shown(named)}. Run freqprop calibrate skew and let it correct the bench"
    )


def _offset(seen: Seen, size: Size) -> str:
    pickup = seen.responses.zero.b
    named = [f"{rounded(pickup[node], 'V')} at {seen.subject.channel_at(node)}" for node in _largest(pickup)]
    return (
        f"offset: with no nudge at all the bench reads a b of {shown(named)}, which costs "
        f"{percent(size.beyond_noise)}. Run freqprop calibrate bias and let it be subtracted, or part the meters' "
        "leads from the generator's"
    )


def _sign(seen: Seen, size: Size) -> str:
    subject, parts = seen.subject, []
    for outputs, what, find in (
        (seen.exchanged.drives, "source", leads_of_output),
        (seen.exchanged.reads, "meter", meters_of_output),
    ):
        for output in outputs:
            port = subject.network.outputs[output]
            ends = f"nodes {port.plus} and {port.minus}"
            parts.append(f"exchange the {what} leads of output {port.name} ({shown(find(subject, output))}) at {ends}")
    return (
        f"wrong sign of a port, which costs {percent(size.beyond_noise)}: what is read there moves against its nudge. "
        f"To mend it, {'; '.join(parts)}"
    )


def _taps(seen: Seen, size: Size) -> str:
    asked, alpha = np.abs(seen.written.asked), seen.written.alpha
    largest = float(asked.max(initial=0.0))
    step = "" if np.isnan(seen.step) else f", the elements' steps are about {rounded(seen.step, 'S')}"
    scaled = alpha * seen.step / largest / seen.subject.scales.alpha(1.0) if largest > 0 else np.nan
    raised = "" if np.isnan(scaled) else f", or raise alpha to about {scaled:.2g}"
    return (
        f"quantised update: {percent(size.value)} of an update is lost when it is programmed (the largest is "
        f"{rounded(largest, 'S')}{step}). Let the trainer add updates up in full precision "
        f"(accumulate, its default) or round by chance (rounding: stochastic){raised}"
    )


def _without_effect(seen: Seen) -> str:
    share = seen.written.effect / seen.expected_effect
    return (
        f"quantised update: the elements say that they took it, but the outputs moved by {percent(share)} of what it "
        "should do. Elements that can't be read back may be coarser than the bench file says, or stuck: run freqprop "
        "calibrate resistors"
    )


def _effect(seen: Seen) -> str:
    """Say how what the outputs did compares with what the update should do; where noise hides it, that."""
    expected, written = seen.expected_effect, seen.written
    doubt = COVERAGE_FACTOR * written.effect_uncertainty
    if abs(expected) <= _SEEN * written.effect_uncertainty:
        return (
            f"one update lowers the cost by too little to be seen ({rounded(abs(expected), 'V^2')}; it is measured to "
            f"{rounded(doubt, 'V^2', 2)}), so nothing tells whether elements that can't be read back obey; a larger "
            "--alpha would"
        )
    return (
        f"the update changed the cost by {percent(written.effect / expected)} of what it should do to first order "
        f"(+- {percent(doubt / abs(expected))})"
    )


def _unexplained(seen: Seen) -> str:
    compared, names = seen.comparison, seen.subject.network.tunable_names
    worst = np.argsort(-compared.weights * compared.deviation**2)[:_NAMED]
    named = [names[seen.chosen[number]] for number in worst]
    return (
        f"no single fault of the nudge explains it; most of it is at {shown(named)}. Gains, offsets or conductances "
        "may be off, or an element stuck: run freqprop calibrate gains, wiring and resistors first"
    )


_WORDS: dict[Cause, Callable[[Seen, Size], str]] = {
    Cause.GAMMA: _gamma,
    Cause.OMEGA: _omega,
    Cause.SKEW: _skew,
    Cause.OFFSET: _offset,
    Cause.SIGN: _sign,
}


def _largest(values: Array) -> list[int]:
    order = np.argsort(-np.abs(np.nan_to_num(values)))
    return [int(node) for node in order[:_NAMED] if not np.isnan(values[node])]
