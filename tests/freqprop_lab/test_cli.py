"""The command line as a person meets it: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]

SCORES = {
    "test_accuracy",
    "test_accuracy_as_published",
    "train_accuracy",
    "error",
    "separation",
    "relative_error",
}


def test_help_loads_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys; sys.argv = ['freqprop', '--help']\n"
        "from freqprop_lab.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = ("numpy", "scipy", "pydantic", "ruamel", "rich", "matplotlib", "networkx", "numba")
    for name in (*heavy, "simulated_bench.circuit", "simulated_bench.numeric", "calibration.registry"):
        assert f"'{name}'" not in told
    assert "Train physical networks" in told


def test_train_prints_one_json_object_and_nothing_else(freqprop: Call) -> None:
    status, out, err = freqprop("train", "--epochs", "2", "--seed", "3", "--json")
    assert status == 0, err
    result = json.loads(out)
    assert {"run", "epochs", "steps", "untrained", "trained", "seconds"} <= set(result)
    assert (result["epochs"], result["steps"]) == (2, 150)
    assert set(result["untrained"]) >= SCORES
    assert set(result["trained"]) >= SCORES
    assert Path(result["run"]).is_dir()


def test_resume_of_a_finished_run_prints_the_same_result(freqprop: Call) -> None:
    first = json.loads(freqprop("train", "--epochs", "2", "--run", "mine", "--json")[1])
    status, out, _ = freqprop("resume", "mine", "--json")
    assert status == 0
    assert json.loads(out) == first


def test_options_are_taken_up(freqprop: Call) -> None:
    arguments = ["--nodes", "20", "--edges", "50", "--alpha", "0.1", "--epochs", "1", "--run", "small"]
    status, out, _ = freqprop("train", *arguments, "--quiet")
    assert status == 0
    assert "20 nodes, 50 tunable branches, referred ports" in out
    start = json.loads(Path("small/start.json").read_text())
    assert len(start["network"]["branches"]) == 50
    assert start["experiment"]["rule"]["alpha"] == 0.1


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(freqprop: Call) -> None:
    results = [json.loads(freqprop("train", "--epochs", "2", "--seed", seed, "--json")[1]) for seed in ("1", "1", "2")]
    assert results[0]["trained"] == results[1]["trained"]
    assert results[0]["trained"] != results[2]["trained"]


def test_unsynchronised_takes_abs_sine_and_refuses_sine(freqprop: Call) -> None:
    status, out, _ = freqprop("train", "--unsynchronised", "--epochs", "1", "--run", "free", "--quiet")
    assert status == 0
    assert json.loads(Path("free/start.json").read_text())["bench"]["synchronised"] is False
    status, out, err = freqprop("train", "--unsynchronised", "--nudge", "sine", "--run", "other")
    assert (status, out) == (2, "")
    assert "Proposition 1" in err
    assert "abs-sine" in err
    assert not Path("other").exists()


def test_templates_are_listed_written_once_and_train(freqprop: Call) -> None:
    status, out, _ = freqprop("templates")
    assert status == 0
    names = [line.split()[0] for line in out.splitlines()[:-1]]
    assert {"iris", "iris-best", "xor", "csv", "bench-numeric"} <= set(names)
    for name in names:
        assert freqprop("templates", name)[0] == 0
        assert "#" in Path(f"{name}.yaml").read_text()
        status, _, err = freqprop("templates", name)
        assert status == 2
        assert "exists already" in err
        if name == "virtual-lab":  # its servers have tests of their own
            status, _, err = freqprop("train", f"{name}.yaml")
            assert status == 2
            assert "is a bench file" in err
            continue
        if name.startswith("bench"):
            status, _, err = freqprop("train", "iris.yaml", "--bench", f"{name}.yaml", "--epochs", "1", "--quiet")
        else:
            status, _, err = freqprop("train", f"{name}.yaml", "--epochs", "1", "--quiet")
        assert status == 0, err


def test_a_misspelt_template_or_command_gets_the_nearest_name(freqprop: Call) -> None:
    status, _, err = freqprop("templates", "irsi")
    assert status == 2
    assert 'Did you mean "iris"?' in err
    status, _, err = freqprop("trian")
    assert status == 2
    assert 'Did you mean "train"?' in err


def test_runs_lists_them_with_status_and_error(freqprop: Call) -> None:
    assert "no run in runs" in freqprop("runs")[1]
    freqprop("train", "--epochs", "1", "--run", "runs/one", "--quiet")
    status, out, _ = freqprop("runs")
    assert status == 0
    assert out.splitlines()[1].split()[0] == "one"
    listed = json.loads(freqprop("runs", "--json")[1])
    assert (listed[0]["run"], listed[0]["status"], listed[0]["steps"]) == ("one", "success", 75)


def test_evaluate_answers_new_rows(freqprop: Call) -> None:
    freqprop("templates", "xor")
    freqprop("train", "xor.yaml", "--epochs", "150", "--run", "xor", "--quiet")
    Path("new.csv").write_text("x2,x1\n0,0\n1,0\n0,1\n1,1\n")
    status, out, err = freqprop("evaluate", "xor", "--data", "new.csv", "--json")
    assert status == 0, err
    assert [row["class"] for row in json.loads(out)["rows"]] == ["0", "1", "1", "0"]
    assert freqprop("evaluate", "xor", "--data", "new.csv")[1].splitlines()[0] == "row,V(y1+/y1-),class"
    Path("new.csv").write_text("x1,y\n0,0\n")
    status, _, err = freqprop("evaluate", "xor", "--data", "new.csv")
    assert status == 2
    assert 'no column "x2"' in err


def test_evaluate_gives_values_in_the_units_of_the_table(freqprop: Call) -> None:
    rows = [f"{x / 10},{20 + 3 * x / 10}" for x in range(20)]
    Path("line.csv").write_text("x,temperature\n" + "\n".join(rows) + "\n")
    Path("line.yaml").write_text(
        "name: line\nepochs: 60\nrule: {alpha: 0.1}\n"
        "task: {kind: csv, file: line.csv, target: temperature, predict: value, cost: squared,\n"
        "  targets: {kind: values, low: -0.2, high: 0.2}, inputs: {scale: 5, encoding: centred, bias: [5]}}\n"
        "conductances: {start: [1.0e-5, 1], bounds: [1.0e-5, 20]}\n"
        "bench: {network: {kind: barabasi-albert, nodes: 20, edges: 60}}\n"
    )
    status, _, err = freqprop("train", "line.yaml", "--run", "line", "--quiet")
    assert status == 0, err
    Path("new.csv").write_text("x\n0.5\n1.5\n")
    rows = json.loads(freqprop("evaluate", "line", "--data", "new.csv", "--json")[1])["rows"]
    assert [row["temperature"] for row in rows] == pytest.approx([21.5, 24.5], abs=0.3)


def test_apply_programs_a_bench_and_reads_it_back(freqprop: Call) -> None:
    freqprop("train", "--epochs", "1", "--run", "one", "--quiet")
    freqprop("templates", "bench-numeric")
    status, out, err = freqprop("apply", "one", "--bench", "bench-numeric.yaml")
    assert status == 0, err
    assert "390 branches programmed" in out
    assert "0 differ from what was set" in out


def test_bench_check_prints_what_is_driven_where_and_how_long_it_takes(freqprop: Call) -> None:
    freqprop("templates", "bench-numeric")
    status, out, err = freqprop("bench", "check", "bench-numeric.yaml", "--all")
    assert status == 0, err
    assert "40 nodes, 390 branches, 390 tunable; referred ports; synchronised" in out
    assert "input 1: +0.5 V a unit" in out
    assert "input 1: -0.5 V a unit" in out
    # 75 examples x 1000 epochs x 2 records x 5 ms
    assert "75000 steps are 12.5 min of signal alone" in out
    assert "nothing was driven" in out


def test_report_writes_a_picture_and_a_page(freqprop: Call) -> None:
    freqprop("train", "--epochs", "2", "--run", "one", "--quiet")
    status, out, err = freqprop("report", "one")
    assert status == 0, err
    assert Path("one/report.png").read_bytes()[:4] == b"\x89PNG"
    assert Path("one/report.html").read_text().startswith("<!DOCTYPE html>")
    assert "wrote one" in out


def test_a_run_that_is_none_is_told_with_those_that_are(freqprop: Call) -> None:
    freqprop("train", "--epochs", "1", "--run", "runs/one", "--quiet")
    for command in ("resume", "report"):
        status, _, err = freqprop(command, "runs/two")
        assert status == 2
        assert "no run" in err
        assert "one" in err


def test_faults_are_told_even_when_quiet(freqprop: Call) -> None:
    Path("wrong.yaml").write_text("task: {kind: iris}\nepochs: many\n")
    status, out, err = freqprop("train", "wrong.yaml", "--quiet", "--json")
    assert (status, out) == (2, "")
    assert "wrong.yaml, line 2" in err
