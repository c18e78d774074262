"""From samples to moments: one matrix product, in blocks that stay in the processor's cache."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.lockin._arguments import refuse_gaps
from freqprop_lab.lockin._basis import Basis
from freqprop_lab.lockin._fit import Fit, Moments, solved
from freqprop_lab.values import Array, Flag

NEARLY_NOTHING = 1e-9  # of the mean square: a variance below this is lost in the rounding of the sum of squares
_BLOCK = 1 << 17  # values: 1 MB, which a processor's cache holds beside the columns
_RANK_DEFICIT = 1e-9
_FLOOR = (4 * float(np.finfo(float).eps)) ** 2
_SURELY = 27.6  # chi^2 of two degrees of freedom that chance exceeds once in a million
_SURELY_ONE = 23.9  # of one
_SEEN = 1e-18  # of the record's energy: what is smaller than this is rounding


@dataclass(frozen=True)
class Contrasts:
    """What the halves of a record differ by: products, (record, channel, contrast), and their variances' gram."""

    products: Array
    gram: Array


def moments_of(
    volts: Array, basis: Basis, weights: Array | None, level: Array | float = 0.0
) -> tuple[Moments, Contrasts]:
    """Project records, (record, channel, sample), on the columns and the contrasts of a basis.

    weights: (record, channel, sample), 0 for a sample that is left out; None where all count. level: V,
    (record, channel), what was taken off the record beforehand, whose rounding is still in it.
    """
    n_columns = basis.columns.shape[1]
    if weights is None:
        products, squares = projected(volts, basis.stacked)
        floor = (squares / volts.shape[-1] + level**2) * _FLOOR + 1e-300
        moments = Moments(products[..., :n_columns], squares, volts.shape[-1], basis.gram, floor)
        return moments, Contrasts(products[..., n_columns:], basis.powers)
    products, _ = projected(volts * weights, basis.stacked)
    squares = np.einsum("...i,...i,...i->...", volts, volts, weights)
    n_stacked = basis.stacked.shape[1]
    pairs = (basis.stacked[:, :, None] * basis.stacked[:, None, :]).reshape(len(basis.stacked), -1)
    gram = (weights.reshape(-1, weights.shape[-1]) @ pairs).reshape(*squares.shape, n_stacked, n_stacked)
    own, across = gram[..., :n_columns, :n_columns], gram[..., n_columns:, :n_columns]
    count = weights.sum(axis=-1)
    _refuse_few(own, count, n_columns)
    floor = (squares / count + level**2) * _FLOOR + 1e-300
    back = np.linalg.solve(own, np.swapaxes(across, -1, -2))
    differ = products[..., n_columns:] - (products[..., None, :n_columns] @ back)[..., 0, :]
    shaped = gram[..., n_columns:, n_columns:] - across @ back
    moments = Moments(products[..., :n_columns], squares, count, own, floor)
    return moments, Contrasts(differ, np.diagonal(shaped, axis1=-2, axis2=-1))


def _refuse_few(gram: Array, count: Array, n_columns: int) -> None:
    """Raise ValueError for a channel that has too few samples left to tell the columns apart."""
    size = np.sqrt(np.maximum(np.diagonal(gram, axis1=-2, axis2=-1), 1e-300))
    smallest = np.linalg.eigvalsh(gram / size[..., :, None] / size[..., None, :])[..., 0]
    bad = (count < n_columns + 1) | (smallest < _RANK_DEFICIT)
    if bad.any():
        channel = int(np.argwhere(bad)[0][-1])
        raise ValueError(
            f"valid: channel {channel} has {int(count[tuple(np.argwhere(bad)[0])])} samples left, too few, or too "
            f"badly placed, for the {n_columns} columns of the model; take a longer record, or a wider range"
        )


def projected(volts: Array, columns: Array) -> tuple[Array, Array]:
    """Return volts @ columns and the sums of squares, reading each block of the record once."""
    n_samples = volts.shape[-1]
    rows = volts.reshape(-1, n_samples)
    products = np.empty((len(rows), columns.shape[1]))
    squares = np.empty(len(rows))
    n_rows = max(1, _BLOCK // n_samples)
    for first in range(0, len(rows), n_rows):
        block = rows[first : first + n_rows]
        np.matmul(block, columns, out=products[first : first + n_rows])
        with np.errstate(over="ignore", invalid="ignore"):  # told below
            np.vecdot(block, block, out=squares[first : first + n_rows])
    if not np.isfinite(squares).all():
        refuse_gaps(volts)
    return products.reshape(*volts.shape[:-1], -1), squares.reshape(volts.shape[:-1])


def tones_of(moments: Moments, basis: Basis) -> NDArray[np.complex128]:
    """Return what came back at each harmonic over what the waveform has there, V, (record, channel, harmonic)."""
    n_harmonic = basis.n_harmonic_columns
    if basis.flat and moments.gram.ndim == 2:
        found = moments.products[..., 1 : 1 + n_harmonic] * (2 / basis.timing.n_samples)
    else:
        found = solved(moments.gram, moments.products)[..., 1 : 1 + n_harmonic]
    halved: NDArray[np.complex128] = np.ascontiguousarray(found).view(np.complex128)
    return halved / (2 * basis.harmonics.coefficients)


def doubts_of(moments: Moments, contrasts: Contrasts, fit: Fit) -> NDArray[np.uint8]:
    """Flag records whose halves differ: in level or size (not settled), or in phase (wrong frequency)."""
    flags = np.zeros(fit.a.shape, dtype=np.uint8)
    if contrasts.products.shape[-1] == 0:
        return flags
    differ = (contrasts.products**2 / contrasts.gram).sum(axis=-1)
    if (differ < _SURELY_ONE * fit.variance).all():
        return flags
    lowest = np.ascontiguousarray(moments.products[..., 1:3]).view(np.complex128)[..., 0]
    size = np.abs(lowest)
    direction = np.divide(lowest, size, out=np.ones_like(lowest), where=size > 0)
    level = contrasts.products[..., 0] ** 2 / contrasts.gram[..., 0]
    turned = (contrasts.products[..., 1] + 1j * contrasts.products[..., 2]) * np.conj(direction)
    along = turned.real**2 / contrasts.gram[..., 1]
    across = turned.imag**2 / contrasts.gram[..., 2]
    seen = _SEEN * moments.squares
    moved = level + along
    wrong = (across > _SURELY_ONE * fit.variance) & (across > seen) & (across > moved)
    unsettled = (moved > _SURELY * fit.variance) & (moved > seen) & ~wrong
    flags[unsettled] |= np.uint8(Flag.NOT_SETTLED)
    flags[wrong] |= np.uint8(Flag.WRONG_FREQUENCY)
    return flags
