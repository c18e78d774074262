"""A bench: instruments wired to a network. It measures a drive, programs conductances, and can make itself safe.

Port drives become channel values by one matrix for each source, so that referred pairs, floating pairs, series
resistors and current sources are all numbers in the wiring. Every bench answers `measure` (samples) and `respond`
(a and b per node); a numeric one may also answer `run_block` (many steps in one call). This module knows no backend.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

import numpy as np

from freqprop_lab.bench._wiring import Indices, Lead, MeterWiring, ResistorWiring, SourceWiring, WiringRow
from freqprop_lab.config import BenchRequest, BenchSettings, SamplingSection
from freqprop_lab.instruments import (
    Instrument,
    LimitError,
    Meter,
    OverloadError,
)
from freqprop_lab.lockin import average, demodulate, refuse_unidentifiable
from freqprop_lab.names import shown
from freqprop_lab.network import Network
from freqprop_lab.values import (
    Array,
    BlockPlan,
    BlockResult,
    ChannelDrive,
    Correction,
    Drive,
    Flag,
    Nudge,
    NudgeKind,
    Record,
    Response,
    Scales,
)
from freqprop_lab.waveform import Waveform


@dataclass(frozen=True)
class OnChannels:
    """A drive as the sources get it: levels and amplitudes, V or A, (channel,), for each source; and the waveform."""

    levels: tuple[Array, ...]
    amplitudes: tuple[Array, ...]
    waveform: Waveform | None


class Bench:
    """Instruments wired to a network. A context manager: leaving it makes safe and closes everything.

    triggers: pairs of clocks that a wire starts together, so that their records are synchronised.
    """

    nudges: frozenset[NudgeKind] = frozenset({NudgeKind.CURRENT})
    repeatable = False  # the same state and drive give the same numbers again: a numeric bench
    block_steps: int | None = None  # in a block, where its bits hang on where it is cut; None: as many as take a moment
    delays: Array | None = None  # s, (node,): of an unsynchronised meter, once they were learned
    settings: BenchSettings | None = None  # the file that it was opened from, and what was asked of it
    request: BenchRequest = BenchRequest()

    def __init__(
        self,
        name: str,
        network: Network,
        scales: Scales,
        sampling: SamplingSection,
        sources: Sequence[SourceWiring],
        meters: Sequence[MeterWiring],
        resistors: Sequence[ResistorWiring],
        *,
        ports: str = "referred",
        triggers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.name, self.network, self.scales, self.sampling, self.ports = name, network, scales, sampling, ports
        self._sources, self._meters, self._resistors = tuple(sources), tuple(meters), tuple(resistors)
        clocks = {wiring.source.clock for wiring in sources} | {wiring.meter.clock for wiring in meters}
        self.synchronised = _are_tied(clocks, triggers)
        self.read_nodes: Indices = np.concatenate([wiring.nodes for wiring in meters])
        self._correction: Correction | None = None
        self._is_driven = False  # whether a source may be away from its rest
        self._last_nominal = np.full(len(network.tunable), np.nan)
        self._hold(self._last_nominal)

    @property
    def correction(self) -> Correction | None:
        """What calibration knows: levels, volts and conductances are true by it, also those that are held already."""
        return self._correction

    @correction.setter
    def correction(self, correction: Correction | None) -> None:
        self._correction = correction
        self._hold(self._nominal)

    @property
    def last_programmed(self) -> Array:
        """What `program` set last, S, (tunable,): what to program again once making safe has moved the elements."""
        return self._true_conductances(self._last_nominal)

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Every instrument of the bench, once."""
        roles: list[Instrument] = [wiring.source for wiring in self._sources]
        roles += [wiring.meter for wiring in self._meters]
        roles += [wiring.resistor for wiring in self._resistors]
        return tuple(dict.fromkeys(roles))

    @property
    def meters(self) -> tuple[Meter, ...]:
        """Every meter of the bench."""
        return tuple(wiring.meter for wiring in self._meters)

    @property
    def leads(self) -> tuple[Lead, ...]:
        """Where every source channel is wired, source by source; empty on a bench that was made without them."""
        return tuple(lead for wiring in self._sources for lead in wiring.leads)

    @property
    def resting(self) -> Array:
        """What every source channel puts out with all inputs at zero, V or A, (lead,); NaN is released."""
        return np.concatenate([wiring.rest for wiring in self._sources])

    @property
    def source_limits(self) -> tuple[Array, Array]:
        """The lowest and highest value that every source channel may put out, V or A, (lead,) each."""
        limits = [wiring.source.limits for wiring in self._sources]
        return np.concatenate([one.lowest for one in limits]), np.concatenate([one.highest for one in limits])

    @property
    def meter_limits(self) -> tuple[Array, Array]:
        """The lowest and highest voltage that the meter reads at every node, V, (node,) each; NaN where none does."""
        lowest, highest = (np.full(len(self.network.nodes), np.nan) for _ in range(2))
        for wiring in self._meters:
            lowest[wiring.nodes], highest[wiring.nodes] = wiring.meter.limits.lowest, wiring.meter.limits.highest
        return lowest, highest

    @property
    def meter_channels(self) -> dict[str, str]:
        """The name of the channel that reads each node, by the node's name."""
        pairs = ((node, name) for wiring in self._meters for node, name in zip(wiring.nodes, wiring.names, strict=True))
        return {self.network.nodes[node]: name for node, name in pairs}

    @property
    def element_channels(self) -> dict[str, str]:
        """The name of the element of an instrument that sets each tunable branch, by the branch's name."""
        names = self.network.tunable_names
        pairs = ((i, name) for wiring in self._resistors for i, name in zip(wiring.branches, wiring.names, strict=True))
        return {names[branch]: name for branch, name in pairs}

    @property
    def level_scale(self) -> float:
        """What one task unit of an input level is: s_V volts, or s_G s_V amperes where the inputs are currents."""
        driven = [wiring.source.limits.units[i] for wiring in self._sources for i in np.nonzero(wiring.from_inputs)[0]]
        return self.scales.amperes if "A" in driven else self.scales.volts

    def refuse_waveform(self, waveform: Waveform) -> None:
        """Raise ValueError where the lock-in could not read a record of the bench nudged with this waveform.

        That is where the meters aren't synchronised and the waveform hides its sign, where the sampling is too coarse
        for it, or where hum or drift can't be told from it.
        """
        if not self.synchronised:
            refuse_unidentifiable(waveform)
        n_samples = self.sampling.periods * self.sampling.samples_per_period
        nothing = np.zeros(len(self.network.nodes))
        rate = self.sampling.frequency * self.sampling.samples_per_period
        silence = Record(np.zeros((len(nothing), n_samples)), rate, nothing, nothing, nothing)
        self._demodulated(silence, waveform, None)

    def unread_branches(self) -> list[str]:
        """Name the tunable branches with an end that no channel reads: they can't be updated."""
        known = {-1, *self.read_nodes.tolist()}
        ends = zip(*(end.tolist() for end in self.network.tunable_ends), strict=True)
        return [
            name
            for name, (plus, minus) in zip(self.network.tunable_names, ends, strict=True)
            if plus not in known or minus not in known
        ]

    def wiring_table(self) -> list[WiringRow]:
        """Return every channel with its node, its use and its limits."""
        rows = [row for wiring in self._sources for row in self._source_rows(wiring)]
        for wiring in self._meters:
            meter = wiring.meter
            for channel, node in enumerate(wiring.nodes):
                limits = f"{meter.limits.lowest[channel]:g} to {meter.limits.highest[channel]:g} V"
                rows.append(WiringRow(meter.name, channel, self.network.nodes[node], "reads", limits))
        return rows

    def _source_rows(self, wiring: SourceWiring) -> list[WiringRow]:
        rows, limits = [], wiring.source.limits
        clamped = {} if wiring.clamp is None else dict(zip(wiring.clamp[0], wiring.clamp[1], strict=True))
        for channel, unit in enumerate(limits.units):
            named = []
            for ports, matrix, what in (
                (self.network.inputs, wiring.from_inputs, "input"),
                (self.network.outputs, wiring.from_outputs, "nudge"),
            ):
                for port in np.flatnonzero(matrix[channel]):
                    end = ports[port].plus if matrix[channel, port] > 0 else ports[port].minus
                    named.append((end, f"{what} {port + 1}: {matrix[channel, port]:+g} {unit} a unit"))
            if channel in clamped:
                named.append((self.network.nodes[clamped[channel]], "clamp, released unless it nudges"))
            node, does = named[0] if named else ("-", "unused")
            rest = wiring.rest[channel]
            does = f"{does}, at {rest:g} {unit}" if rest and not np.isnan(rest) else does
            span = f"{limits.lowest[channel]:g} to {limits.highest[channel]:g} {unit}"
            rows.append(WiringRow(wiring.source.name, channel, node, does, span))
        return rows

    def source_span(self, levels: Array, nudge: float | None) -> tuple[float, float]:
        """Return the lowest and highest voltage that the sources put on the network, V, rest included.

        levels: a data set, (example, input). nudge: how far a nudged source leaves its rest, V; its limits if None.
        """
        grounded = any(-1 in ends for ends in (self.network.plus, self.network.minus))
        lowest, highest = (0.0, 0.0) if grounded else (np.inf, -np.inf)
        for wiring in self._sources:
            limits = wiring.source.limits
            rest = np.nan_to_num(wiring.rest)
            values = levels @ wiring.from_inputs.T + rest
            nudged = (wiring.from_outputs != 0).any(axis=1)
            reach = np.zeros(len(rest)) if nudge is None else np.where(nudged, nudge, 0.0)
            low, high = values.min(axis=0) - reach, values.max(axis=0) + reach
            if nudge is None:
                low, high = np.where(nudged, limits.lowest, low), np.where(nudged, limits.highest, high)
            volts = np.array([unit == "V" for unit in limits.units])
            clamped = np.isnan(wiring.rest)
            used = volts & ~clamped
            if used.any():
                lowest, highest = min(lowest, float(low[used].min())), max(highest, float(high[used].max()))
        return (lowest, highest) if lowest <= highest else (0.0, 0.0)

    def nudge_headroom(self, drive: Drive) -> float:
        """Return how many times as strong the nudge of a drive could be before a source or a rating refuses it."""
        if drive.nudge is None:
            raise ValueError("a drive without nudge has no headroom to speak of")
        rated = None if self.settings is None else self.settings.model.ratings.nudge
        times = np.inf
        for wiring in self._sources:
            limits, waveform = wiring.source.limits, drive.nudge.waveform
            levels = wiring.from_inputs @ drive.levels + np.nan_to_num(wiring.rest)
            ends = np.outer(wiring.from_outputs @ drive.nudge.amplitudes, [waveform.lowest, waveform.highest])
            room = np.where(ends > 0, (limits.highest - levels)[:, None], (limits.lowest - levels)[:, None])
            if rated is not None:
                volts = np.array([unit == "V" for unit in limits.units])[:, None]
                room = np.where(volts, np.sign(ends) * np.minimum(np.abs(room), rated), room)
            moves = ends != 0
            if moves.any():
                times = min(times, float((room[moves] / ends[moves]).min()))
        return max(times, 0.0)

    def sample_noise(self) -> float:
        """Return the noise of a sample, V rms over the nodes that are read, as a record at rest shows it."""
        volts = self.measure(Drive(np.zeros(len(self.network.inputs)))).volts[self.read_nodes]
        return float(np.sqrt(volts.var(axis=1, ddof=1).mean()))

    def relaxation_times(self) -> Array:
        """Return the network's relaxation times, s, shortest first; empty where the bench can't know them."""
        return np.zeros(0)

    def check_levels(self, levels: Array) -> None:
        """Refuse a data set, (example, input), V or A, with a level beyond what a source may give: LimitError."""
        self._refuse_gaps(levels)
        for first, wiring in self._numbered_sources():
            values = levels @ wiring.from_inputs.T + np.nan_to_num(wiring.rest)
            if self.correction is not None:
                values = self.correction.asked(values, first=first)
            for extreme in (values.min(axis=0), values.max(axis=0)):
                wiring.source.limits.check(wiring.source.name, extreme, np.zeros_like(extreme), None)

    def level_limits(self) -> tuple[Array, Array]:
        """Return the lowest and highest level that each input may get by itself, V or A, (input,) each."""
        lowest, highest = np.full(len(self.network.inputs), -np.inf), np.full(len(self.network.inputs), np.inf)
        for wiring in self._sources:
            for channel, port in zip(*np.nonzero(wiring.from_inputs), strict=True):
                gain, rest = wiring.from_inputs[channel, port], wiring.rest[channel]
                ends = (np.array([wiring.source.limits.lowest, wiring.source.limits.highest])[:, channel] - rest) / gain
                lowest[port] = max(lowest[port], ends.min())
                highest[port] = min(highest[port], ends.max())
        return lowest, highest

    def conductance_limits(self) -> tuple[Array, Array]:
        """Return what each tunable branch can be set to: its own bounds and its instrument's, S, (tunable,) each."""
        lowest, highest = (bound.copy() for bound in self.network.own_bounds)
        for wiring in self._resistors:
            lowest[wiring.branches] = np.maximum(lowest[wiring.branches], wiring.resistor.limits.lowest)
            highest[wiring.branches] = np.minimum(highest[wiring.branches], wiring.resistor.limits.highest)
        if self.correction is not None:
            lowest, highest = (self.correction.true_conductances(bound) for bound in (lowest, highest))
        return lowest, highest

    def program(self, conductances: Array) -> Array:
        """Set all tunable branches (S, (tunable,)); return what was really set, as far as anyone can tell."""
        wished = np.array(conductances, dtype=np.float64)
        nominal = wished.copy()
        if self.correction is not None and self.correction.conductances is not None:
            nominal = self._nearest_nominal(self.correction, wished)
        for wiring in self._resistors:
            nominal[wiring.branches] = wiring.resistor.program(nominal[wiring.branches])
        self._last_nominal = nominal
        self._hold(nominal)
        return self.conductances.copy()

    def read_back(self) -> Array:
        """Return what the parts hold, S, (tunable,)."""
        return self._true_conductances(self._read_nominal())

    def _read_nominal(self) -> Array:
        held = self._nominal.copy()
        for wiring in self._resistors:
            held[wiring.branches] = wiring.resistor.read()
        return held

    def _hold(self, nominal: Array) -> None:
        """Note what the parts have by their own account, S, (tunable,), and what that truly is."""
        self._nominal = nominal
        self.conductances = self._true_conductances(nominal.copy())

    def neighbours(self, conductances: Array) -> tuple[Array, Array]:
        """Return the values that the parts have next below and above, S, (tunable,) each."""
        if self.correction is None:
            return self._nominal_neighbours(conductances)
        below, above = self._nominal_neighbours(self.correction.nominal_conductances(conductances))
        return self._true_conductances(below), self._true_conductances(above)

    def _nominal_neighbours(self, nominal: Array) -> tuple[Array, Array]:
        below, above = nominal.copy(), nominal.copy()
        for wiring in self._resistors:
            pair = wiring.resistor.neighbours(nominal[wiring.branches])
            below[wiring.branches], above[wiring.branches] = pair
        return below, above

    def _nearest_nominal(self, correction: Correction, wished: Array) -> Array:
        """Return what to ask of the parts: of a wish's two neighbours the one that is truly nearer to it."""
        nominal = correction.nominal_conductances(wished)
        below, above = self._nominal_neighbours(nominal)
        low, high = correction.true_conductances(below), correction.true_conductances(above)
        nearer = np.where(wished - low <= high - wished, below, above)
        return np.where(below < above, nearer, nominal)

    def _true_conductances(self, nominal: Array) -> Array:
        return nominal if self.correction is None else self.correction.true_conductances(nominal)

    def rest(self) -> None:
        """Bring every source to its rest, without nudge, if any was driven; what is released there is released.

        For what should not happen under drive, such as programming elements that others' currents flow through. Takes
        no record. Raises InstrumentError.
        """
        if not self._is_driven:
            return
        frequency = self.sampling.frequency
        for first, wiring in self._numbered_sources():
            levels, limits = wiring.rest, wiring.source.limits
            if self.correction is not None:
                # A source that only goes one way can't give what corrects its offset at the end of its range.
                levels = np.clip(self.correction.asked(levels, first=first), limits.lowest, limits.highest)
            rate = frequency * self.sampling.samples_per_period
            wiring.source.load(levels, np.zeros_like(levels), None, frequency, 1, rate)
        with self._put_out():
            pass  # nothing to wait for: the levels stay
        self._is_driven = False

    @contextlib.contextmanager
    def _put_out(self) -> Iterator[None]:
        """Start what was loaded, and end the nudge at the end; the levels stay."""
        with contextlib.ExitStack() as nudges:
            for wiring in self._sources:
                nudges.callback(wiring.source.stop)  # every one of them, also where another's stop fails
            for wiring in self._sources:
                wiring.source.start()
            yield

    def measure(self, drive: Drive, n_periods: int | None = None) -> Record:
        """Drive the network and return the samples of every node, (node, sample), after the settling time.

        Nodes that no channel reads are NaN. n_periods: those of the bench file if None. Raises InstrumentError.
        """
        return self._take(self._on_channels(drive), n_periods)

    def measure_channels(self, drive: ChannelDrive, n_periods: int | None = None) -> Record:
        """Drive the source channels themselves, whatever ports there are, and return the samples as `measure` does.

        Raises ValueError for another number of channels than the bench has, InstrumentError as `measure` does.
        """
        ends = np.cumsum([0, *(len(wiring.rest) for wiring in self._sources)])
        amplitudes = np.zeros(ends[-1]) if drive.amplitudes is None else drive.amplitudes
        if len(drive.levels) != ends[-1] or len(amplitudes) != ends[-1]:
            raise ValueError(
                f"bench {self.name} has {ends[-1]} source channels; {len(drive.levels)} levels and {len(amplitudes)} "
                "amplitudes were given"
            )
        parts = [slice(*pair) for pair in pairwise(ends.tolist())]
        levels = tuple(np.asarray(drive.levels[part], dtype=np.float64) for part in parts)
        nudged = tuple(np.asarray(amplitudes[part], dtype=np.float64) for part in parts)
        for wiring, each in zip(self._sources, nudged, strict=True):
            if drive.waveform is not None:
                self._refuse_strong_nudge(wiring, each * (wiring.from_outputs != 0).any(axis=1), drive.waveform)
        return self._take(OnChannels(levels, nudged, drive.waveform), n_periods)

    def _take(self, drive: OnChannels, n_periods: int | None) -> Record:
        sampling = self.sampling
        periods = n_periods or sampling.periods
        lead = self._settling_periods()
        n_samples = (periods + lead) * sampling.samples_per_period
        self._prepare(drive, periods + lead, n_samples)
        with self._put_out():
            records = [wiring.meter.read() for wiring in self._meters]
        return self._by_node(records, n_samples, lead * sampling.samples_per_period)

    def respond(self, drive: Drive, n_periods: int | None = None) -> Response:
        """Drive the network and return a and b of every node: the lock-in of `measure`. NaN where nothing reads.

        A drive without nudge is averaged: a with its standard error, b zero. Raises OverloadError for a clipped or
        incomplete record, which would fit quietly and wrongly.
        """
        record = self.measure(drive, n_periods)
        _refuse_overload(record, record.volts.shape[1] + self._settling_periods() * self.sampling.samples_per_period)
        if drive.nudge is None:
            read = self.read_nodes
            return _spread([(read, average(record.volts[read]))], len(self.network.nodes))
        return self._without_pickup(self._demodulated(record, drive.nudge.waveform, self.delays))

    def _without_pickup(self, response: Response) -> Response:
        if self.correction is None or self.correction.pickup is None:
            return response
        return replace(response, b=response.b - self.correction.pickup)

    def learn_delays(self, drives: Sequence[Drive]) -> Array:
        """Learn the fixed delay of each node's channel from strongly nudged drives; `respond` takes it as known then.

        Returns the delays, s, (node,), NaN where nothing reads: for each node that of the drive which tells it best.
        A wrong sign here would stay, so a node whose sign no drive tells to 99 % raises LimitError; not so a node of an
        input, which its source holds: b is zero there, at any delay.
        """
        best = np.full(len(self.network.nodes), np.nan)
        smallest, sure = np.full(best.shape, np.inf), np.zeros(best.shape, dtype=np.bool_)
        for drive in drives:
            if drive.nudge is None:
                raise ValueError("a drive without nudge tells nothing of delays")
            if self.synchronised:
                raise ValueError(f"bench {self.name} is synchronised: its delays are known as they are")
            record = self.measure(drive)
            _refuse_overload(record, record.volts.shape[1])
            found = self._demodulated(record, drive.nudge.waveform, None)
            assert found.delay is not None  # noqa: S101 - looked for
            assert found.delay_stderr is not None  # noqa: S101
            better = np.nan_to_num(found.delay_stderr, nan=np.inf) < smallest
            best[better], smallest[better] = found.delay[better], found.delay_stderr[better]
            # Of the delay alone: channels that share one need not each be sure of their own sign.
            sure[better] = ~found.flagged(Flag.SIGN_AMBIGUOUS)[better]
        held = {node for port in self.network.inputs for node in (port.plus, port.minus)}
        unsure = [node for node in self.read_nodes if not sure[node]]
        refused = [self.network.nodes[node] for node in unsure if self.network.nodes[node] not in held]
        if refused:
            raise LimitError(
                f"bench {self.name}: the delay of {shown(refused)} can't be learned: the nudge there is too weak for "
                "its sign. Nudge more strongly (nudge.learn_delays), or take more periods"
            )
        best[unsure] = np.nan_to_num(best[unsure], nan=0.0)
        self.delays = best
        return best.copy()

    def _demodulated(self, record: Record, waveform: Waveform, delays: Array | None) -> Response:
        """Read a and b of every node: all meters at once where the phase is known, each by itself where it is not."""
        rate = record.sample_rate
        frequency = rate / self.sampling.samples_per_period
        section = None if self.settings is None else self.settings.model.lockin
        options = {} if section is None else section.model_dump()
        if self.synchronised or delays is not None:
            groups = [(self.read_nodes, False)]
        else:
            groups = [(wiring.nodes, wiring.meter.shares_delay) for wiring in self._meters]
        found = []
        for nodes, shared in groups:
            response = demodulate(
                record.volts[nodes],
                rate,
                waveform,
                frequency,
                synchronised=self.synchronised,
                delays=None if delays is None or self.synchronised else delays[nodes],
                skews=record.skews[nodes],
                shared_delay=shared,
                **options,
            )
            found.append((nodes, response))
        return _spread(found, len(self.network.nodes))

    def read_many(self, levels: Array) -> Array:
        """Return the outputs (example, output), V, of un-nudged drives (example, input)."""
        return np.stack([self.network.read_outputs(self.respond(Drive(row)).a) for row in levels])

    def can_run(self, plan: BlockPlan) -> bool:  # noqa: ARG002 - the answer of a bench without a fast path
        """Say whether `run_block` takes this plan."""
        return False

    def run_block(self, plan: BlockPlan) -> BlockResult:
        """Run many steps in one call; only where can_run says so."""
        raise TypeError(f"bench {self.name} has no fast path for this plan ({plan.cost}); ask can_run first")

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of the bench itself: nothing, where it is real."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state that `state` returned."""

    def make_safe(self) -> None:
        """Bring every instrument to safety, the sources first; then raise what went wrong, all of it.

        `conductances` are NaN, unknown, from then on where that may have moved the elements.
        """
        faults: list[Exception] = []
        for instrument in self.instruments:
            try:
                instrument.make_safe()
            except Exception as error:  # noqa: BLE001 - the others must be made safe whatever this one does
                faults.append(error)
        held = self._nominal.copy()
        for wiring in self._resistors:
            if not wiring.resistor.stays:
                held[wiring.branches] = np.nan
        self._hold(held)
        if faults:
            raise ExceptionGroup(f"bench {self.name}: not every instrument could be made safe", faults)
        self._is_driven = False

    def leave(self, *, as_found: bool = False) -> None:
        """Make the sources safe and close everything, but leave the tunable elements as they are programmed.

        as_found: bring them to what they held before the bench was opened, where opening it moved them.
        """
        with contextlib.ExitStack() as stack:
            for resistors in self._resistors:
                stack.callback(resistors.resistor.leave)
            for meters in self._meters:
                stack.callback(meters.meter.close)
            for resistors in self._resistors if as_found else ():
                stack.callback(resistors.resistor.put_back)
            for sources in self._sources:
                stack.callback(sources.source.close)

    def close(self) -> None:
        """Make safe and close every instrument."""
        with contextlib.ExitStack() as stack:
            for instrument in reversed(self.instruments):
                stack.callback(instrument.close)
            self.make_safe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _settling_periods(self) -> int:
        """Return how many periods are dropped: whole ones, so that the record starts at phase 0."""
        settling = round(self.sampling.settle * self.sampling.frequency * self.sampling.samples_per_period)
        return -(-settling // self.sampling.samples_per_period)

    def _refuse_gaps(self, levels: Array) -> None:
        """Raise LimitError for NaN, which a source would take for a wish to release the channel, and infinity."""
        if not np.isfinite(levels).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(levels))[0])
            raise LimitError(
                f'bench {self.name}, input "{self.network.inputs[place[-1]].name}": a level of {levels[place]} asked. '
                "Nothing was sent. Look for gaps in the data set, or for a feature that never varies"
            )

    def _prepare(self, drive: OnChannels, n_periods: int, n_samples: int) -> None:
        """Load the sources and arm the meters, at rates that all of them really have.

        A meter with a clock of its own says first what it can do; the nudge's frequency then follows, so that a record
        holds whole periods. A meter on a source's clock is armed once that is set.
        """
        sample_rate = self.sampling.frequency * self.sampling.samples_per_period
        shared = {wiring.source.clock for wiring in self._sources}
        own = [wiring.meter for wiring in self._meters if wiring.meter.clock not in shared]
        timings = [meter.arm(n_samples, sample_rate) for meter in own]
        sample_rate = timings[0].sample_rate if timings else sample_rate
        loaded = self._load(drive, n_periods, sample_rate)
        for wiring in self._meters:
            if wiring.meter.clock in shared:
                sample_rate = loaded.get(wiring.meter.clock, sample_rate)
                timings.append(wiring.meter.arm(n_samples, sample_rate))
        if len({timing.sample_rate for timing in timings}) > 1:
            rates = ", ".join(f"{timing.sample_rate:g} Hz" for timing in timings)
            raise LimitError(f"bench {self.name}: its meters sample at {rates}; choose a rate that all of them have")
        for timing in timings:
            if timing.n_samples != n_samples:
                raise LimitError(
                    f"bench {self.name}: a meter takes {timing.n_samples} samples where {n_samples} are asked; change "
                    "sampling.periods or sampling.samples_per_period"
                )

    def _on_channels(self, drive: Drive) -> OnChannels:
        """Turn levels and nudge of the ports into those of the channels. Raises LimitError for what can't be done."""
        nudge = drive.nudge
        if nudge is not None and nudge.kind not in self.nudges:
            able = ", ".join(sorted(kind.value for kind in self.nudges))
            raise LimitError(f"bench {self.name} can't nudge by {nudge.kind.value}; it can by {able}")
        self._refuse_gaps(drive.levels)
        all_levels, all_amplitudes = [], []
        for wiring in self._sources:
            levels = wiring.from_inputs @ drive.levels + wiring.rest
            amplitudes = np.zeros_like(levels)
            if nudge is not None and nudge.kind is NudgeKind.CLAMPED:
                _clamp(wiring, nudge, levels, amplitudes)
            elif nudge is not None and nudge.kind is not NudgeKind.FEEDBACK:
                amplitudes = wiring.from_outputs @ nudge.amplitudes
                self._refuse_strong_nudge(wiring, amplitudes, nudge.waveform)
            all_levels.append(levels)
            all_amplitudes.append(amplitudes)
        return OnChannels(tuple(all_levels), tuple(all_amplitudes), None if nudge is None else nudge.waveform)

    def _load(self, drive: OnChannels, n_periods: int, sample_rate: float) -> dict[str, float]:
        """Load every source; return the sample rate that each clock really has, Hz."""
        frequency, rates = sample_rate / self.sampling.samples_per_period, {}
        self._is_driven = True
        wirings = zip(self._numbered_sources(), drive.levels, drive.amplitudes, strict=True)
        for (first, wiring), wanted, nudged in wirings:
            levels, amplitudes = wanted, nudged
            if self.correction is not None:
                levels = self.correction.asked(wanted, first=first)
                amplitudes = self.correction.scaled(nudged, first=first)
            timing = wiring.source.load(levels, amplitudes, drive.waveform, frequency, n_periods, sample_rate)
            rates[wiring.source.clock] = timing.sample_rate
        return rates

    def _numbered_sources(self) -> list[tuple[int, SourceWiring]]:
        """Return every source's wiring with the number of its first channel among all."""
        firsts = np.cumsum([0, *(len(wiring.rest) for wiring in self._sources)])
        return list(zip(firsts.tolist(), self._sources, strict=False))

    def _refuse_strong_nudge(self, wiring: SourceWiring, amplitudes: Array, waveform: Waveform) -> None:
        """Refuse a nudge that the ratings of the bench file don't allow, before anything is sent."""
        rated = None if self.settings is None else self.settings.model.ratings.nudge
        if rated is None:
            return
        volts = np.array([unit == "V" for unit in wiring.source.limits.units])
        reached = np.abs(amplitudes) * max(abs(waveform.lowest), abs(waveform.highest)) * volts
        if (reached > rated).any():
            channel = int(reached.argmax())
            raise LimitError(
                f'source "{wiring.source.name}", channel {channel}: a nudge of {reached[channel]:.4g} V asked, '
                f"ratings.nudge is {rated:.4g} V. Nothing was sent. Lower nudge.gamma, or raise the rating if the "
                "parts bear it"
            )

    def _by_node(self, records: Sequence[Record], n_samples: int, dropped: int) -> Record:
        n_nodes = len(self.network.nodes)
        volts = np.full((n_nodes, n_samples - dropped), np.nan)
        skews, clipped, missing = (np.zeros(n_nodes) for _ in range(3))
        names = list(self.network.nodes)
        for wiring, record in zip(self._meters, records, strict=True):
            volts[wiring.nodes] = record.volts[:, dropped:]
            skews[wiring.nodes], clipped[wiring.nodes] = record.skews, record.clipped
            missing[wiring.nodes] = record.missing
            for channel, node in enumerate(wiring.nodes):
                names[node] = f'meter "{wiring.meter.name}", channel {channel} (node {self.network.nodes[node]})'
        if self.correction is not None:
            volts = self.correction.volts(volts)
            skews = skews if self.correction.skews is None else skews + self.correction.skews
        return Record(volts, records[0].sample_rate, skews, clipped, missing, tuple(names))


def _are_tied(clocks: set[str], triggers: Sequence[tuple[str, str]]) -> bool:
    """Say whether all clocks are one, or are started together by wires between them."""
    reached = set(list(clocks)[:1])
    for _ in triggers:
        for one, other in triggers:
            if one in reached or other in reached:
                reached |= {one, other}
    return clocks <= reached


def _clamp(wiring: SourceWiring, nudge: Nudge, levels: Array, amplitudes: Array) -> None:
    if wiring.clamp is not None and nudge.held is not None:
        channels, nodes, per_volt = wiring.clamp
        levels[channels] = nudge.held[nodes]
        amplitudes[channels] = per_volt @ nudge.amplitudes


def _refuse_overload(record: Record, n_samples: int) -> None:
    """Raise OverloadError for flags among the n_samples that were taken, those of the settling time included."""
    for flags, what, remedy in (
        (record.clipped, "at the end of the range", "Lower the drive or widen the range"),
        (record.missing, "missing", "Lower the sample rate or the number of channels"),
    ):
        if flags.any():
            worst = int(flags.argmax())
            raise OverloadError(
                f"{record.channels[worst]}: {int(flags[worst])} of {n_samples} samples {what}. {remedy}"
            )


def _spread(found: Sequence[tuple[Indices, Response]], n_nodes: int) -> Response:
    """Put the responses of the read nodes into one of all nodes; where nothing reads, numbers are NaN and flags 0."""
    nodes, response = found[0]
    if len(found) == 1 and len(nodes) == n_nodes and (nodes == np.arange(n_nodes)).all():
        return response
    fields: dict[str, Any] = {}
    for name, first in vars(response).items():
        fields[name] = None
        if first is not None and first.ndim and name != "frequency":
            empty = np.uint8(0) if first.dtype == np.uint8 else np.nan
            fields[name] = np.full((n_nodes, *first.shape[1:]), empty, dtype=first.dtype)
            for where, each in found:
                fields[name][where] = getattr(each, name)
    return Response(**fields)
