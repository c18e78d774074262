"""The advice on the nudge against the formulas that it is made of, worked by hand, and against runs that follow it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from freqprop_lab.advice import Meter, measured_relaxation_time, recommend_nudge
from freqprop_lab.bench import Bench
from freqprop_lab.rules import Adjoint, Example, FrequencyPropagation, Rule
from freqprop_lab.tasks import Objective, Squared
from freqprop_lab.values import Array
from freqprop_lab.waveform import WAVEFORMS

OpenBench = Callable[..., Bench]

LINEAR = "bench: numeric\nnetwork: {kind: barabasi-albert, nodes: 12, edges: 30, inputs: 3, outputs: 2}\n"
DIODES = (
    "bench: numeric\nscales: {voltage: 1 V, conductance: 0.1 mS}\n"
    "network: {kind: hidden-layer, hidden: 3, inputs: 4, outputs: 1, emission_voltage: 0.03 V}\n"
)


@pytest.fixture
def linear(bench_of: OpenBench) -> tuple[Bench, list[Example]]:
    bench, rng = bench_of(LINEAR), np.random.default_rng(7)
    bench.program(rng.uniform(0.1, 1, 30))
    objective = Objective(Squared(), np.array([0.4, -0.3]), 1.0)
    return bench, [Example(rng.uniform(1, 3, 3), objective) for _ in range(3)]


@pytest.fixture
def diodes(bench_of: OpenBench) -> tuple[Bench, list[Example]]:
    bench, rng = bench_of(DIODES), np.random.default_rng(3)
    bench.program(np.exp(rng.uniform(np.log(0.1), np.log(1), 18)) * 1e-4)
    return bench, [Example(np.array([2.0, -2.0, 2.0, -2.0]), Objective(Squared(), np.array([0.3]), 1.0))]


def update(bench: Bench, rule: Rule, example: Example) -> Array:
    process = rule.process(example)
    measurement = next(process)
    while True:
        try:
            measurement = process.send(bench.respond(measurement.drive))
        except StopIteration as finished:
            return np.asarray(finished.value.delta)


def test_noise_falls_with_gamma_and_with_the_square_root_of_the_samples(linear):
    bench, examples = linear
    trade = recommend_nudge(bench, examples, Meter(1e-3, 20e3), 1.0, 0.05).trades["sine"]
    small = slice(0, 12)  # where b's noise is all that counts
    assert trade.noise[small] * trade.gammas[small] == pytest.approx(trade.noise[0] * trade.gammas[0], rel=1e-3)
    louder = recommend_nudge(bench, examples, Meter(2e-3, 20e3), 1.0, 0.05).trades["sine"]
    assert louder.noise == pytest.approx(2 * trade.noise, rel=1e-9)


def test_the_noise_foretold_is_the_scatter_of_noisy_updates(bench_of):
    noise, n_samples, gamma = 0.02, 100, 0.5
    quiet = bench_of(LINEAR)
    noisy = bench_of(LINEAR + f"meter: {{noise: {noise} V}}\nsampling: {{samples_per_period: 20, periods: 5}}\n")
    rng = np.random.default_rng(7)
    conductances = rng.uniform(0.1, 1, 30)
    # A target far away and a free record of little noise beside it: the scatter is that of a and b.
    example = Example(rng.uniform(1, 3, 3), Objective(Squared(), np.array([20.0, -20.0]), 1.0))
    for bench in (quiet, noisy):
        bench.program(conductances)
    for name in ("sine", "two-tone", "abs-sine"):
        rule = FrequencyPropagation(quiet.network, 1.0, gamma, WAVEFORMS[name])
        exact = update(quiet, rule, example)
        scatter = [np.linalg.norm(update(noisy, rule, example) - exact) for _ in range(400)]
        trade = recommend_nudge(quiet, [example], Meter(noise, 20e3), gamma, 0.1).trades[name]
        foretold = np.interp(gamma, trade.gammas, trade.noise) / np.sqrt(n_samples)
        found = np.sqrt(np.mean(np.square(scatter))) / np.linalg.norm(exact)
        # 400 updates of some ten independent parts know their rms to about 1.5 %; the free record adds a little.
        assert found == pytest.approx(foretold, rel=0.08), name


def test_the_bias_foretold_is_that_of_the_updates_themselves(diodes):
    bench, examples = diodes
    advice = recommend_nudge(bench, examples, Meter(1e-3, 20e3), 1e-4, 0.1)
    exact = update(bench, Adjoint(bench.network, 1.0, 1.0), examples[0])
    for name in ("sine", "two-tone", "abs-sine"):
        trade = advice.trades[name]
        for gamma in (3e-5, 1e-4):  # S: 0.3 and 1 in task units
            found = update(bench, FrequencyPropagation(bench.network, 1.0, gamma, WAVEFORMS[name]), examples[0]) / gamma
            off = np.linalg.norm(found - exact) / np.linalg.norm(exact)
            assert np.interp(gamma / 1e-4, trade.gammas, trade.bias) == pytest.approx(off, rel=0.35), name


def test_an_odd_waveform_is_biased_in_second_order_and_a_rectified_sine_in_first(diodes):
    bench, examples = diodes
    trades = recommend_nudge(bench, examples, Meter(1e-3, 20e3), 1e-5, 0.1).trades
    for name, order in (("sine", 2), ("two-tone", 2), ("abs-sine", 1)):
        trade = trades[name]
        slope = np.polyfit(np.log(trade.gammas[20:40]), np.log(trade.bias[20:40]), 1)[0]
        assert slope == pytest.approx(order, abs=0.15), name


def test_a_linear_network_has_no_bias(linear):
    bench, examples = linear
    for trade in recommend_nudge(bench, examples, Meter(1e-3, 20e3), 1.0, 0.05).trades.values():
        assert not trade.bias.any()


def test_only_waveforms_that_tell_the_sign_are_recommended_without_synchrony(linear):
    bench, examples = linear
    advice = recommend_nudge(bench, examples, Meter(1e-3, 20e3, synchronised=False), 1.0, 0.05)
    named = {choice.waveform for choice in advice.choices}
    assert named == {"two-tone", "abs-sine", "centred-abs-sine", "pulse", "sawtooth"}
    assert all(choice.margin >= 6 for choice in advice.choices if choice.reached)


def test_the_shortest_record_that_meets_the_error_comes_first_and_is_no_longer_than_needed(linear):
    bench, examples = linear
    advice = recommend_nudge(bench, examples, Meter(0.05, 20e3), 1.0, 0.02)
    reached = [choice for choice in advice.choices if choice.reached]
    assert reached == sorted(reached, key=lambda choice: choice.seconds)
    for choice in reached:
        assert choice.error <= 0.02
        if choice.periods > 2:  # a fifth less would not have done
            assert choice.error * np.sqrt(1.25) > 0.02 * 0.9


def test_more_noise_than_any_record_can_average_out_is_told(linear):
    bench, examples = linear
    advice = recommend_nudge(bench, examples, Meter(50.0, 20e3, most_samples=1000), 1.0, 0.01)
    assert not any(choice.reached for choice in advice.choices)


def test_a_slow_network_is_nudged_slowly_and_more_so_with_harmonics(linear):
    bench, examples = linear
    tau = 1e-4
    choices = recommend_nudge(bench, examples, Meter(1e-3, 200e3, tau), 1.0, 0.03).choices
    by_name = {choice.waveform: choice for choice in choices}
    # A third of 3 %: (omega tau)^2 / (1 + (omega tau)^2) = 0.01 at omega tau = 0.1005.
    assert by_name["sine"].frequency <= 0.10051 / (2 * np.pi * tau)
    assert by_name["sine"].frequency == pytest.approx(0.10051 / (2 * np.pi * tau), rel=0.02)
    assert by_name["two-tone"].frequency == pytest.approx(by_name["sine"].frequency / 2, rel=0.02)
    assert all(choice.relaxation <= 0.01 * 1.0001 for choice in choices)


def test_the_phase_of_a_nudge_tells_the_relaxation_time(bench_of, tmp_path):
    # The input drives n1 through 1 kOhm, which has 1 kOhm and 1 uF to ground: tau = 0.5 kOhm x 1 uF.
    branches = "name,plus,minus,kind,value\nR1,n0,n1,tunable,1 kOhm\nR2,n1,ground,resistor,1 kOhm\n"
    (tmp_path / "network.csv").write_text(branches, encoding="utf-8")
    bench = bench_of(
        f"bench: numeric\nnetwork: {{kind: csv, file: {tmp_path / 'network.csv'}, inputs: [[n0]], outputs: [[n1]]}}\n"
        "parts: {capacitance: 1 uF}\nsampling: {frequency: 30 Hz, samples_per_period: 100, settle: 100 ms}\n"
    )
    bench.program(np.array([1e-3]))
    example = Example(np.array([1.0]), Objective(Squared(), np.array([0.0]), 1.0))
    assert measured_relaxation_time(bench, example, 1e-5) == pytest.approx(0.5e-3, rel=1e-6)


@pytest.mark.parametrize(
    ("meter", "error", "wanted"),
    [
        (Meter(1e-3, 20e3), 0.0, "wished error is 0"),
        (Meter(1e-3, 20e3), 1.5, "between 0 and 1"),
        (Meter(-1.0, 20e3), 0.1, "can't be negative"),
        (Meter(1e-3, 0.0), 0.1, "sample rate is above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(linear, meter, error, wanted):
    bench, examples = linear
    with pytest.raises(ValueError, match=wanted):
        recommend_nudge(bench, examples, meter, 1.0, error)


def test_examples_without_error_are_refused(linear):
    bench, examples = linear
    outputs = bench.read_many(examples[0].levels[None])[0]
    content = Example(examples[0].levels, Objective(Squared(), outputs, 1.0))
    with pytest.raises(ValueError, match="show no error"):
        recommend_nudge(bench, [content], Meter(1e-3, 20e3), 1.0, 0.1)


BENCH = "bench: numeric\nnetwork: {kind: barabasi-albert, nodes: 24, edges: 60}\nmeter: {noise: 5 mV, bits: 12}\n"


def test_the_command_prints_lines_that_a_bench_file_takes(freqprop, tmp_path):
    Path("b.yaml").write_text(BENCH, encoding="utf-8")
    status, out, err = freqprop("nudge", "b.yaml", "--error", "0.2")
    assert status == 0, err
    # 5 mV, and a step of 20 V / 4096 over sqrt(12)
    assert f"noise {np.hypot(5e-3, 20 / 4096 / np.sqrt(12)):.3g} V a sample" in out
    assert Path("nudge.png").stat().st_size > 10_000
    lines = out.splitlines()
    sampling = next(line for line in lines if line.startswith("  sampling: "))
    nudge = next(line for line in lines if line.startswith("  nudge: "))
    Path("followed.yaml").write_text(BENCH + sampling.strip() + "\n", encoding="utf-8")
    Path("e.yaml").write_text(f"task: {{kind: iris}}\n{nudge.strip()}\nconductances: {{start: [0.1, 1]}}\nepochs: 1\n")
    status, out, err = freqprop("train", "e.yaml", "--bench", "followed.yaml", "--run", "r", "--quiet")
    assert status == 0, err


def test_the_command_speaks_json(freqprop):
    Path("b.yaml").write_text(BENCH, encoding="utf-8")
    options = ("--no-plot", "--noise", "2 mV", "--relaxation-time", "1 us")
    status, out, err = freqprop("nudge", "b.yaml", "--json", *options)
    assert status == 0, err
    told = json.loads(out)
    assert (told["noise"], told["relaxation_time"], told["synchronised"]) == (0.002, 1e-6, True)
    assert {"waveform", "gamma", "frequency", "periods", "error", "margin"} <= set(told["choices"][0])
    assert not Path("nudge.png").exists()


def test_a_unit_that_is_none_is_refused_by_the_option(freqprop):
    Path("b.yaml").write_text(BENCH, encoding="utf-8")
    status, _, err = freqprop("nudge", "b.yaml", "--noise", "2 mA")
    assert status == 2
    assert "--noise" in err
    assert "V" in err
