"""Many products of small matrices: on a CPU XLA does each by a call of its own, from memory and to memory.

Written out as sums they are fused with the gathers before and the arithmetic behind them: the nine passes of KITTI's J
(`benchmarks/solvers.py`) need 22 MB of scratch instead of 30, and three quarters of the time.
"""

from __future__ import annotations

import math
from typing import Any

import jax

from . import compat

MANY, SMALL = 10_000, 8


def many_small(eqn: Any) -> bool:
    """Does the equation multiply at least `MANY` pairs of matrices of at most `SMALL`² entries?"""
    if eqn.primitive.name != "dot_general":
        return False
    (contracted, _), (batch, _) = eqn.params["dimension_numbers"]
    left, right, out = (v.aval for v in (*eqn.invars, *eqn.outvars))
    count = math.prod(left.shape[d] for d in batch)
    inner = math.prod(left.shape[d] for d in contracted)
    return count >= MANY and max(left.size, right.size, out.size, count * inner) <= count * SMALL**2


def bind(eqn: Any, values: list[Any]) -> list[Any]:
    """`compat.bind`, with products written out where that pays and says the same."""
    if jax.default_backend() == "cpu" and many_small(eqn) and _single_sum(eqn):
        return [_written_out(eqn.params["dimension_numbers"], *values)]
    return compat.bind(eqn, values)


def _single_sum(eqn: Any) -> bool:
    """A sum of few terms, in the operands' own dtype: half precision is summed in single by `dot_general`."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left, right, out = (v.aval for v in (*eqn.invars, *eqn.outvars))
    wide = left.dtype == right.dtype == out.dtype and left.dtype.kind in "fc" and left.dtype.itemsize >= 4
    return wide and len(contracted) == 1 and left.shape[contracted[0]] <= SMALL


def _written_out(dimensions: Any, left: Any, right: Any) -> Any:
    ((over_left,), (over_right,)), (batch_left, batch_right) = dimensions
    own_left = [d for d in range(left.ndim) if d != over_left and d not in batch_left]
    own_right = [d for d in range(right.ndim) if d != over_right and d not in batch_right]
    left = left.transpose((over_left, *batch_left, *own_left))
    right = right.transpose((over_right, *batch_right, *own_right))
    # As `dot_general` has its result: batch, what is left of the left operand, what is left of the right one.
    left = left.reshape(left.shape + (1,) * len(own_right))
    batch, rest = right.shape[: 1 + len(batch_right)], right.shape[1 + len(batch_right) :]
    right = right.reshape(batch + (1,) * len(own_left) + rest)
    total = left[0] * right[0]
    for a, b in zip(left[1:], right[1:], strict=True):
        total += a * b
    return total
