"""flowjax's bijections and whole flows, small, with parameters moved away from where they start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import paramax
from bijections import Bijection, draw
from flowjax import bijections as bij
from flowjax import flows
from flowjax.distributions import StandardNormal

N = 4
KEY = jr.key(0)
NUMERICAL = "only by root finding"


def moved(bijection: Any, by: float = 0.3) -> Any:
    """Every trainable parameter changed: flowjax starts its splines and scales as identities."""
    params, static = eqx.partition(
        bijection, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
    )
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: leaf + by * random.standard_normal(leaf.shape), params)
    return eqx.combine(params, static, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable))


def case(bijection: Any, low: float = -1.0, condition: Any = None, no_inverse: str = "", by: float = 0.3) -> Bijection:
    bijection = moved(bijection, by) if by else bijection
    return Bijection(
        lambda x: bijection.transform(x, condition),
        lambda x: bijection.transform_and_log_det(x, condition)[1],
        draw(*bijection.shape, low=low),
        None if no_inverse else lambda y: bijection.inverse(y, condition),
        None if no_inverse else lambda y: bijection.inverse_and_log_det(y, condition)[1],
        no_inverse,
    )


def spline() -> Any:
    return bij.RationalQuadraticSpline(knots=4, interval=2)


def coupling(transformer: Any, **more: Any) -> Any:
    return bij.Coupling(KEY, transformer=transformer, untransformed_dim=N // 2, dim=N, nn_width=6, nn_depth=1, **more)


def autoregressive(transformer: Any, **more: Any) -> Any:
    return bij.MaskedAutoregressive(KEY, transformer=transformer, dim=N, nn_width=8, nn_depth=1, **more)


def block(depth: int, **more: Any) -> Any:
    return bij.BlockAutoregressiveNetwork(KEY, dim=N, depth=depth, block_dim=3, **more)


def layers() -> Any:
    def layer(key: Any) -> Any:
        return bij.Chain([bij.Affine(jr.normal(key, (N,)), jnp.ones(N)), bij.Permute(jr.permutation(key, N))])

    return bij.Scan(eqx.filter_vmap(layer)(jr.split(KEY, 3)))


def flow(make: Callable[..., Any], invert: bool, **more: Any) -> Any:
    return make(KEY, base_dist=StandardNormal((N,)), flow_layers=2, invert=invert, **more).bijection


def whole(make: Callable[..., Any], invert: bool, **more: Any) -> Bijection:
    """A flow in one direction; the other is a case of its own."""
    return case(flow(make, invert, **more), no_inverse="a case of its own, or only by root finding")


COUPLING = {"nn_width": 8}
CASES: dict[str, Callable[[], Bijection]] = {
    "Affine": lambda: case(bij.Affine(draw(N), draw(N, seed=1, low=0.3))),
    "Affine, scalar": lambda: case(bij.Affine(0.3, 2.0)),
    "Affine, matrix-shaped": lambda: case(bij.Affine(draw(2, 3), draw(2, 3, seed=1, low=0.3))),
    "Loc": lambda: case(bij.Loc(draw(N))),
    "Scale": lambda: case(bij.Scale(draw(N, low=0.3))),
    "TriangularAffine, lower": lambda: case(bij.TriangularAffine(draw(N), 2 * jnp.eye(N) + 0.3 * draw(N, N))),
    "TriangularAffine, upper": lambda: case(
        bij.TriangularAffine(draw(N), 2 * jnp.eye(N) + 0.3 * draw(N, N), lower=False)
    ),
    "AdditiveCondition": lambda: case(
        bij.AdditiveCondition(lambda c: jnp.tile(jnp.sin(c), 2), (N,), (2,)), condition=draw(2)
    ),
    "BlockAutoregressiveNetwork, depth 0": lambda: case(block(0), no_inverse=NUMERICAL),
    "BlockAutoregressiveNetwork, depth 1": lambda: case(block(1), no_inverse=NUMERICAL),
    "BlockAutoregressiveNetwork, depth 2": lambda: case(block(2), no_inverse=NUMERICAL),
    "BlockAutoregressiveNetwork, conditional": lambda: case(
        block(1, cond_dim=2), condition=draw(2), no_inverse=NUMERICAL
    ),
    "BlockAutoregressiveNetwork, another activation": lambda: case(
        block(1, activation=bij.LeakyTanh(2)), no_inverse=NUMERICAL
    ),
    "Chain": lambda: case(bij.Chain([bij.Exp((N,)), bij.Affine(draw(N), jnp.full(N, 2.0)), bij.Flip((N,))])),
    "Concatenate": lambda: case(bij.Concatenate([bij.Exp((2,)), bij.Affine(draw(3)), bij.SoftPlus((2,))])),
    "Concatenate, second axis": lambda: case(bij.Concatenate([bij.Exp((2, 1)), bij.Tanh((2, 2))], axis=1)),
    "Stack": lambda: case(bij.Stack([bij.Exp((3,)), bij.Affine(draw(3)), bij.Tanh((3,))], axis=1)),
    "Coupling, affine": lambda: case(coupling(bij.Affine())),
    "Coupling, spline": lambda: case(coupling(spline())),
    "Coupling, conditional": lambda: case(coupling(bij.Affine(), cond_dim=2), condition=draw(2)),
    "DiscreteCosine": lambda: case(bij.DiscreteCosine((5,))),
    "DiscreteCosine, second axis": lambda: case(bij.DiscreteCosine((2, 3), axis=1)),
    "EmbedCondition": lambda: case(
        bij.EmbedCondition(coupling(bij.Affine(), cond_dim=2), lambda c: jnp.sin(c[:2]), (3,)), condition=draw(3)
    ),
    "Exp": lambda: case(bij.Exp((N,))),
    "Flip": lambda: case(bij.Flip((N,))),
    "Householder": lambda: case(bij.Householder(draw(N))),
    "Identity": lambda: case(bij.Identity((N,))),
    "Indexed, slice": lambda: case(bij.Indexed(bij.Exp((2,)), slice(1, 3), (N,))),
    "Indexed, array": lambda: case(bij.Indexed(bij.SoftPlus((2,)), jnp.array([3, 0]), (N,))),
    "Indexed, mask": lambda: case(bij.Indexed(bij.Exp((2,)), np.array([True, False, True, False]), (N,))),
    "Invert": lambda: case(bij.Invert(coupling(spline()))),
    "LeakyTanh": lambda: case(bij.LeakyTanh(0.5, (N,))),
    "Tanh": lambda: case(bij.Tanh((N,))),
    "MaskedAutoregressive, affine": lambda: case(autoregressive(bij.Affine())),
    "MaskedAutoregressive, spline": lambda: case(autoregressive(spline())),
    "MaskedAutoregressive, conditional": lambda: case(autoregressive(bij.Affine(), cond_dim=2), condition=draw(2)),
    "NumericalInverse": lambda: case(
        bij.NumericalInverse(block(1), lambda bijection, y, condition: y), no_inverse=NUMERICAL
    ),
    "Permute": lambda: case(bij.Permute(np.array([2, 0, 3, 1]))),
    "Permute, matrix-shaped": lambda: case(bij.Permute(np.array([[2, 0, 3], [1, 5, 4]]))),
    "Power": lambda: case(bij.Power(jnp.full(N, 1.7), (N,)), low=0.2, by=0.0),
    "Planar, tanh": lambda: case(bij.Planar(KEY, dim=N), no_inverse="none for tanh"),
    "Planar, leaky ReLU": lambda: case(bij.Planar(KEY, dim=N, negative_slope=0.3)),
    "Planar, conditional": lambda: case(
        bij.Planar(KEY, dim=N, cond_dim=2, negative_slope=0.3, width_size=4, depth=1), condition=draw(2)
    ),
    "RationalQuadraticSpline": lambda: case(spline()),
    "RationalQuadraticSpline, outside": lambda: case(bij.RationalQuadraticSpline(knots=4, interval=(0.999, 1.5))),
    "Reshape": lambda: case(bij.Reshape(coupling(bij.Affine()), (2, 2))),
    "Sandwich": lambda: case(bij.Sandwich(bij.Affine(draw(N), jnp.full(N, 0.7)), bij.LeakyTanh(2, (N,)))),
    "Scan": lambda: case(layers()),
    "Sigmoid": lambda: case(bij.Sigmoid((N,))),
    "SoftPlus": lambda: case(bij.SoftPlus((N,))),
    "Vmap": lambda: case(
        bij.Vmap(eqx.filter_vmap(lambda scale: bij.Affine(scale, scale))(draw(3, 2, low=0.4)), in_axes=eqx.if_array(0))
    ),
    "Vmap of couplings": lambda: case(bij.Vmap(coupling(bij.Affine()), axis_size=2)),
    "coupling_flow": lambda: whole(flows.coupling_flow, False, **COUPLING),
    "coupling_flow, inverted": lambda: whole(flows.coupling_flow, True, **COUPLING),
    "coupling_flow, spline": lambda: whole(flows.coupling_flow, False, transformer=spline(), **COUPLING),
    "masked_autoregressive_flow": lambda: whole(flows.masked_autoregressive_flow, False, **COUPLING),
    "masked_autoregressive_flow, inverted": lambda: whole(flows.masked_autoregressive_flow, True, **COUPLING),
    "masked_autoregressive_flow, spline": lambda: whole(
        flows.masked_autoregressive_flow, False, transformer=spline(), **COUPLING
    ),
    "block_neural_autoregressive_flow": lambda: whole(flows.block_neural_autoregressive_flow, False, nn_block_dim=3),
    "planar_flow": lambda: whole(flows.planar_flow, False),
    "planar_flow, leaky ReLU, inverted": lambda: whole(flows.planar_flow, True, negative_slope=0.2),
    "triangular_spline_flow": lambda: whole(flows.triangular_spline_flow, False, knots=4),
    "triangular_spline_flow, inverted": lambda: whole(flows.triangular_spline_flow, True, knots=4),
}
