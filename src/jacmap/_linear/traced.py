"""The same questions inside `jit`, `grad` and `vmap`, where J's numbers are not known yet: in JAX.

Nothing can be raised there for what the numbers show: a singular J gives infinities or NaN, as in `jnp.linalg`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from .factors import SparseLU
from .form import Form, Group
from .matrix import Matrix


def dense(form: Form, data: Any) -> Any:
    """J as an array (m, n)."""
    if form.full:
        return data
    m, n = form.shape
    flat = jnp.zeros(m * n, data.dtype)
    return flat.at[_flat(form)].set(data, unique_indices=True).reshape(m, n)


def _flat(form: Form) -> np.ndarray:
    return form.rows.astype(np.int64) * form.shape[1] + form.columns


def blocks(group: Group, data: Any) -> Any:
    """(count, p, q): the independent blocks of one shape."""
    flat = jnp.zeros(int(np.prod(group.shape)), data.dtype)
    return flat.at[group.at].set(data[group.entries], unique_indices=True).reshape(group.shape)


# --- solve ----------------------------------------------------------------------------------------------------
# Each: (form, data, b (n, k), transposed) -> x (n, k).


def _diagonal(form: Form, data: Any, b: Any, transposed: bool) -> Any:
    read, written = (form.columns, form.rows) if transposed else (form.rows, form.columns)
    return jnp.zeros_like(b).at[written].set(b[read] / data[:, None], unique_indices=True)


def _triangular(form: Form, data: Any, b: Any, transposed: bool) -> Any:
    rows, columns = form.orders
    triangle = dense(form, data)[rows][:, columns]
    read, written = (columns, rows) if transposed else (rows, columns)
    x = solve_triangular(triangle, b[read], lower=form.triangle == "lower", trans=1 if transposed else 0)
    return jnp.zeros_like(b).at[written].set(x, unique_indices=True)


def _tridiagonal(form: Form, data: Any, b: Any, transposed: bool) -> Any:
    _, _, rows, columns = form.band
    n = form.shape[0]
    if transposed:
        rows, columns = columns, rows
    padded = jnp.concatenate([data, jnp.zeros(1, data.dtype)])  # entry -1: a place where none can be

    def diagonal(offset: int) -> Any:
        k = np.arange(n)
        inside = (k + offset >= 0) & (k + offset < n)
        i, j = rows[k[inside]], columns[k[inside] + offset]
        at = np.full(n, -1)
        at[inside] = form.at(j, i) if transposed else form.at(i, j)
        return padded[at]

    x = jax.lax.linalg.tridiagonal_solve(diagonal(-1), diagonal(0), diagonal(1), b[rows])
    return jnp.zeros_like(b).at[columns].set(x, unique_indices=True)


def _blocks(form: Form, data: Any, b: Any, transposed: bool) -> Any:
    x = jnp.zeros_like(b)
    for group in form.groups:
        block = blocks(group, data)
        read, written = (group.columns, group.rows) if transposed else (group.rows, group.columns)
        block = block.swapaxes(1, 2) if transposed else block
        x = x.at[written].set(jnp.linalg.solve(block, b[read]), unique_indices=True)
    return x


def _dense(form: Form, data: Any, b: Any, transposed: bool) -> Any:
    matrix = dense(form, data)
    return jnp.linalg.solve(matrix.T if transposed else matrix, b)


def _on_host(form: Form, data: Any, b: Any, transposed: bool) -> Any:
    """SciPy's sparse LU, called back from compiled code. Derivatives need only more solves with the same J."""
    shape = jax.ShapeDtypeStruct(b.shape, b.dtype)
    rows, columns = (form.columns, form.rows) if transposed else (form.rows, form.columns)

    def product(v: Any) -> Any:
        return jnp.zeros_like(v).at[rows].add(data[:, None] * v[columns])

    def solving(transposed: bool) -> Callable[[Any, Any], Any]:
        def host(data: Any, b: Any) -> np.ndarray:
            data, b = np.asarray(data), np.asarray(b)
            try:
                factor = SparseLU(Matrix(form, data))
                x = factor.solve(b.conj(), adjoint=True).conj() if transposed else factor.solve(b)
            except ArithmeticError:
                x = np.full(b.shape, np.nan)
            return np.asarray(x, b.dtype)

        return lambda _, b: jax.pure_callback(host, shape, data, b, vmap_method="sequential")

    return jax.lax.custom_linear_solve(product, b, solving(transposed), solving(not transposed))


SOLVERS: dict[str, Callable[[Form, Any, Any, bool], Any]] = {
    "division by the diagonal": _diagonal,
    "triangular substitution": _triangular,
    "tridiagonal LU": _tridiagonal,
    "LU of the blocks": _blocks,
    "sparse LU on the host": _on_host,
    "dense LU": _dense,
}


# --- the other questions ----------------------------------------------------------------------------------------


def lstsq(form: Form, data: Any, b: Any, cutoff: float) -> Any:
    """By the pseudo-inverse, whose derivative (Golub and Pereyra 1973) holds where the rank does not change."""
    return jnp.linalg.pinv(dense(form, data), rtol=cutoff) @ b


def svd(form: Form, data: Any, k: int) -> tuple[Any, Any, Any]:
    """The k largest triples."""
    u, s, vh = jnp.linalg.svd(dense(form, data), full_matrices=False)
    return u[:, :k], s[:k], vh[:k]


def norm(form: Form, data: Any, ord: Any) -> Any:
    """The 1-, 2-, inf-, Frobenius or nuclear norm."""
    if ord in (2, "nuc"):
        values = jnp.linalg.svd(dense(form, data), compute_uv=False)
        return values.sum() if ord == "nuc" else values[0]
    if ord == "fro":
        return jnp.sqrt(jnp.sum(jnp.abs(data) ** 2))
    if form.full:
        return jnp.abs(data).sum(0 if ord == 1 else 1).max()
    lines, size = (form.columns, form.shape[1]) if ord == 1 else (form.rows, form.shape[0])
    return jax.ops.segment_sum(jnp.abs(data), lines, num_segments=size).max()


def values(form: Form, data: Any) -> Any:
    """All singular values, descending."""
    return jnp.linalg.svd(dense(form, data), compute_uv=False)


def rank(form: Form, data: Any, share: float) -> Any:
    """How many singular values exceed share·s_max."""
    found = values(form, data)
    return jnp.minimum((found > share * found[0]).sum(), form.bound)
