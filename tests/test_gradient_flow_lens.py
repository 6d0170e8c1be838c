"""The Jacobian lens against brute force: all entries of all examples, by jax.jacrev."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from network_cases import Transformer

import jacmap as jm
from jacmap.study.gradient_flow import lens

BLOCKS, WIDTH, LENGTH, PROMPTS = 4, 4, 3, 3


def brute(f, x):
    """(o, d): mean over examples and source positions of the sum over target positions."""
    J = np.asarray(jax.vmap(jax.jacrev(f))(x))  # (B, T', o, T, d)
    return J.sum(axis=1).mean(axis=(0, 2))


def study(outputs):
    model = Transformer.random(np.random.default_rng(0), BLOCKS, WIDTH, outputs)
    model = jax.tree.map(lambda w: w.astype(float), (model.weights, model.readout))
    x = jnp.asarray(np.random.default_rng(1).standard_normal((PROMPTS, LENGTH, WIDTH)))
    return Transformer(*model), x


@pytest.mark.parametrize(("outputs", "passes"), [(30, WIDTH), (3, 3)])
def test_the_lens_equals_brute_force_with_fewer_passes(outputs, passes):
    model, x = study(outputs)
    for at, rest in ((0, model), (4, Transformer(model.weights[2:], model.readout))):
        values = x if at == 0 else jax.vmap(_first_two(model))(x)
        found = lens(model, x, segment=at)
        np.testing.assert_allclose(found.matrix, brute(rest, values), rtol=1e-9, atol=1e-10)
        assert found.passes == PROMPTS * passes
        assert found.brute == PROMPTS * outputs
        assert (found.affine_from is not None) == (outputs > WIDTH)


def _first_two(model):
    return Transformer(model.weights[:2], model.readout).residual


def test_a_narrow_layer_goes_forward():
    rng = np.random.default_rng(2)
    narrow, wide = jnp.asarray(rng.standard_normal((3, 8))), jnp.asarray(rng.standard_normal((8, 3)))

    def f(x):
        return jnp.tanh(wide @ jnp.sin(narrow @ x))

    x = jnp.asarray(rng.standard_normal((4, 8)))
    found = lens(f, x, segment=1)
    np.testing.assert_array_equal(found.matrix, jm.gradient_flow(f, x, batch=True).lens(1).matrix)
    middle = jax.vmap(lambda x: jnp.sin(narrow @ x))(x)
    expected = np.mean(jax.vmap(jax.jacrev(lambda h: jnp.tanh(wide @ h)))(middle), axis=0)
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-10)
    assert (found.mode, found.passes) == ("forward", 4 * 3)
    assert "JVPs (instead of 32 VJPs" in str(found)


def test_what_has_no_positions_is_refused():
    def f(x):
        return {"a": jnp.cumsum(x), "b": jnp.sum(x)}

    with pytest.raises(jm.ArgumentError, match="output have shapes"):
        lens(f, jnp.ones((1, 3)))
    with pytest.raises(jm.ArgumentError, match="segment: got 9"):
        lens(f, jnp.ones((1, 3)), segment=9)
