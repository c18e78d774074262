"""What every page has: one HTML file that needs nothing beside itself, fetches nothing and runs nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

from freqprop_lab.runs import RunError

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


def html_page(title: str, content: str) -> str:
    """Return a whole page around its content, which is HTML; the title is plain text."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<main>
{content}
</main>
</body>
</html>
"""


def html_table(header: Sequence[str], rows: Iterable[str]) -> str:
    """Return a table; header: plain text; rows: HTML, each a whole row."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def html_picture(png: bytes, alternative: str) -> str:
    """Return a picture inside the page; alternative: what it shows, for those who can't see it."""
    image = base64.b64encode(png).decode()
    return f'<figure><img src="data:image/png;base64,{image}" alt="{escape(alternative)}"></figure>'


def write_aside(path: Path, content: bytes) -> Path:
    """Write a file aside and rename it, and return its path. Raises RunError where it can't be written."""
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
