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


def rows(*, quick: bool = False) -> list[Row]:
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


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:120} {row.figure}")
