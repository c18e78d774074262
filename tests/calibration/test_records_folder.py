"""Records on the disk: never half, never overwritten, and refused with the reason when they were changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from example_record import DAQ, TIME, a_record, curve, offsets
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calibration.records import InstrumentId, RecordError, RecordFolder, Why, content_of
from calibration.records._file import checksum, sealed

NOW = TIME + timedelta(days=1)


@pytest.fixture
def folder(tmp_path: Path) -> RecordFolder:
    return RecordFolder(tmp_path / "calibrations")


def refusal(folder: RecordFolder, path: Path, **held: Any) -> RecordError:
    with pytest.raises(RecordError) as caught:
        folder.read(path, **held)
    assert str(path) in str(caught.value)
    return caught.value


def rewritten(path: Path, **changes: Any) -> None:
    """Change fields of a record's file and give it the checksum that belongs to them."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_bytes(sealed(content))


def other_uid(number: int) -> str:
    return f"{number:032x}"[::-1]


# Reading


def test_a_record_is_read_by_path_by_name_and_without_its_ending(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    for way in (path, path.name, path.stem):
        assert folder.read(way).operator == "Ada"


def test_a_missing_record_is_told_with_the_nearest_name(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    error = refusal(folder, path.with_name("offsets-20261126T010203Z-1a2b3c4e.json"))
    assert f'Did you mean "{path.name}"?' in str(error)
    assert str(error).endswith("Nothing was started.")


@pytest.mark.parametrize(
    ("text", "why", "words"),
    [
        ("", Why.UNREADABLE, "is empty"),
        ("{", Why.UNREADABLE, "is not valid JSON"),
        ("[" * 100_000, Why.UNREADABLE, "is not valid JSON"),
        ("[]", Why.UNREADABLE, "is no calibration record"),
        ('{"a": NaN}', Why.UNREADABLE, "NaN is no number of JSON"),
        ('{"a": 1, "a": 2}', Why.UNREADABLE, "a name stands twice"),
        (
            '{"format": "freqprop-lab calibration record", "schema_version": 2}',
            Why.VERSION,
            "this program knows 1. Upgrade",
        ),
        ('{"format": "freqprop-lab calibration record", "schema_version": true}', Why.VERSION, "version True"),
        (
            '{"format": "freqprop-lab calibration record", "schema_version": 1, "x": "\\ud800"}',
            Why.UNREADABLE,
            "surrogate",
        ),
        ('{"format": "freqprop-lab calibration record", "schema_version": 1}', Why.EDITED, "not that of its checksum"),
    ],
)
def test_what_is_no_record_is_refused(folder: RecordFolder, text: str, why: Why, words: str) -> None:
    path = folder.add(a_record())
    path.write_text(text, encoding="utf-8")
    error = refusal(folder, path)
    assert error.why is why
    assert words in str(error)


def test_a_cut_json_is_refused_with_its_line(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    path.write_bytes(path.read_bytes()[:200])
    assert re.search(
        r"line \d+: is not valid JSON: .* It was cut or edited; calibrate anew", str(refusal(folder, path))
    )


def test_an_edited_value_is_refused_and_white_space_is_not(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    text = path.read_text(encoding="utf-8")
    path.write_text(json.dumps(json.loads(text), indent=4), encoding="utf-8")
    assert folder.read(path).quantity("offset").values[0] == 1e-3
    path.write_text(text.replace("[0.001, -0.002]", "[0.0011, -0.002]"), encoding="utf-8")
    error = refusal(folder, path)
    assert error.why is Why.EDITED
    assert "was changed after it was written" in str(error)


def test_fields_are_checked_even_where_the_checksum_is_right(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    rewritten(path, operater="Bob")
    assert 'unknown field "operater". Did you mean "operator"?' in str(refusal(folder, path))


def test_uncertainties_that_do_not_follow_from_their_parts_are_refused(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    content = json.loads(path.read_text(encoding="utf-8"))
    content["quantities"][0]["expanded_uncertainty"] = [1e-9, 1e-9]
    path.write_bytes(sealed(content))
    assert "its expanded_uncertainty is not what type A and B make" in str(refusal(folder, path))


def test_a_table_that_does_not_fit_is_refused(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    content = json.loads(path.read_text(encoding="utf-8"))
    content["quantities"][0]["type_a"] = [[1.0], [1.0, 2.0]]
    path.write_bytes(sealed(content))
    assert "can't be" in str(refusal(folder, path))


def test_an_arrays_file_elsewhere_is_not_looked_at(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    arrays = json.loads(path.read_text(encoding="utf-8"))["arrays"]
    rewritten(path, arrays={**arrays, "file": "../x.npz"})
    assert 'field "arrays.file"' in str(refusal(folder, path))


def test_a_renamed_record_is_refused_with_its_name(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    later = path.rename(path.with_name(path.name.replace("20261126", "20271126")))
    error = refusal(folder, later)
    assert error.why is Why.EDITED
    assert f"was written as {path.name}" in str(error)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda beside: beside.unlink(), "is missing. Bring both files together again"),
        (lambda beside: beside.write_bytes(beside.read_bytes()[:-30]), "was cut"),
        (lambda beside: beside.write_bytes(b""), "was cut"),
        (lambda beside: np.savez(beside, **{"quantities/conductance/values": np.zeros((2, 40))}), "was "),
    ],
)
def test_missing_cut_or_edited_arrays_are_refused(folder: RecordFolder, harm: Any, words: str) -> None:
    path = folder.add(a_record(curve(40)))
    harm(path.with_suffix(".npz"))
    error = refusal(folder, path)
    assert error.why is Why.EDITED
    assert f"its arrays file {path.stem}.npz {words}" in str(error)


def test_arrays_of_another_record_are_refused(folder: RecordFolder) -> None:
    path = folder.add(a_record(curve(40)))
    other = folder.add(a_record(curve(40, type_a=2e-7), uid=other_uid(1)))
    path.with_suffix(".npz").write_bytes(other.with_suffix(".npz").read_bytes())
    assert "was changed after it was written" in str(refusal(folder, path))


def harmed(content: bytes, place: float, flip: int) -> bytes:
    at = int(place * len(content))
    return content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]


@settings(max_examples=150)
@given(st.sampled_from([".json", ".npz"]), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
@example(".json", 0.0, 0xFF)
def test_any_byte_changed_is_refused_or_changes_nothing(ending: str, place: float, flip: int) -> None:
    record = a_record(offsets(), curve(40), raw={"volts": np.arange(4.0)}, notes="Größe ±")
    with TemporaryDirectory() as name:
        folder = RecordFolder(name)
        path = folder.add(record)
        harmful = path.with_suffix(ending)
        before = harmful.read_bytes()
        harmful.write_bytes(harmed(before, place, flip))
        try:
            again = folder.read(path)
        except RecordError:
            return
        assert ending == ".json"  # white space for other white space, or a digit that stands for the same number
        assert content_of(again)[0] == content_of(record)[0]
        assert len(harmful.read_bytes().split()) == len(before.split())


# Held against the bench


def test_a_record_from_the_future_is_refused(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    assert folder.read(path, now=TIME - timedelta(seconds=60)).time == TIME
    error = refusal(folder, path, now=TIME - timedelta(seconds=61))
    assert error.why is Why.FUTURE
    assert "is dated 2026-11-26 01:02:03 UTC, 61 s ahead of now. Set the clock, or move it away" in str(error)


def test_another_serial_number_is_refused(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    assert folder.read(path, instruments=[DAQ, InstrumentId("dmm")]).bench == "breadboard"
    error = refusal(folder, path, instruments=[replace(DAQ, serial="99")])
    assert error.why is Why.FOREIGN
    assert (
        'was taken with another "daq": National Instruments USB-6363, serial number 01ABCDEF; present is '
        "National Instruments USB-6363, serial number 99. Calibrate with the one that is present"
    ) in str(error)


@pytest.mark.parametrize(
    ("present", "passes"),
    [
        (replace(DAQ, serial=""), True),  # it does not tell: maker and model decide
        (replace(DAQ, serial="", model="USB-6210"), False),
        (replace(DAQ, manufacturer="NI"), False),
        (replace(DAQ, serial="01abcdef", model="usb-6363 "), True),
        (replace(DAQ, firmware="22.0"), True),  # an update makes no other instrument
        (InstrumentId("daq"), True),
        (replace(DAQ, name="card"), False),
    ],
)
def test_who_counts_as_the_same_instrument(folder: RecordFolder, present: InstrumentId, passes: bool) -> None:
    path = folder.add(a_record())
    if passes:
        folder.read(path, instruments=[present])
    else:
        assert refusal(folder, path, instruments=[present]).why is Why.FOREIGN


def test_an_instrument_that_is_gone_is_named(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    error = refusal(folder, path, instruments=[InstrumentId("dacq")])
    assert 'this bench has no such instrument. Did you mean "dacq"? It has: dacq' in str(error)


def test_another_bench_is_refused(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    error = refusal(folder, path, bench="iris")
    assert error.why is Why.OTHER_BENCH
    assert 'was taken on the bench "breadboard", this is "iris"' in str(error)


# The newest valid one


def test_the_newest_valid_one_is_chosen_and_newer_bad_ones_are_told(folder: RecordFolder) -> None:
    dates = [TIME + timedelta(hours=hours) for hours in range(5)]
    paths = [folder.add(a_record(time=date, uid=other_uid(number))) for number, date in enumerate(dates)]
    folder.add(a_record(time=dates[4], procedure="gains", uid=other_uid(9)))
    paths[4].with_suffix(".npz").unlink()
    paths[3].write_text("{", encoding="utf-8")
    paths[0].write_text("{", encoding="utf-8")  # older than the one that is chosen: nobody asks
    foreign = a_record(time=dates[2] + timedelta(seconds=1), instruments=(replace(DAQ, serial="99"),), uid=other_uid(7))
    paths.insert(3, folder.add(foreign))
    chosen = folder.newest("offsets", now=NOW, instruments=[DAQ], bench="breadboard")
    assert chosen.path == paths[2]
    assert chosen.record is not None
    assert chosen.record.time == dates[2]
    assert not chosen.stale
    assert [(refused.path, refused.why) for refused in chosen.refused] == [
        (paths[5], Why.EDITED),
        (paths[4], Why.UNREADABLE),
        (paths[3], Why.FOREIGN),
    ]
    assert "is missing" in chosen.refused[0].reason


def test_within_one_second_the_later_is_the_newest(folder: RecordFolder) -> None:
    for number in range(4):
        folder.add(a_record(time=TIME + timedelta(milliseconds=100 * number), uid=other_uid(4 - number)))
    chosen = folder.newest("offsets", now=NOW)
    assert chosen.record is not None
    assert chosen.record.time == TIME + timedelta(milliseconds=300)


def test_without_a_record_nothing_is_chosen(folder: RecordFolder) -> None:
    assert folder.newest("offsets", now=NOW).record is None
    folder.add(a_record(procedure="offsets-fine"))
    chosen = folder.newest("offsets", now=NOW)
    assert (chosen.record, chosen.refused, chosen.path) == (None, (), None)


def test_a_future_one_is_passed_over_and_told(folder: RecordFolder) -> None:
    folder.add(a_record())
    folder.add(a_record(time=TIME + timedelta(days=2), uid=other_uid(1)))
    chosen = folder.newest("offsets", now=NOW)
    assert chosen.record is not None
    assert chosen.record.time == TIME
    assert [refused.why for refused in chosen.refused] == [Why.FUTURE]


def test_an_old_or_expired_one_is_used_and_called_stale(folder: RecordFolder) -> None:
    folder.add(a_record(expires=TIME + timedelta(days=7)))
    assert not folder.newest("offsets", now=NOW).stale
    assert folder.newest("offsets", now=TIME + timedelta(days=8)).stale
    assert folder.newest("offsets", now=NOW, max_age=timedelta(hours=1)).stale


def test_a_file_with_any_other_name_is_told(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    (folder.path / "best.json").write_bytes(path.read_bytes())
    chosen = folder.newest("offsets", now=NOW)
    assert chosen.path == path
    assert [refused.path.name for refused in chosen.refused] == ["best.json"]


def test_all_lists_the_oldest_first_and_bad_ones_in_their_place(folder: RecordFolder) -> None:
    second = folder.add(a_record(time=TIME + timedelta(days=1), uid=other_uid(1)))
    first = folder.add(a_record(procedure="skew"))
    third = folder.add(a_record(time=TIME + timedelta(days=2), uid=other_uid(2)))
    second.write_text("{", encoding="utf-8")
    found = folder.all()
    assert [path for path, _ in found] == [first, second, third]
    assert isinstance(found[1][1], RecordError)
    assert RecordFolder(folder.path / "none").all() == []


# Writing


def aged(folder: RecordFolder, seconds: float = 120.0) -> RecordFolder:
    """Let all files of a folder be older by so much."""
    for path in folder.path.iterdir() if folder.path.is_dir() else ():
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))
    return folder


def test_what_is_being_written_is_no_leftover(folder: RecordFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at by another process when the arrays are there and the record that names them is not yet."""
    seen: list[list[Path]] = []

    def link(*names: Any) -> None:
        real(*names)
        seen.append(folder.leftovers())

    real = os.link
    monkeypatch.setattr(os, "link", link)
    path = folder.add(a_record())
    assert seen == [[], []]
    path.unlink()
    assert folder.leftovers() == []
    assert aged(folder).leftovers() == [path.with_suffix(".npz")]


@pytest.mark.parametrize("inner", [".", "a/b"])
def test_whether_a_record_could_be_written_is_asked_without_a_trace(tmp_path: Path, inner: str) -> None:
    RecordFolder(tmp_path / "there" / inner).refuse_unwritable()
    assert not (tmp_path / "there").exists()
    (tmp_path / "there").mkdir()
    RecordFolder(tmp_path / "there" / inner).refuse_unwritable()
    assert list((tmp_path / "there").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="is no folder. Choose another folder. This record was not written") as caught:
        RecordFolder(tmp_path / "file" / inner).refuse_unwritable()
    assert caught.value.why is Why.UNWRITABLE


def test_nothing_is_ever_overwritten(folder: RecordFolder) -> None:
    path = folder.add(a_record())
    before = path.read_bytes()
    for again in (a_record(), a_record(notes="another"), a_record(curve(40))):
        with pytest.raises(
            RecordError, match="exists already, and a record is never overwritten.*not written"
        ) as caught:
            folder.add(again)
        assert caught.value.why is Why.EXISTS
    assert path.read_bytes() == before
    assert folder.read(path).notes == ""
    assert aged(folder).leftovers() == []


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="This record was not written") as caught:
        RecordFolder(tmp_path / "file").add(a_record())
    assert caught.value.why is Why.UNWRITABLE


def test_half_a_letter_is_refused_before_anything_is_written(folder: RecordFolder) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        folder.add(a_record(notes="\ud800"))
    assert folder.all() == []
    assert aged(folder).leftovers() == []


def test_a_disk_without_links_takes_records_too(folder: RecordFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = folder.add(a_record())
    assert folder.read(path).operator == "Ada"
    with pytest.raises(RecordError, match="exists already"):
        folder.add(a_record())


SCRIPT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from example_record import a_record, curve
from calibration.records import RecordError, RecordFolder
"""

KILLED = """
calls = 0
def dies(real):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == int(sys.argv[3]):
            os._exit(9)
        return real(*arguments, **options)
    return call
for name in ("fsync", "link", "unlink", "mkdir"):
    setattr(os, name, dies(getattr(os, name)))
RecordFolder(sys.argv[2]).add(a_record(curve(40)))
"""

TWO = """
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    RecordFolder(sys.argv[2]).add(a_record(curve(40), uid=sys.argv[3] + f"{number:07x}" + "0" * 24))
try:
    print(RecordFolder(sys.argv[2]).add(a_record(curve(40))).name)
except RecordError as error:
    print(error.why.value)
"""


def test_a_process_killed_at_any_moment_leaves_no_half_record(tmp_path: Path) -> None:
    whole = 0
    for moment in range(1, 12):
        folder = RecordFolder(tmp_path / str(moment))
        command = [sys.executable, "-c", SCRIPT + KILLED, str(Path(__file__).parent), str(folder.path), str(moment)]
        status = subprocess.run(command, timeout=120).returncode
        found = folder.all()
        assert all(not isinstance(record, RecordError) for _, record in found)
        if status == 0:
            assert len(found) == 1
            assert aged(folder).leftovers() == []
            break
        assert status == 9
        if found:  # killed after the last link: the record is there, and whole
            whole += 1
            continue
        folder.add(a_record(curve(40)))  # what is left stands in nobody's way, nor does the same record's own half
        assert len(folder.all()) == 1
        assert [path.suffix for path in aged(folder).leftovers()] in ([], [".part"])
    else:
        pytest.fail("no moment was late enough")
    assert moment >= 8
    assert whole >= 1


def test_two_processes_add_at_once(tmp_path: Path) -> None:
    processes = []
    for head in "ab":
        command = [sys.executable, "-c", SCRIPT + TWO, str(Path(__file__).parent), str(tmp_path / "both"), head]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert sorted(told) == ["exists", "offsets-20261126T010203Z-1a2b3c4d.json"]  # of the same record, one
    found = RecordFolder(tmp_path / "both").all()
    assert len(found) == 41
    assert all(not isinstance(record, RecordError) for _, record in found)
    assert aged(RecordFolder(tmp_path / "both")).leftovers() == []


def test_the_checksum_is_that_of_the_canonical_form() -> None:
    # printf '{"a":[1.5,null,"ö"],"b":{}}' | sha256sum
    assert checksum({"b": {}, "a": [1.5, None, "ö"], "sha256": "left out"}) == (
        "2b61622b20e6c10df022d6d42c334ffbf4d231c3044ebfb89fd2bfa5ebffaac8"
    )
