"""Records whose truth is known, for what benchmarks/lockin.py claims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.lockin import demodulate
from freqprop_lab.values import Array, Response
from freqprop_lab.waveform import (
    Pulse,
    RectifiedSine,
    TwoTone,
    Waveform,
)

COMMAND = "python benchmarks/lockin.py"
SEED = 20240401
N_SAMPLES, N_PERIODS = 1000, 10
FREQUENCY = 33.0  # Hz: 50, 100 and 150 Hz lie at least 4 cycles over the record away from its first two harmonics
RATE = FREQUENCY * N_SAMPLES / N_PERIODS
AT_ONCE = 256  # records held at a time
PRINTED, CENTRED, TWO_TONE, PULSE = RectifiedSine(), RectifiedSine(centred=True), TwoTone(), Pulse()


# Records whose truth is known.


@dataclass(frozen=True)
class Spoilt:
    """What else is in the records. hum: V, peak, at 49.97 Hz, its second and third harmonics half and a third of it.

    drift: V, from the middle to either end. offset: cycles over the record by which the clocks differ. spikes: share of
    the samples that are 100 V off. missing: share that is not there. clipped: share that lies at the end of the range.
    """

    hum: float = 0.0
    drift: float = 0.0
    offset: float = 0.0
    spikes: float = 0.0
    missing: float = 0.0
    clipped: float = 0.0


@dataclass(frozen=True)
class Truth:
    """volts, (record, channel, sample), and what is true of them, (record, channel) each."""

    volts: Array
    a: Array
    b: Array
    delays: Array
    valid: NDArray[np.bool_] | None
    limits: tuple[Array, Array] | None

    def read(self, waveform: Waveform, **how: Any) -> Response:
        """Demodulate, each record with what is known of it."""
        return demodulate(self.volts, RATE, waveform, FREQUENCY, valid=self.valid, limits=self.limits, **how)


def simulated(
    rng: np.random.Generator,
    waveform: Waveform,
    b: Array,
    *,
    delays: Array | float | None = None,
    spoilt: Spoilt = Spoilt(),
) -> Truth:
    """Make records with error signals b, (record, channel), V, of either sign. delays: periods; None: all random."""
    shape = b.shape
    delays = rng.uniform(size=shape) if delays is None else np.broadcast_to(np.asarray(delays), shape)
    a, share = rng.uniform(-5, 5, shape), np.arange(N_SAMPLES) / N_SAMPLES
    phases = share * (N_PERIODS + spoilt.offset)
    volts = a[..., None] + b[..., None] * waveform.at(phases + delays[..., None])
    volts += rng.standard_normal((*shape, N_SAMPLES))
    if spoilt.hum:
        turns = 49.97 / RATE * np.arange(N_SAMPLES)
        for order in (1, 2, 3):
            start = rng.uniform(size=(*shape, 1))
            volts += spoilt.hum / order * np.sin(2 * np.pi * order * (turns + start))
    if spoilt.drift:
        volts += spoilt.drift * rng.uniform(-1, 1, (*shape, 1)) * (2 * share - 1)
    if spoilt.spikes:
        struck = rng.uniform(size=volts.shape) < spoilt.spikes
        volts += 100.0 * struck * rng.choice([-1.0, 1.0], size=volts.shape)
    valid = rng.uniform(size=volts.shape) >= spoilt.missing if spoilt.missing else None
    limits = None
    if spoilt.clipped:
        top = np.quantile(volts, 1 - spoilt.clipped, axis=(0, 2))
        limits = (np.full(shape[-1], -1e3), top)
        volts = np.minimum(volts, top[:, None])
    return Truth(volts, a, b, delays, valid, limits)


def either_sign(rng: np.random.Generator, sizes: Array) -> Array:
    """Give sizes, V, a random sign each."""
    return sizes * rng.choice([-1.0, 1.0], size=sizes.shape)


def batches(n_records: int, at_once: int = AT_ONCE) -> Iterator[int]:
    """Cut a number of records into what is held at a time."""
    for done in range(0, n_records, at_once):
        yield min(at_once, n_records - done)


def joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Put batches together."""
    return {name: np.concatenate([part[name].ravel() for part in parts]) for name in parts[0]}


def bound_of_b(waveform: Waveform) -> float:
    """Return the least standard error of b that any unbiased reading has, V (Cramer and Rao; noise of 1 V)."""
    return 1 / float(np.sqrt(N_SAMPLES * waveform.variance))
