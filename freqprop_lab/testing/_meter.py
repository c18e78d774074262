"""The suite that every meter which returns samples passes."""

# ruff: noqa: S101 - these are tests, which happen to live in a package so that others can subclass them

from __future__ import annotations

import numpy as np
import pytest

from freqprop_lab.instruments import Ability, InstrumentError, LimitError, Meter, OverloadError, ProtocolError
from freqprop_lab.testing._instrument import InstrumentTests
from freqprop_lab.values import Array, Record


class MeterTests(InstrumentTests[Meter]):
    """The laws of `Meter`.

    tolerance: V; how far the mean of a record may be from the volts presented. n_samples, sample_rate (Hz): a record
    that the instrument can take. largest: V; what is presented stays within it, except to overload.
    """

    tolerance = 1e-9
    n_samples = 40
    sample_rate = 2000.0
    largest = 1.0

    def present(self, meter: Meter, volts: Array) -> bool:  # noqa: ARG002 - an author's own needs them
        """Put known volts, (channel,), on the channels behind the meter's back, and return True.

        False: nobody can, and the tests that need it skip.
        """
        return False

    def trigger(self, meter: Meter) -> None:
        """Start the record where the armed meter waits for a source; nothing where it does not."""

    def prepare(self, instrument: Meter) -> None:
        """Arm it."""
        instrument.arm(self.n_samples, self.sample_rate)

    def work(self, instrument: Meter) -> None:
        """Let it sample; the record is not fetched, as when the program is interrupted."""
        self.trigger(instrument)

    def finish(self, instrument: Meter) -> None:
        """Fetch the record."""
        instrument.read()

    def take(self, meter: Meter) -> Record:
        """Take one record."""
        self.prepare(meter)
        self.trigger(meter)
        return meter.read()

    def test_its_limits_have_a_place_for_every_channel(self, instrument: Meter) -> None:
        """Lowest below highest."""
        limits, shape = instrument.limits, (instrument.n_channels,)
        assert instrument.n_channels >= 1
        assert limits.lowest.shape == limits.highest.shape == shape
        assert (limits.lowest < limits.highest).all()
        assert limits.largest_sample_rate > 0
        assert Ability.SAMPLES in instrument.abilities

    def test_arm_tells_the_timing_and_the_record_keeps_it(self, instrument: Meter) -> None:
        """The actual one, which need not be what was asked."""
        timing = instrument.arm(self.n_samples, self.sample_rate)
        assert 0 < timing.sample_rate <= instrument.limits.largest_sample_rate
        assert np.isfinite(timing.sample_rate)
        assert timing.n_samples >= 1
        self.trigger(instrument)
        record = instrument.read()
        assert record.sample_rate == timing.sample_rate
        assert record.volts.shape == (instrument.n_channels, timing.n_samples)

    def test_a_record_is_complete(self, instrument: Meter) -> None:
        """Finite float64 volts; for every channel a skew and two counts of samples."""
        self._presented(instrument, np.zeros(instrument.n_channels), needed=False)
        record = self.take(instrument)
        shape = (instrument.n_channels,)
        assert record.volts.dtype == np.float64
        assert np.isfinite(record.volts).all()
        assert record.skews.shape == record.clipped.shape == record.missing.shape == shape
        assert np.isfinite(record.skews).all()
        for counts in (record.clipped, record.missing):
            assert (counts == np.round(counts)).all()
            assert ((counts >= 0) & (counts <= record.volts.shape[1])).all()
        assert len(record.channels) in {0, instrument.n_channels}

    def test_one_sample_is_a_record(self, instrument: Meter) -> None:
        """The shortest there is, unless it says that it takes more."""
        timing = instrument.arm(1, self.sample_rate)
        self.trigger(instrument)
        assert instrument.read().volts.shape == (instrument.n_channels, timing.n_samples)

    def test_known_volts_are_read_channel_by_channel(self, instrument: Meter) -> None:
        """A different value on each, of both signs where the range has them, and none flagged."""
        lowest = np.maximum(instrument.limits.lowest, -self.largest)
        highest = np.minimum(instrument.limits.highest, self.largest)
        for shares in (np.linspace(0.2, 0.8, instrument.n_channels), np.linspace(0.7, 0.1, instrument.n_channels)):
            volts = lowest + (highest - lowest) * shares
            self._presented(instrument, volts)
            record = self.take(instrument)
            assert record.volts.mean(axis=1) == pytest.approx(volts, abs=self.tolerance)
            assert not record.clipped.any()
            assert not record.missing.any()

    def test_an_overload_is_told_and_never_a_silent_number(self, instrument: Meter) -> None:
        """On the channel that has it, at either end, and on no other; or as OverloadError."""
        limits = instrument.limits
        for channel in range(instrument.n_channels):
            for end in (limits.lowest[channel], limits.highest[channel]):
                if end == 0 or not np.isfinite(end):
                    continue
                volts = 0.5 * (limits.lowest + limits.highest)
                volts[channel] = 1.5 * end
                self._presented(instrument, volts)
                record = self._take_or_overload(instrument)
                if record is not None:
                    expected = np.zeros(instrument.n_channels)
                    expected[channel] = record.volts.shape[1]
                    assert record.clipped.tolist() == expected.tolist()

    def test_an_overload_leaves_no_trace_in_the_next_record(self, instrument: Meter) -> None:
        """Flags belong to one record."""
        if not np.isfinite(instrument.limits.highest).all():
            pytest.skip(f"{instrument.name} has no end to its range")
        self._presented(instrument, 1.5 * instrument.limits.highest)
        self._take_or_overload(instrument)
        self._presented(instrument, np.zeros(instrument.n_channels))
        assert not self.take(instrument).clipped.any()

    def test_read_without_arm_is_refused(self, instrument: Meter) -> None:
        """There is no record to return."""
        with pytest.raises(ProtocolError) as caught:
            instrument.read()
        assert instrument.name in str(caught.value)

    def test_a_record_is_read_once(self, instrument: Meter) -> None:
        """A second read is not the same record again, nor a new one: it must be armed anew."""
        self.take(instrument)
        with pytest.raises(ProtocolError):
            instrument.read()
        self.take(instrument)

    def test_a_meter_made_safe_forgets_that_it_was_armed(self, instrument: Meter) -> None:
        """What was under way is not read later as if nothing had happened."""
        self.prepare(instrument)
        instrument.make_safe()
        with pytest.raises(InstrumentError):
            instrument.read()
        self.take(instrument)

    def test_a_closed_meter_returns_no_record(self) -> None:
        """Not even one that it was armed for."""
        instrument = self.open_instrument()
        self.prepare(instrument)
        instrument.close()
        with pytest.raises(InstrumentError):
            instrument.read()

    @pytest.mark.parametrize("n_samples", [0, -1])
    def test_fewer_than_one_sample_is_refused(self, instrument: Meter, n_samples: int) -> None:
        """And leaves it unarmed."""
        with pytest.raises(LimitError) as caught:
            instrument.arm(n_samples, self.sample_rate)
        assert instrument.name in str(caught.value)
        assert str(n_samples) in str(caught.value)
        with pytest.raises(ProtocolError):
            instrument.read()

    @pytest.mark.parametrize("factor", [2.0, np.inf, 0.0, -1.0, np.nan])
    def test_a_sample_rate_that_it_does_not_have_is_refused(self, instrument: Meter, factor: float) -> None:
        """Beyond the fastest, or none at all."""
        fastest = instrument.limits.largest_sample_rate
        if factor == 2.0 and np.isinf(fastest):
            pytest.skip(f"{instrument.name} takes any sample rate")
        rate = factor * (fastest if np.isfinite(fastest) else self.sample_rate)
        with pytest.raises(LimitError) as caught:
            instrument.arm(self.n_samples, rate)
        assert instrument.name in str(caught.value)

    def test_a_record_belongs_to_whoever_took_it(self, instrument: Meter) -> None:
        """Overwriting one changes neither the meter nor the next record."""
        self._presented(instrument, np.zeros(instrument.n_channels), needed=False)
        first = self.take(instrument)
        skews = first.skews.copy()
        for array in (first.volts, first.skews, first.clipped, first.missing):
            array[:] = 1e6
        second = self.take(instrument)
        assert (second.skews == skews).all()
        for array in (second.volts, second.clipped, second.missing):
            assert not (array == 1e6).any()

    def _take_or_overload(self, meter: Meter) -> Record | None:
        """Take a record that is overloaded; None where the meter says so by OverloadError, with its name."""
        try:
            return self.take(meter)
        except OverloadError as error:
            if meter.name not in str(error):
                pytest.fail(f'the error should name the meter "{meter.name}"; it says: {error}')
            return None

    def _presented(self, meter: Meter, volts: Array, *, needed: bool = True) -> None:
        if not self.present(meter, volts) and needed:
            pytest.skip(f"nobody can present known volts: {type(self).__name__} does not override present()")
