"""Random streams: one seed, and no purpose disturbs another."""

from __future__ import annotations

import numpy as np
import pytest

from freqprop_lab.streams import STREAMS, random_streams


def test_a_stream_is_the_numbered_child_of_the_seed():
    # numpy's own definition of a spawned child; a change here would change every recorded run.
    for number, name in enumerate(("graph", "ports", "start", "split", "order", "rounding", "noise")):
        expected = np.random.default_rng(np.random.SeedSequence(17, spawn_key=(number,))).random(3)
        assert random_streams(17)[name].random(3).tolist() == expected.tolist()


def test_drawing_from_one_stream_shifts_no_other():
    quiet, busy = random_streams(5), random_streams(5)
    busy["graph"].random(1000)
    assert quiet["noise"].random(4).tolist() == busy["noise"].random(4).tolist()


def test_streams_and_seeds_differ():
    draws = {random_streams(seed)[name].random() for seed in (0, 1, 2) for name in STREAMS}
    assert len(draws) == 3 * len(STREAMS)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="non-negative"):
        random_streams(-1)
