"""Cuts against brute force: every set of values is tried on small random graphs."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jacmap as jm
from jacmap.engine.backends.jax.trace import graph_of
from jacmap.engine.graph import Pattern
from jacmap.engine.graph.cuts import boundaries, nodes_between, rank_bound, useful_chain
from jacmap.engine.graph.graph import Graph, Node, Place, Value


def graph_from(sizes, reads, outputs):
    """A graph with input 0 and one node per further value, `reads[k]` its inputs; everything coupled in full."""
    values = [Value((size,), size, True, True) for size in sizes]

    def node(k):
        local = {(0, i): Pattern.full((sizes[k], sizes[v])) for i, v in enumerate(reads[k])}
        return Node(f"op{k}", tuple(reads[k]), (k,), lambda: local, Place)

    return Graph(values, [node(k) for k in range(1, len(sizes))], (0,), tuple(outputs))


def separates(graph, values):
    """Does every path from the inputs to the outputs pass one of the values? Told by walking around them."""
    reached = set(graph.inputs) - set(values)
    for node in graph.nodes:
        if reached.intersection(node.inputs):
            reached.update(v for v in node.outputs if v not in values)
    return not reached.intersection(graph.outputs)


def narrowest_by_brute_force(graph):
    """The width of the narrowest of all sets of values that separate."""
    sizes = [value.size for value in graph.values]
    widths = []
    for taken in itertools.product([False, True], repeat=len(sizes)):
        chosen = [v for v, inside in enumerate(taken) if inside]
        if separates(graph, chosen):
            widths.append(sum(sizes[v] for v in chosen))
    return min(widths)


@st.composite
def graphs(draw):
    count = draw(st.integers(2, 8))
    sizes = draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    reads = [[]]
    for k in range(1, count):
        reads.append(draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=2, unique=True)))
    # What nobody reads is an output: nothing in the graph is dead.
    read = {v for inputs in reads for v in inputs}
    outputs = [v for v in range(1, count) if v not in read]
    return graph_from(sizes, reads, outputs)


@settings(max_examples=300)
@given(graphs())
def test_boundaries_are_cuts_in_order(graph):
    cuts = boundaries(graph)
    assert cuts[0].values == graph.inputs and cuts[-1].values == graph.outputs
    for cut in cuts:
        assert separates(graph, cut.values)
        assert cut.width == sum(graph.values[v].size for v in cut.values)
    assert len({cut.values for cut in cuts}) == len(cuts)
    # A value once passed is not needed again unless the later cut holds it itself.
    for before, after in zip(cuts, cuts[1:], strict=False):
        given_values = set(before.values)
        for node in nodes_between(graph, before, after):
            assert given_values.issuperset(node.inputs), "a segment reads what the cut before it does not hold"
            given_values.update(node.outputs)
        assert given_values.issuperset(after.values)


@settings(max_examples=150)
@given(graphs())
def test_the_narrowest_cut_is_found(graph):
    assert rank_bound(graph) == narrowest_by_brute_force(graph)


@settings(max_examples=200)
@given(graphs())
def test_useful_cuts_are_a_part_of_all_cuts(graph):
    cuts = boundaries(graph)
    kept = useful_chain(graph, cuts)
    assert kept[0] is cuts[0] and kept[-1] is cuts[-1]
    positions = [cuts.index(cut) for cut in kept]
    assert positions == sorted(positions)


# -- real functions ----------------------------------------------------------------------------------------------
RNG = np.random.default_rng(0)
DOWN, UP, SKIP = RNG.normal(size=(3, 20)), RNG.normal(size=(20, 3)), RNG.normal(size=(2, 20))


def read(f, n):
    closed = jax.make_jaxpr(f)(jnp.ones(n))
    return graph_of(closed.jaxpr, closed.consts, [True])


def two_values(x):
    """All passes through two values together, 3 + 2 entries; neither alone is a cut."""
    left, right = jnp.tanh(DOWN @ x), jnp.sin(SKIP @ x)
    return UP @ left + SKIP.T @ right


def two_values_written_apart(x):
    """The same, in an order in which other values are alive when the second one is made."""
    left = jnp.tanh(DOWN @ x)
    out = UP @ left
    right = jnp.sin(SKIP @ x)
    return out + SKIP.T @ right


def variational(x):
    """An autoencoder that also returns what its bottleneck is made of: outputs that later operations read."""
    mean, spread = jnp.tanh(DOWN @ x), jnp.exp(SKIP @ x)
    return UP @ mean + SKIP.T @ spread, spread, jnp.sum(mean**2)


def residual(x):
    """A skip connection around the bottleneck: no cut narrower than x."""
    return x + UP @ jnp.tanh(DOWN @ x)


def after_the_skip(x):
    return jnp.sin(UP @ jnp.tanh(DOWN @ residual(x)))


@pytest.mark.parametrize(
    ("f", "bound"),
    [(two_values, 5), (two_values_written_apart, 5), (variational, 5), (residual, 20), (after_the_skip, 3)],
    ids=lambda case: getattr(case, "__name__", str(case)),
)
def test_rank_bounds_of_functions(f, bound):
    """The bound does not depend on the order in which the program is written, and the rank keeps to it."""
    assert rank_bound(read(f, 20)) == bound
    blocks = jax.tree_util.tree_leaves(jax.jacfwd(f)(RNG.normal(size=20)))
    true = np.concatenate([np.reshape(block, (-1, 20)) for block in blocks])
    assert np.linalg.matrix_rank(true) == bound


def test_dead_code_and_repeated_work_make_no_wider_cut():
    def f(x):
        unused = jnp.outer(x, x) @ jnp.ones(20)  # noqa: F841
        return UP @ (jnp.tanh(DOWN @ x) * jnp.tanh(DOWN @ x))

    assert rank_bound(read(f, 20)) == 3


def test_values_that_carry_no_derivative_do_not_count():
    """A comparison goes around the bottleneck, but nothing is differentiated through it."""

    def f(x):
        return UP @ jnp.tanh(DOWN @ x) * jnp.where(x > 0, 1.0, 2.0)

    assert rank_bound(read(f, 20)) == 3
    x = jnp.asarray(RNG.normal(size=20))
    jacobian = jm.linearize(f, x)
    np.testing.assert_allclose(jacobian.dense(), jax.jacfwd(f)(x), rtol=1e-10)
    product = np.eye(20)
    for link in jacobian.chain:
        product = np.asarray(link.dense()) @ product
    np.testing.assert_allclose(product, jax.jacfwd(f)(x), rtol=1e-10)


FUNCTIONS = [two_values, two_values_written_apart, variational, residual, after_the_skip]


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_chains_multiply_to_the_jacobian(f):
    jacobian = jm.linearize(f, jnp.asarray(RNG.normal(size=20)))
    product = np.eye(20)
    for link in jacobian.chain:
        product = np.asarray(link.dense()) @ product
    plain = jm.jacobian(f, form="sparse", plan="plain")(*jacobian.args)
    np.testing.assert_allclose(product, plain.todense(), rtol=1e-10, atol=1e-13)


def test_an_input_that_is_an_output_goes_straight_through():
    def f(x):
        return jnp.concatenate([UP @ jnp.tanh(DOWN @ x)]), x

    assert rank_bound(read(f, 20)) == 20


def test_a_long_chain():
    """Three hundred layers: a boundary at each, in order, in little time."""

    def f(x):
        for _ in range(300):
            x = jnp.sin(x)[::-1] + 1
        return UP @ (DOWN @ x)

    cuts = boundaries(read(f, 20))
    assert len(cuts) >= 300
    assert min(cut.width for cut in cuts) == 3


def test_complex_values_are_no_cut_of_a_real_function():
    # rfft gives 9 complex numbers for 16 real ones: two real numbers each, and no bottleneck.
    def around(x):
        return jnp.tanh(jnp.fft.irfft(jnp.fft.rfft(jnp.sin(x)) * np.exp(1j * np.arange(9)), n=16))

    def narrow(x):
        return jnp.tanh(jnp.fft.irfft(jnp.fft.rfft(jnp.concatenate([x, x]))[:3] * np.complex128(1 + 2j), n=64))

    x = jnp.linspace(0.0, 1.0, 16)
    assert jm.linearize(around, x).rank_bound == 16 == np.linalg.matrix_rank(jax.jacfwd(around)(x))
    x = jnp.linspace(0.0, 1.0, 40)
    np.testing.assert_allclose(jm.jacobian(narrow)(x), jax.jacfwd(narrow)(x), rtol=1e-10, atol=1e-12)
