"""Blocks of compiled steps, held against the equations in plain NumPy: costs, taps, diodes, and what goes wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network import Branch, Network, Port
from freqprop_lab.values import BlockPlan
from freqprop_lab.waveform import WAVEFORMS, Sine
from simulated_bench import _kernels as kernels
from simulated_bench.blocks import Block, BlockState, Parts, projection
from simulated_bench.circuit import Circuit, CircuitError, Connection

EPS = np.finfo(float).eps
ALPHA, GAMMA, VOLTS, TEMPERATURE = 0.3, 0.5, 0.8, 0.4


def drawn_network(rng: np.random.Generator, n_nodes: int, n_diodes: int = 0) -> Network:
    """A connected network with parallel branches, a fixed resistor to ground, and diodes of both kinds."""
    nodes = tuple(f"n{i}" for i in range(n_nodes))
    ends = [(i, int(rng.integers(i))) for i in range(1, n_nodes)]
    ends += [tuple(rng.choice(n_nodes, 2, replace=False).tolist()) for _ in range(2 * n_nodes)]
    ends.append(ends[0])
    resistor = ELEMENTS["resistor"]
    branches = [Branch(f"R{k}", nodes[p], nodes[m], resistor, (1.0,), True) for k, (p, m) in enumerate(ends)]
    branches.append(Branch("Rg", nodes[0], "ground", resistor, (0.7,)))
    for k in range(n_diodes):
        kind = ("diode", "antiparallel")[k % 2]
        p, m = rng.choice(n_nodes, 2, replace=False).tolist()
        branches.append(Branch(f"D{k}", nodes[p], nodes[m], ELEMENTS[kind], (0.05, 0.3)))
    outputs = (Port(nodes[2], nodes[3]), Port(nodes[4], "ground"))
    return Network(nodes, tuple(branches), (Port(nodes[0], "ground"), Port(nodes[1], nodes[5])), outputs)


CONNECTIONS = (
    Connection(0, -1, "voltage"),
    Connection(1, 5, "voltage", 2.0),  # behind 2 Ohm
    Connection(2, 3, "current"),
    Connection(4, -1, "current"),
)
PER_AMPERE = np.eye(4)[:, 2:]


def oracle_volts(network: Network, G: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Kirchhoff at every node, the stiff source's current among the unknowns; diodes by full Newton from `start`."""
    n = len(network.nodes)
    v = start
    for _ in range(200):
        A, r = np.zeros((n + 1, n + 1)), np.zeros(n + 1)

        def stamp(plus: int, minus: int, siemens: float, amperes: float, A: np.ndarray = A, r: np.ndarray = r) -> None:
            """A branch whose current is siemens (v_plus - v_minus) + amperes."""
            for node, sign in ((plus, 1), (minus, -1)):
                if node >= 0:
                    r[node] -= sign * amperes
                    for other, other_sign in ((plus, 1), (minus, -1)):
                        if other >= 0:
                            A[node, other] += sign * other_sign * siemens

        tunable = 0
        for number, branch in enumerate(network.branches):
            plus, minus = int(network.plus[number]), int(network.minus[number])
            if branch.tunable:
                stamp(plus, minus, G[tunable], 0.0)
                tunable += 1
            elif branch.element.linear:
                stamp(plus, minus, branch.theta[0], 0.0)
            else:
                saturation, emission = branch.theta
                across = (v[plus] if plus >= 0 else 0.0) - (v[minus] if minus >= 0 else 0.0)
                u = across / emission
                both = branch.element.kind == "antiparallel"
                amperes = saturation * (2 * np.sinh(u) if both else np.expm1(u))
                siemens = saturation / emission * (2 * np.cosh(u) if both else np.exp(u))
                stamp(plus, minus, siemens, amperes - siemens * across)
        stamp(1, 5, 0.5, -0.5 * x[1])
        A[0, n] = A[n, 0] = 1.0  # the stiff source at node 0
        r[n] = x[0]
        for source, (plus, minus) in ((2, (2, 3)), (3, (4, -1))):
            for node, sign in ((plus, 1), (minus, -1)):
                if node >= 0:
                    r[node] += sign * x[source]
        new = np.linalg.solve(A, r)[:n]
        change = np.abs(new - v).max()
        v = new
        if change < 1e-13:
            return v
    raise AssertionError("the oracle did not converge")


def oracle_cost(cost: str, v: np.ndarray, y: np.ndarray) -> float:
    """The cost in V^2 of outputs in volts, in the words of tasks/_costs.py, in task units inside."""
    v, y = v / VOLTS, y / VOLTS
    if cost == "cross-entropy":
        p = np.exp(v / TEMPERATURE) / np.exp(v / TEMPERATURE).sum()
        return float(-TEMPERATURE * np.log(p[y.argmax()])) * VOLTS**2
    lacking = (v - y) * np.sign(y) < 0 if cost == "one-sided" else np.ones(len(y), dtype=bool)
    return float(0.5 * ((v - y)[lacking] ** 2).sum()) * VOLTS**2


def oracle_gradient(cost: str, v: np.ndarray, y: np.ndarray) -> np.ndarray:
    h = 1e-6
    steps = np.eye(len(v)) * h
    return np.array([(oracle_cost(cost, v + step, y) - oracle_cost(cost, v - step, y)) / (2 * h) for step in steps])


def a_block(network: Network) -> Block:
    return Block(network, CONNECTIONS, Circuit(network, CONNECTIONS), PER_AMPERE)


def a_plan(rng: np.random.Generator, n_tunable: int, n_steps: int, cost: str, **more: object) -> BlockPlan:
    targets = rng.choice([-0.4, 0.5], size=(4, 2)) * rng.uniform(0.5, 1, (4, 2))
    plan = BlockPlan(
        np.zeros((4, 2)),
        targets,
        rng.integers(0, 4, n_steps),
        rng.uniform(0.1, 2, n_tunable),
        np.full(n_tunable, 0.05),
        np.full(n_tunable, 3.0),
        ALPHA,
        GAMMA,
        cost,
        Sine(),
        temperature=TEMPERATURE,
        volts=VOLTS,
    )
    return replace(plan, **more)  # type: ignore[arg-type]


def parts(n: int, ladder: np.ndarray | None = None) -> Parts:
    return Parts(np.zeros(0) if ladder is None else ladder, 0.1, np.ones(n), np.zeros(n, dtype=bool))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 33), compiled=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_factor_solves_what_numpy_solves(seed: int, n: int, compiled: bool) -> None:
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(2 * n, n)) * 10 ** rng.uniform(-2, 2, n)
    A = B.T @ B
    K = np.zeros((n + 1, n + 2))
    K[:n, :n] = np.triu(A)  # the lower half is never looked at
    r, x = rng.normal(size=n), np.zeros(n)
    factor, solve = (kernels.factor, kernels.solve) if compiled else (kernels.factor.py_func, kernels.solve.py_func)
    assert factor(K, n, np.zeros(n)) == -1
    solve(K, n, 0, r.copy(), x)
    expected = np.linalg.solve(A, r)
    # Both are backward stable: each is off by no more than a few n eps cond.
    bound = 10 * n * EPS * np.linalg.cond(A)
    assert np.abs(x - expected).max() <= bound * np.abs(expected).max()
    many = np.zeros((n + 1, 4))
    many[:n] = r[:, None]
    (kernels.solve_many if compiled else kernels.solve_many.py_func)(K, n, many)
    assert np.abs(many[:n] - expected[:, None]).max() <= bound * np.abs(expected).max()


def test_the_factor_says_which_pivot_fails() -> None:
    K = np.zeros((4, 5))
    K[:3, :3] = [[2, -2, 0], [-2, 2, 0], [0, 0, 1]]  # nodes 0 and 1 hang together and on nothing else
    assert kernels.factor(K, 3, np.zeros(3)) == 1
    K[:3, :3] = [[2, 0, 0], [0, -1, 0], [0, 0, 1]]
    assert kernels.factor(K, 3, np.zeros(3)) == 1
    K[:3, :3] = [[np.nan, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert kernels.factor(K, 3, np.zeros(3)) == 0


@pytest.mark.parametrize("cost", ["squared", "one-sided", "cross-entropy"])
def test_the_gradient_is_that_of_the_cost_by_differences(cost: str) -> None:
    rng = np.random.default_rng(7)
    number = ("squared", "one-sided", "cross-entropy").index(cost)
    for _ in range(20):
        v, y, g = rng.normal(size=4), rng.choice([-1.0, 1.0], 4) * rng.uniform(0.2, 1, 4), np.zeros(4)
        for gradient in (kernels.gradient, kernels.gradient.py_func):
            gradient(number, TEMPERATURE * VOLTS, VOLTS, v, y, g)
            np.testing.assert_allclose(g, oracle_gradient(cost, v, y), atol=1e-8)


@pytest.mark.parametrize("cost", ["squared", "one-sided", "cross-entropy"])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_linear_steps_are_those_of_the_equations(
    cost: str, compiled: bool, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    network = drawn_network(rng, 9)
    plan = a_plan(rng, len(network.tunable), 5, cost)
    levels = np.hstack([rng.uniform(-1, 1, (4, 2)), np.zeros((4, 2))])
    if not compiled:
        monkeypatch.setattr(kernels, "run", kernels.run.py_func)
    state = BlockState(plan.wished.copy(), plan.wished.copy(), plan.wished.copy())
    outputs, response = np.zeros((5, 2)), np.zeros((2, 9))
    limits = (np.full(4, np.inf), np.inf)
    assert a_block(network).run(plan, levels, limits, parts(len(plan.wished)), state, outputs, response) is None
    G, still = plan.wished, np.zeros(9)
    for step, example in enumerate(plan.order):
        a = oracle_volts(network, G, levels[example], still)
        v = network.read_outputs(a)
        np.testing.assert_allclose(outputs[step], v, atol=1e-12)
        x = np.concatenate([[0, 0], -GAMMA * oracle_gradient(cost, v, plan.targets[example])])
        b = oracle_volts(network, G, x, still)
        G = np.clip(G - ALPHA * network.across_tunable(a) * network.across_tunable(b), 0.05, 3.0)
    np.testing.assert_allclose(state.wished, G, atol=1e-8)  # of the differences; without them 1e-12
    np.testing.assert_allclose(response[1], b, atol=1e-8)


@pytest.mark.parametrize("waveform", ["sine", "two-tone", "abs-sine", "square"])
@pytest.mark.parametrize("compiled", [True, False])
def test_steps_with_diodes_are_one_newton_a_sample(
    waveform: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(11)
    network = drawn_network(rng, 8, 5)
    plan = a_plan(rng, len(network.tunable), 3, "squared", free_activation=True)
    levels = np.hstack([rng.uniform(-1, 1, (4, 2)), np.zeros((4, 2))])
    if not compiled:
        monkeypatch.setattr(kernels, "run", kernels.run.py_func)
    record = projection(WAVEFORMS[waveform], 20, 2)
    f = WAVEFORMS[waveform].at(np.arange(40) / 20)
    np.testing.assert_allclose(record.f[record.which], f, atol=1e-14)
    series = np.zeros((40, 8))
    state = BlockState(plan.wished.copy(), plan.wished.copy(), plan.wished.copy())
    outputs, response = np.zeros((3, 2)), np.zeros((2, 8))
    limits = (np.full(4, np.inf), np.inf)
    a_block(network).run(
        plan, levels, limits, parts(len(plan.wished)), state, outputs, response, record=record, series=series
    )
    G = plan.wished
    for step, example in enumerate(plan.order):
        rest = oracle_volts(network, G, levels[example], np.zeros(8))
        v = network.read_outputs(rest)
        np.testing.assert_allclose(outputs[step], v, atol=1e-12)
        nudge = np.concatenate([[0, 0], -GAMMA * (v - plan.targets[example])])
        samples = np.array([oracle_volts(network, G, levels[example] + value * nudge, rest) for value in f])
        a, b = np.linalg.lstsq(np.column_stack([np.ones(40), f]), samples, rcond=None)[0]
        G = np.clip(G - ALPHA * network.across_tunable(rest) * network.across_tunable(b), 0.05, 3.0)
    np.testing.assert_allclose(series, samples, atol=1e-12)
    if waveform != "square":  # of a jump the lock-in's harmonic fit makes something else than least squares does
        np.testing.assert_allclose(response, [a, b], atol=1e-11)
        np.testing.assert_allclose(state.wished, G, atol=1e-11)


def test_a_strong_nudge_falls_back_on_newton_for_each_value() -> None:
    rng = np.random.default_rng(4)
    network = drawn_network(rng, 8, 5)
    plan = a_plan(rng, len(network.tunable), 1, "squared", gamma=40.0, alpha=1e-3)
    levels = np.hstack([rng.uniform(-1, 1, (4, 2)), np.zeros((4, 2))])
    record, series = projection(Sine(), 20, 1), np.zeros((20, 8))
    state = BlockState(plan.wished.copy(), plan.wished.copy(), plan.wished.copy())
    outputs = np.zeros((1, 2))
    limits = (np.full(4, np.inf), np.inf)
    arguments = (plan, levels, limits, parts(len(plan.wished)), state, outputs, np.zeros((2, 8)), 0, record, series)
    a_block(network).run(*arguments)
    example = int(plan.order[0])
    nudge = np.concatenate([[0, 0], -40.0 * (outputs[0] - plan.targets[example])])
    rest = oracle_volts(network, plan.wished, levels[example], np.zeros(8))
    v = rest
    for sample, value in enumerate(np.sin(2 * np.pi * np.arange(20) / 20)):
        for share in np.linspace(0.1, 1, 10):  # the undamped oracle needs small steps
            v = oracle_volts(network, plan.wished, levels[example] + share * value * nudge, v if share > 0.1 else rest)
        np.testing.assert_allclose(series[sample], v, atol=1e-9)


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
def test_taps_are_the_nearest_or_a_drawn_neighbour(stochastic: bool, accumulate: bool) -> None:
    rng = np.random.default_rng(5)
    network = drawn_network(rng, 7)
    n = len(network.tunable)
    ladder = 1 / (0.1 + 9.9 * np.arange(64)[::-1] / 63)
    draws = rng.random((4, n)) if stochastic else None
    plan = a_plan(rng, n, 4, "squared", draws=draws, accumulate=accumulate, stochastic=stochastic)
    levels = np.hstack([rng.uniform(-1, 1, (4, 2)), np.zeros((4, 2))])
    held = ladder[np.abs(ladder[:, None] - plan.wished).argmin(axis=0)]
    state = BlockState(plan.wished.copy(), held.copy(), held.copy())
    limits = (np.full(4, np.inf), np.inf)
    a_block(network).run(plan, levels, limits, parts(n, ladder), state, np.zeros((4, 2)), np.zeros((2, 7)))
    wished, still = plan.wished, np.zeros(7)
    for step, example in enumerate(plan.order):
        a = oracle_volts(network, held, levels[example], still)
        error = network.read_outputs(a) - plan.targets[example]
        b = oracle_volts(network, held, np.concatenate([[0, 0], -GAMMA * error]), still)
        base = wished if accumulate else held
        wished = np.clip(base - ALPHA * network.across_tunable(a) * network.across_tunable(b), 0.05, 3.0)
        if draws is None:
            held = ladder[np.abs(ladder[:, None] - wished).argmin(axis=0)]
        else:
            above = np.minimum(np.searchsorted(ladder, wished), 63)
            below = np.where(wished >= ladder[above], above, np.maximum(above - 1, 0))
            width = np.where(above > below, ladder[above] - ladder[below], 1.0)
            held = np.where(draws[step] < (wished - ladder[below]) / width, ladder[above], ladder[below])
    np.testing.assert_array_equal(state.held, held)
    np.testing.assert_allclose(state.wished, wished, atol=1e-12)


def test_what_is_true_of_a_part_is_not_what_it_tells() -> None:
    """Tolerance is of the resistance above the wiper; a stuck part keeps what is true of it."""
    n = 3
    steps = kernels.Steps(
        **{name: np.zeros(0) for name in kernels.Steps._fields}
        | {
            "ladder": np.array([0.1, 0.2, 0.5]),
            "wiper": 1.0,
            "factor": np.array([1.0, 1.1, 1.1]),
            "stuck": np.array([False, False, True]),
            "draws": np.zeros((0, 0)),
        }
    )
    held, true = np.zeros(n), np.full(n, 0.3)
    kernels.realise.py_func(steps, np.array([0.34, 0.36, 0.45]), 0, held, true)
    np.testing.assert_array_equal(held, [0.2, 0.5, 0.5])
    # 0.5 S is 2 Ohm, 1 of which is the wiper's; the other is 1.1.
    np.testing.assert_allclose(true, [0.2, 1 / 2.1, 0.3], rtol=1e-15)


def chain(diode: tuple[float, float] | None = None) -> Network:
    resistor = ELEMENTS["resistor"]
    branches = [Branch(f"R{i}", f"n{i}", f"n{i + 1}", resistor, (1.0,), True) for i in range(3)]
    if diode:
        branches.append(Branch("D", "n2", "ground", ELEMENTS["diode"], diode))
    return Network(("n0", "n1", "n2", "n3"), tuple(branches), (Port("n0", "ground"),), (Port("n1", "ground"),))


def run_chain(network: Network, G: list[float]) -> None:
    wired = (Connection(0, -1, "voltage"), Connection(1, -1, "current"))
    block = Block(network, wired, Circuit(network, wired), np.eye(2)[:, 1:])
    plan = BlockPlan(
        np.zeros((1, 1)), np.zeros((1, 1)), np.zeros(1, dtype=int), np.array(G), np.zeros(3), np.ones(3), 1.0, 1.0,
        "squared", Sine(),
    )  # fmt: skip
    state = BlockState(np.array(G), np.array(G), np.array(G))
    limits, record = (np.full(2, np.inf), np.inf), projection(Sine(), 20, 1)
    block.run(plan, np.array([[1.0, 0.0]]), limits, parts(3), state, np.zeros((1, 1)), np.zeros((2, 4)), 0, record)


def test_a_node_that_comes_loose_is_named() -> None:
    run_chain(chain(), [1.0, 1.0, 1.0])
    with pytest.raises(CircuitError, match=r"node n3 lies in a part with no path to ground"):
        run_chain(chain(), [1.0, 1.0, 0.0])
    with pytest.raises(CircuitError, match=r"node n[123]"):
        run_chain(chain(), [1.0, -3.0, 1.0])
    with pytest.raises(CircuitError, match=r"node n3"):
        run_chain(chain((1e-3, 0.1)), [1.0, 1.0, 0.0])


def test_what_cannot_be_a_plan_is_refused_before_the_kernel() -> None:
    rng = np.random.default_rng(0)
    network = drawn_network(rng, 7)
    plan = a_plan(rng, len(network.tunable), 2, "squared")
    state = BlockState(plan.wished.copy(), plan.wished.copy(), plan.wished.copy())
    limits, n = (np.full(4, np.inf), np.inf), len(plan.wished)
    with pytest.raises(ValueError, match="shape"):
        a_block(network).run(
            replace(plan, lowest=np.zeros(3)),
            np.zeros((4, 4)),
            limits,
            parts(n),
            state,
            np.zeros((2, 2)),
            np.zeros((2, 7)),
        )
    with pytest.raises(TypeError, match="give a record"):
        a_block(drawn_network(rng, 7, 2)).run(
            plan, np.zeros((4, 4)), limits, parts(n), state, np.zeros((2, 2)), np.zeros((2, 7))
        )
