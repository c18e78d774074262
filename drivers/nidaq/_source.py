"""The analog outputs of a card as a source: finite, clocked, each sample put out once, and the last one the level.

A card holds the last sample that it put out, so one is appended in which the nudge is zero. The task is made once and
kept; between two generations it gives the outputs back, so that a second task, which has no clock, can set a level.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from drivers.nidaq._session import CardFacts, Session
from freqprop_lab.instruments import (
    Ability,
    ConnectionLostError,
    Identity,
    InstrumentError,
    LimitError,
    ProtocolError,
    Source,
    SourceLimits,
)
from freqprop_lab.values import Array, Timing
from freqprop_lab.waveform import Waveform

_SAME_RATE = 1e-9


class NidaqSource(Source):
    """Some analog outputs of a card, in the order given. ao_limit: V; None for all that the card has.

    Raises LimitError where the card can't reach ao_limit.
    """

    abilities = frozenset({Ability.LEVEL, Ability.WAVEFORM})

    def __init__(self, session: Session, facts: CardFacts, channels: Sequence[str], ao_limit: float | None) -> None:
        self.name = self.clock = session.name
        self.n_channels = len(channels)
        self._session, self._facts, self._channels = session, facts, tuple(channels)
        lowest, highest = self._chosen_range(ao_limit)
        ends = (lowest, highest) if ao_limit is None else (max(lowest, -ao_limit), min(highest, ao_limit))
        self.limits = SourceLimits(
            np.full(self.n_channels, ends[0]),
            np.full(self.n_channels, ends[1]),
            ("V",) * self.n_channels,
            facts.ao_rate,
        )
        self._samples: Array | None = None  # what start() puts out
        self._configured: tuple[float, int] | None = None
        self._actual_rate = 0.0
        self._written = self._started = False
        self._open = True
        with session.told(f"opening {self._listed}"):
            self._clocked, self._at_once = self._make_tasks(lowest, highest)
        session.enter()
        session.output_is_busy = self._is_busy

    def identify(self) -> Identity:
        """Ask the card and the driver."""
        self._refuse_closed()
        return self._session.identity(self._facts)

    def load(
        self,
        levels: Array,
        amplitudes: Array,
        waveform: Waveform | None,
        frequency: float,
        n_periods: int,
        sample_rate: float,
    ) -> Timing:
        """Write the samples into the card's buffer; the phase is that of the rate asked for, so periods stay whole."""
        self._refuse_closed()
        self._samples, self._written = None, False
        self._refuse_levels(levels)
        self.limits.check(f"{self.name}", levels, amplitudes, waveform)
        if not 0 < sample_rate <= self.limits.largest_sample_rate:
            raise LimitError(
                f'source "{self.name}": {sample_rate:g} Hz asked, its outputs take up to '
                f"{self.limits.largest_sample_rate:g} Hz. Nothing was sent. Lower frequency or samples_per_period"
            )
        n_samples = max(1, round(n_periods * sample_rate / frequency))
        phase = frequency / sample_rate * np.arange(n_samples)
        # Without a nudge the record of the inputs is as long, since it counts the outputs' clock or their start.
        f = np.zeros(n_samples) if waveform is None else waveform.at(phase)
        samples = generated(levels, amplitudes if waveform is not None else np.zeros(self.n_channels), f)
        with self._session.told(f"loading {self._listed}"):
            self._end_generation()
            self._configure(sample_rate, n_samples + 1)
            self._write(samples)
        self._samples = samples
        return Timing(self._actual_rate, n_samples)

    def start(self) -> None:
        """Start the generation; a meter of the same card that is armed starts with it."""
        self._refuse_closed()
        if self._samples is None:
            raise ProtocolError(f'source "{self.name}" was started before anything was loaded; call load() first')
        armed = self._session.armed_rate
        if armed is not None and abs(armed / self._actual_rate - 1) > _SAME_RATE:
            raise LimitError(
                f'source "{self.name}": its outputs run at {self._actual_rate:.9g} Hz, the inputs of the same card at '
                f"{armed:.9g} Hz, so the nudge would drift through the record. Nothing was put out. Set clock: ao, or "
                "choose a rate that both have"
            )
        with self._session.told(f"starting {self._listed}"):
            if self._started:
                self._end_generation()
            if not self._written:
                self._write(self._samples)
            self._started, self._written = True, False
            self._clocked.start()

    def stop(self) -> None:
        """End the nudge; where it was cut short, set the levels, since the card holds the sample that was on."""
        if self._open:
            with self._session.told(f"stopping {self._listed}"):
                self._end_generation()

    def make_safe(self) -> None:
        """Bring every output to 0 V. Each call has half a second; where a task is in the way, the card is reset."""
        self._samples, self._written = None, False
        if not self._open:
            return
        with self._session.hurried():
            # Each of these may fail while the next one works; only the last decides.
            for attempt in (self._clocked.stop, self._unreserve):
                with contextlib.suppress(InstrumentError), self._session.told(f"stopping {self._listed}"):
                    attempt()
            self._started = False
            zeros = np.zeros(self.n_channels)
            try:
                self._put_at_once(zeros)
            except InstrumentError as error:
                if isinstance(error, ConnectionLostError) and not hasattr(error.__cause__, "error_code"):
                    raise  # nobody is there to be reset
                self._reset_and_put(zeros)

    def close(self) -> None:
        """Bring the outputs to 0 V and give them back, also where the first fails; then say what failed."""
        if not self._open:
            return
        with contextlib.ExitStack() as stack:
            stack.callback(self._session.leave)
            stack.callback(self._leave_closed)
            self.make_safe()

    def _leave_closed(self) -> None:
        self._open = False
        self._session.output_is_busy = bool
        with contextlib.suppress(InstrumentError):  # a server that is gone has no tasks any more
            self._session.clear([self._clocked, self._at_once])

    @property
    def _listed(self) -> str:
        return f"outputs {', '.join(self._channels)}"

    def _chosen_range(self, ao_limit: float | None) -> tuple[float, float]:
        """Return the smallest range of the card that reaches the limit, or its largest."""
        ranges = sorted(self._facts.ao_ranges, key=lambda ends: ends[1] - ends[0])
        if ao_limit is None:
            return ranges[-1]
        for ends in ranges:
            if ends[1] >= ao_limit:
                return ends
        raise LimitError(
            f'source "{self.name}": ao_limit is {ao_limit:g} V, the outputs of {self._facts.model} reach '
            f"{ranges[-1][1]:g} V. Nothing was sent. Lower ao_limit"
        )

    def _make_tasks(self, lowest: float, highest: float) -> tuple[Any, Any]:
        writers = importlib.import_module("nidaqmx.stream_writers")
        physical = ", ".join(f"{self._facts.device}/{channel}" for channel in self._channels)
        clocked, at_once = self._session.task(), self._session.task()
        for task in (clocked, at_once):
            task.ao_channels.add_ao_voltage_chan(physical, min_val=lowest, max_val=highest)
        clocked.out_stream.regen_mode = self._session.constants.RegenerationMode.DONT_ALLOW_REGENERATION
        self._clocked_writer = writers.AnalogMultiChannelWriter(clocked.out_stream, auto_start=False)
        self._level_writer = writers.AnalogMultiChannelWriter(at_once.out_stream, auto_start=True)
        self._clocked_writer.verify_array_shape = self._level_writer.verify_array_shape = False
        return clocked, at_once

    def _configure(self, sample_rate: float, n_samples: int) -> None:
        """Set clock and buffer where they change: the size that the first write gave would stay otherwise."""
        if self._configured == (sample_rate, n_samples):
            return
        self._configured = None
        finite = self._session.constants.AcquisitionType.FINITE
        self._clocked.timing.cfg_samp_clk_timing(sample_rate, sample_mode=finite, samps_per_chan=n_samples)
        self._clocked.out_stream.output_buf_size = n_samples
        self._actual_rate = self._clocked.timing.samp_clk_rate
        self._configured = (sample_rate, n_samples)

    def _write(self, samples: Array) -> None:
        self._clocked_writer.write_many_sample(samples, timeout=self._session.patience)
        self._written = True

    def _end_generation(self) -> None:
        """Stop, give the outputs back, and set the levels where the nudge was cut short."""
        if not (self._started or self._written):
            return
        finished = not self._started or self._clocked.is_task_done()
        if not finished:
            # Stopping what still runs is a warning (200010), which abort does not give.
            self._clocked.control(self._session.constants.TaskMode.TASK_ABORT)
        self._clocked.stop()
        self._unreserve()
        levels, self._started, self._written = self._samples, False, False
        if not finished and levels is not None:
            self._put_at_once(np.ascontiguousarray(levels[:, -1]))

    def _unreserve(self) -> None:
        self._clocked.control(self._session.constants.TaskMode.TASK_UNRESERVE)

    def _put_at_once(self, levels: Array) -> None:
        with self._session.told(f"setting the level of {self._listed}"):
            self._level_writer.write_one_sample(levels, timeout=self._session.patience)
            self._at_once.stop()
            self._at_once.control(self._session.constants.TaskMode.TASK_UNRESERVE)

    def _reset_and_put(self, levels: Array) -> None:
        """Reset the card, which ends every task on it, foreign ones too; only when nothing milder worked."""
        with self._session.told(f"resetting the card, since {self._listed} could not be brought to 0 V"):
            self._session.reset_device()
            self._configured = None
            self._put_at_once(levels)

    def _is_busy(self) -> bool:
        return self._started and not self._clocked.is_task_done()

    def _refuse_levels(self, levels: Array) -> None:
        if np.isnan(levels).any():
            channel = int(np.flatnonzero(np.isnan(levels))[0])
            raise LimitError(
                f'source "{self.name}", channel {channel} ({self._channels[channel]}): a level of nan asked, which '
                "releases a channel; this card can't. Nothing was sent. Use a switch, or a nudge through a resistor"
            )

    def _refuse_closed(self) -> None:
        if not self._open:
            raise ConnectionLostError(f'source "{self.name}" is closed; open the bench again')


def generated(levels: Array, amplitudes: Array, f: Array) -> Array:
    """Return levels + amplitudes f and one more sample at the levels, V, (channel, sample).

    Contiguous float64 whatever comes in: the driver's own library takes nothing else, while gRPC takes all and hides
    the mistake.
    """
    rest = np.asarray(levels, dtype=np.float64)[:, None]
    nudged = rest + np.asarray(amplitudes, dtype=np.float64)[:, None] * f
    return np.ascontiguousarray(np.concatenate([nudged, rest], axis=1), dtype=np.float64)
