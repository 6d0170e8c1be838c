"""What the arguments of a call must be; each fault gets one error that says what to do."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._errors import ArgumentError, TraceError


def positions(argnums: int | Sequence[int]) -> tuple[tuple[int, ...], bool]:
    """(argument positions, was it a sequence?)."""
    if isinstance(argnums, bool) or not isinstance(argnums, (int, tuple, list)):
        raise ArgumentError(f"argnums: got {argnums!r}, expected an int or a tuple of ints")
    many = not isinstance(argnums, int)
    chosen = tuple(argnums) if isinstance(argnums, (tuple, list)) else (argnums,)
    if not chosen or any(not isinstance(k, int) or isinstance(k, bool) or k < 0 for k in chosen):
        raise ArgumentError(f"argnums: got {argnums!r}, expected one or more argument positions, counted from 0")
    if len(set(chosen)) != len(chosen):
        raise ArgumentError(f"argnums: got {argnums!r}, expected each position once")
    return chosen, many


def check_given(args: tuple[Any, ...], argnums: tuple[int, ...]) -> None:
    """The differentiated arguments are there, by position."""
    if len(args) <= max(argnums):
        raise ArgumentError(
            f"argnums: got {max(argnums)}, but the function was called with {len(args)} positional "
            f"argument{'s' if len(args) != 1 else ''}; pass the differentiated arguments by position"
        )


def checked_index(index: int, size: int, name: str, what: str) -> int:
    """A row or column number from 0 on; `what` says what there are `size` of."""
    if not isinstance(index, (int, np.integer)) or not -size <= index < size:
        raise ArgumentError(
            f"{name}: got {index!r}, expected an integer from 0 to {size - 1}, one of the {size} {what}"
        )
    return int(index) % size


def check_inputs(args: tuple[Any, ...], argnums: tuple[int, ...], holomorphic: bool) -> None:
    """The differentiated arguments hold floating-point arrays (complex ones only when holomorphic)."""
    check_given(args, argnums)
    total = 0
    for k in argnums:
        for path, leaf in jax.tree_util.tree_leaves_with_path(args[k]):
            where = f"argument {k}{jax.tree_util.keystr(path)}"
            total += _check_leaf(leaf, where, holomorphic)
    if total == 0:
        raise ArgumentError(f"argument {argnums[0]}: got no entries to differentiate, expected a non-empty array")


def _check_leaf(leaf: Any, where: str, holomorphic: bool) -> int:
    try:
        # A string would be taken for the name of a dtype.
        dtype = None if isinstance(leaf, str) else jnp.result_type(leaf)
    except TypeError:
        dtype = None
    if dtype is None:
        raise ArgumentError(
            f"{where}: got {type(leaf).__name__} {str(leaf)[:40]!r}, expected an array of floats; "
            "leave arguments that are no numbers out of argnums"
        )
    if jnp.issubdtype(dtype, jnp.complexfloating) and not holomorphic:
        raise ArgumentError(
            f"{where}: got dtype {dtype}, expected real numbers; for a holomorphic function pass holomorphic=True"
        )
    if holomorphic and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ArgumentError(f"{where}: got dtype {dtype}, expected complex numbers because holomorphic=True")
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise ArgumentError(
            f"{where}: got dtype {dtype}, expected floating-point numbers; convert with .astype(float), "
            "or leave the argument out of argnums"
        )
    return int(np.size(leaf))


def check_outputs(outputs: Sequence[Any], sig: Any, holomorphic: bool, f: Callable[..., Any]) -> None:
    """The function returns arrays of floats."""
    name = getattr(f, "__name__", repr(f))
    if not outputs:
        raise ArgumentError(f"{name}: returned no arrays, expected an array or a pytree of arrays")
    for aval in outputs:
        if not jnp.issubdtype(aval.dtype, jnp.inexact):
            raise ArgumentError(
                f"{name}: returned dtype {aval.dtype}, expected floating-point numbers; integers and booleans have no "
                "derivative (return them with has_aux=True)"
            )
        if holomorphic and not jnp.issubdtype(aval.dtype, jnp.complexfloating):
            raise ArgumentError(f"{name}: returned dtype {aval.dtype}, expected complex because holomorphic=True")


@contextlib.contextmanager
def translated(f: Callable[..., Any]) -> Iterator[None]:
    """JAX's errors of reading a function, as one error that names the cause and the way out."""
    name = getattr(f, "__name__", repr(f))
    try:
        yield
    except (
        jax.errors.TracerBoolConversionError,
        jax.errors.TracerIntegerConversionError,
        jax.errors.TracerArrayConversionError,
        jax.errors.ConcretizationTypeError,
        jax.errors.NonConcreteBooleanIndexError,
    ) as error:
        line = user_line(error)
        raise TraceError(
            f"{name}: its Python code needs the value of an input{line}, but jacmap reads it without values; use jnp "
            "instead of numpy or math, jnp.where or jax.lax.cond instead of `if`, jax.lax loops instead of `while`; or "
            "pass NumPy arrays (no jax.Array) to have it taken as a black box"
        ) from error
    except jax.errors.UnexpectedTracerError as error:
        raise TraceError(
            f"{name}: a traced value has left the function through a side effect (a global, a list, an attribute); "
            "return it instead (has_aux=True)"
        ) from error
    except TypeError as error:
        if "not a valid JAX type" in str(error) or "JAX array type" in str(error):
            raise ArgumentError(
                f"{name}: returned something that is not an array: {str(error).splitlines()[0]}"
            ) from error
        raise


# Whose lines say nothing to the user.
_HIDDEN = tuple(str(Path(file).parent) + os.sep for file in (jax.__file__, np.__file__, __file__))


def user_line(error: BaseException) -> str:
    """ " (file.py:12)" of the innermost line that is neither jacmap's nor a library's; empty when there is none."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not frame.f_code.co_filename.startswith(_HIDDEN):
            found = f" ({os.path.basename(frame.f_code.co_filename)}:{line})"
    return found


def nearest(name: str, known: list[str]) -> str:
    """`; nearest: a, b` for an error message, or the first known names where none is near, or nothing."""
    if near := get_close_matches(name, known, n=3):
        return f"; nearest: {', '.join(near)}"
    return f"; known: {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}" if known else ""
