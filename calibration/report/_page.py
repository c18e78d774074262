"""One page: what was calibrated, what came out, how sure it is, and what a person should do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from calibration._numbers import measure
from calibration._telling import bounds_of, doubt_of, for_people, words_of
from calibration.records import AHEAD, CalibrationRecord, InstrumentId, Quantity, RecordError, RecordFolder, Why
from calibration.registry import correcting_procedures, procedure_class, procedure_names
from calibration.report._plots import Picture, pictures
from freqprop_lab.names import nearest, shown
from freqprop_lab.report import html_page, html_picture, html_table, require_libraries, write_aside

_MOST_ROWS = 400
_MOST_POINTS = 65  # of one label, in the page; all are in the record
_MOST_SPECTRUM = 64  # points over frequency: more are drawn alone
_STATES = {"good": "", "doubtful": " unfinished", "bad": " failed"}
_COLOURS = {"good": "", "doubtful": "#e69f00", "bad": "#d55e00"}  # beside the word, which says it as well


@dataclass(frozen=True)
class _Shown:
    """The newest valid record of one procedure on one bench, and its file."""

    path: Path
    record: CalibrationRecord

    @property
    def anchor(self) -> str:
        """Where on the page it stands."""
        return f"{quote(self.record.bench, safe='')}-{self.record.procedure}"


def write_calibration_report(
    folder: RecordFolder,
    path: Path,
    now: datetime,
    bench: str | None = None,
    tell: Callable[[RecordError], None] = lambda _: None,
) -> Path:
    """Write the page of the newest valid record of every procedure of each bench, and return its path.

    bench: only of this one. tell: is given each record that is refused. Raises MissingExtraError without the extra
    `report`, RecordError where there is no record, RunError where the page can't be written.
    """
    require_libraries()
    by_bench, uids, refused = _newest(folder, now)
    for error in refused:
        tell(error)
    if bench is not None and bench not in by_bench and by_bench:
        known = list(by_bench)
        message = f'holds no valid record of a bench "{bench}".{nearest(bench, known)} There are: {shown(known)}'
        raise RecordError(folder.path, message)
    if not by_bench:
        raise RecordError(folder.path, "holds no valid record; run freqprop calibrate first")
    if bench is not None:
        by_bench = {bench: by_bench[bench]}
    return write_aside(path, _page(by_bench, uids, refused, now).encode())


def _newest(
    folder: RecordFolder, now: datetime
) -> tuple[dict[str, list[_Shown]], dict[str, CalibrationRecord], list[RecordError]]:
    """Return the records to show by bench, in the order in which they are taken; all by uid; and what is refused."""
    found: dict[tuple[str, str], _Shown] = {}
    uids: dict[str, CalibrationRecord] = {}
    refused = []
    for path, record in folder.all():
        if isinstance(record, RecordError):
            refused.append(record)
        elif (record.time - now).total_seconds() > AHEAD:
            message = f"is dated {record.time:%Y-%m-%d %H:%M} UTC, ahead of now. Set the clock, or move it away"
            refused.append(RecordError(path, message, Why.FUTURE))
        else:
            found[record.bench, record.procedure] = _Shown(path, record)  # they come oldest first
            uids[record.uid] = record
    order = {name: number for number, name in enumerate(procedure_names())}
    by_bench: dict[str, list[_Shown]] = {name: [] for name in sorted({name for name, _ in found})}
    for one in sorted(found.values(), key=lambda each: order.get(each.record.procedure, len(order))):
        by_bench[one.record.bench].append(one)
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
        if record.is_stale(now):
            said = f"{_stale(record)} {said}"
        colour = _COLOURS[record.verdict.status]
        style = f' style="border-left: 4px solid {colour}; padding-left: 0.4rem; font-weight: 600"' if colour else ""
        cells = f"<td{style}>{escape(record.verdict.status)}</td><td>{escape(said)}</td>"
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
    stale = f" {_stale(record)}" if record.is_stale(now) else ""
    unused = " A bad record corrects nothing." if record.verdict.status == "bad" else ""
    expiry = f"valid until {record.expires:%Y-%m-%d}" if record.expires is not None else "it never expires"
    by = f"by {record.operator}" if record.operator else "by nobody named"
    body = [
        f'<{heading} id="{escape(shown.anchor)}">{escape(record.procedure)}: {escape(title)}</{heading}>',
        f'<div class="state{_STATES[record.verdict.status]}"><p>{escape(record.verdict.status)}</p>{words}</div>',
        f"<p>{escape(path.name)}, {escape(by)}, {expiry}.{stale}{unused}</p>",
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
    bounds = bounds_of(record)
    for quantity in for_people(record):
        if quantity.points is None:
            body.append(_values(quantity, bounds.get(quantity.name, "")))
        elif quantity.points.unit != "Hz" or quantity.values.shape[1] <= _MOST_SPECTRUM:
            body.append(_tables(quantity))
    return body


def _stale(record: CalibrationRecord) -> str:
    """Say since when a record is stale, and what that means."""
    since = "" if record.expires is None else f" since {record.expires:%Y-%m-%d}"
    used = "It still corrects the bench, but no" if record.procedure in correcting_procedures() else "No"
    return f"Stale{since}, when it expired. {used} further calibration goes by it; run freqprop calibrate " + (
        f"{record.procedure} anew."
    )


def _rests_on(procedure: str, uid: str, bench: str, uids: Mapping[str, CalibrationRecord]) -> str:
    record = uids.get(uid)
    if record is None:
        return f"a record of {procedure} that is not here, uid {uid}"
    alike = (each for each in uids.values() if (each.bench, each.procedure) == (bench, procedure))
    newer = ", since when there is a newer one" if any(each.time > record.time for each in alike) else ""
    return f"the record of {procedure} of {record.time:%Y-%m-%d %H:%M:%S}{newer}"


def _values(quantity: Quantity, bound: str) -> str:
    if len(quantity.labels) and np.isnan(quantity.values).all():
        return f"<p>{escape(quantity.name)}: not told of any.</p>"
    rows = [
        f'<tr><th scope="row">{escape(label)}</th>'
        f'<td class="number">{escape(words_of(quantity, value, expanded, bound))}</td>'
        f'<td class="number">{escape(doubt_of(quantity, a))}</td>'
        f'<td class="number">{escape(doubt_of(quantity, b))}</td></tr>'
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


def _tables(quantity: Quantity) -> str:
    """Return a table of every label over its points, closed until somebody opens it; of many points some."""
    assert quantity.points is not None  # noqa: S101 - a table
    points, expanded = quantity.points.of(len(quantity.labels)), quantity.expanded_uncertainty
    axis = quantity.points.name or "point"
    parts = []
    for row, label in enumerate(quantity.labels[:_MOST_ROWS]):
        there = np.flatnonzero(np.isfinite(points[row]))
        if np.isnan(quantity.values[row, there]).all():
            parts.append(f"<p>{escape(label)}: not told</p>")
            continue
        chosen = np.unique(np.linspace(0, len(there) - 1, min(len(there), _MOST_POINTS)).round().astype(int))
        rows = [
            f'<tr><th scope="row">{escape(measure(float(points[row, at]), quantity.points.unit))}</th>'
            f'<td class="number">'
            f"{escape(words_of(quantity, float(quantity.values[row, at]), float(expanded[row, at])))}</td>"
            f'<td class="number">{escape(doubt_of(quantity, float(quantity.type_a[row, at])))}</td>'
            f'<td class="number">{escape(doubt_of(quantity, float(quantity.type_b[row, at])))}</td></tr>'
            for at in there[chosen]
        ]
        cut = "" if len(chosen) == len(there) else f", {len(chosen)} of {len(there)} points; all are in the record"
        table = html_table([axis[0].upper() + axis[1:], "Value, 95 %", "Type A", "Type B"], rows)
        parts.append(f"<details><summary>{escape(label)}{cut}</summary>{table}</details>")
    count = "1 table" if len(quantity.labels) == 1 else f"{len(quantity.labels)} tables"
    return f"<details><summary>{escape(quantity.name)}, {count}</summary>{''.join(parts)}</details>"
