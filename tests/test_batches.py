"""Passes one after another where a batch of them would be slower."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm


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
