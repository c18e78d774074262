"""What a bench really does: procedures that measure it, and the dated records that they leave.

In a notebook:

    with open_bench(settings, corrected=False) as bench:
        done = calibrate(bench, Gains(samples=20_000), "calibrations")
    done.record.quantity("meter gain").values
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibration.correction import correction_from
    from calibration.errors import CalibrationError, ProcedureError
    from calibration.procedure import Findings, ListedProcedure, Measurement, Plan, Procedure, Taken
    from calibration.procedures.bias import Bias
    from calibration.procedures.constant_levels import Gains, NetworkConductances, Offsets
    from calibration.procedures.gradient import Gradient
    from calibration.procedures.noise import Noise
    from calibration.procedures.relaxation import Relaxation
    from calibration.procedures.resistors import Resistors
    from calibration.procedures.skew import Skew
    from calibration.procedures.wiring import Wiring
    from calibration.records import CalibrationRecord, Quantity, RecordFolder, compare
    from calibration.registry import make_procedure, procedure_names
    from calibration.report import write_calibration_report
    from calibration.running import Calibrated, calibrate, run_procedure
    from calibration.subject import Subject, subject_of

# name: module. Imported when asked for, so that the command line starts fast.
_MODULES = {
    "Bias": "procedures.bias",
    "Calibrated": "running",
    "CalibrationError": "errors",
    "CalibrationRecord": "records",
    "Findings": "procedure",
    "Gains": "procedures.constant_levels",
    "Gradient": "procedures.gradient",
    "ListedProcedure": "procedure",
    "Measurement": "procedure",
    "NetworkConductances": "procedures.constant_levels",
    "Noise": "procedures.noise",
    "Offsets": "procedures.constant_levels",
    "Plan": "procedure",
    "Procedure": "procedure",
    "ProcedureError": "errors",
    "Quantity": "records",
    "RecordFolder": "records",
    "Relaxation": "procedures.relaxation",
    "Resistors": "procedures.resistors",
    "Skew": "procedures.skew",
    "Subject": "subject",
    "Taken": "procedure",
    "Wiring": "procedures.wiring",
    "calibrate": "running",
    "compare": "records",
    "correction_from": "correction",
    "make_procedure": "registry",
    "procedure_names": "registry",
    "run_procedure": "running",
    "subject_of": "subject",
    "write_calibration_report": "report",
}

__all__ = [
    "Bias",
    "Calibrated",
    "CalibrationError",
    "CalibrationRecord",
    "Findings",
    "Gains",
    "Gradient",
    "ListedProcedure",
    "Measurement",
    "NetworkConductances",
    "Noise",
    "Offsets",
    "Plan",
    "Procedure",
    "ProcedureError",
    "Quantity",
    "RecordFolder",
    "Relaxation",
    "Resistors",
    "Skew",
    "Subject",
    "Taken",
    "Wiring",
    "calibrate",
    "compare",
    "correction_from",
    "make_procedure",
    "procedure_names",
    "run_procedure",
    "subject_of",
    "write_calibration_report",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
