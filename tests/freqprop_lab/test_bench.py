"""A bench, first of scripted instruments that show what it asks of them, then against its own closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freqprop_lab.bench import Bench, MeterWiring, ResistorWiring, SourceWiring
from freqprop_lab.config import SamplingSection
from freqprop_lab.instruments import (
    ConnectionLostError,
    Identity,
    LimitError,
    Meter,
    MeterLimits,
    OverloadError,
    ResistorLimits,
    Source,
    SourceLimits,
    TimeLimitError,
    TunableResistor,
)
from freqprop_lab.network import Network, Port, square_grid
from freqprop_lab.values import Drive, Nudge, NudgeKind, Record, Scales, Timing
from freqprop_lab.waveform import RectifiedSine, Sine, TwoTone


class Scripted:
    """Writes each call to the log that all share; raises the fault that stands for it."""

    clock = "card"
    abilities = frozenset()

    def __init__(self, name, log, **faults):
        self.name, self.log, self.faults = name, log, faults

    def note(self, call):
        self.log.append(f"{self.name} {call}")
        if call in self.faults:
            raise self.faults[call]

    def identify(self):
        return Identity("tests", type(self).__name__)

    def make_safe(self):
        self.note("make_safe")

    def close(self):
        self.note("close")


class ScriptedSource(Scripted, Source):
    n_channels = 2
    limits = SourceLimits(np.array([-5.0, -5.0]), np.array([5.0, 5.0]), ("V", "V"))

    def load(self, levels, amplitudes, waveform, frequency, n_periods, sample_rate):
        self.limits.check(self.name, levels, amplitudes, waveform)
        self.note("load")
        self.loaded = (levels, amplitudes, frequency, n_periods, sample_rate)
        return Timing(sample_rate, round(n_periods * sample_rate / frequency))

    def start(self):
        self.note("start")

    def stop(self):
        self.note("stop")


class ScriptedMeter(Scripted, Meter):
    """Reads the number of each sample, in volts, plus 100 for each channel."""

    def __init__(self, name, log, n_channels, rate_factor=1.0, **faults):
        super().__init__(name, log, **faults)
        self.n_channels, self.rate_factor = n_channels, rate_factor
        self.limits = MeterLimits(np.full(n_channels, -1e3), np.full(n_channels, 1e3))
        self.clipped, self.missing = np.zeros(n_channels), np.zeros(n_channels)

    def arm(self, n_samples, sample_rate):
        self.note("arm")
        self.timing = Timing(sample_rate * self.rate_factor, n_samples)
        return self.timing

    def read(self):
        self.note("read")
        volts = np.arange(self.timing.n_samples) + 100.0 * np.arange(self.n_channels)[:, None]
        skews = 1e-6 * np.arange(self.n_channels)
        return Record(volts, self.timing.sample_rate, skews, self.clipped, self.missing)


class ScriptedResistor(Scripted, TunableResistor):
    """Holds whole siemens from 1 to 9."""

    def __init__(self, name, log, n_elements, **faults):
        super().__init__(name, log, **faults)
        self.n_elements = n_elements
        self.limits = ResistorLimits(np.full(n_elements, 1.0), np.full(n_elements, 9.0))

    def program(self, conductances):
        self.held = np.clip(np.round(conductances), 1.0, 9.0)
        return self.held

    def read(self):
        return self.held.copy()

    def neighbours(self, conductances):
        return np.floor(conductances), np.ceil(conductances)


# r0c0 - r0c1 - r0c2 - r0c3
CHAIN = square_grid(1, 4, 1.0).with_ports([Port("r0c0")], [Port("r0c2")])


def scripted_bench(
    *,
    network: Network = CHAIN,
    read: tuple[tuple[int, ...], ...] = ((3, 1, 0, 2),),
    sampling: SamplingSection | None = None,
    rate_factors: tuple[float, ...] = (1.0, 1.0),
    **faults: dict[str, Exception],
):
    """Two sources (input at one, output at the other), meters on the listed nodes, two resistor instruments."""
    log: list[str] = []
    none, input_wire = np.zeros((2, 1)), np.array([[1.0], [0.0]])
    sources = [ScriptedSource(name, log, **faults.get(name, {})) for name in ("one", "other")]
    meters = [
        ScriptedMeter(f"m{i}", log, len(nodes), factor, **faults.get(f"m{i}", {}))
        for i, (nodes, factor) in enumerate(zip(read, rate_factors, strict=False))
    ]
    wipers = [ScriptedResistor(f"w{i}", log, n, **faults.get(f"w{i}", {})) for i, n in enumerate((1, 2))]
    bench = Bench(
        "scripted",
        network,
        Scales(),
        sampling or SamplingSection(frequency=10.0, samples_per_period=8, periods=2),
        [
            SourceWiring(sources[0], input_wire, none, np.zeros(2)),
            SourceWiring(sources[1], none, np.array([[0.0], [-3.0]]), np.array([0.5, 0.0])),
        ],
        [MeterWiring(meter, np.array(nodes)) for meter, nodes in zip(meters, read, strict=False)],
        [ResistorWiring(wipers[0], np.array([1])), ResistorWiring(wipers[1], np.array([2, 0]))],
    )
    return bench, log, [*sources, *meters, *wipers]


DRIVE = Drive(np.array([1.0]))
NUDGED = Drive(np.array([1.0]), Nudge(np.array([0.2]), Sine()))


def test_a_measurement_loads_and_arms_everything_before_anything_starts():
    bench, log, (one, other, *_) = scripted_bench()
    bench.measure(NUDGED)
    assert log == ["one load", "other load", "m0 arm", "one start", "other start", "m0 read", "other stop", "one stop"]
    assert [one.loaded[0].tolist(), one.loaded[1].tolist()] == [[1.0, 0.0], [0.0, 0.0]]
    # rest 0.5 V on the first channel; -3 V per ampere on the second
    assert other.loaded[0].tolist() == [0.5, 0.0]
    assert other.loaded[1] == pytest.approx([0.0, -0.6])
    assert other.loaded[2:] == (10.0, 2, 80.0)


def test_a_record_is_sorted_by_node():
    bench, _, _ = scripted_bench()
    record = bench.measure(DRIVE)
    # channels 0 to 3 read nodes 3, 1, 0, 2
    assert record.volts[:, 0].tolist() == [200.0, 100.0, 300.0, 0.0]
    assert record.skews == pytest.approx([2e-6, 1e-6, 3e-6, 0.0])
    assert record.channels[3] == 'meter "m0", channel 0 (node r0c3)'


def test_several_meters_share_the_nodes_and_unread_ones_are_nan():
    bench, _, _ = scripted_bench(read=((2,), (3, 0)))
    volts = bench.measure(DRIVE).volts
    assert volts[[0, 2, 3], 5].tolist() == [105.0, 5.0, 5.0]
    assert np.isnan(volts[1]).all()
    response = bench.respond(DRIVE)
    assert response.a[[0, 2, 3]] == pytest.approx([107.5, 7.5, 7.5])  # the mean of 0 to 15
    assert np.isnan([response.a[1], response.b[1], response.a_stderr[1]]).all()


def test_branches_with_an_unread_end_are_named():
    assert scripted_bench(read=((0, 1, 3),))[0].unread_branches() == ["r0c1-r0c2", "r0c2-r0c3"]
    assert scripted_bench()[0].unread_branches() == []


@pytest.mark.parametrize(("settle", "dropped"), [(0.0, 0), (0.05, 8), (0.1, 8), (0.15, 16)])
def test_the_settling_time_is_dropped_in_whole_periods(settle, dropped):
    sampling = SamplingSection(frequency=10.0, samples_per_period=8, periods=3, settle=settle)
    bench, _, (one, *_) = scripted_bench(sampling=sampling)
    volts = bench.measure(DRIVE).volts
    # a period is 0.1 s; the record starts at phase 0 and has the periods that were asked for
    assert volts[3].tolist() == list(range(dropped, dropped + 24))
    assert one.loaded[3] == 3 + dropped // 8
    assert bench.measure(DRIVE, 1).volts.shape == (4, 8)


def test_a_clipped_record_is_refused_with_channel_node_and_count():
    sampling = SamplingSection(frequency=10.0, samples_per_period=8, periods=2, settle=0.1)
    bench, _, (_, _, meter, *_) = scripted_bench(sampling=sampling)
    meter.clipped[1] = 17
    # 16 samples and 8 of settling were taken; the count is of all of them
    message = r'^meter "m0", channel 1 \(node r0c1\): 17 of 24 samples at the end of the range\. Lower the drive'
    for drive in (DRIVE, NUDGED):
        with pytest.raises(OverloadError, match=message):
            bench.respond(drive)
    assert bench.measure(DRIVE).clipped.tolist() == [0.0, 17.0, 0.0, 0.0]  # measure tells, and leaves it there


def test_missing_samples_are_refused():
    bench, _, (_, _, meter, *_) = scripted_bench()
    meter.missing[3] = 1
    with pytest.raises(
        OverloadError, match=r"channel 3 \(node r0c2\): 1 of 16 samples missing\. Lower the sample rate"
    ):
        bench.respond(DRIVE)


def test_a_numeric_bench_refuses_what_its_meter_could_not_read(bench_of):
    bench = bench_of(
        "network: {kind: grid, rows: 1, columns: 3, inputs: [[r0c0]], outputs: [[r0c1]]}\n"
        "meter: {range: 2 V, bits: 16}\n"
    )
    with pytest.raises(OverloadError, match=r"channel 0 \(node r0c0\): 100 of 100 samples"):
        bench.respond(Drive(np.array([2.5])))


def test_meters_of_different_rates_are_refused():
    bench, _, _ = scripted_bench(read=((0, 1), (2, 3)), rate_factors=(1.0, 0.5))
    with pytest.raises(LimitError, match="80 Hz, 40 Hz; choose a rate that all of them have"):
        bench.measure(DRIVE)


def test_a_level_beyond_the_limit_starts_nothing():
    bench, log, _ = scripted_bench()
    with pytest.raises(LimitError, match=r'source "one", channel 0: 5\.5 V asked'):
        bench.measure(Drive(np.array([5.5])))
    assert log == []


def test_an_amplitude_of_nan_reaches_no_source():
    bench, log, _ = scripted_bench()
    with pytest.raises(LimitError, match="nan V asked"):
        bench.measure(Drive(np.array([1.0]), Nudge(np.array([np.nan]), RectifiedSine())))
    assert log == []


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_level_that_is_no_number_is_refused_and_not_taken_for_a_release(wrong):
    bench, log, _ = scripted_bench()
    for refused in (lambda: bench.measure(Drive(np.array([wrong]))), lambda: bench.check_levels(np.array([[wrong]]))):
        with pytest.raises(LimitError, match=f'input "r0c0": a level of {wrong} asked'):
            refused()
    assert log == []


def test_a_whole_data_set_is_checked_before_the_first_drive():
    bench, log, _ = scripted_bench()
    bench.check_levels(np.array([[5.0], [-5.0], [0.0]]))
    with pytest.raises(LimitError, match=r"channel 0: -5\.01 V asked"):
        bench.check_levels(np.array([[1.0], [-5.01], [2.0]]))
    assert log == []


def test_a_nudge_that_the_bench_cannot_do_is_refused():
    bench, log, _ = scripted_bench()
    with pytest.raises(LimitError, match="can't nudge by clamped; it can by current"):
        bench.measure(Drive(np.array([1.0]), Nudge(np.array([0.1]), Sine(), NudgeKind.CLAMPED)))
    assert log == []


def test_the_nudge_ends_although_the_meter_fails():
    bench, log, _ = scripted_bench(m0={"read": TimeLimitError("m0 said nothing")})
    with pytest.raises(TimeLimitError):
        bench.measure(NUDGED)
    assert log[-2:] == ["other stop", "one stop"]


@pytest.mark.parametrize("name", ["one", "other"])
def test_every_source_is_stopped_although_another_one_fails_to(name):
    bench, log, _ = scripted_bench(**{name: {"stop": ConnectionLostError(f"{name} is gone")}})
    with pytest.raises(ConnectionLostError, match=f"{name} is gone"):
        bench.measure(NUDGED)
    assert {"one stop", "other stop"} <= set(log)


def test_a_source_that_started_is_stopped_when_the_next_one_cannot_start():
    bench, log, _ = scripted_bench(other={"start": ConnectionLostError("other is gone")})
    with pytest.raises(ConnectionLostError):
        bench.measure(NUDGED)
    assert log[log.index("one start") :] == ["one start", "other start", "other stop", "one stop"]


ROLES = ["one", "other", "m0", "w0", "w1"]


def test_make_safe_reaches_every_instrument_sources_first():
    bench, log, _ = scripted_bench()
    bench.make_safe()
    assert log == [f"{name} make_safe" for name in ROLES]


def test_make_safe_goes_on_after_faults_and_then_raises_all_of_them():
    faults = {"one": ConnectionLostError("one is gone"), "m0": TimeLimitError("m0 is slow"), "w1": OSError("w1 broke")}
    bench, log, _ = scripted_bench(**{name: {"make_safe": fault} for name, fault in faults.items()})
    with pytest.raises(ExceptionGroup, match="bench scripted: not every instrument could be made safe") as caught:
        bench.make_safe()
    assert log == [f"{name} make_safe" for name in ROLES]
    assert caught.value.exceptions == tuple(faults.values())


def test_close_makes_all_safe_before_the_first_is_closed_and_closes_all_whatever_happens():
    bench, log, _ = scripted_bench(
        one={"make_safe": ConnectionLostError("one is gone")}, m0={"close": OSError("m0 broke")}
    )
    with pytest.raises(OSError, match="m0 broke") as caught:
        bench.close()
    assert isinstance(caught.value.__context__, ExceptionGroup)
    assert log[:5] == [f"{name} make_safe" for name in ROLES]
    assert sorted(log[5:]) == sorted(f"{name} close" for name in ROLES)


def test_leaving_the_context_makes_safe_and_lets_the_error_through():
    bench, log, _ = scripted_bench()
    with pytest.raises(ZeroDivisionError), bench:
        raise ZeroDivisionError
    assert {f"{name} {call}" for name in ROLES for call in ("make_safe", "close")} == set(log)


def test_an_instrument_with_two_roles_is_made_safe_once():
    class Both(ScriptedSource, ScriptedMeter):
        n_channels = 2
        limits = ScriptedSource.limits

        def __init__(self, name, log):
            Scripted.__init__(self, name, log)

    log: list[str] = []
    both, network = Both("both", log), square_grid(1, 2, 1.0).with_ports([Port("r0c0")], [Port("r0c1")])
    wiring = SourceWiring(both, np.eye(2, 1), np.zeros((2, 1)), np.zeros(2))
    bench = Bench("card", network, Scales(), SamplingSection(), [wiring], [MeterWiring(both, np.array([0, 1]))], [])
    assert bench.instruments == (both,)
    bench.make_safe()
    assert log == ["both make_safe"]


def test_conductances_go_to_the_instrument_that_has_the_branch():
    bench, _, (*_, w0, w1) = scripted_bench()
    wished = np.array([2.4, 4.6, 20.0])
    realised = bench.program(wished)
    assert wished.tolist() == [2.4, 4.6, 20.0]
    assert realised.tolist() == [2.0, 5.0, 9.0]
    assert [w0.held.tolist(), w1.held.tolist()] == [[5.0], [9.0, 2.0]]
    below, above = bench.neighbours(wished)
    assert [below.tolist(), above.tolist()] == [[2.0, 4.0, 20.0], [3.0, 5.0, 20.0]]
    realised[:] = 0.0  # the caller's to do with as it likes
    assert bench.conductances.tolist() == bench.read_back().tolist() == [2.0, 5.0, 9.0]


def test_the_limits_of_a_branch_are_the_narrower_of_its_own_and_its_instruments():
    bench, _, _ = scripted_bench()
    lowest, highest = bench.conductance_limits()
    assert [lowest.tolist(), highest.tolist()] == [[1.0] * 3, [9.0] * 3]


def test_an_input_may_get_what_its_tightest_channel_may(bench_of):
    text = (
        "network: {kind: grid, rows: 1, columns: 4, inputs: [[r0c0, r0c3], [r0c1]], outputs: [[r0c2]]}\n"
        "source: {limit: 5 V}\ncommon_mode: 1 V\n"
    )
    lowest, highest = bench_of(text).level_limits()
    # A pair: 1 + x/2 and 1 - x/2 within +-5, so |x| <= 8. Alone: 1 + x within +-5.
    assert lowest.tolist() == [-8.0, -6.0]
    assert highest.tolist() == [8.0, 4.0]


def test_inputs_are_volts_unless_they_are_currents(bench_of):
    text = "network: {kind: grid, rows: 1, columns: 2, inputs: [[r0c0]], outputs: [[r0c1]]}\n"
    scales = "scales: {voltage: 0.5 V, conductance: 0.1 S}\n"
    currents = "inputs: {source: current}\nnudge: {source: resistor, resistance: 1 Ohm}\n"
    assert bench_of(text + scales).level_scale == 0.5
    assert bench_of(text + scales + currents).level_scale == pytest.approx(0.05)


def test_an_unsynchronised_bench_refuses_a_waveform_that_hides_its_sign(bench_of):
    bench_of().refuse_waveform(Sine())
    free = bench_of(unsynchronised=True)
    assert not free.synchronised
    free.refuse_waveform(RectifiedSine())
    free.refuse_waveform(TwoTone())
    with pytest.raises(ValueError, match="Choose two-tone or abs-sine, or synchronise"):
        free.refuse_waveform(Sine())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    nodes=st.integers(14, 20),
    waveform=st.sampled_from([Sine(), RectifiedSine()]),
    kind=st.sampled_from([NudgeKind.CURRENT, NudgeKind.CLAMPED]),
    extra=st.sampled_from(
        [
            "",
            "ports: floating\n",
            "common_mode: 0.4 V\n",
            "inputs: {source: resistor, resistance: 2 Ohm}\n",
            "nudge: {source: resistor, resistance: 3 Ohm}\n",
            "meter: {skew: 3 us}\n",
            "sampling: {settle: 2.5 ms, samples_per_period: 37, periods: 3}\n",
        ]
    ),
)
def test_the_lock_in_of_a_measurement_is_the_closed_form(bench_of, seed, nodes, waveform, kind, extra):
    bench = bench_of(f"network: {{kind: barabasi-albert, nodes: {nodes}, edges: {2 * nodes}}}\n{extra}", seed=seed)
    rng = np.random.default_rng(seed)
    bench.program(rng.uniform(0.1, 3.0, len(bench.network.tunable)))
    levels, amplitudes = rng.uniform(-2, 2, 4), rng.uniform(-0.5, 0.5, 3)
    held = bench.respond(Drive(levels)).a
    drive = Drive(levels, Nudge(amplitudes, waveform, kind, held))
    closed, sampled = bench.respond(drive), Bench.respond(bench, drive)
    largest = np.abs(closed.b).max()
    assert sampled.b == pytest.approx(closed.b, abs=1e-9 * largest)
    assert sampled.a == pytest.approx(closed.a, abs=1e-9 * np.abs(closed.a).max())
    # and the measurement itself is a + b f, sample by sample
    record, sampling = bench.measure(drive), bench.sampling
    phase = np.arange(record.volts.shape[1]) / sampling.samples_per_period
    f = waveform.at(phase + sampling.frequency * record.skews[:, None])
    assert record.volts == pytest.approx(closed.a[:, None] + closed.b[:, None] * f, abs=1e-9 * np.abs(closed.a).max())


FREE = """\
network: {kind: barabasi-albert, nodes: 14, edges: 28, inputs: 3, outputs: 2}
"""


def strong_drives(waveform):
    return [Drive(np.zeros(3), Nudge(amplitudes, waveform)) for amplitudes in 2 * np.eye(2)]


@pytest.fixture
def free_and_tied(bench_of):
    """The same network on a free-running meter and on a synchronised one."""

    def both(extra="", **meter):
        described = ", ".join(f"{key}: {value}" for key, value in meter.items())
        text = f"{FREE}{extra}meter: {{synchronised: false, {described}}}\n"
        benches = bench_of(text, seed=3), bench_of(f"{FREE}", seed=3)
        conductances = np.random.default_rng(1).uniform(0.1, 1, 28)
        for bench in benches:
            bench.program(conductances)
        return benches

    return both


@pytest.mark.parametrize("delays", ["each", "common"])
@pytest.mark.parametrize("waveform", [TwoTone(), RectifiedSine(), RectifiedSine(centred=True)], ids=lambda w: w.name)
def test_an_unsynchronised_bench_reads_what_a_synchronised_one_reads(free_and_tied, delays, waveform):
    free, tied = free_and_tied(delays=delays)
    drive = Drive(np.array([1.0, -0.5, 2.0]), Nudge(np.array([0.3, -0.2]), waveform))
    found, known = free.respond(drive), tied.respond(drive)
    assert not free.synchronised
    assert found.a == pytest.approx(known.a, abs=1e-9)
    assert found.b == pytest.approx(known.b, abs=1e-9)
    assert found.delay is not None
    spread = np.ptp(found.delay[np.abs(known.b) > 1e-6])
    assert (spread < 1e-12) if delays == "common" else (spread > 1e-5)


@pytest.mark.parametrize("delays", ["each", "common"])
@pytest.mark.parametrize("skew", ["0 s", "3 us"])
@pytest.mark.parametrize("waveform", [TwoTone(), RectifiedSine()], ids=lambda w: w.name)
def test_learned_delays_make_a_free_running_bench_read_as_a_synchronised_one(free_and_tied, delays, skew, waveform):
    free, tied = free_and_tied(delays=delays, skew=skew)
    found = free.respond(strong_drives(waveform)[0])
    learned = free.learn_delays(strong_drives(waveform))
    assert free.delays == pytest.approx(learned)
    moves = np.abs(tied.respond(strong_drives(waveform)[0]).b) > 1e-3
    period = 1 / free.sampling.frequency
    apart = (found.delay - learned)[moves] / period
    assert (apart + 0.5) % 1 - 0.5 == pytest.approx(np.zeros(moves.sum()), abs=1e-9)
    drive = Drive(np.array([1.0, -0.5, 2.0]), Nudge(np.array([3e-4, -2e-4]), waveform))
    after, known = free.respond(drive), tied.respond(drive)
    assert after.delay is None
    assert after.b == pytest.approx(known.b, abs=1e-10)
    assert after.a == pytest.approx(known.a, abs=1e-10)


@pytest.mark.parametrize("delays", ["each", "common"])
def test_delays_that_the_nudge_is_too_weak_for_are_not_learned(free_and_tied, delays):
    free, _ = free_and_tied(delays=delays, noise="0.5 V")
    weak = [Drive(np.zeros(3), Nudge(np.full(2, 1e-3), TwoTone()))]
    with pytest.raises(LimitError, match=r"delay of n.* can't be learned: the nudge there is too weak for its sign"):
        free.learn_delays(weak)
    assert free.delays is None


def test_delays_are_learned_from_nudges_of_a_free_running_bench_only(free_and_tied):
    free, tied = free_and_tied(delays="each")
    with pytest.raises(ValueError, match="is synchronised: its delays are known"):
        tied.learn_delays(strong_drives(TwoTone()))
    with pytest.raises(ValueError, match="a drive without nudge tells nothing of delays"):
        free.learn_delays([Drive(np.zeros(3))])
    with pytest.raises(ValueError, match="Proposition 1"):
        free.learn_delays(strong_drives(Sine()))


def test_the_lock_in_section_of_a_bench_file_reaches_the_fit(free_and_tied, monkeypatch):
    # 20 periods of 1 kHz, 20 ms, so a hum of 230 Hz stands 4.6 cycles from DC and 15 from the nudge.
    sampling = "sampling: {frequency: 1 kHz, periods: 20, samples_per_period: 20}\n"
    drive = Drive(np.array([1.0, -0.5, 2.0]), Nudge(np.array([0.3, -0.2]), TwoTone()))
    plain, known = free_and_tied(sampling, delays="each")
    fitted, _ = free_and_tied(f"{sampling}lockin: {{hum: 230 Hz, hum_harmonics: 1}}\n", delays="each")
    for bench, off in ((plain, 1e-3), (fitted, 0.0)):
        measure = bench.measure

        def with_hum(*arguments, measure=measure):
            record = measure(*arguments)
            record.volts[...] += 0.5 * np.cos(2 * np.pi * 230.7 * np.arange(400) / 20_000 + 1)
            return record

        monkeypatch.setattr(bench, "measure", with_hum)
        moves = np.abs(known.respond(drive).b) > 1e-3
        worst = np.abs(bench.respond(drive).b - known.respond(drive).b)[moves].max()
        assert (worst > off) if off else (worst < 1e-6)
