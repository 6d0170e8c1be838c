"""distrax's bijectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from bijections import Bijection, draw

N = 4


def case(bijector: Any, x: Any = None, no_inverse: str = "") -> Bijection:
    return Bijection(
        bijector.forward,
        bijector.forward_log_det_jacobian,
        draw(N) if x is None else x,
        None if no_inverse else bijector.inverse,
        None if no_inverse else bijector.inverse_log_det_jacobian,
        no_inverse,
    )


def matrix(seed: int = 0) -> jax.Array:
    return 2 * jnp.eye(N) + draw(N, N, seed=seed)


def spline(params: jax.Array) -> Any:
    return distrax.RationalQuadraticSpline(params, -2.0, 2.0)


def affine(params: jax.Array) -> Any:
    return distrax.ScalarAffine(shift=params[..., 0], log_scale=params[..., 1])


def conditioner(size_in: int, size_out: int, each: int) -> Callable[[jax.Array], jax.Array]:
    weight = draw(size_in, size_out * each)
    return lambda x: jnp.tanh(x @ weight).reshape(*x.shape[:-1], size_out, each)


MASK = np.arange(N) % 2 == 0
CASES: dict[str, Callable[[], Bijection]] = {
    "ScalarAffine": lambda: case(distrax.ScalarAffine(0.5, -2.0)),
    "ScalarAffine, logarithmic": lambda: case(distrax.ScalarAffine(draw(N), log_scale=draw(N, seed=1))),
    "Shift": lambda: case(distrax.Shift(draw(N))),
    "Tanh": lambda: case(distrax.Tanh()),
    "Sigmoid": lambda: case(distrax.Sigmoid()),
    "GumbelCDF": lambda: case(distrax.GumbelCDF()),
    "Lambda": lambda: case(distrax.Lambda(jnp.sinh, jnp.arcsinh), no_inverse="derived by distrax from the forward one"),
    "Inverse": lambda: case(distrax.Inverse(distrax.Sigmoid()), draw(N, low=0.1, high=0.9)),
    "Chain": lambda: case(distrax.Chain([distrax.Tanh(), distrax.ScalarAffine(0.1, 0.7), distrax.Lambda(jnp.arcsinh)]),
                          no_inverse="none for a Lambda without one"),
    "Block": lambda: case(distrax.Block(distrax.Tanh(), 2), draw(2, 3)),
    "DiagLinear": lambda: case(distrax.DiagLinear(draw(N, low=-2.0, high=-0.3))),
    "DiagPlusLowRankLinear": lambda: case(
        distrax.DiagPlusLowRankLinear(draw(N, low=0.5), draw(N, 2, seed=1), 0.3 * draw(N, 2, seed=2))
    ),
    "LowerUpperTriangularAffine": lambda: case(distrax.LowerUpperTriangularAffine(matrix(), draw(N))),
    "TriangularLinear, lower": lambda: case(distrax.TriangularLinear(matrix())),
    "TriangularLinear, upper": lambda: case(distrax.TriangularLinear(matrix(), is_lower=False)),
    "UnconstrainedAffine": lambda: case(distrax.UnconstrainedAffine(matrix(), draw(N))),
    "MaskedCoupling, affine": lambda: case(distrax.MaskedCoupling(MASK, conditioner(N, N, 2), affine)),
    "MaskedCoupling, spline": lambda: case(distrax.MaskedCoupling(MASK, conditioner(N, N, 13), spline)),
    "SplitCoupling, affine": lambda: case(distrax.SplitCoupling(2, 1, conditioner(2, 2, 2), affine)),
    "SplitCoupling, swapped, spline": lambda: case(
        distrax.SplitCoupling(2, 1, conditioner(2, 2, 13), spline, swap=True)
    ),
    "SplitCoupling of images": lambda: case(
        distrax.SplitCoupling(1, 3, lambda x: jnp.stack([jnp.sin(x), jnp.cos(x)], -1), affine, split_axis=-2),
        draw(2, 2, 3),
    ),
    "RationalQuadraticSpline": lambda: case(spline(draw(N, 13))),
    "RationalQuadraticSpline, outside": lambda: case(spline(draw(N, 13)), 3 * draw(N)),
    "RationalQuadraticSpline, circular": lambda: case(
        distrax.RationalQuadraticSpline(draw(N, 13), -2.0, 2.0, boundary_slopes="circular")
    ),
    "flow of couplings": lambda: case(distrax.Chain([
        distrax.MaskedCoupling(MASK, conditioner(N, N, 13), spline),
        distrax.LowerUpperTriangularAffine(matrix(), draw(N)),
        distrax.MaskedCoupling(~MASK, conditioner(N, N, 2), affine),
    ])),
}  # fmt: skip
