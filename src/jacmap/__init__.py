"""jacmap: what does a small change do? The Jacobian in whatever form is asked, at the lowest cost, explained."""

from importlib import import_module
from typing import Any

from ._determinant import Estimate, SlogDet, slogdet, value_and_slogdet
from ._errors import (
    ArgumentError,
    ConvergenceError,
    IllConditionedWarning,
    JacmapError,
    ModeError,
    NotFiniteWarning,
    PlanFileError,
    SingularError,
    StructureError,
    TraceError,
)
from ._jacobian import Jacobian, linearize
from ._questions import diagonal, jacobian, jvp, load_plan, plan, trace, vjp
from ._second import gauss_newton, hessian, hvp, laplacian, taylor
from .engine.graph.pattern import Pattern
from .engine.graph.recognise import Structure
from .engine.plan.plan import Plan

__all__ = [
    "ArgumentError",
    "ConvergenceError",
    "Estimate",
    "IllConditionedWarning",
    "Jacobian",
    "JacmapError",
    "ModeError",
    "NotFiniteWarning",
    "Pattern",
    "Plan",
    "PlanFileError",
    "SingularError",
    "SlogDet",
    "Structure",
    "StructureError",
    "TraceError",
    "diagonal",
    "gauss_newton",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "laplacian",
    "linearize",
    "load_plan",
    "plan",
    "slogdet",
    "taylor",
    "trace",
    "value_and_slogdet",
    "vjp",
]


def __getattr__(name: str) -> Any:
    if name == "plot":  # needs an extra, loaded when first used
        return import_module(".plot", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
