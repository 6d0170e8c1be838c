"""Few products with a symmetric matrix H that show all of it: its entries come in pairs, and one of a pair is enough.

A *star* colouring lets every entry be read off H S directly, at (i, colour of j) or at (j, colour of i): Coleman, Moré
(1984), "Estimation of sparse Hessian matrices and graph coloring problems". An *acyclic* colouring needs fewer colours
still; its entries are found one after the other by substitution: Coleman, Cai (1986); Gebremedhin, Tarafdar, Manne,
Pothen (2007), "New acyclic and star coloring algorithms with application to computing Hessians".

Colours are sets of bits in Python integers, as in `orders.Greedy`; work is counted, never timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from .orders import smallest_last
from .symmetric_readout import SymmetricReadout, elimination, recovers

# Visits of a vertex or an edge that effort=1 may spend on further orders (a third of a second of Python).
VISITS = 300_000
# A single greedy pass over more than this (some two seconds) is not tried.
LARGEST = 1_500_000
# An order by smallest last scans all vertices for each: beyond this many it is left out.
DYNAMIC = 4_000
# Substitution in more rounds than this is slower than another pass, and passes rounding errors on.
MOST_ROUNDS = 6

Neighbours = list[list[int]]


@dataclass(frozen=True, eq=False)
class SymmetricColouring:
    """`colours` (n,) int32, -1 where a column is in no seed; `count` of them; `read` finds the entries."""

    kind: str  # "star" or "acyclic"
    colours: np.ndarray
    count: int
    order: str
    read: SymmetricReadout


def colour_symmetric(pattern: csr_array, known: int | None = None, effort: float = 1.0) -> list[SymmetricColouring]:
    """The best star colouring of a symmetric pattern, and an acyclic one where that has fewer colours.

    Empty when neither can have fewer than the `known` number of colours, or the pattern is very large. Every colouring
    has been checked to show every entry. The same pattern always gets the same colours. Raises ValueError for a
    pattern that is not symmetric.
    """
    if pattern.shape[0] != pattern.shape[1] or (pattern != pattern.T).nnz:
        raise ValueError(f"the pattern of shape {pattern.shape} is not symmetric: colour its columns instead.")
    off = csr_array(pattern.astype(np.int8))
    off.setdiag(0)
    off.eliminate_zeros()
    if pattern.shape[0] + off.nnz > LARGEST or (known is not None and known <= _lower_bound(pattern, off)):
        return []
    budget = VISITS * effort
    neighbours = [off.indices[a:b].tolist() for a, b in zip(off.indptr, off.indptr[1:], strict=False)]
    found = [_best("star", star, neighbours, off, pattern, budget)]
    if found[0] is not None and found[0].count > 2:
        found.append(_best("acyclic", acyclic, neighbours, off, pattern, budget / 4))
    kept: list[SymmetricColouring] = []
    for colouring in found:
        if colouring is not None and colouring.count < min([known or colouring.count + 1, *(c.count for c in kept)]):
            kept.append(colouring)
    return kept


def _lower_bound(pattern: csr_array, off: csr_array) -> int:
    """No star colouring has fewer colours; an acyclic one may have 2, but on long paths it takes as many rounds."""
    degree = np.diff(off.indptr)
    if not off.nnz:
        return 1
    inner = degree[np.repeat(np.arange(off.shape[0]), degree)] > 1
    joined = bool((inner & (degree[off.indices] > 1)).any())  # a path of four vertices, or a triangle
    # Without its diagonal entry a vertex may do without a seed.
    return 3 if joined and pattern.diagonal().all() else min(2, int(pattern.diagonal().any()) + 1)


def _best(
    kind: str,
    colour: Callable[[Neighbours, Iterable[int]], list[int]],
    neighbours: Neighbours,
    off: csr_array,
    pattern: csr_array,
    budget: float,
) -> SymmetricColouring | None:
    """The fewest colours over several orders of the vertices."""
    best: SymmetricColouring | None = None
    fewest = off.shape[0] + 1  # before those are taken out that nothing is read from
    for order, vertices in _orders(off):
        colours = np.asarray(colour(neighbours, vertices), dtype=np.int32)
        if (raw := int(colours.max(initial=-1)) + 1) < fewest:
            read = elimination(pattern, colours, 1 if kind == "star" else MOST_ROUNDS)
            count = raw if read is None else int(read.colours.max(initial=-1)) + 1
            if read is not None and (best is None or count < best.count) and recovers(pattern, read):
                best, fewest = SymmetricColouring(kind, read.colours, count, order, read), raw
        budget -= off.nnz + off.shape[0]
        if budget <= 0 or (best is not None and best.count <= 2):
            break
    return best


def _orders(off: csr_array) -> Iterator[tuple[str, list[int]]]:
    degree = np.diff(off.indptr)
    n = off.shape[0]
    yield "largest first", np.argsort(-degree, kind="stable").tolist()
    yield "natural", list(range(n))
    if n <= DYNAMIC:
        yield "smallest last", smallest_last(off).tolist()
    rng = np.random.default_rng(0)
    for k in range(6):
        # Largest first with ties broken at random.
        yield f"largest first, shuffled {k}", np.lexsort((rng.random(n), -degree)).tolist()


def star(neighbours: Neighbours, order: Iterable[int]) -> list[int]:
    """Greedy: the lowest colour with no neighbour of the same colour and no path of four vertices in two colours.

    Of each vertex it is known which colours stand around it once or more (`once`) and twice or more (`twice`), and
    which colours would close such a path for a further neighbour of it (`closing`); so a vertex looks no further than
    its own neighbours.
    """
    n = len(neighbours)
    colours, once, twice, closing = [-1] * n, [0] * n, [0] * n, [0] * n
    for v in order:
        taken, double = once[v], twice[v]
        for w in neighbours[v]:
            if colours[w] >= 0:
                taken |= closing[w]
                if double >> colours[w] & 1:  # v is inside of a path: w and another neighbour share a colour
                    taken |= once[w]
        bit = ~taken & (taken + 1)
        c = colours[v] = bit.bit_length() - 1
        for w in neighbours[v]:
            if not once[w] & bit:
                once[w] |= bit
            elif twice[w] & bit:
                closing[v] |= 1 << colours[w] if colours[w] >= 0 else 0
            else:
                twice[w] |= bit
                if colours[w] >= 0:
                    for y in neighbours[w]:
                        if colours[y] == c:
                            closing[y] |= 1 << colours[w]
            if colours[w] >= 0 and double >> colours[w] & 1:
                closing[w] |= bit
    return colours


def acyclic(neighbours: Neighbours, order: Iterable[int]) -> list[int]:
    """Greedy: the lowest colour with no neighbour of the same colour and no cycle in two colours.

    The forests of two colours are kept as disjoint sets: vertex v in the forest of its colour and colour c is (v, c).
    """
    n = len(neighbours)
    colours, once, twice = [-1] * n, [0] * n, [0] * n
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def root(node: tuple[int, int]) -> tuple[int, int]:
        while (above := parent.get(node, node)) != node:
            parent[node] = parent.get(above, above)
            node = above
        return node

    for v in order:
        coloured = [w for w in neighbours[v] if colours[w] >= 0]
        repeated = [w for w in coloured if twice[v] >> colours[w] & 1]
        taken = once[v]
        while True:
            bit = ~taken & (taken + 1)
            c = bit.bit_length() - 1
            trees = {(colours[w], root((w, c))) for w in repeated}
            if len(trees) == len(repeated):
                break
            taken |= bit
        colours[v] = c
        for w in coloured:
            parent[root((w, c))] = root((v, colours[w]))
        for w in neighbours[v]:
            twice[w] |= once[w] & bit
            once[w] |= bit
    return colours
