"""What a lock-in made of a record, drawn: samples folded onto the nudge's period, the fit over them, what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from freqprop_lab.report._libraries import require_libraries
from freqprop_lab.report._quantities import Scale, flag_words, scale_of
from freqprop_lab.values import Array, Flag, Response
from freqprop_lab.waveform import Waveform

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_CHANNELS = 8
_MOST_POINTS = 6000
_MANY = 1500  # samples from which on means are shown, for the noise would hide what is wrong
_CHANCE, _ROUNDING = 1e-6, 1e-9
_PARTS = 40  # of a period, each with its mean
_BLUE, _ORANGE, _VERMILLION = "#0072B2", "#E69F00", "#D55E00"
_OUTLIER, _NEAR_THE_END = 4.5, 3.0  # standard deviations, as the lock-in has them
_HUM_WANDERS = 0.01  # relative, likewise
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "figure.titlesize": 12,
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True)
class Model:
    """What was fitted: the nudge, its frequency (Hz), what is known of the delay (s, (channel,)), and what else.

    The rest is as `lockin.demodulate` has it; limits: V, the ends of the meter's range.
    """

    waveform: Waveform
    frequency: float
    late: Array
    hum: float | None = None
    hum_harmonics: int = 3
    drift: int = 0
    second_order: bool = False
    robust: bool = False
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Folded:
    """A channel: phase, periods, (sample,); the record less what disturbs it, V; what the fit leaves, V.

    counted: the samples that are neither missing, nor clipped, nor spikes. fair: of them those that the model puts so
    far from the ends of the range that noise could clip none: only these have a mean. bend: V, coefficient of f^2.
    """

    phase: Array
    cleaned: Array
    left: Array
    counted: NDArray[np.bool_]
    fair: NDArray[np.bool_]
    bend: float


def draw_demodulated(
    volts: Array,
    sample_rate: float,
    model: Model,
    response: Response,
    names: Sequence[str],
    path: Path,
    *,
    began: float = 0.0,
) -> Path:
    """Draw a record, (channel, sample), NaN where missing, with its response; eight channels, flagged ones first.

    sample_rate: Hz. began: s, time of the first sample. Returns path. Raises MissingExtraError without the extra.
    """
    require_libraries()
    from matplotlib import style  # noqa: PLC0415
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    chosen = _chosen(response)
    with style.context(["default", _STYLE]):  # a person's own style would change what it looks like
        height = 3.3 * len(chosen) + 0.5
        figure = Figure((12, height), 100, layout=ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.08))
        FigureCanvasAgg(figure)
        figure.suptitle(_headline(model, sample_rate, len(names), len(chosen)), parse_math=False)
        parts = figure.subfigures(len(chosen), 1, squeeze=False)[:, 0]
        for part, channel in zip(parts, chosen, strict=True):
            folded = _folded(volts[channel], sample_rate, model, response, channel)
            time = began + np.arange(volts.shape[1]) / sample_rate
            _draw_channel(part, folded, time, model, response, channel, names[channel])
        figure.savefig(path)
    return path


def shape_left(volts: Array, sample_rate: float, model: Model, response: Response) -> Array:
    """Return the rms of what the fit leaves and the nudge repeats, V, (channel,); 0 where noise explains it.

    Parts of a period are compared by the variance between and within them. A wrong waveform leaves such a shape, and
    so does a nudge that is not small. Nothing is said of waveforms that jump: a jump is known to a sample only.
    """
    left = np.zeros(len(volts))
    if response.noise is None or model.waveform.jumps:
        return left
    for channel in range(len(volts)):
        folded = _folded(volts[channel], sample_rate, model, response, channel)
        rest, phase = folded.left[folded.fair], folded.phase[folded.fair]
        count, mean = _means(phase, rest, min(_PARTS, len(rest) // 5))
        n_between, n_within = int((count > 0).sum()) - 3, len(rest) - int((count > 0).sum())
        if min(n_between, n_within) < 3:
            continue
        between = float((count * mean**2).sum())
        within = max(float((rest**2).sum()) - between, 1e-300)
        by_chance = fdtrc(n_between, n_within, (between / n_between) / (within / n_within))
        size = float(np.sqrt(between / len(rest)))
        if by_chance < _CHANCE and size > _ROUNDING * (abs(response.a[channel]) + abs(response.b[channel])):
            left[channel] = size
    return left


def _chosen(response: Response) -> list[int]:
    flags = np.zeros(response.a.shape, dtype=np.uint8) if response.flags is None else response.flags
    doubtful = (flags & ~np.uint8(Flag.MISSING)) != 0
    first = np.argsort(~doubtful, kind="stable")[:_MOST_CHANNELS]
    return sorted(int(channel) for channel in first)


def _headline(model: Model, sample_rate: float, n_channels: int, n_drawn: int) -> str:
    part = f", {n_drawn} of {n_channels} channels" if n_drawn < n_channels else ""
    return f"{model.waveform.name} at {model.frequency:.8g} Hz, {sample_rate:.8g} samples a second{part}"


def _folded(volts: Array, sample_rate: float, model: Model, response: Response, channel: int) -> _Folded:
    """Take apart one channel; what disturbs is linear, so least squares on what a and b leave finds it again."""
    n_samples = len(volts)
    late = float(model.late[channel]) + (0.0 if response.delay is None else float(response.delay[channel]))
    phase = model.frequency * (np.arange(n_samples) / sample_rate + late)
    f = model.waveform.at(phase)
    modelled = response.a[channel] + response.b[channel] * f
    low, high = (-np.inf, np.inf) if model.limits is None else model.limits
    noise = 0.0 if response.noise is None else float(response.noise[channel])
    there = counted = fair = np.isfinite(volts) & (volts > low) & (volts < high)
    left = np.where(np.isfinite(volts), volts - modelled, np.nan)
    place = np.linspace(-1, 1, n_samples)
    drift: Array = np.polynomial.legendre.legvander(place, model.drift)[:, 1:].astype(np.float64)
    disturbing = drift if model.hum is None else np.hstack([drift, _hum(left, there, drift, sample_rate, model)])
    columns = np.hstack([disturbing, f[:, None] ** 2]) if model.second_order else disturbing
    for _ in range(3):  # again without the spikes, and without what may be clipped
        coefficients = np.linalg.lstsq(columns[fair], left[fair])[0]
        whole = modelled + columns @ coefficients
        rest = volts - whole
        counted = there & (np.abs(rest) <= _OUTLIER * noise + 1e-12 * np.abs(whole)) if model.robust else there
        inside = (whole > low + _NEAR_THE_END * noise) & (whole < high - _NEAR_THE_END * noise)
        fair = counted & inside if (counted & inside).sum() > 2 * columns.shape[1] else counted
    cleaned = volts - disturbing @ coefficients[: disturbing.shape[1]]
    return _Folded(phase % 1.0, cleaned, rest, counted, fair, float(coefficients[-1]) if model.second_order else 0.0)


def _hum(left: Array, counted: NDArray[np.bool_], drift: Array, sample_rate: float, model: Model) -> Array:
    """Return the hum's columns, (sample, column), at the frequency near the given one that leaves least."""
    from scipy.optimize import minimize_scalar  # noqa: PLC0415

    assert model.hum is not None  # noqa: S101 - the caller looked
    time = np.arange(len(left)) / sample_rate
    orders = np.arange(1, model.hum_harmonics + 1)

    def columns(frequency: float) -> Array:
        angles = 2 * np.pi * frequency * time[:, None] * orders
        return np.hstack([np.cos(angles), np.sin(angles)])

    def misfit(frequency: float) -> float:
        own = np.hstack([drift, columns(frequency)])[counted]
        products = own.T @ left[counted]
        return -float(products @ np.linalg.solve(own.T @ own, products))

    width = _HUM_WANDERS * model.hum
    n_each = int(width * 4 * model.hum_harmonics * len(left) / sample_rate) + 1
    tried = model.hum + width * np.arange(-n_each, n_each + 1) / n_each
    best = float(tried[int(np.argmin([misfit(float(frequency)) for frequency in tried]))])
    found = minimize_scalar(misfit, bounds=(best - width / n_each, best + width / n_each), method="bounded")
    return columns(float(found.x))


def _draw_channel(
    part: Figure, folded: _Folded, time: Array, model: Model, response: Response, channel: int, name: str
) -> None:
    axes = part.subplot_mosaic([["record", "all"], ["rest", "all"]], width_ratios=[1.25, 1.0], height_ratios=[2.2, 1.0])
    record, rest, whole = axes["record"], axes["rest"], axes["all"]
    rest.sharex(record)
    a, b = float(response.a[channel]), float(response.b[channel])
    flags = [] if response.flags is None else flag_words(int(response.flags[channel]))
    shown = folded.cleaned[folded.counted]
    volts, small = scale_of(shown, "V"), scale_of(folded.left[folded.counted], "V")
    disturbed = " less drift and hum" if model.hum and model.drift else " less hum" if model.hum else ""
    disturbed = disturbed or (" less drift" if model.drift else "")
    two = np.concatenate([folded.phase, folded.phase + 1])  # two periods, so that none is cut
    counted = np.tile(folded.counted, 2)
    values, left = np.tile(folded.cleaned / volts.factor, 2), np.tile(folded.left / small.factor, 2)
    _dots(record, two, values, counted, f"samples{disturbed}")
    _dots(rest, two, left, counted, "")
    if folded.fair.sum() >= _MANY:
        count, mean = _means(folded.phase[folded.fair], folded.left[folded.fair], _PARTS)
        middle, mean = ((np.arange(_PARTS) + 0.5) / _PARTS)[count > 0], mean[count > 0]
        f = np.tile(model.waveform.at(middle), 2)
        middle, mean = np.concatenate([middle, middle + 1]), np.tile(mean, 2)
        mean_style: dict[str, Any] = {
            "color": _ORANGE,
            "markersize": 4.0,
            "markeredgecolor": "black",
            "markeredgewidth": 0.5,
        }
        record.plot(
            middle,
            (a + b * f + folded.bend * f**2 + mean) / volts.factor,
            "o",
            label="their means",
            zorder=4,
            **mean_style,
        )
        rest.plot(middle, mean / small.factor, "o", zorder=4, **mean_style)
    fine = np.linspace(0, 2, 1601)
    f = model.waveform.at(fine)
    fit = (a + b * f + folded.bend * f**2) / volts.factor
    record.plot(fine, fit, color="black", label="fit", zorder=3)
    _limit(record, np.concatenate([values[counted], fit]), room=0.3)
    _limit(rest, left[counted])
    record.legend(loc="upper right", ncols=4, fontsize=8, framealpha=0.9, borderpad=0.3, columnspacing=1.2)
    record.set(ylabel=f"voltage ({volts.unit})", xlim=(0, 2))
    record.tick_params(labelbottom=False)
    rest.set(ylabel=f"residual ({small.unit})", xlabel="phase of the nudge (periods)")
    rest.axhline(0, color="black", linewidth=0.8, zorder=3)
    record.set_title(
        f"{name}:  a = {_with_unit(a, response.a_stderr[channel])},  b = {_with_unit(b, response.b_stderr[channel])}",
        parse_math=False,
    )
    _draw_whole(whole, time, folded, small)
    noise = "" if response.noise is None else f"rms {_size(float(response.noise[channel]))}"
    n_out = int((~folded.counted).sum())
    words = [noise, *([f"{n_out} of {len(time)} samples clipped or left out"] if n_out else [])]
    whole.set_title(", ".join(word for word in words if word))
    if flags:
        whole.text(
            0.02,
            0.97,
            ", ".join(flags),
            transform=whole.transAxes,
            va="top",
            color=_VERMILLION,
            weight="bold",
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
        )
    part.align_ylabels([record, rest])


def _means(phase: Array, left: Array, n_parts: int) -> tuple[NDArray[np.intp], Array]:
    """Return the number of samples in each of equal parts of a period, and the mean of what the fit leaves there, V."""
    part = np.minimum((phase * n_parts).astype(np.intp), n_parts - 1)
    count = np.bincount(part, minlength=n_parts)
    return count, np.bincount(part, left, minlength=n_parts) / np.maximum(count, 1)


def _draw_whole(axes: Axes, time: Array, folded: _Folded, small: Scale) -> None:
    seconds = scale_of([time[-1] - time[0]], "s")
    left = folded.left / small.factor
    axes.axhline(0, color="black", linewidth=0.8, zorder=3)
    if len(time) <= _MOST_POINTS:
        _dots(axes, time / seconds.factor, left, folded.counted, "")
    else:  # from the lowest to the highest of many samples: no spike is lost
        kept = np.where(folded.counted, left, np.nan)[: len(time) // 1500 * 1500].reshape(1500, -1)
        some = np.isfinite(kept).any(axis=1)
        middle = time[: kept.size].reshape(kept.shape).mean(axis=1)[some] / seconds.factor
        low, high = np.nanmin(kept[some], axis=1), np.nanmax(kept[some], axis=1)
        axes.fill_between(middle, low, high, color=_BLUE, linewidth=0.5)
    _limit(axes, left[folded.counted], room=0.25)
    axes.set(xlabel=f"time ({seconds.unit})", ylabel=f"residual ({small.unit})", axisbelow=True)
    axes.margins(x=0.01)


def _dots(axes: Axes, x: Array, y: Array, counted: NDArray[np.bool_], label: str) -> None:
    some = np.flatnonzero(counted)
    if len(some) > _MOST_POINTS:  # at random, for even steps would beat with the nudge
        some = np.random.default_rng(0).choice(some, _MOST_POINTS, replace=False)
    size = 3.0 if len(some) < 1500 else 2.0
    style: dict[str, Any] = {"markeredgewidth": 0, "rasterized": True}
    axes.plot(x[some], y[some], "o", color=_BLUE, markersize=size, alpha=0.45, label=label or None, **style)
    out = ~counted & np.isfinite(y)
    if out.any():
        axes.plot(x[out], y[out], "x", color=_VERMILLION, markersize=4, label="clipped or left out" if label else None)


def _limit(axes: Axes, values: Array, room: float = 0.1) -> None:
    """Let the axis hold what counted, whatever spikes there are, with room above."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    size = (high - low) or abs(high) or 1.0
    axes.set_ylim(low - 0.08 * size, high + room * size)


def _with_unit(value: float, error: float) -> str:
    scale = scale_of([value, 10 * error], "V")  # so that two digits of the error stand behind the point
    written = scale.with_error(value, float(error))
    return f"({written}) {scale.unit}" if "±" in written else f"{written} {scale.unit}"


def _size(value: float) -> str:
    scale = scale_of([value], "V")
    return f"{scale.of(value)} {scale.unit}"
