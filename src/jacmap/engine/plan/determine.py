"""det J as a product over the chain of square cuts, each factor by the cheapest exact way.

log|det J| is the sum over the factors, signs multiply. In each factor only the diagonal blocks of the block triangular
form are evaluated; what they do not need is left out of the tangent pass (`demand`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from ..graph import Graph, jacobian_pattern
from ..graph.factors import Factor, chain_of
from ..graph.hints import Loop
from .blocks import Blocks, block_triangular, order_of, parity
from .colouring import Colouring, colour_columns, colour_rows
from .demand import Thinning, thin
from .determinant import Determinant, Entrywise, LowRank, Moved, Repeated, Step
from .planner import EFFORT
from .readout import shows
from .stored import stored

# Values of at most this share of a dense factor's size are tried as its low-rank part.
NARROW = 0.25
# At most so many of them are tried: each costs a walk through the factor's patterns.
MOST_NARROW = 8
# Dense blocks up to this size are not worth looking for low rank in.
SMALL_BLOCK = 4


def plan_determinant(graph: Graph, reverse: bool = False) -> Determinant:
    """The plan for a graph with as many outputs as inputs. `reverse`: are VJPs the cheaper passes for the backend?"""
    chain = chain_of(graph)
    n = graph.shape[1]
    if chain.width < n:
        return Determinant(
            (), 1, f"all that depends on the input passes through {chain.width} numbers, so the rank is below {n}"
        )
    steps: list[Step] = []
    owner: dict[int, int] = {}
    for factor in chain.factors:
        step = _plan_factor(factor, reverse)
        if isinstance(step, str):
            return Determinant((), 1, step)
        owner |= {position: len(steps) for position in factor.positions}
        steps.append(step)
    return Determinant(tuple(steps), chain.sign, "", owner)


def _plan_factor(factor: Factor, reverse: bool) -> Step | str:
    graph = factor.graph
    loop = _loop(factor)
    if loop is not None:
        return loop
    pattern = jacobian_pattern(graph)
    csr = pattern.tocsr()
    constant = all(node.affine for node in graph.nodes)
    if _is_permutation(csr) and _is_unit(graph):
        return Moved(factor=factor, constant=True, signs=(parity(csr.indices.astype(int)),))
    blocks = block_triangular(csr)
    if blocks is None:
        place = _place(factor)
        return f"no perfect matching of outputs to inputs in a factor of size {factor.size}{place}"
    held = stored(factor, csr, blocks, constant)
    if held is not None:
        return held
    dense = _entrywise(factor, csr, blocks, constant, reverse=reverse)
    if blocks.sizes.max() > SMALL_BLOCK and graph.forward:
        return _low_rank(factor, constant) or dense
    return dense


def _place(factor: Factor) -> str:
    nodes = factor.graph.nodes
    line = str(max(nodes, key=lambda node: node.work).place) if nodes else ""
    return f" ({line})" if line else ""


def _is_permutation(csr: csr_array) -> bool:
    n = csr.shape[0]
    return bool(csr.nnz == n and (np.diff(csr.indptr) == 1).all() and np.bincount(csr.indices, minlength=n).max() <= 1)


def _is_unit(graph: Graph) -> bool:
    """Are all entries of the factor, known to be a permutation, 1? Each entry must come from one entry, unchanged."""
    for node in graph.nodes:
        active = [i for i, v in enumerate(node.inputs) if graph.values[v].active]
        if any(i not in node.hints.unit for i in active):
            return False
        for k, v in enumerate(node.outputs):
            read = sum(node.local[k, i].nnz for i in active if (k, i) in node.local)
            if read > graph.values[v].size:
                return False
    return True


def _entrywise(
    factor: Factor,
    csr: csr_array,
    blocks: Blocks,
    constant: bool,
    edges: Thinning | None = None,
    reverse: bool = False,
) -> Entrywise:
    """The fewest passes that show the diagonal blocks. `edges`: dropped already, for a reason of the caller's."""
    graph, n = factor.graph, factor.size
    times = np.ones(blocks.sizes.size, int)
    wanted = blocks.wanted(csr)
    tied = _tied(factor, blocks)
    if tied is not None:
        times = tied
        wanted = _of_blocks(wanted, blocks, times > 0)
    reason = order_of(csr)

    def step(colouring: Colouring, thinning: Thinning) -> Entrywise:
        return Entrywise(
            factor=factor, constant=constant, blocks=blocks, times=times, colouring=colouring, thinning=thinning,
            pattern=wanted, reason=reason,
        )  # fmt: skip

    if not graph.forward:
        colouring = colour_rows(csr, wanted, effort=EFFORT)
        assert shows(colouring, csr, wanted)
        return step(colouring, Thinning())
    colour = colour_rows if reverse and all(node.reverse for node in graph.nodes) else colour_columns
    if csr.nnz == n and tied is None:
        alone = Colouring(csr.shape, np.zeros(n, np.int32), np.full(n, -1, np.int32), 1, 0, 1, "natural")
        return step(alone, edges or Thinning())
    thinning = thin(graph, wanted) if edges is None else Thinning()
    if thinning:
        # What is left is worked out again, and the colouring is one of that: whatever was dropped or masked, each
        # wanted entry is alone in its colour.
        left = jacobian_pattern(graph, dropped=thinning.edges(graph), thinned=thinning.patterns).tocsr()
        if _covers(left, wanted):
            colouring = colour(left, wanted, effort=EFFORT)
            if shows(colouring, left, wanted):
                return step(colouring, thinning)
    colouring = colour(csr, wanted, effort=EFFORT)
    assert shows(colouring, csr, wanted)
    return step(colouring, edges or Thinning())


def _covers(left: csr_array, wanted: csr_array) -> bool:
    return not (wanted.astype(np.int8) - wanted.multiply(left).astype(np.int8)).nnz


def _tied(factor: Factor, blocks: Blocks) -> np.ndarray | None:
    """How many blocks each stands for (0: another one stands for it), where blocks are known to be equal."""
    graph = factor.graph
    if len(graph.nodes) != 1 or blocks.sizes.size == 1 or np.unique(blocks.sizes).size > 1:
        return None
    node = graph.nodes[0]
    active = [i for i, v in enumerate(node.inputs) if graph.values[v].active]
    if len(active) != 1 or active[0] not in node.hints.tied:
        return None
    tied = node.hints.tied[active[0]]
    rows, columns = blocks.of_size(int(blocks.sizes[0]))
    labels = np.concatenate([np.sort(tied.rows[rows], axis=1), np.sort(tied.columns[columns], axis=1)], axis=1)
    _, first, inverse = np.unique(labels, axis=0, return_index=True, return_inverse=True)
    times = np.zeros(blocks.sizes.size, int)
    times[first] = np.bincount(inverse.ravel())
    return times


def _of_blocks(wanted: csr_array, blocks: Blocks, keep: np.ndarray) -> csr_array:
    label = np.empty(wanted.shape[0], int)
    label[blocks.rows] = np.repeat(np.arange(blocks.sizes.size), blocks.sizes)
    rows = np.repeat(np.arange(wanted.shape[0]), np.diff(wanted.indptr))
    at = keep[label[rows]]
    return csr_array((wanted.data[at], (rows[at], wanted.indices[at])), shape=wanted.shape, dtype=bool)


def _low_rank(factor: Factor, constant: bool) -> LowRank | None:
    """A narrow value without which the factor falls apart into 1×1 blocks."""
    graph, n = factor.graph, factor.size
    made = {v: p for p, node in enumerate(graph.nodes) for v in node.outputs if graph.values[v].active}
    small = (v for v in made if 0 < graph.values[v].size <= NARROW * n)
    narrow = sorted(small, key=lambda v: (graph.values[v].size, -v))
    for v in narrow[:MOST_NARROW]:
        dropped = frozenset((p, i) for p, node in enumerate(graph.nodes) for i, w in enumerate(node.inputs) if w == v)
        without = Thinning(dropped)
        left = jacobian_pattern(graph, dropped=without.edges(graph)).tocsr()
        blocks = block_triangular(left)
        if blocks is None or blocks.sizes.max() > 1 or left.nnz != n:
            continue  # the lemma needs D⁻¹ U, which is a division only where D is diagonal
        inner = _entrywise(factor, left, blocks, constant, without)
        kept = graph.values[v].size
        reverse = all(node.reverse for node in graph.nodes)
        return LowRank(
            factor=factor, constant=constant, narrow=v, width=kept, inner=inner,
            unit=_is_unit_without(graph, dropped), pulled=reverse and kept < n,
        )  # fmt: skip
    return None


def _is_unit_without(graph: Graph, dropped: frozenset[tuple[int, int]]) -> bool:
    """Are D's entries all 1: does x go straight through additions and moves when the narrow value stands still?"""
    wanted = set(graph.outputs)
    for position in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[position]
        if wanted.intersection(node.outputs):
            wanted.update(v for i, v in enumerate(node.inputs) if (position, i) not in dropped)
    reached = set(graph.inputs)
    for position, node in enumerate(graph.nodes):
        live = [i for i, v in enumerate(node.inputs) if v in reached and (position, i) not in dropped]
        if live and wanted.intersection(node.outputs):
            if len(live) > 1 or live[0] not in node.hints.unit:
                return False
            reached.update(node.outputs)
    return True


def _loop(factor: Factor) -> Step | str | None:
    """The factor as a loop, if it is one operation that hands its moving inputs on."""
    graph = factor.graph
    if len(graph.nodes) != 1:
        return None
    node = graph.nodes[0]
    active = tuple(i for i, v in enumerate(node.inputs) if graph.values[v].active)
    find = node.hints.loop
    loop = None if find is None else find(active)
    if loop is None or {node.outputs[k] for k in loop.carry} != set(graph.outputs):
        return None
    body = plan_determinant(loop.graph)
    if body.zero:
        return body.zero
    body = _known_per_step(body, loop)
    came = [node.inputs[i] for i in active]
    went = [node.outputs[k] for k in loop.carry]
    sign = _order_sign(graph, graph.inputs, came) * _order_sign(graph, went, graph.outputs)
    return Repeated(factor=factor, loop=loop, body=body, sign=sign)


def _known_per_step(body: Determinant, loop: Loop) -> Determinant:
    """Factors that are permutations in every single step (of index arrays that differ from step to step)."""
    heavy = [k for k, step in enumerate(body.steps) if isinstance(step, Entrywise) and step.factor.size > 1 and
             step.forward + step.reverse > 1]  # fmt: skip
    if loop.at is None or not heavy:
        return body
    signs: dict[int, list[int]] = {k: [] for k in heavy}
    for t in range(loop.length):
        chain = chain_of(loop.at(t))
        if len(chain.factors) != len(body.steps):
            return body
        for k in list(signs):
            factor = chain.factors[k]
            csr = jacobian_pattern(factor.graph).tocsr()
            same = factor.positions == body.steps[k].factor.positions
            if not (same and _is_permutation(csr) and _is_unit(factor.graph)):
                del signs[k]
                continue
            signs[k].append(parity(csr.indices.astype(int)))
    steps = [
        Moved(factor=step.factor, constant=True, signs=tuple(signs[k])) if k in signs else step
        for k, step in enumerate(body.steps)
    ]
    return Determinant(tuple(steps), body.sign, body.zero, body.owner)


def _order_sign(graph: Graph, order: Sequence[int], wanted: Sequence[int]) -> int:
    place, at = {}, 0
    for v in order:
        place[v] = np.arange(at, at + graph.values[v].size)
        at += graph.values[v].size
    return parity(np.concatenate([place[v] for v in wanted])) if at else 1
