"""The advice on the nudge drawn: noise falls with its size, bias grows, and each waveform has its best place."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from freqprop_lab.advice import Advice
from freqprop_lab.report._libraries import require_libraries

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")


def draw_advice(advice: Advice, path: Path) -> Path:
    """Draw the error of the gradient by gamma for every waveform, the chosen places marked. Returns path.

    Raises MissingExtraError without the extra `report`.
    """
    require_libraries()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    best = advice.best
    n_samples = best.samples_per_period * best.periods
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    alone, together = figure.subplots(1, 2)
    trade = advice.trades[best.waveform]
    noise = trade.noise / np.sqrt(n_samples)
    total = np.sqrt(noise**2 + trade.bias**2 + best.relaxation**2)
    alone.loglog(trade.gammas, noise, "--", color=_COLOURS[0], label="noise")
    if trade.bias.any():
        alone.loglog(trade.gammas, trade.bias, "-.", color=_COLOURS[1], label="bias of the network's bends")
    if best.relaxation:
        alone.axhline(best.relaxation, linestyle=":", color=_COLOURS[2], label="relaxation")
    alone.loglog(trade.gammas, total, color="black", label="all together")
    alone.plot(best.gamma, best.error, "o", color="black")
    alone.set_title(f"{best.waveform}, {n_samples} samples")
    for number, choice in enumerate(advice.choices):
        each = advice.trades[choice.waveform]
        colour = _COLOURS[number % len(_COLOURS)]
        error = np.sqrt(each.noise**2 / n_samples + each.bias**2 + choice.relaxation**2)
        together.loglog(each.gammas, error, color=colour, label=choice.waveform)
    together.set_title(f"every waveform, {n_samples} samples")
    for axes in (alone, together):
        axes.axhline(advice.error, color="#888888", linewidth=1)
        axes.annotate("wished", (trade.gammas[0], advice.error), textcoords="offset points", xytext=(0, 3))
        axes.set_xlabel("gamma (task units)")
        axes.set_ylabel("relative error of the gradient")
        axes.set_ylim(min(0.3 * advice.error, 0.5 * float(total.min())), 3)
        axes.grid(color="#dddddd")
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    return path
