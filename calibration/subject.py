"""The bench as procedures see it: its network, where every channel is wired, its limits, and what is believed of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import SubjectError
from calibration.records import CalibrationRecord, Reference
from freqprop_lab.bench import Bench, Lead
from freqprop_lab.config import (
    AssumedSection,
    CalibrationSection,
    LockinSection,
    RatingsSection,
    ReferenceSection,
    SamplingSection,
)
from freqprop_lab.names import nearest, shown
from freqprop_lab.network import GROUND, Network
from freqprop_lab.values import Array, Scales

_MOST_CODES = 4096
_FEWEST_CODES = 2
_STRAYS = 1 / 3  # of its tolerance: by how much one value of an element departs from what all have in common
_WIPER = 0.3  # of a wiper's resistance
_JUST_ABOVE = 1e-9  # relative: closer than this two values are one


class Known(Mapping[str, CalibrationRecord]):
    """Earlier records by procedure. Remembers which were asked for: those are what a new record rests on.

    left_out: which are not believed, and why, a sentence each.
    """

    def __init__(self, records: Mapping[str, CalibrationRecord], left_out: tuple[str, ...] = ()) -> None:
        self._records, self.left_out = dict(records), left_out
        self._asked: set[str] = set()

    def __getitem__(self, procedure: str) -> CalibrationRecord:
        record = self._records[procedure]
        self._asked.add(procedure)
        return record

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def rests_on(self) -> dict[str, str]:
        """The uids of the records that were asked for, by procedure."""
        return {name: record.uid for name, record in self._records.items() if name in self._asked}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A bench, as data. Arrays of leads are (lead,), of nodes (node,), of tunable branches (tunable,)."""

    name: str
    network: Network
    # Sources
    leads: tuple[Lead, ...]  # of all source channels
    live: NDArray[np.bool_]  # (lead,): which are connected while nothing clamps
    resting: Array  # V or A, (lead,): voltages at the common mode, currents at none
    source_low: Array  # V or A, (lead,)
    source_high: Array
    # Meters
    meter_low: Array  # V, (node,); NaN where nothing reads
    meter_high: Array
    meter_channels: Mapping[str, str]  # by the node's name
    sampling: SamplingSection
    synchronised: bool
    lockin: LockinSection = field(default_factory=LockinSection)  # what records hold beside nudge and noise
    # Elements
    conductance_low: Array  # S, (tunable,)
    conductance_high: Array
    conductances: Array  # S, (tunable,): what they hold
    ladder: tuple[Array | None, ...] = ()  # S, (tunable,) of (code,), rising: what each can have; None: anything
    reaches_end: NDArray[np.bool_]  # (tunable,): which go down to their wiper, no bound of the bench file before it
    element_channels: Mapping[str, str]  # by the branch's name
    # What is known or believed
    scales: Scales
    common_mode: float
    ratings: RatingsSection
    assumed: AssumedSection
    references: tuple[ReferenceSection, ...]
    known: Mapping[str, CalibrationRecord] = field(default_factory=dict)  # earlier records by procedure, newest each
    is_corrected: bool = False  # what elements are told to have they truly have, by calibration
    pickup: Array | None = None  # V, (node,): what a correction in use subtracts from b

    @property
    def voltage(self) -> NDArray[np.bool_]:
        """Which leads are voltages that are connected, (lead,)."""
        return np.array([lead.kind == "voltage" for lead in self.leads], dtype=bool) & self.live

    @property
    def live_leads(self) -> tuple[Lead, ...]:
        """The leads of the channels that are connected."""
        return tuple(lead for lead, on in zip(self.leads, self.live, strict=True) if on)

    @property
    def read(self) -> Array:
        """Which nodes a channel reads, (node,)."""
        return ~np.isnan(self.meter_low)

    @property
    def read_channels(self) -> tuple[str, ...]:
        """The meter channels, in the order of the nodes that they read."""
        return tuple(self.meter_channels[self.network.nodes[node]] for node in np.flatnonzero(self.read))

    @property
    def read_nodes(self) -> tuple[str, ...]:
        """The nodes that a channel reads."""
        return tuple(self.network.nodes[node] for node in np.flatnonzero(self.read))

    def channel_at(self, node: int) -> str:
        """Return how a person finds what reads a node: the channel, and the node's name."""
        name = self.network.nodes[node]
        return f"{self.meter_channels.get(name, 'the meter')} (node {name})"

    def periods_for(self, n_samples: int) -> int:
        """Return how many whole periods of the nudge hold at least so many samples."""
        return max(1, -(-n_samples // self.sampling.samples_per_period))

    def node_of(self, lead: Lead) -> str:
        """Return the node at the plus end of a lead."""
        return GROUND if lead.plus < 0 else self.network.nodes[lead.plus]

    def channels(self) -> dict[str, list[dict[str, Any]]]:
        """Return where each channel is wired, as records keep it: so that a person finds what stands under its name.

        sources: in the order of the leads, with the Ohm of the series resistor that is listed; meters; elements.
        """
        sources: list[dict[str, Any]] = [
            {"channel": lead.name, "node": self.node_of(lead), "unit": lead.unit}
            | ({"resistance": lead.resistance} if lead.is_behind_resistor else {})
            for lead in self.leads
        ]
        meters = zip(self.read_channels, self.read_nodes, strict=True)
        return {
            "sources": sources,
            "meters": [{"channel": channel, "node": node} for channel, node in meters],
            "elements": [{"channel": name, "branch": branch} for branch, name in self.element_channels.items()],
        }

    def belief_in_sources(self) -> tuple[Array, Array, Array]:
        """Return the standard uncertainties of gain, offset (V or A) and series resistor (relative), (lead,) each."""
        assumed, count = self.assumed, len(self.leads)
        gain = np.full(count, assumed.source_gain)
        volts = np.array([lead.kind == "voltage" for lead in self.leads], dtype=bool)
        offset = np.where(volts, assumed.source_offset, assumed.source_offset_current)
        series = np.full(count, assumed.source_resistance)
        for reference in self.references:
            if reference.meter is not None:
                continue
            number = self._lead_of(reference)
            if reference.gain is not None:
                gain[number] = reference.gain
            told = reference.offset if reference.offset_current is None else reference.offset_current
            if told is not None:
                offset[number] = told
            if reference.resistance is not None:
                series[number] = reference.resistance
        return gain, offset, series

    def belief_in_meters(self) -> tuple[Array, Array]:
        """Return the standard uncertainties of gain and offset (V) of the channel at each node, (node,) each."""
        gain = np.full(len(self.network.nodes), self.assumed.meter_gain)
        offset = np.full(len(self.network.nodes), self.assumed.meter_offset)
        for reference in self.references:
            if reference.meter is not None:
                node = self._node(reference.meter)
                gain[node] = reference.gain if reference.gain is not None else gain[node]
                offset[node] = reference.offset if reference.offset is not None else offset[node]
        return gain, offset

    def belief_in_branches(self) -> Array:
        """Return the relative standard uncertainty of every branch's conductance, (branch,)."""
        tunable = np.array([branch.tunable for branch in self.network.branches], dtype=bool)
        return np.where(tunable, self.assumed.tunable, self.assumed.fixed)

    def belief_in_strays(self, tunable: Array) -> Array:
        """Return by how much each element's values stray from what all of them are off by, relative, (tunable,).

        tunable: what they are told to have, S, (tunable,). A third of the tolerance; and of an element with codes its
        wiper, which no data sheet tells well, and which is most of what is left at its end.
        """
        found = self.belief_in_branches()[self.network.tunable] * _STRAYS
        for element, rungs in enumerate(self.ladder):
            if rungs is not None:
                found[element] = np.hypot(found[element], _WIPER * tunable[element] / rungs[-1])
        return found

    def traceability(self) -> tuple[Reference, ...]:
        """Return the chain of traceability for a record: what absolute values go back to.

        Raises SubjectError for a reference to nothing, to one of several things, or in the wrong unit.
        """
        found = []
        for one in self.references:
            place = one.meter or one.source or one.resistor or ""
            kind = "series resistor" if one.resistor else "meter channel" if one.meter else "source"
            ohms = 0.0
            if one.meter is None:
                ohms = self.leads[self._lead_of(one)].resistance
            else:
                self._node(one.meter)
            for what, unit, value, uncertainty in (
                ("gain", "", 1.0, one.gain),
                ("offset", "V", 0.0, one.offset),
                ("offset", "A", 0.0, one.offset_current),
                ("resistance", "Ohm", ohms, None if one.resistance is None else one.resistance * ohms),
            ):
                if uncertainty is not None:
                    name = f"{what} of the {kind} at {place}"
                    found.append(Reference(name, value, unit, uncertainty, one.certificate))
        return tuple(found)

    def _lead_of(self, reference: ReferenceSection) -> int:
        """Return the live lead that a reference to a source or its series resistor means. Raises SubjectError."""
        place = reference.source or reference.resistor or ""
        what = "source" if reference.resistor is None else "source behind a resistor"
        there = [
            number
            for number, lead in enumerate(self.leads)
            if self.live[number] and (reference.resistor is None or lead.is_behind_resistor)
        ]
        found = [number for number in there if self.leads[number].name == place]
        found = found or [number for number in there if self.node_of(self.leads[number]) == place]
        if not found:
            known = [name for number in there for name in (self.node_of(self.leads[number]), self.leads[number].name)]
            raise SubjectError(
                f'calibration.references: no {what} at "{place}".{nearest(place, known)} There are: {shown(known)}'
            )
        if len(found) > 1:
            channels = shown([self.leads[number].name for number in found])
            raise SubjectError(
                f'calibration.references: "{place}" has {len(found)} of them, {channels}, and a certificate is that of '
                "one. Name its channel in place of the node"
            )
        lead = self.leads[found[0]]
        wrong, right = ("offset_current", "offset") if lead.kind == "voltage" else ("offset", "offset_current")
        if getattr(reference, wrong) is not None:
            raise SubjectError(
                f'calibration.references: {wrong} of "{place}": {lead.name} is a {lead.kind} source; give {right}, in '
                f"{lead.unit}"
            )
        return found[0]

    def _node(self, place: str) -> int:
        by_channel = {channel: node for node, channel in self.meter_channels.items()}
        node = by_channel.get(place, place)
        if node not in self.meter_channels:
            known = list(self.meter_channels)
            raise SubjectError(
                f'calibration.references: no meter at "{place}".{nearest(place, known)} Meters are at {shown(known)}'
            )
        return self.network.index[node]


def subject_of(bench: Bench, known: Mapping[str, CalibrationRecord] | None = None) -> Subject:
    """Look at an open bench; nothing is driven. Raises SubjectError for one whose channels nobody described."""
    if bench.ports == "floating":
        raise SubjectError(
            f"bench {bench.name} has floating ports, which exist in simulation only; calibrate it with ports: referred"
        )
    resting = bench.resting
    if len(bench.leads) != len(resting):
        raise SubjectError(f"bench {bench.name} was made without leads, so nobody knows where its sources are wired")
    section, common_mode, ratings, lockin = CalibrationSection(), 0.0, RatingsSection(), LockinSection()
    if bench.settings is not None:
        model = bench.settings.model
        section, common_mode = model.calibration or section, model.common_mode
        ratings, lockin = model.ratings, model.lockin
    (low, high), (lowest, highest) = bench.source_limits, bench.meter_limits
    held = bench.conductances
    conductance_low, conductance_high = bench.conductance_limits()
    correction = bench.correction
    return Subject(
        name=bench.name,
        network=bench.network,
        leads=bench.leads,
        live=~np.isnan(resting),
        resting=resting,
        source_low=low,
        source_high=high,
        meter_low=lowest,
        meter_high=highest,
        meter_channels=bench.meter_channels,
        sampling=bench.sampling,
        synchronised=bench.synchronised,
        lockin=lockin,
        conductance_low=conductance_low,
        conductance_high=conductance_high,
        conductances=np.where(np.isnan(held), bench.network.own_conductances, held),
        ladder=ladders(bench),
        reaches_end=_reach_their_end(bench),
        element_channels=bench.element_channels,
        scales=bench.scales,
        common_mode=common_mode,
        ratings=ratings,
        assumed=section.assume,
        references=tuple(section.references),
        known={} if known is None else known,
        is_corrected=correction is not None and correction.conductances is not None,
        pickup=None if correction is None else correction.pickup,
    )


def _reach_their_end(bench: Bench) -> NDArray[np.bool_]:
    """Say which elements have no value beyond the highest conductance that they may be set to, (tunable,)."""
    high = bench.conductance_limits()[1]
    beyond = bench.neighbours(high * (1 + _JUST_ABOVE))[1]
    return np.asarray(beyond <= high * (1 + 2 * _JUST_ABOVE))


def ladders(bench: Bench) -> tuple[Array | None, ...]:
    """Walk up the values that the tunable elements have, S; None for continuous ones, or of more than 4096 codes."""
    low, high = bench.conductance_limits()
    at = bench.neighbours(low)[1]
    rungs = [at]
    climbing = np.ones(len(at), dtype=bool)
    while climbing.any() and len(rungs) <= _MOST_CODES:
        above = bench.neighbours(at * (1 + _JUST_ABOVE))[1]
        climbing = (above > at * (1 + 2 * _JUST_ABOVE)) & (above <= high * (1 + _JUST_ABOVE))
        at = np.where(climbing, above, at)
        rungs.append(at)
    stacked = np.array(rungs)
    found: list[Array | None] = []
    for element, goes_on in enumerate(climbing):
        values = np.unique(stacked[:, element])
        found.append(None if goes_on or len(values) < _FEWEST_CODES else values)
    return tuple(found)
