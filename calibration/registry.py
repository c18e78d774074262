"""Which procedures there are, by name, in the order in which a bench that nobody knows is calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from calibration.errors import ProcedureError, UnknownProcedureError
from calibration.procedure import Procedure
from freqprop_lab.names import nearest, shown

_GROUP = "freqprop_lab.procedures"  # of entry points


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
    """List all procedures in the order in which a new bench wants them; then those of other packages."""
    return [*_PROCEDURES, *_plugged()]


def correcting_procedures() -> list[str]:
    """List the procedures whose records correct a bench."""
    return [name for name, entry in _PROCEDURES.items() if entry.corrects]


def procedure_class(name: str) -> type[Procedure]:
    """Return the class of a procedure. Raises UnknownProcedureError naming the nearest; ProcedureError.

    ProcedureError: of a package whose procedure can't be loaded, or is called otherwise than it is listed.
    """
    if name in _PROCEDURES:
        entry = _PROCEDURES[name]
        found: type[Procedure] = getattr(import_module(f"calibration.procedures.{entry.module}"), entry.cls)
        return found
    plugged = _plugged()
    if name not in plugged:
        known = procedure_names()
        raise UnknownProcedureError(f'no procedure "{name}".{nearest(name, known)} There are: {shown(known)}')
    dist = plugged[name].dist
    package = plugged[name].value if dist is None else dist.name
    try:
        loaded = plugged[name].load()
    except Exception as error:
        raise ProcedureError(f"{name} comes with the package {package}, which fails to load: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Procedure) and getattr(loaded, "name", "") == name):
        raise ProcedureError(f'{name} comes with the package {package}, and is no Procedure with the name "{name}"')
    return loaded


def make_procedure(name: str, **options: Any) -> Procedure:
    """Return a procedure with options, such as samples=10_000. Raises UnknownProcedureError, ProcedureError."""
    return procedure_class(name)(**options)


def _plugged() -> dict[str, EntryPoint]:
    """Return the procedures of other packages, by name; one that is called as ours is not among them."""
    found = sorted(entry_points(group=_GROUP), key=lambda entry: entry.name)
    return {entry.name: entry for entry in found if entry.name not in _PROCEDURES}
