"""Bundle adjustment: Balbianello and KITTI 00 from gtsam's wheel, against SciPy, optimistix and GTSAM itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import asdex
import gtsam
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import scipy.optimize
from _planning import fresh, ours, warm_up
from _table import MISSING, Row, Tick
from _timing import medians
from gtsam.symbol_shorthand import L, X
from scipy.sparse import csr_array

import jacmap as jm

Array = jax.Array
DATA = Path(gtsam.__file__).parent / "Data"


def rotation(w: Array) -> Array:
    """Rodrigues' formula for one rotation vector."""
    squared = w @ w
    small = squared < 1e-12
    t = jnp.sqrt(jnp.where(small, 1.0, squared))
    a = jnp.where(small, 1 - squared / 6, jnp.sin(t) / t)
    b = jnp.where(small, 0.5 - squared / 24, (1 - jnp.cos(t)) / t**2)
    W = jnp.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])
    return jnp.eye(3) + a * W + b * W @ W


# -- Balbianello -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Bundle:
    """x: cameras (9 each: rotation vector, translation, focal length, two of distortion), then points."""

    x: np.ndarray
    camera: np.ndarray
    point: np.ndarray
    seen: np.ndarray

    def residuals(self, x: Array) -> Array:
        """Bundler's model, in pixels."""
        count = 1 + int(self.camera.max())
        cameras, points = x[: 9 * count].reshape(count, 9), x[9 * count :].reshape(-1, 3)
        R = jax.vmap(rotation)(cameras[:, :3])[self.camera]
        p = jnp.einsum("nij,nj->ni", R, points[self.point]) + cameras[self.camera, 3:6]
        p = -p[:, :2] / p[:, 2:]
        r, (f, k1, k2) = jnp.sum(p**2, 1), cameras[self.camera, 6:].T
        return ((f * (1 + k1 * r + k2 * r**2))[:, None] * p - self.seen).ravel()


def balbianello() -> Bundle:
    """Read from the wheel: Bundler's file format 0.3."""
    tokens = iter(DATA.joinpath("Balbianello.out").read_text().splitlines()[1].split())
    cameras, points = int(next(tokens)), int(next(tokens))
    tokens = iter(" ".join(DATA.joinpath("Balbianello.out").read_text().splitlines()[2:]).split())

    def take(count: int) -> np.ndarray:
        return np.array([float(next(tokens)) for _ in range(count)])

    parts, camera, point, seen = [], [], [], []
    for _ in range(cameras):
        lens, R, t = take(3), take(9).reshape(3, 3), take(3)
        parts.append([*_vector(R), *t, *lens])
    places = []
    for k in range(points):
        places.append(take(3))
        take(3)
        for _ in range(int(take(1)[0])):
            view = take(4)
            camera.append(int(view[0]))
            point.append(k)
            seen.append(view[2:])
    return Bundle(
        np.concatenate([np.ravel(parts), np.ravel(places)]), np.array(camera), np.array(point), np.array(seen)
    )


def _vector(R: np.ndarray) -> np.ndarray:
    return np.asarray(gtsam.Rot3.Logmap(gtsam.Rot3(R)))


def perturbed(bundle: Bundle, seed: int) -> np.ndarray:
    """Cameras off by 0.02 rad, 0.05 of length and 2 % of focal length, points by 0.05."""
    draw = np.random.default_rng(seed)
    count = 1 + int(bundle.camera.max())
    sizes = np.tile([0.02] * 3 + [0.05] * 3 + [0] * 3, count)
    off = np.concatenate([sizes, np.full(len(bundle.x) - 9 * count, 0.05)]) * draw.standard_normal(len(bundle.x))
    x = bundle.x + off
    x[6 : 9 * count : 9] *= 1 + 0.02 * draw.standard_normal(count)
    return x


def bundles(quick: bool, tick: Tick) -> Iterator[Row]:
    """Balbianello: 5 cameras, 544 points; our seconds count planning and compiling, SciPy's do not."""
    with jax.enable_x64(True):
        bundle = balbianello()
        starts = [perturbed(bundle, seed) for seed in range(4 if quick else 20)]
        f, tight = bundle.residuals, {"ftol": 1e-8, "xtol": 1e-10, "gtol": 1e-10}
        best = jm.least_squares(lambda x: f(x), bundle.x, **tight).cost
        theirs, costs, reached, times = 0.0, [], [], []
        for x in starts:
            tick("Balbianello: jacmap")
            begin = perf_counter()
            costs.append(jm.least_squares(f, x, **tight).cost)
            times.append(perf_counter() - begin)
        mine = sum(times) / len(starts)
        value, matrix = jax.jit(f), jm.jacobian(f, form="sparse")
        indices = np.asarray(matrix(starts[0]).indices).T
        jax.block_until_ready(value(starts[0]))

        def sparse(x: np.ndarray) -> Any:
            found = matrix(x)
            return csr_array((np.asarray(found.data), indices), shape=found.shape)

        some = starts[: 1 if quick else 3]
        for x in some:
            tick("Balbianello: SciPy")
            begin = perf_counter()
            found = scipy.optimize.least_squares(
                lambda x: np.asarray(value(x)), x, sparse, x_scale="jac", max_nfev=1000, **tight
            )
            theirs += perf_counter() - begin
            reached.append(found.cost)
        yield Row("Balbianello, perturbed: our starts at the optimum (to 1e-6)", _share(costs, best), "of starts", 1.0)
        yield Row("the same, SciPy's exact sparse J (trf, lsmr)", _share(reached, best), f"of {len(some)} starts")
        yield Row(
            "Balbianello: SciPy's time over ours, ours with compiling",
            theirs / len(some) / mine,
            "×",
            10,
        )
        yield Row("the same, ours once compiled", theirs / len(some) / float(np.median(times)), "×")
        tick("Balbianello: optimistix")
        solver = optimistix.LevenbergMarquardt(rtol=1e-8, atol=1e-10)
        run = jax.jit(lambda x: optimistix.least_squares(lambda x, _: f(x), solver, x, max_steps=30, throw=False).value)
        begin = perf_counter()
        last = float(0.5 * np.sum(np.asarray(value(run(starts[0]))) ** 2))
        seconds = perf_counter() - begin
        yield Row("Balbianello: optimistix' time (compiling counted) over ours, one start", seconds / times[0], "×")
        yield Row("the same, its cost above the optimum", last / best - 1, "relative")


def _share(costs: list[float], best: float) -> float:
    return float(np.mean(np.array(costs) <= best * (1 + 1e-6)))


# -- KITTI 00 ----------------------------------------------------------------------------------------------------------
def kitti(quick: bool, tick: Tick) -> Iterator[Row]:
    """135 poses, 26,136 landmarks, 88,781 stereo observations; the first pose is held."""
    lens = tuple(map(float, DATA.joinpath("VO_calibration00.txt").read_text().split()[:6]))
    poses, factors = np.loadtxt(DATA / "VO_camera_poses00.txt"), np.loadtxt(DATA / "VO_stereo_factors00.txt")
    tick("KITTI 00: GTSAM")
    graph, values = _graph(lens, poses, factors)
    begin = perf_counter()
    best = graph.error(gtsam.LevenbergMarquardtOptimizer(graph, values, gtsam.LevenbergMarquardtParams()).optimize())
    theirs = perf_counter() - begin
    tick("KITTI 00: jacmap")
    with jax.enable_x64(True):
        begin = perf_counter()
        f, x, args = _stereo(lens, poses, factors)
        found = jm.least_squares(f, x, ftol=1e-5, args=args)
        mine = perf_counter() - begin
        again = perf_counter()
        jm.least_squares(f, x, ftol=1e-5, args=args)
        again = perf_counter() - again
    yield Row(
        f"KITTI 00, cost over GTSAM's {best:.0f}", found.cost / best if found.success else MISSING, "×", 1.0001, True
    )
    yield Row(f"KITTI 00, time with planning and compiling, over GTSAM's {theirs:.1f} s", mine / theirs, "×", 2, True)
    yield Row("the same, planned and compiled before", again / theirs, "×")
    with jax.enable_x64(True):
        yield from _beside_asdex(f, jnp.asarray(x), args, tick)


def _beside_asdex(f: Any, x: Array, args: tuple[Any, ...], tick: Tick) -> Iterator[Row]:
    """KITTI 00's J: planning (trace, pattern, colouring), and its entries evaluated by compiled code."""

    def closed(x: Array) -> Array:
        return f(x, *args)

    warm_up()
    tick("KITTI 00: planning")
    begin = perf_counter()
    entries = ours(closed, x).entries
    planning = perf_counter() - begin
    tick("KITTI 00: asdex")
    begin = perf_counter()
    coloured = asdex.jacobian_coloring(fresh(closed), x)
    theirs = perf_counter() - begin
    yield Row(f"KITTI 00: asdex' planning ({theirs:.0f} s) over ours", theirs / planning, "×", 10)
    yield Row("the same, entries of its pattern over ours", coloured.sparsity.nnz / entries, "×")
    whole, mine = jax.jit(asdex.jacobian_from_coloring(closed, coloured)), jm.jacobian(closed, form="sparse")
    tick("KITTI 00: J")
    times = medians({"asdex": lambda: whole(x).data, "jacmap": lambda: mine(x).data}, 25)
    least = 1e3 * times["asdex"]
    yield Row(f"KITTI 00: asdex' time for J ({least:.0f} ms) over ours", times["asdex"] / times["jacmap"], "×", 2)


def _graph(lens: Any, poses: np.ndarray, factors: np.ndarray) -> tuple[Any, Any]:
    K, noise = gtsam.Cal3_S2Stereo(*lens), gtsam.noiseModel.Isotropic.Sigma(3, 1)
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    at = {int(row[0]): gtsam.Pose3(row[1:].reshape(4, 4)) for row in poses}
    for k, pose in at.items():
        values.insert(X(k), pose)
    for k, mark, left, right, v, *place in factors:
        seen = gtsam.StereoPoint2(left, right, v)
        graph.add(gtsam.GenericStereoFactor3D(seen, noise, X(int(k)), L(int(mark)), K))
        if not values.exists(L(int(mark))):
            values.insert(L(int(mark)), at[int(k)].transformFrom(np.array(place)))
    first = int(poses[0, 0])
    graph.add(gtsam.NonlinearEqualityPose3(X(first), at[first]))
    return graph, values


def _stereo(lens: Any, poses: np.ndarray, factors: np.ndarray) -> tuple[Any, np.ndarray, tuple[Any, ...]]:
    """(f, x0, args): poses as twists from where they start, 6 each without the first, then landmarks."""
    fx, fy, _, u0, v0, base = lens
    T = poses[:, 1:].reshape(-1, 4, 4)
    number = {int(k): i for i, k in enumerate(poses[:, 0])}
    camera = np.array([number[int(k)] for k in factors[:, 0]])
    _, first, landmark = np.unique(factors[:, 1].astype(int), return_index=True, return_inverse=True)
    start = T[camera[first]]
    points = np.einsum("nij,nj->ni", start[:, :3, :3], factors[first, 5:]) + start[:, :3, 3]
    count = len(T) - 1

    def f(x: Array, R: Array, t: Array, seen: Array, camera: Array, landmark: Array) -> Array:
        twists = jnp.concatenate([jnp.zeros((1, 6)), x[: 6 * count].reshape(count, 6)])
        t = t + jnp.einsum("nij,nj->ni", R, twists[:, 3:])
        R = R @ jax.vmap(rotation)(twists[:, :3])
        p = jnp.einsum("nji,nj->ni", R[camera], x[6 * count :].reshape(-1, 3)[landmark] - t[camera])
        z = p[:, 2]
        u = jnp.stack([u0 + fx * p[:, 0] / z, u0 + fx * (p[:, 0] - base) / z, v0 + fy * p[:, 1] / z], 1)
        return (u - seen).ravel()

    args = tuple(map(jnp.asarray, (T[:, :3, :3], T[:, :3, 3], factors[:, 2:5], camera, landmark)))
    return f, np.concatenate([np.zeros(6 * count), points.ravel()]), args
