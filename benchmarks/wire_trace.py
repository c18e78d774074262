"""What goes over the wire in one training step, by driver: python benchmarks/wire_trace.py [NAME ...] [--write].

NAME: nidaqmx, scpi, scpi-generic, resistor-board, memristor-board; all of them if none is named. The real driver talks
to its virtual instrument, and what is shown is what the instrument's end of the wire got and gave. It is the second
step of a run: rates and lengths are set already. --write: make the page docs/traces.md anew.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _lab import DIVIDER, SCPI_BENCH, served, training_step

PAGE = Path(__file__).parent.parent / "docs" / "traces.md"
_HEAD = """\
# A training step on the wire

Freq-prop takes two records a step, the free and the nudged one, and then programs. This is what went over the wire
meanwhile, recorded at the virtual instruments by `python benchmarks/wire_trace.py --write`; the bench is a divider of
one input, one output and four nodes. It is the second step of a run: rates and lengths are set already. No hardware of
any make was touched. `>` goes to the instrument, `<` comes from it.
"""
_ABOUT = {
    "nidaqmx": """\
Calls of the driver [nidaqmx](how-to/ni-daq.md), with the task that each is about. The inputs wait (StartTask ai) before
the outputs start, in either record.""",
    "scpi": """\
[keysight-33500b and rigol-scope](how-to/scpi.md), a wire from the generator's trigger output to the oscilloscope. `ok`:
the error queue was asked (SYST:ERR?) and had nothing. The first nudge is zero; the second is 0.42 V at ch2.""",
    "scpi-generic": """\
[scpi-generic](how-to/scpi.md) with a template of a plain supply, which holds the input's level at ch1 of a generator
while another one nudges.""",
    "resistor-board": """\
[resistor-board](how-to/resistor-board.md): the new codes, and those that the chips then hold. Behind each frame its
sequence number and what it says.""",
    "memristor-board": """\
[memristor-board](how-to/memristors.md): a read, then pulse and read until each element is near enough, and disconnect.
The simulated devices are drawn at random, with a fixed seed.""",
}
_WIDTH = 118
_FRAME = 48  # characters of most frames

_GENERIC_BENCH = """\
bench: wired
network: {kind: csv, file: network.csv, inputs: [[n1]], outputs: [[n3]]}
nudge: {source: resistor, resistance: 1 kOhm}
sampling: {frequency: 1 kHz, samples_per_period: 25, periods: 8}
instruments:
  supply: {driver: DRIVER}
  gen: {driver: keysight-33500b, resource: x, visa: "@py"}
  scope: {driver: rigol-scope, resource: x, visa: "@py", range: 2 V, bits: 16}
  board: {driver: resistor-board, resource: "socket://127.0.0.1:0", keep_alive: 60 s}
wiring:
  drives: {n1: supply/ch1, n3: gen/ch1}
  reads: {n1: scope/chan1, n2: scope/chan2, n3: scope/chan3, n4: scope/chan4}
  tunes: {R1: board/0, R2: board/1, R3: board/2}
triggers: [[gen, scope], [gen, supply]]
"""
_TEMPLATE = """\
role: source
expect: 33522B
channels: {ch1: "1"}
limits: {lowest: -5 V, highest: 5 V, sample_rate: 1 MHz}
setup: ["OUTP{channel}:LOAD INF", "SOUR{channel}:FUNC DC"]
safe: ["OUTP{channel} OFF"]
level: ["SOUR{channel}:VOLT:OFFS {level}", "OUTP{channel} ON"]
"""

_MEMRISTOR_BENCH = """\
bench: wired
network: {kind: csv, file: network.csv, inputs: [[n1]], outputs: [[n3]]}
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


def traces() -> dict[str, list[str]]:
    """Record a training step with every driver: the lines of each trace, by name."""
    return {**_with_scpi(), "scpi-generic": _with_a_template(), **_with_card_and_memristors()}


def _with_scpi() -> dict[str, list[str]]:
    scpi: list[tuple[str, str, bytes]] = []
    frames: list[tuple[str, str, bytes]] = []
    with served({"network.csv": DIVIDER}, SCPI_BENCH) as (lab, bench, _):
        step = training_step(bench, [2e-4, 3e-4, 4e-4], [1.5], [0.6], 5e-4, 1e-3)
        step()
        for name in ("gen", "scope"):
            _note_messages(lab.instruments[name], name, scpi)
        _note_frames(lab.instruments["board"], bench, frames)
        step()
        # Taken here, since closing the bench says more.
        return {"scpi": _messages(scpi), "resistor-board": list(_frames(frames, _of_board))}


def _with_a_template() -> list[str]:
    files = {"network.csv": DIVIDER, "supply.yaml": _TEMPLATE}
    real = _GENERIC_BENCH.replace("DRIVER", 'keysight-33500b, resource: x, visa: "@py"')
    opened = _GENERIC_BENCH.replace("DRIVER", 'scpi-generic, resource: x, visa: "@py", template: supply.yaml')
    notes: list[tuple[str, str, bytes]] = []
    with served(files, real, opened) as (lab, bench, _):
        step = training_step(bench, [2e-4, 3e-4, 4e-4], [1.5], [0.6], 5e-4, 1e-3)
        step()
        _note_messages(lab.instruments["supply"], "supply", notes)
        step()
        return _messages(notes)


def _with_card_and_memristors() -> dict[str, list[str]]:
    network = DIVIDER.replace("5 kOhm", "100 kOhm").replace("2 kOhm", "50 kOhm")
    calls: list[str] = []
    frames: list[tuple[str, str, bytes]] = []
    with served(
        {"network.csv": network}, _MEMRISTOR_BENCH, prepare=lambda lab: _note_calls(lab.instruments["daq"], calls)
    ) as (lab, bench, _):
        bench.program([5e-6, 5e-6, 5e-6])
        step = training_step(bench, [6e-6, 6e-6, 6e-6], [0.03], [0.012], 0.04, 1e-5)
        step()
        calls.clear()
        _note_frames(lab.instruments["crossbar"], bench, frames)
        step()
        return {"nidaqmx": list(calls), "memristor-board": list(_frames(frames, _of_memristors))}


def _note_calls(server: Any, calls: list[str]) -> None:
    """Note every call that a virtual card answers, with what matters of its request and its answer."""
    answers = server._answers

    def noting(rpc: str, answer: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
        def noted(request: Any) -> dict[str, Any]:
            fields = answer(request)
            task = server._kind(request)
            told = ""
            if rpc == "WriteAnalogF64":
                n_samples = request.num_samps_per_chan
                told = f"{len(request.write_array) // n_samples} channels x {n_samples} samples"
            elif rpc == "ReadAnalogF64":
                n_samples = fields["samps_per_chan_read"]
                told = f"{len(fields['read_array']) // n_samples} channels x {n_samples} samples"
            elif rpc == "IsTaskDone":
                told = "yes" if fields["is_task_done"] else "no"
            elif rpc == "TaskControl":
                told = ("start", "stop", "verify", "commit", "reserve", "unreserve", "abort")[
                    request.action_raw or request.action
                ]
            calls.append(f"{rpc:16}{task:5}{told}".rstrip())
            return fields

        return noted

    server._answers = lambda: {rpc: noting(rpc, answer) for rpc, answer in answers().items()}


def _note_messages(device: Any, name: str, notes: list[tuple[str, str, bytes]]) -> None:
    execute = device.execute

    def noted(message: bytes) -> bytes | None:
        reply: bytes | None = execute(message)
        notes.append((name, ">", message))
        if reply is not None:
            notes.append((name, "<", reply))
        return reply

    device.execute = noted


def _messages(notes: list[tuple[str, str, bytes]]) -> list[str]:
    """Show messages and answers; an error queue that was asked and empty is the word ok behind what came before."""
    lines: list[str] = []
    queue = False
    for name, way, data in notes:
        text = _block(data)
        if way == ">" and re.fullmatch(r":?SYST:ERR\?", text, re.IGNORECASE):
            queue = True
            continue
        if way == "<" and queue and re.match(r"\+?0,", text):
            lines[-1] += "   ok"
        else:
            lines += _folded(f"{name:7}{way} ", text)
        queue = False
    return lines


def _block(data: bytes) -> str:
    """Return a message as text, with how long a block is instead of what it holds."""
    found = re.search(rb"#([1-9])", data)
    if found is None:
        return data.decode("latin-1")
    head = data[: found.end() + int(found[1])]
    return f"{head.decode('latin-1')}<{int(head[found.end() :])} bytes>"


def _folded(start: str, text: str) -> Iterator[str]:
    """Fold a long message at its semicolons."""
    line = start
    for number, part in enumerate(re.split(r"(?<=;)", text)):
        if number and len(line + part) > _WIDTH:
            yield line
            line = " " * len(start)
        line += part
    yield line


def _note_frames(board: Any, bench: Any, frames: list[tuple[str, str, bytes]]) -> None:
    """Note what comes and goes on a board's line; its driver counts its requests from 1 again."""
    bench._resistors[0].resistor._link._seq = 0
    line = board._line
    heard, reply = line._heard, line.reply
    waiting = bytearray()

    def hearing(data: bytes) -> None:
        waiting.extend(data)
        while 0 in waiting:
            end = waiting.index(0) + 1
            frames.append(("", ">", bytes(waiting[:end])))
            del waiting[:end]
        heard(data)

    def replying(frame: bytes) -> None:
        frames.append(("", "<", frame))
        reply(frame)

    line._heard, line.reply = hearing, replying


def _frames(notes: list[tuple[str, str, bytes]], words: Callable[[int, bytes], str]) -> Iterator[str]:
    """Show each frame's bytes, its sequence number, and what it says."""
    from drivers.resistor_board._frames import cobs_decode

    for _, way, frame in notes:
        body = cobs_decode(frame[:-1])[:-2]
        op, seq, payload = body[0], body[1], body[2:]
        yield f"{way} {frame.hex(' ').upper():{_FRAME}} {seq:3} {words(op, payload)}"


def _of_board(op: int, payload: bytes) -> str:
    if op == 3:
        base, n = struct.unpack_from(">HB", payload)
        codes = struct.unpack_from(f">{n}H", payload, 3)
        return f"SETN from channel {base}: codes {', '.join(map(str, codes))}"
    if op == 5:
        return "GETN from channel {}: {} codes".format(*struct.unpack(">HB", payload))
    if op == 0x83:
        return "OK, {} set".format(*struct.unpack(">H", payload[1:])) if payload[0] == 0 else f"status {payload[0]}"
    if op == 0x85:
        codes = struct.unpack(f">{len(payload) // 2}H", payload[1:])
        return f"OK, codes {', '.join(map(str, codes))}"
    raise ValueError(f"op {op} in a training step")


def _of_memristors(op: int, payload: bytes) -> str:
    if op == 0x21:
        element, millivolts, width = struct.unpack(">HhH", payload)
        return f"PULSE element {element}: {millivolts / 1000:+.3f} V, {width} us"
    if op == 0x22:
        element, millivolts = struct.unpack(">HH", payload)
        return f"READ element {element} at {millivolts / 1000:.3f} V"
    if op == 0x23:
        return "SAFE"
    if op == 0xA1:
        return "OK, pulse number {} of this element".format(*struct.unpack(">I", payload[1:]))
    if op == 0xA2:
        return f"OK, {struct.unpack('>I', payload[1:])[0] / 1000:.3f} uS"
    if op == 0xA3:
        return "OK, disconnected"
    raise ValueError(f"op {op} in a training step")


def page() -> str:
    """Return the page with all traces."""
    recorded = traces()
    blocks = [f"## {name}\n\n{_ABOUT[name]}\n\n```text\n{chr(10).join(recorded[name])}\n```\n" for name in _ABOUT]
    return "\n".join([_HEAD, *blocks])


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
        print(f"wrote {PAGE}")
    else:
        wanted = [argument for argument in sys.argv[1:] if argument in _ABOUT] or list(_ABOUT)
        for name, lines in traces().items():
            if name in wanted:
                print(f"{name}:", *lines, "", sep="\n")
