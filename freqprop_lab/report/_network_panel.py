"""A network drawn: branches coloured by conductance, nodes marked by what they do.

Positions hang on the wiring alone, so that two states of a network can be laid side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.network import GROUND
from freqprop_lab.values import Array

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

_SEED = 1
_ASPECT = np.array([1.35, 1.0])  # of the panel
_BETWEEN_LAYERS = ({"input", "node"}, {"node", "output"})
_ITERATIONS, _FEW_NODES = 200, 300
_MOST_NODES, _MOST_BRANCHES = 2000, 10_000
_MOST_ARROWS, _MOST_NAMES, _MOST_PORT_NUMBERS = 200, 20, 60
_LONGEST_NAME = 10
_NUMBER_SIZE = 8  # points
# Okabe and Ito's colours: told apart with every kind of colour vision. Marker, colour, size beside an inner node.
_NODES: dict[str, tuple[str, str, float]] = {
    "node": ("o", "#999999", 1.0),
    "input": ("s", "#0072B2", 2.2),
    "output": ("p", "#D55E00", 3.6),
    "ground": ("v", "#000000", 2.6),
}
_NODE_NAMES = {"node": "node", "input": "input node", "output": "output node", "ground": "ground"}
_UNTUNED: dict[str, tuple[str, str, str]] = {
    "diode": ("diode, anode to cathode", "#CC79A7", "--"),
    "junction": ("diode, anode to cathode", "#CC79A7", "--"),
    "antiparallel": ("antiparallel diodes", "#CC79A7", ":"),
    "resistor": ("fixed resistor", "#000000", (0, (1, 1))),  # type: ignore[dict-item]
}
_OTHER = ("other fixed branch", "#000000", "-.")


class NetworkDrawing:
    """A network of start.json, laid out once and drawn as often as wanted."""

    def __init__(self, network: Mapping[str, Any]) -> None:
        branches = network["branches"]
        ends = {branch["plus"] for branch in branches} | {branch["minus"] for branch in branches}
        self._nodes = [*network["nodes"], *([GROUND] if GROUND in ends else [])]
        self._roles = _roles(network, self._nodes)
        self._port_numbers = _port_numbers(network)
        self._n_own = len(network["nodes"])
        self._tunable = [branch for branch in branches if branch["tunable"]]
        self._untuned = [branch for branch in branches if not branch["tunable"]]
        self.too_large = len(self._nodes) > _MOST_NODES or len(branches) > _MOST_BRANCHES
        if not self.too_large:
            self._places = _places(self._nodes, self._roles, branches)
            paths = _paths(branches, self._places)
            self._paths = [path for path, branch in zip(paths, branches, strict=True) if branch["tunable"]]
            self._untuned_paths = [path for path, branch in zip(paths, branches, strict=True) if not branch["tunable"]]

    def draw(self, axes: Axes, conductances: Array, colours: ScalarMappable) -> None:
        """Draw the network; conductances: S, (tunable,), in the order of the tunable branches."""
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.margins(0.06, 0.12 if self._n_own <= _MOST_NAMES else 0.06)
        self._draw_tunable(axes, conductances, colours)
        self._draw_untuned(axes)
        for role, (marker, colour, size) in _NODES.items():
            places = np.array([self._places[node] for node in self._nodes if self._roles[node] == role])
            if len(places):
                dots = axes.scatter(places[:, 0], places[:, 1], size * self._node_area(), marker=marker, zorder=4)
                dots.set(facecolors=colour, edgecolors="white", linewidths=0.8)
        self._name_nodes(axes)

    def legend(self) -> list[Artist]:
        """Return one entry for each kind of node and branch that the network has."""
        from matplotlib.lines import Line2D  # noqa: PLC0415

        entries: list[Artist] = []
        for role, (marker, colour, _) in _NODES.items():
            if role in self._roles.values():
                entries.append(
                    _entry(Line2D, _NODE_NAMES[role], marker=marker, color=colour, linestyle="", markersize=10)
                )
        if self._tunable:
            entries.append(_entry(Line2D, "tunable branch", color="#31688e", linewidth=2.5))
        for kind in dict.fromkeys(branch["kind"] for branch in self._untuned):
            label, colour, style = _UNTUNED.get(kind, _OTHER)
            entries.append(_entry(Line2D, label, color=colour, linestyle=style, linewidth=2))
        return entries

    def _draw_tunable(self, axes: Axes, conductances: Array, colours: ScalarMappable) -> None:
        from matplotlib.collections import LineCollection  # noqa: PLC0415

        # From thick to thin: a pale hair stays in sight on a dark bar, the bar below a hair anyway.
        order = np.argsort(-np.nan_to_num(conductances), kind="stable")
        share = np.clip(np.nan_to_num(conductances) / (colours.norm.vmax or 1.0), 0, 1)
        width = (0.5 + 3.5 * share) * self._thinness()
        lines = LineCollection(
            [self._paths[number] for number in order],
            linewidths=width[order].tolist(),
            cmap=colours.cmap,
            norm=colours.norm,
            zorder=2,
        )
        lines.set_array(np.ma.masked_invalid(conductances[order]))
        axes.add_collection(lines, autolim=True)

    def _draw_untuned(self, axes: Axes) -> None:
        for number, (branch, path) in enumerate(zip(self._untuned, self._untuned_paths, strict=True)):
            _, colour, style = _UNTUNED.get(branch["kind"], _OTHER)
            axes.plot(*path.T, color=colour, linestyle=style, linewidth=2 * self._thinness(), zorder=3)
            if branch["kind"] in ("diode", "junction") and number < _MOST_ARROWS:
                middle = len(path) // 2
                before, after = path[middle - 1], path[middle]
                angle = np.degrees(np.arctan2(*(after - before)[::-1]))
                # A triangle of matplotlib points up, that is at 90 degrees.
                axes.plot(*((before + after) / 2), marker=(3, 0, angle - 90), color=colour, markersize=11, zorder=3)

    def _name_nodes(self, axes: Axes) -> None:
        """Write names where there is room for them, else the numbers of the ports into their markers."""
        from matplotlib.patheffects import withStroke  # noqa: PLC0415

        if self._n_own <= _MOST_NAMES:
            for node in self._nodes:
                axes.annotate(
                    node if len(node) <= _LONGEST_NAME else f"{node[: _LONGEST_NAME - 1]}…",
                    self._place(node),
                    xytext=(0, -24 if node == GROUND else 12),
                    textcoords="offset points",
                    ha="center",
                    parse_math=False,
                    path_effects=[withStroke(linewidth=3, foreground="white")],
                    zorder=6,
                )
        elif self._n_own <= _MOST_PORT_NUMBERS:
            for node, number in self._port_numbers.items():
                axes.annotate(
                    number,
                    self._place(node),
                    ha="center",
                    va="center",
                    color="white",
                    fontsize=_NUMBER_SIZE,
                    fontweight="bold",
                    zorder=6,
                )

    def _place(self, node: str) -> tuple[float, float]:
        x, y = self._places[node].tolist()
        return x, y

    def _node_area(self) -> float:
        """Area of an inner node's marker, points^2: the panel stays as large, however many share it."""
        return float(np.clip(4000 / len(self._nodes), 4, 100))

    def _thinness(self) -> float:
        n_branches = len(self._tunable) + len(self._untuned)
        return float(np.clip((200 / n_branches) ** 0.5, 0.2, 1.3))


def _entry(line: Any, label: str, **style: Any) -> Artist:
    entry: Artist = line([], [], label=label, **style)
    return entry


def _roles(network: Mapping[str, Any], nodes: Sequence[str]) -> dict[str, str]:
    roles = dict.fromkeys(nodes, "node")
    for role in ("output", "input"):
        roles |= {node: role for port in network[f"{role}s"] for node in port}
    # Also where ports end at ground: it is drawn, if at all, as what it is.
    return {node: "ground" if node == GROUND else role for node, role in roles.items()}


def _port_numbers(network: Mapping[str, Any]) -> dict[str, str]:
    numbers = {}
    for ports in (network["outputs"], network["inputs"]):
        for number, (plus, minus) in enumerate(ports, 1):
            numbers[plus] = f"{number}" if minus == GROUND else f"{number}+"
            numbers |= {} if minus == GROUND else {minus: f"{number}−"}
    return numbers


def _places(nodes: Sequence[str], roles: Mapping[str, str], branches: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Lay the nodes out, the same each time, over the whole panel: in layers where there are any, else by springs."""
    import networkx  # noqa: PLC0415

    graph = networkx.Graph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from((branch["plus"], branch["minus"]) for branch in branches)
    pairs = [{roles[one], roles[other]} for one, other in graph.edges]
    if all(pair in _BETWEEN_LAYERS or "ground" in pair for pair in pairs):
        found = _layers(nodes, roles)
    else:
        iterations = _ITERATIONS if len(nodes) <= _FEW_NODES else _ITERATIONS // 4
        found = networkx.spring_layout(graph, iterations=iterations, seed=_SEED)
    places = np.array([found[node] for node in nodes])
    extent = np.maximum(np.ptp(places, axis=0), 1e-9)
    placed: Array = (places - places.min(axis=0)) / extent * _ASPECT
    return dict(zip(nodes, placed, strict=True))


def _layers(nodes: Sequence[str], roles: Mapping[str, str]) -> dict[str, Array]:
    """Put inputs on the left, outputs on the right, others between and ground below."""
    places = {GROUND: np.array([-0.35, -1.2])}
    # The middle layer leans: seen from ground no node hides behind another.
    for role, middle, upwards in (
        ("input", (-1.0, 0.0), (0.0, 0.85)),
        ("node", (0.0, 0.0), (-0.15, 0.6)),
        ("output", (1.0, 0.0), (0.0, 0.4)),
    ):
        layer = [node for node in nodes if roles[node] == role]
        steps = np.linspace(1, -1, len(layer)) if len(layer) > 1 else np.zeros(len(layer))
        places |= dict(zip(layer, np.array(middle) + steps[:, None] * np.array(upwards), strict=True))
    return places


def _paths(branches: Sequence[Mapping[str, Any]], places: Mapping[str, Array]) -> list[Array]:
    """Return a line (point, 2) from plus to minus for each branch; those between the same two nodes bend apart."""
    pairs = [frozenset((branch["plus"], branch["minus"])) for branch in branches]
    count, seen = Counter(pairs), Counter[frozenset[str]]()
    paths = []
    for branch, pair in zip(branches, pairs, strict=True):
        start, end = places[branch["plus"]], places[branch["minus"]]
        bend = 0.3 * (seen[pair] - (count[pair] - 1) / 2)
        seen[pair] += 1
        # To the same side for both directions, or two opposite branches would meet again.
        side = 1 if branch["plus"] < branch["minus"] else -1
        paths.append(_bent(start, end, side * bend))
    return paths


def _bent(start: Array, end: Array, bend: float) -> Array:
    """Return a parabola over the line from start to end, as high as `bend` times half its length."""
    t: NDArray[np.float64] = np.linspace(0, 1, 20 if bend else 2)[:, None]
    across = np.array([start[1] - end[1], end[0] - start[0]])
    return np.asarray(start + t * (end - start) + 2 * bend * t * (1 - t) * across)
