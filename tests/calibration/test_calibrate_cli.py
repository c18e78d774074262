"""`freqprop calibrate` as a person uses it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from benches import RESISTOR_COUPLED

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
    assert "no calibration was recorded" in err
    assert not (bench_file.parent / "calibrations").exists()
