"""The circuit solver: a network, what its sources impose, and the node voltages that follow. Dense, and exact.

Stiff voltages are eliminated rather than solved for: every node voltage is v = S u + D x, with u the free voltages
and x the source values, so that Kirchhoff's law at the free nodes reads

    P^T g (P u + M x) + sum over kinds Q^T I(Q u + W x) = S^T C x

(P, M: voltages across linear branches; Q, W: across nonlinear ones; C: where current sources enter). The matrix
P^T g P + sum Q^T I' Q is symmetric and positive definite. This module knows no instrument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from freqprop_lab.elements import Element
from freqprop_lab.names import shown
from freqprop_lab.network import GROUND, Network
from freqprop_lab.values import Array, Feedback

_MOST_ITERATIONS = 200
_MOST_HALVINGS = 30
_RESIDUAL = 1e-13  # of the currents at a node
_ROUNDING = 1e-14  # a Newton step this small, of the largest voltage, changes nothing any more
_LAST_BIT = 4 * float(np.finfo(float).eps)
_HOLD = 1 + 1e-15
_STIFF = 1e10  # of the largest conductance at a node: nothing moves a pin of as much
_NOTHING = 1e-100  # V or A: where all is zero, nothing is small by comparison
_FREE_CHANGE = 2.0  # n Vt: a junction may change by this much before a step is shortened


class CircuitError(Exception):
    """The circuit has no solution, or none was found; the message names nodes, and the residual in amperes."""


@dataclass(frozen=True)
class Connection:
    """A source's two wires: node numbers (-1: ground), what it imposes, and its series resistance (Ohm, 0: stiff)."""

    plus: int
    minus: int
    kind: Literal["voltage", "current"]
    resistance: float = 0.0


@dataclass(frozen=True)
class _Junctions:
    """The nonlinear branches of one kind: voltages across them are Q u + W x."""

    element: Element
    theta: Array
    Q: Array
    W: Array


@dataclass(frozen=True)
class Following:
    """A nudge that follows the state (eq. 3.3): f at each of the batch, (batch,), and the feedback."""

    f: Array
    feedback: Feedback


@dataclass(frozen=True)
class Pinned:
    """A conductance from each free node to a voltage of its own, S and V, (free,) each: a capacitor in an instant."""

    siemens: Array
    volts: Array


class Circuit:
    """A network with its sources connected. Arrays of sources are (..., source), V or A; of nodes (..., node), V.

    gauge: a node tied to ground, where floating sources leave the level open; no current flows there.
    """

    def __init__(self, network: Network, connections: Sequence[Connection], gauge: int | None = None) -> None:
        self.network = network
        n_nodes = len(network.nodes)
        self._S, self._D, self._roots = _eliminate(network.nodes, connections, gauge)
        self._S_T = np.ascontiguousarray(self._S.T)
        injected = np.zeros((n_nodes, len(connections)))
        for number, connection in enumerate(connections):
            if connection.kind == "current":
                _add_ends(injected[:, number], connection.plus, connection.minus)
        self._injected = self._S.T @ injected
        self._P, self._M, self._g, self._place = self._linear_branches(connections)
        self._junctions = self._nonlinear_branches()
        plus, minus = network.output_ends
        self._outputs = np.array([_ends(n_nodes, p, m) for p, m in zip(plus, minus, strict=True)]).reshape(-1, n_nodes)
        self._factor: Array | None = None
        self._refuse_floating()
        rows, columns = np.nonzero(self._P)
        self._scatter = _Scatter(self._P, rows, columns)
        self.program(network.own_conductances)

    @property
    def n_free(self) -> int:
        """Number of node voltages that are solved for."""
        return len(self._roots)

    @property
    def S(self) -> Array:  # noqa: N802
        """What each free voltage adds to the nodes: v = S u + D x, (node, free)."""
        return self._S

    @property
    def D(self) -> Array:  # noqa: N802
        """What each stiff source adds to the nodes, (node, source)."""
        return self._D

    @property
    def roots(self) -> NDArray[np.intp]:
        """The node whose voltage each free u is, (free,)."""
        return self._roots

    @property
    def steepest(self) -> float:
        """The smallest voltage by which a nonlinear branch's current grows e-fold, V; infinite without any."""
        return min((float(group.theta[1].min()) for group in self._junctions), default=np.inf)

    def program(self, conductances: Array) -> None:
        """Take conductances of the tunable branches, S, (tunable,)."""
        self._g[self._place] = conductances
        self._factor = None

    def operating_point(self, sources: Array, start: Array | None = None, following: Following | None = None) -> Array:
        """Return the node voltages at equilibrium, for one vector of sources or a batch of them.

        start: node voltages to begin from, (node,). Raises CircuitError.
        """
        if not self._junctions and following is None:
            return self._expand(self._solve(self._push(sources)), sources)
        batch = np.atleast_2d(sources)
        first = np.zeros(self.n_free) if start is None else start[self._roots]
        u = self._newton(batch, np.tile(first, (len(batch), 1)), following)
        volts = self._expand(u, batch)
        return volts if sources.ndim > 1 else volts[0]

    def tangent(self, volts: Array, sources: Array, change: Array) -> Array:
        """Return the derivative of the node voltages along a change of the sources, at an operating point."""
        u = volts[self._roots]
        rhs = self._push(change)
        for group in self._junctions:
            slope = group.element.slope(group.theta, group.Q @ u + group.W @ sources)
            rhs = rhs - group.Q.T @ (slope * (group.W @ change))
        return self._expand(_solved(self.stiffness(volts, sources), rhs, self._free_names()), change)

    def stiffness(self, volts: Array, sources: Array) -> Array:
        """Return how the currents that leave the free nodes grow with their voltages, S, (free, free)."""
        u = volts[self._roots]
        K = self._scatter.stiffness(self._g)
        for group in self._junctions:
            slope = group.element.slope(group.theta, group.Q @ u + group.W @ sources)
            K = K + group.Q.T @ (slope[:, None] * group.Q)
        return K

    def leaving(self, u: Array, sources: Array) -> tuple[Array, Array]:
        """Return the current that leaves each free node too much, A, (batch, free), and its derivative by u."""
        offsets = [sources @ group.W.T for group in self._junctions]
        imbalance, _ = self._imbalance(u, sources, None, None, offsets)
        return imbalance, self._jacobian(self._scatter.stiffness(self._g), u, sources, offsets, None)

    def pinned(self, u: Array, sources: Array, held: NDArray[np.bool_]) -> Array:
        """Return the free voltages where those that are held keep their values, (free,): what follows at once."""
        if held.all():
            return u
        K = np.abs(np.diagonal(self.leaving(u[None], sources[None])[1][0]))
        pin = Pinned(np.where(held, _STIFF * K.max(), 0.0), u)
        found = self._newton(sources[None], u[None], pin)[0]
        return np.where(held, u, found)

    def residual(self, volts: Array, sources: Array) -> float:
        """Return the largest violation of Kirchhoff's current law at a free node, A."""
        imbalance, _ = self._imbalance(np.atleast_2d(volts)[:, self._roots], np.atleast_2d(sources), None)
        return float(np.abs(imbalance).max(initial=0.0))

    def _push(self, sources: Array) -> Array:
        """Return what the sources alone push into the free nodes through the linear branches, A, (..., free)."""
        return np.asarray(sources @ self._injected.T - ((sources @ self._M.T) * self._g) @ self._P)

    def _expand(self, u: Array, sources: Array) -> Array:
        return np.asarray(u @ self._S_T + sources @ self._D.T)

    def _solve(self, rhs: Array) -> Array:
        if self.n_free == 0:
            return rhs
        if self._factor is None:
            self._factor, info = lapack.dpotrf(self._scatter.stiffness(self._g), lower=1, overwrite_a=1)
            if info != 0:
                raise CircuitError(self._singular(np.arange(self.n_free) == info - 1))
        solution, _ = lapack.dpotrs(self._factor, rhs.T, lower=1)
        return np.asarray(solution.T)

    def _newton(self, sources: Array, u: Array, following: Following | Pinned | None) -> Array:
        """Damped Newton on the convex energy, a batch at once; every item goes on until the last has arrived."""
        push = self._push(sources)
        linear = self._scatter.stiffness(self._g)
        offsets = [sources @ group.W.T for group in self._junctions]
        previous = np.full(len(u), np.inf)
        arrived = np.zeros(len(u), dtype=bool)
        for _ in range(_MOST_ITERATIONS):
            imbalance, scale = self._imbalance(u, sources, following, push, offsets)
            jacobian = self._jacobian(linear, u, sources, offsets, following)
            step = _solved(jacobian, -imbalance, self._free_names())
            size = np.abs(step).max(axis=1, initial=0.0)
            voltage = np.abs(u).max(axis=1, initial=0.0) + np.abs(sources).max(axis=1, initial=0.0)
            settled = (size <= _ROUNDING * voltage + _NOTHING) | (size >= 0.5 * previous)
            # The last bit of a voltage, times the conductances at a node, is a current that nothing can remove.
            last_bit = _LAST_BIT * voltage[:, None] * np.abs(np.diagonal(jacobian, axis1=1, axis2=2))
            balanced = (np.abs(imbalance) <= _RESIDUAL * scale + last_bit + _NOTHING).all(axis=1)
            arrived |= settled & balanced  # for good: among many, the noise of one or another is always up
            if arrived.all():
                return u
            previous = size
            u = u + self._shortened(u, step, imbalance, sources, following, push, offsets)
        worst = np.abs(imbalance).max(axis=1).argmax()
        node = self._free_names()[int(np.abs(imbalance[worst]).argmax())]
        raise CircuitError(
            f"no equilibrium found in {_MOST_ITERATIONS} iterations: {np.abs(imbalance).max():.3g} A are left over at "
            f"node {node}; check the parts there (diodes with a very small emission voltage?)"
        )

    def _imbalance(
        self,
        u: Array,
        sources: Array,
        following: Following | Pinned | None,
        push: Array | None = None,
        offsets: Sequence[Array] | None = None,
    ) -> tuple[Array, Array]:
        """Return the current that leaves each free node too much, and the sum of all there, A, (batch, free) each."""
        pushed = self._push(sources) if push is None else push
        through = (u @ self._P.T) * self._g
        out = through @ self._P - pushed
        scale = np.abs(through) @ np.abs(self._P) + np.abs(pushed)
        for number, group in enumerate(self._junctions):
            across = u @ group.Q.T + (sources @ group.W.T if offsets is None else offsets[number])
            current = group.element.current(group.theta, across)
            out = out + current @ group.Q
            scale += np.abs(current) @ np.abs(group.Q)
        if following is not None:
            out = out + self._followed(u, sources, following)[0]
        return out, scale

    def _followed(self, u: Array, sources: Array, following: Following | Pinned) -> tuple[Array, Array]:
        """Return strength f g(v) as it leaves the free nodes, (batch, free), and its derivative by them."""
        if isinstance(following, Pinned):
            return following.siemens * (u - following.volts), np.diag(following.siemens)[None]
        outputs = self._expand(u, sources) @ self._outputs.T
        ports = self._outputs @ self._S
        pairs = [following.feedback.evaluate(row) for row in outputs]
        strength = following.feedback.strength * following.f
        gradient = np.stack([gradient for gradient, _ in pairs]) * strength[:, None]
        hessian = np.stack([hessian for _, hessian in pairs]) * strength[:, None, None]
        return gradient @ ports, ports.T @ hessian @ ports

    def _jacobian(
        self, linear: Array, u: Array, sources: Array, offsets: Sequence[Array], following: Following | Pinned | None
    ) -> Array:
        K = np.repeat(linear[None], len(u), axis=0)
        for group, offset in zip(self._junctions, offsets, strict=True):
            slope = group.element.slope(group.theta, u @ group.Q.T + offset)
            K += group.Q.T @ (slope[:, :, None] * group.Q)
        if following is not None:
            K += self._followed(u, sources, following)[1]
        # An iterate may stand so far up an exponential that rounding hides all other branches at its two nodes, and K
        # is singular: their common voltage is held until it has come down.
        diagonal = np.einsum("bii->bi", K)
        diagonal *= _HOLD
        return K

    def _shortened(
        self,
        u: Array,
        step: Array,
        imbalance: Array,
        sources: Array,
        following: Following | Pinned | None,
        push: Array,
        offsets: Sequence[Array],
    ) -> Array:
        """Shorten a Newton step where a junction would run up its exponential, or the energy would rise again."""
        fraction = np.ones(len(u))
        for group, offset in zip(self._junctions, offsets, strict=True):
            across, change = u @ group.Q.T + offset, step @ group.Q.T
            # Only a junction that gets steeper runs away; one that closes, or is still reverse biased, may go at once.
            steeper = group.element.slope(group.theta, across + change) > group.element.slope(group.theta, across)
            here = np.where(change < 0, -across, across) / group.theta[1]
            ahead = np.abs(change) / group.theta[1]
            open_now = np.maximum(here, 0.0)
            beyond = np.maximum(here + ahead - open_now, 0.0)
            runs = steeper & (beyond > _FREE_CHANGE)
            allowed = np.where(runs, open_now + np.log1p(beyond) - here, 1.0) / np.where(runs, ahead, 1.0)
            fraction = np.minimum(fraction, allowed.min(axis=1))
        descent = (imbalance * step).sum(axis=1)
        for _ in range(_MOST_HALVINGS):
            there, _ = self._imbalance(u + fraction[:, None] * step, sources, following, push, offsets)
            overshot = (there * step).sum(axis=1) > 0.9 * np.abs(descent)
            if not overshot.any():
                break
            fraction = np.where(overshot, 0.5 * fraction, fraction)
        return fraction[:, None] * step

    def _linear_branches(self, connections: Sequence[Connection]) -> tuple[Array, Array, Array, NDArray[np.intp]]:
        """Return P, M, the conductances, and where the tunable ones stand; series resistors are branches too."""
        network = self.network
        n_nodes, n_sources = len(network.nodes), len(connections)
        incidence: list[Array] = []
        own: list[Array] = []
        values: list[float] = []
        place = np.zeros(len(network.tunable), dtype=np.intp)
        number_of = {int(branch): tunable for tunable, branch in enumerate(network.tunable)}
        for number, branch in enumerate(network.branches):
            if branch.element.linear:
                if number in number_of:
                    place[number_of[number]] = len(values)
                incidence.append(_ends(n_nodes, network.plus[number], network.minus[number]))
                own.append(np.zeros(n_sources))
                values.append(branch.theta[0])
        for number, connection in enumerate(connections):
            if connection.kind == "voltage" and connection.resistance:
                incidence.append(_ends(n_nodes, connection.plus, connection.minus))
                own.append(-np.eye(n_sources)[number])
                values.append(1 / connection.resistance)
        B = np.array(incidence).reshape(-1, n_nodes)
        return (
            B @ self._S,
            B @ self._D + np.array(own).reshape(-1, n_sources),
            np.array(values, dtype=np.float64),
            place,
        )

    def _nonlinear_branches(self) -> list[_Junctions]:
        network = self.network
        kinds: dict[Element, list[int]] = {}
        for number, branch in enumerate(network.branches):
            if not branch.element.linear:
                kinds.setdefault(branch.element, []).append(number)
        groups = []
        for element, numbers in kinds.items():
            B = np.stack([_ends(len(network.nodes), network.plus[i], network.minus[i]) for i in numbers])
            theta = np.array([network.branches[i].theta for i in numbers]).T
            groups.append(_Junctions(element, theta, B @ self._S, B @ self._D))
        return groups

    def _free_names(self) -> list[str]:
        return [self.network.nodes[root] for root in self._roots]

    def _refuse_floating(self) -> None:
        """Raise where no branch leads on to a fixed voltage: rounding would hide the singular matrix."""
        rows = np.abs(np.concatenate([self._P, *(group.Q for group in self._junctions)]))
        joined = rows.T @ rows > 0
        held = rows[rows.sum(axis=1) == 1].any(axis=0)  # a branch with one free end
        for _ in range(self.n_free):
            further = held | joined[:, held].any(axis=1)
            if (further == held).all():
                break
            held = further
        if not held.all():
            raise CircuitError(self._singular(~held))

    def _singular(self, free: NDArray[np.bool_]) -> str:
        nodes = np.flatnonzero(self._S[:, free].any(axis=1))
        return (
            f"node {shown([self.network.nodes[i] for i in nodes])} lies in a part with no path to ground or to a "
            "driven node; add a branch, or drive it"
        )


class _Scatter:
    """P^T g P for any g, by adding each branch's up to four entries where they belong."""

    def __init__(self, P: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> None:
        self._n = P.shape[1]
        branch, first, second = [], [], []
        of_branch: dict[int, list[int]] = {}
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            of_branch.setdefault(row, []).append(column)
        for row, ends in of_branch.items():
            for i in ends:
                for j in ends:
                    branch.append(row)
                    first.append(i)
                    second.append(j)
        self._branch = np.array(branch, dtype=np.intp)
        self._where = np.array(first, dtype=np.intp) * self._n + np.array(second, dtype=np.intp)
        self._sign = P[self._branch, np.array(first, dtype=np.intp)] * P[self._branch, np.array(second, dtype=np.intp)]

    def stiffness(self, g: Array) -> Array:
        """Return P^T diag(g) P, S, (free, free)."""
        if not self._n:
            return np.zeros((0, 0))
        weights = g[self._branch] * self._sign
        summed = np.bincount(self._where, weights, minlength=self._n**2)
        return np.asarray(summed.reshape(self._n, self._n), dtype=np.float64)


def _eliminate(
    names: Sequence[str], connections: Sequence[Connection], gauge: int | None
) -> tuple[Array, Array, NDArray[np.intp]]:
    """Tie nodes that stiff voltages hold together: v = S u + D x. Returns S, D and the root node of each free u.

    Raises CircuitError for a loop of stiff voltages, which nothing determines or nothing obeys.
    """
    n_nodes, n_sources = len(names), len(connections)
    ties: dict[int, list[tuple[int, Array]]] = {node: [] for node in range(-1, n_nodes)}
    if gauge is not None:
        ties[-1].append((gauge, np.zeros(n_sources)))
        ties[gauge].append((-1, np.zeros(n_sources)))
    for number, connection in enumerate(connections):
        if connection.kind == "voltage" and not connection.resistance:
            rise = np.eye(n_sources)[number]
            ties[connection.minus].append((connection.plus, rise))
            ties[connection.plus].append((connection.minus, -rise))
    D, root_of = np.zeros((n_nodes + 1, n_sources)), np.full(n_nodes + 1, -2)
    roots: list[int] = []
    for node in range(-1, n_nodes):
        if root_of[node] != -2:
            continue
        root_of[node] = node
        if node >= 0:
            roots.append(node)
        frontier = [node]
        while frontier:
            here = frontier.pop()
            for other, rise in ties[here]:
                if root_of[other] == -2:
                    root_of[other], D[other] = node, D[here] + rise
                    frontier.append(other)
                elif not np.array_equal(D[other], D[here] + rise):
                    looped = shown([(*names, GROUND)[node] for node in (here, other)])
                    raise CircuitError(f"the stiff sources at {looped} form a loop; give one of them a resistance")
    S = (root_of[:n_nodes, None] == np.array(roots, dtype=int)).astype(np.float64)
    return S, D[:n_nodes], np.array(roots, dtype=np.intp)


def _ends(n_nodes: int, plus: int, minus: int) -> Array:
    row = np.zeros(n_nodes)
    _add_ends(row, plus, minus)
    return row


def _add_ends(row: Array, plus: int, minus: int) -> None:
    if plus >= 0:
        row[plus] += 1
    if minus >= 0:
        row[minus] -= 1


def _solved(K: Array, rhs: Array, names: Sequence[str]) -> Array:
    try:
        return np.asarray(np.linalg.solve(K, rhs[..., None])[..., 0])
    except np.linalg.LinAlgError:
        raise CircuitError(f"the network has no single equilibrium; look at nodes {shown(list(names))}") from None
