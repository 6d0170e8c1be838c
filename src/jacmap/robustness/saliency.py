"""The saliency map of the Jacobian, and the attack that moves one input at a time by it (Papernot et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from .._flat import Flat
from ._function import checked_label, classifier
from .attacks import Attack, Domain, negative_margin

Array = jax.Array


@for_tensors_too()
def saliency(f: Callable[[Any], Any], x: Any, target: Any, *, falling: bool = False) -> Any:
    """How well raising each input makes x look like `target`, laid out as x.

    f: one point → scores (classes,). An input counts where it raises the target's score and lowers the sum of the
    others: S = J_t |Σ_{j≠t} J_j|, else zero ("The limitations of deep learning in adversarial settings", equation 8).
    `falling`: of lowering the input instead (equation 9). Runs under `jit` and `vmap`. Raises ArgumentError.
    """
    flat = classifier(f, x)
    return _map(flat, flat.point, checked_label(target, flat.m, "target"), falling).reshape(flat.x.shape)


def _map(flat: Flat, v: Array, target: Array, falling: bool) -> Array:
    J = flat.jacobian(v) * (-1 if falling else 1)
    helps = jnp.take(J, target, axis=0)
    others = jnp.sum(J, axis=0) - helps
    return jnp.where((helps > 0) & (others < 0), helps * jnp.abs(others), 0)


@for_tensors_too()
def jsma(
    f: Callable[[Any], Any], x: Any, target: Any, *, inputs: int, step: float = 1.0, domain: Domain = (0.0, 1.0)
) -> Attack:
    """Up to `inputs` times: move the most salient input by ±`step`, until x is taken for `target`.

    `domain`: (least, largest) that an entry may have; an input that cannot move further that way is passed over. One
    input at a time (the paper also moves pairs). In the answer `loss` is the best rival's score less the target's,
    `fooled` says whether the target was reached, `distance` how many inputs differ. Runs under `jit` and `vmap`. Raises
    ArgumentError.
    """
    flat = classifier(f, x)
    goal = checked_label(target, flat.m, "target")
    if inputs < 1 or not step > 0:
        raise ArgumentError(f"inputs, step: got {inputs} and {step}, expected positive numbers")
    least, most = domain

    def one(_: int, v: Array) -> Array:
        up = jnp.where(v < most, _map(flat, v, goal, False), 0)
        down = jnp.where(v > least, _map(flat, v, goal, True), 0)
        best = jnp.argmax(jnp.maximum(up, down))
        size = step * jnp.sign(up[best] - down[best])
        moved = v.at[best].set(jnp.clip(v[best] + size, least, most))
        reached = jnp.argmax(flat.vector(v)) == goal
        return jnp.where(reached, v, moved)

    v = jax.lax.fori_loop(0, inputs, one, flat.point)
    scores = flat.vector(v)
    taken = jnp.argmax(scores)
    changed = jnp.sum(v != flat.point)
    return Attack(v.reshape(flat.x.shape), negative_margin(scores, goal), taken, taken == goal, changed)
