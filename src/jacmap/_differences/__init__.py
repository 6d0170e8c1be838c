"""Functions that cannot be read, only called: their Jacobians by differences, with error estimates."""

from .jacobian import DifferencesJacobian
from .options import Differences
from .plan import DifferencesPlan
from .routes import linearize, transform
from .transform import BlackBox

__all__ = ["BlackBox", "Differences", "DifferencesJacobian", "DifferencesPlan", "linearize", "transform"]
