"""How soon the probe between epochs notices a change, and whether it names it: python benchmarks/calibration_watch.py.

Iris on 16 nodes, 48 elements, 1 mV of noise; a probe of 40000 samples after each epoch. A drift of all conductances by
1 % in 100 epochs from the beginning on, its size drawn for each; and a meter lead that is pulled in epoch 50. Seeds 0
to 19. --quick: two of them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from _campaign import Row

COMMAND = "python benchmarks/calibration_watch.py"
_RECORDS = 150  # an epoch: 75 examples, two records each
_PULLED = 50  # epoch
_TEXT = """\
name: watched
seed: {seed}
epochs: {epochs}
evaluate_every: {epochs}
bench:
  bench: numeric
  name: watched
  hardware_seed: {seed}
  network: {{kind: barabasi-albert, nodes: 16, edges: 48}}
  scales: {{conductance: 0.1 mS}}
  inputs: {{source: resistor, resistance: 1 kOhm}}
  nudge: {{source: resistor, resistance: 1 kOhm}}
  sampling: {{frequency: 1 kHz, samples_per_period: 20}}
  meter: {{noise: 1 mV}}
  calibration: {{self_check: {{samples: 40000}}}}
  {fault}
task: {{kind: iris, targets: {{kind: class-means, frozen: true}}}}
rule: {{alpha: 0.1}}
conductances: {{start: [0.3, 3], bounds: [0.1, 10]}}
"""
_FAULTS = {
    "drift of 1 % in 100 epochs": (f"resistors: {{drift: {0.01 * 1000 / (100 * _RECORDS):.6f}}}", "conductances drift"),
    "meter lead pulled in epoch 50": (
        f"faults: {{events: [{{after: {_PULLED * _RECORDS}, unread: n5}}]}}",
        "node n5 is off",
    ),
}


def noticed(fault: str, seed: int) -> tuple[int, bool]:
    """Return how many epochs after it began a change was noticed (0: never), and whether it was named alone."""
    from freqprop_lab.bench import BenchChangedError
    from freqprop_lab.config import parse_experiment
    from freqprop_lab.runs import Run
    from freqprop_lab.session import train

    line, words = _FAULTS[fault]
    epochs = 12 if "drift" in fault else _PULLED + 6
    experiment = parse_experiment(_TEXT.format(seed=seed, epochs=epochs, fault=line), Path("watched.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        try:
            train(experiment, run=run)
        except BenchChangedError as change:
            named = str(change).partition("The probe")[0]
            values = Run(run).checkpoint.values
            began = 0 if "drift" in fault else _began(values)
            return values["epoch"] - began, words in named and " or " not in named
    return 0, False


def _began(values: dict[str, int]) -> int:
    """Return how many epochs had ended when the lead was pulled; each is its steps and a probe."""
    first = values["bench.records"] - values["epoch"] * (_RECORDS + 1)  # taken before the first step, and by the alarm
    return max(0, (_PULLED * _RECORDS - first) // (_RECORDS + 1))


def rows(*, quick: bool = False) -> list[Row]:
    """Return how many seeds noticed within two epochs, and named it rightly."""
    seeds = range(2 if quick else 20)
    made = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        for fault in _FAULTS:
            found = list(pool.map(noticed, [fault] * len(seeds), seeds))
            soon = sum(0 < epochs <= 2 for epochs, _ in found)
            named = sum(right for _, right in found)
            figure = f"{soon} of {len(seeds)} within 2 epochs, {named} named rightly and alone"
            made.append(Row(f"self-check, {fault}", figure, COMMAND))
    return made


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:60} {row.figure}")
