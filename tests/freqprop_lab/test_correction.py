"""A correction on a bench: what is asked of the channels, what their readings stand for, what the parts hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freqprop_lab.bench import open_bench
from freqprop_lab.config import FileError, check_bench, parse_yaml
from freqprop_lab.instruments import LimitError
from freqprop_lab.values import ChannelDrive, ConductanceTable, Correction, Drive, Nudge
from freqprop_lab.waveform import Sine


@pytest.fixture
def bench(divider):
    with divider() as opened:
        yield opened


@pytest.fixture
def divider(tmp_path):
    """A chain a - b - c - ground of three equal resistors, driven at a, nudged by a current at c."""
    (tmp_path / "board.csv").write_text(
        "name,plus,minus,kind,value\nR1,a,b,tunable,1 kOhm\nR2,b,c,tunable,1 kOhm\nR3,c,ground,tunable,1 kOhm\n"
    )

    def opened(more=""):
        text = (
            "bench: numeric\nnetwork: {kind: csv, file: board.csv, inputs: [[a]], outputs: [[c]]}\n"
            f"sampling: {{frequency: 100 Hz, samples_per_period: 20, periods: 2}}\n{more}"
        )
        return open_bench(check_bench(parse_yaml(text, tmp_path / "bench.yaml"), tmp_path))

    return opened


def test_leads_say_where_each_channel_is_wired(bench):
    told = [(lead.plus, lead.minus, lead.kind, lead.resistance) for lead in bench.leads]
    assert told[:2] == [(0, -1, "voltage", 0.0), (2, -1, "current", 0.0)]
    assert bench.meter_channels == {"a": "meter/0", "b": "meter/1", "c": "meter/2"}
    assert bench.element_channels == {"R1": "resistors/0", "R2": "resistors/1", "R3": "resistors/2"}


def test_channels_are_driven_by_themselves(bench):
    """3 V at a and 1 mA into c, each against its open network: superposition by hand."""
    levels = bench.resting
    levels[:2] = 3.0, 1e-3
    volts = bench.measure_channels(ChannelDrive(levels)).volts.mean(axis=1)
    # 3 V over three resistors: 3, 2, 1. 1 mA into c: two resistors to a (0 V) beside one to ground: 2/3 V at c.
    assert volts == pytest.approx([3, 2 + 1 / 3, 1 + 2 / 3], abs=1e-12)


def test_channels_take_a_waveform(bench):
    amplitudes = np.zeros(len(bench.leads))
    amplitudes[0] = 1.5
    levels = np.where(np.isnan(bench.resting), np.nan, 0.0)
    record = bench.measure_channels(ChannelDrive(levels, amplitudes, Sine()), 3)
    assert record.volts.shape == (3, 60)
    assert record.volts[1] == pytest.approx(np.sin(2 * np.pi * np.arange(60) / 20), abs=1e-12)


def test_another_number_of_channels_is_refused(bench):
    with pytest.raises(ValueError, match=r"has 3 source channels; 1 levels"):
        bench.measure_channels(ChannelDrive(np.zeros(1)))


def test_sources_are_asked_for_what_comes_out_right(bench):
    """A source that gives 1.02 x + 0.01 must be asked for (x - 0.01) / 1.02: the ideal one shows what was asked."""
    bench.correction = Correction(np.array([1.02, 1, 1]), np.array([0.01, 0, 0]))
    a = bench.respond(Drive(np.array([3.0]))).a
    assert a[0] == pytest.approx((3 - 0.01) / 1.02, abs=1e-12)


def test_a_nudge_is_scaled_by_the_gain_alone(bench):
    plain = bench.respond(Drive(np.zeros(1), Nudge(np.array([1e-3]), Sine())))
    bench.correction = Correction(np.array([1, 2.0, 1]), np.array([0, 1e-4, 0]))
    nudged = bench.respond(Drive(np.zeros(1), Nudge(np.array([1e-3]), Sine())))
    assert nudged.b == pytest.approx(plain.b / 2, abs=1e-12)
    assert nudged.a[2] == pytest.approx(-0.5e-4 * 2e3 / 3, abs=1e-12)


def test_readings_are_turned_into_volts(bench):
    bench.correction = Correction(meter_gain=np.array([1, 0.5, 1]), meter_offset=np.array([0, 0.1, -0.2]))
    response = bench.respond(Drive(np.array([3.0])))
    assert response.a == pytest.approx([3, (2 - 0.1) / 0.5, 1.2], abs=1e-12)


def test_pickup_is_taken_off_b_and_skews_are_added(bench):
    drive = Drive(np.zeros(1), Nudge(np.array([1e-3]), Sine()))
    plain = bench.respond(drive)
    pickup = np.array([0.0, 0.01, 0.02])
    bench.correction = Correction(pickup=pickup)
    assert bench.respond(drive).b == pytest.approx(plain.b - pickup, abs=1e-12)
    skews = np.array([0, 1e-3, 0])
    bench.correction = Correction(skews=skews)
    assert bench.measure(drive).skews.tolist() == skews.tolist()
    # Sampled at once, taken for late by a tenth of a period: cos 36 degrees of b is left in phase.
    assert bench.respond(drive).b[1] == pytest.approx(plain.b[1] * np.cos(0.2 * np.pi), abs=1e-12)


def test_conductances_are_true_by_the_table(bench):
    table = ConductanceTable(np.array([1e-4, 1e-2]), np.array([2e-4, 1.1e-2]))
    bench.correction = Correction(conductances=(table, None, None))
    realised = bench.program(np.array([1e-3, 1e-3, 1e-3]))
    assert realised == pytest.approx(np.full(3, 1e-3), rel=1e-12)
    slope = (1e-2 - 1e-4) / (1.1e-2 - 2e-4)
    held = bench._resistors[0].resistor.read()
    assert held == pytest.approx([1e-4 + (1e-3 - 2e-4) * slope, 1e-3, 1e-3], rel=1e-12)
    assert bench.read_back() == pytest.approx(np.full(3, 1e-3), rel=1e-12)


def test_of_two_codes_the_truly_nearer_one_is_taken(divider):
    """Codes at 1 / (0, 1, 2, 3) of 3 kOhm + 1 kOhm wiper: 1, 0.5, 0.333, 0.25 mS, of which 0.5 mS is truly 0.42 mS."""
    with divider("resistors: {taps: 4, end_to_end: 3 kOhm, wiper: 1 kOhm}\n") as bench:
        nominal = np.array([0.25e-3, 1e-3 / 3, 0.5e-3, 1e-3])
        true = np.array([0.25e-3, 1e-3 / 3, 0.42e-3, 1e-3])
        bench.correction = Correction(conductances=(ConductanceTable(nominal, true), None, None))
        wished = np.full(3, 0.68e-3)
        # Truly 0.42 and 1 mS are the neighbours: 0.68 is nearer to 0.42; by what the parts say it is nearer to 0.5.
        assert bench.program(wished) == pytest.approx([0.42e-3, 0.5e-3, 0.5e-3], rel=1e-12)
        below, above = bench.neighbours(np.full(3, 0.45e-3))
        assert below == pytest.approx([0.42e-3, 1e-3 / 3, 1e-3 / 3], rel=1e-12)
        assert above == pytest.approx([1e-3, 0.5e-3, 0.5e-3], rel=1e-12)


def test_limits_hold_for_what_is_really_asked(bench):
    bench.check_levels(np.array([[9.9]]))
    bench.correction = Correction(source_gain=np.array([0.9, 1, 1]))
    with pytest.raises(LimitError, match=r"source \"source\", channel 0: 11 V asked"):
        bench.check_levels(np.array([[9.9]]))


@pytest.mark.parametrize("points", [([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [2.0, 1.0]), ([], []), ([1.0], [0.0])])
def test_a_table_without_inverse_is_refused(points):
    with pytest.raises(ValueError, match=r"must rise"):
        ConductanceTable(*(np.array(column) for column in points))


@given(st.lists(st.floats(1e-2, 1), min_size=1, max_size=8, unique=True), st.floats(1e-8, 10), st.data())
def test_a_table_and_its_inverse_agree(steps, asked, data):
    nominal = np.cumsum(np.array(steps))
    true = np.cumsum(np.array(data.draw(st.lists(st.floats(1e-2, 1), min_size=len(steps), max_size=len(steps)))))
    table = ConductanceTable(nominal, true)
    assert table.nominal_of(table.true_of(asked)) == pytest.approx(asked, rel=1e-9)


def test_calibration_without_a_reader_of_records_names_the_field(tmp_path, mocker):
    mocker.patch("freqprop_lab.config._plugins.entry_points", lambda group: mocker_entries(group, mocker))
    text = "bench: numeric\ncalibration: {folder: records}\n"
    with pytest.raises(FileError, match=r"section \"calibration\".*records.*not installed"):
        open_bench(check_bench(parse_yaml(text, Path("bench.yaml")), tmp_path))


def mocker_entries(group, mocker):
    from importlib.metadata import entry_points

    return [] if group == "freqprop_lab.corrections" else entry_points(group=group)


def test_a_correction_without_anything_changes_nothing(bench):
    drive = Drive(np.array([2.0]), Nudge(np.array([1e-3]), Sine()))
    plain = bench.respond(drive)
    bench.correction = replace(Correction(), notes=("stale",))
    corrected = bench.respond(drive)
    assert corrected.a == pytest.approx(plain.a, abs=1e-12)
    assert corrected.b == pytest.approx(plain.b, abs=1e-12)


@pytest.mark.parametrize(
    ("correction", "words"),
    [
        (Correction(source_offset=np.zeros(4)), r"source_offset has shape \(4,\); \(2,\), one value a source channel"),
        (Correction(meter_gain=np.ones((3, 1))), r"meter_gain has shape \(3, 1\); \(3,\), one value a node, is wanted"),
        (Correction(skews=np.zeros(2)), r"skews has shape \(2,\); \(3,\), one value a node"),
        (Correction(conductances=(None,) * 5), r"conductances holds 5 tables; 4 are wanted, one a tunable branch"),
    ],
)
def test_a_correction_of_another_bench_is_refused_by_what_does_not_fit(correction, words):
    with pytest.raises(ValueError, match=words):
        correction.check(2, 3, 4)


def test_a_correction_that_fits_passes():
    table = ConductanceTable(np.array([1e-3]), np.array([1e-3]))
    Correction().check(2, 3, 4)
    Correction(np.ones(2), np.zeros(2), np.ones(3), np.zeros(3), np.zeros(3), np.zeros(3), (None, table)).check(2, 3, 2)
