"""What a tunable element truly has: its track bends and never turns back, its spreads are as stated, and it repeats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freqprop_lab.elements import ELEMENTS
from freqprop_lab.network import Branch, Network
from freqprop_lab.values import Array
from simulated_bench.breadboard import Breadboard
from simulated_bench.resistors import SimulatedResistors
from simulated_bench.settings import ResistorsSection
from simulated_bench.wipers import drawn_tracks

POTENTIOMETER = {"taps": 257, "end_to_end": 10e3, "wiper": 75.0}


def elements_of(n_elements: int, seed: int = 1, noise: int = 2, **settings: object) -> SimulatedResistors:
    names = tuple(f"R{number}" for number in range(n_elements))
    branches = tuple(Branch(name, "a", "ground", ELEMENTS["resistor"], (1e-3,), tunable=True) for name in names)
    board = Breadboard(Network(("a",), branches), [], None)
    section = ResistorsSection.model_validate(settings)
    generators = np.random.default_rng(seed), np.random.default_rng(noise)
    return SimulatedResistors("wipers", board, names, section, *generators)


def true_ohms(elements: SimulatedResistors, ohms: float) -> Array:
    return 1 / elements.conductances_of(np.full(elements.n_elements, 1 / ohms))


def spread_within(drawn: Array, sigma: float) -> bool:
    """Five standard errors for the mean and for the standard deviation of normal deviates."""
    n = drawn.size
    return bool(abs(drawn.mean()) < 5 * sigma / np.sqrt(n) and abs(drawn.std() / sigma - 1) < 5 / np.sqrt(2 * n))


@given(st.floats(0, 0.15), st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 33, 257, 1024]))
def test_resistance_rises_with_every_code(nonlinearity: float, seed: int, taps: int) -> None:
    settings = POTENTIOMETER | {"taps": taps, "nonlinearity": nonlinearity, "tolerance": 0.1, "wiper_spread": 0.5}
    elements = elements_of(3, seed, **settings)
    codes = np.linspace(75.0, 10_075.0, taps)
    ohms = np.stack([true_ohms(elements, each) for each in codes])
    assert (np.diff(ohms, axis=0) > 0).all()


@given(st.floats(0, 0.15), st.integers(0, 2**32 - 1))
def test_a_continuous_element_conducts_more_the_more_is_asked(nonlinearity: float, seed: int) -> None:
    elements = elements_of(3, seed, nonlinearity=nonlinearity, wire=0.1, tolerance=0.05)
    asked = np.geomspace(1e-6, 20, 300)
    true = np.stack([elements.conductances_of(np.full(3, each)) for each in asked])
    assert (np.diff(true, axis=0) > 0).all()
    assert (elements.conductances_of(np.zeros(3)) == 0).all()


@given(st.floats(1e-4, 0.15), st.integers(0, 2**32 - 1))
def test_a_track_strays_by_half_its_nonlinearity_to_all_of_it_and_not_at_its_ends(
    nonlinearity: float, seed: int
) -> None:
    tracks = drawn_tracks(nonlinearity, 1, np.random.default_rng(seed))
    off = np.array([tracks.straying(np.array([share]))[0] for share in np.linspace(0, 1, 201)])
    assert 0.4 * nonlinearity < np.abs(off).max() <= nonlinearity * (1 + 1e-12)
    assert np.abs(off[[0, -1]]).max() < 1e-12
    asked = np.geomspace(1e-6, 20, 2000)
    bent = np.array([tracks.bent(np.array([each]))[0] for each in asked])
    assert 0.4 * nonlinearity < np.abs(np.log(bent / asked)).max() <= nonlinearity * (1 + 1e-12)


def test_a_bowed_track_by_hand() -> None:
    elements = elements_of(1, nonlinearity=0.04, **POTENTIOMETER)
    bow, bend = elements._shapes.tracks.bow[0], elements._shapes.tracks.bend[0]
    assert abs(bow) + abs(bend) == pytest.approx(0.04)
    # In the middle sin(pi / 2) = 1 and sin(pi) = 0; at a quarter 0.7071 and 1.
    assert true_ohms(elements, 75 + 5e3) == pytest.approx([75 + 10e3 * (0.5 + bow)])
    assert true_ohms(elements, 75 + 2.5e3) == pytest.approx([75 + 10e3 * (0.25 + np.sqrt(0.5) * bow + bend)])
    assert true_ohms(elements, 75) == pytest.approx([75.0])


def test_wipers_and_wires_have_their_spread() -> None:
    elements = elements_of(400, wiper_spread=0.1, **POTENTIOMETER)
    assert spread_within(true_ohms(elements, 75.0) / 75 - 1, 0.1)
    assert spread_within(true_ohms(elements, 10_075.0) - 10_075, 7.5)  # as many ohms at every code
    wired = elements_of(400, wire=2.0, **POTENTIOMETER)
    assert spread_within((true_ohms(wired, 5075.0) - 5075) / 2 - 1, 0.3)
    continuous = elements_of(400, wire=2.0)
    assert true_ohms(continuous, 50.0) - 50 == pytest.approx(true_ohms(wired, 5075.0) - 5075)


def test_a_spread_of_the_wiper_needs_a_wiper() -> None:
    with pytest.raises(ValueError, match="give taps, end_to_end and wiper"):
        ResistorsSection.model_validate({"wiper_spread": 0.1})


def now(elements: SimulatedResistors) -> Array:
    return 1 / elements._board.conductances


def test_each_new_setting_is_off_by_the_repeatability_and_an_unchanged_code_stays() -> None:
    elements = elements_of(400, repeatability=0.01, **POTENTIOMETER)
    there, away = np.full(400, 1 / 5075.0), np.full(400, 1 / 1000.0)
    elements.program(there)
    first = now(elements)
    elements.program(there)
    assert (now(elements) == first).all()
    elements.program(away)
    elements.program(there)
    second = now(elements)
    for once in (first, second):
        assert spread_within(once / 5075 - 1, 0.01)
    assert spread_within(second / first - 1, 0.01 * np.sqrt(2))
    part = there.copy()
    part[:10] = away[:10]
    elements.program(part)
    assert (now(elements)[10:] == second[10:]).all()
    assert (elements.read()[10:] == elements.read()[10]).all()  # the register knows nothing of it


def test_what_does_not_repeat_is_drawn_by_the_run() -> None:
    values = []
    for noise in (2, 2, 3):
        elements = elements_of(4, noise=noise, repeatability=0.01, **POTENTIOMETER)
        elements.program(np.full(4, 1e-3))
        values.append(now(elements))
    assert (values[0] == values[1]).all()
    assert not (values[0] == values[2]).any()


def test_a_code_reached_from_above_has_more_than_the_same_from_below() -> None:
    elements = elements_of(1, hysteresis=0.02, **POTENTIOMETER)
    seen = []
    for ohms in (1075.0, 5075.0, 8075.0, 5075.0, 5075.0, 1075.0):
        elements.program(np.array([1 / ohms]))
        seen.append(float(now(elements)[0] / (1 / elements.read()[0])))
    assert seen == pytest.approx([0.99, 0.99, 0.99, 1.01, 1.01, 1.01])
    assert true_ohms(elements, 5075.0) == pytest.approx([5075.0])  # in the middle
