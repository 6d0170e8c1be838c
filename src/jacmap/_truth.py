"""Plain JAX AD at one point: what the probe of a plan compares with."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .engine.backends.jax import function as backend
from .engine.backends.jax.brief import LIGHT, brief
from .engine.backends.jax.run import Runner, ravel


class Truth:
    """Plain AD at one point. The point is an argument of the compiled code: as a constant XLA would fold it."""

    def __init__(self, call: backend.Call, traced: backend.Traced, moving: Any, others: Any):
        self._leaves = [jnp.asarray(leaf) for leaf in moving], others
        self._runner = functools.partial(backend.runner, call, traced)
        self.graph = traced.graph
        self.forward = traced.graph.forward
        self.reverse = traced.reverse
        self.dtype = ravel(self._leaves[0]).dtype
        self.eps = traced.eps
        compiled = brief if traced.entries_made <= LIGHT else jax.jit
        self._push, self._pull = compiled(self._pushed), compiled(self._pulled)

    # One direction, not a batch of one: JAX may have f's tangents from its cache, and the program is smaller.
    def _pushed(self, leaves: Any, v: Any) -> Any:
        run = self._runner(*leaves)
        return jax.jvp(run.flat, (run.x,), (v,))[1]

    def _pulled(self, leaves: Any, u: Any) -> Any:
        run = self._runner(*leaves)
        y, pullback = jax.vjp(run.flat, run.x)
        return pullback(u.astype(y.dtype))[0]

    def push(self, v: np.ndarray) -> np.ndarray:
        return np.asarray(self._push(self._leaves, jnp.asarray(v, self.dtype)))

    def pull(self, u: np.ndarray) -> np.ndarray:
        return np.asarray(self._pull(self._leaves, jnp.asarray(u)))

    def tangents(self, v: np.ndarray) -> list[tuple[Any, int, np.ndarray]]:
        """(node, value, its tangent) for every active value on the way, along one direction."""
        return self._here.tangents(v)

    @functools.cached_property
    def _here(self) -> Runner:
        """Kept, so that its pass through all values is compiled once for all directions."""
        return self._runner(*self._leaves)
