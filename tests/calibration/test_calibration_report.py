"""The page of a bench's calibrations: whole, safe to open, and honest about what is not used."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from benches import opened

from calibration.record_names import TABLE
from calibration.records import (
    CalibrationRecord,
    InstrumentId,
    Points,
    Quantity,
    RecordError,
    RecordFolder,
    Verdict,
)
from calibration.registry import make_procedure
from calibration.report import write_calibration_report
from calibration.report._plots import pictures
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


def test_channels_stand_beside_the_nodes_that_they_are_wired_to(folder, tmp_path):
    page = _page(folder, tmp_path / "page.html")
    with opened(1) as bench:
        sources = [(bench.network.nodes[lead.plus], lead.name) for lead in bench.leads if lead.plus >= 0]
        live = [
            f"{node} ({name})" for (node, name), volts in zip(sources, bench.resting, strict=True) if volts == volts
        ]
        meters = [f"{node} ({name})" for node, name in bench.meter_channels.items()]
    named = re.findall(r'<th scope="row">(n\d+ \([^)]*\))</th>', page)
    assert set(named) == {*live, *meters}
    first = [label for label in named if "meter" in label][: len(meters)]
    assert first == sorted(meters, key=lambda label: int(label[1:].split()[0]))


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


def _drawn(monkeypatch, *quantities, **more):
    """Return the axes of what is drawn of some quantities."""
    from matplotlib.figure import Figure

    figures = []
    real = Figure.__init__
    monkeypatch.setattr(
        Figure, "__init__", lambda self, *args, **more: (figures.append(self), real(self, *args, **more))[1]
    )
    record = CalibrationRecord(
        procedure="noise",
        bench="A",
        time=datetime(2026, 1, 2, tzinfo=UTC),
        instruments=(),
        quantities=quantities,
        verdict=Verdict("good"),
        **more,
    )
    assert len(pictures(record)) == len(figures)
    return [axes for figure in figures for axes in figure.axes]


def test_intervals_that_are_too_short_to_see_are_told(monkeypatch):
    gain = Quantity("meter gain", "1", ("a", "b", "c"), [1.02, 0.97, 1.0], 0.0, [1e-4, 2e-4, 3e-4])
    (axes,) = _drawn(monkeypatch, gain)
    assert axes.get_title(loc="left") == "meter gain - 1: 95 % intervals, ±0.039 % in the median"  # 1.96 times 0.02 %


def test_a_table_of_one_point_is_drawn_by_channel(monkeypatch):
    hum = Quantity("lines", "V", ("a", "b"), [[2e-3], [1e-3]], 1e-5, 0.0, Points("frequency", "Hz", np.array([50.0])))
    (axes,) = _drawn(monkeypatch, hum)
    assert axes.get_title(loc="left").startswith("lines at 50 Hz: 95 % intervals")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b"]


def test_of_many_tables_those_are_drawn_that_are_farthest_from_what_was_asked(monkeypatch):
    monkeypatch.setattr("calibration.report._plots._MOST_PANELS", 1)
    nominal = np.array([1e-4, 1e-3])
    true = nominal * np.linspace(1.0, 1.19, 20)[:, None]
    labels = tuple(f"R{number}" for number in range(20))
    (axes,) = _drawn(monkeypatch, Quantity(TABLE, "S", labels, true, 1e-9, 0.0, Points("nominal", "S", nominal)))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(labels[10:])
    assert "the 10 of 20 that are farthest from 1" in axes.get_title(loc="left")


def test_elements_that_are_not_known_are_named_in_place_of_being_drawn(monkeypatch):
    nominal = np.array([1e-4, 1e-3])
    doubt = np.array([1e-3, 1e-3, 0.3])[:, None] * nominal  # 1.96 times 0.3 is more than half of the value
    table = Quantity(TABLE, "S", ("R0", "R1", "R2"), [nominal] * 3, doubt, 0.0, Points("nominal", "S", nominal))
    scatter = Quantity("repeatability", "1", ("R0", "R1", "R2"), [1e-3, np.nan, 1e-3], [1e-4, np.nan, 1e-4], 0.0)
    of_visits, axes = _drawn(monkeypatch, table, scatter)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["R0"]
    assert "not drawn, since these readings don't tell them: R1, R2" in axes.get_title(loc="left")
    assert "not told: R1" in of_visits.get_title(loc="left")


def test_shares_are_drawn_in_per_cent_however_large(monkeypatch):
    (axes,) = _drawn(monkeypatch, Quantity("deviation", "1", ("all", "offset"), [0.5, 0.2], 0.01, 0.0))
    assert axes.get_ylabel() == "%"
    assert axes.lines[0].get_ydata().tolist() == [50, 20]


def test_the_gradient_is_not_drawn_twice(monkeypatch):
    parts = [Quantity(name, "V^2/S", ("R0", "R1"), [1.0, 2.0], 0.1, 0.0) for name in ("gradient", "finite difference")]
    raw = {"product": np.array([1.0, 2.0]), "difference": np.array([1.0, 2.0])}
    titles = [axes.get_title(loc="left") for axes in _drawn(monkeypatch, *parts, raw=raw)]
    assert titles == ["the gradient, measured in two ways, 95 % intervals", "what parts them"]


_CHANNELS = {
    "sources": [
        {"channel": "s0", "node": "n10", "unit": "V", "resistance": 1e3},
        {"channel": "s1", "node": "n2", "unit": "V", "resistance": 1e4},
    ],
    "meters": [{"channel": "m0", "node": "n10"}, {"channel": "m1", "node": "n2"}],
}


def test_residuals_are_drawn_by_node_and_by_what_moved(monkeypatch):
    levels = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, -0.97]])
    raw = {"residuals": np.arange(10.0).reshape(5, 2), "levels": levels}
    axes = _drawn(monkeypatch, raw=raw, settings={"channels": _CHANNELS})[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["n2 (m1)", "n10 (m0)"]
    assert axes.images[0].get_array()[0].tolist() == [1, 3, 5, 7, 9]
    drives = [tick.get_text() for tick in axes.get_xticklabels()]
    assert drives == ["all at 0 V", "all at 1 V", "n10 (s0) 1 V", "all at 0 V", "n2 (s1) -970 mV"]


def test_series_resistors_of_unlike_size_are_drawn_as_what_they_are_off(monkeypatch):
    ohms = Quantity("source resistance", "Ohm", ("s0", "s1"), [1001.0, 9980.0], [1.0, 10.0], 0.0)
    (axes,) = _drawn(monkeypatch, ohms, settings={"channels": _CHANNELS})
    assert axes.lines[0].get_ydata() == pytest.approx([-0.2, 0.1])  # n2 first
    assert axes.get_ylabel() == "%"


def test_many_elements_are_drawn_ten_a_panel(monkeypatch):
    nominal = np.array([1e-4, 1e-3])
    labels = tuple(f"R{number}" for number in range(25))
    true = nominal * np.linspace(1.0, 1.1, 25)[:, None]
    panels = _drawn(monkeypatch, Quantity(TABLE, "S", labels, true, 1e-9, 0.0, Points("nominal", "S", nominal)))
    drawn = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in panels]
    assert drawn == [list(labels[:10]), list(labels[10:20]), list(labels[20:])]


def test_squares_take_no_prefix(monkeypatch):
    (axes,) = _drawn(monkeypatch, Quantity("update bias", "V^2", ("a", "b"), [1e-4, -2e-4], 1e-5, 0.0))
    assert axes.get_ylabel() == "V²"
    assert axes.lines[0].get_ydata().tolist() == [1e-4, -2e-4]


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
    with pytest.raises(
        RecordError, match=r'no valid record of a bench "bensch". Did you mean "bench"\? There are: bench'
    ):
        _page(folder, tmp_path / "page.html", bench="bensch")


def test_conductances_stand_in_tables_by_element(tmp_path):
    records = RecordFolder(tmp_path / "calibrations")
    nominal = np.array([1e-4, 1e-3])
    true = np.array([[1.01e-4, 1.02e-3], [np.nan, np.nan]])
    doubt = np.where(np.isnan(true), np.nan, 1e-7)
    table = Quantity(TABLE, "S", ("R0", "R1"), true, doubt, 0.0, Points("nominal", "S", nominal))
    records.add(replace(_record("A", "resistors", "x", "1"), quantities=(table,)))
    page = _page(records, tmp_path / "page.html")
    assert "<summary>conductance by nominal, 2 tables</summary>" in page
    assert "(1.02000 ± 0.00020) mS" in page
    assert "<p>R1: not told</p>" in page


def test_a_stale_record_says_why_and_what_it_is_still_used_for(tmp_path):
    records = RecordFolder(tmp_path / "calibrations")
    time = datetime(2026, 1, 2, tzinfo=UTC)
    records.add(_record("A", "gains", "x", "1", time=time, expires=time + timedelta(days=30)))
    page = _page(records, tmp_path / "page.html")
    assert "Stale since 2026-02-01, when it expired. It still corrects the bench" in page


def test_each_record_that_is_refused_is_told(tmp_path):
    records = RecordFolder(tmp_path / "calibrations")
    records.add(_record("A", "gains", "x", "1"))
    ahead = records.add(_record("A", "gains", "x", "1", time=datetime.now(UTC) + timedelta(days=2)))
    told = []
    _page(records, tmp_path / "page.html", tell=told.append)
    assert [(error.path, error.message[:8]) for error in told] == [(str(ahead), "is dated")]
