"""What can go wrong in a calibration, apart from instruments and files."""

from __future__ import annotations


class CalibrationError(ValueError):
    """A calibration that can't be done so, or found nothing; the message says what to do.

    CalibrationError
    +- SubjectError           the bench is not one that can be calibrated so
    +- ProcedureError         this bench, or what was measured, does not allow the procedure
    +- UnknownProcedureError  there is no procedure of that name
    +- ModelError             the network can't be described by conductances alone, or has no voltages
    +- EstimateError          no parameters explain the readings
    """


class SubjectError(CalibrationError):
    """The bench is not one that can be calibrated so; the message says what to change."""


class ProcedureError(CalibrationError):
    """This bench, or what was measured, does not allow the procedure; the message says what to do."""


class UnknownProcedureError(CalibrationError):
    """No procedure of that name; the message names the nearest."""


class ModelError(CalibrationError):
    """The network can't be described by conductances alone, or has no voltages; the message names branch or node."""


class EstimateError(CalibrationError):
    """No parameters explain the readings at all."""
