"""What a procedure is: what it needs, what it will drive, the measurements it yields, and what it found.

Like a learning rule it is a generator that owns no bench: it yields a `Measurement`, is sent its record, and ends with
`Findings`. So it is tested by feeding it records, and a runner can show, count, interrupt and make safe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

import numpy as np

from calibration.direct_model import refuse_nonlinear
from calibration.drives import ohms_of_leads, subject_conductances
from calibration.options import check_options
from calibration.records import CalibrationRecord, Quantity, Verdict, quantity_named
from calibration.subject import Subject
from freqprop_lab.network import GROUND
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
    highest that will be programmed, S, (tunable,) each, or None. seconds: of signal, settling included. terminals:
    between which voltages every node and lead surely stays, V.
    """

    n_records: int
    n_programmings: int
    seconds: float
    lowest: Array
    highest: Array
    conductances: tuple[Array, Array] | None
    terminals: tuple[float, float]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What a procedure ends with; the runner makes a record of it.

    settings: how it was measured, beside options, sampling and numbers of records, which the runner adds. outcome: what
    came out beside quantities, as plain data. arrays: raw data worth keeping, by name.
    """

    quantities: tuple[Quantity, ...]
    verdict: Verdict
    settings: Mapping[str, Any] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    arrays: Mapping[str, Array] = field(default_factory=dict)
    notes: str = ""
    outcome: Mapping[str, Any] = field(default_factory=dict)

    def quantity(self, name: str) -> Quantity:
        """Return a quantity by name. Raises KeyError naming the nearest and all others."""
        return quantity_named(self.quantities, name, "this procedure")

    def as_record(self, procedure: str, bench: str, time: datetime, **more: Any) -> CalibrationRecord:
        """Return the record of it; more: any other field of a record, such as instruments. Raises ValueError."""
        more.setdefault("instruments", ())
        return CalibrationRecord(
            procedure=procedure,
            bench=bench,
            time=time,
            settings=dict(self.settings),
            outcome=dict(self.outcome),
            assumptions=self.assumptions,
            quantities=self.quantities,
            verdict=self.verdict,
            notes=self.notes,
            raw=dict(self.arrays),
            **more,
        )


Process = Generator[Measurement, Taken, Findings]


@dataclass(frozen=True)
class Procedure(ABC):
    """One thing that can be calibrated: a frozen dataclass whose fields are all `option(...)`.

    name: of the command and its records; title, needs: for people. wants_corrected_bench: whether it checks what
    training does, on a bench as the records so far correct it; all others see the bench as it is. Raises ProcedureError
    for an option beyond its bounds.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    wants_corrected_bench: ClassVar[bool] = False
    goes_by: ClassVar[tuple[str, ...]] = ()  # procedures whose records it takes its absolute values from

    def __post_init__(self) -> None:
        """Hold the options against their bounds."""
        check_options(self)

    @abstractmethod
    def plan(self, subject: Subject) -> Plan:
        """Say what `process` will drive at most. Raises ProcedureError, SubjectError where it can't."""

    @abstractmethod
    def process(self, subject: Subject) -> Process:
        """Yield measurements, be sent what came of each, and end with the findings. Raises ProcedureError."""


@dataclass(frozen=True)
class ListedProcedure(Procedure):
    """A procedure whose measurements are all known beforehand.

    of_resistors: whether it makes sense of networks of resistors alone, as all that goes by `DirectModel` does.
    """

    of_resistors: ClassVar[bool] = True

    @abstractmethod
    def measurements(self, subject: Subject) -> list[Measurement]:
        """Return every record that is wanted, in order."""

    @abstractmethod
    def evaluate(self, subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]) -> Findings:
        """Return what the records say."""

    def plan(self, subject: Subject) -> Plan:
        """Add up the measurements. Raises ModelError for an element that `evaluate` could make nothing of."""
        if self.of_resistors:
            refuse_nonlinear(subject.network)
        return plan_of(subject, self.measurements(subject))

    def process(self, subject: Subject) -> Process:
        """Take them one after the other."""
        listed = self.measurements(subject)
        taken = []
        for measurement in listed:
            taken.append((yield measurement))
        return self.evaluate(subject, listed, taken)


def reach(drive: ChannelDrive) -> tuple[Array, Array]:
    """Return between which values each lead moves, waveform included, V or A, (lead,) each."""
    if drive.waveform is None or drive.amplitudes is None:
        return drive.levels, drive.levels
    ends = np.sort(np.outer([drive.waveform.lowest, drive.waveform.highest], drive.amplitudes), axis=0)
    return drive.levels + ends[0], drive.levels + ends[1]


def plan_of(subject: Subject, listed: Sequence[Measurement], words: tuple[str, ...] = ()) -> Plan:
    """Return the plan of measurements that are known."""
    sampling, ends = subject.sampling, []
    seconds = 0.0
    for one in listed:
        ends.append(reach(one.drive))
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
        _terminals(subject, listed),
        words,
    )


def _terminals(subject: Subject, listed: Sequence[Measurement]) -> tuple[float, float]:
    """Return between which voltages every node stays in all measurements, V: a bound, in networks of any elements.

    What voltage sources make lies between the lowest and the highest of them, and ground. A current adds to that
    between nothing and what it makes at its own node, the product with what it sees there; which is less where branches
    conduct more, or more of them do (Rayleigh). Elements are at rest on the way, so that each measurement counts with
    its own conductances, and all of its currents together.
    """
    voltage, current = subject.voltage, subject.live & ~subject.voltage
    to_ground = np.array([lead.minus < 0 for lead in subject.leads], dtype=bool)[current]
    has_ground = any(GROUND in (branch.plus, branch.minus) for branch in subject.network.branches)
    nothing = (0.0, 0.0) if has_ground or not voltage.any() else (np.inf, -np.inf)
    ohms, tunable = np.zeros(int(current.sum())), None
    found = [nothing]
    for one in listed:
        if current.any() and (tunable is None or one.conductances is not None):
            tunable = subject.conductances if one.conductances is None else one.conductances
            ohms = ohms_of_leads(subject, subject_conductances(subject, tunable))[current]
        low, high = reach(one.drive)
        below, above = np.maximum(-low[current], 0.0) * ohms, np.maximum(high[current], 0.0) * ohms
        # A current from node to node moves them both ways.
        below, above = (np.where(to_ground, own, np.maximum(below, above)) for own in (below, above))
        ends = np.min(low[voltage], initial=nothing[0]), np.max(high[voltage], initial=nothing[1])
        found.append((float(ends[0] - below.sum()), float(ends[1] + above.sum())))
    return min(low for low, _ in found), max(high for _, high in found)
