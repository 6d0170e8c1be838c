"""What a Jacobian means."""

from .geometry import Geometry, Kind, Kink, Trust, geometry

__all__ = ["Geometry", "Kind", "Kink", "Trust", "geometry"]
