"""How far a point is from the nearest other class: by the linear model, how wrong that was, and by walking there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from .._flat import Flat
from ._function import checked_label, checked_norm, classifier, dual, steepest
from ._orders import norm_of_vector
from .attacks import negative_margin

Array = jax.Array
OVERSHOOT = 0.02
HALVINGS = 40


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Margin:
    """What `margin` found of one point; under `vmap` all have an axis in front.

    `label`; `value`: its score less the best rival's (negative: misclassified). `distances` (classes,): to each rival's
    boundary by the linear model (an estimate; infinite for the label itself). `rival`: the nearest one; `distance`: to
    it; `boundary`: the point where the linear model puts that boundary. `remainder`: the margin that f truly has
    there against that rival, zero were f linear; `relative`: over the margin against that rival at x. `found`: the
    distance of a point of another class (an upper bound of the true distance; infinite where none was met);
    `adversarial`: it.
    """

    label: Any
    value: Any
    distances: Any
    rival: Any
    distance: Any
    boundary: Any
    remainder: Any
    relative: Any
    found: Any
    adversarial: Any


@for_tensors_too()
def margin(f: Callable[[Any], Any], x: Any, label: Any = None, *, norm: Any = 2, steps: int = 50) -> Margin:
    """The classification margin at x, as a score and as a distance in the p-norm.

    f: one point → scores (classes,). `label`: the class that f gives x by default. The distance to a rival's boundary
    is (f_l − f_k) / ‖∇(f_l − f_k)‖_p* in the linear model; its nearest boundary is the first step of DeepFool
    (Moosavi-Dezfooli, Fawzi, Frossard 2016). f is evaluated there: the `remainder` tells how wrong the model was.
    Then up to `steps` steps of DeepFool, each 2 % too long, and a bisection back towards x. Runs under `jit` and
    `vmap`. Raises ArgumentError.
    """
    flat, p = classifier(f, x), checked_norm("norm", norm)
    if steps < 1:
        raise ArgumentError(f"steps: got {steps!r}, expected at least 1")
    start, scores = flat.point, flat.vector(flat.point)
    chosen = jnp.argmax(scores) if label is None else checked_label(label, flat.m)
    distances, rival, move = _nearest(flat, start, chosen, p)
    boundary = start + move
    gap = scores[chosen] - scores[rival]
    there = flat.vector(boundary)
    remainder = there[chosen] - there[rival]
    found, adversarial = _walk(flat, chosen, p, steps)
    return Margin(
        label=chosen,
        value=-negative_margin(scores, chosen),
        distances=distances,
        rival=rival,
        distance=distances[rival],
        boundary=boundary.reshape(flat.x.shape),
        remainder=remainder,
        relative=jnp.abs(remainder) / jnp.abs(jnp.where(gap == 0, 1, gap)),
        found=found,
        adversarial=adversarial.reshape(flat.x.shape),
    )


def _nearest(flat: Flat, v: Array, label: Array, p: Any) -> tuple[Array, Array, Array]:
    """(distances to all rivals, the nearest rival, the move to its boundary) by the linear model at v."""
    scores, J = flat.vector(v), flat.jacobian(v)
    gaps, slopes = scores[label] - scores, J[label] - J
    lengths = norm_of_vector(slopes, dual(p))
    is_level = lengths == 0
    distances = jnp.where(is_level, jnp.inf, jnp.abs(gaps) / jnp.where(is_level, 1, lengths))
    distances = jnp.where(jnp.arange(flat.m) == label, jnp.inf, distances)
    rival = jnp.argmin(distances)
    size = jnp.where(jnp.isfinite(distances[rival]), distances[rival], 0)
    return distances, rival, -jnp.sign(gaps[rival]) * size * steepest(slopes[rival], p)


def _walk(flat: Flat, label: Array, p: Any, steps: int) -> tuple[Array, Array]:
    """(distance, point) of another class: DeepFool, then bisection towards x; (inf, x) where none was met."""

    def crossed(v: Array) -> Array:
        return jnp.argmax(flat.vector(v)) != label

    def one(_: int, v: Array) -> Array:
        move = _nearest(flat, v, label, p)[2]
        return jnp.where(crossed(v), v, v + (1 + OVERSHOOT) * move)

    start = flat.point
    last = jax.lax.fori_loop(0, steps, one, start)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        inside, outside = ends
        middle = (inside + outside) / 2
        is_out = crossed(middle)
        return jnp.where(is_out, inside, middle), jnp.where(is_out, middle, outside)

    _, closest = jax.lax.fori_loop(0, HALVINGS, halve, (start, last))
    reached = crossed(last)
    point = jnp.where(reached, closest, start)
    return jnp.where(reached, norm_of_vector(point - start, p), jnp.inf), point
