"""The plain data that travels between the layers: what is asked of a bench and what comes back.

Arrays are float64, SI units. Nothing here knows an instrument, a circuit or a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntFlag

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.waveform import Array, Waveform

__all__ = [
    "Array",
    "BlockPlan",
    "BlockResult",
    "ChannelDrive",
    "ConductanceTable",
    "Correction",
    "Drive",
    "Feedback",
    "Flag",
    "Nudge",
    "NudgeKind",
    "Record",
    "Response",
    "Scales",
    "Timing",
    "Update",
    "UsedRecord",
]


@dataclass(frozen=True)
class Scales:
    """What a unit of the task is on a bench: volts s_V (V), conductance s_G (S); see docs/physics.md."""

    volts: float = 1.0
    siemens: float = 1.0

    @property
    def amperes(self) -> float:
        """One task unit of current, A."""
        return self.volts * self.siemens

    def alpha(self, alpha: float) -> float:
        """Turn a learning rate in task units into S/V^2."""
        return alpha * self.siemens / self.volts**2

    def gamma(self, gamma: float) -> float:
        """Turn a nudge strength in task units into siemens: amperes of nudge per volt of error."""
        return gamma * self.siemens


class NudgeKind(Enum):
    """How the outputs are nudged; a bench says which of them it can do."""

    CURRENT = "current"  # a current of fixed gradient, open loop: the default
    FEEDBACK = "feedback"  # the gradient follows the nudged state, as eq. 3.3 is printed
    CLAMPED = "clamped"  # the outputs are held by voltage sources (Remark 2)
    TANGENT = "tangent"  # the derivative of the response at zero nudge: arithmetic only, no bench has it


@dataclass(frozen=True)
class Feedback:
    """A nudge whose gradient is taken at the nudged state itself: current -strength f g(v) (eq. 3.3).

    strength: S. evaluate: port voltages (output,) V to the gradient (output,) V and its derivative (output, output).
    """

    strength: float
    evaluate: Callable[[Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Nudge:
    """A waveform times an amplitude per output port, (output,).

    CURRENT, TANGENT: amperes INTO the + end of the port (and out of its - end). CLAMPED: volts about `held`, the
    voltages of all nodes, (node,), about which the outputs are held. FEEDBACK: amplitudes are unused, `feedback` rules.
    """

    amplitudes: Array
    waveform: Waveform
    kind: NudgeKind = NudgeKind.CURRENT
    held: Array | None = None
    feedback: Feedback | None = None


@dataclass(frozen=True)
class Drive:
    """What the sources put on the network for one measurement.

    levels: (input,), V (A for a current input) at each input port. nudge: None leaves the outputs at rest.
    """

    levels: Array
    nudge: Nudge | None = None


@dataclass(frozen=True)
class ChannelDrive:
    """What each source channel of a bench puts out for one measurement, whatever ports the network has.

    levels: V or A, (lead,), in the order of the bench's `leads`; NaN releases a channel. amplitudes: of the waveform on
    top of them, V or A, (lead,); None where there is no waveform.
    """

    levels: Array
    amplitudes: Array | None = None
    waveform: Waveform | None = None


@dataclass(frozen=True)
class Timing:
    """What an instrument really does: actual sample rate (Hz) and number of samples."""

    sample_rate: float
    n_samples: int


@dataclass(frozen=True)
class Record:
    """What the meters returned.

    volts: V, (channel, sample), evenly sampled from the start trigger on; NaN where a channel is not wired.
    skews: s, (channel,): known lateness of each channel's samples. clipped, missing: samples, (channel,), that lay at
    the end of the range, or did not arrive. channels: a name for each row.
    """

    volts: Array
    sample_rate: float
    skews: Array
    clipped: Array
    missing: Array
    channels: tuple[str, ...] = ()


class Flag(IntFlag):
    """What makes a channel's response doubtful; none of them is an error by itself."""

    CLIPPED = 1  # samples at the end of the range were left out
    MISSING = 2  # samples that never arrived, or were told to be bad, were left out
    SIGN_AMBIGUOUS = 4  # the delay is unknown, and the sign of b not known to 99 %; b_stderr covers the other one
    NOT_SETTLED = 8  # the halves of the record differ by more than their noise
    WRONG_FREQUENCY = 16  # the phase of the nudge drifts over the record


@dataclass(frozen=True)
class Response:
    """Per channel (or node): a (activation, DC) and b (error signal, signed nudge coefficient), V, (..., channel).

    covariance: V^2, (..., channel, 2, 2), of (a, b); zeros where a numeric bench knows them exactly.
    noise: V, (..., channel), rms of the residual. delay, delay_stderr: s, where it was fitted. sign_confidence: the
    probability that the sign of b is right. flags: (..., channel), sums of `Flag`. tones: V, (..., channel, harmonic),
    complex: what came back at each harmonic of the nudge over what the waveform has there, in the phase of the record;
    a network without capacitance gives b, turned by the delay. frequency: Hz, (...), where it was fitted. product_bias:
    V^2, (..., channel), what noise adds to the mean of a b, where that is not the covariance (delay fitted).
    """

    a: Array
    b: Array
    covariance: Array
    noise: Array | None = None
    delay: Array | None = None
    delay_stderr: Array | None = None
    sign_confidence: Array | None = None
    flags: NDArray[np.uint8] | None = None
    tones: NDArray[np.complex128] | None = None
    frequency: Array | None = None
    product_bias: Array | None = None

    @property
    def a_stderr(self) -> Array:
        """Standard error of a, V."""
        return np.sqrt(self.covariance[..., 0, 0])

    @property
    def b_stderr(self) -> Array:
        """Standard error of b, V."""
        return np.sqrt(self.covariance[..., 1, 1])

    @property
    def ab_covariance(self) -> Array:
        """Covariance of a and b, V^2: what biases their product where the delay is known."""
        return np.asarray(self.covariance[..., 0, 1])

    @property
    def ab_bias(self) -> Array:
        """What noise adds to the mean of a b, V^2: to be taken off their product."""
        return self.ab_covariance if self.product_bias is None else self.product_bias

    def flagged(self, flag: Flag) -> NDArray[np.bool_]:
        """Say which channels carry a flag, (..., channel)."""
        if self.flags is None:
            return np.zeros(self.a.shape, dtype=np.bool_)
        return np.asarray((self.flags & np.uint8(flag)) != 0)


@dataclass(frozen=True)
class ConductanceTable:
    """What a tunable element really has, by what it is told to have: S, (point,) each, both rising.

    Between points straight lines; beyond the ends the ratio of the end. A single point is a ratio for all.
    """

    nominal: Array
    true: Array

    def __post_init__(self) -> None:
        """Refuse what has no inverse."""
        shapes = self.nominal.ndim == self.true.ndim == 1 and len(self.nominal) == len(self.true) > 0
        if not (shapes and (np.diff(self.nominal) > 0).all() and (np.diff(self.true) > 0).all() and self.true[0] > 0):
            raise ValueError("a table of conductances must rise from point to point, in both columns, from above 0")

    def true_of(self, nominal: float) -> float:
        """Return what is there where `nominal` is asked, S."""
        return _along(nominal, self.nominal, self.true)

    def nominal_of(self, true: float) -> float:
        """Return what to ask for so that `true` is there, S."""
        return _along(true, self.true, self.nominal)


def _along(x: float, points: Array, values: Array) -> float:
    if x <= points[0]:
        return float(x * (values[0] / points[0]))
    if x >= points[-1]:
        return float(x * (values[-1] / points[-1]))
    return float(np.interp(x, points, values))


@dataclass(frozen=True)
class UsedRecord:
    """A calibration record that a correction was made from: enough to find it again, and to know it unchanged."""

    procedure: str
    uid: str
    time: str
    path: str
    checksum: str


@dataclass(frozen=True)
class Correction:
    """What calibration knows of a bench, so that it acts and reads as if it were ideal. None: nothing to correct.

    A source channel asked for x puts out source_gain x + source_offset, V or A, (lead,); a meter channel at a node of
    v volts reads meter_gain v + meter_offset, V, (node,). skews: s, (node,), lateness beyond what the meter itself
    tells. pickup: V, (node,), the b that a nudge of no amplitude shows. conductances: (tunable,), None for an element
    that is what it says. records: what all this comes from; notes: what a person should hear before it is used.
    """

    source_gain: Array | None = None
    source_offset: Array | None = None
    meter_gain: Array | None = None
    meter_offset: Array | None = None
    skews: Array | None = None
    pickup: Array | None = None
    conductances: tuple[ConductanceTable | None, ...] | None = None
    records: tuple[UsedRecord, ...] = ()
    notes: tuple[str, ...] = ()

    def check(self, n_leads: int, n_nodes: int, n_tunable: int) -> None:
        """Raise ValueError for what does not fit a bench of so many leads, nodes and tunable branches."""
        for names, count, what in (
            (("source_gain", "source_offset"), n_leads, "source channel"),
            (("meter_gain", "meter_offset", "skews", "pickup"), n_nodes, "node"),
        ):
            for name in names:
                given = getattr(self, name)
                if given is not None and np.shape(given) != (count,):
                    raise ValueError(
                        f"correction: {name} has shape {np.shape(given)}; ({count},), one value a {what}, is wanted"
                    )
        if self.conductances is not None and len(self.conductances) != n_tunable:
            raise ValueError(
                f"correction: conductances holds {len(self.conductances)} tables; {n_tunable} are wanted, one a "
                "tunable branch, None for an element that is what it says"
            )

    def asked(self, values: Array, *, first: int) -> Array:
        """Return what to ask of source channels so that they put out `values`, V or A, (..., lead from `first` on)."""
        return self.scaled(values - self._of(self.source_offset, first, values, 0.0), first=first)

    def scaled(self, amplitudes: Array, *, first: int) -> Array:
        """Return what to ask so that amplitudes come out: gains alone count."""
        return np.asarray(amplitudes / self._of(self.source_gain, first, amplitudes, 1.0))

    def volts(self, readings: Array) -> Array:
        """Return the node voltages, V, (node, sample), that the meters' readings stand for."""
        gain = 1.0 if self.meter_gain is None else self.meter_gain[:, None]
        offset = 0.0 if self.meter_offset is None else self.meter_offset[:, None]
        return np.asarray((readings - offset) / gain)

    def true_conductances(self, nominal: Array) -> Array:
        """Return the conductances that are there where `nominal` is programmed, S, (tunable,)."""
        return self._converted(nominal, ConductanceTable.true_of)

    def nominal_conductances(self, true: Array) -> Array:
        """Return what to program so that `true` is there, S, (tunable,)."""
        return self._converted(true, ConductanceTable.nominal_of)

    def _converted(self, values: Array, convert: Callable[[ConductanceTable, float], float]) -> Array:
        if self.conductances is None:
            return values
        pairs = zip(values.tolist(), self.conductances, strict=True)
        return np.array([value if table is None else convert(table, value) for value, table in pairs])

    def _of(self, factors: Array | None, first: int, values: Array, nothing: float) -> Array | float:
        return nothing if factors is None else factors[first : first + values.shape[-1]]


@dataclass(frozen=True)
class Update:
    """What a rule makes of an example's responses.

    delta: S, (tunable,), NaN-free; outputs, V, (output,), as read in the free record; cost in V^2; response: the last
    one, for the log.
    """

    delta: Array
    outputs: Array
    cost: float
    response: Response


@dataclass(frozen=True)
class BlockPlan:
    """Many freq-prop steps in one call, plain arrays, SI units.

    levels: (example, input). targets: (example, output). order: example numbers, (step,). wished, lowest, highest:
    conductances and their bounds, (tunable,) each. cost: by name; temperature: of the cross-entropy, task units;
    volts: one of those. accumulate: updates add up in `wished`, not in what the parts hold. stochastic: a wish is
    rounded by draws, (step, tunable) in 0..1: upwards where the draw is below its place between its neighbours.
    free_activation: a is that of the free record. significance: as the rule has it; 0 on a bench without doubt.
    """

    levels: Array
    targets: Array
    order: NDArray[np.intp]
    wished: Array
    lowest: Array
    highest: Array
    alpha: float
    gamma: float
    cost: str
    waveform: Waveform
    nudge: NudgeKind = NudgeKind.CURRENT
    temperature: float = 1.0
    volts: float = 1.0
    accumulate: bool = True
    stochastic: bool = False
    draws: Array | None = None
    free_activation: bool = False
    significance: float = 0.0


@dataclass(frozen=True)
class BlockResult:
    """What a block of steps did.

    wished, realised: conductances after it. outputs: (step, output), before each update. response: the last one.
    """

    wished: Array
    realised: Array
    outputs: Array
    response: Response
