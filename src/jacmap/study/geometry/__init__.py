"""What J does to the space around the point, and how far that can be believed."""

from .geometry import Geometry, geometry
from .kinds import Kind
from .kinks import Kink
from .trust import Trust

__all__ = ["Geometry", "Kind", "Kink", "Trust", "geometry"]
