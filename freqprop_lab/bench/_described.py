"""Networks that stand on a bench: what an experiment says of them must agree, or it is refused."""

from __future__ import annotations

from freqprop_lab.config import BenchFile, BenchRequest, BenchSettings, FileError, build_network
from freqprop_lab.network import Network, NetworkError
from freqprop_lab.streams import random_streams


def described_network(settings: BenchSettings, model: BenchFile, request: BenchRequest) -> Network:
    """Return the network of a bench file that describes one. Raises FileError where an experiment says otherwise."""
    where, section = settings.document, model.network
    streams = random_streams(request.seed)
    siemens = model.scales.conductance
    try:
        network = build_network(section, settings.folder, siemens, request.ports, streams["graph"], streams["ports"])
    except NetworkError as error:
        raise FileError(where.path, f'section "network": {error}', where.line(("network",))) from None
    if request.network is not None and dict(request.network) != where.data.get("network"):
        message = 'this bench describes its network; leave the section "network" out of the experiment'
        raise FileError(where.path, message, where.line(("network",)))
    for option, asked, there in (
        ("--nodes", request.nodes, len(network.nodes)),
        ("--edges", request.edges, len(network.branches)),
    ):
        if asked is not None and asked != there:
            message = f"{option} asks for {asked}, the network of this bench has {there}; leave {option} out"
            raise FileError(where.path, message, where.line(("network",)))
    return network
