"""What a record holds: uncertainties by hand, what is refused, and the way to the disk and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import numpy as np
import pytest
from example_record import DAQ, TIME, UID, a_record, curve, offsets
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pytest import approx

from calibration.records import (
    CalibrationRecord,
    InstrumentId,
    Points,
    Quantity,
    RecordFolder,
    Reference,
    Verdict,
    content_of,
    schema,
    software_versions,
)
from freqprop_lab.instruments import Identity

SCHEMA = Path(__file__).parents[2] / "docs" / "calibration-record.schema.json"


def same(one: CalibrationRecord, other: CalibrationRecord) -> bool:
    """Everything equal, NaN to NaN, raw arrays with their types."""
    (content, first), (again, second) = content_of(one), content_of(other)
    return (
        content == again
        and first.keys() == second.keys()
        and all(first[key].dtype == second[key].dtype for key in first)
        and all(np.array_equal(first[key], second[key], equal_nan=True) for key in first)
    )


# Uncertainties


def test_type_a_and_b_combine_to_the_root_of_the_sum_of_squares() -> None:
    quantity = offsets()  # 3 and 4 give 5, times 1.96: 9.8
    assert quantity.standard_uncertainty == approx([5e-5, 5e-5])
    assert quantity.coverage_factors == approx([1.96, 1.96])
    low, high = quantity.interval()
    assert low == approx([0.902e-3, -2.098e-3])
    assert high == approx([1.098e-3, -1.902e-3])


def test_few_degrees_of_freedom_widen_the_interval() -> None:
    # GUM table G.2, 95 %: t(4) = 2.78, t(9) = 2.26, infinite 1.96
    quantity = Quantity("x", "V", ("a", "b", "c"), np.zeros(3), np.ones(3), 0.0, degrees_of_freedom=[4, 9, np.inf])
    assert quantity.coverage_factors == approx([2.78, 2.26, 1.96], abs=5e-3)
    # Welch and Satterthwaite: 4 (5 / 3)^4 = 30.9; table G.2: t(30) = 2.04
    mixed = Quantity("x", "V", ("a",), [0.0], [3.0], [4.0], degrees_of_freedom=4)
    assert mixed.coverage_factors == approx([2.04], abs=5e-3)
    assert mixed.expanded_uncertainty == approx([5 * 2.04], abs=0.025)


def test_type_b_alone_has_no_freedom_to_lack() -> None:
    assert Quantity("x", "V", ("a",), [0.0], [0.0], [4.0], degrees_of_freedom=4).coverage_factors == approx([1.96])


def test_what_is_undetermined_stays_so() -> None:
    quantity = offsets(values=[1.0, np.nan], type_a=[0.1, np.nan])
    assert np.isnan(quantity.interval()).tolist() == [[False, True], [False, True]]


def test_arrays_of_a_quantity_are_copies_that_nobody_changes() -> None:
    values = np.zeros(2)
    quantity = offsets(values=values)
    values[0] = 1
    assert quantity.values[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        quantity.values[0] = 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"values": [1.0]}, r'quantity "offset": values have shape \(1,\), \(2,\) \(label,\) is wanted'),
        ({"labels": ("a", "a")}, 'the label "a" stands twice'),
        ({"type_a": [-1.0, 1.0]}, "type_a holds -1; it can't be negative"),
        ({"type_b": [1.0, 1.0, 1.0]}, r"type_b has shape \(3,\), that of the values is \(2,\)"),
        ({"values": [1.0, np.inf]}, "infinite; write NaN"),
        ({"type_a": np.inf}, "infinite; write NaN"),
        ({"degrees_of_freedom": 0}, "degrees_of_freedom holds 0"),
        (
            {"points": Points("code", "", np.arange(3.0))},
            r"values have shape \(2,\), \(2, 3\) \(label, point\) is wanted",
        ),
        ({"points": Points("code", "", np.zeros((3, 2)))}, "3 rows of points for 2 labels"),
        ({"name": ""}, "a name of printable letters is wanted"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        offsets(**changes)


# Records


def test_a_missing_quantity_is_told_with_the_nearest_name() -> None:
    with pytest.raises(KeyError, match='of offsets has no quantity "ofset". Did you mean "offset".* It has: offset'):
        a_record().quantity("ofset")
    assert a_record().quantity("offset").unit == "V"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"procedure": "../offsets"}, "small letters, digits and single hyphens"),
        ({"procedure": "a" * 41}, "at most 40 small letters"),
        ({"uid": "1a2b"}, "32 hexadecimal digits"),
        ({"time": datetime(2026, 1, 1)}, "has no time zone"),
        ({"expires": TIME}, "before it is taken"),
        ({"settings": {"x": float("nan")}}, "settings must be what JSON can hold, finite numbers only"),
        ({"settings": {"x": "\ud800"}}, "settings must be what JSON can hold"),
        ({"settings": {1: 2}}, "names are text"),
        ({"instruments": (DAQ, DAQ)}, 'the instrument "daq" stands twice'),
        ({"quantities": (offsets(), offsets())}, 'the quantity "offset" stands twice'),
        ({"raw": {"x": np.array([object()])}}, "numbers are wanted"),
        ({"raw": {"": np.zeros(1)}}, "a name of printable letters"),
        ({"raw": {"a.npy": np.zeros(1)}}, "a name of printable letters"),
    ],
)
def test_what_no_record_can_hold_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        a_record(**changes)


def test_a_verdict_has_three_values_and_a_reference_finite_numbers() -> None:
    with pytest.raises(ValueError, match='good, doubtful or bad, not "fine"'):
        Verdict("fine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='reference "R"'):
        Reference("R", 1.0, "Ohm", -1.0)


def test_times_are_kept_as_utc() -> None:
    east = datetime(2026, 11, 26, 3, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert a_record(time=east).time == datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC)
    assert a_record(time=east).time.tzinfo is UTC


def test_a_record_is_stale_past_its_expiry_or_beyond_an_age() -> None:
    record = a_record(expires=TIME + timedelta(days=30))
    assert not record.is_stale(TIME + timedelta(days=30))
    assert record.is_stale(TIME + timedelta(days=30, seconds=1))
    assert record.is_stale(TIME + timedelta(days=3), max_age=timedelta(days=2))
    assert not a_record().is_stale(TIME + timedelta(days=10_000))


def test_an_instrument_is_taken_as_it_answers() -> None:
    assert InstrumentId.of("daq", Identity("NI", "6363", "7", "2")) == InstrumentId("daq", "NI", "6363", "7", "2")


def test_settings_become_plain_data() -> None:
    record = a_record(settings={"levels": (1, 2), "rate": np.float64(0.5), "codes": np.arange(2)})
    assert record.settings == {"levels": [1, 2], "rate": 0.5, "codes": [0, 1]}


def test_software_versions_name_this_package_and_python() -> None:
    assert {"freqprop-lab", "numpy", "python"} <= software_versions().keys()


# The file


def test_a_person_reads_small_tables_in_the_json_and_large_ones_go_beside(tmp_path: Path) -> None:
    path = RecordFolder(tmp_path).add(a_record(offsets(), curve(n_points=33), raw={"volts": np.zeros((2, 5))}))
    assert path.name == "offsets-20261126T010203Z-1a2b3c4d.json"
    assert path.with_suffix(".npz").is_file()
    text = path.read_text(encoding="utf-8")
    assert '"values": [0.001, -0.002]' in text
    content = json.loads(text)
    assert content["quantities"][1]["values"] == {"array": "quantities/conductance/values", "shape": [2, 33]}
    assert content["raw"] == {"volts": {"array": "raw/volts", "shape": [2, 5], "dtype": "<f8"}}
    assert content["quantities"][0]["expanded_uncertainty"] == approx([9.8e-5, 9.8e-5])
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, path.with_suffix(".npz").name]


def test_raw_data_can_be_left_out(tmp_path: Path) -> None:
    folder = RecordFolder(tmp_path)
    path = folder.add(a_record(raw={"volts": np.zeros(3)}))
    assert folder.read(path).raw.keys() == {"volts"}
    assert folder.read(path, raw=False).raw == {}


def test_the_published_schema_is_the_one_of_the_code() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema(), "freqprop calibration schema writes it"


def test_a_record_obeys_the_schema(tmp_path: Path) -> None:
    record = a_record(offsets(values=[1.0, np.nan]), curve(3), curve(40, name="long"), raw={"x": np.zeros(1)})
    content = json.loads(RecordFolder(tmp_path).add(record).read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    validator.validate(content)
    del content["instruments"][0]["serial"]
    with pytest.raises(jsonschema.ValidationError, match="'serial' is a required property"):
        validator.validate(content)


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
names = st.text(st.characters(categories=("L", "N", "S", "P"), exclude_characters="\\"), min_size=1, max_size=8)
finite = st.floats(allow_infinity=False, width=64, min_value=-1e150, max_value=1e150) | st.just(np.nan)
doubts = st.floats(min_value=0, max_value=1e150) | st.just(np.nan)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def drawn_quantity(draw: st.DrawFn, name: str) -> Quantity:
    labels = draw(st.lists(text, unique=True, max_size=4))
    n_points = draw(st.none() | st.integers(0, 40))
    shape: tuple[int, ...] = (len(labels),) if n_points is None else (len(labels), n_points)
    points = None
    if n_points is not None:
        by_label = draw(st.booleans())
        points = Points(
            draw(text), draw(text), draw(arrays(float, shape if by_label else (n_points,), elements=finite))
        )
    values, type_a, type_b = (draw(arrays(float, shape, elements=each)) for each in (finite, doubts, doubts))
    freedom = draw(st.none() | st.just(np.nan) | st.integers(1, 100))
    return Quantity(name, draw(text), tuple(labels), values, type_a, type_b, points, degrees_of_freedom=freedom)


@st.composite
def drawn_record(draw: st.DrawFn) -> CalibrationRecord:
    instruments = draw(st.lists(st.builds(InstrumentId, *[text] * 5), unique_by=lambda one: one.name, max_size=3))
    number = st.floats(allow_nan=False, allow_infinity=False)
    references = st.builds(Reference, text, number, text, st.floats(0, 1e300), text)
    raw_types = st.sampled_from(["<f8", "<i4", "|u1", "<c16", "|b1", ">f4"])
    shapes = st.sampled_from([(), (0,), (3,), (2, 2)])
    raw = st.dictionaries(names, st.builds(lambda kind, shape: np.ones(shape, kind), raw_types, shapes), max_size=2)
    return CalibrationRecord(
        procedure=draw(st.from_regex(r"[a-z][a-z0-9]{0,9}(-[a-z0-9]{1,9}){0,3}", fullmatch=True)),
        bench=draw(text),
        time=draw(st.datetimes(timezones=st.just(UTC), min_value=datetime(1990, 1, 1))),
        operator=draw(text),
        versions=draw(st.dictionaries(text, text, max_size=2)),
        instruments=tuple(instruments),
        references=tuple(draw(st.lists(references, max_size=2))),
        settings=draw(st.dictionaries(text, plain, max_size=3)),
        assumptions=tuple(draw(st.lists(text, max_size=2))),
        quantities=tuple(draw(drawn_quantity(name)) for name in draw(st.lists(names, unique=True, max_size=3))),
        verdict=Verdict(draw(st.sampled_from(["good", "doubtful", "bad"])), tuple(draw(st.lists(text, max_size=2)))),
        notes=draw(text),
        raw=draw(raw),
        uid=draw(st.uuids()).hex,
    )


@settings(max_examples=60)
@given(drawn_record())
def test_what_is_written_is_read_back(record: CalibrationRecord) -> None:
    with TemporaryDirectory() as name:
        folder = RecordFolder(name)
        path = folder.add(record)
        again = folder.read(path)
        assert same(record, again)
        assert (again.time, again.uid) == (record.time, record.uid)
        jsonschema.Draft202012Validator(schema()).validate(json.loads(path.read_text(encoding="utf-8")))


def test_the_example_is_what_the_tests_take_it_for() -> None:
    assert a_record().uid == UID
    assert same(a_record(), a_record())
    assert not same(a_record(), a_record(notes="x"))
