"""What real parts do to learning: taps, rounding, unknown delays: python benchmarks/parts.py [--quick]."""

from __future__ import annotations

import sys
from typing import Any

from _campaign import Row, column, run_many, spread

COMMAND = "python benchmarks/parts.py"


def rows(*, quick: bool = False) -> list[Row]:
    """Return errors and accuracies for each kind of part."""
    n_seeds, epochs = (2, 20) if quick else (6, 200)
    network = {"kind": "barabasi-albert", "nodes": 40, "edges": 239}
    limits = {"start": [0.1, 1], "bounds": [0.1, 10]}  # 100:1
    cases: list[tuple[str, dict[str, Any], dict[str, Any]]] = [("continuous", {}, {})]
    for n_taps in (64, 128, 256):
        pot = {"resistors": {"taps": n_taps, "end_to_end": "9.9 Ohm", "wiper": "0.1 Ohm"}}
        cases.append((f"{n_taps} taps, each update rounded to the nearest code", pot, {"accumulate": False}))
        cases.append((f"{n_taps} taps, updates accumulated, the nearest code programmed", pot, {}))
        blind = {"accumulate": False, "rounding": "stochastic"}
        cases.append((f"{n_taps} taps, stochastic rounding", pot, blind))
    free = {"meter": {"synchronised": False}}
    cases.append(("|sin|, every node at its own unknown delay", free, {}))
    found = []
    for name, parts, rounding in cases:
        base: dict[str, Any] = {
            "bench": {"network": network, **parts},
            "conductances": {**limits, **rounding},
            "epochs": epochs,
            "rule.alpha": 0.1,
            "evaluate_every": epochs,
        }
        if parts is free:
            base |= {"nudge.waveform": "abs-sine", "nudge.unsynchronised": True}
        outcomes = run_many("iris", [{**base, "seed": seed} for seed in range(n_seeds)])
        errors, accuracies = column(outcomes, "trained", "error"), column(outcomes, "trained", "test_accuracy")
        before = column(outcomes, "untrained", "error")
        figure = f"error {spread(before)} -> {spread(errors)} V, test accuracy {spread(accuracies)}"
        found.append(
            Row(f"Iris, 239 edges, alpha 0.1, {epochs} epochs, 100:1, {n_seeds} seeds: {name}", figure, COMMAND)
        )
    return found


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:110} {row.figure}")
