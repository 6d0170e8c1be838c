"""What a Jacobian means: its geometry, its formulas, which inputs move which outputs, how gradients flow."""

from .backprop import Backprop, backprop
from .geometry import Geometry, Kind, Kink, Trust, geometry
from .gradient_flow import GradientFlow, gradient_flow
from .sensitivity import DataSensitivity, PointSensitivity, sensitivity
from .symbolic import Symbolic, symbolic

__all__ = [
    "Backprop",
    "DataSensitivity",
    "Geometry",
    "GradientFlow",
    "Kind",
    "Kink",
    "PointSensitivity",
    "Symbolic",
    "Trust",
    "backprop",
    "geometry",
    "gradient_flow",
    "sensitivity",
    "symbolic",
]
