"""The virtual lab: the instruments of a wired bench file as servers on the loopback interface, around one world."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from freqprop_lab.bench import WiredBenchFile, channel_use, leads, wired_network
from freqprop_lab.config import (
    BenchRequest,
    BenchSettings,
    Document,
    FileError,
    Fraction,
    Seconds,
    Section,
    Volts,
    validate,
)
from freqprop_lab.names import nearest
from freqprop_lab.network import Network
from freqprop_lab.values import Array
from simulated_bench.breadboard import with_tolerance, with_true_resistances
from simulated_bench.circuit import Connection
from simulated_bench.faults import (
    FaultsSection,
    check_faults,
    exchanged,
    of_tunable,
    with_drives_exchanged,
    with_faults,
)
from simulated_bench.servers import VirtualInstrument, Wires
from simulated_bench.servers.resistor_board import Wipers
from simulated_bench.truth import Truth
from simulated_bench.world import Misjudgement, World


class PartsSection(Section):
    """The fixed parts' standard deviation from what the network lists, and of the sources' series resistors."""

    tolerance: Annotated[Fraction, Field(ge=0)] = 0.0
    source_resistance_tolerance: Annotated[Fraction, Field(ge=0)] = 0.0


class AlsoSection(Section):
    """Wires of the lab that no training uses: instrument/channel to node."""

    drives: dict[str, str] = {}
    reads: dict[str, str] = {}


class DaqSimulation(Section):
    """What the virtual card is like. ao_bits, ai_bits: of its converters; multiplexed: one converter for all inputs.

    gain errors, offsets, hidden_skew (of an untold lateness): standard deviations over channels.
    """

    noise: Annotated[Volts, Field(ge=0)] = 0.0
    range: Annotated[Volts, Field(gt=0)] = 10.0
    ao_bits: int | None = Field(None, ge=2, le=32)
    ai_bits: int | None = Field(None, ge=2, le=32)
    n_ao: int = Field(16, ge=1)
    n_ai: int = Field(32, ge=1)
    ao_gain_error: Annotated[Fraction, Field(ge=0)] = 0.0
    ao_offset: Annotated[Volts, Field(ge=0)] = 0.0
    ai_gain_error: Annotated[Fraction, Field(ge=0)] = 0.0
    ai_offset: Annotated[Volts, Field(ge=0)] = 0.0
    hidden_skew: Annotated[Seconds, Field(ge=0)] = 0.0
    multiplexed: bool = False
    port: int = Field(0, ge=0, le=65535)


class SimulationSection(Section):
    """The `simulation` section of a wired bench file: what is true of the lab."""

    hardware_seed: int = Field(0, ge=0)
    parts: PartsSection = PartsSection()
    also: AlsoSection = AlsoSection()
    faults: FaultsSection = FaultsSection()
    instruments: dict[str, dict[str, Any]] = {}


Factory = Callable[["VirtualLab", str, Any, Wires, Document], VirtualInstrument]


class VirtualLab:
    """The world of a wired bench file and the servers around it. A context manager: leaving it stops them all.

    hidden: by instrument, the generator of what is true of its channels.
    """

    def __init__(self, settings: BenchSettings, factories: Mapping[str, Factory]) -> None:
        model = settings.model
        if not isinstance(model, WiredBenchFile):
            raise FileError(settings.document.path, "is not the file of a wired bench; only those can be served", 1)
        self.model, self._document = model, settings.document
        section = settings.document.section("simulation") if model.simulation else _EMPTY
        self.simulation = validate(section, SimulationSection)
        network = wired_network(settings, model, BenchRequest())
        rng = np.random.default_rng(self.simulation.hardware_seed)
        # Each has a stream of its own, so that what is drawn by `rng` stays as it was before there were these.
        parts, *each = rng.spawn(1 + len(model.instruments))
        self.hidden = dict(zip(model.instruments, each, strict=True))
        faults = self.simulation.faults
        check_faults(faults, network, model.wiring.drives, model.wiring.reads, section)
        self._terminals = self._connected(network, parts)
        true = with_faults(with_tolerance(network, self.simulation.parts.tolerance, rng), faults)
        self.world = World(true, self._terminals, rng, faults=of_tunable(network, faults))
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

    def err_outputs(self, instrument: str, wires: Wires, gain_error: float, offset: float) -> None:
        """Draw how the instrument's source channels err: standard deviations of the gain and of the offset, V."""
        deviates = self.hidden[instrument].standard_normal((2, len(wires.drives)))
        for number, terminal in enumerate(wires.drives.values()):
            volts = offset if self._terminals[terminal].kind == "voltage" else 0.0
            gain = float(1 + gain_error * deviates[0, number])
            self.world.errors[terminal] = Misjudgement(gain, float(volts * deviates[1, number]))

    def err_inputs(self, instrument: str, wires: Wires, gain_error: float, offset: float, skew: float) -> None:
        """Draw how the instrument's meter channels err: standard deviations of gain, offset (V) and lateness (s)."""
        channels = [*wires.reads, *self._pulled(instrument)]
        deviates = self.hidden[instrument].standard_normal((3, len(channels)))
        for number, channel in enumerate(sorted(channels)):
            gain, volts, late = (1, 0, 0) + np.array([gain_error, offset, skew]) * deviates[:, number]
            self.world.errors[f"{instrument}/{channel}"] = Misjudgement(float(gain), float(volts), float(late))

    def truth(self) -> Truth:
        """Return what is true of the lab by now, in plain values. For tests only.

        Channels are named by their places, `daq/ai0`. What is set by pulses (memristors) is taken to be what was asked.
        """
        network, faults, world = self.world.network, self.simulation.faults, self.world
        sources, meters = list(self._terminals), list(self.model.wiring.reads.values())
        given = [world.errors.get(place, Misjudgement()) for place in sources]
        seen = [world.errors.get(place, Misjudgement()) for place in meters]
        nothing = np.zeros(len(meters))
        return Truth(
            tuple(sources),
            np.array([error.gain for error in given]),
            np.array([error.offset for error in given]),
            np.array([wired.resistance for wired in self._terminals.values()]),
            tuple(meters),
            np.array([error.gain for error in seen]),
            np.array([error.offset for error in seen]),
            np.array([error.delay for error in seen]),
            nothing,
            nothing.copy(),
            self._conductances_of,
            world.conductances(),
            {each.name: each.theta[0] for each in network.branches if each.element.linear and not each.tunable},
            np.zeros(len(network.nodes)),
            (),
            faults,
        )

    def _conductances_of(self, nominal: Array) -> Array:
        """Return what the tunable branches would truly conduct, S, were their elements set to these conductances."""
        network, faults = self.world.network, of_tunable(self.world.network, self.simulation.faults)
        true = np.array(nominal, dtype=np.float64)
        for number, name in enumerate(network.tunable_names):
            instrument, element = self.model.wiring.tunes[name].split("/", 1)
            wipers = getattr(self.instruments[instrument], "wipers", None)
            if isinstance(wipers, Wipers):
                true[number] = wipers.conductance_of(int(element), true[number])
        return true if faults is None else faults.conductances(true[faults.source])

    def _pulled(self, instrument: str) -> list[str]:
        """Return the channels of an instrument whose meter lead is pulled."""
        reads, unread = self.model.wiring.reads, self.simulation.faults.unread
        return [place.split("/", 1)[1] for node, place in reads.items() if node in unread and _of(place, instrument)]

    def _connected(self, network: Network, rng: np.random.Generator) -> dict[str, Connection]:
        """Return where each wired source channel is connected: behind its port's resistor, or stiff."""
        driven = [
            (place, self._node(network, node, "wiring.drives")) for node, place in self.model.wiring.drives.items()
        ]
        terminals = {
            lead.name: Connection(lead.plus, lead.minus, lead.kind, lead.resistance)
            for lead in leads(network, self.model, driven)
        }
        wired = with_true_resistances(list(terminals.values()), self.simulation.parts.source_resistance_tolerance, rng)
        wired = with_drives_exchanged(wired, network.nodes, self.simulation.faults.swapped_drives)
        terminals = dict(zip(terminals, wired, strict=True))
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
        model, also, faults = self.model, self.simulation.also, self.simulation.faults
        use = channel_use(model, instrument)
        drives = {channel: f"{instrument}/{channel}" for channel in use.drives}
        drives |= {place.split("/", 1)[1]: place for place in also.drives if place.split("/", 1)[0] == instrument}
        nodes, branches = list(model.wiring.reads), list(model.wiring.tunes)
        seen = {node: nodes[other] for node, other in zip(nodes, exchanged(nodes, faults.swapped_reads), strict=True)}
        reads = {
            place.split("/", 1)[1]: seen[node]
            for node, place in model.wiring.reads.items()
            if _of(place, instrument) and node not in faults.unread
        }
        reads |= {place.split("/", 1)[1]: node for place, node in also.reads.items() if _of(place, instrument)}
        order = exchanged(branches, faults.swapped_elements)
        turned = {name: branches[other] for name, other in zip(branches, np.argsort(order), strict=True)}
        tunes = {
            place.split("/", 1)[1]: turned[name] for name, place in model.wiring.tunes.items() if _of(place, instrument)
        }
        return Wires(drives, reads, tunes)


def _of(place: str, instrument: str) -> bool:
    return place.split("/", 1)[0] == instrument


_EMPTY = Document(Path("(no simulation)"), "", {}, {})
