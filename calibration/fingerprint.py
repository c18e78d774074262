"""What network a record is of: a short hash of the branches and of what is wired where, values apart."""

from __future__ import annotations

import hashlib
import json

from freqprop_lab.bench import Bench
from freqprop_lab.network import GROUND, Network

_DIGITS = 16  # hexadecimal: two networks of a million share one by chance once in 10^7 times
_ALIKE_BOTH_WAYS = ("resistor", "antiparallel", "capacitor")  # kinds whose ends may be exchanged


def fingerprint(bench: Bench) -> str:
    """Return 16 hexadecimal digits: nodes, branches (ends, kind), leads, meter channels by node, elements by branch.

    The same wires listed in another order have the same, except that tunable branches keep theirs: arrays of a record
    stand in that order. Values (Ohm, S) are no part of it: they are what is programmed or found.
    """
    network = bench.network
    branches = [
        [branch.name, branch.element.kind, branch.tunable, *_ends(branch.plus, branch.minus, branch.element.kind)]
        for branch in network.branches
    ]
    leads = [[lead.name, lead.kind, _node(network, lead.plus), _node(network, lead.minus)] for lead in bench.leads]
    told = {
        "nodes": sorted(network.nodes),
        "branches": sorted(branches),
        "tunable": list(network.tunable_names),
        "leads": sorted(leads),
        "meters": sorted(bench.meter_channels.items()),
        "elements": sorted(bench.element_channels.items()),
    }
    text = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _ends(plus: str, minus: str, kind: str) -> list[str]:
    return sorted([plus, minus]) if kind in _ALIKE_BOTH_WAYS else [plus, minus]


def _node(network: Network, number: int) -> str:
    return GROUND if number < 0 else network.nodes[number]
