"""How far the linear model holds: orders, radii and kinks against what the functions are known to do."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from geometry_maps import MAPS, geometry_of

import jacmap as jm


def trust_of(f: object, at: list[float], dtype: object = jnp.float64, **options: object) -> jm.study.Trust:
    found = jm.geometry(jm.linearize(f, jnp.array(at, dtype)), **options).trust
    assert found is not None
    return found


ORDERS = {
    "complex square": 2, "polar": 2, "spherical": 2, "moebius": 2, "sphere surface": 2, "radius and height": 2,
    "softmax": 2, "fold": 2, "logarithm": 2, "cubic": 3, "kink ahead": 3, "affine": math.inf, "flip": math.inf,
    "constant": math.inf, "jump ahead": math.inf, "relu": 1, "abs": 1, "tie": 1, "custom rule": 1, "root": 0.5,
    "step": 0,
}  # fmt: skip


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_order_of_the_remainder(name: str, order: float) -> None:
    assert geometry_of(name).trust.order == pytest.approx(order, abs=0.02)


def e_to_the(t: float, tolerance: float) -> float:
    return (math.expm1(t) - t) / t - tolerance


RADII = [
    # f, x, tolerance, the distance at which ‖remainder‖ = tolerance ‖J h‖
    (MAPS["complex square"][0], [1.5, 0.5], 0.01, 0.01 * 10**0.5),
    (MAPS["complex square"][0], [1.5, 0.5], 0.2, 0.2 * 10**0.5),
    (lambda x: x**2, [1.0], 0.01, 0.02),
    (lambda x: x + x**3, [0.0], 0.01, 0.1),
    (jnp.exp, [0.0], 0.1, scipy.optimize.brentq(e_to_the, 0.01, 1, args=(0.1,), xtol=1e-14)),
    (lambda x: jax.nn.relu(x - 0.3) + x, [0.0], 0.01, 0.3 / 0.99),
    (lambda x: jax.nn.relu(x - 1e-6) + x, [0.0], 0.01, 1e-6 / 0.99),
    (lambda x: x + jnp.where(x > 0.4, 1.0, 0.0), [0.0], 0.01, 0.4),
    (lambda x: jnp.log(x), [0.2], 0.9, scipy.optimize.brentq(lambda t: -math.log1p(-t) / t - 1.9, 0.5, 0.99)  * 0.2),
    (lambda x: 3 * x + 1, [0.0], 0.01, math.inf),
    (jax.nn.relu, [0.0], 0.01, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("f", "at", "tolerance", "radius"), RADII)
def test_radius_in_closed_form(f: object, at: list[float], tolerance: float, radius: float) -> None:
    found = trust_of(f, at, tolerance=tolerance)
    assert found.radius == pytest.approx(radius, rel=1e-6)
    assert found.reach.tolist() == pytest.approx([radius] * found.reach.size, rel=1e-6) or len(at) > 1


def test_remainders_are_what_they_say() -> None:
    f, at = MAPS["polar"]
    found, x = geometry_of("polar").trust, np.array(at)
    J = np.asarray(jax.jacfwd(f)(jnp.array(at)))
    for k, v in enumerate(found.directions.T):
        assert np.linalg.norm(v) == pytest.approx(1)
        for t in found.radii[-6:]:
            ends = [np.asarray(f(jnp.array(x + s * v))) - np.asarray(f(jnp.array(x))) - J @ (s * v) for s in (t, -t)]
            expected = max(map(np.linalg.norm, ends))
            (at_t,) = np.flatnonzero(found.radii == t)
            assert found.remainders[k, at_t] == pytest.approx(expected, rel=1e-9, abs=1e-14)
            if expected > 1e-12:
                share = expected / (t * np.linalg.norm(J @ v))
                assert found.relative[k, at_t] == pytest.approx(share, rel=1e-6, abs=1e-12)


def test_given_directions_are_the_ones_used() -> None:
    found = trust_of(MAPS["polar"][0], [2.0, 0.7], directions=[[3.0, 1.0], [0.0, 1.0]], radius=0.5)
    np.testing.assert_allclose(found.directions, [[1, 0.5**0.5], [0, 0.5**0.5]])
    assert found.labels == ("given direction 0", "given direction 1")
    assert found.orders[0] == math.inf and found.orders[1] == pytest.approx(2, abs=0.01)  # f is linear in the radius
    assert found.looked_at == found.radii[-1] == 0.5
    assert found.worst == 1


def test_the_curved_direction_is_found() -> None:
    """f = x₁ + 100 (w·x)²: one direction of many curves."""
    w = np.random.default_rng(3).standard_normal(50)
    w /= np.linalg.norm(w)
    found = trust_of(lambda x: (x + 100 * jnp.dot(x, jnp.asarray(w)) ** 2), [0.0] * 50)
    curved = found.directions[:, found.labels.index("direction of strong curvature")]
    assert abs(curved @ w) == pytest.approx(1, abs=1e-6)
    assert found.worst == found.labels.index("direction of strong curvature")


def test_a_direction_that_J_kills_is_measured_against_the_largest_stretch() -> None:
    """f = (3 x, y²) at 0: along y there is nothing to be relative to; t² = 0.01 · 3 t at t = 0.03."""
    found = trust_of(lambda x: jnp.stack([3 * x[0], x[1] ** 2]), [0.0, 0.0], directions=[0.0, 1.0])
    assert found.killed.tolist() == [True]
    assert found.radius == pytest.approx(0.03, rel=1e-6)


KINKS = [
    ("relu", "bend", 0.0, (0, 1), (0,)),
    ("relu, many", "bend", 0.0, (1, 2), (1,)),
    ("abs", "bend", 0.0, (-1, 1), (0,)),
    ("tie", "bend", 0.0, (-(0.5**0.5), 0.5**0.5), (0,)),
    ("step", "jump", 0.0, None, (0,)),
    ("root", "steep", 0.0, None, (0,)),
    ("kink ahead", "bend", 0.3, (math.cos(0.3), math.cos(0.3) + 0.5), (0,)),
    ("jump ahead", "jump", 0.4, None, (0,)),
]


@pytest.mark.parametrize(("name", "what", "distance", "sides", "outputs"), KINKS)
def test_kinks_are_told(
    name: str, what: str, distance: float, sides: tuple[float, float] | None, outputs: tuple[int, ...]
) -> None:
    kink = geometry_of(name).trust.kink
    assert kink.what == what
    assert kink.distance == pytest.approx(distance, rel=1e-6)
    assert kink.outputs == outputs
    if sides:
        assert sorted((kink.before, kink.behind)) == pytest.approx(sorted(sides), abs=1e-5)
    assert ("at the point itself" if distance == 0 else f"at distance {distance}") in str(kink)


def test_a_derivative_rule_that_is_not_the_slope_is_told() -> None:
    kink = geometry_of("custom rule").trust.kink
    assert kink.what == "slope" and kink.behind == pytest.approx(0, abs=1e-10)
    assert "derivative rule of its own" in str(geometry_of("custom rule").trust).replace("\n    ", " ")


@pytest.mark.parametrize("name", ["complex square", "moebius", "spherical", "softmax", "logarithm", "cubic", "fold"])
def test_smooth_functions_have_no_kink(name: str) -> None:
    assert geometry_of(name).trust.kink is None
    assert "No kink was met" in str(geometry_of(name).trust)


def test_the_nearest_of_many_kinks_in_a_network() -> None:
    """Along a line the first unit to switch is known exactly: the smallest positive −(w·x + b)/(w·v)."""
    random = np.random.default_rng(1)
    W, b, U = random.standard_normal((30, 4)), random.standard_normal(30), random.standard_normal((3, 30))
    x, v = random.standard_normal(4), np.array([0.5, -0.5, 0.5, 0.5])
    network = jm.linearize(lambda x: jnp.asarray(U) @ jax.nn.relu(jnp.asarray(W) @ x + jnp.asarray(b)), jnp.asarray(x))
    switches = -(W @ x + b) / (W @ v)
    found = jm.geometry(network, directions=v).trust
    assert found.kink.distance == pytest.approx(np.abs(switches).min(), rel=1e-6)
    assert found.order == math.inf
    assert found.radius >= np.abs(switches).min() * (1 - 1e-6)


def test_kinks_that_are_close_are_not_said_to_be_at_the_point() -> None:
    """Single precision hides what happens between 0 and the first of many kinks, but slopes do not need differences."""
    random = np.random.default_rng(0)
    layers = [jnp.asarray(random.standard_normal(s) / np.sqrt(s[1]), jnp.float32) for s in ((256, 64), (128, 256))]

    def network(x: jax.Array) -> jax.Array:
        return jax.nn.softmax(layers[1] @ jax.nn.relu(layers[0] @ x))

    found = jm.geometry(jm.linearize(network, jnp.asarray(random.uniform(size=64), jnp.float32))).trust
    assert found.kink.what == "bend" and found.kink.distance > 0
    assert found.radius > 0
    assert "at the point itself" not in str(found)


def test_the_end_of_the_domain_is_told() -> None:
    found = geometry_of("logarithm").trust
    assert 0.2 <= found.outside <= 0.8
    assert "its domain ends" in str(found)


def test_without_forward_mode_the_model_is_measured_and_kinks_are_not_looked_for() -> None:
    found = geometry_of("reverse only").trust
    assert found.order == pytest.approx(2, abs=0.01)
    assert found.kink is None and "no forward mode" in found.searched


def test_single_precision_is_measured_with_what_it_has() -> None:
    found = trust_of(lambda x: jnp.sin(x) * x[::-1], [1.0, 2.0], jnp.float32)
    assert found.order == pytest.approx(2, abs=0.1)
    exact = trust_of(lambda x: jnp.sin(x) * x[::-1], [1.0, 2.0], directions=found.directions)
    np.testing.assert_allclose(found.reach, exact.reach, rtol=0.05)
    assert 1e-8 < found.noise < 1e-5 and found.floor > 1e-6
    assert "Rounding hides" in str(found)
    assert trust_of(lambda x: 3 * x + 1, [1.0, 2.0], jnp.float32).order == math.inf
    kink = trust_of(lambda x: jax.nn.relu(x - jnp.float32(0.1)), [0.0, 0.0], jnp.float32).kink
    assert kink.what == "bend" and kink.distance == pytest.approx(0.1, rel=1e-3)


def test_noise_from_cancellation_is_no_kink() -> None:
    """10⁶ (exp(10⁻⁶ x) − 1) rounds at 10⁻¹⁰: far above eps, and neither a jump nor an order of its own."""
    found = trust_of(lambda x: 1e6 * (jnp.exp(1e-6 * x) - 1) + x**2, [0.3])
    assert found.order == pytest.approx(2, abs=0.05)
    assert found.kink is None
    assert 1e-11 < found.noise < 1e-9


def test_a_weak_kink_within_the_tolerance_is_told_but_costs_no_radius() -> None:
    found = trust_of(lambda x: x + x**2 + 1e-3 * jnp.abs(x), [0.0])  # J = 1 + 10⁻³, by JAX's convention
    assert found.kink.what == "bend" and found.kink.distance == 0
    assert found.radius == pytest.approx((0.01 * 1.001 - 0.002), rel=1e-3)


def test_a_pole_is_no_kink_with_slopes() -> None:
    kink = trust_of(lambda x: 1 / (1 - x), [0.0], radius=3.0).kink
    assert kink is None or (kink.what in ("steep", "jump") and kink.distance == pytest.approx(1, rel=1e-6))


def test_fast_but_smooth_is_no_kink_and_sizes_may_be_extreme() -> None:
    assert trust_of(lambda x: jnp.sin(1e6 * x), [1e-6]).kink is None
    nano = trust_of(lambda x: jnp.sin(1e9 * x), [1e-9], radius=1e-9)
    assert nano.order == pytest.approx(2, abs=0.01)
    assert nano.radius == pytest.approx(1e-9 * trust_of(jnp.sin, [1.0]).radius, rel=1e-6)
    found = trust_of(lambda x: x**2, [1e150])
    assert found.radius == pytest.approx(0.02e150, rel=1e-6)
    assert found.order == pytest.approx(2, abs=0.01)


def test_the_same_seed_gives_the_same_answer() -> None:
    J = jm.linearize(jnp.sin, jnp.linspace(0.0, 1.0, 9))
    first, again, other = (jm.geometry(J, seed=seed).trust for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.remainders, again.remainders)
    assert not np.array_equal(first.directions, other.directions)


def test_strong_curvature_in_single_precision_is_no_kink() -> None:
    """A smooth f whose inputs differ in size by 10⁶ and whose slope turns fast: rounding must not make a kink."""
    sizes = jnp.array([2000.0, 1.0, 0.005], jnp.float32)

    def f(x: jax.Array) -> jax.Array:
        return jnp.tanh((x - sizes) / (jnp.float32(0.3) * sizes) @ jnp.ones((3, 2), jnp.float32) + jnp.float32(0.2))

    found = jm.geometry(jm.linearize(f, sizes * jnp.array([1.01, 0.98, 1.02], jnp.float32)))
    assert found.trust.kink is None, str(found.trust.kink)


def test_a_kink_in_a_small_entry_beside_a_large_one() -> None:
    def f(x: jax.Array) -> jax.Array:
        return x[0] * 1e-3 + jax.nn.relu(x[1] - 0.005) * 100 + x**2 * 1e-6

    found = jm.geometry(jm.linearize(f, jnp.array([2000.0, 0.005])))
    assert found.trust.kink is not None
    assert found.trust.kink.distance == 0
