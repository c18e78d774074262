"""The bench that is wired by hand: any instruments, channel by channel, as the bench file lists them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from freqprop_lab.bench._bench import Bench
from freqprop_lab.bench._described import described_network
from freqprop_lab.bench._kinds import BenchKind, ChannelUse, InstrumentKind, Roles
from freqprop_lab.bench._legs import Leg, input_legs, nudge_legs
from freqprop_lab.bench._wiring import MeterWiring, ResistorWiring, SourceWiring, leads
from freqprop_lab.config import (
    BenchFile,
    BenchRequest,
    BenchSettings,
    Document,
    FileError,
    Section,
    instrument_kinds,
    load_instrument_kind,
    validate,
)
from freqprop_lab.instruments import FREE_RUNNING, Source
from freqprop_lab.names import nearest, shown
from freqprop_lab.network import Network

Place = Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")]  # instrument/channel


class WiringSection(Section):
    """Which channel drives or reads which node, and which element is which branch: `daq/ao0`, `board/12`."""

    drives: dict[str, Place]
    reads: dict[str, Place]
    tunes: dict[str, Place]


class WiredBenchFile(BenchFile):
    """A bench file with instruments. triggers: pairs of instruments that a wire starts together."""

    instruments: dict[str, dict[str, Any]] = Field(min_length=1)
    wiring: WiringSection
    triggers: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = []
    simulation: dict[str, Any] = {}


class WiredBench(Bench):
    """Real or virtual instruments around a network that stands on a table."""


class WiredKind(BenchKind):
    """The entry point `wired`."""

    model = WiredBenchFile

    def open(self, settings: BenchSettings, request: BenchRequest) -> WiredBench:
        """Open every instrument that is wired, once; where one fails, those already open are closed again."""
        model, document = settings.model, settings.document
        if not isinstance(model, WiredBenchFile):
            raise FileError(document.path, "is not the file of a wired bench", 1)
        network = wired_network(settings, model, request)
        if model.ports == "floating":
            message = "floating ports exist in simulation only; drive each end against ground: ports: referred"
            raise FileError(document.path, message, document.line(("ports",)))
        _check_wiring(model, network, document)
        with contextlib.ExitStack() as stack:
            used = [name for name in model.instruments if channel_use(model, name) != ChannelUse()]
            roles = {name: _open(name, settings, model, stack) for name in used}
            _refuse_idle_triggers(model, roles, document)
            bench = _assemble(model, network, roles)
            if request.unsynchronised:
                bench.synchronised = False
            stack.pop_all()
        return bench

    def describe(self, settings: BenchSettings) -> dict[str, str]:
        """Say which instruments there are."""
        model = settings.model
        if not isinstance(model, WiredBenchFile):
            return {}
        listed = [
            f"{name} ({fields.get('driver')} at {fields.get('resource', '-')})"
            for name, fields in model.instruments.items()
        ]
        return {"backend": "instruments", "instruments": "; ".join(listed)}


def wired_network(settings: BenchSettings, model: WiredBenchFile, request: BenchRequest) -> Network:
    """Return the network of the bench file, held against what an experiment asks. Raises FileError."""
    section = model.network
    for name, ports in (("inputs", section.inputs), ("outputs", section.outputs)):
        if not isinstance(ports, list):
            message = f"network.{name}: list the nodes of each port, such as [[n1, n2]]; here nobody can draw them"
            raise FileError(settings.document.path, message, settings.document.line(("network", name)))
    return described_network(settings, model, request)


def channel_use(model: WiredBenchFile, instrument: str) -> ChannelUse:
    """Return which channels of an instrument the wiring uses, in the order of the file."""
    wiring = model.wiring
    used = [
        tuple(place.split("/", 1)[1] for place in places.values() if place.split("/", 1)[0] == instrument)
        for places in (wiring.drives, wiring.reads, wiring.tunes)
    ]
    return ChannelUse(*used)


def make_file_safe(settings: BenchSettings) -> Iterator[tuple[str, Exception | None]]:
    """Open each instrument of a bench file by itself and make it safe; yield its name and what went wrong, if anything.

    Asks nothing of the network or the wiring, so that a half-wrong file still stops what it names.
    """
    model = settings.model
    if not isinstance(model, WiredBenchFile):
        return
    for name in model.instruments:
        fault: Exception | None = None
        try:
            section = settings.document.section("instruments").section(name)
            kind, fields = checked_instrument(section, settings.folder)
            use = channel_use(model, name)
            roles = kind.open(name, fields, use if use != ChannelUse() else kind.all_channels(fields))
            if roles == Roles():
                fault = ValueError("nothing of it is wired, so it was not opened; switch it off by hand")
            for role in (roles.source, roles.meter, roles.resistors):
                if role is not None:
                    role.make_safe()
                    role.close()
        except Exception as error:  # noqa: BLE001 - the others must be reached whatever this one does
            fault = error
        yield name, fault


def _open(name: str, bench: BenchSettings, model: WiredBenchFile, stack: contextlib.ExitStack) -> Roles:
    document = bench.document
    section = document.section("instruments").section(name)
    kind, settings = checked_instrument(section, bench.folder)
    use = channel_use(model, name)
    try:
        roles = kind.open(name, settings, use)
    except ValueError as error:
        line = _line_of_channel(str(error), name, model, document) or section.line(())
        raise FileError(document.path, f'instrument "{name}": {error}', line) from None
    for role in (roles.source, roles.meter, roles.resistors):
        if role is not None:
            stack.callback(role.close)
    for wanted, role, what in (
        (use.drives, roles.source, "drive"),
        (use.reads, roles.meter, "read"),
        (use.tunes, roles.resistors, "tune"),
    ):
        if wanted and role is None:
            raise FileError(document.path, f'instrument "{name}" can\'t {what} anything', section.line(()))
    return roles


def _line_of_channel(message: str, instrument: str, model: WiredBenchFile, document: Document) -> int | None:
    """Return the line of the wiring that uses a channel which the driver's message quotes, if it quotes one."""
    wiring = model.wiring
    for what, places in (("drives", wiring.drives), ("reads", wiring.reads), ("tunes", wiring.tunes)):
        for node, place in places.items():
            name, channel = place.split("/", 1)
            if name == instrument and f'"{channel}"' in message:
                return document.line(("wiring", what, node))
    return None


def checked_instrument(section: Document, folder: Path) -> tuple[InstrumentKind, Any]:
    """Return the kind that a section of `instruments` names, and its checked settings. Raises FileError.

    folder: where the bench file is, which the files that the section names are looked for from.
    """
    name = section.data.get("driver")
    if not isinstance(name, str):
        raise FileError(
            section.path, f'field "driver" is missing; installed: {shown(instrument_kinds())}', section.line(())
        )
    kind = load_instrument_kind(name, section)
    if not isinstance(kind, InstrumentKind):
        raise FileError(section.path, f'field "driver": {name} is no kind of instrument', section.line(("driver",)))
    files: dict[tuple[str, ...], Any] = {
        (field,): str(folder / section.data[field]) for field in kind.files if field in section.data
    }
    return kind, validate(section.replaced(files) if files else section, kind.model)


def _assemble(model: WiredBenchFile, network: Network, roles: dict[str, Roles]) -> WiredBench:
    legs = [("input", leg) for leg in input_legs(network, model)] + [
        ("nudge", leg) for leg in nudge_legs(network, model)
    ]
    sources = [
        _source_wiring(model, network, name, role.source, legs)
        for name, role in roles.items()
        if role.source is not None
    ]
    meters = [
        MeterWiring(
            role.meter, _numbers(model.wiring.reads, name, list(network.nodes)), _places(model.wiring.reads, name)
        )
        for name, role in roles.items()
        if role.meter is not None
    ]
    resistors = [
        ResistorWiring(
            role.resistors,
            _numbers(model.wiring.tunes, name, list(network.tunable_names)),
            _places(model.wiring.tunes, name),
        )
        for name, role in roles.items()
        if role.resistors is not None
    ]
    clocks = {
        name: role.clock for name, each in roles.items() for role in (each.source, each.meter) if role is not None
    }
    triggers = [(clocks[one], clocks[other]) for one, other in model.triggers]
    return WiredBench(
        model.name,
        network,
        model.scales.scales(),
        model.sampling,
        sources,
        meters,
        resistors,
        ports=model.ports,
        triggers=triggers,
    )


def _refuse_idle_triggers(model: WiredBenchFile, roles: dict[str, Roles], document: Document) -> None:
    """Refuse a trigger wire to a meter that is told to run free: its records would pass for synchronised ones."""
    for name in {name for pair in model.triggers for name in pair if name in roles}:
        meter = roles[name].meter
        if meter is not None and meter.clock.endswith(FREE_RUNNING):
            message = f'triggers: meter "{name}" runs free, so no wire starts it; take it out, or let it be triggered'
            raise FileError(document.path, message, document.line(("triggers",)))


def _source_wiring(
    model: WiredBenchFile, network: Network, name: str, source: Source, legs: Sequence[tuple[str, Leg]]
) -> SourceWiring:
    nodes = _numbers(model.wiring.drives, name, list(network.nodes)).tolist()
    from_inputs = np.zeros((len(nodes), len(network.inputs)))
    from_outputs = np.zeros((len(nodes), len(network.outputs)))
    rest = np.full(len(nodes), model.common_mode)
    for what, leg in legs:
        if leg.node in nodes:
            channel = nodes.index(leg.node)
            (from_inputs if what == "input" else from_outputs)[channel, leg.port] = leg.gain
            rest[channel] = leg.rest
    drives = list(zip(_places(model.wiring.drives, name), nodes, strict=True))
    return SourceWiring(source, from_inputs, from_outputs, rest, leads=leads(network, model, drives))


def _numbers(places: dict[str, str], instrument: str, names: list[str]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the numbers of the nodes (or branches) that an instrument's channels go to, in the order of the file."""
    wired = [name for name, place in places.items() if place.split("/", 1)[0] == instrument]
    return np.array([names.index(name) for name in wired], dtype=np.intp)


def _places(places: dict[str, str], instrument: str) -> tuple[str, ...]:
    """Return the channels of an instrument, in the order of the file: `daq/ao0`."""
    return tuple(place for place in places.values() if place.split("/", 1)[0] == instrument)


def _check_wiring(model: WiredBenchFile, network: Network, document: Document) -> None:
    """Each name must be known, each channel used once, each port driven, each tunable branch tuned."""
    taken: dict[str, str] = {}
    for what, places, known in (
        ("drives", model.wiring.drives, network.nodes),
        ("reads", model.wiring.reads, network.nodes),
        ("tunes", model.wiring.tunes, network.tunable_names),
    ):
        for name, place in places.items():
            line = document.line(("wiring", what, name))
            if name not in known:
                noun = "tunable branch" if what == "tunes" else "node"
                raise FileError(document.path, f'wiring.{what}: no {noun} "{name}".{nearest(name, known)}', line)
            instrument = place.split("/", 1)[0]
            if instrument not in model.instruments:
                message = f'wiring.{what}.{name}: no instrument "{instrument}".{nearest(instrument, model.instruments)}'
                raise FileError(document.path, message, line)
            if place in taken:
                raise FileError(
                    document.path, f"wiring.{what}.{name}: {place} is used already, by {taken[place]}", line
                )
            taken[place] = f"{what} {name}"
    legs = [("input", leg) for leg in input_legs(network, model)] + [
        ("nudge", leg) for leg in nudge_legs(network, model)
    ]
    for kind, leg in legs:
        node = network.nodes[leg.node]
        if node not in model.wiring.drives:
            message = f"node {node} is an end of an {kind if kind == 'input' else 'output'} port, and nothing drives it"
            raise FileError(document.path, f"wiring.drives: {message}", document.line(("wiring", "drives")))
    missing = [name for name in network.tunable_names if name not in model.wiring.tunes]
    if missing:
        message = f"nothing tunes {shown(missing)}; list them, or make them fixed resistors in the network"
        raise FileError(document.path, f"wiring.tunes: {message}", document.line(("wiring", "tunes")))
    for pair in model.triggers:
        for name in pair:
            if name not in model.instruments:
                message = f'triggers: no instrument "{name}".{nearest(name, model.instruments)}'
                raise FileError(document.path, message, document.line(("triggers",)))


WIRED_BENCH = WiredKind()
