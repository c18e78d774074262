"""Records that somebody took with whatever there was: CSV files and NumPy arrays, read as data.

A file that could be read in two ways is refused, with its line: a column of times without a name, a decimal comma among
commas, a row left out. Empty cells and NaN are samples that did not arrive.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from freqprop_lab.config import FileError, quote_hint, read_text
from freqprop_lab.names import cut, nearest, shown
from freqprop_lab.values import Array

_LARGEST = 400_000_000  # bytes
_MAGIC = b"\x93NUMPY"
_FEWEST_SAMPLES = 4
_LARGEST_VOLTS = 1e9  # instruments write 9.9e37 for an overload
_UNEVEN = 0.25  # of a step; a lost row is a whole one
_ROUNDED = 0.01  # of a step: what a time may be off by rounding where a round sample rate is looked for
_VOLTS = re.compile(r"(.+?)\s*(?:[(\[/]\s*|_)([munµμ]?)V(?:olts?)?\s*[)\]]?")
_SECONDS = re.compile(r"(t|time)(?:\s*[(\[/]\s*|_|\s+)([munpµμ]?)s(?:ec|econds?)?\s*[)\]]?|(t|time)", re.IGNORECASE)
_PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9, "p": 1e-12}
_LEADING_ZERO = re.compile(r"[+-]?0\d+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
NO_TIME = "none"


@dataclass(frozen=True)
class Recorded:
    """volts: V, (channel, sample), NaN where missing. sample_rate: Hz. began: s, time of the first sample.

    empty: names of columns without a single number, which are left out.
    """

    volts: Array
    names: tuple[str, ...]
    sample_rate: float
    began: float = 0.0
    empty: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Table:
    """Cells of a file as numbers, (row, column), NaN where empty; the line of each row."""

    path: Path
    names: list[str]
    numbers: Array
    lines: Sequence[int]
    has_header: bool

    def column(self, name: str, option: str) -> int:
        """Return the place of a column, by its name, with or without unit, or by its number from 1."""
        bare = [_without_unit(known) for known in self.names]
        for known in (self.names, bare):
            if name in known:
                return known.index(name)
        if name.isdecimal() and 1 <= int(name) <= len(self.names):
            return int(name) - 1
        raise FileError(
            self.path, f'{option}: no column "{cut(name)}".{nearest(name, bare)} There are: {shown(bare)}', self._head
        )

    @property
    def _head(self) -> int | None:
        return max(1, self.lines[0] - 1) if self.has_header else None


def read_recorded(
    path: Path, *, sample_rate: float | None, time: str | None = None, channels: Sequence[str] = (), skip: int = 0
) -> Recorded:
    """Read a record from a CSV file (a column a channel) or an array (.npy: (channel, sample) or (sample,)).

    sample_rate: Hz; None to take it from the column of times: `time`, or one that is called t or time; NO_TIME for
    none. channels: columns to read, by name or number from 1; all but the times if empty. skip: lines to leave out.
    Raises FileError with line and column.
    """
    if _is_array(path):
        if time not in {None, NO_TIME}:
            raise FileError(
                path, "holds an array, which has no column of times; give the sample rate instead of --time"
            )
        return _of_array(path, sample_rate, channels)
    table = _read_table(path, skip)
    place = _time_column(table, time)
    if place is not None and len(table.names) == 1:
        raise FileError(path, "holds times only; a column of volts for each channel is wanted", table.lines[0])
    rate, began = sample_rate, 0.0
    if place is not None and time != NO_TIME:
        rate, began = _timing(table, place, sample_rate)
    if rate is None:
        raise FileError(
            path, "has no column called t or time; give --sample-rate 48kHz, or say which it is: --time COLUMN"
        )
    chosen = [table.column(name, "--channels") for name in channels]
    if not chosen:
        chosen = [number for number in range(len(table.names)) if number != place]
        _refuse_hidden_time(table, chosen)
    if len(set(chosen)) < len(chosen):
        raise FileError(path, f"--channels names a column twice: {shown(list(channels))}")
    names = tuple(_without_unit(table.names[number]) for number in chosen)
    scales = np.array([_volts_of(table.names[number]) if table.has_header else 1.0 for number in chosen])
    volts = np.ascontiguousarray((table.numbers[:, chosen] * scales).T)
    _refuse_no_voltage(table, chosen)
    return _without_empty(path, Recorded(volts, names, rate, began))


def _is_array(path: Path) -> bool:
    if not path.is_file():
        return False  # the reader of text says what it is
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC or path.suffix.lower() == ".npy"
    except OSError:
        return False


def _of_array(path: Path, sample_rate: float | None, channels: Sequence[str]) -> Recorded:
    try:
        came = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError, OverflowError, SyntaxError, TypeError) as error:
        raise FileError(path, f"is not a NumPy array that can be read as data: {cut(str(error))}") from None
    if not isinstance(came, np.ndarray) or came.dtype.kind not in "fiu":
        kind = came.dtype if isinstance(came, np.ndarray) else "several arrays"
        raise FileError(path, f"holds {kind}; one array of real numbers, in volts, is wanted")
    if came.ndim not in {1, 2} or 0 in came.shape:
        raise FileError(path, f"holds an array of the shape {came.shape}; (channel, sample) or (sample,) is wanted")
    volts = np.atleast_2d(came).astype(np.float64)
    n_channels, n_samples = volts.shape
    if n_channels > n_samples:
        raise FileError(
            path,
            f"holds {n_channels} channels of {n_samples} samples: it looks transposed. A row for each channel is "
            "wanted, (channel, sample); save array.T",
        )
    if sample_rate is None:
        raise FileError(path, "an array says nothing of its sample rate; give it, such as --sample-rate 48kHz")
    bad = np.argwhere(np.abs(volts) > _LARGEST_VOLTS)
    if len(bad):
        channel, sample = (int(i) for i in bad[0])
        raise FileError(
            path,
            f"channel {channel + 1}, sample {sample}: {volts[channel, sample]:g} is no voltage; NaN marks a sample "
            "that is missing",
        )
    names = tuple(str(number + 1) for number in range(n_channels))
    for name in channels:
        if name not in names:
            raise FileError(path, f'--channels: no channel "{cut(name)}"; they have the numbers 1 to {n_channels}')
    chosen = [names.index(name) for name in channels] or list(range(n_channels))
    if len(set(chosen)) < len(chosen):
        raise FileError(path, f"--channels names a channel twice: {shown(list(channels))}")
    return _without_empty(path, Recorded(volts[chosen], tuple(names[i] for i in chosen), sample_rate))


def _without_empty(path: Path, recorded: Recorded) -> Recorded:
    n_samples = recorded.volts.shape[1]
    if n_samples < _FEWEST_SAMPLES:
        raise FileError(path, f"holds {n_samples} samples a channel; a fit of a and b needs many more")
    there = np.isfinite(recorded.volts).any(axis=1)
    if not there.any():
        raise FileError(path, "holds no number in any channel; all samples are missing")
    kept, dropped = (tuple(np.array(recorded.names, dtype=object)[which]) for which in (there, ~there))
    return replace(recorded, volts=recorded.volts[there], names=kept, empty=dropped)


def _read_table(path: Path, skip: int) -> _Table:
    rows, lines, delimiter = _rows(path, skip)
    names = _header(rows[0])
    has_header = names is not None
    head = lines[0]
    if names is None:
        names = [str(number + 1) for number in range(len(rows[0]))]
    else:
        rows, lines = rows[1:], lines[1:]
        if not rows:
            raise FileError(path, "has a header and no rows", head)
    width = len(rows[0])
    if has_header and len(names) == width + 1 and not names[-1]:
        names = names[:-1]  # a separator at the end of the header alone
    if len(names) != width:
        hint = (
            " Are its decimal points commas? Write points, or separate the cells by semicolons"
            if delimiter == ","
            else ""
        )
        raise FileError(path, f"this row has {width} cells, the header has {len(names)}.{hint}", lines[0])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != width:
            raise FileError(path, f"this row has {len(row)} cells, the first one has {width}", line)
    names = [name or str(number + 1) for number, name in enumerate(names)]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise FileError(path, f'{count} columns are named "{cut(name)}"; give each its own name', head)
    numbers = _numbers(path, names, rows, lines, delimiter)
    if width > 1 and not any(row[-1].strip() for row in rows) and names[-1] == str(width):
        names, numbers = names[:-1], numbers[:, :-1]  # every line ends in a separator
    return _Table(path, names, numbers, lines, has_header)


def _rows(path: Path, skip: int) -> tuple[list[list[str]], list[int], str | None]:
    """Return the cells of each row, its line, and what separates them; None for blanks."""
    text = read_text(path, _LARGEST).split("\n")
    while text and not text[-1].strip():
        text.pop()
    kept: list[tuple[int, str]] = []
    comment: tuple[int, str] | None = None
    for line, words in enumerate(text[skip:], skip + 1):
        if words.lstrip().startswith("#"):
            if not kept:
                comment = line, words.lstrip().lstrip("#")
        elif words.strip() or kept:
            kept.append((line, words.rstrip("\r")))
    if not kept:
        raise FileError(path, f"holds nothing after the first {skip} lines" if skip else "holds only empty lines")
    for line, words in kept:
        if not words.strip():
            raise FileError(path, "this line is empty; a sample that is missing is written nan", line)
    usual = kept[len(kept) // 2][1]  # the last one may have been cut off
    delimiter = next((mark for mark in ";\t," if mark in usual), None)
    cells = _cells(path, kept, delimiter)
    # NumPy writes its header as a comment.
    if comment is not None and _header(cells[0]) is None:
        named = _cells(path, [comment], delimiter)[0]
        if len(named) == len(cells[0]) and _header(named) is not None:
            return [named, *cells], [comment[0], *(line for line, _ in kept)], delimiter
    return cells, [line for line, _ in kept], delimiter


def _cells(path: Path, kept: Sequence[tuple[int, str]], delimiter: str | None) -> list[list[str]]:
    if delimiter is None:
        single = len(kept[len(kept) // 2][1].split()) == 1
        return [[words.strip()] if single else words.split() for _, words in kept]
    reader = csv.reader((words for _, words in kept), delimiter=delimiter, strict=True, skipinitialspace=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if reader.line_num != len(rows) + 1:
                raise csv.Error("a quoted cell runs over several lines")
            rows.append([cell.strip() for cell in row])
    except csv.Error as error:
        line = kept[min(len(rows), len(kept) - 1)][0]
        raise FileError(path, f"is not a valid CSV table: {error}{quote_hint(error)}", line) from None
    return rows


def _header(row: Sequence[str]) -> list[str] | None:
    """Return the names that a first row holds, or None where it is the first sample. 0, 1, 2, ... are pandas' names."""
    named = row[1:] if len(row) > 1 and not row[0] else row
    counted = [[str(start + i) for i in range(len(named))] for start in (0, 1)]
    if list(named) in counted and (len(named) > 1 or len(row) > 1):
        return list(row)
    if all(not cell or _is_number(cell) or _DECIMAL_COMMA.fullmatch(cell) for cell in row):
        return None
    return list(row)


def _numbers(
    path: Path, names: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int], delimiter: str | None
) -> Array:
    """Turn cells into numbers, NaN where they are empty. Raises FileError for what is none."""
    numbers = np.empty((len(rows), len(names)))
    written: dict[str, int] = {}  # "," or ".": line where it was first a decimal point
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            if not cell:
                numbers[i, j] = np.nan
                continue
            plain = cell
            if "," in cell and _DECIMAL_COMMA.fullmatch(cell):
                written.setdefault(",", lines[i])
                plain = cell.replace(",", ".")
            elif "." in cell:
                written.setdefault(".", lines[i])
            try:
                numbers[i, j] = float(plain) if "_" not in plain else _no_number(plain)
            except ValueError:
                if i == 0:
                    hint = "; leave lines at the top out with --skip"
                else:
                    hint = "; a sample that is missing is left empty, or written nan"
                raise FileError(
                    path, f'column "{cut(names[j])}" holds "{cut(cell)}", which is not a number{hint}', lines[i]
                ) from None
            if delimiter == "," and cell[0] in "+-0" and _LEADING_ZERO.fullmatch(cell):
                raise FileError(
                    path,
                    f'column "{cut(names[j])}" holds "{cut(cell)}": is this what follows a decimal comma? Write '
                    "points, or separate the cells by semicolons",
                    lines[i],
                )
    if len(written) > 1:
        raise FileError(
            path,
            "decimal commas here, decimal points elsewhere, so neither is sure; write points throughout",
            written[","],
        )
    return numbers


def _no_number(text: str) -> float:
    raise ValueError(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _without_unit(name: str) -> str:
    found = _VOLTS.fullmatch(name)
    return found[1] if found else name


def _volts_of(name: str) -> float:
    """Return how many volts the unit of a column is, as its name says it: "n1 (mV)"."""
    found = _VOLTS.fullmatch(name)
    return _PREFIXES[found[2]] if found else 1.0


def _time_column(table: _Table, time: str | None) -> int | None:
    """Return which column holds the times, if any; with NO_TIME the one that is neither times nor a channel."""
    if time is not None and (time != NO_TIME or time in table.names):
        return table.column(time, "--time")
    if not table.has_header:
        return None
    return next((number for number, name in enumerate(table.names) if _SECONDS.fullmatch(name)), None)


def _timing(table: _Table, place: int, sample_rate: float | None) -> tuple[float, float]:
    """Return the sample rate that times tell, Hz, or the one given, if they agree; and when the first sample was, s."""
    found = _SECONDS.fullmatch(table.names[place])
    times = table.numbers[:, place] * _PREFIXES[(found[2] or "") if found else ""]
    path, name = table.path, cut(table.names[place])
    if len(times) < _FEWEST_SAMPLES:
        raise FileError(path, f"holds {len(times)} samples a channel; a fit of a and b needs many more")
    for row in np.flatnonzero(~np.isfinite(times))[:1]:
        raise FileError(
            path, f'column "{name}" has no time here; give --sample-rate with --time none', table.lines[row]
        )
    steps = np.diff(times)
    step = float(np.median(steps))
    if step <= 0:
        row = int(np.argmax(steps <= 0)) + 1
        raise FileError(path, f'column "{name}": these times do not rise; is it the column of times?', table.lines[row])
    number = np.arange(len(times))
    slope, start = np.polynomial.polynomial.polyfit(number - number.mean(), times - times[0], 1)[::-1]
    off = np.abs(times - times[0] - start - slope * (number - number.mean()))
    uneven = np.flatnonzero((np.abs(steps - step) > _UNEVEN * step) | (off[1:] > 0.5 * step))
    if len(uneven):
        row = int(uneven[0])
        raise FileError(
            path,
            f'column "{name}" goes on by {steps[row]:.4g} s here, by {step:.4g} s elsewhere; samples must be evenly '
            "spaced. Put in the missing rows with empty cells, or give --sample-rate with --time none",
            table.lines[row + 1],
        )
    rate = _roundest(1 / slope, min(float(off.max()) + 1e-15 * abs(times[-1]), _ROUNDED * step) / (slope * len(times)))
    if sample_rate is None:
        return rate, float(times[0])
    if abs(rate / sample_rate - 1) * len(times) > 1:
        raise FileError(
            path,
            f'column "{name}" tells {rate:.9g} samples a second, --sample-rate {sample_rate:.9g}: over this record '
            "they part by more than a sample. Leave one of the two out (--time none)",
            table.lines[0],
        )
    return sample_rate, float(times[0])


def _roundest(value: float, tolerance: float) -> float:
    """Return the number with the fewest digits within a relative tolerance."""
    for digits in range(17):
        rounded = float(f"{value:.{digits}e}")
        if abs(rounded - value) <= tolerance * value:
            return rounded
    return value


def _refuse_hidden_time(table: _Table, chosen: Sequence[int]) -> None:
    """Raise FileError where a column counts or tells the time without being called so."""
    for number in chosen:
        steps = np.diff(table.numbers[:, number])
        if len(steps) < _FEWEST_SAMPLES or not (steps > 0).all():
            continue
        if np.ptp(steps) <= 2 * _ROUNDED * float(np.median(steps)):
            name = cut(table.names[number])
            raise FileError(
                table.path,
                f'column "{name}" rises evenly, so it is no channel: say --time {name} if it holds seconds, or choose '
                "the columns to read with --channels",
                table.lines[0],
            )


def _refuse_no_voltage(table: _Table, chosen: Sequence[int]) -> None:
    wrong = np.argwhere(np.abs(table.numbers[:, chosen]) > _LARGEST_VOLTS)
    if len(wrong):
        row, column = (int(i) for i in wrong[0])
        said, name = table.numbers[row, chosen[column]], cut(table.names[chosen[column]])
        raise FileError(
            table.path,
            f'column "{name}" holds {said:g}, which is no voltage; leave the cell of a missing sample empty',
            table.lines[row],
        )
