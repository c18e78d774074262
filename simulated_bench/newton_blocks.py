"""Whole blocks of training steps of a large network of nonlinear branches: eq. 3.4 and 3.5, one step after the other.

What blocks.py does compiled for small networks, with the sparse Newton method: the free state, and one equilibrium for
each distinct value of the waveform, from which a and b are read as the lock-in reads them. The factor is let go of at
the beginning of each step, so that where blocks are cut changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from freqprop_lab.values import Array, BlockPlan
from simulated_bench.blocks import BlockState, Handed, Projection
from simulated_bench.newton import NewtonCircuit
from simulated_bench.sparse import Feed

_MOST_STARTS = 100_000  # numbers, which every checkpoint holds; as in blocks.py


def run_steps(
    circuit: NewtonCircuit,
    plan: BlockPlan,
    feed: Feed,
    record: Projection,
    state: BlockState,
    outputs: Array,
    response: Array,
    nudge_of: Callable[[Array, int], Array],
    is_near_limit: Callable[[Array, Array, float], bool],
    first: int = 0,
) -> Handed | None:
    """Do the steps of a plan from `first` on; change state, outputs (step, output) and response (2, node), V.

    nudge_of: A, (output,), from outputs and the example. is_near_limit: told levels and nudge of all sources and the
    largest voltage. Returns None once all are done, else the step that is handed back undone. Raises CircuitError.
    """
    network = circuit.network
    if state.starts is None:
        state.starts = no_starts(len(plan.levels), len(network.nodes))
    distinct = np.flatnonzero(record.f)
    for step in range(first, len(plan.order)):
        example = int(plan.order[step])
        circuit.program(state.true)
        row = example if len(state.starts) > 1 and not np.isnan(state.starts[example, 0]) else -1
        sources = feed.inputs @ plan.levels[example] + feed.rest
        a = circuit.operating_point(sources, state.starts[row])
        outputs[step] = network.read_outputs(a)
        nudge = feed.per_ampere @ nudge_of(outputs[step], example)
        X = np.zeros((len(record.f), len(a)))
        X[distinct] = circuit.operating_point(sources + record.f[distinct, None] * nudge, a) - a
        if is_near_limit(sources, nudge, float(np.abs(a + X).max(initial=0.0))):
            return Handed(step)
        off, b = record.to_a @ X, record.to_b @ X
        read_a = a + off
        delta = network.across_tunable(a if plan.free_activation else read_a) * network.across_tunable(b)
        if not plan.free_activation and record.shared:
            doubt = np.append(record.to_doubt @ (X - off - record.f[:, None] * b) ** 2, 0.0)
            plus, minus = network.tunable_ends
            delta -= record.shared * (doubt[plus] + doubt[minus])
        state.wished[:] = np.clip(state.wished - plan.alpha * delta, plan.lowest, plan.highest)
        state.held[:] = state.true[:] = state.wished
        state.starts[-1] = a
        if len(state.starts) > 1:
            state.starts[example] = a
        response[0], response[1] = read_a, b
    return None


def no_starts(n_examples: int, n_nodes: int) -> Array:
    """Return where Newton starts at first, V, (example + 1, node): each example where it ended last, see `Block`."""
    if n_examples * n_nodes > _MOST_STARTS:
        return np.zeros((1, n_nodes))
    starts = np.full((n_examples + 1, n_nodes), np.nan)
    starts[-1] = 0.0
    return starts
