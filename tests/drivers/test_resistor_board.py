"""The resistor board's driver: the suite over both lines, hand-calculated codes, and every fault of a serial line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from board_table import BANKS, TIMEOUT, Table, a_table

from drivers.resistor_board import RESISTOR_BOARD, ResistorBoard
from drivers.resistor_board._board import BoardSettings
from freqprop_lab.bench import ChannelUse
from freqprop_lab.config import FileError, parse_yaml, validate
from freqprop_lab.instruments import (
    Ability,
    ConnectionLostError,
    InstrumentError,
    LimitError,
    ProtocolError,
    TimeLimitError,
)
from freqprop_lab.testing import TunableResistorTests
from simulated_bench.servers import Fault, FaultKind
from simulated_bench.servers.resistor_board import Bank

QUICK_LINE = int(hasattr(os, "openpty"))  # pyserial sleeps 0.3 s when it closes a socket
posix = pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")


@pytest.fixture
def table() -> Iterator[Table]:
    with a_table(line=QUICK_LINE) as table:
        yield table


class TestBoardOnSocket(TunableResistorTests):
    banks = BANKS
    line = 0
    rising = True

    @pytest.fixture(autouse=True)
    def _table(self) -> Iterator[None]:
        with a_table(banks=self.banks, line=self.line, rising=self.rising) as self.table:
            yield

    def open_instrument(self) -> ResistorBoard:
        return self.table.open(wiring=["W-B" if self.rising else "A-W"])

    def observe(self, resistor: ResistorBoard) -> np.ndarray:
        return self.table.true()

    def assert_safe(self, resistor: ResistorBoard) -> None:
        assert self.table.true() == pytest.approx(resistor.limits.lowest)


@posix
class TestBoardOnPseudoTerminal(TestBoardOnSocket):
    line = 1


class TestBoardWiredFromAToTheWiper(TestBoardOnSocket):
    banks = (Bank("MCP4251", 1, safe=0), Bank("AD5206", 1, safe=0))
    line = QUICK_LINE
    rising = False


def test_a_code_is_the_wiper_and_its_share_of_the_track(table):
    with table.open() as board:
        # MCP4251, 10 kOhm, code 64 of 256: 75 + 2500 Ohm. AD5206, 100 kOhm, code 64: 50 + 25000.
        wished = np.repeat([1 / 2575, 1 / 25050], [4, 6])
        assert board.program(wished) == pytest.approx(wished, rel=1e-12)
        assert table.board.codes == [64] * 10
        # The ends: 257 taps reach 256 / 256 of the track, 256 taps only 255 / 256 of it.
        assert 1 / board.limits.lowest == pytest.approx([10_075] * 4 + [50 + 100_000 * 255 / 256] * 6)
        assert 1 / board.limits.highest == pytest.approx([75] * 4 + [50] * 6)


def test_wired_from_a_to_the_wiper_the_codes_run_the_other_way():
    with a_table(rising=False, line=QUICK_LINE) as table, table.open(wiring=["A-W"]) as board:
        wished = np.repeat([1 / 2575, 1 / 25050], [4, 6])
        board.program(wished)
        assert table.board.codes == [192] * 10
        # Code 0 is the whole track of either part; the AD5206's highest code leaves one step of it.
        assert 1 / board.limits.lowest == pytest.approx([10_075] * 4 + [100_050] * 6)
        assert 1 / board.limits.highest == pytest.approx([75] * 4 + [50 + 100_000 / 256] * 6)
        assert table.true() == pytest.approx(wished)
        board.make_safe()
        assert table.board.codes == [0] * 10


def test_the_nearest_code_is_the_nearest_in_conductance(table):
    with table.open([0]) as board:
        # Codes 0 and 1 are 75 and 114.0625 Ohm: 13.33 and 8.767 mS, 11.05 mS in the middle. 92 Ohm are nearer to 75
        # in ohms (17 against 22), and their 10.87 mS nearer to code 1.
        assert board.program(np.array([1 / 92])) == pytest.approx([1 / 114.0625])


def test_the_bench_file_overrides_what_the_board_tells(table):
    with table.open(end_to_end=[20_000.0, 50_000.0], wiper=[100.0]) as board:
        assert 1 / board.limits.lowest[[0, -1]] == pytest.approx([20_100, 100 + 50_000 * 255 / 256])


def test_elements_are_those_that_are_named_in_their_order_and_no_other_moves(table):
    with table.open([7, 1, 2]) as board:
        board.program(1 / np.array([50 + 100_000 * 10 / 256, 75 + 10_000 * 20 / 256, 75 + 10_000 * 30 / 256]))
        assert table.board.codes == [256, 20, 30, 256, 255, 255, 255, 10, 255, 255]


def test_390_elements_go_in_four_batches():
    with a_table(banks=(Bank("AD5206", 65),), line=QUICK_LINE) as table, table.open() as board:
        asked = []
        ask = board._link.ask
        board._link.ask = lambda op, *rest, **more: asked.append(op.name) or ask(op, *rest, **more)
        wished = 1 / (75 + 10_000 * (np.arange(390) % 256) / 256)
        assert board.program(wished) == pytest.approx(wished)
        assert asked == ["SETN"] * 4
        assert table.board.codes == [number % 256 for number in range(390)]


def test_chips_that_tell_are_read_back_and_a_code_that_they_hold_instead_is_what_is_returned(table):
    with table.open() as board:
        wished = board.limits.highest.copy()
        move = table.board._board._move
        table.board._board._move = lambda base, codes: move(base, [code or 7 for code in codes])
        realised = board.program(wished)
        # The four MCP4251 wipers tell that they are at 7; the AD5206 can't, so it is taken at its word.
        assert 1 / realised[:4] == pytest.approx([75 + 10_000 * 7 / 256] * 4)
        assert realised[4:] == pytest.approx(wished[4:])


def test_only_a_board_whose_chips_all_tell_can_be_read_back(table):
    with table.open([0, 1]) as mine:
        assert mine.abilities == {Ability.READ_BACK}
    with table.open([0, 9]) as mixed:
        assert mixed.abilities == frozenset()


def test_a_stuck_wiper_reads_back_what_it_was_sent():
    with a_table(line=QUICK_LINE) as table, table.open() as board:
        table.board.faults.add(Fault(FaultKind.STUCK, channel="1"))
        before = table.true()[1]
        realised = board.program(board.limits.highest)
        assert (realised == board.limits.highest).all()
        assert table.true()[1] == before != realised[1]


def test_identify_tells_parts_serial_number_and_firmware():
    with a_table(serial=0xBEEF, line=QUICK_LINE) as table, table.open() as board:
        identity = board.identify()
    assert identity.model == "resistor board: 4 of MCP4251, 6 of AD5206"
    assert (identity.serial, identity.firmware) == ("0000BEEF", "1.0")


def test_the_keep_alive_holds_the_wipers_through_a_measurement_that_makes_no_call(table):
    with table.open(keep_alive=0.12) as board:
        board.program(board.limits.highest)
        time.sleep(0.5)
        assert table.true() == pytest.approx(board.limits.highest)
        assert board.read() == pytest.approx(board.limits.highest)


def test_when_the_host_falls_silent_all_wipers_go_to_safe_in_time(table):
    with table.open(keep_alive=0.15) as board:
        board.program(board.limits.highest)
        board._closing.set()  # ends its thread, and nothing else
        board._feeder.join()
        spoken, fell = time.monotonic(), None
        while fell is None and time.monotonic() < spoken + 2:
            if table.board.codes == [256] * 4 + [255] * 6:
                fell = time.monotonic() - spoken
            time.sleep(0.005)
        assert fell is not None
        assert fell < 0.15 + 0.1
        board._closing.clear()
        with pytest.raises(ConnectionLostError, match="keep-alive expired.*fell back to safe.*program\\(\\) restores"):
            board.program(board.limits.highest)
        assert table.board.codes == [256] * 4 + [255] * 6  # not one of them moved
        assert board.program(board.limits.highest) == pytest.approx(table.true())


def test_a_board_that_boots_in_mid_run_is_told_once_and_the_next_program_restores_it(table):
    with table.open(keep_alive=30.0) as board:
        board.program(board.limits.highest)
        table.board.reset()
        with pytest.raises(ConnectionLostError) as caught:
            board.program(board.limits.highest)
        for part in ('board "wipers"', "it booted", "fell back to safe", "program() restores them", "supply"):
            assert part in str(caught.value)
        assert table.board.codes == [256] * 4 + [255] * 6
        assert board.program(board.limits.highest) == pytest.approx(table.true())


def test_the_keep_alive_notices_a_boot_and_the_next_call_tells_it(table):
    with table.open(keep_alive=0.06) as board:
        board.program(board.limits.highest)
        table.board.reset()
        time.sleep(0.15)
        with pytest.raises(ConnectionLostError, match="it booted"):
            board.read()
        assert board.read() == pytest.approx(board.limits.lowest)
        assert board.program(board.limits.highest) == pytest.approx(table.true())


def test_identify_notices_a_boot_although_nothing_was_asked_since(table):
    with table.open(keep_alive=30.0) as board:
        table.board.reset()
        with pytest.raises(ConnectionLostError, match=r"it booted \(its reset line\)"):
            board.identify()


def test_opening_a_board_that_boots_when_its_port_is_opened_is_no_fault():
    with a_table(resets_on_connect=True) as table:
        for boots in (1, 2):
            with table.open() as board:
                board.program(board.limits.highest)
                assert table.board._board.boots == boots


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.DROP_REPLY),
        Fault(FaultKind.HALF_REPLY),
        Fault(FaultKind.GARBAGE),
        Fault(FaultKind.LATE_REPLY, seconds=1.3 * TIMEOUT),
        Fault(FaultKind.LATE_REPLY, seconds=2.5 * TIMEOUT),
    ],
    ids=["lost", "torn", "damaged", "late", "very late"],
)
def test_one_bad_reply_is_asked_for_again_and_the_request_is_done_once(table, fault):
    with table.open(keep_alive=30.0) as board:
        moves = []
        move = table.board._board._move
        table.board._board._move = lambda base, codes: moves.append(base) or move(base, codes)
        table.board.faults.add(fault)
        board.program(board.limits.highest)
        assert moves == [0]
        # And nothing stale is left that could answer a later question.
        time.sleep(0.2)
        assert board.read() == pytest.approx(board.limits.highest)
        board.program(board.limits.lowest)
        assert board.read() == pytest.approx(board.limits.lowest)


def drop(table: Table, n_replies: int) -> None:
    for _ in range(n_replies):
        table.board.faults.add(Fault(FaultKind.DROP_REPLY))


def test_three_lost_replies_are_a_time_limit_that_says_what_to_look_at(table):
    with table.open(keep_alive=30.0) as board:
        drop(table, 3)
        started = time.monotonic()
        with pytest.raises(TimeLimitError) as caught:
            board.program(board.limits.highest)
        assert time.monotonic() - started < 3 * TIMEOUT + 0.2
        for part in ('board "wipers"', "SETN", "3 tries", "0.1 s", "cable", "baud rate"):
            assert part in str(caught.value)
        assert board.program(board.limits.highest) == pytest.approx(table.true())  # it connects anew


def test_read_times_out_with_the_same_words(table):
    with table.open(keep_alive=30.0) as board:
        drop(table, 3)
        with pytest.raises(TimeLimitError, match="no answer to GETN"):
            board.read()


def test_a_connection_that_ends_in_mid_batch_is_told_and_programmed_anew():
    with a_table(banks=(Bank("MCP4251", 65),)) as table, table.open(keep_alive=0.2) as board:
        board.program(board.limits.highest)
        table.board.faults.add(Fault(FaultKind.DISCONNECT))
        with pytest.raises(ConnectionLostError, match="is gone.*cable.*programs anew"):
            board.program(board.limits.highest)
        time.sleep(0.3)
        assert table.board.codes == [256] * 130
        assert board.program(board.limits.highest) == pytest.approx(table.true())


@posix
def test_a_pulled_pseudo_terminal_is_a_lost_connection_at_once_and_when_opened_again():
    with a_table(line=1) as table, table.open(keep_alive=30.0) as board:
        table.board.pull()
        started = time.monotonic()
        with pytest.raises(ConnectionLostError, match="cable"):
            board.program(board.limits.highest)
        with pytest.raises(ConnectionLostError, match="can't be opened.*plugged in"):
            board.program(board.limits.highest)
        assert time.monotonic() - started < 0.3


@pytest.mark.parametrize("line", sorted({0, QUICK_LINE}))
def test_a_stopped_server_is_a_lost_connection_and_closing_is_quick(line):
    with a_table(line=line) as table:
        board = table.open(keep_alive=30.0)
        table.board.stop()
        with pytest.raises(ConnectionLostError, match="cable"):
            board.program(board.limits.highest)
        started = time.monotonic()
        board.close()
        assert time.monotonic() - started < 1.0


def test_nobody_listening_is_a_lost_connection(table):
    table.board.stop()
    with pytest.raises(ConnectionLostError, match="can't be opened.*list_ports.*dialout"):
        table.open()


def test_a_port_that_is_not_there_is_a_lost_connection():
    settings = BoardSettings(resource="/dev/ttyNoSuchPort", timeout=TIMEOUT)
    with pytest.raises(ConnectionLostError, match='board "wipers": the port /dev/ttyNoSuchPort can\'t be opened'):
        ResistorBoard("wipers", settings, ["0"])


def test_a_silent_port_is_told_after_the_boot_wait(table):
    drop(table, 100)
    started = time.monotonic()
    with pytest.raises(ConnectionLostError, match="nobody answers as a resistor board within 0.3 s.*firmware.*500000"):
        table.open()
    assert 0.25 < time.monotonic() - started < 1.0


@posix
def test_two_programs_on_one_port_are_refused():
    with a_table(line=1) as table, table.open() as board:
        with pytest.raises(ConnectionLostError, match="no other program has it open"):
            table.open()
        board.program(board.limits.highest)


def test_another_board_in_its_place_is_refused_and_not_programmed(table):
    with table.open(keep_alive=30.0) as board:
        drop(table, 3)
        with pytest.raises(TimeLimitError):
            board.program(board.limits.highest)
        table.board._board._serial = 77
        table.board._board._go_safe()
        with pytest.raises(ConnectionLostError, match="another board answers, number 0000004D.*Nothing was programmed"):
            board.program(board.limits.highest)
        assert table.board.codes == [256] * 4 + [255] * 6


def test_a_board_of_another_protocol_is_told_to_be_flashed(table):
    identify = table.board._board._identify
    table.board._board._identify = lambda: (0, b"\2" + identify()[1][1:])
    with pytest.raises(ProtocolError, match="version 2.*Flash the firmware"):
        table.open()


def test_a_refusal_of_the_board_names_request_status_and_channel(table):
    with table.open(keep_alive=30.0) as board:
        table.board._board._bank_of[6] = Bank("MCP4251", 1)
        table.board._board._set = lambda base, codes: (4, b"\0\6")
        with pytest.raises(ProtocolError, match=r"SETN was refused with BAD_CODE \(6\)"):
            board.program(board.limits.highest)


def test_a_chip_that_does_not_answer_is_named_with_what_to_look_at(table):
    with table.open(keep_alive=30.0) as board:
        table.board._board._get = lambda base, n: (7, b"\0\3")
        with pytest.raises(ProtocolError, match="channel 3: the chip does not answer.*SDO"):
            board.program(board.limits.highest)


def test_a_wrong_number_of_conductances_is_refused(table):
    with table.open() as board, pytest.raises(LimitError, match="Nothing was sent"):
        board.program(np.array([1e-3]))


@pytest.mark.parametrize("trouble", ["time-out", "pulled", "booted", "closed"])
def test_make_safe_raises_nothing_and_is_quick(table, trouble):
    board = table.open(keep_alive=30.0)
    board.program(board.limits.highest)
    if trouble == "time-out":
        drop(table, 3)
        with pytest.raises(TimeLimitError):
            board.read()
    elif trouble == "pulled":
        table.board.stop()
    elif trouble == "booted":
        table.board.reset()
    else:
        board.close()
    started = time.monotonic()
    board.make_safe()
    board.make_safe()
    assert time.monotonic() - started < 1.0
    if trouble != "pulled":
        assert table.true() == pytest.approx(board.limits.lowest)
    board.close()


def test_make_safe_asks_twice_and_gives_up_in_time_when_nobody_answers(table):
    with table.open(keep_alive=30.0) as board:
        board.program(board.limits.highest)
        drop(table, 2)
        started = time.monotonic()
        board.make_safe()
        assert time.monotonic() - started < 2 * TIMEOUT + 0.2
        assert table.true() == pytest.approx(board.limits.lowest)  # the board heard it; its answers were lost


def test_leave_gives_the_port_back_and_the_wipers_stay(table):
    board = table.open(keep_alive=0.06)
    board.program(board.limits.highest)
    board.leave()
    time.sleep(0.2)
    assert table.true() == pytest.approx(board.limits.highest)
    with pytest.raises(ConnectionLostError, match="closed"):
        board.program(board.limits.highest)
    board.close()
    assert table.true() == pytest.approx(board.limits.highest)
    board.make_safe()
    assert table.true() == pytest.approx(board.limits.lowest)


def test_no_thread_is_left_after_close(table):
    board = table.open()
    board.close()
    assert not board._feeder.is_alive()


def test_the_missing_extra_is_told_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(ConnectionLostError) as caught:
        ResistorBoard("wipers", BoardSettings(resource="/dev/ttyACM0"), ["0"])
    assert str(caught.value) == (
        'driver "resistor-board" needs an extra that isn\'t installed: pip install "freqprop-lab[serial]"'
    )


def test_naming_the_driver_loads_no_serial():
    program = "import sys, drivers.resistor_board; sys.exit('serial' in sys.modules or 'termios' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def section(text: str) -> object:
    document = parse_yaml(f"driver: resistor-board\nresource: /dev/ttyACM0\n{text}", Path("bench.yaml"))
    return validate(document, RESISTOR_BOARD.model)


def test_the_section_takes_one_value_for_all_banks_or_one_for_each():
    settings = section("wiring: A-W\nend_to_end: [10 kOhm, 100 kOhm]\nkeep_alive: 500 ms\n")
    assert settings.wiring == ["A-W"]
    assert settings.end_to_end == [10e3, 100e3]
    assert (settings.keep_alive, settings.baud, settings.boot_wait, settings.wiper) == (0.5, 500_000, 3.0, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wiring: B-W", "A-W"),
        ("wiper: 0 Ohm", "above 0"),
        ("keep_alive: 10 ms", "at least 0.05"),
        ("bauds: 9600", "baud"),
    ],
)
def test_a_wrong_section_is_refused_with_what_is_allowed(text, said):
    with pytest.raises(FileError, match=said):
        section(text)


def opened(table: Table, use: ChannelUse, **fields: object) -> object:
    settings = RESISTOR_BOARD.model(driver="resistor-board", resource=table.resource, timeout=TIMEOUT, **fields)
    return RESISTOR_BOARD.open("wipers", settings, use)


@pytest.mark.parametrize(
    ("use", "fields", "said"),
    [
        (ChannelUse(tunes=("0", "10")), {}, 'no element "10"; the board has 0 to 9'),
        (ChannelUse(tunes=("x",)), {}, 'no element "x"'),
        (ChannelUse(drives=("0",)), {}, "drives and reads nothing"),
        (ChannelUse(tunes=("0",)), {"wiper": [75.0] * 3}, "3 values; the board has 2 banks"),
    ],
)
def test_what_the_board_has_not_is_refused_with_what_it_has(table, use, fields, said):
    with pytest.raises(ValueError, match=said):
        opened(table, use, **fields)


def test_the_kind_opens_the_elements_that_are_used(table):
    roles = opened(table, ChannelUse(tunes=("3", "4")))
    assert roles.source is roles.meter is None
    with roles.resistors as board:
        assert board.n_elements == 2
    assert opened(table, ChannelUse()).resistors is None


def test_every_error_of_the_driver_is_one_of_ours():
    """Whatever a port raises in whichever call, an InstrumentError comes out."""

    class Port:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def write(self, data: bytes) -> None:
            raise self.error

        read = write

        def close(self) -> None:
            raise self.error

    import serial

    errors: list[Exception] = [serial.SerialException("x"), serial.SerialTimeoutException("x"), OSError(5, "x")]
    errors += [ConnectionResetError("x"), BrokenPipeError("x"), serial.PortNotOpenError()]
    if hasattr(os, "openpty"):
        import termios

        errors.append(termios.error(5, "x"))
    with a_table(line=QUICK_LINE) as table:
        for error in errors:
            board = table.open(keep_alive=30.0)
            board._link._port.close()
            board._link._port = Port(error)
            with pytest.raises(InstrumentError):
                board.read()
            board._link._port = Port(error)
            board.make_safe()
            board.close()
