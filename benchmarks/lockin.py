"""What the lock-in gets out of noise, and how fast: python benchmarks/lockin.py [CLAIM ...] [--quick] [--plots].

CLAIM: waveforms, bound, coverage, signs, calibration, faults, noise, capacitance, speed, iris; all of them where none
is named. Records are 1000 samples of 10 periods, white noise of 1 V rms on every sample. --plots: draw
docs/images/lock-in-*.png instead. --quick: few records, to try the script.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from _campaign import Outcome, Row, run_many
from numpy.typing import NDArray

from freqprop_lab.lockin import demodulate
from freqprop_lab.values import Array, Response
from freqprop_lab.waveform import (
    Pulse,
    RectifiedSine,
    Sawtooth,
    Sine,
    Square,
    Triangle,
    TwoTone,
    Waveform,
    distinguishability,
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


# 0. The waveforms.


def waveforms() -> list[Row]:
    """Return noise, margin of the sign and second-order bias of each waveform, all at the peak 1."""
    named = {
        "sine": Sine(),
        "square": Square(),
        "triangle": Triangle(),
        "abs-sine, 0 to 1": PRINTED,
        "centred abs-sine, -1 to 1": CENTRED,
        "sawtooth": Sawtooth(),
        "pulse, duty 1/4": PULSE,
        "pulse, duty 1/3": Pulse(1 / 3),
        "two-tone, k 0.65": TWO_TONE,
        "two-tone, k 0.6, phi 90 degrees": TwoTone(0.6, np.pi / 2),
    }
    p = (np.arange(1 << 16) + 0.5) / (1 << 16)
    rows = []
    for name, waveform in named.items():
        f = waveform.at(p)
        bias = float(np.mean(f**2 * (f - f.mean())) / f.var())
        told = f"noise {1 / np.sqrt(waveform.variance):.2f}, D {distinguishability(waveform):.2f}, bias {abs(bias):.2f}"
        rows.append(Row(f"waveform {name}: sd(b) sqrt(N) / sigma, D, cov(f, f^2) / var f", told, COMMAND))
    return rows


def cost_of_second_order(waveform: Waveform, seed: int) -> float:
    """Return by what the standard error of b grows where c of a + b f + c f^2 is fitted too, SNR 3, delay unknown."""
    truth = simulated(np.random.default_rng(seed), waveform, np.full((64, 1), 3.0))
    plain, further = (truth.read(waveform, synchronised=False, second_order=order) for order in (False, True))
    return float(np.mean(further.b_stderr / plain.b_stderr))


def second_order() -> list[Row]:
    claim = "standard error of b with second_order / without"
    named = {waveform.name: cost_of_second_order(waveform, SEED) for waveform in (TWO_TONE, PRINTED, CENTRED)}
    return [Row(f"{claim}, {name}", f"{cost:.2f}", COMMAND) for name, cost in named.items()]


# 1. The bound.


def error_over_bound(waveform: Waveform, snr: float, n_records: int, seed: int) -> dict[str, float]:
    """Return rmse of b over its bound, synchronised and with unknown delays, of the records with the right sign."""
    rng, parts = np.random.default_rng(seed), []
    for n in batches(n_records):
        truth = simulated(rng, waveform, either_sign(rng, np.full((n, 1), snr)), delays=0.0)
        free, tied = (truth.read(waveform, synchronised=synchronised) for synchronised in (False, True))
        sign = np.sign(truth.b)
        parts.append({"free": free.b * sign - snr, "tied": tied.b * sign - snr, "b": free.b * sign})
    found = joined(parts)
    right = found["b"] > 0
    rms = {name: float(np.sqrt(np.mean(found[name][right] ** 2))) for name in ("free", "tied")}
    return {name: value / bound_of_b(waveform) for name, value in rms.items()} | {"right": float(right.mean())}


def bound(n_records: int) -> list[Row]:
    rows = []
    for waveform in (TWO_TONE, CENTRED):
        told = {snr: error_over_bound(waveform, snr, n_records, SEED) for snr in (0.5, 1.0, 3.0, 10.0, 30.0)}
        for name, meant in (("tied", "synchronised"), ("free", "delay unknown")):
            figure = ", ".join(f"{found[name]:.3f}" for found in told.values())
            rows.append(Row(f"rmse(b) / bound, {waveform.name}, {meant}, SNR 0.5, 1, 3, 10, 30", figure, COMMAND))
        rows.append(
            Row(
                f"rmse(b) with the delay unknown / synchronised, {waveform.name}, the same records",
                ", ".join(f"{found['free'] / found['tied']:.3f}" for found in told.values()),
                COMMAND,
            )
        )
    return rows


# 2. Coverage of the standard errors.


@dataclass(frozen=True)
class Case:
    """Records and how they are read. n_channels: read together, so that what they share is fitted to all of them."""

    name: str
    waveform: Waveform = TWO_TONE
    spoilt: Spoilt = Spoilt()
    n_channels: int = 1
    how: Mapping[str, Any] = field(default_factory=dict)


COVERED = (
    Case("plain"),
    Case("plain", CENTRED),
    Case("one delay for 16 channels", n_channels=16, how={"shared_delay": True}),
    Case("hum of 5 V", spoilt=Spoilt(hum=5.0), how={"hum": 50.0}),
    Case("drift up to 5 V", spoilt=Spoilt(drift=5.0), how={"drift": 1}),
    Case("10 % of the samples missing", spoilt=Spoilt(missing=0.1)),
    Case("clock offset of 0.3 cycles, fitted", spoilt=Spoilt(offset=0.3), n_channels=8, how={"fit_frequency": True}),
    Case(
        "hum, drift, missing samples and clock offset together",
        spoilt=Spoilt(hum=5.0, drift=5.0, missing=0.1, offset=0.3),
        n_channels=8,
        how={"hum": 50.0, "drift": 1, "fit_frequency": True},
    ),
)


def coverage_of(case: Case, n_wanted: int, seed: int) -> dict[str, float]:
    """Return the shares of 68 and 95 % intervals that hold the truth, where the sign is sure to more than 99 %."""
    from scipy.special import ndtri

    rng, parts, n_sure = np.random.default_rng(seed), [], 0
    while n_sure < n_wanted:
        n_records = max(1, AT_ONCE // case.n_channels)
        sizes = np.exp(rng.uniform(np.log(0.3), np.log(10), (n_records, case.n_channels)))
        shared = rng.uniform(size=(n_records, 1)) if case.how.get("shared_delay") else None
        truth = simulated(rng, case.waveform, either_sign(rng, sizes), delays=shared, spoilt=case.spoilt)
        found = truth.read(case.waveform, synchronised=False, **case.how)
        assert found.sign_confidence is not None
        sure = found.sign_confidence > 0.99
        z = {"a": (found.a - truth.a) / found.a_stderr, "b": (found.b - truth.b) / found.b_stderr}
        parts.append({name: np.abs(value[sure]) for name, value in z.items()})
        n_sure += int(sure.sum())
    scores = joined(parts)
    shares = {"n": float(n_sure)}
    for name, z in scores.items():
        for share in (0.68, 0.95):
            shares[f"{name} {share:.0%}"] = float(np.mean(z < ndtri((1 + share) / 2)))
    return shares


def coverage(n_wanted: int) -> list[Row]:
    rows = []
    for case in COVERED:
        told = coverage_of(case, n_wanted, SEED + 1)
        figure = ", ".join(f"{told[f'{name} {share}']:.1%}" for name in "ba" for share in ("68%", "95%"))
        named = f"{case.waveform.name}, {case.name}"
        claim = f"truth within the 68 and 95 % interval of b, of a (SNR 0.3 to 10, sign sure): {named}"
        rows.append(Row(claim, f"{figure} (n {told['n']:.0f})", COMMAND))
    return rows


# 3. Wrong signs.


def share_of_wrong_signs(waveform: Waveform, snr: float, n_records: int, seed: int, *, n_sharing: int = 0) -> float:
    """Return the share of wrong signs; n_sharing: channels of a record that have one delay, 0: each its own."""
    rng, wrong, n_channels = np.random.default_rng(seed), 0, n_sharing or 1
    for n in batches(n_records, AT_ONCE // n_channels):
        shared = rng.uniform(size=(n, 1)) if n_sharing else None
        truth = simulated(rng, waveform, either_sign(rng, np.full((n, n_channels), snr)), delays=shared)
        found = truth.read(waveform, synchronised=False, shared_delay=n_sharing > 0)
        wrong += int((found.b * truth.b <= 0).sum())
    return wrong / (n_records * n_channels)


SNRS = (0.1, 0.2, 0.3, 0.5, 1.0, 3.0)


def wrong_signs_by_snr(n_records: int) -> dict[str, list[float]]:
    return {
        waveform.name: [share_of_wrong_signs(waveform, snr, n_records, SEED + 2) for snr in SNRS]
        for waveform in (PRINTED, CENTRED, TWO_TONE, PULSE)
    }


def signs(n_records: int) -> list[Row]:
    rows = []
    for name, shares in wrong_signs_by_snr(n_records).items():
        figure = ", ".join(f"{share:.4f}" for share in shares)
        told = ", ".join(map(str, SNRS))
        rows.append(Row(f"share of wrong signs, {name}, a delay each, SNR {told}", figure, COMMAND))
    for snr in (0.1, 0.3):
        shared = share_of_wrong_signs(TWO_TONE, snr, n_records, SEED + 3, n_sharing=16)
        claim = f"share of wrong signs, two-tone, SNR {snr}, one delay for 16 channels, {n_records} records"
        rows.append(Row(claim, f"{shared:.5f} of {16 * n_records} signs", COMMAND))
    return rows


# 4. What sign_confidence means.

BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)


def reliability(waveform: Waveform, n_wanted: int, seed: int) -> list[tuple[float, float, int]]:
    """Return mean confidence, share of right signs and number of records in each bin, SNR log-uniform 0.03 to 3.

    Goes on until n_wanted records have a confidence of 0.9 to 0.95.
    """
    rng, parts, n_there = np.random.default_rng(seed), [], 0
    while n_there < n_wanted:
        sizes = np.exp(rng.uniform(np.log(0.03), np.log(3), (8 * AT_ONCE, 1)))
        truth = simulated(rng, waveform, either_sign(rng, sizes))
        found = truth.read(waveform, synchronised=False)
        assert found.sign_confidence is not None
        parts.append({"confidence": found.sign_confidence, "right": (found.b * truth.b > 0).astype(float)})
        n_there += int(((found.sign_confidence >= 0.9) & (found.sign_confidence < 0.95)).sum())
    scores = joined(parts)
    told = []
    for low, high in pairwise(BINS):
        there = (scores["confidence"] >= low) & ((scores["confidence"] < high) | (high == 1.0))
        if there.any():
            said, right = scores["confidence"][there].mean(), scores["right"][there].mean()
            told.append((float(said), float(right), int(there.sum())))
    return told


def calibration(n_wanted: int) -> list[Row]:
    rows = []
    for waveform in (TWO_TONE, PRINTED):
        for said, right, n in reliability(waveform, n_wanted, SEED + 4):
            claim = f"right signs, {waveform.name}, SNR log-uniform 0.03 to 3, where sign_confidence is {said:.3f}"
            rows.append(Row(claim, f"{right:.3f} (n {n})", COMMAND))
    return rows


# 5. Faults of real benches.


def rms_with_spikes(snr: float, n_records: int, seed: int) -> dict[str, float]:
    """Return rmse of b over that of the same records without spikes, read robustly and not."""
    errors: dict[str, list[Array]] = {"clean": [], "robust": [], "plain": []}
    rng = np.random.default_rng(seed)
    for n in batches(n_records):
        b = either_sign(rng, np.full((1, n), snr))
        again = rng.integers(1 << 32)
        clean = simulated(np.random.default_rng(again), TWO_TONE, b)
        spiked = simulated(np.random.default_rng(again), TWO_TONE, b, spoilt=Spoilt(spikes=0.01))
        errors["clean"].append((clean.read(TWO_TONE, synchronised=False).b - b).ravel())
        errors["robust"].append((spiked.read(TWO_TONE, synchronised=False, robust=True).b - b).ravel())
        errors["plain"].append((spiked.read(TWO_TONE, synchronised=False).b - b).ravel())
    rms = {name: float(np.sqrt(np.mean(np.concatenate(parts) ** 2))) for name, parts in errors.items()}
    return {"robust": rms["robust"] / rms["clean"], "plain": rms["plain"] / rms["clean"]}


def bias_when_clipped(snr: float, n_records: int, seed: int, *, told: bool = True) -> dict[str, float]:
    """Return the mean error of b in standard errors of a record, and its rms; 16 % of the samples at the end."""
    rng, off, sizes = np.random.default_rng(seed), [], []
    for n in batches(n_records):
        b = np.full((1, n), snr)
        truth = simulated(rng, TWO_TONE, b, spoilt=Spoilt(clipped=0.16))
        volts = truth.volts
        how = {"limits": truth.limits} if told else {}
        found = demodulate(volts, RATE, TWO_TONE, FREQUENCY, synchronised=False, **how)
        off.append((found.b - b).ravel())
        sizes.append(found.b_stderr.ravel())
    error, stderr = np.concatenate(off), np.concatenate(sizes)
    return {"bias": float(error.mean() / stderr.mean()), "rms": float(error.std() / stderr.mean())}


def cost_of_hum(snr: float, n_records: int, seed: int) -> dict[str, float]:
    """Return rmse of b with hum of 10 b fitted over that without hum, same noise, and the ratio of standard errors."""
    rng, plain, hummed, sizes = np.random.default_rng(seed), [], [], []
    for n in batches(n_records, 16):
        b = either_sign(rng, np.full((n, 8), snr))
        again = rng.integers(1 << 32)
        without = simulated(np.random.default_rng(again), TWO_TONE, b)
        with_hum = simulated(np.random.default_rng(again), TWO_TONE, b, spoilt=Spoilt(hum=10 * snr))
        first = without.read(TWO_TONE, synchronised=False)
        second = with_hum.read(TWO_TONE, synchronised=False, hum=50.0)
        plain.append((first.b - b).ravel())
        hummed.append((second.b - b).ravel())
        sizes.append((second.b_stderr / first.b_stderr).ravel())
    rms = [float(np.sqrt(np.mean(np.concatenate(parts) ** 2))) for parts in (hummed, plain)]
    return {"rmse": rms[0] / rms[1], "stderr": float(np.concatenate(sizes).mean())}


def faults(n_records: int) -> list[Row]:
    rows = []
    for snr in (1.0, 3.0, 30.0):
        spikes = rms_with_spikes(snr, n_records, SEED + 5)
        claim = f"rmse(b), 1 % of the samples 100 sigma off / none, two-tone, SNR {snr:g}: robust, not robust"
        rows.append(Row(claim, f"{spikes['robust']:.3f}, {spikes['plain']:.1f}", COMMAND))
    for snr in (3.0, 10.0, 30.0):
        there, ignored = (bias_when_clipped(snr, n_records, SEED + 6, told=told) for told in (True, False))
        claim = f"bias of b in standard errors, 16 % of the samples clipped, SNR {snr:g}: limits told, not told"
        rows.append(Row(claim, f"{there['bias']:.2f} (scatter {there['rms']:.2f}), {ignored['bias']:.1f}", COMMAND))
    for snr in (1.0, 10.0):
        hum = cost_of_hum(snr, n_records, SEED + 7)
        claim = f"hum of 10 b fitted / no hum, SNR {snr:g}: rmse(b), standard error of b"
        rows.append(Row(claim, f"{hum['rmse']:.3f}, {hum['stderr']:.3f}", COMMAND))
    return rows


# 6. Noise alone trains nothing.


def drift_by_noise(
    n_steps: int, seed: int, *, synchronised: bool, free: bool = False
) -> dict[str, tuple[float, float]]:
    """Return the mean update of a conductance in n_steps of |sin| with nothing but noise, and its standard error.

    Units of alpha sigma^2 / N. "subtracted": by the rule as it is; "as read": without taking 2 cov(a, b) off. free: a
    comes from the free record. A network of 10 nodes and 20 branches, 100 samples a record, all nodes read.
    """
    from freqprop_lab.network import barabasi_albert
    from freqprop_lab.rules import FrequencyPropagation

    rng, n_samples = np.random.default_rng(seed), 100
    network = barabasi_albert(10, 20, 1.0, rng)
    rule = FrequencyPropagation(network, 1.0, 1.0, PRINTED, free_activation=free)
    a = rng.uniform(-1, 1, 10)
    updates: dict[str, list[Array]] = {"subtracted": [], "as read": []}
    for n in batches(n_steps, 1000):
        volts = a[:, None] + rng.standard_normal((n, 10, n_samples))
        found = demodulate(volts, n_samples * 1.0, PRINTED, 5.0, synchronised=synchronised)
        rest = a + rng.standard_normal((n, 10)) / np.sqrt(n_samples)
        for i in range(n):
            bias = None if found.product_bias is None else found.product_bias[i]
            nudged = Response(found.a[i], found.b[i], found.covariance[i], product_bias=bias)
            unaware = Response(found.a[i], found.b[i], found.covariance[i] * np.eye(2))
            resting = Response(rest[i], np.zeros(10), np.zeros((10, 2, 2)))
            updates["subtracted"].append(-rule._product(resting, nudged))
            updates["as read"].append(-rule._product(resting, unaware))
    told = {}
    for name, steps in updates.items():
        each = np.array(steps).mean(axis=1) * n_samples  # branches share nodes: only the steps are independent
        told[name] = float(each.mean()), float(each.std(ddof=1) / np.sqrt(n_steps))
    return told


def noise(n_steps: int) -> list[Row]:
    rows = []
    for synchronised, free in ((True, False), (False, False), (False, True)):
        told = drift_by_noise(n_steps, SEED + 8, synchronised=synchronised, free=free)
        how = ("synchronised" if synchronised else "delay unknown") + (", a from the free record" if free else "")
        figure = ", ".join(f"{mean:.2f} +- {stderr:.2f}" for mean, stderr in told.values())
        claim = (
            f"mean update by noise alone in {n_steps} steps of |sin|, alpha sigma^2 / N, {how}: by the rule, as read"
        )
        rows.append(Row(claim, figure, COMMAND))
    return rows


# 7. Capacitance: what extrapolation leaves on one pole.


def left_after_extrapolation(omega_tau: Sequence[float]) -> float:
    """Return the relative error of b left by extrapolation from these frequencies, one pole, no noise."""
    from freqprop_lab.lockin import extrapolate_to_static

    x = np.array(omega_tau)
    responses = [Response(np.zeros(1), np.array([1 / (1 + each**2)]), np.zeros((1, 2, 2))) for each in x]
    b = extrapolate_to_static(responses, x).b if len(x) > 1 else responses[0].b
    return float(b[0] - 1)


def capacitance() -> list[Row]:
    rows = []
    for omega_tau in ((0.3,), (0.15, 0.3), (0.15, 0.225, 0.3), (0.3, 0.6)):
        claim = f"relative error of b on one pole, read at omega tau {', '.join(map(str, omega_tau))}"
        if len(omega_tau) > 1:
            claim += ", extrapolated"
        rows.append(Row(claim, f"{left_after_extrapolation(omega_tau):+.3%}", COMMAND))
    return rows


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


# 9. Iris on a bench where no node's delay is known.

IRIS = {
    "noise-free, synchronised sine": {},
    "two-tone": {"nudge.waveform": "two-tone"},
    "abs-sine, as printed": {"nudge.waveform": "abs-sine"},
    "two-tone, delays learned first": {"nudge.waveform": "two-tone", "nudge.learn_delays": 3.0},
}


def iris_changes(name: str, seed: int, epochs: int) -> dict[str, Any]:
    """Return the changes to the template iris for one of the cases; all but the first on the real bench."""
    bench: dict[str, Any] = {"network": {"kind": "barabasi-albert", "nodes": 40, "edges": 239}}
    changes = {"seed": seed, "epochs": epochs, "evaluate_every": epochs, "rule.alpha": 0.1, **IRIS[name]}
    if IRIS[name]:
        bench["sampling"] = {"samples_per_period": 100, "periods": 10}
        bench["meter"] = {"synchronised": False, "delays": "each", "noise": "5 mV", "bits": 12}
        changes["nudge.unsynchronised"] = True
    return {**changes, "bench": bench}


def iris(seeds: range, epochs: int) -> list[Row]:
    cases = [(name, seed) for name in IRIS for seed in seeds]
    outcomes = run_many("iris", [iris_changes(name, seed, epochs) for name, seed in cases])
    found: dict[str, list[Outcome]] = {name: [] for name in IRIS}
    for (name, _), outcome in zip(cases, outcomes, strict=True):
        found[name].append(outcome)
    title = f"Iris, 239 edges, alpha 0.1, {epochs} epochs, a delay each, 5 mV, 12 bits, seeds {seeds[0]} to {seeds[-1]}"
    rows = []
    for name, runs in found.items():
        errors = ", ".join(f"{run.untrained['error']:.4f} -> {run.trained['error']:.4f}" for run in runs)
        accuracies = ", ".join(f"{run.trained['test_accuracy']:.3f}" for run in runs)
        rows.append(Row(f"{title}: {name}: error (V), test accuracy", f"{errors}; {accuracies}", COMMAND))
    return rows


def iris_signs(waveform: str, n_examples: int, seed: int = 0) -> dict[str, Array]:
    """Return |b| / its standard error and whether the sign is right, of all free nodes at the first conductances.

    The truth comes from the same network on an ideal, synchronised bench.
    """
    from importlib.resources import files
    from pathlib import Path

    from freqprop_lab.config import parse_experiment
    from freqprop_lab.session import load_bench, prepare
    from freqprop_lab.values import Drive, Nudge

    text = (files("freqprop_lab") / "data" / "templates" / "iris.yaml").read_text(encoding="utf-8")
    name = {"two-tone": "two-tone", "abs-sine": "abs-sine, as printed"}[waveform]
    parts = []
    real, ideal = (
        parse_experiment(text, Path("iris.yaml")).with_changes(
            {tuple(key.split(".")): value for key, value in iris_changes(each, seed, 1).items()}
        )
        for each in (name, "noise-free, synchronised sine")
    )
    with load_bench(None, real) as bench, load_bench(None, ideal) as exact:
        job, true_job = prepare(real, bench), prepare(ideal, exact)
        start = job.first_conductances()
        bench.program(start)
        trainer, _ = true_job.begin(start)
        held = np.unique(np.concatenate(bench.network.input_ends))
        targets = true_job.task.targets(trainer.state.by_class)
        for levels, target in zip(true_job.task.levels[:n_examples], targets, strict=False):
            outputs = bench.network.read_outputs(exact.respond(Drive(levels)).a)
            truth = exact.respond(Drive(levels, Nudge(target - outputs, true_job.waveform)))  # gamma 1, squared cost
            found = bench.respond(Drive(levels, Nudge(target - outputs, job.waveform)))
            free = np.setdiff1d(np.arange(len(found.b)), held)
            plain = bound_of_b(job.waveform) * found.noise
            right = (found.b * truth.b > 0).astype(float)
            parts.append({"z": (np.abs(truth.b) / plain)[free], "right": right[free]})
    return joined(parts)


STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, np.inf)  # |b| over its standard error


def wrong_by_strength(scores: Mapping[str, Array]) -> list[tuple[float, float, int]]:
    """Return the median |b| / stderr, the share of wrong signs and the number of readings in each bin."""
    told = []
    for low, high in pairwise(STRENGTHS):
        there = (scores["z"] >= low) & (scores["z"] < high)
        if there.any():
            told.append(
                (float(np.median(scores["z"][there])), 1 - float(scores["right"][there].mean()), int(there.sum()))
            )
    return told


def signs_on_iris(n_examples: int) -> list[Row]:
    rows = []
    for name in ("two-tone", "abs-sine"):
        scores = iris_signs(name, n_examples)
        told = ", ".join(f"{z:.1f}: {wrong:.3f} (n {n})" for z, wrong, n in wrong_by_strength(scores))
        rows.append(Row(f"Iris, untrained, {name}: share of wrong signs by |b| / stderr", told, COMMAND))
        rows.append(
            Row(f"Iris, untrained, {name}: share of wrong signs in all", f"{1 - scores['right'].mean():.3f}", COMMAND)
        )
    return rows


# All of it.


def rows(*, quick: bool = False, only: Sequence[str] = ()) -> list[Row]:
    """Return the rows for docs/figures.md; quick: few records, to try the script; only: claims by name."""
    few, many = (200, 200) if quick else (4000, 5000)
    claims: dict[str, Callable[[], list[Row]]] = {
        "waveforms": lambda: waveforms() + second_order(),
        "bound": lambda: bound(few),
        "coverage": lambda: coverage(few),
        "signs": lambda: signs(few),
        "calibration": lambda: calibration(20 if quick else many),
        "faults": lambda: faults(few),
        "noise": lambda: noise(500 if quick else 10_000),
        "capacitance": capacitance,
        "speed": lambda: speed(5 if quick else 60) + memory(4000 if quick else 100_000),
        "iris": lambda: signs_on_iris(5 if quick else 75) + iris(range(2), 1 if quick else 150),
    }
    return [row for name, claim in claims.items() if not only or name in only for row in claim()]


if __name__ == "__main__":
    if "--plots" in sys.argv:
        from _lockin_plots import draw

        draw(quick="--quick" in sys.argv)
    else:
        print(f"seed {SEED}")
        for row in rows(quick="--quick" in sys.argv, only=[name for name in sys.argv[1:] if not name.startswith("-")]):
            print(f"{row.claim:120} {row.figure}", flush=True)
