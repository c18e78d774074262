"""A meter that reads voltages which never change: an example of a driver in a package of its own."""

from typing import Any

import numpy as np
from freqprop_lab.bench import ChannelUse, InstrumentKind, Roles
from freqprop_lab.config import Section, Volts
from freqprop_lab.instruments import (
    Ability,
    ConnectionLostError,
    Identity,
    LimitError,
    Meter,
    MeterLimits,
    ProtocolError,
)
from freqprop_lab.values import Record, Timing


class StillMeterSection(Section):
    """Its fields in a bench file."""

    driver: str
    reading: Volts = 0.0


class StillMeter(Meter):
    """Every channel reads the same voltage, up to 10 V."""

    abilities = frozenset({Ability.SAMPLES})

    def __init__(self, name: str, n_channels: int, reading: float) -> None:
        self.name, self.clock, self.n_channels = name, name, n_channels
        self.limits = MeterLimits(np.full(n_channels, -10.0), np.full(n_channels, 10.0), 1e6)
        self.volts = np.full(n_channels, reading)
        self._armed, self._open = None, True

    def identify(self) -> Identity:
        return Identity("example", "still meter")

    def arm(self, n_samples: int, sample_rate: float) -> Timing:
        if not self._open:
            raise ConnectionLostError(f'meter "{self.name}" is closed; open the bench again')
        if n_samples < 1 or not 0 < sample_rate <= self.limits.largest_sample_rate:
            raise LimitError(f'meter "{self.name}": {n_samples} samples at {sample_rate} Hz; at least 1, at most 1 MHz')
        self._armed = Timing(sample_rate, n_samples)
        return self._armed

    def read(self) -> Record:
        if self._armed is None:
            raise ProtocolError(f'meter "{self.name}" was read before it was armed; call arm() first')
        timing, self._armed = self._armed, None
        volts = np.repeat(np.clip(self.volts, -10, 10)[:, None], timing.n_samples, axis=1)
        clipped = np.where(np.abs(self.volts) >= 10, float(timing.n_samples), 0.0)
        return Record(volts, timing.sample_rate, np.zeros(self.n_channels), clipped, np.zeros(self.n_channels))

    def make_safe(self) -> None:
        self._armed = None

    def close(self) -> None:
        self._armed, self._open = None, False


class StillMeterKind(InstrumentKind):
    """What the entry point names."""

    model = StillMeterSection

    def open(self, name: str, settings: Any, use: ChannelUse) -> Roles:
        return Roles(meter=StillMeter(name, len(use.reads), settings.reading))


STILL_METER = StillMeterKind()
