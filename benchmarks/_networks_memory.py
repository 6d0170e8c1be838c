"""Memory plans and mixed precision, measured: predicted peaks against XLA's own, time at half the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _table import MISSING, Case, Row, Tick
from _timing import medians

import jacmap as jm


def mlp(weights: list[jax.Array], x: jax.Array) -> jax.Array:
    for w in weights:
        x = jnp.tanh(x @ w)
    return jnp.sum(x * x)


def deep(batch: int) -> tuple[Any, ...]:
    """64 layers of 512 × 512. From a batch of 513 on activations no longer fit into the buffers of the gradients."""
    keys = jax.random.split(jax.random.key(0), 65)
    return [jax.random.normal(k, (512, 512)) * 512**-0.5 for k in keys[1:]], jax.random.normal(keys[0], (batch, 512))


WIDTH, HEADS = 128, 4


def norm(x: jax.Array) -> jax.Array:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5)


def block(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    batch, length, _ = x.shape
    h = norm(x)
    q, k, v = ((h @ p[name]).reshape(batch, length, HEADS, WIDTH // HEADS) for name in ("q", "k", "v"))
    scores = jnp.einsum("bshd,bthd->bhst", q, k) * (WIDTH // HEADS) ** -0.5
    scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -1e9)
    x = x + jnp.einsum("bhst,bthd->bshd", jax.nn.softmax(scores), v).reshape(x.shape) @ p["o"]
    return x + jax.nn.gelu(norm(x) @ p["up"]) @ p["down"]


def language(params: dict[str, Any], tokens: jax.Array) -> jax.Array:
    x = params["embed"][tokens]
    for p in params["blocks"]:
        x = block(p, x)
    chances = jax.nn.log_softmax((norm(x) @ params["embed"].T)[:, :-1])
    return -jnp.mean(jnp.take_along_axis(chances, tokens[:, 1:, None], -1))


def transformer(blocks: int, batch: int = 8, length: int = 128) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(0, 0.05, shape), jnp.float32)

    shapes = {**dict.fromkeys("qkvo", (WIDTH, WIDTH)), "up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH)}
    layers = [{name: draw(*shape) for name, shape in shapes.items()} for _ in range(blocks)]
    return {"embed": draw(256, WIDTH), "blocks": layers}, jnp.asarray(rng.integers(0, 256, (batch, length)))


def studied(name: str, f: Callable[..., Any], args: tuple[Any, ...], rounds: int, tick: Tick) -> Iterator[Row]:
    tick(f"{name}: planning, all schedules compiled")
    plan = jm.memory_plan(f, *args, budget=0.5, compiled="all", progress=False)
    full = plan.keep_all.measured
    assert full is not None and plan.chosen.measured is not None
    yield Row(f"{name}: keep-all's peak by XLA, beside arguments and gradients", full / 1e6, "MB")
    share = plan.chosen.measured / full
    yield Row(f"{name}: peak by XLA of the schedule for half of it", share, "of keep-all", 0.5, at_most=True)
    tick(f"{name}: gradients timed")
    ours, theirs = jax.jit(jax.grad(plan.apply())), jax.jit(jax.grad(f))
    times = medians({"ours": lambda: ours(*args), "theirs": lambda: theirs(*args)}, rounds)
    ratio = times["ours"] / times["theirs"]
    yield Row(f"{name}: the same, time over that of keeping everything", ratio, "×", 1.4, at_most=True)
    pairs = zip(jax.tree_util.tree_leaves(ours(*args)), jax.tree_util.tree_leaves(theirs(*args)), strict=True)
    far = max(float(jnp.abs(a - b).max() / (jnp.abs(b).max() + 1e-30)) for a, b in pairs)
    yield Row(f"{name}: the same, gradient's difference", far, "relative", 1e-5, at_most=True)
    errors = {r.name: abs(r.peak / r.measured - 1) for r in plan.schedules if r.measured and r is not plan.keep_all}
    worst = max(errors, key=errors.__getitem__)
    case = f"{name}: predicted peak, worst of {len(errors)} schedules ({worst})"
    yield Row(case, errors[worst], "off", 0.15, at_most=True)
    yield Row(f"{name}: predicted peak of the chosen one", errors[plan.chosen.name], "off", 0.15, at_most=True)
    least = min(r.measured for r in plan.schedules if r.measured)
    refused = MISSING
    try:
        jm.memory_plan(f, *args, budget=0.3 * least, work="counted", progress=False)
    except jm.ArgumentError:
        refused = 1
    yield Row(f"{name}: a budget below the smallest is refused", refused, "", 1)


def networks(quick: bool, tick: Tick) -> Iterator[Row]:
    rounds = 5 if quick else 11
    yield from studied("64 × (512×512) tanh, batch 1024", mlp, deep(1024), rounds, tick)
    yield from studied("transformer of 6 blocks", language, transformer(4 if quick else 6), rounds, tick)


def precisions(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("mixed precision")
    study = jm.precision(language, *transformer(2))
    for dtype, most in (("float16", 0.02), ("bfloat16", 0.1)):
        found = study[dtype]
        yield Row(f"gradient in {dtype}, transformer of 2 blocks, best loss scale", found.error, "relative", most, True)
        lost = found.trials[0][2]
        yield Row(f"the same, loss scale {found.scale or 0:g}: lost as zeros at scale 1", lost, "of entries")


CASES: dict[str, Case] = {"memory": networks, "precision": precisions}
