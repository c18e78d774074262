"""What the meters would read if a hypothesis were true, and how well it explains what they did read.

Data: y[state, channel, lead], half the difference of a channel's readings while one lead is up and down: offsets drop
out. Model, with T the transfer of the network in that state:

    y = g_channel T[node of the channel, lead] s_lead size_lead + noise.

Nuisances, all as logarithms with normal beliefs: gains g and s, series resistors, each branch's conductance (its
tolerance, common to all states) and, for tunable ones, a deviation of each state's own (wiper, quantisation). Every
derivative is an outer product of a vector over channels and one over leads, J[(k, l), p] = A[k, p] C[l, p], so normal
equations are (A'A) o (C'C), and no matrix is larger than parameters x parameters. Source: Khatri & Rao (1968).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.wiring.hypothesis import NOTHING, Hypothesis, Part, Places
from freqprop_lab.bench import Lead
from freqprop_lab.network import GROUND, Network
from freqprop_lab.values import Array

Indices = NDArray[np.intp]

OPEN = 1e-12  # S, of what conducts nothing: it keeps voltages defined
SHORTED = 1.0  # S, before anything is known of a short; a factor of e^2 more or less
SHORT_DOUBT, WRONG_DOUBT, STUCK_DOUBT = 2.0, 1.2, 1.5  # of ln G
_OWN = 0.5  # of an element's tolerance: by how much it may stray from setting to setting
_UNREAD = 1e-3  # of the drive: what a lead that hangs in the air may pick up
_SINGULAR = 1e15
_FLOATING = "a part of the network hangs on nothing, so that it has no voltages"
_MOST_STEPS, _FEW_STEPS = 15, 4
_SETTLED = 1e-2  # of chi^2 / 2
_HOPELESS = 40.0  # of ln, and a tenth of what is hoped for: how far behind that a fit is given up


@dataclass(frozen=True)
class Observed:
    """What was measured, and what is believed. Shapes: state s, channel k, lead l, branch b, tunable t.

    y: V, (s, k, l); sigma: V, (s, k); sizes: V or A, (l,). nominal: ln S that each element was set to, (s, t).
    nodes: that the channels should read, (k,). The rest are standard uncertainties: of ln gains, ln series resistors
    (l,) and ln conductances (b,).
    """

    network: Network
    leads: tuple[Lead, ...]
    nodes: Indices
    y: Array
    sigma: Array
    sizes: Array
    nominal: Array
    meter_gain: Array
    source_gain: Array
    series: Array
    tolerance: Array

    @cached_property
    def places(self) -> Places:
        """Where faults can be."""
        network, grounds = self.network, []
        for node in network.nodes:
            ends = [{branch.plus, branch.minus} for branch in network.branches]
            grounds.append(tuple(number for number, pair in enumerate(ends) if pair == {node, GROUND}))
        tunable = tuple(network.tunable.tolist())
        faultless = Hypothesis(tuple(self.nodes.tolist()), tuple(range(len(self.leads))), tuple(range(len(tunable))))
        kept = tuple(group for group in grounds if group)
        return Places(faultless, tunable, len(network.branches), len(network.nodes), kept)

    @cached_property
    def branches(self) -> Array:
        """The incidence of branches, (branch, node)."""
        return _incidence(len(self.network.nodes), self.network.plus, self.network.minus)

    @cached_property
    def ends(self) -> Array:
        """The incidence of leads, (lead, node)."""
        plus, minus = (np.array([getattr(lead, end) for lead in self.leads]) for end in ("plus", "minus"))
        return _incidence(len(self.network.nodes), plus, minus)

    @cached_property
    def spots(self) -> Array:
        """Where a lead may be: at a lead's own place, or from a node to ground, (lead + node, node)."""
        return np.concatenate([self.ends, np.eye(len(self.network.nodes))])

    def spot(self, node: int) -> int:
        """Return the number of the spot at a node: that of the lead which belongs there, if one does."""
        own = [number for number, lead in enumerate(self.leads) if (lead.plus, lead.minus) == (node, -1)]
        return own[0] if own else len(self.leads) + node

    @cached_property
    def listed(self) -> Array:
        """Ln of the conductances as listed, (branch,)."""
        return np.log([branch.theta[0] for branch in self.network.branches])

    @cached_property
    def behind(self) -> Indices:
        """The leads with a series resistor."""
        return np.array([i for i, lead in enumerate(self.leads) if lead.is_behind_resistor], dtype=np.intp)

    @cached_property
    def stiff(self) -> Indices:
        """The leads that hold voltages."""
        return np.flatnonzero([lead.is_stiff for lead in self.leads])

    @cached_property
    def currents(self) -> Indices:
        """The leads that give currents."""
        return np.flatnonzero([lead.kind == "current" for lead in self.leads])

    @cached_property
    def n_shared(self) -> int:
        """How many parameters all states share: branches, series resistors, gains of channels and of leads."""
        return len(self.listed) + len(self.behind) + len(self.nodes) + len(self.leads)


def _incidence(n_nodes: int, plus: Indices, minus: Indices) -> Array:
    rows = np.zeros((len(plus), n_nodes + 1))
    rows[np.arange(len(plus)), plus] += 1  # ground is -1, the last column
    rows[np.arange(len(minus)), minus] -= 1
    return rows[:, :-1]


@dataclass(frozen=True)
class Belief:
    """The nuisances' beliefs under a hypothesis. shared: mean and sd (parameter,); own: sd (tunable,).

    base: ln G of every branch in every state, before deviations, (s, b); free: whether it hangs on them, (b,).
    """

    mean: Array
    doubt: Array
    own: Array
    base: Array
    free: NDArray[np.bool_]


def believed(observed: Observed, hypothesis: Hypothesis) -> Belief:
    """Return what is believed of the nuisances if a hypothesis is true."""
    n_states, tunable = len(observed.y), observed.network.tunable
    base = np.tile(observed.listed, (n_states, 1))
    base[:, tunable] = observed.nominal[:, list(hypothesis.lines)]
    doubt = observed.tolerance.copy()
    free = np.ones(len(base[0]), dtype=bool)
    for branch, part in hypothesis.parts:
        if part is Part.OPEN:
            base[:, branch], free[branch] = np.log(OPEN), False
        elif part is Part.SHORT:
            base[:, branch], doubt[branch] = np.log(SHORTED), SHORT_DOUBT
        elif part is Part.WRONG:
            doubt[branch] = np.hypot(doubt[branch], WRONG_DOUBT)
        else:
            base[:, branch], doubt[branch] = base[:, branch].mean(), STUCK_DOUBT
    others = (observed.series, observed.meter_gain, observed.source_gain)
    whole = np.concatenate([doubt, *others])
    own = observed.tolerance[tunable] * _OWN
    return Belief(np.zeros(len(whole)), whole, own, base, free)


@dataclass(frozen=True)
class Solved:
    """The network in every state: transfer (s, node, lead) V per V or A; impedance (s, node, node)."""

    transfer: Array
    impedance: Array
    conductances: Array
    series: Array
    ends: Array
    held: NDArray[np.bool_]


def solve(observed: Observed, hypothesis: Hypothesis, conductances: Array, ln_series: Array) -> Solved:
    """Solve the network in every state, S (state, branch), with series resistors off by ln_series (behind,)."""
    n, B = len(observed.network.nodes), observed.branches
    place = np.array(hypothesis.drives)
    live = place != NOTHING
    ends = np.where(live[:, None], observed.spots[place], 0.0)
    behind, stiff, currents = observed.behind, observed.stiff, observed.currents
    series = np.array([1 / observed.leads[i].resistance for i in behind]) * np.exp(ln_series)
    K = np.matmul(B.T, conductances[:, :, None] * B) + ends[behind].T @ (series[:, None] * ends[behind])
    whole = np.zeros((len(K), n + len(stiff), n + len(stiff)))
    whole[:, :n, :n] = K
    whole[:, :n, n:], whole[:, n:, :n] = -ends[stiff].T, ends[stiff]
    for row, lead in enumerate(stiff):
        whole[:, n + row, n + row] = 0.0 if live[lead] else 1.0
    try:
        inverse = np.asarray(np.linalg.inv(whole), dtype=np.float64)
    except np.linalg.LinAlgError:
        raise ModelError(_FLOATING) from None
    Z = inverse[:, :n, :n]
    transfer = np.zeros((len(K), n, len(place)))
    transfer[:, :, stiff] = inverse[:, :n, n:] * live[stiff]
    transfer[:, :, behind] = (Z @ ends[behind].T) * series
    transfer[:, :, currents] = Z @ ends[currents].T
    if not np.isfinite(transfer).all() or np.abs(Z).max() * np.exp(-30) > _SINGULAR:
        raise ModelError(_FLOATING)
    return Solved(transfer, Z, conductances, series, ends, live)


@dataclass(frozen=True)
class Point:
    """Nuisances: shared (parameter,) and own (state, tunable)."""

    shared: Array
    own: Array


@dataclass(frozen=True)
class At:
    """The model at a point.

    residuals, predicted: over noise, (s, k, l). everywhere: what each channel would read at each node, over noise,
    (s, k, node, l). A (s, k, p), C (s, l, p): factors of the prediction's derivatives. own_share: G z of each branch,
    z its impedance as seen across itself, (s, b). sigma: V, (s, k).
    """

    residuals: Array
    predicted: Array
    everywhere: Array
    A: Array
    C: Array
    own_share: Array
    solved: Solved
    sigma: Array


def linearise(observed: Observed, hypothesis: Hypothesis, belief: Belief, point: Point, sigma: Array) -> At:
    """Solve the model at a point and take all derivatives. Raises ModelError."""
    n_b, n_r, n_k = len(observed.listed), len(observed.behind), len(observed.nodes)
    ln_G = belief.base + np.where(belief.free, point.shared[:n_b], 0.0)
    ln_G[:, observed.network.tunable] += np.where(belief.free[observed.network.tunable], point.own, 0.0)
    gains = np.exp(point.shared[n_b + n_r : n_b + n_r + n_k])
    scale = np.exp(point.shared[n_b + n_r + n_k :]) * observed.sizes
    solved = solve(observed, hypothesis, np.exp(ln_G), point.shared[n_b : n_b + n_r])
    nodes = np.array(hypothesis.reads)
    wired = nodes != NOTHING
    weight = (gains * wired) / sigma  # (s, k)
    rows = solved.transfer[:, nodes]
    predicted = weight[:, :, None] * rows * scale
    residuals = observed.y / sigma[:, :, None] - predicted
    Zb, Zr = solved.impedance @ observed.branches.T, solved.impedance @ solved.ends[observed.behind].T
    across = np.swapaxes(solved.transfer, 1, 2) @ observed.branches.T  # (s, l, b)
    to_branch = across * (solved.conductances * belief.free)[:, None, :] * scale[:, None]
    at_leads = np.swapaxes(solved.transfer, 1, 2) @ solved.ends[observed.behind].T
    at_leads[:, observed.behind, np.arange(n_r)] -= solved.held[observed.behind]
    to_series = at_leads * solved.series * scale[:, None]
    n_s, n_l = len(predicted), len(scale)
    eye_k, eye_l = (np.broadcast_to(np.eye(n), (n_s, n, n)) for n in (n_k, n_l))
    A = np.concatenate([-weight[:, :, None] * Zb[:, nodes], -weight[:, :, None] * Zr[:, nodes], eye_k, predicted], 2)
    C = np.concatenate([to_branch, to_series, np.swapaxes(predicted, 1, 2), eye_l], 2)
    everywhere = (solved.transfer * scale)[:, None] * gains[None, :, None, None] / sigma[:, :, None, None]
    own_share = np.einsum("bn,snb->sb", observed.branches, Zb) * solved.conductances
    return At(residuals, predicted, everywhere, A, C, own_share, solved, sigma)


class Normal:
    """Normal equations at a point, own parameters eliminated state by state (Schur)."""

    def __init__(self, observed: Observed, belief: Belief, at: At) -> None:
        self.tunable = observed.network.tunable
        n_s, n_t, n_p = len(at.A), len(self.tunable), observed.n_shared
        self.information = np.empty((n_s, n_p, n_p))
        self.inverse, self.follow = np.empty((n_s, n_t, n_t)), np.empty((n_s, n_t, n_p))
        reduced, ln_own = np.zeros((n_p, n_p)), 0.0
        prior = np.diag(1 / belief.own**2)
        for state in range(n_s):  # one by one: matmul of stacked transposes leaves BLAS
            A, C = at.A[state], at.C[state]
            information = self.information[state] = (A.T @ A) * (C.T @ C)
            mixed = information[self.tunable]
            own = mixed[:, self.tunable] + prior
            self.inverse[state] = np.linalg.inv(own)
            self.follow[state] = self.inverse[state] @ mixed
            reduced += information - mixed.T @ self.follow[state]
            ln_own += float(np.linalg.slogdet(own)[1])
        scale = belief.doubt
        whitened = reduced * np.outer(scale, scale) + np.eye(n_p)
        self.ln_determinant = float(np.linalg.slogdet(whitened)[1]) + ln_own
        self.ln_determinant += 2 * n_s * float(np.log(belief.own).sum())
        self.covariance = np.linalg.inv(whitened) * np.outer(scale, scale)

    def solve(self, shared: Array, own: Array) -> tuple[Array, Array]:
        """Return the step for a gradient: shared (parameter,), own (s, t)."""
        right = shared - np.einsum("stp,st->p", self.follow, own)
        step = self.covariance @ right
        return step, np.einsum("stu,su->st", self.inverse, own) - self.follow @ step


@dataclass(frozen=True)
class Fit:
    """How well a hypothesis explains the readings.

    ln_evidence: up to a constant, prior included. chi_square: with the nuisances' pull. doubt: standard uncertainties
    of the shared nuisances, (parameter,). finished: false where a fit was left before its end, since others promised
    more. Hundreds of fits are kept, so the matrices of `around` (megabytes each) are made again where they are wanted.
    """

    hypothesis: Hypothesis
    ln_evidence: float
    chi_square: float
    point: Point
    belief: Belief = field(repr=False)
    doubt: Array = field(repr=False)
    finished: bool = True


def gradient(observed: Observed, belief: Belief, at: At, point: Point) -> tuple[Array, Array]:
    """Return minus the cost's gradient, shared and own."""
    by_parameter = (at.A * (at.residuals @ at.C)).sum(axis=1)  # (s, p)
    shared = by_parameter.sum(axis=0) - (point.shared - belief.mean) / belief.doubt**2
    return shared, by_parameter[:, observed.network.tunable] - point.own / belief.own**2


def cost(belief: Belief, at: At, point: Point) -> float:
    """Return half of chi^2, the nuisances' pull included."""
    pull = (((point.shared - belief.mean) / belief.doubt) ** 2).sum() + ((point.own / belief.own) ** 2).sum()
    return 0.5 * float((at.residuals**2).sum() + pull)


def unread_sigma(observed: Observed, hypothesis: Hypothesis, sigma: Array) -> Array:
    """Return the noise, V (s, k), of channels: what hangs in the air may pick up something."""
    gone = np.array(hypothesis.reads) == NOTHING
    return np.where(gone, np.hypot(sigma, _UNREAD * np.abs(observed.sizes).max()), sigma) if gone.any() else sigma


def fit(observed: Observed, hypothesis: Hypothesis, start: Point | None = None, hope: float = -np.inf) -> Fit:
    """Return the nuisances that explain the readings best, and the evidence by Laplace's method.

    The normal equations are kept for several steps where they still lead down. hope: a log evidence that it should come
    near to: few steps are made then, none once they promise to stay far below, and it may not be `finished` after them.
    Raises ModelError.
    """
    belief = believed(observed, hypothesis)
    sigma = unread_sigma(observed, hypothesis, observed.sigma)
    fixed = observed.places.ln_prior(hypothesis) - float(np.log(sigma / observed.sigma).sum()) * observed.y.shape[2]
    point = start or nothing(observed, belief)
    at = linearise(observed, hypothesis, belief, point, sigma)
    normal, reached = Normal(observed, belief, at), cost(belief, at, point)
    fresh, finished = True, False
    for _ in range(_MOST_STEPS if hope == -np.inf else _FEW_STEPS):
        downhill = gradient(observed, belief, at, point)
        step, own = normal.solve(*downhill)
        promised = 0.5 * float(downhill[0] @ step + (downhill[1] * own).sum())
        if fixed - 0.5 * normal.ln_determinant - reached + 1.5 * promised < hope - _HOPELESS - 0.1 * abs(hope):
            break
        point, at, now, fraction = _downhill(observed, hypothesis, belief, sigma, (point, at, reached), (step, own))
        gained, reached = reached - now, now
        if gained < _SETTLED and fresh:
            finished = True
            break
        fresh = gained > 1.0 or fraction < 1 or gained < _SETTLED  # else the old equations will do once more
        if fresh:
            normal = Normal(observed, belief, at)
    if not fresh:
        normal = Normal(observed, belief, at)
    ln_evidence = fixed - reached - 0.5 * normal.ln_determinant
    doubt = np.sqrt(np.diag(normal.covariance))
    return Fit(hypothesis, ln_evidence, 2 * reached, point, belief, doubt, finished or hope == -np.inf)


def around(observed: Observed, fitted: Fit) -> tuple[At, Normal]:
    """Return the model and its normal equations where a fit ended."""
    sigma = unread_sigma(observed, fitted.hypothesis, observed.sigma)
    at = linearise(observed, fitted.hypothesis, fitted.belief, fitted.point, sigma)
    return at, Normal(observed, fitted.belief, at)


def _downhill(
    observed: Observed,
    hypothesis: Hypothesis,
    belief: Belief,
    sigma: Array,
    here: tuple[Point, At, float],
    step: tuple[Array, Array],
) -> tuple[Point, At, float, float]:
    """Return where a step leads, shortened until it leads down, and its length; where it started if it never does."""
    point, _, reached = here
    for fraction in (1.0, 0.3, 0.1, 0.03):
        tried = Point(point.shared + fraction * step[0], point.own + fraction * step[1])
        there = _tried(observed, hypothesis, belief, tried, sigma)
        if there is not None and (now := cost(belief, there, tried)) <= reached:
            return tried, there, now, fraction
    return *here, 0.0


def nothing(observed: Observed, belief: Belief) -> Point:
    """Return the point where every nuisance is as believed."""
    return Point(belief.mean.copy(), np.zeros((len(observed.y), len(belief.own))))


def _tried(observed: Observed, hypothesis: Hypothesis, belief: Belief, point: Point, sigma: Array) -> At | None:
    if np.abs(point.shared).max() > 30:
        return None
    try:
        return linearise(observed, hypothesis, belief, point, sigma)
    except ModelError:
        return None
