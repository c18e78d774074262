"""`offsets`, `gains`, `skew`, `resistors` through the real drivers and wires of a virtual lab that hides its truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from benches import by_name, findings

from calibration.registry import make_procedure
from calibration.running import calibrate
from freqprop_lab.bench import Bench, open_bench
from freqprop_lab.config import BenchRequest, read_bench_file
from simulated_bench.lab import VirtualLab
from simulated_bench.serve import with_resources
from simulated_bench.servers.registry import FACTORIES

# A ring of four nodes and a diagonal; every node has a source behind 1 kOhm, so that all branches are told.
NETWORK = """\
name,plus,minus,kind,value
R1,n1,n2,tunable,5 kOhm
R2,n2,n3,tunable,5 kOhm
R3,n3,n4,tunable,5 kOhm
R4,n4,n1,tunable,5 kOhm
R5,n1,n3,tunable,5 kOhm
"""
BENCH = """\
bench: wired
network: {kind: csv, file: network.csv, inputs: [[n1, n2]], outputs: [[n3], [n4]]}
scales: {conductance: 1 mS}
common_mode: 2.5 V
inputs: {source: resistor, resistance: 1 kOhm}
nudge: {source: resistor, resistance: 1 kOhm}
ratings: {rails: [0 V, 5 V], nudge: 1 V}
sampling: {frequency: 100 Hz, samples_per_period: 20, settle: 20 ms}
instruments:
  daq: {driver: nidaqmx, resource: "grpc://127.0.0.1:0/Dev1"}
  board: {driver: resistor-board, resource: "socket://127.0.0.1:0"}
wiring:
  drives: {n1: daq/ao0, n2: daq/ao1, n3: daq/ao2, n4: daq/ao3}
  reads: {n1: daq/ai0, n2: daq/ai1, n3: daq/ai2, n4: daq/ai3}
  tunes: {R1: board/0, R2: board/1, R3: board/2, R4: board/3, R5: board/4}
calibration:
  assume: {source_gain: 2 %, source_offset: 5 mV, meter_gain: 2 %, meter_offset: 5 mV, tunable: 20 %,
           source_resistance: 0.01 %}
  references: [{meter: n1, gain: 2 %, offset: 5 mV, certificate: none}]
simulation:
  hardware_seed: 6
  parts: {source_resistance_tolerance: 0.01 %}
  instruments:
    daq: {noise: 1 mV, ao_gain_error: 2 %, ao_offset: 5 mV, ai_gain_error: 2 %, ai_offset: 5 mV, hidden_skew: 1 ms,
          ao_bits: 16, ai_bits: 16}
    board: {tolerance: 5 %, nonlinearity: 2 %, wiper_spread: 20 %, wire: 1 Ohm}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VirtualLab, Path]]:
    """Serve the lab; the bench file names the ports that it got."""
    folder: Path = tmp_path_factory.mktemp("lab")
    (folder / "network.csv").write_text(NETWORK)
    path = folder / "lab.yaml"
    path.write_text(BENCH)
    with VirtualLab(read_bench_file(path), FACTORIES) as lab:
        path.write_text(with_resources(BENCH, {name: listed[0] for name, listed in lab.start().items()}))
        yield lab, path


@pytest.fixture
def wired(served: tuple[VirtualLab, Path]) -> Iterator[tuple[VirtualLab, Bench]]:
    """Open the bench of the lab."""
    lab, path = served
    with _opened(path) as bench:
        bench.program(np.full(5, 2e-4))
        yield lab, bench


def _opened(path: Path) -> Bench:
    return open_bench(read_bench_file(path), BenchRequest(ports=(1, 2)), corrected=False)


def inside(quantity, truth, factor=4.0):
    return (np.abs(quantity.values - truth) < factor * quantity.standard_uncertainty).all()


@pytest.mark.parametrize("procedure", ["offsets", "gains"])
def test_gains_and_offsets_are_those_of_the_cards(wired, procedure):
    lab, bench = wired
    truth, found = lab.truth(), by_name(findings(bench, procedure, samples=1000, volts=2.0))
    assert found["source offset"].labels == truth.source_channels
    assert inside(found["source offset"], truth.source_offset)
    assert inside(found["meter offset"], truth.meter_offset)
    if procedure == "gains":
        assert inside(found["source gain"], truth.source_gain)
        assert inside(found["meter gain"], truth.meter_gain)
        # What a source puts out and a meter reads is the product of both; the scale alone is shared by the references.
        product = found["meter gain"].values * found["source gain"].values[0]
        assert product == pytest.approx(truth.meter_gain * truth.source_gain[0], rel=1e-3)


def test_skews_are_whole_samples_of_a_converter_that_holds(wired):
    """The card's output holds each sample until the next, so that a channel late by d reads the one floor(d f_s) on."""
    lab, bench = wired
    skew = by_name(findings(bench, "skew", samples=1000, volts=1.0))["skew"]
    truth, rate = lab.truth(), 2000.0
    held = np.floor(truth.meter_delay * rate + 0.01) / rate - truth.meter_skew
    assert np.unique(np.round(held * rate)).size > 1  # some are late and some are early
    assert skew.values == pytest.approx(held, abs=0.01 / rate)
    assert inside(skew, held)


def test_every_code_of_the_board_has_its_conductance(wired):
    lab, bench = wired
    found = by_name(findings(bench, "resistors", samples=400, points=9, volts=2.0, again=2))
    table = found["conductance by nominal"]
    assert table.labels == tuple(f"board/{number}" for number in range(5))
    assert table.points is not None
    assert table.values.shape == (5, 257)
    true = np.array([lab.truth().conductance(column) for column in table.points.of(5).T]).T
    # Where the reference is: the series resistors. The nominal values are off by up to a tenth and more.
    assert np.median(np.abs(table.values / true - 1)) < 2e-3
    assert np.median(np.abs(table.points.of(5) / true - 1)) > 0.01
    low, high = table.interval()
    assert ((low <= true) & (true <= high)).mean() > 0.85  # five elements share most of their doubt
    wiper = found["wiper and wire resistance"]
    assert inside(wiper, 1 / true[:, -1])


def test_what_was_trained_is_there_again_for_each_procedure_and_safe_at_the_end(wired, tmp_path):
    """Making safe sends the wipers to their highest resistance, 10 kOhm and the wiper's; 1.25 kOhm was trained."""
    lab, bench = wired
    trained, true = bench.program(np.full(5, 8e-4)), lab.truth().tunable
    there, measure = [], bench.measure_channels

    def watched(drive, n_periods=None):
        there.append(lab.truth().tunable)
        return measure(drive, n_periods)

    bench.measure_channels = watched
    for name in ("offsets", "gains"):
        there.clear()
        done = calibrate(bench, make_procedure(name, samples=200, volts=1.0), tmp_path)
        assert (done.record.raw["programmed"] == trained).all()
        assert (np.array(there) == true).all()
        assert lab.truth().tunable == pytest.approx(np.full(5, 1e-4), rel=0.2)
        assert np.isnan(bench.conductances).all()


def test_a_dry_run_leaves_the_wipers_as_they_stood(served, freqprop):
    lab, path = served
    bench = _opened(path)
    bench.program(np.full(5, 8e-4))
    before = lab.truth().tunable
    bench.leave()
    status, out, _ = freqprop("calibrate", "all", str(path), "--dry-run")
    assert status == 0
    assert out.rstrip().endswith("nothing was driven")
    assert lab.truth().tunable == pytest.approx(before, rel=1e-12)
    _opened(path).close()
    assert lab.truth().tunable == pytest.approx(np.full(5, 1e-4), rel=0.2)
