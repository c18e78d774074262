"""Theorem 2 as measured: how far -alpha a b is from the gradient, by the size of the nudge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from freqprop_lab.bench import Bench
from freqprop_lab.lockin import demodulate
from freqprop_lab.rules import Adjoint, Example, FiniteDifferences, FrequencyPropagation, Rule
from freqprop_lab.tasks import Objective, Squared
from freqprop_lab.values import Array, Drive, Nudge, NudgeKind
from freqprop_lab.waveform import RectifiedSine, Sine

N_VT = 0.03  # V
DIODES = f"""\
bench: numeric
scales: {{voltage: 1 V, conductance: 0.1 mS}}
network: {{kind: hidden-layer, hidden: 3, inputs: 4, outputs: 1, emission_voltage: {N_VT} V}}
"""
LINEAR = "bench: numeric\nnetwork: {kind: barabasi-albert, nodes: 20, edges: 60, inputs: 3, outputs: 2}\n"
OpenBench = Callable[..., Bench]


def update(bench: Bench, rule: Rule, example: Example) -> Array:
    """Run a rule's measurements on a bench, as the trainer does."""
    process = rule.process(example)
    measurement = next(process)
    realised = bench.conductances
    while True:
        if measurement.offsets is not None:
            bench.program(realised + measurement.offsets)
        response = bench.respond(measurement.drive)
        if measurement.offsets is not None:
            bench.program(realised)
        try:
            measurement = process.send(response)
        except StopIteration as finished:
            return np.asarray(finished.value.delta)


@pytest.fixture
def diode_bench(bench_of: OpenBench) -> tuple[Bench, Example]:
    """The XOR net half way into conduction, with an error of some tenths of a volt."""
    bench = bench_of(DIODES)
    rng = np.random.default_rng(3)
    bench.program(np.exp(rng.uniform(np.log(0.1), np.log(1), 18)) * 1e-4)
    return bench, Example(np.array([2.0, -2.0, 2.0, -2.0]), Objective(Squared(), np.array([0.3]), 1.0))


@pytest.fixture
def linear_bench(bench_of: OpenBench) -> tuple[Bench, Example]:
    bench = bench_of(LINEAR)
    rng = np.random.default_rng(4)
    bench.program(rng.uniform(0.1, 1, 60))
    return bench, Example(rng.uniform(1, 3, 3), Objective(Squared(), np.array([0.5, -0.2]), 1.0))


def slope(gammas: Array, deviations: list[float]) -> float:
    return float(np.polyfit(np.log(gammas), np.log(deviations), 1)[0])


def at_the_diodes(bench: Bench, example: Example, gamma: float) -> float:
    """|b| at the diodes, in n Vt: how nonlinear the nudge finds the network."""
    rest = bench.respond(Drive(example.levels))
    error = example.objective.gradient(bench.network.read_outputs(rest.a))
    nudged = bench.respond(Drive(example.levels, Nudge(-gamma * error, Sine())))
    hidden = [bench.network.index[f"h{i}"] for i in (1, 2, 3)]
    return float(np.abs(nudged.b[hidden]).max()) / N_VT


def test_the_adjoint_is_the_central_difference_of_the_cost(diode_bench: tuple[Bench, Example]) -> None:
    bench, example = diode_bench
    exact = update(bench, Adjoint(bench.network, 1.0, 1e-4), example)
    measured = update(bench, FiniteDifferences(bench.network, 1.0, 1e-4, 1e-9), example)
    np.testing.assert_allclose(measured, exact, atol=1e-7 * np.abs(exact).max(), rtol=0)


def deviations(bench: Bench, example: Example, gammas: Array, rule_of: Callable[[float], Rule]) -> list[float]:
    """|update - adjoint| for each gamma, relative to nothing: theorem 2 speaks of the update itself."""
    return [
        float(np.abs(update(bench, rule_of(g), example) - update(bench, Adjoint(bench.network, 1.0, g), example)).max())
        for g in gammas
    ]


def test_with_a_sine_the_update_departs_from_the_gradient_in_third_order(diode_bench: tuple[Bench, Example]) -> None:
    bench, example = diode_bench
    gammas = np.geomspace(4e-5, 3e-4, 7)
    reached = [at_the_diodes(bench, example, g) for g in (gammas[0], gammas[-1])]
    assert 0.05 <= reached[0] < reached[1] <= 0.5
    found = deviations(bench, example, gammas, lambda g: FrequencyPropagation(bench.network, 1.0, g, Sine()))
    assert 2.8 <= slope(gammas, found) <= 3.2


def test_with_abs_sine_read_at_the_kink_it_departs_in_second_order(diode_bench: tuple[Bench, Example]) -> None:
    bench, example = diode_bench
    gammas = np.geomspace(4e-5, 3e-4, 7)
    network = bench.network
    found = []
    for gamma in gammas:
        rest = bench.respond(Drive(example.levels))
        error = example.objective.gradient(network.read_outputs(rest.a))
        record = bench.measure(Drive(example.levels, Nudge(-gamma * error, RectifiedSine())))
        # 20 samples a period hit the kink and the peak, so the printed reading has no error of its own.
        inner = [i for i, name in enumerate(network.nodes) if not name.startswith("x")]
        read = demodulate(
            record.volts[inner], record.sample_rate, RectifiedSine(), 1000.0, synchronised=False, method="kink"
        )
        a, b = rest.a.copy(), np.zeros(len(network.nodes))
        a[inner], b[inner] = read.a, read.b
        delta = -network.across_tunable(a) * network.across_tunable(b)
        found.append(float(np.abs(delta - update(bench, Adjoint(network, 1.0, gamma), example)).max()))
    assert 1.8 <= slope(gammas, found) <= 2.2


def test_on_a_linear_network_the_open_loop_update_is_the_gradient_at_any_gamma(
    linear_bench: tuple[Bench, Example],
) -> None:
    bench, example = linear_bench
    for gamma in (0.01, 1.0, 30.0):
        exact = update(bench, Adjoint(bench.network, 1.0, gamma), example)
        found = update(bench, FrequencyPropagation(bench.network, 1.0, gamma, Sine()), example)
        np.testing.assert_allclose(found, exact, atol=1e-12 * np.abs(exact).max(), rtol=0)


def test_the_closed_loop_departs_in_third_order_even_on_a_linear_network(linear_bench: tuple[Bench, Example]) -> None:
    bench, example = linear_bench
    gammas = np.geomspace(0.02, 0.2, 6)
    found = deviations(
        bench, example, gammas, lambda g: FrequencyPropagation(bench.network, 1.0, g, Sine(), NudgeKind.FEEDBACK)
    )
    assert 2.8 <= slope(gammas, found) <= 3.2


def test_the_clamped_nudge_is_not_a_gradient_however_small_it_is(linear_bench: tuple[Bench, Example]) -> None:
    bench, example = linear_bench
    gradient = update(bench, Adjoint(bench.network, 1.0, 1.0), example)
    angles = []
    for gamma in (1e-3, 1e-1):
        clamped = FrequencyPropagation(bench.network, 1.0, gamma, Sine(), NudgeKind.CLAMPED)
        found = update(bench, clamped, example)
        angles.append(float(found @ gradient / np.linalg.norm(found) / np.linalg.norm(gradient)))
    assert angles[0] == pytest.approx(angles[1], abs=1e-6)  # it does not get better as the nudge gets smaller
    assert 0.1 < angles[0] < 0.99  # roughly the way down, and not the gradient


def test_the_wrong_sign_of_the_nudge_climbs(linear_bench: tuple[Bench, Example]) -> None:
    bench, example = linear_bench
    before = example.objective.value(bench.network.read_outputs(bench.respond(Drive(example.levels)).a))
    delta = update(bench, FrequencyPropagation(bench.network, 1e-3, 1.0, Sine()), example)
    start = bench.conductances
    costs = []
    for sign in (1, -1):
        bench.program(start + sign * delta)
        costs.append(example.objective.value(bench.network.read_outputs(bench.respond(Drive(example.levels)).a)))
    assert costs[0] < before < costs[1]
