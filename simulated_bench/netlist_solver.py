"""Operating point and AC response of a netlist, by sparse tableau: what ngspice's .op and .ac compute.

Unknowns are the node voltages, the currents of resistors and voltage sources (of capacitors too, for AC) and the
voltage w across every junction. Kirchhoff's current law then adds currents, and each element has a row of its own:

    sum of i and I(w) leaving a node = 0,   va - vb - R i = 0,   va - vb = E,   va - vb - w = 0

Nodal analysis would add large conductances instead, and lose a current to the last bit of a voltage: 0.1 Ohm at 10 V by
2e-14 A. Junctions are limited as in SPICE (Nagel, SPICE2, UCB/ERL M520, 1975, 4.1.3); where that fails, conductances
across them and then the sources are raised step by step. This module knows no network and no bench.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from freqprop_lab.elements import ELEMENTS
from freqprop_lab.names import shown
from freqprop_lab.netlist import (
    GROUND_NODE,
    THERMAL_VOLTAGE,
    Capacitor,
    CurrentSource,
    Diode,
    Element,
    Netlist,
    Resistor,
    VoltageSource,
    inside_diode,
)
from freqprop_lab.values import Array
from simulated_bench.circuit import CircuitError

_MOST_DENSE = 200  # unknowns; beyond, SuperLU is the faster
_MOST_ITERATIONS = 150
_MOST_REFINEMENTS = 12
_ACCEPTED = 1e-12  # Kirchhoff's residual, of the largest current
_LAST_BITS = 32 * float(np.finfo(float).eps)  # of the voltages in an element's own row
_SETTLED = 1e-10  # of the largest voltage: how far a refinement may still move a node
_NOTHING = 1e-100
_NEAR = 1e-6  # n Vt: where limited Newton hands over to the refinement
_SUBSTEPS = 12  # times the sources' step is halved
_STEEPEST = 79.0  # n Vt
_BREAKDOWN_MARGIN = 40  # n Vt before breakdown, where its current is e^-40 of that at it
_JUNCTION = ELEMENTS["junction"]

Matrix = NDArray[Any]  # of real or complex numbers
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Solution:
    """Node voltages and element currents (plus to minus) by name: V and A, or their phasors. residual: A."""

    volts: dict[str, complex]
    currents: dict[str, complex]
    residual: float


def operating_point(netlist: Netlist) -> Solution:
    """Return the DC solution: capacitors open, sources at their DC values. Raises CircuitError."""
    return _Tableau(netlist).operating_point()


def response(netlist: Netlist, frequency: float) -> Solution:
    """Return the phasors at a frequency, Hz, linearised at the operating point. Raises CircuitError."""
    return _Tableau(netlist).response(frequency)


class _Tableau:
    """The rows and columns of one netlist. Rows: nodes, resistors, voltage sources, junctions, then capacitors."""

    def __init__(self, netlist: Netlist) -> None:
        _refuse_loops(netlist)
        _refuse_floating(netlist)
        self._netlist = netlist
        self.resistors = [one for one in netlist.elements if isinstance(one, Resistor)]
        self.sources = [one for one in netlist.elements if isinstance(one, VoltageSource)]
        self.diodes = [one for one in netlist.elements if isinstance(one, Diode)]
        self.capacitors = [one for one in netlist.elements if isinstance(one, Capacitor)]
        self.currents = [one for one in netlist.elements if isinstance(one, CurrentSource)]
        inner = [diode for diode in self.diodes if diode.model.series]
        self._names = [*netlist.nodes, *(inside_diode(diode.name) for diode in inner)]
        self._index = {name: number for number, name in enumerate(self._names)} | {GROUND_NODE: -1}
        self._ohms = np.array(
            [*(one.ohms for one in self.resistors), *(one.model.series / one.area for one in inner)], dtype=np.float64
        )
        self._r = self._ends(
            [*((one.plus, one.minus) for one in self.resistors), *((one.plus, inside_diode(one.name)) for one in inner)]
        )
        self._v = self._ends([(one.plus, one.minus) for one in self.sources])
        self._d = self._ends(
            [(inside_diode(one.name) if one.model.series else one.plus, one.minus) for one in self.diodes]
        )
        self._i = self._ends([(one.plus, one.minus) for one in self.currents])
        self._c = self._ends([(one.plus, one.minus) for one in self.capacitors])
        models = [one.model for one in self.diodes]
        self._nVt = np.array([model.emission * THERMAL_VOLTAGE for model in models], dtype=np.float64)
        self._Is = np.array([one.model.saturation_current * one.area for one in self.diodes], dtype=np.float64)
        self._E = np.array([one.volts for one in self.sources], dtype=np.float64)
        self._I = np.array([one.amperes for one in self.currents], dtype=np.float64)

    @property
    def n(self) -> int:
        """Number of nodes, those inside diodes included."""
        return len(self._names)

    def operating_point(self) -> Solution:
        """Return the DC solution."""
        x = self._dc()
        return self._solution(x[: self.n], x, self._residual(x)[0])

    def response(self, frequency: float) -> Solution:
        """Return the phasors at a frequency, Hz."""
        omega = 2 * math.pi * frequency
        w = self._dc()[self._place_of_w() :]
        theta = self._theta(self._netlist.gmin)
        admittance = _JUNCTION.slope(theta, w) + 1j * omega * self._junction_capacitance(w)
        E = np.array([one.ac for one in self.sources], dtype=np.complex128)
        injected = self._into_nodes(np.array([one.ac for one in self.currents], dtype=np.complex128))
        siemens = 1j * omega * np.array([one.farads for one in self.capacitors], dtype=np.float64)
        matrix = self._matrix(admittance, siemens)
        right = np.concatenate([injected, np.zeros(len(self._ohms)), E, np.zeros(len(w) + len(siemens))])
        factor = self._factored(matrix)
        x = factor.solve(right)
        for _ in range(3):
            x = x + factor.solve(right - matrix.times(x))
        left = right - matrix.times(x)
        flows = np.concatenate([*self._flows(x, admittance * x[self._w()]), x[self._w().stop :]])
        largest = float(np.abs(flows).max(initial=float(np.abs(injected).max(initial=0.0))))
        residual = float(np.abs(left[: self.n]).max(initial=0.0))
        if not residual <= _ACCEPTED * largest + _NOTHING:
            raise CircuitError(self._unbalanced(left[: self.n], largest, f"no response found at {frequency:g} Hz"))
        return self._solution(x[: self.n], x, residual, admittance)

    # --- the operating point

    def _dc(self) -> Array:
        """Return the unknowns at the operating point: limited Newton, then steps of gmin, then of the sources."""
        critical = self._nVt * np.log(self._nVt / (math.sqrt(2) * self._Is))
        gmin = self._netlist.gmin
        w = self._newton(critical, 1.0, gmin)
        if w is None:
            w = self._by_gmin(critical)
        if w is None:
            w = self._by_sources()
        x = self._refined(critical if w is None else w)
        self._refuse_beyond_the_law(x[self._w()])
        return x

    def _by_gmin(self, start: Array) -> Array | None:
        w: Array | None = start
        for decade in range(-2, -15, -1):
            if w is not None:
                w = self._newton(w, 1.0, max(10.0**decade, self._netlist.gmin))
        return None if w is None else self._newton(w, 1.0, self._netlist.gmin)

    def _by_sources(self) -> Array | None:
        w, reached, step, halvings = np.zeros(len(self.diodes)), 0.0, 0.1, 0
        while reached < 1 and halvings < _SUBSTEPS:
            share = min(reached + step, 1.0)
            further = self._newton(w, share, self._netlist.gmin)
            if further is None:
                step, halvings = step / 4, halvings + 1
            else:
                w, reached, step = further, share, 2 * step
        return w if reached >= 1 else None

    def _newton(self, w: Array, share: float, gmin: float) -> Array | None:
        """Return the junctions' voltages with the sources at this share, or None where they don't settle."""
        if not len(w):
            return w
        theta = self._theta(gmin)
        critical = self._nVt * np.log(self._nVt / (math.sqrt(2) * self._Is))
        for _ in range(_MOST_ITERATIONS):
            slope, current = _JUNCTION.slope(theta, w), _JUNCTION.current(theta, w)
            offset = self._sum_at_nodes(self._d, current - slope * w)
            right = np.concatenate(
                [share * self._into_nodes(self._I) - offset, np.zeros(len(self._ohms)), share * self._E, 0 * w]
            )
            try:
                found = self._factored(self._matrix(slope)).solve(right)[self._w()]
            except CircuitError:
                return None
            if not np.isfinite(found).all():
                return None
            limited = _limited(found, w, self._nVt, critical)
            change, w = np.abs(limited - w), limited
            if (change <= _NEAR * self._nVt + _LAST_BITS * np.abs(w)).all():
                return w
        return None

    def _refined(self, w: Array) -> Array:
        """Bring the unknowns to the last bits by Newton steps on what is left over; refuse what does not get there."""
        theta = self._theta(self._netlist.gmin)
        x = np.zeros(self._w().stop)
        x[self._w()] = w
        for _ in range(_MOST_REFINEMENTS):
            factor = self._factored(self._matrix(_JUNCTION.slope(theta, x[self._w()])))
            step = factor.solve(-self._left_over(x))
            moves = float(np.abs(step[: self.n]).max(initial=0.0))
            volts = float(np.abs(x[: self.n]).max(initial=0.0))
            if max(self._faults(x)) <= 1 and moves <= _SETTLED * volts + _NOTHING:
                return x
            if not np.isfinite(step).all():
                break
            x = x + step
        _, largest = self._residual(x)
        raise CircuitError(self._unbalanced(self._left_over(x)[: self.n], largest, "no operating point found"))

    def _left_over(self, x: Array) -> Array:
        """Return what each row has too much: A at nodes, V elsewhere."""
        n, w = self.n, x[self._w()]
        grounded = np.append(x[:n], 0.0)
        at_nodes = -self._into_nodes(self._I)
        iR, iV, iD = self._flows(x, _JUNCTION.current(self._theta(self._netlist.gmin), w))
        for ends, flow in ((self._r, iR), (self._v, iV), (self._d, iD)):
            at_nodes = at_nodes + self._sum_at_nodes(ends, flow)
        across = [grounded[ends[0]] - grounded[ends[1]] for ends in (self._r, self._v, self._d)]
        return np.concatenate(
            [at_nodes, (across[0] - self._ohms * iR) / self._row_scale(), across[1] - self._E, across[2] - w]
        )

    def _faults(self, x: Array) -> tuple[float, float]:
        """Return Kirchhoff's residual and the elements' own, in units of what is accepted."""
        residual, largest = self._residual(x)
        left = self._left_over(x)[self.n :]
        left[: len(self._ohms)] *= self._row_scale()
        grounded = np.abs(np.append(x[: self.n], 0.0))
        ends = np.concatenate([self._r, self._v, self._d], axis=1)
        size = grounded[ends[0]] + grounded[ends[1]]
        size[: len(self._ohms)] += np.abs(self._ohms * x[self.n : self.n + len(self._ohms)])
        own = np.abs(left) / (_LAST_BITS * size + _NOTHING)
        return residual / (_ACCEPTED * largest + _NOTHING), float(own.max(initial=0.0))

    def _residual(self, x: Array) -> tuple[float, float]:
        """Return the largest violation of Kirchhoff's current law, and the largest current, A."""
        current = _JUNCTION.current(self._theta(self._netlist.gmin), x[self._w()])
        flows = np.concatenate([*self._flows(x, current), self._I])
        residual = float(np.abs(self._left_over(x)[: self.n]).max(initial=0.0))
        return residual, float(np.abs(flows).max(initial=0.0))

    def _refuse_beyond_the_law(self, w: Array) -> None:
        """Refuse junctions where the law that was solved is not theirs: in breakdown, or beyond all currents."""
        for diode, volts, nVt in zip(self.diodes, w.tolist(), self._nVt.tolist(), strict=True):
            model = diode.model
            stands = f"{diode.name} (line {diode.line}) stands at {volts:.4g} V"
            if volts > _STEEPEST * nVt:  # where the element goes on along its tangent
                raise CircuitError(
                    f"{stands}, {volts / nVt:.3g} n Vt: no current in the world is that large. Put a resistor, or its "
                    "model's RS, in series with it"
                )
            if model.breakdown is None:
                continue
            # ngspice lowers BV until the current there is IBV, by about this much.
            begins = model.breakdown - nVt * math.log1p(model.breakdown_current / model.saturation_current)
            if -volts > begins - _BREAKDOWN_MARGIN * nVt:
                raise CircuitError(
                    f"{stands}, and its model breaks down at {-model.breakdown:g} V: that law is not followed here"
                )

    # --- rows and columns

    def _ends(self, pairs: Sequence[tuple[str, str]]) -> Indices:
        """Return the node numbers of elements, (2, element); ground is -1, the place after the last."""
        return (
            np.array([[self._index[plus], self._index[minus]] for plus, minus in pairs], dtype=np.intp).reshape(-1, 2).T
        )

    def _place_of_w(self) -> int:
        return self.n + len(self._ohms) + len(self.sources)

    def _w(self) -> slice:
        first = self._place_of_w()
        return slice(first, first + len(self.diodes))

    def _flows(self, x: Matrix, junctions: Matrix) -> tuple[Matrix, Matrix, Matrix]:
        """Return the currents of resistors, voltage sources and junctions, A."""
        n, r, v = self.n, len(self._ohms), len(self.sources)
        return x[n : n + r], x[n + r : n + r + v], junctions

    def _theta(self, gmin: float) -> Array:
        return np.stack([self._Is, self._nVt, np.full(len(self._Is), gmin)])

    def _row_scale(self) -> Array:
        return np.maximum(self._ohms, 1.0)

    def _sum_at_nodes(self, ends: Indices, flow: Array) -> Array:
        """Return the sum of what leaves each node, A, (node,)."""
        total = np.zeros(self.n + 1, dtype=flow.dtype)
        np.add.at(total, ends[0], flow)
        np.subtract.at(total, ends[1], flow)
        return total[:-1]

    def _into_nodes(self, amperes: Matrix) -> Matrix:
        return -self._sum_at_nodes(self._i, amperes)

    def _matrix(self, slope: Matrix, siemens: Matrix | None = None) -> _Sparse:
        """Return the tableau: slope S of each junction; siemens of each capacitor for AC, None where they are open."""
        n, r, v, d = self.n, len(self._ohms), len(self.sources), len(self.diodes)
        c = 0 if siemens is None else len(siemens)
        scale = 1 / self._row_scale()
        entries = _Entries()
        for first, ends, weight in (
            (n, self._r, scale),
            (n + r, self._v, np.ones(v)),
            (n + r + v, self._d, np.ones(d)),
        ):
            entries.across(first, ends, weight)
        entries.leaving(n, self._r, np.ones(r))
        entries.leaving(n + r, self._v, np.ones(v))
        entries.leaving(n + r + v, self._d, slope)
        entries.diagonal(n, -self._ohms * scale)
        entries.diagonal(n + r + v, -np.ones(d))
        if siemens is not None:
            size = np.maximum(np.abs(siemens), 1.0)
            entries.across(n + r + v + d, self._c, siemens / size)
            entries.leaving(n + r + v + d, self._c, np.ones(c))
            entries.diagonal(n + r + v + d, -1 / size)
        return entries.matrix(n + r + v + d + c)

    def _factored(self, matrix: _Sparse) -> _Factor:
        try:
            return _Factor(matrix)
        except (np.linalg.LinAlgError, RuntimeError):
            names = shown([f"{one.name} (line {one.line})" for one in self._netlist.elements])
            raise CircuitError(f"the equations of the circuit have no single solution; look at {names}") from None

    def _junction_capacitance(self, w: Array) -> Array:
        """Return depletion and diffusion capacitance of each junction, F. Source: ngspice's dioload.c, at 27 C."""
        slope = _JUNCTION.slope(self._theta(self._netlist.gmin), w)  # ngspice's transit charge takes gmin in too
        farads = []
        for diode, volts, siemens in zip(self.diodes, w.tolist(), slope.tolist(), strict=True):
            model = diode.model
            zero_bias = model.junction_capacitance * diode.area
            reached = volts / model.junction_potential
            if reached < model.depletion:
                depleted = (1 - reached) ** -model.grading
            else:
                below = 1 - model.depletion * (1 + model.grading) + model.grading * reached
                depleted = below / (1 - model.depletion) ** (1 + model.grading)
            farads.append(zero_bias * depleted + model.transit * siemens)
        return np.array(farads, dtype=np.float64)

    def _solution(self, nodes: Matrix, x: Matrix, residual: float, admittance: Matrix | None = None) -> Solution:
        volts = {name: nodes[self._index[name]].item() for name in self._netlist.nodes}
        w = x[self._w()]
        junctions = _JUNCTION.current(self._theta(self._netlist.gmin), w) if admittance is None else admittance * w
        iR, iV, iD = self._flows(x, junctions)
        currents: dict[str, complex] = {}
        listed: list[tuple[Sequence[Element], Matrix]] = [
            (self.resistors, iR),
            (self.sources, iV),
            (self.diodes, iD),
            (self.capacitors, x[self._w().stop :]),
        ]
        for elements, flow in listed:
            currents |= {one.name: value for one, value in zip(elements, flow.tolist(), strict=False)}
        for one in self.currents:
            currents[one.name] = one.amperes if admittance is None else one.ac
        return Solution(volts, {one.name: currents.get(one.name, 0.0) for one in self._netlist.elements}, residual)

    def _unbalanced(self, left: Matrix, largest: float, what: str) -> str:
        node = self._names[int(np.abs(left).argmax())]
        near = [f"{one.name} (line {one.line})" for one in self._netlist.elements if node in (one.plus, one.minus)]
        return (
            f"{what}: {np.abs(left).max():.3g} A are left over at node {node} ({shown(near)}); the largest current is "
            f"{largest:.3g} A"
        )


class _Entries:
    """Collects the entries of a tableau whose rows and columns are numbered alike; ground, -1, has none."""

    def __init__(self) -> None:
        self._parts: list[tuple[Indices, Indices, Matrix]] = []

    def across(self, row: int, ends: Indices, weight: Matrix) -> None:
        """Add weight (v plus - v minus) to the rows from `row` on."""
        rows = row + np.arange(len(weight))
        for end, sign in zip(ends, (1.0, -1.0), strict=True):
            self._add(rows, end, sign * weight)

    def leaving(self, column: int, ends: Indices, weight: Matrix) -> None:
        """Add weight times the unknowns from `column` on to what leaves the nodes."""
        columns = column + np.arange(len(weight))
        for end, sign in zip(ends, (1.0, -1.0), strict=True):
            self._add(end, columns, sign * weight)

    def diagonal(self, first: int, values: Matrix) -> None:
        """Add values to the diagonal from `first` on."""
        places = first + np.arange(len(values))
        self._parts.append((places, places, values))

    def _add(self, rows: Indices, columns: Indices, values: Matrix) -> None:
        keep = (rows >= 0) & (columns >= 0)
        self._parts.append((rows[keep], columns[keep], values[keep]))

    def matrix(self, size: int) -> _Sparse:
        """Return what was added."""
        rows, columns, values = (np.concatenate(list(part)) for part in zip(*self._parts, strict=True))
        return _Sparse(rows, columns, values, size)


@dataclass(frozen=True)
class _Sparse:
    """A square matrix by its entries; equal places add up."""

    rows: Indices
    columns: Indices
    values: Matrix
    size: int

    def times(self, x: Matrix) -> Matrix:
        """Return the product with a vector."""
        product = np.zeros(self.size, dtype=np.result_type(self.values, x))
        np.add.at(product, self.rows, self.values * x[self.columns])
        return product


class _Factor:
    """An LU factorization: dense where small, SuperLU where large."""

    def __init__(self, matrix: _Sparse) -> None:
        if matrix.size <= _MOST_DENSE:
            from scipy.linalg import lapack  # noqa: PLC0415 - beside its users

            dense = np.zeros((matrix.size, matrix.size), dtype=matrix.values.dtype)
            np.add.at(dense, (matrix.rows, matrix.columns), matrix.values)
            is_complex = np.iscomplexobj(dense)
            getrf, self._getrs = (lapack.zgetrf, lapack.zgetrs) if is_complex else (lapack.dgetrf, lapack.dgetrs)
            self._lu, self._pivots, info = getrf(dense)
            if info != 0:
                raise np.linalg.LinAlgError
            self._sparse = None
        else:
            from scipy.sparse import csc_array  # noqa: PLC0415 - takes its time
            from scipy.sparse.linalg import splu  # noqa: PLC0415

            shape = (matrix.size, matrix.size)
            self._sparse = splu(csc_array((matrix.values, (matrix.rows, matrix.columns)), shape=shape))

    def solve(self, right: Matrix) -> Matrix:
        """Return the solution for a right-hand side."""
        if self._sparse is not None:
            return np.asarray(self._sparse.solve(right))
        return np.asarray(self._getrs(self._lu, self._pivots, right)[0])


def _limited(found: Array, before: Array, nVt: Array, critical: Array) -> Array:
    """Keep junctions from running up their exponentials: SPICE's pnjlim."""
    step = (found - before) / nVt
    with np.errstate(invalid="ignore", divide="ignore"):
        climbed = np.where(1 + step > 0, before + nVt * np.log(np.maximum(1 + step, _NOTHING)), critical)
        jumped = nVt * np.log(np.maximum(found / nVt, _NOTHING))
    tamed = np.where(before > 0, climbed, jumped)
    return np.where((found > critical) & (np.abs(step) > 2), tamed, found)


# --- what no numbers can mend


def _refuse_loops(netlist: Netlist) -> None:
    """Refuse voltage sources in a loop: their currents are undefined, or Kirchhoff's voltage law is broken."""
    edges: dict[str, list[tuple[str, VoltageSource]]] = {}
    for source in netlist.elements:
        if not isinstance(source, VoltageSource):
            continue
        path = _path(edges, source.plus, source.minus)
        if path is not None:
            looped = sorted((*path, source), key=lambda one: one.line)
            named = shown([f"{one.name} (line {one.line})" for one in looped])
            raise CircuitError(f"the voltage sources {named} form a loop; put a resistor into it")
        edges.setdefault(source.plus, []).append((source.minus, source))
        edges.setdefault(source.minus, []).append((source.plus, source))


def _path(edges: dict[str, list[tuple[str, VoltageSource]]], start: str, end: str) -> list[VoltageSource] | None:
    came: dict[str, tuple[str, VoltageSource] | None] = {start: None}
    frontier = [start]
    while frontier and end not in came:
        here = frontier.pop()
        for there, source in edges.get(here, ()):
            if there not in came:
                came[there] = here, source
                frontier.append(there)
    if end not in came:
        return None
    path, node = [], end
    while (step := came[node]) is not None:
        node = step[0]
        path.append(step[1])
    return path[::-1]


def _refuse_floating(netlist: Netlist) -> None:
    """Refuse parts without a DC path to ground: through capacitors and current sources nothing settles."""
    neighbours: dict[str, list[str]] = {}
    for one in netlist.elements:
        if isinstance(one, Resistor | VoltageSource | Diode):
            neighbours.setdefault(one.plus, []).append(one.minus)
            neighbours.setdefault(one.minus, []).append(one.plus)
    reached, frontier = {GROUND_NODE}, [GROUND_NODE]
    while frontier:
        for node in neighbours.get(frontier.pop(), ()):
            if node not in reached:
                reached.add(node)
                frontier.append(node)
    floating = [node for node in netlist.nodes if node not in reached]
    if floating:
        near = [f"{one.name} (line {one.line})" for one in netlist.elements if {one.plus, one.minus} & set(floating)]
        raise CircuitError(
            f"node {shown(floating)} has no DC path to ground ({shown(near)}); capacitors and current sources are "
            "none. Add a resistor"
        )
