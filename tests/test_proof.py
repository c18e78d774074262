"""The proof: the application and the recipe in plain NumPy (reference.py) agree in every conductance."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference

from freqprop_lab import Run, load_experiment, train
from freqprop_lab.bench import Bench, open_bench
from freqprop_lab.config import BenchRequest, read_bench_file
from freqprop_lab.instruments import LimitError, OverloadError
from freqprop_lab.network import NetworkError, barabasi_albert, choose_ports
from freqprop_lab.rules import Example, FrequencyPropagation
from freqprop_lab.tasks import Objective, make_cost
from freqprop_lab.values import BlockPlan, Drive, Nudge, NudgeKind
from freqprop_lab.waveform import RectifiedSine, Sine
from simulated_bench import numeric
from simulated_bench.numeric import NumericBench

SATURATION, EMISSION = 0.1, 0.5  # A, V: at the 1 V of inner nodes a diode pair then carries what a branch does
SAMPLES = 20

EXPERIMENT = """\
name: proof
seed: {seed}
epochs: 3
task: {{kind: iris}}
conductances: {{start: [1.0e-5, 1], bounds: [1.0e-5, 20]}}
rule: {{alpha: 0.1}}
"""


def write_bench(folder: Path, edges: int, ports: str, diodes: bool, periods: int) -> Path:
    """A bench whose network stands in a table, so that the reference reads what a person would."""
    rng = np.random.default_rng(edges)
    network = choose_ports(barabasi_albert(40, edges, 1.0, rng), 4, 3, rng)
    lines = ["name,plus,minus,kind,value"]
    lines += [f"{branch.name},{branch.plus},{branch.minus},tunable,1 S" for branch in network.branches]
    inner = [f"n{i}" for i in range(0, 40, 2)] if diodes else []
    lines += [f"D{node},{node},ground,antiparallel,{SATURATION} A / {EMISSION} V" for node in inner]
    (folder / "network.csv").write_text("\n".join(lines) + "\n")
    ends = {
        kind: "[" + ", ".join(f"[{port.plus}, {port.minus}]" for port in found) + "]"
        for kind, found in (("inputs", network.inputs), ("outputs", network.outputs))
    }
    (folder / "bench.yaml").write_text(
        f"bench: numeric\nports: {ports}\nsampling: {{periods: {periods}, samples_per_period: {SAMPLES}}}\n"
        f"network: {{kind: csv, file: network.csv, inputs: {ends['inputs']}, outputs: {ends['outputs']}}}\n"
    )
    return folder / "bench.yaml"


def circuit_of(run: Run, ports: str) -> reference.Circuit:
    network = run.start["network"]
    number = {name: i for i, name in enumerate(network["nodes"])}
    return reference.Circuit(
        len(number),
        [(number[b["plus"]], number[b["minus"]]) for b in network["branches"] if b["tunable"]],
        [number[b["plus"]] for b in network["branches"] if not b["tunable"]],
        SATURATION,
        EMISSION,
        [(number[plus], number[minus]) for plus, minus in network["inputs"]],
        [(number[plus], number[minus]) for plus, minus in network["outputs"]],
        ports == "floating",
    )


def iris_levels(train_examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Appendix A by hand: features to 0..5 by the training half's extremes, and the classes."""
    path = Path(__file__).parent.parent / "freqprop_lab" / "data" / "iris.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    features = np.array([[float(cell) for cell in row[:4]] for row in rows])
    low, high = features[train_examples].min(axis=0), features[train_examples].max(axis=0)
    return 5 * (features - low) / (high - low), np.array([row[4] for row in rows])


def recompute(run: Run, ports: str, n_steps: int, periods: int) -> np.ndarray:
    """Do the run's steps again with the reference; only the start and the order of examples are read from the log."""
    circuit = circuit_of(run, ports)
    order = [line["example"] for line in run.lines("steps")]
    examples = np.unique(order)
    x, species = iris_levels(examples)
    G = np.array(run["conductances"][0])
    targets: dict[str, np.ndarray] = {}
    for number, example in enumerate(order[:n_steps]):
        if number % len(examples) == 0:  # a new epoch: the network's answers to each class's mean input
            for name in np.unique(species):
                mean = x[examples][species[examples] == name].mean(axis=0)
                still = np.zeros(circuit.n_nodes)
                targets[name] = circuit.read(circuit.solve(G, mean, still, still))
        new = reference.step(circuit, G, x[example], targets[species[example]], 0.1, 1.0, SAMPLES, periods)
        G = np.clip(new, 1e-5, 20)
    return G


@pytest.mark.parametrize(
    ("diodes", "ports", "edges"),
    [
        pytest.param(False, "referred", 390, marks=pytest.mark.prove),
        (False, "floating", 239),
        (True, "referred", 239),
        (True, "floating", 390),
        pytest.param(False, "referred", 239, marks=pytest.mark.prove),
        pytest.param(False, "floating", 390, marks=pytest.mark.prove),
        pytest.param(True, "referred", 390, marks=pytest.mark.prove),
        pytest.param(True, "floating", 239, marks=pytest.mark.prove),
    ],
)
def test_application_and_plain_numpy_agree_in_every_conductance(
    tmp_path: Path, edges: int, ports: str, diodes: bool
) -> None:
    periods = 1 if diodes else 5  # the periods of a quasi-static network are alike; Newton for each sample is slow
    bench_file = write_bench(tmp_path, edges, ports, diodes, periods)
    (tmp_path / "proof.yaml").write_text(EXPERIMENT.format(seed=edges) + "bench: bench.yaml\n")
    train(load_experiment(tmp_path / "proof.yaml"), run=tmp_path / "run")
    assert bench_file.is_file()
    run = Run(tmp_path / "run")
    expected = recompute(run, ports, 225, periods)
    assert len(run.lines("steps")) == 225
    moved = np.abs(expected - run["conductances"][0])
    assert moved.max() > 0.01  # something was learnt, so that agreeing means something
    np.testing.assert_allclose(run["conductances"][-1], expected, rtol=1e-9)


@pytest.mark.parametrize("ports", ["referred", "floating"])
@pytest.mark.parametrize("diodes", [False, True], ids=["linear", "diodes"])
def test_respond_is_the_lock_in_of_measure(tmp_path: Path, ports: str, diodes: bool) -> None:
    settings = read_bench_file(write_bench(tmp_path, 239, ports, diodes, 5))
    rng = np.random.default_rng(5)
    with open_bench(settings, BenchRequest()) as bench:
        bench.program(rng.uniform(0.01, 1, 239))
        for _ in range(5):
            nudge = Nudge(rng.normal(size=3), Sine())
            drive = Drive(rng.uniform(0, 5, 4), nudge)
            short = bench.respond(drive)
            long = Bench.respond(bench, drive)  # the general way: samples, then the lock-in
            largest = np.abs(long.b).max()
            np.testing.assert_allclose(short.b, long.b, atol=1e-9 * largest, rtol=0)
            np.testing.assert_allclose(short.a, long.a, atol=1e-9 * largest, rtol=0)


def test_run_block_is_many_steps_of_measure(tmp_path: Path) -> None:
    settings = read_bench_file(write_bench(tmp_path, 390, "referred", False, 5))
    rng = np.random.default_rng(6)
    levels, targets = rng.uniform(0, 5, (10, 4)), rng.normal(scale=0.1, size=(10, 3))
    start, lowest, highest = rng.uniform(1e-5, 1, 390), np.full(390, 1e-5), np.full(390, 20.0)
    order = rng.integers(0, 10, 40)
    with open_bench(settings, BenchRequest()) as bench:
        plan = BlockPlan(levels, targets, order, start, lowest, highest, 0.1, 1.0, "squared", Sine())
        assert bench.can_run(plan)
        block = bench.run_block(plan)

        bench.program(start)
        network = bench.network
        for number, example in enumerate(order):
            free = Bench.respond(bench, Drive(levels[example]))
            outputs = network.read_outputs(free.a)
            np.testing.assert_allclose(block.outputs[number], outputs, atol=1e-9)
            drive = Drive(levels[example], Nudge(targets[example] - outputs, Sine()))
            response = Bench.respond(bench, drive)
            delta = -0.1 * network.across_tunable(response.a) * network.across_tunable(response.b)
            bench.program(np.clip(bench.conductances + delta, lowest, highest))
        np.testing.assert_allclose(block.realised, bench.conductances, rtol=1e-9)
        largest = np.abs(response.b).max()
        np.testing.assert_allclose(block.response.b, response.b, atol=1e-9 * largest, rtol=0)


TAPS = "resistors: {taps: 256, end_to_end: 9.9 Ohm, wiper: 0.05 Ohm, tolerance: 3 %, stuck: 5 %}\n"
BLOCKS = {
    "one-sided": ("one-sided", False, "", {}),
    "cross-entropy": ("cross-entropy", False, "scales: {voltage: 0.5 V}\n", {}),
    "taps": ("squared", False, TAPS, {}),
    "stochastic": ("squared", False, TAPS, {"stochastic": True}),
    "not accumulated": ("squared", False, TAPS, {"accumulate": False}),
    "diodes": ("cross-entropy", True, "", {}),
    "diodes and taps": ("squared", True, TAPS, {"stochastic": True, "waveform": RectifiedSine()}),
}


def block_case(name: str, folder: Path) -> tuple[NumericBench, BlockPlan]:
    cost, diodes, more, changes = BLOCKS[name]
    path = write_bench(folder, 239, "referred", diodes, 1)
    path.write_text(path.read_text() + more)
    bench = open_bench(read_bench_file(path), BenchRequest())
    assert isinstance(bench, NumericBench)
    rng = np.random.default_rng(8)
    plan = BlockPlan(
        rng.uniform(0, 5, (6, 4)),
        rng.choice([-0.3, 0.4], size=(6, 3)) * rng.uniform(0.5, 1, (6, 3)),
        rng.integers(0, 6, 12),
        rng.uniform(0.15, 1, 239),
        np.full(239, 0.1),
        np.full(239, 20.0),
        0.1,
        1.0,
        cost,
        Sine(),
        temperature=0.2,
        volts=bench.scales.volts,
    )
    plan = replace(plan, draws=rng.random((12, 239)) if "stochastic" in changes else None, **changes)
    bench.program(plan.wished)
    return bench, plan


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_is_many_steps_of_measure(name: str, tmp_path: Path) -> None:
    bench, plan = block_case(name, tmp_path)
    assert bench.can_run(plan)
    block = bench.run_block(plan)
    again, _ = block_case(name, tmp_path)
    network, wished = again.network, plan.wished
    rule = FrequencyPropagation(network, plan.alpha, plan.gamma, plan.waveform)
    for number, example in enumerate(plan.order):
        cost = make_cost(plan.cost, plan.temperature)
        process = rule.process(
            Example(plan.levels[example], Objective(cost, plan.targets[example] / plan.volts, plan.volts))
        )
        request = next(process)
        request = process.send(Bench.respond(again, request.drive))
        response = Bench.respond(again, request.drive)
        with pytest.raises(StopIteration) as end:
            process.send(response)
        np.testing.assert_allclose(block.outputs[number], end.value.value.outputs, atol=1e-11)
        base = wished if plan.accumulate else again.conductances
        wished = np.clip(base + end.value.value.delta, plan.lowest, plan.highest)
        asked = wished
        if plan.draws is not None:
            below, above = again.neighbours(wished)
            asked = np.where(
                plan.draws[number] < (wished - below) / np.where(above > below, above - below, 1), above, below
            )
        again.program(asked)
    np.testing.assert_allclose(block.wished, wished, rtol=1e-9)
    np.testing.assert_allclose(block.realised, again.conductances, rtol=1e-9)
    np.testing.assert_allclose(bench.breadboard.conductances, again.breadboard.conductances, rtol=1e-9)
    largest = np.abs(response.b).max()
    np.testing.assert_allclose(block.response.b, response.b, atol=1e-9 * largest, rtol=0)
    np.testing.assert_allclose(block.response.a, response.a, atol=1e-9 * largest, rtol=0)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_may_be_cut_anywhere_without_changing_a_bit(name: str, tmp_path: Path) -> None:
    whole_bench, plan = block_case(name, tmp_path)
    whole = whole_bench.run_block(plan)
    for cuts in ([0, 1, 12], [0, 5, 6, 12], list(range(13))):
        bench, _ = block_case(name, tmp_path)
        wished, outputs = plan.wished, []
        for first, last in itertools.pairwise(cuts):
            draws = None if plan.draws is None else plan.draws[first:last]
            part = bench.run_block(replace(plan, order=plan.order[first:last], wished=wished, draws=draws))
            wished = part.wished
            outputs.append(part.outputs)
            state = bench.state()
            bench, _ = block_case(name, tmp_path)  # killed in between, and taken up from the checkpoint
            bench.program(part.realised)
            bench.restore(state)
        assert np.array_equal(wished, whole.wished)
        assert np.array_equal(part.realised, whole.realised)
        assert np.array_equal(np.concatenate(outputs), whole.outputs)
        assert np.array_equal(part.response.b, whole.response.b)


@pytest.mark.parametrize("name", [name for name in BLOCKS if "diodes" not in name])
def test_without_numba_the_same_numbers_come_from_numpy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, plan = block_case(name, tmp_path)
    compiled = bench.run_block(plan)
    other, _ = block_case(name, tmp_path)
    monkeypatch.setattr(numeric, "has_kernels", lambda: False)
    assert other.can_run(plan)
    plain = other.run_block(plan)
    np.testing.assert_allclose(plain.wished, compiled.wished, rtol=1e-12)
    np.testing.assert_array_equal(plain.realised.round(9), compiled.realised.round(9))
    np.testing.assert_allclose(plain.outputs, compiled.outputs, atol=1e-13)


def test_without_numba_diodes_go_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, plan = block_case("diodes", tmp_path)
    monkeypatch.setattr(numeric, "has_kernels", lambda: False)
    assert not bench.can_run(plan)


@pytest.mark.parametrize("diodes", [False, True], ids=["linear", "diodes"])
def test_a_block_refuses_what_a_step_refuses(diodes: bool, tmp_path: Path) -> None:
    path = write_bench(tmp_path, 239, "referred", diodes, 1)
    plan = BlockPlan(
        np.full((2, 4), 5.0), np.zeros((2, 3)), np.array([0, 1]), np.ones(239), np.zeros(239), np.ones(239), 0.1, 1.0,
        "squared", Sine(),
    )  # fmt: skip
    for more, error, words in (
        ("meter: {range: 1 V}\n", OverloadError, "samples at the end of the range"),
        ("source: {limit: 2 V}\n", LimitError, "limit"),
    ):
        (tmp_path / "other.yaml").write_text(path.read_text() + more)
        with open_bench(read_bench_file(tmp_path / "other.yaml"), BenchRequest()) as bench:
            assert bench.can_run(plan)
            with pytest.raises(error, match=words):
                bench.run_block(plan)
    with open_bench(read_bench_file(path), BenchRequest()) as bench:
        with pytest.raises(NetworkError, match="no path to ground"):
            bench.run_block(replace(plan, wished=np.zeros(239)))
        with pytest.raises(LimitError, match="smaller alpha"):
            bench.run_block(replace(plan, alpha=np.nan))


def test_a_numeric_bench_declines_blocks_that_it_can_not_run_exactly(tmp_path: Path) -> None:
    path = write_bench(tmp_path, 239, "referred", False, 5)
    plan = BlockPlan(
        np.zeros((1, 4)),
        np.zeros((1, 3)),
        np.zeros(1, dtype=np.intp),
        np.ones(239),
        np.zeros(239),
        np.ones(239),
        0.1,
        1.0,
        "squared",
        Sine(),
    )
    for more in (
        "meter: {noise: 1 mV}",
        "resistors: {drift: 1 %}",
        "source: {bits: 12}",
        "meter: {common_delay: 1 us}",
    ):
        (tmp_path / "other.yaml").write_text(path.read_text() + more + "\n")
        with open_bench(read_bench_file(tmp_path / "other.yaml"), BenchRequest()) as bench:
            assert not bench.can_run(plan)
            assert bench.nudges == frozenset(NudgeKind)
