"""Whether calibration's intervals hold the truth: python benchmarks/calibration_coverage.py [--quick].

Random benches with every imperfection on; per kind of quantity the share of 95 % intervals that hold the truth, and the
rms error over the Cramer-Rao bound of the drives used, at the true parameters.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np
from _calibration_benches import CONTINUOUS, as_record, fit_again, found_by, random_bench, true_parameters
from _campaign import Row

from calibration.procedure import Findings
from calibration.records import Quantity
from freqprop_lab.values import Array
from simulated_bench.numeric import NumericBench

COMMAND = "python benchmarks/calibration_coverage.py"
SEED = 7000
_LEVELS = ("source gain", "source offset", "meter gain", "meter offset")
_WELL = 0.05  # relative uncertainty: a conductance that the ports tell of at all


class Tally:
    """By kind of quantity: whether each interval held the truth, and errors over bounds."""

    def __init__(self) -> None:
        self.held: dict[str, list[Array]] = {}
        self.over_bound: dict[str, list[Array]] = {}
        self.others: dict[str, list[Array]] = {}

    def hold(self, kind: str, quantity: Quantity, truth: Array) -> None:
        """Hold the truth against a quantity's intervals."""
        low, high = quantity.interval()
        known = np.isfinite(quantity.values)
        self.held.setdefault(kind, []).append(((low <= truth) & (truth <= high))[known])

    def bound(self, kind: str, errors: Array, bounds: Array) -> None:
        """Keep errors over their bounds."""
        self.over_bound.setdefault(kind, []).append((errors / bounds).ravel())

    def keep(self, name: str, values: Array) -> None:
        """Keep anything else."""
        self.others.setdefault(name, []).append(np.ravel(values))

    def of(self, name: str) -> Array:
        """Return what was kept."""
        return np.concatenate(self.others[name])


def calibrate(seed: int, tally: Tally) -> None:
    """Calibrate the bench of a seed, and hold everything against its truth."""
    bench = random_bench(seed)
    truth = bench.truth()
    live = ~np.isnan(bench.resting)
    true = dict(
        zip(
            _LEVELS,
            (truth.source_gain[live], truth.source_offset[live], truth.meter_gain, truth.meter_offset),
            strict=True,
        )
    )
    # Each bench is asked for other values, so that its converters round otherwise.
    volts = float(np.random.default_rng(seed).uniform(0.9, 1.0))
    gains, subject = found_by(bench, "gains", volts=volts)
    for name, values in true.items():
        tally.hold(name, gains.quantity(name), values)
    _against_bound(bench, gains, tally, subject)
    known = {"gains": as_record("gains", gains, bench)}
    offsets, _ = found_by(bench, "offsets", known, volts=volts)
    for name in ("source offset", "meter offset"):
        tally.hold(f"{name}, by offsets", offsets.quantity(name), true[name])
    network, _ = found_by(bench, "network", known, volts=volts)
    tally.hold("conductance", network.quantity("conductance"), bench.truth().tunable)
    skew, _ = found_by(bench, "skew", known, volts=volts)
    tally.hold("skew", skew.quantity("skew"), truth.meter_delay - truth.meter_skew)
    small, _ = found_by(bench, "skew", known, volts=volts / 10, samples=400)
    late = small.quantity("skew")
    tally.hold("skew at a signal of 100 times the noise", late, truth.meter_delay - truth.meter_skew)
    tally.keep("skew", np.abs(late.values - truth.meter_delay + truth.meter_skew) * 2000.0)
    resistors, _ = found_by(bench, "resistors", known, volts=volts, samples=1000)
    table = resistors.quantity("conductance by nominal")
    assert table.points is not None
    nominal = table.points.of(len(table.labels))
    there = np.array([bench.truth().conductance(column) for column in nominal.T]).T
    tally.hold("conductance by nominal", table, there)
    tally.hold("wiper and wire resistance", resistors.quantity("wiper and wire resistance"), 1 / there[:, -1])


def _against_bound(bench: NumericBench, gains: Findings, tally: Tally, subject: object) -> None:
    """Hold what the same readings say of everything against the bound at the truth."""
    fit = fit_again(subject, gains, afresh=True)  # type: ignore[arg-type]
    shared, own = true_parameters(bench, fit)
    bound = fit.bound(shared, [own])
    layout, best = fit.layout, np.sqrt(np.diag(bound.covariance))
    for name in _LEVELS:
        part = getattr(layout, name.replace(" ", "_"))
        tally.bound(name, (fit.found.shared - shared)[part], best[part])
    smallest = np.sqrt(np.diag(bound.own_covariance[0]))
    told = smallest < _WELL
    tally.bound("conductance", (fit.found.own[0] - own)[told], smallest[told])


def accuracy(seeds: Iterable[int]) -> tuple[float, float, int]:
    """Return the shares of branches known to 0.1 %, and truly within it; of benches whose ports tell all branches.

    16 nodes, 32 continuous branches of 0.1 to 1 mS, 1 V, 1 mV of noise, 1e4 samples a reading.
    """
    stated, true, count = [], [], 0
    for seed in seeds:
        bench = random_bench(seed, CONTINUOUS, "0 V")
        network, _ = found_by(bench, "network")
        found = network.quantity("conductance")
        relative = found.standard_uncertainty / found.values
        if (relative > _WELL).any():
            continue
        count += 1
        stated.append(relative)
        true.append(np.abs(found.values / bench.truth().tunable - 1))
    return (*(float((np.concatenate(each) <= 1e-3).mean()) for each in (stated, true)), count)


def quiet(seeds: Iterable[int]) -> Array:
    """Return which intervals of conductances hold the truth, with converters of 305 uV a step and 50 uV of noise."""
    held = []
    for seed in seeds:
        bench = random_bench(seed, CONTINUOUS, "0 V", "50 uV")
        found, _ = found_by(bench, "network")
        low, high = found.quantity("conductance").interval()
        held.append((low <= bench.truth().tunable) & (bench.truth().tunable <= high))
    return np.concatenate(held)


def rows(*, quick: bool = False) -> list[Row]:
    """Return the rows for docs/figures.md; quick: few benches, to try the script."""
    n_benches, tally = (4 if quick else 200), Tally()
    for seed in range(SEED, SEED + n_benches):
        calibrate(seed, tally)
    of = f"{n_benches} random benches, every imperfection on"
    found = []
    for kind, held in tally.held.items():
        together = np.concatenate(held)
        found.append(
            Row(
                f"{of}: {kind}: 95 % intervals that hold the truth",
                f"{together.mean():.1%} of {together.size}",
                COMMAND,
            )
        )
    for kind, ratios in tally.over_bound.items():
        rms = float(np.sqrt((np.concatenate(ratios) ** 2).mean()))
        found.append(
            Row(f"{of}: {kind}: rms error over the Cramer-Rao bound of the drives used", f"{rms:.3f}", COMMAND)
        )
    late = tally.of("skew")
    figure = f"rms {np.sqrt((late**2).mean()):.2%}, 99 of 100 within {np.percentile(late, 99):.2%} of a sample"
    found.append(Row(f"{of}: skew at 100 times the noise, 4 records of 400 samples: error", figure, COMMAND))
    stated, true, count = accuracy(range(SEED, SEED + (8 if quick else 100)))
    figure = f"{stated:.1%} of the branches stated (k = 1), {true:.1%} in truth"
    found.append(
        Row(
            f"{count} benches of 16 nodes and 32 branches that the ports tell, 1 V, 1 mV noise, 1e4 samples a reading: "
            "conductances to 0.1 %",
            figure,
            COMMAND,
        )
    )
    held = quiet(range(SEED, SEED + (8 if quick else 200)))
    claim = "noise of a sixth of a converter's step: conductance: 95 % intervals that hold the truth"
    found.append(Row(claim, f"{held.mean():.1%} of {held.size}", COMMAND))
    return found


if __name__ == "__main__":
    print(f"seeds from {SEED}")
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:140} {row.figure}", flush=True)
