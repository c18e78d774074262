"""The report of a run: report.png, and report.html, one page that needs nothing beside itself."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from freqprop_lab.report._figure import compose, png_of
from freqprop_lab.report._libraries import require_libraries
from freqprop_lab.report._summary import Summary, summarise
from freqprop_lab.runs import Run, RunError

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
_CSS = """
:root { color-scheme: light dark; --text: #1c1e21; --soft: #5b6168; --back: #ffffff; --line: #d8dce0; --card: #f5f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e8ea; --soft: #a3abb3; --back: #16181b; --line: #3a4047; --card: #202327; }
}
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 68rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; }
h2 { margin: 2rem 0 0.6rem; font-size: 1.2rem; }
p { margin: 0.4rem 0; }
.state { padding: 0.6rem 0.9rem; margin: 1rem 0; border-left: 4px solid #0072b2; background: var(--card); }
.state.unfinished { border-color: #e69f00; }
.state.failed { border-color: #d55e00; }
figure { margin: 1rem 0; }
img { width: 100%; height: auto; border-radius: 4px; background: #ffffff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; overflow-wrap: normal; }
th, td { padding: 0.4rem 0.8rem 0.4rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.note { color: var(--soft); font-size: 0.92rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1.2rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; }
details { margin: 0.6rem 0; }
summary { cursor: pointer; }
pre { padding: 0.8rem; overflow-x: auto; background: var(--card); font-size: 0.88rem; overflow-wrap: normal; }
"""


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
    return _write(target / "report.png", picture), _write(target / "report.html", page)


def page_of(summary: Summary, picture: bytes) -> str:
    """Return the page as HTML; picture: the figure as a PNG."""
    run = summary.run
    name = escape(run.start["name"])
    kind = {"success": "", "fail": " failed"}.get(run.status, " unfinished")
    image = base64.b64encode(picture).decode()
    body = [
        f"<header><h1>{name}</h1>",
        f"<p>{escape(_headline(summary))}</p></header>",
        f'<p class="state{kind}">{escape(summary.state)}</p>',
        f'<figure><img src="data:image/png;base64,{image}" alt="{escape(_alt_text(summary))}"></figure>',
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
    content = "\n".join(body)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{name}: report of a run</title>
<style>{_CSS}</style>
</head>
<body>
<main>
{content}
</main>
</body>
</html>
"""


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
    return _table(["Score", before, after, "What it says"], rows)


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
    return _table(["Instrument", "Manufacturer", "Model", "Serial number", "Firmware", "Clock", "Abilities"], rows)


def _settings(what: str, content: Mapping[str, Any]) -> str:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return f"<details><summary>{escape(what)}</summary><pre>{escape(text)}</pre></details>"


def _table(header: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _write(path: Path, content: bytes) -> Path:
    aside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        raise RunError(
            f"{path} can't be written: {error.strerror or error}. Choose another folder for the report"
        ) from error
    finally:
        with suppress(OSError):  # the first fault is the one to tell
            aside.unlink(missing_ok=True)
    return path
