"""Text files from outside, read as data: YAML with the line of every field, size and encoding checked first."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freqprop_lab.names import nearest, shown

LARGEST_FILE = 20_000_000  # bytes
_LARGEST_YAML = 128_000  # ruamel.yaml reads that in about a second
_MOST_VALUES = 50_000  # a few aliases of aliases can stand for billions
_DEEPEST = 30
_LONGEST_INTEGER = 1000  # bits; beyond, neither a float nor a message can hold it
_BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x1f\x8b": "a compressed file"}


class FileError(Exception):
    """A file that can't be used as it is: says which, the line, the field, what is allowed and the nearest name.

    Always raised before anything is driven, and says so. line: from 1; None where the fault is the whole file's.
    """

    def __init__(self, path: Path | str, message: str, line: int | None = None) -> None:
        self.path, self.line = str(path), line
        self.message = " ".join(message.split())
        where = f"{path}, line {line}" if line is not None else f"{path}"
        stop = "" if self.message.endswith(("?", "!", ".")) else "."
        super().__init__(f"{where}: {self.message}{stop} Nothing was started.")


Where = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A YAML file as plain data, and the line of each of its fields.

    section_of: the field of the file under which the data stands, if it is not the whole. changed: fields that were
    replaced from elsewhere, so that the file's lines do not speak of them.
    """

    path: Path
    text: str
    data: dict[str, Any]
    lines: dict[Where, int] = field(repr=False)
    section_of: Where = ()
    changed: frozenset[Where] = frozenset()

    def line(self, where: Where) -> int | None:
        """Return the line of a field, or of the nearest section around it that stands in the file."""
        if self.is_changed(where):
            return None
        for length in range(len(where), -1, -1):
            if where[:length] in self.lines:
                return self.lines[where[:length]]
        return 1 if self.data else None

    def is_changed(self, where: Where) -> bool:
        """Say whether a field was replaced, by itself or with the section around it."""
        return any(where[:length] in self.changed for length in range(1, len(where) + 1))

    def section(self, name: str) -> Document:
        """Return one section as a document of its own, its lines kept."""
        inner = {where[1:]: line for where, line in self.lines.items() if where and where[0] == name}
        changed = frozenset(where[1:] for where in self.changed if where[0] == name)
        data = self.data[name]
        return Document(
            self.path, json.dumps(data, indent=1) + "\n", data, inner, (*self.section_of, name), changed - {()}
        )

    def replaced(self, changes: Mapping[tuple[str, ...], Any]) -> Document:
        """Return the same document with fields replaced; its text is still that of the file. Raises FileError."""
        data = dict(self.data)
        for where, value in changes.items():
            inner = data
            for depth, part in enumerate(where[:-1], 1):
                section = inner.get(part)
                if not isinstance(section, dict | None):
                    outer = ".".join(where[:depth])
                    message = f'"{".".join(where)}" can\'t be changed: "{outer}" is {section!r:.60}, not a section'
                    raise FileError(self.path, message, self.line(where[:depth]))
                inner[part] = dict(section or {})
                inner = inner[part]
            inner[where[-1]] = value
        return Document(self.path, self.text, data, self.lines, self.section_of, self.changed | frozenset(changes))


def read_text(path: Path, largest: int = LARGEST_FILE) -> str:
    """Read a UTF-8 text file. Raises FileError for what is missing, a folder, too large, empty or not text."""
    raw = read_bytes(path, largest)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        kind = _BYTE_ORDER_MARKS.get(raw[:2])
        looks = f"; it looks like {kind}" if kind else ""
        message = f"byte {raw[error.start]:#04x} is not UTF-8 text{looks}. Save the file as UTF-8"
        raise FileError(path, message, line) from None
    if not text.strip():
        raise FileError(path, "is empty")
    return text


def read_bytes(path: Path, largest: int) -> bytes:
    """Read a file's bytes. Raises FileError for what is missing, a folder, a device or too large."""
    try:
        if path.is_dir():
            raise FileError(path, "is a folder; a file is wanted")
        size = path.stat().st_size
        if not path.is_file():
            raise FileError(path, "is a device or a pipe; a file is wanted")
        if size > largest:
            raise FileError(path, f"has {size} bytes; at most {largest} are read. Large tables belong in CSV files")
        return path.read_bytes()
    except FileNotFoundError:
        raise FileError(path, f"no such file.{_beside(path)}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise FileError(path, f"can't be read: {getattr(error, 'strerror', None) or error}") from None


def _beside(path: Path) -> str:
    """Name files of the same sort in the same folder, or the folder that is missing."""
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either"
    try:
        names = sorted(other.name for other in path.parent.iterdir() if other.suffix == path.suffix)
    except OSError:
        return ""
    return f"{nearest(path.name, names)} Files there: {shown(names)}" if names else ""


def read_yaml(path: Path) -> Document:
    """Read a YAML file whose top level is a mapping. Raises FileError with the line; runs nothing that it holds."""
    return parse_yaml(read_text(path, _LARGEST_YAML), path)


def parse_yaml(text: str, path: Path) -> Document:
    """Parse YAML text (1.2: yes and on are text); path is for messages only. Raises FileError."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - takes its time, and --help needs none of it
    from ruamel.yaml.error import MarkedYAMLError  # noqa: PLC0415
    from ruamel.yaml.reader import ReaderError  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on anchors used twice, which do no harm here
            root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise FileError(path, f"is not valid YAML: {_problem(error, text, line)}", line) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"holds the character {text[error.position : error.position + 1]!a}, which no text file has"
        raise FileError(path, message, line) from None
    except RecursionError:
        raise FileError(path, f"is nested more than {_DEEPEST} levels deep") from None
    except Exception as error:  # noqa: BLE001 - the parser fails on some broken texts with errors of any kind
        raise FileError(path, f"is not valid YAML: {type(error).__name__}: {str(error)[:200]}") from None
    if root is None or root.id != "mapping":
        line = None if root is None else root.start_mark.line + 1
        raise FileError(path, "holds no fields; lines such as `epochs: 100` are wanted", line)
    reader = _Reader(path)
    return Document(path, text, reader.value(root, ()), reader.lines)


def _problem(error: Any, text: str, line: int | None) -> str:
    problem = " ".join(str(error.problem or error.context).split())
    written = text.splitlines()[line - 1] if line is not None and line <= len(text.splitlines()) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return f"{problem}. Indent with spaces, not with tabs"
    if "quoted scalar" in str(error.context):
        return f"{problem}. The quote that opens in line {error.context_mark.line + 1} is not closed"
    return problem


class _Reader:
    """Turns the parser's nodes into dicts, lists and scalars; notes the line of each; refuses tags and merges."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Where, int] = {}
        self._n_values = 0

    def value(self, node: Any, where: Where, line: int | None = None) -> Any:
        """Return the value of a node; line: that of its name, where it has one."""
        line = node.start_mark.line + 1 if line is None else line
        if where:
            self.lines[where] = line
        self._n_values += 1
        if self._n_values > _MOST_VALUES:
            message = f"stands for more than {_MOST_VALUES} values; large networks and data belong in CSV files"
            raise FileError(self.path, message, line)
        if len(where) > _DEEPEST:  # also stops an alias that holds itself
            raise FileError(self.path, f"is nested more than {_DEEPEST} levels deep", line)
        if node.id == "mapping":
            self._refuse_tag(node, "map", line)
            return dict(self._fields(node, where))
        if node.id == "sequence":
            self._refuse_tag(node, "seq", line)
            return [self.value(item, (*where, i), item.start_mark.line + 1) for i, item in enumerate(node.value)]
        return self._scalar(node, line)

    def _fields(self, node: Any, where: Where) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if _tag(key) == "merge":
                raise FileError(self.path, "the merge key << is not allowed; write the fields out", line)
            if key.id != "scalar":
                raise FileError(self.path, "a field's name must be text", line)
            name = self._scalar(key, line)
            if not isinstance(name, str):
                message = f'the field name {key.value[:60]} is not text; write it in quotes: "{key.value[:60]}"'
                raise FileError(self.path, message, line)
            if name in seen:
                raise FileError(self.path, f'the field "{name[:60]}" stands twice, first in line {seen[name]}', line)
            seen[name] = line
            yield name, self.value(value, (*where, name), line)

    def _scalar(self, node: Any, line: int) -> Any:
        tag, text = _tag(node), str(node.value)
        if tag == "null":
            return None
        if tag in ("str", "timestamp"):  # a name may look like a date
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise FileError(self.path, f"{text[:40]!a} holds half a character; write it whole", line)
            return text
        try:
            if tag == "bool":
                return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}[text.lower()]
            if tag == "int":
                return _integer(text)
            if tag == "float":
                return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
        except (ValueError, KeyError):
            raise FileError(self.path, f"{text[:60]} is not a number that can be read", line) from None
        self._refuse_tag(node, "str", line)
        raise FileError(self.path, f"{text[:60]} is neither a number nor text", line)

    def _refuse_tag(self, node: Any, allowed: str, line: int) -> None:
        if _tag(node) != allowed:
            name = str(node.tag).replace("tag:yaml.org,2002:", "!!")
            raise FileError(self.path, f"the tag {name[:60]} is not allowed: files are data, not code", line)


def _tag(node: Any) -> str:
    return str(node.tag).removeprefix("tag:yaml.org,2002:")


def _integer(text: str) -> int:
    digits = text.replace("_", "").lower()
    plain = digits.lstrip("+-")
    number = int(digits, 0) if plain.startswith(("0x", "0o", "0b")) else int(digits)
    if number.bit_length() > _LONGEST_INTEGER:
        raise ValueError(text)
    return number
