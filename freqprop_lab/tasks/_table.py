"""Tables of examples: a CSV file with a header, or one that ships with the package."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from freqprop_lab.config import FileError, read_text
from freqprop_lab.names import nearest, shown
from freqprop_lab.values import Array

_MOST_COLUMNS = 4096
_IRIS_FEATURES = ("sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm")


@dataclass(frozen=True)
class Table:
    """Examples as they stand in the file: features (example, feature), and per example a class or wanted values.

    names: of the features. labels: (example,) numbers into `classes`; values: (example, target). One of the two is
    None. lines: where each example stands.
    """

    path: Path
    names: tuple[str, ...]
    features: Array
    classes: tuple[str, ...] = ()
    labels: np.ndarray[tuple[int], np.dtype[np.intp]] | None = None
    values: Array | None = None
    targets: tuple[str, ...] = ()


def iris() -> Table:
    """Return Fisher's irises, from the file in the package."""
    path = Path(str(files("freqprop_lab") / "data" / "iris.csv"))
    return read_table(path, _IRIS_FEATURES, ["species"], predicts_class=True)


def xor() -> Table:
    """Return the four points of exclusive or."""
    points = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return Table(Path("xor"), ("x1", "x2"), points, ("0", "1"), np.array([0, 1, 1, 0], dtype=np.intp))


def read_table(path: Path, features: Sequence[str] | None, targets: Sequence[str], *, predicts_class: bool) -> Table:
    """Read a CSV table. features: columns to use, all but the targets if None.

    Raises FileError with the line and column of what is missing, not a number, or not finite.
    """
    header, rows, lines = read_rows(path)
    for column in (*targets, *(features or ())):
        if column not in header:
            raise FileError(path, f'no column "{column}".{nearest(column, header)} There are: {shown(header)}', 1)
    used = tuple(features) if features else tuple(name for name in header if name not in targets)
    if not used or set(used) & set(targets):
        raise FileError(path, "the features must be other columns than the target, at least one", 1)
    values = numbers(path, header, rows, lines, used)
    if not predicts_class:
        return Table(path, used, values, values=numbers(path, header, rows, lines, targets), targets=tuple(targets))
    if len(targets) != 1:
        raise FileError(path, f"a class stands in one column, not in {len(targets)}", 1)
    place = header.index(targets[0])
    named = [row[place].strip() for row in rows]
    if "" in named:
        raise FileError(path, f'column "{targets[0]}" is empty: every example needs its class', lines[named.index("")])
    classes = tuple(sorted(set(named)))
    if len(classes) < 2:
        raise FileError(
            path, f'column "{targets[0]}" holds one class only, "{classes[0]}"; there is nothing to learn', 1
        )
    if len(classes) > len(rows) / 2:
        raise FileError(
            path,
            f'column "{targets[0]}" holds {len(classes)} classes in {len(rows)} rows; is it one to predict by value?',
            1,
        )
    number = {name: i for i, name in enumerate(classes)}
    return Table(
        path, used, values, classes, np.array([number[name] for name in named], dtype=np.intp), None, tuple(targets)
    )


def read_rows(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Return header, rows and the line of each row. Raises FileError."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True, skipinitialspace=True)
    rows, lines = [], []
    try:
        header = [name.strip() for name in next(reader)]
        _check_header(path, header)
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                message = f"has {len(row)} fields, the header has {len(header)}"
                raise FileError(path, message, reader.line_num)
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise FileError(path, f"is not a valid CSV table: {error}", reader.line_num) from None
    if not rows:
        raise FileError(path, "has a header and no rows", 1)
    return header, rows, lines


def numbers(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int], columns: Sequence[str]
) -> Array:
    """Turn columns into numbers, (row, column). Raises FileError for what is none, or not finite."""
    places = [header.index(column) for column in columns]
    result = np.empty((len(rows), len(places)))
    for i, row in enumerate(rows):
        for j, place in enumerate(places):
            try:
                result[i, j] = float(row[place])
            except ValueError:
                message = f'column "{columns[j]}" holds "{row[place][:40]}", which is not a number'
                raise FileError(path, message, lines[i]) from None
            if not np.isfinite(result[i, j]):
                raise FileError(path, f'column "{columns[j]}" holds "{row[place]}", which is not finite', lines[i])
    return result


def _check_header(path: Path, header: Sequence[str]) -> None:
    if len(header) > _MOST_COLUMNS:
        raise FileError(path, f"has {len(header)} columns; at most {_MOST_COLUMNS} are read", 1)
    for name in header:
        if not name:
            raise FileError(path, "a column of the header has no name", 1)
        if header.count(name) > 1:
            raise FileError(path, f'two columns are named "{name[:60]}"', 1)
    if all(_is_number(name) for name in header):
        raise FileError(path, "the first line holds numbers; it must name the columns", 1)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
