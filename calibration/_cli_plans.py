"""What is shown before a calibration: what each procedure would drive, and how much all of them are together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from calibration.procedure import Plan, Procedure
    from calibration.subject import Subject

_MOST_LEADS = 16
_MINUTE, _HOUR = 60.0, 3600.0  # s


def show_plan(procedure: Procedure, plan: Plan, subject: Subject) -> None:
    """Print a plan for a person."""
    click.echo(f"{procedure.name}: {procedure.title}")
    programmed = f", {plan.n_programmings} programmings" if plan.n_programmings else ""
    click.echo(f"  {plan.n_records} records{programmed}, {duration(plan.seconds)} of signal")
    live = [number for number, on in enumerate(subject.live) if on]
    for number in live[:_MOST_LEADS]:
        lead = subject.leads[number]
        span = f"{plan.lowest[number]:.4g} to {plan.highest[number]:.4g} {lead.unit}"
        click.echo(f"  drives {lead.name:16} at node {subject.node_of(lead):12} {span}")
    if len(live) > _MOST_LEADS:
        click.echo(f"  ... and {len(live) - _MOST_LEADS} more channels")
    if plan.conductances is not None:
        low, high = float(plan.conductances[0].min()), float(plan.conductances[1].max())
        click.echo(f"  programs {len(plan.conductances[0])} elements, from {low:.3g} to {high:.3g} S")
    for words in plan.words:
        click.echo(f"  {words}")


def plain_plan(procedure: Procedure, plan: Plan, subject: Subject) -> dict[str, Any]:
    """Return the plan's numbers, in V, A, S and s, by the names of channels and branches."""
    leads = {
        lead.name: {
            "node": subject.node_of(lead),
            "unit": lead.unit,
            "lowest": float(plan.lowest[number]),
            "highest": float(plan.highest[number]),
        }
        for number, lead in enumerate(subject.leads)
        if subject.live[number]
    }
    low, high = plan.conductances or ((), ())
    return {
        "procedure": procedure.name,
        "records": plan.n_records,
        "programmings": plan.n_programmings,
        "seconds": plan.seconds,
        "drives": leads,
        "programs": {
            name: {"lowest": float(least), "highest": float(most)}
            for name, least, most in zip(subject.network.tunable_names, low, high, strict=False)
        },
        "terminals": list(plan.terminals),
        "words": list(plan.words),
    }


def total_words(plans: Sequence[Plan]) -> str:
    """Say how much several plans are together."""
    records, programmings = sum(plan.n_records for plan in plans), sum(plan.n_programmings for plan in plans)
    seconds = sum(plan.seconds for plan in plans)
    return (
        f"in all {len(plans)} procedures, {records} records, {programmings} programmings, {duration(seconds)} of "
        "signal, beside programming and computing"
    )


def duration(seconds: float) -> str:
    """Return a time as a person says it: 3.6 s, 1 min 10 s, 2 h 5 min."""
    if seconds < _MINUTE:
        return f"{seconds:.3g} s"
    if seconds < _HOUR:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(round(seconds / _MINUTE), 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
