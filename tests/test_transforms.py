"""The drop-in transforms: JAX's layout and dtypes, plans made once, and values that an outer trace owns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenarios import BATCH, SCENARIOS, WIDTH, batch_mlp, draw, heat, heat_known

import jacmap as jm
from jacmap._transforms import Transform
from jacmap.engine.plan.question import Question

X = draw(1, 5)
LAYER = {"w": draw(2, 3, 5), "b": draw(3, 3)}


def layer(params, x):
    hidden = jnp.tanh(params["w"] @ x + params["b"])
    return {"hidden": hidden, "norm": (jnp.sum(hidden**2), [x[:2] * hidden[0]])}


def same(ours, true, rtol=1e-12):
    """Equal trees of equal arrays: structure, shapes, dtypes and numbers."""
    assert jax.tree_util.tree_structure(ours) == jax.tree_util.tree_structure(true)
    for mine, theirs in zip(jax.tree_util.tree_leaves(ours), jax.tree_util.tree_leaves(true), strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol)


class Counted:
    """A function that counts how often its Python code runs."""

    def __init__(self, function):
        self.function, self.runs, self.__name__ = function, 0, "counted"

    def __call__(self, *args, **kwargs):
        self.runs += 1
        return self.function(*args, **kwargs)


# -- a drop-in for jax.jacobian ----------------------------------------------------------------------------------
@pytest.mark.parametrize("argnums", [0, 1, (0,), (1,), (0, 1), (1, 0), [0, 1]], ids=str)
def test_layout_of_pytrees_and_argnums(argnums):
    # JAX takes no list here.
    oracle = jax.jacobian(layer, tuple(argnums) if isinstance(argnums, list) else argnums)
    same(jm.jacobian(layer, argnums)(LAYER, X), oracle(LAYER, X))


def test_keyword_arguments():
    def f(x, *, scale=1.0, shift):
        return jnp.sin(scale * x) + shift

    same(jm.jacobian(f)(X, scale=2.0, shift=X), jax.jacobian(f)(X, scale=2.0, shift=X))


def test_python_values_steer_the_function():
    """An int for `range`, a string and None: part of the signature, not data."""

    def f(x, times, mode, extra=None):
        for _ in range(times):
            x = jnp.sin(x) if mode == "sin" else x**2
        return x if extra is None else x * extra

    jacobian = jm.jacobian(f)
    for args in [(X, 1, "sin"), (X, 3, "sin"), (X, 3, "square"), (X, 2, "square", X), (X, 1, "sin")]:
        same(jacobian(*args), jax.jacobian(f)(*args))


def test_python_floats_are_data():
    counted = Counted(lambda x, scale: jnp.sin(x * scale))
    jacobian = jm.jacobian(counted)
    jacobian(X, 1.0)
    runs = counted.runs
    same(jacobian(X, 3.0), jax.jacobian(counted.function)(X, 3.0))
    assert counted.runs == runs
    same(jm.jacobian(lambda x: x**3)(2.0), jax.jacobian(lambda x: x**3)(2.0))


def test_integer_arrays_and_keys_beside_the_point():
    def f(x, index, key):
        return x[index] ** 2 * jax.random.normal(key, (3,))

    args = X, jnp.array([4, 0, 0]), jax.random.key(0)
    same(jm.jacobian(f)(*args), jax.jacobian(f)(*args))


def test_numpy_arrays_in():
    same(jm.jacobian(jnp.sin)(np.asarray(X)), jax.jacobian(jnp.sin)(X))


def test_auxiliary_output():
    def f(x):
        return x**2, {"sum": jnp.sum(x), "count": jnp.arange(3)}

    jacobian, aux = jm.jacobian(f, has_aux=True)(X)
    true, true_aux = jax.jacrev(f, has_aux=True)(X)
    same(jacobian, true)
    same(aux, true_aux)
    sparse, aux = jm.jacobian(f, form="sparse", has_aux=True)(X)
    same(sparse.todense(), true)
    same(aux, true_aux)


def test_holomorphic():
    z = jax.lax.complex(X, draw(4, 5))

    def f(z):
        return jnp.cumsum(z**2) * z[0]

    same(jm.jacobian(f, holomorphic=True)(z), jax.jacfwd(f, holomorphic=True)(z))
    same(jm.jacobian(f, holomorphic=True, form="sparse")(z).todense(), jax.jacfwd(f, holomorphic=True)(z))


@pytest.mark.parametrize("kept", [5, 1], ids=["square", "one output"])
def test_complex_outputs_of_real_inputs(kept):
    """Reverse mode would lose the imaginary part, however few the outputs."""

    def f(x):
        return jnp.fft.fft(x**2)[-kept:]

    same(jm.jacobian(f)(X), jax.jacfwd(f)(X))
    same(jm.jacobian(f, form="sparse")(X).todense(), jax.jacfwd(f)(X))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16, jnp.float64])
def test_dtype_is_kept(dtype):
    x = X.astype(dtype)
    assert jm.jacobian(heat)(x).dtype == dtype
    assert jm.jacobian(heat, form="sparse")(x).dtype == dtype
    assert jm.diagonal(heat)(x).dtype == dtype
    assert jm.trace(heat)(x).dtype == dtype
    np.testing.assert_allclose(jm.jacobian(heat)(x).astype(float), heat_known(x.astype(float)), atol=0.05)


def test_a_function_that_changes_precision():
    """The wider of the two, whichever mode the plan takes: jacfwd has the output's dtype, jacrev the input's."""

    def few_inputs(x):
        return jnp.tile(x.astype(jnp.float32), 4) ** 2

    def few_outputs(x):
        return jnp.sum(x.astype(jnp.float32) ** 2)

    assert jm.jacobian(few_inputs)(X).dtype == jnp.float64
    assert jm.jacobian(few_outputs)(X).dtype == jnp.float64


def test_the_name_and_docstring_are_kept():
    assert jm.jacobian(heat).__name__ == "heat"
    assert jm.trace(heat).__doc__ == heat.__doc__


# -- other forms -------------------------------------------------------------------------------------------------
def test_sparse_form_is_one_matrix():
    """All outputs × all differentiated inputs, flattened in pytree order; indices in row-major order, once each."""
    sparse = jm.jacobian(layer, (0, 1), form="sparse")(LAYER, X)
    true = jm.linearize(layer, LAYER, X, argnums=(0, 1)).dense()
    np.testing.assert_allclose(sparse.todense(), true, rtol=1e-12)
    flat = np.asarray(sparse.indices) @ [sparse.shape[1], 1]
    assert (np.diff(flat) > 0).all()


def test_sparse_form_under_transforms():
    jacobian = jm.jacobian(heat, form="sparse")
    x = draw(5, 6)
    np.testing.assert_allclose(jax.jit(jacobian)(x).todense(), heat_known(x), rtol=1e-12)
    batched = jax.vmap(jacobian)(jnp.stack([x, 2 * x]))
    for k, point in enumerate((x, 2 * x)):
        np.testing.assert_allclose(np.asarray(batched.todense())[k], heat_known(point), rtol=1e-12)
    slope = jax.grad(lambda x: jnp.sum(jacobian(x).data ** 2))(x)
    true = jax.grad(lambda x: jnp.sum(jax.jacfwd(heat)(x) ** 2))(x)
    np.testing.assert_allclose(slope, true, rtol=1e-12)


def test_diagonal_and_trace_of_a_matrix_that_is_not_square():
    def f(x):
        return jnp.tanh(batch_mlp(x[:, :WIDTH]) * x[0, 0])

    x = draw(6, BATCH, WIDTH)
    true = np.asarray(jax.jacfwd(f)(x)).reshape(12, 20)
    np.testing.assert_allclose(jm.diagonal(f)(x), np.diagonal(true), rtol=1e-12)
    np.testing.assert_allclose(jm.trace(f)(x), np.trace(true), rtol=1e-12)


def test_jvp_and_vjp_are_jax():
    y, pushed = jm.jvp(jnp.sin, (X,), (X,))
    np.testing.assert_allclose(pushed, np.cos(X) * X, rtol=1e-14)
    y, pull = jm.vjp(jnp.sin, X)
    np.testing.assert_allclose(pull(X)[0], np.cos(X) * X, rtol=1e-14)
    np.testing.assert_allclose(y, np.sin(X), rtol=1e-14)


def test_jacobian_of_a_jacobian():
    second = jm.jacobian(jm.jacobian(lambda x: jnp.sin(x) * x[0]))(X)
    same(second, jax.jacobian(jax.jacobian(lambda x: jnp.sin(x) * x[0]))(X))


# -- plans are made once -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("transform", [jm.jacobian, jm.diagonal, jm.trace])
def test_same_shapes_are_never_traced_again(transform):
    counted = Counted(heat)
    transformed = transform(counted)
    transformed(X)
    first = counted.runs
    for k in range(3):
        transformed(X + k)
    assert counted.runs == first
    assert transformed.plan(X) is transformed.plan(X + 1)
    transformed(draw(7, 8))
    assert counted.runs > first
    after = counted.runs
    transformed(X), transformed(draw(8, 8))
    assert counted.runs == after


def test_another_dtype_is_another_plan():
    jacobian = jm.jacobian(heat)
    assert jacobian.plan(X) is not jacobian.plan(X.astype(jnp.float32))


def test_many_shapes_by_one_transform():
    jacobian = jm.jacobian(heat)
    for n in (3, 7, 3, 12, 7):
        x = draw(n, n)
        np.testing.assert_allclose(jacobian(x), heat_known(x), rtol=1e-12)


def test_a_constant_jacobian_is_computed_once():
    """An affine function's Jacobian does not run the function again, not even compiled."""
    ran = []

    def affine(x):
        jax.debug.callback(lambda: ran.append(1))
        return jnp.cumsum(x) + 1

    jacobian = jm.jacobian(affine)
    jacobian(X)
    jax.effects_barrier()
    ran.clear()
    np.testing.assert_array_equal(jacobian(X + 1), np.tril(np.ones((5, 5))))
    jax.effects_barrier()
    assert not ran


# -- limits and choices ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("memory", [1000, "1KB", "5 KiB", 1e9])
def test_chunks_give_the_same_numbers(memory, form):
    x = draw(9, BATCH, WIDTH)
    plan = jm.jacobian(batch_mlp, form=form, memory=memory).plan(x)
    assert (plan.chosen.chunk > 0) == (memory != 1e9)
    found = jm.jacobian(batch_mlp, form=form, memory=memory)(x)
    found = found.todense() if form == "sparse" else found.reshape(12, 20)
    np.testing.assert_allclose(found, jax.jacfwd(batch_mlp)(x).reshape(12, 20), rtol=1e-12, atol=1e-15)


def test_a_chunk_that_does_not_divide_the_passes():
    """Seven passes, two or three at a time."""
    x = draw(10, 7)

    def f(x):
        return jnp.sin(jnp.outer(x, x) @ x)

    for memory in (300, 500, 900):
        jacobian = jm.jacobian(f, memory=memory)
        assert 0 < jacobian.plan(x).chosen.chunk < 7
        np.testing.assert_allclose(jacobian(x), jax.jacfwd(f)(x), rtol=1e-12)


def test_measured_plans_time_candidates():
    x = draw(11, 12)
    jacobian = jm.jacobian(heat, plan="measure")
    np.testing.assert_allclose(jacobian(x), heat_known(x), rtol=1e-12)
    plan = jacobian.plan(x)
    assert len(plan.measured) >= 2
    assert plan.chosen.name == min(plan.measured, key=lambda name: plan.measured[name])
    assert " ms" in str(plan)
    np.testing.assert_allclose(jacobian(x + 1), heat_known(x + 1), rtol=1e-12)
    assert jm.plan(heat, x, measure=True).measured


def test_plain_plans_use_no_structure():
    x = draw(12, 3000)
    assert jm.jacobian(heat).plan(x).passes == 3
    plan = jm.jacobian(heat, plan="plain").plan(x)
    assert plan.passes == 3000
    assert plan.chosen.name in ("plain forward", "plain reverse")


# -- values owned by an outer trace ------------------------------------------------------------------------------
W0 = draw(13, 4, 5)
MASK = np.tril(np.ones((4, 5)))


def penalty(transform):
    """A loss whose Jacobian is of a function that closes over the trained weights."""

    def loss(w):
        return jnp.sum(transform(lambda x: jnp.tanh((w * MASK) @ x))(X) ** 2)

    return loss


def plain_diagonal(f):
    return lambda x: jnp.diagonal(jax.jacfwd(f)(x))


def sparse_data(f):
    jacobian = jm.jacobian(f, form="sparse")
    return lambda x: jacobian(x).data


CLOSING = [(jm.jacobian, jax.jacfwd), (jm.diagonal, plain_diagonal), (sparse_data, jax.jacfwd)]


@pytest.mark.parametrize(("ours", "plain"), CLOSING, ids=["dense", "diagonal", "sparse"])
def test_closing_over_tracers(ours, plain):
    true = jax.grad(penalty(plain))
    for _ in range(2):
        np.testing.assert_allclose(jax.grad(penalty(ours))(W0), true(W0), rtol=1e-11, atol=1e-14)
    compiled = jax.jit(jax.value_and_grad(penalty(ours)))
    for w in (W0, 2 * W0):
        np.testing.assert_allclose(compiled(w)[0], penalty(plain)(w), rtol=1e-12)
        np.testing.assert_allclose(compiled(w)[1], true(w), rtol=1e-11, atol=1e-14)
    weights = jnp.stack([W0, 2 * W0])
    stacked = jax.vmap(jax.grad(penalty(ours)))(weights)
    np.testing.assert_allclose(stacked, jax.vmap(true)(weights), rtol=1e-11, atol=1e-14)


def test_an_affine_function_of_a_traced_matrix():
    """J = W is constant in x, but not in W."""
    slope = jax.grad(lambda w: jnp.sum(jm.jacobian(lambda x: w @ x)(X) ** 2))(W0)
    np.testing.assert_allclose(slope, 2 * W0, rtol=1e-12)


def test_a_masked_weight_that_is_known_inside_and_traced_outside():
    """With w concrete its zeros are part of the structure; with w traced they must not be."""
    w = jnp.asarray(MASK[:4, :4])
    x = X[:4]

    def row_sums(w):
        return jnp.sum(jm.jacobian(lambda x: jnp.tanh(w @ x))(x), axis=1)

    def true(w):
        return jnp.sum(jax.jacfwd(lambda x: jnp.tanh(w @ x))(x), axis=1)

    np.testing.assert_allclose(row_sums(w), true(w), rtol=1e-12)
    full = jnp.ones_like(w)
    np.testing.assert_allclose(jax.jit(row_sums)(full), true(full), rtol=1e-12)
    np.testing.assert_allclose(jax.jacfwd(row_sums)(w), jax.jacfwd(true)(w), rtol=1e-11)


@pytest.mark.parametrize("first", ["concrete", "traced"])
def test_one_transform_in_different_outer_traces(first):
    """What it saw of one trace must not appear in another, nor in a plain call."""
    holder = {"w": W0}

    def f(x):
        return jnp.tanh(holder["w"] @ x)

    jacobian, oracle = jm.jacobian(f), jax.jacfwd(f)

    def loss(transform, w):
        holder["w"] = w
        return jnp.sum(transform(X) ** 2)

    if first == "concrete":
        np.testing.assert_allclose(jacobian(X), oracle(X), rtol=1e-12)
    for w in (W0, 2 * W0):
        true = jax.grad(lambda w: loss(oracle, w))(w)
        np.testing.assert_allclose(jax.grad(lambda w: loss(jacobian, w))(w), true, rtol=1e-11)
        np.testing.assert_allclose(jax.jit(jax.grad(lambda w: loss(jacobian, w)))(w), true, rtol=1e-11)
        stacked = jax.vmap(lambda w: loss(jacobian, w))(jnp.stack([w, 3 * w]))
        np.testing.assert_allclose(stacked[1], loss(oracle, 3 * w), rtol=1e-12)
    holder["w"] = W0
    np.testing.assert_allclose(jacobian(X), oracle(X), rtol=1e-12)


def test_traced_arguments_beside_the_point():
    jacobian = jm.jacobian(layer, 1)

    def loss(transform, params):
        return sum(jnp.sum(b**2) for b in jax.tree_util.tree_leaves(transform(params, X)))

    true = jax.grad(lambda p: loss(jax.jacobian(layer, 1), p))(LAYER)
    for _ in range(2):
        same(jax.jit(jax.grad(lambda p: loss(jacobian, p)))(LAYER), true)
        same(jax.grad(lambda p: loss(jacobian, p))(LAYER), true)
    assert len(jacobian.plan.__self__.asked.entries) == 1


def test_not_probed_until_values_are_seen():
    jacobian = jm.jacobian(heat)
    told = []

    def loss(x):
        told.append(str(jacobian.plan(x)))
        return jnp.sum(jacobian(x) ** 2)

    jax.jit(jax.grad(loss))(X)
    assert "not probed yet" in told[0]
    (entry,) = jacobian.plan.__self__.asked.entries.values()
    assert entry.plan.probed is None
    jacobian(X)
    assert entry.plan.probed is not None
    assert "probed against plain AD" in str(jacobian.plan(X))


def test_one_signature_is_planned_once_inside_and_outside_a_trace():
    transform = Transform(heat, Question("dense"))
    jax.jit(transform.call)(X)
    (entry,) = transform.entries.values()
    transform.call(X)
    assert list(transform.entries.values()) == [entry]


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.name in ("heat", "batch MLP", "softmax")], ids=str)
def test_eager_grad_and_vmap(scenario):
    """Without a jit around them."""
    (x,) = scenario.args
    jacobian, oracle = jm.jacobian(scenario.function), jax.jacfwd(scenario.function)
    batch = jnp.stack([x, 2 * x, -x])
    np.testing.assert_allclose(jax.vmap(jacobian)(batch), jax.vmap(oracle)(batch), rtol=1e-11, atol=1e-14)
    ours, true = (jax.grad(lambda x, t=t: jnp.sum(t(x) ** 2))(x) for t in (jacobian, oracle))
    np.testing.assert_allclose(ours, true, rtol=1e-11, atol=1e-14)
    forward = jax.jvp(jacobian, (x,), (x,))[1]
    np.testing.assert_allclose(forward, jax.jvp(oracle, (x,), (x,))[1], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("question", [{"form": "sparse"}, {"form": "dense"}, {"form": "sparse", "has_aux": True}])
def test_a_plan_asked_for_first_compiles_what_the_calls_run(question, caplog):
    def f(x):
        y = jnp.sin(x[1:]) * x[:-1]
        return (y, x.sum()) if question.get("has_aux") else y

    x = jnp.linspace(0, 1, 300)
    J = jm.jacobian(f, **question)
    assert J.plan(x).probed is not None
    with jax.log_compiles():
        J(x)
    compiled = [record for record in caplog.records if "Compiling" in record.getMessage()]
    assert not [r for r in compiled if "_run_arrays" in r.getMessage()], [r.getMessage()[:80] for r in compiled]


@pytest.mark.parametrize("x", [np.linspace(0.5, 1.5, 40), jnp.linspace(0.5, 1.5, 40)], ids=["NumPy", "JAX"])
def test_values_known_inside_a_transformation(x) -> None:
    """First asked for at values that the caller closes over: inside `jit` even these are staged, nothing is probed."""

    def rod(x):
        return jnp.sin(x) * jnp.roll(x, 1)

    diagonal, sparse = jm.diagonal(rod), jm.jacobian(rod, form="sparse")
    true = np.asarray(jax.jacfwd(rod)(jnp.asarray(x)))
    assert np.allclose(jax.jit(lambda y: diagonal(x) * y)(2.0), 2 * np.diag(true), rtol=1e-12)
    assert np.allclose(jax.jit(lambda y: sparse(x).todense() * y)(2.0), 2 * true, rtol=1e-12)
    assert np.allclose(jax.vmap(lambda y: diagonal(x) * y)(jnp.arange(3.0))[2], 2 * np.diag(true), rtol=1e-12)
    assert diagonal.plan(x).probed is not None and sparse.plan(x).probed is not None
