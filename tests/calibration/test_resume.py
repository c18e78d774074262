"""A run and its records: which it says that it goes by, and what it takes to go on after the bench has changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time

import pytest
from benches import opened

from calibration.records import read_record
from calibration.registry import make_procedure
from calibration.running import calibrate
from freqprop_lab.bench import BenchChangedError, open_bench
from freqprop_lab.config import read_bench_file
from freqprop_lab.runs import Run, RunError
from freqprop_lab.session import BenchWishes, evaluate_rows, load_experiment, request_of, resume, train

EXPERIMENT = """\
name: watched
epochs: 6
task: {kind: iris}
rule: {alpha: 0.5}
conductances: {start: [0.3, 3], bounds: [0.1, 100]}
bench: bench.yaml
"""
PULLED = "faults: {events: [{after: 500, unread: n5}]}\n"  # in epoch 3 of 6
STEPS = 6 * 75


@pytest.fixture
def place(tmp_path):
    """A folder with an experiment whose bench goes by records beside it, and is probed."""
    with opened(0, ports=(4, 3)) as bench:
        text = bench.settings.document.text
    (tmp_path / "watched.yaml").write_text(EXPERIMENT)
    fields = "calibration:\n  folder: calibrations\n  self_check: {samples: 1000}\n"
    (tmp_path / "bench.yaml").write_text(text.replace("calibration:\n", fields))
    return tmp_path


def calibrated(place, name="gains", folder="calibrations", **options):
    """Return the record of a calibration of the bench as its file has it, and where it is."""
    request = request_of(load_experiment(place / "watched.yaml"), BenchWishes())
    with open_bench(read_bench_file(place / "bench.yaml"), request, corrected=False) as bench:
        return calibrate(bench, make_procedure(name, samples=500, **options), place / folder)


def stopped(place):
    """Return a run that a probe has stopped, whose lead is still off; its bench file is whole again."""
    whole = (place / "bench.yaml").read_text()
    (place / "bench.yaml").write_text(whole + PULLED)
    with pytest.raises(BenchChangedError, match="the meter lead of node n5 is off"):
        train(load_experiment(place / "watched.yaml"), run=place / "run")
    (place / "bench.yaml").write_text(whole)
    return Run(place / "run")


def changed(run, change):
    """Change the bench of a run, as a person would who goes to it with a screwdriver."""
    start = json.loads((run.path / "start.json").read_text())
    change(start["bench_file"])
    (run.path / "start.json").write_text(json.dumps(start))


def files(run):
    return {path.relative_to(run.path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


# After a probe saw a change


def test_records_that_are_older_than_the_stop_do_not_let_it_go_on(place):
    calibrated(place)
    run = stopped(place)
    calibrated_before = files(run)
    stop = run.stop["time"]
    words = (
        r"no record in .*calibrations is newer than the stop of run .*run at 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\. Mend"
    )
    with pytest.raises(RunError, match=words):
        resume(run.path, calibration=place / "calibrations")
    assert files(run) == calibrated_before
    assert Run(run.path).stop["time"] == stop


def test_newer_ones_that_correct_nothing_do_not_either(place):
    """`network` corrects nothing, and `use` leaves skew out: nobody has calibrated what the run goes by."""
    (place / "bench.yaml").write_text(
        (place / "bench.yaml").read_text().replace("  folder:", "  use: [gains]\n  folder:")
    )
    calibrated(place)
    run = stopped(place)
    for name in ("network", "skew"):
        calibrated(place, name)
    before = files(run)
    with pytest.raises(RunError, match=r"corrects nothing. Nothing was driven. Run freqprop calibrate for .*\(gains\)"):
        resume(run.path, calibration=place / "calibrations")
    assert files(run) == before
    calibrated(place)
    notes = []
    assert resume(run.path, calibration=place / "calibrations", note=notes.append).steps == STEPS
    assert (
        "against the first probe of this run the bench bench has changed: the meter lead of node n5 is off" in notes[-1]
    )


def test_a_lead_that_was_pushed_back_in_needs_no_calibration(place):
    """The probe agrees with the first again: after that no word, to the last epoch, by the same records."""
    record = calibrated(place).record
    run = stopped(place)
    changed(run, lambda bench: bench.pop("faults"))
    notes = []
    assert resume(run.path, note=notes.append).steps == STEPS
    assert not notes
    assert [[one["uid"] for one in each["records"]] for each in Run(run.path).calibrations] == [[record.uid]]


def test_a_lead_that_was_not_is_seen_before_the_first_step(place):
    calibrated(place)
    run = stopped(place)
    steps, stop = len(run.lines("steps")), run.stop
    with pytest.raises(BenchChangedError, match=r"n5 is off.*Nothing was trained.*go on with: freqprop resume .*run\."):
        resume(run.path)
    assert len(Run(run.path).lines("steps")) == steps
    assert Run(run.path).stop == stop


# Records of a run that are not what they were


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("what", ["missing", "changed"])
def test_a_damaged_record_does_not_let_a_run_go_on(place, suffix, what):
    """The run is told which file to bring back; then it goes on."""
    original = calibrated(place).path.with_suffix(suffix)
    run = stopped(place)
    changed(run, lambda bench: bench.pop("faults"))
    kept = run.path / "files" / "calibration" / original.name
    if what == "missing":
        kept.unlink()
    else:
        kept.write_bytes(kept.read_bytes()[:-7])
    words = rf"of which {original.name} (is missing|was changed) in .*calibration\. Nothing was driven\. Copy it there"
    with pytest.raises(
        RunError, match=rf"{words} again from .*calibrations, or calibrate anew and go on with: freqprop"
    ):
        resume(run.path)
    data = place / "rows.csv"
    data.write_text("sepal_length,sepal_width,petal_length,petal_width\n5,3,1.5,0.2\n")
    with pytest.raises(RunError, match=rf"{words}.*or name a bench file with --bench"):
        evaluate_rows(run, data)
    shutil.copyfile(original, kept)
    assert resume(run.path).steps == STEPS


def test_a_damaged_record_can_be_replaced_by_a_newer_one(place):
    path = calibrated(place).path
    skew = calibrated(place, "skew").path
    run = stopped(place)
    (run.path / "files" / "calibration" / path.name).unlink()
    path.unlink()
    calibrated(place)
    damaged = run.path / "files" / "calibration" / f"{skew.stem}.npz"
    whole = damaged.read_bytes()
    damaged.write_bytes(b"")
    with pytest.raises(RunError, match=f"the record of skew of .* {damaged.name} was changed"):  # of that none is newer
        resume(run.path, calibration=place / "calibrations")
    damaged.write_bytes(whole)
    assert resume(run.path, calibration=place / "calibrations").steps == STEPS


def test_a_record_that_does_not_fit_the_bench_any_more_does_not_let_a_run_go_on(place):
    """What is picked up goes with the frequency: at another one the run would go on without that correction."""
    calibrated(place)
    path = calibrated(place, "bias", levels=2).path
    run = stopped(place)
    changed(run, lambda bench: (bench.pop("faults"), bench["sampling"].update(frequency="1.2 kHz")))
    with pytest.raises(
        RunError, match=rf"goes by {path.name}, which can't be used now: {path.name} is not used: was taken"
    ):
        resume(run.path)


# What a person hears


def test_by_which_records_is_told_at_the_start(freqprop, place):
    gains, skew = calibrated(place).record, calibrated(place, "skew").record
    line = f"corrected by gains of {gains.time:%Y-%m-%d %H:%M}, skew of {skew.time:%Y-%m-%d %H:%M} (UTC)\n"
    call = ("train", str(place / "watched.yaml"), "--epochs", "0", "--run")
    assert line in freqprop(*call, "one")[2]
    assert "corrected" not in freqprop(*call, "two", "--quiet")[2]
    run = stopped(place)
    changed(run, lambda bench: bench.pop("faults"))
    assert line in freqprop("resume", str(run.path))[2]


def test_what_is_not_corrected_is_told_also_quietly(freqprop, place):
    calibrated(place, "skew")
    path = calibrated(place).path
    path.with_suffix(".npz").unlink()
    for quiet in ((), ("--quiet",)):
        call = ("train", str(place / "watched.yaml"), "--epochs", "0", "--run", f"run{len(quiet)}")
        err = freqprop(*call, *quiet)[2]
        assert f"note: {path.name} is not used: its arrays file" in err
        assert "note: so gains are NOT corrected\n" in err


def test_conductances_far_beyond_the_table_are_told(freqprop, place):
    """Tables of 0.01 to 1 mS; begun with 1.5 to 4 mS, all of them are beyond, and 0.3 mS is not."""
    path = calibrated(place, "resistors", points=3, again=0).path
    ends = read_record(path).quantity("conductance by nominal").values[:, -1]
    assert ends.max() < 1.3e-3  # and so 1.2 of the least of it is below 1.5 mS
    call = ("train", "watched.yaml", "--epochs", "0", "--run")
    assert "lie beyond" not in freqprop(*call, "one")[2]
    (place / "watched.yaml").write_text(EXPERIMENT.replace("[0.3, 3]", "[16, 40]"))
    err = freqprop(*call, "two")[2]
    found = re.search(r"note: 32 of 32 conductances .*, most of all \S+ at (\S+) S \(it tells of \S+ to (\S+) S\)", err)
    assert 1.6e-3 < float(found[1]) < 4.0e-3
    assert float(found[2]) == pytest.approx(ends[abs(ends - float(found[2])).argmin()], rel=1e-2)


def test_conductances_that_are_trained_beyond_the_table_are_told_at_the_end(freqprop, place):
    """Steps far too large take some of them beyond 1.2 times the last value of their table, or below its first."""
    path = calibrated(place, "resistors", points=3, again=0).path
    (place / "watched.yaml").write_text(
        EXPERIMENT.replace("alpha: 0.5", "alpha: 5000").replace("bounds: [0.1", "bounds: [0.01")
    )
    err = freqprop("train", "watched.yaml", "--epochs", "1", "--run", "one")[2]
    table = read_record(path).quantity("conductance by nominal").values
    last = Run(place / "one").checkpoint.arrays["wished"]
    beyond = int(((last > 1.2 * table[:, -1]) | (last < table[:, 0] / 1.2)).sum())
    assert beyond
    assert [line.split(" lie")[0] for line in err.splitlines() if "lie beyond" in line] == [
        f"note: {beyond} of 32 conductances"
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_who_asks_twice_before_the_first_step_hears_that_the_bench_is_safe(freqprop, place, monkeypatch):
    from freqprop_lab.session._job import Job

    def press(*_):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.6)

    calibrated(place)
    monkeypatch.setattr(Job, "begin", press)
    status, _, err = freqprop("train", "watched.yaml", "--run", "one")
    assert status == 130
    assert err.splitlines()[-1] == (
        "freqprop: Stopped in the middle of a step. The bench is safe. There is no run yet; begin anew"
    )
