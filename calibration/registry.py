"""Which procedures there are, by name, in the order in which a bench that nobody knows is calibrated."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from calibration.errors import UnknownProcedureError
from calibration.procedure import Procedure
from freqprop_lab.names import nearest, shown

# name: module, class. Imported only when asked for.
_PROCEDURES = {
    "wiring": ("wiring", "Wiring"),
    "offsets": ("constant_levels", "Offsets"),
    "gains": ("constant_levels", "Gains"),
    "noise": ("noise", "Noise"),
    "skew": ("skew", "Skew"),
    "relaxation": ("relaxation", "Relaxation"),
    "resistors": ("resistors", "Resistors"),
    "network": ("constant_levels", "NetworkConductances"),
    "bias": ("bias", "Bias"),
    "gradient": ("gradient", "Gradient"),
}


def procedure_names() -> list[str]:
    """List all procedures in the order in which a new bench wants them."""
    return list(_PROCEDURES)


def procedure_class(name: str) -> type[Procedure]:
    """Return the class of a procedure. Raises UnknownProcedureError naming the nearest."""
    if name not in _PROCEDURES:
        raise UnknownProcedureError(
            f'no procedure "{name}".{nearest(name, _PROCEDURES)} There are: {shown(list(_PROCEDURES))}'
        )
    module, cls = _PROCEDURES[name]
    found: type[Procedure] = getattr(import_module(f"calibration.procedures.{module}"), cls)
    return found


def make_procedure(name: str, **options: Any) -> Procedure:
    """Return a procedure with options, such as samples=10_000. Raises UnknownProcedureError, and TypeError."""
    return procedure_class(name)(**options)
