"""One seed, several random streams: drawing more from one never shifts another."""

from __future__ import annotations

import numpy as np

# The order is part of every run's meaning: add at the end, never in between.
STREAMS = ("graph", "ports", "start", "split", "order", "rounding", "noise")


def random_streams(seed: int) -> dict[str, np.random.Generator]:
    """Spawn one generator for each purpose in `STREAMS`. seed: a whole number, at least 0."""
    children = np.random.SeedSequence(seed).spawn(len(STREAMS))
    return {name: np.random.default_rng(child) for name, child in zip(STREAMS, children, strict=True)}
