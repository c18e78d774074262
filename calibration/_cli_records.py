"""`freqprop calibration`: list, show and compare the records of calibrations, and print their schema."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calibration._numbers import measure, with_doubt
from calibration._telling import bounds_of, for_people, places_of, words_of
from calibration.record_names import BOUNDS, CHANNELS, RECORDS_FOLDER

if TYPE_CHECKING:
    from calibration.records import CalibrationRecord, Comparison, Drift, Quantity, RecordError

_MOST_LINES = 24  # of one table, and of drifts
_AGES = (("d", 86400), ("h", 3600), ("min", 60))


@click.command("list")
@click.argument("folder", type=click.Path(path_type=Path), default=Path(RECORDS_FOLDER))
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def list_records(folder: Path, *, as_json: bool) -> None:
    """List the records in FOLDER (calibrations), oldest first, and what is wrong with those that can't be used."""
    from calibration.records import RecordError, RecordFolder  # noqa: PLC0415

    records = RecordFolder(folder)
    if not folder.is_dir():
        raise RecordError(folder, "is no folder of records; a calibration makes one")
    now = datetime.now(UTC)
    found = [_row(path, record, now) for path, record in records.all(raw=False)]
    if as_json:
        click.echo(json.dumps(found))
    elif not found:
        click.echo(f"no record in {folder}")
    else:
        _show_list(found)
    for path in records.leftovers():
        click.echo(f"note: {path} was left by an interrupted calibration; it may be deleted", err=True)


@click.command("show")
@click.argument("record", metavar="RECORD", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one object: the record's JSON, all tables written out.")
def show_record(record: Path, *, as_json: bool) -> None:
    """Show what RECORD found: each value with its expanded uncertainty, and what that rests on.

    RECORD is a record's .json file; or a procedure, such as gains, for its newest record in the folder calibrations.
    """
    from calibration.records import read_record  # noqa: PLC0415

    found = read_record(_file_of(record))
    if as_json:
        click.echo(json.dumps(_object(found)))
    else:
        _show(found, datetime.now(UTC))


@click.command("compare")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("-k", default=2.0, show_default=True, help="How many standard uncertainties make a drift.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
def compare_records(old: Path, new: Path, k: float, *, as_json: bool) -> None:
    """Say what drifted from record OLD to record NEW by more than k standard uncertainties, the worst first."""
    from calibration.records import compare, read_record  # noqa: PLC0415

    before, after = (read_record(_file_of(path), raw=False) for path in (old, new))
    if after.time < before.time:
        click.echo(f"note: {old.name} is the newer one, so it is taken as NEW", err=True)
        before, after = after, before
    try:
        comparison = compare(before, after, k)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        click.echo(json.dumps(_comparison_object(comparison)))
    else:
        _show_comparison(comparison, before, after)


@click.command("schema")
def print_schema() -> None:
    """Print the JSON schema that every record's file obeys."""
    from calibration.records import schema  # noqa: PLC0415

    click.echo(json.dumps(schema(), indent=1))


def _file_of(record: Path) -> Path:
    """Return the .json file that somebody means: it, the one beside its arrays, or a procedure's newest record."""
    from calibration.records import RecordError, RecordFolder  # noqa: PLC0415
    from calibration.registry import procedure_names  # noqa: PLC0415
    from freqprop_lab.names import nearest, shown  # noqa: PLC0415

    if record.suffix == ".npz":
        message = f"holds the arrays of a record; the record itself is the file {record.with_suffix('.json').name}"
        raise RecordError(record, message)
    if record.exists() or len(record.parts) != 1 or record.suffix == ".json":
        return record
    name, folder = str(record), RecordFolder(RECORDS_FOLDER)
    there = folder.procedures()
    if name in there:
        found = [path for path, one in folder.all(raw=False) if path.name.startswith(f"{name}-2")]
        if found:
            click.echo(f"note: the newest of {len(found)} records of {name}: {found[-1]}", err=True)
            return found[-1]
    if name in procedure_names():
        message = f"no record of {name} is in {folder.path}. Records are listed by: freqprop calibration list FOLDER"
        raise RecordError(record, message)
    listed = f" Records in {folder.path} are of: {shown(there)}" if there else ""
    message = f"is no record's .json file.{nearest(name, there)}{listed}. They are listed by: freqprop calibration list"
    raise RecordError(record, message)


def _row(path: Path, found: CalibrationRecord | RecordError, now: datetime) -> dict[str, Any]:
    """Return what one line of the list says; a bad record is listed as such, not hidden."""
    if isinstance(found, Exception):
        return {"file": path.name, "valid": False, "why": found.why.value, "reason": found.message}
    from calibration.records import AHEAD  # noqa: PLC0415

    ahead = (found.time - now).total_seconds() > AHEAD
    reason = {"why": "future", "reason": "is dated ahead of now. Set the clock, or move it away"} if ahead else {}
    return {
        "file": path.name,
        "valid": not ahead,
        **reason,
        "procedure": found.procedure,
        "bench": found.bench,
        "time": found.time.isoformat(),
        "age": (now - found.time).total_seconds(),
        "expires": None if found.expires is None else found.expires.isoformat(),
        "stale": found.is_stale(now),
        "verdict": found.verdict.status,
        "operator": found.operator,
    }


def _show_list(rows: list[dict[str, Any]]) -> None:
    good = [row for row in rows if row["valid"]]
    if good:
        click.echo(f"{'procedure':13}{'date (UTC)':18}{'age':>8}  {'expiry':14}{'verdict':10}{'operator':14}record")
    for row in good:
        expiry = "never" if row["expires"] is None else row["expires"][:10]
        if row["stale"]:
            expiry = "STALE"
        click.echo(
            f"{row['procedure']:13}{row['time'][:16].replace('T', ' '):18}{_age(row['age']):>8}  {expiry:14}"
            f"{row['verdict']:10}{row['operator'] or '-':14}{row['file']}"
        )
    for row in rows:
        if not row["valid"]:
            click.echo(f"refused: {row['file']}: {row['reason']}")


def _show(record: CalibrationRecord, now: datetime) -> None:
    expiry = "never expires" if record.expires is None else f"expires {record.expires:%Y-%m-%d %H:%M} UTC"
    stale = ", which is past: calibrate anew" if record.is_stale(now) else ""
    click.echo(f"{record.procedure} of {record.bench}, {record.time:%Y-%m-%d %H:%M} UTC, by {record.operator or '-'}")
    click.echo(f"{expiry}{stale}; uid {record.uid}")
    click.echo(f"verdict: {record.verdict.status}")
    for words in record.verdict.words:
        click.echo(f"  {words}")
    bounds = bounds_of(record)
    for quantity in for_people(record):
        _show_quantity(quantity, bounds.get(quantity.name, ""))
    for reference in record.references:
        doubt = with_doubt(reference.value, 2 * reference.standard_uncertainty, reference.unit)
        known = f"; {reference.certificate}" if reference.certificate else ""
        click.echo(f"reference {reference.name}: {doubt} (k = 2){known}")
    for procedure, uid in record.rests_on.items():
        click.echo(f"rests on {procedure}: uid {uid}")
    if record.network:
        click.echo(f"network: {record.network}")
    for instrument in record.instruments:
        firmware = f", firmware {instrument.firmware}" if instrument.firmware else ""
        click.echo(f"instrument {instrument.name}: {instrument.words}{firmware}")
    for what, told in (("setting", record.settings), ("outcome", record.outcome)):
        for name, value in told.items():
            if name not in (CHANNELS, BOUNDS):  # they stand in what was said above
                said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                click.echo(f"{what} {name}: {said}")
    for name, array in record.raw.items():
        click.echo(f"raw data {name}: {array.dtype}, shape {array.shape}")
    for words in record.assumptions:
        click.echo(f"assumed: {words}")
    click.echo(f"software: {', '.join(f'{name} {version}' for name, version in record.versions.items())}")
    if record.notes:
        click.echo(f"notes: {record.notes}")


def _show_quantity(quantity: Quantity, bound: str) -> None:
    factors = [float(k) for k in quantity.coverage_factors.flat]
    spread = f"{min(factors):.3g}" if factors else "1.96"
    if factors and f"{max(factors):.3g}" != spread:
        spread = f"{spread} to {max(factors):.3g}"
    axis = "" if quantity.points is None else f" by {quantity.points.name}"
    if axis and quantity.name.endswith(axis):  # its name says so already
        axis = ""
    click.echo(f"{quantity.name}{axis}, \N{PLUS-MINUS SIGN} expanded uncertainty (95 %, k = {spread}):")
    expanded = quantity.expanded_uncertainty
    width = max([14, *(len(label) for label in quantity.labels)])
    for row, label in enumerate(quantity.labels):
        if quantity.points is None:
            value = words_of(quantity, float(quantity.values[row]), float(expanded[row]), bound)
            click.echo(f"  {label:{width}} {value}")
            continue
        points = quantity.points.of(len(quantity.labels))[row]
        columns = [column for column, point in enumerate(points) if not math.isnan(point)]
        for column in columns[:_MOST_LINES]:
            value = words_of(quantity, float(quantity.values[row, column]), float(expanded[row, column]))
            click.echo(f"  {label:{width}} {measure(float(points[column]), quantity.points.unit):>14} {value}")
        if len(columns) > _MOST_LINES:
            click.echo(f"  {label:{width}} and {len(columns) - _MOST_LINES} more points; all with --json")


def _show_comparison(comparison: Comparison, old: CalibrationRecord, new: CalibrationRecord) -> None:
    days, places = abs(new.time - old.time), places_of(new)
    ratios = [ratio for change in comparison.quantities for ratio in change.ratio.flat]
    n_values = sum(not math.isnan(ratio) for ratio in ratios)
    click.echo(f"{old.procedure}: {old.time:%Y-%m-%d %H:%M} to {new.time:%Y-%m-%d %H:%M} UTC ({_age_of(days)})")
    click.echo(
        f"{len(comparison.drifted)} of {n_values} values drifted by more than {comparison.k:g} standard uncertainties"
    )
    for drift in comparison.drifted[:_MOST_LINES]:
        click.echo(f"  {_drift_words(drift, places.label(drift.label))}")
    if len(comparison.drifted) > _MOST_LINES:
        click.echo(f"  and {len(comparison.drifted) - _MOST_LINES} more; all with --json")
    for which, one in (("old", old), ("new", new)):
        if one.verdict.status == "bad":
            why = f": {one.verdict.words[0]}" if one.verdict.words else ""
            click.echo(f"note: the verdict of the {which} record is bad{why}")
    for note in comparison.notes:
        click.echo(f"note: {note}")
    click.echo(f"assumed: {comparison.assumption}")


def _drift_words(drift: Drift, label: str) -> str:
    where = label if drift.point is None else f"{label} at {measure(drift.point, drift.point_unit)}"
    times = "no uncertainty stated" if math.isinf(drift.ratio) else f"{abs(drift.ratio):.3g} standard uncertainties"
    way = "rose" if drift.change > 0 else "fell"
    return (
        f"{drift.quantity} of {where} {way} by {measure(abs(drift.change), drift.unit)} "
        f"from {measure(drift.old, drift.unit)} to {measure(drift.new, drift.unit)}: {times}"
    )


def _object(record: CalibrationRecord) -> dict[str, Any]:
    from calibration.records import content_of  # noqa: PLC0415

    content, _ = content_of(record, largest_table=math.inf)
    return content


def _comparison_object(comparison: Comparison) -> dict[str, Any]:
    from calibration.records import as_json  # noqa: PLC0415

    return {
        "k": comparison.k,
        "drifted": [
            {**vars(drift), "change": drift.change, "ratio": drift.ratio if math.isfinite(drift.ratio) else None}
            for drift in comparison.drifted
        ],
        "assumption": comparison.assumption,
        "notes": list(comparison.notes),
        "quantities": [
            {
                "name": change.name,
                "unit": change.unit,
                "labels": list(change.labels),
                "points": None if change.points is None else as_json(change.points.values),
                **{
                    part: as_json(getattr(change, part))
                    for part in ("old", "new", "change", "standard_uncertainty", "ratio")
                },
            }
            for change in comparison.quantities
        ],
    }


def _age(seconds: float) -> str:
    for unit, size in _AGES:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _age_of(time: timedelta) -> str:
    return _age(time.total_seconds())
