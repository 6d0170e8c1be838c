"""Bad input gets one error each: the argument, what came, what was expected, and what to do."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenarios import newton_root, reverse_only

import jacmap as jm
from jacmap._jacobian import NotFiniteWarning
from jacmap._memory import parse_memory

X = jnp.array([1.0, 2.0, 3.0])


def raised_by(action, kind=jm.ArgumentError):
    with pytest.raises(kind) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 500, text
    assert "_run_arrays" not in text and "jacmap/_" not in text
    return text


# -- what is differentiated --------------------------------------------------------------------------------------
POINTS = {
    "integers": (jnp.arange(3), "int64", "astype(float)"),
    "a Python int": (3, "int64", "astype(float)"),
    "booleans": (jnp.array([True]), "bool", "astype(float)"),
    "a string": ("float32", "'float32'", "argnums"),
    "a list of strings": (["one", "two"], "'one'", "argnums"),
    "an array of strings": (np.array(["one"]), "ndarray", "array of floats"),
    "an array of objects": (np.array([object()]), "ndarray", "array of floats"),
    "complex numbers": (X.astype(complex), "complex128", "holomorphic=True"),
    "nothing": (None, "no entries", "non-empty"),
    "an empty array": (jnp.zeros(0), "no entries", "non-empty"),
    "an empty tree": ({}, "no entries", "non-empty"),
}


@pytest.mark.parametrize("door", ["jacobian", "diagonal", "trace", "plan", "linearize"])
@pytest.mark.parametrize("case", POINTS)
def test_points(case, door):
    point, came, remedy = POINTS[case]

    def f(x):
        return jnp.zeros(3)

    doors = {
        "jacobian": lambda: jm.jacobian(f)(point),
        "diagonal": lambda: jm.diagonal(f)(point),
        "trace": lambda: jm.trace(f)(point),
        "plan": lambda: jm.plan(f, point),
        "linearize": lambda: jm.linearize(f, point).dense(),
    }
    text = raised_by(doors[door])
    assert text.startswith("argument 0") and "got" in text and "expected" in text
    assert came in text and remedy in text


def test_the_leaf_at_fault_is_named():
    text = raised_by(lambda: jm.jacobian(lambda p, x: x, (0, 1))({"w": X, "steps": [X, jnp.arange(2)]}, X))
    assert text.startswith("argument 0['steps'][1]: got dtype int64")


def test_good_calls_after_a_bad_one():
    jacobian = jm.jacobian(jnp.sin)
    for bad in (jnp.arange(3), "three", jnp.zeros(0)):
        raised_by(lambda bad=bad: jacobian(bad))
        np.testing.assert_allclose(jacobian(X), np.diag(np.cos(X)), rtol=1e-12)


def test_holomorphic_needs_complex():
    assert "float64" in raised_by(lambda: jm.jacobian(jnp.sin, holomorphic=True)(X))
    text = raised_by(lambda: jm.jacobian(jnp.abs, holomorphic=True)(X.astype(complex)))
    assert "returned dtype float64" in text and "holomorphic=True" in text


# -- what the function returns -----------------------------------------------------------------------------------
def test_outputs_that_are_no_arrays():
    def named(value):
        def model(x):
            return value

        return model

    for value in ("text", (X, "text"), lambda: X, object()):
        assert raised_by(lambda v=value: jm.jacobian(named(v))(X)).startswith("model: returned something that is not")
    assert "returned no arrays" in raised_by(lambda: jm.jacobian(named(None))(X))
    for value in (3, jnp.arange(2), jnp.array([True])):
        text = raised_by(lambda v=value: jm.jacobian(named(v))(X))
        assert "model: returned dtype" in text and "has_aux=True" in text


def test_auxiliary_output_is_missing():
    for f in (lambda x: x**2, lambda x: x[:2], lambda x: (x, x, x)):
        text = raised_by(lambda f=f: jm.jacobian(f, has_aux=True)(X))
        assert "has_aux=True" in text and "(output, aux)" in text


def test_an_empty_output_has_no_rows():
    assert jm.jacobian(lambda x: x[:0])(X).shape == (0, 3)
    assert jm.linearize(lambda x: x[:0], X).dense().shape == (0, 3)
    assert jm.jacobian(lambda x: x[:0], form="sparse")(X).shape == (0, 3)


# -- functions that cannot be read -------------------------------------------------------------------------------
def by_if(x):
    return x if x[0] > 0 else -x


def by_float(x):
    return x * float(x[0])


def by_numpy(x):
    return x * np.linalg.norm(x)


def by_range(x):
    for _ in range(x[0].astype(int)):
        x = x * 2
    return x


def by_mask(x):
    return x[x > 0]


@pytest.mark.parametrize("f", [by_if, by_float, by_numpy, by_range, by_mask], ids=lambda f: f.__name__)
def test_values_that_python_needs(f):
    for action in (lambda: jm.jacobian(f)(X), lambda: jm.linearize(f, X).shape, lambda: jm.plan(f, X)):
        text = raised_by(action, jm.TraceError)
        assert text.startswith(f"{f.__name__}: ") and "lax.cond" in text
        line = f.__code__.co_firstlineno
        told = re.search(r"\(test_bad_input\.py:(\d+)\)", text)
        assert told and line < int(told[1]) <= line + 2, text


def test_side_effects():
    kept = []

    def leaky(x):
        kept.append(x * 2)
        return jnp.sin(x) + kept[0]

    assert "side effect" in raised_by(lambda: jm.jacobian(leaky)(X), jm.TraceError)
    kept.clear()
    assert "side effect" in raised_by(lambda: jm.linearize(leaky, X).dense(), jm.TraceError)


def test_errors_of_the_function_itself_pass_through():
    def broken(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        jm.jacobian(broken)(X)
    with pytest.raises(TypeError, match="contracting dimensions"):
        jm.jacobian(lambda x: x @ jnp.ones((5, 5)))(X)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'b'"):
        jm.jacobian(lambda a, b: a)(X)


# -- modes -------------------------------------------------------------------------------------------------------
def neither(x):
    return reverse_only(newton_root(x))


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_no_mode_at_all(form):
    text = raised_by(lambda: jm.jacobian(neither, form=form)(X), jm.ModeError)
    assert "custom_vjp" in text and "forward" in text and "while" in text and "reverse" in text


def test_products_in_a_mode_that_is_missing():
    text = raised_by(lambda: jm.linearize(reverse_only, X) @ X, jm.ModeError)
    assert "custom_vjp" in text and "forward" in text
    text = raised_by(lambda: jm.linearize(newton_root, X).T @ X, jm.ModeError)
    assert "while" in text and "reverse" in text


def test_callbacks_have_no_derivative():
    def f(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct((3,), x.dtype), x)

    assert "callback" in raised_by(lambda: jm.jacobian(f)(X), jm.ModeError)


# -- settings ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("argnums", [-1, (0, -1), "x", 1.5, (0.0,), (0, 0), (), True, (True,), None, ((0,),)], ids=str)
def test_argnums(argnums):
    for action in (
        lambda: jm.jacobian(jnp.sin, argnums)(X),
        lambda: jm.diagonal(jnp.sin, argnums)(X),
        lambda: jm.linearize(jnp.sin, X, argnums=argnums),
    ):
        text = raised_by(action)
        assert text.startswith(f"argnums: got {argnums!r}, expected")


def test_argnums_beyond_the_arguments():
    text = raised_by(lambda: jm.jacobian(jnp.sin, 5)(X))
    assert text.startswith("argnums: got 5") and "1 positional argument;" in text
    assert "by position" in raised_by(lambda: jm.plan(jnp.sin))


def test_words():
    assert '"dense" or "sparse"' in raised_by(lambda: jm.jacobian(jnp.sin, form="csr"))
    assert '"measure"' in raised_by(lambda: jm.jacobian(jnp.sin, plan="best"))
    for action in (lambda: jm.plan(jnp.sin, X, question="diag"), lambda: jm.linearize(jnp.sin, X).explain("diag")):
        text = raised_by(action)
        assert text.startswith("question: got 'diag'") and "'diagonal'" in text


BAD_SIZES = ["2 apples", ".", ".GB", "1.2.3MB", "", "-1GB", "0", 0, -5, float("nan"), [1], True, "２GB"]


@pytest.mark.parametrize("memory", BAD_SIZES)
def test_memory(memory):
    doors = (
        lambda: jm.jacobian(jnp.sin, memory=memory),
        lambda: jm.linearize(jnp.sin, X, memory=memory).dense(),
    )
    for action in doors:
        text = raised_by(action)
        assert text.startswith(f"memory: got {memory!r}") and '"2GB"' in text


def test_memory_as_people_write_it():
    sizes = {"2GB": 2e9, "512 MiB": 512 * 2**20, " 1.5kb ": 1500, "100": 100, ".5GB": 5e8, "3.MB": 3e6, 42: 42}
    assert {text: parse_memory(text) for text in sizes} == sizes
    assert parse_memory(None) is None


def test_no_function():
    for door in (jm.jacobian, jm.diagonal, jm.trace, lambda f: jm.plan(f, X), lambda f: jm.linearize(f, X)):
        assert raised_by(lambda door=door: door(3)).startswith("f: got int, expected a function")


# -- the object --------------------------------------------------------------------------------------------------
def test_operands():
    jacobian = jm.linearize(lambda x: x[:2] ** 2, X)
    for bad in (jnp.ones(4), jnp.ones((2, 3)), 2.0, jnp.ones((3, 1, 1))):
        text = raised_by(lambda bad=bad: jacobian @ bad)
        assert text.startswith(f"v: got shape {np.shape(bad)}, expected (3,) or (3, k)")
    assert raised_by(lambda: jacobian.T @ X).startswith("u: got shape (3,), expected (2,)")
    assert raised_by(lambda: jacobian @ "abc").startswith("v: got str")


@pytest.mark.parametrize("index", [2, -3, 1.0, "a", None])
def test_rows(index):
    text = raised_by(lambda: jm.linearize(lambda x: x[:2] ** 2, X).row(index))
    assert text.startswith(f"i: got {index!r}, expected") and "2 outputs" in text


def test_columns_and_entries():
    jacobian = jm.linearize(lambda x: x[:2] ** 2, X)
    assert "3 inputs" in raised_by(lambda: jacobian.column(3))
    assert raised_by(lambda: jacobian.entries([0, 2], [0, 0])).startswith("rows: got 2")
    assert raised_by(lambda: jacobian.entries([0], [3])).startswith("columns: got 3")
    text = raised_by(lambda: jacobian.entries([0, 1], [0]))
    assert "rows" in text and "columns" in text and "2" in text and "1" in text
    assert jacobian.entries([], []).shape == (0,)
    np.testing.assert_allclose(jacobian.row(-1), [0, 4, 0])


def test_another_point_of_another_kind():
    jacobian = jm.linearize(jnp.sin, X)
    raised_by(lambda: jacobian.at(jnp.arange(3)))
    raised_by(lambda: jacobian.at())
    assert jacobian.at(jnp.ones(5)).dense().shape == (5, 5)
    assert "expected the arguments of f" in raised_by(lambda: jm.linearize(jnp.sin))


def test_a_complex_vector_is_not_cut_to_its_real_part():
    jacobian = jm.linearize(jnp.sin, X)
    for product in (lambda v: jacobian @ v, lambda v: jacobian.T @ v):
        try:
            found = product(jax.lax.complex(X, X))
        except jm.ArgumentError as error:
            assert "complex" in str(error)
        else:
            np.testing.assert_allclose(found, np.cos(X) * (X + 1j * np.asarray(X)), rtol=1e-12)


def test_rows_of_complex_outputs():
    """Reverse mode on real inputs would give their real part alone."""

    def f(x):
        return jnp.fft.fft(x**2)

    jacobian, true = jm.linearize(f, X), np.asarray(jax.jacfwd(f)(X))
    np.testing.assert_allclose(jacobian.row(1), true[1], rtol=1e-12)
    raised_by(lambda: jacobian.T @ X, jm.ModeError)


# -- NaN and infinity --------------------------------------------------------------------------------------------
def test_nan_in_the_point_is_told_with_where():
    bad = {"w": jnp.ones((2, 2)).at[1, 0].set(jnp.nan)}
    with pytest.warns(NotFiniteWarning, match=r"argument 0\['w'\]: got nan at index \(1, 0\)") as seen:
        jm.linearize(lambda p: p["w"] * 2, bad)
    assert seen[0].filename == __file__


ANSWERS = {
    "dense": lambda j: j.dense(),
    "tree": lambda j: j.tree(),
    "sparse": lambda j: j.sparse(),
    "diagonal": lambda j: j.diagonal(),
    "trace": lambda j: j.trace(),
    "row": lambda j: j.row(1),
    "column": lambda j: j.column(1),
    "entries": lambda j: j.entries([0, 1], [0, 1]),
}
WHERE = {"dense": r"\(1, 1\)", "tree": r"\(1, 1\)", "sparse": r"\(1, 1\)", "diagonal": "1", "row": "1", "column": "1"}


@pytest.mark.parametrize("answer", ANSWERS)
def test_infinity_in_the_jacobian_is_told_with_where(answer):
    jacobian = jm.linearize(jnp.sqrt, jnp.array([1.0, 0.0, 4.0]))
    with pytest.warns(NotFiniteWarning, match=WHERE.get(answer, "")) as seen:
        ANSWERS[answer](jacobian)
    assert seen[0].filename == __file__


@pytest.mark.filterwarnings("error")
def test_finite_answers_are_silent():
    jacobian = jm.linearize(jnp.sqrt, X)
    for ask in ANSWERS.values():
        ask(jacobian)
