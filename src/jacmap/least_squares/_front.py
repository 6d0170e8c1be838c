"""`least_squares`: the interface of SciPy's, with steps planned by the structure of J."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from scipy.optimize import OptimizeResult

from .._errors import ArgumentError
from .._memory import parse_memory
from ._box import active_mask, bounds_of, optimality
from ._choose import StepPlan, choose
from ._iterate import Iteration, Tolerances
from ._losses import LOSSES
from ._manifold import Moving, Retraction, is_curved, moving, unbounded
from ._optimistix import foreign_least_squares, is_solver
from ._problem import Problem, numbered, prepare
from ._result import MESSAGES, LeastSquaresResult
from ._strategies import STRATEGIES
from ._ways import Way

Watch = Callable[[Iteration], None]

MEANWHILE = 10**5  # entries of J from which a step is chosen while J is compiled
RANK_UP_TO = 1e7  # m·n² up to which the rank of J is looked at, so that the message can tell


def least_squares(
    f: Callable[..., Any],
    x0: Any,
    bounds: Any = (-np.inf, np.inf),
    method: Any = "lm",
    ftol: float | None = 1e-8,
    xtol: float | None = 1e-8,
    gtol: float | None = 1e-8,
    x_scale: Any = "jac",
    loss: str = "linear",
    f_scale: float = 1.0,
    max_nfev: int | None = None,
    args: tuple[Any, ...] = (),
    *,
    callback: Callable[..., Any] | None = None,
    retract: Retraction | None = None,
    linear_solver: str | None = None,
    memory: str | float | None = None,
) -> LeastSquaresResult:
    """A local minimum of ½ Σ ρ(f_i(x)²) within bounds: `scipy.optimize.least_squares` with a planned exact Jacobian.

    `f(x, *args)` returns residuals, an array or pytree of m numbers; `x0` is an array or pytree of n numbers. `method`:
    "lm" (Levenberg-Marquardt), "dogleg" or "gauss-newton"; SciPy's "trf" and "dogbox" stand for the first two; every
    method keeps to `bounds`. `loss`: "linear", "huber", "soft_l1", "cauchy", "arctan", with residuals in units of
    `f_scale`. `x_scale`: typical sizes of x, or "jac", the column norms of J. `ftol`, `xtol`, `gtol` as in SciPy
    (None: not asked), no less than four roundings of x's dtype; x and cost are measured in the scale of `x_scale`.
    `max_nfev`: evaluations of f, by default 100·(n + 1) and 10⁶ at most. `callback` is called after every step, as
    `callback(intermediate_result)` with the fields x, fun, cost, nfev and njev if that is its parameter's name, else as
    `callback(x)`; StopIteration raised in it ends the run.

    x0 may hold Lie groups of jaxlie (the extra `robotics`; SO2, SE2, SO3, SE3, batches of them too): the unknowns are
    then steps in the tangent space at the current x, x ⊕ δ = x·exp(δ), where no angle is special. For another manifold
    `retract` is a pair: a function plus(x, δ) that moves x, and a δ, whose numbers are the unknowns' shapes.
    `jac`, `grad`, `covariance` and `index` are then in these coordinates at the x returned; bounds are for plain
    arrays.

    `method` may be a least-squares solver or minimiser of optimistix (the extra `implicit`), such as
    `optimistix.Dogleg(rtol, atol)`: it takes the steps by its own tolerances, `max_nfev` bounds them and `nfev` counts
    them; J, the covariance and the status are ours. Bounds, losses, scales and manifolds are for the methods by name.

    `linear_solver` forces the way to solve for a step ("dense", "cholesky", "banded", "block-diagonal", "schur",
    "sparse", "products"); None lets the structure of J decide, within `memory` ("2GB"). The function is compiled and
    planned once per f and shapes of x0 and args: pass data as `args`, and the same f again. Real numbers among `args`
    may change from call to call; integers and masks, which say what reads what, are known when planning, and others
    are planned anew. f computes in x0's dtype (float32 unless JAX's 64-bit numbers are enabled), steps in float64. A
    function of NumPy arrays that JAX cannot read is differentiated by differences.

    Raises `ArgumentError` for arguments that cannot be meant (bounds that cross, an x0 outside them). Whatever f does
    is told by the result's `status` and `message`, NaN included.
    """
    foreign = is_solver(method)
    if not foreign and method not in STRATEGIES:
        raise ArgumentError(f"method: got {method!r}, expected one of {', '.join(map(repr, STRATEGIES))}")
    if loss not in LOSSES:
        raise ArgumentError(f"loss: got {loss!r}, expected one of {', '.join(map(repr, LOSSES))}")
    if not f_scale > 0:
        raise ArgumentError(f"f_scale: got {f_scale!r}, expected a positive number")
    made = moving(f, x0, retract, args) if is_curved(x0, retract) else prepare(f, x0, args)
    problem, x, back, data = made
    low, high = bounds_of(bounds, x, lambda part, name: unbounded(problem, _like(part, x0, x.size, name), name))
    if not isinstance(x_scale, str):
        scale = _like(x_scale, x0, x.size, "x_scale")
        if not ((scale > 0) & np.isfinite(scale)).all():
            raise ArgumentError("x_scale: got numbers that are not positive and finite, expected typical sizes of x")
    elif x_scale == "jac":
        scale = None
    else:
        raise ArgumentError(f'x_scale: got {x_scale!r}, expected "jac" or positive numbers')
    if max_nfev is None:
        max_nfev = 100 * min(max(x.size, 1), 10_000) + 100
    tolerances = Tolerances.of(problem.dtype, ftol, xtol, gtol, max_nfev)
    plan, way = planned(problem, memory, linear_solver)
    if foreign:
        wishes = {
            "bounds": bool(np.isfinite([low, high]).any()), "loss": loss != "linear", "x_scale": scale is not None,
            "linear_solver": linear_solver is not None, "x0 on a manifold": isinstance(problem, Moving),
            "callback": callback is not None, "ftol": ftol != 1e-8, "xtol": xtol != 1e-8, "gtol": gtol != 1e-8,
        }  # fmt: skip
        run, status, text = foreign_least_squares(method, problem, x, data, plan, way, max_nfev, wishes)
        return _result(run, status, back, text, numbered(x0))
    run = Iteration(problem, data, plan, way, STRATEGIES[method](way.repeats), loss, f_scale, scale, low, high)
    run.watch = _watch(callback, back)
    status = run.minimise(x, tolerances)
    text = MESSAGES[status].format(
        optimality=optimality(run.x, run.gradient, low, high), max_nfev=max_nfev, bad=run.bad, where=run.where,
        step=run.last_step,
    )  # fmt: skip
    return _result(run, status, back, text, problem.index if isinstance(problem, Moving) else numbered(x0))


def planned(problem: Problem, memory: str | float | None, wanted: str | None) -> tuple[StepPlan, Way]:
    """`choose`, once per problem and wish; where that takes long, XLA compiles J meanwhile."""
    key = parse_memory(memory), wanted
    if key not in problem.ways:
        heavy = not problem.small and problem.pattern.nnz > MEANWHILE
        problem.ways[key] = _meanwhile(problem, *key) if heavy else choose(problem, *key)
    return problem.ways[key]


def _meanwhile(problem: Problem, memory: float | None, wanted: str | None) -> tuple[StepPlan, Way]:
    with ThreadPoolExecutor(1) as another:
        # The pattern is known by now, the rest is NumPy alone: JAX's settings are those of this thread.
        found = another.submit(choose, problem, memory, wanted)
        problem.layout.settle()
        return found.result()


def _watch(callback: Callable[..., Any] | None, back: Callable[[np.ndarray], Any]) -> Watch | None:
    if callback is None:
        return None
    try:
        whole = "intermediate_result" in inspect.signature(callback).parameters
    except ValueError:  # a builtin that does not tell
        whole = False
    if not whole:
        return lambda run: callback(back(run.x.copy()))

    def tell(run: Iteration) -> None:
        x, fun = back(run.x.copy()), run.r.copy()
        callback(intermediate_result=OptimizeResult(x=x, fun=fun, cost=run.cost, nfev=run.nfev, njev=run.njev))

    return tell


def _like(part: Any, x0: Any, size: int, name: str) -> np.ndarray:
    """(n,) numbers from one number, an array of n, or a pytree like x0."""
    leaves = jax.tree_util.tree_leaves(part)
    flat = np.concatenate([np.ravel(np.asarray(leaf, float)) for leaf in leaves]) if leaves else np.zeros(0)
    if flat.size == 1:
        return np.full(size, flat[0])
    if flat.size != size:
        raise ArgumentError(f"{name}: got {flat.size} numbers, expected one or {size}, as many as x0 has")
    return flat


def _result(
    run: Iteration, status: int, back: Callable[[np.ndarray], Any], text: str, index: Any
) -> LeastSquaresResult:
    best = optimality(run.x, run.gradient, run.low, run.high)
    notes: list[str] = []
    found = LeastSquaresResult(
        x=back(run.x), cost=run.cost, fun=run.r, jac=run.jacobian, grad=run.gradient, optimality=best,
        active_mask=active_mask(run.x, run.low, run.high), nfev=run.nfev, njev=run.njev, status=status, message=text,
        method=run.strategy.name, plan=run.plan, index=index,
    )  # fmt: skip
    m, n = run.problem.shape
    known = run.jacobian is not None and status not in (-2, -3) and run.plan.form != "operator"
    if known and m * n**2 <= RANK_UP_TO and (free := int((found.active_mask == 0).sum())) and found.rank < free:
        notes.append(f"J has rank {found.rank} for {free} free unknowns: x is not unique")
    if notes:
        found = replace(found, message="; ".join([text, *notes]), notes=tuple(notes))
    return found
