"""The conformance suites: what every driver's author runs against an instrument, with a few lines and under pytest.

Subclass the suite of the role, open the instrument, and, where it can be done, look behind its back:

    import numpy as np
    from freqprop_lab.testing import SourceTests
    from mylab.generator import Generator, ScriptedLink

    class TestGenerator(SourceTests):
        tolerance = 2e-3  # V: half a step of its 12 bits

        def open_instrument(self):
            self.link = ScriptedLink()  # what stands at the far end: a simulator, a script, a second instrument
            return Generator("nudge", self.link)

        def observe(self, source):
            return np.array([self.link.volts_at_output])

pytest then collects one test for each law of the interface (`freqprop_lab.instruments`). Those that need `observe` or
`present` skip, with the reason, where an author cannot look; nothing else may skip but what an instrument's own
abilities and limits rule out. An instrument that needs a wire on the bench gets the marker `hardware`.
"""

import pytest

# An assertion that fails in a suite must show its numbers to the driver's author, as one of his own would.
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in ("_instrument", "_source", "_meter", "_resistor")))

from freqprop_lab.testing._instrument import InstrumentTests  # noqa: E402
from freqprop_lab.testing._meter import MeterTests  # noqa: E402
from freqprop_lab.testing._resistor import TunableResistorTests  # noqa: E402
from freqprop_lab.testing._source import SourceTests  # noqa: E402

__all__ = ["InstrumentTests", "MeterTests", "SourceTests", "TunableResistorTests"]
