"""What a Jacobian means: checks, geometry, formulas, sensitivity, gradient flow, backpropagation, memory, precision."""

from .backprop import Backprop, backprop
from .check import Check, check
from .check_flow import FlowCheck, check_flow
from .geometry import Geometry, Kind, Kink, Trust, geometry
from .gradient_flow import GradientFlow, gradient_flow
from .memory import MemoryPlan, memory_plan
from .precision import Precision, precision
from .sensitivity import DataSensitivity, PointSensitivity, sensitivity
from .symbolic import Symbolic, symbolic

__all__ = [
    "Backprop",
    "Check",
    "DataSensitivity",
    "FlowCheck",
    "Geometry",
    "GradientFlow",
    "Kind",
    "Kink",
    "MemoryPlan",
    "PointSensitivity",
    "Precision",
    "Symbolic",
    "Trust",
    "backprop",
    "check",
    "check_flow",
    "geometry",
    "gradient_flow",
    "memory_plan",
    "precision",
    "sensitivity",
    "symbolic",
]
