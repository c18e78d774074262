"""Every command and every Python example in the docs is run, and what they are said to print is what they print."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from freqprop_lab.bench import WiredBenchFile
from freqprop_lab.cli import main
from freqprop_lab.config import ExperimentFile
from simulated_bench.settings import NumericBenchFile

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Set-up, which a test inside its own environment can't do; .ci/run and `make` do it.
SET_UP = ("make ", "source ", "git clone", "uv ")


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each command of a page with the lines that it is said to print."""
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *printed = part.splitlines()
            yield command, printed


def normal(line: str) -> str:
    """Take out what differs from run to run: times and the stamps of folders."""
    return re.sub(r"\d{8}-\d{6}(-\d+)?", "STAMP", re.sub(r"in \d+\.\d s", "in TIME", line)).rstrip()


def call(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with contextlib.suppress(SystemExit):
        main()
        raise SystemExit(0)
    told = capsys.readouterr()
    assert not told.err.startswith("freqprop:"), f"{command}: {told.err}"
    assert "Error" not in told.err, f"{command}: {told.err}"
    return told.out.splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_and_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for data in (*page.parent.glob("*.csv"), *page.parent.glob("*.cir")):  # what the page says to save
        shutil.copy(data, tmp_path)
    for text in blocks(page, "yaml"):  # and the files that it shows by name
        if named := re.match(r"# (\S+\.yaml)\n", text):
            (tmp_path / named[1]).write_text(text, encoding="utf-8")
    if page.name == "README.md":  # `make train` is `freqprop train`; its epochs are cut to what a test can wait for
        call("freqprop train --epochs 2", capsys, monkeypatch)
    for command, printed in commands(page):
        if command.startswith(SET_UP):
            continue
        assert command.startswith("freqprop "), f"{page.name} shows a command that nothing runs: {command}"
        out = call(command, capsys, monkeypatch)
        if printed:
            assert [normal(line) for line in out] == [normal(line) for line in printed], command
    for example in blocks(page, "python"):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(example, page.name, "exec", dont_inherit=True), {"__name__": "example"})


def test_the_readme_shows_what_the_default_run_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = next(lines for command, lines in commands(ROOT / "README.md") if command == "make train")
    assert [normal(line) for line in call("freqprop train", capsys, monkeypatch)] == [normal(line) for line in printed]


def fields(model: type[BaseModel], inside: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        nested = [
            part
            for part in (info.annotation, *getattr(info.annotation, "__args__", ()))
            if isinstance(part, type) and issubclass(part, BaseModel)
        ]
        for part in nested:
            yield from fields(part, f"{inside}{name}.")
        if not nested:
            yield f"{inside}{name}"


@pytest.mark.parametrize("model", [ExperimentFile, NumericBenchFile, WiredBenchFile], ids=lambda model: model.__name__)
def test_every_field_of_a_file_is_in_the_docs(model: type[BaseModel]) -> None:
    page = (ROOT / "docs" / "file-formats.md").read_text(encoding="utf-8")
    undocumented = [
        name for name in fields(model) if f"`{name}`" not in page and f"`{name.removeprefix('network.')}`" not in page
    ]
    assert not [name for name in undocumented if not name.startswith("network.network")], undocumented


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_no_file_tells_of_the_machine_it_was_made_on() -> None:
    here = os.sep + "work" + os.sep
    for page in (*PAGES, ROOT / "constraints.txt", ROOT / "pyproject.toml"):
        assert here not in page.read_text(encoding="utf-8"), page
