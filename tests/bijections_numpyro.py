"""numpyro's transforms whose domain and codomain are of one size, and charts of some whose codomain is a surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bijections import Bijection, draw
from numpyro.distributions import constraints, flows
from numpyro.distributions import transforms as t

N = 4


def case(transform: Any, x: Any = None, no_inverse: str = "") -> Bijection:
    def log_det(x: Any) -> Any:
        return transform.log_abs_det_jacobian(x, transform(x))

    def inverse_log_det(y: Any) -> Any:
        return transform.inv.log_abs_det_jacobian(y, transform.inv(y))

    x = draw(N) if x is None else x
    if no_inverse:
        return Bijection(transform, log_det, x, no_inverse=no_inverse)
    return Bijection(transform, log_det, x, lambda y: transform.inv(y), inverse_log_det)


def chart(transform: Any, coordinates: Callable[[Any], Any], size: int) -> Bijection:
    """Into a surface (a simplex, Cholesky factors): the coordinates of it in which numpyro measures volume."""
    return Bijection(
        lambda x: coordinates(transform(x)),
        lambda x: transform.log_abs_det_jacobian(x, transform(x)),
        draw(size),
        no_inverse="of a chart",
    )


def lower(n: int, k: int = 0) -> Callable[[Any], Any]:
    rows, columns = np.tril_indices(n, k)
    return lambda matrix: matrix[rows, columns]


WEIGHT = np.tril(np.random.default_rng(3).uniform(-1, 1, (N, N)), -1)
POSITIVE = {"low": 0.1, "high": 2.0}


def autoregressive(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.sin(WEIGHT @ x), jnp.tanh(WEIGHT @ x)


def block_autoregressive(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As numpyro's BlockNeuralAutoregressiveNN: the value and the logarithm of the diagonal of its Jacobian."""
    own = jnp.linspace(0.5, 1.5, N)
    inner = own * x + WEIGHT @ x
    return jnp.sinh(inner), jnp.log(jnp.cosh(inner) * own)


CASES: dict[str, Callable[[], Bijection]] = {
    "AffineTransform": lambda: case(t.AffineTransform(0.5, -2.0)),
    "AffineTransform, vector": lambda: case(t.AffineTransform(draw(N), draw(N, seed=1, low=0.3))),
    "CatTransform": lambda: case(t.CatTransform([t.ExpTransform(), t.AffineTransform(1.0, 3.0)], lengths=[2, 2])),
    "ComposeTransform": lambda: case(
        t.ComposeTransform([t.AffineTransform(0.5, 2.0), t.SigmoidTransform(), t.PowerTransform(2.0)])
    ),
    "ExpTransform": lambda: case(t.ExpTransform()),
    "IdentityTransform": lambda: case(t.IdentityTransform()),
    "IndependentTransform": lambda: case(t.IndependentTransform(t.ExpTransform(), 1)),
    "L1BallTransform": lambda: case(t.L1BallTransform()),
    "LowerCholeskyAffine": lambda: case(
        t.LowerCholeskyAffine(draw(N), jnp.asarray(WEIGHT + np.diag([1.0, 0.5, 2.0, 1.5])))
    ),
    "OrderedTransform": lambda: case(t.OrderedTransform()),
    # biject_to(positive_ordered_vector): the vector of log-slopes is added to the number of the first transform.
    "OrderedTransform, composed": lambda: replace(
        case(t.ComposeTransform([t.OrderedTransform(), t.ExpTransform(constraints.ordered_vector)])),
        wrong="ExpTransform of an ordered vector returns a number per entry, where its event is the whole vector",
    ),
    "PermuteTransform": lambda: case(t.PermuteTransform(jnp.array([2, 0, 3, 1]))),
    "PowerTransform": lambda: case(t.PowerTransform(-1.3), draw(N, **POSITIVE)),
    "SigmoidTransform": lambda: case(t.SigmoidTransform()),
    "SoftplusTransform": lambda: case(t.SoftplusTransform()),
    "ReshapeTransform": lambda: case(t.ReshapeTransform((2, 2), (4,))),
    "RecursiveLinearTransform": lambda: case(
        t.RecursiveLinearTransform(jnp.asarray([[1.0, 0.3], [0.0, 0.9]])), draw(3, 2)
    ),
    "HaarTransform": lambda: case(t.HaarTransform()),
    "HaarTransform, odd size": lambda: case(t.HaarTransform(), draw(5)),
    "DiscreteCosineTransform": lambda: case(t.DiscreteCosineTransform()),
    "DiscreteCosineTransform, smooth": lambda: case(t.DiscreteCosineTransform(smooth=1.0)),
    "InverseAutoregressiveTransform": lambda: case(flows.InverseAutoregressiveTransform(autoregressive)),
    "BlockNeuralAutoregressiveTransform": lambda: case(
        flows.BlockNeuralAutoregressiveTransform(block_autoregressive), no_inverse="none"
    ),
    "StickBreakingTransform": lambda: chart(t.StickBreakingTransform(), lambda y: y[:-1], N),
    "LowerCholeskyTransform": lambda: chart(t.LowerCholeskyTransform(), lower(3), 6),
    "ScaledUnitLowerCholeskyTransform": lambda: chart(t.ScaledUnitLowerCholeskyTransform(), lower(3), 6),
    "SoftplusLowerCholeskyTransform": lambda: chart(t.SoftplusLowerCholeskyTransform(), lower(3), 6),
    "CorrCholeskyTransform": lambda: chart(t.CorrCholeskyTransform(), lower(3, -1), 3),
}
