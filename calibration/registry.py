"""Which procedures there are, by name, in the order in which a bench that nobody knows is calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from calibration.errors import UnknownProcedureError
from calibration.procedure import Procedure
from freqprop_lab.names import nearest, shown


@dataclass(frozen=True)
class _Entry:
    """Where a procedure's class is, below `calibration.procedures`; imported only when asked for.

    corrects: whether its records correct a bench.
    """

    module: str
    cls: str
    corrects: bool = False


_PROCEDURES = {
    "wiring": _Entry("wiring", "Wiring"),
    "offsets": _Entry("constant_levels", "Offsets", corrects=True),
    "gains": _Entry("constant_levels", "Gains", corrects=True),
    "noise": _Entry("noise", "Noise"),
    "relaxation": _Entry("relaxation", "Relaxation"),
    "skew": _Entry("skew", "Skew", corrects=True),
    "resistors": _Entry("resistors", "Resistors", corrects=True),
    "network": _Entry("constant_levels", "NetworkConductances"),
    "bias": _Entry("bias", "Bias", corrects=True),
    "gradient": _Entry("gradient", "Gradient"),
}


def procedure_names() -> list[str]:
    """List all procedures in the order in which a new bench wants them."""
    return list(_PROCEDURES)


def correcting_procedures() -> list[str]:
    """List the procedures whose records correct a bench."""
    return [name for name, entry in _PROCEDURES.items() if entry.corrects]


def procedure_class(name: str) -> type[Procedure]:
    """Return the class of a procedure. Raises UnknownProcedureError naming the nearest."""
    if name not in _PROCEDURES:
        raise UnknownProcedureError(
            f'no procedure "{name}".{nearest(name, _PROCEDURES)} There are: {shown(list(_PROCEDURES))}'
        )
    entry = _PROCEDURES[name]
    found: type[Procedure] = getattr(import_module(f"calibration.procedures.{entry.module}"), entry.cls)
    return found


def make_procedure(name: str, **options: Any) -> Procedure:
    """Return a procedure with options, such as samples=10_000. Raises UnknownProcedureError, ProcedureError."""
    return procedure_class(name)(**options)
