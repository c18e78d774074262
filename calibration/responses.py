"""From a record with the nudge's generator running to a and b of every node, phases as the bench takes them to be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ProcedureError
from calibration.procedure import Taken
from calibration.subject import Subject
from freqprop_lab.lockin import demodulate
from freqprop_lab.values import Array, Response
from freqprop_lab.waveform import Waveform

_FINEST = 1e-9  # V: nobody believes b to be better, whatever arithmetic says


def respond(subject: Subject, taken: Taken, waveform: Waveform) -> Response:
    """Return the response of every node, (node,), NaN where nothing reads: as training on this bench reads it.

    Synchronised: phases are taken as they are, but for the skews that the record tells; else every channel's delay is
    fitted. Tones: what is known, or was fitted, of the phase is taken out. What the subject knows of pickup is
    subtracted. Raises ProcedureError for a waveform that the lock-in can't read here.
    """
    read, record = subject.read, taken.record
    try:
        found = demodulate(
            record.volts[read],
            record.sample_rate,
            waveform,
            taken.frequency,
            synchronised=subject.synchronised,
            skews=record.skews[read],
            **subject.lockin.model_dump(),
        )
    except ValueError as error:
        raise ProcedureError(f"the lock-in can't read a record of {waveform.name} on this bench: {error}") from None
    fields: dict[str, Any] = {}
    for name, value in vars(found).items():
        if value is None or not value.ndim or name == "frequency":
            fields[name] = None
            continue
        empty = np.uint8(0) if value.dtype == np.uint8 else np.nan
        fields[name] = np.full((len(read), *value.shape[1:]), empty, dtype=value.dtype)
        fields[name][read] = value
    if found.delay is not None and found.tones is not None:
        orders = np.arange(1, found.tones.shape[1] + 1)
        fields["tones"] = turned(fields["tones"], orders, taken.frequency, fields["delay"])
    fields["covariance"][:, 1, 1] += _FINEST**2
    fields["covariance"][:, 0, 0] += _FINEST**2
    if subject.pickup is not None:
        fields["b"] = fields["b"] - subject.pickup
        fields["tones"] = fields["tones"] - subject.pickup[:, None]
    return Response(**fields)


def turned(tones: NDArray[np.complex128], orders: Array, frequency: float, late: Array) -> NDArray[np.complex128]:
    """Return tones, (node, harmonic), as they were without the lateness of each node's samples, s, (node,)."""
    return np.asarray(tones * np.exp(-2j * np.pi * frequency * np.outer(late, orders)), dtype=np.complex128)


def in_phase(tones: NDArray[np.complex128], waveform: Waveform) -> Array:
    """Return b, V, (node,), from tones, (node, harmonic): their real parts, weighted as the waveform's powers are."""
    powers = np.abs(waveform.harmonics(tones.shape[1])) ** 2
    return np.asarray(tones.real @ (powers / powers.sum()))
