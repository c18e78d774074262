"""`freqprop`: which commands there are, and what a fault looks like to the person at the keyboard."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from freqprop_lab.cli._plugged import plugged_command, plugged_commands, plugged_line, refuse_unknown

_USED_WRONGLY, _FAILED, _INTERRUPTED = 2, 1, 130

# name: module, function, one line of help. Here, so that --help imports none of them.
_COMMANDS = {
    "train": ("_train", "train", "Train an experiment; without a file the paper's Iris on the numeric bench."),
    "resume": ("_train", "resume", "Go on with a run that was stopped or killed."),
    "runs": ("_runs", "runs", "List the runs in a folder."),
    "report": ("_runs", "report", "Draw a run as a picture and an HTML page."),
    "evaluate": ("_runs", "evaluate", "Let a trained network answer new rows of a CSV file."),
    "apply": ("_runs", "apply", "Program a run's conductances into a bench, verify, and leave them there."),
    "bench": ("_bench", "bench", "Look at benches, read and set them, serve virtual ones, make them safe."),
    "nudge": ("_nudge", "nudge", "Recommend waveform, size, frequency and length of record for a bench."),
    "demodulate": ("_demodulate", "demodulate", "Read a and b, with errors, from a record that anybody took."),
    "drivers": ("_drivers", "drivers", "List the drivers that are installed, and what is missing."),
    "discover": ("_drivers", "discover", "Look for instruments and print lines to paste into a bench file."),
    "templates": ("_templates", "templates", "List the commented files to begin with, or write one here."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [*_COMMANDS, *(name for name in plugged_commands("") if name not in _COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return plugged_command(cmd_name)
        module, function, _ = _COMMANDS[cmd_name]
        command = getattr(import_module(f"freqprop_lab.cli.{module}"), function)
        assert isinstance(command, click.Command)  # noqa: S101 - our own table
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        refuse_unknown(ctx, args, self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        ours = {name: line for name, (_, _, line) in _COMMANDS.items()}
        with formatter.section("Commands"):
            formatter.write_dl([(name, ours.get(name) or plugged_line(name)) for name in self.list_commands(ctx)])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="freqprop-lab")
def freqprop() -> None:
    """Train physical networks of tunable resistors by frequency propagation.

    Begin with: freqprop train --epochs 100, then freqprop report RUN. The numeric bench needs no hardware.
    """


def main() -> None:
    """Run the command line; every foreseeable fault ends in a message and an exit status, not in a traceback."""
    try:
        freqprop(standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(_USED_WRONGLY)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone; Python would complain once more
        sys.exit(_FAILED)
    except (KeyboardInterrupt, click.Abort) as interrupt:
        told = str(interrupt.__cause__ or interrupt)  # click wraps what it catches
        click.echo(f"freqprop: {told or 'interrupted before anything was driven'}", err=True)
        sys.exit(_INTERRUPTED)
    except Exception as error:
        status = _status(error)
        if status is None:
            raise
        click.echo(f"freqprop: {error}", err=True)
        for part in getattr(error, "exceptions", ()):
            click.echo(f"  - {part}", err=True)
        for note in getattr(error, "__notes__", ()):
            click.echo(f"  {note}", err=True)
        sys.exit(status)


def _status(error: Exception) -> int | None:
    """Return the exit status of a foreseeable fault, None for a bug of ours."""
    from freqprop_lab.config import FileError  # noqa: PLC0415 - only now, and cheap beside the fault
    from freqprop_lab.instruments import InstrumentError  # noqa: PLC0415
    from freqprop_lab.network import NetworkError  # noqa: PLC0415
    from freqprop_lab.report import MissingExtraError  # noqa: PLC0415
    from freqprop_lab.runs import RunError, WrongRunError  # noqa: PLC0415

    if isinstance(error, FileError | WrongRunError):
        return _USED_WRONGLY
    if isinstance(error, RunError | InstrumentError | NetworkError | MissingExtraError):
        return _FAILED
    if isinstance(error, ExceptionGroup) and all(isinstance(part, InstrumentError) for part in error.exceptions):
        return _FAILED
    return None
