"""Compare a plan's answer with plain AD along random directions, when the plan is new."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_array

from ._errors import StructureError
from .engine.graph import Graph, forward
from .engine.plan.plan import Plan
from .engine.plan.question import Question
from .engine.plan.recipe import Plain

_SAMPLED = 3  # wanted entries checked one by one where no whole row or column is
_DIRECTIONS = 16  # unit directions along which a faulty rule is looked for


class Truth(Protocol):
    """Plain AD at one point, as each framework runs it, in NumPy arrays.

    `forward`, `reverse`: which modes the whole function has; `eps`: the relative rounding of the coarsest dtype.
    """

    graph: Graph
    forward: bool
    reverse: bool
    eps: float

    def push(self, v: np.ndarray) -> np.ndarray:
        """J v."""

    def pull(self, u: np.ndarray) -> np.ndarray:
        """Jᵀ u."""

    def tangents(self, v: np.ndarray) -> list[tuple[Any, int, np.ndarray]]:
        """(node, value, its tangent) for every active value on the way, along one direction."""


def probe(numbers: Any, plan: Plan, question: Question, truth: Truth, both: bool = False) -> float | None:
    """The largest relative difference between the answer and a true JVP or VJP; None if nothing finite was seen, NaN
    if plain AD has no mode for the function, which only a bracket through its cuts can then answer.

    `numbers` is the recipe's output: the matrix for "dense", else one number per wanted entry. Whole rows (columns) of
    J are checked along a random direction (`both`: whole columns, too, where both modes can), of the other entries a
    few one by one. Where they differ, the difference must be explained by rounding: by eps times the largest tangent
    met on the way. Raises StructureError.
    """
    if isinstance(plan.chosen, Plain) and question.kind == "dense":
        return 0.0  # it is plain AD; of a sparse answer the pattern, too, has to be right
    if not (truth.forward or truth.reverse):
        return float("nan")
    m, n = plan.shape
    matrix, whole_rows, whole_cols = _as_matrix(numbers, plan, question)
    rng = np.random.default_rng(0)
    worst: list[float] = []
    by_rows = truth.forward and bool(whole_rows.any())
    by_columns = truth.reverse and bool(whole_cols.any()) and (both or not by_rows)
    if by_rows:
        v = rng.standard_normal(n)
        compare = _Comparison(plan, truth, lambda: _largest_tangent(truth, v))
        worst.append(compare(matrix @ v, truth.push(v), abs(matrix) @ abs(v), whole_rows, "row"))
    if by_columns:
        u = rng.standard_normal(m)
        compare = _Comparison(plan, truth, lambda: 0.0)
        worst.append(compare(matrix.T @ u, truth.pull(u), abs(matrix).T @ abs(u), whole_cols, "column"))
    whole_rows &= by_rows
    whole_cols &= by_columns
    if question.kind != "dense":
        read = plan.planned.entries()
        left = np.flatnonzero(~whole_rows[read.rows] & ~whole_cols[read.cols])
        for k in rng.choice(left, min(_SAMPLED, left.size), replace=False) if left.size else ():
            worst.append(_one_entry(matrix, truth, int(read.rows[k]), int(read.cols[k]), plan))
    seen = [w for w in worst if not np.isnan(w)]
    return max(seen) if seen else None


def _as_matrix(numbers: Any, plan: Plan, question: Question) -> tuple[Any, np.ndarray, np.ndarray]:
    """The answer as a matrix, and which of its rows and columns hold all the entries of J's."""
    m, n = plan.shape
    everything = np.ones(m, bool), np.ones(n, bool)
    if question.kind == "dense":
        return np.asarray(numbers), *everything
    read = plan.planned.entries()
    data = np.asarray(numbers)
    if data.dtype.itemsize < 4:
        data = data.astype(np.float32)  # SciPy knows no half formats
    matrix = csr_array((data, (read.rows, read.cols)), shape=(m, n))
    if question.needs_all:
        return matrix, *everything
    pattern, wanted = plan.planned.pattern.tocsr(), plan.planned.wanted
    assert wanted is not None
    rows = np.diff(pattern.indptr) == np.diff(wanted.indptr)
    cols = np.bincount(pattern.indices, minlength=n) == np.bincount(wanted.indices, minlength=n)
    return matrix, rows, cols


@dataclass(frozen=True)
class _Comparison:
    plan: Plan
    truth: Truth
    largest: Callable[[], float]  # the largest tangent met on the way, worked out only when the answers differ

    def __call__(self, ours: np.ndarray, true: np.ndarray, size: np.ndarray, where: np.ndarray, word: str) -> float:
        """The largest relative difference over `where`; NaN when nothing there is finite."""
        usable = where & np.isfinite(true) & np.isfinite(ours)
        if not usable.any():
            return float("nan")
        ours, true, size = (np.where(usable, numbers, 0.0) for numbers in (ours, true, size))
        scale = np.abs(true) + size + np.abs(true).max() * 1e-3
        scale[scale == 0] = 1.0
        error = np.abs(ours - true) / scale
        eps = self.truth.eps
        # Half formats round so coarsely that the usual allowance would hide everything.
        allowed = max(eps ** (2 / 3), 200 * eps) if eps < 1e-4 else 20 * eps
        if error.max() > allowed:
            # Rounding grows with what cancels on the way: 1 − tanh² of a saturated unit is noise of size eps.
            noise = 100 * eps * self.largest()
            error = np.where(np.abs(ours - true) <= noise, 0.0, error)
        worst = int(np.argmax(error))
        if error[worst] > allowed:
            raise StructureError(
                f"the plan {self.plan.chosen.name!r} gives {ours[worst]:.6g} in {word} {worst} of a probe where plain "
                f"AD gives {true[worst]:.6g}; suspected: {_suspect(self.truth)}. No result is returned. "
                'Please report this with the function; jacmap.jacobian(f, plan="plain") answers meanwhile'
            )
        return float(error[worst])


def _one_entry(matrix: Any, truth: Truth, i: int, j: int, plan: Plan) -> float:
    """One wanted entry against its own column (row) of plain AD."""
    m, n = plan.shape
    unit = np.eye(1, n, j)[0] if truth.forward else np.eye(1, m, i)[0]
    true = truth.push(unit)[i] if truth.forward else truth.pull(unit)[j]
    compare = _Comparison(plan, truth, functools.partial(_largest_tangent, truth, np.eye(1, n, j)[0]))
    ours = np.array([matrix[i, j]])
    return compare(ours, np.array([true]), np.zeros(1), np.ones(1, bool), f"entry {i}, {j}, place")


def _largest_tangent(truth: Truth, v: np.ndarray) -> float:
    """What rounding errors scale with."""
    found = [t[np.isfinite(t)] for _, _, t in truth.tangents(v)] if truth.forward else []
    return float(max((abs(t).max(initial=0.0) for t in found), default=0.0))


def _suspect(truth: Truth) -> str:
    """The first operation whose true tangents leave the pattern that its rule gives, along a few unit directions.

    Where none does, or forward mode is impossible: the last operation that has a body or no exact rule.
    """
    graph = truth.graph
    if truth.forward:
        patterns = forward(graph, keep_all=True)
        for j in np.unique(np.linspace(0, graph.shape[1] - 1, _DIRECTIONS).astype(int)):
            for node, v, tangent in truth.tangents(np.eye(1, graph.shape[1], j)[0]):
                allowed = np.zeros(tangent.size, bool)
                if v in patterns:
                    allowed[patterns[v].T.take(np.array([j])).tocsr().indices] = True
                if (tangent.ravel()[~allowed] != 0).any():
                    return f"the rule of {node.op} at {node.place}"
    nodes = [node for node in graph.active_nodes if node.note or node.op in ("scan", "while", "cond")]
    nodes = nodes or graph.active_nodes
    return f"{nodes[-1].op} at {nodes[-1].place}" if nodes else "nothing (no derivative flows through the graph)"
