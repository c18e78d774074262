"""Records that correct a bench: found, chosen, refused, and right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from benches import RESISTOR_COUPLED, opened

from calibration.record_names import TABLE
from calibration.records import CalibrationRecord, InstrumentId, Points, Quantity, RecordFolder, Verdict
from calibration.registry import make_procedure
from calibration.running import calibrate
from freqprop_lab.bench import open_bench
from freqprop_lab.config import FileError, check_bench, parse_yaml
from freqprop_lab.values import Drive, Nudge
from freqprop_lab.waveform import Sine

TEXT = RESISTOR_COUPLED.format(seed=3, nodes=16, edges=32, inputs=3, outputs=2, common_mode="0 V", name="bench")
CORRECTED = TEXT + "  folder: calibrations\n"


def _open(folder, text=CORRECTED, **options):
    return open_bench(check_bench(parse_yaml(text, folder / "bench.yaml"), folder), **options)


def _add(folder, *quantities, procedure="gains", time=None, serial="", settings=None):
    record = CalibrationRecord(
        procedure=procedure,
        bench="bench",
        time=time or datetime.now(UTC) - timedelta(hours=1),
        instruments=(InstrumentId("meter", "freqprop-lab", "simulated meter", serial),),
        quantities=quantities,
        verdict=Verdict("good"),
        settings=settings or {},
    )
    return RecordFolder(folder / "calibrations").add(record)


def _gains(values, labels=("meter/0", "meter/2")):
    return Quantity("meter gain", "1", labels, np.array(values), np.full(len(values), 1e-3), np.zeros(len(values)))


def test_calibrated_readings_are_those_of_an_ideal_bench(tmp_path):
    """Against the same network read and driven without fault: 2 % and 5 mV become less than the noise of a record."""
    with opened(3) as bench:
        for name in ("offsets", "gains"):
            calibrate(bench, make_procedure(name), tmp_path / "calibrations")
        conductances, true = bench.conductances, bench.truth().tunable
    drive = Drive(np.array([0.8, -0.3, 0.5]), Nudge(np.array([1e-4, -5e-5]), Sine()))
    faultless = TEXT.replace("gain_error: 2 %, offset: 5 mV, noise: 1 mV", "noise: 0 V")
    faultless = faultless.replace("gain_error: 2 %, offset: 5 mV", "limit: 10 V").replace(
        "tolerance: 10 %", "tolerance: 0"
    )
    with _open(tmp_path, faultless) as ideal:
        ideal.program(true)
        wanted = ideal.respond(drive)
    errors = {}
    for name, text in (("as it is", TEXT), ("corrected", CORRECTED)):
        with _open(tmp_path, text) as bench:
            bench.program(conductances)
            found = bench.respond(drive, 1000)
            # The scale that all gains share is told by no reference here: a ratio of voltages is free of it.
            scale = (found.a @ wanted.a) / (wanted.a @ wanted.a)
            errors[name] = np.abs(found.a / scale - wanted.a).max()
    assert errors["as it is"] > 5e-3
    assert errors["corrected"] < 1e-3


def test_values_go_to_their_channels(tmp_path):
    _add(tmp_path, _gains([1.5, 0.5]))
    with _open(tmp_path) as bench:
        assert bench.correction.meter_gain[:4].tolist() == [1.5, 1.0, 0.5, 1.0]
        assert bench.correction.source_gain is None
        assert [record.procedure for record in bench.correction.records] == ["gains"]


def _pickup(name, value):
    return Quantity(name, "V", ("meter/2",), np.array([value]), np.zeros(1), np.zeros(1))


def test_a_pickup_is_subtracted_as_a_meter_reads_it_once_gain_and_skew_are_corrected(tmp_path):
    # 3 mV in phase and 1 mV in quadrature, at 1 kHz; 50 us are 0.1 pi of a period: 3 cos + 1 sin = 3.16219 mV; gain 0.5
    late = Quantity("skew", "s", ("meter/2",), np.array([5e-5]), np.zeros(1), np.zeros(1))
    settings = {"frequency": 1000.0}
    _add(tmp_path, _gains([1.5, 0.5]))
    _add(tmp_path, late, procedure="skew")
    _add(tmp_path, _pickup("pickup", 3e-3), _pickup("pickup in quadrature", 1e-3), procedure="bias", settings=settings)
    with _open(tmp_path) as bench:
        assert bench.correction.pickup[2] == pytest.approx(2 * 3.162187e-3, rel=1e-6)
        assert not bench.correction.pickup[[0, 1, 3]].any()


def test_what_could_not_be_told_corrects_nothing(tmp_path):
    _add(tmp_path, _gains([np.nan, 0.5]))
    with _open(tmp_path) as bench:
        assert bench.correction.meter_gain[:3].tolist() == [1.0, 1.0, 0.5]


def test_of_two_records_the_newer_one_counts(tmp_path):
    now = datetime.now(UTC)
    _add(tmp_path, _gains([1.5, 1.5]), time=now - timedelta(hours=2))
    _add(tmp_path, _gains([1.25, 1.5]), time=now - timedelta(hours=1))
    with _open(tmp_path) as bench:
        assert bench.correction.meter_gain[0] == 1.25
        assert any(
            "meter gain of meter/0 drifted by more than 3 uncertainties" in note for note in bench.correction.notes
        )


def test_tables_reach_the_elements(tmp_path):
    nominal = np.array([[1e-5, 1e-3]])
    table = Quantity(
        TABLE, "S", ("resistors/1",), 1.1 * nominal, np.zeros((1, 2)), np.zeros((1, 2)), Points("nominal", "S", nominal)
    )
    _add(tmp_path, table, procedure="resistors")
    with _open(tmp_path) as bench:
        n = len(bench.network.tunable)
        realised = bench.program(np.full(n, 2.2e-4))
        assert realised == pytest.approx(np.full(n, 2.2e-4))
        held = bench._resistors[0].resistor.read()
        assert held[:2] == pytest.approx([2.2e-4, 2.0e-4])


def test_only_what_is_asked_for_is_used(tmp_path):
    _add(tmp_path, _gains([1.5, 1.5]))
    with pytest.raises(FileError, match=r"holds no record of skew"):
        _open(tmp_path, CORRECTED + "  use: [skew]\n")
    with pytest.raises(FileError, match=r'"gian" corrects nothing. Did you mean "gains"'):
        _open(tmp_path, CORRECTED + "  use: [gian]\n")


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(FileError, match=r"bench.yaml, line \d+: calibration.folder: .* Run freqprop calibrate"):
        _open(tmp_path)


def test_where_an_instrument_tells_no_serial_number_its_model_decides(tmp_path):
    _add(tmp_path, _gains([1.5, 1.5]), serial="1234")
    record = RecordFolder(tmp_path / "calibrations").all()[0][1]
    assert record.instruments[0].serial == "1234"
    _add(tmp_path, _gains([1.25, 1.5]), time=datetime.now(UTC) - timedelta(hours=2))
    with _open(tmp_path) as bench:  # a simulated meter tells no serial number: model and maker decide
        assert bench.correction.meter_gain[0] == 1.5


def test_an_edited_record_is_passed_over_and_told(tmp_path):
    _add(tmp_path, _gains([1.25, 1.5]), time=datetime.now(UTC) - timedelta(hours=2))
    path = _add(tmp_path, _gains([1.5, 1.5]))
    path.write_text(path.read_text().replace("1.5", "1.75", 1))
    with _open(tmp_path) as bench:
        assert bench.correction.meter_gain[0] == 1.25
        assert any(path.name in note and "not used" in note for note in bench.correction.notes)
    RecordFolder(tmp_path / "calibrations").all()[0][0].unlink()
    with pytest.raises(FileError, match=rf"no record in .* may be used. {path.name}"):
        _open(tmp_path)


def test_a_stale_record_is_used_and_told(tmp_path):
    _add(tmp_path, _gains([1.5, 1.5]), time=datetime.now(UTC) - timedelta(days=3))
    with _open(tmp_path, CORRECTED + "  max_age: 3600 s\n") as bench:
        assert bench.correction.meter_gain[0] == 1.5
        assert any("the calibration of gains is stale" in note for note in bench.correction.notes)


def test_for_a_calibration_the_bench_is_opened_as_it_is(tmp_path):
    _add(tmp_path, _gains([1.5, 1.5]))
    with _open(tmp_path, corrected=False) as bench:
        assert bench.correction is None
