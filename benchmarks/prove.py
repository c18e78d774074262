"""Make every figure that the docs claim, and write docs/figures.md: python benchmarks/prove.py [NAME ...] [--quick].

NAME: speed, solver, scaling, transistors, loop, lockin, iris, xor, parts; only their rows are made anew. --quick: few
seeds, in another file.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import iris
import lockin
import loop
import parts
import scaling
import solver
import speed
import transistors
import xor

_PAGE = Path(__file__).parent.parent / "docs" / "figures.md"
_BENCHMARKS = {
    "speed": speed,
    "solver": solver,
    "scaling": scaling,
    "transistors": transistors,
    "loop": loop,
    "lockin": lockin,
    "iris": iris,
    "xor": xor,
    "parts": parts,
}
_HEAD = """\
# Figures

Made by `make prove`. What is in no row of this table is not claimed. Accuracies are shares of the test half; +- is the
standard error over seeds, sd the standard deviation over them. Times are of the machine that made them.

| claim | figure | command | date | commit |
|---|---|---|---|---|
"""


def main() -> None:
    """Run the benchmarks one after the other and write the table."""
    named = [name for name in sys.argv[1:] if name in _BENCHMARKS]
    quick = "--quick" in sys.argv
    page = _PAGE.with_name("figures-quick.md") if quick else _PAGE
    standing = page.read_text(encoding="utf-8").splitlines() if page.exists() else []
    described = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    commit, date = described.stdout.strip() or "-", datetime.now(UTC).date().isoformat()
    lines = []
    for name, benchmark in _BENCHMARKS.items():
        if named and name not in named:
            lines += [line for line in standing if f"`{benchmark.COMMAND}`" in line]
            continue
        for row in benchmark.rows(quick=quick):
            print(f"{row.claim}: {row.figure}", flush=True)
            claim = row.claim.replace("|", "\\|")
            lines.append(f"| {claim} | {row.figure} | `{row.command}` | {date} | {commit} |")
    page.write_text(_HEAD + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
