"""The findings as quantities with their uncertainties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from calibration.gradient._comparison import Size
from calibration.gradient._differences import Slope
from calibration.gradient._effects import Cause
from calibration.gradient._line import Line
from calibration.gradient._words import Seen
from calibration.records import Quantity

_WIDTH = 2 * 1.96  # of a 95 % interval, in standard uncertainties


def quantities(seen: Seen, slopes: Mapping[int, Slope], lines: Sequence[Line]) -> tuple[Quantity, ...]:
    """Return everything that was found. slopes: of the chosen elements; lines: a port each."""
    network, compared, written, line = seen.subject.network, seen.comparison, seen.written, seen.comparison.line
    names = [network.tunable_names[number] for number in seen.chosen]
    noise, curvature = zip(*((slope.cost_noise, slope.cost_curvature) for slope in slopes.values()), strict=True)
    cosine, low, high = compared.cosine
    all_of_it, freedom = ["gradient"], [float(line.degrees_of_freedom)]
    shares = _shares(seen)
    asked = float(np.nan_to_num(seen.responses.product.values) @ written.asked)
    effects = [asked, seen.expected_effect, written.effect]
    late = seen.responses.delays
    read = np.flatnonzero(seen.subject.read & ~np.isnan(late.delay))
    channels = [seen.subject.meter_channels[network.nodes[node]] for node in read]
    return (
        _quantity("gradient", "V^2/S", names, compared.product, compared.product_uncertainty),
        _quantity("finite difference", "V^2/S", names, compared.difference, noise, curvature),
        _quantity("cosine", "1", all_of_it, [cosine], [(high - low) / _WIDTH]),
        _quantity("scale", "1", all_of_it, [line.slope], [line.slope_uncertainty], freedom=freedom),
        _quantity("bias", "V^2/S", all_of_it, [line.intercept], [line.intercept_uncertainty], freedom=freedom),
        _quantity(
            "deviation", "1", shares, *zip(*((s.value, s.noise or np.nan) for s in shares.values()), strict=True)
        ),
        _quantity(
            "port sign",
            "1",
            [port.name for port in network.outputs],
            [each.slope for each in lines],
            [each.slope_uncertainty for each in lines],
        ),
        _quantity(
            "effect of the update",
            "V^2",
            ["asked", "realised", "measured"],
            effects,
            [np.nan, np.nan, written.effect_uncertainty],  # the first two are computed, not measured
        ),
        _quantity("delay", "s", channels, late.delay[read], late.uncertainty[read]),
    )


def _shares(seen: Seen) -> dict[str, Size]:
    """Return what the deviation is made of, each relative to the gradient."""
    compared = seen.comparison
    return {
        "all": compared.total,
        "noise": Size(compared.total.noise, 0.0),
        **{cause.value: size for cause, size in compared.sizes.items()},
        Cause.TAPS.value: seen.written.lost,
        "not explained": compared.remainder,
    }


def _quantity(
    name: str,
    unit: str,
    labels: Sequence[str] | Mapping[str, Size],
    values: ArrayLike,
    type_a: ArrayLike,
    type_b: ArrayLike = 0.0,
    *,
    freedom: ArrayLike | None = None,
) -> Quantity:
    degrees = None if freedom is None else np.asarray(freedom)
    first, second, third = (np.asarray(each, dtype=np.float64) for each in (values, type_a, type_b))
    return Quantity(name, unit, tuple(labels), first, second, third, degrees_of_freedom=degrees)
