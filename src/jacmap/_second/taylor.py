"""Taylor models of the first and second order, and what they leave out, measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from .products import _direction

HALVINGS = 8
# What rounding leaves of the sum of the model's terms, in units of eps times their size.
NOISE = 16.0


@dataclass(frozen=True)
class Remainder:
    """How far a model is off: `errors[k]` = ‖f(x + h dx) − model(h dx)‖ at h = `steps[k]` = 1, ½, ¼, …

    `order`: the observed order, the slope of log error over log step where errors stand clear of the `noise` of
    rounding; a model of order p has p + 1 where the next term does not vanish. Infinite where all errors are rounding
    (the model is exact), NaN where too few are clear of it.
    """

    steps: np.ndarray
    errors: np.ndarray
    order: float
    noise: float

    @property
    def error(self) -> float:
        """‖f(x + dx) − model(dx)‖ at the full step."""
        return float(self.errors[0])

    def __str__(self) -> str:
        rows = [f"  {step:<10.4g} {error:.3e}" for step, error in zip(self.steps, self.errors, strict=True)]
        return "\n".join([f"remainder {self.error:.3e}, observed order {self.order:.2f}", "  step       error", *rows])


class Taylor:
    """The model dx ↦ f(x) + J dx (+ ½ d²f[dx, dx]) of f around x. Made by `taylor`."""

    def __init__(self, f: Callable[..., Any], x: Any, order: int):
        self.f, self.x, self.order = f, x, order

    @cached_property
    def value(self) -> Any:
        """f(x)."""
        return self.f(self.x)

    @cached_property
    def _terms(self) -> Callable[[Any, Any], list[Any]]:
        def first(x: Any, dx: Any) -> Any:
            return _push(self.f, x, dx)

        def both(x: Any, dx: Any) -> list[Any]:
            if self.order == 1:
                return [first(x, dx)]
            return [first(x, dx), _push(lambda at: first(at, dx), x, dx)]

        return both

    def __call__(self, dx: Any) -> Any:
        """The model at x + dx, laid out as f(x). `dx` is laid out as x."""
        (dx,) = _direction((self.x,), (dx,))
        total = self.value
        for weight, term in zip((1.0, 0.5), self._terms(self.x, dx), strict=False):
            total = jax.tree_util.tree_map(lambda a, b, w=weight: a + w * b, total, term)
        return total

    def remainder(self, dx: Any, halvings: int = HALVINGS) -> Remainder:
        """What the model leaves out at x + dx, and its observed order over so many halvings of dx.

        2-norms over all outputs. Raises `ArgumentError` where dx is not laid out as x.
        """
        (dx,) = _direction((self.x,), (dx,))
        value, *terms = [_vector(part) for part in (self.value, *self._terms(self.x, dx))]
        eps = max(float(jnp.finfo(leaf.dtype).eps) for leaf in _leaves((self.x, self.value)))
        steps = 0.5 ** np.arange(halvings + 1)
        errors = []
        for step in steps:
            moved = jax.tree_util.tree_map(lambda a, d, h=step: a + jnp.asarray(h, d.dtype) * d, self.x, dx)
            model = value + sum(w * step**k * term for k, w, term in zip((1, 2), (1.0, 0.5), terms, strict=False))
            errors.append(float(np.linalg.norm(_vector(self.f(moved)) - model)))
        # x + h dx is itself rounded, which f passes on with its slope.
        size = sum(float(np.linalg.norm(part)) for part in (value, *terms)) + self._slope(dx)
        noise = NOISE * eps * size
        return Remainder(steps, np.asarray(errors), _slope(steps, np.asarray(errors), noise), noise)

    def _slope(self, dx: Any) -> float:
        """‖J x‖ with the sizes of x for a direction: how much a relative rounding of x shows in f."""
        sizes = jax.tree_util.tree_map(lambda a: jnp.abs(jnp.asarray(a)), self.x)
        return float(np.linalg.norm(_vector(_push(self.f, self.x, sizes))))

    def __repr__(self) -> str:
        return f"Taylor({getattr(self.f, '__name__', 'f')}, order={self.order})"


@for_tensors_too(point=lambda x, order=1: (x,))
def taylor(f: Callable[..., Any], x: Any, order: int = 1) -> Taylor:
    """The Taylor model of f around x: ``model(dx)`` ≈ f(x + dx), of order 1 or 2; ``model.remainder(dx)`` measures it.

    x is an array or a pytree of real arrays, f may return any pytree of real arrays. Products only, no matrix: one JVP,
    and a JVP of a JVP for the second order. For a function of PyTorch tensors, translated to JAX, the model takes and
    gives tensors, detached. Raises `ArgumentError` for another order.
    """
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of one argument")
    if isinstance(order, bool) or order not in (1, 2):
        raise ArgumentError(f"order: got {order!r}, expected 1 or 2")
    return Taylor(f, jax.tree_util.tree_map(jnp.asarray, x), order)


def _push(f: Callable[[Any], Any], x: Any, dx: Any) -> Any:
    """J dx by a JVP; where f has no forward mode, by differentiating its VJP, which is linear in the cotangent."""
    try:
        return jax.jvp(f, (x,), (dx,))[1]
    except (TypeError, NotImplementedError):
        out, pull = jax.vjp(f, x)
        zero = jax.tree_util.tree_map(jnp.zeros_like, out)
        return jax.vjp(lambda u: pull(u)[0], zero)[1](dx)[0]


def _slope(steps: np.ndarray, errors: np.ndarray, noise: float) -> float:
    """The slope of log error over log step, of the errors that are clear of the noise."""
    if not np.isfinite(errors).all():
        return math.nan
    if errors.max() <= noise:
        return math.inf
    clear = np.flatnonzero(errors > 10 * noise)
    if clear.size < 2:
        return math.nan
    # The smallest steps tell: at larger ones further terms take part.
    clear = clear[-4:]
    return float(np.polyfit(np.log(steps[clear]), np.log(errors[clear]), 1)[0])


def _leaves(tree: Any) -> list[Any]:
    return [jnp.asarray(leaf) for leaf in jax.tree_util.tree_leaves(tree)]


def _vector(tree: Any) -> np.ndarray:
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in _leaves(tree)])
