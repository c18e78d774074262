"""`freqprop train --seeds`: a run for each seed, one table, and what happens when one fails or all are stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from freqprop_lab import Run, load_experiment, train

COMMAND = [sys.executable, "-c", "from freqprop_lab.cli import main; main()", "train"]
EXPERIMENT = """\
name: many
epochs: {epochs}
task: {{kind: iris}}
rule: {{alpha: 0.1}}
conductances: {{start: [1.0e-5, 1], bounds: [1.0e-5, 20]}}
bench:
  network: {{kind: barabasi-albert, nodes: 20, edges: 60}}
"""


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)


def write(folder: Path, epochs: int = 2) -> Path:
    path = folder / "many.yaml"
    path.write_text(EXPERIMENT.format(epochs=epochs))
    return path


def test_each_seed_is_the_run_that_it_would_be_alone(tmp_path: Path) -> None:
    write(tmp_path)
    told = call(tmp_path, "many.yaml", "--seeds", "1:3,7", "--run", "all", "--json")
    assert told.returncode == 0, told.stderr
    result = json.loads(told.stdout)
    assert [run["seed"] for run in result["runs"]] == [1, 2, 7]
    alone = []
    for run in result["runs"]:
        assert run["status"] == "done"
        assert Path(run["run"]) == Path(f"all/seed-{run['seed']}")
        one = train(
            load_experiment(tmp_path / "many.yaml", {"seed": run["seed"]}), run=tmp_path / f"alone-{run['seed']}"
        )
        assert one.trained.as_dict() == run["result"]["trained"]
        np.testing.assert_array_equal(
            Run(tmp_path / run["run"])["conductances"], Run(tmp_path / f"alone-{run['seed']}")["conductances"]
        )
        alone.append(one.trained.error)
    spread = result["trained"]["error"]
    assert spread["n"] == 3
    assert spread["mean"] == pytest.approx(np.mean(alone))
    assert spread["sd"] == pytest.approx(np.std(alone, ddof=1))
    assert spread["stderr"] == pytest.approx(np.std(alone, ddof=1) / np.sqrt(3))


def test_a_seed_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "all" / "seed-1").mkdir(parents=True)  # its folder is taken
    told = call(tmp_path, "many.yaml", "--seeds", "0:2", "--run", "all")
    assert told.returncode == 1
    assert "seed 1: " in told.stderr
    assert "exists already" in told.stderr
    assert "Traceback" not in told.stderr
    assert "1 of 2 seeds done" in told.stdout
    assert "seed 1: all/seed-1 (failed)" in told.stdout
    assert Run(tmp_path / "all" / "seed-0").status == "success"


def test_stopped_seeds_can_be_resumed(tmp_path: Path) -> None:
    experiment = write(tmp_path, 100_000)
    arguments = [str(experiment), "--seeds", "0:3", "--run", str(tmp_path / "all"), "--quiet"]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begun = tmp_path / "all" / "seed-0" / "start.json"
    deadline = time.monotonic() + 60
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"freqprop resume {tmp_path / 'all' / 'seed-0'}" in told
    assert "Not begun: --seeds" in told
    assert "Traceback" not in told
    stop = Run(tmp_path / "all" / "seed-0").stop
    assert stop is not None
    assert stop["exit_status"] == "abort"


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ("3:3", "no seed"),
        ("1,1", "a seed twice"),
        ("0-5", "say a range"),
        ("-1", "say a range"),
        ("0:99999", "more than"),
    ],
)
def test_what_is_no_list_of_seeds(seeds: str, words: str, tmp_path: Path) -> None:
    told = call(tmp_path, f"--seeds={seeds}")
    assert (told.returncode, told.stdout) == (2, "")
    assert words in told.stderr


def test_seed_and_seeds_are_one_too_many(tmp_path: Path) -> None:
    told = call(tmp_path, "--seeds", "0:2", "--seed", "1")
    assert told.returncode == 2
    assert "give one of them" in told.stderr


def test_a_wired_bench_runs_one_seed_at_a_time(tmp_path: Path) -> None:
    subprocess.run([*COMMAND[:-1], "templates", "virtual-lab"], cwd=tmp_path, check=True, capture_output=True)
    told = call(tmp_path, "--bench", "virtual-lab.yaml", "--seeds", "0:2")
    assert (told.returncode, told.stdout) == (2, "")
    assert "one set of instruments" in told.stderr
    assert not (tmp_path / "runs").exists()
