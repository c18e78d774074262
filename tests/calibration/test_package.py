"""What the package offers in a notebook, and the options of its procedures."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
from benches import opened

import calibration
from calibration.errors import ProcedureError
from calibration.options import options_of, parse, samples
from calibration.registry import make_procedure, procedure_class, procedure_names


def test_a_notebook_needs_one_import(tmp_path):
    with opened(0) as bench:
        done = calibration.calibrate(bench, calibration.Gains(samples=500), tmp_path / "calibrations")
        gain = done.record.quantity("meter gain")
        assert np.abs(gain.values - bench.truth().meter_gain).max() < 0.02
        found = calibration.run_procedure(bench, calibration.Offsets(samples=500))
        assert found.quantity("meter offset").unit == "V"
        with pytest.raises(KeyError, match=r'no quantity "meter ofset"\. Did you mean "meter offset"'):
            found.quantity("meter ofset")
    assert calibration.RecordFolder(tmp_path / "calibrations").procedures() == ["gains"]


def test_every_name_is_there_and_none_is_loaded_before_it_is_asked_for():
    for name in calibration.__all__:
        assert getattr(calibration, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'gains'"):
        _ = calibration.gains
    code = "import sys, calibration; print(sorted({'numpy', 'scipy', 'pydantic'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize("name", procedure_names())
def test_a_procedure_is_called_as_it_is_listed_and_says_what_its_options_mean(name):
    cls = procedure_class(name)
    assert cls.name == name
    options = options_of(cls)
    assert {"samples"} <= {option.name for option in options}
    for option in options:
        assert option.says.endswith(".")


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("gains", {"volts": 0.0}, r"gains: --volts is 0\.0; a number of V from 1e-06 is wanted"),
        ("gains", {"volts": float("nan")}, "a number of V"),
        ("wiring", {"samples": 0}, "wiring: --samples is 0; a whole number from 1 is wanted"),
        ("skew", {"samples": 1.5}, "a whole number"),
        ("noise", {"samples": 100}, "from 256"),
        ("relaxation", {"accuracy": 2.0}, r"--accuracy is 2\.0; a number from 1e-06 to 0\.5 is wanted"),
        ("resistors", {"points": 1}, "at least 2 make a curve"),
        ("resistors", {"points": -3}, "from 0"),
        ("bias", {"levels": 0}, "from 1"),
        ("gradient", {"step": 1.0}, r"from 0\.001 to 0\.9"),
        ("gradient", {"gamma": 0.0}, "--gamma"),
        ("gradient", {"elements": 12}, "a str"),
        ("gains", {"samples": True}, "a whole number"),
    ],
)
def test_an_option_beyond_its_bounds_is_refused(name: str, asked: dict[str, Any], message: str):
    with pytest.raises(ProcedureError, match=message):
        make_procedure(name, **asked)


def test_what_a_person_writes_for_an_option():
    by_name = {
        option.name: option
        for cls in ("gradient", "relaxation", "resistors")
        for option in options_of(procedure_class(cls))
    }
    assert parse(by_name["volts"], "500 mV") == 0.5
    assert parse(by_name["volts"], "0.5") == 0.5
    assert parse(by_name["step"], "10 %") == 0.1
    assert parse(by_name["accuracy"], "0.02") == 0.02
    assert parse(by_name["points"], "9") == 9
    assert parse(by_name["elements"], "R1,R2") == "R1,R2"
    for option, text in (("volts", "5 Ohm"), ("points", "2.5"), ("gamma", "much"), ("step", "10 mV")):
        with pytest.raises(ValueError, match=text):
            parse(by_name[option], text)


def test_a_field_that_nobody_could_set_is_a_fault_of_the_procedure():
    @dataclass(frozen=True)
    class Odd:
        name = "odd"
        samples: int = 3

    with pytest.raises(TypeError, match=r"the field samples is no option"):
        options_of(Odd)


def test_a_record_says_what_was_asked_and_what_was_taken():
    with opened(0) as bench:
        found = calibration.run_procedure(bench, calibration.Gains(samples=410))
    assert found.settings["options"] == {"samples": 410, "volts": 1.0}
    # 3 + 2 x 10 drives; 410 samples are 20.5 periods of 20, rounded up.
    assert (found.settings["records"], found.settings["samples"]) == (23, 420)
    assert found.settings["sampling"]["frequency"] == 1000.0


def test_a_procedure_of_another_package_is_listed_and_a_broken_one_is_told(mocker):
    listed = [
        EntryPoint("offsets", "somewhere:Offsets", "freqprop_lab.procedures"),  # called as ours: not taken
        EntryPoint("resting", f"{__name__}:Resting", "freqprop_lab.procedures"),
        EntryPoint("spoilt", "no_such_package:Spoilt", "freqprop_lab.procedures"),
        EntryPoint("other", f"{__name__}:Resting", "freqprop_lab.procedures"),
    ]
    mocker.patch("calibration.registry.entry_points", lambda group: [each for each in listed if each.group == group])
    assert procedure_names()[-3:] == ["other", "resting", "spoilt"]
    assert procedure_names().count("offsets") == 1
    assert make_procedure("resting", samples=7) == Resting(samples=7)
    with pytest.raises(ProcedureError, match="spoilt comes with the package no_such_package:Spoilt, which fails to"):
        make_procedure("spoilt")
    with pytest.raises(ProcedureError, match='is no Procedure with the name "other"'):
        make_procedure("other")


@dataclass(frozen=True)
class Resting(calibration.ListedProcedure):
    samples: int = samples(100)
    name = "resting"
    title = "a test"

    def measurements(self, subject):
        return []

    def evaluate(self, subject, measured, taken):
        raise NotImplementedError
