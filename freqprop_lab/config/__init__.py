"""Bench and experiment files: checked models, units in text, and messages that say what to mend."""

from freqprop_lab.config._bench_file import (
    BenchFile,
    BenchRequest,
    BenchSettings,
    SamplingSection,
    check_bench,
    read_bench_file,
)
from freqprop_lab.config._experiment_file import (
    CsvTask,
    EncodingSection,
    ExperimentFile,
    ExperimentSettings,
    IrisTask,
    TargetsSection,
    XorTask,
    parse_experiment,
    read_experiment_file,
)
from freqprop_lab.config._network_section import (
    BarabasiAlbertSection,
    NetworkSection,
    build_network,
    parse_network,
    quote_hint,
    read_branches,
)
from freqprop_lab.config._schema import Section, validate
from freqprop_lab.config._text import Document, FileError, parse_yaml, read_text, read_yaml
from freqprop_lab.config._units import Amperes, Fraction, Hertz, Number, Ohms, Seconds, Siemens, Volts, parse_quantity

__all__ = [
    "Amperes",
    "BarabasiAlbertSection",
    "BenchFile",
    "BenchRequest",
    "BenchSettings",
    "CsvTask",
    "Document",
    "EncodingSection",
    "ExperimentFile",
    "ExperimentSettings",
    "FileError",
    "Fraction",
    "Hertz",
    "IrisTask",
    "NetworkSection",
    "Number",
    "Ohms",
    "SamplingSection",
    "Seconds",
    "Section",
    "Siemens",
    "TargetsSection",
    "Volts",
    "XorTask",
    "build_network",
    "check_bench",
    "parse_experiment",
    "parse_network",
    "parse_quantity",
    "parse_yaml",
    "quote_hint",
    "read_bench_file",
    "read_branches",
    "read_experiment_file",
    "read_text",
    "read_yaml",
    "validate",
]
