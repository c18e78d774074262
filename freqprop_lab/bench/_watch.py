"""Watching a bench between epochs: somebody else's knowledge of what it should read, as an interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from freqprop_lab.bench._bench import Bench
from freqprop_lab.instruments import InstrumentError


class BenchChangedError(InstrumentError):
    """The bench no longer does what it did: a drift, a pulled wire, a stuck element; the message names it."""


class BenchWatch(ABC):
    """A cheap probe of an open bench. every: how many epochs lie between two probes.

    What a package registers under `freqprop_lab.corrections` as `self-check` is a class of these, made with a
    `config.SelfCheckSection`. A probe leaves the conductances as it found them.
    """

    every: int

    @abstractmethod
    def begin(self, bench: Bench) -> None:
        """Probe for the first time: what is read is how the bench is. Raises BenchChangedError for nonsense."""

    @abstractmethod
    def check(self, bench: Bench) -> None:
        """Probe again. Raises BenchChangedError, naming what changed since `begin`."""

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a checkpoint must hold, so that a resumed run goes by the same first probe."""

    @abstractmethod
    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up a state that `state` returned."""
