"""The virtual resistor board without its driver: the twin's protocol by hand, its wipers in the world, its line."""

from __future__ import annotations

import binascii
import contextlib
import os
import socket

import numpy as np
import pytest

from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network import Branch, Network
from simulated_bench.circuit import Connection
from simulated_bench.servers import Fault, FaultKind, Faults, Wires
from simulated_bench.servers._board_twin import WATCHDOG, Bank, BoardTwin, _stuff, _unstuff
from simulated_bench.servers.resistor_board import VirtualResistorBoard, Wipers
from simulated_bench.world import World

IDENT, SET, SETN, GET, GETN, ALIVE, SAFE, STORE = range(1, 9)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A twin of two banks (channels 0 and 1, and 2 to 7), a clock, and frames by hand."""

    def __init__(self) -> None:
        self.clock, self.seq = Clock(), 0
        self.moves: list[range] = []
        banks = [Bank("MCP4251", 1), Bank("AD5206", 1, end_to_end=100_000, wiper=50)]
        self.twin = BoardTwin(banks, lambda _, channels: self.moves.append(channels), self.clock, serial=9)

    def ask(self, op: int, payload: bytes = b"", seq: int | None = None) -> tuple[int, bytes]:
        """Send a request; status with its bits, and payload."""
        self.seq = self.seq % 255 + 1 if seq is None else seq
        body = bytes([op, self.seq]) + payload
        (reply,) = self.twin.hear(_stuff(body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")) + b"\0")
        raw = _unstuff(reply[:-1])
        assert raw is not None
        assert binascii.crc_hqx(raw, 0xFFFF) == 0
        assert raw[:2] == bytes([op + 0x80, self.seq])
        return raw[2], raw[3:-2]


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.ask(IDENT)
    return bench


def test_until_it_is_identified_it_says_that_it_booted_and_moves_nothing():
    bench = Bench()
    assert bench.ask(SET, b"\0\0\0\5") == (0x40 | 6, b"\0\0")
    assert bench.twin.codes == [256] * 2 + [255] * 6
    assert bench.ask(IDENT)[0] == 0x40
    assert bench.ask(SET, b"\0\0\0\5") == (0, b"\0\5")


@pytest.mark.parametrize(
    ("op", "payload", "status", "told"),
    [
        (SETN, b"\0\1\2\0\5\1\0", 4, b"\0\2"),  # 256 is a code of channel 1's part, not of channel 2's
        (SETN, b"\0\7\2\0\5\0\6", 3, b"\0\x08"),
        (SETN, b"\0\0\0", 2, b"\0\0"),
        (SETN, b"\0\0\2\0\5", 2, b"\0\0"),
        (GET, b"\0\x08", 3, b"\0\x08"),
        (GETN, b"\0\0\x77", 2, b"\0\0"),
        (ALIVE, b"\0\x31", 5, b"\0\x31"),
        (ALIVE, b"\xea\x61", 5, b"\xea\x61"),
        (SAFE, b"\0\0", 2, b"\0\0"),
        (SAFE, b"\0\0\1\0", 4, b"\0\1"),
        (STORE, b"STOP", 5, b"\0\0"),
        (9, b"", 1, b"\0\0"),
    ],
)
def test_what_is_refused_says_why_and_moves_nothing(bench, op, payload, status, told):
    bench.moves.clear()
    assert bench.ask(op, payload) == (status, told)
    assert bench.moves == []


def test_a_batch_over_both_parts_is_set_and_read(bench):
    assert bench.ask(SETN, b"\0\1\2\1\0\0\7") == (0, b"\0\2")
    assert bench.twin.codes[:4] == [256, 256, 7, 255]
    assert bench.ask(GETN, b"\0\1\2") == (0, b"\1\0\0\7")


def test_a_repeated_request_is_answered_from_memory(bench):
    first = bench.ask(SET, b"\0\0\0\5", seq=7)
    bench.moves.clear()
    assert bench.ask(SET, b"\0\0\0\5", seq=7) == first
    assert bench.moves == []
    bench.ask(SET, b"\0\0\0\6", seq=7)  # the same number, but not the same request
    assert bench.twin.codes[0] == 6


@pytest.mark.parametrize("noise", [b"\0", b"\3\4\1\0", b"\xff" * 300 + b"\0", b"\5\1\2\0", b"\3\4\1\4\5\x29\xa5\0"])
def test_noise_is_neither_answered_nor_a_sign_of_life(bench, noise):
    bench.ask(ALIVE, b"\0\xc8")
    bench.clock.now += 0.15
    assert bench.twin.hear(noise) == []
    bench.clock.now += 0.06
    bench.twin.tick()
    assert bench.ask(GET, b"\0\0")[0] == 0x80


def test_silence_of_the_keep_alives_time_sets_all_safe_once_and_says_so_until_ident(bench):
    bench.ask(ALIVE, b"\0\xc8")  # 200 ms
    bench.ask(SET, b"\0\0\0\5")
    bench.clock.now += 0.199
    bench.twin.tick()
    assert bench.twin.codes[0] == 5
    bench.clock.now += 0.001
    bench.moves.clear()
    for _ in range(3):
        bench.twin.tick()
        bench.clock.now += 1.0
    assert bench.moves == [range(8)]
    assert bench.ask(SET, b"\0\0\0\5") == (0x80 | 6, b"\0\0")
    assert bench.ask(IDENT)[0] == 0x80
    assert bench.ask(SET, b"\0\0\0\5") == (0, b"\0\5")


def test_safe_codes_outlive_a_boot_only_when_they_are_stored(bench):
    bench.ask(SAFE, b"\0\0\0\3")
    assert bench.twin.codes == [0] * 2 + [3] * 6
    bench.twin.boot(WATCHDOG)
    assert bench.twin.codes == [256] * 2 + [255] * 6
    bench.ask(SAFE, b"\0\0\0\3")
    assert bench.ask(STORE, b"STOR") == (0x40, b"\0\1")
    assert bench.ask(STORE, b"STOR") == (0x40, b"\0\1")  # the same again costs no write
    bench.twin.boot(WATCHDOG)
    assert bench.twin.codes == [0] * 2 + [3] * 6


def test_ident_tells_cause_and_number_of_boots(bench):
    bench.twin.boot(WATCHDOG)
    status, told = bench.ask(IDENT)
    assert status == 0x40
    # protocol 1, 8 channels, serial 9, firmware 1.0, watchdog, second boot, nothing lost, no stores, two banks
    assert told[:16].hex(" ") == "01 00 08 00 00 00 09 01 00 08 00 01 00 00 00 02"
    assert told[16:32].hex(" ") == "01 01 00 02 01 01 01 00 00 00 27 10 00 4b 01 00"
    assert told[32:].hex(" ") == "02 00 00 06 01 00 01 00 00 01 86 a0 00 32 00 ff"


def world_of(n_elements: int) -> World:
    names = [f"r{number}" for number in range(n_elements)]
    network = Network(
        ("a",), tuple(Branch(name, "a", "ground", ELEMENTS["resistor"], (1e-3,), tunable=True) for name in names)
    )
    return World(network, {"s": Connection(0, -1, "voltage")}, np.random.default_rng(4))


def wires_of(n_elements: int) -> Wires:
    return Wires(tunes={str(number): f"r{number}" for number in range(n_elements)})


def test_wipers_are_what_they_truly_are_and_not_what_the_board_tells():
    world = world_of(2)
    wipers = Wipers(world, wires_of(2), [Bank("MCP4251", 1)], Faults(), true=[(12_000.0, 90.0)])
    wipers.show([64, 256], range(2))
    # 90 Ohm and a quarter of 12 kOhm; 90 Ohm and all of it
    assert 1 / world.conductance("r0") == pytest.approx(3090)
    assert 1 / world.conductance("r1") == pytest.approx(12_090)
    Wipers(world, wires_of(2), [Bank("MCP4251", 1)], Faults(), rising=False).show([64, 256], range(2))
    assert 1 / world.conductance("r0") == pytest.approx(75 + 7500)
    assert 1 / world.conductance("r1") == pytest.approx(75)


def test_tolerance_is_of_the_track_and_stays_with_its_element():
    world = world_of(200)
    wipers = Wipers(world, wires_of(200), [Bank("MCP4251", 100)], Faults(), tolerance=0.05)
    wipers.show([256] * 200, range(200))
    factors = np.array([(1 / world.conductance(f"r{number}") - 75) / 10_000 for number in range(200)])
    assert abs(factors.std() - 0.05) < 0.01  # the standard error of 200 is 0.0025
    wipers.show([128] * 200, range(200))
    again = np.array([(1 / world.conductance(f"r{number}") - 75) / 5000 for number in range(200)])
    assert again == pytest.approx(factors)


def test_an_element_beyond_the_banks_is_refused():
    with pytest.raises(ValueError, match="element 2 is wired; the banks have 0 to 1"):
        Wipers(world_of(3), wires_of(3), [Bank("MCP4251", 1)], Faults())


@contextlib.contextmanager
def a_board():
    board = VirtualResistorBoard("board", world_of(4), wires_of(4))
    try:
        yield board, board.start()
    finally:
        board.stop()
        board.stop()


def connected(resource: str) -> socket.socket:
    host, port = resource.removeprefix("socket://").split(":")
    return socket.create_connection((host, int(port)), timeout=2.0)


GET_5 = bytes.fromhex("03 04 01 04 05 29 a4 00")
# Five channels too many: status 40 | 03 (it booted, no such channel) and the number there is, 4. By hand: body
# 84 01 43 00 04, so a run of three and one of three.
REPLY_START = bytes.fromhex("04 84 01 43 04 04")


def test_it_listens_on_the_loopback_interface_only_and_has_a_pseudo_terminal_where_there_are_any():
    with a_board() as (_, resources):
        assert resources[0].startswith("socket://127.0.0.1:")
        assert len(resources) == 1 + hasattr(os, "openpty")


def test_a_reply_comes_over_tcp():
    with a_board() as (_, resources), connected(resources[0]) as host:
        host.sendall(GET_5)
        reply = host.recv(100)
        assert reply.startswith(REPLY_START)
        assert reply.endswith(b"\0")
        assert len(reply) == 9


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(FaultKind.HALF_REPLY), REPLY_START[:4]),
        (Fault(FaultKind.GARBAGE), REPLY_START[:4] + bytes([0x04 ^ 0xFF])),
        (Fault(FaultKind.DISCONNECT), REPLY_START[:4]),
    ],
)
def test_a_fault_of_the_line_is_what_it_says_and_happens_once(fault, expected):
    with a_board() as (board, resources):
        with connected(resources[0]) as host:
            board.faults.add(fault)
            host.sendall(GET_5)
            assert host.recv(100).startswith(expected)
            if fault.kind is FaultKind.DISCONNECT:
                assert host.recv(100) == b""
        with connected(resources[0]) as host:
            host.sendall(GET_5)
            assert host.recv(100).startswith(REPLY_START)


def test_the_safe_state_is_in_the_world_from_the_start():
    with a_board() as (board, _):
        assert board.codes == [256] * 4
        assert 1 / board.wipers._world.conductance("r3") == pytest.approx(10_075)
