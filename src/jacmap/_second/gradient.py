"""The gradient of a scalar function, as a function of the same arguments, and whether f is one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._arguments import check_inputs, positions, translated
from .._errors import ArgumentError
from ..engine.backends.jax import function as backend


def checked_scalar(value: Any, name: str) -> Any:
    """`value` if it is one real number; an ArgumentError that tells what came otherwise."""
    leaves = jax.tree_util.tree_leaves(value)
    if len(leaves) != 1 or jnp.shape(leaves[0]) != () or not jnp.issubdtype(jnp.result_type(leaves[0]), jnp.floating):
        came = ", ".join(f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}" for leaf in leaves[:4]) or "nothing"
        raise ArgumentError(
            f"{name}: returned {came}, expected one real number (shape ()); sum or pick an entry, or ask for the "
            "Jacobian of its gradient with jacmap.jacobian(jax.grad(...))"
        )
    return leaves[0]


def scalar(f: Callable[..., Any], has_aux: bool = False) -> Callable[..., Any]:
    """f, raising ArgumentError where it returns anything but one real number (and, with `has_aux`, the rest)."""
    name = getattr(f, "__name__", repr(f))

    @functools.wraps(f, updated=())
    def checked(*args: Any, **kwargs: Any) -> Any:
        out = f(*args, **kwargs)
        if not has_aux:
            return checked_scalar(out, name)
        number, aux = checked_pair(out, name)
        return checked_scalar(number, name), aux

    return checked


def checked_pair(out: Any, name: str) -> tuple[Any, Any]:
    """`out` if it is a pair (number, aux); an ArgumentError that tells what came otherwise."""
    if not (isinstance(out, tuple) and len(out) == 2):
        raise ArgumentError(
            f"{name}: returned {type(out).__name__}, expected a pair (number, aux) because has_aux=True"
        )
    return out


def gradient(f: Callable[..., Any], argnums: int | Sequence[int], has_aux: bool = False) -> Callable[..., Any]:
    """∇f by one reverse pass; by n forward passes where an operation of f (a `while_loop`) has no reverse mode."""
    value = scalar(f, has_aux)
    number = argnums if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(f, updated=())
    def derivative(*args: Any, **kwargs: Any) -> Any:
        transform = jax.grad if runs_in_reverse(value, args, kwargs, argnums, has_aux) else jax.jacfwd
        return transform(value, number, has_aux=has_aux)(*args, **kwargs)

    return derivative


def read(
    f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], argnums: int | Sequence[int], has_aux: bool
) -> backend.Traced:
    """f's graph with respect to the arguments at `argnums`."""
    chosen, _ = positions(argnums)
    check_inputs(args, chosen, holomorphic=False)
    sig = backend.signature(args, kwargs, chosen)
    with translated(f):
        return backend.trace(backend.on_leaves(f, sig, has_aux), sig)


def runs_in_reverse(
    f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], argnums: int | Sequence[int], has_aux: bool
) -> bool:
    """Has every operation of f, read at these arguments, a reverse mode?"""
    return read(f, args, kwargs, argnums, has_aux).reverse
