"""How surely `wiring` names random faults: python benchmarks/calibration_wiring.py [--quick] [--show].

200 random benches of 16 to 40 nodes, 0 to 3 faults whose effect on the best drive exceeds 8 standard errors, and 150
more without any. The procedure was tuned on benches of other seeds. --show: every bench that was not named exactly,
with what was said instead.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _campaign import Row
from _wiring_benches import KINDS, SAMPLES, SEEN, VOLTS, seen_bench

from calibration.procedures.wiring import Wiring
from calibration.running import run_procedure
from calibration.wiring import Fault, Outcome

COMMAND = "python benchmarks/calibration_wiring.py"
_SEED = 271828
_FULL, _QUICK = (200, 150), (20, 4)  # benches with 0 to 3 faults in turn, and more that have none
# How the procedure calls what the simulated bench's file calls otherwise.
_CALLED = {
    "swapped_reads": "meter leads",
    "swapped_drives": "source leads",
    "swapped_elements": "control lines",
    "open": "open",
    "shorted": "short",
    "wrong": "value",
    "ungrounded": "no ground",
    "unread": "meter lead pulled",
}
Named = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Trial:
    """One bench: what is wrong, what was named, the alternatives; kinds drawn in vain; seconds; the words."""

    number: int
    truth: tuple[Named, ...]
    named: tuple[Named, ...]
    alternatives: tuple[tuple[Named, ...], ...]
    vain: tuple[str, ...]
    seconds: float
    words: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """Exact; ambiguous with the truth among the alternatives; or wrong."""
        if not self.alternatives:
            return "exact" if sorted(self.named) == sorted(self.truth) else "wrong"
        each = [sorted((*self.named, *one)) for one in self.alternatives]
        return "ambiguous" if sorted(self.truth) in each else "wrong"


def trial(number: int, n_faults: int) -> Trial:
    """Draw a bench, run the procedure on it, and compare."""
    rng = np.random.default_rng([_SEED, number])
    with tempfile.TemporaryDirectory() as folder:
        bench, faults, vain = seen_bench(rng, number, n_faults, Path(folder))
    truth = tuple((_CALLED[kind], names) for kind, names in faults.named)
    start = time.perf_counter()
    procedure = Wiring(samples=SAMPLES, volts=VOLTS)
    found = run_procedure(bench, procedure)
    seconds, outcome = time.perf_counter() - start, Outcome.of(found.outcome)
    alternatives = tuple(_named(one.faults) for one in outcome.alternatives)
    return Trial(number, truth, _named(outcome.faults), alternatives, tuple(vain), seconds, found.verdict.words)


def _named(faults: Iterable[Fault]) -> tuple[Named, ...]:
    return tuple((fault.kind, tuple(sorted(fault.where))) for fault in faults)


def share(hits: int, of: int) -> str:
    """Return a share with its 95 % interval (Wilson 1927)."""
    if not of:
        return "none"
    z, p = 1.96, hits / of
    middle, half = p + z**2 / (2 * of), z * np.sqrt(p * (1 - p) / of + z**2 / (4 * of**2))
    low, high = (middle - half) / (1 + z**2 / of), (middle + half) / (1 + z**2 / of)
    return f"{hits} of {of} ({100 * p:.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f} %)"


def rows(*, quick: bool = False, show: bool = False) -> list[Row]:
    """Return shares of benches, by number and by kind of faults."""
    drawn, more = _QUICK if quick else _FULL
    n_faults = [number % 4 for number in range(drawn)] + [0] * more
    with ProcessPoolExecutor(2) as pool:
        trials = list(pool.map(trial, range(len(n_faults)), n_faults))
    if show:
        for one in trials:
            if one.outcome != "exact":
                print(one.number, one.outcome, "truth", one.truth, "named", one.named, "or", one.alternatives)
    faultless, faulty = [one for one in trials if not one.truth], [one for one in trials if one.truth]
    where = f"random benches of 16 to 40 nodes, effect above {SEEN:g} standard errors"
    found = [
        Row(f"wiring, {where}: no false alarm on the faultless", _exact(faultless), COMMAND),
        Row(f"wiring, {where}: all faults named exactly", _exact(faulty), COMMAND),
    ]
    for outcome in ("ambiguous", "wrong"):
        hits = sum(one.outcome == outcome for one in faulty)
        what = "called ambiguous, the truth among the alternatives" if outcome == "ambiguous" else "named wrongly"
        found.append(Row(f"wiring: {what}", share(hits, len(faulty)), COMMAND))
    for count in (1, 2, 3):
        chosen = [one for one in faulty if len(one.truth) == count]
        found.append(Row(f"wiring: all named exactly, {count} fault{'s' * (count > 1)}", _exact(chosen), COMMAND))
    for kind in KINDS:
        told = [(named in one.named, named) for one in faulty for named in one.truth if named[0] == _CALLED[kind]]
        vain = Counter(kind for one in trials for kind in one.vain)[kind]
        figure = f"{share(sum(hit for hit, _ in told), len(told))}; {vain} draws were too small to be seen"
        found.append(Row(f"wiring: named, of the kind {_CALLED[kind]}", figure, COMMAND))
    seconds = [one.seconds for one in trials]
    time_taken = f"median {np.median(seconds):.1f} s, longest {max(seconds):.1f} s"
    found.append(Row("wiring: time for measuring on the numeric bench and searching", time_taken, COMMAND))
    return found


def _exact(trials: list[Trial]) -> str:
    return share(sum(one.outcome == "exact" for one in trials), len(trials))


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv, show="--show" in sys.argv):
        print(f"{row.claim:110} {row.figure}")
