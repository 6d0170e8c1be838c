"""Attacks by the gradient: the fast gradient sign method and projected gradient ascent."""

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
from ._function import checked_label, checked_norm, checked_radius, classifier, steepest
from ._orders import norm_of_vector

Array = jax.Array
Loss = Callable[[Any, Any], Any]  # (scores, label) → what the attack raises
Domain = tuple[Any, Any]  # (least, largest) of every entry of x


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Attack:
    """The worst point found. `x`: that point. `loss`: there. `label`: the class it is taken for.

    `fooled`: is that another class than the one given? `distance`: from the point given, in the norm of the budget.
    """

    x: Any
    loss: Any
    label: Any
    fooled: Any
    distance: Any


def cross_entropy(scores: Any, label: Any) -> Any:
    """−log of the share that softmax gives the label."""
    return jax.nn.logsumexp(scores) - jnp.take(scores, label)


def negative_margin(scores: Any, label: Any) -> Any:
    """The best rival's score less the label's (Carlini and Wagner 2017): positive where the point is misclassified."""
    rivals = jnp.where(jnp.arange(scores.shape[0]) == label, -jnp.inf, scores)
    return jnp.max(rivals) - jnp.take(scores, label)


@for_tensors_too()
def fgsm(
    f: Callable[[Any], Any], x: Any, label: Any, radius: Any, *, norm: Any = np.inf, domain: Domain | None = None,
    loss: Loss = cross_entropy,
) -> Attack:  # fmt: skip
    """One step of length `radius` up the linearised loss (Goodfellow, Shlens, Szegedy 2015).

    f: one point → scores (classes,). `norm`: infinity (the sign of the gradient), 2 or 1. `domain`: (least, largest)
    that an entry of x may have. `loss(scores, label)` is raised. Runs under `jit` and `vmap`. Raises ArgumentError.
    """
    flat, p = classifier(f, x), checked_norm("norm", norm)
    label = checked_label(label, flat.m)
    slope = jax.grad(lambda v: loss(flat.vector(v), label))(flat.point)
    moved = _clipped(flat.point + checked_radius("radius", radius) * steepest(slope, p), domain)
    return _attack(flat, moved, label, p, loss)


@for_tensors_too()
def pgd(
    f: Callable[[Any], Any], x: Any, label: Any, radius: Any, *, norm: Any = np.inf, key: jax.Array | None = None,
    steps: int = 40, step: Any = None, restarts: int = 1, domain: Domain | None = None, loss: Loss = cross_entropy,
) -> Attack:  # fmt: skip
    """Projected gradient ascent of the loss within the ball of `radius` around x (Madry et al. 2018).

    `norm`: infinity (steps by the sign of the gradient) or 2 (by the gradient's direction). `step`: their length, 2.5
    radius / steps by default. With a `key` the starts are random within the ball (of several, the first is x);
    without one there is no restart. `domain`: (least, largest) that an entry may have; x itself must lie within.
    The best point of all steps is given: a misclassified one before others, then by loss. Runs under `jit` and `vmap`.
    Raises ArgumentError.
    """
    flat, p = classifier(f, x), checked_norm("norm", norm, (2, np.inf))
    label, radius = checked_label(label, flat.m), checked_radius("radius", radius)
    if restarts < 1 or steps < 1:
        raise ArgumentError(f"steps, restarts: got {steps} and {restarts}, expected at least 1 of each")
    if restarts > 1 and key is None:
        raise ArgumentError("key: got None with several restarts, expected a jax.random.key for their random starts")
    step = 2.5 * radius / steps if step is None else step

    def height(v: Array) -> Array:
        return loss(flat.vector(v), label)

    starts = _starts(flat.point, radius, p, key, restarts)
    best = jax.vmap(lambda v: ascend(height, flat.point, v, radius, step, steps, p, domain, _rank(flat, label, loss)))
    found = best(starts)
    ranks = jax.vmap(_rank(flat, label, loss))(found)
    return _attack(flat, found[jnp.argmax(ranks)], label, p, loss)


def ascend(
    height: Callable[[Array], Array], centre: Array, start: Array, radius: Any, step: Any, steps: int, p: Any,
    domain: Domain | None, rank: Callable[[Array], Array],
) -> Array:  # fmt: skip
    """The point of highest rank along a projected gradient ascent of `height`, (n,)."""

    def project(v: Array) -> Array:
        move = v - centre
        if p == np.inf:
            move = jnp.clip(move, -radius, radius)
        else:
            length = norm_of_vector(move, 2)
            move = move * jnp.minimum(1, radius / jnp.where(length > 0, length, 1)).astype(move.dtype)
        return _clipped(centre + move, domain)

    def one(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        v, best, highest = state
        v = project(v + jnp.asarray(step, v.dtype) * steepest(jax.grad(height)(v), p))
        value = rank(v)
        return (v, jnp.where(value > highest, v, best), jnp.maximum(value, highest)), None

    start = project(start)
    (_, best, _), _ = jax.lax.scan(one, (start, start, rank(start)), None, length=steps)
    return best


def _rank(flat: Flat, label: Array, loss: Loss) -> Callable[[Array], Array]:
    """What makes one point worse than another: misclassified before not, then the loss, squeezed into (−1, 1)."""

    def rank(v: Array) -> Array:
        scores = flat.vector(v)
        height = loss(scores, label)
        return height / (1 + jnp.abs(height)) + 2 * (jnp.argmax(scores) != label).astype(scores.dtype)

    return rank


def _starts(centre: Array, radius: Any, p: Any, key: jax.Array | None, count: int) -> Array:
    """(count, n): the centre, then random points of the ball; of one start only, a random one where there is a key."""
    if key is None:
        return centre[None]
    drawn = random_in_ball(key, centre, radius, p, count)
    return drawn if count == 1 else drawn.at[0].set(centre)


def random_in_ball(key: jax.Array, centre: Array, radius: Any, p: Any, count: int) -> Array:
    """(count, n), uniform in the ball of norm 2 or infinity."""
    shape = (count, centre.size)
    if p == np.inf:
        return centre + radius * jax.random.uniform(key, shape, centre.dtype, -1, 1)
    one, two = jax.random.split(key)
    directions = steepest(jax.random.normal(one, shape, centre.dtype), 2)
    return centre + radius * directions * jax.random.uniform(two, (count, 1), centre.dtype) ** (1 / centre.size)


def _clipped(v: Array, domain: Domain | None) -> Array:
    return v if domain is None else jnp.clip(v, domain[0], domain[1])


def _attack(flat: Flat, v: Array, label: Array, p: Any, loss: Loss) -> Attack:
    scores = flat.vector(v)
    taken = jnp.argmax(scores)
    distance = norm_of_vector(v - flat.point, p)
    return Attack(v.reshape(flat.x.shape), loss(scores, label), taken, taken != label, distance)
