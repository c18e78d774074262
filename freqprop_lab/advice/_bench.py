"""The advice for a bench file: what is known of the bench is taken from it, the rest is measured or given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from freqprop_lab.advice._nudge import Advice, Meter, recommend_nudge
from freqprop_lab.advice._relaxation import measured_relaxation_time
from freqprop_lab.bench import Bench, open_bench
from freqprop_lab.config import BenchSettings, ExperimentSettings, check_bench
from freqprop_lab.session import load_bench, prepare

_EXAMPLES = 6


def advise_nudge(
    bench_file: Path,
    experiment: ExperimentSettings,
    error: float,
    *,
    noise: float | None = None,
    sample_rate: float | None = None,
    relaxation_time: float | None = None,
    most_samples: int = 100_000,
) -> Advice:
    """Open a bench, nudge its untrained network as the experiment would, and recommend how to.

    noise (V rms a sample), sample_rate (Hz), relaxation_time (s): those of the bench if None; one that can't know its
    relaxation time is asked by the phase of a nudge, where it is synchronised. A numeric bench is nudged without its
    noise, a wired one as it is.
    """
    experiment = experiment.with_changes({("nudge", "waveform"): None})  # that is what is asked for
    with load_bench(bench_file, experiment) as bench:
        bench.program(prepare(experiment, bench).first_conductances())
        times = bench.relaxation_times()
        rate = sample_rate or bench.sampling.frequency * bench.sampling.samples_per_period
        shared = all(meter.shares_delay for meter in bench.meters)
        meter = Meter(0.0, rate, 0.0, bench.synchronised, shared, most_samples)
        found = bench.sample_noise() if noise is None else noise
        slowest = (float(times[-1]) if len(times) else 0.0) if relaxation_time is None else relaxation_time
        meter = replace(meter, noise=found, relaxation_time=slowest)
        twin = None if bench.settings is None else _without_faults(bench.settings, bench)
        if twin is None:
            return _advise(bench, experiment, meter, error, look_for_relaxation=relaxation_time is None)
    with twin:
        return _advise(twin, experiment, meter, error)


def _advise(
    bench: Bench, experiment: ExperimentSettings, meter: Meter, error: float, *, look_for_relaxation: bool = False
) -> Advice:
    job = prepare(experiment, bench)
    trainer, _ = job.begin(job.first_conductances())
    examples = job.examples(trainer.state, _EXAMPLES)
    gamma = bench.scales.gamma(experiment.model.nudge.gamma)
    try:
        if look_for_relaxation:
            meter = replace(meter, relaxation_time=measured_relaxation_time(bench, examples[0], gamma))
        return recommend_nudge(bench, examples, meter, gamma, error)
    finally:
        bench.make_safe()


def _without_faults(settings: BenchSettings, bench: Bench) -> Bench | None:
    """Open the same bench with every departure from the ideal off, where there is such a thing."""
    if "ideal" not in type(settings.model).model_fields:
        return None
    changes = {("ideal",): True, ("meter", "synchronised"): True}
    document = settings.document.replaced(changes)
    request = replace(bench.request, unsynchronised=False)
    return open_bench(check_bench(document, settings.folder), request)
