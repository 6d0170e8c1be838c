"""A function of tensors as a JAX function of arrays: read and translated anew for each set of shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.experimental.sparse import BCOO
from torch.utils import _pytree as torch_tree

from ..._errors import ArgumentError, StructureError, TraceError
from ...engine.backends.torch.trace import Reading, graph_of
from ..arguments import name_of
from ..surroundings import Surroundings
from .program import Program
from .row import array_of, jax_dtype, tensor_of

Tensor = torch.Tensor
_FOR_ONE_RUN: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}


def in_jax(
    f: Callable[..., Any], args: Sequence[Any] = (), argnums: int | Sequence[int] = 0
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """(g, jax_args): g is f as a JAX function of the same trees of arrays, and `jax_args` are `args` as arrays.

    g works under `jit`, `vmap` and `grad`. f is read anew for each set of shapes that g is called with: at the numbers
    of `args` where they have that shape (or their first rows do), else at random ones, zeros for integers. Weights and
    buffers are taken as they are then; random samples, dropout's too, stay as they were drawn when f was read. f may
    branch on the values of arguments that are not at `argnums`, g then holds for those values alone.

    g is compared with f where it is made: StructureError where they differ. ArgumentError where f returns other things
    than tensors, or tensors are in double precision and JAX is not; TraceError where f cannot be read, or an operation
    has no translation. ``g.fresh()``: does f still stand with the weights, flags and modules that it was read with?
    """
    where = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    translation = _Translation(f, tuple(args), where)

    def g(*arrays: Any) -> Any:
        return translation.at(arrays)(arrays)

    g.fresh = translation.fresh  # type: ignore[attr-defined]
    g.__name__ = g.__qualname__ = name_of(f)
    g.__module__ = getattr(f, "__module__", __name__)
    # Where its source and the names of its arguments are found.
    g.__wrapped__ = f.forward if isinstance(f, torch.nn.Module) else f  # type: ignore[attr-defined]
    return g, arrays_in(tuple(args))


def arrays_in(tree: Any) -> Any:
    """The tree with JAX arrays in place of tensors. ArgumentError for double precision that JAX would drop."""
    return jax.tree_util.tree_map(lambda leaf: _as_array(leaf) if isinstance(leaf, Tensor) else leaf, tree)


def tensors_in(tree: Any, device: torch.device | None = None) -> Any:
    """The tree with detached tensors in place of arrays, sparse ones in place of sparse ones."""

    def tensor(leaf: Any) -> Any:
        if not isinstance(leaf, BCOO):
            return tensor_of(leaf, device)
        where, numbers = tensor_of(leaf.indices, device).T, tensor_of(leaf.data, device)
        return torch.sparse_coo_tensor(where, numbers, leaf.shape, is_coalesced=True, check_invariants=False)

    return jax.tree_util.tree_map(tensor, tree, is_leaf=lambda leaf: isinstance(leaf, BCOO))


def _as_array(tensor: Tensor) -> jax.Array:
    if tensor.dtype in (torch.float64, torch.complex128) and jax_dtype(torch.float64) != np.float64:
        raise ArgumentError(
            f"got a tensor of dtype {tensor.dtype}, but JAX computes in single precision: call "
            'jax.config.update("jax_enable_x64", True) first, or pass x.float() (and a float() model)'
        )
    return jnp.asarray(array_of(tensor))


@dataclass(frozen=True)
class _Made:
    """f at one set of shapes. `dynamic`: the positions of the leaves that are arrays."""

    program: Program
    order: tuple[int, ...]
    out_tree: Any
    out_static: tuple[tuple[int, Any], ...]

    def __call__(self, arrays: tuple[Any, ...]) -> Any:
        leaves = jax.tree_util.tree_leaves(arrays)
        made = iter(self.program([leaves[p] for p in self.order]))
        static = dict(self.out_static)
        flat = [static[p] if p in static else next(made) for p in range(self.out_tree.num_leaves)]
        out = torch_tree.tree_unflatten(flat, self.out_tree)
        # A class that PyTorch takes apart and JAX does not (the outputs of transformers) is given as its parts.
        known = all(leaf is None or isinstance(leaf, jax.Array) for leaf in jax.tree_util.tree_leaves(out))
        return out if known else tuple(x for x in flat if x is not None)


class _Translation:
    def __init__(self, f: Callable[..., Any], examples: tuple[Any, ...], argnums: tuple[int, ...]):
        self.f, self.examples, self.argnums = f, examples, argnums
        self.made: dict[Any, _Made] = {}
        self.surroundings = Surroundings(f)
        self.state = self.surroundings.state()

    def fresh(self) -> bool:
        return self.surroundings.state() == self.state and all(made.program.fresh() for made in self.made.values())

    def at(self, arrays: tuple[Any, ...]) -> _Made:
        """f for arguments of these shapes."""
        leaves, treedef = jax.tree_util.tree_flatten(arrays)
        key = treedef, tuple((np.shape(x), str(x.dtype)) if _is_array(x) else (type(x), repr(x)) for x in leaves)
        if key not in self.made:
            with jax.ensure_compile_time_eval():
                self.made[key] = self._make(arrays, leaves, treedef)
        return self.made[key]

    def _make(self, arrays: tuple[Any, ...], leaves: list[Any], treedef: Any) -> _Made:
        point = self._point(leaves, treedef)
        dynamic = [p for p, leaf in enumerate(leaves) if _is_array(leaf)]
        floats = [p for p in dynamic if point[p].is_floating_point() or point[p].is_complex()]
        try:
            return self._read(point, treedef, floats, [p for p in dynamic if p not in floats])
        except RuntimeError as error:
            came = {point[p].dtype for p in floats}
            known = {leaf.dtype for leaf in jax.tree_util.tree_leaves(self.examples) if isinstance(leaf, Tensor)}
            if known and not came <= known:
                raise ArgumentError(
                    f"{name_of(self.f)}: fails where its arguments are cast to {', '.join(map(str, came - known))} "
                    f"({error}); make its weights arguments, too: torch.func.functional_call(module, params, (x,))"
                ) from error
            raise
        except TraceError:
            # Python code may branch on what is not differentiated.
            owners = [k for k, arg in enumerate(arrays) for _ in jax.tree_util.tree_leaves(arg)]
            moving = [p for p in floats if owners[p] in self.argnums]
            if moving == floats:
                raise
            return self._read(point, treedef, moving, [p for p in dynamic if p not in moving])

    def _read(self, point: list[Any], treedef: Any, moving: list[int], others: list[int]) -> _Made:
        seen: dict[str, Any] = {}

        def call(xs: Sequence[Tensor], rest: Sequence[Tensor]) -> list[Tensor]:
            leaves = list(point)
            for p, tensor in zip((*moving, *others), (*xs, *rest), strict=True):
                leaves[p] = tensor
            out, seen["tree"] = torch_tree.tree_flatten(self.f(*jax.tree_util.tree_unflatten(treedef, leaves)))
            for leaf in out:
                if leaf is not None and not isinstance(leaf, Tensor):
                    raise ArgumentError(
                        f"{name_of(self.f)}: returned {type(leaf).__name__} {str(leaf)[:40]!r}, expected tensors; wrap "
                        "it in a function that returns only those"
                    )
            seen["static"] = tuple((p, None) for p, leaf in enumerate(out) if leaf is None)
            return [leaf for leaf in out if leaf is not None]

        order = (*moving, *others)
        reading = graph_of(call, [point[p] for p in moving], [point[p] for p in others])
        program = Program(reading, [point[p] for p in order])
        self._compare(program, reading, [array_of(point[p]) for p in order])
        return _Made(program, order, seen["tree"], seen["static"])

    def _compare(self, program: Program, reading: Reading, leaves: list[np.ndarray]) -> None:
        """The program must give what f gave."""
        once = jax.jit(program).lower(leaves).compile(_FOR_ONE_RUN)
        for ours, theirs in zip(once(leaves), reading.outputs, strict=True):
            mine, true = np.asarray(ours), array_of(theirs)
            if not np.issubdtype(true.dtype, np.inexact) and true.dtype != jnp.bfloat16:
                same = np.array_equal(mine, true)
            else:
                mine, true = (x.astype(np.result_type(x.dtype, np.float32)) for x in (mine, true))
                size = np.abs(true[np.isfinite(true)]).max(initial=0.0)
                allowed = max(program.eps, float(jnp.finfo(ours.dtype).eps)) ** 0.5
                same = np.allclose(mine, true, rtol=allowed, atol=allowed * size, equal_nan=True)
            if not same:
                with np.errstate(invalid="ignore"):
                    worst = np.nanmax(np.abs(mine.astype(complex) - true)) if mine.shape == true.shape else np.inf
                raise StructureError(
                    f"{name_of(self.f)}: its translation to JAX gives other values than PyTorch, by up to {worst:.2g}; "
                    "no result is returned. Please report the function"
                )

    def _point(self, leaves: list[Any], treedef: Any) -> list[Any]:
        """Tensors to read f at, of the shapes and dtypes of the arrays; other leaves as they are."""
        count = len(jax.tree_util.tree_unflatten(treedef, leaves))
        given, known = jax.tree_util.tree_flatten(self.examples[:count])
        examples = given if known == treedef else [None] * len(leaves)
        return [_stand_in(x, e) if _is_array(x) else x for x, e in zip(leaves, examples, strict=True)]


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic))


def _stand_in(array: Any, example: Any) -> Tensor:
    shape = np.shape(array)
    like = tensor_of(np.zeros(0, jax.dtypes.canonicalize_dtype(array.dtype)))
    if isinstance(example, Tensor):
        for candidate in (example, example[0] if example.ndim and len(example) else example):
            if candidate.shape == shape:
                return candidate.detach().to(like.dtype)
    if like.is_floating_point() or like.is_complex():
        return torch.as_tensor(np.random.default_rng(0).uniform(-1, 1, shape)).to(like.dtype)
    return torch.zeros(shape, dtype=like.dtype)
