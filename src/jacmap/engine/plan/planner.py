"""Question + graph → the candidates, best first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ..._errors import StructureError
from ..graph import Graph, Pattern, jacobian_pattern
from ..graph.cuts import Cut, boundaries, nodes_between, rank_bound
from ..graph.propagate import LARGEST_PATTERN
from ..graph.reach import Reach, reach
from . import cost
from .apart import colour_apart, passes_apart
from .bracket import best_bracket
from .colouring import Colouring, colour_both, colour_columns, colour_rows
from .demand import undemanded
from .ends import diagonal_ends
from .question import Question
from .readout import Readout, readout, shows
from .recipe import Bracketed, Coloured, Constant, Part, Plain, Recipe, Scaled

# A structured candidate replaces the plain one only when it promises at least this much: estimates are rough, and the
# plain one is never a bad surprise.
CLEARLY = 0.8
# Bracketing looks at this many boundaries at most (the narrowest are kept).
MOST_BOUNDARIES = 40
# How hard the colourings look for fewer colours; planning must stay cheap beside compiling.
EFFORT = 0.3
# Patterns below this many bytes are always kept: a full form in their place would only make the answer larger.
SMALLEST_BOUND = 2.0**26
# Colouring a pattern with more entries than this is not tried: it has gone to its full form for want of memory.
LARGEST_COLOURED = 2**26


@dataclass(frozen=True)
class Limits:
    """`memory`: bytes that the passes may hold at once; None: no bound. `itemsize`: bytes of an entry of x.

    `alive`: arrays of the widest value's size that the backend holds at once per seed, on the way of a batch of passes.
    `folds`: entries of a constant that it computes once, ahead; 0: it does not. `batch`: bytes beyond which passes one
    after another are quicker than a batch of them. `apart`: are passes run without what stands still in them?
    """

    memory: float | None = None
    itemsize: int = 8
    alive: float = 2.0
    folds: int = 0
    batch: float = math.inf
    apart: bool = False


@dataclass(frozen=True, eq=False)
class Planned:
    """All that planning found out: candidates by cost, what each entry is read from, and the pattern."""

    question: Question
    candidates: tuple[Recipe, ...]
    pattern: Pattern
    wanted: csr_array | None
    reads: dict[int, Readout]
    rejected: tuple[tuple[str, str], ...]
    lower_bound: int

    def read_for(self, recipe: Recipe) -> Readout | None:
        recipe = recipe.inner if isinstance(recipe, Constant) else recipe
        if not isinstance(recipe, Coloured):
            return None if self.question.kind == "dense" else self.entries()
        key = id(recipe.colouring)
        if key not in self.reads:
            assert self.wanted is not None
            self.reads[key] = readout(recipe.colouring, self.wanted)
        return self.reads[key]

    def entries(self) -> Readout:
        """Where the wanted entries stand in the matrix, row-major."""
        assert self.wanted is not None
        rows = np.repeat(np.arange(self.wanted.shape[0], dtype=np.int32), np.diff(self.wanted.indptr))
        nothing = np.zeros(0, np.int32)
        return Readout(self.wanted.shape, rows, self.wanted.indices, nothing, None)


def make_plan(
    graph: Graph,
    question: Question,
    limits: Limits,
    constant: bool,
    reverse_allowed: bool = True,
    known: tuple[Pattern, Colouring | None] | None = None,
) -> Planned:
    """All candidates for a question, cheapest first.

    `constant`: nothing but x varies, so an affine function's Jacobian is known for good. `reverse_allowed`: False for
    real inputs with complex outputs. `known`: a pattern and a colouring found earlier. Candidates whose AD mode an
    operation lacks are listed as rejected.
    """
    # Five bytes per stored entry (a bool and an int32): a pattern that would not fit goes to its full form.
    bound = max(SMALLEST_BOUND, limits.memory or np.inf)
    stored = int(min(LARGEST_PATTERN, bound // 5))
    pattern = jacobian_pattern(graph, stored) if known is None else known[0]
    forward, reverse = graph.forward, graph.reverse and reverse_allowed
    rejected = [
        (f"plain {mode}", _lacking(graph, mode)) for mode, ok in (("forward", forward), ("reverse", reverse)) if not ok
    ]
    found: list[Recipe] = list(_plain(graph, question, forward, reverse))
    wanted = None
    lower = 0
    plain_is_best = pattern.is_full or min(pattern.shape) <= 1 or pattern.nnz > LARGEST_COLOURED
    if known is not None and known[1] is not None:
        wanted = question.wanted(pattern.tocsr())
        if not shows(known[1], pattern.tocsr(), wanted):
            raise StructureError("the saved colouring does not show every entry; delete the file and plan anew")
        kinds = _kinds(graph, limits, known[1].forward)
        found.append(_recipe(graph, question, known[1], wanted, frozenset(), kinds))
    elif question.kind != "dense" or not plain_is_best:
        csr = pattern.tocsr()
        wanted = question.wanted(csr)
        if wanted.nnz <= LARGEST_COLOURED:
            coloured, lower = _coloured(graph, question, csr, wanted, forward, reverse, limits)
            found += coloured
    if question.kind == "dense" and min(pattern.shape) > 1 and len(graph.active_nodes) > 1:
        cuts = boundaries(graph)
        found += _bracketed(graph, cuts)
        if limits.folds:
            found += _scaled(graph, cuts, forward, reverse, limits.folds)
    if not found:
        return Planned(question, (), pattern, wanted, {}, tuple(rejected), lower)
    found = [_chunked(recipe, graph, limits) for recipe in found]
    found = _ranked(found)
    if constant and graph.is_affine and (pattern.nnz if question.kind != "dense" else np.prod(pattern.shape)) <= 2**22:
        found.insert(
            0, Constant(name="constant", inner=found[0], note="f is affine: J is computed once, when the plan is built")
        )
    return Planned(question, tuple(found), pattern, wanted, {}, tuple(rejected), lower)


def _lacking(graph: Graph, mode: str) -> str:
    names = sorted({node.op for node in graph.active_nodes if not getattr(node, mode)})
    if not names:
        return "complex outputs of real inputs have no reverse mode"
    return f"{', '.join(names)} cannot run in {mode} mode"


def _plain(graph: Graph, question: Question, forward: bool, reverse: bool) -> list[Recipe]:
    m, n = graph.shape
    found: list[Recipe] = []
    pick = 0.0 if question.kind == "dense" else cost.GATHER * m
    if forward:
        found.append(Plain(name="plain forward", mode="forward", forward=n, cost=cost.plain_forward(graph) + pick))
    if reverse:
        found.append(Plain(name="plain reverse", mode="reverse", reverse=m, cost=cost.plain_reverse(graph) + pick))
    return found


def _coloured(
    graph: Graph, question: Question, pattern: csr_array, wanted: csr_array, forward: bool, reverse: bool,
    limits: Limits,
) -> tuple[list[Recipe], int]:  # fmt: skip
    found: list[Recipe] = []
    tried: list[Colouring] = []
    longest = int(np.diff(wanted.indptr).max(initial=0))
    kinds = _kinds(graph, limits, longest) if forward else None

    def columns() -> Colouring:
        apart = None if kinds is None else colour_apart(pattern, wanted, kinds.kinds, EFFORT)
        return apart or colour_columns(pattern, wanted, effort=EFFORT)

    def rows() -> Colouring:
        return colour_rows(pattern, wanted, effort=EFFORT)

    # The side with the lower bound that promises more goes first; the other one only if it could still win.
    sides = [(longest, columns)] if forward else []
    if reverse:
        sides.append((int(np.bincount(wanted.indices, minlength=1).max()), rows))
    if wanted.nnz == 0:
        sides = sides[:1]
    for bound, colour in sorted(sides, key=lambda side: side[0]):
        if not tried or bound < tried[0].passes:
            tried.append(colour())
    lower = min((c.lower_bound for c in tried), default=0)
    if forward and reverse and min(c.passes for c in tried) > 3 and _has_dense_lines(pattern):
        both = colour_both(pattern, wanted, effort=EFFORT)
        if both.side == "both" and both.passes < min(c.passes for c in tried):
            tried.append(both)
    for colouring in tried:
        if shows(colouring, pattern, wanted):
            found.append(_recipe(graph, question, colouring, wanted, frozenset(), kinds))
    if not question.needs_all and min((c.passes for c in tried), default=0) > 1:
        found += _demanded(graph, question, wanted, forward, reverse)
    return found, lower


def _has_dense_lines(pattern: csr_array) -> bool:
    """Are there rows and columns far fuller than the rest? Only then do two sides need fewer passes than one."""
    rows = np.diff(pattern.indptr)
    cols = np.bincount(pattern.indices, minlength=pattern.shape[1])
    return all(line.max(initial=0) > 2 * line.mean() + 1 for line in (rows, cols))


def _kinds(graph: Graph, limits: Limits, passes: int) -> Reach | None:
    """The kinds of columns, where the work of so many passes is such that it is worth to tell them apart."""
    worth = limits.apart and passes > 1 and passes * graph.pass_work > cost.KERNEL * len(graph.active_nodes)
    return reach(graph) if worth else None


def _recipe(
    graph: Graph, question: Question, colouring: Colouring, wanted: csr_array, dropped: frozenset[tuple[int, int]],
    kinds: Reach | None = None,
) -> Coloured:  # fmt: skip
    names = {"columns": "column colouring", "rows": "row colouring", "both": "two-sided colouring"}
    if colouring.passes == 0:
        return Coloured(name="all zero", cost=0.0, note="no entry can be nonzero", colouring=colouring)
    dense = question.kind == "dense"
    estimate = cost.coloured(graph, colouring.forward, colouring.reverse, wanted.nnz, dense, moved=False)
    note = colouring.order + (f"; at least {colouring.lower_bound}" if colouring.lower_bound else "")
    if dropped:
        note += f"; {len(dropped)} tangents that the question does not need are dropped"
    apart = None if kinds is None else passes_apart(graph, kinds, colouring)
    parts: tuple[Part, ...] = ()
    if apart is not None:
        parts, saved = apart
        estimate -= saved
        note += f"; {len(parts)} groups of passes, each without the tangents that are zero in it"
    return Coloured(
        name=names[colouring.side] + (" of what is asked" if dropped else ""),
        forward=colouring.forward,
        reverse=colouring.reverse,
        cost=estimate,
        note=note,
        colouring=colouring,
        dropped=dropped,
        parts=parts,
    )


def _demanded(graph: Graph, question: Question, wanted: csr_array, forward: bool, reverse: bool) -> list[Recipe]:
    """Colourings of the pattern that is left when tangents that no wanted entry needs are dropped.

    The dropped pattern is worked out again from the graph, and the colouring is one of *that* pattern: each wanted
    entry is alone in its colour, whatever was dropped.
    """
    dropped = undemanded(graph, wanted)
    if not dropped:
        return []
    edges = frozenset((p, k, i) for p, i in dropped for k in range(len(graph.nodes[p].outputs)))
    left = jacobian_pattern(graph, dropped=edges).tocsr()
    if (wanted.astype(np.int8) - wanted.multiply(left).astype(np.int8)).nnz:
        return []  # a wanted entry would be lost: keep to the undropped plans
    tried = [colour_columns(left, wanted)] if forward else []
    tried += [colour_rows(left, wanted)] if reverse else []
    return [_recipe(graph, question, c, wanted, frozenset(dropped)) for c in tried if shows(c, left, wanted)]


def _scaled(graph: Graph, cuts: Sequence[Cut], forward: bool, reverse: bool, folds: int) -> list[Recipe]:
    ends = diagonal_ends(graph, cuts, folds)
    if ends is None or not forward:
        return []
    m, n = graph.shape
    around = sum(a is not b for a, b in (ends.cuts[:2], ends.cuts[2:]))
    found: list[Recipe] = []
    if ends.fixed:
        note = "J = diag(b) M diag(a): all but M works entry by entry, and M is constant"
        spared = cost.plain_forward(graph) - n * ends.spared_forward
        return [Scaled(name="scaled constant", mode="forward", forward=around, note=note, cuts=ends.cuts, cost=spared)]
    note = "J = diag(b) M diag(a): f {} entry by entry, and M {} with fixed weights"
    if ends.spared_forward:
        found.append(
            Scaled(
                name="scaled forward", mode="forward", forward=n + around, note=note.format("begins", "begins"),
                cuts=ends.cuts, cost=cost.plain_forward(graph) - n * ends.spared_forward,
            )
        )  # fmt: skip
    if reverse and ends.spared_reverse:
        found.append(
            Scaled(
                name="scaled reverse", mode="reverse", reverse=m, forward=around, note=note.format("ends", "ends"),
                cuts=ends.cuts, cost=cost.plain_reverse(graph) - cost.REVERSE * m * ends.spared_reverse,
            )
        )  # fmt: skip
    return found


def _bracketed(graph: Graph, boundaries: Sequence[Cut]) -> list[Recipe]:
    m, n = graph.shape
    if min(m, n) <= 2:
        return []
    cuts = _few(boundaries)
    if len(cuts) <= 2:
        return []
    segments = [nodes_between(graph, a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
    work = [sum(node.pass_work for node in nodes) for nodes in segments]
    found = best_bracket(
        [cut.width for cut in cuts],
        work,
        [all(node.forward for node in nodes) for nodes in segments],
        [all(node.reverse for node in nodes) for nodes in segments],
    )
    if found is None or found[1].kind in ("forward", "reverse"):
        return []
    total, tree = found
    forward, reverse = tree.passes([cut.width for cut in cuts])
    narrowest = min(cut.width for cut in cuts)
    note = f"through cuts of widths {' → '.join(str(cut.width) for cut in cuts)}; narrowest {narrowest}"
    return [
        Bracketed(
            name="cut and bracket", forward=forward, reverse=reverse, cost=total + m * n + 3 * cost.KERNEL, note=note,
            tree=tree, cuts=tuple(cuts),
        )
    ]  # fmt: skip


def _few(cuts: Sequence[Cut]) -> list[Cut]:
    """One boundary per plateau of widths, the narrowest ones when there are still too many.

    The last of a plateau is kept: what follows it is then a product with weights, which an identity enters at once.
    """
    kept = [cuts[0]]
    for cut in cuts[1:]:
        if cut.width == kept[-1].width and len(kept) > 1:
            kept.pop()
        if cut.width != cuts[0].width or len(kept) > 1 or cut is cuts[-1]:
            kept.append(cut)
    while len(kept) > MOST_BOUNDARIES:
        widest = max(range(1, len(kept) - 1), key=lambda k: kept[k].width)
        del kept[widest]
    return kept


def _chunked(recipe: Recipe, graph: Graph, limits: Limits) -> Recipe:
    """The recipe with its batches cut to the memory bound, and its memory estimated."""
    parts = recipe.parts if isinstance(recipe, Coloured) else ()
    whole = recipe.reverse if parts else max(recipe.forward, recipe.reverse, 1)
    batches = (*parts, Part(whole, frozenset())) if whole else parts
    chunks, held, notes, in_turn = [], [], [recipe.note], 0
    for batch in batches:
        seeds, chunk = batch.count, 0
        per_seed = cost.seed_bytes(graph, limits.itemsize, limits.alive, batch.still)
        if limits.memory is not None and seeds * per_seed > limits.memory:
            chunk = max(1, int(limits.memory // per_seed))
            if per_seed > limits.memory:
                notes.append("one seed at a time is all that can be done, and it needs more than the memory given")
        elif seeds > 1 and seeds * per_seed > limits.batch:
            chunk, in_turn = 1, in_turn + 1
        chunks.append(chunk)
        held.append(per_seed * (chunk or seeds))
    if in_turn:
        which = f"{in_turn} of them " if parts else ""
        notes.append(which + "pass after pass, which is quicker than a batch of so many small products")
    changes: dict[str, Any] = {"chunk": min(filter(None, chunks), default=0), "memory": max(held)}
    if parts:
        changes["parts"] = tuple(replace(part, chunk=chunk) for part, chunk in zip(parts, chunks, strict=False))
    return replace(recipe, **changes, note="; ".join(filter(None, dict.fromkeys(notes))))


def _ranked(found: list[Recipe]) -> list[Recipe]:
    found = sorted(found, key=lambda recipe: recipe.cost)
    plain = next((recipe for recipe in found if isinstance(recipe, Plain)), None)
    if plain is not None and found[0] is not plain and found[0].cost > CLEARLY * plain.cost:
        found.remove(plain)
        found.insert(0, plain)
    return found


__all__ = ["Limits", "Planned", "make_plan", "rank_bound"]
