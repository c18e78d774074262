"""What `wiring` found, and how its records keep it: there and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from calibration.wiring.faults import Alternative, Fault


@dataclass(frozen=True)
class Outcome:
    """What came of the search.

    faults: those that are sure. alternatives: what can't be told apart, the likeliest first. unseen: by kind of fault,
    at which places none could have been noticed. chi_square_a_reading: what is left of the readings; 1 is expected.
    """

    faults: tuple[Fault, ...]
    alternatives: tuple[Alternative, ...]
    unseen: Mapping[str, list[list[str]]]
    chi_square_a_reading: float
    n_hypotheses: int

    def to_plain(self) -> dict[str, Any]:
        """Return plain data, for the `outcome` of a record."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """Return it from the `outcome` of findings or of a record of `wiring`."""
        return cls(
            _faults(plain["faults"]),
            tuple(Alternative(_faults(one["faults"]), one["probability"]) for one in plain["alternatives"]),
            plain["unseen"],
            plain["chi_square_a_reading"],
            plain["n_hypotheses"],
        )


def _faults(plain: list[dict[str, Any]]) -> tuple[Fault, ...]:
    return tuple(Fault(**(one | {"where": tuple(one["where"])})) for one in plain)
