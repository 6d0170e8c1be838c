"""Least squares against SciPy, closed forms and every way of taking a step against the normal equations."""

import importlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jacmap as jm
from jacmap.least_squares._strategies import FIRST, WITHIN, Damped, Levenberg
from jacmap.least_squares._ways import Cholesky, Dense

T = np.linspace(0.0, 3.0, 40)
Y = 2.5 * np.exp(-1.3 * T) + 0.5 + 0.05 * np.random.default_rng(0).standard_normal(40)
Y[::9] += 2.0  # outliers
MIX = np.random.default_rng(3).standard_normal((30, 30)) / 6
METHODS = ("lm", "dogleg", "gauss-newton")


def decay(x, xp=jnp):
    return x[0] * xp.exp(-x[1] * T) + x[2] - Y


def rosenbrock(x):
    return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def banded(x):
    """Broyden's tridiagonal system."""
    return (3 - 2 * x) * x + 1 - jnp.pad(x[:-1], (1, 0)) - 2 * jnp.pad(x[1:], (0, 1))


def blocks(x):
    """Twelve separate systems of 30 unknowns, interleaved."""
    p = x.reshape(30, 12)
    return jnp.concatenate([(p + 0.1 * (MIX @ p) ** 2 - 1).ravel(), 0.5 * x])


def arrow(x):
    """Sixty pairs, each seen through three numbers that all share; blocks of two sizes are there."""
    shared, pairs, single = x[:3], x[3:123].reshape(60, 2), x[123:]
    seen = jnp.stack([pairs[:, 0] * shared[0] + shared[1], pairs[:, 1] ** 2 + shared[2], pairs[:, 0] * pairs[:, 1]], 1)
    return jnp.concatenate([(seen - 1.2).ravel(), single * shared[1] - 0.3, x - 1.0])


SHAPES = {
    "banded": (banded, -np.ones(120)),
    "block-diagonal": (blocks, np.ones(360)),
    "schur": (arrow, np.full(140, 0.8)),
}


@pytest.mark.parametrize("method", METHODS)
def test_rosenbrock_from_far_away(method: str) -> None:
    found = jm.least_squares(rosenbrock, np.array([-1.2, 1.0]), method=method)
    assert found.success and np.allclose(found.x, 1, atol=1e-7) and found.cost < 1e-14


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loss", ["linear", "huber", "soft_l1", "cauchy", "arctan"])
def test_the_five_losses_have_scipys_optimum(method: str, loss: str) -> None:
    x0 = np.array([2.0, 1.0, 0.4])
    theirs = scipy.optimize.least_squares(
        lambda x: decay(x, np), x0, loss=loss, f_scale=0.2, ftol=1e-14, xtol=1e-14, gtol=1e-14
    )
    ours = jm.least_squares(decay, x0, loss=loss, f_scale=0.2, method=method, ftol=1e-14, xtol=1e-14, gtol=1e-10)
    assert ours.success
    assert np.allclose(ours.x, theirs.x, rtol=1e-5) and np.isclose(ours.cost, theirs.cost, rtol=1e-10)
    assert np.allclose(ours.jac, jax.jacfwd(decay)(ours.x), rtol=1e-12)


@pytest.mark.parametrize("loss", ["huber", "soft_l1", "cauchy", "arctan"])
def test_the_gradient_is_that_of_the_robust_cost(loss: str) -> None:
    rho = {
        "huber": lambda z: jnp.where(z <= 1, z, 2 * jnp.sqrt(jnp.maximum(z, 1)) - 1), "cauchy": jnp.log1p,
        "soft_l1": lambda z: 2 * (jnp.sqrt(1 + z) - 1), "arctan": jnp.arctan,
    }[loss]  # fmt: skip
    x = np.array([2.0, 1.0, 0.4])
    found = jm.least_squares(decay, x, loss=loss, f_scale=0.3, max_nfev=1)
    truth = jax.grad(lambda x: 0.5 * 0.3**2 * jnp.sum(rho((decay(x) / 0.3) ** 2)))(x)
    assert np.allclose(found.grad, truth, rtol=1e-10) and found.status == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "bounds",
    [
        (-np.inf, [1.5, 5, 5]), ([0, 2.0, 0.6], np.inf), ([0, 0, 0.45], [2.2, 3, 0.45]), ([2, 1, 0.4], [2, 1, 0.4]),
        ([-9, -9, -9], [9, 9, 9]),
    ],
)  # fmt: skip
def test_bounds_give_scipys_optimum_and_its_active_set(method: str, bounds) -> None:
    low, high = (np.broadcast_to(np.asarray(b, float), 3) for b in bounds)
    x0 = np.clip([2.0, 1.0, 0.5], low, high)
    found = jm.least_squares(decay, x0, bounds=bounds, method=method, ftol=1e-13, xtol=1e-13)
    spare = np.maximum(high, low + 1e-9)  # SciPy wants room between the bounds
    theirs = scipy.optimize.least_squares(
        lambda x: decay(x, np),
        np.clip(x0, low + 1e-10, spare - 1e-10),
        bounds=(low, spare),
        ftol=1e-13,
        xtol=1e-13,
        gtol=1e-12,
    )
    assert found.success and (found.x >= low).all() and (found.x <= high).all()
    assert found.cost <= theirs.cost * (1 + 1e-6) and np.allclose(found.x, theirs.x, rtol=1e-4)
    assert found.optimality < 1e-5
    assert (np.abs(found.active_mask) == ((found.x == low) | (found.x == high))).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_structure_chooses_the_way(shape: str) -> None:
    f, x0 = SHAPES[shape]
    found = jm.least_squares(f, x0)
    assert found.explain().name == shape and found.success
    assert shape in str(found.explain()) and "colouring" in str(found.explain())


@pytest.mark.parametrize("way", ["dense", "sparse", "products", "itself"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bounded", [False, True])
def test_every_way_takes_the_same_steps(shape: str, way: str, bounded: bool) -> None:
    f, x0 = SHAPES[shape]
    bounds = (x0 - 0.1, x0 + 0.3) if bounded else (-np.inf, np.inf)
    tight = {"ftol": 1e-12, "xtol": 1e-12, "gtol": 1e-10, "bounds": bounds}
    found = jm.least_squares(f, x0, linear_solver=shape if way == "itself" else way, **tight)
    theirs = scipy.optimize.least_squares(
        lambda x: np.asarray(f(x)), x0, lambda x: np.asarray(jax.jacfwd(f)(x)), x_scale="jac", **tight
    )
    assert found.success and found.optimality < 1e-6
    assert np.isclose(found.cost, theirs.cost, rtol=1e-7, atol=1e-16)


def test_cholesky_turns_to_qr_where_its_digits_are_used_up() -> None:
    draw = np.random.default_rng(2)
    left, right = draw.standard_normal((2, 320, 320)) / 18
    mixed = jnp.asarray(left * np.geomspace(1, 1e-5, 320) @ right)  # condition number 2.7·10¹⁰

    def f(x):
        return mixed @ (jnp.sinh(x) - np.sinh(0.1))

    found = jm.least_squares(f, np.zeros(320), xtol=1e-13, ftol=1e-13, gtol=1e-15, max_nfev=20)
    assert found.plan.name == "cholesky" and "or QR" in str(found.plan) and found.success
    np.testing.assert_allclose(found.x, 0.1, rtol=1e-6)  # by JᵀJ alone 300 evaluations end 0.03 away
    found = jm.least_squares(f, np.zeros(320), memory="4MB", linear_solver="cholesky", max_nfev=3)
    assert "or QR" not in found.plan.what  # there is no room for it
    J, r = np.asarray(jax.jacfwd(f)(np.zeros(320))), np.asarray(f(np.zeros(320)))
    exact, errors = np.linalg.lstsq(J, -r, rcond=0)[0], []
    for rescue in (True, False):
        way = Cholesky(rescue)
        way.load(J)
        p = way.step(r, np.full(320, 1e-30), np.ones(320, bool))
        errors.append(np.inf if p is None else np.linalg.norm(p - exact) / np.linalg.norm(exact))
    assert errors[0] < 1e-3 < 0.1 < errors[1]
    way, free = Cholesky(True), np.arange(320) % 7 > 0
    way.load(J)
    p = way.step(r, np.full(320, 1e-30), free)
    part = np.linalg.lstsq(J[:, free], -r, rcond=0)[0]
    assert not p[~free].any() and np.linalg.norm(p[free] - part) < 1e-3 * np.linalg.norm(part)
    wide = jm.least_squares(lambda x: f(x)[:300], np.zeros(320), linear_solver="cholesky", max_nfev=3)
    assert "or QR" not in wide.plan.what  # singular for sure


def test_damping_follows_a_curvature_that_falls_by_many_orders() -> None:
    """At a root of order 7 each step leaves 6/7 of x, and 0.16 of the curvature that the scaling remembers."""
    found = jm.least_squares(lambda x: x**7, np.linspace(100, 1000, 200), gtol=1e-14, max_nfev=300)
    assert found.plan.name == "block-diagonal" and np.abs(found.fun).max() < 1e-6
    for least in (1e-14, 1e-40):
        strategy = Damped()
        for _ in range(60):
            strategy.propose(lambda damping: damping, np.ones(1), np.ones(1), 0.0, least)
            strategy.learn(1.0, 1.0)
        assert strategy.damping == least
        strategy.learn(-1.0, 0.0)  # a refused step is shortened, not given up
        assert 1 < strategy.damping / least < 1e3


def test_where_the_normal_matrix_is_full_nothing_is_planned_by_its_entries() -> None:
    def joined(x):  # one row that reads all: JᵀJ is full though J has two entries in a column
        return jnp.append(jnp.exp(x) - 2, jnp.sum(x) - 1)

    start = np.zeros(400)
    found = jm.least_squares(joined, start)
    assert {c.name for c in found.plan.candidates} == {"dense", "cholesky", "products"}
    asked = jm.least_squares(joined, start, linear_solver="sparse")
    assert asked.plan.name == "sparse" and np.allclose(found.x, asked.x, rtol=1e-6)
    with pytest.raises(jm.ArgumentError, match="linear_solver.*'sparse'"):
        jm.least_squares(joined, start, linear_solver="spares")


def test_integers_among_args_are_known_when_planning_and_real_numbers_are_data() -> None:
    """Which unknowns a residual reads is structure: as data, J would be full."""

    def f(x: jax.Array, rate: float, reads: jax.Array, seen: dict[str, jax.Array]) -> jax.Array:
        return rate * x[reads] - seen["y"]

    draw = np.random.default_rng(0)
    for reads in (draw.permutation(300), draw.permutation(300)):
        for rate in (2.0, 3.0):
            y = draw.standard_normal(300)
            found = jm.least_squares(f, np.zeros(300), args=(rate, reads, {"y": y}))
            assert found.plan.name == "block-diagonal"
            expected = np.empty(300)
            expected[reads] = y / rate
            np.testing.assert_allclose(found.x, expected, rtol=1e-6, atol=1e-9)


def test_one_step_of_each_way_solves_the_damped_normal_equations() -> None:
    from jacmap.least_squares._choose import choose
    from jacmap.least_squares._problem import prepare

    draw = np.random.default_rng(1)
    for f, x0 in SHAPES.values():
        problem, x, _, _ = prepare(f, x0, ())
        J, r = np.asarray(jax.jacfwd(f)(x)), draw.standard_normal(problem.shape[0])
        damping, free = draw.uniform(0.1, 1, len(x)), draw.random(len(x)) < 0.8
        truth = np.zeros(len(x))
        part = J[:, free]
        truth[free] = np.linalg.solve(part.T @ part + np.diag(damping[free]), -part.T @ r)
        for name in ("cholesky", *(c.name for c in choose(problem, None, None)[0].candidates)):
            plan, way = choose(problem, None, name)
            way.load(getattr(problem, plan.form)(x, ()))
            assert np.allclose(way.step(r, damping, free), truth, atol=1e-7), name


def test_jtj_on_a_fixed_pattern_is_jtj() -> None:
    from scipy.sparse import csr_array, random_array

    from jacmap.least_squares._normal import Normal, supercolumns

    draw = np.random.default_rng(2)
    for density in (0.0, 0.03, 0.3):
        J = csr_array(random_array((60, 25), density=density, rng=draw))
        J = csr_array(np.repeat(np.repeat(J.toarray(), 2, axis=0), 3, axis=1) * draw.uniform(1, 2, (120, 75)))
        normal = Normal(csr_array(J, dtype=bool))
        assert np.allclose(normal.matrix(normal.numbers(J.data)).toarray(), J.toarray().T @ J.toarray())
        labels, full = supercolumns(csr_array(J, dtype=bool)), J.toarray() != 0
        assert all((labels[i] == labels[j]) == (full[:, i] == full[:, j]).all() for i in range(75) for j in range(75))


def test_pytrees_arguments_and_a_second_call() -> None:
    def f(p, t, y):
        return {"fit": p["a"] * jnp.exp(-p["rate"] * t) - y, "prior": 0.1 * (p["a"] - 1)}

    start = {"a": jnp.array(1.0), "rate": jnp.array([0.5])}
    for y in (3 * np.exp(-2 * T), 2 * np.exp(-T)):
        found = jm.least_squares(f, start, args=(T, y))
        theirs = scipy.optimize.least_squares(
            lambda x, y: np.append(x[0] * np.exp(-x[1] * T) - y, 0.1 * (x[0] - 1)), [1, 0.5], args=(y,)
        )
        assert set(found.x) == {"a", "rate"} and found.x["rate"].shape == (1,)
        assert np.allclose([found.x["a"], found.x["rate"][0]], theirs.x, rtol=1e-5)


def test_a_function_of_numpy_alone() -> None:
    def f(x):
        out = np.empty(40)
        out[:] = decay(x, np)
        return out

    found = jm.least_squares(f, [2.0, 1.0, 0.4])
    truth = jm.least_squares(decay, [2.0, 1.0, 0.4])
    assert found.success and np.allclose(found.x, truth.x, rtol=1e-6) and "differences" in str(found.plan)


def test_float32_converges_to_its_own_precision() -> None:
    x0 = np.array([2.0, 1.0, 0.4], np.float32)
    found = jm.least_squares(decay, x0)
    assert found.success and np.allclose(found.x, jm.least_squares(decay, x0.astype(float)).x, rtol=2e-3)


def test_covariance_is_curve_fits() -> None:
    theirs = scipy.optimize.curve_fit(
        lambda t, a, b, c: a * np.exp(-b * t) + c, T, Y, [2, 1, 0.4], ftol=1e-14, xtol=1e-14
    )
    found = jm.least_squares(decay, np.array([2.0, 1.0, 0.4]), ftol=1e-14, xtol=1e-14)
    assert np.allclose(found.x, theirs[0], rtol=1e-6) and np.allclose(found.covariance(), theirs[1], rtol=1e-4)
    assert found.rank == 3
    held = jm.least_squares(decay, np.array([2.0, 1.0, 0.4]), bounds=([0, 0, 0.4], [9, 9, 0.4]))
    assert (held.covariance()[2] == 0).all() and held.covariance()[0, 0] > 0


def test_covariance_of_a_rank_deficient_fit_names_the_unknowns() -> None:
    found = jm.least_squares(lambda x: jnp.stack([x[0] + x[1] - 1, x[0] + x[1] - 3, x[2]]), np.ones(3))
    assert found.rank == 2 and "not unique" in found.message
    with pytest.raises(jm.SingularError, match="rank 2 for 3 unknowns.*unknowns [01], [01]"):
        found.covariance()


@pytest.mark.parametrize(
    ("f", "x0", "status", "word"),
    [
        (jnp.log, [-1.0], -2, "not finite at x0 .1 NaN or infinite, the first at 0"),
        (lambda x: jnp.sqrt(x) - 1, [0.0], -3, "Jacobian is not finite at x0"),
        (lambda x: jnp.exp(-x), [1.0], -5, "no minimum in reach"),
        (lambda x: x**2 - 1, [1.0], 1, "gtol"),
        (lambda x: x**4, [1.0], 1, "gtol"),
        (lambda x: jnp.where(x == 1.0, x, jnp.nan), [1.0], -4, "no step"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_why_it_stopped(f, x0, status: int, word: str, method: str) -> None:
    found = jm.least_squares(f, x0, method=method)
    assert found.status == status and found.success == (status > 0)
    assert re.search(word, found.message)


def test_a_step_into_nan_is_refused() -> None:
    def f(x):
        return jnp.log(x) + 5 * jnp.log(4 - x)

    found = jm.least_squares(f, [3.9])
    assert found.success and abs(float(f(found.x)[0])) < 1e-6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"bounds": (1.0, 0.0)}, "bounds: inconsistent, unknown 0"),
        ({"bounds": (0.0, 0.5)}, "x0: infeasible, unknown 0 is 2"),
        ({"bounds": 3}, "expected a pair"),
        ({"bounds": (np.nan, 1)}, "got NaN"),
        ({"bounds": ([0, 0], 1)}, r"bounds\[0\]: got 2 numbers, expected one or 3"),
        ({"method": "newton"}, "method: got 'newton', expected one of 'lm'"),
        ({"loss": "l1"}, "loss: got 'l1'"),
        ({"f_scale": 0.0}, "f_scale: got 0.0"),
        ({"x_scale": [1, 1, -1]}, "x_scale: got numbers"),
        ({"x_scale": "auto"}, "x_scale: got 'auto'"),
        ({"linear_solver": "banded"}, "linear_solver: got 'banded', expected one of"),
    ],
)
def test_arguments_that_cannot_be_meant(arguments, said: str) -> None:
    with pytest.raises(jm.ArgumentError, match=said):
        jm.least_squares(decay, np.array([2.0, 1.0, 0.4]), **arguments)


def test_functions_that_cannot_be_meant() -> None:
    with pytest.raises(jm.ArgumentError, match="f: got int"):
        jm.least_squares(3, [1.0])  # type: ignore[arg-type]
    with pytest.raises(jm.ArgumentError, match="complex residuals"):
        jm.least_squares(lambda x: x * 1j, [1.0])
    with pytest.raises(jm.ArgumentError, match="x0: got no numbers"):
        jm.least_squares(lambda x: x, [])
    with pytest.raises(jm.ArgumentError, match="x0: got dtype complex128"):
        jm.least_squares(lambda x: x, np.array([1j]))


def test_a_bound_on_memory_leads_to_products() -> None:
    found = jm.least_squares(banded, -np.ones(120), memory="2KB")
    assert found.plan.name == "products" and found.success
    with pytest.raises(jm.ArgumentError, match="never formed"):
        found.covariance()


@pytest.mark.parametrize("loss", ["huber", "soft_l1", "cauchy"])
def test_outliers_at_the_start_do_not_stop_it_short(loss: str) -> None:
    """Far from the data every residual is an outlier, where the losses' own curvature is nothing or negative."""
    t = np.linspace(0, 3, 60)
    seen = 2 * np.exp(-1.3 * t) + 0.001 * np.sin(40 * t)

    def f(x):
        return (x[0] * jnp.exp(-x[1] * t) - seen) / 0.001

    for method in ("lm", "dogleg"):
        for way in ("dense", "products"):
            found = jm.least_squares(f, [-1.0, 0.2], loss=loss, method=method, linear_solver=way, max_nfev=1000)
            assert found.success and np.allclose(found.x, [2, 1.3], atol=0.01), (method, way, found.x)


def test_damping_may_fall_to_nothing_where_columns_shrink() -> None:
    """DENSCHND (CUTEst): J vanishes at the root; with damping by its largest columns the steps would be none."""

    def f(x):
        return jnp.stack([x[0] ** 2 + x[1] ** 3 - x[2] ** 4, 2 * x[0] * x[1] * x[2], 2 * x[0] * x[1] - 3 * x[1] * x[2]
                          + x[0] * x[2]])  # fmt: skip

    assert jm.least_squares(f, [10.0, 10.0, 10.0], gtol=1e-12, ftol=1e-15, xtol=1e-15).nfev < 60


def test_a_step_has_the_length_of_the_trust_radius() -> None:
    J, r = np.random.default_rng(3).standard_normal((2, 20, 6))[0] * 10.0 ** np.arange(6), np.ones(20)
    way, strategy = Dense(), Levenberg()
    way.load(J)
    scale = np.linalg.norm(J, axis=0)

    def solve(damping):
        return way.step(r, np.maximum(damping, 1e-30 * scale**2), np.ones(6, bool))

    longest = np.linalg.norm(scale * solve(np.zeros(6)))
    for share in (0.9, 0.3, 1e-2, 1e-4):
        strategy.begin(share * longest / FIRST)
        length = np.linalg.norm(scale * strategy.propose(solve, J.T @ r, scale, 0.0, 0.0))
        assert 1 / WITHIN <= length / (share * longest) <= WITHIN


def test_many_unknowns_with_a_full_jacobian_go_by_cholesky() -> None:
    A = np.random.default_rng(4).standard_normal((400, 320)) / 20
    found = jm.least_squares(lambda x: A @ jnp.sinh(x) - 1, np.zeros(320), gtol=1e-12, ftol=1e-15)
    truth = np.arcsinh(np.linalg.lstsq(A, np.ones(400))[0])
    assert found.plan.name == "cholesky" and np.allclose(found.x, truth, atol=1e-6)


def test_a_callback_sees_every_step_and_may_stop_the_run() -> None:
    seen: list[Any] = []
    whole = jm.least_squares(rosenbrock, [-1.2, 1.0], callback=lambda x: seen.append(x))
    assert len(seen) == whole.njev - 1 and np.array_equal(seen[-1], whole.x)

    costs: list[float] = []

    def watch(intermediate_result: Any) -> None:
        costs.append(intermediate_result.cost)
        assert costs[-1] == pytest.approx(0.5 * np.sum(intermediate_result.fun**2))
        if len(costs) == 3:
            raise StopIteration

    found = jm.least_squares(rosenbrock, [-1.2, 1.0], callback=watch)
    assert (found.status, found.success) == (-6, False) and "by the callback" in found.message
    assert costs == sorted(costs, reverse=True) and found.cost == costs[-1] and found.njev == 4


def test_a_step_is_chosen_while_j_is_compiled(monkeypatch):
    """As above a hundred thousand entries: the same answer, and what goes wrong in either thread is raised."""

    def chain(x):
        return jnp.concatenate([10 * (x[1:] - x[:-1] ** 2), 1 - x])

    start = np.full(400, 0.9)
    expected = jm.least_squares(chain, start)
    monkeypatch.setattr(importlib.import_module("jacmap.least_squares._front"), "MEANWHILE", 0)
    found = jm.least_squares(lambda x: chain(x), start)
    assert found.plan.name == expected.plan.name == "banded" and found.nfev == expected.nfev
    np.testing.assert_array_equal(found.x, expected.x)
    with pytest.raises(jm.ArgumentError, match="linear_solver"):
        jm.least_squares(lambda x: chain(x), start, linear_solver="schurr")
