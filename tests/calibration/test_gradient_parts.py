"""The parts of `calibrate gradient`, each on numbers worked out by hand or published."""

import numpy as np
import pytest
from pytest import approx

from calibration.gradient import (
    Cause,
    Comparison,
    Effect,
    Point,
    cosine_between,
    fit_delays,
    line_through,
    slope_at,
)


def divider(G: float) -> float:
    """Return the output of 1 V over G against 1 mS to ground, V."""
    return G / (G + 1e-3)


def points(base: float, factors: list[float], noise: float = 1e-9) -> list[Point]:
    return [Point(base * f, np.array([divider(base * f)]), np.array([noise])) for f in [1.0, *factors]]


def test_the_derivative_of_a_divider_is_the_one_on_paper():
    base, *others = points(0.5e-3, [1.2, 0.8, 1.1, 0.9])
    slope = slope_at(base, others, np.array([0.1]))
    # dv/dG = g / (G + g)^2 = 1e-3 / (1.5e-3)^2 = 444.44 V/S
    assert slope.outputs == approx([1e-3 / 1.5e-3**2], rel=1e-5)
    assert slope.cost == approx(0.1 * 1e-3 / 1.5e-3**2, rel=1e-5)
    assert abs(slope.outputs[0] - 1e-3 / 1.5e-3**2) < 2 * slope.uncertainty[0]


@pytest.mark.parametrize("factors", [[2.0], [0.5], [2.0, 0.5], [4.0, 0.25], [1.5, 0.75, 0.8]])
def test_coarse_steps_are_told_with_a_doubt_that_covers_the_truth(factors: list[float]):
    base, *others = points(0.5e-3, factors)
    slope = slope_at(base, others, np.array([1.0]))
    assert abs(slope.outputs[0] - 1e-3 / 1.5e-3**2) < 2 * slope.uncertainty[0]
    assert slope.curvature[0] > 10 * slope.noise[0]  # it is the curvature, not the noise, that makes it doubtful


def test_an_element_that_never_moved_has_no_derivative():
    base, *others = points(0.5e-3, [1.0, 1.0])
    assert slope_at(base, others, np.array([1.0])) is None


def test_the_doubt_of_a_derivative_is_its_scatter():
    rng, found, said = np.random.default_rng(11), [], []
    for _ in range(400):
        clean = points(0.5e-3, [1.2, 0.8, 1.1, 0.9], noise=1e-4)
        noisy = [Point(p.conductance, p.outputs + 1e-4 * rng.standard_normal(1), p.noise) for p in clean]
        slope = slope_at(noisy[0], noisy[1:], np.array([1.0]))
        found.append(slope.outputs[0])
        said.append(slope.noise[0])
    assert np.std(found) == approx(np.mean(said), rel=0.1)  # 400 draws: 3.5 %


def test_pearsons_data_with_yorks_weights():
    # York et al., Am. J. Phys. 72 (2004) 367: a = 5.4799, b = -0.48053, u(a) = 0.29497, u(b) = 0.057985, S = 11.866
    x = np.array([0.0, 0.9, 1.8, 2.6, 3.3, 4.4, 5.2, 6.1, 6.5, 7.4])
    y = np.array([5.9, 5.4, 4.4, 4.6, 3.5, 3.7, 2.8, 2.8, 2.4, 1.5])
    weight_x = np.array([1000, 1000, 500, 800, 200, 80, 60, 20, 1.8, 1.0])
    weight_y = np.array([1, 1.8, 4, 8, 20, 20, 70, 70, 100, 500.0])
    line = line_through(x, y, weight_x**-0.5, weight_y**-0.5)
    assert line.slope == approx(-0.480533407, rel=1e-7)
    assert line.intercept == approx(5.47991022, rel=1e-7)
    assert line.misfit**2 * 8 == approx(11.8663532, rel=1e-6)
    assert line.slope_uncertainty / line.misfit == approx(0.057985, rel=1e-3)
    assert line.intercept_uncertainty / line.misfit == approx(0.29497, rel=1e-3)


def test_a_line_through_the_origin_by_hand():
    # y doubts alone, equal: slope = sum xy / sum x^2 = 28 / 14
    line = line_through(np.array([1.0, 2, 3]), np.array([2.0, 4, 6]), np.full(3, 1e-12), np.full(3, 0.1), origin=True)
    assert line.slope == approx(2.0)
    assert line.slope_uncertainty == approx(0.1 / np.sqrt(14))
    assert line.intercept == 0.0


def test_a_line_needs_as_many_points_as_parameters():
    with pytest.raises(ValueError, match="1 points don't tell a line of 2 parameters"):
        line_through(np.array([1.0]), np.array([1.0]), np.array([0.1]), np.array([0.1]))


def test_cosines_by_hand():
    x, y = np.array([3.0, 4.0, 0.0]), np.array([4.0, 3.0, 0.0])
    cosine, low, high = cosine_between(x, y, np.full(3, 1e-9), np.full(3, 1e-9))
    assert cosine == approx(24 / 25)
    assert low == approx(cosine, abs=1e-6)
    assert high == approx(cosine, abs=1e-6)
    assert cosine_between(x, x, np.full(3, 0.1), np.full(3, 0.1))[2] == 1.0


def test_the_interval_of_a_cosine_covers_it():
    rng, truth, covered = np.random.default_rng(12), np.linspace(-1, 1, 12), 0
    other = truth + 0.2 * np.cos(np.arange(12.0))
    exact = truth @ other / np.sqrt(truth @ truth * (other @ other))
    for _ in range(200):
        u = np.full(12, 0.03)
        x, y = (each + u * rng.standard_normal(12) for each in (truth, other))
        low, high = cosine_between(x, y, u, u)[1:]
        covered += low <= exact <= high
    assert covered >= 180  # 95 % of 200, less 3 standard deviations


def tones_of(delay: float, tau: float, frequencies: list[float]) -> list[np.ndarray]:
    """Return what one pole behind a delay makes of two tones, in a record at each frequency, (1 node, 2)."""
    found = []
    for frequency in frequencies:
        omega = 2 * np.pi * frequency * np.arange(1, 3)
        found.append((0.2 * np.exp(1j * omega * delay) / (1 + 1j * omega * tau))[None])
    return found


@pytest.mark.parametrize("delay", [0.0, 1.5e-3, -1.5e-3, 4.6e-3, -6e-3])
@pytest.mark.parametrize("tau", [0.0, 1e-3, 5e-3])
def test_a_late_channel_is_told_from_a_slow_node(delay: float, tau: float):
    hertz = [50.0, 100.0]
    found = fit_delays(tones_of(delay, tau, hertz), hertz, [np.array([1e-6])] * 2)
    assert found.delay == approx([delay], abs=1e-6)
    # The pole turns the lowest tone, 50 Hz, by atan(omega tau).
    assert found.lag == approx([np.arctan(100 * np.pi * tau) / (100 * np.pi)], abs=1e-6)


def test_the_doubt_of_a_delay_covers_what_a_relaxation_that_is_lost_in_noise_would_do():
    rng, hertz, covered = np.random.default_rng(13), [50.0, 100.0], 0
    # omega tau is 0.06 at 100 Hz and lowers the size by 0.2 %, less than its noise of 0.5 %
    for _ in range(300):
        noisy = [
            each + 1e-3 * (rng.standard_normal(each.shape) + 1j * rng.standard_normal(each.shape)) / np.sqrt(2)
            for each in tones_of(1e-3, 1e-4, hertz)
        ]
        one = fit_delays(noisy, hertz, [np.array([1e-3 / np.sqrt(2)])] * 2)
        covered += abs(one.delay[0] - 1e-3) < 2 * one.uncertainty[0]
        assert one.uncertainty[0] < 3e-4
    assert covered >= 285


def compared(difference: np.ndarray, effects: dict[Cause, np.ndarray], u: float = 1e-3) -> Comparison:
    product = difference + sum(effects.values())
    doubt = np.full(len(difference), u)
    each = {cause: Effect(values, doubt) for cause, values in effects.items()}
    return Comparison(product, doubt, difference, doubt, each, 0.05)


def test_the_cause_without_which_least_is_left_is_the_main_one():
    x = np.array([1.0, -2.0, 0.5, 0.1])
    found = compared(x, {Cause.OFFSET: np.array([0.1, 0.1, 0, 0]), Cause.GAMMA: -0.5 * x, Cause.OMEGA: 0.02 * x})
    assert found.main_cause is Cause.GAMMA
    assert found.size(Cause.GAMMA).value == approx(0.5, rel=1e-3)
    assert found.remainder.value < 0.01


def test_a_deviation_that_no_cause_explains_has_no_main_one():
    x = np.array([1.0, -2.0, 0.5, 0.1])
    found = Comparison(
        1.5 * x, np.full(4, 1e-3), x, np.full(4, 1e-3), {Cause.GAMMA: Effect(0.05 * x, np.full(4, 1e-3))}, 0.05
    )
    assert found.main_cause is None
    assert found.total.value == approx(0.5, rel=1e-3)
    assert found.line.slope == approx(1.5, rel=1e-2)


def test_two_causes_that_undo_each_other_are_both_told():
    x = np.array([1.0, -2.0, 0.5, 0.1])
    found = compared(x, {Cause.SKEW: 0.3 * x, Cause.OMEGA: -0.3 * x})
    assert found.total.value < 0.01
    assert found.sizes[Cause.SKEW].value == approx(0.3, rel=1e-2)


def test_elements_that_are_hardly_known_hardly_count():
    x = np.array([1.0, -2.0, 0.5, 0.1])
    doubt = np.array([1e-3, 1e-3, 1e-3, 10.0])
    found = Comparison(x + np.array([0, 0, 0, 5.0]), doubt, x, np.full(4, 1e-3), {}, 0.05)
    assert found.total.beyond_noise < 0.05
