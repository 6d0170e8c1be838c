"""From products with a symmetric matrix to its entries: read where one stands alone, else found by substitution.

The products are H S with one column of S per colour, so entry (u, c) of H S is the sum of H[u, k] over the vertices k
of colour c. An edge {u, w} is *alone* there when all other edges from u to that colour are known; in the first round
none is. A star colouring needs one round, a column colouring of a symmetric pattern, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_array


class Arrays(Protocol):
    """What a runner must do with arrays for the read-out; see `execute.Runner`."""

    def pick(self, matrix: Any, rows: np.ndarray, cols: np.ndarray) -> Any: ...
    def take(self, flat: Any, index: np.ndarray) -> Any: ...
    def sums(self, flat: Any, index: np.ndarray, groups: np.ndarray, count: int) -> Any: ...
    def concatenate(self, parts: list[Any]) -> Any: ...


@dataclass(frozen=True, eq=False)
class Round:
    """Unknown k is H S at (`vertex[k]`, `colour[k]`), less the unknowns `known[j]` where ``owner[j] == k``.

    Unknowns are numbered through all the rounds.
    """

    vertex: np.ndarray
    colour: np.ndarray
    known: np.ndarray
    owner: np.ndarray


@dataclass(frozen=True, eq=False)
class SymmetricReadout:
    """`rounds` find each pair {i, j} of the pattern once; `expand` puts them where the answer (row-major) has them."""

    colours: np.ndarray
    rounds: tuple[Round, ...]
    expand: np.ndarray

    def numbers(self, compressed: Any, run: Arrays) -> Any:
        """The entries of the pattern, row-major, from the passes (colours × n)."""
        found = None
        for step in self.rounds:
            fresh = run.pick(compressed, step.colour, step.vertex)
            if step.known.size:
                fresh = fresh - run.sums(found, step.known, step.owner, step.vertex.size)
            found = fresh if found is None else run.concatenate([found, fresh])
        return run.take(found, self.expand)


def elimination(pattern: csr_array, colours: np.ndarray, most: int) -> SymmetricReadout | None:
    """How all entries of a symmetric pattern are found in at most `most` rounds; None where that is impossible.

    Colours that no entry is read from are taken out (-1), and the others numbered anew.
    """
    n = pattern.shape[0]
    count = int(colours.max(initial=-1)) + 1
    rows = np.repeat(np.arange(n), np.diff(pattern.indptr))
    cols = pattern.indices.astype(np.int64)
    upper = rows <= cols
    i, j = rows[upper], cols[upper]  # one unknown per pair
    # Unknown e may be read at vertex i, colour of j, or at vertex j, colour of i.
    spots = np.stack([i * count + colours[j], j * count + colours[i]])
    loop = i == j
    spots[1, loop] = -1
    unknown = np.full(i.size, -1)
    chosen: list[tuple[np.ndarray, np.ndarray]] = []
    used = np.zeros(count, bool)
    used[colours[i[loop]]] = True
    while (open_ := np.flatnonzero(unknown < 0)).size:
        if len(chosen) == most:
            return None
        alone = _alone(spots, open_, n * count)
        ready = open_[alone.any(axis=0)]
        if not ready.size:
            return None
        alone = alone[:, alone.any(axis=0)]
        side = _sides(alone, spots[:, ready] % count, used)
        chosen.append((ready, spots[side, ready]))
        unknown[ready] = len(chosen) - 1
    names = np.where(used, np.cumsum(used) - 1, -1).astype(np.int32)
    number = np.zeros(i.size, np.int64)
    number[np.concatenate([np.zeros(0, np.int64), *(edges for edges, _ in chosen)])] = np.arange(i.size)
    rounds = tuple(_round(k, *step, spots, unknown, number, count, names) for k, step in enumerate(chosen))
    where = csr_array((number + 1, (i, j)), shape=(n, n))
    below = csr_array((number[~loop] + 1, (j[~loop], i[~loop])), shape=(n, n))
    full = csr_array(where + below)
    full.sort_indices()
    return SymmetricReadout(names[colours], rounds, (full.data - 1).astype(np.int32))


def _alone(spots: np.ndarray, open_: np.ndarray, size: int) -> np.ndarray:
    """(2, open): is the edge the only unknown one at each of its two spots?"""
    places = spots[:, open_]
    load = np.bincount(places[places >= 0], minlength=size)
    return (places >= 0) & (load[places] == 1)


def _sides(alone: np.ndarray, colour: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Which of its two spots each edge is read at: such that few colours are needed. Marks them in `used`."""
    side = np.where(alone[0], 0, 1)
    forced = alone[0] != alone[1]
    used[colour[side, np.arange(side.size)][forced]] = True
    free = ~forced
    while True:
        waiting = free & ~used[colour].any(axis=0)
        if not waiting.any():
            break
        used[np.bincount(colour[:, waiting].ravel(), minlength=used.size).argmax()] = True
    return np.where(free, np.where(used[colour[0]], 0, 1), side)


def _round(
    k: int, edges: np.ndarray, at: np.ndarray, spots: np.ndarray, unknown: np.ndarray, number: np.ndarray,
    count: int, names: np.ndarray,
) -> Round:  # fmt: skip
    vertex, colour = np.divmod(at, count)
    known = owner = np.zeros(0, np.int64)
    if k:
        # Edges known before this round, sorted by spot; those at my spot are subtracted.
        earlier = np.flatnonzero(unknown < k)
        places = spots[:, earlier]
        flat, edge = places.ravel(), np.tile(earlier, 2)
        edge, flat = edge[flat >= 0], flat[flat >= 0]
        order = np.argsort(flat, kind="stable")
        edge, flat = edge[order], flat[order]
        first, last = np.searchsorted(flat, at), np.searchsorted(flat, at, side="right")
        owner = np.repeat(np.arange(at.size), last - first)
        offset = np.arange(owner.size) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
        known = number[edge[np.repeat(first, last - first) + offset]]
    return Round(vertex.astype(np.int32), names[colour], known.astype(np.int32), owner.astype(np.int32))


class _Numpy:
    """The read-out's arithmetic in NumPy."""

    def pick(self, matrix: Any, rows: np.ndarray, cols: np.ndarray) -> Any:
        return matrix[rows, cols]

    def take(self, flat: Any, index: np.ndarray) -> Any:
        return flat[index]

    def sums(self, flat: Any, index: np.ndarray, groups: np.ndarray, count: int) -> Any:
        total = np.zeros(count, flat.dtype)
        np.add.at(total, groups, flat[index])
        return total

    def concatenate(self, parts: list[Any]) -> Any:
        return np.concatenate(parts)


def recovers(pattern: csr_array, read: SymmetricReadout) -> bool:
    """Is every entry found? Tried on a matrix of random integers, whose sums are exact.

    A term too many or too few changes an entry by a random 40-bit number: it goes unseen once in 10¹².
    """
    n = pattern.shape[0]
    rng = np.random.default_rng(0)
    above = csr_array((rng.integers(1, 2**40, pattern.nnz), pattern.indices, pattern.indptr), shape=(n, n))
    rows = np.repeat(np.arange(n), np.diff(pattern.indptr))
    matrix = above + above.T
    count = int(read.colours.max(initial=-1)) + 1
    seeded = np.flatnonzero(read.colours >= 0)
    seeds = csr_array((np.ones(seeded.size, np.int64), (seeded, read.colours[seeded])), shape=(n, count))
    compressed = (matrix @ seeds).toarray().T
    if not pattern.nnz:
        return True
    return bool((read.numbers(compressed, _Numpy()) == matrix[rows, pattern.indices]).all())
