"""Commands of other packages: single ones, groups of words, broken ones; none is loaded for `freqprop --help`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import click
import pytest
from conftest import Call
from pytest_mock import MockerFixture

GROUP = "freqprop_lab.commands"


@click.command()
def brew() -> None:
    """Brew it. And then some."""
    click.echo("brewed")


@pytest.fixture
def installed(mocker: MockerFixture) -> None:
    here = f"{__name__}:brew"
    entries = EntryPoints(
        [
            EntryPoint("tea brew", here, GROUP),
            EntryPoint("tea spoil", "no_such_package:spoil", GROUP),
            EntryPoint("tea pot empty", here, GROUP),
            EntryPoint("bench brew", here, GROUP),
            EntryPoint("coffee", here, GROUP),
        ]
    )

    def entry_points(**chosen: Any) -> EntryPoints:
        return entries.select(**chosen)

    mocker.patch("importlib.metadata.entry_points", entry_points)


@pytest.mark.usefixtures("installed")
def test_words_make_a_group(freqprop: Call) -> None:
    assert freqprop("tea", "brew") == (0, "brewed\n", "")
    assert freqprop("tea", "pot", "empty") == (0, "brewed\n", "")
    assert freqprop("bench", "brew") == (0, "brewed\n", "")
    assert freqprop("coffee") == (0, "brewed\n", "")


@pytest.mark.usefixtures("installed")
def test_help_lists_groups_without_loading_them(freqprop: Call, mocker: MockerFixture) -> None:
    load = mocker.patch.object(EntryPoint, "load")
    status, out, _ = freqprop("--help")
    assert status == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "tea brew, pot, spoil" in lines
    assert any(line.startswith("coffee (from ") for line in lines)
    assert sum(line.startswith("bench ") for line in lines) == 1
    load.assert_not_called()


def test_help_has_a_line_for_each_command_of_our_own(freqprop: Call) -> None:
    words = " ".join(freqprop("--help")[1].split())
    assert "calibrate Measure what a bench really does, and leave dated records that correct it." in words
    assert "another package" not in words


@pytest.mark.usefixtures("installed")
def test_the_help_of_a_group_has_a_line_a_command_and_survives_a_broken_one(freqprop: Call) -> None:
    status, out, _ = freqprop("tea", "--help")
    assert status == 0
    words = " ".join(out.split())
    assert "brew Brew it." in words
    assert "spoil (tea spoil comes with the package no_such_package:spoil, which fails to load: No module" in words


@pytest.mark.usefixtures("installed")
def test_a_wrong_word_gets_the_nearest(freqprop: Call) -> None:
    status, _, err = freqprop("tea", "brw")
    assert status == 2
    assert 'no command "brw". Did you mean "brew"? There are: brew, pot, spoil' in err
    assert freqprop("tea", "spoil")[0] == 2
    assert freqprop("tee")[0] == 2
