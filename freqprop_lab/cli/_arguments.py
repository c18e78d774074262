"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path

import click

# Those of waveform.WAVEFORMS, which would cost the import of numpy here.
WAVEFORM_NAMES = ("sine", "two-tone", "abs-sine", "centred-abs-sine", "pulse", "sawtooth", "square", "triangle")

_NEWEST = "last"
_RUNS = Path("runs")


class RunPath(click.ParamType[Path]):
    """A run's folder, or `last`: the newest below runs/."""

    name = "run"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the folder."""
        if value != _NEWEST or Path(_NEWEST).exists():
            return Path(value)
        from freqprop_lab.runs import list_runs  # noqa: PLC0415

        found = list_runs(_RUNS)
        if not found:
            self.fail(f"there is no run in {_RUNS} yet; make one with: freqprop train", param, ctx)
        return found[-1].path


run_argument = click.argument("run", type=RunPath())
