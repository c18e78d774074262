"""The algebra behind `wiring`: hypotheses, derivatives, and the scores of single faults against dense matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pytest import approx
from wiring_boards import observe, opened

from calibration.wiring import Hypothesis, Move, Part
from calibration.wiring.hypothesis import NOTHING, displaced, rings
from calibration.wiring.model import Normal, Point, around, believed, fit, linearise, nothing
from calibration.wiring.screen import Screen


def test_rings_of_exchanges():
    assert rings((4, 5, 6, 7), (5, 4, 7, 6)) == [(0, 1), (2, 3)]
    assert rings((4, 5, 6, 7), (5, 6, 4, 7)) == [(0, 1, 2)]
    assert rings((4, 5, 6, 7), (4, NOTHING, 6, 7)) == []
    assert rings((4, 5, 6, 7), (5, 6, 6, 7)) == []
    assert displaced((4, 5, 6, 7), (5, 6, 6, NOTHING)) == [0, 1]
    assert displaced((4, 5, 6, 7), (5, 4, 9, 7)) == [2]


def test_equal_hypotheses_are_equal_however_come_by():
    plain = Hypothesis((0, 1, 2), (0,), ())
    one = plain.exchanged(Move.READS, 0, 1).exchanged(Move.READS, 1, 2)
    other = plain.exchanged(Move.READS, 1, 2).exchanged(Move.READS, 0, 2)
    # 012 -> 102 -> 120; 012 -> 021 -> 120
    assert one.reads == other.reads == (1, 2, 0)
    assert one == other
    assert one.exchanged(Move.READS, 0, 2).exchanged(Move.READS, 1, 2) == plain


def test_what_has_one_fault_less(tmp_path):
    observed = observe(opened(tmp_path))
    plain = observed.places.faultless
    one = plain.exchanged(Move.READS, 0, 1)
    both = one.with_part(3, Part.OPEN)
    assert set(observed.places.reduced(both)) == {one, plain.with_part(3, Part.OPEN)}
    assert list(observed.places.reduced(plain.placed(Move.READS, 2))) == [plain]


def test_derivatives_against_finite_differences(tmp_path):
    observed = observe(opened(tmp_path))
    hypothesis = (
        observed.places.faultless.exchanged(Move.READS, 1, 4).exchanged(Move.DRIVES, 0, 2).placed(Move.DRIVES, 1, 3 + 6)
    )
    belief = believed(observed, hypothesis)
    rng = np.random.default_rng(3)
    point = Point(0.03 * rng.standard_normal(observed.n_shared), 0.02 * rng.standard_normal((len(observed.y), 8)))
    at = linearise(observed, hypothesis, belief, point, observed.sigma)
    for parameter in range(observed.n_shared):
        step = np.zeros(observed.n_shared)
        step[parameter] = 1e-5
        up, down = (
            linearise(observed, hypothesis, belief, Point(point.shared + sign * step, point.own), observed.sigma)
            for sign in (1, -1)
        )
        column = at.A[:, :, parameter, None] * at.C[:, None, :, parameter]
        expected = (up.predicted - down.predicted) / 2e-5
        assert column == approx(expected, rel=1e-5, abs=1e-6 * np.abs(expected).max() + 1e-3)


def dense(observed, belief, at):
    """Return the inverse of noise and nuisances' covariance, over noise: (s k l) by (s k l)."""
    n_s, n_k, n_l = at.predicted.shape
    columns = np.einsum("skp,slp->sklp", at.A, at.C)
    own = np.zeros((n_s, n_k, n_l, n_s, len(belief.own)))
    for state in range(n_s):
        own[state, :, :, state] = columns[state][..., observed.network.tunable]
    J = np.concatenate([columns.reshape(n_s * n_k * n_l, -1), own.reshape(n_s * n_k * n_l, -1)], axis=1)
    prior = np.concatenate([belief.doubt**2, np.tile(belief.own**2, n_s)])
    return np.linalg.inv(np.eye(len(J)) + (J * prior) @ J.T)


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        (Move.READS, (1, 6)),
        (Move.DRIVES, (0, 1)),
        (Part.OPEN, (4,)),
        (Part.SHORT, (8,)),
        (Move.UNREAD, (3,)),
        (Move.MISREAD, (2, 6)),
        (Move.MISDRIVEN, (0, 3 + 1)),
        (Move.MISDRIVEN, (1, 0)),
    ],
)
def test_a_single_fault_is_scored_as_dense_matrices_do(tmp_path, kind, where):
    # Noise of 10 mV, so that dense inverses keep their digits; at the believed point, where g is J'r alone.
    observed = replace(observe(opened(tmp_path)), sigma=np.full((5, 8), 0.01))
    plain = observed.places.faultless
    belief = believed(observed, plain)
    point = nothing(observed, belief)
    at = linearise(observed, plain, belief, point, observed.sigma)
    screen = Screen(observed, plain, belief, at, Normal(observed, belief, at), point)
    families = [*screen.families(), *screen._of_misdriven()]
    family = next(one for one in families if kind in (one.move, one.part) and where in one.where)
    number = list(family.where).index(where)
    made = family.made(where)
    there = linearise(observed, made, believed(observed, made), point, observed.sigma)
    d = (there.predicted - at.predicted).ravel()
    M, r = dense(observed, belief, at), at.residuals.ravel()
    assert family.effect[number] == approx(d @ M @ d, rel=1e-3)
    assert family.lowered[number] == approx(0.5 * ((r - d) @ M @ (r - d) - r @ M @ r), rel=1e-3, abs=1e-3 * (d @ M @ d))


def test_the_truth_explains_to_the_noise_and_a_fault_more_does_not_help(tmp_path):
    observed = observe(opened(tmp_path, "open: [R9]"))
    plain = observed.places.faultless
    right = plain.with_part(8, Part.OPEN)
    fits = [fit(observed, one) for one in (plain, right, right.with_part(9, Part.OPEN))]
    assert fits[1].chi_square / observed.y.size < 1.3
    assert fits[0].ln_evidence < fits[1].ln_evidence - 100
    assert fits[2].ln_evidence < fits[1].ln_evidence - 5


def test_what_a_slightly_wrong_value_gains_is_foretold_though_its_nuisance_is_bent(tmp_path):
    # R10 off by ln 0.75, six times its tolerance: the faultless fit bends it and explains the readings all the same.
    observed = observe(opened(tmp_path, "wrong: {R10: 0.75}"))
    plain = fit(observed, observed.places.faultless)
    assert plain.chi_square / observed.y.size < 1.3
    screen = Screen(observed, plain.hypothesis, plain.belief, *around(observed, plain), plain.point)
    made = plain.hypothesis.with_part(9, Part.WRONG)
    foretold = next(one for one in screen.candidates(30) if one.hypothesis == made)
    fitted = fit(observed, made)
    assert foretold.gain == approx(fitted.ln_evidence - plain.ln_evidence, abs=0.3)
    assert foretold.ln_factors[0][1] == approx(fitted.point.shared[9], abs=0.01)
