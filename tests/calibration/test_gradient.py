"""`gradient` as a whole: its numbers against the hidden circuit's own, and each planted fault by its name."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gradient_bench import RESISTOR, findings, opened, quantity
from pytest import approx

from calibration.errors import ProcedureError
from calibration.procedure import Taken, reach
from calibration.registry import make_procedure
from calibration.running import check_plan, run_procedure
from calibration.subject import subject_of
from freqprop_lab.stopping import Interrupted, StopRequest
from freqprop_lab.values import Correction

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from _planted import CAUSES, planted_bench
from calibration_gradient import hits

QUIET = "meter: {noise: 0.1 mV}"


def true_gradient(bench, levels: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return dC/dG of every tunable branch, V^2/S, (tunable,), by differences of the hidden circuit, 1e-4 both ways."""
    network, board = bench.network, bench.breadboard
    base, found = board.conductances.copy(), []
    for number in range(len(base)):
        outputs = []
        for sign in (1, -1):
            turned = base.copy()
            turned[number] *= 1 + sign * 1e-4
            board.conductances = turned
            circuit, live = board.linear_circuit(levels)
            outputs.append(network.read_outputs(circuit.operating_point(levels[live])))
        found.append(gradient @ (outputs[0] - outputs[1]) / (2e-4 * base[number]))
    board.conductances = base
    return np.array(found)


def test_both_gradients_are_the_hidden_circuits_own():
    with opened(5, QUIET) as bench:
        found = findings(bench, "gradient", samples=2000, elements="all")
        truth = true_gradient(bench, found.arrays["levels"], np.array([0.1, -0.1]))
        names = list(bench.network.tunable_names)
    for name in ("gradient", "finite difference"):
        one = quantity(found, name)
        assert len(one.labels) == 32
        expected = truth[[names.index(label) for label in one.labels]]
        z = (one.values - expected) / one.standard_uncertainty
        assert np.abs(z).max() < 4, name
        assert np.std(z) == approx(1.0, abs=0.4), name


@pytest.mark.prove
def test_intervals_hold_the_truth_as_often_as_they_say():
    inside: dict[str, list[bool]] = {name: [] for name in ("gradient", "finite difference", "delay", "pickup", "line")}
    for seed in range(500, 540):
        with opened(seed, "meter: {noise: 1 mV}") as bench:
            found = findings(bench, "gradient", samples=1000)
            expected = true_gradient(bench, found.arrays["levels"], np.array([0.1, -0.1]))
            names = list(bench.network.tunable_names)
        truths = {"delay": 0.0, "scale": 1.0, "bias": 0.0}
        for name in ("gradient", "finite difference"):
            truths[name] = expected[[names.index(label) for label in quantity(found, name).labels]]
        for name, truth in truths.items():
            low, high = quantity(found, name).interval()
            inside[name if name in inside else "line"] += ((low <= truth) & (truth <= high)).tolist()
        with opened(seed, "meter: {noise: 1 mV, pickup: 2 mV}") as bench:
            low, high = quantity(findings(bench, "bias", samples=1000), "pickup").interval()
            truth = bench.truth().meter_pickup
            inside["pickup"] += ((low <= truth) & (truth <= high)).tolist()
    shares = {name: np.mean(each) for name, each in inside.items()}
    assert all(0.92 <= share <= 0.98 for name, share in shares.items() if name != "line"), shares
    assert shares["line"] >= 0.88, shares  # 80 of them: 95 %, less 3 standard deviations


def test_a_noiseless_bench_agrees_to_parts_in_ten_thousand():
    with opened(6, "meter: {}") as bench:
        found = findings(bench, "gradient", samples=200)
    assert found.verdict.status == "good"
    assert found.outcome["main_cause"] is None
    assert quantity(found, "cosine").values == approx([1.0], abs=1e-8)
    assert quantity(found, "scale").values == approx([1.0], abs=1e-4)
    assert quantity(found, "port sign").values == approx([1.0, 1.0], abs=1e-3)


def test_elements_span_all_sizes_of_their_update_and_end_as_they_were():
    with opened(7) as bench:
        before = bench.conductances.copy()
        found = findings(bench, "gradient", samples=1000, elements="5")
        assert bench.conductances == approx(before, rel=1e-12)
        everything = findings(bench, "gradient", samples=1000, elements="all")
    sizes = np.sort(np.abs(quantity(everything, "gradient").values))
    chosen = np.sort(np.abs(quantity(found, "gradient").values))
    assert chosen[-1] == approx(sizes[-1], rel=0.05)
    assert chosen[0] < np.median(sizes)


def test_elements_can_be_named():
    with opened(7) as bench:
        names = bench.network.tunable_names
        found = findings(bench, "gradient", samples=1000, elements=f"{names[3]}, {names[9]},{names[20]}")
        assert quantity(found, "gradient").labels == (names[3], names[9], names[20])
        with pytest.raises(ProcedureError, match=r'--elements: no tunable branch "nowhere"'):
            findings(bench, "gradient", samples=1000, elements="nowhere,n0-n1")


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ("meter: {noise: 1 mV}\ncommon_mode: 2.5 V", {}),
        ("meter: {noise: 1 mV}", {"nudge": "{source: current}"}),
        ("meter: {noise: 1 mV}", {"inputs": "{source: current}"}),
        ("meter: {noise: 1 mV}", {"inputs": "{source: voltage}"}),
        ("meter: {noise: 1 mV, skew: 200 us}", {}),
        ("meter: {noise: 1 mV, synchronised: false}", {}),
        ("meter: {noise: 0.2 mV, hum: 20 mV}\nlockin: {hum: 50 Hz}", {"frequency": "200 Hz"}),
    ],
)
def test_every_way_to_wire_a_good_bench_is_called_good(more: str, options: dict[str, str]):
    samples = 1000 if "hum" in more else 10_000
    with opened(8, more, **options) as bench:
        assert findings(bench, "gradient", samples=samples).verdict.status == "good"


def test_a_good_bench_is_called_good_and_each_planted_cause_is_found():
    """One trial each; 40 each: benchmarks/calibration_gradient.py."""
    for cause in (None, *CAUSES):
        assert hits(cause, [100]) == [True], cause


@pytest.mark.prove
@pytest.mark.parametrize("cause", [None, *CAUSES])
def test_nine_in_ten_planted_causes_are_found(cause: str | None):
    assert sum(hits(cause, range(40))) >= 36


@pytest.mark.parametrize("kind", ["drives", "reads"])
def test_the_leads_that_are_exchanged_are_named_by_channel_and_node(kind: str):
    with opened(9) as bench:
        port = bench.network.outputs[1]
    with opened(9, f"meter: {{noise: 1 mV}}\nfaults: {{swapped_{kind}: [[{port.plus}, {port.minus}]]}}") as bench:
        found = findings(bench, "gradient", samples=2000)
    what = {"drives": "source", "reads": "meter"}[kind]
    assert found.outcome["main_cause"] == "wrong sign of a port"
    assert f"exchange the {what} leads of output {port.plus}/{port.minus}" in found.verdict.words[0]
    assert f"at nodes {port.plus} and {port.minus}" in found.verdict.words[0]
    signs = quantity(found, "port sign")
    assert signs.values[0] > 0.5
    if kind == "drives":
        assert signs.values[1] == approx(-1.0, abs=0.1)


def test_a_stuck_element_is_named_where_no_fault_of_the_nudge_explains_it():
    with opened(10) as bench:
        stuck = quantity(findings(bench, "gradient", samples=2000), "gradient").labels[0]
    with opened(10, f"meter: {{noise: 1 mV}}\nresistors: {{stuck: [{stuck}]}}") as bench:
        found = findings(bench, "gradient", samples=2000)
    assert found.verdict.status == "bad"
    assert found.outcome["main_cause"] is None
    assert f"most of it is at {stuck}" in found.verdict.words[0]


@pytest.mark.prove
def test_the_gamma_to_use_and_the_frequency_to_use_make_it_good():
    """Each fault once; 40 each: benchmarks/calibration_gradient.py."""
    with planted_bench("gamma too large", 101) as (bench, options):
        found = findings(bench, "gradient", **options)
        assert found.outcome["gamma_to_use"] < options["gamma"] / 2
        again = findings(bench, "gradient", gamma=found.outcome["gamma_to_use"])
        assert again.outcome["main_cause"] is None
    with planted_bench("omega too fast", 101) as (bench, options):
        found = findings(bench, "gradient", **options)
        hertz = found.outcome["frequency_to_use"]
        assert hertz <= 50.0
        bench.sampling = bench.sampling.model_copy(update={"frequency": hertz})
        assert findings(bench, "gradient", **options).outcome["main_cause"] is None
    assert re.search(rf"Set sampling.frequency to {hertz:.3g} Hz", found.verdict.words[0])


def test_the_delays_are_the_hidden_ones():
    with opened(11, "meter: {noise: 1 mV, skew: 100 us, hidden_skew: 1 ms}") as bench:
        delay = quantity(findings(bench, "gradient"), "delay")
        truth = bench.truth()
    z = (delay.values - (truth.meter_delay - truth.meter_skew)) / delay.standard_uncertainty
    assert np.abs(z).max() < 3
    assert delay.standard_uncertainty.max() < 2e-4


def test_on_a_corrected_bench_what_is_corrected_is_no_cause_any_more():
    with opened(12, "meter: {noise: 1 mV, hidden_skew: 1.5 ms, pickup: 5 mV}") as bench:
        assert findings(bench, "gradient").verdict.status == "bad"
        truth = bench.truth()
        # The pickup of a late channel is late too: its part in phase is what a lock-in that knows the delay reads.
        bench.correction = Correction(skews=truth.meter_delay, pickup=truth.meter_pickup)
        assert findings(bench, "gradient").verdict.status == "good"


def test_updates_below_a_potentiometers_step_are_told_with_both_sizes():
    pots = "resistors: {taps: 64, end_to_end: 50 kOhm, wiper: 500 Ohm}"
    with opened(13, f"meter: {{noise: 1 mV}}\n{pots}") as bench:
        found = findings(bench, "gradient")
    assert found.outcome["main_cause"] == "quantised update"
    assert found.verdict.status == "doubtful"  # the gradient itself is right
    assert "100 % of an update is lost" in found.verdict.words[0]
    assert "accumulate" in found.verdict.words[0]
    effect = quantity(found, "effect of the update")
    assert effect.labels == ("asked", "realised", "measured")
    assert effect.values[1] == 0.0


def test_parts_that_claim_more_than_they_do_are_seen_by_the_outputs():
    with opened(14, QUIET) as bench:
        subject, procedure = subject_of(bench), make_procedure("gradient", alpha=3e4, samples=2000)
        process = procedure.process(subject)
        wanted = next(process)
        try:
            while True:
                # An element that is told an update of all and takes none of it, but answers that it did.
                idle = wanted.says == "the update programmed"
                held = (
                    bench.program(subject.conductances if idle else wanted.conductances)
                    if wanted.conductances is not None
                    else bench.conductances
                )
                bench.sampling = bench.sampling.model_copy(update={"frequency": wanted.frequency or 100.0})
                record = bench.measure_channels(wanted.drive, wanted.n_periods)
                said = wanted.conductances if idle else held
                wanted = process.send(Taken(record, said, bench.sampling.frequency))
        except StopIteration as finished:
            found = finished.value
    assert found.outcome["main_cause"] == "quantised update"
    assert "say that they took it, but the outputs moved by" in found.verdict.words[0]


@pytest.mark.parametrize("more", ["meter: {noise: 1 mV}", "resistors: {taps: 5, end_to_end: 50 kOhm, wiper: 2 kOhm}"])
def test_what_is_planned_bounds_what_is_driven_and_how_many_records_it_takes(more):
    """Of coarse elements too, and of an update that would move them from end to end."""
    with opened(15, more) as bench:
        # At a volt: a b is some 0.01 V^2, so that this alpha asks for far more than any element has.
        subject, procedure = subject_of(bench), make_procedure("gradient", samples=400, alpha=1e6)
        plan = procedure.plan(subject)
        check_plan(subject, plan)
        seen, driven, programmed = [], [], []
        program, measure = bench.program, bench.measure_channels

        def watched(conductances):
            realised = program(conductances)
            programmed.append(realised)
            return realised

        def measured(drive, n_periods=None):
            driven.append(reach(drive))
            return measure(drive, n_periods)

        bench.program, bench.measure_channels = watched, measured
        run_procedure(bench, procedure, subject=subject, tell=lambda taken, in_all, says: seen.append(says))
        live = subject.live
        assert 20 < len(seen) == len(driven) <= plan.n_records
        assert 20 < len(programmed) <= plan.n_programmings
        assert (np.min([low for low, _ in driven], axis=0) >= plan.lowest * (1 + 1e-12))[live].all()
        assert (np.max([high for _, high in driven], axis=0) <= plan.highest * (1 + 1e-12))[live].all()
        low, high = plan.conductances
        assert (np.min(programmed, axis=0) >= low * (1 - 1e-9)).all()
        assert (np.max(programmed, axis=0) <= high * (1 + 1e-9)).all()
        if "taps" not in more:
            assert plan.conductances[1] == approx(1.2 * subject.conductances)
        assert "12 elements are turned by 20% and 10% both ways" in plan.words[0]


def test_too_few_elements_are_refused_before_anything_is_driven():
    with opened(15) as bench:
        subject, names = subject_of(bench), bench.network.tunable_names
        for elements in ("2", f"{names[0]},{names[3]}"):
            with pytest.raises(ProcedureError, match="2 elements can be compared, at least 3 are wanted"):
                make_procedure("gradient", elements=elements).plan(subject)
        fixed = replace(subject, conductance_low=subject.conductances, conductance_high=subject.conductances)
        with pytest.raises(ProcedureError, match="0 elements can be compared"):
            make_procedure("gradient").plan(fixed)
        with pytest.raises(ProcedureError, match=f'no tunable branch "{names[0]}x". Did you mean "{names[0]}"'):
            make_procedure("gradient", elements=f"{names[0]}x").plan(subject)


def test_it_can_be_stopped_between_two_records():
    with opened(15) as bench:
        stop = StopRequest()

        def tell(taken: int, in_all: int, says: str) -> None:
            if taken == 3:
                stop.ask()

        with pytest.raises(Interrupted, match="stopped after 4 of"):
            run_procedure(bench, make_procedure("gradient", samples=400), stop=stop, tell=tell)


def test_a_nudge_beyond_what_a_source_can_give_is_refused_with_what_to_lower():
    with opened(15, "source: {limit: 1 V}") as bench:
        subject = subject_of(bench)
    with pytest.raises(ProcedureError, match="Nothing was driven; lower --gamma, --error or --volts"):
        make_procedure("gradient", gamma=200.0).plan(subject)
    with opened(15, "ratings: {nudge: 5 mV}") as bench:
        subject = subject_of(bench)
    with pytest.raises(ProcedureError, match="would get a nudge of 0.01 V, it has room for 0.005 V"):
        make_procedure("gradient").plan(subject)


def test_an_output_that_nobody_reads_is_named():
    with opened(15) as bench:
        subject = subject_of(bench)
        port = subject.network.outputs[0]
        process = make_procedure("gradient", samples=400).process(subject)
        wanted = next(process)
        record = bench.measure_channels(wanted.drive, wanted.n_periods)
        volts = record.volts.copy()
        volts[subject.network.index[port.minus]] = np.nan
        with pytest.raises(ProcedureError, match=f"output {port.name} is not read at both ends; wire a meter"):
            process.send(Taken(replace(record, volts=volts), subject.conductances, 100.0))


def test_elements_with_an_end_that_nobody_reads_are_left_out():
    with opened(16) as bench:
        subject = subject_of(bench)
        ends = {node for port in subject.network.inputs + subject.network.outputs for node in (port.plus, port.minus)}
        unread = next(node for node in subject.network.nodes if node not in ends)
        low = subject.meter_low.copy()
        low[subject.network.index[unread]] = np.nan
        channels = {node: name for node, name in subject.meter_channels.items() if node != unread}
        blind = replace(subject, meter_low=low, meter_channels=channels)
        procedure = make_procedure("gradient", samples=2000, elements="all")
        found = run_procedure(bench, procedure, subject=blind)
        at_it = [b.name for b in subject.network.branches if unread in (b.plus, b.minus)]
    labels = quantity(found, "gradient").labels
    assert len(labels) == 32 - len(at_it)
    assert not set(labels) & set(at_it)
    assert len(quantity(found, "delay").labels) == 15
    assert found.outcome["main_cause"] is None


def test_a_bench_without_a_way_to_nudge_is_told_so():
    with opened(15, nudge=RESISTOR) as bench:
        subject = subject_of(bench)
        without = replace(subject, network=subject.network.with_ports(subject.network.inputs, ()))
        with pytest.raises(ProcedureError, match="no outputs; list them under network.outputs"):
            make_procedure("gradient").plan(without)
