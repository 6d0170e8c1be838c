"""What a layer returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Solution:
    """A solution x of F(x, θ) = 0, and how far it and its derivative can be trusted.

    `value`: x, in the form of x0; the only field with a derivative. `converged`: did the solver end by its own
    criterion? `residual`: the largest |F|. `steps`: of the solver. `error`: a bound of ‖x − x*‖.
    `gradient_error`: a bound of ‖dx/dθ − dx*/dθ‖ in the Frobenius norm, over all numbers of x and of the arguments; so
    the derivative along a tangent t is off by at most gradient_error·‖t‖, and the gradient of a loss ℓ(x) by at most
    gradient_error·‖∂ℓ/∂x‖, beside what ∂ℓ/∂x itself changes over `error`. `gradient_size`: ‖dx/dθ‖ from above.
    `relative_error`: the one by the other. `lost`: the relative error that rounding makes in J⁻¹: 1e-16 times the
    condition number, as it bites. The bounds are first-order: their formulas and assumptions are in
    `jacmap.implicit.root`. Under `vmap` every field has the batch in front.
    """

    value: Any
    converged: Array
    residual: Array
    steps: Array
    error: Array
    gradient_error: Array
    gradient_size: Array
    relative_error: Array
    lost: Array

    def __str__(self) -> str:
        if isinstance(self.error, jax.core.Tracer) or self.error.ndim:
            return object.__repr__(self)
        state = "converged" if self.converged else "NOT converged"
        return (
            f"{state} in {int(self.steps)} steps, residual {float(self.residual):.1e}\n"
            f"  value off by at most {float(self.error):.1e}\n"
            f"  gradient off by at most {float(self.gradient_error):.1e} of {float(self.gradient_size):.3g}"
        )
