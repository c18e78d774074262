"""What each fault of the nudge does to a b, as far as the bench can show it: with and without, and the difference.

Every effect is what the fault adds to a b / gamma of an element, V^2/S, so that taking it away undoes the fault:

    offset        a b0, of the b0 that a nudge without amplitude shows
    skew          b as read, less b turned back by each channel's hidden delay
    settling      b(omega) - b(0), extrapolated from the two slowest: the in-phase part departs as omega^2 (Remark 1)
    nonlinearity  a b / gamma at gamma less its limit, extrapolated from the two weakest: it departs as gamma^2
    sign          what exchanged leads of an output do to its share, or to what is read of it
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.gradient._delays import Delays
from calibration.gradient._differences import Slope
from calibration.gradient._line import Line, line_through
from calibration.responses import in_phase, turned
from freqprop_lab.network import Network
from freqprop_lab.values import Array, Response
from freqprop_lab.waveform import Waveform

_SURELY = 5.0  # standard errors
_FROM_HALF = 4 / 3  # Richardson: what x^2 adds at x, by what it adds less at x / 2


class Cause(Enum):
    """What may be wrong with a nudge, in the words of the findings."""

    OFFSET = "offset"
    SKEW = "skew uncorrected"
    OMEGA = "omega too fast"
    GAMMA = "gamma too large"
    SIGN = "wrong sign of a port"
    TAPS = "quantised update"


@dataclass(frozen=True)
class Effect:
    """What a fault adds to a b / gamma of every tunable branch, V^2/S, (tunable,), with its standard uncertainty."""

    values: Array
    uncertainty: Array


@dataclass(frozen=True)
class Responses:
    """What came of the nudges.

    gamma: S, of `full`, half of it of the first of `weak`, a quarter of the next. frequency: Hz, of all but `slow`,
    which have their own, falling. zero: a nudge of no amplitude. ports: each output nudged alone, as it is in `full`.
    delays: of the channels, beyond what the lock-in knew.
    """

    network: Network
    waveform: Waveform
    gamma: float
    frequency: float
    full: Response
    weak: tuple[Response, ...]
    slow: tuple[Response, ...]
    slow_frequencies: tuple[float, ...]
    zero: Response
    ports: tuple[Response, ...]
    delays: Delays

    @property
    def product(self) -> Effect:
        """The gradient as training reads it, a b / gamma."""
        return self._product(self.full, self.gamma)

    def offset(self) -> Effect:
        """Return what is there without any nudge."""
        values = self._by_element(self.zero.b)
        return Effect(values, self._uncertainty(self.zero))

    def skew(self) -> Effect:
        """Return what the channels' hidden delays add."""
        tones, waveform = self._tones(self.full), self.waveform
        late = in_phase(tones, waveform) - in_phase(self._in_time(tones, self.frequency), waveform)
        # d Re(T exp(-i angle)) = Im T d angle, and where that is nothing, half of its square
        angle = 2 * np.pi * self.frequency * self.delays.uncertainty
        in_time = self._in_time(tones, self.frequency)
        slips = np.abs(in_time.imag).max(axis=1) * angle + np.abs(in_time).max(axis=1) * angle**2 / 2
        doubt = np.hypot(slips, self.full.b_stderr)
        return Effect(self._by_element(late), self._by_element_squares(doubt))

    def settling(self) -> Effect:
        """Return what the network's slowness adds."""
        b, lacks = self._settled(0), self._lacking
        static = self._settled(len(self.slow)) + lacks
        u = _FROM_HALF * np.hypot(self._uncertainty(self.full), self._uncertainty(self.slow[-1]))
        return Effect(self._by_element(b - static), u)

    def unsettled(self) -> Effect:
        """Return how far the slowest of all nudges still is from its limit, as the one before has it."""
        before = self.full if len(self.slow) == 1 else self.slow[-2]
        u = np.hypot(self._uncertainty(before), self._uncertainty(self.slow[-1])) / 3
        return Effect(self._by_element(self._lacking), u)

    def lagging(self) -> Effect:
        """Return the quadrature part of the slowest nudge, in the same units: omega tau of what still lags."""
        tones = self._in_time(self._tones(self.slow[-1]), self.slowest)
        b = in_phase(np.asarray(tones * -1j), self.waveform)
        return Effect(self._by_element(b), self._uncertainty(self.slow[-1]))

    @property
    def slowest(self) -> float:
        """Frequency of the slowest nudge, Hz."""
        return self._frequencies[-1]

    @property
    def _frequencies(self) -> tuple[float, ...]:
        return (self.frequency, *self.slow_frequencies)

    @property
    def _lacking(self) -> Array:
        """What b of the slowest nudge lacks of its limit, V, (node,): extrapolated in omega^2 from the last two."""
        before, last = self._frequencies[-2:]
        change = self._settled(len(self.slow)) - self._settled(len(self.slow) - 1)
        return np.asarray(change / ((before / last) ** 2 - 1))

    def _settled(self, number: int) -> Array:
        """Return b, V, (node,), of the full nudge (0) or a slower one, the channels' delays taken out."""
        response = self.slow[number - 1] if number else self.full
        return in_phase(self._in_time(self._tones(response), self._frequencies[number]), self.waveform)

    def nonlinearity(self) -> Effect:
        """Return what the bend of the network's response adds."""
        full, last, bends = self._without_stray(0), self._without_stray(len(self.weak)), self.bending()
        u = np.hypot(_FROM_HALF * np.hypot(full.uncertainty, last.uncertainty), self._uncertainty(self.zero))
        return Effect(full.values - (last.values - bends.values), u)

    def bending(self) -> Effect:
        """Return what the bend still adds to the weakest of all nudges, as the one before has it (gamma^2)."""
        before, last = (self._without_stray(len(self.weak) - back) for back in (1, 0))
        u = np.sqrt(before.uncertainty**2 + last.uncertainty**2 + self._uncertainty(self.zero) ** 2) / 3
        return Effect((before.values - last.values) / 3, u)

    def _without_stray(self, number: int) -> Effect:
        """Return a b / gamma of the full nudge (0) or a weaker one, less what is there without any."""
        response = self.weak[number - 1] if number else self.full
        gamma = self.gamma * 0.5**number
        product = self._product(response, gamma)
        stray = self._across(response.a) * self._across(self.zero.b) / gamma
        return Effect(product.values - stray, product.uncertainty)

    def port(self, output: int) -> Effect:
        """Return the part of a b / gamma that comes by one output, delays and offset taken out."""
        tones = self.ports[output].tones
        assert tones is not None and self.zero.tones is not None  # noqa: S101, PT018 - demodulated records have them
        b = in_phase(self._in_time(tones - self.zero.tones, self.frequency), self.waveform)
        return Effect(self._by_element(b), self._uncertainty(self.ports[output]))

    def reversed_ports(self, gradient: Array) -> set[int]:
        """Return the outputs whose own voltage goes against the current that nudges them: no passive network does.

        gradient: dC/dv of each output, V, (output,): the nudge is -gamma times that.
        """
        assert self.zero.tones is not None  # noqa: S101 - demodulated records have them
        found = set()
        plus, minus = self.network.output_ends
        for output, response in enumerate(self.ports):
            assert response.tones is not None  # noqa: S101
            b = in_phase(self._in_time(response.tones - self.zero.tones, self.frequency), self.waveform)
            follows = -np.sign(gradient[output]) * self.network.read_outputs(b)[output]
            noise = np.append(response.b_stderr, 0.0)
            if follows < -_SURELY * np.hypot(noise[plus[output]], noise[minus[output]]):
                found.add(output)
        return found

    def with_reads_exchanged(self, outputs: Collection[int]) -> Responses:
        """Return what would have been read with the meter leads of these outputs' nodes exchanged."""
        order = np.arange(len(self.network.nodes))
        for plus, minus in np.transpose(self.network.output_ends)[list(outputs)].tolist():
            if minus < 0:  # a lead at ground reads nothing
                continue
            order[[plus, minus]] = order[[minus, plus]]
        late = self.delays
        return replace(
            self,
            full=_in_order(self.full, order),
            weak=tuple(_in_order(one, order) for one in self.weak),
            zero=_in_order(self.zero, order),
            slow=tuple(_in_order(one, order) for one in self.slow),
            ports=tuple(_in_order(port, order) for port in self.ports),
            delays=Delays(late.delay[order], late.uncertainty[order], late.lag[order]),
        )

    def _tones(self, response: Response) -> NDArray[np.complex128]:
        assert response.tones is not None and self.zero.tones is not None  # noqa: S101, PT018
        return np.asarray(response.tones - self.zero.tones)

    def _in_time(self, tones: NDArray[np.complex128], frequency: float) -> NDArray[np.complex128]:
        orders = np.arange(1, tones.shape[1] + 1)
        return turned(tones, orders, frequency, self.delays.delay)

    def _across(self, volts: Array) -> Array:
        return self.network.across_tunable(volts)

    def _product(self, response: Response, gamma: float) -> Effect:
        a, b = self._across(response.a), self._across(response.b)
        plus, minus = self.network.tunable_ends
        shared, a_squared, b_squared = (
            np.append(each, 0.0) for each in (response.ab_bias, response.a_stderr**2, response.b_stderr**2)
        )
        values = (a * b - shared[plus] - shared[minus]) / gamma
        variance = a**2 * (b_squared[plus] + b_squared[minus]) + b**2 * (a_squared[plus] + a_squared[minus])
        return Effect(values, np.sqrt(variance) / gamma)

    def _by_element(self, b: Array) -> Array:
        return np.asarray(self._across(self.full.a) * self._across(b) / self.gamma)

    def _by_element_squares(self, doubt: Array) -> Array:
        """Return the uncertainty of a b / gamma for that of each node's b, V, (node,)."""
        plus, minus = self.network.tunable_ends
        padded = np.append(doubt, 0.0)
        spread = np.hypot(padded[plus], padded[minus])
        return np.asarray(np.abs(self._across(self.full.a)) * spread / self.gamma)

    def _uncertainty(self, response: Response) -> Array:
        return self._by_element_squares(response.b_stderr)


def port_lines(responses: Responses, slopes: Mapping[int, Slope], gradient: Array) -> list[Line]:
    """Hold each output's own share of a b against the finite differences of that output itself: a line a port.

    slopes: by number among the tunable branches. gradient: dC/dv of each output, V, (output,). Its slope is 1 where the
    output's nudge and its reading agree, -1 where the leads of one of them are exchanged.
    """
    chosen = list(slopes)
    lines = []
    for output, g in enumerate(gradient):
        share = responses.port(output)
        x = np.array([g * slopes[k].outputs[output] for k in chosen])
        u = np.array([abs(g) * slopes[k].uncertainty[output] for k in chosen])
        lines.append(line_through(x, share.values[chosen], u, share.uncertainty[chosen], origin=True))
    return lines


@dataclass(frozen=True)
class Exchanged:
    """Leads that are exchanged, by the number of their output: those of its nudge, and those of its meter channels."""

    drives: tuple[int, ...] = ()
    reads: tuple[int, ...] = ()

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self.drives or self.reads)


def exchanged_leads(
    responses: Responses, slopes: Mapping[int, Slope], gradient: Array, wrong: Collection[int]
) -> tuple[Exchanged, Effect]:
    """Return which leads of the outputs of wrong sign are exchanged, as the elements have it, and what that adds.

    The effect is of the elements in `slopes`, (element,). Where drives are exchanged an output's share of a b has the
    wrong sign; where reads are, its finite difference has, and a and b of the two nodes are each other's. All ways to
    blame one or the other are tried; the one that leaves least is taken.
    """
    chosen = list(slopes)
    best, least, effect = Exchanged(), np.inf, Effect(np.zeros(len(chosen)), np.zeros(len(chosen)))
    product = responses.product.values[chosen]
    difference = np.array([slope.cost for slope in slopes.values()])
    by_port = np.array([gradient * slope.outputs for slope in slopes.values()])
    for blamed in itertools.product((False, True), repeat=len(wrong)) if wrong else ():
        reads = tuple(output for output, is_read in zip(wrong, blamed, strict=True) if is_read)
        drives = tuple(output for output in wrong if output not in reads)
        mended = responses.with_reads_exchanged(reads)
        shares = [mended.port(output) for output in drives]
        there = mended.product.values - 2 * sum(share.values for share in shares)
        left = there[chosen] - (difference - 2 * by_port[:, list(reads)].sum(axis=1))
        if float(left @ left) < least:
            variance = 4 * sum(share.uncertainty**2 for share in shares) + mended.product.uncertainty**2
            effect = Effect(product - difference - left, np.sqrt(variance)[chosen])
            best, least = Exchanged(drives, reads), float(left @ left)
    return best, effect


def effects(responses: Responses) -> dict[Cause, Effect]:
    """Return the effect of every cause that shows without finite differences."""
    return {
        Cause.OFFSET: responses.offset(),
        Cause.SKEW: responses.skew(),
        Cause.OMEGA: responses.settling(),
        Cause.GAMMA: responses.nonlinearity(),
    }


def _in_order(response: Response, order: NDArray[np.intp]) -> Response:
    fields: dict[str, Any] = {}
    for name, value in vars(response).items():
        fields[name] = value if value is None or not value.ndim or name == "frequency" else value[order]
    return Response(**fields)
