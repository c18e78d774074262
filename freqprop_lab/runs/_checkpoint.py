"""Checkpoints: everything that the next step hangs on, in one file that is whole or not there."""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NEWEST, _SYNCED = "checkpoint.npz", "checkpoint.synced.npz"
_META = "meta"


@dataclass(frozen=True)
class Checkpoint:
    """Named arrays, and whatever else fits JSON. seq_num: steps done; the log's first so many belong to it."""

    seq_num: int
    arrays: dict[str, NDArray[Any]]
    values: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path, *, sync: bool) -> None:
        """Write aside and rename. sync: also onto the disk, and once more under a name that is never written unsynced.

        A killed process loses nothing that was renamed; a power cut may lose what was not synced, and then the other
        file is still there.
        """
        buffer = io.BytesIO()
        meta = json.dumps({"seq_num": self.seq_num, **self.values})
        np.savez(buffer, allow_pickle=False, **{_META: np.array(meta)}, **self.arrays)
        for name in (_NEWEST, _SYNCED) if sync else (_NEWEST,):
            aside = folder / f".{name}.part"
            with aside.open("wb") as file:
                file.write(buffer.getbuffer())
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            aside.replace(folder / name)

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """Read the newest one that is whole. Raises FileNotFoundError where there is none."""
        for name in (_NEWEST, _SYNCED):
            try:
                with np.load(io.BytesIO((folder / name).read_bytes()), allow_pickle=False) as file:
                    arrays = {key: file[key] for key in file.files if key != _META}
                    values = json.loads(str(file[_META]))
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                continue
            return cls(values.pop("seq_num"), arrays, values)
        raise FileNotFoundError(f"no whole checkpoint in {folder}")
