"""Exclusive or over seeds, clean and with noise and taps: python benchmarks/xor.py [--quick]."""

from __future__ import annotations

import sys
from typing import Any

from _campaign import Row, run_many

COMMAND = "python benchmarks/xor.py"
_NETWORK = {"kind": "hidden-layer", "hidden": 3}
_SCALES = {"voltage": "1 V", "conductance": "0.1 mS"}
_TAPS = {"taps": 128, "end_to_end": "99 kOhm", "wiper": "1 kOhm"}
BENCHES: dict[str, dict[str, Any]] = {
    "clean": {"scales": _SCALES, "network": _NETWORK},
    "128 taps, 5 mV on every sample": {
        "scales": _SCALES,
        "network": _NETWORK,
        "resistors": _TAPS,
        "meter": {"noise": "5 mV"},
    },
    # 100 samples a record: 50 mV on each is 5 mV on every a, and 7 mV on every b.
    "128 taps, 5 mV on every a": {
        "scales": _SCALES,
        "network": _NETWORK,
        "resistors": _TAPS,
        "meter": {"noise": "50 mV"},
    },
}


def rows(*, quick: bool = False) -> list[Row]:
    """Return how many seeds end with every margin above 0.15 V."""
    n_seeds = 2 if quick else 20
    found = []
    for name, bench in BENCHES.items():
        outcomes = run_many("xor", [{"seed": seed, "bench": bench, "evaluate_every": 300} for seed in range(n_seeds)])
        margins = [float(outcome.trained["margin"] or 0) for outcome in outcomes]
        right = sum(margin > 0.15 for margin in margins)
        figure = f"{right} of {n_seeds}; smallest margin {min(margins):.3f} V"
        found.append(Row(f"XOR, 300 epochs, all margins over 0.15 V: {name}", figure, COMMAND))
    return found


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:80} {row.figure}")
