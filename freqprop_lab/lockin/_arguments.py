"""What `demodulate` was given, checked once: every refusal names the argument, what came, and what is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freqprop_lab.lockin._fit import Delay
from freqprop_lab.names import nearest
from freqprop_lab.values import Array
from freqprop_lab.waveform import Waveform, is_delay_identifiable

METHODS = ("harmonic", "projection", "kink")
_MOST_DRIFT = 3
_MOST_HUM_HARMONICS = 20
_ALIKE = 1e-9  # smallest singular value, of the largest: below it f^2 is no shape of its own
_FEWEST_SAMPLES = 4


@dataclass(frozen=True)
class Options:
    """The parts of the model that are off unless asked for; see `demodulate`."""

    hum: float | None = None
    hum_harmonics: int = 3
    drift: int = 0
    fit_frequency: bool = False
    second_order: bool = False
    robust: bool = False

    @property
    def is_joint(self) -> bool:
        """True where something is fitted to all channels of a record together, or sample by sample in turns."""
        return self.hum is not None or self.fit_frequency or self.robust


@dataclass(frozen=True)
class Given:
    """Checked arguments. volts: (record, channel, sample); lead: the shape that came, samples left out.

    known: s, (channel,), or None. weights: as volts, or None. limits: V, (channel,) each, or None.
    """

    volts: Array
    lead: tuple[int, ...]
    sample_rate: float
    frequency: float
    waveform: Waveform
    delay: Delay
    known: Array | None
    weights: Array | None
    limits: tuple[Array, Array] | None
    missing: NDArray[np.bool_] | None


def checked(
    volts: ArrayLike,
    sample_rate: float,
    waveform: Waveform,
    frequency: float,
    *,
    synchronised: bool,
    delays: ArrayLike | None,
    skews: ArrayLike | None,
    shared_delay: bool,
    valid: ArrayLike | None,
    limits: tuple[ArrayLike, ArrayLike] | None,
) -> Given:
    """Turn what came into what is meant. Raises TypeError for what is no number, ValueError for the rest."""
    if not isinstance(waveform, Waveform):
        raise TypeError(f"waveform is {waveform!r}; one of freqprop_lab.waveform is wanted, such as TwoTone()")
    rate, repeated = _hertz("sample_rate", sample_rate), _hertz("frequency", frequency)
    if repeated > rate / 2:
        raise ValueError(
            f"frequency is {repeated:g} Hz, above half the sample rate of {rate:g} Hz: the nudge would be seen as "
            "another frequency. Sample faster, or nudge slower"
        )
    samples = _samples(volts)
    lead = samples.shape[:-1]
    records = samples.reshape(-1, *samples.shape[-2:])
    weights, missing = _weights(valid, samples, records)
    n_channels = records.shape[1]
    delay, known = _delay(
        waveform, n_channels, synchronised=synchronised, delays=delays, skews=skews, shared=shared_delay
    )
    return Given(
        records if missing is None else np.where(missing, 0.0, records),
        lead,
        rate,
        repeated,
        waveform,
        delay,
        known,
        weights,
        _limits(limits, n_channels),
        missing,
    )


def checked_options(
    *, hum: float | None, hum_harmonics: int, drift: int, fit_frequency: bool, second_order: bool, robust: bool
) -> Options:
    """Check the optional parts of the model."""
    if hum is not None:
        _hertz("hum", hum)
        if hum_harmonics not in range(1, _MOST_HUM_HARMONICS + 1):
            raise ValueError(
                f"hum_harmonics is {hum_harmonics!r}; whole numbers from 1 to {_MOST_HUM_HARMONICS} are allowed"
            )
    if drift not in range(_MOST_DRIFT + 1):
        raise ValueError(f"drift is {drift!r}; 0 (none), 1 (linear), 2 (quadratic) or 3 are allowed")
    return Options(hum, hum_harmonics, drift, fit_frequency, second_order, robust)


def checked_method(method: str, given: Given, options: Options) -> None:
    """Refuse a method that there is not, or that these records and options don't allow."""
    if not isinstance(method, str):
        raise TypeError(f"method is {method!r}; one of {', '.join(METHODS)} is wanted")
    if options.second_order:
        f = given.waveform.at(np.arange(64) / 64)
        sizes = np.linalg.svd(np.stack([np.ones(64), f, f**2]), compute_uv=False)
        if sizes[-1] < _ALIKE * sizes[0]:
            raise ValueError(
                f"second_order: the square of {given.waveform.name}, which has two values, can't be told from a "
                "constant; leave it out, or choose another waveform"
            )
    n_samples = given.volts.shape[-1]
    n_periods = n_samples * given.frequency / given.sample_rate
    if given.delay is not Delay.KNOWN and n_periods < 1 - _ALIKE:
        raise ValueError(
            f"volts: {n_samples} samples hold {n_periods:.3g} periods of the nudge; to find the delay at least one is "
            "needed. Take a longer record, or pass delays"
        )
    if method not in METHODS:
        raise ValueError(f'method "{method}" is none of {", ".join(METHODS)}.{nearest(method, METHODS)}')
    if method == "projection" and given.delay is not Delay.KNOWN:
        raise ValueError("a projection needs synchronised records; leave method out, or synchronise the meter")
    if method != "harmonic" and (given.weights is not None or given.limits is not None):
        raise ValueError(f'method "{method}" takes every sample; use "harmonic" where some are missing or clipped')
    if method != "harmonic" and options != Options(hum_harmonics=options.hum_harmonics):
        raise ValueError(
            f'method "{method}" has no hum, drift, fit_frequency, second_order or robust; use "harmonic" with them'
        )


def refuse_unidentifiable(waveform: Waveform) -> None:
    """Raise ValueError where Proposition 1 says that (a, b) can't be had without knowing the delay."""
    if not is_delay_identifiable(waveform):
        raise ValueError(
            f"waveform {waveform.name}: some delay turns it into its own inverse, so with an unknown delay the sign of "
            "b can't be told (Proposition 1 of the paper). Choose two-tone or abs-sine, or synchronise the meter with "
            "the source"
        )


def refuse_gaps(volts: Array) -> None:
    """Raise ValueError that says where volts, (..., channel, sample), are NaN or infinite."""
    if not np.isfinite(volts).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(volts))[0])
        raise ValueError(
            f"volts holds NaN or infinite values, the first at channel {place[-2]}, sample {place[-1]}; mark missing "
            "samples by valid, False there"
        )
    raise ValueError("volts holds values too large to be squared; are these volts?")


def _hertz(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real | np.floating | np.integer):
        raise TypeError(f"{name} is {value!r}; a number of hertz is wanted, without unit")
    number = float(value)
    if not np.isfinite(number) or number <= 0:
        raise ValueError(f"{name} is {number:g} Hz; it must be above 0 and finite")
    return number


def _samples(volts: ArrayLike) -> Array:
    try:
        came = np.asarray(volts)
    except ValueError:
        raise ValueError("volts: its channels differ in their number of samples; all must have as many") from None
    if came.dtype.kind not in "fiu":
        raise TypeError(f"volts holds {came.dtype}; numbers of volts are wanted, without unit")
    samples = np.ascontiguousarray(came, dtype=np.float64)
    if samples.ndim < 2 or 0 in samples.shape[:-1]:
        raise ValueError(
            f"volts has the shape {samples.shape}; it must be (channel, sample) or (batch, channel, sample)"
        )
    if samples.shape[-1] < _FEWEST_SAMPLES:
        raise ValueError(
            f"volts holds {samples.shape[-1]} samples a channel; a fit of a and b needs at least {_FEWEST_SAMPLES}"
        )
    return samples


def _weights(valid: ArrayLike | None, samples: Array, records: Array) -> tuple[Array | None, NDArray[np.bool_] | None]:
    """Return 1 and 0 for samples that count and that don't, and which those are; None where all do."""
    if valid is None:
        return None, None
    told = np.asarray(valid)
    if told.dtype.kind != "b":
        raise TypeError(f"valid holds {told.dtype}; True and False are wanted, False for a sample to leave out")
    try:
        counts = np.broadcast_to(told, samples.shape).reshape(records.shape)
    except ValueError:
        raise ValueError(f"valid has the shape {told.shape}; it must fit volts, {samples.shape}") from None
    if not np.isfinite(records[counts]).all():
        raise ValueError("volts holds NaN or infinite values that valid does not mark; mark them False")
    return (None, None) if counts.all() else (counts.astype(np.float64), ~counts)


def _delay(
    waveform: Waveform,
    n_channels: int,
    *,
    synchronised: bool,
    delays: ArrayLike | None,
    skews: ArrayLike | None,
    shared: bool,
) -> tuple[Delay, Array | None]:
    late, later = _seconds("delays", delays, n_channels), _seconds("skews", skews, n_channels)
    known = late if later is None else later if late is None else late + later
    if synchronised or delays is not None:
        if shared:
            raise ValueError("the delays are known, so shared_delay has nothing to find; pass known lateness as skews")
        return Delay.KNOWN, known
    refuse_unidentifiable(waveform)
    return Delay.SHARED if shared else Delay.EACH, known


def _seconds(name: str, values: ArrayLike | None, n_channels: int) -> Array | None:
    if values is None:
        return None
    came = np.asarray(values)
    if came.dtype.kind not in "fiu":
        raise TypeError(f"{name} holds {came.dtype}; numbers of seconds are wanted, without unit")
    seconds = came.astype(np.float64)
    if seconds.shape not in {(), (n_channels,)} or not np.isfinite(seconds).all():
        raise ValueError(f"{name} must be one finite number of seconds for each of the {n_channels} channels")
    return np.broadcast_to(seconds, (n_channels,)) if seconds.any() else None


def _limits(limits: tuple[ArrayLike, ArrayLike] | None, n_channels: int) -> tuple[Array, Array] | None:
    if limits is None:
        return None
    try:
        low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), (n_channels,)) for end in limits)
    except (ValueError, TypeError):
        raise ValueError(
            f"limits must be the two ends of the range in volts, each one number or one for each of the {n_channels} "
            f"channels; it is {limits!r}"
        ) from None
    if not (low < high).all():
        raise ValueError(f"limits: the lower end must lie below the upper one; they are {limits!r}")
    return low, high
