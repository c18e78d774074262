"""A record as JSON and named arrays: what stands where, what the checksum covers, and the way there and back.

Tables of up to `LARGEST_TABLE` numbers stand in the JSON, where a person reads them, larger ones and raw data in the
arrays. NaN is null. Knows no folder: `_folder` puts the two files there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.json_schema import GenerateJsonSchema

from calibration.records._errors import RecordError, Why
from calibration.records._quantity import COVERAGE, COVERAGE_FACTOR, Points, Quantity
from calibration.records._record import (
    LONGEST_PROCEDURE,
    NETWORK,
    PROCEDURE,
    UID,
    CalibrationRecord,
    InstrumentId,
    Reference,
    Verdict,
)
from freqprop_lab.config import Document, FileError, Section, validate
from freqprop_lab.values import Array

FORMAT = "freqprop-lab calibration record"
VERSION = 1
LARGEST_TABLE = 64  # numbers
_TOLERANCE = 1e-6  # relative, of what is written beside the parts that it follows from
_SHA256 = r"^[0-9a-f]{64}$"
_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"

Arrays = dict[str, NDArray[Any]]


class _InArrays(Section):
    """A table that is kept in the arrays file, under this name."""

    array: str = Field(description="name in the arrays file")
    shape: list[int] = Field(description="(label,), (point,) or (label, point)")


_Table = _InArrays | list[float | None] | list[list[float | None]]


class _Raw(Section):
    """Raw data in the arrays file."""

    array: str = Field(description="name in the arrays file")
    shape: list[int]
    dtype: str = Field(description='as NumPy writes it, such as "<f8"')


class _Instrument(Section):
    """An instrument that took part; empty where it does not tell."""

    name: str = Field(description="as the bench file calls it")
    manufacturer: str
    model: str
    serial: str = Field(description="serial number")
    firmware: str


class _Reference(Section):
    """What absolute values hang on: one end of the chain of traceability."""

    name: str
    value: float
    unit: str
    standard_uncertainty: float = Field(ge=0, description="in the reference's unit")
    certificate: str = Field(description="number, laboratory and date, or what else it is known from")


class _Verdict(Section):
    """What a person should think of it."""

    status: Literal["good", "doubtful", "bad"]
    words: list[str] = Field(description="the reasons, one sentence each")


class _Points(Section):
    """The axis of a table."""

    name: str
    unit: str
    values: _Table = Field(description="(point,) for all labels, or (label, point); null where a label has fewer")


class _Quantity(Section):
    """What was determined, in `unit`, with its doubt; null where something could not be determined."""

    name: str
    unit: str
    labels: list[str] = Field(description="channels, branches or nodes")
    points: _Points | None = Field(description="null unless it is a table")
    values: _Table = Field(description="(label,), or (label, point) with points")
    type_a: _Table = Field(description="standard uncertainty from scatter (GUM 4.2)")
    type_b: _Table = Field(description="standard uncertainty from all else (GUM 4.3)")
    degrees_of_freedom: _Table | None = Field(description="of type A; null where unknown or infinite")
    standard_uncertainty: _Table = Field(description="both combined, root of the sum of squares (GUM 5.1)")
    coverage_factor: float | _Table = Field(description="k: 1.96, or Student's t for few degrees of freedom (GUM G.4)")
    expanded_uncertainty: _Table = Field(description="U = k u; the coverage interval is value - U to value + U (6.2)")


class _ArraysFile(Section):
    """The file beside this one."""

    file: str = Field(pattern=r"^[a-z0-9][A-Za-z0-9-]*\.npz$", description="NumPy's .npz, no pickled objects")
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=_SHA256)


class _Coverage(Section):
    """What the intervals are stated for."""

    probability: float = Field(gt=0, lt=1)


class RecordFile(Section):
    """One calibration procedure on one bench at one time. Everything in SI units."""

    format: Literal["freqprop-lab calibration record"]
    schema_version: Literal[1]
    uid: str = Field(pattern=f"^{UID.pattern}$")
    procedure: str = Field(pattern=f"^{PROCEDURE.pattern}$", max_length=LONGEST_PROCEDURE)
    bench: str
    time: str = Field(pattern=_TIME, json_schema_extra={"format": "date-time"}, description="when it ended, UTC")
    expires: str | None = Field(pattern=_TIME, description="UTC; null: never")
    operator: str
    versions: dict[str, str] = Field(description="of the software that computed it")
    instruments: list[_Instrument]
    references: list[_Reference]
    network: str = Field(
        default="",
        pattern=f"^({NETWORK.pattern})?$",
        description="fingerprint of the network and of what is wired where, values apart; empty where nobody told",
    )
    rests_on: dict[str, str] = Field(
        default_factory=dict, description="uids of the records that it was computed with, by procedure"
    )
    settings: dict[str, Any] = Field(description="how it was measured; options: what the procedure was asked for")
    outcome: dict[str, Any] = Field(description="what came out beside quantities, such as the faults that wiring names")
    assumptions: list[str] = Field(description="what must be true for the intervals to hold")
    verdict: _Verdict
    coverage: _Coverage
    quantities: list[_Quantity]
    notes: str
    raw: dict[str, _Raw]
    arrays: _ArraysFile
    sha256: str = Field(
        pattern=_SHA256,
        description="of everything else: as JSON with sorted names, no white space, no escapes that aren't needed, "
        "numbers as the shortest decimal that reads back the same, UTF-8",
    )


def schema() -> dict[str, Any]:
    """Return the JSON schema of a record's file, draft 2020-12."""
    made = RecordFile.model_json_schema()
    made["$defs"] = {name.lstrip("_"): one for name, one in made["$defs"].items()}
    for one in made["$defs"].values():
        one["title"] = one["title"].lstrip("_")
    made = json.loads(json.dumps(made).replace("#/$defs/_", "#/$defs/"))
    return {"$schema": GenerateJsonSchema.schema_dialect, **made, "title": "Calibration record"}


def file_stem(record: CalibrationRecord) -> str:
    """Return the name of both files without its ending: procedure, time to the second, head of the uid."""
    return f"{record.procedure}-{record.time:%Y%m%dT%H%M%SZ}-{record.uid[:8]}"


def content_of(record: CalibrationRecord, largest_table: float = LARGEST_TABLE) -> tuple[dict[str, Any], Arrays]:
    """Return what the JSON holds, without `arrays` and `sha256`, and the arrays that go beside it.

    largest_table: how many numbers a table may have to stand in the JSON itself.
    """
    arrays: Arrays = {}
    content: dict[str, Any] = {
        "format": FORMAT,
        "schema_version": VERSION,
        "uid": record.uid,
        "procedure": record.procedure,
        "bench": record.bench,
        "time": _written(record.time),
        "expires": None if record.expires is None else _written(record.expires),
        "operator": record.operator,
        "versions": record.versions,
        "instruments": [dict(vars(one)) for one in record.instruments],
        "references": [dict(vars(one)) for one in record.references],
        "network": record.network,
        "rests_on": record.rests_on,
        "settings": record.settings,
        "outcome": record.outcome,
        "assumptions": list(record.assumptions),
        "verdict": {"status": record.verdict.status, "words": list(record.verdict.words)},
        "coverage": {"probability": COVERAGE},
        "quantities": [_quantity_content(quantity, arrays, largest_table) for quantity in record.quantities],
        "notes": record.notes,
        "raw": {},
    }
    for name, array in record.raw.items():
        key = f"raw/{name}"
        arrays[key] = array
        content["raw"][name] = {"array": key, "shape": list(array.shape), "dtype": array.dtype.str}
    return content, arrays


def as_json(values: Array) -> list[Any]:
    """Return an array as nested lists, null for what is no finite number."""
    return [as_json(row) if row.ndim else (float(row) if np.isfinite(row) else None) for row in map(np.asarray, values)]


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return the JSON text of a content with its checksum. Raises ValueError for text that UTF-8 can't hold."""
    return f"{_pretty({**content, 'sha256': checksum(content)}, 0)}\n".encode()


def checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a content in its canonical form, whatever the white space it is written with."""
    kept = {name: value for name, value in content.items() if name != "sha256"}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def parse_content(path: Path, text: str) -> RecordFile:
    """Check the text of a record's file: JSON, version, checksum, fields. Raises RecordError."""
    try:
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        message = f"is not valid JSON: {str(error) or type(error).__name__}. It was cut or edited; calibrate anew"
        raise RecordError(path, message, line=getattr(error, "lineno", None)) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RecordError(path, "is no calibration record; those are written by: freqprop calibrate")
    version = content.get("schema_version")
    if isinstance(version, bool) or version != VERSION:
        message = f"is of schema version {version!s:.20}, and this program knows {VERSION}. Upgrade freqprop-lab"
        raise RecordError(path, message, Why.VERSION)
    try:
        true = checksum(content)
    except (ValueError, RecursionError) as error:
        raise RecordError(path, f"holds what no record does: {str(error) or type(error).__name__}") from None
    if content.get("sha256") != true:
        message = "was changed after it was written: its content is not that of its checksum. Calibrate anew"
        raise RecordError(path, message, Why.EDITED)
    try:
        return validate(Document(path, text, content, {}), RecordFile)
    except FileError as error:
        raise RecordError(path, error.message) from None


def record_of(path: Path, file: RecordFile, arrays: Mapping[str, NDArray[Any]], *, raw: bool) -> CalibrationRecord:
    """Return the record of a checked file and its arrays. Raises RecordError where they don't fit together."""
    try:
        return CalibrationRecord(
            procedure=file.procedure,
            bench=file.bench,
            time=datetime.fromisoformat(file.time),
            expires=None if file.expires is None else datetime.fromisoformat(file.expires),
            operator=file.operator,
            versions=dict(file.versions),
            instruments=tuple(InstrumentId(**vars(one)) for one in file.instruments),
            references=tuple(Reference(**vars(one)) for one in file.references),
            network=file.network,
            rests_on=dict(file.rests_on),
            settings=dict(file.settings),
            outcome=dict(file.outcome),
            assumptions=tuple(file.assumptions),
            quantities=tuple(_quantity(one, arrays) for one in file.quantities),
            verdict=Verdict(file.verdict.status, tuple(file.verdict.words)),
            notes=file.notes,
            raw={name: _stored(one.array, one.shape, one.dtype, arrays) for name, one in file.raw.items()}
            if raw
            else {},
            uid=file.uid,
        )
    except ValueError as error:
        raise RecordError(path, f"can't be: {error}") from None


def _quantity_content(quantity: Quantity, arrays: Arrays, largest: float) -> dict[str, Any]:
    def table(part: str, values: Array) -> Any:
        if values.size <= largest and (values.ndim == 1 or values.size):  # an empty table would lose its shape
            return as_json(values)
        key = f"quantities/{quantity.name}/{part}"
        arrays[key] = values
        return {"array": key, "shape": list(values.shape)}

    with np.errstate(over="ignore"):
        factors, combined, expanded = (
            quantity.coverage_factors,
            quantity.standard_uncertainty,
            quantity.expanded_uncertainty,
        )
    alike = factors.size == 0 or bool((factors == factors.flat[0]).all())
    points, freedom = quantity.points, quantity.degrees_of_freedom
    return {
        "name": quantity.name,
        "unit": quantity.unit,
        "labels": list(quantity.labels),
        "points": points and {"name": points.name, "unit": points.unit, "values": table("points", points.values)},
        "values": table("values", quantity.values),
        "type_a": table("type_a", quantity.type_a),
        "type_b": table("type_b", quantity.type_b),
        "degrees_of_freedom": None if freedom is None else table("degrees_of_freedom", freedom),
        "standard_uncertainty": table("standard_uncertainty", combined),
        "coverage_factor": (float(factors.flat[0]) if factors.size else COVERAGE_FACTOR)
        if alike
        else table("coverage_factor", factors),
        "expanded_uncertainty": table("expanded_uncertainty", expanded),
    }


def _quantity(file: _Quantity, arrays: Mapping[str, NDArray[Any]]) -> Quantity:
    def table(given: _Table) -> Array:
        if isinstance(given, _InArrays):
            return _stored(given.array, given.shape, "<f8", arrays)
        return np.array(given, dtype=np.float64)  # null is NaN

    points = None if file.points is None else Points(file.points.name, file.points.unit, table(file.points.values))
    freedom = None if file.degrees_of_freedom is None else table(file.degrees_of_freedom)
    parts = (table(file.values), table(file.type_a), table(file.type_b))
    quantity = Quantity(file.name, file.unit, tuple(file.labels), *parts, points, degrees_of_freedom=freedom)
    for name in ("standard_uncertainty", "expanded_uncertainty"):
        stated = table(getattr(file, name))
        with np.errstate(over="ignore"):
            follows = getattr(quantity, name)
        follows = np.where(np.isinf(follows), np.nan, follows)
        if stated.shape != follows.shape or not np.allclose(stated, follows, rtol=_TOLERANCE, atol=0, equal_nan=True):
            raise ValueError(f'quantity "{file.name}": its {name} is not what type A and B make')
    return quantity


def _stored(name: str, shape: list[int], dtype: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if name not in arrays:
        raise ValueError(f'the array "{name}" is missing from the arrays file')
    array = arrays[name]
    if list(array.shape) != shape or array.dtype.str != dtype:
        raise ValueError(f'the array "{name}" is {array.dtype.str} {list(array.shape)}, not {dtype} {shape}')
    return array


def _written(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"


def _pretty(value: Any, depth: int) -> str:
    """Write JSON with a field a line and a row of numbers a line, which json.dumps can't."""
    inner, outer = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict) and value:
        fields = (f"{json.dumps(name, ensure_ascii=False)}: {_pretty(one, depth + 1)}" for name, one in value.items())
        return "{" + inner + f",{inner}".join(fields) + outer + "}"
    if isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        return "[" + inner + f",{inner}".join(_pretty(one, depth + 1) for one in value) + outer + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made
