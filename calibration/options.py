"""What can be asked of a procedure: each option with its meaning, unit and bounds, for a person and for a check."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from calibration.errors import ProcedureError

FRACTION = "1"  # the unit of a share, which a person may write in per cent
_KEY = "option"


@dataclass(frozen=True)
class Option:
    """One option of a procedure. says: what it means, in a few words; low, high: both allowed, in `unit`."""

    name: str
    default: bool | int | float | str
    says: str
    unit: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def flag(self) -> str:
        """As the command line writes it."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def bounds(self) -> str:
        """Which values are allowed: "from 1e-06 to 0.5"; nothing where all are."""
        return " ".join(f"{word} {end:g}" for word, end in (("from", self.low), ("to", self.high)) if end is not None)

    @property
    def help(self) -> str:
        """What it means, with its default, its bounds and their unit."""
        unit = "" if self.unit in ("", FRACTION) else f" {self.unit}"
        share = ", or in per cent: 5 %" if self.unit == FRACTION else ""
        bounds = f"; {self.bounds}{unit}" if self.bounds else ""
        default = f"{self.default:g}" if isinstance(self.default, float) else f"{self.default}"
        return f"{self.says} [{default}{unit} if left out{bounds}{share}]"

    def check(self, value: Any, procedure: str) -> None:
        """Raise ProcedureError for a value of another kind, or beyond the bounds."""
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if isinstance(self.default, int) and not isinstance(self.default, bool):
            fits, wanted = number and value == int(value), "a whole number"
        elif isinstance(self.default, float):
            fits, wanted = number, f"a number{f' of {self.unit}' if self.unit not in ('', FRACTION) else ''}"
        else:
            fits, wanted = isinstance(value, type(self.default)), f"a {type(self.default).__name__}"
        if fits and number:
            fits = (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        if not fits:
            allowed = f"{wanted} {self.bounds}".rstrip()
            raise ProcedureError(f"{procedure}: {self.flag} is {value!r}; {allowed} is wanted")


def option(
    default: bool | int | float | str,
    says: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """Return the dataclass field of an option; see `Option`."""
    return field(default=default, metadata={_KEY: (says, unit, low, high)})


def samples(default: int, says: str = "Samples of each record, rounded up to whole periods.", low: int = 1) -> Any:
    """Return the field of how many samples a record has at least."""
    return option(default, says, low=low)


def volts(says: str = "How far a channel leaves its rest; less where a limit or a rating is nearer.") -> Any:
    """Return the field of how far to drive, V."""
    return option(1.0, says, unit="V", low=1e-6)


def options_of(procedure: Any) -> tuple[Option, ...]:
    """Return the options of a procedure or its class, in the order in which they are declared.

    Raises TypeError for a field that was not declared by `option`: the command line could not offer it.
    """
    found = []
    for each in fields(procedure):
        if _KEY not in each.metadata:
            raise TypeError(f"{procedure}: the field {each.name} is no option(...), so nobody could set it")
        found.append(Option(each.name, each.default, *each.metadata[_KEY]))  # type: ignore[arg-type]
    return tuple(found)


def parse(option: Option, text: Any) -> Any:
    """Return what a person wrote for an option as a plain value: "0.5 V", "5 %", "12". Raises ValueError."""
    from freqprop_lab.config import parse_fraction, parse_quantity  # noqa: PLC0415 - --help needs none of it

    if not isinstance(text, str) or isinstance(option.default, str):
        return text
    if isinstance(option.default, int):
        try:
            return int(text)
        except ValueError:
            raise ValueError(f'"{text}" is not a whole number') from None
    if option.unit not in ("", FRACTION):
        return parse_quantity(text, option.unit)[0]
    try:
        return float(text)
    except ValueError:
        if option.unit == FRACTION:
            return parse_fraction(text)
        raise ValueError(f'"{text}" is not a number') from None


def asked_of(procedure: Any) -> dict[str, bool | int | float | str]:
    """Return the options of a procedure by name, as they are."""
    return {each.name: getattr(procedure, each.name) for each in options_of(procedure)}


def check_options(procedure: Any) -> None:
    """Hold what was asked of a procedure against the bounds. Raises ProcedureError."""
    for each in options_of(procedure):
        each.check(getattr(procedure, each.name), procedure.name)
