"""Functions that a reader of graphs gets wrong without noticing, with their Jacobians worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jacmap as jm

X = np.array([0.3, 1.2, 0.7, 1.9, 0.4, 1.1])


@jax.jit
def _product(a: Any, b: Any) -> Any:
    return a * b


def shared_inner(x: Any) -> Any:
    """The first call's constant zero must not be believed at the second: J = diag(2x)."""
    return _product(x, jnp.zeros(6)) + _product(x, x)


def straight_through(x: Any) -> Any:
    """Rounds, and passes derivatives through: J = I."""
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


@jax.custom_jvp
def _rounded(x: Any) -> Any:
    return jnp.round(x)


_rounded.defjvp(lambda primals, tangents: (_rounded(*primals), tangents[0]))


@jax.custom_vjp
def _square_backwards(x: Any) -> Any:
    return x**2


_square_backwards.defvjp(lambda x: (x**2, x), lambda x, u: (2 * x * u,))


@jax.custom_vjp
def _rounded_backwards(x: Any) -> Any:
    return jnp.round(x)


_rounded_backwards.defvjp(lambda x: (jnp.round(x), None), lambda _, u: (u,))


def _doubled(x: Any) -> Any:
    """2³ x by a loop whose end is tested: forward mode only."""
    return jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, 2 * s[1]), (0, x))[1]


def reverse_only_tall(x: Any) -> Any:
    """Fewer inputs than outputs, so that forward looks cheaper; a custom_vjp has no forward mode."""
    y = _square_backwards(x)
    return jnp.concatenate([y, 3 * y])


def forward_only_wide(x: Any) -> Any:
    """One output, so that reverse looks cheaper; a while_loop has no reverse mode."""
    return jnp.sum(_doubled(x) ** 2)[None]


def neither(x: Any) -> Any:
    """No mode of AD runs this one: it must be refused."""
    return _square_backwards(_doubled(x))


EYE = np.eye(6)
CASES: list[tuple[str, Callable[[Any], Any], np.ndarray | None]] = [
    ("shared inner function", shared_inner, np.diag(2 * X)),
    ("shared inner function, other order", lambda x: _product(x, x) + _product(x, jnp.zeros(6)), np.diag(2 * X)),
    ("straight-through, stop_gradient", straight_through, EYE),
    ("straight-through, custom_jvp", lambda x: _rounded(x) * 2, 2 * EYE),
    ("straight-through, custom_vjp", lambda x: _rounded_backwards(x) * 2, 2 * EYE),
    ("reverse only, tall", reverse_only_tall, np.concatenate([np.diag(2 * X), 6 * np.diag(X)])),
    ("forward only, wide", forward_only_wide, (128 * X)[None]),
    ("forward only, diagonal", lambda x: _doubled(x) ** 2, np.diag(128 * X)),
    ("a full row: x + sum(x)", lambda x: x + jnp.sum(x), EYE + 1),
    ("neither mode: refused", neither, None),
]


def run() -> Iterator[tuple[str, bool]]:
    """Each case, asked dense and sparse: is every answer right?"""
    for name, f, expected in CASES:
        yield name, all(_right(f, expected, form) for form in ("dense", "sparse"))


def _right(f: Callable[[Any], Any], expected: np.ndarray | None, form: str) -> bool:
    x = jnp.asarray(X)
    try:
        answer = jm.jacobian(f, form=form)(x)  # type: ignore[arg-type]
    except jm.ModeError:
        return expected is None
    found = np.asarray(answer.todense() if form == "sparse" else answer)
    return expected is not None and np.allclose(found, expected, rtol=1e-12, atol=0)
