"""Means of records with the steps of a converter: against the definition, and against levels that are known."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.reading import converter_steps, left_of_steps, readings
from freqprop_lab.values import Record

STEP = 20 / 2**16  # V: 16 bits from -10 V to 10 V


def record_of(volts):
    n = len(volts)
    return Record(volts, 10_000.0, np.zeros(n), np.zeros(n), np.zeros(n))


def taken(levels, noise, *, n_samples=1000, seed=0, step=STEP):
    """Return records of constant levels, V, (record, node), as a converter of that step gives them."""
    rng = np.random.default_rng(seed)
    sampled = levels[:, :, None] + noise * rng.standard_normal((*levels.shape, n_samples))
    return [record_of(np.round(each / step) * step + 0.1 * step) for each in sampled]


def test_all_values_of_a_converter_lie_whole_steps_apart():
    rng = np.random.default_rng(1)
    records = taken(rng.uniform(-1, 1, (12, 3)), 0.0)
    assert converter_steps([each.volts for each in records]) == pytest.approx([STEP] * 3, rel=1e-6)


def test_two_values_in_one_record_are_a_step_apart():
    records = taken(np.array([[0.5 * STEP]]), 0.1 * STEP)
    assert converter_steps([records[0].volts]) == pytest.approx([STEP], rel=1e-6)


def test_values_without_steps_tell_of_none():
    rng = np.random.default_rng(2)
    still = [rng.uniform(-1, 1, (2, 1)) * np.ones(1000) for _ in range(12)]
    noisy = [rng.uniform(-1, 1, (2, 1)) + 1e-3 * rng.standard_normal((2, 1000)) for _ in range(12)]
    assert converter_steps(still).tolist() == [0, 0]
    assert converter_steps(noisy).tolist() == [0, 0]
    assert converter_steps(still[:2]).tolist() == [0, 0]  # two levels are multiples of their distance by chance


def test_without_noise_a_mean_is_off_by_a_step_over_the_root_of_twelve():
    assert left_of_steps(np.array([STEP]), np.zeros((1, 1)))[0, 0] == pytest.approx(88.1e-6, rel=1e-3)  # 305 uV / 3.46
    # Noise of half a step: 0.25 and what the steps add, 1 / 12, of a step squared. Of the saw-tooth's first harmonic,
    # 1 / (pi sqrt(2)) = 0.225 rms, exp(-2 pi^2 / 4) = 0.0072 is left.
    blurred = left_of_steps(np.array([1.0]), np.array([[0.25 + 1 / 12]]))
    assert blurred[0, 0] == pytest.approx(0.225 * 0.0072, rel=0.03)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2, 0.35, 1.0])
def test_the_stated_error_is_that_of_the_means(noise):
    """200 levels at random places between steps; noise in steps."""
    levels = np.random.default_rng(3).uniform(-1, 1, (200, 1))
    means, errors = readings(taken(levels, noise * STEP, seed=4))
    rms = np.sqrt((((means - 0.1 * STEP - levels) / errors) ** 2).mean())
    assert 0.85 < rms < 1.15
