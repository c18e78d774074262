"""The NI-DAQmx driver over the real wire, against the virtual server: the laws, the order of calls, and every fault.

Nothing here says how a real card behaves: the server is a model. Expected voltages are solved by hand.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import nidaqmx
import numpy as np
import pytest
from nidaqmx import errors as daq_errors
from nidaqmx._grpc_interpreter import GrpcStubInterpreter
from nidaqmx.error_codes import DAQmxErrors

from drivers.nidaq import NIDAQMX, Session
from drivers.nidaq._source import generated
from freqprop_lab.bench import ChannelUse, Roles
from freqprop_lab.elements import ELEMENTS
from freqprop_lab.instruments import (
    ConnectionLostError,
    InstrumentError,
    LimitError,
    Meter,
    OverloadError,
    ProtocolError,
    Source,
    TimeLimitError,
)
from freqprop_lab.network import Branch, Network
from freqprop_lab.testing import MeterTests, SourceTests
from freqprop_lab.values import Drive, Nudge, Record
from freqprop_lab.waveform import Sine
from simulated_bench.circuit import Connection
from simulated_bench.servers import Fault, FaultKind, Wires
from simulated_bench.servers.nidaqmx import NidaqmxServer
from simulated_bench.world import Constant, World

RATE = 20_000.0  # Hz
PATIENCE = 0.3  # s: the time-out where an answer is withheld
PLENTY = 5.0  # s: elsewhere, since a machine may be busy
TWO, FOUR = ("ao0", "ao1"), ("ai0", "ai1", "ai2", "ai3")


def star(n_outputs: int, n_inputs: int) -> World:
    """Nodes with 1 mS to ground each: `o0`... at the card's outputs, `i0`... which the test itself drives."""
    names = [f"o{n}" for n in range(n_outputs)] + [f"i{n}" for n in range(n_inputs)]
    branches = tuple(Branch(f"r{name}", name, "ground", ELEMENTS["resistor"], (1e-3,)) for name in names)
    terminals = {name: Connection(number, -1, "voltage") for number, name in enumerate(names)}
    return World(Network(tuple(names), branches), terminals, np.random.default_rng(3))


def serve(n_outputs: int = 2, n_inputs: int = 4, **options: object) -> NidaqmxServer:
    """A card whose outputs drive `o0`..., and whose inputs look at `i0`..., the last two at the outputs."""
    drives = {f"ao{n}": f"o{n}" for n in range(n_outputs)}
    reads = {f"ai{n}": f"i{n}" for n in range(n_inputs)} | {"ai8": "o0", "ai9": "o1"}
    if "also" in options:
        reads |= {f"Dev2.ai{n}": f"i{n}" for n in range(n_inputs)}
    return NidaqmxServer("daq", star(n_outputs, n_inputs), Wires(drives, reads), **options)


def connect(
    server: NidaqmxServer, drives: tuple[str, ...] = TWO, reads: tuple[str, ...] = FOUR, **fields: object
) -> Roles:
    text = {"driver": "nidaqmx", "resource": server.resources[0], "timeout": PLENTY} | fields
    return NIDAQMX.open("daq", NIDAQMX.model.model_validate(text), ChannelUse(drives, reads))


def load(source: Source, n_samples: int = 100, sample_rate: float = RATE) -> None:
    levels = np.linspace(0.5, 1.0, source.n_channels)
    source.load(levels, np.full(source.n_channels, 0.1), Sine(), sample_rate / n_samples, 1, sample_rate)


def record(roles: Roles, n_samples: int = 100, sample_rate: float = RATE) -> Record:
    """Take a record as the bench does."""
    load(roles.source, n_samples, sample_rate)
    roles.meter.arm(n_samples, sample_rate)
    roles.source.start()
    try:
        return roles.meter.read()
    finally:
        roles.source.stop()


def close(roles: Roles) -> None:
    for role in (roles.source, roles.meter):
        if role is not None:
            role.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[NidaqmxServer]:
    with running(serve()) as server:
        yield server


@contextmanager
def running(server: NidaqmxServer) -> Iterator[NidaqmxServer]:
    """Start a server; it stops whatever happens, and before that no task may be left on it."""
    server.start()
    try:
        yield server
        assert server.open_tasks == []
    finally:
        server.stop()


@pytest.fixture
def server(shared: NidaqmxServer) -> Iterator[NidaqmxServer]:
    """A server without faults and tasks; afterwards the client must have left none and asked nothing unknown."""
    shared.faults.clear()
    shared.calls.clear()
    for n in range(4):
        shared.world.put(f"i{n}", Constant(0.0))
    yield shared
    shared.faults.clear()
    left, shared_unknown = shared.open_tasks, list(shared.unknown_attributes)
    shared.rack.tasks.clear()
    assert left == []
    assert shared_unknown == []


@pytest.fixture
def patience() -> float:
    return PLENTY


@pytest.fixture
def roles(server: NidaqmxServer, patience: float) -> Iterator[Roles]:
    opened = connect(server, timeout=patience)
    server.calls.clear()
    yield opened
    server.faults.clear()
    close(opened)
    assert [server.world.level(name) for name in ("o0", "o1")] == [0.0, 0.0]


def order(server: NidaqmxServer) -> list[str]:
    return [str(call) for call in server.calls]


# The laws.


class OverTheWire:
    """One server for the class, whose cards each test opens anew."""

    options: dict[str, object] = {}
    fields: dict[str, object] = {}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def card(cls) -> Iterator[None]:
        with running(serve(**cls.options)) as cls.server:
            yield
            assert cls.server.unknown_attributes == []

    @pytest.fixture(autouse=True)
    def leaves_no_task(self) -> Iterator[None]:
        self.opened: list[Roles] = []
        yield
        for opened in self.opened:
            close(opened)
        assert self.server.open_tasks == []


class TestSource(OverTheWire, SourceTests):
    def open_instrument(self) -> Source:
        opened = connect(self.server, reads=(), **self.fields)
        self.opened.append(opened)
        return opened.source

    def observe(self, source: Source) -> np.ndarray:
        return np.array([self.server.world.level(f"o{n}") for n in range(source.n_channels)])


class TestSourceOf16Bits(TestSource):
    options = {"ao_bits": 16}
    fields = {"ao_limit": "5 V"}
    tolerance = 0.5 * 20 / 2**16 * 1.001  # V: half a step


class TestMeter(OverTheWire, MeterTests):
    reads = FOUR
    sample_rate = 2000.0

    def open_instrument(self) -> Meter:
        opened = connect(self.server, ("ao0",), self.reads, **self.fields)
        self.opened.append(opened)
        return opened.meter

    def present(self, meter: Meter, volts: np.ndarray) -> bool:
        for n, value in enumerate(volts):
            self.server.world.put(f"i{n}", Constant(value))
        return True

    def trigger(self, meter: Meter) -> None:
        source = self.opened[-1].source
        source.load(np.zeros(1), np.zeros(1), None, self.sample_rate / self.n_samples, 1, self.sample_rate)
        source.start()


class TestMultiplexedMeterOnTheClockOfTheOutputs(TestMeter):
    options = {"multiplexed": True, "ai_bits": 16}
    fields = {"clock": "ao", "range": "5 V"}
    tolerance = 0.5 * 10 / 2**16 * 1.001  # V: half a step


class TestMeterOfTwoCards(TestMeter):
    options = {"also": ("Dev2",)}
    fields = {"also": ["Dev2"]}
    reads = ("Dev2.ai0", "ai1", "Dev2.ai2", "ai3")


# What is called, and when.


@pytest.mark.parametrize("clock", ["own", "ao"])
def test_the_inputs_are_armed_before_the_outputs_start_in_every_record(server, clock):
    opened = connect(server, clock=clock)
    for n_samples in (100, 100, 50):
        server.calls.clear()
        record(opened, n_samples)
        assert order(server).index("StartTask ai") < order(server).index("StartTask ao")
        assert order(server).count("StartTask ai") == order(server).count("StartTask ao") == 1
    close(opened)


def test_the_inputs_of_a_second_card_are_armed_first_and_all_before_the_outputs():
    with running(serve(also=("Dev2",))) as server:
        opened = connect(server, reads=("ai0", "Dev2.ai1"), also=["Dev2"])
        server.calls.clear()
        record(opened)
        assert [call for call in order(server) if call.startswith("StartTask")] == [
            "StartTask ai",
            "StartTask ai",
            "StartTask ao",
        ]
        close(opened)
        assert server.open_tasks == []


def test_inputs_that_nothing_triggers_start_last_on_the_card_that_makes_the_clock():
    with running(serve(also=("Dev2",))) as server:
        opened = connect(server, drives=(), reads=("ai0", "Dev2.ai1"), also=["Dev2"])
        server.world.put("i1", Constant(0.7))
        opened.meter.arm(10, RATE)
        assert opened.meter.read().volts == pytest.approx(np.repeat([[0.0], [0.7]], 10, axis=1))
        close(opened)


def test_inputs_armed_while_the_outputs_run_are_refused(roles):
    load(roles.source)
    roles.source.start()  # virtual time stands still, so the nudge is still running
    with pytest.raises(ProtocolError, match='meter "daq" was armed while the outputs of its card run'):
        roles.meter.arm(100, RATE)


def test_a_record_of_kept_tasks_is_eight_calls(roles, server):
    record(roles)
    server.calls.clear()
    record(roles)
    assert order(server) == [
        "WriteAnalogF64 ao",
        "StartTask ai",
        "StartTask ao",
        "ReadAnalogF64 ai",
        "StopTask ai",
        "IsTaskDone ao",
        "StopTask ao",
        "TaskControl ao",
    ]


def test_a_hundred_records_need_three_tasks(roles, server):
    for _ in range(100):
        record(roles, 20)
    assert len(server.open_tasks) == 3


@pytest.mark.prove
def test_a_thousand_steps_leak_no_task(roles, server):
    for _ in range(2000):  # two records a step
        record(roles, 20)
    assert len(server.open_tasks) == 3


def test_sixteen_channels_of_a_thousand_samples():
    with running(serve(2, 16)) as server:
        opened = connect(server, reads=tuple(f"ai{n}" for n in range(8)) + tuple(f"ai{n}" for n in range(8, 16)))
        taken = record(opened, 1000)
        assert taken.volts.shape == (16, 1000)
        # ai8 and ai9 look at the outputs: 0.5 V and 1 V, and a sine of 0.1 V whose crest is at a quarter.
        assert taken.volts[8:10, 0] == pytest.approx([0.5, 1.0])
        assert taken.volts[8:10, 250] == pytest.approx([0.6, 1.1])
        close(opened)


def test_what_the_outputs_hold_after_the_last_sample_is_the_level(roles, server):
    record(roles)
    assert [server.world.level(name) for name in ("o0", "o1")] == pytest.approx([0.5, 1.0])


def test_a_nudge_cut_short_leaves_the_level(roles, server):
    load(roles.source)
    roles.source.start()
    server.world.advance(25 / RATE)  # the crest
    assert server.world.level("o0") == pytest.approx(0.6)
    roles.source.stop()
    assert server.world.level("o0") == pytest.approx(0.5)


def test_the_rate_that_is_returned_is_the_one_that_the_card_has(roles):
    # 100 MHz / 30 kHz = 3333.33, so the card divides by 3333.
    timing = roles.source.load(np.zeros(2), np.zeros(2), None, 300.0, 1, 30e3)
    assert timing.sample_rate == pytest.approx(100e6 / 3333, rel=1e-12)
    assert roles.meter.arm(100, 30e3).sample_rate == timing.sample_rate


def test_inputs_and_outputs_of_different_rates_are_refused(roles):
    roles.source.load(np.zeros(2), np.zeros(2), None, 300.0, 1, 30e3)
    roles.meter.arm(100, 20e3)
    with pytest.raises(LimitError, match=r"Nothing was put out. Set clock: ao"):
        roles.source.start()


def test_outputs_alone_take_another_rate_after_a_record(roles, server):
    record(roles)
    roles.source.load(np.array([0.2, 0.3]), np.zeros(2), None, 300.0, 1, 30e3)
    roles.source.start()
    assert server.world.level("o0") == pytest.approx(0.2)


# Lateness.


def test_a_multiplexed_card_tells_the_lateness_of_each_channel():
    with running(serve(multiplexed=True)) as server:
        opened = connect(server, drives=(), trigger="/Dev1/PFI0")
        opened.meter.arm(10, 2000.0)
        server.world.fire("daq/Dev1/PFI0")
        # Time enough: 1 us for a conversion and 10 us to settle.
        assert opened.meter.read().skews == pytest.approx([0.0, 11e-6, 22e-6, 33e-6])
        close(opened)


def test_the_delay_adds_to_the_lateness(server):
    opened = connect(server, drives=(), trigger="/Dev1/PFI0", delay="100 us")
    opened.meter.arm(10, 2000.0)
    server.world.fire("daq/Dev1/PFI0")
    assert opened.meter.read().skews == pytest.approx([1e-4] * 4)
    close(opened)


def test_against_its_own_outputs_which_hold_each_sample_a_multiplexed_card_is_late_by_whole_samples_only():
    with running(serve(multiplexed=True)) as server:
        opened = connect(server, reads=("ai0", "ai1", "ai2", "ai8"))
        taken = record(opened, 100)
        # ai8 is converted 33 us after ai0, and still sees the sample that began with the tick.
        assert taken.volts[3, 25] == pytest.approx(0.6)
        assert taken.skews.tolist() == [0.0] * 4
        close(opened)


# Limits and wrong files.


def test_levels_beyond_ao_limit_are_refused_before_anything_is_sent(server):
    opened = connect(server, ao_limit="2 V")
    server.calls.clear()
    with pytest.raises(LimitError, match='source "daq", channel 1: 2.1 V asked, the limits are -2 and 2 V'):
        opened.source.load(np.array([0.0, 2.0]), np.array([0.0, 0.1]), Sine(), 100.0, 1, RATE)
    assert order(server) == []
    close(opened)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"range": "11 V"}, LimitError, r'meter "daq": a range of 11 V asked, the inputs of Dev1 .* reach 10 V'),
        ({"ao_limit": "12 V"}, LimitError, r'source "daq": ao_limit is 12 V, the outputs of .* reach 10 V'),
        ({"also": ["Dev3"]}, ConnectionLostError, r'no device "Dev3". Did you mean "Dev1"\? There are: Dev1'),
        ({"clock": "ao", "delay": "1 us"}, ValueError, r"delay goes with clock: own"),
        ({"trigger": "/Dev1/PFI0"}, ValueError, r"trigger: the inputs start with the card's own outputs"),
    ],
)
def test_a_card_that_can_not_do_what_the_file_says_is_not_opened(server, fields, kind, message):
    with pytest.raises(kind, match=message):
        connect(server, **fields)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ({"drives": ("a00",)}, r'Dev1 \(virtual card\) has no output "a00". Did you mean "ao0"'),
        ({"reads": ("a0",)}, r'Dev1 \(virtual card\) has no input "a0". Did you mean "ai0"'),
        ({"reads": ("Dev2.ai0",)}, r'Dev2.ai0: no card "Dev2". Did you mean "Dev1"\? List it in the field also'),
    ],
)
def test_a_channel_that_the_card_has_not_is_named_with_the_nearest(server, use, message):
    with pytest.raises(ValueError, match=message):
        connect(server, **use)


def test_a_device_that_is_not_there_is_named_with_the_nearest(server):
    text = {"driver": "nidaqmx", "resource": server.resources[0].replace("Dev1", "Dev7"), "timeout": PLENTY}
    with pytest.raises(ConnectionLostError, match=r'instrument "daq" .*: no device "Dev7". Did you mean "Dev1"'):
        NIDAQMX.open("daq", NIDAQMX.model.model_validate(text), ChannelUse(TWO, FOUR))


@pytest.mark.parametrize("resource", ["Dev1/ai0", "grpc://host/Dev1", "tcp://host:1/Dev1", ""])
def test_a_resource_of_another_form_is_refused_when_the_file_is_read(resource):
    with pytest.raises(ValueError, match="is no card; write Dev1, or grpc://host:port/Dev1"):
        NIDAQMX.model.model_validate({"driver": "nidaqmx", "resource": resource})


def test_a_server_that_is_not_there_is_told_at_once():
    settings = NIDAQMX.model.model_validate({"driver": "nidaqmx", "resource": "grpc://127.0.0.1:9/Dev1"})
    begun = time.monotonic()
    with pytest.raises(ConnectionLostError, match=r'"daq" \(grpc://127.0.0.1:9/Dev1\).*Check that the NI gRPC Device'):
        NIDAQMX.open("daq", settings, ChannelUse(TWO, FOUR))
    assert time.monotonic() - begun < 2.0


def test_a_local_card_without_the_driver_says_what_to_install(monkeypatch):
    def absent(*_: object) -> None:
        raise daq_errors.DaqNotFoundError("Could not find an installation of NI-DAQmx.")

    monkeypatch.setattr("nidaqmx._lib.DaqLibImporter._import_lib", absent)
    settings = NIDAQMX.model.model_validate({"driver": "nidaqmx", "resource": "Dev1"})
    with pytest.raises(ConnectionLostError, match=r'"daq" \(Dev1\), .*is not installed on this computer. Install it'):
        NIDAQMX.open("daq", settings, ChannelUse(TWO, FOUR))


def test_looking_for_cards_without_the_driver_finds_none_and_raises_nothing(monkeypatch):
    def absent(*_: object) -> None:
        raise daq_errors.DaqNotFoundError("Could not find an installation of NI-DAQmx.")

    monkeypatch.setattr("nidaqmx._lib.DaqLibImporter._import_lib", absent)
    assert NIDAQMX.discover(network=False) == []


def test_all_outputs_of_a_card_are_known_without_a_wiring(server):
    settings = NIDAQMX.model.model_validate({"driver": "nidaqmx", "resource": server.resources[0]})
    use = NIDAQMX.all_channels(settings)
    assert use == ChannelUse(drives=tuple(f"ao{n}" for n in range(16)))


@pytest.mark.parametrize("package", ["nidaqmx", "grpc"])
def test_a_missing_extra_is_told_with_the_line_that_installs_it(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConnectionLostError) as caught:
        Session("daq", "grpc://127.0.0.1:9/Dev1", 0.1)
    expected = 'driver "nidaqmx" needs an extra that isn\'t installed: pip install "freqprop-lab[nidaq]"'
    assert str(caught.value) == expected


def test_naming_the_driver_loads_neither_nidaqmx_nor_grpc():
    code = "import sys, freqprop_lab, drivers.nidaq; print(sorted({'nidaqmx', 'grpc', 'google'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert told.stdout.strip() == "[]"


# Arrays that the driver's own library would refuse while gRPC hides it.


def test_samples_are_contiguous_float64_whatever_comes_in():
    levels = np.asfortranarray(np.arange(8).reshape(4, 2))[:, 1]
    samples = generated(levels, levels[::-1].astype(np.float32), np.linspace(-1, 1, 10)[::2])
    assert samples.flags.c_contiguous
    assert samples.dtype == np.float64
    # levels 1, 3, 5, 7; amplitudes 7, 5, 3, 1; f from -1, and the level at the end
    assert samples[:, 0].tolist() == [-6.0, -2.0, 2.0, 6.0]
    assert samples[:, -1].tolist() == [1.0, 3.0, 5.0, 7.0]


def test_every_array_that_reaches_the_library_is_contiguous(roles, monkeypatch):
    passed = []
    for name in ("write_analog_f64", "read_analog_f64"):
        original = getattr(GrpcStubInterpreter, name)

        def spy(self, *args, original=original):
            passed.append(args[-1])
            return original(self, *args)

        monkeypatch.setattr(GrpcStubInterpreter, name, spy)
    strided = np.zeros((2, 2))[:, 0]
    roles.source.load(strided, strided, Sine(), 200.0, 1, RATE)
    roles.meter.arm(100, RATE)
    roles.source.start()
    roles.source.stop()  # cut short: the level is written too
    roles.meter.read()
    assert len(passed) == 3
    assert all(array.flags.c_contiguous and array.dtype == np.float64 for array in passed)


# Errors.


def exceptions_of_the_library() -> list[Exception]:
    made = {
        daq_errors.DaqError: ("text", -200279),
        daq_errors.DaqReadError: ("text", -200279, 3),
        daq_errors.DaqWriteError: ("text", -200561, 0),
        daq_errors.DaqWarning: ("text", 200010),
        daq_errors.RpcError: (grpc.StatusCode.UNKNOWN, "text"),
    }
    kinds = [each for each in vars(daq_errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    return [kind(*made.get(kind, ("text",))) for kind in kinds] + [grpc.RpcError("text")]


@pytest.mark.parametrize("error", exceptions_of_the_library(), ids=lambda error: type(error).__name__)
def test_no_exception_of_the_library_escapes_unmapped(error):
    session = Session("daq", "Dev1", 0.1)
    with pytest.raises(InstrumentError) as caught, session.told("starting outputs ao0"):
        raise error
    message = str(caught.value)
    assert 'instrument "daq" (Dev1), starting outputs ao0' in message
    assert "text" in message


def test_every_code_of_the_library_is_told_with_its_number():
    session = Session("daq", "Dev1", 0.1)
    for code in DAQmxErrors:
        with pytest.raises(InstrumentError, match=f"NI-DAQmx error {code.value}, "), session.told("x"):
            raise nidaqmx.DaqError("words", code.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, ConnectionLostError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, TimeLimitError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, LimitError),
        (grpc.StatusCode.UNIMPLEMENTED, ProtocolError),
        (grpc.StatusCode.UNKNOWN, ProtocolError),
    ],
)
def test_a_status_of_grpc_has_its_class(status, kind):
    session = Session("daq", "Dev1", 0.1)
    with pytest.raises(kind, match=f"gRPC {status.name}"), session.told("x"):
        raise daq_errors.RpcError(status, "words")


def test_a_programming_error_of_our_own_is_not_dressed_up():
    with pytest.raises(ZeroDivisionError), Session("daq", "Dev1", 0.1).told("x"):
        _ = 1 / 0


CODES = [
    (-200279, "ReadAnalogF64", TimeLimitError, "inputs Dev1/ai0, .*Lower the sample rate"),
    (-200561, "WriteAnalogF64", LimitError, "outputs ao0, ao1.*Lower gamma or the inputs"),
    (-200077, "CfgSampClkTiming", LimitError, "outputs ao0, ao1.*Lower it, or choose"),
    (-50103, "StartTask", ConnectionLostError, "End what holds it"),
    (-200170, "StartTask", ConnectionLostError, "no such channel. Mend the wiring"),
    (-200220, "StartTask", ConnectionLostError, "no such device. Mend the field resource"),
    (-200088, "WriteAnalogF64", ConnectionLostError, "outputs ao0, ao1.*Open the bench again"),
    (-200019, "ReadAnalogF64", OverloadError, "inputs Dev1/ai0, .*clocked faster than it can"),
    (-200621, "StartTask", OverloadError, "ran out of samples"),
    (-201003, "ReadAnalogF64", ConnectionLostError, "unplugged. Plug it in"),
    (-89137, "StartTask", ConnectionLostError, "route between terminals is taken"),
    (-200560, "IsTaskDone", TimeLimitError, "outputs ao0, ao1.*Check its clock and trigger"),
    (-123456, "StartTask", ProtocolError, "Fault ordered by a test.*look the code up"),
]


@pytest.mark.parametrize(("code", "call", "kind", "message"), CODES, ids=[f"{each[0]}" for each in CODES])
def test_a_code_is_told_with_instrument_channel_and_remedy_and_the_outputs_go_to_zero(
    roles, server, code, call, kind, message
):
    server.faults.add(Fault(FaultKind.ERROR_CODE, channel=call, code=code))
    with pytest.raises(kind, match=rf'(?s)instrument "daq" .*{code}.*{message}|(?s:instrument "daq" .*{message})'):
        record(roles)
    assert_safe_after(roles, server)


def assert_safe_after(roles: Roles, server: NidaqmxServer) -> None:
    begun = time.monotonic()
    roles.source.make_safe()
    assert time.monotonic() - begun < 2.0
    assert [server.world.level(name) for name in ("o0", "o1")] == [0.0, 0.0]
    record(roles)  # and it works again


@pytest.mark.parametrize("call", ["WriteAnalogF64", "StartTask", "ReadAnalogF64", "StopTask", "IsTaskDone"])
@pytest.mark.parametrize("kind", [FaultKind.DROP_REPLY, FaultKind.LATE_REPLY])
@pytest.mark.parametrize("patience", [PATIENCE])
def test_an_answer_that_does_not_come_in_time_is_a_time_limit_error(roles, server, call, kind):
    server.faults.add(Fault(kind, channel=call, seconds=10 * PATIENCE))
    begun = time.monotonic()
    with pytest.raises(TimeLimitError, match=r'(?s)instrument "daq".*(ao0|ai0|inputs).*did not answer in time'):
        record(roles)
    assert time.monotonic() - begun < 2.0
    assert_safe_after(roles, server)


def test_an_answer_that_is_late_within_the_time_limit_is_taken(roles, server):
    server.faults.add(Fault(FaultKind.LATE_REPLY, channel="ReadAnalogF64", seconds=0.05))
    assert not record(roles).missing.any()


def test_inputs_that_nothing_starts_are_a_time_limit_error(roles, server):
    roles.meter.arm(100, RATE)
    with pytest.raises(TimeLimitError, match=r"(?s)inputs Dev1/ai0, .*-200284.*Arm the meter before the source starts"):
        roles.meter.read()
    record(roles)


def test_a_partial_record_has_no_number_that_looks_real(roles, server):
    server.faults.add(Fault(FaultKind.ERROR_CODE, channel="ReadAnalogF64", code=-200284))
    taken = record(roles)
    assert np.isnan(taken.volts).all()
    assert taken.missing.tolist() == [50.0] * 4  # the fault lets half of 100 come
    assert not taken.clipped.any()


def test_an_answer_shorter_than_it_says_has_no_number_that_looks_real(roles, server):
    record(roles)
    server.faults.add(Fault(FaultKind.HALF_REPLY, channel="ReadAnalogF64"))
    taken = record(roles)
    assert np.isnan(taken.volts).all()
    assert (taken.missing > 0).all()


def test_samples_at_the_end_of_the_range_are_counted(roles, server):
    server.faults.add(Fault(FaultKind.OVERLOAD, channel="ai2"))
    assert record(roles).clipped.tolist() == [0.0, 0.0, 100.0, 0.0]


def test_a_server_that_goes_away_is_told_and_nothing_hangs():
    with running(serve()) as server:
        opened = connect(server, timeout=PATIENCE)
        server.faults.add(Fault(FaultKind.DISCONNECT, channel="ReadAnalogF64"))
        begun = time.monotonic()
        load(opened.source)
        opened.meter.arm(100, RATE)
        opened.source.start()
        with pytest.raises(ConnectionLostError, match=r"(?s)inputs Dev1/ai0, .*Check that the NI gRPC Device Server"):
            opened.meter.read()
        with pytest.raises(ConnectionLostError, match="ao0, ao1"):  # nobody can say that the outputs are at zero
            opened.source.make_safe()
        opened.meter.make_safe()
        with pytest.raises(ConnectionLostError):
            opened.source.close()
        opened.source.close()
        opened.meter.close()
        assert time.monotonic() - begun < 3.0
        server.stop()  # it is on its way out in a thread of its own; only then has it forgotten its tasks


def test_a_card_that_somebody_else_holds_is_named(roles, server):
    with grpc.insecure_channel(server.resources[0].split("/")[2]) as channel:
        options = nidaqmx.GrpcSessionOptions(channel, "")
        with nidaqmx.Task(grpc_options=options) as foreign:
            foreign.ai_channels.add_ai_voltage_chan("Dev1/ai5")
            foreign.control(nidaqmx.constants.TaskMode.TASK_RESERVE)
            message = r"(?s)inputs Dev1/ai0, .*-50103.*Reserved by Task Name: _unnamedTask<.*End what holds it"
            with pytest.raises(ConnectionLostError, match=message):
                record(roles)
    record(roles)


@pytest.mark.parametrize("call", ["StopTask", "TaskControl", "WriteAnalogF64"])
@pytest.mark.parametrize("kind", [FaultKind.DROP_REPLY, FaultKind.ERROR_CODE])
def test_make_safe_brings_running_outputs_to_zero_although_a_call_fails(roles, server, call, kind):
    load(roles.source)
    roles.source.start()
    server.world.advance(10 / RATE)
    assert server.world.level("o0") > 0.5
    server.faults.add(Fault(kind, channel=call, code=-200088))
    begun = time.monotonic()
    roles.source.make_safe()
    assert time.monotonic() - begun < 2.0  # one call of half a second goes by unanswered
    assert [server.world.level(name) for name in ("o0", "o1")] == [0.0, 0.0]
    server.faults.clear()
    record(roles)


@pytest.mark.parametrize("call", ["CreateTask", "CreateAOVoltageChan", "CreateAIVoltageChan", "GetChanAttributeDouble"])
def test_a_card_that_fails_while_it_is_opened_leaves_no_task(server, call):
    server.faults.add(Fault(FaultKind.ERROR_CODE, channel=call, code=-200197))
    with pytest.raises(ProtocolError, match='instrument "daq"'):
        connect(server)
    assert server.open_tasks == []


# A bench.

LADDER = """\
bench: wired
network: {{kind: csv, file: {folder}/ladder.csv, inputs: [[a]], outputs: [[b]]}}
nudge: {{source: resistor, resistance: 1 kOhm}}
sampling: {{frequency: 1 kHz, samples_per_period: 20, periods: 5}}
instruments:
  daq: {{driver: nidaqmx, resource: "{resource}", timeout: 5 s{fields}}}
wiring:
  drives: {{a: daq/ao0, b: daq/ao1}}
  reads: {{a: daq/ai0, b: daq/ai1, c: {c}, d: daq/ai3}}
  tunes: {{}}
"""

TABLE = """\
plus,minus,kind,value
a,b,resistor,1 kOhm
b,c,resistor,1 kOhm
c,ground,resistor,2 kOhm
c,d,resistor,1 kOhm
d,ground,resistor,1 kOhm
"""


def ladder_world() -> World:
    ends = (("a", "b", 1e3), ("b", "c", 1e3), ("c", "ground", 2e3), ("c", "d", 1e3), ("d", "ground", 1e3))
    branches = tuple(Branch(f"{p}{m}", p, m, ELEMENTS["resistor"], (1 / R,)) for p, m, R in ends)
    terminals = {"a": Connection(0, -1, "voltage"), "b": Connection(1, -1, "voltage", resistance=1e3)}
    return World(Network(("a", "b", "c", "d"), branches), terminals, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("options", "fields", "c"),
    [
        ({}, "", "daq/ai2"),
        ({}, ", clock: ao", "daq/ai2"),
        ({"multiplexed": True}, "", "daq/ai2"),
        ({"also": ("Dev2",)}, ", also: [Dev2]", "daq/Dev2.ai2"),
    ],
    ids=["own clock", "clock of the outputs", "multiplexed", "two cards"],
)
def test_a_bench_file_with_a_card_measures_the_ladder_that_was_solved_by_hand(bench_of, tmp_path, options, fields, c):
    (tmp_path / "ladder.csv").write_text(TABLE)
    reads = {"ai0": "a", "ai1": "b", "ai2": "c", "ai3": "d", "Dev2.ai2": "c"}
    server = NidaqmxServer("daq", ladder_world(), Wires({"ao0": "a", "ao1": "b"}, reads), **options)
    with running(server):
        resource = server.resources[0]
        text = LADDER.format(folder=tmp_path, resource=resource, fields=fields, c=c)
        bench = bench_of(text)
        assert bench.synchronised
        # b sees 1 mS to a, 1 mS to the nudge's source at rest and 0.5 mS down the ladder: 2 V / 2.5. Below it, halves.
        free = bench.respond(Drive(np.array([2.0])))
        assert free.a == pytest.approx([2.0, 0.8, 0.4, 0.2], abs=1e-12)
        # 0.5 mA into b, which has 2.5 mS: 0.2 V.
        nudged = bench.respond(Drive(np.array([2.0]), Nudge(np.array([5e-4]), Sine())))
        assert nudged.a == pytest.approx([2.0, 0.8, 0.4, 0.2], abs=1e-12)
        assert nudged.b == pytest.approx([0.0, 0.2, 0.1, 0.05], abs=1e-12)
        volts = bench.measure(Drive(np.array([2.0]), Nudge(np.array([5e-4]), Sine()))).volts
        assert volts.shape == (4, 100)
        assert volts[1, [0, 5, 15]] == pytest.approx([0.8, 1.0, 0.6], abs=1e-12)
        bench.close()
        assert server.open_tasks == []
        assert server.unknown_attributes == []
        assert server.world.level("a") == server.world.level("b") == 0.0


def test_a_bench_refuses_a_record_that_did_not_come_whole(bench_of, tmp_path):
    (tmp_path / "ladder.csv").write_text(TABLE)
    reads = {"ai0": "a", "ai1": "b", "ai2": "c", "ai3": "d"}
    server = NidaqmxServer("daq", ladder_world(), Wires({"ao0": "a", "ao1": "b"}, reads))
    with running(server):
        bench = bench_of(LADDER.format(folder=tmp_path, resource=server.resources[0], fields="", c="daq/ai2"))
        server.faults.add(Fault(FaultKind.ERROR_CODE, channel="ReadAnalogF64", code=-200284))
        with pytest.raises(OverloadError, match=r'meter "daq", channel 0 \(node a\): 50 of 100 samples missing'):
            bench.respond(Drive(np.array([2.0])))
        bench.close()
