"""Tasks: splits, levels, targets, read-outs and scores, on examples small enough to count by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freqprop_lab.config import FileError, Number, parse_experiment
from freqprop_lab.tasks import Task, build_task

approx = pytest.approx

# x runs from 0 to 4, y from 10 to 30; two classes of two.
FOUR = "x,y,kind\n0,10,a\n4,30,b\n1,20,a\n2,15,b\n"
ALL = "split: {train: 1}"


def task_of(folder: Path, content: str, *fields: str, seed: int = 0, target: str = "kind") -> Task:
    """Build a csv task from a table and further lines of its section."""
    (folder / "t.csv").write_text(content)
    lines = [f"kind: csv\nfile: t.csv\ntarget: {target}", *fields]
    text = "task:\n" + "".join(f"  {line}\n" for line in "\n".join(lines).split("\n"))
    experiment = parse_experiment(text, folder / "e.yaml")
    return build_task(experiment.model.task, folder, np.random.default_rng(seed), experiment.document)


def answering(outputs: list[list[float]]) -> Any:
    """Return a network that answers with given outputs, checking that it is asked for as many."""

    def read(levels: np.ndarray) -> np.ndarray:
        assert len(levels) == len(outputs)
        return np.array(outputs)

    return read


def iris_like(counts: dict[str, int]) -> str:
    rows = [f"{number},{number**2},{name}" for name, count in counts.items() for number in range(count)]
    return "x,y,kind\n" + "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("train", "wanted"),
    [
        (0.5, {"a": 5, "b": 3, "c": 2}),
        (10, {"a": 5, "b": 3, "c": 2}),
        # Shares of 13 of 20: 6.5, 3.9, 2.6. Whole parts 6, 3, 2; the two that are left go to .9 and .6.
        (13, {"a": 6, "b": 4, "c": 3}),
        (1, {"a": 10, "b": 6, "c": 4}),
    ],
)
def test_the_split_takes_the_same_share_of_each_class(tmp_path: Path, train: Number, wanted: dict[str, int]) -> None:
    task = task_of(tmp_path, iris_like({"a": 10, "b": 6, "c": 4}), f"split: {{train: {train}}}")
    assert Counter(task.classes[label] for label in task.table.labels[task.train]) == wanted
    assert sorted([*task.train, *task.test]) == list(range(20))


def test_the_split_hangs_on_the_seed_alone(tmp_path: Path) -> None:
    first, again, other = (task_of(tmp_path, iris_like({"a": 20, "b": 20}), seed=seed) for seed in (1, 1, 2))
    assert first.train.tolist() == again.train.tolist()
    assert first.train.tolist() != other.train.tolist()


def test_a_fault_of_the_split_is_told_at_its_line_of_the_experiment(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r'e\.yaml, line 6: field "task\.split\.train": 9 training examples are asked'):
        task_of(tmp_path, FOUR, "split:\n  train: 9")


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        # Row 3 is x = 1 of 0..4, y = 20 of 10..30: a quarter and a half of the range.
        ("scale: 2", [0.5, 1.0]),
        ("scale: 2, encoding: centred", [-1.0, 0.0]),
        ("scale: 2, encoding: mirrored", [0.5, 1.0, 1.5, 1.0]),
        ("scale: 2, bias: [1, -0.5]", [0.5, 1.0, 1.0, -0.5]),
        ("scale: 2, encoding: mirrored, bias: [3]", [0.5, 1.0, 1.5, 1.0, 3.0]),
        ("{}", [1.25, 2.5]),  # scale: 5
    ],
)
def test_levels_of_an_example(tmp_path: Path, fields: str, wanted: list[float]) -> None:
    task = task_of(tmp_path, FOUR, f"inputs: {{{fields}}}" if fields != "{}" else "inputs: {}", ALL)
    assert task.levels[2] == approx(wanted)
    assert task.n_inputs == len(wanted)


def test_the_range_of_a_feature_is_that_of_the_training_half(tmp_path: Path) -> None:
    task = task_of(tmp_path, iris_like({"a": 4, "b": 4}), "inputs: {scale: 1}", seed=3)
    trained = task.table.features[task.train]
    assert task.levels[task.train].min(axis=0) == approx([0, 0])
    assert task.levels[task.train].max(axis=0) == approx([1, 1])
    span = trained[:, 0].max() - trained[:, 0].min()
    assert task.levels[:, 0] == approx((task.table.features[:, 0] - trained[:, 0].min()) / span)


LIMITS = (np.array([0.0, 0.0, -9.0]), np.array([3.0, 9.0, 1.5]))


def limited(folder: Path, outside: str) -> Task:
    # Levels (x, y, bias): (0, 0, 2), (4, 4, 2), (1, 2, 2), (2, 1, 2).
    task = task_of(folder, FOUR, f"inputs: {{scale: 4, bias: [2], outside: {outside}}}", ALL)
    return task.within(LIMITS)


def test_clip_holds_levels_at_the_limits_and_counts_the_examples(tmp_path: Path) -> None:
    task = limited(tmp_path, "clip")
    assert task.levels == approx(np.array([[0, 0, 1.5], [3, 4, 1.5], [1, 2, 1.5], [2, 1, 1.5]]))
    assert task.clipped == 4
    only_x = (np.array([0.0, 0.0, -9.0]), np.array([3.0, 9.0, 9.0]))
    assert task.within(only_x).clipped == 1


def test_refuse_leaves_the_levels_for_the_bench_to_refuse(tmp_path: Path) -> None:
    task = limited(tmp_path, "refuse")
    assert task.levels[1] == approx([4, 4, 2])
    assert task.clipped == 0


def test_scale_shrinks_every_input_by_the_one_factor_that_fits(tmp_path: Path) -> None:
    task = limited(tmp_path, "scale")
    # x needs 3/4, the bias 1.5/2: the same here, so everything times 0.75.
    assert task.levels == approx(0.75 * np.array([[0, 0, 2], [4, 4, 2], [1, 2, 2], [2, 1, 2]]))
    assert task.clipped == 0


def test_scale_minds_the_lower_limit_of_negative_levels(tmp_path: Path) -> None:
    task = task_of(tmp_path, FOUR, "inputs: {scale: 4, encoding: centred, outside: scale}", ALL)
    task = task.within((np.array([-1.0, -9.0]), np.array([9.0, 9.0])))
    # x runs from -4 to 4 and may go down to -1.
    assert task.levels[:2] == approx(np.array([[-1, -1], [1, 1]]))


def test_scale_never_stretches(tmp_path: Path) -> None:
    task = task_of(tmp_path, FOUR, "inputs: {scale: 4, outside: scale}", ALL)
    assert task.within((np.full(2, -99.0), np.full(2, 99.0))).levels == approx(task.levels)


def test_scale_does_not_turn_levels_round_where_a_source_cannot_give_zero(tmp_path: Path) -> None:
    task = task_of(tmp_path, FOUR, "inputs: {scale: 4, outside: scale}", ALL)
    assert task.within((np.full(2, -5.0), np.full(2, -1.0))).levels == approx(task.levels)


def test_new_rows_are_encoded_and_limited_like_the_old_ones(tmp_path: Path) -> None:
    task = limited(tmp_path, "clip")
    (tmp_path / "new.csv").write_text("note,y,x\nfirst,20,1\nsecond,10,-4\n")
    levels, clipped = task.encode_rows(tmp_path / "new.csv")
    # x = -4 would be -4 V, below 0; y = 10 is 0 V. The bias is clipped in both.
    assert levels == approx(np.array([[1, 2, 1.5], [0, 0, 1.5]]))
    assert clipped == 2


def test_new_rows_without_a_feature_are_refused(tmp_path: Path) -> None:
    task = limited(tmp_path, "clip")
    (tmp_path / "new.csv").write_text("x\n1\n")
    with pytest.raises(FileError, match=r'new\.csv, line 1: no column "y"; needed are x, y'):
        task.encode_rows(tmp_path / "new.csv")


def test_class_levels_are_mean_levels_of_each_class(tmp_path: Path) -> None:
    task = task_of(tmp_path, FOUR, "inputs: {scale: 4}", ALL)
    # a: (0, 0) and (1, 2); b: (4, 4) and (2, 1).
    assert task.class_levels(task.train) == approx(np.array([[0.5, 1], [3, 2.5]]))


def test_class_means_are_the_answers_to_the_mean_levels(tmp_path: Path) -> None:
    task = task_of(tmp_path, FOUR, "inputs: {scale: 4}", ALL)
    by_class = task.class_targets(lambda levels: 0.1 * levels)
    assert by_class == approx(np.array([[0.05, 0.1], [0.3, 0.25]]))
    assert task.targets(by_class) == approx(by_class[[0, 1, 0, 1]])


def test_one_hot_targets(tmp_path: Path) -> None:
    task = task_of(tmp_path, FOUR, "targets: {kind: one-hot, low: -1, high: 2}", ALL)
    assert task.targets(task.fixed_targets()) == approx(np.array([[2, -1], [-1, 2], [2, -1], [-1, 2]]))


def test_code_targets_go_by_class_name(tmp_path: Path) -> None:
    task = task_of(tmp_path, FOUR, "targets: {kind: codes, codes: {b: [1, -1, 1], a: [0, 1, 1]}}", ALL)
    assert task.n_outputs == 3
    assert task.fixed_targets() == approx(np.array([[0, 1, 1], [1, -1, 1]]))


def test_values_are_scaled_by_the_training_range_and_back(tmp_path: Path) -> None:
    table = "x,u,v\n0,10,1\n1,20,3\n2,30,2\n"
    task = task_of(tmp_path, table, "predict: value\ntargets: {kind: values, low: -1, high: 1}", ALL, target="[u, v]")
    targets = task.targets(np.zeros((0, 2)))
    assert targets == approx(np.array([[-1, -1], [0, 1], [1, 0]]))
    assert task.values(targets) == approx(np.array([[10, 1], [20, 3], [30, 2]]))
    assert task.values(np.array([[2.0, -2.0]])) == approx(np.array([[40, 0]]))


def test_nearest_target_and_argmax_differ_where_targets_do(tmp_path: Path) -> None:
    references = np.array([[0.1, 0.2], [0.5, 0.9]])
    outputs = np.array([[0.3, 0.2], [0.3, 0.8]])
    nearest = task_of(tmp_path, FOUR, ALL)
    # Squared distances 0.04 and 0.53; 0.40 and 0.05.
    assert nearest.answer(outputs, references).tolist() == [0, 1]
    argmax = task_of(tmp_path, FOUR, ALL, "readout: argmax\ntargets: {kind: one-hot}")
    assert argmax.answer(np.array([[0.3, 0.2], [0.1, 0.2], [0.9, 0.8]]), references).tolist() == [0, 1, 0]


def test_nearest_training_mean_compares_with_mean_outputs(tmp_path: Path) -> None:
    task = task_of(tmp_path, FOUR, ALL, "readout: nearest-training-mean")
    # Rows a, b, a, b: means (1, 0) and (4, 4).
    outputs = np.array([[0.0, 0], [3, 5], [2, 0], [5, 3]])
    assert task.references(np.full((2, 2), 9.0), outputs) == approx(np.array([[1, 0], [4, 4]]))


def test_scores_of_four_training_examples(tmp_path: Path) -> None:
    task = task_of(tmp_path, FOUR, ALL, "targets: {kind: codes, codes: {a: [-1, 1], b: [1, -1]}}")
    # Rows a, b, a, b. Off by (1, 1), (0, 0), (0, 2), (-1.5, 1.5): rms 1, 0, sqrt 2, 1.5.
    outputs = [[0.0, 2.0], [1.0, -1.0], [-1.0, 3.0], [-0.5, 0.5]]
    scores = task.score(task.fixed_targets(), answering(outputs))
    assert scores.error == approx((1 + 0 + np.sqrt(2) + 1.5) / 4)
    # Squared cost: half the sums 2, 0, 4, 4.5.
    assert scores.cost == approx((1 + 0 + 2 + 2.25) / 4)
    # Mean outputs a (-0.5, 2.5), b (0.25, -0.25): differences 0.75 and -2.75.
    assert scores.separation == approx(np.sqrt((0.75**2 + 2.75**2) / 2))
    assert scores.relative_error == approx(scores.error / scores.separation)
    # The last, (-0.5, 0.5), is nearer to a's code: three of four are right.
    assert scores.train_accuracy == approx(0.75)
    # v sign(y), row by row: (0, 2), (1, 1), (1, 3), (-0.5, -0.5).
    assert scores.margin == approx(-0.5)
    assert (scores.test_accuracy, scores.test_accuracy_as_published, scores.test_error) == (None, None, None)


EIGHT = iris_like({"a": 4, "b": 4})


@pytest.mark.parametrize(("frozen", "published"), [("false", 1.0), ("true", None)])
def test_published_accuracy_compares_with_the_test_half_s_own_means(
    tmp_path: Path, frozen: str, published: float | None
) -> None:
    task = task_of(tmp_path, EIGHT, f"targets: {{kind: class-means, frozen: {frozen}}}")
    by_class = np.array([[0.0, 0.0], [1.0, 0.0]])
    # Training a, a, b, b as wanted. Test a, a at 0.8 and b, b at 1.4: all nearer to b's target, 1, so that half are
    # right; but the test half's own means are answered with 0.8 and 1.4, and by those all are right.
    train = [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    test = [[0.8, 0.0], [0.8, 0.0], [1.4, 0.0], [1.4, 0.0]]
    leak = [[0.8, 0.0], [1.4, 0.0]] if published else []
    scores = task.score(by_class, answering([*train, *test, *leak]))
    assert scores.train_accuracy == 1.0
    assert scores.test_accuracy == 0.5
    assert scores.test_accuracy_as_published == published
    assert scores.error == 0.0
    # Off by 0.8, 0.8, 0.4, 0.4 in one of two outputs.
    assert scores.test_error == approx(0.6 / np.sqrt(2))


def test_accuracy_by_training_means_and_as_published(tmp_path: Path) -> None:
    task = task_of(tmp_path, EIGHT, "readout: nearest-training-mean\ntargets: {kind: one-hot}")
    train = [[0.0, 0.0], [0.2, 0.0], [1.0, 0.0], [1.2, 0.0]]  # means 0.1 and 1.1, the border at 0.6
    test = [[0.7, 0.0], [0.9, 0.0], [1.4, 0.0], [1.1, 0.0]]  # means 0.8 and 1.25, the border at 1.025
    scores = task.score(task.fixed_targets(), answering([*train, *test]))
    assert scores.test_accuracy == 0.5
    assert scores.test_accuracy_as_published == 1.0


def test_scores_of_wanted_values_have_no_accuracy(tmp_path: Path) -> None:
    task = task_of(tmp_path, "x,u\n0,0\n1,10\n2,5\n", "predict: value\ntargets: {kind: values}", ALL, target="u")
    # Targets 0, 1, 0.5; outputs off by 0.1, 0.2, 0.
    scores = task.score(np.zeros((0, 1)), answering([[0.1], [0.8], [0.5]]))
    assert scores.error == approx(0.1)
    assert scores.cost == approx((0.01 + 0.04) / 2 / 3)
    assert (scores.train_accuracy, scores.separation, scores.relative_error, scores.margin) == (None,) * 4


def test_cross_entropy_has_a_cost_and_no_error(tmp_path: Path) -> None:
    task = task_of(tmp_path, FOUR, ALL, "cost: cross-entropy\ntemperature: 0.5\ntargets: {kind: one-hot}")
    scores = task.score(task.fixed_targets(), answering([[0.0, 0.0]] * 4))
    assert scores.cost == approx(0.5 * np.log(2))
    assert scores.error is None
    assert scores.relative_error is None


def test_scores_by_name_are_all_of_them(tmp_path: Path) -> None:
    task = task_of(tmp_path, FOUR, ALL, "targets: {kind: one-hot}")
    scores = task.score(task.fixed_targets(), answering([[1.0, 0.0], [0.0, 1.0]] * 2)).as_dict()
    assert scores["train_accuracy"] == 1.0
    assert scores["error"] == 0.0
    # Class means (1, 0) and (0, 1): one apart in each output.
    assert scores["separation"] == approx(1.0)
    assert scores["margin"] is None


def test_exclusive_or_trains_on_all_four_points() -> None:
    experiment = parse_experiment("task: {kind: xor, inputs: {scale: 2}}\n", Path("e.yaml"))
    task = build_task(experiment.model.task, Path(), np.random.default_rng(0))
    assert task.train.tolist() == [0, 1, 2, 3]
    assert task.test.tolist() == []
    assert task.levels == approx(np.array([[0, 0], [0, 2], [2, 0], [2, 2]]))
