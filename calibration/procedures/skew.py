"""`skew`: how late every channel is sampled, beyond what its meter tells, against a nudge that every node sees whole.

All voltage leads carry the same two-tone together. No current flows then, whatever the conductances are, so that every
node follows the sources at once, unless it has capacitance. v = a + b f(t + delay): late samples are a positive delay,
and a node that lags a negative one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration._numbers import percent, rounded
from calibration.direct_model import DirectModel, Sources
from calibration.drives import in_step, sizes, subject_conductances, within_nudge_rating
from calibration.errors import ProcedureError
from calibration.options import samples, volts
from calibration.procedure import Findings, ListedProcedure, Measurement, Taken
from calibration.record_names import CAPACITANCE, PROGRAMMED, RELAXATION_TIME, SKEW
from calibration.records import Quantity, Verdict
from calibration.ripple import clear_of_mains, without_lines
from calibration.subject import Subject
from freqprop_lab.lockin import demodulate
from freqprop_lab.names import shown
from freqprop_lab.values import Array, ChannelDrive
from freqprop_lab.waveform import TwoTone

_WAVEFORM = TwoTone()
_SHARES = (1.0, 0.96, 0.93, 0.89)  # of the amplitude: so a converter of few steps errs in another way in each record
_REPEATS = len(_SHARES)
_CLEAR = 4.0  # standard uncertainties
_MATTERS = 0.01  # of a sample
_WEAK = 0.5  # of the amplitude that was driven
_ASSUMED = (
    "the network follows its sources at once, or its capacitances are known from relaxation",
    "all sources begin together; a delay that they share is told as that of the meters",
    "where a source holds each sample until the next, lateness within a sample can't be seen, and does nothing",
)


@dataclass(frozen=True)
class Delays:
    """What one record tells, each (read node,).

    delay: s, and its standard error; staircase: s, by how much the steps of the source's converter may have moved it;
    b: V, and its standard error; noise: V rms of a sample.
    """

    delay: Array
    stderr: Array
    staircase: Array
    b: Array
    b_stderr: Array
    noise: Array


@dataclass(frozen=True)
class Skew(ListedProcedure):
    """One drive that every node follows at once, at two frequencies."""

    samples: int = samples(10_000)
    volts: float = volts("Amplitude of the nudge; less where a limit or a rating is nearer.")

    name = "skew"
    title = "lateness of every channel against the nudge"
    needs = ("every voltage source connected", "for a network with capacitance, relaxation before it")
    of_resistors = False

    def measurements(self, subject: Subject) -> list[Measurement]:
        """Return records of one drive: at the nudge's frequency, and at a lower one, since a delay hangs on none."""
        periods, frequency = subject.periods_for(self.samples), subject.sampling.frequency
        asked = [(frequency, share) for share in _SHARES] + [(clear_of_mains(frequency), 1.0)]
        return [
            Measurement(
                _together(subject, self.volts, share), n_periods=periods, frequency=each, says=f"at {each:g} Hz"
            )
            for each, share in asked
        ]

    def evaluate(self, subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]) -> Findings:
        """Fit the delays, and hold those of the two frequencies against each other."""
        found = [_delays(subject, each) for each in taken]
        fast, slow = _averaged(found[:_REPEATS]), found[-1]
        lateness, doubt = _network_part(subject, taken[0].frequency)
        # A node that lags shows its record earlier: what is left after the network is the channel's.
        delay, type_a = fast.delay + lateness, fast.stderr
        type_b = np.hypot(fast.staircase, doubt)
        words = _words_of_signal(subject, measured[0].drive, fast)
        words += _words_of_frequency(subject, taken, fast, slow)
        if not subject.synchronised:
            delay, type_a, type_b, more = _relative(subject, found[:_REPEATS], delay, type_a, type_b)
            words += more
        quantity = Quantity(SKEW, "s", subject.read_channels, delay, type_a, type_b)
        remarks = _words_of_size(subject, quantity, 1 / taken[0].record.sample_rate)
        remarks += _words_of_holding(subject, taken, fast, slow)
        return Findings(
            (quantity,),
            Verdict.of(words, remarks),
            {
                "frequencies": [each.frequency for each in taken],
                "amplitude": _amplitude(measured[0].drive),
                "synchronised": subject.synchronised,
            },
            _ASSUMED,
            {
                "delay": np.array([each.delay for each in found]),
                "delay_stderr": np.array([each.stderr for each in found]),
                "b": np.array([each.b for each in found]),
                "network_lateness": lateness,
            },
            "" if subject.synchronised else "the delay that all channels of a meter share is free, and not told",
        )


def _together(subject: Subject, volts: float, share: float) -> ChannelDrive:
    if not subject.voltage.any():
        raise ProcedureError(
            "skew moves every node by voltage sources, and this bench has none; calibrate it with one stiff input"
        )
    size = in_step(subject, within_nudge_rating(subject, sizes(subject, volts)))
    return ChannelDrive(subject.resting, size * share, _WAVEFORM)


def _delays(subject: Subject, taken: Taken) -> Delays:
    record, frequency, read = taken.record, taken.frequency, subject.read
    per_period = subject.sampling.samples_per_period
    # The stairs of a source's converter have all harmonics: they must stay, so that they are seen below.
    harmonics = frequency * np.arange(1.0, (per_period + 1) // 2)
    volts, _ = without_lines(record.volts[read], record.sample_rate, harmonics)
    skews = record.skews[read]
    found = demodulate(volts, record.sample_rate, _WAVEFORM, frequency, synchronised=False, skews=skews)
    assert found.delay is not None and found.delay_stderr is not None and found.noise is not None  # noqa: S101, PT018
    delay = _within(found.delay, 1 / frequency)
    folded = volts.reshape(len(volts), -1, per_period)
    phases = np.arange(per_period) / per_period + frequency * (skews + delay)[:, None]
    left = folded.mean(axis=1) - found.a[:, None] - found.b[:, None] * _WAVEFORM.at(phases)
    beyond = (left**2).sum(axis=1) / max(per_period - 3, 1) - found.noise**2 / folded.shape[1]
    # The source's converter makes the same stairs for all channels: together they tell its size best.
    excess = float(np.sqrt(max(beyond.mean(), 0.0)))
    slope = np.sqrt(((found.b[:, None] * frequency * _WAVEFORM.slope(phases)) ** 2).sum(axis=1))
    staircase = np.divide(excess, slope, out=np.full(len(slope), np.nan), where=slope > 0)
    return Delays(delay, found.delay_stderr, staircase, found.b, found.b_stderr, found.noise)


def _within(delays: Array, period: float) -> Array:
    """Return delays in the half period about none, s."""
    return np.asarray((delays + period / 2) % period - period / 2)


def _averaged(found: Sequence[Delays]) -> Delays:
    count = len(found)
    return Delays(
        np.mean([each.delay for each in found], axis=0),
        np.sqrt(np.mean([each.stderr**2 for each in found], axis=0) / count),
        np.sqrt(np.mean([each.staircase**2 for each in found], axis=0) / count),
        np.mean([each.b / share for each, share in zip(found, _SHARES, strict=True)], axis=0),
        np.sqrt(np.mean([each.b_stderr**2 for each in found], axis=0) / count),
        np.mean([each.noise for each in found], axis=0),
    )


def _network_part(subject: Subject, frequency: float) -> tuple[Array, Array]:
    """Return by how much each read node lags by its capacitance, s, and its standard uncertainty, (read node,).

    While all sources move alike, node j lags by sum over k of Z_jk C_k (Elmore 1948, J. Appl. Phys. 19, 55). Zeros
    where no record of relaxation tells of capacitance.
    """
    record = subject.known.get("relaxation")
    nothing = np.zeros(int(subject.read.sum()))
    if record is None:
        return nothing, nothing
    C, u = _at_nodes(record.quantity(CAPACITANCE), subject.network.nodes)
    told = np.isfinite(C)
    model, sources = DirectModel(subject.network, subject.live_leads), Sources.ideal(subject.live_leads)
    whole, n = model.stiffness(subject_conductances(subject), sources), len(C)
    Z = np.linalg.inv(whole)[:n, :n][subject.read]
    lag = Z @ np.where(told, C, 0.0)
    beyond = _as_fitted(whole, model.injection(sources), np.where(told, C, 0.0), frequency)[subject.read] - lag
    # Sources whose gains differ don't move quite alike.
    unequal = np.abs(lag) * float(np.mean(subject.belief_in_sources()[0])) / np.sqrt(len(subject.live_leads))
    doubt = np.sqrt(Z**2 @ np.where(told, u, 0.0) ** 2)
    programmed = record.raw.get(PROGRAMMED)
    if programmed is not None and np.array_equal(programmed[0], subject.conductances):
        # The same conductances still: then the lag is known better than the capacitances that make it.
        stated, stated_doubt = _at_nodes(record.quantity(RELAXATION_TIME), subject.read_nodes)
        is_stated = np.isfinite(stated)
        lag, doubt = np.where(is_stated, stated, lag), np.where(is_stated, stated_doubt, doubt)
    return lag + beyond, np.hypot(doubt, unequal)


def _at_nodes(quantity: Quantity, nodes: Sequence[str]) -> tuple[Array, Array]:
    """Return a quantity of nodes and its standard uncertainty in the order of these, (node,); NaN where it has none."""
    place = {label: number for number, label in enumerate(quantity.labels)}
    rows = np.array([place.get(node, len(place)) for node in nodes], dtype=np.intp)
    values, doubts = (np.append(each, np.nan)[rows] for each in (quantity.values, quantity.standard_uncertainty))
    return values, doubts


def _as_fitted(whole: Array, injection: Array, C: Array, frequency: float) -> Array:
    """Return the lag that a fit of the two-tone sees while all sources move alike, s, (node,).

    The weighted mean of its tones' phases over omega: what maximum likelihood makes of small ones.
    """
    n = len(C)
    above, below = np.zeros(n), 0.0
    for k, F in enumerate(_WAVEFORM.harmonics(2), start=1):
        omega, at = 2 * np.pi * frequency * k, whole.astype(np.complex128)
        at[np.arange(n), np.arange(n)] += 1j * omega * C
        volts = np.linalg.solve(at, injection.sum(axis=1))[:n]
        above -= abs(F) ** 2 * omega * np.angle(volts)
        below += abs(F) ** 2 * omega**2
    return above / below


def _relative(
    subject: Subject, found: Sequence[Delays], delay: Array, type_a: Array, type_b: Array
) -> tuple[Array, Array, Array, list[str]]:
    """Return delays relative to the first channel of each meter; words where a meter begins anew with each channel."""
    apart, a, b, words = delay.copy(), type_a.copy(), type_b.copy(), []
    period = 1 / subject.sampling.frequency
    for meter, own in _by_meter(subject).items():
        first = own[0]
        apart[own] = _within(delay[own] - delay[first], period)
        a[own[1:]], b[own[1:]] = np.hypot(type_a[own[1:]], type_a[first]), np.hypot(type_b[own[1:]], type_b[first])
        a[first] = b[first] = 0.0
        moved = [_within((each.delay - each.delay[first])[own], period) for each in found]
        doubt = np.sqrt(found[0].stderr[own] ** 2 + found[0].stderr[first] ** 2)
        if len(own) > 1 and (np.abs(_within(moved[0] - moved[1], period)) > 2 * _CLEAR * doubt).any():
            words.append(
                f'the channels of meter "{meter}" begin anew with each record, each by itself, so that they have no '
                "skew to know; wire a trigger from the source to it, or nudge with two-tone and unknown delays"
            )
    return apart, a, b, words


def _by_meter(subject: Subject) -> dict[str, NDArray[np.intp]]:
    """Return which of the read nodes each meter reads, by its name."""
    meters = np.array([channel.rsplit("/", 1)[0] for channel in subject.read_channels])
    return {meter: np.flatnonzero(meters == meter) for meter in dict.fromkeys(meters.tolist())}


def _amplitude(drive: ChannelDrive) -> float:
    return 0.0 if drive.amplitudes is None else float(np.max(drive.amplitudes))


def _words_of_signal(subject: Subject, drive: ChannelDrive, fast: Delays) -> list[str]:
    amplitude = _amplitude(drive)
    nodes = np.array(subject.network.nodes)[subject.read]
    weak = nodes[np.abs(fast.b) < _WEAK * amplitude].tolist()
    if not weak:
        return []
    return [
        f"{shown(weak)} see less than half of the {rounded(amplitude, 'V')} that all sources put out together: look "
        "for a loose lead, or a branch to ground"
    ]


def _words_of_frequency(subject: Subject, taken: Sequence[Taken], fast: Delays, slow: Delays) -> list[str]:
    """Say where a delay, or what comes through, depends on the frequency: that is capacitance, not lateness."""
    nodes = np.array(subject.network.nodes)[subject.read]
    hertz, sample = taken[0].frequency, 1 / taken[0].record.sample_rate
    apart = _within(fast.delay - slow.delay, 1 / hertz)
    for own in () if subject.synchronised else _by_meter(subject).values():
        apart[own] = _within(apart[own] - apart[own[0]], 1 / hertz)
    doubt = np.sqrt(fast.stderr**2 + slow.stderr**2 + fast.staircase**2 + slow.staircase**2)
    moved = (np.abs(apart) > _CLEAR * doubt) & (np.abs(apart) > _MATTERS * sample)
    lost = 1 - np.abs(fast.b / slow.b)
    stairs = np.hypot(fast.staircase, slow.staircase) * 2 * np.pi * hertz
    unsure = np.sqrt((fast.b_stderr / fast.b) ** 2 + (slow.b_stderr / slow.b) ** 2 + stairs**2)
    # One pole: b falls as (omega tau)^2 / 2.
    tau = np.sqrt(2 * np.maximum(lost, 0.0) / (hertz**2 - taken[-1].frequency ** 2)) / (2 * np.pi)
    slowed = (lost > _CLEAR * unsure) & (tau > _MATTERS * sample)
    # A source that holds each sample until the next shows lateness in whole samples, at any frequency in other seconds.
    found = slowed | (moved & (np.abs(apart) > 1 / taken[-1].record.sample_rate))
    if not found.any() or "relaxation" in subject.known:
        return []
    worst = int(np.where(found, np.maximum(tau, np.abs(apart)), 0).argmax())
    return [
        f"{shown(nodes[found].tolist())} change with frequency, which a delay does not: capacitance, or a channel that "
        f"reads the generator itself. {nodes[worst]} looks as if it were sampled about "
        f"{rounded(max(tau[worst], abs(apart[worst])), 's', 2)} early; run freqprop calibrate relaxation, then skew "
        "again, or nudge more slowly; bias tells what is read of the generator"
    ]


def _words_of_holding(subject: Subject, taken: Sequence[Taken], fast: Delays, slow: Delays) -> list[str]:
    apart, rates = np.abs(fast.delay - slow.delay), [taken[0].record.sample_rate, taken[-1].record.sample_rate]
    doubt = np.sqrt(fast.stderr**2 + slow.stderr**2 + fast.staircase**2 + slow.staircase**2)
    moved = (apart > _CLEAR * doubt) & (apart > _MATTERS / rates[0]) & (apart <= 1 / rates[1])
    if not moved.any() or not subject.synchronised or "relaxation" in subject.known:
        return []
    nodes = np.array(subject.network.nodes)[subject.read][moved].tolist()
    return [
        f"the lateness of {shown(nodes)} goes with the sample rate, as where a source holds each sample until the "
        f"next: it is that of {rates[0]:g} samples a second; run skew again after changing the sampling"
    ]


def _words_of_size(subject: Subject, quantity: Quantity, sample: float) -> list[str]:
    size = np.abs(quantity.values)
    if not np.isfinite(size).any():
        return []
    worst = int(np.nanargmax(size))
    late = "late" if quantity.values[worst] > 0 else "early"
    known = float(np.nanmax(quantity.standard_uncertainty)) / sample
    return [
        f"{quantity.labels[worst]} (node {subject.read_nodes[worst]}) is sampled {rounded(size[worst], 's')} "
        f"({percent(size[worst] / sample)} of a sample) {late} beyond what its meter tells; all are known to "
        f"{percent(known)} of a sample"
    ]
