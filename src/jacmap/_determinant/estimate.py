"""A stochastic estimate of log|det J| from products alone, for a dense factor too large to be factorised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._arguments import check_inputs, positions
from .._errors import ArgumentError
from ..engine.backends.jax import function as backend

PROBES = 64
STEPS = 64


class Estimate(NamedTuple):
    """logabsdet ± error; the sign is not estimated and is NaN."""

    sign: Any
    logabsdet: Any
    error: Any


def estimated(f: Callable[..., Any], argnums: int | Sequence[int]) -> Callable[..., Estimate]:
    """½ log det(JᵀJ) by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017) with matfree.

    `PROBES` random sign vectors, each with `STEPS` steps of Golub-Kahan bidiagonalisation: one JVP and one VJP a step.
    The error bar joins the standard error of the mean and what half as many steps would have changed, which stands for
    the bias of stopping early. The same probes at every call.
    """
    try:
        from matfree import decomp, funm, stochtrace
    except ImportError as error:
        raise ImportError("estimate=True needs matfree: pip install 'jacmap[linalg]'") from error
    where = positions(argnums)[0]

    def mean(push: Any, n: int, dtype: Any, steps: int) -> Any:
        sample = stochtrace.sampler_signs(jnp.zeros(n, dtype), num=PROBES)
        integrand = funm.monte_carlo_funm_product_logdet(decomp.bidiag(steps))
        return stochtrace.estimator_monte_carlo_mean_and_sem(integrand, sample)(push, jax.random.key(0))

    @jax.jit
    def run(*args: Any) -> Estimate:
        sig = backend.signature(args, {}, where)
        call = backend.on_leaves(f, sig, False)
        leaves = jax.tree_util.tree_leaves((args, {}))
        moving, others = [leaves[p] for p in sig.moving], [leaves[p] for p in sig.others]
        traced = backend.trace(call, sig)
        m, n = traced.graph.shape
        if m != n:
            raise ArgumentError(f"f: has {m} outputs and {n} differentiated inputs, expected as many of each")
        runner = backend.runner(call, traced, moving, others)

        def push(v: Any) -> Any:
            return jax.jvp(runner.flat, (runner.x,), (v.astype(runner.x.dtype),))[1]

        steps = min(STEPS, n)
        found, deviation = mean(push, n, runner.x.dtype, steps)
        before, _ = mean(push, n, runner.x.dtype, max(1, steps // 2))
        nothing = jnp.asarray(np.nan, found.dtype)
        return Estimate(nothing, found / 2, jnp.hypot(deviation, found - before) / 2)

    def estimate(*args: Any) -> Estimate:
        check_inputs(args, where, holomorphic=False)
        return run(*args)

    return estimate
