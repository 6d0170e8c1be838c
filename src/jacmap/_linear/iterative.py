"""J x = b by products alone, with lineax: for a J that does not fit in memory."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import ArgumentError, ConvergenceError, IllConditionedWarning, SingularError
from .structural import ADVICE
from .subject import Subject

# Vectors that GMRES keeps before it starts again.
RESTART = 60


def lineax() -> Any:
    """The library; ArgumentError naming the extra where it is missing."""
    try:
        return importlib.import_module("lineax")
    except ImportError as error:
        raise ArgumentError(
            "solving by products needs lineax: pip install 'jacmap[linalg]', or give more memory= for a factorisation"
        ) from error


def solve_columns(subject: Subject, leaves: Any, b: Any, transposed: bool, throw: bool) -> Any:
    """GMRES with J @ v for each column of b (n, k); traceable. `throw`: fail at run time where it does not converge."""
    lx = lineax()
    n, dtype = subject.shape[0], subject.dtype
    eps = float(jnp.finfo(dtype).eps)
    structure = jax.ShapeDtypeStruct((n,), dtype)
    product = subject.pull if transposed else subject.push
    operator = lx.FunctionLinearOperator(lambda v: product(leaves, v[:, None])[:, 0].astype(dtype), structure)
    solver = lx.GMRES(rtol=100 * eps, atol=0.0, restart=min(n, RESTART), max_steps=10 * n, stagnation_iters=RESTART)

    def one(column: Any) -> Any:
        return lx.linear_solve(operator, column, solver, throw=throw).value

    return jax.lax.map(one, b.T).T


def solve(subject: Subject, b: Any, transposed: bool, stacklevel: int) -> Any:
    """x (n, k), with the residual checked, and a vector that is known recovered from its image.

    A singular system may have solutions, and an iteration finds one of them without noticing. So J z of a random z is
    solved for, too: a z that does not come back shows a direction that J destroys.
    """
    key = ("gmres", b.shape[1] + 1, transposed)
    if key not in subject.form.compiled:
        subject.form.compiled[key] = jax.jit(
            lambda leaves, b: solve_columns(subject, leaves, b, transposed, throw=False)
        )
    n, eps = subject.shape[0], float(jnp.finfo(subject.dtype).eps)
    apply = subject.pull if transposed else subject.push
    known = jnp.asarray(np.random.default_rng(0).standard_normal((n, 1)), subject.dtype)
    right = jnp.concatenate([b, apply(subject.leaves, known).astype(subject.dtype)], axis=1)
    x = subject.form.compiled[key](subject.leaves, right)
    residual = np.asarray(right - apply(subject.leaves, x))
    sizes = np.linalg.norm(np.asarray(right), axis=0)
    error = float((np.linalg.norm(residual, axis=0) / np.where(sizes > 0, sizes, 1)).max())
    if not error < eps**0.5:
        raise ConvergenceError(
            f"{subject.name}: GMRES on products did not solve J x = b: a relative residual of {error:.1e} is left; "
            f"give more memory= so that J can be factorised; {ADVICE}"
        )
    lost = float(np.linalg.norm(np.asarray(x[:, -1:] - known)) / np.linalg.norm(np.asarray(known)))
    if not lost < 0.01:
        raise SingularError(
            f"{subject.name}: the Jacobian is numerically singular here: a random z is not recovered from J z "
            f"({lost:.0%} of it is lost); {ADVICE}"
        )
    condition = lost / max(error, eps)
    if condition > eps**-0.5:
        warnings.warn(
            f"{subject.name}: the Jacobian is ill-conditioned here: its condition number is at least {condition:.1e}",
            IllConditionedWarning,
            stacklevel=stacklevel + 1,
        )
    return x[:, :-1]
