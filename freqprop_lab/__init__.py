"""Train physical networks of tunable resistors by frequency propagation.

`from freqprop_lab import load_bench, load_experiment, train` is the Python way; importing the package alone loads
nothing, so that the command line starts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freqprop_lab.runs import Run
    from freqprop_lab.session import load_bench, load_experiment, resume, train

__all__ = ["Run", "load_bench", "load_experiment", "resume", "train"]


def __getattr__(name: str) -> Any:
    if name == "Run":
        from freqprop_lab.runs import Run  # noqa: PLC0415

        return Run
    if name in __all__:
        from freqprop_lab import session  # noqa: PLC0415

        return getattr(session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
