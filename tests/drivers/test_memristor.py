"""The memristor programmer against its twin: what it says is what is there, and no cap is ever passed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

from drivers.memristor import MEMRISTOR_BOARD, MemristorBoard, MemristorSection
from freqprop_lab.bench import ChannelUse
from freqprop_lab.elements import ELEMENTS
from freqprop_lab.instruments import ConnectionLostError, InstrumentError, LimitError, ProtocolError, TimeLimitError
from freqprop_lab.network import Branch, Network, Port
from freqprop_lab.testing import TunableResistorTests
from freqprop_lab.values import Array
from simulated_bench.circuit import Connection
from simulated_bench.servers import Fault, FaultKind, Wires
from simulated_bench.servers.memristor import Memristor, VirtualMemristorBoard
from simulated_bench.world import World

BRANCHES = ("upper", "middle", "lower")
TOLERANCE = 0.05
NANO = 1e-9  # S: what a reading is rounded to


def network() -> Network:
    """Three memristors of 100 kOhm, one after the other, from top to ground."""
    nodes = ("top", "a", "b", "ground")
    branches = tuple(
        Branch(name, nodes[place], nodes[place + 1], ELEMENTS["resistor"], (1e-5,), tunable=True)
        for place, name in enumerate(BRANCHES)
    )
    return Network(nodes[:3], branches, (Port("top"),), (Port("b"),))


class Lab:
    """The twin with a memristor in every branch, and its driver."""

    def __init__(self, seed: int = 3) -> None:
        terminals = {"gen/ch1": Connection(0, -1, "voltage")}
        self.world = World(network(), terminals, np.random.default_rng(seed))
        wires = Wires(tunes={str(place): branch for place, branch in enumerate(BRANCHES)})
        self.twin = VirtualMemristorBoard("mem", self.world, wires)
        self.resource = self.twin.start()[0]

    def board(self, names: tuple[str, ...] = ("0", "1", "2"), **fields: Any) -> MemristorBoard:
        given = {"driver": "memristor-board", "resource": self.resource, "timeout": 0.1, "boot_wait": 0.3} | fields
        board = MEMRISTOR_BOARD.open("mem", MemristorSection.model_validate(given), ChannelUse(tunes=names)).resistors
        assert isinstance(board, MemristorBoard)
        return board

    def true(self) -> Array:
        """What the world's branches have."""
        return np.array([self.world.conductance(branch) for branch in BRANCHES])


@pytest.fixture
def lab() -> Iterator[Lab]:
    with running() as lab:
        yield lab


@contextmanager
def running() -> Iterator[Lab]:
    lab = Lab()
    try:
        yield lab
    finally:
        lab.twin.stop()


def siemens(*kiloohms: float) -> Array:
    return 1e-3 / np.array(kiloohms)


class TestConformance(TunableResistorTests):
    """A device that is analogue and random gets near a wish: laws of exact values hold within its tolerance."""

    tolerance = 1e-3  # true against told: half a nanosiemens of 2.2 microsiemens, at most
    n_wishes = 4

    @pytest.fixture(autouse=True)
    def _a_lab(self) -> Iterator[None]:
        with running() as self.lab:
            yield

    def open_instrument(self) -> MemristorBoard:
        return self.lab.board()

    def observe(self, resistor: Any) -> Array:
        return self.lab.true()

    def assert_safe(self, instrument: Any) -> None:
        assert self.lab.twin.connected is None

    def assert_near(self, realised: Array, wished: Array) -> None:
        assert np.abs(realised / wished - 1).max() < TOLERANCE

    def test_program_returns_values_within_the_limits(self, instrument: Any) -> None:
        for wish in self.wishes(instrument):
            realised = instrument.program(wish)
            assert realised.shape == (3,)
            assert realised.dtype == np.float64
            assert (realised > instrument.limits.lowest * (1 - TOLERANCE)).all()
            assert (realised < instrument.limits.highest * (1 + TOLERANCE)).all()

    def test_a_wish_beyond_the_limits_is_brought_to_the_nearer_end(self, instrument: Any) -> None:
        for beyond, expected in ((1e-9, 2.5e-6), (1.0, 5e-5), (np.inf, 5e-5)):  # 400 kOhm and 20 kOhm
            self.assert_near(instrument.program(np.array([1e-5, beyond, 1e-5])), np.array([1e-5, expected, 1e-5]))

    def test_a_wish_below_zero_is_brought_to_the_lowest(self, instrument: Any) -> None:
        self.assert_near(instrument.program(np.full(3, -1.0)), np.full(3, 2.5e-6))

    def test_the_neighbours_bracket_the_wish_and_are_realisable(self, instrument: Any) -> None:
        for wish in self.wishes(instrument):
            for neighbour in instrument.neighbours(wish):
                assert neighbour.tolist() == wish.tolist()
                self.assert_near(instrument.program(neighbour), wish)

    def test_the_nearer_neighbour_is_taken(self, instrument: Any) -> None:
        for wish in self.wishes(instrument):
            self.assert_near(instrument.program(wish), wish)

    def test_each_element_is_programmed_by_itself(self, instrument: Any) -> None:
        held = instrument.program(siemens(400, 400, 400))
        for element in range(3):
            true = self.lab.true()
            wish = held.copy()
            wish[element] = 5e-5
            realised = instrument.program(wish)
            rest = np.arange(3) != element
            assert realised[rest].tolist() == held[rest].tolist()
            assert self.lab.true()[rest].tolist() == true[rest].tolist()
            held = realised


def test_nearly_all_random_wishes_are_reached_within_the_tolerance(lab: Lab) -> None:
    wishes = 2.5e-6 * 20 ** np.random.default_rng(11).random((20, 3))  # 60 of them, between 2.5 and 50 microsiemens
    reached = []
    with lab.board() as board:
        for wish in wishes:
            told = board.program(wish)
            assert np.abs(told - lab.true()).max() <= 0.51 * NANO
            reached.append(np.abs(lab.true() / wish - 1) < TOLERANCE + 1e-3)  # a reading is a nanosiemens coarse
    assert np.mean(reached) >= 0.95


def test_a_stuck_device_gets_its_pulses_and_is_told_as_it_is(lab: Lab) -> None:
    lab.twin.faults.add(Fault(FaultKind.STUCK, "1"))
    with lab.board(most_pulses=25) as board:
        told = board.program(siemens(50, 50, 50))
        assert told[1] == pytest.approx(1e-5, rel=1e-3)  # the 100 kOhm that it began with
        assert told[[0, 2]] == pytest.approx([2e-5, 2e-5], rel=TOLERANCE)
        assert lab.twin.counts[1] == 25
        assert board.pulses == lab.twin.counts


def test_the_polarity_is_that_of_what_is_missing_and_the_ramp_starts_again_when_it_turns(lab: Lab) -> None:
    with lab.board(("0",), tolerance=0.01) as board:
        for kiloohms in (30, 300, 30):
            lab.twin.applied.clear()
            board.program(siemens(kiloohms))
            volts = np.array([pulse.volts for pulse in lab.twin.applied])
            held = np.array([pulse.current for pulse in lab.twin.applied]) / np.abs(volts)
            assert (np.sign(volts) == np.sign(1e-3 / kiloohms - held)).all()
            turned = np.flatnonzero(np.diff(np.sign(volts))) + 1
            assert np.abs(volts[[0, *turned]]) == pytest.approx(0.25)
            grown, same = np.diff(np.abs(volts)), np.diff(np.sign(volts)) == 0
            assert grown[same] == pytest.approx(0.02)


def test_no_pulse_passes_the_caps(lab: Lab) -> None:
    """The compliance of 15 uA bites from 0.5 V at 33 kOhm on; the largest pulse of 0.5 V below."""
    with lab.board(largest_pulse=0.5, compliance=15e-6) as board:
        for kiloohms in (390, 25, 390, 22):
            board.program(siemens(kiloohms, kiloohms, kiloohms))
    volts = np.array([abs(pulse.volts) for pulse in lab.twin.applied])
    currents = np.array([pulse.current for pulse in lab.twin.applied])
    assert volts.max() == 0.5
    assert currents.max() <= 15e-6
    assert ((currents > 14.9e-6) & (volts < 0.5)).any()  # it did bite, and the amplitude went down
    assert [pulse.width for pulse in lab.twin.applied] == pytest.approx([50e-6] * len(volts))


def test_where_the_compliance_leaves_no_pulse_that_moves_anything_none_is_given(lab: Lab) -> None:
    with lab.board(compliance=1e-6) as board:  # 0.1 V at 100 kOhm
        assert board.program(siemens(50, 50, 50)) == pytest.approx([1e-5] * 3, rel=1e-3)
    assert lab.twin.applied == []


def test_a_life_that_is_over_is_refused_and_counts_outlive_the_driver(lab: Lab) -> None:
    lab.twin.faults.add(Fault(FaultKind.STUCK, "0"))
    with lab.board(("0",), life_pulses=30, most_pulses=20) as board:
        board.program(siemens(50))
        assert board.pulses == [20]
    with lab.board(("0",), life_pulses=30, most_pulses=20) as board:
        assert board.pulses == [20]
        board.program(siemens(50))  # the ten that are left
        with pytest.raises(LimitError, match=r'board "mem", element 0 .*30 pulses, life_pulses allows 30.*Replace'):
            board.program(siemens(50))
        assert board.program(siemens(100)) == pytest.approx(1e-5, rel=1e-3)  # what it holds needs no pulse
        assert lab.twin.connected is None
    assert lab.twin.counts[0] == 30


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"read_voltage": "0.2 V"}, "read_voltage is 0.2 V, and from threshold = 0.11 V on a read rewrites"),
        ({"threshold": "0.1 V"}, "read_voltage is 0.1 V, and from threshold = 0.1 V on a read rewrites"),
        ({"first_pulse": "0.05 V"}, "first_pulse is 0.05 V"),
        ({"first_pulse": "1.2 V"}, "largest_pulse"),
        ({"lowest": "20 kOhm", "highest": "400 kOhm"}, "must rise"),
        ({"largest_pulse": "2 V"}, "the board gives at most 1.5 V"),
    ],
)
def test_settings_that_would_harm_are_refused_at_opening(lab: Lab, fields: dict[str, str], told: str) -> None:
    with pytest.raises(LimitError, match=told):
        lab.board(**fields)
    assert lab.twin.applied == []
    assert lab.true() == pytest.approx([1e-5] * 3)


def test_limits_may_be_given_as_resistances(lab: Lab) -> None:
    with lab.board(lowest="200 kOhm", highest="40 uS") as board:
        assert board.limits.lowest == pytest.approx([5e-6] * 3)
        assert board.limits.highest == pytest.approx([4e-5] * 3)


def test_reading_below_the_threshold_moves_nothing_and_above_it_does(lab: Lab) -> None:
    with lab.board() as board:
        before = lab.true()
        for _ in range(200):
            board.read()
        assert lab.true().tolist() == before.tolist()
    with lab.board(read_voltage=0.6, threshold=0.61, first_pulse=0.7) as board:
        board.read()
        assert (lab.true() > before).all()


def test_a_device_moves_by_its_rate_and_never_out_of_its_range() -> None:
    """0.4 V is 0.2 V beyond 0.2 V: the share of what is off that switches is 1 - exp(-0.002 (exp(2) - 1))."""
    rng = np.random.default_rng(1)
    device = Memristor(share=0.5, on_spread=0.0, off_spread=0.0)
    device.apply(0.4, 50e-6, rng)
    assert device.share == pytest.approx(0.5 + 0.5 * 0.012697, rel=1e-4)
    device.apply(10.0, 1.0, rng)
    assert device.conductance == pytest.approx(1 / 13e3)
    device.apply(-10.0, 1.0, rng)
    assert device.conductance == pytest.approx(1 / 460e3)


@pytest.mark.parametrize("kind", [FaultKind.DROP_REPLY, FaultKind.LATE_REPLY, FaultKind.GARBAGE, FaultKind.HALF_REPLY])
def test_one_bad_answer_is_asked_for_again_and_no_pulse_is_given_twice(lab: Lab, kind: FaultKind) -> None:
    lab.twin.faults.add(Fault(FaultKind.STUCK, "0"))
    with lab.board(("0",), most_pulses=5) as board:
        for late in (1, 2, 7):  # answers ahead of the fault: a read, a pulse, a read
            before = lab.twin.counts[0]
            with faulty(lab, Fault(kind, seconds=0.15), late):
                assert board.program(siemens(50)) == pytest.approx(1e-5, rel=1e-3)
            assert lab.twin.counts[0] == before + 5
            assert board.pulses == [lab.twin.counts[0]]
            time.sleep(0.1)


@contextmanager
def faulty(lab: Lab, fault: Fault, answers: int, times: int = 1) -> Iterator[None]:
    """Let a fault befall the answer after so many; the line's own order, not a clock, says when."""
    line = lab.twin._line
    assert line is not None
    plain, seen = line.reply, [0]

    def reply(frame: bytes) -> None:
        seen[0] += 1
        if answers < seen[0] <= answers + times:
            lab.twin.faults.add(fault)
        plain(frame)

    line.reply = reply  # type: ignore[method-assign]
    yield
    line.reply = plain  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("kind", "times", "expected"),
    [
        (FaultKind.DROP_REPLY, 3, TimeLimitError),
        (FaultKind.GARBAGE, 3, TimeLimitError),
        (FaultKind.DISCONNECT, 1, ConnectionLostError),
    ],
)
@pytest.mark.parametrize("answers", [0, 3, 4])  # the first read, a pulse, the read after it
def test_a_line_that_fails_is_told_and_the_next_program_connects_anew(
    lab: Lab, kind: FaultKind, times: int, expected: type[InstrumentError], answers: int
) -> None:
    with lab.board() as board:
        with (
            faulty(lab, Fault(kind), answers, times),
            pytest.raises(expected, match=r'board "mem".*Look at power, cable and baud rate'),
        ):
            board.program(siemens(50, 50, 50))
        assert board.program(siemens(50, 50, 50)) == pytest.approx([2e-5] * 3, rel=TOLERANCE)
        assert board.pulses == lab.twin.counts


def test_a_board_that_hears_no_more_disconnects_by_itself(lab: Lab) -> None:
    with lab.board() as board:
        with faulty(lab, Fault(FaultKind.DROP_REPLY), 0, 100), suppress(TimeLimitError):
            board.read()
        lab.twin.connected = 0  # as it is when SAFE was lost as well
        deadline = time.monotonic() + 3
        while lab.twin.connected is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert lab.twin.connected is None


def test_another_board_on_the_same_line_is_refused(lab: Lab) -> None:
    with lab.board() as board:
        lab.twin._serial = 77
        with pytest.raises(ConnectionLostError, match=r"another board answers, number 0000004D instead of 000003E3"):
            board.identify()


def test_a_refusal_of_the_board_is_told(lab: Lab) -> None:
    with lab.board() as board:
        del lab.twin.devices[2]
        with pytest.raises(ProtocolError, match=r"READ was refused with BAD_CHANNEL \(2\)"):
            board.read()


def test_nobody_there_and_no_such_element(lab: Lab) -> None:
    with pytest.raises(ValueError, match='no element "3"; the board has 0 to 2'):
        lab.board(("3",))
    lab.twin.stop()
    with pytest.raises(ConnectionLostError, match=r'board "mem".*can\'t be opened'):
        lab.board()


def test_a_wrong_number_of_conductances_is_refused(lab: Lab) -> None:
    with lab.board() as board, pytest.raises(LimitError, match=r"\(2,\) conductances asked for 3 elements"):
        board.program(siemens(50, 50))


def test_importing_the_driver_opens_no_library() -> None:
    code = "import sys, drivers.memristor; sys.exit('serial' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
