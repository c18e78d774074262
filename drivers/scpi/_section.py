"""What every SCPI instrument has in a bench file, and checks that their drivers share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, field_validator

from freqprop_lab.config import Seconds, Section
from freqprop_lab.names import cut, nearest, shown

_RESOURCE = re.compile(r"(TCPIP|USB|GPIB|ASRL|PXI|VXI)[^:]*(::.+)?::(INSTR|SOCKET|RAW)", re.IGNORECASE)


class ScpiSection(Section):
    """Where the instrument is, and how long it may take.

    resource: a VISA resource name; nothing is searched for. visa: PyVISA's name of a backend, `@py` or the path of a
    library; without it the vendor's where there is one, else pyvisa-py. deadline: for each exchange.
    """

    driver: str
    resource: str
    visa: str | None = None
    deadline: Annotated[Seconds, Field(gt=0, le=600)] = 2.0

    @field_validator("resource")
    @classmethod
    def _is_a_resource(cls, resource: str) -> str:
        if not _RESOURCE.fullmatch(resource):
            message = (
                f'"{cut(resource)}" is no VISA resource; a name such as TCPIP::192.168.0.5::hislip0::INSTR or '
                "TCPIP::192.168.0.5::5025::SOCKET is wanted"
            )
            raise ValueError(message)
        return resource


def channel_numbers(used: Sequence[str], known: Sequence[str]) -> tuple[int, ...]:
    """Return the place of each channel among the known names, from 1. Raises ValueError naming the nearest."""
    for channel in used:
        if channel not in known:
            raise ValueError(f'there is no channel "{cut(channel)}".{nearest(channel, known)} It has {shown(known)}')
    return tuple(known.index(channel) + 1 for channel in used)
