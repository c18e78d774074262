"""Whether `gradient` says good on a good bench, finds six planted causes, and mends them; what `bias` is worth.

python benchmarks/calibration_gradient.py [--quick]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from _bias_floor import PICKUP, final_error
from _campaign import Row
from _planted import CAUSES, planted_bench

COMMAND = "python benchmarks/calibration_gradient.py"
_TRIALS, _FLOORS, _EPOCHS = 40, 10, 200


def checked(bench: Any, **options: Any) -> tuple[str, dict[str, Any]]:
    """Return status and outcome of what `gradient` finds on a bench."""
    from calibration.registry import make_procedure
    from calibration.running import run_procedure

    procedure = make_procedure("gradient", **options)
    findings = run_procedure(bench, procedure)
    return findings.verdict.status, dict(findings.outcome)


def hits(cause: str | None, trials: Iterable[int]) -> list[bool]:
    """Say of each trial whether the planted cause was found as the main one, or a good bench called good."""
    return [hit for hit, _ in outcomes(cause, trials)]


def outcomes(cause: str | None, trials: Iterable[int]) -> list[tuple[bool, bool]]:
    """Say of each trial whether it was a hit, and whether the bench is good once the words have been followed."""
    found = []
    for trial in trials:
        with planted_bench(cause, trial) as (bench, options):
            status, outcome = checked(bench, **options)
            hit = status == "good" if cause is None else outcome["main_cause"] == cause
            found.append((hit, hit and cause in _MENDED and _is_mended(bench, options, outcome)))
    return found


_MENDED = ("gamma too large", "omega too fast")


def _is_mended(bench: Any, options: dict[str, Any], outcome: dict[str, Any]) -> bool:
    """Do what the words say, and look again."""
    if outcome["frequency_to_use"] is not None:
        bench.sampling = bench.sampling.model_copy(update={"frequency": outcome["frequency_to_use"]})
    gamma = outcome["gamma_to_use"] or options["gamma"]
    return checked(bench, **(options | {"gamma": gamma}))[0] == "good"


def interval(n_right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    low = 0.0 if n_right == 0 else float(beta.ppf(0.025, n_right, count - n_right + 1))
    high = 1.0 if n_right == count else float(beta.ppf(0.975, n_right + 1, count - n_right))
    return low, high


def rows(*, quick: bool = False) -> list[Row]:
    """Return the shares of trials in which each cause was found, and by how much the error's floor falls."""
    count = 2 if quick else _TRIALS
    made = []
    for cause in (None, *CAUSES):
        found = outcomes(cause, range(count))
        claim = "says good on a good bench" if cause is None else f"finds: {cause}"
        made.append(_share(f"calibrate gradient {claim}", [hit for hit, _ in found]))
        if cause in _MENDED:
            made.append(_share(f"calibrate gradient: {cause}, good once its words are followed", [m for _, m in found]))
    return [*made, _floor_row(2 if quick else _FLOORS)]


def _share(claim: str, right: list[bool]) -> Row:
    low, high = interval(sum(right), len(right))
    return Row(claim, f"{sum(right)} of {len(right)} (95 %: {low:.2f} to {high:.2f})", COMMAND)


def _floor_row(n_seeds: int) -> Row:
    with_pickup, subtracted, without = (
        np.array([final_error(trial, pickup=pickup, corrected=corrected, epochs=_EPOCHS) for trial in range(n_seeds)])
        for pickup, corrected in ((PICKUP, False), (PICKUP, True), ("0 V", False))
    )
    figure = (
        f"mean {1e3 * with_pickup.mean():.2f} mV -> {1e3 * subtracted.mean():.2f} mV (without pickup "
        f"{1e3 * without.mean():.2f} mV), {with_pickup.mean() / subtracted.mean():.0f} times lower; least of "
        f"{n_seeds} seeds {(with_pickup / subtracted).min():.1f}"
    )
    return Row(f"calibrate bias: floor of the error with a pickup of {PICKUP}, and subtracted", figure, COMMAND)


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:80} {row.figure}")
