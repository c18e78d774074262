"""A run that is killed, stopped or starved loses nothing: it resumes and ends as an undisturbed one."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pytest_mock import MockerFixture

from freqprop_lab import Run, load_experiment, resume, train
from freqprop_lab.runs import RunError, WrongRunError
from freqprop_lab.runs._folder import _Stream

FAST = """\
name: short
epochs: 250
task: {kind: iris}
conductances: {start: [1.0e-5, 1], bounds: [1.0e-5, 20]}
"""
# Noise and taps: every step through samples, with the noise, rounding and drift to be taken up again.
SLOW = """\
name: short
epochs: 20
task: {kind: iris}
rule: {alpha: 0.1}
conductances: {start: [0.1, 1], bounds: [0.1, 10], rounding: stochastic}
bench:
  network: {kind: barabasi-albert, nodes: 20, edges: 60}
  meter: {noise: 1 mV, gain_error: 1 %}
  resistors: {taps: 128, end_to_end: 9.9 Ohm, wiper: 0.1 Ohm, stuck: 5 %, drift: 1 %, tolerance: 5 %}
"""
# All that calibration has to find, part of it in mid-run.
IMPERFECT = """\
name: short
epochs: 5
task: {kind: iris}
rule: {alpha: 0.1}
conductances: {start: [0.1, 1], bounds: [0.1, 10]}
bench:
  network: {kind: grid, rows: 4, columns: 4}
  source: {gain_error: 1 %, drift: 1 %, certified: {nodes: [r0c0], gain: 1.0e-4}}
  meter: {noise: 1 mV, offset: 5 mV, hidden_skew: 10 us, pickup: 1 mV, hum: 1 mV, drift: 1 %}
  resistors: {taps: 128, end_to_end: 9.9 Ohm, wiper: 0.1 Ohm, drift: 1 %, nonlinearity: 5 %, wiper_spread: 10 %,
    wire: 10 mOhm, repeatability: 0.1 %, hysteresis: 0.2 %}
  faults:
    swapped_reads: [[r1c1, r1c2]]
    wrong: {r0c2-r0c3: 1.5}
    events: [{after: 200, open: r1c2-r1c3}, {after: 400, unread: r2c2}, {after: 600, stuck: r1c0-r2c0}]
"""
COMMAND = [sys.executable, "-c", "from freqprop_lab.cli import main; main()"]


def write(folder: Path, text: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return path


def start(folder: Path, text: str) -> subprocess.Popen[str]:
    """Start a run in a process of its own and wait until its folder is there."""
    arguments = ["train", str(write(folder, text)), "--run", str(folder / "run"), "--quiet"]
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while not (folder / "run").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    return process


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    runs = {}
    for text in (FAST, SLOW, IMPERFECT):
        folder = tmp_path_factory.mktemp("whole")
        runs[text] = Run(train(load_experiment(write(folder, text)), run=folder / "run").run)
    return runs


def assert_same(run: Run, whole: Run) -> None:
    """The same rows, lines, checkpoint and result, to the last bit; only the times may differ."""
    for stream in ("steps", "states"):
        assert np.array_equal(run.rows(stream), whole.rows(stream), equal_nan=True)
        lines, expected = ([{**line, "time": 0} for line in each.lines(stream)] for each in (run, whole))
        assert lines == expected
    epochs, expected = ([{**line, "time": 0} for line in each.lines("epochs")] for each in (run, whole))
    assert epochs == expected
    for name, array in whole.checkpoint.arrays.items():
        assert np.array_equal(run.checkpoint.arrays[name], array, equal_nan=True), name
    assert run.checkpoint.values == whole.checkpoint.values
    results = [each.stop["result"] for each in (run, whole) if each.stop is not None]
    assert len(results) == 2
    assert results[0]["trained"] == results[1]["trained"]
    assert results[0]["untrained"] == results[1]["untrained"]


def assert_whole_lines(run: Run) -> None:
    """Every line promises its row: none torn among those that count, none double."""
    numbers = [line["seq_num"] for line in run.lines("steps")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(run.rows("steps")) == len(numbers)


def kill_and_resume(folder: Path, text: str, after: float, whole: Run) -> str:
    process = start(folder, text)
    time.sleep(after)
    process.kill()
    process.communicate()
    run = Run(folder / "run")
    status = run.status
    assert_whole_lines(run)
    resume(folder / "run")
    assert_whole_lines(run)
    assert_same(Run(folder / "run"), whole)
    return status


@pytest.mark.parametrize("number", [0, 1, *(pytest.param(more, marks=pytest.mark.prove) for more in range(2, 5))])
def test_a_killed_run_resumes_and_ends_the_same(number: int, tmp_path: Path, undisturbed: dict[str, Run]) -> None:
    text = (FAST, SLOW)[number % 2]
    kill_and_resume(tmp_path, text, np.random.default_rng(number).uniform(0, 0.9), undisturbed[text])


def test_a_killed_run_on_an_imperfect_bench_resumes_and_ends_the_same(
    tmp_path: Path, undisturbed: dict[str, Run]
) -> None:
    kill_and_resume(tmp_path, IMPERFECT, 0.4, undisturbed[IMPERFECT])


@pytest.mark.prove
def test_twenty_killed_runs_resume_and_end_the_same(tmp_path: Path, undisturbed: dict[str, Run]) -> None:
    rng = np.random.default_rng(2026)
    statuses = []
    for number in range(20):
        text = (FAST, SLOW)[number % 2]
        folder = tmp_path / str(number)
        folder.mkdir()
        statuses.append(kill_and_resume(folder, text, rng.uniform(0, 1.2), undisturbed[text]))
    assert statuses.count("interrupted") >= 10  # the rest had just finished


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to another process")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_stopped_run_is_safe_and_says_how_to_go_on(number: str, tmp_path: Path, undisturbed: dict[str, Run]) -> None:
    process = start(tmp_path, SLOW)
    time.sleep(0.05)
    process.send_signal(getattr(signal, number))
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "bench is safe" in told
    assert f"freqprop resume {tmp_path / 'run'}" in told
    assert "Traceback" not in told
    stop = Run(tmp_path / "run").stop
    assert stop is not None
    assert stop["exit_status"] == "abort"
    resume(tmp_path / "run")
    assert_same(Run(tmp_path / "run"), undisturbed[SLOW])
    interruptions = (tmp_path / "run" / "interruptions.jsonl").read_text().splitlines()
    assert json.loads(interruptions[0])["exit_status"] == "abort"


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    result = train(load_experiment(write(tmp_path, FAST), {"epochs": 2}), run=tmp_path / "run")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    again = resume(tmp_path / "run")
    assert (again.trained, again.steps) == (result.trained, result.steps)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before


def test_a_run_in_use_by_another_process_is_refused(tmp_path: Path) -> None:
    process = start(tmp_path, SLOW.replace("epochs: 20", "epochs: 10000"))
    try:
        lines = (tmp_path / "run" / "steps.jsonl").stat().st_size
        with pytest.raises(RunError, match="in use by another process"):
            resume(tmp_path / "run")
        assert (tmp_path / "run" / "steps.jsonl").stat().st_size >= lines
    finally:
        process.kill()
        process.communicate()


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    with pytest.raises(WrongRunError, match="never overwrites"):
        train(load_experiment(write(tmp_path, FAST), {"epochs": 1}), run=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious.txt"]


def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(
    tmp_path: Path, mocker: MockerFixture, undisturbed: dict[str, Run]
) -> None:
    appended = 0
    append = _Stream.append

    def full_after_a_while(stream: _Stream, rows: np.ndarray, lines: list[str]) -> None:
        nonlocal appended
        appended += 1
        if appended > 40:
            stream._rows.write(b"half a row")  # what fits is on the disk already
            raise OSError(errno.ENOSPC, "No space left on device")
        append(stream, rows, lines)

    mocker.patch.object(_Stream, "append", full_after_a_while)
    with pytest.raises(RunError, match=r"disk is full.*freqprop resume"):
        train(load_experiment(write(tmp_path, SLOW)), run=tmp_path / "run")
    mocker.stopall()
    resume(tmp_path / "run")
    assert_same(Run(tmp_path / "run"), undisturbed[SLOW])


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path, mocker: MockerFixture) -> None:
    mocker.patch.object(Path, "mkdir", side_effect=PermissionError(errno.EACCES, "Permission denied", "runs"))
    with pytest.raises(RunError, match=r"may not be written.*choose another folder"):
        train(load_experiment(write(tmp_path, FAST), {"epochs": 1}), run=tmp_path / "deep" / "run")


def test_a_torn_checkpoint_falls_back_to_the_synced_one(tmp_path: Path) -> None:
    result = train(load_experiment(write(tmp_path, FAST), {"epochs": 3}), run=tmp_path / "run")
    newest = tmp_path / "run" / "checkpoint.npz"
    newest.write_bytes(newest.read_bytes()[:1000])
    assert Run(tmp_path / "run").checkpoint.seq_num == result.steps


def test_starting_from_a_run_begins_where_it_ended(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path, FAST), {"epochs": 3})
    first = train(experiment, run=tmp_path / "first")
    second = train(experiment, run=tmp_path / "second", start_from=tmp_path / "first")
    assert second.untrained.error == pytest.approx(first.trained.error, rel=1e-12)
    run = Run(tmp_path / "second")
    assert run.start["parents"][0]["uid"] == Run(tmp_path / "first").start["uid"]


def test_starting_from_a_run_of_another_network_is_refused(tmp_path: Path) -> None:
    train(load_experiment(write(tmp_path, FAST), {"epochs": 1}), run=tmp_path / "first")
    other = load_experiment(write(tmp_path, FAST), {"epochs": 1, "seed": 9})
    with pytest.raises(RunError, match="tunable branches differ"):
        train(other, run=tmp_path / "second", start_from=tmp_path / "first")
    assert not (tmp_path / "second").exists()


def test_the_default_run_stays_small(tmp_path: Path) -> None:
    # 20 MB for 1000 epochs: 50 epochs may take a twentieth of it, and what is written once.
    text = FAST.replace("epochs: 250", "epochs: 50")
    train(load_experiment(write(tmp_path, text)), run=tmp_path / "run")
    run = Run(tmp_path / "run")
    once = sum((run.path / name).stat().st_size for name in ("start.json", "streams.json", "checkpoint.npz")) * 2
    size = sum(path.stat().st_size for path in run.path.iterdir())
    assert (size - once) * 20 + once < 20e6
    assert max(len(line) for line in (run.path / "steps.jsonl").read_text().splitlines()) <= 100


FREE_RUNNING = """\
name: free
epochs: 6
task: {kind: iris}
rule: {alpha: 0.1}
nudge: {gamma: 1, waveform: two-tone, learn_delays: 2}
conductances: {start: [0.1, 1], bounds: [0.1, 10]}
bench:
  network: {kind: barabasi-albert, nodes: 20, edges: 60}
  meter: {synchronised: false, delays: each, noise: 1 mV}
"""


class BrokenError(Exception):
    """What happens in the middle of a run."""


def test_a_run_with_learned_delays_resumes_with_them_to_the_last_bit(tmp_path: Path) -> None:
    whole_folder, folder = tmp_path / "whole", tmp_path / "broken"
    for each in (whole_folder, folder):
        each.mkdir()
    train(load_experiment(write(whole_folder, FREE_RUNNING)), run=whole_folder / "run")
    told = []

    def break_after_three(progress: object) -> None:
        told.append(progress)
        if len(told) == 3:
            raise BrokenError

    with pytest.raises(BrokenError):
        train(load_experiment(write(folder, FREE_RUNNING)), run=folder / "run", tell=break_after_three)
    learned = Run(folder / "run").checkpoint.arrays["delays"]
    resume(folder / "run")
    whole = Run(whole_folder / "run")
    assert_same(Run(folder / "run"), whole)
    assert np.array_equal(learned, whole.checkpoint.arrays["delays"])
    assert np.ptp(learned) > 0
