"""flowjax's own flows, as it makes them, with its hand-written log-determinants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import paramax
from _flow_cases import Case
from flowjax import flows
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import StandardNormal

SPLINE = {"knots": 8, "interval": 4}


def cases(n: int) -> list[Case]:
    """The flows that `flowjax.flows` makes, with its default sizes; `forward` or as it inverts them for densities."""
    coupling, autoregressive = flows.coupling_flow, flows.masked_autoregressive_flow
    return [
        _case("coupling", n, coupling, False),
        _case("coupling, inverted", n, coupling, True),
        _case("coupling, spline", n, coupling, False, transformer=RationalQuadraticSpline(**SPLINE)),
        _case("coupling, spline, inverted", n, coupling, True, transformer=RationalQuadraticSpline(**SPLINE)),
        _case("MAF", n, autoregressive, False),
        _case("MAF, spline", n, autoregressive, False, transformer=RationalQuadraticSpline(**SPLINE)),
        _case("block autoregressive", n, flows.block_neural_autoregressive_flow, False),
        _case("triangular spline", n, flows.triangular_spline_flow, False),
        _case("planar", n, flows.planar_flow, False, triangular=False),
    ]


def _case(name: str, n: int, make: Callable[..., Any], invert: bool, triangular: bool = True, **options: Any) -> Case:
    bijection = make(jr.key(0), base_dist=StandardNormal((n,)), invert=invert, **options).bijection
    params, static = eqx.partition(
        bijection, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
    )
    random = np.random.default_rng(1)  # flowjax starts its splines as identities
    params = jax.tree.map(lambda leaf: leaf + jnp.asarray(0.1 * random.standard_normal(leaf.shape), leaf.dtype), params)

    def whole(params: Any) -> Any:
        return eqx.combine(params, static, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable))

    return Case(
        name,
        lambda x, params: whole(params).transform(x),
        params,
        lambda x, params: whole(params).transform_and_log_det(x),
        (n,),
        triangular,
    )
