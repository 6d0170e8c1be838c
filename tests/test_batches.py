"""Passes one after another where a batch of them would be slower."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jacmap as jm
from jacmap.engine.backends.jax import compat, products


def turned(count: int, side: int):
    """`count` products of a side×side matrix with a vector that is read by index; the matrices move, too."""
    reads = np.random.default_rng(0).integers(0, 8, count)

    def f(x: jax.Array) -> jax.Array:
        matrices, vectors = x[: 8 * side**2].reshape(8, side, side), x[8 * side**2 :].reshape(count, side)
        return jnp.einsum("nij,nj->ni", matrices[reads], vectors).ravel()

    return f, jax.random.normal(jax.random.key(0), (8 * side**2 + count * side,))


@pytest.mark.parametrize(("count", "side", "in_turn"), [(200_000, 3, True), (2_000, 3, False), (10_000, 9, False)])
def test_many_small_products_are_pushed_through_pass_after_pass(count: int, side: int, in_turn: bool) -> None:
    f, x = turned(count, side)
    jacobian = jm.jacobian(f, form="sparse")
    plan = jacobian.plan(x)
    assert (plan.chosen.chunk == 1) is in_turn
    assert ("pass after pass" in str(plan)) is in_turn
    v = jax.random.normal(jax.random.key(1), x.shape)
    np.testing.assert_allclose(jacobian(x) @ v, jax.jvp(f, (x,), (v,))[1], rtol=1e-10, atol=1e-10)


def points(one: np.ndarray, two: np.ndarray):
    """Sights of one point in space and of two neighbours: rows of three entries and of six."""

    def in_jax(x: jax.Array) -> jax.Array:
        p = x.reshape(-1, 3)
        return jnp.concatenate([jnp.sin(p[one]).prod(1), (p[two] * p[two + 1][:, [1, 2, 0]]).sum(1)])

    def in_torch(x: torch.Tensor) -> torch.Tensor:
        p, left = x.reshape(-1, 3), torch.as_tensor(two)
        return torch.cat([p[torch.as_tensor(one)].sin().prod(1), (p[left] * p[left + 1][:, [1, 2, 0]]).sum(1)])

    return in_jax, in_torch


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_passes_in_turn_are_read_run_by_run(backend: str) -> None:
    draw, count = np.random.default_rng(3), 300
    in_jax, in_torch = points(draw.integers(0, count, 250), draw.integers(0, count - 1, 350))
    x = draw.standard_normal(3 * count)
    f, at = (in_jax, jnp.asarray(x)) if backend == "jax" else (in_torch, torch.as_tensor(x))
    jacobian = jm.jacobian(f, form="sparse", memory="1 kB")
    found, plan = jacobian(at), jacobian.plan(at)
    assert plan.chosen.chunk == 1
    read = plan.planned.read_for(plan.chosen)
    assert read.layout is None and read.source_runs[2] == 3
    dense = np.asarray(found.todense() if backend == "jax" else found.to_dense())
    np.testing.assert_allclose(dense, jax.jacfwd(in_jax)(jnp.asarray(x)), rtol=1e-12, atol=1e-12)


N = products.MANY
PRODUCTS = [
    ((N, 3, 4), (N, 4), (((2,), (1,)), ((0,), (0,)))),
    ((4, N, 3), (4, N), (((0,), (0,)), ((1,), (1,)))),
    ((N, 3, 4), (2, 4, N), (((2,), (1,)), ((0,), (2,)))),
    ((N, 4), (N, 4), (((1,), (1,)), ((0,), (0,)))),
    ((2, N, 3, 4), (4, N, 1), (((3,), (0,)), ((1,), (1,)))),
    ((2, N, 3, 4), (N, 2, 4), (((3,), (2,)), ((1, 0), (0, 1)))),
]


def multiplied(left: tuple[int, ...], right: tuple[int, ...], dimensions, dtype=float):
    draw = np.random.default_rng(1)
    values = [jnp.asarray(draw.standard_normal(shape), dtype) for shape in (left, right)]
    return jax.make_jaxpr(lambda a, b: jax.lax.dot_general(a, b, dimensions))(*values).eqns[0], values


@pytest.mark.parametrize(("left", "right", "dimensions"), PRODUCTS)
def test_many_small_products_are_written_out(left, right, dimensions) -> None:
    equation, values = multiplied(left, right, dimensions)
    assert products.many_small(equation)
    assert "dot_general" not in str(jax.make_jaxpr(lambda *values: products.bind(equation, [*values]))(*values))
    found, expected = products.bind(equation, values)[0], compat.bind(equation, values)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("count", "dtype", "inner"), [(N, jnp.bfloat16, 3), (N, float, 9), (N - 1, float, 3)])
def test_products_that_would_be_summed_otherwise_or_are_few_stay(count: int, dtype, inner: int) -> None:
    equation, values = multiplied((count, 3, inner), (count, inner), (((2,), (1,)), ((0,), (0,))), dtype)
    assert "dot_general" in str(jax.make_jaxpr(lambda *values: products.bind(equation, [*values]))(*values))
