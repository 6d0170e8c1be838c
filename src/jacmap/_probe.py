"""Compare a plan's answer with plain AD along random directions, when the plan is new."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_array

from ._errors import StructureError
from .engine.backends.jax import function as backend
from .engine.plan.plan import Plan
from .engine.plan.question import Question
from .engine.plan.recipe import Plain

_SAMPLED = 3


def probe(
    numbers: Any, plan: Plan, question: Question, call: backend.Call, traced: backend.Traced, moving: Any, others: Any
) -> float | None:
    """The largest relative difference between the answer and a true JVP or VJP; None if nothing finite was seen.

    `numbers` is the recipe's output: the matrix for "dense", else one number per wanted entry. Whole rows (columns) of
    J are checked along a random direction, other entries one by one, a few of them. Where they differ, the difference
    must be explained by rounding: by eps times the largest tangent met on the way. Raises StructureError.
    """
    if isinstance(plan.chosen, Plain):
        return 0.0  # it is plain AD
    truth = _Truth(call, traced, moving, others)
    m, n = plan.shape
    matrix, whole_rows, whole_cols = _as_matrix(numbers, plan, question)
    rng = np.random.default_rng(0)
    worst: list[float] = []
    if traced.graph.forward and whole_rows.any():
        v = rng.standard_normal(n)
        compare = _Comparison(plan, traced, truth.eps, lambda: truth.largest_tangent(v))
        worst.append(compare(matrix @ v, truth.push(v), abs(matrix) @ abs(v), whole_rows, "row"))
    elif whole_cols.any():
        u = rng.standard_normal(m)
        compare = _Comparison(plan, traced, truth.eps, lambda: 0.0)
        worst.append(compare(matrix.T @ u, truth.pull(u), abs(matrix).T @ abs(u), whole_cols, "column"))
    elif plan.planned.wanted is not None and plan.planned.wanted.nnz:
        worst.append(_sampled(matrix, truth, rng, plan, traced))
    seen = [w for w in worst if not np.isnan(w)]
    return max(seen) if seen else None


class _Truth:
    """Plain AD at one point. The point is an argument of the compiled code: as a constant XLA would fold it."""

    def __init__(self, call: backend.Call, traced: backend.Traced, moving: Any, others: Any):
        self._leaves = [jnp.asarray(leaf) for leaf in moving], others
        self._runner = functools.partial(backend.runner, call, traced)
        self.forward = traced.graph.forward
        self.dtype = jnp.result_type(*self._leaves[0])
        self.eps = float(jnp.finfo(self.dtype).eps)
        self._push = jax.jit(lambda leaves, v: self._runner(*leaves).push(v[:, None])[:, 0])
        self._pull = jax.jit(lambda leaves, u: self._runner(*leaves).pull(u[None, :])[0])

    def push(self, v: np.ndarray) -> np.ndarray:
        return np.asarray(self._push(self._leaves, jnp.asarray(v, self.dtype)))

    def pull(self, u: np.ndarray) -> np.ndarray:
        return np.asarray(self._pull(self._leaves, jnp.asarray(u)))

    def largest_tangent(self, v: np.ndarray) -> float:
        return self._runner(*self._leaves).largest_tangent(v) if self.forward else 0.0


def _as_matrix(numbers: Any, plan: Plan, question: Question) -> tuple[Any, np.ndarray, np.ndarray]:
    """The answer as a matrix, and which of its rows and columns hold all the entries of J's."""
    m, n = plan.shape
    if question.kind == "dense":
        return np.asarray(numbers), np.ones(m, bool), np.ones(n, bool)
    read = plan.planned.entries()
    matrix = csr_array((np.asarray(numbers), (read.rows, read.cols)), shape=(m, n))
    pattern, wanted = plan.planned.pattern.tocsr(), plan.planned.wanted
    assert wanted is not None
    rows = np.diff(pattern.indptr) == np.diff(wanted.indptr)
    cols = np.bincount(pattern.indices, minlength=n) == np.bincount(wanted.indices, minlength=n)
    return matrix, rows & (np.diff(pattern.indptr) > 0), cols


@dataclass(frozen=True)
class _Comparison:
    plan: Plan
    traced: backend.Traced
    eps: float
    largest: Callable[[], float]  # the largest tangent met on the way, worked out only when the answers differ

    def __call__(self, ours: np.ndarray, true: np.ndarray, size: np.ndarray, where: np.ndarray, word: str) -> float:
        """The largest relative difference over `where`; NaN when nothing there is finite."""
        usable = where & np.isfinite(true) & np.isfinite(ours)
        if not usable.any():
            return float("nan")
        scale = np.abs(true) + size + np.abs(true[usable]).max() * 1e-3
        scale[scale == 0] = 1.0
        error = np.where(usable, np.abs(ours - true) / scale, 0.0)
        allowed = max(self.eps ** (2 / 3), 200 * self.eps)
        if error.max() > allowed:
            # Rounding grows with what cancels on the way: 1 − tanh² of a saturated unit is noise of size eps.
            noise = 100 * self.eps * self.largest()
            error = np.where(np.abs(ours - true) <= noise, 0.0, error)
        worst = int(np.argmax(error))
        if error[worst] > allowed:
            raise StructureError(
                f"the plan {self.plan.chosen.name!r} gives {ours[worst]:.6g} in {word} {worst} of a probe where plain "
                f"AD gives {true[worst]:.6g}; suspected: {_suspect(self.traced)}. No result is returned. "
                'Please report this with the function; jacmap.jacobian(f, plan="plain") answers meanwhile'
            )
        return float(error[worst])


def _sampled(matrix: Any, truth: _Truth, rng: Any, plan: Plan, traced: backend.Traced) -> float:
    """A few wanted entries, each against its own column (row) of plain AD."""
    wanted = plan.planned.wanted
    assert wanted is not None
    m, n = plan.shape
    rows = np.repeat(np.arange(m), np.diff(wanted.indptr))
    worst = float("nan")
    for k in rng.choice(wanted.nnz, min(_SAMPLED, wanted.nnz), replace=False):
        i, j = int(rows[k]), int(wanted.indices[k])
        unit = np.eye(1, n, j)[0] if truth.forward else np.eye(1, m, i)[0]
        true = truth.push(unit)[i] if truth.forward else truth.pull(unit)[j]
        compare = _Comparison(plan, traced, truth.eps, functools.partial(truth.largest_tangent, np.eye(1, n, j)[0]))
        found = compare(
            np.array([matrix[i, j]]), np.array([true]), np.zeros(1), np.ones(1, bool), f"entry {i}, {j}, place"
        )
        worst = float(np.nanmax([worst, found]))
    return worst


def _suspect(traced: backend.Traced) -> str:
    """The operations whose rules are not a plain table row, or the last one before the output."""
    nodes = traced.graph.active_nodes
    odd = [node for node in nodes if node.note] or [
        node for node in nodes if node.op.startswith(("custom", "scan", "while", "cond"))
    ]
    if not nodes:
        return "nothing (no derivative flows through the graph)"
    node = (odd or nodes)[-1]
    return f"{node.op} at {node.place}"
