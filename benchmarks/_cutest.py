"""The constraint and equation functions of sif2jax (the CUTEst problems in JAX), each as a function of one vector."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

LARGEST = 5000


@dataclass(frozen=True)
class Function:
    """A vector of constraints as a function of the unknowns, at the problem's own starting point."""

    problem: str
    part: str  # "eq" or "ineq"
    call: Callable[[Any], Any]
    x: Any
    shape: tuple[int, int]

    @property
    def name(self) -> str:
        return f"{self.problem}.{self.part}"


def functions(share: int = 0, of: int = 1, start: int = 0) -> Iterator[tuple[int, Function]]:
    """Equality and inequality constraint functions with at most LARGEST unknowns, each with its problem's number.

    The pytrees that a problem takes and returns are flattened to one vector each. With `of` > 1 only every so manieth
    problem, counted from `share`; none before number `start`.
    """
    sif2jax = load()
    problems = (*sif2jax.constrained_minimisation_problems, *sif2jax.nonlinear_equations_problems)
    names = [problem.name for problem in problems]
    for number, problem in enumerate(problems):
        if number % of != share or number < start:
            continue
        x, unravel = ravel_pytree(problem.y0)
        x = jnp.asarray(x, jnp.float64)
        if x.size > LARGEST:
            continue
        parts = jax.eval_shape(problem.constraint, problem.y0)
        for k, part in enumerate(("eq", "ineq")):
            m = sum(leaf.size for leaf in jax.tree_util.tree_leaves(parts[k]))
            if parts[k] is not None:
                name = problem.name + "'" * (problem.name in names[:number])  # a few problems are listed twice
                yield number, Function(name, part, _flat(problem, k, unravel), x, (m, x.size))


def _flat(problem: Any, k: int, unravel: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        leaves = jax.tree_util.tree_leaves(problem.constraint(unravel(x))[k])
        return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])

    return call


def load() -> ModuleType:
    """sif2jax, without the two minutes that one of its modules takes to fill a matrix entry by entry."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        import sif2jax
    finally:
        sys.meta_path.remove(finder)
    return sif2jax


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if not fullname.startswith("sif2jax.") or not fullname.endswith(".cleuven7"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Quick(fullname, spec.origin)
        return spec


class _Quick(importlib.machinery.SourceFileLoader):
    """Runs the module with no entries to fill in, then fills them all in at once."""

    def exec_module(self, module: ModuleType) -> None:
        load, found = np.load, {}

        def without_rows(file: Any) -> dict[str, Any]:
            found.update(load(file))
            return {**found, "ineq_rows": found["ineq_rows"][:0]}

        with mock.patch("numpy.load", without_rows):
            super().exec_module(module)
        rows, columns, values = (found[f"ineq_{what}"] for what in ("rows", "cols", "vals"))
        matrix = np.zeros(module._ineq_matrix_dense.shape)
        np.add.at(matrix, (rows, columns), values)
        module._ineq_matrix_dense = jnp.asarray(matrix)
