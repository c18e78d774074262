"""Tasks: examples, how they become levels, what is wanted at the outputs, costs and read-outs."""

from freqprop_lab.tasks._costs import COSTS, Cost, CrossEntropy, Objective, OneSided, Squared, make_cost
from freqprop_lab.tasks._table import Table, read_rows
from freqprop_lab.tasks._task import Scores, Task, build_task

__all__ = [
    "COSTS",
    "Cost",
    "CrossEntropy",
    "Objective",
    "OneSided",
    "Scores",
    "Squared",
    "Table",
    "Task",
    "build_task",
    "make_cost",
    "read_rows",
]
