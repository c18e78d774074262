"""Benches: instruments wired to a network. Measure a drive, program conductances, make safe."""

from freqprop_lab.bench._bench import Bench, OnChannels
from freqprop_lab.bench._described import described_network
from freqprop_lab.bench._kinds import (
    BenchKind,
    ChannelUse,
    Corrector,
    Found,
    InstrumentKind,
    Roles,
    describe_bench,
    open_bench,
    watch_of,
)
from freqprop_lab.bench._legs import Leg, input_legs, nudge_legs
from freqprop_lab.bench._ratings import Margin, margins, rated_conductance
from freqprop_lab.bench._watch import BenchChangedError, BenchWatch
from freqprop_lab.bench._wired import (
    WIRED_BENCH,
    WiredBench,
    WiredBenchFile,
    channel_use,
    checked_instrument,
    make_file_safe,
    wired_network,
)
from freqprop_lab.bench._wiring import Lead, MeterWiring, ResistorWiring, SourceWiring, WiringRow, leads

__all__ = [
    "WIRED_BENCH",
    "Bench",
    "BenchChangedError",
    "BenchKind",
    "BenchWatch",
    "ChannelUse",
    "Corrector",
    "Found",
    "InstrumentKind",
    "Lead",
    "Leg",
    "Margin",
    "MeterWiring",
    "OnChannels",
    "ResistorWiring",
    "Roles",
    "SourceWiring",
    "WiredBench",
    "WiredBenchFile",
    "WiringRow",
    "channel_use",
    "checked_instrument",
    "describe_bench",
    "described_network",
    "input_legs",
    "leads",
    "make_file_safe",
    "margins",
    "nudge_legs",
    "open_bench",
    "rated_conductance",
    "watch_of",
    "wired_network",
]
