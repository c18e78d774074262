"""The board's frames against worked examples, and against bytes that are no frames."""

from __future__ import annotations

import binascii
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.resistor_board._frames import (
    FrameError,
    Op,
    Status,
    cobs_decode,
    cobs_encode,
    crc16,
    frame,
    parse_ident,
    parse_reply,
)
from simulated_bench.servers import _board_twin as twin


@pytest.mark.parametrize("crc", [crc16, twin._crc])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"123456789", 0x29B1),  # the check value of CRC-16/CCITT-FALSE in the catalogues
        (b"", 0xFFFF),  # the start value
        (b"A", 0xB915),
        # 0x00 by hand: 0xFFFF is 16 ones; eight steps of the division leave 0xE1F0.
        (b"\0", 0xE1F0),
    ],
)
def test_the_crc_of_known_bytes(crc, data, expected):
    assert crc(data) == expected


@pytest.mark.parametrize(("encode", "decode"), [(cobs_encode, cobs_decode), (twin._stuff, twin._unstuff)])
@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        # The examples of Cheshire and Baker's paper, as the encyclopaedias tabulate them.
        ("00", "01 01"),
        ("00 00", "01 01 01"),
        ("00 11 00", "01 02 11 01"),
        ("11 22 00 33", "03 11 22 02 33"),
        ("11 22 33 44", "05 11 22 33 44"),
        ("11 00 00 00", "02 11 01 01 01"),
        ("", "01"),
    ],
)
def test_cobs_of_known_bytes(encode, decode, data, encoded):
    assert encode(bytes.fromhex(data)).hex(" ") == encoded
    assert decode(bytes.fromhex(encoded)).hex(" ") == data


def test_request_and_reply_of_the_protocols_page():
    # GET of channel 5 with number 1: op 04, seq 01, channel 00 05; CRC 0x29A4. Its one zero is at place 2, so the first
    # run has two bytes and the second three.
    body = bytes.fromhex("04 01 00 05")
    assert binascii.crc_hqx(body, 0xFFFF) == 0x29A4
    assert frame(Op.GET, 1, b"\0\5").hex(" ") == "03 04 01 04 05 29 a4 00"
    # Status 00 and code 00 40: two zeros, so runs of two, of none and of three bytes.
    assert binascii.crc_hqx(bytes.fromhex("84 01 00 00 40"), 0xFFFF) == 0x84AA
    reply = parse_reply(bytes.fromhex("03 84 01 01 04 40 84 aa"))
    assert (reply.op, reply.seq, reply.status, reply.detail) == (Op.GET, 1, Status.OK, 64)
    assert not reply.booted
    assert not reply.fallen
    page = (Path(__file__).parents[2] / "docs" / "board-protocol.md").read_text(encoding="utf-8")
    assert "`03 04 01 04 05 29 A4 00`" in page
    assert "`03 84 01 01 04 40 84 AA 00`" in page


@given(st.binary(max_size=253))
def test_what_is_encoded_has_no_zero_one_byte_more_and_comes_back(data):
    encoded = cobs_encode(data)
    assert 0 not in encoded
    assert len(encoded) == len(data) + 1
    assert cobs_decode(encoded) == data
    assert encoded == twin._stuff(data)
    assert twin._unstuff(encoded) == data


def test_more_than_a_block_is_refused():
    with pytest.raises(FrameError, match="253"):
        cobs_encode(bytes(254))


@given(st.binary(max_size=250))
def test_a_crc_behind_its_data_makes_the_whole_zero(data):
    assert crc16(data + crc16(data).to_bytes(2, "big")) == 0
    # The standard library has the same polynomial, under another name and with the start value as an argument.
    assert crc16(data) == twin._crc(data) == binascii.crc_hqx(data, 0xFFFF)


@given(st.binary(max_size=60).filter(lambda data: 0 not in data))
def test_noise_is_an_error_of_frames_or_a_reply_that_goes_back_to_the_same_bytes(noise):
    try:
        reply = parse_reply(noise)
    except FrameError:
        return
    status = reply.status | (0x40 if reply.booted else 0) | (0x80 if reply.fallen else 0)
    body = bytes([reply.op | 0x80, reply.seq, status]) + reply.payload
    assert cobs_encode(body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")) == noise


@given(st.integers(1, 40), st.integers(0, 7))
def test_one_changed_bit_of_a_reply_is_noticed(place, bit):
    # GETN of 18 codes: 41 bytes. A CRC of 16 bits misses no single bit; a 0 would end the frame before its time.
    body = bytes([0x85, 9, 0]) + bytes(range(1, 37))
    sent = bytearray(cobs_encode(body + crc16(body).to_bytes(2, "big")))
    sent[place] ^= 1 << bit
    with pytest.raises(FrameError):
        parse_reply(bytes(sent))


def test_ident_of_known_bytes():
    told = bytes.fromhex("01 0008 12345678 01 00 08 0102 01 0003 01" + "01 01 0008 0101 0100 00002710 004b 0100")
    ident = parse_ident(told)
    assert (ident.channels, ident.serial, ident.firmware, ident.reset_cause) == (8, 0x12345678, (1, 0), 8)
    assert (ident.boots, ident.overrun, ident.stores) == (258, True, 3)
    (bank,) = ident.banks
    assert (bank.part, bank.reads_back, bank.channels, bank.taps, bank.steps) == (1, True, 8, 257, 256)
    assert (bank.end_to_end, bank.wiper, bank.safe) == (10_000, 75, 256)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("", "nothing"),
        ("02 0008 12345678 01 00 08 0102 01 0003 00", "version 2"),
        ("01 0008 12345678 01 00 08 0102 01 0003 01", "1 banks"),
        ("01 0009 12345678 01 00 08 0102 01 0003 01" + "01 01 0008 0101 0100 00002710 004b 0100", "9 channels"),
        ("01 0008 12345678 01 00 08 0102 01 0003 01" + "01 01 0008 0001 0100 00002710 004b 0100", "banks are others"),
    ],
)
def test_an_ident_that_does_not_hold_together_is_refused(told, said):
    with pytest.raises(FrameError, match=said):
        parse_ident(bytes.fromhex(told))
