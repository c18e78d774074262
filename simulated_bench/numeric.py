"""The numeric bench: simulated instruments around a simulated breadboard, in process; nothing to start.

It answers `respond` in closed form where nobody needs samples, and `run_block` for a whole epoch of a linear network.
Where nodes have capacitance every drive goes through samples, except for `NudgeKind.TANGENT`: that is the gradient of
the static network, which all others are compared with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from freqprop_lab.bench import (
    Bench,
    BenchKind,
    Lead,
    MeterWiring,
    OnChannels,
    ResistorWiring,
    SourceWiring,
    described_network,
)
from freqprop_lab.config import (
    BarabasiAlbertSection,
    BenchRequest,
    BenchSettings,
    FileError,
    build_network,
    parse_network,
)
from freqprop_lab.network import Network, NetworkError
from freqprop_lab.streams import random_streams
from freqprop_lab.tasks import COSTS, Objective, make_cost
from freqprop_lab.values import Array, BlockPlan, BlockResult, Drive, Nudge, NudgeKind, Record, Response
from freqprop_lab.waveform import Waveform
from simulated_bench.blocks import (
    MOST_LINEAR,
    Block,
    BlockState,
    Projection,
    has_kernel_for,
    has_kernels,
    projection,
)
from simulated_bench.breadboard import Breadboard, Excitation, with_tolerance, with_true_resistances
from simulated_bench.card import SimulatedMeter, SimulatedSource
from simulated_bench.checks import certified, check_converter, check_names, refuse_what_needs_more
from simulated_bench.circuit import Circuit, CircuitError
from simulated_bench.faults import exchanged, of_tunable, with_drives_exchanged, with_faults
from simulated_bench.newton import NewtonCircuit
from simulated_bench.newton_blocks import run_steps
from simulated_bench.resistors import SimulatedResistors
from simulated_bench.settings import NumericBenchFile, PartsSection
from simulated_bench.sparse import Feed, run_block
from simulated_bench.truth import Truth
from simulated_bench.wiring import wire

# Sparse blocks begin by solving for each drive alone: what they come to hangs on where they are cut, so never on time.
_NODE_STEPS_IN_A_BLOCK = 100_000  # some 0.1 s
_FEWEST_IN_A_BLOCK = 16  # fewer do not repay those solves


class NumericBench(Bench):
    """A bench in arithmetic. `breadboard` holds its hidden truth; noise is drawn from the run's own generator."""

    nudges = frozenset(NudgeKind)
    repeatable = True

    def __init__(self, model: NumericBenchFile, network: Network, noise: np.random.Generator) -> None:
        built = model.as_built()
        hardware = np.random.default_rng(model.hardware_seed).spawn(
            6
        )  # a new one goes at the end: the others keep theirs
        refuse_what_needs_more(network)
        wires = wire(network, built)
        self._faults = built.faults
        self._faultless = with_tolerance(network, built.parts.tolerance, hardware[0])
        capacitance = _true_capacitance(network, built.parts, hardware[4])
        self._source_nodes = [network.nodes[wired.plus] for wired in wires.connections]
        connections = with_true_resistances(wires.connections, built.parts.source_resistance_tolerance, hardware[5])
        connections = with_drives_exchanged(connections, network.nodes, self._faults.swapped_drives)
        true = with_faults(self._faultless, self._faults.by(0))
        self.breadboard = Breadboard(true, connections, wires.gauge, capacitance, built.solver)
        sure = certified(self._source_nodes, built.source)
        self._source = SimulatedSource("source", self.breadboard, built.source, wires.clamp[0], hardware[1], sure)
        nodes = np.arange(len(network.nodes))
        read = exchanged(network.nodes, self._faults.swapped_reads)
        period, sure = 1 / model.sampling.frequency, certified(network.nodes, built.meter)
        self._meter = SimulatedMeter("meter", self.breadboard, read, built.meter, period, noise, hardware[2], sure)
        self._meter.exact = self._meter.exact and not self._faults.swapped_reads
        names = network.tunable_names
        self._elements = SimulatedResistors("resistors", self.breadboard, names, built.resistors, hardware[3], noise)
        self._happened = -1
        if self.breadboard.capacitance is not None:
            self.nudges = self.nudges - {NudgeKind.FEEDBACK}  # instant by definition, which no such network is
        self._wiring = SourceWiring(
            self._source,
            wires.from_inputs,
            wires.from_outputs,
            wires.rest,
            wires.clamp,
            tuple(
                Lead(f"source/{number}", wired.plus, wired.minus, wired.kind, wired.resistance)
                for number, wired in enumerate(wires.connections)
            ),
        )
        super().__init__(
            model.name,
            network,
            model.scales.scales(),
            model.sampling,
            [self._wiring],
            [MeterWiring(self._meter, nodes)],
            [ResistorWiring(self._elements, np.arange(len(names)))],
            ports=model.ports,
        )
        if self.breadboard.is_sparse:
            self.block_steps = max(_FEWEST_IN_A_BLOCK, _NODE_STEPS_IN_A_BLOCK // len(network.nodes))
        self._block: tuple[Circuit, Block] | None = None
        self._starts: Array | None = None
        self._read_as: tuple[Waveform, Projection] | None = None
        self._let_happen()
        self._source.make_safe()

    def measure(self, drive: Drive, n_periods: int | None = None) -> Record:
        """Drive and sample as every bench does; a nudge that follows the state is wired in for the while."""
        self.breadboard.feedback = drive.nudge.feedback if drive.nudge is not None else None
        try:
            return super().measure(drive, n_periods)
        finally:
            self.breadboard.feedback = None

    def _take(self, drive: OnChannels, n_periods: int | None) -> Record:
        self._let_happen()
        self._elements.pass_time()
        try:
            return super()._take(drive, n_periods)
        except CircuitError as error:
            raise NetworkError(f"bench {self.name}: {error}") from None

    def program(self, conductances: Array) -> Array:
        """Set all tunable branches, S, (tunable,), as every bench does; what is due by now has happened before."""
        self._let_happen()
        return super().program(conductances)

    def respond(self, drive: Drive, n_periods: int | None = None) -> Response:
        """Return a and b of every node: in closed form where the network is linear and the meter without fault."""
        tangent = drive.nudge is not None and drive.nudge.kind is NudgeKind.TANGENT
        if not tangent and not self._has_closed_form(drive):
            return super().respond(drive, n_periods)
        self._let_happen()
        self._elements.pass_time()
        self._load(self._on_channels(drive), 1, self.sampling.frequency * self.sampling.samples_per_period)
        self._source.start()
        try:
            a, b = self.breadboard.tangent() if tangent else self.breadboard.static_and_nudge()
        except CircuitError as error:
            raise NetworkError(f"bench {self.name}: {error}") from None
        finally:
            self._source.stop()
        if not tangent and self._may_overload(np.abs(a) + np.abs(b)):
            return super().respond(drive, n_periods)
        return Response(a, b, np.zeros((len(a), 2, 2)))

    def read_many(self, levels: Array) -> Array:
        """Return the outputs of many un-nudged drives; with one factor where the closed form holds."""
        if not (self._source.exact and self._has_closed_form(Drive(levels[0]))):
            return super().read_many(levels)
        values = levels @ self._wiring.from_inputs.T + self._wiring.rest
        circuit, live = self.breadboard.linear_circuit(values[0])
        volts = circuit.operating_point(values[:, live])
        return super().read_many(levels) if self._may_overload(np.abs(volts)) else self.network.read_outputs(volts)

    def can_run(self, plan: BlockPlan) -> bool:
        """Take freq-prop steps by current where the sources and the meter are exact and nothing drifts or waits.

        Parts may have taps, tolerance and stuck elements, and fixed ones faults. With diodes: where numba is there, the
        lock-in has no further columns, and no record is repeated for its doubt. Large networks: elements without fault,
        and the squared cost where they are linear.
        """
        if plan.nudge is not NudgeKind.CURRENT or plan.cost not in COSTS or not self._source.exact:
            return False
        if not self._elements.is_plain or self.breadboard.network.is_linear != self.network.is_linear:
            return False
        if self.breadboard.is_sparse and not (
            plan.cost == "squared" and plan.accumulate and not plan.stochastic and self._elements.exact
        ):
            return False
        if self.network.is_linear:
            return self._has_closed_form(Drive(plan.levels[0]))
        lockin = None if self.settings is None else self.settings.model.lockin
        if self.breadboard.is_newton:
            known = plan.accumulate and not plan.stochastic and self._elements.exact
        else:
            known = has_kernels() and has_kernel_for(self.breadboard.network)
        return (
            known
            and self._is_exact()
            and not (self._meter.skewed or plan.significance)
            and (lockin is None or lockin == type(lockin)())
            and self.breadboard.capacitance is None
        )

    def run_block(self, plan: BlockPlan) -> BlockResult:
        """Run the steps of a block, compiled where that is faster: eq. 3.4 and 3.5.

        Linear: one factorisation and two solves each. With diodes: an equilibrium at rest and one for each distinct
        value of the waveform. A step near a limit is done through the instruments, which refuse it or not.
        """
        if self.breadboard.is_sparse:
            return self._run_sparse(plan)
        if plan.accumulate and not plan.stochastic:
            self.program(plan.wished)
        held, true = self._elements.state()
        if held is None or true is None:
            self.program(self.conductances)
            held, true = self._elements.state()
        assert held is not None and true is not None  # noqa: S101, PT018 - just programmed
        state = BlockState(plan.wished.copy(), held.copy(), true.copy(), self._starts_of(plan))
        outputs, response = np.empty((len(plan.order), plan.targets.shape[1])), np.zeros((2, len(self.network.nodes)))
        try:
            self._run_all(plan, state, outputs, response)
        except CircuitError as error:
            self._refuse_gaps_in(state.held)
            raise NetworkError(f"bench {self.name}: {error}") from None
        realised = self.program(state.held)
        self._starts = state.starts
        a, b = response
        return BlockResult(state.wished, realised, outputs, Response(a, b, np.zeros((len(a), 2, 2))))

    def _run_all(self, plan: BlockPlan, state: BlockState, outputs: Array, response: Array) -> None:
        all_levels = plan.levels @ self._wiring.from_inputs.T + self._wiring.rest
        linear = self.network.is_linear
        if self.breadboard.is_newton:
            self._run_newton(plan, state, outputs, response)
            return
        circuit, live = self.breadboard.circuit(all_levels[0])
        if linear and (not has_kernels() or circuit.n_free > MOST_LINEAR):
            for step in range(len(plan.order)):
                self._step_in_numpy(plan, all_levels, state, step, outputs, response)
            return
        if self._block is None or self._block[0] is not circuit:
            connections = [wired for wired, on in zip(self.breadboard.connections, live, strict=True) if on]
            per_ampere = self._wiring.from_outputs[live]
            self._block = (circuit, Block(self.breadboard.network, connections, circuit, per_ampere))
        limits = (self._source.limits.highest[live], float(self._meter.limits.highest.min()))
        levels, parts = np.ascontiguousarray(all_levels[:, live]), self._elements.parts()
        record = None if linear else self._projection(plan.waveform)
        first = 0
        while True:
            handed = self._block[1].run(plan, levels, limits, parts, state, outputs, response, first, record)
            if handed is None:
                return
            if linear:
                self._step_in_numpy(plan, all_levels, state, handed.step, outputs, response)
            else:
                self._refuse_step(plan, state, handed.step)
            first = handed.step + 1

    def _run_newton(self, plan: BlockPlan, state: BlockState, outputs: Array, response: Array) -> None:
        """Run the steps of a large nonlinear network; see newton_blocks.run_steps."""
        wiring = self._wiring
        circuit, live = self.breadboard.nonlinear_circuit(wiring.rest)
        if not isinstance(circuit, NewtonCircuit):
            raise TypeError("a network that is not solved sparsely has other blocks")
        feed = Feed(wiring.from_inputs[live], wiring.rest[live], wiring.from_outputs[live])
        limit, reach = self._source.limits.highest[live], float(self._meter.limits.highest.min())

        def is_near_limit(levels: Array, nudge: Array, largest: float) -> bool:
            return largest >= reach or bool((np.abs(levels) + np.abs(nudge) > limit).any())

        def nudge_of(outputs: Array, example: int) -> Array:
            return self._nudge_of(plan, outputs, example)

        record, first = self._projection(plan.waveform), 0
        while True:
            handed = run_steps(circuit, plan, feed, record, state, outputs, response, nudge_of, is_near_limit, first)
            if handed is None:
                return
            self._refuse_step(plan, state, handed.step)
            first = handed.step + 1

    def _starts_of(self, plan: BlockPlan) -> Array | None:
        """Return where Newton starts, unless these are other examples than before."""
        if self._starts is None or len(self._starts) not in {1, len(plan.levels) + 1}:
            return None
        return self._starts.copy()

    def _projection(self, waveform: Waveform) -> Projection:
        if self._read_as is None or self._read_as[0] is not waveform:
            sampling = self.sampling
            self._read_as = (waveform, projection(waveform, sampling.samples_per_period, sampling.periods))
        return self._read_as[1]

    def _step_in_numpy(
        self, plan: BlockPlan, all_levels: Array, state: BlockState, step: int, outputs: Array, response: Array
    ) -> None:
        """Do one step of a linear network: what the kernel does, with NumPy and LAPACK."""
        example = plan.order[step]
        circuit, live = self.breadboard.circuit(all_levels[0])
        circuit.program(state.true)
        a = circuit.operating_point(all_levels[example, live])
        outputs[step] = self.network.read_outputs(a)
        nudge = self._nudge_of(plan, outputs[step], example)
        full = self._wiring.from_outputs @ nudge
        largest = np.abs(all_levels[example]) + np.abs(full)
        if (largest[live] > self._source.limits.highest[live]).any():
            self._source.limits.check(self._source.name, all_levels[example], full, plan.waveform)
        b = circuit.operating_point(full[live])
        if self._may_overload(np.abs(a) + np.abs(b)):
            self.breadboard.conductances = state.true
            super().respond(Drive(plan.levels[example], Nudge(nudge, plan.waveform)))
        response[0], response[1] = a, b
        delta = -plan.alpha * self.network.across_tunable(a) * self.network.across_tunable(b)
        base = state.wished if plan.accumulate else state.held
        state.wished[:] = np.minimum(np.maximum(base + delta, plan.lowest), plan.highest)
        asked = state.wished
        if plan.draws is not None:
            below, above = self.neighbours(state.wished)
            width = np.where(above > below, above - below, 1.0)
            asked = np.where(plan.draws[step] < (state.wished - below) / width, above, below)
        if self._elements.exact:
            state.held[:] = state.true[:] = asked
            return
        state.held[:] = self._elements.program(asked)
        true = self._elements.state()[1]
        state.true[:] = state.held if true is None else true

    def _refuse_step(self, plan: BlockPlan, state: BlockState, step: int) -> None:
        """Let the instruments say why a step of a network with diodes can't be done."""
        example = plan.order[step]
        self.breadboard.conductances = state.true
        free = super().respond(Drive(plan.levels[example]))
        nudge = self._nudge_of(plan, self.network.read_outputs(free.a), example)
        super().respond(Drive(plan.levels[example], Nudge(nudge, plan.waveform)))
        raise CircuitError(f"step {step + 1} of the block lies so near a limit that it is not done")

    def _nudge_of(self, plan: BlockPlan, outputs: Array, example: int) -> Array:
        objective = Objective(make_cost(plan.cost, plan.temperature), plan.targets[example] / plan.volts, plan.volts)
        return -plan.gamma * objective.gradient(outputs)

    def _refuse_gaps_in(self, conductances: Array) -> None:
        if not np.isfinite(conductances).all():
            self.program(conductances)  # which says so

    def _run_sparse(self, plan: BlockPlan) -> BlockResult:
        """Run the steps of a block of a large network; see sparse.run_block."""
        wiring, limits = self._wiring, self._source.limits
        circuit, live = self.breadboard.sparse_circuit(wiring.rest)
        feed = Feed(wiring.from_inputs[live], wiring.rest[live], wiring.from_outputs[live])

        def check(example: int, nudge: Array, a: Array, b: Array, wished: Array) -> None:
            levels = wiring.from_inputs @ plan.levels[example] + wiring.rest
            limits.check(self._source.name, levels, wiring.from_outputs @ nudge, plan.waveform)
            if self._may_overload(np.abs(a) + np.abs(b)):
                self.breadboard.conductances = wished.copy()
                Bench.respond(self, Drive(plan.levels[example], Nudge(nudge, plan.waveform)))

        end = run_block(circuit, plan, feed, check)
        return BlockResult(end.wished, self.program(end.wished), end.outputs, end.response)

    def sample_noise(self) -> float:
        """Return the noise of a sample, V rms: what the file says of the meter, and a converter's step / sqrt(12)."""
        return self._meter.sample_noise

    def relaxation_times(self) -> Array:
        """Return the true relaxation times of the network's modes at its present conductances, s, the shortest first.

        (mode,); empty without capacitance. With diodes: linearised at the operating point of the present levels.
        Nobody at a real bench knows them; tests and benchmarks do.
        """
        return self.breadboard.relaxation_times()

    def state(self) -> dict[str, Any]:
        """Return the noise generator, the clock of the drift, what the resistors hold, and where Newton starts.

        Where nodes have capacitance, also what is on the connections: the next record begins by leaving it. After a
        block with diodes, also where Newton starts for each example.
        """
        held, true = self._elements.state()
        more = {} if self.breadboard.capacitance is None else {"on": self.breadboard.excitation.static}
        if self._starts is not None:
            more["starts"] = self._starts
        return more | {
            "noise": self._meter.noise.bit_generator.state,
            "records": self.breadboard.records,
            "held": held,
            "true": true,
            "start": self.breadboard.start,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up such a state: what follows is the same to the last bit."""
        self._meter.noise.bit_generator.state = state["noise"]
        self.breadboard.records = state["records"]
        self._let_happen()
        self.breadboard.start, self._starts = state["start"], state.get("starts")
        if "on" in state:
            self.breadboard.drive(Excitation(state["on"], np.zeros_like(state["on"])))
        self._elements.restore(state["held"], state["true"])
        if state["held"] is not None:
            self._hold(self._read_nominal())

    def truth(self) -> Truth:
        """Return what is true of the bench by now, in plain values. For tests only."""
        self._let_happen()
        board = self.breadboard
        n_nodes = len(self.network.nodes)
        fixed = {
            branch.name: own.theta[0]
            for branch, own in zip(self.network.branches, board.network.branches, strict=True)
            if branch.element.linear and not branch.tunable
        }
        stuck = self._elements.stuck
        return Truth(
            tuple(self._source_nodes),
            self._source.gain.copy(),
            self._source.offset.copy(),
            np.array([wired.resistance for wired in board.connections]),
            self.network.nodes,
            self._meter.gain.copy(),
            self._meter.offset.copy(),
            self._meter.delays.copy(),
            self._meter.skews.copy(),
            self._meter.pickup.copy(),
            self._elements.conductances_of,
            self._elements.now(),
            fixed,
            np.zeros(n_nodes) if board.capacitance is None else board.capacitance.copy(),
            tuple(name for name, is_stuck in zip(self.network.tunable_names, stuck, strict=True) if is_stuck),
            self._faults.by(board.records),
        )

    def _let_happen(self) -> None:
        """Let everything be as it is after so many records: leads that were pulled, branches that broke or stuck."""
        records = self.breadboard.records
        due = sum(records >= event.after for event in self._faults.events)
        if due == self._happened:
            return
        first, self._happened = self._happened < 0, due
        now = self._faults.by(records)
        if not first:
            self.breadboard.rewire(with_faults(self._faultless, now))
        if not first or now != type(now)():
            happens, stuck = bool(self._faults.events), self._faults.stuck_by(records)
            self._elements.suffer(of_tunable(self._faultless, now), stuck, happens=happens)
            self._meter.unread = np.array([node in now.unread for node in self.network.nodes])
            self._meter.exact = self._meter.exact and not self._meter.unread.any()

    def _may_overload(self, largest: Array) -> bool:
        """Say whether voltages of this size, V, may reach the end of the meter's range: samples must tell then."""
        return bool((largest >= self._meter.limits.highest).any())

    def _has_closed_form(self, drive: Drive) -> bool:
        followed = drive.nudge is not None and drive.nudge.kind is NudgeKind.FEEDBACK
        return self._is_exact() and self.network.is_linear and not followed and self.breadboard.capacitance is None

    def _is_exact(self) -> bool:
        return (
            self.correction is None
            and self.synchronised
            and self._source.affine
            and self._meter.exact
            and self._meter.punctual
            and not (self._elements.drifts or self._source.drifts)
        )


class NumericKind(BenchKind):
    """The entry point `numeric`."""

    model = NumericBenchFile
    in_arithmetic = True

    def open(self, settings: BenchSettings, request: BenchRequest) -> NumericBench:
        """Build the network, by the experiment's wishes where it has any, and the bench around it."""
        model, where = settings.model, settings.document
        if not isinstance(model, NumericBenchFile):
            raise FileError(where.path, "is not the file of a numeric bench", 1)
        if request.unsynchronised:
            model = model.model_copy(update={"meter": model.meter.model_copy(update={"synchronised": False})})
        drawn = model.network.kind not in ("csv", "spice")
        network = _drawn_network(settings, model, request) if drawn else described_network(settings, model, request)
        check_converter(model.as_built(), where)
        try:
            check_names(model, network, where)
            return NumericBench(model, network, random_streams(request.seed)["noise"])
        except (NetworkError, CircuitError) as error:
            raise FileError(where.path, f'section "network": {error}', where.line(("network",))) from None

    def describe(self, settings: BenchSettings) -> dict[str, str]:
        """Say what departs from the ideal."""
        model = settings.model
        built = model.as_built() if isinstance(model, NumericBenchFile) else model
        departures = built.model_dump(
            include={"source", "meter", "resistors", "parts", "faults"}, exclude_defaults=True
        )
        listed = [f"{part}.{name} = {value}" for part, fields in departures.items() for name, value in fields.items()]
        return {"backend": "numeric: arithmetic in this process", "departs from the ideal": "; ".join(listed) or "no"}


NUMERIC_BENCH = NumericKind()


def _drawn_network(settings: BenchSettings, model: NumericBenchFile, request: BenchRequest) -> Network:
    """Build the network that the bench file draws, or the one that the experiment wishes for instead."""
    where, streams = settings.document, random_streams(request.seed)
    section = model.network if request.network is None else parse_network(request.network)
    if request.nodes is not None or request.edges is not None:
        if not isinstance(section, BarabasiAlbertSection):
            message = f"--nodes and --edges act on a network of the kind barabasi-albert; this one is {section.kind}"
            raise FileError(where.path, message, where.line(("network", "kind")))
        changes = {"nodes": request.nodes or section.nodes, "edges": request.edges or section.edges}
        section = section.model_copy(update=changes)
    siemens = model.scales.conductance
    try:
        return build_network(section, settings.folder, siemens, request.ports, streams["graph"], streams["ports"])
    except NetworkError as error:
        raise FileError(where.path, f'section "network": {error}', where.line(("network",))) from None


def _true_capacitance(network: Network, parts: PartsSection, rng: np.random.Generator) -> Array:
    """Return each node's capacitance to ground as it truly is, F, (node,)."""
    listed = np.array([parts.capacitances.get(name, parts.capacitance) for name in network.nodes])
    spread = np.maximum(1 + parts.capacitance_spread * rng.standard_normal(len(listed)), 0.05)
    return listed * spread if parts.capacitance_spread else listed


__all__ = ["NUMERIC_BENCH", "NumericBench", "NumericKind"]
