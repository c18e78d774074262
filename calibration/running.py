"""Running a procedure on a bench: limits checked before the first wire, progress, abort into safety, a record."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from calibration.choosing import believed
from calibration.errors import ProcedureError
from calibration.fingerprint import fingerprint
from calibration.options import asked_of
from calibration.procedure import Findings, Measurement, Plan, Procedure, Taken, reach
from calibration.record_names import CHANNELS, OPTIONS, RECORDS_FOLDER, SAMPLING
from calibration.records import CalibrationRecord, InstrumentId, RecordFolder
from calibration.subject import Known, Subject, subject_of
from freqprop_lab.bench import Bench
from freqprop_lab.config import SamplingSection
from freqprop_lab.instruments import InstrumentError, OverloadError
from freqprop_lab.stopping import Interrupted, StopRequest
from freqprop_lab.values import Record

_EXACTLY = 1e-9  # relative: what arithmetic may differ by
_VALID = timedelta(days=30)  # after which a record counts as stale
Tell = Callable[[int, int, str], None]  # records taken, records in all, what is being done


@dataclass(frozen=True)
class Calibrated:
    """A record that was written, and where."""

    record: CalibrationRecord
    path: Path


def known_records(folder: RecordFolder, bench: Bench, now: datetime) -> Known:
    """Return the records that procedures may go by, by procedure: see `calibration.choosing`.

    Raises InstrumentError where an instrument doesn't say who it is.
    """
    return believed(folder, bench, identities(bench), now)


def identities(bench: Bench) -> tuple[InstrumentId, ...]:
    """Ask every instrument of the bench who it is; roles of one instrument are named once."""
    found: dict[str, InstrumentId] = {}
    for instrument in bench.instruments:
        found.setdefault(instrument.name, InstrumentId.of(instrument.name, instrument.identify()))
    return tuple(found.values())


def check_plan(subject: Subject, plan: Plan) -> None:
    """Hold what a procedure would drive against limits and ratings. Raises ProcedureError; nothing was driven."""
    for number, lead in enumerate(subject.leads):
        low, high = plan.lowest[number], plan.highest[number]
        if low < subject.source_low[number] or high > subject.source_high[number]:
            raise ProcedureError(
                f"{lead.name} at node {subject.node_of(lead)} would get {low:.4g} to {high:.4g}, its limits are "
                f"{subject.source_low[number]:.4g} and {subject.source_high[number]:.4g}. Nothing was driven; lower "
                "--volts"
            )
    (low, high), ratings = plan.terminals, subject.ratings
    highest = float(np.max(subject.conductances if plan.conductances is None else plan.conductances[1], initial=0.0))
    span = high - low
    rails = ratings.rails or (-np.inf, np.inf)
    for what, worst, allowed, unit in (
        ("a terminal", high, rails[1], "V"),
        ("a terminal", -low, -rails[0], "V below zero"),
        ("the voltage across an element", span, ratings.voltage, "V"),
        ("the current in an element", highest * span, ratings.current, "A"),
        ("the power in an element", highest * span**2, ratings.power, "W"),
    ):
        if allowed is not None and worst > allowed * (1 + 1e-9):
            raise ProcedureError(
                f"{what} could reach {worst:.4g} {unit}, ratings allow {allowed:.4g}. Nothing was driven; lower --volts"
            )


def run_procedure(
    bench: Bench,
    procedure: Procedure,
    *,
    known: Mapping[str, CalibrationRecord] | None = None,
    subject: Subject | None = None,
    stop: StopRequest | None = None,
    tell: Tell = lambda *_: None,
) -> Findings:
    """Take the records that the procedure asks for, one after the other, and return what it found; nothing is written.

    known: earlier records by procedure. subject: the bench as data, where it is at hand. Nothing is driven or
    programmed beyond the procedure's plan. Raises Interrupted between two records once somebody asked to stop;
    ProcedureError, InstrumentError. The bench's sampling is put back on every way out; where the procedure doesn't get
    to its end, the sources go to rest and then the elements back, unless somebody asked twice to stop, which means at
    once. Making safe is the caller's.
    """
    subject = subject or subject_of(bench, known)
    plan = procedure.plan(subject)
    check_plan(subject, plan)
    sampling, held, process = bench.sampling, bench.conductances.copy(), procedure.process(subject)
    n_taken, n_samples, is_done = 0, 0, False
    try:
        wanted = next(process)
        while True:
            if stop is not None and stop.wanted:
                raise Interrupted(f"stopped after {n_taken} of {plan.n_records} records; no calibration was recorded")
            _refuse_beyond(subject, plan, wanted)
            tell(n_taken, plan.n_records, wanted.says)
            taken = _take(bench, wanted, sampling)
            n_taken, n_samples = n_taken + 1, max(n_samples, taken.record.volts.shape[1])
            if n_taken == plan.n_records:  # what follows is arithmetic, of minutes on a large network
                bench.rest()
                tell(n_taken, plan.n_records, "working it out")
            wanted = process.send(taken)
    except StopIteration as finished:
        findings: Findings = finished.value
        is_done = True
        measured = {"records": n_taken, "samples": n_samples, SAMPLING: sampling.model_dump()}
        measured[CHANNELS] = subject.channels()
        return replace(findings, settings={OPTIONS: asked_of(procedure), **measured, **findings.settings})
    finally:
        process.close()
        bench.sampling = sampling
        if not is_done and not (stop is not None and stop.count > 1):
            with suppress(InstrumentError):  # what went wrong before is what counts
                bench.rest()
                if plan.n_programmings and not np.isnan(held).any():
                    bench.program(held)


def calibrate(
    bench: Bench,
    procedure: Procedure,
    folder: RecordFolder | Path | str = RECORDS_FOLDER,
    *,
    stop: StopRequest | None = None,
    tell: Tell = lambda *_: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    operator: str = "",
) -> Calibrated:
    """Run a procedure on an open bench and write its record; on every way out the bench is made safe.

    Elements that making safe moves are programmed before, with what they had last or else what the bench file lists.
    The bench is not corrected, unless the procedure checks how it is then. Raises ProcedureError, InstrumentError,
    Interrupted; RecordError where the folder takes no record, before anything is driven. Where the bench can't be made
    safe at the end, the record is written and then that is raised.
    """
    if bench.correction is not None and not procedure.wants_corrected_bench:
        raise ProcedureError(f"bench {bench.name} is corrected already; open it with corrected=False to calibrate it")
    records = folder if isinstance(folder, RecordFolder) else RecordFolder(Path(folder))
    records.refuse_unwritable()
    findings: Findings | None = None
    unsafe: Exception | None = None
    try:
        instruments = identities(bench)
        _program_what_is_known(bench)
        known = known_records(records, bench, now())
        subject = subject_of(bench, known)
        references = subject.traceability()  # before anything is driven: some may name nothing
        findings = run_procedure(bench, procedure, subject=subject, stop=stop, tell=tell)
    finally:
        try:
            bench.make_safe()
        except Exception as error:
            if findings is None:
                raise
            unsafe = error  # an hour's records are not to be lost for it
    time = now()
    used = {} if bench.correction is None else {one.procedure: one.uid for one in bench.correction.records}
    record = findings.as_record(
        procedure.name,
        bench.name,
        time,
        expires=time + _VALID,
        operator=operator or _somebody(),
        instruments=instruments,
        references=references,
        network=fingerprint(bench),
        rests_on={**used, **known.rests_on},
    )
    path = records.add(record)
    if unsafe is not None:
        unsafe.add_note(f"the record was written all the same: {path}")
        raise unsafe
    return Calibrated(record, path)


def _refuse_beyond(subject: Subject, plan: Plan, wanted: Measurement) -> None:
    """Raise ProcedureError for what the plan, which was shown and checked, does not hold: a fault of the procedure."""
    lowest, highest = reach(wanted.drive)
    spread = _EXACTLY * np.maximum(np.abs(plan.lowest), np.abs(plan.highest))
    over = (lowest < plan.lowest - spread) | (highest > plan.highest + spread)
    if over.any():
        lead = subject.leads[int(np.argmax(over))]
        raise ProcedureError(f"{wanted.says}: {lead.name} would be driven beyond what was planned; nothing was driven")
    if wanted.conductances is None:
        return
    low, high = plan.conductances or (np.full(len(wanted.conductances), np.inf),) * 2
    if ((wanted.conductances < low * (1 - _EXACTLY)) | (wanted.conductances > high * (1 + _EXACTLY))).any():
        raise ProcedureError(f"{wanted.says}: elements would be programmed beyond what was planned; none was")


def _program_what_is_known(bench: Bench) -> None:
    """Program elements that hold nobody knows what: what they had before they were made safe, or what is listed."""
    held = bench.conductances
    if len(held) and np.isnan(held).any():
        before = bench.last_programmed
        wished = np.where(np.isnan(before), bench.network.own_conductances, before)
        lowest, highest = bench.conductance_limits()
        bench.rest()
        bench.program(np.clip(np.where(np.isnan(held), wished, held), lowest, highest))


def _take(bench: Bench, wanted: Measurement, sampling: SamplingSection) -> Taken:
    if wanted.conductances is not None:
        if not np.array_equal(wanted.conductances, bench.conductances):
            bench.rest()  # what drove the last state may be too much for the next, or for one on the way
        bench.program(wanted.conductances)
    frequency = wanted.frequency or sampling.frequency
    if frequency != bench.sampling.frequency:
        bench.sampling = sampling.model_copy(update={"frequency": frequency})
    record = bench.measure_channels(wanted.drive, wanted.n_periods)
    _refuse_overload(record)
    held = np.where(np.isnan(bench.conductances), bench.network.own_conductances, bench.conductances)
    return Taken(record, held, record.sample_rate / bench.sampling.samples_per_period)


def _refuse_overload(record: Record) -> None:
    for counts, what, remedy in (
        (record.clipped, "at the end of the range", "Lower --volts, or widen the range"),
        (record.missing, "missing", "Lower the sample rate"),
    ):
        if counts.any():
            worst = int(counts.argmax())
            name = record.channels[worst] if record.channels else f"channel {worst}"
            raise OverloadError(f"{name}: {int(counts[worst])} samples {what}. {remedy}")


def _somebody() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
