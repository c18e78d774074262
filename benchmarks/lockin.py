"""What the lock-in gets out of noise, and how fast: python benchmarks/lockin.py [CLAIM ...] [--quick] [--plots].

CLAIM: waveforms, bound, coverage, signs, calibration, faults, noise, capacitance, speed, iris; all of them where none
is named. Records are 1000 samples of 10 periods, white noise of 1 V rms on every sample. --plots: draw
docs/images/lock-in-*.png instead. --quick: few records, to try the script.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from _campaign import Row
from _lockin_claims import bound, calibration, capacitance, coverage, faults, noise, second_order, signs, waveforms
from _lockin_iris import iris, signs_on_iris
from _lockin_records import COMMAND, SEED
from _lockin_speed import memory, speed

__all__ = ["COMMAND", "rows"]


def rows(*, quick: bool = False, only: Sequence[str] = ()) -> list[Row]:
    """Return the rows for docs/figures.md; quick: few records, to try the script; only: claims by name."""
    few, many = (200, 200) if quick else (4000, 5000)
    claims: dict[str, Callable[[], list[Row]]] = {
        "waveforms": lambda: waveforms() + second_order(),
        "bound": lambda: bound(few),
        "coverage": lambda: coverage(few),
        "signs": lambda: signs(few),
        "calibration": lambda: calibration(20 if quick else many),
        "faults": lambda: faults(few),
        "noise": lambda: noise(500 if quick else 10_000),
        "capacitance": capacitance,
        "speed": lambda: speed(5 if quick else 60) + memory(4000 if quick else 100_000),
        "iris": lambda: signs_on_iris(5 if quick else 75) + iris(range(2), 1 if quick else 150),
    }
    return [row for name, claim in claims.items() if not only or name in only for row in claim()]


if __name__ == "__main__":
    if "--plots" in sys.argv:
        from _lockin_plots import draw

        draw(quick="--quick" in sys.argv)
    else:
        print(f"seed {SEED}")
        for row in rows(quick="--quick" in sys.argv, only=[name for name in sys.argv[1:] if not name.startswith("-")]):
            print(f"{row.claim:120} {row.figure}", flush=True)
