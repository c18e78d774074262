"""Bench and experiment files that are right: what they mean, where their fields stand, and how they are changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from freqprop_lab.config import (
    FileError,
    build_network,
    check_bench,
    parse_experiment,
    parse_network,
    parse_yaml,
    read_branches,
)
from freqprop_lab.names import nearest, shown

approx = pytest.approx

EXPERIMENT = """\
# first line
name: two by two
task:
  kind: xor
  inputs:
    bias:
      - 1
      - 2.5
  targets: {kind: codes, codes: {"0": [-1], "1": [1]}}
bench:
  bench: numeric
  meter: {noise: 2 mV}
seed: 7
"""


def test_a_document_is_plain_data_with_the_line_of_every_field() -> None:
    document = parse_yaml(EXPERIMENT, Path("e.yaml"))
    assert document.data["task"]["inputs"] == {"bias": [1, 2.5]}
    assert document.lines["name",] == 2
    assert document.lines["task", "inputs", "bias"] == 6
    assert document.lines["task", "inputs", "bias", 1] == 8
    assert document.lines["task", "targets", "codes", "1"] == 9
    assert json.loads(json.dumps(document.data)) == document.data


def test_a_field_that_is_not_there_has_the_line_of_its_section() -> None:
    document = parse_yaml(EXPERIMENT, Path("e.yaml"))
    assert document.line(("task", "inputs", "scale")) == 5
    assert document.line(("task", "cost")) == 3
    assert document.line(("epochs",)) == 1


def test_a_section_keeps_the_lines_of_the_file() -> None:
    section = parse_yaml(EXPERIMENT, Path("e.yaml")).section("bench")
    assert section.data == {"bench": "numeric", "meter": {"noise": "2 mV"}}
    assert section.line(("meter", "noise")) == 12
    assert section.line(("ports",)) == 10
    assert json.loads(section.text) == section.data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1_000", 1000),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),  # octal in YAML 1.1 only
        ("1e3", 1000.0),
        ("-1.5E-3", -0.0015),
        (".5", 0.5),
        ("true", True),
        ("yes", "yes"),  # YAML 1.2: text
        ("off", "off"),
        ("~", None),
        ("", None),
        ("null", None),
        ("2026-01-31", "2026-01-31"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("1.2.3", "1.2.3"),
        ("12:30:45", "12:30:45"),
        ("10 kOhm", "10 kOhm"),
        ("µ", "µ"),
        ("|\n  two\n  lines", "two\nlines\n"),
    ],
)
def test_scalars_are_read_by_yaml_1_2(text: str, value: object) -> None:
    read = parse_yaml(f"a: {text}\n", Path("e.yaml")).data["a"]
    assert read == value
    assert type(read) is type(value)


def test_an_alias_stands_for_what_it_names() -> None:
    document = parse_yaml("a: &x [1, 2]\nb: *x\n", Path("e.yaml"))
    assert document.data == {"a": [1, 2], "b": [1, 2]}
    assert document.lines["b",] == 2


def test_an_experiment_has_the_values_of_its_file_and_the_defaults() -> None:
    model = parse_experiment(EXPERIMENT, Path("e.yaml")).model
    assert model.name == "two by two"
    assert model.seed == 7
    assert model.task.inputs.bias == [1.0, 2.5]
    assert model.task.split.train == 1.0
    assert (model.epochs, model.shuffle, model.rule.kind, model.nudge.loop) == (1000, True, "freq-prop", "open")


def test_a_section_whose_fields_are_all_commented_out_has_its_defaults() -> None:
    settings = parse_experiment("task: {kind: xor}\nrule:\n  # alpha: 1\nbench:\n  meter:\n", Path("e.yaml"))
    assert settings.model.rule.alpha == 0.01
    assert settings.bench().model.meter.range == 10.0


def test_a_whole_number_serves_where_a_number_is_wanted() -> None:
    model = parse_experiment("task: {kind: xor}\nrule: {alpha: 1}\nconductances: {bounds: [1, 20]}\n", Path("e")).model
    assert model.rule.alpha == 1.0
    assert model.conductances.bounds == [1.0, 20.0]


def test_an_inline_bench_is_read_with_its_units() -> None:
    settings = parse_experiment(EXPERIMENT, Path("e.yaml")).bench()
    assert settings is not None
    assert settings.model.meter.noise == approx(2e-3)
    assert settings.model.sampling.frequency == 1000.0


def test_a_named_bench_file_lies_beside_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("name: lab\nscales: {voltage: 2 V, conductance: 10 kOhm}\n")
    settings = parse_experiment("task: {kind: xor}\nbench: lab.yaml\n", tmp_path / "e.yaml").bench()
    assert settings is not None
    assert settings.folder == tmp_path
    assert settings.model.scales.scales().volts == 2.0
    assert settings.model.scales.scales().siemens == approx(1e-4)


def test_no_bench_is_none() -> None:
    assert parse_experiment("task: {kind: xor}\n", Path("e.yaml")).bench() is None


def test_a_change_replaces_one_field_and_keeps_the_file() -> None:
    settings = parse_experiment(EXPERIMENT, Path("e.yaml"))
    changed = settings.with_changes({("seed",): 8, ("rule", "alpha"): 0.5, ("bench", "meter", "noise"): "5 mV"})
    assert (changed.model.seed, changed.model.rule.alpha) == (8, 0.5)
    assert changed.bench().model.meter.noise == approx(5e-3)
    assert (settings.model.seed, settings.bench().model.meter.noise) == (7, approx(2e-3))
    assert changed.document.text == EXPERIMENT


def test_a_wrong_change_is_not_blamed_on_a_line() -> None:
    settings = parse_experiment(EXPERIMENT, Path("e.yaml"))
    with pytest.raises(
        FileError, match=r'^e\.yaml: field "seed" is -1; it must be at least 0 \(this value was given be'
    ):
        settings.with_changes({("seed",): -1})
    with pytest.raises(FileError, match=r'^e\.yaml: in "rule": unknown field "alfa"\. Did you mean "alpha"\?'):
        settings.with_changes({("rule", "alfa"): 1})
    changed = settings.with_changes({("bench", "meter", "noise"): "5 mA"})
    with pytest.raises(FileError, match=r'^e\.yaml: field "bench\.meter\.noise": "5 mA" is not in V'):
        changed.bench()


@pytest.mark.parametrize("where", [("seed", "x"), ("task", "kind", "x"), ("name", "x", "y")])
def test_a_change_inside_what_is_no_section_is_refused(where: tuple[str, ...]) -> None:
    with pytest.raises(FileError, match=r'can\'t be changed: "[a-z.]+" is .*, not a section'):
        parse_experiment(EXPERIMENT, Path("e.yaml")).with_changes({where: 1})


def test_a_table_of_branches_becomes_a_network(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text(
        "name,plus,minus,kind,value,lowest,highest\n"
        "R1,a,b,tunable,10 kOhm,1 kOhm,100 kOhm\n"
        ",b,ground,resistor,0.5 mS,,\n"
        "\n"
        'D1,b,ground,diode,10 nA / 30 mV,,\n"D 2",ground,a,antiparallel,"1 nA / 26 mV",,\n'
    )
    network = read_branches(path)
    assert network.nodes == ("a", "b")
    assert [branch.name for branch in network.branches] == ["R1", "b-ground", "D1", "D 2"]
    tunable, fixed, diode, pair = network.branches
    assert tunable.theta == approx((1e-4,))
    # As resistances the bounds change places.
    assert (tunable.lowest, tunable.highest) == (approx(1e-5), approx(1e-3))
    assert (tunable.tunable, fixed.tunable) == (True, False)
    assert fixed.theta == approx((5e-4,))
    assert diode.theta == approx((1e-8, 0.03))
    assert pair.theta == approx((1e-9, 0.026))
    assert (pair.element.kind, pair.plus) == ("antiparallel", "ground")


def test_one_bound_may_be_left_open(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text("plus,minus,kind,value,lowest\na,b,tunable,10 kOhm,1 kOhm\n")
    branch = read_branches(path).branches[0]
    assert (branch.lowest, branch.highest) == (None, approx(1e-3))


def test_a_network_s_ports_are_listed_or_drawn() -> None:
    def build(**ports: object):
        section = parse_network({"kind": "grid", "rows": 2, "columns": 4, **ports})
        return build_network(section, Path(), 1.0, (2, 1), np.random.default_rng(0), np.random.default_rng(1))

    listed = build(inputs=[["r0c0"], ["r0c1", "r0c2"]], outputs=[["r1c3", "ground"]])
    assert [port.name for port in listed.inputs] == ["r0c0", "r0c1/r0c2"]
    assert [port.name for port in listed.outputs] == ["r1c3"]
    drawn = build()
    assert (len(drawn.inputs), len(drawn.outputs)) == (2, 1)
    ends = [node for port in (*drawn.inputs, *drawn.outputs) for node in (port.plus, port.minus)]
    assert len(set(ends)) == 6


def test_numbers_may_name_the_nodes_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("plus,minus,kind,value\n1,2,tunable,1 S\n2,3,tunable,1 S\n")
    section = parse_network({"kind": "csv", "file": "n.csv", "inputs": [[1]], "outputs": [[3, "ground"]]})
    rng = np.random.default_rng(0)
    network = build_network(section, tmp_path, 1.0, (1, 1), rng, rng)
    assert [port.name for port in (*network.inputs, *network.outputs)] == ["1", "3"]


def test_an_empty_bench_file_of_one_field_is_the_ideal_numeric_bench() -> None:
    model = check_bench(parse_yaml("bench: numeric\n", Path("b.yaml")), Path()).model
    assert (model.ports, model.common_mode, model.inputs.source, model.nudge.source) == (
        "referred",
        0.0,
        "voltage",
        "current",
    )


def test_the_nearest_name_is_told_whatever_its_case() -> None:
    assert nearest("Alpha", ["gamma", "alpha"]) == ' Did you mean "alpha"?'
    assert nearest("ALPHA", ["gamma", "Alpha"]) == ' Did you mean "Alpha"?'
    assert nearest("epoch", ["seed", "epochs"]) == ' Did you mean "epochs"?'
    assert nearest("zzz", ["seed", "epochs"]) == ""


def test_long_lists_and_long_names_are_cut() -> None:
    assert shown([str(i) for i in range(14)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more"
    assert shown(["x" * 100]) == "x" * 57 + "..."


def test_a_file_error_is_one_paragraph_that_says_where_and_that_nothing_began() -> None:
    error = FileError("a.yaml", "it is\n  wrong", 3)
    assert str(error) == "a.yaml, line 3: it is wrong. Nothing was started."
    assert (error.path, error.line, error.message) == ("a.yaml", 3, "it is wrong")
    assert str(FileError("a.yaml", "is it?")) == "a.yaml: is it? Nothing was started."
