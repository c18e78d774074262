"""What a run's folder begins with, and how an experiment and its bench are read from it again."""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from freqprop_lab.bench import Bench
from freqprop_lab.config import BenchSettings, Document, ExperimentFile, ExperimentSettings, check_bench, validate
from freqprop_lab.instruments import Instrument
from freqprop_lab.network import Network
from freqprop_lab.runs import Run, RunError
from freqprop_lab.session._calibration import keep_records, used_records

_FILES = "files"
_LIBRARIES = ("freqprop-lab", "numpy", "scipy")


def start_document(
    experiment: ExperimentSettings,
    bench: Bench,
    untrained: Mapping[str, Any],
    arguments: Mapping[str, Any],
    parent: Run | None,
) -> tuple[dict[str, Any], dict[str, str], dict[str, Path]]:
    """Return start.json, the files to write verbatim, and the files to copy.

    The experiment and the bench stand in start.json as they are meant, changes from the command line included and the
    files that they name moved into the run's folder: it needs nothing outside itself.
    """
    copies: dict[str, Path] = {}
    texts = {"experiment.yaml": experiment.document.text}
    settings, bench_file = bench.settings, None
    if settings is not None:
        texts["bench.yaml"] = settings.document.text
        bench_file = _moved(settings.document.data, settings.folder, copies)
        keep_records(bench_file, bench.correction, copies, _FILES)
    request = bench.request
    document = {
        "uid": str(uuid.uuid4()),
        "time": time.time(),
        "plan_name": "train",
        "plan_args": dict(arguments),
        "name": experiment.model.name,
        "seed": experiment.model.seed,
        "parents": [] if parent is None else [{"path": str(parent.path), "uid": parent.start["uid"]}],
        "versions": {name: metadata.version(name) for name in _LIBRARIES} | {"python": platform.python_version()},
        "experiment": _moved(experiment.document.data, experiment.folder, copies),
        "bench_file": bench_file,
        "wishes": {"nodes": request.nodes, "edges": request.edges},
        "bench": {"name": bench.name, "ports": bench.ports, "synchronised": bench.synchronised},
        "calibration": used_records(bench),
        "scales": {"volts": bench.scales.volts, "siemens": bench.scales.siemens},
        "network": _network(bench.network),
        "untrained": dict(untrained),
    }
    return document, texts, copies


def log_bytes(bench: Bench) -> int:
    """Return what each epoch adds to a run's folder, bytes: a, b and all conductances; the steps are small beside."""
    return 8 * (2 * len(bench.network.nodes) + len(bench.network.tunable))


def streams_document(bench: Bench, cost: str) -> dict[str, Any]:
    """Return streams.json: what each column of the logs is, and who the instruments say they are."""
    network = bench.network
    n_nodes, n_outputs = len(network.nodes), len(network.outputs)
    steps = [
        ("error", [], "task V", "rms over the outputs of output - target, before the update"),
        ("cost", [], "task V" if cost == "cross-entropy" else "task V^2", "cost of the example before the update"),
        ("outputs", [n_outputs], "V", "port voltages of the free record"),
        ("targets", [n_outputs], "V", "what was wanted"),
    ]
    states = [
        ("a", [n_nodes], "V", "activation of each node, last record"),
        ("b", [n_nodes], "V", "error signal of each node, last record"),
        ("conductances", [len(network.tunable)], "S", "realised conductances of the tunable branches"),
    ]
    return {
        "steps": _columns(steps),
        "states": _columns(states),
        "nodes": list(network.nodes),
        "outputs": [port.name for port in network.outputs],
        "tunable": list(network.tunable_names),
        "configuration": {instrument.name: _configuration(instrument) for instrument in bench.instruments},
    }


def recorded_experiment(run: Run) -> ExperimentSettings:
    """Read a run's experiment from its own folder."""
    document = Document(run.path / "start.json", "", run.start["experiment"], {})
    text = (run.path / "experiment.yaml").read_text(encoding="utf-8")
    model = validate(document, ExperimentFile)
    return ExperimentSettings(Document(document.path, text, document.data, {}), model, run.path)


def recorded_bench(run: Run) -> BenchSettings:
    """Read a run's bench from its own folder. Raises RunError for a bench that was made in Python."""
    if run.start["bench_file"] is None:
        raise RunError(
            f"run {run.path}: its bench {run.start['bench']['name']} was made in Python and is in no file, so it "
            "can't be opened from here"
        )
    text = (run.path / "bench.yaml").read_text(encoding="utf-8")
    return check_bench(Document(run.path / "start.json", text, run.start["bench_file"], {}), run.path)


def _moved(data: Mapping[str, Any], folder: Path, copies: dict[str, Path]) -> dict[str, Any]:
    """Return a file's data with the tables that it names copied beside, and an experiment's bench left out."""
    moved = {name: value for name, value in data.items() if not (name == "bench" and "task" in data)}
    for section in ("task", "network"):
        inner = moved.get(section)
        if isinstance(inner, dict) and "file" in inner:
            source = folder / inner["file"]
            name = f"{_FILES}/{section}-{source.name}"
            copies[name] = source
            moved[section] = {**inner, "file": name}
    return moved


def _columns(keys: Sequence[tuple[str, list[int], str, str]]) -> dict[str, Any]:
    first, described = 0, {}
    for name, shape, units, source in keys:
        described[name] = {"dtype": "number", "shape": shape, "units": units, "source": source, "first_column": first}
        first += int(np.prod(shape, initial=1))
    return {"width": first, "data_keys": described}


def _configuration(instrument: Instrument) -> dict[str, Any]:
    limits = getattr(instrument, "limits", None)
    listed = {name: _json_value(value) for name, value in (vars(limits) if limits is not None else {}).items()}
    return {
        "identity": vars(instrument.identify()),
        "clock": instrument.clock,
        "abilities": sorted(ability.value for ability in instrument.abilities),
        "limits": listed,
    }


def _json_value(value: Any) -> Any:
    """Return an array as a list, and null for what JSON has no number for: no limit."""
    if isinstance(value, np.ndarray):
        return [_json_value(item) for item in value.tolist()]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _network(network: Network) -> dict[str, Any]:
    branches = [
        {
            "name": branch.name,
            "plus": branch.plus,
            "minus": branch.minus,
            "kind": branch.element.kind,
            "tunable": branch.tunable,
        }
        for branch in network.branches
    ]
    return {
        "nodes": list(network.nodes),
        "branches": branches,
        "inputs": [[port.plus, port.minus] for port in network.inputs],
        "outputs": [[port.plus, port.minus] for port in network.outputs],
    }
