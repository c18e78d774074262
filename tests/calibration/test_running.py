"""Running procedures: what is refused, how it is interrupted, what it leaves behind."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from benches import opened

from calibration.errors import CalibrationError, ProcedureError, SubjectError
from calibration.procedure import Findings, Measurement, Plan, Procedure, plan_of
from calibration.records import RecordFolder, Verdict
from calibration.registry import make_procedure, procedure_class, procedure_names
from calibration.running import calibrate, check_plan, run_procedure
from calibration.subject import subject_of
from freqprop_lab.instruments import OverloadError
from freqprop_lab.stopping import Interrupted, StopRequest
from freqprop_lab.values import ChannelDrive, Correction

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Slow(Procedure):
    """Two records at rest, and something in between."""

    name, title = "slow", "a test"

    def __init__(self, between=lambda: None, frequency=None):
        self._between, self._frequency = between, frequency

    def plan(self, subject):
        return plan_of(subject, self._listed(subject))

    def _listed(self, subject):
        return [Measurement(ChannelDrive(subject.resting), frequency=self._frequency)] * 2

    def process(self, subject):
        first, second = self._listed(subject)
        taken = yield first
        self._between()
        yield second
        return Findings((), Verdict("good"), {"frequency": taken.frequency})


@pytest.fixture
def bench():
    with opened(0) as made:
        yield made


def test_a_record_says_who_when_with_what(bench, tmp_path):
    done = calibrate(bench, make_procedure("offsets"), tmp_path, now=lambda: NOW)
    read = RecordFolder(tmp_path).read(done.path, now=NOW)
    assert (read.procedure, read.bench, read.time) == ("offsets", "bench", NOW)
    assert (read.expires - NOW).days == 30
    assert {instrument.name for instrument in read.instruments} == {"source", "meter", "resistors"}
    assert read.operator
    assert read.raw["volts"].shape == (5, 16)


def test_after_a_calibration_the_bench_is_safe(bench, tmp_path):
    calibrate(bench, make_procedure("gains"), tmp_path)
    assert not np.nan_to_num(bench.breadboard.excitation.levels).any()


def test_interrupted_between_two_records_it_leaves_nothing(bench, tmp_path):
    stop = StopRequest()
    with pytest.raises(Interrupted, match=r"stopped after 1 of 2 records; no calibration was recorded"):
        calibrate(bench, Slow(stop.ask), tmp_path / "records", stop=stop)
    assert not (tmp_path / "records").exists()
    assert not np.nan_to_num(bench.breadboard.excitation.levels).any()


def test_a_fault_in_the_middle_leaves_nothing_and_safety(bench, tmp_path):
    def fail():
        raise ProcedureError("the probe fell off")

    with pytest.raises(CalibrationError, match="the probe fell off"):
        calibrate(bench, Slow(fail), tmp_path / "records")
    assert not (tmp_path / "records").exists()


def test_another_frequency_is_for_one_record_only(bench):
    before = bench.sampling
    found = run_procedure(bench, Slow(frequency=50.0))
    assert found.settings["frequency"] == 50.0
    assert (found.settings["records"], found.settings["samples"]) == (2, 100)
    assert bench.sampling == before


class Turning(Procedure):
    """Turns an element, then asks for the bench's own frequency after another one."""

    name, title = "turning", "a test"

    def __init__(self, between=lambda: None):
        self._between = between

    def plan(self, subject):
        return plan_of(subject, self._listed(subject))

    def _listed(self, subject):
        drive = ChannelDrive(subject.resting)
        return [Measurement(drive, 2 * subject.conductances, frequency=50.0), Measurement(drive)]

    def process(self, subject):
        first, second = self._listed(subject)
        yield first
        self._between()
        taken = yield second
        return Findings((), Verdict("good"), {"frequency": taken.frequency})


def test_a_frequency_that_nobody_asks_for_is_the_bench_files(bench):
    found = run_procedure(bench, Turning())
    assert found.settings["frequency"] == 1000.0


def test_elements_that_were_turned_are_put_back_when_it_is_stopped(bench):
    before, stop = bench.conductances.copy(), StopRequest()
    with pytest.raises(Interrupted):
        run_procedure(bench, Turning(stop.ask), stop=stop)
    assert bench.conductances.tolist() == before.tolist()


def test_progress_is_told(bench):
    told = []
    run_procedure(bench, Slow(), tell=lambda *each: told.append(each))
    assert told == [(0, 2, ""), (1, 2, ""), (2, 2, "working it out")]


def test_sources_rest_while_it_is_worked_out(bench):
    """A reading at full level, and then the arithmetic: nothing is driven meanwhile."""

    class Driving(Slow):
        name = "driving"

        def _listed(self, subject):
            return [Measurement(ChannelDrive(subject.resting + np.where(subject.voltage, 1.0, 0.0)))] * 2

        def process(self, subject):
            first, second = self._listed(subject)
            yield first
            yield second
            seen.append(bench.breadboard.excitation.levels.copy())
            return Findings((), Verdict("good"))

    seen = []
    run_procedure(bench, Driving())
    assert not np.nan_to_num(seen[0]).any()


def test_a_corrected_bench_is_not_calibrated_again(bench, tmp_path):
    bench.correction = Correction()
    with pytest.raises(ProcedureError, match=r"is corrected already"):
        calibrate(bench, Slow(), tmp_path)


def test_a_clipped_record_is_no_reading(tmp_path):
    with opened(0, more="faults: {open: []}\n") as made:
        text = made.settings.document.text.replace("noise: 1 mV", "noise: 1 mV, range: 0.5 V")
    from pathlib import Path

    from freqprop_lab.bench import open_bench
    from freqprop_lab.config import check_bench, parse_yaml

    narrow = open_bench(check_bench(parse_yaml(text, Path("bench.yaml")), Path()))
    with narrow, pytest.raises(OverloadError, match=r"samples at the end of the range. Lower --volts"):
        calibrate(narrow, make_procedure("gains"), tmp_path)


def _plan(subject, **changes):
    lowest = np.where(subject.live, -1.0, np.nan)
    return replace(Plan(1, 0, 1.0, lowest, -lowest, None, (-1.0, 1.0)), **changes)


def test_levels_beyond_a_limit_are_refused_before_the_first_wire(bench):
    subject = subject_of(bench)
    check_plan(subject, _plan(subject))
    high = np.where(subject.live, 1.0, np.nan)
    high[2] = 11.0
    with pytest.raises(ProcedureError, match=r"source/2 at node n\d+ would get -1 to 11, its limits are -10 and 10"):
        check_plan(subject, _plan(subject, highest=high))


@pytest.mark.parametrize(
    ("ratings", "words"),
    [
        ("rails: [-0.5 V, 5 V]", r"a terminal could reach 1 V below zero, ratings allow 0.5"),
        ("voltage: 1.5 V", r"the voltage across an element could reach 2 V, ratings allow 1.5"),
        ("current: 1 uA", r"the current in an element could reach .* A, ratings allow 1e-06"),
        ("power: 1 uW", r"the power in an element could reach .* W, ratings allow 1e-06"),
    ],
)
def test_what_parts_bear_is_not_exceeded(ratings, words):
    with opened(0, more=f"ratings: {{{ratings}}}\n") as made:
        subject = subject_of(made)
        with pytest.raises(ProcedureError, match=words):
            check_plan(subject, _plan(subject))


def test_floating_ports_are_refused():
    with opened(0, more="ports: floating\n") as made, pytest.raises(SubjectError, match=r"exist in simulation only"):
        subject_of(made)


@pytest.mark.parametrize("name", procedure_names())
def test_every_procedure_says_what_it_does_before_it_does_it(name, bench):
    cls = procedure_class(name)
    assert cls.title
    assert cls.title[0].islower()
    subject = subject_of(bench)
    plan = make_procedure(name).plan(subject)
    assert plan.n_records > 0
    assert plan.seconds > 0
    check_plan(subject, plan)


def test_an_unknown_procedure_names_the_nearest():
    with pytest.raises(CalibrationError, match=r'no procedure "gians".*Did you mean "gains"'):
        make_procedure("gians")
