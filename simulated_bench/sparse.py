"""Large linear networks: the circuit of circuit.py with nothing dense, and whole blocks of training steps on it.

The same equations, v = S u + D x and K u = rhs, K = P^T g P. S is a number for each node, K a list of neighbours for
each free voltage, filled anew from the conductances in one pass. K u = rhs is solved by conjugate gradients, with the
diagonal of K as preconditioner or, inside a block, with an older factor of K where that was found cheaper. Cheaper is
counted in numbers touched, not in seconds: a run repeats to the last bit on any machine that rounds alike.

Without numba the same steps are done by NumPy and SciPy; results agree to the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import SuperLU, splu

from freqprop_lab.names import shown
from freqprop_lab.network import Network
from freqprop_lab.values import Array, BlockPlan, Response
from simulated_bench.connections import CircuitError, Connection, floating, tied

try:
    from simulated_bench import _sparse_kernels as kernels
except ImportError:  # no numba: NumPy and SciPy alone
    kernels = None  # type: ignore[assignment]

_TOLERANCE = 1e-12  # of ||K u - rhs|| / ||rhs||
_BALANCE = 1e-12  # of the largest current: what Kirchhoff's law may be off by at a node
_MOST_EXCUSED = 1e-5  # of the largest current, or of what drives: what the last bits of the voltages may account for
_LAST_BIT = 4 * float(np.finfo(float).eps)
_MOST_ITERATIONS = 50_000
_MOST_REFINEMENTS = 5
_MANY = 60  # iterations, from which on a factor may be cheaper
_STALE = 8  # iterations, beyond which a factor is renewed
_EXPECTED = 6  # iterations with an old factor
_FEW_SOLVES = 20  # a factor for fewer is not worth its making
_WIDEST = 6  # times the root of n: the mean reach of a row beyond which a factor would fill up
_LARGEST_ENVELOPE = 2 * 10**8
_LARGEST_MEMORY = 4 * 10**7  # numbers
_Numbers = NDArray[np.uint32]


class SparseCircuit:
    """A linear network with its sources connected; what `Circuit` is for small ones, with the same arguments.

    Arrays of sources are (..., source), V or A; of nodes (..., node), V. Raises CircuitError for nonlinear elements,
    parts that float, and loops of stiff sources.
    """

    def __init__(self, network: Network, connections: Sequence[Connection], gauge: int | None = None) -> None:
        if not network.is_linear:
            names = [branch.name for branch in network.branches if not branch.element.linear]
            raise CircuitError(f"branch {shown(names)} is not linear; the sparse solver takes resistors only")
        self.network = network
        n_sources = len(connections)
        self._free, self._roots, self._D = tied(network, connections, gauge)
        resistive = [i for i, each in enumerate(connections) if each.kind == "voltage" and each.resistance]
        self._plus = np.concatenate([network.plus, [connections[i].plus for i in resistive]]).astype(np.intp)
        self._minus = np.concatenate([network.minus, [connections[i].minus for i in resistive]]).astype(np.intp)
        self._place = network.tunable
        self._g = np.concatenate(
            [[branch.theta[0] for branch in network.branches], [1 / connections[i].resistance for i in resistive]]
        )
        own = (np.full(len(resistive), -1.0), (len(network.branches) + np.arange(len(resistive)), resistive))
        self._own = sparse.csr_array(own, shape=(len(self._g), n_sources))
        ends = np.append(self._free, -1)  # number -1, ground, is the last and held
        first, second = ends[self._plus], ends[self._minus]
        self._fed, self._known, self._enters = self._feeds(first, second)
        current = [i for i, each in enumerate(connections) if each.kind == "current"]
        self._injected = _incidence(
            ends[[connections[i].plus for i in current]], ends[[connections[i].minus for i in current]], self.n_free
        ) @ sparse.csr_array((np.ones(len(current)), (np.arange(len(current)), current)), (len(current), n_sources))
        self._rows = _Rows(first, second, self.n_free)
        self._refuse_floating()
        self._kept: SuperLU | None = None
        self._may_factor: bool | None = None
        self._volts_of = np.maximum(self._free, 0), (self._free >= 0).astype(np.float64)
        self.program(network.own_conductances)

    @property
    def n_free(self) -> int:
        """Number of node voltages that are solved for."""
        return len(self._roots)

    @property
    def roots(self) -> NDArray[np.intp]:
        """The node whose voltage each free u is, (free,)."""
        return self._roots

    def program(self, conductances: Array) -> None:
        """Take conductances of the tunable branches, S, (tunable,)."""
        self._kept = None
        self.follow(conductances)

    def follow(self, conductances: Array) -> None:
        """Take conductances a little off the ones before: a factor of those is kept."""
        self._g[self._place] = conductances
        bad = self._rows.fill(self._g)
        if bad >= 0:
            raise self._floating(np.arange(self.n_free) == bad)

    def operating_point(self, sources: Array, start: Array | None = None) -> Array:
        """Return the node voltages at equilibrium, for one vector of sources or a batch of them.

        start: node voltages to begin from, (node,), for one vector; zero where left out, so that equal questions get
        equal answers whatever was asked before. Raises CircuitError with what is left over, in amperes.
        """
        if sources.ndim == 1:
            u = np.zeros(self.n_free) if start is None else start[self._roots]
            return self._expand(self._solve(self._push(sources), u)[0], sources)
        push, used = self._push(sources), np.flatnonzero(sources.any(axis=0))
        if len(sources) <= len(used):
            return self._expand(self._solve_many(push)[0], sources)
        # As many solves as sources tell of all the rest, which are looked at one by one and corrected.
        units, _ = self._solve_many(self._push(np.eye(sources.shape[1])[used]))
        return self._expand(self._solve_many(push, sources[:, used] @ units)[0], sources)

    def tangent(self, volts: Array, sources: Array, change: Array) -> Array:  # noqa: ARG002 - as Circuit's
        """Return the derivative of the node voltages along a change of the sources: the response to it alone."""
        return self.operating_point(change)

    def residual(self, volts: Array, sources: Array) -> float:
        """Return the largest violation of Kirchhoff's current law at a free node, A."""
        worst = 0.0
        free = np.append(np.where(self._free < 0, self.n_free, self._free), self.n_free)
        for v, x in zip(np.atleast_2d(volts), np.atleast_2d(sources), strict=True):
            grounded = np.append(v, 0.0)
            through = self._g * (grounded[self._plus] - grounded[self._minus] + self._own @ x)
            out = np.bincount(free[self._plus], through, self.n_free + 1)
            out -= np.bincount(free[self._minus], through, self.n_free + 1)
            worst = max(worst, float(np.abs(out[:-1] - self._injected @ x).max(initial=0.0)))
        return worst

    def _feeds(self, first: Array, second: Array) -> tuple[NDArray[np.intp], sparse.csr_array, sparse.csr_array]:
        """Return the branches that known voltages act on, those voltages by source, and where the currents enter."""
        n_nodes = len(self._free)
        D = sparse.csr_array(sparse.vstack([self._D, sparse.csr_array((1, self._D.shape[1]))]))
        touched = np.diff(D.indptr) > 0
        fed = np.flatnonzero(touched[self._plus] | touched[self._minus] | (np.diff(self._own.indptr) > 0))
        plus, minus = self._plus[fed] % (n_nodes + 1), self._minus[fed] % (n_nodes + 1)
        known = sparse.csr_array(D[plus] - D[minus] + self._own[fed])
        return fed, known, _incidence(first[fed], second[fed], self.n_free)

    def _push(self, sources: Array) -> Array:
        """Return what the sources alone push into the free nodes, A, (..., free)."""
        across = self._known @ sources.T
        through = across * (self._g[self._fed] if sources.ndim == 1 else self._g[self._fed, None])
        return np.asarray(self._injected @ sources.T - self._enters @ through).T

    def _expand(self, u: Array, sources: Array) -> Array:
        if not self.n_free:
            return np.asarray((self._D @ sources.T).T)
        place, kept = self._volts_of
        return np.asarray(u[..., place] * kept + (self._D @ sources.T).T)

    def _solve(self, rhs: Array, u: Array) -> tuple[Array, int]:
        """Return u where K u = rhs, (free,), beginning at u, and the iterations taken."""
        norm = float(np.linalg.norm(rhs))
        if norm == 0 or not self.n_free:
            return np.zeros(self.n_free), 0
        rows, u = self._rows, np.array(u, dtype=np.float64)
        r, count = np.empty(self.n_free), 0
        rows.leftover(rhs, u, r)
        target, factor = _TOLERANCE * norm, self._kept
        for _ in range(_MOST_REFINEMENTS):
            if factor is None:
                count += rows.descend(u, r, target, _MOST_ITERATIONS)
            else:
                count += rows.descend_by(factor, u, r, target)
            largest = rows.leftover(rhs, u, r)
            if self._is_balanced(rhs, u, r, largest):
                return u, count
            target = min(0.5 * target, 0.5 * _BALANCE * largest)
            if count >= _MOST_ITERATIONS and factor is None and self._is_narrow():
                factor = self._factor()
        worst = int(np.abs(r).argmax())
        raise CircuitError(
            f"no equilibrium found in {count} iterations: {abs(r[worst]):.3g} A are left over at node "
            f"{self.network.nodes[self._roots[worst]]}; conductances there may differ by too much, or all be 0"
        )

    def _solve_many(self, rhs: Array, start: Array | None = None) -> tuple[Array, int]:
        """Return u for each row of rhs, (rhs, free), beginning at start, and the most iterations taken by any."""
        found, most = np.zeros(rhs.shape) if start is None else start, 0
        for number, row in enumerate(rhs):
            found[number], count = self._solve(row, found[number])
            most = max(most, count)
        return found, most

    def _is_balanced(self, rhs: Array, u: Array, r: Array, largest: float) -> bool:
        """Say whether Kirchhoff's law holds, as far as the last bits of the voltages let it.

        largest: of the currents as K has them; beside a stiff source between free nodes that is the conductance times
        its voltage, which may be more than flows.
        """
        last_bits = _LAST_BIT * float(np.abs(u).max()) * self._rows.diagonal
        # Where they would excuse more, the voltages have run away: there is no equilibrium.
        most = _MOST_EXCUSED * max(largest, float(np.abs(rhs).max()))
        return bool((np.abs(r) <= _BALANCE * largest + np.minimum(last_bits, most)).all())

    def consider_factor(self, iterations: int, n_solves: int) -> None:
        """Factor K if that will be cheaper than what took so many iterations, over so many solves to come."""
        if iterations < _MANY or n_solves < _FEW_SOLVES or not self._is_narrow():
            return
        made, rows = self._factor(), self._rows
        if made is None:
            return
        each = len(rows.column) + 8 * self.n_free  # numbers that an iteration touches
        by_factor = _EXPECTED * (each + 2 * (made.L.nnz + made.U.nnz))
        self._kept = made if by_factor < iterations * each else None

    def renew_factor(self, iterations: int) -> None:
        """Factor K as it is now where the last solve shows that the kept factor has grown old."""
        if self._kept is not None and iterations > _STALE:
            self._kept = self._factor()

    @property
    def keeps_factor(self) -> bool:
        """True while an old factor is the preconditioner."""
        return self._kept is not None

    def _factor(self) -> SuperLU | None:
        """Factor K as it is now; None where it is singular."""
        K = self._rows.matrix().tocsc()
        try:
            return splu(K, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        except RuntimeError:
            return None

    def _is_narrow(self) -> bool:
        """Say whether a factor stays sparse, by the envelope of K after reverse Cuthill-McKee: a bound of its size.

        A row of a grid reaches over sqrt(n) others or a few times that, one of a random graph over a third of all, and
        its factor is dense.
        """
        if self._may_factor is None:
            K = self._rows.matrix()
            order = csgraph.reverse_cuthill_mckee(K, symmetric_mode=True)
            place = np.empty(self.n_free, dtype=np.int64)
            place[order] = np.arange(self.n_free)
            row = np.repeat(np.arange(self.n_free), np.diff(self._rows.start))
            reach = np.zeros(self.n_free, dtype=np.int64)
            np.maximum.at(reach, place[row], place[row] - place[self._rows.column])
            envelope = int(reach.sum())
            self._may_factor = envelope <= min(_WIDEST * self.n_free**1.5, _LARGEST_ENVELOPE)
        return self._may_factor

    def _refuse_floating(self) -> None:
        if not self.n_free:
            return
        rows = self._rows
        graph = sparse.csr_array((np.ones(len(rows.column)), rows.column, rows.start), (self.n_free, self.n_free))
        _, part = csgraph.connected_components(graph, directed=False)
        is_held = np.zeros(part.max() + 1, dtype=bool)
        is_held[part[np.diff(rows.held_start) > 0]] = True
        if not is_held.all():
            raise self._floating(~is_held[part])

    def _floating(self, free: NDArray[np.bool_]) -> CircuitError:
        nodes = np.flatnonzero(np.append(free, False)[self._free])
        return floating([self.network.nodes[i] for i in nodes])


class _Rows:
    """K row by row: `column` and `branch` of each entry, rows from `start` on; branches to held nodes apart."""

    def __init__(self, first: Array, second: Array, n_free: int) -> None:
        inner = np.flatnonzero((first >= 0) & (second >= 0) & (first != second))
        row = np.concatenate([first[inner], second[inner]])
        column = np.concatenate([second[inner], first[inner]])
        order = np.lexsort((column, row))
        self.column = column[order].astype(np.uint32)
        self.branch = np.concatenate([inner, inner])[order].astype(np.uint32)
        self.start = np.searchsorted(row[order], np.arange(n_free + 1)).astype(np.uint32)
        to_held = np.flatnonzero((first >= 0) != (second >= 0))
        row = np.maximum(first, second)[to_held]
        order = np.argsort(row, kind="stable")
        self.held_branch = to_held[order].astype(np.uint32)
        self.held_start = np.searchsorted(row[order], np.arange(n_free + 1)).astype(np.uint32)
        self.weight, self.held, self.diagonal = np.zeros(len(self.column)), np.zeros(n_free), np.zeros(n_free)
        self.inverse = np.zeros(n_free)
        self._n = n_free

    def fill(self, g: Array) -> int:
        """Take the conductances of all branches; return a row that is not positive, or -1."""
        if kernels is not None:
            bad = kernels.fill(
                self.start, self.branch, self.held_start, self.held_branch, g, self.weight, self.held, self.diagonal
            )
        else:
            self.weight = g[self.branch]
            self.held = np.bincount(_row_of(self.held_start), g[self.held_branch], self._n)
            self.diagonal = self.held + np.bincount(_row_of(self.start), self.weight, self._n)
            wrong = ~((self.diagonal > 0) & np.isfinite(self.diagonal))
            bad = int(wrong.argmax()) if wrong.any() else -1
        if bad < 0:
            np.divide(1.0, self.diagonal, out=self.inverse)
        return int(bad)

    def matrix(self) -> sparse.csr_array:
        """Return K, S, (free, free)."""
        off = sparse.csr_array((-self.weight, self.column, self.start), shape=(self._n, self._n))
        return sparse.csr_array(off + sparse.diags_array(self.diagonal))

    def leftover(self, rhs: Array, u: Array, r: Array) -> float:
        """Overwrite r by rhs - K u, A, (free,); return the largest current, A."""
        if kernels is not None:
            return kernels.leftover(self.start, self.column, self.weight, self.held, rhs, u, r)[1]
        row = _row_of(self.start)
        current = self.weight * (u[row] - u[self.column])
        entering = rhs - self.held * u
        r[:] = entering - np.bincount(row, current, self._n)
        return float(max(np.abs(entering).max(), np.abs(current).max(initial=0.0)))

    def descend(self, u: Array, r: Array, target: float, most: int) -> int:
        """Conjugate gradients with the diagonal, until ||r|| <= target, A; u and r move along."""
        if kernels is None:
            return self._descend(lambda r: self.inverse * r, u, r, target, most)
        arrays = self.start, self.column, self.weight, self.held, self.inverse
        count = kernels.conjugate_gradients(*arrays, u, r, target**2, most)
        return most if count == kernels.NOT_POSITIVE else count

    def descend_by(self, factor: SuperLU, u: Array, r: Array, target: float) -> int:
        """Do the same with a factor of an older K, or of this one."""
        return self._descend(factor.solve, u, r, target, _MOST_ITERATIONS)

    def _descend(self, precondition: Callable[[Array], Array], u: Array, r: Array, target: float, most: int) -> int:
        p = precondition(r)
        rho = float(r @ p)
        for count in range(most):
            if float(np.linalg.norm(r)) <= target:
                return count
            q, energy = self._multiplied(p)
            if not energy > 0:
                return most
            step = rho / energy
            u += step * p
            r -= step * q
            z = precondition(r)
            turn, rho = float(r @ z) / rho, float(r @ z)
            p = z + turn * p
        return most

    def _multiplied(self, p: Array) -> tuple[Array, float]:
        if kernels is not None:
            q = np.empty(self._n)
            return q, kernels.multiply(self.start, self.column, self.weight, self.held, p, q)
        row = _row_of(self.start)
        q = self.held * p + np.bincount(row, self.weight * (p[row] - p[self.column]), self._n)
        return q, float(p @ q)


@dataclass(frozen=True)
class Feed:
    """What drives the connected sources, V or A: inputs (source, input) x level + rest (source,), and the nudge.

    per_ampere: (source, output), for an ampere of nudge.
    """

    inputs: Array
    rest: Array
    per_ampere: Array


@dataclass(frozen=True)
class BlockEnd:
    """Where a block ends: wished conductances, S, (tunable,); outputs (step, output), V; the last a and b."""

    wished: Array
    outputs: Array
    response: Response


def run_block(
    circuit: SparseCircuit, plan: BlockPlan, feed: Feed, check: Callable[[int, Array, Array, Array, Array], None]
) -> BlockEnd:
    """Run the steps of a block with the squared cost: two solves each, eq. 3.4 and 3.5 in closed form.

    A voltage is linear in what drives it, so solutions for a unit of each input and each nudge predict those of any
    example. They are solved for when the block begins, and corrected after each step by what it found (Broyden's
    update): that is where the next solve starts. Nothing is left of a block but the conductances, so that a resumed run
    repeats to the last bit; that costs inputs + outputs solves a block (and one more where sources have a rest).

    check: called with example, nudge (output,), a and b (node,) and the conductances that they belong to, before these
    are changed; raises what is wrong. Raises CircuitError.
    """
    network = circuit.network
    wished = np.array(plan.wished, dtype=np.float64)
    circuit.program(wished)
    has_rest = bool(feed.rest.any())
    levels = np.column_stack([plan.levels, np.ones(len(plan.levels))]) if has_rest else plan.levels
    driven = np.column_stack([feed.inputs, feed.rest]) if has_rest else feed.inputs
    memory = _Memory(circuit, np.column_stack([driven, feed.per_ampere]), 2 * len(plan.order))
    no_levels, no_nudge = np.zeros(levels.shape[1]), np.zeros(plan.targets.shape[1])
    last = len(network.nodes)
    plus, minus = (np.where(end < 0, last, end).astype(np.uint32) for end in network.tunable_ends)
    outputs = np.empty((len(plan.order), plan.targets.shape[1]))
    a = b = np.zeros(len(network.nodes))
    for step, example in enumerate(plan.order.tolist()):
        if step:
            circuit.follow(wished)
        a = memory.solve(np.concatenate([levels[example], no_nudge]))
        outputs[step] = network.read_outputs(a)
        nudge = -plan.gamma * (outputs[step] - plan.targets[example])
        b = memory.solve(np.concatenate([no_levels, nudge]))
        check(example, nudge, a, b, wished)
        if kernels is not None:
            grounded = np.append(a, 0.0), np.append(b, 0.0)
            kernels.learn(plus, minus, *grounded, plan.alpha, plan.lowest, plan.highest, wished)
        else:
            delta = -plan.alpha * network.across_tunable(a) * network.across_tunable(b)
            wished = np.minimum(np.maximum(wished + delta, plan.lowest), plan.highest)
    return BlockEnd(wished, outputs, Response(a, b, np.zeros((len(a), 2, 2))))


class _Memory:
    """What was solved for in a block: u for a unit of each drive, (drive, free), and so the start for any other.

    driven: (source, drive). Where it would be too large, or the block is too short to repay it, it begins at zero.
    """

    def __init__(self, circuit: SparseCircuit, driven: Array, n_solves: int) -> None:
        self._circuit, self._driven = circuit, driven
        n_drives = driven.shape[1]
        self._units: Array | None = np.zeros((n_drives, circuit.n_free))
        if n_drives * circuit.n_free > _LARGEST_MEMORY:
            self._units = None
        elif n_drives <= n_solves:
            self._units, iterations = circuit._solve_many(circuit._push(driven.T))
            circuit.consider_factor(iterations, n_solves)

    def solve(self, drive: Array) -> Array:
        """Return the node voltages, (node,), of a combination of drives, (drive,), and learn from them."""
        circuit, sources = self._circuit, self._driven @ drive
        guess = np.zeros(circuit.n_free) if self._units is None else drive @ self._units
        u, iterations = circuit._solve(circuit._push(sources), guess)
        circuit.renew_factor(iterations)
        size = float(drive @ drive)
        if self._units is not None and size > 0:
            change = u - guess
            for number in np.flatnonzero(drive).tolist():
                self._units[number] += (drive[number] / size) * change
        return circuit._expand(u, sources)


def _incidence(first: Array, second: Array, n_free: int) -> sparse.csr_array:
    """Return +1 at each column's first end and -1 at its second, (free, column); ends below 0 are none."""
    column = np.arange(len(first))
    there, back = first >= 0, second >= 0
    values = np.concatenate([np.ones(there.sum()), -np.ones(back.sum())])
    rows = np.concatenate([first[there], second[back]])
    return sparse.csr_array((values, (rows, np.concatenate([column[there], column[back]]))), shape=(n_free, len(first)))


def _row_of(start: _Numbers) -> NDArray[np.intp]:
    return np.repeat(np.arange(len(start) - 1), np.diff(start))
