"""NumPy functions through the public doors: who takes them, what comes back, what is told."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from difference_maps import by_math, chain, chain_jacobian, plane, plane_jacobian
from scipy import sparse
from typer.testing import CliRunner

import jacmap as jm
from jacmap._cli import app

X = np.array([1.5, 0.5])
TRUE = plane_jacobian(X)


# -- dispatch --------------------------------------------------------------------------------------------------
def test_numpy_functions_are_answered_in_numpy():
    jacobian = jm.jacobian(plane)
    found = jacobian(X)
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, TRUE, rtol=1e-12)
    np.testing.assert_allclose(jacobian(2 * X), 2 * TRUE, rtol=1e-12)
    np.testing.assert_allclose(jm.diagonal(plane)(X), [3.0, 3.0], rtol=1e-12)
    np.testing.assert_allclose(jm.trace(plane)(X), 6.0, rtol=1e-12)
    sign, log = jm.slogdet(plane)(X)
    np.testing.assert_allclose([sign, log], [1.0, math.log(10)], rtol=1e-12)
    value, (sign, log) = jm.value_and_slogdet(plane)(X)
    np.testing.assert_allclose([*value, sign, log], [2.0, 1.5, 1.0, math.log(10)], rtol=1e-12)
    assert "approximate" in str(jm.plan(plane, X)) and "approximate" in str(jacobian.plan(X))
    np.testing.assert_allclose(jm.plan(plane, X)(2 * X), 2 * TRUE, rtol=1e-12)


def test_functions_that_jax_can_read_stay_with_jax():
    for f in (lambda x: x**2, jnp.sin):
        assert isinstance(jm.jacobian(f)(X), jax.Array)
        assert isinstance(jm.linearize(f, X), jm.Jacobian)


def test_jax_arrays_keep_the_error_which_says_the_way():
    for action in (
        lambda: jm.jacobian(plane)(jnp.asarray(X)),
        lambda: jm.linearize(plane, jnp.asarray(X)).dense(),
        lambda: jax.jit(jm.jacobian(plane))(X),
    ):
        with pytest.raises(jm.TraceError, match="pass NumPy arrays"):
            action()


def branching(x):
    return x**2 if x[0] > 0 else -x


def test_reading_values_is_told_once():
    jacobian = jm.jacobian(branching)
    told = r"branching: taken as a black box.*test_differences_face\.py:\d+"
    with pytest.warns(jm.BlackBoxWarning, match=told) as seen:
        np.testing.assert_allclose(jacobian(X), np.diag(2 * X), rtol=1e-12)
    assert len(seen) == 1 and seen[0].filename == __file__
    jacobian(X)
    jm.linearize(branching, X).dense()


def test_in_place_work_is_a_reason_too():
    def stepping(x):
        x = x * 1.0
        x[0] += x[1] ** 2
        return x

    with pytest.warns(jm.BlackBoxWarning, match="stepping.*TypeError"):
        found = jm.jacobian(stepping)(X)
    np.testing.assert_allclose(found, [[1.0, 1.0], [0.0, 1.0]], rtol=1e-12)


def test_faults_of_the_function_are_not_hidden():
    def wrong(x):
        return x @ np.ones((5, 5))

    with pytest.raises(TypeError, match="contracting dimensions"):
        jm.jacobian(lambda x: x @ jnp.ones((5, 5)))(X)
    with pytest.raises((TypeError, ValueError)):
        jm.jacobian(wrong)(X)


def test_numbers_of_python():
    with pytest.warns(jm.BlackBoxWarning):
        found = jm.jacobian(lambda t: math.sin(t) * t)(0.3)
    np.testing.assert_allclose(found, math.cos(0.3) * 0.3 + math.sin(0.3), rtol=1e-10)
    assert jm.jacobian(by_math, differences=jm.Differences())(X)[0].shape == (2,)


def test_integers_have_the_usual_error():
    for action in (lambda: jm.jacobian(plane)(np.array([1, 2])), lambda: jm.linearize(plane, np.array([1, 2]))):
        with pytest.raises(jm.ArgumentError, match=r"argument 0: got dtype int64.*astype\(float\)"):
            action()


def test_differences_forced_on_a_function_of_jax():
    found = jm.jacobian(lambda x: jnp.sin(x), differences=jm.Differences())(X)
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, np.diag(np.cos(X)), atol=1e-9)


# -- forms -----------------------------------------------------------------------------------------------------
def trees(params, x):
    w = np.asarray(params["w"])
    return {"a": w @ x, "b": np.array([np.sum(x) * params["s"]])}


def test_pytrees_are_laid_out_as_jax_does():
    params = {"w": np.arange(6.0).reshape(2, 3), "s": np.float64(2.0)}
    x = np.array([1.0, -2.0, 0.5])

    def read(params, x):
        return {"a": params["w"] @ x, "b": jnp.array([jnp.sum(x) * params["s"]])}

    for argnums in (0, 1, (0, 1), (1, 0)):
        ours = jm.jacobian(trees, argnums)(params, x)
        theirs = jax.jacobian(read, argnums)(params, jnp.asarray(x))
        assert jax.tree.structure(ours) == jax.tree.structure(theirs)
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, atol=1e-10)


def test_auxiliary_output_and_keywords():
    def f(x, scale=1.0):
        return np.asarray(plane(x)) * scale, "beside"

    found, extra = jm.jacobian(f, has_aux=True)(X, scale=3.0)
    assert extra == "beside"
    np.testing.assert_allclose(found, 3 * TRUE, rtol=1e-12)


def test_sparse_answers_are_scipys():
    x = np.linspace(0.3, 1.9, 50)
    found = jm.jacobian(chain, form="sparse")(x)
    assert isinstance(found, sparse.csr_array) and found.shape == (50, 50)
    np.testing.assert_allclose(found.toarray(), chain_jacobian(x), atol=1e-8)


def test_a_function_without_outputs():
    assert jm.jacobian(lambda x: np.asarray(x)[:0])(X).shape == (0, 2)


# -- the object ------------------------------------------------------------------------------------------------
def test_the_object_answers_what_a_jacobian_answers():
    J = jm.linearize(plane, X)
    assert J.shape == (2, 2) and str(J.structure) == "dense" and J.pattern.nnz == 4
    np.testing.assert_allclose(J.value, plane(X))
    b = np.array([1.0, -2.0])
    answers = {
        "dense": (J.dense(), TRUE), "tree": (J.tree(), TRUE), "sparse": (J.sparse().toarray(), TRUE),
        "row": (J.row(-1), TRUE[1]), "column": (J.column(0), TRUE[:, 0]), "diagonal": (J.diagonal(), [3, 3]),
        "trace": (J.trace(), 6.0), "det": (J.det(), 10.0), "J v": (J @ b, TRUE @ b), "Jᵀ u": (J.T @ b, TRUE.T @ b),
        "J V": (J @ np.eye(2), TRUE), "entries": (J.entries([0, 1], [1, 1]), [-1, 3]),
        "solve": (J.solve(b), np.linalg.solve(TRUE, b)), "lstsq": (J.lstsq(b), np.linalg.solve(TRUE, b)),
        "inverse": (J.inverse() @ b, np.linalg.solve(TRUE, b)), "svd": (J.svd()[1], np.linalg.svd(TRUE)[1]),
        "norm": (J.norm("fro"), np.linalg.norm(TRUE)), "rank": (J.rank(), 2), "cond": (J.cond(), 1.0),
        "slogdet": (J.slogdet()[1], math.log(10)), "at": (J.at(2 * X).dense(), 2 * TRUE),
    }  # fmt: skip
    for name, (found, true) in answers.items():
        np.testing.assert_allclose(found, true, rtol=1e-10, err_msg=name)
        assert not isinstance(found, jax.Array), name
    assert bool(J.locally_invertible())
    assert J.error.shape == (2, 2) and (np.abs(J.dense() - TRUE) <= J.error).all()
    assert "3" in str(J) and "by differences" in str(J) and "2×2" in repr(J)
    for question in ("dense", "sparse", "slogdet", "trace", "solve", "svd", "norm"):
        assert str(J.explain(question))


def test_answers_keep_double_precision_without_x64():
    with jax.enable_x64(False):
        J = jm.linearize(plane, X)
        assert J.dense().dtype == np.float64
        np.testing.assert_allclose(J.solve([1.0, 0.1]), np.linalg.solve(TRUE, [1.0, 0.1]), rtol=1e-12)


def test_a_column_alone_costs_less():
    J = jm.linearize(plane, X, differences=jm.Differences(method="central"))
    column = J._box.measured(J.args, {}, columns=[1])
    assert sum(column.calls.values()) < sum(J.calls.values())
    np.testing.assert_allclose(jm.linearize(plane, X).column(1), TRUE[:, 1], rtol=1e-10)


def test_a_singular_jacobian_is_seen_through_its_errors():
    def flat(x):
        x = np.asarray(x, float)
        return np.array([np.sin(x[0] + 2 * x[1]), np.exp(x[0] + 2 * x[1])])

    J = jm.linearize(flat, X)
    assert J.rank() == 1
    with pytest.raises(jm.SingularError):
        J.solve(np.ones(2))


def test_arguments_of_the_object():
    J = jm.linearize(plane, X)
    for action, said in (
        (lambda: J.row(2), "i: got 2"),
        (lambda: J.column(-3), "j: got -3"),
        (lambda: J @ np.ones(3), r"v: got shape \(3,\)"),
        (lambda: J.explain("colour"), "question: got 'colour'"),
        (lambda: jm.linearize(lambda x: np.asarray(x, float)[:1], X).det(), "1 outputs and 2"),
    ):
        with pytest.raises(jm.ArgumentError, match=said):
            action()


def test_the_plan_tells_how_good_and_how_dear():
    text = str(jm.plan(plane, X, differences=jm.Differences(method="central")))
    assert "calls of f" in text and "estimated error: at most" in text and "y[" in text and "by x[" in text


# -- the command line ------------------------------------------------------------------------------------------
def test_the_command_line_takes_numpy_functions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps.py").write_text(
        "import numpy as np\ndef plane(p):\n    return np.array([p[0]**2 - p[1]**2, 2*p[0]*p[1]])\n"
        "def rough(p):\n    return np.array([abs(p[0]) if p[0] > -9 else p[0], p[1]])\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = CliRunner().invoke(app, ["explain", "maps.py:plane", "--at", "1.5,0.5"])
        assert result.exit_code == 0, result.output
        assert "f is a black box" in result.output and "det J = 10" in result.output
        rough = CliRunner().invoke(app, ["explain", "maps.py:rough", "--at", "0,1"])
        assert rough.exit_code == 0, rough.output
        assert "kink" in rough.output
