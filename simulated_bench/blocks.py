"""Blocks of training steps: from a wired network and a plan to what the compiled kernels take, and back.

Everything is checked and converted here, once; a status code becomes a CircuitError that names nodes. Without numba, or
where LAPACK is faster, `NumericBench` does the same steps one by one in NumPy, to the same numbers but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.elements import AntiparallelDiodes, Diode
from freqprop_lab.lockin import demodulate
from freqprop_lab.network import Network
from freqprop_lab.tasks import COSTS
from freqprop_lab.values import Array, BlockPlan
from freqprop_lab.waveform import Waveform
from simulated_bench.circuit import Circuit, CircuitError, Connection

if TYPE_CHECKING:
    from simulated_bench._kernels import Diodes, Layout

MOST_LINEAR = 150  # free nodes: beyond, LAPACK factors so much faster that a call from Python a step does not matter
_MOST_STARTS = 100_000  # numbers, which every checkpoint holds
_SAME_F = 14  # decimals, as in breadboard.py


@dataclass(frozen=True)
class Parts:
    """The tunable resistors. ladder: the conductances that they have, rising, S, or (0,): any. wiper: Ohm.

    factor: by which the resistance above the wiper (or, without a ladder, the conductance) is truly off, (tunable,).
    stuck: (tunable,), keep what is true of them.
    """

    ladder: Array
    wiper: float
    factor: Array
    stuck: NDArray[np.bool_]


@dataclass(frozen=True)
class Projection:
    """A synchronised record of a quasi-static network, and what the lock-in makes of it.

    f: the distinct values of the waveform, (value,); which: of each sample, (sample,). to_a, to_b: weight of each
    value in a and b. to_doubt: weight of its squared residual in the variance, of which `shared` is cov(a, b).
    """

    f: Array
    which: NDArray[np.intp]
    to_a: Array
    to_b: Array
    to_doubt: Array
    shared: float


@dataclass
class BlockState:
    """What a step leaves to the next: wished, held and true conductances, S, (tunable,); held: what the parts tell.

    starts: of a network with diodes, the free voltages at which Newton starts, V, see `Block.no_starts`; else None.
    """

    wished: Array
    held: Array
    true: Array
    starts: Array | None = None


@dataclass(frozen=True)
class Handed:
    """A step that the kernel leaves to others to do, or to refuse: a limit of a source or of the meter is near."""

    step: int


@cache
def has_kernels() -> bool:
    """Say whether numba is there; does not import it."""
    return find_spec("numba") is not None


def has_kernel_for(network: Network) -> bool:
    """Say whether the kernels know every element: resistors, Shockley diodes, antiparallel pairs."""
    known = (Diode, AntiparallelDiodes)
    return network.tunable_element.kind == "resistor" and all(
        branch.element.linear or (type(branch.element) in known and len(branch.theta) == 2)
        for branch in network.branches
    )


def projection(waveform: Waveform, samples_per_period: int, n_periods: int) -> Projection:
    """Find out what the lock-in makes of whole periods that begin at phase 0, by asking it about each value of f.

    It is linear where the phase is known, so each value's weights are the a and b of a record that is 1 where f has
    that value and 0 elsewhere.
    """
    n_samples = samples_per_period * n_periods
    f = waveform.at(np.arange(n_samples) / samples_per_period)
    distinct, which = np.unique(np.round(f, _SAME_F), return_inverse=True)
    each = np.asarray(which == np.arange(len(distinct))[:, None], dtype=np.float64)
    found = demodulate(each, float(samples_per_period), waveform, 1.0, synchronised=True)
    doubt = each.sum(axis=1) / (n_samples - 2)
    left = (np.arange(len(distinct)) == 0) - found.a[0] - found.b[0] * distinct
    variance = float(doubt @ left**2)
    shared = float(found.covariance[0, 0, 1]) / variance if waveform.mean else 0.0
    return Projection(distinct, which, found.a, found.b, doubt, shared)


class Block:
    """Steps on a wired network. connections, per_ampere: the live sources, and what each puts out for the nudge.

    per_ampere: (source, output). Raises CircuitError for elements or a wiring that the kernels don't know.
    """

    def __init__(
        self, network: Network, connections: Sequence[Connection], circuit: Circuit, per_ampere: Array
    ) -> None:
        self.network, self._circuit = network, circuit
        self._D = np.vstack([circuit.D, np.zeros(circuit.D.shape[1])])  # ground comes last
        self._order = self._elimination()
        self.diodes: Diodes | None = None
        self.layout = self._laid_out(connections, np.ascontiguousarray(per_ampere, dtype=np.float64))

    def run(
        self,
        plan: BlockPlan,
        levels: Array,
        limits: tuple[Array, float],
        parts: Parts,
        state: BlockState,
        outputs: Array,
        response: Array,
        first: int = 0,
        record: Projection | None = None,
        series: Array | None = None,
    ) -> Handed | None:
        """Do the steps of a plan from `first` on; change state, outputs (step, output) and response (2, node), V.

        levels: at the live sources, V or A, (example, source). limits: of the sources, and the meter's range, V.
        record: what a and b are read from, needed with diodes; series: takes the last step's samples, (sample, node).
        Returns None once all are done, else the step that is handed back undone. Raises CircuitError.
        """
        kernels = _kernels()
        layout = self.layout
        known, pushed = self._known(levels)
        n_tunable = len(state.wished)
        empty = np.zeros(0)
        f, to_a, to_b, doubt, which = empty, empty, empty, empty, np.zeros(0, dtype=np.intp)
        if record is not None and series is not None and self.diodes is None:
            counts = np.bincount(record.which)  # the samples one by one
            f, which = record.f[record.which], np.arange(len(record.which))
            to_a, to_b = ((weights / counts)[record.which] for weights in (record.to_a, record.to_b))
        elif record is not None and self.diodes is not None:
            f, to_a, to_b, doubt, which = record.f, record.to_a, record.to_b, record.to_doubt, record.which
        elif self.diodes is not None:
            raise TypeError("with diodes a and b hang on the waveform: give a record")
        steps = kernels.Steps(
            order=_whole(plan.order),
            known=known,
            pushed=pushed,
            size=np.abs(levels),
            targets=_numbers(plan.targets, (len(levels), layout.nudge_push.shape[1])),
            alpha=float(plan.alpha),
            gamma=float(plan.gamma),
            cost=COSTS.index(plan.cost),
            temperature=float(plan.temperature * plan.volts),
            unit=float(plan.volts),
            lowest=_numbers(plan.lowest, (n_tunable,)),
            highest=_numbers(plan.highest, (n_tunable,)),
            limit=_numbers(limits[0], levels.shape[1:]),
            range=float(limits[1]),
            accumulate=bool(plan.accumulate),
            ladder=_numbers(parts.ladder),
            wiper=float(parts.wiper),
            factor=_numbers(parts.factor, (n_tunable,)),
            stuck=np.ascontiguousarray(parts.stuck, dtype=np.bool_),
            draws=np.zeros((0, 0)) if plan.draws is None else _numbers(plan.draws, (len(plan.order), n_tunable)),
            f=f,
            to_a=to_a,
            to_b=to_b,
            to_doubt=doubt,
            shared=0.0 if record is None else record.shared,
            free_activation=bool(plan.free_activation),
        )
        roots = self._circuit.roots[self._order]
        if state.starts is None:
            state.starts = self.no_starts(len(levels))
        taken = np.zeros((0, 0)) if series is None else series
        status, step, where, amperes = kernels.run(
            layout,
            self.diodes,
            steps,
            first,
            state.wished,
            state.held,
            state.true,
            state.starts,
            outputs,
            response,
            taken,
            which,
        )
        if status in {kernels.BEYOND_LIMIT, kernels.MAY_OVERLOAD}:
            return Handed(step)
        if status == kernels.NOT_POSITIVE:
            raise CircuitError(
                f"step {step + 1} of the block: node {self.network.nodes[roots[where]]} lies in a part with no path to "
                "ground or to a driven node that arithmetic could see; add a branch, or raise the bounds"
            )
        if status == kernels.NOT_SETTLED:
            raise CircuitError(
                f"step {step + 1} of the block: no equilibrium found; {amperes:.3g} A are left over at node "
                f"{self.network.nodes[roots[where]]}; check the parts there"
            )
        return None

    def no_starts(self, n_examples: int) -> Array:
        """Return where Newton starts at first: each example where it ended last, in the order of elimination.

        (example + 1, free), V: NaN for an example that has not been solved, the last row that of the step before; or
        (1, free), of the step before alone, where the other would be large.
        """
        n_free = self._circuit.n_free
        if n_examples * n_free > _MOST_STARTS:
            return np.zeros((1, n_free))
        starts = np.full((n_examples + 1, n_free), np.nan)
        starts[-1] = 0.0
        return starts

    def _elimination(self) -> NDArray[np.intp]:
        """Return the free voltages in the order of elimination, those of outputs last: a nudge is zero before them."""
        plus, minus = self.network.output_ends
        nudged = np.zeros(len(self.network.nodes), dtype=np.bool_)
        nudged[[node for node in (*plus.tolist(), *minus.tolist()) if node >= 0]] = True
        last = self._circuit.S[nudged].any(axis=0)
        return np.concatenate([np.flatnonzero(~last), np.flatnonzero(last)])

    def _laid_out(self, connections: Sequence[Connection], per_ampere: Array) -> Layout:
        network, circuit = self.network, self._circuit
        n_nodes, n_free, n_sources = len(network.nodes), circuit.n_free, len(connections)
        free = np.full(n_nodes + 1, n_free)
        nodes, numbers = np.nonzero(circuit.S[:, self._order])
        free[nodes] = numbers
        tunable = set(network.tunable.tolist())
        fixed: list[tuple[int, int, float, Array]] = []
        junctions: list[tuple[int, int, float, float, bool]] = []
        for number, branch in enumerate(network.branches):
            ends = (int(network.plus[number]), int(network.minus[number]))
            if not branch.element.linear:
                junctions.append((*ends, *branch.theta, isinstance(branch.element, AntiparallelDiodes)))  # type: ignore[arg-type]
            elif number not in tunable:
                fixed.append((*ends, branch.theta[0], np.zeros(n_sources)))
        injected = np.zeros((n_free + 1, n_sources))
        for number, wired in enumerate(connections):
            if wired.kind == "current":
                injected[free[wired.plus], number] += 1
                injected[free[wired.minus], number] -= 1
            elif wired.resistance:
                fixed.append((wired.plus, wired.minus, 1 / wired.resistance, np.eye(n_sources)[number]))
        stiffness, push = np.zeros((n_free + 1, n_free + 1)), injected
        for start, end, siemens, own in fixed:
            i, j = free[start], free[end]
            for row, column, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                stiffness[row, column] += sign * siemens
            volts = self._D[start] - self._D[end] - own
            push[i] -= siemens * volts
            push[j] += siemens * volts
        self._push = np.ascontiguousarray(push[:n_free])
        nudge_push = np.ascontiguousarray(self._push @ per_ampere)
        if (circuit.D @ per_ampere).any():
            raise CircuitError("a nudge by stiff voltages is not compiled")
        plus, minus = (np.where(ends < 0, n_nodes, ends) for ends in network.tunable_ends)
        read_plus, read_minus = (np.where(ends < 0, n_nodes, ends) for ends in network.output_ends)
        nudged = np.flatnonzero(nudge_push.any(axis=1))
        if junctions:
            table = np.array(junctions, dtype=np.float64)
            self.diodes = _kernels().Diodes(
                plus=_whole(table[:, 0]) % (n_nodes + 1),  # ground, -1, comes last
                minus=_whole(table[:, 1]) % (n_nodes + 1),
                saturation=np.ascontiguousarray(table[:, 2]),
                emission=np.ascontiguousarray(table[:, 3]),
                antiparallel=table[:, 4] > 0,
            )
        return _kernels().Layout(  # type: ignore[no-any-return]
            free=free.astype(np.intp),
            plus=_whole(plus),
            minus=_whole(minus),
            fed=np.flatnonzero((self._D[plus] != self._D[minus]).any(axis=1)),
            stiffness=np.ascontiguousarray(stiffness[:n_free, :n_free]),
            nudge_push=nudge_push,
            per_ampere=per_ampere,
            read_plus=_whole(read_plus),
            read_minus=_whole(read_minus),
            first_nudged=int(nudged[0]) if len(nudged) else n_free,
        )

    def _known(self, levels: Array) -> tuple[Array, Array]:
        """Return what the levels alone give: V at all nodes and ground, A into the free nodes, (example, ...) each."""
        return np.ascontiguousarray(levels @ self._D.T), np.ascontiguousarray(levels @ self._push.T)


def _kernels() -> ModuleType:
    from simulated_bench import _kernels as kernels  # noqa: PLC0415 - numba costs 0.3 s, and may be missing

    return kernels


def _numbers(values: Array, shape: tuple[int, ...] | None = None) -> Array:
    array = np.ascontiguousarray(values, dtype=np.float64)
    if shape is not None and array.shape != shape:
        raise ValueError(f"an array of shape {array.shape} where {shape} is wanted")
    return array


def _whole(values: NDArray[Any]) -> NDArray[np.intp]:
    return np.ascontiguousarray(values, dtype=np.intp)


__all__ = ["Block", "BlockState", "Handed", "Parts", "Projection", "has_kernel_for", "has_kernels", "projection"]
