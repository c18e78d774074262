"""Commands that other packages bring, by the entry point `freqprop_lab.commands`: "calibrate", "bench serve".

Where several begin with a word that is no command ("calibration list", "calibration show"), that word is their group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_GROUP = "freqprop_lab.commands"
_OURS = "freqprop-lab"


def plugged_commands(before: str) -> list[str]:
    """List the commands and groups below `before` ("" or "bench") without loading them."""
    depth = len(before.split())
    return sorted({entry.name.split()[depth] for entry in _below(before)})


def plugged_line(name: str) -> str:
    """Return a line of help for a command or group. One of this distribution, which loads fast, is loaded for it."""
    inside = plugged_commands(name)
    if inside:
        return ", ".join(inside)
    (entry,) = (each for each in _below("") if each.name == name)
    if entry.dist is None or entry.dist.name != _OURS:
        return f"(from {_package(entry)})"
    command = plugged_command(name)
    return command.get_short_help_str(limit=200) if command is not None else ""


def plugged_command(name: str) -> click.Command | None:
    """Load the command of that name ("bench serve"); a broken package is told by name and left out."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - costs more than all of --help beside it

    for entry in entry_points(group=_GROUP):
        if entry.name == name:
            try:
                found = entry.load()
            except Exception as error:  # noqa: BLE001 - whatever another package does wrong
                raise click.ClickException(
                    f"{name} comes with the package {_package(entry)}, which fails to load: {error}"
                ) from None
            if isinstance(found, click.Command):
                return found
    return _PluggedGroup(name) if _below(name) else None


def refuse_unknown(ctx: click.Context, arguments: Sequence[str], known: Sequence[str]) -> None:
    """Raise UsageError with the nearest name where the first argument is none of the commands known."""
    if arguments and not arguments[0].startswith("-") and arguments[0] not in known:
        from freqprop_lab.names import nearest  # noqa: PLC0415

        raise click.UsageError(
            f'no command "{arguments[0]}".{nearest(arguments[0], known)} There are: {", ".join(known)}', ctx
        )


class _PluggedGroup(click.Group):
    """The commands that begin with the same words; each is loaded when it is called, all for the group's help."""

    def __init__(self, words: str) -> None:
        packages = sorted({_package(entry) for entry in _below(words)})
        super().__init__(words.rsplit(maxsplit=1)[-1], help=f"Commands that come with {', '.join(packages)}.")
        self._words = words

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return plugged_commands(self._words)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        return plugged_command(f"{self._words} {cmd_name}")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        refuse_unknown(ctx, args, self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._line(ctx, name)) for name in self.list_commands(ctx)])

    def _line(self, ctx: click.Context, name: str) -> str:
        try:
            command = self.get_command(ctx, name)
        except click.ClickException as error:  # one broken package hides no other
            return f"({error.message})"
        return command.get_short_help_str(limit=200) if command is not None else "(is no command)"


def _below(before: str) -> list[EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415

    words = before.split()
    found = []
    for entry in entry_points(group=_GROUP):
        name = entry.name.split()
        if len(name) > len(words) and name[: len(words)] == words:
            found.append(entry)
    return found


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
