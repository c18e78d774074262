"""The parts of `calibrate gradient`: finite differences, delays, what each fault does, what explains a deviation."""

from calibration.gradient._comparison import Comparison, Size
from calibration.gradient._delays import Delays, fit_delays
from calibration.gradient._differences import Point, Slope, slope_at
from calibration.gradient._drives import Drives
from calibration.gradient._effects import (
    Cause,
    Effect,
    Exchanged,
    Responses,
    effects,
    exchanged_leads,
    port_lines,
)
from calibration.gradient._line import Line, cosine_between, line_through
from calibration.gradient._quantities import quantities
from calibration.gradient._words import Seen, Written, frequency_to_use, gamma_to_use, verdict

__all__ = [
    "Cause",
    "Comparison",
    "Delays",
    "Drives",
    "Effect",
    "Exchanged",
    "Line",
    "Point",
    "Responses",
    "Seen",
    "Size",
    "Slope",
    "Written",
    "cosine_between",
    "effects",
    "exchanged_leads",
    "fit_delays",
    "frequency_to_use",
    "gamma_to_use",
    "line_through",
    "port_lines",
    "quantities",
    "slope_at",
    "verdict",
]
