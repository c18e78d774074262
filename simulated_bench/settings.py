"""What a numeric bench's file has beside the common fields: every departure from the ideal, each off by default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from freqprop_lab.config import Amperes, BenchFile, Farads, Fraction, Hertz, Ohms, Seconds, Section, Volts
from simulated_bench.faults import FaultsWithEvents

Positive = Field(gt=0)
NotNegative = Field(ge=0)
STEEPEST = 0.15  # of a wiper's nonlinearity: below 1 / (2 pi), so that R keeps rising with the code


class CertifiedSection(Section):
    """Channels that are as good as their certificate: those at these nodes. gain, offset: standard deviations."""

    nodes: Annotated[list[str], Field(min_length=1)]
    gain: Annotated[Fraction, NotNegative] = 0.0
    offset: Annotated[Volts, NotNegative] = 0.0


class SourceSection(Section):
    """The simulated source. limit: largest voltage; gain_error and offset are standard deviations over channels.

    drift: relative change of the gain in 1000 records, its size drawn for each channel. certified: channels with
    standard deviations of their own.
    """

    limit: Annotated[Volts, Positive] = 10.0
    current_limit: Annotated[Amperes, Positive] = 100.0
    gain_error: Annotated[Fraction, NotNegative] = 0.0
    offset: Annotated[Volts, NotNegative] = 0.0
    bits: int | None = Field(None, ge=2, le=32)
    drift: Annotated[Fraction, NotNegative] = 0.0
    certified: CertifiedSection | None = None


class MeterSection(Section):
    """The simulated meter. noise: rms per sample; skew: lateness of each channel after the one before, which is known.

    common_delay: lateness of the whole meter, which nobody tells. synchronised: false lets it run free, every channel
    (delays: each) or the whole meter (delays: common) starting anywhere in the nudge's period. hidden_skew, pickup:
    standard deviations over channels of a further lateness that nobody tells, and of the amplitude with which a channel
    reads the running nudge itself. hum: amplitude, its phase new in every record. drift, certified: as the source's.
    """

    range: Annotated[Volts, Positive] = 10.0
    noise: Annotated[Volts, NotNegative] = 0.0
    gain_error: Annotated[Fraction, NotNegative] = 0.0
    offset: Annotated[Volts, NotNegative] = 0.0
    bits: int | None = Field(None, ge=2, le=32)
    skew: Annotated[Seconds, NotNegative] = 0.0
    common_delay: Annotated[Seconds, NotNegative] = 0.0
    synchronised: bool = True
    delays: Literal["each", "common"] = "each"
    hidden_skew: Annotated[Seconds, NotNegative] = 0.0
    pickup: Annotated[Volts, NotNegative] = 0.0
    hum: Annotated[Volts, NotNegative] = 0.0
    hum_frequency: Annotated[Hertz, Positive] = 50.0
    drift: Annotated[Fraction, NotNegative] = 0.0
    certified: CertifiedSection | None = None


class ResistorsSection(Section):
    """The simulated tunable resistors: continuous, or digital potentiometers once `taps` is given.

    A code c sets R = wiper + end_to_end c / (taps - 1). tolerance: standard deviation of the true end-to-end
    resistance (or of a continuous element's gain). stuck: a share of the elements, or their branches by name; they
    keep what they are first given. drift: relative change in 1000 records, its size drawn for each element.
    nonlinearity: how far R strays from that line, of end_to_end, or a continuous element from its value, relative.
    wiper_spread: standard deviation of the true wiper resistances, relative. wire: mean resistance in series with each
    element, 30 % spread. repeatability: relative standard deviation of each new setting. hysteresis: relative
    difference of R between a code that is reached from below and the same from above.
    """

    taps: int | None = Field(None, ge=2, le=65536)
    end_to_end: Annotated[Ohms, Positive] | None = None
    wiper: Annotated[Ohms, Positive] | None = None
    tolerance: Annotated[Fraction, NotNegative] = 0.0
    stuck: Annotated[Fraction, Field(ge=0, le=1)] | list[str] = 0.0
    drift: Annotated[Fraction, NotNegative] = 0.0
    nonlinearity: Annotated[Fraction, Field(ge=0, le=STEEPEST)] = 0.0
    wiper_spread: Annotated[Fraction, NotNegative] = 0.0
    wire: Annotated[Ohms, NotNegative] = 0.0
    repeatability: Annotated[Fraction, NotNegative] = 0.0
    hysteresis: Annotated[Fraction, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _taps_need_resistances(self) -> ResistorsSection:
        given = (self.end_to_end is not None, self.wiper is not None)
        if (self.taps is not None) != all(given) or (self.taps is None and any(given)):
            raise ValueError(
                "taps, end_to_end and wiper go together: a potentiometer needs all three, such as 128, 100 kOhm, 75 Ohm"
            )
        if self.wiper_spread and self.wiper is None:
            raise ValueError("wiper_spread is of the wiper's resistance; give taps, end_to_end and wiper beside it")
        return self


class PartsSection(Section):
    """The fixed parts. tolerance: standard deviation of a fixed resistor's true conductance from the listed one.

    capacitance: from every node to ground; capacitances: that of single nodes instead, by name. capacitance_spread:
    standard deviation of the true ones from those, relative. A node that a stiff source holds takes no notice.
    source_resistance_tolerance: standard deviation of the true resistors in series with the sources, relative.
    """

    tolerance: Annotated[Fraction, NotNegative] = 0.0
    capacitance: Annotated[Farads, NotNegative] = 0.0
    capacitances: dict[str, Annotated[Farads, NotNegative]] = {}
    capacitance_spread: Annotated[Fraction, NotNegative] = 0.0
    source_resistance_tolerance: Annotated[Fraction, NotNegative] = 0.0


class NumericBenchFile(BenchFile):
    """A bench in arithmetic. hardware_seed: what is true of this bench, whatever the run; ideal: all of it off.

    solver: of the circuit; `auto` takes dense matrices for small networks and sparse ones for large.
    """

    hardware_seed: int = Field(0, ge=0)
    ideal: bool = False
    solver: Literal["auto", "dense", "sparse"] = "auto"
    source: SourceSection = SourceSection()
    meter: MeterSection = MeterSection()
    resistors: ResistorsSection = ResistorsSection()
    parts: PartsSection = PartsSection()
    faults: FaultsWithEvents = FaultsWithEvents()

    def as_built(self) -> NumericBenchFile:
        """Return the file with every departure from the ideal taken out where `ideal` says so."""
        if not self.ideal:
            return self
        return self.model_copy(
            update={
                "source": SourceSection(limit=self.source.limit, current_limit=self.source.current_limit),
                "meter": MeterSection(
                    range=self.meter.range, synchronised=self.meter.synchronised, delays=self.meter.delays
                ),
                "resistors": ResistorsSection(),
                "parts": PartsSection(),
                "faults": FaultsWithEvents(),
            }
        )
