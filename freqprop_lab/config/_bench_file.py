"""What every bench file has; each kind of bench adds fields of its own by subclassing `BenchFile`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, model_validator

from freqprop_lab.config import _plugins
from freqprop_lab.config._calibration_section import CalibrationSection
from freqprop_lab.config._network_section import BarabasiAlbertSection, NetworkSection
from freqprop_lab.config._schema import Section, fault, validate
from freqprop_lab.config._text import Document, FileError, read_yaml
from freqprop_lab.config._units import Amperes, Hertz, Ohms, Seconds, Siemens, Volts, Watts
from freqprop_lab.names import cut, shown
from freqprop_lab.values import Scales

_MOST_SAMPLES = 10_000_000


Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[\w .-]+$")]


class ScalesSection(Section):
    """What a unit of the task is on this bench."""

    voltage: Annotated[Volts, Field(gt=0)] = 1.0
    conductance: Annotated[Siemens, Field(gt=0)] = 1.0

    def scales(self) -> Scales:
        """Return them as the plain value."""
        return Scales(self.voltage, self.conductance)


class SamplingSection(Section):
    """One record: so many periods of the nudge, so many samples each, after the settling time."""

    frequency: Annotated[Hertz, Field(gt=0)] = 1000.0
    samples_per_period: int = Field(20, ge=5, le=100_000)
    periods: int = Field(5, ge=1, le=100_000)
    settle: Annotated[Seconds, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _fits_in_memory(self) -> SamplingSection:
        n_samples = (self.periods + self.settle * self.frequency) * self.samples_per_period
        if n_samples > _MOST_SAMPLES:
            message = (
                f"a record has {n_samples:.3g} samples a channel, settling included; at most {_MOST_SAMPLES} are "
                "taken. Lower periods, samples_per_period or settle"
            )
            raise fault(message, "settle" if self.settle * self.frequency > self.periods else "periods")
        return self


class _Ends(Section):
    resistance: Annotated[Ohms, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _resistance_where_needed(self) -> _Ends:
        source = getattr(self, "source", None)
        if source == "resistor" and self.resistance is None:
            raise fault('"resistor" needs the field "resistance" beside it, such as 1 kOhm', "source")
        if source != "resistor" and self.resistance is not None:
            raise fault(f'it goes with source "resistor", not with "{source}"', "resistance")
        return self


class InputsSection(_Ends):
    """How a source reaches the inputs: stiff, through a known resistor, or as a current."""

    source: Literal["voltage", "resistor", "current"] = "voltage"


class NudgeSection(_Ends):
    """How the nudge reaches the outputs: a current source, or a voltage behind a known resistor."""

    source: Literal["current", "resistor"] = "current"


class RatingsSection(Section):
    """What the parts bear; the worst case of a run is held against it before anything is driven.

    rails: between which every terminal stays. voltage, current, power: of a tunable element. nudge: how far a nudged
    source may leave its rest; more is refused when it is asked.
    """

    rails: Annotated[list[Volts], Field(min_length=2, max_length=2)] | None = None
    voltage: Annotated[Volts, Field(gt=0)] | None = None
    current: Annotated[Amperes, Field(gt=0)] | None = None
    power: Annotated[Watts, Field(gt=0)] | None = None
    nudge: Annotated[Volts, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _rails_rise(self) -> RatingsSection:
        if self.rails is not None and self.rails[0] >= self.rails[1]:
            raise fault(f"are {self.rails}; the first must be the lower", "rails")
        return self


class LockinSection(Section):
    """What records hold beside the nudge and white noise; see `lockin.demodulate`.

    hum: the mains' frequency, fitted together with so many hum_harmonics. drift: degree of a polynomial. second_order:
    fit a + b f + c f^2. robust: leave out spikes.
    """

    hum: Annotated[Hertz, Field(gt=0)] | None = None
    hum_harmonics: int = Field(3, ge=1, le=20)
    drift: int = Field(0, ge=0, le=3)
    second_order: bool = False
    robust: bool = False


class BenchFile(Section):
    """The fields that every bench file has."""

    bench: str = "numeric"
    name: Name = "bench"
    scales: ScalesSection = ScalesSection()
    common_mode: Volts = 0.0
    ports: Literal["referred", "floating"] = "referred"
    network: NetworkSection = BarabasiAlbertSection(kind="barabasi-albert")
    inputs: InputsSection = InputsSection()
    nudge: NudgeSection = NudgeSection()
    sampling: SamplingSection = SamplingSection()
    lockin: LockinSection = LockinSection()
    ratings: RatingsSection = RatingsSection()
    calibration: CalibrationSection | None = None

    @model_validator(mode="after")
    def _floating_has_no_common_mode(self) -> BenchFile:
        if self.ports == "floating" and self.common_mode:
            raise fault("floating ports have no common mode; leave common_mode out", "common_mode")
        return self


@dataclass(frozen=True)
class BenchRequest:
    """What an experiment asks of a bench that builds its network; it must agree with any other bench.

    ports: how many inputs and outputs the task has, None where nobody said. network: a section that replaces the
    file's. nodes, edges: from the command line. unsynchronised: let the meter run free.
    """

    seed: int = 0
    ports: tuple[int | None, int | None] = (None, None)
    network: Mapping[str, Any] | None = None
    nodes: int | None = None
    edges: int | None = None
    unsynchronised: bool = False


class HasModel(Protocol):
    """A kind of bench as far as this module cares: it brings the model of its file. `bench.BenchKind` is the whole."""

    model: type[BenchFile]


@dataclass(frozen=True)
class BenchSettings:
    """A checked bench file: its document, its model, the folder in which the files that it names lie, its kind."""

    document: Document
    model: BenchFile
    folder: Path
    kind: HasModel = field(repr=False)


def bench_kinds() -> list[str]:
    """List the kinds of bench that are installed."""
    return _plugins.names(_plugins.BENCHES)


def instrument_kinds() -> list[str]:
    """List the instrument drivers that are installed."""
    return _plugins.names(_plugins.INSTRUMENTS)


def load_instrument_kind(name: str, section: Document) -> Any:
    """Load the driver that a section of a bench file names. Raises FileError naming the nearest."""
    try:
        return _plugins.load(_plugins.INSTRUMENTS, name)
    except _plugins.PluginError as error:
        raise FileError(section.path, f'field "driver": {error}', section.line(("driver",))) from None


def load_calibration(settings: BenchSettings, what: str) -> Any:
    """Load what reads calibration records (`records`), or watches a bench (`self-check`). Raises FileError for none."""
    try:
        return _plugins.load(_plugins.CORRECTIONS, what)
    except _plugins.PluginError as error:
        document = settings.document
        raise FileError(document.path, f'section "calibration": {error}', document.line(("calibration",))) from None


def read_bench_file(path: Path) -> BenchSettings:
    """Read and check a bench file. Raises FileError."""
    return check_bench(read_yaml(path), path.parent)


def check_bench(document: Document, folder: Path) -> BenchSettings:
    """Check a bench document with the model that its kind brings."""
    name = document.data.get("bench", "numeric")
    line = document.line(("bench",))
    field = ".".join(str(part) for part in (*document.section_of, "bench"))
    if "task" in document.data:
        message = "is an experiment file; a bench file is wanted here. Its own bench stands in the field bench"
        raise FileError(document.path, message, document.line(("task",)))
    if not isinstance(name, str):
        known = shown(bench_kinds())
        message = f'field "{field}" is {cut(repr(name))}; the kind of bench is wanted. Installed: {known}'
        raise FileError(document.path, message, line)
    try:
        kind = _plugins.load(_plugins.BENCHES, name)
    except _plugins.PluginError as error:
        raise FileError(document.path, f'field "{field}": {error}', line) from None
    return BenchSettings(document, validate(document, kind.model), folder, kind)
