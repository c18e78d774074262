"""The hidden truth of a numeric bench: what calibration has to find is there, obeys pencil and paper, and repeats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from freqprop_lab.bench import open_bench
from freqprop_lab.config import BenchRequest, FileError, check_bench, parse_yaml
from freqprop_lab.values import Array, BlockPlan, Drive, Nudge, Record
from freqprop_lab.waveform import Sine
from simulated_bench.numeric import NumericBench

# A divider: n1 is driven, n3 is the output, and n2 hangs between two resistors.
DIVIDER = """\
name,plus,minus,kind,value
R1,n1,n2,tunable,1 S
R2,n2,n3,tunable,1 S
R3,n3,ground,resistor,1 S
"""
POTENTIOMETERS = "taps: 129, end_to_end: 1 kOhm, wiper: 10 Ohm"
BenchWith = Callable[..., NumericBench]


@pytest.fixture
def bench_with(tmp_path: Path) -> BenchWith:
    """Open the divider (or another table) as a bench with more lines in its file."""

    def build(more: str = "", table: str = DIVIDER, inputs: str = "[[n1]]", seed: int = 0) -> NumericBench:
        (tmp_path / "network.csv").write_text(table)
        network = f"network: {{kind: csv, file: network.csv, inputs: {inputs}, outputs: [[n3]]}}\n"
        settings = check_bench(parse_yaml("bench: numeric\n" + network + more, Path("bench.yaml")), tmp_path)
        bench = open_bench(settings, BenchRequest(seed=seed))
        assert isinstance(bench, NumericBench)
        return bench

    return build


def at_rest(bench: NumericBench, *levels: float) -> Array:
    return bench.respond(Drive(np.array(levels or (3.0,)))).a


def star(n_nodes: int) -> str:
    """A row of fixed resistors, each node by itself on ground and on a tunable one, for statistics over channels."""
    rows = ["name,plus,minus,kind,value"]
    rows += [f"R{i},n{i},n{i + 1},tunable,1 S" for i in range(1, n_nodes)]
    return "\n".join([*rows, f"G,n{n_nodes},ground,resistor,1 S"]) + "\n"


def spread_within(drawn: Array, sigma: float) -> bool:
    """Five standard errors for the mean and for the standard deviation of normal deviates."""
    n = drawn.size
    return bool(abs(drawn.mean()) < 5 * sigma / np.sqrt(n) and abs(drawn.std() / sigma - 1) < 5 / np.sqrt(2 * n))


def test_an_ideal_divider_reads_thirds_and_its_truth_is_plain(bench_with: BenchWith) -> None:
    bench = bench_with()
    assert at_rest(bench) == pytest.approx([3.0, 2.0, 1.0])
    truth = bench.truth()
    assert truth.meter_channels == ("n1", "n2", "n3")
    assert truth.source_channels[:2] == ("n1", "n3")  # the input, the nudge, and then what clamps
    assert set(truth.meter_gain) == set(truth.source_gain) == {1.0}
    assert set(truth.meter_offset) == set(truth.meter_delay) == set(truth.meter_pickup) == {0.0}
    assert truth.fixed == {"R3": 1.0}
    assert truth.conductance(np.array([0.5, 2.0])).tolist() == [0.5, 2.0]


def test_swapped_meter_leads_read_each_others_node(bench_with: BenchWith) -> None:
    bench = bench_with("faults: {swapped_reads: [[n1, n3]]}\n")
    assert at_rest(bench) == pytest.approx([1.0, 2.0, 3.0])
    nudged = bench.respond(Drive(np.array([0.0]), Nudge(np.array([1.0]), Sine())))
    # 1 A into n3, which sees 1 S to ground and 1/2 S through n2 to n1 at 0 V: 2/3 V, and half of it at n2.
    assert nudged.b == pytest.approx([2 / 3, 1 / 3, 0.0], abs=1e-12)


def test_swapped_source_leads_drive_each_others_node(bench_with: BenchWith) -> None:
    bench = bench_with("faults: {swapped_drives: [[n1, n2]]}\n", inputs="[[n1], [n2]]")
    assert at_rest(bench, 3.0, 2.0) == pytest.approx([2.0, 3.0, 1.5])
    swapped = bench_with("faults: {swapped_drives: [[n1, n3]]}\ninputs: {source: resistor, resistance: 1 Ohm}\n")
    # The nudge's current source is at n1 now, the level behind 1 Ohm at n3: 3 V over 1 Ohm and 1 S to ground.
    assert at_rest(swapped) == pytest.approx([1.5, 1.5, 1.5])


def test_swapped_control_lines_turn_each_others_element(bench_with: BenchWith) -> None:
    bench = bench_with("faults: {swapped_elements: [[R1, R2]]}\n")
    bench.program(np.array([1.0, 0.5]))
    # R1 is 2 Ohm and R2 1 Ohm: a quarter of 3 V each ohm.
    assert at_rest(bench) == pytest.approx([3.0, 1.5, 0.75])
    assert bench.read_back().tolist() == [1.0, 0.5]
    assert bench.truth().conductance(np.array([1.0, 0.5])).tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("open: [R2]", [3.0, 3.0, 0.0]),
        ("shorted: [R1]", [3.0, 3 * 2 / (2 + 1 / 11), 3 / (2 + 1 / 11)]),  # 1 S and 10 S side by side
        ("shorted: [R1], short: 1 Ohm", [3.0, 3 * 2 / 2.5, 3 / 2.5]),
        ("wrong: {R3: 0.5}", [3.0, 3 * 3 / 4, 3 * 2 / 4]),  # 2 Ohm
        ("wrong: {R1: 0.5}", [3.0, 3 * 2 / 4, 3 / 4]),
        ("ungrounded: [n3]", [3.0, 3.0, 3.0]),
        ("unread: [n2]", [3.0, 0.0, 1.0]),
    ],
)
def test_opens_shorts_and_wrong_values_follow_kirchhoff(
    bench_with: BenchWith, fault: str, expected: list[float]
) -> None:
    bench = bench_with(f"faults: {{{fault}}}\n")
    assert at_rest(bench) == pytest.approx(expected, abs=1e-9)
    # Programming anew takes no fault away.
    bench.program(np.ones(2))
    assert at_rest(bench) == pytest.approx(expected, abs=1e-9)


def test_a_diode_may_be_open_or_shorted(bench_with: BenchWith) -> None:
    table = DIVIDER + "D1,n2,ground,diode,10 nA / 30 mV\n"
    assert at_rest(bench_with("faults: {open: [D1]}\n", table)) == pytest.approx([3.0, 2.0, 1.0], abs=1e-9)
    # 10 S at n2 beside 1/2 S: (3 - v) = 10.5 v
    shorted = at_rest(bench_with("faults: {shorted: [D1]}\n", table))
    assert shorted == pytest.approx([3.0, 3 / 11.5, 1.5 / 11.5], abs=1e-9)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("swapped_reads: [[n1, n33]]", 'line 3: faults.swapped_reads: .*"n33".* Did you mean "n3"'),
        ("swapped_drives: [[n1, n2]]", 'swapped_drives: no node that a source drives "n2"'),
        ("swapped_elements: [[R1, R3]]", 'no tunable branch "R3"'),
        ("open: [r1]", 'no branch "r1".* Did you mean "R1"'),
        ("ungrounded: [n1]", 'no node with a branch to ground "n1"'),
        ("events: [{after: 3, stuck: R3}]", "faults.events: no tunable branch"),
        ("events: [{after: 3}]", "one of unread, open, stuck"),
        ("wrong: {R1: 0}", "above 0"),
    ],
)
def test_a_fault_that_cannot_be_is_told_with_its_line(bench_with: BenchWith, more: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        bench_with(f"faults: {{{more}}}\n")


def test_a_branch_that_is_named_from_its_other_end_is_told_so(bench_with: BenchWith) -> None:
    table = DIVIDER + "n1-n2,n1,n2,resistor,1 kOhm\nn2-n3,n2,n3,resistor,1 kOhm\n"
    with pytest.raises(FileError, match='no branch "n2-n1". Did you mean "n1-n2"'):
        bench_with("faults: {open: [n2-n1]}\n", table)


def test_one_fault_without_brackets_is_shown_with_them(bench_with: BenchWith) -> None:
    with pytest.raises(FileError, match=r'a list is wanted, also for one value: \["R1"\]'):
        bench_with("faults: {open: R1}\n")


def test_certified_nodes_must_be_there(bench_with: BenchWith) -> None:
    with pytest.raises(FileError, match='line 3: meter.certified: no node "n9"'):
        bench_with("meter: {certified: {nodes: [n9]}}\n")
    with pytest.raises(FileError, match='source.certified: no node that a source drives "n2"'):
        bench_with("source: {certified: {nodes: [n2]}}\n")


def test_gains_and_offsets_are_those_of_the_truth(bench_with: BenchWith) -> None:
    bench = bench_with("source: {gain_error: 1 %, offset: 5 mV}\nmeter: {gain_error: 1 %, offset: 5 mV}\n")
    truth = bench.truth()
    driven = 3.0 * truth.source_gain[0] + truth.source_offset[0]
    expected = driven * np.array([1, 2 / 3, 1 / 3]) * truth.meter_gain + truth.meter_offset
    assert at_rest(bench) == pytest.approx(expected, abs=1e-12)
    assert np.abs(truth.meter_gain - 1).max() > 1e-3


def test_certified_channels_are_as_good_as_their_certificate(bench_with: BenchWith) -> None:
    nodes = ", ".join(f"n{i}" for i in range(1, 201))
    more = f"meter: {{gain_error: 2 %, offset: 5 mV, certified: {{nodes: [{nodes}], gain: 1.0e-4, offset: 10 uV}}}}\n"
    truth = bench_with(more, star(400)).truth()
    assert spread_within(truth.meter_gain[:200] - 1, 1e-4)
    assert spread_within(truth.meter_offset[:200], 1e-5)
    assert spread_within(truth.meter_gain[200:] - 1, 0.02)
    plain = bench_with("meter: {gain_error: 2 %, offset: 5 mV}\n", star(400)).truth()
    assert (plain.meter_gain[200:] == truth.meter_gain[200:]).all()  # the others keep theirs
    source = "source: {gain_error: 2 %, certified: {nodes: [n1], gain: 0, offset: 0 V}}\n"
    assert bench_with(source).truth().source_gain[0] == 1


def test_hidden_skews_have_their_spread_and_shift_the_record_untold(bench_with: BenchWith) -> None:
    bench = bench_with("meter: {skew: 1 us, hidden_skew: 20 us}\n", star(400))
    truth = bench.truth()
    assert spread_within(truth.meter_delay - truth.meter_skew, 20e-6)
    assert (truth.meter_delay - truth.meter_skew < 0).any()
    assert truth.meter_skew == pytest.approx(1e-6 * np.arange(400))
    small = bench_with("meter: {hidden_skew: 20 us}\nsampling: {frequency: 1 kHz, samples_per_period: 5, periods: 1}\n")
    record = small.measure(Drive(np.zeros(1), Nudge(np.array([1.5]), Sine())))
    # 1.5 A into n3 make 1 V there; sample k is a fifth of a period after the one before, and late.
    late = small.truth().meter_delay[2]
    assert record.volts[2] == pytest.approx(np.sin(2 * np.pi * 1e3 * (np.arange(5) / 5e3 + late)))
    assert record.skews.tolist() == [0, 0, 0]


def test_pickup_is_a_constant_offset_of_b_while_the_source_nudges(bench_with: BenchWith) -> None:
    bench = bench_with("meter: {pickup: 1 mV}\n")
    pickup = bench.truth().meter_pickup
    nothing = bench.respond(Drive(np.array([3.0]), Nudge(np.zeros(1), Sine())))
    assert nothing.b == pytest.approx(pickup, abs=1e-12)
    assert nothing.a == pytest.approx([3.0, 2.0, 1.0])
    one = bench.respond(Drive(np.array([3.0]), Nudge(np.ones(1), Sine())))
    assert one.b == pytest.approx(pickup + np.array([0.0, 1 / 3, 2 / 3]), abs=1e-12)
    assert np.ptp(bench.measure(Drive(np.array([3.0]))).volts, axis=1) == pytest.approx(np.zeros(3), abs=1e-12)
    assert spread_within(bench_with("meter: {pickup: 1 mV}\n", star(400)).truth().meter_pickup, 1e-3)


def test_hum_has_its_amplitude_and_a_new_phase_in_every_record(bench_with: BenchWith) -> None:
    sampling = "sampling: {frequency: 50 Hz, samples_per_period: 40, periods: 2}\n"
    bench = bench_with("meter: {hum: 10 mV, hum_frequency: 100 Hz}\n" + sampling)
    phases = []
    for _ in range(2):
        volts = bench.measure(Drive(np.zeros(1))).volts
        assert volts[0] == pytest.approx(volts[2])
        turning = np.exp(-2j * np.pi * 100 * np.arange(80) / 2000)
        phasor = 2 * (volts[0] * turning).mean()
        assert abs(phasor) == pytest.approx(10e-3)
        phases.append(np.angle(phasor))
    assert phases[0] != pytest.approx(phases[1])


def test_gains_drift_with_records_and_reach_the_stated_size_after_a_thousand(bench_with: BenchWith) -> None:
    bench = bench_with("meter: {drift: 2 %}\nsource: {drift: 3 %}\n", star(400))
    assert (bench.truth().meter_gain == 1).all()
    bench.breadboard.records = 500
    half = np.log(bench.truth().meter_gain)
    bench.breadboard.records = 1000
    assert np.log(bench.truth().meter_gain) == pytest.approx(2 * half)
    assert spread_within(2 * half, 0.02)
    small = bench_with("meter: {drift: 2 %}\nsource: {drift: 3 %}\n")
    small.breadboard.records = 1000
    truth = small.truth()
    assert at_rest(small)[0] == pytest.approx(3.0 * truth.source_gain[0] * truth.meter_gain[0])
    assert small.breadboard.records == 1001


def test_source_resistors_are_off_by_their_tolerance(bench_with: BenchWith) -> None:
    more = "inputs: {source: resistor, resistance: 1 Ohm}\nparts: {source_resistance_tolerance: 10 %}\n"
    bench = bench_with(more)
    ohms = bench.truth().source_resistance[0]
    assert ohms != 1.0
    # 3 V over the source's resistor and three of 1 Ohm
    assert at_rest(bench) == pytest.approx(3 / (ohms + 3) * np.array([3.0, 2.0, 1.0]))


def test_the_truth_of_the_elements_is_what_they_conduct_once_programmed(bench_with: BenchWith) -> None:
    more = (
        f"resistors: {{{POTENTIOMETERS}, tolerance: 5 %, nonlinearity: 5 %, wiper_spread: 20 %, wire: 2 Ohm}}\n"
        "faults: {wrong: {R1: 1.5}}\n"
    )
    bench = bench_with(more)
    for ohms in (300.0, 800.0, 20.0):
        held = bench.program(np.full(2, 1 / ohms))
        assert bench.truth().conductance(held) == pytest.approx(bench.truth().tunable, rel=1e-14)
    g1, g2 = bench.truth().tunable
    inner = 1 / (1 / g1 + 1 / g2 + 1)  # in series with 1 S
    assert at_rest(bench)[2] == pytest.approx(3 * inner)


def test_nothing_that_departs_is_passed_by_on_the_fast_path(bench_with: BenchWith) -> None:
    table = star(5)
    plan = BlockPlan(
        levels=np.array([[1.0]]),
        targets=np.array([[0.1]]),
        order=np.zeros(3, dtype=np.intp),
        wished=np.full(4, 1.0),
        alpha=0.1,
        gamma=1.0,
        cost="squared",
        waveform=Sine(),
        lowest=np.full(4, 0.01),
        highest=np.full(4, 10.0),
    )
    assert bench_with("", table).can_run(plan)
    for more in (
        "source: {drift: 1 %}",
        "source: {certified: {nodes: [n1], gain: 1 %}}",
        "meter: {hidden_skew: 1 us}",
        "meter: {pickup: 1 mV}",
        "meter: {hum: 1 mV}",
        "meter: {drift: 1 %}",
        "meter: {certified: {nodes: [n1], gain: 1 %}}",
        "resistors: {nonlinearity: 1 %}",
        f"resistors: {{{POTENTIOMETERS}, wiper_spread: 1 %}}",
        "resistors: {wire: 1 Ohm}",
        "resistors: {repeatability: 1 %}",
        "resistors: {hysteresis: 1 %}",
        "faults: {swapped_reads: [[n1, n2]]}",
        "faults: {swapped_elements: [[R1, R2]]}",
        "faults: {open: [R1]}",
        "faults: {unread: [n2]}",
        "faults: {events: [{after: 9, unread: n2}]}",
    ):
        assert not bench_with(more + "\n", table).can_run(plan), more


def test_a_block_with_faults_of_fixed_parts_and_leads_ends_as_the_steps_do(bench_with: BenchWith) -> None:
    more = "inputs: {source: resistor, resistance: 1 Ohm}\nparts: {source_resistance_tolerance: 10 %}\n"
    more += "faults: {wrong: {R3: 2}, swapped_drives: [[n1, n3]]}\n"
    bench = bench_with(more)
    plan = BlockPlan(
        levels=np.array([[1.0]]),
        targets=np.array([[0.1]]),
        order=np.zeros(1, dtype=np.intp),
        wished=np.array([1.0, 2.0]),
        alpha=0.1,
        gamma=1.0,
        cost="squared",
        waveform=Sine(),
        lowest=np.full(2, 0.01),
        highest=np.full(2, 10.0),
    )
    assert bench.can_run(plan)
    done = bench.run_block(plan)
    bench.program(np.array([1.0, 2.0]))
    free = bench.respond(Drive(np.array([1.0])))
    # The level reaches n3 behind its true resistor; 2 S there: R1 and R2 carry nothing.
    assert free.a == pytest.approx(np.full(3, 1 / (1 + 2 * bench.truth().source_resistance[0])))
    assert done.outputs[0] == pytest.approx(free.a[2:])


ALL_OF_IT = f"""\
inputs: {{source: resistor, resistance: 10 Ohm}}
source: {{gain_error: 1 %, offset: 5 mV, drift: 1 %, certified: {{nodes: [n1], gain: 1.0e-4, offset: 10 uV}}}}
meter:
  {{noise: 1 mV, gain_error: 1 %, offset: 5 mV, hidden_skew: 20 us, pickup: 1 mV, hum: 1 mV, drift: 1 %}}
resistors:
  {{{POTENTIOMETERS}, tolerance: 5 %, drift: 3 %, nonlinearity: 5 %, wiper_spread: 10 %, wire: 1 Ohm,
    repeatability: 0.1 %, hysteresis: 1 %}}
parts: {{tolerance: 1 %, source_resistance_tolerance: 5 %}}
faults:
  swapped_reads: [[n1, n2]]
  swapped_elements: [[R1, R2]]
  events: [{{after: 3, open: R3}}, {{after: 5, unread: n2}}, {{after: 7, stuck: R1}}]
"""


def some_steps(bench: NumericBench, first: int, last: int) -> list[Array]:
    seen = []
    for step in range(first, last):
        held = bench.program(1 / np.array([200.0 + 37 * step, 700.0 - 51 * step]))
        record = bench.measure(Drive(np.array([1.0]), Nudge(np.array([1e-3]), Sine())))
        seen += [held, record.volts, bench.truth().tunable]
    return seen


def test_the_same_seed_repeats_to_the_last_bit_with_everything_on(bench_with: BenchWith) -> None:
    one, other = (some_steps(bench_with(ALL_OF_IT, seed=3), 0, 10) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    another = some_steps(bench_with(ALL_OF_IT, seed=4), 0, 10)
    assert not (one[1] == another[1]).all()


@pytest.mark.parametrize("stopped", [1, 4, 6, 8])
def test_a_bench_that_takes_up_a_state_goes_on_to_the_last_bit(bench_with: BenchWith, stopped: int) -> None:
    whole = bench_with(ALL_OF_IT, seed=3)
    some_steps(whole, 0, stopped)
    state = whole.state()
    resumed = bench_with(ALL_OF_IT, seed=3)
    resumed.program(np.full(2, 1e-3))  # whatever it did before
    resumed.restore(state)
    rest, expected = some_steps(resumed, stopped, 10), some_steps(whole, stopped, 10)
    assert all((a == b).all() for a, b in zip(rest, expected, strict=True))


def test_events_happen_after_so_many_records_and_stay(bench_with: BenchWith) -> None:
    bench = bench_with("faults: {events: [{after: 2, unread: n2}, {after: 3, open: R3}, {after: 4, stuck: R1}]}\n")
    bench.program(np.ones(2))
    expected = [[3.0, 2.0, 1.0]] * 2 + [[3.0, 0.0, 1.0], [3.0, 0.0, 3.0]]
    for number, volts in enumerate(expected):
        assert at_rest(bench) == pytest.approx(volts, abs=1e-9), number
    bench.program(np.array([0.5, 0.25]))
    assert bench.truth().tunable.tolist() == [1.0, 0.25]
    assert bench.truth().stuck == ("R1",)
    assert bench.truth().faults.open == ["R3"]
    assert bench.truth().faults.unread == ["n2"]


def test_ideal_takes_all_of_it_out(bench_with: BenchWith) -> None:
    bench = bench_with(ALL_OF_IT + "ideal: true\n")
    bench.program(np.full(2, 0.1))
    # 3 V over 10, 10, 10 and 1 Ohm
    assert at_rest(bench) == pytest.approx(3 / 31 * np.array([21.0, 11.0, 1.0]))
    assert bench.truth().faults == type(bench.truth().faults)()


def test_new_settings_leave_the_older_draws_as_they_were(bench_with: BenchWith) -> None:
    old = "meter: {gain_error: 1 %, offset: 5 mV, synchronised: false}\nresistors: {tolerance: 5 %}\n"
    more = "meter: {gain_error: 1 %, offset: 5 mV, synchronised: false, pickup: 1 mV, drift: 1 %}\n"
    more += "resistors: {tolerance: 5 %, repeatability: 1 %}\nparts: {source_resistance_tolerance: 5 %}\n"
    one, other = bench_with(old).truth(), bench_with(more).truth()
    for name in ("meter_gain", "meter_offset", "meter_delay"):
        assert (getattr(one, name) == getattr(other, name)).all()
    assert (one.conductance(np.ones(2)) == other.conductance(np.ones(2))).all()


@pytest.mark.parametrize("table", [DIVIDER, DIVIDER + "D1,n2,ground,diode,10 nA / 30 mV\n"])
def test_a_channel_that_is_early_sees_what_was_before_the_drive(bench_with: BenchWith, table: str) -> None:
    more = "meter: {hidden_skew: 100 us}\nparts: {capacitance: 20 uF}\n"
    more += "sampling: {frequency: 1 kHz, samples_per_period: 40, periods: 1}\n"
    bench = bench_with(more, table)
    bench.measure(Drive(np.array([0.2])))
    before = bench.measure(Drive(np.array([0.2])))
    record: Record = bench.measure(Drive(np.array([0.5])))
    delays = bench.truth().meter_delay
    assert delays.min() < -25e-6
    for node in (1, 2):
        early = np.arange(40) / 40e3 + delays[node] < 0
        assert record.volts[node][early] == pytest.approx(before.volts[node][-1], rel=1e-4)
        assert (np.diff(record.volts[node]) > -1e-9).all()


@pytest.mark.parametrize("solver", ["dense", "sparse"])
def test_a_node_that_opens_cut_off_hangs_on_what_leaks(bench_with: BenchWith, solver: str) -> None:
    bench = bench_with(f"solver: {solver}\nfaults: {{open: [R1, R2]}}\n")
    # n2 between two leaks of 1 TOhm: half of 3 V, as n3 is at 0 V
    assert at_rest(bench) == pytest.approx([3.0, 1.5, 0.0], abs=1e-9)
