"""The analog inputs of one or more cards as a meter: finite, on the clock of the outputs or started with them.

Every task waits when arm() returns, so the inputs are always armed before the outputs start. A record that does not
come whole is a TimeLimitError, or all NaN with the missing samples counted.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from drivers.nidaq._session import CardFacts, Session
from freqprop_lab.instruments import (
    Ability,
    ConnectionLostError,
    Identity,
    InstrumentError,
    LimitError,
    Meter,
    MeterLimits,
    ProtocolError,
)
from freqprop_lab.values import Array, Record, Timing

_SAMPLES_NOT_THERE = -200284
_FEWEST = 2  # samples of a finite task
_EDGE = 0.01  # of a sample: so close to the next one counts as it
_TERMINALS = {"RSE": "RSE", "NRSE": "NRSE", "differential": "DIFF", "pseudodifferential": "PSEUDO_DIFF"}


@dataclass(frozen=True)
class InputOptions:
    """How the inputs are wired and started; the fields of the bench file. range: V. delay: s. See NidaqmxSection.

    driven: the card's own outputs drive the bench, so that the inputs start with them.
    """

    terminal: str
    range: float
    clock: Literal["own", "ao"]
    delay: float
    trigger: str | None
    clock_terminal: str | None
    simultaneous: bool | None
    driven: bool


@dataclass
class _Inputs:
    """One card's task. rows: where its channels stand in the record."""

    facts: CardFacts
    channels: tuple[str, ...]
    rows: list[int]
    task: Any
    reader: Any
    multiplexed: bool
    skews: Array

    @property
    def listed(self) -> str:
        return f"inputs {', '.join(f'{self.facts.device}/{channel}' for channel in self.channels)}"


class NidaqMeter(Meter):
    """Some analog inputs, in the order given as (card, channel); the first card makes the clock of the others.

    Raises LimitError where a card has no range as wide as asked.
    """

    abilities = frozenset({Ability.SAMPLES})

    def __init__(self, session: Session, channels: Sequence[tuple[CardFacts, str]], options: InputOptions) -> None:
        self.name = self.clock = session.name
        self.n_channels = len(channels)
        self._session, self._options = session, options
        self._channels = tuple(f"{facts.device}/{channel}" for facts, channel in channels)
        self._cards: list[_Inputs] = []
        ends, self._steps = np.zeros((2, self.n_channels)), np.zeros(self.n_channels)
        for facts in dict.fromkeys(facts for facts, _ in channels):
            rows = [row for row, (card, _) in enumerate(channels) if card == facts]
            with session.told(f"opening the inputs of {facts.device}"):
                inputs = self._make_task(facts, rows, tuple(channels[row][1] for row in rows))
                every = inputs.task.ai_channels.all
                ends[0, rows], ends[1, rows] = every.ai_rng_low, every.ai_rng_high
                self._steps[rows] = (every.ai_rng_high - every.ai_rng_low) / 2.0**every.ai_resolution
            self._cards.append(inputs)
        self.limits = MeterLimits(ends[0], ends[1], min(self._fastest(each) for each in self._cards))
        self._armed: Timing | None = None
        self._configured: tuple[float, int] | None = None
        self._actual_rate = 0.0
        self._open = True
        session.enter()

    def identify(self) -> Identity:
        """Ask the first card and the driver."""
        self._refuse_closed()
        return self._session.identity(self._cards[0].facts)

    def arm(self, n_samples: int, sample_rate: float) -> Timing:
        """Let every task wait for the outputs to start, the card that makes the clock last."""
        self._refuse_closed()
        self._disarm()
        if n_samples < 1 or not 0 < sample_rate <= self.limits.largest_sample_rate:
            raise LimitError(
                f'meter "{self.name}": {n_samples} samples at {sample_rate:g} Hz asked; its {self.n_channels} inputs '
                f"take at least 1, at up to {self.limits.largest_sample_rate:g} Hz. Nothing was sent. Lower "
                "frequency or samples_per_period, or read fewer channels"
            )
        with self._session.told("arming its inputs"):
            if self._session.output_is_busy():
                raise ProtocolError(
                    f'meter "{self.name}" was armed while the outputs of its card run, so it would never start; arm it '
                    "before the source starts, or stop the source first"
                )
        self._configure(sample_rate, max(n_samples, _FEWEST))
        self._armed = Timing(self._actual_rate, n_samples)
        for inputs in reversed(self._cards):
            with self._session.told(f"arming {inputs.listed}"):
                inputs.task.start()
        self._session.armed_rate = self._actual_rate
        return self._armed

    def read(self) -> Record:
        """Fetch the record; it is awaited for its own length and the time-out."""
        self._refuse_closed()
        if self._armed is None:
            raise ProtocolError(f'meter "{self.name}" was read before it was armed; call arm() first')
        timing = self._armed
        volts, missing = np.full((self.n_channels, timing.n_samples), np.nan), np.zeros(self.n_channels)
        skews = np.zeros(self.n_channels)
        try:
            for inputs in self._cards:
                found, n_missing = self._fetched(inputs, max(timing.n_samples, _FEWEST))
                volts[inputs.rows], missing[inputs.rows] = found[:, : timing.n_samples], n_missing
                skews[inputs.rows] = inputs.skews
        except InstrumentError:
            with contextlib.suppress(InstrumentError):  # the first fault is the one to tell
                self._disarm()
            raise
        self._disarm(finished=not missing.any())
        end = (volts >= (self.limits.highest - self._steps)[:, None]) | (volts <= self.limits.lowest[:, None])
        clipped = end.sum(axis=1).astype(np.float64)
        missing = np.minimum(missing, timing.n_samples)
        return Record(volts, timing.sample_rate, skews, clipped, missing, self._channels)

    def make_safe(self) -> None:
        """Forget that it was armed and stop; inputs drive nothing, so a server that is gone is no danger here."""
        if self._open:
            with self._session.hurried(), contextlib.suppress(InstrumentError):
                self._disarm()
        self._armed = None

    def close(self) -> None:
        """Give the inputs back."""
        if not self._open:
            return
        self.make_safe()
        self._open = False
        with contextlib.suppress(InstrumentError):  # a server that is gone has no tasks any more
            self._session.clear([inputs.task for inputs in self._cards])
        self._session.leave()

    def _make_task(self, facts: CardFacts, rows: list[int], channels: tuple[str, ...]) -> _Inputs:
        options, constants = self._options, self._session.constants
        if not any(low <= -options.range and high >= options.range for low, high in facts.ai_ranges):
            widest = max((high for _, high in facts.ai_ranges), default=0.0)
            raise LimitError(
                f'meter "{self.name}": a range of {options.range:g} V asked, the inputs of {facts.device} '
                f"({facts.model}) reach {widest:g} V. Nothing was sent. Lower range"
            )
        task = self._session.task()
        task.ai_channels.add_ai_voltage_chan(
            ", ".join(f"{facts.device}/{channel}" for channel in channels),
            terminal_config=getattr(constants.TerminalConfiguration, _TERMINALS[options.terminal]),
            min_val=-options.range,
            max_val=options.range,
        )
        reader = importlib.import_module("nidaqmx.stream_readers").AnalogMultiChannelReader(task.in_stream)
        reader.verify_array_shape = False
        simultaneous = facts.simultaneous if options.simultaneous is None else options.simultaneous
        return _Inputs(facts, channels, rows, task, reader, not simultaneous, np.zeros(len(rows)))

    def _fastest(self, inputs: _Inputs) -> float:
        shared = inputs.facts.ai_rate / (len(inputs.channels) if inputs.multiplexed else 1)
        return min(shared, inputs.facts.ai_single_rate)

    def _configure(self, sample_rate: float, n_samples: int) -> None:
        """Set clocks and triggers where rate or length changed, and commit, so that a start is quick."""
        if self._configured == (sample_rate, n_samples):
            return
        self._configured = None
        modes, finite = self._session.constants.TaskMode, self._session.constants.AcquisitionType.FINITE
        for inputs in self._cards:
            with self._session.told(f"setting the clock of {inputs.listed}"):
                inputs.task.control(modes.TASK_UNRESERVE)
                inputs.task.timing.cfg_samp_clk_timing(
                    sample_rate, source=self._clock_of(inputs), sample_mode=finite, samps_per_chan=n_samples
                )
                self._set_trigger(inputs)
                rate = inputs.task.timing.samp_clk_rate
                if inputs is self._cards[0]:
                    self._actual_rate = rate
                inputs.skews = self._lateness(inputs)
                inputs.task.control(modes.TASK_COMMIT)
        self._configured = (sample_rate, n_samples)

    def _clock_of(self, inputs: _Inputs) -> str:
        """Return the terminal whose ticks a card counts; empty for its own clock."""
        first = self._cards[0].facts.device
        if inputs is not self._cards[0]:
            return self._options.clock_terminal or f"/{first}/ai/SampleClock"
        return f"/{self._session.device}/ao/SampleClock" if self._options.clock == "ao" and self._options.driven else ""

    def _set_trigger(self, inputs: _Inputs) -> None:
        """Start with the outputs, or with the wire; a clock that only ticks while the outputs run needs no more."""
        options, first = self._options, inputs is self._cards[0]
        terminal = f"/{self._session.device}/ao/StartTrigger" if options.driven else options.trigger
        if terminal is None or (first and self._clock_of(inputs)):
            return
        start = inputs.task.triggers.start_trigger
        start.cfg_dig_edge_start_trig(terminal)
        if first and options.delay:
            start.delay_units = self._session.constants.DigitalWidthUnits.SECONDS
            start.delay = options.delay

    def _lateness(self, inputs: _Inputs) -> Array:
        """Return how late each channel's samples are, s: against a source of its own, against what that holds.

        The outputs hold each sample for a whole tick of the same clock. So what a converter sees later within the
        tick is still the nudge of the tick's beginning, and only whole ticks make it late.
        """
        late = np.full(len(inputs.channels), self._options.delay)
        if inputs.multiplexed:
            late += np.arange(len(inputs.channels)) / inputs.task.timing.ai_conv_rate
        if self._options.driven:
            late = np.floor(late * self._actual_rate + _EDGE) / self._actual_rate
        return late

    def _fetched(self, inputs: _Inputs, n_samples: int) -> tuple[Array, int]:
        """Return a card's samples, V, (channel, sample), and how many are missing of each channel."""
        # NaN first: an answer that is shorter than it says would leave what stood here before.
        volts = np.full((len(inputs.channels), n_samples), np.nan)
        patience = self._session.timeout + (n_samples / self._actual_rate) + self._options.delay
        with self._session.told(f"reading {n_samples} samples from {inputs.listed}"):
            try:
                n_read = inputs.reader.read_many_sample(volts, n_samples, timeout=patience)
            except self._session.library.DaqReadError as error:
                n_read = error.samps_per_chan_read
                if error.error_code != _SAMPLES_NOT_THERE or not n_read:
                    raise
        # Where the samples of a partial answer stand is not documented alike for both ways, so none is used.
        gap = n_samples - n_read if n_read < n_samples else int(np.isnan(volts).any(axis=0).sum())
        if gap:
            volts[:] = np.nan
        return volts, gap

    def _disarm(self, *, finished: bool = False) -> None:
        """Stop all tasks that wait or run; all of them, whatever happens to one."""
        if self._armed is None:
            return
        self._armed = self._session.armed_rate = None
        with contextlib.ExitStack() as stack:
            for inputs in self._cards:
                stack.callback(self._stop, inputs, finished=finished)

    def _stop(self, inputs: _Inputs, *, finished: bool) -> None:
        with self._session.told(f"stopping {inputs.listed}"):
            if not finished:
                # Stopping what still waits is a warning (200010), which abort does not give.
                inputs.task.control(self._session.constants.TaskMode.TASK_ABORT)
            inputs.task.stop()

    def _refuse_closed(self) -> None:
        if not self._open:
            raise ConnectionLostError(f'meter "{self.name}" is closed; open the bench again')
