"""Figure 2 of the paper for any run: the network before and after, its errors and its accuracies by epoch.

Drawn without pyplot, so no window, no global state and no display is needed.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from freqprop_lab.report._libraries import require_libraries
from freqprop_lab.report._network_panel import NetworkDrawing
from freqprop_lab.report._summary import Summary, column, step_errors, summarise
from freqprop_lab.runs import Run
from freqprop_lab.values import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_SIZE = (16.0, 12.0)  # inches
_DPI = (100, 75, 50)  # 1600 x 1200 pixels, and fewer
_STYLE = {
    "font.size": 14,
    "axes.titlesize": 17,
    "axes.titlelocation": "left",
    "axes.labelsize": 15,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "lines.linewidth": 2,
    "figure.titlesize": 19,
}
_FEW_EPOCHS = 40  # up to here single points are marked
_FEW_BELOW = 0.005  # share of the steps below the axis that is not worth a word
_BLUE, _ORANGE, _GREEN, _VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
# Score, name in the legend, colour, line, marker, width: apart even where curves lie on one another.
_Curve = tuple[str, str, str, str, str, float]
_ACCURACIES: tuple[_Curve, ...] = (
    ("test_accuracy", "test examples", _BLUE, "-", "o", 3.5),
    ("test_accuracy_as_published", "test examples, as published", _ORANGE, "--", "s", 2.0),
    ("train_accuracy", "training examples", _GREEN, ":", "^", 2.5),
)
_ERRORS: tuple[_Curve, ...] = (
    ("test_error", "test examples", _BLUE, "-", "o", 3.0),
    ("error", "training examples", _GREEN, "--", "^", 2.0),
)


def draw_figure(run: Run) -> Figure:
    """Draw a run. Raises MissingExtraError without the extra `report`, RunError where the run can't be read."""
    require_libraries()
    figure = compose(summarise(run))
    # Ticks are made when first drawn; made here, they are ours whatever style the caller saves the figure with.
    with _own_style():
        figure.draw_without_rendering()
    return figure


def compose(summary: Summary) -> Figure:
    """Draw the four panels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    start = summary.run.start
    with _own_style():
        figure = Figure(_SIZE, _DPI[0], layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.12))
        FigureCanvasAgg(figure)
        figure.suptitle(summary.headline, parse_math=False)
        rows = figure.add_gridspec(2, 1, height_ratios=[1.25, 1.0])
        upper, lower = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
        drawing = NetworkDrawing(start["network"])
        colours = _colour_scale(summary.before, summary.after)
        panels = upper.subplots(1, 2)
        titles = ("(a) before training", f"(b) {summary.ended}")
        for axes, conductances, title in zip(panels, (summary.before, summary.after), titles, strict=True):
            axes.set_title(title)
            if drawing.too_large:
                _draw_distribution(axes, conductances, colours)
            else:
                drawing.draw(axes, conductances, colours)
        beyond = "min" if min(summary.before.min(initial=1), summary.after.min(initial=1)) <= 0 else "neither"
        upper.colorbar(colours, ax=panels, label="conductance of the tunable branches (S)", pad=0.01, extend=beyond)
        if not drawing.too_large:
            upper.legend(handles=drawing.legend(), loc="outside lower center", ncols=6, frameon=False)
        errors, scores = lower.subplots(1, 2)
        _draw_errors(errors, summary)
        _draw_scores(scores, summary)
    return figure


def png_of(figure: Figure, largest: int | None = None) -> bytes:
    """Return a figure as a PNG; with coarser pixels where it would have more than `largest` bytes."""
    for dpi in _DPI if largest is not None else _DPI[:1]:
        figure.set_dpi(dpi)
        with _own_style():
            figure.canvas.draw()
        png = _encoded(figure)
        if largest is None or len(png) <= largest:
            break
    return png


def _encoded(figure: Figure) -> bytes:
    from PIL import Image  # noqa: PLC0415 - comes with matplotlib

    buffer = io.BytesIO()
    # Without the alpha channel, which is opaque throughout, the file is a tenth smaller.
    pixels = np.ascontiguousarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])  # type: ignore[attr-defined]
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


@contextmanager
def _own_style() -> Iterator[None]:
    """Keep a person's own matplotlib settings out: TeX or a dark style would change what the report looks like."""
    from matplotlib import style  # noqa: PLC0415

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # A name in a script that the font lacks is shown as boxes; the page has it in full.
        warnings.filterwarnings("ignore", "Glyph")
        yield


def _colour_scale(before: Array, after: Array) -> ScalarMappable:
    """Return a logarithmic scale from the smallest to the largest conductance of both states, S."""
    from matplotlib import colormaps  # noqa: PLC0415
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.colors import LogNorm  # noqa: PLC0415

    both = np.concatenate([before, after])
    drawable = both[np.isfinite(both) & (both > 0)]
    low, high = (float(drawable.min()), float(drawable.max())) if len(drawable) else (1.0, 1.0)
    if low == high:
        low, high = low / 2, high * 2
    # Reversed: on white paper what conducts well is dark, and what hardly conducts is pale.
    colours = colormaps["viridis_r"].with_extremes(bad="#bbbbbb")
    return ScalarMappable(LogNorm(low, high), colours)


def _draw_distribution(axes: Axes, conductances: Array, colours: ScalarMappable) -> None:
    """Draw how many branches have which conductance, for networks in which single branches can't be seen."""
    edges = np.geomspace(colours.norm.vmin or 1.0, colours.norm.vmax or 1.0, 41)
    counts, _ = np.histogram(conductances, edges)
    middles = np.sqrt(edges[1:] * edges[:-1])
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours.to_rgba(middles), edgecolor="#666666")
    axes.set(xscale="log", xlabel="conductance (S)", ylabel="number of branches", axisbelow=True)


def _draw_errors(axes: Axes, summary: Summary) -> None:
    what = "cross-entropy cost" if summary.costs_only else "error"
    axes.set(title=f"(c) {what} of the training examples", xlabel="epoch", ylabel=f"{what} (task V)")
    places, values = step_errors(summary)
    if not len(values):
        _say_nothing_there(axes, "no step was made")
        return
    epochs = np.array([line["epoch"] for line in summary.epoch_lines], dtype=np.float64)
    means = np.array([line["error"] for line in summary.epoch_lines], dtype=np.float64)
    n_below = _scale(axes, means if len(means) else values, values)
    below = f" ({n_below / len(values):.0%} lie below)" if n_below > _FEW_BELOW * len(values) else ""
    dots = axes.plot(places, values, ".", color=_BLUE, label=f"single steps{below}")
    dots[0].set(alpha=0.35, markersize=5, markeredgewidth=0)
    # A mean over an epoch belongs to its middle, as the steps that it is made of do.
    marker = "o" if len(means) <= _FEW_EPOCHS else ""
    axes.plot(epochs - 0.5, means, color=_VERMILLION, marker=marker, linewidth=2.5, label="mean of the epoch")
    axes.set_xlim(0, places[-1] * 1.01)
    legend = axes.legend(loc="upper right", framealpha=0.9)
    for line in legend.get_lines():
        line.set(alpha=1, markersize=8)


def _scale(axes: Axes, curve: Array, dots: Array) -> int:
    """Choose a logarithmic axis where the values span more than a decade, with room for a legend above.

    The axis ends a decade and a half below the curve, or single lucky steps would press all others against its upper
    edge; returns how many dots lie below.
    """
    values = np.concatenate([curve, dots])
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        return 0
    low, high = float(positive.min()), float(positive.max())
    if high <= 10 * low:
        axes.set_ylim(0, high * 1.3)
        return 0
    low = max(low, float(curve[curve > 0].min(initial=high)) / 30)
    axes.set_yscale("log")
    axes.set_ylim(low / 1.3, high * (high / low) ** 0.25)
    return int((dots < low).sum())


def _draw_scores(axes: Axes, summary: Summary) -> None:
    curves = _ACCURACIES if summary.predicts_classes else _ERRORS
    axes.set(xlabel="epoch")
    axes.locator_params("x", integer=True)
    if summary.predicts_classes:
        axes.set(title="(d) accuracy", ylabel="share of right answers")
    else:
        axes.set(title="(d) error of the examples, evaluated", ylabel="error (task V)")
    drawn = []
    for name, label, colour, line, marker, width in curves:
        epochs, values = column(summary, name)
        if len(values):
            marked = marker if len(values) <= _FEW_EPOCHS else ""
            axes.plot(
                epochs,
                values,
                line,
                color=colour,
                marker=marked,
                linewidth=width,
                markersize=8,
                label=label,
                clip_on=False,
            )
            drawn.append(values)
    if not drawn:
        _say_nothing_there(axes, "nothing was evaluated")
        return
    axes.set_xlim(0, max(summary.epochs, 1) * 1.01)
    if summary.predicts_classes:
        lowest = min(float(values.min()) for values in drawn)
        axes.set_ylim(max(0.0, lowest - 0.5 * max(1 - lowest, 0.1)), 1.01)
        axes.legend(loc="lower right", framealpha=0.9)
    else:
        _scale(axes, np.concatenate(drawn), np.zeros(0))
        axes.legend(loc="upper right", framealpha=0.9)


def _say_nothing_there(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color="#555555")
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
