"""The calibration records that a run goes by: kept beside it, held against what it lists, exchanged for newer ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from freqprop_lab.bench import Bench
from freqprop_lab.names import shown
from freqprop_lab.runs import Run, RunError, RunFolder
from freqprop_lab.values import Array, Correction

_FOLDER = "calibration"
_BEYOND = 1.2  # times the end of a table: by less an element's own tolerance takes it there


def keep_records(
    bench_file: dict[str, Any], correction: Correction | None, copies: dict[str, Path], files: str
) -> None:
    """Let a run's folder hold the records that it used, below `files`, and its bench file name them there."""
    if correction is None or not isinstance(bench_file.get("calibration"), dict):
        return
    folder = f"{files}/{_FOLDER}"
    for record in correction.records:
        path = Path(record.path)
        for file in (path, path.with_suffix(".npz")):
            if file.is_file():
                copies[f"{folder}/{file.name}"] = file
    bench_file["calibration"] = {**bench_file["calibration"], "folder": folder}


def used_records(bench: Bench) -> list[dict[str, Any]]:
    """Return the calibration records by which a bench is corrected, as a run's files list them."""
    return [] if bench.correction is None else [dict(vars(record)) for record in bench.correction.records]


def words_of_records(bench: Bench) -> str:
    """Say by which records of what date (UTC) a bench is corrected; nothing where it is by none."""
    each = [
        f"{record['procedure']} of {datetime.fromisoformat(record['time']).astimezone(UTC):%Y-%m-%d %H:%M}"
        for record in used_records(bench)
    ]
    return f"corrected by {', '.join(each)} (UTC)" if each else ""


def words_beyond_tables(bench: Bench, conductances: Array) -> str:
    """Say which conductances, S, (tunable,), lie far beyond what the calibration tells of; nothing where none does."""
    tables = None if bench.correction is None else bench.correction.conductances
    names, beyond = bench.network.tunable_names, []
    for name, table, siemens in zip(names, tables or (), conductances.tolist(), strict=tables is not None):
        if table is not None:
            low, high = float(table.true[0]), float(table.true[-1])
            beyond.append(
                (max(siemens / high, low / siemens), f"{name} at {siemens:.3g} S", f"{low:.3g} to {high:.3g} S")
            )
    beyond = [each for each in beyond if each[0] > _BEYOND]
    if not beyond:
        return ""
    _, where, ends = max(beyond)
    return (
        f"{len(beyond)} of {len(names)} conductances lie beyond what the calibration tells of, most of all {where} (it "
        f"tells of {ends}): there the ratio at its end is taken. Keep them within by conductances.start and "
        "conductances.bounds"
    )


def note_records(run: Run, folder: RunFolder, bench: Bench, steps: int) -> None:
    """List the records by which a resumed run goes after so many steps, where they aren't those that it went by."""
    now, before = used_records(bench), run.calibrations[-1]["records"]
    if {one["checksum"] for one in now} != {one["checksum"] for one in before}:
        folder.note("calibrations", {"from_step": steps + 1, "time": time.time(), "records": now})


@dataclass(frozen=True)
class TakenRecords:
    """Records of another folder, copied into a run's own. newer: procedures of those newer than its stop, by file."""

    folder: Path | None = None
    copies: tuple[Path, ...] = ()
    newer: Mapping[str, str] = field(default_factory=dict)

    def give_back(self) -> None:
        """Leave the run's folder as it was."""
        for path in self.copies:
            path.unlink(missing_ok=True)


def take_records(run: Run, folder: Path) -> TakenRecords:
    """Copy the calibration records of a folder into a run's own, where the newest of each kind will be used.

    Raises RunError for a run that goes by no calibration, and for a folder without a record newer than its stop: what
    is older tells of the bench as it was.
    """
    own = _folder_of(run)
    if own is None:
        raise RunError(f"run {run.path} goes by no calibration, so none can take its place; leave --calibration out")
    records = sorted(folder.glob("*.json"))
    if not records:
        raise RunError(f"{folder} holds no calibration records; run freqprop calibrate first")
    stopped, newer = _stopped_at(run), {}
    for path in records:
        procedure, when = _procedure_and_time(path)
        if when is not None and when > stopped:
            newer[path.name] = procedure
    if not newer:
        raise RunError(
            f"no record in {folder} is newer than the stop of run {run.path} at {stopped:%Y-%m-%d %H:%M:%S} UTC. Mend "
            "the fault, run freqprop calibrate, then resume; where nothing has to be calibrated anew (a lead was "
            "pushed back in), or these records were taken up before, leave --calibration out"
        )
    own.mkdir(parents=True, exist_ok=True)
    copies = []
    for path in records:
        for file in (path.with_suffix(".npz"), path):
            if file.is_file() and not (own / file.name).exists():
                copies.append(own / file.name)
                shutil.copyfile(file, own / file.name)
    return TakenRecords(folder, tuple(copies), newer)


def refuse_damaged_records(run: Run, remedy: str, replaced: Collection[str] = ()) -> None:
    """Raise RunError, naming the file, where a run's copy of a record that it goes by is missing or was changed.

    remedy: what to do if the file can't be had again; replaced: procedures whose records are exchanged anyhow.
    """
    own = _folder_of(run)
    for record in [] if own is None else run.calibrations[-1]["records"]:
        kept, original = Path(own or "") / Path(record["path"]).name, Path(record["path"])
        damaged = "" if record["procedure"] in replaced else _damage(kept, record["checksum"])
        if damaged:
            source = (
                f" from {original.parent}" if original != kept and not _damage(original, record["checksum"]) else ""
            )
            raise RunError(
                f"run {run.path} goes by the record of {record['procedure']} of {record['time'][:16]}, of which "
                f"{damaged} in {own}. Nothing was driven. Copy it there again{source}, or {remedy}"
            )


def refuse_other_records(run: Run, bench: Bench, taken: TakenRecords) -> None:
    """Raise RunError where the bench is not corrected by what the run goes by, or by nothing of what was taken."""
    used = {record["procedure"]: record for record in used_records(bench)}
    notes = () if bench.correction is None else bench.correction.notes
    before = [] if _folder_of(run) is None else run.calibrations[-1]["records"]
    for record in before:
        now = used.get(record["procedure"])
        if record["procedure"] in taken.newer.values() or (now is not None and _time(now) >= _time(record)):
            continue
        name = Path(record["path"]).name
        why = "".join(f": {note}" for note in notes if note.startswith(name))
        raise RunError(
            f"run {run.path} goes by {name}, which can't be used now{why}. Nothing was driven. Calibrate the bench as "
            f"it is now, and go on with: freqprop resume {run.path} --calibration FOLDER"
        )
    if not taken.newer or {Path(record["path"]).name for record in used.values()} & set(taken.newer):
        return
    why = "; ".join(note for note in notes if note.split(" ")[0] in taken.newer)
    raise RunError(
        f"what is newer than the stop of run {run.path} in {taken.folder} ({shown(list(taken.newer))}) corrects "
        f"nothing{': ' if why else ''}{why}. Nothing was driven. Run freqprop calibrate for a procedure that the run "
        f"goes by ({shown(list(used)) or 'gains, for one'}), then resume"
    )


def _folder_of(run: Run) -> Path | None:
    """Return where a run keeps its records; None for one that goes by none."""
    own = (run.start["bench_file"] or {}).get("calibration")
    return None if not isinstance(own, dict) or own.get("folder") is None else run.path / own["folder"]


def _stopped_at(run: Run) -> datetime:
    """Return when a run was stopped; of a killed one, when it last wrote down its conductances."""
    lines = [] if run.stop is not None else run.lines("states")
    seconds = run.stop["time"] if run.stop is not None else lines[-1]["time"] if lines else run.start["time"]
    return datetime.fromtimestamp(seconds, UTC)


def _procedure_and_time(path: Path) -> tuple[str, datetime | None]:
    """Return what a file says that it is, unchecked; no time where it says nothing of the kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return str(content["procedure"]), _time(content)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", None


def _time(record: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(record["time"]).astimezone(UTC)


def _damage(path: Path, checksum: str) -> str:
    """Say what is wrong with a record's two files: nothing, where both are what they were when it was used."""
    try:
        text = path.read_bytes()
    except OSError:
        return f"{path.name} is missing"
    if hashlib.sha256(text).hexdigest() != checksum:
        return f"{path.name} was changed"
    arrays = json.loads(text)["arrays"]
    beside = path.parent / Path(arrays["file"]).name
    try:
        stored = beside.read_bytes()
    except OSError:
        return f"{beside.name} is missing"
    return "" if hashlib.sha256(stored).hexdigest() == arrays["sha256"] else f"{beside.name} was changed"
