"""Products with second derivatives that form no matrix: `hvp` and the Gauss-Newton operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._dispatch import for_tensors_too
from .._errors import ArgumentError, ModeError
from .._jacobian import Jacobian, linearize
from .gradient import read, scalar


def _arguments(primals: Any, v: Any = None) -> tuple[Any, ...]:
    return tuple(primals) if isinstance(primals, (tuple, list)) else (primals,)


@for_tensors_too(point=_arguments, tensors=True)
def hvp(f: Callable[..., Any], primals: Any, v: Any) -> Any:
    """H v, the Hessian of a scalar f times a vector, by a JVP of the gradient: about the cost of three evaluations.

    A tuple (or list) of `primals` holds the arguments of f, and then `v` holds a direction for each and the answer is
    such a tuple, as in `jax.jvp`; anything else is the only argument. `v` is laid out as `primals`. All arguments are
    differentiated. Forward over reverse; where an operation lacks a mode, reverse over reverse, reverse over forward,
    or n JVPs of a JVP. For a function of PyTorch tensors two reverse passes, on the tape of `primals`.
    Raises `ArgumentError` where f does not return one real number or `v` does not fit, `ModeError`
    where no order of modes runs.
    """
    many = isinstance(primals, (tuple, list))
    args = _arguments(primals)
    directions = _direction(args, tuple(v) if many and isinstance(v, (tuple, list)) else (v,))
    value = scalar(f)
    argnums = tuple(range(len(args)))
    failed: Exception | None = None
    for way in (_forward_over_reverse, _reverse_over_reverse, _reverse_over_forward, _forward_over_forward):
        try:
            product = way(value, args, directions, argnums)
            return product if many else product[0]
        except (TypeError, ValueError, NotImplementedError) as error:
            if isinstance(error, ArgumentError):
                raise
            if failed is None:
                read(value, args, {}, argnums, False)  # what keeps f from being read is told here, and better
                failed = error
    name = getattr(f, "__name__", "f")
    raise ModeError(f"{name}: no order of AD modes gives its Hessian; forward over reverse fails with: {failed}")


def _forward_over_reverse(f: Any, args: Any, v: Any, argnums: Any) -> Any:
    return jax.jvp(jax.grad(f, argnums), args, v)[1]


def _reverse_over_reverse(f: Any, args: Any, v: Any, argnums: Any) -> Any:
    return jax.grad(lambda *x: _dot(jax.grad(f, argnums)(*x), v), argnums)(*args)


def _reverse_over_forward(f: Any, args: Any, v: Any, argnums: Any) -> Any:
    return jax.grad(lambda *x: jax.jvp(f, x, v)[1], argnums)(*args)


def _forward_over_forward(f: Any, args: Any, v: Any, argnums: Any) -> Any:
    return jax.jacfwd(lambda *x: jax.jvp(f, x, v)[1], argnums)(*args)


def _dot(a: Any, b: Any) -> Any:
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree_util.tree_leaves(a), jax.tree_util.tree_leaves(b), strict=True))


def _direction(args: tuple[Any, ...], v: tuple[Any, ...]) -> tuple[Any, ...]:
    """`v` in the dtypes of `args`; an error that names the leaf which does not fit."""
    expected, came = (str(jax.tree_util.tree_structure(tree)) for tree in (args, v))
    if came != expected:
        raise ArgumentError(f"v: got {came}, expected the layout of primals, {expected}")

    def fitted(path: Any, x: Any, t: Any) -> Any:
        where = f"v{jax.tree_util.keystr(path)}"
        if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
            raise ArgumentError(f"primals{where[1:]}: got {jnp.result_type(x)}, expected real floating-point numbers")
        if jnp.shape(t) != jnp.shape(x):
            raise ArgumentError(f"{where}: got shape {jnp.shape(t)}, expected {jnp.shape(x)}, the shape of primals")
        if jnp.iscomplexobj(t):
            raise ArgumentError(f"{where}: got complex numbers, expected real ones; use the parts one by one")
        return jnp.asarray(t, jnp.result_type(x))

    found: tuple[Any, ...] = jax.tree_util.tree_map_with_path(fitted, args, v)
    return found


class GaussNewton:
    """G = Jᵀ W J as an operator: symmetric, n×n over all differentiated inputs (flattened). Made by `gauss_newton`."""

    def __init__(self, jacobian: Jacobian, weight: Any = None):
        self.jacobian = jacobian
        self.weight = weight
        m = jacobian.shape[0]
        if weight is not None and not callable(weight) and jnp.shape(weight) not in ((m,), (m, m)):
            raise ArgumentError(
                f"weight: got shape {jnp.shape(weight)}, expected ({m},), ({m}, {m}) or a function of a vector of {m}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        n = self.jacobian.shape[1]
        return n, n

    @property
    def T(self) -> GaussNewton:
        """The operator itself: it is symmetric as long as its weight is."""
        return self

    def __matmul__(self, v: Any) -> Any:
        """G v (n,) → (n,), or G V (n, k) → (n, k): one JVP and one VJP per column."""
        return self.jacobian.T @ self._weighted(self.jacobian @ v)

    def _weighted(self, u: Any) -> Any:
        if self.weight is None:
            return u
        if callable(self.weight):
            return self.weight(u) if u.ndim == 1 else jax.vmap(self.weight, 1, 1)(u)
        weight = jnp.asarray(self.weight)
        if weight.ndim == 2:
            return weight @ u
        return weight * u if u.ndim == 1 else weight[:, None] * u

    def dense(self) -> jax.Array:
        """G as an array (n, n), from the planned Jacobian."""
        matrix = self.jacobian.dense()
        return matrix.T @ self._weighted(matrix)


def gauss_newton(
    f: Callable[..., Any], *args: Any, argnums: int | Sequence[int] = 0, weight: Any = None
) -> GaussNewton:
    """G = Jᵀ W J of f at a point, as an operator: ``G @ v`` costs one JVP and one VJP and forms no matrix.

    With residuals f, ½‖f‖² has the Hessian JᵀJ + Σ_k f_k ∇²f_k, and G is its first part (Nocedal, Wright, "Numerical
    Optimization", 10.3); with the Hessian of a loss for `weight` it is the generalised Gauss-Newton matrix (Schraudolph
    2002). `weight` is None (the identity), (m,) for a diagonal, (m, m), or a function u ↦ W u, and should be symmetric.
    Raises `ArgumentError` for a weight that does not fit and, at the product, `ModeError`.
    """
    return GaussNewton(linearize(f, *args, argnums=argnums), weight)
