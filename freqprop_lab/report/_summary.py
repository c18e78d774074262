"""What a report says of a run, be it finished, interrupted, failed or still under way. Nothing here draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from freqprop_lab.runs import Run
from freqprop_lab.values import Array

_MOST_DOTS = 5000


@dataclass(frozen=True)
class Summary:
    """A run in short.

    before, after: conductances of the tunable branches at the start and in the newest state, S, (tunable,). untrained,
    trained: scores by name; trained is None before the first evaluation, and was taken after `scored` epochs.
    epoch_lines: the lines of epochs.jsonl. costs_only: the log holds costs in place of errors.
    """

    run: Run
    before: Array
    after: Array
    epochs: int
    steps: int
    untrained: Mapping[str, float | None]
    trained: Mapping[str, float | None] | None
    scored: int
    epoch_lines: list[dict[str, Any]]
    costs_only: bool

    @property
    def predicts_classes(self) -> bool:
        """False where the task wants values, and no accuracy is defined."""
        return self.untrained.get("train_accuracy") is not None

    @property
    def headline(self) -> str:
        """Name and size of what was trained."""
        network, bench = self.run.start["network"], self.run.start["bench"]
        size = f"{_count(len(network['nodes']), 'node')}, {_count(len(network['branches']), 'branch', 'branches')}"
        return f"{self.run.start['name']}: {size}, {bench['ports']} ports"

    @property
    def ended(self) -> str:
        """How far the network came, in a few words."""
        if self.run.status == "success":
            return f"after {_count(self.epochs, 'epoch')}" + ("" if self.steps else ": untrained")
        verb = "failed" if self.run.status == "fail" else "interrupted"
        return f"{verb} after {_count(self.epochs, 'epoch')}"

    @property
    def state(self) -> str:
        """How the run ended and why, as a sentence or two."""
        stop = self.run.stop
        done = f"{_count(self.epochs, 'epoch')} ({_count(self.steps, 'step')})"
        resume = f"Go on with: freqprop resume {self.run.path}"
        if stop is None:
            return f"Interrupted after {done}, or still running. {resume}"
        if stop["exit_status"] == "success":
            return f"Finished: {done}."
        verb = "Failed" if stop["exit_status"] == "fail" else "Interrupted"
        return f"{verb} after {done}: {stop.get('reason') or 'no reason was recorded'}. {resume}"


def summarise(run: Run) -> Summary:
    """Read what a report needs. Raises RunError where the run can't be read."""
    lines = run.lines("epochs")
    stop = run.stop or {}
    scores, scored = _newest_scores(lines, stop)
    before, after = _conductances(run)
    return Summary(
        run,
        before,
        after,
        epochs=int(lines[-1]["epoch"]) if lines else 0,
        steps=len(run.rows("steps")),
        untrained=run.start["untrained"],
        trained=scores,
        scored=scored,
        epoch_lines=lines,
        costs_only=run.start["experiment"]["task"].get("cost") == "cross-entropy",
    )


def step_errors(summary: Summary) -> tuple[Array, Array]:
    """Return at most 5000 steps: their places in epochs, and their errors (or costs, where only these are logged)."""
    column = summary.run["cost" if summary.costs_only else "error"]
    rows = np.unique(np.linspace(0, len(column) - 1, min(len(column), _MOST_DOTS)).astype(np.intp))
    if not len(rows):
        return np.zeros(0), np.zeros(0)
    # In the first epoch no line tells yet how many steps an epoch has; the order under way does.
    n_train = summary.epoch_lines[0]["seq_num"] if summary.epoch_lines else len(summary.run.checkpoint.arrays["order"])
    return (rows + 0.5) / (n_train or len(column)), np.asarray(column[rows])


def column(summary: Summary, name: str) -> tuple[Array, Array]:
    """Return a score's epochs and values wherever it was evaluated, the untrained network's at epoch 0 included."""
    first = summary.untrained.get(name)
    points = [] if first is None else [(0, first)]
    points += [(line["epoch"], line[f"scores_{name}"]) for line in summary.epoch_lines if f"scores_{name}" in line]
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _newest_scores(
    lines: list[dict[str, Any]], stop: Mapping[str, Any]
) -> tuple[Mapping[str, float | None] | None, int]:
    if "result" in stop:
        return stop["result"]["trained"], int(stop["result"]["epochs"])
    for line in reversed(lines):
        scores = {name.removeprefix("scores_"): value for name, value in line.items() if name.startswith("scores_")}
        if scores:
            return scores, int(line["epoch"])
    return None, 0


def _conductances(run: Run) -> tuple[Array, Array]:
    """Return the first and the newest conductances; within an epoch the checkpoint can be newer than the log."""
    logged = run["conductances"]
    checkpoint = run.checkpoint
    realised = np.asarray(checkpoint.arrays["realised"])
    if not len(logged):
        return realised, realised
    newest = run.lines("states")[len(logged) - 1]["seq_num"]
    return np.asarray(logged[0]), realised if checkpoint.seq_num > newest else np.asarray(logged[-1])


def _count(number: int, what: str, several: str = "") -> str:
    return f"{number} {what if number == 1 else several or f'{what}s'}"
