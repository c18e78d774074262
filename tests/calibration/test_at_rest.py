"""Elements are programmed with every source at rest, and what a procedure may drive is known before it does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benches import opened

from calibration.errors import ProcedureError
from calibration.procedure import Findings, Measurement, Procedure, plan_of
from calibration.records import RecordFolder, Verdict
from calibration.registry import make_procedure
from calibration.running import calibrate, check_plan, run_procedure
from calibration.self_check import SelfCheck
from calibration.subject import subject_of
from freqprop_lab.bench import open_bench
from freqprop_lab.config import SelfCheckSection, check_bench, parse_yaml
from freqprop_lab.stopping import Interrupted, StopRequest
from freqprop_lab.values import ChannelDrive, ConductanceTable, Correction, Drive, Nudge, NudgeKind
from freqprop_lab.waveform import default_waveform

# A triangle of elements between two nodes and ground, fed by currents alone.
NETWORK = """\
name,plus,minus,kind,value
R1,a,b,tunable,1 kOhm
R2,b,ground,tunable,2 kOhm
R3,a,ground,tunable,3 kOhm
"""
CURRENTS = """\
bench: numeric
name: currents
network: {kind: csv, file: network.csv, inputs: [[a]], outputs: [[b]]}
scales: {conductance: 1 mS}
inputs: {source: current}
nudge: {source: current}
sampling: {frequency: 1 kHz, samples_per_period: 20}
meter: {noise: 1 mV}
"""


def currents(tmp_path: Path, more: str = ""):
    """Return a bench of current sources, its elements as listed."""
    (tmp_path / "network.csv").write_text(NETWORK)
    made = open_bench(check_bench(parse_yaml(CURRENTS + more, tmp_path / "bench.yaml"), tmp_path), corrected=False)
    made.program(made.network.own_conductances)
    return made


def volts_when_programmed(bench) -> list[float]:
    """Return a list that gets, for every programming, the largest true node voltage right after it, V."""
    seen, program = [], bench.program

    def watched(conductances):
        realised = program(conductances)
        seen.append(float(np.abs(bench.breadboard.volts(np.zeros(1))).max()))
        return realised

    bench.program = watched
    return seen


@pytest.mark.parametrize("name", ["wiring", "relaxation", "resistors", "gradient"])
def test_no_current_flows_while_elements_are_programmed(name, tmp_path):
    with currents(tmp_path) as bench:
        seen = volts_when_programmed(bench)
        run_procedure(bench, make_procedure(name))
    assert len(seen) >= 3
    assert max(seen) == 0.0


def test_nor_while_they_are_put_back_after_a_fault(tmp_path):
    with currents(tmp_path) as bench:
        held, measure = bench.conductances.copy(), bench.measure_channels

        def fail(drive, n_periods=None):
            record = measure(drive, n_periods)
            if bench.conductances.max() > 9e-3 and drive.levels.any():
                raise ProcedureError("the probe fell off")
            return record

        bench.measure_channels = fail
        seen = volts_when_programmed(bench)
        with pytest.raises(ProcedureError, match="fell off"):
            run_procedure(bench, make_procedure("resistors"))
        assert max(seen) == 0.0
        assert bench.conductances.tolist() == held.tolist()


def test_nor_by_the_self_check(tmp_path):
    with currents(tmp_path) as bench:
        watch = SelfCheck(SelfCheckSection(samples=1000))
        seen = volts_when_programmed(bench)
        watch.begin(bench)
        bench.program(bench.conductances * 0.1)
        watch.check(bench)
        assert len(seen) > 4
        assert max(seen) == 0.0


def test_rest_is_the_common_mode_without_nudge_and_takes_no_record():
    with opened(0, common_mode="2.5 V") as bench:
        bench.measure(Drive(np.full(3, 0.5)))
        records = bench.breadboard.records
        noise = bench._meter.noise.bit_generator.state
        bench.rest()
        on = bench.breadboard.excitation.levels
        assert set(on[~np.isnan(on)].tolist()) == {2.5}
        assert bench.breadboard.records == records
        assert bench._meter.noise.bit_generator.state == noise


def test_what_is_released_at_rest_stays_released():
    with opened(0, ports=(3, 2), replaced={"nudge": "nudge: {source: current}\n"}) as bench:
        held = np.zeros(len(bench.network.nodes))
        nudge = Nudge(np.full(2, 0.01), default_waveform(synchronised=True), NudgeKind.CLAMPED, held=held)
        bench.measure(Drive(np.full(3, 0.5), nudge))
        assert not np.isnan(bench.breadboard.excitation.levels).any()
        bench.rest()
        on = bench.breadboard.excitation.levels
        assert np.isnan(on).any()
        assert np.isnan(on).tolist() == np.isnan(bench.resting).tolist()
        assert not np.nan_to_num(on).any()


def test_who_asks_twice_gets_safety_and_no_programming(tmp_path):
    """The second request arrives in the middle of a record, as a signal's does."""
    with opened(0, nodes=8, edges=14, ports=(2, 2)) as bench:
        said, stop = [], StopRequest()
        program, measure, make_safe = bench.program, bench.measure_channels, bench.make_safe

        def programmed(conductances):
            said.append("program")
            return program(conductances)

        def measured(drive, n_periods=None):
            record = measure(drive, n_periods)
            if len(said) == 2:
                stop.count = 2
                said.append("twice")
                raise Interrupted("stopped in the middle of a step")
            return record

        def safe():
            said.append("safe")
            make_safe()

        bench.program, bench.measure_channels, bench.make_safe = programmed, measured, safe
        with pytest.raises(Interrupted):
            calibrate(bench, make_procedure("resistors", samples=200), tmp_path, stop=stop)
    assert said[2:4] == ["twice", "safe"]
    assert "program" not in said[2:]


def test_currents_are_held_against_rails_and_ratings(tmp_path):
    """By hand: 1 mS, 0.5 mS, 0.333 mS. a sees 3 kOhm beside 1 + 2 kOhm, 1.5 kOhm; b sees 2 kOhm beside 4, 4/3 kOhm."""
    with currents(tmp_path, "ratings: {rails: [-5 V, 5 V], voltage: 9 V, power: 50 mW}\n") as bench:
        subject = subject_of(bench)
        both = _amperes(subject, 2e-3, -1e-3)
        plan = plan_of(subject, [Measurement(both)])
        assert plan.terminals == pytest.approx((-4 / 3, 3.0), rel=1e-6)
        check_plan(subject, plan)
        # Elements of a tenth: ten times the volts.
        tenth = Measurement(both, subject.conductances / 10)
        with pytest.raises(ProcedureError, match=r"a terminal could reach 30 V, ratings allow 5"):
            check_plan(subject, plan_of(subject, [tenth]))
        true = []
        for drive in (both, _amperes(subject, 2e-3, 0.0), _amperes(subject, 0.0, -1e-3)):
            bench.measure_channels(drive)
            true.append(bench.breadboard.volts(np.zeros(1)))
        assert np.max(true) <= plan.terminals[1] * (1 + 1e-6)
        assert np.min(true) >= plan.terminals[0] * (1 + 1e-6)


def _amperes(subject, *values):
    levels = subject.resting.copy()
    levels[subject.live] = values
    return ChannelDrive(levels)


class Failing(Procedure):
    """One record, then nothing."""

    name, title = "failing", "a test"

    def __init__(self):
        pass

    def plan(self, subject):
        return plan_of(subject, [Measurement(ChannelDrive(subject.resting))])

    def process(self, subject):
        yield Measurement(ChannelDrive(subject.resting))
        return Findings((), Verdict("good"))


def test_a_folder_that_takes_no_record_is_told_before_anything_is_driven(tmp_path):
    (tmp_path / "calibrations").write_text("a file")
    with opened(0) as bench:
        before = bench.breadboard.records
        with pytest.raises(Exception, match="is no folder"):
            calibrate(bench, make_procedure("gains"), tmp_path / "calibrations")
        assert bench.breadboard.records == before


def test_a_record_is_written_also_where_the_bench_can_not_be_made_safe(tmp_path):
    with opened(0) as bench:
        make_safe = bench.make_safe

        def fail():
            make_safe()
            raise ExceptionGroup("not every instrument could be made safe", [OSError("the board went away")])

        bench.make_safe = fail
        with pytest.raises(ExceptionGroup, match="not every instrument") as caught:
            calibrate(bench, Failing(), tmp_path)
        bench.make_safe = make_safe
    (path, record) = RecordFolder(tmp_path).all()[0]
    assert record.procedure == "failing"
    assert str(path) in caught.value.__notes__[0]


def test_switching_the_correction_says_what_the_elements_truly_have():
    with opened(0, replaced={"resistors": "resistors: {taps: 128, end_to_end: 20 kOhm, wiper: 500 Ohm}\n"}) as bench:
        count = len(bench.network.tunable)
        nominal = bench.conductances.copy()
        # All have a tenth more than they are told, at every code.
        bench.correction = Correction(conductances=(ConductanceTable(np.array([1e-3]), np.array([1.1e-3])),) * count)
        assert bench.conductances == pytest.approx(1.1 * nominal, rel=1e-12)
        codes = bench._resistors[0].resistor.read()
        bench.program(bench.conductances)
        assert bench._resistors[0].resistor.read().tolist() == codes.tolist()
        bench.correction = None
        assert bench.conductances.tolist() == nominal.tolist()


def test_gradient_leaves_a_corrected_bench_at_the_codes_that_it_had(tmp_path):
    lines = {"resistors": "resistors: {taps: 128, end_to_end: 20 kOhm, wiper: 500 Ohm, tolerance: 10 %}\n"}
    with opened(2, nodes=8, edges=14, ports=(2, 2), replaced=lines) as bench:
        codes = bench._resistors[0].resistor.read()
        bench.correction = Correction(
            conductances=tuple(ConductanceTable(np.array([1e-3]), np.array([1e-3 * (1 + 0.02 * k)])) for k in range(14))
        )
        calibrate(bench, make_procedure("gradient", samples=400), tmp_path)
        assert bench._resistors[0].resistor.read().tolist() == codes.tolist()


def test_a_plan_in_json_has_its_numbers(freqprop, tmp_path):
    (tmp_path / "network.csv").write_text(NETWORK)
    (tmp_path / "bench.yaml").write_text(CURRENTS + "resistors: {taps: 4, end_to_end: 3 kOhm, wiper: 1 kOhm}\n")
    status, out, err = freqprop("calibrate", "resistors", "bench.yaml", "--dry-run", "--json", "--points", "2")
    assert (status, err.splitlines()[-1]) == (0, "nothing was driven")
    told = json.loads(out)
    assert told["procedure"] == "resistors"
    assert [each["node"] for each in told["drives"].values()] == ["a", "b"]
    # 1 kOhm of wiper alone, and with the whole track of 3 kOhm.
    assert told["programs"]["R1"] == pytest.approx({"lowest": 1 / 4000, "highest": 1 / 1000})
    status, out, _ = freqprop("calibrate", "resistors", "bench.yaml", "--dry-run", "--points", "2")
    assert "programs 3 elements, from 0.00025 to 0.001 S" in out
