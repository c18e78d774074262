"""Dated, traceable records of how a bench really behaves: written once, checked whenever they are read, never changed.

Everything SI. What a record holds: docs/file-formats.md and docs/calibration-record.schema.json.
"""

from calibration.records._compare import Comparison, Drift, QuantityChange, compare
from calibration.records._errors import RecordError, Refusal, Why
from calibration.records._file import as_json, content_of, schema
from calibration.records._folder import AHEAD, Chosen, RecordFolder, read_record
from calibration.records._quantity import COVERAGE, COVERAGE_FACTOR, Points, Quantity
from calibration.records._record import (
    CalibrationRecord,
    InstrumentId,
    Reference,
    Status,
    Verdict,
    quantity_named,
    software_versions,
)

__all__ = [
    "AHEAD",
    "COVERAGE",
    "COVERAGE_FACTOR",
    "CalibrationRecord",
    "Chosen",
    "Comparison",
    "Drift",
    "InstrumentId",
    "Points",
    "Quantity",
    "QuantityChange",
    "RecordError",
    "RecordFolder",
    "Reference",
    "Refusal",
    "Status",
    "Verdict",
    "Why",
    "as_json",
    "compare",
    "content_of",
    "quantity_named",
    "read_record",
    "schema",
    "software_versions",
]
