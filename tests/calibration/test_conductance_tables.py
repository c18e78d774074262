"""From an element's resistance at some codes to all of them: straight tracks exactly, bent ones within their doubt."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.tables import Points, tables

RUNGS = 1 / (75.0 + 10e3 * np.arange(257)[::-1] / 256)  # S, rising


def visited(true_ohms, codes=(0, 2, 10, 22, 37, 57, 79, 103, 128, 153, 177, 199, 219, 234, 246, 254, 256), doubt=1e-4):
    """Points of an element whose resistance is true_ohms(share of the track)."""
    shares = np.array(codes)[::-1] / 256
    nominal, true = 1 / (75.0 + 10e3 * shares), 1 / true_ohms(shares)
    return Points(nominal, true, np.full(len(shares), doubt), np.zeros(len(shares)), has_codes=True)


def test_a_straight_track_comes_back_exactly():
    """R = 90 + 11000 share, whatever codes were visited: R against code is a straight line, G against code is not."""
    (found,) = tables([visited(lambda share: 90 + 11e3 * share)], [RUNGS])
    shares = np.arange(257)[::-1] / 256
    assert found.true == pytest.approx(1 / (90 + 11e3 * shares), rel=1e-12)
    assert np.median(found.type_b) < 1e-9  # leaving points out showed no bend
    assert np.median(found.type_a) == pytest.approx(1e-4, rel=0.4)  # between points: 1/sqrt(2) to 1 of it


def test_a_bent_track_lies_within_what_is_stated():
    rng = np.random.default_rng(3)
    elements, truths = [], []
    for _ in range(40):
        bow, bend = 0.02 * rng.uniform(-1, 1, 2)

        def ohms(share, bow=bow, bend=bend):
            return 80 + 10e3 * (share + bow * np.sin(np.pi * share) + bend * np.sin(2 * np.pi * share))

        elements.append(visited(ohms, doubt=1e-9))
        truths.append(1 / ohms(np.arange(257)[::-1] / 256))
    found = tables(elements, [RUNGS] * 40)
    ratio = [
        np.abs(one.true / true - 1) / np.hypot(one.type_a, one.type_b) for one, true in zip(found, truths, strict=True)
    ]
    assert (np.array(ratio) < 1.96).mean() > 0.92
    worst = max(float(np.abs(one.true / true - 1).max()) for one, true in zip(found, truths, strict=True))
    assert worst < 5e-3


def test_a_table_rises_even_where_noise_does_not_let_it():
    nominal = np.array([1e-4, 2e-4, 2.1e-4, 4e-4, 8e-4])
    true = np.array([1e-4, 2.05e-4, 2.0e-4, 4e-4, 8e-4])
    (found,) = tables(
        [Points(nominal, true, np.full(5, 0.05), np.zeros(5), has_codes=False)], [np.geomspace(1e-4, 8e-4, 65)]
    )
    assert (np.diff(found.true) > 0).all()
