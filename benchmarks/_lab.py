"""A virtual lab with a bench on it, and one training step: what loop.py times and wire_trace.py records."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def served(
    files: Mapping[str, str], served_text: str, bench_text: str = "", prepare: Callable[[Any], None] | None = None
) -> Iterator[tuple[Any, Any, dict[str, str]]]:
    """Serve a bench file and open it; yield the lab, the bench, and the resource of each instrument.

    files: what lies beside the bench file, by name. bench_text: what is opened, if it isn't what is served.
    prepare: called with the lab before anything listens.
    """
    from freqprop_lab.bench import open_bench
    from freqprop_lab.config import read_bench_file
    from simulated_bench.lab import VirtualLab
    from simulated_bench.serve import with_resources
    from simulated_bench.servers.registry import FACTORIES

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
        path = folder / "bench.yaml"
        path.write_text(served_text, encoding="utf-8")
        with VirtualLab(read_bench_file(path), FACTORIES) as lab:
            if prepare is not None:
                prepare(lab)
            resources = {instrument: listed[0] for instrument, listed in lab.start().items()}
            path.write_text(with_resources(bench_text or served_text, resources), encoding="utf-8")
            with open_bench(read_bench_file(path)) as bench:
                yield lab, bench, resources


@contextmanager
def elsewhere(files: Mapping[str, str], text: str) -> Iterator[Any]:
    """Serve a bench file from a process of its own, by `freqprop bench serve`; yield the bench."""
    from freqprop_lab.bench import open_bench
    from freqprop_lab.config import read_bench_file

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in {**files, "lab.yaml": text}.items():
            (folder / file).write_text(content, encoding="utf-8")
        main = "from freqprop_lab.cli import main; main()"
        command = [sys.executable, "-c", main, "bench", "serve", "lab.yaml", "--json", "--write", "bench.yaml"]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                server.stdout.readline()  # once everything listens
                with open_bench(read_bench_file(folder / "bench.yaml")) as bench:
                    yield bench
            finally:
                server.terminate()


def training_step(bench: Any, wished: Any, levels: Any, targets: Any, alpha: float, gamma: float) -> Callable[[], None]:
    """Return one freq-prop step as the trainer makes it; each call is the next step. Units: S, V, V, S/V^2, S."""
    import numpy as np

    from freqprop_lab.rules import Example, FrequencyPropagation
    from freqprop_lab.tasks import Objective, Squared
    from freqprop_lab.waveform import Sine

    example = Example(np.asarray(levels), Objective(Squared(), np.asarray(targets), 1.0))
    rule = FrequencyPropagation(bench.network, alpha, gamma, Sine())
    lowest, highest = bench.conductance_limits()
    held = np.asarray(wished)

    def step() -> None:
        nonlocal held
        process = rule.process(example)
        request = next(process)
        try:
            while True:
                request = process.send(bench.respond(request.drive))
        except StopIteration as end:
            held = np.clip(held + end.value.delta, lowest, highest)
        bench.program(held)

    return step


DIVIDER = """\
name,plus,minus,kind,value
R1,n1,n2,tunable,5 kOhm
R2,n2,n3,tunable,5 kOhm
R3,n3,n4,tunable,5 kOhm
R4,n4,ground,resistor,2 kOhm
"""

SCPI_BENCH = """\
bench: wired
network: {kind: csv, file: network.csv, inputs: [[n1]], outputs: [[n3]]}
nudge: {source: resistor, resistance: 1 kOhm}
sampling: {frequency: 1 kHz, samples_per_period: 25, periods: 8}
instruments:
  gen: {driver: keysight-33500b, resource: x, visa: "@py"}
  scope: {driver: rigol-scope, resource: x, visa: "@py", range: 2 V, bits: 16}
  board: {driver: resistor-board, resource: "socket://127.0.0.1:0", keep_alive: 60 s}
wiring:
  drives: {n1: gen/ch1, n3: gen/ch2}
  reads: {n1: scope/chan1, n2: scope/chan2, n3: scope/chan3, n4: scope/chan4}
  tunes: {R1: board/0, R2: board/1, R3: board/2}
triggers: [[gen, scope]]
"""
