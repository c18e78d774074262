"""Text files from outside, read as data: YAML with the line of every field, size and encoding checked first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LARGEST_FILE = 20_000_000  # bytes
_LARGEST_YAML = 2_000_000
_MOST_VALUES = 200_000  # a few aliases of aliases can stand for billions


class FileError(Exception):
    """A file that can't be used as it is: says which, the line, the field, what is allowed and the nearest name.

    line: from 1; None where the fault is the whole file's.
    """

    def __init__(self, path: Path | str, message: str, line: int | None = None) -> None:
        self.path, self.line, self.message = str(path), line, message
        where = f"{path}, line {line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {message}")


Where = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A YAML file as plain data, and the line of each of its fields."""

    path: Path
    text: str
    data: dict[str, Any]
    lines: dict[Where, int] = field(repr=False)

    def line(self, where: Where) -> int | None:
        """Return the line of a field, or of the nearest section around it that stands in the file."""
        for length in range(len(where), 0, -1):
            if where[:length] in self.lines:
                return self.lines[where[:length]]
        return 1 if self.data else None

    def section(self, name: str) -> Document:
        """Return one section as a document of its own, its lines kept."""
        inner = {where[1:]: line for where, line in self.lines.items() if len(where) > 1 and where[0] == name}
        data = self.data[name]
        return Document(self.path, json.dumps(data, indent=1) + "\n", data, inner)

    def replaced(self, changes: Mapping[tuple[str, ...], Any]) -> Document:
        """Return the same document with fields replaced; its text is still that of the file."""
        data = dict(self.data)
        for where, value in changes.items():
            inner = data
            for part in where[:-1]:
                inner[part] = dict(inner.get(part) or {})
                inner = inner[part]
            inner[where[-1]] = value
        return Document(self.path, self.text, data, self.lines)


def read_text(path: Path, largest: int = LARGEST_FILE) -> str:
    """Read a UTF-8 text file. Raises FileError for what is missing, a folder, too large, empty or not text."""
    try:
        if path.is_dir():
            raise FileError(path, "is a folder; a file is wanted")
        if path.stat().st_size > largest:
            raise FileError(path, f"has {path.stat().st_size} bytes; at most {largest} are read")
        raw = path.read_bytes()
    except FileNotFoundError:
        beside = sorted(other.name for other in path.parent.glob(f"*{path.suffix}")) if path.parent.is_dir() else []
        listed = f" Files there: {', '.join(beside[:6])}" if beside else ""
        raise FileError(path, f"no such file.{listed}") from None
    except OSError as error:
        raise FileError(path, f"can't be read: {error.strerror or error}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise FileError(path, f"byte {raw[error.start]:#04x} is not UTF-8 text; save the file as UTF-8", line) from None
    if not text.strip():
        raise FileError(path, "is empty")
    return text


def read_yaml(path: Path) -> Document:
    """Read a YAML file whose top level is a mapping. Raises FileError with the line; runs nothing that it holds."""
    return parse_yaml(read_text(path, _LARGEST_YAML), path)


def parse_yaml(text: str, path: Path) -> Document:
    """Parse YAML text; path is for messages only."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - takes its time, and --help needs none of it
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415

    try:
        parsed = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(str(error.problem or error.context).split())
        raise FileError(path, f"is not valid YAML: {problem}", mark.line + 1 if mark else None) from None
    except YAMLError as error:
        raise FileError(path, f"is not valid YAML: {' '.join(str(error).split())[:200]}") from None
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"is not valid YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(parsed, dict):
        raise FileError(path, "holds no fields; lines such as `epochs: 100` are wanted", 1)
    lines: dict[Where, int] = {}
    data = _plain(parsed, (), 1, lines, path, _budget(path))
    return Document(path, text, data, lines)


def _budget(path: Path) -> Iterator[None]:
    for _ in range(_MOST_VALUES):
        yield
    raise FileError(path, f"stands for more than {_MOST_VALUES} values; large networks and data belong in CSV files")


def _plain(node: Any, where: Where, line: int, lines: dict[Where, int], path: Path, budget: Iterator[None]) -> Any:
    """Turn ruamel's nodes into dicts, lists and scalars; note each line; refuse tags."""
    next(budget)
    place: Any = getattr(node, "lc", None)
    if where:
        lines[where] = line
    tag = getattr(node, "tag", None)
    if tag is not None and tag.value:
        raise FileError(path, f"the tag {tag.value} is not allowed: files are data, not code", line)
    if isinstance(node, dict):
        for key in node:
            if not isinstance(key, str):
                raise FileError(path, f"field name {key!r} must be text", place.key(key)[0] + 1)
        return {
            str(key): _plain(value, (*where, str(key)), place.key(key)[0] + 1, lines, path, budget)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_plain(value, (*where, i), place.item(i)[0] + 1, lines, path, budget) for i, value in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    raise FileError(path, f"{node!r} is neither a number nor text", line)
