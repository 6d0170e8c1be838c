"""A Jacobian written by hand against jacmap's: which entries are wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from scipy import sparse

from ..._arguments import positions
from ..._errors import ArgumentError
from ..._jacobian import linearize
from ..._labels import Labels
from . import hints
from .report import Check, Wrong


def check(
    f: Callable[..., Any],
    jac: Callable[..., Any] | Any,
    *args: Any,
    argnums: int | Sequence[int] = 0,
    rtol: float | None = None,
    atol: float = 0.0,
) -> Check:
    """Compare a hand-written Jacobian of f at a point with jacmap's, and point at the wrong entries.

    `jac` is a function of the same arguments, or its value: an array (m, n), a SciPy or JAX sparse matrix, or blocks
    laid out as `jax.jacobian` does. f may be a function of JAX or a black box of NumPy: an entry agrees when it differs
    by no more than ``atol + rtol·(the largest entry of its row)``, plus the estimated error of ours where ours is by
    differences. `rtol` None allows for rounding in f's precision. Raises `ArgumentError` where `jac` is no matrix.
    """
    J = linearize(f, *args, argnums=argnums)
    ours = np.asarray(J.dense())
    error = getattr(J, "error", None)
    given = jac(*args) if callable(jac) else jac
    theirs = _matrix(given, J, argnums)
    name = getattr(jac, "__name__", "jac") if callable(jac) else "jac"
    share = _rounding(ours, theirs) if rtol is None else rtol
    allowed = atol + share * np.abs(ours).max(axis=1, initial=0.0, keepdims=True) + np.zeros(ours.shape)
    if error is not None:
        allowed = allowed + np.where(np.isfinite(error), error, np.inf)
    if theirs.shape != ours.shape:
        seen = hints.of_shape(ours, theirs, allowed)
        return Check(name, ours, theirs, allowed, None, (), seen, error is not None)
    same = (np.abs(theirs - ours) <= allowed) | (np.isnan(theirs) & np.isnan(ours)) | (theirs == ours)
    mask = ~same
    wrong = _worst(J, mask, ours, theirs, allowed, args, argnums)
    seen = hints.of_entries(ours, theirs, allowed, mask) if mask.any() else ()
    return Check(name, ours, theirs, allowed, mask, wrong, seen, error is not None)


def _rounding(ours: np.ndarray, theirs: np.ndarray) -> float:
    """What rounding may do to sums in the coarser of two precisions: three quarters of the digits must agree."""
    kinds = [array.dtype for array in (ours, theirs) if array.dtype.kind in "fc"]
    return max((float(np.finfo(kind).eps) for kind in kinds), default=2.0**-52) ** 0.75


def _matrix(given: Any, J: Any, argnums: int | Sequence[int]) -> np.ndarray:
    """What was given, as a matrix; blocks of pytrees are put together."""
    if sparse.issparse(given) or hasattr(given, "todense"):
        return np.asarray(given.todense())
    m, n = J.shape
    alone = len(jax.tree_util.tree_leaves(J.value)) == 1 and isinstance(argnums, int)
    try:
        if alone and isinstance(given, (list, tuple)):  # rows written one by one, as [[2*x, 0], [0, 1]]
            given = np.asarray(given, float)
        leaves = jax.tree_util.tree_leaves(given)
        arrays = [array if array.dtype.kind in "fc" else array.astype(float) for array in map(np.asarray, leaves)]
        if len(arrays) == 1:
            (array,) = arrays
            outputs = [np.shape(leaf) for leaf in jax.tree_util.tree_leaves(J.value)]
            if array.shape[: len(outputs[0])] == outputs[0] and array.size == m * n:
                return array.reshape(m, n)
            return array if array.ndim == 2 else np.atleast_2d(array)
        return _blocks(arrays, J, argnums)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"jac: got {type(given).__name__}, expected an array of shape ({m}, {n}) or the blocks that jax.jacobian "
            f"returns ({error})"
        ) from error


def _blocks(arrays: list[np.ndarray], J: Any, argnums: int | Sequence[int]) -> np.ndarray:
    outputs = jax.tree_util.tree_leaves(J.value)
    moving = [J.args[k] for k in positions(argnums)[0]]
    inputs = jax.tree_util.tree_leaves(moving)
    if len(arrays) != len(outputs) * len(inputs):
        raise ValueError(f"{len(arrays)} blocks for {len(outputs)} outputs and {len(inputs)} inputs")
    rows = [
        [
            arrays[i * len(inputs) + j].reshape(np.size(outputs[i]), np.size(inputs[j]))
            for j in range(len(inputs))
        ]
        for i in range(len(outputs))
    ]
    return np.block(rows)


def _worst(
    J: Any, mask: np.ndarray, ours: np.ndarray, theirs: np.ndarray, allowed: np.ndarray, args: Any, argnums: Any
) -> tuple[Wrong, ...]:
    moving = positions(argnums)[0]
    names = ["x"] if len(moving) == 1 else [f"x{k}" for k in moving]
    inputs, outputs = Labels.of(names, [args[k] for k in moving]), Labels.of(["y"], [J.value])
    rows, columns = np.nonzero(mask)
    apart = np.abs(theirs - ours)[rows, columns]
    largest = np.abs(ours).max(axis=1, initial=0.0)[rows]
    order = np.argsort(-np.where(np.isnan(apart), np.inf, apart / np.where(largest > 0, largest, 1.0)), kind="stable")
    return tuple(
        Wrong(outputs[i], inputs[j], ours[i, j].item(), theirs[i, j].item(), allowed[i, j].item())
        for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    )
