"""The report of a run: report.png, and report.html, one page that needs nothing beside itself."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from freqprop_lab.report._figure import compose, png_of
from freqprop_lab.report._frame import html_page, html_picture, html_table, write_aside
from freqprop_lab.report._libraries import require_libraries
from freqprop_lab.report._summary import Summary, summarise
from freqprop_lab.runs import Run

_LARGEST_PICTURE = 1_050_000  # bytes; a third more as text, and the page stays below 1.5 MB
_PORTS = {
    "referred": "referred: each pair is driven from two channels against ground",
    "floating": "floating, as in the paper: exists in simulation only",
}
# Score, its name, its unit (% for shares), and what it says.
_SCORES: dict[str, tuple[str, str, str]] = {
    "test_accuracy": (
        "Test accuracy",
        "%",
        "Share of right answers on examples that never trained; none of their labels used.",
    ),
    "test_accuracy_as_published": (
        "Test accuracy as published",
        "%",
        "The paper's way: compared with references made from the labels of the test examples themselves. "
        "These leak into the answer, so it flatters.",
    ),
    "train_accuracy": ("Training accuracy", "%", "Share of right answers on the examples that trained."),
    "error": (
        "Training error",
        "task V",
        "Rms over the outputs of output − target, averaged over the training examples.",
    ),
    "test_error": ("Test error", "task V", "The same over the test examples."),
    "cost": ("Training cost", "", "What training lowers, averaged over the training examples."),
    "separation": (
        "Separation",
        "task V",
        "How far the classes' mean outputs lie apart (rms); the farther the better.",
    ),
    "relative_error": (
        "Relative error",
        "",
        "Training error / separation: the smaller the better, and shrinking all outputs does not lower it.",
    ),
    "margin": (
        "Margin",
        "task V",
        "Smallest training output, counted positive where its sign is right. Above 0, every sign is right.",
    ),
}


def write_report(run: Run, folder: Path | None = None) -> tuple[Path, Path]:
    """Write report.png and report.html into a folder, the run's own if None, and return their paths.

    Both are written aside and renamed, and replace older ones. Raises MissingExtraError without the extra `report`,
    RunError where the run can't be read or the folder not be written.
    """
    require_libraries()
    summary = summarise(run)
    figure = compose(summary)
    picture = png_of(figure)
    small = picture if len(picture) <= _LARGEST_PICTURE else png_of(figure, _LARGEST_PICTURE)
    page = page_of(summary, small).encode()
    target = run.path if folder is None else folder
    return write_aside(target / "report.png", picture), write_aside(target / "report.html", page)


def page_of(summary: Summary, picture: bytes) -> str:
    """Return the page as HTML; picture: the figure as a PNG."""
    run = summary.run
    name = escape(run.start["name"])
    kind = {"success": "", "fail": " failed"}.get(run.status, " unfinished")
    body = [
        f"<header><h1>{name}</h1>",
        f"<p>{escape(_headline(summary))}</p></header>",
        f'<p class="state{kind}">{escape(summary.state)}</p>',
        html_picture(picture, _alt_text(summary)),
        "<h2>Scores</h2>",
        _scores(summary),
        "<h2>What was trained</h2>",
        _facts(summary),
        "<h2>Instruments</h2>",
        _instruments(run.streams.get("configuration", {})),
        "<h2>Settings</h2>",
        _settings("The experiment, changes from the command line included", run.start["experiment"]),
    ]
    if run.start["bench_file"] is not None:
        body.append(_settings("The bench", run.start["bench_file"]))
    return html_page(f"{run.start['name']}: report of a run", "\n".join(body))


def _headline(summary: Summary) -> str:
    network, bench = summary.run.start["network"], summary.run.start["bench"]
    name, synchronised = f'"{bench["name"]}"', "synchronised" if bench["synchronised"] else "not synchronised"
    return (
        f"Task {summary.run.start['experiment']['task']['kind']} on a network of {len(network['nodes'])} nodes and "
        f"{len(network['branches'])} branches; bench {name}, {bench['ports']} ports, {synchronised}; "
        f"{_date(summary.run.start['time'])}"
    )


def _alt_text(summary: Summary) -> str:
    text = (
        f"Four panels. (a) The network before training, its branches coloured by conductance from "
        f"{summary.before.min(initial=float('inf')):.3g} to {summary.before.max(initial=0):.3g} S. "
        f"(b) The same network {summary.ended}, {summary.after.min(initial=float('inf')):.3g} to "
        f"{summary.after.max(initial=0):.3g} S. "
    )
    what = "Cost" if summary.costs_only else "Error"
    lines = summary.epoch_lines
    text += f"(c) {what} by epoch" + (
        f", from {lines[0]['error']:.3g} to {lines[-1]['error']:.3g}. " if lines else ". "
    )
    names = ("test_accuracy", "train_accuracy", "test_error", "error")
    name = next((name for name in names if summary.untrained.get(name) is not None), None)
    if name is None:
        return text + "(d) Scores by epoch."
    now = _value(name, (summary.trained or {}).get(name))
    return text + f"(d) {_SCORES[name][0]} by epoch, from {_value(name, summary.untrained[name])} to {now}."


def _scores(summary: Summary) -> str:
    trained = summary.trained or {}
    names = [*_SCORES, *(name for name in {**summary.untrained, **trained} if name not in _SCORES)]
    rows = []
    for name in names:
        label, unit, note = _SCORES.get(name, (name, "", ""))
        if name == "cost":
            unit = "task V" if summary.costs_only else "task V²"
        unit = f" ({unit})" if unit and unit != "%" else ""
        values = [_value(name, scores.get(name)) for scores in (summary.untrained, trained)]
        cells = "".join(f'<td class="number">{escape(value)}</td>' for value in values)
        rows.append(f'<tr><th scope="row">{escape(label + unit)}</th>{cells}<td class="note">{escape(note)}</td></tr>')
    before = "At the start" if summary.run.start["parents"] else "Untrained"
    after = "Trained: not evaluated yet" if summary.trained is None else f"Trained, epoch {summary.scored}"
    return html_table(["Score", before, after, "What it says"], rows)


def _value(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if _SCORES.get(name, ("", "", ""))[1] == "%" else f"{value:.4g}"


def _facts(summary: Summary) -> str:
    start = summary.run.start
    network, bench, task, scales = start["network"], start["bench"], start["experiment"]["task"], start["scales"]
    n_tunable = sum(branch["tunable"] for branch in network["branches"])
    table = f", {task['file']}: {task['target']}" if task["kind"] == "csv" else ""
    facts = {
        "Task": task["kind"] + table,
        "Network": (
            f"{len(network['nodes'])} nodes, {len(network['branches'])} branches ({n_tunable} tunable), "
            f"{len(network['inputs'])} input and {len(network['outputs'])} output ports"
        ),
        "Bench": f"{bench['name']}; 1 task V is {scales['volts']:g} V, 1 task S is {scales['siemens']:g} S",
        "Ports": _PORTS.get(bench["ports"], bench["ports"]),
        "Meters and sources": "synchronised" if bench["synchronised"] else "not synchronised",
        "Seed": str(start["seed"]),
        "Begun": _date(start["time"]),
        "Versions": ", ".join(f"{library} {version}" for library, version in start["versions"].items()),
        "Run": str(start["uid"]),
    }
    if start["parents"]:
        facts["Began with"] = "conductances of " + ", ".join(
            f"{run['path']} ({run['uid']})" for run in start["parents"]
        )
    return "<dl>" + "".join(f"<dt>{escape(what)}</dt><dd>{escape(fact)}</dd>" for what, fact in facts.items()) + "</dl>"


def _instruments(configuration: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, told in configuration.items():
        identity = told.get("identity", {})
        cells = [identity.get(field, "") for field in ("manufacturer", "model", "serial", "firmware")]
        cells += [told.get("clock", ""), ", ".join(told.get("abilities", []))]
        row = "".join(f"<td>{escape(str(cell or '-'))}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{row}</tr>')
    if not rows:
        return "<p>The bench names no instrument.</p>"
    return html_table(["Instrument", "Manufacturer", "Model", "Serial number", "Firmware", "Clock", "Abilities"], rows)


def _settings(what: str, content: Mapping[str, Any]) -> str:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return f"<details><summary>{escape(what)}</summary><pre>{escape(text)}</pre></details>"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
