"""Few directions that give the Laplacian: tr H = Σ_k s_kᵀ H s_k when no two inputs of one direction interact.

s_k is the sum of the unit vectors of one colour; what it adds beside the diagonal is H_ij for i ≠ j of that colour.
So any colouring of the graph of H, with its diagonal left out, will do: neighbours in different colours.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ..graph import Pattern
from .orders import smallest_last

# A greedy pass over more entries (about a second) is not tried: every input keeps its own direction.
LARGEST = 2_000_000
DYNAMIC = 4_000


def directions(pattern: Pattern) -> np.ndarray:
    """The direction of each input, (n,) int32: neighbours in the pattern differ; -1 where H has no diagonal entry.

    Sharing a direction is right for every matrix with this pattern.
    """
    n = pattern.shape[0]
    if pattern.is_full or pattern.nnz > LARGEST:
        return np.arange(n, dtype=np.int32)
    csr = pattern.tocsr()
    csr = csr_array((csr + csr.T).astype(bool))
    wanted = csr.diagonal()
    off = csr_array(csr.astype(np.int8))
    off.setdiag(0)
    off.eliminate_zeros()
    orders = [np.argsort(-np.diff(off.indptr), kind="stable"), np.arange(n)]
    if n <= DYNAMIC:
        orders.append(smallest_last(off))
    return min(
        (_greedy(off, order[wanted[order]]) for order in orders), key=lambda colours: int(colours.max(initial=-1))
    )


def _greedy(off: csr_array, order: np.ndarray) -> np.ndarray:
    neighbours = [off.indices[a:b].tolist() for a, b in zip(off.indptr, off.indptr[1:], strict=False)]
    colours = [-1] * off.shape[0]
    for v in order.tolist():
        taken = {colours[w] for w in neighbours[v]}
        c = 0
        while c in taken:
            c += 1
        colours[v] = c
    return np.asarray(colours, dtype=np.int32)
