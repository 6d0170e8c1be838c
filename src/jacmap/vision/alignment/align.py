"""Alignment of two images: the warp that takes the pixels of one to where the other shows the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ..._errors import ArgumentError, SingularError
from ..sampling import as_image, masked
from ..warps import GROUPS, GroupWarp, Warp
from .descent import LIMIT, OVERLAP, STALLED, STEADY
from .frame import Frame
from .normal import NORMAL, Model
from .program import run
from .robust import LOSSES
from .summary import Summary, covariance

Array = jax.Array
Method = Literal["inverse", "forward", "ecc"]
Robust = Literal["huber", "tukey"]

# Fewer pixels than this have no slope between two neighbours.
LEAST_SIDE = 3
# The coarsest level of a pyramid that is chosen for the user has at least this many pixels along each side.
COARSEST = 32
# Directions of the parameters with less than this share of the slopes' energy (times the precision) are not determined.
UNDETERMINED = 100


@dataclass(frozen=True, eq=False)
class Alignment:
    """moving(W(x; p)) ≈ gain · fixed(x) + bias, pixel by pixel.

    `parameters` (P,) of `warp` in pixels, pixel centres at whole numbers; `matrix` (3, 3) for warps that have one, else
    None. `covariance` (P, P) of the parameters, from the Jacobian and the residuals, for noise that is independent from
    pixel to pixel. `residual`: root mean square over the pixels that count, weighted where robust. `inside`: share of
    the fixed image's counted pixels that were read inside the moving image. `iterations`: per level, the coarsest
    first. `start`: which of the starts was kept.
    """

    warp: Warp
    parameters: np.ndarray
    matrix: np.ndarray | None
    covariance: np.ndarray = field(repr=False)
    gain: float
    bias: float
    residual: float
    inside: float
    iterations: tuple[int, ...]
    converged: bool
    reason: str
    start: int

    @property
    def standard_errors(self) -> np.ndarray:
        """(P,): the square roots of the covariance's diagonal."""
        return np.sqrt(np.diag(self.covariance))

    def __str__(self) -> str:
        state = "converged" if self.converged else "not converged"
        light = f", gain {self.gain:.4g}, bias {self.bias:.4g}" if (self.gain, self.bias) != (1.0, 0.0) else ""
        return (
            f"{self.warp.name}, {state} ({self.reason}): residual {self.residual:.4g}, {self.inside:.1%} of the pixels "
            f"inside{light}, {sum(self.iterations)} iterations"
        )


def align(
    fixed: Any,
    moving: Any,
    warp: str | Warp = "homography",
    start: Any = None,
    *,
    method: Method = "inverse",
    levels: int | None = None,
    robust: Robust | None = None,
    gain_bias: bool = False,
    mask: Any = None,
    tolerance: float = 1e-3,
    iterations: int = 50,
) -> Alignment:
    """The warp W with moving(W(x; p)) ≈ fixed(x): where each pixel of `fixed` is found in `moving`.

    Images (H, W) or (H, W, C) of their own sizes, same C; NaN pixels are not counted, nor those of `fixed` where `mask`
    (H, W) is False. Integers are read as float32. `warp`: "translation", "euclidean", "similarity", "affine",
    "homography", or a warp object. `start`: parameters (P,) in pixels, or several (k, P), of which the coarsest level
    keeps the best; none: the identity, from which the coarsest level first seeks a translation, then an affine map.
    `levels` of the pyramid: chosen so that the coarsest keeps 32 pixels along each side. `gain_bias`: the moving
    image's brightness may differ by a factor and a summand.

    - `method="inverse"`: inverse compositional Lucas-Kanade (Baker & Matthews 2004), the cheapest; for the named warps.
    - `"forward"`: forward additive Lucas-Kanade (1981), for any warp.
    - `"ecc"`: the correlation coefficient (Evangelidis & Psarakis 2008), blind to gain and bias, not robust.

    `robust="huber"` or `"tukey"` counts residuals less that are large against the median one: Tukey's drops what one
    image hides. Levenberg-Marquardt until a step moves no pixel by more than `tolerance` pixels, or by a tenth of its
    standard error, at most `iterations` steps per level; one program, compiled at the first call for these sizes and
    options. A local minimum: the start must be within about the size of a feature at the coarsest level.

    Raises `ArgumentError` for images of different channels, too small or without enough counted pixels, and for other
    values of the options; `SingularError` where the images' texture does not determine the parameters.
    """
    chosen = _warp(warp)
    _check_options(chosen, method, levels, robust, tolerance, iterations)
    still, other = _images(fixed, moving, mask)
    shapes = still.shape, other.shape
    most = _most_levels(*shapes)
    depth = min(most, _levels(*shapes)) if levels is None else levels
    if depth > most:
        raise ArgumentError(
            f"levels: got {levels}, expected at most {most}: a level more has fewer than {LEAST_SIDE} pixels along a "
            f"side of an image of {min(shapes[0][:2] + shapes[1][:2])}"
        )
    starts = _starts(chosen, start, still.dtype)
    model = Model(Frame.of(chosen, (shapes[0][0], shapes[0][1])), method, robust, bool(gain_bias) and method != "ecc")
    found = jax.device_get(run(model, depth, start is None, float(tolerance), int(iterations), still, other, starts))
    _check_counted(found, model, shapes[0])
    _check_texture(found, model, still.dtype)
    return _alignment(found, model, shapes[0][2], tolerance, iterations)


def _alignment(found: Summary, model: Model, channels: int, tolerance: float, iterations: int) -> Alignment:
    parameters = np.asarray(found.parameters)
    inside = float(found.inside) / float(found.counted)
    finite = bool(np.isfinite(parameters).all() and np.isfinite(found.residual))
    converged = int(found.reason) == STEADY and finite and inside >= OVERLAP
    if inside < OVERLAP:
        reason = (
            f"only {inside:.1%} of the pixels are read inside the moving image, fewer than {OVERLAP:.0%}: start nearer"
        )
    elif not finite:
        reason = "the parameters left the finite numbers: start nearer"
    else:
        reason = {
            STEADY: f"the last step moved no pixel by more than {tolerance:g} or a tenth of its standard error",
            STALLED: "no step lowers the residual any more, however short",
            LIMIT: f"{iterations} iterations at the finest level were not enough",
        }[int(found.reason)]
    matrix = np.asarray(model.warp.matrix(parameters)) if isinstance(model.warp, GroupWarp) else None
    return Alignment(
        model.warp, parameters, matrix, covariance(found, int(found.inside) * channels),
        float(found.light[0]), float(found.light[1]), float(found.residual), inside,
        tuple(int(n) for n in found.steps), converged, reason, int(found.start),
    )  # fmt: skip


# -- arguments ---------------------------------------------------------------------------------------------------------
def _warp(warp: Any) -> Warp:
    if isinstance(warp, str):
        if warp not in GROUPS:
            names = ", ".join(map(repr, GROUPS))
            raise ArgumentError(f"warp: got {warp!r}, expected one of {names}, or a warp object such as ThinPlate(...)")
        return GROUPS[warp]
    if not callable(warp) or not hasattr(warp, "size"):
        raise ArgumentError(f"warp: got {type(warp).__name__}, expected a name or a warp object such as ThinPlate(...)")
    return warp


def _check_options(warp: Warp, method: Any, levels: Any, robust: Any, tolerance: Any, iterations: Any) -> None:
    for name, given, known in (("method", method, NORMAL), ("robust", robust, LOSSES)):
        if given not in known:
            raise ArgumentError(f"{name}: got {given!r}, expected one of {', '.join(map(repr, known))}")
    if method == "inverse" and not isinstance(warp, GroupWarp):
        raise ArgumentError(
            f'method: got "inverse" for the warp {warp.name!r}, which has no composition and inverse; '
            'use method="forward"'
        )
    if method == "ecc" and robust is not None:
        raise ArgumentError('robust: a correlation has no residuals to weigh; use method="inverse" with gain_bias=True')
    for name, given in (("levels", levels), ("iterations", iterations)):
        if given is not None and (isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < 1):
            raise ArgumentError(f"{name}: got {given!r}, expected a whole number of at least 1")
    if not isinstance(tolerance, (int, float, np.floating)) or not 0 < tolerance < np.inf:
        raise ArgumentError(f"tolerance: got {tolerance!r}, expected a length in pixels above 0")


def _images(fixed: Any, moving: Any, mask: Any) -> tuple[Array, Array]:
    """Both as (H, W, C) of one floating dtype, infinities and what the mask hides as NaN."""
    images = [as_image(image, name) for image, name in ((fixed, "fixed"), (moving, "moving"))]
    if images[0].ndim != images[1].ndim or images[0].shape[2:] != images[1].shape[2:]:
        raise ArgumentError(
            f"moving: got shape {list(images[1].shape)} for a fixed image of {list(images[0].shape)}, expected as many "
            "channels; align grey values, for example their means over the channels"
        )
    for image, name in zip(images, ("fixed", "moving"), strict=True):
        if min(image.shape[:2]) < LEAST_SIDE:
            raise ArgumentError(
                f"{name}: got {image.shape[0]}×{image.shape[1]} pixels, expected at least {LEAST_SIDE} along each "
                "side: an alignment needs slopes"
            )
    dtype = jnp.float64 if any(image.dtype == jnp.float64 for image in images) else jnp.float32
    still, other = (
        jnp.where(jnp.isfinite(image), image, jnp.nan)
        for image in (image.astype(dtype).reshape(*image.shape[:2], -1) for image in images)
    )
    if mask is not None:
        still = masked(still, mask)
    return still, other


def _most_levels(*shapes: tuple[int, ...]) -> int:
    """How often the smaller image can be halved and keep enough pixels along each side."""
    side, levels = min(min(shape[:2]) for shape in shapes), 1
    while (side := (side + 1) // 2) >= LEAST_SIDE:
        levels += 1
    return levels


def _levels(*shapes: tuple[int, ...]) -> int:
    side = min(min(shape[:2]) for shape in shapes)
    return max(1, 1 + int(np.floor(np.log2(side / COARSEST)))) if side >= COARSEST else 1


def _starts(warp: Warp, start: Any, dtype: Any) -> Array:
    if start is None:
        return jnp.zeros((1, warp.size), dtype)
    starts = jnp.asarray(start)
    if starts.ndim not in (1, 2) or starts.shape[-1] != warp.size or not starts.size:
        raise ArgumentError(
            f"start: got shape {list(starts.shape)}, expected [{warp.size}], the parameters of the warp {warp.name!r} "
            f"in pixels, or [k, {warp.size}] for several; warp.parameters_of(matrix) makes them"
        )
    if not bool(jnp.all(jnp.isfinite(starts))):
        raise ArgumentError("start: got NaN or infinity, expected finite parameters")
    return starts.reshape(-1, warp.size).astype(dtype)


# -- what the images cannot tell ---------------------------------------------------------------------------------------
def _check_counted(found: Summary, model: Model, shape: tuple[int, ...]) -> None:
    counted = int(found.counted)
    if counted * shape[2] <= model.unknowns:
        raise ArgumentError(
            f"fixed: {counted} of its {shape[0] * shape[1]} pixels count (finite, under the mask, neighbours too), "
            f"expected more than {model.unknowns}, the number of unknowns; a smaller warp or a larger image is needed"
        )


def _check_texture(found: Summary, model: Model, dtype: Any) -> None:
    """The slopes of the fixed image must tell every direction of the parameters from none."""
    epsilon = float(jnp.finfo(dtype).eps)
    for name, slope, brightest in (
        ("fixed", found.slope, found.brightest),
        ("moving", found.moving_slope, found.moving_brightest),
    ):
        if not float(slope) > 16 * epsilon * float(brightest):
            raise SingularError(
                f"{name}: the image has no texture where it is counted, so that none of the parameters is determined; "
                "align on a part with edges"
            )
    texture = np.asarray(found.texture, float)
    if not np.isfinite(texture).all():
        raise ArgumentError("start: the warp is not finite over the fixed image at the start; give another one")
    values, vectors = np.linalg.eigh(texture)
    blind = vectors[:, values <= UNDETERMINED * epsilon]
    if blind.shape[1]:
        named = np.flatnonzero(np.max(np.abs(blind), axis=1) > 0.1)
        raise SingularError(
            f"fixed: its texture does not determine {blind.shape[1]} of the {model.warp.size} parameters of the warp "
            f"{model.warp.name!r}; undetermined, alone or together: parameters {', '.join(map(str, named))} "
            "(from 0; in the image's centre). Use a warp with fewer parameters, or a part with edges in every direction"
        )
