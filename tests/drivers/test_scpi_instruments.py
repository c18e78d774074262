"""The SCPI drivers pass the suites over both wires, speak as their manuals do, and measure what is solved by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest import approx
from scpi_lab import IDN, NO_ERROR, WIRES, Lab, ScriptedPipe, resistor

from drivers.scpi import KEYSIGHT_33500B, RIGOL_SCOPE
from drivers.scpi._keysight_33500b import Keysight33500B, Keysight33500BSection
from drivers.scpi._rigol_scope import RigolScope, RigolScopeSection
from freqprop_lab.bench import Bench, ChannelUse, MeterWiring, SourceWiring, open_bench
from freqprop_lab.config import SamplingSection, check_bench, parse_yaml
from freqprop_lab.instruments import InstrumentError, LimitError, Meter, ProtocolError, Source
from freqprop_lab.network import Network
from freqprop_lab.testing import MeterTests, SourceTests
from freqprop_lab.values import Drive, Nudge, Scales
from freqprop_lab.waveform import RectifiedSine, Sine, Waveform
from simulated_bench.circuit import Connection
from simulated_bench.servers import Wires
from simulated_bench.servers.keysight_33500b import VirtualKeysight33500B
from simulated_bench.servers.rigol_scope import VirtualRigolScope
from simulated_bench.world import Constant, World

SOCKET = "TCPIP::127.0.0.1::5025::SOCKET"


def star(n_nodes: int) -> tuple[Network, dict[str, Connection]]:
    """Nodes with 1 mS to ground each, and a stiff terminal on each."""
    names = tuple(f"n{number}" for number in range(n_nodes))
    network = Network(names, tuple(resistor(f"r{name}", name, "ground") for name in names))
    return network, {f"gen/ch{i + 1}": Connection(i, -1, "voltage") for i in range(n_nodes)}


class TestGeneratorOverHislip(SourceTests):
    tolerance = 1e-6  # V: the digits of a command
    place = 0

    @pytest.fixture(autouse=True)
    def lab(self) -> Iterator[None]:
        network, terminals = star(2)
        self.world = World(network, terminals, np.random.default_rng(1))
        wires = Wires(drives={"ch1": "gen/ch1", "ch2": "gen/ch2"})
        server = VirtualKeysight33500B("gen", self.world, wires)
        self.resource = server.start()[self.place]
        yield
        server.stop()

    def open_instrument(self) -> Source:
        settings = Keysight33500BSection(driver="keysight-33500b", resource=self.resource, visa="@py", limit="5 V")
        return Keysight33500B("gen", settings, (1, 2))

    def observe(self, source: Source) -> np.ndarray:
        return np.array([self.world.level("gen/ch1"), self.world.level("gen/ch2")])


class TestGeneratorOverASocket(TestGeneratorOverHislip):
    place = 1


class TestScopeOverHislip(MeterTests):
    tolerance = 0.5 * 0.5 / 25 * 1.001  # V: half a code, of which there are 25 in a division of 0.5 V
    place = 0
    bits = 8

    @pytest.fixture(autouse=True)
    def lab(self) -> Iterator[None]:
        network, terminals = star(4)
        self.world = World(network, terminals, np.random.default_rng(1))
        wires = Wires(reads={f"chan{i + 1}": f"n{i}" for i in range(4)})
        server = VirtualRigolScope("scope", self.world, wires, "gen")
        self.resource = server.start()[self.place]
        yield
        server.stop()

    def open_instrument(self) -> Meter:
        settings = RigolScopeSection(
            driver="rigol-scope", resource=self.resource, visa="@py", range="2 V", bits=self.bits
        )
        return RigolScope("scope", settings, (1, 2, 3, 4))

    def present(self, meter: Meter, volts: np.ndarray) -> bool:
        for number, value in enumerate(volts, 1):
            self.world.put(f"gen/ch{number}", Constant(float(value)))
        return True

    def trigger(self, meter: Meter) -> None:
        self.world.fire("gen")


class TestScopeOverASocket(TestScopeOverHislip):
    place = 1


class TestScopeOf16BitsOverHislip(TestScopeOverHislip):
    bits = 16
    tolerance = TestScopeOverHislip.tolerance / 256


def bench_of(lab: Lab, source: Source, meter: Meter, *, tied: bool) -> Bench:
    """Wire the divider: the input in volts at ch1, the nudge in volts behind 1 kOhm at ch2."""
    from_inputs, from_outputs = np.array([[1.0], [0.0]]), np.array([[0.0], [1e3]])
    return Bench(
        "divider",
        lab.network,
        Scales(),
        SamplingSection(frequency=1000.0, samples_per_period=25, periods=4),
        [SourceWiring(source, from_inputs, from_outputs, np.zeros(2))],
        [MeterWiring(meter, np.array([0, 1]))],
        [],
        triggers=[("gen", "scope")] if tied else [],
    )


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("amplitude", "waveform"), [(0.6e-3, Sine()), (-0.6e-3, Sine()), (0.3e-3, RectifiedSine())])
def test_a_triggered_record_of_the_divider_gives_a_and_b_as_solved_by_hand(
    wire: str, amplitude: float, waveform: Waveform
) -> None:
    with Lab(wire) as lab, lab.source() as source, lab.meter(bits=16, range="2 V") as meter:
        bench = bench_of(lab, source, meter, tied=True)
        assert bench.synchronised
        response = bench.respond(Drive(np.array([1.5]), Nudge(np.array([amplitude]), waveform)))
        # At mid (1.5 - v) + (u f - v) - v = 0 (mA), u = 1 kOhm x amplitude: v = 0.5 V + u/3 f. top is held.
        assert response.a == approx([1.5, 0.5], abs=1e-4)
        assert response.b == approx([0.0, amplitude * 1e3 / 3], abs=1e-4)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("amplitude", [0.9e-3, -0.9e-3])
def test_a_free_running_record_gives_a_and_the_signed_b_too(wire: str, amplitude: float) -> None:
    with Lab(wire, trigger=None) as lab, lab.source(endless=True) as source:
        with lab.meter(bits=16, trigger="none", range="2 V") as meter:
            bench = bench_of(lab, source, meter, tied=False)
            assert not bench.synchronised
            drive = Drive(np.array([1.5]), Nudge(np.array([amplitude]), RectifiedSine()))
            responses = [bench.respond(drive) for _ in range(3)]
        for response in responses:
            assert response.a[1] == approx(0.5, abs=1e-3)
            assert response.b[1] == approx(amplitude * 1e3 / 3, abs=1e-3)
        delays = {round(float(response.delay[1]), 6) for response in responses}
        assert len(delays) == 3  # each record began at another phase


def test_a_record_without_a_nudge_is_triggered_too() -> None:
    with Lab() as lab, lab.source() as source, lab.meter(bits=16, range="2 V") as meter:
        response = bench_of(lab, source, meter, tied=True).respond(Drive(np.array([0.9])))
        assert response.a == approx([0.9, 0.3], abs=1e-4)


def test_a_level_beyond_the_screen_is_counted_as_clipped() -> None:
    with Lab() as lab, lab.source() as source, lab.meter(range="2 V") as meter:
        source.load(np.array([4.0, 0.0]), np.zeros(2), None, 1000.0, 1, 25e3)
        meter.arm(10, 25e3)
        source.start()
        record = meter.read()
        # 0.5 V a division, 25 codes each: 128 codes above the middle end at 2.56 V. mid: 4/3 V.
        assert record.clipped.tolist() == [10, 0]
        assert record.volts[1] == approx(np.full(10, 4 / 3), abs=0.0101)


def test_a_known_skew_comes_with_every_record() -> None:
    with Lab() as lab, lab.source() as source, lab.meter(skew="2 us") as meter:
        source.load(np.zeros(2), np.zeros(2), None, 1000.0, 1, 25e3)
        meter.arm(10, 25e3)
        source.start()
        assert meter.read().skews == approx([2e-6, 2e-6])


def test_a_nudge_smaller_than_the_smallest_span_keeps_its_size() -> None:
    with Lab() as lab, lab.source() as source:
        source.load(np.zeros(2), np.array([1e-4, 0.0]), Sine(), 1000.0, 4, 25e3)
        source.start()
        quarter = lab.world.volts(["top"], np.array([0.25e-3]))
        # 2 mV peak to peak is the least; a tenth of its codes leaves 0.1 mV, to half a code of 1 mV / 32767.
        assert quarter[0, 0] == approx(1e-4, abs=2e-8)


def test_a_burst_ends_at_the_level_by_itself() -> None:
    with Lab() as lab, lab.source() as source:
        source.load(np.array([1.0, 0.0]), np.array([0.5, 0.0]), Sine(), 1000.0, 4, 25e3)
        source.start()
        seen = lab.world.volts(["top"], np.array([3.25e-3, 4.25e-3]))[0]
        assert seen == approx([1.5, 1.0], abs=1e-4)


SETUP = (
    b":OUTP1 OFF;*RST;*CLS;:FORM:BORD NORM;:OUTP1:LOAD INF;:SOUR1:VOLT:UNIT VPP;:TRIG1:SOUR BUS;"
    b":OUTP:TRIG:SLOP POS;:OUTP:TRIG:SOUR CH1;:OUTP:TRIG ON"
)
GREETING = [(b"*IDN?", IDN.encode()), (SETUP, None), NO_ERROR]
# 8 points of 0.5 V sin on +-32767: sin 45 degrees is 23170 = 0x5A82, and -23170 = 0xA57E.
POINTS = bytes.fromhex("0000 5A82 7FFF 5A82 0000 A57E 8001 A57E")
LOADING = [
    (b":SOUR1:DATA:VOL:CLE", None),
    NO_ERROR,
    (b":SOUR1:DATA:ARB:DAC nudge,#216" + POINTS, None),
    NO_ERROR,
]
STARTING = (
    b":SOUR1:BURS:STAT OFF;:SOUR1:FUNC:ARB nudge;:SOUR1:FUNC:ARB:FILT OFF;:SOUR1:FUNC:ARB:SRAT 8000;:SOUR1:FUNC ARB;"
    b":SOUR1:VOLT 0.002;:SOUR1:VOLT:OFFS 1.25;:SOUR1:VOLT 1;:SOUR1:BURS:MODE TRIG;:SOUR1:BURS:NCYC 3;"
    b":SOUR1:BURS:STAT ON;:OUTP1 ON"
)


def test_the_generators_conversation_is_that_of_its_manual() -> None:
    rate = (b"SOUR1:FUNC:ARB:SRAT?", b"+8.000000000000000E+03")
    stopping = b":ABOR;:SOUR1:BURS:STAT OFF;:SOUR1:FUNC DC;:SOUR1:VOLT:OFFS 1.25"
    trigger = [(b"*TRG", None), NO_ERROR]
    end = [(stopping, None), NO_ERROR, (b":ABOR;:OUTP1 OFF", None), (b"*OPC?", b"1")]
    pipe = ScriptedPipe([*GREETING, *LOADING, (STARTING, None), NO_ERROR, rate, *trigger, *end])
    # 8 kHz is the fastest, so that a period of 1 kHz has 8 points rather than a thousand.
    settings = Keysight33500BSection(driver="keysight-33500b", resource=SOCKET, filter="off", fastest="8 kHz")
    source = Keysight33500B("gen", settings, (1,), open_pipe=pipe)
    source.load(np.array([1.25]), np.array([0.5]), Sine(), 1000.0, 3, 8000.0)
    source.start()
    source.stop()
    source.close()
    assert pipe.script == []
    assert pipe.log[-1] == b"(close)"


def test_an_endless_nudge_is_an_infinite_burst() -> None:
    with Lab() as lab, lab.source(endless=True) as source:
        source.load(np.zeros(2), np.array([0.5, 0.0]), Sine(), 1000.0, 3, 25e3)
        source.start()
        assert any(b"BURS:NCYC INF" in message for message in lab.generator.received)
        late = np.array([100.00025])  # s: a hundred thousand periods later it still goes on
        assert lab.world.volts(["top"], late)[0] == approx([0.5], abs=1e-3)
        source.stop()
        assert lab.world.volts(["top"], late)[0] == approx([0.0])


def scope_greeting() -> list[tuple[bytes, Any]]:
    commands = ["*RST", "*CLS", ":STOP", ":CHAN1:DISP ON", ":CHAN2:DISP OFF", ":CHAN3:DISP OFF", ":CHAN4:DISP ON"]
    commands += [":CHAN1:COUP DC", ":CHAN1:PROB 1", ":CHAN1:SCAL 0.5", ":CHAN1:OFFS 0", ":WAV:MODE RAW"]
    commands += [":WAV:FORM BYTE", ":TRIG:MODE EDGE", ":TRIG:EDGE:SOUR CHAN4", ":TRIG:EDGE:SLOP POS"]
    commands += [":TRIG:EDGE:LEV 1"]
    idn = (b"*IDN?", b"RIGOL TECHNOLOGIES,DS1104Z,DS1ZA1,00.04.04")
    return [idn, *((command.encode(), None) for command in commands), (b":SYST:ERR?", b'0,"No error"')]


def scope_at(script: list[tuple[bytes, Any]]) -> tuple[RigolScope, ScriptedPipe]:
    pipe = ScriptedPipe(script)
    settings = RigolScopeSection(driver="rigol-scope", resource=SOCKET, range="2 V", trigger="chan4")
    return RigolScope("scope", settings, (1,), open_pipe=pipe), pipe


SCOPE_OK = (b":SYST:ERR?", b'0,"No error"')
# 4 samples at 2 kHz last 1.5 ms: 0.2 ms a division. With two channels on, 6000 points in 2.4 ms are 2.5 MHz, and
# every 1250th sample is 2 kHz.
ARMING = [
    (b":RUN", None),
    (b":ACQ:MDEP 6000", None),
    (b":TIM:MAIN:SCAL 0.0002", None),
    (b":TIM:MAIN:OFFS 0.0012", None),
    (b":STOP", None),
    SCOPE_OK,
    (b":ACQ:SRAT?", b"2.500000e+06"),
    (b":SING", None),
    SCOPE_OK,
]
FETCHING = [(b":TRIG:STAT?", b"WAIT"), (b":TRIG:STAT?", b"STOP"), (b":WAV:SOUR CHAN1", None), SCOPE_OK]


def test_the_scopes_conversation_is_that_of_its_manual() -> None:
    # The trigger lies 2.5 samples after the first, so the first sample after it is number 3, half a sample late.
    preamble = b"0,2,6000,1,4.000000e-07,-1.000000e-06,0,2.000000e-02,10,127"
    codes = bytearray(3751)
    codes[0], codes[1250], codes[2500], codes[3750] = 137, 187, 87, 255
    block = [(b":WAV:STAR 4", None), (b":WAV:STOP 3754", None), SCOPE_OK, (b":WAV:DATA?", bytes(codes))]
    end = [(b":STOP", None), (b"*OPC?", b"1")]
    script = [*scope_greeting(), *ARMING, *FETCHING, (b":WAV:PRE?", preamble), *block, *end]
    scope, pipe = scope_at(script)
    timing = scope.arm(4, 2000.0)
    record = scope.read()
    scope.close()
    assert (timing.sample_rate, timing.n_samples) == (approx(2000.0), 4)
    # (137 - 10 - 127) x 20 mV = 0; 187: +1 V; 87: -1 V; 255: the end of the converter, 2.36 V.
    assert record.volts.tolist() == [approx([0.0, 1.0, -1.0, 2.36])]
    assert record.clipped.tolist() == [1]
    assert record.skews == approx([2e-7])
    assert pipe.script == []


@pytest.mark.parametrize(
    ("preamble", "says"),
    [
        (b"0,2,6000,1,4.0e-07,0,0,2.0e-02,10", "ten numbers"),
        (b"0,2,6000,1,8.0e-07,0,0,2.0e-02,10,127", "does not fit"),  # another sample rate
        (b"0,2,6000,1,4.0e-07,0,0,2.0e-01,10,127", "does not fit"),  # another range
        (b"0,2,0,1,4.0e-07,0,0,2.0e-02,10,127", "do not hold the record"),
        (b"0,2,6000,1,4.0e-07,-2.4e-03,0,2.0e-02,10,127", "do not hold the record"),  # trigger at the right edge
    ],
)
def test_a_preamble_that_does_not_fit_the_settings_is_refused(preamble: bytes, says: str) -> None:
    scope, _ = scope_at([*scope_greeting(), *ARMING, *FETCHING, (b":WAV:PRE?", preamble)])
    scope.arm(4, 2000.0)
    with pytest.raises(ProtocolError, match=f'meter "scope", chan1 .*{says}'):
        scope.read()


def test_a_block_with_fewer_points_than_asked_is_refused() -> None:
    preamble = (b":WAV:PRE?", b"0,2,6000,1,4.0e-07,0,0,2.0e-02,10,127")
    block = [(b":WAV:STAR 1", None), (b":WAV:STOP 3751", None), SCOPE_OK, (b":WAV:DATA?", bytes(3750))]
    scope, _ = scope_at([*scope_greeting(), *ARMING, *FETCHING, preamble, *block])
    scope.arm(4, 2000.0)
    with pytest.raises(ProtocolError, match="chan1 .*3750 bytes for 3751 points"):
        scope.read()


def test_a_rate_that_no_time_base_gives_is_refused_with_those_that_do() -> None:
    scope, pipe = scope_at(scope_greeting())
    sent = len(pipe.log)
    with pytest.raises(LimitError, match=r'meter "scope".*1000 samples at 2100 Hz asked.*500 Hz.*Nothing was sent'):
        scope.arm(1000, 2100.0)
    assert len(pipe.log) == sent


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"levels": np.array([np.nan, 0.0])}, "ch1"),
        ({"amplitudes": np.array([0.0, 9.5]), "levels": np.array([0.0, -9.0])}, "ch2"),
        ({"frequency": np.nan}, "nan Hz"),
        ({"sample_rate": 0.0}, "0 samples/s"),
        ({"n_periods": 0}, "0 periods"),
    ],
)
def test_what_the_generator_cannot_do_is_refused_before_a_byte_is_sent(changes: dict[str, Any], says: str) -> None:
    asked: dict[str, Any] = {
        "levels": np.zeros(2),
        "amplitudes": np.zeros(2),
        "waveform": RectifiedSine(),
        "frequency": 1000.0,
        "n_periods": 1,
        "sample_rate": 25e3,
    }
    with Lab() as lab, lab.source() as source:
        sent = len(lab.generator.received)
        with pytest.raises(LimitError, match=f'source "gen".*{says}.*Nothing was sent'):
            source.load(**(asked | changes))
        assert len(lab.generator.received) == sent


def test_a_second_channel_on_a_one_channel_model_is_refused() -> None:
    network, terminals = star(2)
    server = VirtualKeysight33500B("gen", World(network, terminals, np.random.default_rng(1)), Wires(), n_channels=1)
    settings = Keysight33500BSection(driver="keysight-33500b", resource=server.start()[0], visa="@py")
    try:
        with pytest.raises(InstrumentError, match="ch2|-113"):
            Keysight33500B("gen", settings, (1, 2))
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("kind", "use", "says"),
    [
        (KEYSIGHT_33500B, ChannelUse(drives=("ch3",)), 'channel "ch3". Did you mean "ch'),
        (RIGOL_SCOPE, ChannelUse(reads=("chan5",)), 'channel "chan5". Did you mean "chan'),
        (RIGOL_SCOPE, ChannelUse(reads=("chan4",)), "chan4 can't be read: the trigger wire"),
    ],
)
def test_a_channel_that_is_not_there_is_refused_before_opening(kind: Any, use: ChannelUse, says: str) -> None:
    fields = {"trigger": "chan4"} if kind is RIGOL_SCOPE else {}
    settings = kind.model(driver="x", resource="TCPIP::127.0.0.1::1::SOCKET", **fields)
    with pytest.raises(ValueError, match=says):
        kind.open("it", settings, use)


def test_naming_the_drivers_loads_no_pyvisa() -> None:
    code = "import sys, drivers.scpi; print([name for name in sys.modules if 'visa' in name.split('.')[0]])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


WIRED = """\
bench: wired
network: {{kind: csv, file: divider.csv, inputs: [[top]], outputs: [[mid]]}}
nudge: {{source: resistor, resistance: 1 kOhm}}
sampling: {{frequency: 1 kHz, samples_per_period: 25, periods: 4}}
instruments:
  gen: {{driver: keysight-33500b, resource: "{generator}", visa: "@py"}}
  scope: {{driver: rigol-scope, resource: "{scope}", visa: "@py", range: 2 V, bits: 16}}
wiring:
  drives: {{top: gen/ch1, mid: gen/ch2}}
  reads: {{top: scope/chan1, mid: scope/chan2}}
  tunes: {{}}
triggers: [[gen, scope]]
"""


@pytest.mark.parametrize("wire", WIRES)
def test_a_bench_file_opens_both_and_measures_the_divider(tmp_path: Path, wire: str) -> None:
    table = "plus,minus,kind,value\ntop,mid,resistor,1 kOhm\nmid,ground,resistor,1 kOhm\n"
    (tmp_path / "divider.csv").write_text(table)
    with Lab(wire) as lab:
        text = WIRED.format(generator=lab.generator_at, scope=lab.scope_at)
        settings = check_bench(parse_yaml(text, tmp_path / "bench.yaml"), tmp_path)
        with open_bench(settings) as bench:
            response = bench.respond(Drive(np.array([1.5]), Nudge(np.array([0.6e-3]), Sine())))
        assert lab.levels() == [0.0, 0.0]
    places = [bench.network.index[name] for name in ("top", "mid")]
    # With 1 kOhm at the nudge mid is (1.5 V + 0.6 V f) / 3, as above.
    assert response.a[places] == approx([1.5, 0.5], abs=1e-4)
    assert response.b[places] == approx([0.0, 0.2], abs=1e-4)
