"""The plots of docs/lock-in.md, drawn from the functions that make its figures: python benchmarks/lockin.py --plots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _lockin_claims as claims
import matplotlib as mpl
import numpy as np
from _lockin_iris import iris_signs, wrong_by_strength
from matplotlib.figure import Figure

from freqprop_lab.waveform import RectifiedSine, Sine, TwoTone, Waveform

_IMAGES = Path(__file__).parent.parent / "docs" / "images"
_STYLE = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e0e0e0",
    "lines.linewidth": 2,
    "legend.frameon": False,
    "axes.titlelocation": "left",
}
_LOOKS = {
    "abs-sine": ("#D55E00", "o", "|sin|, 0 to 1 (as printed)"),
    "centred-abs-sine": ("#E69F00", "s", "2|sin| - 1"),
    "two-tone": ("#0072B2", "^", "two-tone"),
    "pulse": ("#009E73", "v", "pulse, duty 1/4"),
}


@contextmanager
def _page(name: str, width: float, height: float) -> Iterator[Figure]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        figure.savefig(_IMAGES / f"lock-in-{name}.png", dpi=110)
    print(f"drew lock-in-{name}.png")


def draw(*, quick: bool = False) -> None:
    """Draw all of them."""
    few = 200 if quick else 4000
    delay()
    bound(few)
    wrong_signs(few)
    reliability(100 if quick else 5000)
    iris(5 if quick else 75)


def delay() -> None:
    """Draw waveforms, and the delayed inversion that comes nearest to each: what an unknown delay confuses."""
    p = np.linspace(0, 2, 801)
    with _page("delay", 10, 2.9) as figure:
        shown: tuple[tuple[str, Waveform], ...] = (
            ("sine: no difference, D = 0", Sine()),
            ("2|sin| - 1: little, D = 0.24", RectifiedSine(centred=True)),
            ("two-tone: much, D = 0.51", TwoTone()),
        )
        for axes, (title, f) in zip(figure.subplots(1, 3, sharey=True), shown, strict=True):
            late, alike = nearest_inversion(f)
            inverted = f.mean - alike * (f.at(p + late) - f.mean)
            axes.plot(p, f.at(p), color="#0072B2", label="b f(t), b > 0")
            axes.plot(p, inverted, color="#D55E00", linestyle="--", label="b < 0, delayed, best fit")
            axes.fill_between(p, f.at(p), inverted, color="#bbbbbb", alpha=0.5, linewidth=0)
            axes.set(title=title, xlabel="time (periods)")
        figure.axes[0].set_ylabel("part of the record\nthat the nudge makes")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)


def nearest_inversion(f: Waveform) -> tuple[float, float]:
    """Return the delay, periods, at which f about its mean is most like its own inverse, and r, how much it is."""
    p = np.arange(2000) / 2000
    g = f.at(p) - f.mean
    alike = -np.fft.irfft(np.abs(np.fft.rfft(g)) ** 2) / (g @ g)
    return float(p[alike.argmax()]), float(alike.max())


def bound(n_records: int) -> None:
    """Draw the error of b over the bound, by SNR."""
    snrs = (0.5, 1.0, 3.0, 10.0, 30.0)
    with _page("bound", 6.4, 3.6) as figure:
        axes = figure.subplots()
        for f in (claims.TWO_TONE, claims.CENTRED):
            told = [claims.error_over_bound(f, snr, n_records, claims.SEED) for snr in snrs]
            colour, marker, label = _LOOKS[f.name]
            axes.plot(
                snrs, [each["free"] for each in told], color=colour, marker=marker, label=f"{label}, delay unknown"
            )
            axes.plot(
                snrs, [each["tied"] for each in told], color=colour, linestyle=":", label=f"{label}, synchronised"
            )
        axes.axhspan(0.95, 1.05, color="#e8f0e8", zorder=0)
        axes.axhline(1, color="black", linewidth=1)
        axes.set(xscale="log", ylim=(0.85, 1.25), xlabel="SNR = |b| / noise of a sample", ylabel="rmse(b) / bound")
        axes.set_title("The error of b is as small as it can be")
        axes.set_xticks(snrs, [f"{snr:g}" for snr in snrs])
        axes.minorticks_off()
        axes.legend(fontsize=9)


def wrong_signs(n_records: int) -> None:
    """Draw the share of wrong signs by SNR and waveform."""
    with _page("wrong-signs", 6.4, 3.8) as figure:
        axes = figure.subplots()
        for name, shares in claims.wrong_signs_by_snr(n_records).items():
            colour, marker, label = _LOOKS[name]
            seen = [(snr, share) for snr, share in zip(claims.SNRS, shares, strict=True) if share > 0]
            axes.plot(*zip(*seen, strict=True), color=colour, marker=marker, label=label)
        shared = [
            claims.share_of_wrong_signs(claims.TWO_TONE, snr, n_records // 4, claims.SEED + 3, n_sharing=16)
            for snr in (0.05, 0.1, 0.15)
        ]
        colour = _LOOKS["two-tone"][0]
        seen = [(snr, share) for snr, share in zip((0.05, 0.1, 0.15), shared, strict=True) if share > 0]
        axes.plot(*zip(*seen, strict=True), color=colour, linestyle=":", marker="^", label="two-tone, one delay for 16")
        axes.axhline(0.5, color="black", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="SNR = |b| / noise of a sample", ylabel="share of wrong signs")
        axes.set(ylim=(2e-4, 0.7), xlim=(0.045, 1.1), title="1000 samples, delay unknown")
        ticks = (0.05, *claims.SNRS[:-1])
        axes.set_xticks(ticks, [f"{snr:g}" for snr in ticks])
        axes.minorticks_off()
        axes.legend(fontsize=9)


def reliability(n_wanted: int) -> None:
    """Draw how often a sign is right beside how sure the lock-in said that it is."""
    with _page("reliability", 4.6, 4.2) as figure:
        axes = figure.subplots()
        axes.plot((0.5, 1), (0.5, 1), color="black", linewidth=1, label="as it should be")
        for f in (claims.TWO_TONE, claims.PRINTED):
            told = np.array(claims.reliability(f, n_wanted, claims.SEED + 4))
            colour, marker, label = _LOOKS[f.name]
            spread = 2 * np.sqrt(told[:, 1] * (1 - told[:, 1]) / told[:, 2])
            axes.errorbar(told[:, 0], told[:, 1], spread, color=colour, marker=marker, label=label)
        axes.set(xlabel="sign_confidence", ylabel="share of right signs", title="SNR log-uniform, 0.03 to 3")
        axes.legend(fontsize=9)


def iris(n_examples: int) -> None:
    """Draw the wrong signs on a bench that trains Iris."""
    with _page("iris-signs", 6.4, 3.6) as figure:
        axes = figure.subplots()
        for name in ("abs-sine", "two-tone"):
            told = wrong_by_strength(iris_signs(name, n_examples))
            colour, marker, label = _LOOKS[name]
            z, wrong, n = np.array(told).T
            spread: Any = 2 * np.sqrt(wrong * (1 - wrong) / n)
            axes.errorbar(z, wrong, spread, color=colour, marker=marker, label=label)
        axes.axhline(0.5, color="black", linewidth=1)
        axes.set(xscale="log", ylim=(-0.02, 0.6), xlabel="|b| / its standard error", ylabel="share of wrong signs")
        axes.set_title("Iris, 40 nodes, a delay each, 5 mV, 12 bits")
        axes.legend(fontsize=9)
