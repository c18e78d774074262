"""Commands that open a bench by hand, on a numeric bench; the wired ones are tried against the virtual lab."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

Call = Callable[..., tuple[int, str, str]]
# A divider: x drives the pair (n1, ground) through nothing, R1 and R2 are tunable, the output is n2.
NETWORK = "name,plus,minus,kind,value\nR1,n1,n2,tunable,1 kOhm\nR2,n2,ground,tunable,1 kOhm\n"
BENCH = "bench: numeric\nnetwork: {kind: csv, file: network.csv, inputs: [[n1]], outputs: [[n2]]}\n"


@pytest.fixture
def freqprop(freqprop: Call) -> Call:
    Path("network.csv").write_text(NETWORK)
    Path("bench.yaml").write_text(BENCH)
    return freqprop


def node_volts(out: str) -> dict[str, float]:
    return {name: float(volts) for name, volts in re.findall(r"^(n\d)\s+(-?[\d.]+) V", out, re.MULTILINE)}


def test_set_programs_drives_and_reads(freqprop: Call) -> None:
    status, out, err = freqprop("bench", "set", "bench.yaml", "n1=3V", "R1=1kOhm", "R2=2kOhm")
    assert status == 0, err
    assert node_volts(out) == {"n1": pytest.approx(3.0), "n2": pytest.approx(2.0)}  # 3 V x 2 / (1 + 2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("R3=1kOhm", 'no input or branch "R3".* Did you mean "R[12]"'),
        ("n1=3kOhm", "n1: .*V"),
        ("n1", "is no NAME=VALUE"),
        ("R1=-2Ohm", "must be above 0"),
    ],
)
def test_a_wrong_setting_is_told_and_nothing_is_driven(freqprop: Call, setting: str, message: str) -> None:
    status, out, err = freqprop("bench", "set", "bench.yaml", setting)
    assert (status, out) == (2, "")
    assert re.search(message, err)


def test_read_shows_every_node_and_what_the_parts_hold(freqprop: Call) -> None:
    status, out, err = freqprop("bench", "read", "bench.yaml")
    assert status == 0, err
    assert node_volts(out) == {"n1": 0.0, "n2": 0.0}
    assert re.search(r"^R1\s+0\.001 S", out, re.MULTILINE)


def test_scope_draws_one_record(freqprop: Call) -> None:
    status, out, err = freqprop("bench", "scope", "bench.yaml", "n1=1V", "--nudge", "0.1 V")
    assert status == 0, err
    assert "wrote scope.png" in out
    assert Path("scope.png").read_bytes()[:4] == b"\x89PNG"


def test_check_live_identifies_measures_and_ends_safe(freqprop: Call) -> None:
    Path("line.csv").write_text("x,y\n" + "".join(f"{i},{i}\n" for i in range(8)))
    Path("line.yaml").write_text(
        "task: {kind: csv, file: line.csv, target: y, predict: value, targets: {kind: values, low: -0.2, high: 0.2}}\n"
    )
    Path("bench.yaml").write_text(BENCH + "meter: {noise: 2 mV}\n")
    status, out, err = freqprop("bench", "check", "bench.yaml", "--experiment", "line.yaml", "--live")
    assert status == 0, err
    assert "simulated source" in out
    noise = re.search(r"noise floor: ([\d.e-]+) V", out)
    assert noise is not None
    assert float(noise.group(1)) == pytest.approx(2e-3, rel=0.5)
    assert "loop time" in out
    assert "ok: the bench is safe" in out


def test_drawing_a_wiring_needs_wires(freqprop: Call) -> None:
    assert freqprop("bench", "draw", "bench.yaml")[0] == 2
    freqprop("templates", "virtual-lab")
    status, out, err = freqprop("bench", "draw", "virtual-lab.yaml")
    assert status == 0, err
    assert "wrote wiring.png" in out


def test_drivers_lists_what_is_installed(freqprop: Call) -> None:
    status, out, _ = freqprop("drivers")
    assert status == 0
    assert re.search(r"^bench\s+numeric\s+freqprop-lab\s+ready", out, re.MULTILINE)
    assert re.search(r"^instrument\s+nidaqmx\s+freqprop-lab", out, re.MULTILINE)


def test_a_broken_package_is_a_warning_that_names_it(freqprop: Call, mocker: MockerFixture) -> None:
    broken = EntryPoint("wobbly", "a_package_that_is_not_there:KIND", "freqprop_lab.instruments")
    found = [broken]
    mocker.patch(
        "freqprop_lab.cli._drivers.entry_points", side_effect=lambda group: found if "instruments" in group else []
    )
    status, out, err = freqprop("drivers")
    assert status == 0
    assert re.search(r"^instrument\s+wobbly.*broken", out, re.MULTILINE)
    assert "a_package_that_is_not_there" in err


def test_a_command_of_another_package_joins_the_command_line(freqprop: Call) -> None:
    status, out, _ = freqprop("bench", "--help")
    assert status == 0
    assert re.search(r"^\s+serve\s", out, re.MULTILINE)
