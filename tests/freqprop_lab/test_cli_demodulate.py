"""`freqprop demodulate`: anybody's files, and what it says of them. Data are made by formula here."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freqprop_lab.report import scale_of

Call = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
RATE, FREQUENCY, DELAY = 48e3, 1e3, 0.13e-3
TIME = np.arange(960) / RATE  # 20 periods
NUDGED = ("--frequency", "1kHz", "--waveform", "two-tone")
FREE = (*NUDGED, "--unsynchronised")
SINE = ("--frequency", "1kHz", "--waveform", "sine", "--sample-rate", "48kHz", "--json")


def two_tone(phase: np.ndarray) -> np.ndarray:
    """sin x + 0.65 sin 2x over its peak, which a fine grid tells to 1e-9."""
    x = 2 * np.pi * phase
    grid = np.linspace(0, 2 * np.pi, 400_001)
    return (np.sin(x) + 0.65 * np.sin(2 * x)) / (np.sin(grid) + 0.65 * np.sin(2 * grid)).max()


def volts(noise: float = 1e-3, seed: int = 3, frequency: float = FREQUENCY) -> np.ndarray:
    """Two channels: a = 1 and -0.5 V, b = 20 and -8 mV, one delay."""
    f = two_tone(frequency * (TIME + DELAY))
    clean = np.array([1 + 0.02 * f, -0.5 - 0.008 * f])
    return clean + noise * np.random.default_rng(seed).normal(size=clean.shape)


def write_csv(
    rows: Iterable[Iterable[float]], header: str | None = "n1,n2", separator: str = ",", *, comma: bool = False
) -> None:
    lines = [separator.join(f"{value:.9g}" for value in row) for row in rows]
    text = "\n".join([*([header] if header else []), *(line.replace(".", ",") if comma else line for line in lines)])
    Path("record.csv").write_text(text + "\n")


@pytest.fixture
def freqprop(freqprop: Call) -> Call:
    """Run `freqprop demodulate` in an empty folder: exit status, standard output, standard error."""
    return partial(freqprop, "demodulate")


def channels(freqprop: Call, *arguments: str) -> list[dict[str, Any]]:
    status, out, err = freqprop(*arguments, "--json")
    assert (status, err) == (0, ""), err
    return list(json.loads(out)["channels"])


def is_right(found: list[dict[str, Any]]) -> bool:
    """a and b within five of their own standard errors."""
    truth = ((1, 0.02), (-0.5, -0.008))
    return all(
        abs(channel[name] - value) < 5 * channel[f"{name}_stderr"]
        for channel, pair in zip(found, truth, strict=True)
        for name, value in zip("ab", pair, strict=True)
    )


def test_the_object_has_si_numbers_words_for_flags_and_null_for_what_is_not_known(freqprop: Call) -> None:
    write_csv(volts().T)
    status, out, err = freqprop("record.csv", "--sample-rate", "48kHz", *FREE, "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert (told["sample_rate"], told["frequency"], told["waveform"]) == (48000, 1000, "two-tone")
    assert [channel["name"] for channel in told["channels"]] == ["n1", "n2"]
    for channel in told["channels"]:
        assert set(channel) == {
            *("name", "a", "b", "a_stderr", "b_stderr", "delay", "delay_stderr", "sign_confidence", "noise", "flags")
        }
        assert channel["delay"] == pytest.approx(DELAY, abs=5 * channel["delay_stderr"])
        assert channel["noise"] == pytest.approx(1e-3, rel=0.1)
        assert channel["sign_confidence"] > 0.99
        assert channel["flags"] == []
    assert is_right(told["channels"])
    assert not list(Path().glob("*.png"))
    known = channels(freqprop, "record.csv", "--sample-rate", "48kHz", *NUDGED, "--delays", "130us")
    assert known[0]["delay"] is None
    assert is_right(known)


def test_four_samples_a_period_by_hand(freqprop: Call) -> None:
    # f = 0, 1, 0, -1 twice; a = 8 / 4, b = (1.5 - 2.5) / 2, every period alike, residual 0.1, 0, -0.1, 0
    Path("record.csv").write_text("2.1\n1.5\n1.9\n2.5\n" * 2)
    arguments = ("--sample-rate", "4kHz", "--frequency", "1kHz", "--waveform", "sine")
    found = channels(freqprop, "record.csv", *arguments)[0]
    assert (found["name"], found["a"], found["b"]) == ("1", pytest.approx(2.0), pytest.approx(-0.5))
    # sigma^2 = 0.04 / (8 - 2); sum of f^2 = 4, and the mean of f is 0
    assert found["a_stderr"] == pytest.approx(np.sqrt(0.04 / 6 / 8))
    assert found["b_stderr"] == pytest.approx(np.sqrt(0.04 / 6 / 4))


@pytest.mark.parametrize(
    ("header", "separator", "comma"),
    [
        ("n1,n2", ",", False),
        (None, ",", False),
        ("n1;n2", ";", False),
        ("n1;n2", ";", True),
        ("n1\tn2", "\t", True),
        (None, " ", False),
        ("# n1 n2", " ", False),
        ("# taken on a Friday\n# n1,n2", ",", False),
        ("n1 (V),n2 [V]", ",", False),
        ("\ufeffn1,n2", ",", False),
        ('"n1","n2"', ",", False),
        ("0,1", ",", False),
    ],
)
def test_csv_files_as_people_write_them(freqprop: Call, header: str | None, separator: str, comma: bool) -> None:
    write_csv(volts().T, header, separator, comma=comma)
    found = channels(freqprop, "record.csv", "--sample-rate", "48kHz", *FREE)
    assert is_right(found)
    expected = {None: ["1", "2"], "0,1": ["0", "1"]}.get(header, ["n1", "n2"])
    assert [channel["name"] for channel in found] == expected


@pytest.mark.parametrize(
    ("header", "scale", "arguments"),
    [
        ("t,n1,n2", 1, ()),
        ("Time (ms),n1,n2", 1e3, ()),
        ("t/us,n1,n2", 1e6, ()),
        ("seconds,n1,n2", 1, ("--time", "seconds")),
        (None, 1, ("--time", "1")),
        ("t,n1,n2", 7, ("--time", "none", "--sample-rate", "48kHz")),
    ],
)
def test_the_sample_rate_is_taken_from_a_column_of_times(
    freqprop: Call, header: str | None, scale: float, arguments: tuple[str, ...]
) -> None:
    write_csv(np.column_stack([TIME * scale, *volts()]), header)
    status, out, err = freqprop("record.csv", *FREE, *arguments, "--json")
    assert status == 0, err
    assert json.loads(out)["sample_rate"] == pytest.approx(48000, rel=1e-9)
    assert is_right(json.loads(out)["channels"])


def test_phase_zero_is_at_time_zero(freqprop: Call) -> None:
    # Before the trigger too: sampled from -2.13 ms on, so that the record begins at phase -2.13.
    time = TIME - 2.13e-3
    write_csv(np.column_stack([time, 3 + 0.1 * two_tone(FREQUENCY * time)]), "t,n1")
    found = channels(freqprop, "record.csv", *NUDGED)[0]
    assert (found["a"], found["b"]) == (pytest.approx(3, abs=1e-7), pytest.approx(0.1, abs=1e-7))
    free = channels(freqprop, "record.csv", *FREE)[0]
    assert (free["delay"] + 0.5e-3) % 1e-3 - 0.5e-3 == pytest.approx(0, abs=1e-9)


def test_millivolts_are_read_as_such(freqprop: Call) -> None:
    write_csv(1e3 * volts().T, "n1 (mV),n2_mV")
    assert is_right(channels(freqprop, "record.csv", "--sample-rate", "48kHz", *FREE))


def test_empty_cells_are_missing_samples_and_the_rest_stays_in_its_place(freqprop: Call) -> None:
    rows = [[f"{value:.9g}" for value in row] for row in volts().T]
    for place in range(100, 150):
        rows[place][0] = "" if place % 2 else "nan"
    text = "n1,n2,n3,\n" + "".join(",".join([*row, "", ""]) + "\n" for row in rows)
    Path("record.csv").write_text(text)
    status, out, err = freqprop("record.csv", "--sample-rate", "48kHz", *FREE, "--no-plot")
    assert status == 0
    assert "n3" in err
    assert "50 samples are left out" in out
    found = json.loads(freqprop("record.csv", "--sample-rate", "48kHz", *FREE, "--json")[1])["channels"]
    assert is_right(found)
    assert [channel["flags"] for channel in found] == [["missing"], []]


def test_arrays_of_one_and_two_dimensions(freqprop: Call) -> None:
    np.save("two.npy", volts())
    assert is_right(channels(freqprop, "two.npy", "--sample-rate", "48kHz", *FREE))
    np.save("one.npy", volts()[0].astype(np.float32))
    assert channels(freqprop, "one.npy", "--sample-rate", "48000", *FREE)[0]["a"] == pytest.approx(1, abs=2e-4)


def test_columns_are_chosen_by_name_and_number(freqprop: Call) -> None:
    write_csv(np.column_stack([np.arange(960), *volts()]), "no,n1,n2")
    for chosen in ("n2", "3"):
        found = channels(freqprop, "record.csv", "--sample-rate", "48kHz", *FREE, "--channels", chosen)
        assert [channel["name"] for channel in found] == ["n2"]
        assert found[0]["a"] == pytest.approx(-0.5, abs=2e-4)


def test_the_other_parts_of_the_model(freqprop: Call) -> None:
    base = ("record.npy", "--sample-rate", "48kHz")
    mains = 0.05 * np.sin(2 * np.pi * 150.3 * TIME + 1)
    for disturbed, arguments in (
        (volts() + mains, ("--hum", "150Hz", "--hum-harmonics", "1")),
        (volts() + 0.03 * np.linspace(-1, 1, 960), ("--drift", "1")),
        (volts() + np.where(np.arange(960) % 97 == 5, 0.2, 0), ("--robust",)),
        (volts(), ("--shared-delay",)),
        (volts() + 0.004 * (two_tone(FREQUENCY * (TIME + DELAY)) ** 2), ("--second-order",)),
        (volts(frequency=1002.0), ("--fit-frequency",)),
    ):
        np.save("record.npy", disturbed)
        assert is_right(channels(freqprop, *base, *FREE, *arguments)), arguments
    told = json.loads(freqprop(*base, *FREE, "--fit-frequency", "--json")[1])
    # Its standard error, b / noise = 20 over 960 samples in 20 ms, is below sqrt(6 / 960) / (pi 0.02 s 20) = 0.06 Hz.
    assert told["frequency"] == pytest.approx(1002, abs=0.3)
    out = freqprop(*base, *FREE, "--no-plot")[1]
    assert "wrong frequency (1, 2): the phase drifts over the record" in out
    assert "--fit-frequency" in out


def test_skews_and_learned_delays(freqprop: Call) -> None:
    skews = np.array([0.0, 50e-6])
    f = two_tone(FREQUENCY * (TIME + skews[:, None] + DELAY))
    np.save("record.npy", np.array([[1.0], [-0.5]]) + np.array([[0.02], [-0.008]]) * f)
    base = ("record.npy", "--sample-rate", "48kHz", *NUDGED)
    found = channels(freqprop, *base, "--shared-delay", "--skews", "0s 50us")
    assert [channel["delay"] for channel in found] == pytest.approx([DELAY, DELAY], abs=1e-12)
    Path("learned.json").write_text(freqprop(*base, "--unsynchronised", "--json")[1])
    found = channels(freqprop, *base, "--delays", "learned.json")
    assert [channel["b"] for channel in found] == pytest.approx([0.02, -0.008], abs=1e-10)


def test_shapes_of_waveforms_and_methods(freqprop: Call) -> None:
    base = ("record.npy", "--sample-rate", "48kHz", "--frequency", "1kHz")
    # A pulse of a third of the period, 16 of 48 samples, which jumps half way between two of them.
    np.save("record.npy", 2 + 0.1 * np.where(np.arange(960) % 48 < 16, 1.0, -1.0))
    shape = ("--waveform", "pulse", "--duty", "0.3333333", "--delays", f"{0.5 / RATE}s")
    assert channels(freqprop, *base, *shape)[0]["b"] == pytest.approx(0.1)
    np.save("record.npy", 2 + 0.1 * np.abs(np.sin(np.pi * FREQUENCY * TIME)))
    read = channels(freqprop, *base, "--waveform", "abs-sine", "--unsynchronised", "--method", "kink")[0]
    assert (read["a"], read["b"]) == (pytest.approx(2), pytest.approx(0.1))
    assert read["b_stderr"] is None
    assert "±" not in freqprop(*base, "--waveform", "abs-sine", "--method", "kink", "--no-plot")[1]


def test_the_table_gives_value_and_error_to_the_same_place(freqprop: Call) -> None:
    write_csv(volts().T)
    status, out, err = freqprop("record.csv", "--sample-rate", "48kHz", *FREE)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("record.csv: 2 channels, 960 samples at 48000 Hz (20.0 ms); 20 periods of two-tone")
    assert re.split(r"\s{2,}", lines[1]) == ["channel", "a (V)", "b (mV)", "delay (µs)", "sign", "noise (mV)", "flags"]
    for line in lines[2:4]:
        for value, error in re.findall(r"(-?\d+\.?\d*) ± (\d+\.?\d*)", line):
            assert len(value.partition(".")[2]) == len(error.partition(".")[2])
            assert len(error.replace(".", "").lstrip("0")) == 2
    assert lines[-1] == "wrote fit.png"
    assert Path("fit.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("value", "error", "written"),
    [
        (0.0123456, 0.000123, "12.35 ± 0.12 mV"),
        (0.0123456, 0.0000996, "12.35 ± 0.10 mV"),
        (-0.5, 0.25, "-0.50 ± 0.25 V"),
        (0.00028, 0.00038, "0.28 ± 0.38 mV"),
        (0.9999, 0.0001, "0.99990 ± 0.00010 V"),
        (0.99999, 0.0001, "0.99999 ± 0.00010 V"),
        (0.02, float("nan"), "20 mV"),
        (0.0, 0.0, "0 ± 0 V"),
    ],
)
def test_value_and_error(value: float, error: float, written: str) -> None:
    scale = scale_of([value, 10 * error], "V")
    assert f"{scale.with_error(value, error)} {scale.unit}" == written


def test_an_ambiguous_sign_is_told_with_what_helps(freqprop: Call) -> None:
    np.save("record.npy", volts(noise=0.3))
    status, out, _ = freqprop("record.npy", "--sample-rate", "48kHz", *FREE, "--no-plot")
    assert status == 0
    assert "sign ambiguous (1, 2): the error of b covers both signs; take more periods" in out


def test_a_wrong_waveform_is_told_though_it_raises_no_flag(freqprop: Call) -> None:
    np.save("record.npy", volts())
    for waveform in ("sine", "two-tone"):  # the second is the right one, but not synchronised
        arguments = ("--sample-rate", "48kHz", "--frequency", "1kHz", "--waveform", waveform)
        status, out, err = freqprop("record.npy", *arguments, "--no-plot")
        assert (status, err) == (0, "")
        assert "note: the residual repeats with the nudge (1, 2;" in out
        assert "repeats" in freqprop("record.npy", *arguments, "--json")[2]
    assert "repeats" not in freqprop("record.npy", "--sample-rate", "48kHz", *FREE, "--no-plot")[1]


def test_a_right_fit_is_hardly_ever_doubted(freqprop: Call) -> None:
    np.save("record.npy", np.vstack([volts(seed=seed) for seed in range(100)]))
    status, out, _ = freqprop("record.npy", "--sample-rate", "48kHz", *FREE, "--no-plot")
    assert status == 0
    assert "repeats" not in out


def test_pictures_of_many_channels_long_records_gaps_and_spikes(freqprop: Call) -> None:
    record = np.tile(np.vstack([volts(seed=seed) for seed in range(5)]), 10)
    record[0, 100:3000] = np.nan
    record[1, ::500] += 1
    np.save("record.npy", record)
    parts = ("--hum", "150Hz", "--drift", "2", "--robust", "--range", "2.5V")
    status, out, err = freqprop("record.npy", "--sample-rate", "48kHz", *FREE, *parts, "--out", "fit.svg")
    assert status == 0, err
    drawn = Path("fit.svg").read_text()
    assert drawn.startswith("<?xml")
    assert out.splitlines()[-1] == "wrote fit.svg"


def test_without_matplotlib_the_table_is_still_printed(freqprop: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save("record.npy", volts())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = freqprop("record.npy", "--sample-rate", "48kHz", *FREE)
    assert status == 0
    assert out.count("±") == 6
    assert len(err.splitlines()) == 1
    assert 'pip install "freqprop-lab[report]"' in err


ROWS = "1.0,2.0\n1.1,2.1\n1.2,2.0\n1.1,2.1\n1.0,2.2\n"


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (f"n1,n2\n{ROWS}1.0,high\n", (), 'line 7: column "n2" holds "high", which is not a number'),
        (f"n1,n2\n{ROWS}1.0\n", (), "line 7: this row has 1 cells, the first one has 2"),
        (f"n1,n2\n{ROWS}1.0,1_000\n", (), 'line 7: column "n2" holds "1_000"'),
        (f"n1,n2\n{ROWS}1.0,inf\n", (), 'line 7: column "n2" holds inf, which is no voltage'),
        (f"n1,n2\n{ROWS}9.9e37,1\n", (), 'line 7: column "n1" holds 9.9e+37, which is no voltage'),
        (f"n1,n1\n{ROWS}", (), 'line 1: 2 columns are named "n1"'),
        (f"n1,n2,n3\n{ROWS}", (), "line 2: this row has 2 cells, the header has 3"),
        (
            "n1,n2\n1,05,2,17\n1,15,2,27\n",
            (),
            "line 2: this row has 4 cells, the header has 2. Are its decimal points commas?",
        ),
        ("1,05,2,17\n1,15,2,27\n" * 3, (), 'line 1: column "2" holds "05": is this what follows a decimal comma?'),
        ("n1;n2\n1,5;2.5\n1,6;2.6\n", (), "line 2: decimal commas here, decimal points elsewhere"),
        (f"n1,n2\n{ROWS}\n1.0,2.0\n", (), "line 7: this line is empty; a sample that is missing is written nan"),
        ("n1,n2\n", (), "line 1: has a header and no rows"),
        ("", (), "is empty"),
        ("1.0\n2.0\n", (), "holds 2 samples a channel"),
        ("n1\nnan\nnan\nnan\nnan\nnan\n", (), "holds no number in any channel"),
        ("Model,X100\n1.0,2.0\nn1,n2\n" + ROWS, (), 'line 3: column "Model" holds "n1"'),
        (f"n1,n2\n{ROWS}", ("--skip", "30"), "holds nothing after the first 30 lines"),
        (f"n1,n2\n{ROWS}", ("--channels", "n3"), 'line 1: --channels: no column "n3". Did you mean "n'),
        (f"n1,n2\n{ROWS}", ("--channels", "n1,n1"), "--channels names a column twice"),
        (f"n1,n2\n{ROWS}", ("--time", "tt"), 'line 1: --time: no column "tt"'),
        (
            "0,1.0\n1,1.1\n2,1.2\n3,1.3\n4,1.1\n5,1.2\n",
            (),
            'column "1" rises evenly, so it is no channel: say --time 1',
        ),
        ("t\n0\n1\n2\n3\n4\n", (), "holds times only"),
        (
            "t,n1\n0,1\n1e-3,1\n2e-3,1\n4e-3,1\n5e-3,1\n",
            ("--sample-rate", "1kHz"),
            'line 5: column "t" goes on by 0.002 s',
        ),
        ("t,n1\n0,1\n1e-3,1\n,1\n3e-3,1\n5e-3,1\n", (), 'line 4: column "t" has no time here'),
        ("t,n1\n5,1\n4,1\n3,1\n2,1\n1,1\n", (), 'line 3: column "t": these times do not rise'),
        ("t,n1\n0,1\n1,1\n2,1\n3,1\n4,1\n", (), 'line 2: column "t" tells 1 samples a second, --sample-rate 48000'),
        ('n1,n2\n1.0,"2.0\n1.0,2.0\n' * 3, (), "is not a valid CSV table"),
    ],
)
def test_wrong_csv_files_get_their_line_and_what_was_expected(
    freqprop: Call, text: str, arguments: tuple[str, ...], message: str
) -> None:
    Path("record.csv").write_text(text)
    status, out, err = freqprop("record.csv", *SINE, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("freqprop: record.csv")
    assert message in err


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((30, 2)), "holds 30 channels of 2 samples: it looks transposed"),
        (np.zeros((2, 3, 40)), "holds an array of the shape (2, 3, 40)"),
        (np.zeros((2, 40), dtype=complex), "holds complex128"),
        (np.array(["1.0"] * 8), "one array of real numbers"),
        (np.array([{}] * 8, dtype=object), "is not a NumPy array that can be read as data"),
        (np.full((1, 40), np.inf), "channel 1, sample 0: inf is no voltage"),
        (np.zeros(0), "holds an array of the shape (0,)"),
        (None, "is not a NumPy array that can be read as data"),
    ],
    ids=str,
)
def test_wrong_arrays(freqprop: Call, array: np.ndarray | None, message: str) -> None:
    if array is None:
        Path("record.npy").write_bytes(b"\x93NUMPY\x01\x00")
    else:
        np.save("record.npy", array, allow_pickle=True)
    status, out, err = freqprop("record.npy", *SINE)
    assert (status, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--frequency", "1kHz"), "Missing option '--waveform'"),
        (("--frequency", "1 kV", "--waveform", "sine"), '"1 kV" is not in Hz'),
        (("--frequency", "0Hz", "--waveform", "sine"), "must be above 0"),
        (("--frequency", "1kHz", "--waveform", "sine"), "an array says nothing of its sample rate"),
        ((*SINE, "--unsynchronised"), "Proposition 1"),
        ((*SINE, "--duty", "0.3"), "--duty is of the waveform pulse; this one is sine"),
        ((*SINE, "--delays", "1us 2us 3us"), "--delays: 3 came; one for all channels, or one for each of 2"),
        ((*SINE, "--delays", "soon"), "--delays"),
        ((*SINE, "--delays", "no.json"), "no.json: no such file"),
        ((*SINE, "--range", "5V 1V"), "the two ends are wanted"),
        ((*SINE, "--method", "projection", "--drift", "1"), "leave out --drift"),
        ((*SINE, "--frequency", "30kHz"), "above half the sample rate"),
        ((*SINE, "--out", "fit.gif"), "a picture ends in .png"),
        ((*SINE, "--out", "nowhere/fit.png"), "no such folder"),
        ((*SINE, "--out", "fit.png", "--no-plot"), "leave one out"),
        ((*SINE, "--time", "t"), "has no column of times"),
    ],
)
def test_wrong_use_ends_with_status_two_and_says_what_is_wanted(
    freqprop: Call, arguments: tuple[str, ...], message: str
) -> None:
    np.save("record.npy", volts())
    status, out, err = freqprop("record.npy", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert not list(Path().glob("*.png"))


def test_what_the_lock_in_refuses_is_told_by_the_name_of_the_channel(freqprop: Call) -> None:
    record = volts()
    record[1, 3:] = np.nan
    write_csv(record.T)
    status, _, err = freqprop("record.csv", "--sample-rate", "48kHz", *FREE, "--no-plot")
    assert status == 2
    assert 'channel "n2" has 3 samples left' in err


def test_the_example_in_the_docs_is_made_by_what_stands_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/how-to/demodulate-your-data.md").read_text(encoding="utf-8")
    code = page.rpartition("```python\n")[2].partition("```")[0]
    exec(compile(code, "page", "exec"), {"__name__": "example"})
    shipped = np.genfromtxt(ROOT / "docs/how-to/record.csv", delimiter=",", skip_header=1)
    made = np.genfromtxt("record.csv", delimiter=",", skip_header=1)
    assert made == pytest.approx(shipped, abs=1.1e-5, nan_ok=True)
    assert (ROOT / "docs/how-to/record.csv").stat().st_size < 60_000
