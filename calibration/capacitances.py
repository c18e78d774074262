"""Capacitances of the nodes, from the phases in which a network follows its sources (Remark 1 of the paper).

(K + j omega C) V = injected, K the conductances, C the capacitances to ground. A channel that is sampled late by s
turns its tone by omega s, whichever source drives; what capacitance does hangs on the source and on the conductances.
So drives from several sources, in two states of the elements, tell both. Phases alone are used: no gain comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.direct_model import DirectModel, Sources
from calibration.estimate import Belief, Estimate, Linearised, estimate
from freqprop_lab.bench import Lead
from freqprop_lab.network import Network
from freqprop_lab.values import Array


@dataclass(frozen=True)
class Tones:
    """What one record shows. omega: rad/s, (tone,). driven: V or A a unit of the waveform, (live lead,).

    seen: V a unit, complex, (read node, tone), what the meter tells of lateness taken out; doubt: V, of a quadrature.
    state: which conductances there were.
    """

    state: int
    omega: Array
    driven: Array
    seen: NDArray[np.complex128]
    doubt: Array


class PhaseFit:
    """Capacitances, F, (node,), and lateness of channels, s, (read node,), that explain phases best.

    conductances: S, (branch,), of each state. free: nodes that no stiff source holds; the others' capacitance shows
    nowhere. Beliefs: capacitance up to `largest`, F, (node,), lateness up to `latest`, s.
    """

    def __init__(
        self,
        network: Network,
        leads: Sequence[Lead],
        sources: Sources,
        conductances: Sequence[Array],
        tones: Sequence[Tones],
        read: NDArray[np.intp],
        largest: Array,
        latest: float,
    ) -> None:
        self._tones, self._read, self._n_nodes = tuple(tones), read, len(network.nodes)
        model = DirectModel(network, leads)
        self._model, self._sources, self.conductances = model, sources, tuple(conductances)
        behind = [model.branch_of_lead(number) for number in model.behind.tolist()]
        self.ends = np.concatenate([model.branches, np.reshape(behind, (-1, self._n_nodes))])
        self.stiffness = [model.stiffness(siemens, sources) for siemens in conductances]
        self._injection = model.injection(sources)
        self._held = {end for number in model.stiff.tolist() for end in (leads[number].plus, leads[number].minus)}
        self.free = np.array([node not in self._held for node in range(self._n_nodes)])
        doubt = np.concatenate([np.where(self.free, largest, 1e-30), np.full(len(read), latest)])
        self._unit = doubt  # parameters in units of their beliefs, so that no matrix mixes farads and seconds
        belief = Belief(np.zeros(len(doubt)), np.ones(len(doubt)))
        self.found: Estimate = estimate(self._linearised, belief, [Belief(np.zeros(0), np.ones(0))])

    @property
    def capacitances(self) -> Array:
        """F, (node,); 0 where a stiff source holds."""
        return np.asarray((self.found.shared * self._unit)[: self._n_nodes])

    @property
    def lateness(self) -> Array:
        """By how much each channel is sampled late, s, (read node,)."""
        return np.asarray((self.found.shared * self._unit)[self._n_nodes :])

    @property
    def covariance(self) -> Array:
        """Of the capacitances, F^2, (node, node), widened where the phases scatter by more than their noise."""
        C = self.found.covariance * np.outer(self._unit, self._unit) * max(self.found.misfit, 1.0) ** 2
        return np.asarray(C[: self._n_nodes, : self._n_nodes])

    def by_conductance(self) -> list[Array]:
        """Return by how much capacitances would move with ln G, F, (node, branch + lead behind a resistor), by state.

        Branches first, then the series resistors of the leads.
        """
        at = self._linearised(0, self.found.shared, np.zeros(0))
        fitted_by = self.found.covariance @ at.shared.T * self._unit[:, None]
        found = [np.zeros((self._n_nodes, len(self.ends))) for _ in self.stiffness]
        rows = 0
        for each in self._tones:
            for number, omega in enumerate(each.omega):
                moved = self._phase_by_conductance(each, omega) / each.doubt[:, number][:, None]
                part = slice(rows, rows + len(self._read))
                found[each.state] -= fitted_by[: self._n_nodes, part] @ moved
                rows = part.stop
        return found

    def _phase_by_conductance(self, each: Tones, omega: float) -> Array:
        """Return the derivative of each node's quadrature by ln G, V, (read node, branch + lead behind a resistor)."""
        n = self._n_nodes
        inverse = self._inverse(each.state, omega, self.capacitances)
        volts = inverse[:n] @ (self._injection @ each.driven)
        # A series resistor also feeds: its voltage is across it and the source.
        across = self.ends @ volts[:n]
        across[len(self._model.branches) :] -= (self._sources.gain * each.driven)[self._model.behind]
        moved = -(inverse[self._read, :n] @ self.ends.T) * across * self.siemens(each.state)
        at = volts[self._read]
        return np.asarray((moved * np.conj(at)[:, None]).imag / np.maximum(np.abs(at), 1e-300)[:, None])

    def siemens(self, state: int) -> Array:
        """Return what all branches and series resistors conduct in a state, S, (branch + lead behind a resistor,)."""
        return np.concatenate([self.conductances[state], self._sources.series[self._model.behind]])

    def _inverse(self, state: int, omega: float, C: Array) -> NDArray[np.complex128]:
        whole = self.stiffness[state].astype(np.complex128)
        whole[np.arange(self._n_nodes), np.arange(self._n_nodes)] += 1j * omega * C
        return np.asarray(np.linalg.inv(whole), dtype=np.complex128)

    def _linearised(self, _: int, shared: Array, own: Array) -> Linearised:
        values = shared * self._unit
        C, late = values[: self._n_nodes], values[self._n_nodes :]
        residuals, columns = [], []
        for each in self._tones:
            for number, omega in enumerate(each.omega):
                left, by_C, by_late = self._of_tone(each, number, omega, C, late)
                doubt = each.doubt[:, number]
                residuals.append(left / doubt)
                columns.append(np.concatenate([by_C, np.diag(by_late)], axis=1) / doubt[:, None] * self._unit)
        together = np.concatenate(residuals)
        return Linearised(together, np.concatenate(columns), np.zeros((len(together), len(own))))

    def _of_tone(self, each: Tones, number: int, omega: float, C: Array, late: Array) -> tuple[Array, Array, Array]:
        """Return the quadrature that is left of each node, V, and minus its derivatives by C and by lateness."""
        n = self._n_nodes
        inverse = self._inverse(each.state, omega, C)
        volts = inverse[:n] @ (self._injection @ each.driven)
        at = volts[self._read] * np.exp(1j * omega * late)
        size = np.maximum(np.abs(at), 1e-300)
        left = (each.seen[:, number] * np.conj(at) / size).imag
        moved = -1j * omega * inverse[self._read, :n] * volts[None, :]
        by_C = (moved * np.conj(volts[self._read])[:, None]).imag / size[:, None]
        return left, by_C, omega * size
