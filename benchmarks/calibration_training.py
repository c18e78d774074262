"""What calibration is worth to training: python benchmarks/calibration_training.py [--quick].

One network, three benches: ideal but for noise; with 2 % gain errors, 5 mV offsets, hidden skews of 3 samples and bent
wipers about a common mode of 2.5 V; and that one after `freqprop calibrate`. Errors are those that an ideal bench would
measure of what was trained, whatever the bench itself believes. Fixed targets: a table that another network of the same
wiring made. Moving targets: the paper's, where both the targets and the outputs are off alike. Without --quick it also
draws docs/images/calibration-training.png.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _campaign import Row, spread

COMMAND = "python benchmarks/calibration_training.py"
_IMAGE = Path(__file__).parent.parent / "docs" / "images" / "calibration-training.png"
_KINDS = ("ideal", "calibrated", "uncalibrated")
_SKEW = 3 / (1000 * 20)  # s: three samples
_BENCH = """\
bench: numeric
name: training
hardware_seed: {seed}
common_mode: 2.5 V
network: {{kind: barabasi-albert, nodes: 16, edges: 48}}
scales: {{voltage: 0.2 V, conductance: 0.1 mS}}
inputs: {{source: resistor, resistance: 1 kOhm}}
nudge: {{source: resistor, resistance: 10 kOhm}}
sampling: {{frequency: 1 kHz, samples_per_period: 20, periods: 10}}
"""
_NOISE = "meter: {noise: 1 mV}\n"
_FAULTS = f"""\
source: {{gain_error: 2 %, offset: 5 mV}}
meter: {{noise: 1 mV, gain_error: 2 %, offset: 5 mV, hidden_skew: {_SKEW}, certified: {{nodes: [n0], gain: 50e-6,
        offset: 0.1 mV}}}}
resistors: {{nonlinearity: 5 %, tolerance: 5 %}}
"""
_CALIBRATION = """\
calibration:
  folder: calibrations
  assume: {source_gain: 2 %, source_offset: 5 mV, meter_gain: 2 %, meter_offset: 5 mV, tunable: 10 %,
           source_resistance: 0.01 %}
  references: [{meter: n0, gain: 50e-6, offset: 0.1 mV, certificate: simulated}]
"""
_FIXED = """\
name: fixed
seed: {seed}
epochs: {epochs}
evaluate_every: {epochs}
bench: {bench}
task:
  kind: csv
  file: table.csv
  target: [y1, y2]
  predict: value
  inputs: {{scale: 5, encoding: centred, bias: [5]}}
  targets: {{kind: values, low: -0.3, high: 0.3}}
  cost: squared
  split: {{train: 0.5}}
rule: {{alpha: 0.3}}
conductances: {{start: [0.3, 3], bounds: [0.1, 10]}}
"""
_MOVING = """\
name: moving
seed: {seed}
epochs: {epochs}
evaluate_every: {epochs}
bench: {bench}
task: {{kind: iris}}
rule: {{alpha: 0.3}}
conductances: {{start: [0.3, 3], bounds: [0.1, 10]}}
"""


@dataclass(frozen=True)
class Trained:
    """One bench trained: true errors, V, before, after, and by epoch."""

    before: float
    after: float
    curve: tuple[float, ...]


def _bench_text(kind: str, seed: int) -> str:
    text = _BENCH.format(seed=seed)
    return text + (_NOISE if kind == "ideal" else _FAULTS + (_CALIBRATION if kind == "calibrated" else ""))


def _table(folder: Path, seed: int) -> None:
    """Let a network of the same wiring, with conductances of its own, make the table that is to be learnt."""
    import numpy as np

    from freqprop_lab.config import parse_experiment
    from freqprop_lab.session import load_bench, prepare

    rng = np.random.default_rng(100 + seed)
    x = rng.uniform(0, 5, (60, 4))
    rows = [",".join(f"{value:.6f}" for value in (*row, 0.1 * row[0], 0.1 * row[1])) for row in x]
    (folder / "table.csv").write_text("x1,x2,x3,x4,y1,y2\n" + "\n".join(rows) + "\n")
    (folder / "ideal.yaml").write_text(_bench_text("ideal", seed).replace(_NOISE, ""))
    text = _FIXED.format(seed=seed, epochs=1, bench="ideal.yaml")
    experiment = parse_experiment(text, folder / "teacher.yaml")
    with load_bench(folder / "ideal.yaml", experiment) as bench:
        job = prepare(experiment, bench)
        bench.program(np.exp(rng.uniform(np.log(0.2), np.log(5), len(bench.network.tunable))) * bench.scales.siemens)
        order = np.arange(len(x))
        outputs = bench.read_many(job.task.levels[order] * bench.level_scale) / bench.scales.volts
    rows = [",".join(f"{value:.6f}" for value in (*row, *y)) for row, y in zip(x, outputs, strict=True)]
    (folder / "table.csv").write_text("x1,x2,x3,x4,y1,y2\n" + "\n".join(rows) + "\n")


def _experiment(folder: Path, task: str, kind: str, seed: int, epochs: int) -> Any:
    from freqprop_lab.config import parse_experiment

    bench = f"{kind.replace(' ', '-')}.yaml"
    (folder / bench).write_text(_bench_text(kind, seed))
    text = (_FIXED if task == "fixed" else _MOVING).format(seed=seed, epochs=epochs, bench=bench)
    return parse_experiment(text, folder / f"{task}.yaml")


def train_one(task: str, kind: str, seed: int, epochs: int) -> Trained:
    """Calibrate where that is asked for, train, and ask an ideal bench with the true conductances for the errors."""
    import numpy as np

    from freqprop_lab.runs import Run
    from freqprop_lab.session import load_bench, train

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if task == "fixed":
            _table(folder, seed)
        experiment = _experiment(folder, task, kind, seed, epochs)
        bench_file = folder / f"{kind.replace(' ', '-')}.yaml"
        if kind == "calibrated":
            _calibrate(bench_file, experiment)
        with load_bench(bench_file, experiment) as bench:
            train(experiment, bench, run=folder / "run")
            run = Run(folder / "run")
            told = run["conductances"]
            true = [bench.truth().conductance(_nominal(bench, told[row])) for row in _rows(len(told))]
        errors = _true_errors(folder, experiment, true)
    return Trained(errors[0], errors[-1], tuple(np.array(errors)))


def _rows(n_states: int) -> list[int]:
    """Return which states are looked at for a curve: the first, the last, and some twenty between."""
    import numpy as np

    return np.unique(np.linspace(0, n_states - 1, 21).round().astype(int)).tolist()


def _nominal(bench: Any, told: Any) -> Any:
    return told if bench.correction is None else bench.correction.nominal_conductances(told)


def _calibrate(bench_file: Path, experiment: Any) -> None:
    from calibration.records import RecordFolder
    from calibration.registry import make_procedure
    from calibration.running import calibrate
    from freqprop_lab.bench import open_bench
    from freqprop_lab.config import read_bench_file
    from freqprop_lab.session import BenchWishes, request_of

    folder = RecordFolder(bench_file.parent / "calibrations")
    with open_bench(read_bench_file(bench_file), request_of(experiment, BenchWishes()), corrected=False) as bench:
        for name in ("gains", "skew", "resistors"):
            calibrate(bench, make_procedure(name), folder)


def _true_errors(folder: Path, experiment: Any, conductances: list[Any]) -> list[float]:
    """Return the errors, V, of conductances (each (tunable,), S) on a bench without fault or noise."""
    from dataclasses import replace

    import numpy as np

    from freqprop_lab.session import load_bench, prepare
    from freqprop_lab.trainer import State

    seed = experiment.model.seed
    (folder / "truth.yaml").write_text(_bench_text("ideal", seed).replace(_NOISE, ""))
    with load_bench(folder / "truth.yaml", experiment) as bench:
        job = prepare(experiment, bench)
        errors = []
        for each in conductances:
            bench.program(each)
            nothing = np.zeros((len(job.task.classes), job.task.n_outputs))
            trainer = job.trainer(State(each, nothing, np.zeros(0, dtype=np.intp), np.zeros(0)))
            if job.task.classes:
                trainer.state = replace(trainer.state, by_class=job.task.class_targets(trainer.read))
            errors.append(float(trainer.score().error or 0.0) * bench.scales.volts)
    return errors


def _all(*, quick: bool) -> dict[tuple[str, str], list[Trained]]:
    """Train every bench on both tasks, over seeds."""
    n_seeds, epochs = (1, 4) if quick else (10, 60)
    jobs = [(task, kind, seed, epochs) for task in ("fixed", "moving") for kind in _KINDS for seed in range(n_seeds)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        found = list(pool.map(train_one, *zip(*jobs, strict=True)))
    trained: dict[tuple[str, str], list[Trained]] = {}
    for (task, kind, _, _), each in zip(jobs, found, strict=True):
        trained.setdefault((task, kind), []).append(each)
    return trained


def rows(*, quick: bool = False) -> list[Row]:
    """Return the errors of every bench, and the calibrated one's beside the ideal one's."""
    trained, made = _all(quick=quick), []
    if not quick:
        _draw(trained)
    for task in ("fixed", "moving"):
        ideal = trained[task, "ideal"]
        for kind in _KINDS:
            mine = trained[task, kind]
            title = f"{task} targets, 2 % gains, 5 mV offsets, skews of 3 samples, {len(mine)} seeds, bench {kind}"
            errors = f"{spread([each.before for each in mine])} -> {spread([each.after for each in mine])}"
            made.append(Row(f"{title}: true error (V)", errors, COMMAND))
            if kind != "ideal":
                ratio = sum(each.after for each in mine) / sum(each.after for each in ideal)
                made.append(Row(f"{title}: mean true error over the ideal bench's", f"{ratio:.3f}", COMMAND))
    return made


def _draw(trained: dict[tuple[str, str], list[Trained]]) -> None:
    """Draw the true error by epoch, mean and standard deviation over seeds, for both kinds of targets."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_seeds = len(trained["fixed", "ideal"])
    figure = Figure((10, 4.4), 110, layout="constrained")
    FigureCanvasAgg(figure)
    colours = dict(zip(_KINDS, ("#0072B2", "#009E73", "#D55E00"), strict=True))
    for place, (task, title) in enumerate(
        (("fixed", "targets fixed in volts"), ("moving", "the paper's moving targets"))
    ):
        axes = figure.add_subplot(1, 2, place + 1)
        for kind in _KINDS:
            curves = np.array([each.curve for each in trained[task, kind]]) * 1e3
            x = np.linspace(0, 100, curves.shape[1])
            mean, width = curves.mean(axis=0), curves.std(axis=0)
            style = "--" if kind == "calibrated" else "-"
            axes.plot(x, mean, style, color=colours[kind], label=f"{kind} bench", linewidth=2)
            axes.fill_between(x, mean - width, mean + width, color=colours[kind], alpha=0.15)
        axes.set_title(title, loc="left")
        axes.set_xlabel("epochs, % of all")
        axes.set_ylabel("true error, mV")
        axes.set_ylim(bottom=0)
        axes.grid(color="#dddddd")
    lines, names = figure.axes[0].get_legend_handles_labels()
    told = f"lines: mean of {n_seeds} seeds; bands: one standard deviation of a seed either way"
    figure.legend(lines, names, loc="outside lower center", ncols=3, title=told, frameon=False)
    figure.savefig(_IMAGE, metadata={"Software": None})


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(f"{row.claim:130} {row.figure}")
