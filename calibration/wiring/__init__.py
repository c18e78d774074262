"""The parts of the procedure `wiring`: which channel is on which node, which element is where, and what is broken."""

from calibration.wiring.faults import SURE, Alternative, Fault, Names, told
from calibration.wiring.hypothesis import Hypothesis, Move, Part, Places
from calibration.wiring.model import Observed
from calibration.wiring.observe import measurements, observed_of
from calibration.wiring.outcome import Outcome
from calibration.wiring.search import Search
from calibration.wiring.unseen import unseen

__all__ = [
    "SURE",
    "Alternative",
    "Fault",
    "Hypothesis",
    "Move",
    "Names",
    "Observed",
    "Outcome",
    "Part",
    "Places",
    "Search",
    "measurements",
    "observed_of",
    "told",
    "unseen",
]
