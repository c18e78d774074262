"""What an experiment file holds: the task, the nudge, the rule, the conductances. Everything in task units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from freqprop_lab.config._bench_file import BenchSettings, check_bench, read_bench_file
from freqprop_lab.config._network_section import NetworkSection
from freqprop_lab.config._schema import Section, validate
from freqprop_lab.config._text import Document, parse_yaml, read_yaml
from freqprop_lab.config._units import Number

Range = Annotated[list[Number], Field(min_length=2, max_length=2)]


def _rising(name: str, pair: list[float]) -> None:
    if pair[0] >= pair[1]:
        raise ValueError(f"{name} is {pair}; the first must be the lower. Are they swapped?")


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
            raise ValueError('targets of the kind "codes" need the field "codes", and only they')
        if self.kind in ("one-hot", "values"):
            _rising("low, high", [self.low, self.high])
        if self.codes is not None and len({len(code) for code in self.codes.values()}) != 1:
            raise ValueError("all codes must have the same number of outputs, at least one")
        return self


class SplitSection(Section):
    """How many examples train; the rest test. A fraction up to 1, or a count from 2 on; equal shares of each class."""

    train: Annotated[Number, Field(gt=0)] = 0.5


class _Task(Section):
    inputs: EncodingSection = EncodingSection()
    targets: TargetsSection = TargetsSection()
    cost: Literal["squared", "one-sided", "cross-entropy"] = "squared"
    temperature: Annotated[Number, Field(gt=0)] = 0.2
    readout: Literal["nearest-target", "nearest-training-mean", "argmax"] = "nearest-target"
    split: SplitSection = SplitSection()


class IrisTask(_Task):
    """Fisher's 150 irises, which come with the package."""

    kind: Literal["iris"]


class XorTask(_Task):
    """The four points of exclusive or; all of them train."""

    kind: Literal["xor"]
    split: SplitSection = SplitSection(train=1.0)


class CsvTask(_Task):
    """Any table: a header, one row an example. target: the column (or columns) that is wanted."""

    kind: Literal["csv"]
    file: str
    target: str | list[str]
    features: list[str] | None = None
    predict: Literal["class", "value"] = "class"

    @model_validator(mode="after")
    def _values_have_values(self) -> CsvTask:
        if (self.predict == "value") != (self.targets.kind == "values"):
            raise ValueError('predict "value" goes with targets of the kind "values", predict "class" with the others')
        if self.predict == "value" and self.cost == "cross-entropy":
            raise ValueError('cost "cross-entropy" is for classes; predict "value" takes squared')
        return self


class NudgeSettings(Section):
    """The nudge. waveform: sine, or abs-sine where the meter isn't synchronised, unless named."""

    waveform: Literal["sine", "abs-sine"] | None = None
    gamma: Annotated[Number, Field(gt=0)] = 1.0
    loop: Literal["open", "closed", "clamped"] = "open"
    unsynchronised: bool = False


class RuleSettings(Section):
    """The learning rule. activation: a from the nudged record (the paper) or from the free one."""

    kind: Literal["freq-prop", "adjoint", "finite-differences"] = "freq-prop"
    alpha: Annotated[Number, Field(gt=0)] = 0.01
    activation: Literal["nudged", "free"] = "nudged"
    difference: Annotated[Number, Field(gt=0)] = 1e-6


class ConductanceSettings(Section):
    """Where the tunable conductances start, how far they go, and how a wished value becomes one the part has."""

    start: Range | None = None
    distribution: Literal["uniform", "log-uniform"] = "uniform"
    bounds: Range = [1e-5, 20.0]
    accumulate: bool = True
    rounding: Literal["nearest", "stochastic"] = "nearest"

    @model_validator(mode="after")
    def _positive_and_rising(self) -> ConductanceSettings:
        _rising("bounds", self.bounds)
        if self.bounds[0] <= 0:
            raise ValueError(f"bounds are {self.bounds}; a conductance is above 0")
        if self.start is not None:
            _rising("start", self.start)
            if not self.bounds[0] <= self.start[0] < self.start[1] <= self.bounds[1]:
                raise ValueError(f"start {self.start} leaves the bounds {self.bounds}")
        return self


class ExperimentFile(Section):
    """An experiment: everything but the bench, which it may name or hold."""

    name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[\w .-]+$")] = "experiment"
    bench: str | dict[str, Any] | None = None
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
        if self.nudge.unsynchronised and self.nudge.waveform == "sine":
            raise ValueError(
                "nudge.waveform sine can't be read unsynchronised: delayed by half a period it is its own inverse, so "
                "the sign of b is lost (Proposition 1 of the paper). Choose abs-sine, or drop unsynchronised"
            )
        if self.task.cost == "cross-entropy" and self.task.targets.kind != "one-hot":
            raise ValueError(
                'task.cost cross-entropy needs fixed classes: give task.targets the kind "one-hot" (the classes, one '
                "output each)"
            )
        if self.nudge.loop == "clamped" and self.task.cost == "cross-entropy":
            raise ValueError("nudge.loop clamped holds the outputs towards a target; cross-entropy has none")
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
            return read_bench_file(self.folder / self.model.bench)
        if isinstance(self.model.bench, dict):
            return check_bench(self.document.section("bench"), self.folder)
        return None


def read_experiment_file(path: Path) -> ExperimentSettings:
    """Read and check an experiment file. Raises FileError."""
    document = read_yaml(path)
    return ExperimentSettings(document, validate(document, ExperimentFile), path.parent)


def parse_experiment(text: str, path: Path) -> ExperimentSettings:
    """Check an experiment given as text; path is for messages and for the folder of the files that it names."""
    document = parse_yaml(text, path)
    return ExperimentSettings(document, validate(document, ExperimentFile), path.parent)


__all__ = ["ExperimentFile", "ExperimentSettings", "parse_experiment", "read_experiment_file"]
