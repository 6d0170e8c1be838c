"""The largest slope of a function over a ball: a certified bound, and the largest one that was found."""

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
from ._function import checked_norm, checked_radius
from ._orders import interval_norm, matrix_norm, norm_of_vector
from ._product import product_bound
from .attacks import ascend, random_in_ball
from .intervals import Region, enclose

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Lipschitz:
    """found ≤ largest slope ≤ bound; under `vmap` all have an axis in front.

    `bound`: certified, the smaller of `by_intervals` and `by_product` (infinite where f may jump, or nothing can be
    said). `found`: the norm of J at `at`, the worst point that the attack met: a lower bound, no estimate of the truth.
    """

    bound: Any
    found: Any
    by_intervals: Any
    by_product: Any
    at: Any

    def __str__(self) -> str:
        return (
            f"largest slope: at most {float(self.bound):.4g} (certified; by intervals {float(self.by_intervals):.4g}, "
            f"by products {float(self.by_product):.4g}), at least {float(self.found):.4g} (found)"
        )


@for_tensors_too()
def lipschitz(
    f: Callable[[Any], Any], x: Any, radius: Any, *, norm: Any = 2, out: Any = None, key: jax.Array | None = None,
    steps: int = 20, starts: int = 8, product: bool = True,
) -> Lipschitz:  # fmt: skip
    """The Lipschitz constant of f on the ball of `radius` around x, between a certified bound and a slope found.

    That is the largest ‖f(a) − f(b)‖_q / ‖a − b‖_p, equal to the largest ‖J‖_{p→q} in the ball. `norm`: p, of the ball,
    too; `out`: q, the same by default; each 1, 2 or infinity. Two bounds, the smaller is taken:

    - by intervals: the Jacobian over the whole ball, entry by entry, in interval arithmetic on f's jaxpr, then the
      largest norm of the matrices in between (attained for p = 1 and q = ∞; for 2→2 ‖mid‖₂ + ‖rad‖₂ or ‖|M|‖₂);
    - by products (unless `product=False`): the same for each segment of f's chain over the box that its input lies in.

    All is rounded outward by a margin of eps times the length of the sums, so the bound holds for the real function and
    for what this precision computes of it. Found: points of the ball by ascent of ‖f − f(x)‖ from `starts` starts.

    Cost: as many tangents as x has entries, at every step of f. Runs under `jit` and `vmap`. Raises TraceError where f
    has an operation for which there is no rule, by name; ArgumentError.
    """
    p = checked_norm("norm", norm)
    q = p if out is None else checked_norm("out", out)
    radius, flat = checked_radius("radius", radius), Flat.at(f, x)
    if steps < 1 or starts < 1:
        raise ArgumentError(f"steps, starts: got {steps} and {starts}, expected at least 1 of each")
    region = Region.ball(flat.point, radius, p)
    slopes = enclose(flat.vector, region).slope
    whole = interval_norm(slopes.lo, slopes.hi, p, q)
    chained = product_bound(flat, region, p, q) if product else jnp.full_like(whole, jnp.inf)
    found, at = _steepest_found(flat, radius, p, q, jax.random.key(0) if key is None else key, steps, starts)
    return Lipschitz(jnp.minimum(whole, chained), found, whole, chained, at.reshape(flat.x.shape))


def _steepest_found(flat: Flat, radius: Any, p: Any, q: Any, key: jax.Array, steps: int, starts: int) -> Any:
    """(norm of J, point): the largest one at the centre, random points, and where f moved furthest from f(x)."""
    ball = np.inf if p == np.inf else 2
    inside = radius if p != 1 else radius / np.sqrt(flat.n)  # within the 1-ball
    centre, origin = flat.point, flat.vector(flat.point)

    def height(v: Array) -> Array:
        return norm_of_vector(flat.vector(v) - origin, q)

    drawn = random_in_ball(key, centre, inside, ball, starts)
    walked = jax.vmap(lambda v: ascend(height, centre, v, inside, inside / 4, steps, ball, None, height))(drawn)
    points = jnp.concatenate([centre[None], drawn, walked])
    norms = jax.vmap(lambda v: matrix_norm(flat.jacobian(v), p, q)[1])(points)
    worst = jnp.argmax(norms)
    return norms[worst], points[worst]
