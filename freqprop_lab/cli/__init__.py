"""The command line. Commands are loaded when they are asked for, so that `freqprop --help` starts at once."""

from freqprop_lab.cli._main import main

__all__ = ["main"]
