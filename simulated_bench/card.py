"""A simulated data-acquisition card: a source and a meter, on one clock unless the meter runs free."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.instruments import (
    FREE_RUNNING,
    Ability,
    ConnectionLostError,
    Identity,
    LimitError,
    Meter,
    MeterLimits,
    ProtocolError,
    Source,
    SourceLimits,
)
from freqprop_lab.values import Array, Record, Timing
from freqprop_lab.waveform import Waveform
from simulated_bench.breadboard import Breadboard, Excitation
from simulated_bench.converter import quantised
from simulated_bench.settings import CertifiedSection, MeterSection, SourceSection

_MAKER = "freqprop-lab"
_DRIFT_RECORDS = 1000


class SimulatedSource(Source):
    """Channels that put voltages or currents on the breadboard's connections, one each, in their order.

    certified: the channels that are as good as `settings.certified` says, (channel,).
    """

    abilities = frozenset({Ability.LEVEL, Ability.WAVEFORM, Ability.RELEASE})

    def __init__(
        self,
        name: str,
        board: Breadboard,
        settings: SourceSection,
        released: NDArray[np.intp],
        rng: np.random.Generator,
        certified: NDArray[np.bool_] | None = None,
    ) -> None:
        self.name, self.clock, self._board = name, "card", board
        self.n_channels = len(board.connections)
        units = tuple("V" if connection.kind == "voltage" else "A" for connection in board.connections)
        highest = np.array([settings.limit if unit == "V" else settings.current_limit for unit in units])
        self.limits = SourceLimits(-highest, highest, units)
        self._released = released
        gain_error, offset = _spreads(settings, certified, self.n_channels)
        self._gain = 1 + gain_error * rng.standard_normal(self.n_channels)
        self.offset: Array = offset * rng.standard_normal(self.n_channels) * np.array([u == "V" for u in units])
        own = rng.spawn(1)[0]  # what came later has a stream of its own, so that the draws above stay what they were
        self._drift = settings.drift * own.standard_normal(self.n_channels) / _DRIFT_RECORDS
        self._bits = settings.bits
        self.drifts = bool(self._drift.any())
        self.exact = not (gain_error.any() or offset.any() or settings.bits or self.drifts)
        self.affine = settings.bits is None
        self._loaded: Excitation | None = None
        self._open = True

    @property
    def gain(self) -> Array:
        """What each channel truly puts out for a volt or ampere asked, by now, (channel,)."""
        return np.asarray(self._gain * np.exp(self._drift * self._board.records)) if self.drifts else self._gain

    def identify(self) -> Identity:
        """Tell that it is simulated."""
        return Identity(_MAKER, "simulated source")

    def load(
        self,
        levels: Array,
        amplitudes: Array,
        waveform: Waveform | None,
        frequency: float,
        n_periods: int,
        sample_rate: float,
    ) -> Timing:
        """Check against the limits and keep for start(). A frequency is met exactly."""
        if not self._open:
            raise ConnectionLostError(f'source "{self.name}" is closed; open the bench again')
        self.limits.check(self.name, levels, amplitudes, waveform)
        nudge = np.zeros(self.n_channels) if waveform is None else amplitudes
        converter = None if self._bits is None else self._convert
        self._loaded = Excitation(levels.copy(), nudge.copy(), waveform, frequency, self.gain, self.offset, converter)
        return Timing(sample_rate, round(n_periods * sample_rate / frequency))

    def start(self) -> None:
        """Put on the wires what was loaded."""
        if self._loaded is None:
            raise ProtocolError(f'source "{self.name}" was started before anything was loaded; call load() first')
        self._board.drive(self._loaded)

    def stop(self) -> None:
        """End the nudge; the levels stay."""
        now = self._board.excitation
        self._board.excitation = replace(now, amplitudes=np.zeros_like(now.amplitudes), waveform=None)

    def make_safe(self) -> None:
        """Bring every channel to zero, and those that hold outputs off."""
        levels = self._board.idle_levels()
        levels[self._released] = np.nan
        self._board.excitation = Excitation(levels, np.zeros(self.n_channels))
        self._loaded = None

    def close(self) -> None:
        """Make safe; nothing can be loaded any more."""
        self.make_safe()
        self._open = False

    def _convert(self, values: Array) -> Array:
        return quantised(values, self.limits.highest, self._bits or 32)


class SimulatedMeter(Meter):
    """Channels that look at the breadboard's nodes, one each, with every fault that its settings give it.

    noise: the run's own generator. rng: the hardware's, from which gains, offsets, delays and pickup are drawn.
    certified: the channels that are as good as `settings.certified` says; unread: those whose lead is pulled.
    """

    abilities = frozenset({Ability.SAMPLES})

    def __init__(
        self,
        name: str,
        board: Breadboard,
        nodes: NDArray[np.intp],
        settings: MeterSection,
        period: float,
        noise: np.random.Generator,
        rng: np.random.Generator,
        certified: NDArray[np.bool_] | None = None,
    ) -> None:
        self.name, self._board, self._nodes, self.noise = name, board, nodes, noise
        self.clock = "card" if settings.synchronised else f"{name} {FREE_RUNNING}"
        self.shares_delay = settings.delays == "common"
        self.n_channels = len(nodes)
        self._range = settings.range
        self.limits = MeterLimits(np.full(len(nodes), -settings.range), np.full(len(nodes), settings.range))
        self._noise = settings.noise
        gain_error, offset = _spreads(settings, certified, len(nodes))
        self._gain = 1 + gain_error * rng.standard_normal(len(nodes))
        self.offset: Array = offset * rng.standard_normal(len(nodes))
        self._bits = settings.bits
        self.skews: Array = np.asarray(settings.skew * np.arange(len(nodes)))
        started = rng.uniform(0, period, len(nodes))
        free = started if settings.delays == "each" else np.full(len(nodes), started[0])
        self.delays: Array = self.skews + settings.common_delay + (0.0 if settings.synchronised else free)
        deviates = rng.spawn(1)[0].standard_normal((3, len(nodes)))  # a stream of its own, as the source's
        self.delays = self.delays + settings.hidden_skew * deviates[0]
        self.pickup: Array = settings.pickup * deviates[1]
        self._drift = settings.drift * deviates[2] / _DRIFT_RECORDS
        self._hum, self._hum_frequency = settings.hum, settings.hum_frequency
        self.unread = np.zeros(len(nodes), dtype=np.bool_)
        self.exact = not (settings.noise or gain_error.any() or offset.any() or settings.bits)
        self.exact = self.exact and not (settings.pickup or settings.hum or settings.drift)
        self.punctual = not (settings.common_delay or settings.hidden_skew)
        self.skewed = bool(self.skews.any())
        self._armed: Timing | None = None
        self._open = True

    @property
    def gain(self) -> Array:
        """What each channel reads for a volt, by now, (channel,)."""
        return np.asarray(self._gain * np.exp(self._drift * self._board.records)) if self._drift.any() else self._gain

    @property
    def sample_noise(self) -> float:
        """Noise of a sample, V rms, the converter's step / sqrt(12) included."""
        step = self._range / 2 ** (self._bits - 1) if self._bits else 0.0
        return float(np.hypot(self._noise, step / np.sqrt(12)))

    def identify(self) -> Identity:
        """Tell that it is simulated."""
        return Identity(_MAKER, "simulated meter")

    def arm(self, n_samples: int, sample_rate: float) -> Timing:
        """Get ready; any rate is met exactly."""
        if not self._open:
            raise ConnectionLostError(f'meter "{self.name}" is closed; open the bench again')
        if n_samples < 1 or not 0 < sample_rate <= self.limits.largest_sample_rate or np.isinf(sample_rate):
            raise LimitError(
                f'meter "{self.name}": {n_samples} samples at {sample_rate:g} Hz asked; it takes at least 1, at up to '
                f"{self.limits.largest_sample_rate:g} Hz"
            )
        self._armed = Timing(sample_rate, n_samples)
        return self._armed

    def read(self) -> Record:
        """Look at the nodes at each sample's instant."""
        if self._armed is None:
            raise ProtocolError(f'meter "{self.name}" was read before it was armed; call arm() first')
        timing, self._armed = self._armed, None
        true = self._true_volts(timing)
        if self.unread.any():
            true[self.unread] = 0.0
        seen = true * self.gain[:, None] + self.offset[:, None]
        self._board.records += 1
        self._add_stray(seen, timing)
        if self._noise:
            seen = seen + self._noise * self.noise.standard_normal(seen.shape)
        highest = self._range
        if self._bits:
            seen = quantised(seen, self._range, self._bits)
            highest *= 1 - 2.0 ** (1 - self._bits)
        end = (seen >= highest) | (seen <= -self._range)
        return Record(
            np.minimum(np.maximum(seen, -self._range), self._range),
            timing.sample_rate,
            self.skews.copy(),
            end.sum(axis=1).astype(np.float64),
            np.zeros(self.n_channels),
        )

    def make_safe(self) -> None:
        """Forget that it was armed; a meter drives nothing."""
        self._armed = None

    def close(self) -> None:
        """Nothing can be armed any more."""
        self._armed, self._open = None, False

    def _add_stray(self, seen: Array, timing: Timing) -> None:
        """Add what comes in beside the node's voltage: the nudge itself, while it runs, and hum."""
        now, on = self._board.excitation, ~self.unread
        times = np.arange(timing.n_samples) / timing.sample_rate + self.delays[on, None]
        if now.waveform is not None and self.pickup.any():
            seen[on] += self.pickup[on, None] * now.waveform.at(now.frequency * times)
        if self._hum:
            phase = self.noise.uniform(0, 2 * np.pi)
            seen[on] += self._hum * np.sin(2 * np.pi * self._hum_frequency * times + phase)

    def _true_volts(self, timing: Timing) -> Array:
        now = self._board.excitation
        if self._board.capacitance is not None:
            times = np.arange(timing.n_samples) / timing.sample_rate
            return self._board.record(self._nodes, times, self.delays)
        if now.waveform is None and self._board.feedback is None:
            return np.repeat(self._board.volts(np.zeros(1))[0, self._nodes][:, None], timing.n_samples, axis=1)
        waveform = now.waveform
        if waveform is None:
            raise ProtocolError(f'meter "{self.name}": a nudge that follows the state needs a waveform')
        phase = now.frequency * np.arange(timing.n_samples) / timing.sample_rate
        if not self.delays.any():
            return self._board.volts(waveform.at(phase))[:, self._nodes].T
        f = waveform.at(phase + now.frequency * self.delays[:, None])
        if self._board.network.is_linear and self._board.feedback is None and now.converter is None:
            static, nudge = self._board.static_and_nudge()
            return np.asarray(static[self._nodes, None] + f * nudge[self._nodes, None])
        volts = self._board.volts(f.ravel()).reshape(*f.shape, -1)
        return np.stack([volts[channel, :, node] for channel, node in enumerate(self._nodes)])


def _spreads(
    settings: SourceSection | MeterSection, certified: NDArray[np.bool_] | None, n_channels: int
) -> tuple[Array, Array]:
    """Return the standard deviations of each channel's gain and offset, (channel,) each."""
    listed = settings.certified or CertifiedSection(nodes=["none"])
    good = np.zeros(n_channels, dtype=np.bool_) if certified is None else certified
    return (
        np.where(good, listed.gain, settings.gain_error),
        np.where(good, listed.offset, settings.offset),
    )
