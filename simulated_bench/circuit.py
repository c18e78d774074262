"""The circuit solver: a network, what its sources impose, and the node voltages that follow. Dense, and exact.

Stiff voltages are eliminated rather than solved for: every node voltage is v = S u + D x, with u the free voltages
and x the source values, so that Kirchhoff's law at the free nodes reads

    P^T g (P u + M x) + sum over kinds Q^T I(Q u + W x) = S^T C x

(P, M: voltages across linear branches; Q, W: across nonlinear ones; C: where current sources enter). The matrix
P^T g P + sum Q^T I' Q is symmetric and positive definite. Transistors add to it what is neither. Linear networks are
solved by one factor and refined by the currents of the branches; others by damped Newton, and where that fails by
letting shunts to ground fade, or the sources rise, step by step. This module knows no instrument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from freqprop_lab.elements import ELEMENTS, Element, Store, TwoEnded
from freqprop_lab.names import shown
from freqprop_lab.network import Network
from freqprop_lab.values import Array, Feedback
from simulated_bench.branches import Channels, ExactDifferences, Junctions
from simulated_bench.connections import CircuitError, Connection, eliminate, floating, refuse_no_number
from simulated_bench.homotopies import by_small_steps
from simulated_bench.linear_solves import eliminated, refined

if TYPE_CHECKING:
    from simulated_bench.newton import NewtonCircuit

_MOST_ITERATIONS = 200
_MOST_HALVINGS = 30
_RESIDUAL = 1e-13  # of the currents at a node
_ROUNDING = 1e-14  # a Newton step this small, of the largest voltage, changes nothing any more
_LAST_BIT = 4 * float(np.finfo(float).eps)
_MOST_EXCUSED = 1e-6  # of the largest current: where last bits are more, the voltages have run away
_HOLD = 1 + 1e-15
_STIFF = 1e10  # of the largest conductance at a node: nothing moves a pin of as much
_NOTHING = 1e-100  # V or A: where all is zero, nothing is small by comparison
_ACCEPTED = 1e-12  # of the largest current: what Kirchhoff's law may be violated by
_UNSETTLED = 1e-10  # of the largest voltage: a refinement that still moves this much has found nothing
_POLISHED, _MOST_POLISHES = 1e-15, 12  # of the largest current; rounds
_NULL = 1e-13  # of the largest singular value


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


@dataclass(frozen=True)
class Settled:
    """An equilibrium in more digits than a double has: the free voltages are u + low, V, (batch, free).

    residual: the largest violation of Kirchhoff's law at a free node, A; largest: the largest current, A, (batch,).
    """

    u: Array
    low: Array
    residual: Array
    largest: Array


class Circuit:
    """A network with its sources connected. Arrays of sources are (..., source), V or A; of nodes (..., node), V.

    gauge: a node tied to ground, where floating sources leave the level open; no current flows there.
    """

    def __init__(self, network: Network, connections: Sequence[Connection], gauge: int | None = None) -> None:
        self.network, self.connections, self.gauge = network, tuple(connections), gauge
        self.twin: NewtonCircuit | None = None  # the same with sparse matrices, once somebody asks; see choice.py
        n_nodes = len(network.nodes)
        self._S, self._D, self._roots = eliminate(network.nodes, connections, gauge)
        self._S_T = np.ascontiguousarray(self._S.T)
        injected = np.zeros((n_nodes, len(connections)))
        for number, connection in enumerate(connections):
            if connection.kind == "current":
                _add_ends(injected[:, number], connection.plus, connection.minus)
        self._injected = self._S.T @ injected
        self._P, self._M, self._g, self._place, self._numbers = self._linear_branches(connections)
        self._injections = injected
        self._junctions = self._nonlinear_branches()
        self._channels = self._transistors()
        self._groups: list[Junctions | Channels] = [*self._junctions, *self._channels]
        self._exactly = [ExactDifferences(self._P, self._M)]
        self._exactly += [ExactDifferences(group.Q, group.W) for group in self._groups]
        plus, minus = network.output_ends
        self._outputs = np.array([_ends(n_nodes, p, m) for p, m in zip(plus, minus, strict=True)]).reshape(-1, n_nodes)
        self._factor: Array | None = None
        self._beyond_factor = False  # rounding leaves no factor, although every node has a path
        self._refuse_floating(np.ones(len(self._g), dtype=bool))
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
        widths = (float(group.element.width(group.theta).min()) for group in self._junctions)
        return min(widths, default=np.inf)

    @property
    def is_linear(self) -> bool:
        """True where every branch that carries direct current is a resistor."""
        return not self._groups

    @property
    def is_reciprocal(self) -> bool:
        """True where the small-signal response is symmetric, so that theorem 2 holds: no transistors."""
        return not self._channels

    @property
    def groups(self) -> list[Junctions | Channels]:
        """All branches that carry direct current, by kinds; resistors, and those of the sources, come first."""
        linear = Junctions(ELEMENTS["resistor"], self._g[None].copy(), self._P, self._M, self._numbers)
        return [linear, *self._groups]

    @property
    def injections(self) -> Array:
        """What each source pushes into the nodes as a current, (node, source): +1, -1, and 0 for voltages."""
        return self._injections

    @property
    def conductances(self) -> Array:
        """Those of the tunable branches, S, (tunable,)."""
        return self._g[self._place]

    def program(self, conductances: Array) -> None:
        """Take conductances of the tunable branches, S, (tunable,)."""
        self._g[self._place] = conductances
        self._factor = None
        self._beyond_factor = False

    def operating_point(self, sources: Array, start: Array | None = None, following: Following | None = None) -> Array:
        """Return the node voltages at equilibrium, for one vector of sources or a batch of them.

        start: node voltages to begin from, (node,). Raises CircuitError.
        """
        batch = np.atleast_2d(sources)
        refuse_no_number(self.network, self.connections, batch)
        if not self._groups and following is None:
            u = self._linear(batch)
        else:
            first = np.zeros(self.n_free) if start is None else start[self._roots]
            u = self._equilibrium(batch, np.tile(first, (len(batch), 1)), following)
        volts = self._expand(u, batch)
        return volts if sources.ndim > 1 else volts[0]

    def settle(self, sources: Array, start: Array | None = None) -> Settled:
        """Return the equilibria of a batch of sources, (batch, source), with the digits that doubles can't hold.

        start: node voltages to begin from, (node,) or (batch, node). Raises CircuitError where Kirchhoff's law is
        violated by more than 1e-12 of the largest current (with transistors: or by the last bit of their voltages).
        """
        refuse_no_number(self.network, self.connections, sources)
        if not self._groups:
            u = self._linear(sources)
        else:
            first = np.zeros(self.n_free) if start is None else start[..., self._roots]
            u = self._equilibrium(sources, np.array(np.broadcast_to(first, (len(sources), self.n_free))), None)
        u, low = self._with_low_part(u, sources)
        imbalance, largest = self._exact_imbalance(u, low, sources)
        violated = np.abs(imbalance)
        allowed = np.broadcast_to(_ACCEPTED * largest[:, None] + _NOTHING, violated.shape)
        if self._channels:
            slopes = np.abs(np.diagonal(self._jacobian(u, sources, None), axis1=1, axis2=2))
            voltage = np.abs(u).max(axis=1, initial=0.0) + np.abs(sources).max(axis=1, initial=0.0)
            allowed = allowed + np.minimum(_LAST_BIT * voltage[:, None] * slopes, _MOST_EXCUSED * largest[:, None])
        if not (violated <= allowed).all():
            worst = int((violated - allowed).max(axis=1).argmax())
            raise CircuitError(self._not_found(u[worst], sources[worst], imbalance[worst]))
        return Settled(u, low, violated.max(axis=1, initial=0.0), largest)

    def tangent(self, volts: Array, sources: Array, change: Array) -> Array:
        """Return the derivative of the node voltages along a change of the sources, at an operating point."""
        u, x = volts[None, self._roots], sources[None]
        rhs = self._push(change)
        for group in self._groups:
            rhs = rhs - group.Q.T @ (group.by_sources(u, x)[0] @ change)
        K = self.stiffness(volts, sources)
        rows = [(group.Q, group.by_free(u, x)[0]) for group in self._groups]

        def left_over(y: Array) -> Array:
            out = rhs - self._P.T @ (self._g * (self._P @ y))
            for Q, by_free in rows:
                out = out - Q.T @ (by_free @ y)
            return np.asarray(out)

        def solve(r: Array) -> Array:
            return _solved(K, r, self._free_names())

        return self._expand(refined(solve, left_over, solve(rhs))[0], change)

    def stiffness(self, volts: Array, sources: Array) -> Array:
        """Return how the currents that leave the free nodes grow with their voltages, S, (free, free)."""
        u, x = volts[None, self._roots], sources[None]
        K = self._scatter.stiffness(self._g)
        for group in self._groups:
            K = K + group.Q.T @ group.by_free(u, x)[0]
        return K

    def leaving(self, u: Array, sources: Array) -> tuple[Array, Array]:
        """Return the current that leaves each free node too much, A, (batch, free), and its derivative by u."""
        imbalance, _ = self._imbalance(u, sources, None)
        return imbalance, self._jacobian(u, sources, None)

    def pinned(self, u: Array, sources: Array, held: NDArray[np.bool_]) -> Array:
        """Return the free voltages where those that are held keep their values, (free,): what follows at once."""
        if held.all():
            return u
        K = np.abs(np.diagonal(self.leaving(u[None], sources[None])[1][0]))
        pin = Pinned(np.where(held, _STIFF * K.max(), 0.0), u)
        found = self._equilibrium(sources[None], u[None], pin)[0]
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

    def adjoint(self, volts: Array, sources: Array, asked: Array) -> Array:
        """Return K^-T asked^T, what a current into each free node raises combinations of u by, Ohm, (asked, free)."""
        u, x = volts[None, self._roots], sources[None]
        K_T = self.stiffness(volts, sources).T
        rows = [(group.Q, group.by_free(u, x)[0]) for group in self.groups]

        def left_over(y: Array) -> Array:
            out = asked.T
            for Q, by_free in rows:
                out = out - by_free.T @ (Q @ y)
            return np.asarray(out)

        def solve(r: Array) -> Array:
            try:
                return np.asarray(np.linalg.solve(K_T, r))
            except np.linalg.LinAlgError:
                raise CircuitError(self._not_found(u[0], sources, np.zeros(self.n_free))) from None

        return refined(solve, left_over, solve(asked.T))[0].T

    def capacitances(self, volts: Array, to_ground: Array | None = None) -> Array:
        """Return the capacitances between and at all nodes at these voltages, F, (node, node): charge = C v.

        Those of the network's capacitors, and to_ground, F, (node,), where given.
        """
        network = self.network
        C = np.diag(np.zeros(len(network.nodes)) if to_ground is None else np.asarray(to_ground, dtype=np.float64))
        for number, branch in enumerate(network.branches):
            if isinstance(branch.element, Store):
                ends = _ends(len(network.nodes), network.plus[number], network.minus[number])
                theta = np.array(branch.theta)[:, None]
                C += branch.element.capacitance(theta, np.atleast_1d(ends @ volts))[0] * np.outer(ends, ends)
        return C

    def _linear(self, sources: Array) -> Array:
        """Return the free voltages of a linear network, (batch, free), refined by the currents of its branches."""
        if self.n_free == 0:
            return np.zeros((len(sources), 0))
        self._factorise()
        if self._factor is not None:
            factor = self._factor

            def solve(r: Array) -> Array:
                return np.asarray(lapack.dpotrs(factor, r.T, lower=1)[0].T)

            u, change = refined(solve, lambda u: -self._linear_imbalance(u, sources), solve(self._push(sources)))
            if change <= _UNSETTLED * np.abs(u).max(initial=0.0) + _NOTHING:
                return u
        # Beyond the reach of a factor, but a path there is: no digit is lost where nothing is subtracted.
        between, to_ground = self._graph(self._g[None])

        def patiently(r: Array) -> Array:
            return eliminated(between[0], to_ground[0], r)

        u, change = refined(patiently, lambda u: -self._linear_imbalance(u, sources), patiently(self._push(sources)))
        if not (np.isfinite(u).all() and change <= _UNSETTLED * np.abs(u).max(initial=0.0) + _NOTHING):
            raise CircuitError(self._not_found(u[0], sources[0], self._linear_imbalance(u, sources)[0]))
        return u

    def _factorise(self) -> None:
        """Factor the conductance matrix; leave no factor where rounding ate it. Raises where a node has no branch."""
        if self._factor is not None or self._beyond_factor:
            return
        factor, info = lapack.dpotrf(self._scatter.stiffness(self._g), lower=1, overwrite_a=1)
        if info == 0:
            self._factor = factor
            return
        self._refuse_floating(self._g > 0)  # conductances programmed to nothing are no branches
        self._beyond_factor = True

    def _linear_imbalance(self, u: Array, sources: Array) -> Array:
        through = (u @ self._P.T + sources @ self._M.T) * self._g
        return np.asarray(through @ self._P - sources @ self._injected.T)

    def _graph(self, g: Array) -> tuple[Array, Array]:
        """Return conductances between free nodes and from them to fixed ones, S, (batch, free, free), (batch, free).

        g: of the linear branches, and after them of the others, S, (batch, branch).
        """
        rows = np.concatenate([self._P, *(group.Q for group in self._groups)])
        apart = np.abs(rows).sum(axis=1) == 2
        between = np.zeros((len(g), self.n_free, self.n_free))
        ends = np.abs(rows[apart])
        for item in range(len(g)):
            between[item] = ends.T @ (g[item, apart, None] * ends)
            np.fill_diagonal(between[item], 0.0)
        return between, g[:, ~apart] @ np.abs(rows[~apart])

    def _equilibrium(self, sources: Array, u: Array, following: Following | Pinned | None) -> Array:
        """Return equilibria, (batch, free): by Newton's method, and for those that it doesn't find by small steps."""
        found, arrived = self._newton(sources, u, following)
        for item in np.flatnonzero(~arrived):
            alone = following
            if isinstance(following, Following):
                alone = Following(following.f[item : item + 1], following.feedback)
            found[item] = self._by_small_steps(sources[item : item + 1], u[item : item + 1], alone)[0]
        return found

    def _by_small_steps(self, sources: Array, start: Array, following: Following | Pinned | None) -> Array:
        """Find one equilibrium where Newton's method alone does not. Raises CircuitError, which names what is left."""

        def attempt(share: float, u: Array, shunt: float) -> tuple[Array, bool]:
            found, arrived = self._newton(share * sources, u, following, shunt)
            return found, bool(arrived.all())

        def largest() -> float:
            rest = np.zeros((1, self.n_free))
            return float(np.abs(np.diagonal(self._jacobian(rest, sources, following)[0])).max(initial=0.0)) or 1.0

        found, arrived = by_small_steps(attempt, start, largest)
        if not arrived:
            imbalance, _ = self._imbalance(found, sources, following)
            raise CircuitError(self._not_found(found[0], sources[0], imbalance[0]))
        return found

    def _newton(
        self, sources: Array, u: Array, following: Following | Pinned | None, shunt: float = 0.0
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Damped Newton, a batch at once: voltages, and which have arrived. Every item goes on until the last has.

        Without transistors the energy is convex, and a step is cut where it would rise again; with them the sum of the
        currents that are left over must fall. shunt: S, from each free node to ground.
        """
        push = self._push(sources)
        linear = self._scatter.stiffness(self._g)
        previous = np.full(len(u), np.inf)
        arrived = np.zeros(len(u), dtype=bool)
        for _ in range(_MOST_ITERATIONS):
            imbalance, scale = self._imbalance(u, sources, following, push, shunt)
            jacobian = self._jacobian(u, sources, following, linear, shunt)
            try:
                step = np.asarray(np.linalg.solve(jacobian, -imbalance[..., None])[..., 0])
            except np.linalg.LinAlgError:
                return u, arrived
            if not np.isfinite(step).all():
                return u, arrived
            size = np.abs(step).max(axis=1, initial=0.0)
            voltage = np.abs(u).max(axis=1, initial=0.0) + np.abs(sources).max(axis=1, initial=0.0)
            settled = (size <= _ROUNDING * voltage + _NOTHING) | (size >= 0.5 * previous)
            # The last bit of a voltage, times the conductances at a node, is a current that nothing can remove.
            last_bit = _LAST_BIT * voltage[:, None] * np.abs(np.diagonal(jacobian, axis1=1, axis2=2))
            if self._channels and following is None:
                last_bit = np.minimum(last_bit, _MOST_EXCUSED * scale.max(axis=1, initial=0.0)[:, None])
            balanced = (np.abs(imbalance) <= _RESIDUAL * scale + last_bit + _NOTHING).all(axis=1)
            arrived |= settled & balanced  # for good: among many, the noise of one or another is always up
            if arrived.all():
                return u, arrived
            previous = size
            u = u + self._shortened(u, step, imbalance, scale, sources, following, push, shunt)
        return u, arrived

    def _with_low_part(self, u: Array, sources: Array) -> tuple[Array, Array]:
        """Return the free voltages as sums of two doubles that obey Kirchhoff's law, (batch, free) each."""
        low = np.zeros_like(u)
        if self.n_free == 0:
            return u, low
        jacobian = self._jacobian(u, sources, None)
        imbalance, largest = self._exact_imbalance(u, low, sources)
        best = (np.abs(imbalance).max(axis=1) / (largest + _NOTHING)).max()
        solvers = [self._dense_solve] if self._channels else [self._dense_solve, self._graph_solve]
        for solve in solvers:
            for _ in range(_MOST_POLISHES):
                if best <= _POLISHED:
                    return u, low
                change = solve(jacobian, u, sources, -imbalance)
                if change is None:
                    break
                there = low + change
                high = u + there
                rest = (u - high) + there  # what the sum could not hold, the larger term being u, or u itself nothing
                fresh, largest = self._exact_imbalance(high, rest, sources)
                now = (np.abs(fresh).max(axis=1) / (largest + _NOTHING)).max()
                if not now < 0.7 * best:
                    break
                u, low, imbalance, best = high, rest, fresh, now
        return u, low

    def _dense_solve(self, jacobian: Array, u: Array, sources: Array, rhs: Array) -> Array | None:  # noqa: ARG002
        try:
            found = np.asarray(np.linalg.solve(jacobian, rhs[..., None])[..., 0])
        except np.linalg.LinAlgError:
            return None
        return found if np.isfinite(found).all() else None

    def _graph_solve(self, jacobian: Array, u: Array, sources: Array, rhs: Array) -> Array | None:  # noqa: ARG002
        slopes = [np.broadcast_to(self._g, (len(u), len(self._g)))]
        slopes += [group.element.slope(group.theta, group.across(u, sources)) for group in self._junctions]
        between, to_ground = self._graph(np.concatenate(slopes, axis=1))
        found = np.stack([eliminated(*item) for item in zip(between, to_ground, rhs, strict=True)])
        return found if np.isfinite(found).all() else None

    def _exact_imbalance(self, u: Array, low: Array, sources: Array) -> tuple[Array, Array]:
        """Return what leaves each free node too much, A, (batch, free), and the largest current, A, (batch,)."""
        pushed = sources @ self._injected.T
        out, largest = -pushed, np.abs(pushed).max(axis=1, initial=0.0)
        for flow, group in zip(self.flows(u, low, sources), self.groups, strict=True):
            out = out + flow @ group.Q
            moved = flow[:, group.Q.any(axis=1)]  # what flows between driven nodes is no measure for the others
            largest = np.maximum(largest, np.abs(moved).max(axis=1, initial=0.0))
        return out, largest

    def flows(self, u: Array, low: Array, sources: Array) -> list[Array]:
        """Return the currents of each of the `groups`, A, (batch, branch), from voltages in two parts."""
        found = [self._exactly[0](u, low, sources) * self._g]
        for group, exactly in zip(self._groups, self._exactly[1:], strict=True):
            if isinstance(group, Junctions):
                found.append(group.element.current(group.theta, exactly(u, low, sources)))
            else:
                found.append(group.currents(u + low, sources))
        return found

    def _imbalance(
        self,
        u: Array,
        sources: Array,
        following: Following | Pinned | None,
        push: Array | None = None,
        shunt: float = 0.0,
    ) -> tuple[Array, Array]:
        """Return the current that leaves each free node too much, and the sum of all there, A, (batch, free) each."""
        pushed = self._push(sources) if push is None else push
        through = (u @ self._P.T) * self._g
        out = through @ self._P - pushed
        scale = np.abs(through) @ np.abs(self._P) + np.abs(pushed)
        for group in self._groups:
            current = group.currents(u, sources)
            out = out + current @ group.Q
            scale += np.abs(current) @ np.abs(group.Q)
        if following is not None:
            out = out + self._followed(u, sources, following)[0]
        if shunt:
            out = out + shunt * u
            scale += shunt * np.abs(u)
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
        self,
        u: Array,
        sources: Array,
        following: Following | Pinned | None,
        linear: Array | None = None,
        shunt: float = 0.0,
    ) -> Array:
        constant = self._scatter.stiffness(self._g) if linear is None else linear
        K = np.repeat(constant[None], len(u), axis=0)
        for group in self._groups:
            K += group.Q.T @ group.by_free(u, sources)
        if following is not None:
            K += self._followed(u, sources, following)[1]
        # An iterate may stand so far up an exponential that rounding hides all other branches at its two nodes, and K
        # is singular: their common voltage is held until it has come down.
        diagonal = np.einsum("bii->bi", K)
        diagonal *= _HOLD
        diagonal += shunt
        return K

    def _shortened(
        self,
        u: Array,
        step: Array,
        imbalance: Array,
        scale: Array,
        sources: Array,
        following: Following | Pinned | None,
        push: Array,
        shunt: float,
    ) -> Array:
        """Shorten a Newton step where a junction would run up its exponential, or the energy would rise again."""
        fraction = np.ones(len(u))
        for group in self._junctions:
            allowed = group.element.believed(group.theta, group.across(u, sources), step @ group.Q.T)
            fraction = np.minimum(fraction, allowed.min(axis=1))
        descent = (imbalance * step).sum(axis=1)
        left = np.abs(imbalance).sum(axis=1)
        noise = _RESIDUAL * scale.sum(axis=1)
        for _ in range(_MOST_HALVINGS):
            there, _ = self._imbalance(u + fraction[:, None] * step, sources, following, push, shunt)
            if self._channels:
                overshot = np.abs(there).sum(axis=1) > left * (1 - 1e-4 * fraction) + noise
            else:
                overshot = (there * step).sum(axis=1) > 0.9 * np.abs(descent)
            if not overshot.any():
                break
            fraction = np.where(overshot, 0.5 * fraction, fraction)
        return fraction[:, None] * step

    def _not_found(self, u: Array, sources: Array, imbalance: Array) -> str:
        """Say what is left over where, and which branches meet there."""
        worst = int(np.abs(imbalance).argmax())
        names = [self.network.nodes[i] for i in np.flatnonzero(self._S[:, worst])]
        there = set(names)
        at_node = [branch.name for branch in self.network.branches if {branch.plus, branch.minus} & there]
        text = (
            f"no equilibrium found: {abs(imbalance[worst]):.3g} A are left over at node {shown(names)} (branches "
            f"{shown(at_node)})"
        )
        unheld = self._unheld(u, sources)
        if unheld:
            return f"{text}; next to nothing holds the voltage of node {shown(unheld)}: add a branch there, or drive it"
        return f"{text}; check the parts there (a diode with a very small emission voltage, a transistor that is off?)"

    def _unheld(self, u: Array, sources: Array) -> list[str]:
        """Return the nodes that can be moved at no cost in current, to rounding."""
        K = self._jacobian(u[None], sources[None], None)[0]
        if not (K.size and np.isfinite(K).all()):
            return []
        _, values, vectors = np.linalg.svd(K)
        if values[-1] > _NULL * values[0]:
            return []
        free = np.abs(vectors[-1]) > 0.1 * np.abs(vectors[-1]).max()
        return [self.network.nodes[i] for i in np.flatnonzero(self._S[:, free].any(axis=1))]

    def _linear_branches(
        self, connections: Sequence[Connection]
    ) -> tuple[Array, Array, Array, NDArray[np.intp], NDArray[np.intp]]:
        """Return P, M, conductances, where the tunable ones stand, and numbers; series resistors are branches too."""
        network = self.network
        n_nodes, n_sources = len(network.nodes), len(connections)
        incidence: list[Array] = []
        own: list[Array] = []
        values: list[float] = []
        numbers: list[int] = []
        place = np.zeros(len(network.tunable), dtype=np.intp)
        number_of = {int(branch): tunable for tunable, branch in enumerate(network.tunable)}
        for number, branch in enumerate(network.branches):
            if branch.element.linear:
                if number in number_of:
                    place[number_of[number]] = len(values)
                incidence.append(_ends(n_nodes, network.plus[number], network.minus[number]))
                own.append(np.zeros(n_sources))
                values.append(branch.theta[0])
                numbers.append(number)
        for number, connection in enumerate(connections):
            if connection.kind == "voltage" and connection.resistance:
                incidence.append(_ends(n_nodes, connection.plus, connection.minus))
                own.append(-np.eye(n_sources)[number])
                values.append(1 / connection.resistance)
                numbers.append(-1 - number)
        B = np.array(incidence).reshape(-1, n_nodes)
        return (
            B @ self._S,
            B @ self._D + np.array(own).reshape(-1, n_sources),
            np.array(values, dtype=np.float64),
            place,
            np.array(numbers, dtype=np.intp),
        )

    def _nonlinear_branches(self) -> list[Junctions]:
        network = self.network
        kinds: dict[Element, list[int]] = {}
        for number, branch in enumerate(network.branches):
            if isinstance(branch.element, Element) and not branch.element.linear:
                kinds.setdefault(branch.element, []).append(number)
        groups = []
        for element, numbers in kinds.items():
            B = np.stack([_ends(len(network.nodes), network.plus[i], network.minus[i]) for i in numbers])
            groups.append(Junctions(element, self._theta(numbers), B @ self._S, B @ self._D, np.array(numbers)))
        return groups

    def _transistors(self) -> list[Channels]:
        network = self.network
        kinds: dict[TwoEnded, list[int]] = {}
        for number, branch in enumerate(network.branches):
            if isinstance(branch.element, TwoEnded):
                kinds.setdefault(branch.element, []).append(number)
        groups = []
        S, D = (np.concatenate([matrix, np.zeros((1, matrix.shape[1]))]) for matrix in (self._S, self._D))  # ground
        for element, numbers in kinds.items():
            plus, minus = network.plus[numbers], network.minus[numbers]
            theta = self._theta(numbers)
            groups.append(Channels(element, theta, S[plus], D[plus], S[minus], D[minus], np.array(numbers)))
        return groups

    def _theta(self, numbers: Sequence[int]) -> Array:
        theta = np.array([self.network.branches[i].theta for i in numbers], dtype=np.float64)
        return theta.reshape(len(numbers), -1).T

    def _free_names(self) -> list[str]:
        return [self.network.nodes[root] for root in self._roots]

    def _refuse_floating(self, conducting: NDArray[np.bool_]) -> None:
        """Raise where no branch leads on to a fixed voltage: rounding would hide the singular matrix.

        conducting: which of the linear branches do, (branch,).
        """
        rows = np.abs(np.concatenate([self._P[conducting], *(group.Q for group in self._groups)]))
        joined = rows.T @ rows > 0
        held = rows[rows.sum(axis=1) == 1].any(axis=0)  # a branch with one free end
        for _ in range(self.n_free):
            further = held | joined[:, held].any(axis=1)
            if (further == held).all():
                break
            held = further
        if not held.all():
            raise self._floating(~held)

    def _floating(self, free: NDArray[np.bool_]) -> CircuitError:
        return floating([self.network.nodes[i] for i in np.flatnonzero(self._S[:, free].any(axis=1))])


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


__all__ = ["Circuit", "CircuitError", "Connection", "Following", "Pinned", "Settled"]
