"""The budget of uncertainty that docs/how-to/calibrate.md works out by hand, from the procedure itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from benches import by_name, findings

from calibration.record_names import CONDUCTANCE
from freqprop_lab.bench import open_bench
from freqprop_lab.config import check_bench, parse_yaml

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "calibrate.md"

BENCH = """\
bench: numeric
network: {kind: csv, file: board.csv, inputs: [[n]], outputs: [[n]]}
inputs: {source: resistor, resistance: 1 kOhm}
sampling: {frequency: 1 kHz, samples_per_period: 20}
source: {gain_error: 100e-6, offset: 5 mV, certified: {nodes: [n], gain: 100e-6, offset: 5 mV}}
meter: {noise: 1 mV, certified: {nodes: [n], gain: 50e-6, offset: 5 mV}}
calibration:
  references:
  - {resistor: n, resistance: 100e-6, certificate: 1 kOhm no. 1}
  - {source: source/0, gain: 100e-6, certificate: DAC no. 2}
  - {meter: n, gain: 50e-6, certificate: multimeter no. 3}
"""


def test_the_procedure_states_what_the_page_works_out(tmp_path):
    """G = Gs (x gs gm / r' - 1), r' the slope of the readings by x; at G = Gs the slope is 1/2.

    Relative: 100 ppm of Gs once; of the source's gain and the meter's twice, since x gs gm / r' is 2 and 2 - 1 is 1:
    200 and 100 ppm. Noise: 1 mV over the root of 10000 samples is 10 uV; the levels 0, 1, -1, 1, -1 V leave
    10 uV / sqrt(4) of the slope, 10 ppm of it, counted twice: 20 ppm.
    """
    (tmp_path / "board.csv").write_text("name,plus,minus,kind,value\nR1,n,ground,tunable,1 kOhm\n")
    bench = open_bench(check_bench(parse_yaml(BENCH, tmp_path / "bench.yaml"), tmp_path), corrected=False)
    with bench:
        bench.program(np.array([1e-3]))
        found = by_name(findings(bench, "network"))[CONDUCTANCE]
        true = bench.truth().tunable[0]
    type_b, type_a = np.hypot(100, np.hypot(200, 100)), 20
    assert found.type_b[0] / found.values[0] * 1e6 == pytest.approx(type_b, rel=0.01)
    assert found.type_a[0] / found.values[0] * 1e6 == pytest.approx(type_a, rel=0.1)
    assert abs(found.values[0] - true) < 4 * found.standard_uncertainty[0]
    expanded = 1.96 * np.hypot(type_b, type_a)
    page = PAGE.read_text(encoding="utf-8")
    assert re.search(rf"\| combined, k = 1 \| \| {np.hypot(type_b, type_a):.0f} ppm \|", page)
    assert f"{expanded:.0f} ppm" in page
