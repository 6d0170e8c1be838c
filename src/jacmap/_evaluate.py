"""Operations of a function that was read, evaluated in another way than it was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp

from .engine.backends.jax import compat

Bind = Callable[[Any, list[Any]], list[Any]]  # (operation, the values it reads) -> the values it makes


def wide_sums(eqn: Any, values: list[Any]) -> list[Any]:
    """Evaluate an operation; matrix products of half-precision arrays add up in single precision and round once."""
    narrow = jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating) and eqn.outvars[0].aval.dtype.itemsize < 4
    if eqn.primitive.name != "dot_general" or not narrow:
        return compat.bind(eqn, values)
    p = eqn.params
    left, right = values
    product = jax.lax.dot_general(
        left, right, p["dimension_numbers"], precision=p["precision"], preferred_element_type=jnp.float32
    )
    return [product.astype(eqn.outvars[0].aval.dtype)]


def chunked_scan(eqn: Any, values: list[Any], chunk: int) -> list[Any]:
    """The same scan, keeping for its VJP only every `chunk`-th carry: the steps between are done again, in a chunk."""
    p = eqn.params
    consts, carry = p["num_consts"], p["num_carry"]
    fixed, start, rows = values[:consts], values[consts : consts + carry], values[consts + carry :]
    body = jax.extend.core.jaxpr_as_fun(p["jaxpr"])

    def step(state: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        out = body(*fixed, *state, *row)
        return list(out[:carry]), list(out[carry:])

    def steps(state: list[Any], block: list[Any], length: int) -> tuple[list[Any], list[Any]]:
        found: tuple[list[Any], list[Any]] = jax.lax.scan(step, state, block, length, reverse=p["reverse"])
        return found

    whole = p["length"] // chunk
    left = p["length"] - whole * chunk
    # In the order of execution the steps that are left over come last: at the front of a reversed scan.
    main, rest = (slice(left, None), slice(0, left)) if p["reverse"] else (slice(0, whole * chunk), slice(-left, None))
    blocks = [row[main].reshape(whole, chunk, *row.shape[1:]) for row in rows]
    # Inside a scan nothing can be merged across the steps: the barrier against that is not needed.
    kept = jax.checkpoint(lambda state, block: steps(state, block, chunk), prevent_cse=False)
    state, found = jax.lax.scan(lambda s, b: kept(s, b), start, blocks, whole, reverse=p["reverse"])
    found = [row.reshape(whole * chunk, *row.shape[2:]) for row in found]
    if left:
        state, more = steps(state, [row[rest] for row in rows], left)
        pairs = [(b, a) if p["reverse"] else (a, b) for a, b in zip(found, more, strict=True)]
        found = [jnp.concatenate(pair) for pair in pairs]
    return [*state, *found]
