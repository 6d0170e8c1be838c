"""What a Jacobian means: its geometry, its formulas, which inputs move which outputs, its memory."""

from .geometry import Geometry, Kind, Kink, Trust, geometry
from .memory import MemoryPlan, memory_plan
from .precision import Precision, precision
from .sensitivity import DataSensitivity, PointSensitivity, sensitivity
from .symbolic import Symbolic, symbolic

__all__ = [
    "DataSensitivity",
    "Geometry",
    "Kind",
    "Kink",
    "MemoryPlan",
    "PointSensitivity",
    "Precision",
    "Symbolic",
    "Trust",
    "geometry",
    "memory_plan",
    "precision",
    "sensitivity",
    "symbolic",
]
