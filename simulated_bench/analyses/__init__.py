"""What one asks of a circuit: operating point, sensitivities, quasi-static response, AC, noise, periodic response."""

from simulated_bench.analyses._operating_point import OperatingPoint, operating_point
from simulated_bench.analyses._quasi_static import a_and_b, response
from simulated_bench.analyses._sensitivities import Sensitivities, sensitivities
from simulated_bench.analyses._small_signal import NoiseSpectrum, SmallSignal, ac, noise
from simulated_bench.harmonic_balance import PeriodicResponse, harmonic_balance

__all__ = [
    "NoiseSpectrum",
    "OperatingPoint",
    "PeriodicResponse",
    "Sensitivities",
    "SmallSignal",
    "a_and_b",
    "ac",
    "harmonic_balance",
    "noise",
    "operating_point",
    "response",
    "sensitivities",
]
