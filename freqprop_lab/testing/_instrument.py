"""What the suites of all three roles share: who an instrument is, and that it can be made safe in any state."""

# ruff: noqa: S101 - these are tests, which happen to live in a package so that others can subclass them

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Generic, NoReturn, TypeVar

import pytest

from freqprop_lab.instruments import Ability, ConnectionLostError, Identity, Instrument, InstrumentError

Role = TypeVar("Role", bound=Instrument)

STATES = ("fresh", "prepared", "working", "finished", "safe", "closed")


class _BodyError(Exception):
    """What goes wrong in the body of a with statement."""


class InstrumentTests(Generic[Role]):
    """The laws of `Instrument`. A suite for a role says how it is prepared, set to work, and found safe.

    quick: s; make_safe may never take longer, and a hung connection would.
    """

    quick = 5.0

    def open_instrument(self) -> Role:
        """Return a fresh, open instrument; the suite closes it. Every driver's author overrides this."""
        raise NotImplementedError(f"{type(self).__name__} must override open_instrument() to return an open instrument")

    def prepare(self, instrument: Role) -> None:
        """Bring it to where the next call makes it work: loaded, armed, programmed."""
        raise NotImplementedError

    def work(self, instrument: Role) -> None:
        """Set a prepared instrument to work."""

    def finish(self, instrument: Role) -> None:
        """End the work."""

    def assert_safe(self, instrument: Role) -> None:
        """Assert that its outputs can harm nothing; the suite of a role that has none leaves it at this."""

    def bring_to(self, instrument: Role, state: str) -> None:
        """Bring a fresh instrument to one of `STATES`."""
        if state in {"prepared", "working", "finished", "safe", "closed"}:
            self.prepare(instrument)
        if state in {"working", "finished", "safe", "closed"}:
            self.work(instrument)
        if state == "finished":
            self.finish(instrument)
        if state == "safe":
            instrument.make_safe()
        if state == "closed":
            instrument.close()

    @pytest.fixture
    def instrument(self) -> Iterator[Role]:
        """Yield a fresh instrument, closed after the test."""
        with self.open_instrument() as instrument:
            yield instrument

    def test_it_tells_who_it_is(self, instrument: Role) -> None:
        """The run log names every instrument, so maker and model may not be empty."""
        identity = instrument.identify()
        assert isinstance(identity, Identity)
        assert identity.manufacturer.strip()
        assert identity.model.strip()

    def test_it_has_a_name_a_clock_and_abilities(self, instrument: Role) -> None:
        """Messages need the name; the bench asks for clock and abilities."""
        assert instrument.name.strip()
        assert instrument.clock.strip()
        assert isinstance(instrument.abilities, frozenset)
        assert all(isinstance(ability, Ability) for ability in instrument.abilities)

    @pytest.mark.parametrize("state", STATES)
    def test_make_safe_works_in_every_state(self, state: str) -> None:
        """It raises nothing, leaves the outputs where they harm nothing, and does not hang."""
        instrument = self.open_instrument()
        try:
            self.bring_to(instrument, state)
            started = time.monotonic()
            instrument.make_safe()
            assert time.monotonic() - started < self.quick
        finally:
            instrument.close()
        self.assert_safe(instrument)

    @pytest.mark.parametrize("state", STATES)
    def test_closing_is_safe_in_every_state_and_a_second_time_does_nothing(self, state: str) -> None:
        """Whoever closes need not know what went before."""
        instrument = self.open_instrument()
        self.bring_to(instrument, state)
        instrument.close()
        instrument.close()
        self.assert_safe(instrument)

    def test_a_closed_instrument_says_that_it_is_closed(self) -> None:
        """After close(), preparing raises ConnectionLostError with the instrument's name."""
        instrument = self.open_instrument()
        instrument.close()
        with pytest.raises(ConnectionLostError) as caught:
            self.prepare(instrument)
        assert instrument.name in str(caught.value)

    def test_leaving_the_context_makes_safe_although_the_body_raised(self) -> None:
        """The body's own error comes through, and the outputs are safe."""
        instrument = self.open_instrument()
        with pytest.raises(_BodyError):
            self._fail_while_working(instrument)
        with pytest.raises(ConnectionLostError):
            self.prepare(instrument)
        self.assert_safe(instrument)

    def test_it_can_be_opened_again_after_it_was_closed(self) -> None:
        """Close gives the connection back."""
        with self.open_instrument() as first:
            self.prepare(first)
        with self.open_instrument() as second:
            self.prepare(second)

    def _fail_while_working(self, instrument: Role) -> NoReturn:
        with instrument:
            self.bring_to(instrument, "working")
            raise _BodyError


def assert_refusal(error: InstrumentError, *named: str) -> None:
    """Assert that a refusal says who and where, what was asked, and that nothing happened."""
    message = str(error)
    for part in (*named, "Nothing was sent"):
        assert part in message, f'the refusal should say "{part}"; it says: {message}'
