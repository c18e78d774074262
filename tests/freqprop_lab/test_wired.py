"""The bench that is wired by hand: what its file must say before any instrument is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from freqprop_lab.bench import open_bench
from freqprop_lab.config import BenchRequest, FileError, read_bench_file

NETWORK = """\
name,plus,minus,kind,value
R1,n1,n2,tunable,10 kOhm
R2,n2,n3,tunable,10 kOhm
R3,n3,ground,resistor,10 kOhm
"""
BENCH = """\
bench: wired
network: {kind: csv, file: network.csv, inputs: [[n1]], outputs: [[n3]]}
nudge: {source: resistor, resistance: 1 kOhm}
instruments:
  gen: {driver: keysight-33500b, resource: "TCPIP::127.0.0.1::1::SOCKET"}
  daq: {driver: nidaqmx, resource: "grpc://127.0.0.1:1/Dev1"}
  board: {driver: resistor-board, resource: "socket://127.0.0.1:1"}
wiring:
  drives: {n1: daq/ao0, n3: daq/ao1}
  reads: {n1: daq/ai0, n2: daq/ai1, n3: daq/ai2}
  tunes: {R1: board/0, R2: board/1}
"""

WRONG = {
    "a port that nothing drives": (
        (", n3: daq/ao1", ""),
        r"line 9: wiring.drives: node n3 is an end of an output port, and nothing drives it",
    ),
    "a channel used twice": (
        ("n2: daq/ai1", "n2: daq/ai0"),
        r"line 10: wiring.reads.n2: daq/ai0 is used already, by reads n1",
    ),
    "a node that is not there": (
        ("n2: daq/ai1", "n22: daq/ai1"),
        r'line 10: wiring.reads: no node "n22".* Did you mean "n2"',
    ),
    "a branch that is not there": (("R2: board/1", "R22: board/1"), r'line 11: wiring.tunes: no tunable branch "R22"'),
    "a fixed branch that is tuned": (("R2: board/1", "R2: board/1, R3: board/2"), r'no tunable branch "R3"'),
    "a tunable branch left out": ((", R2: board/1", ""), r"line 11: wiring.tunes: nothing tunes R2"),
    "an instrument that is not there": (
        ("daq/ao1", "dag/ao1"),
        r'line 9: wiring.drives.n3: no instrument "dag".* Did you mean "daq"',
    ),
    "a place without a channel": (("daq/ao1", "daq"), r"line 9"),
    "ports that a seed would draw": (
        ("inputs: [[n1]], outputs: [[n3]]", "inputs: 1, outputs: 1"),
        r"list the nodes of each port",
    ),
    "a driver that is not installed": (
        ("driver: nidaqmx", "driver: nidaqmix"),
        r'line 6.*"nidaqmix" is not installed.* Did you mean "nidaqmx"',
    ),
    "a driver left out": (("driver: nidaqmx, ", ""), r'line 6.*field "driver" is missing'),
    "a channel that the instrument has not": (
        ("n3: daq/ao1}", "n3: gen/ch3}"),
        r'line 9: instrument "gen": there is no channel "ch3".* Did you mean "ch[12]"',
    ),
    "a trigger to nowhere": (("wiring:\n", "triggers: [[daq, scope]]\nwiring:\n"), r'triggers: no instrument "scope"'),
}


def write(folder: Path, change: tuple[str, str] = ("", "")) -> Path:
    (folder / "network.csv").write_text(NETWORK)
    assert change[0] in BENCH
    (folder / "bench.yaml").write_text(BENCH.replace(*change) if change[0] else BENCH)
    return folder / "bench.yaml"


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_wiring_is_told_before_anything_is_opened(fault: str, tmp_path: Path) -> None:
    change, message = WRONG[fault]
    with pytest.raises(FileError, match=message):
        open_bench(read_bench_file(write(tmp_path, change)), BenchRequest(ports=(1, 1)))


@pytest.mark.parametrize("bench", ["wired", "numeric"])
def test_what_an_experiment_says_of_a_described_network_must_agree(bench: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    if bench == "numeric":
        path.write_text(BENCH[: BENCH.index("nudge:")].replace("wired", "numeric"))
    for request, message in (
        (BenchRequest(nodes=4), "--nodes asks for 4, the network of this bench has 3"),
        (BenchRequest(edges=7), "--edges asks for 7, the network of this bench has 3"),
        (BenchRequest(network={"kind": "grid", "rows": 2, "columns": 2}), "leave the section"),
        (BenchRequest(ports=(2, 1)), "1 input port"),
    ):
        with pytest.raises(FileError, match=message):
            open_bench(read_bench_file(path), request)


def test_a_numeric_bench_takes_a_size_that_agrees_with_its_table(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(BENCH[: BENCH.index("nudge:")].replace("wired", "numeric"))
    with open_bench(read_bench_file(path), BenchRequest(nodes=3, edges=3)) as bench:
        assert bench.network.nodes == ("n1", "n2", "n3")
