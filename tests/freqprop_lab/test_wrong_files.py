"""Files that are wrong: each is refused with its name, the line, the field, what is allowed and the nearest name.

Every case goes the way that the program goes: read the experiment, open the bench, hold one against the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freqprop_lab.config import FileError, parse_experiment, read_branches
from freqprop_lab.instruments import LimitError
from freqprop_lab.session import load_bench, load_experiment, prepare
from freqprop_lab.tasks import read_rows

SECONDS = 30.0  # of the processor's time: what is caught is quadratic, and takes minutes

XOR = "task: {kind: xor, inputs: {scale: 1}}\n"
CSV_TASK = "task:\n  kind: csv\n  file: t.csv\n  target: kind\n"
TABLE = "x,y,kind\n1,2,a\n2,1,a\n3,5,b\n4,4,b\n"
CSV_BENCH = "network:\n  kind: csv\n  file: n.csv\n  inputs: [[a], [b]]\n  outputs: [[c], [d]]\n"
HEAD = "plus,minus,kind,value\n"
BRANCHES = HEAD + "a,c,tunable,1 S\nb,c,tunable,1 S\na,d,tunable,1 S\nb,d,tunable,1 S\n"


class Case(NamedTuple):
    """Files by name, and what the message must hold; the first begins it, the folder's name left out."""

    name: str
    files: dict[str, str | bytes]
    wanted: tuple[str, ...]


def experiment(name: str, text: str | bytes, *wanted: str, **tables: str | bytes) -> Case:
    files: dict[str, str | bytes] = {"e.yaml": text}
    return Case(name, files | {f"{table}.csv": content for table, content in tables.items()}, wanted)


def bench(name: str, text: str | bytes, *wanted: str, network: str | bytes = BRANCHES) -> Case:
    return Case(name, {"e.yaml": XOR, "b.yaml": text, "n.csv": network}, wanted)


def table(name: str, content: str | bytes, *wanted: str, more: str = "") -> Case:
    return experiment(name, CSV_TASK + more, *wanted, t=content)


def branches(name: str, content: str | bytes, *wanted: str) -> Case:
    return bench(name, CSV_BENCH, *wanted, network=content)


NAMES = [
    experiment(
        "misspelt field",
        XOR + "epoch: 10\n",
        'e.yaml, line 2: unknown field "epoch". Did you mean "epochs"? Allowed here: name, bench, network, task',
    ),
    experiment(
        "misspelt nested field",
        XOR + "rule:\n  kind: freq-prop\n  alfa: 0.1\n",
        'e.yaml, line 4: in "rule": unknown field "alfa". Did you mean "alpha"? Allowed here: kind, alpha',
    ),
    experiment(
        "misspelt field in a section that is chosen by its kind",
        "task:\n  kind: iris\n  inputs:\n    scale: 5\n    encodng: plain\n",
        'e.yaml, line 5: in "task.inputs": unknown field "encodng". Did you mean "encoding"?',
    ),
    experiment(
        "misspelt field in an inline bench",
        XOR + "bench:\n  bench: numeric\n  meter:\n    nose: 1 mV\n",
        'e.yaml, line 5: in "bench.meter": unknown field "nose". Did you mean "noise"?',
    ),
    experiment(
        "misspelt field in a network",
        XOR + "network:\n  kind: barabasi-albert\n  nods: 20\n",
        'e.yaml, line 4: in "network": unknown field "nods". Did you mean "nodes"? Allowed here: inputs, outputs, kind',
    ),
    experiment(
        "unknown task kind",
        "task:\n  kind: irises\n",
        'e.yaml, line 2: field "task.kind" is "irises"; allowed: iris, xor, csv. Did you mean "iris"?',
    ),
    experiment("task kind missing", "task:\n  cost: squared\n", 'e.yaml, line 1: field "task.kind" is missing'),
    experiment("task missing", "epochs: 3\n", 'e.yaml, line 1: field "task" is missing.'),
    experiment(
        "column missing, line of the section",
        "epochs: 3\ntask:\n  kind: csv\n  file: t.csv\n",
        'e.yaml, line 2: field "task.target" is missing.',
    ),
    experiment(
        "wrong choice",
        XOR + "nudge:\n  loop: close\n",
        'e.yaml, line 3: field "nudge.loop" is "close"; allowed: open, closed, clamped. Did you mean "closed"?',
    ),
    experiment(
        "unknown rule",
        XOR + "rule: {kind: freqprop}\n",
        'e.yaml, line 2: field "rule.kind" is "freqprop"; allowed: freq-prop, adjoint, finite-differences. '
        'Did you mean "freq-prop"?',
    ),
    experiment(
        "unknown waveform",
        XOR + "nudge:\n  gamma: 1\n  waveform: sinus\n",
        'e.yaml, line 4: field "nudge.waveform" is "sinus"; allowed: sine, two-tone, abs-sine, centred-abs-sine,',
    ),
    bench(
        "unknown bench kind",
        "name: here\nbench: numerik\n",
        'b.yaml, line 2: field "bench": "numerik" is not installed. Did you mean "numeric"? Installed: numeric',
    ),
    bench("bench kind no text", "bench: [numeric]\n", "b.yaml, line 1: field \"bench\" is ['numeric']; the kind of"),
    bench(
        "unknown driver key",
        "bench: numeric\nsource:\n  limit: 5 V\n  resource: Dev1\n",
        'b.yaml, line 4: in "source": unknown field "resource".',
        "Allowed here: limit, current_limit, gain_error, offset, bits, drift, certified.",
    ),
    bench(
        "unknown network kind",
        "network:\n  kind: barabasi\n",
        'b.yaml, line 2: field "network.kind" is "barabasi"; allowed: barabasi-albert, grid, hidden-layer, csv, spice. '
        'Did you mean "barabasi-albert"?',
    ),
    experiment(
        "bench file that is not there",
        XOR + "bench: lab.yaml\n",
        'e.yaml, line 2: field "bench": "lab.yaml" is not there.',
    ),
    experiment(
        "kind of bench for a file", XOR + "bench: numeric\n", "e.yaml, line 2:", "write bench: {bench: numeric}"
    ),
]

SPICE_BENCH = "network:\n  kind: spice\n  file: n.csv\n  tunable: R*\n"


def netlist(name: str, lines: str, *wanted: str, more: str = "  outputs: [[y]]\n") -> Case:
    return bench(name, SPICE_BENCH + more, *wanted, network="title\nV1 a 0 1\nV2 b 0 1\nR1 a y 1k\n" + lines)


NETLISTS = [
    netlist(
        "an element that is not read", "Q1 a b 0 npn\n", 'n.csv, line 5: "Q1" is a bipolar transistor; only R, C, D'
    ),
    netlist("an include", "R2 y b 1\n.inc x.cir\n", "n.csv, line 6: .inc is not followed"),
    netlist("no such resistor", "", 'n.csv: tunable: no resistor is called "X*"', more="  tunable: X*\n")._replace(
        files={
            "e.yaml": XOR,
            "b.yaml": SPICE_BENCH.replace("R*", "X*"),
            "n.csv": "title\nR1 a 0 1k\n",
        }
    ),
    netlist("no such node", "R2 y b 1\n", 'n.csv: output port "z": no node "z"', more="  outputs: [[z]]\n"),
    netlist(
        "a port of three", "R2 y b 1\n", 'b.yaml, line 5: field "network.outputs.0"', more="  outputs: [[a, b, y]]\n"
    ),
    netlist(
        "a source at no input",
        "R2 y b 1\nV3 y 0 1\n",
        "n.csv, line 6: V3 is a voltage source of 1 V at y",
        more="  inputs: [[a], [b]]\n",
    ),
    netlist("patterns are text", "R2 y b 1\n", 'field "network.tunable": names of resistors are wanted')._replace(
        files={"e.yaml": XOR, "b.yaml": SPICE_BENCH.replace("R*", "7"), "n.csv": "title\nR1 a 0 1k\n"}
    ),
]

VALUES = [
    bench(
        "wrong unit",
        "meter:\n  range: 5 A\n",
        'b.yaml, line 2: field "meter.range": "5 A" is not in V; a number with the unit V, such as 5 mV, is wanted.',
    ),
    bench("unit that is only a prefix", "inputs: {source: resistor, resistance: 10 K}\n", '"10 K" is not in Ohm'),
    bench("unknown unit", "source: {limit: 5 mil}\n", 'b.yaml, line 1: field "source.limit": "5 mil" is not in V;'),
    bench("percent for volts", "meter: {noise: 5 %}\n", 'field "meter.noise": "5 %" is not a quantity;'),
    bench("decimal comma", "meter: {range: '1,5 V'}\n", 'b.yaml, line 1: field "meter.range": "1,5 V" is not a quant'),
    bench("NaN with a unit", "meter: {range: .nan}\n", 'b.yaml, line 1: field "meter.range": nan is not finite;'),
    bench("infinity in text", "meter: {range: inf}\n", 'b.yaml, line 1: field "meter.range": "inf" is not finite;'),
    bench(
        "zero",
        "sampling:\n  settle: 1 ms\n  frequency: 0 Hz\n",
        'b.yaml, line 3: field "sampling.frequency" is "0 Hz"; it must be above 0',
    ),
    bench(
        "negative resistance",
        "nudge:\n  source: resistor\n  resistance: -1 kOhm\n",
        'b.yaml, line 3: field "nudge.resistance" is "-1 kOhm"; it must be above 0.',
    ),
    bench(
        "negative conductance given as resistance",
        "scales:\n  voltage: 1 V\n  conductance: -1 kOhm\n",
        'b.yaml, line 3: field "scales.conductance": -1 kOhm is no resistance; it must be above 0.',
    ),
    bench(
        "resistance missing",
        "nudge:\n  source: resistor\n",
        'b.yaml, line 2: field "nudge.source": "resistor" needs the field "resistance" beside it, such as 1 kOhm.',
    ),
    bench(
        "resistance too much",
        "inputs:\n  source: voltage\n  resistance: 1 kOhm\n",
        'b.yaml, line 3: field "inputs.resistance": it goes with source "resistor", not with "voltage".',
    ),
    bench(
        "too few samples",
        "sampling: {samples_per_period: 4}\n",
        'b.yaml, line 1: field "sampling.samples_per_period" is 4; it must be at least 5.',
    ),
    bench("record of 10^10 samples", "sampling:\n  periods: 100000\n  samples_per_period: 100000\n", "b.yaml, line 2:"),
    bench(
        "taps without end_to_end",
        "resistors:\n  taps: 128\n",
        'b.yaml, line 1: field "resistors": taps, end_to_end and wiper go together:',
    ),
    bench(
        "floating with common mode",
        "ports: floating\ncommon_mode: 2.5 V\n",
        'b.yaml, line 2: field "common_mode": floating ports have no common mode; leave common_mode out.',
    ),
    bench(
        "share above one",
        "resistors: {stuck: 120 %}\n",
        'b.yaml, line 1: field "resistors.stuck" is "120 %"; it must be at most 1, or a list such as [1, 2] is wanted.',
    ),
    bench(
        "stuck branch that is not there",
        "network: {kind: grid, rows: 3, columns: 3, inputs: 2, outputs: 2}\nresistors: {stuck: [r0c0-r0c2]}\n",
        "b.yaml, line ",
        'resistors.stuck: no tunable branch "r0c0-r0c2". Did you mean "r0c',
    ),
    experiment(
        "text for a number",
        XOR + "rule:\n  alpha: much\n",
        'e.yaml, line 3: field "rule.alpha": "much" is not a number; this field is in task units and takes no unit',
    ),
    experiment("unit where none is", XOR + "rule: {alpha: 1 mS}\n", 'field "rule.alpha": "1 mS" is not a number;'),
    experiment("NaN", XOR + "rule:\n  alpha: .nan\n", 'e.yaml, line 3: field "rule.alpha": nan is not finite;'),
    experiment(
        "minus infinity", XOR + "nudge: {gamma: -.inf}\n", 'e.yaml, line 2: field "nudge.gamma": -inf is not finite;'
    ),
    experiment("empty field", XOR + "rule:\n  alpha:\n", 'e.yaml, line 3: field "rule.alpha": it is empty; a number'),
    experiment("negative rate", XOR + "rule: {alpha: -0.1}\n", 'field "rule.alpha" is -0.1; it must be above 0.'),
    experiment(
        "number for a list",
        XOR + "conductances:\n  bounds: 3\n",
        'e.yaml, line 3: field "conductances.bounds" is 3; a list such as [1, 2] is wanted.',
    ),
    experiment(
        "list too short",
        XOR + "conductances: {start: [1]}\n",
        'field "conductances.start" is [1]; it must have at least 2 values, it has 1.',
    ),
    experiment(
        "wrong list item",
        "task:\n  kind: xor\n  inputs:\n    bias:\n      - 1\n      - two\n",
        'e.yaml, line 6: field "task.inputs.bias.1": "two" is not a number;',
    ),
    experiment("list for a section", XOR + "rule: [1]\n", 'e.yaml, line 2: field "rule" is [1]; a section with fields'),
    experiment(
        "text for a section", "task: iris\n", 'e.yaml, line 1: field "task" is "iris"; a section with fields of'
    ),
    experiment("empty task", "seed: 1\ntask:\n", 'e.yaml, line 2: field "task" is empty; a section with fields of'),
    experiment("yes", XOR + "shuffle: yes\n", 'e.yaml, line 2: field "shuffle" is "yes"; true or false is wanted.'),
    experiment("on", XOR + "nudge: {unsynchronised: on}\n", 'field "nudge.unsynchronised" is "on"; true or false is'),
    experiment(
        "true for a number", XOR + "epochs: true\n", 'e.yaml, line 2: field "epochs" is True; a whole number is'
    ),
    experiment(
        "half an epoch", XOR + "epochs: 1.5\n", 'e.yaml, line 2: field "epochs" is 1.5; a whole number is wanted'
    ),
    experiment("too many digits", XOR + f"seed: {'9' * 400}\n", "e.yaml, line 2: 99999", "not a number that can be"),
    experiment("bench as a number", XOR + "bench: 5\n", 'e.yaml, line 2: field "bench": the name of a bench file is'),
    experiment(
        "zero byte in a name", XOR + 'bench: "a\\0b"\n', "e.yaml, line 2: field \"bench\": 'a\\x00b' is not the"
    ),
    experiment("several faults", XOR + "epochs: -1\nseed: -1\n", "e.yaml, line 2: ", "1 more fault in this file."),
]

MEANINGS = [
    experiment(
        "bounds swapped",
        XOR + "conductances:\n  start: [1, 2]\n  bounds: [20, 1.0e-5]\n",
        'e.yaml, line 4: field "conductances.bounds": 20 is not below 1e-05; the first must be the lower. Are they sw',
    ),
    experiment(
        "start outside bounds",
        XOR + "conductances:\n  start:\n    - 0.5\n    - 3\n  bounds: [0.1, 2]\n",
        'e.yaml, line 5: field "conductances.start.1": 3 lies outside the bounds, [0.1, 2.0].',
    ),
    experiment(
        "bound of zero",
        XOR + "conductances: {bounds: [0, 2]}\n",
        'field "conductances.bounds.0": 0 is no bound; a conductance is above 0.',
    ),
    experiment(
        "sine, unsynchronised",
        XOR + "nudge:\n  unsynchronised: true\n  waveform: sine\n",
        'e.yaml, line 4: field "nudge.waveform": a sine can\'t be read unsynchronised:',
        "Choose two-tone or abs-sine",
    ),
    experiment(
        "cross-entropy with class means",
        "task:\n  kind: iris\n  cost: cross-entropy\n",
        'e.yaml, line 3: field "task.cost": cross-entropy needs fixed classes: give task.targets the kind "one-hot"',
    ),
    experiment(
        "clamped cross-entropy",
        "task:\n  kind: iris\n  cost: cross-entropy\n  targets: {kind: one-hot}\nnudge:\n  loop: clamped\n",
        'e.yaml, line 6: field "nudge.loop": clamped holds the outputs towards a target; cross-entropy has none.',
    ),
    experiment(
        "codes without their kind",
        "task:\n  kind: xor\n  targets:\n    codes: {'0': [1], '1': [-1]}\n",
        'e.yaml, line 4: field "task.targets.codes": targets of the kind "codes" need the field "codes", and only',
    ),
    experiment(
        "codes of several lengths",
        "task:\n  kind: xor\n  targets:\n    kind: codes\n    codes:\n      '0': [1]\n      '1': [-1, 1]\n",
        'e.yaml, line 7: field "task.targets.codes.1": it has 2 values, "0" has 1;',
    ),
    experiment(
        "the same code twice",
        "task:\n  kind: xor\n  targets:\n    kind: codes\n    codes:\n      '0': [1]\n      '1': [1]\n",
        'e.yaml, line 7: field "task.targets.codes.1": "0" has the same code, [1.0];',
    ),
    experiment(
        "class name that is a number",
        "task:\n  kind: xor\n  targets:\n    kind: codes\n    codes:\n      0: [1]\n      1: [-1]\n",
        'e.yaml, line 6: the field name 0 is not text; write it in quotes: "0".',
    ),
    experiment(
        "code for a class that is not there",
        CSV_TASK + "  targets: {kind: codes, codes: {a: [1], bb: [-1]}}\n",
        'field "task.targets.codes.bb": the table has no class "bb". Did you mean "b"? There are: a, b.',
        t=TABLE,
    ),
    experiment(
        "class without a code",
        CSV_TASK + "  targets: {kind: codes, codes: {a: [1]}}\n",
        'field "task.targets.codes": a code is missing for the class b;',
        t=TABLE,
    ),
    experiment(
        "argmax on too few outputs",
        "task:\n  kind: xor\n  readout: argmax\n  targets: {kind: codes, codes: {'0': [1], '1': [-1]}}\n",
        'e.yaml, line 3: field "task.readout": argmax answers with the number of the largest output,',
    ),
    experiment(
        "values for irises",
        "task:\n  kind: iris\n  targets:\n    kind: values\n",
        'e.yaml, line 4: field "task.targets.kind": the kind "values" is for a csv task with predict: value;',
    ),
    experiment(
        "one and a half examples",
        "task:\n  kind: iris\n  split: {train: 1.5}\n",
        'e.yaml, line 3: field "task.split.train": 1.5 is neither a share up to 1 nor a whole number of examples.',
    ),
    experiment(
        "more examples than there are",
        "task:\n  kind: iris\n  split: {train: 200}\n",
        'field "task.split.train": 200 training examples are asked for, the table has 150.',
    ),
    experiment(
        "the target among the features",
        CSV_TASK + "  features:\n    - x\n    - kind\n",
        'e.yaml, line 7: field "task.features.1": column "kind" is the target; it can\'t be a feature too.',
        t=TABLE,
    ),
    experiment(
        "levels that no source may give",
        "task:\n  kind: iris\n  inputs:\n    scale: 5000\n",
        'e.yaml, line 3: section "task.inputs": ',
        "the limits are -10 and 10 V",
        "let task.inputs.outside clip or scale",
    ),
    experiment(
        "bounds that no part reaches",
        XOR + "bench: {resistors: {taps: 128, end_to_end: 10 kOhm, wiper: 75 Ohm}}\nconductances: {bounds: [5, 20]}\n",
        'branch "',
        "the part only reaches",
    ),
]

NETWORKS = [
    bench(
        "node that is not there",
        "network: {kind: grid, rows: 2, columns: 4, inputs: [[r0c0], [r0c9]], outputs: [[r1c0], [r1c1]]}\n",
        "b.yaml, line 1: ",
        'input port "r0c9": no node "r0c9". Did you mean "r0c',
    ),
    bench(
        "node driven twice",
        "network:\n  kind: grid\n  rows: 2\n  columns: 4\n  inputs:\n    - [r0c0]\n    - [r0c1, r0c0]\n"
        "  outputs: [[r1c0], [r1c1]]\n",
        'b.yaml, line 7: field "network.inputs.1": node "r0c0" is driven by input 1 already; a node takes one.',
    ),
    bench(
        "the same node at both ends",
        "network: {kind: grid, rows: 2, columns: 4, inputs: [[r0c0], [r0c1]],\n  outputs: [[r1c0, r1c0], [r1c1]]}\n",
        'b.yaml, line 2: field "network.outputs.0": it has the node "r1c0" at both ends.',
    ),
    bench(
        "ground first",
        "network: {kind: grid, rows: 2, columns: 4, inputs: [[ground], [r0c1]], outputs: [[r1c0], [r1c1]]}\n",
        'field "network.inputs.0": ground can only be the second node of a port.',
    ),
    bench(
        "ports without brackets",
        "network: {kind: grid, rows: 2, columns: 4, inputs: [r0c0, r0c1], outputs: [[r1c0], [r1c1]]}\n",
        "field \"network.inputs.0\": 'r0c0' is not a port; one or two nodes in brackets are wanted, such as [[n0, n1],",
    ),
    bench(
        "inputs listed, outputs not",
        "network:\n  kind: grid\n  rows: 2\n  columns: 4\n  inputs: [[r0c0], [r0c1]]\n",
        'b.yaml, line 5: field "network.inputs": it lists nodes, so outputs must do so too; list both, or neither.',
    ),
    bench(
        "no input port",
        "network: {kind: grid, rows: 2, columns: 4, inputs: 0}\n",
        'field "network.inputs": 0 ports are too few;',
    ),
    bench(
        "wrong number of ports",
        "network: {kind: grid, rows: 5, columns: 5, inputs: 3}\n",
        "b.yaml, line 1: ",
        "the network has 3 input ports, the task needs 2",
    ),
    bench(
        "too many ports for the nodes",
        "network: {kind: grid, rows: 2, columns: 3}\n",
        "b.yaml, line 1: ",
        "2 input and 2 output ports are pairs and need 8 nodes; the network has 6.",
    ),
    bench(
        "too few edges",
        "network:\n  kind: barabasi-albert\n  nodes: 20\n  edges: 18\n",
        'b.yaml, line 4: field "network.edges": 18 edges on 20 nodes; a connected network without parallel branches '
        "has 19 to 190.",
    ),
    bench("too many edges", "network:\n  kind: barabasi-albert\n  nodes: 20\n  edges: 191\n", "b.yaml, line 4:", "190"),
    bench(
        "one node", "network: {kind: grid, rows: 1, columns: 1}\n", 'field "network.columns": a grid of one node has'
    ),
    bench("a million nodes", "network: {kind: grid, rows: 1000, columns: 1000}\n", "b.yaml, line 1:", "too many"),
    bench(
        "network file that is not there",
        "network: {kind: csv, file: m.csv}\n",
        'm.csv: no such file. Did you mean "n.csv"? Files there: n.csv.',
    ),
    branches(
        "self-loop", BRANCHES + "c,c,tunable,1 S\n", 'n.csv, line 6: branch "c-c" starts and ends at node "c": a s'
    ),
    branches(
        "branch twice", BRANCHES + "b,c,tunable,2 S\n", 'n.csv, line 6: branch name "b-c" stands in line 3 already;'
    ),
    branches(
        "part that hangs on nothing",
        BRANCHES + "e,f,tunable,1 S\n",
        "node e, f (branches e-f): no path to ground or to a driven node",
    ),
    branches(
        "negative resistance in the table",
        HEAD + "a,b,resistor,-1 kOhm\n",
        'n.csv, line 2: branch "a-b": value is -1 kOhm; it ',
    ),
    branches(
        "resistance of zero", HEAD + "a,b,resistor,0 Ohm\n", 'n.csv, line 2: branch "a-b": value is 0 Ohm; it must'
    ),
    branches(
        "value NaN", HEAD + "a,b,resistor,nan\n", 'n.csv, line 2: branch "a-b": "nan" is not finite; a number with'
    ),
    branches(
        "value empty", HEAD + "a,b,resistor,\n", 'n.csv, line 2: branch "a-b": "" is not a quantity; a number with'
    ),
    branches(
        "unit missing",
        HEAD + "a,b,resistor,10000\n",
        'n.csv, line 2: branch "a-b": "10000" has no unit; a number with the unit S or Ohm, such as 0.1 mS or 10 kOhm,',
    ),
    branches(
        "mixed units", HEAD + "a,b,tunable,10 kOhm\nb,c,tunable,5 V\n", 'n.csv, line 3: branch "b-c": "5 V" is not in'
    ),
    branches(
        "bound in another unit",
        "plus,minus,kind,value,lowest\na,b,tunable,10 kOhm,1 uS\n",
        'n.csv, line 2: branch "a-b": lowest is 1 uS, the value is 10 kOhm; give both in Ohm.',
    ),
    branches(
        "bounds swapped in the table",
        "plus,minus,kind,value,lowest,highest\na,b,tunable,10 kOhm,20 kOhm,1 kOhm\n",
        'n.csv, line 2: branch "a-b": lowest 20 kOhm is not below highest 1 kOhm; are they swapped?',
    ),
    branches(
        "value outside its bounds",
        "plus,minus,kind,value,lowest,highest\na,b,tunable,10 kOhm,1 kOhm,2 kOhm\n",
        'n.csv, line 2: branch "a-b": value 10 kOhm lies outside its bounds, 1 kOhm to 2 kOhm.',
    ),
    branches(
        "bounds of a fixed resistor",
        "plus,minus,kind,value,lowest\na,b,resistor,10 kOhm,1 kOhm\n",
        'n.csv, line 2: branch "a-b": column "lowest" is "1 kOhm"; only a tunable branch has bounds.',
    ),
    branches(
        "diode with one value",
        HEAD + "a,b,diode,10 nA\n",
        'n.csv, line 2: branch "a-b": value is "10 nA"; a diode takes saturation current / emission voltage, such as '
        '"10 nA / 30 mV".',
    ),
    branches(
        "diode's units swapped", HEAD + "a,b,diode,30 mV / 10 nA\n", 'n.csv, line 2: branch "a-b": "30 mV " is not in A'
    ),
    branches(
        "diode of zero", HEAD + "a,b,diode,0 A / 30 mV\n", 'line 2: branch "a-b": value is "0 A / 30 mV"; both the'
    ),
    branches(
        "unknown kind of branch",
        HEAD + "a,b,resister,1 S\n",
        'n.csv, line 2: branch "a-b": kind is "resister"; allowed: tunable, resistor, diode, antiparallel. '
        'Did you mean "resistor"?',
    ),
    branches("node without a name", HEAD + "a,,tunable,1 S\n", 'n.csv, line 2: branch "a-": column "minus" is empty;'),
    branches(
        "ground misspelt", HEAD + "a,GND,tunable,1 S\n", 'column "minus" is "GND"; the node at 0 V is written "groun'
    ),
    branches(
        "misspelt column",
        "plus,minus,kind,valu\n",
        'n.csv, line 1: unknown column "valu". Did you mean "value"? Allowed: name, plus, minus, kind, value, lowest,',
    ),
    branches(
        "column missing", "plus,minus,kind\na,b,tunable\n", 'n.csv, line 1: column "value" is missing; needed are'
    ),
    branches("column twice", "plus,minus,kind,value,plus\n", 'n.csv, line 1: two columns are named "plus".'),
    branches("ragged row", BRANCHES + "a,b\n", "n.csv, line 6: this row has 2 fields, the header has 4."),
    branches("no branch", HEAD, "n.csv, line 1: lists no branch."),
    branches(
        "quote left open",
        HEAD + 'a,b,tunable,1 S\na,"c,tunable,1 S\n',
        "n.csv, line 3: is not a valid CSV table: unexpected end of data; a quote that opens here is never closed.",
    ),
]

TABLES = [
    table("ragged table", TABLE + "5,6\n", "t.csv, line 6: this row has 2 fields, the header has 3."),
    table("ragged after a quoted line break", 'x,y,kind\n1,2,"a\na"\n3,4\n', "t.csv, line 4: this row has 2 fields"),
    table("no number", TABLE + "5,six,a\n", 't.csv, line 6: column "y" holds "six", which is not a number.'),
    table("NaN in a table", TABLE + "nan,6,a\n", 't.csv, line 6: column "x" holds "nan", which is not finite.'),
    table("number too large", TABLE + "1,1e999,a\n", 't.csv, line 6: column "y" holds "1e999", which is not finite.'),
    table("cell empty", TABLE + ",6,a\n", 't.csv, line 6: column "x" is empty; a number is wanted.'),
    table("class empty", TABLE + "5,6,\n", 't.csv, line 6: column "kind" is empty: every example needs its class.'),
    table("digits in groups", TABLE + "1_000,6,a\n", 't.csv, line 6: column "x" holds "1_000", which is not a number.'),
    table(
        "target misspelt",
        "x,y,kinds\n1,2,a\n",
        't.csv, line 1: no column "kind". Did you mean "kinds"? There are: x, y, kinds.',
    ),
    table(
        "feature misspelt",
        "width,length,kind\n1,2,a\n",
        't.csv, line 1: no column "lenght". Did you mean "length"? There are: width, length, kind.',
        more="  features: [width, lenght]\n",
    ),
    table(
        "constant feature", "x,y,kind\n1,7,a\n2,7,a\n3,7,b\n4,7,b\n", 'column "y" is 7 in every training example; leave'
    ),
    table("one class", "x,y,kind\n1,2,a\n2,1,a\n", 't.csv, line 2: column "kind" holds one class only, "a";'),
    table(
        "class with one row",
        TABLE + "5,6,c\n6,7,b\n",
        '"task.split.train": class "c" (1 row) would have no training example in a split of 3 of 6; raise it, or add',
    ),
    table("a class a row", "x,y,kind\n1,2,a\n2,1,b\n", "holds 2 classes in 2 rows; is predict: value meant?"),
    table("too few rows", "x,y,kind\n1,2,a\n3,4,a\n5,6,b\n6,4,a\n", 'class "b" (1 row) would have no '),
    table("column named twice", "x,x,kind\n1,2,a\n", 't.csv, line 1: 2 columns are named "x"; give each its own name.'),
    table("column without name", "x,,kind\n1,2,a\n", "t.csv, line 1: column 2 of the header has no name."),
    table(
        "header of numbers", "1,2,3\n4,5,6\n", "t.csv, line 1: the first line holds numbers; it must name the columns."
    ),
    table(
        "semicolons", "x;y;kind\n1;2;a\n", "t.csv, line 1: its columns are separated by semicolons; separate them by"
    ),
    table(
        "quotes in the middle", 'x,y,kind\n1,"2"3,a\n', "t.csv, line 2: is not a valid CSV table: ',' expected after"
    ),
    table("header only", "x,y,kind\n", "t.csv, line 1: has a header and no rows."),
    table(
        "range too wide",
        "x,y,kind\n-1e308,2,a\n1e308,1,a\n-1e308,5,b\n1e308,4,b\n",
        'column "x" spans too wide',
        more="  split: {train: 1}\n",
    ),
    table(
        "10,000 columns", ",".join(f"c{i}" for i in range(10_000)) + "\n", "t.csv, line 1: has 10000 columns; at most 4"
    ),
    table("empty table", "", "t.csv: is empty."),
    table("commas only", ",,\n,,\n", "t.csv, line 1: holds only empty rows."),
    table(
        "Latin-1", "x,y,kind\n1,2,Öl\n".encode("latin-1"), "t.csv, line 2: byte 0xd6 is not UTF-8 text. Save the file"
    ),
    table("spreadsheet", b"PK\x03\x04\x14\x00\x06\x00\x08\x00\xff\xfe", "t.csv, line 1: byte 0xff is not UTF-8 text"),
    experiment(
        "wanted value constant",
        "task:\n  kind: csv\n  file: t.csv\n  target: y\n  predict: value\n  targets: {kind: values}\n",
        'column "y" is 2 in every training example; there is nothing to learn.',
        t="x,y\n1,2\n2,2\n3,2\n4,2\n",
    ),
    experiment(
        "table that is not there", CSV_TASK, 't.csv: no such file. Did you mean "t2.csv"? Files there: t2.csv.', t2=""
    ),
]

YAML = [
    experiment("empty", "", "e.yaml: is empty."),
    experiment(
        "only comments", "# nothing\n# here\n", "e.yaml: holds no fields; lines such as `epochs: 100` are wanted."
    ),
    experiment("list at the top", "- 1\n- 2\n", "e.yaml, line 1: holds no fields; lines such as `epochs: 100`"),
    experiment("text at the top", "\n\nhello\n", "e.yaml, line 3: holds no fields"),
    experiment(
        "Latin-1 text", XOR.encode() + "name: Büro\n".encode("latin-1"), "e.yaml, line 2: byte 0xfc is not UTF-8"
    ),
    experiment(
        "UTF-16", XOR.encode("utf-16"), "e.yaml, line 1: byte 0xff is not UTF-8 text; it looks like UTF-16. Save"
    ),
    experiment("random bytes", bytes(range(256)), "e.yaml, line 2: byte 0x80 is not UTF-8 text."),
    experiment(
        "control character", XOR + "name: a\x07b\n", "e.yaml, line 2: holds the character '\\x07', which no text"
    ),
    experiment("half a character", XOR + 'name: "\\ud800"\n', "e.yaml, line 2: '\\ud800' holds half a character;"),
    experiment(
        "Python tag",
        XOR + "name: !!python/object/apply:os.system ['true']\n",
        "e.yaml, line 2: the tag !!python/object/apply:os.system is not allowed: files are data, not code.",
    ),
    experiment("own tag", XOR + "rule: !rule {alpha: 1}\n", "e.yaml, line 2: the tag !rule is not allowed: files are"),
    experiment(
        "tag on a scalar", XOR + "seed: !seed 5\n", "e.yaml, line 2: the tag !seed is not allowed: files are data"
    ),
    experiment(
        "field twice",
        XOR + "rule:\n  alpha: 1\n  kind: adjoint\n  alpha: 2\n",
        'e.yaml, line 5: the field "alpha" stands twice, first in line 3.',
    ),
    experiment(
        "tab", XOR + "rule:\n\talpha: 1\n", "e.yaml, line 3: is not valid YAML: ", "Indent with spaces, not with ta"
    ),
    experiment(
        "quote never closed",
        XOR + 'name: "abc\nepochs: 3\n',
        "e.yaml, line 4: is not valid YAML: ",
        "The quote that opens in line 2 is not closed.",
    ),
    experiment("two documents", XOR + "---\n" + XOR, "e.yaml, line 2: is not valid YAML: but found another document."),
    experiment(
        "colon in text", XOR + "name: a: b\n", "e.yaml, line 2: is not valid YAML: mapping values are not allowed"
    ),
    experiment(
        "billion laughs",
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "e.yaml, line ",
        "stands for more than 50000 values; large networks and data belong in CSV files.",
    ),
    experiment(
        "alias that holds itself", XOR + "rule: &r [*r]\n", "e.yaml, line 2: is nested more than 30 levels deep."
    ),
    experiment("alias of nothing", XOR + "rule: *r\n", "e.yaml, line 2: is not valid YAML: found undefined alias 'r'."),
    experiment(
        "merge key", XOR + "rule:\n  <<: {alpha: 1}\n", "e.yaml, line 3: the merge key << is not allowed; write"
    ),
    bench(
        "hum in too short a record",
        CSV_BENCH + "lockin: {hum: 50 Hz}\nsampling: {frequency: 1 kHz, periods: 5}\n",
        'b.yaml, line 6: section "lockin": hum: harmonic 1 of 50 Hz can\'t be told from the DC part in a record of ',
        "take at least 0.02 s, or leave hum out",
    ),
    bench(
        "a record too short for a drift",
        CSV_BENCH + "lockin: {drift: 3}\nsampling: {samples_per_period: 5, periods: 1}\n",
        'b.yaml, line 7: section "sampling": volts: 5 samples a channel; the model has 6 columns',
    ),
    experiment("5 MB", XOR + "# filler\n" * 560_000, "e.yaml: has 5040038 bytes; at most 128000 are read."),
    experiment("deep brackets", "task: " + "[" * 100_000, "e.yaml: is nested more than 30 levels deep."),
    experiment(
        "deep indentation",
        "".join(" " * depth + "a:\n" for depth in range(40)) + " " * 40 + "1\n",
        "e.yaml, line 31: is nested more than 30 levels deep.",
    ),
    experiment("list as a name", XOR + "[1, 2]: 3\n", "e.yaml, line 2: a field's name must be text."),
    experiment("long name", XOR + "x" * 1000 + ": 1\n", 'e.yaml, line 2: unknown field "xxx', 'xxx...".'),
    experiment(
        "name with a slash", XOR + "name: ../a\n", 'e.yaml, line 2: field "name" is "../a"; letters, digits, spac'
    ),
]

CASES = [*NAMES, *VALUES, *MEANINGS, *NETWORKS, *NETLISTS, *TABLES, *YAML]


def go(folder: Path) -> None:
    """Do with the files of a folder what the program does before it drives anything."""
    settings = load_experiment(folder / "e.yaml")
    path = folder / "b.yaml"
    with ExitStack() as stack:
        opened = stack.enter_context(load_bench(path if path.exists() else None, settings))
        prepare(settings, opened)


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
def test_a_wrong_file_is_refused_with_its_line_and_field(case: Case, tmp_path: Path) -> None:
    for name, content in case.files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.process_time()
    with pytest.raises((FileError, LimitError)) as caught:
        go(tmp_path)
    seconds = time.process_time() - began
    message = str(caught.value).replace(f"{tmp_path}/", "")
    for part in case.wanted:
        assert part in message
    if case.wanted[0].startswith(tuple(case.files)):
        assert message.startswith(case.wanted[0])
    assert "\n" not in message
    assert len(message) < 700
    assert message.endswith("Nothing was started.")
    assert seconds < SECONDS


def test_the_names_of_the_cases_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_files_that_the_cases_are_made_from_are_good(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(CSV_TASK + "  targets: {kind: one-hot}\n")
    (tmp_path / "t.csv").write_text(TABLE)
    (tmp_path / "b.yaml").write_text(CSV_BENCH)
    (tmp_path / "n.csv").write_text(BRANCHES)
    go(tmp_path)


def test_a_missing_experiment_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "iris.yaml").write_text(XOR)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(
        FileError, match=r'irsi\.yaml: no such file\. Did you mean "iris\.yaml"\? Files there: iris\.yaml'
    ):
        load_experiment(tmp_path / "irsi.yaml")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no such file\. There is no folder .*there either\. Nothing was started\."):
        load_experiment(tmp_path / "there" / "e.yaml")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is a folder; a file is wanted"):
        load_experiment(tmp_path)


def test_a_device_is_not_read() -> None:
    with pytest.raises(FileError, match="is a device or a pipe; a file is wanted"):
        load_experiment("/dev/zero")


def test_a_name_that_no_folder_can_hold_is_refused() -> None:
    for name in ("a\0b.yaml", "a" * 5000 + ".yaml"):
        with pytest.raises(FileError, match="can't be read"):
            load_experiment(name)


# What is drawn below may be a good file by accident; what it may not be is any error but FileError. The examples are
# the same each time, so that a run that passes passes again.
drawn = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

GOOD = """\
name: two
task:
  kind: csv
  file: t.csv
  target: kind
  inputs: {scale: 2, encoding: mirrored, bias: [1, 0.5], outside: clip}
  targets: {kind: codes, codes: {a: [1, -1], b: [-1, 1]}}
  split: {train: 0.5}
nudge: {gamma: 0.1, loop: open}
rule: {kind: freq-prop, alpha: 0.01}
conductances: {start: [0.1, 1], bounds: [0.01, 10]}
epochs: 20
"""
WORDS = "task kind iris csv [ ] { } , \" ' *a !! > --- % @ ` ~ null true 1 -1 1e999 .nan 0x 0o9 1_0 12:30:45 << ="
ATOMS = st.sampled_from(
    [
        *WORDS.split(),
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\t",
        "&a ",
        "!x ",
        "|\n",
        "? ",
        "# ",
        "\u2028",
        "\ufeff",
        "é",
        "\x85",
        "\0",
    ]
)


def complaint(call: Callable[[], object]) -> str:
    """Return what a FileError said, nothing where there was none; every other error is the test's failure."""
    try:
        call()
    except FileError as error:
        return str(error)
    return ""


def only_file_errors(text: str) -> None:
    said = complaint(lambda: parse_experiment(text, Path("e.yaml")))
    assert "\n" not in said
    assert len(said) < 1000


@drawn
@given(st.lists(ATOMS, max_size=30).map("".join))
def test_broken_yaml_ends_in_a_file_error(text: str) -> None:
    only_file_errors(text)


@drawn
@given(st.text(max_size=60))
def test_any_text_ends_in_a_file_error(text: str) -> None:
    only_file_errors(text)


@drawn
@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.one_of(ATOMS, st.text(max_size=3)))
def test_a_good_experiment_with_a_change_ends_in_a_file_error(place: int, removed: int, added: str) -> None:
    only_file_errors(GOOD[:place] + added + GOOD[place + removed :])


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["1 V", "iris", "xor", "csv"]),
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
FIELDS = ("name", "bench", "network", "task", "nudge", "rule", "conductances", "epochs", "seed", "shuffle")
INNER = (
    "kind",
    "inputs",
    "targets",
    "cost",
    "file",
    "target",
    "codes",
    "split",
    "alpha",
    "bounds",
    "start",
    "nodes",
    "edges",
)


@drawn
@given(st.dictionaries(st.sampled_from(FIELDS), TREES | st.dictionaries(st.sampled_from(INNER), TREES, max_size=4)))
def test_a_field_of_any_shape_ends_in_a_file_error(fields: dict[str, object]) -> None:
    settings = parse_experiment(GOOD, Path("e.yaml"))
    changes = {(name,): value for name, value in fields.items()}
    assert "\n" not in complaint(lambda: settings.with_changes(changes).bench())


@drawn
@given(st.binary(max_size=80))
def test_random_bytes_end_in_a_file_error(tmp_path: Path, content: bytes) -> None:
    for name in ("e.yaml", "n.csv", "t.csv"):
        (tmp_path / name).write_bytes(content)
    for read in (load_experiment, read_branches, read_rows):
        path = tmp_path / ("e.yaml" if read is load_experiment else "n.csv")
        assert "\n" not in complaint(partial(read, path))


CELLS = st.sampled_from(
    [",", "\n", '"', '""', "\r", " ", ";", "nan", "inf", "1e308", "-1e308", "5e-324", "a", "ground", "\0"]
)


@drawn
@given(st.integers(0, len(TABLE)), st.integers(0, 6), st.lists(CELLS | st.text(max_size=2), max_size=4).map("".join))
def test_a_good_table_with_a_change_ends_in_a_file_error(tmp_path: Path, place: int, removed: int, added: str) -> None:
    (tmp_path / "e.yaml").write_text(CSV_TASK + "  targets: {kind: one-hot}\n  inputs: {outside: clip}\n")
    content = TABLE[:place] + added + TABLE[place + removed :]
    (tmp_path / "t.csv").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert "\n" not in complaint(lambda: go(tmp_path))


@drawn
@given(st.integers(0, len(BRANCHES)), st.integers(0, 6), st.lists(CELLS | st.text(max_size=2), max_size=4).map("".join))
def test_a_good_network_with_a_change_ends_in_a_file_error(
    tmp_path: Path, place: int, removed: int, added: str
) -> None:
    (tmp_path / "e.yaml").write_text(XOR)
    (tmp_path / "b.yaml").write_text(CSV_BENCH)
    content = BRANCHES[:place] + added + BRANCHES[place + removed :]
    (tmp_path / "n.csv").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert "\n" not in complaint(lambda: go(tmp_path))
