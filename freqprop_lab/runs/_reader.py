"""Reading a run: while it is written, after it was interrupted, or when it is done. Nothing here writes."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from freqprop_lab.names import shown
from freqprop_lab.runs._checkpoint import Checkpoint
from freqprop_lab.runs._folder import RunError, WrongRunError
from freqprop_lab.values import Array


class Run:
    """A run's folder, read. `run["outputs"]` is a column of the steps, `run["conductances"]` one of the states."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not (self.path / "start.json").is_file():
            beside = [run.path.name for run in list_runs(self.path.parent)] if self.path.parent.is_dir() else []
            listed = f" Runs there: {shown(beside)}" if beside else ""
            raise WrongRunError(f"{self.path} is no run: it has no start.json.{listed}")

    @cached_property
    def start(self) -> dict[str, Any]:
        """What the run began with: uid, time, versions, seed, network."""
        return self._json("start.json")

    @property
    def stop(self) -> dict[str, Any] | None:
        """How it ended; None while it runs, and where it was interrupted without a word."""
        return self._json("stop.json") if (self.path / "stop.json").is_file() else None

    @property
    def status(self) -> str:
        """`success`, `abort`, `fail`, or `interrupted` (killed, or still running)."""
        stop = self.stop
        return "interrupted" if stop is None else str(stop["exit_status"])

    @cached_property
    def streams(self) -> dict[str, Any]:
        """What each column is: shape, units, place in the row."""
        return self._json("streams.json")

    @property
    def calibrations(self) -> list[dict[str, Any]]:
        """Which calibration records the bench was corrected by: `from_step`, and `records` from that step on.

        The first line is what the run began with; a resumed run has another where its records were others then.
        """
        listed = [{"from_step": 1, "records": self.start.get("calibration", [])}]
        for line in self.lines("calibrations") if (self.path / "calibrations.jsonl").is_file() else []:
            # Steps that came after a checkpoint were computed again, by what was used then.
            listed = [*(each for each in listed if each["from_step"] < line["from_step"]), line]
        return listed

    @property
    def checkpoint(self) -> Checkpoint:
        """The newest whole checkpoint."""
        try:
            return Checkpoint.read(self.path)
        except FileNotFoundError as error:
            raise RunError(f"run {self.path}: {error}") from None

    def lines(self, stream: str) -> list[dict[str, Any]]:
        """Return the whole lines of a stream (`steps`, `states`) or of `epochs`."""
        text = (self.path / f"{stream}.jsonl").read_bytes()
        return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]

    def rows(self, stream: str) -> Array:
        """Return the promised rows of a stream, (line, column), mapped from the file."""
        width = self.streams[stream]["width"]
        n_lines = (self.path / f"{stream}.jsonl").read_bytes().count(b"\n")
        if not n_lines:
            return np.zeros((0, width))
        return np.memmap(self.path / f"{stream}.f64", dtype="<f8", mode="r", shape=(n_lines, width))

    def __getitem__(self, name: str) -> Array:
        """Return a column by name, (line, ...): of the steps, or else of the states."""
        for stream in ("steps", "states"):
            keys = self.streams[stream]["data_keys"]
            if name in keys:
                first = keys[name]["first_column"]
                size = int(np.prod(keys[name]["shape"], initial=1))
                return self.rows(stream)[:, first : first + size].reshape(-1, *keys[name]["shape"])
        known = [key for stream in self.streams.values() for key in stream["data_keys"]]
        raise KeyError(f"no column {name!r}; there are {', '.join(known)}")

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"run {self.path}: {name} can't be read: {error}") from None
        return content


def list_runs(base: Path) -> list[Run]:
    """Return the runs in a folder, oldest first."""
    if not base.is_dir():
        return []
    paths = [path.parent for path in base.glob("*/start.json") if not path.parent.name.startswith(".")]
    return sorted((Run(path) for path in paths), key=lambda run: float(run.start["time"]))
