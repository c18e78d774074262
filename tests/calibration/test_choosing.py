"""Which records are used, on which network, at which frequency, and what a person hears of the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from benches import opened

from calibration.correction import chosen_records, correction_from, correction_of
from calibration.fingerprint import fingerprint
from calibration.records import CalibrationRecord, Quantity, RecordFolder, Verdict, Why
from calibration.registry import make_procedure
from calibration.running import calibrate, identities, known_records, run_procedure
from freqprop_lab.bench import open_bench
from freqprop_lab.config import check_bench, parse_yaml

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOARD = """\
bench: numeric
name: board
network: {kind: csv, file: parts.csv, inputs: [[a]], outputs: [[c]]}
scales: {conductance: 1 mS}
inputs: {source: resistor, resistance: 1 kOhm}
nudge: {source: resistor, resistance: 1 kOhm}
sampling: {frequency: 1 kHz, samples_per_period: 20}
meter: {noise: 1 mV}
parts: {capacitances: {b: 20 nF, c: 1 nF}}
"""
PARTS = "name,plus,minus,kind,value\nR1,a,b,tunable,1 kOhm\nR2,b,c,tunable,1 kOhm\nR3,c,ground,resistor,100 kOhm\n"


@pytest.fixture
def bench():
    with opened(0) as made:
        yield made


def board(folder, parts=PARTS):
    """Return a board with its own file of parts, its elements programmed as that lists them."""
    (folder / "parts.csv").write_text(parts)
    made = open_bench(check_bench(parse_yaml(BOARD, folder / "bench.yaml"), folder), corrected=False)
    made.program(made.network.own_conductances)
    return made


def add(folder, bench, procedure="gains", *, hours=1.0, status="good", words=(), **more):
    value = {"gains": ("meter gain", 1.5), "bias": ("pickup", 3e-3), "skew": ("skew", 1e-5)}[procedure]
    labels = tuple(bench.meter_channels.values())
    quantity = Quantity(value[0], "1", labels, np.full(len(labels), value[1]), 1e-3, 0.0)
    record = CalibrationRecord(
        procedure=procedure,
        bench=bench.name,
        time=NOW - timedelta(hours=hours),
        instruments=identities(bench),
        quantities=(quantity,),
        verdict=Verdict(status, words),
        **more,
    )
    return RecordFolder(folder).add(record)


def correction(folder, bench):
    records = RecordFolder(folder)
    return correction_of(bench, records, chosen_records(records, bench, NOW))


def test_a_bad_record_corrects_nothing_and_says_what_to_do(bench, tmp_path):
    path = add(tmp_path, bench, status="bad", words=("the readings depart from the model",))
    made = correction(tmp_path, bench)
    assert made.meter_gain is None
    assert not made.records
    assert made.notes == (
        f"{path.name} is not used: its verdict is bad: the readings depart from the model. Mend that, then run "
        "freqprop calibrate gains anew",
        "so gains are NOT corrected",
    )
    chosen = chosen_records(RecordFolder(tmp_path), bench, NOW)["gains"]
    assert [refusal.why for refusal in chosen.refused] == [Why.BAD]


def test_in_place_of_a_bad_record_an_older_good_one_is_used_and_that_is_told(bench, tmp_path):
    add(tmp_path, bench, hours=30)
    add(tmp_path, bench, status="bad")
    made = correction(tmp_path, bench)
    assert made.meter_gain[0] == 1.5
    assert "in its place the record of gains of 2026-02-28 06:00 is used" in made.notes[1]


def test_where_no_subtraction_holds_no_older_pickup_is_subtracted_either(bench, tmp_path):
    add(tmp_path, bench, "bias", hours=30)
    assert correction(tmp_path, bench).pickup[0] == 3e-3
    add(tmp_path, bench, "bias", status="bad", words=("it depends on the levels",))
    made = correction(tmp_path, bench)
    assert made.pickup is None
    assert made.notes[-1] == "so what is picked up of the nudge is NOT corrected"


def test_in_place_of_a_damaged_record_an_older_one_is_used_and_that_is_told(bench, tmp_path):
    add(tmp_path, bench, hours=30)
    damaged = add(tmp_path, bench)
    damaged.with_suffix(".npz").unlink()
    made = correction(tmp_path, bench)
    assert made.meter_gain[0] == 1.5
    assert made.notes[0].startswith(f"{damaged.name} is not used: its arrays file {damaged.stem}.npz is missing")
    assert made.notes[1] == "in its place the record of gains of 2026-02-28 06:00 is used"


def test_a_misnamed_record_is_told_once_with_what_is_not_corrected_for_it(bench, tmp_path):
    """Nobody knows by its name whose it is, so that it is looked at for every procedure; it says so itself."""
    path = add(tmp_path, bench)
    path.rename(tmp_path / "of-monday.json")
    (tmp_path / "notes.json").write_text("{}")
    add(tmp_path, bench, "skew")
    notes = correction(tmp_path, bench).notes
    assert [note.split()[0] for note in notes] == ["of-monday.json", "notes.json", "so"]
    assert notes[0].startswith(f"of-monday.json is not used: was written as {path.stem}.json")
    assert notes[2] == "so gains are NOT corrected"


def test_no_procedure_at_all_may_be_used(bench, tmp_path):
    """An empty list is no list that was left out."""
    (tmp_path / "parts.csv").write_text(PARTS)
    with board(tmp_path) as plain:
        add(tmp_path, plain, "skew")
        add(tmp_path, plain)

    def corrected_by(use):
        text = f"{BOARD}calibration: {{folder: ., use: {use}}}\n"
        with open_bench(check_bench(parse_yaml(text, tmp_path / "bench.yaml"), tmp_path)) as made:
            now = datetime.now(UTC)
            names = [record.procedure for record in made.correction.records]
            return names, made.correction.notes, correction_from(made, RecordFolder(tmp_path), now) is None

    assert corrected_by("[skew]")[0] == ["skew"]
    assert corrected_by("[]") == (
        [],
        ("calibration.use is empty, so no record is used and nothing is corrected",),
        True,
    )


def test_a_doubtful_record_corrects_with_a_note(bench, tmp_path):
    add(tmp_path, bench, status="doubtful", words=("one channel hums",))
    made = correction(tmp_path, bench)
    assert made.meter_gain[0] == 1.5
    assert made.notes == ("the calibration of gains is doubtful: one channel hums",)


def test_bad_and_stale_records_are_not_believed_by_procedures(bench, tmp_path):
    records = RecordFolder(tmp_path)
    add(tmp_path, bench)
    assert list(known_records(records, bench, NOW)) == ["gains"]
    known = known_records(records, bench, NOW + timedelta(days=900))
    assert list(known) == ["gains"]  # it never expires
    bad = add(tmp_path, bench, hours=0.5, status="bad")
    known = known_records(records, bench, NOW)
    assert known["gains"].verdict.status == "good"
    assert known.left_out[0].startswith(f"{bad.name} is not believed: its verdict is bad")


def test_an_expired_record_is_not_believed(bench, tmp_path):
    add(tmp_path, bench, expires=NOW + timedelta(days=30))
    known = known_records(RecordFolder(tmp_path), bench, NOW + timedelta(days=900))
    assert not known
    assert known.left_out == (
        "the record of gains of 2026-03-01 is stale and not believed; run freqprop calibrate gains",
    )


def test_the_command_says_which_records_it_does_not_believe(freqprop, bench, tmp_path):
    file = tmp_path / "bench.yaml"
    file.write_text(bench.settings.document.text)
    record = add(tmp_path / "calibrations", bench, status="bad", words=("the meter hums",))
    status, _, err = freqprop("calibrate", "network", str(file), "--dry-run")
    assert status == 0
    assert err.startswith(f"note: {record.name} is not believed: its verdict is bad: the meter hums. Mend that")


# The network


def test_values_and_the_order_of_lines_are_no_part_of_a_fingerprint(tmp_path):
    turned = "name,plus,minus,kind,value\nR1,a,b,tunable,5 kOhm\nR3,ground,b,resistor,9 kOhm\nR2,c,b,tunable,1 kOhm\n"
    plain = "name,plus,minus,kind,value\nR1,a,b,tunable,1 kOhm\nR2,b,c,tunable,1 kOhm\nR3,b,ground,resistor,1 kOhm\n"
    assert fingerprint(board(tmp_path, plain)) == fingerprint(board(tmp_path, turned))


def test_a_diode_that_is_turned_makes_another_fingerprint(tmp_path):
    diode = PARTS + "D1,c,ground,diode,10 nA / 30 mV\n"
    turned = PARTS + "D1,ground,c,diode,10 nA / 30 mV\n"
    assert fingerprint(board(tmp_path, diode)) != fingerprint(board(tmp_path, turned))


@pytest.mark.parametrize(
    "parts",
    [
        PARTS + "R4,c,d,resistor,1 kOhm\n",
        PARTS + "R4,a,c,resistor,1 kOhm\n",
        PARTS.replace("R3,c,", "R3,b,"),
        PARTS.replace("100 kOhm", "10 nA / 30 mV").replace("resistor", "diode"),
        PARTS.replace("R2,b,c,tunable", "R2,b,c,resistor"),
    ],
    ids=["a node more", "a branch more", "a branch moved", "a diode", "no longer tunable"],
)
def test_another_network_has_another_fingerprint(tmp_path, parts):
    assert fingerprint(board(tmp_path)) != fingerprint(board(tmp_path, parts))


def test_other_leads_make_another_fingerprint():
    assert fingerprint(opened(0, ports=(3, 2))) != fingerprint(opened(0, ports=(2, 2)))


def test_what_was_read_on_another_network_is_not_believed_and_gains_still_correct(tmp_path):
    records = RecordFolder(tmp_path / "calibrations")
    with board(tmp_path) as first:
        for name in ("gains", "relaxation"):
            calibrate(first, make_procedure(name, samples=400), records)
        now = datetime.now(UTC)
        assert set(known_records(records, first, now)) == {"gains", "relaxation"}
    with board(tmp_path, PARTS + "R4,c,d,resistor,1 kOhm\n") as second:
        known = known_records(records, second, now)
        assert not known
        for name, words in zip(("gains", "relaxation"), known.left_out, strict=True):
            assert "was taken on another network: other nodes, branches, leads or channels than those of board" in words
            assert f"run freqprop calibrate {name} anew" in words
        correction = correction_from(second, records, now)
        assert correction is not None
        assert correction.meter_gain is not None


def test_lags_are_looked_up_by_node(tmp_path):
    """The same wires, the lines of the file turned: 20 nF at b lags by tens of us, and no channel is late."""
    turned = PARTS.replace("R1,a,b", "R1,b,a").replace("R2,b,c", "R2,c,b")
    with board(tmp_path) as first:
        found = calibrate(first, make_procedure("relaxation"), tmp_path / "calibrations").record
        assert np.ptp(found.quantity("relaxation time").values) > 1e-5
    with board(tmp_path, turned) as second:
        assert second.network.nodes[0] == "b"
        skew = run_procedure(second, make_procedure("skew"), known={"relaxation": found}).quantity("skew")
    assert (np.abs(skew.values) < 4 * skew.standard_uncertainty + 1e-7).all()


def test_a_node_that_a_record_of_relaxation_does_not_know_has_no_capacitance(tmp_path):
    with board(tmp_path) as first:
        found = calibrate(first, make_procedure("relaxation", samples=2000), tmp_path / "one").record
    with board(tmp_path, PARTS + "R4,c,d,resistor,1 kOhm\n") as second:
        skew = run_procedure(second, make_procedure("skew"), known={"relaxation": found}).quantity("skew")
    # The new node hangs on c by 1 kOhm and is loaded by nothing: it lags as c does, and no channel is late.
    assert skew.labels[-1] == "meter/3"
    assert np.abs(skew.values).max() < 1e-6


# What a record rests on


def test_a_record_names_those_that_it_was_computed_with(bench, tmp_path, freqprop):
    gains = calibrate(bench, make_procedure("gains", samples=400), tmp_path).record
    assert gains.rests_on == {}
    calibrate(bench, make_procedure("offsets", samples=400), tmp_path)
    network = calibrate(bench, make_procedure("network", samples=400), tmp_path)
    assert network.record.rests_on == {"gains": gains.uid}  # and not on offsets, which it doesn't look at
    read = RecordFolder(tmp_path).read(network.path)
    assert (read.rests_on, read.network) == (network.record.rests_on, fingerprint(bench))
    assert f"rests on gains: uid {gains.uid}" in freqprop("calibration", "show", str(network.path))[1]


# Sampling


def _sampled(text):
    return opened(0, replaced={"sampling": f"sampling: {{{text}}}\n"})


def test_a_pickup_of_another_frequency_is_not_subtracted(bench, tmp_path):
    """What couples through a capacitance is ten times less at a tenth of the frequency."""
    add(tmp_path, bench, "bias", settings={"frequency": 1000.0})
    assert correction(tmp_path, bench).pickup is not None
    with _sampled("frequency: 100 Hz, samples_per_period: 50") as slow:
        made = correction(tmp_path, slow)
        assert made.pickup is None
        assert "was taken at 1000 Hz, and this bench nudges at 100 Hz" in made.notes[0]
    with _sampled("frequency: 1001 Hz, samples_per_period: 20") as nearly:  # what a clock's divider makes of 1 kHz
        assert correction(tmp_path, nearly).pickup is not None


def test_skews_of_another_sample_rate_are_used_with_a_note(bench, tmp_path):
    add(tmp_path, bench, "skew", settings={"sampling": {"frequency": 1000.0, "samples_per_period": 20}})
    assert correction(tmp_path, bench).notes == ()
    with _sampled("frequency: 500 Hz, samples_per_period: 40") as same_rate:
        assert correction(tmp_path, same_rate).notes == ()
    with _sampled("frequency: 100 Hz, samples_per_period: 50") as slow:
        made = correction(tmp_path, slow)
        assert made.skews[0] == 1e-5
        assert "taken at 20000 samples a second and are used at 5000" in made.notes[0]


# What no record tells


def test_channels_that_no_record_tells_are_named(bench, tmp_path):
    channels = tuple(bench.meter_channels.values())
    known = channels[:-6]
    ones = np.ones(len(known))
    record = CalibrationRecord(
        procedure="gains",
        bench=bench.name,
        time=NOW - timedelta(hours=1),
        instruments=identities(bench),
        quantities=(
            Quantity("meter gain", "1", known, 1.5 * ones, 1e-3, 0.0),
            Quantity("meter offset", "V", known, 1e-3 * ones, 1e-3, 0.0),
        ),
        verdict=Verdict("good"),
    )
    RecordFolder(tmp_path).add(record)
    made = correction(tmp_path, bench)
    assert made.notes == (
        f"no record in use tells meter gain and meter offset of {', '.join(channels[-6:-2])} and 2 more: taken as "
        "they are",
    )


def test_a_whole_calibration_leaves_nothing_to_note(tmp_path):
    """Every channel and element that a bench drives, reads and programs is told by its own records."""
    with opened(0, nodes=8, edges=14, ports=(2, 2)) as bench:
        for name in ("offsets", "gains", "skew", "resistors", "bias"):
            calibrate(bench, make_procedure(name, samples=2000), tmp_path)
        records = RecordFolder(tmp_path)
        made = correction_of(bench, records, chosen_records(records, bench, datetime.now(UTC)))
        assert len(made.records) == 5
        assert not [note for note in made.notes if "no record in use tells" in note]
