"""What several tests share: benches from text, and the recipes of the paper."""

from __future__ import annotations

import os
import sys

# Before NumPy is loaded, here and in every process that a test starts: as `make test` has it. The last bit of a sum
# hangs on the number of threads, and a run that is resumed in another process must not differ in it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from freqprop_lab.bench import Bench, open_bench
from freqprop_lab.cli import main
from freqprop_lab.config import BenchRequest, check_bench, parse_yaml

# A busy machine is no failure: how long an example takes is not what these tests are about.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

OpenBench = Callable[..., Bench]


@pytest.fixture
def bench_of() -> Iterator[OpenBench]:
    """Open a bench from the text of a bench file; keyword arguments go to BenchRequest. Closed after the test."""
    with ExitStack() as stack:

        def open_text(text: str = "bench: numeric\n", **request: Any) -> Bench:
            settings = check_bench(parse_yaml(text, Path("bench.yaml")), Path())
            return stack.enter_context(open_bench(settings, BenchRequest(**request)))

        yield open_text


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def freqprop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in an empty folder: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["freqprop", *arguments])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        told = capsys.readouterr()
        return status, told.out, told.err

    return call
