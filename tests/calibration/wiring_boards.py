"""A small board for `wiring`, its bench, and how records of it are taken."""

from __future__ import annotations

from pathlib import Path

from calibration.procedure import Taken
from calibration.procedures.wiring import Wiring
from calibration.running import run_procedure
from calibration.subject import subject_of
from calibration.wiring import Observed, Outcome, measurements, observed_of
from freqprop_lab.bench import open_bench
from freqprop_lab.config import check_bench, parse_yaml

# Eight nodes in a ring with chords, sources at n1, n4 and n6, two ways to ground. No two nodes are alike.
BOARD = """\
name,plus,minus,kind,value,lowest,highest
R1,n1,n2,tunable,10 kOhm,1 kOhm,100 kOhm
R2,n2,n3,tunable,10 kOhm,1 kOhm,100 kOhm
R3,n3,n4,tunable,10 kOhm,1 kOhm,100 kOhm
R4,n4,n5,tunable,10 kOhm,1 kOhm,100 kOhm
R5,n5,n6,tunable,10 kOhm,1 kOhm,100 kOhm
R6,n6,n7,tunable,10 kOhm,1 kOhm,100 kOhm
R7,n7,n8,tunable,10 kOhm,1 kOhm,100 kOhm
R8,n8,n1,tunable,10 kOhm,1 kOhm,100 kOhm
R9,n2,n5,resistor,4.7 kOhm,,
R10,n3,n7,resistor,22 kOhm,,
R11,n1,n5,resistor,10 kOhm,,
R12,n2,n8,resistor,10 kOhm,,
G1,n3,ground,resistor,10 kOhm,,
G2,n8,ground,resistor,22 kOhm,,
"""
BENCH = """\
bench: numeric
hardware_seed: {seed}
network: {{kind: csv, file: {file}, inputs: {ports}, outputs: [[n6]]}}
scales: {{conductance: 0.1 mS}}
inputs: {inputs}
nudge: {nudge}
sampling: {{frequency: 100 Hz, samples_per_period: 20, periods: 5}}
source: {{gain_error: 2 %, offset: 5 mV}}
meter: {{gain_error: 2 %, offset: 5 mV, noise: 1 mV, hidden_skew: 0.5 ms}}
resistors: {resistors}
parts: {{tolerance: 5 %, source_resistance_tolerance: 1 %}}
faults: {faults}
calibration:
  assume: {{meter_offset: 5 mV, source_offset: 5 mV, tunable: 3 %, fixed: 5 %}}
"""
BEHIND = "{source: resistor, resistance: 1 kOhm}"
RESISTORS = "tolerance: 2.5 %, nonlinearity: 1 %"


def opened(
    folder: Path, faults="", *, seed=0, board=BOARD, inputs=BEHIND, nudge=BEHIND, stuck="", ports="[[n1], [n4]]"
):
    (folder / "board.csv").write_text(board)
    text = BENCH.format(
        seed=seed,
        file=folder / "board.csv",
        inputs=inputs,
        ports=ports,
        nudge=nudge,
        faults=f"{{{faults}}}",
        resistors=f"{{{RESISTORS}{stuck}}}",
    )
    return open_bench(check_bench(parse_yaml(text, folder / "bench.yaml"), folder))


def found(bench, **options):
    return run_procedure(bench, Wiring(**options))


def named(findings):
    return sorted((fault.kind, *fault.where) for fault in Outcome.of(findings.outcome).faults)


def take(bench, wanted):
    if wanted.conductances is not None:
        bench.program(wanted.conductances)
    return Taken(bench.measure_channels(wanted.drive, wanted.n_periods), bench.conductances.copy(), 100.0)


def observe(bench) -> Observed:
    subject = subject_of(bench)
    listed = measurements(subject, 1.0, 50)
    return observed_of(subject, listed, [take(bench, one) for one in listed])


def fed(subject, record_of):
    """Run the procedure on records that come from elsewhere than the bench it believes in."""
    process = Wiring().process(subject)
    wanted = next(process)
    try:
        while True:
            wanted = process.send(record_of(wanted))
    except StopIteration as end:
        return end.value
