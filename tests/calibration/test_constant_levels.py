"""`offsets`, `gains`, `network` on benches whose truth is known: intervals that hold, and as tight as they can be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from benches import by_name, findings, opened

from calibration.errors import ProcedureError, SubjectError
from calibration.record_names import CONDUCTANCE, METER_GAIN, METER_OFFSET, SOURCE_GAIN, SOURCE_OFFSET, TABLE
from calibration.records import CalibrationRecord, compare
from calibration.registry import make_procedure
from calibration.running import run_procedure
from calibration.subject import subject_of


def _errors_over_uncertainty(seed):
    bench = opened(seed)
    found = by_name(findings(bench, "network"))
    truth, live = bench.truth(), ~np.isnan(bench.resting)
    true = {
        SOURCE_GAIN: truth.source_gain[live],
        SOURCE_OFFSET: truth.source_offset[live],
        METER_GAIN: truth.meter_gain,
        METER_OFFSET: truth.meter_offset,
        CONDUCTANCE: truth.tunable,
    }
    return {name: (found[name].values - true[name]) / found[name].standard_uncertainty for name in true}


def test_the_truth_lies_within_the_intervals():
    """8 benches: 80 to 256 values of each kind; 95 % are meant to be inside, and far fewer would be a fault."""
    listed = [_errors_over_uncertainty(seed) for seed in range(8)]
    for name in listed[0]:
        z = np.concatenate([each[name] for each in listed])
        inside = (np.abs(z) < 1.96).mean()
        assert inside > 0.95 - 4 * np.sqrt(0.95 * 0.05 / len(z)), name
        assert 0.6 < z.std() < 1.25, name


def test_conductances_are_known_to_a_part_in_a_thousand():
    """16 nodes, 32 branches, 1 V, 1 mV of noise, 10000 samples: 0.1 % or better for 95 % of the branches."""
    found = [by_name(findings(opened(seed, ports=(4, 3)), "network"))[CONDUCTANCE] for seed in range(4)]
    relative = np.concatenate([each.standard_uncertainty / each.values for each in found])
    assert np.percentile(relative, 95) < 1e-3


def test_a_certified_meter_passes_its_certainty_on():
    """One channel known to 50 ppm, and series resistors to 100 ppm: all gains follow; without, they share a scale."""
    more = "  references: [{meter: n0, gain: 50e-6, offset: 20 uV, certificate: no. 17 of the test}]\n"
    bench = opened(3, more=more + "")
    loose = by_name(findings(opened(3), "gains"))
    tight = by_name(findings(bench, "gains"))
    assert np.median(loose[METER_GAIN].standard_uncertainty) > 2e-3  # 2 % over the root of all channels
    assert np.median(tight[METER_GAIN].standard_uncertainty) < 3e-4
    assert np.median(tight[SOURCE_GAIN].standard_uncertainty) < 3e-4
    # What the certificate leaves is of type B, and common to all.
    assert (tight[METER_GAIN].type_b > tight[METER_GAIN].type_a).all()


def test_offsets_need_no_conductance():
    """All at one level: the sum of a meter's offset and what the sources push is told, whatever the network is."""
    bench = opened(1)
    found = by_name(findings(bench, "offsets"))
    truth = bench.truth()
    z = (found[METER_OFFSET].values - truth.meter_offset) / found[METER_OFFSET].standard_uncertainty
    assert (np.abs(z) < 4).all()
    # Together they explain every reading at rest, far better than each by itself is known.
    live = ~np.isnan(bench.resting)
    sources = found[SOURCE_OFFSET].values - truth.source_offset[live]
    meters = found[METER_OFFSET].values - truth.meter_offset
    assert abs(sources.mean() + meters.mean()) < 2e-4
    assert np.median(found[METER_OFFSET].standard_uncertainty) > 5e-4


SOFT = {
    "resistors": "resistors: {tolerance: 5 %}\n",
    "source": "source: {}\n",
    "meter": "meter: {noise: 0.1 mV}\n",
}


def _soft(seed, nodes=8, edges=14, ports=(2, 2)):
    """Return a bench with ideal channels, all of whose resistors are off by 5 %: scale is what nothing else tells."""
    bench = opened(
        seed, nodes=nodes, edges=edges, ports=ports, more="parts: {source_resistance_tolerance: 5 %}\n", replaced=SOFT
    )
    ideal = dict.fromkeys(("source_gain", "meter_gain", "source_offset", "meter_offset"), 1e-5)
    assumed = subject_of(bench).assumed.model_copy(update={"source_resistance": 0.05, "tunable": 0.05, **ideal})
    return bench, replace(subject_of(bench), assumed=assumed)


def test_a_tolerance_is_one_number_in_all_states():
    """How well the scale is known by parts of 5 % hangs on how many parts there are, not on how often they are set."""
    z = []
    for seed in range(4):
        bench, subject = _soft(seed)
        one = run_procedure(bench, make_procedure("network"), subject=subject).quantity(CONDUCTANCE)
        resistors = make_procedure("resistors", samples=400, points=9, again=0)
        many = run_procedure(bench, resistors, subject=subject).quantity(TABLE)
        told = one.standard_uncertainty / one.values
        middle = (many.standard_uncertainty / many.values)[:, 32]
        assert np.median(middle) > 0.8 * np.median(told)
        nominal = many.points.of(len(many.labels))[:, 32]
        true = [bench.truth().conductance(np.full(len(nominal), each))[k] for k, each in enumerate(nominal)]
        z.append((many.values[:, 32] - true) / many.standard_uncertainty[:, 32])
    assert np.sqrt(np.mean(np.square(z))) < 2.0  # of 4 scales: chi^2 of 4 is below 13.3 in 99 of 100


def test_a_record_of_gains_is_not_believed_twice():
    """Scale is told by resistors of 5 % alone: gains first tell no more of it than `network` by itself does."""
    for seed in range(3):
        bench, subject = _soft(seed, nodes=4, edges=5, ports=(1, 1))
        loose = subject.assumed.model_copy(update={"source_gain": 0.05, "meter_gain": 0.05})
        subject = replace(subject, assumed=loose)
        alone = run_procedure(bench, make_procedure("network"), subject=subject).quantity(CONDUCTANCE)
        gains = run_procedure(bench, make_procedure("gains"), subject=subject).as_record(
            "gains", "b", datetime.now(UTC)
        )
        after = replace(subject, known={"gains": gains})
        both = run_procedure(bench, make_procedure("network"), subject=after).quantity(CONDUCTANCE)
        assert (both.standard_uncertainty > 0.85 * alone.standard_uncertainty).all()


def test_nothing_drifts_between_two_calibrations_of_the_same_bench():
    reference = "  references: [{meter: n0, gain: 50e-6, offset: 20 uV, certificate: no. 17 of the test}]\n"
    bench, records = opened(5, nodes=8, edges=14, ports=(2, 2), more=reference), []
    for minute in range(2):
        time = datetime(2026, 1, 1, 12, minute, tzinfo=UTC)
        gains = findings(bench, "gains").as_record("gains", "b", time)
        network = findings(bench, "network", {"gains": gains})
        records.append(network.as_record("network", "b", time, references=subject_of(bench).traceability()))
    found = compare(*records, 3)
    assert sum(each.ratio.size for each in found.quantities) > 40
    assert not found.drifted


@pytest.mark.parametrize("meter", ["bits: 16, noise: 50 uV", "bits: 14, noise: 0.1 mV", "bits: 12, noise: 0.2 mV"])
def test_a_converters_steps_are_seen_and_stated(meter):
    """Steps of 0.3 to 5 mV, of which noise blurs next to nothing."""
    z = []
    for seed in range(3):
        bench = opened(seed, nodes=8, edges=14, ports=(2, 2), replaced={"meter": f"meter: {{{meter}}}\n"})
        found = findings(bench, "network")
        quantity = found.quantity(CONDUCTANCE)
        assert found.verdict.status == "good"
        z.append((quantity.values - bench.truth().tunable) / quantity.standard_uncertainty)
    assert np.mean(np.abs(z) < 1.96) > 0.85
    assert findings(bench, "wiring").verdict.status == "good"


def test_what_is_not_told_is_said():
    """Stiff inputs without a reference: their gains are told by nothing."""
    more = "  references: []\n"
    bench = opened(2, more=more)
    text = bench.settings.document.text.replace("inputs: {source: resistor, resistance: 1 kOhm}\n", "")
    from pathlib import Path

    from freqprop_lab.bench import open_bench
    from freqprop_lab.config import check_bench, parse_yaml

    stiff = open_bench(check_bench(parse_yaml(text, Path("bench.yaml")), Path()))
    stiff.program(bench.conductances)
    found = findings(stiff, "gains")
    told = [words for words in found.verdict.words if words.startswith(SOURCE_GAIN)]
    assert told
    assert "source/0" in told[0]


def test_earlier_gains_are_believed():
    bench = opened(4)
    gains = findings(bench, "gains")
    from datetime import UTC, datetime

    record = CalibrationRecord(
        procedure="gains",
        bench="bench",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        instruments=(),
        quantities=gains.quantities,
        verdict=gains.verdict,
    )
    alone, together = (by_name(findings(bench, "network", known, samples=100)) for known in (None, {"gains": record}))
    assert np.median(together[CONDUCTANCE].standard_uncertainty) < np.median(alone[CONDUCTANCE].standard_uncertainty)


def test_a_wrong_wire_makes_the_verdict_bad():
    bench = opened(5, nodes=8, edges=14, ports=(2, 1), more="faults: {swapped_reads: [[n4, n6]]}\n")
    verdict = findings(bench, "network").verdict
    assert verdict.status == "bad"
    assert "freqprop calibrate wiring" in verdict.words[0]


def test_a_reference_at_no_node_names_the_nearest():
    bench = opened(0, more="  references: [{meter: n99, gain: 1e-4, certificate: none}]\n")
    with pytest.raises(SubjectError, match=r'no meter at "n99".*Did you mean'):
        findings(bench, "gains")


def test_ratings_are_kept_or_refused():
    bench = opened(0, common_mode="2.5 V", more="ratings: {rails: [0 V, 5 V]}\n")
    from calibration.drives import sizes
    from calibration.registry import make_procedure

    subject = subject_of(bench)
    plan = make_procedure("gains", volts=4.0).plan(subject)
    assert np.nanmax(plan.highest) <= 5.0
    assert np.nanmin(plan.lowest) >= 0.0
    assert np.nanmax(sizes(subject, 4.0)) == pytest.approx(0.9 * 2.5)
    crowded = opened(0, common_mode="2.5 V", more="ratings: {rails: [2.5 V, 5 V]}\n")
    with pytest.raises(ProcedureError, match=r"no room about its rest"):
        make_procedure("gains").plan(subject_of(crowded))
