"""What a procedure is: what it needs, what it will drive, the measurements it yields, and what it found.

Like a learning rule it is a generator that owns no bench: it yields a `Measurement`, is sent its record, and ends with
`Findings`. So it is tested by feeding it records, and a runner can show, count, interrupt and make safe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from calibration.records import Quantity, Verdict
from calibration.subject import Subject
from freqprop_lab.values import Array, ChannelDrive, Record


@dataclass(frozen=True)
class Measurement:
    """One record that is wanted. conductances: to be programmed first, S, (tunable,); None: as they are.

    n_periods, frequency (Hz): those of the bench file if None. says: a few words for the progress bar.
    """

    drive: ChannelDrive
    conductances: Array | None = None
    n_periods: int | None = None
    frequency: float | None = None
    says: str = ""


@dataclass(frozen=True)
class Taken:
    """What came of a measurement: samples, what the elements hold (S, (tunable,)), the nudge's frequency (Hz)."""

    record: Record
    conductances: Array
    frequency: float


@dataclass(frozen=True)
class Plan:
    """What a procedure would do, told before it starts. Levels and amplitudes: the largest of each lead, V or A.

    lowest, highest: of each lead, waveform included, (lead,); NaN where it stays released. conductances: lowest and
    highest that will be programmed, S, (tunable,) each, or None. seconds: of signal, settling included.
    """

    n_records: int
    n_programmings: int
    seconds: float
    lowest: Array
    highest: Array
    conductances: tuple[Array, Array] | None
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What a procedure ends with; the runner makes a record of it. arrays: raw data worth keeping, by name."""

    quantities: tuple[Quantity, ...]
    verdict: Verdict
    settings: Mapping[str, Any] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    arrays: Mapping[str, Array] = field(default_factory=dict)
    notes: str = ""


Process = Generator[Measurement, Taken, Findings]


class Procedure(ABC):
    """One thing that can be calibrated. name: of the command and its records; title, needs: for people."""

    name: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    valid_days: ClassVar[float] = 30.0  # after which a record counts as stale
    corrected: ClassVar[bool] = False  # whether it checks what training does, on a bench that is corrected already

    @abstractmethod
    def plan(self, subject: Subject) -> Plan:
        """Say what `process` will drive at most. Raises ProcedureError, SubjectError where it can't."""

    @abstractmethod
    def process(self, subject: Subject) -> Process:
        """Yield measurements, be sent what came of each, and end with the findings. Raises ProcedureError."""


class ListedProcedure(Procedure):
    """A procedure whose measurements are all known beforehand."""

    @abstractmethod
    def measurements(self, subject: Subject) -> list[Measurement]:
        """Return every record that is wanted, in order."""

    @abstractmethod
    def evaluate(self, subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]) -> Findings:
        """Return what the records say."""

    def plan(self, subject: Subject) -> Plan:
        """Add up the measurements."""
        return plan_of(subject, self.measurements(subject))

    def process(self, subject: Subject) -> Process:
        """Take them one after the other."""
        listed = self.measurements(subject)
        taken = []
        for measurement in listed:
            taken.append((yield measurement))
        return self.evaluate(subject, listed, taken)


def plan_of(subject: Subject, listed: Sequence[Measurement], words: tuple[str, ...] = ()) -> Plan:
    """Return the plan of measurements that are known."""
    sampling, ends = subject.sampling, []
    seconds = 0.0
    for one in listed:
        drive, reach = one.drive, np.zeros((2, len(subject.leads)))
        if drive.waveform is not None and drive.amplitudes is not None:
            reach = np.sort(np.outer([drive.waveform.lowest, drive.waveform.highest], drive.amplitudes), axis=0)
        ends.append(drive.levels + reach)
        frequency = one.frequency or sampling.frequency
        seconds += (one.n_periods or sampling.periods) / frequency + sampling.settle
    stacked = np.array(ends).reshape(-1, 2, len(subject.leads))
    programmed = [one.conductances for one in listed if one.conductances is not None]
    bounds = None
    if programmed:
        bounds = np.min(programmed, axis=0), np.max(programmed, axis=0)
    return Plan(
        len(listed),
        len(programmed),
        seconds,
        np.fmin.reduce(stacked[:, 0], axis=0),
        np.fmax.reduce(stacked[:, 1], axis=0),
        bounds,
        words,
    )
