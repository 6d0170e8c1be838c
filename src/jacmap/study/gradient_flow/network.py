"""f's chain over a batch: one compiled program per kind of segment, whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._arguments import positions
from ..._errors import ArgumentError, ModeError
from ..._segments import Chain, Segment, segments

PROBES = 4  # random directions that are pushed and pulled through the whole chain, per example


@dataclass(eq=False)
class Programs:
    """What has been read and compiled for one signature, shared by all points of it."""

    chain: Chain
    compiled: dict[Any, Callable[..., Any]]


class Network:
    """f at a batch of points (one point is a batch of one), segment by segment.

    `states[k]`: (values (B, n_k) at cut k as one vector per example, what travels along); k = 0 is the input.
    """

    def __init__(
        self, f: Callable[..., Any], args: tuple[Any, ...], argnums: int | Sequence[int],
        batch: bool | Sequence[int], programs: Programs | None = None,
    ):  # fmt: skip
        self.f, self.argnums = f, argnums
        self.name = "f" if "<lambda>" in (name := getattr(f, "__name__", type(f).__name__)) else name
        moving = positions(argnums)[0]
        mapped = _mapped(batch, moving, len(args))
        self.batched = bool(mapped)
        self.size = _batch_size(args, mapped)
        example = tuple(_first(arg) if k in mapped else arg for k, arg in enumerate(args))
        if programs is None:
            programs = Programs(segments(f, *example, argnums=argnums), {})
        self.programs, self.chain = programs, programs.chain
        self._check_modes()
        self._read(args, mapped)

    def _check_modes(self) -> None:
        graph = self.chain.graph
        if not (graph.forward and graph.reverse):
            raise ModeError(
                f"{self.name}: gradient flow needs forward and reverse mode, and an operation in it supports only one "
                "(a custom_vjp, a while loop); take that part out, or give it a custom_jvp"
            )
        if any(value.complex for value in graph.values):
            raise ArgumentError(f"{self.name}: computes with complex numbers, expected real ones throughout")

    def _read(self, args: tuple[Any, ...], mapped: tuple[int, ...]) -> None:
        flags = [k in mapped for k, arg in enumerate(args) for _ in jax.tree_util.tree_leaves(arg)]
        follow = self.chain.operands_follow(flags)
        self.axes = [tuple(0 if is_mapped else None for is_mapped in link) for link in follow]
        chain = self.chain

        def prepare(constants: Any, others: Any) -> Any:
            return chain.prepare(constants, others)

        axes = [0 if flags[p] else None for p in chain.signature.others]
        program = jax.vmap(prepare, (None, axes), self.axes) if any(0 in link for link in self.axes) else prepare
        self.operands = self._compile(("operands", tuple(axes)), program)(
            tuple(chain.graph.constants.values()), chain.others(*args)
        )
        leaves = [
            (jnp.asarray(leaf), flag) for leaf, flag in zip(jax.tree_util.tree_leaves(args), flags, strict=True)
        ] if any(flags) else [(jnp.asarray(leaf), False) for leaf in jax.tree_util.tree_leaves(args)]
        rows = []
        for p in chain.signature.moving:
            leaf, is_mapped = leaves[p]
            full = leaf if is_mapped else jnp.broadcast_to(leaf, (self.size, *leaf.shape))
            rows.append(full.reshape(self.size, -1))
        common = np.result_type(*(row.dtype for row in rows))
        self.input = jnp.concatenate([row.astype(common) for row in rows], axis=1)

    # -- programs ------------------------------------------------------------------------------------------
    def _compile(self, key: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.programs.compiled.setdefault(key, jax.jit(function))

    def program(self, kind: str, k: int, one: Callable[..., Any], inputs: int, *static: Any) -> Callable[..., Any]:
        """`one(segment, along, operands, *arrays)` of one example, over a batch, for segment k.

        Called with (along, operands, *arrays), each of the `inputs` arrays batched. Compiled once for all segments that
        do the same.
        """
        segment = self.chain[k]

        def example(along: Any, operands: Any, *arrays: Any) -> Any:
            return one(segment, along, operands, *arrays)

        axes = (0, self.axes[k], *([0] * inputs))
        return self._compile((kind, segment.key, self.axes[k], *static), jax.vmap(example, axes))

    def values(self) -> list[Any]:
        """The states at all cuts, nothing else."""
        states: list[Any] = [(self.input, ())]
        for k in range(len(self.chain)):
            x, along = states[-1]
            states.append(self.program("values", k, _values, 1)(along, self.operands[k], x))
        return states

    def forward(self, k: int, state: Any, tangents: Any, own: Any) -> Any:
        """The next state; what becomes of the running tangents (B, p, n): rescaled, log of the scale; of one of its own
        (B, n); and the Gram matrices of the tangents."""
        x, along = state
        y, along, *rest = self.program("forward", k, _forward, 3)(along, self.operands[k], x, tangents, own)
        return (y, along), *rest

    def backward(self, k: int, state: Any, cotangents: Any, own: Any) -> Any:
        """The same for cotangents (B, 1 + p, m), of which the first is the loss gradient and has a scale of its own."""
        x, along = state
        return self.program("backward", k, _backward, 3)(along, self.operands[k], x, cotangents, own)

    def matrices(self, k: int, state: Any, examples: np.ndarray) -> np.ndarray:
        """The segment's Jacobians (E, m, n) at some of the examples, in double precision."""
        x, along = self.at(state, examples)
        return np.asarray(self.program("matrix", k, _matrix, 1)(along, self.operands_at(k, examples), x), np.float64)

    def at_examples(self, kind: str, k: int, one: Any, state: Any, examples: np.ndarray, *static: Any) -> Any:
        """Any other program of one array (x), at some of the examples."""
        x, along = self.at(state, examples)
        return self.program(kind, k, one, 1, *static)(along, self.operands_at(k, examples), x)

    def at(self, state: Any, examples: np.ndarray) -> Any:
        if len(examples) == self.size:
            return state
        return jax.tree_util.tree_map(lambda leaf: leaf[examples], state)

    def operands_at(self, k: int, examples: np.ndarray) -> Any:
        if len(examples) == self.size or 0 not in self.axes[k]:
            return self.operands[k]
        pairs = zip(self.operands[k], self.axes[k], strict=True)
        return tuple(value if axis is None else value[examples] for value, axis in pairs)

    def output(self, state: Any) -> Any:
        """What f returns for every example, from the last state."""
        y, along = state
        last = self.chain[len(self.chain) - 1]

        def one(vector: Any, rest: Any) -> Any:
            return self.chain.output((*_split(vector, last.avals[1]), *rest))

        return jax.vmap(one)(y, along)

    def seed(self, loss: Callable[..., Any] | None, target: Any, state: Any) -> Any:
        """∂loss/∂output of every example, (B, m); None where there is no loss and the output is not a single number."""
        y, along = state
        if loss is None:
            return jnp.ones_like(y) if y.shape[1] == 1 else None
        last, chain, given = self.chain[len(self.chain) - 1], self.chain, () if target is None else (target,)

        def one(vector: Any, rest: Any, *targets: Any) -> Any:
            value = loss(chain.output((*_split(vector, last.avals[1]), *rest)), *targets)
            if jnp.shape(value) != ():
                raise ArgumentError(
                    f"loss: returned shape {jnp.shape(value)} for one example, expected a number; it is called with "
                    "what f returns for one example (and its target)"
                )
            return value

        axes = (0, 0, *((0 if self.batched else None) for _ in given))
        return self._compile(("loss", loss, len(given)), jax.vmap(jax.grad(one), axes))(y, along, *given)


# -- what a program does with one example ------------------------------------------------------------------


def _values(segment: Segment, along: Any, operands: Any, x: Any) -> Any:
    return segment.on_vectors(along, operands)(x)


def _forward(segment: Segment, along: Any, operands: Any, x: Any, tangents: Any, own: Any) -> Any:
    y, push, further = jax.linearize(segment.on_vectors(along, operands), x, has_aux=True)
    together = jax.vmap(push)(jnp.concatenate([tangents, own[None]]))
    pushed, scale = normalised(together[:-1])
    return y, further, pushed, scale, together[-1], pushed @ pushed.T


def _backward(segment: Segment, along: Any, operands: Any, x: Any, cotangents: Any, own: Any) -> Any:
    _, pull, _ = jax.vjp(segment.on_vectors(along, operands), x, has_aux=True)
    together = jax.vmap(lambda u: pull(u)[0])(jnp.concatenate([cotangents, own[None]]))
    first, scale = normalised(together[:1])  # the loss gradient keeps a scale of its own
    rest, scales = normalised(together[1:-1])
    return jnp.concatenate([first, rest]), jnp.stack([scale, scales]), together[-1], rest @ rest.T


def normalised(rows: Any) -> tuple[Any, Any]:
    """(rows / their largest length, log of it): a product of hundreds of factors neither under- nor overflows."""
    length = jnp.max(jnp.linalg.norm(rows, axis=-1))
    safe = jnp.where(length > 0, length, 1)
    return rows / safe, jnp.log(length)


def _matrix(segment: Segment, along: Any, operands: Any, x: Any) -> Any:
    m, n = segment.shape
    function = segment.on_vectors(along, operands)
    if n <= m:
        push = jax.linearize(function, x, has_aux=True)[1]
        return jax.vmap(push, out_axes=1)(jnp.eye(n, dtype=x.dtype))
    y, pull, _ = jax.vjp(function, x, has_aux=True)
    return jax.vmap(lambda u: pull(u)[0])(jnp.eye(m, dtype=y.dtype))


def _split(vector: Any, avals: Any) -> list[Any]:
    leaves, start = [], 0
    for shape, dtype in avals:
        size = int(np.prod(shape, dtype=int))
        leaves.append(vector[start : start + size].reshape(shape).astype(dtype))
        start += size
    return leaves


# -- the batch ---------------------------------------------------------------------------------------------


def _mapped(batch: Any, moving: tuple[int, ...], count: int) -> tuple[int, ...]:
    if isinstance(batch, (bool, np.bool_)):
        return moving if batch else ()
    try:
        chosen = tuple(int(k) for k in batch)
    except TypeError:
        chosen = ()
    if not chosen or any(not 0 <= k < count for k in chosen):
        raise ArgumentError(
            f"batch: got {batch!r}, expected True (the differentiated arguments hold one example per row), False (one "
            f"point), or the positions (0 to {count - 1}) of all arguments that do"
        )
    return chosen


def _batch_size(args: tuple[Any, ...], mapped: tuple[int, ...]) -> int:
    sizes = {np.shape(leaf)[:1] for k in mapped for leaf in jax.tree_util.tree_leaves(args[k])}
    if not mapped:
        return 1
    if len(sizes) != 1 or () in sizes or (0,) in sizes:
        lengths = sorted(size[0] if size else 1 for size in sizes)
        raise ArgumentError(
            f"batch: got arguments with leading axes of {lengths} examples, expected one number for all, at least 1"
        )
    return int(next(iter(sizes))[0])


def _first(arg: Any) -> Any:
    return jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf)[0], arg)
