"""Reports: what stands in the picture and on the page is what stands in the run's files, however the run ended."""

from __future__ import annotations

import base64
import json
import shutil
import struct
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from freqprop_lab.config import parse_experiment
from freqprop_lab.report import MissingExtraError, _network_panel, draw_figure, write_report
from freqprop_lab.report._figure import compose
from freqprop_lab.report._page import page_of
from freqprop_lab.report._summary import summarise
from freqprop_lab.runs import Run, RunError
from freqprop_lab.session import train

IRIS = """
name: small iris
bench: {network: {kind: barabasi-albert, nodes: 24, edges: 60}}
task: {kind: iris}
conductances: {start: [1.0e-2, 1], bounds: [1.0e-5, 20]}
epochs: 3
evaluate_every: 1
"""
XOR = """
name: xor
bench: {scales: {voltage: 1 V, conductance: 0.1 mS}, network: {kind: hidden-layer, hidden: 3}}
task:
  kind: xor
  inputs: {scale: 2, encoding: centred, bias: [2, -2]}
  targets: {kind: codes, codes: {"0": [-0.3], "1": [0.3]}}
  cost: one-sided
rule: {alpha: 3}
conductances: {start: [0.1, 1], distribution: log-uniform, bounds: [0.1, 10]}
epochs: 2
"""
REGRESSION = """
name: regression
bench: {network: {kind: grid, rows: 4, columns: 4}}
task:
  {kind: csv, file: data.csv, target: y, predict: value, inputs: {scale: 1},
   targets: {kind: values, low: -0.3, high: 0.3}}
conductances: {start: [0.1, 1], bounds: [1.0e-3, 20]}
epochs: 2
"""
CROSS_ENTROPY = """
name: cross-entropy
bench: {network: {kind: barabasi-albert, nodes: 24, edges: 60}}
task: {kind: iris, targets: {kind: one-hot}, cost: cross-entropy, readout: argmax}
conductances: {start: [1.0e-2, 1], bounds: [1.0e-5, 20]}
epochs: 1
"""
VOID = {"meta", "img", "br", "hr", "link", "input"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run of each kind; tests that change one work on a copy."""
    base = tmp_path_factory.mktemp("runs")
    table = "".join(f"{i / 20},{(7 * i % 20) / 20},{(3 * i % 20) / 20}\n" for i in range(20))
    (base / "data.csv").write_text(f"p,q,y\n{table}")
    texts = {"iris": IRIS, "xor": XOR, "regression": REGRESSION, "cross-entropy": CROSS_ENTROPY}
    texts["untrained"] = IRIS.replace("epochs: 3", "epochs: 0")
    for name, text in texts.items():
        train(parse_experiment(text, base / f"{name}.yaml"), run=base / name)
    return base


@pytest.fixture(scope="module")
def report(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report of the iris run."""
    folder = tmp_path_factory.mktemp("report")
    write_report(Run(runs / "iris"), folder)
    return folder


@pytest.fixture
def iris(runs: Path, tmp_path: Path) -> Path:
    """A copy of the iris run."""
    return Path(shutil.copytree(runs / "iris", tmp_path / "iris"))


class Page(HTMLParser):
    """Parses a page and checks that what is opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    @property
    def text(self) -> str:
        return " ".join(data for tag, data in self.texts if tag != "style")

    def find(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_without_picture(run: Path) -> Page:
    return Page(page_of(summarise(Run(run)), b""))


def figure_of(run: Path) -> Figure:
    """The figure, not yet laid out: `draw_figure` without its slow part."""
    return compose(summarise(Run(run)))


def panels(figure: Figure) -> dict[str, Axes]:
    """The panels by the letter of their title."""
    axes = [axes for part in figure.subfigs for axes in part.axes]
    return {one.get_title(loc="left")[1]: one for one in axes if one.get_title(loc="left")}


def branches(axes: Axes) -> LineCollection:
    return next(drawn for drawn in axes.collections if isinstance(drawn, LineCollection))


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for part in figure.subfigs for legend in part.legends for text in legend.get_texts()]


def conductances(run: Path, n_nodes: int, n_branches: int) -> np.ndarray[Any, Any]:
    """The states' conductances, read beside the run's own reader: a and b of each node come first."""
    return np.fromfile(run / "states.f64").reshape(-1, 2 * n_nodes + n_branches)[:, 2 * n_nodes :]


def change(run: Path, **fields: Any) -> None:
    start = json.loads((run / "start.json").read_text())
    (run / "start.json").write_text(json.dumps(start | fields))


def test_a_picture_of_1600_by_1200_pixels_and_a_page_land_in_the_run(iris: Path) -> None:
    picture, page = write_report(Run(iris))
    assert (picture, page) == (iris / "report.png", iris / "report.html")
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (1600, 1200)
    assert 20_000 < page.stat().st_size < 1_500_000
    assert not list(iris.glob("*.part")) + list(iris.glob(".*.part"))


def test_the_page_is_well_formed_and_refers_to_nothing_outside(report: Path) -> None:
    text = (report / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.find("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.find("meta")
    assert [data for tag, data in page.texts if tag == "title"] == ["small iris: report of a run"]
    for tag in ("script", "link", "iframe", "object", "form"):
        assert page.find(tag) == []
    for _, attributes in page.elements:
        assert "href" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
    assert not any(word in text for word in ("http://", "https://", "url(", "@import"))
    assert "prefers-color-scheme: dark" in text


def test_the_page_holds_the_same_picture_with_a_text_for_those_who_do_not_see_it(report: Path) -> None:
    page = Page((report / "report.html").read_text(encoding="utf-8"))
    (image,) = page.find("img")
    data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
    assert data == (report / "report.png").read_bytes()
    assert all(f"({letter})" in image["alt"] for letter in "abcd")


def test_the_table_gives_the_scores_of_start_and_stop(runs: Path) -> None:
    page = page_without_picture(runs / "iris")
    cells = [data.strip() for tag, data in page.texts if tag in ("th", "td")]
    untrained = json.loads((runs / "iris/start.json").read_text())["untrained"]
    trained = json.loads((runs / "iris/stop.json").read_text())["result"]["trained"]
    for label, name in (("Test accuracy", "test_accuracy"), ("Training accuracy", "train_accuracy")):
        place = cells.index(label)
        shown = [float(cell.removesuffix(" %")) / 100 for cell in cells[place + 1 : place + 3]]
        assert shown == pytest.approx([untrained[name], trained[name]], abs=5e-4)
    for label, name in (("Training error (task V)", "error"), ("Relative error", "relative_error")):
        place = cells.index(label)
        assert [float(cell) for cell in cells[place + 1 : place + 3]] == pytest.approx(
            [untrained[name], trained[name]], rel=1e-3
        )
    # Margins are for codes only; iris has class means.
    place = cells.index("Margin (task V)")
    assert cells[place + 1 : place + 3] == ["-", "-"]
    assert "Trained, epoch 3" in cells


def test_the_page_tells_bench_ports_seed_versions_instruments_and_settings(runs: Path) -> None:
    text = page_without_picture(runs / "iris").text
    told = (
        "24 nodes",
        "60 branches",
        "referred",
        "synchronised",
        "Seed",
        "numpy",
        "simulated meter",
        '"barabasi-albert"',
    )
    for part in told:
        assert part in text
    assert "Finished: 3 epochs (225 steps)." in text  # 75 training examples each


def test_both_networks_share_a_logarithmic_scale_from_the_least_to_the_largest_conductance(runs: Path) -> None:
    panel = panels(figure_of(runs / "iris"))
    states = conductances(runs / "iris", 24, 60)
    before, after = branches(panel["a"]), branches(panel["b"])
    for drawn, state in ((before, states[0]), (after, states[-1])):
        assert drawn.norm.vmin == pytest.approx(states[[0, -1]].min(), rel=1e-12)
        assert drawn.norm.vmax == pytest.approx(states[[0, -1]].max(), rel=1e-12)
        assert type(drawn.norm).__name__ == "LogNorm"
        assert sorted(drawn.get_array()) == pytest.approx(sorted(state), rel=1e-12)
    geometric_mean = np.sqrt(before.norm.vmin * before.norm.vmax)
    assert float(before.norm(geometric_mean)) == pytest.approx(0.5)


def test_each_branch_is_drawn_between_its_own_nodes_in_the_colour_of_its_own_conductance(runs: Path) -> None:
    panel = panels(figure_of(runs / "xor"))["b"]
    network = json.loads((runs / "xor/start.json").read_text())["network"]
    tunable = [branch for branch in network["branches"] if branch["tunable"]]
    # Names are written 12 points above their nodes and anchored at them.
    place = {text.get_text(): text.xy for text in panel.texts}
    drawn = branches(panel)
    lines = {
        tuple(np.ravel(path).round(9)): value
        for path, value in zip(drawn.get_segments(), drawn.get_array(), strict=True)
    }
    for branch, value in zip(tunable, conductances(runs / "xor", 9, len(tunable))[-1], strict=True):
        line = tuple(np.ravel([place[branch["plus"]], place[branch["minus"]]]).round(9))
        assert lines[line] == pytest.approx(value, rel=1e-12)


def test_the_colour_bar_names_the_unit(runs: Path) -> None:
    figure = figure_of(runs / "xor")
    labels = [axes.get_ylabel() for axes in figure.subfigs[0].axes]
    assert "conductance of the tunable branches (S)" in labels


def test_diodes_and_ground_are_in_the_legend_where_there_are_any(runs: Path) -> None:
    assert legend(figure_of(runs / "xor")) == [
        "node",
        "input node",
        "output node",
        "ground",
        "tunable branch",
        "diode, anode to cathode",
    ]
    assert legend(figure_of(runs / "iris")) == ["node", "input node", "output node", "tunable branch"]


def test_errors_lie_in_the_epoch_they_were_made_in_and_means_in_its_middle(runs: Path) -> None:
    dots, means = panels(figure_of(runs / "iris"))["c"].lines
    lines = [json.loads(line) for line in (runs / "iris/steps.jsonl").read_text().splitlines()]
    assert np.floor(dots.get_xdata()).tolist() == [line["epoch"] - 1 for line in lines]
    assert list(dots.get_ydata()) == pytest.approx([line["error"] for line in lines], rel=1e-5)
    epochs = [json.loads(line) for line in (runs / "iris/epochs.jsonl").read_text().splitlines()]
    assert means.get_xdata().tolist() == [0.5, 1.5, 2.5]
    # The mean over an epoch of 75 steps is the mean of its dots.
    assert np.reshape(dots.get_ydata(), (3, 75)).mean(axis=1) == pytest.approx(
        [line["error"] for line in epochs], rel=1e-9
    )
    assert list(means.get_ydata()) == [line["error"] for line in epochs]


def test_accuracies_begin_with_the_untrained_network_at_epoch_0(runs: Path) -> None:
    panel = panels(figure_of(runs / "iris"))["d"]
    curves = {line.get_label(): line for line in panel.lines}
    assert set(curves) == {"test examples", "test examples, as published", "training examples"}
    untrained = json.loads((runs / "iris/start.json").read_text())["untrained"]
    trained = json.loads((runs / "iris/stop.json").read_text())["result"]["trained"]
    test = curves["test examples"]
    assert test.get_xdata().tolist() == [0, 1, 2, 3]
    assert (test.get_ydata()[0], test.get_ydata()[-1]) == (untrained["test_accuracy"], trained["test_accuracy"])


def with_errors(run: Path, errors: np.ndarray[Any, Any]) -> Path:
    """Give a run other errors: one step each, in epochs of 75, with nothing else changed."""
    rows = np.zeros((len(errors), 8))
    rows[:, 0] = errors
    rows.tofile(run / "steps.f64")
    (run / "steps.jsonl").write_text("{}\n" * len(errors))
    means = errors.reshape(-1, 75).mean(axis=1).tolist()
    lines = [{"epoch": epoch, "seq_num": 75 * epoch, "error": mean} for epoch, mean in enumerate(means, 1)]
    (run / "epochs.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return run


@pytest.mark.parametrize(("span", "scale"), [(9.0, "linear"), (11.0, "log")])
def test_the_error_axis_is_logarithmic_beyond_a_decade(iris: Path, span: float, scale: str) -> None:
    axes = panels(figure_of(with_errors(iris, np.geomspace(1, 1 / span, 225))))["c"]
    assert axes.get_yscale() == scale


def test_steps_far_below_the_means_are_counted_instead_of_pressing_the_rest_together(iris: Path) -> None:
    errors = np.ones(225)
    errors[:45] = 1e-9  # a fifth
    axes = panels(figure_of(with_errors(iris, errors)))["c"]
    # The lowest mean is that of the first epoch, 30 / 75; the axis ends 30 times (and a little) below.
    assert axes.get_ylim()[0] == pytest.approx(0.4 / 30 / 1.3)
    assert axes.lines[0].get_label() == "single steps (20% lie below)"


def test_of_many_steps_at_most_5000_are_drawn_first_and_last_among_them(iris: Path) -> None:
    errors = np.linspace(2, 1, 75 * 200)
    dots = panels(figure_of(with_errors(iris, errors)))["c"].lines[0]
    drawn = dots.get_ydata()
    assert 4900 <= len(drawn) <= 5000
    assert (drawn[0], drawn[-1]) == (2, 1)


def test_an_interrupted_run_shows_its_newest_state(iris: Path) -> None:
    (iris / "stop.json").unlink()
    for name, n_lines in (("epochs", 2), ("steps", 170), ("states", 2)):
        lines = (iris / f"{name}.jsonl").read_text().splitlines(keepends=True)
        # The last line is torn, as a kill leaves it.
        (iris / f"{name}.jsonl").write_text("".join(lines[:n_lines]) + lines[n_lines][:9])
    write_report(Run(iris))
    page = page_without_picture(iris)
    assert f"Interrupted after 2 epochs (170 steps), or still running. Go on with: freqprop resume {iris}" in page.text
    assert "Trained, epoch 2" in page.text
    panel = panels(figure_of(iris))
    assert panel["b"].get_title(loc="left") == "(b) interrupted after 2 epochs"
    # The checkpoint is the one after all 225 steps: newer than the states that the log still has.
    assert sorted(branches(panel["b"]).get_array()) == pytest.approx(sorted(conductances(iris, 24, 60)[-1]), rel=1e-12)


def test_a_run_killed_in_its_first_epoch_has_a_report(iris: Path) -> None:
    (iris / "stop.json").unlink()
    (iris / "epochs.jsonl").write_text("")
    steps = (iris / "steps.jsonl").read_text().splitlines(keepends=True)
    (iris / "steps.jsonl").write_text("".join(steps[:30]))
    assert "Interrupted after 0 epochs (30 steps)" in page_without_picture(iris).text
    dots = panels(figure_of(iris))["c"].lines[0]
    assert dots.get_xdata()[-1] == pytest.approx(29.5 / 75)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("fail", "Failed after 3 epochs (225 steps): OverloadError: channel <7>. Go on with: freqprop resume"),
        ("abort", "Interrupted after 3 epochs (225 steps): OverloadError: channel <7>. Go on with: freqprop resume"),
    ],
)
def test_a_run_that_ended_early_says_why(iris: Path, status: str, said: str) -> None:
    stop = {"exit_status": status, "reason": "OverloadError: channel <7>", "time": 0.0, "num_events": {}}
    (iris / "stop.json").write_text(json.dumps(stop))
    assert said in page_without_picture(iris).text


def test_a_run_of_0_epochs_shows_the_untrained_network_twice(runs: Path, tmp_path: Path) -> None:
    write_report(Run(runs / "untrained"), tmp_path)
    assert "Finished: 0 epochs (0 steps)." in page_without_picture(runs / "untrained").text
    panel = panels(figure_of(runs / "untrained"))
    assert panel["b"].get_title(loc="left") == "(b) after 0 epochs: untrained"
    assert branches(panel["a"]).get_array().tolist() == branches(panel["b"]).get_array().tolist()
    assert [text.get_text() for text in panel["c"].texts] == ["no step was made"]
    assert all(len(line.get_xdata()) == 1 for line in panel["d"].lines)


def test_a_task_of_values_shows_errors_in_place_of_accuracies(runs: Path) -> None:
    panel = panels(figure_of(runs / "regression"))["d"]
    assert panel.get_ylabel() == "error (task V)"
    curves = {line.get_label(): line.get_ydata() for line in panel.lines}
    untrained = json.loads((runs / "regression/start.json").read_text())["untrained"]
    assert curves["test examples"][0] == untrained["test_error"]
    assert curves["training examples"][0] == untrained["error"]
    cells = [data.strip() for tag, data in page_without_picture(runs / "regression").texts if tag in ("th", "td")]
    place = cells.index("Test accuracy")
    assert cells[place + 1 : place + 3] == ["-", "-"]


def test_cross_entropy_shows_costs_and_says_so(runs: Path) -> None:
    panel = panels(figure_of(runs / "cross-entropy"))["c"]
    assert panel.get_ylabel() == "cross-entropy cost (task V)"
    lines = [json.loads(line) for line in (runs / "cross-entropy/steps.jsonl").read_text().splitlines()]
    assert list(panel.lines[0].get_ydata()) == pytest.approx([line["error"] for line in lines], rel=1e-5)


def test_text_from_outside_stays_text(iris: Path) -> None:
    evil = '<script>alert("$x_{")</script>'
    start = json.loads((iris / "start.json").read_text())
    change(
        iris,
        name=evil,
        bench=start["bench"] | {"name": evil},
        versions={evil: evil},
        parents=[{"path": evil, "uid": evil}],
        experiment=start["experiment"] | {evil: evil},
    )
    streams = json.loads((iris / "streams.json").read_text())
    streams["configuration"] = {evil: {"identity": {"manufacturer": evil, "model": evil}, "clock": evil}}
    (iris / "streams.json").write_text(json.dumps(streams))
    page = page_without_picture(iris)
    assert page.find("script") == []
    assert [data for tag, data in page.texts if tag == "h1"] == [evil]
    assert page.text.count("<script>") >= 9


def test_node_names_that_look_like_formulas_are_drawn_as_they_are(runs: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs / "xor", tmp_path / "xor"))
    text = (run / "start.json").read_text()
    (run / "start.json").write_text(text.replace('"h1"', '"$h_{"').replace('"h2"', '"a very long name"'))
    names = [text.get_text() for text in panels(figure_of(run))["a"].texts]
    assert "$h_{" in names
    assert "a very lo…" in names


def test_a_name_in_a_script_that_the_font_lacks_is_whole_on_the_page(iris: Path) -> None:
    change(iris, name="学习")
    _, page = write_report(Run(iris))
    assert "<h1>学习</h1>" in page.read_text(encoding="utf-8")


def test_parallel_branches_do_not_lie_on_one_another(runs: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs / "xor", tmp_path / "xor"))
    network = json.loads((run / "start.json").read_text())["network"]
    twin = {"name": "twin", "plus": "h1", "minus": "x1", "kind": "resistor", "tunable": False}
    change(run, network=network | {"branches": [*network["branches"], twin]})
    figure = figure_of(run)
    panel = panels(figure)["a"]
    bent = [path for path in branches(panel).get_segments() if len(path) > 2]
    fixed = next(line for line in panel.lines if len(line.get_xdata()) == len(bent[0]) and line.get_zorder() == 3)
    assert len(bent) == 1
    middles = [path[len(path) // 2] for path in (bent[0], np.transpose(fixed.get_data()))]
    assert np.linalg.norm(middles[0] - middles[1]) > 0.05
    assert "fixed resistor" in legend(figure)


def test_of_a_network_too_large_to_draw_the_conductances_are_counted(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_network_panel, "_MOST_BRANCHES", 59)
    figure = figure_of(runs / "iris")
    for letter in "ab":
        axes = panels(figure)[letter]
        assert sum(bar.get_height() for bar in axes.patches) == 60
        assert axes.get_xlabel() == "conductance (S)"


def test_the_picture_is_the_same_each_time_whatever_a_person_sets_matplotlib_to(
    runs: Path, report: Path, tmp_path: Path
) -> None:
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "axes.grid": False}):
        picture, _ = write_report(Run(runs / "iris"), tmp_path)
    assert picture.read_bytes() == (report / "report.png").read_bytes()


@pytest.mark.parametrize("name", ["matplotlib", "networkx"])
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    iris: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError) as caught:
        write_report(Run(iris))
    assert 'reports need an extra that isn\'t installed: pip install "freqprop-lab[report]"' in str(caught.value)
    assert name in str(caught.value)
    assert not list(iris.glob("report.*"))


def test_nothing_that_draws_is_loaded_before_it_is_needed() -> None:
    code = "import sys, freqprop_lab.report; print({'matplotlib', 'networkx', 'PIL'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"


def test_pyplot_is_never_loaded(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    draw_figure(Run(runs / "xor"))


def test_a_folder_that_can_not_be_written_is_named(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("mine")
    with pytest.raises(RunError, match=r"taken.report\.png can't be written: .* Choose another folder"):
        write_report(Run(runs / "xor"), file)
    assert file.read_text() == "mine"
