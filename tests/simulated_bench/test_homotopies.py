"""Small steps towards an equilibrium, with Newton's method played by functions that fail when they are told to."""

from __future__ import annotations

import numpy as np

from simulated_bench.homotopies import by_small_steps


def test_a_start_that_works_is_all_that_is_tried():
    asked = []

    def attempt(share, u, shunt):
        asked.append((share, u.tolist(), shunt))
        return u + 1, True

    found, arrived = by_small_steps(attempt, np.array([5.0]), lambda: 1.0)
    assert (found.tolist(), arrived, asked) == ([6.0], True, [(1.0, [5.0], 0.0)])


def test_shunts_fade_from_ten_times_the_largest_conductance_to_nothing():
    shunts = []

    def attempt(share, u, shunt):
        shunts.append(shunt)
        near = shunt > 0 or u[0] > 0  # nothing works from rest without a shunt
        return u + 1, near

    found, arrived = by_small_steps(attempt, np.zeros(1), lambda: 3.0)
    assert arrived
    assert shunts[:3] == [0.0, 0.0, 30.0]
    assert shunts[-2] <= 3e-18
    assert shunts[-1] == 0.0
    assert (np.diff(shunts[2:]) < 0).all()
    assert found[0] == len(shunts) - 2


def test_sources_rise_by_smaller_steps_where_a_larger_one_fails():
    shares = [0.0]

    def attempt(share, u, shunt):
        if shunt or share - shares[-1] > 0.05:
            return u, False
        shares.append(share)
        return np.array([share]), True

    found, arrived = by_small_steps(attempt, np.zeros(1), lambda: 1.0)
    assert arrived
    assert found.tolist() == [1.0]
    assert shares[-1] == 1.0
    assert max(np.diff(shares)) <= 0.05


def test_where_nothing_helps_the_last_finite_state_is_told():
    def attempt(share, u, shunt):
        return np.array([np.nan if shunt else share]), False

    found, arrived = by_small_steps(attempt, np.zeros(1), lambda: 1.0)
    assert not arrived
    assert np.isfinite(found).all()
