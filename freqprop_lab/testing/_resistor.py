"""The suite that every tunable resistor passes."""

# ruff: noqa: S101 - these are tests, which happen to live in a package so that others can subclass them

from __future__ import annotations

import numpy as np
import pytest

from freqprop_lab.instruments import Ability, LimitError, TunableResistor
from freqprop_lab.testing._instrument import InstrumentTests
from freqprop_lab.values import Array

_ROUNDING = 1e-12  # relative: a value that went through its own inverse


class TunableResistorTests(InstrumentTests[TunableResistor]):
    """The laws of `TunableResistor`.

    tolerance: relative; how far the true conductances may be from those that program() returned. n_wishes: how many
    wishes are tried for each element. smallest, largest: S; stand in for limits at zero and infinity.
    """

    tolerance = 1e-9
    n_wishes = 7
    smallest = 1e-6
    largest = 1e-2

    def observe(self, resistor: TunableResistor) -> Array | None:  # noqa: ARG002 - an author's own needs it
        """Return the conductances that are truly there, S, (element,), measured behind the part's back; None: can't."""
        return None

    def prepare(self, instrument: TunableResistor) -> None:
        """Program it."""
        instrument.program(self.wishes(instrument)[0])

    def wishes(self, resistor: TunableResistor) -> list[Array]:
        """Return some wishes within the limits, S, (element,) each, different for every element."""
        lowest, highest = self.span(resistor)
        tilt = np.linspace(0, 0.9, resistor.n_elements)
        shares = [0.02 + 0.96 * (number + tilt) / self.n_wishes for number in range(self.n_wishes)]
        return [lowest * (highest / lowest) ** share for share in shares]

    def span(self, resistor: TunableResistor) -> tuple[Array, Array]:
        """Return the ends between which wishes lie, S, (element,) each: the limits, or what stands in for them."""
        limits = resistor.limits
        lowest = np.where(limits.lowest > 0, limits.lowest, np.minimum(self.smallest, limits.highest / 1000))
        return lowest, np.where(np.isfinite(limits.highest), limits.highest, np.maximum(self.largest, 1000 * lowest))

    def test_its_limits_have_a_place_for_every_element(self, instrument: TunableResistor) -> None:
        """Lowest below highest, and no conductance below zero."""
        limits, shape = instrument.limits, (instrument.n_elements,)
        assert instrument.n_elements >= 1
        assert limits.lowest.shape == limits.highest.shape == shape
        assert (limits.lowest >= 0).all()
        assert (limits.lowest < limits.highest).all()

    def test_program_returns_values_within_the_limits(self, instrument: TunableResistor) -> None:
        """One for each element, finite float64."""
        for wish in self.wishes(instrument):
            realised = instrument.program(wish)
            assert realised.shape == (instrument.n_elements,)
            assert realised.dtype == np.float64
            assert np.isfinite(realised).all()
            assert (realised >= instrument.limits.lowest * (1 - _ROUNDING)).all()
            assert (realised <= instrument.limits.highest * (1 + _ROUNDING)).all()

    def test_a_wish_beyond_the_limits_is_brought_to_the_nearer_end(self, instrument: TunableResistor) -> None:
        """Each element for itself: those with an allowed wish get it."""
        limits, wish = instrument.limits, self.wishes(instrument)[self.n_wishes // 2]
        allowed = instrument.program(wish)
        for element in range(instrument.n_elements):
            for end, beyond in ((limits.lowest, 0.5), (limits.highest, 2.0)):
                if end[element] == 0 or np.isinf(end[element]):
                    continue
                wished, expected = wish.copy(), allowed.copy()
                wished[element], expected[element] = beyond * end[element], end[element]
                assert instrument.program(wished) == pytest.approx(expected, rel=_ROUNDING)

    def test_a_wish_below_zero_is_brought_to_the_lowest(self, instrument: TunableResistor) -> None:
        """A rule may ask for it; no part has it."""
        realised = instrument.program(np.full(instrument.n_elements, -1.0))
        assert realised == pytest.approx(instrument.limits.lowest, rel=_ROUNDING, abs=0)

    def test_a_wish_of_nan_is_refused(self, instrument: TunableResistor) -> None:
        """It has no nearest value; what was held is held still."""
        wish = self.wishes(instrument)[0]
        realised = instrument.program(wish)
        wish[-1] = np.nan
        with pytest.raises(LimitError) as caught:
            instrument.program(wish)
        assert instrument.name in str(caught.value)
        assert f"element {instrument.n_elements - 1}" in str(caught.value)
        assert (instrument.read() == realised).all()

    def test_read_returns_what_program_returned_last(self, instrument: TunableResistor) -> None:
        """From the part itself where it can be read back, from memory where it can't."""
        for wish in self.wishes(instrument):
            realised = instrument.program(wish)
            assert instrument.read() == pytest.approx(realised, rel=_ROUNDING)
            assert instrument.read() == pytest.approx(realised, rel=_ROUNDING)
        assert instrument.abilities <= {Ability.READ_BACK}

    def test_read_before_program_has_a_value_for_each_element(self, instrument: TunableResistor) -> None:
        """NaN, where it can't know."""
        assert instrument.read().shape == (instrument.n_elements,)

    def test_a_realised_value_is_a_fixed_point(self, instrument: TunableResistor) -> None:
        """Programmed again it returns itself, so that a resumed run does not creep."""
        for wish in self.wishes(instrument):
            realised = instrument.program(wish)
            assert instrument.program(realised).tolist() == realised.tolist()

    def test_the_neighbours_bracket_the_wish_and_are_realisable(self, instrument: TunableResistor) -> None:
        """Stochastic rounding takes either, and must get it."""
        for wish in self.wishes(instrument):
            below, above = instrument.neighbours(wish)
            assert below.shape == above.shape == (instrument.n_elements,)
            assert (below <= wish).all()
            assert (wish <= above).all()
            assert instrument.program(below).tolist() == below.tolist()
            assert instrument.program(above).tolist() == above.tolist()

    def test_the_nearer_neighbour_is_taken(self, instrument: TunableResistor) -> None:
        """In conductance, whatever the part's own scale is."""
        for wish in self.wishes(instrument):
            below, above = instrument.neighbours(wish)
            off = np.abs(instrument.program(wish) - wish)
            assert off == pytest.approx(np.minimum(wish - below, above - wish), rel=1e-6, abs=1e-9 * wish.max())

    def test_the_neighbours_of_a_realised_value_are_itself(self, instrument: TunableResistor) -> None:
        """Nothing lies between a value and itself."""
        realised = instrument.program(self.wishes(instrument)[0])
        for neighbour in instrument.neighbours(realised):
            assert neighbour.tolist() == realised.tolist()

    def test_the_neighbours_of_a_wish_beyond_the_limits_are_the_nearer_end(self, instrument: TunableResistor) -> None:
        """There is nothing on the other side."""
        limits = instrument.limits
        for end, wish in ((limits.lowest, 0.5 * limits.lowest), (limits.highest, 2 * limits.highest)):
            if not np.isfinite(end).all():
                continue
            for neighbour in instrument.neighbours(wish):
                assert neighbour == pytest.approx(end, rel=_ROUNDING, abs=0)

    def test_what_stays_is_not_moved_by_making_safe(self, instrument: TunableResistor) -> None:
        """A bench believes it: where `stays` is True it programs nothing anew."""
        if not instrument.stays:
            pytest.skip(f"{instrument.name} does not promise it")
        realised = instrument.program(self.wishes(instrument)[-1])
        true = self.observe(instrument)
        instrument.make_safe()
        assert instrument.read() == pytest.approx(realised, rel=_ROUNDING)
        if true is not None:
            assert self.observe(instrument) == pytest.approx(true, rel=self.tolerance)

    def test_each_element_is_programmed_by_itself(self, instrument: TunableResistor) -> None:
        """A change of one moves that one and no other, neither as told nor as it truly is."""
        first, other = self.span(instrument)
        before = instrument.program(first)
        true_before = self.observe(instrument)
        for element in range(instrument.n_elements):
            wish = first.copy()
            wish[element] = other[element]
            realised = instrument.program(wish)
            assert (realised != before).tolist() == (np.arange(instrument.n_elements) == element).tolist()
            true = self.observe(instrument)
            if true is not None and true_before is not None:
                rest = np.arange(instrument.n_elements) != element
                assert true[rest] == pytest.approx(true_before[rest], rel=self.tolerance)

    def test_what_is_truly_there_is_what_program_returned(self, instrument: TunableResistor) -> None:
        """Within the stated tolerance."""
        for wish in self.wishes(instrument):
            realised = instrument.program(wish)
            true = self.observe(instrument)
            if true is None:
                pytest.skip(f"nobody can measure the elements: {type(self).__name__} does not override observe()")
            assert true == pytest.approx(realised, rel=self.tolerance)

    def test_the_callers_array_is_unchanged_and_results_are_its_own(self, instrument: TunableResistor) -> None:
        """Overwriting what was passed or returned does not reach the part."""
        wish = self.wishes(instrument)[0]
        passed = wish.copy()
        realised = instrument.program(passed)
        assert (passed == wish).all()
        kept = realised.copy()
        for array in (passed, realised, instrument.read(), *instrument.neighbours(wish)):
            array[:] = 0.0
        assert (instrument.read() == kept).all()
