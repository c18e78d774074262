"""The cards behind the virtual NI-DAQmx server: tasks with clocks and triggers, in the world's virtual time.

A model of what the driver's manual says a task may do and when it refuses, written without the driver at hand: good
for finding calls in the wrong order, no evidence of how a real card behaves. This module knows no wire.

Sample k of an output is on from start + k / rate, the last one stays. Sample k of input channel c is taken at start +
delay + k / rate + c / (convert rate), the last term for a multiplexed converter only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from freqprop_lab.values import Array
from simulated_bench.converter import quantised
from simulated_bench.servers._virtual import FaultKind, Faults, Wires
from simulated_bench.world import Constant, Held, World

TIMEBASE = 100e6  # Hz: every sample rate is this over a whole number
OUTPUT_RATE = 1e6  # Hz, of every channel
INPUT_RATE = 1e6  # Hz: of every channel, or of all together where the converter is multiplexed
SETTLING = 10e-6  # s that are left between two conversions where there is time
FEWEST_SAMPLES = 2
SERIAL = 0x1F2E3D4C
_CLOCK = re.compile(r"/(ao|ai)/SampleClock$")

State = Literal["unreserved", "committed", "running"]


class TaskError(Exception):
    """A status code and its message. volts: V, (channel, sample): what a read returned nevertheless."""

    def __init__(self, code: int, message: str, volts: Array | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.volts = code, message, volts


@dataclass
class Task:
    """One task. channels: physical ones, `Dev1/ao0`. data: V, (channel, sample), to be put out or acquired."""

    name: str
    kind: Literal["", "ao", "ai"] = ""
    channels: list[str] = field(default_factory=list)
    lowest: float = 0.0
    highest: float = 0.0
    clocked: bool = False
    rate: float = 0.0
    n_samples: int = 0
    clock: str = ""
    trigger: str = ""
    delay: float = 0.0
    state: State = "unreserved"
    data: Array | None = None
    started: float = 0.0
    n_taken: int = 0  # samples that were read already
    give_up: Callable[[], None] | None = None


@dataclass(frozen=True)
class CardSettings:
    """What the cards of a rack are: names, channels of each, range (V), bits (None: exact), converter, noise (V)."""

    devices: tuple[str, ...]
    n_ao: int
    n_ai: int
    range: float
    ao_bits: int | None
    ai_bits: int | None
    multiplexed: bool
    noise: float

    @property
    def ranges(self) -> tuple[float, ...]:
        """The input ranges that can be chosen, +- V, the widest first."""
        return self.range, self.range / 2, self.range / 10


class Rack:
    """The tasks and channels of some cards. Not safe for threads: the server calls it one call at a time."""

    def __init__(self, name: str, world: World, wires: Wires, cards: CardSettings, faults: Faults) -> None:
        self.name, self.cards, self.tasks = name, cards, dict[str, Task]()
        self._world, self._wires, self._faults = world, wires, faults
        self._kept: dict[str, Array] = {}  # the last record of each input, which a stuck one repeats
        self._n_created = 0

    def create(self, name: str = "") -> Task:
        """Make a task; without a name it gets one."""
        self._n_created += 1
        name = name or f"_unnamedTask<{self._n_created - 1:X}>"
        if name in self.tasks:
            raise TaskError(-200089, f"Task name conflicts with an existing task name.\n\nTask Name: {name}")
        self.tasks[name] = Task(name)
        return self.tasks[name]

    def task(self, name: str) -> Task:
        """Find a task."""
        if name not in self.tasks:
            raise TaskError(-200088, "Task specified is invalid or does not exist.")
        return self.tasks[name]

    def channels(self, device: str, kind: str) -> list[str]:
        """List a device's physical channels of a kind."""
        if device not in self.cards.devices:
            raise TaskError(-200220, f"Device identifier is invalid.\n\nDevice Specified: {device}")
        return [f"{device}/{kind}{n}" for n in range(self.cards.n_ao if kind == "ao" else self.cards.n_ai)]

    def add_channels(self, task: Task, kind: Literal["ao", "ai"], physical: str, lowest: float, highest: float) -> None:
        """Add voltage channels, `Dev1/ai0, Dev1/ai4:7`, for values between lowest and highest (V)."""
        if task.kind not in ("", kind):
            raise TaskError(-200010, "Channel type does not fit the task's other channels.")
        for channel in _expanded(physical):
            device = channel.split("/", 1)[0]
            if channel not in self.channels(device, kind):
                raise TaskError(
                    -200170,
                    "Physical channel specified does not exist on this device.\n\n"
                    f"Device: {device}\nPhysical Channel Name: {channel.rpartition('/')[2]}",
                )
            task.channels.append(channel)
        if max(abs(lowest), abs(highest)) > self.cards.range * (1 + 1e-9) or lowest >= highest:
            raise TaskError(
                -200077,
                "Requested value is not a supported value for this property.\n\n"
                f"Property: {kind.upper()}.Max\nRequested Value: {highest}\nMaximum Value: {self.cards.range}",
            )
        wanted = max(abs(lowest), abs(highest))
        fitting = [each for each in self.cards.ranges if each >= wanted * (1 - 1e-9)]
        task.kind, task.highest = kind, min(fitting) if kind == "ai" else self.cards.range
        task.lowest = -task.highest

    def clock(self, task: Task, rate: float, n_samples: int, source: str) -> None:
        """Configure a finite sample clock; the rate is brought to the nearest that the timebase has."""
        self._refuse_running(task)
        n_each = len(task.channels) if self.cards.multiplexed else 1
        fastest = OUTPUT_RATE if task.kind == "ao" else INPUT_RATE / max(n_each, 1)
        if not 0 < rate <= fastest * (1 + 1e-9):
            message = f"Property: SampClk.Rate\nRequested Value: {rate}\nMaximum Value: {fastest}"
            raise TaskError(-200077, f"Requested value is not a supported value for this property.\n\n{message}")
        if n_samples < FEWEST_SAMPLES:
            message = f"Property: SampQuant.SampPerChan\nRequested Value: {n_samples}\nMinimum Value: {FEWEST_SAMPLES}"
            raise TaskError(-200077, f"Requested value is not a supported value for this property.\n\n{message}")
        task.clocked, task.clock, task.n_samples, task.data = True, source, n_samples, None
        task.rate = TIMEBASE / round(TIMEBASE / rate)

    def convert_rate(self, task: Task) -> float:
        """Return the rate of the converter, Hz; simultaneous cards have no such clock."""
        if not self.cards.multiplexed:
            raise TaskError(-200452, "Specified property is not supported by the device or not in this task.")
        roomy, spread = 1 / INPUT_RATE + SETTLING, 1 / (task.rate * max(len(task.channels), 1))
        return 1 / min(roomy, spread)

    def write(self, task: Task, volts: Array, *, auto_start: bool) -> None:
        """Put volts, (channel, sample), into the buffer of a clocked task, or out at once from one that is not."""
        if volts.shape[0] != len(task.channels):
            raise TaskError(-200524, "Write cannot be performed: the number of channels in the data does not match.")
        if np.abs(volts).max(initial=0.0) > task.highest or not np.isfinite(volts).all():
            raise TaskError(-200561, "Attempted writing analog data that is too large or too small.")
        if task.clocked:
            self._refuse_running(task)
            self._reserve(task)
            task.data = volts
            if auto_start:
                self.start(task)
            return
        if not auto_start:
            raise TaskError(-200846, "Cannot write: on-demand task is not started and auto start is false.")
        self._reserve(task)
        for channel, value in zip(task.channels, self._converted(volts[:, -1]), strict=True):
            self._put(channel, Constant(float(value)))

    def commit(self, task: Task) -> None:
        """Reserve the hardware and program it."""
        self._reserve(task)

    def start(self, task: Task) -> None:
        """Start: outputs put out what is in their buffer and fire their trigger, inputs take samples or wait."""
        self._refuse_running(task)
        self._reserve(task)
        if task.kind == "ao":
            self._start_output(task)
        else:
            self._start_input(task)

    def stop(self, task: Task) -> None:
        """Stop; outputs keep what is on them at this moment."""
        if task.give_up is not None:
            task.give_up()
            task.give_up = None
        if task.state == "running":
            if task.kind == "ao" and not self.is_done(task):
                for channel in task.channels:
                    self._put(channel, Constant(self._level(channel)))
            if task.kind == "ao":
                task.data = None  # put out once: regeneration is not allowed
            task.state = "committed"

    def unreserve(self, task: Task) -> None:
        """Give the hardware back, and forget the buffer of an output."""
        self.stop(task)
        task.state = "unreserved"
        task.data = None

    def clear(self, task: Task) -> None:
        """Stop and forget a task."""
        self.stop(task)
        del self.tasks[task.name]

    def reset(self, device: str) -> None:
        """Abort every task of a device and bring its outputs to 0 V."""
        for task in self.tasks.values():
            if any(used.startswith(f"{device}/") for used in task.channels):
                self.unreserve(task)
        for channel in self.channels(device, "ao"):
            self._put(channel, Constant(0.0))

    def is_done(self, task: Task) -> bool:
        """Say whether a finite task has come to its end; one that was not started is done."""
        return task.state != "running" or self._world.now >= self._end(task)

    def wait(self, task: Task, seconds: float) -> None:
        """Let time pass until a task is done, at most so many seconds; raises -200560 where that is not enough."""
        self._world.advance(max(0.0, min(self._end(task) - self._world.now, seconds)))
        if not self.is_done(task):
            raise TaskError(-200560, "Wait Until Done did not indicate that the task was done within the timeout.")

    def read(self, task: Task, n_samples: int, seconds: float) -> Array:
        """Return n_samples of each channel, waiting (in virtual time) up to so many seconds; else -200284 with some."""
        if task.state != "running":
            self.start(task)
        if task.data is not None:
            missing = task.started + (task.n_taken + n_samples) / task.rate - self._world.now
            self._world.advance(max(0.0, min(missing, seconds)))
        else:
            self._world.advance(seconds)
        n_there = 0
        if task.data is not None:
            n_there = int((self._world.now - task.started) * task.rate + 0.01)
        n_there = min(n_there, 0 if task.data is None else task.data.shape[1]) - task.n_taken
        found = np.zeros((len(task.channels), 0)) if task.data is None else task.data[:, task.n_taken :]
        if n_there < n_samples:
            task.n_taken += n_there
            raise TaskError(
                -200284, "Some or all of the samples requested have not yet been acquired.", found[:, :n_there]
            )
        task.n_taken += n_samples
        return np.ascontiguousarray(found[:, :n_samples])

    def _start_output(self, task: Task) -> None:
        if task.data is None or task.data.shape[1] == 0:
            raise TaskError(-200462, "Generation cannot be started: the output buffer is empty. Write before starting.")
        if task.clocked and task.data.shape[1] != task.n_samples:
            raise TaskError(-200609, "Generation cannot be started: the output buffer does not hold all samples.")
        task.state, task.started = "running", self._world.now
        for channel, volts in zip(task.channels, self._converted(task.data), strict=True):
            self._put(channel, Held(volts, task.rate, task.started, self._level(channel)))
        device = task.channels[0].split("/", 1)[0]
        self.fire(f"/{device}/ao/StartTrigger")

    def fire(self, terminal: str) -> None:
        """Fire a terminal's trigger: `/Dev1/PFI0`. The world calls it `daq/Dev1/PFI0`, daq being the server's name."""
        self._world.fire(self.name + terminal)

    def _start_input(self, task: Task) -> None:
        task.state, task.data, task.n_taken = "running", None, 0

        def capture(instant: float) -> None:
            master = self._clock_of(task)
            task.give_up = None
            task.started = instant + task.delay if master is None else master.started
            task.data = self._acquired(task, task.n_samples if master is None else master.n_samples)
            device = task.channels[0].split("/", 1)[0]
            self.fire(f"/{device}/ai/StartTrigger")

        # Its own clock waits for the start trigger; a foreign clock ticks when the task that makes it starts.
        awaited = _CLOCK.sub(r"/\1/StartTrigger", task.clock) or task.trigger
        if awaited:
            task.give_up = self._world.wait_for(self.name + awaited, capture)
        else:
            capture(self._world.now)

    def _clock_of(self, task: Task) -> Task | None:
        """Return the running task whose sample clock this one counts, if it has none of its own."""
        kind = _CLOCK.search(task.clock)
        for other in self.tasks.values():
            if kind and other.kind == kind[1] and other.state == "running" and other.clocked and not other.clock:
                return other
        return None

    def _acquired(self, task: Task, n_ticks: int) -> Array:
        """Return what the converter makes of the nodes at each tick of its clock, V, (channel, sample)."""
        n_samples = min(task.n_samples, n_ticks)
        times = task.started + np.arange(n_samples) / task.rate
        seen = np.zeros((len(task.channels), n_samples))
        places = [self._local(channel) for channel in task.channels]
        if self.cards.multiplexed:
            late = np.arange(len(places)) / self.convert_rate(task)
            for row, place in enumerate(places):
                lead = {place: self._wires.reads.get(place)}
                seen[row] = self._world.read(self.name, lead, times + late[row])[0]
        else:
            seen[:] = self._world.read(self.name, {place: self._wires.reads.get(place) for place in places}, times)
        if self.cards.noise:
            seen += self.cards.noise * self._world.rng.standard_normal(seen.shape)
        if self.cards.ai_bits:
            seen = quantised(seen, task.highest, self.cards.ai_bits)
        seen = np.clip(seen, task.lowest, task.highest)
        for row, channel in enumerate(task.channels):
            local = self._local(channel)
            if self._faults.stuck(local):
                seen[row] = self._kept.get(channel, np.zeros(1))[-1]
            elif self._faults.take(FaultKind.OVERLOAD, channel=local):
                seen[row] = task.highest
            self._kept[channel] = seen[row]
        return seen

    def _end(self, task: Task) -> float:
        if task.kind == "ao":
            # The last sample is on, and stays.
            return task.started + (task.n_samples - 1) / task.rate if task.clocked else task.started
        return np.inf if task.data is None else task.started + task.n_samples / task.rate

    def _reserve(self, task: Task) -> None:
        if task.state != "unreserved":
            return
        wanted = self._resources(task)
        for other in self.tasks.values():
            if other is not task and other.state != "unreserved" and wanted & self._resources(other):
                held = sorted(wanted & self._resources(other))[0]
                raise TaskError(
                    -50103,
                    f"The specified resource is reserved.\n\nResource: {held}\nReserved by Task Name: {other.name}",
                )
        task.state = "committed"

    def _resources(self, task: Task) -> set[str]:
        devices = {channel.split("/", 1)[0] for channel in task.channels}
        engines = {f"{device}/{task.kind} timing" for device in devices if task.clocked or task.kind == "ai"}
        return engines | (set(task.channels) if task.kind == "ao" else set())

    def _refuse_running(self, task: Task) -> None:
        if task.state == "running":
            raise TaskError(-200479, "Specified operation cannot be performed while the task is running.")

    def _converted(self, volts: Array) -> Array:
        return quantised(volts, self.cards.range, self.cards.ao_bits) if self.cards.ao_bits else volts

    def _local(self, channel: str) -> str:
        """Return what the wires call a channel: `ao0` on the first device, `Dev2.ao0` on another."""
        return channel.removeprefix(f"{self.cards.devices[0]}/").replace("/", ".")

    def _level(self, channel: str) -> float:
        terminal = self._wires.drives.get(self._local(channel))
        return 0.0 if terminal is None else self._world.level(terminal)

    def _put(self, channel: str, signal: Constant | Held) -> None:
        terminal = self._wires.drives.get(self._local(channel))
        if terminal is not None and not self._faults.stuck(self._local(channel)):
            self._world.put(terminal, signal)


def _expanded(physical: str) -> list[str]:
    """Return the channels of a list such as `Dev1/ai0, Dev1/ai4:7`."""
    channels = []
    for part in (each.strip() for each in physical.split(",")):
        ranged = re.fullmatch(r"(.*?)(\d+):(?:.*?)(\d+)", part)
        if ranged is None:
            channels.append(part)
        else:
            first, last = int(ranged[2]), int(ranged[3])
            channels += [f"{ranged[1]}{n}" for n in range(first, last + 1)]
    return channels
