"""The traces in the docs are what the drivers say on the wire, and each frame in them says what stands behind it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from pytest import approx

from drivers.resistor_board._frames import cobs_decode, crc16

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import wire_trace  # noqa: E402

NUMBER = re.compile(r"(?<![A-Za-z\d])[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![A-Za-z\d])")
FRAME = re.compile(r"^([<>]) ((?:[0-9A-F]{2} )+) *(\d+) (.*)$", re.MULTILINE)


def section(page: str, name: str) -> str:
    return page.split(f"## {name}\n")[1].split("\n## ", maxsplit=1)[0]


def without_frames(text: str) -> str:
    """What the frames say, without their bytes: a last digit of a float may differ from one computer to the next."""
    return FRAME.sub(r"\1 \3 \4", text)


def test_the_docs_show_what_goes_over_the_wire() -> None:
    shown, recorded = (without_frames(page) for page in (wire_trace.PAGE.read_text("utf-8"), wire_trace.page()))
    assert NUMBER.sub("#", shown) == NUMBER.sub("#", recorded), "make it anew: python benchmarks/wire_trace.py --write"
    numbers = [[float(each) for each in NUMBER.findall(page)] for page in (shown, recorded)]
    assert numbers[0] == approx(numbers[1], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "words"), [("resistor-board", wire_trace._of_board), ("memristor-board", wire_trace._of_memristors)]
)
def test_every_frame_in_the_docs_is_sound_and_says_what_stands_behind_it(name, words) -> None:
    frames = FRAME.findall(section(wire_trace.PAGE.read_text("utf-8"), name))
    assert len(frames) >= 4
    for (way, data, seq, said), (_, _, answered, _) in zip(frames, [*frames[1:], frames[-1]], strict=True):
        frame = bytes.fromhex(data)
        body = cobs_decode(frame.removesuffix(b"\0"))
        assert crc16(body) == 0
        assert (body[1], words(body[0], body[2:-2])) == (int(seq), said)
        if way == ">":  # each request has its reply, by its number
            assert answered == seq


def test_the_inputs_of_a_card_wait_before_its_outputs_start_in_both_records() -> None:
    calls = re.findall(r"^StartTask +(\w+)$", section(wire_trace.PAGE.read_text("utf-8"), "nidaqmx"), re.MULTILINE)
    assert calls == ["ai", "ao", "ai", "ao"]
