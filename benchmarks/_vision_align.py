"""Alignment of scikit-image's `camera` after random homographies, beside OpenCV's ECC and kornia's ImageRegistrator.

The fixed image is a crop of the photograph; the moving one is the photograph read through the homography by splines of
degree 5, real surroundings included. All align the same images, and are held against the corners that made them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from time import perf_counter

import cv2
import numpy as np
import skimage.data
import torch
from _table import Row, Tick
from _timing import medians
from kornia.geometry import ImageRegistrator
from kornia.geometry.conversions import denormalize_homography
from scipy.ndimage import map_coordinates, spline_filter

import jacmap as jm

SIZE, MARGIN = 384, 64  # of the crop, and what the photograph has around it
CORNERS = np.array([[0, 0], [SIZE - 1, 0], [SIZE - 1, SIZE - 1], [0, SIZE - 1]], float)
LEVELS = 4
KORNIA_CASES = 2  # each takes half a minute or more

# OpenCV's stopping rule and its own smoothing filter, from fast to exact; each on a pyramid of 4 levels.
SETTINGS = [(1e-3, 1), (1e-4, 1), (1e-4, 5), (1e-5, 1), (1e-5, 5), (1e-6, 1), (1e-6, 5), (1e-7, 1)]


@dataclass(frozen=True)
class Pair:
    """Two images of 0 … 255 in float32, and where the crop's corners lie in the moving one."""

    fixed: np.ndarray
    moving: np.ndarray
    corners: np.ndarray

    def error(self, matrix: np.ndarray) -> float:
        """Mean distance of the corners, pixels."""
        found = np.asarray(matrix, float) @ np.column_stack([CORNERS, np.ones(4)]).T
        return float(np.mean(np.linalg.norm((found[:2] / found[2]).T - self.corners, axis=1)))


Aligner = Callable[[Pair], np.ndarray]


def rows(quick: bool, tick: Tick) -> Iterator[Row]:
    count = 5 if quick else 20
    for sigma, floor in ((10, 20), (20, 19)):
        tick(f"photographs with corner noise of {sigma} px")
        pairs = [pair(seed, sigma) for seed in range(count)]
        yield from clean(pairs, f"camera, corner noise {sigma} px", min(floor, count), tick)
    for sigma in (10, 20):
        tick(f"the same, hard, {sigma} px")
        pairs = [hard(pair(seed, sigma), seed) for seed in range(count)]
        yield from spoilt(pairs, f"gain 1.3, bias 20, 30 % hidden, noise; {sigma} px", 18 * count // 20, tick)


def clean(pairs: list[Pair], name: str, floor: int, tick: Tick) -> Iterator[Row]:
    start = perf_counter()
    ours(pairs[0])
    first = perf_counter() - start
    found = [p.error(ours(p)) for p in pairs]
    yield Row(f"{name}: under 1 px", under(found), f"of {len(pairs)}", floor)
    yield Row("the same, median corner error", median(found), "px", 0.025, True)
    for method in ("forward", "ecc"):
        tick(f"{name}: {method}")
        other = [p.error(ours(p, method)) for p in pairs]
        yield Row(f'the same, method="{method}": under 1 px', under(other), f"of {len(pairs)}")
        yield Row(f'the same, method="{method}": median corner error', median(other), "px")
    tick(f"{name}: OpenCV")
    tried = {setting: [p.error(opencv(p, *setting)) for p in pairs] for setting in SETTINGS}
    best = min(tried.values(), key=lambda errors: (-under(errors), median(errors)))
    yield Row("the same, OpenCV's ECC on a pyramid, best setting: under 1 px", under(best), f"of {len(pairs)}")
    yield Row("the same, OpenCV's best setting: median corner error", median(best), "px")
    # The settings run from fast to exact: the first that is as exact as ours is the fastest.
    equal = next((s for s in SETTINGS if median(tried[s]) <= 1.05 * median(found)), SETTINGS[-1])
    tick(f"{name}: timing")
    some = pairs[:5]
    times = medians(
        {
            "ours": lambda: [ours(p) for p in some],
            "opencv": lambda: [opencv(p, *equal) for p in some],
        },
        rounds=7,
    )
    yield Row("the same, time of an alignment", times["ours"] / len(some) * 1e3, "ms")
    yield Row(
        f"the same, OpenCV at ε = {equal[0]:g}, filter {equal[1]}: median corner error", median(tried[equal]), "px"
    )
    yield Row("the same, our time over OpenCV's", times["ours"] / times["opencv"], "×", 2, True)
    yield Row("the same, the first call, compiling", first, "s")
    tick(f"{name}: kornia")
    start = perf_counter()
    theirs = [p.error(kornia(p)) for p in pairs[:KORNIA_CASES]]
    seconds = (perf_counter() - start) / len(theirs)
    yield Row("the same, kornia's ImageRegistrator: under 1 px", under(theirs), f"of {len(theirs)}")
    yield Row("the same, kornia: median corner error", median(theirs), "px")
    yield Row("the same, kornia: time of an alignment", seconds, "s")


def spoilt(pairs: list[Pair], name: str, floor: int, tick: Tick) -> Iterator[Row]:
    found = [p.error(ours(p, robust="tukey", gain_bias=True)) for p in pairs]
    yield Row(f"{name}: under 1 px", under(found), f"of {len(pairs)}", floor)
    yield Row("the same, median corner error", median(found), "px")
    tick(f"{name}: OpenCV")
    best = min(
        ([p.error(opencv(p, *setting)) for p in pairs] for setting in SETTINGS),
        key=lambda errors: (-under(errors), median(errors)),
    )
    yield Row("the same, OpenCV's ECC, best setting: under 1 px", under(best), f"of {len(pairs)}")
    yield Row("the same, OpenCV's ECC: median corner error", median(best), "px")


def under(errors: list[float]) -> int:
    return sum(error < 1 for error in errors)


# -- images ------------------------------------------------------------------------------------------------------------
@lru_cache
def _photograph() -> tuple[np.ndarray, np.ndarray]:
    camera = skimage.data.camera().astype(float)
    return camera, spline_filter(camera, order=5)


def pair(seed: int, sigma: float) -> Pair:
    """Corner noise of standard deviation `sigma` pixels."""
    camera, coefficients = _photograph()
    corners = CORNERS + sigma * np.random.default_rng(seed).standard_normal((4, 2))
    # From the moving image back to the photograph.
    back = np.linalg.inv(cv2.getPerspectiveTransform(CORNERS.astype(np.float32), corners.astype(np.float32)))
    y, x = np.mgrid[:SIZE, :SIZE].reshape(2, -1).astype(float)
    at = back @ np.stack([x, y, np.ones(x.size)])
    at = at[:2] / at[2] + MARGIN
    moving = map_coordinates(coefficients, at[::-1], order=5, prefilter=False, mode="mirror").reshape(SIZE, SIZE)
    fixed = camera[MARGIN : MARGIN + SIZE, MARGIN : MARGIN + SIZE]
    return Pair(fixed.astype(np.float32), moving.astype(np.float32), corners)


def hard(p: Pair, seed: int) -> Pair:
    """The moving image brighter by ×1.3 + 20, 30 % of it behind a brick wall, noise of 5 grey levels on both."""
    draw = np.random.default_rng(1000 + seed)
    side = round(SIZE * 0.3**0.5)
    top, left = draw.integers(0, SIZE - side, 2)
    moving = 1.3 * p.moving + 20
    moving[top : top + side, left : left + side] = skimage.data.brick()[:side, :side]
    noise = 5 * draw.standard_normal((2, SIZE, SIZE)).astype(np.float32)
    return Pair(p.fixed + noise[0], (moving + noise[1]).astype(np.float32), p.corners)


# -- contestants: each the homography in pixels, from the fixed image to the moving one --------------------------------
def ours(p: Pair, method: str = "inverse", **options: object) -> np.ndarray:
    found = jm.vision.align(p.fixed, p.moving, method=method, levels=LEVELS, **options)  # type: ignore[arg-type]
    assert found.matrix is not None
    return found.matrix


def opencv(p: Pair, epsilon: float, smooth: int) -> np.ndarray:
    """findTransformECC on a pyramid by its own pyrDown; NaN where it gives up."""
    fixed, moving = [p.fixed], [p.moving]
    for _ in range(LEVELS - 1):
        fixed.append(cv2.pyrDown(fixed[-1]))
        moving.append(cv2.pyrDown(moving[-1]))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, epsilon)
    found = np.eye(3)
    for level in reversed(range(LEVELS)):
        shrink = np.diag([0.5**level, 0.5**level, 1])
        start = (shrink @ found @ np.linalg.inv(shrink)).astype(np.float32)
        try:
            _, found = cv2.findTransformECC(
                fixed[level], moving[level], start / start[2, 2], cv2.MOTION_HOMOGRAPHY, criteria, None, smooth
            )
        except cv2.error:
            return np.full((3, 3), np.nan)
        found = np.linalg.inv(shrink) @ found @ shrink
    return found


def kornia(p: Pair) -> np.ndarray:
    """Adam on the mean absolute difference."""
    torch.manual_seed(0)
    fixed, moving = (torch.from_numpy(image / 255)[None, None] for image in (p.fixed, p.moving))
    registrator = ImageRegistrator("homography", pyramid_levels=LEVELS, lr=2e-3, num_iterations=200, tolerance=1e-7)
    found = registrator.register(moving, fixed)
    pixels = denormalize_homography(found.detach(), (SIZE, SIZE), (SIZE, SIZE), align_corners=False)
    return pixels[0].numpy()
