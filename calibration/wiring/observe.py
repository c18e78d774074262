"""What `wiring` drives and in which states of the network, and how its records become what is compared with the model.

Every lead goes up and down by itself, in state after state. In all but the last each tunable element stands high or low
by a binary code of its own, with a parity bit, so that any two differ in at least two states: a few states tell which
control line turns which branch. In the last they are as they were before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from calibration.drives import sizes, subject_conductances
from calibration.procedure import Measurement, Taken
from calibration.reading import readings
from calibration.subject import Subject
from calibration.wiring.model import Observed
from freqprop_lab.values import Array, ChannelDrive

_STEP = 2.0  # from the middle value to the high one, and from the low one to it
_FLOOR = 3e-5  # of a drive: what no model of settled resistors promises to explain


def states(subject: Subject) -> list[Array]:
    """Return what the tunable branches are set to, S, (tunable,) each, state after state."""
    n = len(subject.network.tunable)
    if not n:
        return []
    low, high = subject.conductance_low, subject.conductance_high
    wished = float(np.exp(np.median(np.log(subject.conductances))))
    lowest, highest = float(low.max()) * _STEP, float(high.min()) / _STEP
    wished = min(max(wished, lowest), highest) if lowest <= highest else wished
    middle = np.clip(wished, low, high)
    up, down = np.clip(middle * _STEP, low, high), np.clip(middle / _STEP, low, high)
    bits = (np.arange(n)[:, None] >> np.arange(max(1, int(n - 1).bit_length()))) & 1
    code = np.concatenate([bits, bits.sum(axis=1, keepdims=True) % 2], axis=1)
    return [*(np.where(column, up, down) for column in code.T), subject.conductances]


def measurements(subject: Subject, volts: float, n_periods: int) -> list[Measurement]:
    """Return every lead up and down in every state."""
    listed = states(subject)
    highest = subject if not listed else replace(subject, conductances=np.max(listed, axis=0))
    first = None if not listed else subject_conductances(subject, listed[0])
    size = sizes(highest, volts, first)
    found = []
    for number, programmed in enumerate(listed or [None]):
        for place, lead in enumerate(np.flatnonzero(subject.live)):
            for sign in (1.0, -1.0):
                level = subject.resting.copy()
                level[lead] += sign * size[lead]
                wanted = programmed if place == 0 and sign > 0 else None
                says = f"state {number + 1} of {max(len(listed), 1)}: {subject.leads[lead].name}"
                found.append(Measurement(ChannelDrive(level), wanted, n_periods, says=says))
    return found


def observed_of(subject: Subject, measured: Sequence[Measurement], taken: Sequence[Taken]) -> Observed:
    """Return half the differences of up and down, with what is believed of everything."""
    live, nodes = np.flatnonzero(subject.live), np.flatnonzero(subject.read)
    shape = (len(taken) // (2 * len(live)), len(live), 2)
    volts, noise = (each[:, nodes].reshape(*shape, len(nodes)) for each in readings([one.record for one in taken]))
    levels = np.array([one.drive.levels for one in measured])[:, live].reshape(*shape, len(live))
    size = np.diagonal(levels[0, :, 0] - levels[0, :, 1]) / 2
    y = np.swapaxes(volts[:, :, 0] - volts[:, :, 1], 1, 2) / 2
    floor = _FLOOR * np.sqrt((y**2).mean())
    sigma = np.hypot(np.sqrt((noise**2).mean(axis=(1, 2)) / 2), floor)
    held = np.array([each.conductances for each in taken]).reshape(*shape, len(subject.network.tunable))
    gain, _, series = (belief[live] for belief in subject.belief_in_sources())
    leads = subject.live_leads
    behind = [i for i, lead in enumerate(leads) if lead.is_behind_resistor]
    return Observed(
        subject.network,
        leads,
        nodes,
        y,
        sigma,
        size,
        np.log(held[:, 0, 0]),
        subject.belief_in_meters()[0][nodes],
        gain,
        series[behind],
        subject.belief_in_branches(),
    )
