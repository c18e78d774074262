"""What calibration is worth to training, at small n; benchmarks/calibration_training.py shows it over ten seeds."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from calibration_training import train_one


def test_a_calibrated_bench_trains_as_an_ideal_one_and_an_uncalibrated_one_does_not():
    """2 % gains about a common mode of 2.5 V, 5 mV offsets, skews of 3 samples, bent wipers; targets fixed in volts."""
    ideal, calibrated, raw = (train_one("fixed", kind, 0, 12).after for kind in ("ideal", "calibrated", "uncalibrated"))
    assert calibrated < 1.25 * ideal
    assert raw > 2 * ideal
