"""A bench around a large network of diodes: the same answers and the same training as with dense matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from freqprop_lab.elements import ELEMENTS, FromFunction
from freqprop_lab.network import GROUND, Branch, Network
from freqprop_lab.values import BlockPlan, Drive, Feedback, Nudge, NudgeKind
from freqprop_lab.waveform import RectifiedSine, Sine
from simulated_bench import newton
from simulated_bench.breadboard import Breadboard
from simulated_bench.circuit import CircuitError, Connection

approx = pytest.approx


@pytest.fixture(params=["compiled", "NumPy alone"])
def either(request, monkeypatch):
    if request.param == "NumPy alone":
        monkeypatch.setattr(newton, "kernels", None)
    elif newton.kernels is None:
        pytest.skip("numba is not installed")


def text(solver: str, more: str = "", hidden: int = 12, diodes: str = "alternating") -> str:
    network = f"kind: hidden-layer, hidden: {hidden}, inputs: 3, outputs: 2, diodes: {diodes}"
    return f"bench: numeric\nsolver: {solver}\nnetwork: {{{network}}}\n{more}"


def plan_for(bench, n_steps: int = 12, **changes) -> BlockPlan:
    rng = np.random.default_rng(5)
    n = len(bench.network.tunable)
    levels = rng.uniform(-2, 2, (4, len(bench.network.inputs)))
    targets = rng.normal(scale=0.2, size=(4, len(bench.network.outputs)))
    start, ends = rng.uniform(1e-5, 1e-3, n), (np.full(n, 1e-6), np.full(n, 1e-2))
    rest = {"alpha": 1e-3, "gamma": 1e-4, "cost": "squared", "waveform": Sine()} | changes
    return BlockPlan(levels, targets, np.arange(n_steps) % 4, start, *ends, **rest)


@pytest.mark.parametrize(
    ("more", "diodes", "changes"),
    [
        ("", "alternating", {}),
        ("", "antiparallel", {"cost": "one-sided"}),
        ("ports: floating\n", "alternating", {"free_activation": True}),
        ("common_mode: 0.2 V\n", "alternating", {"waveform": RectifiedSine()}),
        ("inputs: {source: resistor, resistance: 100 Ohm}\n", "antiparallel", {}),
    ],
)
def test_a_block_of_steps_is_the_same_as_on_dense_matrices(bench_of, more, diodes, changes, either):
    ends = []
    for solver in ("dense", "sparse"):
        bench = bench_of(text(solver, more, diodes=diodes))
        plan = plan_for(bench, **changes)
        assert bench.breadboard.is_newton == (solver == "sparse")
        assert bench.can_run(plan)
        ends.append((bench.run_block(plan), bench.respond(Drive(plan.levels[3]))))
    (dense, at_rest), (large, rest) = ends
    largest = np.abs(dense.response.b).max()
    assert largest > 0
    assert large.response.b == approx(dense.response.b, rel=0, abs=1e-9 * largest)
    assert large.response.a == approx(dense.response.a, rel=0, abs=1e-9)
    assert large.outputs == approx(dense.outputs, rel=0, abs=1e-9)
    assert large.wished == approx(dense.wished, rel=1e-9)
    assert np.abs(large.wished / plan.wished - 1).max() > 1e-6  # something was learnt
    assert rest.a == approx(at_rest.a, rel=0, abs=1e-9)


def test_a_block_is_the_same_as_its_steps_through_the_instruments(bench_of):
    bench = bench_of(text("sparse"))
    plan = plan_for(bench, 1)
    end = bench.run_block(plan)
    bench.program(plan.wished)
    free = bench.respond(Drive(plan.levels[0]))
    nudge = -plan.gamma * (bench.network.read_outputs(free.a) - plan.targets[0])
    nudged = bench.respond(Drive(plan.levels[0], Nudge(nudge, plan.waveform)))
    assert end.response.b == approx(nudged.b, rel=0, abs=1e-9 * np.abs(nudged.b).max())
    assert end.response.a == approx(nudged.a, rel=0, abs=1e-12)


@pytest.mark.parametrize("kind", [NudgeKind.TANGENT, NudgeKind.CURRENT, NudgeKind.FEEDBACK])
def test_a_response_is_the_dense_benchs(bench_of, kind):
    found = []
    for solver in ("dense", "sparse"):
        bench = bench_of(text(solver))
        plan = plan_for(bench)
        bench.program(plan.wished)
        ports = len(bench.network.outputs)
        feedback = Feedback(1e-4, lambda v: (v - 0.1, np.eye(2))) if kind is NudgeKind.FEEDBACK else None
        nudge = Nudge(np.full(ports, 1e-5), plan.waveform, kind, feedback=feedback)
        found.append(bench.respond(Drive(plan.levels[1], nudge)))
    assert found[1].b == approx(found[0].b, rel=0, abs=1e-9 * np.abs(found[0].b).max())
    assert found[1].a == approx(found[0].a, rel=0, abs=1e-10)


def test_where_blocks_are_cut_changes_no_bit(bench_of):
    whole, cut, resumed = (bench_of(text("sparse")) for _ in range(3))
    plan = plan_for(whole, 12)
    end = whole.run_block(plan)
    half = cut.run_block(replace(plan, order=plan.order[:5]))
    resumed.program(half.realised)  # as a resumed run does
    resumed.restore(cut.state())
    rest = resumed.run_block(replace(plan, order=plan.order[5:], wished=half.wished))
    assert rest.wished.tobytes() == end.wished.tobytes()
    assert rest.response.b.tobytes() == end.response.b.tobytes()
    assert np.concatenate([half.outputs, rest.outputs]).tobytes() == end.outputs.tobytes()


def test_a_step_beyond_a_limit_is_refused_as_the_instruments_do(bench_of):
    bench = bench_of(text("sparse", "source: {current_limit: 1 nA}\n"))
    with pytest.raises(Exception, match="(?i)limit|nA"):
        bench.run_block(plan_for(bench))


def test_the_size_chooses(bench_of):
    assert not bench_of(text("auto", hidden=50)).breadboard.is_newton
    large = bench_of(text("auto", hidden=300)).breadboard
    assert large.is_newton
    assert not large.is_sparse
    assert not bench_of(text("auto", "parts: {capacitance: 1 nF}\n", hidden=300)).breadboard.is_newton


def test_laws_that_are_not_known_stay_dense_or_are_named():
    cubic = FromFunction(lambda v: 1e-3 * (v + v**3), slope=lambda v: 1e-3 * (1 + 3 * v**2))
    names = tuple(f"n{i}" for i in range(300))
    branches = [Branch(f"R{i}", name, GROUND, ELEMENTS["resistor"], (1e-3,)) for i, name in enumerate(names)]
    network = Network(names, (*branches, Branch("cubic", "n3", "n4", cubic, ())))
    wired = [Connection(3, -1, "voltage")]
    assert not Breadboard(network, wired, None).is_newton
    with pytest.raises(CircuitError, match="solver: sparse does not know the law of branch cubic; take solver: dense"):
        Breadboard(network, wired, None, solver="sparse")


def test_a_very_wide_hidden_layer_learns_a_step(bench_of):
    bench = bench_of(text("auto", hidden=6000))
    plan = plan_for(bench, 1)
    end = bench.run_block(plan)
    again = bench.run_block(replace(plan, wished=end.wished)).outputs
    assert ((again - plan.targets[0]) ** 2).sum() < ((end.outputs - plan.targets[0]) ** 2).sum()
