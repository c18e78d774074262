"""The paper's Iris recipe over seeds, and the setting that a user would want: python benchmarks/iris.py [--quick]."""

from __future__ import annotations

import sys

from _campaign import Outcome, Row, column, run_many, spread

COMMAND = "python benchmarks/iris.py"


def recipe(edges: int, seeds: range, *, alpha: float = 0.01, epochs: int = 1000, frozen: bool = False) -> list[Outcome]:
    """Train the paper's recipe on each seed's own network, split and start."""
    bench = {"bench": "numeric", "network": {"kind": "barabasi-albert", "nodes": 40, "edges": edges}}
    changes = {"bench": bench, "rule.alpha": alpha, "epochs": epochs, "task.targets.frozen": frozen}
    return run_many("iris", [{**changes, "seed": seed, "evaluate_every": epochs} for seed in seeds])


def describe(outcomes: list[Outcome]) -> dict[str, str]:
    """Put the figures of a recipe into words."""
    before, after = column(outcomes, "untrained", "error"), column(outcomes, "trained", "error")
    ratios = [first / last for first, last in zip(before, after, strict=True)]
    told = {
        "error, untrained (V)": spread(before),
        "error, trained (V)": spread(after),
        "ratio of the mean errors": f"{sum(before) / sum(after):.2f} (seeds {min(ratios):.1f} to {max(ratios):.1f})",
    }
    for name in ("separation", "relative_error", "test_accuracy"):
        told[f"{name}, untrained"] = spread(column(outcomes, "untrained", name))
        told[f"{name}, trained"] = spread(column(outcomes, "trained", name))
    if outcomes[0].trained["test_accuracy_as_published"] is not None:
        before, after = (column(outcomes, which, "test_accuracy_as_published") for which in ("untrained", "trained"))
        told["accuracy as published, trained"] = spread(after)
        told["gain of accuracy as published"] = spread([b - a for a, b in zip(before, after, strict=True)])
    return told


def best(splits: range) -> list[Outcome]:
    """Train iris-best on each split, read by both fair read-outs."""
    changes = [{"seed": seed, "evaluate_every": 1000} for seed in splits]
    return run_many("iris-best", changes, ["argmax", "nearest-training-mean"])


def describe_best(outcomes: list[Outcome]) -> dict[str, str]:
    """Put the figures of iris-best into words."""
    told = {}
    for readout in ("argmax", "nearest-training-mean"):
        for when in ("untrained", "trained"):
            found = [float(outcome.by_readout[readout][when]["test_accuracy"] or 0) for outcome in outcomes]
            told[f"{readout}, {when}"] = f"{spread(found)}, worst {min(found):.3f}"
    leaking = [
        float(outcome.by_readout["nearest-training-mean"]["trained"]["test_accuracy_as_published"] or 0)
        for outcome in outcomes
    ]
    told["nearest mean of the test half (labels leak), trained"] = spread(leaking)
    return told


def rows(*, quick: bool = False) -> list[Row]:
    """Return the rows for docs/figures.md; quick: few seeds, to try the script."""
    n_seeds, n_frozen, n_splits = (2, 2, 2) if quick else (20, 6, 200)
    named = {
        f"Iris, 390 edges, alpha 0.01, 1000 epochs, {n_seeds} seeds": describe(recipe(390, range(n_seeds))),
        f"Iris, 239 edges, alpha 0.01, 1000 epochs, {n_seeds} seeds": describe(recipe(239, range(n_seeds))),
        f"Iris, frozen targets, 390 edges, alpha 0.1, 300 epochs, {n_frozen} seeds": describe(
            recipe(390, range(n_frozen), alpha=0.1, epochs=300, frozen=True)
        ),
    }
    splits = best(range(n_splits))
    named[f"iris-best, first {min(20, n_splits)} splits"] = describe_best(splits[:20])
    named[f"iris-best, {n_splits} splits"] = describe_best(splits)
    return [Row(f"{title}: {name}", figure, COMMAND) for title, told in named.items() for name, figure in told.items()]


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:90} {row.figure}")
