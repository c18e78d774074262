"""What other packages register: kinds of bench, and kinds of instrument for the bench that is wired by hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from freqprop_lab.bench._bench import Bench
from freqprop_lab.bench._watch import BenchWatch
from freqprop_lab.config import BenchRequest, BenchSettings, FileError, Section, load_calibration
from freqprop_lab.instruments import Meter, Source, TunableResistor
from freqprop_lab.values import Correction


class BenchKind(ABC):
    """What a package registers under the entry point `freqprop_lab.benches`: its model of the file, and how to open.

    model: a subclass of `config.BenchFile`. in_arithmetic: nothing outside the process is driven, so
    that several may be open at once.
    """

    model: type[Any]
    in_arithmetic: bool = False

    @abstractmethod
    def open(self, settings: BenchSettings, request: BenchRequest) -> Bench:
        """Open the bench. Raises FileError for what does not agree, InstrumentError for what does not answer."""

    @abstractmethod
    def describe(self, settings: BenchSettings) -> dict[str, str]:
        """Say in a few words per topic what a person should know before driving it, for `bench check`."""


@dataclass(frozen=True)
class ChannelUse:
    """Which of an instrument's channels and elements a bench uses, by the names that its driver gives them.

    The roles that `InstrumentKind.open` returns have these channels, in this order.
    """

    drives: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    tunes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roles:
    """The roles of an opened instrument; None for one that it has not, or that nobody uses."""

    source: Source | None = None
    meter: Meter | None = None
    resistors: TunableResistor | None = None


@dataclass(frozen=True)
class Found:
    """An instrument that was discovered: a line for a bench file, and what is known of it."""

    line: str
    words: str


class InstrumentKind(ABC):
    """What a package registers under the entry point `freqprop_lab.instruments`: its fields, and how to open.

    model: the driver's section of a bench file (`driver` and `resource` among its fields). library, extra: the module
    that it opens with, and the extra of freqprop-lab (or the package) that brings it; it is imported in `open` only,
    so that naming a driver costs nothing.
    """

    model: type[Section]
    library: str = ""
    extra: str = ""
    files: tuple[str, ...] = ()  # fields that name files, looked for beside the bench file

    @abstractmethod
    def open(self, name: str, settings: Any, use: ChannelUse) -> Roles:
        """Open the instrument once and return its roles; `name` is what the bench file calls it.

        settings: the checked model. Raises InstrumentError, and ValueError naming the nearest for a channel that it
        has not.
        """

    def all_channels(self, settings: Any) -> ChannelUse:  # noqa: ARG002 - the answer of a kind that can't tell
        """Return every channel that might put something out, for making safe what nobody has wired."""
        return ChannelUse()

    def discover(self, *, network: bool) -> list[Found]:  # noqa: ARG002 - the answer of a kind that can't look
        """Look for instruments of this kind, writing to no port; only with `network` may anything be broadcast."""
        return []


class Corrector(ABC):
    """What a package registers under the entry point `freqprop_lab.corrections`, named `records`."""

    @abstractmethod
    def correction(self, bench: Bench) -> Correction:
        """Return what the records say that `bench.settings.model.calibration` asks for, held against the open bench.

        Raises FileError for a record that is broken, or of other instruments.
        """


def open_bench(settings: BenchSettings, request: BenchRequest | None = None, *, corrected: bool = True) -> Bench:
    """Open the bench of a checked file, and let its calibration correct it; corrected=False: as it is by itself."""
    kind = settings.kind
    if not isinstance(kind, BenchKind):
        raise FileError(settings.document.path, f'field "bench": {settings.model.bench} is no kind of bench', 1)
    request = request or BenchRequest()
    bench = kind.open(settings, request)
    bench.settings, bench.request = settings, request
    section = settings.model.calibration
    if corrected and section is not None and section.folder is not None:
        try:
            corrector: Corrector = load_calibration(settings, "records")
            bench.correction = corrector.correction(bench)
        except BaseException:
            bench.close()
            raise
    return bench


def watch_of(bench: Bench) -> BenchWatch | None:
    """Return what probes a bench between epochs, where its file asks for that; it has not begun yet."""
    section = None if bench.settings is None else bench.settings.model.calibration
    if bench.settings is None or section is None or section.self_check is None:
        return None
    made = load_calibration(bench.settings, "self-check")(section.self_check)
    return made if isinstance(made, BenchWatch) else None


def describe_bench(settings: BenchSettings) -> dict[str, str]:
    """Say in a few words per topic what a person should know about the bench of a file."""
    return settings.kind.describe(settings) if isinstance(settings.kind, BenchKind) else {}
