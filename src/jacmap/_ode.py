"""∂f/∂y of an ODE's right-hand side in the forms that SciPy's implicit solvers take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np
from scipy.sparse import csc_array, csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from ._differences import DifferencesPlan
from ._errors import ArgumentError
from ._questions import jacobian

SPARSE, LARGE = 0.2, 50  # the share of nonzeros below which, and the size above which, SciPy is given a sparse matrix
FORMS = ("sparse", "dense", "banded")


class OdeJacobian:
    """`J(t, y, *args)` = ∂f/∂y, (n, n), as `scipy.integrate.solve_ivp(jac=J)` takes it; made by `ode_jacobian`.

    `form`: "sparse" (CSC), "dense", or "banded" (LSODA's packed rows, (lband + uband + 1, n)). `sparsity` is the
    pattern, for `jac_sparsity=`; `lband` and `uband` the diagonals below and above the main one, for LSODA; `plan`
    explains how J is computed.
    """

    def __init__(self, planned: Callable[..., Any], plan: Any, args: tuple[Any, ...], form: str | None):
        self._planned, self.plan, self._args = planned, plan, args
        pattern = csr_array(plan.planned.pattern.tocsr())
        pattern.sort_indices()
        n = pattern.shape[0]
        rows = np.repeat(np.arange(n), np.diff(pattern.indptr))
        below = rows - pattern.indices
        self.lband, self.uband = int(below.max(initial=0)), int((-below).max(initial=0))
        self.form = form or ("sparse" if n > LARGE and pattern.nnz < SPARSE * n**2 else "dense")
        self.sparsity = csc_array((np.ones(pattern.nnz, bool), (rows, pattern.indices)), shape=(n, n))
        self._at = rows, pattern.indices
        self._packed = self.uband + below, pattern.indices
        self._by_column = np.lexsort((rows, pattern.indices))

    def __call__(self, t: float, y: np.ndarray, *args: Any) -> Any:
        data = np.asarray(self._planned(t, y, *(args or self._args)).data, dtype=float)
        n = self.sparsity.shape[0]
        if self.form == "sparse":
            return csc_array((data[self._by_column], self.sparsity.indices, self.sparsity.indptr), shape=(n, n))
        dense = self.form == "dense"
        found = np.zeros((n if dense else self.lband + self.uband + 1, n))
        found[self._at if dense else self._packed] = data
        return found

    def linear_solver(self) -> Any:
        """A `lineax` solver for the root finder of diffrax' implicit solvers: `VeryChord(linear_solver=...)`.

        Banded LU with pivoting of I − hγJ, its lines reordered (reverse Cuthill-McKee) where that narrows the band,
        and read by one product per diagonal. For y a vector. Raises `ArgumentError` where the band takes half of the
        matrix, `ImportError` without lineax and equinox (the extra `implicit`).
        """
        n = self.sparsity.shape[0]
        order, (lower, upper) = np.arange(n), (self.lband, self.uband)
        turned = reverse_cuthill_mckee(csr_array(self.sparsity + self.sparsity.T, dtype=float), symmetric_mode=True)
        place = np.empty(n, int)
        place[turned] = np.arange(n)
        below = place[self._at[0]] - place[self._at[1]]
        if below.max(initial=0) - below.min(initial=0) < lower + upper:
            order, lower, upper = turned.astype(int), int(max(below.max(), 0)), int(max(-below.min(), 0))
        if lower + upper + 1 > max(n / 2, 3):
            raise ArgumentError(
                f"f: ∂f/∂y has {lower + upper + 1} diagonals of {n} at best, expected a narrow band; "
                "lineax.LU() or AutoLinearSolver serves as well"
            )
        try:
            from ._ode_lineax import BandedLU
        except ImportError as error:
            raise ImportError("linear_solver needs lineax and equinox: pip install 'jacmap[implicit]'") from error
        return BandedLU(lower, upper, order)

    def __repr__(self) -> str:
        n = self.sparsity.shape[0]
        return f"OdeJacobian({n}×{n}, {self.form}, {self.lband} below and {self.uband} above: {self.plan.summary})"


def ode_jacobian(
    f: Callable[..., Any],
    t: float,
    y: Any,
    args: tuple[Any, ...] = (),
    form: Literal["sparse", "dense", "banded"] | None = None,
) -> OdeJacobian:
    """∂f/∂y of y' = f(t, y, *args), planned and compiled once, for the implicit solvers of `scipy.integrate.solve_ivp`.

    `y` (n,), and f returns (n,); `t` and `args` are examples of what comes at each call. For "BDF" and "Radau" give
    `jac=J`; for "LSODA" ``form="banded"``, `jac=J`, `lband=J.lband`, `uband=J.uband`. By default the form is sparse
    where few entries can be nonzero, else dense. A solver of its own differences takes `jac_sparsity=J.sparsity`.

    Raises `ArgumentError` for a y that is no vector, an f that returns another shape or that JAX cannot read.
    """
    if form is not None and form not in FORMS:
        raise ArgumentError(f"form: got {form!r}, expected one of {', '.join(map(repr, FORMS))}")
    args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    start = np.asarray(y)
    if start.ndim != 1 or not start.size or start.dtype.kind not in "fiu":
        raise ArgumentError(f"y: got shape {start.shape} of {start.dtype}, expected a vector of real numbers, (n,)")
    start = start.astype(float)
    planned = jacobian(f, argnums=1, form="sparse")
    plan: Any = planned.plan(float(t), start, *args)
    if isinstance(plan, DifferencesPlan):
        raise ArgumentError("f: JAX cannot read it; write it with jax.numpy, or leave jac to SciPy's own differences")
    out = jax.eval_shape(f, float(t), start, *args)
    if getattr(out, "shape", None) != start.shape:
        raise ArgumentError(f"f: returned shape {getattr(out, 'shape', out)}, expected that of y, {start.shape}")
    return OdeJacobian(planned, plan, args, form)
