"""Which constant levels tell most: one channel at a time, up and down, and all together. Within limits and ratings."""

from __future__ import annotations

import numpy as np

from calibration.errors import ProcedureError
from calibration.subject import Subject
from freqprop_lab.values import Array, ChannelDrive

_ROOM = 0.9  # of a limit: gains and offsets are not known yet
_LEAKAGE, _STIFF = 1e-12, 1e3  # S: what nothing holds, and what a stiff source does
_APART = 0.003  # relative: channels are asked for slightly different values, so that like converters don't err alike
# A converter rounds x and -x alike, which no gain could be told from: so up and down are not the same.
_ALONE = (1.0, -0.97)
_TOGETHER = (0.94, -0.91)
_GOLDEN = (np.sqrt(5) - 1) / 2


def sizes(subject: Subject, volts: float, conductances: Array | None = None) -> Array:
    """Return how far each live lead may leave its rest, V or A, (lead,): `volts`, less where a limit is nearer.

    A current moves its own node by about as many volts at the conductances given, S, (branch,).
    """
    room = np.minimum(subject.source_high - subject.resting, subject.resting - subject.source_low) * _ROOM
    wished = np.array([volts if lead.kind == "voltage" else np.nan for lead in subject.leads])
    if np.isnan(wished[subject.live]).any():
        wished = np.where(np.isnan(wished), _amperes(subject, volts, conductances), wished)
    share = min(1.0, _within_ratings(subject, volts) / volts)
    found = np.where(subject.live, np.minimum(wished * share, room), np.nan)
    if not (found[subject.live] > 0).all():
        stuck = [lead.name for lead, size in zip(subject.leads, found, strict=True) if not size > 0]
        raise ProcedureError(
            f"{stuck[0] if stuck else 'a channel'} has no room about its rest within limits and rails; move common_mode"
        )
    return np.asarray(found)


def one_at_a_time(subject: Subject, size: Array) -> list[ChannelDrive]:
    """Return the drives: rest, all voltages up and down together, and each live lead up and down by itself.

    size: how far each lead may leave its rest, V or A, (lead,).
    """
    level, own = subject.resting, _slightly_different(len(size))
    size = size * own
    together = in_step(subject, size) * own
    drives = [ChannelDrive(level)]
    if subject.voltage.any():
        drives += [ChannelDrive(level + share * together) for share in _TOGETHER]
    for number in np.flatnonzero(subject.live):
        for share in _ALONE:
            moved = level.copy()
            moved[number] += share * size[number]
            drives.append(ChannelDrive(moved))
    return drives


def all_alike(subject: Subject, size: Array, n_levels: int = 5) -> list[ChannelDrive]:
    """Return drives with every voltage at one level, n_levels of them: next to no current flows, whatever conducts.

    size: how far each lead may leave its rest, V or A, (lead,).
    """
    reach = in_step(subject, size) * _slightly_different(len(size))
    shares = np.linspace(_TOGETHER[1], 1.0, n_levels) if reach.any() else np.zeros(1)
    return [ChannelDrive(subject.resting + share * reach) for share in shares]


def in_step(subject: Subject, size: Array) -> Array:
    """Return what moves all voltages alike, as far as the one with least room may, V, (lead,); 0 for currents."""
    voltage = subject.voltage
    return np.where(voltage, np.min(size[voltage], initial=np.inf) if voltage.any() else 0.0, 0.0)


def within_nudge_rating(subject: Subject, size: Array) -> Array:
    """Return amplitudes, V or A, (lead,), no voltage above what ratings allow a nudge."""
    rated = subject.ratings.nudge
    return size if rated is None else np.where(subject.voltage, np.minimum(size, rated), size)


def _slightly_different(n_leads: int) -> Array:
    """Return a factor just below one for each lead, (lead,): multiples of the golden ratio lie evenly (Weyl 1916)."""
    return np.asarray(1 - _APART * ((np.arange(n_leads) * _GOLDEN) % 1.0))


def _amperes(subject: Subject, volts: float, conductances: Array | None) -> Array:
    """Return the currents that move each lead's own node by about so many volts, A, (lead,).

    Resistors alone count. What else is there, such as a diode, takes current away, so that the node moves by less.
    """
    siemens = subject_conductances(subject) if conductances is None else conductances
    return np.asarray(volts / np.maximum(ohms_of_leads(subject, siemens), 1e-12))


def ohms_of_leads(subject: Subject, siemens: Array) -> Array:
    """Return what each lead sees between its ends with every voltage source at zero, Ohm, (lead,).

    siemens: of every branch, S, (branch,). Resistors alone count: what else is there, such as a diode, makes it less.
    """
    network = subject.network
    K = np.eye(len(network.nodes) + 1) * _LEAKAGE  # ground is the last
    linear = np.array([branch.element.linear for branch in network.branches], dtype=bool)
    wired = [(network.plus[i], network.minus[i], siemens[i]) for i in np.flatnonzero(linear)]
    for lead in subject.live_leads:
        if lead.kind == "voltage":
            wired.append((lead.plus, lead.minus, 1 / lead.resistance if lead.resistance else _STIFF))
    for plus, minus, G in wired:
        K[plus, plus] += G
        K[minus, minus] += G
        K[plus, minus] -= G
        K[minus, plus] -= G
    Z = np.pad(np.linalg.inv(K[:-1, :-1]), ((0, 1), (0, 1)))
    ends = [(lead.plus, lead.minus) for lead in subject.leads]
    return np.array([Z[p, p] + Z[m, m] - 2 * Z[p, m] for p, m in ends])


def subject_conductances(subject: Subject, tunable: Array | None = None) -> Array:
    """Return what every branch is believed to have, S, (branch,): the listed values, the tunable ones as programmed."""
    found = np.array([branch.theta[0] for branch in subject.network.branches], dtype=np.float64)
    found[subject.network.tunable] = subject.conductances if tunable is None else tunable
    return found


def _within_ratings(subject: Subject, volts: float) -> float:
    """Return how far any voltage may leave the common mode: rails, and half the voltage that an element bears."""
    allowed = volts
    ratings = subject.ratings
    if ratings.rails is not None:
        low, high = ratings.rails
        allowed = min(allowed, (high - subject.common_mode) * _ROOM, (subject.common_mode - low) * _ROOM)
    if ratings.voltage is not None:
        allowed = min(allowed, ratings.voltage / 2)
    highest = float(subject.conductances.max(initial=0.0))
    if ratings.current is not None and highest > 0:
        allowed = min(allowed, ratings.current / highest / 2)
    if ratings.power is not None and highest > 0:
        allowed = min(allowed, float(np.sqrt(ratings.power / highest)) / 2)
    return allowed
