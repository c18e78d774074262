"""One measured quantity with its doubt, split as the GUM has it: type A from scatter, type B from anything else."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from freqprop_lab.values import Array

COVERAGE = 0.95  # probability that an interval is stated for
COVERAGE_FACTOR = 1.96  # of a normal distribution, for that


@dataclass(frozen=True, eq=False)
class Points:
    """The axis of a table: at which codes, frequencies or nominal values a quantity was taken.

    values: in `unit`, (point,) for all labels alike or (label, point); NaN where a label has fewer points than others.
    """

    name: str
    unit: str
    values: Array = field(repr=False)

    def __post_init__(self) -> None:
        """Take a copy that nobody can change. Raises ValueError."""
        object.__setattr__(self, "values", _kept(f'points "{self.name}"', self.values))
        if self.values.ndim not in (1, 2):
            raise ValueError(
                f'points "{self.name}" have shape {self.values.shape}; (point,) or (label, point) is wanted'
            )

    def of(self, n_labels: int) -> Array:
        """Return the points of each label, (label, point)."""
        return np.broadcast_to(self.values, (n_labels, self.values.shape[-1]))


@dataclass(frozen=True, eq=False)
class Quantity:
    """What was determined of each label (a channel, a branch, a node), in `unit`, with its standard uncertainties.

    values: (label,), or with points (label, point); NaN where it could not be determined. type_a, type_b: standard
    uncertainties in the same unit, not negative, values' shape or one that broadcasts to it. degrees_of_freedom: of
    type A, likewise; None or NaN where unknown or infinite. Raises ValueError for what does not fit together.
    Source: JCGM 100:2008 (GUM), 4.2 (type A), 4.3 (type B), 5.1 (combined), 6.2 (expanded), G.4.1 (degrees of freedom).
    """

    name: str
    unit: str
    labels: tuple[str, ...]
    values: Array = field(repr=False)
    type_a: Array = field(repr=False)
    type_b: Array = field(repr=False)
    points: Points | None = None
    degrees_of_freedom: Array | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        """Take copies that nobody can change, and check that they fit together."""
        object.__setattr__(self, "labels", tuple(self.labels))
        name = f'quantity "{self.name}"'
        check_name("quantity", self.name)
        if len(set(self.labels)) != len(self.labels):
            twice = next(label for label in self.labels if self.labels.count(label) > 1)
            raise ValueError(f'{name}: the label "{twice}" stands twice; one value a label is wanted')
        object.__setattr__(self, "values", _kept(f"{name}: values", self.values))
        self._check_shape(name)
        for part in ("type_a", "type_b", "degrees_of_freedom"):
            given = getattr(self, part)
            if given is None:
                continue
            kept = self._fitted(f"{name}: {part}", given, infinite=part == "degrees_of_freedom")
            if (kept < 0).any() or (part == "degrees_of_freedom" and (kept == 0).any()):
                raise ValueError(f"{name}: {part} holds {np.nanmin(kept):g}; it can't be negative, or of no freedom")
            object.__setattr__(self, part, kept)

    @property
    def standard_uncertainty(self) -> Array:
        """Combined standard uncertainty, shape and unit of the values: root of the sum of squares (GUM 5.1.2)."""
        return np.hypot(self.type_a, self.type_b)

    @property
    def coverage_factors(self) -> Array:
        """Coverage factor k for 95 % of each value: Student's t where the degrees of freedom are known, else 1.96.

        Effective degrees of freedom by Welch and Satterthwaite, type B taken as known exactly (GUM G.4.1, G.4.3).
        """
        factors = np.full(self.values.shape, COVERAGE_FACTOR)
        if self.degrees_of_freedom is None:
            return factors
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            effective = self.degrees_of_freedom * (self.standard_uncertainty / self.type_a) ** 4
            known = np.isfinite(effective)
            factors[known] = np.maximum(stdtrit(effective[known], 0.5 + COVERAGE / 2), COVERAGE_FACTOR)
        return factors

    @property
    def expanded_uncertainty(self) -> Array:
        """U = k u for 95 %, shape and unit of the values (GUM 6.2)."""
        return self.coverage_factors * self.standard_uncertainty

    def interval(self) -> tuple[Array, Array]:
        """Return the ends of the 95 % coverage interval, values - U and values + U."""
        return self.values - self.expanded_uncertainty, self.values + self.expanded_uncertainty

    def _check_shape(self, name: str) -> None:
        wanted = "(label,)" if self.points is None else "(label, point)"
        shape: tuple[int, ...] = (len(self.labels),)
        if self.points is not None:
            if self.points.values.ndim == 2 and self.points.values.shape[0] != len(self.labels):
                raise ValueError(
                    f"{name}: {self.points.values.shape[0]} rows of points for {len(self.labels)} labels; one row a "
                    "label, or one for all, is wanted"
                )
            shape = (*shape, self.points.values.shape[-1])
        if self.values.shape != shape:
            raise ValueError(f"{name}: values have shape {self.values.shape}, {shape} {wanted} is wanted")

    def _fitted(self, name: str, given: ArrayLike, *, infinite: bool) -> Array:
        array = np.asarray(given, dtype=np.float64)
        if infinite:
            array = np.where(np.isposinf(array), np.nan, array)
        try:
            return _kept(name, np.broadcast_to(array, self.values.shape))
        except ValueError as error:
            if "infinite" in str(error):
                raise
            raise ValueError(f"{name} has shape {array.shape}, that of the values is {self.values.shape}") from None


def check_name(what: str, name: str) -> None:
    """Raise ValueError for a name that the arrays file can't tell from another."""
    if not name or not name.isprintable() or "\\" in name or name.endswith(".npy"):
        message = "a name of printable letters is wanted, without backslash and not ending in .npy"
        raise ValueError(f"{what} {name!r}: {message}")


def _kept(name: str, given: ArrayLike) -> Array:
    """Return a float64 copy that can't be written to. Raises ValueError where it is infinite."""
    array = np.array(given, dtype=np.float64, order="C")
    if np.isinf(array).any():
        raise ValueError(f"{name}: one is infinite; write NaN where something could not be determined")
    array.flags.writeable = False
    return array
