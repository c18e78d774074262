"""The folder of records: written once, aside and then linked, so that a record is there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.records._errors import RecordError, Refusal, Why
from calibration.records._file import RecordFile, content_of, file_stem, parse_content, record_of, sealed
from calibration.records._record import CalibrationRecord, InstrumentId
from freqprop_lab.config import FileError, read_text
from freqprop_lab.names import cut, nearest, shown

_BEING_WRITTEN = 60.0  # s: what is younger may be the half of a record that another process is writing
AHEAD = 60.0  # s, by which a record may be dated ahead of now: clocks of two computers differ
_NAME = re.compile(r"(?P<procedure>[a-z][a-z0-9-]*)-(?P<stamp>\d{8}T\d{6}Z)-[0-9a-f]{8}\.json")


@dataclass(frozen=True)
class Chosen:
    """The newest valid record, None where there is none, and what was passed over to find it, newest first.

    stale: it is past its expiry, or older than was asked for; it may be used, and a person should know.
    """

    record: CalibrationRecord | None
    refused: tuple[Refusal, ...] = ()
    stale: bool = False
    path: Path | None = None


class RecordFolder:
    """A folder of records. Any number of processes may add to it and read it at once."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def add(self, record: CalibrationRecord) -> Path:
        """Write a record and return the path of its JSON file; nothing that exists is ever overwritten.

        Arrays first, then the JSON that names them, both onto the disk: who sees the JSON sees all of it. Raises
        RecordError where the folder does not take it or the record is there already, ValueError for half letters.
        """
        stem = file_stem(record)
        path, beside = self.path / f"{stem}.json", self.path / f"{stem}.npz"
        content, arrays = content_of(record)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        stored = buffer.getvalue()
        content["arrays"] = {"file": beside.name, "bytes": len(stored), "sha256": hashlib.sha256(stored).hexdigest()}
        text = sealed(content)
        with _told(path, self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if not (beside.is_file() and beside.read_bytes() == stored):  # what an interrupted call left is as good
                _write_new(beside, stored)
            _write_new(path, text)
        return path

    def refuse_unwritable(self) -> None:
        """Raise RecordError where a record could not be written now; the folder is left as it was, or not there."""
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        tried = self.path / f".{uuid.uuid4().hex[:8]}.part"
        with _told(self.path, self.path):
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                tried.touch(exist_ok=False)
            finally:
                with suppress(OSError):
                    tried.unlink()
                for folder in missing:
                    with suppress(OSError):  # another process may have put a record there meanwhile
                        folder.rmdir()

    def read(
        self,
        path: Path | str,
        *,
        instruments: Sequence[InstrumentId] | None = None,
        now: datetime | None = None,
        bench: str | None = None,
        raw: bool = True,
    ) -> CalibrationRecord:
        """Read and check one record; a bare name is looked for in this folder, with or without .json.

        What is given is held against it: `instruments` that are present, `now` (aware), the `bench`. raw False leaves
        the raw arrays out. Raises RecordError. A record past its expiry is valid: see `CalibrationRecord.is_stale`.
        """
        path = Path(path)
        if path.parent == Path():
            path = self.path / (path.name if path.suffix == ".json" else f"{path.name}.json")
        return read_record(path, instruments=instruments, now=now, bench=bench, raw=raw)

    def all(self, *, raw: bool = True) -> list[tuple[Path, CalibrationRecord | RecordError]]:
        """Return every record, oldest first, and in the place of a bad one what is wrong with it.

        Bad ones whose name tells no time come last. A folder that does not exist holds none.
        """
        found: list[tuple[Path, CalibrationRecord | RecordError]] = []
        for path in self._paths():
            try:
                found.append((path, read_record(path, raw=raw)))
            except RecordError as error:
                found.append((path, error))
        return sorted(found, key=lambda one: (_stamp(one[0]) or "~", _when(one[1]), one[0].name))

    def procedures(self) -> list[str]:
        """Return the procedures that have records here, by the names of the files alone."""
        named = (_NAME.fullmatch(path.name) for path in self._paths())
        return sorted({match["procedure"] for match in named if match is not None})

    def newest(
        self,
        procedure: str,
        *,
        now: datetime,
        bench: str | None = None,
        instruments: Sequence[InstrumentId] | None = None,
        max_age: timedelta | None = None,
        before: datetime | None = None,
        raw: bool = True,
        fits: Callable[[Path, CalibrationRecord], None] = lambda *_: None,
    ) -> Chosen:
        """Return the newest record of a procedure that is valid at `now`, and every newer one that was refused.

        Files whose name is not that of a record are among the refused. max_age: an older one is stale. before: only
        records of earlier than that. bench, instruments, raw: as for `read`. fits: raises RecordError for one that is
        valid and may still not be used.
        """
        refused: list[Refusal] = []
        for stamp, group in groupby(sorted(self._candidates(procedure), key=_order, reverse=True), key=_stamp):
            good: list[tuple[datetime, str, Path, CalibrationRecord]] = []
            for path in group:
                try:
                    record = read_record(path, instruments=instruments, now=now, bench=bench, raw=raw)
                    if before is not None and record.time >= before:
                        continue
                    if record.procedure != procedure or stamp is None:
                        continue
                    fits(path, record)
                except RecordError as error:
                    refused.append(Refusal(path, error.why, error.message))
                    continue
                good.append((record.time, path.name, path, record))
            if good:
                _, _, path, record = max(good, key=lambda one: one[:2])
                return Chosen(record, tuple(refused), record.is_stale(now, max_age), path)
        return Chosen(None, tuple(refused))

    def leftovers(self) -> list[Path]:
        """Return what interrupted calls left: arrays without a record, and parts. They may be deleted.

        What is younger than a minute is not among them: another process may be writing it.
        """
        if not self.path.is_dir():
            return []
        alone = [path for path in self.path.glob("*.npz") if not path.with_suffix(".json").exists()]
        now = time.time()
        return sorted(path for path in (*alone, *self.path.glob(".*.part")) if _age(path, now) > _BEING_WRITTEN)

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.path.glob("*.json") if not path.name.startswith("."))

    def _candidates(self, procedure: str) -> Iterator[Path]:
        for path in self._paths():
            named = _NAME.fullmatch(path.name)
            if named is None or named["procedure"] == procedure:
                yield path


def read_record(
    path: Path,
    *,
    instruments: Sequence[InstrumentId] | None = None,
    now: datetime | None = None,
    bench: str | None = None,
    raw: bool = True,
) -> CalibrationRecord:
    """Read and check one record by its path: see `RecordFolder.read`. Raises RecordError."""
    try:
        text = read_text(path)
    except FileError as error:
        raise RecordError(path, error.message, line=error.line) from None
    file = parse_content(path, text)
    record = record_of(path, file, _read_arrays(path, file, raw=raw), raw=raw)
    if path.stem != file_stem(record):
        message = f"was written as {file_stem(record)}.json: the name is part of the record. Name it so again"
        raise RecordError(path, message, Why.EDITED)
    if now is not None and (ahead := (record.time - now).total_seconds()) > AHEAD:
        message = (
            f"is dated {record.time:%Y-%m-%d %H:%M:%S} UTC, {ahead:.0f} s ahead of now. Set the clock, or move it away"
        )
        raise RecordError(path, message, Why.FUTURE)
    if bench is not None and record.bench != bench:
        message = f'was taken on the bench "{cut(record.bench)}", this is "{cut(bench)}". Calibrate this bench'
        raise RecordError(path, message, Why.OTHER_BENCH)
    if instruments is not None:
        _refuse_foreign(path, record, instruments)
    return record


def _refuse_foreign(path: Path, record: CalibrationRecord, present: Sequence[InstrumentId]) -> None:
    by_name = {instrument.name: instrument for instrument in present}
    for recorded in record.instruments:
        here = by_name.get(recorded.name)
        if here is None:
            known = list(by_name)
            message = (
                f'was taken with "{cut(recorded.name)}" ({recorded.words}), and this bench has no such instrument.'
                f"{nearest(recorded.name, known)} It has: {shown(known) or 'none'}. Calibrate this bench"
            )
            raise RecordError(path, message, Why.FOREIGN)
        if not _same_instrument(recorded, here):
            message = (
                f'was taken with another "{cut(recorded.name)}": {recorded.words}; present is {here.words}. '
                "Calibrate with the one that is present"
            )
            raise RecordError(path, message, Why.FOREIGN)


def _same_instrument(one: InstrumentId, other: InstrumentId) -> bool:
    """Compare maker, model and serial number, letter case and spaces apart; what either does not tell, passes."""
    return all(
        not a.strip() or not b.strip() or a.split() == b.split()
        for a, b in (
            (getattr(one, part).casefold(), getattr(other, part).casefold())
            for part in ("manufacturer", "model", "serial")
        )
    )


def _read_arrays(path: Path, file: RecordFile, *, raw: bool) -> dict[str, NDArray[Any]]:
    """Return the arrays beside a record once their checksum is found right; the same open file is hashed and read."""
    beside = path.parent / file.arrays.file
    again = "Bring both files together again, or calibrate anew"
    try:
        with beside.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != file.arrays.sha256:
                size = stream.seek(0, os.SEEK_END)
                what = "was cut" if size < file.arrays.bytes else "was changed after it was written"
                message = (
                    f"its arrays file {beside.name} {what} ({size} bytes, {file.arrays.bytes} were written). {again}"
                )
                raise RecordError(path, message, Why.EDITED)
            stream.seek(0)
            if sum(member.file_size for member in zipfile.ZipFile(stream).infolist()) > file.arrays.bytes:
                raise RecordError(
                    path, f"its arrays file {beside.name} is compressed, which no record's is", Why.EDITED
                )
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as loaded:
                return {key: loaded[key] for key in loaded.files if raw or not key.startswith("raw/")}
    except FileNotFoundError:
        raise RecordError(path, f"its arrays file {beside.name} is missing. {again}", Why.EDITED) from None
    except OSError as error:
        raise RecordError(path, f"its arrays file {beside.name} can't be read: {error.strerror or error}") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RecordError(path, f"its arrays file {beside.name} is none: {error}", Why.EDITED) from None


def _write_new(path: Path, content: bytes) -> None:
    """Write a file aside, onto the disk, and give it its name unless that is taken. Raises FileExistsError."""
    aside = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _link(aside, path)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()
    _sync_folder(path.parent)


def _link(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without links (a USB stick). Names carry the uid, so nobody else writes this one.
        if path.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(path)) from None
        aside.rename(path)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _told(path: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        if isinstance(error, NotADirectoryError) or error.filename == str(folder):
            message = f"{folder} is no folder. Choose another folder"
            raise RecordError(path, message, Why.UNWRITABLE) from None
        taken = Path(error.filename2 or error.filename or path).name
        message = f"{taken} exists already, and a record is never overwritten"
        raise RecordError(path, message, Why.EXISTS) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = "the disk is full. Make room, then calibrate anew"
        elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            remedy = f"{error.filename or path} may not be written. Change its permissions, or choose another folder"
        else:
            remedy = f"{error.filename or path}: {error.strerror or error}"
        raise RecordError(path, remedy, Why.UNWRITABLE) from None


def _age(path: Path, now: float) -> float:
    """Return for how long a file has not been written to, s; 0 for one that is gone."""
    try:
        return now - path.stat().st_mtime
    except OSError:
        return 0.0


def _stamp(path: Path) -> str | None:
    named = _NAME.fullmatch(path.name)
    return named["stamp"] if named else None


def _order(path: Path) -> tuple[str, str]:
    return _stamp(path) or "~", path.name  # names that tell no time first, when reversed


def _when(found: CalibrationRecord | RecordError) -> str:
    return f"{found.time:%f}" if isinstance(found, CalibrationRecord) else ""
