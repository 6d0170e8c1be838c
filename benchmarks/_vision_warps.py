"""Warps, camera and dense registration: Jacobians against differences, OpenCV beside them on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import jaxlie
import numpy as np
import skimage.data
from _table import Row, Tick
from _timing import medians

import jacmap as jm

V = jm.vision
HEIGHT, WIDTH = 48, 64
MATRIX = np.array([[800.0, 0, 320], [0, 780, 240], [0, 0, 1]])
DISTORTION = np.array([-0.2, 0.05, 0.001, -0.002, 0.01])


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    with jax.enable_x64(True):
        yield from warps(tick)
        yield from speed(quick, tick)
        yield from camera(quick, tick)
        yield from lens(quick, tick)
    yield from stereo(quick, tick)
    yield from sizes(quick, tick)


# -- warps -------------------------------------------------------------------------------------------------------------
def warps(tick: Tick) -> Iterator[Row]:
    """Every warp, at random points, all pixels of the rim, its corners, and just beyond."""
    draw = np.random.default_rng(0)
    rim = [(x, y) for x in range(WIDTH) for y in (0, HEIGHT - 1)] + [
        (x, y) for y in range(HEIGHT) for x in (0, WIDTH - 1)
    ]
    spread = np.array([WIDTH - 1, HEIGHT - 1])
    points = jnp.asarray(np.vstack([draw.random((200, 2)) * spread, rim, draw.random((40, 2)) * 3 - 4, spread + 0.5]))
    control = np.vstack([draw.random((12, 2)) * spread, rim[:1], rim[-1:]])
    scale = np.array([0.1, 0.1, 5, 0.1, 0.1, 5, 1e-3, 1e-3])
    cases: list[tuple[Any, np.ndarray]] = [
        (V.Translation(), np.array([5.0, 5])), (V.Euclidean(), np.array([0.3, 5, 5])),
        (V.Similarity(), np.array([0.1, 0.1, 5, 5])), (V.Affine(), scale[:6]), (V.Homography(), scale),
        (V.ThinPlate(control), np.full(28, 2.0)), (V.Flow((HEIGHT, WIDTH)), np.full(2 * HEIGHT * WIDTH, 0.5)),
        (V.Lens((60.0, 55.0), (31.5, 23.5)), np.array([0.2, 0.1, 0.01, 0.01, 0.05])),
    ]  # fmt: skip
    by_points, by_parameters = {}, {}
    for warp, size in cases:
        tick(f"Jacobians of the warp {warp.name}")
        p = jnp.asarray(size * draw.standard_normal(warp.size))
        found = np.asarray(V.by_points(warp, p, points))
        by_points[warp.name] = float(np.abs(found - along_points(warp, p, points)).max())
        sparse = V.by_parameters(warp, p, points, form="sparse")
        by_parameters[warp.name] = worst_by_parameters(warp, p, points, sparse, np.random.default_rng(1))
    for what, errors in (("points", by_points), ("parameters", by_parameters)):
        worst = max(errors, key=lambda name: errors[name])
        yield Row(
            f"Jacobians of {len(cases)} warps by {what}, rim included, off central differences (worst: {worst})",
            errors[worst], "absolute", 1e-6, True,
        )  # fmt: skip


def along_points(warp: Any, p: Any, points: Any) -> np.ndarray:
    # A short step where the second derivative jumps at the pixels: the cubic flow is C¹ only.
    step = 2e-7 if isinstance(warp, V.Flow) else 1e-5
    shifts = step * jnp.eye(2)
    columns = [(warp(p, points + shift) - warp(p, points - shift)) / (2 * step) for shift in shifts]
    return np.stack(columns, axis=-1)


def worst_by_parameters(warp: Any, p: Any, points: Any, sparse: Any, draw: np.random.Generator) -> float:
    """Up to sixty parameters each by itself, the step as large as the parameter acts weakly."""
    moved = jax.jit(warp)
    worst = 0.0
    for k in draw.choice(warp.size, min(warp.size, 60), replace=False):
        column = np.asarray(sparse @ jnp.zeros(warp.size).at[k].set(1.0)).reshape(-1, 2)
        size = max(1.0, float(np.abs(column).max()))
        e = jnp.zeros(warp.size).at[k].set(1e-4 / size)
        # Fourth order: the third derivative of a homography by its last parameters is large.
        near, far = (moved(p + j * e, points) - moved(p - j * e, points) for j in (1, 2))
        slope = np.asarray(8 * near - far) / (12 * 1e-4 / size)
        worst = max(worst, float(np.abs(column - slope).max() / size))
    return worst


def speed(quick: bool, tick: Tick) -> Iterator[Row]:
    """All points at once, beside the better of jacfwd and jacrev under vmap."""
    tick("time of the warps' Jacobians")
    points = jnp.asarray(np.random.default_rng(0).random((20_000 if quick else 100_000, 2)) * [WIDTH, HEIGHT])
    draw = np.random.default_rng(2)
    ratios = {"points": [], "parameters": []}
    for warp in (V.Homography(), V.ThinPlate(draw.random((25, 2)) * 60), V.Lens((60.0, 55.0), (31.5, 23.5))):
        p = jnp.asarray(1e-3 * draw.standard_normal(warp.size))
        for what, argument, ours in (("points", 1, V.by_points), ("parameters", 0, V.by_parameters)):
            plain = {
                name: jax.jit(jax.vmap(mode(warp, argnums=argument), (None, 0)))
                for name, mode in (("forward", jax.jacfwd), ("reverse", jax.jacrev))
            }
            times = medians(
                {
                    "ours": lambda w=warp, p=p, f=ours: f(w, p, points),
                    **{name: lambda f=f, p=p: f(p, points) for name, f in plain.items()},
                },
                rounds=7,
            )
            ratios[what].append(min(times["forward"], times["reverse"]) / times["ours"])
    for what, found in ratios.items():
        yield Row(
            f"{len(points):,} Jacobians by {what}, homography, spline of 25 points, lens: "
            "time of the better of jacfwd and jacrev over ours, the worst",
            min(found), "×",
        )  # fmt: skip


# -- camera ------------------------------------------------------------------------------------------------------------
def camera(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("camera beside OpenCV")
    draw = np.random.default_rng(0)
    seen = V.Camera.from_matrix(MATRIX, DISTORTION)
    off = {"pixels": 0.0, "jacobians": 0.0}
    for _ in range(5 if quick else 20):
        axis, shift = 0.5 * draw.standard_normal(3), np.array([0, 0, 5]) + 0.3 * draw.standard_normal(3)
        points = draw.uniform(-1, 1, (1000, 3))
        pose = jaxlie.SE3.from_rotation_and_translation(jaxlie.SO3.exp(jnp.asarray(axis)), jnp.asarray(shift))
        pixels, theirs = cv2.projectPoints(points, axis, shift, MATRIX, DISTORTION)
        off["pixels"] = max(off["pixels"], float(np.abs(V.project(seen, pose, points).pixels - pixels[:, 0]).max()))
        found = V.projection_jacobians(seen, pose, points)
        # OpenCV turns by the rotation vector and leaves the translation: in our tangent (v, ω) that is (t × ω, ω).
        turned = np.asarray(jax.jacfwd(lambda r, pose=pose: tangent(r, pose))(jnp.asarray(axis)))
        across = np.cross(shift, turned.T).T
        by_pose = np.asarray(found.pose)
        ours = np.concatenate(
            [by_pose @ np.vstack([across, turned]), by_pose[..., :3], np.asarray(found.intrinsics)], axis=-1
        )
        theirs = theirs.reshape(-1, 2, theirs.shape[1])
        off["jacobians"] = max(off["jacobians"], float(np.abs(ours - theirs[..., :15]).max() / np.abs(theirs).max()))
    yield Row("camera: pixels off cv2.projectPoints, the worst", off["pixels"], "px", 1e-9, True)
    yield Row("camera: Jacobians by pose and intrinsics off cv2's", off["jacobians"], "relative", 1e-9, True)
    points = draw.uniform(-1, 1, (100_000, 3))
    ready = jnp.asarray(points)
    times = medians(
        {
            "ours": lambda: V.projection_jacobians(seen, pose, ready),
            "opencv": lambda: cv2.projectPoints(points, axis, shift, MATRIX, DISTORTION),
        },
        rounds=9,
    )
    yield Row("camera: 100,000 points with Jacobians (ours by the points too)", times["ours"] * 1e3, "ms")
    yield Row("the same, our time over OpenCV's", times["ours"] / times["opencv"], "×")


def tangent(axis: Any, pose: Any) -> Any:
    """ω of exp(axis) relative to the pose's rotation."""
    turn = jaxlie.SO3.exp(axis).as_matrix() @ pose.rotation().as_matrix().T
    return jnp.stack([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2


def lens(quick: bool, tick: Tick) -> Iterator[Row]:
    tick("undoing a lens")
    warp = V.Lens((800.0, 780.0), (320.0, 240.0))
    points = np.random.default_rng(0).random((10_000 if quick else 100_000, 2)) * [640, 480]
    shown, p = warp(jnp.asarray(DISTORTION), jnp.asarray(points)), jnp.asarray(DISTORTION)
    flat, criteria = np.asarray(shown)[:, None], (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-12)

    def opencv() -> np.ndarray:
        return cv2.undistortPoints(flat, MATRIX, DISTORTION, R=np.eye(3), P=MATRIX, criteria=criteria)[:, 0]

    found = V.invert(warp, p, shown)
    yield Row("lens undone: off, the worst of 640×480", float(np.abs(found.points - points).max()), "px", 1e-9, True)
    yield Row("the same, cv2.undistortPoints with 40 iterations", float(np.abs(opencv() - points).max()), "px")
    times = medians({"ours": lambda: V.invert(warp, p, shown), "opencv": opencv}, rounds=7)
    yield Row("the same, our time over OpenCV's", times["ours"] / times["opencv"], "×")


# -- registration ------------------------------------------------------------------------------------------------------
def stereo(quick: bool, tick: Tick) -> Iterator[Row]:
    """skimage's motorcycle, 741×500, greys: a registration that knows nothing of stereo beside those of OpenCV."""
    left, right, truth = skimage.data.stereo_motorcycle()
    a, b = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (left, right))
    known = np.isfinite(truth)
    block = cv2.StereoSGBM_create(0, 64, 5, 8 * 25, 32 * 25, 1, 63, 10, 100, 2, cv2.STEREO_SGBM_MODE_HH)
    tried: dict[str, Callable[[], np.ndarray]] = {
        "registration": lambda: -V.register(a, b).flow[..., 0],
        "StereoSGBM (of the pixels it answers)": lambda: answered(block.compute(a, b)),
        "DIS, medium": lambda: -dis(a, b),
        "Farnebäck, 8 levels": lambda: -cv2.calcOpticalFlowFarneback(a, b, None, 0.7, 8, 21, 10, 7, 1.5, 0)[..., 0],
    }
    for name, run in tried.items():
        tick(f"motorcycle: {name}")
        run()
        start = perf_counter()
        off = np.abs(run() - truth)[known]
        seconds = perf_counter() - start
        off_known = off[np.isfinite(off)]
        yield Row(f"motorcycle, {name}: median error of the disparity", float(np.median(off_known)), "px")
        yield Row(
            "the same, off by more than 2 px or not answered", 1 - float(np.sum(off_known <= 2)) / len(off), "of all"
        )
        yield Row("the same, time", seconds, "s")
        if quick:
            break


def answered(disparity: np.ndarray) -> np.ndarray:
    return np.where(disparity < 0, np.nan, disparity.astype(np.float32) / 16)


def dis(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(a, b, None)[..., 0]


def sizes(quick: bool, tick: Tick) -> Iterator[Row]:
    """Two photographs two pixels apart, cut to odd sizes, with holes; down to a single pixel."""
    tick("images of odd sizes, with holes")
    camera = skimage.data.camera()[180:300, 200:330].astype(np.float32)
    fine = total = 0
    slowest = 0.0
    draw = np.random.default_rng(0)
    shapes = [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (4, 4), (5, 4), (7, 13), (17, 31), (33, 33), (65, 31), (97, 101)]
    for height, width in shapes[:9] if quick else shapes:
        for hole in (0.0, 0.02, 1.0):
            fixed, moving = camera[:height, 2 : width + 2].copy(), camera[:height, :width].copy()
            for image in (fixed, moving):
                image[draw.random(image.shape) < hole] = np.nan
            start = perf_counter()
            try:
                found = V.register(fixed, moving)
                shift = np.nanmedian(found.flow, axis=(0, 1))
                # In a small cut of a photograph two pixels of motion can lie beyond what is seen.
                right = np.isfinite(found.flow).all() and (
                    min(height, width) < 17 or np.abs(shift - (2, 0)).max() < 0.1
                )
            except jm.ArgumentError as error:
                right = str(error).startswith(("fixed: got", "moving: got")) and (
                    min(height, width) < 17 or hole == 1.0
                )
            total, fine = total + 1, fine + bool(right)
            slowest = max(slowest, perf_counter() - start)
    yield Row("odd sizes, holes, single pixels: a flow or a clear error", fine, f"of {total}", total)
    yield Row("the same, the slowest with compiling", slowest, "s", 60, True)
