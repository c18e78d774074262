"""A SPICE netlist's file: its bytes to text, its faults to file and line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from freqprop_lab.config._text import FileError, read_bytes
from freqprop_lab.netlist import Netlist, NetlistError, Note, parse_netlist

_LARGEST_NETLIST = 5_000_000  # bytes


def read_netlist(path: Path) -> Netlist:
    """Read a SPICE netlist, as KiCad, LTspice and ngspice write it. Raises FileError with the line.

    UTF-8, UTF-16 with its mark, or else Windows-1252, LTspice's own, which is told.
    """
    text, note = _decoded(path, read_bytes(path, _LARGEST_NETLIST))
    if not text.strip():
        raise FileError(path, "is empty")
    try:
        netlist = parse_netlist(text)
    except NetlistError as error:
        raise FileError(path, str(error), error.line) from None
    return replace(netlist, notes=(*note, *netlist.notes))


def _decoded(path: Path, raw: bytes) -> tuple[str, tuple[Note, ...]]:
    try:
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return raw.decode("utf-16"), ()
        return raw.decode("utf-8-sig"), ()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        byte = raw[error.start]
    try:
        return raw.decode("cp1252"), (
            Note(line, f"byte {byte:#04x} is not UTF-8; read as Windows-1252, LTspice's own"),
        )
    except UnicodeDecodeError:
        raise FileError(path, f"byte {byte:#04x} is not UTF-8 text. Save the file as UTF-8", line) from None
