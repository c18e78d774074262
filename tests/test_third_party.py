"""A driver in a package of its own is found, listed and held to the suites, and touches nothing of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "docs" / "example-package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed into a folder of its own by pip, from a copy."""
    folder = tmp_path_factory.mktemp("third-party")
    shutil.copytree(EXAMPLE, folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [*pip, "--disable-pip-version-check", "--target", str(folder / "site"), str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def test_it_is_listed_with_its_package(installed: Path) -> None:
    done = run(
        installed, "-c", "import sys; sys.argv = ['freqprop', 'drivers']; from freqprop_lab.cli import main; main()"
    )
    line = next(line for line in done.stdout.splitlines() if "still-meter" in line)
    assert line.split() == ["instrument", "still-meter", "freqprop-still-meter", "ready"]


def test_it_passes_the_conformance_suite(installed: Path) -> None:
    done = run(installed, "-m", "pytest", "-p", "no:cacheprovider", str(EXAMPLE / "test_still_meter.py"))
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_the_example_stays_short() -> None:
    lines = [line for line in (EXAMPLE / "still_meter.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 60
