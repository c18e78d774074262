"""`noise`: what the meters read while nothing moves: rms, spectrum, hum, 1/f, and what that means for a reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration._numbers import rounded
from calibration.options import samples
from calibration.procedure import Findings, ListedProcedure, Measurement, Taken
from calibration.records import Points, Quantity, Verdict
from calibration.ripple import MAINS, Fitted, fitted, lines
from calibration.subject import Subject
from freqprop_lab.names import shown
from freqprop_lab.values import Array, ChannelDrive

NOISE, BITS, SPECTRUM, HUM = "noise", "effective bits", "spectrum", "lines"
CORNER, A_NOISE, B_NOISE = "corner of 1/f", "noise of a reading", "noise of b"
_MOST_HARMONICS = 20
_BLOCKS = 20
_FEWEST_BLOCKS = 8
_LONGEST_SEGMENT = 2048
_WORSE = 3.0  # times the median channel
_HARMS = 1.5  # times what white noise alone would leave of b
_CLEAR = 5.0  # standard uncertainties: so many channels and one false corner in ten thousand records
_WHOLE = 1e-6  # of a period of the hum
_MOST_PERIODS = 1000
_ASSUMED = (
    "nothing moves while the record is taken",
    "noise does not hang on the level; this one is of the levels at rest",
)


@dataclass(frozen=True)
class Noise(ListedProcedure):
    """One long record, taken with every source at rest."""

    samples: int = samples(20_000, "Samples of the one long record.", low=256)

    name = "noise"
    title = "noise of every channel"
    needs = ("nothing that moves: every source stays at its rest",)
    of_resistors = False

    def measurements(self, subject: Subject) -> list[Measurement]:
        """Return one long record at rest."""
        return [Measurement(ChannelDrive(subject.resting), n_periods=subject.periods_for(self.samples), says="at rest")]

    def evaluate(
        self,
        subject: Subject,
        measured: Sequence[Measurement],  # noqa: ARG002 - there is one alone
        taken: Sequence[Taken],
    ) -> Findings:
        """Part the record into lines and the rest, and say what both do to a reading."""
        record, read = taken[0].record, subject.read
        volts, rate = record.volts[read], record.sample_rate
        fit = fitted(volts, rate, lines(volts, rate))
        nodes, labels = subject.read_nodes, subject.read_channels
        rms, rms_doubt = _rms(fit.residuals)
        total = np.sqrt((fit.amplitudes**2).sum(axis=1) / 2 + rms**2)
        span = (subject.meter_high - subject.meter_low)[read]
        with np.errstate(divide="ignore"):
            bits = np.where(total > 0, np.log2(span / (np.maximum(total, 1e-300) * np.sqrt(12))), np.nan)
        a_noise, b_noise, doubt = _of_readings(volts, subject)
        corner, corner_doubt = _corners(fit.residuals, rate)
        quantities = [
            Quantity(NOISE, "V", labels, rms, rms_doubt, np.zeros(len(rms))),
            Quantity(BITS, "1", labels, bits, rms_doubt / np.maximum(total, 1e-300) / np.log(2), np.zeros(len(rms))),
            _spectrum(labels, volts, rate),
            Quantity(CORNER, "Hz", labels, corner, corner_doubt, np.zeros(len(rms))),
            Quantity(A_NOISE, "V", labels, a_noise, a_noise * doubt, np.zeros(len(rms))),
            Quantity(B_NOISE, "V", labels, b_noise, b_noise * doubt, np.zeros(len(rms))),
        ]
        if len(fit.frequencies):
            quantities.append(_lines(labels, fit))
        words = [*_words_of_channels(labels, nodes, rms), *_words_of_lines(subject, fit, rms, b_noise)]
        told = "no channel moves at all: these meters have no noise, or don't measure"
        if np.median(total) > 0:
            rms_told, bits_told = rounded(float(np.median(total)), "V"), float(np.nanmedian(bits))
            told = f"{rms_told} rms and {bits_told:.3g} effective bits in the median channel"
        return Findings(
            tuple(quantities),
            Verdict(
                "doubtful" if words else "good",
                (*words, told, *_words_of_corner(labels, nodes, corner), *_quiet_lines(fit, words)),
            ),
            {},
            _ASSUMED,
            {"volts": volts},
        )


def _rms(left: Array) -> tuple[Array, Array]:
    """Return the rms beside the lines and its standard uncertainty, by how much it scatters from block to block."""
    rms = left.std(axis=1)
    n_samples = left.shape[1]
    size = n_samples // _BLOCKS
    squares = (left[:, : size * _BLOCKS] ** 2).reshape(len(left), _BLOCKS, size).mean(axis=2)
    scatter = squares.std(axis=1, ddof=1) / np.sqrt(_BLOCKS) / (2 * np.maximum(rms, 1e-300))
    return rms, np.maximum(scatter, rms / np.sqrt(2 * n_samples))


def _of_readings(volts: Array, subject: Subject) -> tuple[Array, Array, float]:
    """Return the scatter of a, and the rms of b, of records as long as the bench's, V, (channel,), and relative doubts.

    b of a sine that is not there, of both its phases; about zero, since hum at its frequency stands still in one long
    record. Hum is in both, as it is in a bench's readings without `lockin.hum`.
    """
    per_period, n_samples = subject.sampling.samples_per_period, volts.shape[1]
    size = subject.sampling.periods * per_period
    n_blocks = n_samples // size
    turns = 2 * np.pi * np.arange(size) / per_period
    f = np.stack([np.sin(turns), np.cos(turns)], axis=1)
    if n_blocks < _FEWEST_BLOCKS:
        sigma = volts.std(axis=1)
        return sigma / np.sqrt(size), sigma / np.sqrt(size / 2), float(1 / np.sqrt(2 * n_samples))
    blocks = volts[:, : n_blocks * size].reshape(len(volts), n_blocks, size)
    a, b = blocks.mean(axis=2), blocks @ f * 2 / size
    return a.std(axis=1, ddof=1), np.sqrt((b**2).mean(axis=(1, 2))), float(1 / np.sqrt(2 * (n_blocks - 1)))


def _spectrum(labels: tuple[str, ...], volts: Array, rate: float) -> Quantity:
    """Return the amplitude density, V/sqrt(Hz), by Welch's method; Hann windows that overlap by half.

    Its relative variance is 11/36 of that of as many records apart (Welch 1967, eq. 13: 11/9 for the power).
    """
    from scipy.signal import welch  # noqa: PLC0415 - half a second

    length = min(_LONGEST_SEGMENT, volts.shape[1] // 4)
    frequencies, power = welch(volts, rate, nperseg=length, axis=-1)
    n_segments = max(2 * volts.shape[1] // length - 1, 1)
    density = np.sqrt(power[:, 1:])
    doubt = density * np.sqrt(11 / 36 / n_segments)
    return Quantity(
        SPECTRUM, "V/sqrt(Hz)", labels, density, doubt, np.zeros(()), Points("frequency", "Hz", frequencies[1:])
    )


def _lines(labels: tuple[str, ...], fit: Fitted) -> Quantity:
    sigma = np.sqrt((fit.residuals**2).sum(axis=1) / max(fit.residuals.shape[1] - fit.n_fitted, 1))
    doubt = np.repeat(sigma[:, None] * np.sqrt(2 / fit.residuals.shape[1]), len(fit.frequencies), axis=1)
    points = Points("frequency", "Hz", fit.frequencies)
    return Quantity(HUM, "V", labels, fit.amplitudes, doubt, np.zeros(()), points)


def _corners(left: Array, rate: float) -> tuple[Array, Array]:
    """Return where 1/f noise is as strong as white noise, Hz, (channel,), and its doubt; NaN where there is none.

    The most likely white and 1/f parts of the periodogram, whose values are exponential (Whittle 1953): a scoring step
    is least squares weighted by the inverse square of the present model.
    """
    n_samples = left.shape[1]
    f: Array = np.arange(1.0, (n_samples + 1) // 2) * (rate / n_samples)
    power = np.abs(np.fft.rfft(left, axis=1)[:, 1 : (n_samples + 1) // 2]) ** 2 / n_samples
    columns = np.stack([np.ones(len(f)), f[0] / f], axis=1)
    corner, doubt = (np.full(len(left), np.nan) for _ in range(2))
    for channel, row in enumerate(power):
        if not row.mean() > 0:
            continue
        at = np.array([np.median(row) / np.log(2), 0.0])
        covariance = np.eye(2)
        for _ in range(_BLOCKS):
            model = np.maximum(columns @ at, 1e-12 * row.mean())
            weighted = columns / model[:, None] ** 2
            covariance = np.linalg.inv(weighted.T @ columns)
            at = np.maximum(covariance @ (weighted.T @ row), [1e-6 * row.mean(), 0.0])
        white, pink = at
        if pink > _CLEAR * np.sqrt(covariance[1, 1]):
            corner[channel] = f[0] * pink / white
            relative = covariance[0, 0] / white**2 + covariance[1, 1] / pink**2
            relative -= 2 * covariance[0, 1] / (white * pink)
            doubt[channel] = corner[channel] * np.sqrt(relative)
    return corner, doubt


def named(frequency: float, resolution: float) -> str:
    """Return what a person calls a line: hum and its harmonics by the mains, others by their frequency."""
    for mains in MAINS:
        order = round(frequency / mains)
        if 1 <= order <= _MOST_HARMONICS and abs(frequency - order * mains) < max(resolution, 0.005 * frequency):
            return f"{mains:g} Hz hum" if order == 1 else f"harmonic {order} of {mains:g} Hz hum"
    return f"a line at {frequency:.4g} Hz"


def _words_of_channels(labels: Sequence[str], nodes: Sequence[str], rms: Array) -> list[str]:
    median = float(np.median(rms))
    return [
        f"{label} (node {node}) has {rounded(own, 'V')} rms, {own / median:.3g} times the median channel: look at its "
        "lead, its shield and its ground"
        for label, node, own in zip(labels, nodes, rms, strict=True)
        if median > 0 and own > _WORSE * median
    ]


def _words_of_lines(subject: Subject, fit: Fitted, rms: Array, b_noise: Array) -> list[str]:
    """Say what to do about lines that harm a reading of b: those that a record of the bench doesn't average out."""
    if not len(fit.frequencies):
        return []
    sampling = subject.sampling
    seconds = sampling.periods / sampling.frequency
    white = np.median(rms) * np.sqrt(2 / (sampling.periods * sampling.samples_per_period))
    if np.median(b_noise) < _HARMS * white:
        return []
    strongest = int(np.median(fit.amplitudes, axis=0).argmax())
    frequency = float(fit.frequencies[strongest])
    name = named(frequency, sampling.frequency / sampling.samples_per_period)
    amplitude = float(np.median(fit.amplitudes[:, strongest]))
    hum = next((mains for mains in MAINS if f"{mains:g} Hz" in name), frequency)
    worse = f"makes b {np.median(b_noise) / white:.3g} times as noisy"
    words = f"{name}, {rounded(amplitude, 'V')} in the median channel, {worse}"
    remedies = [f"set lockin.hum: {hum:.4g} Hz"]
    collides = [k for k in (1, 2) if abs(k * sampling.frequency - frequency) < 1 / seconds]
    if collides:
        best = _better_frequency(sampling.frequency, fit.frequencies, seconds)
        return [f"{words}: it lies at the nudge's tone {collides[0]}. Nudge at {best:.4g} Hz instead"]
    whole = _whole_periods(sampling.periods, sampling.frequency, hum)
    if whole is not None and whole != sampling.periods:
        remedies.append(f"or sampling.periods: {whole}, which holds whole periods of it")
    return [f"{words}: {', '.join(remedies)}"]


def _whole_periods(least: int, frequency: float, hum: float) -> int | None:
    """Return the number of the nudge's periods, from the least on, that hold whole periods of the hum."""
    for periods in range(least, _MOST_PERIODS + 1):
        turns = periods * hum / frequency
        if abs(turns - round(turns)) < _WHOLE * periods and round(turns) >= 1:
            return periods
    return None


def _better_frequency(frequency: float, taken: Array, seconds: float) -> float:
    """Return the nearest frequency whose two tones keep three resolutions of a record away from every line, Hz."""
    for step in np.arange(1, 200):
        for tried in (frequency - step / seconds, frequency + step / seconds):
            apart = [np.abs(k * tried - taken).min() for k in (1, 2)]
            if tried > 0 and min(apart) >= 3 / seconds:
                return float(tried)
    return frequency


def _quiet_lines(fit: Fitted, words: Sequence[str]) -> list[str]:
    """Name the lines that there are beside what was said of them."""
    if not len(fit.frequencies):
        return []
    largest = np.median(fit.amplitudes, axis=0)
    resolution = 0.5
    listed = [
        f"{named(float(f), resolution)} ({rounded(v, 'V', 2)})" for f, v in zip(fit.frequencies, largest, strict=True)
    ]
    return [f"{shown(listed)}{'' if words else ', which a record of the bench averages out'}"]


def _words_of_corner(labels: Sequence[str], nodes: Sequence[str], corner: Array) -> list[str]:
    found = np.flatnonzero(np.isfinite(corner))
    if not len(found):
        return []
    worst = int(found[corner[found].argmax()])
    return [
        f"below {corner[worst]:.3g} Hz 1/f noise rules at {labels[worst]} (node {nodes[worst]})"
        f"{f' and {len(found) - 1} more channels' if len(found) > 1 else ''}: nudge well above it"
    ]
