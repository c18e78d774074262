"""The search: from no fault on, the faults that explain the readings best, and what else explains them nearly as well.

Hypotheses with one fault more are scored at once by `Screen`, at two points: where the nuisances explain most (right
where what is still unexplained is small), and where they are as believed, with more noise than there is (right where
it is large, and would bend them). The best few are fitted for good. Several hypotheses are carried along; at the end
each fault is taken out once and the best that could stand in its place is tried, so that a first step that was wrong
is undone, and alternatives that can't be told apart are met.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from calibration.errors import ModelError
from calibration.wiring.hypothesis import Hypothesis, Part
from calibration.wiring.model import (
    Fit,
    Normal,
    Observed,
    Point,
    around,
    believed,
    fit,
    linearise,
    nothing,
    unread_sigma,
)
from calibration.wiring.screen import Candidate, Screen

_ROUGH = 3e-3  # of the readings' size: what second orders of the nuisances may leave
_WIDTH, _DEPTH, _ROUNDS = 4, 6, 4
_AT_LEAST, _CHILDREN, _MOST = (
    3,
    10,
    24,
)  # of candidates: always fitted, as is the first of each kind; near; or promising
_NEAR = 12.0  # of ln
_EXPLAINED = 1.2  # chi^2 a reading
_WIDE = 0.5  # of ln G: a belief that wide is a fault's, and what was found of it is kept


@dataclass
class Search:
    """All hypotheses that were fitted, by what they say."""

    observed: Observed
    fits: dict[Hypothesis, Fit | None] = field(default_factory=dict)

    def run(self) -> list[Fit]:
        """Return all fits, the likeliest first."""
        first = self.fitted(self.observed.places.faultless)
        if first is None:
            raise ModelError("the network as it is listed has no voltages: a part of it hangs on nothing")
        front = [first]
        for _ in range(_ROUNDS):
            self.advance(front)
            self.exchange()
            best = self.finished_best()
            if self._explains(best) or any(best is one for one in front):
                break
            front = [best]
        for one in self.ranked():
            if not one.finished and one.ln_evidence > best.ln_evidence - 2 * _NEAR:
                self.fitted(one.hypothesis)
        return self.ranked()

    def advance(self, front: list[Fit]) -> None:
        """Add faults to the hypotheses of a front, one after the other, as long as that explains more."""
        best = max(one.ln_evidence for one in front)
        for _ in range(_DEPTH):
            children: dict[Hypothesis, Fit] = {}
            for parent in front[:_WIDTH]:
                children |= {child.hypothesis: child for child in self.extended(parent)}
            likely = sorted(children.values(), key=lambda one: -one.ln_evidence)[:_WIDTH]
            whole = [one for given_up in likely if (one := self.fitted(given_up.hypothesis)) is not None]
            front = sorted(whole, key=lambda one: -one.ln_evidence)
            if not front or front[0].ln_evidence <= best:
                return
            best = front[0].ln_evidence
            if self._explains(front[0]):  # then nothing that is far behind will overtake it
                front = [one for one in front if one.ln_evidence > best - 2 * _NEAR]

    def ranked(self) -> list[Fit]:
        """Return all fits so far, the likeliest first."""
        return sorted((one for one in self.fits.values() if one is not None), key=lambda one: -one.ln_evidence)

    def exchange(self) -> None:
        """Take each fault of the best hypothesis out, and look for a better one in its place; till none is."""
        for _ in range(_ROUNDS):
            best = self.finished_best()
            for reduced in self.observed.places.reduced(best.hypothesis):
                parent = self.fitted(reduced, best)  # to its end: much hangs on it
                if parent is not None:
                    self.extended(parent)
            self.extended(best)
            self.isolate(best)
            if self.finished_best() is best:
                return

    def isolate(self, best: Fit) -> None:
        """Try a node as cut off where something is wrong with all its branches: one open after the other tells little.

        As long as one branch is left its node follows the far end, so that a part that is stuck explains more.
        """
        network, faulty = self.observed.network, {branch for branch, _ in best.hypothesis.parts}
        for node in range(len(network.nodes)):
            incident = np.flatnonzero((network.plus == node) | (network.minus == node)).tolist()
            if len(incident) > 1 and faulty.issuperset(incident):
                cut = best.hypothesis
                for branch in incident:
                    cut = cut.with_part(branch, Part.OPEN)
                self.fitted(cut, best)

    def finished_best(self) -> Fit:
        """Return the likeliest fit, brought to its end."""
        while not (best := self.ranked()[0]).finished:
            self.fitted(best.hypothesis)
        return best

    def fitted(
        self,
        hypothesis: Hypothesis,
        like: Fit | None = None,
        candidate: Candidate | None = None,
        hope: float = -np.inf,
    ) -> Fit | None:
        """Fit a hypothesis, once. like: one whose found values of faulty branches are kept to start from.

        hope: a log evidence that it should come near to; else it is given up early, until it is asked for again
        without.
        """
        known = self.fits.get(hypothesis)
        if hypothesis not in self.fits or (known is not None and not known.finished and hope == -np.inf):
            start = self._start(hypothesis, like, candidate) if known is None else known.point
            try:
                self.fits[hypothesis] = fit(self.observed, hypothesis, start, hope)
            except (ModelError, np.linalg.LinAlgError):
                self.fits[hypothesis] = None
        return self.fits[hypothesis]

    def extended(self, parent: Fit) -> list[Fit]:
        """Fit the likeliest hypotheses with one fault more than a parent."""
        chosen: dict[Hypothesis, Candidate] = {}
        best = self.ranked()[0].ln_evidence
        explained = self._explains(parent)
        for screen, exact in ((self._screen(parent), True), (self._rough_screen(parent), False)):
            if screen is None:
                continue
            listed = screen.candidates(_MOST, thorough=not explained)
            for number, one in enumerate(listed):
                if number >= _MOST and not one.first:
                    continue
                promises = exact and parent.ln_evidence + one.gain > best - _NEAR / 2
                near = not explained and number < _CHILDREN and one.gain > listed[0].gain - _NEAR
                if number < _AT_LEAST or near or promises or (one.first and not explained):
                    chosen.setdefault(one.hypothesis, one)
        found = []
        for hypothesis, one in sorted(chosen.items(), key=lambda pair: -pair[1].gain):
            made = self.fitted(hypothesis, parent, one, hope=best)
            if made is not None:
                found.append(made)
                best = max(best, made.ln_evidence)
        return found

    def _explains(self, fitted: Fit) -> bool:
        """Say whether a fit leaves so little that no nuisance is bent: then the first screen is to be trusted."""
        return fitted.chi_square < _EXPLAINED * self.observed.y.size

    def _screen(self, parent: Fit) -> Screen:
        return Screen(self.observed, parent.hypothesis, parent.belief, *around(self.observed, parent), parent.point)

    def _rough_screen(self, parent: Fit) -> Screen | None:
        observed, belief = self.observed, parent.belief
        point = self._start(parent.hypothesis, parent, None)
        size = np.sqrt((observed.y**2).mean(axis=2))
        sigma = np.hypot(unread_sigma(observed, parent.hypothesis, observed.sigma), _ROUGH * size)
        try:
            at = linearise(observed, parent.hypothesis, belief, point, sigma)
        except ModelError:
            return None
        return Screen(observed, parent.hypothesis, belief, at, Normal(observed, belief, at), point)

    def _start(self, hypothesis: Hypothesis, like: Fit | None, candidate: Candidate | None) -> Point:
        belief = believed(self.observed, hypothesis)
        point = nothing(self.observed, belief)
        if like is not None:
            wide = np.minimum(belief.doubt, like.belief.doubt) > _WIDE
            point.shared[wide] = like.point.shared[wide]
        for branch, factor in candidate.ln_factors if candidate is not None else ():
            point.shared[branch] = factor
        return point
