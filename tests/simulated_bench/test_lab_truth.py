"""The hidden truth of a virtual lab reaches the real drivers through the real wires, as pencil and paper say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from freqprop_lab.bench import Bench, open_bench
from freqprop_lab.config import BenchRequest, FileError, read_bench_file
from freqprop_lab.values import Array, Drive, Nudge
from freqprop_lab.waveform import Sine
from simulated_bench.lab import VirtualLab
from simulated_bench.serve import with_resources
from simulated_bench.servers.registry import FACTORIES

NETWORK = """\
name,plus,minus,kind,value
R1,n1,n2,tunable,1 kOhm
R2,n2,n3,tunable,1 kOhm
R3,n3,ground,resistor,1 kOhm
"""
BENCH = """\
bench: wired
network: {kind: csv, file: network.csv, inputs: [[n1]], outputs: [[n3]]}
inputs: {source: resistor, resistance: 1 kOhm}
nudge: {source: resistor, resistance: 1 kOhm}
sampling: {frequency: 100 Hz, settle: 10 ms}  # a channel that is early sees what was before
instruments:
  daq: {driver: nidaqmx, resource: "grpc://127.0.0.1:0/Dev1"}
  board: {driver: resistor-board, resource: "socket://127.0.0.1:0"}
wiring:
  drives: {n1: daq/ao0, n3: daq/ao1}
  reads: {n1: daq/ai0, n2: daq/ai1, n3: daq/ai2}
  tunes: {R1: board/0, R2: board/1}
simulation:
  hardware_seed: 4
"""
EXACT = "  instruments: {board: {end_to_end: 10240 Ohm, wiper: 40 Ohm}}\n"  # code 24 is 40 + 40 x 24 = 1000 Ohm
Serve = Callable[[str], tuple[VirtualLab, Bench]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve the lab with more lines in its `simulation`, and open the bench on it."""
    with ExitStack() as stack:

        def build(more: str) -> tuple[VirtualLab, Bench]:
            (tmp_path / "network.csv").write_text(NETWORK)
            path = tmp_path / "lab.yaml"
            path.write_text(BENCH + more)
            lab = stack.enter_context(VirtualLab(read_bench_file(path), FACTORIES))
            resources = {name: listed[0] for name, listed in lab.start().items()}
            path.write_text(with_resources(BENCH + more, resources))
            bench = stack.enter_context(open_bench(read_bench_file(path), BenchRequest(ports=(1, 1))))
            bench.program(np.full(2, 1e-3))
            return lab, bench

        yield build


def at_rest(bench: Bench) -> Array:
    return bench.respond(Drive(np.array([3.5]))).a


# 1 kOhm of the source, R1, R2, and 500 Ohm of R3 beside the resting output: 1 mA of 3.5 V, so 2.5, 1.5 and 0.5 V.
@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ("{}", [2.5, 1.5, 0.5]),
        ("{swapped_reads: [[n1, n3]]}", [0.5, 1.5, 2.5]),
        ("{unread: [n2]}", [2.5, 0.0, 0.5]),
        # 3.5 V behind 1 kOhm at n3, beside 1 kOhm of R3 and 3 kOhm to 0 V: 1 mS / (1 + 1 + 1/3) mS of it.
        ("{swapped_drives: [[n1, n3]]}", [0.5, 1.0, 1.5]),
        ("{open: [R2]}", [3.5, 3.5, 0.0]),
        ("{open: [R3]}", [2.625, 1.75, 0.875]),  # 1 kOhm each
        ("{ungrounded: [n3]}", [2.625, 1.75, 0.875]),
        ("{shorted: [R1], short: 1 kOhm}", [3.5 * 2 / 3, 3.5 * 1.5 / 3, 3.5 * 0.5 / 3]),
        ("{wrong: {R2: 0.4}}", [3.5 * 4 / 5, 3.5 * 3 / 5, 3.5 * 0.5 / 5]),  # 2.5 kOhm
    ],
)
def test_faults_reach_the_drivers(serve: Serve, faults: str, expected: list[float]) -> None:
    lab, bench = serve(EXACT + f"  faults: {faults}\n")
    assert at_rest(bench) == pytest.approx(expected, abs=1e-6)
    truth = lab.truth()
    assert truth.conductance(np.full(2, 1e-3)) == pytest.approx(truth.tunable)


def test_swapped_control_lines_turn_each_others_potentiometer(serve: Serve) -> None:
    lab, bench = serve(EXACT + "  faults: {swapped_elements: [[R1, R2]]}\n")
    held = bench.program(np.array([1e-3, 0.5e-3]))
    assert 1 / held == pytest.approx([1000, 2000])
    # R1 has 2 kOhm in truth: 3.5 V over 1, 2, 1 and 0.5 kOhm
    assert at_rest(bench) == pytest.approx(3.5 / 4.5 * np.array([3.5, 1.5, 0.5]))
    assert 1 / lab.truth().tunable == pytest.approx([2000, 1000])
    assert 1 / lab.truth().conductance(held) == pytest.approx([2000, 1000])


def test_gains_offsets_and_skews_are_those_of_the_truth(serve: Serve) -> None:
    daq = "{ao_gain_error: 1 %, ao_offset: 5 mV, ai_gain_error: 1 %, ai_offset: 5 mV, hidden_skew: 100 us}"
    lab, bench = serve(f"  instruments: {{board: {{end_to_end: 10240 Ohm, wiper: 40 Ohm}}, daq: {daq}}}\n")
    truth = lab.truth()
    assert truth.source_channels == ("daq/ao0", "daq/ao1")
    assert truth.meter_channels == ("daq/ai0", "daq/ai1", "daq/ai2")
    level, rest = np.array([3.5, 0.0]) * truth.source_gain + truth.source_offset
    # By superposition: of the level 2.5/3.5, 1.5/3.5, 0.5/3.5. Of the rest, behind 1 kOhm at n3 with 1 kOhm beside and
    # 3 kOhm: 1 / (1 + 1 + 1/3) = 3/7 at n3, two thirds of it at n2, one at n1.
    true = level * np.array([5, 3, 1]) / 7 + rest * np.array([1, 2, 3]) / 7
    assert at_rest(bench) == pytest.approx(true * truth.meter_gain + truth.meter_offset, abs=1e-9)
    assert np.abs(truth.meter_delay).min() > 1e-6
    quiet = bench.measure(Drive(np.array([0.0]), Nudge(np.zeros(1), Sine()))).volts
    record = bench.measure(Drive(np.array([0.0]), Nudge(np.array([1e-3]), Sine())))
    times = np.arange(record.volts.shape[1]) / record.sample_rate
    for node, delay in enumerate(truth.meter_delay):
        # The converter holds each sample until the next: what is read is the waveform where the last one was put out.
        held = np.floor((times + delay) * record.sample_rate + 0.01) / record.sample_rate
        amplitude = truth.source_gain[1] * (node + 1) / 7 * truth.meter_gain[node]
        seen = record.volts[node] - quiet[node]
        assert seen == pytest.approx(amplitude * np.sin(2 * np.pi * 100 * held), abs=1e-9)


def test_nonlinear_wipers_are_read_back_as_if_they_were_not(serve: Serve) -> None:
    board = "{end_to_end: 10240 Ohm, wiper: 40 Ohm, nonlinearity: 5 %, wiper_spread: 20 %, wire: 5 Ohm, tolerance: 5 %}"
    lab, bench = serve(f"  instruments: {{board: {board}}}\n")
    for ohms in (1000.0, 5000.0, 9000.0):
        held = bench.program(np.full(2, 1 / ohms))
        assert 1 / held == pytest.approx([ohms, ohms])
        assert (bench.read_back() == held).all()
        truth = lab.truth()
        assert truth.conductance(held) == pytest.approx(truth.tunable, rel=1e-12)
        assert np.abs(truth.tunable / held - 1).max() > 1e-3
    g1, g2 = 1 / truth.tunable
    assert at_rest(bench)[2] == pytest.approx(3.5 * 500 / (1000 + g1 + g2 + 500))


def test_the_hardware_seed_draws_it_and_nothing_older_is_moved_by_it(serve: Serve) -> None:
    old = "  instruments: {board: {tolerance: 5 %}}\n  parts: {tolerance: 5 %}\n"
    new = "  instruments: {board: {tolerance: 5 %}, daq: {ai_gain_error: 1 %}}\n  parts: {tolerance: 5 %}\n"
    one, other, again = (serve(more)[0].truth() for more in (old, new, new))
    assert (one.tunable == other.tunable).all()
    assert one.fixed == other.fixed
    assert (other.meter_gain == again.meter_gain).all()
    assert (other.meter_gain != one.meter_gain).all()


def test_source_resistors_are_off_by_their_tolerance(serve: Serve) -> None:
    lab, bench = serve(EXACT + "  parts: {source_resistance_tolerance: 5 %}\n")
    first, second = lab.truth().source_resistance
    assert first != 1000
    output = 1 / (1e-3 + 1 / second)
    assert at_rest(bench)[0] == pytest.approx(3.5 * (2000 + output) / (first + 2000 + output))


def test_a_wrong_name_in_the_faults_is_told(tmp_path: Path) -> None:
    (tmp_path / "network.csv").write_text(NETWORK)
    (tmp_path / "lab.yaml").write_text(BENCH + "  faults: {swapped_reads: [[n1, n33]]}\n")
    with pytest.raises(FileError, match='line 15: faults.swapped_reads: .*"n33".* Did you mean "n3"'):
        VirtualLab(read_bench_file(tmp_path / "lab.yaml"), FACTORIES)


def test_a_generator_and_an_oscilloscope_err_through_scpi(tmp_path: Path) -> None:
    (tmp_path / "network.csv").write_text(
        "name,plus,minus,kind,value\nR1,n1,n2,resistor,1 kOhm\nR2,n2,ground,resistor,1 kOhm\n"
    )
    text = """\
bench: wired
network: {kind: csv, file: network.csv, inputs: [[n1]], outputs: [[n2]]}
nudge: {source: resistor, resistance: 1 kOhm}
sampling: {frequency: 1 kHz}
instruments:
  gen: {driver: keysight-33500b, resource: nowhere}
  scope: {driver: rigol-scope, resource: nowhere, bits: 16, visa: "@py"}
triggers: [[gen, scope]]
wiring: {drives: {n1: gen/ch1, n2: gen/ch2}, reads: {n1: scope/chan1, n2: scope/chan2}, tunes: {}}
simulation:
  faults: {swapped_reads: [[n1, n2]]}
  instruments: {gen: {gain_error: 10 %, offset: 0.2 V}, scope: {gain_error: 10 %, offset: 0.2 V}}
"""
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    with VirtualLab(read_bench_file(path), FACTORIES) as lab:
        path.write_text(with_resources(text, {name: listed[0] for name, listed in lab.start().items()}))
        truth = lab.truth()
        with open_bench(read_bench_file(path), BenchRequest(ports=(1, 1))) as bench:
            read = bench.respond(Drive(np.array([1.5]))).a
    level, rest = np.array([1.5, 0.0]) * truth.source_gain + truth.source_offset
    true = np.array([(level + rest) / 3, level])  # n2, then n1: the leads are exchanged; three times 1 kOhm at n2
    assert np.abs(truth.meter_gain - 1).max() > 0.02
    assert read == pytest.approx(true * truth.meter_gain + truth.meter_offset, abs=5e-3)
