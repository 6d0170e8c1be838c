"""What can be refused before any number is computed: a pattern that no invertible matrix has."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from .._errors import ArgumentError, SingularError
from .factors import few
from .form import Form

# What to do about a J that cannot be inverted.
ADVICE = "J.lstsq(b) gives the least-squares solution of least norm"


def refuse_rectangular(name: str, shape: tuple[int, int], what: str) -> None:
    """ArgumentError where J is not square."""
    m, n = shape
    if m != n:
        raise ArgumentError(f"{name}: {what} needs a square Jacobian, got {m}×{n}; {ADVICE}, for any shape")


def refuse_singular(name: str, form: Form) -> None:
    """SingularError where J (square) is singular at every point."""
    why = deficiency(form)
    if why:
        raise SingularError(f"{name}: the Jacobian is singular at every point: {why}; {ADVICE}")


def deficiency(form: Form) -> str:
    """Why no matrix of this form has full rank; empty where one may."""
    full = min(form.shape)
    if form.structural_rank is not None and form.structural_rank < full:
        return _part(form)
    if form.rank_bound < full:
        return f"all that it does passes through {form.rank_bound} numbers, so its rank is at most that, not {full}"
    return ""


def _part(form: Form) -> str:
    """The part of a pattern without a perfect matching that shows why: Hall's condition violated."""
    m, n = form.shape
    empty_rows = np.flatnonzero(np.diff(form.csr.indptr) == 0)
    empty_columns = np.flatnonzero(np.bincount(form.columns, minlength=n) == 0)
    if m <= n and empty_rows.size:
        return f"{_counted('output', empty_rows)} no input"
    if n <= m and empty_columns.size:
        return f"no output reads {_named('input', empty_columns)}"
    if m <= n:
        rows, columns = _overfull(form)
        return f"{_counted('output', rows)} only {_named('input', columns)}"
    columns, rows = _overfull(Form(form.pattern.T, form.rank_bound))
    return f"{_named('input', columns)} are read by only {_named('output', rows)}"


def _overfull(form: Form) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns): the rows have entries in these columns only, of which there are fewer.

    What alternating paths of a maximum matching reach from a row without a partner (König 1931).
    """
    m, n = form.shape
    match = form.matching
    start = int(np.flatnonzero(match < 0)[0])
    matched = np.flatnonzero(match >= 0)
    tails = np.concatenate([form.rows, m + match[matched]])
    heads = np.concatenate([m + form.columns, matched])
    graph = sparse.csr_array((np.ones(tails.size, bool), (tails, heads)), shape=(m + n, m + n))
    reached = csgraph.breadth_first_order(graph, start, directed=True, return_predecessors=False)
    return np.sort(reached[reached < m]), np.sort(reached[reached >= m] - m)


def _named(noun: str, indices: np.ndarray) -> str:
    return f"{noun}{'s' * (indices.size > 1)} {few(indices)}"


def _counted(noun: str, indices: np.ndarray) -> str:
    return f"{_named(noun, indices)} {'read' if indices.size > 1 else 'reads'}"
