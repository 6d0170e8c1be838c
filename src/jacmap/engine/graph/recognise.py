"""Naming a sparsity pattern: diagonal, banded, block-diagonal, triangular, arrow, low rank, ...

A pattern usually has several of these forms at once. The one named is the one that admits the fewest entries:
that is the most specific statement, and the one a plan can gain most from. A form that needs a permutation
must admit half as many as one that does not. Each form is checked on the entries before it is named.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from .entries import Entries, canonical
from .structure import Blocks, Structure

# A form must rule out at least a fifth of the entries to say anything: 7 of 9 is the 3×3 tridiagonal matrix.
_WORTH = 0.8
_PERMUTATION_PENALTY = 2
# Beyond this a bandwidth reduction takes more than a few seconds.
_REORDER_LIMIT = 5_000_000  # nonzeros
_FEW_DIAGONALS = 9


def recognise(pattern: Any, *, rank_bound: int | None = None) -> Structure:
    """Name the structure of a sparsity pattern.

    `pattern` is a SciPy sparse matrix or array of shape (m, n), outputs × inputs; its stored nonzeros are the
    entries that may be nonzero. `rank_bound` is a bound on the rank known from elsewhere, such as the size of
    a narrow cut of the graph. Raises TypeError if `pattern` is not sparse, ValueError if it is not
    two-dimensional or `rank_bound` is negative.
    """
    if rank_bound is not None and operator.index(rank_bound) < 0:
        raise ValueError(f"rank_bound: got {rank_bound}, expected a count >= 0 or None; leave it out if unknown")
    entries = Entries(canonical(pattern))
    form = _trivial_form(entries) or _best_form(entries)
    return _with_rank(form, entries, rank_bound)


def _trivial_form(entries: Entries) -> Structure | None:
    m, n, nnz = entries.m, entries.n, entries.nnz
    some = "" if nnz == m * n else f", {nnz} of {m * n} entries"
    if m * n == 0:
        return Structure("empty", f"empty ({m}×{n})", (m, n), 0)
    if nnz == 0:
        return Structure("empty", "empty: no output depends on any input", (m, n), 0)
    if m == 1 and n == 1:
        return Structure("scalar", "scalar (1×1)", (m, n), 1)
    if m == 1:
        return Structure("gradient", f"gradient (one row{some})", (m, n), nnz)
    if n == 1:
        return Structure("column", f"one column{some}", (m, n), nnz)
    if nnz == m * n:
        return Structure("dense", "dense", (m, n), nnz)
    return None


def _best_form(entries: Entries) -> Structure:
    form = _best_plain_form(entries, (_blocks, _few_diagonals, _band, _triangular, _block_triangular, _arrow))
    if form is None or _weight(form) > _PERMUTATION_PENALTY * entries.nnz:
        rivals = [*_permuted_forms(entries), *([form] if form else [])]
        form = min(rivals, key=lambda rival: (_weight(rival), rival.permuted), default=None)
    return form or _sparse_form(entries)


def _best_plain_form(entries: Entries, finders: tuple[Any, ...]) -> Structure | None:
    diagonal = _diagonal(entries)
    if diagonal is not None:
        return diagonal
    forms = [form for find in finders if (form := find(entries)) is not None]
    return min(forms, key=_weight, default=None)


def _weight(form: Structure) -> int:
    """What forms compete on. Independent blocks are worth a permutation: they can be handled one by one."""
    return form.admits * (_PERMUTATION_PENALTY if form.permuted and form.kind != "block-diagonal" else 1)


def _sparse_form(entries: Entries) -> Structure:
    size = entries.m * entries.n
    share = entries.nnz / size
    text = f"{'nearly dense' if share > 0.5 else 'sparse'}: {_percent(share)} of the entries"
    if share > 0.99:
        text = f"nearly dense: all but {size - entries.nnz} of {size} entries"
    return Structure("dense" if share > 0.5 else "sparse", text, entries.csr.shape, entries.nnz)


# --- forms of the matrix as it stands -----------------------------------------------------------------------


def _diagonal(entries: Entries) -> Structure | None:
    if entries.nnz == 0 or entries.bandwidths != (0, 0):
        return None
    m, n = entries.m, entries.n
    text = "diagonal" if m == n else f"diagonal ({m}×{n})"
    return Structure("diagonal", text, (m, n), min(m, n), bandwidths=(0, 0))


def _few_diagonals(entries: Entries, *, least: int = 1) -> Structure | None:
    """A few diagonals far apart, as a stencil on a grid has; those next to each other are a band."""
    lower, upper = entries.bandwidths
    offsets = entries.offsets
    if not least <= len(offsets) <= _FEW_DIAGONALS or 2 * len(offsets) > lower + upper + 1:
        return None
    admits = _diagonals_area(entries.m, entries.n, offsets)
    if 2 * entries.nnz < admits or admits > _WORTH * entries.m * entries.n:
        return None
    many = "one diagonal" if len(offsets) == 1 else f"{len(offsets)} diagonals"
    text = f"{many} at column - row = {', '.join(map(str, offsets))}"
    return Structure("diagonals", text, entries.csr.shape, admits, bandwidths=(lower, upper))


def _band(entries: Entries) -> Structure | None:
    lower, upper = entries.bandwidths
    if not _is_band(lower, upper, entries):
        return None
    admits = _diagonals_area(entries.m, entries.n, np.arange(-lower, upper + 1))
    text = f"banded (lower {lower}, upper {upper})"
    return Structure("banded", text, entries.csr.shape, admits, bandwidths=(lower, upper))


def _is_band(lower: int, upper: int, entries: Entries) -> bool:
    """A narrow band, or one of up to half the width that is not itself mostly empty."""
    m, n, width = entries.m, entries.n, lower + upper + 1
    if (lower and lower >= m - 1) or (upper and upper >= n - 1) or width > max(3, min(m, n) // 2):
        return False
    admits = _diagonals_area(m, n, np.arange(-lower, upper + 1))
    filled = width <= max(3, min(m, n) // 20) or entries.nnz >= 0.1 * admits
    return filled and admits <= _WORTH * m * n


def _triangular(entries: Entries) -> Structure | None:
    m, n = entries.m, entries.n
    first, last = int(entries.offsets[0]), int(entries.offsets[-1])
    if last <= 0:
        side, allowed, strict = "lower", np.arange(1 - m, 1 if last == 0 else 0), last < 0
    elif first >= 0:
        side, allowed, strict = "upper", np.arange(0 if first == 0 else 1, n), first > 0
    else:
        return None
    admits = _diagonals_area(m, n, allowed)
    if admits > _WORTH * m * n:
        return None
    return Structure(f"{side}-triangular", f"{'strictly ' * strict}{side} triangular", (m, n), admits)


def _block_triangular(entries: Entries) -> Structure | None:
    """Contiguous diagonal blocks with entries on one side of them only.

    The finest square ones of a square matrix; of any shape the finest p×q ones, all equal, as a causal model
    has.
    """
    m, n = entries.m, entries.n
    filled = entries.row_counts > 0
    ends = np.full(m, -1)
    ends[filled] = entries.columns[entries.csr.indptr[1:][filled] - 1]
    starts = np.full(m, n)
    starts[filled] = entries.columns[entries.csr.indptr[:-1][filled]]
    reach = np.maximum.accumulate(ends)  # no entry of rows 0..i lies right of reach[i]
    floor = np.minimum.accumulate(starts[::-1])[::-1]  # no entry of rows i.. lies left of floor[i]

    forms = []
    for side in ("lower", "upper"):
        row_cuts, column_cuts = _corner_cuts(reach, floor, m, n, side)
        p, q = np.diff(row_cuts), np.diff(column_cuts)
        if len(p) < 2 or 2 * p.max() > m:
            continue
        admits = int(p @ (column_cuts[1:] if side == "lower" else n - column_cuts[:-1]))
        if admits > _WORTH * m * n:
            continue
        labels = np.repeat(np.arange(len(p)), p), np.repeat(np.arange(len(q)), q)
        blocks = Blocks(*labels, len(p), _uniform(p, q), True)
        text = f"block {side} triangular: {_diagonal_blocks(p, q)}"
        forms.append(Structure(f"block-{side}-triangular", text, (m, n), admits, blocks=blocks))
    return min(forms, key=_weight, default=None)


def _corner_cuts(reach: np.ndarray, floor: np.ndarray, m: int, n: int, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Row and column numbers, 0 and m or n included, at which the off-side corner is zero."""

    def zero_corner(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return reach[row - 1] < column if side == "lower" else floor[row] >= column

    if m == n:
        cuts = np.arange(1, n)
        cuts = np.concatenate([[0], cuts[zero_corner(cuts, cuts)], [n]])
        return cuts, cuts
    counts = np.arange(np.gcd(m, n), 1, -1)
    for count in counts[np.gcd(m, n) % counts == 0]:
        steps = np.arange(1, count)
        if zero_corner(steps * (m // count), steps * (n // count)).all():
            steps = np.arange(count + 1)
            return steps * (m // count), steps * (n // count)
    return np.array([0, m]), np.array([0, n])


# --- blocks, and dense lines beside something simple --------------------------------------------------------


def _blocks(entries: Entries) -> Structure | None:
    """Connected components of the graph whose nodes are rows and columns and whose edges are entries."""
    row_labels, column_labels, count = _components(entries)
    p = np.bincount(row_labels[row_labels >= 0], minlength=count)
    q = np.bincount(column_labels[column_labels >= 0], minlength=count)
    orders = _by_label(row_labels), _by_label(column_labels)
    if count == entries.nnz:
        return Structure("diagonal", "diagonal after permutation", entries.csr.shape, count, *orders, bandwidths=(0, 0))
    if count < 2:
        return None

    uniform = _uniform(p, q)
    contiguous = _is_sorted(row_labels) and _is_sorted(column_labels)
    blocks = Blocks(row_labels, column_labels, count, uniform, contiguous)
    admits = int(p @ q)
    inner = None
    if uniform and min(uniform) > 1 and admits > entries.nnz:
        inner = _common_form(entries, blocks, orders)
        admits = count * inner.admits if inner and inner.kind != "sparse" else admits
    if admits > _WORTH * entries.occupied:
        return None

    notes = [] if contiguous else _interleaved_lines(blocks)
    notes += [f"each {inner.text}"] if inner else []
    empty = (
        _counted(int((row_labels < 0).sum()), "empty row"),
        _counted(int((column_labels < 0).sum()), "empty column"),
    )
    note = f" ({'; '.join(notes)})" if notes else ""
    phrases = [f"{count} blocks of {_block_sizes(p, q)}{note}", *(lines for lines in empty if lines)]
    text = f"block-diagonal{'' if contiguous else ' after permutation'}: {', '.join(phrases)}"
    row_order, column_order = (None, None) if contiguous else orders
    return Structure("block-diagonal", text, entries.csr.shape, admits, row_order, column_order, blocks=blocks)


def _components(entries: Entries) -> tuple[np.ndarray, np.ndarray, int]:
    m, n, csr = entries.m, entries.n, entries.csr
    indptr = np.concatenate([csr.indptr, np.full(n, entries.nnz, csr.indptr.dtype)])
    graph = sparse.csr_array((np.ones(entries.nnz), csr.indices + m, indptr), shape=(m + n, m + n))
    _, labels = csgraph.connected_components(graph, directed=False)
    filled_rows, filled_columns = entries.row_counts > 0, entries.column_counts > 0
    # SciPy numbers components by their first node, hence blocks by their first row, and empty lines too.
    numbers = np.unique(labels[:m][filled_rows])
    renumbered = np.full(m + n, -1)
    renumbered[numbers] = np.arange(len(numbers))
    return (
        np.where(filled_rows, renumbered[labels[:m]], -1),
        np.where(filled_columns, renumbered[labels[m:]], -1),
        len(numbers),
    )


def _common_form(entries: Entries, blocks: Blocks, orders: tuple[np.ndarray, np.ndarray]) -> Structure | None:
    """The form that every one of the equal blocks has, seen on the union of their patterns, if any."""
    assert blocks.uniform is not None
    p, q = blocks.uniform
    within_row, within_column = np.empty(entries.m, dtype=np.int64), np.empty(entries.n, dtype=np.int64)
    within_row[orders[0]] = np.arange(entries.m) % p
    within_column[orders[1]] = np.arange(entries.n) % q
    place = within_row[entries.rows], within_column[entries.columns]
    union = sparse.coo_array((np.ones(entries.nnz, dtype=bool), place), shape=(p, q)).tocsr()
    common = Entries(canonical(union))
    form = _best_plain_form(common, (_few_diagonals, _band, _triangular, _block_triangular, _arrow))
    if form is None or form.permuted:
        form = _sparse_form(common)
    return None if form.kind == "dense" else form


def _interleaved_lines(blocks: Blocks) -> list[str]:
    """Which of rows and columns go round the blocks in turn, as with a batch axis that comes last."""
    named = (("rows", blocks.row_labels), ("columns", blocks.column_labels))
    turns = [
        name
        for name, labels in named
        if not _is_sorted(labels) and np.array_equal(labels, np.arange(len(labels)) % blocks.count)
    ]
    return [f"{' and '.join(turns)} interleaved"] if turns else []


def _arrow(entries: Entries) -> Structure | None:
    """A few rows and columns at least half full, and a diagonal, band or blocks without them."""
    m, n = entries.m, entries.n
    dense_rows = np.flatnonzero(entries.row_counts >= max(3, n / 2))
    dense_columns = np.flatnonzero(entries.column_counts >= max(3, m / 2))
    dense_rows = dense_rows[: len(dense_rows) if len(dense_rows) <= max(1, m // 8) else 0]
    dense_columns = dense_columns[: len(dense_columns) if len(dense_columns) <= max(1, n // 8) else 0]
    if not len(dense_rows) and not len(dense_columns):
        return None

    other_rows = np.setdiff1d(np.arange(m), dense_rows, assume_unique=True)
    other_columns = np.setdiff1d(np.arange(n), dense_columns, assume_unique=True)
    rest, rest_text = _beside(entries, other_rows, other_columns)
    if rest is None:
        return None
    k, l_ = len(dense_rows), len(dense_columns)
    admits = k * n + l_ * m - k * l_ + rest.admits
    if admits > _WORTH * m * n:
        return None
    lines = [line for line in (_counted(k, "dense row"), _counted(l_, "dense column")) if line]
    text = f"arrow{' after permutation' * rest.permuted}: {' and '.join(lines)} beside {rest_text}"
    orders: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    if rest.permuted:
        orders = (
            np.concatenate([other_rows[rest.row_order], dense_rows]),
            np.concatenate([other_columns[rest.column_order], dense_columns]),
        )
    blocks = None
    if rest.blocks is not None:
        row_labels, column_labels = np.full(m, -1), np.full(n, -1)
        row_labels[other_rows] = rest.blocks.row_labels
        column_labels[other_columns] = rest.blocks.column_labels
        blocks = replace(rest.blocks, row_labels=row_labels, column_labels=column_labels)
    return Structure("arrow", text, (m, n), admits, *orders, blocks, rest.bandwidths, dense_rows, dense_columns)


def _beside(entries: Entries, rows: np.ndarray, columns: np.ndarray) -> tuple[Structure | None, str]:
    """The form and the words for what the given rows and columns hold, closed up or left in place."""
    closed = Entries(canonical(entries.csr[rows][:, columns]))
    if closed.nnz == 0:
        return Structure("empty", "", closed.csr.shape, 0), "zeros"
    place = rows[closed.rows], columns[closed.columns]
    in_place = Entries(sparse.coo_array((closed.csr.data, place), shape=entries.csr.shape).tocsr())
    stencil = partial(_few_diagonals, least=2)
    found = (
        _best_plain_form(closed, (_blocks, stencil, _band)),
        _best_plain_form(in_place, (stencil, _band)),
    )
    form = min((form for form in found if form is not None), key=_weight, default=None)
    if form is None:
        return None, ""
    if form.kind == "diagonal":
        return form, "a diagonal"
    return form, form.text.partition(": ")[2] or form.text.replace("banded", "a band")


# --- forms under a permutation ------------------------------------------------------------------------------


def _permuted_forms(entries: Entries) -> Iterator[Structure]:
    """Of a square pattern: block triangular, and banded.

    Both need a row for every column. `owner[j]` is that row: j itself where the diagonal is full or no
    matching of all columns is known, else a maximum matching.
    """
    n = entries.n
    if entries.m != n or entries.nnz > _WORTH * n * n:
        return
    natural = matched = np.arange(n)
    if entries.matching is not None and (entries.matching >= 0).all():
        matched = np.argsort(entries.matching)
    triangular = _permuted_triangular(entries, matched)
    if triangular is not None:
        yield triangular
    if entries.nnz > min(_REORDER_LIMIT, (2 * _narrow(n) + 1) * n):
        return
    for owner in (natural,) if np.array_equal(matched, natural) else (natural, matched):
        band = _permuted_band(entries, owner)
        if band is not None:
            yield band


def _permuted_triangular(entries: Entries, owner: np.ndarray) -> Structure | None:
    """The block triangular form of Duff and Reid (1978): strongly connected components of the rows."""
    n = entries.n
    graph = sparse.csr_array((np.ones(entries.nnz), owner[entries.columns], entries.csr.indptr), shape=(n, n))
    count, labels = csgraph.connected_components(graph, directed=True, connection="strong")
    reads, read = labels[entries.rows], labels[owner[entries.columns]]
    # SciPy numbers a component after all those it reads, but does not promise to: hence the check.
    if not (read <= reads).all():
        return None
    sizes = np.bincount(labels, minlength=count)
    row_order = np.argsort(labels, kind="stable")
    orders = row_order, np.argsort(owner)[row_order]
    if count == n:
        strict = bool((read < reads).all())
        admits = n * (n - 1) // 2 if strict else n * (n + 1) // 2
        text = f"{'strictly ' * strict}lower triangular after permutation"
        form = Structure("lower-triangular", text, (n, n), admits, *orders)
    else:
        blocks = Blocks(labels, labels[owner], count, _uniform(sizes, sizes), False)
        admits = int(sizes @ np.cumsum(sizes))
        text = f"block lower triangular after permutation: {_diagonal_blocks(sizes, sizes)}"
        form = Structure("block-lower-triangular", text, (n, n), admits, *orders, blocks=blocks)
    useful = count == n or 2 * sizes.max() <= n
    return form if useful and admits <= _WORTH * n * n else None


def _narrow(n: int) -> int:
    """The largest bandwidth for which an n×n matrix is worth calling banded after a permutation."""
    return max(10, n // 20)


def _permuted_band(entries: Entries, owner: np.ndarray) -> Structure | None:
    """A narrow band found by the reverse ordering of Cuthill and McKee (1969)."""
    n = entries.n
    facing = sparse.csr_array((entries.csr.data, owner[entries.columns], entries.csr.indptr), shape=(n, n))
    row_order = csgraph.reverse_cuthill_mckee((facing + facing.T).tocsr(), symmetric_mode=True)
    position = np.argsort(row_order)
    offsets = position[owner[entries.columns]] - position[entries.rows]
    lower, upper = max(0, -int(offsets.min())), max(0, int(offsets.max()))
    if max(lower, upper) > _narrow(n) or not _is_band(lower, upper, entries):
        return None
    admits = _diagonals_area(n, n, np.arange(-lower, upper + 1))
    text = f"banded after permutation (lower {lower}, upper {upper})"
    orders = row_order, np.argsort(owner)[row_order]
    return Structure("banded", text, (n, n), admits, *orders, bandwidths=(lower, upper))


# --- rank ---------------------------------------------------------------------------------------------------


def _with_rank(form: Structure, entries: Entries, rank_bound: int | None) -> Structure:
    """Add what is known of the rank: the structural rank, or a bound from elsewhere where that is lower."""
    full = min(entries.m, entries.n)
    rank = _rank_of_form(form, entries)
    form = replace(form, structural_rank=rank)
    bound = full if rank is None else rank
    if rank_bound is not None and rank_bound < bound:
        if form.kind not in ("dense", "sparse"):
            return replace(form, text=f"{form.text}; rank at most {rank_bound} of {full} through a narrow cut")
        text = f"low rank: at most {rank_bound} of {full} through a narrow cut"
        if form.admits < entries.m * entries.n:
            text += f"; {_percent(entries.nnz / (entries.m * entries.n))} of the entries"
        return replace(form, kind="low-rank", text=text)
    if form.kind != "empty" and bound < full:
        return replace(form, text=f"{form.text}; structural rank {bound} of {full}")
    return form


def _rank_of_form(form: Structure, entries: Entries) -> int | None:
    if entries.nnz == entries.m * entries.n:
        return min(entries.m, entries.n)
    if form.kind == "diagonal":
        return entries.nnz
    if form.kind == "block-diagonal" and form.admits == entries.nnz:
        assert form.blocks is not None
        p, q = (np.bincount(labels[labels >= 0]) for labels in (form.blocks.row_labels, form.blocks.column_labels))
        return int(np.minimum(p, q).sum())
    return entries.structural_rank


# --- small parts --------------------------------------------------------------------------------------------


def _diagonals_area(m: int, n: int, offsets: np.ndarray) -> int:
    """The number of places on the given diagonals (column - row) of an m×n matrix."""
    return int(np.clip(np.minimum(m, n - offsets) - np.maximum(0, -offsets), 0, None).sum())


def _by_label(labels: np.ndarray) -> np.ndarray:
    """Line numbers sorted by block, empty lines last."""
    return np.argsort(np.where(labels < 0, len(labels), labels), kind="stable")


def _is_sorted(labels: np.ndarray) -> bool:
    labels = labels[labels >= 0]
    return bool((labels[1:] >= labels[:-1]).all())


def _uniform(p: np.ndarray, q: np.ndarray) -> tuple[int, int] | None:
    return (int(p[0]), int(q[0])) if (p == p[0]).all() and (q == q[0]).all() else None


def _block_sizes(p: np.ndarray, q: np.ndarray) -> str:
    small, large = np.argmin(p * q), np.argmax(p * q)
    if _uniform(p, q):
        return f"{p[0]}×{q[0]}"
    return f"sizes {p[small]}×{q[small]} to {p[large]}×{q[large]}"


def _diagonal_blocks(p: np.ndarray, q: np.ndarray) -> str:
    if _uniform(p, q):
        return f"{len(p)} diagonal blocks of {p[0]}×{q[0]}"
    return f"{len(p)} diagonal blocks, largest {p.max()}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number > 1)}" if number else ""


def _percent(share: float) -> str:
    return f"{np.format_float_positional(100 * share, precision=2, fractional=False, trim='-')} %"
