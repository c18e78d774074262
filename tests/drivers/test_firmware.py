"""The firmware: its core on this computer under sanitizers, and all of it in an AVR simulator under the driver."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from board_table import BANKS, Table, a_table

from drivers.resistor_board import ResistorBoard
from drivers.resistor_board._frames import FrameError, Op, cobs_decode, crc16, frame, parse_ident
from freqprop_lab.instruments import ConnectionLostError, TimeLimitError
from freqprop_lab.testing import TunableResistorTests
from simulated_bench.servers import Fault, FaultKind
from simulated_bench.servers.firmware_board import FirmwareBoard
from simulated_bench.servers.resistor_board import Bank

FIRMWARE = Path(__file__).parents[2] / "drivers" / "firmware"
SAFE = [256] * 4 + [255] * 6
CLOCK = 16e6
BAUD = 500_000
# simavr 1.6 gives every byte on SPI 100 us, whatever the clock; at 4 MHz eight bits take 2 us.
SPI_CYCLES, SPI_CYCLES_IN_SIMAVR = 8 * 4, 1600

lacking = FirmwareBoard.missing()
needs_simavr = pytest.mark.skipif(bool(lacking), reason=f"missing: {', '.join(lacking)}")
needs_compiler = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("make")), reason="missing: gcc and make, to compile the core"
)


def tell(words: str) -> None:
    """Measured values; pytest -rP shows them."""
    print(words)


def make(*arguments: str) -> str:
    done = subprocess.run(["make", "-s", "-C", str(FIRMWARE), *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_core(folder: Path, n_frames: int) -> str:
    make(f"BUILD={folder}", f"{folder}/test_core")
    done = subprocess.run([folder / "test_core", str(n_frames), "7"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_compiler
def test_the_core_passes_its_own_tests_and_100_000_random_frames_under_sanitizers(tmp_path):
    said = run_core(tmp_path, 100_000)
    assert "100000 random frames" in said
    assert "all is well" in said


@needs_compiler
@pytest.mark.prove
def test_the_core_stands_a_million_random_frames_under_sanitizers(tmp_path):
    assert "all is well" in run_core(tmp_path, 1_000_000)


@needs_simavr
@pytest.mark.parametrize(("mcp", "ad"), [(4, 1), (0, 65), (195, 0)])
def test_the_firmware_leaves_room_in_flash_and_ram(tmp_path, mcp, ad):
    said = make(f"BUILD={tmp_path}", f"DEFINES=-DMCP4251_CHIPS={mcp} -DAD5206_CHIPS={ad}", "size")
    flash, ram = (int(re.search(rf"{kind}: *(\d+) bytes", said)[1]) for kind in ("Program", "Data"))
    tell(f"{2 * mcp + 6 * ad} channels: {flash} bytes of flash, {ram} bytes of RAM without the stack")
    assert flash < 32_768 - 512  # the boot loader
    assert ram < 2048 - 400  # room for the stack, many times what it needs


@pytest.fixture(scope="module")
def simulated() -> Iterator[Table]:
    # A busy computer may let the simulator wait; a lost answer is what only one test wants.
    with a_table(of=FirmwareBoard, line=1, timeout=0.3) as table:
        yield table
        assert table.board.complaints == []  # no chip was ever handled as its data sheet forbids


@pytest.fixture
def table(simulated: Table) -> Table:
    simulated.board.faults.clear()
    return simulated


@needs_simavr
class TestFirmware(TunableResistorTests):
    n_wishes = 3

    @pytest.fixture(autouse=True)
    def _table(self, table: Table) -> None:
        self.table = table

    def open_instrument(self) -> ResistorBoard:
        return self.table.open()

    def observe(self, resistor: ResistorBoard) -> np.ndarray:
        return self.table.true()

    def assert_safe(self, resistor: ResistorBoard) -> None:
        assert self.table.true() == pytest.approx(resistor.limits.lowest)


@needs_simavr
def test_the_wipers_are_safe_before_anybody_speaks():
    with a_table(of=FirmwareBoard) as table:
        deadline = time.monotonic() + 2
        while table.board.codes != SAFE and time.monotonic() < deadline:
            time.sleep(0.005)
        assert table.board.codes == SAFE


@needs_simavr
def test_over_tcp_too(table):
    table.resource, pseudo_terminal = table.resources
    try:
        with table.open() as board:
            wished = np.repeat([1 / 2575, 1 / 25050], [4, 6])
            assert board.program(wished) == pytest.approx(wished)
            assert table.board.codes == [64] * 10
    finally:
        table.resource = pseudo_terminal


@needs_simavr
def test_the_host_falls_silent_and_all_wipers_are_safe_in_time(table):
    with table.open(keep_alive=0.2) as board:
        board.program(board.limits.highest)
        board._closing.set()
        board._feeder.join()
        started, fell = time.monotonic(), None
        while fell is None and time.monotonic() < started + 2:
            fell = time.monotonic() - started if table.board.codes == SAFE else None
            time.sleep(0.002)
        tell(f"keep-alive of 200 ms, safe {1e3 * (fell or np.nan):.0f} ms after the driver ended")
        assert fell is not None
        assert fell < 0.2 + 0.1
        board._closing.clear()
        with pytest.raises(ConnectionLostError, match="keep-alive expired"):
            board.program(board.limits.highest)
        assert table.board.codes == SAFE
        assert board.program(board.limits.highest) == pytest.approx(table.true())


@needs_simavr
def test_a_hung_main_loop_is_ended_by_the_watchdog_although_bytes_keep_coming(table):
    with table.open(keep_alive=0.06) as board:  # a byte every few milliseconds for the interrupt that must not feed it
        board.program(board.limits.highest)
        started, fell = time.monotonic(), None
        table.board.hang()
        while fell is None and time.monotonic() < started + 2:
            fell = time.monotonic() - started if table.board.codes == SAFE else None
            time.sleep(0.002)
        tell(f"watchdog of 250 ms, safe {1e3 * (fell or np.nan):.0f} ms after the main loop hung")
        assert fell is not None
        assert fell < 1.5  # of wall time; the simulated processor keeps to 250 ms of its own
        with pytest.raises((ConnectionLostError, TimeLimitError)):  # as the keep-alive met it
            board.program(board.limits.highest)
        assert table.board.codes == SAFE
        assert board.program(board.limits.highest) == pytest.approx(table.true())
        assert board._ident.reset_cause == 8  # MCUSR: WDRF


@needs_simavr
def test_the_reset_line_in_mid_run_is_told_and_the_next_program_restores(table):
    with table.open(keep_alive=30.0) as board:
        board.program(board.limits.highest)
        table.board.reset()
        with pytest.raises(ConnectionLostError, match="it booted.*fell back to safe"):
            board.program(board.limits.highest)
        assert table.board.codes == SAFE
        assert board.program(board.limits.highest) == pytest.approx(table.true())


@needs_simavr
def test_a_lost_reply_is_asked_for_again_and_the_batch_is_written_once(table):
    with table.open(keep_alive=30.0) as board:
        before = table.board.counters().spi_bytes
        table.board.faults.add(Fault(FaultKind.DROP_REPLY))
        board.program(board.limits.highest)
        # Ten wipers written and four read back, two bytes each.
        assert table.board.counters().spi_bytes - before == 2 * (10 + 4)


@needs_simavr
def test_the_cable_is_pulled_in_mid_batch_and_the_wipers_go_to_safe():
    with a_table(of=FirmwareBoard, line=1) as table, table.open(keep_alive=0.2) as board:
        board.program(board.limits.highest)
        request = frame(Op.SETN, 99, bytes([0, 0, 10]) + bytes(20))
        board._link._port.write(request[: len(request) // 2])
        table.board.pull()
        with pytest.raises(ConnectionLostError, match="cable"):
            board.program(board.limits.highest)
        time.sleep(0.35)
        assert table.board.codes == SAFE


class Wire:
    """Frames by hand, over TCP."""

    def __init__(self, resource: str) -> None:
        host, port = resource.removeprefix("socket://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=2.0)
        self._said = b""

    def until(self, sent: bytes, op: Op, seq: int) -> list[bytes]:
        """Send, and return all that is said up to the reply to this request."""
        self._socket.sendall(sent)
        frames: list[bytes] = []
        while not frames or frames[-1][:2] != bytes([op + 0x80, seq]):
            while b"\0" not in self._said:
                received = self._socket.recv(4096)
                assert received
                self._said += received
            encoded, self._said = self._said.split(b"\0", 1)
            frames.append(cobs_decode(encoded))
        return frames

    def close(self) -> None:
        self._socket.close()


def draw_request(rng: np.random.Generator, n_channels: int) -> bytes:
    """Any request: sensible more often than not, and never one whose effect hangs on the time."""
    op = int(rng.choice([1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 0, 9, 0x84]))
    two = lambda number: int(number).to_bytes(2, "big")  # noqa: E731
    channel = two(rng.integers(n_channels + 2))
    n_codes = int(rng.integers(1, n_channels + 2))
    payload = {
        2: channel + two(rng.integers(262)),
        3: channel + bytes([n_codes]) + b"".join(two(code) for code in rng.integers(257, size=n_codes)),
        4: channel,
        5: channel + bytes([n_codes]),
        6: two(rng.choice([0, 60_000, 60_001, 49])),
        7: rng.choice([b"", two(rng.integers(258)) + two(rng.integers(258))]),
        8: rng.choice([b"STOR", b"STOP"]),
    }.get(op, b"")
    if rng.random() < 0.1:
        payload = rng.bytes(int(rng.integers(20)))
        payload = b"" if op == 6 else payload
    return frame(op, int(rng.integers(128)), bytes(payload))  # 128 and above are the probes'


def draw_line(rng: np.random.Generator, n_channels: int) -> bytes:
    """What comes in over the line: a request, or what became of one on the way."""
    sent = bytearray(draw_request(rng, n_channels))
    how = rng.choice(["whole", "whole", "twice", "torn", "flipped", "noise"])
    if how == "twice":
        sent *= 2
    elif how == "torn":
        sent = sent[: rng.integers(1, len(sent))]
    elif how == "flipped":
        for place in rng.integers(len(sent), size=rng.integers(1, 4)):
            sent[place] ^= 1 << int(rng.integers(8))
    elif how == "noise":
        sent = bytearray(rng.bytes(int(rng.integers(1, 300))))
    return bytes(sent) + b"\0"


def means_something(encoded: bytes) -> bool:
    try:
        raw = cobs_decode(encoded)
    except FrameError:
        return False
    return len(encoded) <= 244 and len(raw) >= 4 and crc16(raw) == 0 and raw[1] != 0 and raw[0] < 0x80


def hold_against_each_other(n_frames: int, seed: int) -> tuple[int, int]:
    """Say the same random frames to firmware and twin; how many meant something, and how many did not."""
    rng = np.random.default_rng(seed)
    with a_table() as twin, a_table(of=FirmwareBoard, turbo=True) as real:
        deadline = time.monotonic() + 2
        while real.board.codes != SAFE and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)  # it opens its UART now, and what came before is not heard
        wires = [Wire(table.resource) for table in (twin, real)]
        good = bad = 0
        for number in range(n_frames):
            line = draw_line(rng, 10)
            meant = [means_something(part) for part in line.split(b"\0") if part]
            good, bad = good + sum(meant), bad + len(meant) - sum(meant)
            before = list(real.board.codes)
            # The probe reads all wipers back, and its answer is the sign that all before it was worked off.
            seq = 128 + number % 128
            probe = frame(Op.GETN, seq, b"\0\0\x0a" if number % 2 else b"\0\0\x09")
            heard = [wire.until(line + probe, Op.GETN, seq) for wire in wires]
            assert heard[0] == heard[1], f"frame {number}, {line.hex(' ')}"
            assert real.board.codes == twin.board.codes
            if not any(meant):
                assert real.board.codes == before
                assert len(heard[1]) == 1
        for wire in wires:
            wire.close()
        assert real.board.complaints == []
    return good, bad


@needs_simavr
def test_firmware_and_twin_give_the_same_replies_to_300_random_frames_and_noise_moves_no_wiper():
    good, bad = hold_against_each_other(300, seed=5)
    assert good > 80
    assert bad > 80


@needs_simavr
@pytest.mark.prove
def test_firmware_and_twin_give_the_same_replies_to_10_000_random_frames():
    good, bad = hold_against_each_other(10_000, seed=6)
    tell(f"{good} good and {bad} bad frames, the same replies from both")
    assert min(good, bad) > 2500


@needs_simavr
def test_390_elements_in_four_batches_take_less_than_60_ms():
    with a_table(banks=(Bank("AD5206", 65),), of=FirmwareBoard, turbo=True) as table:
        wire = Wire(table.resource)
        time.sleep(0.3)
        wire.until(frame(Op.IDENT, 1), Op.IDENT, 1)
        requests = [
            frame(Op.SETN, 2 + number, base.to_bytes(2, "big") + bytes([n]) + b"".join([b"\0\x81"] * n))
            for number, (base, n) in enumerate([(0, 118), (118, 118), (236, 118), (354, 36)])
        ]
        before = table.board.counters()
        replies = [wire.until(request, Op.SETN, 2 + number)[0] for number, request in enumerate(requests)]
        after = table.board.counters()
        wire.close()
        assert table.board.codes == [0x81] * 390
        assert table.board.complaints == []
    n_bytes = sum(map(len, requests)) + sum(len(reply) + 2 for reply in replies)
    assert n_bytes == 4 * (7 + 2) + 2 * 390 + 4 * 9
    line = 10 * n_bytes / BAUD  # a start bit, eight, a stop bit
    # All cycles in which the processor was awake count, although most of them pass while bytes still come in. Of each
    # SPI byte's wait in the simulator only what the real clock needs is left.
    spi = after.spi_bytes - before.spi_bytes
    assert spi == 2 * 390
    awake = (after.cycles - before.cycles) - (after.asleep - before.asleep)
    assert awake > spi * SPI_CYCLES_IN_SIMAVR
    work = (awake - spi * (SPI_CYCLES_IN_SIMAVR - SPI_CYCLES)) / CLOCK
    tell(f"390 elements: line {1e3 * line:.1f} ms + firmware {1e3 * work:.1f} ms; {1e6 * work / 390:.0f} us an element")
    assert line + work < 60e-3


@needs_simavr
def test_a_board_of_one_part_is_told_as_it_was_built():
    with a_table(banks=(Bank("MCP4251", 3, end_to_end=5000, wiper=80, safe=0),), of=FirmwareBoard, serial=77) as table:
        wire = Wire(table.resource)
        time.sleep(0.2)
        reply = wire.until(frame(Op.IDENT, 1), Op.IDENT, 1)[0]
        wire.close()
    ident = parse_ident(reply[3:-2])
    (bank,) = ident.banks
    assert (ident.serial, ident.boots, ident.reset_cause, ident.channels) == (77, 0, 1, 6)
    assert (bank.taps, bank.steps, bank.end_to_end, bank.wiper, bank.safe) == (257, 256, 5000, 80, 0)


@needs_simavr
def test_banks_that_the_firmware_cannot_have_are_refused():
    with pytest.raises(ValueError, match="in the order MCP4251, AD5206"):
        Table(tuple(reversed(BANKS)), of=FirmwareBoard)


def test_the_firmware_includes_nothing_of_the_simulator():
    # simavr is GPL-3-or-later; a header of it in the firmware would bind that too.
    for source in [*FIRMWARE.rglob("*.c"), *FIRMWARE.rglob("*.h")]:
        assert "simavr" not in source.read_text()
        assert "sim_avr" not in source.read_text()
