"""Is every point of a ball given the same class? Proved, refuted by an attack, or unknown."""

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
from ._function import checked_label, checked_norm, checked_radius, classifier
from .attacks import Attack, negative_margin, pgd
from .intervals import Region, enclose

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Certificate:
    """`margin`: a lower bound of the label's lead over every rival, anywhere in the ball. `certified`: is it positive?

    `broken`: was another class met in the ball? `attack`: the worst point met. Under `vmap` all have an axis in front.
    """

    margin: Any
    certified: Any
    broken: Any
    attack: Attack

    @property
    def verdict(self) -> bool | None:
        """True: proved. False: refuted. None: neither."""
        return True if bool(self.certified) else False if bool(self.broken) else None


@for_tensors_too()
def certify(
    f: Callable[[Any], Any], x: Any, label: Any, radius: Any, *, norm: Any = np.inf, key: jax.Array | None = None,
    steps: int = 40, restarts: int = 1,
) -> Certificate:  # fmt: skip
    """Does f give `label` to every point of the ball of `radius` around x?

    f: one point → scores (classes,). `norm` of the ball: 2 or infinity. The lead over each rival is bounded by interval
    arithmetic and the mean value theorem (see `lipschitz`), rounded outward; the attack is `pgd` on the
    lead itself, with `key`, `steps` and `restarts`. A domain such as [0, 1] is not used: the bound holds on the whole
    ball. Runs under `jit` and `vmap`. Raises TraceError where f has an operation without a rule; ArgumentError.
    """
    flat, p = classifier(f, x), checked_norm("norm", norm, (2, np.inf))
    label, radius = checked_label(label, flat.m), checked_radius("radius", radius)
    least = _lead(flat, label, radius, p)
    attack = pgd(f, flat.x, label, radius, norm=p, key=key, steps=steps, restarts=restarts, loss=negative_margin)
    return Certificate(least, least > 0, attack.fooled, attack)


@for_tensors_too()
def certified_radius(
    f: Callable[[Any], Any], x: Any, label: Any, *, norm: Any = np.inf, most: float = 1.0, halvings: int = 20
) -> Any:
    """A radius, at most `most`, within which f provably gives `label`; zero where none was proved.

    By bisection of the radius: a lower bound of the true one, correct to most / 2^halvings for this bound. Arguments
    and errors as for `certify`.
    """
    flat, p = classifier(f, x), checked_norm("norm", norm, (2, np.inf))
    label = checked_label(label, flat.m)
    checked_radius("most", most)
    if halvings < 1:
        raise ArgumentError(f"halvings: got {halvings!r}, expected at least 1")

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        proved, open_end = ends
        middle = (proved + open_end) / 2
        holds = _lead(flat, label, middle, p) > 0
        return jnp.where(holds, middle, proved), jnp.where(holds, open_end, middle)

    ends = jnp.zeros((), flat.x.dtype), jnp.asarray(most, flat.x.dtype)
    proved, _ = jax.lax.fori_loop(0, halvings, halve, ends)
    return jnp.where(_lead(flat, label, ends[1], p) > 0, ends[1], proved)


def _lead(flat: Flat, label: Array, radius: Any, p: Any) -> Array:
    """A lower bound, over the ball, of the label's score less the best rival's."""
    own = jax.nn.one_hot(label, flat.m, dtype=flat.x.dtype)
    leads = own[None] - jnp.eye(flat.m, dtype=flat.x.dtype)
    found = enclose(lambda v: leads @ flat.vector(v), Region.ball(flat.point, radius, p))
    return jnp.min(jnp.where(own > 0, jnp.inf, found.value.lo))
