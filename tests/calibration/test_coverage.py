"""On random benches with everything wrong that may be, 95 % intervals hold the truth in 92 to 98 % of all cases."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import calibration_coverage as coverage

_INSTRUMENTS = ("source", "meter")  # a bench's channels share their references, and so their errors


@pytest.fixture(scope="module", params=[1, pytest.param(200, marks=pytest.mark.prove)])
def tally(request):
    made = coverage.Tally()
    for seed in range(coverage.SEED, coverage.SEED + request.param):
        coverage.calibrate(seed, made)
    return made, request.param


def test_intervals_hold_the_truth_of_every_kind(tally):
    made, n_benches = tally
    for kind, held in made.held.items():
        share = float(np.concatenate(held).mean())
        if n_benches >= 200:
            assert 0.92 <= share <= 0.98, kind
        else:
            assert share > (0.7 if kind.startswith(_INSTRUMENTS) else 0.85), kind


def test_estimates_come_near_the_bound(tally):
    made, n_benches = tally
    for kind, ratios in made.over_bound.items():
        rms = float(np.sqrt((np.concatenate(ratios) ** 2).mean()))
        assert rms < (1.5 if n_benches >= 200 and kind == "conductance" else 2.0), kind


def test_skews_are_known_to_a_hundredth_of_a_sample(tally):
    assert np.percentile(tally[0].of("skew"), 99) < 0.01
