"""The file that describes an instrument to the driver `scpi-generic`: its commands, with places for values.

A place is a name in braces, `{level}`, optionally with a format such as `{level:.3f}`; nothing else is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from freqprop_lab.config import FileError, Hertz, Number, Section, Volts, read_yaml, validate
from freqprop_lab.names import cut, nearest, shown
from freqprop_lab.waveform import WAVEFORMS

_FORMAT = re.compile(r"[+0]?\d*(\.\d+)?[defgEG]?")
_OUTPUT_PLACES = ("channel", "level", "amplitude", "frequency", "periods")
_RECORD_PLACES = ("channel", "samples", "sample_rate")
_PLACES = {
    "setup": ("channel",),
    "safe": ("channel",),
    "level": ("channel", "level"),
    "nudge": _OUTPUT_PLACES,
    "trigger": (),
    "stop": ("channel",),
    "arm": _RECORD_PLACES,
    "read": (),
    "rate": (),
    "data": _RECORD_PLACES,
}
_OF_ROLE = {"source": ("level", "nudge", "trigger", "stop", "waveform"), "meter": ("arm", "read", "rate", "data")}

Commands = list[Annotated[str, Field(min_length=1)]]


class LimitsSection(Section):
    """What its channels may put out, or can read, and how fast it samples."""

    lowest: Volts
    highest: Volts
    sample_rate: Annotated[Hertz, Field(gt=0)] = 1e6

    @model_validator(mode="after")
    def _in_order(self) -> LimitsSection:
        if not self.lowest <= 0 <= self.highest or self.lowest == self.highest:
            raise ValueError(f"lowest {self.lowest:g} V and highest {self.highest:g} V must have 0 V between them")
        return self


class ScpiTemplate(Section):
    """An instrument in commands. `safe` is sent whenever outputs must be harmless, and may not be left out.

    channels: what stands for {channel}, by the name that the bench file's wiring uses. setup, safe, level, nudge, stop
    and arm are sent for each channel in use where they hold {channel}, else once. trigger and read are sent once.
    error: the error queue's query; null without one. identity must hold the text `expect`.
    A source: start() sends level, then nudge and trigger; stop() sends stop, then level again.
    A meter: arm() sends arm, read() sends read, then asks data for each channel. parse: how the answer is to be read;
    volts = scale x number + offset. rate: asks for the actual sample rate.
    """

    role: Literal["source", "meter"]
    identity: str = "*IDN?"
    expect: str = ""
    error: str | None = "SYST:ERR?"
    confirm: str = "*OPC?"
    channels: dict[str, str] = Field(min_length=1)
    limits: LimitsSection
    setup: Commands = []
    safe: Commands = Field(min_length=1)
    level: Commands = []
    nudge: Commands = []
    trigger: Commands = []
    stop: Commands = []
    waveform: Literal["sine", "abs-sine"] = "sine"
    arm: Commands = []
    read: Commands = []
    rate: str | None = None
    data: str | None = None
    parse: Literal["ascii", "block-int16", "block-float32"] = "ascii"
    byte_order: Literal["big", "little"] = "big"
    scale: Number = 1.0
    offset: Number = 0.0

    @model_validator(mode="after")
    def _templates_are_sound(self) -> ScpiTemplate:
        for field, places in _PLACES.items():
            value = getattr(self, field)
            for text in [value] if isinstance(value, str) else value or []:
                _check_places(field, text, places)
        other = "meter" if self.role == "source" else "source"
        for field in _OF_ROLE[other]:
            if field in self.model_fields_set:
                raise ValueError(f'the field "{field}" belongs to a {other}, and role is {self.role}')
        needed = "level" if self.role == "source" else "data"
        if not getattr(self, needed):
            raise ValueError(f'a {self.role} needs the field "{needed}"')
        if self.waveform not in WAVEFORMS:
            raise ValueError(f'waveform "{self.waveform}" is not known')
        return self


def read_template(path: Path) -> ScpiTemplate:
    """Read and check a template file. Raises FileError with line and field."""
    return validate(read_yaml(path), ScpiTemplate)


def template_or_value_error(path: Path) -> ScpiTemplate:
    """Read a template for a bench that is being opened: what is wrong with it is the bench file's fault."""
    try:
        return read_template(path)
    except FileError as error:
        raise ValueError(f"its template: {error}") from None


def filled(template: str, values: Mapping[str, float | int | str]) -> str:
    """Put values into a checked template; numbers with nine digits where no format is given."""
    parts = []
    for literal, place, form, _ in Formatter().parse(template):
        parts.append(literal)
        if place is not None:
            value = values[place]
            parts.append(format(value, form or (".9g" if isinstance(value, float) else "")))
    return "".join(parts)


def filled_for(
    templates: Sequence[str], channels: Sequence[str], values: Sequence[Mapping[str, float | int | str]]
) -> list[str]:
    """Fill a list of templates: those that hold a place for each channel, the others once."""
    commands = []
    for template in templates:
        if any(place is not None for _, place, _, _ in Formatter().parse(template)):
            commands += [
                filled(template, {**each, "channel": channel}) for channel, each in zip(channels, values, strict=True)
            ]
        else:
            commands.append(template)
    return commands


def _check_places(field: str, text: str, places: Sequence[str]) -> None:
    try:
        found = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f'{field}: "{cut(text)}": {error}; write {{{{ for a brace') from None
    for _, place, form, conversion in found:
        if place is None:
            continue
        if place not in places:
            known = shown([f"{{{each}}}" for each in places]) or "none"
            message = f'{field}: "{cut(text)}" has no place {{{cut(place)}}}.{nearest(place, places)} Places: {known}'
            raise ValueError(message)
        if conversion or not _FORMAT.fullmatch(form or ""):
            raise ValueError(f'{field}: "{cut(text)}": {{{place}}} takes a format such as {{{place}:.6g}}')
