"""How fast, beside a peer in the same run: python benchmarks/speed.py [--quick].

The peer is the recipe in plain NumPy, one solve for each sample (tests/reference.py): what a notebook does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _campaign import Row

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

COMMAND = "python benchmarks/speed.py"
_HELP = [sys.executable, "-c", "from freqprop_lab.cli import main; main()", "--help"]


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def step_times(n_pairs: int) -> tuple[list[float], list[float], list[float]]:
    """Time a training step by blocks, step by step, and by the peer, in turn; seconds a step each."""
    import numpy as np
    import reference

    from freqprop_lab.rules import Example, FrequencyPropagation
    from freqprop_lab.session import load_bench
    from freqprop_lab.tasks import Objective, Squared
    from freqprop_lab.values import BlockPlan
    from freqprop_lab.waveform import Sine

    rng = np.random.default_rng(0)
    blocks, steps, peers = [], [], []
    with load_bench() as bench:
        network = bench.network
        levels, targets = rng.uniform(0, 5, (75, 4)), rng.normal(scale=0.1, size=(75, 3))
        start, order = rng.uniform(1e-5, 1, 390), np.arange(75)
        plan = BlockPlan(
            levels, targets, order, start, np.full(390, 1e-5), np.full(390, 20.0), 0.01, 1.0, "squared", Sine()
        )
        ends = [
            list(zip(plus.tolist(), minus.tolist(), strict=True))
            for plus, minus in (network.tunable_ends, network.input_ends, network.output_ends)
        ]
        circuit = reference.Circuit(40, ends[0], [], 1.0, 1.0, ends[1], ends[2], floating=False)
        rule = FrequencyPropagation(network, 0.01, 1.0, Sine())
        for _ in range(n_pairs):
            began = time.perf_counter()
            bench.run_block(plan)
            blocks.append((time.perf_counter() - began) / 75)
            began = time.perf_counter()
            bench.program(start)
            process = rule.process(Example(levels[0], Objective(Squared(), targets[0], 1.0)))
            request = next(process)
            request = process.send(bench.respond(request.drive))
            try:
                process.send(bench.respond(request.drive))
            except StopIteration as finished:
                bench.program(bench.conductances + finished.value.delta)
            steps.append(time.perf_counter() - began)
            began = time.perf_counter()
            reference.step(circuit, start, levels[0], targets[0], 0.01, 1.0, 20, 5)
            peers.append(time.perf_counter() - began)
    return blocks, steps, peers


def rows(*, quick: bool = False) -> list[Row]:
    """Return times and ratios."""
    blocks, steps, peers = step_times(3 if quick else 25)
    ratios = [peer / block for peer, block in zip(peers, blocks, strict=True)]
    helps = []
    for _ in range(3 if quick else 9):
        began = time.perf_counter()
        subprocess.run(_HELP, check=True, capture_output=True)
        helps.append(time.perf_counter() - began)
    seconds, trained = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(1 if quick else 4):  # the first may have to compile
            began = time.perf_counter()
            more = ["--json", "--quiet", "--run", f"{folder}/{turn}", *(["--epochs", "20"] if quick else [])]
            told = subprocess.run([*_HELP[:-1], "train", *more], check=True, capture_output=True, text=True).stdout
            seconds.append(time.perf_counter() - began)
            trained.append(json.loads(told)["seconds"])
        size = sum(path.stat().st_size for path in Path(folder, "0").iterdir()) / 1e6
    micro = 1e6
    return [
        Row("a training step of the default network in a block", f"{_median(blocks) * micro:.0f} us", COMMAND),
        Row("the same through respond, step by step", f"{_median(steps) * micro:.0f} us", COMMAND),
        Row("the same in plain NumPy, one solve a sample (the peer)", f"{_median(peers) * micro:.0f} us", COMMAND),
        Row("peer / block, median of pairs in one run", f"{_median(ratios):.0f}x", COMMAND),
        Row("freqprop train without arguments, whole process, the best of 4", f"{min(seconds):.1f} s", COMMAND),
        Row("of which training, 75,000 steps", f"{min(trained):.1f} s", COMMAND),
        Row("its run folder", f"{size:.1f} MB", COMMAND),
        Row("freqprop --help, median", f"{_median(helps):.3f} s", COMMAND),
    ]


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:70} {row.figure}")
