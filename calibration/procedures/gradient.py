"""`gradient`: the update that training would make, held against finite differences made on the bench itself.

Free record -> outputs, off their targets by a stated error g -> nudged record -> a b / gamma of every element; beside
it chosen elements are programmed up and down, and the cost is read at the outputs: dC/dG. Then the nudge is varied
(none, half of it, half the frequency, one output at a time, all sources together), so that each fault shows by itself.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from calibration.drives import sizes
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
from calibration.ports import from_outputs, task_levels
from calibration.procedure import Findings, Measurement, Plan, Procedure, Process, Taken, plan_of
from calibration.procedures.constant_levels import n_periods
from calibration.reading import readings
from calibration.responses import respond
from calibration.subject import Subject
from freqprop_lab.names import nearest, shown
from freqprop_lab.values import Array, ChannelDrive, Response
from freqprop_lab.waveform import TwoTone, default_waveform

_STRONG = 0.2  # of what levels may be: the nudge that tells delays
_COARSER = (2.0, 4.0, 8.0)  # factors on G, where a part has coarser steps than were asked
_ASSUMED = (
    "the network between the nodes is passive, and nothing drifts while an element is turned up and down",
    "elements move by what `program` says: one that is 10 % off shows as 10 % of its own gradient",
    "gains and offsets of the meters are corrected, or small beside the tolerance",
    "delays are told apart from settling as if each node had one pole",
)


@dataclass(frozen=True)
class Gradient(Procedure):
    """samples: of each record. volts: size of the inputs' levels. error: V, by which each output misses its target.

    gamma, alpha: strength of the nudge and learning rate, in task units. elements: how many are turned, chosen so that
    they span all sizes of |a b|; "all"; or their names with commas. step: by how much of itself an element is turned.
    tolerance: how much of itself the gradient may be off.
    """

    samples: int = 10_000
    volts: float = 1.0
    error: float = 0.1
    gamma: float = 1.0
    alpha: float = 0.01
    elements: str = "12"
    step: float = 0.2
    tolerance: float = 0.05

    name = "gradient"
    title = "the nudge's gradient against finite differences"
    needs = (
        "both nodes of every output read and nudged",
        "elements that may be turned up and down by a fifth while the levels are on",
        "gains, offsets and skew corrected, or known to be small",
    )
    corrected = True

    def plan(self, subject: Subject) -> Plan:
        """Say what will be driven. Raises ProcedureError, SubjectError."""
        drives = self._drives(subject)
        listed = [
            drives.free,
            drives.zero,
            drives.full,
            *drives.weak,
            *drives.slow,
            *drives.ports,
            *drives.all_together,
        ]
        low, high = subject.conductances * (1 - self.step), subject.conductances * (1 + self.step)
        turns = 4 * self._count(subject)
        ends = [np.clip(end, subject.conductance_low, subject.conductance_high) for end in (low, high)]
        turned = [Measurement(drives.free.drive, ends[turn % 2], drives.periods) for turn in range(turns + 3)]
        words = (
            f"{self._count(subject)} elements are turned by {self.step:.0%} and {self.step / 2:.0%} both ways, one by "
            "one, and put back; further where a part has coarser steps",
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
        size = _STRONG * sizes(subject, self.volts)
        rated = subject.ratings.nudge
        size = np.where(subject.live, size if rated is None else np.minimum(size, rated), 0.0)
        together = ChannelDrive(subject.resting, _in_step(subject, size), TwoTone())
        waveform = default_waveform(synchronised=subject.synchronised)
        sampling = subject.sampling
        periods = n_periods(subject, self.samples)
        lockin = subject.lockin
        orders = range(1, lockin.hum_harmonics + 1) if lockin.hum else ()
        hum = tuple((lockin.hum or 0.0) * order for order in orders)
        return Drives(levels, gradient, nudge, gamma, waveform, together, sampling.frequency, periods, hum)

    def _check_nudge(self, subject: Subject, levels: Array, nudge: Array) -> None:
        amplitudes = np.abs(nudge.sum(axis=1))
        room = np.minimum(subject.source_high - levels, levels - subject.source_low)
        if subject.ratings.nudge is not None:
            volts = np.array([lead.kind == "voltage" for lead in subject.leads])
            room = np.where(volts, np.minimum(room, subject.ratings.nudge), room)
        over = np.flatnonzero(subject.live & (amplitudes > room))
        if len(over):
            lead = subject.leads[int(over[0])]
            unit = "V" if lead.kind == "voltage" else "A"
            raise ProcedureError(
                f"{lead.name} at node {subject.node_of(lead)} would get a nudge of {amplitudes[over[0]]:.4g} {unit}, "
                f"it has room for {room[over[0]]:.4g} {unit}. Nothing was driven; lower --gamma, --error or --volts"
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
            volts, noise = readings(taken.record)
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
        """Turn one element both ways, by two sizes of step; further where that moves nothing."""
        factors = [1 + self.step, 1 - self.step, 1 + self.step / 2, 1 - self.step / 2]
        points = yield from self._points(subject, drives, base, number, factors)
        for factor in _COARSER:
            if any(abs(point.conductance / base[number] - 1) > 1e-9 for point in points):
                break
            points = yield from self._points(subject, drives, base, number, [factor, 1 / factor])
        return points

    def _points(
        self, subject: Subject, drives: Drives, base: Array, number: int, factors: list[float]
    ) -> Generator[Measurement, Taken, list[Point]]:
        points = []
        name = subject.network.tunable_names[number]
        for factor in factors:
            turned = base.copy()
            turned[number] = np.clip(
                factor * base[number], subject.conductance_low[number], subject.conductance_high[number]
            )
            taken = yield Measurement(drives.free.drive, turned, drives.periods, drives.frequency, f"{name} turned")
            points.append(self._point(subject, taken, float(taken.conductances[number])))
        return points

    def _update(
        self, subject: Subject, drives: Drives, base: Taken, free: Point, product: Effect
    ) -> Generator[Measurement, Taken, Written]:
        """Program the update that training would make of this example, and see what becomes of it."""
        alpha, held = subject.scales.alpha(self.alpha), base.conductances
        wished = held - alpha * drives.gamma * np.nan_to_num(product.values)
        wished = np.clip(wished, subject.conductance_low, subject.conductance_high)
        taken = yield Measurement(drives.free.drive, wished, drives.periods, drives.frequency, "the update programmed")
        after, gradient = self._point(subject, taken), drives.gradient
        effect = float(gradient @ (after.outputs - free.outputs))
        doubt = float(np.linalg.norm(gradient * np.hypot(after.noise, free.noise)))
        return Written(wished - held, taken.conductances - held, alpha, effect, doubt)

    def _count(self, subject: Subject) -> int:
        n_elements = len(subject.network.tunable)
        asked = str(self.elements)
        if asked.isdecimal():
            return min(int(asked), n_elements)
        return n_elements if asked == "all" else len(asked.split(","))

    def _chosen(self, subject: Subject, product: Effect) -> list[int]:
        """Return elements that span the sizes of |a b|, the largest first, or those that were named."""
        names = subject.network.tunable_names
        able = ~np.isnan(product.values) & (subject.conductance_high > subject.conductance_low)
        order = [int(number) for number in np.argsort(-np.abs(np.nan_to_num(product.values))) if able[number]]
        asked = str(self.elements)
        if not asked.isdecimal() and asked != "all":
            wanted = [name.strip() for name in asked.split(",")]
            for name in wanted:
                if name not in names:
                    raise ProcedureError(f'--elements: no tunable branch "{name}".{nearest(name, names)}')
            order = [names.index(name) for name in wanted if able[names.index(name)]]
        count = min(self._count(subject), len(order))
        if count < 3:
            unread = shown([name for name, is_able in zip(names, able, strict=True) if not is_able])
            raise ProcedureError(
                f"{count} elements can be compared, at least 3 are wanted; not read, or fixed: {unread}"
            )
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
        settings = {
            "samples": self.samples,
            "volts": self.volts,
            "error": self.error,
            "gamma": self.gamma,
            "alpha": self.alpha,
            "step": self.step,
            "tolerance": self.tolerance,
            "frequency": responses.frequency,
            "waveform": drives.waveform.name,
            "main cause": cause,
            "gamma to use": gamma_to_use(seen) / subject.scales.gamma(1.0) if cause == Cause.GAMMA.value else None,
            "frequency to use": frequency_to_use(seen) if cause == Cause.OMEGA.value else None,
        }
        return Findings(
            quantities(seen, slopes, lines),
            judged,
            settings,
            _ASSUMED,
            {
                "product": compared.product,
                "product_stderr": compared.product_uncertainty,
                "difference": compared.difference,
                "difference_stderr": compared.difference_uncertainty,
                "levels": drives.levels,
                "nudge": drives.nudge,
                "asked": written.asked,
                "realised": written.realised,
            },
        )


def _in_step(subject: Subject, size: Array) -> Array:
    """Return amplitudes that move all nodes the same way: voltages alike, currents each by its own size."""
    volts = np.array([lead.kind == "voltage" for lead in subject.leads]) & subject.live
    alike = float(size[volts].min()) if volts.any() else 0.0
    return np.asarray(np.where(volts, alike, size))
