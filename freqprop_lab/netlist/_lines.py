"""From text to logical lines: comments out, continuations joined, `.control` blocks skipped and told.

Peers: ngspice's inpcom.c, whose `$` begins a comment only behind a space or a comma, and whose first line is the title.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from freqprop_lab.names import cut
from freqprop_lab.netlist._elements import NetlistError, Note

_MOST_LINES = 200_000
_LONGEST_LINE = 50_000
_END_OF_LINE = re.compile(r";|(?:^|(?<=[\s,]))\$|(?:^|(?<=\s))//")
_LIKE_AN_ELEMENT = re.compile(r"[rcdvilx]\S*\s+\S+\s+\S+\s+[-+]?[0-9.{]", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """One logical line; number: where it begins in the file, from 1."""

    number: int
    text: str


@dataclass(frozen=True)
class Lines:
    """A netlist's title and logical lines, and what there is to tell of them."""

    title: str
    lines: tuple[Line, ...]
    notes: tuple[Note, ...]


def logical_lines(text: str) -> Lines:
    """Split a netlist into its title and logical lines, up to `.end`. Raises NetlistError."""
    # Not splitlines, which also splits at form feeds and thereby counts lines that no editor counts.
    raw = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(raw) > _MOST_LINES:
        raise NetlistError(f"it has {len(raw)} lines; at most {_MOST_LINES} are read")
    for number, line in enumerate(raw, 1):
        _check(line, number)
    notes = _of_the_title(raw[0])
    logical: list[tuple[int, list[str]]] = []
    number = 1
    while number < len(raw):
        number += 1
        line = _without_comment(raw[number - 1])
        word = line.split(None, 1)[0].lower() if line else ""
        if word == ".control":
            last = _end_of_control(raw, number)
            notes.append(Note(number, f"the .control block up to line {last} is skipped; its commands are not run"))
            number = last
        elif word == ".end":
            if any(_without_comment(later) for later in raw[number:]):
                notes.append(Note(number, "what follows .end is not read"))
            break
        elif line.startswith("+"):
            if not logical:
                raise NetlistError("this line continues nothing: + goes on with the line before", number)
            logical[-1][1].append(line[1:])
            if sum(map(len, logical[-1][1])) > _LONGEST_LINE:
                raise NetlistError(f"with its continuations this line has more than {_LONGEST_LINE} letters", number)
        elif line:
            logical.append((number, [line]))
    lines = tuple(Line(first, " ".join(parts).strip()) for first, parts in logical)
    return Lines(raw[0].strip().lstrip("*").strip(), lines, tuple(notes))


def _check(line: str, number: int) -> None:
    if len(line) > _LONGEST_LINE:
        raise NetlistError(f"it has {len(line)} letters; at most {_LONGEST_LINE} are read in one line", number)
    for letter in line:
        if not letter.isprintable() and not letter.isspace():
            raise NetlistError(f"it holds {letter!a}, which no text has", number)


def _of_the_title(first: str) -> list[Note]:
    text = first.strip()
    is_command = text.startswith(".") and not text.lower().startswith(".title")
    if is_command or _LIKE_AN_ELEMENT.match(text):
        return [
            Note(1, f'"{cut(text)}" is the title, as the first line always is in SPICE; it is no part of the circuit')
        ]
    return []


def _without_comment(line: str) -> str:
    text = line.strip()
    if text.startswith("*"):
        return ""
    found = _END_OF_LINE.search(text)
    return text[: found.start()].rstrip() if found else text


def _end_of_control(raw: list[str], first: int) -> int:
    for number in range(first + 1, len(raw) + 1):
        if raw[number - 1].strip().lower().startswith(".endc"):
            return number
    raise NetlistError(".control without an .endc", first)
