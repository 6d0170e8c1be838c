"""Natural gradient steps by per-sample Jacobians: the generalised Gauss-Newton matrix, damped by Levenberg's rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from .._errors import ArgumentError
from .attacks import cross_entropy

Array = jax.Array
LOSSES = ("softmax", "squared")
LEAST, MOST = 1e-8, 1e8  # of the damping
GOOD, POOR, FACTOR = 0.75, 0.25, 3.0


class NaturalState(NamedTuple):
    """`damping` for the next step; `loss` of the last batch before its step; `gain`: true over predicted decrease."""

    damping: Any
    loss: Any
    gain: Any


class NaturalGradient(NamedTuple):
    """``state = init(params)``; ``updates, state = update(params, state, x, y)``; next come params + updates."""

    init: Callable[[Any], NaturalState]
    update: Callable[[Any, NaturalState, Any, Any], tuple[Any, NaturalState]]


def natural_gradient(f: Callable[[Any, Any], Any], loss: str = "softmax", *, damping: float = 1.0) -> NaturalGradient:
    """A first-order optimiser of mean losses: δ = −(G + λI)⁻¹ ∇loss, G = mean JᵀHJ over the batch.

    f(params, x): one point → scores (classes,), or (m,) numbers. `loss` "softmax": cross-entropy against class numbers
    y (batch,), H = diag(p) − ppᵀ, so that G is the Fisher matrix (Amari 1998; Martens, JMLR 2020); "squared": ½‖f − y‖²
    against y (batch, m), H = I. With H = LLᵀ and A the rows LᵀJ of all samples, solved in the smaller of the space of
    parameters (AᵀA + λI) and the space of samples × outputs, δ = −Aᵀ(AAᵀ + λI)⁻¹w.

    λ follows Levenberg's rule: ÷3 where the loss falls by more than ¾ of what the quadratic model says, ×3 where by
    less than ¼; a step that raises the loss of its batch is not taken. `update` compiles, and params are any pytree of
    floats. The Jacobians (batch × outputs × parameters) are held. Raises ArgumentError.
    """
    if loss not in LOSSES:
        raise ArgumentError(f"loss: got {loss!r}, expected one of {', '.join(LOSSES)}")
    if not damping > 0:
        raise ArgumentError(f"damping: got {damping!r}, expected a positive number")

    def init(params: Any) -> NaturalState:
        kind = ravel_pytree(params)[0].dtype
        return NaturalState(jnp.asarray(damping, kind), jnp.asarray(jnp.inf, kind), jnp.ones((), kind))

    def update(params: Any, state: NaturalState, x: Any, y: Any) -> tuple[Any, NaturalState]:
        start, unravel = ravel_pytree(params)

        def scores(theta: Array) -> Array:
            return jax.vmap(lambda z: f(unravel(theta), z))(x)

        def value(theta: Array) -> Array:
            return jnp.mean(jax.vmap(_LOSS[loss])(scores(theta), y))

        J = jax.vmap(jax.jacrev(lambda theta, z: f(unravel(theta), z)), (None, 0))(start, x)
        if J.ndim != 3:
            raise ArgumentError(f"f: returned shape {list(J.shape[1:-1])} for one point, expected one vector")
        weighed, w = jax.vmap(_FACTORED[loss])(scores(start), y, J)
        A = weighed.reshape(-1, start.size) / len(J) ** 0.5
        w = w.reshape(-1) / len(J) ** 0.5
        step = -_solved(A, w, state.damping)
        before, after = value(start), value(start + step)
        moved = A @ step
        predicted = -(w @ moved) - moved @ moved / 2
        gain = (before - after) / jnp.where(predicted > 0, predicted, 1)
        factor = jnp.where(gain > GOOD, 1 / FACTOR, jnp.where(gain > POOR, 1.0, FACTOR)).astype(start.dtype)
        taken = jnp.isfinite(after) & (after < before)
        factor = jnp.where(taken, factor, FACTOR)
        lighter = jnp.clip(state.damping * factor, LEAST, MOST)
        return unravel(jnp.where(taken, step, 0)), NaturalState(lighter, before, gain)

    return NaturalGradient(init, update)


def _solved(A: Array, w: Array, damping: Array) -> Array:
    """(AᵀA + λI)⁻¹ Aᵀw, in the smaller space."""
    rows, columns = A.shape
    if rows <= columns:
        kernel = A @ A.T + damping * jnp.eye(rows, dtype=A.dtype)
        return A.T @ jax.scipy.linalg.solve(kernel, w, assume_a="pos")
    return jax.scipy.linalg.solve(A.T @ A + damping * jnp.eye(columns, dtype=A.dtype), A.T @ w, assume_a="pos")


def _of_softmax(scores: Array, label: Array, J: Array) -> tuple[Array, Array]:
    """(LᵀJ, w) with LLᵀ = diag(p) − ppᵀ, L = diag(√p) − p√pᵀ, and Lw = p − e_y, the gradient by the scores."""
    p = jnp.maximum(jax.nn.softmax(scores), jnp.finfo(scores.dtype).tiny ** 0.5)
    root = jnp.sqrt(p)
    hit = jax.nn.one_hot(label, len(p), dtype=p.dtype)
    return root[:, None] * (J - p @ J), root - hit / root


def _of_squares(scores: Array, target: Array, J: Array) -> tuple[Array, Array]:
    return J, scores - target


_FACTORED = {"softmax": _of_softmax, "squared": _of_squares}
_LOSS: dict[str, Callable[[Array, Array], Array]] = {
    "softmax": cross_entropy,
    "squared": lambda scores, target: jnp.sum((scores - target) ** 2) / 2,
}
