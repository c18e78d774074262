"""Choosing the nudge: noise falls with its size, the network's bends grow with it, and slowness with its frequency.

What is weighed is the gradient as a whole, u = a_jk b_jk / gamma over all tunable branches and some examples:

    noise       sqrt(sum var u) / |u|, from the meter's noise by the Cramer-Rao bound; falls as 1 / (gamma sqrt(N))
    bias        |u(gamma) - u(0)| / |u(0)|; of second order in gamma for an odd waveform, of first order for |sin|
    relaxation  (omega tau)^2 of the highest harmonic that counts

The network's part is found out by nudging it, at some sizes, with every waveform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from freqprop_lab.bench import Bench
from freqprop_lab.lockin import error_of_relaxation, highest_frequency
from freqprop_lab.rules import Adjoint, Example, FrequencyPropagation, Rule
from freqprop_lab.values import Array, Drive, Nudge, NudgeKind, Response, Update
from freqprop_lab.waveform import WAVEFORMS, Waveform, distinguishability, is_delay_identifiable

_SHARE_OF_RELAXATION = 1 / 3  # of the wished error
_MARGIN = 6.0  # |b| D sqrt(N) / noise: signs are then wrong less than once in a thousand
_SIZES = np.array([0.125, 0.25, 0.5, 1.0, 2.0, 4.0])  # of gamma, at which the network is tried
_BROADBAND = 12  # the highest harmonic that counts of a waveform without end
_FEWEST_A_PERIOD = 20
_FEWEST_PERIODS = 2
_GAMMAS_A_DECADE = 12
_DECADES = 4


@dataclass(frozen=True)
class Meter:
    """What the recommendation needs of the meter. noise: V rms a sample, quantisation included. sample_rate: Hz.

    relaxation_time: s, of the slowest part that matters; 0 where the network is quasi-static. shared: an unsynchronised
    meter's channels share one delay. most_samples: the longest record.
    """

    noise: float
    sample_rate: float
    relaxation_time: float = 0.0
    synchronised: bool = True
    shared: bool = True
    most_samples: int = 100_000


@dataclass(frozen=True)
class Trade:
    """What a waveform costs by the size of the nudge, relative errors of the gradient, (gamma,) each.

    gammas: task units. noise: for a record of one sample; divide by the root of the number of samples. margin: |b| D /
    noise likewise.
    """

    gammas: Array
    noise: Array
    bias: Array
    margin: Array


@dataclass(frozen=True)
class Choice:
    """A waveform with the size, frequency and record that serve it best. Errors are relative, of the gradient.

    gamma: task units. frequency: Hz. margin: |b| D sqrt(N) / noise, infinite where the delay is known. seconds: of
    signal a step, two records. reached: whether the wished error is met.
    """

    waveform: str
    gamma: float
    frequency: float
    samples_per_period: int
    periods: int
    noise: float
    bias: float
    relaxation: float
    margin: float
    seconds: float
    reached: bool

    @property
    def error(self) -> float:
        """All three together."""
        return float(np.sqrt(self.noise**2 + self.bias**2 + self.relaxation**2))


@dataclass(frozen=True)
class Advice:
    """The choices, the shortest record first; the trades by waveform; the meter and the wished error they are for."""

    choices: tuple[Choice, ...]
    trades: dict[str, Trade]
    meter: Meter
    error: float

    @property
    def best(self) -> Choice:
        """The first one."""
        return self.choices[0]


def recommend_nudge(bench: Bench, examples: Sequence[Example], meter: Meter, gamma: float, error: float) -> Advice:
    """Recommend waveform, size, frequency and length of record for a bench and a wished error of the gradient.

    bench: nudged at some sizes about gamma (S) and programmed as it is; best one without noise, since what is left is
    taken for the network's bend. examples: some that are typical. error: relative, between 0 and 1. Raises ValueError
    for arguments that make no sense, InstrumentError from the bench.
    """
    if not 0 < error < 1:
        raise ValueError(f"the wished error is {error:g}; a share between 0 and 1 is wanted, such as 0.1")
    if meter.noise < 0 or meter.sample_rate <= 0 or meter.relaxation_time < 0 or not examples:
        raise ValueError("noise and relaxation time can't be negative; the sample rate is above 0; examples are needed")
    trades, choices = {}, []
    for name, waveform in WAVEFORMS.items():
        if not meter.synchronised and not is_delay_identifiable(waveform):
            continue
        trade = _trade(bench, examples, waveform, gamma, meter)
        trades[name] = trade
        choices.append(_choice(name, waveform, trade, meter, error))
    choices.sort(key=lambda choice: (not choice.reached, choice.seconds if choice.reached else 0.0, choice.error))
    return Advice(tuple(choices), trades, meter, error)


def _trade(bench: Bench, examples: Sequence[Example], waveform: Waveform, gamma: float, meter: Meter) -> Trade:
    """Nudge the bench at some sizes and say what any size costs."""
    network = bench.network
    linear = network.is_linear
    top = gamma * min(float(_SIZES[-1]), *(_headroom(bench, example, waveform, gamma) for example in examples))
    tried = np.array([gamma * 0.5]) if linear else top * _SIZES / _SIZES[-1]
    found = [[_nudged(bench, example, waveform, size) for example in examples] for size in tried]
    updates = np.array([np.concatenate([update for update, _ in row]) for row in found])
    at_rest = _at_rest(bench, examples, updates, tried)
    size = float(np.linalg.norm(at_rest))
    if not size > 0:
        raise ValueError(
            "these examples show no error, so there is nothing to nudge; take others, or an untrained bench"
        )
    gammas = top * np.logspace(-_DECADES, 0, _DECADES * _GAMMAS_A_DECADE + 1)
    first, second = (0.0, 0.0) if linear else _bends(tried, np.linalg.norm(updates - at_rest, axis=1) / size)
    middle = len(tried) // 2
    responses = [response for _, response in found[middle]]
    n_nodes = sum(np.isfinite(response.b).sum() for response in responses)
    b_per_gamma = np.sqrt(sum(np.nansum(response.b**2) for response in responses) / n_nodes) / tried[middle]
    noise = meter.noise * _noise_of_gradient(bench, responses, waveform, tried[middle], gammas) / size
    told_apart = np.inf
    if not meter.synchronised:
        together = np.sqrt(n_nodes / len(responses)) if meter.shared else 1.0
        told_apart = distinguishability(waveform) * together
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = gammas * b_per_gamma * told_apart / meter.noise
    return Trade(gammas / bench.scales.siemens, noise, np.hypot(first * gammas, second * gammas**2), margin)


def _nudged(bench: Bench, example: Example, waveform: Waveform, gamma: float) -> tuple[Array, Response]:
    """Return the gradient that one example shows under a nudge, and the nudged response."""
    update = _update(bench, FrequencyPropagation(bench.network, 1.0, gamma, waveform), example)
    return update.delta / -gamma, update.response


def _at_rest(bench: Bench, examples: Sequence[Example], updates: Array, tried: Array) -> Array:
    """Return the gradient that the nudged ones tend to: the exact one of a numeric bench, else extrapolated."""
    if NudgeKind.TANGENT in bench.nudges:
        exact = Adjoint(bench.network, 1.0, 1.0)
        return np.concatenate([-_update(bench, exact, example).delta for example in examples])
    if len(tried) == 1:
        return np.asarray(updates[0])
    columns = np.stack([np.ones(len(tried)), tried, tried**2], axis=1)
    return np.asarray(np.linalg.lstsq(columns, updates, rcond=None)[0][0])


def _update(bench: Bench, rule: Rule, example: Example) -> Update:
    process = rule.process(example)
    measurement = next(process)
    while True:
        try:
            measurement = process.send(bench.respond(measurement.drive, measurement.n_periods))
        except StopIteration as finished:
            update: Update = finished.value
            return update


def _bends(tried: Array, bias: Array) -> tuple[float, float]:
    """Return the coefficients of bias = c1 gamma + c2 gamma^2, neither negative; small sizes weigh as much as large."""
    columns = np.stack([tried, tried**2], axis=1)
    weight = 1 / np.maximum(bias, 1e-12 * bias.max(initial=1e-300) + 1e-300)
    first, second = nnls(columns * weight[:, None], bias * weight)[0]
    return float(first), float(second)


def _noise_of_gradient(
    bench: Bench, responses: Sequence[Response], waveform: Waveform, tried: float, gammas: Array
) -> Array:
    """Return the standard deviation of u, for one sample of unit noise, by gamma: from var a, var b and their product.

    b grows with gamma, a does not: var u = a^2 var b / gamma^2 + (b / gamma)^2 var a.
    """
    read = np.zeros(len(bench.network.nodes) + 1)
    read[bench.read_nodes] = 1.0
    plus, minus = bench.network.tunable_ends
    n_ends = read[plus] + read[minus]
    b_variance = n_ends / waveform.variance
    a_variance = n_ends * waveform.rms**2 / waveform.variance
    from_b = from_a = 0.0
    for response in responses:
        from_b += float(np.nansum(bench.network.across_tunable(response.a) ** 2 * b_variance))
        from_a += float(np.nansum((bench.network.across_tunable(response.b) / tried) ** 2 * a_variance))
    return np.asarray(np.sqrt(from_b / gammas**2 + from_a))


def _headroom(bench: Bench, example: Example, waveform: Waveform, gamma: float) -> float:
    """Return how many times as strong the nudge of an example could be before a source or a rating refuses it."""
    free = bench.respond(Drive(example.levels))
    gradient = example.objective.gradient(bench.network.read_outputs(free.a))
    return bench.nudge_headroom(Drive(example.levels, Nudge(-gamma * gradient, waveform)))


def _choice(name: str, waveform: Waveform, trade: Trade, meter: Meter, error: float) -> Choice:
    """Take the shortest record that meets the wished error, at the size that serves it best; else the longest."""
    order = waveform.last_harmonic or _BROADBAND
    per_period = max(_FEWEST_A_PERIOD, 2 * order + 1)
    if meter.relaxation_time:
        highest = highest_frequency(meter.relaxation_time, error * _SHARE_OF_RELAXATION, order)
        per_period = max(per_period, int(np.ceil(meter.sample_rate / highest)))
    frequency = meter.sample_rate / per_period
    relaxation = error_of_relaxation(frequency * order, meter.relaxation_time)
    periods = _FEWEST_PERIODS
    while True:
        n_samples = periods * per_period
        total = np.sqrt(trade.noise**2 / n_samples + trade.bias**2 + relaxation**2)
        told = trade.margin * np.sqrt(n_samples) >= _MARGIN
        place = int(np.where(told, total, np.inf).argmin()) if told.any() else int(total.argmin())
        reached = bool(told[place] and total[place] <= error)
        longer = max(periods + 1, int(periods * 1.2))
        if reached or longer * per_period > meter.most_samples:
            break
        periods = longer
    return Choice(
        name,
        float(trade.gammas[place]),
        frequency,
        per_period,
        periods,
        float(trade.noise[place] / np.sqrt(n_samples)),
        float(trade.bias[place]),
        relaxation,
        float(trade.margin[place] * np.sqrt(n_samples)),
        2 * (n_samples / meter.sample_rate + 5 * meter.relaxation_time),
        reached,
    )
