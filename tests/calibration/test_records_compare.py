"""What counts as drift between two records, by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from example_record import DAQ, RESISTOR, TIME, a_record, curve, offsets
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from calibration.records import Points, compare

LATER = TIME + timedelta(days=30)


def test_type_b_of_the_same_reference_cancels() -> None:
    old = a_record(offsets(values=[1.0, 1.0], type_a=0.03, type_b=0.1))
    new = a_record(offsets(values=[1.2, 1.05], type_a=0.04, type_b=0.1), time=LATER)
    comparison = compare(old, new)
    (change,) = comparison.quantities
    assert change.change == approx([0.2, 0.05])
    assert change.standard_uncertainty == approx([0.05, 0.05])  # of 0.03 and 0.04
    assert change.ratio == approx([4, 1])
    (drift,) = comparison.drifted
    assert (drift.quantity, drift.unit, drift.label, drift.point) == ("offset", "V", "ai0", None)
    assert (drift.old, drift.new, drift.change, drift.ratio) == approx((1.0, 1.2, 0.2, 4.0))
    assert "taken as common" in comparison.assumption
    assert comparison.notes == ()


def test_what_is_not_equal_in_a_common_type_b_stays() -> None:
    old = a_record(offsets(type_a=0.0, type_b=0.1))
    new = a_record(offsets(type_a=0.0, type_b=0.3))
    assert compare(old, new).quantities[0].standard_uncertainty == approx([0.2, 0.2])


@pytest.mark.parametrize("references", [(), (replace(RESISTOR, certificate="certificate 1300, 2026-12-01"),)])
def test_type_b_of_other_references_adds(references: tuple[object, ...]) -> None:
    old = a_record(offsets(values=[1.0, 1.0], type_a=0.03, type_b=0.1))
    new = a_record(offsets(values=[1.2, 1.0], type_a=0.04, type_b=0.1), references=references)
    comparison = compare(old, new)
    assert comparison.quantities[0].standard_uncertainty == approx([0.15, 0.15])  # 9 + 16 + 100 + 100 = 225
    assert comparison.drifted == ()  # 0.2 / 0.15 = 1.33
    assert [drift.ratio for drift in compare(old, new, k=1).drifted] == approx([4 / 3])
    assert "added" in comparison.assumption


def test_without_references_type_b_is_that_of_the_same_data_sheets() -> None:
    """Type A alone is left, 30 uV each: a gain that moves by 2 % shows, however little is known of its true value."""
    comparison = compare(a_record(references=()), a_record(references=()))
    assert comparison.quantities[0].standard_uncertainty == approx([math.sqrt(2) * 3e-5] * 2)
    assert "neither record names a reference" in comparison.assumption


def test_the_worst_comes_first() -> None:
    old = a_record(offsets(values=[0.0, 0.0]))
    new = a_record(offsets(values=[5e-4, -1e-3]))
    assert [(drift.label, drift.ratio > 0) for drift in compare(old, new).drifted] == [("ai1", False), ("ai0", True)]


def test_a_change_of_what_is_known_exactly_is_drift_whatever_k() -> None:
    old, new = (a_record(offsets(values=[value, 0.0], type_a=0.0, type_b=0.0)) for value in (1.0, 2.0))
    comparison = compare(old, new, k=1e9)
    assert [(drift.label, drift.ratio) for drift in comparison.drifted] == [("ai0", math.inf)]
    assert compare(old, old).drifted == ()


def test_tables_are_compared_at_common_points_only() -> None:
    def table(points: list[float], values: list[float]) -> object:
        axis = Points("nominal", "S", np.array(points))
        return curve(labels=("R1",), values=[values], points=axis, type_a=0.1)

    old = a_record(table([1.0, 2.0, 3.0], [10.0, 20.0, 30.0]))
    new = a_record(table([4.0, 3.0, 1.0 + 1e-12], [40.0, 33.0, 10.0]))
    comparison = compare(old, new)
    assert comparison.quantities[0].new == approx(np.array([[10.0, np.nan, 33.0]]), nan_ok=True)
    # 3 / (0.1 root 2) = 21.2
    assert [(drift.label, drift.point, drift.point_unit) for drift in comparison.drifted] == [("R1", 3.0, "S")]
    assert comparison.drifted[0].ratio == approx(21.213, abs=1e-3)
    assert comparison.notes == ("conductance: 1 of 3 points are not in the new record",)


def test_tables_with_points_of_their_own_and_gaps() -> None:
    old = curve(points=Points("code", "", np.array([[0.0, 1.0, np.nan], [5.0, 6.0, 7.0]])))
    new = curve(points=Points("code", "", np.array([[1.0, 0.0, np.nan], [7.0, 6.0, 8.0]])))
    (change,) = compare(a_record(old), a_record(new)).quantities
    nominal = np.array([1e-4, 5.5e-4, 1e-3])
    assert change.new == approx(
        np.array([[nominal[1], nominal[0], np.nan], [np.nan, 1.01 * nominal[1], 1.01 * nominal[0]]]), nan_ok=True
    )


def test_tables_without_points_in_common() -> None:
    old, new = a_record(curve(3)), a_record(curve(0))
    assert np.isnan(compare(old, new).quantities[0].new).all()
    assert compare(new, old).quantities[0].new.shape == (2, 0)


def test_what_can_not_be_compared_is_told() -> None:
    old = a_record(offsets(), offsets(name="gain", unit="V"), offsets(name="hum"), offsets(name="noise"))
    new = a_record(
        offsets(labels=("ai1", "ai2"), values=[-2e-3, 0.0]),
        offsets(name="gain", unit="mV"),
        offsets(name="noise", values=[np.nan, -2e-3]),
        curve(name="slope"),
        time=TIME - timedelta(days=1),
        bench="other",
        instruments=(replace(DAQ, serial="99"),),
    )
    comparison = compare(old, new)
    assert comparison.notes == (
        "only in the old record: quantity hum",
        "only in the new record: quantity slope",
        'they are of different benches, "breadboard" and "other"',
        "the first record is the newer one",
        '"daq" was National Instruments USB-6363, serial number 01ABCDEF, and now is National Instruments USB-6363, '
        "serial number 99",
        "offset: only in the old record: label ai0",
        "offset: only in the new record: label ai2",
        "gain: in V before and in mV now; not compared",
        "noise: not determined now: ai0",
    )
    assert [change.name for change in comparison.quantities] == ["offset", "noise"]
    assert comparison.quantities[0].change == approx([0.0])


def test_different_procedures_and_a_senseless_k_are_refused() -> None:
    with pytest.raises(ValueError, match="a record of offsets can't be compared with one of gains"):
        compare(a_record(), a_record(procedure="gains"))
    with pytest.raises(ValueError, match="k is nan"):
        compare(a_record(), a_record(), k=math.nan)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2),
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2),
    st.floats(1e-6, 1e3),
    st.floats(0, 1e3),
)
def test_turned_round_every_change_turns_its_sign(
    first: list[float], second: list[float], type_a: float, type_b: float
) -> None:
    old, new = (a_record(offsets(values=values, type_a=type_a, type_b=type_b)) for values in (first, second))
    there, back = compare(old, new).quantities[0], compare(new, old).quantities[0]
    assert np.array_equal(there.ratio, -back.ratio)
