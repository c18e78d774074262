"""`freqprop templates`: commented files to begin with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

_TEMPLATES = {
    "iris": "the paper's experiment (section 4, appendix A)",
    "iris-best": "Iris with cross-entropy, a bias port and centred inputs: what a user would want",
    "xor": "exclusive or with three diodes, its bench included",
    "csv": "your own table; writes a small made-up one beside it",
    "virtual-lab": "a breadboard's instruments as servers on this machine; writes its network beside it",
    "bench-numeric": "a numeric bench with every field, all departures from the ideal listed",
}
_BESIDE = {"csv": "csv-data.csv", "virtual-lab": "virtual-lab-network.csv"}


def template_text(name: str) -> str:
    """Return the text of a template."""
    return _text(f"{name}.yaml")


@click.command()
@click.argument("name", required=False)
def templates(name: str | None) -> None:
    """List the templates, or write NAME.yaml into the current folder. Nothing is overwritten."""
    if name is None:
        for known, words in _TEMPLATES.items():
            click.echo(f"{known:16}{words}")
        click.echo("write one with: freqprop templates NAME")
        return
    name = name.removesuffix(".yaml")
    if name not in _TEMPLATES:
        from freqprop_lab.names import nearest  # noqa: PLC0415

        raise click.UsageError(f'no template "{name}".{nearest(name, _TEMPLATES)} There are: {", ".join(_TEMPLATES)}')
    wanted = [f"{name}.yaml", *([_BESIDE[name]] if name in _BESIDE else [])]
    for file in wanted:
        if Path(file).exists():
            raise click.UsageError(f"{file} exists already and is not overwritten; move it, or work in another folder")
    for file in wanted:
        try:
            Path(file).write_text(_text(file), encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"{file} can't be written: {error.strerror or error}") from None
        click.echo(f"wrote {file}")


def _text(file: str) -> str:
    return (files("freqprop_lab") / "data" / "templates" / file).read_text(encoding="utf-8")
