"""Lines in the spectrum of a record, such as hum: found in all channels together, then fitted with a constant.

Nothing is assumed of their frequency but that it is the same in all channels; amplitudes and phases are each one's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

from freqprop_lab.values import Array

MAINS = (50.0, 60.0)  # Hz
_FEWEST_SAMPLES = 64
_FEWEST_PERIODS = 1.5  # below it a line can't be told from a drift
_CHANCE = 1e-6  # that white noise shows such a line somewhere in a record
_MOST_LINES = 12


@dataclass(frozen=True)
class Fitted:
    """Records less their lines.

    mean: V, (channel,), of a constant fitted beside them; per_noise: its variance over that of a sample. residuals: V,
    (channel, sample). amplitudes: V, (channel, line), and frequencies: Hz, (line,). columns: constant, cosines, sines,
    (sample, column); coefficients: V, (channel, column).
    """

    mean: Array
    per_noise: float
    residuals: Array
    frequencies: Array
    amplitudes: Array
    columns: Array
    coefficients: Array

    @property
    def n_fitted(self) -> int:
        """Columns that were fitted."""
        return int(self.columns.shape[1])


def lines(volts: Array, sample_rate: float) -> Array:
    """Return the frequencies of lines, Hz, (line,), rising; few samples show none. volts: (channel, sample), finite.

    The largest of the channels' summed spectrum is taken out while chance would not make it: the sum over n channels of
    2 |X|^2 / (N sigma^2) is chi^2 of 2 n degrees of freedom in white noise (Schuster 1898).
    """
    n_samples = volts.shape[-1]
    left = volts - volts.mean(axis=-1, keepdims=True)
    spread = left.std(axis=-1)
    left = left[spread > 1e-12 * (1 + np.abs(volts).max(axis=-1))]
    found: list[float] = []
    if n_samples < _FEWEST_SAMPLES or not len(left):
        return np.zeros(0)
    for _ in range(_MOST_LINES):
        frequency = _largest(left, sample_rate)
        if frequency is None:
            break
        found.append(frequency)
        left = fitted(left, sample_rate, np.array(found)).residuals
    return np.sort(np.array(found))


def fitted(volts: Array, sample_rate: float, frequencies: Array) -> Fitted:
    """Fit a constant and lines of these frequencies to each channel by least squares. volts: (channel, sample)."""
    n_samples, n_lines = volts.shape[-1], len(frequencies)
    if not n_lines:
        mean = volts.mean(axis=-1)
        nothing = np.zeros((len(volts), 0))
        constant = np.ones((n_samples, 1))
        return Fitted(mean, 1 / n_samples, volts - mean[:, None], frequencies, nothing, constant, mean[:, None])
    turns = 2 * np.pi * np.arange(n_samples)[:, None] / sample_rate * frequencies
    columns = np.concatenate([np.ones((n_samples, 1)), np.cos(turns), np.sin(turns)], axis=1)
    inverse = np.linalg.inv(columns.T @ columns)
    coefficients = volts @ columns @ inverse
    cosine, sine = coefficients[:, 1 : 1 + n_lines], coefficients[:, 1 + n_lines :]
    return Fitted(
        coefficients[:, 0],
        float(inverse[0, 0]),
        volts - coefficients @ columns.T,
        frequencies,
        np.hypot(cosine, sine),
        columns,
        coefficients,
    )


def without_lines(volts: Array, sample_rate: float, kept: Array) -> tuple[Array, Array]:
    """Return records less the lines at other frequencies than those kept, Hz, and where those lines are, Hz, (line,).

    volts: (channel, sample), finite. What is kept is fitted beside them, so that nothing of it goes with them.
    """
    others = lines(fitted(volts, sample_rate, kept).residuals, sample_rate)
    if not len(others):
        return volts, others
    together = fitted(volts, sample_rate, np.concatenate([kept, others]))
    wanted = np.concatenate([np.ones(1 + len(kept)), np.zeros(len(others))])
    chosen = np.concatenate([wanted, wanted[1:]]).astype(bool)
    return together.residuals + together.coefficients[:, chosen] @ together.columns[:, chosen].T, others


def clear_of_mains(frequency: float) -> float:
    """Return a lower frequency, Hz, by half to four fifths, whose tones 1 and 2 are farthest from mains' harmonics."""
    tried = frequency * np.linspace(0.5, 0.8, 31)
    tones = np.concatenate([tried, 2 * tried])
    apart = np.min([np.abs(tones - np.maximum(np.round(tones / mains), 1) * mains) for mains in MAINS], axis=0)
    return float(tried[np.minimum(*np.split(apart, 2)).round(9).argmax()])


def _largest(left: Array, sample_rate: float) -> float | None:
    """Return the frequency of the largest line, Hz, or None where noise explains it."""
    n_samples, n_channels = left.shape[-1], len(left)
    spectrum: NDArray[np.complex128] = np.fft.rfft(left, axis=-1)[:, 1:-1]
    power = np.abs(spectrum) ** 2 / n_samples
    # |X|^2 is exponential in noise: its median is ln 2 of its mean, and lines hardly move it.
    floor = np.median(power, axis=-1, keepdims=True) / np.log(2)
    if not (floor > 0).all():
        return None
    summed = 2 * (power / floor).sum(axis=0)
    best = int(summed.argmax())
    if float(gammaincc(n_channels, summed[best] / 2)) * n_samples > _CHANCE:
        return None
    frequency = (best + 1 + _between(spectrum, floor, best)) * sample_rate / n_samples
    return None if frequency < _FEWEST_PERIODS * sample_rate / n_samples else float(frequency)


def _between(spectrum: NDArray[np.complex128], floor: Array, best: int) -> float:
    """Return where the top lies between the frequencies that a record determines, in their distances, -0.5 to 0.5.

    Jacobsen and Kootsookos (2007), IEEE Signal Processing Magazine 24(3), eq. 3, the channels weighted by their power.
    """
    if not 0 < best < spectrum.shape[1] - 1:
        return 0.0
    before, at, after = spectrum[:, best - 1], spectrum[:, best], spectrum[:, best + 1]
    bend = 2 * at - before - after
    weights = np.abs(bend) ** 2 / floor[:, 0]
    shifts = np.divide(before - after, bend, out=np.zeros_like(bend), where=bend != 0).real
    return float(np.clip((weights * shifts).sum() / max(weights.sum(), 1e-300), -0.5, 0.5))
