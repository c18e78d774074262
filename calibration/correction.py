"""From records to the plain `Correction` that a bench takes: of every procedure the newest valid one, by channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from calibration.record_names import (
    FREQUENCY,
    METER_GAIN,
    METER_OFFSET,
    PICKUP,
    QUADRATURE,
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
from freqprop_lab.config import BenchSettings, CalibrationSection, FileError
from freqprop_lab.names import nearest, shown
from freqprop_lab.values import Array, ConductanceTable, Correction, UsedRecord

_DRIFTED = 3.0  # standard uncertainties: of hundreds of values a few lie beyond two
_MOST_NAMED = 4


class RecordsCorrector(Corrector):
    """The entry point `records` of `freqprop_lab.corrections`."""

    def correction(self, bench: Bench) -> Correction:
        """Read the folder that the bench file names. Raises FileError: no record, or none that may be used."""
        settings = bench.settings
        if settings is None or settings.model.calibration is None or settings.model.calibration.folder is None:
            return Correction()
        folder = RecordFolder(settings.folder / str(settings.model.calibration.folder))
        chosen = chosen_records(folder, bench, datetime.now(UTC))
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
    correcting, present, section = correcting_procedures(), identities(bench), CalibrationSection()
    if bench.settings is not None and bench.settings.model.calibration is not None:
        section, document = bench.settings.model.calibration, bench.settings.document
        for number, name in enumerate(section.use or ()):
            if name not in correcting:
                message = f'calibration.use: "{name}" corrects nothing.{nearest(name, correcting)} '
                place = document.line(("calibration", "use", number))
                raise FileError(document.path, f"{message}Allowed: {shown(correcting)}", place)
    age = None if section.max_age is None else timedelta(seconds=section.max_age)
    return {
        name: folder.newest(name, now=now, bench=bench.name, instruments=present, max_age=age, raw=False)
        for name in correcting
        if name in (section.use or correcting)
    }


def correction_of(bench: Bench, folder: RecordFolder, chosen: Mapping[str, Chosen]) -> Correction:
    """Put the records' quantities where the bench's channels are; what no record tells stays as it is."""
    records = {name: each.record for name, each in chosen.items() if each.record is not None}
    told = _Told(tuple(records.values()))
    leads = [lead.name for lead in bench.leads]
    by_node = bench.meter_channels
    meters = [by_node.get(node, "") for node in bench.network.nodes]
    by_branch = bench.element_channels
    elements = [by_branch.get(name, "") for name in bench.network.tunable_names]
    offset, current = told.values(SOURCE_OFFSET, leads, 0.0), told.values(SOURCE_OFFSET_CURRENT, leads, 0.0)
    if offset is not None and current is not None:
        offset = offset + current
    meter_gain, skews = told.values(METER_GAIN, meters, 1.0), told.values(SKEW, meters, 0.0)
    used = [
        UsedRecord(name, record.uid, record.time.isoformat(), str(chosen[name].path), _checksum(chosen[name].path))
        for name, record in records.items()
    ]
    return Correction(
        source_gain=told.values(SOURCE_GAIN, leads, 1.0),
        source_offset=current if offset is None else offset,
        meter_gain=meter_gain,
        meter_offset=told.values(METER_OFFSET, meters, 0.0),
        skews=skews,
        pickup=_pickup(told, meters, meter_gain, skews),
        conductances=told.tables(elements),
        records=tuple(used),
        notes=tuple(_notes(folder, chosen)),
    )


def _pickup(told: _Told, meters: list[str], gain: Array | None, skews: Array | None) -> Array | None:
    """Return the b of a nudge of no amplitude, V, (node,), as a meter reads it once gain and skew are corrected.

    `bias` reads an uncorrected meter: p in phase and q a quarter of a period on. A channel that is known to be late is
    turned back by theta = 2 pi frequency skew, so that p cos(theta) + q sin(theta) is left of them.
    """
    p, q = told.values(PICKUP, meters, 0.0), told.values(QUADRATURE, meters, 0.0)
    if p is None:
        return None
    frequency = told.setting(PICKUP, FREQUENCY)
    if q is not None and skews is not None and frequency is not None:
        theta = 2 * np.pi * frequency * skews
        p = p * np.cos(theta) + q * np.sin(theta)
    return p if gain is None else np.asarray(p / gain)


@dataclass(frozen=True)
class _Told:
    """The quantities of records; of two records that tell the same the newer one counts."""

    records: tuple[CalibrationRecord, ...]

    def values(self, name: str, labels: list[str], nothing: float) -> Array | None:
        """Return a quantity by label, `nothing` where it is not told; None where no record has it."""
        quantity = self._newest(name)
        if quantity is None:
            return None
        by_label = dict(zip(quantity.labels, quantity.values.tolist(), strict=True))
        found = np.array([by_label.get(label, nothing) for label in labels], dtype=np.float64)
        return np.where(np.isnan(found), nothing, found)

    def tables(self, elements: list[str]) -> tuple[ConductanceTable | None, ...] | None:
        """Return the table of every element, None for those without; None where no record has any."""
        quantity = self._newest(TABLE)
        if quantity is None or quantity.points is None:
            return None
        nominal = quantity.points.of(len(quantity.labels))
        rows = {label: number for number, label in enumerate(quantity.labels)}
        return tuple(
            _table(nominal[rows[name]], quantity.values[rows[name]]) if name in rows else None for name in elements
        )

    def setting(self, name: str, setting: str) -> float | None:
        """Return a number among the settings with which a quantity was taken; None where there is none."""
        record = self._holder(name)
        value = None if record is None else record.settings.get(setting)
        return float(value) if isinstance(value, int | float) else None

    def _newest(self, name: str) -> Quantity | None:
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


def _notes(folder: RecordFolder, chosen: Mapping[str, Chosen]) -> list[str]:
    """Say what a person should hear: records passed over, stale ones, drift since the one before."""
    notes = []
    for name, each in chosen.items():
        notes += [f"{refusal.path.name} is not used: {refusal.reason}" for refusal in each.refused]
        if each.record is None:
            continue
        if each.stale:
            notes.append(
                f"the calibration of {name} is stale, of {each.record.time:%Y-%m-%d}; run freqprop calibrate {name}"
            )
        before = folder.newest(
            name,
            now=each.record.time,
            bench=each.record.bench,
            instruments=each.record.instruments,
            before=each.record.time,
            raw=False,
        ).record
        drifted = [] if before is None else compare(before, each.record, _DRIFTED).drifted
        if before is not None and drifted:
            named = shown([f"{drift.quantity} of {drift.label}" for drift in drifted[:_MOST_NAMED]])
            more = f" and {len(drifted) - _MOST_NAMED} more" if len(drifted) > _MOST_NAMED else ""
            notes.append(
                f"{named}{more} drifted by more than {_DRIFTED:g} uncertainties from {before.time:%Y-%m-%d %H:%M} to "
                f"{each.record.time:%Y-%m-%d %H:%M}; freqprop calibration compare tells by how much"
            )
    return notes


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
