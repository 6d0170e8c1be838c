"""The kinds of dependence: for one operation, which output entries read which entries of one input.

Each function returns the *local pattern* of an (output, input) pair, a `Pattern` of shape out.size × in.size. The
backends' rule tables only choose among these kinds; nothing here knows a framework. All of them may
over-estimate, none may miss an entry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from .pattern import Pattern, relation

Shape = tuple[int, ...]

# Exact patterns above this many stored entries are replaced by their grouped over-estimate: 2**25 entries of
# bool + int32 are about 170 MB, what one local pattern may cost before exactness is not worth it.
LARGEST_LOCAL = 2**25


def size_of(shape: Shape) -> int:
    return math.prod(shape)


def row_numbers(shape: Shape) -> np.ndarray:
    """Each entry's own flat number, in the array's shape: what a gather is run on."""
    return np.arange(size_of(shape), dtype=np.int32).reshape(shape)


def none(out: Shape, inp: Shape) -> Pattern:
    """No derivative passes: comparisons, rounding, stop-gradient, integer outputs."""
    return Pattern.empty((size_of(out), size_of(inp)))


def full(out: Shape, inp: Shape) -> Pattern:
    """Every output entry may read every input entry: the sound answer where nothing is known."""
    return Pattern.full((size_of(out), size_of(inp)))


def elementwise(out: Shape, inp: Shape) -> Pattern:
    """Entry i reads entry i, after NumPy broadcasting of the input to the output's shape."""
    if size_of(out) == size_of(inp):
        return Pattern.identity(size_of(out))
    return gather(np.broadcast_to(row_numbers(inp), out), size_of(inp))


def gather(rows: np.ndarray, size: int) -> Pattern:
    """Output entry i is input entry rows[i] (-1: a fill value): any movement of data."""
    return Pattern.selection(rows, size)


def by_axes(out: Shape, out_axes: Sequence[int], inp: Shape, in_axes: Sequence[int]) -> Pattern:
    """Entries depend on each other where the coordinates along the paired axes agree.

    The one form behind reductions, contractions, axis couplings (sort, softmax), normalisation layers and batched
    linear algebra: along the axes that are not paired, everything reads everything.
    """
    extents = tuple(out[a] for a in out_axes)
    groups = size_of(extents)
    return Pattern.grouped(group_numbers(out, out_axes), group_numbers(inp, in_axes), groups)


def group_numbers(shape: Shape, axes: Sequence[int]) -> np.ndarray:
    """For each entry, the row-major number of its coordinates along `axes`, flat."""
    number: np.ndarray = np.zeros((1,) * len(shape), np.int32)
    for axis in axes:
        coordinate = np.arange(shape[axis], dtype=np.int32)
        number = number * np.int32(shape[axis]) + coordinate.reshape(
            [-1 if k == axis else 1 for k in range(len(shape))]
        )
    return np.broadcast_to(number, shape).ravel()


def reduction(inp: Shape, axes: Sequence[int]) -> Pattern:
    """Each output entry reads the input entries that agree with it on the axes kept."""
    kept = [k for k in range(len(inp)) if k not in {a % len(inp) for a in axes}]
    out = tuple(inp[k] for k in kept)
    return by_axes(out, range(len(out)), inp, kept)


def axis_coupling(shape: Shape, axes: Sequence[int]) -> Pattern:
    """Along `axes` every output reads every input (sort, softmax, fft); along the others entry reads entry."""
    coupled = {a % len(shape) for a in axes}
    kept = [k for k in range(len(shape)) if k not in coupled]
    return by_axes(shape, kept, shape, kept)


def cumulative(shape: Shape, axis: int, reverse: bool) -> Pattern:
    """Along `axis` output i reads inputs j ≤ i (j ≥ i when reversed): triangular."""
    length = shape[axis]
    if length * (length + 1) // 2 * (size_of(shape) // max(length, 1)) > LARGEST_LOCAL:
        return axis_coupling(shape, [axis])
    triangle = np.tril(np.ones((length, length), bool))
    return along_axis(shape, shape, axis, csr_array(triangle.T if reverse else triangle))


def along_axis(out: Shape, inp: Shape, axis: int, core: csr_array) -> Pattern:
    """`core` (out[axis] × inp[axis]) relates the coordinates along one axis; the other axes agree."""
    return windows(out, inp, {axis: core}, [(k, k) for k in range(len(out)) if k != axis])


def windows(
    out: Shape,
    inp: Shape,
    cores: dict[int, csr_array],
    paired: Sequence[tuple[int, int]],
    in_axis_of: dict[int, int] | None = None,
) -> Pattern:
    """A product of one relation per axis: convolution, pooling, anything that slides.

    `cores[a]` relates out axis a to the input axis ``in_axis_of[a]`` (a itself by default); `paired` axes agree;
    the axes named in neither couple fully.
    """
    partner = in_axis_of or {}
    core = csr_array(np.ones((1, 1), bool))
    out_axes, in_axes = [], []
    for out_axis, in_axis in paired:
        core = _kron(core, eye(out[out_axis]))
        out_axes.append(out_axis)
        in_axes.append(in_axis)
    for axis, relation_along in cores.items():
        core = _kron(core, relation_along)
        out_axes.append(axis)
        in_axes.append(partner.get(axis, axis))
    shape = (size_of(out), size_of(inp))
    return Pattern(shape, group_numbers(out, out_axes), core, group_numbers(inp, in_axes))


def sliding(
    out: int,
    inp: int,
    window: int,
    stride: int = 1,
    pad_low: int = 0,
    base_dilation: int = 1,
    window_dilation: int = 1,
) -> csr_array:
    """One axis of a window: output o reads input i where o·stride + k·window_dilation − pad_low = i·base_dilation."""
    position = np.arange(out)[:, None] * stride + np.arange(window)[None, :] * window_dilation - pad_low
    source, rest = np.divmod(position, base_dilation)
    inside = (rest == 0) & (source >= 0) & (source < inp)
    rows = np.broadcast_to(np.arange(out)[:, None], position.shape)
    return relation(rows[inside], source[inside], (out, inp))


def contraction(
    out: Shape,
    inp: Shape,
    paired: Sequence[tuple[int, int]],
    contracted: Sequence[int],
    other: tuple[Shape, np.ndarray, Sequence[int], Sequence[tuple[int, int]], Sequence[tuple[int, int]]]
    | None = None,
) -> Pattern:
    """A matrix product with respect to one operand: `paired` (out axis, in axis) agree, `contracted` are summed.

    `other` tells the known zeros of the other operand: (its shape, its nonzero mask, its contracted axes in the
    order of `contracted`, its (axis, in axis) batch pairs, its (axis, out axis) free pairs). Entries whose weight
    is zero are left out.
    """
    grouped = by_axes(out, [o for o, _ in paired], inp, [i for _, i in paired])
    if other is None:
        return grouped
    shape, nonzero, other_contracted, batch, free = other
    if nonzero.all():
        return grouped
    weights = np.argwhere(nonzero)
    batch_in = [i for _, i in batch]
    mine = [(o, i) for o, i in paired if i not in batch_in]
    repeats = size_of(tuple(out[o] for o, _ in mine))
    if len(weights) * repeats > LARGEST_LOCAL:
        return grouped
    coordinates = np.indices(tuple(out[o] for o, _ in mine)).reshape(len(mine), 1, repeats)
    out_at: list[np.ndarray] = [np.zeros((1, 1), np.int64)] * len(out)
    in_at: list[np.ndarray] = [np.zeros((1, 1), np.int64)] * len(inp)
    to_out = {i: o for o, i in paired}
    for k, (o, i) in enumerate(mine):
        out_at[o] = in_at[i] = coordinates[k]
    for other_axis, i in batch:
        in_at[i] = weights[:, other_axis, None]
        out_at[to_out[i]] = weights[:, other_axis, None]
    for axis, i in zip(other_contracted, contracted, strict=True):
        in_at[i] = weights[:, axis, None]
    for other_axis, o in free:
        out_at[o] = weights[:, other_axis, None]
    rows = _flat(out_at, out, (len(weights), repeats))
    cols = _flat(in_at, inp, (len(weights), repeats))
    return Pattern.from_csr(relation(rows, cols, (size_of(out), size_of(inp))))


def _flat(at: Sequence[np.ndarray], shape: Shape, spread: tuple[int, int]) -> np.ndarray:
    number = np.zeros((1, 1), np.int64)
    for coordinate, extent in zip(at, shape, strict=True):
        number = number * extent + coordinate
    return np.broadcast_to(number, spread).ravel()


def eye(size: int) -> csr_array:
    """The boolean identity."""
    return csr_array(
        (np.ones(size, bool), np.arange(size, dtype=np.int32), np.arange(size + 1, dtype=np.int32)),
        (size, size),
    )


def _kron(a: csr_array, b: csr_array) -> csr_array:
    """Kronecker product of boolean CSR arrays, built straight in CSR (SciPy's goes through COO)."""
    if a.shape == (1, 1) and a.nnz:
        return b
    per_a, per_b = np.diff(a.indptr), np.diff(b.indptr)
    counts = np.outer(per_a, per_b).ravel()
    pointers = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    shape = (a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])
    # For output row (i, k): all pairs of a's entries in row i with b's entries in row k, b fastest.
    row = np.repeat(np.arange(counts.size), counts)
    i, k = np.divmod(row, b.shape[0])
    p, q = np.divmod(np.arange(row.size) - pointers[row], np.maximum(per_b[k], 1))
    indices = a.indices[a.indptr[i] + p] * np.int32(b.shape[1]) + b.indices[b.indptr[k] + q]
    return csr_array((np.ones(row.size, bool), indices.astype(np.int32), pointers), shape=shape)


def connected(pattern: csr_array) -> Pattern:
    """An over-estimate of the pattern of the inverse of a matrix with this square pattern.

    A⁻¹ can be nonzero only between indices of one connected component of A's graph.
    """
    from scipy.sparse.csgraph import connected_components

    count, label = connected_components(pattern, directed=False)
    return Pattern.grouped(label, label, count)


def repeated(steps: csr_array, pattern: Pattern) -> Pattern:
    """The Kronecker product steps ⊗ pattern: `pattern` between step t and step s wherever `steps` has (t, s)."""
    height, width = pattern.core_shape
    core = pattern.matrix()

    def tiled(index: np.ndarray | None, count: int, size: int, times: int) -> np.ndarray:
        base = np.arange(count, dtype=np.int32) if index is None else index
        moved = np.arange(times, dtype=np.int32)[:, None] * np.int32(size) + base
        return np.where(base < 0, np.int32(-1), moved).ravel()

    shape = (steps.shape[0] * pattern.shape[0], steps.shape[1] * pattern.shape[1])
    rows = tiled(pattern.rows, pattern.shape[0], height, steps.shape[0])
    cols = tiled(pattern.cols, pattern.shape[1], width, steps.shape[1])
    return Pattern(shape, rows, _kron(csr_array(steps, dtype=bool), core), cols)
