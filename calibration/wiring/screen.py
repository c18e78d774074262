"""Which single fault more would explain the readings better: every one, scored at once in the linearised model.

A fault changes the whitened prediction by d. With the nuisances free to answer, chi^2 / 2 changes by

    d'd / 2 - r'd + b' H^-1 g - b' H^-1 b / 2,   b = J'd,   g: minus the gradient,

exact but for the curvature of the nuisances. A branch whose conductance becomes (1 + x) G changes it along its own
derivative, by x / (1 + x G z) of it, z its impedance as seen across itself (Sherman-Morrison), however large x is; so
all faults of branches are scored in the space of branches and states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.optimize import linear_sum_assignment

from calibration.errors import ModelError
from calibration.wiring.hypothesis import NOTHING, Hypothesis, Move, Part
from calibration.wiring.model import (
    OPEN,
    SHORTED,
    STUCK_DOUBT,
    WRONG_DOUBT,
    At,
    Belief,
    Indices,
    Normal,
    Observed,
    Point,
    gradient,
    solve,
)
from freqprop_lab.values import Array

_FACTORS = np.linspace(-3.5, 3.5, 36)  # of ln G, of a wrong value
_LEAST = 1e-4  # of a branch's share of what is seen across it: what else is in parallel


@dataclass(frozen=True)
class Candidate:
    """A hypothesis with one fault more. gain: by how much its log evidence is likely to be larger.

    ln_factors: of ln G of a branch, to start from.
    """

    hypothesis: Hypothesis
    gain: float
    first: bool  # of its kind
    ln_factors: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Family:
    """All faults of one kind.

    where: places, (fault,). lowered: the change of chi^2 / 2 by each, effect: chi^2 between the predictions with and
    without it, the nuisances free: what a check could see of it, (fault,) each. factors: of ln G, the best, (fault,).
    """

    move: Move
    where: Sequence[tuple[int, ...]]
    lowered: Array
    effect: Array
    made: Callable[[tuple[int, ...]], Hypothesis]
    part: Part | None = None
    factors: Array | None = None


class Screen:
    """Scores of single faults on top of a hypothesis, at a point."""

    def __init__(
        self, observed: Observed, hypothesis: Hypothesis, belief: Belief, at: At, normal: Normal, point: Point
    ) -> None:
        self.observed, self.hypothesis, self.belief, self.at, self.normal = observed, hypothesis, belief, at, normal
        self.point = point
        self.step, self.own_step = normal.solve(*gradient(observed, belief, at, point))
        self._prior = observed.places.ln_prior(hypothesis)

    def candidates(self, most: int, *, thorough: bool = True) -> list[Candidate]:
        """Return the likeliest single faults, the first first; of each kind at most so many.

        thorough: leads at wrong nodes, too, which nobody would overlook.
        """
        found = []
        for family in [*self.families(), *(self._of_misdriven() if thorough else ())]:
            for rank, number in enumerate(np.argsort(family.lowered)[:most].tolist()):
                where = family.where[number]
                made = family.made(where)
                gain = self.observed.places.ln_prior(made) - self._prior - float(family.lowered[number])
                start = () if family.factors is None else ((where[0], float(family.factors[number])),)
                found.append(Candidate(made, gain, rank == 0, start))
        return sorted(found, key=lambda one: -one.gain)

    def families(self) -> list[Family]:
        """Return all single faults, kind by kind."""
        return [*self._of_parts(), *self._of_lines(), *self._of_reads(), *self._of_drives()]

    # --- branches

    def _branch_space(self) -> tuple[Array, Array]:
        """Return q (s, b) and Q (s, b, s, b): chi^2 / 2 changes by delta' Q delta / 2 - q' delta."""
        n_s, n_b = self.at.own_share.shape
        info, tunable = self.normal.information, self.normal.tunable
        q = (self.at.A[:, :, :n_b] * (self.at.residuals @ self.at.C[:, :, :n_b])).sum(axis=1)
        rest = np.empty((n_s, n_b, len(self.step)))
        inside = np.empty((n_s, n_b, n_b))
        for state in range(n_s):
            columns = info[state][:n_b]  # symmetric: (b, p)
            q[state] -= columns @ self.step + columns[:, tunable] @ self.own_step[state]
            answered = columns[:, tunable] @ self.normal.follow[state]  # (b, p)
            rest[state] = columns - answered
            inside[state] = columns[:, :n_b] - answered[:, :n_b]
        flat = rest.reshape(n_s * n_b, -1)
        Q = -(flat @ self.normal.covariance @ flat.T).reshape(n_s, n_b, n_s, n_b)
        Q[np.arange(n_s), :, np.arange(n_s)] += inside
        return q, Q

    def _of_parts(self) -> Iterator[Family]:
        q, Q = self._q, self._Q = self._branch_space()
        n_s, n_b = q.shape
        own = np.ascontiguousarray(np.einsum("sbwb->bsw", Q))  # each branch with itself, (b, s, s)
        share = np.minimum(self.at.own_share, 1 - _LEAST)
        ln_G = np.log(self.at.solved.conductances)
        changed = {branch for branch, _ in self.hypothesis.parts}

        def change(ln_after: Array) -> tuple[Array, Array]:
            """Return chi^2 / 2's change and the effect, (.., b), for ln G (.., s, b)."""
            x = np.expm1(np.minimum(ln_after - ln_G, 60.0))
            delta = np.moveaxis(x / (1 + x * share), -1, 0)  # (b, .., s)
            effect = ((delta @ own if delta.ndim == 3 else (delta[:, None] @ own)[:, 0]) * delta).sum(axis=-1)
            linear = (delta @ q.T[:, :, None] if delta.ndim == 3 else (delta * q.T)[..., None].sum(-2))[..., 0]
            return (0.5 * effect - linear).T, effect.T

        occam = 0.5 * np.log1p(WRONG_DOUBT**2 * np.maximum(own.sum(axis=(1, 2)), 0.0))
        middle = np.broadcast_to((ln_G.mean(axis=0) + _FACTORS[:, None])[:, None], (len(_FACTORS), n_s, n_b))
        for part, after, doubt in (
            (Part.OPEN, np.full((n_s, n_b), np.log(OPEN)), None),
            (Part.SHORT, np.full((n_s, n_b), np.log(SHORTED)), None),
            (Part.WRONG, ln_G + _FACTORS[:, None, None], WRONG_DOUBT),
            (Part.STUCK, middle, STUCK_DOUBT),
        ):
            lowered, effect = change(after)
            factors = np.zeros(n_b)
            if doubt is not None:
                lowered = lowered + 0.5 * (_FACTORS[:, None] / doubt) ** 2 + occam
                chosen = np.argmin(lowered, axis=0)
                lowered, effect = lowered[chosen, np.arange(n_b)], effect[chosen, np.arange(n_b)]
                factors = _FACTORS[chosen]
            if part is Part.WRONG:
                widened, away = self._widened(n_b)
                factors = np.where(widened < lowered, away, factors)
                lowered = np.minimum(widened, lowered)
            where = range(n_b) if part is not Part.STUCK else self.normal.tunable.tolist()
            kept = [branch for branch in where if branch not in changed]
            yield Family(
                Move.PART,
                [(branch,) for branch in kept],
                lowered[kept],
                effect[kept],
                partial(self._with_part, part),
                part,
                None if doubt is None else factors[kept],
            )

    def _widened(self, n_b: int) -> tuple[Array, Array]:
        """Return the change of chi^2 / 2 where a branch is merely believed less, and how far off it is then, (branch,).

        A value that is a little wrong bends the branch's own nuisance, at the price of its pull; then the likelihood of
        that nuisance alone, normal about `away`, meets the wide belief instead of the narrow one.
        """
        narrow = self.belief.doubt[:n_b] ** 2
        variance = np.diag(self.normal.covariance)[:n_b]
        spread = 1 / np.maximum(1 / variance - 1 / narrow, 1e-9 / narrow)
        away = (self.point.shared + self.step)[:n_b] * spread / variance
        wide = narrow + WRONG_DOUBT**2 + spread
        lowered = 0.5 * (np.log(wide / (narrow + spread)) + away**2 / wide - away**2 / (narrow + spread))
        return lowered, np.clip(away, _FACTORS[0], _FACTORS[-1])

    def effect_of(self, ln_factor: float) -> Array:
        """Return chi^2 between the predictions with each branch's G off by a factor and without, (branch,)."""
        _, Q = self._branch_space()
        x, share = np.expm1(ln_factor), np.minimum(self.at.own_share, 1 - _LEAST)
        delta = x / (1 + x * share)
        return np.asarray(np.einsum("sb,sbwb,wb->b", delta, Q, delta, optimize=True))

    def _with_part(self, part: Part, where: tuple[int, ...]) -> Hypothesis:
        return self.hypothesis.with_part(where[0], part)

    def _exchanged(self, what: Move, where: tuple[int, ...]) -> Hypothesis:
        return self.hypothesis.exchanged(what, *where)

    def _placed(self, what: Move, where: tuple[int, ...]) -> Hypothesis:
        return self.hypothesis.placed(what, *where)

    def _of_lines(self) -> Iterator[Family]:
        tunable = self.normal.tunable
        if len(tunable) < 2:
            return
        q, Q = self._q[:, tunable], self._Q[:, tunable][:, :, :, tunable]
        share = np.minimum(self.at.own_share[:, tunable], 1 - _LEAST)
        fixed = ~self.belief.free[tunable] | np.array([self.hypothesis.part(int(b)) is Part.STUCK for b in tunable])
        nominal = self.observed.nominal[:, list(self.hypothesis.lines)]
        x = np.expm1(nominal[:, None, :] - nominal[:, :, None])  # of t once u's line turns it, (s, t, u)
        x[:, fixed] = 0.0
        delta = x / (1 + x * share[:, :, None])
        D = np.ascontiguousarray(delta.transpose(1, 2, 0))  # (t, u, s)
        own = np.einsum("stwt->tsw", Q)
        alone = 0.5 * ((D @ own) * D).sum(axis=2)
        linear = (D * q.T[:, None]).sum(axis=2)
        # cross[t, u]: sum over states s, w of D[t, u, s] Q[s, t, w, u] D[u, t, w]
        between = np.ascontiguousarray(Q.transpose(1, 3, 0, 2))  # (t, u, s, w)
        cross = ((D[:, :, None] @ between)[:, :, 0] * D.transpose(1, 0, 2)).sum(axis=2)
        both = alone + alone.T + cross
        pairs = np.triu_indices(len(tunable), 1)
        where = list(zip(*(side.tolist() for side in pairs), strict=True))
        made = partial(self._exchanged, Move.LINES)
        yield Family(Move.LINES, where, (both - linear - linear.T)[pairs], 2 * both[pairs], made)

    # --- leads

    def _quadratic(self, shared: Array, own: Array) -> Array:
        """Return b' H^-1 b for many b: shared (c, p), own (s, c, t)."""
        right, found = shared.copy(), np.zeros(len(shared))
        for state, one in enumerate(own):
            right -= one @ self.normal.follow[state]
            found += ((one @ self.normal.inverse[state]) * one).sum(axis=1)
        return np.asarray(found + ((right @ self.normal.covariance) * right).sum(axis=1))

    def _lowered(self, a: Array, e: Array, b: Array) -> tuple[Array, Array]:
        """Return the change of chi^2 / 2 and the effect for changes with d'd, r'd (c,) and b (s, c, p)."""
        shared, own = b.sum(axis=0), np.ascontiguousarray(b[:, :, self.normal.tunable])
        effect = a - self._quadratic(shared, own)
        linear = e - shared @ self.step - (own @ self.own_step[:, :, None])[..., 0].sum(axis=0)
        return 0.5 * effect - linear, effect

    def _of_reads(self) -> Iterator[Family]:
        at, hypothesis = self.at, self.hypothesis
        nodes = np.array(hypothesis.reads)
        wired = np.flatnonzero(nodes != NOTHING)
        d = at.everywhere - at.predicted[:, :, None]  # (s, k, node, l)
        a, e = (d**2).sum(axis=(0, 3)), (d @ at.residuals[..., None])[..., 0].sum(axis=0)
        b = (d @ at.C[:, None]) * at.A[:, :, None]  # (s, k, node, p)
        first, second = np.triu_indices(len(wired), 1)
        i, j = wired[first], wired[second]
        p, q = nodes[i], nodes[j]
        pairs = self._lowered(a[i, q] + a[j, p], e[i, q] + e[j, p], b[:, i, q] + b[:, j, p])
        where = list(zip(i.tolist(), j.tolist(), strict=True))
        yield Family(Move.READS, where, *pairs, partial(self._exchanged, Move.READS))
        single = [(k,) for k in wired.tolist()]
        yield Family(Move.UNREAD, single, *self._unread(wired), partial(self._placed, Move.READS))
        k, node = (side.ravel() for side in np.meshgrid(wired, np.arange(d.shape[2]), indexing="ij"))
        alone = self._lowered(a[k, node], e[k, node], b[:, k, node])
        elsewhere = node != nodes[k]
        where = list(zip(k[elsewhere].tolist(), node[elsewhere].tolist(), strict=True))
        made = partial(self._placed, Move.READS)
        yield Family(Move.MISREAD, where, alone[0][elsewhere], alone[1][elsewhere], made)
        yield from self._mixed(wired, alone[0].reshape(len(wired), -1)[:, nodes[wired]])

    def _unread(self, wired: Indices) -> tuple[Array, Array]:
        """Return the change of chi^2 / 2 and the effect where channels read nothing, (wired,) each.

        That is a step of -1 along the channel's gain, whose d'd is huge and all but explained by that gain: with p its
        prior precision and c its variance the rest is p (1 - p c), which is taken from there instead of a difference.
        """
        place = len(self.observed.listed) + len(self.observed.behind) + wired
        precision = 1 / self.belief.doubt[place] ** 2
        effect = precision * (1 - precision * np.diag(self.normal.covariance)[place])
        return 0.5 * effect + precision * (self.point.shared[place] + self.step[place]), effect

    def _mixed(self, wired: Indices, table: Array) -> Iterator[Family]:
        """Yield the exchange of all meter leads that suits every channel by itself best: (wired, place of wired)."""
        rows, columns = linear_sum_assignment(table)
        moved = rows[rows != columns]
        if len(moved) < 3:
            return
        reads = list(self.hypothesis.reads)
        for row, column in zip(rows, columns, strict=True):
            reads[wired[row]] = self.hypothesis.reads[wired[column]]
        total = np.array([table[rows, columns].sum()])

        def made(_: tuple[int, ...]) -> Hypothesis:
            return replace(self.hypothesis, reads=tuple(reads))

        yield Family(Move.MIXED, [tuple(wired[moved].tolist())], total, -2 * total, made)

    def _of_drives(self) -> Iterator[Family]:
        hypothesis, n_leads = self.hypothesis, len(self.observed.leads)
        wired = [lead for lead in range(n_leads) if hypothesis.drives[lead] != NOTHING]
        pairs = [(one, other) for number, other in enumerate(wired) for one in wired[:number]]
        made: Callable[[tuple[int, ...]], Hypothesis]
        for move, where, made in (
            (Move.UNDRIVEN, [(lead,) for lead in wired], partial(self._placed, Move.DRIVES)),
            (Move.DRIVES, pairs, partial(self._exchanged, Move.DRIVES)),
        ):
            kept, lowered, effect = [], [], []
            for place in where:
                try:
                    d = self._predicted(made(place)) - self.at.predicted
                except ModelError:
                    continue
                b = (self.at.A * (d @ self.at.C)).sum(axis=1)[:, None]
                found = self._lowered(np.array([(d**2).sum()]), np.array([(d * self.at.residuals).sum()]), b)
                kept.append(place)
                lowered.append(found[0][0])
                effect.append(found[1][0])
            yield Family(move, kept, np.array(lowered), np.array(effect), made)

    def _of_misdriven(self) -> Iterator[Family]:
        """Yield every source lead at every other node. Stiff ones are left out: all of the network changes with them.

        A lead behind a conductance g goes from u to e: K changes by U D U', U = (u, e), D = diag(-g, g), so voltages v
        that other leads make become v - Z U (D^-1 + U' Z U)^-1 U' v, and its own are those of g e (Woodbury).
        """
        at, observed, hypothesis = self.at, self.observed, self.hypothesis
        nodes, scale = np.array(hypothesis.reads), np.exp(self.point.shared[-len(observed.leads) :]) * observed.sizes
        weight = np.where(nodes != NOTHING, 1.0, 0.0) * self._gains() / at.sigma
        n_s, n_k, n_l = at.predicted.shape
        J = np.einsum("skp,slp->sklp", at.A, at.C).reshape(n_s, n_k * n_l, -1)
        for number, lead in enumerate(observed.behind.tolist()):
            if hypothesis.drives[lead] == NOTHING:
                continue
            moved = self._with_lead_anywhere(lead, float(at.solved.series[number]))  # (s, j, node, l)
            d = weight[:, None, :, None] * moved[:, :, nodes] * scale - at.predicted[:, None]
            flat = d.reshape(n_s, -1, n_k * n_l)
            residuals = at.residuals.reshape(n_s, -1, 1)
            lowered, effect = self._lowered(
                (flat**2).sum(axis=(0, 2)), (flat @ residuals)[..., 0].sum(axis=0), flat @ J
            )
            kept = [node for node in range(flat.shape[1]) if observed.spot(node) != hypothesis.drives[lead]]
            where = [(lead, observed.spot(node)) for node in kept]
            yield Family(Move.MISDRIVEN, where, lowered[kept], effect[kept], partial(self._placed, Move.DRIVES))

    def _with_lead_anywhere(self, lead: int, g: float) -> Array:
        """Return the transfers, (s, at, node, lead), with one lead behind g siemens at each node."""
        solved = self.at.solved
        Z, T, u = solved.impedance, solved.transfer, solved.ends[lead]
        from_u, n = Z @ u, Z.shape[1]
        U = np.stack(
            [np.broadcast_to(from_u[:, None], (len(Z), n, n)), np.swapaxes(Z, 1, 2)], axis=-1
        )  # (s, j, node, 2)
        M = np.empty((len(Z), n, 2, 2))
        M[..., 0, 0] = (from_u @ u)[:, None] - 1 / g
        M[..., 0, 1] = M[..., 1, 0] = from_u
        M[..., 1, 1] = np.diagonal(Z, axis1=1, axis2=2) + 1 / g
        seen = np.stack([np.broadcast_to((u @ T)[:, None], T.shape), T], axis=2)  # U' T, (s, j, 2, lead)
        seen[..., lead] = g * np.stack([from_u, np.diagonal(Z, axis1=1, axis2=2)], axis=-1)
        before = np.repeat(T[:, None], n, axis=1)
        before[..., lead] = g * np.swapaxes(Z, 1, 2)
        return np.asarray(before - U @ (np.linalg.pinv(M) @ seen))

    def _gains(self) -> Array:
        first = len(self.observed.listed) + len(self.observed.behind)
        return np.asarray(np.exp(self.point.shared[first : first + len(self.observed.nodes)]))

    def _predicted(self, hypothesis: Hypothesis) -> Array:
        """Return the prediction over noise, (s, k, l), of another wiring of the sources."""
        observed, n_b = self.observed, len(self.observed.listed)
        n_r = len(observed.behind)
        solved = solve(observed, hypothesis, self.at.solved.conductances, self.point.shared[n_b : n_b + n_r])
        scale = np.exp(self.point.shared[-len(observed.leads) :]) * observed.sizes
        nodes = np.array(hypothesis.reads)
        gains = np.exp(self.point.shared[n_b + n_r : n_b + n_r + len(nodes)]) * (nodes != NOTHING)
        return np.asarray((gains / self.at.sigma)[:, :, None] * solved.transfer[:, nodes] * scale)
