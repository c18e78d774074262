"""What one calibration found: when, by whom, with which instruments, against what, and how well it is known."""

from __future__ import annotations

import json
import platform
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from calibration.records._quantity import Quantity, check_name
from freqprop_lab.instruments import Identity
from freqprop_lab.names import cut, nearest, shown

PROCEDURE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_PROCEDURE = 40  # letters: it begins the names of two files
UID = re.compile(r"[0-9a-f]{32}")
NETWORK = re.compile(r"[0-9a-f]{16}")
_RAW_KINDS = "biufc"  # of NumPy: numbers only, since anything else would be read back by running code
_LIBRARIES = ("freqprop-lab", "numpy", "scipy")


@dataclass(frozen=True)
class InstrumentId:
    """Who an instrument is; empty where it does not tell. name: what the bench file calls it."""

    name: str
    manufacturer: str = ""
    model: str = ""
    serial: str = ""
    firmware: str = ""

    @classmethod
    def of(cls, name: str, identity: Identity) -> Self:
        """Take what an instrument answers to `identify()`."""
        return cls(name, identity.manufacturer, identity.model, identity.serial, identity.firmware)

    @property
    def words(self) -> str:
        """Maker, model and serial number, for a message."""
        known = " ".join(part for part in (self.manufacturer, self.model) if part) or "an unknown instrument"
        return f"{known}, serial number {self.serial}" if self.serial else f"{known}, no serial number"


@dataclass(frozen=True)
class Reference:
    """What absolute values hang on: a resistor, a voltage, a meter whose certificate is named (GUM 4.3, B.2.15 note).

    value, standard_uncertainty: in `unit`. certificate: number, laboratory and date, or what else it is known from.
    """

    name: str
    value: float
    unit: str
    standard_uncertainty: float
    certificate: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for numbers that are none."""
        for name in ("value", "standard_uncertainty"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not (np.isfinite(self.value) and np.isfinite(self.standard_uncertainty) and self.standard_uncertainty >= 0):
            raise ValueError(
                f'reference "{self.name}": {self.value} {self.unit} with standard uncertainty '
                f"{self.standard_uncertainty}; finite numbers are wanted, the second not negative"
            )


Status = Literal["good", "doubtful", "bad"]
_STATUSES: tuple[Status, ...] = ("good", "doubtful", "bad")


@dataclass(frozen=True)
class Verdict:
    """What a person should think of it; words: the reasons, one sentence each."""

    status: Status
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for any other status."""
        if self.status not in _STATUSES:
            raise ValueError(f'a verdict is good, doubtful or bad, not "{self.status}"')
        object.__setattr__(self, "words", tuple(self.words))

    @classmethod
    def of(cls, problems: Sequence[str], remarks: Sequence[str] = ()) -> Self:
        """Return good where nothing is a problem, else doubtful; problems are told first."""
        return cls("doubtful" if problems else "good", (*problems, *remarks))


def software_versions() -> dict[str, str]:
    """Return what computed it: this package, the libraries that its numbers hang on, Python."""
    return {name: metadata.version(name) for name in _LIBRARIES} | {"python": platform.python_version()}


@dataclass(frozen=True, eq=False, kw_only=True)
class CalibrationRecord:
    """One procedure on one bench at one time. Written by `RecordFolder.add`, read by `RecordFolder.read`.

    procedure: small letters, digits, single hyphens. time, expires: aware, kept as UTC; expires None: never. settings,
    outcome: how it was measured, and what came out beside quantities; what JSON can hold. assumptions: what must be
    true for the intervals to hold, one sentence each. raw: arrays of numbers by name, kept beside the record. uid: 32
    hexadecimal digits. network: of what network and wiring it was taken (`calibration.fingerprint`), 16 hexadecimal
    digits; empty where nobody told. rests_on: the uids of the records that it was computed with, by procedure. Raises
    ValueError.
    """

    procedure: str
    bench: str
    time: datetime
    instruments: tuple[InstrumentId, ...]
    quantities: tuple[Quantity, ...]
    verdict: Verdict
    expires: datetime | None = None
    operator: str = ""
    versions: dict[str, str] = field(default_factory=software_versions)
    references: tuple[Reference, ...] = ()
    network: str = ""
    rests_on: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    outcome: dict[str, Any] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    notes: str = ""
    raw: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        """Bring everything into the one form in which it is kept, and refuse what can't be."""
        if not PROCEDURE.fullmatch(self.procedure) or len(self.procedure) > LONGEST_PROCEDURE:
            wanted = f"at most {LONGEST_PROCEDURE} small letters, digits and single hyphens are wanted"
            raise ValueError(f'procedure "{cut(self.procedure)}": {wanted}')
        if not UID.fullmatch(self.uid):
            raise ValueError(f'uid "{cut(self.uid)}": 32 hexadecimal digits are wanted')
        if self.network and not NETWORK.fullmatch(self.network):
            raise ValueError(f'network "{cut(self.network)}": 16 hexadecimal digits are wanted, or nothing')
        for procedure, uid in self.rests_on.items():
            if not PROCEDURE.fullmatch(procedure) or not UID.fullmatch(uid):
                raise ValueError(f'rests_on "{cut(procedure)}": "{cut(uid)}": a procedure and a uid are wanted')
        keep = object.__setattr__
        keep(self, "time", _utc("time", self.time))
        if self.expires is not None:
            keep(self, "expires", _utc("expires", self.expires))
            if self.expires <= self.time:
                raise ValueError(f"the record expires at {self.expires}, before it is taken at {self.time}")
        for name in ("instruments", "references", "assumptions", "quantities"):
            keep(self, name, tuple(getattr(self, name)))
        _refuse_twice("quantity", [quantity.name for quantity in self.quantities])
        _refuse_twice("instrument", [instrument.name for instrument in self.instruments])
        keep(self, "settings", _plain("settings", self.settings))
        keep(self, "outcome", _plain("outcome", self.outcome))
        keep(self, "versions", _plain("versions", self.versions))
        keep(self, "rests_on", dict(self.rests_on))
        keep(self, "raw", {name: _numbers(name, array) for name, array in self.raw.items()})

    def quantity(self, name: str) -> Quantity:
        """Return a quantity by name. Raises KeyError naming the nearest and all others."""
        return quantity_named(self.quantities, name, f"the record of {self.procedure}")

    def is_stale(self, now: datetime, max_age: timedelta | None = None) -> bool:
        """Say whether it is past its expiry, or older than `max_age`, at `now` (aware)."""
        past = self.expires is not None and now > self.expires
        return past or (max_age is not None and now - self.time > max_age)


def quantity_named(quantities: Sequence[Quantity], name: str, whose: str) -> Quantity:
    """Return one of quantities. Raises KeyError naming the nearest and all others; whose: they are, for the message."""
    for quantity in quantities:
        if quantity.name == name:
            return quantity
    known = [quantity.name for quantity in quantities]
    listed = f"It has: {shown(known)}" if known else "It has none"
    raise KeyError(f'{whose} has no quantity "{cut(name)}".{nearest(name, known)} {listed}')


def _utc(name: str, time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError(f"{name} {time} has no time zone; write it with one, such as datetime.now(UTC)")
    return time.astimezone(UTC)


def _refuse_twice(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'the {what} "{cut(name)}" stands twice')


def _plain(what: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return content as JSON gives it back: lists for tuples and arrays, plain numbers for NumPy's."""
    try:
        text = json.dumps(content, allow_nan=False, default=_from_numpy, ensure_ascii=False)
        text.encode()
        plain = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} must be what JSON can hold, finite numbers only: {error}") from None
    if not isinstance(plain, dict) or set(plain) != set(content):
        raise ValueError(f"{what} must be a dict whose names are text")
    return plain


def _from_numpy(given: Any) -> Any:
    if isinstance(given, np.generic | np.ndarray):
        return given.tolist()
    raise TypeError(f"{type(given).__name__} is none of it")


def _numbers(name: str, given: Any) -> NDArray[Any]:
    check_name("raw array", name)
    array = np.array(given, order="C")
    if array.dtype.kind not in _RAW_KINDS:
        raise ValueError(f'raw array "{name}" is of type {array.dtype}; numbers are wanted')
    array.flags.writeable = False
    return array
