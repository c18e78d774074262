"""From ports to leads: what each source channel puts out for a level, and for an ampere of nudge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.drives import sizes
from calibration.errors import SubjectError
from calibration.subject import Subject
from freqprop_lab.bench import Lead
from freqprop_lab.names import shown
from freqprop_lab.network import Port
from freqprop_lab.values import Array


def from_inputs(subject: Subject) -> Array:
    """Return the value of each lead for a unit of each input's level, V or A, (lead, input).

    A voltage is shared by the two leads of a pair, a current goes in at one and out at the other. Raises SubjectError
    for an input end without a source.
    """
    network = subject.network
    matrix = np.zeros((len(subject.leads), len(network.inputs)))
    for port, ends in enumerate(_ends(network.input_ends)):
        for node, sign in ends:
            lead = _lead_at(subject, node, "input", network.inputs[port])
            pair = len(ends) > 1 and subject.leads[lead].kind == "voltage"
            matrix[lead, port] = sign * (0.5 if pair else 1.0)
    return matrix


def from_outputs(subject: Subject) -> Array:
    """Return the amplitude of each lead for an ampere of nudge into each output, V or A, (lead, output).

    A current of 1 A into a node is 1 A of a current source, or R volts behind a resistor R. Raises SubjectError for an
    output end that no such source reaches.
    """
    network = subject.network
    matrix = np.zeros((len(subject.leads), len(network.outputs)))
    for port, ends in enumerate(_ends(network.output_ends)):
        for node, sign in ends:
            lead = _lead_at(subject, node, "output", network.outputs[port])
            wired = subject.leads[lead]
            matrix[lead, port] = sign * (wired.resistance if wired.kind == "voltage" else 1.0)
    return matrix


def leads_of_output(subject: Subject, output: int) -> list[str]:
    """Return the names of the leads that nudge an output."""
    amplitudes = from_outputs(subject)[:, output]
    return [subject.leads[number].name for number in np.flatnonzero(amplitudes)]


def meters_of_output(subject: Subject, output: int) -> list[str]:
    """Return the names of the meter channels that read an output."""
    port = subject.network.outputs[output]
    return [subject.meter_channels[node] for node in (port.plus, port.minus) if node in subject.meter_channels]


def task_levels(subject: Subject, volts: float, count: int) -> Array:
    """Return the levels of all leads for so many drives of a task's kind, V or A, (drive, lead): rest, then others.

    The inputs are drawn anew for each, up to `volts` either way (for a current: what moves its node by about that), the
    same at every run, less where a source's limit is nearer.
    """
    matrix = from_inputs(subject)
    unit = _input_units(subject, volts, matrix)
    drawn = np.random.default_rng(20240401).uniform(0.4, 1.0, (count, matrix.shape[1]))
    signs = (-1.0) ** (np.arange(count)[:, None] // 2 + np.arange(matrix.shape[1]))
    inputs = drawn * signs * unit
    inputs[0] = 0.0
    return np.asarray(subject.resting + inputs @ matrix.T)


def _input_units(subject: Subject, volts: float, matrix: Array) -> Array:
    room = sizes(subject, volts)
    with np.errstate(divide="ignore", invalid="ignore"):
        allowed = np.where(matrix != 0, room[:, None] / np.abs(matrix), np.inf)
    by_volts = np.array([subject.voltage[np.flatnonzero(column)].all() for column in matrix.T], dtype=bool)
    return np.asarray(np.where(by_volts, np.minimum(volts, allowed.min(axis=0)), allowed.min(axis=0)))


def _ends(ends: tuple[NDArray[np.intp], NDArray[np.intp]]) -> list[list[tuple[int, float]]]:
    pairs = zip(*(end.tolist() for end in ends), strict=True)
    return [[(node, sign) for node, sign in ((plus, 1.0), (minus, -1.0)) if node >= 0] for plus, minus in pairs]


def _lead_at(subject: Subject, node: int, use: str, port: Port) -> int:
    """Return the lead that serves a node: inputs are wired first, nudges last, where a node has one of each."""

    def fits(lead: Lead) -> bool:
        return lead.plus == node and lead.minus < 0 and (use == "input" or not lead.is_stiff)

    found = [number for number, lead in enumerate(subject.leads) if subject.live[number] and fits(lead)]
    if found:
        return found[0] if use == "input" else found[-1]
    name = subject.network.nodes[node]
    stiff = [lead.name for lead in subject.live_leads if lead.plus == node]
    if stiff:
        raise SubjectError(
            f"{use} {port.name}: {shown(stiff)} holds node {name} stiffly, so no nudge can enter there. Put a resistor "
            "in series and describe it (nudge: {source: resistor, resistance: ...})"
        )
    raise SubjectError(f"{use} {port.name}: no source is wired to node {name}; wire one, or leave this procedure out")
