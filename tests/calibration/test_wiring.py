"""`wiring`: every kind of fault on a small board, what can't be told apart, and the algebra behind the search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pytest import approx

from calibration.errors import ProcedureError
from calibration.procedure import Taken
from calibration.procedures.wiring import Wiring, faults_of
from calibration.running import run_procedure
from calibration.subject import subject_of
from calibration.wiring import Hypothesis, Move, Observed, Part, measurements, observed_of
from calibration.wiring.hypothesis import NOTHING, rings
from calibration.wiring.model import Normal, Point, believed, fit, linearise, nothing
from calibration.wiring.screen import Screen
from freqprop_lab.bench import open_bench
from freqprop_lab.config import check_bench, parse_yaml
from freqprop_lab.stopping import StopRequest

# Eight nodes in a ring with chords, sources at n1, n4 and n6, two ways to ground. No two nodes are alike.
BOARD = """\
name,plus,minus,kind,value,lowest,highest
R1,n1,n2,tunable,10 kOhm,1 kOhm,100 kOhm
R2,n2,n3,tunable,10 kOhm,1 kOhm,100 kOhm
R3,n3,n4,tunable,10 kOhm,1 kOhm,100 kOhm
R4,n4,n5,tunable,10 kOhm,1 kOhm,100 kOhm
R5,n5,n6,tunable,10 kOhm,1 kOhm,100 kOhm
R6,n6,n7,tunable,10 kOhm,1 kOhm,100 kOhm
R7,n7,n8,tunable,10 kOhm,1 kOhm,100 kOhm
R8,n8,n1,tunable,10 kOhm,1 kOhm,100 kOhm
R9,n2,n5,resistor,4.7 kOhm,,
R10,n3,n7,resistor,22 kOhm,,
R11,n1,n5,resistor,10 kOhm,,
R12,n2,n8,resistor,10 kOhm,,
G1,n3,ground,resistor,10 kOhm,,
G2,n8,ground,resistor,22 kOhm,,
"""
BENCH = """\
bench: numeric
hardware_seed: {seed}
network: {{kind: csv, file: {file}, inputs: {ports}, outputs: [[n6]]}}
scales: {{conductance: 0.1 mS}}
inputs: {inputs}
nudge: {nudge}
sampling: {{frequency: 100 Hz, samples_per_period: 20, periods: 5}}
source: {{gain_error: 2 %, offset: 5 mV}}
meter: {{gain_error: 2 %, offset: 5 mV, noise: 1 mV, hidden_skew: 0.5 ms}}
resistors: {resistors}
parts: {{tolerance: 5 %, source_resistance_tolerance: 1 %}}
faults: {faults}
calibration:
  assume: {{meter_offset: 5 mV, source_offset: 5 mV, tunable: 3 %, fixed: 5 %}}
"""
BEHIND = "{source: resistor, resistance: 1 kOhm}"
RESISTORS = "tolerance: 2.5 %, nonlinearity: 1 %"


def opened(
    folder: Path, faults="", *, seed=0, board=BOARD, inputs=BEHIND, nudge=BEHIND, stuck="", ports="[[n1], [n4]]"
):
    (folder / "board.csv").write_text(board)
    text = BENCH.format(
        seed=seed,
        file=folder / "board.csv",
        inputs=inputs,
        ports=ports,
        nudge=nudge,
        faults=f"{{{faults}}}",
        resistors=f"{{{RESISTORS}{stuck}}}",
    )
    return open_bench(check_bench(parse_yaml(text, folder / "bench.yaml"), folder))


def found(bench, **options):
    return run_procedure(bench, Wiring(**options), subject_of(bench), StopRequest(), lambda *_: None)


def named(findings):
    return sorted((fault.kind, *fault.where) for fault in faults_of(findings.settings))


def take(bench, wanted):
    if wanted.conductances is not None:
        bench.program(wanted.conductances)
    return Taken(bench.measure_channels(wanted.drive, wanted.n_periods), bench.conductances.copy(), 100.0)


def observe(bench) -> Observed:
    subject = subject_of(bench)
    listed = measurements(subject, 1.0, 50)
    return observed_of(subject, listed, [take(bench, one) for one in listed])


# --- each kind of fault


def test_a_board_without_fault_is_good(tmp_path):
    findings = found(opened(tmp_path))
    assert named(findings) == []
    assert findings.verdict.status == "good"
    assert findings.verdict.words[0] == "Every channel and every element is where the bench file has it."


@pytest.mark.parametrize(
    ("faults", "expected", "words"),
    [
        (
            "swapped_reads: [[n2, n7]]",
            ("meter leads", "n2", "n7"),
            "The meter leads of n2 (meter/1) and n7 (meter/6) are swapped: exchange them at the board.",
        ),
        (
            "swapped_drives: [[n1, n6]]",
            ("source leads", "n1", "n6"),
            "The source leads of n1 (source/0) and n6 (source/2) are swapped: exchange them at the board.",
        ),
        (
            "swapped_elements: [[R3, R5]]",
            ("control lines", "R3", "R5"),
            "The control lines of R3 (resistors/2) and R5 (resistors/4) are swapped: exchange them, or their names in wiring.",
        ),
        (
            "open: [R9]",
            ("open", "R9"),
            "R9 between n2 and n5 is open: press it into the board, or look for a broken leg.",
        ),
        ("open: [R6]", ("open", "R6"), "R6 between n6 and n7 is open: press it into the board"),
        ("shorted: [R2]", ("short", "R2"), "R2 between n2 and n3 is shorted ("),
        ("wrong: {R10: 0.4}", ("value", "R10"), "R10 between n3 and n7 is "),
        ("wrong: {R4: 2.0}", ("value", "R4"), "R4 between n4 and n5 is "),
        ("ungrounded: [n8]", ("no ground", "n8"), "N8 is not connected to ground: G2 conducts nothing; "),
        ("unread: [n3]", ("meter lead pulled", "n3"), "The meter lead of n3 (meter/2) reads nothing: it is pulled"),
    ],
)
def test_each_fault_is_named_and_said_what_to_do_about(tmp_path, faults, expected, words):
    findings = found(opened(tmp_path, faults))
    assert named(findings) == [expected]
    assert findings.verdict.status == "bad"
    assert findings.verdict.words[0].startswith(words)
    assert findings.settings["alternatives"] == []
    assert findings.quantities[0].values[0] >= 20


def test_an_element_that_does_not_move_is_named(tmp_path):
    findings = found(opened(tmp_path, stuck=", stuck: [R7]"))
    assert named(findings) == [("stuck", "R7")]
    assert "R7 between n7 and n8 does not move when it is set" in findings.verdict.words[0]


def test_a_pulled_source_lead_is_named(tmp_path):
    # A released channel of the simulated source is a lead in the air; the procedure believes that it drives.
    bench = opened(tmp_path)
    subject = subject_of(bench)
    process = Wiring().process(subject)
    wanted = next(process)
    try:
        while True:
            levels = wanted.drive.levels.copy()
            levels[1] = np.nan
            wanted = process.send(take(bench, replace(wanted, drive=replace(wanted.drive, levels=levels))))
    except StopIteration as end:
        findings = end.value
    assert named(findings) == [("source lead pulled", "n4")]


def test_a_wrong_value_is_found_within_its_doubt(tmp_path):
    # 10 kOhm is listed; the true one is 1 / 0.4 of what tolerance made of it.
    bench = opened(tmp_path, "wrong: {R11: 0.4}")
    true = bench.truth().fixed["R11"]
    quantity = found(bench).quantities[1]
    assert (quantity.name, quantity.unit, quantity.labels) == ("conductance", "S", ("R11",))
    assert abs(quantity.values[0] - true) < 3 * quantity.standard_uncertainty[0]
    assert quantity.standard_uncertainty[0] < 0.05 * true


# --- several at once


def test_three_meter_leads_in_a_ring_are_one_mixture(tmp_path):
    findings = found(opened(tmp_path, "swapped_reads: [[n2, n5], [n5, n7]]"))
    assert named(findings) == [("meter leads", "n2", "n5", "n7")]
    # Exchanged one after the other: n2's channel reads n5, then n5's and n7's are exchanged.
    text = findings.verdict.words[0]
    assert text.startswith("3 meter leads are mixed up: ")
    assert "that of n2 (meter/1) is at n5" in text
    assert "that of n5 (meter/4) is at n7" in text
    assert "that of n7 (meter/6) is at n2" in text


def test_all_meter_leads_mixed_are_found(tmp_path):
    # Eight leads moved on by one: seven exchanges.
    pairs = ", ".join(f"[n{number}, n{number + 1}]" for number in range(1, 8))
    findings = found(opened(tmp_path, f"swapped_reads: [{pairs}]"))
    assert named(findings) == [("meter leads", *(f"n{number}" for number in range(1, 9)))]


def test_four_faults_at_once(tmp_path):
    findings = found(
        opened(tmp_path, "swapped_reads: [[n1, n8]], open: [R5], swapped_elements: [[R2, R7]], ungrounded: [n3]")
    )
    assert named(findings) == [
        ("control lines", "R2", "R7"),
        ("meter leads", "n1", "n8"),
        ("no ground", "n3"),
        ("open", "R5"),
    ]


@pytest.mark.parametrize(
    ("inputs", "nudge"),
    [("{source: voltage}", BEHIND), ("{source: voltage}", "{source: current}"), ("{source: current}", BEHIND)],
)
def test_stiff_sources_and_currents_are_understood(tmp_path, inputs, nudge):
    # Alternating the kinds of lead exchanges a node that is held with one that is not.
    bench = opened(tmp_path, "swapped_reads: [[n3, n7]], open: [R9]", inputs=inputs, nudge=nudge)
    assert named(found(bench)) == [("meter leads", "n3", "n7"), ("open", "R9")]


# --- what can't be told apart, and what can't be seen

TWINS = BOARD + "R13,n2,n5,resistor,4.7 kOhm,,\n"  # beside R9, and the same


def test_one_of_two_equal_resistors_in_parallel_is_not_guessed(tmp_path):
    findings = found(opened(tmp_path, "open: [R9]", board=TWINS))
    assert named(findings) == []
    assert findings.verdict.status == "doubtful"
    alternatives = findings.settings["alternatives"]
    places = [[fault["where"] for fault in one["faults"]] for one in alternatives]
    assert [["R9"]] in places
    assert [["R13"]] in places
    assert alternatives[0]["probability"] == approx(alternatives[1]["probability"], rel=0.01)
    assert "R9 between n2 and n5 is open" in findings.verdict.words[0]
    assert "measure across R13 with an ohmmeter" in findings.verdict.words[0]


# n3 and n4 hang on the same nodes by the same resistors: exchanging their meter leads changes nothing.
MIRRORED = """\
name,plus,minus,kind,value
R1,n1,n3,resistor,10 kOhm
R2,n1,n4,resistor,10 kOhm
R3,n3,n6,resistor,10 kOhm
R4,n4,n6,resistor,10 kOhm
R5,n6,n5,resistor,4.7 kOhm
G1,n5,ground,resistor,4.7 kOhm
R6,n5,n2,resistor,10 kOhm
"""


def test_leads_of_two_nodes_that_are_alike_are_called_unseen(tmp_path):
    findings = found(opened(tmp_path, "swapped_reads: [[n3, n4]]", board=MIRRORED, ports="[[n1]]"))
    assert named(findings) == []
    assert findings.verdict.status == "good"
    assert ["n3", "n4"] in findings.settings["unseen"]["meter leads"]
    # No source drives n2: no current flows in R6, whatever it is.
    assert ["R6"] in findings.settings["unseen"]["open"]
    assert ["R6"] in findings.settings["unseen"]["twice"]
    assert "could not have noticed" in findings.verdict.words[-1]


def test_what_no_fault_explains_is_bad_and_not_guessed(tmp_path):
    # A fixed resistor that is not listed at all, 1 kOhm from n2 to n7: no fault of what is listed is like it.
    bench = opened(tmp_path, board=BOARD + "X,n2,n7,resistor,1 kOhm,,\n")
    (tmp_path / "other").mkdir()
    believed_bench = opened(tmp_path / "other")
    subject = subject_of(believed_bench)
    process = Wiring().process(subject)
    wanted = next(process)
    try:
        while True:
            wanted = process.send(take(bench, wanted))
    except StopIteration as end:
        findings = end.value
    assert findings.verdict.status == "bad"
    assert any("something else" in words for words in findings.verdict.words)


# --- what it asks for


def test_diodes_are_refused_by_name(tmp_path):
    board = BOARD + "D1,n2,ground,diode,10 nA / 30 mV,,\n"
    with pytest.raises(ProcedureError, match=r'branch "D1" is a diode'):
        found(opened(tmp_path, board=board))


def test_the_elements_are_left_as_they_were(tmp_path):
    bench = opened(tmp_path)
    before = bench.program(np.linspace(5e-5, 2e-4, 8))
    found(bench)
    assert bench.conductances == approx(before)


def test_any_two_elements_differ_in_two_states_at_least(tmp_path):
    programmed = [
        one.conductances for one in Wiring().measurements(subject_of(opened(tmp_path))) if one.conductances is not None
    ]
    levels = np.array(programmed)[:-1]
    for one in range(8):
        for other in range(one):
            assert (levels[:, one] != levels[:, other]).sum() >= 2


def test_a_plan_says_how_much_is_driven(tmp_path):
    # Eight elements: three bits, parity, and as they were; three leads up and down in each.
    plan = Wiring().plan(subject_of(opened(tmp_path)))
    assert (plan.n_records, plan.n_programmings) == (5 * 3 * 2, 5)
    assert plan.lowest[:3] == approx([-1, -1, -1])
    assert plan.highest[:3] == approx([1, 1, 1])


# --- the algebra


def test_rings_of_exchanges():
    assert rings((4, 5, 6, 7), (5, 4, 7, 6)) == [(0, 1), (2, 3)]
    assert rings((4, 5, 6, 7), (5, 6, 4, 7)) == [(0, 1, 2)]
    assert rings((4, 5, 6, 7), (4, NOTHING, 6, 7)) == []


def test_equal_hypotheses_are_equal_however_come_by():
    plain = Hypothesis((0, 1, 2), (0,), ())
    one = plain.exchanged(Move.READS, 0, 1).exchanged(Move.READS, 1, 2)
    other = plain.exchanged(Move.READS, 1, 2).exchanged(Move.READS, 0, 2)
    # 012 -> 102 -> 120; 012 -> 021 -> 120
    assert one.reads == other.reads == (1, 2, 0)
    assert one == other
    assert one.exchanged(Move.READS, 0, 2).exchanged(Move.READS, 1, 2) == plain


def test_what_has_one_fault_less(tmp_path):
    observed = observe(opened(tmp_path))
    plain = observed.places.faultless
    one = plain.exchanged(Move.READS, 0, 1)
    both = one.with_part(3, Part.OPEN)
    assert set(observed.places.reduced(both)) == {one, plain.with_part(3, Part.OPEN)}
    assert list(observed.places.reduced(plain.pulled(Move.READS, 2))) == [plain]


def test_derivatives_against_finite_differences(tmp_path):
    observed = observe(opened(tmp_path))
    hypothesis = observed.places.faultless.exchanged(Move.READS, 1, 4).exchanged(Move.DRIVES, 0, 2)
    belief = believed(observed, hypothesis)
    rng = np.random.default_rng(3)
    point = Point(0.03 * rng.standard_normal(observed.n_shared), 0.02 * rng.standard_normal((len(observed.y), 8)))
    at = linearise(observed, hypothesis, belief, point, observed.sigma)
    for parameter in range(observed.n_shared):
        step = np.zeros(observed.n_shared)
        step[parameter] = 1e-5
        up, down = (
            linearise(observed, hypothesis, belief, Point(point.shared + sign * step, point.own), observed.sigma)
            for sign in (1, -1)
        )
        column = at.A[:, :, parameter, None] * at.C[:, None, :, parameter]
        expected = (up.predicted - down.predicted) / 2e-5
        assert column == approx(expected, rel=1e-5, abs=1e-6 * np.abs(expected).max() + 1e-3)


def dense(observed, belief, at):
    """Return the inverse of noise and nuisances' covariance, over noise: (s k l) by (s k l)."""
    n_s, n_k, n_l = at.predicted.shape
    columns = np.einsum("skp,slp->sklp", at.A, at.C)
    own = np.zeros((n_s, n_k, n_l, n_s, len(belief.own)))
    for state in range(n_s):
        own[state, :, :, state] = columns[state][..., observed.network.tunable]
    J = np.concatenate([columns.reshape(n_s * n_k * n_l, -1), own.reshape(n_s * n_k * n_l, -1)], axis=1)
    prior = np.concatenate([belief.doubt**2, np.tile(belief.own**2, n_s)])
    return np.linalg.inv(np.eye(len(J)) + (J * prior) @ J.T)


@pytest.mark.parametrize(
    ("kind", "where"),
    [(Move.READS, (1, 6)), (Move.DRIVES, (0, 1)), (Part.OPEN, (4,)), (Part.SHORT, (8,)), (Move.UNREAD, (3,))],
)
def test_a_single_fault_is_scored_as_dense_matrices_do(tmp_path, kind, where):
    # Noise of 10 mV, so that dense inverses keep their digits; at the believed point, where g is J'r alone.
    observed = replace(observe(opened(tmp_path)), sigma=np.full((5, 8), 0.01))
    plain = observed.places.faultless
    belief = believed(observed, plain)
    point = nothing(observed, belief)
    at = linearise(observed, plain, belief, point, observed.sigma)
    screen = Screen(observed, plain, belief, at, Normal(observed, belief, at), point)
    family = next(one for one in screen.families() if kind in (one.move, one.part))
    number = list(family.where).index(where)
    made = family.made(where)
    there = linearise(observed, made, believed(observed, made), point, observed.sigma)
    d = (there.predicted - at.predicted).ravel()
    M, r = dense(observed, belief, at), at.residuals.ravel()
    assert family.effect[number] == approx(d @ M @ d, rel=1e-3)
    assert family.lowered[number] == approx(0.5 * ((r - d) @ M @ (r - d) - r @ M @ r), rel=1e-3, abs=1e-3 * (d @ M @ d))


def test_the_truth_explains_to_the_noise_and_a_fault_more_does_not_help(tmp_path):
    observed = observe(opened(tmp_path, "open: [R9]"))
    plain = observed.places.faultless
    right = plain.with_part(8, Part.OPEN)
    fits = [fit(observed, one) for one in (plain, right, right.with_part(9, Part.OPEN))]
    assert fits[1].chi_square / observed.y.size < 1.3
    assert fits[0].ln_evidence < fits[1].ln_evidence - 100
    assert fits[2].ln_evidence < fits[1].ln_evidence - 5
