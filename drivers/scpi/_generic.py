"""Any SCPI instrument, described by a file of command templates instead of a driver: docs/how-to/scpi.md has one.

What a file can't say, this driver can't do: a source has one waveform, a meter takes its channels one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drivers.scpi._link import ScpiLink
from drivers.scpi._section import ScpiSection, channel_numbers
from drivers.scpi._template import ScpiTemplate, filled, filled_for, template_or_value_error
from drivers.scpi._visa import OpenPipe
from freqprop_lab.bench import ChannelUse, InstrumentKind, Roles
from freqprop_lab.instruments import (
    Ability,
    ConnectionLostError,
    Identity,
    LimitError,
    Meter,
    MeterLimits,
    ProtocolError,
    Source,
    SourceLimits,
)
from freqprop_lab.values import Array, Record, Timing
from freqprop_lab.waveform import WAVEFORMS, Waveform

_DRIVER = "scpi-generic"
_TYPES = {"block-int16": "i2", "block-float32": "f4"}


class ScpiGenericSection(ScpiSection):
    """The instrument's fields in a bench file. template: a file, beside the bench file."""

    template: str


class _Instrument:
    """What both roles do: link, channels, safety."""

    def __init__(
        self,
        role: str,
        name: str,
        settings: ScpiGenericSection,
        template: ScpiTemplate,
        used: Sequence[str],
        open_pipe: OpenPipe | None,
    ) -> None:
        self.template, self.used, self.closed = template, tuple(used), False
        self.channels = tuple(template.channels[each] for each in used)
        self._safe = self.for_channels(template.safe)
        self.link = ScpiLink(
            f'{role} "{name}"',
            _DRIVER,
            settings.resource,
            visa=settings.visa,
            deadline=settings.deadline,
            models=re.escape(template.expect),
            setup=[*self._safe, *self.for_channels(template.setup)],
            joined=False,
            identity_query=template.identity,
            error_query=template.error,
            open_pipe=open_pipe,
        )

    def for_channels(self, templates: Sequence[str], **values: Array | float) -> list[str]:
        """Fill templates with each channel's own values; arrays are (channel,)."""
        each = [
            {key: float(value[place]) if isinstance(value, np.ndarray) else value for key, value in values.items()}
            for place in range(len(self.channels))
        ]
        return filled_for(templates, self.channels, each)

    def refuse_closed(self) -> None:
        if self.closed:
            raise self.link.refused(ConnectionLostError, "it is closed; open the bench again")

    def make_safe(self) -> None:
        self.link.make_safe(*self._safe, confirm=self.template.confirm)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            try:
                self.make_safe()
            finally:
                self.link.close()


class GenericSource(Source):
    """A source in templates. Channels are in the order in which the bench uses them."""

    def __init__(
        self,
        name: str,
        settings: ScpiGenericSection,
        template: ScpiTemplate,
        used: Sequence[str],
        open_pipe: OpenPipe | None = None,
    ) -> None:
        self.name = self.clock = name
        self.n_channels = len(used)
        nudges = {Ability.WAVEFORM} if template.nudge else set()
        self.abilities = frozenset({Ability.LEVEL} | nudges)
        limits = template.limits
        lowest, highest = np.full(self.n_channels, limits.lowest), np.full(self.n_channels, limits.highest)
        self.limits = SourceLimits(lowest, highest, ("V",) * self.n_channels, limits.sample_rate)
        self._start: list[str] | None = None
        self._stop: list[str] | None = None
        self._loaded_in = 0
        self._inner = _Instrument("source", name, settings, template, used, open_pipe)

    def identify(self) -> Identity:
        """Return what it said when it was opened."""
        return self._inner.link.identity

    def load(
        self,
        levels: Array,
        amplitudes: Array,
        waveform: Waveform | None,
        frequency: float,
        n_periods: int,
        sample_rate: float,
    ) -> Timing:
        """Check, and keep the commands for start(); nothing is sent yet."""
        inner, template = self._inner, self._inner.template
        inner.refuse_closed()
        self.limits.check(self.name, levels, amplitudes, waveform)
        if np.isnan(levels).any():
            about = inner.used[int(np.isnan(levels).argmax())]
            raise inner.link.refused(LimitError, "it can't release a channel. Nothing was sent", about)
        if not amplitudes.any():
            waveform = None  # a supply that only gives levels stands by in a nudged record
        if waveform is not None and (not template.nudge or waveform != WAVEFORMS[template.waveform]):
            able = f"{template.waveform} only" if template.nudge else "levels only; its template has no nudge"
            raise inner.link.refused(LimitError, f"{waveform.name} asked, it can do {able}. Nothing was sent")
        if not 0 < sample_rate <= self.limits.largest_sample_rate or not 0 < frequency < np.inf or n_periods < 1:
            message = (
                f"{n_periods} periods of {frequency:g} Hz at {sample_rate:g} samples/s asked; it takes up to "
                f"{self.limits.largest_sample_rate:g} samples/s. Nothing was sent. Change sampling in the bench file"
            )
            raise inner.link.refused(LimitError, message)
        level = inner.for_channels(template.level, level=levels)
        values: dict[str, Array | float] = {
            "level": levels,
            "amplitude": amplitudes,
            "frequency": frequency,
            "periods": n_periods,
        }
        nudge = [] if waveform is None else inner.for_channels(template.nudge, **values)
        self._start = [*level, *nudge, *template.trigger]
        self._stop = [*inner.for_channels(template.stop), *level]
        self._loaded_in = inner.link.generation
        return Timing(sample_rate, round(n_periods * sample_rate / frequency))

    def start(self) -> None:
        """Send levels, nudge and trigger."""
        link = self._inner.link
        if self._start is None:
            raise link.refused(ProtocolError, "it was started before anything was loaded; call load() first")
        link.command(*self._start)
        self._loaded_in = link.generation

    def stop(self) -> None:
        """End the nudge and send the levels again; nothing where the connection was renewed, which made it safe."""
        if self._start is None or self._stop is None or self._inner.closed:
            return
        self._inner.link.renew_if_doubtful()
        if self._inner.link.generation == self._loaded_in:
            self._inner.link.command(*self._stop)

    def make_safe(self) -> None:
        """Send `safe`, and forget what was loaded."""
        self._start = self._stop = None
        self._inner.make_safe()

    def close(self) -> None:
        """Make safe and give the connection back."""
        self._start = self._stop = None
        self._inner.close()


class GenericMeter(Meter):
    """A meter in templates. Its samples are those that `data` returns for each channel."""

    abilities = frozenset({Ability.SAMPLES})

    def __init__(
        self,
        name: str,
        settings: ScpiGenericSection,
        template: ScpiTemplate,
        used: Sequence[str],
        open_pipe: OpenPipe | None = None,
    ) -> None:
        self.name = self.clock = name
        self.n_channels = len(used)
        limits = template.limits
        lowest, highest = np.full(self.n_channels, limits.lowest), np.full(self.n_channels, limits.highest)
        self.limits = MeterLimits(lowest, highest, limits.sample_rate)
        self._armed: Timing | None = None
        self._inner = _Instrument("meter", name, settings, template, used, open_pipe)

    def identify(self) -> Identity:
        """Return what it said when it was opened."""
        return self._inner.link.identity

    def arm(self, n_samples: int, sample_rate: float) -> Timing:
        """Send `arm`, and ask for the actual rate where the template can."""
        inner, template = self._inner, self._inner.template
        inner.refuse_closed()
        self._armed = None
        if n_samples < 1 or not 0 < sample_rate <= self.limits.largest_sample_rate:
            message = (
                f"{n_samples} samples at {sample_rate:g} Hz asked; it takes at least 1, at up to "
                f"{self.limits.largest_sample_rate:g} Hz. Nothing was sent. Change sampling in the bench file"
            )
            raise inner.link.refused(LimitError, message)
        inner.link.command(*inner.for_channels(template.arm, samples=n_samples, sample_rate=float(sample_rate)))
        rate = float(sample_rate) if template.rate is None else inner.link.number(template.rate)
        if not 0 < rate <= self.limits.largest_sample_rate:
            message = f"it says that it samples at {rate:g} Hz. Check the field rate of the template"
            raise inner.link.refused(ProtocolError, message)
        self._armed = Timing(rate, n_samples)
        return self._armed

    def read(self) -> Record:
        """Send `read`, then fetch each channel; a channel that is short of samples is an error."""
        inner, template = self._inner, self._inner.template
        if self._armed is None:
            raise inner.link.refused(ProtocolError, "it was read before it was armed; call arm() first")
        timing, self._armed = self._armed, None
        if template.read:
            inner.link.command(*template.read)
        volts = np.stack([self._channel(place, timing) for place in range(self.n_channels)])
        clipped = np.count_nonzero(
            (volts <= self.limits.lowest[:, None]) | (volts >= self.limits.highest[:, None]), axis=1
        )
        zeros = np.zeros(self.n_channels)
        return Record(volts, timing.sample_rate, zeros, clipped.astype(np.float64), zeros.copy())

    def make_safe(self) -> None:
        """Send `safe`, and forget that it was armed."""
        self._armed = None
        self._inner.make_safe()

    def close(self) -> None:
        """Make safe and give the connection back."""
        self._armed = None
        self._inner.close()

    def _channel(self, place: int, timing: Timing) -> Array:
        inner, template, about = self._inner, self._inner.template, self._inner.used[place]
        values: dict[str, float | int | str] = {
            "channel": inner.channels[place],
            "samples": timing.n_samples,
            "sample_rate": timing.sample_rate,
        }
        question = filled(template.data or "", values)
        try:
            numbers = self._numbers(question, about)
        except ValueError as error:
            raise inner.link.refused(ProtocolError, f"{error} in answer to {question}. Check parse", about) from None
        if len(numbers) != timing.n_samples or not np.isfinite(numbers).all():
            message = f"{len(numbers)} numbers, not all of them finite, where {timing.n_samples} samples were armed"
            raise inner.link.refused(ProtocolError, f"{message}. Check data and parse in the template", about)
        return np.asarray(template.scale * numbers + template.offset)

    def _numbers(self, question: str, about: str) -> Array:
        template, link = self._inner.template, self._inner.link
        if template.parse == "ascii":
            return np.array([float(part) for part in link.query(question, about).split(",")])
        kind = np.dtype(_TYPES[template.parse]).newbyteorder(">" if template.byte_order == "big" else "<")
        return np.frombuffer(link.read_block(question, about), kind).astype(np.float64)


class ScpiGenericKind(InstrumentKind):
    """The entry point `scpi-generic`."""

    model = ScpiGenericSection
    files = ("template",)
    library, extra = "pyvisa", "visa"

    def all_channels(self, settings: Any) -> ChannelUse:
        """Return every channel of the template."""
        template = template_or_value_error(Path(settings.template))
        channels = tuple(template.channels)
        return ChannelUse(drives=channels) if template.role == "source" else ChannelUse(reads=channels)

    def open(self, name: str, settings: Any, use: ChannelUse) -> Roles:
        """Read the template, then open. Raises ValueError for what is wrong with the template or the channels."""
        template = template_or_value_error(Path(settings.template))
        used = use.drives if template.role == "source" else use.reads
        channel_numbers(used, tuple(template.channels))
        if not used:
            return Roles()
        if template.role == "source":
            return Roles(source=GenericSource(name, settings, template, used))
        return Roles(meter=GenericMeter(name, settings, template, used))


SCPI_GENERIC = ScpiGenericKind()
