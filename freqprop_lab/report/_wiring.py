"""A bench drawn as a person wires it: nodes with their channels, branches with their elements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from freqprop_lab.network import GROUND, Network
from freqprop_lab.report._libraries import require_libraries

_DRIVEN, _READ, _ELEMENT = "#0072B2", "#009E73", "#555555"
_MOST_NODES = 60


def draw_wiring(
    network: Network, drives: Mapping[str, str], reads: Mapping[str, str], tunes: Mapping[str, str], path: Path
) -> Path:
    """Draw nodes on a ring. drives, reads: `instrument/channel` by node; tunes: `instrument/element` by branch.

    Raises MissingExtraError without the extra `report`, ValueError for more nodes than a page can show.
    """
    require_libraries()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    if len(network.nodes) > _MOST_NODES:
        raise ValueError(f"{len(network.nodes)} nodes don't fit on a page; at most {_MOST_NODES} are drawn")
    figure = Figure(figsize=(14, 14), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    grounded = any(GROUND in (branch.plus, branch.minus) for branch in network.branches)
    names = [*network.nodes, *([GROUND] if grounded else [])]
    turn = np.pi / 2 - 2 * np.pi * np.arange(len(names)) / len(names)
    place = {name: (np.cos(angle), np.sin(angle)) for name, angle in zip(names, turn, strict=True)}
    for number, branch in enumerate(network.branches):
        (x0, y0), (x1, y1) = place[branch.plus], place[branch.minus]
        style = "-" if branch.tunable else ":"
        axes.plot([x0, x1], [y0, y1], style, color=_ELEMENT, linewidth=1, zorder=1)
        along = 0.36 + 0.09 * (number % 4)  # apart where lines cross
        label = tunes.get(branch.name, branch.element.kind)
        axes.text(
            x0 + along * (x1 - x0),
            y0 + along * (y1 - y0),
            f"{branch.name}\n{label}",
            size=7,
            ha="center",
            va="center",
            color=_ELEMENT,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        )
    for name, angle in zip(names, turn, strict=True):
        x, y = place[name]
        axes.plot(x, y, "v" if name == GROUND else "o", markersize=26, color="white", markeredgecolor="black", zorder=2)
        axes.text(x, y, name, ha="center", va="center", size=10, zorder=3)
        right = np.cos(angle) >= -1e-9
        for line, (text, colour) in enumerate(((drives.get(name), _DRIVEN), (reads.get(name), _READ))):
            if text is not None:
                shown = f"driven by {text}" if colour == _DRIVEN else f"read by {text}"
                axes.text(
                    1.13 * x,
                    1.13 * y + 0.02 - 0.045 * line,
                    shown,
                    color=colour,
                    size=10,
                    ha="left" if right else "right",
                )
    axes.set_xlim(-1.65, 1.65)
    axes.set_ylim(-1.3, 1.3)
    axes.set_aspect("equal")
    axes.set_axis_off()
    figure.savefig(path, dpi=110)
    return path
