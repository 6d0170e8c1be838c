"""Linear systems with the Jacobian of F by x, planned by its structure."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx

from .._jacobian import linearize
from ._problem import Array, Data, Problem

# An unstructured Jacobian is factorised up to this size, beyond it J x = b is solved by products.
DENSE = 2000
# GMRES: vectors kept before it starts again.
RESTART = 60


def system(problem: Problem, x: Array, data: Data) -> Callable[[Array], Array]:
    """b ↦ J⁻¹ b, for b (n, k), with J = ∂F/∂x; linear in b, with derivatives by everything.

    Diagonal, triangular, tridiagonal and block-diagonal J as such, large sparse ones by sparse factors, dense ones up
    to `DENSE` by LU (`jacmap.linearize`, ``J.solve``); larger ones by GMRES, the Hessian of a minimum by conjugate
    gradients. SingularError where no J with this pattern is invertible.
    """
    memory = float(x.dtype.itemsize * max(2 * DENSE**2, 100 * x.size))
    J = linearize(problem.residual, x, data, memory=memory)
    if J.explain("solve").chosen != "matrix-free GMRES":  # type: ignore[union-attr]
        return J.solve
    push = jax.linearize(lambda x: problem.residual(x, data), x)[1]
    symmetric = problem.kind == "minimum"
    tags = frozenset({lx.symmetric_tag, lx.positive_semidefinite_tag}) if symmetric else frozenset()
    operator = lx.FunctionLinearOperator(push, jax.eval_shape(lambda: x), tags)
    close, most = 10 * float(jnp.finfo(x.dtype).eps), 10 * x.size
    solver: lx.AbstractLinearSolver = (
        lx.CG(rtol=close, atol=0.0, max_steps=most)
        if symmetric
        else lx.GMRES(rtol=close, atol=0.0, restart=min(x.size, RESTART), max_steps=most, stagnation_iters=RESTART)
    )

    def one(column: Array) -> Array:
        return lx.linear_solve(operator, column, solver, throw=False).value

    return lambda b: jax.lax.map(one, b.T).T
