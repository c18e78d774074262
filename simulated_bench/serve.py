"""`freqprop bench serve`: a wired bench file as a virtual lab, until it is asked to stop."""

from __future__ import annotations

import io
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click

_SLICE = 0.1  # s: no wait is longer, so that every system hears a request to stop


@click.command()
@click.argument("bench_file", metavar="BENCH.yaml", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in one line once everything listens.")
@click.option("--write", type=click.Path(path_type=Path), help="Write the bench file with the resources that it got.")
@click.option("--faults", type=click.Path(path_type=Path), help="Inject the faults of this file, one JSON line each.")
def serve(bench_file: Path, write: Path | None, faults: Path | None, *, as_json: bool) -> None:
    """Put the instruments of BENCH.yaml on the loopback interface: real wire protocols around a simulated circuit.

    A resource with port 0 gets a free one. Ends on Ctrl-C and SIGTERM. --faults: lines such as {"instrument": "daq",
    "kind": "late-reply", "seconds": 0.5}; lines that are added while it runs are injected as they come.
    """
    from freqprop_lab.config import read_bench_file  # noqa: PLC0415
    from simulated_bench.lab import VirtualLab  # noqa: PLC0415
    from simulated_bench.servers.registry import FACTORIES  # noqa: PLC0415

    settings = read_bench_file(bench_file)
    if write is not None and write.exists():
        raise click.UsageError(f"{write} exists already and is not overwritten; name another file")
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with VirtualLab(settings, FACTORIES) as lab:
            resources = lab.start()
            best = {name: listed[0] for name, listed in resources.items()}
            if write is not None:
                write.write_text(with_resources(settings.document.text, best), encoding="utf-8")
            _tell(best, resources, as_json=as_json)
            injected = 0
            while not stop.wait(_SLICE):
                if faults is not None:
                    injected = _inject(lab, faults, injected)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def with_resources(text: str, resources: dict[str, str]) -> str:
    """Return the text of a bench file with other resources; comments and all other fields stay."""
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString  # noqa: PLC0415

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 10_000
    document = yaml.load(text)
    for name, resource in resources.items():
        document["instruments"][name]["resource"] = DoubleQuotedScalarString(resource)
    written = io.StringIO()
    yaml.dump(document, written)
    return written.getvalue()


def _tell(best: dict[str, str], resources: dict[str, list[str]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"instruments": best, "all": resources}))
    else:
        for name, listed in resources.items():
            click.echo(f"{name:14}{'  '.join(listed)}")
        click.echo("serving; end with Ctrl-C")
    sys.stdout.flush()


def _inject(lab: Any, path: Path, done: int) -> int:
    """Inject the faults of the file's lines that are new; a line that makes no sense is told and left out."""
    from simulated_bench.servers import Fault, FaultKind  # noqa: PLC0415

    if not path.exists():
        return done
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not _is_whole(lines[-1]):
        lines.pop()  # somebody is writing it
    for line in lines[done:]:
        try:
            fields = json.loads(line)
            instrument = lab.instruments[fields.pop("instrument")]
            fault = Fault(FaultKind(fields.pop("kind")), **fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            kinds = ", ".join(kind.value for kind in FaultKind)
            click.echo(f"{path}: {line.strip()[:80]}: {error}; kinds are {kinds}", err=True)
            continue
        instrument.faults.add(fault)
    return len(lines)


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return line.endswith("\n")
    return True
