"""jacmap: what does a small change do? The Jacobian in whatever form is asked, at the lowest cost, explained."""

from ._errors import ArgumentError, JacmapError, ModeError, NotFiniteError, StructureError, TraceError
from ._jacobian import Jacobian, linearize
from ._questions import diagonal, jacobian, jvp, plan, trace, vjp
from .engine.graph.pattern import Pattern
from .engine.graph.recognise import Structure
from .engine.plan.plan import Plan

__all__ = [
    "ArgumentError",
    "Jacobian",
    "JacmapError",
    "ModeError",
    "NotFiniteError",
    "Pattern",
    "Plan",
    "Structure",
    "StructureError",
    "TraceError",
    "diagonal",
    "jacobian",
    "jvp",
    "linearize",
    "plan",
    "trace",
    "vjp",
]
