"""`wiring` through real wire protocols: a card over gRPC, a resistor board over a serial line, in the virtual lab."""

from __future__ import annotations

from pathlib import Path

from calibration.registry import make_procedure
from calibration.running import calibrate
from calibration.wiring import Outcome
from freqprop_lab.bench import open_bench
from freqprop_lab.config import BenchRequest, read_bench_file
from simulated_bench.lab import VirtualLab
from simulated_bench.serve import with_resources
from simulated_bench.servers.registry import FACTORIES

NETWORK = """\
name,plus,minus,kind,value
R1,n1,n2,tunable,10 kOhm
R2,n2,n3,tunable,10 kOhm
R3,n3,n4,tunable,10 kOhm
R4,n4,n1,tunable,10 kOhm
R5,n2,n4,resistor,4.7 kOhm
R6,n1,n3,resistor,10 kOhm
G1,n3,ground,resistor,10 kOhm
G2,n2,ground,resistor,22 kOhm
"""
BENCH = """\
bench: wired
name: board
network: {kind: csv, file: network.csv, inputs: [[n1]], outputs: [[n3]]}
scales: {conductance: 0.1 mS}
inputs: {source: resistor, resistance: 1 kOhm}
nudge: {source: resistor, resistance: 1 kOhm}
sampling: {frequency: 1 kHz, settle: 5 ms}
instruments:
  daq: {driver: nidaqmx, resource: "grpc://127.0.0.1:0/Dev1"}
  pots: {driver: resistor-board, resource: "socket://127.0.0.1:0"}
wiring:
  drives: {n1: daq/ao0, n3: daq/ao1}
  reads: {n1: daq/ai0, n2: daq/ai1, n3: daq/ai2, n4: daq/ai3}
  tunes: {R1: pots/0, R2: pots/1, R3: pots/2, R4: pots/3}
calibration:
  assume: {tunable: 5 %, fixed: 5 %}
simulation:
  hardware_seed: 2
  instruments:
    daq: {ao_gain_error: 1 %, ao_offset: 5 mV, ai_gain_error: 1 %, ai_offset: 5 mV, hidden_skew: 20 us}
    pots: {tolerance: 3 %, nonlinearity: 1 %, wiper_spread: 20 %}
  parts: {tolerance: 3 %, source_resistance_tolerance: 1 %}
  faults: {swapped_reads: [[n2, n4]], open: [R5]}
"""


def test_a_swapped_lead_and_an_open_resistor_are_found_through_the_wires(tmp_path: Path) -> None:
    (tmp_path / "network.csv").write_text(NETWORK)
    path = tmp_path / "lab.yaml"
    path.write_text(BENCH)
    with VirtualLab(read_bench_file(path), FACTORIES) as lab:
        path.write_text(with_resources(BENCH, {name: listed[0] for name, listed in lab.start().items()}))
        with open_bench(read_bench_file(path), BenchRequest(ports=(1, 1))) as bench:
            done = calibrate(bench, make_procedure("wiring", samples=200), tmp_path / "r")
    record = done.record
    assert sorted((fault.kind, *fault.where) for fault in Outcome.of(record.outcome).faults) == [
        ("meter leads", "n2", "n4"),
        ("open", "R5"),
    ]
    assert record.verdict.status == "bad"
    assert record.verdict.words[:2] == (
        "The meter leads of n2 (daq/ai1) and n4 (daq/ai3) are swapped: exchange them at the board.",
        "R5 between n2 and n4 is open: press it into the board, or look for a broken leg.",
    )
    assert record.outcome["alternatives"] == []
    assert record.quantity("odds").values.min() >= 20
    assert record.outcome["chi_square_a_reading"] < 1.4
