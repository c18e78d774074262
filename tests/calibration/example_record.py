"""A small calibration record to test with; what matters to a test is given by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from calibration.records import CalibrationRecord, InstrumentId, Points, Quantity, Reference, Verdict

TIME = datetime(2026, 11, 26, 1, 2, 3, 456789, tzinfo=UTC)
UID = "1a2b3c4d" + "0" * 24
DAQ = InstrumentId("daq", "National Instruments", "USB-6363", "01ABCDEF", "21.0")
RESISTOR = Reference("R_ref", 1000.0, "Ohm", 0.05, "certificate 1234, 2026-03-01")


def offsets(**changes: Any) -> Quantity:
    given = {"name": "offset", "unit": "V", "labels": ("ai0", "ai1"), "values": [1e-3, -2e-3], "type_a": 3e-5}
    return Quantity(**{**given, "type_b": 4e-5, **changes})


def curve(n_points: int = 3, **changes: Any) -> Quantity:
    """Conductances of two elements at nominal ones, S."""
    nominal = np.linspace(1e-4, 1e-3, n_points)
    given = {"name": "conductance", "unit": "S", "labels": ("R1", "R2"), "values": np.stack([nominal, 1.01 * nominal])}
    points = Points("nominal conductance", "S", nominal)
    return Quantity(**{**given, "type_a": 1e-7, "type_b": 0.0, "points": points, **changes})


def a_record(*quantities: Quantity, **changes: Any) -> CalibrationRecord:
    given: dict[str, Any] = {
        "procedure": "offsets",
        "bench": "breadboard",
        "time": TIME,
        "instruments": (DAQ,),
        "quantities": quantities or (offsets(),),
        "verdict": Verdict("good", ("every offset is known to 0.1 mV",)),
        "references": (RESISTOR,),
        "settings": {"records": 10, "inputs": "shorted"},
        "assumptions": ("the offsets don't hang on the level",),
        "operator": "Ada",
        "versions": {"freqprop-lab": "0.1.0"},
        "uid": UID,
    }
    return CalibrationRecord(**{**given, **changes})
