"""One page: what was calibrated, what came out, how sure it is, and what a person should do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

from calibration._numbers import measure, with_doubt
from calibration.records import CalibrationRecord, InstrumentId, Quantity, RecordError, RecordFolder
from calibration.registry import procedure_class, procedure_names
from calibration.report._plots import Picture, pictures
from freqprop_lab.report import html_page, html_picture, html_table, require_libraries, write_aside

_MOST_ROWS = 400
_STATES = {"good": "", "doubtful": " unfinished", "bad": " failed"}


@dataclass(frozen=True)
class _Shown:
    """The newest valid record of one procedure on one bench, and its file."""

    path: Path
    record: CalibrationRecord

    @property
    def anchor(self) -> str:
        """Where on the page it stands."""
        return f"{quote(self.record.bench, safe='')}-{self.record.procedure}"


def write_calibration_report(folder: RecordFolder, path: Path, now: datetime, bench: str | None = None) -> Path:
    """Write the page of the newest valid record of every procedure of each bench, and return its path.

    bench: only of this one. Raises MissingExtraError without the extra `report`, RecordError where there is no record,
    RunError where the page can't be written.
    """
    require_libraries()
    by_bench, uids, refused = _newest(folder, now, bench)
    if not by_bench:
        raise RecordError(folder.path, "holds no valid record; run freqprop calibrate first")
    return write_aside(path, _page(by_bench, uids, refused, now).encode())


def _newest(
    folder: RecordFolder, now: datetime, bench: str | None
) -> tuple[dict[str, list[_Shown]], dict[str, CalibrationRecord], list[RecordError]]:
    """Return the records to show by bench, in the order in which they are taken; all by uid; and what is refused."""
    found: dict[tuple[str, str], _Shown] = {}
    uids: dict[str, CalibrationRecord] = {}
    refused = []
    for path, record in folder.all():
        if isinstance(record, RecordError):
            refused.append(record)
        elif record.time <= now and bench in (None, record.bench):
            found[record.bench, record.procedure] = _Shown(path, record)  # they come oldest first
            uids[record.uid] = record
    order = {name: number for number, name in enumerate(procedure_names())}
    by_bench: dict[str, list[_Shown]] = {name: [] for name in sorted({name for name, _ in found})}
    for shown in sorted(found.values(), key=lambda each: order.get(each.record.procedure, len(order))):
        by_bench[shown.record.bench].append(shown)
    return by_bench, uids, refused


def _page(
    by_bench: Mapping[str, Sequence[_Shown]],
    uids: Mapping[str, CalibrationRecord],
    refused: Sequence[RecordError],
    now: datetime,
) -> str:
    title = f"{', '.join(by_bench)}: calibration"
    body = [
        f"<header><h1>{escape(title)}</h1>",
        f"<p>The newest valid record of each procedure, as of {now:%Y-%m-%d %H:%M} UTC. Intervals are those of 95 %, "
        "as JCGM 100:2008 (the GUM) has them: type A from scatter, type B from all else.</p></header>",
    ]
    heading = "h2" if len(by_bench) == 1 else "h3"
    for bench, chosen in by_bench.items():
        if len(by_bench) > 1:
            body.append(f'<h2 id="{quote(bench, safe="")}">Bench {escape(bench)}</h2>')
        body += [_overview(chosen, now), f"<{heading}>Instruments and references</{heading}>", _instruments(chosen)]
        body.append(_references(chosen))
        for each in chosen:
            body += _section(each, uids, now, heading)
    if refused:
        listed = "".join(f"<li>{escape(str(error))}</li>" for error in refused)
        body.append(f"<h2>Not used</h2><ul>{listed}</ul>")
    return html_page(title, "\n".join(body))


def _overview(chosen: Sequence[_Shown], now: datetime) -> str:
    rows = []
    for each in chosen:
        record = each.record
        age = f"{record.time:%Y-%m-%d %H:%M}" + (", stale" if record.is_stale(now) else "")
        said = record.verdict.words[0] if record.verdict.words else ""
        cells = f"<td>{escape(record.verdict.status)}</td><td>{escape(said)}</td>"
        link = f'<a href="#{escape(each.anchor)}">{escape(record.procedure)}</a>'
        rows.append(f'<tr><th scope="row">{link}</th><td class="number">{escape(age)}</td>{cells}</tr>')
    return html_table(["Procedure", "Date (UTC)", "Verdict", "In a sentence"], rows)


def _instruments(chosen: Sequence[_Shown]) -> str:
    """List every instrument that took part in any record; one that was exchanged in between stands there twice."""
    took_part: dict[InstrumentId, list[str]] = {}
    for each in chosen:
        for one in each.record.instruments:
            took_part.setdefault(one, []).append(each.record.procedure)
    rows = []
    for one, procedures in sorted(took_part.items(), key=lambda each: each[0].name):
        told = (one.manufacturer, one.model, one.serial, one.firmware)
        where = "all" if len(procedures) == len(chosen) else ", ".join(procedures)
        cells = "".join(f"<td>{escape(cell or '-')}</td>" for cell in (*told, where))
        rows.append(f'<tr><th scope="row">{escape(one.name)}</th>{cells}</tr>')
    header = ["Instrument", "Manufacturer", "Model", "Serial number", "Firmware", "In the records of"]
    return html_table(header, rows)


def _references(chosen: Sequence[_Shown]) -> str:
    named = dict.fromkeys(one for each in chosen for one in each.record.references)
    if not named:
        return "<p>No reference: absolute values rest on data sheets alone.</p>"
    says = "<p>What absolute values go back to:</p>"
    rows = [
        f'<tr><th scope="row">{escape(one.name)}</th><td class="number">{escape(measure(one.value, one.unit))}</td>'
        f'<td class="number">{escape(measure(one.standard_uncertainty, one.unit))}</td>'
        f"<td>{escape(one.certificate)}</td></tr>"
        for one in named
    ]
    return says + html_table(["Reference", "Value", "Standard uncertainty", "Certificate"], rows)


def _section(shown: _Shown, uids: Mapping[str, CalibrationRecord], now: datetime, heading: str) -> list[str]:
    path, record = shown.path, shown.record
    title = procedure_class(record.procedure).title if record.procedure in procedure_names() else record.procedure
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in record.verdict.words)
    stale = " The record is stale; calibrate anew." if record.is_stale(now) else ""
    expiry = f"valid until {record.expires:%Y-%m-%d}" if record.expires is not None else "it never expires"
    by = f"by {record.operator}" if record.operator else "by nobody named"
    body = [
        f'<{heading} id="{escape(shown.anchor)}">{escape(record.procedure)}: {escape(title)}</{heading}>',
        f'<div class="state{_STATES[record.verdict.status]}"><p>{escape(record.verdict.status)}</p>{words}</div>',
        f"<p>{escape(path.name)}, {escape(by)}, {expiry}.{stale}</p>",
    ]
    if record.rests_on:
        listed = "; ".join(_rests_on(name, uid, record.bench, uids) for name, uid in record.rests_on.items())
        body.append(f"<p>It rests on {escape(listed)}.</p>")
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


def _rests_on(procedure: str, uid: str, bench: str, uids: Mapping[str, CalibrationRecord]) -> str:
    record = uids.get(uid)
    if record is None:
        return f"a record of {procedure} that is not here, uid {uid}"
    alike = (each for each in uids.values() if (each.bench, each.procedure) == (bench, procedure))
    newer = ", since when there is a newer one" if any(each.time > record.time for each in alike) else ""
    return f"the record of {procedure} of {record.time:%Y-%m-%d %H:%M:%S}{newer}"


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
    count = "1 value" if len(quantity.labels) == 1 else f"{len(quantity.labels)} values"
    return f"<details><summary>{escape(quantity.name)}, {count}</summary>{table}{note}</details>"
