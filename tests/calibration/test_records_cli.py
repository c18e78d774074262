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

from calibration._numbers import measure, percent, rounded, with_doubt
from calibration.records import Points, Quantity, RecordFolder, Verdict, read_record, schema
from calibration.records._file import sealed


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
    assert lines[3].startswith(f"refused: {bad.name}: its arrays file {bad.stem}.npz is missing")
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
        "verdict: good",
        "  every offset is known to 0.1 mV",
        "offset, ± expanded uncertainty (95 %, k = 1.96):",
        "  ai0            (1.000 ± 0.098) mV",  # 1.96 times 0.05 mV
        "  ai1            not told",
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
        (5.0, 0.0, "V", "5 V, no uncertainty stated"),
        (float("nan"), 1.0, "V", "not told"),
        (5e-3, float("nan"), "V", "5 mV, its uncertainty unknown"),
        (1.0, 1e-30, "V", "(1 ± 1e-30) V"),
        (1.0, 123.0, "%", "(1 ± 123) %"),
        (-2e-5, 7.3e-3, "V", "(0.0 ± 7.3) mV"),  # no zero below zero
        (0.00360126123, float("nan"), "V", "3.601 mV, its uncertainty unknown"),
        (1.7e-6, 3.2e-6, "V^2", "(1.7 ± 3.2) x 10^-6 V^2"),
        (-1.5e-4, 2e-5, "V^2", "(-150 ± 20) x 10^-6 V^2"),  # a µV^2 is 1e-12 V^2, not 1e-6
    ],
)
def test_a_value_is_written_to_the_second_digit_of_its_doubt(value: float, doubt: float, unit: str, words: str) -> None:
    assert with_doubt(value, doubt, unit) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.4601, "46 %"), (-0.0, "0 %"), (3.4e-4, "0.034 %"), (5e-8, "0.0000050 %"), (1.0, "100 %"), (12.3, "1230 %")],
)
def test_a_share_is_written_in_per_cent_without_an_exponent(share: float, words: str) -> None:
    assert percent(share) == words


def test_a_measure_is_written_below_a_thousand_of_its_prefix() -> None:
    assert [measure(999.99999999, "V"), rounded(3.706e-8, "s"), measure(-0.0, "V")] == ["1 kV", "37.1 ns", "0 V"]


def test_what_cant_be_negative_is_told_as_a_bound(freqprop: Call, records: RecordFolder) -> None:
    zeros = np.zeros(3)
    scatter = Quantity("repeatability", "1", ("a", "b", "c"), [1e-4, 5e-3, -1e-4], [1e-4, 1e-4, 1e-4], zeros)
    out = freqprop("calibration", "show", str(records.add(a_record(scatter))))[1]
    lines = [line.split(maxsplit=1)[1] for line in out.splitlines() if line.startswith(("  a ", "  b ", "  c "))]
    # 0.01 % + 1.96 times 0.01 %; what is read below zero counts as nothing
    assert lines == ["below 0.03 %", "(0.500 ± 0.020) %", "below 0.02 %"]


def test_channels_are_named_with_their_nodes_in_the_order_of_the_nodes(freqprop: Call, records: RecordFolder) -> None:
    meters = [{"channel": "ai0", "node": "n10"}, {"channel": "ai1", "node": "n2"}]
    record = a_record(offsets(), settings={"channels": {"meters": meters}})
    out = freqprop("calibration", "show", str(records.add(record)))[1]
    assert [line.strip()[:9] for line in out.splitlines() if "(ai" in line] == ["n2 (ai1) ", "n10 (ai0)"]
    assert "setting channels" not in out


def test_a_bound_is_told_as_one(freqprop: Call, records: RecordFolder) -> None:
    nothing = [np.nan]
    best = Quantity("recommended frequency", "Hz", ("board",), [4.312e5], nothing, nothing)
    record = a_record(best, outcome={"bounds": {"recommended frequency": "at least"}})
    assert "board          431 kHz or more" in freqprop("calibration", "show", str(records.add(record)))[1]


def test_show_takes_a_procedure_and_says_what_an_arrays_file_is(freqprop: Call, records: RecordFolder) -> None:
    records.add(a_record(time=TIME - timedelta(days=2), uid="a" * 32))
    new = records.add(a_record())
    status, out, err = freqprop("calibration", "show", "offsets")
    assert (status, new.name in err) == (0, True)
    assert "offsets of breadboard, 2026-11-26" in out
    status, _, err = freqprop("calibration", "show", str(new.with_suffix(".npz")))
    assert status == 2
    assert f"the record itself is the file {new.name}" in err
    assert 'Did you mean "offsets"?' in freqprop("calibration", "show", "ofsets")[2]
    assert "no record of gains is in calibrations" in freqprop("calibration", "show", "gains")[2]


def test_compare_takes_the_older_as_the_old_one_and_tells_a_bad_verdict(freqprop: Call, records: RecordFolder) -> None:
    bad = Verdict("bad", ("look at the lead of n3",))
    old = records.add(a_record(verdict=bad))
    new = records.add(a_record(offsets(values=[1e-3, -1e-3]), time=TIME + timedelta(days=30), uid="a" * 32))
    status, out, err = freqprop("calibration", "compare", str(new), str(old))
    assert status == 0
    assert f"{new.name} is the newer one" in err
    assert "offset of ai1 rose by 1 mV from -2 mV to -1 mV" in out
    assert "note: the verdict of the old record is bad: look at the lead of n3" in out


def test_the_report_tells_on_the_terminal_what_it_refused(freqprop: Call, records: RecordFolder) -> None:
    records.add(a_record())
    bad = records.add(a_record(time=TIME + timedelta(hours=1), uid="a" * 32))
    bad.with_suffix(".npz").unlink()
    status, out, err = freqprop("calibrate", "report")
    assert (status, "wrote" in out) == (0, True)
    assert f"note: {bad.name} is not used: its arrays file {bad.stem}.npz is missing" in err


def test_a_drift_is_told_with_the_node(freqprop: Call, records: RecordFolder) -> None:
    channels = {"channels": {"meters": [{"channel": "ai1", "node": "n7"}]}}
    old = records.add(a_record(settings=channels))
    new = records.add(
        a_record(offsets(values=[1e-3, -1e-3]), settings=channels, time=TIME + timedelta(days=1), uid="a" * 32)
    )
    assert "offset of n7 (ai1) rose by 1 mV" in freqprop("calibration", "compare", str(old), str(new))[1]


def test_a_time_in_whole_seconds_is_one(records: RecordFolder) -> None:
    path = records.add(a_record())
    content = json.loads(path.read_text(encoding="utf-8"))
    content["time"] = content["time"].replace(".000000", "")
    path.write_bytes(sealed(content))
    assert read_record(path).time == TIME


def test_a_measure_takes_the_prefix_that_keeps_it_short() -> None:
    assert [measure(4700.0, "Ohm"), measure(-2e-6, "s"), measure(0.0, "V"), measure(0.25, "")] == [
        "4.7 kOhm",
        "-2 µs",
        "0 V",
        "0.25",
    ]
