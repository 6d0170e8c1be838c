"""Nonlinear least squares and roots: SciPy's interface, an exact Jacobian, steps planned by its structure."""

from ._choose import StepPlan
from ._front import least_squares
from ._result import LeastSquaresResult, RootResult
from ._root import root

__all__ = ["LeastSquaresResult", "RootResult", "StepPlan", "least_squares", "root"]
