"""`jm.integrate` against closed forms, SciPy and coverage counts."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate as scipy_integrate
from scipy.stats import genpareto

import jacmap as jm
from jacmap._progress import Tracker
from jacmap.integration import Ball, Box, Mapped, Simplex, Spherical
from jacmap.integration.importance import Draws, importance
from jacmap.integration.pareto import pareto_k
from jacmap.integration.pullback import Pullback, Stretch
from jacmap.integration.sampling import monte_carlo, quasi
from jacmap.integration.tolerance import Goal

INF = math.inf


def one(x):
    return 1.0


def holds(found: jm.Integral, truth, relative: float) -> None:
    """Right to `relative`, and within the error that it states itself."""
    truth = np.asarray(truth, float)
    off = np.abs(np.asarray(found.value) - truth)
    assert found.converged, str(found)
    assert np.all(off <= relative * np.max(np.abs(truth))), str(found)
    assert np.all(off <= found.error + 1e-15 * np.abs(truth)), str(found)


def ball_volume(n: int) -> float:
    return math.pi ** (n / 2) / math.gamma(n / 2 + 1)


@pytest.mark.parametrize("n", range(2, 9))
def test_ball_volumes(n):
    holds(jm.integrate(one, Ball(n, 1.5)), 1.5**n * ball_volume(n), 1e-8)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_spherical_coordinates(n):
    holds(jm.integrate(one, Spherical(n)), ball_volume(n), 1e-8)


CENTER = np.array([0.3, -0.2, 0.5])

# name -> (f, region, truth)
CLOSED = {
    "all of the plane, polar": (lambda x: jnp.exp(-x @ x), Spherical(2, (0, INF)), math.pi),
    "1/r is tamed by the determinant": (lambda x: 1 / jnp.sqrt(x @ x), Spherical(2), 2 * math.pi),
    "a shell's moment": (lambda x: x[2] ** 2, Spherical(3, (1, 2)), 4 * math.pi / 15 * 31),
    "an octant": (one, Spherical(3, angles=((0, math.pi / 2),) * 2), math.pi / 6),
    "a ball elsewhere": (lambda x: x, Ball(3, 2.0, CENTER), CENTER * ball_volume(3) * 8),
    "a Gaussian in a ball": (
        lambda x: jnp.exp(-x @ x / 2),
        Ball(2, 3.0),
        2 * math.pi * (1 - math.exp(-4.5)),
    ),
    "Dirichlet": (
        lambda x: jnp.sqrt(x[0]) * x[1] ** 2,
        Simplex(2),
        math.gamma(1.5) * math.gamma(3) * math.gamma(1) / math.gamma(5.5),
    ),
    "a triangle": (lambda x: x, Simplex([[0, 0], [2, 0], [0, 3]]), [2.0, 3.0]),
    "the line": (lambda x: jnp.exp(-(x**2) / 2), Box(-INF, INF), math.sqrt(2 * math.pi)),
    "half a line": (lambda x: jnp.exp(-x), Box(1, INF), math.exp(-1)),
    "the other half": (lambda x: jnp.exp(x), Box(-INF, 1), math.exp(1)),
    "heavy tails": (lambda x: 1 / (1 + x**2), Box(-INF, INF), math.pi),
    "an ellipse, the user's map": (
        one,
        Mapped(lambda u: u[0] * jnp.stack([3 * jnp.cos(u[1]), 2 * jnp.sin(u[1])]), Box([0, 0], [1, 2 * math.pi])),
        6 * math.pi,
    ),
    "orientation turned": (one, Mapped(lambda u: u[::-1] * 2, Box([0, 0], [1, 3])), 12.0),
    "singular and one-to-one inside": (one, Mapped(lambda u: u**3, Box([-1, -1], 1)), 4.0),
    "det infinite at the boundary": (one, Mapped(lambda u: jnp.sqrt(u), Box([0, 0], 1)), 1.0),
    "an infinite f at the boundary": (lambda x: x**-0.3, Box(0, 1), 1 / 0.7),
    "a logarithm": (jnp.log, Box(0, 1), -1.0),
    "a matrix": (lambda x: jnp.outer(x, x), Box([0, 0], 1), [[1 / 3, 1 / 4], [1 / 4, 1 / 3]]),
    "a symmetric zero beside others": (lambda x: jnp.stack([x[0], 1 + x[0] ** 2]), Box([-1], [1]), [0, 8 / 3]),
    "a narrow peak": (lambda x: jnp.exp(-1e6 * jnp.sum((x - 0.3217) ** 2)), Box([0, 0], 1), math.pi * 1e-6),
    "eight dimensions": (lambda x: jnp.exp(jnp.sum(x)), Box([0] * 8, 1), (math.e - 1) ** 8),
    "NumPy, branches": (lambda x: np.exp(-x[0]) if x[0] > 0 else 0.0 * x[0], Box([0.0], [1.0]), 1 - math.exp(-1)),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name):
    f, region, truth = CLOSED[name]
    holds(jm.integrate(f, region), truth, 1e-8)


def test_kinks_go_to_adaptive_cubature_and_agree_with_scipy():
    found = jm.integrate(lambda x: jnp.abs(x[0] - x[1] / 3), Box([0, 0], 1), rtol=1e-6)
    truth, _ = scipy_integrate.dblquad(lambda y, x: abs(x - y / 3), 0, 1, 0, 1, epsabs=1e-9)
    assert found.method == "cubature"
    holds(found, truth, 1e-6)


def test_logarithms_of_what_would_underflow():
    def f(x):
        return -5000 - x @ x / 2

    for method in ("auto", "quasi"):
        found = jm.integrate(f, Box([-INF, -INF], INF), log=True, method=method)
        assert abs(found.value - (math.log(2 * math.pi) - 5000)) < max(found.error, 1e-9)


def test_high_dimension_goes_to_quasi_monte_carlo():
    found = jm.integrate(lambda x: jnp.prod(1 + (x - 0.5) / 2), Box([0] * 20, 1))
    assert found.method == "quasi" and found.standard_error is not None
    assert abs(found.value - 1) < 3 * found.error < 1e-3


def goal(evaluations: int, seed: int) -> Goal:
    return Goal(0.0, 0.0, evaluations, False, seed, Tracker(False))


@pytest.mark.parametrize("method", [quasi, monte_carlo])
def test_the_intervals_of_random_methods_cover(method):
    """Of 100 intervals of 95 %, fewer than 88 cover with a probability below 0.004."""
    truth = ball_volume(2) * (1 - math.exp(-1))
    ball = Ball(2)
    g = Pullback(lambda x: jnp.exp(-x @ x), ball, Stretch.plain(ball.box), False)
    runs = [method(g, goal(2048, seed)) for seed in range(100)]
    assert sum(abs(run.value[0] - truth) <= run.error[0] for run in runs) >= 88


def polar(turns: float) -> Mapped:
    return Mapped(lambda u: u[0] * jnp.stack([jnp.cos(u[1]), jnp.sin(u[1])]), Box([0, 0], [1, 2 * math.pi * turns]))


def squared(z):
    return jnp.stack([z[0] ** 2 - z[1] ** 2, 2 * z[0] * z[1]])


FOLDS = {
    "a parabola": Mapped(lambda u: jnp.stack([u[0] ** 2, u[1]]), Box([-1, 0], 1)),
    "a narrow one": Mapped(lambda u: jnp.stack([u[0] ** 3 / 3 - 1e-6 * u[0], u[1]]), Box([-1, 0], 1)),
    "off the sample's corner": Mapped(lambda u: jnp.stack([(u[0] - 0.999) ** 2, u[1]]), Box([0, 0], 1)),
    "a cusp": Mapped(lambda u: jnp.stack([u[0], u[1] ** 3 - u[0] * u[1]]), Box([-1, -1], 1)),
    "a polar angle too far": Spherical(3, angles=((0, 1.5 * math.pi), (0, math.pi))),
}


@pytest.mark.parametrize("name", FOLDS)
def test_a_fold_is_refused_with_its_place(name):
    region = FOLDS[name]
    with pytest.raises(jm.RegionError, match="folds: det J changes its sign at"):
        jm.integrate(one, region)


def test_the_place_of_the_fold_is_right():
    with pytest.raises(jm.RegionError, match=r"changes its sign at x = \(-?\d\S*e-\d\d|changes its sign at x = \(0,"):
        jm.integrate(one, FOLDS["a parabola"])


COVERS = {
    "twice round": polar(2.0),
    "a hundredth too far": polar(1.01),
    "z²": Mapped(squared, Box([-1, -1], 1)),
    "solid angle too wide": Spherical(3, angles=((0, math.pi), (0, 2.5 * math.pi))),
    "five dimensions": Spherical(5, angles=((0, math.pi),) * 3 + ((0, 2.2 * math.pi),)),
}


@pytest.mark.parametrize("name", COVERS)
def test_a_double_cover_is_refused_with_both_points(name):
    with pytest.raises(jm.RegionError, match=r"not one-to-one .* keeps its sign: u = .* and u = .* both give x ="):
        jm.integrate(one, COVERS[name])


def test_what_is_met_twice_can_be_counted_twice():
    found = jm.integrate(one, polar(2.0), overlaps="count")
    holds(found, 2 * math.pi, 1e-8)
    assert "counts as often as it is met" in found.region
    holds(jm.integrate(one, FOLDS["a parabola"], overlaps="count"), 2.0, 1e-8)


def coupling(u):
    w = np.random.default_rng(0).standard_normal((4, 2, 2))
    for k in range(4):
        a, b = u[:2], u[2:]
        u = jnp.concatenate([b * jnp.exp(jnp.tanh(w[k] @ a)) + jnp.sin(w[k].T @ a), a])
    return u


@pytest.mark.parametrize(
    "region",
    [polar(1.0), Mapped(coupling, Box([-1] * 4, 1)), Mapped(jnp.tan, Box(-1.5, 1.5)),
     Mapped(Spherical(4).map, Spherical(4).box), Mapped(squared, Box([0, -1], 1)),
     Mapped(lambda u: jnp.exp(3 * u), Box([0, 0], 1))],
    ids=["once round", "coupling flow", "tangent", "spherical", "half of z²", "exponential"],
)  # fmt: skip
def test_no_false_alarm(region):
    found = jm.integrate(one, region, method="quasi", evaluations=1024)
    assert found.region.startswith("one-to-one as far as tested")


@pytest.mark.parametrize(
    ("f", "region", "where"),
    [
        (lambda x: 1 / x, Box(1, INF), r"u\[0\] = inf"),
        (one, Mapped(lambda u: jnp.stack([1 / u[0], u[1]]), Box([0, 0], 1)), r"u\[0\] = 0"),
        (lambda x: 1 / (2 - x[1]), Box([0, 0], [1, 2]), r"u\[1\] = 2"),
    ],
)
def test_what_diverges_at_a_face_is_refused(f, region, where):
    with pytest.raises(jm.RegionError, match=f"diverges at {where}"):
        jm.integrate(f, region)


def test_a_flat_map_is_refused():
    with pytest.raises(jm.RegionError, match="det J is 0 or not a number at 4096 of 4096"):
        jm.integrate(one, Mapped(lambda u: jnp.stack([u[0], 2 * u[0]]), Box([0, 0], 1)))


def test_nan_inside_is_refused_with_its_place():
    with pytest.raises(jm.RegionError, match="not a finite number at x = "):
        jm.integrate(lambda x: jnp.log(x[0] - 0.5), Box([0.0], [1.0]))


class Student:
    """A proposal in the plain protocol, two independent entries."""

    def __init__(self, scale):
        self.scale = scale

    def sample(self, key, shape):
        return self.scale * jax.random.t(key, 4.0, (*shape, 2), float)

    def log_prob(self, x):
        return jnp.sum(jax.scipy.stats.t.logpdf(x / self.scale, 4.0)) - 2 * jnp.log(self.scale)


def gaussian(x):
    return jnp.exp(-x @ x / 2)


PLANE = Box([-INF, -INF], INF)


@pytest.mark.parametrize("proposal", [Student(1.2), dist.MultivariateNormal(jnp.zeros(2), 1.5 * jnp.eye(2))])
def test_importance_sampling_covers(proposal):
    g = Pullback(gaussian, PLANE, None, False)
    draws = Draws(proposal, g, 0)  # its key goes on from run to run
    runs = [importance(g, draws, goal(2048, 0)) for _ in range(40)]
    assert sum(abs(run.value[0] - 2 * math.pi) <= run.error[0] for run in runs) >= 34  # less: probability 0.004
    plain = jm.integrate(gaussian, PLANE, proposal=proposal, evaluations=2048)
    logs = jm.integrate(lambda x: -900 - x @ x / 2, PLANE, proposal=proposal, evaluations=2048, log=True)
    assert plain.value == runs[0].value[0]
    assert logs.value == pytest.approx(math.log(plain.value) - 900, rel=1e-12)
    assert logs.error == pytest.approx(plain.error / plain.value)
    assert logs.effective_size == pytest.approx(plain.effective_size)


def test_importance_sampling_in_the_coordinates_of_a_map():
    region = Mapped(lambda u: jnp.stack([u[0], jnp.exp(u[1])]), PLANE)
    found = jm.integrate(lambda x: jnp.exp(-x[1] - x[0] ** 2 / 2), region, proposal=Student(1.5))
    assert abs(found.value - math.sqrt(2 * math.pi)) < 2 * found.error < 0.2


def test_draws_outside_of_the_box_weigh_nothing():
    found = jm.integrate(gaussian, Box([0, 0], INF), proposal=Student(1.2))
    assert abs(found.value - math.pi / 2) < 2 * found.error < 0.2


def test_heavy_weights_are_told():
    found = jm.integrate(gaussian, PLANE, proposal=dist.MultivariateNormal(jnp.zeros(2), 0.3 * jnp.eye(2)))
    assert not found.converged and found.pareto_k > 0.5 and "tail is heavy" in str(found)


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_the_tail_of_known_pareto_weights(shape):
    weights = genpareto(shape).rvs(100_000, random_state=0)
    assert pareto_k(weights) == pytest.approx(shape, abs=0.12)


def test_bounded_weights_have_a_light_tail():
    assert pareto_k(np.random.default_rng(0).uniform(size=10_000)) < 0
    assert pareto_k(np.ones(1000)) == -INF


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Box([0, 1], [1, 1]), "lower 1 and upper 1 in entry 1"),
        (lambda: Spherical(1), "size: got 1"),
        (lambda: Spherical(3, angles=((0, 1),)), "angles: got 1 pairs, expected 2"),
        (lambda: Ball(3, center=[0, 0]), r"center: got shape \(2,\)"),
        (lambda: Ball(3, -1), "radius: got -1"),
        (lambda: Simplex([[0, 0], [1, 1], [2, 2]]), "vertices: all lie in one plane"),
        (lambda: jm.integrate(one, ([0], [1])), "over: got tuple, expected a region"),
        (lambda: jm.integrate(3, Box(0, 1)), "f: got int"),
        (lambda: jm.integrate(one, Box(0, 1), method="simpson"), "method: got 'simpson'"),
        (lambda: jm.integrate(one, Box([0] * 30, 1), method="gauss"), r"'gauss' needs more than 2\^30 points"),
        (lambda: jm.integrate(one, Box(0, 1), rtol=-1), "rtol: got -1"),
        (lambda: jm.integrate(one, Box(0, 1), evaluations=10), "evaluations: got 10"),
        (lambda: jm.integrate(one, Box(0, 1), overlaps="no"), "overlaps: got 'no'"),
        (lambda: jm.integrate(lambda x: jax.lax.complex(x, x), Box(0, 1)), "f: returns shape"),
        (lambda: jm.integrate(lambda x: x, Box([0, 0], 1), log=True), "expected one number"),
        (lambda: jm.integrate(one, Mapped(lambda u: u[:1], Box([0, 0], 1))), "as many outputs as inputs"),
        (lambda: jm.integrate(one, Box(0, 1), proposal=3), "no log_prob and no sample"),
        (lambda: jm.integrate(one, Box(0, 1), proposal=Student(1.0)), "expected .* points in the coordinates"),
    ],
)
def test_errors_name_the_argument(call, said):
    with pytest.raises(jm.ArgumentError, match=said):
        call()


def test_what_is_printed():
    assert str(jm.integrate(one, Ball(2))).splitlines()[0].startswith("∫ = 3.14159265358979 ±")
    unfinished = jm.integrate(lambda x: jnp.abs(x[0] - x[1] / 3), Box([0, 0], 1), rtol=1e-12, evaluations=20_000)
    assert "NOT CONVERGED" in str(unfinished) and not unfinished.converged


def test_single_precision_says_so():
    with jax.enable_x64(False):
        found = jm.integrate(lambda x: jnp.exp(-x @ x), Ball(2))
        assert found.value == pytest.approx(math.pi * (1 - math.exp(-1)), rel=1e-5)
        assert any("single precision" in note for note in found.notes)
        with pytest.raises(jm.RegionError, match="not one-to-one"):
            jm.integrate(one, polar(2.0))
        assert jm.integrate(one, polar(1.0)).value == pytest.approx(math.pi, rel=1e-5)
