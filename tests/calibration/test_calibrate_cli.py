"""`freqprop calibrate` as a person uses it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from benches import RESISTOR_COUPLED

from calibration._cli_plans import duration
from calibration.errors import EstimateError

TEXT = RESISTOR_COUPLED.format(seed=3, nodes=16, edges=32, inputs=3, outputs=2, common_mode="0 V", name="bench")


@pytest.fixture
def bench_file(tmp_path):
    path = tmp_path / "bench.yaml"
    path.write_text(TEXT)
    return path


def test_a_dry_run_shows_everything_and_drives_nothing(freqprop, bench_file):
    status, out, _ = freqprop("calibrate", "gains", str(bench_file), "--dry-run", "--volts", "0.5")
    assert status == 0
    assert "23 records" in out
    assert "source/0" in out
    assert "-0.485 to 0.5 V" in out  # down by 0.97 of up: a converter rounds x and -x alike
    assert out.rstrip().endswith("nothing was driven")
    assert not (bench_file.parent / "calibrations").exists()


def test_a_record_is_left_listed_and_used(freqprop, bench_file):
    status, out, _ = freqprop("calibrate", "gains", str(bench_file), "--operator", "Ada", "--samples", "2000")
    assert status == 0
    assert "gains: good" in out
    status, out, _ = freqprop("calibration", "list", str(bench_file.parent / "calibrations"))
    assert status == 0
    assert "Ada" in out
    bench_file.write_text(TEXT + "  folder: calibrations\n")
    status, out, err = freqprop("calibrate", "network", str(bench_file), "--json", "--samples", "2000")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told["procedure"] == "network"
    assert told["verdict"]["status"] == "good"


def test_gradient_checks_the_bench_as_the_records_correct_it(freqprop, bench_file):
    quiet = TEXT.replace("gain_error: 2 %, offset: 5 mV, noise", "pickup: 5 mV, noise")
    quiet = quiet.replace("{gain_error: 2 %, offset: 5 mV}", "{limit: 10 V}").replace("tolerance: 10 %", "tolerance: 0")
    bench_file.write_text(quiet)
    status, out, _ = freqprop("calibrate", "gradient", str(bench_file))
    assert status == 1
    assert "freqprop calibrate bias" in out
    assert freqprop("calibrate", "bias", str(bench_file))[0] == 0
    status, out, _ = freqprop("calibrate", "gradient", str(bench_file), "--elements", "all")
    assert (status, "gradient: good" in out) == (0, True)


def test_a_bad_verdict_is_an_exit_status(freqprop, bench_file):
    bench_file.write_text(TEXT + "faults: {swapped_reads: [[n4, n9]]}\n")
    status, out, _ = freqprop("calibrate", "network", str(bench_file), "--samples", "2000")
    assert status == 1
    assert "network: bad" in out
    assert "freqprop calibrate wiring" in out


def test_a_wrong_name_names_the_nearest(freqprop, bench_file):
    status, _, err = freqprop("calibrate", "gians", str(bench_file))
    assert status == 2
    assert 'no procedure "gians". Did you mean "gains"' in err


def test_a_wrong_file_is_told_with_its_line(freqprop, bench_file):
    bench_file.write_text(TEXT + "  references: [{meter: n1, certificate: none}]\n")
    status, _, err = freqprop("calibrate", "gains", str(bench_file))
    assert status == 2
    assert "bench.yaml, line" in err
    assert "needs gain or offset" in err


def test_what_a_bench_does_not_allow_is_one_sentence(freqprop, bench_file):
    bench_file.write_text(TEXT.replace("noise: 1 mV", "noise: 1 mV, range: 0.5 V"))
    status, _, err = freqprop("calibrate", "gains", str(bench_file))
    assert status == 1
    assert "Traceback" not in err
    assert "at the end of the range" in err


def test_all_leaves_out_what_can_not_be_done_and_says_why(freqprop, bench_file):
    bench_file.write_text(TEXT.replace("noise: 1 mV", "noise: 1 mV, synchronised: false"))
    status, out, err = freqprop("calibrate", "all", str(bench_file), "--dry-run")
    assert status == 0
    assert "offsets:" in out
    assert "network:" in out
    assert "relaxation: left out. relaxation is told from phases" in err
    assert "bias: left out. the meters are not synchronised" in err
    assert "bias:" not in out


DIODE = """\
name,plus,minus,kind,value
R1,a,b,tunable,5 kOhm
R2,b,c,tunable,5 kOhm
R3,c,ground,tunable,5 kOhm
R4,a,c,tunable,5 kOhm
D1,b,ground,diode,10 nA / 30 mV
"""
WITH_DIODE = """\
bench: numeric
name: diode
network: {kind: csv, file: network.csv, inputs: [[a]], outputs: [[c]]}
scales: {conductance: 1 mS}
inputs: {source: resistor, resistance: 1 kOhm}
nudge: {source: resistor, resistance: 1 kOhm}
sampling: {frequency: 1 kHz, samples_per_period: 20}
meter: {noise: 1 mV}
"""


def test_a_diode_leaves_noise_skew_bias_and_gradient(freqprop, bench_file):
    (bench_file.parent / "network.csv").write_text(DIODE)
    bench_file.write_text(WITH_DIODE)
    _, out, err = freqprop("calibrate", "all", str(bench_file), "--json")
    done = [json.loads(line)["procedure"] for line in out.splitlines()]
    assert done == ["noise", "skew", "bias", "gradient"]
    for name in ("wiring", "offsets", "gains", "relaxation", "resistors", "network"):
        assert re.search(rf'{name}: left out. branch "D1" is a diode', err)


def test_what_one_procedure_can_not_make_sense_of_does_not_stop_the_others(freqprop, bench_file, monkeypatch):
    from calibration.procedures.constant_levels import Gains

    def fail(*_):
        raise EstimateError("no parameters explain these readings")

    monkeypatch.setattr(Gains, "evaluate", fail)
    monkeypatch.setattr("calibration.registry.procedure_names", lambda: ["offsets", "gains", "noise"])
    status, out, err = freqprop("calibrate", "all", str(bench_file), "--json")
    assert status == 1
    assert [json.loads(line)["procedure"] for line in out.splitlines()] == ["offsets", "noise"]
    assert "gains: no record. no parameters explain these readings" in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to another process")
def test_ctrl_c_in_the_middle_leaves_no_record_and_says_so(bench_file):
    """A thousand samples more than a test waits for; interrupted as soon as it tells that it has begun."""
    arguments = ["calibrate", "gains", str(bench_file), "--samples", "1000000"]
    command = [sys.executable, "-c", "from freqprop_lab.cli import main; main()", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "gains" in process.stdout.readline()  # the plan is shown; the records begin
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert re.search(r"freqprop: gains: stopped after \d+ of 23 records; it left no record. The bench is safe.", err)
    assert "Recorded" not in err
    assert not (bench_file.parent / "calibrations").exists()


def _signals(monkeypatch, count):
    """Let Ctrl-C be pressed so often, half a second apart, when gains has all its records, before it is computed."""
    from calibration.procedures.constant_levels import Gains

    evaluate = Gains.evaluate

    def press(*given):
        for _ in range(count):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.6)
        return evaluate(*given)

    monkeypatch.setattr(Gains, "evaluate", press)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_all_goes_on_where_it_was_stopped(freqprop, bench_file, monkeypatch):
    """Stopped with three records made, of which none is lost; then the other three alone."""
    names = ["wiring", "offsets", "gains", "noise", "skew", "network"]
    monkeypatch.setattr("calibration.registry.procedure_names", lambda: names)
    with monkeypatch.context() as patch:
        _signals(patch, 1)
        status, out, err = freqprop("calibrate", "all", str(bench_file), "--json")
    assert status == 130
    assert [json.loads(line)["procedure"] for line in out.splitlines()] == names[:3]
    assert err.splitlines()[-1] == (
        "freqprop: noise: stopped after 0 of 1 records; it left no record. The bench is safe. Recorded: wiring, "
        f"offsets, gains. Go on with: freqprop calibrate all {bench_file} --from noise"
    )
    status, out, err = freqprop("calibrate", "all", str(bench_file), "--json", "--from", "noise")
    assert status == 0
    assert [json.loads(line)["procedure"] for line in out.splitlines()] == names[3:]
    assert "no record of gains" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_a_second_ctrl_c_says_that_the_bench_is_safe(freqprop, bench_file, monkeypatch):
    _signals(monkeypatch, 2)
    status, _, err = freqprop("calibrate", "gains", str(bench_file), "--samples", "200")
    assert status == 130
    assert err.strip() == "freqprop: gains: stopped in the middle of a step; it left no record. The bench is safe."


def test_an_unknown_first_procedure_is_refused(freqprop, bench_file):
    status, _, err = freqprop("calibrate", "all", str(bench_file), "--from", "gians")
    assert status == 2
    assert "'gians' is not one of 'wiring', 'offsets', 'gains'" in err


def test_where_the_wiring_is_bad_all_of_them_stop(freqprop, bench_file, monkeypatch):
    """Two leads of meters exchanged: whatever is computed by the file is of another circuit."""
    monkeypatch.setattr("calibration.registry.procedure_names", lambda: ["wiring", "offsets", "noise"])
    bench_file.write_text(TEXT + "faults: {swapped_reads: [[n4, n9]]}\n")
    status, out, err = freqprop("calibrate", "all", str(bench_file), "--json", "--operator", "Ada L.")
    assert status == 1
    told = [json.loads(line) for line in out.splitlines()]
    assert [(one["procedure"], one["verdict"]["status"]) for one in told] == [("wiring", "bad")]
    again = f"freqprop calibrate all {bench_file}"
    assert f"Mend what is named, then begin anew with: {again} --operator 'Ada L.'; or go on" in err
    assert f"go on all the same with: {again} --from offsets --operator 'Ada L.'" in err
    status, out, err = freqprop("calibrate", "all", str(bench_file), "--json", "--go-on")
    assert status == 1
    assert [json.loads(line)["procedure"] for line in out.splitlines()] == ["wiring", "offsets", "noise"]
    assert "stopped" not in err


def test_what_all_of_them_take_is_told(freqprop, bench_file, monkeypatch):
    """The sums of what each says for itself: records, programmings, and seconds as minutes."""
    status, out, err = freqprop("calibrate", "all", str(bench_file), "--dry-run", "--json")
    assert status == 0
    plans = [json.loads(line) for line in out.splitlines()]
    records, programmings, seconds = (
        sum(plan[name] for plan in plans) for name in ("records", "programmings", "seconds")
    )
    minutes, rest = divmod(round(seconds), 60)
    words = f"in all 10 procedures, {records} records, {programmings} programmings, {minutes} min {rest} s of signal"
    assert words in err
    assert (
        f"{words}, beside programming and computing\n" in freqprop("calibrate", "all", str(bench_file), "--dry-run")[1]
    )
    monkeypatch.setattr("calibration.registry.procedure_names", lambda: ["offsets", "noise"])
    first = freqprop("calibrate", "all", str(bench_file))[1].splitlines()[0]
    assert re.match(r"in all 2 procedures, \d+ records, 0 programmings, [\d.]+ s of signal", first)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.6, "3.6 s"), (59.5, "59.5 s"), (60, "1 min"), (70.4, "1 min 10 s"), (3600, "1 h"), (7512, "2 h 5 min")],
)
def test_times_are_told_as_a_person_says_them(seconds, words):
    assert duration(seconds) == words


def test_what_is_calibrated_without_gains_says_so(freqprop, bench_file):
    """The record of gains is not there, then it is edited, then it is whole."""
    words = (
        "network has no record of gains to go by: absolute values rest on calibration.assume and its references alone"
    )
    call = ("calibrate", "network", str(bench_file), "--dry-run")
    assert freqprop(*call)[2] == f"note: {words}. Run freqprop calibrate gains first\n"
    assert freqprop("calibrate", "gains", str(bench_file), "--samples", "200")[2] == ""
    assert freqprop(*call)[2] == ""
    (record,) = (bench_file.parent / "calibrations").glob("gains-*.json")
    text = record.read_text()
    record.write_text(text.replace("1.0", "1.1", 1))
    err = freqprop(*call)[2]
    assert f"note: {record.name} is not believed" in err
    assert words in err
    record.write_text(text)
    assert freqprop(*call)[2] == ""


def test_a_dry_run_of_all_takes_gains_to_be_there_by_then(freqprop, bench_file):
    assert "no record of gains" not in freqprop("calibrate", "all", str(bench_file), "--dry-run")[2]
    assert "no record of gains" in freqprop("calibrate", "all", str(bench_file), "--dry-run", "--from", "network")[2]


def test_who_calibrates_hears_of_a_wrong_use_too(freqprop, bench_file):
    bench_file.write_text(TEXT + "  use: [gain]\n  folder: nowhere\n")
    status, _, err = freqprop("calibrate", "gains", str(bench_file))
    assert status == 2
    assert 'calibration.use: "gain" corrects nothing. Did you mean "gains"?' in err
    assert "bench.yaml, line" in err
    bench_file.write_text(TEXT + "  use: [gains]\n  folder: nowhere\n")
    status, _, err = freqprop("calibrate", "gains", str(bench_file), "--samples", "200")
    assert (status, err) == (
        0,
        f"note: there is no folder {bench_file.parent / 'nowhere'} yet; the first record makes it\n",
    )
    assert freqprop("calibrate", "gains", str(bench_file), "--dry-run")[2] == ""


def test_a_folder_that_is_a_file_is_refused_before_anything_is_driven(freqprop, bench_file):
    status, out, err = freqprop("calibrate", "gains", str(bench_file), "--folder", str(bench_file))
    assert status == 2
    assert "is no folder. Choose another folder" in err
    assert "gains: good" not in out


def test_help_shows_unit_meaning_and_bounds_of_every_option(freqprop):
    out = re.sub(r"\s+", " ", freqprop("calibrate", "gradient", "--help")[1])
    for flag, says in (
        ("--samples INT", "Samples of each record, rounded up to whole periods. [10000 if left out; from 1]"),
        ("--error V", "By how much each output misses its target. [0.1 V if left out; from 1e-09 V]"),
        ("--gamma FLOAT", "Strength of the nudge, task units. [1 if left out; from 1e-12]"),
        ("--step SHARE", "an element is turned. [0.2 if left out; from 0.001 to 0.9, or in per cent: 5 %]"),
        ("--elements STR", "all; or names with commas. [12 if left out]"),
    ):
        assert flag in out
        assert says in out


@pytest.mark.parametrize("half", ["0.5", "500 mV", "0.5 V", "5e-1"])
def test_volts_may_have_their_unit(freqprop, bench_file, half):
    out = freqprop("calibrate", "gains", str(bench_file), "--dry-run", "--json", "--volts", half)[1]
    assert json.loads(out)["drives"]["source/0"]["highest"] == 0.5


def test_volts_in_another_unit_are_refused(freqprop, bench_file):
    status, _, err = freqprop("calibrate", "gains", str(bench_file), "--dry-run", "--volts", "5 mA")
    assert status == 2
    assert "'--volts': \"5 mA\" is not in V; a number with the unit V, such as 5 mV, is wanted" in err


def test_where_an_instrument_fails_all_says_what_it_had_done(freqprop, bench_file, monkeypatch):
    """At rest nothing clips; driven by 1 V a meter of 0.5 V does."""
    monkeypatch.setattr("calibration.registry.procedure_names", lambda: ["noise", "gains", "network"])
    bench_file.write_text(TEXT.replace("noise: 1 mV", "noise: 1 mV, range: 0.5 V"))
    status, out, err = freqprop("calibrate", "all", str(bench_file), "--json", "--folder", "my records")
    assert status == 1
    assert [json.loads(line)["procedure"] for line in out.splitlines()] == ["noise"]
    assert "at the end of the range" in err
    again = f"freqprop calibrate all {bench_file} --from gains --folder 'my records'"
    assert err.splitlines()[-1] == f"  Recorded: noise. Go on with: {again}"
