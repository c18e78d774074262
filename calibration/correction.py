"""From records to the plain `Correction` that a bench takes: of every procedure the newest valid one, by channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from calibration.choosing import newest_fit, words_of_refusals
from calibration.record_names import (
    FREQUENCY,
    METER_GAIN,
    METER_OFFSET,
    PICKUP,
    QUADRATURE,
    SAMPLING,
    SKEW,
    SOURCE_GAIN,
    SOURCE_OFFSET,
    SOURCE_OFFSET_CURRENT,
    TABLE,
)
from calibration.records import CalibrationRecord, Chosen, Quantity, RecordFolder, compare
from calibration.registry import correcting_procedures
from calibration.running import identities
from freqprop_lab.bench import Bench, Corrector
from freqprop_lab.config import BenchSettings, FileError
from freqprop_lab.names import few, nearest, shown
from freqprop_lab.values import Array, ConductanceTable, Correction, UsedRecord

_DRIFTED = 3.0  # standard uncertainties: of hundreds of values a few lie beyond two
_SAME_RATE = 0.01  # relative


class RecordsCorrector(Corrector):
    """The entry point `records` of `freqprop_lab.corrections`."""

    def correction(self, bench: Bench) -> Correction:
        """Read the folder that the bench file names. Raises FileError: no record, or none that may be used."""
        settings = bench.settings
        if settings is None or settings.model.calibration is None or settings.model.calibration.folder is None:
            return Correction()
        folder = RecordFolder(settings.folder / str(settings.model.calibration.folder))
        chosen = chosen_records(folder, bench, datetime.now(UTC))
        if not chosen:
            return Correction(notes=("calibration.use is empty, so no record is used and nothing is corrected",))
        if all(each.record is None for each in chosen.values()):
            raise _none_usable(settings, folder, chosen)
        return correction_of(bench, folder, chosen)


CORRECTOR = RecordsCorrector()


def correction_from(bench: Bench, folder: RecordFolder, now: datetime) -> Correction | None:
    """Return what the records in a folder make of a bench, as its file wants them used; None where none may be.

    Raises FileError for a wrong `calibration.use`, InstrumentError where an instrument doesn't say who it is.
    """
    chosen = chosen_records(folder, bench, now)
    if all(each.record is None for each in chosen.values()):
        return None
    return correction_of(bench, folder, chosen)


def chosen_records(folder: RecordFolder, bench: Bench, now: datetime) -> dict[str, Chosen]:
    """Return the newest valid record of every procedure that is used, held against the bench and its instruments.

    Which are used, and from what age on they are stale: `calibration` in the bench file. Raises FileError.
    """
    used = correcting_procedures() if bench.settings is None else used_procedures(bench.settings)
    present = identities(bench)
    return {name: newest_fit(folder, name, bench, present, now, raw=False) for name in used}


def used_procedures(settings: BenchSettings) -> list[str]:
    """Return the procedures whose records a bench file lets correct its bench: all that can, unless it names them.

    Raises FileError, with the line, for a name of another.
    """
    correcting, section, document = correcting_procedures(), settings.model.calibration, settings.document
    if section is None or section.use is None:
        return correcting
    for number, name in enumerate(section.use):
        if name not in correcting:
            message = f'calibration.use: "{name}" corrects nothing.{nearest(name, correcting)} '
            place = document.line(("calibration", "use", number))
            raise FileError(document.path, f"{message}Allowed: {shown(correcting)}", place)
    return [name for name in correcting if name in section.use]


def correction_of(bench: Bench, folder: RecordFolder, chosen: Mapping[str, Chosen]) -> Correction:
    """Put the records' quantities where the bench's channels are; what no record tells stays as it is, with a note."""
    records = {name: each.record for name, each in chosen.items() if each.record is not None}
    newest = _Newest(tuple(records.values()))
    leads = [lead.name for lead in bench.leads]
    by_node = bench.meter_channels
    meters = [by_node.get(node, "") for node in bench.network.nodes]
    by_branch = bench.element_channels
    elements = [by_branch.get(name, "") for name in bench.network.tunable_names]
    offset, current = newest.values(SOURCE_OFFSET, leads, 0.0), newest.values(SOURCE_OFFSET_CURRENT, leads, 0.0)
    if offset is not None and current is not None:
        offset = offset + current
    meter_gain, skews = newest.values(METER_GAIN, meters, 1.0), newest.values(SKEW, meters, 0.0)
    used = [
        UsedRecord(name, record.uid, record.time.isoformat(), str(chosen[name].path), _checksum(chosen[name].path))
        for name, record in records.items()
    ]
    correction = Correction(
        source_gain=newest.values(SOURCE_GAIN, leads, 1.0),
        source_offset=current if offset is None else offset,
        meter_gain=meter_gain,
        meter_offset=newest.values(METER_OFFSET, meters, 0.0),
        skews=skews,
        pickup=_pickup(newest, meters, meter_gain, skews),
        conductances=newest.tables(elements),
        records=tuple(used),
        notes=tuple(dict.fromkeys((*_notes(bench, folder, chosen), *_untold(bench, newest)))),  # each once
    )
    correction.check(len(leads), len(meters), len(elements))
    return correction


def _pickup(newest: _Newest, meters: list[str], gain: Array | None, skews: Array | None) -> Array | None:
    """Return the b of a nudge of no amplitude, V, (node,), as a meter reads it once gain and skew are corrected.

    `bias` reads an uncorrected meter: p in phase and q a quarter of a period on. A channel that is known to be late is
    turned back by theta = 2 pi frequency skew, so that p cos(theta) + q sin(theta) is left of them.
    """
    p, q = newest.values(PICKUP, meters, 0.0), newest.values(QUADRATURE, meters, 0.0)
    if p is None:
        return None
    frequency = newest.setting(PICKUP, FREQUENCY)
    if q is not None and skews is not None and frequency is not None:
        theta = 2 * np.pi * frequency * skews
        p = p * np.cos(theta) + q * np.sin(theta)
    return p if gain is None else np.asarray(p / gain)


@dataclass(frozen=True)
class _Newest:
    """The quantities of records; of two records that tell the same the newer one counts."""

    records: tuple[CalibrationRecord, ...]

    def values(self, name: str, labels: list[str], nothing: float) -> Array | None:
        """Return a quantity by label, `nothing` where it is not told; None where no record has it."""
        quantity = self._quantity(name)
        if quantity is None:
            return None
        by_label = dict(zip(quantity.labels, quantity.values.tolist(), strict=True))
        found = np.array([by_label.get(label, nothing) for label in labels], dtype=np.float64)
        return np.where(np.isnan(found), nothing, found)

    def tables(self, elements: list[str]) -> tuple[ConductanceTable | None, ...] | None:
        """Return the table of every element, None for those without; None where no record has any."""
        quantity = self._quantity(TABLE)
        if quantity is None or quantity.points is None:
            return None
        nominal = quantity.points.of(len(quantity.labels))
        rows = {label: number for number, label in enumerate(quantity.labels)}
        return tuple(
            _table(nominal[rows[name]], quantity.values[rows[name]]) if name in rows else None for name in elements
        )

    def untold(self, name: str, labels: list[str]) -> list[str]:
        """Return the labels of which a quantity that some record has tells nothing; none where no record has it."""
        quantity = self._quantity(name)
        if quantity is None:
            return []
        told = np.asarray(np.isfinite(quantity.values).reshape(len(quantity.labels), -1).any(axis=1))
        known = {label for label, is_told in zip(quantity.labels, told.tolist(), strict=True) if is_told}
        return [label for label in labels if label not in known]

    def setting(self, name: str, setting: str) -> float | None:
        """Return a number among the settings with which a quantity was taken; None where there is none."""
        record = self._holder(name)
        value = None if record is None else record.settings.get(setting)
        return float(value) if isinstance(value, int | float) else None

    def _quantity(self, name: str) -> Quantity | None:
        record = self._holder(name)
        return None if record is None else record.quantity(name)

    def _holder(self, name: str) -> CalibrationRecord | None:
        holding = [record for record in self.records if any(each.name == name for each in record.quantities)]
        return max(holding, key=lambda record: record.time) if holding else None


def _table(nominal: Array, true: Array) -> ConductanceTable | None:
    known = np.isfinite(nominal) & np.isfinite(true)
    order = np.argsort(nominal[known])
    x, y = nominal[known][order], true[known][order]
    return ConductanceTable(x, y) if len(x) else None


def _notes(bench: Bench, folder: RecordFolder, chosen: Mapping[str, Chosen]) -> list[str]:
    """Say what a person should hear: records passed over, doubtful or stale ones, drift since the one before."""
    notes = []
    for name, each in chosen.items():
        notes += words_of_refusals(name, each)
        if each.record is None:
            continue
        if each.record.verdict.status == "doubtful":
            why = f": {each.record.verdict.words[0]}" if each.record.verdict.words else ""
            notes.append(f"the calibration of {name} is doubtful{why}")
        if each.stale:
            notes.append(
                f"the calibration of {name} is stale, of {each.record.time:%Y-%m-%d}; run freqprop calibrate {name}"
            )
        if name == "skew":
            notes += _other_rate(bench, each.record)
        before = newest_fit(
            folder, name, bench, each.record.instruments, each.record.time, before=each.record.time, raw=False
        ).record
        drifted = [] if before is None else compare(before, each.record, _DRIFTED).drifted
        if before is not None and drifted:
            named = few([f"{drift.quantity} of {drift.label}" for drift in drifted])
            notes.append(
                f"{named} drifted by more than {_DRIFTED:g} uncertainties from {before.time:%Y-%m-%d %H:%M} to "
                f"{each.record.time:%Y-%m-%d %H:%M}; freqprop calibration compare tells by how much"
            )
    return notes


def _other_rate(bench: Bench, record: CalibrationRecord) -> list[str]:
    """Say where skews are used at another sample rate. A delay is one at any, but not all lateness is a delay."""
    taken = record.settings.get(SAMPLING)
    if not isinstance(taken, dict) or not {"frequency", "samples_per_period"} <= set(taken):
        return []
    was = float(taken["frequency"]) * float(taken["samples_per_period"])
    here = bench.sampling.frequency * bench.sampling.samples_per_period
    if abs(was / here - 1) <= _SAME_RATE:
        return []
    return [
        f"the skews were taken at {was:g} samples a second and are used at {here:g}: a delay stays, but the lateness "
        "of channels behind one converter, and of sources that hold each sample, goes with the rate; run freqprop "
        "calibrate skew at this one"
    ]


def _untold(bench: Bench, newest: _Newest) -> list[str]:
    """Name the channels and elements that a record in use should tell of and doesn't: they stay as they are."""
    live = [lead for lead, rest in zip(bench.leads, bench.resting, strict=False) if not np.isnan(rest)]
    volts, amperes = ([lead.name for lead in live if (lead.kind == "voltage") is kind] for kind in (True, False))
    meters, elements = list(bench.meter_channels.values()), list(bench.element_channels.values())
    by_names: dict[tuple[str, ...], list[str]] = {}
    for quantity, names in (
        (SOURCE_GAIN, volts + amperes),
        (SOURCE_OFFSET, volts),
        (SOURCE_OFFSET_CURRENT, amperes),
        (METER_GAIN, meters),
        (METER_OFFSET, meters),
        (SKEW, meters),
        (PICKUP, meters),
        (TABLE, elements),
    ):
        untold = newest.untold(quantity, names)
        if untold:
            by_names.setdefault(tuple(untold), []).append(quantity)
    return [
        f"no record in use tells {' and '.join(quantities)} of {few(names)}: taken as they are"
        for names, quantities in by_names.items()
    ]


def _none_usable(settings: BenchSettings, folder: RecordFolder, chosen: Mapping[str, Chosen]) -> FileError:
    document, line = settings.document, settings.document.line(("calibration", "folder"))
    refused = [refusal for each in chosen.values() for refusal in each.refused]
    if refused:
        why = f"{refused[0].path.name}: {refused[0].reason}"
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        return FileError(
            document.path, f"calibration.folder: no record in {folder.path} may be used. {why}{more}", line
        )
    return FileError(
        document.path,
        f"calibration.folder: {folder.path} holds no record of {shown(list(chosen))}. Run freqprop calibrate, or take "
        "the field out",
        line,
    )


def _checksum(path: Path | None) -> str:
    import hashlib  # noqa: PLC0415 - beside its one use

    return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
