"""What goes wrong on the wire ends in the right error, and never in a reading; afterwards the outputs are at zero."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pyvisa.constants import StatusCode
from pyvisa.errors import InvalidSession, VisaIOError
from scpi_lab import DEADLINE, IDN, NO_ERROR, WIRES, Lab, ScriptedPipe

from drivers.scpi import ScpiLink
from drivers.scpi._visa import bounded, open_visa
from freqprop_lab.instruments import ConnectionLostError, InstrumentError, ProtocolError, TimeLimitError
from freqprop_lab.waveform import Sine
from simulated_bench.servers import Fault, FaultKind

LATE = 2 * DEADLINE


@pytest.fixture(params=WIRES)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(request.param) as lab:
        yield lab


def link_to(resource: str, **options: Any) -> ScpiLink:
    return ScpiLink('source "gen"', "keysight-33500b", resource, visa="@py", deadline=DEADLINE, **options)


def inject(instrument: Any, header: str, fault: Fault) -> None:
    """Let a fault befall the next answer to a query whose header begins so."""

    def before(asked: str) -> None:
        if asked.lstrip(":").upper().startswith(header):
            instrument.before_reply = None
            instrument.faults.add(fault)

    instrument.before_reply = before


def drive(source: Any) -> None:
    source.load(np.array([1.0, -0.5]), np.array([0.2, 0.1]), Sine(), 1000.0, 2, 25e3)
    source.start()


REPLY_FAULTS = [
    (Fault(FaultKind.DROP_REPLY), TimeLimitError),
    (Fault(FaultKind.LATE_REPLY, seconds=LATE), TimeLimitError),
    (Fault(FaultKind.HALF_REPLY), TimeLimitError),
    (Fault(FaultKind.HALF_REPLY, seconds=LATE), TimeLimitError),
    (Fault(FaultKind.GARBAGE), ProtocolError),
    (Fault(FaultKind.DISCONNECT), (TimeLimitError, ConnectionLostError)),  # SOCKET sees the end as silence
    (Fault(FaultKind.ERROR_CODE, code=-240), ProtocolError),
]
names = [f"{fault.kind.value}-{fault.seconds:g}" for fault, _ in REPLY_FAULTS]


@pytest.mark.parametrize(("fault", "kind"), REPLY_FAULTS, ids=names)
def test_a_fault_while_the_generator_starts_is_told_and_leaves_its_outputs_at_zero(
    lab: Lab, fault: Fault, kind: type[InstrumentError] | tuple[type[InstrumentError], ...]
) -> None:
    with lab.source() as source:
        source.load(np.array([1.0, -0.5]), np.array([0.2, 0.1]), Sine(), 1000.0, 2, 25e3)
        lab.generator.faults.add(fault)
        with pytest.raises(kind, match=r'source "gen".*(Check|Raise)'):
            source.start()
        with pytest.raises(ProtocolError, match="call load"):
            source.start()
        if fault.kind is not FaultKind.ERROR_CODE:
            time.sleep(fault.seconds)
        source.make_safe()
        assert lab.levels() == [0.0, 0.0]
        drive(source)  # and it can be used again
        assert lab.levels() == pytest.approx([1.0, -0.5])
    assert lab.levels() == [0.0, 0.0]


@pytest.mark.parametrize(("fault", "kind"), REPLY_FAULTS[:4], ids=names[:4])
def test_an_answer_that_comes_too_late_is_never_taken_for_the_next(
    lab: Lab, fault: Fault, kind: type[InstrumentError]
) -> None:
    link = link_to(lab.generator_at)
    with contextlib.closing(link):
        lab.generator.faults.add(fault)
        with pytest.raises(kind):
            link.number("SOUR1:VOLT?")
        for _ in range(3):
            with contextlib.suppress(TimeLimitError):  # while the instrument is still busy with the late one
                assert link.query("*IDN?") == IDN
            with contextlib.suppress(TimeLimitError):
                assert link.number("SOUR1:VOLT?") == 0.1
            time.sleep(fault.seconds / 2)
        assert link.number("SOUR1:VOLT?") == 0.1


BLOCK_FAULTS = [
    (Fault(FaultKind.DROP_REPLY), TimeLimitError),
    (Fault(FaultKind.HALF_REPLY), TimeLimitError),
    (Fault(FaultKind.DISCONNECT), (TimeLimitError, ConnectionLostError)),
]


@pytest.mark.parametrize(("fault", "kind"), BLOCK_FAULTS, ids=[fault.kind.value for fault, _ in BLOCK_FAULTS])
def test_a_record_that_breaks_off_is_an_error_and_the_next_one_is_whole(lab: Lab, fault: Fault, kind: Any) -> None:
    with lab.source() as source, lab.meter() as meter:
        source.load(np.array([1.0, 0.0]), np.zeros(2), None, 1000.0, 2, 25e3)
        meter.arm(50, 25e3)
        inject(lab.scope, "WAV:DATA?", fault)
        source.start()
        with pytest.raises(kind, match=r'meter "scope", chan1.*(Check|Raise)'):
            meter.read()
        with pytest.raises(ProtocolError, match="call arm"):
            meter.read()
        meter.arm(50, 25e3)
        source.start()
        # 1 V at top, a third of it at mid, in codes of 40 mV.
        assert meter.read().volts.mean(axis=1) == pytest.approx([1.0, 1 / 3], abs=0.0201)
    assert lab.levels() == [0.0, 0.0]


def test_a_garbled_block_header_is_no_record(lab: Lab) -> None:
    with lab.source() as source, lab.meter() as meter:
        source.load(np.array([1.0, 0.0]), np.zeros(2), None, 1000.0, 2, 25e3)
        meter.arm(1, 25e3)  # so that the byte in the middle belongs to the header
        inject(lab.scope, "WAV:DATA?", Fault(FaultKind.GARBAGE))
        source.start()
        with pytest.raises(InstrumentError, match='meter "scope", chan1'):
            meter.read()


def test_a_record_without_a_trigger_is_told_as_such_and_the_connection_stays() -> None:
    with Lab(trigger=None) as lab, lab.meter(patience="50 ms") as meter:
        meter.arm(50, 25e3)
        with pytest.raises(
            TimeLimitError, match=r'meter "scope".*no trigger came within 0.05 s.*trigger output to ext'
        ):
            meter.read()
        assert sum(message == b"*IDN?" for message in lab.scope.received) == 1


def test_the_instruments_own_words_are_in_the_error() -> None:
    with Lab() as lab:
        link = link_to(lab.generator_at)
        with contextlib.closing(link):
            with pytest.raises(
                ProtocolError, match=r'source "gen", ch1 .*-222 Data out of range after "SOUR1:VOLT:OFFS 11'
            ):
                link.command("SOUR1:VOLT:OFFS 11", about="ch1")
            lab.generator.execute(b"NONSENSE 1")  # left in the queue by somebody else
            with pytest.raises(ProtocolError, match="-113 Undefined header, -222 Data out of range"):
                link.command("SOUR1:VOLT 99")
            assert link.generation == 1  # the conversation itself was sound
            link.command("SOUR1:VOLT:OFFS 1")


def test_an_overloaded_channel_is_counted_and_a_stuck_one_keeps_its_value(lab: Lab) -> None:
    with lab.source() as source, lab.meter(bits=16) as meter:
        means = []
        for level, faults in ((0.9, ()), (1.8, (FaultKind.STUCK,)), (1.8, (FaultKind.OVERLOAD,))):
            lab.scope.faults.clear()
            for kind in faults:
                lab.scope.faults.add(Fault(kind, channel="chan1"))
            source.load(np.array([level, 0.0]), np.zeros(2), None, 1000.0, 1, 25e3)
            meter.arm(10, 25e3)
            source.start()
            record = meter.read()
            means.append(record.volts.mean(axis=1).tolist())
        assert means[0] == pytest.approx([0.9, 0.3], abs=1e-3)
        assert means[1] == pytest.approx([0.9, 0.6], abs=1e-3)
        assert record.clipped.tolist() == [10, 0]


def test_after_a_lost_connection_it_is_set_up_anew_before_anything_else(lab: Lab) -> None:
    with lab.source() as source:
        drive(source)
        source.stop()
        lab.generator.execute(b"*RST")  # as after a power cut: set for 50 Ohm, which would double every volt
        lab.generator.faults.add(Fault(FaultKind.DISCONNECT))
        with pytest.raises(InstrumentError):
            drive(source)
        drive(source)
        assert lab.levels() == pytest.approx([1.0, -0.5])


def test_what_was_loaded_before_a_lost_connection_is_not_started(lab: Lab) -> None:
    with lab.source() as source:
        source.load(np.array([1.0, -0.5]), np.zeros(2), None, 1000.0, 2, 25e3)
        lab.generator.faults.add(Fault(FaultKind.DROP_REPLY))
        with pytest.raises(TimeLimitError):
            source._link.query("*OPC?")
        with pytest.raises(ProtocolError, match="renewed since load.*outputs are off. Load again"):
            source.start()
        assert lab.levels() == [0.0, 0.0]


def test_another_instrument_at_the_same_address_is_refused_and_told_nothing(lab: Lab) -> None:
    source = lab.source()
    drive(source)
    lab.generator.idn = "Keysight Technologies,33522B,MY00000002,5.02-virtual"
    lab.generator.faults.add(Fault(FaultKind.DISCONNECT))
    with pytest.raises(InstrumentError):
        drive(source)
    told = len(lab.generator.received)
    with pytest.raises(ConnectionLostError, match="MY00000002.*MY00000001.*Nothing more was sent"):
        drive(source)
    with pytest.raises(ConnectionLostError, match="switch its outputs off by hand"):
        source.close()
    assert set(lab.generator.received[told:]) == {b"*IDN?"}


def test_a_server_that_dies_is_told_in_time_and_making_safe_says_to_go_and_look(lab: Lab) -> None:
    source = lab.source()
    drive(source)
    lab.generator.stop()
    started = time.monotonic()
    with pytest.raises((ConnectionLostError, TimeLimitError), match='source "gen"'):
        drive(source)
    with pytest.raises((ConnectionLostError, TimeLimitError), match="switch its outputs off by hand"):
        source.make_safe()
    with pytest.raises((ConnectionLostError, TimeLimitError), match="switch its outputs off by hand"):
        source.close()
    source.close()  # a second time there is nothing left to say
    assert time.monotonic() - started < 12 * DEADLINE
    assert lab.levels() == [0.0, 0.0]


@pytest.mark.parametrize("resource", ["TCPIP::127.0.0.1::{port}::SOCKET", "TCPIP::127.0.0.1::hislip0,{port}::INSTR"])
def test_a_port_where_nobody_listens_is_no_instrument(resource: str) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can take it
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionLostError, match=r'source "gen" \(TCPIP.*Check its power, its cable'):
            link_to(resource.format(port=bound.getsockname()[1]))


@pytest.mark.parametrize("resource", ["TCPIP::127.0.0.1::{port}::SOCKET", "TCPIP::127.0.0.1::hislip0,{port}::INSTR"])
def test_a_silent_server_is_given_up_at_the_deadline(resource: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        with pytest.raises(TimeLimitError, match=r'source "gen".*within 0.2 s'):
            link_to(resource.format(port=listener.getsockname()[1]))
        assert time.monotonic() - started < 5 * DEADLINE
        listener.accept()[0].close()  # which frees the thread that still waits for it
    for thread in threading.enumerate():
        if thread.name == "scpi-bounded":
            thread.join(5.0)
            assert not thread.is_alive()


def test_a_driver_for_another_instrument_sets_nothing() -> None:
    with Lab() as lab:
        lab.generator_at = lab.scope_at
        with pytest.raises(ProtocolError, match='"keysight-33500b" is not for this.*DS1104Z.*nothing was set'):
            lab.source()
        assert lab.scope.received == [b"*IDN?"]


def test_without_pyvisa_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvisa", None)
    with pytest.raises(ConnectionLostError) as caught:
        link_to("TCPIP::127.0.0.1::1::SOCKET")
    wanted = 'driver "keysight-33500b" needs an extra that isn\'t installed: pip install "freqprop-lab[visa]"'
    assert str(caught.value) == wanted


FAMILIES: list[tuple[Exception, type[InstrumentError]]] = [
    (VisaIOError(StatusCode.error_timeout), TimeLimitError),
    (TimeoutError("timed out"), TimeLimitError),
    (VisaIOError(StatusCode.error_connection_lost), ConnectionLostError),
    (VisaIOError(StatusCode.error_resource_not_found), ConnectionLostError),
    (ConnectionResetError(104, "reset"), ConnectionLostError),
    (BrokenPipeError(32, "broken"), ConnectionLostError),
    (ConnectionRefusedError(111, "refused"), ConnectionLostError),
    (OSError(5, "Input/output error"), ConnectionLostError),
    (RuntimeError("Connection was dropped by server."), ConnectionLostError),
    (RuntimeError("protocol synchronization error"), ProtocolError),
    (ValueError('Could not find hash sign ("#")'), ProtocolError),
    (UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range"), ProtocolError),
    (AssertionError(), ProtocolError),
    (InvalidSession(), ConnectionLostError),
    (Exception("could not connect: VI_ERROR_TMO"), ConnectionLostError),
]
CALLS = {
    "query": lambda link: link.query("VOLT?"),
    "number": lambda link: link.number("VOLT?"),
    "read_block": lambda link: link.read_block("VOLT?"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("raised", "kind"), FAMILIES, ids=[repr(error)[:40] for error, _ in FAMILIES])
def test_no_error_of_a_lower_library_escapes_and_the_connection_is_renewed(
    call: str, raised: Exception, kind: type[InstrumentError]
) -> None:
    greeting = [(b"*IDN?", IDN.encode()), NO_ERROR]
    pipe = ScriptedPipe([*greeting, (b"VOLT?", raised), *greeting, (b"VOLT?", b"1.5")])
    link = ScpiLink('source "gen"', "keysight-33500b", "X", deadline=DEADLINE, open_pipe=pipe)
    with pytest.raises(InstrumentError, match=r'source "gen" \(X\)') as caught:
        CALLS[call](link)
    assert type(caught.value) is kind
    assert link.number("VOLT?") == 1.5
    first = pipe.log.index(b"VOLT?")
    assert pipe.log[first + 1 : first + 5] == [b"(clear)", b"(close)", b"(open)", b"*IDN?"]


@pytest.mark.parametrize(("raised", "kind"), FAMILIES, ids=[repr(error)[:40] for error, _ in FAMILIES])
def test_no_error_of_a_lower_library_escapes_an_opening(raised: Exception, kind: type[InstrumentError]) -> None:
    def fails(deadline: float) -> ScriptedPipe:
        raise raised

    with pytest.raises(InstrumentError) as caught:
        ScpiLink('source "gen"', "keysight-33500b", "X", open_pipe=fails)
    assert type(caught.value) is kind


def test_a_ctrl_c_in_the_middle_of_a_query_renews_the_connection_too() -> None:
    greeting = [(b"*IDN?", IDN.encode()), NO_ERROR]
    pipe = ScriptedPipe([*greeting, (b"VOLT?", KeyboardInterrupt()), *greeting, (b"VOLT?", b"1.5")])
    link = ScpiLink('source "gen"', "keysight-33500b", "X", open_pipe=pipe)
    with pytest.raises(KeyboardInterrupt):
        link.query("VOLT?")
    assert link.number("VOLT?") == 1.5
    assert pipe.log.count(b"(open)") == 2


@pytest.mark.parametrize("answer", [b"", b"1.5\xff", b"one", b"1.5;2.5", b'-222,"no number"'])
def test_an_answer_that_is_no_number_is_quoted(answer: bytes) -> None:
    pipe = ScriptedPipe([(b"*IDN?", IDN.encode()), NO_ERROR, (b"VOLT?", answer)])
    link = ScpiLink('source "gen"', "keysight-33500b", "X", open_pipe=pipe)
    quoted = re.escape(repr(answer.decode("latin-1")))
    with pytest.raises(ProtocolError, match=f"it answered {quoted} to VOLT"):
        link.number("VOLT?")


def test_a_failed_opening_leaves_ctrl_c_as_it_was() -> None:
    def mine(number: int, frame: object) -> None:
        """Count for nothing; it only must still be there."""

    before = signal.signal(signal.SIGINT, mine)
    try:
        with pytest.raises(Exception, match="."):
            open_visa("TCPIP::127.0.0.1::hislip0,1::INSTR", "@py", DEADLINE)
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_call_that_hangs_is_given_up_and_its_late_result_put_away() -> None:
    go, put_away = threading.Event(), threading.Event()
    results: list[str] = []

    def slow() -> str:
        go.wait(5.0)
        return "late"

    def late(result: str) -> None:
        results.append(result)
        put_away.set()

    with pytest.raises(TimeoutError):
        bounded(slow, 0.05, late)
    go.set()
    assert put_away.wait(5.0)
    assert results == ["late"]


def test_two_threads_never_get_each_others_answers(lab: Lab) -> None:
    link = link_to(lab.generator_at)
    link.command("SOUR1:VOLT 0.25", "SOUR2:VOLT 0.5")
    wrong: list[float] = []

    def ask(channel: int, wanted: float) -> None:
        for _ in range(100):
            found = link.number(f"SOUR{channel}:VOLT?")
            if found != wanted:
                wrong.append(found)

    threads = [threading.Thread(target=ask, args=pair) for pair in ((1, 0.25), (2, 0.5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    link.close()
    assert wrong == []
