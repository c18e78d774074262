"""The page of a bench's calibrations: whole, safe to open, and honest about what is not used."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from benches import opened

from calibration.records import RecordError, RecordFolder
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
    assert page.index('id="offsets"') < page.index('id="network"')  # in the order in which they are run
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


def test_another_bench_has_no_record_here(folder, tmp_path):
    with pytest.raises(RecordError, match=r"holds no valid record"):
        _page(folder, tmp_path / "page.html", bench="another")
