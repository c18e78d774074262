"""Iris on a bench where no node's delay is known."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from _campaign import Outcome, Row, run_many
from _lockin_records import (
    COMMAND,
    bound_of_b,
    joined,
)

from freqprop_lab.values import Array

# 9. Iris on a bench where no node's delay is known.

IRIS = {
    "noise-free, synchronised sine": {},
    "two-tone": {"nudge.waveform": "two-tone"},
    "abs-sine, as printed": {"nudge.waveform": "abs-sine"},
    "two-tone, delays learned first": {"nudge.waveform": "two-tone", "nudge.learn_delays": 3.0},
}


def iris_changes(name: str, seed: int, epochs: int) -> dict[str, Any]:
    """Return the changes to the template iris for one of the cases; all but the first on the real bench."""
    bench: dict[str, Any] = {"network": {"kind": "barabasi-albert", "nodes": 40, "edges": 239}}
    changes = {"seed": seed, "epochs": epochs, "evaluate_every": epochs, "rule.alpha": 0.1, **IRIS[name]}
    if IRIS[name]:
        bench["sampling"] = {"samples_per_period": 100, "periods": 10}
        bench["meter"] = {"synchronised": False, "delays": "each", "noise": "5 mV", "bits": 12}
        changes["nudge.unsynchronised"] = True
    return {**changes, "bench": bench}


def iris(seeds: range, epochs: int) -> list[Row]:
    cases = [(name, seed) for name in IRIS for seed in seeds]
    outcomes = run_many("iris", [iris_changes(name, seed, epochs) for name, seed in cases])
    found: dict[str, list[Outcome]] = {name: [] for name in IRIS}
    for (name, _), outcome in zip(cases, outcomes, strict=True):
        found[name].append(outcome)
    title = f"Iris, 239 edges, alpha 0.1, {epochs} epochs, a delay each, 5 mV, 12 bits, seeds {seeds[0]} to {seeds[-1]}"
    rows = []
    for name, runs in found.items():
        errors = ", ".join(f"{run.untrained['error']:.4f} -> {run.trained['error']:.4f}" for run in runs)
        accuracies = ", ".join(f"{run.trained['test_accuracy']:.3f}" for run in runs)
        rows.append(Row(f"{title}: {name}: error (V), test accuracy", f"{errors}; {accuracies}", COMMAND))
    return rows


def iris_signs(waveform: str, n_examples: int, seed: int = 0) -> dict[str, Array]:
    """Return |b| / its standard error and whether the sign is right, of all free nodes at the first conductances.

    The truth comes from the same network on an ideal, synchronised bench.
    """
    from importlib.resources import files
    from pathlib import Path

    from freqprop_lab.config import parse_experiment
    from freqprop_lab.session import load_bench, prepare
    from freqprop_lab.values import Drive, Nudge

    text = (files("freqprop_lab") / "data" / "templates" / "iris.yaml").read_text(encoding="utf-8")
    name = {"two-tone": "two-tone", "abs-sine": "abs-sine, as printed"}[waveform]
    parts = []
    real, ideal = (
        parse_experiment(text, Path("iris.yaml")).with_changes(
            {tuple(key.split(".")): value for key, value in iris_changes(each, seed, 1).items()}
        )
        for each in (name, "noise-free, synchronised sine")
    )
    with load_bench(None, real) as bench, load_bench(None, ideal) as exact:
        job, true_job = prepare(real, bench), prepare(ideal, exact)
        start = job.first_conductances()
        bench.program(start)
        trainer, _ = true_job.begin(start)
        held = np.unique(np.concatenate(bench.network.input_ends))
        targets = true_job.task.targets(trainer.state.by_class)
        for levels, target in zip(true_job.task.levels[:n_examples], targets, strict=False):
            outputs = bench.network.read_outputs(exact.respond(Drive(levels)).a)
            truth = exact.respond(Drive(levels, Nudge(target - outputs, true_job.waveform)))  # gamma 1, squared cost
            found = bench.respond(Drive(levels, Nudge(target - outputs, job.waveform)))
            free = np.setdiff1d(np.arange(len(found.b)), held)
            plain = bound_of_b(job.waveform) * found.noise
            right = (found.b * truth.b > 0).astype(float)
            parts.append({"z": (np.abs(truth.b) / plain)[free], "right": right[free]})
    return joined(parts)


STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, np.inf)  # |b| over its standard error


def wrong_by_strength(scores: Mapping[str, Array]) -> list[tuple[float, float, int]]:
    """Return the median |b| / stderr, the share of wrong signs and the number of readings in each bin."""
    told = []
    for low, high in pairwise(STRENGTHS):
        there = (scores["z"] >= low) & (scores["z"] < high)
        if there.any():
            told.append(
                (float(np.median(scores["z"][there])), 1 - float(scores["right"][there].mean()), int(there.sum()))
            )
    return told


def signs_on_iris(n_examples: int) -> list[Row]:
    rows = []
    for name in ("two-tone", "abs-sine"):
        scores = iris_signs(name, n_examples)
        told = ", ".join(f"{z:.1f}: {wrong:.3f} (n {n})" for z, wrong, n in wrong_by_strength(scores))
        rows.append(Row(f"Iris, untrained, {name}: share of wrong signs by |b| / stderr", told, COMMAND))
        rows.append(
            Row(f"Iris, untrained, {name}: share of wrong signs in all", f"{1 - scores['right'].mean():.3f}", COMMAND)
        )
    return rows
