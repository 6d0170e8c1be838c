"""The gallery of layers: closed forms written by hand against the engine and against plain AD; broken ones are seen."""

import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jacmap as jm

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import layers

CASES = [
    pytest.param(layer, name, id=f"{layer.name}, {name}") for layer in layers.GALLERY for name in layer.arguments
]


@cache
def found(layer: layers.Layer, name: str) -> tuple[jm.Jacobian, np.ndarray]:
    J = layer.jacobian(name)
    return J, np.asarray(J.dense())


def test_the_gallery_is_whole() -> None:
    """Every array of every layer has a closed form, inputs and weights alike."""
    assert len(layers.GALLERY) >= 20
    for layer in layers.GALLERY:
        assert layer.arguments == list(layer.names), layer.name


@pytest.mark.parametrize(("layer", "name"), CASES)
def test_the_closed_form_equals_the_engine(layer: layers.Layer, name: str) -> None:
    exact, (J, ours) = layer.closed(*layer.args)[name], found(layer, name)
    assert J.shape == exact.shape
    np.testing.assert_allclose(ours, exact, rtol=1e-10, atol=1e-10)
    assert not np.any((exact != 0) & ~np.asarray(J.pattern.todense(), bool)), "the pattern misses an entry"
    assert (J.pattern.nnz > np.count_nonzero(exact)) == (name in layer.wider), "is the structure wider?"


@pytest.mark.parametrize("layer", layers.GALLERY, ids=lambda layer: layer.name)
def test_the_closed_form_equals_plain_differentiation(layer: layers.Layer) -> None:
    """Without the engine: so a fault of both would have to be JAX's."""
    args = [jnp.asarray(a) for a in layer.args]
    numbers = tuple(range(len(args)))
    theirs = jax.jit(jax.jacrev(lambda *args: layer.f(*args).ravel(), argnums=numbers))(*args)
    exact = layer.closed(*layer.args)
    for name, own in zip(layer.names, theirs, strict=True):
        np.testing.assert_allclose(own.reshape(exact[name].shape), exact[name], rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(("layer", "name"), CASES)
def test_a_broken_closed_form_would_be_seen(layer: layers.Layer, name: str) -> None:
    """No closed form is symmetric or zero by accident: a sign or a wrong layout would fail the test above."""
    exact = layer.closed(*layer.args)[name]
    _, J = found(layer, name)
    assert np.abs(J + exact).max() > 1e-2
    assert np.abs(J - 1.001 * exact).max() > 1e-6


def test_softmax_is_the_closed_form_of_the_books() -> None:
    s = np.asarray(jax.nn.softmax(layers.VECTOR))
    J = np.asarray(jm.linearize(jax.nn.softmax, jnp.asarray(layers.VECTOR)).dense())
    np.testing.assert_allclose(J, np.diag(s) - np.outer(s, s), atol=1e-14)
    np.testing.assert_allclose(J @ np.ones(6), 0, atol=1e-15)


def test_the_weights_of_a_large_linear_layer_are_never_formed() -> None:
    """J is 1024×1,048,576, 8.6 GB as an array: its products cost one pass each."""
    n = 1024
    x, w = jnp.asarray(np.random.default_rng(0).standard_normal(n)), jnp.zeros((n, n))
    J = jm.linearize(layers.linear, x, w, jnp.zeros(n), argnums=1)
    assert J.shape == (n, n * n)
    u = jnp.linspace(-1.0, 1.0, n)
    np.testing.assert_allclose((J.T @ u).reshape(n, n), np.outer(x, u), rtol=1e-14)
    v = np.random.default_rng(1).standard_normal((n, n))
    np.testing.assert_allclose(J @ jnp.asarray(v.ravel()), np.asarray(x) @ v, rtol=1e-11)
    assert J.pattern.nnz == n * n
    assert str(J.structure).startswith(f"block-diagonal after permutation: {n} blocks of 1×{n}")


def test_what_a_vjp_keeps() -> None:
    """In bytes of a float64 vector of six: nothing for a mask, one output for a sigmoid."""
    kept = {layer.name: layer.kept() for layer in layers.GALLERY}
    assert kept["linear"] == kept["convolution"] == kept["dropout"] == kept["average pooling"] == 0
    assert kept["sigmoid"] == 6 * 8
    assert kept["GELU"] > kept["sigmoid"]


def test_the_tables_of_the_document_are_not_wide() -> None:
    """What they say is held against the code by the tests of the documents."""
    text = (Path(__file__).parents[1] / "docs" / "layers.md").read_text(encoding="utf-8")
    tables = text.split("```text\n")[1:]
    assert max(len(line) for table in tables for line in table.split("```")[0].split("\n")) <= 112
    assert tables[0].split("```")[0].count("\n") == len(layers.GALLERY) + 1
    assert len(layers.gradients().split("\n")) == len(layers.GALLERY)
