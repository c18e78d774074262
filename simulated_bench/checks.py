"""What a numeric bench's file may not say once its network is known: every message with its line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.config import Document, FileError
from freqprop_lab.elements import Element
from freqprop_lab.names import nearest
from freqprop_lab.network import Network, NetworkError
from simulated_bench.faults import FaultsWithEvents, check_faults
from simulated_bench.settings import MeterSection, NumericBenchFile, SourceSection
from simulated_bench.wiring import wire


def check_names(model: NumericBenchFile, network: Network, document: Document) -> None:
    """Raise FileError for a name in the file that its network doesn't have, NetworkError where it can't be wired."""
    stuck = model.resistors.stuck
    for name in stuck if isinstance(stuck, list) else ():
        if name not in network.tunable_names:
            message = f'resistors.stuck: no tunable branch "{name}".{nearest(name, network.tunable_names)}'
            raise FileError(document.path, message, document.line(("resistors", "stuck")))
    for name in model.parts.capacitances:
        if name not in network.index:
            message = f'parts.capacitances: no node "{name}".{nearest(name, network.nodes)}'
            raise FileError(document.path, message, document.line(("parts", "capacitances", name)))
    if model.faults == FaultsWithEvents() and model.source.certified is None and model.meter.certified is None:
        return
    driven = _driven(model, network)
    check_faults(model.faults, network, driven, network.nodes, document)
    for section, settings in (("source", model.source), ("meter", model.meter)):
        for name in settings.certified.nodes if settings.certified is not None else ():
            known = network.nodes if section == "meter" else driven
            if name not in known:
                what = "node that a source drives" if section == "source" else "node"
                message = f'{section}.certified: no {what} "{name}".{nearest(name, known)}'
                raise FileError(document.path, message, document.line((section, "certified", "nodes")))


def _driven(model: NumericBenchFile, network: Network) -> list[str]:
    """Return the nodes that a source reaches, other than to clamp them."""
    wires = wire(network, model)
    clamps = set(wires.clamp[0].tolist())
    driven = [wired for channel, wired in enumerate(wires.connections) if channel not in clamps]
    return [network.nodes[node] for wired in driven for node in (wired.plus, wired.minus) if node >= 0]


def certified(nodes: Sequence[str], settings: SourceSection | MeterSection) -> NDArray[np.bool_]:
    """Say which channels have a certificate, (channel,), by the nodes that they are at."""
    named = () if settings.certified is None else settings.certified.nodes
    return np.isin(np.array(nodes), np.array(named, dtype=str))


def check_converter(built: NumericBenchFile, document: Document) -> None:
    """Refuse what is not worked out: how charges follow the staircase that a converter makes of a nudge."""
    if built.source.bits is not None and (built.parts.capacitance or any(built.parts.capacitances.values())):
        message = "source.bits and parts.capacitance don't go together on a numeric bench; take one of them out"
        raise FileError(document.path, message, document.line(("source", "bits")))


def refuse_what_needs_more(network: Network) -> None:
    """Raise NetworkError for branches that this bench would leave out: they are for the analyses of a circuit."""
    for branch in network.branches:
        if not isinstance(branch.element, Element):
            raise NetworkError(
                f'branch "{branch.name}": the numeric bench has no {branch.element.kind} as a branch. Give capacitance '
                "by parts.capacitance or parts.capacitances; transistors are for simulated_bench.analyses",
                branch.name,
            )
