"""Time of one training step by part, through real wire protocols, beside the bare client: python benchmarks/loop.py.

The servers are the virtual lab's, in this process; the bare client makes the calls that a script without this project
would make for the same two records. What the ratio says is what our driver, bench and lock-in add.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _campaign import Row

COMMAND = "python benchmarks/loop.py"
_SAMPLES, _PERIODS = 50, 20  # 1000 samples a record


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _network(folder: Path) -> None:
    """Write the virtual lab's network with fixed resistors: no board is timed here."""
    from importlib.resources import files

    text = (files("freqprop_lab") / "data" / "templates" / "virtual-lab-network.csv").read_text(encoding="utf-8")
    (folder / "network.csv").write_text(text.replace("tunable", "resistor"), encoding="utf-8")


_BENCH = f"""\
bench: wired
network:
  kind: csv
  file: network.csv
  inputs: [[n0, n1], [n2, n3], [n4, n5], [n6, n7]]
  outputs: [[n8, n9], [n10, n11], [n12, n13]]
nudge: {{source: resistor, resistance: 1 kOhm}}
sampling: {{frequency: 100 Hz, samples_per_period: {_SAMPLES}, periods: {_PERIODS}}}
instruments: {{daq: {{driver: nidaqmx, resource: "grpc://127.0.0.1:0/Dev1"}}}}
wiring:
  drives: {{{", ".join(f"n{i}: daq/ao{i}" for i in range(14))}}}
  reads: {{{", ".join(f"n{i}: daq/ai{i}" for i in range(16))}}}
  tunes: {{}}
"""


@contextmanager
def _lab() -> Iterator[tuple[Any, Any, str]]:
    from freqprop_lab.bench import open_bench
    from freqprop_lab.config import BenchRequest, read_bench_file
    from simulated_bench.lab import VirtualLab
    from simulated_bench.serve import with_resources
    from simulated_bench.servers.registry import FACTORIES

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _network(folder)
        (folder / "bench.yaml").write_text(_BENCH, encoding="utf-8")
        with VirtualLab(read_bench_file(folder / "bench.yaml"), FACTORIES) as lab:
            served = {instrument: listed[0] for instrument, listed in lab.start().items()}
            (folder / "bench.yaml").write_text(with_resources(_BENCH, served), encoding="utf-8")
            with open_bench(read_bench_file(folder / "bench.yaml"), BenchRequest(ports=(4, 3))) as bench:
                yield lab, bench, served["daq"]


def _timed(owner: Any, name: str, spent: dict[str, float], part: str) -> None:
    """Count the time of a method under a part."""
    method = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*arguments, **named)
        finally:
            spent[part] = spent.get(part, 0.0) + time.perf_counter() - began

    setattr(owner, name, wrapped)


def bare_client(resource: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return the bare calls of one record with kept tasks, and how to close them."""
    import grpc
    import nidaqmx
    import numpy as np
    from nidaqmx.constants import AcquisitionType, RegenerationMode
    from nidaqmx.stream_readers import AnalogMultiChannelReader
    from nidaqmx.stream_writers import AnalogMultiChannelWriter

    address, device = resource.removeprefix("grpc://").split("/")
    options = nidaqmx.GrpcSessionOptions(grpc.insecure_channel(address), "")
    n, rate = _SAMPLES * _PERIODS, 100.0 * _SAMPLES
    output, reading = nidaqmx.Task(grpc_options=options), nidaqmx.Task(grpc_options=options)
    output.ao_channels.add_ao_voltage_chan(f"{device}/ao0:13")
    output.timing.cfg_samp_clk_timing(rate, sample_mode=AcquisitionType.FINITE, samps_per_chan=n + 1)
    output.out_stream.regen_mode = RegenerationMode.DONT_ALLOW_REGENERATION
    reading.ai_channels.add_ai_voltage_chan(f"{device}/ai0:15")
    reading.timing.cfg_samp_clk_timing(rate, sample_mode=AcquisitionType.FINITE, samps_per_chan=n)
    reading.triggers.start_trigger.cfg_dig_edge_start_trig(f"/{device}/ao/StartTrigger")
    writer, reader = AnalogMultiChannelWriter(output.out_stream), AnalogMultiChannelReader(reading.in_stream)
    writer.verify_array_shape = reader.verify_array_shape = False
    volts, samples = np.zeros((14, n + 1)), np.empty((16, n))

    def record() -> None:
        writer.write_many_sample(volts)
        reading.start()
        output.start()
        reader.read_many_sample(samples, n)
        output.wait_until_done()
        reading.stop()
        output.stop()

    def close() -> None:
        reading.close()
        output.close()

    return record, close


def grpc_rows(*, quick: bool) -> list[Row]:
    """Return the parts of a step over gRPC, and the ratio to the bare client in the same run."""
    import numpy as np

    from freqprop_lab.bench import _bench
    from freqprop_lab.rules import Example, FrequencyPropagation
    from freqprop_lab.tasks import Objective, Squared
    from freqprop_lab.waveform import Sine

    count = 5 if quick else 40
    spent: dict[str, float] = {}
    ours, bare = [], []
    with _lab() as (_, bench, resource):
        rng = np.random.default_rng(0)
        example = Example(rng.uniform(0, 1, 4), Objective(Squared(), np.zeros(3), 1.0))
        for wiring in bench._sources:
            for name, part in (("load", "drive"), ("start", "record and transfer"), ("stop", "record and transfer")):
                _timed(wiring.source, name, spent, part)
        for wiring in bench._meters:
            for name in ("arm", "read"):
                _timed(wiring.meter, name, spent, "record and transfer")
        _timed(_bench, "demodulate", spent, "lock-in")
        _timed(_bench, "_average", spent, "lock-in")
        rule = FrequencyPropagation(bench.network, 1e-3, 1e-3, Sine())
        rule._product = lambda _free, nudged: nudged.b[:0]  # type: ignore[method-assign]  # nothing is tunable here

        def step() -> None:
            process = rule.process(example)
            request = next(process)
            request = process.send(bench.respond(request.drive))
            try:
                process.send(bench.respond(request.drive))
            except StopIteration:
                return

        step()
        spent.clear()
        for _ in range(count):
            began = time.perf_counter()
            step()
            ours.append(time.perf_counter() - began)
        parts = {part: total / count * 1e3 for part, total in spent.items()}
        bench.make_safe()
    with _lab() as (_, bench, resource):
        bench.close()  # its tasks give the card free for the bare client
        record, close = bare_client(resource)
        record()
        for _ in range(count):
            began = time.perf_counter()
            record()
            record()
            bare.append(time.perf_counter() - began)
        close()
    whole, client = _median(ours) * 1e3, _median(bare) * 1e3
    title = "NI-DAQmx over gRPC, 14 outputs, 16 inputs x 1000 samples, two records a step"
    listed = [Row(f"{title}: {part}", f"{parts[part]:.1f} ms (mean)", COMMAND) for part in sorted(parts)]
    listed.append(Row(f"{title}: whole step (median)", f"{whole:.1f} ms", COMMAND))
    listed.append(Row(f"{title}: the bare client's calls (median)", f"{client:.1f} ms", COMMAND))
    listed.append(Row(f"{title}: ratio", f"{whole / client:.2f}x", COMMAND))
    return listed


_DIVIDER = """\
name,plus,minus,kind,value
R1,n1,n2,tunable,5 kOhm
R2,n2,n3,tunable,5 kOhm
R3,n3,n4,tunable,5 kOhm
R4,n4,ground,resistor,2 kOhm
"""
_SCPI_BENCH = """\
bench: wired
network: {kind: csv, file: network.csv, inputs: [[n1]], outputs: [[n3]]}
nudge: {source: resistor, resistance: 1 kOhm}
sampling: {frequency: 1 kHz, samples_per_period: 25, periods: 8}
instruments:
  gen: {driver: keysight-33500b, resource: x, visa: "@py"}
  scope: {driver: rigol-scope, resource: x, visa: "@py", range: 2 V, bits: 16}
  board: {driver: resistor-board, resource: "socket://127.0.0.1:0"}
wiring:
  drives: {n1: gen/ch1, n3: gen/ch2}
  reads: {n1: scope/chan1, n2: scope/chan2, n3: scope/chan3, n4: scope/chan4}
  tunes: {R1: board/0, R2: board/1, R3: board/2}
triggers: [[gen, scope]]
"""


class _Noted(list[bytes]):
    """Messages as a device gets them, noted in one list for all devices."""

    def __init__(self, name: str, notes: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self._name, self._notes = name, notes

    def append(self, message: bytes) -> None:
        self._notes.append((self._name, message))
        super().append(message)


@contextmanager
def _scpi_lab() -> Iterator[tuple[Any, Any, dict[str, str]]]:
    from freqprop_lab.bench import open_bench
    from freqprop_lab.config import BenchRequest, read_bench_file
    from simulated_bench.lab import VirtualLab
    from simulated_bench.serve import with_resources
    from simulated_bench.servers.registry import FACTORIES

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "network.csv").write_text(_DIVIDER, encoding="utf-8")
        (folder / "bench.yaml").write_text(_SCPI_BENCH, encoding="utf-8")
        with VirtualLab(read_bench_file(folder / "bench.yaml"), FACTORIES) as lab:
            served = {instrument: listed[0] for instrument, listed in lab.start().items()}
            (folder / "bench.yaml").write_text(with_resources(_SCPI_BENCH, served), encoding="utf-8")
            with open_bench(read_bench_file(folder / "bench.yaml"), BenchRequest(ports=(1, 1))) as bench:
                yield lab, bench, served


def scpi_rows(*, quick: bool) -> list[Row]:
    """Return a record through generator and oscilloscope, and PyVISA's own time for the very same messages."""
    import numpy as np
    import pyvisa

    from freqprop_lab.values import Drive, Nudge
    from freqprop_lab.waveform import Sine

    count = 5 if quick else 40
    notes: list[tuple[str, bytes]] = []
    ours, bare = [], []
    with _scpi_lab() as (lab, bench, served):
        bench.program(np.full(3, 2e-4))
        drive = Drive(np.array([1.0]), Nudge(np.array([1e-4]), Sine()))
        bench.measure(drive)
        for name in ("gen", "scope"):
            lab.instruments[name].received = _Noted(name, notes)
        bench.measure(drive)
        manager = pyvisa.ResourceManager("@py")
        opened = {name: manager.open_resource(served[name]) for name in ("gen", "scope")}
        messages = list(notes)
        for _ in range(count):
            began = time.perf_counter()
            bench.measure(drive)
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            for name, message in messages:
                opened[name].write_raw(message)
                if b"?" in message.split(b"#")[0]:
                    opened[name].read_raw()
            bare.append(time.perf_counter() - began)
        for resource in opened.values():
            resource.close()
    whole, client = _median(ours) * 1e3, _median(bare) * 1e3
    title = (
        f"SCPI over HiSLIP, generator and 4-channel oscilloscope, one record of 200 samples ({len(messages)} messages)"
    )
    return [
        Row(f"{title}: our drivers (median)", f"{whole:.1f} ms", COMMAND),
        Row(f"{title}: PyVISA alone, the same messages (median)", f"{client:.1f} ms", COMMAND),
        Row(f"{title}: ratio, median of pairs", f"{_ratio(ours, bare):.2f}x", COMMAND),
    ]


def serial_rows(*, quick: bool) -> list[Row]:
    """Return programming three elements with read-back, and pyserial's own time for the same bytes."""
    import numpy as np
    import serial

    count = 20 if quick else 200
    with _scpi_lab() as (_, bench, served):
        board = bench._resistors[0].resistor
        rng = np.random.default_rng(0)
        wishes = rng.uniform(1.2e-4, 1e-3, (count, 3))
        board.program(wishes[0])
        sent: list[bytes] = []
        port = board._link._port
        write = port.write

        def noted(data: bytes) -> int:
            sent.append(bytes(data))
            return int(write(data))

        port.write = noted
        board.program(wishes[0])
        port.write = write
        ours = []
        for wish in wishes:
            began = time.perf_counter()
            board.program(wish)
            ours.append(time.perf_counter() - began)
        bench.close()
        bare = []
        with serial.serial_for_url(served["board"], timeout=0.5) as line:
            line.write(sent[0])
            line.read_until(b"\0")
            for _ in range(count):
                began = time.perf_counter()
                for frame in sent:
                    line.write(frame)
                    line.read_until(b"\0")
                bare.append(time.perf_counter() - began)
    title = f"resistor board over a socket, three elements set and read back ({len(sent)} frames)"
    return [
        Row(f"{title}: our driver (median)", f"{_median(ours) * 1e3:.2f} ms", COMMAND),
        Row(f"{title}: pyserial alone, the same frames (median)", f"{_median(bare) * 1e3:.2f} ms", COMMAND),
        Row(f"{title}: ratio", f"{_median(ours) / _median(bare):.2f}x", COMMAND),
    ]


def _ratio(ours: list[float], bare: list[float]) -> float:
    return _median([our / other for our, other in zip(ours, bare, strict=True)])


def rows(*, quick: bool = False) -> list[Row]:
    """Return the rows of every path."""
    return [*grpc_rows(quick=quick), *scpi_rows(quick=quick), *serial_rows(quick=quick)]


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:120} {row.figure}")
