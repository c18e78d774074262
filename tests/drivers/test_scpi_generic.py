"""An instrument that is described by a file passes the suites, and a wrong file is told by line and field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest import approx
from scpi_lab import ScriptedPipe, resistor

from drivers.scpi import SCPI_GENERIC
from drivers.scpi._generic import GenericMeter, GenericSource, ScpiGenericSection
from drivers.scpi._template import ScpiTemplate, filled, read_template
from freqprop_lab.bench import ChannelUse
from freqprop_lab.config import FileError
from freqprop_lab.instruments import LimitError, Meter, ProtocolError, Source
from freqprop_lab.network import Network
from freqprop_lab.testing import MeterTests, SourceTests
from freqprop_lab.waveform import RectifiedSine, Sine
from simulated_bench.circuit import Connection
from simulated_bench.servers import Wires
from simulated_bench.servers.keysight_33500b import VirtualKeysight33500B
from simulated_bench.servers.scpi import ScpiDevice
from simulated_bench.world import Constant, World

SOURCE = """\
role: source
expect: 33522B
channels: {a: "1", b: "2"}
limits: {lowest: -5 V, highest: 5 V, sample_rate: 1 MHz}
setup: ["OUTP{channel}:LOAD INF"]
safe: ["OUTP{channel} OFF"]
level:
  - "SOUR{channel}:FUNC DC"
  - "SOUR{channel}:VOLT:OFFS {level}"
  - "OUTP{channel} ON"
"""
METER = """\
role: meter
expect: Digitiser
channels: {x: "101", y: "102"}
limits: {lowest: -2 V, highest: 2 V, sample_rate: 100 kHz}
safe: ["ABOR"]
arm: ["SAMP:COUN {samples}", "SAMP:RATE {sample_rate}"]
rate: "SAMP:RATE?"
data: "FETC? (@{channel})"
"""
INTEGERS = "parse: block-int16\nscale: 0.5e-3\noffset: 0.25\n"
FLOATS = "parse: block-float32\nbyte_order: little\n"


class Digitiser(ScpiDevice):
    """Two inputs at nodes n0 and n1; answers in text, or in blocks of the given type."""

    def __init__(self, world: World, kind: str) -> None:
        super().__init__("digitiser", "Nobody,Digitiser,1,0")
        self.world, self.kind, self.count, self.rate = world, kind, 1, 1.0
        self.on("SAMPle:COUNt", lambda n, a: setattr(self, "count", int(a)))
        self.on("SAMPle:RATE", lambda n, a: setattr(self, "rate", float(a)))
        self.on("SAMPle:RATE?", lambda n, a: f"{self.rate:.6e}")
        self.on("ABORt", lambda n, a: None)
        self.on("FETCh?", self.fetch)

    def fetch(self, number: int, argument: bytes) -> str | bytes:
        node = {b"(@101)": "n0", b"(@102)": "n1"}[argument]
        volts = self.world.volts([node], np.arange(self.count) / self.rate)[0]
        volts = np.clip(volts, -2, 2)
        if not self.kind:
            return ",".join(f"{value:.6e}" for value in volts)
        numbers = np.round((volts - 0.25) / 0.5e-3) if self.kind == ">i2" else volts
        content = numbers.astype(self.kind).tobytes()
        digits = str(len(content)).encode()
        return b"#" + str(len(digits)).encode() + digits + content


def world_of_two() -> World:
    network = Network(("n0", "n1"), (resistor("r0", "n0", "ground"), resistor("r1", "n1", "ground")))
    terminals = {f"gen/ch{i + 1}": Connection(i, -1, "voltage") for i in range(2)}
    return World(network, terminals, np.random.default_rng(1))


def section(resource: str) -> ScpiGenericSection:
    return ScpiGenericSection(driver="scpi-generic", resource=resource, visa="@py", deadline=1.0, template="x.yaml")


def template_of(text: str, folder: Path) -> ScpiTemplate:
    path = folder / "template.yaml"
    path.write_text(text)
    return read_template(path)


class TestGenericSource(SourceTests):
    tolerance = 1e-6
    place = 0

    @pytest.fixture(autouse=True)
    def lab(self, tmp_path: Path) -> Iterator[None]:
        self.world, self.template = world_of_two(), template_of(SOURCE, tmp_path)
        server = VirtualKeysight33500B("gen", self.world, Wires(drives={"ch1": "gen/ch1", "ch2": "gen/ch2"}))
        self.resource = server.start()[self.place]
        yield
        server.stop()

    def open_instrument(self) -> Source:
        return GenericSource("gen", section(self.resource), self.template, ("a", "b"))

    def observe(self, source: Source) -> np.ndarray:
        return np.array([self.world.level("gen/ch1"), self.world.level("gen/ch2")])


class TestGenericSourceOverASocket(TestGenericSource):
    place = 1


class TestGenericMeter(MeterTests):
    tolerance = 1e-6
    place = 1
    more, kind = "", ""

    @pytest.fixture(autouse=True)
    def lab(self, tmp_path: Path) -> Iterator[None]:
        self.world, self.template = world_of_two(), template_of(METER + self.more, tmp_path)
        server = Digitiser(self.world, self.kind)
        self.resource = server.start()[self.place]
        yield
        server.stop()

    def open_instrument(self) -> Meter:
        return GenericMeter("dmm", section(self.resource), self.template, ("x", "y"))

    def present(self, meter: Meter, volts: np.ndarray) -> bool:
        for number, value in enumerate(volts, 1):
            self.world.put(f"gen/ch{number}", Constant(float(value)))
        return True


class TestGenericMeterWithBlocksOfIntegers(TestGenericMeter):
    tolerance = 0.25e-3 * 1.001  # V: half of scale
    place = 0
    more, kind = INTEGERS, ">i2"


class TestGenericMeterWithBlocksOfFloats(TestGenericMeter):
    more, kind = FLOATS, "<f4"


NUDGING = """\
nudge:
  - "C{channel}:BSWV WVTP,SINE,FRQ,{frequency},AMP,{amplitude:.4f},OFST,{level},CYCLES,{periods}"
trigger: ["*TRG"]
stop: ["C{channel}:BTWV STATE,OFF"]
error: null
"""


def test_the_templates_are_sent_channel_by_channel_in_their_order(tmp_path: Path) -> None:
    idn = (b"*IDN?", b"Maker,33522B,1,0")
    start = ["SOUR1:FUNC DC", "SOUR2:FUNC DC", "SOUR1:VOLT:OFFS 1.5", "SOUR2:VOLT:OFFS -0.25", "OUTP1 ON", "OUTP2 ON"]
    nudge = ["C1:BSWV WVTP,SINE,FRQ,1000,AMP,0.1250,OFST,1.5,CYCLES,3"]
    nudge += ["C2:BSWV WVTP,SINE,FRQ,1000,AMP,0.0000,OFST,-0.25,CYCLES,3", "*TRG"]
    stop = ["C1:BTWV STATE,OFF", "C2:BTWV STATE,OFF", *start]
    safe = ["OUTP1 OFF", "OUTP2 OFF"]
    sent = [*safe, "OUTP1:LOAD INF", "OUTP2:LOAD INF", *start, *nudge, *stop, *safe]
    pipe = ScriptedPipe([idn, *((each.encode(), None) for each in sent), (b"*OPC?", b"1")])
    source = GenericSource("gen", section("TCPIP::x::INSTR"), template_of(SOURCE + NUDGING, tmp_path), ("a", "b"), pipe)
    source.load(np.array([1.5, -0.25]), np.array([0.125, 0.0]), Sine(), 1000.0, 3, 20e3)
    source.start()
    source.stop()
    source.close()
    assert pipe.script == []


def test_a_supply_that_has_no_nudge_holds_its_level_while_another_source_nudges(tmp_path: Path) -> None:
    start = ["SOUR1:FUNC DC", "SOUR1:VOLT:OFFS 1.5", "OUTP1 ON"]
    sent = ["OUTP1 OFF", "OUTP1:LOAD INF", *start, *start, "OUTP1 OFF"]
    conversation = [(b"*IDN?", b"Maker,33522B,1,0"), *((each.encode(), None) for each in sent), (b"*OPC?", b"1")]
    pipe = ScriptedPipe(conversation)
    template = template_of(SOURCE + "error: null\n", tmp_path)
    source = GenericSource("supply", section("TCPIP::x::INSTR"), template, ("a",), pipe)
    assert source.load(np.array([1.5]), np.zeros(1), Sine(), 1000.0, 3, 20e3).n_samples == 60
    source.start()
    source.stop()
    with pytest.raises(LimitError, match="levels only; its template has no nudge"):
        source.load(np.array([1.5]), np.array([0.1]), Sine(), 1000.0, 3, 20e3)
    source.close()
    assert pipe.script == []


def test_a_waveform_that_the_template_does_not_play_is_refused(tmp_path: Path) -> None:
    pipe = ScriptedPipe([(b"*IDN?", b"Maker,33522B,1,0"), (b"OUTP1 OFF", None), (b"OUTP1:LOAD INF", None)])
    source = GenericSource("gen", section("TCPIP::x::INSTR"), template_of(SOURCE + NUDGING, tmp_path), ("a",), pipe)
    with pytest.raises(LimitError, match='source "gen".*abs-sine asked, it can do sine only. Nothing was sent'):
        source.load(np.zeros(1), np.ones(1), RectifiedSine(), 1000.0, 3, 20e3)


@pytest.mark.parametrize("answer", [b"1.0,2.0", b"1.0,2.0,nan", b"1.0,2.0,high", b"1.0,2.0,3.0,4.0"])
def test_an_answer_that_is_not_three_numbers_is_no_record_of_three_samples(tmp_path: Path, answer: bytes) -> None:
    ok = (b"SYST:ERR?", b"0")
    opening = [(b"*IDN?", b"Nobody,Digitiser,1,0"), (b"ABOR", None), ok]
    arming = [(b"SAMP:COUN 3", None), (b"SAMP:RATE 1000", None), ok, (b"SAMP:RATE?", b"1000")]
    pipe = ScriptedPipe([*opening, *arming, (b"FETC? (@102)", answer)])
    meter = GenericMeter("dmm", section("TCPIP::x::INSTR"), template_of(METER, tmp_path), ("y",), pipe)
    meter.arm(3, 1000.0)
    with pytest.raises(ProtocolError, match='meter "dmm", y '):
        meter.read()


WRONG = [
    (SOURCE.replace('safe: ["OUTP{channel} OFF"]\n', ""), None, 'field "safe" is missing'),
    (SOURCE.replace('safe: ["OUTP{channel} OFF"]', "safe: []"), 6, 'field "safe"'),
    (SOURCE.replace("{level}", "{leve}"), None, r'level: .*no place \{leve\}. Did you mean "level"'),
    (SOURCE.replace("{level}", "{level.__class__}"), None, r"no place \{level.__class__\}"),
    (SOURCE.replace("{level}", "{level!r}"), None, "takes a format such as"),
    (SOURCE.replace("{level}", "{level:{channel}}"), None, "takes a format such as"),
    (SOURCE.replace("{level}", "{level"), None, "write {{ for a brace"),
    (SOURCE.replace("role: source", "role: sauce"), 1, "allowed: source, meter"),
    (SOURCE.replace("lowest: -5 V", "lowest: 1 V"), 4, "0 V between"),
    (SOURCE + "data: x\n", None, 'the field "data" belongs to a meter'),
    (SOURCE + "levels: []\n", 11, 'unknown field "levels".*Did you mean "level"'),
    (METER.replace('data: "FETC? (@{channel})"\n', ""), None, 'a meter needs the field "data"'),
]


@pytest.mark.parametrize(("text", "line", "says"), WRONG, ids=[says[:30] for _, _, says in WRONG])
def test_a_wrong_template_is_told_by_field(tmp_path: Path, text: str, line: int | None, says: str) -> None:
    with pytest.raises(FileError, match=says) as caught:
        template_of(text, tmp_path)
    assert line is None or caught.value.line == line
    assert "Nothing was started" in str(caught.value)


def test_opening_with_a_wrong_template_or_channel_says_so_before_anything_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "it.yaml"
    settings = section("TCPIP::127.0.0.1::1::SOCKET").model_copy(update={"template": str(path)})
    with pytest.raises(ValueError, match="its template: .*it.yaml.*no such file"):
        SCPI_GENERIC.open("gen", settings, ChannelUse(drives=("a",)))
    path.write_text(SOURCE)
    with pytest.raises(ValueError, match='no channel "c".*It has a, b'):
        SCPI_GENERIC.open("gen", settings, ChannelUse(drives=("c",)))


@pytest.mark.parametrize(
    ("template", "values", "wanted"),
    [
        ("V {level}", {"level": 1.23456789012}, "V 1.23456789"),
        ("V {level:.3f}", {"level": 1.0}, "V 1.000"),
        ("N {samples}", {"samples": 100000}, "N 100000"),
        ("{{{channel}}}", {"channel": "1"}, "{1}"),
    ],
)
def test_places_are_filled_with_plain_numbers(template: str, values: dict[str, Any], wanted: str) -> None:
    assert filled(template, values) == wanted


@pytest.mark.parametrize("resource", ["192.168.0.5", "COM3", "TCPIP::1.2.3.4", "http://x::INSTR"])
def test_a_resource_that_is_none_is_refused_with_examples(resource: str) -> None:
    with pytest.raises(ValueError, match="no VISA resource; a name such as TCPIP::"):
        section(resource)


def test_nine_digits_of_a_level_reach_the_wire() -> None:
    assert float(filled("{level}", {"level": 1 / 3})) == approx(1 / 3, rel=1e-9)


def test_the_template_in_the_docs_is_sound(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "scpi.md"
    text = page.read_text().split("```yaml\n")[1].split("```")[0]
    template = template_of(text, tmp_path)
    assert (template.role, template.safe) == ("source", ["C{channel}:OUTP OFF"])
