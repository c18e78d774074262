"""`bias`: the update that the bench makes when the error is zero. A nudge of no amplitude, and the b that it shows.

The generator runs and drives nothing; what the lock-in finds all the same is pickup: the generator's own signal on the
meters' wires. Every step then moves each conductance by -alpha a b of that b, whatever the error, and training stops
where the error's own update is as small: the floor of published rigs. Subtracted, it is gone, as long as it is the same
at every level; so several levels are tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from calibration._numbers import rounded
from calibration.errors import ProcedureError
from calibration.options import option, samples, volts
from calibration.ports import task_levels
from calibration.procedure import Findings, ListedProcedure, Measurement, Taken
from calibration.record_names import FREQUENCY, PICKUP, QUADRATURE
from calibration.records import Quantity, Verdict
from calibration.responses import in_phase, respond
from calibration.subject import Subject
from freqprop_lab.names import shown
from freqprop_lab.values import Array, ChannelDrive
from freqprop_lab.waveform import default_waveform

_CHANCE = 0.01  # that levels seem to matter at any channel where they don't
_SURELY = 4.0  # standard errors: a pickup that is worth a sentence
_NAMED = 3
_ASSUMED = (
    "the generator runs in training as it does here: same waveform, same frequency, same wires",
    "what is picked up does not grow with the nudge's amplitude (calibrate gradient would show that as a scale)",
    "the pickup is in volts as the uncorrected meter reads them; gain and skew are applied when it is subtracted",
)


@dataclass(frozen=True)
class Bias(ListedProcedure):
    """The nudge's generator on, at no amplitude, and several sets of levels."""

    samples: int = samples(20_000)
    volts: float = volts("The largest level of an input; less where a limit or a rating is nearer.")
    levels: int = option(4, "How many sets of levels, rest included; 2 tell whether they matter.", low=1)

    name = "bias"
    title = "the update that is made at no error"
    needs = ("the nudge's generator running, as in training, with its leads where they will be",)
    of_resistors = False

    def measurements(self, subject: Subject) -> list[Measurement]:
        """Return a record for each set of levels, the nudge's waveform on at no amplitude."""
        waveform = default_waveform(synchronised=subject.synchronised)
        if not subject.synchronised:
            raise ProcedureError(
                "the meters are not synchronised with the nudge, so a pickup's phase is new in every record and "
                "can't be subtracted. Wire a trigger from the source to the meters (triggers: in the bench file)"
            )
        periods, still = subject.periods_for(self.samples), np.zeros(len(subject.leads))
        frequency = subject.sampling.frequency
        return [
            Measurement(ChannelDrive(row, still, waveform), None, periods, frequency, "no nudge, generator on")
            for row in task_levels(subject, self.volts, self.levels)
        ]

    def evaluate(self, subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]) -> Findings:
        """Average over the levels, and say whether they matter."""
        waveform = default_waveform(synchronised=subject.synchronised)
        responses = [respond(subject, each, waveform) for each in taken]
        network, read = subject.network, subject.read
        a, b = (np.array([getattr(each, name) for each in responses]) for name in ("a", "b"))
        variance = np.array([each.b_stderr**2 for each in responses])
        pickup = (b / variance).sum(axis=0) / (1 / variance).sum(axis=0)
        stderr = np.sqrt(1 / (1 / variance).sum(axis=0))
        tones = np.mean([each.tones for each in responses if each.tones is not None], axis=0)
        quadrature = in_phase(np.asarray(tones * -1j), waveform)
        chi_square = ((b - pickup) ** 2 / variance).sum(axis=0)[read]
        changes = self.levels > 1 and chdtrc(self.levels - 1, chi_square) < _CHANCE / read.sum()
        matters = np.flatnonzero(read)[changes] if self.levels > 1 else np.zeros(0, dtype=np.intp)
        # Where levels matter, what is subtracted is off by as much as they scatter: type B, rectangular.
        spread = np.where(np.isin(np.arange(len(read)), matters), np.ptp(b, axis=0) / np.sqrt(12), 0.0)
        channels = subject.read_channels
        update, doubt = self._updates(subject, a, b, variance)
        known = ~np.isnan(update)
        elements = tuple(name for name, is_known in zip(network.tunable_names, known, strict=True) if is_known)
        return Findings(
            (
                Quantity(PICKUP, "V", channels, pickup[read], stderr[read], spread[read]),
                Quantity(QUADRATURE, "V", channels, quadrature[read], stderr[read], np.zeros(len(channels))),
                Quantity("update bias", "V^2", elements, update[known], doubt[known], np.zeros(len(elements))),
            ),
            self._verdict(subject, pickup, stderr, b, matters, update),
            {"waveform": waveform.name, FREQUENCY: taken[0].frequency},
            _ASSUMED,
            {"levels": np.array([one.drive.levels for one in measured]), "a": a, "b": b, "variance": variance},
            outcome={"holds_at_all_levels": not len(matters)},
        )

    def _updates(self, subject: Subject, a: Array, b: Array, variance: Array) -> tuple[Array, Array]:
        """Return a b of every element, V^2, (tunable,), mean over the levels, and its standard error."""
        network = subject.network
        across = network.across_tunable(a)
        product = across * network.across_tunable(b)
        plus, minus = network.tunable_ends
        padded = np.pad(variance, ((0, 0), (0, 1)))
        doubt = np.sqrt((across**2 * (padded[:, plus] + padded[:, minus])).sum(axis=0)) / len(a)
        return product.mean(axis=0), doubt

    def _worst(self, subject: Subject, update: Array) -> str:
        """Say which element would be updated most; nothing where none would, or none is read at both ends."""
        if np.isnan(update).all():
            return ""
        worst = int(np.nanargmax(np.abs(update)))
        size = rounded(update[worst], "V^2")
        return f"; with no error at all {subject.network.tunable_names[worst]} would be updated as if a b were {size}"

    def _verdict(
        self, subject: Subject, pickup: Array, stderr: Array, b: Array, matters: NDArray[np.intp], update: Array
    ) -> Verdict:
        surely = np.abs(np.nan_to_num(pickup)) > _SURELY * np.nan_to_num(stderr, nan=np.inf)
        order = [int(node) for node in np.argsort(-np.abs(np.nan_to_num(pickup))) if surely[node]]
        if not order and not len(matters):
            least = float(np.nanmax(stderr))
            return Verdict("good", (f"no pickup beyond {rounded(2 * least, 'V', 2)}",))
        words = []
        if order:
            sizes = [rounded(pickup[node], "V") for node in order[:_NAMED]]
            named = [f"{size} at {subject.channel_at(node)}" for size, node in zip(sizes, order, strict=False)]
            read = f"{len(order)} channels read the generator itself, most of all {shown(named)}"
            words.append(f"{read}{self._worst(subject, update)}")
        if not len(matters):
            same = f"it is the same at {self.levels} sets of levels, and subtracted once this record is in use"
            return Verdict("good", (*words, same))
        named = [
            f"{subject.channel_at(int(node))} by {rounded(float(np.ptp(b[:, node])), 'V', 2)}"
            for node in sorted(matters, key=lambda node: -np.ptp(b[:, node]))[:_NAMED]
        ]
        words.insert(
            0,
            f"what is picked up depends on the levels, at {shown(named)}, so no subtraction holds: part the meters' "
            "leads from the generator's, look for a source whose nudge output does not go to zero, and for a ground "
            "that both share",
        )
        return Verdict("bad", tuple(words))
