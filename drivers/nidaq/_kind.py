"""The driver `nidaqmx` of a bench file: its fields, and how the card is opened."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from drivers.nidaq._meter import InputOptions, NidaqMeter
from drivers.nidaq._session import CardFacts, Session, split_resource
from drivers.nidaq._source import NidaqSource
from freqprop_lab.bench import ChannelUse, Found, InstrumentKind, Roles
from freqprop_lab.config import Seconds, Section, Volts
from freqprop_lab.instruments import InstrumentError
from freqprop_lab.names import nearest, shown

_LOOKING = 2.0  # s
Terminal = Annotated[str, Field(pattern=r"^/[\w-]+(/[\w-]+)+$")]


class NidaqmxSection(Section):
    """The fields of an NI-DAQmx card.

    resource: `Dev1`, or `grpc://host:port/Dev1`. terminal: how the inputs are wired. range: of the inputs, V.
    ao_limit: what an output may reach, V; all that it has if left out. clock: `own` starts the inputs' clock with the
    outputs, `ao` uses the outputs' clock. delay: s from an output's sample to the inputs' sample, for the voltages to
    settle; with clock own only. trigger: terminal that starts the inputs where the card drives nothing. simultaneous:
    whether the inputs are sampled at once; asked of the card if left out. also: further cards with inputs,
    `Dev2.ai0` in the wiring. clock_terminal: where they get the clock, /Dev1/ai/SampleClock if left out. timeout: s,
    beyond a record's length.
    """

    driver: str
    resource: str
    terminal: Literal["RSE", "NRSE", "differential", "pseudodifferential"] = "RSE"
    range: Annotated[Volts, Field(gt=0)] = 10.0
    ao_limit: Annotated[Volts, Field(gt=0)] | None = None
    clock: Literal["own", "ao"] = "own"
    delay: Annotated[Seconds, Field(ge=0)] = 0.0
    trigger: Terminal | None = None
    simultaneous: bool | None = None
    also: list[str] = []
    clock_terminal: Terminal | None = None
    timeout: Annotated[Seconds, Field(gt=0, le=600)] = 2.0

    @field_validator("resource")
    @classmethod
    def _is_a_card(cls, value: str) -> str:
        split_resource(value)
        return value


class NidaqmxKind(InstrumentKind):
    """The entry point `nidaqmx`."""

    model = NidaqmxSection
    library, extra = "nidaqmx", "nidaq"

    def open(self, name: str, settings: Any, use: ChannelUse) -> Roles:
        """Open the card once; where something fails, what was opened is closed again."""
        _refuse_contradictions(settings, use)
        with contextlib.ExitStack() as stack:
            session = Session(name, settings.resource, settings.timeout)
            stack.callback(session.disconnect)
            cards = {device: session.facts(device) for device in (session.device, *settings.also)}
            first = cards[session.device]
            _refuse_unknown(use.drives, list(first.ao_channels), f"{first.device} ({first.model}) has no output")
            places = [_input_place(channel, first, cards) for channel in use.reads]
            source = NidaqSource(session, first, use.drives, settings.ao_limit) if use.drives else None
            if source is not None:
                stack.callback(source.close)
            meter = NidaqMeter(session, places, _input_options(settings, use)) if places else None
            stack.pop_all()
        return Roles(source=source, meter=meter)

    def all_channels(self, settings: Any) -> ChannelUse:
        """Ask the card for all of its outputs; inputs put nothing out. Raises ConnectionLostError."""
        session = Session(settings.resource, settings.resource, settings.timeout)
        try:
            return ChannelUse(drives=session.facts(session.device).ao_channels)
        finally:
            session.disconnect()

    def discover(self, *, network: bool) -> list[Found]:  # noqa: ARG002 - servers must be named: nothing is broadcast
        """List the cards that NI's driver in this computer knows; none where there is no driver."""
        try:
            session = Session("nidaqmx", "any", _LOOKING)
            return [
                Found(f"{{driver: nidaqmx, resource: {device}}}", f"{session.facts(device).model}")
                for device in session.devices()
            ]
        except InstrumentError:
            return []


def _input_options(settings: NidaqmxSection, use: ChannelUse) -> InputOptions:
    return InputOptions(
        settings.terminal,
        settings.range,
        settings.clock,
        settings.delay,
        settings.trigger,
        settings.clock_terminal,
        settings.simultaneous,
        bool(use.drives),
    )


def _input_place(channel: str, first: CardFacts, cards: dict[str, CardFacts]) -> tuple[CardFacts, str]:
    """Return the card and channel of a name in the wiring, `ai0` or `Dev2.ai0`. Raises ValueError."""
    device, _, local = channel.rpartition(".")
    if device and device not in cards:
        raise ValueError(f'{channel}: no card "{device}".{nearest(device, cards)} List it in the field also')
    card = cards[device] if device else first
    _refuse_unknown((local,), list(card.ai_channels), f"{card.device} ({card.model}) has no input")
    return card, local


def _refuse_unknown(channels: tuple[str, ...], known: list[str], lacks: str) -> None:
    for channel in channels:
        if channel not in known:
            raise ValueError(f'{lacks} "{channel}".{nearest(channel, known)} It has {shown(known) or "none"}')


def _refuse_contradictions(settings: NidaqmxSection, use: ChannelUse) -> None:
    """Raise ValueError for fields that can't act together."""
    if use.tunes:
        raise ValueError(f"{use.tunes[0]}: a card tunes nothing; wire the branch to a resistor board")
    if use.drives and settings.trigger:
        raise ValueError("trigger: the inputs start with the card's own outputs, which are wired; leave trigger out")
    if settings.clock == "ao" and not use.drives:
        raise ValueError("clock: ao needs outputs that are wired, since only they make that clock run; leave it out")
    if settings.delay and settings.clock == "ao":
        raise ValueError("delay goes with clock: own; the outputs' clock can't be waited for")
    if settings.delay and not use.drives and settings.trigger is None:
        raise ValueError("delay counts from a trigger, and nothing triggers the inputs; leave it out")


NIDAQMX = NidaqmxKind()
