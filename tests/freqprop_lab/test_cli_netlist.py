"""`freqprop train --network BOARD.cir`, and the network kind `spice` in files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from freqprop_lab.cli._main import freqprop
from freqprop_lab.config import FileError, read_netlist
from freqprop_lab.session import load_bench, load_experiment
from freqprop_lab.values import Drive
from simulated_bench.netlist_solver import operating_point

approx = pytest.approx

BOARD = """four inputs, two outputs, diodes with a series resistance
V1 a 0 1.0
V2 b 0 -0.5
V3 c 0 2.0
V4 d 0 -2.0
R1 a h 1k
R2 b h 2.2k
R3 c h 4.7k
R4 d h 3.3k
R5 h y 1k
R6 y 0 2k
R7 a k 1k
R8 k z 2k
R9 z d 1.5k
RLOAD z 0 10k
D1 h 0 dm
D2 0 k dm area=2
.model dm D(IS=2n N=1.6 RS=3)
.save v(y) v(z)
.end
"""
# Plus and minus the same in both: one class each, so that the task has two classes, four features, two outputs.
TABLE = "p,q,r,s,kind\n1,-0.5,2,-2,x\n-1,0.5,1,2,y\n0.9,-0.4,1.9,-2,x\n-1,0.6,1,1.9,y\n"
EXPERIMENT = """task:
  kind: csv
  file: t.csv
  target: kind
  inputs: {scale: 2, encoding: centred}
  targets: {kind: one-hot}
bench: {bench: numeric, scales: {conductance: 1 mS}}
epochs: 2
"""
IN_FILE = "network: {kind: spice, file: board.cir, tunable: [R?]}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("board.cir", BOARD), ("t.csv", TABLE), ("e.yaml", EXPERIMENT)):
        (tmp_path / name).write_text(text)
    return tmp_path


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(freqprop, list(words))
    if isinstance(result.exception, FileError):
        return 2, result.stdout, str(result.exception)
    return result.exit_code, result.stdout, result.stderr


def test_a_board_is_trained_from_the_command_line(folder: Path) -> None:
    status, out, err = run("train", "e.yaml", "--network", "board.cir", "--tunable", "r?", "--run", "mine", "--json")
    assert status == 0, err
    assert json.loads(out)["epochs"] == 2
    network = json.loads((folder / "mine" / "start.json").read_text())["network"]
    assert [branch["name"] for branch in network["branches"] if branch["tunable"]] == [f"R{i}" for i in range(1, 10)]
    assert network["inputs"] == [[node, "ground"] for node in "abcd"]
    assert network["outputs"] == [["y", "ground"], ["z", "ground"]]
    assert "note: board.cir, line 2: V1 (1 V) is left out: the bench drives input a" in err
    assert "note: board.cir: outputs are what it saves: y, z" in err
    # The run holds its netlist: it is resumed without the board.
    (folder / "board.cir").unlink()
    (folder / "mine" / "stop.json").unlink()
    assert run("resume", "mine", "--quiet")[0] == 0


def test_the_bench_has_the_operating_point_that_solve_finds(folder: Path) -> None:
    (folder / "e.yaml").write_text(EXPERIMENT + IN_FILE)
    experiment = load_experiment("e.yaml")
    with load_bench(None, experiment) as bench:
        bench.program(bench.network.own_conductances)
        volts = bench.respond(Drive(np.array([1.0, -0.5, 2.0, -2.0]))).a
        ours = dict(zip(bench.network.nodes, volts, strict=True))
    theirs = operating_point(read_netlist(folder / "board.cir")).volts
    assert {node: ours[node] for node in theirs} == approx(theirs, rel=1e-11)


def test_the_default_experiment_begins_with_the_boards_values(folder: Path) -> None:
    (folder / "board.cir").write_text(BOARD.replace(".save v(y) v(z)", ".save v(y) v(z) v(h,k)"))
    status, _, err = run("train", "--network", "board.cir", "--tunable", "R?", "--epochs", "0", "--run", "mine")
    assert status == 0, err
    start = json.loads((folder / "mine" / "start.json").read_text())
    assert start["scales"]["siemens"] == approx(1e-3)  # next to the geometric mean, 0.55 mS
    first = np.fromfile(folder / "mine" / "states.f64")[-9:]  # R1 to R9
    assert 1 / first == approx([1e3, 2.2e3, 4.7e3, 3.3e3, 1e3, 2e3, 1e3, 2e3, 1.5e3])


def test_ports_may_be_named_or_are_drawn_and_told(folder: Path) -> None:
    bare = "\n".join(line for line in BOARD.splitlines() if line[0] not in "V." or line.startswith(".model"))
    more = "\n".join(f"RX{i} y w{i} 1k\nRY{i} w{i} 0 1k" for i in range(12))
    (folder / "board.cir").write_text(f"{bare}\n{more}\n")
    words = ("train", "e.yaml", "--network", "board.cir", "--tunable", "R*", "--epochs", "0")
    status, _, err = run(*words, "--inputs", "A;b ; c; d,w0", "--outputs", "y,z; k", "--run", "named")
    assert status == 0, err
    network = json.loads((folder / "named" / "start.json").read_text())["network"]
    assert network["inputs"] == [["a", "ground"], ["b", "ground"], ["c", "ground"], ["d", "w0"]]
    assert network["outputs"] == [["y", "z"], ["k", "ground"]]
    status, _, err = run(*words, "--run", "drawn")
    assert status == 0, err
    network = json.loads((folder / "drawn" / "start.json").read_text())["network"]
    drawn = [node for port in (*network["inputs"], *network["outputs"]) for node in port]
    assert len(set(drawn)) == 12
    assert not any("#" in node for node in drawn)
    assert "nobody names its inputs; drawn by the seed: " in err


WRONG = {
    "no pattern": (["--network", "board.cir"], "--network needs --tunable"),
    "no netlist": (["--tunable", "R*"], "--tunable goes with --network"),
    "no port": (["--network", "board.cir", "--tunable", "R*", "--outputs", "y;;z"], '"a; b,c"'),
    "three nodes": (["--network", "board.cir", "--tunable", "R*", "--outputs", "y,z,k"], '"a; b,c"'),
    "no such resistor": (["--network", "board.cir", "--tunable", "RQ"], 'tunable: no resistor is called "RQ"'),
    "no such node": (
        ["--network", "board.cir", "--tunable", "R?", "--outputs", "y; zz"],
        'board.cir: output port "zz": no node "zz". Did you mean "z"?',
    ),
    "a source at no input": (
        ["--network", "board.cir", "--tunable", "R?", "--inputs", "a; b; c; k"],
        "board.cir, line 5: V4 is a voltage source of -2 V at d, which is no input",
    ),
    "too few outputs": (
        ["--network", "board.cir", "--tunable", "R?", "--outputs", "y"],
        "the network has 1 output ports, the task needs 2",
    ),
    "no such file": (["--network", "bord.cir", "--tunable", "R?"], 'no such file. Did you mean "board.cir"?'),
    "a bench with a network of its own": (
        ["--network", "board.cir", "--tunable", "R?", "--bench", "b.yaml"],
        "b.yaml, line 1: this bench describes its network",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_refused(folder: Path, name: str) -> None:
    (folder / "b.yaml").write_text("network:\n  kind: spice\n  file: board.cir\n  tunable: R?\n  outputs: [[y], [k]]\n")
    words, text = WRONG[name]
    status, out, err = run("train", "e.yaml", *words)
    assert status == 2, err
    assert out == ""
    assert text in err


def test_a_bench_file_may_hold_the_netlist(folder: Path) -> None:
    (folder / "b.yaml").write_text("scales: {conductance: 1 mS}\n" + IN_FILE)
    status, out, err = run("train", "e.yaml", "--bench", "b.yaml", "--epochs", "1", "--run", "mine")
    assert status == 0, err
    assert "9 tunable branches" in out
    assert "note: board.cir: inputs are its voltage sources: a, b, c, d" in err
