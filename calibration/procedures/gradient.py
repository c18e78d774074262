"""`gradient`: the update that training would make, held against finite differences made on the bench itself.

Free record -> outputs, off their targets by a stated error g -> nudged record -> a b / gamma of every element; beside
it chosen elements are programmed up and down, and the cost is read at the outputs: dC/dG. Then the nudge is varied
(none, half of it, half the frequency, one output at a time, all sources together), so that each fault shows by itself.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from calibration.drives import in_step, sizes, within_nudge_rating
from calibration.errors import ProcedureError
from calibration.gradient import (
    Cause,
    Comparison,
    Drives,
    Effect,
    Point,
    Responses,
    Seen,
    Slope,
    Written,
    effects,
    exchanged_leads,
    fit_delays,
    frequency_to_use,
    gamma_to_use,
    port_lines,
    quantities,
    slope_at,
    verdict,
)
from calibration.options import FRACTION, option, samples, volts
from calibration.ports import from_outputs, task_levels
from calibration.procedure import Findings, Measurement, Plan, Procedure, Process, Taken, plan_of
from calibration.reading import readings
from calibration.record_names import DIFFERENCE, FREQUENCY, PRODUCT
from calibration.responses import respond
from calibration.subject import Subject
from freqprop_lab.names import nearest, shown
from freqprop_lab.values import Array, ChannelDrive, Response
from freqprop_lab.waveform import TwoTone, default_waveform

_STRONG = 0.2  # of what levels may be: the nudge that tells delays
_SAME = 1e-9  # relative: closer than this two conductances are one
_ASSUMED = (
    "the network between the nodes is passive, and nothing drifts while an element is turned up and down",
    "elements move by what `program` says: one that is 10 % off shows as 10 % of its own gradient",
    "gains and offsets of the meters are corrected, or small beside the tolerance",
    "delays are told apart from settling as if each node had one pole",
)


@dataclass(frozen=True)
class Gradient(Procedure):
    """The update of one example, each output off its target by `error`, and what turning elements does to its cost."""

    samples: int = samples(10_000)
    volts: float = volts("Size of the inputs' levels; less where a limit or a rating is nearer.")
    error: float = option(0.1, "By how much each output misses its target.", unit="V", low=1e-9)
    gamma: float = option(1.0, "Strength of the nudge, task units.", low=1e-12)
    alpha: float = option(0.01, "Learning rate, task units.", low=1e-12)
    elements: str = option("12", "How many are turned, of all sizes of |a b|; all; or names with commas.")
    step: float = option(0.2, "By how much of itself an element is turned.", unit=FRACTION, low=0.001, high=0.9)
    tolerance: float = option(0.05, "By how much of itself the gradient may be off.", unit=FRACTION, low=1e-6, high=1)

    name = "gradient"
    title = "the nudge's gradient against finite differences"
    needs = (
        "both nodes of every output read and nudged",
        "elements that may be turned up and down by a fifth while the levels are on",
        "gains, offsets and skew corrected, or known to be small",
    )
    wants_corrected_bench = True

    def plan(self, subject: Subject) -> Plan:
        """Say what will be driven. Raises ProcedureError, SubjectError."""
        drives = self._drives(subject)
        self._candidates(subject)
        listed = [
            drives.free,
            drives.zero,
            drives.full,
            *drives.weak,
            *drives.slow,
            *drives.ports,
            *drives.all_together,
        ]
        count, ends = self._count(subject), self._ends(subject)
        turned = [Measurement(drives.free.drive, ends[turn % 2], drives.periods) for turn in range(4 * count + 3)]
        words = (
            f"{count} elements are turned by {self.step:.0%} and {self.step / 2:.0%} both ways, one by one, and put "
            "back, by a step of theirs where those are coarser; once all are moved by the update of one example, no "
            "further than that",
        )
        return plan_of(subject, listed + turned, words)

    def process(self, subject: Subject) -> Process:
        """Drive, turn, compare. The elements end as they were; if it is stopped, one may be left turned."""
        drives = self._drives(subject)
        start = Measurement(drives.free.drive, subject.conductances, drives.periods, drives.frequency, "free record")
        base = yield start
        free = self._point(subject, base)
        responses = yield from self._respond(subject, drives)
        product = responses.product
        chosen = self._chosen(subject, product)
        slopes: dict[int, Slope] = {}
        step = np.nan
        for number in chosen:
            points = yield from self._turn(subject, drives, base.conductances, number)
            here = replace(free, conductance=float(base.conductances[number]))
            found = slope_at(here, points, drives.gradient)
            if found is not None:
                slopes[number] = found
                moves = [abs(point.conductance - here.conductance) for point in points]
                step = np.fmin(step, min((move for move in moves if move > 0), default=np.nan))
        if len(slopes) < 3:
            raise ProcedureError(
                f"only {len(slopes)} of {len(chosen)} elements moved when they were programmed; look at the resistors' "
                "control lines and limits, or name other --elements"
            )
        written = yield from self._update(subject, drives, base, free, product)
        yield Measurement(drives.free.drive, base.conductances, 1, drives.frequency, "elements put back")
        return self._findings(subject, drives, responses, slopes, written, float(step))

    def _drives(self, subject: Subject) -> Drives:
        network = subject.network
        if not network.outputs:
            raise ProcedureError("the bench's network has no outputs; list them under network.outputs")
        gradient = np.asarray(self.error * (-1.0) ** np.arange(len(network.outputs)), dtype=np.float64)
        gamma = subject.scales.gamma(self.gamma)
        nudge = np.asarray(-gamma * from_outputs(subject) * gradient)
        levels = task_levels(subject, self.volts, 2)[1]
        self._check_nudge(subject, levels, nudge)
        size = within_nudge_rating(subject, _STRONG * sizes(subject, self.volts))
        # Voltages move all nodes alike; currents do what they can.
        size = np.where(subject.voltage, in_step(subject, size), np.where(subject.live, size, 0.0))
        together = ChannelDrive(subject.resting, size, TwoTone())
        waveform = default_waveform(synchronised=subject.synchronised)
        sampling = subject.sampling
        periods = subject.periods_for(self.samples)
        lockin = subject.lockin
        orders = range(1, lockin.hum_harmonics + 1) if lockin.hum else ()
        hum = tuple((lockin.hum or 0.0) * order for order in orders)
        return Drives(levels, gradient, nudge, gamma, waveform, together, sampling.frequency, periods, hum)

    def _check_nudge(self, subject: Subject, levels: Array, nudge: Array) -> None:
        amplitudes = np.abs(nudge.sum(axis=1))
        room = within_nudge_rating(subject, np.minimum(subject.source_high - levels, levels - subject.source_low))
        over = np.flatnonzero(subject.live & (amplitudes > room))
        if len(over):
            lead = subject.leads[int(over[0])]
            raise ProcedureError(
                f"{lead.name} at node {subject.node_of(lead)} would get a nudge of {amplitudes[over[0]]:.4g} "
                f"{lead.unit}, it has room for {room[over[0]]:.4g} {lead.unit}. Nothing was driven; lower --gamma, "
                "--error or --volts"
            )

    def _respond(self, subject: Subject, drives: Drives) -> Generator[Measurement, Taken, Responses]:
        found: dict[str, Response] = {}
        for name in ("zero", "full"):
            taken = yield getattr(drives, name)
            found[name] = respond(subject, taken, drives.waveform)
            frequency = taken.frequency if name == "full" else drives.frequency
        ports = []
        for measurement in drives.ports:
            ports.append(respond(subject, (yield measurement), drives.waveform))
        together, frequencies = [], []
        for measurement in drives.all_together:
            taken = yield measurement
            together.append(respond(subject, taken, TwoTone()))
            frequencies.append(taken.frequency)
        tones = [response.tones for response in together if response.tones is not None]
        delays = fit_delays(tones, frequencies, [response.b_stderr for response in together])
        responses = Responses(
            subject.network,
            drives.waveform,
            drives.gamma,
            frequency,
            weak=(),
            slow=(),
            slow_frequencies=(),
            ports=tuple(ports),
            delays=delays,
            **found,
        )
        for measurement in drives.weak:
            weak = respond(subject, (yield measurement), drives.waveform)
            responses = replace(responses, weak=(*responses.weak, weak))
            if self._is_little(responses, responses.bending(), self.tolerance / 3):
                break
        for measurement in drives.slow:
            taken = yield measurement
            slow = respond(subject, taken, drives.waveform)
            hertz = (*responses.slow_frequencies, taken.frequency)
            responses = replace(responses, slow=(*responses.slow, slow), slow_frequencies=hertz)
            follows = self._is_little(responses, responses.unsettled(), self.tolerance / 3)
            # A slow part that hardly answers yet shows by its phase alone.
            if follows and self._is_little(responses, responses.lagging(), self.tolerance):
                break
        return responses

    def _is_little(self, responses: Responses, effect: Effect, share: float) -> bool:
        """Say whether an effect is less than a share of the gradient, as far as noise lets see."""
        whole, size, noise = (
            float(np.linalg.norm(np.nan_to_num(values)))
            for values in (responses.product.values, effect.values, effect.uncertainty)
        )
        return size < max(share * whole, 2 * noise)

    def _point(self, subject: Subject, taken: Taken, conductance: float = np.nan) -> Point:
        if subject.lockin.hum is None:
            volts, noise = (each[0] for each in readings([taken.record]))
        else:  # block means would take hum for drift; the lock-in fits it
            response = respond(subject, taken, default_waveform(synchronised=subject.synchronised))
            volts, noise = response.a, response.a_stderr
        outputs = subject.network.read_outputs(volts)
        if np.isnan(outputs).any():
            name = subject.network.outputs[int(np.isnan(outputs).argmax())].name
            raise ProcedureError(f"output {name} is not read at both ends; wire a meter channel to each of them")
        ends = (np.append(noise, 0.0)[end] for end in subject.network.output_ends)
        return Point(conductance, outputs, np.hypot(*ends))

    def _turn(
        self, subject: Subject, drives: Drives, base: Array, number: int
    ) -> Generator[Measurement, Taken, list[Point]]:
        """Turn one element both ways, by two sizes of step."""
        points = []
        name = subject.network.tunable_names[number]
        for target in self._targets(subject, number):
            turned = base.copy()
            turned[number] = target
            taken = yield Measurement(drives.free.drive, turned, drives.periods, drives.frequency, f"{name} turned")
            points.append(self._point(subject, taken, float(taken.conductances[number])))
        return points

    def _update(
        self, subject: Subject, drives: Drives, base: Taken, free: Point, product: Effect
    ) -> Generator[Measurement, Taken, Written]:
        """Program the update that training would make of this example, as far as was planned, and see what it does."""
        alpha, held = subject.scales.alpha(self.alpha), base.conductances
        wished = held - alpha * drives.gamma * np.nan_to_num(product.values)
        wished = np.clip(wished, *self._ends(subject))
        taken = yield Measurement(drives.free.drive, wished, drives.periods, drives.frequency, "the update programmed")
        after, gradient = self._point(subject, taken), drives.gradient
        effect = float(gradient @ (after.outputs - free.outputs))
        doubt = float(np.linalg.norm(gradient * np.hypot(after.noise, free.noise)))
        return Written(wished - held, taken.conductances - held, alpha, effect, doubt)

    def _targets(self, subject: Subject, number: int) -> list[float]:
        """Return what an element is turned to, S: by the step and half of it, both ways, by one of its own at least."""
        held, rungs = float(subject.conductances[number]), subject.ladder[number]
        low, high = subject.conductance_low[number], subject.conductance_high[number]
        found = []
        for share in (self.step, -self.step, self.step / 2, -self.step / 2):
            target = float(np.clip(held * (1 + share), low, high))
            if rungs is not None:
                beyond = rungs[rungs > held * (1 + _SAME)] if share > 0 else rungs[rungs < held * (1 - _SAME)]
                target = float(beyond[np.abs(beyond - target).argmin()]) if len(beyond) else held
            if abs(target / held - 1) > _SAME and target not in found:
                found.append(target)
        return found

    def _ends(self, subject: Subject) -> tuple[Array, Array]:
        """Return between what elements are programmed, S, (tunable,) each."""
        held = subject.conductances
        targets = [[*self._targets(subject, number), held[number]] for number in range(len(held))]
        low, high = subject.conductance_low, subject.conductance_high
        return (
            np.minimum([min(each) for each in targets], np.clip(held * (1 - self.step), low, high)),
            np.maximum([max(each) for each in targets], np.clip(held * (1 + self.step), low, high)),
        )

    def _candidates(self, subject: Subject) -> list[int]:
        """Return which elements could be compared, those that were named in their order. Raises ProcedureError."""
        names = subject.network.tunable_names
        read = np.append(subject.read, True)  # ground, whose voltage needs no meter
        plus, minus = subject.network.tunable_ends
        able = read[plus] & read[minus] & (subject.conductance_high > subject.conductance_low)
        order = np.flatnonzero(able).tolist()
        if not self._is_number_of_elements():
            wanted = [name.strip() for name in str(self.elements).split(",")]
            for name in wanted:
                if name not in names:
                    raise ProcedureError(f'--elements: no tunable branch "{name}".{nearest(name, names)}')
            order = [names.index(name) for name in wanted if able[names.index(name)]]
        count = min(self._count(subject), len(order))
        if count < 3:
            unread = shown([name for name, is_able in zip(names, able, strict=True) if not is_able]) or "none"
            raise ProcedureError(
                f"{count} elements can be compared, at least 3 are wanted; not read, or fixed: {unread}. Nothing was "
                "driven; wire meter channels to their ends, or name more --elements"
            )
        return order

    def _is_number_of_elements(self) -> bool:
        asked = str(self.elements)
        return asked.isdecimal() or asked == "all"

    def _count(self, subject: Subject) -> int:
        n_elements = len(subject.network.tunable)
        asked = str(self.elements)
        if asked.isdecimal():
            return min(int(asked), n_elements)
        return n_elements if asked == "all" else len(asked.split(","))

    def _chosen(self, subject: Subject, product: Effect) -> list[int]:
        """Return elements that span the sizes of |a b|, the largest first, or those that were named."""
        order = self._candidates(subject)
        if self._is_number_of_elements():
            size = np.abs(np.nan_to_num(product.values))
            order = sorted(order, key=lambda number: -float(size[number]))
        count = min(self._count(subject), len(order))
        return [order[int(place)] for place in np.linspace(0, len(order) - 1, count).round()]

    def _findings(
        self,
        subject: Subject,
        drives: Drives,
        responses: Responses,
        slopes: dict[int, Slope],
        written: Written,
        step: float,
    ) -> Findings:
        chosen = list(slopes)
        lines = port_lines(responses, slopes, drives.gradient)
        wrong = responses.reversed_ports(drives.gradient) | {
            output for output, line in enumerate(lines) if line.slope + 2 * line.slope_uncertainty < 0
        }
        exchanged, by_sign = exchanged_leads(responses, slopes, drives.gradient, sorted(wrong))
        found = {
            cause: Effect(each.values[chosen], each.uncertainty[chosen]) for cause, each in effects(responses).items()
        }
        product = responses.product
        compared = Comparison(
            product.values[chosen],
            product.uncertainty[chosen],
            np.array([slope.cost for slope in slopes.values()]),
            np.array([slope.cost_uncertainty for slope in slopes.values()]),
            found | {Cause.SIGN: by_sign},
            self.tolerance,
        )
        seen = Seen(subject, responses, compared, chosen, exchanged, written, step)
        judged, cause = verdict(seen)
        outcome = {
            "main_cause": cause,
            "gamma_to_use": gamma_to_use(seen) / subject.scales.gamma(1.0) if cause == Cause.GAMMA.value else None,
            "frequency_to_use": frequency_to_use(seen) if cause == Cause.OMEGA.value else None,
        }
        return Findings(
            quantities(seen, slopes, lines),
            judged,
            {FREQUENCY: responses.frequency, "waveform": drives.waveform.name},
            _ASSUMED,
            {
                PRODUCT: compared.product,
                "product_stderr": compared.product_uncertainty,
                DIFFERENCE: compared.difference,
                "difference_stderr": compared.difference_uncertainty,
                "levels": drives.levels,
                "nudge": drives.nudge,
                "asked": written.asked,
                "realised": written.realised,
            },
            outcome=outcome,
        )
