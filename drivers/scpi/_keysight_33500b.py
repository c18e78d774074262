"""Keysight (Agilent) 33500 and 33600 arbitrary waveform generators, with one or two channels.

Commands: "Keysight Trueform Series Operating and Service Guide" (33500B/33600A), chapter "SCPI programming reference":
SOURce:DATA:ARBitrary, SOURce:FUNCtion:ARBitrary, SOURce:BURSt, TRIGger, OUTPut. Tested against the virtual generator
of `simulated_bench.servers` only. From the manual, but not verified on hardware:

- after its last cycle a burst rests at the first point of the waveform (here: at the level);
- *TRG starts the bursts of both channels together, and sends a pulse to the trigger output (OUTPut:TRIGger);
- DATA:ARBitrary to volatile memory leaves what is being played alone;
- the largest sample rate of each model and filter: the field `fastest` holds the lowest that we know of.

One waveform period is one arbitrary waveform. A drive without nudge plays one of zeros, so that the trigger wire
fires for it as well. Amplitudes are set for an open circuit (OUTPut:LOAD INFinity); a stiff 50 Ohm load halves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from drivers.scpi._link import ScpiLink
from drivers.scpi._section import ScpiSection, channel_numbers
from drivers.scpi._visa import OpenPipe
from freqprop_lab.bench import ChannelUse, InstrumentKind, Roles
from freqprop_lab.config import Hertz, Volts
from freqprop_lab.instruments import (
    Ability,
    ConnectionLostError,
    Identity,
    LimitError,
    ProtocolError,
    Source,
    SourceLimits,
)
from freqprop_lab.values import Array, Timing
from freqprop_lab.waveform import Waveform

_DRIVER = "keysight-33500b"
_CHANNELS = ("ch1", "ch2")
_MODELS = r"33[56][1-2][1-2][AB]"  # the others of the family have no arbitrary waveforms
_LARGEST = 10.0  # V, into an open circuit, offset and nudge together
_SMALLEST_SPAN = 2e-3  # V peak to peak into an open circuit; half of it is lost to every level
_LARGEST_CODE = 32767
_FEWEST, _MOST = 8, 65_536  # points; more would take longer to send than to play
_WANTED = 1000  # points a period: |sin| in steps of a thousandth of a period
_MOST_CYCLES = 100_000_000
_AT_REST = 1e-9  # of the amplitude


class Keysight33500BSection(ScpiSection):
    """The generator's fields in a bench file.

    limit: V; the sources never leave -limit..limit. fastest: Hz, of its arbitrary waveforms. filter: its own smoothing
    of them. endless: the nudge goes on until the bench stops it, which a meter without a trigger wire needs; otherwise
    it ends by itself.
    """

    limit: Annotated[Volts, Field(gt=0, le=_LARGEST - _SMALLEST_SPAN / 2)] = _LARGEST - _SMALLEST_SPAN / 2
    fastest: Annotated[Hertz, Field(gt=0)] = 62.5e6
    filter: Annotated[str, Field(pattern="^(off|step|normal)$")] = "step"
    endless: bool = False


class Keysight33500B(Source):
    """Channels of one generator, in the order in which the bench uses them; `numbers` are those on its front."""

    abilities = frozenset({Ability.LEVEL, Ability.WAVEFORM})

    def __init__(
        self, name: str, settings: Keysight33500BSection, numbers: Sequence[int], open_pipe: OpenPipe | None = None
    ) -> None:
        self.name = self.clock = name
        self.n_channels = len(numbers)
        highest = np.full(self.n_channels, settings.limit)
        self.limits = SourceLimits(-highest, highest, ("V",) * self.n_channels, settings.fastest)
        self._numbers, self._settings = tuple(numbers), settings
        self._start: list[str] | None = None  # what start() sends, of the last load()
        self._rate = 0.0
        self._stop: list[str] | None = None
        self._loaded_in = 0  # the link's generation that has the waveforms
        self._running = self._closed = False
        self._link = ScpiLink(
            f'source "{name}"',
            _DRIVER,
            settings.resource,
            visa=settings.visa,
            deadline=settings.deadline,
            models=_MODELS,
            setup=self._set_up(),
            open_pipe=open_pipe,
        )
        if max(numbers) > self._n_outputs():
            self._link.close()
            message = (
                f"the {self.identify().model} has one channel. Nothing was sent. Wire to ch1, or use another model"
            )
            raise self._link.refused(LimitError, message, "ch2")

    def identify(self) -> Identity:
        """Return what it said when it was opened; a reopened one must say the same."""
        return self._link.identity

    def load(
        self,
        levels: Array,
        amplitudes: Array,
        waveform: Waveform | None,
        frequency: float,
        n_periods: int,
        sample_rate: float,
    ) -> Timing:
        """Send one period for each channel; the levels stay as they are, and a nudge that still runs ends.

        It plays a whole multiple of the points that sample_rate asks for, so that a meter with that rate sees f at its
        own instants. Raises LimitError before anything is sent.
        """
        if self._closed:
            raise self._link.refused(ConnectionLostError, "it is closed; open the bench again")
        self.limits.check(self.name, levels, amplitudes, waveform)
        nudge = np.zeros(self.n_channels) if waveform is None else np.abs(amplitudes)
        self._refuse(levels, nudge, waveform, frequency, n_periods, sample_rate)
        self.stop()  # clearing the memory of a channel changes what it plays, if it does
        self._start = self._stop = None
        n_points = self._points(sample_rate, frequency)
        rate = n_points * frequency
        start, stop = [], []
        for channel, number in enumerate(self._numbers):
            shape = np.zeros(n_points)
            if waveform is not None and nudge[channel] > 0:
                # Below the smallest span the codes shrink instead.
                share = amplitudes[channel] / max(nudge[channel], _SMALLEST_SPAN / 2)
                shape = share * waveform.at(np.arange(n_points) / n_points)
            codes = np.round(_LARGEST_CODE * shape).astype(">i2")
            about = self._about(channel)
            self._link.command(f"SOUR{number}:DATA:VOL:CLE", about=about)
            self._link.write_block(f":SOUR{number}:DATA:ARB:DAC nudge,", codes.tobytes(), about)
            span = max(2 * nudge[channel], _SMALLEST_SPAN)
            start += self._channel_start(number, rate, span, levels[channel], n_periods)
            stop += [f"SOUR{number}:BURS:STAT OFF", f"SOUR{number}:FUNC DC"]
            stop += [f"SOUR{number}:VOLT:OFFS {levels[channel]:.9g}"]
        self._start, self._stop, self._rate = start, stop, rate
        self._loaded_in = self._link.generation
        return Timing(rate, n_points * n_periods)

    def start(self) -> None:
        """Go to the levels, then start the nudge and the trigger output. After n periods it rests at the levels."""
        if self._start is None or self._stop is None:
            raise self._link.refused(ProtocolError, "it was started before anything was loaded; call load() first")
        started, self._start = self._start, None
        self._refuse_if_renewed()
        self._running = True
        self._link.command(*started)
        for channel, number in enumerate(self._numbers):
            rate = self._link.number(f"SOUR{number}:FUNC:ARB:SRAT?", self._about(channel))
            if abs(rate - self._rate) > 1e-6 * self._rate:
                message = f"it plays at {rate:.9g} Hz, where {self._rate:.9g} Hz were set. Lower the field fastest"
                raise self._link.refused(ProtocolError, message, self._about(channel))
        self._link.command("*TRG")
        self._start = started

    def stop(self) -> None:
        """End the nudge and hold the levels as plain DC."""
        if self._stop is None or not self._running or self._closed:
            return
        self._link.renew_if_doubtful()
        if self._link.generation == self._loaded_in:  # otherwise it was set up anew, outputs off
            self._link.command("ABOR", *self._stop)
        self._running = False

    def make_safe(self) -> None:
        """Switch the outputs off, and forget what was loaded."""
        self._start = self._stop = None
        self._running = False
        self._link.make_safe("ABOR", *(f"OUTP{number} OFF" for number in self._numbers))

    def close(self) -> None:
        """Make safe and give the connection back, also when the first fails."""
        if not self._closed:
            self._closed = True
            try:
                self.make_safe()
            finally:
                self._link.close()

    def _set_up(self) -> list[str]:
        """Return what makes the state known after every opening: outputs off first, so that nothing jumps."""
        commands = [f"OUTP{number} OFF" for number in self._numbers] + ["*RST", "*CLS", "FORM:BORD NORM"]
        for number in self._numbers:
            commands += [f"OUTP{number}:LOAD INF", f"SOUR{number}:VOLT:UNIT VPP", f"TRIG{number}:SOUR BUS"]
        return [*commands, "OUTP:TRIG:SLOP POS", f"OUTP:TRIG:SOUR CH{self._numbers[0]}", "OUTP:TRIG ON"]

    def _channel_start(self, number: int, rate: float, span: float, level: float, n_periods: int) -> list[str]:
        source = f"SOUR{number}"
        return [
            f"{source}:BURS:STAT OFF",
            f"{source}:FUNC:ARB nudge",
            f"{source}:FUNC:ARB:FILT {self._settings.filter.upper()}",
            f"{source}:FUNC:ARB:SRAT {rate:.12g}",
            f"{source}:FUNC ARB",
            f"{source}:VOLT {_SMALLEST_SPAN:g}",  # first small, so that no pair of span and offset exceeds 10 V
            f"{source}:VOLT:OFFS {level:.9g}",
            f"{source}:VOLT {span:.9g}",
            f"{source}:BURS:MODE TRIG",
            f"{source}:BURS:NCYC {'INF' if self._settings.endless else n_periods}",
            f"{source}:BURS:STAT ON",
            f"OUTP{number} ON",
        ]

    def _points(self, sample_rate: float, frequency: float) -> int:
        """Return the points of a period: a multiple of the samples asked for, near a thousand, not too fast."""
        per_period = max(1, round(sample_rate / frequency))
        fastest = int(min(_MOST, self.limits.largest_sample_rate / frequency * (1 + 1e-9)))
        multiple = max(1, min(round(_WANTED / per_period), fastest // per_period))
        return per_period * multiple

    def _refuse(
        self,
        levels: Array,
        nudge: Array,
        waveform: Waveform | None,
        frequency: float,
        n_periods: int,
        sample_rate: float,
    ) -> None:
        """Raise LimitError for what it can't do, beyond the limits of each value."""
        if np.isnan(levels).any():
            about = self._about(int(np.isnan(levels).argmax()))
            raise self._link.refused(LimitError, "it can't release a channel. Nothing was sent", about)
        beyond = np.abs(levels) + nudge > _LARGEST
        if beyond.any():
            channel = int(beyond.argmax())
            message = (
                f"{levels[channel]:g} V with a nudge of {nudge[channel]:g} V asked; together they may reach "
                f"{_LARGEST:g} V to either side. Nothing was sent. Lower gamma or the inputs"
            )
            raise self._link.refused(LimitError, message, self._about(channel))
        if not (0 < frequency < np.inf and 0 < sample_rate <= self.limits.largest_sample_rate):
            message = (
                f"{frequency:g} Hz at {sample_rate:g} samples/s asked; it plays up to "
                f"{self.limits.largest_sample_rate:g} samples/s. Nothing was sent. Lower the sampling in the bench file"
            )
            raise self._link.refused(LimitError, message)
        points = self._points(sample_rate, frequency)
        if not (_FEWEST <= points <= _MOST and 1 <= n_periods <= _MOST_CYCLES):
            message = (
                f"{n_periods} periods of {points} points asked; it plays 1 to {_MOST_CYCLES} periods of {_FEWEST} to "
                f"{_MOST} points. Nothing was sent. Change sampling in the bench file"
            )
            raise self._link.refused(LimitError, message)
        if waveform is not None and abs(waveform.at(np.zeros(1))[0]) > _AT_REST:
            message = f"waveform {waveform.name} does not begin at zero, where a burst ends. Nothing was sent"
            raise self._link.refused(LimitError, message)

    def _refuse_if_renewed(self) -> None:
        """Raise ProtocolError where the connection was lost since load(): the instrument has forgotten it."""
        self._link.renew_if_doubtful()
        if self._link.generation != self._loaded_in:
            self._stop = None
            message = "the connection was renewed since load(), so that is gone; the outputs are off. Load again"
            raise self._link.refused(ProtocolError, message)

    def _n_outputs(self) -> int:
        return 2 if self.identify().model[3:5] in {"12", "22"} else 1

    def _about(self, channel: int) -> str:
        return _CHANNELS[self._numbers[channel] - 1]


class Keysight33500BKind(InstrumentKind):
    """The entry point `keysight-33500b`."""

    model = Keysight33500BSection
    library, extra = "pyvisa", "visa"

    def all_channels(self, settings: Any) -> ChannelUse:  # noqa: ARG002 - the same for every one
        """Return the channel that every model has: opening resets the instrument, which switches both off."""
        return ChannelUse(drives=_CHANNELS[:1])

    def open(self, name: str, settings: Any, use: ChannelUse) -> Roles:
        """Open it; its outputs are off until the first start()."""
        numbers = channel_numbers(use.drives, _CHANNELS)
        return Roles(source=Keysight33500B(name, settings, numbers)) if numbers else Roles()


KEYSIGHT_33500B = Keysight33500BKind()
