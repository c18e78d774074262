"""Estimates with their uncertainties: against weighted means by hand, and against one dense solve."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.estimate import Belief, Linearised, estimate


def test_one_value_is_the_weighted_mean_of_readings_and_belief():
    """Readings 1.0, 1.2 with noise 0.1; believed 2.0 with 0.2: weights 100, 100, 25."""
    readings = np.array([1.0, 1.2])

    def model(_, shared, own):
        return Linearised((readings - shared[0]) / 0.1, np.full((2, 1), 1 / 0.1), np.zeros((2, 0)))

    nothing = Belief(np.zeros(0), np.zeros(0))
    found = estimate(model, Belief(np.array([2.0]), np.array([0.2])), [nothing])
    assert found.shared == pytest.approx([(100 * 1.0 + 100 * 1.2 + 25 * 2.0) / 225], rel=1e-12)
    assert found.covariance == pytest.approx(np.array([[1 / 225]]), rel=1e-12)
    # Scatter of the readings alone: 200 / 225^2; the belief's part: 25 / 225^2.
    assert found.shared_type_a == pytest.approx([np.sqrt(200) / 225], rel=1e-9)
    assert found.shared_type_b == pytest.approx([np.sqrt(25) / 225], rel=1e-9)


def test_states_eliminated_one_by_one_give_what_one_dense_solve_gives():
    rng = np.random.default_rng(5)
    shared, own = rng.normal(size=3), [rng.normal(size=2) for _ in range(3)]
    A = [rng.normal(size=(12, 3)) for _ in range(3)]
    B = [rng.normal(size=(12, 2)) for _ in range(3)]
    y = [a @ shared + b @ mine + rng.normal(size=12) for a, b, mine in zip(A, B, own, strict=True)]

    def model(state, x, z):
        return Linearised(y[state] - A[state] @ x - B[state] @ z, A[state], B[state])

    follows = np.array([2, 0])
    belief, beliefs = Belief(np.zeros(3), np.full(3, 2.0)), [Belief(np.zeros(2), np.full(2, 3.0), follows)] * 3
    found = estimate(model, belief, beliefs)
    J = np.zeros((36, 9))
    for state in range(3):
        J[12 * state : 12 * state + 12, :3] = A[state]
        J[12 * state : 12 * state + 12, 3 + 2 * state : 5 + 2 * state] = B[state]
    believed = np.zeros((9, 9))  # rows: each parameter over its uncertainty; a state's own less the one that it follows
    believed[:3, :3] = np.eye(3) / 2
    for state in range(3):
        own_part = slice(3 + 2 * state, 5 + 2 * state)
        believed[own_part, own_part] = np.eye(2) / 3
        believed[own_part, follows] = -np.eye(2) / 3
    P = believed.T @ believed
    C = np.linalg.inv(J.T @ J + P)
    assert np.concatenate([found.shared, *found.own]) == pytest.approx(C @ J.T @ np.concatenate(y), rel=1e-9)
    a, b = np.sqrt(np.diag(C @ J.T @ J @ C)), np.sqrt(np.diag(C @ P @ C))
    assert np.concatenate([found.shared_type_a, *found.own_type_a]) == pytest.approx(a, rel=1e-9)
    assert np.concatenate([found.shared_type_b, *found.own_type_b]) == pytest.approx(b, rel=1e-9)
    by = rng.normal(size=(4, 9))
    parts = [by[:, 3 + 2 * state : 5 + 2 * state] for state in range(3)]
    assert found.through(by[:, :3], parts) == pytest.approx(by @ C @ by.T, rel=1e-9)
    for state, block in enumerate(found.own_covariance):
        assert block == pytest.approx(C[3 + 2 * state : 5 + 2 * state, 3 + 2 * state : 5 + 2 * state], rel=1e-9)


def test_a_bent_model_is_followed_to_its_minimum():
    """Reading exp(x) = 10 to 1 %: x = ln 10 with 0.01."""

    def model(_, shared, own):
        value = np.exp(shared)
        return Linearised((10 - value) / 0.1, np.diag(value / 0.1), np.zeros((1, 0)))

    found = estimate(model, Belief(np.array([0.0]), np.array([100.0])), [Belief(np.zeros(0), np.zeros(0))])
    assert found.shared == pytest.approx([np.log(10)], abs=1e-6)
    assert np.sqrt(found.covariance[0, 0]) == pytest.approx(0.01, rel=1e-3)


def test_what_strays_from_a_shared_value_is_not_believed_anew_in_each_state():
    """A part of tolerance 3 that strays by 4 in each of two states: 5 in each, 3 and 4 / sqrt(2) in the mean of both.

    Read in the first without noise as 25: its deviation is 25 * 9 / 25 = 9, and so is the second's.
    """

    def model(state: int, shared: np.ndarray, own: np.ndarray) -> Linearised:
        noise = 1e-4 if state == 0 else 1e9
        return Linearised((25 - own) / noise, np.zeros((1, 1)), np.array([[1 / noise]]))

    belief, stray = Belief(np.zeros(1), np.array([3.0])), Belief(np.zeros(1), np.array([4.0]), np.array([0]))
    found = estimate(model, belief, [stray, stray])
    assert found.shared == pytest.approx([9.0], rel=1e-6)
    assert found.own[0] == pytest.approx([25.0], rel=1e-6)
    assert found.own[1] == pytest.approx([9.0], rel=1e-6)
    assert found.covariance[0, 0] == pytest.approx(9 * 16 / 25, rel=1e-6)
    assert found.own_covariance[1][0, 0] == pytest.approx(9 * 16 / 25 + 16, rel=1e-6)
    assert found.own_type_b[1] == pytest.approx([np.sqrt(9 * 16 / 25 + 16)], rel=1e-6)
    unseen = estimate(
        lambda state, shared, own: Linearised(0 * own, np.zeros((1, 1)), np.zeros((1, 1))), belief, [stray, stray]
    )
    mean = unseen.through(np.zeros((1, 1)), [np.array([[0.5]]), np.array([[0.5]])])
    assert mean[0, 0] == pytest.approx(9 + 16 / 2, rel=1e-12)
