"""How slow a bench is, and what that costs at the frequency of its nudge."""

from __future__ import annotations

import numpy as np

from freqprop_lab.bench import Bench
from freqprop_lab.lockin import error_of_relaxation, highest_frequency, relaxation_time
from freqprop_lab.rules import Example
from freqprop_lab.values import Drive, Nudge
from freqprop_lab.waveform import Sine, Waveform

_WORTH_A_WORD = 0.01  # of b
_SIGNIFICANT = 5.0  # standard errors


def relaxation_note(bench: Bench, waveform: Waveform, error: float = _WORTH_A_WORD) -> str | None:
    """Say by how much b falls short because the network is slow, and which frequency would do; None where it is not.

    For a bench that knows its relaxation times. error: relative, of b.
    """
    times = bench.relaxation_times()
    if not len(times):
        return None
    order, frequency = waveform.last_harmonic or 1, bench.sampling.frequency
    lost = error_of_relaxation(frequency * order, float(times[-1]))
    if lost <= error:
        return None
    proposed = highest_frequency(float(times[-1]), error, order)
    return (
        f"the network takes {times[-1]:.3g} s: at {frequency:g} Hz b falls short by up to {100 * lost:.2g} %. "
        f"Nudge at {proposed:.3g} Hz or below for {100 * error:g} % (sampling.frequency), or extrapolate from two "
        "frequencies"
    )


def measured_relaxation_time(bench: Bench, example: Example, gamma: float) -> float:
    """Measure the longest relaxation time that a nudge shows, s: from the phase of a sine at every node.

    0 where nothing lags beyond its noise, and on a bench that is not synchronised. gamma: S.
    """
    if not bench.synchronised:
        return 0.0
    free = bench.respond(Drive(example.levels))
    gradient = example.objective.gradient(bench.network.read_outputs(free.a))
    response = bench.respond(Drive(example.levels, Nudge(-gamma * gradient, Sine())))
    if response.tones is None:
        return 0.0
    frequency = bench.sampling.frequency
    times = relaxation_time(response, Sine(), frequency, synchronised=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = response.b_stderr / np.abs(response.b) / (2 * np.pi * frequency)
    seen = times[(times > _SIGNIFICANT * noise) & (np.abs(response.b) > _SIGNIFICANT * response.b_stderr)]
    return float(seen.max(initial=0.0))
