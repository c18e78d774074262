"""A run's folder while it is written: made aside and renamed, one writer at a time, row first and then its line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from filelock import FileLock, Timeout

from freqprop_lab.runs._checkpoint import Checkpoint
from freqprop_lab.values import Array

_SYNC_EVERY = 1.0  # s
_NUMBER = np.dtype("<f8")
STREAMS = ("steps", "states")


class RunError(Exception):
    """A run folder that can't be made, opened or written; says which and what to do."""


class WrongRunError(RunError):
    """A folder that is not what was asked for: no run where one is wanted, or one where none may be."""


@dataclass(frozen=True)
class RunContents:
    """What a new folder begins with. texts: files by name, verbatim; copies: other files, by the name they get."""

    start: Mapping[str, Any]
    streams: Mapping[str, Any]
    checkpoint: Checkpoint
    texts: Mapping[str, str]
    copies: Mapping[str, Path]


class RunFolder:
    """An open run folder; its lock is held until it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / ".lock")
        with told(path):
            self._acquire()
            try:
                self.checkpoint = self._read_checkpoint()
                streams = json.loads((path / "streams.json").read_text(encoding="utf-8"))
                self._epochs = _open(path / "epochs.jsonl")
                _keep_lines(self._epochs, self.checkpoint.values["n_epoch_lines"])
                lines = {"steps": self.checkpoint.seq_num, "states": self.checkpoint.values["n_state_lines"]}
                self._streams = {name: _Stream(path, name, streams[name]["width"], lines[name]) for name in STREAMS}
            except BaseException:
                self._lock.release()
                raise
        self._synced = time.monotonic()

    def append(self, stream: str, rows: Array, lines: Sequence[str]) -> None:
        """Add rows (line, column) to a stream, and then the lines that promise them."""
        with told(self.path):
            self._streams[stream].append(rows, lines)

    def append_epoch(self, line: Mapping[str, Any]) -> None:
        """Add a line to epochs.jsonl."""
        with told(self.path):
            self._epochs.write(f"{json.dumps(line, allow_nan=False)}\n".encode())
            self._epochs.flush()

    def save(self, checkpoint: Checkpoint, *, sync: bool = False) -> None:
        """Write a checkpoint; everything reaches the disk once a second, or now if sync is true."""
        with told(self.path):
            sync = sync or time.monotonic() - self._synced > _SYNC_EVERY
            if sync:
                for stream in self._streams.values():
                    stream.sync()
                os.fsync(self._epochs.fileno())
                self._synced = time.monotonic()
            checkpoint.write(self.path, sync=sync)
            self.checkpoint = checkpoint

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a small file aside and rename it."""
        with told(self.path):
            aside = self.path / f".{name}.part"
            aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            aside.replace(self.path / name)

    def reopen(self) -> None:
        """Note how the run ended before, and take that back: it goes on."""
        with told(self.path):
            stop = self.path / "stop.json"
            if stop.is_file():
                self.note("interruptions", json.loads(stop.read_text(encoding="utf-8")))
                stop.unlink()

    def note(self, name: str, line: Mapping[str, Any]) -> None:
        """Add a line to a file that only resumed runs have: `interruptions`, `calibrations`."""
        with told(self.path), (self.path / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(line)}\n")

    def close(self) -> None:
        """Close the files and give the folder free."""
        for stream in self._streams.values():
            stream.close()
        self._epochs.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"run {self.path} is in use by another process; wait until it ends, or stop it. Nothing was changed"
            ) from None

    def _read_checkpoint(self) -> Checkpoint:
        try:
            return Checkpoint.read(self.path)
        except FileNotFoundError:
            raise RunError(f"run {self.path} has no whole checkpoint; it can't be resumed") from None


def new_run_path(base: Path, name: str) -> Path:
    """Return a path for a new run below `base`, by name and time."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = base / f"{name}-{stamp}"
    number = 2
    while path.exists():
        path = base / f"{name}-{stamp}-{number}"
        number += 1
    return path


def create_run(path: Path, contents: RunContents) -> RunFolder:
    """Make the folder aside, rename it once start.json and the first checkpoint are whole, and open it.

    So a folder that exists can be resumed. Raises RunError; an existing folder is left alone.
    """
    if path.exists():
        raise WrongRunError(
            f"{path} exists already, and a run never overwrites anything. Resume it with: freqprop resume {path}, or "
            "choose another folder with --run"
        )
    aside = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    with told(path):
        aside.mkdir(parents=True)
        try:
            _fill(aside, contents)
            aside.rename(path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return RunFolder(path)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn the operating system's faults into a message that says what is lost (nothing) and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = "the disk is full. Make room"
        elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            remedy = f"{error.filename or path} may not be written. Change its permissions, or choose another folder"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST):
            remedy = f"{error.filename or path} is no folder. Choose another folder"
        else:
            remedy = f"{error.strerror or error}"
        resume = f", then go on with: freqprop resume {path}" if (path / "start.json").exists() else ""
        raise RunError(f"run {path}: {remedy}{resume}") from error


def _fill(folder: Path, contents: RunContents) -> None:
    for name, source in contents.copies.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    for name, text in contents.texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, content in (("streams.json", contents.streams), ("start.json", contents.start)):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for stream in STREAMS:
        (folder / f"{stream}.jsonl").touch()
        (folder / f"{stream}.f64").touch()
    (folder / "epochs.jsonl").touch()
    contents.checkpoint.write(folder, sync=True)


class _Stream:
    """One pair of files: raw float64 rows of `width` numbers, and the lines that promise them."""

    def __init__(self, folder: Path, name: str, width: int, n_lines: int) -> None:
        self._rows, self._lines = _open(folder / f"{name}.f64"), _open(folder / f"{name}.jsonl")
        # What came after the checkpoint is computed again, so both are cut to it.
        _keep_lines(self._lines, n_lines)
        size = n_lines * width * _NUMBER.itemsize
        if self._rows.seek(0, os.SEEK_END) < size:
            raise RunError(f"{folder / name}.f64 is shorter than its checkpoint says; the run can't be resumed")
        self._rows.truncate(size)
        self._rows.seek(size)

    def append(self, rows: Array, lines: Sequence[str]) -> None:
        self._rows.write(np.ascontiguousarray(rows, dtype=_NUMBER).tobytes())
        self._rows.flush()
        self._lines.write("".join(f"{line}\n" for line in lines).encode())
        self._lines.flush()

    def sync(self) -> None:
        os.fsync(self._rows.fileno())
        os.fsync(self._lines.fileno())

    def close(self) -> None:
        # After a full disk the last bytes can't be flushed; the checkpoint has what counts.
        for file in (self._rows, self._lines):
            with suppress(OSError):
                file.close()


def _open(path: Path) -> BinaryIO:
    return path.open("r+b")


def _keep_lines(file: BinaryIO, n_lines: int) -> None:
    for number in range(n_lines):
        if not file.readline().endswith(b"\n"):
            raise RunError(f"{file.name} holds {number} lines, its checkpoint says {n_lines}; it can't be resumed")
    end = file.tell()
    file.truncate(end)
    file.seek(end)
