"""The linear algebra inside `jit`, `grad` and `vmap`: the same answers, and the derivatives of plain JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_cases import forced, named
from scenarios import draw, heat

import jacmap as jm

WAYS = {
    "permuted diagonal": "division by the diagonal",
    "triangular": "triangular substitution",
    "permuted triangular": "triangular substitution",
    "tridiagonal": "tridiagonal LU",
    "permuted tridiagonal": "tridiagonal LU",
    "unequal blocks": "LU of the blocks",
    "dense": "dense LU",
}


def ours(case, transposed=False):
    def solve(x, b):
        J = jm.linearize(case.function, x)
        assert J.explain("solve").chosen == WAYS[case.name]
        return J.inverse().T @ b if transposed else J.solve(b)

    return solve


def plain(case, transposed=False):
    def solve(x, b):
        dense = jax.jacfwd(case.function)(x)
        return jnp.linalg.solve(dense.T if transposed else dense, b)

    return solve


def close(found, true, rtol=1e-9):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(abs(b).max())), found, true)


@pytest.mark.parametrize("name", ["permuted diagonal", "permuted triangular", "permuted tridiagonal", "unequal blocks"])
def test_solve_and_its_gradient_under_jit(name):
    case = named(name)
    b = jnp.asarray(np.random.default_rng(1).normal(size=case.x.size))

    def loss(solve):
        return jax.jit(jax.value_and_grad(lambda x, b: jnp.sum(jnp.sin(solve(x, b))), argnums=(0, 1)))

    close(loss(ours(case))(case.x, b), loss(plain(case))(case.x, b))


@pytest.mark.parametrize("name", ["permuted diagonal", "permuted triangular", "permuted tridiagonal"])
def test_the_transposed_system_under_jit(name):
    case = named(name)
    b = jnp.asarray(np.random.default_rng(2).normal(size=(case.x.size, 2)))
    close(jax.jit(ours(case, True))(case.x, b), plain(case, True)(case.x, b))


@pytest.mark.parametrize("name", ["tridiagonal", "unequal blocks"])
def test_solve_over_a_batch(name):
    case = named(name)
    x = jnp.stack([case.x, 0.5 * case.x])
    b = jnp.asarray(np.random.default_rng(3).normal(size=x.shape))
    close(jax.vmap(ours(case))(x, b), jax.vmap(plain(case))(x, b))


def test_a_traced_right_side_at_a_concrete_point():
    case = named("tridiagonal")
    b = jnp.asarray(np.random.default_rng(4).normal(size=case.x.size))
    close(jax.jit(case.J.solve)(b), np.linalg.solve(case.dense, b))
    close(jax.jacrev(case.J.solve)(b), np.linalg.inv(case.dense))


def test_what_is_large_and_sparse_is_solved_on_the_host():
    def ring(x):
        return 4 * x + jnp.roll(x, 1) * x + jnp.roll(x, -7) ** 2

    x, b = draw(70, 900, low=-0.5, high=0.5), draw(71, 900)
    seen = []

    def solve(x, b):
        J = jm.linearize(ring, x)
        seen.append(J.explain("solve").chosen)
        return J.solve(b)

    def loss(solve):
        return jax.value_and_grad(lambda x, b: jnp.sum(solve(x, b) ** 3), argnums=(0, 1))

    def dense(x, b):
        return jnp.linalg.solve(jax.jacfwd(ring)(x), b)

    close(jax.jit(loss(solve))(x, b), jax.jit(loss(dense))(x, b))
    assert set(seen) == {"sparse LU on the host"}
    batch = jnp.stack([b, 2 * b])
    close(jax.jit(jax.vmap(solve, (None, 0)))(x, batch), jnp.linalg.solve(jax.jacfwd(ring)(x), batch.T).T)
    tiny = jm.linearize(ring, x).inverse().T
    close(jax.jit(lambda b: tiny @ b)(b), jnp.linalg.solve(jax.jacfwd(ring)(x).T, b))


def test_a_singular_matrix_gives_no_numbers_on_the_host():
    J = jm.linearize(lambda x: jnp.roll(x, 1) ** 2 + jnp.roll(x, 450) ** 2, jnp.zeros(900))
    assert not np.isfinite(jax.jit(J.solve)(jnp.ones(900))).any()


def test_products_alone_under_jit():
    A = 3 * np.eye(30) + np.random.default_rng(5).normal(size=(30, 30)) / 10
    x, b = draw(73, 30), draw(74, 30)
    J = jm.linearize(lambda x: A @ (x + x**3), x)

    def solve(b):
        return J.solve(b)

    def with_products(b):
        key = next(key for key, plan in J._form.plans.items() if key[:2] == ("solve", True))
        plan = J._form.plans[key]
        assert plan.chosen == "dense LU"
        return forced_solve(b)

    def forced_solve(b):
        with forced(J, "solve", "matrix-free GMRES") as bound:
            return bound.solve(b)

    true = np.linalg.solve(np.asarray(jax.jacfwd(J.f)(x)), b)
    close(jax.jit(solve)(b), true)
    close(jax.jit(with_products)(b), true, rtol=1e-8)


# -- the other questions -----------------------------------------------------------------------------------------
QUESTIONS = {
    "singular values": (lambda J: J.svd()[1], lambda A: jnp.linalg.svd(A, full_matrices=False)[1]),
    "largest": (lambda J: J.svd(2)[1], lambda A: jnp.linalg.svd(A, full_matrices=False)[1][:2]),
    "one": (lambda J: J.norm(1), lambda A: jnp.linalg.norm(A, 1)),
    "two": (lambda J: J.norm(), lambda A: jnp.linalg.norm(A, 2)),
    "inf": (lambda J: J.norm(jnp.inf), lambda A: jnp.linalg.norm(A, jnp.inf)),
    "fro": (lambda J: J.norm("fro"), lambda A: jnp.linalg.norm(A)),
    "nuc": (lambda J: J.norm("nuc"), lambda A: jnp.linalg.norm(A, "nuc")),
    "cond": (lambda J: J.cond(), jnp.linalg.cond),
    "least squares": (
        lambda J: J.lstsq(jnp.arange(1.0, J.shape[0] + 1)),
        lambda A: jnp.linalg.pinv(A, rtol=1e-14) @ jnp.arange(1.0, A.shape[0] + 1),
    ),
}


@pytest.mark.parametrize("name", ["unequal blocks", "tall"])
def test_the_other_questions_and_their_gradients_under_jit(name):
    case = named(name)

    def all_of(matrix, which):
        def loss(x):
            answers = {key: pair[which](matrix(x)) for key, pair in QUESTIONS.items()}
            return sum(jnp.sum(jnp.sin(answer)) for answer in answers.values()), answers

        return jax.jit(jax.grad(loss, has_aux=True))

    found = all_of(lambda x: jm.linearize(case.function, x), 0)(case.x)
    close(found, all_of(jax.jacfwd(case.function), 1)(case.x), rtol=1e-8)


def test_rank_under_jit():
    flat = named("low rank by its numbers")
    assert jax.jit(lambda x: jm.linearize(flat.function, x).rank())(flat.x) == 2


def test_the_plan_says_what_a_transformation_costs():
    said = []

    def f(x):
        said.append(str(jm.linearize(heat, x).explain("solve")))
        return x

    jax.jit(f)(draw(75, 12))
    assert "note: inside a transformation of JAX: nothing is raised" in said[0]
    assert "chosen: tridiagonal LU" in said[0]


def test_structurally_singular_is_an_error_while_tracing():
    with pytest.raises(jm.SingularError, match="output 2 reads no input"):
        jax.jit(lambda x: jm.linearize(lambda x: x.at[2].set(1.0), x).solve(x))(jnp.ones(4))


def test_the_report_needs_a_concrete_point():
    with pytest.raises(jm.ArgumentError, match="needs a concrete point"):
        jax.jit(lambda x: jm.linearize(heat, x).locally_invertible().cond)(jnp.ones(4))


def test_single_precision_under_jit():
    x = draw(76, 12).astype(jnp.float32)
    found = jax.jit(lambda x, b: jm.linearize(heat, x).solve(b))(x, np.ones(12))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.linalg.solve(np.asarray(jax.jacfwd(heat)(x), float), np.ones(12)), rtol=1e-4)
