"""A small regression with fixed targets on a bench that reads its own generator: where training stops, and without it.

Targets are what the same network gives at other conductances, so an error of zero is within reach; 3 examples of 3
inputs, 1 output. The correction is made by hand from the findings of `bias`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_FILE = """
bench: numeric
hardware_seed: {seed}
network: {{kind: barabasi-albert, nodes: 12, edges: 24, inputs: 3, outputs: 1}}
scales: {{conductance: 0.1 mS}}
inputs: {{source: resistor, resistance: 1 kOhm}}
nudge: {{source: resistor, resistance: 1 kOhm}}
sampling: {{frequency: 1 kHz, samples_per_period: 20, periods: 10}}
meter: {{noise: 50 uV, pickup: {pickup}}}
"""
_FIRST_SEED = 9000  # fixed before anything was tried
_GAMMA, _ALPHA = 5.0, 30.0  # task units
_LOWEST, _HIGHEST = 1e-5, 1e-3  # S
_LAST = 20  # epochs over which the error is averaged: the floor
PICKUP = "5 mV"


def opened(seed: int, pickup: str) -> Any:
    from freqprop_lab.bench import open_bench
    from freqprop_lab.config import BenchRequest, check_bench, parse_yaml

    text = _FILE.format(seed=seed, pickup=pickup)
    return open_bench(check_bench(parse_yaml(text, Path("bench.yaml")), Path()), BenchRequest(seed=seed))


def final_error(trial: int, *, pickup: str, corrected: bool, epochs: int) -> float:
    """Return the rms error over the last epochs of a training, V, on bench number `trial`."""
    seed = _FIRST_SEED + trial
    rng = np.random.default_rng(seed)
    levels = rng.uniform(-1, 1, (3, 3))
    with opened(seed, "0 V") as teacher:
        start = np.exp(rng.uniform(np.log(5e-5), np.log(3e-4), len(teacher.network.tunable)))
        teacher.program(start * np.exp(rng.uniform(-0.7, 0.7, len(start))))
        targets = teacher.read_many(levels)
    with opened(seed, pickup) as bench:
        bench.program(start)
        if corrected:
            bench.correction = _by_hand(bench)
        errors = _train(bench, levels, targets, start, epochs)
    return float(np.sqrt(np.mean(errors[-_LAST:])))


def _by_hand(bench: Any) -> Any:
    from calibration.registry import make_procedure
    from calibration.running import run_procedure
    from freqprop_lab.values import Correction

    findings = run_procedure(bench, make_procedure("bias"))
    pickup = findings.quantity("pickup")
    nodes = {channel: node for node, channel in bench.meter_channels.items()}
    by_node = np.zeros(len(bench.network.nodes))
    for channel, value in zip(pickup.labels, pickup.values, strict=True):
        by_node[bench.network.index[nodes[channel]]] = value
    return Correction(pickup=by_node)


def _train(bench: Any, levels: Any, targets: Any, start: Any, epochs: int) -> list[float]:
    """Return the mean square of the outputs' errors, V^2, epoch by epoch, as they were before each step."""
    from freqprop_lab.rules import Example, FrequencyPropagation
    from freqprop_lab.tasks import Objective, make_cost
    from freqprop_lab.waveform import Sine

    scales = bench.scales
    rule = FrequencyPropagation(bench.network, scales.alpha(_ALPHA), scales.gamma(_GAMMA), Sine())
    cost, wished, errors = make_cost("squared", 1.0), start.copy(), []
    for _ in range(epochs):
        squares = []
        for example, target in zip(levels, targets, strict=True):
            process = rule.process(Example(example, Objective(cost, target, 1.0)))
            wanted = next(process)
            try:
                while True:
                    wanted = process.send(bench.respond(wanted.drive))
            except StopIteration as finished:
                update = finished.value
            squares.append(float(np.mean((update.outputs - target) ** 2)))
            wished = np.clip(wished + update.delta, _LOWEST, _HIGHEST)
            bench.program(wished)
        errors.append(float(np.mean(squares)))
    return errors
