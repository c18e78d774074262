"""Rigol oscilloscopes that speak the `:WAV:` dialect: DS1000Z and MSO5000, four channels on one clock.

Commands: "MSO1000Z/DS1000Z Series Digital Oscilloscope Programming Guide" and "MSO5000 Series Programming Guide",
chapters :WAVeform, :TRIGger, :TIMebase, :ACQuire. Tested against the virtual oscilloscope of `simulated_bench.servers`
only. From the manuals, but not verified on hardware:

- `xorigin` of the preamble is the time of the first sample after the trigger (so that the trigger is found in the
  record whatever the time base's offset does with its sign);
- the memory depths and the number of divisions of each family, in `_FAMILIES`;
- 16-bit codes: both families have 8 bits; newer ones with 12 or 16 are said to send them left-aligned.

Its sample rates are depth / (divisions x time base), with time bases in steps of 1, 2 and 5. A rate that no whole
part of these is, is refused: the lock-in wants whole periods. Of a faster record every k-th sample is taken;
averaging k would weaken the nudge. Volts = (code - yorigin - yreference) x yincrement, all three as the scope says.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from drivers.scpi._link import ScpiLink
from drivers.scpi._section import ScpiSection, channel_numbers
from drivers.scpi._visa import OpenPipe
from freqprop_lab.bench import ChannelUse, InstrumentKind, Roles
from freqprop_lab.config import Seconds, Volts
from freqprop_lab.instruments import (
    FREE_RUNNING,
    Ability,
    ConnectionLostError,
    Identity,
    LimitError,
    Meter,
    MeterLimits,
    ProtocolError,
    TimeLimitError,
)
from freqprop_lab.values import Array, Record, Timing

_DRIVER = "rigol-scope"
_CHANNELS = ("chan1", "chan2", "chan3", "chan4")
_DIVISIONS_UP = 4  # from the middle of the screen to its edge
_STEPS = tuple(float(f"{digit}e{power}") for power in range(-9, 4) for digit in (1, 2, 5))
_POLL = 0.002  # s
_SAME = 1e-6


@dataclass(frozen=True)
class _Family:
    """What differs: time divisions, depths by number of channels in use, points that one read may ask for."""

    models: str
    divisions: int
    depths: dict[int, tuple[int, ...]]
    points_per_read: int
    fastest: float


_FAMILIES = (
    _Family(
        r"[DM]SO?1\d{2,3}Z",
        12,
        {
            1: (12_000, 120_000, 1_200_000, 12_000_000),
            2: (6_000, 60_000, 600_000, 6_000_000),
            4: (3_000, 30_000, 300_000, 3_000_000),
        },
        125_000,
        250e6,
    ),
    _Family(r"MSO5\d{3}", 10, dict.fromkeys((1, 2, 4), (1_000, 10_000, 100_000, 1_000_000)), 125_000, 1e9),
)


class RigolScopeSection(ScpiSection):
    """The oscilloscope's fields in a bench file.

    range: V; each channel reads at least -range..range. probe: what its probes divide by. bits: of the codes it sends.
    trigger: where the wire from the generator's trigger output goes; `none` lets it run free, and a record then starts
    whenever it is read. skew: s, known lateness of its samples, from a calibration. patience: how long it waits for a
    trigger beyond the record's own length.
    """

    range: Annotated[Volts, Field(gt=0, le=400)] = 4.0
    probe: Literal[1, 10] = 1
    bits: Literal[8, 16] = 8
    trigger: Literal["ext", "chan1", "chan2", "chan3", "chan4", "none"] = "ext"
    trigger_level: Volts = 1.0
    skew: Seconds = 0.0
    patience: Annotated[Seconds, Field(gt=0, le=600)] = 1.0


@dataclass(frozen=True)
class _Setting:
    """How a record is taken: time base (s a division), depth, and that every `stride`-th sample is wanted."""

    scale: float
    depth: int
    rate: float
    stride: int


@dataclass(frozen=True)
class _Preamble:
    """The ten numbers of :WAV:PRE?, those that matter."""

    points: int
    xincrement: float
    xorigin: float
    yincrement: float
    yorigin: float
    yreference: float


class RigolScope(Meter):
    """Channels of one oscilloscope, in the order in which the bench uses them; `numbers` are those on its front."""

    abilities = frozenset({Ability.SAMPLES})

    def __init__(
        self, name: str, settings: RigolScopeSection, numbers: Sequence[int], open_pipe: OpenPipe | None = None
    ) -> None:
        self.name, self.n_channels = name, len(numbers)
        self._free = settings.trigger == "none"
        self.clock = f"{name} {FREE_RUNNING}" if self._free else name
        self._numbers, self._settings = tuple(numbers), settings
        self._scale = next(step for step in _STEPS if step * _DIVISIONS_UP * (1 + _SAME) >= settings.range)
        self._armed: tuple[_Setting, Timing] | None = None
        self._set: tuple[_Setting, int] | None = None
        self._closed = False
        self._link = ScpiLink(
            f'meter "{name}"',
            _DRIVER,
            settings.resource,
            visa=settings.visa,
            deadline=settings.deadline,
            models="|".join(family.models for family in _FAMILIES),
            setup=self._set_up(),
            joined=False,  # the guides show one command a message
            error_query=":SYST:ERR?",
            open_pipe=open_pipe,
        )
        said = self.identify().model
        self._family = next((each for each in _FAMILIES if re.search(each.models, said)), _FAMILIES[0])
        in_use = self.n_channels + (settings.trigger.startswith("chan"))
        self._depths = self._family.depths[1 if in_use == 1 else 2 if in_use == 2 else 4]
        reach = np.full(self.n_channels, self._scale * _DIVISIONS_UP)
        self.limits = MeterLimits(-reach, reach, self._family.fastest)

    def identify(self) -> Identity:
        """Return what it said when it was opened; a reopened one must say the same."""
        return self._link.identity

    def arm(self, n_samples: int, sample_rate: float) -> Timing:
        """Choose time base and depth, and wait for the trigger; a free-running one starts when it is read."""
        if self._closed:
            raise self._link.refused(ConnectionLostError, "it is closed; open the bench again")
        self._armed = None
        setting = self._choose(n_samples, sample_rate)
        self._link.renew_if_doubtful()
        if self._set != (setting, self._link.generation):
            self._set = None
            self._link.command(
                ":RUN",  # the depth can be set while it runs only
                f":ACQ:MDEP {setting.depth}",
                f":TIM:MAIN:SCAL {setting.scale:.9g}",
                f":TIM:MAIN:OFFS {setting.scale * self._family.divisions / 2:.9g}",  # the trigger at the left edge
                ":STOP",
            )
            rate = self._link.number(":ACQ:SRAT?")
            if abs(rate - setting.rate) > _SAME * setting.rate:
                message = (
                    f"it samples at {rate:g} Hz, where {setting.rate:g} Hz were expected. Choose another frequency"
                )
                raise self._link.refused(ProtocolError, message)
            self._set = (setting, self._link.generation)
        if not self._free:
            self._link.command(":SING")
        timing = Timing(setting.rate / setting.stride, n_samples)
        self._armed = (setting, timing)
        return timing

    def read(self) -> Record:
        """Wait for the trigger, then fetch the channels one after the other; they were sampled together."""
        if self._armed is None:
            raise self._link.refused(ProtocolError, "it was read before it was armed; call arm() first")
        (setting, timing), self._armed = self._armed, None
        if self._free:
            self._link.command(":SING", ":TFOR")
        self._wait(setting)
        volts = np.empty((self.n_channels, timing.n_samples))
        clipped, skews = np.zeros(self.n_channels), np.zeros(self.n_channels)
        for channel, number in enumerate(self._numbers):
            about = _CHANNELS[number - 1]
            preamble = self._preamble(number, setting, about)
            first = 0 if self._free else max(0, int(np.ceil(-preamble.xorigin / preamble.xincrement - _SAME)))
            last = first + (timing.n_samples - 1) * setting.stride
            if last >= preamble.points:
                message = f"{preamble.points} points from {preamble.xorigin:g} s on do not hold the record"
                raise self._link.refused(ProtocolError, f"{message}. Check how the trigger is wired", about)
            codes = self._codes(first, last, about)[:: setting.stride]
            top = 255 if self._settings.bits == 8 else 0xFFF0  # 12 bits, left-aligned, end at FFF0
            clipped[channel] = np.count_nonzero((codes == 0) | (codes >= top))
            volts[channel] = (codes - preamble.yorigin - preamble.yreference) * preamble.yincrement
            late = 0.0 if self._free else preamble.xorigin + first * preamble.xincrement
            skews[channel] = self._settings.skew + (late if abs(late) > _SAME * preamble.xincrement else 0.0)
        return Record(volts, timing.sample_rate, skews, clipped, np.zeros(self.n_channels))

    def make_safe(self) -> None:
        """Stop waiting for a trigger; it drives nothing."""
        self._armed = None
        self._link.make_safe(":STOP")

    def close(self) -> None:
        """Make safe and give the connection back, also when the first fails."""
        if not self._closed:
            self._closed = True
            try:
                self.make_safe()
            finally:
                self._link.close()

    def _set_up(self) -> list[str]:
        settings = self._settings
        commands = ["*RST", "*CLS", ":STOP"]
        used = {f"chan{number}" for number in self._numbers} | {settings.trigger}
        for number, channel in enumerate(_CHANNELS, 1):
            commands.append(f":CHAN{number}:DISP {'ON' if channel in used else 'OFF'}")
        for number in self._numbers:
            at = f":CHAN{number}"
            commands += [f"{at}:COUP DC", f"{at}:PROB {settings.probe}", f"{at}:SCAL {self._scale:g}", f"{at}:OFFS 0"]
        commands += [":WAV:MODE RAW", f":WAV:FORM {'BYTE' if settings.bits == 8 else 'WORD'}"]
        if not self._free:
            source = settings.trigger.upper()
            commands += [":TRIG:MODE EDGE", f":TRIG:EDGE:SOUR {source}", ":TRIG:EDGE:SLOP POS"]
            commands.append(f":TRIG:EDGE:LEV {settings.trigger_level:g}")
        return commands

    def _choose(self, n_samples: int, sample_rate: float) -> _Setting:
        """Return the smallest, then the shortest record that holds the samples at a multiple of the rate."""
        if n_samples < 1 or not 0 < sample_rate <= self.limits.largest_sample_rate:
            message = (
                f"{n_samples} samples at {sample_rate:g} Hz asked; it takes at least 1, at up to "
                f"{self.limits.largest_sample_rate:g} Hz. Nothing was sent. Change sampling in the bench file"
            )
            raise self._link.refused(LimitError, message)
        for depth in self._depths:
            for scale in _STEPS:  # the fastest that holds the samples, so that no record lasts longer than it must
                rate = depth / (self._family.divisions * scale)
                stride = round(rate / sample_rate)
                fits = stride >= 1 and abs(rate - stride * sample_rate) <= _SAME * rate
                if fits and rate <= self.limits.largest_sample_rate and (n_samples - 1) * stride + 2 <= depth:
                    return _Setting(scale, depth, rate, stride)
        message = (
            f"{n_samples} samples at {sample_rate:g} Hz asked; its rates are whole parts of 1, 2 and 5 times a power "
            f"of ten times {self._depths[0] / self._family.divisions:g} Hz, its memory {self._depths[-1]} points. "
            "Nothing was sent. Change frequency, periods or samples_per_period in the bench file"
        )
        raise self._link.refused(LimitError, message)

    def _wait(self, setting: _Setting) -> None:
        """Wait until the record is there; the deadline covers what it lasts."""
        ends = time.monotonic() + setting.depth / setting.rate + self._settings.patience
        while self._link.query(":TRIG:STAT?").upper() != "STOP":
            if time.monotonic() > ends:
                self._link.command(":STOP")
                message = (
                    f"no trigger came within {self._settings.patience:g} s. Check the wire from the generator's "
                    f"trigger output to {self._settings.trigger}, and that the generator was started"
                )
                raise self._link.refused(TimeLimitError, message)
            time.sleep(_POLL)

    def _preamble(self, number: int, setting: _Setting, about: str) -> _Preamble:
        """Ask how the codes of a channel become volts, and hold it against what was set."""
        self._link.command(f":WAV:SOUR CHAN{number}", about=about)
        answer = self._link.query(":WAV:PRE?", about)
        try:
            numbers = [float(part) for part in answer.split(",")]
            _, _, points, _, xincrement, xorigin, _, yincrement, yorigin, yreference = numbers
        except ValueError:
            message = f"it answered {answer[:80]!r} to :WAV:PRE?; ten numbers were expected. Restart it"
            raise self._link.refused(ProtocolError, message, about) from None
        found = _Preamble(int(points), xincrement, xorigin, yincrement, yorigin, yreference)
        reach = yincrement * (256 if self._settings.bits == 8 else 65536) / 2
        sound = abs(xincrement * setting.rate - 1) < _SAME and 0.5 < reach / (self._scale * _DIVISIONS_UP) < 2
        if not (sound and np.isfinite(numbers).all()):
            message = f"its preamble {answer[:80]!r} does not fit {setting.rate:g} Hz and {self._scale:g} V a division"
            raise self._link.refused(ProtocolError, f"{message}. Restart it, and do not touch its knobs", about)
        return found

    def _codes(self, first: int, last: int, about: str) -> Array:
        """Fetch the codes first..last of the chosen channel, in pieces as large as it gives."""
        kind = np.dtype("u1" if self._settings.bits == 8 else "<u2")
        pieces = []
        for start, stop in _pieces(first, last, self._family.points_per_read):
            self._link.command(f":WAV:STAR {start + 1}", f":WAV:STOP {stop + 1}", about=about)
            content = self._link.read_block(":WAV:DATA?", about)
            if len(content) != (stop - start + 1) * kind.itemsize:
                message = f"it sent {len(content)} bytes for {stop - start + 1} points. Check the field bits"
                raise self._link.refused(ProtocolError, message, about)
            pieces.append(np.frombuffer(content, kind))
        return np.concatenate(pieces).astype(np.float64)


def _pieces(first: int, last: int, largest: int) -> Iterator[tuple[int, int]]:
    for start in range(first, last + 1, largest):
        yield start, min(start + largest - 1, last)


class RigolScopeKind(InstrumentKind):
    """The entry point `rigol-scope`."""

    model = RigolScopeSection
    library, extra = "pyvisa", "visa"

    def all_channels(self, settings: Any) -> ChannelUse:
        """Return one channel that the trigger wire leaves free: an oscilloscope puts nothing out."""
        return ChannelUse(reads=tuple(each for each in _CHANNELS if each != settings.trigger)[:1])

    def open(self, name: str, settings: Any, use: ChannelUse) -> Roles:
        """Open it. Raises ValueError for a channel that it has not, or that the trigger wire occupies."""
        numbers = channel_numbers(use.reads, _CHANNELS)
        if settings.trigger in use.reads:
            raise ValueError(f"{settings.trigger} can't be read: the trigger wire is on it (field trigger)")
        return Roles(meter=RigolScope(name, settings, numbers)) if numbers else Roles()


RIGOL_SCOPE = RigolScopeKind()
