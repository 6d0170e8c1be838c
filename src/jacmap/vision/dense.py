"""Dense image registration: where each pixel of one picture lies in another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError
from .derivatives import area
from .folds import Folds, folds
from .pyramid import pyramid
from .sampling import as_image, grid, masked, sample
from .variational import Energy, refine
from .warps import Flow

Array = jax.Array

# Residuals and changes of the flow (in standard deviations of the brightness, in pixels per pixel) beyond which they
# count as outliers and edges do: by their size, no longer by its square.
DATA_EDGE, FLOW_EDGE = 0.04, 0.05
SMALLEST = 4  # pixels, of an image's shorter side
COARSEST = 12  # below which the shorter side of a level is not halved
TEXTURE = 1e-3  # of slopes along one direction to those across: less, and motion along it is not seen


@dataclass(frozen=True, eq=False)
class Registration:
    """A flow: pixel (x, y) of the fixed image is found at (x, y) + flow[y, x] of the moving one.

    `flow` (H, W, 2) in pixels. `warped` (H, W) or (H, W, C): the moving image brought onto the fixed one, NaN where
    nothing is known. `residual`: warped − fixed. `inside`: the share of pixels that are compared. `energy`: at the end.
    `steps`: linearisations per level, the coarsest first. `converged`, `reason`: why the finest level stopped.
    """

    flow: np.ndarray
    warped: np.ndarray
    residual: np.ndarray
    inside: float
    energy: float
    steps: tuple[int, ...]
    converged: bool
    reason: str

    @cached_property
    def area(self) -> np.ndarray:
        """det (H, W) of the flow's map: how areas grow from fixed to moving; negative where they are turned over."""
        height, width = self.flow.shape[:2]
        shape = (height, width)
        return np.asarray(area(Flow(shape), self.flow.ravel(), grid(shape, self.flow.dtype)))

    @cached_property
    def folds(self) -> Folds:
        """The cells between pixels that the flow folds, the worst first."""
        return folds(self.flow)

    def __str__(self) -> str:
        length = np.linalg.norm(self.flow, axis=-1)
        return (
            f"flow of {self.flow.shape[1]}×{self.flow.shape[0]} pixels, {np.median(length):.3g} px in the middle, "
            f"{length.max():.3g} at most; {self.inside:.1%} compared; {self.folds}; {self.reason}"
        )


def register(
    fixed: Any,
    moving: Any,
    *,
    smoothness: float = 0.2,
    gradient: float = 5.0,
    start: Any = None,
    mask: Any = None,
    levels: int | None = None,
    steps: int = 12,
    products: int = 30,
    tolerance: float = 1e-3,
) -> Registration:
    """The flow that brings `moving` onto `fixed`, two images (H, W) or (H, W, C), coarse to fine.

    Minimises Σ √(r² + ε²) + `smoothness` · Σ √(|∇flow|² + ε²), r the difference of brightness and, times `gradient`, of
    its slopes, in standard deviations of the fixed image (Brox, Bruhn, Papenberg, Weickert 2004): outliers and edges
    of the flow count by their size, not its square. Per level at most `steps` Gauss-Newton steps with the weights
    renewed, each by at most `products` conjugate-gradient products: no matrix is formed. A level ends when a step
    lowers the energy by less than `tolerance` of it; no step raises it.

    `start` (H, W, 2): a flow to begin with, at the coarsest of `levels` (by default halved until the shorter side has
    12 to 23 pixels). `mask` (H, W): which pixels of `fixed` count; NaN pixels of either do not. Things that move
    further than their own size are lost; occluded pixels take their neighbours' motion.

    Raises `ArgumentError` for images that differ in shape, are smaller than 4 pixels, or without enough texture to
    tell the motion.
    """
    a, b = prepared(fixed, moving, mask)
    height, width = a.shape[:2]
    dtype = a.dtype
    if not (smoothness > 0 and gradient >= 0 and tolerance >= 0):
        raise ArgumentError(
            f"smoothness, gradient, tolerance: got {smoothness}, {gradient}, {tolerance}, expected smoothness > 0 and "
            "the others not negative"
        )
    most = 1 + max(0, int(np.floor(np.log2(min(height, width) / COARSEST))))
    levels = most if levels is None else levels
    if not 1 <= levels <= most:
        raise ArgumentError(f"levels: got {levels}, expected 1 to {most} for images of {width}×{height} pixels")
    scale = jnp.nanstd(a)
    energy = Energy(*(jnp.asarray(number, dtype) for number in (smoothness, gradient, DATA_EDGE, FLOW_EDGE)))
    towers = [pyramid(image / scale, levels)[::-1] for image in (a, b)]
    flow = begin(start, (height, width), towers[0][0].shape[:2], levels, dtype)
    taken = []
    for small_fixed, small_moving in zip(*towers, strict=True):
        flow = finer(flow, small_fixed.shape[:2])
        level = refine(
            small_fixed, small_moving, flow, energy,
            jnp.asarray(steps), jnp.asarray(products), jnp.asarray(tolerance, dtype),
        )  # fmt: skip
        flow = level.flow
        taken.append(int(level.steps))
    return finished(a, b, jnp.ndim(fixed) == 2, level, tuple(taken), tolerance)


def finished(a: Array, b: Array, flat: bool, level: Any, taken: tuple[int, ...], tolerance: float) -> Registration:
    value, inside = sample(b, grid((a.shape[0], a.shape[1]), a.dtype) + level.flow)
    compared = inside & jnp.all(jnp.isfinite(a), axis=-1)
    warped = np.asarray(jnp.where(inside[..., None], value, jnp.nan))
    residual = np.asarray(warped - np.asarray(a))
    if flat:
        warped, residual = warped[..., 0], residual[..., 0]
    fall = float(level.fall)
    converged = fall <= tolerance
    last = f"the last step lowered the energy by {fall:.2g} of it"
    reason = f"converged: {last}" if converged else f"stopped after {taken[-1]} steps: {last}, more than {tolerance:g}"
    shares = float(jnp.mean(compared)), float(level.energy)
    return Registration(np.asarray(level.flow), warped, residual, *shares, taken, converged, reason)


def prepared(fixed: Any, moving: Any, mask: Any) -> tuple[Array, Array]:
    """Both images (H, W, C) in one float dtype, what is not to be counted NaN; refuses what cannot be registered."""
    images = []
    for name, image in (("fixed", fixed), ("moving", moving)):
        image = as_image(image, name)
        image = image if jnp.issubdtype(image.dtype, jnp.floating) else image.astype(jnp.float32)
        images.append(image.reshape(*image.shape[:2], -1))
    a, b = images
    if jnp.shape(fixed) != jnp.shape(moving):
        raise ArgumentError(f"moving: got shape {list(jnp.shape(moving))}, expected {list(jnp.shape(fixed))}, as fixed")
    if min(a.shape[:2]) < SMALLEST:
        raise ArgumentError(
            f"fixed: got {a.shape[1]}×{a.shape[0]} pixels, expected at least {SMALLEST} along each side: fewer tell no "
            "motion"
        )
    common = jnp.promote_types(a.dtype, b.dtype)
    a, b = (
        jnp.where(jnp.all(jnp.isfinite(image), axis=-1, keepdims=True), image, jnp.nan).astype(common)
        for image in (a, b)
    )
    if mask is not None:
        a = masked(a, mask)
    for name, image in (("fixed", a), ("moving", b)):
        textured(name, np.asarray(image, float))
    return a, b


def textured(name: str, image: np.ndarray) -> None:
    """Refuses an image whose slopes leave a direction of motion unseen (the aperture problem)."""
    x = (image[1:-1, 2:] - image[1:-1, :-2]).ravel()
    y = (image[2:, 1:-1] - image[:-2, 1:-1]).ravel()
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        raise ArgumentError(f"{name}: got no pixel whose neighbours are finite and counted, expected an image")
    x, y = x[known], y[known]
    (least, largest), vectors = np.linalg.eigh(np.array([[x @ x, x @ y], [x @ y, y @ y]]) / len(x))
    ordinary = np.nanmax(np.abs(image)) * 1e-6
    if largest <= ordinary**2:
        raise ArgumentError(f"{name}: got an image without texture, expected one in which motion can be seen")
    if least <= TEXTURE**2 * largest:
        across = vectors[:, 0] * np.sign(vectors[np.argmax(np.abs(vectors[:, 0])), 0])
        raise ArgumentError(
            f"{name}: got an image that is constant along ({across[0]:.2g}, {across[1]:.2g}), expected texture in two "
            "directions: motion along that one cannot be seen"
        )


def begin(start: Any, shape: tuple[int, int], coarse: tuple[int, ...], levels: int, dtype: Any) -> Array:
    """The flow to start from, on the coarsest level's pixels and in their unit."""
    rows, columns = coarse[:2]
    if start is None:
        return jnp.zeros((rows, columns, 2), dtype)
    given = jnp.asarray(start).astype(dtype)
    if given.shape != (*shape, 2):
        raise ArgumentError(f"start: got shape {list(given.shape)}, expected {[*shape, 2]}: (Δx, Δy) per pixel")
    factor = 2 ** (levels - 1)
    return sample(given, factor * grid((rows, columns), dtype))[0] / factor


def finer(flow: Array, shape: tuple[int, ...]) -> Array:
    """A flow on the pixels of the next level, twice as many, in their unit; itself where it is there already."""
    rows, columns = shape[:2]
    if flow.shape[:2] == (rows, columns):
        return flow
    most = jnp.asarray([flow.shape[1] - 1, flow.shape[0] - 1], flow.dtype)
    return 2 * sample(flow, jnp.minimum(grid((rows, columns), flow.dtype) / 2, most))[0]
