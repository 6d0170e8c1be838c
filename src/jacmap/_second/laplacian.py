"""`laplacian`: the sum of the unmixed second derivatives, by one forward sweep along few directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import translated
from .._entry import Entry
from .._errors import ArgumentError, ModeError, StructureError
from .._transforms import PlannedFunction, Transform
from ..engine.backends.jax import function as backend
from ..engine.backends.jax.laplace import sweep
from ..engine.graph import Graph
from ..engine.graph.curvature import hessian_pattern
from ..engine.plan.laplacian import directions
from ..engine.plan.plan import Plan
from ..engine.plan.planner import Planned
from ..engine.plan.question import Question
from ..engine.plan.recipe import Recipe
from .hessian import HessianTransform

# A direction costs a tangent, and where an operation bends its square as well.
PER_DIRECTION = 1.5


@dataclass(frozen=True, kw_only=True)
class Swept(Recipe):
    """A forward Laplacian along the directions that `labels` (n,) gives the inputs."""

    labels: np.ndarray


@dataclass(eq=False)
class LaplacianPlan(Plan):
    """A plan of which one candidate is a sweep through f itself, not a batch of products with the Hessian."""

    @property
    def summary(self) -> str:
        """One line: "forward Laplacian: 2 directions (instead of 1000)"."""
        if not isinstance(self.chosen, Swept):
            return super().summary
        count, n = self.chosen.forward, self.shape[1]
        words = f"{count} direction{'s' if count != 1 else ''}"
        return f"{self.chosen.name}: {words}" + (f" (instead of {n})" if count < n else "")


class LaplacianTransform(Transform):
    """Σ_i ∂²f/∂x_i² of every output of f."""

    def __init__(self, f: Callable[..., Any], argnums: int | Sequence[int]):
        question = Question("trace", matrix="Hessian")
        super().__init__(f, question, argnums)
        self.subject, self.same_for = f, lambda g: LaplacianTransform(g, argnums)
        self.by_products = HessianTransform(f, question, argnums, False)

    def _make(self, sig: backend.Signature, call: backend.Call, traced: backend.Traced) -> Entry:
        graph, n = traced.graph, traced.graph.shape[1]
        pattern = hessian_pattern(graph).pattern
        found: list[Recipe] = []
        rejected: list[tuple[str, str]] = []
        if graph.forward:
            labels = directions(pattern)
            count = int(labels.max(initial=-1)) + 1
            work = PER_DIRECTION * count * graph.pass_work + graph.work
            note = "no two inputs of one direction interact" if count < n else ""
            found.append(Swept(name="forward Laplacian", forward=count, cost=work, note=note, labels=labels))
        else:
            rejected.append(("forward Laplacian", f"{_without_forward(graph)} cannot run in forward mode"))
        if graph.reverse and [a.shape for a in traced.outputs] == [()]:
            value = backend.on_leaves(self.by_products.f, sig, False)
            chosen = self.by_products._entry(sig, value)[0].plan.chosen
            found.append(replace(chosen, name=f"trace of the Hessian by {chosen.name}"))
        if not found:
            raise ModeError(
                f"{getattr(self.f, '__name__', 'f')}: the Laplacian of several outputs needs forward mode, which "
                f"{_without_forward(graph)} cannot run in; ask for the Laplacian of one output at a time"
            )
        found.sort(key=lambda recipe: recipe.cost)
        planned = Planned(self.question, tuple(found), pattern, None, {}, tuple(rejected), 0)
        return Entry(traced, LaplacianPlan(planned, found[0], (n, n), graph, run=self.call))

    def _run(self, sig: backend.Signature, moving: list[Any], others: list[Any], mapped: bool = False) -> Any:
        entry, traced = self._entry(sig, backend.on_leaves(self.f, sig, False))
        chosen = entry.plan.chosen
        if not isinstance(chosen, Swept):
            return jax.tree_util.tree_unflatten(traced.out_tree, [self.by_products._run(sig, moving, others)])
        with translated(self.f):
            return jax.tree_util.tree_unflatten(traced.out_tree, _swept(traced, moving, others, chosen.labels))

    def _compared(
        self, entry: Entry, sig: backend.Signature, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> float | None:
        """Two checks against plain nested JVPs: of the sweep along one direction, and of what shares a direction."""
        chosen = entry.plan.chosen
        if not isinstance(chosen, Swept):
            return self.by_products.plan(*args, **kwargs).probed
        leaves = jax.tree_util.tree_leaves((args, kwargs))
        moving, others = [jnp.asarray(leaves[p]) for p in sig.moving], [leaves[p] for p in sig.others]
        call, n = backend.on_leaves(self.f, sig, False), chosen.labels.size
        rng = np.random.default_rng(0)
        signs = rng.choice([-1.0, 1.0], n)
        everything = np.zeros(n, np.int32)
        ours = jax.jit(lambda m, o: _swept(entry.traced, m, o, everything, signs))(moving, others)
        true, size = _nested(call, entry.traced, moving, others, signs[None])
        worst = [_difference(ours, true, size, entry, "along a random direction")]
        if chosen.forward < n:
            halves = np.where(chosen.labels < 0, -1, 2 * chosen.labels + rng.integers(0, 2, n))
            seeds = (halves == np.arange(2 * chosen.forward)[:, None]).astype(float)
            ours = jax.jit(lambda m, o: _swept(entry.traced, m, o, chosen.labels))(moving, others)
            true, size = _nested(call, entry.traced, moving, others, seeds)
            worst.append(_difference(ours, true, size, entry, "with every direction cut in two"))
        seen = [w for w in worst if not np.isnan(w)]
        return max(seen) if seen else None


def _without_forward(graph: Graph) -> str:
    return ", ".join(sorted({node.op for node in graph.active_nodes if not node.forward}))


def _swept(
    traced: backend.Traced, moving: list[Any], others: list[Any], labels: np.ndarray, scale: np.ndarray | None = None
) -> list[Any]:
    """L of every output; `scale` (n,): the size of each input's part in its direction, 1 if not given."""
    count = int(labels.max(initial=-1)) + 1
    seeds = (labels == np.arange(count)[:, None]) * (1.0 if scale is None else scale)
    moving = [jnp.asarray(leaf) for leaf in moving]
    dtype = np.result_type(*(leaf.dtype for leaf in moving))
    found = sweep(traced.graph, moving, others, jnp.asarray(seeds, dtype), labels)
    return [jnp.zeros_like(value) if bent is None else bent for value, bent in found]


def _nested(
    call: backend.Call, traced: backend.Traced, moving: list[Any], others: list[Any], seeds: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Σ_k s_kᵀ H s_k of every output by JAX's own nested JVPs, and the sum of the sizes of the terms."""

    def second(leaves: list[Any], other: list[Any], seed: Any) -> list[Any]:
        parts, start = [], 0
        for leaf in leaves:
            parts.append(seed[start : start + leaf.size].reshape(leaf.shape).astype(leaf.dtype))
            start += leaf.size

        def slope(*at: Any) -> list[Any]:
            return jax.jvp(lambda *x: call(list(x), other)[0], at, tuple(parts))[1]

        return jax.jvp(slope, tuple(leaves), tuple(parts))[1]

    terms = jax.jit(lambda leaves, other: jax.lax.map(lambda s: second(leaves, other, s), jnp.asarray(seeds)))
    found = [np.asarray(t) for t in terms(moving, others)]
    return [t.sum(axis=0) for t in found], [np.abs(t).sum(axis=0) for t in found]


def _difference(ours: list[Any], true: list[np.ndarray], size: list[np.ndarray], entry: Entry, how: str) -> float:
    """The largest difference relative to the size of the terms; NaN where nothing is finite."""
    eps = entry.traced.eps
    allowed = max(eps ** (2 / 3), 200 * eps) if eps < 1e-4 else 20 * eps
    worst = float("nan")
    for mine, theirs, scale in zip(map(np.asarray, ours), true, size, strict=True):
        usable = np.isfinite(mine) & np.isfinite(theirs)
        if not usable.any():
            continue
        largest = np.abs(scale[usable]).max()
        error = np.abs(mine - theirs)[usable] / (scale[usable] + 1e-3 * largest + np.finfo(float).tiny)
        worst = float(np.nanmax([worst, error.max()]))
    if worst > allowed:
        raise StructureError(
            f"the forward Laplacian differs from nested JVPs {how}: relative difference {worst:.1e}. No result is "
            "returned. Please report this with the function; the trace of jax.hessian answers meanwhile"
        )
    return worst


def laplacian(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> PlannedFunction:
    """A function that computes the Laplacian Σ_i ∂²f/∂x_i² over all differentiated inputs.

    f may return any pytree of real arrays: the answer has its shape, each entry the Laplacian of that output. A scalar
    f gives one number, the trace of its Hessian. Works under `jit`, `vmap` and `grad`; f is read once per shape, and
    `.plan(*args)` explains what was chosen.

    One sweep through f carries values, tangents and Laplacians together (the forward Laplacian, Li et al. 2023,
    arXiv:2307.08214). Inputs that do not interact share a direction, so a sum of local terms needs few of them. Where
    an operation has no forward mode, a scalar f's Laplacian is the trace of its Hessian. A scalar function of PyTorch
    tensors is answered in PyTorch, as the trace of its Hessian, and losses may be built on the answer; one of several
    outputs is translated to JAX, and that answer is detached. Raises what `jacmap.jacobian` raises; `StructureError`
    where the sweep disagrees with JAX's nested JVPs when the plan is new.
    """
    if not callable(f):
        raise ArgumentError(f"f: got {type(f).__name__}, expected a function of arrays")
    return LaplacianTransform(f, argnums).function()
