"""How far J can stretch a small change at a point, and which change it stretches most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from .._flat import Flat
from .._jacobian import linearize
from ._function import checked_norm, dual, steepest
from ._orders import is_exact, matrix_norm, norm_of_vector

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Norm:
    """A norm known from both sides: found ≤ norm ≤ bound. Where `exact`, the two are the same number.

    `bound`: never below the true norm, but for rounding. `found`: attained by some vector.
    """

    bound: Any
    found: Any
    exact: bool

    @property
    def kind(self) -> str:
        """"exact", or "bound" where only the two sides are known."""
        return "exact" if self.exact else "bound"

    def __float__(self) -> float:
        return float(self.bound)


@for_tensors_too()
def operator_norm(f: Callable[[Any], Any], x: Any, norm: Any = 2, out: Any = None) -> Norm:
    """‖J‖_{p→q} of f at x: the most that a change of length 1 in the p-norm moves f(x), in the q-norm.

    f: one array → one array. `norm`: p, of changes of x; `out`: q, of changes of f(x), the same by default; each 1, 2
    or infinity. Exact but for ∞→1, ∞→2 and 2→1, which are NP-hard and exact only where the side over whose signs one
    maximises has at most 12 entries: else a `Norm` whose bound and found differ. Raises ArgumentError.
    """
    p = checked_norm("norm", norm)
    q = p if out is None else checked_norm("out", out)
    flat = Flat.at(f, x)
    J = linearize(f, flat.x)
    if p == q:
        value = J.norm(p)
        return Norm(value, value, True)
    bound, found = matrix_norm(jnp.asarray(J.dense()), p, q)
    return Norm(bound, found, is_exact(J.shape, p, q))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class WorstDirection:
    """`direction` (*shape of x), of length 1 in the norm asked: f moves by `gain` per unit along it, to first order."""

    direction: Any
    gain: Any


@for_tensors_too()
def worst_direction(f: Callable[[Any], Any], x: Any, norm: Any = 2, output: int | None = None) -> WorstDirection:
    """The change of x, of length 1, that moves f(x) most to first order; exact.

    `output` None: most in the same norm (for 2 the first right singular vector; for infinity the signs of the row of
    largest sum, for 1 the input of the largest column). Else the change that raises this output (flattened) most: for
    infinity the signs of its gradient, for 2 the gradient itself, for 1 the one input of the largest slope. Raises
    ArgumentError.
    """
    p = checked_norm("norm", norm)
    flat = Flat.at(f, x)
    if output is not None:
        if not 0 <= output < flat.m:
            raise ArgumentError(f"output: got {output!r}, expected an output from 0 to {flat.m - 1}")
        g = jax.grad(lambda v: flat.vector(v)[output])(flat.point)
        return WorstDirection(steepest(g, p).reshape(flat.x.shape), norm_of_vector(g, dual(p)))
    J = linearize(f, flat.x)
    if p == 2:
        _, s, vh = J.svd(k=1)
        return WorstDirection(jnp.asarray(vh[0]).reshape(flat.x.shape), s[0])
    M = jnp.asarray(J.dense())
    lengths = norm_of_vector(M if p == np.inf else M.T, 1)
    worst = jnp.argmax(lengths)
    unit = steepest(M[worst], p) if p == np.inf else jax.nn.one_hot(worst, flat.n, dtype=M.dtype)
    return WorstDirection(unit.reshape(flat.x.shape), lengths[worst])
