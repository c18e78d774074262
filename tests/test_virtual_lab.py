"""The same experiment on the numeric bench and through the real drivers and wires: only the bench file differs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from drivers.memristor import MEMRISTOR_BOARD
from drivers.nidaq import NIDAQMX
from drivers.resistor_board import RESISTOR_BOARD
from drivers.scpi import KEYSIGHT_33500B
from freqprop_lab import Run, load_bench, load_experiment, resume, train
from freqprop_lab.bench import ChannelUse, make_file_safe
from freqprop_lab.config import FileError, read_bench_file
from freqprop_lab.instruments import ConnectionLostError, InstrumentError, TimeLimitError
from simulated_bench.lab import VirtualLab
from simulated_bench.serve import with_resources
from simulated_bench.servers import Fault, FaultKind
from simulated_bench.servers.firmware_board import missing
from simulated_bench.servers.registry import FACTORIES

FULL_SCALE = 10.0  # V, of the card's converters
EXPERIMENT = """\
name: iris
seed: 3
epochs: 3
task: {kind: iris}
rule: {alpha: 0.5}
conductances: {start: [0.1, 1], bounds: [0.1, 5]}
evaluate_every: 100
"""
# The virtual lab's table as a numeric bench: the same network, scales, converters and potentiometers.
NUMERIC = """\
source: {bits: 16}
meter: {bits: 16}
resistors: {taps: 257, end_to_end: 10 kOhm, wiper: 75 Ohm}
"""


def template(name: str) -> str:
    return (files("freqprop_lab") / "data" / "templates" / name).read_text(encoding="utf-8")


@contextmanager
def served(folder: Path, text: str) -> Iterator[tuple[VirtualLab, Path]]:
    """Serve a bench file; the file with the resources that it got."""
    (folder / "virtual-lab-network.csv").write_text(template("virtual-lab-network.csv"))
    path = folder / "lab.yaml"
    path.write_text(text)
    with VirtualLab(read_bench_file(path), FACTORIES) as lab:
        path.write_text(with_resources(text, {name: listed[0] for name, listed in lab.start().items()}))
        yield lab, path


def on_the_numeric_bench(folder: Path, experiment: str) -> Run:
    text = template("virtual-lab.yaml")
    common = text[text.index("scales:") : text.index("instruments:")]
    (folder / "virtual-lab-network.csv").write_text(template("virtual-lab-network.csv"))
    (folder / "numeric.yaml").write_text("bench: numeric\n" + common + NUMERIC)
    return trained(folder, folder / "numeric.yaml", "numeric", experiment)


def trained(folder: Path, bench_file: Path, name: str, text: str) -> Run:
    (folder / "iris.yaml").write_text(text)
    experiment = load_experiment(folder / "iris.yaml")
    with load_bench(bench_file, experiment) as bench:
        return Run(train(experiment, bench, run=folder / name).run)


def test_iris_trains_through_the_card_and_the_board_as_on_the_numeric_bench(tmp_path: Path) -> None:
    numeric = on_the_numeric_bench(tmp_path, EXPERIMENT)
    text = template("virtual-lab.yaml").replace(
        "{n_ao: 16, n_ai: 32}", "{n_ao: 16, n_ai: 32, ao_bits: 16, ai_bits: 16}"
    )
    with served(tmp_path, text) as (lab, path):
        wired = trained(tmp_path, path, "wired", EXPERIMENT)
        assert lab.instruments["daq"].open_tasks == []
        assert all(lab.world.level(f"daq/ao{channel}") == 0.0 for channel in range(14))
    assert len(wired.lines("steps")) == 225

    # The board logs each step, the numeric bench each epoch: compare at the ends of the epochs.
    ends = [0, 75, 150, 225]
    conductances = wired["conductances"][ends]
    np.testing.assert_allclose(conductances, numeric["conductances"], rtol=1e-9)  # the same codes
    assert np.abs(conductances[-1] / conductances[0] - 1).max() > 0.05  # and they moved
    for column in ("a", "b"):
        difference = np.abs(wired[column][ends[1:]] - numeric[column][1:])
        assert difference.max() <= 1e-6 * FULL_SCALE
    np.testing.assert_allclose(wired["outputs"], numeric["outputs"], atol=1e-6 * FULL_SCALE)


@pytest.mark.skipif(bool(missing()), reason=f"the firmware can't be run here; missing: {', '.join(missing())}")
def test_iris_trains_through_the_real_firmware_as_on_the_numeric_bench(tmp_path: Path) -> None:
    # 39 examples an epoch: a step through the simulated processor takes a good part of a second's tenth.
    experiment = EXPERIMENT.replace("task: {kind: iris}", "task: {kind: iris, split: {train: 39}}")
    numeric = on_the_numeric_bench(tmp_path, experiment)
    converters = "{n_ao: 16, n_ai: 32, ao_bits: 16, ai_bits: 16}"
    text = (
        template("virtual-lab.yaml")
        .replace("{n_ao: 16, n_ai: 32}", converters)
        .replace("twin: python", "twin: firmware")
    )
    with served(tmp_path, text) as (_, path):
        wired = trained(tmp_path, path, "wired", experiment)
    assert len(wired.lines("steps")) == 117
    np.testing.assert_allclose(wired["conductances"][[0, 39, 78, 117]], numeric["conductances"], rtol=1e-9)
    np.testing.assert_allclose(wired["outputs"], numeric["outputs"], atol=1e-6 * FULL_SCALE)


@pytest.mark.prove
@pytest.mark.skipif(bool(missing()), reason=f"the firmware can't be run here; missing: {', '.join(missing())}")
def test_iris_trains_for_a_minute_through_the_real_firmware_as_on_the_numeric_bench(tmp_path: Path) -> None:
    experiment = EXPERIMENT.replace("epochs: 3", "epochs: 12")
    numeric = on_the_numeric_bench(tmp_path, experiment)
    text = template("virtual-lab.yaml").replace("twin: python", "twin: firmware")
    text = text.replace("{n_ao: 16, n_ai: 32}", "{n_ao: 16, n_ai: 32, ao_bits: 16, ai_bits: 16}")
    with served(tmp_path, text) as (lab, path):
        wired = trained(tmp_path, path, "wired", experiment)
        assert lab.instruments["board"].complaints == []  # no chip was handled as its data sheet forbids
    assert len(wired.lines("steps")) == 900
    ends = list(range(0, 901, 75))
    np.testing.assert_allclose(wired["conductances"][ends], numeric["conductances"], rtol=1e-9)
    for column in ("a", "b"):
        assert np.abs(wired[column][ends[1:]] - numeric[column][1:]).max() <= 1e-6 * FULL_SCALE


def assert_safe(lab: VirtualLab) -> None:
    """As the instruments say, not as a client believes."""
    assert all(lab.world.level(f"daq/ao{channel}") == 0.0 for channel in range(14))
    assert lab.instruments["daq"].open_tasks == []
    assert set(lab.instruments["board"].codes) == {256}  # every wiper at its highest resistance


SHORT = EXPERIMENT.replace("task: {kind: iris}", "task: {kind: iris, split: {train: 12}}")
BITS = template("virtual-lab.yaml").replace("{n_ao: 16, n_ai: 32}", "{n_ao: 16, n_ai: 32, ao_bits: 16, ai_bits: 16}")


def interrupt_once_it_programs(lab: VirtualLab, experiment: Path, bench_file: Path) -> None:
    """Train in a process of its own, press Ctrl-C once the board is programmed, and wait for a clean end."""
    command = [sys.executable, "-c", "from freqprop_lab.cli import main; main()", "train", str(experiment)]
    options = ["--bench", str(bench_file), "--run", str(experiment.parent / "run"), "--quiet"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while set(lab.instruments["board"].codes) == {256} and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "The bench is safe" in told
    assert "Traceback" not in told


needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to another process")


@needs_signals
def test_ctrl_c_over_the_wires_ends_safe_and_the_run_resumes(tmp_path: Path) -> None:
    numeric = on_the_numeric_bench(tmp_path, SHORT)
    with served(tmp_path, BITS) as (lab, path):
        interrupt_once_it_programs(lab, tmp_path / "iris.yaml", path)
        assert_safe(lab)
        assert len(Run(tmp_path / "run").lines("steps")) < 36
        resume(tmp_path / "run")
        np.testing.assert_allclose(Run(tmp_path / "run")["conductances"][-1], numeric["conductances"][-1], rtol=1e-9)


@pytest.mark.parametrize(
    ("instrument", "fault", "kind"),
    [
        pytest.param(
            "daq",
            Fault(FaultKind.ERROR_CODE, channel="ReadAnalogF64", code=-200279),
            TimeLimitError,
            marks=pytest.mark.prove,
        ),
        pytest.param(
            "daq",
            Fault(FaultKind.LATE_REPLY, channel="WriteAnalogF64", seconds=30.0),
            TimeLimitError,
            marks=pytest.mark.prove,
        ),
        ("board", Fault(FaultKind.DISCONNECT), ConnectionLostError),
    ],
    ids=["a card that overflows", "a card that is late", "a cable that is pulled"],
)
def test_a_fault_on_the_wire_in_mid_run_ends_safe_and_the_run_resumes(
    instrument: str, fault: Fault, kind: type[InstrumentError], tmp_path: Path
) -> None:
    numeric = on_the_numeric_bench(tmp_path, SHORT)
    # Long enough that a busy computer is no fault of its own, also when the run is resumed.
    text = BITS.replace("    driver: nidaqmx\n", "    driver: nidaqmx\n    timeout: 3 s\n")
    text = text.replace("    driver: resistor-board ", "    keep_alive: 1 s\n    driver: resistor-board ")
    with served(tmp_path, text) as (lab, path):
        (tmp_path / "iris.yaml").write_text(SHORT)
        experiment = load_experiment(tmp_path / "iris.yaml")
        with load_bench(path, experiment) as bench:
            programmed = 0
            program = bench.program

            def program_until_it_fails(conductances: np.ndarray) -> np.ndarray:
                nonlocal programmed
                programmed += 1
                if programmed == 20:
                    lab.instruments[instrument].faults.add(fault)
                return program(conductances)

            bench.program = program_until_it_fails
            with pytest.raises(kind, match=f'"{instrument}"'):
                train(experiment, bench, run=tmp_path / "run")
        deadline = time.monotonic() + 5
        while set(lab.instruments["board"].codes) != {256} and time.monotonic() < deadline:
            time.sleep(0.02)  # its keep-alive, where the cable is out
        assert_safe(lab)
        stop = Run(tmp_path / "run").stop
        assert stop is not None
        assert stop["exit_status"] == "fail"
        resume(tmp_path / "run")
        np.testing.assert_allclose(Run(tmp_path / "run")["conductances"][-1], numeric["conductances"][-1], rtol=1e-9)


# One input, one output, four nodes; x goes in at n1, 0.4 x is wanted at n3.
DIVIDER = """\
name,plus,minus,kind,value
R1,n1,n2,tunable,5 kOhm
R2,n2,n3,tunable,5 kOhm
R3,n3,n4,tunable,5 kOhm
R4,n4,ground,resistor,2 kOhm
"""
DIVIDER_BENCH = """\
bench: wired
scales: {{voltage: 1 V, conductance: 1 mS}}
network: {{kind: csv, file: divider.csv, inputs: [[n1]], outputs: [[n3]]}}
nudge: {{source: resistor, resistance: 1 kOhm}}
sampling: {{frequency: 1 kHz, samples_per_period: 25, periods: 8}}
instruments:
  gen: {{driver: keysight-33500b, resource: x, visa: "@py"{generator}}}
  scope: {{driver: rigol-scope, resource: x, visa: "@py", range: 2 V, bits: 16{scope}}}
  board: {{driver: resistor-board, resource: "socket://127.0.0.1:0"}}
wiring:
  drives: {{n1: gen/ch1, n3: gen/ch2}}
  reads: {{n1: scope/chan1, n2: scope/chan2, n3: scope/chan3, n4: scope/chan4}}
  tunes: {{R1: board/0, R2: board/1, R3: board/2}}
{triggers}
"""
DIVIDER_EXPERIMENT = """\
name: divider
seed: 1
epochs: 12
task:
  kind: csv
  file: divider-data.csv
  target: y
  predict: value
  inputs: {scale: 1.5, encoding: plain}
  targets: {kind: values, low: 0, high: 0.6}
  split: {train: 1.0}
rule: {alpha: 2}
conductances: {start: [0.15, 0.4], bounds: [0.11, 5]}
evaluate_every: 100
"""


@pytest.mark.parametrize("synchronised", [True, False], ids=["triggered sine", "free-running abs-sine"])
def test_a_divider_trains_through_the_generator_and_the_oscilloscope(tmp_path: Path, synchronised: bool) -> None:
    (tmp_path / "divider.csv").write_text(DIVIDER)
    (tmp_path / "divider-data.csv").write_text("x,y\n" + "".join(f"{x / 4},{0.4 * x / 4}\n" for x in range(5)))
    (tmp_path / "divider.yaml").write_text(DIVIDER_EXPERIMENT)
    wires = {"generator": "", "scope": ", trigger: ext", "triggers": "triggers: [[gen, scope]]"}
    if not synchronised:
        wires = {"generator": ", endless: true", "scope": ", trigger: none", "triggers": ""}
    with served(tmp_path, DIVIDER_BENCH.format(**wires)) as (lab, path):
        experiment = load_experiment(tmp_path / "divider.yaml")
        with load_bench(path, experiment) as bench:
            assert bench.synchronised is synchronised
            result = train(experiment, bench, run=tmp_path / "run")
        assert lab.world.level("gen/ch1") == 0.0
    assert result.untrained.error is not None
    assert result.trained.error is not None
    assert result.trained.error < 0.25 * result.untrained.error
    assert result.trained.error < 0.02  # of up to 0.6 V


@needs_signals
def test_ctrl_c_over_scpi_switches_the_generators_outputs_off(tmp_path: Path) -> None:
    (tmp_path / "divider.csv").write_text(DIVIDER)
    (tmp_path / "divider-data.csv").write_text("x,y\n" + "".join(f"{x / 4},{0.4 * x / 4}\n" for x in range(5)))
    (tmp_path / "divider.yaml").write_text(DIVIDER_EXPERIMENT.replace("epochs: 12", "epochs: 500"))
    wires = {"generator": "", "scope": ", trigger: ext", "triggers": "triggers: [[gen, scope]]"}
    with served(tmp_path, DIVIDER_BENCH.format(**wires)) as (lab, path):
        interrupt_once_it_programs(lab, tmp_path / "divider.yaml", path)
        assert [lab.world.level(f"gen/ch{channel}") for channel in (1, 2)] == [0.0, 0.0]
        assert set(lab.instruments["board"].codes) == {256}
        assert any(b"OUTP1 OFF" in message for message in lab.instruments["gen"].received[-3:])


MEMRISTORS = """\
bench: wired
scales: {voltage: 20 mV, conductance: 10 uS}
network: {kind: csv, file: divider.csv, inputs: [[n1]], outputs: [[n3]]}
nudge: {source: resistor, resistance: 100 kOhm}
ratings: {voltage: 0.1 V, nudge: 30 mV}
sampling: {frequency: 100 Hz, samples_per_period: 20, periods: 2}
instruments:
  daq: {driver: nidaqmx, resource: "grpc://127.0.0.1:0/Dev1"}
  crossbar: {driver: memristor-board, resource: "socket://127.0.0.1:0"}
wiring:
  drives: {n1: daq/ao0, n3: daq/ao1}
  reads: {n1: daq/ai0, n2: daq/ai1, n3: daq/ai2, n4: daq/ai3}
  tunes: {R1: crossbar/0, R2: crossbar/1, R3: crossbar/2}
"""


def test_a_divider_trains_on_memristors_below_their_threshold(tmp_path: Path) -> None:
    network = DIVIDER.replace("5 kOhm", "100 kOhm").replace("2 kOhm", "50 kOhm")
    (tmp_path / "divider.csv").write_text(network)
    (tmp_path / "divider-data.csv").write_text("x,y\n" + "".join(f"{x / 4},{0.4 * x / 4}\n" for x in range(5)))
    text = DIVIDER_EXPERIMENT.replace("[0.15, 0.4]", "[0.4, 0.8]").replace("[0.11, 5]", "[0.3, 4]")
    (tmp_path / "divider.yaml").write_text(text)
    with served(tmp_path, MEMRISTORS) as (lab, path):
        experiment = load_experiment(tmp_path / "divider.yaml")
        with load_bench(path, experiment) as bench:
            result = train(experiment, bench, run=tmp_path / "run")
        assert sum(lab.instruments["crossbar"].counts) > 100  # it was programmed by pulses
    assert result.untrained.error is not None
    assert result.trained.error is not None
    assert result.trained.error < 0.5 * result.untrained.error


def test_a_drive_that_would_rewrite_memristors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "divider.csv").write_text(DIVIDER)
    (tmp_path / "divider-data.csv").write_text("x,y\n" + "".join(f"{x / 4},{0.4 * x / 4}\n" for x in range(5)))
    (tmp_path / "divider.yaml").write_text(DIVIDER_EXPERIMENT.replace("[0.11, 5]", "[0.3, 4]").replace("0.15", "0.35"))
    with served(tmp_path, MEMRISTORS.replace("20 mV", "200 mV")) as (_, path):
        experiment = load_experiment(tmp_path / "divider.yaml")
        with (
            load_bench(path, experiment) as bench,
            pytest.raises(FileError, match=r"voltage across an element.*0\.1 V"),
        ):
            train(experiment, bench, run=tmp_path / "run")


EVERYTHING = """\
bench: wired
network: {kind: csv, file: divider.csv, inputs: [[n1]], outputs: [[n3]]}
nudge: {source: resistor, resistance: 1 kOhm}
instruments:
  daq: {driver: nidaqmx, resource: "grpc://127.0.0.1:0/Dev1"}
  gen: {driver: keysight-33500b, resource: x, visa: "@py"}
  supply: {driver: keysight-33500b, resource: x, visa: "@py"}
  scope: {driver: rigol-scope, resource: x, visa: "@py", trigger: chan1}
  board: {driver: resistor-board, resource: "socket://127.0.0.1:0"}
  crossbar: {driver: memristor-board, resource: "socket://127.0.0.1:0"}
wiring:
  drives: {n1: daq/ao0, n3: gen/ch1, n4: supply/ch2, n2: daq/ao7}
  reads: {n1: daq/ai0}
  tunes: {R1: board/0, R2: board/5, R3: crossbar/2}
"""
SUPPLY = """\
role: source
expect: 33522B
channels: {low: "1", high: "2"}
limits: {lowest: -5 V, highest: 5 V}
setup: ["OUTP{channel}:LOAD INF"]
safe: ["OUTP{channel} OFF"]
level: ["SOUR{channel}:FUNC DC", "SOUR{channel}:VOLT:OFFS {level}", "OUTP{channel} ON"]
"""


def test_what_another_program_left_running_is_made_safe_by_a_file_that_wires_nothing(tmp_path: Path) -> None:
    (tmp_path / "divider.csv").write_text(DIVIDER)
    (tmp_path / "supply.yaml").write_text(SUPPLY)
    with served(tmp_path, EVERYTHING) as (lab, path):
        at = {name: str(fields["resource"]) for name, fields in read_bench_file(path).model.instruments.items()}
        world, board, crossbar = lab.world, lab.instruments["board"], lab.instruments["crossbar"]

        # Somebody drives all of it, and never comes back: no make_safe, no close.
        abandoned = []
        for kind, name, drives, tunes in (
            (NIDAQMX, "daq", ("ao0", "ao7"), ()),
            (KEYSIGHT_33500B, "gen", ("ch1",), ()),
            (KEYSIGHT_33500B, "supply", ("ch2",), ()),
            (RESISTOR_BOARD, "board", (), ("0", "5")),
            (MEMRISTOR_BOARD, "crossbar", (), ("2",)),
        ):
            fields = {"driver": read_bench_file(path).model.instruments[name]["driver"], "resource": at[name]}
            roles = kind.open(name, kind.model.model_validate(fields), ChannelUse(drives=drives, tunes=tunes))
            abandoned += [role for role in (roles.source, roles.resistors) if role is not None]
            if roles.source is not None:
                roles.source.load(np.full(len(drives), 1.25), np.zeros(len(drives)), None, 100.0, 2, 2000.0)
                roles.source.start()
            if name == "board":
                roles.resistors.program(np.full(2, 1e-3))
        crossbar.connected = 2  # as between two pulses
        driven = [f"{place}" for place in ("daq/ao0", "daq/ao7", "gen/ch1", "supply/ch2")]
        assert [world.level(place) for place in driven] == pytest.approx([1.25] * 4, abs=1e-3)
        assert board.codes[0] != board.codes[1] == 256  # channel 1 is nobody's, and at its highest resistance

        unwired = path.read_text()
        unwired = unwired[: unwired.index("wiring:")] + "wiring: {drives: {}, reads: {}, tunes: {}}\n"
        generic = (
            f'  supply: {{driver: scpi-generic, resource: "{at["supply"]}", visa: "@py", template: supply.yaml}}\n'
        )
        unwired = "".join(generic if "  supply:" in line else line for line in unwired.splitlines(keepends=True))
        (tmp_path / "panic.yaml").write_text(unwired)
        told = dict(make_file_safe(read_bench_file(tmp_path / "panic.yaml")))
        assert told == dict.fromkeys(at)  # each was reached, and none had anything to complain of
        assert [world.level(place) for place in driven] == [0.0] * 4
        assert set(board.codes) == {256}
        assert crossbar.connected is None
        for role in abandoned:
            with suppress(InstrumentError):  # its instrument was taken away from under it
                role.close()
