"""What a Jacobian means: its geometry, its formulas, which inputs move which outputs."""

from .backprop import Backprop, backprop
from .geometry import Geometry, Kind, Kink, Trust, geometry
from .sensitivity import DataSensitivity, PointSensitivity, sensitivity
from .symbolic import Symbolic, symbolic

__all__ = [
    "Backprop",
    "DataSensitivity",
    "Geometry",
    "Kind",
    "Kink",
    "PointSensitivity",
    "Symbolic",
    "Trust",
    "backprop",
    "geometry",
    "sensitivity",
    "symbolic",
]
