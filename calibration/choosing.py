"""Which record of a procedure may be used on a bench, and why another one may not: the one place that says so.

A record is found valid by its folder: whole, of this bench and its instruments. Here is what it belongs to beyond that.

- `offsets`, `gains`, `skew`, `bias`, `resistors` are told by channel and element. Those stay what they are when a
  branch is added or a lead is moved, so such a record corrects a bench of any network.
- Procedures go by what `gains` read, not by what it told: that is of the network that it was read on.
- All others (`relaxation`, `network` and what checks them) tell of the network, and serve on that very one alone.
- What is picked up goes with the nudge's frequency, in size and phase: `bias` serves at its own alone.
- A bad record says that the bench was not found as it was believed to be, so it corrects nothing. An older one may be
  used in its place, and a person is told; but where `bias` found that no subtraction holds, no older one does either.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from calibration.fingerprint import fingerprint
from calibration.record_names import FREQUENCY
from calibration.records import CalibrationRecord, Chosen, InstrumentId, RecordError, RecordFolder, Refusal, Why
from calibration.registry import correcting_procedures
from calibration.subject import Known
from freqprop_lab.bench import Bench

_BELIEVED = ("gains", "relaxation")  # the records that other procedures go by
_FINAL = ("bias",)  # where a bad record shuts out the older ones too
_CORRECTED = {
    "offsets": "offsets are",
    "gains": "gains are",
    "skew": "skews are",
    "resistors": "conductances are",
    "bias": "what is picked up of the nudge is",
}
_SAME_FREQUENCY = 0.01  # relative: a pickup is off by no more than that


def newest_fit(
    folder: RecordFolder,
    procedure: str,
    bench: Bench,
    instruments: Sequence[InstrumentId],
    now: datetime,
    *,
    before: datetime | None = None,
    of_this_network: bool = False,
    raw: bool = True,
) -> Chosen:
    """Return the newest record of a procedure that may be used on a bench as it is wired and sampled now.

    instruments: who they say they are. before, raw: as for `RecordFolder.newest`. of_this_network: whatever the
    procedure is. A stale one is chosen, and called so.
    """

    def fits(path: Path, record: CalibrationRecord) -> None:
        if of_this_network or record.procedure not in correcting_procedures():
            _refuse_other_network(path, record, bench)
        _refuse_other_frequency(path, record, bench)
        _refuse_bad(path, record)

    chosen = folder.newest(
        procedure,
        now=now,
        bench=bench.name,
        instruments=instruments,
        max_age=_max_age(bench),
        before=before,
        raw=raw,
        fits=fits,
    )
    if procedure in _FINAL and any(refusal.why is Why.BAD for refusal in chosen.refused):
        return Chosen(None, chosen.refused)
    return chosen


def believed(folder: RecordFolder, bench: Bench, instruments: Sequence[InstrumentId], now: datetime) -> Known:
    """Return what procedures may go by: of each procedure the newest record that fits, unless it is stale."""
    records, left_out = {}, []
    for name in folder.procedures():
        chosen = newest_fit(folder, name, bench, instruments, now, of_this_network=True)
        if chosen.record is not None and not chosen.stale:
            records[name] = chosen.record
        if name in _BELIEVED:
            left_out += [f"{one.path.name} is not believed: {one.reason}" for one in chosen.refused]
            if chosen.record is not None and chosen.stale:
                left_out.append(
                    f"the record of {name} of {chosen.record.time:%Y-%m-%d} is stale and not believed; "
                    f"run freqprop calibrate {name}"
                )
    return Known(records, tuple(left_out))


def words_of_refusals(procedure: str, chosen: Chosen) -> list[str]:
    """Say which records were passed over and why; and what follows: an older one is used, or nothing is corrected."""
    words = [f"{refusal.path.name} is not used: {refusal.reason}" for refusal in chosen.refused]
    own = [refusal for refusal in chosen.refused if _is_of(procedure, refusal)]
    if own and chosen.record is None:
        words.append(f"so {_CORRECTED.get(procedure, procedure)} NOT corrected")
    elif own and chosen.record is not None:
        older = f"in its place the record of {procedure} of {chosen.record.time:%Y-%m-%d %H:%M} is used"
        is_bad = any(refusal.why is Why.BAD for refusal in own)
        words.append(f"{older}, which is of before the bench was found so and may be wrong by now" if is_bad else older)
    return words


def _is_of(procedure: str, refusal: Refusal) -> bool:
    """Say whether a refused file is of a procedure, by its name, or by the one that it was written as.

    A file whose name is no record's is refused for every procedure.
    """
    return refusal.path.name.startswith(f"{procedure}-") or f"was written as {procedure}-" in refusal.reason


def _max_age(bench: Bench) -> timedelta | None:
    section = None if bench.settings is None else bench.settings.model.calibration
    return None if section is None or section.max_age is None else timedelta(seconds=section.max_age)


def _refuse_other_network(path: Path, record: CalibrationRecord, bench: Bench) -> None:
    if record.network and record.network != fingerprint(bench):
        message = (
            f"was taken on another network: other nodes, branches, leads or channels than those of {bench.name} now; "
            f"run freqprop calibrate {record.procedure} anew"
        )
        raise RecordError(path, message, Why.OTHER_NETWORK)


def _refuse_other_frequency(path: Path, record: CalibrationRecord, bench: Bench) -> None:
    taken, here = record.settings.get(FREQUENCY), bench.sampling.frequency
    if record.procedure != "bias" or not isinstance(taken, int | float):
        return
    if abs(taken / here - 1) > _SAME_FREQUENCY:
        message = (
            f"was taken at {taken:g} Hz, and this bench nudges at {here:g} Hz: what is picked up goes with the "
            "frequency. Run freqprop calibrate bias at this one"
        )
        raise RecordError(path, message, Why.OTHER_SAMPLING)


def _refuse_bad(path: Path, record: CalibrationRecord) -> None:
    if record.verdict.status == "bad":
        why = f": {record.verdict.words[0]}" if record.verdict.words else ""
        message = f"its verdict is bad{why}. Mend that, then run freqprop calibrate {record.procedure} anew"
        raise RecordError(path, message, Why.BAD)
