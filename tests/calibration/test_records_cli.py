"""`freqprop calibration`: what a person reads, what a program reads, and what a wrong file gives."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from conftest import Call
from example_record import DAQ, TIME, a_record, curve, offsets

from calibration._numbers import measure, with_doubt
from calibration.records import Points, RecordFolder, schema


@pytest.fixture
def records(tmp_path: Path) -> RecordFolder:
    return RecordFolder(tmp_path / "calibrations")


def test_the_list_says_what_is_there_and_what_is_wrong(freqprop: Call, records: RecordFolder) -> None:
    good = records.add(a_record(expires=TIME.replace(year=2999)))
    records.add(a_record(procedure="gains", expires=TIME.replace(day=27), time=TIME.replace(year=2025), uid="f" * 32))
    bad = records.add(a_record(time=TIME + timedelta(seconds=5), uid="a" * 32))
    bad.with_suffix(".npz").unlink()
    left = records.path / "skew-20260101T000000Z-00000000.npz"
    left.touch()
    os.utime(left, (0, 0))  # a younger one may be another process's, and not yet whole
    status, out, err = freqprop("calibration", "list")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["procedure", "date", "(UTC)", "age", "expiry", "verdict", "operator", "record"]
    assert lines[1].split()[:3] == ["gains", "2025-11-26", "01:02"]
    assert lines[2].split()[0] == "offsets"
    assert lines[2].split()[-4:] == ["2999-11-26", "good", "Ada", good.name]
    assert lines[3].startswith(f"refused: {bad.name} its arrays file {bad.stem}.npz is missing")
    assert "skew-20260101T000000Z-00000000.npz was left by an interrupted calibration" in err
    status, out, _ = freqprop("calibration", "list", "calibrations", "--json")
    rows = json.loads(out)
    assert [row["valid"] for row in rows] == [True, True, False]
    assert (rows[1]["file"], rows[1]["verdict"], rows[1]["time"]) == (good.name, "good", TIME.isoformat())
    assert rows[2]["why"] == "edited"


def test_a_stale_record_is_called_so(freqprop: Call, records: RecordFolder) -> None:
    records.add(a_record(time=TIME.replace(year=2000), expires=TIME.replace(year=2001)))
    assert "STALE" in freqprop("calibration", "list")[1]
    (path,) = records.path.glob("*.json")
    assert (
        "expires 2001-11-26 01:02 UTC, which is past: calibrate anew" in freqprop("calibration", "show", str(path))[1]
    )


def test_a_record_dated_ahead_is_listed_as_refused(freqprop: Call, records: RecordFolder) -> None:
    records.add(a_record(time=TIME.replace(year=2999)))
    assert "is dated ahead of now. Set the clock" in freqprop("calibration", "list")[1]


def test_show_says_what_was_found_and_what_it_rests_on(freqprop: Call, records: RecordFolder) -> None:
    record = a_record(
        offsets(values=[1e-3, np.nan], type_a=[3e-5, np.nan]),
        curve(),
        raw={"volts": np.zeros((2, 10))},
        notes="after the move",
    )
    status, out, _ = freqprop("calibration", "show", str(records.add(record)))
    assert status == 0
    assert out.splitlines() == [
        "offsets of breadboard, 2026-11-26 01:02 UTC, by Ada",
        "never expires; uid 1a2b3c4d000000000000000000000000",
        "verdict: good: every offset is known to 0.1 mV",
        "offset, ± expanded uncertainty (95 %, k = 1.96):",
        "  ai0            (1.000 ± 0.098) mV",  # 1.96 times 0.05 mV
        "  ai1            not determined",
        "conductance by nominal conductance, ± expanded uncertainty (95 %, k = 1.96):",
        "  R1                     100 µS (100.00 ± 0.20) µS",
        "  R1                     550 µS (550.00 ± 0.20) µS",
        "  R1                       1 mS (1.00000 ± 0.00020) mS",
        "  R2                     100 µS (101.00 ± 0.20) µS",
        "  R2                     550 µS (555.50 ± 0.20) µS",
        "  R2                       1 mS (1.01000 ± 0.00020) mS",
        "reference R_ref: (1.00000 ± 0.00010) kOhm (k = 2); certificate 1234, 2026-03-01",
        "instrument daq: National Instruments USB-6363, serial number 01ABCDEF, firmware 21.0",
        "setting records: 10",
        "setting inputs: shorted",
        "raw data volts: float64, shape (2, 10)",
        "assumed: the offsets don't hang on the level",
        "software: freqprop-lab 0.1.0",
        "notes: after the move",
    ]


def test_show_names_students_factors_and_cuts_long_tables(freqprop: Call, records: RecordFolder) -> None:
    few = offsets(type_b=0.0, degrees_of_freedom=[4, 9])  # GUM table G.2: 2.78, 2.26
    out = freqprop("calibration", "show", str(records.add(a_record(few, curve(40)))))[1]
    assert "k = 2.26 to 2.78" in out
    assert out.count("and 16 more points; all with --json") == 2


def test_show_as_json_writes_every_table_out(freqprop: Call, records: RecordFolder) -> None:
    out = freqprop("calibration", "show", str(records.add(a_record(curve(40)))), "--json")[1]
    (quantity,) = json.loads(out)["quantities"]
    assert np.array(quantity["values"]).shape == (2, 40)


def test_compare_tells_the_worst_drift_first_in_words(freqprop: Call, records: RecordFolder) -> None:
    old = records.add(a_record(offsets(), curve()))
    table = curve(values=np.array([[1e-4, 5.5e-4, 1e-3], [1.01e-4, 5.555e-4, 1.0106e-3]]))
    new = records.add(a_record(offsets(values=[1e-3, -1e-3]), table, time=TIME + timedelta(days=30), uid="a" * 32))
    status, out, _ = freqprop("calibration", "compare", str(old), str(new))
    assert status == 0
    assert out.splitlines() == [
        "offsets: 2026-11-26 01:02 to 2026-12-26 01:02 UTC (30 d)",
        "2 of 8 values drifted by more than 2 standard uncertainties",
        # 1 mV / (root 2 times 0.03 mV)
        "  offset of ai1 rose by 1 mV from -2 mV to -1 mV: 23.6 standard uncertainties",
        # 0.6 uS / (root 2 times 0.1 uS)
        "  conductance of R2 at 1 mS rose by 600 nS from 1.01 mS to 1.0106 mS: 4.24 standard uncertainties",
        out.splitlines()[-1],
    ]
    assert out.splitlines()[-1].startswith("assumed: both records name the same references")
    status, out, _ = freqprop("calibration", "compare", str(old), str(new), "-k", "1000", "--json")
    told = json.loads(out)
    assert (told["k"], told["drifted"]) == (1000, [])
    assert told["quantities"][0]["change"] == [0.0, pytest.approx(1e-3)]


def test_wrong_files_end_with_status_2_and_the_reason(freqprop: Call, records: RecordFolder) -> None:
    status, _, err = freqprop("calibration", "list", "nowhere")
    assert (status, err) == (
        2,
        "freqprop: nowhere: is no folder of records; a calibration makes one. Nothing was started.\n",
    )
    path = records.add(a_record())
    path.write_text(path.read_text(encoding="utf-8").replace("Ada", "Bob"), encoding="utf-8")
    status, _, err = freqprop("calibration", "show", str(path))
    assert status == 2
    assert "was changed after it was written" in err
    gains = records.add(a_record(procedure="gains"))
    status, _, err = freqprop("calibration", "compare", str(gains), str(path))
    assert status == 2
    skew = records.add(a_record(procedure="skew", instruments=(DAQ,)))
    status, _, err = freqprop("calibration", "compare", str(gains), str(skew))
    assert status == 2
    assert "a record of gains can't be compared with one of skew" in err


def test_the_schema_is_printed(freqprop: Call) -> None:
    assert json.loads(freqprop("calibration", "schema")[1]) == schema()


def test_an_empty_folder_is_no_fault(freqprop: Call, records: RecordFolder) -> None:
    records.path.mkdir()
    assert freqprop("calibration", "list") == (0, "no record in calibrations\n", "")


def test_a_table_with_gaps_shows_what_there_is(freqprop: Call, records: RecordFolder) -> None:
    axis = Points("code", "", np.array([[0.0, 1.0, np.nan], [np.nan] * 3]))
    out = freqprop("calibration", "show", str(records.add(a_record(curve(points=axis)))))[1]
    assert out.count("  R1 ") == 2
    assert "  R2 " not in out


@pytest.mark.parametrize(
    ("value", "doubt", "unit", "words"),
    [
        (0.0012345678, 1.2e-6, "V", "(1.2346 ± 0.0012) mV"),
        (0.9987, 0.0012, "", "(0.9987 ± 0.0012)"),
        (0.9987, 0.0012, "1", "(0.9987 ± 0.0012)"),
        (0.0, 2e-3, "V", "(0.0 ± 2.0) mV"),
        (1e-7, 3.2e-3, "V", "(0.0 ± 3.2) mV"),
        (-4700.0, 250.0, "Ohm", "(-4.70 ± 0.25) kOhm"),
        (5.0, 0.0, "V", "5 V exactly"),
        (float("nan"), 1.0, "V", "not determined"),
        (5e-3, float("nan"), "V", "5 mV, its uncertainty unknown"),
        (1.0, 1e-30, "V", "(1 ± 1e-30) V"),
        (1.0, 123.0, "%", "(1 ± 123) %"),
        (-1.5e-4, 2e-5, "V^2", "(-0.000150 ± 0.000020) V^2"),  # a µV^2 is 1e-12 V^2, not 1e-6
    ],
)
def test_a_value_is_written_to_the_second_digit_of_its_doubt(value: float, doubt: float, unit: str, words: str) -> None:
    assert with_doubt(value, doubt, unit) == words


def test_a_measure_takes_the_prefix_that_keeps_it_short() -> None:
    assert [measure(4700.0, "Ohm"), measure(-2e-6, "s"), measure(0.0, "V"), measure(0.25, "")] == [
        "4.7 kOhm",
        "-2 µs",
        "0 V",
        "0.25",
    ]
