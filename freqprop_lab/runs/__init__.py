"""The run folder: an append-only log, checkpoints, and where everything came from. Named after bluesky's documents."""

from freqprop_lab.runs._checkpoint import Checkpoint
from freqprop_lab.runs._folder import RunContents, RunError, RunFolder, WrongRunError, create_run, new_run_path
from freqprop_lab.runs._reader import Run, list_runs

__all__ = [
    "Checkpoint",
    "Run",
    "RunContents",
    "RunError",
    "RunFolder",
    "WrongRunError",
    "create_run",
    "list_runs",
    "new_run_path",
]
