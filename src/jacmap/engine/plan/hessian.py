"""Candidates for a Hessian: those of the gradient's Jacobian with the tighter pattern, and the symmetric colourings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from ..graph import Graph, Pattern, jacobian_pattern
from ..graph.curvature import HessianPattern, hessian_pattern
from ..graph.propagate import LARGEST_PATTERN
from . import cost
from .colouring import Colouring
from .planner import EFFORT, LARGEST_COLOURED, Limits, Planned, _chunked, _ranked, make_plan
from .question import Question
from .readout import Readout
from .recipe import Coloured, Constant, Recipe
from .symmetric import SymmetricColouring, colour_symmetric


def tightest_pattern(f: Graph, gradient: Graph) -> HessianPattern:
    """What both readings allow: the couplings of f, and the program of its gradient."""
    curved = hessian_pattern(f)
    if gradient.is_affine and not jacobian_pattern(gradient).nnz:
        return HessianPattern(Pattern.empty(gradient.shape), curved.symmetric)
    program = jacobian_pattern(gradient)
    if curved.pattern.is_full:
        both = program
    elif program.is_full:
        both = curved.pattern
    elif min(curved.pattern.nnz, program.nnz) > LARGEST_PATTERN:
        return HessianPattern(Pattern.full(gradient.shape), curved.symmetric)
    else:
        # Each is an over-estimate of the same matrix, and so is what they have in common.
        both = Pattern.from_csr(_common(curved.pattern.tocsr(), program.tocsr()))
    n = both.shape[0]
    if both.nnz == n * n:
        return HessianPattern(Pattern.full(both.shape), curved.symmetric)
    if curved.symmetric and not both.is_full:
        csr = both.tocsr()
        both = Pattern.from_csr(_common(csr, csr_array(csr.T)))
    return HessianPattern(both, curved.symmetric)


def _common(a: csr_array, b: csr_array) -> csr_array:
    found = csr_array(a.multiply(b), dtype=bool)
    found.eliminate_zeros()
    found.sort_indices()
    return found


def make_hessian_plan(
    gradient: Graph,
    found: HessianPattern,
    question: Question,
    limits: Limits,
    constant: bool,
    reverse_allowed: bool = True,
) -> Planned:
    """All candidates for a question about the Hessian, the Jacobian of `gradient`, cheapest first."""
    planned = make_plan(gradient, question, limits, constant, reverse_allowed, known=(found.pattern, None))
    if planned.candidates and isinstance(planned.candidates[0], Constant):
        quadratic = replace(planned.candidates[0], note="f is quadratic: H is computed once, when the plan is built")
        return replace(planned, candidates=(quadratic, *planned.candidates[1:]))
    wanted = planned.wanted
    if (
        not (found.symmetric and question.needs_all and gradient.forward)
        or wanted is None
        or found.pattern.is_full
        or wanted.nnz > LARGEST_COLOURED
    ):
        return planned
    fewest = min((c.forward + c.reverse for c in planned.candidates if isinstance(c, Coloured)), default=None)
    coloured = [_recipe(gradient, question, c, wanted) for c in colour_symmetric(wanted, fewest, EFFORT)]
    for recipe, read in coloured:
        planned.reads[id(recipe.colouring)] = read
    candidates: list[Recipe] = [*planned.candidates, *(_chunked(recipe, gradient, limits) for recipe, _ in coloured)]
    return replace(planned, candidates=tuple(_ranked(candidates)))


def _recipe(
    graph: Graph, question: Question, symmetric: SymmetricColouring, wanted: csr_array
) -> tuple[Coloured, Readout]:
    n = wanted.shape[0]
    none = np.full(n, -1, np.int32)
    colouring = Colouring((n, n), symmetric.colours, none, symmetric.count, 0, 0, symmetric.order, "columns")
    rows = np.repeat(np.arange(n, dtype=np.int32), np.diff(wanted.indptr))
    read = Readout((n, n), rows, wanted.indices, np.zeros(0, np.int32), None, symmetric=symmetric.read)
    rounds = len(symmetric.read.rounds)
    estimate = cost.coloured(graph, symmetric.count, 0, wanted.nnz, question.kind == "dense", moved=False)
    recipe = Coloured(
        name=f"{symmetric.kind} colouring",
        forward=symmetric.count,
        cost=estimate + cost.KERNEL * (rounds - 1),
        note=symmetric.order + (f"; substitution in {rounds} rounds" if rounds > 1 else ""),
        colouring=colouring,
    )
    return recipe, read
