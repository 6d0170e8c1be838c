"""What kind of Jacobian this is: by shape, rank, pattern and numbers, and by what the linear model leaves out."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from ..._jacobian import Jacobian
from .kinds import EVERYWHERE, HERE, NEARBY, Kind, from_pattern, measured, together
from .local import Local
from .sphere import Sphere, rank_of
from .trust import Trust


def recognised(
    local: Local, image: Sphere, trust: Trust | None, matrix: np.ndarray | None, seed: int
) -> tuple[Kind, ...]:
    """All special cases found; of a J without a `matrix`, those that need none."""
    plainly = _plainly(local, image, trust) if trust else ()
    pattern = from_pattern(local.J.pattern)
    if matrix is None:
        return together(plainly, pattern)
    nearby = cache(lambda: local.nearby(seed))
    numbers = measured(matrix, local.eps, _constant(local.J), nearby)
    return together(plainly, _singular(local, image, nearby), pattern, numbers)


def _constant(J: Jacobian) -> bool:
    """Is J the same at every point, as the graph of f shows it? (f itself may have steps.)"""
    return J.plan().chosen.name == "constant"


def _plainly(local: Local, image: Sphere, measure: Trust) -> tuple[Kind, ...]:
    """The kinds that need no rule: by shape, by what the model leaves out, by rank."""
    found = []
    m, n = local.m, local.n
    if m == 1 < n:
        length = float(image.singular_values.max(initial=0.0))
        meaning = "J is the gradient: it points where f grows fastest"
        found.append(Kind("gradient", f"one output; length {length:.4g}", meaning, EVERYWHERE, value=length))
    if measure.order == math.inf and measure.radius == math.inf:
        known = local.J._form.affine
        meaning = "f is its linear model" if known else f"up to distance {measure.looked_at:.3g}, as measured"
        evidence, value = "what J leaves out is rounding", float(measure.remainders.max())
        found.append(Kind("affine", evidence, meaning, EVERYWHERE if known else NEARBY, value=value))
    return tuple(found)


def _singular(local: Local, image: Sphere, nearby: Callable[[], list[np.ndarray]]) -> tuple[Kind, ...]:
    m, n = local.m, local.n
    if m != n or image.rank == n or not image.singular_values[0]:
        return ()
    s = image.singular_values
    evidence = f"smallest singular value below {local.eps * n * s[0]:.0e}, largest {s[0]:.3g}"
    if local.J.rank_bound < n or _constant(local.J):
        scope = EVERYWHERE
    else:
        around = [rank_of(np.linalg.svd(matrix, compute_uv=False), matrix.shape, local.eps) for matrix in nearby()]
        scope = NEARBY if around and max(around) < n else HERE
    here = "volumes collapse: a fold, or worse"
    meaning = here if scope == HERE else "the outputs depend on each other: f reaches a thinner set only"
    return (Kind("singular", evidence, meaning, scope, value=float(s[-1])),)
