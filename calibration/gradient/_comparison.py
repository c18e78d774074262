"""The measured gradient beside the finite differences, and which fault explains most of what lies between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from calibration.gradient._effects import Cause, Effect
from calibration.gradient._line import Line, cosine_between, line_through
from freqprop_lab.values import Array

_EXPLAINED = 0.5  # of the squared deviation: less, and no single cause is the main one
_SIGNIFICANT = 2.0  # times what noise alone makes of an effect


@dataclass(frozen=True)
class Size:
    """The size of a vector relative to the gradient's: of what was measured, and what noise alone makes of it."""

    value: float
    noise: float

    @property
    def beyond_noise(self) -> float:
        """The size without what noise adds to it on average."""
        return float(np.sqrt(max(self.value**2 - self.noise**2, 0.0)))

    @property
    def is_significant(self) -> bool:
        """Whether it is more than noise."""
        return self.value > _SIGNIFICANT * self.noise


@dataclass(frozen=True)
class Comparison:
    """The chosen elements' gradients, V^2/S, (element,): product is a b / gamma, difference dC/dG, with uncertainties.

    effects: what each cause adds to the product. tolerance: by how much of itself the gradient may be off. Elements
    count the less the worse they are known, beyond that tolerance.
    """

    product: Array
    product_uncertainty: Array
    difference: Array
    difference_uncertainty: Array
    effects: Mapping[Cause, Effect]
    tolerance: float

    @cached_property
    def weights(self) -> Array:
        """How much each element counts."""
        u = np.hypot(self.product_uncertainty, self.difference_uncertainty)
        allowed = self.tolerance * np.sqrt((self.difference**2).mean())
        return np.asarray(1 / (1 + (u / max(allowed, 1e-300)) ** 2))

    @property
    def deviation(self) -> Array:
        """What lies between them, V^2/S."""
        return np.asarray(self.product - self.difference)

    @cached_property
    def total(self) -> Size:
        """The size of the deviation."""
        return self._size(self.deviation, np.hypot(self.product_uncertainty, self.difference_uncertainty))

    def size(self, cause: Cause) -> Size:
        """Return the size of what a cause adds."""
        effect = self.effects[cause]
        return self._size(effect.values, effect.uncertainty)

    @property
    def sizes(self) -> dict[Cause, Size]:
        """The size of what each cause adds."""
        return {cause: self.size(cause) for cause in self.effects}

    @cached_property
    def remainder(self) -> Size:
        """What is left once everything that is more than noise has been taken away."""
        left = self.deviation
        for cause, size in self.sizes.items():
            if size.is_significant:
                left = left - self.effects[cause].values
        return self._size(left, np.hypot(self.product_uncertainty, self.difference_uncertainty))

    @cached_property
    def main_cause(self) -> Cause | None:
        """The cause without which least of the deviation would be left; None where even that leaves half of it."""
        left = {
            cause: self._square(self.deviation - effect.values)
            for cause, effect in self.effects.items()
            if self.size(cause).is_significant
        }
        if not left:
            return None
        best = min(left, key=lambda cause: left[cause])
        return best if left[best] < _EXPLAINED * self._square(self.deviation) else None

    @cached_property
    def line(self) -> Line:
        """The product against the difference: scale and bias."""
        return line_through(self.difference, self.product, self.difference_uncertainty, self.product_uncertainty)

    @cached_property
    def cosine(self) -> tuple[float, float, float]:
        """The cosine between them, and the ends of its 95 % interval."""
        return cosine_between(self.difference, self.product, self.difference_uncertainty, self.product_uncertainty)

    def _size(self, values: Array, uncertainty: Array) -> Size:
        whole = max(self._square(self.difference), 1e-300)
        noise = np.sqrt(self.weights @ uncertainty**2 / whole)
        return Size(float(np.sqrt(self._square(values) / whole)), float(noise))

    def _square(self, values: Array) -> float:
        return float(self.weights @ values**2)
