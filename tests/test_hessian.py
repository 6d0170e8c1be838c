"""`jm.hessian` against `jax.hessian`, and the rules of second derivatives against it, operation by operation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pattern_checks import nonzero, works
from test_rules import EXAMPLES

import jacmap as jm
from jacmap.engine.backends.jax.rules import curvature
from jacmap.engine.backends.jax.trace import graph_of
from jacmap.engine.graph.coupling import NONE
from jacmap.engine.graph.curvature import hessian_pattern

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.uniform(0.3, 1.2, 12))
W = jnp.asarray(RNG.standard_normal((12, 5)))
PAIRS = RNG.integers(0, 12, (2, 14))


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def arrow(x):
    return jnp.sum(jnp.sin(x[0] * x[1:]) + x[1:] ** 3)


def pairs(x):
    return jnp.sum(jnp.sin(x[PAIRS[0]] * x[PAIRS[1]]))


def network(x):
    return jnp.sum(jnp.tanh(x @ W) ** 2)


def recurrent(x):
    return jax.lax.scan(lambda c, a: (jnp.sin(c * a) + a, None), x[0], x)[0]


def branched(x):
    return jax.lax.cond(x[0] > 0, lambda x: jnp.sum(x**3), lambda x: x[0] * x[1], x)


def repeated(x):
    return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * jnp.sin(x)), (0, x))[1].sum()


FUNCTIONS = [rosenbrock, arrow, pairs, network, recurrent, branched, repeated]
FUNCTIONS += [
    jax.nn.logsumexp,
    jnp.prod,
    lambda x: jnp.sum(jax.nn.relu(x - 0.7) ** 2),
    lambda x: jnp.sum(jnp.sort(x) ** 3),
]


def truth(f, x):
    """Plain JAX, forward twice where reverse mode is lacking."""
    return np.asarray(jax.jit(jax.jacfwd(jax.jacfwd(f)) if f is repeated else jax.hessian(f))(x))


def dense_pattern(f, x):
    closed = jax.make_jaxpr(f)(x)
    found = hessian_pattern(graph_of(closed.jaxpr, closed.consts, [True]))
    return found.pattern.todense(), found.symmetric


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_sparse_is_what_jax_computes(f):
    expected = truth(f, X)
    sparse = jm.hessian(f, form="sparse")(X)
    np.testing.assert_allclose(sparse.todense(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("f", [arrow, network], ids=lambda f: f.__name__)
def test_dense_is_what_jax_computes(f):
    expected, dense = truth(f, X), jm.hessian(f)(X)
    assert dense.shape == expected.shape and dense.dtype == X.dtype
    np.testing.assert_allclose(dense, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("f", [arrow], ids=lambda f: f.__name__)
def test_under_jit_vmap_and_grad(f):
    hessian, sparse = jax.jit(jm.hessian(f)), jm.hessian(f, form="sparse")
    found = jax.vmap(hessian)(jnp.stack([X, 2 * X]))
    for k in (0, 1):
        np.testing.assert_allclose(found[k], truth(f, (k + 1) * X), rtol=1e-12, atol=1e-12)
    third = jax.grad(lambda x: jnp.sum(jnp.sin(sparse(x).data)))(X)
    # sin(0) = 0: the zeros outside the pattern add nothing.
    np.testing.assert_allclose(third, jax.grad(lambda x: jnp.sum(jnp.sin(jax.hessian(f)(x))))(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("argnums", [(1, 0)])
def test_layout_is_that_of_jax_hessian(argnums):
    def f(a, b, scale):
        return scale * jnp.sum(a["u"] ** 3 * b[0]) + jnp.sum(jnp.sin(a["w"])) * b[1][0, 0]

    args = ({"u": X[:3], "w": X[3:5]}, (X[5:8], X[8:12].reshape(2, 2)), jnp.asarray(1.5))
    ours, theirs = jm.hessian(f, argnums)(*args), jax.hessian(f, argnums)(*args)
    assert jax.tree_util.tree_structure(ours) == jax.tree_util.tree_structure(theirs)
    jax.tree_util.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), ours, theirs)


def test_half_precision_stays():
    x = X.astype(jnp.float16)
    quadratic = jm.hessian(lambda x: x @ x, form="sparse")(x)
    assert jm.hessian(pairs, form="sparse")(x).dtype == quadratic.dtype == jnp.float16 and quadratic.nse == 12


def test_single_precision_stays():
    x = X.astype(jnp.float32)
    assert jm.hessian(pairs)(x).dtype == jm.hessian(pairs, form="sparse")(x).dtype == jnp.float32


def test_aux_comes_along():
    matrix, aux = jm.hessian(lambda x: (arrow(x), {"first": x[0]}), has_aux=True)(X)
    np.testing.assert_allclose(matrix, truth(arrow, X), rtol=1e-12, atol=1e-12)
    assert aux["first"] == X[0]


def test_a_quadratic_costs_no_pass_and_keeps_no_zeros():
    matrix = jnp.asarray(np.diag(np.arange(4.0)))
    hessian = jm.hessian(lambda x: x @ matrix @ x, form="sparse")
    plan = hessian.plan(X[:4])
    assert plan.passes == 0 and plan.summary == "constant: no pass at all, f is quadratic"
    found = hessian(X[:4])
    assert found.nse == 3
    np.testing.assert_allclose(found.todense(), 2 * matrix)
    np.testing.assert_allclose(jm.hessian(lambda x: x @ matrix @ x)(X[:4]), 2 * matrix)


def test_passes_of_known_structures():
    assert jm.hessian(arrow).plan(jnp.ones(300)).passes == 2  # a star colouring; columns would need 300
    assert jm.hessian(rosenbrock).plan(jnp.ones(500)).passes == 3
    assert jm.hessian(lambda x: jnp.sum(x**3)).plan(jnp.ones(500)).passes == 1
    assert "Hessian" in str(jm.hessian(arrow).plan(X))


def test_bad_input_is_told():
    with pytest.raises(jm.ArgumentError, match=r"returned float64\[12\], expected one real number"):
        jm.hessian(lambda x: x)(X)
    with pytest.raises(jm.ArgumentError, match="complex128"):
        jm.hessian(lambda x: jax.lax.complex(x[0], x[1]))(X)
    with pytest.raises(jm.ArgumentError, match="form"):
        jm.hessian(arrow, form="csr")
    with pytest.raises(jm.ArgumentError, match="expected a function"):
        jm.hessian(3.0)
    with pytest.raises(jm.ArgumentError, match="floating-point"):
        jm.hessian(arrow)(jnp.arange(3))


def test_a_wrong_rule_is_caught_by_the_probe(monkeypatch):
    monkeypatch.setitem(curvature.TABLE, "sin", lambda call, local: NONE)
    with pytest.raises(jm.StructureError):
        jm.hessian(lambda x: jnp.sum(jnp.sin(x)) + x[0] ** 3, form="sparse")(X)


# -- the pattern -----------------------------------------------------------------------------------------------


def test_couplings_are_tighter_than_dependence():
    def f(x):
        return (x[0] + x[1]) * x[2] + x[3] / x[4] + x[5] ** 2 + jnp.max(x[6:8]) + x[8:10] @ x[10:12]

    expected = np.zeros((12, 12), bool)
    for i, j in [(0, 2), (1, 2), (3, 4), (8, 10), (9, 11)]:
        expected[i, j] = expected[j, i] = True
    expected[4, 4] = expected[5, 5] = True
    np.testing.assert_array_equal(dense_pattern(f, X)[0], expected)


def test_what_does_not_reach_the_output_couples_nothing():
    def f(x):
        y = jnp.concatenate([x[:2] ** 2, x[2:4] * x[4:6]])
        return jnp.sum(y[jnp.array([0, 2])] * jnp.array([1.0, 0.0]))

    assert np.argwhere(dense_pattern(f, X)[0]).tolist() == [[0, 0]]


ROWS = [
    (name, number, position)
    for name in sorted(curvature.TABLE)
    for number, example in enumerate(EXAMPLES[name][:2])
    for position, value in enumerate(example.point(0))
    if value.dtype.kind == "f" and not name.startswith("custom_")
]


@pytest.mark.parametrize(("name", "number", "position"), ROWS)
def test_every_row_of_the_table(name, number, position):
    """No second derivative of a weighted sum of the outputs lies outside of the pattern."""
    example = EXAMPLES[name][number]
    args = example.point(0)
    shapes = jax.eval_shape(example.function, *args)
    weights = [RNG.uniform(0.5, 1.5, s.shape) for s in shapes]

    def f(x, *others):
        full = [*others[:position], x, *others[position:]]
        return sum(jnp.sum(w * out) for w, out in zip(weights, example.function(*full), strict=True))

    others = [a for i, a in enumerate(args) if i != position]
    if not shapes or not works(jax.jacrev, f, [args[position], *others], 0):
        pytest.skip("no reverse mode")
    closed = jax.make_jaxpr(f)(args[position], *others)
    graph = graph_of(closed.jaxpr, closed.consts, [True, *[False] * len(others)])
    found = hessian_pattern(graph).pattern.todense()
    hessian = jax.jit(jax.hessian(f))
    size = args[position].size
    matrix = np.asarray(hessian(args[position], *others)).reshape(size, size)
    assert not (nonzero(matrix) & ~found).any()


# -- custom derivative rules -----------------------------------------------------------------------------------


@jax.custom_jvp
def straight(x):
    return jnp.round(x)


straight.defjvp(lambda primals, tangents: (straight(*primals), tangents[0]))


@jax.custom_jvp
def rounded(x):
    return jnp.round(x)


rounded.defjvp(lambda primals, tangents: (jnp.round(primals[0]), tangents[0]))


@jax.custom_jvp
def mixing(x):
    return jnp.sin(x)


# The rule reads all inputs, nonlinearly, where the value reads one entry each.
mixing.defjvp(lambda primals, tangents: (mixing(*primals), jnp.cumsum(primals[0] ** 2) * tangents[0]))


@jax.custom_vjp
def lopsided(x):
    return jnp.sin(x)


lopsided.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cumsum(x**2),))

CUSTOM = {
    "straight-through, squared": lambda x: jnp.sum(straight(3 * x) ** 2),
    "straight-through, beside others": lambda x: jnp.sum(straight(3 * x) * x[::-1] ** 2),
    "a value that differentiates to zero": lambda x: jnp.sum(rounded(3 * x)[:-1] * x[1:] ** 2),
    "a rule that mixes": lambda x: jnp.sum(mixing(x) * x[::-1]),
    "a reverse rule that mixes": lambda x: jnp.sum(lopsided(x) * x[::-1]),
    "in a loop": lambda x: jax.lax.scan(lambda c, _: (lopsided(c), None), x, None, length=3)[0].sum(),
    "in a branch": lambda x: jax.lax.cond(x[0] > 0, lambda x: mixing(x)[3], lambda x: x[0], x),
    "in a long loop": lambda x: jax.lax.fori_loop(0, 300, lambda i, c: 0.9 * rounded(c) * c, x)[2],
}


@pytest.mark.parametrize("name", CUSTOM)
def test_custom_rules_count_even_where_they_are_not_derivatives(name):
    f = CUSTOM[name]
    expected = truth(f, X)
    found, symmetric = dense_pattern(f, X)
    assert not (nonzero(expected) & ~found).any() and not symmetric
    np.testing.assert_allclose(jm.hessian(f, form="sparse")(X).todense(), expected, rtol=1e-10, atol=1e-12)


def test_rules_of_jax_itself_keep_the_symmetry():
    _, symmetric = dense_pattern(lambda x: jnp.sum(jax.nn.relu(x) * jnp.logaddexp(x, x[::-1])), X)
    assert symmetric


# -- random programs -------------------------------------------------------------------------------------------

STEPS = [
    lambda v, k: v * jnp.roll(v, k),
    lambda v, k: jnp.sin(v) + jnp.roll(v, k),
    lambda v, k: v / (2 + jnp.roll(v, k) ** 2),
    lambda v, k: jnp.where(jnp.arange(v.size) % 2 == k % 2, v, jnp.exp(-v)),
    lambda v, k: v.at[k % v.size].multiply(v[0]),
    lambda v, k: jnp.maximum(v, jnp.roll(v, k)),
    lambda v, k: jnp.cumsum(v) * 0.1 if k % 3 == 0 else v - jnp.roll(v, 2),
    lambda v, k: v.reshape(2, -1).T.reshape(-1) ** (1 + k % 3),
]


@settings(max_examples=6)
@given(
    st.lists(st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 5)), min_size=1, max_size=4), st.integers(1, 8)
)
def test_random_programs(steps, kept):
    def f(x):
        v = x
        for which, k in steps:
            v = STEPS[which](v, k)
        return jnp.sum(v[:kept] ** 2)

    x = X[:8]
    expected = truth(f, x)
    found, symmetric = dense_pattern(f, x)
    assert symmetric and (found == found.T).all()
    assert not (nonzero(expected) & ~found).any()
