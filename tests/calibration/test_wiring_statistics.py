"""How surely `wiring` names random faults: small n here; benchmarks/calibration_wiring.py makes the figures in full."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))

from _wiring_benches import Faulty, board, effects, faulty, seen_bench
from calibration_wiring import share, trial

from calibration.subject import subject_of


@pytest.mark.parametrize("number", [0, 1, 2, pytest.param(3, marks=pytest.mark.prove)])
def test_random_faults_are_named_exactly(number):
    assert trial(1000 + number, number).outcome == "exact"


@pytest.mark.prove
def test_nineteen_of_twenty_are_named_and_hardly_an_alarm_is_false():
    trials = [trial(2000 + number, number % 4) for number in range(200)]
    exact = [one.outcome == "exact" for one in trials if one.truth]
    quiet = [one.outcome == "exact" for one in trials if not one.truth]
    assert np.mean(exact) >= 0.95
    assert np.mean(quiet) >= 0.98


def test_a_swap_of_one_lead_with_itself_would_have_no_effect(tmp_path):
    on = board(np.random.default_rng(0), 0, tmp_path)
    subject = subject_of(on.bench(Faulty()))
    nothing = faulty([("wrong", ("R1",))], {"R1": 1.0})
    assert effects(subject, nothing) == pytest.approx([0.0], abs=1e-6)


def test_the_effect_of_a_wrong_value_is_at_most_its_distance_in_tolerances(tmp_path):
    # A conductance known to 3 % (5 % where fixed) that is twice as large: d' S^-1 d <= (x / u)^2 with x below 1.
    on = board(np.random.default_rng(1), 1, tmp_path)
    subject = subject_of(on.bench(Faulty()))
    (effect,) = effects(subject, faulty([("wrong", (on.tunable[0],))], {on.tunable[0]: 2.0}))
    assert 0 < effect <= 1 / 0.03 + 1e-6


def test_drawn_faults_are_all_seen(tmp_path):
    bench, faults, _ = seen_bench(np.random.default_rng(5), 5, 3, tmp_path)
    assert len(faults.named) == 3
    assert bench.truth().faults.model_dump(exclude_defaults=True, exclude={"events"}) == faults.section


def test_a_share_with_its_interval():
    # Wilson for 8 of 10: centre (0.8 + 0.19208) / 1.38416, half width 1.96 sqrt(0.016 + 0.009604) / 1.38416.
    assert share(8, 10) == "8 of 10 (80.0 %, 95 % interval 49.0 to 94.3 %)"
