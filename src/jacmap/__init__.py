"""jacmap: what does a small change do? The Jacobian in whatever form is asked, at the lowest cost, explained."""

from importlib import import_module
from types import ModuleType

from ._determinant import Estimate, SlogDet, slogdet, value_and_slogdet
from ._differences import Differences
from ._errors import (
    ArgumentError,
    BlackBoxWarning,
    ConvergenceError,
    IllConditionedWarning,
    InaccurateGradientWarning,
    JacmapError,
    ModeError,
    NotFiniteWarning,
    NotSmoothWarning,
    PlanFileError,
    RegionError,
    SingularError,
    StructureError,
    TraceError,
)
from ._jacobian import Jacobian, linearize
from ._ode import OdeJacobian, ode_jacobian
from ._questions import diagonal, jacobian, jvp, load_plan, plan, trace, vjp
from ._second import gauss_newton, hessian, hvp, laplacian, taylor
from .engine.graph.pattern import Pattern
from .engine.graph.structure import Structure
from .engine.plan.plan import Plan
from .integration import Integral, integrate
from .least_squares import LeastSquaresResult, RootResult, least_squares, root
from .study import (
    Backprop,
    Check,
    DataSensitivity,
    FlowCheck,
    Geometry,
    GradientFlow,
    MemoryPlan,
    PointSensitivity,
    Precision,
    Symbolic,
    backprop,
    check,
    check_flow,
    geometry,
    gradient_flow,
    memory_plan,
    precision,
    sensitivity,
    symbolic,
)

__all__ = [
    "ArgumentError",
    "Backprop",
    "BlackBoxWarning",
    "Check",
    "ConvergenceError",
    "DataSensitivity",
    "Differences",
    "Estimate",
    "FlowCheck",
    "Geometry",
    "GradientFlow",
    "IllConditionedWarning",
    "InaccurateGradientWarning",
    "Integral",
    "Jacobian",
    "JacmapError",
    "LeastSquaresResult",
    "MemoryPlan",
    "ModeError",
    "NotFiniteWarning",
    "NotSmoothWarning",
    "OdeJacobian",
    "Pattern",
    "Plan",
    "PlanFileError",
    "PointSensitivity",
    "Precision",
    "RegionError",
    "RootResult",
    "SingularError",
    "SlogDet",
    "Structure",
    "StructureError",
    "Symbolic",
    "TraceError",
    "backprop",
    "check",
    "check_flow",
    "diagonal",
    "gauss_newton",
    "geometry",
    "gradient_flow",
    "hessian",
    "hvp",
    "integrate",
    "jacobian",
    "jvp",
    "laplacian",
    "least_squares",
    "linearize",
    "load_plan",
    "memory_plan",
    "ode_jacobian",
    "plan",
    "precision",
    "root",
    "sensitivity",
    "slogdet",
    "symbolic",
    "taylor",
    "trace",
    "value_and_slogdet",
    "vjp",
]

# Most need an extra, all take a moment: loaded when first used.
_LAZY = ("flows", "implicit", "kinematics", "latent", "plot", "report", "robustness", "vision")


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
