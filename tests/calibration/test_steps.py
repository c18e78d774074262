"""A source's converter: which values it was asked for, and how far it misses them, beside gain and offset."""

from __future__ import annotations

import numpy as np
import pytest
from benches import opened

from calibration.drives import all_alike, one_at_a_time, sizes
from calibration.levels import LevelsFit, State
from calibration.procedures.constant_levels import Gains
from calibration.running import _take
from calibration.steps import Steps
from calibration.subject import subject_of


def test_each_distinct_value_of_a_channel_is_a_parameter():
    levels = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.5], [-1.0, 0.0]])
    steps = Steps.of([levels[:2], levels[2:]])
    assert steps.count == 3 + 2
    assert steps.reach == pytest.approx([1.0, 1.0, 1.0, 0.25, 0.25])
    missed = steps.missed(np.array([10.0, 20.0, 30.0, 40.0, 50.0]), 1)  # lowest value first
    assert missed.tolist() == [[30.0, 50.0], [10.0, 40.0]]
    by_level = np.ones((2, 1, 2))
    assert steps.columns(by_level, 1)[:, 0].tolist() == [[0, 0, 1, 0, 1], [1, 0, 0, 1, 0]]


@pytest.mark.parametrize(("source", "low", "high"), [("bits: 16, ", 4e-5, 2e-4), ("", 0.0, 2e-5)])
def test_the_size_of_a_converters_steps_is_told_by_the_readings(source, low, high):
    """16 bits over 20 V: 305 uV, whose uniform errors are 88 uV rms."""
    bench = opened(2, replaced={"source": f"source: {{{source}gain_error: 2 %, offset: 5 mV}}\n"})
    subject = subject_of(bench)
    measured = Gains(samples=4000).measurements(subject)
    taken = [_take(bench, each, bench.sampling) for each in measured]
    fit = LevelsFit(subject, [State.of(measured, taken)], afresh=True)
    assert low < fit.step * fit.steps.reach.max() < high


def test_no_two_channels_and_no_up_and_down_are_asked_for_the_same():
    subject = subject_of(opened(0))
    size = sizes(subject, 1.0)
    for drives in (one_at_a_time(subject, size), all_alike(subject, size)):
        moved = np.abs([drive.levels for drive in drives])
        values = moved[moved > 0]
        assert values.max() <= 1.0
        # A lead's own are asked again in other drives; beyond those nothing comes twice.
        for lead in range(moved.shape[1]):
            others = np.delete(moved, lead, axis=1)
            own = moved[:, lead][moved[:, lead] > 0]
            assert not np.isin(np.round(own, 9), np.round(others[others > 0], 9)).any()
