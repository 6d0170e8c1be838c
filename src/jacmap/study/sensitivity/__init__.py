"""Which inputs move which outputs, at a point and over a data set."""

from .front import sensitivity
from .point import PointSensitivity
from .propagate import Propagation
from .randomised import Randomised
from .ranking import Ranking
from .summary import DataSensitivity

__all__ = ["DataSensitivity", "PointSensitivity", "Propagation", "Randomised", "Ranking", "sensitivity"]
