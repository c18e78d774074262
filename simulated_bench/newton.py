"""Large networks of nonlinear branches: what `Circuit` is for small ones, with nothing dense.

Newton's method on the voltages that no stiff source holds, each the sum of two doubles; K = dF/du is factored without
pivoting in an order found once (fronts.py), and an old factor is used again while that pays. Known are the laws of
resistors, diodes, antiparallel pairs, junctions (with ngspice's gmin) and level-1 transistors. Where Newton's method
fails, shunts fade and sources rise as in circuit.py. Without numba the same is done by NumPy and SuperLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from freqprop_lab.names import shown
from freqprop_lab.network import Network
from freqprop_lab.values import Array
from simulated_bench.connections import CircuitError, Connection, refuse_no_number
from simulated_bench.flat import Factor, Flat, empty_state, laid_out
from simulated_bench.homotopies import by_small_steps
from simulated_bench.linear_solves import refined
from simulated_bench.plain_newton import Plain

try:
    from simulated_bench import _newton_kernels as kernels
except ImportError:  # no numba: NumPy and SciPy alone
    kernels = None  # type: ignore[assignment]

_ACCEPTED = 1e-12  # of the largest current: what Kirchhoff's law may be violated by
_NOTHING = 1e-100


def has_kernels() -> bool:
    """Say whether the compiled iteration is there."""
    return kernels is not None


@dataclass(frozen=True)
class Equilibrium:
    """One equilibrium. volts: V, (node,). currents: A, (branch,); resistors: of the sources' series resistances, A.

    residual: the largest violation of Kirchhoff's law at a free node; largest: the largest current, A.
    """

    volts: Array
    currents: Array
    resistors: Array
    residual: float
    largest: float


class NewtonCircuit:
    """A network of nonlinear branches with its sources connected; the same arguments as `Circuit`.

    Arrays of sources are (source,) or (case, source), V or A; of nodes (..., node), V. Raises CircuitError for elements
    of other laws, parts that float, and loops of stiff sources.
    """

    def __init__(self, network: Network, connections: Sequence[Connection], gauge: int | None = None) -> None:
        self.network, self.connections, self.gauge = network, tuple(connections), gauge
        self._flat = flat = laid_out(network, connections, gauge)
        self._made: Compiled | Plain = Compiled(flat) if has_kernels() else Plain(flat)
        self._theta = flat.wiring.theta
        self.n_factors = 0  # made so far

    @property
    def n_free(self) -> int:
        """Number of node voltages that are solved for."""
        return self._flat.n_free

    @property
    def is_linear(self) -> bool:
        """True where every branch that carries direct current is a resistor."""
        ends = self._flat.wiring.ends
        return bool(ends[4] == ends[0])

    @property
    def is_reciprocal(self) -> bool:
        """True where the small-signal response is symmetric: no transistors."""
        return not len(self._flat.transistors)

    @property
    def conductances(self) -> Array:
        """Those of the tunable branches, S, (tunable,)."""
        return np.asarray(self._theta[0, self._flat.tunable])

    def as_programmed(self) -> Network:
        """Return the network with the transistors' present gate voltages."""
        gates = dict(zip(self._flat.numbers[self._flat.transistors].tolist(), self._gates().tolist(), strict=True))
        branches = tuple(
            replace(branch, theta=(*branch.theta[:3], gates[number])) if number in gates else branch
            for number, branch in enumerate(self.network.branches)
        )
        return replace(self.network, branches=branches)

    def _gates(self) -> Array:
        return np.asarray(self._theta[3, self._flat.transistors])

    def program(self, conductances: Array) -> None:
        """Take conductances of the tunable branches, S, (tunable,); what was found before leaves no trace."""
        self._made.forget()
        self.follow(conductances)

    def program_gates(self, gates: Array) -> None:
        """Take gate voltages of the transistors, V, (transistor,), in the network's order; leaves no trace either."""
        self._made.forget()
        self.follow_gates(gates)

    def follow(self, conductances: Array) -> None:
        """Take conductances a little off the ones before: the factor is kept while it is good, S, (tunable,)."""
        self._theta[0, self._flat.tunable] = conductances

    def follow_gates(self, gates: Array) -> None:
        """Take gate voltages a little off the ones before, V, (transistor,)."""
        self._theta[3, self._flat.transistors] = gates

    def operating_point(self, sources: Array, start: Array | None = None) -> Array:
        """Return the node voltages at equilibrium, for one vector of sources or a batch of them.

        start: node voltages to begin from, (node,); those of a batch begin where the one before ended. Raises
        CircuitError.
        """
        if sources.ndim == 1:
            return self._settle(sources, start)[0]
        volts = np.empty((len(sources), len(self.network.nodes)))
        for number, one in enumerate(sources):
            volts[number] = start = self._settle(one, start)[0]
        return volts

    def equilibrium(self, sources: Array, start: Array | None = None) -> Equilibrium:
        """Return the equilibrium of one vector of sources with its currents. Raises CircuitError."""
        volts, residual, largest = self._settle(sources, start)
        flat, flows = self._flat, self._made.state.currents
        own = flat.numbers >= 0
        currents, resistors = np.zeros(len(self.network.branches)), np.zeros(len(sources))
        currents[flat.numbers[own]] = flows[own]
        resistors[-1 - flat.numbers[~own]] = flows[~own]
        return Equilibrium(volts, currents, resistors, residual, largest)

    def _settle(self, sources: Array, start: Array | None) -> tuple[Array, float, float]:
        """Return node voltages, Kirchhoff's residual and the largest current; the state is that of the equilibrium."""
        x = np.ascontiguousarray(sources, dtype=np.float64)
        refuse_no_number(self.network, self.connections, x)
        made, n = self._made, self.n_free
        first = np.zeros(n + 1)
        if start is not None:
            first[:n] = start[self._flat.root]
        _, arrived = made.attempt(x, first, 0.0)
        if not arrived:
            found, arrived = by_small_steps(
                lambda share, u, shunt: made.attempt(share * x, u, shunt), first, self._largest_conductance
            )
            if not arrived:
                raise CircuitError(self._not_found(x, found))
        self.n_factors = made.n_factors
        state = made.state
        residual = float(np.abs(state.F[:-1]).max(initial=0.0))
        if not residual <= _ACCEPTED * made.largest + _NOTHING:
            raise CircuitError(self._not_found(x, made.u))
        return (state.high + state.low)[:-1], residual, made.largest

    def tangent(self, volts: Array, sources: Array, change: Array) -> Array:
        """Return the derivative of the node voltages along a change of the sources, at an operating point."""
        made, wiring = self._made, self._flat.wiring
        made.linearise(np.ascontiguousarray(sources, dtype=np.float64), volts[self._flat.root])
        known = np.zeros(len(wiring.free))
        np.add.at(known, wiring.rise_node, wiring.rise * change[wiring.rise_source])
        entering = np.zeros(self.n_free + 1)
        np.add.at(entering, wiring.push_free, wiring.push * change[wiring.push_source])
        driven = np.append(change, 0.0)[np.where(wiring.own >= 0, wiring.own, -1)]
        by_plus, by_minus = made.state.slopes[::2], made.state.slopes[1::2]
        driven = driven * by_plus

        def volts_of(y: Array) -> Array:
            return np.asarray(np.append(y, 0.0)[wiring.free] + known)

        def left_over(y: Array) -> Array:
            v = volts_of(y)
            # Through a branch that is the same from both ends the difference counts, not each end's own current
            through = by_plus * (v[wiring.plus] - v[wiring.minus]) + (by_plus - by_minus) * v[wiring.minus] - driven
            out = np.bincount(wiring.free[wiring.plus], through, self.n_free + 1)
            out -= np.bincount(wiring.free[wiring.minus], through, self.n_free + 1)
            return np.asarray((entering - out)[:-1])

        if not self.n_free:
            return volts_of(np.zeros(0))[:-1]
        zero = np.zeros(self.n_free)
        return volts_of(refined(made.solve, left_over, made.solve(left_over(zero)))[0])[:-1]

    def residual(self, volts: Array, sources: Array) -> float:
        """Return the largest violation of Kirchhoff's current law at a free node, A, of voltages in one double each."""
        worst = 0.0
        for v, x in zip(np.atleast_2d(volts), np.atleast_2d(sources), strict=True):
            self._made.evaluate(np.ascontiguousarray(x, dtype=np.float64), v[self._flat.root])
            worst = max(worst, float(np.abs(self._made.state.F[:-1]).max(initial=0.0)))
        return worst

    def _largest_conductance(self) -> float:
        """Return the largest sum of slopes at a free node at rest, S."""
        wiring, n = self._flat.wiring, self.n_free
        self._made.evaluate(np.zeros(len(self.connections)), np.zeros(n))
        by_plus, by_minus = self._made.state.slopes[::2], self._made.state.slopes[1::2]
        total = np.bincount(wiring.free[wiring.plus], by_plus, n + 1)
        total += np.bincount(wiring.free[wiring.minus], by_minus, n + 1)
        return float(total[:-1].max(initial=0.0)) or 1.0

    def _not_found(self, x: Array, u: Array) -> str:
        """Say what is left over where, and which branches meet there."""
        self._made.evaluate(x, u[: self.n_free])
        F, unheld = np.abs(self._made.state.F[:-1]), self._unheld()
        here = F * unheld if (F * unheld).any() else F  # what nothing can carry away is the cause of all the rest
        worst = int(np.nan_to_num(here, nan=np.inf).argmax())
        names = self._flat.named(np.arange(self.n_free) == worst)
        at_node = [branch.name for branch in self.network.branches if {branch.plus, branch.minus} & set(names)]
        text = (
            f"no equilibrium found: {F[worst]:.3g} A are left over at node {shown(names)} (branches {shown(at_node)})"
        )
        if unheld.any():
            named = shown(self._flat.named(unheld))
            return f"{text}; next to nothing holds the voltage of node {named}: add a branch there, or drive it"
        return f"{text}; check the parts there (a diode with a very small emission voltage, a transistor that is off?)"

    def _unheld(self) -> NDArray[np.bool_]:
        """Return which free voltages can be moved at no cost in current: no slope leads on to a known one, (free,)."""
        flat, slopes, n = self._flat, self._made.state.slopes, self.n_free
        row, column, which = flat.entries()
        i, j = (flat.wiring.free[ends].astype(np.intp) for ends in (flat.wiring.plus, flat.wiring.minus))
        held = np.zeros(n + 1, dtype=bool)
        held[i[(j == n) & (slopes[::2] > 0)]] = True
        held[j[(i == n) & (slopes[1::2] > 0)]] = True
        some = slopes[which] > 0
        # Backwards along what a voltage moves, from a last node that stands for all that is known
        rows = np.concatenate([row[some], np.full(int(held[:n].sum()), n)])
        columns = np.concatenate([column[some], np.flatnonzero(held[:n])])
        graph = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n + 1, n + 1))
        reached = csgraph.breadth_first_order(graph, n, directed=True, return_predecessors=False)
        unheld = np.ones(n + 1, dtype=bool)
        unheld[reached] = False
        return unheld[:n]


class Compiled:
    """The iteration in one compiled call. state: of what was evaluated last; u: where the last attempt ended."""

    def __init__(self, flat: Flat) -> None:
        fronts = flat.fronts
        self._flat, self.state = flat, empty_state(flat)
        sizes = (fronts.values[-1], fronts.values[-1], flat.n_free + 1, fronts.widest**2, max(fronts.stacked, 1))
        self._factor = Factor(*(np.empty(int(size)) for size in sizes))
        self._has_factor = False
        self.n_factors, self.largest = 0, 0.0
        self.u = np.zeros(flat.n_free + 1)

    def forget(self) -> None:
        """Let go of the factor."""
        self._has_factor = False

    def attempt(self, x: Array, start: Array, shunt: float) -> tuple[Array, bool]:
        """Iterate from start, (free + 1,), V; return where it ended and whether it arrived."""
        self.u, low = start.copy(), np.zeros(len(start))
        status, _, n_factors, self.largest, self._has_factor = kernels.newton(
            self._flat.fronts,
            self._flat.wiring,
            x,
            shunt,
            self.u,
            low,
            self.state,
            self._factor,
            self._has_factor,
        )
        self.n_factors += n_factors
        return self.u, status == kernels.DONE

    def evaluate(self, x: Array, u: Array) -> None:
        """Put into state what holds at the free voltages u, (free,)."""
        whole = np.append(u, 0.0)
        self.largest, _ = kernels.evaluate(self._flat.wiring, x, whole, np.zeros(len(whole)), 0.0, self.state)

    def linearise(self, x: Array, u: Array) -> None:
        """Factor K at the free voltages u, for `solve`. Raises CircuitError where it is singular."""
        self.evaluate(x, u)
        self._has_factor = False
        where = kernels.factor(self._flat.fronts, self._flat.wiring, self.state.slopes, 0.0, self._factor)
        if where >= 0:
            named = shown(self._flat.named(np.arange(self._flat.n_free) == where))
            raise CircuitError(f"next to nothing holds the voltage of node {named}: add a branch there, or drive it")

    def solve(self, rhs: Array) -> Array:
        """Return K^-1 rhs, V, (free,), with the factor that there is."""
        y = np.append(rhs, 0.0)
        kernels.solve(self._flat.fronts, self._factor, y)
        return y[:-1]
