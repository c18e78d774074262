"""From the errors of nidaqmx and gRPC to our own: which class, and what to do about it.

Codes: nidaqmx.error_codes.DAQmxErrors. gRPC: its status codes by name. What is in no table is a ProtocolError with
the driver's own words.
"""

from __future__ import annotations

import re

from freqprop_lab.instruments import (
    ConnectionLostError,
    InstrumentError,
    LimitError,
    OverloadError,
    ProtocolError,
    TimeLimitError,
)
from freqprop_lab.names import nearest

Remedy = tuple[type[InstrumentError], str]

_TOO_SLOW = "Lower the sample rate or the number of channels"
_OPEN_AGAIN = "Open the bench again"
_RESERVED = "End what holds it (another program, a task left over), or reset the card, and open the bench again"

_BY_CODE: dict[int, Remedy] = {
    -200279: (TimeLimitError, f"The samples were overwritten before they were fetched. {_TOO_SLOW}"),
    -200278: (TimeLimitError, "The inputs ended before all samples came. Look at what stops them or their clock"),
    -200284: (
        TimeLimitError,
        "The samples did not come. Arm the meter before the source starts; check the start trigger and the sample "
        "clock's wiring; raise timeout only if a record is longer",
    ),
    -200560: (TimeLimitError, "The task did not end in time. Check its clock and trigger, or raise timeout"),
    -200474: (TimeLimitError, "The card did not answer in time. Check its clock and trigger, or raise timeout"),
    -200292: (TimeLimitError, f"The samples could not be written in time. {_TOO_SLOW}"),
    -200561: (LimitError, "The outputs can't give that. Lower gamma or the inputs, or widen ao_limit"),
    -200077: (LimitError, "The card does not have this value. Lower it, or choose one of those that the card lists"),
    -200332: (LimitError, "The sample rate is too high for the card. Lower frequency or samples_per_period"),
    -200081: (LimitError, "Sample rate and number of channels don't go together. Lower one of them"),
    -200170: (ConnectionLostError, "The card has no such channel. Mend the wiring section"),
    -200220: (ConnectionLostError, "There is no such device. Mend the field resource"),
    -201003: (ConnectionLostError, "The card is switched off or unplugged. Plug it in and open the bench again"),
    -50405: (ConnectionLostError, "The transfer broke off: unplugged, or suspended? Open the bench again"),
    -200088: (ConnectionLostError, f"The server no longer knows the task; was it started anew? {_OPEN_AGAIN}"),
    -50103: (ConnectionLostError, _RESERVED),
    -200022: (ConnectionLostError, _RESERVED),
    -200587: (ConnectionLostError, _RESERVED),
    -89137: (ConnectionLostError, "The route between terminals is taken by another task. End that task"),
    -89125: (ProtocolError, "The trigger line is unknown. Register the RTSI or PXI cable, or change clock_terminal"),
    -200019: (OverloadError, f"The converter was clocked faster than it can. {_TOO_SLOW}"),
    -200018: (OverloadError, f"The outputs ran out of samples. {_TOO_SLOW}"),
    -200621: (OverloadError, f"The outputs ran out of samples. {_TOO_SLOW}"),
    -200290: (OverloadError, f"The outputs ran out of samples. {_TOO_SLOW}"),
    -200361: (OverloadError, f"The card's memory overflowed. {_TOO_SLOW}"),
    -200222: (OverloadError, f"The inputs' buffer overflowed. {_TOO_SLOW}"),
    -200714: (OverloadError, f"The computer did not keep up. {_TOO_SLOW}"),
    -200197: (ProtocolError, "The card does not know this property; give it in the bench file, or use another card"),
    -200452: (ProtocolError, "The card does not know this property; give it in the bench file, or use another card"),
}

_BY_STATUS: dict[str, Remedy] = {
    "UNAVAILABLE": (ConnectionLostError, "Check that the NI gRPC Device Server runs there, its port and the cable"),
    "DEADLINE_EXCEEDED": (TimeLimitError, f"The server did not answer in time. {_OPEN_AGAIN}, or raise timeout"),
    "RESOURCE_EXHAUSTED": (LimitError, "The record is too long for the server. Lower periods or samples_per_period"),
    "UNIMPLEMENTED": (ProtocolError, "The server does not know this call. Upgrade the NI gRPC Device Server"),
    "CANCELLED": (ConnectionLostError, f"The connection was closed. {_OPEN_AGAIN}"),
    "UNAUTHENTICATED": (ConnectionLostError, "The server wants credentials, which this driver does not have"),
    "PERMISSION_DENIED": (ConnectionLostError, "The server wants credentials, which this driver does not have"),
}

_BY_CLASS: dict[str, Remedy] = {
    "DaqNotFoundError": (
        ConnectionLostError,
        "The NI-DAQmx driver is not installed on this computer. Install it, or name a server: grpc://host:port/Dev1",
    ),
    "DaqNotSupportedError": (
        ConnectionLostError,
        "NI-DAQmx does not exist for this system. Name a server that has the card: grpc://host:port/Dev1",
    ),
    "DaqFunctionNotSupportedError": (ConnectionLostError, "The NI-DAQmx driver is too old. Upgrade it"),
    "FeatureNotSupportedError": (ProtocolError, "The nidaqmx package is too old. Upgrade it"),
}


def translate(error: BaseException, where: str) -> InstrumentError:
    """Return our error for one of nidaqmx's, or gRPC's. where: instrument, and what was being done with which channel.

    Known by name and by attributes, so that neither package is imported here.
    """
    code = getattr(error, "error_code", None)
    status = _status(error)
    kind = next((name.__name__ for name in type(error).__mro__ if name.__name__ in _BY_CLASS), "")
    default = (ProtocolError, f"{_OPEN_AGAIN}; if it happens again, look the code up in NI's documentation")
    if code is not None:
        told, (sort, remedy) = f"NI-DAQmx error {code}, {_words(error)}", _BY_CODE.get(code, default)
    elif status:
        told, (sort, remedy) = f"gRPC {status}, {_words(error)}", _BY_STATUS.get(status, default)
    else:
        told, (sort, remedy) = _words(error), _BY_CLASS.get(kind, default)
    return sort(f"{where}: {told.rstrip('.')}. {remedy}")


def is_translatable(error: BaseException) -> bool:
    """Say whether an error comes from nidaqmx or from gRPC; programming errors of ours are none of these."""
    if isinstance(error, ValueError) and "closed channel" in str(error):
        return True
    return any(each.__module__.split(".")[0] in ("nidaqmx", "grpc") for each in type(error).__mro__)


def no_device(where: str, device: str, known: list[str]) -> ConnectionLostError:
    """Return the error for a device that isn't there, naming the nearest that is."""
    there = f"There are: {', '.join(known)}" if known else "There is none at all; look for it in NI MAX"
    return ConnectionLostError(f'{where}: no device "{device}".{nearest(device, known)} {there}')


def _status(error: BaseException) -> str:
    """Return the name of a gRPC status: nidaqmx wraps it in `rpc_code`, gRPC's own errors have a method `code`."""
    status = getattr(error, "rpc_code", None)
    code = getattr(error, "code", None)
    if status is None and callable(code):
        status = code()
    if isinstance(error, ValueError):
        return "CANCELLED"
    return getattr(status, "name", "") or ("UNKNOWN" if status is not None else "")


def _words(error: BaseException) -> str:
    """Return the driver's own words on one line; `Property: SampClk.Rate` and who holds a resource are among them."""
    text = re.sub(r"\n*Status Code: -?\d+", "", str(error))
    return re.sub(r"\s+", " ", text).strip()[:400] or type(error).__name__
