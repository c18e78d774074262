"""Make every figure that the docs claim, and write docs/figures.md: python benchmarks/prove.py [NAME ...] [--quick].

NAME: see _BENCHMARKS; only the rows of those that are named are made anew. --quick: few seeds, in another file.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import calibration_coverage
import calibration_gradient
import calibration_training
import calibration_watch
import calibration_wiring
import iris
import lockin
import loop
import parts
import scaling
import solver
import speed
import transistors
import xor
from _campaign import Row

_PAGE = Path(__file__).parent.parent / "docs" / "figures.md"
_LOCKIN = ("waveforms", "bound", "coverage", "signs", "calibration", "faults", "noise", "capacitance")
# By name: the command that shows its rows, and the rows.
_BENCHMARKS: dict[str, tuple[str, Callable[..., list[Row]]]] = {
    "speed": (speed.COMMAND, speed.rows),
    "solver": (solver.COMMAND, solver.rows),
    "scaling": (scaling.COMMAND, scaling.rows),
    "transistors": (transistors.COMMAND, transistors.rows),
    "loop": (loop.COMMAND, loop.rows),
    "lockin": (lockin.COMMAND, partial(lockin.rows, only=_LOCKIN)),
    "lockin-speed": (f"{lockin.COMMAND} speed", partial(lockin.rows, only=["speed"])),
    "lockin-iris": (f"{lockin.COMMAND} iris", partial(lockin.rows, only=["iris"])),
    "calibration-coverage": (calibration_coverage.COMMAND, calibration_coverage.rows),
    "calibration-wiring": (calibration_wiring.COMMAND, calibration_wiring.rows),
    "calibration-gradient": (calibration_gradient.COMMAND, calibration_gradient.rows),
    "calibration-training": (calibration_training.COMMAND, calibration_training.rows),
    "calibration-watch": (calibration_watch.COMMAND, calibration_watch.rows),
    "iris": (iris.COMMAND, iris.rows),
    "xor": (xor.COMMAND, xor.rows),
    "parts": (parts.COMMAND, parts.rows),
}
_HEAD = """\
# Figures

Made by `make prove`. What is in no row of this table is not claimed. Accuracies are shares of the test half; +- is the
standard error over seeds, sd the standard deviation over them. Times are of the machine that made them.

| claim | figure | command | date | commit |
|---|---|---|---|---|
"""


def main() -> None:
    """Run the benchmarks one after the other; the table is written after each, so that none of them costs another."""
    named = [name for name in sys.argv[1:] if name in _BENCHMARKS]
    quick = "--quick" in sys.argv
    page = _PAGE.with_name("figures-quick.md") if quick else _PAGE
    standing = page.read_text(encoding="utf-8").splitlines() if page.exists() else []
    described = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    commit, date = described.stdout.strip() or "-", datetime.now(UTC).date().isoformat()
    lines = {name: [line for line in standing if f"`{command}`" in line] for name, (command, _) in _BENCHMARKS.items()}
    for name in named or _BENCHMARKS:
        command, rows = _BENCHMARKS[name]
        made = []
        for row in rows(quick=quick):
            print(f"{row.claim}: {row.figure}", flush=True)
            claim = row.claim.replace("|", "\\|")
            made.append(f"| {claim} | {row.figure} | `{command}` | {date} | {commit} |")
        lines[name] = made
        listed = "".join(f"{line}\n" for each in lines.values() for line in each)
        page.write_text(_HEAD + listed, encoding="utf-8")
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
