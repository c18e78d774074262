"""Ratings: the worst case of a run, by hand, against what the parts bear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from freqprop_lab.bench import Bench, margins, rated_conductance
from freqprop_lab.config import FileError, RatingsSection, parse_experiment
from freqprop_lab.instruments import LimitError
from freqprop_lab.session import load_bench, prepare
from freqprop_lab.values import Drive, Nudge
from freqprop_lab.waveform import Sine

OpenBench = Callable[..., Bench]
NETWORK = "network: {kind: barabasi-albert, nodes: 16, edges: 32, inputs: 4, outputs: 3}\n"
SINGLE_SUPPLY = "common_mode: 2.5 V\nnudge: {source: resistor, resistance: 1 kOhm}\nscales: {conductance: 1 mS}\n"
EXPERIMENT = "task: {kind: iris}\nconductances: {start: [0.1, 1], bounds: [0.05, 20]}\nepochs: 1\nbench:\n"


def test_a_wiper_of_2_5_mA_at_5_V_may_not_go_below_2_kOhm(bench_of: OpenBench) -> None:
    # Pairs at 5 V about 2.5 V: legs at 0 V and 5 V; the span is 5 V, and 2.5 mA / 5 V is 0.5 mS.
    bench = bench_of(NETWORK + SINGLE_SUPPLY)
    ratings = RatingsSection(current="2.5 mA", nudge="1 V")
    assert rated_conductance(bench, ratings, np.full((1, 4), 5.0)) == pytest.approx(0.5e-3)


def test_power_bounds_the_conductance_by_the_square_of_the_span(bench_of: OpenBench) -> None:
    bench = bench_of(NETWORK + SINGLE_SUPPLY)
    ratings = RatingsSection(power="10 mW", nudge="1 V")
    assert rated_conductance(bench, ratings, np.full((1, 4), 2.0)) == pytest.approx(10e-3 / 2.0**2)


def test_the_nudge_widens_the_span(bench_of: OpenBench) -> None:
    # Levels of 0.2 V: legs 2.4 to 2.6 V; a nudge of 0.5 V about 2.5 V: 2.0 to 3.0 V.
    bench = bench_of(NETWORK + SINGLE_SUPPLY)
    assert bench.source_span(np.full((1, 4), 0.2), 0.5) == pytest.approx((2.0, 3.0))


def test_margins_name_the_worst_terminal_and_element(bench_of: OpenBench) -> None:
    bench = bench_of(NETWORK + SINGLE_SUPPLY)
    ratings = RatingsSection(rails=["0 V", "5 V"], voltage="0.1 V", current="2.5 mA", nudge="0.5 V")
    highest = np.full(32, 1e-3)
    highest[7] = 2e-3
    found = {margin.what: margin for margin in margins(bench, ratings, np.full((1, 4), 0.2), highest)}
    assert found["highest terminal"].worst == pytest.approx(3.0)
    assert found["highest terminal"].is_kept
    assert not found["voltage across an element"].is_kept  # 1 V, where a memristor bears 0.1 V
    assert found["current in an element"].worst == pytest.approx(2e-3)
    assert bench.network.tunable_names[7] in found["current in an element"].where


def test_a_run_keeps_its_conductances_where_the_parts_bear_them() -> None:
    text = (
        EXPERIMENT + "  ratings: {current: 2.5 mA, nudge: 100 mV}\n  " + (NETWORK + SINGLE_SUPPLY).replace("\n", "\n  ")
    )
    experiment = parse_experiment(text.rstrip() + "\n", Path("e.yaml"))
    with load_bench(None, experiment) as bench:
        job = prepare(experiment, bench)
        levels = job.task.levels
        span = max(2.5 + levels.max() / 2, 2.6) - min(2.5 - levels.max() / 2, 2.4)
        assert job.highest == pytest.approx(np.full(32, 2.5e-3 / span))


def test_a_run_beyond_the_rails_is_refused_with_the_numbers() -> None:
    text = (
        EXPERIMENT
        + "  ratings: {rails: [2 V, 3 V], nudge: 100 mV}\n  "
        + (NETWORK + SINGLE_SUPPLY).replace("\n", "\n  ")
    )
    experiment = parse_experiment(text.rstrip() + "\n", Path("e.yaml"))
    with (
        load_bench(None, experiment) as bench,
        pytest.raises(FileError, match=r"line 5: ratings: lowest terminal.*V.*allowed"),
    ):
        prepare(experiment, bench)


def test_a_nudge_beyond_its_rating_is_refused_before_anything_is_sent(bench_of: OpenBench) -> None:
    bench = bench_of(NETWORK + SINGLE_SUPPLY + "ratings: {nudge: 100 mV}\n")
    bench.program(np.full(32, 1e-3))
    strong = Nudge(np.array([0.0, 0.2e-3, 0.0]), Sine())  # 0.2 mA through 1 kOhm: 0.2 V
    with pytest.raises(LimitError, match=r"0\.2 V asked, ratings\.nudge is 0\.1 V\. Nothing was sent"):
        bench.respond(Drive(np.zeros(4), strong))
