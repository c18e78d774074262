"""From ports to the simulated source's connections: which channel is wired where, and what it puts out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.bench import input_legs, nudge_legs
from freqprop_lab.network import GROUND, Network, NetworkError
from freqprop_lab.values import Array
from simulated_bench.circuit import Connection
from simulated_bench.settings import NumericBenchFile


@dataclass(frozen=True)
class Wires:
    """Connections, one a channel, and the matrices of `bench.SourceWiring` that lead to them.

    gauge: the node that is tied to ground because nothing else is.
    """

    connections: list[Connection]
    from_inputs: Array
    from_outputs: Array
    rest: Array
    clamp: tuple[NDArray[np.intp], NDArray[np.intp], Array]
    gauge: int | None


@dataclass
class _Channels:
    """Channels as they are laid: connection, rest, and gains by port."""

    connections: list[Connection] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)
    by_input: list[tuple[int, int, float]] = field(default_factory=list)
    by_output: list[tuple[int, int, float]] = field(default_factory=list)
    clamps: list[tuple[int, int, int, float]] = field(default_factory=list)

    def lay(self, connection: Connection, rest: float) -> int:
        self.connections.append(connection)
        self.rest.append(rest)
        return len(self.connections) - 1


def wire(network: Network, model: NumericBenchFile) -> Wires:
    """Wire every input and output port as the bench file says, and a releasable clamp to every output node.

    Raises NetworkError where currents reach ground and nothing else does.
    """
    laid = _Channels()
    _wire_inputs(laid, network, model)
    _wire_nudges(laid, network, model)
    anchored = _is_anchored(laid.connections, network)
    _wire_clamps(laid, network)
    n_channels = len(laid.connections)
    from_inputs, from_outputs = (
        np.zeros((n_channels, len(network.inputs))),
        np.zeros((n_channels, len(network.outputs))),
    )
    for channel, port, gain in laid.by_input:
        from_inputs[channel, port] = gain
    for channel, port, gain in laid.by_output:
        from_outputs[channel, port] = gain
    per_volt = np.zeros((len(laid.clamps), len(network.outputs)))
    for row, (_, _, port, gain) in enumerate(laid.clamps):
        per_volt[row, port] = gain
    channels = np.array([clamp[0] for clamp in laid.clamps], dtype=np.intp)
    nodes = np.array([clamp[1] for clamp in laid.clamps], dtype=np.intp)
    rest = np.array(laid.rest)
    gauge = None if anchored else 0
    return Wires(laid.connections, from_inputs, from_outputs, rest, (channels, nodes, per_volt), gauge)


def _is_anchored(connections: Sequence[Connection], network: Network) -> bool:
    """Say whether anything ties the network to ground; a current source there does not, and has no way back."""
    if any(GROUND in (branch.plus, branch.minus) for branch in network.branches):
        return True
    to_ground = {connection.kind for connection in connections if connection.minus == -1}
    if to_ground == {"current"}:
        raise NetworkError(
            "currents from ground-referred sources enter, but no branch and no voltage ties the network to ground, so "
            "its voltages are undefined. Add a branch to ground, drive the inputs by voltage, or make every port a "
            "pair and use ports: floating"
        )
    return bool(to_ground)


def _wire_inputs(laid: _Channels, network: Network, model: NumericBenchFile) -> None:
    kind: Literal["voltage", "current"] = "current" if model.inputs.source == "current" else "voltage"
    resistance = model.inputs.resistance or 0.0
    if model.ports == "floating":
        for port, (plus, minus) in enumerate(zip(*(ends.tolist() for ends in network.input_ends), strict=True)):
            laid.by_input.append((laid.lay(Connection(plus, minus, kind, resistance), 0.0), port, 1.0))
        return
    for leg in input_legs(network, model):
        laid.by_input.append((laid.lay(Connection(leg.node, -1, kind, resistance), leg.rest), leg.port, leg.gain))


def _wire_nudges(laid: _Channels, network: Network, model: NumericBenchFile) -> None:
    resistance = model.nudge.resistance or 0.0
    if model.nudge.source == "current" and model.ports == "floating":
        for port, (plus, minus) in enumerate(zip(*(ends.tolist() for ends in network.output_ends), strict=True)):
            laid.by_output.append((laid.lay(Connection(plus, minus, "current"), 0.0), port, 1.0))
        return
    kind: Literal["voltage", "current"] = "current" if model.nudge.source == "current" else "voltage"
    for leg in nudge_legs(network, model):
        laid.by_output.append((laid.lay(Connection(leg.node, -1, kind, resistance), leg.rest), leg.port, leg.gain))


def _wire_clamps(laid: _Channels, network: Network) -> None:
    """Wire a stiff source to each output node, disconnected (NaN) except while the nudge is clamped."""
    driven = {node for ends in network.input_ends for node in ends.tolist()}
    held: set[int] = set()
    for port, (plus, minus) in enumerate(zip(*(ends.tolist() for ends in network.output_ends), strict=True)):
        share = 1.0 if minus == -1 else 0.5
        for node, gain in ((plus, share), (minus, -share)):
            if node >= 0 and node not in driven and node not in held:
                held.add(node)
                laid.clamps.append((laid.lay(Connection(node, -1, "voltage"), np.nan), node, port, gain))
