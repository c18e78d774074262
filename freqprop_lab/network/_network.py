"""A network as a person wires it: named nodes, named branches between them, ports where it is driven and read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.elements import Part, Trainable
from freqprop_lab.names import nearest, shown
from freqprop_lab.values import Array

GROUND = "ground"

Indices = NDArray[np.intp]


class NetworkError(ValueError):
    """A network that can't be: the message names the branch or the node. `branch` is its name where it is one's."""

    def __init__(self, message: str, branch: str | None = None) -> None:
        super().__init__(message)
        self.branch = branch


@dataclass(frozen=True)
class Branch:
    """A two-terminal element from node `plus` to node `minus`.

    theta: its parameters in SI units, in the element's order. tunable: learnt and programmed; its conductance then
    stays within lowest..highest (S), where given.
    """

    name: str
    plus: str
    minus: str
    element: Part
    theta: tuple[float, ...]
    tunable: bool = False
    lowest: float | None = None
    highest: float | None = None


@dataclass(frozen=True)
class Port:
    """A pair of nodes, or a node and ground, where something is applied or read: V(plus) - V(minus)."""

    plus: str
    minus: str = GROUND

    @property
    def name(self) -> str:
        """How messages and tables call it."""
        return self.plus if self.minus == GROUND else f"{self.plus}/{self.minus}"


@dataclass(frozen=True)
class Network:
    """Nodes (ground not counted), branches, input and output ports. Raises NetworkError where they don't fit."""

    nodes: tuple[str, ...]
    branches: tuple[Branch, ...]
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no breadboard could be; every message names the branch or node."""
        _check_names(self.nodes, self.branches)
        known = {GROUND: None} | dict.fromkeys(self.nodes)  # in their order, and quick to look up
        for branch in self.branches:
            _check_branch(branch, known)
        self._check_ports(known)

    def _check_ports(self, known: Mapping[str, None]) -> None:
        for kind, ports in (("input", self.inputs), ("output", self.outputs)):
            _check_ports(kind, ports, known)
        _check_driven_once(self.inputs)
        if self.inputs:
            _check_connected(self)

    @cached_property
    def index(self) -> dict[str, int]:
        """Number of each node; ground is -1, the place after the last node in a vector with a zero appended."""
        return {GROUND: -1} | {name: number for number, name in enumerate(self.nodes)}

    @cached_property
    def plus(self) -> Indices:
        """Node number of each branch's plus end, (branch,)."""
        return np.array([self.index[branch.plus] for branch in self.branches], dtype=np.intp)

    @cached_property
    def minus(self) -> Indices:
        """Node number of each branch's minus end, (branch,)."""
        return np.array([self.index[branch.minus] for branch in self.branches], dtype=np.intp)

    @cached_property
    def tunable(self) -> Indices:
        """Numbers of the tunable branches, (tunable,)."""
        return np.array([i for i, branch in enumerate(self.branches) if branch.tunable], dtype=np.intp)

    @cached_property
    def tunable_names(self) -> tuple[str, ...]:
        """Names of the tunable branches."""
        return tuple(branch.name for branch in self.branches if branch.tunable)

    @cached_property
    def tunable_element(self) -> Trainable:
        """The one kind of element that is tuned."""
        kinds = {branch.element for branch in self.branches if branch.tunable}
        element = kinds.pop() if len(kinds) == 1 else None
        if not isinstance(element, Trainable):
            raise NetworkError("the tunable branches must all be of one kind that can be learnt, such as resistor")
        return element

    @cached_property
    def is_linear(self) -> bool:
        """True where every element is."""
        return all(branch.element.linear for branch in self.branches)

    @cached_property
    def input_ends(self) -> tuple[Indices, Indices]:
        """Node numbers of the inputs' plus and minus ends, (input,) each."""
        return self._ends(self.inputs)

    @cached_property
    def output_ends(self) -> tuple[Indices, Indices]:
        """Node numbers of the outputs' plus and minus ends, (output,) each."""
        return self._ends(self.outputs)

    @cached_property
    def tunable_ends(self) -> tuple[Indices, Indices]:
        """Node numbers of the tunable branches' plus and minus ends, (tunable,) each."""
        return self.plus[self.tunable], self.minus[self.tunable]

    @cached_property
    def own_bounds(self) -> tuple[Array, Array]:
        """Lowest and highest conductance of each tunable branch by itself, S, (tunable,); 0 and infinity if open."""
        tunable = [self.branches[i] for i in self.tunable]
        lowest = np.array([0.0 if branch.lowest is None else branch.lowest for branch in tunable])
        highest = np.array([np.inf if branch.highest is None else branch.highest for branch in tunable])
        return lowest, highest

    @cached_property
    def own_conductances(self) -> Array:
        """Conductance that each tunable branch is listed with, S, (tunable,)."""
        return np.array([self.branches[i].theta[0] for i in self.tunable])

    def read_outputs(self, volts: Array) -> Array:
        """Take port voltages (..., output) from node voltages (..., node), V."""
        return difference(volts, *self.output_ends)

    def across(self, volts: Array) -> Array:
        """Take the voltages across all branches (..., branch) from node voltages (..., node), V."""
        return difference(volts, self.plus, self.minus)

    def across_tunable(self, volts: Array) -> Array:
        """Take the voltages across the tunable branches (..., tunable) from node voltages (..., node), V."""
        return difference(volts, *self.tunable_ends)

    def with_ports(self, inputs: Iterable[Port], outputs: Iterable[Port]) -> Network:
        """Return the same network with other ports."""
        other = copy(self)  # its branches have been checked, which takes seconds where there are a million
        for end in ("input_ends", "output_ends"):
            vars(other).pop(end, None)
        vars(other).update(inputs=tuple(inputs), outputs=tuple(outputs))
        other._check_ports({GROUND: None} | dict.fromkeys(self.nodes))
        return other

    def _ends(self, ports: Sequence[Port]) -> tuple[Indices, Indices]:
        plus = np.array([self.index[port.plus] for port in ports], dtype=np.intp)
        return plus, np.array([self.index[port.minus] for port in ports], dtype=np.intp)


def difference(volts: Array, plus: Indices, minus: Indices) -> Array:
    """Return V(plus) - V(minus), (..., end), from node voltages (..., node); number -1 is ground, at 0 V."""
    grounded = np.concatenate([volts, np.zeros((*volts.shape[:-1], 1))], axis=-1)
    return np.asarray(grounded[..., plus] - grounded[..., minus])


def _check_names(nodes: Sequence[str], branches: Sequence[Branch]) -> None:
    if GROUND in nodes:
        raise NetworkError(f'"{GROUND}" is the reserved node at 0 V; it is not listed among the nodes')
    for what, names in (("node", nodes), ("branch", [branch.name for branch in branches])):
        name, count = Counter(names).most_common(1)[0] if names else ("", 0)
        if count > 1:
            branch = name if what == "branch" else None
            raise NetworkError(f'{what} name "{name}" is used {count} times; give each {what} its own', branch)


def _check_branch(branch: Branch, known: Mapping[str, None]) -> None:
    if branch.plus == branch.minus:
        raise NetworkError(f'branch "{branch.name}" starts and ends at node "{branch.plus}": a self-loop', branch.name)
    for node in (branch.plus, branch.minus):
        if node not in known:
            raise NetworkError(
                f'branch "{branch.name}": no node "{node}".{nearest(node, list(known)[1:])}', branch.name
            )
    if len(branch.theta) != len(branch.element.parameters):
        names = ", ".join(branch.element.parameters)
        raise NetworkError(f'branch "{branch.name}": a {branch.element.kind} needs {names}', branch.name)
    fault = branch.element.fault(branch.theta)
    if fault is not None:
        raise NetworkError(f'branch "{branch.name}": {fault}', branch.name)
    if branch.tunable and not isinstance(branch.element, Trainable):
        raise NetworkError(f'branch "{branch.name}": a {branch.element.kind} can\'t be tunable', branch.name)
    _check_bounds(branch)


def _check_bounds(branch: Branch) -> None:
    lowest = 0.0 if branch.lowest is None else branch.lowest
    highest = np.inf if branch.highest is None else branch.highest
    if not 0 <= lowest < highest:
        raise NetworkError(
            f'branch "{branch.name}": bounds {lowest:g} S to {highest:g} S; both must be at least 0, and the '
            "first the lower",
            branch.name,
        )
    if branch.tunable and not lowest <= branch.theta[0] <= highest:
        raise NetworkError(
            f'branch "{branch.name}": {branch.theta[0]:g} S lies outside its bounds, {lowest:g} S to {highest:g} S',
            branch.name,
        )


def _check_ports(kind: str, ports: Sequence[Port], known: Mapping[str, None]) -> None:
    for port in ports:
        for node in (port.plus, port.minus):
            if node not in known:
                raise NetworkError(f'{kind} port "{port.name}": no node "{node}".{nearest(node, list(known)[1:])}')
        if port.plus == port.minus:
            raise NetworkError(f'{kind} port "{port.name}" has the same node at both ends')
        if port.plus == GROUND:
            raise NetworkError(f'{kind} port "{port.name}": ground can only be the second node of a port')


def _check_driven_once(inputs: Sequence[Port]) -> None:
    ends = Counter(node for port in inputs for node in (port.plus, port.minus) if node != GROUND)
    node, count = ends.most_common(1)[0] if ends else ("", 0)
    if count > 1:
        raise NetworkError(f'node "{node}" is driven by {count} input ports; a node takes one')


def _check_connected(network: Network) -> None:
    """Each part of the network must reach ground or a driven node, or its voltage is anybody's guess."""
    neighbours: list[list[int]] = [[] for _ in range(len(network.nodes) + 1)]  # ground, -1, is the last
    for plus, minus in zip(network.plus.tolist(), network.minus.tolist(), strict=True):
        neighbours[plus].append(minus)
        neighbours[minus].append(plus)
    frontier = [-1, *(end for ends in network.input_ends for end in ends.tolist())]
    reached = [False] * len(neighbours)
    while frontier:
        node = frontier.pop()
        if not reached[node]:
            reached[node] = True
            frontier += neighbours[node]
    floating = [name for name, is_reached in zip(network.nodes, reached, strict=False) if not is_reached]
    if floating:
        afloat = set(floating)
        branches = [branch.name for branch in network.branches if branch.plus in afloat]
        named = f" (branches {shown(branches)})" if branches else ""
        raise NetworkError(
            f"node {shown(floating)}{named}: no path to ground or to a driven node, so the voltage there is undefined. "
            "Add a branch, or leave the node out",
            branches[0] if branches else None,
        )
