"""What the lock-in refuses: every message names the argument, what came and what is allowed."""

from __future__ import annotations

import numpy as np
import pytest
from records import FREQUENCY, record

from freqprop_lab.lockin import LockIn, demodulate, refuse_unidentifiable
from freqprop_lab.waveform import Pulse, RectifiedSine, Sine, Square, TwoTone

RATE = 2000.0
GOOD = record(TwoTone(), [1.0, 2.0], [1.0, 0.5], 0.2)


def with_value(value):
    volts = GOOD.copy()
    volts[1, 7] = value
    return volts


def call(volts=GOOD, sample_rate=RATE, waveform=None, frequency=FREQUENCY, **options):
    options.setdefault("synchronised", False)
    return demodulate(volts, sample_rate, TwoTone() if waveform is None else waveform, frequency, **options)


WRONG_VALUES = {
    "empty": (lambda: call(np.zeros((2, 0))), r"volts holds 0 samples a channel; .* at least 4"),
    "no channel": (lambda: call(np.zeros((0, 100))), r"volts has the shape \(0, 100\)"),
    "one sample": (lambda: call(np.zeros((2, 1))), r"volts holds 1 samples a channel; .* at least 4"),
    "three samples": (lambda: call(np.zeros((1, 3))), r"volts holds 3 samples a channel; .* at least 4"),
    "no channel axis": (lambda: call(GOOD[0]), r"shape \(100,\); .*\(channel, sample\)"),
    "NaN": (lambda: call(with_value(np.nan)), r"volts.*NaN or infinite.*channel 1, sample 7; mark .* valid"),
    "infinity": (lambda: call(with_value(np.inf)), r"volts.*NaN or infinite.*channel 1, sample 7"),
    "NaN, synchronised": (lambda: call(with_value(np.nan), synchronised=True), r"NaN or infinite.*channel 1, sample 7"),
    "NaN, projection": (
        lambda: call(with_value(np.nan), synchronised=True, method="projection"),
        r"NaN or infinite.*channel 1, sample 7",
    ),
    "NaN, kink": (
        lambda: call(with_value(np.nan), waveform=RectifiedSine(), method="kink"),
        r"NaN or infinite.*channel 1, sample 7",
    ),
    "NaN, robust": (lambda: call(with_value(np.nan), robust=True), r"NaN or infinite.*channel 1, sample 7"),
    "NaN, hum": (lambda: call(with_value(np.nan), hum=330.0, hum_harmonics=1), r"NaN or infinite.*channel 1, sample 7"),
    "NaN that the mask does not mark": (
        lambda: call(with_value(np.nan), valid=np.arange(100) != 8),
        r"volts holds NaN or infinite values that valid does not mark",
    ),
    "sample rate of zero": (lambda: call(sample_rate=0.0), r"sample_rate is 0 Hz; it must be above 0"),
    "sample rate of NaN": (lambda: call(sample_rate=np.nan), r"sample_rate is nan Hz; it must be above 0 and finite"),
    "frequency of zero": (lambda: call(frequency=0.0), r"frequency is 0 Hz; it must be above 0"),
    "negative frequency": (lambda: call(frequency=-100.0), r"frequency is -100 Hz; it must be above 0"),
    "infinite frequency": (lambda: call(frequency=np.inf), r"frequency is inf Hz"),
    "above Nyquist": (lambda: call(frequency=1001.0), r"frequency is 1001 Hz, above half the sample rate of 2000 Hz"),
    "second tone above Nyquist": (
        lambda: call(frequency=600.0),
        r"frequency: harmonic 2 of two-tone lies at 0.6 of the sample rate; .*below half.*more than 4 samples",
    ),
    "second tone at Nyquist": (lambda: call(frequency=500.0), r"frequency: harmonic 2 of two-tone lies at 0.5"),
    "sine at Nyquist": (
        lambda: call(frequency=1000.0, waveform=Sine(), synchronised=True),
        r"frequency: harmonic 1 of sine lies at 0.5",
    ),
    "three delays": (
        lambda: call(delays=[0, 1e-3, 2e-3]),
        r"delays must be one finite number .* each of the 2 channels",
    ),
    "delay of NaN": (lambda: call(delays=[1e-3, np.nan]), r"delays must be one finite number of seconds"),
    "delays in rows": (lambda: call(delays=[[0.0, 0.0]]), r"delays must be one finite number"),
    "three skews": (lambda: call(skews=[0, 1e-3, 2e-3]), r"skews must be one finite number .* each of the 2 channels"),
    "known and looked for": (
        lambda: call(delays=[0.0, 0.0], shared_delay=True),
        r"the delays are known, so shared_delay has nothing to find",
    ),
    "mask of another shape": (
        lambda: call(valid=np.ones((2, 99), dtype=bool)),
        r"valid has the shape \(2, 99\); it must fit volts, \(2, 100\)",
    ),
    "mask of too many axes": (
        lambda: call(valid=np.ones((3, 2, 100), dtype=bool)),
        r"valid has the shape \(3, 2, 100\)",
    ),
    "too little left": (
        lambda: call(valid=np.arange(100) < 5),
        r"valid: channel 0 has 5 samples left, too few.* for the 5 columns",
    ),
    "nothing left": (lambda: call(valid=np.zeros(100, dtype=bool)), r"valid: channel 0 has 0 samples left"),
    "one limit": (lambda: call(limits=(5.0,)), r"limits must be the two ends of the range"),
    "three limits": (lambda: call(limits=([-1.0] * 3, [1.0] * 3)), r"limits must be the two ends.* 2 channels"),
    "limits turned over": (lambda: call(limits=(5.0, -5.0)), r"limits: the lower end must lie below the upper"),
    "hum of zero": (lambda: call(hum=0.0), r"hum is 0 Hz; it must be above 0"),
    "no harmonics of hum": (
        lambda: call(hum=330.0, hum_harmonics=0),
        r"hum_harmonics is 0; whole numbers from 1 to 20 are allowed",
    ),
    "hum near DC": (
        lambda: call(hum=10.0, hum_harmonics=1),  # the record is 50 ms: one cycle is 20 Hz
        r"hum: harmonic 1 of 10 Hz can't be told from the DC part in a record of 0.05 s; take at least 0.1 s",
    ),
    "hum on the nudge": (
        lambda: call(hum=105.0, hum_harmonics=1),
        r"hum: harmonic 1 of 105 Hz lies within 20 Hz of harmonic 1 of the nudge; nudge at another frequency",
    ),
    "hum's harmonic on the nudge's": (lambda: call(hum=50.0), r"hum: harmonic 2 of 50 Hz lies within .* harmonic 1"),
    "hum folded onto DC": (
        lambda: call(hum=2001.0, hum_harmonics=1),
        r"hum: harmonic 1 of 2001 Hz .*DC",
    ),
    "drift of degree 7": (lambda: call(drift=7), r"drift is 7; 0 \(none\), 1 \(linear\), 2 \(quadratic\) or 3"),
    "negative drift": (lambda: call(drift=-1), r"drift is -1"),
    "misspelt method": (
        lambda: call(method="harmonics"),
        r'method "harmonics" is none of harmonic, projection, kink. Did you mean "harmonic"\?',
    ),
    "arch, of old": (lambda: call(method="arch"), r'method "arch" is none of harmonic, projection, kink'),
    "fewer samples than columns": (
        lambda: call(GOOD[:, :5], drift=1, synchronised=True),
        r"volts: 5 samples a channel; the model has 6 columns .* needs at least 7 samples",
    ),
    "a part of a harmonic of hum": (lambda: call(hum=330.0, hum_harmonics=1.5), r"hum_harmonics is 1.5; whole numbers"),
    "half a period of unknown delay": (
        lambda: call(GOOD[:, :10]),
        r"volts: 10 samples hold 0.5 periods of the nudge; to find the delay at least one is needed",
    ),
    "second order of a pulse": (
        lambda: call(waveform=Pulse(), second_order=True),
        r"second_order: the square of pulse, .* can't be told from a constant",
    ),
    "second order of a square": (
        lambda: call(waveform=Square(), second_order=True, synchronised=True),
        r"second_order: the square of square",
    ),
    "hum and drift in a projection": (
        lambda: call(method="projection", synchronised=True, hum=330.0, drift=2),
        r'method "projection" has no hum, drift, .*; use "harmonic"',
    ),
    "second order in a kink": (
        lambda: call(waveform=RectifiedSine(), method="kink", second_order=True),
        r'method "kink" has no hum, .*second_order',
    ),
    "volts too large to square": (lambda: call(GOOD * 1e200), r"volts holds values too large to be squared"),
    "too short a record": (
        lambda: call(GOOD[:, :8], frequency=10.0, synchronised=True),
        r"volts: the record is too short to tell the nudge from",
    ),
    "projection without synchrony": (lambda: call(method="projection"), r"projection needs synchronised records"),
    "projection of broken periods": (
        lambda: call(GOOD[:, :99], method="projection", synchronised=True),
        r"99 samples at 2000 Hz hold 4.95 periods of 100 Hz; this method must have whole periods",
    ),
    "kink of broken periods": (
        lambda: call(GOOD[:, :99], waveform=RectifiedSine(), method="kink"),
        r"99 samples .* must have whole periods",
    ),
    "kink of a two-tone": (lambda: call(method="kink"), r'method "kink" reads abs-sine, .* the waveform is two-tone'),
    "kink of four samples": (
        lambda: call(np.zeros((1, 80)), frequency=500.0, waveform=RectifiedSine(), method="kink"),
        r"4 samples a period; .* at least 5",
    ),
    "projection of a constant": (
        lambda: call(GOOD, frequency=1000.0, waveform=Sine(), method="projection", synchronised=True),
        r"sine is constant at all 100 samples.*faster",
    ),
    "projection of a constant, one late": (
        lambda: call(
            GOOD, frequency=1000.0, waveform=Sine(), method="projection", synchronised=True, delays=[0.0, 1 / 4000]
        ),
        r"sine is constant at all 100 samples.*faster",
    ),
    "gaps in a projection": (
        lambda: call(valid=np.arange(100) > 3, method="projection", synchronised=True),
        r'method "projection" takes every sample; use "harmonic"',
    ),
    "unsynchronised sine": (
        lambda: call(waveform=Sine()),
        r"waveform sine: .*Proposition 1.*two-tone or abs-sine, or sync",
    ),
    "unsynchronised half pulse": (lambda: call(waveform=Pulse(0.5)), r"waveform pulse: .*Proposition 1"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG_VALUES.values(), ids=list(WRONG_VALUES))
def test_wrong_values_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


WRONG_TYPES = {
    "no method": (lambda: call(method=None), r"method is None; one of harmonic, projection, kink is wanted"),
    "sample rate with a unit": (lambda: call(sample_rate="2 kHz"), r"sample_rate is '2 kHz'; a number of hertz"),
    "frequency with a unit": (
        lambda: call(frequency="100 Hz"),
        r"frequency is '100 Hz'; a number of hertz.*without unit",
    ),
    "hum with a unit": (lambda: call(hum="50 Hz"), r"hum is '50 Hz'; a number of hertz"),
    "hum switched on": (lambda: call(hum=True), r"hum is True; a number of hertz"),
    "no frequency": (lambda: call(frequency=None), r"frequency is None; a number of hertz"),
    "volts with a unit": (lambda: call([["1 V", "2 V", "3 V", "4 V"]]), r"volts holds .*; numbers of volts"),
    "complex volts": (lambda: call(GOOD + 0j), r"volts holds complex128; numbers of volts"),
    "delays with a unit": (lambda: call(delays=["1 ms", "2 ms"]), r"delays holds .*; numbers of seconds"),
    "skews with a unit": (lambda: call(skews=["1 ms", "2 ms"]), r"skews holds .*; numbers of seconds"),
    "mask of numbers": (lambda: call(valid=np.ones(100)), r"valid holds float64; True and False are wanted"),
    "name of a waveform": (lambda: call(waveform="two-tone"), r"waveform is 'two-tone'; one of freqprop_lab.waveform"),
    "class of a waveform": (lambda: call(waveform=TwoTone), r"waveform is <class .*; one of freqprop_lab.waveform"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG_TYPES.values(), ids=list(WRONG_TYPES))
def test_wrong_types_are_refused(wrong, message):
    with pytest.raises(TypeError, match=message):
        wrong()


def test_ragged_volts_are_refused():
    with pytest.raises(ValueError, match="volts: its channels differ in their number"):
        call([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0]])


def test_a_hum_above_half_the_sample_rate_is_read_where_it_is_seen():
    t = np.arange(400) / RATE
    volts = record(TwoTone(), 0.5, 0.3, 0.2, 20) + np.cos(2 * np.pi * 1670.0 * t)  # seen at 330 Hz
    response = call(volts, hum=1670.0, hum_harmonics=1)
    assert response.b == pytest.approx([0.3], abs=1e-8)


def test_whole_numbers_and_lists_are_as_good_as_floats():
    volts = np.rint(100 * GOOD).astype(np.int16)
    assert (call(volts.tolist(), 2000, frequency=100).b == call(volts.astype(float)).b).all()


@pytest.mark.parametrize(
    "how", [{}, {"synchronised": True}, {"robust": True}, {"drift": 1}, {"valid": np.arange(100) > 2}]
)
def test_arrays_of_the_caller_stay_as_they_were(how):
    volts = GOOD + 1e3
    before = volts.copy()
    volts.setflags(write=False)
    call(volts, **how)
    assert (volts == before).all()


def test_identifiable_waveforms_are_not_refused():
    for waveform in (RectifiedSine(), TwoTone(), Pulse()):
        refuse_unidentifiable(waveform)


# The streaming lock-in


def test_a_stream_takes_blocks_of_its_channels_without_gaps():
    lock_in = LockIn(2, RATE, TwoTone(), FREQUENCY, synchronised=False)
    for block, message in (
        (np.zeros(5), r"volts has the shape \(5,\).* 2 channels"),
        (np.zeros((3, 5)), r"volts has the shape \(3, 5\).* 2 channels"),
        (np.full((2, 5), np.nan), "volts holds NaN or infinite values; a stream has no gaps"),
    ):
        with pytest.raises(ValueError, match=message):
            lock_in.feed(block)
    assert lock_in.n_samples == 0


def test_a_stream_refuses_what_a_record_refuses():
    with pytest.raises(ValueError, match="Proposition 1"):
        LockIn(2, RATE, Sine(), FREQUENCY, synchronised=False)
    with pytest.raises(TypeError, match="sample_rate is '2 kHz'"):
        LockIn(2, "2 kHz", TwoTone(), FREQUENCY, synchronised=False)
    with pytest.raises(ValueError, match="harmonic 2 of two-tone"):
        LockIn(2, RATE, TwoTone(), 600.0, synchronised=False)
    with pytest.raises(ValueError, match="2 channels"):
        LockIn(2, RATE, TwoTone(), FREQUENCY, synchronised=False, skews=[0.0, 0.0, 1e-3])
    with pytest.raises(ValueError, match="n_channels|volts has the shape"):
        LockIn(0, RATE, TwoTone(), FREQUENCY, synchronised=False)
