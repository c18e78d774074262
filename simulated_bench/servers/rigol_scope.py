"""A virtual Rigol DS1104Z: four 8-bit channels (or 16-bit ones, which the real one has not), and its quirks.

Its quirks: the sample rate follows from memory depth and time base, 12 divisions wide; the depth can be set only while
it runs, and depends on how many channels are on; memory can be read only when stopped, in pieces of 250 000 bytes;
codes are offset binary, 25 of them a division; the error queue answers without a plus sign. A record takes its time of
the world's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.values import Array
from simulated_bench.servers._virtual import FaultKind, Wires
from simulated_bench.servers.scpi import ScpiDevice, ScpiError, accepted, choice_of, number_of
from simulated_bench.world import World

_IDN = "RIGOL TECHNOLOGIES,DS1104Z,DS1ZA000000001,00.04.04-virtual"
_CHANNELS = ("chan1", "chan2", "chan3", "chan4")
_DIVISIONS = 12
_CODES_PER_DIVISION = 25
_MIDDLE = 127
_DEPTHS = {1: (12, 120, 1200, 12000), 2: (6, 60, 600, 6000), 3: (3, 30, 300, 3000), 4: (3, 30, 300, 3000)}
_PER_READ = 250_000  # bytes
Value = TypeVar("Value", bool, float)
_SOURCES = ("EXT", "CHAN1", "CHAN2", "CHAN3", "CHAN4", "AC")


@dataclass
class _Settings:
    """What is set, as after *RST."""

    shown: list[bool] = field(default_factory=lambda: [True, False, False, False])
    scales: list[float] = field(default_factory=lambda: [1.0] * 4)
    offsets: list[float] = field(default_factory=lambda: [0.0] * 4)
    probes: list[float] = field(default_factory=lambda: [1.0] * 4)
    time_scale: float = 1e-6
    time_offset: float = 0.0
    depth: int = 12_000
    trigger: str = "CHAN1"
    source: int = 1
    raw: bool = False
    wide: bool = False
    start: int = 1
    stop: int = 1200


class VirtualRigolScope(ScpiDevice):
    """The oscilloscope at the nodes that `wires.reads` names for chan1 to chan4; channels without a wire read 0 V.

    trigger: the generator whose trigger output is wired to it; None leaves it without a wire, and it captures when it
    is forced, at a phase that nobody knows.
    """

    error_format = '{code:d},"{text}"'

    def __init__(self, name: str, world: World, wires: Wires, trigger: str | None = None) -> None:
        super().__init__(name, _IDN)
        self._world, self._nodes, self._trigger = world, dict(wires.reads), trigger
        self._set = _Settings()
        self._state = "STOP"
        self._give_up: Callable[[], None] = _nothing
        self._record: dict[str, Array] = {}  # volts as they were, by channel
        self._began = 0.0  # s after the trigger
        self._kept: dict[str, NDArray[np.float64]] = {}
        self._define()

    def reset(self) -> None:
        """Return to the state after *RST: running, no record."""
        self._give_up()
        self._set, self._state, self._record = _Settings(), "AUTO", {}

    def _define(self) -> None:
        s = self._settings
        self.on("RUN", lambda n, a: self._run("AUTO"))  # noqa: ARG005
        self.on("STOP", lambda n, a: self._stop_waiting())  # noqa: ARG005
        self.on("SINGle", lambda n, a: self._single())  # noqa: ARG005
        self.on("TFORce", lambda n, a: self._force())  # noqa: ARG005
        self.on("ACQuire:MDEPth", self._depth)
        self.on("ACQuire:SRATe?", lambda n, a: f"{self._rate():.6e}")  # noqa: ARG005
        self.on("TIMebase[:MAIN]:SCALe", lambda n, a: s(time_scale=number_of(a, 5e-9, 50)))  # noqa: ARG005
        self.on("TIMebase[:MAIN]:OFFSet", lambda n, a: s(time_offset=number_of(a, -1000, 1000)))  # noqa: ARG005
        self.on("CHANnel#:DISPlay", lambda n, a: self._channel(self._set.shown, n, choice_of(a, "ON", "OFF") == "ON"))
        self.on("CHANnel#:SCALe", lambda n, a: self._channel(self._set.scales, n, number_of(a, 1e-3, 100)))
        self.on("CHANnel#:SCALe?", lambda n, a: f"{self._set.scales[n - 1]:.6e}")  # noqa: ARG005
        self.on("CHANnel#:OFFSet", lambda n, a: self._channel(self._set.offsets, n, number_of(a, -1000, 1000)))
        self.on("CHANnel#:PROBe", lambda n, a: self._channel(self._set.probes, n, number_of(a, 0.01, 1000)))
        self.on("CHANnel#:COUPling", lambda n, a: accepted(choice_of(a, "DC", "AC", "GND")))  # noqa: ARG005
        self.on("TRIGger:STATus?", lambda n, a: self._state)  # noqa: ARG005
        self.on("TRIGger:MODE", lambda n, a: accepted(choice_of(a, "EDGE")))  # noqa: ARG005
        self.on("TRIGger:EDGe:SOURce", lambda n, a: s(trigger=choice_of(a, *_SOURCES)))  # noqa: ARG005
        self.on("TRIGger:EDGe:SLOPe", lambda n, a: accepted(choice_of(a, "POSitive", "NEGative")))  # noqa: ARG005
        self.on("TRIGger:EDGe:LEVel", lambda n, a: accepted(number_of(a, -100, 100)))  # noqa: ARG005
        self.on("WAVeform:SOURce", lambda n, a: s(source=_SOURCES.index(choice_of(a, *_SOURCES[1:5]))))  # noqa: ARG005
        self.on("WAVeform:MODE", lambda n, a: s(raw=choice_of(a, "NORMal", "RAW") == "RAW"))  # noqa: ARG005
        self.on("WAVeform:FORMat", lambda n, a: s(wide=choice_of(a, "BYTE", "WORD") == "WORD"))  # noqa: ARG005
        self.on("WAVeform:STARt", lambda n, a: s(start=int(number_of(a, 1, self._set.depth))))  # noqa: ARG005
        self.on("WAVeform:STOP", lambda n, a: s(stop=int(number_of(a, 1, self._set.depth))))  # noqa: ARG005
        self.on("WAVeform:PREamble?", lambda n, a: self._preamble())  # noqa: ARG005
        self.on("WAVeform:DATA?", lambda n, a: self._data())  # noqa: ARG005

    def _settings(self, **changes: object) -> None:
        for key, value in changes.items():
            setattr(self._set, key, value)

    def _channel(self, values: list[Value], number: int, value: Value) -> None:
        if not 1 <= number <= len(_CHANNELS):
            raise ScpiError(-113)
        values[number - 1] = value

    def _run(self, state: str) -> None:
        self._give_up()
        self._state, self._record = state, {}

    def _stop_waiting(self) -> None:
        self._give_up()
        self._state = "STOP"

    def _single(self) -> None:
        self._run("WAIT")
        if self._trigger is not None and self._set.trigger != "AC":
            self._give_up = self._world.wait_for(self._trigger, self._capture)

    def _force(self) -> None:
        """Capture somewhere in the next record's length: nobody knows at which phase of anything."""
        if self._state == "WAIT":
            self._give_up()
            self._capture(self._world.now + float(self._world.rng.uniform(0, self._set.depth / self._rate())))

    def _capture(self, instant: float) -> None:
        """Sample every channel that is on, the trigger `time_offset` before the middle of the screen."""
        with self._lock:
            self._began = self._set.time_offset - self._set.time_scale * _DIVISIONS / 2
            times = instant + self._began + np.arange(self._set.depth) / self._rate()
            volts = self._world.read(self.name, {channel: self._nodes.get(channel) for channel in _CHANNELS}, times)
            self._record = dict(zip(_CHANNELS, volts, strict=True))
            self._hurt(len(times))
            self._kept |= {channel: record[-1:].copy() for channel, record in self._record.items()}
            self._state = "STOP"
            self._world.advance(max(0.0, times[-1] - self._world.now))

    def _hurt(self, n_samples: int) -> None:
        """Let faults have their way with the record."""
        for channel in _CHANNELS:
            if self.faults.stuck(channel) and channel in self._kept:
                self._record[channel] = np.full(n_samples, self._kept[channel][0])
            elif self.faults.take(FaultKind.OVERLOAD, channel=channel):
                self._record[channel] = np.full(n_samples, np.inf)

    def _depth(self, number: int, argument: bytes) -> None:  # noqa: ARG002 - the signature of every handler
        if self._state == "STOP":
            raise ScpiError(-221)
        depth = int(number_of(argument, 1, 24e6))
        if depth not in [1000 * thousands for thousands in _DEPTHS[max(1, sum(self._set.shown))]]:
            raise ScpiError(-222)
        self._set.depth = depth

    def _rate(self) -> float:
        return self._set.depth / (_DIVISIONS * self._set.time_scale)

    def _step(self) -> float:
        """Return the volts of one code."""
        return self._set.scales[self._set.source - 1] / _CODES_PER_DIVISION / (256 if self._set.wide else 1)

    def _zero(self) -> tuple[int, int]:
        """Return yorigin and yreference: the code of 0 V is their sum."""
        reference = _MIDDLE * (256 if self._set.wide else 1)
        return round(self._set.offsets[self._set.source - 1] / self._step()), reference

    def _preamble(self) -> str:
        origin, reference = self._zero()
        kind, mode = int(self._set.wide), 2 if self._set.raw else 0
        increment = 1 / self._rate()
        parts = f"{kind},{mode},{self._set.depth if self._record else 0},1,{increment:.9e},{self._began:.9e},0"
        return f"{parts},{self._step():.9e},{origin},{reference}"

    def _data(self) -> bytes:
        if not self._set.raw or self._state != "STOP" or not self._record:
            raise ScpiError(-230)
        volts = self._record[_CHANNELS[self._set.source - 1]]
        piece = volts[self._set.start - 1 : self._set.stop]
        highest = 65535 if self._set.wide else 255
        codes = np.clip(np.round(piece / self._step() + sum(self._zero())), 0, highest)
        content = codes.astype("<u2" if self._set.wide else "u1").tobytes()
        if len(content) > _PER_READ:
            raise ScpiError(-222)
        return b"#9" + f"{len(content):09d}".encode() + content


def _nothing() -> None:
    """Wait for nothing, so there is nothing to give up."""
