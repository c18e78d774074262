"""Source, Meter and TunableResistor: the three interfaces through which every bench is driven, and their errors.

An instrument is opened once and offers roles; a card that is source and meter on one clock has an object for each,
which share its connection. Nothing above asks for a class, only for abilities. This module opens no connection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

import numpy as np

from freqprop_lab.values import Array, Record, Timing
from freqprop_lab.waveform import Waveform

FREE_RUNNING = "(free-running)"  # how the clock of a meter ends that nothing starts


class InstrumentError(Exception):
    """Something went wrong at an instrument; the message says which one, which channel, and what to do.

    InstrumentError
    +- ConnectionLostError    it is not there, or no longer
    +- TimeLimitError         it did not answer in time; what it holds is unknown until it is opened anew
    +- ProtocolError          it answered something that makes no sense
    +- LimitError             more was asked than it, or the network, may get; nothing was sent
    +- OverloadError          what was measured lies beyond the range, or never arrived
    """


class ConnectionLostError(InstrumentError):
    """The instrument is not there, or no longer."""


class TimeLimitError(InstrumentError):
    """No answer in time: what the instrument holds is unknown until it is opened anew."""


class ProtocolError(InstrumentError):
    """An answer that makes no sense, or an error that the instrument itself reports."""


class LimitError(InstrumentError):
    """More was asked than may be given; nothing was sent."""


class OverloadError(InstrumentError):
    """What was measured lies beyond the range, or never arrived: no number would be true."""


class Ability(Enum):
    """What a role can do; the bench asks for these, never for a class."""

    LEVEL = "level"  # a constant at each channel
    WAVEFORM = "waveform"  # any periodic waveform on top of the level
    RELEASE = "release"  # a channel can be disconnected: a level of NaN
    SAMPLES = "samples"  # a meter that returns samples
    READ_BACK = "read-back"  # a tunable resistor that tells what it holds


@dataclass(frozen=True)
class Identity:
    """Who an instrument says it is; empty where it does not tell."""

    manufacturer: str
    model: str
    serial: str = ""
    firmware: str = ""


class Instrument(ABC):
    """What every role has.

    clock: roles with the same one start together and count the same seconds; it ends in `FREE_RUNNING` for a meter
    that nothing starts.
    """

    name: str
    clock: str
    abilities: frozenset[Ability]

    @abstractmethod
    def identify(self) -> Identity:
        """Ask the instrument who it is."""

    @abstractmethod
    def make_safe(self) -> None:
        """Bring the outputs to where they can harm nothing: in any state, quickly, also after close()."""

    @abstractmethod
    def close(self) -> None:
        """Make safe and give the connection back; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class SourceLimits:
    """What each channel may put out: lowest and highest (V or A, (channel,)), units `V` or `A`, largest sample rate."""

    lowest: Array
    highest: Array
    units: tuple[str, ...]
    largest_sample_rate: float = np.inf

    def check(self, name: str, levels: Array, amplitudes: Array, waveform: Waveform | None) -> None:
        """Raise LimitError where level and nudge together leave the range; released channels (level NaN) pass."""
        ends = np.zeros(2) if waveform is None else np.array([waveform.lowest, waveform.highest])
        nudge = np.zeros_like(levels) if waveform is None else amplitudes
        reached = levels[:, None] + nudge[:, None] * ends
        # Within, negated: an amplitude of NaN lies neither below nor above anything, and must not pass.
        within = (reached >= self.lowest[:, None]) & (reached <= self.highest[:, None])
        bad = ~within & ~np.isnan(levels)[:, None]
        if bad.any():
            channel = int(np.flatnonzero(bad.any(axis=1))[0])
            worst = reached[channel][np.abs(reached[channel]).argmax()]
            unit = self.units[channel]
            raise LimitError(
                f'source "{name}", channel {channel}: {worst:.4g} {unit} asked, the limits are '
                f"{self.lowest[channel]:.4g} and {self.highest[channel]:.4g} {unit}. Nothing was sent. "
                "Lower gamma or the inputs, or raise the limit if the parts allow it"
            )


class Source(Instrument):
    """Puts a level, and a periodic nudge on top, on each of its channels."""

    n_channels: int
    limits: SourceLimits

    @abstractmethod
    def load(
        self,
        levels: Array,
        amplitudes: Array,
        waveform: Waveform | None,
        frequency: float,
        n_periods: int,
        sample_rate: float,
    ) -> Timing:
        """Prepare levels + amplitudes f(t); nothing moves before start().

        levels, amplitudes: V or A as in `limits.units`, (channel,); a NaN level releases the channel. waveform: None
        leaves the levels alone. frequency: Hz. Returns what it can really do. Raises LimitError before anything is
        sent.
        """

    @abstractmethod
    def start(self) -> None:
        """Put out what was loaded. It ends at the levels, the nudge at zero."""

    @abstractmethod
    def stop(self) -> None:
        """End the nudge; the levels stay."""


@dataclass(frozen=True)
class MeterLimits:
    """What a meter can read: range (V, (channel,) each) and largest sample rate (Hz)."""

    lowest: Array
    highest: Array
    largest_sample_rate: float = np.inf


class Meter(Instrument):
    """Samples the voltages of its channels.

    shares_delay: where nothing starts the meter, all its channels still begin at one instant, skews apart; so a record
    has one unknown delay and not one a channel.
    """

    n_channels: int
    limits: MeterLimits
    shares_delay: bool = True

    @abstractmethod
    def arm(self, n_samples: int, sample_rate: float) -> Timing:
        """Get ready to take n_samples at sample_rate (Hz) from the source's start on; returns what it can really do.

        Raises LimitError for what it can't.
        """

    @abstractmethod
    def read(self) -> Record:
        """Return the record. Overload and missing samples are counted in it, never turned into numbers.

        Raises TimeLimitError where the record does not come, and ProtocolError when it was not armed.
        """


@dataclass(frozen=True)
class ResistorLimits:
    """What each tunable element can be set to: lowest and highest conductance (S, (element,))."""

    lowest: Array
    highest: Array


class TunableResistor(Instrument):
    """Sets conductances: digital potentiometers, memristors, transistors, or numbers.

    stays: whether `make_safe` leaves the elements at what they hold.
    """

    n_elements: int
    limits: ResistorLimits
    stays: bool = False

    @abstractmethod
    def program(self, conductances: Array) -> Array:
        """Set all elements at once (S, (element,)) and return what was really set, as far as the part can tell.

        The nearest value it has is taken; what lies outside `limits` is brought to the nearer end. Raises LimitError
        for NaN, which has no nearest value, before anything is sent.
        """

    @abstractmethod
    def read(self) -> Array:
        """Return the conductances that it holds, S, (element,); those of the last program() where it can't tell."""

    def leave(self) -> None:
        """Give the connection back and leave the elements as they are, as far as the part keeps them."""
        self.close()

    def put_back(self) -> None:
        """Bring the elements to what they held before they were opened, where opening moves them."""

    def neighbours(self, conductances: Array) -> tuple[Array, Array]:
        """Return the values next below and next above, S, (element,) each; equal where it is continuous."""
        inside = np.clip(conductances, self.limits.lowest, self.limits.highest)
        return inside, inside
