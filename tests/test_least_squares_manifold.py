"""Unknown rotations and poses: exact pose graphs, closed forms by SVD, the same optimum as a twist parametrisation."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import pytest
import scipy.optimize
from jaxlie import manifold

import jacmap as jm

DRAW = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def promotion() -> Iterator[None]:
    """jaxlie multiplies integers with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def loop(group, count):
    """Poses on a closed loop, its edges and a few chords, and exact measurements of both."""
    step = np.zeros(group.tangent_dim)
    step[0], step[-1] = 1.0, 2 * np.pi / count
    poses = [group.identity()]
    for _ in range(count - 1):
        poses.append(poses[-1] @ group.exp(jnp.asarray(step)))
    truth = jax.tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *poses)
    first = np.r_[np.arange(count), np.arange(0, count - 5, 4)]
    second = np.r_[(np.arange(count) + 1) % count, np.arange(0, count - 5, 4) + 5]
    return truth, first, second, at(truth, first).inverse() @ at(truth, second)


def at(poses, index):
    return jax.tree_util.tree_map(lambda leaf: leaf[index], poses)


@pytest.mark.parametrize("group", [jaxlie.SE2, jaxlie.SE3])
def test_a_pose_graph_comes_back_to_the_truth(group) -> None:
    truth, first, second, measured = loop(group, 40)

    def f(poses, measured):
        error = (measured.inverse() @ at(poses, first).inverse() @ at(poses, second)).log()
        return {"edges": error, "first": at(poses, 0).log()}

    start = manifold.rplus(truth, 0.15 * DRAW.standard_normal((40, group.tangent_dim)))
    for loss in ("linear", "huber"):
        found = jm.least_squares(f, start, args=(measured,), loss=loss, ftol=1e-15, xtol=1e-12, gtol=1e-15)
        assert found.success and found.cost < 1e-20 and isinstance(found.x, group)
        assert np.abs(manifold.rminus(truth, found.x)).max() < 1e-9
    assert found.plan.name != "dense" and "colouring" in str(found.plan)
    assert found.jac.nnz < 0.1 * np.prod(found.jac.shape)
    assert found.index.shape == (40, group.tangent_dim)


def wahba(rotation, p, q):
    return rotation.apply(p) - q


def points(turn):
    p = DRAW.standard_normal((20, 3))
    q = jaxlie.SO3.exp(jnp.asarray(turn)).apply(p) + 0.05 * DRAW.standard_normal((20, 3))
    u, _, v = np.linalg.svd(np.asarray(q).T @ p)
    return p, q, u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v


@pytest.mark.parametrize("method", ["lm", "dogleg", "gauss-newton"])
@pytest.mark.parametrize("turn", [[0.1, 0.2, -0.3], [0.0, np.pi - 0.2, 0.0], [2.0, 2.0, 1.5]])
def test_the_best_rotation_is_that_of_the_svd_from_half_a_turn(turn, method: str) -> None:
    """x0 is half a turn from the identity, where a rotation vector has no derivative."""
    p, q, truth = points(turn)
    found = jm.least_squares(wahba, jaxlie.SO3.from_x_radians(jnp.pi), args=(p, q), method=method, ftol=1e-14)
    assert found.success and np.allclose(found.x.as_matrix(), truth, atol=1e-6)
    assert np.isclose(np.linalg.norm(found.x.wxyz), 1, atol=1e-14)


def test_jacobian_gradient_and_covariance_are_in_tangent_coordinates_at_the_answer() -> None:
    p, q, _ = points([1.0, 2.0, -2.0])
    found = jm.least_squares(wahba, jaxlie.SO3.identity(), args=(p, q))
    J = jax.jacfwd(lambda d: wahba(manifold.rplus(found.x, d), p, q).ravel())(jnp.zeros(3))
    assert np.allclose(found.jac, J, atol=1e-12) and np.allclose(found.grad, J.T @ found.fun)
    assert np.allclose(found.covariance(), np.linalg.inv(J.T @ J) * 2 * found.cost / 57)


def project(pose, points):
    seen = pose.apply(points)
    return seen[..., :2] / seen[..., 2:]


def test_bundle_adjustment_has_the_optimum_of_the_twist_parametrisation() -> None:
    cloud = DRAW.uniform(-1, 1, (30, 3)) + [0, 0, 5]
    twists = 0.2 * DRAW.standard_normal((4, 6))
    pixels = np.stack([project(jaxlie.SE3.exp(jnp.asarray(t)), cloud) for t in twists])
    pixels = pixels + 0.003 * DRAW.standard_normal(pixels.shape)

    def residuals(poses, points):
        seen = project(jaxlie.SE3(poses.wxyz_xyz[:, None]), points[None])
        return {"pixels": (seen - pixels) / 0.003, "gauge": 10 * (poses.log() - twists), "near": points - cloud}

    start = cloud + 0.1 * DRAW.standard_normal(cloud.shape)
    x0 = {"points": jnp.asarray(start), "poses": jaxlie.SE3.identity((4,))}
    found = jm.least_squares(lambda x: residuals(x["poses"], x["points"]), x0, linear_solver="schur", loss="huber")
    other = jm.least_squares(lambda x: residuals(jaxlie.SE3.exp(x["poses"]), x["points"]),
                             {"points": start, "poses": np.zeros((4, 6))}, loss="huber")  # fmt: skip
    assert found.success and other.success and np.isclose(found.cost, other.cost, rtol=1e-6)
    assert np.allclose(found.x["poses"].log(), other.x["poses"], atol=1e-4)
    assert found.index["poses"].shape == (4, 6) and found.index["points"].shape == (30, 3)
    part = found.covariance(found.index["poses"][2])
    assert part.shape == (6, 6) and np.allclose(np.diag(part), found.variances()[found.index["poses"][2]])


def test_a_retraction_of_ones_own() -> None:
    A = DRAW.standard_normal((8, 3))

    def plus(x, step):
        k = jnp.argmin(jnp.abs(x))
        u = jnp.cross(x, jnp.eye(3)[k])
        u = u / jnp.linalg.norm(u)
        moved = x + step[0] * u + step[1] * jnp.cross(x, u)
        return moved / jnp.linalg.norm(moved)

    found = jm.least_squares(lambda x: A @ x, jnp.array([0.0, 0.6, 0.8]), retract=(plus, np.zeros(2)))
    values, right = np.linalg.svd(A)[1:]
    assert found.success and np.isclose(2 * found.cost, values[-1] ** 2)
    assert np.isclose(abs(found.x @ right[-1]), 1, atol=1e-8) and found.jac.shape == (8, 2)


def test_bounds_hold_for_plain_leaves_beside_a_group() -> None:
    p, q, _ = points([0.3, 0.2, 0.5])

    def f(x):
        return x["scale"] * x["turn"].apply(p) - 1.5 * q

    x0 = {"turn": jaxlie.SO3.identity(), "scale": jnp.array(1.0)}
    n = {"scale": 0, "turn": [1, 2, 3]}
    high = np.array([1.2, np.inf, np.inf, np.inf])
    found = jm.least_squares(f, x0, bounds=(-np.inf, high))
    assert found.success and found.x["scale"] == 1.2 and list(found.active_mask) == [1, 0, 0, 0]
    assert found.index["scale"] == n["scale"] and list(found.index["turn"]) == n["turn"]
    theirs = scipy.optimize.least_squares(
        lambda d: np.asarray(1.2 * jaxlie.SO3.exp(d).apply(p) - 1.5 * q).ravel(), np.zeros(3), ftol=1e-12)  # fmt: skip
    assert np.isclose(found.cost, theirs.cost, rtol=1e-8)
    with pytest.raises(jm.ArgumentError, match=r"bounds\[1\]: got 1.2 for unknown 1, a tangent coordinate"):
        jm.least_squares(f, x0, bounds=(-np.inf, 1.2))


def test_the_same_function_is_compiled_once() -> None:
    p, q, _ = points([1.0, 0.0, 0.0])
    traced = 0

    def f(rotation, p, q):
        nonlocal traced
        traced += 1
        return wahba(rotation, p, q)

    jm.least_squares(f, jaxlie.SO3.identity(), args=(p, q))
    before = traced
    for angle in (1.0, 3.0):
        assert jm.least_squares(f, jaxlie.SO3.from_x_radians(angle), args=(p, 1.1 * q)).success
    assert traced == before


def test_products_and_float32() -> None:
    p, q, truth = points([1.0, 2.0, 0.0])
    found = jm.least_squares(wahba, jaxlie.SO3.identity(), args=(p, q), linear_solver="products")
    assert found.success and np.allclose(found.x.as_matrix(), truth, atol=1e-5)
    single = jaxlie.SO3(jnp.array([1, 0, 0, 0], jnp.float32))
    found = jm.least_squares(wahba, single, args=(p.astype(np.float32), jnp.asarray(q, jnp.float32)))
    assert found.success and found.x.wxyz.dtype == jnp.float32 and np.allclose(found.x.as_matrix(), truth, atol=1e-3)


@pytest.mark.parametrize(
    ("retract", "said"),
    [
        (lambda x, d: x + d, "retract: got function, expected a pair"),
        ((lambda x, d: x + d + 1, np.zeros(3)), r"plus\(x0, 0\) is not x0"),
        ((lambda x, d: jnp.append(x, d), np.zeros(3)), "another form or other shapes"),
    ],
)
def test_a_retraction_that_cannot_be_meant(retract, said: str) -> None:
    with pytest.raises(jm.ArgumentError, match=said):
        jm.least_squares(lambda x: x, jnp.ones(3), retract=retract)


def test_roots_are_for_plain_unknowns() -> None:
    with pytest.raises(jm.ArgumentError, match="x0: holds Lie groups.*least_squares"):
        jm.root(lambda r: r.log(), jaxlie.SO3.identity())
