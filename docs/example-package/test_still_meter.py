"""The suites that every meter runs, on ours."""

import numpy as np
from freqprop_lab.testing import MeterTests
from still_meter import StillMeter


class TestStillMeter(MeterTests):
    def open_instrument(self) -> StillMeter:
        return StillMeter("still", 4, 0.0)

    def present(self, meter: StillMeter, volts: np.ndarray) -> None:
        meter.volts = volts
