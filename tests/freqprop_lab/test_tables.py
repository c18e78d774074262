"""Tables of examples: Iris as Fisher published it, and how CSV files are read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from freqprop_lab.config import FileError
from freqprop_lab.tasks import read_rows
from freqprop_lab.tasks._table import iris, read_table, xor

approx = pytest.approx


@pytest.fixture
def irises():
    return iris()


def test_irises_are_fifty_of_each_kind(irises) -> None:
    assert irises.features.shape == (150, 4)
    assert irises.classes == ("setosa", "versicolor", "virginica")
    assert Counter(irises.labels.tolist()) == {0: 50, 1: 50, 2: 50}


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (1, [5.1, 3.5, 1.4, 0.2]),
        (35, [4.9, 3.1, 1.5, 0.2]),  # the copy that went round the Internet has 0.1
        (38, [4.9, 3.6, 1.4, 0.1]),  # and here 3.1 and 1.5
        (51, [7.0, 3.2, 4.7, 1.4]),
        (101, [6.3, 3.3, 6.0, 2.5]),
        (150, [5.9, 3.0, 5.1, 1.8]),
    ],
)
def test_irises_are_as_fisher_published_them(irises, row: int, wanted: list[float]) -> None:
    assert irises.features[row - 1] == approx(wanted)


def test_irises_have_the_published_means(irises) -> None:
    # Fisher (1936), table I's last line: the means of each kind, in cm.
    means = [irises.features[irises.labels == kind].mean(axis=0) for kind in range(3)]
    assert means[0] == approx([5.006, 3.428, 1.462, 0.246])
    assert means[1] == approx([5.936, 2.770, 4.260, 1.326])
    assert means[2] == approx([6.588, 2.974, 5.552, 2.026])


def test_exclusive_or_is_one_where_its_inputs_differ() -> None:
    table = xor()
    for point, label in zip(table.features.tolist(), table.labels.tolist(), strict=True):
        assert table.classes[label] == str(int(point[0] != point[1]))


def test_a_table_is_read_with_blanks_quotes_empty_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        '\ufeffx , "y, cm",kind\n\n 1, 2.5 ,a\r\n,,\n-3e-1,4,"b ""c"""\n1,1,a\n0,0,"b ""c"""\n', encoding="utf-8"
    )
    table = read_table(path, None, ["kind"], predicts_class=True)
    assert table.names == ("x", "y, cm")
    assert table.features == approx(np.array([[1, 2.5], [-0.3, 4], [1, 1], [0, 0]]))
    assert table.classes == ("a", 'b "c"')
    assert table.labels.tolist() == [0, 1, 0, 1]


def test_rows_know_the_line_in_which_they_begin(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('x,kind\n1,"two\nlines"\n\n2,b\n')
    assert read_rows(path) == (["x", "kind"], [["1", "two\nlines"], ["2", "b"]], [2, 5])


def test_listed_features_are_taken_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y,z,kind\n1,2,3,a\n4,5,6,a\n7,8,9,b\n1,1,2,b\n")
    table = read_table(path, ["z", "x"], ["kind"], predicts_class=True)
    assert table.features[0] == approx([3, 1])


def test_several_columns_can_be_wanted_by_value(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,u,v\n1,2,3\n4,5,6\n")
    table = read_table(path, None, ["v", "u"], predicts_class=False)
    assert table.names == ("x",)
    assert table.values == approx(np.array([[3, 2], [6, 5]]))
    assert table.labels is None


def test_a_class_stands_in_one_column(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,u,v\n1,2,3\n")
    with pytest.raises(FileError, match="a class stands in one column, not in 2"):
        read_table(path, None, ["u", "v"], predicts_class=True)
