"""What J does to the space around the point, gathered: the object that `jm.geometry` returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from ..._dispatch import for_tensors_too
from ..._errors import ArgumentError
from ..._jacobian import Jacobian
from . import directions as choice
from .kinds import Kind
from .local import Local, lengths
from .recognise import recognised
from .sphere import Sphere, sphere
from .trust import Trust, trust

LARGEST_MATRIX = 4_000_000  # entries of J beyond which no dense matrix is formed
FEW = 6  # singular values of a larger one


@dataclass(frozen=True, eq=False)
class Geometry:
    """J at a point, seen as a map of the space around it. Made by `geometry`; `print` tells it in words.

    `value` (m,) = f(x) and `point` (n,) = x, flattened, in double precision; `matrix` (m, n), None for a J of more than
    4 million entries. `image`: what J does to a small sphere (see `Sphere`), whose fields can be asked for here, too.
    `frobenius`: √(sum of squares of all entries). `trust`: how far f(x) + J h is right (see `Trust`), None where f or J
    is not finite at x. `kinds`: the special cases found. `invertibility`: can f be undone near x? (square J only).
    `left_out`: what was not computed, and why, in words.
    """

    J: Jacobian
    value: np.ndarray
    point: np.ndarray
    matrix: np.ndarray | None
    image: Sphere
    frobenius: float
    trust: Trust | None
    kinds: tuple[Kind, ...]
    invertibility: Any
    left_out: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): outputs and inputs."""
        return self.J.shape

    @property
    def singular_values(self) -> np.ndarray:
        """(r,), descending: all min(m, n), or the largest few of a large J."""
        return self.image.singular_values

    @property
    def left(self) -> np.ndarray:
        """Left singular vectors, (m, r): where the axes of the image point."""
        return self.image.left

    @property
    def right(self) -> np.ndarray:
        """Right singular vectors, (n, r): the input directions that become those axes."""
        return self.image.right

    @property
    def axes(self) -> np.ndarray:
        """The half axes of the image of the unit sphere, (m, r): left singular vectors × singular values."""
        return self.image.axes

    @property
    def rotation(self) -> np.ndarray | None:
        """R of the polar decomposition J = R S, (n, n); None where J is not square."""
        return self.image.rotation

    @property
    def stretch(self) -> np.ndarray | None:
        """S of J = R S, symmetric and positive semidefinite, (n, n)."""
        return self.image.stretch

    @property
    def shear(self) -> np.ndarray | None:
        """The unit upper triangular factor of J = Q D U, (n, n); None where columns of J are dependent."""
        return self.image.shear

    @property
    def volume(self) -> float:
        """|det J|, √det(JᵀJ) for m > n, √det(JJᵀ) for m < n."""
        return self.image.volume

    @property
    def det(self) -> float | None:
        """The determinant of a square J."""
        return self.image.det

    @property
    def orientation(self) -> int | None:
        """1: kept, -1: flipped, 0: J is singular, None: J is not square."""
        return self.image.orientation

    @property
    def null_space(self) -> np.ndarray | None:
        """An orthonormal basis (n, n − rank) of the directions that J sends to zero."""
        return self.image.null_space

    @property
    def rank(self) -> int | None:
        """Singular values above eps·max(m, n)·s_max."""
        return self.image.rank

    @property
    def condition(self) -> float:
        """Largest over smallest singular value."""
        return self.image.condition

    def __str__(self) -> str:
        from .words import of_geometry

        return "\n".join(of_geometry(self))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and words; arrays of more than 10,000 entries are left out (None)."""
        from .words import plain, sentences

        own = {name: getattr(self, name) for name in ("value", "point", "matrix", "frobenius", "kinds", "left_out")}
        image = {name: getattr(self.image, name) for name in (*vars(self.image), "axes", "condition")}
        told = {"words": sentences(self), "invertibility": self.invertibility and str(self.invertibility)}
        return plain({"name": self.J.name, "shape": self.shape, **own, **image, "trust": self.trust, **told})

    def plot(self, ax: Any = None) -> Any:
        """A map of the plane: a circle and its image; else the singular values (extra ``plot``)."""
        import jacmap

        plot: Any = jacmap.plot
        if self.shape == (2, 2):
            return plot.circle_to_ellipse(self.J._runner.flat, self.J._runner.x, ax=ax)
        return plot.singular_values(self, ax=ax)


@for_tensors_too()
def geometry(
    J: Jacobian,
    *,
    directions: Any = None,
    tolerance: float = 0.01,
    radius: float | None = None,
    seed: int = 0,
) -> Geometry:
    """What J does to space near its point, and how far the linear model f(x) + J h can be trusted there.

    `directions`, (n,) or (n, k), one per column: along which the model is measured; without them singular directions,
    random ones (from `seed`) and one of strong curvature. `tolerance`: the relative error of a step, ‖f(x+h) − f(x) −
    J h‖ / ‖J h‖, up to which the model counts as right. `radius`: how far to look, in the units of x; max(1, ‖x‖) where
    it is not given.

    Beyond 4 million entries no matrix is formed: the largest singular values, norms and `trust` remain. Raises
    `ArgumentError` for arguments that do not fit, complex functions, and inside `jit`, `grad` or `vmap`.
    """
    _check(J, tolerance, radius)
    local = Local(J)
    chosen = None if directions is None else choice.given(directions, local)
    m, n = local.m, local.n
    if m * n > LARGEST_MATRIX:
        return _of_large(local, chosen, tolerance, radius, seed)
    matrix = np.asarray(J.dense(), float)
    if not (np.isfinite(matrix).all() and np.isfinite(local.value).all()):
        return _without_figures(local, matrix)
    image = sphere(matrix, local.eps)
    rank, null = image.rank or 0, image.null_space
    if chosen is None:
        right = image.right if null is None else np.concatenate([image.right[:, :rank], null], axis=1)
        gains = np.concatenate([image.singular_values, np.zeros(right.shape[1])])
        chosen = choice.worst(local, right, gains, seed)
    measure = _trust(local, lambda v: matrix @ v, image, chosen, tolerance, radius)
    left_out = () if null is not None else (f"a basis of the null space ({n} × {n - rank})",)
    return Geometry(
        J=J,
        value=local.value,
        point=local.point,
        matrix=matrix,
        image=image,
        frobenius=float(lengths(matrix.reshape(1, -1))[0]),
        trust=measure,
        kinds=recognised(local, image, measure, matrix, seed),
        invertibility=J.locally_invertible() if m == n else None,
        left_out=left_out,
    )


def _check(J: Any, tolerance: Any, radius: Any) -> None:
    if not isinstance(J, Jacobian):
        hint = "jm.geometry(jm.linearize(f, x))" if callable(J) else "one that jm.linearize(f, x) makes"
        raise ArgumentError(f"J: got {type(J).__name__}, expected a jacmap.Jacobian: {hint}")
    if not _positive(tolerance) or tolerance > 1:
        raise ArgumentError(f"tolerance: got {tolerance!r}, expected a number above 0, at most 1, such as 0.01 for 1 %")
    if radius is not None and not _positive(radius):
        raise ArgumentError(f"radius: got {radius!r}, expected a positive number: how far to look, in the units of x")


def _positive(number: Any) -> bool:
    real = isinstance(number, (int, float, np.integer, np.floating)) and not isinstance(number, bool)
    return real and 0 < number < math.inf


def _trust(
    local: Local,
    push: Callable[[np.ndarray], np.ndarray],
    image: Sphere,
    chosen: tuple[np.ndarray, tuple[str, ...]],
    tolerance: float,
    radius: float | None,
) -> Trust:
    largest = float(image.singular_values.max(initial=0.0))
    looked_at = local.scale if radius is None else float(radius)
    return trust(local, push, largest, chosen, tolerance, looked_at, local.J._form.affine)


def _of_large(
    local: Local,
    chosen: tuple[np.ndarray, tuple[str, ...]] | None,
    tolerance: float,
    radius: float | None,
    seed: int,
) -> Geometry:
    J = local.J
    u, s, vh = (np.asarray(part, float) for part in J.svd(min(FEW, *J.shape)))
    image = Sphere.partial(u, s, vh.T)
    frobenius = float(J.norm("fro"))
    finite = np.isfinite(frobenius) and np.isfinite(local.value).all()
    chosen = chosen or choice.worst(local, image.right, s, seed)
    measure = _trust(local, _product(J), image, chosen, tolerance, radius) if finite else None
    m, n = J.shape
    left_out = (
        f"J has {m}×{n} entries: no matrix was formed, {len(s)} of {min(m, n)} singular values computed",
        "rank, volume, polar factors, shear and null space; ask J.rank(), J.cond(), J.slogdet()",
    )
    kinds = recognised(local, image, measure, None, seed)
    return Geometry(J, local.value, local.point, None, image, frobenius, measure, kinds, None, left_out)


def _product(J: Jacobian) -> Callable[[np.ndarray], np.ndarray]:
    """V ↦ J V for (n, k), in double precision where J's entries fit."""
    if J.pattern.nnz <= LARGEST_MATRIX:
        entries = J.sparse()
        rows, columns = np.asarray(entries.indices).T
        matrix = scipy.sparse.csr_array((np.asarray(entries.data, float), (rows, columns)), shape=J.shape)
        return lambda v: np.asarray(matrix @ v)
    dtype = J._runner.x.dtype
    return lambda v: np.stack([np.asarray(J @ column.astype(dtype), float) for column in v.T], axis=1)


def _without_figures(local: Local, matrix: np.ndarray) -> Geometry:
    """Where f or J is not finite there is nothing to measure, which is said."""
    empty = Sphere.partial(np.zeros((local.m, 0)), np.zeros(0), np.zeros((local.n, 0)))
    bad_value, bad = np.flatnonzero(~np.isfinite(local.value)), np.argwhere(~np.isfinite(matrix))
    said = []
    if bad_value.size:
        said.append(
            f"{bad_value.size} of {local.m} outputs are NaN or infinite at this point, the first is {bad_value[0]}"
        )
    if bad.size:
        i, j = bad[0]
        said.append(f"{len(bad)} of {matrix.size} entries of J are NaN or infinite, the first at row {i}, column {j}")
    why = (*said, "no figures: move the point to where f and its derivatives are finite")
    return Geometry(local.J, local.value, local.point, matrix, empty, math.nan, None, (), None, why)
