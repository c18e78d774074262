"""References in a bench file: which channel each is of, and in what unit."""

from __future__ import annotations

import pytest

from calibration.errors import SubjectError
from calibration.registry import make_procedure
from calibration.running import calibrate
from calibration.subject import subject_of
from freqprop_lab.bench import open_bench
from freqprop_lab.config import FileError, check_bench, parse_yaml

# The nudge's resistor is at a beside the input's, and alone at b.
TWO_AT_A = """\
bench: numeric
network: {kind: csv, file: parts.csv, inputs: [[a]], outputs: [[a], [b]]}
scales: {conductance: 1 mS}
inputs: INPUTS
nudge: {source: resistor, resistance: 10 kOhm}
calibration: {references: [REFERENCE]}
"""


@pytest.fixture
def opened(tmp_path):
    (tmp_path / "parts.csv").write_text(
        "name,plus,minus,kind,value\nR1,a,b,tunable,1 kOhm\nR2,b,ground,tunable,2 kOhm\n"
    )

    def open_it(reference, inputs="{source: resistor, resistance: 1 kOhm}"):
        text = TWO_AT_A.replace("REFERENCE", reference).replace("INPUTS", inputs)
        return open_bench(check_bench(parse_yaml(text, tmp_path / "bench.yaml"), tmp_path))

    return open_it


def test_one_certificate_is_not_that_of_two_resistors(opened, tmp_path):
    with opened("{resistor: a, resistance: 0.01 %, certificate: 1 kOhm no. 17}") as bench:
        names = [lead.name for lead in bench.leads]
        with pytest.raises(SubjectError, match=rf'"a" has 2 of them, {names[0]}, {names[1]}, .* Name its channel'):
            calibrate(bench, make_procedure("offsets"), tmp_path / "records")
    assert not (tmp_path / "records").exists()


def test_the_channels_name_says_which(opened):
    with opened("{resistor: source/1, resistance: 0.01 %, certificate: 10 kOhm no. 18}") as bench:
        subject = subject_of(bench)
        assert [lead.resistance for lead in subject.live_leads] == [1e3, 1e4, 1e4]
        # What nobody certified is believed to 1 %, as the data sheets have it.
        assert subject.belief_in_sources()[2][subject.live].tolist() == [0.01, 1e-4, 0.01]
        (reference,) = subject.traceability()
        assert (reference.value, reference.standard_uncertainty, reference.unit) == (1e4, 1.0, "Ohm")


def test_at_a_node_of_one_resistor_the_node_is_enough(opened):
    with opened("{resistor: b, resistance: 0.01 %, certificate: no. 19}") as bench:
        subject = subject_of(bench)
        assert subject.belief_in_sources()[2][subject.live].tolist() == [0.01, 0.01, 1e-4]


def test_a_source_without_a_resistor_is_not_taken_for_one_with(opened):
    with opened("{resistor: a, resistance: 0.01 %, certificate: no. 20}", "{source: voltage}") as bench:
        subject = subject_of(bench)  # a is held by a stiff source: the nudge's is the only resistor there
        assert subject.belief_in_sources()[2][subject.live].tolist() == [0.01, 1e-4, 0.01]


def test_the_offset_of_a_current_source_is_in_amperes(opened):
    with (
        opened("{source: source/0, offset: 20 uV, certificate: no. 21}", "{source: current}") as bench,
        pytest.raises(SubjectError, match=r"source/0 is a current source; give offset_current, in A"),
    ):
        subject_of(bench).traceability()
    with opened("{source: source/0, offset_current: 20 nA, certificate: no. 21}", "{source: current}") as bench:
        subject = subject_of(bench)
        assert subject.belief_in_sources()[1][subject.live].tolist() == [2e-8, 0.01, 0.01]
        (reference,) = subject.traceability()
        assert (reference.standard_uncertainty, reference.unit) == (2e-8, "A")


def test_the_offset_of_a_voltage_is_in_volts(opened):
    with (
        opened("{source: source/0, offset_current: 20 nA, certificate: no. 22}") as bench,
        pytest.raises(SubjectError, match=r"source/0 is a voltage source; give offset, in V"),
    ):
        subject_of(bench).traceability()


def test_an_offset_current_is_that_of_a_source(opened):
    with pytest.raises(FileError, match=r"offset_current.*goes with source"):
        opened("{meter: a, offset_current: 20 nA, certificate: no. 23}")


def test_a_wrong_place_names_what_there_is(opened):
    with (
        opened("{resistor: c, resistance: 0.01 %, certificate: no. 24}") as bench,
        pytest.raises(
            SubjectError, match=r'no source behind a resistor at "c".* There are: a, source/0, a, source/1, b'
        ),
    ):
        subject_of(bench).traceability()
