"""The plan of a sparse LU factorization: which unknowns go in which order, and what fills in. Made once a network.

Multifrontal (Duff, Reid, ACM TOMS 9, 302 (1983)): unknowns whose columns look alike are eliminated together, inside one
dense square array, a front; what is left of it is added into the front of its parent. The order is SuperLU's minimum
degree of A + A^T. A front swallows a child where the arithmetic on zeros costs less than the handling of another front.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import splu

from freqprop_lab.values import Array

Indices = NDArray[np.intp]
Numbers = NDArray[np.uint32]

_SMALL_ENVELOPE, _LARGEST_ENVELOPE = 2 * 10**7, 2 * 10**8  # entries: always made, and never made if more
_WIDEST = 6  # times the root of n: the mean reach of a row of what is made in between, as in sparse.py
# What a front of so many rows costs, in nanoseconds, roughly as measured: to begin, a row, an entry, an entry left
# over, and a multiplication with its addition. Only their ratios matter, and only for speed.
_BEGIN, _ROW, _ENTRY, _LEFT_OVER, _MULTIPLY = 50.0, 12.0, 0.5, 0.8, 0.2


class Fronts(NamedTuple):
    """Fronts in the order of elimination, children before parents. Unknowns are numbered in that order too.

    first, pivots: first unknown that a front eliminates, and how many, (front,). start: where its rows begin in `rows`,
    (front + 1,): the later unknowns that these are coupled to, ascending. inside: place of each of those rows in the
    parent's front. values: where its pivots' rows begin in the factor, (front + 1,). stack: where it leaves what
    remains. children: last of the child fronts' places in `child`, (front + 1,). stacked, widest: sizes of the
    working arrays.
    """

    first: Numbers
    pivots: Numbers
    start: Numbers
    rows: Numbers
    inside: Numbers
    values: Indices
    stack: Indices
    children: Numbers
    child: Numbers
    stacked: int
    widest: int


def planned(first: Indices, second: Indices, n: int) -> tuple[Fronts, Indices]:
    """Return the plan for a matrix of n unknowns, coupled in pairs (first, second), and its order, (unknown,).

    order: the unknown that is eliminated as the k-th.
    """
    order = _minimum_degree(first, second, n)
    place = np.empty(n, dtype=np.intp)
    place[order] = np.arange(n)
    groups = _merged(_alike(*_eliminated(place[first], place[second], n)))
    numbered = [unknown for group in groups for unknown in group.pivots]
    return _laid_out(groups, n), order[np.array(numbered, dtype=np.intp)] if n else order


def fills_up(first: Indices, second: Indices, n: int) -> bool:
    """Say whether the factor of such a matrix may be too large to make, by its envelope after reverse Cuthill-McKee.

    A row of a grid reaches over the root of n others or a few times that; one of a large random graph over a third of
    all, and its factor is dense.
    """
    if n * n <= 2 * _SMALL_ENVELOPE:
        return False
    coupled = sparse.coo_array((np.ones(len(first)), (first, second)), shape=(n, n))
    matrix = sparse.csr_array(coupled + coupled.T)
    place = np.empty(n, dtype=np.int64)
    place[csgraph.reverse_cuthill_mckee(matrix, symmetric_mode=True)] = np.arange(n)
    reach = np.zeros(n, dtype=np.int64)
    for one, other in ((place[first], place[second]), (place[second], place[first])):
        np.maximum.at(reach, one, one - other)
    return bool(int(reach.sum()) > max(_SMALL_ENVELOPE, min(_WIDEST * n**1.5, _LARGEST_ENVELOPE)))


class _Group:
    """Unknowns that are eliminated together, and those later ones that they are coupled to by then."""

    def __init__(self, pivots: list[int], rows: set[int]) -> None:
        self.pivots, self.rows = pivots, rows
        self.children: list[_Group] = []

    @property
    def cost(self) -> float:
        return _cost(len(self.pivots), len(self.rows))


def _cost(pivots: int, rows: int) -> float:
    width = pivots + rows
    squares = (width * (width - 1) * (2 * width - 1) - rows * (rows - 1) * (2 * rows - 1)) / 6
    return _BEGIN + _ROW * width + _ENTRY * width**2 + _LEFT_OVER * rows**2 + _MULTIPLY * squares


def _minimum_degree(first: Indices, second: Indices, n: int) -> Indices:
    if n < 3:
        return np.arange(n)
    ones = np.ones(len(first))
    coupled = sparse.csc_array((ones, (first, second)), shape=(n, n))
    coupled = coupled + coupled.T
    degree: Array = np.asarray(coupled.sum(axis=1)).ravel()
    matrix = sparse.csc_array(sparse.diags_array(degree + 1.0) - coupled)
    factor = splu(matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return np.argsort(np.asarray(factor.perm_c), kind="stable")


def _eliminated(first: Indices, second: Indices, n: int) -> tuple[list[set[int]], list[int]]:
    """Return the later unknowns that each is coupled to once it is its turn, and the first of them, n if none."""
    later: list[set[int]] = [set() for _ in range(n)]
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        later[min(i, j)].add(max(i, j))
    parent = [n] * n
    for k in range(n):
        if later[k]:
            parent[k] = min(later[k])
            later[parent[k]] |= later[k]
            later[parent[k]].discard(parent[k])
    return later, parent


def _alike(later: list[set[int]], parent: list[int]) -> list[_Group]:
    """Join chains of unknowns whose columns are the same below the chain; children come before parents."""
    n = len(later)
    groups: list[_Group] = []
    group_of: list[_Group] = []
    for k in range(n):
        if k and parent[k - 1] == k and len(later[k - 1]) == len(later[k]) + 1:
            group_of[k - 1].pivots.append(k)
            group_of[k - 1].rows = later[k]
            group_of.append(group_of[k - 1])
        else:
            groups.append(_Group([k], later[k]))
            group_of.append(groups[-1])
    for group in groups:
        above = parent[group.pivots[-1]]
        if above < n:
            group_of[above].children.append(group)
    return groups


def _merged(groups: list[_Group]) -> list[_Group]:
    """Let parents swallow children where that is cheaper; return what is left, children before parents."""
    for group in groups:
        kept: list[_Group] = []
        for child in group.children:
            width = len(group.pivots) + len(child.pivots)
            if _cost(width, len(group.rows)) < group.cost + child.cost:
                group.pivots = child.pivots + group.pivots
                kept += child.children
            else:
                kept.append(child)
        group.children = kept
    below = _swallowed(groups)
    for group in groups:
        below.update(map(id, group.children))
    found: list[_Group] = []
    waiting = [(group, False) for group in reversed(groups) if id(group) not in below]
    while waiting:
        group, ready = waiting.pop()
        if ready:
            found.append(group)
            continue
        waiting.append((group, True))
        waiting += [(child, False) for child in reversed(group.children)]
    return found


def _swallowed(groups: list[_Group]) -> set[int]:
    """Return the groups whose pivots are another's by now."""
    owner: dict[int, _Group] = {}
    for group in groups:
        for pivot in group.pivots:
            owner[pivot] = group  # the last to claim it is the highest
    return {id(group) for group in groups if owner[group.pivots[0]] is not group}


def _laid_out(groups: list[_Group], n: int) -> Fronts:
    place = np.empty(n, dtype=np.intp)
    place[[unknown for group in groups for unknown in group.pivots]] = np.arange(n)
    number = {id(group): k for k, group in enumerate(groups)}
    pivots = np.array([len(group.pivots) for group in groups], dtype=np.intp)
    first = np.concatenate([[0], np.cumsum(pivots)[:-1]]) if len(groups) else np.zeros(0, dtype=np.intp)
    rows = [np.sort(place[list(group.rows)]) if group.rows else np.zeros(0, dtype=np.intp) for group in groups]
    inside: list[Indices] = [np.zeros(0, dtype=np.intp)] * len(groups)
    child: list[int] = []
    children, stack, top, most = [0], [], 0, 0
    left: list[int] = []
    for k, group in enumerate(groups):
        for one in group.children:
            c = number[id(one)]
            child.append(c)
            mine = rows[c] < first[k] + pivots[k]
            inside[c] = np.where(mine, rows[c] - first[k], pivots[k] + np.searchsorted(rows[k], rows[c]))
            top -= left[c]
        children.append(len(child))
        stack.append(top)
        left.append(len(rows[k]) ** 2)
        top += left[k]
        most = max(most, top)
    width = np.array([len(one) for one in rows], dtype=np.intp) + pivots
    lengths = np.array([len(one) for one in rows], dtype=np.intp)
    return Fronts(
        first.astype(np.uint32),
        pivots.astype(np.uint32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint32),
        np.concatenate([*rows, np.zeros(0)]).astype(np.uint32),
        np.concatenate([*inside, np.zeros(0)]).astype(np.uint32),
        np.concatenate([[0], np.cumsum(pivots * width)]).astype(np.intp),
        np.array(stack, dtype=np.intp),
        np.array(children, dtype=np.uint32),
        np.array(child, dtype=np.uint32),
        most,
        int(width.max(initial=0)),
    )
