"""The mean effect of a layer on the output, over positions and examples (a "Jacobian lens").

With values h_t (d) at T positions after a segment and outputs y_t' (o), the lens is the o×d matrix

    mean over examples and positions t of Σ_t' ∂y_t'/∂h_t.

Brute force is one backward pass per output and example. What the chain allows for less:
- the sum over the positions is one cotangent, e_i at all of them at once, and all examples share a compiled pass;
- averaging commutes with what is the same at every example: the affine end of the chain (an unembedding) is taken out,
  and only as many cotangents go through the rest as its rank (the width before it, not the vocabulary);
- where the layer is narrower still, its d directions, e_j at all positions at once, go forward instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._errors import ArgumentError
from ..._segments import Segment
from .network import Network

CHUNK = 64  # directions that are put through at once


@dataclass(frozen=True, eq=False)
class Lens:
    """`matrix` (o, d): ∂(sum over positions of the output)/∂(values after `segment`), averaged.

    `passes`: forward or backward passes of one example through the chain from there on; `brute`: one backward pass per
    output and example. `shared`: passes through the affine end alone, once for all examples. `mode`: "reverse" or
    "forward". `affine_from`: the first segment of the affine end that was taken out, None where nothing was.
    """

    matrix: np.ndarray
    segment: int
    examples: int
    positions: int
    mode: str
    passes: int
    brute: int
    shared: int
    affine_from: int | None

    def __str__(self) -> str:
        o, d = self.matrix.shape
        name = "VJPs" if self.mode == "reverse" else "JVPs"
        lines = [
            f"Jacobian lens from segment {self.segment} to the output: {o}×{d}, the mean over {self.examples} examples "
            f"and {self.positions} positions",
            f"  {self.passes} {name} (instead of {self.brute} VJPs, one per output and example)",
        ]
        if self.affine_from is not None:
            lines.append(
                f"  segments from {self.affine_from} on are affine, the same for all examples: taken out, "
                f"{self.shared} VJPs through them alone"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        numbers = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "matrix"}
        return {**numbers, "matrix": self.matrix.tolist()}


def lens(
    f: Callable[..., Any], x: Any, *rest: Any, segment: int = 0, batch: bool | Sequence[int] = True,
    argnums: int | Sequence[int] = 0,
) -> Lens:  # fmt: skip
    """The mean Jacobian from the values after `segment` (0: the input) to the output, over positions and examples.

    f is the function of one example and `batch` as in `gradient_flow`. Both the values there and the output must be one
    array, (positions, width) or (width,). Raises `ArgumentError` where they are not.
    """
    network = Network(f, (x, *rest), argnums, batch)
    return lens_of(network, network.values(), segment)


def lens_of(network: Network, states: list[Any], segment: int) -> Lens:
    """The same, of a network whose values are known."""
    count = len(network.chain)
    if isinstance(segment, bool) or not isinstance(segment, (int, np.integer)) or not 0 <= segment < count:
        raise ArgumentError(f"segment: got {segment!r}, expected a number from 0 (the input) to {count - 1}")
    first, last = network.chain[segment], network.chain[count - 1]
    positions, d = _layout(first.avals[0], f"the values after segment {segment}")
    places, o = _layout(last.avals[1], "the output")
    end = _affine_from(network, segment)
    shared = jnp.tile(jnp.eye(o, dtype=network.input.dtype), (1, places))  # row i: e_i at every position
    left, seeds = np.eye(o), np.asarray(shared, np.float64)
    taken = None
    if end < count:
        pulled = np.asarray(_pull_all(network, states, shared, end, count, examples=1)[0], np.float64)
        u, s, vh = np.linalg.svd(pulled, full_matrices=False)
        rank = int((s > np.finfo(network.input.dtype).eps * max(pulled.shape) * s.max(initial=0.0)).sum())
        if rank < o:
            left, seeds, taken = u[:, :rank] * s[:rank], vh[:rank], end + 1
    stop = count if taken is None else end
    reverse = len(seeds) <= d
    if reverse:
        rows = _pull_all(network, states, jnp.asarray(seeds, network.input.dtype), segment, stop)
        summed = np.asarray(rows, np.float64).reshape(network.size, len(seeds), positions, d).sum(axis=2)
    else:
        ones = jnp.tile(jnp.eye(d, dtype=network.input.dtype), (1, positions))
        columns = np.asarray(_push_all(network, states, ones, segment, stop), np.float64)  # (B, d, width at stop)
        summed = np.einsum("rw,bdw->brd", seeds, columns)
    return Lens(
        matrix=left @ summed.mean(axis=0) / positions,
        segment=int(segment),
        examples=network.size,
        positions=positions,
        mode="reverse" if reverse else "forward",
        passes=network.size * min(len(seeds), d),
        brute=network.size * o,
        shared=0 if taken is None else o,
        affine_from=taken,
    )


def _layout(avals: Any, what: str) -> tuple[int, int]:
    """(positions, width) of one array (T, d), or of one vector (d,)."""
    shapes = [shape for shape, _ in avals]
    if len(shapes) != 1 or len(shapes[0]) not in (1, 2):
        raise ArgumentError(
            f"lens: {what} have shapes {shapes}, expected one array (positions, width) or (width,); choose a segment "
            "where all data passes through one such array"
        )
    return (1, shapes[0][0]) if len(shapes[0]) == 1 else (shapes[0][0], shapes[0][1])


def _affine_from(network: Network, segment: int) -> int:
    """The first of the last segments that are all affine, with coefficients that no example changes."""
    graph, k = network.chain.graph, len(network.chain)
    active = {id(node) for node in graph.active_nodes}
    while k > segment + 1:
        link = network.chain[k - 1]
        alone = len(link.given) == link.active[0]
        if not alone or 0 in network.axes[k - 1] or not all(node.affine for node in link.nodes if id(node) in active):
            break
        k -= 1
    return k


def _pull_all(
    network: Network, states: list[Any], seeds: Any, start: int, stop: int, examples: int | None = None
) -> Any:
    """Cotangents (r, m) pulled back, at every example, from segment `stop` − 1 to segment `start`: (B, r, n)."""
    chosen = np.arange(examples or network.size)
    return _in_chunks(network, states, seeds, range(stop - 1, start - 1, -1), "pull", _pull, chosen)


def _push_all(network: Network, states: list[Any], seeds: Any, start: int, stop: int) -> Any:
    """Tangents (r, n) pushed forward, at every example, through segments `start` to `stop` − 1: (B, r, m)."""
    return _in_chunks(network, states, seeds, range(start, stop), "push", _push, np.arange(network.size))


def _in_chunks(
    network: Network, states: list[Any], seeds: Any, way: range, kind: str, one: Any, chosen: np.ndarray
) -> Any:
    found = []
    for first in range(0, len(seeds), CHUNK):
        block = jnp.broadcast_to(seeds[first : first + CHUNK], (len(chosen), *seeds[first : first + CHUNK].shape))
        for k in way:
            x, along = network.at(states[k], chosen)
            block = network.program(kind, k, one, 2)(along, network.operands_at(k, chosen), x, block)
        found.append(block)
    return jnp.concatenate(found, axis=1)


def _pull(segment: Segment, along: Any, operands: Any, x: Any, rows: Any) -> Any:
    pull = jax.vjp(segment.on_vectors(along, operands), x, has_aux=True)[1]
    return jax.vmap(lambda u: pull(u)[0])(rows)


def _push(segment: Segment, along: Any, operands: Any, x: Any, rows: Any) -> Any:
    return jax.vmap(jax.linearize(segment.on_vectors(along, operands), x, has_aux=True)[1])(rows)
