"""From files to a finished run: opens what an experiment needs, trains, leaves everything safe and on record."""

from freqprop_lab.session._calibration import words_beyond_tables, words_of_records
from freqprop_lab.session._ensemble import Ensemble, SeedRun, Spread, train_seeds
from freqprop_lab.session._job import BenchWishes, Job, default_bench, load_bench, load_experiment, prepare, request_of
from freqprop_lab.session._record import log_bytes, recorded_bench, recorded_experiment
from freqprop_lab.session._train import RUNS, Result, finished_result, resume, train
from freqprop_lab.session._trained import Answers, Applied, apply_conductances, evaluate_rows

__all__ = [
    "RUNS",
    "Answers",
    "Applied",
    "BenchWishes",
    "Ensemble",
    "Job",
    "Result",
    "SeedRun",
    "Spread",
    "apply_conductances",
    "default_bench",
    "evaluate_rows",
    "finished_result",
    "load_bench",
    "load_experiment",
    "log_bytes",
    "prepare",
    "recorded_bench",
    "recorded_experiment",
    "request_of",
    "resume",
    "train",
    "train_seeds",
    "words_beyond_tables",
    "words_of_records",
]
