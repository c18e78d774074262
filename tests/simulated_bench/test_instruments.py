"""Every simulated instrument passes the suites, ideal and with each fault; the faults obey hand calculation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from freqprop_lab.bench import Bench
from freqprop_lab.elements import ELEMENTS
from freqprop_lab.instruments import Ability, Meter, Source, TunableResistor
from freqprop_lab.network import Branch, Network, Port
from freqprop_lab.testing import MeterTests, SourceTests, TunableResistorTests
from freqprop_lab.values import Drive, Nudge, Record
from freqprop_lab.waveform import RectifiedSine, Sine
from simulated_bench.breadboard import Breadboard, Excitation, with_tolerance
from simulated_bench.card import SimulatedMeter, SimulatedSource
from simulated_bench.circuit import Connection
from simulated_bench.resistors import SimulatedResistors
from simulated_bench.settings import MeterSection, ResistorsSection, SourceSection

POTENTIOMETER = {"taps": 128, "end_to_end": 100e3, "wiper": 75.0}


def star(n_nodes: int) -> Network:
    """Nodes that each have 1 mS to ground, so that every channel can be driven and read by itself."""
    names = tuple(f"n{number}" for number in range(n_nodes))
    return Network(
        names, tuple(Branch(f"r{name}", name, "ground", ELEMENTS["resistor"], (1e-3,), tunable=True) for name in names)
    )


def stiff_board(n_nodes: int) -> Breadboard:
    """A star with a stiff voltage source at each node."""
    return Breadboard(star(n_nodes), [Connection(node, -1, "voltage") for node in range(n_nodes)], None)


def source_on(board: Breadboard, *, seed: int = 1, released: tuple[int, ...] = (), **faults: float) -> SimulatedSource:
    settings = SourceSection.model_validate(faults)
    return SimulatedSource("daq", board, settings, np.array(released, dtype=np.intp), np.random.default_rng(seed))


def meter_on(board: Breadboard, *, seed: int = 1, period: float = 0.01, **faults: object) -> SimulatedMeter:
    settings, nodes = MeterSection.model_validate(faults), np.arange(len(board.network.nodes))
    noise = np.random.default_rng(1000 + seed)
    return SimulatedMeter("daq", board, nodes, settings, period, noise, np.random.default_rng(seed))


def resistors_on(board: Breadboard, *, seed: int = 1, **faults: object) -> SimulatedResistors:
    settings = ResistorsSection.model_validate(faults)
    return SimulatedResistors("wipers", board, board.network.tunable_names, settings, np.random.default_rng(seed))


def put_out(source: Source, levels: np.ndarray) -> None:
    source.load(levels, np.zeros(source.n_channels), None, 100.0, 1, 2000.0)
    source.start()


def look(meter: Meter, n_samples: int = 1, sample_rate: float = 2000.0) -> Record:
    meter.arm(n_samples, sample_rate)
    return meter.read()


class TestIdealSource(SourceTests):
    faults: dict[str, float] = {}
    kinds: tuple[str, ...] = ("voltage", "voltage", "current")

    def open_instrument(self) -> Source:
        connections = [Connection(node, -1, kind) for node, kind in enumerate(self.kinds)]
        self.board = Breadboard(star(len(self.kinds)), connections, None)
        return source_on(self.board, **self.faults)

    def observe(self, source: Source) -> np.ndarray:
        now = self.board.excitation
        return now.values(np.ones(1))[0]  # at the crest of a running nudge


class TestSourceOfTwelveBits(TestIdealSource):
    faults = {"bits": 12, "current_limit": 10.0}
    tolerance = 0.5 * 20 / 2**12 * 1.001


class TestSourceWithGainsAndOffsets(TestIdealSource):
    faults = {"gain_error": 0.002, "offset": 1e-3}
    tolerance = 0.01  # 5 sigma of both at 1 V, and more


class TestSourceWithLowLimits(TestIdealSource):
    faults = {"limit": 0.5, "current_limit": 1e-3}
    tolerance = 1e-12


class TestSourceThatHoldsOutputs(TestIdealSource):
    """A clamp rests disconnected, which counts as safe."""

    def open_instrument(self) -> Source:
        source = super().open_instrument()
        return source_on(self.board, released=(1,)) if isinstance(source, SimulatedSource) else source


class TestIdealMeter(MeterTests):
    faults: dict[str, object] = {}

    def open_instrument(self) -> Meter:
        self.board = stiff_board(4)
        return meter_on(self.board, **self.faults)

    def present(self, meter: Meter, volts: np.ndarray) -> bool:
        self.board.excitation = Excitation(volts.copy(), np.zeros_like(volts))
        return True


class TestMeterOfTwelveBits(TestIdealMeter):
    faults = {"bits": 12}
    tolerance = 0.5 * 20 / 2**12 * 1.001


class TestMeterWithGainsAndOffsets(TestIdealMeter):
    faults = {"gain_error": 0.002, "offset": 1e-3}
    tolerance = 0.01


class TestNoisyMeter(TestIdealMeter):
    faults = {"noise": 1e-3}
    tolerance = 1e-3  # over 6 sigma of the mean of 40 samples


class TestMeterWithSkews(TestIdealMeter):
    faults = {"skew": 1e-5, "common_delay": 1e-4}


class TestFreeRunningMeter(TestIdealMeter):
    faults = {"synchronised": False, "delays": "each"}


class TestMeterOfSmallRange(TestIdealMeter):
    faults = {"range": 0.2, "bits": 16}
    tolerance = 0.5 * 0.4 / 2**16 * 1.001


class TestContinuousResistors(TunableResistorTests):
    faults: dict[str, object] = {}

    def open_instrument(self) -> TunableResistor:
        self.board = stiff_board(5)
        return resistors_on(self.board, **self.faults)

    def observe(self, resistor: TunableResistor) -> np.ndarray:
        return self.board.conductances


class TestPotentiometers(TestContinuousResistors):
    faults = POTENTIOMETER


class TestPotentiometersOfTwoCodes(TestContinuousResistors):
    faults = {"taps": 2, "end_to_end": 1000.0, "wiper": 50.0}
    n_wishes = 2


class TestPotentiometersWithTolerance(TestContinuousResistors):
    faults = POTENTIOMETER | {"tolerance": 0.01}
    tolerance = 0.06


class TestContinuousResistorsWithTolerance(TestContinuousResistors):
    faults = {"tolerance": 0.01}
    tolerance = 0.06


class TestDriftingPotentiometers(TestContinuousResistors):
    faults = POTENTIOMETER | {"drift": 0.05}


class TestStuckPotentiometers(TestContinuousResistors):
    faults = POTENTIOMETER | {"stuck": 1.0}

    def observe(self, resistor: TunableResistor) -> None:
        return None  # they are not what they say: that is the fault


def test_a_dac_of_four_bits_has_sixteen_codes_and_zero_is_one_of_them():
    board = stiff_board(5)
    # +-8 V in 2^4 codes: steps of 1 V from -8 V to 7 V
    put_out(source_on(board, bits=4, limit=8.0), np.array([0.0, 0.49, -2.51, 8.0, -8.0]))
    assert board.excitation.static.tolist() == [0.0, 0.0, -3.0, 7.0, -8.0]


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_a_dac_never_puts_out_more_than_its_limit(bits):
    board = stiff_board(1001)
    put_out(source_on(board, bits=bits), np.linspace(-10, 10, 1001))
    assert np.abs(board.excitation.static).max() <= 10
    assert len(set(board.excitation.static.tolist())) == 2**bits


def test_an_adc_of_four_bits_reads_the_nearest_of_its_steps():
    board = stiff_board(4)
    board.excitation = Excitation(np.array([0.49, 0.51, -2.6, 6.2]), np.zeros(4))
    # +-8 V in 2^4 steps of 1 V
    assert look(meter_on(board, bits=4, range=8.0)).volts[:, 0].tolist() == [0.0, 1.0, -3.0, 6.0]


def test_the_quantisation_error_of_an_adc_is_uniform_within_half_a_step():
    board, n_channels = stiff_board(400), 400
    true = np.random.default_rng(5).uniform(-5, 5, n_channels)
    board.excitation = Excitation(true, np.zeros(n_channels))
    off = look(meter_on(board, bits=10)).volts[:, 0] - true
    step = 20 / 2**10
    assert np.abs(off).max() <= step / 2 * (1 + 1e-9)
    # A uniform deviate of width `step` has the standard deviation step / sqrt(12); 400 of them tell it to 3 %.
    assert off.std() == pytest.approx(step / np.sqrt(12), rel=0.15)


def spread_within(drawn: np.ndarray, sigma: float) -> bool:
    """Five standard errors for the mean and for the standard deviation of normal deviates."""
    n = drawn.size
    return abs(drawn.mean()) < 5 * sigma / np.sqrt(n) and abs(drawn.std() / sigma - 1) < 5 / np.sqrt(2 * n)


def test_offsets_and_gains_of_a_source_have_the_stated_spread():
    n_channels = 400
    board = stiff_board(n_channels)
    source = source_on(board, gain_error=0.01, offset=2e-3)
    put_out(source, np.zeros(n_channels))
    offsets = board.excitation.static.copy()
    put_out(source, np.ones(n_channels))
    gains = board.excitation.static - offsets
    assert spread_within(offsets, 2e-3)
    assert spread_within(gains - 1, 0.01)
    source.load(np.zeros(n_channels), np.ones(n_channels), Sine(), 100.0, 1, 2000.0)
    source.start()
    assert board.excitation.nudge == pytest.approx(gains)  # the nudge goes through the same amplifier
    assert board.excitation.static == pytest.approx(offsets)


def test_a_current_source_has_no_offset_voltage():
    board = Breadboard(star(1), [Connection(0, -1, "current")], None)
    put_out(source_on(board, offset=1.0), np.array([1e-3]))
    assert board.excitation.static.tolist() == [1e-3]


def test_offsets_and_gains_of_a_meter_have_the_stated_spread():
    n_channels = 400
    board = stiff_board(n_channels)
    meter = meter_on(board, gain_error=0.01, offset=2e-3)
    offsets = look(meter).volts[:, 0]
    board.excitation = Excitation(np.ones(n_channels), np.zeros(n_channels))
    assert spread_within(offsets, 2e-3)
    assert spread_within(look(meter).volts[:, 0] - offsets - 1, 0.01)


def test_noise_is_white_of_the_stated_rms_and_new_in_every_record():
    meter = meter_on(stiff_board(4), noise=3e-3)
    first, second = look(meter, 2500).volts, look(meter, 2500).volts
    assert spread_within(first, 3e-3)
    for other in (second[0], first[1], np.roll(first[0], 1)):
        # The correlation of 2500 independent pairs has the standard error 1 / 50.
        assert abs(np.corrcoef(first[0], other)[0, 1]) < 0.1


def test_a_channel_clips_at_its_range_and_counts_the_samples():
    board = stiff_board(2)
    board.excitation = Excitation(np.array([0.0, 0.5]), np.array([1.0, 1.0]), Sine(), 100.0)
    record = look(meter_on(board, range=1.0), 8, 800.0)
    # Eight samples a period. Channel 0 touches the end at its crest; sin at 45 degrees is 0.71, and 0.5 + 0.71 > 1.
    assert record.clipped.tolist() == [2.0, 3.0]
    assert np.abs(record.volts).max() == 1.0


def test_channel_k_reads_the_sine_k_skews_later():
    board = stiff_board(3)
    board.excitation = Excitation(np.array([0.0, 0.1, 0.2]), np.array([1.0, 1.0, 2.0]), Sine(), 100.0)
    record = look(meter_on(board, skew=1.25e-3), 4, 400.0)
    # A period is 10 ms, so 1.25 ms are 45 degrees and 2.5 ms are 90; samples are 90 degrees apart.
    root = np.sqrt(0.5)
    expected = [[0, 1, 0, -1], [0.1 + root, 0.1 + root, 0.1 - root, 0.1 - root], [2.2, 0.2, -1.8, 0.2]]
    assert record.volts == pytest.approx(np.array(expected), abs=1e-12)
    assert record.skews == pytest.approx([0.0, 1.25e-3, 2.5e-3])


def test_a_common_delay_shifts_all_channels_and_is_not_told():
    board = stiff_board(2)
    board.excitation = Excitation(np.zeros(2), np.array([1.0, -1.0]), RectifiedSine(), 100.0)
    record = look(meter_on(board, common_delay=2.5e-3), 2, 200.0)
    # |sin(pi p)| at p = 1/4 and 3/4
    assert record.volts == pytest.approx(np.sqrt(0.5) * np.array([[1.0, 1.0], [-1.0, -1.0]]))
    assert record.skews.tolist() == [0.0, 0.0]


def phases_seen(delays: str) -> np.ndarray:
    """Where in the period each of 200 free-running channels starts, from a cosine and a sine of its record."""
    board = stiff_board(200)
    board.excitation = Excitation(np.zeros(200), np.ones(200), Sine(), 100.0)
    volts = look(meter_on(board, synchronised=False, delays=delays), 4, 400.0).volts
    return np.arctan2(volts[:, 0], volts[:, 1]) / (2 * np.pi) % 1


def test_each_channel_of_a_free_running_meter_starts_anywhere_in_the_period():
    phases = phases_seen("each")
    # Uniform from 0 to 1: mean 1/2 and variance 1/12; the mean of 200 has the standard error 0.02.
    assert abs(phases.mean() - 0.5) < 0.1
    assert np.histogram(phases, 4, (0, 1))[0].min() > 25


def test_a_free_running_meter_with_a_common_delay_starts_somewhere_with_all_its_channels():
    phases = phases_seen("common")
    assert np.ptp(phases) < 1e-9
    assert 0.001 < phases[0] < 0.999


def test_a_free_running_meter_has_a_clock_of_its_own():
    board = stiff_board(1)
    assert meter_on(board).clock == source_on(board).clock
    assert meter_on(board, synchronised=False).clock != source_on(board).clock


def test_the_code_of_a_potentiometer_sets_wiper_plus_its_share_of_the_end_to_end_resistance():
    board = stiff_board(3)
    resistors = resistors_on(board, taps=5, end_to_end=1000.0, wiper=100.0)
    # Codes 0 to 4: 100, 350, 600, 850 and 1100 Ohm.
    assert 1 / resistors.limits.highest == pytest.approx([100.0] * 3)
    assert 1 / resistors.limits.lowest == pytest.approx([1100.0] * 3)
    wished = np.array([1 / 360, 1 / 600, 1 / 1000])
    below, above = resistors.neighbours(wished)
    assert 1 / below == pytest.approx([600.0, 600.0, 1100.0])
    assert 1 / above == pytest.approx([350.0, 600.0, 850.0])


def test_the_nearest_code_is_the_nearest_in_conductance_not_in_resistance():
    board = stiff_board(1)
    resistors = resistors_on(board, taps=2, end_to_end=900.0, wiper=100.0)
    # 100 and 1000 Ohm are 10 and 1 mS. 250 Ohm lie nearer to 100 Ohm, but 4 mS lie nearer to 1 mS.
    assert resistors.program(np.array([4e-3])) == pytest.approx([1e-3])
    assert resistors.program(np.array([5.6e-3])) == pytest.approx([10e-3])


def test_tolerance_is_of_the_end_to_end_resistance_and_stays_hidden():
    n_elements = 400
    board = stiff_board(n_elements)
    resistors = resistors_on(board, tolerance=0.01, **POTENTIOMETER)
    told = resistors.program(np.full(n_elements, 1 / 50e3))
    # The wiper's 75 Ohm are as listed; what remains is off by the element's own factor.
    factors = (1 / board.conductances - 75) / (1 / told - 75)
    assert spread_within(factors - 1, 0.01)
    assert np.ptp(told) == 0
    assert (resistors.read() == told).all()
    resistors.program(np.full(n_elements, 1 / 20e3))
    assert (1 / board.conductances - 75) / (1 / resistors.read() - 75) == pytest.approx(factors)
    resistors.program(np.full(n_elements, 1.0))
    assert 1 / board.conductances == pytest.approx(np.full(n_elements, 75.0))  # code 0 is the wiper alone


def test_stuck_elements_keep_their_first_value_while_the_register_reads_back_the_last():
    board = stiff_board(3)
    resistors = resistors_on(board, stuck=["rn1"], **POTENTIOMETER)
    first = resistors.program(np.full(3, 1 / 10e3))
    second = resistors.program(np.full(3, 1 / 60e3))
    assert (resistors.read() == second).all()
    assert board.conductances == pytest.approx([second[0], first[1], second[2]])


def test_a_share_of_the_elements_is_stuck():
    n_elements = 400
    board = stiff_board(n_elements)
    resistors = resistors_on(board, stuck=0.25, **POTENTIOMETER)
    resistors.program(np.full(n_elements, 1 / 10e3))
    first = board.conductances
    resistors.program(np.full(n_elements, 1 / 60e3))
    # Binomial: 100 +- 8.7
    assert 56 < (board.conductances == first).sum() < 144


def test_no_element_is_stuck_where_the_list_is_empty():
    board = stiff_board(3)
    resistors = resistors_on(board, stuck=[])
    resistors.program(np.full(3, 1.0))
    assert resistors.program(np.full(3, 2.0)).tolist() == board.conductances.tolist() == [2.0, 2.0, 2.0]


def test_drift_grows_with_records_and_has_the_stated_size_after_a_thousand():
    n_elements = 400
    board = stiff_board(n_elements)
    resistors, meter = resistors_on(board, drift=0.02), meter_on(board)
    resistors.program(np.full(n_elements, 1e-3))
    drifted = []
    for _ in range(2):
        for _ in range(500):
            look(meter)
        resistors.pass_time()
        drifted.append(np.log(board.conductances / 1e-3))
    assert drifted[1] == pytest.approx(2 * drifted[0])
    assert spread_within(drifted[1], 0.02)
    assert (resistors.read() == 1e-3).all()


REAL = """
bench: numeric
network: {kind: grid, rows: 3, columns: 3, inputs: [[r0c0, r0c2]], outputs: [[r1c1], [r2c2, r2c0]]}
source: {gain_error: 1 %, offset: 5 mV, bits: 14}
meter: {noise: 1 mV, gain_error: 1 %, offset: 5 mV, bits: 16, skew: 1 us}
resistors: {taps: 256, end_to_end: 10 Ohm, wiper: 0.1 Ohm, tolerance: 5 %, stuck: 0.2, drift: 3 %}
"""


def some_responses(bench: Bench) -> np.ndarray:
    """What a short run does: program, read, nudge, program again."""
    seen = []
    for conductance in (0.5, 2.0):
        bench.program(np.full(len(bench.network.tunable), conductance))
        for level in (0.5, -1.0):
            nudge = Nudge(np.array([0.1, -0.2]), Sine())
            response = bench.respond(Drive(np.array([level]), nudge))
            seen += [response.a, response.b]
    return np.array(seen)


def noiseless(text: str) -> str:
    return text.replace("noise: 1 mV", "noise: 0 V")


def test_the_same_seed_and_the_same_calls_repeat_to_the_last_bit(bench_of):
    assert (some_responses(bench_of(REAL, seed=3)) == some_responses(bench_of(REAL, seed=3))).all()


def test_another_seed_of_the_run_brings_new_noise_on_the_same_hardware(bench_of):
    noisy, again = (some_responses(bench_of(REAL, seed=seed)) for seed in (3, 4))
    # 1 mV in each of 100 samples is 0.1 mV in a; a different bench would be off by tens of millivolts.
    assert 5e-5 < np.abs(noisy - again).max() < 5e-3
    one, other = (some_responses(bench_of(noiseless(REAL), seed=seed)) for seed in (3, 4))
    assert (one == other).all()


def test_another_hardware_seed_is_another_bench(bench_of):
    one, other = (some_responses(bench_of(noiseless(REAL) + f"hardware_seed: {seed}\n")) for seed in (0, 1))
    assert np.abs(one - other).max() > 0.01


def test_ideal_switches_every_departure_off(bench_of):
    bare = "".join(line for line in REAL.splitlines(keepends=True) if not line.startswith(("source", "meter", "res")))
    ideal, plain = (some_responses(bench_of(text)) for text in (REAL + "ideal: true\n", bare))
    assert (ideal == plain).all()
    assert np.abs(some_responses(bench_of(REAL)) - plain).max() > 1e-3


def test_a_fixed_resistor_is_off_by_its_tolerance_and_a_tunable_one_is_not():
    fixed = tuple(Branch(f"f{i}", "a", "ground", ELEMENTS["resistor"], (2.0,)) for i in range(400))
    network = Network(
        ("a",), (*fixed, Branch("t", "a", "ground", ELEMENTS["resistor"], (2.0,), tunable=True)), (Port("a"),)
    )
    true = np.array([branch.theta[0] for branch in with_tolerance(network, 0.05, np.random.default_rng(2)).branches])
    assert spread_within(true[:400] / 2 - 1, 0.05)
    assert true[400] == 2.0


def test_simulated_roles_claim_what_they_can_do():
    board = stiff_board(1)
    assert source_on(board).abilities == {Ability.LEVEL, Ability.WAVEFORM, Ability.RELEASE}
    assert meter_on(board).abilities == {Ability.SAMPLES}
    assert resistors_on(board).abilities == {Ability.READ_BACK}


class KeepsCallersArray(SimulatedSource):
    def load(self, levels, amplitudes, waveform, frequency, n_periods, sample_rate):
        timing = super().load(levels, amplitudes, waveform, frequency, n_periods, sample_rate)
        self._loaded = replace(self._loaded, levels=levels)
        return timing


class MovesAtLoad(SimulatedSource):
    def load(self, *asked):
        timing = super().load(*asked)
        self._board.excitation = self._loaded
        return timing


class ChecksNothing(SimulatedSource):
    def load(self, levels, amplitudes, waveform, frequency, n_periods, sample_rate):
        self._loaded = Excitation(levels.copy(), amplitudes.copy(), waveform, frequency)


class NudgesOn(SimulatedSource):
    def stop(self):
        """Forget it."""


class StaysOn(SimulatedSource):
    def make_safe(self):
        self._loaded = None


class ClipsSilently(SimulatedMeter):
    def read(self):
        record = super().read()
        record.clipped[:] = 0
        return record


class SwapsChannels(SimulatedMeter):
    def read(self):
        record = super().read()
        record.volts[:] = record.volts[::-1].copy()
        return record


class ReadsAgain(SimulatedMeter):
    def read(self):
        armed = self._armed
        record = super().read()
        self._armed = armed
        return record


class TellsTheWish(SimulatedResistors):
    def program(self, conductances):
        super().program(conductances)
        return conductances


class TruncatesCodes(SimulatedResistors):
    def _nearest(self, conductances):
        return self.neighbours(conductances)[0]


@pytest.mark.parametrize(
    ("suite", "broken", "law"),
    [
        (TestIdealSource, KeepsCallersArray, "test_the_callers_arrays_are_neither_changed_nor_kept"),
        (TestIdealSource, MovesAtLoad, "test_load_moves_nothing_until_start"),
        (TestIdealSource, ChecksNothing, "test_a_level_beyond_a_limit_is_refused_before_anything_is_sent"),
        (TestIdealSource, ChecksNothing, "test_level_and_nudge_together_are_held_against_the_limit"),
        (TestIdealSource, NudgesOn, "test_after_stop_the_levels_stay_and_the_nudge_is_zero"),
        (TestIdealSource, StaysOn, "test_start_after_make_safe_brings_nothing_back"),
        (TestIdealMeter, ClipsSilently, "test_an_overload_is_told_and_never_a_silent_number"),
        (TestIdealMeter, SwapsChannels, "test_known_volts_are_read_channel_by_channel"),
        (TestIdealMeter, ReadsAgain, "test_a_record_is_read_once"),
        (TestPotentiometers, TellsTheWish, "test_read_returns_what_program_returned_last"),
        (TestPotentiometers, TruncatesCodes, "test_the_nearer_neighbour_is_taken"),
    ],
)
def test_a_suite_catches_an_instrument_that_breaks_its_law(suite, broken, law):
    tests = suite()
    instrument = tests.open_instrument()
    getattr(tests, law)(instrument)  # the sound one passes
    instrument.make_safe()
    instrument.__class__ = broken
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(tests, law)(instrument)


@pytest.mark.parametrize("state", ["working", "closed"])
def test_the_suite_catches_a_source_that_is_not_made_safe(state):
    class TestBroken(TestIdealSource):
        def open_instrument(self):
            source = super().open_instrument()
            source.__class__ = StaysOn
            return source

    with pytest.raises(AssertionError):
        TestBroken().test_make_safe_works_in_every_state(state)
