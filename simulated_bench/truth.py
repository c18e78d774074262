"""What is true of a simulated bench, in plain values. For tests only: at a real bench nobody can ask.

Nothing that measures, calibrates or trains may look here; tests hold against it what those found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from freqprop_lab.values import Array
from simulated_bench.faults import FaultsSection


@dataclass(frozen=True)
class Truth:
    """The hidden truth by now. Channels as they are named in `source_channels` and `meter_channels`.

    source_gain: what a channel puts out for a volt (ampere) asked; source_offset: V; source_resistance: Ohm, of the
    true resistor in series, 0 where it is stiff. meter_gain: reading per volt; meter_offset: V; meter_delay: s, all of
    it (late is positive); meter_skew: s, what of it is known; meter_pickup: V, how much of the running nudge is read
    directly. conductance: true S of the tunable branches, (tunable,), were they set to these nominal ones, see
    `SimulatedResistors.conductances_of`. tunable: what they conduct now, S, (tunable,). fixed: true S of the fixed
    resistors by name. capacitance: F, (node,), to ground. stuck: tunable branches whose element is.
    """

    source_channels: tuple[str, ...]
    source_gain: Array
    source_offset: Array
    source_resistance: Array
    meter_channels: tuple[str, ...]
    meter_gain: Array
    meter_offset: Array
    meter_delay: Array
    meter_skew: Array
    meter_pickup: Array
    conductance: Callable[[Array], Array]
    tunable: Array
    fixed: Mapping[str, float]
    capacitance: Array
    stuck: tuple[str, ...]
    faults: FaultsSection
