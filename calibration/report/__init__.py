"""The report of a bench's calibrations: one HTML page with plots, fit to be handed to a colleague."""

from calibration.report._page import write_calibration_report

__all__ = ["write_calibration_report"]
