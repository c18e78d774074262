"""How fast the lock-in is, beside peers in the same run."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _campaign import Row
from _lockin_records import (
    COMMAND,
    FREQUENCY,
    N_SAMPLES,
    RATE,
    SEED,
    TWO_TONE,
    Truth,
    either_sign,
    simulated,
)

from freqprop_lab.lockin import demodulate
from freqprop_lab.values import Array, Response

# 8. Speed, each beside a peer, the two in turn within one run.


def ratio(ours: Callable[[], Any], peer: Callable[[], Any], n_pairs: int, n_inside: int = 1) -> tuple[float, float]:
    """Return the median of the ratios peer / ours, and our median time in seconds; n_inside: calls of ours a pair."""
    ours(), peer()
    ratios, times = [], []
    for _ in range(n_pairs):
        began = time.perf_counter()
        for _ in range(n_inside):
            ours()
        middle = time.perf_counter()
        peer()
        times.append((middle - began) / n_inside)
        ratios.append((time.perf_counter() - middle) / times[-1])
    return float(np.median(ratios)), float(np.median(times))


def forty_channels() -> tuple[Truth, Array]:
    """Return 40 two-tone channels of 1000 samples at SNR 3, each with its own delay, and the phases of the samples."""
    rng = np.random.default_rng(SEED + 9)
    truth = simulated(rng, TWO_TONE, either_sign(rng, np.full((1, 40), 3.0)))
    return truth, np.arange(N_SAMPLES) * FREQUENCY / RATE


def curve_fit_each(truth: Truth, phases: Array) -> Array:
    """Fit a, b and delay of each channel by scipy, started at the right answer."""
    from scipy.optimize import curve_fit

    def model(p: Array, a: float, b: float, delay: float) -> Array:
        return a + b * two_tone_by_hand(p + delay)

    starts = np.stack([truth.a[0], truth.b[0], truth.delays[0]], axis=1)
    channels = zip(truth.volts[0], starts, strict=True)
    return np.array([curve_fit(model, phases, volts, start)[0] for volts, start in channels])


def lstsq_each(truth: Truth, phases: Array, ready: Sequence[Array] | None = None) -> Array:
    """Fit a and b of each channel by numpy.linalg.lstsq with the delays given; ready: the columns, made beforehand."""
    found = []
    for channel, volts in enumerate(truth.volts[0]):
        X = columns_of(phases, float(truth.delays[0, channel])) if ready is None else ready[channel]
        found.append(np.linalg.lstsq(X, volts, rcond=None)[0])
    return np.array(found)


def columns_of(phases: Array, delay: float) -> Array:
    return np.stack([np.ones(len(phases)), two_tone_by_hand(phases + delay)], axis=1)


PEAK = float(np.abs(TWO_TONE.harmonics(1)[0]) * 2) ** -1


def two_tone_by_hand(p: Array) -> Array:
    """Return two tones as a script would write them, without this project's ado: the peers' columns."""
    x = 2 * np.pi * p
    return np.asarray((np.sin(x) + 0.65 * np.sin(2 * x)) / PEAK)


def speed(n_pairs: int) -> list[Row]:
    truth, phases = forty_channels()
    volts = truth.volts[0]
    ready = [columns_of(phases, float(delay)) for delay in truth.delays[0]]
    told = "40 channels x 1000 samples, two-tone, delay unknown, standard errors"

    def ours() -> Response:
        return demodulate(volts, RATE, TWO_TONE, FREQUENCY, synchronised=False)

    peers: dict[str, Callable[[], Any]] = {
        "scipy curve_fit for each channel, started at the truth": lambda: curve_fit_each(truth, phases),
        "numpy lstsq for each channel, delays given": lambda: lstsq_each(truth, phases),
        "numpy lstsq for each channel, delays given, columns ready": lambda: lstsq_each(truth, phases, ready),
    }
    rows = []
    for name, peer in peers.items():
        times, each = ratio(ours, peer, n_pairs, 10)
        rows.append(Row(f"{told}: {name} / ours", f"{times:.0f}x ({each * 1e3:.3f} ms ours)", COMMAND))
    rows += [row for n_channels in (40, 4000) for row in beside_the_product(n_channels, n_pairs)]
    return rows


def beside_the_product(n_channels: int, n_pairs: int) -> list[Row]:
    """Compare a synchronised reading with the bare real matrix product (channel, sample) @ (sample, 5)."""
    volts = simulated(np.random.default_rng(SEED + 10), TWO_TONE, np.full((1, n_channels), 3.0), delays=0.0).volts[0]
    basis = np.random.default_rng(0).standard_normal((N_SAMPLES, 5))
    rows = []
    for method in ("harmonic", "projection"):

        def read(method: str = method) -> Response:
            return demodulate(volts, RATE, TWO_TONE, FREQUENCY, synchronised=True, method=method)

        n_inside = 20 if n_channels < 1000 else 1
        times, _ = ratio(lambda: volts @ basis, read, n_pairs, n_inside)
        claim = f"{n_channels} channels x 1000 samples, synchronised, {method}: ours / matrix product (sample, 5)"
        rows.append(Row(claim, f"{times:.1f}x", COMMAND))
    return rows


def memory(n_channels: int) -> list[Row]:
    """Return time and peak memory beside the input of many channels in one call."""
    volts = np.random.default_rng(SEED + 11).standard_normal((n_channels, N_SAMPLES))
    demodulate(volts[:40], RATE, TWO_TONE, FREQUENCY, synchronised=False)
    began = time.perf_counter()
    demodulate(volts, RATE, TWO_TONE, FREQUENCY, synchronised=False)
    seconds = time.perf_counter() - began
    tracemalloc.start()
    demodulate(volts, RATE, TWO_TONE, FREQUENCY, synchronised=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = f"{volts.nbytes / 1e6:.0f} MB"
    claim = f"{n_channels} channels x 1000 samples ({size}), delay unknown: time, peak memory beside it"
    return [Row(claim, f"{seconds:.1f} s, {peak / 1e6:.0f} MB", COMMAND)]
