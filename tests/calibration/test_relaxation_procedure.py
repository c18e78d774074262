"""`relaxation`: capacitances, modes and the frequency that they allow, against pencil and the simulated truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benches import by_name, findings, opened

from calibration.errors import ProcedureError
from calibration.registry import make_procedure
from calibration.running import run_procedure
from calibration.subject import subject_of

QUIET = "meter: {gain_error: 2 %, offset: 5 mV, noise: 1 mV, hidden_skew: 3 us}\n"


def slow(seed=4, parts="parts: {capacitance: 1 nF, capacitance_spread: 30 %}\n", **replaced):
    return opened(seed, nodes=8, edges=14, ports=(2, 1), more=parts, replaced={"meter": QUIET, **replaced})


def test_capacitances_and_the_slowest_mode_are_found_beside_hidden_skews():
    bench = slow()
    found = findings(bench, "relaxation")
    told, truth = by_name(found), bench.truth()
    capacitance = told["capacitance"]
    z = (capacitance.values - truth.capacitance) / capacitance.standard_uncertainty
    assert np.abs(z).max() < 4
    assert np.median(capacitance.standard_uncertainty) < 0.1e-9
    slowest = told["slowest relaxation time"]
    expected = bench.relaxation_times()[-1]
    assert slowest.values[0] == pytest.approx(expected, abs=4 * slowest.standard_uncertainty[0])
    assert slowest.standard_uncertainty[0] < 0.1 * expected


@pytest.mark.parametrize("kind", ["resistor", "tunable"])
def test_parts_that_are_known_to_five_per_cent_leave_capacitances_as_uncertain(kind, tmp_path):
    """RC is told by phases; C is no better known than R, whether R is fixed, tuned, or in series with a source."""
    parts = [("a", "b", "1 kOhm"), ("b", "c", "2 kOhm"), ("c", "ground", "3 kOhm"), ("a", "ground", "2 kOhm")]
    rows = [f"R{number},{plus},{minus},{kind},{value}" for number, (plus, minus, value) in enumerate(parts)]
    (tmp_path / "n.csv").write_text("name,plus,minus,kind,value\n" + "\n".join(rows))
    replaced = {
        "network": "network: {kind: csv, file: n.csv, inputs: [[a], [b]], outputs: [[c]]}\n",
        "source": "source: {}\n",
        "meter": "meter: {noise: 0.1 mV}\n",
        "resistors": "resistors: {tolerance: 5 %}\n" if kind == "tunable" else "",
    }
    more = "parts: {capacitance: 20 nF, tolerance: 5 %, source_resistance_tolerance: 5 %}\n"
    z = []
    for seed in range(8):
        with opened(seed, more=more, replaced=replaced, folder=tmp_path) as bench:
            ideal = dict.fromkeys(("source_gain", "meter_gain"), 1e-4)
            fives = dict.fromkeys(("source_resistance", "fixed", "tunable"), 0.05)
            subject = subject_of(bench)
            subject = replace(subject, assumed=subject.assumed.model_copy(update=ideal | fives))
            found = run_procedure(bench, make_procedure("relaxation"), subject=subject).quantity("capacitance")
        z.append((found.values - 20e-9) / found.standard_uncertainty)
        # Seven parts tell one scale: 5 % over their root at best.
        assert found.standard_uncertainty / 20e-9 == pytest.approx(0.05 / np.sqrt(7), rel=0.2)
    assert np.sqrt(np.mean(np.square(z))) < 1.6  # of 8 scales


def test_the_recommended_frequency_costs_what_is_wished():
    """One pole loses x^2 / (1 + x^2) of b, x = omega tau: for a hundredth x is 1 / sqrt(99); settled at tau ln 100."""
    bench = slow()
    told = by_name(findings(bench, "relaxation", accuracy=0.01))
    tau = told["slowest relaxation time"].values[0]
    assert tau == pytest.approx(bench.relaxation_times()[-1], rel=0.1)
    assert told["recommended frequency"].values[0] == pytest.approx(1 / np.sqrt(99) / (2 * np.pi * tau))
    assert told["settling time"].values[0] == pytest.approx(tau * np.log(100))


def test_a_bench_without_capacitance_gets_bounds():
    found = findings(slow(parts=""), "relaxation")
    assert found.verdict.status == "good"
    assert "relaxes in less than" in found.verdict.words[0]
    assert "lower bound" in found.notes
    assert found.outcome["bounds"] == {"recommended frequency": "at least", "settling time": "at most"}
    capacitance = by_name(found)["capacitance"]
    assert (np.abs(capacitance.values) < 4 * capacitance.standard_uncertainty).all()
    best = by_name(found)["recommended frequency"]
    assert best.values[0] > 1e4
    assert np.isnan(best.expanded_uncertainty[0])  # a bound has no interval about it


def test_a_network_that_is_too_slow_for_its_nudge_is_told():
    found = findings(slow(parts="parts: {capacitance: 100 nF}\n"), "relaxation")
    assert found.verdict.status == "doubtful"
    assert any("nudge with a sine of" in words for words in found.verdict.words)


def test_nodes_that_a_stiff_source_holds_show_no_capacitance():
    bench = slow(inputs="inputs: {source: voltage}\n")
    capacitance = by_name(findings(bench, "relaxation"))["capacitance"]
    held = {port.plus for port in bench.network.inputs} | {port.minus for port in bench.network.inputs}
    unknown = {label for label, value in zip(capacitance.labels, capacitance.values, strict=True) if np.isnan(value)}
    assert unknown == held


def test_the_elements_have_what_they_had_before():
    bench = slow()
    before = bench.conductances.copy()
    findings(bench, "relaxation")
    assert (bench.conductances == before).all()


def test_a_free_running_meter_is_refused_with_what_to_wire():
    bench = opened(0, replaced={"meter": "meter: {synchronised: false, delays: common}\n"})
    with pytest.raises(ProcedureError, match="wire a trigger from the source"):
        findings(bench, "relaxation")
