"""A function of f's arguments that computes f by a schedule, and what XLA says of its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from ..._arguments import positions
from ..._data_path import DataPath, Values
from ..._errors import ArgumentError
from .costs import temporary
from .recompute import recomputed
from .schedules import Items, Keep, keep_all, segments_of


def applied(path: DataPath, items: Items, name: str) -> Callable[..., Any]:
    """f with its recomputation placed by the schedule; for arguments of the shapes that the path was read at."""

    def planned(*args: Any) -> Any:
        if not path.accepts(args):
            raise ArgumentError(
                f"{name}: got arguments of other shapes, dtypes, structure or fixed values than the memory plan was "
                f"made for ({shapes(path)}); make a plan for these with jm.memory_plan"
            )
        return path.output(_run(path, items, (), path.operands(args)))

    planned.__name__ = planned.__qualname__ = name
    return planned


def _run(path: DataPath, items: Items, state: Values, operands: list[Values]) -> Values:
    """The state after the items, whose first segment reads operands[0]."""
    at = 0
    for item in items:
        if isinstance(item, Keep):
            state = path.stretches[item.segment].run(state, operands[at], chunk=item.chunk)
            at += 1
        else:
            count = len(segments_of(item.items))
            data = [path.stretches[k].data for k in segments_of(item.items)]
            plain = keep_all(*_ends(item.items))
            state = recomputed(_block(path, plain), _block(path, item.items), data)(state, operands[at : at + count])
            at += count
    return state


def _block(path: DataPath, items: Items) -> Callable[[Values, list[Values]], Values]:
    return lambda state, operands: _run(path, items, state, operands)


def _ends(items: Items) -> tuple[int, int]:
    """The first segment of the items, and the one after the last."""
    own = segments_of(items)
    return own[0], own[-1] + 1


def shapes(path: DataPath) -> str:
    """The shapes of the array arguments, a few of them."""
    kinds = [f"{dtype}{list(shape)}" for shape, dtype, _ in path.signature.avals]
    return ", ".join(kinds[:4]) + (f" and {len(kinds) - 4} more" if len(kinds) > 4 else "")


def gradient(function: Callable[..., Any], args: tuple[Any, ...], argnums: int | Sequence[int]) -> Any:
    """(the compiled gradient of a function at arguments of these shapes, the array leaves to call it with)."""
    leaves, treedef = jax.tree_util.tree_flatten(args)
    array = [hasattr(leaf, "dtype") or isinstance(leaf, (float, complex)) for leaf in leaves]
    where = positions(argnums)[0]

    def on_arrays(arrays: list[Any]) -> Any:
        given = iter(arrays)
        whole = [next(given) if flag else leaf for flag, leaf in zip(array, leaves, strict=True)]
        return jax.grad(function, where)(*jax.tree_util.tree_unflatten(treedef, whole))

    given = [leaf for flag, leaf in zip(array, leaves, strict=True) if flag]
    return jax.jit(on_arrays).lower(given).compile(), given


def temporary_bytes(function: Callable[..., Any], args: tuple[Any, ...], argnums: int | Sequence[int]) -> int:
    """XLA's own figure for the compiled gradient: the bytes held at most beside arguments and results."""
    return temporary(gradient(function, args, argnums)[0])
