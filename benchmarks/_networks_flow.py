"""Gradient flow: faults found and named, no false alarms, cost over one gradient, the lens against brute force."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _table import Case, Row, Tick
from _timing import medians

import jacmap as jm
from jacmap.study.gradient_flow import lens as jacobian_lens

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import network_cases as networks

SEEDS = 5


def loss(y: Any) -> Any:
    return jnp.sum(y**2) / 2


def faults(quick: bool, tick: Tick) -> Iterator[Row]:
    """Every planted fault, several seeds: right only where the kinds and the segments are exactly those planted."""
    seeds = 2 if quick else SEEDS
    right = sum(_right(name, case, seeds, tick) for name, case in networks.FAULTY.items())
    count = seeds * len(networks.FAULTY)
    yield Row("planted faults found and named at the right segment, nothing else named", right, f"of {count}", count)


def alarms(quick: bool, tick: Tick) -> Iterator[Row]:
    seeds = 2 if quick else SEEDS
    right = sum(_right(name, case, seeds, tick) for name, case in networks.HEALTHY.items())
    count = seeds * len(networks.HEALTHY)
    yield Row(f"false alarms on healthy networks ({count} networks)", count - right, "", 0, at_most=True)


def _right(name: str, case: networks.Planted, seeds: int, tick: Tick) -> int:
    """For how many seeds the diagnosis is exactly what was planted."""
    right, flow = 0, None
    for seed in range(seeds):
        tick(f"{name}, {seed + 1} of {seeds}")
        at = case.at(seed)
        flow = jm.gradient_flow(case.network, *at, batch=True, loss=loss) if flow is None else flow.at(*at)
        right += {finding.kind: finding.segments for finding in flow.diagnosis.findings} == case.faults
    return right


def cost(quick: bool, tick: Tick) -> Iterator[Row]:
    """50 layers of 512, a batch of 32: a study at another batch over one compiled gradient by weights and by inputs."""
    x, weights = networks.scaled_mlp(1.1, 50, 512)(np.random.default_rng(0))
    tick("50 layers of 512: the first study")
    flow = jm.gradient_flow(networks.TANH, x, weights, batch=True, loss=loss)

    def mean_loss(x: Any, weights: Any) -> Any:
        return jnp.mean(jax.vmap(lambda one: loss(networks.TANH(one, weights)))(x))

    by_weights, by_input = jax.jit(jax.grad(mean_loss, 1)), jax.jit(jax.grad(mean_loss))
    tick("50 layers of 512: timing")
    found = medians(
        {
            "study": lambda: flow.at(x, weights).rows[0].kept,
            "weights": lambda: by_weights(x, weights),
            "input": lambda: by_input(x, weights),
        },
        3 if quick else 9,
    )
    case = "gradient flow of 50 layers of 512, batch 32, over one gradient of the loss by the"
    yield Row(f"{case} weights", found["study"] / found["weights"], "×", 20, at_most=True)
    yield Row(f"{case} input", found["study"] / found["input"], "×", 20, at_most=True)
    tick("50 layers of 512: estimates against singular values")
    exact = [np.linalg.svd(np.asarray(J, np.float64), compute_uv=False) for J in _layers(x[0], weights, (0, 24, 49))]
    one = jm.gradient_flow(networks.TANH, x[:1], weights, batch=True, loss=loss, method="estimate")
    largest = max(abs(one.rows[k].own.largest.value / s[0] - 1) for k, s in zip((0, 24, 49), exact, strict=True))
    yield Row("the same: largest singular value of three layers, worst relative error of the estimate", largest, "")


def _layers(x: Any, weights: Any, chosen: tuple[int, ...]) -> list[Any]:
    """The Jacobians of the chosen layers at one example."""
    found = []
    for k, (w, b) in enumerate(zip(*weights, strict=True)):
        y = jnp.tanh(w @ x + b)
        if k in chosen:
            found.append((1 - y**2)[:, None] * w)
        x = y
    return found


def lens(quick: bool, tick: Tick) -> Iterator[Row]:
    """A 4-block transformer, 16 wide, 200 outputs, 16 prompts of 6: every lens against all of jax.jacrev."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        model = networks.Transformer.random(rng, 4, 16, 200)
        model = networks.Transformer(*jax.tree.map(lambda w: w.astype(jnp.float64), (model.weights, model.readout)))
        x = jnp.asarray(rng.standard_normal((4 if quick else 16, 6, 16)))
        tick("lens")
        found = jacobian_lens(model, x)
        tick("lens: brute force")

        def outputs(x: Any) -> Any:
            return model(x).sum(axis=0)

        every = jax.jit(jax.vmap(jax.jacrev(outputs)))(x)  # one VJP per output and prompt
        expected = np.asarray(every).mean(axis=(0, 2))
    difference = float(np.abs(found.matrix - expected).max() / np.abs(expected).max())
    yield Row("Jacobian lens, 4-block transformer: difference from brute force", difference, "relative", 1e-10, True)
    yield Row("the same: backward passes, of one per output and prompt", found.passes / found.brute, "×", 0.5, True)
    yield Row("the same: backward passes", found.passes, f"of {found.brute}")


CASES: dict[str, Case] = {"faults": faults, "alarms": alarms, "flow cost": cost, "lens": lens}
