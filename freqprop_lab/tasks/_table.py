"""Tables of examples: a CSV file with a header, or one that ships with the package."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from freqprop_lab.config import FileError, quote_hint, read_text
from freqprop_lab.names import cut, nearest, shown
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
            message = f'no column "{cut(column)}".{nearest(column, header)} There are: {shown(header)}'
            raise FileError(path, message, 1)
    used = tuple(features) if features is not None else tuple(name for name in header if name not in targets)
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
    counts = Counter(named)
    classes = tuple(sorted(counts))
    if len(classes) < 2:
        message = f'column "{targets[0]}" holds one class only, "{cut(classes[0])}"; there is nothing to learn'
        raise FileError(path, message, lines[0])
    if len(classes) > len(rows) / 2:
        message = f'column "{targets[0]}" holds {len(classes)} classes in {len(rows)} rows; is predict: value meant?'
        raise FileError(path, message, lines[0])
    number = {name: i for i, name in enumerate(classes)}
    return Table(
        path, used, values, classes, np.array([number[name] for name in named], dtype=np.intp), None, tuple(targets)
    )


def read_rows(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Return header, rows and the line of each row. Raises FileError."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True, skipinitialspace=True)
    rows, lines = [], []
    first = 1  # line where the row begins: a quoted cell may run over several
    try:
        header = [name.strip() for name in next(reader)]
        while not any(header):
            first = reader.line_num + 1
            header = [name.strip() for name in next(reader)]
        _check_header(path, header, first)
        first = reader.line_num + 1
        for row in reader:
            if any(cell.strip() for cell in row):
                if len(row) != len(header):
                    message = f"this row has {len(row)} fields, the header has {len(header)}"
                    raise FileError(path, message, first)
                rows.append(row)
                lines.append(first)
            first = reader.line_num + 1
    except csv.Error as error:
        raise FileError(path, f"is not a valid CSV table: {error}{quote_hint(error)}", first) from None
    except StopIteration:
        raise FileError(path, "holds only empty rows", 1) from None
    if not rows:
        raise FileError(path, "has a header and no rows", first - 1)
    return header, rows, lines


def numbers(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int], columns: Sequence[str]
) -> Array:
    """Turn columns into numbers, (row, column). Raises FileError for what is none, or not finite."""
    places = [header.index(column) for column in columns]
    result = np.empty((len(rows), len(places)))
    for i, row in enumerate(rows):
        for j, place in enumerate(places):
            result[i, j] = number = _number(row[place])
            if not np.isfinite(number):
                said = cut(row[place])
                if not said.strip():
                    problem = "is empty; a number is wanted"
                elif _is_number(row[place]):
                    problem = f'holds "{said}", which is not finite'
                else:
                    problem = f'holds "{said}", which is not a number'
                raise FileError(path, f'column "{cut(columns[j])}" {problem}', lines[i])
    return result


def _number(text: str) -> float:
    """Read a number as tables write it; NaN where it is none. 1_000 is Python's spelling, not a table's."""
    try:
        return float(text) if "_" not in text else np.nan
    except ValueError:
        return np.nan


def _check_header(path: Path, header: Sequence[str], line: int) -> None:
    if len(header) > _MOST_COLUMNS:
        raise FileError(path, f"has {len(header)} columns; at most {_MOST_COLUMNS} are read", line)
    if len(header) == 1 and ";" in header[0]:
        raise FileError(path, "its columns are separated by semicolons; separate them by commas", line)
    name, count = Counter(header).most_common(1)[0]
    if "" in header:
        raise FileError(path, f"column {header.index('') + 1} of the header has no name", line)
    if count > 1:
        raise FileError(path, f'{count} columns are named "{cut(name)}"; give each its own name', line)
    if all(_is_number(name) for name in header):
        raise FileError(path, "the first line holds numbers; it must name the columns", line)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
