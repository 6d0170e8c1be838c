"""Factorisations, solves and Fourier transforms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy import linalg as scipy

from .row import Given, Row


def _info(x: Any) -> Any:
    """What LAPACK says beside: 0, all is well."""
    return jnp.zeros(x.shape[:-2], jnp.int32)


def _lower(x: Any, upper: bool) -> Any:
    return jnp.conj(jnp.swapaxes(x, -1, -2)) if upper else x


def _cholesky(x: Any, upper: bool) -> Any:
    return _lower(jnp.linalg.cholesky(x), upper)


def _with_factor(factor: Any, b: Any, upper: bool) -> Any:
    """A⁻¹ b for A = L Lᴴ (or Uᴴ U)."""
    lower = _lower(factor, upper)
    half = lax.linalg.triangular_solve(lower, b, left_side=True, lower=True)
    return lax.linalg.triangular_solve(
        lower, half, left_side=True, lower=True, transpose_a=True, conjugate_a=jnp.iscomplexobj(lower)
    )


def _cholesky_solve(p: Given) -> Any:
    factor, b = _batched(p.input2, p.self)
    return _with_factor(factor, b, p.upper)


def _batched(a: Any, b: Any) -> tuple[Any, Any]:
    """Both matrices with the batches of either."""
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return jnp.broadcast_to(a, (*batch, *a.shape[-2:])), jnp.broadcast_to(b, (*batch, *b.shape[-2:]))


def _triangular(p: Given) -> Any:
    a, b = _batched(p.self, p.B)
    return lax.linalg.triangular_solve(a, b, left_side=p.left, lower=not p.upper, unit_diagonal=p.unitriangular)


def _old_triangular(p: Given) -> Any:
    a, b = _batched(p.A, p.self)
    found = lax.linalg.triangular_solve(
        a, b, left_side=True, lower=not p.upper, transpose_a=p.transpose, unit_diagonal=p.unitriangular
    )
    return found, a


def _factored(x: Any) -> tuple[Any, Any, Any]:
    """(LU, pivots from 1 on, permutation)."""
    lu, pivots, order = lax.linalg.lu(x)
    return lu, pivots + 1, order


def _solve(p: Given) -> Any:
    a, b = p.A, p.B
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    column = b[..., None] if vector else b
    if p.left or vector:
        found = jnp.linalg.solve(*_batched(a, column))
    else:
        found = jnp.swapaxes(jnp.linalg.solve(*_batched(jnp.swapaxes(a, -1, -2), jnp.swapaxes(b, -1, -2))), -1, -2)
    lu, pivots, _ = _factored(lax.stop_gradient(a))
    return (found[..., 0] if vector else found), lu, pivots, _info(a)


def _determinant(p: Given) -> Any:
    lu, pivots, _ = _factored(lax.stop_gradient(p.A))
    return jnp.linalg.det(p.A), lu, pivots


def _log_determinant(p: Given) -> Any:
    lu, pivots, _ = _factored(lax.stop_gradient(p.A))
    sign, log = jnp.linalg.slogdet(p.A)
    return sign, log, lu, pivots


def _factors(lu: Any, order: Any) -> tuple[Any, Any, Any]:
    """P, L, U from a factorisation and its permutation."""
    m, n = lu.shape[-2:]
    k = min(m, n)
    lower = jnp.tril(lu[..., :k], -1) + jnp.eye(m, k, dtype=lu.dtype)
    moved = jnp.swapaxes(jnp.asarray(order[..., None] == jnp.arange(m), lu.dtype), -1, -2)
    return moved, lower, jnp.triu(lu[..., :k, :])


def _lu(p: Given) -> Any:
    lu, _, order = _factored(p.A)
    return _factors(lu, order)


def _order(pivots: Any, size: int) -> Any:
    return lax.linalg.lu_pivots_to_permutation(jnp.asarray(pivots, jnp.int32) - 1, size)


def _lu_unpack(p: Given) -> Any:
    return _factors(p.LU_data, _order(p.LU_pivots, p.LU_data.shape[-2]))


def _lu_solve(p: Given) -> Any:
    lu, pivots, b = p.LU, p.pivots, p.B
    if not p.left or p.adjoint:
        raise NotImplementedError("left=False, adjoint=True")
    b = (
        jnp.take_along_axis(b, _order(pivots, lu.shape[-1])[..., None], -2)
        if lu.ndim > 2
        else b[_order(pivots, len(lu))]
    )
    half = lax.linalg.triangular_solve(lu, b, left_side=True, lower=True, unit_diagonal=True)
    return lax.linalg.triangular_solve(lu, half, left_side=True, lower=False)


def _eigh(p: Given) -> Any:
    """Read from one triangle, with the derivative that belongs to the symmetric matrix."""
    x = p.A
    symmetric = (x + _lower(x, True)) / 2
    read = symmetric + lax.stop_gradient(_from_triangle(x, p.UPLO.upper() == "L") - symmetric)
    if not p.compute_v:
        return jnp.linalg.eigvalsh(read), jnp.zeros(0, x.dtype)
    return tuple(jnp.linalg.eigh(read))


def _from_triangle(x: Any, lower: bool) -> Any:
    half = jnp.tril(x, -1) if lower else jnp.triu(x, 1)
    return half + _lower(half, True) + jnp.eye(x.shape[-1], dtype=x.dtype) * x


def _svd(p: Given) -> Any:
    if not p.compute_uv:
        empty = jnp.zeros(0, p.A.dtype)
        return empty, jnp.linalg.svd(p.A, compute_uv=False), empty
    return tuple(jnp.linalg.svd(p.A, full_matrices=p.full_matrices))


def _pseudoinverse(p: Given) -> Any:
    if p.get("atol") is not None or isinstance(p.get("rtol"), jax.core.Tracer):
        raise NotImplementedError("an absolute tolerance, or one that depends on the input")
    rtol = max(p.self.shape[-2:]) * jnp.finfo(p.self.dtype).eps if p.get("rtol") is None else p.rtol
    return jnp.linalg.pinv(p.self, rtol=rtol, hermitian=p.hermitian)


def _householder(p: Given) -> Any:
    """The first columns of Π (I − τ_k v_k v_kᵀ), v_k below the diagonal of `input`."""
    x = p.input
    m, n = x.shape[-2:]
    product = jnp.broadcast_to(jnp.eye(m, n, dtype=x.dtype), x.shape)
    for k in reversed(range(p.tau.shape[-1])):
        v = jnp.where(jnp.arange(m) < k, 0.0, jnp.where(jnp.arange(m) == k, 1.0, x[..., :, k]))
        onto = jnp.einsum("...i,...ij->...j", jnp.conj(v), product)
        product = product - p.tau[..., k, None, None] * v[..., :, None] * onto[..., None, :]
    return product


# PyTorch's numbers for no factor, 1/√n and 1/n, as NumPy calls them.
_FORWARD = ("backward", "ortho", "forward")
_INVERSE = ("forward", "ortho", "backward")


def _real_fft(p: Given) -> Any:
    transform = jnp.fft.rfftn if p.onesided else jnp.fft.fftn
    return transform(p.self, axes=tuple(p.dim), norm=_FORWARD[p.normalization])


def _complex_fft(p: Given) -> Any:
    if p.forward:
        return jnp.fft.fftn(p.self, axes=tuple(p.dim), norm=_FORWARD[p.normalization])
    return jnp.fft.ifftn(p.self, axes=tuple(p.dim), norm=_INVERSE[p.normalization])


def _fft_to_real(p: Given) -> Any:
    sizes = (*(p.self.shape[d] for d in p.dim[:-1]), p.last_dim_size)
    return jnp.fft.irfftn(p.self, s=sizes, axes=tuple(p.dim), norm=_INVERSE[p.normalization])


TABLE: dict[str, Row] = {
    "linalg_cholesky_ex": lambda p: (_cholesky(p.self, p.upper), _info(p.self)),
    "cholesky": lambda p: _cholesky(p.self, p.upper),
    "cholesky_inverse": lambda p: _with_factor(
        p.self, jnp.broadcast_to(jnp.eye(p.self.shape[-1], dtype=p.self.dtype), p.self.shape), p.upper
    ),
    "cholesky_solve": _cholesky_solve,
    "linalg_inv_ex": lambda p: (jnp.linalg.inv(p.A), _info(p.A)),
    "linalg_pinv": _pseudoinverse,
    "linalg_qr": lambda p: tuple(jnp.linalg.qr(p.A, mode=p.mode)),
    "_linalg_eigh": _eigh,
    "linalg_eig": lambda p: (
        jnp.linalg.eigvals(p.self),
        lax.linalg.eig(p.self, compute_left_eigenvectors=False, enable_eigvec_derivs=True)[1],
    ),
    "_linalg_svd": _svd,
    "_linalg_det": _determinant,
    "_linalg_slogdet": _log_determinant,
    "linalg_lu_factor_ex": lambda p: (*_factored(p.A)[:2], _info(p.A)),
    "linalg_lu": _lu,
    "lu_unpack": _lu_unpack,
    "linalg_lu_solve": _lu_solve,
    "linalg_matrix_exp": lambda p: jax.vmap(scipy.expm)(p.self.reshape(-1, *p.self.shape[-2:])).reshape(p.self.shape),
    "linalg_householder_product": _householder,
    "linalg_solve_triangular": _triangular,
    "triangular_solve": _old_triangular,
    "_linalg_solve_ex": _solve,
    "_fft_r2c": _real_fft,
    "_fft_c2r": _fft_to_real,
    "_fft_c2c": _complex_fft,
}
