"""The `calibration` section of a bench file: where records are, what is believed without them, what is traceable."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from freqprop_lab.config._schema import Section, fault
from freqprop_lab.config._units import Amperes, Duration, Fraction, Volts

_Share = Annotated[Fraction, Field(gt=0, le=1)]


# What can be traceable of each
_OF_REFERENCES = {
    "meter": ("gain", "offset"),
    "source": ("gain", "offset", "offset_current"),
    "resistor": ("resistance",),
}


class AssumedSection(Section):
    """Standard uncertainties of what nobody has measured yet, as data sheets give them: type B of the GUM.

    source_gain, meter_gain, source_resistance, fixed, tunable: relative; of every channel, series resistor, fixed and
    tunable element. source_offset, source_offset_current, meter_offset: V, A, V.
    """

    source_gain: _Share = 0.02
    source_offset: Annotated[Volts, Field(gt=0)] = 0.01
    source_offset_current: Annotated[Amperes, Field(gt=0)] = 1e-6
    source_resistance: _Share = 0.01
    meter_gain: _Share = 0.02
    meter_offset: Annotated[Volts, Field(gt=0)] = 0.01
    fixed: _Share = 0.05
    tunable: _Share = 0.3


class ReferenceSection(Section):
    """One traceable thing: a meter channel, a source channel, or the series resistor of a source.

    meter, source, resistor: the node at which it is, or the name of its channel, which alone tells two at one node
    apart. gain, resistance: relative; offset: V, of a meter or a voltage; offset_current: A, of a current source;
    standard uncertainties (k = 1) by the certificate, whose text is kept.
    """

    meter: str | None = None
    source: str | None = None
    resistor: str | None = None
    gain: _Share | None = None
    offset: Annotated[Volts, Field(gt=0)] | None = None
    offset_current: Annotated[Amperes, Field(gt=0)] | None = None
    resistance: _Share | None = None
    certificate: str = Field(min_length=1)

    @model_validator(mode="after")
    def _is_one_thing(self) -> ReferenceSection:
        named = [name for name in ("meter", "source", "resistor") if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError("name one of meter, source and resistor: the node at which it is, or its channel")
        wanted = _OF_REFERENCES[named[0]]
        for field in ("gain", "offset", "offset_current", "resistance"):
            if getattr(self, field) is not None and field not in wanted:
                owners = " or ".join(name for name, fields in _OF_REFERENCES.items() if field in fields)
                raise fault(f"goes with {owners}", field)
        if all(getattr(self, field) is None for field in wanted):
            raise fault(f"needs {' or '.join(wanted)}, with its standard uncertainty", named[0])
        return self


class SelfCheckSection(Section):
    """A probe between epochs: one known drive, at the conductances with which the run began.

    every: so many epochs. samples: of its record. volts: how far sources leave their rest. k: how many standard
    uncertainties a reading may move (several channels at once count together). least: so much of the probe's size every
    reading may move besides, however surely it did; the size is half the swing of the reading that swings most.
    """

    every: Annotated[int, Field(ge=1)] = 1
    samples: Annotated[int, Field(ge=20, le=10_000_000)] = 2000
    volts: Annotated[Volts, Field(gt=0)] = 1.0
    k: Annotated[float, Field(ge=3)] = 5.0
    least: Annotated[Fraction, Field(ge=0, lt=1)] = 0.0


class CalibrationSection(Section):
    """Which calibration corrects the bench, and what calibration goes by.

    folder: of the records, beside this file; None: none corrects it yet. use: records of these procedures only,
    of none if empty. max_age: a record older than that is told as stale, beside one past its own expiry. self_check:
    None for no probe.
    """

    folder: Annotated[str, Field(min_length=1)] | None = None
    use: list[str] | None = None
    max_age: Annotated[Duration, Field(gt=0)] | None = None
    assume: AssumedSection = AssumedSection()
    references: list[ReferenceSection] = []
    self_check: SelfCheckSection | None = None
