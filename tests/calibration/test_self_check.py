"""The probe between epochs: what happens in mid-run is noticed, named, and survived."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from benches import opened

from calibration.correction import CORRECTOR
from calibration.registry import make_procedure
from calibration.running import calibrate
from calibration.self_check import SelfCheck
from freqprop_lab.bench import BenchChangedError, open_bench
from freqprop_lab.config import SelfCheckSection, check_bench, parse_experiment, parse_yaml, read_bench_file
from freqprop_lab.runs import Run, RunError
from freqprop_lab.session import BenchWishes, load_experiment, request_of, resume, train
from freqprop_lab.stopping import StopRequest
from freqprop_lab.values import ConductanceTable, Correction, Drive

SECTION = SelfCheckSection(samples=10_000)


def _branches(seed=0):
    with opened(seed) as bench:
        return bench.network.tunable_names, bench.network.nodes


def _watched(bench, *, calibrated=True):
    """Return the bench with a watch that has begun; calibrated: with its true conductances known."""
    if calibrated:
        nominal = np.array([1e-6, 1e-2])
        truth = [bench.truth().conductance(np.full(len(bench.network.tunable), each)) for each in nominal]
        tables = tuple(ConductanceTable(nominal, np.array(pair)) for pair in zip(*truth, strict=True))
        bench.correction = Correction(conductances=tables)
        bench.program(bench.conductances)
    watch = SelfCheck(SECTION)
    watch.begin(bench)
    return watch


def _trained(bench, factor=1.5):
    """Move all conductances, as training does, and let so much time pass."""
    bench.program(bench.conductances * np.where(np.arange(len(bench.conductances)) % 2, factor, 1 / factor))


def _check_often(watch, bench, times):
    for _ in range(times):
        watch.check(bench)


def test_nothing_is_noticed_where_nothing_happens():
    """200 probes of a bench that stays as it is."""
    with opened(1) as bench:
        watch = _watched(bench)
        for _ in range(200):
            watch.check(bench)


@pytest.mark.parametrize(
    "resistors",
    [
        "{tolerance: 10 %, repeatability: 0.1 %}",
        "{tolerance: 10 %, repeatability: 1 %}",
        "{taps: 256, end_to_end: 20 kOhm, wiper: 500 Ohm, hysteresis: 1 %}",
        "{taps: 256, end_to_end: 20 kOhm, wiper: 500 Ohm, hysteresis: 1 %, repeatability: 0.5 %}",
    ],
)
def test_elements_that_do_not_come_back_exactly_are_no_change(resistors):
    """8 benches, 10 epochs each; what training leaves is now above and now below what the probe wants."""
    for seed in range(8):
        lines = {"resistors": f"resistors: {resistors}\n"}
        with opened(seed, nodes=8, edges=14, ports=(2, 2), replaced=lines) as bench:
            watch, rng = SelfCheck(SelfCheckSection()), np.random.default_rng(seed)
            watch.begin(bench)
            for _ in range(10):
                bench.program(bench.conductances * np.exp(rng.uniform(-0.3, 0.3, 14)))
                watch.check(bench)


def test_by_how_much_they_do_not_is_told_by_the_first_probe():
    """The upper limit of 0.5 %: 14 elements, 4 visits, some 40 degrees of freedom, so two of 11 % above it, or four."""
    for seed in range(4):
        lines = {"resistors": "resistors: {repeatability: 0.5 %}\n"}
        with opened(seed, nodes=8, edges=14, ports=(2, 2), replaced=lines) as bench:
            watch = SelfCheck(SECTION)
            watch.begin(bench)
            assert 0.005 < watch.state()["scatter"][0] < 0.009


def test_a_pulled_lead_is_noticed_however_elements_scatter():
    lines = {"resistors": "resistors: {repeatability: 0.5 %}\n"}
    with opened(0, replaced=lines, more="faults: {events: [{after: 18, unread: n5}]}\n") as bench:
        watch = _watched(bench, calibrated=False)
        watch.check(bench)
        watch.check(bench)
        with pytest.raises(BenchChangedError, match=r"the meter lead of node n5 is off"):
            watch.check(bench)


@pytest.mark.parametrize(("least", "drift", "stops"), [(0, 1e-3, True), (5e-3, 1e-3, False), (5e-3, 2e-2, True)])
def test_what_matters_to_nobody_can_be_let_pass(least, drift, stops):
    """A gain drifts by 0.1 %: 10000 samples show it, and it is less than 0.2 % of half the widest swing. 2 % is more.

    The channel is the one that swings most, from -r or less to r: so its readings are within twice half its swing.
    """
    with opened(0) as bench:
        watch = SelfCheck(SelfCheckSection(samples=10_000, least=least))
        watch.begin(bench)
        first = watch.state()["first"]
        widest = int(np.ptp(first, axis=0).argmax())
        assert first[:, widest].min() < 0 < first[:, widest].max()
        _trained(bench)
        gains = np.ones((first.shape[1], 1))
        gains[widest] += drift
        _with_records(bench, lambda record: replace(record, volts=record.volts * gains))
        if not stops:
            _check_often(watch, bench, 20)
            return
        with pytest.raises(BenchChangedError, match=rf"the gain of meter channel meter/{widest} at node"):
            watch.check(bench)


def _with_records(bench, change):
    """Let every record of a bench be changed, as a broken meter would."""
    measure = bench.measure_channels
    bench.measure_channels = lambda drive, n_periods=None: change(measure(drive, n_periods))


def test_missing_samples_are_an_alarm_that_names_the_channel():
    def lost(record):
        volts, missing = record.volts.copy(), record.missing.copy()
        volts[2], missing[2] = np.nan, volts.shape[1]
        return replace(record, volts=volts, missing=missing)

    with opened(0) as bench:
        watch = _watched(bench, calibrated=False)
        held = bench.conductances.copy()
        _with_records(bench, lost)
        with pytest.raises(BenchChangedError, match=r"meter/2 \(node n2\) has 10000 of 10000 samples missing"):
            watch.check(bench)
        assert bench.conductances.tolist() == held.tolist()
        with pytest.raises(BenchChangedError, match=r"meter/2 \(node n2\)"):
            SelfCheck(SECTION).begin(bench)


def test_nor_may_they_come_without_being_counted():
    def lost(record):
        volts = record.volts.copy()
        volts[3, 7] = np.nan
        return replace(record, volts=volts)

    with opened(0) as bench:
        watch = _watched(bench, calibrated=False)
        _with_records(bench, lost)
        with pytest.raises(BenchChangedError, match=r"meter/3 \(node n3\) has 1 of 10000 samples missing"):
            watch.check(bench)


def test_clipped_readings_are_no_first_probe():
    words = r"samples at the end of the range. Look at its lead, or lower"
    lines = {"meter": "meter: {range: 0.1 V, noise: 1 mV}\n"}
    with opened(0, replaced=lines) as bench, pytest.raises(BenchChangedError, match=words):
        SelfCheck(SECTION).begin(bench)


def test_currents_are_probed_alike_whatever_was_trained_meanwhile(tmp_path):
    """A current is sized by the conductances: by those of the first probe, not by those that training left."""
    with opened(1) as bench:
        text = bench.settings.document.text
    nudge = "nudge: {source: resistor, resistance: 1 kOhm}\n"
    assert nudge in text
    with open_bench(check_bench(parse_yaml(text.replace(nudge, ""), tmp_path / "bench.yaml"), tmp_path)) as bench:
        bench.program(np.full(len(bench.network.tunable), 1e-4))
        watch = _watched(bench, calibrated=False)
        _trained(bench, 3.0)
        _check_often(watch, bench, 5)


def test_a_probe_leaves_the_conductances_as_they_were():
    with opened(1) as bench:
        watch = _watched(bench)
        _trained(bench)
        before = bench.breadboard.conductances.copy()
        watch.check(bench)
        assert bench.breadboard.conductances == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_a_pulled_meter_lead_is_named(seed):
    with opened(seed, more="faults: {events: [{after: 20, unread: n5}]}\n") as bench:
        watch = _watched(bench)
        _trained(bench)
        for _ in range(4):
            watch.check(bench)
        with pytest.raises(
            BenchChangedError, match=r"has changed: the meter lead of node n5 is off \(meter/5 reads nothing\)"
        ):
            watch.check(bench)


@pytest.mark.parametrize("seed", range(4))
def test_an_open_branch_is_named(seed):
    names, _ = _branches(seed)
    with opened(seed, more=f"faults: {{events: [{{after: 18, open: {names[10]}}}]}}\n") as bench:
        watch = _watched(bench)
        _trained(bench)
        watch.check(bench)
        watch.check(bench)
        with pytest.raises(BenchChangedError, match=rf"has changed: {names[10]} \(resistors/10\) is open"):
            watch.check(bench)


@pytest.mark.parametrize("seed", range(4))
def test_a_stuck_element_is_named(seed):
    """It sticks while it is trained: two records after the first probe, between one update and the next."""
    names, _ = _branches(seed)
    with opened(seed, more=f"faults: {{events: [{{after: 18, stuck: {names[12]}}}]}}\n") as bench:
        watch = _watched(bench)
        _trained(bench)
        for _ in range(2):
            bench.measure(Drive(np.zeros(len(bench.network.inputs))))
        _trained(bench, 1.3)
        with pytest.raises(BenchChangedError, match=rf"has changed: {names[12]} \(resistors/12\) is stuck: it stays"):
            watch.check(bench)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("resistors: {tolerance: 10 %, drift: 2 %}", "the conductances drift, all of them"),
        ("meter: {gain_error: 2 %, offset: 5 mV, noise: 1 mV, drift: 2 %}", "the gains of the meter channels drift"),
        ("source: {gain_error: 2 %, offset: 5 mV, drift: 2 %}", "the gains of the source channels drift"),
    ],
)
def test_a_drift_of_many_parts_is_told_from_that_of_one(section, words):
    """2 % in 1000 records: after 10 more of them 0.02 %, far below what any single reading would show by eye."""
    with opened(2) as bench:
        text = bench.settings.document.text
    kind = section.split(":")[0]
    lines = [section if line.startswith(f"{kind}:") else line for line in text.splitlines()]
    from pathlib import Path

    with open_bench(check_bench(parse_yaml("\n".join(lines), Path("bench.yaml")), Path())) as bench:
        rng = np.random.default_rng(1002)
        bench.program(np.exp(rng.uniform(np.log(5e-5), np.log(5e-4), len(bench.network.tunable))))
        watch = _watched(bench, calibrated=False)
        with pytest.raises(BenchChangedError, match=words):
            _check_often(watch, bench, 20)


EXPERIMENT = """\
name: watched
epochs: 8
task: {kind: iris}
rule: {alpha: 0.5}
conductances: {start: [0.3, 3], bounds: [0.1, 10]}
"""


def _experiment(tmp_path, bench_more):
    with opened(0, ports=(4, 3)) as bench:
        text = bench.settings.document.text
    text = text.replace("calibration:\n", "calibration:\n  self_check: {samples: 1000}\n")
    (tmp_path / "bench.yaml").write_text(text + bench_more)
    (tmp_path / "watched.yaml").write_text(EXPERIMENT + "bench: bench.yaml\n")
    return load_experiment(tmp_path / "watched.yaml")


def test_a_run_stops_safe_names_the_wire_and_goes_on(tmp_path):
    """The lead is pulled in epoch 3 or so; noticed at the end of that epoch; after it is put back the run goes on."""
    settings = _experiment(tmp_path, "faults: {events: [{after: 900, unread: n5}]}\n")
    run = tmp_path / "run"
    with pytest.raises(BenchChangedError, match=r"lead of node n5 is off.*freqprop resume .*run --calibration FOLDER"):
        train(settings, run=run)
    from freqprop_lab.runs import Run

    stopped = Run(run)
    assert stopped.status == "abort"
    steps = stopped.stop["num_events"]["steps"]
    assert 75 <= steps < 8 * 75
    assert steps % 75 == 0
    # 75 examples, two records each: the event lies within the epoch that has just ended, or the one before.
    records = stopped.checkpoint.values["bench.records"]
    assert 900 <= records <= 900 + 2 * 2 * 75 + 200


def test_after_a_new_calibration_the_run_goes_on(tmp_path):
    """A channel's gain jumps by a pulled lead; the person calibrates anew, and names the folder."""
    settings = _experiment(tmp_path, "  folder: calibrations\nfaults: {events: [{after: 900, unread: n5}]}\n")
    bench_file = tmp_path / "bench.yaml"
    request = request_of(settings, BenchWishes())
    with open_bench(read_bench_file(bench_file), request, corrected=False) as bench:
        old = calibrate(bench, make_procedure("gains", samples=500), tmp_path / "calibrations").record
    run = tmp_path / "run"
    with pytest.raises(BenchChangedError):
        train(settings, run=run)
    assert len(Run(run).start["calibration"]) == 1
    steps = Run(run).stop["num_events"]["steps"]
    with open_bench(read_bench_file(bench_file), request, corrected=False) as bench:
        new = calibrate(bench, make_procedure("gains", samples=500), tmp_path / "calibrations").record
    result = resume(run, calibration=tmp_path / "calibrations")
    assert result.steps == 8 * 75
    assert len(list((run / "files" / "calibration").glob("gains-*.json"))) == 2
    first, second = Run(run).calibrations
    assert (first["from_step"], second["from_step"]) == (1, steps + 1)
    assert [line["seq_num"] for line in Run(run).lines("steps")[:: 8 * 75 - 1]] == [1, 8 * 75]  # so steps count from 1
    assert [[record["uid"] for record in each["records"]] for each in (first, second)] == [[old.uid], [new.uid]]


def test_a_run_that_goes_on_by_the_same_records_lists_them_once(tmp_path):
    settings = _experiment(tmp_path, "  folder: calibrations\nfaults: {events: [{after: 900, unread: n5}]}\n")
    with open_bench(
        read_bench_file(tmp_path / "bench.yaml"), request_of(settings, BenchWishes()), corrected=False
    ) as bench:
        calibrate(bench, make_procedure("gains", samples=500), tmp_path / "calibrations")
    with pytest.raises(BenchChangedError):
        train(settings, run=tmp_path / "run")
    with pytest.raises(BenchChangedError):  # nobody mended it
        resume(tmp_path / "run")
    run = Run(tmp_path / "run")
    assert len(run.calibrations) == 1
    assert not (run.path / "calibrations.jsonl").exists()
    # Twice from one checkpoint: those steps were done again, by what the second line lists.
    lines = [{"from_step": 76, "records": []}, {"from_step": 151, "records": [1]}, {"from_step": 76, "records": [2]}]
    (run.path / "calibrations.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert [(each["from_step"], len(each["records"])) for each in run.calibrations] == [(1, 1), (76, 1)]


def test_a_run_without_calibration_takes_none(tmp_path):
    settings = _experiment(tmp_path, "faults: {events: [{after: 900, unread: n5}]}\n")
    with pytest.raises(BenchChangedError):
        train(settings, run=tmp_path / "run")
    with pytest.raises(RunError, match=r"goes by no calibration, so none can take its place"):
        resume(tmp_path / "run", calibration=tmp_path)


def test_a_resumed_run_goes_by_the_same_first_probe(tmp_path):
    """Killed after an epoch and resumed: the same bits as without a stop."""
    settings = _experiment(tmp_path, "")
    from freqprop_lab.stopping import Interrupted

    whole = train(settings, run=tmp_path / "whole")
    import freqprop_lab.session._train as module

    class AskedSoon(StopRequest):
        @property
        def wanted(self):
            self.count += 1
            return self.count > 200

    import contextlib

    @contextlib.contextmanager
    def watch():
        yield AskedSoon()

    before = module.watch_signals
    module.watch_signals = watch
    try:
        with pytest.raises(Interrupted):
            train(settings, run=tmp_path / "parts")
    finally:
        module.watch_signals = before
    parts = resume(tmp_path / "parts")
    assert parts.trained == whole.trained


def test_the_corrector_is_what_the_entry_point_names():
    from importlib.metadata import entry_points

    found = {entry.name: entry.load() for entry in entry_points(group="freqprop_lab.corrections")}
    assert found == {"records": CORRECTOR, "self-check": SelfCheck}


def test_the_experiment_of_these_tests_reads():
    from pathlib import Path

    assert parse_experiment(EXPERIMENT, Path("watched.yaml")).model.epochs == 8


def test_on_going_on_a_person_hears_of_the_records(freqprop, tmp_path):
    """A record that has become old since the run began is told, as when it began."""
    settings = _experiment(tmp_path, "  folder: calibrations\nfaults: {events: [{after: 900, unread: n5}]}\n")
    with open_bench(
        read_bench_file(tmp_path / "bench.yaml"), request_of(settings, BenchWishes()), corrected=False
    ) as bench:
        calibrate(bench, make_procedure("gains", samples=500), tmp_path / "calibrations")
    with pytest.raises(BenchChangedError):
        train(settings, run=tmp_path / "run")
    start = json.loads((tmp_path / "run" / "start.json").read_text())
    start["bench_file"]["calibration"]["max_age"] = "0.001 s"
    (tmp_path / "run" / "start.json").write_text(json.dumps(start))
    assert "note: the calibration of gains is stale" in freqprop("resume", str(tmp_path / "run"))[2]
