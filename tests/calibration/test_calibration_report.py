"""The page of a bench's calibrations: whole, safe to open, and honest about what is not used."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from benches import opened

from calibration.records import CalibrationRecord, InstrumentId, Quantity, RecordError, RecordFolder, Verdict
from calibration.registry import make_procedure
from calibration.report import write_calibration_report
from calibration.running import calibrate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    records = RecordFolder(tmp_path_factory.mktemp("report") / "calibrations")
    more = "  references: [{meter: n0, gain: 50e-6, certificate: 'no. 17 <script>alert(1)</script>'}]\n"
    with opened(1, more=more) as bench:
        for name in ("offsets", "network"):
            calibrate(bench, make_procedure(name, samples=500), records, operator="Ada <b>")
    return records


def _page(folder, path, **options):
    now = datetime.now(UTC) + timedelta(seconds=1)
    return write_calibration_report(folder, path, now, **options).read_text(encoding="utf-8")


def test_it_tells_every_procedure_with_its_verdict_plots_and_values(folder, tmp_path):
    page = _page(folder, tmp_path / "page.html")
    assert page.index('id="bench-offsets"') < page.index('id="bench-network"')  # in the order in which they are run
    assert page.count("the readings depart from the model by") >= 2
    assert page.count('<img src="data:image/png;base64,') == 4  # values and residuals of both
    assert "conductance, 32 values" in page
    assert "no. 17" in page


def test_nothing_in_it_is_fetched_or_run(folder, tmp_path):
    page = _page(folder, tmp_path / "page.html")
    assert "<script" not in page
    assert "<b>" not in page
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_a_record_that_is_not_used_is_named(folder, tmp_path):
    broken = RecordFolder(tmp_path / "calibrations")
    with opened(1) as bench:
        path = calibrate(bench, make_procedure("offsets", samples=500), broken).path
        calibrate(bench, make_procedure("offsets", samples=500), broken)
    path.write_text(path.read_text().replace("offsets", "0ffsets", 1))
    assert path.name in _page(broken, tmp_path / "page.html")


def test_without_records_it_says_what_to_do(tmp_path):
    with pytest.raises(RecordError, match=r"holds no valid record; run freqprop calibrate first"):
        _page(RecordFolder(tmp_path), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def _record(bench, procedure, label, serial, **more):
    quantity = Quantity("meter offset", "V", (label, "other"), [1e-3, 2e-3], 1e-4, 0.0)
    meter = InstrumentId("meter", "Maker", "M1", serial)
    return CalibrationRecord(
        procedure=procedure,
        bench=bench,
        time=more.pop("time", datetime.now(UTC) - timedelta(hours=1)),
        instruments=(meter, *more.pop("beside", ())),
        quantities=(quantity,),
        verdict=Verdict("good"),
        **more,
    )


def test_two_benches_in_one_folder_have_a_section_each(tmp_path):
    records = RecordFolder(tmp_path / "calibrations")
    for bench, label in (("A", "of-a"), ("B 2", "of-b")):
        for procedure in ("offsets", "skew"):
            records.add(_record(bench, procedure, f"{label}-{procedure}", f"no. {bench}"))
    page = _page(records, tmp_path / "page.html")
    assert "<h1>A, B 2: calibration</h1>" in page
    a, b = page[page.index(">Bench A<") : page.index(">Bench B 2<")], page[page.index(">Bench B 2<") :]
    assert [label for label in ("of-a-offsets", "of-a-skew", "of-b-offsets", "of-b-skew") if label in a] == [
        "of-a-offsets",
        "of-a-skew",
    ]
    assert "of-b-offsets" in b
    assert "of-b-skew" in b
    assert "no. A" in a
    assert "no. A" not in b
    targets = re.findall(r'href="#([^"]+)"', page)
    assert targets == ["A-offsets", "A-skew", "B%202-offsets", "B%202-skew"]
    assert all(f'id="{target}"' in page for target in targets)


def test_every_instrument_of_every_record_is_listed_once(tmp_path):
    records = RecordFolder(tmp_path / "calibrations")
    records.add(_record("A", "offsets", "x", "1", beside=(InstrumentId("source", "Maker", "S1"),)))
    records.add(_record("A", "gains", "x", "1"))
    records.add(_record("A", "skew", "x", "2"))
    page = _page(records, tmp_path / "page.html")
    rows = re.findall(r'<th scope="row">(meter|source)</th>(.*?)</tr>', page)
    cells = [(name, *re.findall(r"<td>(.*?)</td>", row)) for name, row in rows]
    assert cells == [
        ("meter", "Maker", "M1", "1", "-", "offsets, gains"),
        ("meter", "Maker", "M1", "2", "-", "skew"),
        ("source", "Maker", "S1", "-", "-", "offsets"),
    ]


def test_a_section_says_which_records_it_rests_on(tmp_path):
    records = RecordFolder(tmp_path / "calibrations")
    time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    old = _record("A", "gains", "x", "1", time=time)
    records.add(old)
    records.add(_record("A", "gains", "x", "1"))
    records.add(_record("A", "network", "x", "1", rests_on={"gains": old.uid, "relaxation": "f" * 32}))
    page = _page(records, tmp_path / "page.html")
    assert "It rests on the record of gains of 2026-01-02 03:04:05, since when there is a newer one; " in page
    assert f"a record of relaxation that is not here, uid {'f' * 32}." in page


def test_another_bench_has_no_record_here(folder, tmp_path):
    with pytest.raises(RecordError, match=r"holds no valid record"):
        _page(folder, tmp_path / "page.html", bench="another")
