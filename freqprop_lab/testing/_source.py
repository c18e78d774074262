"""The suite that every source passes."""

# ruff: noqa: S101 - these are tests, which happen to live in a package so that others can subclass them

from __future__ import annotations

import contextlib
import re

import numpy as np
import pytest

from freqprop_lab.instruments import Ability, InstrumentError, LimitError, Source
from freqprop_lab.testing._instrument import InstrumentTests, assert_refusal
from freqprop_lab.values import Array, Timing
from freqprop_lab.waveform import Sine, Waveform


class SourceTests(InstrumentTests[Source]):
    """The laws of `Source`.

    tolerance: V or A; how far a wire may be from what was asked. waveform, frequency (Hz), n_periods, sample_rate
    (Hz): a nudge that the instrument can do. largest: V or A; the tests stay within it, whatever the limits allow,
    except for what must be refused.
    """

    tolerance = 1e-9
    waveform: Waveform = Sine()
    frequency = 100.0
    n_periods = 3
    sample_rate = 2000.0
    largest = 1.0

    def observe(self, source: Source) -> Array | None:  # noqa: ARG002 - an author's own needs it
        """Return what the wires see now, V or A, (channel,), read behind the source's back, also after close().

        NaN is a disconnected channel; one with a running nudge shows any value that is not its level. None: nobody
        can look, and the tests that need it skip.
        """
        return None

    def prepare(self, instrument: Source) -> None:
        """Load levels, and a nudge where it can do one."""
        self.load(instrument)

    def work(self, instrument: Source) -> None:
        """Put them out."""
        instrument.start()

    def finish(self, instrument: Source) -> None:
        """End the nudge."""
        instrument.stop()

    def assert_safe(self, instrument: Source) -> None:
        """Every channel is at zero or disconnected."""
        seen = self._seen(instrument)
        assert np.nan_to_num(seen) == pytest.approx(np.zeros(instrument.n_channels), abs=self.tolerance)

    def levels(self, source: Source) -> Array:
        """Return a level for each channel, no two the same and none zero, well within the limits."""
        lowest, highest = self._span(source)
        return lowest + (highest - lowest) * np.linspace(0.6, 0.8, source.n_channels)

    def amplitudes(self, source: Source) -> Array:
        """Return nudge amplitudes that stay within the limits on top of `levels`; zero where it can do none."""
        lowest, highest = self._span(source)
        can = Ability.WAVEFORM in source.abilities
        return 0.1 * (highest - lowest) if can else np.zeros(source.n_channels)

    def load(self, source: Source, levels: Array | None = None, amplitudes: Array | None = None) -> Timing:
        """Load `levels` and `amplitudes`, or others."""
        return source.load(
            self.levels(source) if levels is None else levels,
            self.amplitudes(source) if amplitudes is None else amplitudes,
            self.waveform if Ability.WAVEFORM in source.abilities else None,
            self.frequency,
            self.n_periods,
            self.sample_rate,
        )

    def test_its_limits_have_a_place_for_every_channel(self, instrument: Source) -> None:
        """Lowest below highest, zero between them since safety lies there, a unit each."""
        limits, shape = instrument.limits, (instrument.n_channels,)
        assert instrument.n_channels >= 1
        assert limits.lowest.shape == limits.highest.shape == shape
        assert (limits.lowest < limits.highest).all()
        assert (limits.lowest <= 0).all()
        assert (limits.highest >= 0).all()
        assert len(limits.units) == instrument.n_channels
        assert set(limits.units) <= {"V", "A"}
        assert limits.largest_sample_rate > 0
        assert Ability.LEVEL in instrument.abilities

    def test_load_tells_the_timing_that_it_will_keep(self, instrument: Source) -> None:
        """A rate and a number of samples that can be."""
        timing = self.load(instrument)
        assert 0 < timing.sample_rate <= instrument.limits.largest_sample_rate
        assert np.isfinite(timing.sample_rate)
        assert timing.n_samples >= 1

    def test_load_moves_nothing_until_start(self, instrument: Source) -> None:
        """The wires see the same before and after."""
        before = self._seen(instrument)
        self.load(instrument)
        assert self._seen(instrument) == pytest.approx(before, abs=0, nan_ok=True)

    def test_start_puts_out_the_levels_channel_by_channel(self, instrument: Source) -> None:
        """Each wire has its own level, so swapped channels are found."""
        instrument.load(
            self.levels(instrument), np.zeros(instrument.n_channels), None, self.frequency, 1, self.sample_rate
        )
        instrument.start()
        assert self._seen(instrument) == pytest.approx(self.levels(instrument), abs=self.tolerance)

    def test_without_a_waveform_the_amplitudes_do_nothing(self, instrument: Source) -> None:
        """`waveform=None` leaves the levels alone."""
        span = np.subtract(*reversed(self._span(instrument)))
        instrument.load(self.levels(instrument), 0.1 * span, None, self.frequency, 1, self.sample_rate)
        instrument.start()
        assert self._seen(instrument) == pytest.approx(self.levels(instrument), abs=self.tolerance)

    def test_after_stop_the_levels_stay_and_the_nudge_is_zero(self, instrument: Source) -> None:
        """What stays is what was put out, not the last sample of the nudge."""
        self.load(instrument)
        instrument.start()
        instrument.stop()
        assert self._seen(instrument) == pytest.approx(self.levels(instrument), abs=self.tolerance)

    def test_stop_is_allowed_at_any_time(self, instrument: Source) -> None:
        """Before anything was started, while nothing runs, and twice: a bench stops all of its sources."""
        instrument.stop()
        self.load(instrument)
        instrument.stop()
        instrument.start()
        instrument.stop()
        instrument.stop()

    def test_a_later_load_takes_the_place_of_an_earlier(self, instrument: Source) -> None:
        """Nothing is left of the first, not even its nudge."""
        self.load(instrument)
        instrument.start()
        instrument.stop()
        zeros = np.zeros(instrument.n_channels)
        instrument.load(0.5 * self.levels(instrument), zeros, None, self.frequency, 1, self.sample_rate)
        instrument.start()
        assert self._seen(instrument) == pytest.approx(0.5 * self.levels(instrument), abs=self.tolerance)

    def test_a_level_beyond_a_limit_is_refused_before_anything_is_sent(self, instrument: Source) -> None:
        """On every channel and at both ends; the message says which, and what was asked."""
        before = self.observe(instrument)
        for channel, end, asked in self._beyond(instrument):
            levels = self.levels(instrument)
            levels[channel] = asked
            with pytest.raises(LimitError) as caught:
                self.load(instrument, levels, np.zeros(instrument.n_channels))
            assert_refusal(caught.value, instrument.name, f"channel {channel}", f"{end:.4g}")
            assert any(float(number) == float(f"{asked:.4g}") for number in _numbers(caught.value)), caught.value
        if before is not None:
            assert self._seen(instrument) == pytest.approx(before, abs=0, nan_ok=True)

    def test_a_refused_load_is_not_put_out_by_start(self, instrument: Source) -> None:
        """Neither whole nor in part: the channels within their limits stay where they are, too."""
        before = self._seen(instrument)
        for channel, _, asked in self._beyond(instrument):
            levels = self.levels(instrument)
            levels[channel] = asked
            with pytest.raises(LimitError):
                self.load(instrument, levels)
        with contextlib.suppress(InstrumentError):
            instrument.start()
        assert self._seen(instrument) == pytest.approx(before, abs=0, nan_ok=True)

    def test_level_and_nudge_together_are_held_against_the_limit(self, instrument: Source) -> None:
        """Each alone would be allowed."""
        self._need_waveform(instrument)
        for channel, end, _ in self._beyond(instrument):
            levels, amplitudes = np.zeros(instrument.n_channels), np.zeros(instrument.n_channels)
            levels[channel] = 0.9 * end
            amplitudes[channel] = 0.5 * end / self.waveform.highest
            with pytest.raises(LimitError) as caught:
                self.load(instrument, levels, amplitudes)
            assert_refusal(caught.value, instrument.name, f"channel {channel}")

    @pytest.mark.parametrize("wrong", [np.nan, np.inf])
    def test_an_amplitude_that_is_no_number_is_refused(self, instrument: Source, wrong: float) -> None:
        """NaN releases a channel as a level; as an amplitude it is an accident upstream."""
        self._need_waveform(instrument)
        amplitudes = self.amplitudes(instrument)
        amplitudes[-1] = wrong
        with pytest.raises(LimitError) as caught:
            self.load(instrument, amplitudes=amplitudes)
        assert_refusal(caught.value, instrument.name, f"channel {instrument.n_channels - 1}", str(wrong))

    def test_a_level_of_nan_releases_the_channel(self, instrument: Source) -> None:
        """Only that channel; without the ability to release, it is refused."""
        levels = self.levels(instrument)
        levels[0] = np.nan
        if Ability.RELEASE not in instrument.abilities:
            with pytest.raises(LimitError):
                self.load(instrument, levels)
            return
        self.load(instrument, levels)
        instrument.start()
        instrument.stop()
        assert self._seen(instrument) == pytest.approx(levels, abs=self.tolerance, nan_ok=True)

    def test_a_released_channel_can_be_driven_again(self, instrument: Source) -> None:
        """By the next level that is a number."""
        if Ability.RELEASE not in instrument.abilities:
            pytest.skip(f"{instrument.name} can't release a channel")
        self.load(instrument, np.full(instrument.n_channels, np.nan))
        instrument.start()
        self.load(instrument)
        instrument.start()
        instrument.stop()
        assert self._seen(instrument) == pytest.approx(self.levels(instrument), abs=self.tolerance)

    def test_a_sample_rate_that_it_does_not_have_is_refused(self, instrument: Source) -> None:
        """Rather than played at another."""
        self._need_waveform(instrument)
        fastest = instrument.limits.largest_sample_rate
        if np.isinf(fastest):
            pytest.skip(f"{instrument.name} takes any sample rate")
        with pytest.raises(LimitError) as caught:
            instrument.load(
                self.levels(instrument), self.amplitudes(instrument), self.waveform, self.frequency, 1, 2 * fastest
            )
        assert_refusal(caught.value, instrument.name)

    def test_start_before_anything_was_loaded_is_refused(self, instrument: Source) -> None:
        """There is nothing to put out."""
        with pytest.raises(InstrumentError) as caught:
            instrument.start()
        assert instrument.name in str(caught.value)

    def test_start_after_make_safe_brings_nothing_back(self, instrument: Source) -> None:
        """What was loaded before is forgotten: a later start may not surprise anybody."""
        self.load(instrument)
        instrument.start()
        instrument.make_safe()
        with pytest.raises(InstrumentError):
            instrument.start()
        self.assert_safe(instrument)

    def test_it_can_be_loaded_again_after_make_safe(self, instrument: Source) -> None:
        """Safe is not closed."""
        instrument.make_safe()
        self.load(instrument)
        instrument.start()
        instrument.stop()
        assert self._seen(instrument) == pytest.approx(self.levels(instrument), abs=self.tolerance)

    def test_the_callers_arrays_are_neither_changed_nor_kept(self, instrument: Source) -> None:
        """Overwriting them after load() does not reach the wires."""
        levels, amplitudes = self.levels(instrument), self.amplitudes(instrument)
        self.load(instrument, levels, amplitudes)
        assert (levels == self.levels(instrument)).all()
        assert (amplitudes == self.amplitudes(instrument)).all()
        levels[:], amplitudes[:] = 0.0, 0.0
        instrument.start()
        instrument.stop()
        assert self._seen(instrument) == pytest.approx(self.levels(instrument), abs=self.tolerance)

    def _span(self, source: Source) -> tuple[Array, Array]:
        limits = source.limits
        return np.maximum(limits.lowest, -self.largest), np.minimum(limits.highest, self.largest)

    def _beyond(self, source: Source) -> list[tuple[int, float, float]]:
        """Return channel, limit, and a value beyond it, for every limit that is one."""
        ends = [(source.limits.lowest, -1), (source.limits.highest, 1)]
        return [
            (channel, float(end[channel]), float(end[channel] + sign * max(abs(end[channel]) * 0.01, self.tolerance)))
            for channel in range(source.n_channels)
            for end, sign in ends
            if np.isfinite(end[channel])
        ]

    def _need_waveform(self, source: Source) -> None:
        if Ability.WAVEFORM not in source.abilities:
            pytest.skip(f"{source.name} can't play a waveform")

    def _seen(self, source: Source) -> Array:
        seen = self.observe(source)
        if seen is None:
            pytest.skip(f"nobody can look at the wires: {type(self).__name__} does not override observe()")
        return np.array(seen, dtype=np.float64)


def _numbers(error: Exception) -> list[str]:
    return re.findall(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?", str(error))
