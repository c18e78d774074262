"""Averaging until an update is worth making, and that noise alone teaches nothing; responses are fed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from records import read

from freqprop_lab.network import Network, Port, square_grid
from freqprop_lab.rules import Example, FrequencyPropagation
from freqprop_lab.rules._averaging import averaged
from freqprop_lab.tasks import Objective, Squared
from freqprop_lab.values import Flag, Response, Update
from freqprop_lab.waveform import RectifiedSine, TwoTone

approx = pytest.approx

# r0c0 - r0c1, one tunable branch; r0c0 - r0c1 - r0c2, two.
PAIR = square_grid(1, 2, 1.0).with_ports([Port("r0c0")], [Port("r0c1")])
CHAIN = square_grid(1, 3, 1.0).with_ports([Port("r0c0")], [Port("r0c2")])


def response(a, b, variance_a=0.0, variance_b=0.0, shared=0.0, flags=None):
    """Nodes with the same covariance each."""
    covariance = np.tile(np.array([[variance_a, shared], [shared, variance_b]]), (len(a), 1, 1))
    return Response(np.array(a, dtype=float), np.array(b, dtype=float), covariance, flags=flags)


def run(rule, free, nudged) -> tuple[Update, int]:
    """Feed one free response, then nudged ones, as asked for: the update, and how many nudged ones were taken."""
    process = rule.process(Example(np.array([1.0]), Objective(Squared(), np.array([0.0]), 1.0)))
    assert next(process).drive.nudge is None
    measurement = process.send(free)
    for count, one in enumerate(nudged, start=1):
        assert measurement.drive.nudge is not None
        try:
            measurement = process.send(one)
        except StopIteration as finished:
            return finished.value, count
    raise AssertionError(f"more than {len(nudged)} nudged records were asked for")


def rule_of(network: Network, **options) -> FrequencyPropagation:
    return FrequencyPropagation(network, 0.5, 1.0, TwoTone(), **options)


FREE = response([2.0, 0.0], [0.0, 0.0])
# a_jk = 2, b_jk = 0.1; var b 0.0022 at each end, so var(a b) = 4 x 0.0044, over n records. The product squared, 0.04,
# is measured with its noise: (1 + 9) times that must lie below it for three standard errors, so n >= 4.4.
NOISY = response([2.0, 0.0], [0.1, 0.0], 0.0, 0.0022)


def test_records_are_repeated_until_the_update_is_significant():
    update, count = run(rule_of(PAIR, significance=3.0, most_records=100), FREE, [NOISY] * 100)
    assert count == 5
    assert update.response.covariance == approx(NOISY.covariance / 5)
    assert update.delta == approx([-0.5 * 2 * 0.1])


def test_twice_the_significance_takes_four_times_the_records_nearly():
    # 1 + 36 instead of 1 + 9: 0.44 x 37 = 16.28
    assert run(rule_of(PAIR, significance=6.0, most_records=100), FREE, [NOISY] * 100)[1] == 17


def test_averaging_stops_at_the_most_records():
    assert run(rule_of(PAIR, significance=3.0, most_records=3), FREE, [NOISY] * 100)[1] == 3


def test_exact_responses_are_taken_once():
    exact = response([2.0, 0.0], [0.1, 0.0])
    assert run(rule_of(PAIR, significance=3.0, most_records=100), FREE, [exact] * 2)[1] == 1


def test_one_record_is_taken_where_no_significance_is_asked_for():
    assert run(rule_of(PAIR), FREE, [NOISY] * 2)[1] == 1


def test_the_noise_of_a_counts_as_well():
    # var a 0.5 at each end: b^2 (0.5 + 0.5) = 0.01 a record; 10 x 0.01 <= 0.04 n at n = 2.5
    noisy = response([2.0, 0.0], [0.1, 0.0], 0.5, 0.0)
    assert run(rule_of(PAIR, significance=3.0, most_records=100), FREE, [noisy] * 10)[1] == 3
    # and with a taken from the free record, known exactly here, it does not
    assert run(rule_of(PAIR, significance=3.0, most_records=100, free_activation=True), FREE, [noisy] * 10)[1] == 1


def test_all_branches_count_together():
    # Branches (2, 0.1) and (1, 0): product squared 0.04 + 0; noise (4 + 1) x 0.0044 = 0.022, ten times: n >= 5.5
    free = response([3.0, 1.0, 0.0], np.zeros(3))
    noisy = response([3.0, 1.0, 0.0], [0.1, 0.0, 0.0], 0.0, 0.0022)
    assert run(rule_of(CHAIN, significance=3.0, most_records=100), free, [noisy] * 10)[1] == 6


def test_a_node_that_nothing_reads_does_not_keep_the_others_from_being_significant():
    free = response([3.0, 1.0, np.nan], np.zeros(3))
    unread = response([3.0, 1.0, np.nan], [0.1, 0.0, np.nan])
    unread.covariance[2] = np.nan
    update, count = run(rule_of(CHAIN, significance=3.0, most_records=9), free, [unread] * 3)
    assert count == 1
    assert update.delta == approx([-0.5 * 2 * 0.1, 0.0])


def test_averages_are_means_and_gather_flags():
    one = response([1.0, 2.0], [0.3, 0.1], 4.0, 2.0, -1.0, np.array([0, Flag.MISSING], dtype=np.uint8))
    other = response([3.0, 2.0], [0.1, 0.1], 8.0, 2.0, -3.0, np.array([Flag.NOT_SETTLED, 0], dtype=np.uint8))
    both = averaged([one, other])
    assert both.a == approx([2.0, 2.0])
    assert both.b == approx([0.2, 0.1])
    # The variance of a mean of two is half the mean of their variances.
    assert both.covariance == approx(np.tile([[3.0, -1.0], [-1.0, 1.0]], (2, 1, 1)))
    assert both.flags is not None
    assert both.flags.tolist() == [Flag.NOT_SETTLED, Flag.MISSING]
    assert averaged([one]) is one


def test_the_common_noise_of_averaged_records_is_subtracted_once():
    # cov(a, b) = -0.02 at each end, over two records -0.01: the product 0.2 has 2 x -0.01 of it
    noisy = response([2.0, 0.0], [0.1, 0.0], 0.0, 0.0, -0.02)
    rule = rule_of(PAIR, significance=50.0, most_records=2)
    noisy.covariance[:, 1, 1] = 1.0
    update, count = run(rule, FREE, [noisy] * 2)
    assert count == 2
    assert update.delta == approx([-0.5 * (0.2 + 0.02)])


def pure_noise(waveform, n_steps: int, seed: int) -> tuple[list[Response], list[Response]]:
    """Demodulated records of a network at rest, a = 2, 1, 0 V and b = 0, 0.3 V of noise: nudged ones and free ones."""
    rng = np.random.default_rng(seed)
    level = np.array([2.0, 1.0, 0.0])[:, None]
    volts, at_rest = (level + rng.normal(scale=0.3, size=(n_steps, 3, 100)) for _ in range(2))
    found = read(volts, waveform, synchronised=True)
    free = [Response(a, np.zeros(3), np.zeros((3, 2, 2))) for a in at_rest.mean(axis=-1)]
    return [Response(*each) for each in zip(found.a, found.b, found.covariance, strict=True)], free


@pytest.mark.parametrize(
    ("waveform", "unit"), [(RectifiedSine(), -6.721), (RectifiedSine(centred=True), -0.7211), (TwoTone(), 0.0)], ids=str
)
def test_noise_alone_moves_no_conductance_in_ten_thousand_steps(waveform, unit):
    n_steps = 10_000
    nudged, free = pure_noise(waveform, n_steps, 21)
    subtracted, from_free = (
        np.array([run(rule, *each)[0].delta for each in zip(free, [[one] for one in nudged], strict=True)])
        / -rule.alpha
        for rule in (rule_of(CHAIN), rule_of(CHAIN, free_activation=True))
    )
    for products in (subtracted, from_free):
        assert (np.abs(products.mean(axis=0)) < 4 * products.std(axis=0) / np.sqrt(n_steps)).all()
    # The plain products are off by cov(a, b) of both ends, -mean / var f sigma^2 / N each, in every branch alike.
    plain = np.diff([one.a for one in nudged]) * np.diff([one.b for one in nudged])
    stderr = plain.std(axis=0) / np.sqrt(n_steps)
    assert plain.mean(axis=0) == approx(np.full(2, 2 * unit * 0.3**2 / 100), abs=4 * stderr.max())
    if waveform == RectifiedSine():
        assert (np.abs(plain.mean(axis=0)) > 6 * stderr).all()
