"""A virtual Keysight 33522B: two channels of arbitrary waveforms and bursts, and the quirks that matter.

Its quirks: amplitudes are peak to peak; set for a 50 Ohm load (as after *RST) they come out doubled at an open
circuit, which every terminal of the world is; a waveform's name can't be given twice before the memory is cleared;
a burst that is over rests at the waveform's first point. An output that is off is disconnected by a relay. Points
are held (filter OFF) whatever filter is set. The generator knows ARB, DC and SIN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from freqprop_lab.values import Array
from simulated_bench.servers._virtual import Wires
from simulated_bench.servers.scpi import ScpiDevice, ScpiError, accepted, block_of, choice_of, number_of
from simulated_bench.world import Constant, Signal, World

_IDN = "Keysight Technologies,33522B,MY00000001,5.02-virtual"
_CHANNELS = ("ch1", "ch2")
_LARGEST = 10.0  # V, offset and half of the span, into an open circuit
_LARGEST_CODE = 32767
_SINE_POINTS = 64


@dataclass(frozen=True)
class Burst:
    """A period of samples from `start` (s) on, cycles times (None: for ever), then its first sample."""

    samples: Array
    sample_rate: float
    start: float
    cycles: float

    def at(self, times: Array) -> Array:
        """Return the sample that is on at each time."""
        # A hundredth of a sample early is the same sample: instants of one clock, told apart by rounding only.
        number = np.floor((times - self.start) * self.sample_rate + 0.01)
        running = (number >= 0) & (number < self.cycles * len(self.samples))
        return self.samples[np.where(running, number % len(self.samples), 0).astype(np.intp)]


@dataclass(eq=False)
class _Channel:
    """What is set on one channel, as after *RST."""

    function: str = "SIN"
    span: float = 0.1
    offset: float = 0.0
    open_circuit: bool = False
    output: bool = False
    waveforms: dict[str, Array] = field(default_factory=dict)
    waveform: str = ""
    sample_rate: float = 40e3
    filter: str = "NORM"
    burst: bool = False
    cycles: float = 1
    trigger: str = "IMM"

    def samples(self) -> Array:
        """Return one period at an open circuit, V."""
        shape = np.zeros(1)
        if self.function == "SIN":
            shape = np.sin(2 * np.pi * np.arange(_SINE_POINTS) / _SINE_POINTS)
        elif self.function == "ARB":
            shape = self.waveforms.get(self.waveform, np.linspace(-1, 1, 8))
        return (1.0 if self.open_circuit else 2.0) * (self.offset + shape * self.span / 2)


class VirtualKeysight33500B(ScpiDevice):
    """The generator on the terminals that `wires.drives` names for ch1 and ch2; *TRG fires the world's trigger `name`.

    n_channels: 1 makes it a 33521B.
    """

    def __init__(self, name: str, world: World, wires: Wires, n_channels: int = 2) -> None:
        super().__init__(name, _IDN if n_channels == 2 else _IDN.replace("33522B", "33521B"))
        self._world, self._n_channels = world, n_channels
        self._terminals: Mapping[str, str] = wires.drives
        self._channels = [_Channel() for _ in range(n_channels)]
        self._swapped, self._trigger_out = False, False
        self._define()
        self._show_all()

    def reset(self) -> None:
        """Return to the state after *RST: outputs off, set for 50 Ohm, waveforms gone."""
        self._channels = [_Channel() for _ in range(self._n_channels)]
        self._swapped, self._trigger_out = False, False
        self._show_all()

    def trigger(self) -> None:
        """Start the bursts that wait for it, both at one instant, and send a pulse to the trigger output."""
        armed = [c for c in self._channels if c.burst and c.trigger == "BUS"]
        if not armed:
            raise ScpiError(-211)
        for number, channel in enumerate(self._channels, 1):
            if channel in armed and channel.output:
                burst = Burst(channel.samples(), self._rate(channel), self._world.now, channel.cycles)
                self._put(number, burst)
        if self._trigger_out:
            self._world.fire(self.name)

    def _define(self) -> None:
        self.on("[SOURce#:]DATA:VOLatile:CLEar", self._clear)
        self.on("[SOURce#:]DATA:ARBitrary:DAC", self._codes)
        self.on("[SOURce#:]DATA:ARBitrary", self._floats)
        self.on("FORMat:BORDer", self._order)
        self.on("[SOURce#:]FUNCtion:ARBitrary", self._choose)
        self.on("[SOURce#:]FUNCtion", lambda n, a: self._set(n, function=choice_of(a, "SINusoid", "ARBitrary", "DC")))
        self.on("[SOURce#:]FUNCtion?", lambda n, a: self._of(n).function)  # noqa: ARG005
        self.on("[SOURce#:]FUNCtion:ARBitrary:FILTer", self._filter)
        self.on("[SOURce#:]FUNCtion:ARBitrary:SRATe", lambda n, a: self._set(n, sample_rate=number_of(a, 1e-6, 250e6)))
        self.on("[SOURce#:]FUNCtion:ARBitrary:SRATe?", lambda n, a: _shown(self._of(n).sample_rate))  # noqa: ARG005
        self.on("[SOURce#:]VOLTage", lambda n, a: self._set(n, span=number_of(a, 1e-3, 2 * _LARGEST)))
        self.on("[SOURce#:]VOLTage?", lambda n, a: _shown(self._of(n).span))  # noqa: ARG005
        self.on("[SOURce#:]VOLTage:OFFSet", lambda n, a: self._set(n, offset=number_of(a, -_LARGEST, _LARGEST)))
        self.on("[SOURce#:]VOLTage:OFFSet?", lambda n, a: _shown(self._of(n).offset))  # noqa: ARG005
        self.on("[SOURce#:]VOLTage:UNIT", lambda n, a: accepted(choice_of(a, "VPP")))  # noqa: ARG005
        self.on("[SOURce#:]BURSt:MODE", lambda n, a: accepted(choice_of(a, "TRIGgered")))  # noqa: ARG005
        self.on("[SOURce#:]BURSt:NCYCles", self._cycles)
        self.on("[SOURce#:]BURSt:STATe", lambda n, a: self._set(n, burst=choice_of(a, "ON", "OFF") == "ON"))
        self.on("TRIGger#:SOURce", lambda n, a: self._set(n, trigger=choice_of(a, "IMMediate", "EXTernal", "BUS")))
        self.on("OUTPut#", lambda n, a: self._set(n, output=choice_of(a, "ON", "OFF") == "ON"))
        self.on("OUTPut#?", lambda n, a: str(int(self._of(n).output)))  # noqa: ARG005
        self.on("OUTPut#:LOAD", self._load)
        self.on("OUTPut:TRIGger:SLOPe", lambda n, a: accepted(choice_of(a, "POSitive", "NEGative")))  # noqa: ARG005
        self.on("OUTPut:TRIGger:SOURce", lambda n, a: accepted(choice_of(a, "CH1", "CH2")))  # noqa: ARG005
        self.on("OUTPut:TRIGger", self._trigger_output)
        self.on("ABORt", self._abort)

    def _of(self, number: int) -> _Channel:
        if not 1 <= number <= self._n_channels:
            raise ScpiError(-113)
        return self._channels[number - 1]

    def _set(self, number: int, **changes: object) -> None:
        channel = self._of(number)
        before = {key: getattr(channel, key) for key in changes}
        for key, value in changes.items():
            setattr(channel, key, value)
        if abs(channel.offset) + channel.span / 2 > _LARGEST * (1 + 1e-9) and channel.function != "DC":
            for key, value in before.items():
                setattr(channel, key, value)
            raise ScpiError(-221)
        if before != changes:
            self._show(number)

    def _clear(self, number: int, argument: bytes) -> None:  # noqa: ARG002 - the signature of every handler
        self._set(number, waveforms={}, waveform="")

    def _codes(self, number: int, argument: bytes) -> None:
        content = argument.partition(b",")[2]
        if content.startswith(b"#"):
            codes = np.frombuffer(block_of(content), "<i2" if self._swapped else ">i2").astype(np.float64)
        else:
            codes = np.array([float(each) for each in content.split(b",")])
        self._keep(number, argument, codes / _LARGEST_CODE)

    def _floats(self, number: int, argument: bytes) -> None:
        content = argument.partition(b",")[2]
        if content.startswith(b"#"):
            shape = np.frombuffer(block_of(content), "<f4" if self._swapped else ">f4").astype(np.float64)
        else:
            shape = np.array([float(each) for each in content.split(b",")])
        self._keep(number, argument, shape)

    def _keep(self, number: int, argument: bytes, shape: Array) -> None:
        name = argument.partition(b",")[0].decode("latin-1").strip().upper()
        channel = self._of(number)
        if name in channel.waveforms:
            raise ScpiError(786, "Specified arb waveform already exists")
        if len(shape) < 8 or np.abs(shape).max() > 1:
            raise ScpiError(-222)
        channel.waveforms[name] = shape

    def _choose(self, number: int, argument: bytes) -> None:
        name = argument.decode("latin-1").strip().strip('"').upper()
        if name not in self._of(number).waveforms:
            raise ScpiError(785, "Specified arb waveform does not exist")
        self._set(number, waveform=name)

    def _order(self, number: int, argument: bytes) -> None:  # noqa: ARG002 - the signature of every handler
        self._swapped = choice_of(argument, "NORMal", "SWAPped") == "SWAP"

    def _filter(self, number: int, argument: bytes) -> None:
        self._of(number).filter = choice_of(argument, "NORMal", "STEP", "OFF")

    def _cycles(self, number: int, argument: bytes) -> None:
        infinite = argument.strip().upper() in {b"INF", b"INFINITY"}
        self._set(number, cycles=np.inf if infinite else number_of(argument, 1, 100_000_000))

    def _load(self, number: int, argument: bytes) -> None:
        infinite = argument.strip().upper() in {b"INF", b"INFINITY"}
        if not infinite:
            number_of(argument, 1, 10_000)
        self._set(number, open_circuit=infinite)

    def _trigger_output(self, number: int, argument: bytes) -> None:  # noqa: ARG002 - the signature of every handler
        self._trigger_out = choice_of(argument, "ON", "OFF") == "ON"

    def _abort(self, number: int, argument: bytes) -> None:  # noqa: ARG002 - the signature of every handler
        self._show_all()

    def _rate(self, channel: _Channel) -> float:
        return channel.sample_rate if channel.function == "ARB" else 1000.0 * _SINE_POINTS

    def _show_all(self) -> None:
        for number in range(1, self._n_channels + 1):
            self._show(number)

    def _show(self, number: int) -> None:
        """Put on the terminal what is set; a burst rests until it is triggered."""
        channel = self._of(number)
        samples = channel.samples()
        if not channel.output:
            self._put(number, None)
        elif channel.burst or channel.function == "DC":
            self._put(number, Constant(float(samples[0])))
        else:
            self._put(number, Burst(samples, self._rate(channel), self._world.now, np.inf))

    def _put(self, number: int, signal: Signal | None) -> None:
        name = _CHANNELS[number - 1]
        if name in self._terminals and not self.faults.stuck(name):
            self._world.put(self._terminals[name], signal)


def _shown(value: float) -> str:
    return f"{value:+.15E}"
