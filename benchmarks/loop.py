"""Time of one training step by part, through real wire protocols, beside the bare client: python benchmarks/loop.py.

The servers are the virtual lab's, in this process (those of the serial rows in others); no hardware is touched. The
bare client makes the calls, or sends the messages, that a script without this project would for the same step: what the
ratio says is what our drivers, bench, lock-in and rule add. Steps of both are taken in turns, and the ratio is the
median over the pairs. The Python twin of the board has no line time; the firmware in its simulator has, at 500 kbaud.

A step is two records, free and nudged, and the programming of every tunable branch. Its parts:
drive     load the sources, arm the meters, start, stop
settle    the circuit's answer to the samples that are dropped while voltages settle
record    the circuit's answer to those that are kept
transfer  fetch the samples, less the two above
lock-in   a, b and their standard errors from the samples
rule      the gradient of the cost, the nudge, the update
program   set the tunable elements and read them back
rest      what the bench does between all these
The virtual lab doesn't wait for its signals: on a table settle and record take the length of the signal, which the
claim tells. Both come from one computation at the server, and are divided by their numbers of samples.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

from _campaign import Row
from _lab import DIVIDER, SCPI_BENCH, elsewhere, served, training_step

COMMAND = "python benchmarks/loop.py"
_PARTS = ("drive", "settle", "record", "transfer", "lock-in", "rule", "program", "rest")
_PER_PERIOD, _PERIODS, _SETTLING = 50, 18, 2  # 1000 samples a record, 100 of them dropped
_N_ELEMENTS = 32


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


class _Clock:
    """Counts seconds under the part that is under way; what a server computes meanwhile is counted apart."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys((*_PARTS, "samples"), 0.0)
        self._part = "rest"

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Count a method of the client under a part, and not under the part that it is called from."""
        method = getattr(owner, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            before, began, elsewhere = self._part, time.perf_counter(), sum(self.spent.values())
            self._part = part
            try:
                return method(*arguments, **named)
            finally:
                self._part = before
                self.spent[part] += time.perf_counter() - began - (sum(self.spent.values()) - elsewhere)

        setattr(owner, name, watched)

    def watch_world(self, world: Any) -> None:
        """Count the making of samples, which happens in a server's thread while the client waits."""
        volts = world.volts

        def watched(nodes: Any, times: Any) -> Any:
            began = time.perf_counter()
            try:
                return volts(nodes, times)
            finally:
                self.spent["samples"] += time.perf_counter() - began

        world.volts = watched


def _watched_step(lab: Any, bench: Any, step: Callable[[], None], dropped: float) -> tuple[_Clock, Callable[[], float]]:
    """Return a clock, and what makes one step and returns its seconds. dropped: share of the samples."""
    clock = _Clock()
    for wiring in bench._sources:
        for name in ("load", "start", "stop"):
            clock.watch(wiring.source, name, "drive")
    for wiring in bench._meters:
        clock.watch(wiring.meter, "arm", "drive")
        clock.watch(wiring.meter, "read", "transfer")
    clock.watch(bench, "measure", "rest")
    clock.watch(bench, "respond", "lock-in")  # respond is measure and the lock-in
    clock.watch(bench, "program", "program")
    clock.watch_world(lab.world)
    holder = SimpleNamespace(run=step)
    clock.watch(holder, "run", "rule")  # what is left of a step is the rule

    def run() -> float:
        began = time.perf_counter()
        holder.run()
        whole = time.perf_counter() - began
        made, clock.spent["samples"] = clock.spent["samples"], 0.0
        clock.spent["settle"] += made * dropped
        clock.spent["record"] += made * (1 - dropped)
        return whole

    return clock, run


def _rows(title: str, clock: _Clock, ours: list[float], bare: list[float]) -> list[Row]:
    spent = {part: clock.spent[part] / len(ours) * 1e3 for part in _PARTS}
    listed = [Row(f"{title}: {part}", f"{each:.2f} ms (mean)", COMMAND) for part, each in spent.items()]
    ratio = _median([our / other for our, other in zip(ours, bare, strict=True)])
    listed.append(Row(f"{title}: whole step (median)", f"{_median(ours) * 1e3:.1f} ms", COMMAND))
    listed.append(Row(f"{title}: the bare client's step (median)", f"{_median(bare) * 1e3:.1f} ms", COMMAND))
    listed.append(Row(f"{title}: ratio, median of pairs", f"{ratio:.2f}x", COMMAND))
    return listed


_DAQ_BENCH = f"""\
bench: wired
network:
  kind: csv
  file: network.csv
  inputs: [[n0, n1], [n2, n3], [n4, n5], [n6, n7]]
  outputs: [[n8, n9], [n10, n11], [n12, n13]]
nudge: {{source: resistor, resistance: 1 kOhm}}
sampling: {{frequency: 100 Hz, samples_per_period: {_PER_PERIOD}, periods: {_PERIODS}, settle: {10 * _SETTLING} ms}}
instruments:
  daq: {{driver: nidaqmx, resource: "grpc://127.0.0.1:0/Dev1"}}
  board: {{driver: resistor-board, resource: "socket://127.0.0.1:0", keep_alive: 60 s}}
wiring:
  drives: {{{", ".join(f"n{i}: daq/ao{i}" for i in range(14))}}}
  reads: {{{", ".join(f"n{i}: daq/ai{i}" for i in range(16))}}}
  tunes: {{{", ".join(f"R{i + 1}: board/{i}" for i in range(_N_ELEMENTS))}}}
"""


def _network() -> str:
    return (files("freqprop_lab") / "data" / "templates" / "virtual-lab-network.csv").read_text(encoding="utf-8")


def _card() -> Any:
    return served({"network.csv": _network()}, _DAQ_BENCH)


@contextmanager
def _bare_card(resource: str) -> Iterator[Callable[[], None]]:
    """Yield the bare calls of a step's two records, with kept tasks."""
    import grpc
    import nidaqmx
    import numpy as np
    from nidaqmx.constants import AcquisitionType, RegenerationMode
    from nidaqmx.stream_readers import AnalogMultiChannelReader
    from nidaqmx.stream_writers import AnalogMultiChannelWriter

    address, device = resource.removeprefix("grpc://").split("/")
    n, rate = _PER_PERIOD * (_PERIODS + _SETTLING), 100.0 * _PER_PERIOD
    with grpc.insecure_channel(address) as channel:
        options = nidaqmx.GrpcSessionOptions(channel, "")
        with nidaqmx.Task(grpc_options=options) as output, nidaqmx.Task(grpc_options=options) as reading:
            output.ao_channels.add_ao_voltage_chan(f"{device}/ao0:13")
            output.timing.cfg_samp_clk_timing(rate, sample_mode=AcquisitionType.FINITE, samps_per_chan=n + 1)
            output.out_stream.regen_mode = RegenerationMode.DONT_ALLOW_REGENERATION
            reading.ai_channels.add_ai_voltage_chan(f"{device}/ai0:15")
            reading.timing.cfg_samp_clk_timing(rate, sample_mode=AcquisitionType.FINITE, samps_per_chan=n)
            reading.triggers.start_trigger.cfg_dig_edge_start_trig(f"/{device}/ao/StartTrigger")
            writer, reader = AnalogMultiChannelWriter(output.out_stream), AnalogMultiChannelReader(reading.in_stream)
            writer.verify_array_shape = reader.verify_array_shape = False
            # The free record and the nudged one, so that the circuit has as much to answer as in our step.
            free, samples = np.full((14, n + 1), 0.1), np.empty((16, n))
            nudged = free.copy()
            nudged[8:, :n] += 0.01 * np.sin(2 * np.pi * np.arange(n) / _PER_PERIOD)

            def record(volts: Any) -> None:
                writer.write_many_sample(volts)
                reading.start()
                output.start()
                reader.read_many_sample(samples, n)
                output.wait_until_done()
                reading.stop()
                output.stop()

            def both() -> None:
                record(free)
                record(nudged)

            yield both


def _frames_of(bench: Any, call: Callable[[], Any]) -> list[bytes]:
    """Return what a call sends to the board."""
    port, sent = bench._resistors[0].resistor._link._port, []
    write = port.write

    def noted(data: bytes) -> int:
        sent.append(bytes(data))
        return int(write(data))

    port.write = noted
    try:
        call()
    finally:
        port.write = write
    return sent


@contextmanager
def _bare_line(resource: str, sent: list[bytes]) -> Iterator[Callable[[], None]]:
    """Yield pyserial's calls for the same frames, on a board that was identified and has no keep-alive."""
    import serial

    from drivers.resistor_board._frames import Op, frame

    with serial.serial_for_url(resource, timeout=2.0) as line:

        def ask(request: bytes, length: int = 0) -> int:
            line.write(request)
            reply = line.read(length) if length else line.read_until(b"\0")  # the latter reads byte by byte
            if not reply.endswith(b"\0"):
                raise SystemExit("the board did not answer the bare client")
            return len(reply)

        ask(frame(Op.IDENT, 250))
        ask(frame(Op.ALIVE, 251, b"\0\0"))
        lengths = [ask(each) for each in sent]

        def send() -> None:
            for each, length in zip(sent, lengths, strict=True):
                ask(each, length)

        yield send


def grpc_rows(*, quick: bool) -> list[Row]:
    """Return the parts of a step through card and board, and the ratio to the bare clients in the same run."""
    import numpy as np

    count = 5 if quick else 60
    rng = np.random.default_rng(0)
    # Two labs: the card is either ours or the bare client's.
    with ExitStack() as stack:
        lab, bench, _ = stack.enter_context(_card())
        wished = bench.program(rng.uniform(2e-4, 1e-3, _N_ELEMENTS))
        step = training_step(bench, wished, rng.uniform(0, 1, 4), np.zeros(3), 1e-3, 1e-4)
        sent = _frames_of(bench, lambda: bench.program(wished))
        _, other, resources = stack.enter_context(_card())
        other.close()
        both_records = stack.enter_context(_bare_card(resources["daq"]))
        program = stack.enter_context(_bare_line(resources["board"], sent))

        def client() -> None:
            both_records()
            program()

        clock, ours, bare = _in_turns(lab, bench, step, client, _SETTLING / (_SETTLING + _PERIODS), count)
    signal = f"{20 * _SETTLING} ms of settling and {20 * _PERIODS} ms of record"
    title = (
        f"gRPC and serial: card of 14 outputs, 16 inputs x 1000 samples, two records a step ({signal} on a table), "
        f"board of {_N_ELEMENTS} elements"
    )
    return _rows(title, clock, ours, bare)


def _in_turns(
    lab: Any, bench: Any, step: Callable[[], None], client: Callable[[], None], dropped: float, count: int
) -> tuple[_Clock, list[float], list[float]]:
    """Make our step and the bare client's in turns; the first of each sets up what stays, and is not counted."""
    step()
    client()
    clock, run = _watched_step(lab, bench, step, dropped)
    ours, bare = [], []
    for _ in range(count):
        ours.append(run())
        began = time.perf_counter()
        client()
        bare.append(time.perf_counter() - began)
    bench.make_safe()
    return clock, ours, bare


class _Noted(list[bytes]):
    """Messages as a device gets them, noted in one list for all devices."""

    def __init__(self, name: str, notes: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self._name, self._notes = name, notes

    def append(self, message: bytes) -> None:
        self._notes.append((self._name, message))
        super().append(message)


def scpi_rows(*, quick: bool) -> list[Row]:
    """Return the parts of a step through generator, oscilloscope and board, and PyVISA's own time for its messages."""
    import pyvisa

    count = 5 if quick else 60
    periods, settling = 8, 1
    text = SCPI_BENCH.replace("periods: 8", f"periods: {periods}, settle: {settling} ms")
    notes: list[tuple[str, bytes]] = []
    with ExitStack() as stack:
        lab, bench, resources = stack.enter_context(served({"network.csv": DIVIDER}, text))
        _, other, others = stack.enter_context(served({"network.csv": DIVIDER}, text))
        other.close()
        step = training_step(bench, [2e-4, 3e-4, 4e-4], [1.5], [0.6], 1e-6, 1e-3)
        step()
        kept = {name: lab.instruments[name].received for name in ("gen", "scope")}
        for name in kept:
            lab.instruments[name].received = _Noted(name, notes)
        sent = _frames_of(bench, step)
        messages = list(notes)
        for name, received in kept.items():
            lab.instruments[name].received = received
        manager = pyvisa.ResourceManager("@py")
        opened = {name: stack.enter_context(manager.open_resource(resources[name])) for name in kept}
        program = stack.enter_context(_bare_line(others["board"], sent))

        def client() -> None:
            for name, message in messages:
                opened[name].write_raw(message)
                if b"?" in message.split(b"#")[0]:
                    opened[name].read_raw()
            program()

        clock, ours, bare = _in_turns(lab, bench, step, client, settling / (settling + periods), count)
    signal = f"{2 * settling} ms of settling and {2 * periods} ms of record"
    title = (
        f"SCPI over HiSLIP and serial: generator, 4-channel oscilloscope, two records of 225 samples a step "
        f"({len(messages)} messages; {signal} on a table), board of 3 elements"
    )
    return _rows(title, clock, ours, bare)


def serial_rows(*, quick: bool) -> list[Row]:
    """Return programming with read-back through the Python twin and the real firmware, beside pyserial's own time."""
    from simulated_bench.servers.firmware_board import missing

    rows = _board_rows("Python twin without line time", "python", 20 if quick else 200)
    if not missing():
        rows += _board_rows("real firmware in an AVR simulator, 500 kbaud", "firmware", 5 if quick else 50)
    return rows


def _board_rows(what: str, twin: str, count: int) -> list[Row]:
    import numpy as np

    text = _DAQ_BENCH + f"simulation: {{instruments: {{board: {{twin: {twin}}}}}}}\n"
    wishes = np.random.default_rng(0).uniform(1.2e-4, 1e-3, (count, _N_ELEMENTS))
    # Servers of their own processes: in ours they would wait for each other, and we for both.
    with elsewhere({"network.csv": _network()}, text) as bench, elsewhere({"network.csv": _network()}, text) as other:
        resource = str(other.settings.model.instruments["board"]["resource"])
        other.close()
        board = bench._resistors[0].resistor
        sent = _frames_of(bench, lambda: board.program(wishes[0]))
        with _bare_line(resource, sent) as bare_program:
            ours, bare = [], []
            for wish in wishes:
                began = time.perf_counter()
                board.program(wish)
                ours.append(time.perf_counter() - began)
                began = time.perf_counter()
                bare_program()
                bare.append(time.perf_counter() - began)
    title = f"resistor board over a socket, {what}, {_N_ELEMENTS} elements set and read back ({len(sent)} frames)"
    ratio = _median([our / other_one for our, other_one in zip(ours, bare, strict=True)])
    return [
        Row(f"{title}: our driver (median)", f"{_median(ours) * 1e3:.2f} ms", COMMAND),
        Row(f"{title}: pyserial alone, the same frames (median)", f"{_median(bare) * 1e3:.2f} ms", COMMAND),
        Row(f"{title}: ratio, median of pairs", f"{ratio:.2f}x", COMMAND),
    ]


def rows(*, quick: bool = False) -> list[Row]:
    """Return the rows of every path."""
    return [*grpc_rows(quick=quick), *scpi_rows(quick=quick), *serial_rows(quick=quick)]


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim[-150:]:150} {row.figure}")
