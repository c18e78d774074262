"""The virtual lab: the instruments of a wired bench file as servers on the loopback interface, around one world."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from freqprop_lab.bench import WiredBenchFile, channel_use, input_legs, nudge_legs, wired_network
from freqprop_lab.config import BenchRequest, BenchSettings, Document, FileError, Fraction, Section, Volts, validate
from freqprop_lab.names import nearest
from freqprop_lab.network import Network
from simulated_bench.breadboard import with_tolerance
from simulated_bench.circuit import Connection
from simulated_bench.servers import VirtualInstrument, Wires
from simulated_bench.world import World


class PartsSection(Section):
    """The fixed parts' standard deviation from what the network lists."""

    tolerance: Annotated[Fraction, Field(ge=0)] = 0.0


class AlsoSection(Section):
    """Wires of the lab that no training uses: instrument/channel to node."""

    drives: dict[str, str] = {}
    reads: dict[str, str] = {}


class DaqSimulation(Section):
    """What the virtual card is like. ao_bits, ai_bits: of its converters; multiplexed: one converter for all inputs."""

    noise: Annotated[Volts, Field(ge=0)] = 0.0
    range: Annotated[Volts, Field(gt=0)] = 10.0
    ao_bits: int | None = Field(None, ge=2, le=32)
    ai_bits: int | None = Field(None, ge=2, le=32)
    n_ao: int = Field(16, ge=1)
    n_ai: int = Field(32, ge=1)
    multiplexed: bool = False
    port: int = Field(0, ge=0, le=65535)


class SimulationSection(Section):
    """The `simulation` section of a wired bench file: what is true of the lab."""

    hardware_seed: int = Field(0, ge=0)
    parts: PartsSection = PartsSection()
    also: AlsoSection = AlsoSection()
    instruments: dict[str, dict[str, Any]] = {}


Factory = Callable[["VirtualLab", str, Any, Wires, Document], VirtualInstrument]


class VirtualLab:
    """The world of a wired bench file and the servers around it. A context manager: leaving it stops them all."""

    def __init__(self, settings: BenchSettings, factories: Mapping[str, Factory]) -> None:
        model = settings.model
        if not isinstance(model, WiredBenchFile):
            raise FileError(settings.document.path, "is not the file of a wired bench; only those can be served", 1)
        self.model, self._document = model, settings.document
        section = settings.document.section("simulation") if model.simulation else _EMPTY
        self.simulation = validate(section, SimulationSection)
        network = wired_network(settings, model, BenchRequest())
        rng = np.random.default_rng(self.simulation.hardware_seed)
        terminals = self._terminals(network)
        self.world = World(with_tolerance(network, self.simulation.parts.tolerance, rng), terminals, rng)
        for place in self.simulation.also.drives:
            self.world.put(place, None)
        self.instruments = {name: self._instrument(name, factories) for name in model.instruments}

    def start(self) -> dict[str, list[str]]:
        """Start every server; return the resources of each instrument by name, the best one first."""
        resources: dict[str, list[str]] = {}
        try:
            for name, instrument in self.instruments.items():
                resources[name] = instrument.start()
        except BaseException:
            self.stop()
            raise
        return resources

    def stop(self) -> None:
        """Stop every server, whatever one of them says."""
        with contextlib.ExitStack() as stack:
            for instrument in self.instruments.values():
                stack.callback(instrument.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _terminals(self, network: Network) -> dict[str, Connection]:
        """Return where each wired source channel is connected: behind its port's resistor, or stiff."""
        model, kinds = self.model, {}
        for leg in input_legs(network, model):
            kind = "current" if model.inputs.source == "current" else "voltage"
            kinds[leg.node] = Connection(leg.node, -1, kind, model.inputs.resistance or 0.0)  # type: ignore[arg-type]
        for leg in nudge_legs(network, model):
            kind = "current" if model.nudge.source == "current" else "voltage"
            kinds[leg.node] = Connection(leg.node, -1, kind, model.nudge.resistance or 0.0)  # type: ignore[arg-type]
        terminals = {}
        for node, place in model.wiring.drives.items():
            number = self._node(network, node, "wiring.drives")
            terminals[place] = kinds.get(number, Connection(number, -1, "voltage"))
        for place, node in self.simulation.also.drives.items():
            terminals[place] = Connection(self._node(network, node, "simulation.also.drives"), -1, "voltage")
        return terminals

    def _node(self, network: Network, node: str, where: str) -> int:
        if node not in network.index:
            message = f'{where}: no node "{node}".{nearest(node, network.nodes)}'
            raise FileError(self._document.path, message, self._document.line(tuple(where.split("."))))
        return network.index[node]

    def _instrument(self, name: str, factories: Mapping[str, Factory]) -> VirtualInstrument:
        section = self._document.section("instruments").section(name)
        driver = str(section.data.get("driver"))
        if driver not in factories:
            message = f'instrument "{name}": driver "{driver}" has no virtual twin.{nearest(driver, factories)} '
            raise FileError(section.path, f"{message}There are: {', '.join(factories)}", section.line(("driver",)))
        options = self._document.section("simulation") if self.simulation.instruments.get(name) else _EMPTY
        if options is not _EMPTY:
            options = options.section("instruments").section(name)
        return factories[driver](self, name, section.data, self._wires(name), options)

    def _wires(self, instrument: str) -> Wires:
        model, also = self.model, self.simulation.also
        use = channel_use(model, instrument)
        drives = {channel: f"{instrument}/{channel}" for channel in use.drives}
        drives |= {place.split("/", 1)[1]: place for place in also.drives if place.split("/", 1)[0] == instrument}
        reads = {place.split("/", 1)[1]: node for node, place in model.wiring.reads.items() if _of(place, instrument)}
        reads |= {place.split("/", 1)[1]: node for place, node in also.reads.items() if _of(place, instrument)}
        tunes = {place.split("/", 1)[1]: name for name, place in model.wiring.tunes.items() if _of(place, instrument)}
        return Wires(drives, reads, tunes)


def _of(place: str, instrument: str) -> bool:
    return place.split("/", 1)[0] == instrument


_EMPTY = Document(Path("(no simulation)"), "", {}, {})
