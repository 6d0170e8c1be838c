"""Numbers that say how large J is, how many directions it keeps, and how unevenly: norm, rank, condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _lanczos
from .._lanczos import Products
from . import svd
from .form import Form
from .matrix import Matrix
from .plan import LinearPlan
from .small_end import small_end
from .subject import Subject

# Bytes of columns that are held at once where J is too large to be held.
CHUNK = 2.0**26


def norm(subject: Subject, plan: LinearPlan, matrix: Callable[[], Matrix], ord: Any) -> float:
    """The 1-, 2-, inf-, Frobenius or nuclear norm by the plan's way."""
    if plan.chosen == "sums over the entries":
        return matrix().norm(ord)
    if plan.chosen == "sums over a few columns at a time":
        return _by_columns(subject, ord)
    if plan.chosen == "Lanczos on the sparse matrix":
        return _lanczos.norm(matrix().products)
    if plan.chosen == "Lanczos on products":
        return _lanczos.norm(products_of(subject))
    values = svd.values(matrix(), plan.chosen)
    return float(values.sum() if ord == "nuc" else values.max(initial=0.0))


def _by_columns(subject: Subject, ord: Any) -> float:
    """The norms that are sums over entries, from J's columns a few at a time: n JVPs in all."""
    m, n = subject.shape
    width = max(1, int(min(subject.memory or CHUNK, CHUNK) / (8.0 * (m + n))))
    rows, largest, squares = np.zeros(m), 0.0, 0.0
    for start in range(0, n, width):
        unit = np.zeros((n, width), subject.dtype)
        at = np.arange(start, min(n, start + width))
        unit[at, at - start] = 1
        sizes = np.abs(np.asarray(subject.push(subject.leaves, unit), float))
        rows, largest = rows + sizes.sum(1), max(largest, float(sizes.sum(0).max(initial=0.0)))
        squares += float((sizes**2).sum())
    return {"fro": squares**0.5, 1: largest}.get(ord, float(rows.max(initial=0.0)))


def products_of(subject: Subject) -> Products:
    """J v and Jᵀ u of arrays on the host."""
    leaves, dtype = subject.leaves, np.dtype(subject.dtype)
    return Products(
        subject.shape,
        dtype,
        lambda v: np.asarray(subject.push(leaves, np.asarray(v, dtype))),
        lambda u: np.asarray(subject.pull(leaves, np.asarray(u, dtype))),
    )


def rank(name: str, plan: LinearPlan, matrix: Matrix, route: str, eps: float) -> int:
    """How many singular values exceed eps·max(m, n)·s_max, NumPy's tolerance; never more than the form allows."""
    form, (m, n) = matrix.form, matrix.shape
    share = eps * max(m, n)
    if plan.chosen == "Lanczos on J and its inverse":
        if not matrix.largest:
            return 0
        tolerance = share * _lanczos.norm(matrix.products, steps=40)
        return min(form.bound, min(m, n) - small_end(matrix, route, eps).count_below(tolerance))
    values = svd.values(matrix, plan.chosen)
    return min(form.bound, int((values > share * values.max(initial=0.0)).sum()))


def extremes(name: str, plan: LinearPlan, matrix: Matrix, route: str, eps: float) -> tuple[float, float]:
    """(s_max, s_min): the largest and the smallest of the min(m, n) singular values."""
    deficient = structurally_deficient(matrix.form)
    if plan.chosen != "Lanczos on J and its inverse":
        values = svd.values(matrix, plan.chosen)
        if not values.size:
            return 0.0, 0.0
        return float(values[0]), 0.0 if deficient else float(values[-1])
    largest = _lanczos.norm(matrix.products)
    return largest, 0.0 if deficient or not largest else small_end(matrix, route, eps).least(name)


def structurally_deficient(form: Form) -> bool:
    """Is the smallest singular value zero at every point?"""
    return form.bound < min(form.shape)


def ratio(largest: float, smallest: float) -> float:
    """s_max / s_min, infinite where s_min is zero."""
    return largest / smallest if smallest > 0 else np.inf
