"""A record that can't be used, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from freqprop_lab.config import FileError


class Why(Enum):
    """The kinds of reason for which a record is refused."""

    UNREADABLE = "unreadable"  # no such file, not JSON, not a record
    VERSION = "version"  # a record of a schema that this program does not know
    EDITED = "edited"  # content, name or arrays are not what was written
    FUTURE = "future"  # dated ahead of now
    FOREIGN = "foreign"  # taken with another instrument
    OTHER_BENCH = "other bench"  # taken on another bench
    OTHER_NETWORK = "other network"  # taken on another network, or on other wiring
    OTHER_SAMPLING = "other sampling"  # taken at another frequency, which it hangs on
    BAD = "bad"  # its own verdict
    EXISTS = "exists"  # asked to be written where something stands already
    UNWRITABLE = "unwritable"  # the folder does not take it


class RecordError(FileError):
    """A calibration record that can't be used or written: says which file, why, and what to do."""

    def __init__(self, path: Path | str, message: str, why: Why = Why.UNREADABLE, line: int | None = None) -> None:
        super().__init__(path, message, line)
        self.why = why
        if why in (Why.EXISTS, Why.UNWRITABLE):
            self.args = (f"{str(self).removesuffix('Nothing was started.')}This record was not written.",)


@dataclass(frozen=True)
class Refusal:
    """A record that was passed over, and the reason in words."""

    path: Path
    why: Why
    reason: str
