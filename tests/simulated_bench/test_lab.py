"""The virtual lab: one circuit behind several instruments' wires, served by one command."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from freqprop_lab.bench import Bench, open_bench
from freqprop_lab.config import BenchRequest, FileError, read_bench_file
from freqprop_lab.instruments import InstrumentError
from freqprop_lab.values import Drive, Nudge
from freqprop_lab.waveform import Sine
from simulated_bench.lab import VirtualLab
from simulated_bench.serve import with_resources
from simulated_bench.servers import FaultKind
from simulated_bench.servers.registry import FACTORIES

NETWORK = """\
name,plus,minus,kind,value
R1,n1,n2,resistor,1 kOhm
R2,n2,n3,resistor,1 kOhm
R3,n2,ground,resistor,1 kOhm
R4,n4,n2,resistor,10 kOhm
"""
BENCH = """\
bench: wired
network: {kind: csv, file: network.csv, inputs: [[n1]], outputs: [[n3]]}
nudge: {source: resistor, resistance: 1 kOhm}
sampling: {frequency: 100 Hz}
instruments:
  daq: {driver: nidaqmx, resource: "grpc://127.0.0.1:0/Dev1"}  # the card
  generator:
    driver: keysight-33500b
    resource: "TCPIP::127.0.0.1::hislip0,0::INSTR"
  scope: {driver: rigol-scope, resource: nowhere}
wiring:
  drives: {n1: daq/ao0, n3: daq/ao1}
  reads: {n1: daq/ai0, n2: daq/ai1, n3: daq/ai2}
  tunes: {}
simulation:
  also: {drives: {generator/ch1: n4}, reads: {scope/chan1: n1, scope/chan2: n2}}
"""


@pytest.fixture
def lab_file(tmp_path: Path) -> Path:
    (tmp_path / "network.csv").write_text(NETWORK)
    (tmp_path / "lab.yaml").write_text(BENCH)
    return tmp_path / "lab.yaml"


@pytest.fixture
def lab(lab_file: Path) -> Iterator[tuple[VirtualLab, Bench]]:
    with VirtualLab(read_bench_file(lab_file), FACTORIES) as world_behind:
        served = {name: listed[0] for name, listed in world_behind.start().items()}
        lab_file.write_text(with_resources(BENCH, served))
        with open_bench(read_bench_file(lab_file), BenchRequest(ports=(1, 1))) as bench:
            yield world_behind, bench


def test_what_the_card_drives_follows_kirchhoff(lab: tuple[VirtualLab, Bench]) -> None:
    # Node 2 hangs on 3 V, on ground and, through 2 kOhm, on 0 V, by 1 kOhm each; R4 leads to a disconnected terminal:
    # (3 - v) = v + v / 2, so v = 1.2 V, and node 3 stands at half of it.
    _, bench = lab
    free = bench.respond(Drive(np.array([3.0])))
    assert free.a[:3] == pytest.approx([3.0, 1.2, 0.6], abs=1e-9)
    assert bench.synchronised


def test_the_nudge_is_read_with_its_sign(lab: tuple[VirtualLab, Bench]) -> None:
    # 1 mA through R_s: 1 V behind 1 kOhm at node 3. Node 2 sees 500 Ohm to ground from its other two branches, so
    # node 3 stands at (500 + 1000) / (500 + 1000 + 1000) V, node 2 at a third of that.
    _, bench = lab
    nudged = bench.respond(Drive(np.array([3.0]), Nudge(np.array([1e-3]), Sine())))
    assert nudged.a[:3] == pytest.approx([3.0, 1.2, 0.6], abs=1e-9)
    assert nudged.b[:3] == pytest.approx([0.0, 0.2, 0.6], abs=1e-9)


def test_outputs_end_safe_when_the_bench_is_left(lab_file: Path) -> None:
    with VirtualLab(read_bench_file(lab_file), FACTORIES) as world_behind:
        served = {name: listed[0] for name, listed in world_behind.start().items()}
        lab_file.write_text(with_resources(BENCH, served))
        with open_bench(read_bench_file(lab_file), BenchRequest(ports=(1, 1))) as bench:
            bench.respond(Drive(np.array([3.0])))
            assert world_behind.world.level("daq/ao0") == pytest.approx(3.0)
        assert world_behind.world.level("daq/ao0") == 0.0
        assert world_behind.instruments["daq"].open_tasks == []


def test_resources_are_put_into_the_file_and_nothing_else_is_changed() -> None:
    text = with_resources(BENCH, {"daq": "grpc://127.0.0.1:5/Dev1", "generator": "TCPIP::x", "scope": "TCPIP::y"})
    assert 'daq: {driver: nidaqmx, resource: "grpc://127.0.0.1:5/Dev1"}  # the card' in text
    assert '    resource: "TCPIP::x"\n  scope: {driver: rigol-scope, resource: "TCPIP::y"}' in text
    kept = [line for line in BENCH.splitlines() if "resource" not in line]
    assert [line for line in text.splitlines() if "resource" not in line] == kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("driver: rigol-scope", "driver: rigol-skope"),
            'driver "rigol-skope" has no virtual twin.* Did you mean "rigol-scope"',
        ),
        (("generator/ch1: n4", "generator/ch1: n44"), 'no node "n44".* Did you mean "n4"'),
        (("  also:", "  allso:"), 'unknown field "allso".* Did you mean "also"'),
        (("bench: wired", "bench: numeric"), "lab.yaml"),
    ],
)
def test_a_wrong_lab_file_is_told(lab_file: Path, change: tuple[str, str], message: str) -> None:
    lab_file.write_text(BENCH.replace(*change))
    with pytest.raises(FileError, match=message):
        VirtualLab(read_bench_file(lab_file), FACTORIES)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send to another process")
def test_a_missing_extra_is_told_with_the_line_that_installs_it(
    lab_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "simulated_bench.servers.nidaqmx", None)
    with pytest.raises(InstrumentError, match=re.escape('pip install "freqprop-lab[nidaq]"')):
        VirtualLab(read_bench_file(lab_file), FACTORIES).__enter__()


def test_serving_tells_its_resources_in_one_line_and_ends_on_sigterm(lab_file: Path) -> None:
    code = "from freqprop_lab.cli import main; main()"
    command = [sys.executable, "-c", code, "bench", "serve", str(lab_file), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    resources = json.loads(process.stdout.readline())["instruments"]
    assert set(resources) == {"daq", "generator", "scope"}
    assert resources["daq"].startswith("grpc://127.0.0.1:")
    assert resources["scope"].startswith("TCPIP::127.0.0.1::hislip0,")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert (out, err) == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send to another process")
def test_faults_are_injected_by_a_file_and_live_by_lines_that_are_added_to_it(lab_file: Path) -> None:
    faults = lab_file.with_name("faults.jsonl")
    faults.write_text('{"instrument": "daq", "kind": "overload", "channel": "ai1"}\n')
    code = "from freqprop_lab.cli import main; main()"
    command = [sys.executable, "-c", code, "bench", "serve", str(lab_file), "--json", "--faults", str(faults)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            served = json.loads(process.stdout.readline())["instruments"]
            lab_file.write_text(with_resources(BENCH, served))
            with open_bench(read_bench_file(lab_file), BenchRequest(ports=(1, 1))) as bench:
                assert "channel 1 (node n2)" in first_fault(bench)
                bench.respond(Drive(np.zeros(1)))  # each happens once
                with faults.open("a") as file:
                    file.write(
                        'nonsense\n{"instrument": "dag", "kind": "overload"}\n{"instrument": "daq", "kind": "err'
                    )
                    file.flush()  # half a line is not looked at yet
                    told = [process.stderr.readline() for _ in range(2)]
                    file.write('or-code", "channel": "StartTask", "code": -200621}')
                assert "-200621" in first_fault(bench)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0
    assert "nonsense" in told[0]
    assert "dag" in told[1]
    assert "kinds are drop-reply" in told[1]


def first_fault(bench: Bench) -> str:
    """What the first record says in which something goes wrong; the file is looked at every tenth of a second."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            bench.respond(Drive(np.zeros(1)))
        except InstrumentError as error:
            return str(error)
    return "nothing went wrong"


def test_the_faults_in_the_docs_are_those_that_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "wire-a-breadboard.md").read_text()
    kinds = [json.loads(line)["kind"] for line in page.splitlines() if line.startswith('{"instrument"')]
    assert len(kinds) == 4
    named = re.search(r"The kinds are ([^.]*)\.", page)
    assert named is not None
    assert re.split(r", | and ", named[1]) == [kind.value for kind in FaultKind]
    assert set(kinds) <= {kind.value for kind in FaultKind}
