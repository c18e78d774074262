"""One record drawn: what every node did while it was driven."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from freqprop_lab.report._libraries import require_libraries
from freqprop_lab.values import Record

_MOST_NAMED = 20


def draw_record(record: Record, names: Sequence[str], path: Path) -> Path:
    """Draw the voltages of a record, (node, sample), by time; nodes that nothing reads are left out. Returns path.

    Raises MissingExtraError without the extra `report`.
    """
    require_libraries()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    time = np.arange(record.volts.shape[1]) / record.sample_rate * 1e3
    read = [number for number, row in enumerate(record.volts) if np.isfinite(row).all()]
    for order, number in enumerate(read):
        line = "-" if order < 10 else "--" if order < 20 else ":"
        axes.plot(time, record.volts[number], line, label=names[number], linewidth=1.3)
    axes.set_xlabel("time (ms)")
    axes.set_ylabel("voltage (V)")
    axes.grid(color="#dddddd")
    if len(read) <= _MOST_NAMED:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="node")
    axes.set_title(f"one record: {len(read)} nodes, {record.sample_rate:g} samples a second")
    figure.savefig(path, dpi=120)
    return path
