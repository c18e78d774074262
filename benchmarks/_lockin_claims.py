"""What the lock-in gets out of noise: one function for each claim of docs/lock-in.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from _campaign import Row
from _lockin_records import (
    AT_ONCE,
    CENTRED,
    COMMAND,
    FREQUENCY,
    PRINTED,
    PULSE,
    RATE,
    SEED,
    TWO_TONE,
    Spoilt,
    batches,
    bound_of_b,
    either_sign,
    joined,
    simulated,
)

from freqprop_lab.lockin import demodulate
from freqprop_lab.values import Array, Response
from freqprop_lab.waveform import (
    Pulse,
    Sawtooth,
    Sine,
    Square,
    Triangle,
    TwoTone,
    Waveform,
    distinguishability,
)

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
    spoilt: Spoilt = field(default_factory=Spoilt)
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
