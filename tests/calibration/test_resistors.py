"""`resistors`: what every element has by its code, against the hidden truth; hysteresis, repeatability, stuck ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benches import by_name, findings, opened

from calibration.errors import ProcedureError
from calibration.procedures.resistors import Resistors
from calibration.running import run_procedure
from calibration.subject import subject_of

STRAIGHT = "taps: 65, end_to_end: 10 kOhm, wiper: 75 Ohm, tolerance: 5 %"
BENT = STRAIGHT + ", wiper_spread: 20 %, wire: 2 Ohm, nonlinearity: 2 %"
OPTIONS = {"samples": 400, "points": 9}


def bench_with(resistors, seed=0):
    return opened(seed, replaced={"resistors": "resistors: {" + resistors + "}\n"})


def true_table(bench, table):
    nominal = table.points.of(len(table.labels))
    return np.array([bench.truth().conductance(column) for column in nominal.T]).T


def test_the_ladder_of_a_potentiometer_is_walked_up():
    subject = subject_of(bench_with(STRAIGHT))
    expected = 1 / (75 + 10e3 * np.arange(65)[::-1] / 64)
    assert all(rungs == pytest.approx(expected) for rungs in subject.ladder)
    assert subject_of(opened()).ladder == (None,) * 32


def test_every_code_has_its_conductance_and_an_interval_that_holds():
    held = []
    for seed in range(2):
        bench = bench_with(BENT, seed)
        table = by_name(findings(bench, "resistors", **OPTIONS))["conductance by nominal"]
        assert table.values.shape == (32, 65)
        assert table.labels == tuple(bench.element_channels.values())
        low, high = table.interval()
        true = true_table(bench, table)
        held.append((low <= true) & (true <= high))
        assert np.median(np.abs(table.values / true - 1)) < 1e-3
        assert (np.diff(table.values, axis=1) > 0).all()
    assert np.mean(held) > 0.9


def test_wiper_and_wire_are_what_is_left_at_code_0():
    bench = bench_with(BENT)
    found = by_name(findings(bench, "resistors", **OPTIONS))
    wiper, table = found["wiper and wire resistance"], found["conductance by nominal"]
    true = 1 / true_table(bench, table)[:, -1]
    assert (np.abs(wiper.values - true) < 4 * wiper.standard_uncertainty).all()
    assert np.median(wiper.standard_uncertainty) < 1.0  # Ohm


def test_hysteresis_and_repeatability_are_those_of_the_parts():
    bench = bench_with(STRAIGHT + ", hysteresis: 2 %, repeatability: 0.3 %")
    found = by_name(findings(bench, "resistors", **OPTIONS))
    hysteresis, repeatability = found["hysteresis"], found["repeatability"]
    # The simulation's from above is 1 % above the middle, from below 1 % below: ln 1.01 - ln 0.99 apart.
    z = (hysteresis.values - np.log(1.01 / 0.99)) / hysteresis.standard_uncertainty
    assert np.abs(np.median(z)) < 1
    assert np.sqrt((repeatability.values**2).mean()) == pytest.approx(3e-3, rel=0.25)
    table = found["conductance by nominal"]
    assert np.median(np.abs(table.values / true_table(bench, table) - 1)) < 3e-3  # of the middle, 1 % away


def test_a_scatter_of_few_visits_has_few_degrees_of_freedom():
    """Two rounds of four visits: four degrees, so k = 2.78 for 95 %; one round shows no scatter."""
    found = findings(bench_with(STRAIGHT), "resistors", again=2, **OPTIONS).quantity("hysteresis")
    assert found.degrees_of_freedom == pytest.approx(4.0)
    assert found.coverage_factors == pytest.approx(2.776, abs=1e-3)
    with pytest.raises(ProcedureError, match=r"--again is 1; at least 2 show a scatter"):
        Resistors(again=1)


def test_a_wiper_that_may_not_be_reached_is_not_told():
    bench = opened(0, replaced={"resistors": "resistors: {" + STRAIGHT + "}\n"})
    ends = subject_of(bench)
    assert ends.reaches_end.all()
    bounded = replace(ends, reaches_end=np.zeros(32, dtype=bool))
    found = run_procedure(bench, Resistors(again=0, **OPTIONS), subject=bounded)
    assert "wiper and wire resistance" not in [quantity.name for quantity in found.quantities]


def test_a_stuck_element_is_named_and_gets_no_table():
    bench = opened(0, replaced={"resistors": "resistors: {" + STRAIGHT + ", stuck: [n0-n1]}\n"})
    found = findings(bench, "resistors", **OPTIONS)
    assert found.verdict.status == "doubtful"
    assert any("(branch n0-n1) does not follow what it is told" in words for words in found.verdict.words)
    row = bench.network.tunable_names.index("n0-n1")
    table = by_name(found)["conductance by nominal"]
    assert np.isnan(table.values[row]).all()
    assert np.isfinite(np.delete(table.values, row, axis=0)).all()


def test_continuous_elements_have_a_grid():
    bench = opened(1, replaced={"resistors": "resistors: {tolerance: 5 %, nonlinearity: 2 %}\n"})
    found = by_name(findings(bench, "resistors", again=0, **OPTIONS))
    table = found["conductance by nominal"]
    assert table.values.shape == (32, 65)
    assert "wiper and wire resistance" not in found
    assert np.median(np.abs(table.values / true_table(bench, table) - 1)) < 1e-3


def test_what_is_driven_and_programmed_is_told_before():
    bench = bench_with(STRAIGHT)
    plan = Resistors(points=5, again=2).plan(subject_of(bench))
    # 5 states and 8 visits more, of 3 + 2 x 10 drives each; 8 records on the way, and one that puts everything back.
    assert plan.n_records == 13 * 23 + 8 + 1
    assert plan.conductances is not None
    low, high = plan.conductances
    assert low == pytest.approx(1 / 10_075)
    assert high == pytest.approx(1 / 75)


def test_the_elements_have_what_they_had_before():
    bench = bench_with(STRAIGHT)
    before = bench.conductances.copy()
    findings(bench, "resistors", points=5, samples=100, again=0)
    assert (bench.conductances == before).all()
