"""A small sphere, its true image, and the axes of the ellipsoid that J makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _questions
from .._dispatch import for_tensors_too
from .._errors import ArgumentError
from ._axes import called, counted, point, short, titled
from ._colours import BLUE, VERMILLION
from ._sample import numbers

MERIDIANS, PARALLELS = 33, 17


@for_tensors_too()
def sphere_to_ellipsoid(f: Callable[..., Any], x: Any, radius: float = 0.5, *, ax: Any = None) -> Any:
    """What f: R³ → R³ makes of the sphere of `radius` around x (surface), against what J makes of it (wires, axes).

    The half-axes are radius·σ_k u_k, with the singular values and left singular vectors of J = U diag(σ) Vᵀ. `ax` must
    have ``projection="3d"``. Raises `ArgumentError`.
    """
    centre = numbers(x, "x").ravel()
    if centre.size != 3 or not np.isfinite(centre).all():
        raise ArgumentError(
            f"x: got {counted(centre.size, 'number')}, expected three finite ones: a sphere lies in space; for two see "
            "plot.circle_to_ellipse, for more jm.geometry(J)"
        )
    if not isinstance(radius, (int, float, np.number)) or not 0 < radius < np.inf:
        raise ArgumentError(f"radius: got {radius!r}, expected a positive number, in the units of x")
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots(figsize=(6.4, 5.6), subplot_kw={"projection": "3d"})[1]
    elif getattr(ax, "name", "") != "3d":
        raise ArgumentError("ax: got flat axes, expected axes in space: plt.subplots(subplot_kw={'projection': '3d'})")
    here = jnp.asarray(x, jnp.result_type(float))
    value, J = (np.asarray(part, float) for part in (jnp.ravel(f(here)), _questions.jacobian(f)(here)))
    if value.size != 3:
        raise ArgumentError(f"f: got {counted(value.size, 'output')}, expected three, as many as inputs")
    J = J.reshape(3, 3)
    if not (np.isfinite(value).all() and np.isfinite(J).all()):
        raise ArgumentError(f"x: f or its Jacobian is not finite at {point(centre)}; choose another point")
    u, s, _ = np.linalg.svd(J)
    ball = radius * sphere()
    points = jnp.asarray(centre + ball.reshape(-1, 3), here.dtype).reshape(-1, *here.shape)
    true = np.asarray(jax.vmap(lambda p: jnp.ravel(f(p)))(points), float).reshape(ball.shape)
    linear = value + ball @ J.T
    ax.computed_zorder = False  # the axes are inside, but must be seen
    ax.plot_surface(*np.moveaxis(true, -1, 0), color=VERMILLION, alpha=0.35, linewidth=0, zorder=1)
    ax.plot_wireframe(*np.moveaxis(linear, -1, 0), color=BLUE, alpha=0.5, linewidth=0.6, rstride=4, cstride=4, zorder=2)
    for k in range(3):
        end = value + radius * s[k] * u[:, k]
        ax.plot(*np.stack([value, end], axis=1), color=BLUE, linewidth=2, zorder=3)
        ax.text(*end, f"σ{'₁₂₃'[k]} = {short(s[k])}", fontsize=9, zorder=4)
    ax.set(xlabel="output y[0]", ylabel="output y[1]", zlabel="output y[2]")
    ax.set_aspect("equal")
    det = float(np.linalg.det(J))
    turned = "kept" if det > 0 else "reversed"
    said = "the ellipsoid is flat: det J = 0" if s[2] <= 3e-15 * s[0] else f"volumes × {short(abs(det))}, {turned}"
    titled(ax, f"{called(f)} near {point(centre)}: {said}")
    return ax


def sphere() -> np.ndarray:
    """(parallels, meridians, 3): points on the unit sphere."""
    down, around = np.linspace(0, np.pi, PARALLELS)[:, None], np.linspace(0, 2 * np.pi, MERIDIANS)[None, :]
    x, y = np.sin(down) * np.cos(around), np.sin(down) * np.sin(around)
    return np.stack(np.broadcast_arrays(x, y, np.cos(down)), axis=-1)
