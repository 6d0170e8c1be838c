"""jacmap: what does a small change do? The Jacobian in whatever form is asked, at the lowest cost, explained."""

from ._determinant import SlogDet, slogdet, value_and_slogdet
from ._errors import ArgumentError, JacmapError, ModeError, NotFiniteWarning, PlanFileError, StructureError, TraceError
from ._jacobian import Jacobian, linearize
from ._questions import diagonal, jacobian, jvp, load_plan, plan, trace, vjp
from .engine.graph.pattern import Pattern
from .engine.graph.recognise import Structure
from .engine.plan.plan import Plan

__all__ = [
    "ArgumentError",
    "Jacobian",
    "JacmapError",
    "ModeError",
    "NotFiniteWarning",
    "Pattern",
    "Plan",
    "PlanFileError",
    "SlogDet",
    "Structure",
    "StructureError",
    "TraceError",
    "diagonal",
    "jacobian",
    "jvp",
    "linearize",
    "load_plan",
    "plan",
    "slogdet",
    "trace",
    "value_and_slogdet",
    "vjp",
]
