"""Costs: values by hand, and gradients against differences of the values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from freqprop_lab.tasks import COSTS, Cost, Objective
from freqprop_lab.tasks._costs import make_cost

approx = pytest.approx

drawn = settings(max_examples=60, deadline=None, derandomize=True, database=None)
volts = st.lists(st.floats(-2, 2), min_size=3, max_size=3).map(np.array)


@pytest.fixture(params=COSTS)
def cost(request: pytest.FixtureRequest) -> Cost:
    return make_cost(request.param, 0.5)


def test_squared_cost_of_two_outputs() -> None:
    squared = make_cost("squared", 1.0)
    outputs, target = np.array([1.0, 3.0]), np.array([0.0, 1.0])
    assert squared.value(outputs, target) == approx(2.5)  # (1 + 4) / 2
    assert squared.gradient(outputs, target) == approx([1, 2])
    assert squared.curvature(outputs, target) == approx(np.eye(2))


def test_one_sided_cost_counts_what_falls_short_only() -> None:
    one_sided = make_cost("one-sided", 1.0)
    # Beyond 1; short of 1 by 0.5; beyond -1; short of -1 by 1.5, on the wrong side.
    outputs, target = np.array([1.5, 0.5, -2.0, 0.5]), np.array([1.0, 1.0, -1.0, -1.0])
    assert one_sided.value(outputs, target) == approx((0.25 + 2.25) / 2)
    assert one_sided.gradient(outputs, target) == approx([0, -0.5, 0, 1.5])
    assert one_sided.curvature(outputs, target) == approx(np.diag([0.0, 1, 0, 1]))


@drawn
@given(volts, st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3).map(np.array))
def test_one_sided_cost_is_exactly_zero_where_every_output_satisfies(beyond: np.ndarray, target: np.ndarray) -> None:
    one_sided = make_cost("one-sided", 1.0)
    outputs = target + target * np.abs(beyond)
    assert one_sided.value(outputs, target) == 0
    assert (one_sided.gradient(outputs, target) == 0).all()


def test_one_sided_cost_of_a_target_of_zero_is_zero() -> None:
    assert make_cost("one-sided", 1.0).value(np.array([3.0, -3.0]), np.zeros(2)) == 0


def test_cross_entropy_of_two_outputs() -> None:
    cross_entropy = make_cost("cross-entropy", 2.0)
    # v / tau = (ln 3, 0): softmax (3/4, 1/4); the class is the second, so C = -2 ln(1/4).
    outputs, target = np.array([2 * np.log(3), 0.0]), np.array([0.0, 1.0])
    assert cross_entropy.value(outputs, target) == approx(2 * np.log(4))
    assert cross_entropy.gradient(outputs, target) == approx([0.75, -0.75])
    # (diag p - p p^T) / tau, p = (3/4, 1/4): 3/16 / 2
    assert cross_entropy.curvature(outputs, target) == approx(np.array([[1, -1], [-1, 1]]) * 3 / 32)


def test_cross_entropy_of_equal_outputs_is_tau_log_of_their_number() -> None:
    assert make_cost("cross-entropy", 0.2).value(np.zeros(3), np.eye(3)[1]) == approx(0.2 * np.log(3))


def test_cross_entropy_of_far_outputs_does_not_overflow() -> None:
    far = make_cost("cross-entropy", 1e-3)
    # 5 V at tau 1 mV: exp(5000) is beyond a float; the wrong class costs the difference, 10 V.
    assert far.value(np.array([5.0, -5.0]), np.array([0.0, 1.0])) == approx(10.0)
    assert far.gradient(np.array([5.0, -5.0]), np.array([0.0, 1.0])) == approx([1.0, -1.0])


@drawn
@given(volts, st.integers(0, 2))
def test_cross_entropy_gradient_sums_to_zero(outputs: np.ndarray, wanted: int) -> None:
    gradient = make_cost("cross-entropy", 0.3).gradient(outputs, np.eye(3)[wanted])
    assert gradient.sum() == approx(0, abs=1e-14)
    assert gradient[wanted] <= 0


@drawn
@given(outputs=volts, target=st.sampled_from([np.array([1.0, -1, -1]), np.array([-1.0, 1, -1])]))
def test_gradient_is_the_slope_of_the_value_and_curvature_that_of_the_gradient(
    outputs: np.ndarray, target: np.ndarray
) -> None:
    step = 1e-5
    assume((np.abs(outputs - target) > 10 * step).all())  # the one-sided cost has a kink there
    for cost in (make_cost(name, 0.5) for name in COSTS):
        moved = step * np.eye(3)
        slope = [(cost.value(outputs + d, target) - cost.value(outputs - d, target)) / (2 * step) for d in moved]
        bend = [(cost.gradient(outputs + d, target) - cost.gradient(outputs - d, target)) / (2 * step) for d in moved]
        # Third derivatives are at most 1 / tau^2 = 4: truncation 4 step^2, and rounding 1e-15 x 10 / step.
        assert cost.gradient(outputs, target) == approx(np.array(slope), abs=1e-8)
        assert cost.curvature(outputs, target) == approx(np.array(bend), abs=1e-8)


def test_costs_of_a_batch_are_those_of_its_examples(cost: Cost) -> None:
    outputs = np.array([[0.3, -1.2, 0.5], [1.0, 2.0, -0.7]])
    target = np.array([[1.0, -1, -1], [-1.0, -1, 1]])
    assert cost.value(outputs, target) == approx(
        np.array([cost.value(v, y) for v, y in zip(outputs, target, strict=True)])
    )
    assert cost.gradient(outputs, target) == approx(
        np.array([cost.gradient(v, y) for v, y in zip(outputs, target, strict=True)])
    )


def test_an_objective_is_the_cost_in_volts() -> None:
    # Outputs 2 and 6 V at s_V = 2 V are 1 and 3 task volts: C = 2.5, times s_V^2; gradient (1, 2) times s_V.
    objective = Objective(make_cost("squared", 1.0), np.array([0.0, 1.0]), volts=2.0)
    assert objective.value(np.array([2.0, 6.0])) == approx(10.0)
    assert objective.gradient(np.array([2.0, 6.0])) == approx([2, 4])
    assert objective.curvature(np.array([2.0, 6.0])) == approx(np.eye(2))
