"""What meters read at constant levels: the linear network, its sources and its meters, and all derivatives.

A source channel asked for x puts out e = gain x + offset on its lead: a stiff voltage, a voltage behind a series
resistor, or a current. With K = B' G B over branches and series resistors, and A where stiff sources hold,

    K v - A i = injected,   A' v = e,   reading = gain v + offset.

One inverse of that matrix gives every transfer and, branch by branch, every derivative: dv = -Z b (b' v) dG.
This module knows no instrument and no procedure; it assumes nothing of who is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.errors import ModelError
from freqprop_lab.bench import Lead
from freqprop_lab.names import shown
from freqprop_lab.network import Network
from freqprop_lab.values import Array


@dataclass(frozen=True)
class Sources:
    """What the source channels do: gain, offset (V or A), and series conductance (S), (lead,) each.

    series: of leads without a series resistor it is unused.
    """

    gain: Array
    offset: Array
    series: Array

    @classmethod
    def ideal(cls, leads: Sequence[Lead]) -> Sources:
        """Return sources that do what they are asked, behind the resistors that are listed."""
        series = np.array([1 / lead.resistance if lead.resistance else 0.0 for lead in leads])
        return cls(np.ones(len(leads)), np.zeros(len(leads)), series)


@dataclass(frozen=True)
class Solved:
    """Node voltages V, (drive, node), and what they hang on.

    transfer: V per V or A that a lead puts out, (node, lead). impedance: V at a node per A into another, (node, node).
    out: what the leads put out, V or A, (drive, lead).
    """

    volts: Array
    transfer: Array
    impedance: Array
    out: Array


def refuse_nonlinear(network: Network) -> None:
    """Raise ModelError, naming the branch, where a network is more than resistors."""
    for branch in network.branches:
        if not branch.element.linear:
            raise ModelError(
                f'branch "{branch.name}" is a {branch.element.kind}: what is told from voltages alone is told of '
                "resistors only. Take it out for the calibration, or leave this procedure out"
            )


class DirectModel:
    """A linear network with leads connected. Conductances are (branch,), S, in the network's order."""

    def __init__(self, network: Network, leads: Sequence[Lead]) -> None:
        refuse_nonlinear(network)
        self.network, self.leads = network, tuple(leads)
        n = len(network.nodes)
        self.branches = _incidence(n, network.plus.tolist(), network.minus.tolist())
        self._ends = _incidence(n, [lead.plus for lead in leads], [lead.minus for lead in leads])
        kinds = [lead.kind for lead in leads]
        behind = np.array([lead.resistance > 0 for lead in leads], dtype=bool)
        voltage = np.array([kind == "voltage" for kind in kinds], dtype=bool)
        self.stiff = np.flatnonzero(voltage & ~behind)
        self.behind = np.flatnonzero(voltage & behind)
        self.currents = np.flatnonzero(~voltage)

    def solve(self, conductances: Array, sources: Sources, levels: Array) -> Solved:
        """Return the voltages for asked levels, V or A, (drive, lead). Raises ModelError where there are none."""
        n, stiff = len(self.network.nodes), self.stiff
        series = sources.series[self.behind]
        ends = self._ends[self.behind]
        whole = self.stiffness(conductances, sources)
        K = whole[:n, :n]
        try:
            inverse = np.asarray(np.linalg.inv(whole), dtype=np.float64)
        except np.linalg.LinAlgError:
            raise ModelError(self._undetermined(K)) from None
        Z = inverse[:n, :n]
        if not np.isfinite(inverse).all():
            raise ModelError(self._undetermined(K))
        transfer = np.zeros((n, len(self.leads)))
        transfer[:, stiff] = inverse[:n, n:]
        transfer[:, self.behind] = (Z @ ends.T) * series
        transfer[:, self.currents] = Z @ self._ends[self.currents].T
        out = sources.gain * levels + sources.offset
        return Solved(out @ transfer.T, transfer, Z, out)

    def stiffness(self, conductances: Array, sources: Sources) -> Array:
        """Return Kirchhoff's matrix bordered by the stiff sources, S and 1, (node + stiff, node + stiff)."""
        stiff, series = self.stiff, sources.series[self.behind]
        ends = self._ends[self.behind]
        K = self.branches.T @ (conductances[:, None] * self.branches) + ends.T @ (series[:, None] * ends)
        A = self._ends[stiff].T
        whole = np.block([[K, -A], [A.T, np.zeros((len(stiff), len(stiff)))]])
        return np.asarray(whole)

    def injection(self, sources: Sources) -> Array:
        """Return the right-hand side that a volt or ampere asked of each lead makes, (node + stiff, lead)."""
        n, stiff = len(self.network.nodes), self.stiff
        found = np.zeros((n + len(stiff), len(self.leads)))
        found[:n, self.behind] = self._ends[self.behind].T * sources.series[self.behind]
        found[:n, self.currents] = self._ends[self.currents].T
        found[n + np.arange(len(stiff)), stiff] = 1.0
        return found * sources.gain

    def by_conductance(self, solved: Solved) -> Array:
        """Return the derivatives of the node voltages by every branch's conductance, V/S, (drive, node, branch)."""
        across = solved.volts @ self.branches.T
        return np.asarray(-np.einsum("jk,dk->djk", solved.impedance @ self.branches.T, across))

    def by_series(self, solved: Solved) -> Array:
        """Return those by the conductance of the series resistors, V/S, (drive, node, lead behind one)."""
        ends = self._ends[self.behind]
        across = solved.volts @ ends.T - solved.out[:, self.behind]
        return np.asarray(-np.einsum("jk,dk->djk", solved.impedance @ ends.T, across))

    def branch_of_lead(self, number: int) -> Array:
        """Return where a lead's ends are: +1 and -1, (node,)."""
        return np.asarray(self._ends[number])

    def _undetermined(self, K: Array) -> str:
        loose = [name for name, row in zip(self.network.nodes, np.abs(K), strict=True) if not row.any()]
        named = shown(loose) if loose else "a part of the network"
        return f"{named} hangs on nothing: no source and no branch to ground holds its voltage, so none can be told"


def _incidence(n_nodes: int, plus: Sequence[int], minus: Sequence[int]) -> Array:
    rows = np.zeros((len(plus), n_nodes + 1))
    rows[np.arange(len(plus)), list(plus)] += 1  # ground is -1, the last column
    rows[np.arange(len(minus)), list(minus)] -= 1
    return rows[:, :-1]
