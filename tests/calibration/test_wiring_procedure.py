"""`wiring`: every kind of fault on a small board, and what can't be told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pytest import approx
from wiring_boards import BEHIND, BOARD, fed, found, named, opened, take

from calibration.errors import ModelError
from calibration.procedures.wiring import Wiring
from calibration.subject import subject_of
from calibration.wiring import Outcome

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
            "The control lines of R3 (resistors/2) and R5 (resistors/4) are swapped: exchange them, or their names in ",
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
        ("ungrounded: [n8]", ("no ground", "n8"), "n8 is not connected to ground: G2 conducts nothing; "),
        ("unread: [n3]", ("meter lead pulled", "n3"), "The meter lead of n3 (meter/2) reads nothing: it is pulled"),
    ],
)
def test_each_fault_is_named_and_said_what_to_do_about(tmp_path, faults, expected, words):
    findings = found(opened(tmp_path, faults))
    assert named(findings) == [expected]
    assert findings.verdict.status == "bad"
    assert findings.verdict.words[0].startswith(words)
    assert not Outcome.of(findings.outcome).alternatives
    assert findings.quantities[0].values[0] >= 20


def test_an_element_that_does_not_move_is_named(tmp_path):
    findings = found(opened(tmp_path, stuck=", stuck: [R7]"))
    assert named(findings) == [("stuck", "R7")]
    assert "R7 between n7 and n8 does not move when it is set" in findings.verdict.words[0]


def test_a_pulled_source_lead_is_named(tmp_path):
    # A released channel of the simulated source is a lead in the air; the procedure believes that it drives.
    bench = opened(tmp_path)

    def released(wanted):
        levels = wanted.drive.levels.copy()
        levels[1] = np.nan
        return take(bench, replace(wanted, drive=replace(wanted.drive, levels=levels)))

    assert named(fed(subject_of(bench), released)) == [("source lead pulled", "n4")]


def test_a_source_lead_at_a_node_where_none_belongs_is_named(tmp_path):
    believed_subject = subject_of(opened(tmp_path))
    actual = opened(tmp_path, ports="[[n2], [n4]]")
    findings = fed(believed_subject, lambda wanted: take(actual, wanted))
    assert named(findings) == [("source lead misplaced", "n1", "n2")]
    assert findings.verdict.words[0] == ("The source lead of n1 (source/0) is at n2 instead: put it where it belongs.")


def test_two_meter_leads_at_one_node_are_named(tmp_path):
    bench = opened(tmp_path)

    def doubled(wanted):
        taken = take(bench, wanted)
        volts = taken.record.volts.copy()
        volts[2] = volts[6]
        return replace(taken, record=replace(taken.record, volts=volts))

    findings = fed(subject_of(bench), doubled)
    assert named(findings) == [("meter lead misplaced", "n3", "n7")]


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


@pytest.mark.prove
def test_all_meter_leads_mixed_are_found(tmp_path):
    # Eight leads moved on by one: seven exchanges.
    pairs = ", ".join(f"[n{number}, n{number + 1}]" for number in range(1, 8))
    findings = found(opened(tmp_path, f"swapped_reads: [{pairs}]"))
    assert named(findings) == [("meter leads", *(f"n{number}" for number in range(1, 9)))]


@pytest.mark.prove
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
    alternatives = Outcome.of(findings.outcome).alternatives
    places = [[fault.where for fault in one.faults] for one in alternatives]
    assert [("R9",)] in places
    assert [("R13",)] in places
    assert alternatives[0].probability == approx(alternatives[1].probability, rel=0.01)
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


def test_a_node_that_is_cut_off_has_open_branches(tmp_path):
    """As long as one branch is left its node follows the far end: two opens are not found one after the other."""
    # R3 and R10 are all that holds n3, once its way to ground is taken out.
    board = "\n".join(row for row in BOARD.splitlines() if not row.startswith(("G1", "R2")))
    findings = found(opened(tmp_path, "open: [R3, R10]", board=board))
    assert named(findings) == [("open", "R10"), ("open", "R3")]


def test_leads_of_two_nodes_that_are_alike_are_called_unseen(tmp_path):
    findings = found(opened(tmp_path, "swapped_reads: [[n3, n4]]", board=MIRRORED, ports="[[n1]]"))
    assert named(findings) == []
    assert findings.verdict.status == "doubtful"
    assert findings.verdict.words[0] == "No fault is seen, but not every fault would be."
    assert ["n3", "n4"] in findings.outcome["unseen"]["meter leads"]
    # No source drives n2: no current flows in R6, whatever it is.
    assert ["R6"] in findings.outcome["unseen"]["open"]
    assert ["R6"] in findings.outcome["unseen"]["twice"]
    assert "could not have noticed" in findings.verdict.words[-1]


def test_what_no_fault_explains_is_bad_and_not_guessed(tmp_path):
    # A fixed resistor that is not listed at all, 1 kOhm from n2 to n7: no fault of what is listed is like it.
    bench = opened(tmp_path, board=BOARD + "X,n2,n7,resistor,1 kOhm,,\n")
    (tmp_path / "other").mkdir()
    believed_bench = opened(tmp_path / "other")
    findings = fed(subject_of(believed_bench), lambda wanted: take(bench, wanted))
    assert findings.verdict.status == "bad"
    assert any("something else" in words for words in findings.verdict.words)


# --- what it asks for


def test_diodes_are_refused_by_name(tmp_path):
    board = BOARD + "D1,n2,ground,diode,10 nA / 30 mV,,\n"
    with pytest.raises(ModelError, match=r'branch "D1" is a diode'):
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


def test_nodes_that_nobody_reads_are_done_without(tmp_path):
    bench = opened(tmp_path, "swapped_reads: [[n2, n7]], open: [R9]")
    subject = subject_of(bench)
    low = subject.meter_low.copy()
    low[[3, 4]] = np.nan  # n4 and n5
    channels = {node: name for node, name in subject.meter_channels.items() if node not in {"n4", "n5"}}
    findings = fed(replace(subject, meter_low=low, meter_channels=channels), lambda wanted: take(bench, wanted))
    assert named(findings) == [("meter leads", "n2", "n7"), ("open", "R9")]
