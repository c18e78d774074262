"""Readings of constant levels and their derivatives: by hand, and by finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.direct_model import DirectModel, Sources
from calibration.errors import ModelError
from freqprop_lab.bench import Lead
from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network import Branch, Network, barabasi_albert


def _resistors(*listed):
    return tuple(Branch(name, p, m, ELEMENTS["resistor"], (g,), True) for name, p, m, g in listed)


def _divider():
    return Network(("a", "b"), _resistors(("R1", "a", "b", 1e-3), ("R2", "b", "ground", 3e-3)))


def test_a_stiff_divider_by_hand():
    model = DirectModel(_divider(), [Lead("s", 0, -1, "voltage")])
    sources = Sources(np.array([1.1]), np.array([0.2]), np.zeros(1))
    solved = model.solve(np.array([1e-3, 3e-3]), sources, np.array([[2.0], [0.0]]))
    # 1.1 * 2 + 0.2 = 2.4 V at a; a quarter of it at b.
    assert solved.volts == pytest.approx(np.array([[2.4, 0.6], [0.2, 0.05]]), abs=1e-14)
    assert solved.transfer == pytest.approx(np.array([[1.0], [0.25]]), abs=1e-14)
    by_g = model.by_conductance(solved)[0]
    # b = 2.4 G1 / (G1 + G2): derivatives 2.4 G2 / S^2 and -2.4 G1 / S^2, S = 4 mS.
    assert by_g[1] == pytest.approx([2.4 * 3e-3 / 16e-6, -2.4 * 1e-3 / 16e-6], rel=1e-12)
    assert by_g[0] == pytest.approx([0, 0], abs=1e-9)


def test_a_source_behind_a_resistor_and_a_current_by_hand():
    leads = [Lead("v", 0, -1, "voltage", 500.0), Lead("i", 1, -1, "current")]
    model = DirectModel(_divider(), leads)
    sources = Sources.ideal(leads)
    solved = model.solve(np.array([1e-3, 3e-3]), sources, np.array([[3.0, 0.0], [0.0, 4e-3]]))
    # 500 + 1000 + 1000/3 Ohm in series: 3 V drive 3 / 1833.3 A. 4 mA into b see 333.3 Ohm beside 1500.
    current = 3 / (1500 + 1000 / 3)
    assert solved.volts[0] == pytest.approx([3 - 500 * current, current * 1000 / 3], rel=1e-12)
    beside = 1 / (3e-3 + 1 / 1500)
    assert solved.volts[1] == pytest.approx([4e-3 * beside * 500 / 1500, 4e-3 * beside], rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_derivatives_are_those_of_finite_differences(seed):
    rng = np.random.default_rng(seed)
    network = barabasi_albert(7, 12, 1e-3, rng)
    leads = [Lead("s0", 0, -1, "voltage"), Lead("s1", 1, -1, "voltage", 800.0), Lead("s2", 2, 3, "current")]
    model, sources = DirectModel(network, leads), Sources.ideal(leads)
    G, levels = rng.uniform(1e-4, 1e-3, 12), rng.normal(size=(3, 3)) * [1, 1, 1e-3]
    solved = model.solve(G, sources, levels)
    by_g, by_series = model.by_conductance(solved), model.by_series(solved)
    for branch in range(12):
        step = np.zeros(12)
        step[branch] = 1e-5 * G[branch]
        ends = [model.solve(G + sign * step, sources, levels).volts for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step[branch])
        assert by_g[..., branch] == pytest.approx(slope, rel=1e-6, abs=1e-14 / step[branch])
    ends = [
        model.solve(G, Sources(sources.gain, sources.offset, sources.series * factor), levels).volts
        for factor in (1 + 1e-5, 1 - 1e-5)
    ]
    slope = (ends[0] - ends[1]) / (2e-5 * sources.series[1])
    assert by_series[..., 0] == pytest.approx(slope, rel=1e-6, abs=1e-5 * np.abs(slope).max())


def test_a_diode_is_refused_by_name():
    diode = Branch("D1", "a", "ground", ELEMENTS["diode"], (1e-9, 0.025))
    with pytest.raises(ModelError, match=r'branch "D1" is a diode.*leave this procedure out'):
        DirectModel(Network(("a",), (diode,)), [])


def test_a_part_that_hangs_on_nothing_is_named():
    network = Network(("a", "b"), _resistors(("R1", "a", "b", 1e-3)))
    with pytest.raises(ModelError, match=r"hangs on nothing"):
        DirectModel(network, []).solve(np.array([1e-3]), Sources.ideal([]), np.zeros((1, 0)))
