"""What a Jacobian means."""

from .geometry import Geometry, Kind, Kink, Trust, geometry
from .symbolic import Symbolic, symbolic

__all__ = ["Geometry", "Kind", "Kink", "Symbolic", "Trust", "geometry", "symbolic"]
