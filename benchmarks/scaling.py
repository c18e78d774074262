"""What a training step costs by the size of the network, to 10^5 nodes: python benchmarks/scaling.py [--quick].

Three families: the paper's Barabasi-Albert graphs (7.5 edges a node), square grids, and Barabasi-Albert with
conductances spread log-uniformly over 1e-5..20 S. The peer is NumPy with the 100 samples of the nudge as 100 right-hand
sides of one solve. Writes docs/images/solver-scaling.png.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from _campaign import Row

COMMAND = "python benchmarks/scaling.py"
_PLOT = Path(__file__).parent.parent / "docs" / "images" / "solver-scaling.png"
_SIZES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
_LARGEST_DENSE = 1000
_FAMILIES = {"ba": "Barabasi-Albert", "grid": "square grid", "wide": "Barabasi-Albert, 1e-5 to 20 S"}


@dataclass(frozen=True)
class Case:
    """An open bench and a block of steps for it: 10 examples, as many as an epoch."""

    bench: Any
    plan: Any


def opened(family: str, n_nodes: int, solver: str, n_steps: int = 10) -> Case:
    import numpy as np

    from freqprop_lab.bench import open_bench
    from freqprop_lab.config import BenchRequest, check_bench, parse_yaml
    from freqprop_lab.values import BlockPlan
    from freqprop_lab.waveform import Sine

    side = round(n_nodes**0.5)
    graph = f"kind: barabasi-albert, nodes: {n_nodes}, edges: {15 * n_nodes // 2}"
    drawn = f"kind: grid, rows: {side}, columns: {side}" if family == "grid" else graph
    text = f"bench: numeric\nsolver: {solver}\nnetwork: {{{drawn}}}\nmeter: {{range: 1 MV}}\n"
    bench = open_bench(check_bench(parse_yaml(text, Path("bench.yaml")), Path()), BenchRequest(0, (4, 3)))
    rng = np.random.default_rng(0)
    n_tunable = len(bench.network.tunable)
    start = rng.uniform(1e-5, 1, n_tunable)
    if family == "wide":
        start = np.exp(rng.uniform(np.log(1e-5), np.log(20), n_tunable))
    levels, targets = rng.uniform(0, 5, (10, 4)), rng.normal(scale=0.1, size=(10, 3))
    ends = np.full(n_tunable, 1e-5), np.full(n_tunable, 20.0)
    return Case(bench, BlockPlan(levels, targets, np.arange(n_steps) % 10, start, *ends, 0.01, 1.0, "squared", Sine()))


def seconds_a_step(case: Case, n_epochs: int) -> list[float]:
    """Run epoch after epoch and return the seconds a step of each."""
    found, plan = [], case.plan
    for _ in range(n_epochs):
        began = time.perf_counter()
        end = case.bench.run_block(plan)
        found.append((time.perf_counter() - began) / len(plan.order))
        plan = replace(plan, wished=end.wished)
    return found


def numpy_step(case: Case) -> float:
    """Return the seconds of one step in plain NumPy: assemble, solve for the outputs, solve 100 samples, project."""
    import numpy as np

    network, plan = case.bench.network, case.plan
    plus, minus = network.tunable_ends
    ends = [node for pair in zip(*network.input_ends, strict=True) for node in pair]
    free = np.setdiff1d(np.arange(len(network.nodes)), ends)
    f = np.sin(2 * np.pi * np.arange(100) / 20)
    began = time.perf_counter()
    G = np.zeros((len(network.nodes),) * 2)
    for first, second in ((plus, minus), (minus, plus)):
        np.add.at(G, (first, first), plan.wished)
        np.add.at(G, (first, second), -plan.wished)
    inner, fed = G[np.ix_(free, free)], G[np.ix_(free, ends)]
    held = np.repeat(plan.levels[0] / 2, 2) * np.tile([1, -1], len(plan.levels[0]))
    volts = np.zeros((len(network.nodes), 100))
    volts[ends] = held[:, None]
    rest = np.zeros(len(network.nodes))
    rest[ends], rest[free] = held, np.linalg.solve(inner, -fed @ held)
    nudge = -plan.gamma * (network.read_outputs(rest) - plan.targets[0])
    currents = np.zeros((len(network.nodes), 100))
    for port, (first, second) in enumerate(zip(*network.output_ends, strict=True)):
        currents[first] += nudge[port] * f
        currents[second] -= nudge[port] * f
    volts[free] = np.linalg.solve(inner, currents[free] - (fed @ held)[:, None])
    a, b = volts.mean(axis=1), 2 / 100 * volts @ f
    change = plan.alpha * network.across_tunable(a) * network.across_tunable(b)
    np.clip(plan.wished - change, plan.lowest, plan.highest)
    return time.perf_counter() - began


def against_numpy(n_pairs: int) -> tuple[float, float]:
    """Return the best times of a step of 1000 nodes, s, of us and of NumPy, taken in turn."""
    case = opened("ba", 1000, "sparse", 75)
    seconds_a_step(case, 1)
    pairs = [(seconds_a_step(case, 1)[0], numpy_step(case)) for _ in range(n_pairs)]
    ours, theirs = (min(times) for times in zip(*pairs, strict=True))
    return ours, theirs


def largest(n_nodes: int, n_epochs: int) -> tuple[float, float, float]:
    """Return seconds to open, seconds a step (median of the epochs after the first two), and peak memory, GB."""
    began = time.perf_counter()
    case = opened("ba", n_nodes, "auto")
    ready = time.perf_counter() - began
    times = sorted(seconds_a_step(case, n_epochs + 2)[2:])
    return ready, times[len(times) // 2], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def by_size(sizes: tuple[int, ...]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Return the best seconds a step by (family, solver): (nodes, seconds)."""
    curves: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for family, words in _FAMILIES.items():
        for n_nodes in sizes:
            for solver in ("dense", "sparse"):
                if solver == "sparse" or n_nodes <= _LARGEST_DENSE:
                    case = opened(family, n_nodes, solver, 20 if n_nodes < 30_000 else 10)
                    best = min(seconds_a_step(case, 4 if n_nodes < 30_000 else 2))
                    curves.setdefault((family, solver), []).append((len(case.bench.network.nodes), best))
                    print(f"{words}, {solver}, {n_nodes} nodes: {best * 1e3:.3g} ms", flush=True)
    return curves


def draw(curves: dict[tuple[str, str], list[tuple[int, float]]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    colours = dict(zip(_FAMILIES, ("tab:blue", "tab:orange", "tab:green"), strict=True))
    for (family, solver), points in curves.items():
        sizes, seconds = zip(*points, strict=True)
        style = "o-" if solver == "sparse" else "s--"
        axes.loglog(
            sizes,
            [1e3 * s for s in seconds],
            style,
            color=colours[family],
            ms=4,
            label=f"{_FAMILIES[family]}, {solver}",
        )
    axes.set_xlabel("nodes")
    axes.set_ylabel("time of a training step, ms")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=140)


def rows(*, quick: bool = False) -> list[Row]:
    """Return times, ratios and memory, and draw the plot. The largest runs in a process of its own, for its memory."""
    ours, theirs = against_numpy(2 if quick else 5)
    n_nodes = 10_000 if quick else 100_000
    command = [sys.executable, __file__, "--largest", str(n_nodes)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    ready, step, memory = (float(word) for word in told)
    curves = by_size(_SIZES[:4] if quick else _SIZES)
    draw(curves, _PLOT.with_name("solver-scaling-quick.png") if quick else _PLOT)
    (small, least), (large, most) = curves["ba", "sparse"][0], curves["ba", "sparse"][-1]
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    edges = f"{n_nodes} nodes, {15 * n_nodes // 2} edges"
    return [
        Row("a step at 1000 nodes, 7500 edges, tolerance 1e-12, in epochs of 75", f"{ours * 1e3:.2f} ms", COMMAND),
        Row("the same in NumPy with 100 right-hand sides (the peer)", f"{theirs * 1e3:.1f} ms", COMMAND),
        Row("peer / ours, best of 5 each, in turn", f"{theirs / ours:.0f}x ({load})", COMMAND),
        Row(f"a step at {edges}, tolerance 1e-12, in epochs of 10", f"{step:.3f} s ({load})", COMMAND),
        Row(f"peak memory of that, {edges}", f"{memory:.2f} GB", COMMAND),
        Row(f"opening a bench of {edges}", f"{ready:.1f} s", COMMAND),
        Row(
            f"a step from {small} to {large} nodes, 7.5 edges a node",
            f"{least * 1e3:.2g} to {most * 1e3:.3g} ms",
            COMMAND,
        ),
    ]


if __name__ == "__main__":
    if "--largest" in sys.argv:
        print(*largest(int(sys.argv[sys.argv.index("--largest") + 1]), 3))
    else:
        for row in rows(quick="--quick" in sys.argv):
            print(f"{row.claim:80} {row.figure}")
