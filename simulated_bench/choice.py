"""Which circuit solves a network: dense matrices where it is small, the sparse Newton method where it is large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from freqprop_lab.network import Network
from simulated_bench.circuit import Circuit
from simulated_bench.connections import CircuitError, Connection
from simulated_bench.flat import knows
from simulated_bench.newton import NewtonCircuit

MOST_DENSE = 100  # nodes: beyond, an equilibrium is found sooner by sparse Newton; measured: benchmarks/transistors.py
LARGEST_DENSE = 10**8  # nodes x branches: a dense matrix of 0.8 GB

Solver = Literal["auto", "dense", "sparse"]


def connected(
    network: Network, connections: Sequence[Connection], gauge: int | None = None, solver: Solver = "auto"
) -> Circuit | NewtonCircuit:
    """Connect sources to a network: dense, sparse, or by its size. Raises CircuitError where it can't be.

    By itself the sparse one is taken for nonlinear networks of more than MOST_DENSE nodes whose every law it knows.
    """
    large = not network.is_linear and len(network.nodes) > MOST_DENSE and knows(network)
    if solver == "sparse" or (solver == "auto" and large):
        return NewtonCircuit(network, connections, gauge)
    refuse_large(network, "solver: dense")
    return Circuit(network, connections, gauge)


def as_dense(circuit: Circuit | NewtonCircuit) -> Circuit:
    """Return the same circuit with dense matrices, which all analyses know. Raises CircuitError for a large one."""
    if isinstance(circuit, Circuit):
        return circuit
    refuse_large(circuit.network, "this analysis")
    made = Circuit(circuit.as_programmed(), circuit.connections, circuit.gauge)
    made.program(circuit.conductances)
    return made


def as_fast(circuit: Circuit | NewtonCircuit) -> Circuit | NewtonCircuit:
    """Return what finds an equilibrium sooner: for a large nonlinear network the sparse twin of a dense circuit."""
    if isinstance(circuit, NewtonCircuit) or circuit.is_linear or circuit.n_free <= MOST_DENSE:
        return circuit
    if circuit.twin is None:
        if not knows(circuit.network):
            return circuit
        circuit.twin = NewtonCircuit(circuit.network, circuit.connections, circuit.gauge)
    circuit.twin.program(circuit.conductances)
    return circuit.twin


def refuse_large(network: Network, what: str) -> None:
    """Raise CircuitError where dense matrices of the network would not fit."""
    n_nodes, n_branches = len(network.nodes), len(network.branches)
    if n_nodes * n_branches > LARGEST_DENSE:
        raise CircuitError(
            f"{what} is solved with dense matrices, and {n_nodes} nodes and {n_branches} branches are too many for "
            f"that: their product may be up to {LARGEST_DENSE}"
        )
