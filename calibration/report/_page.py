"""One page: what was calibrated, what came out, how sure it is, and what a person should do about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from calibration._numbers import measure, with_doubt
from calibration.records import CalibrationRecord, Quantity, RecordError, RecordFolder
from calibration.registry import procedure_class, procedure_names
from calibration.report._plots import Picture, pictures
from freqprop_lab.report import html_page, html_picture, html_table, require_libraries, write_aside

_MOST_ROWS = 400
_STATES = {"good": "", "doubtful": " unfinished", "bad": " failed"}


def write_calibration_report(folder: RecordFolder, path: Path, now: datetime, bench: str | None = None) -> Path:
    """Write the page of the newest valid record of every procedure, and return its path.

    bench: only of this one. Raises MissingExtraError without the extra `report`, RecordError where there is no record,
    RunError where the page can't be written.
    """
    require_libraries()
    chosen, refused = _newest(folder, now, bench)
    if not chosen:
        raise RecordError(folder.path, "holds no valid record; run freqprop calibrate first")
    return write_aside(path, _page(chosen, refused, now).encode())


def _newest(
    folder: RecordFolder, now: datetime, bench: str | None
) -> tuple[list[tuple[Path, CalibrationRecord]], list[RecordError]]:
    found: dict[str, tuple[Path, CalibrationRecord]] = {}
    refused = []
    for path, record in folder.all():
        if isinstance(record, RecordError):
            refused.append(record)
        elif record.time <= now and bench in (None, record.bench):
            found[record.procedure] = path, record  # they come oldest first
    order = {name: number for number, name in enumerate(procedure_names())}
    return sorted(found.values(), key=lambda each: order.get(each[1].procedure, len(order))), refused


def _page(chosen: Sequence[tuple[Path, CalibrationRecord]], refused: Sequence[RecordError], now: datetime) -> str:
    benches = list(dict.fromkeys(record.bench for _, record in chosen))
    body = [
        f"<header><h1>{escape(', '.join(benches))}: calibration</h1>",
        f"<p>The newest valid record of {len(chosen)} procedures, as of {now:%Y-%m-%d %H:%M} UTC. Intervals are those "
        "of 95 %, as JCGM 100:2008 (the GUM) has them: type A from scatter, type B from all else.</p></header>",
        _overview(chosen, now),
        "<h2>Instruments and references</h2>",
        _instruments(chosen[-1][1]),
        _references(chosen),
    ]
    for path, record in chosen:
        body += _section(path, record, now)
    if refused:
        listed = "".join(f"<li>{escape(str(error))}</li>" for error in refused)
        body.append(f"<h2>Not used</h2><ul>{listed}</ul>")
    return html_page(f"{', '.join(benches)}: calibration", "\n".join(body))


def _overview(chosen: Sequence[tuple[Path, CalibrationRecord]], now: datetime) -> str:
    rows = []
    for _, record in chosen:
        age = f"{record.time:%Y-%m-%d %H:%M}" + (", stale" if record.is_stale(now) else "")
        said = record.verdict.words[0] if record.verdict.words else ""
        cells = [age, record.verdict.status, said]
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        link = f'<a href="#{escape(record.procedure)}">{escape(record.procedure)}</a>'
        rows.append(f'<tr><th scope="row">{link}</th>{row}</tr>')
    return html_table(["Procedure", "Date (UTC)", "Verdict", "In a sentence"], rows)


def _instruments(record: CalibrationRecord) -> str:
    rows = []
    for one in record.instruments:
        cells = "".join(f"<td>{escape(cell or '-')}</td>" for cell in (one.manufacturer, one.model, one.serial))
        rows.append(f'<tr><th scope="row">{escape(one.name)}</th>{cells}<td>{escape(one.firmware or "-")}</td></tr>')
    return html_table(["Instrument", "Manufacturer", "Model", "Serial number", "Firmware"], rows)


def _references(chosen: Sequence[tuple[Path, CalibrationRecord]]) -> str:
    named = {one.name: one for _, record in chosen for one in record.references}
    if not named:
        return "<p>No reference: absolute values rest on data sheets alone.</p>"
    rows = [
        f'<tr><th scope="row">{escape(one.name)}</th><td class="number">{escape(measure(one.value, one.unit))}</td>'
        f'<td class="number">{escape(measure(one.standard_uncertainty, one.unit))}</td>'
        f"<td>{escape(one.certificate)}</td></tr>"
        for one in named.values()
    ]
    return html_table(["Reference", "Value", "Standard uncertainty", "Certificate"], rows)


def _section(path: Path, record: CalibrationRecord, now: datetime) -> list[str]:
    title = procedure_class(record.procedure).title if record.procedure in procedure_names() else record.procedure
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in record.verdict.words)
    stale = " The record is stale; calibrate anew." if record.is_stale(now) else ""
    expiry = f"valid until {record.expires:%Y-%m-%d}" if record.expires is not None else "it never expires"
    body = [
        f'<h2 id="{escape(record.procedure)}">{escape(record.procedure)}: {escape(title)}</h2>',
        f'<div class="state{_STATES[record.verdict.status]}"><p>{escape(record.verdict.status)}</p>{words}</div>',
        f"<p>{escape(path.name)}, by {escape(record.operator or 'nobody named')}, {expiry}.{stale}</p>",
    ]
    drawn: list[Picture] = pictures(record)
    body += [html_picture(picture.png, picture.says) for picture in drawn]
    if record.notes:
        body.append(f"<p>{escape(record.notes)}</p>")
    if record.assumptions:
        listed = "".join(f"<li>{escape(sentence)}</li>" for sentence in record.assumptions)
        summary = "<summary>What must be true for the intervals to hold</summary>"
        body.append(f"<details>{summary}<ul>{listed}</ul></details>")
    body += [_values(quantity) for quantity in record.quantities if quantity.points is None]
    return body


def _values(quantity: Quantity) -> str:
    rows = [
        f'<tr><th scope="row">{escape(label)}</th>'
        f'<td class="number">{escape(with_doubt(value, expanded, quantity.unit))}</td>'
        f'<td class="number">{escape(measure(a, quantity.unit))}</td>'
        f'<td class="number">{escape(measure(b, quantity.unit))}</td></tr>'
        for label, value, expanded, a, b in zip(
            quantity.labels[:_MOST_ROWS],
            quantity.values.tolist(),
            quantity.expanded_uncertainty.tolist(),
            quantity.type_a.tolist(),
            quantity.type_b.tolist(),
            strict=False,
        )
    ]
    table = html_table(["Channel or part", "Value, 95 %", "Type A", "Type B"], rows)
    more = len(quantity.labels) - len(rows)
    note = f"<p>and {more} more, in the record</p>" if more else ""
    return f"<details><summary>{escape(quantity.name)}, {len(quantity.labels)} values</summary>{table}{note}</details>"
