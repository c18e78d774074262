"""What an experiment file holds: the task, the nudge, the rule, the conductances. Everything in task units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from freqprop_lab.config._bench_file import BenchSettings, Name, bench_kinds, check_bench, read_bench_file
from freqprop_lab.config._network_section import NetworkSection, printable
from freqprop_lab.config._schema import Section, fault, validate
from freqprop_lab.config._text import Document, FileError, parse_yaml, read_yaml
from freqprop_lab.config._units import Number
from freqprop_lab.names import cut, nearest, shown
from freqprop_lab.waveform import WAVEFORMS, is_delay_identifiable

Range = Annotated[list[Number], Field(min_length=2, max_length=2)]
FileName = Annotated[str, Field(min_length=1), AfterValidator(printable)]
Names = Annotated[list[str], Field(min_length=1)]
WaveformName = Literal[
    "sine", "two-tone", "abs-sine", "centred-abs-sine", "pulse", "sawtooth", "square", "triangle"
]  # those of waveform.WAVEFORMS


def _rising(pair: list[float], *inside: str) -> None:
    if pair[0] >= pair[1]:
        raise fault(f"{pair[0]:g} is not below {pair[1]:g}; the first must be the lower. Are they swapped?", *inside)


class EncodingSection(Section):
    """How features become input levels."""

    scale: Annotated[Number, Field(gt=0)] = 5.0
    encoding: Literal["plain", "centred", "mirrored"] = "plain"
    bias: list[Number] = []
    outside: Literal["refuse", "clip", "scale"] = "refuse"


class TargetsSection(Section):
    """What is wanted at the outputs."""

    kind: Literal["class-means", "one-hot", "codes", "values"] = "class-means"
    frozen: bool = False
    low: Number = 0.0
    high: Number = 1.0
    codes: dict[str, list[Number]] | None = None

    @field_validator("codes", mode="before")
    @classmethod
    def _class_names_are_text(cls, codes: Any) -> Any:
        return {str(name): code for name, code in codes.items()} if isinstance(codes, dict) else codes

    @model_validator(mode="after")
    def _codes_go_with_their_kind(self) -> TargetsSection:
        if (self.kind == "codes") != (self.codes is not None):
            message = 'targets of the kind "codes" need the field "codes", and only they'
            raise fault(message, "kind" if self.codes is None else "codes")
        if self.kind in ("one-hot", "values"):
            _rising([self.low, self.high], "low" if "low" in self.model_fields_set else "high")
        if self.codes is not None:
            _check_codes(self.codes)
        return self


def _check_codes(codes: Mapping[str, list[float]]) -> None:
    """Refuse codes that no output could show, or that can't be told apart."""
    if not codes:
        raise fault("each class needs its code, such as setosa: [1, -1]", "codes")
    first, n_outputs = next((name, len(code)) for name, code in codes.items())
    named: dict[tuple[float, ...], str] = {}
    for name, code in codes.items():
        if len(code) != n_outputs or not code:
            message = f'it has {len(code)} values, "{first}" has {n_outputs}; all codes have one for each output'
            raise fault(message, "codes", name)
        other = named.setdefault(tuple(code), name)
        if other != name:
            raise fault(f'"{other}" has the same code, {code}; then no answer can tell the two apart', "codes", name)


class SplitSection(Section):
    """How many examples train; the rest test. A fraction up to 1, or a count from 2 on; equal shares of each class."""

    train: Annotated[Number, Field(gt=0)] = 0.5

    @model_validator(mode="after")
    def _share_or_count(self) -> SplitSection:
        if self.train > 1 and not self.train.is_integer():
            raise fault(f"{self.train:g} is neither a share up to 1 nor a whole number of examples", "train")
        return self


class _Task(Section):
    inputs: EncodingSection = EncodingSection()
    targets: TargetsSection = TargetsSection()
    cost: Literal["squared", "one-sided", "cross-entropy"] = "squared"
    temperature: Annotated[Number, Field(gt=0)] = 0.2
    readout: Literal["nearest-target", "nearest-training-mean", "argmax"] = "nearest-target"
    split: SplitSection = SplitSection()

    @model_validator(mode="after")
    def _answers_can_be_read(self) -> _Task:
        codes = self.targets.codes
        if self.readout == "argmax" and codes and len(next(iter(codes.values()))) != len(codes):
            message = "argmax answers with the number of the largest output, so it needs as many outputs as classes"
            raise fault(f"{message}; these codes have another number. Choose nearest-target", "readout")
        if self.targets.kind == "values" and getattr(self, "predict", "class") != "value":
            message = 'the kind "values" is for a csv task with predict: value'
            raise fault(f"{message}; for classes there are class-means, one-hot, codes", "targets", "kind")
        return self


class IrisTask(_Task):
    """Fisher's 150 irises, which come with the package."""

    kind: Literal["iris"]


class XorTask(_Task):
    """The four points of exclusive or; all of them train."""

    kind: Literal["xor"]
    split: SplitSection = SplitSection(train=1.0)


def _one_or_more(columns: Any) -> Any:
    if not isinstance(columns, str | list):
        raise ValueError("the name of a column is wanted, or a list of names")
    return columns


class CsvTask(_Task):
    """Any table: a header, one row an example. target: the column (or columns) that is wanted."""

    kind: Literal["csv"]
    file: FileName
    target: Annotated[str | Names, BeforeValidator(_one_or_more)]
    features: Names | None = None
    predict: Literal["class", "value"] = "class"

    @model_validator(mode="after")
    def _values_have_values(self) -> CsvTask:
        for name, columns in (("target", self.target), ("features", self.features)):
            for number, column in enumerate(columns if isinstance(columns, list) else ()):
                if columns is not None and column in columns[:number]:
                    raise fault(f'column "{column}" is listed twice', name, number)
        wanted = [self.target] if isinstance(self.target, str) else self.target
        for number, column in enumerate(self.features or ()):
            if column in wanted:
                raise fault(f'column "{column}" is the target; it can\'t be a feature too', "features", number)
        if self.predict == "class" and len(wanted) > 1:
            raise fault(f"a class stands in one column, not in {len(wanted)}; or is predict: value meant?", "target")
        if self.predict == "value" and self.targets.kind != "values":
            raise fault('"value" goes with targets: {kind: values}', "predict")
        if self.predict == "value" and self.cost == "cross-entropy":
            raise fault("cross-entropy is for classes; with predict: value take squared", "cost")
        return self


class NudgeSettings(Section):
    """The nudge. waveform: sine, or two-tone where the meter isn't synchronised, unless named.

    learn_delays: learn the fixed delays of an unsynchronised meter first, by a nudge as for an error of this many task
    volts; 0 fits them anew in every record.
    """

    waveform: WaveformName | None = None
    gamma: Annotated[Number, Field(gt=0)] = 1.0
    loop: Literal["open", "closed", "clamped"] = "open"
    unsynchronised: bool = False
    learn_delays: Annotated[Number, Field(ge=0)] = 0.0


class RuleSettings(Section):
    """The learning rule. activation: a from the nudged record (the paper) or from the free one.

    significance: repeat the nudged record until the update is so many times its standard error, at most most_records
    times; 0 takes one record whatever its noise.
    """

    kind: Literal["freq-prop", "adjoint", "finite-differences"] = "freq-prop"
    alpha: Annotated[Number, Field(gt=0)] = 0.01
    activation: Literal["nudged", "free"] = "nudged"
    difference: Annotated[Number, Field(gt=0)] = 1e-6
    significance: Annotated[Number, Field(ge=0)] = 0.0
    most_records: int = Field(16, ge=1, le=10_000)


class ConductanceSettings(Section):
    """Where the tunable conductances start, how far they go, and how a wished value becomes one the part has."""

    start: Range | None = None
    distribution: Literal["uniform", "log-uniform"] = "uniform"
    bounds: Range = [1e-5, 20.0]
    accumulate: bool = True
    rounding: Literal["nearest", "stochastic"] = "nearest"

    @model_validator(mode="after")
    def _positive_and_rising(self) -> ConductanceSettings:
        _rising(self.bounds, "bounds")
        if self.bounds[0] <= 0:
            raise fault(f"{self.bounds[0]:g} is no bound; a conductance is above 0", "bounds", 0)
        if self.start is not None:
            _rising(self.start, "start")
            for number, end in enumerate(self.start):
                if not self.bounds[0] <= end <= self.bounds[1]:
                    raise fault(f"{end:g} lies outside the bounds, {self.bounds}", "start", number)
        return self


def _name_or_section(bench: Any) -> Any:
    if not isinstance(bench, str | dict | None):
        raise ValueError("the name of a bench file is wanted, or a section with a bench's fields")
    return bench if bench is None or isinstance(bench, dict) else printable(bench)


class ExperimentFile(Section):
    """An experiment: everything but the bench, which it may name or hold."""

    name: Name = "experiment"
    bench: Annotated[str | dict[str, Any] | None, BeforeValidator(_name_or_section)] = None
    network: NetworkSection | None = None
    task: Annotated[IrisTask | XorTask | CsvTask, Field(discriminator="kind")]
    nudge: NudgeSettings = NudgeSettings()
    rule: RuleSettings = RuleSettings()
    conductances: ConductanceSettings = ConductanceSettings()
    epochs: int = Field(1000, ge=0, le=10_000_000)
    seed: int = Field(0, ge=0, lt=2**63)
    shuffle: bool = True
    evaluate_every: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _parts_agree(self) -> ExperimentFile:
        named = self.nudge.waveform
        if self.nudge.unsynchronised and named is not None and not is_delay_identifiable(WAVEFORMS[named]):
            raise fault(
                f"a {named} can't be read unsynchronised: delayed by half a period it is its own inverse, so the sign "
                "of b is lost (Proposition 1 of the paper). Choose two-tone or abs-sine, or drop nudge.unsynchronised",
                "nudge",
                "waveform",
            )
        if self.task.cost == "cross-entropy" and self.task.targets.kind != "one-hot":
            raise fault(
                'cross-entropy needs fixed classes: give task.targets the kind "one-hot" (one output for each class)',
                "task",
                "cost",
            )
        if self.nudge.loop == "clamped" and self.task.cost == "cross-entropy":
            raise fault("clamped holds the outputs towards a target; cross-entropy has none", "nudge", "loop")
        return self


@dataclass(frozen=True)
class ExperimentSettings:
    """A checked experiment file: document, model, and the folder in which the files that it names lie."""

    document: Document
    model: ExperimentFile
    folder: Path

    def with_changes(self, changes: Mapping[tuple[str, ...], Any]) -> ExperimentSettings:
        """Return the same experiment with fields replaced, checked anew. Raises FileError."""
        document = self.document.replaced(changes)
        return ExperimentSettings(document, validate(document, ExperimentFile), self.folder)

    def bench(self) -> BenchSettings | None:
        """Return the bench that the experiment names or holds, if it does. Raises FileError."""
        if isinstance(self.model.bench, str):
            path = self.folder / self.model.bench
            if not path.exists():
                self._refuse_missing_bench(self.model.bench)
            return read_bench_file(path)
        if isinstance(self.model.bench, dict):
            return check_bench(self.document.section("bench"), self.folder)
        return None

    def _refuse_missing_bench(self, name: str) -> None:
        """Tell of a missing bench file where it is named, rather than where it is not."""
        if name in bench_kinds():
            message = f"is a kind of bench, not a file; write bench: {{bench: {name}}}, or leave bench out"
        else:
            beside = sorted(path.name for path in self.folder.glob("*.y*ml") if path != self.document.path)
            listed = f" Files there: {shown(beside)}" if beside else ""
            message = f"is not there.{nearest(name, beside)}{listed}"
        raise FileError(self.document.path, f'field "bench": "{cut(name)}" {message}', self.document.line(("bench",)))


def read_experiment_file(path: Path) -> ExperimentSettings:
    """Read and check an experiment file. Raises FileError."""
    return _checked(read_yaml(path))


def parse_experiment(text: str, path: Path) -> ExperimentSettings:
    """Check an experiment given as text; path is for messages and for the folder of the files that it names."""
    return _checked(parse_yaml(text, path))


def _checked(document: Document) -> ExperimentSettings:
    if "task" not in document.data and {"instruments", "scales", "sampling"} & set(document.data):
        message = "is a bench file; an experiment file is wanted here. Give the bench with --bench"
        raise FileError(document.path, message, document.line(("bench",)))
    return ExperimentSettings(document, validate(document, ExperimentFile), document.path.parent)


__all__ = ["ExperimentFile", "ExperimentSettings", "parse_experiment", "read_experiment_file"]
