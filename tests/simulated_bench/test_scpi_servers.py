"""The virtual SCPI instruments, talked to without any of our drivers: status model, blocks, quirks, faults, threads."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from pytest import approx

from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network import Branch, Network
from simulated_bench.circuit import Connection
from simulated_bench.servers import Fault, FaultKind, Wires
from simulated_bench.servers._socket import message_end
from simulated_bench.servers.keysight_33500b import VirtualKeysight33500B
from simulated_bench.servers.rigol_scope import VirtualRigolScope
from simulated_bench.world import Constant, World

HEADER = struct.Struct("!2sBBIQ")


@pytest.fixture
def world() -> World:
    resistor = Branch("r", "n0", "ground", ELEMENTS["resistor"], (1e-3,))
    return World(Network(("n0",), (resistor,)), {"gen/ch1": Connection(0, -1, "voltage")}, np.random.default_rng(1))


@pytest.fixture
def generator(world: World) -> Iterator[VirtualKeysight33500B]:
    server = VirtualKeysight33500B("gen", world, Wires(drives={"ch1": "gen/ch1"}))
    yield server
    server.stop()


@pytest.fixture
def scope(world: World) -> Iterator[VirtualRigolScope]:
    server = VirtualRigolScope("scope", world, Wires(reads={"chan1": "n0"}), "gen")
    yield server
    server.stop()


def ports(resources: list[str]) -> tuple[int, int]:
    hislip, plain = resources
    return int(hislip.split("hislip0,")[1].split("::")[0]), int(plain.split("::")[2])


class Plain:
    """A socket client of a few lines."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=2.0)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, message: bytes) -> None:
        self.socket.sendall(message + b"\n")

    def ask(self, message: bytes) -> bytes:
        self.send(message)
        return self.file.readline().rstrip(b"\n")


class Hislip:
    """A HiSLIP client of a few lines, as IVI-6.1 has it."""

    def __init__(self, port: int) -> None:
        self.sync = socket.create_connection(("127.0.0.1", port), timeout=2.0)
        self.send(self.sync, 0, 0, 0x01007878, b"hislip0")
        kind, _, parameter, _ = self.receive(self.sync)
        assert kind == 1
        self.beside = socket.create_connection(("127.0.0.1", port), timeout=2.0)
        self.send(self.beside, 17, 0, parameter & 0xFFFF)
        assert self.receive(self.beside)[0] == 18

    def __enter__(self) -> Hislip:
        return self

    def __exit__(self, *_: object) -> None:
        self.sync.close()
        self.beside.close()

    def send(self, wire: socket.socket, kind: int, control: int, parameter: int, content: bytes = b"") -> None:
        wire.sendall(HEADER.pack(b"HS", kind, control, parameter, len(content)) + content)

    def receive(self, wire: socket.socket) -> tuple[int, int, int, bytes]:
        prologue, kind, control, parameter, length = HEADER.unpack(self.exactly(wire, HEADER.size))
        assert prologue == b"HS"
        return kind, control, parameter, self.exactly(wire, length)

    def exactly(self, wire: socket.socket, count: int) -> bytes:
        got = b""
        while len(got) < count:
            data = wire.recv(count - len(got))
            assert data, "the server ended the connection"
            got += data
        return got


def test_both_wires_reach_the_same_device_on_the_loopback_interface(generator: VirtualKeysight33500B) -> None:
    resources = generator.start()
    assert [resource.startswith("TCPIP::127.0.0.1::") for resource in resources] == [True, True]
    hislip, plain = ports(resources)
    with Plain(plain) as client, Hislip(hislip) as other:
        client.send(b"SOUR1:VOLT 0.25")
        assert float(client.ask(b"VOLT?")) == 0.25
        other.send(other.sync, 7, 0, 0xFFFFFF00, b"SOURce1:VOLTage?\n")
        kind, _, number, content = other.receive(other.sync)
        assert (kind, number, float(content)) == (7, 0xFFFFFF00, 0.25)


def test_hislip_has_message_sizes_status_and_a_device_clear(generator: VirtualKeysight33500B) -> None:
    with Hislip(ports(generator.start())[0]) as client:
        client.send(client.beside, 15, 0, 0, struct.pack("!Q", 1 << 20))
        kind, _, _, content = client.receive(client.beside)
        assert kind == 16
        assert struct.unpack("!Q", content)[0] >= 1 << 20
        client.send(client.sync, 7, 0, 2, b"NONSENSE")
        client.send(client.sync, 7, 0, 4, b"*OPC?")
        assert client.receive(client.sync) == (7, 0, 4, b"1\n")
        client.send(client.beside, 21, 0, 0)
        assert client.receive(client.beside)[:2] == (22, 4)  # an error waits in the queue
        client.send(client.sync, 6, 0, 6, b"half a mess")  # never ended
        client.send(client.beside, 19, 0, 0)
        assert client.receive(client.beside)[0] == 23
        client.send(client.sync, 8, 0, 0)
        assert client.receive(client.sync)[0] == 9
        client.send(client.sync, 7, 0, 8, b"*OPC?")
        assert client.receive(client.sync) == (7, 0, 8, b"1\n")
        client.send(client.sync, 99, 0, 0)
        assert client.receive(client.sync)[:2] == (3, 1)  # Error: unrecognised message type


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"VOLTS 1", '-113,"Undefined header"'),
        (b"SOUR3:VOLT 1", '-113,"Undefined header"'),
        (b"VOLT 21", '-222,"Data out of range"'),
        (b"VOLT", '-109,"Missing parameter"'),
        (b"VOLT high", '-224,"Illegal parameter value"'),
        (b"FUNC SQUIGGLE", '-224,"Illegal parameter value"'),
        (b"OUTP1:LOAD INF;:VOLT 10;:VOLT:OFFS 8", '-221,"Settings conflict"'),
        (b"*TRG", '-211,"Trigger ignored"'),
        (b"FUNC:ARB nudge", '+785,"Specified arb waveform does not exist"'),
        (b"DATA:ARB:DAC n,#14\x00\x00", '-160,"Block data error"'),
        (b"VOLT 0.5", '+0,"No error"'),
    ],
)
def test_errors_are_queued_with_their_numbers(generator: VirtualKeysight33500B, message: bytes, error: str) -> None:
    generator.execute(message)
    assert generator.execute(b"SYST:ERR?") == error.encode()
    assert generator.execute(b":SYSTem:ERRor:NEXT?") == b'+0,"No error"'


def test_the_event_register_follows_the_classes_of_errors() -> None:
    network = Network(("n0",), (Branch("r", "n0", "ground", ELEMENTS["resistor"], (1e-3,)),))
    device = VirtualKeysight33500B("gen", World(network, {}, np.random.default_rng(1)), Wires())
    assert device.execute(b"*ESR?") == b"128"  # power on
    for message, bit in ((b"NONSENSE", 32), (b"VOLT 99", 16), (b"FUNC:ARB none", 8), (b"*OPC", 1)):
        device.execute(message)
        assert device.execute(b"*ESR?;*ESR?") == f"{bit};0".encode()
    device.execute(b"*CLS;*ESE 32;*SRE 32")
    assert device.execute(b"*ESE?;*SRE?;*STB?") == b"32;32;0"
    device.execute(b"NONSENSE")
    assert device.execute(b"*STB?") == b"100"  # 4: an error waits; 32: an event; 64: service asked for
    device.execute(b"*CLS")
    assert device.execute(b"*STB?") == b"0"


def test_a_queue_that_is_full_says_that_errors_were_lost(generator: VirtualKeysight33500B) -> None:
    for _ in range(25):
        generator.execute(b"NONSENSE")
    errors = [generator.execute(b"SYST:ERR?") for _ in range(21)]
    assert errors[18] == b'-113,"Undefined header"'
    assert errors[19:] == [b'-350,"Queue overflow"', b'+0,"No error"']


def test_a_command_error_drops_the_rest_of_its_message_and_an_execution_error_does_not(
    generator: VirtualKeysight33500B,
) -> None:
    generator.execute(b"VOLT 99;:VOLT 0.3")
    assert float(generator.execute(b"VOLT?") or b"") == 0.3
    generator.execute(b"NONSENSE;:VOLT 0.4")
    assert float(generator.execute(b"VOLT?") or b"") == 0.3


def test_a_header_without_a_colon_stays_on_the_branch_of_the_one_before(generator: VirtualKeysight33500B) -> None:
    generator.execute(b"SOUR1:FUNC:ARB:SRAT 1000;FILT OFF;:SOUR1:VOLT 0.2")
    assert generator.execute(b"SYST:ERR?") == b'+0,"No error"'
    assert float(generator.execute(b"FUNC:ARB:SRAT?") or b"") == 1000


@pytest.mark.parametrize(
    ("waiting", "end"),
    [
        (b"*IDN?\nVOLT?\n", 5),
        (b"*IDN?", None),
        (b"DATA x,#15a\nb\nc\nrest", 15),
        (b"DATA x,#15a\nb", None),
        (b"DATA x,#2", None),
        (b"DATA x,#210a\nb\nc\nd\ne\n", None),
        (b"DATA x,#210a\nb\nc\nd\ne\n\n", 21),
        (b"FETC? (@101)\n#", 12),
    ],
)
def test_a_newline_inside_a_block_ends_no_message(waiting: bytes, end: int | None) -> None:
    assert message_end(waiting) == end


def load_ramp(generator: VirtualKeysight33500B) -> None:
    codes = np.array([0, 10000, 20000, 30000, 0, -10000, -20000, -30000], ">i2").tobytes()
    generator.execute(b"OUTP1:LOAD INF;:SOUR1:DATA:ARB:DAC ramp,#216" + codes + b";:FUNC:ARB ramp;:FUNC:ARB:SRAT 8000")
    generator.execute(b"FUNC ARB;:VOLT 2;:VOLT:OFFS 0.5;:BURS:MODE TRIG;NCYC 2;STAT ON;:TRIG1:SOUR BUS")
    assert generator.execute(b"SYST:ERR?") == b'+0,"No error"'


def test_a_burst_plays_its_cycles_and_rests_at_the_first_point(world: World, generator: VirtualKeysight33500B) -> None:
    load_ramp(generator)
    assert world.level("gen/ch1") == 0  # the output is off
    generator.execute(b"OUTP1 ON")
    assert world.level("gen/ch1") == 0.5
    generator.execute(b"*TRG")
    seen = world.volts(["n0"], np.array([0.0, 0.125e-3, 0.5e-3, 0.875e-3, 1.125e-3, 2.125e-3]))[0]
    # 0.5 V + code / 32767: points 0, 1, 4, 7 of the first cycle, 1 of the second, and after the second the rest.
    assert seen == approx([0.5, 0.5 + 10000 / 32767, 0.5, 0.5 - 30000 / 32767, 0.5 + 10000 / 32767, 0.5])
    generator.execute(b"OUTP1 OFF")
    assert world.level("gen/ch1") == 0


def test_the_byte_order_of_a_block_is_that_of_form_bord(world: World, generator: VirtualKeysight33500B) -> None:
    codes = np.full(8, 256, "<i2").tobytes()
    generator.execute(b"FORM:BORD SWAP;:OUTP1:LOAD INF;:DATA:ARB:DAC flat,#216" + codes)
    generator.execute(b"FUNC:ARB flat;:FUNC ARB;:VOLT 2;:OUTP1 ON")
    assert world.level("gen/ch1") == approx(256 / 32767)


def test_set_for_50_ohm_it_puts_out_twice_the_volts(world: World, generator: VirtualKeysight33500B) -> None:
    generator.execute(b"*RST;FUNC DC;:VOLT:OFFS 1;:OUTP1 ON")
    assert world.level("gen/ch1") == 2.0
    generator.execute(b"OUTP1:LOAD INF")
    assert world.level("gen/ch1") == 1.0


def test_the_trigger_output_fires_only_when_it_is_on(world: World, generator: VirtualKeysight33500B) -> None:
    load_ramp(generator)
    fired: list[float] = []
    world.wait_for("gen", fired.append)
    generator.execute(b"OUTP1 ON;*TRG")
    assert fired == []
    generator.execute(b"OUTP:TRIG ON;*TRG")
    assert fired == [0.0]


def set_scope(scope: VirtualRigolScope) -> None:
    for command in (b"*RST", b":ACQ:MDEP 12000", b":TIM:MAIN:SCAL 0.001", b":TIM:MAIN:OFFS 0.006", b":STOP"):
        scope.execute(command)
    for command in (b":CHAN1:SCAL 0.5", b":WAV:MODE RAW", b":WAV:FORM BYTE", b":WAV:SOUR CHAN1", b":WAV:STOP 4"):
        scope.execute(command)
    assert scope.execute(b":SYST:ERR?") == b'0,"No error"'


def test_the_scope_waits_for_the_trigger_and_sends_codes(world: World, scope: VirtualRigolScope) -> None:
    set_scope(scope)
    world.put("gen/ch1", Constant(0.4))
    scope.execute(b":SING")
    assert scope.execute(b":TRIG:STAT?") == b"WAIT"
    world.fire("gen")
    assert scope.execute(b":TRIG:STAT?") == b"STOP"
    # 12000 points in 12 ms; 25 codes for 0.5 V, so 0.4 V is code 127 + 20; 1.2 ms of 1 ms divisions went by.
    assert scope.execute(b":ACQ:SRAT?") == b"1.000000e+06"
    assert scope.execute(b":WAV:DATA?") == b"#9000000004" + bytes([147] * 4)
    preamble = [float(part) for part in (scope.execute(b":WAV:PRE?") or b"").split(b",")]
    assert preamble == approx([0, 2, 12000, 1, 1e-6, 0, 0, 0.02, 0, 127])
    assert world.now == approx(12e-3, rel=1e-3)


def test_sixteen_bits_are_little_endian_and_end_at_their_ends(world: World, scope: VirtualRigolScope) -> None:
    set_scope(scope)
    scope.execute(b":WAV:FORM WORD")
    codes = []
    for volts in (0.4, 99.0, -99.0):
        world.put("gen/ch1", Constant(volts))
        scope.execute(b":SING")
        world.fire("gen")
        content = (scope.execute(b":WAV:DATA?") or b"").removeprefix(b"#9000000008")
        codes.append(struct.unpack("<4H", content)[0])
    assert codes == [127 * 256 + 20 * 256, 65535, 0]


@pytest.mark.parametrize(
    ("commands", "error"),
    [
        ([b":STOP", b":ACQ:MDEP 12000"], b'-221,"Settings conflict"'),
        ([b":RUN", b":ACQ:MDEP 6000"], b'-222,"Data out of range"'),  # one channel is on
        ([b":WAV:MODE RAW", b":RUN", b":WAV:DATA?"], b'-230,"Data corrupt or stale"'),
        ([b":CHAN5:SCAL 1"], b'-113,"Undefined header"'),
    ],
)
def test_the_scopes_quirks_are_errors(scope: VirtualRigolScope, commands: list[bytes], error: bytes) -> None:
    for command in commands:
        scope.execute(command)
    assert scope.execute(b":SYST:ERR?") == error


def test_a_forced_record_begins_at_a_phase_that_the_worlds_generator_draws(
    world: World, scope: VirtualRigolScope, generator: VirtualKeysight33500B
) -> None:
    load_ramp(generator)
    generator.execute(b"BURS:NCYC INF;:OUTP1 ON;*TRG")
    set_scope(scope)
    first = []
    for _ in range(4):
        for command in (b":SING", b":TFOR"):
            scope.execute(command)
        first.append((scope.execute(b":WAV:DATA?") or b"")[-1])
    assert len(set(first)) > 1


def test_stop_gives_up_waiting_for_a_trigger(world: World, scope: VirtualRigolScope) -> None:
    set_scope(scope)
    scope.execute(b":SING")
    scope.execute(b":STOP")
    world.fire("gen")
    assert scope.execute(b":WAV:PRE?").split(b",")[2] == b"0"  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [FaultKind.DROP_REPLY, FaultKind.HALF_REPLY, FaultKind.DISCONNECT])
def test_a_fault_befalls_one_answer_and_the_next_connection_is_sound(
    generator: VirtualKeysight33500B, kind: FaultKind
) -> None:
    _, plain = ports(generator.start())
    generator.faults.add(Fault(kind))
    with Plain(plain) as client:
        client.socket.settimeout(0.1)
        client.send(b"*IDN?")
        got = b""
        try:
            while data := client.socket.recv(100):
                got += data
        except TimeoutError:
            assert kind is not FaultKind.DISCONNECT
        whole = generator.idn.encode() + b"\n"
        assert got == (b"" if kind is FaultKind.DROP_REPLY else whole[: len(whole) // 2])
    with Plain(plain) as client:
        assert client.ask(b"*IDN?") == generator.idn.encode()


def test_a_late_answer_comes_late_and_garbage_differs_in_a_byte(generator: VirtualKeysight33500B) -> None:
    _, plain = ports(generator.start())
    with Plain(plain) as client:
        generator.faults.add(Fault(FaultKind.LATE_REPLY, seconds=0.15))
        started = time.monotonic()
        assert client.ask(b"*OPC?") == b"1"
        assert time.monotonic() - started >= 0.15
        generator.faults.add(Fault(FaultKind.GARBAGE))
        garbled = client.ask(b"*IDN?")
        assert sum(one != other for one, other in zip(garbled, generator.idn.encode(), strict=True)) == 1


def test_stopping_ends_every_thread_and_leaves_zero_volts(world: World, generator: VirtualKeysight33500B) -> None:
    before = set(threading.enumerate())
    hislip, plain = ports(generator.start())
    with Plain(plain) as client, Hislip(hislip):
        assert client.ask(b"OUTP1:LOAD INF;:FUNC DC;:VOLT:OFFS 1;:OUTP1 ON;*OPC?") == b"1"
        assert world.level("gen/ch1") == 1.0
        generator.faults.add(Fault(FaultKind.LATE_REPLY, seconds=30.0))
        client.send(b"*IDN?")
        started = time.monotonic()
        generator.stop()
        generator.stop()
        assert time.monotonic() - started < 2.0
        assert world.level("gen/ch1") == 0.0
    assert set(threading.enumerate()) <= before
    for port in (hislip, plain):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1.0)


def test_a_stuck_output_keeps_its_value(world: World, generator: VirtualKeysight33500B) -> None:
    generator.execute(b"OUTP1:LOAD INF;:FUNC DC;:VOLT:OFFS 1;:OUTP1 ON")
    generator.faults.add(Fault(FaultKind.STUCK, channel="ch1"))
    generator.execute(b"OUTP1 OFF")
    assert world.level("gen/ch1") == 1.0
    generator.faults.clear()
    generator.execute(b"OUTP1 ON;:OUTP1 OFF")
    assert world.level("gen/ch1") == 0.0
